/* Ledger's framing of APDUs in HID reports. ref: trezor-ledger 8. */
#ifndef LATCHKEY_DEVICES_LEDGER_FRAMES_H
#define LATCHKEY_DEVICES_LEDGER_FRAMES_H

#include "proto/buf.h"

#define LEDGER_REPORT     64u  /* octets of a report */
#define LEDGER_ANSWER_MAX 258u /* of a short APDU: 256 and the status word */

/* Appends MESSAGE, at most 65535 octets, cut into reports. */
void ledger_frames_put(struct rd message, struct buf *reports);

/* A message that is being put together; starts zeroed, ends with buf_free(&message). */
struct ledger_frames {
    bool begun;
    size_t want;   /* octets of the whole message */
    uint16_t next; /* sequence number */
    struct buf message;
};
/* Takes one report of LEDGER_REPORT octets; *DONE: MESSAGE is whole, and the next report begins another. What comes on another channel
 * or with another tag is dropped. GPG_ERR_INV_RESPONSE: wrong sequence number or length; nothing of the message is kept. */
gpg_error_t ledger_frames_take(struct ledger_frames *f, struct rd report, bool *done);

#endif
