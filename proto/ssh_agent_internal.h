/* Shared by the files that make up proto/ssh_agent.h. */
#ifndef LATCHKEY_PROTO_SSH_AGENT_INTERNAL_H
#define LATCHKEY_PROTO_SSH_AGENT_INTERNAL_H

#include "proto/ssh_agent.h"

/* Reads the constraints that make up the rest of R. TYPE is the message they belong to, KEY the
 * added key (NULL for the smartcard messages). OUT is zeroed by the caller; constraints_free it
 * also after failure. */
gpg_error_t constraints_read(struct rd *r, uint8_t type, const struct key *key,
                             struct key_constraints *out);

#endif
