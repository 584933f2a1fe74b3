/* Client of the control socket, for latchkey and latchkey-gpg. */
#ifndef LATCHKEY_AGENT_CTL_CLIENT_H
#define LATCHKEY_AGENT_CTL_CLIENT_H

#include "proto/buf.h"
#include "proto/ctl_protocol.h"

struct ctl_client;
/* Connects to the agent's control socket and sends the OPTIONs of this process' terminal and
 * display. GPG_ERR_NO_AGENT when there is none. */
gpg_error_t ctl_connect(struct ctl_client **out);
/* The same, and where no agent runs one is started in the background and its socket waited for, at
 * most 5 s. *WHY (gpgrt_free): what an agent said that did not start, or NULL. */
gpg_error_t ctl_connect_or_start(struct ctl_client **out, char **why);
void ctl_close(struct ctl_client *c);

/* Sends LINE. Data lines are appended to REPLY (may be NULL). INQUIRE is answered with DATA (fd -1)
 * or, when DATA is NULL, not at all (CAN). STATUS (may be NULL) is called with each status line
 * "KEYWORD rest". ERROR_TEXT (may be NULL) gets the ERROR_TEXT line's text, new string or NULL. */
gpg_error_t ctl_transact(struct ctl_client *c, const char *line, const struct rd *data,
                         struct buf *reply, void (*status)(void *arg, const char *line), void *arg,
                         char **error_text);

#endif
