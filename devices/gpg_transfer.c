#include "devices/gpg_transfer.h"

#include "devices/gpg_protect.h"
#include "devices/key_memory.h"

#include <string.h>

#define MAX_PARAMS   4u
#define HASH         20u
#define SALT         8u
#define MAX_BLOCK    16u
#define KEY_LARGEST  32u
#define EXPORT_COUNT 255u /* coded: 65011712 octets */

enum check { CHECK_NONE, CHECK_SUM, CHECK_SHA1 };

struct transfer {
    unsigned long version;
    const struct gpg_algo *algo;
    const char *curve; /* libgcrypt's name, NULL: none */
    struct rd pub[MAX_PARAMS];
    struct rd sec[MAX_PARAMS]; /* protected v4: one of all of them */
    size_t npub, nsec;
    unsigned long csum;
    enum check check;
    int cipher, hash;
    struct rd iv, salt;
    unsigned long s2k, count;
};

/* --- parsing -------------------------------------------------------------------------------------------------------------- */

static gpg_error_t find_curve(struct rd name, const char **out)
{
    gcry_sexp_t s = NULL;
    unsigned nbits;
    gpg_error_t err = gcry_sexp_build(&s, NULL, "(public-key(ecc(curve %b)))", (int)name.n, name.p);

    if (err == 0) {
        *out = gcry_pk_get_curve(s, 0, &nbits);
        if (*out == NULL)
            err = gpg_error(GPG_ERR_UNKNOWN_CURVE);
    }
    gcry_sexp_release(s);
    return err;
}

static gpg_error_t parse_params(struct rd inside, struct transfer *t)
{
    size_t npub = strlen(t->algo->pub),
           nsec = t->check == CHECK_NONE || t->version < 4 ? strlen(t->algo->sec) : 1;
    const char *mark = t->check == CHECK_NONE ? "_" : "e";
    struct rd list, items;
    gpg_error_t err = canon_find(inside, "skey", &list);

    if (err == 0)
        err = canon_enter(list, &items);
    if (err == 0)
        err = canon_next(&items, NULL, NULL);
    for (size_t i = 0; i < npub + nsec && err == 0; i++) {
        struct rd m, v;

        if (canon_next(&items, NULL, &m) != 0 || canon_next(&items, NULL, &v) != 0 || m.p == NULL ||
            v.p == NULL || !rd_is(m, i < npub ? "_" : mark))
            return gpg_error(GPG_ERR_BAD_SECKEY);
        if (i < npub)
            t->pub[i] = v;
        else
            t->sec[i - npub] = v;
    }
    t->npub = npub;
    t->nsec = nsec;
    return err != 0 || items.n > 0 ? gpg_error(GPG_ERR_BAD_SECKEY) : 0;
}

static int map_name(struct rd name, int (*map)(const char *))
{
    char text[32];

    if (name.n == 0 || name.n >= sizeof text)
        return 0;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    return map(text);
}

/* (protection none), (protection sha1|sum CIPHER IV S2K HASH [SALT COUNT]) */
static gpg_error_t parse_protection(struct rd inside, struct transfer *t)
{
    struct rd list, v;
    gpg_error_t err = canon_find(inside, "protection", &list);

    if (err == 0)
        err = canon_atom(list, 1, &v);
    if (err != 0)
        return gpg_error(GPG_ERR_INV_SEXP);
    if (rd_is(v, "none")) {
        t->check = CHECK_NONE;
        return 0;
    }
    if (!rd_is(v, "sha1") && !rd_is(v, "sum"))
        return gpg_error(GPG_ERR_UNSUPPORTED_PROTECTION);
    t->check = rd_is(v, "sha1") ? CHECK_SHA1 : CHECK_SUM;
    if (canon_atom(list, 2, &v) != 0 || (t->cipher = map_name(v, gcry_cipher_map_name)) == 0 ||
        gcry_cipher_test_algo(t->cipher) != 0)
        return gpg_error(GPG_ERR_CIPHER_ALGO);
    if (canon_atom(list, 3, &t->iv) != 0 || canon_atom(list, 4, &v) != 0 ||
        canon_number(v, &t->s2k) != 0 || (t->s2k != 0 && t->s2k != 1 && t->s2k != 3))
        return gpg_error(GPG_ERR_UNSUPPORTED_PROTECTION);
    if (canon_atom(list, 5, &v) != 0 || (t->hash = map_name(v, gcry_md_map_name)) == 0 ||
        gcry_md_test_algo(t->hash) != 0)
        return gpg_error(GPG_ERR_DIGEST_ALGO);
    if (t->s2k != 0 && (canon_atom(list, 6, &t->salt) != 0 || t->salt.n != SALT))
        return gpg_error(GPG_ERR_UNSUPPORTED_PROTECTION);
    if (t->s2k == 3 && (canon_atom(list, 7, &v) != 0 || canon_number(v, &t->count) != 0 ||
                        t->count > EXPORT_COUNT))
        return gpg_error(GPG_ERR_UNSUPPORTED_PROTECTION);
    if (t->iv.n > MAX_BLOCK || t->iv.n != gcry_cipher_get_algo_blklen(t->cipher) ||
        gcry_cipher_get_algo_keylen(t->cipher) > KEY_LARGEST)
        return gpg_error(GPG_ERR_UNSUPPORTED_PROTECTION);
    return 0;
}

static gpg_error_t parse(struct rd key, struct transfer *out)
{
    struct transfer t = {0};
    struct rd inside, v;
    gpg_error_t err;

    if ((err = canon_enter(key, &inside)) != 0 || (err = canon_next(&inside, NULL, &v)) != 0)
        return err;
    if (v.p == NULL || !rd_is(v, "openpgp-private-key"))
        return gpg_error(GPG_ERR_UNKNOWN_SEXP);
    if (canon_value(inside, "version", &v) != 0 || canon_number(v, &t.version) != 0 ||
        t.version < 3 || t.version > 5)
        return gpg_error(GPG_ERR_UNKNOWN_VERSION);
    if (canon_value(inside, "algo", &v) != 0 || (t.algo = gpg_algo_find(v)) == NULL)
        return gpg_error(GPG_ERR_PUBKEY_ALGO);
    if (t.algo->curve) {
        err = canon_value(inside, "curve", &v);
        if (err == 0)
            err = find_curve(v, &t.curve);
        if (err != 0)
            return err;
    }
    if ((err = parse_protection(inside, &t)) != 0 || (err = parse_params(inside, &t)) != 0)
        return err;
    if (canon_value(inside, "csum", &v) == 0 && canon_number(v, &t.csum) != 0)
        return gpg_error(GPG_ERR_INV_SEXP);
    *out = t;
    return 0;
}

/* --- a key of numbers ------------------------------------------------------------------------------------------------------ */

static void put_pub(struct buf *b, const struct transfer *t)
{
    if (t->curve != NULL) {
        canon_put_pair(b, "curve", rd_of(t->curve, strlen(t->curve)));
        if (strcmp(t->curve, "Ed25519") == 0)
            canon_put_pair(b, "flags", rd_of("eddsa", 5));
        else if (strcmp(t->curve, "Curve25519") == 0)
            canon_put_pair(b, "flags", rd_of("djb-tweak", 9));
    }
    for (size_t i = 0; i < t->npub; i++) {
        char name[] = {t->algo->pub[i], '\0'};

        if (t->curve != NULL) /* a point is no number */
            canon_put_pair(b, name, t->pub[i]);
        else
            canon_put_number(b, name, t->pub[i]);
    }
}

/* How many octets a secret has that is no number. */
static size_t fixed_octets(const char *curve)
{
    static const struct {
        const char *curve;
        size_t n;
    } fixed[] = {{"Ed25519", 32}, {"Ed448", 57}, {"X448", 56}};

    for (size_t i = 0; curve != NULL && i < sizeof fixed / sizeof fixed[0]; i++)
        if (strcmp(curve, fixed[i].curve) == 0)
            return fixed[i].n;
    return 0;
}

static void put_secret(struct buf *b, const char *name, struct rd v, size_t fixed)
{
    v = rd_magnitude(v);
    if (fixed == 0 || v.n > fixed) {
        canon_put_number(b, name, v);
        return;
    }
    buf_put_u8(b, '(');
    canon_put_name(b, name);
    buf_printf(b, "%zu:", fixed);
    for (size_t i = v.n; i < fixed; i++)
        buf_put_u8(b, 0);
    buf_put_rd(b, v);
    buf_put_u8(b, ')');
}

/* libgcrypt wants p < q and u = 1/p mod q; SEC is d p q u. */
static gpg_error_t put_rsa_swapped(struct buf *b, const struct rd sec[MAX_PARAMS])
{
    gcry_mpi_t p = NULL, q = NULL, u = gcry_mpi_snew(0);
    size_t n = sec[1].n + sec[2].n + 1;
    uint8_t *octets = gcry_malloc_secure(n);
    gpg_error_t err = octets != NULL ? 0 : gpg_error_from_syserror();

    if (err == 0)
        err = gcry_mpi_scan(&p, GCRYMPI_FMT_USG, sec[2].p, sec[2].n, NULL);
    if (err == 0)
        err = gcry_mpi_scan(&q, GCRYMPI_FMT_USG, sec[1].p, sec[1].n, NULL);
    if (err == 0 && gcry_mpi_invm(u, p, q) == 0)
        err = gpg_error(GPG_ERR_BAD_SECKEY);
    if (err == 0)
        err = gcry_mpi_print(GCRYMPI_FMT_USG, octets, n, &n, u);
    if (err == 0) {
        canon_put_number(b, "d", sec[0]);
        canon_put_number(b, "p", sec[2]);
        canon_put_number(b, "q", sec[1]);
        canon_put_number(b, "u", rd_of(octets, n));
    }
    gcry_mpi_release(p);
    gcry_mpi_release(q);
    gcry_mpi_release(u);
    gcry_free(octets);
    return err;
}

static bool is_larger(struct rd a, struct rd b)
{
    a = rd_magnitude(a);
    b = rd_magnitude(b);
    return a.n != b.n ? a.n > b.n : memcmp(a.p, b.p, a.n) > 0;
}

static gpg_error_t put_private(struct buf *b, const struct transfer *t,
                               const struct rd sec[MAX_PARAMS])
{
    gpg_error_t err = 0;

    buf_put_u8(b, '(');
    canon_put_name(b, "private-key");
    buf_put_u8(b, '(');
    canon_put_name(b, t->algo->name);
    put_pub(b, t);
    if (t->algo->pk == GCRY_PK_RSA && is_larger(sec[1], sec[2]))
        err = put_rsa_swapped(b, sec);
    else
        for (size_t i = 0; t->algo->sec[i] != '\0'; i++)
            put_secret(b, (const char[]){t->algo->sec[i], '\0'}, sec[i], fixed_octets(t->curve));
    buf_put(b, "))", 2);
    return err != 0 ? err : buf_err(b);
}

/* --- opening --------------------------------------------------------------------------------------------------------------- */

static unsigned add_up(struct rd r, unsigned sum)
{
    for (size_t i = 0; i < r.n; i++)
        sum += r.p[i];
    return sum & 0xffff;
}

/* Clear parameters: their sum, each with its count of bits before it. Some writers count an octet string's bits by its
 * length, others a number's. */
static gpg_error_t check_clear(const struct transfer *t)
{
    unsigned sum[2] = {0, 0};

    for (int how = 0; how < 2; how++)
        for (size_t i = 0; i < t->nsec; i++) {
            struct rd v = how == 0 ? rd_magnitude(t->sec[i]) : t->sec[i];
            size_t bits = v.n * 8;

            for (uint8_t top = 0x80; how == 0 && v.n > 0 && (v.p[0] & top) == 0; top >>= 1)
                bits--;
            sum[how] = add_up(v, sum[how] + (unsigned)(bits >> 8 & 0xff) + (unsigned)(bits & 0xff));
        }
    return sum[0] == t->csum || sum[1] == t->csum ? 0 : gpg_error(GPG_ERR_CHECKSUM);
}

static gpg_error_t open_cipher(const struct transfer *t, struct rd passphrase,
                               gcry_cipher_hd_t *out)
{
    static const int kdfs[] = {GCRY_KDF_SIMPLE_S2K, GCRY_KDF_SALTED_S2K, 0,
                               GCRY_KDF_ITERSALTED_S2K};
    size_t n = gcry_cipher_get_algo_keylen(t->cipher);
    uint8_t *kek = gcry_malloc_secure(KEY_LARGEST);
    gcry_cipher_hd_t h = NULL;
    gpg_error_t err = kek != NULL ? 0 : gpg_error_from_syserror();

    if (err == 0)
        err = gcry_kdf_derive(passphrase.p, passphrase.n, kdfs[t->s2k], t->hash, t->salt.p,
                              t->salt.n, t->s2k == 3 ? gpg_s2k_decode(t->count) : 0, n, kek);
    if (err == 0)
        err = gcry_cipher_open(&h, t->cipher, GCRY_CIPHER_MODE_CFB,
                               GCRY_CIPHER_SECURE | GCRY_CIPHER_ENABLE_SYNC);
    if (err == 0) {
        err = gcry_cipher_setkey(h, kek, n);
        if (gpg_err_code(err) == GPG_ERR_WEAK_KEY)
            err = 0;
    }
    if (err == 0)
        err = gcry_cipher_setiv(h, t->iv.p, t->iv.n);
    gcry_free(kek);
    if (err != 0)
        gcry_cipher_close(h);
    else
        *out = h;
    return err;
}

/* Version 3 leaves each count of bits in clear and starts the cipher anew for each number. */
static gpg_error_t decrypt_v3(const struct transfer *t, gcry_cipher_hd_t h, struct buf *plain)
{
    unsigned sum = 0;

    for (size_t i = 0; i < t->nsec; i++) {
        struct rd v = t->sec[i];
        size_t at = plain->len;
        gpg_error_t err;

        if (v.n < 2)
            return gpg_error(GPG_ERR_BAD_SECKEY);
        buf_put_rd(plain, v);
        err = buf_err(plain);
        if (err == 0)
            err = gcry_cipher_sync(h);
        if (err == 0 && v.n > 2)
            err = gcry_cipher_decrypt(h, plain->data + at + 2, v.n - 2, NULL, 0);
        if (err != 0)
            return err;
        sum = add_up(rd_of(plain->data + at, v.n), sum);
    }
    return sum == t->csum ? 0 : gpg_error(GPG_ERR_BAD_PASSPHRASE);
}

static gpg_error_t decrypt_v4(const struct transfer *t, gcry_cipher_hd_t h, struct buf *plain)
{
    struct rd v = t->sec[0], tail;
    size_t check = t->check == CHECK_SHA1 ? HASH : 2;
    uint8_t digest[HASH];
    unsigned sum;
    gpg_error_t err;

    if (v.n < check)
        return gpg_error(GPG_ERR_BAD_SECKEY);
    buf_put_rd(plain, v);
    err = buf_err(plain);
    if (err == 0)
        err = gcry_cipher_decrypt(h, plain->data, plain->len, NULL, 0);
    if (err != 0)
        return err;
    plain->len -= check;
    tail = rd_of(plain->data + plain->len, check);
    if (t->check == CHECK_SHA1) {
        gcry_md_hash_buffer(GCRY_MD_SHA1, digest, plain->data, plain->len);
        return rd_eq(tail, rd_of(digest, HASH)) ? 0 : gpg_error(GPG_ERR_BAD_PASSPHRASE);
    }
    sum = add_up(buf_rd(plain), 0);
    return tail.p[0] == sum >> 8 && tail.p[1] == (sum & 0xff) ? 0
                                                              : gpg_error(GPG_ERR_BAD_PASSPHRASE);
}

static gpg_error_t read_mpis(struct rd r, const struct transfer *t, struct rd sec[MAX_PARAMS])
{
    for (size_t i = 0; t->algo->sec[i] != '\0'; i++) {
        uint16_t bits;

        if (rd_u16(&r, &bits) != 0 || rd_bytes(&r, (bits + 7u) / 8, &sec[i]) != 0)
            return gpg_error(GPG_ERR_BAD_PASSPHRASE);
    }
    return rd_end(&r) == 0 ? 0 : gpg_error(GPG_ERR_BAD_PASSPHRASE);
}

gpg_error_t gpg_transfer_open(struct rd key, struct rd passphrase, struct buf *out)
{
    struct transfer t;
    struct rd sec[MAX_PARAMS] = {0};
    struct buf plain = BUF_INIT_SECURE;
    gcry_cipher_hd_t h = NULL;
    gpg_error_t err = parse(key, &t);

    if (err != 0)
        return err;
    key_memory_begin();
    if (t.check == CHECK_NONE) {
        err = check_clear(&t);
        memcpy(sec, t.sec, sizeof sec);
    } else {
        err =
            passphrase.n > 0 ? open_cipher(&t, passphrase, &h) : gpg_error(GPG_ERR_BAD_PASSPHRASE);
        if (err == 0)
            err = t.version < 4 ? decrypt_v3(&t, h, &plain) : decrypt_v4(&t, h, &plain);
        if (err == 0)
            err = read_mpis(buf_rd(&plain), &t, sec);
    }
    if (err == 0)
        err = put_private(out, &t, sec);
    gcry_cipher_close(h);
    buf_free(&plain);
    key_memory_end();
    return err;
}

gpg_error_t gpg_transfer_look(struct rd key, struct buf *pub, bool *is_protected)
{
    struct transfer t;
    gpg_error_t err = parse(key, &t);

    if (err != 0)
        return err;
    *is_protected = t.check != CHECK_NONE;
    if (pub == NULL)
        return 0;
    buf_put_u8(pub, '(');
    canon_put_name(pub, "public-key");
    buf_put_u8(pub, '(');
    canon_put_name(pub, t.algo->name);
    put_pub(pub, &t);
    buf_put(pub, "))", 2);
    return buf_err(pub);
}

/* --- closing --------------------------------------------------------------------------------------------------------------- */

/* The secret parameters as OpenPGP has them, and their hash. */
static gpg_error_t put_mpis(const struct gpg_key_parts *p, struct buf *b)
{
    uint8_t digest[HASH];
    gpg_error_t err;

    for (const char *c = p->algo->sec; *c != '\0'; c++) {
        struct rd v;

        err = canon_value(p->secret, (const char[]){*c, '\0'}, &v);
        if (err != 0)
            return gpg_error(GPG_ERR_BAD_SECKEY);
        v = rd_magnitude(v);
        buf_put_pgp_mpi(b, v.p, v.n);
    }
    if ((err = buf_err(b)) != 0)
        return err;
    gcry_md_hash_buffer(GCRY_MD_SHA1, digest, b->data, b->len);
    buf_put(b, digest, sizeof digest);
    return buf_err(b);
}

static gpg_error_t put_transfer(const struct gpg_key_parts *p, const struct transfer *t,
                                struct rd blob, struct buf *out)
{
    char count[8];
    struct rd v;
    gpg_error_t err = 0;

    buf_put_u8(out, '(');
    canon_put_name(out, "openpgp-private-key");
    canon_put_pair(out, "version", rd_of("4", 1));
    canon_put_pair(out, "algo", rd_of(p->algo->openpgp, strlen(p->algo->openpgp)));
    if (p->algo->curve) {
        err = canon_value(p->pub, "curve", &v);
        if (err == 0)
            canon_put_pair(out, "curve", v);
    }
    buf_put_u8(out, '(');
    canon_put_name(out, "skey");
    for (const char *c = p->algo->pub; *c != '\0' && err == 0; c++) {
        err = canon_value(p->pub, (const char[]){*c, '\0'}, &v);
        if (err == 0) {
            canon_put_name(out, "_");
            canon_put(out, v);
        }
    }
    canon_put_name(out, "e");
    canon_put(out, blob);
    buf_put(out, ")(", 2);
    canon_put_name(out, "protection");
    canon_put_name(out, "sha1");
    canon_put_name(out, "aes");
    canon_put(out, t->iv);
    canon_put_name(out, "3");
    canon_put_name(out, "sha1");
    canon_put(out, t->salt);
    snprintf(count, sizeof count, "%lu", t->count);
    canon_put_name(out, count);
    buf_put(out, "))", 2);
    return err != 0 ? gpg_error(GPG_ERR_BAD_SECKEY) : buf_err(out);
}

gpg_error_t gpg_transfer_close(struct rd key, struct rd passphrase, struct buf *out)
{
    struct gpg_key_parts p;
    uint8_t iv[MAX_BLOCK], salt[SALT];
    struct transfer t = {.cipher = GCRY_CIPHER_AES128,
                         .hash = GCRY_MD_SHA1,
                         .s2k = 3,
                         .count = EXPORT_COUNT,
                         .iv = rd_of(iv, sizeof iv),
                         .salt = rd_of(salt, sizeof salt)};
    struct buf blob = BUF_INIT_SECURE;
    gcry_cipher_hd_t h = NULL;
    gpg_error_t err = gpg_key_split(key, &p);

    if (err == 0 && p.form != GPG_KEY_CLEAR)
        err = gpg_error(GPG_ERR_UNUSABLE_SECKEY);
    if (err == 0 && passphrase.n == 0)
        err = gpg_error(GPG_ERR_NO_PASSPHRASE);
    if (err != 0)
        return err;
    gcry_create_nonce(iv, sizeof iv);
    gcry_randomize(salt, sizeof salt, GCRY_STRONG_RANDOM);
    key_memory_begin();
    err = put_mpis(&p, &blob);
    if (err == 0)
        err = open_cipher(&t, passphrase, &h);
    if (err == 0)
        err = gcry_cipher_encrypt(h, blob.data, blob.len, NULL, 0);
    if (err == 0)
        err = put_transfer(&p, &t, buf_rd(&blob), out);
    gcry_cipher_close(h);
    buf_free(&blob);
    key_memory_end();
    return err;
}

/* --- kept as it came --------------------------------------------------------------------------------------------------------- */

gpg_error_t gpg_native_make(struct rd transfer, struct buf *out)
{
    struct transfer t;
    gpg_error_t err = parse(transfer, &t);

    if (err != 0)
        return err;
    buf_put_u8(out, '(');
    canon_put_name(out, "protected-private-key");
    buf_put_u8(out, '(');
    canon_put_name(out, t.algo->name);
    put_pub(out, &t);
    buf_put_u8(out, '(');
    canon_put_name(out, "protected");
    canon_put_name(out, "openpgp-native");
    buf_put_rd(out, transfer);
    buf_put(out, ")))", 3);
    return buf_err(out);
}

gpg_error_t gpg_native_inner(const struct gpg_key_parts *p, struct rd *transfer)
{
    struct rd inside;
    gpg_error_t err = canon_enter(p->secret, &inside);

    if (err == 0)
        err = canon_find(inside, "openpgp-private-key", transfer);
    return err != 0 ? gpg_error(GPG_ERR_CORRUPTED_PROTECTION) : 0;
}

gpg_error_t gpg_native_open(const struct gpg_key_parts *p, struct rd passphrase, struct buf *out)
{
    struct buf outer = BUF_INIT, inner = BUF_INIT, clear = BUF_INIT_SECURE;
    struct gpg_key_parts opened;
    struct rd transfer;
    uint8_t grips[2][20];
    bool is_protected;
    gpg_error_t err = gpg_native_inner(p, &transfer);

    if (err == 0)
        err = gpg_transfer_look(transfer, &inner, &is_protected);
    if (err == 0)
        err = gpg_key_public(p, &outer);
    if (err == 0)
        err = gpg_key_grip(buf_rd(&outer), grips[0]);
    if (err == 0)
        err = gpg_key_grip(buf_rd(&inner), grips[1]);
    /* What is asked for by its outside must be what is inside. */
    if (err == 0 && memcmp(grips[0], grips[1], sizeof grips[0]) != 0)
        err = gpg_error(GPG_ERR_CORRUPTED_PROTECTION);
    if (err == 0)
        err = gpg_transfer_open(transfer, passphrase, &clear);
    if (err == 0)
        err = gpg_key_split(buf_rd(&clear), &opened);
    if (err == 0) {
        opened.rest = p->rest; /* comments */
        gpg_key_join(out, "private-key", &opened);
        err = buf_err(out);
    }
    buf_free(&outer);
    buf_free(&inner);
    buf_free(&clear);
    return err;
}
