/* What an agent that was started as gpg-agent depends on: its home directory, and its socket in its place. It ends when either is
 * gone: a new one is started by the next gpg that finds none. */
#ifndef LATCHKEY_AGENT_GPG_WATCH_H
#define LATCHKEY_AGENT_GPG_WATCH_H

#include "agent/server.h"

struct gpg_watch;
/* Watches HOME and, with SOCKET, S's own socket for gpg. */
gpg_error_t gpg_watch_new(const char *home, struct server *s, bool socket, struct gpg_watch **out);
void gpg_watch_free(struct gpg_watch *w);
/* To be polled for reading; -1: the kernel tells nothing. */
int gpg_watch_fd(const struct gpg_watch *w);
/* For so long, in milliseconds, may be waited without asking gpg_watch_is_over. */
int gpg_watch_interval(const struct gpg_watch *w);
/* Something is gone; it was told to the log. Takes what the descriptor had to tell. */
bool gpg_watch_is_over(struct gpg_watch *w);

#endif
