/* Keys that ssh-add brings, for gpg's key store. */
#ifndef LATCHKEY_DEVICES_GPG_SSH_KEY_H
#define LATCHKEY_DEVICES_GPG_SSH_KEY_H

#include "proto/buf.h"

/* The private part of ADD_IDENTITY (RFC 9987 3.2; type string and fields) of a plain key as a canonical (private-key ..), appended to
 * OUT, which is secure; COMMENT may be "". GPG_ERR_UNSUPPORTED_ALGORITHM for certificates and security keys. The numbers are not checked
 * against each other here. */
gpg_error_t gpg_ssh_key(struct rd body, const char *comment, struct buf *out);

#endif
