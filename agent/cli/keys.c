#include "agent/cli/cli.h"

#include "agent/cli/certificate.h"
#include "policy/policy.h"

#include <string.h>
#include <strings.h>
#include <time.h>

static void put_holder(const json_t *t)
{
    const char *name = cli_string(t, "name"), *slot = cli_string(t, "slot");

    printf("    on ");
    cli_put(stdout, name);
    if (name != NULL && strcmp(name, "software") != 0) {
        /* Added keys have a digest for a slot, which nobody writes anywhere. */
        if (slot != NULL && strlen(slot) < 40) {
            printf("/");
            cli_put(stdout, slot);
        }
        printf("  touch: ");
        cli_put_field(t, "touch");
        printf("  PIN: ");
        cli_put_field(t, "pin");
    }
    putchar('\n');
}

static void put_date(const char *before, const json_t *t)
{
    time_t at = (time_t)json_integer_value(t);
    char stamp[32];
    struct tm tm;

    if (json_is_integer(t) && localtime_r(&at, &tm) != NULL &&
        strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M", &tm) > 0)
        printf("%s %s", before, stamp);
}

static void put_certificate(const json_t *c)
{
    const json_t *principals = json_object_get(c, "principals");
    const char *problem = cli_string(c, "left_out_because");

    printf("    certificate \"");
    cli_put_field(c, "key_id");
    printf("\" for ");
    for (size_t i = 0; i < json_array_size(principals); i++) {
        printf("%s", i > 0 ? "," : "");
        cli_put(stdout, json_string_value(json_array_get(principals, i)));
    }
    if (json_array_size(principals) == 0)
        printf("no principal");
    /* That it is valid since some time is of no interest any more. */
    if (problem != NULL && strcmp(problem, "not yet valid") == 0)
        put_date(", from", json_object_get(c, "valid_after"));
    if (json_is_integer(json_object_get(c, "valid_before")))
        put_date(", until", json_object_get(c, "valid_before"));
    else
        printf(", for ever");
    if (problem != NULL) {
        printf(", %sleft out: ", cli_colour(YELLOW));
        cli_put(stdout, problem);
        fputs(cli_colour(PLAIN), stdout);
    }
    printf("\n        in ");
    cli_put_field(c, "file");
    putchar('\n');
}

static void put_key(const json_t *k)
{
    const json_t *tokens = json_object_get(k, "tokens"), *uses = json_object_get(k, "uses"),
                 *certs = json_object_get(k, "certificates");
    const json_t *left = json_object_get(k, "expires_in");
    const char *type = cli_string(k, "type");

    fputs(cli_colour(BOLD), stdout);
    cli_put(stdout, type);
    fputs(cli_colour(PLAIN), stdout);
    printf("%*s ", type != NULL && strlen(type) < 12 ? (int)(12 - strlen(type)) : 0, "");
    cli_put_field(k, cli_string(k, "fingerprint") != NULL ? "fingerprint" : "keygrip");
    printf("  ");
    cli_put_field(k, "comment");
    if (json_is_true(json_object_get(k, "certificate")))
        printf("  (certificate)");
    printf("\n    ");
    cli_put_field(k, "family");
    printf(":");
    for (size_t i = 0; i < json_array_size(uses); i++) {
        putchar(' ');
        cli_put(stdout, json_string_value(json_array_get(uses, i)));
    }
    if (json_is_true(json_object_get(k, "confirm")))
        printf(", confirmed at each use");
    if (json_is_true(json_object_get(k, "constrained")))
        printf(", for some hosts only");
    if (json_is_integer(left))
        printf(", %lld s left", json_integer_value(left));
    putchar('\n');
    if (cli_string(k, "openpgp_fingerprint") != NULL) {
        printf("    OpenPGP ");
        cli_put_field(k, "openpgp_fingerprint");
        putchar('\n');
    }
    if (json_is_true(json_object_get(k, "away")))
        printf("    %snot here: plug in the wallet%s\n", cli_colour(YELLOW), cli_colour(PLAIN));
    for (size_t i = 0; i < json_array_size(tokens); i++)
        put_holder(json_array_get(tokens, i));
    for (size_t i = 0; i < json_array_size(certs); i++)
        put_certificate(json_array_get(certs, i));
}

/* Lines for authorized_keys: plain keys that ssh can log in with. */
static bool put_ssh(const json_t *k)
{
    const char *family = cli_string(k, "family");

    if (cli_string(k, "ssh") == NULL || family == NULL || strcmp(family, "ssh") != 0 ||
        json_is_true(json_object_get(k, "certificate")))
        return false;
    cli_put_field(k, "ssh");
    putchar(' ');
    cli_put_field(k, "comment");
    putchar('\n');
    return true;
}

static bool put_fingerprint(const json_t *k)
{
    printf("%lld ", json_integer_value(json_object_get(k, "bits")));
    cli_put_field(k, "fingerprint");
    putchar(' ');
    cli_put_field(k, "keygrip");
    putchar(' ');
    cli_put_field(k, "openpgp_fingerprint");
    putchar(' ');
    cli_put_field(k, "comment");
    putchar('\n');
    return true;
}

static bool put_text(const json_t *k)
{
    put_key(k);
    return true;
}

static const char *why_none(void)
{
    int status;
    json_t *j = cli_json("STATUS", &status);
    const char *lock = json_string_value(json_object_get(json_object_get(j, "lock"), "state"));
    bool locked =
        lock != NULL && (strcmp(lock, "passphrase-locked") == 0 || strcmp(lock, "both") == 0);

    json_decref(j);
    return locked ? "locked by ssh-add -x, so no keys are listed: unlock with ssh-add -X"
                  : "no keys: insert a token, or add a software key with ssh-add";
}

/* --- which keys ---------------------------------------------------------------------------------
 */

static bool same(const json_t *k, const char *name, const char *word)
{
    const char *text = cli_string(k, name);

    return text != NULL && strcasecmp(text, word) == 0;
}

/* WORD names a token, TOKEN/SLOT, or a key by fingerprint, keygrip, OpenPGP fingerprint or key id,
 * or comment. */
static bool is_meant(const json_t *k, const char *word)
{
    const json_t *tokens = json_object_get(k, "tokens");
    const char *openpgp = cli_string(k, "openpgp_fingerprint");
    size_t n = strlen(word);

    for (size_t i = 0; i < json_array_size(tokens); i++) {
        const json_t *t = json_array_get(tokens, i);
        const char *name = cli_string(t, "name"), *slot = cli_string(t, "slot");
        size_t len = name != NULL ? strlen(name) : 0;

        if (len == 0 || strncasecmp(name, word, len) != 0)
            continue;
        if (word[len] == '\0' || (word[len] == '/' && slot != NULL &&
                                  strcasecmp(slot, policy_slot(word + len + 1)) == 0))
            return true;
    }
    if (openpgp != NULL && (n == 8 || n == 16) && strcasecmp(openpgp + 40 - n, word) == 0)
        return true;
    return same(k, "fingerprint", word) || same(k, "keygrip", word) ||
           same(k, "openpgp_fingerprint", word) || same(k, "comment", word);
}

/* Leaves those of J that one of WORDS (NULL-ended; none: all) means. False, with the message out, when one
 * of them means none. */
static bool select_keys(json_t *j, char *const *words)
{
    bool *meant, all = true;
    size_t n = json_array_size(j);

    if (words[0] == NULL)
        return true;
    meant = gpgrt_calloc(n + 1, sizeof *meant);
    if (meant == NULL)
        return false;
    for (; *words != NULL; words++) {
        bool found = false;

        for (size_t i = 0; i < n; i++)
            if (is_meant(json_array_get(j, i), *words))
                found = meant[i] = true;
        if (!found)
            cli_fail(*words, "no such token or key; latchkey keys lists all that are there");
        all = all && found;
    }
    for (size_t i = n; i > 0; i--)
        if (!meant[i - 1])
            json_array_remove(j, i - 1);
    gpgrt_free(meant);
    return all;
}

static int list(bool (*put)(const json_t *k), char *const *words)
{
    int status;
    json_t *j = cli_json("KEYS", &status);
    size_t n = 0;

    if (j == NULL)
        return status;
    if (!select_keys(j, words)) {
        json_decref(j);
        return EXIT_NEGATIVE;
    }
    if (put == NULL) {
        status = cli_print_json(j);
        json_decref(j);
        return status;
    }
    for (size_t i = 0; i < json_array_size(j); i++)
        n += put(json_array_get(j, i));
    if (n == 0 && put == put_ssh && json_array_size(j) > 0)
        fprintf(stderr, "latchkey: none of the keys is one to log in with\n");
    else if (n == 0)
        fprintf(stderr, "latchkey: %s\n", why_none());
    json_decref(j);
    return n > 0 ? EXIT_OK : EXIT_NEGATIVE;
}

static int run(const struct command *c, int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"ssh", no_argument, NULL, 's'},
                                            {"fingerprint", no_argument, NULL, 'f'},
                                            {"openpgp", required_argument, NULL, 'O'},
                                            {"output", required_argument, NULL, 'o'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *uid = NULL, *path = NULL;
    int opt, status, form = 0;

    while ((opt = cli_getopt(c, argc, argv, options, &status)) != -1) {
        if (opt == -2)
            return status;
        if (opt == 'o') {
            path = optarg;
            continue;
        }
        if (form != 0 && form != opt)
            return cli_mistake(c, "only one of --json, --ssh, --fingerprint and --openpgp", NULL);
        form = opt;
        if (opt == 'O')
            uid = optarg;
    }
    if (form == 'O' && optind + 1 < argc)
        return cli_mistake(c, "one argument too many:", argv[argc - 1]);
    if (form == 'O')
        return certificate_make(uid, argv[optind], path);
    if (path != NULL)
        return cli_mistake(c, "--output is for --openpgp", NULL);
    return list(form == 'j'   ? NULL
                : form == 's' ? put_ssh
                : form == 'f' ? put_fingerprint
                              : put_text,
                argv + optind);
}

const struct command cmd_keys = {
    .name = "keys",
    .usage = "[--json | --ssh | --fingerprint] [TOKEN | KEY ...]\n"
             "       latchkey keys --openpgp 'Name <mail>' [--output FILE] [KEY]",
    .summary = "list keys, or make an OpenPGP certificate for a token's keys",
    .help = "TOKEN is a name that latchkey status shows; KEY a fingerprint, key id, keygrip, "
            "TOKEN/SLOT\n"
            "or comment. Without any: all keys.\n"
            "  -j, --json        as JSON\n"
            "  -s, --ssh         as lines for authorized_keys\n"
            "  -f, --fingerprint bits, SHA256 fingerprint, keygrip, OpenPGP fingerprint, comment\n"
            "  -O, --openpgp UID the OpenPGP certificate that others verify signatures with,\n"
            "                    self-signed by the token's signature key: the only one there is,\n"
            "                    or KEY\n"
            "  -o, --output FILE write the certificate there (must not exist)\n",
    .run = run,
};
