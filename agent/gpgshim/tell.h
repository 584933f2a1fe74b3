/* What a person is told, and what a program that reads the status is told. */
#ifndef LATCHKEY_AGENT_GPGSHIM_TELL_H
#define LATCHKEY_AGENT_GPGSHIM_TELL_H

#include "agent/gpgshim/options.h"

/* A line "latchkey-gpg: ..." on stderr. Some versions of git (2.39) read stderr for the status and throw the rest away, so that the
 * person would learn of no reason: when the status goes to a stderr that is no terminal, the line is written to the
 * controlling terminal, too. */
void shim_tell(const struct shim_options *o, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* A line "[GNUPG:] ..." on the status descriptor, if there is one. */
void shim_status(const struct shim_options *o, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
