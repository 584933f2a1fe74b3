/* A Ledger with its SSH/PGP Agent open. ref: trezor-ledger 9, 10. */
#ifndef LATCHKEY_DEVICES_LEDGER_APP_H
#define LATCHKEY_DEVICES_LEDGER_APP_H

#include "devices/ledger_answer.h"
#include "devices/ledger_link.h"

struct ledger {
    struct ledger_link *link;
    struct ledger_app app; /* as it was last seen; no name: not known */
};

/* Is the application that was last seen the one that signs? */
bool ledger_app_signs(const struct ledger_app *a);
/* Is none open? */
bool ledger_app_dashboard(const struct ledger_app *a);
/* Asks what runs. OP and its words may be NULL. GPG_ERR_LOCKED: the device wants its PIN. */
gpg_error_t ledger_look(struct ledger *d, struct driver_op *op);
/* Sees to it that the application is open: waits for the device to be unlocked and for an abandoned question to be answered,
 * and offers to open the application, as far as the person and OP's io let it. What else is in the way is said in words. */
gpg_error_t ledger_ready(struct ledger *d, struct driver_op *op);

/* Words for what went wrong on the way: gone, silent, nonsense. */
void ledger_say(struct driver_op *op, gpg_error_t err);

struct ledger_command {
    uint8_t ins, p1, p2;
    struct rd data; /* at most 255 octets */
    bool person;    /* the person is asked: it takes as long as it takes */
};
/* Sends it to the application, and appends the answer's data. Refusals and other status words become errors, said in words. */
gpg_error_t ledger_command(struct ledger *d, const struct ledger_command *c, struct driver_op *op,
                           struct buf *data);

#endif
