/* A private key of gpg's, open: it signs and decrypts as gpg-agent does. */
#ifndef LATCHKEY_DEVICES_GPG_SECRET_H
#define LATCHKEY_DEVICES_GPG_SECRET_H

#include "devices/gpg_sexp.h"
#include "proto/key.h"

struct gpg_secret;

/* From a (private-key ..), canonical; it is copied into locked memory. The halves must belong together: GPG_ERR_BAD_SECKEY.
 * One reference; thread-safe. */
gpg_error_t gpg_secret_new(struct rd key, struct gpg_secret **out);
struct gpg_secret *gpg_secret_ref(struct gpg_secret *s);
void gpg_secret_unref(struct gpg_secret *s);
/* Its (private-key ..), as long as S. */
struct rd gpg_secret_key(const struct gpg_secret *s);

/* What RSA does to data without a hash: PKCS#1 type 1 without DigestInfo (TLS 1.1's MD5 and SHA-1), or nothing, it is a whole block
 * (PSS). */
enum gpg_pad { GPG_PAD_TYPE1, GPG_PAD_NONE };
/* What T says, as gpg-agent pads it: RSA PKCS#1 with any of libgcrypt's hashes, for hash 0 by PAD; DSA and ECDSA cut to the
 * group's size; EdDSA over the octets themselves. GPG_ERR_INV_LENGTH: too short for DSA, or no whole block;
 * GPG_ERR_UNUSABLE_SECKEY: no signing key. */
gpg_error_t gpg_secret_sign(struct gpg_secret *s, const struct tosign *t, enum gpg_pad pad,
                            gcry_sexp_t *sig);
/* A canonical (enc-val ..): the padded block of RSA and Elgamal, ECDH's shared point. RESULT is secure. */
gpg_error_t gpg_secret_decrypt(struct gpg_secret *s, struct rd enc_val, struct buf *result);

#endif
