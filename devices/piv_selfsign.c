/* A self-signed certificate, put together by libcrypto around a signature that only the card can make. */
#include "devices/piv_admin.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>
#include <string.h>

struct piv_tbs {
    unsigned char *der; /* TBSCertificate; OPENSSL_free */
    size_t len;
    unsigned char *alg; /* its AlgorithmIdentifier, likewise */
    size_t alg_len;
    int hash;
    uint8_t digest[64];
    size_t digest_len;
};

void piv_tbs_free(struct piv_tbs *t)
{
    if (t == NULL)
        return;
    OPENSSL_free(t->der);
    OPENSSL_free(t->alg);
    gpgrt_free(t);
}

/* --- the public key ------------------------------------------------------------------------------------------------- */

static struct rd number(const struct key *k, const char *name, gcry_sexp_t *part)
{
    struct rd r = rd_of(NULL, 0);

    *part = gcry_sexp_find_token(k->sexp, name, 0);
    r.p = *part != NULL ? (const uint8_t *)gcry_sexp_nth_data(*part, 1, &r.n) : NULL;
    if (r.p == NULL)
        r.n = 0;
    return r;
}

static EVP_PKEY *from_params(const char *type, OSSL_PARAM_BLD *bld)
{
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *key = NULL;

    if (params == NULL || ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    OSSL_PARAM_free(params);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static EVP_PKEY *public_rsa(const struct key *k)
{
    gcry_sexp_t np, ep;
    struct rd n = number(k, "n", &np), e = number(k, "e", &ep);
    BIGNUM *bn = BN_bin2bn(n.p, (int)n.n, NULL), *be = BN_bin2bn(e.p, (int)e.n, NULL);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;

    if (bn != NULL && be != NULL && bld != NULL &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn) == 1 &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be) == 1)
        key = from_params("RSA", bld);
    OSSL_PARAM_BLD_free(bld);
    BN_free(bn);
    BN_free(be);
    gcry_sexp_release(np);
    gcry_sexp_release(ep);
    return key;
}

static EVP_PKEY *public_point(const struct key *k)
{
    gcry_sexp_t part;
    struct rd q = number(k, "q", &part);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;

    if (k->algo == KEY_ED25519) {
        /* libgcrypt may have OpenPGP's prefix before it */
        if (q.n == 33)
            q = rd_of(q.p + 1, 32);
        key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, q.p, q.n);
    } else if (bld != NULL &&
               OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME,
                                               k->nbits == 256 ? "P-256" : "P-384", 0) == 1 &&
               OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, q.p, q.n) == 1) {
        key = from_params("EC", bld);
    }
    OSSL_PARAM_BLD_free(bld);
    gcry_sexp_release(part);
    return key;
}

/* --- the certificate ------------------------------------------------------------------------------------------------ */

static const struct algorithm {
    enum key_algo algo;
    unsigned bits; /* 0: any */
    int nid, hash;
} algorithms[] = {
    {KEY_RSA, 0, NID_sha256WithRSAEncryption, GCRY_MD_SHA256},
    {KEY_ECDSA, 256, NID_ecdsa_with_SHA256, GCRY_MD_SHA256},
    {KEY_ECDSA, 384, NID_ecdsa_with_SHA384, GCRY_MD_SHA384},
    {KEY_ED25519, 0, NID_ED25519, 0},
};

static const struct algorithm *find_algorithm(const struct key *k)
{
    for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++)
        if (algorithms[i].algo == k->algo &&
            (algorithms[i].bits == 0 || algorithms[i].bits == k->nbits))
            return &algorithms[i];
    return NULL;
}

static bool fill(X509 *x, EVP_PKEY *key, const char *name, unsigned days, const struct algorithm *a)
{
    X509_NAME *subject = X509_get_subject_name(x);
    ASN1_INTEGER *serial = X509_get_serialNumber(x);
    /* libcrypto sets it when it signs itself, which it cannot here. */
    X509_ALGOR *alg = (X509_ALGOR *)(uintptr_t)X509_get0_tbs_sigalg(x);
    uint64_t random;

    gcry_create_nonce(&random, sizeof random);
    return X509_set_version(x, X509_VERSION_3) == 1 &&
           ASN1_INTEGER_set_uint64(serial, random >> 1 | 1) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(x), 0) != NULL &&
           X509_time_adj_ex(X509_getm_notAfter(x), (int)days, 0, NULL) != NULL &&
           X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
                                      (const unsigned char *)name, -1, -1, 0) == 1 &&
           X509_set_issuer_name(x, subject) == 1 && X509_set_pubkey(x, key) == 1 &&
           X509_ALGOR_set0(alg, OBJ_nid2obj(a->nid),
                           a->algo == KEY_RSA ? V_ASN1_NULL : V_ASN1_UNDEF, NULL) == 1;
}

gpg_error_t piv_tbs_new(const struct key *k, const char *name, unsigned days, struct piv_tbs **out)
{
    const struct algorithm *a = find_algorithm(k);
    struct piv_tbs *t;
    EVP_PKEY *key = NULL;
    X509 *x = NULL;
    int n = -1, m = -1;

    if (a == NULL)
        return gpg_error(GPG_ERR_WRONG_KEY_USAGE);
    t = gpgrt_calloc(1, sizeof *t);
    if (t == NULL)
        return gpg_error_from_syserror();
    key = k->algo == KEY_RSA ? public_rsa(k) : public_point(k);
    x = X509_new();
    if (key != NULL && x != NULL && fill(x, key, name, days, a)) {
        n = i2d_re_X509_tbs(x, &t->der);
        m = i2d_X509_ALGOR(X509_get0_tbs_sigalg(x), &t->alg);
    }
    X509_free(x);
    EVP_PKEY_free(key);
    if (n <= 0 || m <= 0) {
        ERR_clear_error();
        piv_tbs_free(t);
        return gpg_error(GPG_ERR_BAD_CERT);
    }
    t->len = (size_t)n;
    t->alg_len = (size_t)m;
    t->hash = a->hash;
    if (a->hash != 0) {
        gcry_md_hash_buffer(a->hash, t->digest, t->der, t->len);
        t->digest_len = gcry_md_get_algo_dlen(a->hash);
    }
    *out = t;
    return 0;
}

void piv_tbs_input(const struct piv_tbs *t, struct tosign *input)
{
    *input = (struct tosign){.hash = t->hash,
                             .data = t->hash != 0 ? rd_of(t->digest, t->digest_len)
                                                  : rd_of(t->der, t->len)};
}

/* --- the signature -------------------------------------------------------------------------------------------------- */

static void put_integer(struct buf *b, struct rd v)
{
    struct buf n = BUF_INIT;

    v = rd_magnitude(v);
    if (v.n == 0 || (v.p[0] & 0x80) != 0)
        buf_put_u8(&n, 0);
    buf_put_rd(&n, v);
    buf_put_tlv(b, 0x02, n.data, n.len);
    buf_free(&n);
}

static struct rd part_of(gcry_sexp_t sig, const char *name, gcry_sexp_t *part)
{
    struct rd r = rd_of(NULL, 0);

    *part = gcry_sexp_find_token(sig, name, 0);
    r.p = *part != NULL ? (const uint8_t *)gcry_sexp_nth_data(*part, 1, &r.n) : NULL;
    if (r.p == NULL)
        r.n = 0;
    return r;
}

static void put_padded(struct buf *b, struct rd v, size_t len)
{
    v = rd_magnitude(v);
    for (size_t i = v.n; i < len; i++)
        buf_put_u8(b, 0);
    buf_put_rd(b, v);
}

static gpg_error_t put_signature(const struct key *k, gcry_sexp_t sig, struct buf *b)
{
    gcry_sexp_t rp = NULL, sp = NULL;
    struct rd s = part_of(sig, "s", &sp);
    struct rd r = k->algo != KEY_RSA ? part_of(sig, "r", &rp) : rd_of(NULL, 0);
    struct buf body = BUF_INIT;

    buf_put_u8(b, 0); /* of the BIT STRING: no unused bits */
    if (k->algo == KEY_RSA) {
        put_padded(b, s, (k->nbits + 7) / 8);
    } else if (k->algo == KEY_ECDSA) {
        put_integer(&body, r);
        put_integer(&body, s);
        buf_put_tlv(b, 0x30, body.data, body.len);
    } else {
        buf_put_rd(b, r);
        buf_put_rd(b, s);
    }
    buf_free(&body);
    gcry_sexp_release(rp);
    gcry_sexp_release(sp);
    return s.n == 0 ? gpg_error(GPG_ERR_NO_OBJ) : buf_err(b);
}

gpg_error_t piv_tbs_finish(const struct piv_tbs *t, const struct key *k, gcry_sexp_t sig,
                           struct buf *der)
{
    struct buf body = BUF_INIT, bits = BUF_INIT;
    gpg_error_t err = put_signature(k, sig, &bits);

    buf_put(&body, t->der, t->len);
    buf_put(&body, t->alg, t->alg_len);
    buf_put_tlv(&body, 0x03, bits.data, bits.len);
    if (err == 0)
        err = buf_err(&body);
    if (err == 0) {
        buf_put_tlv(der, 0x30, body.data, body.len);
        err = buf_err(der);
    }
    buf_free(&body);
    buf_free(&bits);
    return err;
}
