/* How the person behind a connection is asked: by a dialog, or as the client wants it (gpg's --pinentry-mode). */
#ifndef LATCHKEY_AGENT_ASK_H
#define LATCHKEY_AGENT_ASK_H

#include "agent/agent.h"
#include "agent/origin.h"
#include "agent/prompt.h"

enum ask_mode {
    ASK_DIALOG,
    ASK_LOOPBACK, /* secrets come from the client */
    ASK_CANCEL,   /* every question is answered by Cancel */
    ASK_ERROR,    /* .. by GPG_ERR_NO_PIN_ENTRY */
};

/* Owned by the session; origin::ask. All callbacks run in the session's thread. */
struct ask {
    enum ask_mode mode;
    /* Gets a secret from the client, at most MAX octets. FRESH: one that is to be set. */
    gpg_error_t (*loopback)(void *arg, bool fresh, size_t max, struct buf *secret);
    /* A dialog has been started and the client wants to know; INFO as PINENTRY_LAUNCHED has it. An error calls it off. */
    gpg_error_t (*launched)(void *arg, const char *info);
    void *arg;
    const struct prompt_style *style; /* of all dialogs that bring none of their own; or NULL */
};

/* prompt_confirm and prompt_secret in that way. A client cannot confirm for the person: with ASK_LOOPBACK ask_confirm
 * shows its dialog all the same. LIMIT: the longest secret for a loopback (255 for passphrases, 88 for PINs). */
gpg_error_t ask_confirm(struct agent *a, struct wait *w, const struct origin *from,
                        const struct prompt_text *t);
gpg_error_t ask_secret(struct agent *a, struct wait *w, const struct origin *from,
                       const struct prompt_text *t, bool repeat, size_t limit, struct buf *secret);

#endif
