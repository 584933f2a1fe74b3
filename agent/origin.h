/* Where a request comes from: one connection, its peer, and what was bound to it. Owned by the
 * session. */
#ifndef LATCHKEY_AGENT_ORIGIN_H
#define LATCHKEY_AGENT_ORIGIN_H

#include "agent/requester.h"
#include "proto/key.h"

#include <stdint.h>

struct ask;
struct bind {
    struct key *hostkey;
    uint8_t *sid;
    size_t sid_len;
    bool forwarding;
};

struct origin {
    uint64_t id; /* of the connection, never reused: for `Confirm connection` */
    int fd;      /* the client's socket: a hang-up ends what it waits for */
    struct requester *who;
    struct bind *binds;
    size_t nbinds;
    bool bind_attempted;   /* a session-bind came, even a failed one */
    const struct ask *ask; /* how the person is asked (ask.h); NULL: by dialogs */
    bool extra_socket;     /* came in on gpg's extra socket: counts as forwarded */
};

#endif
