#include "proto/openpgp_internal.h"

#include "proto/key_internal.h"

#include <string.h>

/* RFC 4880 4.3, 9.1; RFC 6637; the EdDSA draft */
enum { ALGO_RSA = 1, ALGO_ECDH = 18, ALGO_ECDSA = 19, ALGO_EDDSA = 22 };

/* Curves as OpenPGP names them: object identifiers without tag and length, and the KDF that GnuPG chooses for ECDH. */
static const struct {
    const char *curve;
    uint8_t oid_len, oid[10];
    uint8_t kdf_hash, kdf_cipher;
} oids[] = {
    {"NIST P-256", 8, {0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07}, 8, 7},
    {"NIST P-384", 5, {0x2B, 0x81, 0x04, 0x00, 0x22}, 9, 9},
    {"NIST P-521", 5, {0x2B, 0x81, 0x04, 0x00, 0x23}, 10, 9},
    {"secp256k1", 5, {0x2B, 0x81, 0x04, 0x00, 0x0A}, 8, 7},
    {"brainpoolP256r1", 9, {0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07}, 8, 7},
    {"brainpoolP384r1", 9, {0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0B}, 9, 9},
    {"brainpoolP512r1", 9, {0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0D}, 10, 9},
    {"Ed25519", 9, {0x2B, 0x06, 0x01, 0x04, 0x01, 0xDA, 0x47, 0x0F, 0x01}, 0, 0},
    {"Curve25519", 10, {0x2B, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01}, 8, 7},
};

int openpgp_pubkey_algo(const struct key *k)
{
    switch (k->algo) {
    case KEY_RSA:
        return ALGO_RSA;
    case KEY_ECDSA:
        return ALGO_ECDSA;
    case KEY_ED25519:
        return ALGO_EDDSA;
    case KEY_ECDH:
        return ALGO_ECDH;
    default:
        return 0;
    }
}

int openpgp_hash_algo(int gcry_md)
{
    static const int known[][2] = {{GCRY_MD_SHA1, 2},
                                   {GCRY_MD_SHA256, 8},
                                   {GCRY_MD_SHA384, 9},
                                   {GCRY_MD_SHA512, 10},
                                   {GCRY_MD_SHA224, 11}};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i][0] == gcry_md)
            return known[i][1];
    return 0;
}

int openpgp_choose_hash(const struct key *k)
{
    if (k->algo == KEY_ECDSA)
        return k->nbits <= 256 ? GCRY_MD_SHA256 : k->nbits <= 384 ? GCRY_MD_SHA384 : GCRY_MD_SHA512;
    return k->algo == KEY_RSA && k->nbits <= 2048 ? GCRY_MD_SHA256 : GCRY_MD_SHA512;
}

/* --- keys ------------------------------------------------------------------------------------------------------------------ */

static gpg_error_t put_rsa(struct buf *b, const struct key *k)
{
    struct buf n = BUF_INIT, e = BUF_INIT;
    gpg_error_t err = sexp_param(k->sexp, "n", &n);

    if (err == 0)
        err = sexp_param(k->sexp, "e", &e);
    if (err == 0) {
        buf_put_pgp_mpi(b, n.data, n.len);
        buf_put_pgp_mpi(b, e.data, e.len);
    }
    buf_free(&n);
    buf_free(&e);
    return err;
}

static gpg_error_t put_ec(struct buf *b, const struct key *k)
{
    const struct curve *curve = curve_by_name(k->curve);
    struct buf q = BUF_INIT, point = BUF_INIT;
    size_t i = 0;
    gpg_error_t err;

    while (i < sizeof oids / sizeof oids[0] && strcmp(oids[i].curve, k->curve) != 0)
        i++;
    if (i == sizeof oids / sizeof oids[0] || curve == NULL)
        return gpg_error(GPG_ERR_UNKNOWN_CURVE);
    err = sexp_param(k->sexp, "q", &q);
    if (err != 0)
        goto out;
    /* Native points carry the prefix 40 in OpenPGP, whatever the s-expression has. */
    if (curve->form != CURVE_WEIERSTRASS && q.len == curve->octets)
        buf_put_u8(&point, 0x40);
    buf_put(&point, q.data, q.len);
    buf_put_u8(b, oids[i].oid_len);
    buf_put(b, oids[i].oid, oids[i].oid_len);
    buf_put_pgp_mpi(b, point.data, point.len);
    if (k->algo == KEY_ECDH) {
        buf_put_u8(b, 3);
        buf_put_u8(b, 1);
        buf_put_u8(b, oids[i].kdf_hash);
        buf_put_u8(b, oids[i].kdf_cipher);
    }
    err = buf_err(&point);
out:
    buf_free(&q);
    buf_free(&point);
    return err;
}

/* The body of a version 4 key packet (RFC 4880 5.5.2). */
static gpg_error_t put_key_body(struct buf *b, const struct key *k, uint32_t created)
{
    int algo = openpgp_pubkey_algo(k);
    gpg_error_t err;

    if (algo == 0)
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    buf_put_u8(b, 4);
    buf_put_u32(b, created);
    buf_put_u8(b, (uint8_t)algo);
    err = algo == ALGO_RSA ? put_rsa(b, k) : put_ec(b, k);
    return err != 0 ? err : buf_err(b);
}

gpg_error_t openpgp_put_hashed_key(struct buf *b, const struct key *k, uint32_t created)
{
    struct buf body = BUF_INIT;
    gpg_error_t err = put_key_body(&body, k, created);

    if (err == 0 && body.len > 0xffff)
        err = gpg_error(GPG_ERR_TOO_LARGE);
    if (err == 0) {
        buf_put_u8(b, 0x99);
        buf_put_u16(b, (uint16_t)body.len);
        buf_put_rd(b, buf_rd(&body));
        err = buf_err(b);
    }
    buf_free(&body);
    return err;
}

gpg_error_t openpgp_fingerprint(const struct key *k, uint32_t created, uint8_t fpr[20])
{
    struct buf b = BUF_INIT;
    gpg_error_t err = openpgp_put_hashed_key(&b, k, created);

    if (err == 0)
        gcry_md_hash_buffer(GCRY_MD_SHA1, fpr, b.data, b.len);
    buf_free(&b);
    return err;
}

/* --- packets --------------------------------------------------------------------------------------------------------------- */

void openpgp_put_length(struct buf *b, size_t n)
{
    if (n < 192) {
        buf_put_u8(b, (uint8_t)n);
    } else if (n < 8384) {
        buf_put_u8(b, (uint8_t)(((n - 192) >> 8) + 192));
        buf_put_u8(b, (uint8_t)((n - 192) & 0xff));
    } else {
        buf_put_u8(b, 0xff);
        buf_put_u32(b, (uint32_t)n);
    }
}

void openpgp_put_packet(struct buf *b, unsigned tag, struct rd body)
{
    buf_put_u8(b, (uint8_t)(0xc0 | tag));
    openpgp_put_length(b, body.n);
    buf_put_rd(b, body);
}

gpg_error_t openpgp_put_pubkey(struct buf *b, const struct key *k, uint32_t created, bool subkey)
{
    struct buf body = BUF_INIT;
    gpg_error_t err = put_key_body(&body, k, created);

    if (err == 0) {
        openpgp_put_packet(b, subkey ? TAG_SUBKEY : TAG_PUBKEY, buf_rd(&body));
        err = buf_err(b);
    }
    buf_free(&body);
    return err;
}

gpg_error_t openpgp_put_userid(struct buf *b, const char *uid)
{
    openpgp_put_packet(b, TAG_USERID, rd_of(uid, strlen(uid)));
    return buf_err(b);
}

/* --- armor ------------------------------------------------------------------------------------------------------------------- */

void openpgp_armor(struct buf *b, const char *kind, struct rd data)
{
    uint8_t crc[3];
    char *text = b64_encode(data.p, data.n), *sum;
    size_t n;

    gcry_md_hash_buffer(GCRY_MD_CRC24_RFC2440, crc, data.p, data.n);
    sum = b64_encode(crc, sizeof crc);
    if (text == NULL || sum == NULL) {
        b->err = gpg_error(GPG_ERR_ENOMEM);
    } else {
        buf_printf(b, "-----BEGIN PGP %s-----\n\n", kind);
        n = strlen(text);
        for (size_t i = 0; i < n; i += 64)
            buf_printf(b, "%.64s\n", text + i);
        buf_printf(b, "=%s\n-----END PGP %s-----\n", sum, kind);
    }
    gpgrt_free(text);
    gpgrt_free(sum);
}
