/* Handing over to the real gpg. */
#ifndef LATCHKEY_AGENT_GPGSHIM_REALGPG_H
#define LATCHKEY_AGENT_GPGSHIM_REALGPG_H

#include "proto/buf.h"

/* The real gpg: $LATCHKEY_GPG (a path, or a name to look for on PATH), else the first "gpg" on PATH that is not this very
 * program. New string (gpgrt_free), NULL when there is none. */
char *realgpg_find(void);

/* Replaces this process by gpg with the same arguments. DATA becomes what it reads from descriptor FD, for we have read it
 * already (-1: we have not). Returns (the exit status 127) only when that cannot be, after saying why. */
int realgpg_exec(char **argv, int fd, struct rd data);

#endif
