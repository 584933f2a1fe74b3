/* Where things are: sockets, configuration, the programs beside this one. Used by the agent,
 * latchkey, latchkey-gpg. */
#ifndef LATCHKEY_AGENT_PATHS_H
#define LATCHKEY_AGENT_PATHS_H

#include <gpg-error.h>
#include <stdbool.h>

/* All give new strings (gpgrt_free) or NULL when out of memory or not to be had; nothing is
 * created. */

/* $LATCHKEY_RUNTIME_DIR if set, else $XDG_RUNTIME_DIR/latchkey, else /tmp/latchkey-UID. */
char *path_runtime_dir(void);
/* NAME in the runtime directory: "ssh", "ctl", "lock". */
char *path_socket(const char *name);
/* $XDG_CONFIG_HOME/latchkey/NAME, ~/.config/latchkey/NAME. */
char *path_config(const char *name);
/* The administrator's: SYSCONFDIR/latchkey/NAME; $LATCHKEY_SYSCONFDIR overrides it for tests, but
 * never when the process is privileged (AT_SECURE). */
char *path_sysconfig(const char *name);
/* $XDG_STATE_HOME/latchkey/NAME, ~/.local/state/latchkey/NAME. */
char *path_state(const char *name);
/* $HOME or the passwd entry's. */
char *path_home(void);
/* A program of ours: beside the running one (build tree, PREFIX/bin), or in ../libexec/latchkey. */
char *path_program(const char *name);
/* mkdir -p with 0700 for what it makes; checks that the last one is a directory of ours that nobody
 * else can write; GPG_ERR_EPERM else. */
gpg_error_t path_make_private_dir(const char *dir);

#endif
