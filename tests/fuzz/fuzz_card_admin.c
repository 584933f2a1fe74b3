/* The verbs that manage a card, with a card that answers anything. The input's first octet chooses the verb, the rest is cut
 * into answers (one octet of length each, SW included). */
#include "devices/openpgp_admin.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

enum { MAX_QUESTIONS = 6 };

static unsigned questions;

static gpg_error_t begin(void *handle, enum card_change *change)
{
    (void)handle;
    *change = CARD_AS_LEFT;
    return 0;
}

static gpg_error_t transmit(void *handle, struct rd command, struct buf *response)
{
    struct rd *script = handle, answer;
    uint8_t n;

    (void)command;
    if (rd_u8(script, &n) != 0)
        return gpg_error(GPG_ERR_CARD_REMOVED);
    if (rd_bytes(script, n < script->n ? n : script->n, &answer) != 0)
        return gpg_error(GPG_ERR_CARD_REMOVED);
    buf_put_rd(response, answer);
    return 0;
}

static void end(void *handle, bool reset)
{
    (void)handle;
    (void)reset;
}

static gpg_error_t ask_pin(void *arg, const struct pin_request *q, struct buf *pin)
{
    (void)arg;
    (void)q;
    if (++questions > MAX_QUESTIONS)
        return gpg_error(GPG_ERR_CANCELED);
    buf_printf(pin, "12345678");
    return buf_err(pin);
}

static gpg_error_t inquire(void *arg, const char *keyword, const char *text, size_t max,
                           bool secret, struct buf *answer)
{
    (void)keyword;
    (void)text;
    (void)max;
    (void)secret;
    buf_printf(answer, "%s", (const char *)arg);
    return buf_err(answer);
}

static gpg_error_t status(void *arg, const char *keyword, const char *text)
{
    (void)arg;
    (void)keyword;
    REQUIRE(strchr(text, '\n') == NULL);
    return 0;
}

static void touch(void *arg, bool waiting)
{
    (void)arg;
    (void)waiting;
}

static bool canceled(void *arg)
{
    (void)arg;
    return false;
}

static const struct {
    const char *args, *key, *value;
    gpg_error_t (*run)(void *state, struct driver_op *op, struct buf *result);
} verbs[] = {
    {"name=LEARN", NULL, "", admin_getattr},
    {"name=KEY-ATTR-INFO", NULL, "", admin_getattr},
    {"name=KEY-STATUS", NULL, "", admin_getattr},
    {"name=PRIVATE-DO-4", NULL, "", admin_getattr},
    {"name=DISP-NAME", NULL, "Doe<<Jane", admin_setattr},
    {"name=KEY-ATTR", NULL, "--force 1 1 rsa3072", admin_setattr},
    {"name=KEY-ATTR", NULL, "2 18 cv25519", admin_setattr},
    {"name=KDF", NULL, "\x81\x01\x03", admin_setattr},
    {"ref=1", NULL, "", admin_change_pin},
    {"ref=2", NULL, "", admin_change_pin},
    {"ref=2 reset=1", NULL, "", admin_change_pin},
    {"key=sig created=1700000000 force=1", "sig", "", admin_generate},
    {"key=dec created=1700000000", "dec", "", admin_generate},
    {"ref=3", NULL, "", admin_read_cert},
    {"ref=1", NULL, "certificate", admin_write_cert},
    {"", NULL, "", admin_reset},
    {"select=D27600012401 hex=00CA006E00", NULL, "", admin_apdu},
    {"n=100", NULL, "", admin_random},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct card_transport transport = {
        .begin = begin, .transmit = transmit, .end = end};
    static char reader[] = "fuzz";
    struct rd script = rd_of(data, size);
    struct openpgp o = {.card = {.transport = &transport, .handle = &script},
                        .profile = profile_find(0, reader),
                        .reader = reader,
                        .user.pin = BUF_INIT_SECURE,
                        .admin.pin = BUF_INIT_SECURE};
    struct driver_io io = {.ask_pin = ask_pin,
                           .inquire = inquire,
                           .status = status,
                           .touch = touch,
                           .canceled = canceled};
    struct driver_op op = {.io = &io, .pin_age = -1, .drop = true};
    struct buf result = BUF_INIT_SECURE;
    uint8_t which;

    fuzz_init();
    if (rd_u8(&script, &which) != 0)
        return 0;
    which = (uint8_t)(which % (sizeof verbs / sizeof verbs[0]));
    questions = 0;
    op.args = verbs[which].args;
    op.key_id = verbs[which].key;
    io.arg = (void *)(uintptr_t)verbs[which].value;
    (void)verbs[which].run(&o, &op, &result);
    REQUIRE(!o.verified[2] || script.n == 0); /* unless the card is gone */
    buf_free(&result);
    held_pin_forget(&o.user);
    held_pin_forget(&o.admin);
    for (unsigned i = 0; i < NSLOTS; i++) {
        key_unref(o.slots[i].key);
        gpgrt_free(o.slots[i].oid_curve);
    }
    return 0;
}
