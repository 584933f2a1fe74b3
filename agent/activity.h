/* Whether a connection is idle. When all connections are taken, the server ends idle ones to make room. */
#ifndef LATCHKEY_AGENT_ACTIVITY_H
#define LATCHKEY_AGENT_ACTIVITY_H

#include <stdbool.h>
#include <stdint.h>

struct activity {
    _Atomic int64_t
        state; /* at least 0: idle since then (CLOCK_MONOTONIC, ms); else one of the following */
};
#define ACTIVITY_BUSY  (-1) /* a request is being carried out */
#define ACTIVITY_ENDED (-2) /* by the server */

void activity_init(struct activity *act);
/* The session has got a request. False: the connection was ended meanwhile, and the request is not carried out. */
bool activity_begin(struct activity *act);
/* It is the client's turn. */
void activity_end(struct activity *act);

#endif
