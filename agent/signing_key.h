/* Which key an OpenPGP signature is made with: a name as gpg's callers give it -> an identity, if need be after asking for
 * the token that holds it. Only broker_openpgp.c includes this. */
#ifndef LATCHKEY_AGENT_SIGNING_KEY_H
#define LATCHKEY_AGENT_SIGNING_KEY_H

#include "agent/agent.h"
#include "agent/keyring.h"
#include "agent/origin.h"

/* NAME: OpenPGP fingerprint or long or short key id in hex (0x, blanks and a trailing '!' allowed), keygrip, SHA256:..
 * fingerprint, or TOKEN/SLOT; NULL, "" or anything with an '@' (git's default, a mail address, cannot be looked up without a
 * keyring): the only signature key there is.
 * When no token that is plugged in holds it, a dialog asks for the token and the call goes on when it comes.
 * *ID lives as long as the snapshot *SNAP, which is the caller's (keyring_put) after failures, too. *ERROR_TEXT
 * (gpgrt_free): for people. GPG_ERR_NO_SECKEY: nobody has it, or NAME names no key; GPG_ERR_WRONG_KEY_USAGE: it is there, but
 * for something else; GPG_ERR_AMBIGUOUS; GPG_ERR_LOCKED; GPG_ERR_CANCELED, GPG_ERR_FULLY_CANCELED as prompt.h has them. */
gpg_error_t signing_key_get(struct agent *a, const struct origin *from, const char *name,
                            const struct keyring_snapshot **snap, const struct identity **id,
                            char **error_text);

#endif
