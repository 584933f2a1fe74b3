/* Shared by the files that make up proto/key.h: the tables of curves and ssh key types, and the one
 * constructor. */
#ifndef LATCHKEY_PROTO_KEY_INTERNAL_H
#define LATCHKEY_PROTO_KEY_INTERNAL_H

#include "proto/key.h"

enum curve_form { CURVE_WEIERSTRASS, CURVE_EDWARDS, CURVE_MONTGOMERY };

struct curve {
    const char *name;  /* libgcrypt's */
    const char *shown; /* gpg's */
    const char *ssh;   /* in ecdsa-sha2-* keys, NULL: none */
    const char *group; /* libcrypto's, Weierstrass curves only */
    enum curve_form form;
    unsigned nbits;
    size_t octets; /* of one coordinate, or of an encoded point of the other forms */
};

/* By any name that libgcrypt knows (aliases and OIDs), by gpg's, by ssh's; NULL for others. */
const struct curve *curve_by_name(const char *name);
const struct curve *curve_by_ssh(struct rd name);

/* A type name of ssh key blobs. */
struct ssh_type {
    const char *name;
    const char *plain; /* of the key inside a certificate; NULL: this is a plain key */
    enum key_algo algo;
    const char *curve; /* ssh's name of it, for ECDSA */
};

const struct ssh_type *ssh_type_by_name(struct rd name);
/* The plain type for keys of ALGO on CURVE (NULL for RSA, DSA); NULL: ssh has none. */
const struct ssh_type *ssh_type_for(enum key_algo algo, const struct curve *curve);
/* The plain type of K. */
const struct ssh_type *ssh_type_of(const struct key *k);

/* The numbers of a public key, as views. */
struct key_numbers {
    struct rd n, e;   /* RSA: unsigned big-endian */
    struct rd dsa[4]; /* DSA: p, q, g, y */
    const struct curve *curve;
    struct rd q; /* 04‖x‖y; 25519 curves: 32 octets */
    struct rd application;
};

/* Reads the public fields that follow the type name (and nonce) of a TYPE blob. */
gpg_error_t key_numbers_read(const struct ssh_type *type, struct rd *r, struct key_numbers *out);
/* Checks the numbers and makes a plain key. */
gpg_error_t key_make(enum key_algo algo, const struct key_numbers *num, struct key **out);
/* A plain key's blob only: certificates are GPG_ERR_BAD_CERT. */
gpg_error_t key_from_plain_blob(struct rd blob, struct key **out);
/* DSA's four numbers p, q, g, y (key_dsa.c): as mpints on the wire; checked as far as a verifier can; as an s-expression. */
gpg_error_t dsa_read(struct rd *r, struct rd dsa[4]);
void dsa_put(struct buf *b, const struct rd dsa[4]);
gpg_error_t dsa_check(const struct rd dsa[4], unsigned *nbits);
gpg_error_t dsa_sexp(const struct rd dsa[4], gcry_sexp_t *out);
/* 0 when the 32 octets Q are the canonical encoding of a point of edwards25519. */
gpg_error_t ed25519_check_point(struct rd q);
/* The value of parameter NAME in a (public-key ..) or (sig-val ..), appended to B; GPG_ERR_NO_OBJ
 * when absent. */
gpg_error_t sexp_param(gcry_sexp_t s, const char *name, struct buf *b);

/* Parses the certificate BLOB of TYPE; the views of CERT point into BLOB. NUM gets the certified
 * key's numbers. */
gpg_error_t cert_parse(struct rd blob, const struct ssh_type *type, struct key_numbers *num,
                       struct ssh_cert **out);
/* The part of a certificate from the serial number to the CA's key, into C (zeroed; cert_free also
 * after failure). */
gpg_error_t cert_read_body(struct rd *r, struct ssh_cert *c);
void cert_free(struct ssh_cert *c);

/* The octets R without leading zeros, left-padded with zeros to N and appended to B;
 * GPG_ERR_BAD_DATA when longer. */
gpg_error_t put_padded(struct buf *b, struct rd r, size_t n);
/* Verifies a signature by a security key (PROTOCOL.u2f: string type, string sig, u8 flags, u32
 * counter); GPG_ERR_BAD_DATA for other blobs. Whether a touch was given is the caller's concern and
 * told by FLAGS. */
gpg_error_t sk_sig_verify(const struct key *k, struct rd message, struct rd sigblob,
                          uint8_t *flags);

#endif
