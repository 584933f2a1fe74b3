/* Handing over to the real gpg. */
#ifndef LATCHKEY_AGENT_GPGSHIM_REALGPG_H
#define LATCHKEY_AGENT_GPGSHIM_REALGPG_H

/* Replaces this process by gpg with the same arguments: $LATCHKEY_GPG, else the first "gpg" on PATH that is not this very
 * program. Returns (the exit status 127) only when there is none, after saying so. */
int realgpg_exec(char **argv);

#endif
