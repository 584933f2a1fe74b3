/* The inside of the SCD commands of gpg-agent's protocol: what scdaemon would answer (ref: GnuPG's scdaemon), shared by the files
 * that answer them: scd_session.c (dispatch, selection, lock), scd_info.c, scd_learn.c and scd_attr.c (what is on the card), scd_key.c (what its keys
 * do), scd_admin.c (PINs, new keys), scd_apdu.c and scd_factory.c (raw commands). What a connection selects is its own: the cards and
 * other connections know nothing of it. */
#ifndef LATCHKEY_AGENT_SCD_H
#define LATCHKEY_AGENT_SCD_H

#include "agent/gpg_session.h"
#include "agent/scd_factory.h"
#include "agent/scd_lock.h"

/* A connection's own state. */
struct scd {
    char *serial;    /* of the card that was selected; NULL: whichever comes first */
    bool selected;   /* SERIALNO was answered since the last RESTART or RESET */
    bool undefined;  /* .. with no application selected */
    char *aid;       /* APDU: the application that the client selected, hex; NULL: OpenPGP */
    struct buf data; /* SETDATA */
    struct scd_factory factory;
};
/* S->scd, made when it is first needed. */
gpg_error_t scd_state(struct gpg_session *s, struct scd **out);

struct scd_command {
    const char *name;
    gpg_error_t (*run)(struct gpg_session *s,
                       char *line); /* LINE: its own copy, without leading blanks */
};
/* Ended by one without a name. */
extern const struct scd_command scd_session_commands[], scd_info_commands[], scd_learn_commands[],
    scd_attr_commands[], scd_key_commands[], scd_admin_commands[], scd_apdu_commands[];

/* The error with TEXT (may be NULL) for the client, source SCD. */
gpg_error_t scd_fail(struct gpg_session *s, gpg_err_code_t code, const char *text);
/* The first word of LINE ends in a NUL from now on; what follows it, without blanks before it. */
char *scd_next_word(char *line);

/* --- scd_card.c: cards */
struct scd_card {
    struct token *token;           /* reference */
    const struct token_info *info; /* reference; aid is set */
};
/* The card that S talks to. GPG_ERR_ENODEV: there is none. GPG_ERR_CARD_REMOVED: the one that was selected is gone.
 * GPG_ERR_LOCKED: another connection has locked the cards. Told the client. */
gpg_error_t scd_card_open(struct gpg_session *s, struct scd_card *c);
/* The same, by its serial number (hex, any case; NULL: the selected one if it is there, else the first); no lock is heeded. */
gpg_error_t scd_card_find(struct gpg_session *s, const char *serial, struct scd_card *c);
void scd_card_close(struct scd_card *c);
/* All cards that are there: N in a new array. */
gpg_error_t scd_cards(struct gpg_session *s, struct scd_card **out, size_t *n);
void scd_cards_free(struct scd_card *cards, size_t n);
/* GPG_ERR_NOT_SUPPORTED where gpg-agent.conf says disable-scdaemon; told the client. */
gpg_error_t scd_allowed(struct gpg_session *s);
/* "AFAF 1AB00000": an OpenPGP card's serial number as gpg shows it; others as they are. New string. */
char *scd_shown_serial(const char *serial);
/* The name for people. */
const char *scd_label(const struct scd_card *c);

/* A verb that takes no PIN and changes nothing: nobody is asked, nothing is recorded. ARGS, RESULT, LINES: NULL, not wanted. Told the
 * client. */
gpg_error_t scd_ask(struct gpg_session *s, const struct scd_card *c, const char *word,
                    const char *args, struct buf *result, struct buf *lines);
/* A verb that does, by way of the broker. */
struct scd_change {
    const char *use; /* the policy's */
    char *use_text;  /* for people, new string or NULL (out of memory); freed by scd_change_clear */
    char *what;      /* further lines for dialogs, likewise; or NULL */
    enum token_verb verb;        /* TOKEN_OTHER unless set */
    const char *word;            /* TOKEN_VERB_* */
    const char *slot;            /* key id, or NULL */
    struct buf args;             /* fields of the verb's */
    struct buf value;            /* answers INQUIRE VALUE */
    struct buf wrapkey, wrapped; /* answer INQUIRE WRAPKEY and WRAPPED */
    bool confirm;                /* a dialog whatever the policy says */
    bool patient;                /* takes as long as it takes; its progress is told */
    bool relearn;                /* keys or their traits may have changed */
    struct buf result, lines;    /* out */
};
#define SCD_CHANGE_INIT(use_, word_)                                                     \
    (struct scd_change)                                                                  \
    {                                                                                    \
        .use = (use_), .verb = TOKEN_OTHER, .word = (word_), .wrapkey = BUF_INIT_SECURE, \
        .wrapped = BUF_INIT_SECURE, .value = BUF_INIT_SECURE, .result = BUF_INIT_SECURE  \
    }
/* The error is fit for the client. */
gpg_error_t scd_change_run(struct gpg_session *s, const struct scd_card *c, struct scd_change *g);
void scd_change_clear(struct scd_change *g);
/* Wraps the private key SEXP (canonical; secure) under a fresh key: G's wrapkey and wrapped. */
gpg_error_t scd_change_wrap(struct scd_change *g, struct rd sexp);

/* --- scd_slot.c */
struct scd_key {
    struct scd_card card;
    const char *slot, *ref; /* "sig", "OPENPGP.1" */
    const struct keyring_snapshot *snap;
    const struct identity *id; /* NULL: the slot is empty, as far as anybody knows */
};
/* WORD: OPENPGP.N, N, $SIGNKEYID, PIV.9A and the like: of S's card; a keygrip: of any card; a serial number: SLOT of that card.
 * GPG_ERR_INV_ID, GPG_ERR_NO_SECKEY for grips. Told the client; scd_key_clear also after failure. */
gpg_error_t scd_key_find(struct gpg_session *s, const char *word, const char *slot,
                         struct scd_key *out);
/* The key in SLOT of C, as the keyring knows it. */
gpg_error_t scd_key_in(struct gpg_session *s, const struct scd_card *c, const char *slot,
                       struct scd_key *out);
void scd_key_clear(struct scd_key *k);
/* "sig" for "OPENPGP.1" or "1", and so on; NULL for what names none of the OpenPGP application's. */
const char *scd_slot_of(const char *ref);
/* "OPENPGP.1" for "sig", "PIV.9A" for "piv-9a"; "" for none. */
const char *scd_ref_of(const char *slot);
/* Is it a PIV slot's? */
bool scd_is_piv(const struct scd_key *k);
/* What it is for, as scdaemon writes it: "sc", "e", "sa". */
const char *scd_usage(const struct scd_key *k);
/* All keys of C, slot by slot: calls TELL until it fails. */
gpg_error_t scd_each_key(struct gpg_session *s, const struct scd_card *c,
                         gpg_error_t (*tell)(struct gpg_session *s, const struct scd_key *k,
                                             void *arg),
                         void *arg);
/* A keygrip in hex. */
void scd_grip(const struct identity *id, char out[GPG_GRIP_CHARS + 1]);

/* --- scd_admin.c */
/* Stores the key that G has wrapped (scd_change_wrap) in K's place. ECDH: its KDF parameters in hex, or NULL. GPG_ERR_EEXIST without FORCE
 * where there is one. */
gpg_error_t scd_write_key(struct gpg_session *s, const struct scd_key *k, struct scd_change *g,
                          uint32_t created, bool force, const char *ecdh);
/* "signature" for "sig". */
const char *scd_slot_text(const char *slot);
/* A line for dialogs: the key in K's place is lost. New string; NULL: there is none. */
char *scd_lost_key(const struct scd_key *k);

/* --- scd_learn.c */
/* NAME, and TEXT if there is one, are such as scdaemon prints. */
bool scd_is_attribute(const char *name, const char *text);
/* ATTR lines of a card process (LEARN, GETATTR) told the client as status lines: all but those for which SKIP (may be
 * NULL) says so. */
gpg_error_t scd_pass_attributes(struct gpg_session *s, struct rd lines,
                                bool (*skip)(const char *name));
/* Asks the card C for NAME and calls FOUND with the text of the first such line; GPG_ERR_NO_DATA. TEXT: new string. */
gpg_error_t scd_get_attribute(struct gpg_session *s, const struct scd_card *c, const char *name,
                              char **text);
/* LEARN of C: LINES gets the card's ATTR lines, after which the keyring knows the same keys as the card. */
gpg_error_t scd_learn(struct gpg_session *s, struct scd_card *c, struct buf *lines);

#endif
