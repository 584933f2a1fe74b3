/* What a driver fills in: one constant struct per kind of token. Drivers are straight-line, blocking code; what a token
 * must tell is data, what it needs of the person it asks through struct driver_io. */
#ifndef LATCHKEY_DEVICES_DRIVER_H
#define LATCHKEY_DEVICES_DRIVER_H

#include "proto/key.h"

/* A question or notice to the broker, in the middle of an operation. */
struct pin_request {
    const char *ref;   /* "81", "82", "83", "user" (PKCS#11): which PIN */
    const char *label; /* of the token, where one process serves several; NULL */
    int tries;         /* left before this attempt; -1 unknown */
    bool low;          /* unknown, but fewer than there might be */
    bool wrong;        /* the previous one was wrong */
    int min, max;      /* lengths in octets, 0 not known */
    bool fresh;        /* one that is to be set: typed twice */
};
struct driver_io {
    /* Asks for a PIN (PIN: BUF_INIT_SECURE). Never with a PC/SC transaction open. GPG_ERR_CANCELED: none will come. */
    gpg_error_t (*ask_pin)(void *arg, const struct pin_request *q, struct buf *pin);
    /* A touch is being waited for, or no longer. */
    void (*touch)(void *arg, bool waiting);
    /* An inquiry of the verb's own: KEYWORD and FIELDS ("NAME=VALUE ..", may be NULL); ANSWER at most MAX octets. SECRET: in
     * confidential mode. GPG_ERR_CANCELED: there is none. */
    gpg_error_t (*inquire)(void *arg, const char *keyword, const char *fields, size_t max,
                           bool secret, struct buf *answer);
    /* A status line of the verb's own. */
    gpg_error_t (*status)(void *arg, const char *keyword, const char *fields);
    /* The broker gave this operation up: end it where that can be. */
    bool (*canceled)(void *arg);
    void *arg;
};

struct driver_op {
    const char *key_id;
    const char *use;     /* for logs */
    const char *args;    /* the command's whole line, for fields that only some kinds know */
    struct tosign input; /* SIGN; DECRYPT has the (enc-val ..) in data */
    long pin_age;        /* seconds; -1 any, 0 typed for this */
    bool drop, want_touch;
    const struct driver_io *io;
    /* out: what was shown for it */
    bool pin_typed, pin_cached, pin_device, touched;
    bool asserted; /* SAYS is what a security key signed with it */
    struct sk_assertion says;
    char device[64]; /* which of several devices it was: its path; "" */
};

/* A verb that only some kinds have (proto/token_protocol.h). RESULT, secure, is the answer's data. */
struct driver_verb {
    const char *name;
    gpg_error_t (*run)(void *state, struct driver_op *op, struct buf *result);
};

struct driver {
    const char *kind; /* first argument of latchkey-token */
    const char *help; /* one line */
    bool wants_arg;
    bool many_channels; /* operations may run at once, a thread a channel */
    bool close_at_end;  /* close is called when the last channel ends, too */
    gpg_error_t (*open)(const char *arg, void **state);
    void (*close)(void *state);
    /* Appends "TOKEN ..\n" and a "KEY ..\n" per key (proto/token_protocol.h). SSH_ONLY: other keys may
     * be left for later where reading them takes time. */
    gpg_error_t (*learn)(void *state, bool refresh, bool ssh_only, struct buf *lines);
    gpg_error_t (*sign)(void *state, struct driver_op *op, gcry_sexp_t *sig);
    /* Optional from here on. RESULT is secure. */
    gpg_error_t (*decrypt)(void *state, struct driver_op *op, struct buf *result);
    gpg_error_t (*verify)(void *state, struct driver_op *op, const char *ref);
    void (*forget)(void *state);
    /* Appends the new key's "KEY .." fields (no line end) to LINE. */
    gpg_error_t (*add_key)(void *state, struct rd body, const char *comment, struct buf *line);
    gpg_error_t (*delete_key)(void *state, const char *key_id);
    void (*delete_all)(void *state);
    /* Loads what ARGUMENT names and logs in with PIN (may be empty), which came before anybody asked. */
    gpg_error_t (*load)(void *state, struct driver_op *op, struct rd pin);
    const struct driver_verb *verbs;      /* ended by one without name; NULL: none */
    const struct driver_verb *more_verbs; /* the same, of another part of the state */
    /* The state of the part that V is about, in *PART; NULL: it has no parts. GPG_ERR_NOT_SUPPORTED: this token has no such part. */
    gpg_error_t (*part)(void *state, const struct driver_verb *v, void **part);
};

/* NULL-ended table of all drivers: main.c. */
extern const struct driver *const drivers[];
extern const struct driver driver_software, driver_pcsc, driver_pkcs11, driver_fido, driver_sk,
    driver_gpg, driver_trezor, driver_ledger;

/* Appends the fields of a KEY line that follow from the key itself: id=, pub=, sk=, and what CAPS ("s", "e", "a") and
 * FAMILY say. */
gpg_error_t driver_put_key(struct buf *line, const char *id, const struct key *k, const char *caps,
                           const char *family);

#endif
