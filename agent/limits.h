/* What clients together may take of the agent (latchkey.conf(5): MaxClients, MaxKeys, MaxMemory).
 * Reaching a limit is logged once, not once a client. */
#ifndef LATCHKEY_AGENT_LIMITS_H
#define LATCHKEY_AGENT_LIMITS_H

#include "agent/activity.h"
#include "agent/agent.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum limit {
    LIMIT_CLIENTS, /* connections */
    LIMIT_KEYS,    /* added by clients: their number, or what they take */
    LIMIT_MEMORY,  /* messages and objects under way */
    LIMIT_LIST,    /* a list of keys that is longer than a client takes */
    LIMITS
};

struct limits;
gpg_error_t limits_new(const struct settings *s, struct limits **out);
void limits_free(struct limits *l);

/* Tells the log that WHICH was reached, unless it was told within the last hour. */
void limits_reached(struct limits *l, enum limit which);

/* Memory that a client fills: N octets are taken for the connection ACT as they come, and given back when they are freed.
 * Makes room if there is none, at the cost of others; false: there is none by UNTIL_MS (CLOCK_MONOTONIC), or ACT was
 * ended. */
bool limits_take(struct limits *l, struct activity *act, size_t n, int64_t until_ms);
/* All that ACT holds. */
void limits_give(struct limits *l, struct activity *act);
/* Who ends connections when memory runs out; called without locks, by any thread. */
void limits_set_room_maker(struct limits *l, void (*make_room)(void *arg), void *arg);

/* The descriptors that this process may have, as many as the kernel lets it; 2,000 connections need more than the 1,024
 * that are customary. child.h: processes that it starts get the old number back. */
void limits_raise_descriptors(void);
void limits_restore_descriptors(void);

#endif
