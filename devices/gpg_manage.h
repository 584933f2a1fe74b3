/* The key store's verbs that make, move and change keys (proto/token_protocol.h). */
#ifndef LATCHKEY_DEVICES_GPG_MANAGE_H
#define LATCHKEY_DEVICES_GPG_MANAGE_H

#include "devices/gpg_unlock.h"

/* Before the first key is made: progress of key generation goes to whoever asked for it. */
void gpg_generate_init(void);
gpg_error_t gpg_generate(void *state, struct driver_op *op, struct buf *result);
gpg_error_t gpg_import(void *state, struct driver_op *op, struct buf *result);
gpg_error_t gpg_export(void *state, struct driver_op *op, struct buf *result);
gpg_error_t gpg_passwd(void *state, struct driver_op *op, struct buf *result);
gpg_error_t gpg_attr(void *state, struct driver_op *op, struct buf *result);
gpg_error_t gpg_stub(void *state, struct driver_op *op, struct buf *result);
gpg_error_t gpg_sshadd(void *state, struct driver_op *op, struct buf *result);
gpg_error_t gpg_cache_verb(void *state, struct driver_op *op, struct buf *result);

/* Is the flag NAME set in ARGS? */
gpg_error_t gpg_flag(const char *args, const char *name, bool *out);
/* op->key_id, as a keygrip in upper case; GPG_ERR_INV_ID, GPG_ERR_MISSING_VALUE. */
gpg_error_t gpg_op_grip(const struct driver_op *op, char grip[GPG_GRIP + 1]);
/* A NONCE status line; either may be NULL. */
gpg_error_t gpg_tell_nonce(const struct driver_io *io, const char *cache, const char *passwd);

#endif
