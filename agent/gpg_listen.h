/* gpg's sockets of this agent: where they are, made or taken over. */
#ifndef LATCHKEY_AGENT_GPG_LISTEN_H
#define LATCHKEY_AGENT_GPG_LISTEN_H

#include "agent/gpg_options.h"
#include "agent/server.h"

/* Listens where gpg looks for the agent of O's home directory (the standard one is made if it is not there), for gpg and, with SSH, for
 * ssh; sets O->conf's paths. GPG_ERR_EADDRINUSE: an agent serves there. Other failures were told, on stderr and in the log. */
gpg_error_t gpg_listen(struct server *s, struct gpg_options *o, bool ssh);
/* Sets O->conf's paths alone: for those who look for an agent. MAKE: and makes the directory. */
gpg_error_t gpg_listen_paths(struct gpg_options *o, bool make);
/* O->conf's paths are PATHS, by role, and where those are NULL there is no socket. The standard home directory is made if it is not
 * there. */
gpg_error_t gpg_listen_only(struct gpg_options *o, char *const paths[SERVER_ROLES]);
/* Does an agent that speaks gpg-agent's protocol answer at PATH? *PID: its, 0 not told. */
bool gpg_agent_answers(const char *path, long *pid);
/* Does somebody listen at PATH? Found without connecting, at which systemd would start an agent; false also where that cannot be
 * told, as from another network namespace. */
bool gpg_socket_is_held(const char *path);

#endif
