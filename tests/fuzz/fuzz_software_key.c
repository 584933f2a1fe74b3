/* Private keys as ssh-add sends them: what is accepted can sign, and the signature holds. */
#include "devices/software_key.h"
#include "tests/fuzz/fuzz_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t digest[64];
    struct software_key *k = NULL;
    const struct key *pub;
    struct tosign t;
    gcry_sexp_t sig = NULL;

    fuzz_init();
    if (software_key_new(rd_of(data, size), &k) != 0)
        return 0;
    pub = software_key_public(k);
    REQUIRE(tosign_from_message(pub->algo == KEY_ED25519 ? 0 : key_default_hash(pub),
                                rd_of("text", 4), digest, &t) == 0);
    REQUIRE(software_key_sign(k, &t, &sig) == 0 && sig_verify(pub, &t, sig) == 0);
    gcry_sexp_release(sig);
    software_key_free(k);
    return 0;
}
