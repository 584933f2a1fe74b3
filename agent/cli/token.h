/* What the parts of `latchkey token` share. */
#ifndef LATCHKEY_AGENT_CLI_TOKEN_H
#define LATCHKEY_AGENT_CLI_TOKEN_H

#include "agent/cli/cli.h"

extern const struct command cmd_token_identity;
extern const struct command cmd_token_piv;

/* The token named NAME, or, when that is NULL, the only one with APPLICATION ("piv", "fido"): its name, new string (gpgrt_free).
 * NULL with the message out and *STATUS set when there is none, or several. */
char *cli_token_name(const struct command *c, const char *name, const char *application,
                     int *status);
/* TOKEN token=NAME verb=VERB FIELDS (may be NULL). VALUE (NULL: none) answers what the token wants to be told, in REPLY (may be NULL) comes
 * what it answers, TELL (may be NULL) gets its status lines. On failure the message is out. */
gpg_error_t cli_token_call(const struct command *c, const char *name, const char *verb,
                           const struct buf *fields, const struct rd *value, struct buf *reply,
                           void (*tell)(void *arg, const char *line), void *arg);

/* FIDO do=WHAT FIELDS (may be NULL) with a JSON answer, as cli_json has it; without one: the exit code. */
json_t *cli_fido(const char *what, const struct buf *fields, int *status);
int cli_fido_do(const char *what, const struct buf *fields);

extern const struct command cmd_token_fido, cmd_token_enroll, cmd_token_presence;

#endif
