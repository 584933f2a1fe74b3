/* latchkey token fido ..: what FIDO tokens are and keep. */
#include "agent/cli/token.h"

#include "proto/token_protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

json_t *cli_fido(const char *what, const struct buf *fields, int *status)
{
    struct ctl_client *c = cli_connect();
    struct buf line = BUF_INIT, reply = BUF_INIT;
    json_t *j = NULL;

    *status = EXIT_NO_AGENT;
    if (c == NULL)
        return NULL;
    *status = EXIT_NEGATIVE;
    buf_printf(&line, "FIDO do=%s ", what);
    if (fields != NULL)
        buf_put_rd(&line, buf_rd(fields));
    if (buf_cstr(&line) == NULL) {
        (void)cli_fail("token", "out of memory");
    } else if (cli_call(c, buf_cstr(&line), "token", &reply) == 0) {
        j = json_loadb((const char *)reply.data, reply.len, 0, NULL);
        if (j == NULL)
            (void)cli_fail("token", "the agent's answer is not understood");
        else
            *status = EXIT_OK;
    }
    ctl_close(c);
    buf_free(&line);
    buf_free(&reply);
    return j;
}

int cli_fido_do(const char *what, const struct buf *fields)
{
    struct buf line = BUF_INIT;
    struct ctl_client *c = cli_connect();
    int status = EXIT_NEGATIVE;

    if (c == NULL)
        return EXIT_NO_AGENT;
    buf_printf(&line, "FIDO do=%s ", what);
    if (fields != NULL)
        buf_put_rd(&line, buf_rd(fields));
    if (buf_cstr(&line) == NULL)
        (void)cli_fail("token", "out of memory");
    else if (cli_call(c, buf_cstr(&line), "token", NULL) == 0)
        status = EXIT_OK;
    ctl_close(c);
    buf_free(&line);
    return status;
}

/* --- info --------------------------------------------------------------------------------------------- */

static void put_list(const char *label, const json_t *list)
{
    if (json_array_size(list) == 0)
        return;
    printf("  %-10s", label);
    for (size_t i = 0; i < json_array_size(list); i++) {
        fputs(i > 0 ? ", " : "", stdout);
        cli_put(stdout, json_string_value(json_array_get(list, i)));
    }
    putchar('\n');
}

static void put_device(const json_t *d)
{
    const json_t *tries = json_object_get(d, "tries");

    fputs(cli_colour(BOLD), stdout);
    cli_put_field(d, "path");
    fputs(cli_colour(PLAIN), stdout);
    if (cli_string(d, "problem") != NULL) {
        printf("  ");
        cli_put_field(d, "problem");
        putchar('\n');
        return;
    }
    printf("  %s\n", json_is_true(json_object_get(d, "fido2")) ? "FIDO2" : "U2F");
    if (cli_string(d, "aaguid") != NULL) {
        printf("  %-10s", "AAGUID");
        cli_put_field(d, "aaguid");
        putchar('\n');
    }
    if (json_is_true(json_object_get(d, "pin"))) {
        printf("  %-10sset", "PIN");
        if (json_is_integer(tries))
            printf(", %lld tries left", json_integer_value(tries));
        putchar('\n');
    } else if (json_is_true(json_object_get(d, "fido2"))) {
        printf("  %-10snone\n", "PIN");
    }
    if (json_is_true(json_object_get(d, "uv")))
        printf("  %-10sby itself\n", "verifies");
    put_list("versions", json_object_get(d, "versions"));
    put_list("extensions", json_object_get(d, "extensions"));
    put_list("options", json_object_get(d, "options"));
}

static int info(const struct command *c, int argc, char **argv)
{
    bool as_json;
    int status = EXIT_OK;
    json_t *j;

    if (!cli_only_json(c, argc, argv, &as_json, &status))
        return status;
    j = cli_fido("info", NULL, &status);
    if (j == NULL)
        return status;
    if (as_json)
        (void)cli_print_json(j);
    for (size_t i = 0; i < json_array_size(j) && !as_json; i++)
        put_device(json_array_get(j, i));
    if (json_array_size(j) == 0) {
        if (!as_json)
            fprintf(stderr, "latchkey: no FIDO token is plugged in\n");
        status = EXIT_NEGATIVE;
    }
    json_decref(j);
    return status;
}

static const struct command cmd_info = {
    .name = "token fido info",
    .usage = "[--json]",
    .summary = "tell what the FIDO tokens are that are plugged in",
    .help = "  -j, --json    as JSON\n",
    .run = info,
};

/* --- resident keys ------------------------------------------------------------------------------------- */

static int keys(const struct command *c, int argc, char **argv)
{
    bool as_json;
    int status = EXIT_OK;
    json_t *j;

    if (!cli_only_json(c, argc, argv, &as_json, &status))
        return status;
    j = cli_fido("keys", NULL, &status);
    if (j == NULL)
        return status;
    if (as_json)
        (void)cli_print_json(j);
    for (size_t i = 0; i < json_array_size(j) && !as_json; i++) {
        const json_t *k = json_array_get(j, i);

        cli_put_field(k, "fingerprint");
        printf("  ");
        cli_put_field(k, "application");
        if (cli_string(k, "user") != NULL) {
            printf("  user ");
            cli_put_field(k, "user");
        }
        if (json_is_true(json_object_get(k, "verify")))
            printf("  verify-required");
        if (cli_string(k, "problem") != NULL) {
            printf("  not offered: ");
            cli_put_field(k, "problem");
        }
        putchar('\n');
    }
    if (json_array_size(j) == 0) {
        if (!as_json)
            fprintf(stderr, "latchkey: the token keeps no ssh keys\n");
        status = EXIT_NEGATIVE;
    }
    json_decref(j);
    return status;
}

static const struct command cmd_keys_of = {
    .name = "token fido keys",
    .usage = "[--json]",
    .summary = "list the ssh keys that a FIDO token keeps, and offer them from now on",
    .help = "The token's PIN is asked for. The keys are remembered, so that they are offered after "
            "the\n"
            "next start of the agent, too.\n"
            "  -j, --json    as JSON\n",
    .run = keys,
};

static int delete (const struct command *c, int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    struct buf fields = BUF_INIT;
    int opt, status;

    while ((opt = cli_getopt(c, argc, argv, options, &status)) != -1)
        if (opt == -2)
            return status;
    if (optind + 1 != argc)
        return cli_mistake(c, "takes one fingerprint, as latchkey token fido keys shows it", NULL);
    field_put(&fields, "key", argv[optind]);
    status = cli_fido_do("delete", &fields);
    buf_free(&fields);
    return status;
}

static const struct command cmd_delete = {
    .name = "token fido delete",
    .usage = "SHA256:FINGERPRINT",
    .summary = "delete an ssh key that a FIDO token keeps: it is lost",
    .run = delete,
};

/* --- new keys -------------------------------------------------------------------------------------------- */

static bool write_new(const char *path, const char *text, mode_t mode, bool replace)
{
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (replace ? O_TRUNC : O_EXCL);
    int fd = open(path, flags, mode);
    size_t n = strlen(text);
    bool good = fd >= 0 && write(fd, text, n) == (ssize_t)n;

    if (fd >= 0 && close(fd) != 0)
        good = false;
    if (!good)
        (void)cli_fail(path, strerror(errno));
    return good;
}

static int write_key(const json_t *j, const char *path, const char *comment)
{
    const char *private = cli_string(j, "private"), *public = cli_string(j, "public");
    char *pub_path = gpgrt_bsprintf("%s.pub", path);
    char *line = gpgrt_bsprintf("%s %s\n", public != NULL ? public : "", comment);
    int status = EXIT_NEGATIVE;

    if (private == NULL || public == NULL || pub_path == NULL || line == NULL)
        (void)cli_fail("token", "the agent's answer is not understood");
    else if (write_new(path, private, 0600, false) && write_new(pub_path, line, 0644, true))
        status = EXIT_OK;
    if (status == EXIT_OK) {
        printf("Your key is in ");
        cli_put(stdout, path);
        printf(", its public half in ");
        cli_put(stdout, pub_path);
        printf(".\n");
        cli_put_field(j, "fingerprint");
        putchar('\n');
    }
    gpgrt_free(pub_path);
    gpgrt_free(line);
    return status;
}

struct generate {
    const char *path, *comment, *application, *algo, *user;
    bool resident, verify, touchless, force;
};

static int parse_generate(const struct command *c, int argc, char **argv, struct generate *g)
{
    static const struct option options[] = {{"type", required_argument, NULL, 't'},
                                            {"file", required_argument, NULL, 'f'},
                                            {"comment", required_argument, NULL, 'C'},
                                            {"application", required_argument, NULL, 'a'},
                                            {"user", required_argument, NULL, 'u'},
                                            {"resident", no_argument, NULL, 'r'},
                                            {"verify-required", no_argument, NULL, 'v'},
                                            {"no-touch-required", no_argument, NULL, 'n'},
                                            {"force", no_argument, NULL, 'F'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int opt, status;

    while ((opt = cli_getopt(c, argc, argv, options, &status)) != -1) {
        if (opt == -2)
            return status;
        g->path = opt == 'f' ? optarg : g->path;
        g->comment = opt == 'C' ? optarg : g->comment;
        g->application = opt == 'a' ? optarg : g->application;
        g->algo = opt == 't' ? optarg : g->algo;
        g->user = opt == 'u' ? optarg : g->user;
        g->resident |= opt == 'r';
        g->verify |= opt == 'v';
        g->touchless |= opt == 'n';
        g->force |= opt == 'F';
    }
    if (optind < argc)
        return cli_mistake(c, "takes options only, but was given", argv[optind]);
    /* As ssh-keygen calls them, too. */
    if (strcmp(g->algo, "ed25519-sk") == 0)
        g->algo = "ed25519";
    else if (strcmp(g->algo, "ecdsa-sk") == 0)
        g->algo = "ecdsa";
    if (strcmp(g->algo, "ed25519") != 0 && strcmp(g->algo, "ecdsa") != 0)
        return cli_mistake(c, "--type is ed25519 or ecdsa, not", g->algo);
    if (g->path == NULL)
        return cli_mistake(c, "--file says where the key goes", NULL);
    if (strncmp(g->application, "ssh:", 4) != 0)
        return cli_mistake(c, "--application begins with \"ssh:\", unlike", g->application);
    if (access(g->path, F_OK) == 0)
        return cli_fail(g->path, "is there already: another --file, or move it away");
    return EXIT_OK;
}

static int generate(const struct command *c, int argc, char **argv)
{
    struct generate g = {.application = "ssh:", .algo = "ed25519", .comment = ""};
    struct buf fields = BUF_INIT;
    json_t *j;
    int status = parse_generate(c, argc, argv, &g);

    if (status != EXIT_OK || g.path == NULL)
        return status;
    field_put(&fields, "application", g.application);
    field_put(&fields, "algo", g.algo);
    field_put(&fields, "comment", g.comment);
    if (g.user != NULL)
        field_put(&fields, "user", g.user);
    if (g.resident)
        field_put_int(&fields, "resident", 1);
    if (g.verify)
        field_put_int(&fields, "verify", 1);
    if (g.touchless)
        field_put_int(&fields, "no-touch", 1);
    if (g.force)
        field_put_int(&fields, "force", 1);
    j = cli_fido("generate", &fields, &status);
    buf_free(&fields);
    if (j == NULL)
        return status;
    status = write_key(j, g.path, g.comment);
    json_decref(j);
    return status;
}

static const struct command cmd_generate = {
    .name = "token fido generate",
    .usage = "--file PATH [--type ed25519|ecdsa] [--application ssh:..] [--resident] "
             "[--verify-required] ..",
    .summary = "make an ssh key with a FIDO token, as ssh-keygen -t ed25519-sk does",
    .help = "  -f, --file PATH          where the key goes; the public half to PATH.pub\n"
            "  -t, --type TYPE          ed25519 (default) or ecdsa\n"
            "  -a, --application NAME   \"ssh:\" (default), or \"ssh:\" and a word\n"
            "  -C, --comment TEXT       in both files\n"
            "  -r, --resident           the token keeps it, too\n"
            "  -u, --user NAME          tells resident keys of one application apart\n"
            "  -v, --verify-required    each use takes the PIN or a finger that the token knows\n"
            "  -n, --no-touch-required  uses take no touch; servers refuse such keys by default\n"
            "  -F, --force              put it in the place of a resident key of that application "
            "and user\n",
    .run = generate,
};

static int set_pin(const struct command *c, int argc, char **argv)
{
    int status;

    if (!cli_no_arguments(c, argc, argv, &status))
        return status;
    return cli_fido_do("pin", NULL);
}

static const struct command cmd_set_pin = {
    .name = "token fido set-pin",
    .usage = "",
    .summary = "set or change the PIN of a FIDO token",
    .run = set_pin,
};

static const struct command *const subcommands[] = {
    &cmd_info, &cmd_keys_of, &cmd_delete, &cmd_generate, &cmd_set_pin, NULL,
};

const struct command cmd_token_fido = {
    .name = "token fido",
    .usage = "info|keys|delete|generate|set-pin ...",
    .summary = "manage FIDO tokens",
    .help = "  info      what is plugged in\n"
            "  keys      the ssh keys that a token keeps\n"
            "  delete    delete one of them\n"
            "  generate  make a new one, kept or not\n"
            "  set-pin   set or change the PIN\n"
            "Where several tokens are plugged in, they blink: touch the one that is meant.\n",
    .sub = subcommands,
};
