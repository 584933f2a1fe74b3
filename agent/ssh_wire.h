/* The ssh-agent protocol's frames on a client's socket: a length and a message (RFC 9987 3). A client may be slow, but not
 * for ever in the middle of a message, and what it sends is counted as it comes (limits.h). */
#ifndef LATCHKEY_AGENT_SSH_WIRE_H
#define LATCHKEY_AGENT_SSH_WIRE_H

#include "agent/limits.h"
#include "proto/buf.h"

struct ssh_wire {
    int fd;
    struct limits *limits;
    struct activity *act;
    unsigned timeout_s; /* from a message's first octet to its last; the same for a reply */
    size_t at, end;     /* what is in IN and not yet used */
    uint8_t in[4096];
};

/* Waits for the next message (type and body) and puts it into MSG, secure where its type carries secrets. False ends the
 * connection: end of stream, a length of zero or beyond SSH_AGENT_MAX_MESSAGE, too slow, no memory. */
bool wire_read(struct ssh_wire *w, struct buf *msg);
/* False: the client is gone, or does not take it in time. */
bool wire_write(struct ssh_wire *w, struct rd reply);
/* Takes N octets for a reply; false: there is no room. */
bool wire_hold(struct ssh_wire *w, size_t n);
/* After a message and its reply: wipes and frees what is secret or large, gives back what was taken. */
void wire_release(struct ssh_wire *w, struct buf *msg, struct buf *reply);

#endif
