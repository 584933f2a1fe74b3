#include "agent/cli/cli.h"

static int run(const struct command *c, int argc, char **argv)
{
    int status;

    if (!cli_no_arguments(c, argc, argv, &status))
        return status;
    status = cli_verb(c, "UNLOCK");
    if (status == EXIT_OK)
        puts("open");
    return status;
}

const struct command cmd_unlock = {
    .name = "unlock",
    .usage = "",
    .summary = "unlock by a token's PIN, or by a dialog where no token was used before",
    .run = run,
};
