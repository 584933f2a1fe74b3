/* FIDO tokens managed by the person's command: making credentials, enrolling, resident keys, the PIN. */
#ifndef LATCHKEY_AGENT_BROKER_FIDO_H
#define LATCHKEY_AGENT_BROKER_FIDO_H

#include "agent/agent.h"
#include "agent/origin.h"
#include "proto/key.h"

/* What a CREDENTIAL status line tells (proto/token_protocol.h). */
struct fido_credential {
    struct key *key;
    struct buf handle;
    uint8_t flags;
    char *user; /* or NULL */
};
gpg_error_t fido_credential_parse(const char *fields, struct fido_credential *out);
void fido_credential_clear(struct fido_credential *c);

/* One thing to be done. */
struct fido_task {
    const char *verb;     /* TOKEN_VERB_* of a security key's */
    const char *args;     /* its fields, or NULL */
    const char *use;      /* the policy's; NULL: it only tells, and nobody is asked */
    const char *use_text; /* for people */
    const char *what;     /* further lines for dialogs, or NULL */
    bool makes;           /* the device itself asks for a touch */
    bool confirm;         /* a dialog whatever the policy says */
};
/* Has the process for FIDO tokens do T. LINES gets its status lines, LF-ended; *ERROR_TEXT (gpgrt_free) says why it failed, or
 * stays NULL. */
gpg_error_t broker_fido(struct agent *a, const struct origin *from, const struct fido_task *t,
                        struct buf *lines, char **error_text);
/* Calls EACH with the fields of each line of LINES that begins with KEYWORD. */
gpg_error_t fido_lines(struct buf *lines, const char *keyword,
                       gpg_error_t (*each)(void *arg, const char *fields), void *arg);

/* Enrolls a token for StandIn fido by the name NAME: it makes a credential, which takes a touch, and the person agrees in a
 * dialog. GPG_ERR_INV_NAME, GPG_ERR_EEXIST. */
gpg_error_t broker_fido_enroll(struct agent *a, const struct origin *from, const char *name,
                               char **error_text);

#endif
