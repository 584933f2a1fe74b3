/* What is remembered of tokens from one time to the next: public data, a file a token in the state directory. */
#ifndef LATCHKEY_AGENT_TOKEN_MEMORY_H
#define LATCHKEY_AGENT_TOKEN_MEMORY_H

#include "agent/token_client.h"

/* Is it worth waiting for all keys of the token NAME? It had such as would come late, or has to prove what it is. */
bool token_memory_wants_all(const char *name);
/* GPG_ERR_WRONG_CARD: a token of that name once proved its card authentication key (PIV 9E), and this one does not, or proved
 * another one. INFO is complete (not more). */
gpg_error_t token_memory_check(const struct token_info *info);
/* Remembers INFO as it is now. Best effort. */
void token_memory_note(const struct token_info *info);
/* Its file: new string; NULL for what is no token's name. */
char *token_memory_path(const char *name);

#endif
