#include "agent/cli/cli.h"

#include "proto/openpgp.h"
#include "proto/token_protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static void put_key(const json_t *k)
{
    const json_t *tokens = json_object_get(k, "tokens"), *uses = json_object_get(k, "uses");

    printf("%s%-12s%s ", cli_colour(BOLD),
           cli_string(k, "type") != NULL ? cli_string(k, "type") : "?", cli_colour(PLAIN));
    cli_put(stdout, cli_string(k, "fingerprint") != NULL ? cli_string(k, "fingerprint")
                                                         : cli_string(k, "keygrip"));
    printf("  ");
    cli_put(stdout, cli_string(k, "comment"));
    if (json_is_true(json_object_get(k, "certificate")))
        printf("  (certificate)");
    printf("\n    %s:", cli_string(k, "family") != NULL ? cli_string(k, "family") : "?");
    for (size_t i = 0; i < json_array_size(uses); i++)
        printf(" %s", json_string_value(json_array_get(uses, i)));
    if (json_is_true(json_object_get(k, "confirm")))
        printf(", confirmed");
    if (json_is_true(json_object_get(k, "constrained")))
        printf(", for some hosts only");
    if (json_is_integer(json_object_get(k, "expires_in")))
        printf(", %lld s left", json_integer_value(json_object_get(k, "expires_in")));
    putchar('\n');
    if (cli_string(k, "openpgp_fingerprint") != NULL)
        printf("    OpenPGP %s\n", cli_string(k, "openpgp_fingerprint"));
    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const json_t *t = json_array_get(tokens, i);

        printf("    on ");
        cli_put(stdout, cli_string(t, "name"));
        if (cli_string(t, "name") != NULL && strcmp(cli_string(t, "name"), "software") != 0) {
            printf("/");
            cli_put(stdout, cli_string(t, "slot"));
            printf("  touch: %s  PIN: %s", cli_string(t, "touch"), cli_string(t, "pin"));
        }
        putchar('\n');
    }
}

/* Lines for authorized_keys: plain keys that ssh can log in with. */
static int put_ssh(const json_t *keys)
{
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *k = json_array_get(keys, i);

        if (cli_string(k, "ssh") == NULL || strcmp(cli_string(k, "family"), "ssh") != 0 ||
            json_is_true(json_object_get(k, "certificate")))
            continue;
        printf("%s ", cli_string(k, "ssh"));
        cli_put(stdout, cli_string(k, "comment"));
        putchar('\n');
        n++;
    }
    return n > 0 ? EXIT_OK : EXIT_NEGATIVE;
}

static int put_fingerprints(const json_t *keys)
{
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *k = json_array_get(keys, i);

        printf("%lld ", json_integer_value(json_object_get(k, "bits")));
        cli_put(stdout, cli_string(k, "fingerprint"));
        printf(" %s %s ", cli_string(k, "keygrip"),
               cli_string(k, "openpgp_fingerprint") != NULL ? cli_string(k, "openpgp_fingerprint")
                                                            : "-");
        cli_put(stdout, cli_string(k, "comment"));
        putchar('\n');
    }
    return json_array_size(keys) > 0 ? EXIT_OK : EXIT_NEGATIVE;
}

static int write_out(const char *path, const struct buf *text)
{
    FILE *f = stdout;
    int fd;

    if (path != NULL) {
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        f = fd >= 0 ? fdopen(fd, "w") : NULL;
        if (f == NULL)
            return cli_fail(path, strerror(errno));
    }
    if (fwrite(text->data, 1, text->len, f) != text->len || fflush(f) != 0 ||
        (f != stdout && fclose(f) != 0))
        return cli_fail(path != NULL ? path : "standard output", strerror(errno));
    return EXIT_OK;
}

/* An OpenPGP certificate for the token's keys, signed by the token. */
static int put_certificate(const char *uid, const char *key, const char *path)
{
    struct ctl_client *c = cli_connect();
    struct buf line = BUF_INIT, fields = BUF_INIT, packet = BUF_INIT, text = BUF_INIT;
    int status = EXIT_NEGATIVE;

    if (c == NULL)
        return EXIT_NO_AGENT;
    if (key != NULL)
        field_put(&fields, "key", key);
    field_put(&fields, "uid", uid);
    buf_printf(&line, "CERTIFICATE %s", buf_cstr(&fields) != NULL ? buf_cstr(&fields) : "");
    if (cli_call(c, buf_cstr(&line), "keys --openpgp", &packet) == 0) {
        openpgp_armor(&text, "PUBLIC KEY BLOCK", buf_rd(&packet));
        status = buf_err(&text) == 0 ? write_out(path, &text)
                                     : cli_fail("keys --openpgp", "out of memory");
    }
    buf_free(&line);
    buf_free(&fields);
    buf_free(&packet);
    buf_free(&text);
    ctl_close(c);
    return status;
}

static int run(const struct command *c, int argc, char **argv)
{
    enum { AS_TEXT, AS_JSON, AS_SSH, AS_FINGERPRINT, AS_OPENPGP } form = AS_TEXT;
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"ssh", no_argument, NULL, 's'},
                                            {"fingerprint", no_argument, NULL, 'F'},
                                            {"openpgp", required_argument, NULL, 'O'},
                                            {"output", required_argument, NULL, 'o'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *uid = NULL, *path = NULL;
    json_t *j;
    int opt, status;

    while ((opt = cli_getopt(c, argc, argv, options, &status)) != -1) {
        if (opt == -2)
            return status;
        if (opt == 'o') {
            path = optarg;
        } else if (opt == 'O') {
            form = AS_OPENPGP;
            uid = optarg;
        } else {
            form = opt == 'j' ? AS_JSON : opt == 's' ? AS_SSH : AS_FINGERPRINT;
        }
    }
    if (form == AS_OPENPGP)
        return put_certificate(uid, argv[optind], path);
    if (optind < argc || path != NULL) {
        cli_usage(c, stderr);
        return EXIT_USAGE;
    }
    j = cli_json("KEYS", &status);
    if (j == NULL)
        return status;
    if (form == AS_JSON)
        status = cli_print_json(j);
    else if (form == AS_SSH)
        status = put_ssh(j);
    else if (form == AS_FINGERPRINT)
        status = put_fingerprints(j);
    else {
        for (size_t i = 0; i < json_array_size(j); i++)
            put_key(json_array_get(j, i));
        if (json_array_size(j) == 0)
            fprintf(stderr,
                    "latchkey: no keys: insert a token, or add a software key with ssh-add\n");
        status = json_array_size(j) > 0 ? EXIT_OK : EXIT_NEGATIVE;
    }
    json_decref(j);
    return status;
}

const struct command cmd_keys = {
    .name = "keys",
    .usage = "[--json | --ssh | --fingerprint]\n       latchkey keys --openpgp 'Name <mail>' [-o "
             "FILE] [KEY]",
    .summary = "list keys, or make an OpenPGP certificate for a token's keys",
    .help = "  --json            as JSON\n"
            "  --ssh             as lines for authorized_keys\n"
            "  --fingerprint     bits, SHA256 fingerprint, keygrip, OpenPGP fingerprint, comment\n"
            "  --openpgp UID     the OpenPGP certificate that others verify signatures with,\n"
            "                    self-signed by the token's signature key\n"
            "  -o, --output FILE write it there (must not exist)\n",
    .run = run,
};
