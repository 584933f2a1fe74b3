/* What keys there are: HAVEKEY, KEYINFO, READKEY, KEYATTR. */
#include "agent/gpg_session.h"

const struct gpg_command gpg_key_commands[] = {{0}};
