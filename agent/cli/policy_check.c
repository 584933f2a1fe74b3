#include "agent/cli/cli.h"
#include "agent/cli/policy_files.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int check(const char *file)
{
    struct policy_set *p = NULL;
    gpg_error_t err;

    /* Policies that are not there are fine for an agent; a name that was given is to be there. */
    if (file != NULL && access(file, R_OK) != 0)
        return cli_fail(file, strerror(errno));
    err = policy_files_load(file, &p);
    if (err == 0)
        policy_unref(p);
    return err == 0 ? EXIT_OK : EXIT_NEGATIVE;
}

static int run(const struct command *c, int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    int status = EXIT_OK;

    if (cli_getopt(c, argc, argv, options, &status) != -1)
        return status;
    if (optind == argc)
        return check(NULL);
    for (int i = optind; i < argc; i++)
        if (check(argv[i]) != EXIT_OK)
            status = EXIT_NEGATIVE;
    return status;
}

const struct command cmd_policy_check = {
    .name = "policy check",
    .usage = "[FILE ...]",
    .summary = "check policy files: yours and the administrator's, or those named",
    .help = "Silent with exit status 0 when they are valid; else every problem with its line.\n"
            "Needs no agent.\n",
    .run = run,
};
