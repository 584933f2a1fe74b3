/* What a client wants signed: string signer's blob, then the data. */
#include "proto/signdata.h"
#include "tests/fuzz/fuzz_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_of(data, size), blob;
    struct key *signer;
    struct signdata s;

    fuzz_init();
    if (rd_string(&r, &blob) != 0 || key_from_blob(blob, &signer) != 0)
        return 0;
    REQUIRE(signdata_parse(r, signer, &s) == 0);
    switch (s.kind) {
    case SIGNDATA_USERAUTH:
        REQUIRE(s.user != NULL && s.pkalg != NULL && key_same(s.key, signer));
        REQUIRE(s.hostbound == (s.hostkey != NULL));
        break;
    case SIGNDATA_SSHSIG:
        REQUIRE(s.ns != NULL && s.ns[0] != 0 && s.hash_name != NULL);
        break;
    case SIGNDATA_CERT:
        REQUIRE(s.cert_id != NULL && s.principals != NULL &&
                (s.cert_type == CERT_USER || s.cert_type == CERT_HOST));
        break;
    case SIGNDATA_SUDO:
        REQUIRE(s.sudo.user != NULL && s.sudo.service != NULL && s.sudo.host != NULL);
        REQUIRE(s.sudo.cwd != NULL && s.sudo.command != NULL && key_same(s.key, signer));
        break;
    case SIGNDATA_HOSTKEY:
        REQUIRE(key_same(s.key, signer));
        break;
    case SIGNDATA_RAW:
        REQUIRE(s.user == NULL && s.key == NULL && s.ns == NULL && s.cert_id == NULL);
        break;
    }
    signdata_clear(&s);
    key_unref(signer);
    return 0;
}
