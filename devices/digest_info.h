/* PKCS#1 DigestInfo: what a card or module that only pads is given for an RSA signature. */
#ifndef LATCHKEY_DEVICES_DIGEST_INFO_H
#define LATCHKEY_DEVICES_DIGEST_INFO_H

#include "proto/buf.h"

/* Appends the DigestInfo (RFC 8017 9.2, note 1) of DIGEST, made with libgcrypt's HASH (SHA-1, SHA-2), to B.
 * GPG_ERR_DIGEST_ALGO, GPG_ERR_INV_LENGTH. */
gpg_error_t digest_info_put(struct buf *b, int hash, struct rd digest);

#endif
