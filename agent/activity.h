/* Whether a connection is idle, and what it holds: when connections or memory run out, the server ends some to make room. */
#ifndef LATCHKEY_AGENT_ACTIVITY_H
#define LATCHKEY_AGENT_ACTIVITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct activity {
    _Atomic int64_t state; /* 0 and up: idle since then (CLOCK_MONOTONIC, ms); else one of these: */
    _Atomic size_t held;   /* octets taken from the limits */
};
#define ACTIVITY_BUSY  (-1) /* a request is being carried out */
#define ACTIVITY_ENDED (-2) /* by the server */

void activity_init(struct activity *act);
/* The session has got a request. False: the connection was ended meanwhile, and the request is not carried out. */
bool activity_begin(struct activity *act);
/* It is the client's turn. */
void activity_end(struct activity *act);

#endif
