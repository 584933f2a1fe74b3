/* What a Ledger answers: its application, keys, signatures on either curve. */
#include "devices/ledger_answer.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

/* The key of ssh://user@host. */
static const uint8_t w_p256[65] =
    "\x04\x85\x39\xaa\x40\x9d\xe6\x13\x6a\x1f\x0b\x80\xf4\xec\xe3\x68\x86\xec\x39\xe7\x91\xbd\xef"
    "\x29\x83\x04\xd0\xf2\xab\xcf\x49\xf9\x4c\x84\xb9\x78\x42\x33\xc4\x60\x05\xba\xb7\x7a\x12\x26"
    "\x94\x64\x80\xd2\x22\x7e\xae\xa5\xf8\x84\x2c\x89\x16\xeb\xe4\xb2\x93\x42\x64";
static const uint8_t w_ed25519[65] =
    "\x04\x1f\x55\x70\xb2\x8f\x63\xaf\x4e\x4b\x06\xc4\x0d\xb9\x69\x76\x85\x6b\x3a\x13\x1a\x14\xe8"
    "\x19\x5b\xa5\xd4\x11\xb0\x2d\x16\xfc\xee\x56\x1b\xd0\xe0\xeb\xad\x3e\x89\x6a\x33\x20\xc0\x5c"
    "\x61\x42\xec\xb3\x70\x89\xd0\x23\x8d\xcb\x40\x75\xa8\xdc\xac\x9f\xef\x65\xe0";
static struct key *p256, *ed25519;

static void read_app(struct rd data)
{
    struct ledger_app a;

    if (ledger_read_app(data, &a) != 0)
        return;
    REQUIRE(a.name[0] != '\0' && memchr(a.name, '\0', sizeof a.name) != NULL);
    for (const char *p = a.name; *p != '\0'; p++)
        REQUIRE(*p >= 0x20 && *p <= 0x7e);
    REQUIRE(ledger_app_up_to(&a, a.version[0], a.version[1], a.version[2]));
}

static void read_keys(struct rd data, bool curve25519)
{
    struct key *k = NULL;

    if (ledger_read_public_key(data, curve25519, false, &k) != 0)
        return;
    REQUIRE(k->algo == (curve25519 ? KEY_ED25519 : KEY_ECDSA) && k->blob_len > 0);
    key_unref(k);
}

static void read_signature(struct rd data, const struct key *k)
{
    struct buf blob = BUF_INIT;
    gcry_sexp_t sig = NULL;
    struct rd w;

    if (ledger_read_signature(data, k, &sig, &w) != 0) {
        REQUIRE(sig == NULL);
        return;
    }
    REQUIRE(w.p >= data.p && w.p + w.n == data.p + data.n);
    REQUIRE(sig_to_ssh(k, 0, sig, &blob) == 0);
    gcry_sexp_release(sig);
    buf_free(&blob);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_of(data, size);

    fuzz_init();
    if (p256 == NULL) {
        REQUIRE(ledger_read_point(rd_of(w_p256, 65), false, false, &p256) == 0);
        REQUIRE(ledger_read_point(rd_of(w_ed25519, 65), true, false, &ed25519) == 0);
    }
    read_app(r);
    read_keys(r, false);
    read_keys(r, true);
    read_signature(r, p256);
    read_signature(r, ed25519);
    return 0;
}
