#include "agent/cli/cli.h"

static int run(const struct command *c, int argc, char **argv)
{
    int status;

    if (!cli_no_arguments(c, argc, argv, &status))
        return status;
    status = cli_verb(c, "LOCK");
    if (status == EXIT_OK)
        puts("locked");
    return status;
}

const struct command cmd_lock = {
    .name = "lock",
    .usage = "",
    .summary = "lock: forget every PIN, proof and approval, log the cards out",
    .run = run,
};
