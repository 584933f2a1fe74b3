/* Serving gpg: started as gpg-agent, or as latchkey's own service that takes gpg's sockets, too. */
#ifndef LATCHKEY_AGENT_GPG_MAIN_H
#define LATCHKEY_AGENT_GPG_MAIN_H

#include "agent/gpg_options.h"
#include "agent/instance.h"
#include "agent/options.h"

#include <sys/types.h>

/* G was parsed. True: it only wanted to be told something, *STATUS is the exit status; false: O tells how to go on. */
bool gpg_main_tells(struct gpg_options *g, const char *shell, struct options *o, int *status);
/* "A gpg-agent is already running": as gpg-agent says it; gives the exit status. */
int gpg_main_running_already(const struct gpg_options *g);
/* --display and the like: the environment that dialogs start in. Before there are threads. */
gpg_error_t gpg_main_set_places(const struct gpg_options *g);
/* What --daemon prints for the shell. */
void gpg_main_print_variables(const struct options *o);
/* .. and sets for its COMMAND, which PARENT, the agent's parent process, becomes. */
gpg_error_t gpg_main_set_variables(const struct options *o, pid_t parent);

/* Serves gpg by G, which has its paths already and must live as long as A: sets A->gpg, lets S end at KILLAGENT (NULL: the
 * connection's own end is enough). */
gpg_error_t gpg_main_start(struct agent *a, struct server *s, struct gpg_options *g);
/* For latchkey's own start: takes gpg's sockets, too, where they were handed over or the settings (GpgSocket) want it, which
 * for a SERVICE is the default; G is filled then. A gpg-agent that serves there is left alone, with a line in the log. */
gpg_error_t gpg_main_claim(struct agent *a, struct server *s, const struct instance *in,
                           bool service, struct gpg_options *g);

#endif
