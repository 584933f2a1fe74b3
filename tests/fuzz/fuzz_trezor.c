/* A Trezor that answers anything. The first octet chooses what it is asked; then 64-octet packets, or, where the second octet is 'm',
 * messages (type, length of one octet each, body), which are framed here: that way the protobufs in them get tried, too. */
#include "devices/trezor_call.h"
#include "proto/token_protocol.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

struct script {
    struct trezor_transport t; /* first */
    struct rd left;
    bool messages;
    struct buf packets; /* of the present message */
    unsigned asked;
};

static gpg_error_t script_write(struct trezor_transport *t, const uint8_t packet[TREZOR_PACKET])
{
    (void)t;
    (void)packet;
    return 0;
}

/* The next message, framed. */
static gpg_error_t frame(struct script *s)
{
    struct rd body;
    uint8_t type, n;

    if (rd_u8(&s->left, &type) != 0 || rd_u8(&s->left, &n) != 0 ||
        rd_bytes(&s->left, n < s->left.n ? n : s->left.n, &body) != 0)
        return gpg_error(GPG_ERR_CARD_REMOVED);
    buf_reset(&s->packets);
    buf_put(&s->packets, "?##", 3);
    buf_put_u16(&s->packets, type);
    buf_put_u32(&s->packets, (uint32_t)body.n);
    for (size_t i = 0; i < body.n; i++) {
        if (s->packets.len % TREZOR_PACKET == 0)
            buf_put_u8(&s->packets, '?');
        buf_put_u8(&s->packets, body.p[i]);
    }
    while (s->packets.len % TREZOR_PACKET != 0)
        buf_put_u8(&s->packets, 0);
    s->asked = 0;
    return buf_err(&s->packets);
}

static gpg_error_t script_read(struct trezor_transport *t, uint8_t packet[TREZOR_PACKET], int ms)
{
    struct script *s = (struct script *)t;
    struct rd part;

    if (ms == 0)
        return gpg_error(GPG_ERR_TIMEOUT);
    if (!s->messages) {
        if (rd_bytes(&s->left, TREZOR_PACKET, &part) != 0)
            return gpg_error(GPG_ERR_CARD_REMOVED);
    } else {
        if (s->asked * TREZOR_PACKET >= s->packets.len && frame(s) != 0)
            return gpg_error(GPG_ERR_CARD_REMOVED);
        part = rd_of(s->packets.data + (size_t)s->asked++ * TREZOR_PACKET, TREZOR_PACKET);
    }
    memcpy(packet, part.p, TREZOR_PACKET);
    return 0;
}

static bool script_alive(struct trezor_transport *t)
{
    (void)t;
    return false;
}

static void script_close(struct trezor_transport *t)
{
    (void)t;
}

/* --- the person ---------------------------------------------------------------------------------------------------- */

static gpg_error_t ask_pin(void *arg, const struct pin_request *q, struct buf *pin)
{
    (void)arg;
    REQUIRE(strcmp(q->ref, "matrix") == 0);
    buf_printf(pin, "1234");
    return buf_err(pin);
}

static gpg_error_t inquire(void *arg, const char *keyword, const char *fields, size_t max,
                           bool secret, struct buf *answer)
{
    (void)arg;
    (void)fields;
    (void)max;
    REQUIRE(secret && strcmp(keyword, "PASSPHRASE") == 0);
    buf_printf(answer, "secret");
    return buf_err(answer);
}

static void touch(void *arg, bool waiting)
{
    (void)arg;
    (void)waiting;
}

static gpg_error_t status(void *arg, const char *keyword, const char *fields)
{
    (void)arg;
    (void)keyword;
    (void)fields;
    return 0;
}

static bool canceled(void *arg)
{
    (void)arg;
    return false;
}

static struct key *key_for(bool ed25519, bool ecdh)
{
    static const uint8_t p256[] = {0x04, 0x85, 0x39, 0xaa, 0x40, 0x9d, 0xe6, 0x13, 0x6a, 0x1f, 0x0b,
                                   0x80, 0xf4, 0xec, 0xe3, 0x68, 0x86, 0xec, 0x39, 0xe7, 0x91, 0xbd,
                                   0xef, 0x29, 0x83, 0x04, 0xd0, 0xf2, 0xab, 0xcf, 0x49, 0xf9, 0x4c,
                                   0x84, 0xb9, 0x78, 0x42, 0x33, 0xc4, 0x60, 0x05, 0xba, 0xb7, 0x7a,
                                   0x12, 0x26, 0x94, 0x64, 0x80, 0xd2, 0x22, 0x7e, 0xae, 0xa5, 0xf8,
                                   0x84, 0x2c, 0x89, 0x16, 0xeb, 0xe4, 0xb2, 0x93, 0x42, 0x64};
    static const uint8_t ed[] = {0xe0, 0x65, 0xef, 0x9f, 0xac, 0xdc, 0xa8, 0x75, 0x40, 0xcb, 0x8d,
                                 0x23, 0xd0, 0x89, 0x70, 0xb3, 0xec, 0x42, 0x61, 0x5c, 0xc0, 0x20,
                                 0x33, 0x6a, 0x89, 0x3e, 0xad, 0xeb, 0xe0, 0xd0, 0x1b, 0x56};
    struct key *k = NULL;
    gpg_error_t err =
        ed25519 ? key_from_point(ecdh ? "Curve25519" : "Ed25519", rd_of(ed, sizeof ed), ecdh, &k)
                : key_from_point("NIST P-256", rd_of(p256, sizeof p256), ecdh, &k);

    REQUIRE(err == 0);
    return k;
}

static void ask(struct trezor *z, uint8_t what)
{
    static const struct driver_io io = {.ask_pin = ask_pin,
                                        .touch = touch,
                                        .inquire = inquire,
                                        .status = status,
                                        .canceled = canceled};
    const struct wallet_make *make = &wallet_trezor;
    struct driver_op op = {.io = (what & 8) != 0 ? NULL : &io, .pin_age = -1};
    struct wallet_identity id = {0};
    bool ecdh = (what & 2) != 0;
    struct key *told = NULL, *expected;
    struct buf shared = BUF_INIT_SECURE;
    gcry_sexp_t sig = NULL;
    uint8_t point[65] = {0x04};
    const struct tosign t = {.data = rd_of("a message", 9)};

    REQUIRE(wallet_identity_parse("ssh://user@host", (what & 1) != 0 ? "ed25519" : "nist256p1",
                                  &id) == 0);
    expected = key_for(id.ed25519, ecdh);
    if (make->public_key(z, &id, ecdh, &op, &told) == 0)
        REQUIRE(told != NULL && told->sexp != NULL);
    op.io = &io; /* only keys are read quietly */
    if (ecdh) {
        if (make->ecdh(z, &id, expected, &op, rd_of(point, id.ed25519 ? 32 : 65), &shared) == 0)
            REQUIRE(shared.len == (id.ed25519 ? 32 : 65));
    } else if (make->sign(z, &id, expected, &op, &t, &sig) == 0) {
        REQUIRE(sig != NULL && op.touched);
    }
    gcry_sexp_release(sig);
    buf_free(&shared);
    key_unref(told);
    key_unref(expected);
    wallet_identity_clear(&id);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool quiet;
    struct script s = {.t = {.write = script_write,
                             .read = script_read,
                             .alive = script_alive,
                             .close = script_close},
                       .left = rd_of(data, size)};
    struct trezor z = {.t = &s.t, .session = BUF_INIT_SECURE};
    uint8_t what, how;

    fuzz_init();
    if (!quiet) /* what it logs would be most of the work */
        gpgrt_log_set_sink("/dev/null", NULL, -1);
    quiet = true;
    if (rd_u8(&s.left, &what) != 0 || rd_u8(&s.left, &how) != 0)
        return 0;
    s.messages = how == 'm';
    z.passphrase = (enum trezor_passphrase)(what >> 4 & 3);
    if (trezor_begin(&z) == 0)
        ask(&z, what);
    trezor_free(z.features);
    buf_free(&z.session);
    buf_free(&s.packets);
    return 0;
}
