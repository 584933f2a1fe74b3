#include "agent/cli/cli.h"
#include "agent/cli/policy_files.h"
#include "agent/explain_facts.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>

static const struct option options[] = {
    {"host", required_argument, NULL, 'H'},   {"user", required_argument, NULL, 'u'},
    {"key", required_argument, NULL, 'k'},    {"use", required_argument, NULL, 's'},
    {"client", required_argument, NULL, 'c'}, {"forwarded", no_argument, NULL, 'f'},
    {"unbound", no_argument, NULL, 'b'},      {"last", no_argument, NULL, 'l'},
    {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
};

/* By the files and by what the key's name says about it. */
static int explain_offline(const char *fields)
{
    struct explain_facts e = {0};
    struct policy_set *p = NULL;
    int status = EXIT_NEGATIVE;
    char *text = NULL;
    size_t n = 0;
    FILE *f;
    gpg_error_t err;

    fprintf(stderr, "latchkey: no agent is running; this is what the files say, and of a key only "
                    "its name is known\n");
    if (policy_files_load(NULL, &p) != 0)
        return EXIT_NEGATIVE;
    err = explain_facts_parse(fields, &e);
    if (err == 0)
        err = explain_facts_guess_key(&e);
    f = err == 0 ? open_memstream(&text, &n) : NULL;
    if (f != NULL) {
        policy_explain(p, &e.f, f);
        fclose(f);
        cli_put_text(stdout, text, n);
        free(text);
        status = EXIT_OK;
    } else {
        cli_fail("policy explain", err != 0 ? gpg_strerror(err) : "out of memory");
    }
    explain_facts_clear(&e);
    policy_unref(p);
    return status;
}

static int explain(const struct command *c, const char *fields, bool last)
{
    struct ctl_client *ctl = NULL;
    struct buf line = BUF_INIT, reply = BUF_INIT;
    int status = EXIT_NEGATIVE;

    if (ctl_connect(&ctl) != 0) {
        if (!last)
            return explain_offline(fields);
        fprintf(stderr, "latchkey: no agent is running, so nothing was asked of it; latchkey log "
                        "tells what was asked before\n");
        return EXIT_NO_AGENT;
    }
    buf_printf(&line, "POLICY EXPLAIN %s", fields);
    if (buf_cstr(&line) == NULL) {
        cli_fail(c->name, "out of memory");
    } else if (cli_call(ctl, buf_cstr(&line), c->name, &reply) == 0) {
        cli_put_text(stdout, (const char *)reply.data, reply.len);
        status = EXIT_OK;
    }
    buf_free(&line);
    buf_free(&reply);
    ctl_close(ctl);
    return status;
}

static const char *name_of(int opt)
{
    for (size_t i = 0; options[i].name != NULL; i++)
        if (options[i].val == opt)
            return options[i].name;
    return "";
}

static int mistaken_use(const struct command *c, const char *use, const char *near)
{
    char *why =
        near != NULL ? gpgrt_bsprintf("there is no such use (did you mean %s?):", near) : NULL;
    int status = cli_mistake(c, why != NULL ? why : "there is no such use:", use);

    gpgrt_free(why);
    return status;
}

static int run(const struct command *c, int argc, char **argv)
{
    struct buf fields = BUF_INIT;
    const char *use = "ssh-auth", *near;
    bool last = false, facts = false;
    int opt, status;

    while ((opt = cli_getopt(c, argc, argv, options, &status)) != -1) {
        if (opt == -2)
            goto out;
        last = last || opt == 'l';
        facts = facts || opt != 'l';
        use = opt == 's' ? optarg : use;
        field_put(&fields, name_of(opt), optarg != NULL ? optarg : "1");
    }
    if (optind < argc)
        status = cli_mistake(c, "takes options only, but was given", argv[optind]);
    else if (!policy_is_use(use, &near))
        status = mistaken_use(c, use, near);
    else if (last && facts)
        status = cli_mistake(c, "--last stands alone: it has the facts of the last request", NULL);
    else if (buf_cstr(&fields) == NULL)
        status = cli_fail(c->name, "out of memory");
    else
        status = explain(c, buf_cstr(&fields), last);
out:
    buf_free(&fields);
    return status;
}

const struct command cmd_policy_explain = {
    .name = "policy explain",
    .usage = "[--host H] [--user U] [--key K] [--use S] [--client P]\n"
             "                               [--forwarded] [--unbound]\n"
             "       latchkey policy explain --last",
    .summary = "tell each setting's value, where it comes from, what was skipped and why",
    .help = "  -l, --last        for what was just asked of the agent\n"
            "  -H, --host H      the destination, taken as proven: a name or SHA256:...\n"
            "  -b, --unbound     the destination is not proven: it could be any host\n"
            "  -u, --user U      the remote user\n"
            "  -k, --key K       fingerprint, keygrip, key id, TOKEN/SLOT or comment\n"
            "  -s, --use S       ssh-auth (the default), sshsig:git, sudo, git-commit, ...\n"
            "  -c, --client P    the asking program's path\n"
            "  -f, --forwarded   the request comes over a forwarded agent\n"
            "What is not given is not known, and then neither a criterion nor its negation holds.\n"
            "Without a running agent the files are explained.\n",
    .run = run,
};
