/* latchkey token enroll-presence, presence: FIDO tokens whose touch stands in for other tokens'. */
#include "agent/cli/token.h"

#include "proto/token_protocol.h"

#include <string.h>

static int enroll(const struct command *c, int argc, char **argv)
{
    static const struct option options[] = {{"name", required_argument, NULL, 'n'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *name = "fido";
    struct buf fields = BUF_INIT;
    int opt, status;

    while ((opt = cli_getopt(c, argc, argv, options, &status)) != -1) {
        if (opt == -2)
            return status;
        name = optarg;
    }
    if (optind < argc)
        return cli_mistake(c, "takes options only, but was given", argv[optind]);
    field_put(&fields, "name", name);
    status = cli_fido_do("enroll", &fields);
    buf_free(&fields);
    if (status == EXIT_OK) {
        printf("Enrolled as ");
        cli_put(stdout, name);
        printf(". Where the policy says StandIn fido, its touch now counts as presence.\n");
    }
    return status;
}

const struct command cmd_token_enroll = {
    .name = "token enroll-presence",
    .usage = "[--name NAME]",
    .summary = "enroll a FIDO token, whose touch then serves for tokens without a button",
    .help = "  -n, --name NAME    what to call it (default: fido)\n"
            "It takes effect where the policy says StandIn fido, see latchkey-policy(5).\n",
    .run = enroll,
};

static int forget(const char *name)
{
    struct buf fields = BUF_INIT;
    int status;

    field_put(&fields, "name", name);
    status = cli_fido_do("forget", &fields);
    buf_free(&fields);
    return status;
}

static int presence(const struct command *c, int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"forget", required_argument, NULL, 'F'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *name = NULL;
    bool as_json = false;
    int opt, status = EXIT_OK;
    json_t *j;

    while ((opt = cli_getopt(c, argc, argv, options, &status)) != -1) {
        if (opt == -2)
            return status;
        as_json |= opt == 'j';
        name = opt == 'F' ? optarg : name;
    }
    if (optind < argc)
        return cli_mistake(c, "takes options only, but was given", argv[optind]);
    if (name != NULL)
        return forget(name);
    j = cli_fido("enrolled", NULL, &status);
    if (j == NULL)
        return status;
    if (as_json)
        (void)cli_print_json(j);
    for (size_t i = 0; i < json_array_size(j) && !as_json; i++) {
        cli_put_field(json_array_get(j, i), "name");
        printf("  ");
        cli_put_field(json_array_get(j, i), "fingerprint");
        putchar('\n');
    }
    if (json_array_size(j) == 0) {
        if (!as_json)
            fprintf(stderr, "latchkey: no FIDO token is enrolled\n");
        status = EXIT_NEGATIVE;
    }
    json_decref(j);
    return status;
}

const struct command cmd_token_presence = {
    .name = "token presence",
    .usage = "[--json | --forget NAME]",
    .summary = "list the FIDO tokens that are enrolled for presence, or forget one",
    .help = "  -j, --json           as JSON\n"
            "  -F, --forget NAME    its touch counts no longer\n",
    .run = presence,
};
