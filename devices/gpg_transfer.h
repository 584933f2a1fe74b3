/* Private keys on their way between gpg and its key store: OpenPGP's own protection in an s-expression
 * (openpgp-private-key ..), and the key wrap around it (RFC 3394). */
#ifndef LATCHKEY_DEVICES_GPG_TRANSFER_H
#define LATCHKEY_DEVICES_GPG_TRANSFER_H

#include "devices/gpg_sexp.h"

/* Is KEY such an expression? PUB (may be NULL): its (public-key ..) is appended; PROTECTED: a passphrase is needed. */
gpg_error_t gpg_transfer_look(struct rd key, struct buf *pub, bool *is_protected);
/* Opens it: the (private-key ..) is appended to OUT (secure). PASSPHRASE does not matter where there is no protection.
 * GPG_ERR_BAD_PASSPHRASE, GPG_ERR_CHECKSUM, GPG_ERR_UNSUPPORTED_PROTECTION, GPG_ERR_BAD_SECKEY. */
gpg_error_t gpg_transfer_open(struct rd key, struct rd passphrase, struct buf *out);
/* A (private-key ..) as gpg takes it: AES-128 under S2K and PASSPHRASE. Appended to OUT. */
gpg_error_t gpg_transfer_close(struct rd key, struct rd passphrase, struct buf *out);

/* A stored key that was imported without asking for its passphrase, (.. (protected openpgp-native (openpgp-private-key ..))):
 * made of what gpg sent, appended to OUT; opened; its inner expression. */
gpg_error_t gpg_native_make(struct rd transfer, struct buf *out);
gpg_error_t gpg_native_open(const struct gpg_key_parts *p, struct rd passphrase, struct buf *out);
gpg_error_t gpg_native_inner(const struct gpg_key_parts *p, struct rd *transfer);

/* AES-128 key wrap of TEXT, padded with zeros to whole blocks; and back (OUT secure, padding kept).
 * GPG_ERR_CHECKSUM: another key, or damaged. */
gpg_error_t gpg_wrap(struct rd kek, struct rd text, struct buf *out);
gpg_error_t gpg_unwrap(struct rd kek, struct rd wrapped, struct buf *out);

#endif
