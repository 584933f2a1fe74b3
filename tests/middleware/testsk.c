/* Security-key middleware for tests (OpenSSH's sk-api.h, version 10): a token that is no token, with failures on request.
 * The key handle holds the private key, so it needs no memory of its own.
 *
 * $LATCHKEY_TEST_SK names a folder. What lies there rules each call:
 *   pin      keys that want the person verified want this PIN
 *   hold     a touch is waited for until "touch" is there (which is then removed)
 *   error    the number to fail with
 *   crash    die
 *   lie      sign without the flags that were asked for
 *   resident the application of a key that the token keeps (it wants the PIN to tell; another one each time)
 *   version  the API version to name, in hexadecimal
 * "log" there gets a line for each signature: application, flags, "pin" or "-". */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/param_build.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ED25519 1
#define PRESENT 0x01
#define VERIFY  0x04
#define KEPT    0x20

enum { GENERAL = -1, UNSUPPORTED = -2, PIN_REQUIRED = -3 };

struct sk_option;
struct sk_enroll_response {
    uint8_t flags;
    uint8_t *public_key;
    size_t public_key_len;
    uint8_t *key_handle;
    size_t key_handle_len;
    uint8_t *signature;
    size_t signature_len;
    uint8_t *attestation_cert;
    size_t attestation_cert_len;
    uint8_t *authdata;
    size_t authdata_len;
};
struct sk_sign_response {
    uint8_t flags;
    uint32_t counter;
    uint8_t *sig_r;
    size_t sig_r_len;
    uint8_t *sig_s;
    size_t sig_s_len;
};

struct sk_resident_key {
    uint32_t alg;
    size_t slot;
    char *application;
    struct sk_enroll_response key;
    uint8_t flags;
    uint8_t *user_id;
    size_t user_id_len;
};

uint32_t sk_api_version(void);
int sk_enroll(uint32_t alg, const uint8_t *challenge, size_t challenge_len, const char *application,
              uint8_t flags, const char *pin, struct sk_option **options,
              struct sk_enroll_response **response);
int sk_sign(uint32_t alg, const uint8_t *data, size_t data_len, const char *application,
            const uint8_t *key_handle, size_t key_handle_len, uint8_t flags, const char *pin,
            struct sk_option **options, struct sk_sign_response **response);
int sk_load_resident_keys(const char *pin, struct sk_option **options,
                          struct sk_resident_key ***keys, size_t *n);

/* --- the folder ------------------------------------------------------------------------------------------------------- */

static bool path_of(const char *name, char path[512])
{
    const char *dir = getenv("LATCHKEY_TEST_SK");

    return dir != NULL && snprintf(path, 512, "%s/%s", dir, name) < 512;
}

static bool there(const char *name)
{
    char path[512];

    return path_of(name, path) && access(path, F_OK) == 0;
}

/* The first word of the file; "" without one. */
static const char *word(const char *name, char text[64])
{
    char path[512];
    FILE *f = path_of(name, path) ? fopen(path, "r") : NULL;

    text[0] = '\0';
    if (f != NULL && fscanf(f, "%63s", text) != 1)
        text[0] = '\0';
    if (f != NULL)
        fclose(f);
    return text;
}

static void note(const char *application, unsigned flags, const char *pin)
{
    char path[512];
    FILE *f = path_of("log", path) ? fopen(path, "a") : NULL;

    if (f == NULL)
        return;
    fprintf(f, "%s %02x %s\n", application, flags, pin != NULL ? "pin" : "-");
    fclose(f);
}

static void wait_for_touch(void)
{
    char path[512];

    while (path_of("touch", path) && unlink(path) != 0)
        usleep(10000);
}

/* 0, or what to fail with. */
static int obstacles(uint8_t flags, const char *pin)
{
    char want[64];

    if (there("crash"))
        abort();
    if (there("error"))
        return atoi(word("error", want));
    if ((flags & VERIFY) != 0 && there("pin") &&
        (pin == NULL || strcmp(pin, word("pin", want)) != 0))
        return PIN_REQUIRED;
    if ((flags & PRESENT) != 0 && there("hold"))
        wait_for_touch();
    return 0;
}

uint32_t sk_api_version(void)
{
    char text[64];

    return there("version") ? (uint32_t)strtoul(word("version", text), NULL, 16) : 0x000a0000;
}

/* --- keys ------------------------------------------------------------------------------------------------------------------ */

static EVP_PKEY *ec_from_secret(const uint8_t secret[32])
{
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    EC_POINT *point = EC_POINT_new(group);
    BIGNUM *d = BN_bin2bn(secret, 32, NULL);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;
    uint8_t q[65];

    if (EC_POINT_mul(group, point, d, NULL, NULL, NULL) == 1 &&
        EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, q, sizeof q, NULL) == 65 &&
        OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, q, sizeof q) == 1 &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, d) == 1 &&
        (params = OSSL_PARAM_BLD_to_param(bld)) != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) != 1)
        key = NULL;
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    EVP_PKEY_CTX_free(ctx);
    BN_free(d);
    EC_POINT_free(point);
    EC_GROUP_free(group);
    return key;
}

static EVP_PKEY *from_secret(uint32_t alg, const uint8_t secret[32])
{
    return alg == ED25519 ? EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, 32)
                          : ec_from_secret(secret);
}

static EVP_PKEY *generate(uint32_t alg, uint8_t secret[32])
{
    EVP_PKEY *key = alg == ED25519 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")
                                   : EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    BIGNUM *d = NULL;
    size_t n = 32;

    if (key != NULL && alg == ED25519)
        EVP_PKEY_get_raw_private_key(key, secret, &n);
    else if (key != NULL && EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &d) == 1)
        BN_bn2binpad(d, secret, 32);
    BN_free(d);
    return key;
}

int sk_enroll(uint32_t alg, const uint8_t *challenge, size_t challenge_len, const char *application,
              uint8_t flags, const char *pin, struct sk_option **options,
              struct sk_enroll_response **response)
{
    struct sk_enroll_response *r = calloc(1, sizeof *r);
    uint8_t pub[80];
    size_t n = sizeof pub;
    EVP_PKEY *key;
    int rc = obstacles(flags, pin);

    (void)challenge;
    (void)challenge_len;
    (void)application;
    (void)options;
    if (rc != 0 || r == NULL) {
        free(r);
        return rc != 0 ? rc : GENERAL;
    }
    r->flags = flags;
    r->key_handle = malloc(32);
    r->signature = calloc(1, 1);
    key = generate(alg, r->key_handle);
    if (alg == ED25519)
        EVP_PKEY_get_raw_public_key(key, pub, &n);
    else
        EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, pub, sizeof pub,
                                        &n);
    EVP_PKEY_free(key);
    r->public_key = malloc(n);
    memcpy(r->public_key, pub, n);
    r->public_key_len = n;
    r->key_handle_len = 32;
    r->signature_len = 1;
    *response = r;
    return 0;
}

/* --- signing ------------------------------------------------------------------------------------------------------------------ */

static uint8_t *number(const BIGNUM *b, size_t *n)
{
    uint8_t *p = malloc(32);

    *n = 32;
    BN_bn2binpad(b, p, 32);
    return p;
}

static int take_der(const unsigned char *der, size_t n, struct sk_sign_response *r)
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)n);

    if (sig == NULL)
        return GENERAL;
    r->sig_r = number(ECDSA_SIG_get0_r(sig), &r->sig_r_len);
    r->sig_s = number(ECDSA_SIG_get0_s(sig), &r->sig_s_len);
    ECDSA_SIG_free(sig);
    return 0;
}

static int sign(EVP_PKEY *key, uint32_t alg, const uint8_t *data, size_t len,
                struct sk_sign_response *r)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char sig[128];
    size_t n = sizeof sig;
    int rc = GENERAL;

    if (EVP_DigestSignInit(ctx, NULL, alg == ED25519 ? NULL : EVP_sha256(), NULL, key) == 1 &&
        EVP_DigestSign(ctx, sig, &n, data, len) == 1) {
        if (alg == ED25519) {
            r->sig_r = malloc(n);
            memcpy(r->sig_r, sig, n);
            r->sig_r_len = n;
            rc = 0;
        } else {
            rc = take_der(sig, n, r);
        }
    }
    EVP_MD_CTX_free(ctx);
    return rc;
}

int sk_sign(uint32_t alg, const uint8_t *data, size_t data_len, const char *application,
            const uint8_t *key_handle, size_t key_handle_len, uint8_t flags, const char *pin,
            struct sk_option **options, struct sk_sign_response **response)
{
    struct sk_sign_response *r;
    uint8_t what[69];
    EVP_PKEY *key;
    int rc;

    (void)options;
    note(application, flags, pin);
    rc = obstacles(flags, pin);
    if (rc != 0)
        return rc;
    if (key_handle_len != 32)
        return UNSUPPORTED;
    r = calloc(1, sizeof *r);
    key = from_secret(alg, key_handle);
    if (r == NULL || key == NULL) {
        free(r);
        return GENERAL;
    }
    r->flags = there("lie") ? 0 : flags & (PRESENT | VERIFY);
    r->counter = (uint32_t)getpid();
    EVP_Digest(application, strlen(application), what, NULL, EVP_sha256(), NULL);
    what[32] = r->flags;
    for (int i = 0; i < 4; i++)
        what[33 + i] = (uint8_t)(r->counter >> (24 - 8 * i));
    EVP_Digest(data, data_len, what + 37, NULL, EVP_sha256(), NULL);
    rc = sign(key, alg, what, sizeof what, r);
    EVP_PKEY_free(key);
    if (rc == 0)
        *response = r;
    else
        free(r);
    return rc;
}

int sk_load_resident_keys(const char *pin, struct sk_option **options,
                          struct sk_resident_key ***keys, size_t *n)
{
    struct sk_enroll_response *made = NULL;
    struct sk_resident_key *k;
    char application[64], want[64];
    int rc;

    if (!there("resident"))
        return UNSUPPORTED;
    if (there("pin") && (pin == NULL || strcmp(pin, word("pin", want)) != 0))
        return PIN_REQUIRED;
    rc = sk_enroll(ED25519, NULL, 0, NULL, KEPT, pin, options, &made);
    if (rc != 0)
        return rc;
    k = calloc(1, sizeof *k);
    *keys = calloc(1, sizeof **keys);
    if (k == NULL || *keys == NULL)
        return GENERAL;
    k->alg = ED25519;
    k->application = strdup(word("resident", application));
    k->key = *made;
    k->flags = PRESENT | KEPT;
    (*keys)[0] = k;
    *n = 1;
    free(made);
    return 0;
}
