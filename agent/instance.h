/* Which agent this is among those of the same person: its directory, its sockets, and who holds the hardware. */
#ifndef LATCHKEY_AGENT_INSTANCE_H
#define LATCHKEY_AGENT_INSTANCE_H

#include "agent/gpg_options.h"
#include "agent/server.h"

/* How the names of those private directories begin. */
#define INSTANCE_DIR "latchkey-agent."

struct instance {
    char *dir; /* for the control socket */
    char *ssh_path;
    char *made_dir; /* a directory made for this agent alone, removed at the end; or NULL */
    int lock_fd;    /* the instance lock, -1: not held */
    bool owns_hardware;
    /* sockets of the service manager, by role, and their paths as far as they have one */
    bool adopted[SERVER_ROLES];
    char *adopted_path[SERVER_ROLES];
};

/* Takes the instance lock if it is free, and listens: descriptors of the service manager first, else SOCKET if given, else
 * (SERVICE) the settings' or the runtime directory's socket, else one in a new private directory. The control socket is
 * the runtime directory's for the agent that holds the lock, else beside the ssh socket. What went wrong has been told on
 * stderr. */
gpg_error_t instance_claim(struct instance *in, struct server *s, const struct settings *set,
                           const char *socket, bool service);
/* The same for one that was started as gpg-agent: its sockets are those of O's home directory, or (SUPERVISED) were handed over
 * as gpg-agent takes them: LISTEN_PID is not heeded, without LISTEN_FDNAMES there is one, what is not called extra, browser, ssh or ctl
 * is its main one.
 * GPG_ERR_EADDRINUSE: an agent serves there already, which was not told. */
gpg_error_t instance_claim_gpg(struct instance *in, struct server *s, struct gpg_options *o,
                               bool supervised);
/* Only the instance lock, if it is free: for an agent without sockets. */
gpg_error_t instance_claim_hardware(struct instance *in);
void instance_release(struct instance *in);

#endif
