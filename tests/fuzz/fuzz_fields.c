/* Fields of the token protocol, and the text encodings. */
#include "proto/token_protocol.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

static void check_round_trip(const char *value)
{
    struct buf b = BUF_INIT;
    char *back;

    field_put(&b, "other", "x y=z%");
    field_put(&b, "value", value);
    field_put_int(&b, "n", -7);
    REQUIRE(field_get(buf_cstr(&b), "value", &back) == 0 && strcmp(back, value) == 0);
    gpgrt_free(back);
    buf_free(&b);
}

static void check_base64(const char *s, size_t n)
{
    struct buf b = BUF_INIT;
    char *text;

    if (b64_decode(s, n, &b) == 0) {
        struct buf again = BUF_INIT;

        text = b64_encode(b.data, b.len);
        REQUIRE(text != NULL && b64_decode(text, strlen(text), &again) == 0);
        REQUIRE(rd_eq(buf_rd(&b), buf_rd(&again)));
        gpgrt_free(text);
        buf_free(&again);
    }
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"key", "hash", "pin-age", "serial", "comment"};
    char *line = malloc(size + 1), *value;
    struct buf b = BUF_INIT;
    long n;

    REQUIRE(line != NULL);
    if (size > 0)
        memcpy(line, data, size);
    line[size] = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (field_get(line, names[i], &value) == 0) {
            if (value != NULL)
                check_round_trip(value);
            gpgrt_free(value);
        }
        (void)field_get_int(line, names[i], -1, &n);
    }
    check_round_trip(line);
    check_base64(line, size);
    (void)hex_decode(line, &b);
    buf_free(&b);
    free(line);
    return 0;
}
