/* Private keys from files, read by libcrypto. */
#include "devices/piv_admin.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

void piv_keyfile_clear(struct piv_keyfile *k)
{
    buf_free(&k->fields);
    k->alg = 0;
}

/* libcrypto's callback: an empty answer ends its try. */
static int ask_passphrase(char *to, int size, int rw, void *arg)
{
    const struct driver_io *io = arg;
    const struct pin_request q = {.ref = "file", .tries = -1};
    struct buf pin = BUF_INIT_SECURE;
    int n = -1;

    (void)rw;
    if (io->ask_pin(io->arg, &q, &pin) == 0 && pin.len <= (size_t)size) {
        memcpy(to, pin.data, pin.len);
        n = (int)pin.len;
    }
    buf_free(&pin);
    return n;
}

static gpg_error_t put_number(EVP_PKEY *key, const char *name, uint32_t tag, size_t len,
                              struct buf *out)
{
    BIGNUM *bn = NULL;
    uint8_t raw[512];
    gpg_error_t err = gpg_error(GPG_ERR_BAD_SECKEY);

    if (len <= sizeof raw && EVP_PKEY_get_bn_param(key, name, &bn) == 1 &&
        BN_bn2binpad(bn, raw, (int)len) == (int)len) {
        buf_put_tlv(out, tag, raw, len);
        err = buf_err(out);
    }
    BN_clear_free(bn);
    explicit_bzero(raw, sizeof raw);
    return err;
}

static gpg_error_t put_rsa(EVP_PKEY *key, struct piv_keyfile *out)
{
    static const char *const names[] = {
        OSSL_PKEY_PARAM_RSA_FACTOR1, OSSL_PKEY_PARAM_RSA_FACTOR2, OSSL_PKEY_PARAM_RSA_EXPONENT1,
        OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
    static const struct {
        int bits;
        uint8_t alg;
    } sizes[] = {{2048, PIV_RSA2048}, {3072, PIV_RSA3072}, {4096, PIV_RSA4096}};
    int bits = EVP_PKEY_get_bits(key);
    BIGNUM *e = NULL;
    gpg_error_t err = 0;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].bits == bits)
            out->alg = sizes[i].alg;
    /* The command has no place for another exponent. */
    if (out->alg == 0 || EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) != 1 ||
        !BN_is_word(e, 65537))
        err = gpg_error(GPG_ERR_PUBKEY_ALGO);
    BN_free(e);
    for (size_t i = 0; i < sizeof names / sizeof names[0] && err == 0; i++)
        err = put_number(key, names[i], (uint32_t)i + 1, (size_t)bits / 16, &out->fields);
    return err;
}

static gpg_error_t put_scalar(EVP_PKEY *key, struct piv_keyfile *out)
{
    int bits = EVP_PKEY_get_bits(key);
    char group[32] = "";
    size_t n = 0;

    if (EVP_PKEY_get_group_name(key, group, sizeof group, &n) != 1)
        return gpg_error(GPG_ERR_UNKNOWN_CURVE);
    if (strcmp(group, "prime256v1") == 0 || strcmp(group, "P-256") == 0)
        out->alg = PIV_P256;
    else if (strcmp(group, "secp384r1") == 0 || strcmp(group, "P-384") == 0)
        out->alg = PIV_P384;
    else
        return gpg_error(GPG_ERR_UNKNOWN_CURVE);
    return put_number(key, OSSL_PKEY_PARAM_PRIV_KEY, 0x06, (size_t)bits / 8, &out->fields);
}

static gpg_error_t put_raw(EVP_PKEY *key, uint8_t alg, uint32_t tag, struct piv_keyfile *out)
{
    uint8_t raw[32];
    size_t n = sizeof raw;
    gpg_error_t err = gpg_error(GPG_ERR_BAD_SECKEY);

    out->alg = alg;
    if (EVP_PKEY_get_raw_private_key(key, raw, &n) == 1 && n == sizeof raw) {
        buf_put_tlv(&out->fields, tag, raw, n);
        err = buf_err(&out->fields);
    }
    explicit_bzero(raw, sizeof raw);
    return err;
}

gpg_error_t piv_keyfile_read(const struct driver_io *io, struct rd file, struct piv_keyfile *out)
{
    BIO *bio = BIO_new_mem_buf(file.p, (int)file.n);
    EVP_PKEY *key = bio != NULL
                        ? PEM_read_bio_PrivateKey(bio, NULL, ask_passphrase, (void *)(uintptr_t)io)
                        : NULL;
    gpg_error_t err;

    *out = (struct piv_keyfile){.fields = BUF_INIT_SECURE};
    switch (key != NULL ? EVP_PKEY_get_base_id(key) : EVP_PKEY_NONE) {
    case EVP_PKEY_RSA:
        err = put_rsa(key, out);
        break;
    case EVP_PKEY_EC:
        err = put_scalar(key, out);
        break;
    case EVP_PKEY_ED25519:
        err = put_raw(key, PIV_ED25519, 0x07, out);
        break;
    case EVP_PKEY_X25519:
        err = put_raw(key, PIV_X25519, 0x08, out);
        break;
    case EVP_PKEY_NONE:
        err = gpg_error(GPG_ERR_BAD_SECKEY);
        break;
    default:
        err = gpg_error(GPG_ERR_PUBKEY_ALGO);
        break;
    }
    ERR_clear_error();
    EVP_PKEY_free(key);
    BIO_free(bio);
    if (err != 0)
        piv_keyfile_clear(out);
    return err;
}
