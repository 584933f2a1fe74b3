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
    .help = "A change of your own policy takes effect when you agree to it in a dialog, which "
            "comes up\n"
            "where the agent was started or, if that has neither display nor terminal, here.\n"
            "Exit status 0: what the files say is in force.\n",
    .run = run,
};
