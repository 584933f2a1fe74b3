#include "agent/ctl_token_verbs.h"

#include "proto/token_protocol.h"

#include <stddef.h>

const struct token_command token_commands[] = {
    {.verb = TOKEN_VERB_GETATTR},
    {.verb = NULL},
};
