/* FIDO of the control socket: FIDO tokens managed by `latchkey token` (proto/ctl_protocol.h). */
#ifndef LATCHKEY_AGENT_CTL_FIDO_H
#define LATCHKEY_AGENT_CTL_FIDO_H

#include "agent/agent.h"
#include "agent/origin.h"

#include <jansson.h>

/* LINE: do=WHAT and its fields. *OUT is the answer, NULL: there is none. *TEXT (gpgrt_free): why it failed, in words, or NULL. */
gpg_error_t ctl_fido(struct agent *a, const struct origin *from, const char *line, json_t **out,
                     char **text);

#endif
