/* One private key in memory, by libcrypto. */
#ifndef LATCHKEY_DEVICES_SOFTWARE_KEY_H
#define LATCHKEY_DEVICES_SOFTWARE_KEY_H

#include "proto/key.h"

struct software_key;
/* From the private part of an ADD_IDENTITY message (PROTOCOL.agent; RFC 9987 3.2): type string and fields up to the
 * comment, for ssh-rsa, ssh-dss, ecdsa-sha2-nistp256/384/521, ssh-ed25519 and their certificates. All numbers are checked against
 * each other before first use. GPG_ERR_UNSUPPORTED_ALGORITHM for other types (sk keys among them),
 * GPG_ERR_BAD_SECKEY for halves that do not belong together, GPG_ERR_BAD_DATA and others for malformed bodies. */
gpg_error_t software_key_new(struct rd body, struct software_key **out);
void software_key_free(struct software_key *k);
/* The plain public key; lives as long as K. */
const struct key *software_key_public(const struct software_key *k);
/* Thread-safe. */
gpg_error_t software_key_sign(const struct software_key *k, const struct tosign *t,
                              gcry_sexp_t *sig);

#endif
