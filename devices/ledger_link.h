/* The way to a Ledger: whole APDUs there and back, one at a time. A request cannot be called back once it is on the
 * device's screen: its answer comes when the person has decided. ref: trezor-ledger 8, 13. */
#ifndef LATCHKEY_DEVICES_LEDGER_LINK_H
#define LATCHKEY_DEVICES_LEDGER_LINK_H

#include "devices/driver.h"

struct ledger_link;

/* ADDRESS: "hid:/dev/hidrawN", "tcp:HOST:PORT" (the Speculos emulator's framing), "frames:PATH" (HID reports over a Unix
 * socket). GPG_ERR_INV_ARG; GPG_ERR_ENODEV: nothing there, or no interface of a Ledger for APDUs. */
gpg_error_t ledger_link_open(const char *address, struct ledger_link **out);
void ledger_link_close(struct ledger_link *l);
/* The device's own name of its model, NULL where it is not told. */
const char *ledger_link_model(const struct ledger_link *l);

/* Sends APDU and appends the answer, data and status word. Waits for it at most MS, -1: as long as it takes; IO may be NULL.
 * GPG_ERR_CANCELED (IO said so) and GPG_ERR_TIMEOUT leave the answer owed; GPG_ERR_CARD_REMOVED, GPG_ERR_INV_RESPONSE: the link
 * is of no use until it is opened again, which the next exchange tries by itself, once. */
gpg_error_t ledger_link_exchange(struct ledger_link *l, struct rd apdu, const struct driver_io *io,
                                 int ms, struct buf *answer);
/* Is the answer to an earlier request still to come? It must be taken before anything else is sent. */
bool ledger_link_owed(const struct ledger_link *l);
/* Waits for it as ledger_link_exchange does, and throws it away. */
gpg_error_t ledger_link_settle(struct ledger_link *l, const struct driver_io *io, int ms);
/* The device has changed what it is on the bus (an application was opened): finds it anew. Tries once. */
gpg_error_t ledger_link_reopen(struct ledger_link *l);
/* Lets MS pass; false: IO canceled. */
bool ledger_pause(const struct driver_io *io, int ms);

#endif
