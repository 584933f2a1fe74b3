#include "tests/card/piv.h"

#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <zlib.h>

static bool add_policies(X509 *x, const uint8_t policies[2])
{
    ASN1_OBJECT *oid = OBJ_txt2obj("1.3.6.1.4.1.41482.3.8", 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *ext = NULL;
    bool ok = oid != NULL && value != NULL && ASN1_OCTET_STRING_set(value, policies, 2) == 1;

    if (ok)
        ext = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value);
    ok = ext != NULL && X509_add_ext(x, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(oid);
    return ok;
}

bool piv_certify(EVP_PKEY *key, EVP_PKEY *by, const uint8_t policies[2], struct buf *der)
{
    X509 *x = X509_new();
    X509_NAME *name = X509_get_subject_name(x);
    /* X25519 signs nothing, not even its own certificate */
    EVP_PKEY *signer = by, *made = NULL;
    unsigned char *out = NULL;
    bool ok;
    int n;

    if (signer == NULL)
        signer = made = EVP_EC_gen("P-256");
    ok = x != NULL && X509_set_version(x, 2) == 1 &&
         ASN1_INTEGER_set(X509_get_serialNumber(x), 1) == 1 &&
         X509_gmtime_adj(X509_getm_notBefore(x), 0) != NULL &&
         X509_gmtime_adj(X509_getm_notAfter(x), 86400) != NULL &&
         X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"Test", -1, -1,
                                    0) == 1 &&
         X509_set_issuer_name(x, name) == 1 && X509_set_pubkey(x, key) == 1 &&
         (policies == NULL || add_policies(x, policies)) &&
         X509_sign(x, signer,
                   EVP_PKEY_get_base_id(signer) == EVP_PKEY_ED25519 ? NULL : EVP_sha256()) > 0;
    n = ok ? i2d_X509(x, &out) : -1;
    if (n > 0)
        buf_put(der, out, (size_t)n);
    OPENSSL_free(out);
    X509_free(x);
    EVP_PKEY_free(made);
    return n > 0;
}

bool piv_put_certificate(struct buf *object, struct rd der, bool gzip)
{
    const uint8_t info = gzip ? 1 : 0;
    uint8_t packed[4096];
    z_stream z = {.next_in = (Bytef *)(uintptr_t)der.p,
                  .avail_in = (uInt)der.n,
                  .next_out = packed,
                  .avail_out = sizeof packed};

    if (gzip) {
        if (deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
            deflate(&z, Z_FINISH) != Z_STREAM_END)
            return false;
        der = rd_of(packed, sizeof packed - z.avail_out);
        deflateEnd(&z);
    }
    buf_reset(object);
    buf_put_tlv(object, 0x70, der.p, der.n);
    buf_put_tlv(object, 0x71, &info, 1);
    buf_put_tlv(object, 0xfe, NULL, 0);
    return buf_err(object) == 0;
}
