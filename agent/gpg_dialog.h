/* Dialogs of a gpg conversation: as gpg-agent shows them, with its configuration's pinentry. */
#ifndef LATCHKEY_AGENT_GPG_DIALOG_H
#define LATCHKEY_AGENT_GPG_DIALOG_H

#include "agent/gpg_session.h"

/* --- gpg_text.c */
/* S without its %XX (and with PLUS its '+'); NULs are left out. New string. */
char *gpg_unescape(const char *s, bool plus);
void gpg_put_unescaped(struct buf *b, const char *s, bool plus);
/* The user id in a description of SETKEYDESC's, for our own dialogs and records: what stands in quotes, cleaned. New string, or
 * NULL. */
char *gpg_quoted_name(const char *desc);
/* TEXT, percent-escaped, about the key GRIP (NULL: none yet), as it is to be shown: %c and %C are its comment or label (%C in
 * parentheses), %F its fingerprint for ssh, %% a percent sign. A label without a place of its own is added. New string. */
char *gpg_describe_key(struct gpg_session *s, const char *text, const char *grip);

/* --- gpg_dialog.c */

struct gpg_question {
    const char *desc;    /* UTF-8, LF for lines */
    const char *error;   /* or NULL */
    const char *label;   /* "Passphrase:" */
    const char *keyinfo; /* struct prompt_style; NULL: nothing may keep it */
    bool *from_cache;    /* out, or NULL */
};
/* SECRET: secure, replaced. Errors as ask.h has them. */
gpg_error_t gpg_ask_secret(struct gpg_session *s, struct wait *w, const struct gpg_question *q,
                           struct buf *secret);
/* What a new one is for. */
struct gpg_new {
    bool check;   /* it has to be good, or its weakness to be accepted */
    bool quality; /* tell how good it is while it is typed */
    bool symkey;  /* nothing but it encrypts something */
    enum gpg_empty { GPG_EMPTY_CONFIRMED, GPG_EMPTY_REFUSED } empty;
};
/* The same for a new one, typed twice. GPG_ERR_BAD_PASSPHRASE after too many that are not good. */
gpg_error_t gpg_ask_new(struct gpg_session *s, struct wait *w, const struct gpg_question *q,
                        const struct gpg_new *n, struct buf *secret);
/* Yes or no; GPG_ERR_NO_PIN_ENTRY where the client would answer itself. T: without style. */
gpg_error_t gpg_confirm(struct gpg_session *s, struct wait *w, const struct prompt_text *t);
/* How S's dialogs are to be shown; borrows from S and KEYINFO. */
void gpg_style(const struct gpg_session *s, const char *keyinfo, struct prompt_style *out);
/* Has a cache outside (a desktop's keyring, behind a pinentry of the desktop) forget KEYINFO. Best effort. */
void gpg_forget_outside(struct gpg_session *s, struct wait *w, const char *keyinfo);

#endif
