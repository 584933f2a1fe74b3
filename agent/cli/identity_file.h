/* The person's own file of wallet identities, ~/.config/latchkey/identities: free text with "<URI|CURVE>" in it, as
 * trezor-agent has it. */
#ifndef LATCHKEY_AGENT_CLI_IDENTITY_FILE_H
#define LATCHKEY_AGENT_CLI_IDENTITY_FILE_H

#include "proto/wallet_identity.h"

/* Where it is, new string (gpgrt_free). */
char *identity_file_path(void);
/* A line for ID at its end; *ADDED false: it is there already. Makes folder and file. */
gpg_error_t identity_file_add(const char *path, const struct wallet_identity *id, bool *added);
/* Takes ID out, wherever it stands, and the line with it that held nothing else. GPG_ERR_NOT_FOUND. */
gpg_error_t identity_file_remove(const char *path, const struct wallet_identity *id);

#endif
