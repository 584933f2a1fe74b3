/* Public keys from what a token says of them: PKCS#11 2.40 mechanisms 2.3.3 (CKA_EC_PARAMS, CKA_EC_POINT), X.509. */
#include "devices/pkcs11.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

#define MAX_POINT 256u

static const struct curve {
    int nid;
    const char *gcrypt, *openssl;
    size_t point;
} curves[] = {{NID_X9_62_prime256v1, "NIST P-256", "prime256v1", 65},
              {NID_secp384r1, "NIST P-384", "secp384r1", 97},
              {NID_secp521r1, "NIST P-521", "secp521r1", 133}};
#define NCURVES (sizeof curves / sizeof curves[0])

/* By name, or by parameters that are those of a named curve. */
static const struct curve *curve_of(struct rd params)
{
    const unsigned char *p = params.p;
    EC_GROUP *group = params.n <= 4096 ? d2i_ECPKParameters(NULL, &p, (long)params.n) : NULL;
    const struct curve *found = NULL;
    int nid;

    if (group == NULL)
        return NULL;
    nid = EC_GROUP_get_curve_name(group);
    if (nid == NID_undef)
        nid = EC_GROUP_check_named_curve(group, 0, NULL);
    for (size_t i = 0; i < NCURVES; i++)
        if (curves[i].nid == nid)
            found = &curves[i];
    EC_GROUP_free(group);
    return found;
}

/* CKA_EC_POINT is a DER OCTET STRING; some modules leave the wrapping away, and 3.0 has bit strings for Edwards curves.
 * WANT is the length of the bare point. */
static gpg_error_t unwrap_point(struct rd in, size_t want, struct rd *out)
{
    uint32_t tag;
    struct rd r = in, v;

    if (in.n != want) {
        if (rd_tlv(&r, &tag, &v) != 0 || r.n != 0)
            return gpg_error(GPG_ERR_BAD_PUBKEY);
        if (tag == 0x03 && v.n == want + 1 && v.p[0] == 0)
            v = rd_of(v.p + 1, want);
        else if (tag != 0x04 || v.n != want)
            return gpg_error(GPG_ERR_BAD_PUBKEY);
        in = v;
    }
    *out = in;
    return 0;
}

static bool is_ed25519(struct rd params)
{
    static const uint8_t oid[] = {0x06, 0x03, 0x2b, 0x65, 0x70};
    static const uint8_t old_oid[] = {0x06, 0x09, 0x2b, 0x06, 0x01, 0x04,
                                      0x01, 0xda, 0x47, 0x0f, 0x01};
    static const char name[] = "\x13\x0c"
                               "edwards25519"; /* a PrintableString */

    return rd_eq(params, rd_of(oid, sizeof oid)) || rd_eq(params, rd_of(old_oid, sizeof old_oid)) ||
           rd_eq(params, rd_of(name, sizeof name - 1));
}

gpg_error_t p11_parse_ec(struct rd params, struct rd point, bool edwards, struct key **out)
{
    const struct curve *c = NULL;
    struct rd q;
    gpg_error_t err;

    if (edwards ? !is_ed25519(params) : (c = curve_of(params)) == NULL)
        return gpg_error(GPG_ERR_UNKNOWN_CURVE);
    err = unwrap_point(point, edwards ? 32 : c->point, &q);
    return err != 0 ? err : key_from_point(edwards ? "Ed25519" : c->gcrypt, q, false, out);
}

/* --- certificates ----------------------------------------------------------------------------------------------------- */

static gpg_error_t from_rsa(const EVP_PKEY *pkey, struct key **out)
{
    BIGNUM *n = NULL, *e = NULL;
    struct buf bn = BUF_INIT, be = BUF_INIT;
    unsigned char number[16384 / 8];
    gpg_error_t err = gpg_error(GPG_ERR_BAD_PUBKEY);

    if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n) == 1 &&
        EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) == 1 &&
        BN_num_bytes(n) <= (int)sizeof number && BN_num_bytes(e) <= (int)sizeof number) {
        buf_put(&bn, number, (size_t)BN_bn2bin(n, number));
        buf_put(&be, number, (size_t)BN_bn2bin(e, number));
        err = buf_err(&bn) != 0 ? buf_err(&bn) : buf_err(&be);
        if (err == 0)
            err = key_from_rsa(buf_rd(&bn), buf_rd(&be), out);
    }
    BN_free(n);
    BN_free(e);
    buf_free(&bn);
    buf_free(&be);
    return err;
}

static gpg_error_t from_ec(const EVP_PKEY *pkey, struct key **out)
{
    unsigned char point[MAX_POINT];
    char group[64];
    size_t n = 0, len = 0;

    if (EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group,
                                       &len) != 1 ||
        EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &n) !=
            1)
        return gpg_error(GPG_ERR_BAD_PUBKEY);
    for (size_t i = 0; i < NCURVES; i++)
        if (strcmp(curves[i].openssl, group) == 0)
            return key_from_point(curves[i].gcrypt, rd_of(point, n), false, out);
    return gpg_error(GPG_ERR_UNKNOWN_CURVE);
}

static gpg_error_t from_pkey(const EVP_PKEY *pkey, struct key **out)
{
    unsigned char raw[32];
    size_t n = sizeof raw;

    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_RSA:
        return from_rsa(pkey, out);
    case EVP_PKEY_EC:
        return from_ec(pkey, out);
    case EVP_PKEY_ED25519:
        if (EVP_PKEY_get_raw_public_key(pkey, raw, &n) != 1)
            return gpg_error(GPG_ERR_BAD_PUBKEY);
        return key_from_point("Ed25519", rd_of(raw, n), false, out);
    default:
        return gpg_error(GPG_ERR_PUBKEY_ALGO);
    }
}

gpg_error_t p11_parse_cert(struct rd der, struct key **out, char **subject)
{
    const unsigned char *p = der.p;
    X509 *x = der.n > 0 && der.n <= 65536 ? d2i_X509(NULL, &p, (long)der.n) : NULL;
    const EVP_PKEY *pkey = x != NULL ? X509_get0_pubkey(x) : NULL;
    char *line;
    gpg_error_t err;

    err = pkey != NULL ? from_pkey(pkey, out) : gpg_error(GPG_ERR_BAD_CERT);
    if (err == 0) {
        line = X509_NAME_oneline(X509_get_subject_name(x), NULL, 0);
        *subject = gpgrt_strdup(line != NULL ? line : "");
        OPENSSL_free(line);
        if (*subject == NULL) {
            err = gpg_error_from_syserror();
            key_unref(*out);
            *out = NULL;
        }
    }
    X509_free(x);
    return err;
}
