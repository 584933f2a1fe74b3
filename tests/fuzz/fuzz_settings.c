/* latchkey.conf. */
#include "policy/settings.h"
#include "tests/fuzz/fuzz_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct policy_errors errors = {0};
    struct settings *s = NULL;

    fuzz_init();
    if (settings_load_text("fuzz", (const char *)data, size, "/h", &s, &errors) != 0)
        REQUIRE(errors.n > 0);
    else
        REQUIRE(errors.n == 0 && s != NULL);
    policy_errors_free(&errors);
    settings_free(s);
    return 0;
}
