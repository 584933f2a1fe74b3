/* The lock that gpg's connections hold against each other (SCD LOCK): who changes a card in several steps is not disturbed by another
 * gpg. It stops nobody else. */
#ifndef LATCHKEY_AGENT_SCD_LOCK_H
#define LATCHKEY_AGENT_SCD_LOCK_H

#include "agent/wait.h"

struct scd_lock;
gpg_error_t scd_lock_new(struct scd_lock **out);
void scd_lock_free(struct scd_lock *l);
/* For the connection WHO (origin.id). GPG_ERR_LOCKED while another one holds it, unless W says how long to wait: then W's errors. */
gpg_error_t scd_lock_take(struct scd_lock *l, uint64_t who, struct wait *w);
/* GPG_ERR_NOT_LOCKED; GPG_ERR_LOCKED: it is another one's. */
gpg_error_t scd_lock_give(struct scd_lock *l, uint64_t who);
bool scd_lock_is_others(struct scd_lock *l, uint64_t who);
bool scd_lock_is_own(struct scd_lock *l, uint64_t who);

#endif
