/* One public key in all its forms: SSH blob, certificate, libgcrypt s-expression, keygrip, fingerprints, OpenPGP.
 * A struct key is immutable once made and reference counted (thread-safe). */
#ifndef LATCHKEY_PROTO_KEY_H
#define LATCHKEY_PROTO_KEY_H

#include "proto/buf.h"

#include <gcrypt.h>

enum key_algo {
    KEY_RSA,
    KEY_ECDSA,      /* NIST, brainpool, secp256k1 */
    KEY_ED25519,    /* also Ed25519 as an OpenPGP signing key */
    KEY_ECDH,       /* cv25519 and curves in a decryption slot: no ssh form */
    KEY_SK_ECDSA,   /* sk-ecdsa-sha2-nistp256@openssh.com */
    KEY_SK_ED25519, /* sk-ssh-ed25519@openssh.com */
    KEY_DSA,   /* ssh-dss: 1024 bits and SHA-1, as long as there are ssh clients that add them */
    KEY_OTHER, /* what gpg has besides: Elgamal, DSA of other sizes, Ed448, X448. Only its s-expression is known here */
};

/* An OpenSSH certificate (PROTOCOL.certkeys). All views point into key->blob. */
enum cert_type { CERT_USER = 1, CERT_HOST = 2 };
struct ssh_cert {
    uint64_t serial;
    uint32_t type;
    char *key_id;
    char **principals; /* NULL-ended; empty list: any principal, which host checks must refuse */
    uint64_t valid_after, valid_before; /* seconds since the epoch; all ones: for ever */
    struct rd critical, extensions;
    struct key *ca;    /* the signer, a plain key */
    bool has_critical; /* any critical option at all */
    struct rd tbs;     /* what the CA signed */
    struct rd sig;
};

struct key {
    enum key_algo algo;
    const char
        *curve; /* libgcrypt's name ("NIST P-256", "Ed25519", "Curve25519"), NULL for RSA, DSA */
    unsigned nbits;   /* modulus or field size in bits: 3072, 256, 521, 255.. */
    gcry_sexp_t sexp; /* (public-key ..) ; for sk keys that of the underlying curve */
    uint8_t grip[20]; /* keygrip as gpg computes it */
    uint8_t
        *blob; /* ssh blob: of the certificate for a certificate, else of the plain key; NULL if ssh
                            knows no such key (brainpool, cv25519 ..) */
    size_t blob_len;
    uint8_t
        *plain; /* ssh blob of the plain key (equals blob when this is no certificate), or NULL */
    size_t plain_len;
    const char *type; /* ssh type name of blob, e.g. "ssh-ed25519-cert-v01@openssh.com", or NULL */
    char *fpr; /* "SHA256:.." of the plain blob as ssh-keygen prints it, or NULL without ssh form */
    char *sk_application;  /* sk keys only */
    struct ssh_cert *cert; /* NULL for a plain key */
    int refs;
};

/* From an SSH public key or certificate blob (RFC 4253 6.6, PROTOCOL.certkeys, PROTOCOL.u2f); the whole of BLOB
 * must be used up. Points must lie on their curve, RSA moduli have 1024 to 16384 bits and an odd e >= 3, DSA keys are of 1024 and 160 bits.
 * GPG_ERR_UNKNOWN_ALGORITHM (GPG_ERR_PUBKEY_ALGO) for types we do not know: callers skip those. The CA's signature
 * is NOT checked here: see cert_check(). */
gpg_error_t key_from_blob(struct rd blob, struct key **out);
/* From a (public-key ..) s-expression, canonical or not; ECDH marks an encryption key. The sexp is copied. Whatever else
 * libgcrypt knows gives a KEY_OTHER. */
gpg_error_t key_from_sexp(gcry_sexp_t sexp, bool ecdh, struct key **out);
/* From one line of an OpenSSH .pub / authorized_keys-like text "type base64 [comment]"; COMMENT (may be NULL) is
 * new (gpgrt_free), "" if there is none. */
gpg_error_t key_from_text(const char *line, struct key **out, char **comment);
/* From numbers: unsigned big-endian n, e; curve name and point (04‖x‖y, or 32 raw octets for 25519 curves). */
gpg_error_t key_from_rsa(struct rd n, struct rd e, struct key **out);
gpg_error_t key_from_point(const char *curve, struct rd point, bool ecdh, struct key **out);
/* The security key (PROTOCOL.u2f) that holds the plain key K on NIST P-256 or Ed25519 for APPLICATION, as a new key. */
gpg_error_t key_with_application(const struct key *k, const char *application, struct key **out);
/* The plain key inside a certificate, as a new reference (a plain key gives itself). */
gpg_error_t key_plain(struct key *k, struct key **out);

struct key *key_ref(struct key *k);
void key_unref(struct key *k); /* NULL is fine */
/* Held by a FIDO token: its signatures carry flags and a counter. */
static inline bool key_is_sk(const struct key *k)
{
    return k->algo == KEY_SK_ECDSA || k->algo == KEY_SK_ED25519;
}

/* Same plain public key (certificate or not, ssh form or not). */
bool key_same(const struct key *a, const struct key *b);
/* Is HEX, 40 digits of either case, its keygrip? */
bool key_has_grip(const struct key *k, const char *hex);
/* "ssh-ed25519 AAAA..." (gpgrt_free), NULL when the key has no ssh form. */
char *key_to_text(const struct key *k);
/* "ed25519", "rsa3072", "nistp256", "brainpoolP256r1", "cv25519": the names gpg shows. Static or interned. */
const char *key_algo_name(const struct key *k, char buf[32]);
/* The libgcrypt digest the key goes with: by size for ECDSA (SHA-256/384/512), SHA-512 for Ed25519 and RSA,
 * SHA-1 for DSA. */
int key_default_hash(const struct key *k);

/* Checks a certificate against TYPE (user/host), time NOW and, if NAME is not NULL, that NAME is one of its
 * principals; verifies the CA's signature; refuses ssh-rsa (SHA-1) CA signatures, an empty principal list of a host
 * certificate and any critical option in a host certificate. Does not know which CAs are trusted.
 * GPG_ERR_CERT_EXPIRED, GPG_ERR_CERT_TOO_YOUNG, GPG_ERR_BAD_SIGNATURE, GPG_ERR_WRONG_NAME, GPG_ERR_BAD_CERT. */
gpg_error_t cert_check(const struct key *cert, enum cert_type type, uint64_t now, const char *name);

/* --- signatures ---------------------------------------------------------------------------------------------
 * Inside latchkey a signature is libgcrypt's (sig-val ..) s-expression. What is signed is either a digest made with
 * HASH (RSA PKCS#1, ECDSA) or, for Ed25519, the message itself. */

/* What a key is to sign. hash: GCRY_MD_*; data: the digest, or for Ed25519 the message (hash is then only what an
 * OpenPGP caller hashed with, or 0). */
struct tosign {
    int hash;
    struct rd data;
};

/* Verifies SIG over T; GPG_ERR_BAD_SIGNATURE when it does not hold. */
gpg_error_t sig_verify(const struct key *k, const struct tosign *t, gcry_sexp_t sig);
/* (sig-val ..) from what a card or library gives: RSA: the number; ECDSA: r‖s of equal halves; Ed25519: R‖S. */
gpg_error_t sig_from_raw(const struct key *k, struct rd raw, gcry_sexp_t *out);
gpg_error_t sig_from_rs(const struct key *k, struct rd r, struct rd s, gcry_sexp_t *out);
/* Appends the SSH signature blob (string type, string sig ..) of SIG to B. HASH chooses ssh-rsa (SHA1),
 * rsa-sha2-256 or rsa-sha2-512 for RSA (the number is padded to the modulus' length) and is ignored elsewhere. */
gpg_error_t sig_to_ssh(const struct key *k, int hash, gcry_sexp_t sig, struct buf *b);
/* Appends the MPIs of SIG as an OpenPGP v4 signature packet carries them. */
gpg_error_t sig_to_openpgp(const struct key *k, gcry_sexp_t sig, struct buf *b);
/* Verifies an SSH signature blob over MESSAGE by K (its plain key when K is a certificate). ALLOW_SHA1 admits
 * ssh-rsa. Sk signatures are GPG_ERR_UNSUPPORTED_ALGORITHM here. */
gpg_error_t ssh_sig_verify(const struct key *k, struct rd message, struct rd sigblob,
                           bool allow_sha1);
/* What a security key says with each signature (PROTOCOL.u2f; WebAuthn 6.1). */
struct sk_assertion {
    uint8_t flags; /* SK_* */
    uint32_t counter;
};
#define SK_USER_PRESENT  0x01u
#define SK_USER_VERIFIED 0x04u
/* Verifies SIG by the security key K over its application, what it says, and MESSAGE; GPG_ERR_BAD_SIGNATURE when it does
 * not hold. Which flags are wanted is the caller's concern. */
gpg_error_t sk_sig_check(const struct key *k, struct rd message, const struct sk_assertion *says,
                         gcry_sexp_t sig);
/* Appends the SSH signature blob of such a signature to B. */
gpg_error_t sk_sig_to_ssh(const struct key *k, const struct sk_assertion *says, gcry_sexp_t sig,
                          struct buf *b);
/* Which digest a signing request asks for: RSA by SSH_AGENT_RSA_SHA2_* flags (256 wins when both are set, none is
 * SHA-1), ECDSA by curve, 0 (the message itself) for Ed25519 and security keys. */
int ssh_sign_hash(const struct key *k, uint32_t flags);
/* Hashes MESSAGE with HASH into DIGEST (room for 64), or, for HASH 0, refers to MESSAGE itself. T's data points into
 * DIGEST or MESSAGE. */
gpg_error_t tosign_from_message(int hash, struct rd message, uint8_t digest[64], struct tosign *t);

#endif
