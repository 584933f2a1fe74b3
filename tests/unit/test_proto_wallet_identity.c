/* Wallet identities: cut as trezor-agent cuts them, and the paths of every identity that was captured. */
#include "proto/wallet_identity.h"
#include "tests/unit/proto_util.h"

#include <jansson.h>

static const struct {
    const char *text, *proto, *user, *host, *port, *path, *uri;
} cuts[] = {
    {"ssh://user@host", "ssh", "user", "host", NULL, NULL, "ssh://user@host"},
    {"user@host", "ssh", "user", "host", NULL, NULL, "ssh://user@host"},
    {"host", "ssh", NULL, "host", NULL, NULL, "ssh://host"},
    {"ssh://git@github.com:2222", "ssh", "git", "github.com", "2222", NULL,
     "ssh://git@github.com:2222"},
    {"ssh://example.com/p/q", "ssh", NULL, "example.com", NULL, "/p/q", "ssh://example.com/p/q"},
    {"ssh://u@h:22/p", "ssh", "u", "h", "22", "/p", "ssh://u@h:22/p"},
    {"ssh://u@h:/p", "ssh", "u", "h", NULL, "/p", "ssh://u@h/p"},
    {"ssh://u@h:", "ssh", "u", "h", NULL, NULL, "ssh://u@h"},
    /* the last "://", the last "@", the first port that fits */
    {"a://b://c@d@e", "ssh", "c@d", "e", NULL, NULL, "ssh://c@d@e"},
    {"h:x-y:22", "ssh", NULL, "h:x-y", "22", NULL, "ssh://h:x-y:22"},
    {"https://u@h", "ssh", "u", "h", NULL, NULL, "ssh://u@h"},
    {"@h", "ssh", NULL, "h", NULL, NULL, "ssh://h"},
    /* a user id is one part */
    {"gpg://Satoshi <s@bitcoin.org>", "gpg", NULL, "Satoshi <s@bitcoin.org>", NULL, NULL,
     "gpg://Satoshi <s@bitcoin.org>"},
    {"gpg://a:1/b", "gpg", NULL, "a:1/b", NULL, NULL, "gpg://a:1/b"},
};

static void same(const char *a, const char *b)
{
    if (b == NULL)
        ck_assert_ptr_null(a);
    else
        ck_assert_str_eq(a, b);
}

START_TEST(cut_as_trezor_agent)
{
    struct wallet_identity id;
    char *uri;

    ck_ok(wallet_identity_parse(cuts[_i].text, "ed25519", &id));
    same(id.proto, cuts[_i].proto);
    same(id.user, cuts[_i].user);
    same(id.host, cuts[_i].host);
    same(id.port, cuts[_i].port);
    same(id.path, cuts[_i].path);
    ck_assert(id.ed25519);
    uri = wallet_uri(&id);
    ck_assert_str_eq(uri, cuts[_i].uri);
    gpgrt_free(uri);
    wallet_identity_clear(&id);
}
END_TEST

START_TEST(refused)
{
    struct wallet_identity id = {0};

    ck_assert_int_eq(gpg_err_code(wallet_identity_parse("u@h", "secp256k1", &id)),
                     GPG_ERR_UNKNOWN_CURVE);
    ck_assert_int_eq(gpg_err_code(wallet_identity_parse("j\303\266rg@h", NULL, &id)),
                     GPG_ERR_NOT_SUPPORTED);
    ck_assert_int_eq(gpg_err_code(wallet_identity_parse("u@h\n", NULL, &id)),
                     GPG_ERR_NOT_SUPPORTED);
    ck_assert_int_eq(gpg_err_code(wallet_identity_parse("", NULL, &id)), GPG_ERR_INV_VALUE);
    ck_assert_int_eq(gpg_err_code(wallet_identity_parse("gpg://", NULL, &id)), GPG_ERR_INV_VALUE);
    ck_assert_int_eq(gpg_err_code(wallet_identity_parse("ssh://u@", NULL, &id)), GPG_ERR_INV_VALUE);
    ck_assert_ptr_null(id.host);
}
END_TEST

static void check_path(const json_t *e, const char *name, const struct wallet_identity *id,
                       bool ecdh)
{
    const json_t *wanted = json_object_get(e, name);
    uint32_t path[WALLET_PATH_LEN];

    ck_assert_uint_eq(json_array_size(wanted), WALLET_PATH_LEN);
    ck_ok(wallet_path(id, ecdh, path));
    for (size_t i = 0; i < WALLET_PATH_LEN; i++)
        ck_assert_uint_eq(path[i], strtoul(json_string_value(json_array_get(wanted, i)), NULL, 16));
}

START_TEST(captured_paths)
{
    json_t *all = json_load_file("tests/vectors/wallets/trezor-one.json", 0, NULL);
    const json_t *list = json_object_get(all, "summary");

    ck_assert_uint_ge(json_array_size(list), 10);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *e = json_array_get(list, i);
        struct wallet_identity id;
        char *text, *wanted;

        ck_ok(wallet_identity_parse(json_string_value(json_object_get(e, "uri")),
                                    json_string_value(json_object_get(e, "curve")), &id));
        if (strcmp(id.proto, "gpg") == 0) {
            check_path(e, "sign_path", &id, false);
            check_path(e, "ecdh_path", &id, true);
        } else {
            check_path(e, "path", &id, false);
            text = wallet_identity_text(&id);
            wanted = strchr(json_string_value(json_object_get(e, "ssh_pubkey")), '<') != NULL
                         ? strchr(json_string_value(json_object_get(e, "ssh_pubkey")), '<')
                         : text;
            ck_assert_str_eq(text, wanted);
            gpgrt_free(text);
        }
        wallet_identity_clear(&id);
    }
    json_decref(all);
}
END_TEST

/* trezor-agent's own unit test */
START_TEST(localhost)
{
    static const uint32_t wanted[] = {2147483661u, 2810943954u, 3938368396u, 3454558782u,
                                      3848009040u};
    uint32_t path[WALLET_PATH_LEN];
    struct wallet_identity id;

    ck_ok(wallet_identity_parse("ssh://localhost:22", NULL, &id));
    ck_ok(wallet_path(&id, false, path));
    ck_assert_mem_eq(path, wanted, sizeof wanted);
    wallet_identity_clear(&id);
}
END_TEST

START_TEST(index_counts)
{
    uint32_t path[WALLET_PATH_LEN], other[WALLET_PATH_LEN];
    struct wallet_identity id;

    ck_ok(wallet_identity_parse("ssh://user@host", NULL, &id));
    ck_ok(wallet_path(&id, false, path));
    id.index = 1;
    ck_ok(wallet_path(&id, false, other));
    ck_assert_mem_ne(path, other, sizeof path);
    wallet_identity_clear(&id);
}
END_TEST

struct seen {
    struct buf text;
    unsigned bad;
};

static gpg_error_t note(void *arg, const struct wallet_identity *id, const char *line,
                        const char *text, gpg_error_t err)
{
    struct seen *s = arg;
    char *t = id != NULL ? wallet_identity_text(id) : NULL;

    ck_assert_ptr_nonnull(strstr(line, text));
    s->bad += err != 0;
    if (t != NULL)
        buf_printf(&s->text, "%s ", t);
    gpgrt_free(t);
    return 0;
}

START_TEST(files)
{
    static const char text[] = "free text <ssh://a@b|ed25519> more <c@d|nist256p1>\n"
                               "<no bar> <e|f> here\n< open |\nssh-ed25519 AAAA <g@h|ed25519>";
    struct seen s = {0};

    ck_ok(wallet_identities_read(rd_of(text, sizeof text - 1), note, &s));
    /* "<no bar> <e|f>" is one, of no known curve, to a regular expression */
    ck_assert_str_eq(buf_cstr(&s.text),
                     "<ssh://a@b|ed25519> <ssh://c@d|nist256p1> <ssh://g@h|ed25519> ");
    ck_assert_uint_eq(s.bad, 1);
    buf_free(&s.text);
}
END_TEST

static void tests(TCase *tc)
{
    tcase_add_loop_test(tc, cut_as_trezor_agent, 0, (int)(sizeof cuts / sizeof cuts[0]));
    tcase_add_test(tc, refused);
    tcase_add_test(tc, captured_paths);
    tcase_add_test(tc, localhost);
    tcase_add_test(tc, index_counts);
    tcase_add_test(tc, files);
}

int main(void)
{
    return run_suite("wallet_identity", tests);
}
