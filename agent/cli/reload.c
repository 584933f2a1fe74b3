#include "agent/cli/cli.h"

static int run(const struct command *c, int argc, char **argv)
{
    int status;

    return cli_no_arguments(c, argc, argv, &status) ? cli_verb(c, "RELOAD") : status;
}

const struct command cmd_reload = {
    .name = "reload",
    .usage = "",
    .summary = "read the policy again, reopen the audit log",
    .help = "A policy that demands less takes effect when you agree to it in a dialog.\n"
            "latchkey status tells how it went.\n",
    .run = run,
};
