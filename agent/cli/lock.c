#include "agent/cli/cli.h"

#include <string.h>

/* A command that is one verb without an answer. */
static int run_verb(const struct command *c, int argc, char **argv, const char *verb,
                    const char *done)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    struct ctl_client *ctl;
    gpg_error_t err;
    int status;

    while (cli_getopt(c, argc, argv, options, &status) != -1)
        return status;
    if (optind < argc) {
        cli_usage(c, stderr);
        return EXIT_USAGE;
    }
    ctl = cli_connect();
    if (ctl == NULL)
        return EXIT_NO_AGENT;
    err = cli_call(ctl, verb, c->name, NULL);
    ctl_close(ctl);
    if (err != 0)
        return EXIT_NEGATIVE;
    if (done != NULL)
        puts(done);
    return EXIT_OK;
}

static int run_lock(const struct command *c, int argc, char **argv)
{
    return run_verb(c, argc, argv, "LOCK", "locked");
}

static int run_unlock(const struct command *c, int argc, char **argv)
{
    return run_verb(c, argc, argv, "UNLOCK", "open");
}

static int run_reload(const struct command *c, int argc, char **argv)
{
    return run_verb(c, argc, argv, "RELOAD", NULL);
}

const struct command cmd_lock = {
    .name = "lock",
    .usage = "",
    .summary = "lock: forget every PIN, proof and approval, log the cards out",
    .run = run_lock,
};

const struct command cmd_unlock = {
    .name = "unlock",
    .usage = "",
    .summary = "unlock by a token's PIN, or by a dialog where no token was used before",
    .run = run_unlock,
};

const struct command cmd_reload = {
    .name = "reload",
    .usage = "",
    .summary = "read the policy again, reopen the audit log",
    .run = run_reload,
};
