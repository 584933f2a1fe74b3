/* Trezor's protocol v1: messages in packets. ref: trezor-ledger 2.6 */
#ifndef LATCHKEY_DEVICES_TREZOR_WIRE_H
#define LATCHKEY_DEVICES_TREZOR_WIRE_H

#include "devices/trezor_transport.h"

#include <protobuf-c/protobuf-c.h>

enum trezor_type {
    TREZOR_INITIALIZE = 0,
    TREZOR_SUCCESS = 2,
    TREZOR_FAILURE = 3,
    TREZOR_GET_PUBLIC_KEY = 11,
    TREZOR_PUBLIC_KEY = 12,
    TREZOR_FEATURES = 17,
    TREZOR_PIN_MATRIX_REQUEST = 18,
    TREZOR_PIN_MATRIX_ACK = 19,
    TREZOR_CANCEL = 20,
    TREZOR_LOCK_DEVICE = 24,
    TREZOR_BUTTON_REQUEST = 26,
    TREZOR_BUTTON_ACK = 27,
    TREZOR_PASSPHRASE_REQUEST = 41,
    TREZOR_PASSPHRASE_ACK = 42,
    TREZOR_SIGN_IDENTITY = 53,
    TREZOR_SIGNED_IDENTITY = 54,
    TREZOR_GET_ECDH_SESSION_KEY = 61,
    TREZOR_ECDH_SESSION_KEY = 62,
    TREZOR_PASSPHRASE_STATE_REQUEST = 77, /* Model T before 2.3 */
    TREZOR_PASSPHRASE_STATE_ACK = 78,
    TREZOR_END_SESSION = 83,
};

/* A message whole; BODY (secure) is its protobuf. */
struct trezor_message {
    unsigned type;
    struct buf body;
};

/* MESSAGE as TYPE. A secret in it leaves no copy behind. */
gpg_error_t trezor_write(struct trezor_transport *t, enum trezor_type type,
                         const ProtobufCMessage *message);
/* The next message, or GPG_ERR_TIMEOUT when MS go by without a beginning of one. What begins no message is dropped (an aborted
 * conversation may have left it); GPG_ERR_BAD_DATA when a message stops half-way or is too large. OUT's body is emptied first. */
gpg_error_t trezor_read(struct trezor_transport *t, int ms, struct trezor_message *out);
/* Drops what is there already. */
void trezor_drain(struct trezor_transport *t);
/* The protobuf of M, in secure memory; NULL when it is none of that form. trezor_free. */
void *trezor_unpack(const struct trezor_message *m, const ProtobufCMessageDescriptor *form);
void trezor_free(void *message); /* NULL is fine */

#endif
