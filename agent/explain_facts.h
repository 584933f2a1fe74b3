/* What `latchkey policy explain` is told, as facts for the policy. Used by the agent, which knows
 * the keys that are there, and by the command when no agent runs. */
#ifndef LATCHKEY_AGENT_EXPLAIN_FACTS_H
#define LATCHKEY_AGENT_EXPLAIN_FACTS_H

#include "policy/policy.h"

struct explain_facts {
    struct policy_facts f; /* points into the rest */
    struct policy_host dest;
    const char *names[1];
    char *host, *user, *key, *use, *client; /* as told; NULL: not told */
    /* explain_facts_guess_key */
    struct policy_token token;
    char *texts[4];
};

/* ARGS: the fields of POLICY EXPLAIN (proto/ctl_protocol.h). OUT must be zero, stays where it is,
 * and is cleared by the caller whatever comes back. The key's facts are left unknown.
 * GPG_ERR_BAD_DATA. */
gpg_error_t explain_facts_parse(const char *args, struct explain_facts *out);
/* The key's facts from its name alone: SHA256:.., 40 hex digits (taken for keygrip and OpenPGP
 * fingerprint alike), TOKEN/SLOT, a public-key file, else a comment. */
gpg_error_t explain_facts_guess_key(struct explain_facts *e);
void explain_facts_clear(struct explain_facts *e);

#endif
