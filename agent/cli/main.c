#include "agent/cli/cli.h"

#include "proto/git_object.h"

#include <gcrypt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct command *const commands[] = {&cmd_status, &cmd_keys,   &cmd_lock, &cmd_unlock,
                                          &cmd_policy, &cmd_reload, &cmd_log,  NULL};

static void usage(FILE *f)
{
    fprintf(f, "usage: latchkey COMMAND [ARGUMENTS]\n\n");
    for (size_t i = 0; commands[i] != NULL; i++)
        fprintf(f, "  %-10s%s\n", commands[i]->name, commands[i]->summary);
    fprintf(f, "  %-10s%s\n\n", "help", "tell about a command");
    fprintf(f, "latchkey COMMAND --help tells a command's options.\n"
               "Exit status: 0 done, 1 a negative answer, 2 wrong usage, 3 no agent is running.\n");
}

void cli_usage(const struct command *c, FILE *f)
{
    fprintf(f, "usage: latchkey %s%s%s\n\n%s\n", c->name, c->usage[0] != '\0' ? " " : "", c->usage,
            c->summary);
    if (c->help != NULL)
        fprintf(f, "\n%s", c->help);
}

int cli_getopt(const struct command *c, int argc, char **argv, const struct option *options,
               int *status)
{
    int opt = getopt_long(argc, argv, "+hfn:o:", options, NULL);

    if (opt == 'h') {
        cli_usage(c, stdout);
        *status = EXIT_OK;
        return -2;
    }
    if (opt == '?') {
        fprintf(stderr, "Try: latchkey %s --help\n", c->name);
        *status = EXIT_USAGE;
        return -2;
    }
    return opt;
}

int cli_fail(const char *what, const char *why)
{
    fprintf(stderr, "latchkey: ");
    cli_put(stderr, what);
    fprintf(stderr, ": ");
    /* lines stay lines: a policy's errors are several */
    while (*why != '\0') {
        size_t n = strcspn(why, "\n");
        char *line = text_clean(why, n, 2000);

        fprintf(stderr, "%s\n", line != NULL ? line : "");
        gpgrt_free(line);
        why += n;
        why += *why == '\n';
    }
    return EXIT_NEGATIVE;
}

struct ctl_client *cli_connect(void)
{
    struct ctl_client *c = NULL;

    if (ctl_connect(false, &c) == 0)
        return c;
    fprintf(stderr, "latchkey: no agent is running for you: start latchkey-agent --daemon, or the "
                    "systemd user unit\n");
    return NULL;
}

gpg_error_t cli_call(struct ctl_client *c, const char *line, const char *what, struct buf *reply)
{
    char *text = NULL;
    gpg_error_t err = ctl_transact(c, line, NULL, reply, NULL, NULL, &text);

    if (err != 0)
        cli_fail(what, text != NULL ? text : gpg_strerror(err));
    gpgrt_free(text);
    return err;
}

json_t *cli_json(const char *line, int *status)
{
    struct ctl_client *c = cli_connect();
    struct buf reply = BUF_INIT;
    json_t *j = NULL;

    *status = EXIT_NO_AGENT;
    if (c == NULL)
        return NULL;
    *status = EXIT_NEGATIVE;
    if (cli_call(c, line, line, &reply) == 0) {
        j = json_loadb((const char *)reply.data, reply.len, 0, NULL);
        if (j == NULL)
            cli_fail(line, "the agent's answer is not understood");
    }
    buf_free(&reply);
    ctl_close(c);
    return j;
}

int cli_print_json(const json_t *j)
{
    json_dumpf(j, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    putchar('\n');
    return EXIT_OK;
}

void cli_put(FILE *f, const char *s)
{
    char *clean = s != NULL ? text_clean(s, strlen(s), 2000) : NULL;

    fputs(clean != NULL ? clean : "-", f);
    gpgrt_free(clean);
}

const char *cli_string(const json_t *j, const char *name)
{
    return json_string_value(json_object_get(j, name));
}

const char *cli_colour(enum colour c)
{
    static const char *const codes[] = {[PLAIN] = "\033[0m",
                                        [BOLD] = "\033[1m",
                                        [RED] = "\033[31m",
                                        [GREEN] = "\033[32m",
                                        [YELLOW] = "\033[33m"};
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    if (!isatty(STDOUT_FILENO) || (no != NULL && no[0] != '\0') ||
        (term != NULL && strcmp(term, "dumb") == 0))
        return "";
    return codes[c];
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; commands[i] != NULL; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static int unknown(const char *name)
{
    fprintf(stderr, "latchkey: there is no command \"");
    cli_put(stderr, name);
    fprintf(stderr, "\"");
    for (size_t i = 0; commands[i] != NULL; i++)
        if (strncmp(commands[i]->name, name, 2) == 0) {
            fprintf(stderr, "; did you mean \"%s\"?", commands[i]->name);
            break;
        }
    fprintf(stderr, "\nTry: latchkey --help\n");
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    const struct command *c;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    (void)signal(SIGPIPE, SIG_DFL);
    if (name == NULL) {
        usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ||
        (strcmp(name, "help") == 0 && argc == 2)) {
        usage(stdout);
        return EXIT_OK;
    }
    if (strcmp(name, "--version") == 0) {
        printf("latchkey %s\n", LATCHKEY_VERSION);
        return EXIT_OK;
    }
    if (strcmp(name, "help") == 0) {
        c = find(argv[2]);
        if (c == NULL)
            return unknown(argv[2]);
        cli_usage(c, stdout);
        return EXIT_OK;
    }
    c = find(name);
    return c != NULL ? c->run(c, argc - 1, argv + 1) : unknown(name);
}
