/* An operation on FIDO devices under way: which devices it may use, the PIN, what a failed attempt asks for. */
#ifndef LATCHKEY_DEVICES_FIDO_WORK_H
#define LATCHKEY_DEVICES_FIDO_WORK_H

#include "devices/fido_race.h"

/* The driver's state. */
struct fido {
    struct fido_bus *bus;
    struct key_store *keys;
};

struct fido_work {
    struct fido_bus *bus;
    struct driver_op *op;
    struct fido_place *all;
    size_t nall;
    struct fido_place **some; /* those in question: pointers into ALL */
    size_t nsome;
    bool everyone; /* all that hold one of the keys blink, not the first that is found */
    bool uv;       /* the device verifies the person by itself */
    bool pin_due;  /* or a PIN does */
    bool pin_was_wrong;
    struct buf pin; /* the last one; wiped once refused, but for what it takes to know it again */
};
#define FIDO_WORK_INIT(bus_, op_)                          \
    {                                                      \
        .bus = (bus_), .op = (op_), .pin = BUF_INIT_SECURE \
    }
void fido_work_clear(struct fido_work *w);

/* All that are plugged in, their facts known. GPG_ERR_ENXIO when there are none. */
gpg_error_t fido_work_any(struct fido_work *w);
/* Those that hold one of Q's keys, or, when none says so, that might. GPG_ERR_CARD_NOT_PRESENT when there are none. */
gpg_error_t fido_work_find(struct fido_work *w, const struct fido_query *q);
/* Down to one, by touch where there are several. */
gpg_error_t fido_work_choose(struct fido_work *w);
/* Asks for the PIN of the one device, choosing it first. GPG_ERR_NO_PIN: it has none. */
gpg_error_t fido_work_ask_pin(struct fido_work *w);
/* What the failure RC asks for: *AGAIN, with what changed in W; else it is the end. */
gpg_error_t fido_work_next(struct fido_work *w, int rc, bool *again);
/* The PIN to send, NULL: none is due. */
const char *fido_work_pin(struct fido_work *w);

/* F on W's one device, until it succeeds or fails for good: a wrong PIN is asked for anew. *PIN is the one to send with each attempt.
 * TOUCH: a touch is waited for meanwhile, even where the PIN verifies the person. */
gpg_error_t fido_work_alone(struct fido_work *w, bool touch, int (*f)(fido_dev_t *d, void *arg),
                            void *arg, const char **pin);

/* Notes that it was P that did it. */
void fido_note_device(struct driver_op *op, const struct fido_place *p);

/* RC (FIDO_ERR_*, logged) as an error of ours. */
gpg_error_t fido_explain(int rc);

/* The driver's verbs: fido_sign.c, fido_make.c, fido_manage.c (proto/token_protocol.h). */
gpg_error_t fido_sign(void *state, struct driver_op *op, gcry_sexp_t *sig);
gpg_error_t fido_assert_verb(void *state, struct driver_op *op, struct buf *result);
gpg_error_t fido_generate(void *state, struct driver_op *op, struct buf *result);
gpg_error_t fido_info(void *state, struct driver_op *op, struct buf *result);
gpg_error_t fido_resident(void *state, struct driver_op *op, struct buf *result);
gpg_error_t fido_delete_resident(void *state, struct driver_op *op, struct buf *result);
gpg_error_t fido_change_pin(void *state, struct driver_op *op, struct buf *result);

/* The security key for APPLICATION whose public half a device tells in COSE's form TYPE: 32 octets (COSE_EDDSA) or x‖y
 * (COSE_ES256). */
gpg_error_t fido_public_key(int type, struct rd raw, const char *application, struct key **out);
/* A CREDENTIAL status line. USER, may be NULL, is cleaned. */
gpg_error_t fido_tell_credential(const struct driver_io *io, const struct key *k, uint8_t flags,
                                 struct rd handle, const char *user);

#endif
