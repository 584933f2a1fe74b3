/* A touch on an enrolled FIDO token in the place of one that the key's own token cannot ask for (StandIn fido). */
#ifndef LATCHKEY_AGENT_BROKER_STANDIN_H
#define LATCHKEY_AGENT_BROKER_STANDIN_H

#include "agent/agent.h"
#include "agent/sk_book.h"
#include "agent/token_client.h"

/* What the touched token says, and its label in the set. */
struct standin {
    const char *label;
    struct sk_assertion says;
};

/* Has one of SET's tokens, whichever is touched first, sign MESSAGE (good for one use: it must hold a fresh nonce), and checks
 * that it did: credential, application, user presence, signature. ASK's touch, pin and arg are called for it.
 *
 * GPG_ERR_CARD_NOT_PRESENT: none of them is plugged in. GPG_ERR_BAD_SIGNATURE: the answer shows no touch. GPG_ERR_ENODEV: no
 * process for FIDO tokens. Else the errors of token_run. */
gpg_error_t standin_ask(struct agent *a, const struct sk_list *set, struct rd message,
                        struct wait *w, const struct token_job *ask, struct standin *out);

/* Appends the beginning of a message for USE: that it is one, and the nonce. */
void standin_begin(struct buf *b, const char *use);

#endif
