/* Locked or not, since when and why (policy-language: Lock). Two independent locks: the agent's
 * own, and ssh-add -x. */
#ifndef LATCHKEY_AGENT_LOCK_H
#define LATCHKEY_AGENT_LOCK_H

#include "agent/agent.h"
#include "agent/wait.h"
#include "proto/buf.h"

#include <time.h>

enum lock_reason { LOCK_NONE, LOCK_PULLED, LOCK_SLEEP, LOCK_SCREEN, LOCK_IDLE, LOCK_COMMAND };

struct lock_state {
    bool locked;            /* "locked" */
    bool passphrase_locked; /* ssh-add -x */
    enum lock_reason reason;
    char *what; /* e.g. the token's name; may be NULL; owned */
    time_t since;
};

gpg_error_t lock_new(struct lock **out);
void lock_free(struct lock *l);
/* A copy; free ->what with gpgrt_free. */
void lock_get(struct lock *l, struct lock_state *out);
bool lock_is_locked(struct lock *l);
bool lock_is_passphrase_locked(struct lock *l);
/* "locked since 10:32: yubikey-5417533 was pulled out. Insert it and sign, or run: latchkey
 * unlock"; new string (gpgrt_free), NULL when open. */
char *lock_describe(struct lock *l);

/* Locks: sets the state, wipes grants and approvals, has every token forget, ends what waits,
 * writes the audit record. Returns after the state is set and the rest is under way: at most
 * milliseconds. */
void lock_now(struct agent *a, enum lock_reason why, const char *what);
/* How often the agent was locked, by either lock. Who wants to tell whether a lock came since then
 * asks for this before anything else. */
unsigned lock_count(struct lock *l);
/* Ends the agent's own lock after a proof was shown, unless a lock came after COUNT was asked for:
 * that one was not meant. HOW goes to the audit log ("pin yubikey-5417533", "dialog"). */
bool lock_open(struct agent *a, unsigned count, const char *how);

/* ssh-agent's LOCK and UNLOCK, with a passphrase hashed by scrypt. Passphrases are tried one at a time, and after the nth
 * wrong one in a row none is tried for n/10 s, at most 10 s. That holds up those who bring a passphrase and nobody else
 * (OpenSSH's agent sleeps, and all clients wait). CLIENT_FD (-1: none) hanging up ends the wait, not the delay:
 * GPG_ERR_CANCELED. GPG_ERR_BAD_PASSPHRASE, GPG_ERR_INV_STATE (already locked / not locked), GPG_ERR_INV_VALUE (empty).
 * Locking also wipes what lock_now wipes. */
gpg_error_t lock_passphrase(struct agent *a, int client_fd, struct rd passphrase);
gpg_error_t unlock_passphrase(struct agent *a, int client_fd, struct rd passphrase);

/* LockAfter: note that a key was used; a thread of lock.c locks after the idle time of settings (0:
 * never). */
void lock_note_use(struct lock *l);
gpg_error_t lock_start_idle(struct agent *a);
void lock_stop_idle(struct agent *a);

#endif
