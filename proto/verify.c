/* Verification. Elliptic curves by libcrypto, where it is 5 to 11 times as fast as libgcrypt (every
 * signature of a card and every session-bind passes here); RSA and whatever libcrypto was built
 * without by libgcrypt. */
#include "proto/key_internal.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <string.h>

#define ED25519_OCTETS 32

/* --- libgcrypt
 * --------------------------------------------------------------------------------------------- */

static gpg_error_t gcrypt_data(const struct key *k, const struct tosign *t, gcry_sexp_t *out)
{
    int n = (int)t->data.n;

    if (k->algo == KEY_RSA)
        return gcry_sexp_build(out, NULL, "(data(flags pkcs1)(hash %s %b))",
                               gcry_md_algo_name(t->hash), n, t->data.p);
    /* The leftmost bits count (FIPS 186-4 6.4), which raw data does not see to. */
    if (t->data.n > (k->nbits + 7) / 8)
        n = (int)(k->nbits + 7) / 8;
    return gcry_sexp_build(out, NULL, "(data(flags raw)(value %b))", n, t->data.p);
}

static gpg_error_t gcrypt_verify(const struct key *k, const struct tosign *t, gcry_sexp_t sig)
{
    gcry_sexp_t data = NULL;
    gpg_error_t err = gcrypt_data(k, t, &data);

    if (err == 0) {
        err = gcry_pk_verify(sig, data, k->sexp);
        if (err != 0 && gpg_err_code(err) != GPG_ERR_ENOMEM)
            err = gpg_error(GPG_ERR_BAD_SIGNATURE);
    }
    gcry_sexp_release(data);
    return err;
}

/* --- libcrypto
 * --------------------------------------------------------------------------------------------- */

/* All of these: 0, GPG_ERR_BAD_SIGNATURE, or GPG_ERR_NOT_SUPPORTED when libcrypto cannot do it. */

static gpg_error_t crypto_verify_ed25519(struct rd pk, struct rd message, struct rd sig)
{
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, pk.p, pk.n);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    gpg_error_t err = gpg_error(GPG_ERR_NOT_SUPPORTED);

    if (key != NULL && ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1)
        err = EVP_DigestVerify(ctx, sig.p, sig.n, message.p, message.n) == 1
                  ? 0
                  : gpg_error(GPG_ERR_BAD_SIGNATURE);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return err;
}

static EVP_PKEY *crypto_ec_key(const struct curve *curve, struct rd q)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME,
                                         (char *)(uintptr_t)curve->group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)q.p, q.n),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;

    if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* The DER form that libcrypto wants; its length, or 0. */
static size_t crypto_der(struct rd r, struct rd s, unsigned char **der)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *br = BN_bin2bn(r.p, (int)r.n, NULL), *bs = BN_bin2bn(s.p, (int)s.n, NULL);
    int n;

    if (sig == NULL || br == NULL || bs == NULL || ECDSA_SIG_set0(sig, br, bs) != 1) {
        BN_free(br);
        BN_free(bs);
        ECDSA_SIG_free(sig);
        return 0;
    }
    *der = NULL;
    n = i2d_ECDSA_SIG(sig, der);
    ECDSA_SIG_free(sig);
    return n > 0 ? (size_t)n : 0;
}

static gpg_error_t crypto_verify_ecdsa(const struct curve *curve, struct rd q, struct rd digest,
                                       struct rd r, struct rd s)
{
    EVP_PKEY *key = crypto_ec_key(curve, q);
    EVP_PKEY_CTX *ctx = key != NULL ? EVP_PKEY_CTX_new(key, NULL) : NULL;
    unsigned char *der = NULL;
    size_t n = crypto_der(r, s, &der);
    gpg_error_t err = gpg_error(GPG_ERR_NOT_SUPPORTED);

    if (ctx != NULL && n > 0 && EVP_PKEY_verify_init(ctx) == 1)
        err = EVP_PKEY_verify(ctx, der, n, digest.p, digest.n) == 1
                  ? 0
                  : gpg_error(GPG_ERR_BAD_SIGNATURE);
    OPENSSL_free(der);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(key);
    return err;
}

static gpg_error_t crypto_verify(const struct key *k, const struct tosign *t, gcry_sexp_t sig)
{
    const struct curve *curve = curve_by_name(k->curve);
    struct buf q = BUF_INIT, r = BUF_INIT, s = BUF_INIT, rs = BUF_INIT;
    gpg_error_t err = sexp_param(k->sexp, "q", &q);

    if (err == 0)
        err = sexp_param(sig, "r", &r);
    if (err == 0)
        err = sexp_param(sig, "s", &s);
    if (err != 0)
        goto out;
    if (curve->form == CURVE_WEIERSTRASS) {
        struct rd vr = rd_magnitude(buf_rd(&r)), vs = rd_magnitude(buf_rd(&s));

        if (vr.n > curve->octets || vs.n > curve->octets)
            err = gpg_error(GPG_ERR_BAD_SIGNATURE);
        else
            err = crypto_verify_ecdsa(curve, buf_rd(&q), t->data, vr, vs);
    } else {
        if (put_padded(&rs, buf_rd(&r), ED25519_OCTETS) != 0 ||
            put_padded(&rs, buf_rd(&s), ED25519_OCTETS) != 0)
            err = gpg_error(GPG_ERR_BAD_SIGNATURE);
        else /* after the 0x40 that key_make puts before the point */
            err = crypto_verify_ed25519(rd_of(q.data + 1, q.len - 1), t->data, buf_rd(&rs));
    }
out:
    /* The queue belongs to the thread, where libssh or libfido2 may find our leftovers. */
    ERR_clear_error();
    buf_free(&q);
    buf_free(&r);
    buf_free(&s);
    buf_free(&rs);
    return err;
}

/* --- both
 * --------------------------------------------------------------------------------------------------
 */

gpg_error_t sig_verify(const struct key *k, const struct tosign *t, gcry_sexp_t sig)
{
    bool hashed = k->algo != KEY_ED25519 && k->algo != KEY_SK_ED25519;
    gpg_error_t err;

    if (k->algo == KEY_ECDH || k->algo == KEY_OTHER)
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    if (hashed && (t->data.n == 0 || gcry_md_get_algo_dlen(t->hash) != t->data.n))
        return gpg_error(GPG_ERR_DIGEST_ALGO);
    if (k->algo == KEY_RSA || k->algo == KEY_DSA)
        return gcrypt_verify(k, t, sig);
    err = crypto_verify(k, t, sig);
    /* Not Ed25519: there libgcrypt aborts the process on some points (see ed25519_point.c). */
    if (gpg_err_code(err) == GPG_ERR_NOT_SUPPORTED && hashed)
        err = gcrypt_verify(k, t, sig);
    return err;
}

/* The pair inside an SSH signature: two mpints for ECDSA, 64 octets for Ed25519, 40 for DSA. */
static gpg_error_t sig_from_ssh(const struct key *k, struct rd value, gcry_sexp_t *out)
{
    struct rd r, s;

    if (k->algo == KEY_ED25519 || k->algo == KEY_SK_ED25519) {
        if (value.n != (size_t)2 * ED25519_OCTETS)
            return gpg_error(GPG_ERR_BAD_SIGNATURE);
        return sig_from_raw(k, value, out);
    }
    if (k->algo == KEY_RSA)
        return sig_from_raw(k, value, out);
    if (k->algo == KEY_DSA) /* two halves of 20 octets (RFC 4253 6.6) */
        return value.n == 40 ? sig_from_raw(k, value, out) : gpg_error(GPG_ERR_BAD_SIGNATURE);
    if (rd_mpint(&value, &r) != 0 || rd_mpint(&value, &s) != 0 || rd_end(&value) != 0)
        return gpg_error(GPG_ERR_BAD_SIGNATURE);
    return sig_from_rs(k, r, s, out);
}

static gpg_error_t verify_value(const struct key *k, int hash, struct rd message, struct rd value)
{
    uint8_t digest[64];
    struct tosign t;
    gcry_sexp_t sig = NULL;
    gpg_error_t err = sig_from_ssh(k, value, &sig);

    if (err == 0)
        err = tosign_from_message(hash, message, digest, &t);
    if (err == 0)
        err = sig_verify(k, &t, sig);
    gcry_sexp_release(sig);
    return err;
}

/* The digest that a signature type names for K; false when the type is not K's. */
static bool sig_type_hash(const struct key *k, struct rd type, bool allow_sha1, int *hash)
{
    const struct ssh_type *own;

    if (k->algo == KEY_RSA) {
        if (rd_is(type, "rsa-sha2-512"))
            *hash = GCRY_MD_SHA512;
        else if (rd_is(type, "rsa-sha2-256"))
            *hash = GCRY_MD_SHA256;
        else if (allow_sha1 && rd_is(type, "ssh-rsa"))
            *hash = GCRY_MD_SHA1;
        else
            return false;
        return true;
    }
    if (k->algo == KEY_DSA && !allow_sha1)
        return false;
    own = ssh_type_of(k);
    *hash = k->algo == KEY_ED25519 ? 0 : key_default_hash(k);
    return own != NULL && rd_is(type, own->name);
}

gpg_error_t ssh_sig_verify(const struct key *k, struct rd message, struct rd sigblob,
                           bool allow_sha1)
{
    struct rd type, value;
    int hash;

    if (k->plain == NULL || key_is_sk(k))
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    if (rd_string(&sigblob, &type) != 0 || rd_string(&sigblob, &value) != 0 ||
        rd_end(&sigblob) != 0)
        return gpg_error(GPG_ERR_BAD_SIGNATURE);
    if (!sig_type_hash(k, type, allow_sha1, &hash))
        return gpg_error(GPG_ERR_BAD_SIGNATURE);
    return verify_value(k, hash, message, value);
}

/* What a security key signs: the application's hash, what it says, the message's hash. */
static gpg_error_t sk_signed_data(const struct key *k, struct rd message,
                                  const struct sk_assertion *says, struct buf *out)
{
    uint8_t digest[32];

    gcry_md_hash_buffer(GCRY_MD_SHA256, digest, k->sk_application, strlen(k->sk_application));
    buf_put(out, digest, sizeof digest);
    buf_put_u8(out, says->flags);
    buf_put_u32(out, says->counter);
    gcry_md_hash_buffer(GCRY_MD_SHA256, digest, message.p, message.n);
    buf_put(out, digest, sizeof digest);
    return buf_err(out);
}

gpg_error_t sk_sig_check(const struct key *k, struct rd message, const struct sk_assertion *says,
                         gcry_sexp_t sig)
{
    struct buf data = BUF_INIT;
    uint8_t digest[64];
    struct tosign t;
    gpg_error_t err;

    if (!key_is_sk(k))
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    err = sk_signed_data(k, message, says, &data);
    if (err == 0)
        err = tosign_from_message(k->algo == KEY_SK_ECDSA ? GCRY_MD_SHA256 : 0, buf_rd(&data),
                                  digest, &t);
    if (err == 0)
        err = sig_verify(k, &t, sig);
    buf_free(&data);
    return err;
}

gpg_error_t sk_sig_verify(const struct key *k, struct rd message, struct rd sigblob, uint8_t *flags)
{
    struct rd type, value;
    struct sk_assertion says;
    gcry_sexp_t sig = NULL;
    gpg_error_t err;

    if (!key_is_sk(k))
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    if (rd_string(&sigblob, &type) != 0 || rd_string(&sigblob, &value) != 0 ||
        rd_u8(&sigblob, &says.flags) != 0 || rd_u32(&sigblob, &says.counter) != 0 ||
        rd_end(&sigblob) != 0 || !rd_is(type, ssh_type_of(k)->name))
        return gpg_error(GPG_ERR_BAD_SIGNATURE);
    err = sig_from_ssh(k, value, &sig);
    if (err == 0)
        err = sk_sig_check(k, message, &says, sig);
    if (err == 0)
        *flags = says.flags;
    gcry_sexp_release(sig);
    return err;
}
