/* What hardware wallets are asked for: the person's identities, and the public keys that are known of them, so that keys are listed
 * whether the device is there or not. ref: trezor-ledger 7 */
#ifndef LATCHKEY_AGENT_WALLETS_H
#define LATCHKEY_AGENT_WALLETS_H

#include "agent/agent.h"
#include "agent/token_client.h"

#include <jansson.h>

struct wallets;
/* Reads the identities of the settings, of files that they name, and of ~/.config/latchkey/identities; and the keys in
 * ~/.local/state/latchkey/wallet-keys. What is wrong with any of them is logged, and kept for `status`. The keyring gets what is
 * known. */
gpg_error_t wallets_new(struct agent *a, struct wallets **out);
void wallets_free(struct wallets *w);
/* Reads identities anew and tells the wallets that are there (wallets_introduce, hotplug_relearn). */
gpg_error_t wallets_reload(struct wallets *w);

/* Is KIND of latchkey-token a wallet's? */
bool wallets_are_of(const char *kind);
/* A token's inquiry for the wallet's passphrase (proto/token_protocol.h). */
#define WALLETS_PASSPHRASE "PASSPHRASE why=wallet"
/* How a PIN is typed by the grid that the device LABEL shows; what its passphrase is. New strings (gpgrt_free), or NULL. */
char *wallets_grid_text(const char *label);
char *wallets_passphrase_text(const char *label);
/* Tells the wallet T, which was asked once who it is, which identities there are, and what is known of them: of another device
 * if not of itself. Waits for it; any thread. */
gpg_error_t wallets_introduce(struct wallets *w, struct token *t);
/* T has told its keys: those that it holds for certain are remembered as its own. */
void wallets_learnt(struct wallets *w, struct token *t);

/* [{"identity","uri","curve","from","keys":[{"token","label","ssh"|null,"keygrip","decrypts"}]}] and problems. */
json_t *wallets_json(struct wallets *w);

#endif
