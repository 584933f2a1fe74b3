/* Listening sockets, peer credentials, one thread a connection, connection cap. */
#ifndef LATCHKEY_AGENT_SERVER_H
#define LATCHKEY_AGENT_SERVER_H

#include "agent/activity.h"
#include "agent/agent.h"

#include <stdbool.h>
#include <stdint.h>

/* GPG: gpg-agent's protocol, all of it, or what S.gpg-agent.extra and S.gpg-agent.browser allow. */
enum server_role {
    SERVER_SSH,
    SERVER_CTL,
    SERVER_GPG,
    SERVER_GPG_EXTRA,
    SERVER_GPG_BROWSER,
    SERVER_ROLES
};

struct server;
gpg_error_t server_new(struct agent *a, struct server **out);
/* Makes, binds (0600, for gpg 0700; a stale socket is replaced, a live one is
 * GPG_ERR_EADDRINUSE) and listens. */
gpg_error_t server_listen(struct server *s, enum server_role role, const char *path);
/* Adopts a listening descriptor from the service manager (not unlinked at the end). */
gpg_error_t server_adopt(struct server *s, enum server_role role, int fd);
/* The path of the role's own socket, NULL: none. */
const char *server_path(const struct server *s, enum server_role role);
/* The role's own sockets are still in their places, or there are none. */
bool server_holds_path(struct server *s, enum server_role role);
/* Accepts until server_stop. Peers of another uid (root and our own are fine) are closed silently.
 */
void server_run(struct server *s);
/* Async-signal-safe enough to be called from the signal thread: makes server_run return. */
void server_stop(struct server *s);
/* The same, but connections that are there may go on until they end by themselves or server_stop is called; the sockets are
 * closed and gone meanwhile. */
void server_finish(struct server *s);
/* Closes the listening sockets, ends connections, waits for their threads (at most a second), unlinks
 * sockets. False: a thread goes on that uses S and the agent's parts, so that nothing may be freed. */
bool server_free(struct server *s);

/* A session serves one connection until it ends; it owns nothing of FD but may read and write it.
 */
void ssh_session_serve(struct agent *a, int fd, struct activity *act);
void ctl_session_serve(struct agent *a, int fd, struct activity *act);
void gpg_session_serve(struct agent *a, int fd, struct activity *act);
void gpg_session_serve_extra(struct agent *a, int fd, struct activity *act);
void gpg_session_serve_browser(struct agent *a, int fd, struct activity *act);
/* gpg-agent --server. */
void gpg_session_serve_pipe(struct agent *a, int in, int out, struct activity *act);

#endif
