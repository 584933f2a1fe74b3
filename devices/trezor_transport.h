/* How 64-byte packets get to a Trezor and back: over UDP (emulator), USB (libusb) or HID (hidapi). ref: trezor-ledger 2. */
#ifndef LATCHKEY_DEVICES_TREZOR_TRANSPORT_H
#define LATCHKEY_DEVICES_TREZOR_TRANSPORT_H

#include "proto/buf.h"

#define TREZOR_PACKET 64

struct trezor_transport {
    /* GPG_ERR_CARD_REMOVED when the device is gone. */
    gpg_error_t (*write)(struct trezor_transport *t, const uint8_t packet[TREZOR_PACKET]);
    /* GPG_ERR_TIMEOUT after MS without one; 0: what is there already. */
    gpg_error_t (*read)(struct trezor_transport *t, uint8_t packet[TREZOR_PACKET], int ms);
    /* Is the device there, as far as that shows without asking it anything? */
    bool (*alive)(struct trezor_transport *t);
    void (*close)(struct trezor_transport *t); /* frees T, too */
};

/* By the form of ADDRESS: "udp:HOST:PORT", "usb:BUS:DEV" (numbers), "hid:PATH". GPG_ERR_INV_ARG for any other,
 * GPG_ERR_ENODEV when nothing answers there, GPG_ERR_EBUSY when another program has it. */
gpg_error_t trezor_transport_open(const char *address, struct trezor_transport **out);
gpg_error_t trezor_udp_open(const char *where, struct trezor_transport **out);
gpg_error_t trezor_usb_open(const char *where, struct trezor_transport **out);
gpg_error_t trezor_hid_open(const char *where, struct trezor_transport **out);

#endif
