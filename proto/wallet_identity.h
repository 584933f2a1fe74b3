/* What a hardware wallet's key follows from, besides its seed: an identity (SLIP-0013, SLIP-0017), written as trezor-agent
 * writes it. The same identity gives the same key on every make. ref: trezor-ledger 1, 7. */
#ifndef LATCHKEY_PROTO_WALLET_IDENTITY_H
#define LATCHKEY_PROTO_WALLET_IDENTITY_H

#include "proto/buf.h"

struct wallet_identity {
    char *proto, *user, *host, *port, *path; /* each may be NULL */
    uint32_t index;
    bool ed25519; /* else nist256p1 */
};

/* From "[ssh://][user@]host[:port][/path]", cut as trezor-agent cuts it, or "gpg://User ID"; any other protocol becomes
 * ssh, as there. CURVE "nist256p1" (also NULL, "nistp256") or "ed25519": GPG_ERR_UNKNOWN_CURVE. Text other than printable ASCII
 * is GPG_ERR_NOT_SUPPORTED (trezor-agent transliterates it, by tables that are not here); no host: GPG_ERR_INV_VALUE. */
gpg_error_t wallet_identity_parse(const char *text, const char *curve, struct wallet_identity *out);
void wallet_identity_clear(struct wallet_identity *id);
/* The same key? */
bool wallet_identity_same(const struct wallet_identity *a, const struct wallet_identity *b);

static inline const char *wallet_curve(const struct wallet_identity *id)
{
    return id->ed25519 ? "ed25519" : "nist256p1";
}
/* The text that is hashed for it and shown: "ssh://user@host:22/path". gpgrt_free; NULL: out of memory. */
char *wallet_uri(const struct wallet_identity *id);
/* "<ssh://user@host|nist256p1>": as files and comments name it. */
char *wallet_identity_text(const struct wallet_identity *id);

#define WALLET_PATH_LEN 5
/* The path of the identity's signing key (SLIP-0013) or, ECDH, of its decryption key (SLIP-0017). */
gpg_error_t wallet_path(const struct wallet_identity *id, bool ecdh,
                        uint32_t path[WALLET_PATH_LEN]);

/* Reads TEXT as trezor-agent reads an identity file: each "<IDENTITY|CURVE>" in it, wherever it stands, is one. LINE: the
 * whole line that it stands in, where a .pub file has the public key. EACH may be called with an identity that could not be
 * parsed: ERR then says why, ID is NULL and TEXT is what stands there. Gives EACH's first error, or 0. */
gpg_error_t wallet_identities_read(struct rd text,
                                   gpg_error_t (*each)(void *arg, const struct wallet_identity *id,
                                                       const char *line, const char *text,
                                                       gpg_error_t err),
                                   void *arg);

#endif
