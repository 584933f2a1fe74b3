/* Which host a request is for, and how well that is proven (policy-language: Which destination a
 * request has). */
#ifndef LATCHKEY_AGENT_DESTINATION_H
#define LATCHKEY_AGENT_DESTINATION_H

#include "agent/agent.h"
#include "agent/known_hosts.h"
#include "agent/origin.h"
#include "proto/signdata.h"
#include "proto/ssh_agent.h"

/* One host of the chain. Views stay valid as long as the struct destination and the origin. */
struct hop {
    const struct key *key; /* borrowed from the origin or the signdata */
    struct host_names found;
    struct policy_host host; /* points into found and key */
};

struct destination {
    enum policy_proof proof;
    bool
        known; /* hops[nhops - 1] is the destination; else all hops are ones that it came through */
    struct hop *hops;
    size_t nhops;
    enum policy_tri forwarded;
    bool revoked;         /* known_hosts revokes a host key of the chain: always refused */
    const char *why_none; /* why the proof is none; static text */
};

/* DATA: what is to be signed, or NULL when keys are only being listed (then the last bind is the
 * destination, proven or not: hiding grants nothing). P supplies candidate names for hashed
 * known_hosts entries and may be NULL. */
gpg_error_t destination_find(struct agent *a, const struct origin *from,
                             const struct signdata *data, const struct policy_set *p,
                             struct destination *out);
void destination_clear(struct destination *d);

/* The hops as the policy wants them: DEST NULL when unknown; VIA in a new array of N (gpgrt_free).
 */
gpg_error_t destination_facts(const struct destination *d, const struct policy_host **dest,
                              struct policy_host **via, size_t *nvia);
/* The whole chain as one string for grant scopes ("SHA256:a>SHA256:b"); new string, NULL when out
 * of memory. */
char *destination_chain(const struct destination *d);
/* For people: "github.com (proven)", "unknown host SHA256:.. via bastion"; new string. */
char *destination_describe(const struct destination *d);

/* May a key with destination constraints C (restrict-destination-v00@openssh.com) be used on the
 * connection FROM? DATA NULL: be listed. As OpenSSH's ssh-agent decides (PROTOCOL.agent, ref
 * ssh-agent.md 9). *WHY: static text. */
bool destination_permitted(const struct key_constraints *c, const struct origin *from,
                           const struct signdata *data, const char **why);

#endif
