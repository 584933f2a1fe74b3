#include "agent/ctl_token_verbs.h"

#include "proto/token_protocol.h"

#include <stddef.h>

const struct token_command token_commands[] = {
    {.verb = TOKEN_VERB_GETATTR},
    {.verb = TOKEN_VERB_PIV_STATUS},
    {.verb = TOKEN_VERB_PIV_CHANGE_PIN, .use = "card-admin", .text = "change the PIV PIN or PUK"},
    {.verb = TOKEN_VERB_PIV_UNBLOCK, .use = "card-admin", .text = "set a new PIV PIN by the PUK"},
    {.verb = TOKEN_VERB_PIV_GENERATE,
     .use = "generate",
     .text = "make a new key",
     .loses_key = true,
     .of_slot = true,
     .patient = true,
     .relearn = true},
    {.verb = TOKEN_VERB_PIV_CERTIFICATE,
     .use = "card-admin",
     .text = "store a self-signed certificate",
     .of_slot = true,
     .relearn = true},
    {.verb = TOKEN_VERB_PIV_IMPORT,
     .use = "import",
     .text = "store a private key",
     .loses_key = true,
     .of_slot = true,
     .relearn = true},
    {.verb = TOKEN_VERB_PIV_DELETE,
     .use = "delete",
     .text = "delete key and certificate",
     .loses_key = true,
     .of_slot = true,
     .relearn = true},
    {.verb = TOKEN_VERB_PIV_RESET,
     .use = "card-admin",
     .text = "reset the PIV application",
     .loses_keys = "piv-",
     .loses = "all PIV certificates and data; PIN, PUK and management key become the default ones",
     .relearn = true},
    {.verb = NULL},
};
