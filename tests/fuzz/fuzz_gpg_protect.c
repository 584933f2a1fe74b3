/* Key expressions as a damaged or hostile file may have them: opened by a passphrase; what opens is a key that can be closed again. */
#include "devices/gpg_protect.h"
#include "devices/gpg_secret.h"
#include "devices/gpg_transfer.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

#define PASS "Gr\303\274\303\237e 42!"

/* What takes long takes long by itself. */
static bool is_cheap(struct rd key)
{
    struct gpg_key_parts p;

    return gpg_key_split(key, &p) == 0 &&
           (p.form == GPG_KEY_NATIVE ? memmem(key.p, key.n, "3:160", 5) != NULL ||
                                           memmem(key.p, key.n, "2:96", 4) != NULL ||
                                           memmem(key.p, key.n, "4:none", 6) != NULL
                                     : gpg_protected_count(&p) <= 1048576);
}

static void use(struct rd clear)
{
    struct buf closed = BUF_INIT, again = BUF_INIT_SECURE;
    uint8_t digest[64] = {1};
    struct tosign t = {.hash = GCRY_MD_SHA512, .data = rd_of(digest, 64)};
    struct gpg_secret *key = NULL;
    struct gpg_key_parts p;
    gcry_sexp_t sig = NULL;

    REQUIRE(gpg_key_split(clear, &p) == 0 && p.form == GPG_KEY_CLEAR);
    if (gpg_protect(clear, rd_of(PASS, strlen(PASS)), 65536, 0, &closed) == 0 &&
        closed.len <= GPG_KEY_MAX) {
        REQUIRE(gpg_unprotect(buf_rd(&closed), rd_of(PASS, strlen(PASS)), &again) == 0);
        REQUIRE(rd_eq(clear, buf_rd(&again)) ||
                memmem(clear.p, clear.n, "protected-at", 12) != NULL);
    }
    if (gpg_secret_new(clear, &key) == 0)
        (void)gpg_secret_sign(key, &t, GPG_PAD_TYPE1, &sig);
    gcry_sexp_release(sig);
    gpg_secret_unref(key);
    buf_free(&closed);
    buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf canon = BUF_INIT_SECURE, clear = BUF_INIT_SECURE, pub = BUF_INIT;
    struct gpg_key_parts p;
    uint8_t grip[20];

    fuzz_init();
    if (canon_from_text(rd_of(data, size), &canon) != 0)
        goto out;
    if (gpg_key_split(buf_rd(&canon), &p) == 0 && gpg_key_public(&p, &pub) == 0)
        (void)gpg_key_grip(buf_rd(&pub), grip);
    if (gpg_key_split(buf_rd(&canon), &p) == 0 && p.form == GPG_KEY_CLEAR)
        use(buf_rd(&canon));
    if (is_cheap(buf_rd(&canon)) &&
        gpg_unprotect(buf_rd(&canon), rd_of(PASS, strlen(PASS)), &clear) == 0)
        use(buf_rd(&clear));
out:
    buf_free(&canon);
    buf_free(&clear);
    buf_free(&pub);
    return 0;
}
