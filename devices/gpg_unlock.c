#include "devices/gpg_unlock.h"

#include "devices/gpg_protect.h"
#include "proto/token_protocol.h"

#include <string.h>
#include <time.h>

#define POLL_MS 100
#define LOOKS   8 /* at a file that becomes another one meanwhile */

/* --- arguments ------------------------------------------------------------------------------------------------------------ */

gpg_error_t gpg_access_parse(struct gpg_keystore *ks, const struct driver_op *op,
                             const char *nonce_field, struct gpg_access *a)
{
    char *mode = NULL;
    long cache = 1;
    bool ssh;
    gpg_error_t err;

    *a = (struct gpg_access){.io = op->io, .age = op->pin_age, .epoch = gpg_cache_epoch(ks->cache)};
    err = field_get(op->args, "mode", &mode);
    ssh = mode != NULL && strcmp(mode, "ssh") == 0;
    if (err == 0 && mode != NULL && !ssh && strcmp(mode, "normal") != 0)
        err = gpg_error(GPG_ERR_INV_VALUE);
    gpgrt_free(mode);
    if (err != 0 || (err = field_get_int(op->args, "cache", 1, &cache)) != 0 ||
        (err = field_get_int(op->args, "ttl", ssh ? 1800 : 600, &a->ttl)) != 0 ||
        (err = field_get_int(op->args, "max-ttl", 7200, &a->max_ttl)) != 0 ||
        (err = field_get_int(op->args, "realm", 0, &a->realm)) != 0 ||
        (err = field_get(op->args, nonce_field, &a->nonce)) != 0)
        return err;
    a->mode = ssh ? GPG_CACHE_SSH : GPG_CACHE_NORMAL;
    a->use_cache = cache != 0;
    return 0;
}

void gpg_access_clear(struct gpg_access *a)
{
    gpgrt_free(a->nonce);
    a->nonce = NULL;
}

void gpg_access_tell(const struct gpg_access *a, struct driver_op *op)
{
    op->pin_typed = a->typed;
    op->pin_cached = a->cached && !a->typed;
}

/* --- questions and nonces --------------------------------------------------------------------------------------------------- */

gpg_error_t gpg_ask(struct gpg_access *a, const char *grip, const char *why, int attempt, int tries,
                    bool bad, struct gpg_phrase *out)
{
    struct buf line = BUF_INIT;
    gpg_error_t err;

    if (grip != NULL)
        field_put(&line, "key", grip);
    field_put(&line, "why", why);
    field_put_int(&line, "try", attempt);
    field_put_int(&line, "tries", tries);
    if (bad)
        field_put(&line, "error", "bad");
    buf_reset(&out->text);
    err = buf_cstr(&line) != NULL ? a->io->inquire(a->io->arg, "PASSPHRASE", buf_cstr(&line),
                                                   GPG_PASSPHRASE_MAX, true, &out->text)
                                  : gpg_error(GPG_ERR_ENOMEM);
    buf_free(&line);
    if (err == 0) {
        out->typed = gpg_cache_now();
        a->typed = true;
    }
    return err;
}

gpg_error_t gpg_nonce_get(struct gpg_keystore *ks, struct gpg_access *a, const char *nonce,
                          struct gpg_phrase *out)
{
    struct gpg_cache_slot at = {.id = nonce, .mode = GPG_CACHE_NONCE};

    if (nonce == NULL || a->age == 0)
        return gpg_error(GPG_ERR_NO_DATA);
    buf_reset(&out->text);
    return gpg_cache_get(ks->cache, &at, a->age, &out->text, &out->typed);
}

gpg_error_t gpg_nonce_put(struct gpg_keystore *ks, const struct gpg_access *a, const char *nonce,
                          const struct gpg_phrase *p, long ttl, char **out)
{
    struct gpg_cache_slot at = {.id = nonce, .mode = GPG_CACHE_NONCE};

    if (nonce != NULL && gpg_cache_has(ks->cache, &at)) {
        *out = gpgrt_strdup(nonce);
        return *out != NULL ? 0 : gpg_error_from_syserror();
    }
    return gpg_cache_put_nonce(ks->cache, buf_rd(&p->text), p->typed, ttl, a->epoch, out);
}

gpg_error_t gpg_file_seal(struct gpg_file *f, struct rd key, const struct gpg_phrase *p)
{
    struct buf closed = BUF_INIT;
    gpg_error_t err;

    if (p->text.len == 0)
        return gpg_file_set_key(f, key);
    err = gpg_protect(key, buf_rd(&p->text), gpg_s2k_count(), time(NULL), &closed);
    if (err == 0)
        err = gpg_file_set_key(f, buf_rd(&closed));
    buf_free(&closed);
    return err;
}

/* --- one question a key at a time --------------------------------------------------------------------------------------------- */

struct gpg_asking {
    struct gpg_asking *next;
    const char *grip;
    long realm;
};

static bool is_asked(const struct gpg_keystore *ks, const struct gpg_asking *me)
{
    const struct gpg_asking *q = ks->asking;

    while (q != NULL && (q->realm != me->realm || strcmp(q->grip, me->grip) != 0))
        q = q->next;
    return q != NULL;
}

static void sleep_a_while(struct gpg_keystore *ks)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_nsec += POLL_MS * 1000000L;
    ts.tv_sec += ts.tv_nsec / 1000000000;
    ts.tv_nsec %= 1000000000;
    (void)pthread_cond_timedwait(&ks->changed, &ks->mutex, &ts);
}

/* Waits while another operation asks for the same: its answer may serve this one, too. WAITED: there was one. */
static gpg_error_t begin_asking(struct gpg_keystore *ks, struct gpg_asking *me,
                                const struct driver_io *io, bool *waited)
{
    gpg_error_t err = 0;

    *waited = false;
    pthread_mutex_lock(&ks->mutex);
    while (err == 0 && is_asked(ks, me)) {
        *waited = true;
        sleep_a_while(ks);
        if (io->canceled(io->arg))
            err = gpg_error(GPG_ERR_CANCELED);
    }
    if (err == 0) {
        me->next = ks->asking;
        ks->asking = me;
    }
    pthread_mutex_unlock(&ks->mutex);
    return err;
}

static void end_asking(struct gpg_keystore *ks, struct gpg_asking *me)
{
    struct gpg_asking **at = &ks->asking;

    pthread_mutex_lock(&ks->mutex);
    while (*at != NULL && *at != me)
        at = &(*at)->next;
    if (*at != NULL)
        *at = me->next;
    pthread_cond_broadcast(&ks->changed);
    pthread_mutex_unlock(&ks->mutex);
}

/* --- opening -------------------------------------------------------------------------------------------------------------------- */

/* An operation on its way to an open key. */
struct opening {
    struct gpg_keystore *ks;
    struct gpg_access *a;
    const char *grip, *why;
    struct gpg_file *file;
    struct gpg_file_id id;
    struct gpg_key_parts parts;
    struct gpg_phrase phrase;
    bool keep_phrase; /* the caller wants it */
    struct gpg_secret *key;
};

static struct gpg_cache_slot slot(const struct opening *o)
{
    return (struct gpg_cache_slot){
        .id = o->grip, .mode = o->a->mode, .realm = o->a->realm, .epoch = o->a->epoch};
}

static struct gpg_cache_slot open_slot(const struct opening *o)
{
    return (struct gpg_cache_slot){.id = o->grip, .mode = GPG_CACHE_OPEN, .epoch = o->a->epoch};
}

/* A key that came from OpenPGP is kept in the store's own form once it could be opened. A store that cannot be written to
 * does not keep it from being used. */
static void convert(struct opening *o, struct rd clear)
{
    struct gpg_file_id old = o->id;
    struct gpg_file *again = NULL;
    gpg_error_t err = gpg_file_seal(o->file, clear, &o->phrase);

    if (err == 0)
        err = gpg_store_write(o->ks->store, o->grip, o->file, &old);
    if (err == 0)
        err = gpg_store_read(o->ks->store, o->grip, &again, &o->id);
    gpg_file_free(again);
    if (err != 0)
        gpgrt_log_info("gpg's key %s stays in the form in which it was imported: %s\n", o->grip,
                       gpg_strerror(err));
}

/* Tries o->phrase. */
static gpg_error_t try_phrase(struct opening *o)
{
    struct buf clear = BUF_INIT_SECURE;
    gpg_error_t err = gpg_unprotect(gpg_file_key(o->file), buf_rd(&o->phrase.text), &clear);

    if (err == 0)
        err = gpg_secret_new(buf_rd(&clear), &o->key);
    if (err == 0 && o->parts.form == GPG_KEY_NATIVE)
        convert(o, buf_rd(&clear));
    buf_free(&clear);
    return err;
}

static bool is_wrong(gpg_error_t err)
{
    return gpg_err_code(err) == GPG_ERR_BAD_PASSPHRASE;
}

static gpg_error_t try_nonce(struct opening *o)
{
    struct gpg_cache_slot at = {.id = o->a->nonce, .mode = GPG_CACHE_NONCE};
    gpg_error_t err = gpg_nonce_get(o->ks, o->a, o->a->nonce, &o->phrase);

    if (err == 0 && !o->keep_phrase)
        o->key = gpg_cache_attached(o->ks->cache, &at, o->a->age, &o->id);
    if (err == 0 && o->key == NULL)
        err = try_phrase(o);
    if (err == 0) {
        gpg_cache_attach(o->ks->cache, &at, &o->id, o->key);
        o->a->cached = true;
    }
    return err;
}

static gpg_error_t try_cached(struct opening *o)
{
    struct gpg_cache_slot at = slot(o);
    gpg_error_t err;

    buf_reset(&o->phrase.text);
    err = gpg_cache_get(o->ks->cache, &at, o->a->age, &o->phrase.text, &o->phrase.typed);
    if (err == 0 && !o->keep_phrase)
        o->key = gpg_cache_attached(o->ks->cache, &at, o->a->age, &o->id);
    if (err == 0 && o->key == NULL) {
        err = try_phrase(o);
        if (err == 0)
            gpg_cache_attach(o->ks->cache, &at, &o->id, o->key);
        else if (is_wrong(err)) /* another program changed it */
            gpg_cache_clear(o->ks->cache, &at);
    }
    if (err == 0)
        o->a->cached = true;
    return err;
}

/* What opened another key last: it may be the same person's only passphrase. */
static gpg_error_t try_last(struct opening *o)
{
    char *id = o->a->mode == GPG_CACHE_NORMAL ? gpg_cache_last(o->ks->cache, o->a->realm) : NULL;
    struct gpg_cache_slot at = slot(o), from = at;
    gpg_error_t err = gpg_error(GPG_ERR_NO_DATA);

    if (id != NULL && strcmp(id, o->grip) != 0) {
        from.id = id;
        buf_reset(&o->phrase.text);
        err = gpg_cache_get(o->ks->cache, &from, o->a->age, &o->phrase.text, &o->phrase.typed);
        if (err == 0)
            err = try_phrase(o);
    }
    if (err == 0) {
        o->a->cached = true;
        err = gpg_cache_put(o->ks->cache, &at, buf_rd(&o->phrase.text), o->phrase.typed, o->a->ttl,
                            o->a->max_ttl);
    }
    if (err == 0)
        gpg_cache_attach(o->ks->cache, &at, &o->id, o->key);
    gpgrt_free(id);
    return err;
}

/* Wrong ones are tried once more by somebody else; anything else ends it. */
static bool goes_on(gpg_error_t err)
{
    return is_wrong(err) || gpg_err_code(err) == GPG_ERR_NO_DATA;
}

static gpg_error_t ask_person(struct opening *o)
{
    struct gpg_cache_slot at = slot(o);
    gpg_error_t err = 0;

    for (int i = 1; i <= GPG_TRIES; i++) {
        err = gpg_ask(o->a, o->grip, o->why, i, GPG_TRIES, i > 1, &o->phrase);
        if (err == 0)
            err = try_phrase(o);
        if (!is_wrong(err))
            break;
    }
    if (err == 0 && o->a->use_cache) {
        err = gpg_cache_put(o->ks->cache, &at, buf_rd(&o->phrase.text), o->phrase.typed, o->a->ttl,
                            o->a->max_ttl);
        if (err == 0)
            gpg_cache_attach(o->ks->cache, &at, &o->id, o->key);
    }
    return err;
}

static gpg_error_t open_protected(struct opening *o)
{
    struct gpg_asking me = {.grip = o->grip, .realm = o->a->realm};
    bool use_cache = o->a->use_cache && o->a->age != 0, waited = false;
    gpg_error_t err = gpg_error(GPG_ERR_NO_DATA);

    if (o->a->nonce != NULL)
        err = try_nonce(o);
    if (goes_on(err) && use_cache)
        err = try_cached(o);
    if (goes_on(err) && use_cache)
        err = try_last(o);
    if (!goes_on(err))
        return err;
    if (!use_cache)
        return ask_person(o);
    err = begin_asking(o->ks, &me, o->a->io, &waited);
    if (err != 0)
        return err;
    err = waited ? try_cached(o) : gpg_error(GPG_ERR_NO_DATA);
    if (goes_on(err))
        err = ask_person(o);
    end_asking(o->ks, &me);
    return err;
}

/* A file without passphrase: nobody is asked, only time is saved. */
static gpg_error_t open_clear(struct opening *o)
{
    struct gpg_cache_slot at = open_slot(o);
    gpg_error_t err;

    err = o->parts.form == GPG_KEY_CLEAR ? gpg_secret_new(gpg_file_key(o->file), &o->key)
                                         : try_phrase(o);
    if (err == 0)
        err = gpg_cache_put(o->ks->cache, &at, rd_of(NULL, 0), GPG_NEVER_TYPED, -1, -1);
    if (err == 0)
        gpg_cache_attach(o->ks->cache, &at, &o->id, o->key);
    return err;
}

/* What is open already, by the file's look only. */
static bool is_open(struct opening *o, const struct gpg_entry *e)
{
    struct gpg_cache_slot at = e->state == GPG_CLEAR ? open_slot(o) : slot(o);

    if (o->keep_phrase || (e->state != GPG_CLEAR && (!o->a->use_cache || o->a->age == 0)))
        return false;
    o->key =
        gpg_cache_attached(o->ks->cache, &at, e->state == GPG_CLEAR ? -1 : o->a->age, &e->file);
    o->a->cached = o->key != NULL && e->state != GPG_CLEAR;
    return o->key != NULL;
}

static gpg_error_t open_file(struct opening *o)
{
    struct gpg_entry *e = NULL;
    gpg_error_t err = gpg_store_find(o->ks->store, o->grip, &e);
    enum gpg_state state;

    if (err != 0)
        return err;
    state = e->state;
    if (state == GPG_CLEAR || state == GPG_PROTECTED) {
        if (is_open(o, e))
            goto out;
        err = gpg_store_read(o->ks->store, o->grip, &o->file, &o->id);
        if (err == 0 && memcmp(&o->id, &e->file, sizeof o->id) != 0)
            err = gpg_error(GPG_ERR_EAGAIN);
        if (err == 0)
            err = gpg_key_split(gpg_file_key(o->file), &o->parts);
        if (err == 0)
            err = state == GPG_CLEAR ? open_clear(o) : open_protected(o);
    } else {
        err = gpg_error(state == GPG_SHADOWED ? GPG_ERR_UNUSABLE_SECKEY : GPG_ERR_BAD_SECKEY);
    }
out:
    gpg_entry_unref(e);
    return err;
}

gpg_error_t gpg_unlock(struct gpg_keystore *ks, const char *grip, const char *why,
                       struct gpg_access *a, struct gpg_secret **key, struct gpg_phrase *phrase)
{
    struct opening o = {.ks = ks,
                        .a = a,
                        .grip = grip,
                        .why = why,
                        .phrase = GPG_PHRASE_INIT,
                        .keep_phrase = phrase != NULL};
    gpg_error_t err = 0;

    for (int i = 0; i < LOOKS; i++) {
        gpg_file_free(o.file);
        o.file = NULL;
        err = open_file(&o);
        if (gpg_err_code(err) != GPG_ERR_EAGAIN)
            break;
    }
    gpg_file_free(o.file);
    if (err != 0) {
        gpg_secret_unref(o.key);
        buf_free(&o.phrase.text);
        return err;
    }
    *key = o.key;
    if (phrase != NULL)
        *phrase = o.phrase;
    else
        buf_free(&o.phrase.text);
    return 0;
}
