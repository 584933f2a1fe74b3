/* What a client sends to be signed: SIGN's INQUIRE OBJECT, up to 64 MiB. */
#ifndef LATCHKEY_AGENT_CTL_OBJECT_H
#define LATCHKEY_AGENT_CTL_OBJECT_H

#include "agent/server.h"
#include "proto/buf.h"

#include <assuan.h>

/* As assuan_inquire, but what comes is counted as it comes (limits.h), and a client that stops in the middle is given up
 * after MessageTimeout. FD is the connection's socket. Errors: GPG_ERR_ASS_TOO_MUCH_DATA, GPG_ERR_LIMIT_REACHED,
 * GPG_ERR_ASS_CANCELED, and those of the connection. To be cleared after errors too. */
gpg_error_t ctl_object_read(assuan_context_t ctx, struct agent *a, int fd, struct activity *act,
                            struct buf *object);
void ctl_object_clear(struct agent *a, struct activity *act, struct buf *object);

/* WHICH is SO_RCVTIMEO or SO_SNDTIMEO; SECONDS 0: for ever. */
void ctl_set_timeout(int fd, int which, unsigned seconds);

#endif
