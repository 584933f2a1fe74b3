/* What OpenPGP cards do besides signing (gpg --card-status, --card-edit): the files openpgp_attr.c (what the card tells, as scdaemon
 * writes it), openpgp_admin.c (what changes it), openpgp_write.c (keys made and brought). */
#ifndef LATCHKEY_DEVICES_OPENPGP_ADMIN_H
#define LATCHKEY_DEVICES_OPENPGP_ADMIN_H

#include "devices/openpgp.h"

#define PW3_ADMIN 0x83

/* Runs FN in a transaction, the application selected; REF PW3_ADMIN: the admin PIN verified, after asking for it if need be, and not
 * verified any more behind it. REF 0: no PIN. Repaired when others interfere, as long as FN did not begin to change the card: it then
 * gives what it gave. */
gpg_error_t openpgp_in_card(struct openpgp *o, struct driver_op *op, uint8_t ref,
                            gpg_error_t (*fn)(struct openpgp *o, void *arg), void *arg);
/* PUT DATA; the application is selected. */
gpg_error_t openpgp_put_data(struct openpgp *o, unsigned tag, struct rd value);
/* What the card has is not what was learned any more: it is read anew when next asked. */
void openpgp_relearn(struct openpgp *o);
/* The field NAME of OP's arguments; GPG_ERR_MISSING_VALUE. */
gpg_error_t openpgp_arg(const struct driver_op *op, const char *name, char **out);

/* The verbs, as driver_verb::run. */
gpg_error_t openpgp_getattr(void *state, struct driver_op *op, struct buf *result);
gpg_error_t openpgp_setattr(void *state, struct driver_op *op, struct buf *result);
gpg_error_t openpgp_changepin(void *state, struct driver_op *op, struct buf *result);
gpg_error_t openpgp_generate(void *state, struct driver_op *op, struct buf *result);
gpg_error_t openpgp_writekey(void *state, struct driver_op *op, struct buf *result);
gpg_error_t openpgp_readcert(void *state, struct driver_op *op, struct buf *result);
gpg_error_t openpgp_writecert(void *state, struct driver_op *op, struct buf *result);
gpg_error_t openpgp_factory_reset(void *state, struct driver_op *op, struct buf *result);
gpg_error_t openpgp_apdu(void *state, struct driver_op *op, struct buf *result);
gpg_error_t openpgp_random(void *state, struct driver_op *op, struct buf *result);

/* Algorithm attributes of "rsa3072", "nistp256", "ed25519", "cv25519", .. for SLOT, appended to B; RSA takes length of e and format from
 * the present ones, OLD. GPG_ERR_UNKNOWN_ALGORITHM. */
gpg_error_t openpgp_make_attributes(const char *name, unsigned slot, struct rd old, struct buf *b);
/* The slot that "sig", "dec", "aut" names. GPG_ERR_INV_ID. */
gpg_error_t openpgp_slot_index(const char *id, unsigned *index);

#endif
