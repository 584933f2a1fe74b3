#include "devices/gpg_protect.h"

#include "devices/gpg_transfer.h"
#include "devices/key_memory.h"

#include <pthread.h>
#include <string.h>

#define SALT        8u
#define OCB_NONCE   12u
#define OCB_TAG     16u
#define BLOCK       16u
#define HASH        20u
#define KEY_LARGEST 32u

/* --- passphrase to key -------------------------------------------------------------------------------------------------- */

unsigned long gpg_s2k_decode(unsigned long coded)
{
    return (16ul + (coded & 15)) << ((coded >> 4) + 6);
}

static gpg_error_t derive(struct rd passphrase, struct rd salt, unsigned long count, uint8_t *kek,
                          size_t n)
{
    return gcry_kdf_derive(passphrase.p, passphrase.n, GCRY_KDF_ITERSALTED_S2K, GCRY_MD_SHA1,
                           salt.p, salt.n, count, n, kek);
}

static double thread_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static unsigned long calibrated;

/* Time of this thread only: how busy the machine is must not weaken a key. */
static void calibrate(void)
{
    unsigned long n = 4ul << 20;
    uint8_t kek[16];
    double took = 0;

    for (int i = 0; i < 4 && took < 5; i++, n *= 4) {
        double start = thread_ms();

        if (derive(rd_of("calibrate", 9), rd_of("saltsalt", SALT), n, kek, sizeof kek) != 0)
            break;
        took = thread_ms() - start;
        calibrated = took > 0 ? (unsigned long)((double)n * 100.0 / took) : n;
    }
    if (calibrated < GPG_S2K_MIN)
        calibrated = GPG_S2K_MIN;
    if (calibrated > GPG_S2K_MAX / 4)
        calibrated = GPG_S2K_MAX / 4;
    calibrated -= calibrated % 1024;
}

unsigned long gpg_s2k_count(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, calibrate);
    return calibrated;
}

void gpg_isotime(time_t t, char out[16])
{
    struct tm tm;

    if (gmtime_r(&t, &tm) == NULL || strftime(out, 16, "%Y%m%dT%H%M%S", &tm) == 0)
        memcpy(out, "19700101T000000", 16);
}

/* --- the protected element ------------------------------------------------------------------------------------------------ */

struct mode {
    const char *name;
    size_t keylen;
    bool ocb;
};
static const struct mode modes[] = {{"openpgp-s2k3-ocb-aes", 16, true},
                                    {"openpgp-s2k3-sha1-aes-cbc", 16, false},
                                    {"openpgp-s2k3-sha1-aes256-cbc", 32, false}};

struct sealed {
    const struct mode *mode;
    struct rd salt, iv, text;
    unsigned long count;
};

/* (protected MODE ((sha1 SALT COUNT) IV) TEXT) */
static gpg_error_t parse_sealed(struct rd list, struct sealed *out)
{
    struct sealed s = {0};
    struct rd inside, name, params, kdf, count;
    size_t i = 0;
    gpg_error_t err;

    if ((err = canon_enter(list, &inside)) != 0 || (err = canon_next(&inside, NULL, &name)) != 0 ||
        (err = canon_next(&inside, NULL, &name)) != 0)
        return err;
    while (i < sizeof modes / sizeof modes[0] && (name.p == NULL || !rd_is(name, modes[i].name)))
        i++;
    if (i == sizeof modes / sizeof modes[0])
        return gpg_error(GPG_ERR_UNSUPPORTED_PROTECTION);
    s.mode = &modes[i];
    if (canon_next(&inside, &params, NULL) != 0 || canon_next(&inside, NULL, &s.text) != 0 ||
        canon_enter(params, &params) != 0 || canon_next(&params, &kdf, NULL) != 0 ||
        canon_next(&params, NULL, &s.iv) != 0 || canon_atom(kdf, 0, &name) != 0 ||
        !rd_is(name, "sha1") || canon_atom(kdf, 1, &s.salt) != 0 ||
        canon_atom(kdf, 2, &count) != 0 || canon_number(count, &s.count) != 0)
        return gpg_error(GPG_ERR_CORRUPTED_PROTECTION);
    if (s.count < 256)
        s.count = gpg_s2k_decode(s.count);
    if (s.salt.n != SALT || s.count < GPG_S2K_MIN || s.count > GPG_S2K_MAX || s.text.p == NULL ||
        s.iv.p == NULL || s.iv.n != (s.mode->ocb ? OCB_NONCE : BLOCK) ||
        (s.mode->ocb ? s.text.n < OCB_TAG + 4 : s.text.n < BLOCK || s.text.n % BLOCK != 0))
        return gpg_error(GPG_ERR_CORRUPTED_PROTECTION);
    *out = s;
    return 0;
}

unsigned long gpg_protected_count(const struct gpg_key_parts *p)
{
    struct sealed s;

    return p->form == GPG_KEY_PROTECTED && parse_sealed(p->secret, &s) == 0 ? s.count : 0;
}

/* What is authenticated besides the secret parameters: the algorithm's list without them. */
static void put_open_part(struct buf *b, const struct gpg_key_parts *p, struct rd secret)
{
    buf_put_u8(b, '(');
    canon_put(b, p->name);
    buf_put_rd(b, p->pub);
    buf_put_rd(b, secret);
    buf_put_rd(b, p->behind);
    buf_put_u8(b, ')');
}

/* --- opening -------------------------------------------------------------------------------------------------------------- */

static gpg_error_t open_ocb(gcry_cipher_hd_t h, const struct sealed *s,
                            const struct gpg_key_parts *p, uint8_t *plain)
{
    struct buf open = BUF_INIT;
    size_t n = s->text.n - OCB_TAG;
    gpg_error_t err;

    put_open_part(&open, p, rd_of(NULL, 0));
    err = buf_err(&open);
    if (err == 0)
        err = gcry_cipher_authenticate(h, open.data, open.len);
    if (err == 0)
        err = gcry_cipher_final(h);
    if (err == 0)
        err = gcry_cipher_decrypt(h, plain, n, s->text.p, n);
    if (err == 0 && gcry_cipher_checktag(h, s->text.p + n, OCB_TAG) != 0)
        err = gpg_error(GPG_ERR_BAD_PASSPHRASE);
    buf_free(&open);
    return err;
}

/* ((d ..)(p ..)..) or, in CBC mode, followed by (hash sha1 H) in the outer list: views of the parameters and of H. */
static gpg_error_t parse_plain(const struct sealed *s, struct rd plain, struct rd *secret,
                               struct rd *hash)
{
    struct rd outer, params, list, name;

    /* By far the most wrong passphrases end here. */
    if (plain.n < 2 || memcmp(plain.p, "((", 2) != 0 || canon_next(&plain, &outer, NULL) != 0 ||
        canon_enter(outer, &outer) != 0 || canon_next(&outer, &params, NULL) != 0 ||
        canon_enter(params, secret) != 0)
        return gpg_error(GPG_ERR_BAD_PASSPHRASE);
    if (s->mode->ocb)
        return 0;
    if (canon_next(&outer, &list, NULL) != 0 || canon_atom(list, 0, &name) != 0 ||
        !rd_is(name, "hash") || canon_atom(list, 1, &name) != 0 || !rd_is(name, "sha1") ||
        canon_atom(list, 2, hash) != 0 || hash->n != HASH)
        return gpg_error(GPG_ERR_BAD_PASSPHRASE);
    return 0;
}

static gpg_error_t check_hash(const struct gpg_key_parts *p, struct rd secret, struct rd hash)
{
    struct buf whole = BUF_INIT_SECURE;
    uint8_t digest[HASH];
    gpg_error_t err;

    put_open_part(&whole, p, secret);
    err = buf_err(&whole);
    if (err == 0) {
        gcry_md_hash_buffer(GCRY_MD_SHA1, digest, whole.data, whole.len);
        if (memcmp(digest, hash.p, HASH) != 0)
            err = gpg_error(GPG_ERR_CORRUPTED_PROTECTION);
    }
    buf_free(&whole);
    return err;
}

/* The items of LIST without (NAME ..). */
static gpg_error_t put_without(struct rd items, const char *name, struct buf *out)
{
    while (items.n > 0) {
        struct rd whole, atom;
        gpg_error_t err = canon_next(&items, &whole, &atom);

        if (err != 0)
            return err;
        if (atom.p == NULL && canon_atom(whole, 0, &atom) == 0 && rd_is(atom, name))
            continue;
        buf_put_rd(out, whole);
    }
    return buf_err(out);
}

/* Nothing but parameters may come out of it: the next reader sees them beside the public ones. */
static gpg_error_t check_secret(const struct gpg_algo *algo, struct rd secret)
{
    for (const char *c = algo->sec; *c != '\0'; c++) {
        struct rd list, name, value;

        if (canon_next(&secret, &list, NULL) != 0 || canon_enter(list, &list) != 0 ||
            canon_next(&list, NULL, &name) != 0 || canon_next(&list, NULL, &value) != 0 ||
            name.p == NULL || value.p == NULL || list.n > 0 || name.n != 1 ||
            name.p[0] != (uint8_t)*c)
            return gpg_error(GPG_ERR_BAD_SECKEY);
    }
    return rd_end(&secret) == 0 ? 0 : gpg_error(GPG_ERR_BAD_SECKEY);
}

static gpg_error_t put_private(const struct gpg_key_parts *p, struct rd secret, struct buf *out)
{
    struct gpg_key_parts open = *p;
    struct buf behind = BUF_INIT;
    gpg_error_t err = check_secret(p->algo, secret);

    if (err == 0)
        err = put_without(p->behind, "protected-at", &behind);
    if (err == 0) {
        open.secret = secret;
        open.behind = buf_rd(&behind);
        gpg_key_join(out, "private-key", &open);
        err = buf_err(out);
    }
    buf_free(&behind);
    return err;
}

static gpg_error_t unprotect(const struct gpg_key_parts *p, struct rd passphrase, struct buf *out)
{
    struct sealed s;
    struct rd secret = {0}, hash = {0};
    gcry_cipher_hd_t h = NULL;
    uint8_t *kek = NULL, *plain = NULL;
    gpg_error_t err = parse_sealed(p->secret, &s);

    if (err != 0)
        return err;
    if (passphrase.n == 0)
        return gpg_error(GPG_ERR_BAD_PASSPHRASE);
    kek = gcry_malloc_secure(KEY_LARGEST);
    plain = gcry_calloc_secure(1, s.text.n);
    err = kek != NULL && plain != NULL ? 0 : gpg_error_from_syserror();
    if (err == 0)
        err = derive(passphrase, s.salt, s.count, kek, s.mode->keylen);
    if (err == 0)
        err = gcry_cipher_open(&h, s.mode->keylen == 16 ? GCRY_CIPHER_AES128 : GCRY_CIPHER_AES256,
                               s.mode->ocb ? GCRY_CIPHER_MODE_OCB : GCRY_CIPHER_MODE_CBC,
                               GCRY_CIPHER_SECURE);
    if (err == 0)
        err = gcry_cipher_setkey(h, kek, s.mode->keylen);
    if (err == 0)
        err = gcry_cipher_setiv(h, s.iv.p, s.iv.n);
    if (err == 0)
        err = s.mode->ocb ? open_ocb(h, &s, p, plain)
                          : gcry_cipher_decrypt(h, plain, s.text.n, s.text.p, s.text.n);
    if (err == 0)
        err = parse_plain(&s, rd_of(plain, s.mode->ocb ? s.text.n - OCB_TAG : s.text.n), &secret,
                          &hash);
    if (err == 0 && !s.mode->ocb)
        err = check_hash(p, secret, hash);
    if (err == 0)
        err = put_private(p, secret, out);
    gcry_cipher_close(h);
    gcry_free(kek);
    gcry_free(plain);
    return err;
}

gpg_error_t gpg_unprotect(struct rd key, struct rd passphrase, struct buf *out)
{
    struct gpg_key_parts p;
    gpg_error_t err = gpg_key_split(key, &p);

    if (err != 0)
        return err;
    if (p.form == GPG_KEY_NATIVE)
        return gpg_native_open(&p, passphrase, out);
    if (p.form != GPG_KEY_PROTECTED)
        return gpg_error(GPG_ERR_UNUSABLE_SECKEY);
    return unprotect(&p, passphrase, out);
}

/* --- closing -------------------------------------------------------------------------------------------------------------- */

/* Encrypts ((SECRET)) for the key P (its behind has the protected-at already). TEXT: BUF_INIT. */
static gpg_error_t seal(const struct gpg_key_parts *p, struct rd passphrase, unsigned long count,
                        const uint8_t salt[SALT], const uint8_t nonce[OCB_NONCE], struct buf *text)
{
    struct buf plain = BUF_INIT_SECURE, open = BUF_INIT;
    uint8_t *kek = gcry_malloc_secure(BLOCK), *sealed = NULL;
    gcry_cipher_hd_t h = NULL;
    gpg_error_t err;

    buf_put(&plain, "((", 2);
    buf_put_rd(&plain, p->secret);
    buf_put(&plain, "))", 2);
    put_open_part(&open, p, rd_of(NULL, 0));
    if ((err = buf_err(&plain)) != 0 || (err = buf_err(&open)) != 0)
        goto out;
    sealed = gpgrt_malloc(plain.len + OCB_TAG);
    err = kek != NULL && sealed != NULL ? 0 : gpg_error_from_syserror();
    if (err == 0)
        err = derive(passphrase, rd_of(salt, SALT), count, kek, BLOCK);
    if (err == 0)
        err = gcry_cipher_open(&h, GCRY_CIPHER_AES128, GCRY_CIPHER_MODE_OCB, GCRY_CIPHER_SECURE);
    if (err == 0)
        err = gcry_cipher_setkey(h, kek, BLOCK);
    if (err == 0)
        err = gcry_cipher_setiv(h, nonce, OCB_NONCE);
    if (err == 0)
        err = gcry_cipher_authenticate(h, open.data, open.len);
    if (err == 0)
        err = gcry_cipher_final(h);
    if (err == 0)
        err = gcry_cipher_encrypt(h, sealed, plain.len, plain.data, plain.len);
    if (err == 0)
        err = gcry_cipher_gettag(h, sealed + plain.len, OCB_TAG);
    if (err == 0)
        buf_put(text, sealed, plain.len + OCB_TAG);
out:
    gcry_cipher_close(h);
    gcry_free(kek);
    gpgrt_free(sealed);
    buf_free(&plain);
    buf_free(&open);
    return err != 0 ? err : buf_err(text);
}

static void put_sealed(struct buf *b, const uint8_t salt[SALT], unsigned long count,
                       const uint8_t nonce[OCB_NONCE], struct rd text)
{
    char number[24];

    snprintf(number, sizeof number, "%lu", count);
    buf_put_u8(b, '(');
    canon_put_name(b, "protected");
    canon_put_name(b, modes[0].name);
    buf_put(b, "((", 2);
    canon_put_name(b, "sha1");
    canon_put(b, rd_of(salt, SALT));
    canon_put_name(b, number);
    buf_put_u8(b, ')');
    canon_put(b, rd_of(nonce, OCB_NONCE));
    buf_put_u8(b, ')');
    canon_put(b, text);
    buf_put_u8(b, ')');
}

gpg_error_t gpg_protect(struct rd key, struct rd passphrase, unsigned long count, time_t at,
                        struct buf *out)
{
    struct gpg_key_parts p;
    struct buf behind = BUF_INIT, text = BUF_INIT, element = BUF_INIT;
    uint8_t salt[SALT], nonce[OCB_NONCE];
    char when[16];
    gpg_error_t err = gpg_key_split(key, &p);

    if (err != 0)
        return err;
    if (p.form != GPG_KEY_CLEAR)
        return gpg_error(GPG_ERR_UNUSABLE_SECKEY);
    if (passphrase.n == 0 || count < GPG_S2K_MIN || count > GPG_S2K_MAX)
        return gpg_error(GPG_ERR_INV_ARG);
    err = check_secret(p.algo, p.secret);
    if (err != 0)
        return err;
    gcry_randomize(salt, sizeof salt, GCRY_STRONG_RANDOM);
    gcry_create_nonce(nonce, sizeof nonce);
    gpg_isotime(at, when);
    canon_put_pair(&behind, "protected-at", rd_of(when, strlen(when)));
    err = put_without(p.behind, "protected-at", &behind);
    p.behind = buf_rd(&behind);
    if (err == 0)
        err = seal(&p, passphrase, count, salt, nonce, &text);
    if (err == 0) {
        put_sealed(&element, salt, count, nonce, buf_rd(&text));
        err = buf_err(&element);
    }
    if (err == 0) {
        p.secret = buf_rd(&element);
        gpg_key_join(out, "protected-private-key", &p);
        err = buf_err(out);
    }
    buf_free(&behind);
    buf_free(&text);
    buf_free(&element);
    return err;
}
