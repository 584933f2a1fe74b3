/* What the key store tells the broker of its keys: KEY and STORED lines (proto/token_protocol.h). */
#ifndef LATCHKEY_DEVICES_GPG_LIST_H
#define LATCHKEY_DEVICES_GPG_LIST_H

#include "devices/gpg_unlock.h"

/* The fields of E's KEY line, if it is a private key that can be used (else nothing is appended). LINES: sshcontrol's. */
gpg_error_t gpg_put_key_line(struct buf *line, const struct gpg_entry *e,
                             const struct gpg_ssh_line *lines, size_t nlines);
/* TOKEN and KEY lines of the whole store. */
gpg_error_t gpg_list_learn(struct gpg_keystore *ks, struct buf *lines);
/* STORED. */
gpg_error_t gpg_stored(void *state, struct driver_op *op, struct buf *result);

#endif
