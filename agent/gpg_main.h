/* Started as gpg-agent: the command lines that only tell something, and what the others mean to latchkey-agent. */
#ifndef LATCHKEY_AGENT_GPG_MAIN_H
#define LATCHKEY_AGENT_GPG_MAIN_H

#include "agent/gpg_options.h"
#include "agent/options.h"

#include <sys/types.h>

/* G was parsed. True: all is done, *STATUS is the exit status; false: O tells how to go on. */
bool gpg_main_tells(struct gpg_options *g, const char *shell, struct options *o, int *status);
/* "A gpg-agent is already running": as gpg-agent says it; gives the exit status. */
int gpg_main_running_already(const struct gpg_options *g);
/* What --daemon prints for the shell, for an agent with process number PID. */
void gpg_main_print_variables(const struct options *o);
/* .. and sets for its COMMAND. */
gpg_error_t gpg_main_set_variables(const struct options *o, pid_t agent);

#endif
