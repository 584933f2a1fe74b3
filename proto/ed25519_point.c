/* Whether 32 octets encode a point of edwards25519 (RFC 8032 5.1.3). libgcrypt 1.10 cannot be asked: its decoder accepts
 * a y without x, and gcry_mpi_ec_curve_point aborts the process on points with small coordinates. */
#include "proto/key_internal.h"

#include <openssl/bn.h>

/* Below p = 2^255 - 19, the sign bit aside: each point has one encoding. */
static bool canonical(struct rd q)
{
    if ((q.p[31] & 0x7f) != 0x7f)
        return true;
    for (size_t i = 30; i > 0; i--)
        if (q.p[i] != 0xff)
            return true;
    return q.p[0] < 0xed;
}

/* x^2 = (y^2 - 1) / (d y^2 + 1) has a root when (y^2 - 1)(d y^2 + 1) is a square: their quotient is their product times
 * a square, and d y^2 + 1 is never 0. */
static gpg_error_t check_root(BIGNUM *y, BN_CTX *ctx)
{
    BIGNUM *p = NULL, *d = NULL, *u = BN_CTX_get(ctx), *v = BN_CTX_get(ctx);
    gpg_error_t err = gpg_error(GPG_ERR_ENOMEM);
    int symbol;

    if (v == NULL ||
        BN_hex2bn(&p, "7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFED") == 0 ||
        BN_hex2bn(&d, "52036CEE2B6FFE738CC740797779E89800700A4D4141D8AB75EB4DCA135978A3") == 0)
        goto out;
    if (BN_mod_sqr(u, y, p, ctx) != 1 || BN_mod_mul(v, u, d, p, ctx) != 1 ||
        BN_add_word(v, 1) != 1 || BN_sub_word(u, 1) != 1 || BN_mod_mul(u, u, v, p, ctx) != 1)
        goto out;
    symbol = BN_kronecker(u, p, ctx);
    if (symbol == -2)
        goto out;
    /* 0: x is 0, the neutral element or the point of order 2, nobody's key */
    err = symbol == 1 ? 0 : gpg_error(GPG_ERR_BAD_PUBKEY);
out:
    BN_free(p);
    BN_free(d);
    return err;
}

gpg_error_t ed25519_check_point(struct rd q)
{
    uint8_t octets[32];
    BN_CTX *ctx;
    BIGNUM *y;
    gpg_error_t err = gpg_error(GPG_ERR_ENOMEM);

    if (q.n != sizeof octets || !canonical(q))
        return gpg_error(GPG_ERR_BAD_PUBKEY);
    for (size_t i = 0; i < sizeof octets; i++)
        octets[i] = q.p[31 - i];
    octets[0] &= 0x7f;
    ctx = BN_CTX_new();
    if (ctx == NULL)
        return err;
    BN_CTX_start(ctx);
    y = BN_CTX_get(ctx);
    if (y != NULL && BN_bin2bn(octets, sizeof octets, y) != NULL)
        err = check_root(y, ctx);
    BN_CTX_end(ctx);
    BN_CTX_free(ctx);
    return err;
}
