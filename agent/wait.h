/* Waiting: one deadline and one place that notices what ends a wait. A connection's thread that
 * waits for a touch, a PIN, a dialog, its turn or a token polls its client, its own wake-up
 * descriptor and possibly one more descriptor. */
#ifndef LATCHKEY_AGENT_WAIT_H
#define LATCHKEY_AGENT_WAIT_H

#include <gpg-error.h>
#include <stdbool.h>
#include <stdint.h>

struct waits;
gpg_error_t waits_new(struct waits **out);
void waits_free(struct waits *w);

/* One waiter; lives on the stack of the thread that waits. */
struct wait {
    struct waits *all;
    struct wait *prev, *next; /* waits::list */
    int client_fd;            /* -1: nobody can hang up */
    int wake_fd;              /* eventfd */
    int64_t deadline_ms;      /* CLOCK_MONOTONIC; INT64_MAX: none */
    bool ignore_lock;         /* this operation brings its own fresh proof */
    bool locked;              /* set by waits_interrupt_locked */
};
/* Registers W. TIMEOUT_S 0: no deadline. */
gpg_error_t wait_begin(struct waits *all, struct wait *w, int client_fd, unsigned timeout_s);
void wait_end(struct wait *w);
/* Waits until FD (may be -1) is readable (or hung up), or W is woken. GPG_ERR_CANCELED: the client
 * hung up (both directions closed; a half-close is legal). GPG_ERR_TIMEOUT: deadline.
 * GPG_ERR_LOCKED: the agent locked meanwhile and W does not ignore that. Else 0, with *WOKEN
 * telling whether it was the wake-up (may be NULL). */
gpg_error_t wait_for(struct wait *w, int fd, bool *woken);
/* Without blocking: the same errors, or 0. */
gpg_error_t wait_check(struct wait *w);
/* Any thread: wakes W. */
void wait_wake(struct wait *w);
/* Milliseconds to the deadline (at least 0), -1 without one. */
int wait_left_ms(const struct wait *w);
/* Wakes every waiter because the agent has locked. */
void waits_interrupt_locked(struct waits *all);
int64_t monotonic_ms(void);

#endif
