/* What `latchkey token` can have a token do (proto/token_protocol.h), and what that is to the policy and to people. */
#ifndef LATCHKEY_AGENT_CTL_TOKEN_VERBS_H
#define LATCHKEY_AGENT_CTL_TOKEN_VERBS_H

#include <stdbool.h>

struct token_command {
    const char *verb;
    const char *use;        /* the policy's; NULL: it only tells, and nobody is asked */
    const char *text;       /* for people, followed by "of TOKEN": "change the PIV PIN" */
    const char *loses_keys; /* begin of the ids of keys that are lost by it, "": all; NULL: none */
    const char *loses;      /* what else is lost, in words; or NULL */
    bool loses_key;         /* the key in the slot that it is about is lost */
    bool of_slot;           /* TEXT goes on "in SLOT" */
    bool patient;           /* may take as long as it takes */
    bool relearn;           /* keys or their traits may have changed */
};
/* Ended by one without verb. What loses anything asks, whatever the policy says. */
extern const struct token_command token_commands[];

#endif
