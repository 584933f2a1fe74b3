#ifndef LATCHKEY_DEVICES_GPG_ENTRY_H
#define LATCHKEY_DEVICES_GPG_ENTRY_H

#include "devices/gpg_store.h"

/* Describes the file F (NULL: not readable) of GRIP (upper case). *OUT is made in any case but when out of memory; an error says why
 * it is UNKNOWN: GPG_ERR_UNSUPPORTED_ALGORITHM, GPG_ERR_WRONG_NAME (another key's grip), and others. */
gpg_error_t gpg_entry_new(const char *grip, const struct gpg_file *f, const struct gpg_file_id *id,
                          struct gpg_entry **out);

#endif
