/* Key files of gpg's: what is read prints as it was, and what is changed reads back. */
#include "devices/gpg_entry.h"
#include "devices/gpg_file.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

static void change(struct gpg_file *f, struct rd key)
{
    struct buf out = BUF_INIT_SECURE;
    struct gpg_file *again = NULL;

    REQUIRE(gpg_file_set(f, "Label",
                         "a label that is longer than a line of such a file, so that "
                         "it is folded\nand has lines of its own") == 0);
    REQUIRE(gpg_file_set_key(f, key) == 0);
    REQUIRE(gpg_file_print(f, &out) == 0);
    /* #hex# takes more room than the octets did */
    if (out.len <= GPG_KEY_MAX) {
        REQUIRE(gpg_file_parse(buf_rd(&out), &again) == 0);
        REQUIRE(rd_eq(gpg_file_key(again), key));
        REQUIRE(strncmp(gpg_file_get(again, "label", 0), "a label", 7) == 0);
    }
    gpg_file_free(again);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char grip[] = "5A0E107478791FD86A8541FC8A4A4231353A5C77";
    struct gpg_file_id id = {0};
    struct gpg_entry *e = NULL;
    struct gpg_file *f = NULL;
    struct buf out = BUF_INIT_SECURE, key = BUF_INIT_SECURE;

    fuzz_init();
    if (gpg_file_parse(rd_of(data, size), &f) != 0)
        return 0;
    REQUIRE(gpg_file_print(f, &out) == 0);
    REQUIRE(out.len - size <= 1 && memcmp(out.data, data, size) == 0);
    (void)gpg_entry_new(grip, f, &id, &e);
    REQUIRE(e != NULL);
    gpg_entry_unref(e);
    buf_put_rd(&key, gpg_file_key(f));
    change(f, buf_rd(&key));
    gpg_file_free(f);
    buf_free(&out);
    buf_free(&key);
    return 0;
}
