/* What manages a PIV card. One piece of work is one transaction with SELECT at its beginning and, where it takes it, the management key
 * (9B); the files that make it up say what is done within. */
#ifndef LATCHKEY_DEVICES_PIV_ADMIN_H
#define LATCHKEY_DEVICES_PIV_ADMIN_H

#include "devices/piv.h"

struct piv_admin {
    struct piv *p;
    struct driver_op *op;
    bool manages; /* takes the management key */
    /* The work itself, in the transaction. */
    gpg_error_t (*run)(struct piv_admin *a);
    void *arg;
    /* RUN sets it before the first command that changes the card: from there on nothing is repeated. */
    bool changed;
    struct buf key; /* the management key as typed, secure; empty: the default one */
};

/* Transactions until RUN had one to the end; the management key is asked for outside of them, where it is not the default one. The
 * card is left neither verified nor managed. */
gpg_error_t piv_admin_run(struct piv_admin *a);

/* Within RUN: one command that changes the card; GPG_ERR_* for any status word but 9000. SECRET: its data is. */
gpg_error_t piv_admin_command(struct piv_admin *a, struct apdu *c, struct buf *answer);
/* PUT DATA: the object's content; empty: it goes. */
gpg_error_t piv_admin_put_object(struct piv_admin *a, unsigned id, struct rd value);

/* --- piv_selfsign.c: a certificate (RFC 5280) for K with the subject "CN=NAME", which K is to sign --- */
struct piv_tbs;
/* DAYS: valid that long from now on. GPG_ERR_WRONG_KEY_USAGE: K signs nothing. */
gpg_error_t piv_tbs_new(const struct key *k, const char *name, unsigned days, struct piv_tbs **out);
void piv_tbs_free(struct piv_tbs *t);
/* What K has to sign. T's data points into the struct piv_tbs. */
void piv_tbs_input(const struct piv_tbs *t, struct tosign *input);
/* The whole certificate, appended to DER. */
gpg_error_t piv_tbs_finish(const struct piv_tbs *t, const struct key *k, gcry_sexp_t sig,
                           struct buf *der);

/* --- piv_keyfile.c: a private key from the PEM file FILE (PKCS#8, or OpenSSL's older forms), as IMPORT wants it --- */
struct piv_keyfile {
    uint8_t alg;
    struct buf fields; /* secure: the tags of the command */
};
/* A protected file's passphrase is asked for with IO. GPG_ERR_BAD_SECKEY, GPG_ERR_PUBKEY_ALGO. */
gpg_error_t piv_keyfile_read(const struct driver_io *io, struct rd file, struct piv_keyfile *out);
void piv_keyfile_clear(struct piv_keyfile *k);

/* --- the verbs (proto/token_protocol.h) --- */
extern const struct driver_verb piv_verbs[];
gpg_error_t piv_admin_status(void *state, struct driver_op *op, struct buf *result);
gpg_error_t piv_admin_change_pin(void *state, struct driver_op *op, struct buf *result);
gpg_error_t piv_admin_unblock(void *state, struct driver_op *op, struct buf *result);
gpg_error_t piv_admin_reset(void *state, struct driver_op *op, struct buf *result);
gpg_error_t piv_admin_generate(void *state, struct driver_op *op, struct buf *result);
gpg_error_t piv_admin_certificate(void *state, struct driver_op *op, struct buf *result);
gpg_error_t piv_admin_import(void *state, struct driver_op *op, struct buf *result);
gpg_error_t piv_admin_delete(void *state, struct driver_op *op, struct buf *result);

#endif
