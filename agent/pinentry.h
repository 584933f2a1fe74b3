/* One pinentry process and the Assuan conversation with it (any flavour). */
#ifndef LATCHKEY_AGENT_PINENTRY_H
#define LATCHKEY_AGENT_PINENTRY_H

#include "agent/assuan_client.h"
#include "agent/prompt.h"

struct pinentry {
    struct child *child;
    struct terminal *terminal; /* whose settings are put back if the dialog has to be killed */
    struct conversation conv;
};

struct pinentry_spec {
    const char *program; /* absolute */
    const char *touch_file;
    const struct requester *r;
    bool use_tty;                     /* tell it the requester's terminal */
    unsigned timeout_s;               /* 0: none */
    const struct prompt_style *style; /* NULL: none */
};

/* Is there anything to show a dialog on: a terminal that can be opened, or a display? */
bool pinentry_has_terminal(const struct requester *r);
bool pinentry_has_display(const struct requester *r);

/* Starts the program and goes through the opening. GPG_ERR_NO_PIN_ENTRY when there is no usable
 * program behind it; WAIT's errors. */
gpg_error_t pinentry_open(struct pinentry *p, const struct pinentry_spec *spec,
                          assuan_wait_fn *wait, void *arg);
/* Ends it, whatever it is doing; safe on one that is not open. Does not wait for the process. */
void pinentry_close(struct pinentry *p);

/* Sends the texts of T. */
gpg_error_t pinentry_set_texts(struct pinentry *p, const struct prompt_text *t, bool repeat);
/* CONFIRM and GETPIN. *ANSWER: pinentry's verdict; see pinentry_verdict. RULES may be NULL. */
gpg_error_t pinentry_confirm(struct pinentry *p, bool one_button, gpg_error_t *answer);
struct pinentry_typed {
    struct buf *pin;
    bool repeated;   /* it asked twice */
    bool from_cache; /* nobody typed it */
    bool closed;     /* the window was closed */
};
gpg_error_t pinentry_getpin(struct pinentry *p, const struct prompt_rules *rules,
                            struct pinentry_typed *typed, gpg_error_t *answer);
/* "PID FLAVOR VERSION TTYINFO.." as gpg's PINENTRY_LAUNCHED has it; "-" for what it does not tell. New string. */
gpg_error_t pinentry_describe(struct pinentry *p, char **out);
gpg_error_t pinentry_forget(struct pinentry *p, const char *keyinfo);
/* The same for gpg, which is told what pinentry said. */
gpg_error_t pinentry_verdict_as_it_is(gpg_error_t answer);
/* What pinentry's verdict means to us: 0, GPG_ERR_CANCELED, GPG_ERR_NOT_CONFIRMED, GPG_ERR_TIMEOUT,
 * or GPG_ERR_NO_PIN_ENTRY for everything that is not the person's answer (it is logged). */
gpg_error_t pinentry_verdict(gpg_error_t answer);

#endif
