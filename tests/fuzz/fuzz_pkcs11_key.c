/* What a PKCS#11 token says of a public key. The first octet chooses: 0 EC and 1 Edwards (then a length octet, CKA_EC_PARAMS
 * of that length, CKA_EC_POINT), else a certificate in DER. */
#include "devices/pkcs11.h"
#include "tests/fuzz/fuzz_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_of(data, size), params;
    struct key *k = NULL;
    char *subject = NULL;
    uint8_t kind, n;

    fuzz_init();
    if (rd_u8(&r, &kind) != 0)
        return 0;
    if (kind > 1) {
        if (p11_parse_cert(r, &k, &subject) == 0)
            REQUIRE(k != NULL && subject != NULL && k->cert == NULL);
    } else if (rd_u8(&r, &n) == 0 && rd_bytes(&r, n, &params) == 0 &&
               p11_parse_ec(params, r, kind == 1, &k) == 0) {
        REQUIRE(k != NULL && k->blob != NULL && k->algo == (kind == 1 ? KEY_ED25519 : KEY_ECDSA));
    }
    gpgrt_free(subject);
    key_unref(k);
    return 0;
}
