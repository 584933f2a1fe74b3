/* A conversation with a Trezor: sessions, and what it wants of the person on the way to an answer. ref: trezor-ledger 4 */
#ifndef LATCHKEY_DEVICES_TREZOR_CALL_H
#define LATCHKEY_DEVICES_TREZOR_CALL_H

#include "devices/trezor.pb-c.h"
#include "devices/trezor_wire.h"
#include "devices/wallet.h"

enum trezor_passphrase { PASSPHRASE_AUTO, PASSPHRASE_ASK, PASSPHRASE_DEVICE, PASSPHRASE_NONE };

struct trezor {
    struct trezor_transport *t;
    Trezor__Features *features; /* as told last; never NULL after trezor_open */
    struct buf session;         /* the device remembers the passphrase by it; empty: none yet */
    enum trezor_passphrase passphrase;
    int64_t pin_ms; /* CLOCK_MONOTONIC of the last PIN that was typed for us, 0: none */
};

/* The device must have been opened. Forgets what an earlier conversation left behind, and goes on in our session: before each
 * operation, as other programs have theirs in between. GPG_ERR_NOT_SUPPORTED: it does not speak protocol v1 (THP). */
gpg_error_t trezor_begin(struct trezor *z);
/* Sends MESSAGE as TYPE and gives the ANSWER of type WANTED, with all that the device asks of the person until then. OP->io
 * NULL: nothing may be asked. The errors are those of struct wallet_make. */
gpg_error_t trezor_call(struct trezor *z, struct driver_op *op, enum trezor_type type,
                        const ProtobufCMessage *message, enum trezor_type wanted,
                        struct trezor_message *answer);
/* The device forgets our session, and with it the passphrase. Best effort. */
void trezor_end_session(struct trezor *z);
/* The device wants its PIN again. Best effort. */
void trezor_lock(struct trezor *z);
/* The PIN as OP->pin_age wants it: locks a device whose PIN was typed too long ago. */
gpg_error_t trezor_want_pin(struct trezor *z, struct driver_op *op);

bool trezor_has_capability(const struct trezor *z, uint32_t capability);
#define TREZOR_CAPABILITY_CRYPTO     5u
#define TREZOR_CAPABILITY_PASSPHRASE 17u /* typed on the device */

#endif
