/* Keys of security keys as ssh-add sends them. What is accepted has a handle, and a line that the broker can read. */
#include "agent/token_lines.h"
#include "devices/sk_key.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct key_store *store = NULL;
    struct token_info info = {.name = (char[]){"fido"}};
    struct buf line = BUF_INIT;
    struct key_line read = {0};
    struct sk_key *k = NULL;

    fuzz_init();
    if (sk_key_new(rd_of(data, size), &k) != 0)
        return 0;
    REQUIRE(k->handle_len > 0 && k->pub->cert == NULL && key_is_sk(k->pub));
    REQUIRE(key_store_new(&sk_key_store_ops, &store) == 0);
    REQUIRE(sk_key_add(store, rd_of(data, size), "comment", &line) == 0);
    /* Longer applications than a line bears are refused there. */
    if (strlen(k->pub->sk_application) <= 100) {
        REQUIRE(key_line_parse(buf_cstr(&line), &info, &read) == 0);
        REQUIRE(key_same(read.id.key, k->pub));
        REQUIRE((read.holder.touch == TOKEN_TOUCH_ALWAYS) == ((k->flags & SK_KEY_PRESENCE) != 0));
        key_line_clear(&read);
    }
    buf_free(&line);
    key_store_free(store);
    sk_key_free(k);
    return 0;
}
