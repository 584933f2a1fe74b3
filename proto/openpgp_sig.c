/* Version 4 signatures (RFC 4880 5.2). */
#include "proto/openpgp_internal.h"

#include <string.h>

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
    openpgp_put_length(b, n + 1);
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

/* SHA-256 or better and, as verifiers demand of ECDSA (RFC 6637 12.2), no shorter than the field; P-521 has no hash of
 * its own length. */
static bool hash_is_strong(const struct key *k, int hash)
{
    unsigned bits = 8 * gcry_md_get_algo_dlen(hash);

    return openpgp_hash_algo(hash) != 0 && bits >= 256 &&
           (k->algo != KEY_ECDSA || bits == 512 || bits >= k->nbits);
}

gpg_error_t openpgp_sig_new(const struct key *k, const uint8_t fpr[20], enum openpgp_sig_type type,
                            int hash, uint32_t sig_created, uint8_t key_flags,
                            struct openpgp_sig **out)
{
    struct openpgp_sig *s;
    gpg_error_t err;

    if (openpgp_pubkey_algo(k) == 0 || k->algo == KEY_ECDH)
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    if (!hash_is_strong(k, hash))
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

void openpgp_sig_update_text(struct openpgp_sig *s, struct rd text)
{
    while (text.n > 0) {
        const uint8_t *lf = memchr(text.p, '\n', text.n);
        size_t line = lf != NULL ? (size_t)(lf - text.p) : text.n, n = line;

        while (n > 0 && text.p[n - 1] == '\r')
            n--;
        gcry_md_write(s->md, text.p, n);
        if (lf == NULL)
            break;
        gcry_md_write(s->md, "\r\n", 2);
        text = rd_of(lf + 1, text.n - line - 1);
    }
}

gpg_error_t openpgp_sig_update_key(struct openpgp_sig *s, const struct key *k, uint32_t created)
{
    struct buf b = BUF_INIT;
    gpg_error_t err = openpgp_put_hashed_key(&b, k, created);

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
        openpgp_put_packet(b, TAG_SIGNATURE, buf_rd(&body));
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
