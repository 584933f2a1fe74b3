/* Starting an agent from a client that found none. */
#ifndef LATCHKEY_AGENT_AGENT_START_H
#define LATCHKEY_AGENT_AGENT_START_H

#include <gpg-error.h>

/* Runs latchkey-agent --daemon, which goes to the background by itself once it listens. 0 when it did;
 * GPG_ERR_NO_AGENT, with what it said in *WHY (new string, gpgrt_free; NULL: nothing), when it did not. */
gpg_error_t agent_start(char **why);

#endif
