/* The policy as the files have it, without an agent. */
#ifndef LATCHKEY_AGENT_CLI_POLICY_FILES_H
#define LATCHKEY_AGENT_CLI_POLICY_FILES_H

#include "policy/policy.h"

/* Loads FILE as the person's policy, or (NULL) all the files that an agent would load. On failure
 * the messages are out. */
gpg_error_t policy_files_load(const char *file, struct policy_set **out);

#endif
