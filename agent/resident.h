/* ssh keys that FIDO tokens keep, as far as they were listed once (latchkey token fido keys): offered like added ones. */
#ifndef LATCHKEY_AGENT_RESIDENT_H
#define LATCHKEY_AGENT_RESIDENT_H

#include "agent/agent.h"
#include "agent/sk_book.h"

/* Puts E into the process for FIDO tokens and into the keyring, in the place of what is there of the same key. What the person
 * agreed to when it was listed is not asked again. */
gpg_error_t resident_offer(struct agent *a, const struct sk_entry *e);
/* All of the book; what cannot be offered is logged. False: there is no process for them. */
bool resident_offer_all(struct agent *a);
/* E's comment, new string: application and label. */
char *resident_comment(const struct sk_entry *e);

#endif
