/* The folder of gpg's private keys, looked at anew each time, as other programs share it; written so that whoever is killed
 * when leaves a whole file. */
#ifndef LATCHKEY_DEVICES_GPG_DISK_H
#define LATCHKEY_DEVICES_GPG_DISK_H

#include "proto/buf.h"

#include <sys/stat.h>

#define GPG_FOLDER "private-keys-v1.d"

/* HOME's folder as a descriptor. MAKE: both are made (0700) where they are missing; else GPG_ERR_ENOENT. A folder that others
 * could write to is refused: GPG_ERR_EACCES, with a line in the log, the same one only once. */
gpg_error_t gpg_disk_open(const char *home, bool make, int *fd);
/* Reads FILE there into OUT (secure), at most MAX octets, with its ST. GPG_ERR_ENOENT; GPG_ERR_EACCES: others could have written
 * it; GPG_ERR_NOT_SUPPORTED: no plain file; GPG_ERR_TOO_LARGE. */
gpg_error_t gpg_disk_read(int folder, const char *file, size_t max, struct buf *out,
                          struct stat *st);
/* Writes TEXT (0600) under a name of its own, to the disk, and then puts it in FILE's place. FRESH: GPG_ERR_EEXIST if there is one. */
gpg_error_t gpg_disk_write(int folder, const char *file, struct rd text, bool fresh);
/* GPG_ERR_ENOENT. */
gpg_error_t gpg_disk_delete(int folder, const char *file);

#endif
