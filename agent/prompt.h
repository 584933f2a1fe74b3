/* Dialogs by pinentry (libassuan client): one at a time, on the requester's terminal or display,
 * withdrawn when the asker goes away. A new pinentry process for each dialog, without secure memory
 * of ours. */
#ifndef LATCHKEY_AGENT_PROMPT_H
#define LATCHKEY_AGENT_PROMPT_H

#include "agent/requester.h"
#include "agent/wait.h"
#include "proto/buf.h"

/* What a new secret has to be like, for pinentries that tell the person while it is typed. The callbacks run in the thread that
 * shows the dialog; NULL: not told. WORD is a C string. */
struct prompt_rules {
    int (*quality)(void *arg, const char *word); /* from -100 (not good enough) to 100 */
    char *(*complaint)(void *arg,
                       const char *word); /* what is wrong with it, new string; NULL: nothing */
    gpg_error_t (*suggest)(void *arg, struct buf *word); /* a good one */
    void *arg;
    bool enforced; /* what is not good enough is not taken at all: */
    const char *hint_short, *hint_long, *error_title;
    const char *format_hint; /* it is shown in groups, with this hint; NULL: as it is */
};

/* How gpg has its dialogs shown: everything is as gpg-agent tells its pinentry, labels are sent as they are, and what a pinentry
 * answers keeps its code, with source Pinentry. */
struct prompt_style {
    const char *program, *touch_file, *invisible_char; /* NULL: not told */
    unsigned timeout_s;                                /* of its own; 0: none */
    bool grab, external_cache, emacs;
    char *const *env; /* more of pinentry's environment, NULL-ended; or NULL */
    /* A secret may come from a cache outside: under which name ("n/GRIP"); NULL: --clear. */
    const char *keyinfo;
    const struct prompt_rules *rules; /* of a new secret; NULL: of none */
    bool *from_cache;                 /* out: it came from there; NULL: nobody wants to know */
    bool
        *repeated; /* out: the pinentry had it typed twice itself; NULL: prompt_secret sees to it */
};

struct prompt;
/* PROGRAM: pinentry's path or name on PATH (NULL: "pinentry"). TOUCH_FILE may be NULL. */
gpg_error_t prompt_new(const char *program, const char *touch_file, struct prompt **out);
void prompt_free(struct prompt *p);

struct prompt_text {
    const char *title; /* "latchkey" */
    const char
        *desc; /* the whole text, UTF-8, LF for lines: program, use, key, destination, tries */
    const char *error;       /* shown in red above: "Wrong PIN, 2 tries left"; NULL none */
    const char *label;       /* "PIN", "Passphrase" */
    const char *ok, *cancel; /* button texts, NULL: pinentry's own */
    const char *notok;       /* a third button: No, where CANCEL gives up; or NULL */
    /* Told once the pinentry runs, before the dialog shows: "PID FLAVOR VERSION TTYNAME TTYTYPE DISPLAY .." as gpg's
     * PINENTRY_LAUNCHED has it. An error calls the dialog off. NULL: nobody wants to know. */
    gpg_error_t (*launched)(void *arg, const char *info);
    void *launched_arg;
    const struct prompt_style *style; /* NULL: latchkey's own */
};

/* All: 0 when agreed; GPG_ERR_CANCELED or GPG_ERR_NOT_CONFIRMED when the person said no (also
 * FULLY_CANCELED); GPG_ERR_NO_PIN_ENTRY when no dialog can be shown (none found, no terminal and no
 * display): a clear failure, never a hang; W's errors (client hung up: the dialog is withdrawn;
 * time-out; lock). W's client hang-up gives GPG_ERR_FULLY_CANCELED so that it differs from the
 * person's No. */
gpg_error_t prompt_confirm(struct prompt *p, struct wait *w, const struct requester *r,
                           const struct prompt_text *t);
/* PIN gets the typed secret (secure buffer; NUL-ended via buf_cstr). REPEAT asks twice. */
gpg_error_t prompt_secret(struct prompt *p, struct wait *w, const struct requester *r,
                          const struct prompt_text *t, bool repeat, struct buf *pin);

/* Has the pinentry of STYLE forget what it keeps outside under style->keyinfo. Best effort. */
void prompt_forget(struct prompt *p, struct wait *w, const struct requester *r,
                   const struct prompt_style *style);

/* A notice ("touch your key") that stays until taken down; does not block and is best effort. NULL
 * when it cannot be shown. It does not take the turn of real dialogs. */
struct prompt_notice;
struct prompt_notice *prompt_notice_show(struct prompt *p, const struct requester *r,
                                         const struct prompt_text *t);
void prompt_notice_hide(struct prompt_notice *n);

/* A dialog that waits for something else to happen ("please insert the card that holds ..."): shown
 * until FD gets readable (returns 0), or the person cancels. */
gpg_error_t prompt_until(struct prompt *p, struct wait *w, const struct requester *r,
                         const struct prompt_text *t, int fd);

#endif
