/* How gpg's key store protects a private key by a passphrase: GnuPG's agent/keyformat.txt, "Protected Private Key Format". */
#ifndef LATCHKEY_DEVICES_GPG_PROTECT_H
#define LATCHKEY_DEVICES_GPG_PROTECT_H

#include "devices/gpg_sexp.h"

#include <time.h>

#define GPG_S2K_MIN 65536u
/* Nothing that a person would wait for: a file that says more is damaged. */
#define GPG_S2K_MAX 0xffffffffu

/* Takes a (protected-private-key ..), canonical, apart with PASSPHRASE; the (private-key ..) is appended to OUT (secure):
 * openpgp-s2k3-ocb-aes, openpgp-s2k3-sha1-aes-cbc, openpgp-s2k3-sha1-aes256-cbc, openpgp-native. GPG_ERR_BAD_PASSPHRASE;
 * GPG_ERR_CORRUPTED_PROTECTION; GPG_ERR_UNSUPPORTED_PROTECTION. The numbers are not compared with each other: gpg_secret_new. */
gpg_error_t gpg_unprotect(struct rd key, struct rd passphrase, struct buf *out);
/* Protects a (private-key ..) with PASSPHRASE (not empty) by openpgp-s2k3-ocb-aes, appending to OUT. COUNT: octets to hash;
 * AT: for protected-at. */
gpg_error_t gpg_protect(struct rd key, struct rd passphrase, unsigned long count, time_t at,
                        struct buf *out);
/* The count that takes this machine about 100 ms, found out (some ms) at the first call. */
unsigned long gpg_s2k_count(void);
/* The count that a protected key was made with, 0 if it tells none. */
unsigned long gpg_protected_count(const struct gpg_key_parts *p);
/* OpenPGP's one-octet form of a count (RFC 4880 3.7.1.3). */
unsigned long gpg_s2k_decode(unsigned long coded);
/* "YYYYMMDDThhmmss", UTC. */
void gpg_isotime(time_t t, char out[16]);

#endif
