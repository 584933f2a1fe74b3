/* session-bind@openssh.com: recording which host keys a connection was bound to (PROTOCOL.agent 1, ref ssh-agent.md 7). */
#ifndef LATCHKEY_AGENT_BINDS_H
#define LATCHKEY_AGENT_BINDS_H

#include "agent/origin.h"
#include "proto/ssh_agent.h"

/* Parses, verifies and records the bind in EXT_BODY. What was tried is remembered even when it fails. Refused: a bind after
 * a non-forwarding one, another key for a known session, more than SSH_AGENT_MAX_BINDS, session ids over
 * SSH_AGENT_MAX_SID. The same session and key again is fine and changes nothing. */
gpg_error_t binds_add(struct origin *o, struct rd ext_body);
void binds_clear(struct origin *o);
/* Does the connection come from a channel that an ssh forwards? */
bool binds_forwarded(const struct origin *o);

#endif
