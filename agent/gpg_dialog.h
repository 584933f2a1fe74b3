/* Dialogs of a gpg conversation: as gpg-agent shows them, with its configuration's pinentry. */
#ifndef LATCHKEY_AGENT_GPG_DIALOG_H
#define LATCHKEY_AGENT_GPG_DIALOG_H

#include "agent/gpg_session.h"

/* S without its %XX (and with PLUS its '+'); NULs are left out. New string. */
char *gpg_unescape(const char *s, bool plus);

struct gpg_question {
    const char *desc;    /* UTF-8, LF for lines */
    const char *error;   /* or NULL */
    const char *label;   /* "Passphrase" */
    const char *keyinfo; /* struct prompt_style; NULL: nothing may keep it */
    bool repeat, quality;
    bool *from_cache; /* out, or NULL */
};
/* SECRET: secure, replaced. Errors as ask.h has them. */
gpg_error_t gpg_ask_secret(struct gpg_session *s, struct wait *w, const struct gpg_question *q,
                           struct buf *secret);
/* The same for a new one, typed twice; with CHECK until it is good, or its weakness is accepted. */
gpg_error_t gpg_ask_new(struct gpg_session *s, struct wait *w, const struct gpg_question *q,
                        bool check, struct buf *secret);
/* Is WORD good enough for something new, or does the person say that it is? If not, *ERROR (new, may stay NULL) tells what to show with
 * the next try. */
gpg_error_t gpg_new_is_good(struct gpg_session *s, struct wait *w, const char *word, bool *good,
                            char **error);
/* Yes or no; GPG_ERR_NO_PIN_ENTRY where the client would answer itself. OK, CANCEL: button texts, or NULL. */
gpg_error_t gpg_confirm(struct gpg_session *s, struct wait *w, const char *desc, const char *ok,
                        const char *cancel);
/* How S's dialogs are to be shown; borrows from S and KEYINFO. */
void gpg_style(const struct gpg_session *s, const char *keyinfo, struct prompt_style *out);

#endif
