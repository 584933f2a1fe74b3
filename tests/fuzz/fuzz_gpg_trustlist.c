/* trustlist.txt: read without harm, and what is read is found again. */
#include "agent/gpg_trustlist.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct gpg_trust_file user = {.name = "user", .text = rd_of(data, size)},
                                system = {
                                    .name = "system", .text = rd_of(data, size), .system = true};
    struct gpg_trustlist one = {0}, two = {0};

    fuzz_init();
    if (gpg_trustlist_parse(&user, &system, &one) == 0)
        for (size_t i = 0; i < one.n; i++) {
            const struct gpg_trusted *t = gpg_trustlist_find(&one, one.items[i].fpr);

            REQUIRE(t != NULL && t <= &one.items[i]);
            REQUIRE(one.items[i].for_pgp || one.items[i].for_smime);
        }
    if (gpg_trustlist_parse(&system, NULL, &two) == 0)
        REQUIRE(two.n <= one.n || one.n == 0);
    gpg_trustlist_clear(&one);
    gpg_trustlist_clear(&two);
    return 0;
}
