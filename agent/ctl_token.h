/* TOKEN of the control socket: what manages a token, passed on to its process by way of the broker. */
#ifndef LATCHKEY_AGENT_CTL_TOKEN_H
#define LATCHKEY_AGENT_CTL_TOKEN_H

#include "agent/agent.h"
#include "agent/origin.h"

#include <assuan.h>

/* LINE: token=NAME verb=VERB [key=SLOT] and the verb's own fields (proto/token_protocol.h), for verbs of a table only: it says which
 * use of the policy's each is and what dialogs tell of it. What the token answers and its status lines go to the client; its
 * inquiries but for PINs are the client's to answer. *TEXT (gpgrt_free): why it failed, in words, or NULL.
 * GPG_ERR_NOT_FOUND: no such token. GPG_ERR_UNKNOWN_COMMAND: no such verb. */
gpg_error_t ctl_token(assuan_context_t ctx, struct agent *a, const struct origin *from,
                      const char *line, char **text);

#endif
