#include "devices/gpg_secret.h"

#include "devices/key_memory.h"
#include "devices/software_key.h"

#include <pthread.h>
#include <string.h>

struct gpg_secret {
    struct buf text;  /* canonical, secure */
    gcry_sexp_t sexp; /* the same */
    const struct gpg_algo *algo;
    const char *curve; /* libgcrypt's name, NULL: none */
    unsigned nbits;
    pthread_mutex_t mutex;
    bool tried;                /* FAST was looked for */
    struct software_key *fast; /* by libcrypto, for what it is faster at; NULL: libgcrypt does it */
    int refs;
};

struct gpg_secret *gpg_secret_ref(struct gpg_secret *s)
{
    __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void gpg_secret_unref(struct gpg_secret *s)
{
    if (s == NULL || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    software_key_free(s->fast);
    gcry_sexp_release(s->sexp);
    buf_free(&s->text);
    pthread_mutex_destroy(&s->mutex);
    gpgrt_free(s);
}

struct rd gpg_secret_key(const struct gpg_secret *s)
{
    return buf_rd(&s->text);
}

static gpg_error_t check_parts(const struct gpg_key_parts *p)
{
    struct buf pub = BUF_INIT;
    uint8_t grip[20];
    gpg_error_t err = gpg_key_public(p, &pub);

    if (err == 0)
        err = gpg_key_grip(buf_rd(&pub), grip);
    if (err == 0)
        err = gpg_number_check(p->secret, !p->algo->curve);
    buf_free(&pub);
    return err;
}

gpg_error_t gpg_secret_new(struct rd key, struct gpg_secret **out)
{
    struct gpg_key_parts p;
    struct gpg_secret *s;
    gpg_error_t err = gpg_key_split(key, &p);

    if (err == 0 && p.form != GPG_KEY_CLEAR)
        err = gpg_error(GPG_ERR_UNUSABLE_SECKEY);
    if (err == 0)
        err = check_parts(&p);
    if (err != 0)
        return err;
    s = gpgrt_calloc(1, sizeof *s);
    if (s == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&s->mutex, NULL);
    s->refs = 1;
    s->algo = p.algo;
    s->text = BUF_INIT_SECURE;
    buf_put_rd(&s->text, key);
    err = buf_err(&s->text);
    key_memory_begin();
    if (err == 0)
        err = gcry_sexp_sscan(&s->sexp, NULL, (const char *)s->text.data, s->text.len);
    /* With a public half that is not its own, a signature can give the secret away. */
    if (err == 0 && gcry_pk_testkey(s->sexp) != 0)
        err = gpg_error(GPG_ERR_BAD_SECKEY);
    if (err == 0) {
        s->nbits = gcry_pk_get_nbits(s->sexp);
        s->curve = p.algo->curve ? gcry_pk_get_curve(s->sexp, 0, NULL) : NULL;
    }
    key_memory_end();
    if (err != 0)
        gpg_secret_unref(s);
    else
        *out = s;
    return err;
}

/* --- by libcrypto --------------------------------------------------------------------------------------------------------- */

static gpg_error_t value(const struct gpg_key_parts *p, const char *name, struct rd *v)
{
    gpg_error_t err = canon_value(p->pub, name, v);

    return err == 0 ? 0 : canon_value(p->secret, name, v);
}

/* gpg's p and q are ssh's q and p, as its u is 1/p mod q. */
static gpg_error_t put_rsa(const struct gpg_key_parts *p, struct buf *b)
{
    static const char *const names[] = {"n", "e", "d", "u", "q", "p"};

    buf_put_cstring(b, "ssh-rsa");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct rd v;
        gpg_error_t err = value(p, names[i], &v);

        if (err != 0)
            return err;
        buf_put_mpint(b, v.p, v.n);
    }
    return buf_err(b);
}

static gpg_error_t put_ecdsa(const struct gpg_key_parts *p, const char *curve, struct buf *b)
{
    struct rd q, d;
    gpg_error_t err = value(p, "q", &q);

    if (err == 0)
        err = value(p, "d", &d);
    if (err != 0)
        return err;
    buf_put_u32(b, (uint32_t)(strlen("ecdsa-sha2-") + strlen(curve)));
    buf_printf(b, "ecdsa-sha2-%s", curve);
    buf_put_cstring(b, curve);
    buf_put_string(b, q.p, q.n);
    buf_put_mpint(b, d.p, d.n);
    return buf_err(b);
}

static gpg_error_t put_ed25519(const struct gpg_key_parts *p, struct buf *b)
{
    struct rd q, d;
    gpg_error_t err = value(p, "q", &q);

    if (err == 0)
        err = value(p, "d", &d);
    if (err != 0)
        return err;
    d = rd_magnitude(d);
    if (q.n != 33 || q.p[0] != 0x40 || d.n > 32)
        return gpg_error(GPG_ERR_BAD_SECKEY);
    buf_put_cstring(b, "ssh-ed25519");
    buf_put_string(b, q.p + 1, 32);
    buf_put_u32(b, 64);
    for (size_t i = d.n; i < 32; i++)
        buf_put_u8(b, 0);
    buf_put_rd(b, d);
    buf_put(b, q.p + 1, 32);
    return buf_err(b);
}

static const char *ssh_curve(const char *curve)
{
    static const char *const curves[][2] = {
        {"NIST P-256", "nistp256"}, {"NIST P-384", "nistp384"}, {"NIST P-521", "nistp521"}};

    for (size_t i = 0; curve != NULL && i < sizeof curves / sizeof curves[0]; i++)
        if (strcmp(curve, curves[i][0]) == 0)
            return curves[i][1];
    return NULL;
}

/* NULL: not one that libcrypto is used for. */
static struct software_key *fast(struct gpg_secret *s)
{
    struct gpg_key_parts p;
    struct buf body = BUF_INIT_SECURE;
    gpg_error_t err = gpg_error(GPG_ERR_NOT_SUPPORTED);

    pthread_mutex_lock(&s->mutex);
    if (!s->tried && gpg_key_split(buf_rd(&s->text), &p) == 0) {
        if (s->algo->pk == GCRY_PK_RSA)
            err = put_rsa(&p, &body);
        else if (ssh_curve(s->curve) != NULL)
            err = put_ecdsa(&p, ssh_curve(s->curve), &body);
        else if (s->curve != NULL && strcmp(s->curve, "Ed25519") == 0)
            err = put_ed25519(&p, &body);
        if (err == 0)
            (void)software_key_new(buf_rd(&body), &s->fast);
    }
    s->tried = true;
    pthread_mutex_unlock(&s->mutex);
    buf_free(&body);
    return s->fast;
}

/* --- signing --------------------------------------------------------------------------------------------------------------- */

static gpg_error_t rsa_block(const struct gpg_secret *s, struct rd digest, enum gpg_pad pad,
                             gcry_sexp_t *data)
{
    size_t n = (s->nbits + 7) / 8;
    struct buf b = BUF_INIT;
    gpg_error_t err;

    if (pad == GPG_PAD_NONE)
        return digest.n == n
                   ? gcry_sexp_build(data, NULL, "(data(flags raw)(value %b))", (int)n, digest.p)
                   : gpg_error(GPG_ERR_INV_LENGTH);
    if (digest.n + 11 > n)
        return gpg_error(GPG_ERR_TOO_SHORT);
    buf_put_u8(&b, 0);
    buf_put_u8(&b, 1);
    for (size_t i = digest.n + 3; i < n; i++)
        buf_put_u8(&b, 0xff);
    buf_put_u8(&b, 0);
    buf_put_rd(&b, digest);
    err = buf_err(&b);
    if (err == 0)
        err = gcry_sexp_build(data, NULL, "(data(flags raw)(value %b))", (int)b.len, b.data);
    buf_free(&b);
    return err;
}

static int hash_of_length(size_t n)
{
    static const int hashes[] = {GCRY_MD_SHA1, GCRY_MD_SHA224, GCRY_MD_SHA256, GCRY_MD_SHA384,
                                 GCRY_MD_SHA512};

    for (size_t i = 0; i < sizeof hashes / sizeof hashes[0]; i++)
        if (gcry_md_get_algo_dlen(hashes[i]) == n)
            return hashes[i];
    return 0;
}

/* The group's size in bits: DSA's q, ECDSA's order. */
static gpg_error_t group_bits(const struct gpg_secret *s, unsigned *out)
{
    struct gpg_key_parts p;
    struct rd q;
    gpg_error_t err;

    if (s->algo->curve) {
        *out = s->nbits;
        return 0;
    }
    if ((err = gpg_key_split(buf_rd(&s->text), &p)) != 0 ||
        (err = canon_value(p.pub, "q", &q)) != 0)
        return err;
    q = rd_magnitude(q);
    *out = (unsigned)q.n * 8;
    for (uint8_t top = 0x80; q.n > 0 && (q.p[0] & top) == 0; top >>= 1)
        --*out;
    return *out % 8 == 0 ? 0 : gpg_error(GPG_ERR_INV_LENGTH);
}

/* What DSA and ECDSA sign of T: its first octets, named by their number. */
static gpg_error_t cut(const struct gpg_secret *s, const struct tosign *t, struct tosign *out)
{
    unsigned bits = 0;
    size_t n;
    gpg_error_t err = group_bits(s, &bits);

    if (err != 0)
        return err;
    n = bits == 521 ? 64 : bits / 8;
    if (bits < 160 || t->data.n < n)
        return gpg_error(GPG_ERR_INV_LENGTH);
    *out = (struct tosign){.hash = hash_of_length(n), .data = rd_of(t->data.p, n)};
    return 0;
}

static gpg_error_t build_data(const struct gpg_secret *s, const struct tosign *t, enum gpg_pad pad,
                              gcry_sexp_t *data)
{
    int n = (int)t->data.n;

    if (s->algo->pk == GCRY_PK_RSA && t->hash == 0)
        return rsa_block(s, t->data, pad, data);
    if (s->algo->pk == GCRY_PK_RSA) {
        char name[24];

        if (gcry_md_test_algo(t->hash) != 0 || gcry_md_get_algo_dlen(t->hash) != t->data.n)
            return gpg_error(GPG_ERR_DIGEST_ALGO);
        snprintf(name, sizeof name, "%s", gcry_md_algo_name(t->hash));
        for (char *c = name; *c != '\0'; c++)
            if (*c >= 'A' && *c <= 'Z')
                *c = (char)(*c + 32);
        return gcry_sexp_build(data, NULL, "(data(flags pkcs1)(hash %s %b))", name, n, t->data.p);
    }
    if (s->curve != NULL && strcmp(s->curve, "Ed25519") == 0)
        return gcry_sexp_build(data, NULL, "(data(flags eddsa)(hash-algo sha512)(value %b))", n,
                               t->data.p);
    if (s->curve != NULL && strcmp(s->curve, "Ed448") == 0)
        return gcry_sexp_build(data, NULL, "(data(value %b))", n, t->data.p);
    if (t->hash == 0)
        return gcry_sexp_build(data, NULL, "(data(flags raw)(value %b))", n, t->data.p);
    return gcry_sexp_build(data, NULL, "(data(flags rfc6979)(hash %s %b))",
                           gcry_md_algo_name(t->hash), n, t->data.p);
}

static bool can_sign(const struct gpg_secret *s)
{
    return s->algo->pk != GCRY_PK_ELG && (s->curve == NULL ? !s->algo->curve
                                                           : strcmp(s->curve, "Curve25519") != 0 &&
                                                                 strcmp(s->curve, "X448") != 0);
}

static bool is_edwards(const struct gpg_secret *s)
{
    return s->curve != NULL && (strcmp(s->curve, "Ed25519") == 0 || strcmp(s->curve, "Ed448") == 0);
}

/* Hashes that libcrypto's side knows. */
static bool hash_is_common(int hash)
{
    return hash == GCRY_MD_SHA1 || hash == GCRY_MD_SHA256 || hash == GCRY_MD_SHA384 ||
           hash == GCRY_MD_SHA512;
}

gpg_error_t gpg_secret_sign(struct gpg_secret *s, const struct tosign *t, enum gpg_pad pad,
                            gcry_sexp_t *sig)
{
    bool edwards = is_edwards(s), rsa = s->algo->pk == GCRY_PK_RSA;
    struct tosign what = *t;
    struct software_key *k;
    gcry_sexp_t data = NULL;
    gpg_error_t err = can_sign(s) ? 0 : gpg_error(GPG_ERR_UNUSABLE_SECKEY);

    if (err == 0 && t->data.n == 0)
        err = gpg_error(GPG_ERR_NO_DATA);
    if (err == 0 && !edwards && !rsa)
        err = cut(s, t, &what);
    if (err != 0)
        return err;
    k = edwards || hash_is_common(what.hash) ? fast(s) : NULL;
    if (k != NULL)
        return software_key_sign(k, &what, sig);
    err = build_data(s, &what, pad, &data);
    key_memory_begin();
    if (err == 0)
        err = gcry_pk_sign(sig, data, s->sexp);
    key_memory_end();
    gcry_sexp_release(data);
    return err;
}

/* --- decrypting --------------------------------------------------------------------------------------------------------------- */

/* The sender's point. Old programs sent x alone, as a number that lost its leading zeros. */
static gpg_error_t put_point(const struct gpg_secret *s, struct rd list, struct buf *out)
{
    bool x25519 = s->curve != NULL && strcmp(s->curve, "Curve25519") == 0;
    struct buf point = BUF_INIT;
    struct rd items, e;
    gpg_error_t err = canon_enter(list, &items);

    if (err == 0)
        err = canon_next(&items, NULL, NULL);
    if (err == 0)
        err = canon_value(items, "e", &e);
    if (err == 0 && s->curve == NULL)
        err = gpg_error(GPG_ERR_UNKNOWN_CURVE);
    if (err == 0 && x25519 && e.n <= 32) {
        buf_put_u8(&point, 0x40);
        for (size_t i = e.n; i < 32; i++)
            buf_put_u8(&point, 0);
    }
    if (err == 0) {
        buf_put_rd(&point, e);
        err = buf_err(&point);
    }
    if (err == 0 && gpg_point_check(s->curve, s->nbits, buf_rd(&point)) != 0)
        err = gpg_error(GPG_ERR_INV_OBJ);
    if (err == 0) {
        buf_printf(out, "(4:ecdh");
        canon_put_pair(out, "e", buf_rd(&point));
        buf_put_u8(out, ')');
    }
    buf_free(&point);
    return err;
}

static gpg_error_t put_numbers(struct rd list, struct buf *out)
{
    struct rd items;
    gpg_error_t err = canon_enter(list, &items);

    if (err == 0)
        err = canon_next(&items, NULL, NULL);
    if (err == 0)
        err = gpg_number_check(items, false);
    buf_put_rd(out, list);
    return err;
}

/* (enc-val ALGO) without the flags that gpgsm puts before it: libgcrypt would unpad. */
static gpg_error_t plain_enc_val(const struct gpg_secret *s, struct rd enc_val, struct buf *out)
{
    struct rd inside, list, name;
    gpg_error_t err = canon_enter(enc_val, &inside);

    if (err == 0)
        err = canon_next(&inside, NULL, &name);
    if (err != 0 || name.p == NULL || !rd_is(name, "enc-val"))
        return gpg_error(GPG_ERR_INV_SEXP);
    do {
        if (canon_next(&inside, &list, NULL) != 0 || canon_atom(list, 0, &name) != 0)
            return gpg_error(GPG_ERR_INV_SEXP);
    } while (rd_is(name, "flags"));
    if (gpg_algo_find(name) != s->algo)
        return gpg_error(GPG_ERR_INV_OBJ);
    buf_put_u8(out, '(');
    canon_put_name(out, "enc-val");
    err = s->algo->curve ? put_point(s, list, out) : put_numbers(list, out);
    buf_put_u8(out, ')');
    return err != 0 ? err : buf_err(out);
}

gpg_error_t gpg_secret_decrypt(struct gpg_secret *s, struct rd enc_val, struct buf *result)
{
    struct buf canon = BUF_INIT_SECURE, text = BUF_INIT;
    gcry_sexp_t data = NULL, plain = NULL, list = NULL;
    const char *octets;
    size_t n = 0;
    gpg_error_t err;

    if (s->algo->pk == GCRY_PK_DSA || is_edwards(s))
        return gpg_error(GPG_ERR_UNUSABLE_SECKEY);
    err = canon_from_padded(enc_val, &canon);
    if (err == 0)
        err = plain_enc_val(s, buf_rd(&canon), &text);
    if (err == 0)
        err = gcry_sexp_sscan(&data, NULL, (const char *)text.data, text.len);
    key_memory_begin();
    if (err == 0)
        err = gcry_pk_decrypt(&plain, data, s->sexp);
    if (err == 0) {
        list = gcry_sexp_find_token(plain, "value", 0);
        octets = list != NULL ? gcry_sexp_nth_data(list, 1, &n) : gcry_sexp_nth_data(plain, 0, &n);
        if (octets == NULL)
            err = gpg_error(GPG_ERR_INV_SEXP);
        else
            buf_put(result, octets, n);
    }
    gcry_sexp_release(list);
    gcry_sexp_release(plain);
    key_memory_end();
    gcry_sexp_release(data);
    buf_free(&canon);
    buf_free(&text);
    return err != 0 ? err : buf_err(result);
}
