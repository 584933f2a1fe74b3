/* Proofs of possession: a token that really holds its keys, one that copied the listing, one that asks for nothing. */
#include "agent/broker_prove.h"
#include "proto/token_protocol.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* The token: private keys by id, as libgcrypt makes them. */
static struct fake {
    gcry_sexp_t sig, dec, aut;
    bool typed, touched;
    unsigned runs;
    enum token_verb verb;
    long pin_age;
    bool drop;
    char id[8];
    gpg_error_t fail;
} fake;

static gcry_sexp_t secret_of(const char *id)
{
    return strcmp(id, "sig") == 0 ? fake.sig : strcmp(id, "dec") == 0 ? fake.dec : fake.aut;
}

static void put_sexp(struct buf *b, gcry_sexp_t s)
{
    char text[4096];

    buf_put(b, text, gcry_sexp_sprint(s, GCRYSEXP_FMT_CANON, text, sizeof text));
}

static void sign(const struct token_job *j, gcry_sexp_t secret, struct buf *out)
{
    gcry_sexp_t data = NULL, sig = NULL, curve = gcry_sexp_find_token(secret, "curve", 0);
    int n = (int)j->data.n;
    bool eddsa =
        curve != NULL && memcmp(gcry_sexp_nth_data(curve, 1, &(size_t){0}), "Ed25519", 7) == 0;
    gpg_error_t err;

    if (eddsa)
        err = gcry_sexp_build(&data, NULL, "(data (flags eddsa) (hash-algo sha512) (value %b))", n,
                              j->data.p);
    else if (curve != NULL)
        err = gcry_sexp_build(&data, NULL, "(data (flags raw) (value %b))", n, j->data.p);
    else
        err = gcry_sexp_build(&data, NULL, "(data (flags pkcs1) (hash %s %b))",
                              gcry_md_algo_name(j->hash), n, j->data.p);
    ck_assert_uint_eq(err, 0);
    ck_assert_uint_eq(gcry_pk_sign(&sig, data, secret), 0);
    put_sexp(out, sig);
    gcry_sexp_release(data);
    gcry_sexp_release(sig);
    gcry_sexp_release(curve);
}

static void decrypt(const struct token_job *j, gcry_sexp_t secret, struct buf *out)
{
    gcry_sexp_t cipher = NULL, plain = NULL, value;
    size_t n = 0;
    const char *p;

    ck_assert_uint_eq(gcry_sexp_sscan(&cipher, NULL, (const char *)j->data.p, j->data.n), 0);
    ck_assert_uint_eq(gcry_pk_decrypt(&plain, cipher, secret), 0);
    value = gcry_sexp_find_token(plain, "value", 0);
    p = gcry_sexp_nth_data(value != NULL ? value : plain, value != NULL ? 1 : 0, &n);
    /* A number loses leading zeroes, RSA's keeps its padding: a card gives neither. */
    if (j->data.p != NULL && memmem(j->data.p, j->data.n, "3:rsa", 5) != NULL && n > 32) {
        p += n - 32;
        n = 32;
    }
    buf_put(out, p, n);
    gcry_sexp_release(cipher);
    gcry_sexp_release(plain);
    gcry_sexp_release(value);
}

gpg_error_t token_run(struct token *t, struct wait *w, struct token_job *j)
{
    (void)t;
    (void)w;
    fake.runs++;
    fake.verb = j->verb;
    fake.pin_age = j->pin_age;
    fake.drop = j->drop;
    snprintf(fake.id, sizeof fake.id, "%s", j->key_id);
    if (fake.fail != 0)
        return fake.fail;
    j->pin_typed = fake.typed;
    j->touched = fake.touched;
    if (j->verb == TOKEN_SIGN)
        sign(j, secret_of(j->key_id), &j->result);
    else
        decrypt(j, secret_of(j->key_id), &j->result);
    return 0;
}

/* --- listings ---------------------------------------------------------------------------------------------------------- */

static char *lines[4];
static struct token_info info = {
    .kind = (char *)(uintptr_t) "gnuk", .name = (char *)(uintptr_t) "gnuk-1", .key_lines = lines};

static gcry_sexp_t generate(const char *params)
{
    gcry_sexp_t p = NULL, pair = NULL;

    ck_assert_uint_eq(gcry_sexp_new(&p, params, 0, 1), 0);
    ck_assert_uint_eq(gcry_pk_genkey(&pair, p), 0);
    gcry_sexp_release(p);
    return pair;
}

#define RSA     "(genkey (rsa (nbits 4:2048)))"
#define P256    "(genkey (ecc (curve \"NIST P-256\") (flags nocomp)))"
#define P521    "(genkey (ecc (curve \"NIST P-521\") (flags nocomp)))"
#define ED25519 "(genkey (ecc (curve Ed25519) (flags eddsa comp)))"
#define CV25519 "(genkey (ecc (curve Curve25519) (flags djb-tweak comp)))"

/* Lists the public half of PAIR; the private one becomes *SLOT, or that of OTHER, which did not make the listing. */
static void list(const char *id, gcry_sexp_t pair, gcry_sexp_t *slot, gcry_sexp_t other,
                 const char *more)
{
    gcry_sexp_t public = gcry_sexp_find_token(pair, "public-key", 0);
    struct buf f = BUF_INIT, canon = BUF_INIT;
    size_t n = 0;
    char *text;

    put_sexp(&canon, public);
    text = b64_encode(canon.data, canon.len);
    field_put(&f, "id", id);
    field_put(&f, "pub", text);
    buf_printf(&f, " %s", more);
    while (lines[n] != NULL)
        n++;
    lines[n] = buf_steal_cstr(&f);
    *slot = gcry_sexp_find_token(other != NULL ? other : pair, "private-key", 0);
    gpgrt_free(text);
    buf_free(&canon);
    gcry_sexp_release(public);
}

static gpg_error_t prove(void)
{
    struct wait w = {0};
    struct token_job job = {0};

    return broker_prove(NULL, &info, lines, &w, &job);
}

static void set_up(void)
{
    fake = (struct fake){.typed = true};
}

static void tear_down(void)
{
    for (size_t i = 0; i < 4; i++) {
        gpgrt_free(lines[i]);
        lines[i] = NULL;
    }
    gcry_sexp_release(fake.sig);
    gcry_sexp_release(fake.dec);
    gcry_sexp_release(fake.aut);
}

static const char *const auth_line = "caps=a family=ssh touch=never pin=once",
                         *const sig_line = "caps=s family=gpg touch=never pin=once",
                         *const dec_line = "caps=e family=gpg touch=never pin=once";

static const struct {
    const char *params, *id, *more;
    enum token_verb verb;
} kinds[] = {
    {RSA, "aut", "caps=a family=ssh touch=never pin=once", TOKEN_SIGN},
    {P256, "aut", "caps=a family=ssh touch=never pin=once", TOKEN_SIGN},
    {P521, "aut", "caps=a family=ssh touch=never pin=once", TOKEN_SIGN},
    {ED25519, "aut", "caps=a family=ssh touch=never pin=once", TOKEN_SIGN},
    {RSA, "sig", "caps=s family=gpg touch=never pin=once", TOKEN_SIGN},
    {P256, "sig", "caps=s family=gpg touch=never pin=once", TOKEN_SIGN},
    {ED25519, "sig", "caps=s family=gpg touch=never pin=once", TOKEN_SIGN},
    {RSA, "dec", "caps=e family=gpg touch=never pin=once", TOKEN_DECRYPT},
    {P256, "dec", "ecdh=1 caps=e family=gpg touch=never pin=once", TOKEN_DECRYPT},
    {P521, "dec", "ecdh=1 caps=e family=gpg touch=never pin=once", TOKEN_DECRYPT},
    {CV25519, "dec", "ecdh=1 caps=e family=gpg touch=never pin=once", TOKEN_DECRYPT},
};
#define NKINDS (sizeof kinds / sizeof kinds[0])

static gcry_sexp_t *slot_of(const char *id)
{
    return strcmp(id, "sig") == 0 ? &fake.sig : strcmp(id, "dec") == 0 ? &fake.dec : &fake.aut;
}

START_TEST(holder_of_the_key_proves_it)
{
    gcry_sexp_t pair = generate(kinds[_i].params);

    list(kinds[_i].id, pair, slot_of(kinds[_i].id), NULL, kinds[_i].more);
    ck_assert_msg(prove() == 0, "kind %d", _i);
    ck_assert_int_eq(fake.verb, kinds[_i].verb);
    ck_assert_int_eq(fake.pin_age, 0);
    ck_assert(fake.drop);
    gcry_sexp_release(pair);
}
END_TEST

START_TEST(copied_listing_proves_nothing)
{
    gcry_sexp_t pair = generate(kinds[_i].params), other = generate(kinds[_i].params);

    list(kinds[_i].id, pair, slot_of(kinds[_i].id), other, kinds[_i].more);
    ck_assert_uint_eq(gpg_err_code(prove()), GPG_ERR_BAD_SIGNATURE);
    gcry_sexp_release(pair);
    gcry_sexp_release(other);
}
END_TEST

START_TEST(the_key_that_is_asked_for_least_is_taken)
{
    gcry_sexp_t a = generate(ED25519), s = generate(ED25519), d = generate(CV25519);
    char dec[80];

    snprintf(dec, sizeof dec, "ecdh=1 %s", dec_line);
    list("sig", s, &fake.sig, NULL, sig_line);
    list("dec", d, &fake.dec, NULL, dec);
    list("aut", a, &fake.aut, NULL, auth_line);
    ck_assert_uint_eq(prove(), 0);
    ck_assert_str_eq(fake.id, "aut");
    gcry_sexp_release(a);
    gcry_sexp_release(s);
    gcry_sexp_release(d);
}
END_TEST

START_TEST(no_fresh_proof_is_no_proof)
{
    gcry_sexp_t a = generate(ED25519);

    list("aut", a, &fake.aut, NULL, auth_line);
    fake.typed = false;
    ck_assert_uint_eq(gpg_err_code(prove()), GPG_ERR_LOCKED);
    fake.touched = true;
    ck_assert_uint_eq(prove(), 0);
    fake.fail = gpg_error(GPG_ERR_PIN_BLOCKED);
    ck_assert_uint_eq(gpg_err_code(prove()), GPG_ERR_PIN_BLOCKED);
    gcry_sexp_release(a);
}
END_TEST

START_TEST(a_token_without_pin_and_touch_is_not_asked)
{
    gcry_sexp_t a = generate(ED25519);

    list("aut", a, &fake.aut, NULL, "caps=a family=ssh touch=never pin=none");
    ck_assert_uint_eq(gpg_err_code(prove()), GPG_ERR_NO_SECKEY);
    ck_assert_uint_eq(fake.runs, 0);
    gcry_sexp_release(a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("agent/prove");
    TCase *t = tcase_create("prove");
    SRunner *r;
    int failed;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_ENABLE_QUICK_RANDOM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED);
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, holder_of_the_key_proves_it, 0, (int)NKINDS);
    tcase_add_loop_test(t, copied_listing_proves_nothing, 0, (int)NKINDS);
    tcase_add_test(t, the_key_that_is_asked_for_least_is_taken);
    tcase_add_test(t, no_fresh_proof_is_no_proof);
    tcase_add_test(t, a_token_without_pin_and_touch_is_not_asked);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
