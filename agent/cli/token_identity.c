/* latchkey token identity: what hardware wallets have keys for. */
#include "agent/cli/identity_file.h"
#include "agent/cli/token.h"
#include "proto/token_protocol.h"

#include <string.h>

/* --- arguments --------------------------------------------------------------------------------------------------- */

/* URI [CURVE] */
static bool take_identity(const struct command *c, int argc, char **argv,
                          struct wallet_identity *id, int *status)
{
    gpg_error_t err;

    *status = EXIT_USAGE;
    if (argc < 1 || argc > 2) {
        *status =
            cli_mistake(c,
                        argc < 1 ? "an identity is wanted, as ssh://user@host"
                                 : "an identity and a curve are wanted (quote a user id): what is",
                        argc < 1 ? NULL : argv[2]);
        return false;
    }
    err = wallet_identity_parse(argv[0], argc > 1 ? argv[1] : NULL, id);
    switch (gpg_err_code(err)) {
    case GPG_ERR_NO_ERROR:
        return true;
    case GPG_ERR_UNKNOWN_CURVE:
        *status = cli_mistake(c, "the curve is nist256p1 or ed25519, not", argv[1]);
        break;
    case GPG_ERR_NOT_SUPPORTED:
        *status = cli_mistake(c, "identities are written in ASCII letters, unlike", argv[0]);
        break;
    case GPG_ERR_INV_VALUE:
        *status = cli_mistake(c, "there is neither host nor user id in", argv[0]);
        break;
    default:
        *status = cli_fail(c->name, gpg_strerror(err));
        break;
    }
    return false;
}

static bool no_options(const struct command *c, int argc, char **argv, int *status)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};

    return cli_getopt(c, argc, argv, options, status) == -1;
}

/* --- reading keys ------------------------------------------------------------------------------------------------ */

static bool can_wallet(const json_t *token)
{
    const json_t *apps = json_object_get(token, "applications");
    const char *state = cli_string(token, "state");

    for (size_t i = 0; i < json_array_size(apps); i++)
        if (strcmp(json_string_value(json_array_get(apps, i)), "wallet") == 0)
            return state != NULL && strcmp(state, "ready") == 0;
    return false;
}

static bool is_read(const json_t *identity, const char *token, bool ecdh)
{
    const json_t *keys = json_object_get(identity, "keys");

    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *k = json_array_get(keys, i);

        if (json_is_true(json_object_get(k, "decrypts")) == ecdh &&
            strcmp(cli_string(k, "token"), token) == 0)
            return true;
    }
    return false;
}

static gpg_error_t read_key(const struct command *c, const char *token, const char *uri,
                            const char *curve, bool ecdh)
{
    struct buf fields = BUF_INIT, reply = BUF_INIT;
    gpg_error_t err;

    field_put(&fields, "uri", uri);
    field_put(&fields, "curve", curve);
    if (ecdh)
        field_put_int(&fields, "ecdh", 1);
    fprintf(stderr, "latchkey: ");
    cli_put(stderr, token);
    fprintf(stderr, ": reading the %skey of ", ecdh ? "decryption " : "");
    cli_put(stderr, uri);
    fprintf(stderr, ": look at the device\n");
    err = buf_err(&fields) != 0
              ? buf_err(&fields)
              : cli_token_call(c, token, TOKEN_VERB_PUBKEY, &fields, NULL, &reply, NULL, NULL);
    buf_free(&fields);
    buf_free(&reply);
    return err;
}

/* What TOKEN has not told yet. */
static gpg_error_t read_from(const struct command *c, const char *token, const json_t *identity)
{
    const char *uri = cli_string(identity, "uri"), *curve = cli_string(identity, "curve");
    bool gpg = strncmp(uri, "gpg://", 6) == 0;
    gpg_error_t err = 0;

    if (!is_read(identity, token, false))
        err = read_key(c, token, uri, curve, false);
    if (err == 0 && gpg && !is_read(identity, token, true))
        err = read_key(c, token, uri, curve, true);
    return err;
}

static bool is_meant(const json_t *identity, const struct wallet_identity *id)
{
    char *uri = id != NULL ? wallet_uri(id) : NULL;
    bool is = id == NULL || (uri != NULL && strcmp(cli_string(identity, "uri"), uri) == 0 &&
                             strcmp(cli_string(identity, "curve"), wallet_curve(id)) == 0);

    gpgrt_free(uri);
    return is;
}

/* ID NULL: all. *N counts the wallets that are there. */
static int read_missing(const struct command *c, const json_t *identities,
                        const struct wallet_identity *id, size_t *n)
{
    int status = EXIT_OK;
    json_t *j = cli_json("STATUS", &status);
    const json_t *tokens = json_object_get(j, "tokens");

    *n = 0;
    if (j != NULL)
        status = EXIT_OK;
    for (size_t i = 0; i < json_array_size(tokens) && status == EXIT_OK; i++) {
        const json_t *t = json_array_get(tokens, i);

        if (!can_wallet(t))
            continue;
        ++*n;
        for (size_t k = 0; k < json_array_size(identities) && status == EXIT_OK; k++)
            if (is_meant(json_array_get(identities, k), id) &&
                read_from(c, cli_string(t, "name"), json_array_get(identities, k)) != 0)
                status = EXIT_NEGATIVE;
    }
    json_decref(j);
    return status;
}

/* --- showing ------------------------------------------------------------------------------------------------------ */

static void put_identity(const json_t *i)
{
    const json_t *keys = json_object_get(i, "keys");
    size_t n = json_array_size(keys);

    fputs(cli_colour(BOLD), stdout);
    cli_put_field(i, "uri");
    fputs(cli_colour(PLAIN), stdout);
    printf("  ");
    cli_put_field(i, "curve");
    printf("  from ");
    cli_put_field(i, "from");
    printf("%s\n", n == 0 ? "  key not read yet: latchkey token identity read" : "");
    for (size_t k = 0; k < n; k++) {
        const json_t *key = json_array_get(keys, k);
        const char *ssh = cli_string(key, "ssh");

        printf("  ");
        cli_put_field(key, "label");
        printf("  %s", json_is_true(json_object_get(key, "decrypts")) ? "decrypts  " : "");
        cli_put_field(key, ssh != NULL ? "ssh" : "keygrip");
        putchar('\n');
    }
}

static void tell_problems(const json_t *j)
{
    const char *problems = cli_string(j, "problems");

    if (problems != NULL)
        cli_put_text(stderr, problems, strlen(problems));
}

/* The line for authorized_keys, or what a gpg key's certificate takes. */
static void put_result(const json_t *identities, const struct wallet_identity *id)
{
    for (size_t i = 0; i < json_array_size(identities); i++) {
        const json_t *identity = json_array_get(identities, i);
        const json_t *keys = json_object_get(identity, "keys");
        char *text = wallet_identity_text(id);

        if (!is_meant(identity, id) || json_array_size(keys) == 0) {
            gpgrt_free(text);
            continue;
        }
        if (cli_string(json_array_get(keys, 0), "ssh") != NULL) {
            cli_put_field(json_array_get(keys, 0), "ssh");
            printf(" %s\n", text != NULL ? text : "");
        } else {
            printf("make its certificate with: latchkey keys --openpgp '%s' ", id->host);
            cli_put_field(json_array_get(keys, 0), "keygrip");
            putchar('\n');
        }
        gpgrt_free(text);
    }
}

/* --- commands ------------------------------------------------------------------------------------------------------ */

static int list(const struct command *c, int argc, char **argv)
{
    bool as_json;
    const json_t *all;
    int status;
    json_t *j;

    if (!cli_only_json(c, argc, argv, &as_json, &status))
        return status;
    j = cli_json("IDENTITIES", &status);
    if (j == NULL)
        return status;
    all = json_object_get(j, "identities");
    if (as_json)
        (void)cli_print_json(j);
    for (size_t i = 0; i < json_array_size(all) && !as_json; i++)
        put_identity(json_array_get(all, i));
    tell_problems(j);
    if (json_array_size(all) == 0 && !as_json)
        fprintf(stderr,
                "latchkey: no wallet identities: latchkey token identity add ssh://user@host\n");
    status = json_array_size(all) > 0 ? EXIT_OK : EXIT_NEGATIVE;
    json_decref(j);
    return status;
}

/* Reads what is missing of ID (NULL: all), and shows what came of it. */
static int read_and_show(const struct command *c, const struct wallet_identity *id)
{
    int status;
    json_t *j = cli_json("IDENTITIES reload=1", &status);
    size_t wallets = 0;

    if (j == NULL)
        return status;
    tell_problems(j);
    status = read_missing(c, json_object_get(j, "identities"), id, &wallets);
    json_decref(j);
    if (wallets == 0 && status == EXIT_OK)
        fprintf(stderr, "latchkey: no wallet is plugged in and unlocked: plug it in, then latchkey "
                        "token identity read\n");
    if (status != EXIT_OK || id == NULL)
        return status;
    j = cli_json("IDENTITIES", &status);
    if (j == NULL)
        return status;
    put_result(json_object_get(j, "identities"), id);
    json_decref(j);
    return EXIT_OK;
}

static int add(const struct command *c, int argc, char **argv)
{
    struct wallet_identity id = {0};
    char *path = identity_file_path();
    bool added = false;
    gpg_error_t err;
    int status;

    if (no_options(c, argc, argv, &status) &&
        take_identity(c, argc - optind, argv + optind, &id, &status)) {
        err = path != NULL ? identity_file_add(path, &id, &added) : gpg_error(GPG_ERR_ENOENT);
        if (err != 0)
            status = cli_fail(path != NULL ? path : c->name, gpg_strerror(err));
        else
            status = read_and_show(c, &id);
        if (err == 0 && status == EXIT_NO_AGENT)
            fprintf(stderr, "latchkey: it is written down, and the agent will know it\n");
    }
    wallet_identity_clear(&id);
    gpgrt_free(path);
    return status;
}

static int remove_identity(const struct command *c, int argc, char **argv)
{
    struct wallet_identity id = {0};
    char *path = identity_file_path();
    gpg_error_t err;
    int status;
    json_t *j;

    if (no_options(c, argc, argv, &status) &&
        take_identity(c, argc - optind, argv + optind, &id, &status)) {
        err = path != NULL ? identity_file_remove(path, &id) : gpg_error(GPG_ERR_ENOENT);
        status = EXIT_OK;
        if (gpg_err_code(err) == GPG_ERR_NOT_FOUND)
            status =
                cli_fail(argv[optind], "not in your file of identities; latchkey token identity "
                                       "list tells which file names it (and with what curve)");
        else if (err != 0)
            status = cli_fail(path != NULL ? path : c->name, gpg_strerror(err));
        j = status == EXIT_OK ? cli_json("IDENTITIES reload=1", &status) : NULL;
        json_decref(j);
        if (err == 0 && (j != NULL || status == EXIT_NO_AGENT))
            status = EXIT_OK;
    }
    wallet_identity_clear(&id);
    gpgrt_free(path);
    return status;
}

static int read_keys(const struct command *c, int argc, char **argv)
{
    struct wallet_identity id = {0};
    int status;

    if (!no_options(c, argc, argv, &status))
        return status;
    if (optind == argc)
        return read_and_show(c, NULL);
    if (take_identity(c, argc - optind, argv + optind, &id, &status))
        status = read_and_show(c, &id);
    wallet_identity_clear(&id);
    return status;
}

#define IDENTITY_HELP                                                                         \
    "An identity is ssh://[USER@]HOST[:PORT][/PATH], or 'gpg://NAME <MAIL>' for an OpenPGP\n" \
    "key; the curve is nist256p1 (if none is given) or ed25519, as with trezor-agent.\n"

static const struct command cmd_identity_list = {
    .name = "token identity list",
    .usage = "[--json]",
    .summary = "list identities and what keys are known of them",
    .help = "  -j, --json    as JSON\n",
    .run = list,
};
static const struct command cmd_identity_add = {
    .name = "token identity add",
    .usage = "IDENTITY [CURVE]",
    .summary = "have a key for an identity",
    .help = IDENTITY_HELP
    "Writes it into ~/.config/latchkey/identities, reads its public key from the wallets that are\n"
    "there, and prints it.\n",
    .run = add,
};
static const struct command cmd_identity_remove = {
    .name = "token identity remove",
    .usage = "IDENTITY [CURVE]",
    .summary = "forget an identity",
    .help = IDENTITY_HELP "The wallet forgets nothing: added again, it has the same key.\n",
    .run = remove_identity,
};
static const struct command cmd_identity_read = {
    .name = "token identity read",
    .usage = "[IDENTITY [CURVE]]",
    .summary = "read public keys from the wallets that are there",
    .help =
        "Needed once for each device: which then may ask for its PIN, or want a button pressed.\n",
    .run = read_keys,
};

static const struct command *const subcommands[] = {
    &cmd_identity_list, &cmd_identity_add, &cmd_identity_remove, &cmd_identity_read, NULL,
};

const struct command cmd_token_identity = {
    .name = "token identity",
    .usage = "list|add|remove|read ...",
    .summary = "what hardware wallets have keys for",
    .help = "  list      identities, and what keys are known of them\n"
            "  add       have a key for an identity\n"
            "  remove    forget an identity\n"
            "  read      read public keys from the wallets that are there\n",
    .sub = subcommands,
};
