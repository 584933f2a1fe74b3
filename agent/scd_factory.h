/* gpg's factory reset of an OpenPGP card, told from the APDUs that it sends (`gpg --card-edit`, "factory-reset", 2.2 and 2.4): with the
 * cards locked and no application selected it selects OpenPGP, uses up the tries of both PINs, terminates and activates. None of it
 * reaches the card: the whole is one thing, which a person is asked about and the card's own process does.
 *
 *   IDLE -- "SERIALNO undefined", locked --> BEGUN -- SELECT OpenPGP --> SELECTED -- VERIFY 81, VERIFY 83 (wrong ones) --> SELECTED
 *   SELECTED -- TERMINATE, both PINs used up --> DONE (the reset is due now) -- ACTIVATE --> DONE
 *   Any other APDU, RESET, SERIALNO: --> IDLE */
#ifndef LATCHKEY_AGENT_SCD_FACTORY_H
#define LATCHKEY_AGENT_SCD_FACTORY_H

#include "proto/buf.h"

enum scd_factory_state { FACTORY_IDLE, FACTORY_BEGUN, FACTORY_SELECTED, FACTORY_DONE };
struct scd_factory {
    enum scd_factory_state state;
    int tries[2]; /* what the card that gpg thinks it talks to has left: PW1, PW3 */
};

enum scd_factory_verdict {
    FACTORY_NOT_PART, /* of the sequence: judge it by itself */
    FACTORY_ANSWER,   /* answer *SW; nothing else happens */
    FACTORY_RESET,    /* reset the card now; when that is done scd_factory_done */
};
/* SERIALNO undefined was answered; TRIES: the card's, -1 unknown. */
void scd_factory_begin(struct scd_factory *f, int pw1, int pw3);
void scd_factory_end(struct scd_factory *f);
enum scd_factory_verdict scd_factory_apdu(struct scd_factory *f, struct rd apdu, uint16_t *sw);
void scd_factory_done(struct scd_factory *f);

#endif
