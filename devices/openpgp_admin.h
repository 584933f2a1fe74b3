/* What manages an OpenPGP card: objects, PINs, keys, reset. One piece of work is one transaction with SELECT at its beginning
 * and, where it took one, the PIN; the files that make it up say what is done within. */
#ifndef LATCHKEY_DEVICES_OPENPGP_ADMIN_H
#define LATCHKEY_DEVICES_OPENPGP_ADMIN_H

#include "devices/openpgp.h"

struct admin {
    struct openpgp *o;
    struct driver_op *op;
    uint8_t ref; /* the PIN that it takes: PW1_OTHER or PW3_ADMIN; 0: none */
    /* The work itself, in the transaction; not called for a verification alone (NULL). */
    gpg_error_t (*run)(struct admin *a);
    const void *arg;
    struct buf *result; /* may be NULL */
    /* RUN sets it before the first command that changes the card: from there on nothing is repeated. */
    bool changed;
};

/* Transactions until RUN had one to the end; PINs are asked for outside of them. What the driver knows of the card is brought
 * up to date when RUN changed it, also when it failed on the way. PW3 is never left verified; PW1 as AfterUse has it. */
gpg_error_t admin_run(struct admin *a);

/* --- within RUN: one command each; GPG_ERR_* for any status word but 9000 --- */
gpg_error_t admin_put_data(struct admin *a, unsigned tag, struct rd value);
/* A command that changes the card. SECRET: its data is. */
gpg_error_t admin_command(struct admin *a, struct apdu *c, struct buf *answer);

/* --- openpgp_admin_attr.c: names of algorithms, and the attributes C1..C3 (4.4.3.9) --- */
/* "rsa2048", "nistp256", "ed25519", "cv25519" .. as gpg calls them; NULL: not known. BUF is for RSA. */
const char *admin_algorithm_name(struct rd attr, char buf[16]);
/* Attributes of the algorithm that gpg calls NAME, as slot I of the card wants them; OFFERED is the content of the algorithm
 * information (FA), empty if there is none. GPG_ERR_UNSUPPORTED_ALGORITHM: no such algorithm, or not offered there. */
gpg_error_t admin_attributes(const struct openpgp *o, unsigned i, const char *name,
                             struct rd offered, struct buf *attr);
/* Content of FA, nothing when the card has none or says nonsense (YubiKeys before 5.6.1 do). */
gpg_error_t admin_read_offered(struct openpgp *o, struct buf *offered);
/* The next entry of FA's content: *SLOT 1..3, or 129 for the attestation key. */
gpg_error_t admin_next_offered(struct rd *offered, unsigned *slot, struct rd *attr);

/* The slot's key becomes one of the algorithm that gpg calls ALGO: the one that is there is lost. */
gpg_error_t admin_set_kind(struct admin *a, unsigned i, const char *algo);
/* Is a key in slot I? The card is asked. */
gpg_error_t admin_holds_key(struct openpgp *o, unsigned i, bool *there);

/* The slot named by key=; GPG_ERR_INV_ID. */
gpg_error_t admin_slot(const struct driver_op *op, unsigned *i);
/* Control reference templates of the three keys (7.2.14). */
extern const uint8_t admin_crt[NSLOTS][2];

/* --- the verbs --- */
gpg_error_t admin_getattr(void *state, struct driver_op *op, struct buf *result);
gpg_error_t admin_setattr(void *state, struct driver_op *op, struct buf *result);
gpg_error_t admin_change_pin(void *state, struct driver_op *op, struct buf *result);
gpg_error_t admin_generate(void *state, struct driver_op *op, struct buf *result);
gpg_error_t admin_write_key(void *state, struct driver_op *op, struct buf *result);
gpg_error_t admin_read_cert(void *state, struct driver_op *op, struct buf *result);
gpg_error_t admin_write_cert(void *state, struct driver_op *op, struct buf *result);
gpg_error_t admin_reset(void *state, struct driver_op *op, struct buf *result);
gpg_error_t admin_apdu(void *state, struct driver_op *op, struct buf *result);
gpg_error_t admin_random(void *state, struct driver_op *op, struct buf *result);

/* The KDF-DO becomes VALUE, within RUN of A. PW3 is held and verified. The PINs become the default ones. */
gpg_error_t admin_set_kdf(struct admin *a, struct rd value);

/* For tests: appends what scdaemon would write after a status keyword. */
void admin_put_escaped(struct buf *b, struct rd value);

#endif
