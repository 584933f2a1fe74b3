/* What goes between latchkey-token and the process in which it loads middleware. */
#include "devices/sk_helper.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sk_request q;
    struct sk_answer a;
    struct buf again = BUF_INIT;

    fuzz_init();
    if (sk_request_parse(rd_of(data, size), &q) == 0) {
        REQUIRE(q.application != NULL);
        /* Any octet but 0 means "yes" in the two places for it, and a PIN ends at its first NUL. */
        REQUIRE(sk_request_put(&q, &again) == 0 && again.len <= size);
        sk_request_clear(&q);
        buf_free(&again);
    }
    if (sk_answer_parse(rd_of(data, size), &a) == 0) {
        REQUIRE(a.r.n + a.s.n < size && (a.problem == NULL || *a.problem != '\0'));
        sk_answer_clear(&a);
    }
    return 0;
}
