/* POLICY EXPLAIN: facts from the command's arguments or from the last operation's record, and the
 * policy's words. */
#ifndef LATCHKEY_AGENT_CTL_EXPLAIN_H
#define LATCHKEY_AGENT_CTL_EXPLAIN_H

#include "agent/agent.h"
#include "proto/buf.h"

/* ARGS: fields as in proto/ctl_protocol.h. Appends text to OUT. GPG_ERR_NO_POLICY_MATCH: no valid
 * policy is in force; GPG_ERR_NO_DATA: nothing was asked yet (last=1); GPG_ERR_NO_PUBKEY: key=K
 * names no key that is there; GPG_ERR_AMBIGUOUS_NAME: several. */
gpg_error_t ctl_explain(struct agent *a, const char *args, struct buf *out);

#endif
