/* Certificate files. What is taken is a user certificate that its CA signed: an input that is none of
 * those in the corpus, and yet is taken, would be a forgery. */
#include "agent/certificates.h"
#include "tests/fuzz/fuzz_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *problem = NULL;
    struct key *k = NULL;
    gpg_error_t err;

    fuzz_init();
    err = certificate_parse(rd_of(data, size), &k, &problem);
    REQUIRE((err == 0) == (k != NULL) && (err == 0) == (problem == NULL));
    if (k != NULL) {
        struct certificate c = {.key = k};

        REQUIRE(k->cert != NULL && k->cert->type == CERT_USER);
        REQUIRE(cert_check(k, CERT_USER, k->cert->valid_after, NULL) == 0);
        REQUIRE(certificate_out_of_date(&c, k->cert->valid_after) == NULL);
        REQUIRE(certificate_out_of_date(&c, k->cert->valid_before) != NULL);
    }
    key_unref(k);
    return 0;
}
