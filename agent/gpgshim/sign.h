/* A detached signature through the agent, told the way gpg tells it. */
#ifndef LATCHKEY_AGENT_GPGSHIM_SIGN_H
#define LATCHKEY_AGENT_GPGSHIM_SIGN_H

#include "agent/gpgshim/options.h"
#include "proto/buf.h"

enum shim_result {
    SHIM_OK = 0,
    SHIM_FAILED = 2, /* gpg's exit status for everything but a bad signature */
    SHIM_FALL_BACK   /* the agent has not got the key, and the caller wants gpg to try */
};

/* FALL_BACK: a missing key is not told to the caller but answered with SHIM_FALL_BACK. OBJECT (empty at first) then holds
 * what was read, for gpg to read again. */
enum shim_result shim_sign(const struct shim_options *o, bool fall_back, struct buf *object);

/* A "SIGNED ..." status line of the agent (proto/ctl_protocol.h). */
struct signed_with {
    char *fpr; /* 40 hex digits, owned */
    int pubkey_algo, hash_algo;
    long created;
};
/* FIELDS: what follows the keyword. GPG_ERR_INV_RESPONSE unless all of it makes sense. */
gpg_error_t signed_with_parse(const char *fields, struct signed_with *out);

#endif
