/* Signals, and the end of the COMMAND that the agent was started for: one thread that turns them into calls. */
#ifndef LATCHKEY_AGENT_SIGNALS_H
#define LATCHKEY_AGENT_SIGNALS_H

#include "agent/server.h"

#include <sys/types.h>

struct signals;
/* Blocks the signals in the calling thread, and so in all that it starts later: call it before the first one. */
void signals_block(void);
/* Starts the thread; what came since signals_block is acted on now. SIGTERM and SIGINT
 * stop S; SIGHUP reloads a SERVICE and stops an ssh-agent-like one; SIGUSR1 drops all added keys. PARENT not 0: its end
 * stops S. */
gpg_error_t signals_start(struct agent *a, struct server *s, bool service, pid_t parent,
                          struct signals **out);
/* From now on nothing but the end of the process is acted on: the parts are being taken down. */
void signals_quiet(struct signals *g);
void signals_stop(struct signals *g);

#endif
