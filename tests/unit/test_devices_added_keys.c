/* Private keys as ssh-add sends them: the seed corpus of the fuzz target signs, and no number of it can be changed. */
#include "devices/software_key.h"
#include "tests/unit/proto_util.h"

#define CORPUS "tests/fuzz/corpus/software_key/"

static const char *const bodies[] = {"ed25519",    "ecdsa",    "rsa",     "dsa",
                                     "ecdsa-cert", "rsa-cert", "dsa-cert"};
#define NBODIES (sizeof bodies / sizeof bodies[0])

static void read_body(const char *name, struct buf *b)
{
    char path[128], chunk[4096];
    FILE *f;
    size_t n;

    snprintf(path, sizeof path, CORPUS "%s", name);
    f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s", path);
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_put(b, chunk, n);
    fclose(f);
    ck_ok(buf_err(b));
}

static gpg_error_t sign_something(struct rd body)
{
    struct software_key *k;
    const struct key *pub;
    struct buf blob = BUF_INIT;
    uint8_t digest[64];
    struct tosign t;
    gcry_sexp_t sig = NULL;
    gpg_error_t err = software_key_new(body, &k);

    if (err != 0)
        return err;
    pub = software_key_public(k);
    ck_ok(tosign_from_message(ssh_sign_hash(pub, 0), rd_str("text"), digest, &t));
    ck_ok(software_key_sign(k, &t, &sig));
    ck_ok(sig_verify(pub, &t, sig));
    ck_ok(sig_to_ssh(pub, t.hash, sig, &blob));
    ck_ok(ssh_sig_verify(pub, rd_str("text"), buf_rd(&blob), true));
    ck_code(ssh_sig_verify(pub, rd_str("texT"), buf_rd(&blob), true), GPG_ERR_BAD_SIGNATURE);
    gcry_sexp_release(sig);
    buf_free(&blob);
    software_key_free(k);
    return 0;
}

START_TEST(signs)
{
    struct buf b = BUF_INIT;

    read_body(bodies[_i], &b);
    ck_ok(sign_something(buf_rd(&b)));
    buf_free(&b);
}
END_TEST

/* In the last octet of each field in turn: a key whose numbers do not belong together must not sign. */
START_TEST(numbers_belong_together)
{
    struct buf b = BUF_INIT;
    struct rd r, field;

    read_body(bodies[_i], &b);
    r = buf_rd(&b);
    ck_ok(rd_string(&r, &field));
    while (r.n > 0) {
        uint8_t *last;

        ck_ok(rd_string(&r, &field));
        ck_assert_uint_gt(field.n, 0);
        last = b.data + (field.p - b.data) + field.n - 1;
        *last ^= 2;
        /* a certificate's last octet is the CA's affair */
        if (strstr(bodies[_i], "cert") == NULL || r.n == 0)
            ck_assert_msg(sign_something(buf_rd(&b)) != 0, "%s signs when changed at %zu",
                          bodies[_i], (size_t)(last - b.data));
        *last ^= 2;
    }
    buf_free(&b);
}
END_TEST

START_TEST(dsa_needs_sha1_allowed)
{
    struct buf b = BUF_INIT, blob = BUF_INIT;
    struct software_key *k;
    uint8_t digest[64];
    struct tosign t;
    gcry_sexp_t sig;

    read_body("dsa", &b);
    ck_ok(software_key_new(buf_rd(&b), &k));
    ck_ok(tosign_from_message(GCRY_MD_SHA1, rd_str("text"), digest, &t));
    ck_ok(software_key_sign(k, &t, &sig));
    ck_ok(sig_to_ssh(software_key_public(k), GCRY_MD_SHA1, sig, &blob));
    ck_assert_uint_eq(blob.len, 4 + 7 + 4 + 40);
    ck_code(ssh_sig_verify(software_key_public(k), rd_str("text"), buf_rd(&blob), false),
            GPG_ERR_BAD_SIGNATURE);
    gcry_sexp_release(sig);
    software_key_free(k);
    buf_free(&b);
    buf_free(&blob);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, signs, 0, NBODIES);
    tcase_add_loop_test(tc, numbers_belong_together, 0, NBODIES);
    tcase_add_test(tc, dsa_needs_sha1_allowed);
}

int main(void)
{
    return run_suite("software keys", add);
}
