/* Signatures and decryption: SIGKEY, SETKEY, SETKEYDESC, SETHASH, PKSIGN, PKDECRYPT. */
#include "agent/gpg_session.h"

const struct gpg_command gpg_sign_commands[] = {{0}};
