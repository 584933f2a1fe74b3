/* Presence proofs and approvals that are still valid, and the counts that Rate needs. In memory
 * only; wiped by a lock. A scope is a string that the broker composes: key, use, chain of
 * destinations, requester (nothing is found under a scope that differs anywhere). */
#ifndef LATCHKEY_AGENT_GRANTS_H
#define LATCHKEY_AGENT_GRANTS_H

#include "policy/policy.h"

#include <gpg-error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct grants;
gpg_error_t grants_new(struct grants **out);
void grants_free(struct grants *g);

/* Is there a proof for SCOPE not older than MAX_AGE_S and used fewer than MAX_USES times (0: no
 * limit)? If so counts one use. *AGE_S (may be NULL) gets its age. */
bool grants_use_presence(struct grants *g, const char *scope, unsigned max_age_s, unsigned max_uses,
                         unsigned *age_s);
/* A presence was shown for SCOPE now; TOKEN (name) is what it was shown on or for, so that losing
 * it drops the proof. The operation that it was shown for counts as its first use. */
void grants_add_presence(struct grants *g, const char *scope, const char *token);

/* `Confirm connection`: approved on connection ORIGIN for SCOPE? */
bool grants_approved(struct grants *g, uint64_t origin, const char *scope);
void grants_approve(struct grants *g, uint64_t origin, const char *scope);
void grants_drop_origin(struct grants *g, uint64_t origin);

/* Rate. An operation with KEY (keygrip hex) begins: false when that makes more than RATES allow, those
 * that are under way counted in, so that many at once get no further than one after another. Each
 * beginning has its end; USED tells whether the key was used after all. */
bool grants_begin_use(struct grants *g, const char *key, const struct policy_rate *rates, size_t n);
void grants_end_use(struct grants *g, const char *key, bool used);
/* Uses of KEY in the last SECS, under way or over. */
unsigned grants_count_uses(struct grants *g, const char *key, unsigned secs);
/* A person confirmed going on. */
void grants_reset_rate(struct grants *g, const char *key);

void grants_wipe_token(struct grants *g, const char *token);
void grants_wipe(struct grants *g);

#endif
