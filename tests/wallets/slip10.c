#include "tests/wallets/slip10.h"

#include "proto/buf.h"

#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

/* The order of NIST P-256. */
static const char p256_order[] = "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551";

bool slip10_seed(const char *mnemonic, const char *passphrase, uint8_t seed[64])
{
    struct buf salt = BUF_INIT;
    bool ok;

    buf_printf(&salt, "mnemonic%s", passphrase);
    ok = buf_err(&salt) == 0 && PKCS5_PBKDF2_HMAC(mnemonic, (int)strlen(mnemonic), salt.data,
                                                  (int)salt.len, 2048, EVP_sha512(), 64, seed) == 1;
    buf_free(&salt);
    return ok;
}

static bool hmac(const void *key, size_t n, const struct buf *b, uint8_t out[64])
{
    return buf_err(b) == 0 && HMAC(EVP_sha512(), key, (int)n, b->data, b->len, out, NULL) != NULL;
}

/* KEY := (IL + PARENT) mod the order; PARENT NULL: IL itself. False: no such key, try again. */
static bool p256_child(const uint8_t *parent, const uint8_t il[32], uint8_t key[32])
{
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *n = NULL, *a = BN_bin2bn(il, 32, NULL), *k = BN_new();
    bool ok = ctx != NULL && a != NULL && k != NULL && BN_hex2bn(&n, p256_order) > 0 &&
              BN_cmp(a, n) < 0 && (parent == NULL || BN_bin2bn(parent, 32, k) != NULL);

    ok = ok && BN_mod_add(k, k, a, n, ctx) == 1 && !BN_is_zero(k) && BN_bn2binpad(k, key, 32) == 32;
    BN_free(n);
    BN_free(a);
    BN_free(k);
    BN_CTX_free(ctx);
    return ok;
}

bool slip10_key(const uint8_t seed[64], const char *curve, const uint32_t *path, size_t n,
                uint8_t key[32])
{
    bool p256 = strcmp(curve, "nist256p1") == 0, ok;
    char salt[32];
    uint8_t i[64], chain[32];
    struct buf b = BUF_INIT;

    snprintf(salt, sizeof salt, "%s seed", p256 ? "Nist256p1" : curve);
    buf_put(&b, seed, 64);
    ok = hmac(salt, strlen(salt), &b, i);
    while (ok && p256 && !p256_child(NULL, i, key)) {
        buf_reset(&b);
        buf_put(&b, i, 64);
        ok = hmac(salt, strlen(salt), &b, i);
    }
    memcpy(key, i, 32);
    memcpy(chain, i + 32, 32);
    for (size_t at = 0; at < n && ok; at++) {
        uint8_t child[32];

        ok = path[at] >= SLIP10_HARDENED;
        buf_reset(&b);
        buf_put_u8(&b, 0);
        buf_put(&b, key, 32);
        buf_put_u32(&b, path[at]);
        ok = ok && hmac(chain, 32, &b, i);
        while (ok && p256 && !p256_child(key, i, child)) {
            buf_reset(&b);
            buf_put_u8(&b, 1);
            buf_put(&b, i + 32, 32);
            buf_put_u32(&b, path[at]);
            ok = hmac(chain, 32, &b, i);
        }
        memcpy(key, p256 ? child : i, 32);
        memcpy(chain, i + 32, 32);
    }
    buf_free(&b);
    return ok;
}
