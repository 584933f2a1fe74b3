/* GENERATE: a new key, as gpg describes it, in the key store. */
#include "devices/gpg_manage.h"

#include "devices/gpg_protect.h"
#include "devices/key_memory.h"
#include "proto/token_protocol.h"

#include <string.h>

#define MAX_PARAM 1024u
#define MAX_BITS  16384u

/* --- progress ------------------------------------------------------------------------------------------------------------ */

static _Thread_local const struct driver_io *watcher;

/* libgcrypt calls it in the thread that generates. */
static void progress(void *arg, const char *what, int c, int cur, int total)
{
    struct buf line = BUF_INIT;
    char text[2] = {(char)c, '\0'};

    (void)arg;
    if (watcher == NULL || strcmp(what, "primegen") != 0)
        return;
    field_put(&line, "what", what);
    field_put(&line, "char", text);
    field_put_int(&line, "cur", cur);
    field_put_int(&line, "total", total);
    if (buf_cstr(&line) != NULL)
        (void)watcher->status(watcher->arg, "PROGRESS", buf_cstr(&line));
    buf_free(&line);
}

void gpg_generate_init(void)
{
    gcry_set_progress_handler(progress, NULL);
}

/* --- the key --------------------------------------------------------------------------------------------------------------- */

/* (genkey (ALGO ..)) for an algorithm that a key file can have, and of a size that comes to an end. */
static gpg_error_t check_param(struct rd canon)
{
    struct rd inside, word, list, bits;
    unsigned long n = 0;
    gpg_error_t err = canon_enter(canon, &inside);

    if (err == 0)
        err = canon_next(&inside, NULL, &word);
    if (err == 0 && (word.p == NULL || !rd_is(word, "genkey")))
        err = gpg_error(GPG_ERR_INV_SEXP);
    if (err == 0)
        err = canon_next(&inside, &list, NULL);
    if (err == 0)
        err = canon_atom(list, 0, &word);
    if (err == 0 && gpg_algo_find(word) == NULL)
        err = gpg_error(GPG_ERR_PUBKEY_ALGO);
    if (err == 0)
        err = canon_enter(list, &inside);
    if (err == 0 && canon_value(inside, "nbits", &bits) == 0 &&
        (canon_number(bits, &n) != 0 || n > MAX_BITS))
        err = gpg_error(GPG_ERR_INV_LENGTH);
    return err;
}

/* One part of what gcry_pk_genkey gave, canonical. */
static gpg_error_t take(gcry_sexp_t made, const char *name, struct buf *out)
{
    gcry_sexp_t part = gcry_sexp_find_token(made, name, 0);
    size_t n = part != NULL ? gcry_sexp_sprint(part, GCRYSEXP_FMT_CANON, NULL, 0) : 0;
    char *text = n > 0 ? gcry_malloc_secure(n) : NULL;
    gpg_error_t err = text != NULL ? 0 : gpg_error(GPG_ERR_INV_SEXP);

    if (err == 0) {
        n = gcry_sexp_sprint(part, GCRYSEXP_FMT_CANON, text, n);
        buf_put(out, text, n);
        err = buf_err(out);
    }
    gcry_free(text);
    gcry_sexp_release(part);
    return err;
}

static gpg_error_t make_key(const struct driver_io *io, struct rd param, struct buf *pub,
                            struct buf *key)
{
    gcry_sexp_t s = NULL, made = NULL;
    gpg_error_t err = gcry_sexp_sscan(&s, NULL, (const char *)param.p, param.n);

    if (err != 0)
        return err;
    watcher = io;
    key_memory_begin();
    err = gcry_pk_genkey(&made, s);
    watcher = NULL;
    if (err == 0)
        err = take(made, "public-key", pub);
    if (err == 0)
        err = take(made, "private-key", key);
    gcry_sexp_release(made);
    key_memory_end();
    gcry_sexp_release(s);
    return err;
}

static gpg_error_t ask_param(const struct driver_io *io, struct buf *canon)
{
    struct buf text = BUF_INIT;
    gpg_error_t err = io->inquire(io->arg, "PARAM", NULL, MAX_PARAM, false, &text);

    while (text.len > 0 &&
           text.data[text.len - 1] == '\0') /* some clients count the string's end */
        text.len--;
    if (err == 0)
        err = canon_from_text(buf_rd(&text), canon);
    if (err == 0)
        err = check_param(buf_rd(canon));
    buf_free(&text);
    return err;
}

/* --- the file --------------------------------------------------------------------------------------------------------------- */

static gpg_error_t store_new(struct gpg_keystore *ks, struct rd pub, struct rd key, long created,
                             const struct gpg_phrase *p, char grip[GPG_GRIP + 1])
{
    struct gpg_file *f = NULL;
    uint8_t raw[20];
    char *hex = NULL, when[16];
    gpg_error_t err = gpg_key_grip(pub, raw);

    if (err == 0 && (hex = hex_encode(raw, sizeof raw)) == NULL)
        err = gpg_error_from_syserror();
    if (err == 0)
        err = gpg_file_new(&f);
    if (err == 0 && created >= 0) {
        gpg_isotime((time_t)created, when);
        err = gpg_file_set(f, "Created", when);
    }
    if (err == 0)
        err = gpg_file_seal(f, key, p);
    if (err == 0)
        err = gpg_store_write(ks->store, hex, f, NULL);
    if (err == 0)
        memcpy(grip, hex, GPG_GRIP + 1);
    gpg_file_free(f);
    gpgrt_free(hex);
    return err;
}

struct wanted {
    long created, preset_ttl;
    bool protect, preset;
    char *passwd_nonce;
};

static gpg_error_t parse(const struct driver_op *op, struct wanted *w)
{
    long protect = 1;
    gpg_error_t err;

    *w = (struct wanted){0};
    if ((err = field_get_int(op->args, "created", -1, &w->created)) != 0 ||
        (err = field_get_int(op->args, "protect", 1, &protect)) != 0 ||
        (err = field_get_int(op->args, "preset-ttl", GPG_PRESET_TTL, &w->preset_ttl)) != 0 ||
        (err = gpg_flag(op->args, "preset", &w->preset)) != 0)
        return err;
    w->protect = protect != 0;
    return field_get(op->args, "passwd-nonce", &w->passwd_nonce);
}

/* The passphrase for the new key: by a nonce, else from the person. */
static gpg_error_t find_phrase(struct gpg_keystore *ks, struct gpg_access *a,
                               const struct wanted *w, struct gpg_phrase *p)
{
    if (gpg_nonce_get(ks, a, a->nonce, p) == 0 || gpg_nonce_get(ks, a, w->passwd_nonce, p) == 0) {
        a->cached = true;
        return 0;
    }
    return gpg_ask(a, NULL, "new", 1, 1, false, p);
}

/* What gpg is told, and what its next commands find. */
static gpg_error_t hand_out(struct gpg_keystore *ks, struct gpg_access *a, const struct wanted *w,
                            const char *grip, const struct gpg_phrase *p)
{
    struct gpg_cache_slot at = {
        .id = grip, .mode = GPG_CACHE_NORMAL, .realm = a->realm, .epoch = a->epoch};
    char *nonce = NULL;
    gpg_error_t err = gpg_nonce_put(ks, a, a->nonce, p, w->preset_ttl, &nonce);

    if (err == 0)
        err = gpg_tell_nonce(a->io, nonce, NULL);
    if (err == 0 && w->preset && p->text.len > 0)
        err = gpg_cache_put(ks->cache, &at, buf_rd(&p->text), p->typed, w->preset_ttl, a->max_ttl);
    gpgrt_free(nonce);
    return err;
}

gpg_error_t gpg_generate(void *state, struct driver_op *op, struct buf *result)
{
    struct gpg_keystore *ks = state;
    struct gpg_access a = {0};
    struct gpg_phrase phrase = GPG_PHRASE_INIT;
    struct buf param = BUF_INIT_SECURE, pub = BUF_INIT_SECURE, key = BUF_INIT_SECURE;
    struct wanted w;
    char grip[GPG_GRIP + 1];
    gpg_error_t err = parse(op, &w);

    if (err == 0)
        err = gpg_access_parse(ks, op, "nonce", &a);
    if (err == 0)
        err = ask_param(op->io, &param);
    if (err == 0 && w.protect)
        err = find_phrase(ks, &a, &w, &phrase);
    if (err == 0)
        err = make_key(op->io, buf_rd(&param), &pub, &key);
    if (err == 0 && op->io->canceled(op->io->arg))
        err = gpg_error(GPG_ERR_CANCELED);
    if (err == 0)
        err = store_new(ks, buf_rd(&pub), buf_rd(&key), w.created, &phrase, grip);
    if (err == 0 && w.protect)
        err = hand_out(ks, &a, &w, grip, &phrase);
    if (err == 0)
        buf_put_rd(result, buf_rd(&pub));
    gpg_access_tell(&a, op);
    gpg_access_clear(&a);
    gpgrt_free(w.passwd_nonce);
    buf_free(&phrase.text);
    buf_free(&param);
    buf_free(&pub);
    buf_free(&key);
    return err;
}
