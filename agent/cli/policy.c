#include "agent/cli/cli.h"

#include "agent/paths.h"
#include "policy/policy.h"
#include "proto/token_protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- check -------------------------------------------------------------------------------------------------------------------- */

static int check_files(char **files, size_t n)
{
    char *home = path_home(), *admin = path_sysconfig("policy.conf"),
         *dir = path_sysconfig("policy.d");
    char *user = path_config("policy.conf");
    int status = EXIT_OK;

    for (size_t i = 0; i < (n > 0 ? n : 1); i++) {
        struct policy_paths paths = {.home = home, .uid = getuid()};
        struct policy_errors errors = {0};
        struct policy_set *p = NULL;

        paths.user_file = n > 0 ? files[i] : user;
        if (n == 0) {
            paths.admin_file = admin;
            paths.admin_dir = dir;
        } else if (access(files[i], R_OK) != 0) {
            status = cli_fail(files[i], strerror(errno));
            continue;
        }
        if (policy_load(&paths, &p, &errors) != 0)
            status = EXIT_NEGATIVE;
        for (size_t k = 0; k < errors.n; k++)
            fprintf(stderr, "%s", errors.text[k]);
        policy_errors_free(&errors);
        policy_unref(p);
    }
    gpgrt_free(home);
    gpgrt_free(admin);
    gpgrt_free(dir);
    gpgrt_free(user);
    return status;
}

/* --- explain, show -------------------------------------------------------------------------------------------------------------- */

static int print_answer(const char *line, const char *what)
{
    struct ctl_client *c = cli_connect();
    struct buf reply = BUF_INIT;
    int status = EXIT_NEGATIVE;

    if (c == NULL)
        return EXIT_NO_AGENT;
    if (cli_call(c, line, what, &reply) == 0) {
        fwrite(reply.data, 1, reply.len, stdout);
        status = EXIT_OK;
    }
    buf_free(&reply);
    ctl_close(c);
    return status;
}

static const struct option explain_options[] = {
    {"host", required_argument, NULL, 'H'},   {"user", required_argument, NULL, 'U'},
    {"key", required_argument, NULL, 'K'},    {"use", required_argument, NULL, 'S'},
    {"client", required_argument, NULL, 'C'}, {"forwarded", no_argument, NULL, 'W'},
    {"unbound", no_argument, NULL, 'B'},      {"last", no_argument, NULL, 'L'},
    {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
};

static int explain(const struct command *c, int argc, char **argv)
{
    struct buf fields = BUF_INIT, line = BUF_INIT;
    int opt, status = EXIT_USAGE;

    while ((opt = cli_getopt(c, argc, argv, explain_options, &status)) != -1) {
        const char *name = NULL;

        if (opt == -2)
            goto out;
        for (size_t i = 0; explain_options[i].name != NULL; i++)
            if (explain_options[i].val == opt)
                name = explain_options[i].name;
        field_put(&fields, name, optarg != NULL ? optarg : "1");
    }
    if (optind < argc) {
        cli_usage(c, stderr);
        status = EXIT_USAGE;
        goto out;
    }
    buf_printf(&line, "POLICY EXPLAIN %s", buf_cstr(&fields) != NULL ? buf_cstr(&fields) : "");
    status =
        buf_cstr(&line) != NULL ? print_answer(buf_cstr(&line), "policy explain") : EXIT_NEGATIVE;
out:
    buf_free(&fields);
    buf_free(&line);
    return status;
}

static int run(const struct command *c, int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : NULL;

    if (what != NULL && (strcmp(what, "--help") == 0 || strcmp(what, "-h") == 0)) {
        cli_usage(c, stdout);
        return EXIT_OK;
    }
    if (what != NULL && strcmp(what, "check") == 0) {
        if (argc > 2 && argv[2][0] == '-') {
            cli_usage(c, strcmp(argv[2], "--help") == 0 ? stdout : stderr);
            return strcmp(argv[2], "--help") == 0 ? EXIT_OK : EXIT_USAGE;
        }
        return check_files(argv + 2, (size_t)argc - 2);
    }
    if (what != NULL && strcmp(what, "explain") == 0)
        return explain(c, argc - 1, argv + 1);
    if (what != NULL && strcmp(what, "show") == 0 && argc == 2)
        return print_answer("POLICY SHOW", "policy show");
    cli_usage(c, stderr);
    return EXIT_USAGE;
}

const struct command cmd_policy = {
    .name = "policy",
    .usage =
        "check [FILE ...]\n       latchkey policy show\n"
        "       latchkey policy explain [--host H] [--user U] [--key K] [--use S] [--client P]\n"
        "                               [--forwarded] [--unbound] | --last",
    .summary = "check policy files, show what is in force, explain a verdict",
    .help = "  check     exit 0 if the files (default: yours and the administrator's) are valid\n"
            "  show      the rules in force, the built-in tail included\n"
            "  explain   each setting, its value and where it comes from, and what was skipped and "
            "why;\n"
            "            --last: for what was just asked\n",
    .run = run,
};
