/* Waiting for a token that somebody needs, with a dialog that says which. */
#ifndef LATCHKEY_AGENT_MISSING_TOKEN_H
#define LATCHKEY_AGENT_MISSING_TOKEN_H

#include "agent/ask.h"

/* Shows TEXT until COME(ARG), which is asked now and at every change of the tokens, gives something else than
 * GPG_ERR_NO_SECKEY: that is the answer. Or W's errors, or the dialog's: GPG_ERR_CANCELED, GPG_ERR_NO_PIN_ENTRY, GPG_ERR_TIMEOUT
 * after SECONDS. A lock does not end the wait: a token may be what opens it. */
gpg_error_t missing_token_wait(struct agent *a, const struct origin *from,
                               const struct prompt_text *text, unsigned seconds,
                               gpg_error_t (*come)(void *arg), void *arg);

#endif
