/* Reading a configuration file that decides about keys: only if nobody else could have written it. */
#ifndef LATCHKEY_POLICY_FILE_H
#define LATCHKEY_POLICY_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The file's text (gpgrt_free). File, every directory and every symbolic link on the way to it must be owned by UID or
 * root; file and directories must be writable by neither group nor others (a sticky directory such as /tmp is fine above).
 * False: *PROBLEM says why (gpgrt_free), or is NULL for a missing file when that is fine (OPTIONAL); a symbolic link that
 * leads nowhere is no missing file. */
bool policy_read_file(const char *path, uid_t uid, bool optional, char **text, size_t *len,
                      char **problem);

#endif
