#include "proto/openpgp.h"

#include "proto/key_internal.h"

#include <string.h>

/* RFC 4880 4.3, 9.1; RFC 6637; the EdDSA draft */
enum { TAG_SIGNATURE = 2, TAG_PUBKEY = 6, TAG_USERID = 13, TAG_SUBKEY = 14 };
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

/* What fingerprints and certifications hash of a key: 99, two octets of length, the body (RFC 4880 5.2.4, 12.2). */
static gpg_error_t put_hashed_key(struct buf *b, const struct key *k, uint32_t created)
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
    gpg_error_t err = put_hashed_key(&b, k, created);

    if (err == 0)
        gcry_md_hash_buffer(GCRY_MD_SHA1, fpr, b.data, b.len);
    buf_free(&b);
    return err;
}

/* --- packets --------------------------------------------------------------------------------------------------------------- */

/* New-format header (RFC 4880 4.2.2); the same length form serves subpackets. */
static void put_length(struct buf *b, size_t n)
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

static void put_packet(struct buf *b, unsigned tag, struct rd body)
{
    buf_put_u8(b, (uint8_t)(0xc0 | tag));
    put_length(b, body.n);
    buf_put_rd(b, body);
}

gpg_error_t openpgp_put_pubkey(struct buf *b, const struct key *k, uint32_t created, bool subkey)
{
    struct buf body = BUF_INIT;
    gpg_error_t err = put_key_body(&body, k, created);

    if (err == 0) {
        put_packet(b, subkey ? TAG_SUBKEY : TAG_PUBKEY, buf_rd(&body));
        err = buf_err(b);
    }
    buf_free(&body);
    return err;
}

gpg_error_t openpgp_put_userid(struct buf *b, const char *uid)
{
    put_packet(b, TAG_USERID, rd_of(uid, strlen(uid)));
    return buf_err(b);
}

/* --- signatures --------------------------------------------------------------------------------------------------------------- */

enum {
    SUB_CREATED = 2,
    SUB_PREF_CIPHERS = 11,
    SUB_ISSUER = 16,
    SUB_PREF_HASHES = 21,
    SUB_PREF_COMPRESSION = 22,
    SUB_KEYSERVER = 23,
    SUB_PRIMARY_UID = 25,
    SUB_KEY_FLAGS = 27,
    SUB_FEATURES = 30,
    SUB_ISSUER_FPR = 33,
};

struct openpgp_sig {
    struct key *key;
    uint8_t fpr[20];
    int hash;
    gcry_md_hd_t md;
    struct buf hashed; /* version .. hashed subpackets: what the trailer covers */
    uint8_t digest[64];
    size_t digest_len;
};

static void put_sub(struct buf *b, uint8_t type, const void *data, size_t n)
{
    put_length(b, n + 1);
    buf_put_u8(b, type);
    buf_put(b, data, n);
}

static void put_hashed_part(struct openpgp_sig *s, enum openpgp_sig_type type, uint32_t created,
                            uint8_t key_flags)
{
    static const uint8_t ciphers[] = {9, 8, 7, 2}, hashes[] = {10, 9, 8, 11, 2},
                         compression[] = {2, 3, 1};
    static const uint8_t no_modify = 0x80, mdc = 0x01, yes = 1;
    uint8_t version_fpr[21] = {4}, stamp[4] = {(uint8_t)(created >> 24), (uint8_t)(created >> 16),
                                               (uint8_t)(created >> 8), (uint8_t)created};
    struct buf sub = BUF_INIT;

    memcpy(version_fpr + 1, s->fpr, 20);
    put_sub(&sub, SUB_ISSUER_FPR, version_fpr, sizeof version_fpr);
    put_sub(&sub, SUB_CREATED, stamp, sizeof stamp);
    if (key_flags != 0)
        put_sub(&sub, SUB_KEY_FLAGS, &key_flags, 1);
    if (type == OPENPGP_SIG_CERT) {
        put_sub(&sub, SUB_PREF_CIPHERS, ciphers, sizeof ciphers);
        put_sub(&sub, SUB_PREF_HASHES, hashes, sizeof hashes);
        put_sub(&sub, SUB_PREF_COMPRESSION, compression, sizeof compression);
        put_sub(&sub, SUB_FEATURES, &mdc, 1);
        put_sub(&sub, SUB_KEYSERVER, &no_modify, 1);
        put_sub(&sub, SUB_PRIMARY_UID, &yes, 1);
    }
    buf_put_u8(&s->hashed, 4);
    buf_put_u8(&s->hashed, (uint8_t)type);
    buf_put_u8(&s->hashed, (uint8_t)openpgp_pubkey_algo(s->key));
    buf_put_u8(&s->hashed, (uint8_t)openpgp_hash_algo(s->hash));
    buf_put_u16(&s->hashed, (uint16_t)sub.len);
    buf_put_rd(&s->hashed, buf_rd(&sub));
    if (buf_err(&sub) != 0 && s->hashed.err == 0)
        s->hashed.err = buf_err(&sub);
    buf_free(&sub);
}

gpg_error_t openpgp_sig_new(const struct key *k, const uint8_t fpr[20], enum openpgp_sig_type type,
                            int hash, uint32_t sig_created, uint8_t key_flags,
                            struct openpgp_sig **out)
{
    struct openpgp_sig *s;
    gpg_error_t err;

    if (openpgp_pubkey_algo(k) == 0 || k->algo == KEY_ECDH)
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    if (openpgp_hash_algo(hash) == 0 || hash == GCRY_MD_SHA1)
        return gpg_error(GPG_ERR_DIGEST_ALGO);
    s = gpgrt_calloc(1, sizeof *s);
    if (s == NULL)
        return gpg_error_from_syserror();
    s->key = key_ref((struct key *)(uintptr_t)k);
    memcpy(s->fpr, fpr, 20);
    s->hash = hash;
    put_hashed_part(s, type, sig_created, key_flags);
    err = buf_err(&s->hashed);
    if (err == 0)
        err = gcry_md_open(&s->md, hash, 0);
    if (err != 0)
        openpgp_sig_free(s);
    else
        *out = s;
    return err;
}

void openpgp_sig_update(struct openpgp_sig *s, struct rd data)
{
    gcry_md_write(s->md, data.p, data.n);
}

gpg_error_t openpgp_sig_update_key(struct openpgp_sig *s, const struct key *k, uint32_t created)
{
    struct buf b = BUF_INIT;
    gpg_error_t err = put_hashed_key(&b, k, created);

    if (err == 0)
        openpgp_sig_update(s, buf_rd(&b));
    buf_free(&b);
    return err;
}

void openpgp_sig_update_userid(struct openpgp_sig *s, const char *uid)
{
    size_t n = strlen(uid);
    uint8_t head[5] = {0xb4, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

    gcry_md_write(s->md, head, sizeof head);
    gcry_md_write(s->md, uid, n);
}

gpg_error_t openpgp_sig_digest(struct openpgp_sig *s, struct tosign *t)
{
    size_t n = s->hashed.len;
    uint8_t trailer[6] = {
        4, 0xff, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

    gcry_md_write(s->md, s->hashed.data, n);
    gcry_md_write(s->md, trailer, sizeof trailer);
    s->digest_len = gcry_md_get_algo_dlen(s->hash);
    memcpy(s->digest, gcry_md_read(s->md, s->hash), s->digest_len);
    /* Ed25519 signs the digest as its message. */
    t->hash = s->key->algo == KEY_ED25519 ? 0 : s->hash;
    t->data = rd_of(s->digest, s->digest_len);
    return 0;
}

gpg_error_t openpgp_sig_finish(struct openpgp_sig *s, gcry_sexp_t sig, struct buf *b)
{
    struct buf body = BUF_INIT, sub = BUF_INIT;
    gpg_error_t err;

    put_sub(&sub, SUB_ISSUER, s->fpr + 12, 8);
    buf_put_rd(&body, buf_rd(&s->hashed));
    buf_put_u16(&body, (uint16_t)sub.len);
    buf_put_rd(&body, buf_rd(&sub));
    buf_put(&body, s->digest, 2);
    err = sig_to_openpgp(s->key, sig, &body);
    if (err == 0)
        err = buf_err(&body);
    if (err == 0) {
        put_packet(b, TAG_SIGNATURE, buf_rd(&body));
        err = buf_err(b);
    }
    buf_free(&body);
    buf_free(&sub);
    return err;
}

void openpgp_sig_free(struct openpgp_sig *s)
{
    if (s == NULL)
        return;
    gcry_md_close(s->md);
    key_unref(s->key);
    buf_free(&s->hashed);
    gpgrt_free(s);
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
