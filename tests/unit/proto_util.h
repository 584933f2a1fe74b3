/* Shared by the unit tests of proto/: starting libgcrypt, keys to sign with, the recorded capture. */
#ifndef LATCHKEY_TESTS_PROTO_UTIL_H
#define LATCHKEY_TESTS_PROTO_UTIL_H

#include "proto/key.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VECTORS "tests/vectors/ssh-agent/"

/* As much as latchkey-token has. */
#define SUITE_SECURE_MEMORY 1048576

static inline int run_suite(const char *name, void (*add)(TCase *tc))
{
    Suite *s = suite_create(name);
    TCase *tc = tcase_create(name);
    SRunner *sr;
    int failed;

    if (gcry_check_version(NULL) == NULL)
        return 1;
    gcry_control(GCRYCTL_INIT_SECMEM, SUITE_SECURE_MEMORY, 0);
    gcry_control(GCRYCTL_ENABLE_QUICK_RANDOM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    tcase_set_timeout(tc, 120);
    add(tc);
    suite_add_tcase(s, tc);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define ck_ok(expr)                                                          \
    do {                                                                     \
        gpg_error_t ck_err_ = (expr);                                        \
        ck_assert_msg(ck_err_ == 0, "%s: %s", #expr, gpg_strerror(ck_err_)); \
    } while (0)
#define ck_code(expr, code)                                                                     \
    do {                                                                                        \
        gpg_error_t ck_err_ = (expr);                                                           \
        ck_assert_msg(gpg_err_code(ck_err_) == (code), "%s: %s", #expr, gpg_strerror(ck_err_)); \
    } while (0)

static inline struct rd rd_str(const char *s)
{
    return rd_of(s, strlen(s));
}

static inline void put_hex(struct buf *b, const char *hex)
{
    ck_ok(hex_decode(hex, b));
}

static inline void ck_hex(struct rd got, const char *want)
{
    char *hex = hex_encode(got.p, got.n);

    ck_assert_str_eq(hex, want);
    gpgrt_free(hex);
}

/* One of the recorded public keys. */
static inline struct key *recorded_key(const char *name)
{
    char path[256], line[4096];
    struct key *k = NULL;
    FILE *f;

    snprintf(path, sizeof path, VECTORS "%s.pub", name);
    f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s: run the tests from the top of the tree", path);
    ck_assert(fgets(line, sizeof line, f) != NULL);
    fclose(f);
    ck_ok(key_from_text(line, &k, NULL));
    return k;
}

/* A fresh key pair. */
struct pair {
    gcry_sexp_t secret;
    struct key *pub;
};

static inline struct pair pair_new(const char *genkey)
{
    struct pair p = {0};
    gcry_sexp_t parms, made;

    ck_ok(gcry_sexp_new(&parms, genkey, 0, 1));
    ck_ok(gcry_pk_genkey(&made, parms));
    p.secret = gcry_sexp_find_token(made, "private-key", 0);
    ck_ok(key_from_sexp(made, false, &p.pub));
    gcry_sexp_release(parms);
    gcry_sexp_release(made);
    return p;
}

static inline void pair_free(struct pair *p)
{
    gcry_sexp_release(p->secret);
    key_unref(p->pub);
}

#define GEN_ED25519 "(genkey(ecc(curve Ed25519)(flags eddsa)))"
#define GEN_P256    "(genkey(ecc(curve \"NIST P-256\")))"
#define GEN_P384    "(genkey(ecc(curve \"NIST P-384\")))"
#define GEN_P521    "(genkey(ecc(curve \"NIST P-521\")))"
#define GEN_RSA     "(genkey(rsa(nbits 4:2048)))"

/* Signs T with libgcrypt, which latchkey itself only uses for RSA: an independent signer. */
static inline gcry_sexp_t pair_sign(const struct pair *p, const struct tosign *t)
{
    gcry_sexp_t data, sig;
    int n = (int)t->data.n;

    if (p->pub->algo == KEY_RSA)
        ck_ok(gcry_sexp_build(&data, NULL, "(data(flags pkcs1)(hash %s %b))",
                              gcry_md_algo_name(t->hash), n, t->data.p));
    else if (p->pub->algo == KEY_ED25519)
        ck_ok(gcry_sexp_build(&data, NULL, "(data(flags eddsa)(hash-algo sha512)(value %b))", n,
                              t->data.p));
    else
        ck_ok(gcry_sexp_build(&data, NULL, "(data(flags rfc6979)(hash %s %b))",
                              gcry_md_algo_name(t->hash), n, t->data.p));
    ck_ok(gcry_pk_sign(&sig, data, p->secret));
    gcry_sexp_release(data);
    return sig;
}

/* Appends an SSH signature blob over MESSAGE. HASH matters for RSA only. */
static inline void pair_ssh_sign(const struct pair *p, int hash, struct rd message, struct buf *b)
{
    uint8_t digest[64];
    struct tosign t;
    gcry_sexp_t sig;

    if (p->pub->algo == KEY_ECDSA)
        hash = key_default_hash(p->pub);
    else if (p->pub->algo == KEY_ED25519)
        hash = 0;
    ck_ok(tosign_from_message(hash, message, digest, &t));
    sig = pair_sign(p, &t);
    ck_ok(sig_to_ssh(p->pub, hash, sig, b));
    gcry_sexp_release(sig);
}

/* A certificate in the making; zero fields get sensible values. */
struct cert_spec {
    uint32_t type;
    uint64_t after, before;
    const char *const *principals; /* NULL-ended */
    struct rd critical, extensions;
    int hash;          /* of an RSA CA */
    struct rd ca_blob; /* instead of the CA's own */
};

static inline void cert_make_tbs(const struct key *subject, const struct pair *ca,
                                 const struct cert_spec *spec, struct buf *b)
{
    struct rd plain = rd_of(subject->plain, subject->plain_len), type;
    struct buf list = BUF_INIT;

    ck_ok(rd_string(&plain, &type));
    buf_put_u32(b, 0);
    buf_put_rd(b, type);
    if (subject->sk_application != NULL) /* sk-...@openssh.com */
        b->len -= strlen("@openssh.com");
    buf_printf(b, "-cert-v01@openssh.com");
    buf_set_u32(b, 0, (uint32_t)(b->len - 4));
    buf_put_cstring(b, "nonce");
    buf_put_rd(b, plain);
    buf_put_u64(b, 7);
    buf_put_u32(b, spec->type);
    buf_put_cstring(b, "the id");
    for (const char *const *p = spec->principals; p != NULL && *p != NULL; p++)
        buf_put_cstring(&list, *p);
    buf_put_string(b, list.data, list.len);
    buf_put_u64(b, spec->after);
    buf_put_u64(b, spec->before);
    buf_put_string(b, spec->critical.p, spec->critical.n);
    buf_put_string(b, spec->extensions.p, spec->extensions.n);
    buf_put_cstring(b, "");
    if (spec->ca_blob.p != NULL)
        buf_put_string(b, spec->ca_blob.p, spec->ca_blob.n);
    else
        buf_put_string(b, ca->pub->blob, ca->pub->blob_len);
    ck_ok(buf_err(b));
    buf_free(&list);
}

static inline void cert_make(const struct key *subject, const struct pair *ca,
                             const struct cert_spec *spec, struct buf *b)
{
    struct buf sig = BUF_INIT;

    cert_make_tbs(subject, ca, spec, b);
    pair_ssh_sign(ca, spec->hash != 0 ? spec->hash : GCRY_MD_SHA512, buf_rd(b), &sig);
    buf_put_string(b, sig.data, sig.len);
    buf_free(&sig);
}

/* The next frame of the capture: its connection and direction ("C7>"), its octets without the length. */
static inline bool next_frame(FILE *f, char tag[16], struct buf *b)
{
    static char line[8192];

    while (fgets(line, sizeof line, f) != NULL) {
        char *hex = strchr(line, ' ');

        if (line[0] == '#' || hex == NULL || strcmp(hex, " close\n") == 0)
            continue;
        *hex++ = 0;
        hex[strcspn(hex, "\n")] = 0;
        snprintf(tag, 16, "%.15s", line);
        buf_reset(b);
        put_hex(b, hex);
        ck_assert_uint_ge(b->len, 5);
        memmove(b->data, b->data + 4, b->len - 4);
        b->len -= 4;
        return true;
    }
    return false;
}

static inline FILE *open_capture(void)
{
    FILE *f = fopen(VECTORS "trace-openssh-9.2p1.hex", "r");

    ck_assert_msg(f != NULL, "no capture: run the tests from the top of the tree");
    return f;
}

#endif
