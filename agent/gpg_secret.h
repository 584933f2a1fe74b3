/* Changes of gpg's key store on their way through the broker, shared by the files that carry out the commands: gpg_generate.c,
 * gpg_transfer.c, gpg_secret.c. */
#ifndef LATCHKEY_AGENT_GPG_SECRET_H
#define LATCHKEY_AGENT_GPG_SECRET_H

#include "agent/gpg_session.h"

struct gpg_change {
    struct gpg_session *s;
    const char *use, *use_text; /* the policy's, people's: struct token_request */
    enum token_verb verb;       /* TOKEN_OTHER unless told otherwise */
    const char *word;           /* TOKEN_VERB_* */
    const char *grip;           /* NULL: the key is not there yet */
    bool typed_confirms;        /* struct token_request */
    bool patient;               /* may take as long as it takes; its progress is told */
    struct buf args;            /* fields of the verb's */
    struct gpg_asking asking;
    /* results */
    struct buf result; /* secure */
    struct buf lines;
    char *desc, *what; /* its own */
};
/* USE, USE_TEXT, WORD, GRIP are borrowed. gpg_change_clear also after failure. */
void gpg_change_init(struct gpg_change *c, struct gpg_session *s, const char *use,
                     const char *use_text, const char *word, const char *grip);
/* What SETKEYDESC gave describes this change, and no other. */
void gpg_change_take_desc(struct gpg_change *c);
/* Policy, person, key store; the error is fit for the client. */
gpg_error_t gpg_change_run(struct gpg_change *c);
void gpg_change_clear(struct gpg_change *c);

/* The value of option NAME of LINE as a field of C's; nothing when it is not given. */
void gpg_change_put_option(struct gpg_change *c, const char *line, const char *name,
                           const char *field);
/* --preset, and for how long (cache-ttl-opt-preset). */
void gpg_change_put_preset(struct gpg_change *c, const char *line);
/* --timestamp=ISO as created=UNIX. GPG_ERR_INV_TIME, told the client. */
gpg_error_t gpg_change_put_time(struct gpg_change *c, const char *line);
/* The line's next word (a nonce) as FIELD. */
void gpg_change_put_word(struct gpg_change *c, const char *word, const char *field);
/* The key file of GRIP; GPG_ERR_NO_SECKEY; STUB, if it only tells of a card and STUB is not 0. Told the client. */
gpg_error_t gpg_find_on_disk(struct gpg_session *s, const char *grip, gpg_err_code_t stub,
                             struct gpg_stored *out);

#endif
