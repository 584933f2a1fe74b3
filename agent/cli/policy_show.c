#include "agent/cli/cli.h"
#include "agent/cli/policy_files.h"

#include <stdlib.h>

static int show_files(void)
{
    struct policy_set *p = NULL;
    char *text = NULL;
    size_t n = 0;
    FILE *f;

    fprintf(stderr, "latchkey: no agent is running; this is what one would load\n");
    if (policy_files_load(NULL, &p) != 0)
        return EXIT_NEGATIVE;
    f = open_memstream(&text, &n);
    if (f != NULL) {
        policy_print(p, f);
        fclose(f);
        cli_put_text(stdout, text, n);
        free(text);
    }
    policy_unref(p);
    return f != NULL ? EXIT_OK : cli_fail("policy show", "out of memory");
}

static int run(const struct command *c, int argc, char **argv)
{
    struct ctl_client *ctl = NULL;
    struct buf reply = BUF_INIT;
    int status;

    if (!cli_no_arguments(c, argc, argv, &status))
        return status;
    if (ctl_connect(&ctl) != 0)
        return show_files();
    status = EXIT_NEGATIVE;
    if (cli_call(ctl, "POLICY SHOW", c->name, &reply) == 0) {
        cli_put_text(stdout, (const char *)reply.data, reply.len);
        status = EXIT_OK;
    }
    buf_free(&reply);
    ctl_close(ctl);
    return status;
}

const struct command cmd_policy_show = {
    .name = "policy show",
    .usage = "",
    .summary = "print the rules in force, the built-in tail included",
    .help = "Without a running agent: what the files would bring into force.\n",
    .run = run,
};
