/* A token proves that it holds a key that it lists. Names, serial numbers and public keys can be
 * copied to any card; a private key cannot. */
#ifndef LATCHKEY_AGENT_BROKER_PROVE_H
#define LATCHKEY_AGENT_BROKER_PROVE_H

#include "agent/token_client.h"

/* Has T answer a fresh challenge with a key of LINES, KEY lines of its listing INFO that the caller
 * trusts (NULL-ended): a signature over data that is good for nothing else, or, where it only decrypts, a decryption. Keys
 * that ask for no touch are preferred. The PIN is asked for anew (JOB's pin, touch and arg are the
 * caller's, the rest is filled in here) and the card is not left verified.
 *
 * GPG_ERR_BAD_SIGNATURE: the answer is wrong. GPG_ERR_NO_SECKEY: no key of it can prove anything.
 * GPG_ERR_LOCKED: it answered without fresh PIN or touch. Else the errors of token_run. */
gpg_error_t broker_prove(struct token *t, const struct token_info *info, char *const *lines,
                         struct wait *w, struct token_job *job);

#endif
