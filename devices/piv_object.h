/* What a PIV card says, as data: SP 800-73-4 part 1 appendix A, and Yubico's additions. Parsing alone: everything comes from outside. */
#ifndef LATCHKEY_DEVICES_PIV_OBJECT_H
#define LATCHKEY_DEVICES_PIV_OBJECT_H

#include "proto/key.h"

/* P1 of GENERAL AUTHENTICATE (SP 800-78-4 table 6-2; Yubico's from firmware 5.7). */
enum piv_alg {
    PIV_3DES = 0x03,
    PIV_RSA3072 = 0x05,
    PIV_RSA1024 = 0x06,
    PIV_RSA2048 = 0x07,
    PIV_AES128 = 0x08,
    PIV_AES192 = 0x0a,
    PIV_AES256 = 0x0c,
    PIV_P256 = 0x11,
    PIV_P384 = 0x14,
    PIV_RSA4096 = 0x16,
    PIV_ED25519 = 0xe0,
    PIV_X25519 = 0xe1,
};
/* The algorithm of K; 0: no PIV card has such a key. */
uint8_t piv_alg_of(const struct key *k);
/* "nistp256", "rsa2048", "ed25519", "x25519" .. and back; NULL, 0: not known. */
const char *piv_alg_name(uint8_t alg);
uint8_t piv_alg_by_name(const char *name);

/* Yubico's numbers, of metadata, GENERATE and attestations; 0: the default, or not known. */
enum piv_pin_policy {
    PIV_PIN_DEFAULT,
    PIV_PIN_NEVER,
    PIV_PIN_ONCE,
    PIV_PIN_ALWAYS,
    PIV_PIN_MATCH_ONCE,
    PIV_PIN_MATCH_ALWAYS,
};
enum piv_touch_policy { PIV_TOUCH_DEFAULT, PIV_TOUCH_NEVER, PIV_TOUCH_ALWAYS, PIV_TOUCH_CACHED };

/* Answer to GET METADATA (INS F7). */
struct piv_metadata {
    uint8_t alg, pin, touch, origin; /* 0: not told; origin 1 generated, 2 imported */
    int is_default;                  /* of PINs and the management key; -1: not told */
    int total, left;                 /* tries; -1: not told */
    struct rd public;                /* view into what was parsed; empty: none */
};
gpg_error_t piv_parse_metadata(struct rd r, struct piv_metadata *out);
/* A public key as metadata has it, and as GENERATE answers inside 7F49: 81 n, 82 e, or 86 point. ALG, else what tells the curve. ECDH: the
 * key is to decrypt only. */
gpg_error_t piv_parse_public(uint8_t alg, struct rd r, bool ecdh, struct key **out);

struct piv_discovery {
    bool told;
    bool global_pin; /* it is the one that is asked for first */
};
/* Content of 7E. */
gpg_error_t piv_parse_discovery(struct rd r, struct piv_discovery *out);
/* Content of the CHUID's 53: its GUID. GPG_ERR_NO_DATA: none, or nothing but zeros. */
gpg_error_t piv_parse_chuid(struct rd r, uint8_t guid[16]);

/* Content of a certificate object's 53: the certificate, unpacked where it is packed (gzip, or as Net iD does it), appended to DER.
 * GPG_ERR_NO_DATA: the object is empty. GPG_ERR_TOO_LARGE: more than PIV_MAX_CERT. */
#define PIV_MAX_CERT 32768u
gpg_error_t piv_unpack_certificate(struct rd r, struct buf *der);
/* The key in the certificate DER (RFC 5280); the rest of it is nobody's word. */
gpg_error_t piv_certificate_key(struct rd der, bool ecdh, struct key **out);
/* PIN and touch policy from an attestation (Yubico's extension 1.3.6.1.4.1.41482.3.8). GPG_ERR_NO_DATA. */
gpg_error_t piv_attested_policies(struct rd der, uint8_t *pin, uint8_t *touch);

/* Signature K's card gave as ANSWER to GENERAL AUTHENTICATE: 7C { 82 .. }. */
gpg_error_t piv_parse_signature(const struct key *k, struct rd answer, gcry_sexp_t *sig);
/* Content of 82 in an answer; a view. */
gpg_error_t piv_parse_response(struct rd answer, struct rd *out);
/* PKCS#1 v1.5 block type 2 (RFC 8017 7.2.2) without its padding; a view. */
gpg_error_t piv_strip_padding(struct rd block, struct rd *out);

#endif
