/* One operation on a card that others use, too: short transactions until it is done, repaired when somebody interfered. No PIN is asked
 * for, and nothing is waited for, while one is open. */
#ifndef LATCHKEY_DEVICES_CARD_WORK_H
#define LATCHKEY_DEVICES_CARD_WORK_H

#include "devices/driver.h"

/* What one transaction came to. */
enum work_result {
    WORK_DONE,
    WORK_AGAIN,
    WORK_AGAIN_WITH_SELECT, /* another application was selected */
    WORK_WANTS_PIN,         /* one that is not there */
    WORK_FAILED,
};

/* What an application does of it; WORK is the operation's own state. */
struct work_steps {
    gpg_error_t (*begin)(void *work);
    void (*end)(void *work, bool reset);
    /* Nothing is selected or verified any more. */
    void (*lost)(void *work);
    /* In the transaction. FRESH_SELECT: SELECT comes first, whatever is thought to be selected. */
    enum work_result (*attempt)(void *work, bool fresh_select, gpg_error_t *err);
    /* Takes the verified state back, as AfterUse wants it; *RESET where only a reset does. */
    void (*unverify)(void *work, bool *reset);
    gpg_error_t (*ask_pin)(void *work, bool wrong);
    /* Was the PIN refused that was sent, so that it is forgotten, and the person may type another one? */
    bool (*pin_refused)(void *work, gpg_error_t err);
};

/* GPG_ERR_CANCELED, what attempt and ask_pin say, GPG_ERR_CARD where it has no end. */
gpg_error_t card_work(void *work, struct driver_op *op, const struct work_steps *s);

#endif
