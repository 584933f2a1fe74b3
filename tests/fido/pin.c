/* clientPIN with protocol one (CTAP 2.0, 5.5). */
#include "tests/fido/cbor_util.h"
#include "tests/fido/fido.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>
#include <string.h>

enum { GET_RETRIES = 1, GET_KEY_AGREEMENT = 2, SET_PIN = 3, CHANGE_PIN = 4, GET_PIN_TOKEN = 5 };

static void new_agreement(struct device *d)
{
    EVP_PKEY_free(d->agreement);
    d->agreement = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
}

void pin_init(struct device *d)
{
    new_agreement(d);
    RAND_bytes(d->token, sizeof d->token);
}

static void put_agreement(struct device *d, struct buf *reply)
{
    cbor_item_t *cose = cbor_new_definite_map(5), *map = cbor_new_definite_map(1);
    uint8_t q[65];
    size_t n = 0;

    EVP_PKEY_get_octet_string_param(d->agreement, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, q, sizeof q,
                                    &n);
    map_put(cose, 1, cbor_build_uint8(2));
    map_put(cose, 3, cbor_build_negint8(24));
    map_put(cose, -1, cbor_build_uint8(1));
    map_put(cose, -2, cbor_build_bytestring(q + 1, 32));
    map_put(cose, -3, cbor_build_bytestring(q + 33, 32));
    map_put(map, 1, cose);
    put_cbor(reply, map);
}

static EVP_PKEY *peer_key(const cbor_item_t *cose)
{
    struct rd x = bytes_of(map_get(cose, -2)), y = bytes_of(map_get(cose, -3));
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    char group[] = "P-256";
    uint8_t q[65] = {4};
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, q, sizeof q),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY *key = NULL;

    if (x.n == 32 && y.n == 32) {
        memcpy(q + 1, x.p, 32);
        memcpy(q + 33, y.p, 32);
        if (EVP_PKEY_fromdata_init(ctx) != 1 ||
            EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
            key = NULL;
    }
    EVP_PKEY_CTX_free(ctx);
    return key;
}

static bool shared_secret(struct device *d, const cbor_item_t *cose, uint8_t out[32])
{
    EVP_PKEY *peer = peer_key(cose);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(d->agreement, NULL);
    uint8_t z[32];
    size_t n = sizeof z;
    bool ok = peer != NULL && ctx != NULL && EVP_PKEY_derive_init(ctx) == 1 &&
              EVP_PKEY_derive_set_peer(ctx, peer) == 1 && EVP_PKEY_derive(ctx, z, &n) == 1 &&
              EVP_Digest(z, n, out, NULL, EVP_sha256(), NULL) == 1;

    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
    return ok;
}

static bool aes(const uint8_t key[32], const uint8_t *in, size_t n, uint8_t *out, bool encrypt)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t iv[16] = {0};
    int done = 0;
    bool ok = EVP_CipherInit_ex(ctx, EVP_aes_256_cbc(), NULL, key, iv, encrypt) == 1 &&
              EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
              EVP_CipherUpdate(ctx, out, &done, in, (int)n) == 1;

    EVP_CIPHER_CTX_free(ctx);
    return ok && (size_t)done == n;
}

static int refused(struct device *d)
{
    new_agreement(d);
    d->tries--;
    d->in_a_row++;
    if (d->tries == 0)
        return ST_PIN_BLOCKED;
    return d->in_a_row >= 3 ? ST_PIN_AUTH_BLOCKED : ST_PIN_INVALID;
}

static int give_token(struct device *d, const cbor_item_t *map, struct buf *reply)
{
    struct rd enc = bytes_of(map_get(map, 6));
    uint8_t secret[32], given[16], right[32], token[32];
    cbor_item_t *out;

    if (d->pin == NULL)
        return ST_PIN_NOT_SET;
    if (d->tries == 0)
        return ST_PIN_BLOCKED;
    if (d->in_a_row >= 3)
        return ST_PIN_AUTH_BLOCKED;
    if (enc.n != 16 || !shared_secret(d, map_get(map, 3), secret) ||
        !aes(secret, enc.p, enc.n, given, false))
        return ST_MISSING_PARAMETER;
    d->pins++;
    EVP_Digest(d->pin, strlen(d->pin), right, NULL, EVP_sha256(), NULL);
    if (CRYPTO_memcmp(given, right, sizeof given) != 0)
        return refused(d);
    d->tries = 8;
    d->in_a_row = 0;
    if (!aes(secret, d->token, sizeof d->token, token, true))
        return ST_INVALID_COMMAND;
    out = cbor_new_definite_map(1);
    map_put(out, 2, cbor_build_bytestring(token, sizeof token));
    put_cbor(reply, out);
    return ST_OK;
}

/* newPinEnc: 64 octets, padded with zeros; PARAM authenticates it, and for a change the old PIN's hash behind it. */
static int put_pin(struct device *d, const cbor_item_t *map, bool change)
{
    struct rd enc = bytes_of(map_get(map, 5)), old = bytes_of(map_get(map, 6));
    struct rd param = bytes_of(map_get(map, 4));
    uint8_t secret[32], mac[32], pin[64], given[16], right[32];
    struct buf what = BUF_INIT;
    unsigned n = 0;

    if (change != (d->pin != NULL))
        return change ? ST_PIN_NOT_SET : ST_PIN_AUTH_INVALID;
    if (change && d->tries == 0)
        return ST_PIN_BLOCKED;
    if (change && d->in_a_row >= 3)
        return ST_PIN_AUTH_BLOCKED;
    if (enc.n != sizeof pin || param.n != 16 || (change && old.n != 16) ||
        !shared_secret(d, map_get(map, 3), secret))
        return ST_MISSING_PARAMETER;
    buf_put_rd(&what, enc);
    if (change)
        buf_put_rd(&what, old);
    HMAC(EVP_sha256(), secret, sizeof secret, what.data, what.len, mac, &n);
    buf_free(&what);
    if (CRYPTO_memcmp(mac, param.p, 16) != 0)
        return ST_PIN_AUTH_INVALID;
    if (change) {
        d->pins++;
        EVP_Digest(d->pin, strlen(d->pin), right, NULL, EVP_sha256(), NULL);
        if (!aes(secret, old.p, old.n, given, false) || CRYPTO_memcmp(given, right, 16) != 0)
            return refused(d);
    }
    if (!aes(secret, enc.p, enc.n, pin, false) || pin[63] != 0)
        return ST_PIN_POLICY_VIOLATION;
    if (strlen((char *)pin) < 4)
        return ST_PIN_POLICY_VIOLATION;
    gpgrt_free(d->pin);
    d->pin = gpgrt_strdup((char *)pin);
    d->tries = 8;
    d->in_a_row = 0;
    return ST_OK;
}

int pin_command(struct device *d, const void *map, struct buf *reply)
{
    cbor_item_t *out;

    switch (int_of(map_get(map, 2), -1)) {
    case GET_RETRIES:
        out = cbor_new_definite_map(1);
        map_put(out, 3, cbor_build_uint8((uint8_t)d->tries));
        put_cbor(reply, out);
        return ST_OK;
    case GET_KEY_AGREEMENT:
        put_agreement(d, reply);
        return ST_OK;
    case SET_PIN:
    case CHANGE_PIN:
        return put_pin(d, map, int_of(map_get(map, 2), -1) == CHANGE_PIN);
    case GET_PIN_TOKEN:
        return give_token(d, map, reply);
    default:
        return ST_INVALID_COMMAND;
    }
}

bool pin_auth_holds(const struct device *d, struct rd param, struct rd digest)
{
    uint8_t mac[32];
    unsigned n = 0;

    return param.n == 16 &&
           HMAC(EVP_sha256(), d->token, sizeof d->token, digest.p, digest.n, mac, &n) != NULL &&
           CRYPTO_memcmp(mac, param.p, param.n) == 0;
}
