/* Sockets that agents left behind when they were killed (ssh-agent(1) -u, -uu, -U). */
#ifndef LATCHKEY_AGENT_STALE_H
#define LATCHKEY_AGENT_STALE_H

#include <gpg-error.h>
#include <stdbool.h>

/* Removes what nobody listens on any more and is older than an hour: the sockets of ssh-agent (10.1 and later) and sshd in
 * HOME/.ssh/agent, those of other hosts that share HOME only with ANY_HOST; and our own directories
 * TMP/latchkey-agent.XXXXXX. HOME, TMP may be NULL. Returns how many sockets went. Whatever cannot be looked at is left alone. */
unsigned stale_sockets_remove(const char *home, const char *tmp, bool any_host);
/* The letters that ssh-agent puts into its sockets' names for a host named NAME (misc-agent.c of OpenSSH 10.1). */
void stale_host_letters(const char *name, char out[11]);

#endif
