#include "tests/wallets/ledger/ledger.h"

#include "tests/wallets/slip10.h"

#include <gcrypt.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <string.h>

bool key_at(const struct device *d, enum curve c, const struct path *p, uint8_t key[32])
{
    bool ok = slip10_key(d->seed, c == CURVE_P256 ? "nist256p1" : "ed25519", p->at, p->n, key);

    if (d->wrong_key)
        key[31] ^= 1;
    return ok;
}

static bool p256_public(const uint8_t key[32], uint8_t w[65])
{
    EC_GROUP *g = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    EC_POINT *q = EC_POINT_new(g);
    BIGNUM *k = BN_bin2bn(key, 32, NULL);
    bool ok = EC_POINT_mul(g, q, k, NULL, NULL, NULL) == 1 &&
              EC_POINT_point2oct(g, q, POINT_CONVERSION_UNCOMPRESSED, w, 65, NULL) == 65;

    BN_free(k);
    EC_POINT_free(q);
    EC_GROUP_free(g);
    return ok;
}

/* x of RFC 8032's 32 octets: x^2 = (y^2 - 1) / (d y^2 + 1), with the parity of the last bit. */
static bool ed25519_point(const uint8_t raw[32], uint8_t w[65])
{
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *p = NULL, *d = NULL, *x = BN_new(), *u = BN_new(), *v = BN_new(), *y;
    uint8_t le[32];
    bool ok;

    memcpy(le, raw, 32);
    le[31] &= 0x7f;
    y = BN_lebin2bn(le, 32, NULL);
    ok = BN_hex2bn(&p, "7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFED") > 0 &&
         BN_hex2bn(&d, "52036CEE2B6FFE738CC740797779E89800700A4D4141D8AB75EB4DCA135978A3") > 0 &&
         BN_mod_sqr(u, y, p, ctx) && BN_mod_mul(v, u, d, p, ctx) && BN_add_word(v, 1) &&
         BN_sub_word(u, 1) && BN_mod_inverse(v, v, p, ctx) != NULL && BN_mod_mul(u, u, v, p, ctx) &&
         BN_mod_sqrt(x, u, p, ctx) != NULL;
    if (ok && BN_is_odd(x) != (raw[31] >> 7))
        ok = BN_sub(x, p, x) == 1;
    w[0] = 4;
    ok = ok && BN_bn2binpad(x, w + 1, 32) == 32 && BN_bn2binpad(y, w + 33, 32) == 32;
    BN_free(p);
    BN_free(d);
    BN_free(x);
    BN_free(u);
    BN_free(v);
    BN_free(y);
    BN_CTX_free(ctx);
    return ok;
}

static bool ed25519_public(const uint8_t key[32], uint8_t w[65])
{
    EVP_PKEY *k = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key, 32);
    uint8_t raw[32];
    size_t n = sizeof raw;
    bool ok = k != NULL && EVP_PKEY_get_raw_public_key(k, raw, &n) == 1 && ed25519_point(raw, w);

    EVP_PKEY_free(k);
    return ok;
}

bool key_public(enum curve c, const uint8_t key[32], uint8_t w[65])
{
    return c == CURVE_P256 ? p256_public(key, w) : ed25519_public(key, w);
}

/* --- ECDSA ------------------------------------------------------------------------------------------------------------------ */

static bool sign_rfc6979(const uint8_t key[32], const uint8_t digest[32], BIGNUM *r, BIGNUM *s)
{
    gcry_sexp_t k = NULL, d = NULL, sig = NULL;
    bool ok =
        gcry_sexp_build(&k, NULL, "(private-key(ecc(curve \"NIST P-256\")(d %b)))", 32, key) == 0 &&
        gcry_sexp_build(&d, NULL, "(data(flags rfc6979)(hash sha256 %b))", 32, digest) == 0 &&
        gcry_pk_sign(&sig, d, k) == 0;
    const char *const names[] = {"r", "s"};
    BIGNUM *const out[] = {r, s};

    for (int i = 0; i < 2 && ok; i++) {
        gcry_sexp_t part = gcry_sexp_find_token(sig, names[i], 1);
        size_t n = 0;
        const char *p = part != NULL ? gcry_sexp_nth_data(part, 1, &n) : NULL;

        ok = p != NULL && BN_bin2bn((const uint8_t *)p, (int)n, out[i]) != NULL;
        gcry_sexp_release(part);
    }
    gcry_sexp_release(k);
    gcry_sexp_release(d);
    gcry_sexp_release(sig);
    return ok;
}

/* Of the y of R = (z G + r Q) / s, with Q = key G. */
static bool parity_of_r(const EC_GROUP *g, const uint8_t key[32], const uint8_t digest[32],
                        const BIGNUM *r, const BIGNUM *s, bool *odd)
{
    const BIGNUM *n = EC_GROUP_get0_order(g);
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *z = BN_bin2bn(digest, 32, NULL), *k = BN_bin2bn(key, 32, NULL), *i = BN_new(),
           *y = BN_new();
    EC_POINT *p = EC_POINT_new(g);
    bool ok = BN_mod_inverse(i, s, n, ctx) != NULL && BN_mod_mul(k, k, r, n, ctx) &&
              BN_mod_add(k, k, z, n, ctx) && BN_mod_mul(k, k, i, n, ctx) &&
              EC_POINT_mul(g, p, k, NULL, NULL, ctx) == 1 &&
              EC_POINT_get_affine_coordinates(g, p, NULL, y, ctx) == 1;

    *odd = BN_is_odd(y);
    BN_free(z);
    BN_free(k);
    BN_free(i);
    BN_free(y);
    EC_POINT_free(p);
    BN_CTX_free(ctx);
    return ok;
}

static void put_integer(struct buf *b, const BIGNUM *v)
{
    uint8_t raw[33] = {0};
    int n = BN_num_bytes(v), lead = n > 0 && BN_is_bit_set(v, n * 8 - 1);

    (void)BN_bn2bin(v, raw + lead);
    buf_put_tlv(b, 2, raw, (size_t)(n + lead));
}

bool sign_p256(const uint8_t key[32], const uint8_t digest[32], struct buf *out)
{
    EC_GROUP *g = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    BIGNUM *r = BN_new(), *s = BN_new(), *half = BN_new();
    struct buf body = BUF_INIT;
    bool odd = false,
         ok = sign_rfc6979(key, digest, r, s) && BN_rshift1(half, EC_GROUP_get0_order(g));

    if (ok && BN_cmp(s, half) > 0)
        ok = BN_sub(s, EC_GROUP_get0_order(g), s) == 1;
    ok = ok && parity_of_r(g, key, digest, r, s, &odd);
    put_integer(&body, r);
    put_integer(&body, s);
    buf_put_tlv(out, odd ? 0x31 : 0x30, body.data, body.len);
    buf_free(&body);
    BN_free(r);
    BN_free(s);
    BN_free(half);
    EC_GROUP_free(g);
    return ok;
}

bool sign_ed25519(const uint8_t key[32], struct rd message, struct buf *out)
{
    EVP_PKEY *k = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, key, 32);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t sig[64];
    size_t n = sizeof sig;
    bool ok = k != NULL && EVP_DigestSignInit(ctx, NULL, NULL, NULL, k) == 1 &&
              EVP_DigestSign(ctx, sig, &n, message.p, message.n) == 1;

    if (ok)
        buf_put(out, sig, n);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(k);
    return ok;
}

bool ecdh_p256(const uint8_t key[32], struct rd point, uint8_t shared[65])
{
    EC_GROUP *g = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    EC_POINT *p = EC_POINT_new(g);
    BIGNUM *k = BN_bin2bn(key, 32, NULL);
    bool ok = EC_POINT_oct2point(g, p, point.p, point.n, NULL) == 1 &&
              EC_POINT_mul(g, p, NULL, p, k, NULL) == 1 &&
              EC_POINT_point2oct(g, p, POINT_CONVERSION_UNCOMPRESSED, shared, 65, NULL) == 65;

    BN_free(k);
    EC_POINT_free(p);
    EC_GROUP_free(g);
    return ok;
}
