/* Certificates: the recorded ones, and ones that a CA should not have made. */
#include "tests/unit/proto_util.h"

static const char *const names[] = {"host.example", "root", NULL};
static const uint64_t now = 1000000;

static struct key *cert_new(const struct key *subject, const struct pair *ca, struct cert_spec spec)
{
    struct buf b = BUF_INIT;
    struct key *k;

    if (spec.before == 0)
        spec.before = UINT64_MAX;
    cert_make(subject, ca, &spec, &b);
    ck_ok(key_from_blob(buf_rd(&b), &k));
    buf_free(&b);
    return k;
}

START_TEST(recorded)
{
    static const char *const files[] = {"ed-cert", "sked-cert", "skec-cert"};
    struct key *k = recorded_key(files[_i]), *ca = recorded_key("ca");
    const struct ssh_cert *c = k->cert;
    struct rd r = c->extensions, name, data;

    ck_assert_uint_eq(c->type, CERT_USER);
    ck_assert_str_eq(c->principals[0], "root");
    ck_assert(c->principals[1] == NULL && !c->has_critical && c->serial == 0);
    ck_assert(key_same(c->ca, ca));
    ck_ok(rd_string(&r, &name));
    ck_ok(rd_string(&r, &data));
    ck_assert(rd_is(name, "permit-X11-forwarding") && data.n == 0);
    ck_assert(c->tbs.p == k->blob && c->sig.p + c->sig.n == k->blob + k->blob_len);
    ck_ok(cert_check(k, CERT_USER, c->valid_after, "root"));
    ck_ok(cert_check(k, CERT_USER, c->valid_before - 1, NULL));
    ck_code(cert_check(k, CERT_USER, c->valid_after - 1, NULL), GPG_ERR_CERT_TOO_YOUNG);
    ck_code(cert_check(k, CERT_USER, c->valid_before, NULL), GPG_ERR_CERT_EXPIRED);
    ck_code(cert_check(k, CERT_USER, c->valid_after, "admin"), GPG_ERR_WRONG_NAME);
    ck_code(cert_check(k, CERT_HOST, c->valid_after, NULL), GPG_ERR_BAD_CERT);
    ck_code(cert_check(ca, CERT_USER, c->valid_after, NULL), GPG_ERR_BAD_CERT);
    key_unref(ca);
    key_unref(k);
}
END_TEST

/* Each kind of subject under each kind of CA. */
START_TEST(kinds)
{
    static const char *const cas[] = {GEN_ED25519, GEN_P256, GEN_P384, GEN_P521, GEN_RSA};
    static const char *const subjects[] = {"ed", "ec", "rsa", "sked", "skec"};
    struct pair ca = pair_new(cas[_i]);

    for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
        struct key *subject = recorded_key(subjects[i]), *plain;
        struct key *k =
            cert_new(subject, &ca, (struct cert_spec){.type = CERT_HOST, .principals = names});

        ck_assert(key_same(k, subject));
        ck_assert_str_eq(k->fpr, subject->fpr);
        ck_assert_str_eq(k->cert->key_id, "the id");
        ck_ok(key_plain(k, &plain));
        ck_assert_str_eq(plain->type, subject->type);
        key_unref(plain);
        ck_ok(cert_check(k, CERT_HOST, now, "host.example"));
        ck_ok(cert_check(k, CERT_HOST, UINT64_MAX - 1, "root"));
        ck_code(cert_check(k, CERT_HOST, now, "host"), GPG_ERR_WRONG_NAME);
        k->blob[k->cert->tbs.n - 1] ^= 1;
        ck_code(cert_check(k, CERT_HOST, now, NULL), GPG_ERR_BAD_SIGNATURE);
        key_unref(k);
        key_unref(subject);
    }
    pair_free(&ca);
}
END_TEST

START_TEST(host_certificates)
{
    struct pair ca = pair_new(GEN_ED25519);
    struct key *subject = recorded_key("hosta"), *k;
    struct buf options = BUF_INIT;

    k = cert_new(subject, &ca, (struct cert_spec){.type = CERT_HOST}); /* for every host there is */
    ck_code(cert_check(k, CERT_HOST, now, "host.example"), GPG_ERR_BAD_CERT);
    ck_code(cert_check(k, CERT_HOST, now, NULL), GPG_ERR_BAD_CERT);
    key_unref(k);
    k = cert_new(subject, &ca, (struct cert_spec){.type = CERT_USER}); /* of a user: any name */
    ck_ok(cert_check(k, CERT_USER, now, "anybody"));
    key_unref(k);
    buf_put_cstring(&options, "unknown@example");
    buf_put_cstring(&options, "");
    k = cert_new(
        subject, &ca,
        (struct cert_spec){.type = CERT_HOST, .principals = names, .critical = buf_rd(&options)});
    ck_assert(k->cert->has_critical);
    ck_code(cert_check(k, CERT_HOST, now, "root"), GPG_ERR_BAD_CERT);
    key_unref(k);
    k = cert_new(
        subject, &ca,
        (struct cert_spec){.type = CERT_HOST, .principals = names, .extensions = buf_rd(&options)});
    ck_ok(cert_check(k, CERT_HOST, now, "root"));
    key_unref(k);
    buf_free(&options);
    key_unref(subject);
    pair_free(&ca);
}
END_TEST

START_TEST(sha1_ca)
{
    struct pair ca = pair_new(GEN_RSA);
    struct key *subject = recorded_key("hosta");
    struct key *k =
        cert_new(subject, &ca,
                 (struct cert_spec){.type = CERT_HOST, .principals = names, .hash = GCRY_MD_SHA1});

    ck_code(cert_check(k, CERT_HOST, now, NULL), GPG_ERR_BAD_SIGNATURE);
    key_unref(k);
    key_unref(subject);
    pair_free(&ca);
}
END_TEST

START_TEST(malformed)
{
    static const char *const options[][3] = {
        {"b", "a", NULL},
        {"a", "a", NULL},
        {"ab", "a", NULL},
    };
    struct pair ca = pair_new(GEN_ED25519);
    struct key *subject = recorded_key("hosta"), *chain = recorded_key("ed-cert"), *k = NULL;
    struct buf b = BUF_INIT, list = BUF_INIT;

    /* a CA that is a certificate itself */
    cert_make(subject, &ca,
              &(struct cert_spec){.type = 2, .ca_blob = rd_of(chain->blob, chain->blob_len)}, &b);
    ck_code(key_from_blob(buf_rd(&b), &k), GPG_ERR_BAD_CERT);
    /* neither user nor host */
    buf_reset(&b);
    cert_make(subject, &ca, &(struct cert_spec){.type = 3}, &b);
    ck_code(key_from_blob(buf_rd(&b), &k), GPG_ERR_BAD_CERT);
    /* options out of order, or twice; as critical ones and as extensions */
    for (size_t i = 0; i < 3; i++) {
        buf_reset(&list);
        for (const char *const *o = options[i]; *o != NULL; o++) {
            buf_put_cstring(&list, *o);
            buf_put_cstring(&list, "");
        }
        buf_reset(&b);
        cert_make(subject, &ca, &(struct cert_spec){.type = 1, .critical = buf_rd(&list)}, &b);
        ck_code(key_from_blob(buf_rd(&b), &k), GPG_ERR_BAD_CERT);
        buf_reset(&b);
        cert_make(subject, &ca, &(struct cert_spec){.type = 1, .extensions = buf_rd(&list)}, &b);
        ck_code(key_from_blob(buf_rd(&b), &k), GPG_ERR_BAD_CERT);
    }
    /* half an option */
    buf_reset(&list);
    buf_put_cstring(&list, "name only");
    buf_reset(&b);
    cert_make(subject, &ca, &(struct cert_spec){.type = 1, .extensions = buf_rd(&list)}, &b);
    ck_code(key_from_blob(buf_rd(&b), &k), GPG_ERR_BUFFER_TOO_SHORT);
    ck_assert(k == NULL);
    buf_free(&b);
    buf_free(&list);
    key_unref(chain);
    key_unref(subject);
    pair_free(&ca);
}
END_TEST

START_TEST(too_many_principals)
{
    const char *many[258] = {NULL};
    struct pair ca = pair_new(GEN_ED25519);
    struct key *subject = recorded_key("hosta"), *k;
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < 257; i++)
        many[i] = "name";
    cert_make(subject, &ca, &(struct cert_spec){.type = 2, .principals = many}, &b);
    ck_code(key_from_blob(buf_rd(&b), &k), GPG_ERR_TOO_LARGE);
    buf_reset(&b);
    many[256] = NULL;
    cert_make(subject, &ca, &(struct cert_spec){.type = 2, .principals = many}, &b);
    ck_ok(key_from_blob(buf_rd(&b), &k));
    key_unref(k);
    buf_free(&b);
    key_unref(subject);
    pair_free(&ca);
}
END_TEST

static void tests(TCase *tc)
{
    tcase_add_loop_test(tc, recorded, 0, 3);
    tcase_add_loop_test(tc, kinds, 0, 5);
    tcase_add_test(tc, host_certificates);
    tcase_add_test(tc, sha1_ca);
    tcase_add_test(tc, malformed);
    tcase_add_test(tc, too_many_principals);
}

int main(void)
{
    return run_suite("cert", tests);
}
