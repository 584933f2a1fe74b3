/* Files that are written anew as a whole. */
#ifndef LATCHKEY_AGENT_REPLACE_FILE_H
#define LATCHKEY_AGENT_REPLACE_FILE_H

#include "proto/buf.h"

/* Puts TEXT into the place of the file PATH: who reads meanwhile, or after a crash, finds the old one or the new one, and it is on disk
 * on return. Its folder must be there. Mode 0600. PERSONS: a file that the person keeps, too: what a symbolic link names is replaced,
 * not the link, and a file that is there keeps its mode. */
gpg_error_t replace_file(const char *path, bool persons, struct rd text);

#endif
