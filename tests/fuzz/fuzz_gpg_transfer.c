/* Private keys as gpg hands them over for import (unwrapped): what opens has the halves of one key, and goes out again. */
#include "devices/gpg_secret.h"
#include "devices/gpg_transfer.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf canon = BUF_INIT_SECURE, clear = BUF_INIT_SECURE, pub = BUF_INIT, native = BUF_INIT;
    bool is_protected = false;
    struct gpg_key_parts p;

    fuzz_init();
    if (canon_from_padded(rd_of(data, size), &canon) != 0 ||
        gpg_transfer_look(buf_rd(&canon), &pub, &is_protected) != 0)
        goto out;
    REQUIRE(gpg_native_make(buf_rd(&canon), &native) == 0);
    REQUIRE(gpg_key_split(buf_rd(&native), &p) == 0 && p.form == GPG_KEY_NATIVE);
    /* counts of OpenPGP end, but a fuzzer has no time */
    if (is_protected && memmem(data, size, "2:96", 4) == NULL)
        goto out;
    if (gpg_transfer_open(buf_rd(&canon), rd_of("pass", 4), &clear) != 0)
        goto out;
    REQUIRE(gpg_key_split(buf_rd(&clear), &p) == 0 && p.form == GPG_KEY_CLEAR);
out:
    buf_free(&canon);
    buf_free(&clear);
    buf_free(&pub);
    buf_free(&native);
    return 0;
}
