/* OpenPGP packets that latchkey makes (RFC 4880 with RFC 6637 and the EdDSA draft): v4 signatures, public keys,
 * user ids. Reading is the real gpg's job. */
#ifndef LATCHKEY_PROTO_OPENPGP_H
#define LATCHKEY_PROTO_OPENPGP_H

#include "proto/key.h"

#include <time.h>

/* 20-octet v4 fingerprint (RFC 4880 12.2) of K created at CREATED (seconds). For ECDH the KDF parameters are those
 * GnuPG chooses by curve size. GPG_ERR_UNSUPPORTED_ALGORITHM for sk keys. */
gpg_error_t openpgp_fingerprint(const struct key *k, uint32_t created, uint8_t fpr[20]);
/* OpenPGP public key algorithm number: 1 RSA, 18 ECDH, 19 ECDSA, 22 EdDSA. */
int openpgp_pubkey_algo(const struct key *k);
/* OpenPGP hash number for GCRY_MD_*: 8 SHA256, 9 SHA384, 10 SHA512 .., 0 unknown. */
int openpgp_hash_algo(int gcry_md);
/* Appends a public key (tag 6) or subkey (tag 14) packet. */
gpg_error_t openpgp_put_pubkey(struct buf *b, const struct key *k, uint32_t created, bool subkey);
gpg_error_t openpgp_put_userid(struct buf *b, const char *uid);

enum openpgp_sig_type {
    OPENPGP_SIG_BINARY = 0x00,
    OPENPGP_SIG_TEXT = 0x01,
    OPENPGP_SIG_CERT = 0x13,   /* positive certification of a user id */
    OPENPGP_SIG_SUBKEY = 0x18, /* subkey binding */
    OPENPGP_SIG_DIRECT = 0x1f,
};

/* A signature in the making: hash what is signed, then finish the hashed part, have the digest signed, then build the
 * packet. Single-threaded use. */
struct openpgp_sig;
/* HASH: GCRY_MD_* (SHA256 or stronger, at least as long as an ECDSA key's field or SHA512). KEY_FLAGS: RFC 4880
 * 5.2.3.21 bits for self-signatures, 0 for data signatures. */
gpg_error_t openpgp_sig_new(const struct key *k, const uint8_t fpr[20], enum openpgp_sig_type type,
                            int hash, uint32_t sig_created, uint8_t key_flags,
                            struct openpgp_sig **out);
/* The document's bytes. */
void openpgp_sig_update(struct openpgp_sig *s, struct rd data);
/* For OPENPGP_SIG_TEXT: the whole document, its line ends made canonical as gpg does it (all CRs before a line end go,
 * also at the very end). */
void openpgp_sig_update_text(struct openpgp_sig *s, struct rd text);
/* For certifications: hashes the key packet body (0x99 prefix form), user id (0xB4 form). */
gpg_error_t openpgp_sig_update_key(struct openpgp_sig *s, const struct key *k, uint32_t created);
void openpgp_sig_update_userid(struct openpgp_sig *s, const char *uid);
/* Ends hashing. T's data points into S: the digest (which for Ed25519 is the message to sign, RFC draft EdDSA). */
gpg_error_t openpgp_sig_digest(struct openpgp_sig *s, struct tosign *t);
/* Appends the finished signature packet (tag 2). */
gpg_error_t openpgp_sig_finish(struct openpgp_sig *s, gcry_sexp_t sig, struct buf *b);
void openpgp_sig_free(struct openpgp_sig *s);

/* The hash latchkey chooses for data signatures by K: ECDSA by field size, else SHA-512 for EdDSA and RSA > 2048,
 * SHA-256 for smaller RSA. */
int openpgp_choose_hash(const struct key *k);

/* ASCII armor (RFC 4880 6.2), e.g. KIND "SIGNATURE" or "PUBLIC KEY BLOCK"; appends text with CRC-24. */
void openpgp_armor(struct buf *b, const char *kind, struct rd data);

#endif
