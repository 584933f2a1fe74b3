/* Signatures and decryption: SIGKEY, SETKEY, SETKEYDESC, SETHASH, PKSIGN, PKDECRYPT. */
#include "agent/gpg_session.h"

const struct gpg_command gpg_sign_commands[] = {{0}};
gpg_error_t gpg_read_card_key(struct gpg_session *s, const char *ref, bool no_data) { (void)ref; (void)no_data; return gpg_fail(s, GPG_ERR_NOT_SUPPORTED, NULL); }
