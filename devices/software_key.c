#include "devices/software_key.h"

#include "devices/key_memory.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <string.h>

struct software_key {
    struct key *pub;
    EVP_PKEY *pkey;
};

static BIGNUM *secret_number(struct rd r)
{
    BIGNUM *n = BN_secure_new();

    if (n == NULL || BN_bin2bn(r.p, (int)r.n, n) == NULL) {
        BN_free(n);
        return NULL;
    }
    BN_set_flags(n, BN_FLG_CONSTTIME);
    return n;
}

static gpg_error_t from_params(const char *type, OSSL_PARAM_BLD *bld, EVP_PKEY **out)
{
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    gpg_error_t err = gpg_error(GPG_ERR_BAD_SECKEY);

    if (params != NULL && ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
        EVP_PKEY_fromdata(ctx, out, EVP_PKEY_KEYPAIR, params) == 1)
        err = 0;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return err;
}

static gpg_error_t from_numbers(const char *type, const char *const *names, BIGNUM *const *x, int n,
                                EVP_PKEY **out)
{
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    gpg_error_t err = bld != NULL ? 0 : gpg_error(GPG_ERR_ENOMEM);

    for (int i = 0; i < n && err == 0; i++)
        if (OSSL_PARAM_BLD_push_BN(bld, names[i], x[i]) != 1)
            err = gpg_error(GPG_ERR_ENOMEM);
    if (err == 0)
        err = from_params(type, bld, out);
    OSSL_PARAM_BLD_free(bld);
    return err;
}

/* X is zeroed; numbers_free also after failure. */
static gpg_error_t numbers_new(BIGNUM **x, const struct rd *v, int n)
{
    for (int i = 0; i < n; i++) {
        x[i] = secret_number(v[i]);
        if (x[i] == NULL)
            return gpg_error(GPG_ERR_ENOMEM);
    }
    return 0;
}

static void numbers_free(BIGNUM **x, int n)
{
    for (int i = 0; i < n; i++)
        BN_clear_free(x[i]);
}

/* --- RSA ------------------------------------------------------------------------------------------------------------- */

enum { N, E, D, IQMP, P, Q, DP, DQ, RSA_NUMBERS };

static bool consistent_rsa(BIGNUM *const x[RSA_NUMBERS], BN_CTX *ctx)
{
    BIGNUM *t = BN_CTX_get(ctx), *p1 = BN_CTX_get(ctx), *q1 = BN_CTX_get(ctx);

    if (q1 == NULL || BN_is_one(x[P]) || BN_is_one(x[Q]) || BN_is_zero(x[P]) || BN_is_zero(x[Q]) ||
        !BN_is_odd(x[P]) || !BN_is_odd(x[Q]) || BN_num_bits(x[D]) > BN_num_bits(x[N]) ||
        BN_cmp(x[IQMP], x[P]) >= 0)
        return false;
    return BN_mul(t, x[P], x[Q], ctx) == 1 && BN_cmp(t, x[N]) == 0 &&
           BN_sub(p1, x[P], BN_value_one()) == 1 && BN_sub(q1, x[Q], BN_value_one()) == 1 &&
           BN_mod_mul(t, x[D], x[E], p1, ctx) == 1 && BN_is_one(t) &&
           BN_mod_mul(t, x[D], x[E], q1, ctx) == 1 && BN_is_one(t) &&
           BN_mod_mul(t, x[IQMP], x[Q], x[P], ctx) == 1 && BN_is_one(t) &&
           BN_mod(x[DP], x[D], p1, ctx) == 1 && BN_mod(x[DQ], x[D], q1, ctx) == 1;
}

static gpg_error_t make_rsa(BIGNUM *const x[RSA_NUMBERS], EVP_PKEY **out)
{
    static const char *const names[RSA_NUMBERS] = {
        [N] = OSSL_PKEY_PARAM_RSA_N,          [E] = OSSL_PKEY_PARAM_RSA_E,
        [D] = OSSL_PKEY_PARAM_RSA_D,          [IQMP] = OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
        [P] = OSSL_PKEY_PARAM_RSA_FACTOR1,    [Q] = OSSL_PKEY_PARAM_RSA_FACTOR2,
        [DP] = OSSL_PKEY_PARAM_RSA_EXPONENT1, [DQ] = OSSL_PKEY_PARAM_RSA_EXPONENT2,
    };

    return from_numbers("RSA", names, x, RSA_NUMBERS, out);
}

/* A key whose numbers are right but whose factors are not prime still signs wrongly: one signature tells. */
static gpg_error_t try_rsa(EVP_PKEY *pkey)
{
    static const unsigned char digest[32] = "latchkey: is this a working key?";
    EVP_PKEY_CTX *s = EVP_PKEY_CTX_new(pkey, NULL), *v = EVP_PKEY_CTX_new(pkey, NULL);
    unsigned char sig[2048];
    size_t n = sizeof sig;
    gpg_error_t err = gpg_error(GPG_ERR_BAD_SECKEY);

    if (s != NULL && v != NULL && EVP_PKEY_sign_init(s) == 1 &&
        EVP_PKEY_CTX_set_signature_md(s, EVP_sha256()) == 1 &&
        EVP_PKEY_sign(s, sig, &n, digest, sizeof digest) == 1 && EVP_PKEY_verify_init(v) == 1 &&
        EVP_PKEY_CTX_set_signature_md(v, EVP_sha256()) == 1 &&
        EVP_PKEY_verify(v, sig, n, digest, sizeof digest) == 1)
        err = 0;
    EVP_PKEY_CTX_free(s);
    EVP_PKEY_CTX_free(v);
    return err;
}

static gpg_error_t read_rsa(struct rd *r, struct key **pub, EVP_PKEY **out)
{
    struct rd v[RSA_NUMBERS] = {0};
    BIGNUM *x[RSA_NUMBERS] = {0};
    BN_CTX *ctx = NULL;
    gpg_error_t err = 0;

    if (*pub == NULL) {
        if ((err = rd_mpint(r, &v[N])) != 0 || (err = rd_mpint(r, &v[E])) != 0 ||
            (err = key_from_rsa(v[N], v[E], pub)) != 0)
            return err;
    } else {
        struct rd blob = rd_of((*pub)->plain, (*pub)->plain_len), type;

        if ((err = rd_string(&blob, &type)) != 0 || (err = rd_mpint(&blob, &v[E])) != 0 ||
            (err = rd_mpint(&blob, &v[N])) != 0)
            return err;
    }
    if ((err = rd_mpint(r, &v[D])) != 0 || (err = rd_mpint(r, &v[IQMP])) != 0 ||
        (err = rd_mpint(r, &v[P])) != 0 || (err = rd_mpint(r, &v[Q])) != 0)
        return err;
    ctx = BN_CTX_secure_new();
    err = ctx != NULL ? numbers_new(x, v, RSA_NUMBERS) : gpg_error(GPG_ERR_ENOMEM);
    if (err == 0) {
        BN_CTX_start(ctx);
        if (!consistent_rsa(x, ctx))
            err = gpg_error(GPG_ERR_BAD_SECKEY);
        BN_CTX_end(ctx);
    }
    if (err == 0)
        err = make_rsa(x, out);
    if (err == 0)
        err = try_rsa(*out);
    numbers_free(x, RSA_NUMBERS);
    BN_CTX_free(ctx);
    return err;
}

/* --- DSA ------------------------------------------------------------------------------------------------------------- */

enum { DSA_P, DSA_Q, DSA_G, DSA_Y, DSA_X, DSA_NUMBERS };

/* q | p - 1, g and y in the group of order q, y = g^x: with anything else a signature can tell x, or never be made. */
static bool consistent_dsa(BIGNUM *const v[DSA_NUMBERS], BN_CTX *ctx)
{
    BIGNUM *t = BN_CTX_get(ctx), *p1 = BN_CTX_get(ctx);

    if (p1 == NULL || BN_is_zero(v[DSA_X]) || BN_cmp(v[DSA_X], v[DSA_Q]) >= 0 ||
        BN_check_prime(v[DSA_P], ctx, NULL) != 1 || BN_check_prime(v[DSA_Q], ctx, NULL) != 1)
        return false;
    return BN_sub(p1, v[DSA_P], BN_value_one()) == 1 && BN_mod(t, p1, v[DSA_Q], ctx) == 1 &&
           BN_is_zero(t) && BN_mod_exp(t, v[DSA_G], v[DSA_Q], v[DSA_P], ctx) == 1 && BN_is_one(t) &&
           BN_mod_exp(t, v[DSA_G], v[DSA_X], v[DSA_P], ctx) == 1 && BN_cmp(t, v[DSA_Y]) == 0;
}

static gpg_error_t make_dsa(BIGNUM *const v[DSA_NUMBERS], EVP_PKEY **out)
{
    static const char *const names[DSA_NUMBERS] = {
        [DSA_P] = OSSL_PKEY_PARAM_FFC_P,    [DSA_Q] = OSSL_PKEY_PARAM_FFC_Q,
        [DSA_G] = OSSL_PKEY_PARAM_FFC_G,    [DSA_Y] = OSSL_PKEY_PARAM_PUB_KEY,
        [DSA_X] = OSSL_PKEY_PARAM_PRIV_KEY,
    };

    return from_numbers("DSA", names, v, DSA_NUMBERS, out);
}

static gpg_error_t read_dsa(struct rd *r, struct key **pub, EVP_PKEY **out)
{
    struct rd v[DSA_NUMBERS], blob, type;
    BIGNUM *x[DSA_NUMBERS] = {0};
    BN_CTX *ctx;
    gpg_error_t err = 0;

    if (*pub == NULL) {
        struct rd start = *r;
        struct buf plain = BUF_INIT;

        for (int i = DSA_P; i <= DSA_Y && err == 0; i++)
            err = rd_mpint(r, &v[i]);
        if (err != 0)
            return err;
        buf_put_cstring(&plain, "ssh-dss");
        buf_put(&plain, start.p, start.n - r->n);
        err = buf_err(&plain);
        if (err == 0)
            err = key_from_blob(buf_rd(&plain), pub);
        buf_free(&plain);
    } else {
        blob = rd_of((*pub)->plain, (*pub)->plain_len);
        err = rd_string(&blob, &type);
        for (int i = DSA_P; i <= DSA_Y && err == 0; i++)
            err = rd_mpint(&blob, &v[i]);
    }
    if (err != 0 || (err = rd_mpint(r, &v[DSA_X])) != 0)
        return err;
    ctx = BN_CTX_secure_new();
    err = ctx != NULL ? numbers_new(x, v, DSA_NUMBERS) : gpg_error(GPG_ERR_ENOMEM);
    if (err == 0) {
        BN_CTX_start(ctx);
        if (!consistent_dsa(x, ctx))
            err = gpg_error(GPG_ERR_BAD_SECKEY);
        BN_CTX_end(ctx);
    }
    if (err == 0)
        err = make_dsa(x, out);
    numbers_free(x, DSA_NUMBERS);
    BN_CTX_free(ctx);
    return err;
}

/* --- elliptic curves -------------------------------------------------------------------------------------------------- */

static gpg_error_t read_ecdsa(struct rd *r, struct key **pub, EVP_PKEY **out)
{
    static const struct {
        const char *ssh, *gcrypt, *group;
    } curves[] = {{"nistp256", "NIST P-256", "P-256"},
                  {"nistp384", "NIST P-384", "P-384"},
                  {"nistp521", "NIST P-521", "P-521"}};
    struct rd curve, q, d, plain, type;
    OSSL_PARAM_BLD *bld = NULL;
    EVP_PKEY_CTX *check = NULL;
    BIGNUM *secret = NULL;
    size_t i = 0;
    gpg_error_t err;

    if (*pub == NULL) {
        if ((err = rd_string(r, &curve)) != 0 || (err = rd_string(r, &q)) != 0)
            return err;
    } else {
        plain = rd_of((*pub)->plain, (*pub)->plain_len);
        if ((err = rd_string(&plain, &type)) != 0 || (err = rd_string(&plain, &curve)) != 0 ||
            (err = rd_string(&plain, &q)) != 0)
            return err;
    }
    while (i < sizeof curves / sizeof curves[0] && !rd_is(curve, curves[i].ssh))
        i++;
    if (i == sizeof curves / sizeof curves[0])
        return gpg_error(GPG_ERR_UNKNOWN_CURVE);
    if (*pub == NULL && (err = key_from_point(curves[i].gcrypt, q, false, pub)) != 0)
        return err;
    err = rd_mpint(r, &d);
    if (err != 0)
        return err;
    err = gpg_error(GPG_ERR_ENOMEM);
    secret = secret_number(d);
    bld = OSSL_PARAM_BLD_new();
    if (secret == NULL || bld == NULL ||
        OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, curves[i].group, 0) != 1 ||
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, q.p, q.n) != 1 ||
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, secret) != 1)
        goto out;
    err = from_params("EC", bld, out);
    if (err == 0) {
        check = EVP_PKEY_CTX_new(*out, NULL);
        if (check == NULL || EVP_PKEY_pairwise_check(check) != 1)
            err = gpg_error(GPG_ERR_BAD_SECKEY);
    }
out:
    EVP_PKEY_CTX_free(check);
    OSSL_PARAM_BLD_free(bld);
    BN_clear_free(secret);
    return err;
}

static gpg_error_t read_ed25519(struct rd *r, struct key **pub, EVP_PKEY **out)
{
    struct rd pk, sk, plain, type, cert_pk;
    unsigned char derived[32];
    size_t n = sizeof derived;
    gpg_error_t err;

    if ((err = rd_string(r, &pk)) != 0 || (err = rd_string(r, &sk)) != 0)
        return err;
    if (pk.n != 32 || sk.n != 64 || !rd_eq(pk, rd_of(sk.p + 32, 32)))
        return gpg_error(GPG_ERR_BAD_SECKEY);
    if (*pub == NULL) {
        err = key_from_point("Ed25519", pk, false, pub);
        if (err != 0)
            return err;
    } else {
        plain = rd_of((*pub)->plain, (*pub)->plain_len);
        if ((err = rd_string(&plain, &type)) != 0 || (err = rd_string(&plain, &cert_pk)) != 0)
            return err;
        if (!rd_eq(pk, cert_pk))
            return gpg_error(GPG_ERR_BAD_SECKEY);
    }
    *out = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, sk.p, 32);
    if (*out == NULL)
        return gpg_error(GPG_ERR_ENOMEM);
    /* Signing with a public half that is not the seed's would give the seed away. */
    if (EVP_PKEY_get_raw_public_key(*out, derived, &n) != 1 || n != 32 ||
        memcmp(derived, pk.p, 32) != 0)
        return gpg_error(GPG_ERR_BAD_SECKEY);
    return 0;
}

/* --- public ----------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *type;
    bool cert;
    gpg_error_t (*read)(struct rd *r, struct key **pub, EVP_PKEY **out);
} types[] = {
    {"ssh-ed25519", false, read_ed25519},
    {"ssh-ed25519-cert-v01@openssh.com", true, read_ed25519},
    {"ecdsa-sha2-nistp256", false, read_ecdsa},
    {"ecdsa-sha2-nistp384", false, read_ecdsa},
    {"ecdsa-sha2-nistp521", false, read_ecdsa},
    {"ecdsa-sha2-nistp256-cert-v01@openssh.com", true, read_ecdsa},
    {"ecdsa-sha2-nistp384-cert-v01@openssh.com", true, read_ecdsa},
    {"ecdsa-sha2-nistp521-cert-v01@openssh.com", true, read_ecdsa},
    {"ssh-rsa", false, read_rsa},
    {"ssh-rsa-cert-v01@openssh.com", true, read_rsa},
    {"ssh-dss", false, read_dsa},
    {"ssh-dss-cert-v01@openssh.com", true, read_dsa},
};

static gpg_error_t public_of_cert(struct rd *r, struct key **pub)
{
    struct key *cert = NULL;
    struct rd blob;
    gpg_error_t err = rd_string(r, &blob);

    if (err == 0)
        err = key_from_blob(blob, &cert);
    if (err == 0)
        err = key_plain(cert, pub);
    key_unref(cert);
    return err;
}

/* What libcrypto makes once and keeps (configuration, providers, algorithms) is no key's: in locked memory it would be in the
 * way of every allocation there. */
static void warm_up(void)
{
    static const char *const algos[] = {"RSA", "DSA", "EC", "ED25519"},
                             *const signatures[] = {"RSA", "DSA", "ECDSA", "ED25519"},
                             *const digests[] = {"SHA1", "SHA256", "SHA384", "SHA512"};

    (void)OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL);
    for (size_t i = 0; i < sizeof algos / sizeof algos[0]; i++) {
        EVP_PKEY_CTX_free(EVP_PKEY_CTX_new_from_name(NULL, algos[i], NULL));
        EVP_SIGNATURE_free(EVP_SIGNATURE_fetch(NULL, signatures[i], NULL));
        EVP_MD_free(EVP_MD_fetch(NULL, digests[i], NULL));
    }
    EVP_PKEY_free(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    EVP_PKEY_free(EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"));
}

gpg_error_t software_key_new(struct rd body, struct software_key **out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct software_key k = {0}, *made;
    struct rd type;
    size_t i = 0;
    gpg_error_t err = rd_string(&body, &type);

    if (err != 0)
        return err;
    while (i < sizeof types / sizeof types[0] && !rd_is(type, types[i].type))
        i++;
    if (i == sizeof types / sizeof types[0])
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    if (types[i].cert)
        err = public_of_cert(&body, &k.pub);
    pthread_once(&once, warm_up);
    /* What libcrypto works out from a key to use it faster (RSA: on the first signature) is as secret as the key. */
    key_memory_begin();
    if (err == 0)
        err = types[i].read(&body, &k.pub, &k.pkey);
    key_memory_end();
    if (err == 0)
        err = rd_end(&body);
    made = err == 0 ? gpgrt_calloc(1, sizeof *made) : NULL;
    if (err == 0 && made == NULL)
        err = gpg_error_from_syserror();
    if (err != 0) {
        key_unref(k.pub);
        EVP_PKEY_free(k.pkey);
        return err;
    }
    *made = k;
    *out = made;
    return 0;
}

void software_key_free(struct software_key *k)
{
    if (k == NULL)
        return;
    key_unref(k->pub);
    EVP_PKEY_free(k->pkey);
    gpgrt_free(k);
}

const struct key *software_key_public(const struct software_key *k)
{
    return k->pub;
}

static const EVP_MD *digest_of(int hash)
{
    switch (hash) {
    case GCRY_MD_SHA1:
        return EVP_sha1();
    case GCRY_MD_SHA256:
        return EVP_sha256();
    case GCRY_MD_SHA384:
        return EVP_sha384();
    case GCRY_MD_SHA512:
        return EVP_sha512();
    default:
        return NULL;
    }
}

static gpg_error_t sign_ed25519(const struct software_key *k, const struct tosign *t,
                                gcry_sexp_t *sig)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char raw[64];
    size_t n = sizeof raw;
    gpg_error_t err = gpg_error(GPG_ERR_INTERNAL);

    if (ctx != NULL && EVP_DigestSignInit(ctx, NULL, NULL, NULL, k->pkey) == 1 &&
        EVP_DigestSign(ctx, raw, &n, t->data.p, t->data.n) == 1)
        err = sig_from_raw(k->pub, rd_of(raw, n), sig);
    EVP_MD_CTX_free(ctx);
    return err;
}

static gpg_error_t sign_digest(const struct software_key *k, const struct tosign *t,
                               gcry_sexp_t *sig)
{
    const EVP_MD *md = digest_of(t->hash);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(k->pkey, NULL);
    unsigned char raw[2048];
    size_t n = sizeof raw;
    gpg_error_t err = gpg_error(GPG_ERR_INTERNAL);

    if (md == NULL || t->data.n != (size_t)EVP_MD_get_size(md))
        err = gpg_error(GPG_ERR_DIGEST_ALGO);
    else if (ctx != NULL && EVP_PKEY_sign_init(ctx) == 1 &&
             EVP_PKEY_CTX_set_signature_md(ctx, md) == 1 &&
             EVP_PKEY_sign(ctx, raw, &n, t->data.p, t->data.n) == 1)
        err = 0;
    if (err == 0 && k->pub->algo == KEY_RSA) {
        err = sig_from_raw(k->pub, rd_of(raw, n), sig);
    } else if (err == 0) { /* DSA's and ECDSA's are the same two numbers */
        const unsigned char *p = raw;
        ECDSA_SIG *rs = d2i_ECDSA_SIG(NULL, &p, (long)n);
        unsigned char r[66], s[66];

        if (rs == NULL)
            err = gpg_error(GPG_ERR_INTERNAL);
        else
            err = sig_from_rs(k->pub, rd_of(r, (size_t)BN_bn2bin(ECDSA_SIG_get0_r(rs), r)),
                              rd_of(s, (size_t)BN_bn2bin(ECDSA_SIG_get0_s(rs), s)), sig);
        ECDSA_SIG_free(rs);
    }
    EVP_PKEY_CTX_free(ctx);
    return err;
}

gpg_error_t software_key_sign(const struct software_key *k, const struct tosign *t,
                              gcry_sexp_t *sig)
{
    return k->pub->algo == KEY_ED25519 ? sign_ed25519(k, t, sig) : sign_digest(k, t, sig);
}
