/* The inside of one gpg-agent conversation, shared by the files that answer its commands: gpg_session.c (opening, options,
 * GETINFO), gpg_key.c (what keys there are), gpg_sign.c (signatures, decryption), gpg_generate.c, gpg_transfer.c and gpg_secret.c
 * (keys made, moved, changed), gpg_passphrase.c (passphrases that are no key's, the cache), gpg_trust.c, gpg_card.c (LEARN, READKEY --card, KEYTOCARD) and
 * scd_session.c (SCD ..). */
#ifndef LATCHKEY_AGENT_GPG_SESSION_H
#define LATCHKEY_AGENT_GPG_SESSION_H

#include "agent/ask.h"
#include "agent/broker.h"
#include "agent/gpg_agent.h"
#include "agent/server.h"

#include <assuan.h>

enum gpg_level { GPG_FULL, GPG_EXTRA, GPG_BROWSER };

#define GPG_GRIP_CHARS 40
#define GPG_WRAPKEY    16 /* AES-128 */

/* What the key store calls itself (token_info.name). */
#define GPG_STORE_NAME "software-gpg"

struct scd; /* scd_session.c's own */

struct gpg_session {
    struct agent *a;
    struct origin origin;
    struct ask ask; /* origin.ask points here */
    struct activity *activity;
    assuan_context_t ctx;
    enum gpg_level level;
    bool ends;                     /* KILLAGENT was answered: the agent ends after it */
    const struct gpg_config *conf; /* in force while a command is carried out */
    struct prompt_style style;     /* .. and how dialogs look then; ask.style */
    /* OPTION: for the connection's life */
    bool
        knows_fully_canceled; /* agent-awareness >= 2.1.0: else GPG_ERR_FULLY_CANCELED is told as CANCELED */
    bool notify;              /* allow-pinentry-notify */
    bool cache_for_signing;  /* use-cache-for-signing */
    unsigned preset_ttl;     /* cache-ttl-opt-preset */
    unsigned long s2k_count; /* 0: the agent's */
    char **env;              /* putenv: "NAME=VALUE", NULL-ended */
    /* until RESET, or the command that uses them up */
    char grip[GPG_GRIP_CHARS + 1]; /* SIGKEY, SETKEY; "" none */
    char *desc; /* SETKEYDESC, percent-escaped; used up by the next command that wants it */
    int hash;   /* SETHASH: GCRY_MD_*, or one of: */
#define GPG_HASH_NONE_YET    0
#define GPG_HASH_TLS_MD5SHA1 (-1)
#define GPG_HASH_IS_DATA     (-2) /* the data to be signed itself (--inquire) */
    bool pss;
    struct buf tbs;                             /* the digest, or that data */
    char *last_cache_nonce, *last_passwd_nonce; /* of PASSWD and EXPORT_KEY */
    struct buf import_key, export_key;          /* KEYWRAP_KEY; secure; empty: none */
    struct scd *scd;
    char *error_text; /* of the last error: Assuan keeps no copy */
};

/* A command and where it may be given. */
struct gpg_command {
    const char *name;
    gpg_error_t (*run)(struct gpg_session *s, char *line);
    bool restricted_ok; /* on the extra and the browser socket, too */
    const char *help;   /* "HELP NAME" prints it */
};
/* Ended by one without a name. */
extern const struct gpg_command gpg_info_commands[], gpg_key_commands[], gpg_sign_commands[],
    gpg_secret_commands[], gpg_generate_commands[], gpg_transfer_commands[],
    gpg_passphrase_commands[], gpg_trust_commands[], gpg_card_commands[], gpg_keytocard_commands[],
    gpg_scd_commands[];

/* --- gpg_option.c: Assuan's option handler */
gpg_error_t gpg_on_option(assuan_context_t ctx, const char *name, const char *value);

/* --- what the files share: gpg_session.c */
/* Words of a command line. Options begin with "--" and end at "--" or the first word that is none. The value of NAME
 * ("--repeat") as a view into LINE up to the next blank: "" without a value, NULL when it is not there. */
bool gpg_has_option(const char *line, const char *name);
const char *gpg_option_value(const char *line, const char *name);
char *gpg_skip_options(char *line);
/* A keygrip in GRIP's form (upper case) at the start of LINE; GPG_ERR_ASS_PARAMETER. */
gpg_error_t gpg_parse_grip(struct gpg_session *s, const char *line, char grip[GPG_GRIP_CHARS + 1]);
/* "S KEYWORD TEXT", TEXT as it is. */
gpg_error_t gpg_status(struct gpg_session *s, const char *keyword, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Data lines; SECRET: not into the debug log. */
gpg_error_t gpg_send(struct gpg_session *s, struct rd data, bool secret);
/* INQUIRE LINE of the client, at most MAX octets appended to OUT; tells "S INQUIRE_MAXLEN" first where gpg-agent does.
 * GPG_ERR_CANCELED when the client gives CAN. */
gpg_error_t gpg_inquire(struct gpg_session *s, const char *line, size_t max, bool tell_max,
                        bool secret, struct buf *out);
/* The same for a passphrase: OUT (secure, replaced) without the NULs that C strings come with. */
gpg_error_t gpg_inquire_passphrase(struct gpg_session *s, const char *line, size_t max,
                                   bool tell_max, struct buf *out);
/* The error with TEXT, which is copied, for the client; NULL: without. */
gpg_error_t gpg_tell_error(struct gpg_session *s, gpg_error_t err, const char *text);
/* The same, source GPG Agent. */
gpg_error_t gpg_fail(struct gpg_session *s, gpg_err_code_t code, const char *text);
/* An ERR of the broker or a token as gpg should see it: source (Pinentry, SCD, GPG Agent) and code by ref/gpg-agent.md 9. FROM_CARD:
 * it came from a card. */
gpg_error_t gpg_map_error(struct gpg_session *s, gpg_error_t err, bool from_card);

/* --- gpg_store.c */
/* The key store's token, started if need be and read anew if the disk changed; a new reference. GPG_ERR_ENODEV.. */
gpg_error_t gpg_store(struct agent *a, struct token **out);
/* One key file as the store tells of it; grip in upper case. Views into the struct's own line. */
struct gpg_stored {
    enum stored_state { STORED_UNKNOWN, STORED_CLEAR, STORED_PROTECTED, STORED_SHADOWED } state;
    char *grip, *serial, *ref, *label, *comment;
    struct buf pub; /* canonical public-key */
    bool cached, prompt, ssh_disabled, remote_list;
    char *confirm;
    long ssh; /* place in ssh's list, 0 none */
    long ssh_ttl;
};
/* GPG_ERR_NOT_FOUND. */
gpg_error_t gpg_stored_get(struct gpg_session *s, const char *grip, struct gpg_stored *out);
/* All of them: N in a new array. */
gpg_error_t gpg_stored_list(struct gpg_session *s, struct gpg_stored **out, size_t *n);
void gpg_stored_clear(struct gpg_stored *k);
/* A verb of the store's that uses no private key (STORED, ATTR without set, CACHE do=clear): nobody is asked, nothing is
 * recorded. GRIP, ARGS may be NULL; RESULT, LINES (the caller's; NULL: not wanted) as token_job has them. */
gpg_error_t gpg_ask_store(struct gpg_session *s, const char *grip, const char *word,
                          const char *args, struct buf *result, struct buf *lines);
/* The same with an answer for what the store inquires. */
gpg_error_t gpg_call_store(struct gpg_session *s, const char *grip, const char *word,
                           const char *args,
                           gpg_error_t (*inquire)(void *arg, const char *line, struct buf *answer),
                           void *arg, struct buf *result, struct buf *lines);
/* The identity that serves GRIP now: a private key on disk first, else any token that holds it. NULL: none. Valid as long as
 * *SNAP (the caller's: keyring_put). */
const struct identity *gpg_find(struct gpg_session *s, const char *grip,
                                const struct keyring_snapshot **snap);
/* Is it a key of the key store (its passphrase and cache are then at stake), or a token's? */
bool gpg_is_stored(const struct identity *id);

/* --- gpg_key.c */
/* SEXP as data, canonical. */
gpg_error_t gpg_send_sexp(struct gpg_session *s, gcry_sexp_t sexp);
/* READKEY GRIP. */
gpg_error_t gpg_read_key(struct gpg_session *s, const char *grip, bool ssh_form, bool no_data);
/* "MD5:aa:bb.." or "SHA256:.." of a public key blob of ssh's; HASH: GCRY_MD_*. New string. */
char *gpg_ssh_fingerprint(struct rd blob, int hash);

/* --- gpg_dialog.c */
/* token_request.answer for all that the key store asks (PASSPHRASE): by dialog, with the description of SETKEYDESC, by
 * loopback, or GPG_ERR_NO_PIN_ENTRY. ARG: a struct gpg_asking. */
struct gpg_asking {
    struct gpg_session *s;
    const char *new_text; /* for a new passphrase; NULL: the agent's own words */
    const char *desc;     /* percent-escaped, as SETKEYDESC gave it; NULL: the agent's own words */
    bool ssh;             /* asked for by ssh */
    bool typed_only;      /* no cache outside may know it */
    bool from_cache;      /* the last answer was a pinentry's cache's */
    /* Answers what else the verb inquires (WRAPKEY, WRAPPED, PARAM, VALUE..): by keyword; NULL: nothing else. */
    gpg_error_t (*more)(struct gpg_asking *k, struct wait *w, const char *line, struct buf *answer);
    void *more_arg;
    struct buf
        *new_passphrase; /* GENKEY --inq-passwd: given by the client ahead; NULL: asked for */
};
gpg_error_t gpg_answer(void *arg, struct wait *w, const char *line, struct buf *answer);

/* --- gpg_fields.c */
/* The CACHE fields (token_protocol.h) of a command: ttl by configuration and mode. NORMAL_CACHE: may what is cached be used? */
void gpg_put_cache_fields(struct gpg_session *s, bool normal_cache, bool ssh, struct buf *fields);
/* Passes the token's NONCE status lines in LINES on as S CACHE_NONCE and S PASSWD_NONCE, and remembers those of PASSWD and EXPORT. */
gpg_error_t gpg_pass_nonces(struct gpg_session *s, struct rd lines, bool until_reset);

/* YYYYMMDDThhmmss (UTC) at the start of TEXT; GPG_ERR_INV_TIME. */
gpg_error_t gpg_read_time(const char *text, uint32_t *out);
/* --timestamp=.. of LINE; *OUT stays without one. GPG_ERR_INV_TIME, told the client. */
gpg_error_t gpg_read_timestamp(struct gpg_session *s, const char *line, uint32_t *out);
/* Passes the fields of a token's PROGRESS line on as S PROGRESS. */
void gpg_pass_progress(struct gpg_session *s, const char *line);

/* --- gpg_card.c, scd_session.c */
/* Asks for the card that the stub FILE names until COME(ARG) (missing_token.h) says that it is there; the error is fit for the client. */
gpg_error_t gpg_await_card(struct gpg_session *s, const struct gpg_stored *file,
                           gpg_error_t (*come)(void *arg), void *arg);
/* READKEY --card. */
gpg_error_t gpg_read_card_key(struct gpg_session *s, const char *ref, bool no_data);
/* The end of S: gives back its lock on the cards, too. */
void gpg_scd_free(struct gpg_session *s);

#endif
