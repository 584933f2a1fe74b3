#include "agent/cli/cli.h"

static const struct command *const subcommands[] = {&cmd_policy_check, &cmd_policy_show,
                                                    &cmd_policy_explain, NULL};

const struct command cmd_policy = {
    .name = "policy",
    .usage = "check | show | explain ...",
    .summary = "check policy files, show what is in force, explain a verdict",
    .help = "  check     exit 0 if the files (default: yours and the administrator's) are valid\n"
            "  show      the rules in force, the built-in tail included\n"
            "  explain   each setting, its value and where it comes from, and what was skipped\n"
            "            and why\n",
    .sub = subcommands,
};
