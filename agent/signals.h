/* Signals, and the end of what the agent was started for, its COMMAND or its gpg home directory: one thread that turns them into calls. */
#ifndef LATCHKEY_AGENT_SIGNALS_H
#define LATCHKEY_AGENT_SIGNALS_H

#include "agent/server.h"

#include <sys/types.h>

struct signals;
struct gpg_watch;
/* Blocks the signals in the calling thread, and so in all that it starts later: call it before the first one. What comes
 * meanwhile is acted on once signals_start runs. */
void signals_block(void);
/* For the process that becomes another program. */
void signals_unblock(void);
/* Starts the thread; what came since signals_block is acted on now. SIGTERM and SIGINT
 * stop S; SIGHUP reloads a SERVICE and stops an ssh-agent-like one; SIGUSR1 drops all added keys. PARENT not 0: its end
 * stops S, and so does WATCH (NULL: none; the caller's, until signals_stop). */
gpg_error_t signals_start(struct agent *a, struct server *s, bool service, pid_t parent,
                          struct gpg_watch *watch, struct signals **out);
/* Ends the thread, so that S and the agent's parts can be taken down; the signals stay blocked. NULL is fine. */
void signals_stop(struct signals *g);

#endif
