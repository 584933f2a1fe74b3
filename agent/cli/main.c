#include "agent/cli/cli.h"

#include <errno.h>
#include <gcrypt.h>
#include <signal.h>
#include <string.h>

const struct command *const commands[] = {&cmd_status, &cmd_keys,   &cmd_lock,
                                          &cmd_unlock, &cmd_policy, &cmd_reload,
                                          &cmd_log,    &cmd_token,  NULL};

static void usage(FILE *f)
{
    fprintf(f, "usage: latchkey COMMAND [ARGUMENTS]\n\n");
    for (size_t i = 0; commands[i] != NULL; i++)
        fprintf(f, "  %-10s%s\n", commands[i]->name, commands[i]->summary);
    fprintf(f, "  %-10s%s\n\n", "help", "tell about a command");
    fprintf(f, "latchkey COMMAND --help tells a command's options.\n"
               "Exit status: 0 done, 1 a negative answer, 2 wrong usage, 3 no agent is running.\n");
}

/* "policy check" in the table of policy's subcommands is found as "check". */
static const char *last_word(const char *name)
{
    const char *blank = strrchr(name, ' ');

    return blank != NULL ? blank + 1 : name;
}

static const struct command *find(const struct command *const *table, const char *name)
{
    for (size_t i = 0; table[i] != NULL; i++)
        if (strcmp(last_word(table[i]->name), name) == 0)
            return table[i];
    return NULL;
}

static int unknown(const struct command *const *table, const char *of, const char *name)
{
    const char *names[16] = {NULL};
    const char *meant;

    for (size_t i = 0; table[i] != NULL && i < 15; i++)
        names[i] = last_word(table[i]->name);
    meant = cli_nearest(name, names);
    fprintf(stderr, "latchkey%s%s: there is no command \"", of[0] != '\0' ? " " : "", of);
    cli_put(stderr, name);
    fprintf(stderr, "\"");
    if (meant != NULL)
        fprintf(stderr, "; did you mean \"%s\"?", meant);
    fprintf(stderr, "\nTry: latchkey%s%s --help\n", of[0] != '\0' ? " " : "", of);
    return EXIT_USAGE;
}

/* help [COMMAND [SUBCOMMAND]] */
static int help(int argc, char **argv)
{
    const struct command *const *table = commands;
    const struct command *c = NULL;

    for (int i = 1; i < argc; i++) {
        const struct command *next = table != NULL ? find(table, argv[i]) : NULL;

        if (next == NULL)
            return table != NULL ? unknown(table, c != NULL ? c->name : "", argv[i])
                                 : cli_mistake(c, "there is nothing more to tell about", argv[i]);
        c = next;
        table = c->sub;
    }
    if (c != NULL)
        cli_usage(c, stdout);
    else
        usage(stdout);
    return EXIT_OK;
}

static int run_command(const struct command *c, int argc, char **argv)
{
    const struct command *sub;

    if (c->sub == NULL)
        return c->run(c, argc, argv);
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        cli_usage(c, stdout);
        return EXIT_OK;
    }
    if (argc < 2) {
        cli_usage(c, stderr);
        return EXIT_USAGE;
    }
    sub = find(c->sub, argv[1]);
    return sub != NULL ? run_command(sub, argc - 1, argv + 1) : unknown(c->sub, c->name, argv[1]);
}

static int dispatch(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    const struct command *c;

    if (name == NULL) {
        usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        usage(stdout);
        return EXIT_OK;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("latchkey %s\n", LATCHKEY_VERSION);
        return EXIT_OK;
    }
    if (strcmp(name, "help") == 0)
        return help(argc - 1, argv + 1);
    c = find(commands, name);
    return c != NULL ? run_command(c, argc - 1, argv + 1) : unknown(commands, "", name);
}

int main(int argc, char **argv)
{
    int status;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    (void)signal(SIGPIPE, SIG_DFL);
    status = dispatch(argc, argv);
    /* A list that did not reach its file must not pass for one that did. */
    if (fflush(stdout) != 0 || ferror(stdout))
        status = cli_fail("standard output", strerror(errno));
    return status;
}
