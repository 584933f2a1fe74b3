/* A card that answers anything: the input is cut into answers (one octet of length each, SW included). */
#include "devices/openpgp.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct card_transport transport = {
        .begin = begin, .transmit = transmit, .end = end};
    static char reader[] = "fuzz";
    struct rd script = rd_of(data, size);
    struct openpgp o = {.card = {.transport = &transport, .handle = &script},
                        .profile = profile_find(0, reader),
                        .reader = reader,
                        .user.pin = BUF_INIT_SECURE};
    struct kdf kdf;

    fuzz_init();
    (void)openpgp_parse_kdf(rd_of(data, size), &kdf);
    apdu_note_capabilities(&o.card, apdu_historical(rd_of(data, size)));
    if (openpgp_learn(&o, true) == 0) {
        (void)openpgp_read_keys(&o, false);
        buf_printf(&o.user.pin, "123456");
        (void)openpgp_verify_held(&o, PW1_OTHER);
        (void)openpgp_refresh(&o);
        for (unsigned i = 0; i < NSLOTS; i++)
            if (o.slots[i].key != NULL)
                REQUIRE(o.slots[i].key->sexp != NULL);
    }
    held_pin_forget(&o.user);
    for (unsigned i = 0; i < NSLOTS; i++) {
        key_unref(o.slots[i].key);
        gpgrt_free(o.slots[i].oid_curve);
    }
    return 0;
}
