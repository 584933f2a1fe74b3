/* What a Ledger answers, read. ref: trezor-ledger 9, 10, 11. */
#ifndef LATCHKEY_DEVICES_LEDGER_ANSWER_H
#define LATCHKEY_DEVICES_LEDGER_ANSWER_H

#include "proto/key.h"

/* B0 01: the application that runs. */
struct ledger_app {
    char name[33];
    unsigned version[3];
};
/* GPG_ERR_INV_RESPONSE. A name that is longer, or not of printable ASCII, does not pass. */
gpg_error_t ledger_read_app(struct rd data, struct ledger_app *out);
/* Is A's version MAJOR.MINOR.PATCH or older? */
bool ledger_app_up_to(const struct ledger_app *a, unsigned major, unsigned minor, unsigned patch);

/* A public key as the application writes it: 04, X, Y, big-endian on either curve (11). */
gpg_error_t ledger_read_point(struct rd w, bool ed25519, bool ecdh, struct key **out);
/* The same behind its length octet (10.1). */
gpg_error_t ledger_read_public_key(struct rd data, bool ed25519, bool ecdh, struct key **out);
/* A signature by K: DER, whose first octet may be 31, or R and S (10.5). W: what follows it, the signer's public key or
 * nothing. */
gpg_error_t ledger_read_signature(struct rd data, const struct key *k, gcry_sexp_t *sig,
                                  struct rd *w);

#endif
