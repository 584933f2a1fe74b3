/* The broker's end of the token protocol: a process, its channels, and a queue in front of them.
 *
 * Each channel has a worker thread that carries out one job at a time; the thread that wants
 * something submits a job and waits (wait.h), so that it can leave at once when its client does. A
 * job left behind is cancelled on the device as far as that can be; its late result is thrown away,
 * and until it comes the token is "draining". */
#ifndef LATCHKEY_AGENT_TOKEN_CLIENT_H
#define LATCHKEY_AGENT_TOKEN_CLIENT_H

#include "agent/wait.h"
#include "proto/key.h"

struct token;

/* What LEARN said about the token; owned by it, replaced as a whole by token_learn. */
struct token_info {
    char *kind;   /* "yubikey", "software" */
    char *serial; /* "05417533"; may be NULL */
    char *name;   /* "yubikey-5417533": kind-serial; unique among the agent's tokens */
    char *label;  /* for people: "YubiKey 5417533" */
    char *version;
    char *aid;    /* of an OpenPGP card, 32 hex digits: what gpg calls its serial number; NULL */
    char *apps;   /* what the card holds: "openpgp", "piv", with commas; NULL: not told */
    char *reader; /* PC/SC reader name, NULL else */
    int bus, dev; /* USB bus and device, -1: not known */
    bool contactless;
    bool soft; /* keys in software that somebody else keeps (a PKCS#11 slot that is no hardware) */
    int tries[3];     /* PW1, RC, PW3; -1 unknown */
    long counter;     /* signature counter, -1 unknown */
    char *problem;    /* why it cannot be used as it is, for people; NULL: it can */
    char *hint;       /* what the person has to do before it can be, or NULL */
    long unread;      /* identities of a wallet whose keys are not known yet */
    bool more;        /* keys of other families than ssh were left out (LEARN_SSH) */
    char **key_lines; /* the KEY status lines, NULL-ended (parsed by keyring.c) */
};

struct token_spec {
    const char *program; /* path of latchkey-token */
    const char *kind;    /* "software", "pcsc", "pkcs11", "fido", "sk" */
    const char *arg;     /* reader name, module path .. or NULL */
    unsigned nchannels;
    unsigned learn_timeout_s; /* give up on a process that does not answer */
};
/* Starts the process and its workers; does not talk to it yet. ON_EOF (called once, from a worker
 * thread, no locks held) tells that the process ended by itself. */
gpg_error_t token_start(const struct token_spec *spec, void (*on_eof)(struct token *t, void *arg),
                        void *arg, struct token **out);
struct token *token_ref(struct token *t);
void token_unref(struct token *t);
/* Ends the process, after which ON_EOF is not called any more (so not to be used from within it);
 * every job on it fails with GPG_ERR_CARD_REMOVED (or GPG_ERR_ENODEV for a
 * non-card). Returns at once; the process is reaped in the background, by force if need be. */
void token_stop(struct token *t);
bool token_gone(struct token *t);
/* Runs LEARN: all keys, all read anew, or for now only what ssh needs. Until it succeeded once,
 * token_info gives NULL. */
enum token_learn { LEARN_ALL, LEARN_REFRESH, LEARN_SSH };
gpg_error_t token_learn(struct token *t, enum token_learn how);
/* T, which takes the place of FROM, is what FROM was until it is asked itself. */
void token_adopt_info(struct token *t, struct token *from);
/* A reference-counted copy of the last info; NULL before LEARN. */
const struct token_info *token_info_get(struct token *t);
void token_info_put(const struct token_info *i);

enum token_verb {
    TOKEN_SIGN,
    TOKEN_DECRYPT,
    TOKEN_VERIFY,
    TOKEN_FORGET,
    TOKEN_ADDKEY,
    TOKEN_DELKEY,
    TOKEN_DELALL,
    TOKEN_LOAD,
    TOKEN_OTHER /* a verb that only some kinds have */
};

/* What the token wants of the person in the middle of a job. */
struct token_pin_request {
    char ref[8];
    char label[64]; /* which token, where a process serves several; "" else */
    int tries;      /* left before this attempt; -1 unknown */
    bool low;       /* unknown, but a wrong one was given since the last right one */
    bool last;      /* the last one */
    bool wrong;     /* the previous one was wrong */
    int min, max;   /* lengths; 0 not told */
    bool fresh;     /* one that is to be set: typed twice */
};

struct token_job {
    /* in; views must stay valid until token_run returns (they are copied for the worker) */
    enum token_verb verb;
    const char *word;    /* TOKEN_OTHER: TOKEN_VERB_* */
    const char *args;    /* further fields of the command, "NAME=VALUE ..", or NULL */
    const char *key_id;  /* NULL for those without */
    const char *use;     /* for logs */
    int hash;            /* SIGN */
    struct rd data;      /* SIGN, DECRYPT, ADDKEY (secret), LOAD (the PIN, secret) */
    const char *comment; /* ADDKEY */
    long pin_age;        /* -1 any, 0 typed now, else seconds */
    bool drop, want_touch;
    /* Called in the caller's thread when the token asks for a PIN, waits for a touch, or the job
     * has to queue. pin: fills PIN (secure, NUL-ended string in a BUF_INIT_SECURE); an error
     * cancels the job. May wait with W. touch: ON or off. queued: AHEAD jobs before this one;
     * DRAINING: the token still works on an abandoned one. */
    gpg_error_t (*pin)(void *arg, const struct token_pin_request *r, struct buf *pin);
    void (*touch)(void *arg, bool on);
    /* Any other inquiry of the token, whole; ANSWER is secure. */
    gpg_error_t (*inquire)(void *arg, const char *line, struct buf *answer);
    void (*queued)(void *arg, unsigned ahead, bool draining);
    /* A PROGRESS line's fields, in the caller's thread. */
    void (*progress)(void *arg, const char *line);
    void *arg;
    /* out */
    struct buf
        result; /* SIGN: canonical sig-val; DECRYPT and TOKEN_OTHER: octets (secure); ADDKEY: the KEY line's text */
    struct buf lines; /* TOKEN_OTHER: its status lines, LF-ended; the caller's, like result */
    bool pin_typed, pin_cached, pin_device, touched; /* from SHOWN */
    bool asserted; /* SAYS is what a security key claims to have signed */
    struct sk_assertion says;
    char *words; /* why it failed, from the token, for people; NULL: it did not say. gpgrt_free */
    char device[64]; /* which of several it was, "": not told */
};

/* Runs J on T: queues it (what wipes goes first), waits with W (whose deadline and cancellation apply), gives results. The
 * caller owns J->result (buf_free) and initialises J with zeroes. After an error from W the job
 * goes on in the background only to be thrown away. Errors of the token come as they are
 * (GPG_ERR_BAD_PIN, GPG_ERR_PIN_BLOCKED, GPG_ERR_CARD_REMOVED, GPG_ERR_TIMEOUT for a touch not
 * given, ..). */
gpg_error_t token_run(struct token *t, struct wait *w, struct token_job *j);
/* Jobs queued or running now, and whether an abandoned one still keeps the token. For `status`. */
unsigned token_load(struct token *t, bool *draining, bool *touch_wait);
/* FORGET without waiting for it: queued before anything else; jobs that run are cancelled unless
 * they bring their own proof (pin_age 0). */
void token_forget(struct token *t);

#endif
