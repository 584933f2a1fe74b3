#include "devices/gpg_cache.h"

#include <pthread.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#define MAX_ENTRIES  4096u
#define NONCE_OCTETS 12u

struct entry {
    LIST_ENTRY(entry) link;
    char *id;
    enum gpg_cache_mode mode;
    long realm, ttl, max_ttl;
    int64_t created, used, typed;
    struct buf secret;
    struct gpg_secret *key; /* opened by it; NULL */
    struct gpg_file_id file;
};
struct gpg_cache {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t reaper;
    bool ending;
    unsigned long epoch;
    LIST_HEAD(entries, entry) entries; /* the latest first */
    size_t n;
};

int64_t gpg_cache_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return ts.tv_sec;
}

/* --- entries: the mutex is held ---------------------------------------------------------------------------------------- */

static void free_entry(struct entry *e)
{
    gpg_secret_unref(e->key);
    buf_free(&e->secret);
    gpgrt_free(e->id);
    gpgrt_free(e);
}

static void remove_entry(struct gpg_cache *c, struct entry *e)
{
    LIST_REMOVE(e, link);
    c->n--;
    free_entry(e);
}

/* When E ends; INT64_MAX: never. */
static int64_t end_of(const struct entry *e)
{
    int64_t idle = e->ttl < 0 ? INT64_MAX : e->used + e->ttl,
            all = e->max_ttl < 0 ? INT64_MAX : e->created + e->max_ttl;

    return idle < all ? idle : all;
}

/* The time at which the next one ends. */
static int64_t reap(struct gpg_cache *c, int64_t now)
{
    struct entry *e = LIST_FIRST(&c->entries), *next;
    int64_t first = INT64_MAX;

    for (; e != NULL; e = next) {
        int64_t end = end_of(e);

        next = LIST_NEXT(e, link);
        if (end <= now)
            remove_entry(c, e);
        else if (end < first)
            first = end;
    }
    return first;
}

static bool own_mode(enum gpg_cache_mode m)
{
    return m == GPG_CACHE_USER || m == GPG_CACHE_NONCE || m == GPG_CACHE_OPEN;
}

/* What was preset serves whatever it may be for. */
static bool mode_matches(enum gpg_cache_mode a, enum gpg_cache_mode b)
{
    if ((a == GPG_CACHE_ANY && b == GPG_CACHE_USER) || (a == GPG_CACHE_USER && b == GPG_CACHE_ANY))
        return true;
    return own_mode(a) || own_mode(b) ? a == b : true;
}

static bool matches(const struct entry *e, const struct gpg_cache_slot *at)
{
    return e->realm == at->realm && mode_matches(e->mode, at->mode) && strcmp(e->id, at->id) == 0;
}

static struct entry *find(struct gpg_cache *c, const struct gpg_cache_slot *at)
{
    struct entry *e;

    (void)reap(c, gpg_cache_now());
    LIST_FOREACH(e, &c->entries, link)
    if (matches(e, at))
        return e;
    return NULL;
}

static struct entry *use(struct gpg_cache *c, const struct gpg_cache_slot *at, long age)
{
    struct entry *e = find(c, at);
    int64_t now = gpg_cache_now();

    if (e == NULL || (age >= 0 && (e->typed == GPG_NEVER_TYPED || now - e->typed > age)))
        return NULL;
    e->used = now;
    return e;
}

/* --- life --------------------------------------------------------------------------------------------------------------- */

/* An entry ends on time, not when somebody looks for it. */
static void *reaper(void *arg)
{
    struct gpg_cache *c = arg;

    pthread_mutex_lock(&c->mutex);
    while (!c->ending) {
        int64_t now = gpg_cache_now(), next = reap(c, now);
        struct timespec ts;

        if (next == INT64_MAX) {
            pthread_cond_wait(&c->changed, &c->mutex);
            continue;
        }
        clock_gettime(CLOCK_MONOTONIC, &ts);
        ts.tv_sec += next - now;
        (void)pthread_cond_timedwait(&c->changed, &c->mutex, &ts);
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

gpg_error_t gpg_cache_new(struct gpg_cache **out)
{
    struct gpg_cache *c = gpgrt_calloc(1, sizeof *c);
    pthread_condattr_t attr;
    int rc;

    if (c == NULL)
        return gpg_error_from_syserror();
    LIST_INIT(&c->entries);
    c->epoch = 1;
    pthread_mutex_init(&c->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &attr);
    pthread_condattr_destroy(&attr);
    rc = pthread_create(&c->reaper, NULL, reaper, c);
    if (rc != 0) {
        pthread_cond_destroy(&c->changed);
        pthread_mutex_destroy(&c->mutex);
        gpgrt_free(c);
        return gpg_error_from_errno(rc);
    }
    *out = c;
    return 0;
}

void gpg_cache_free(struct gpg_cache *c)
{
    if (c == NULL)
        return;
    pthread_mutex_lock(&c->mutex);
    c->ending = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
    pthread_join(c->reaper, NULL);
    gpg_cache_wipe(c);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->mutex);
    gpgrt_free(c);
}

/* --- use ---------------------------------------------------------------------------------------------------------------- */

static gpg_error_t make(const struct gpg_cache_slot *at, struct rd secret, struct entry **out)
{
    struct entry *e = gpgrt_calloc(1, sizeof *e);
    gpg_error_t err;

    if (e == NULL)
        return gpg_error_from_syserror();
    e->secret = BUF_INIT_SECURE;
    buf_put_rd(&e->secret, secret);
    err = buf_err(&e->secret);
    e->id = gpgrt_strdup(at->id);
    if (err == 0 && e->id == NULL)
        err = gpg_error_from_syserror();
    if (err != 0) {
        free_entry(e);
        return err;
    }
    *out = e;
    return 0;
}

gpg_error_t gpg_cache_put(struct gpg_cache *c, const struct gpg_cache_slot *at, struct rd secret,
                          int64_t typed, long ttl, long max_ttl)
{
    struct entry *e = NULL, *old;
    gpg_error_t err = ttl != 0 && max_ttl != 0 ? make(at, secret, &e) : 0;

    if (err != 0)
        return err;
    if (e != NULL) {
        e->mode = at->mode;
        e->realm = at->realm;
        e->ttl = ttl;
        e->max_ttl = max_ttl;
        e->typed = typed;
        e->created = e->used = gpg_cache_now();
    }
    pthread_mutex_lock(&c->mutex);
    if (e != NULL && at->epoch != 0 && at->epoch != c->epoch) {
        free_entry(e);
        e = NULL;
    }
    while ((old = find(c, at)) != NULL)
        remove_entry(c, old);
    if (e != NULL && c->n >= MAX_ENTRIES) {
        struct entry *oldest = LIST_FIRST(&c->entries);

        while (LIST_NEXT(oldest, link) != NULL)
            oldest = LIST_NEXT(oldest, link);
        remove_entry(c, oldest);
    }
    if (e != NULL) {
        LIST_INSERT_HEAD(&c->entries, e, link);
        c->n++;
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->mutex);
    return 0;
}

gpg_error_t gpg_cache_get(struct gpg_cache *c, const struct gpg_cache_slot *at, long age,
                          struct buf *secret, int64_t *typed)
{
    gpg_error_t err = gpg_error(GPG_ERR_NO_DATA);
    struct entry *e;

    pthread_mutex_lock(&c->mutex);
    e = use(c, at, age);
    if (e != NULL) {
        buf_put_rd(secret, buf_rd(&e->secret));
        if (typed != NULL)
            *typed = e->typed;
        err = buf_err(secret);
    }
    pthread_mutex_unlock(&c->mutex);
    return err;
}

bool gpg_cache_has(struct gpg_cache *c, const struct gpg_cache_slot *at)
{
    bool has;

    pthread_mutex_lock(&c->mutex);
    has = find(c, at) != NULL;
    pthread_mutex_unlock(&c->mutex);
    return has;
}

void gpg_cache_clear(struct gpg_cache *c, const struct gpg_cache_slot *at)
{
    struct entry *e;

    pthread_mutex_lock(&c->mutex);
    while ((e = find(c, at)) != NULL)
        remove_entry(c, e);
    pthread_mutex_unlock(&c->mutex);
}

void gpg_cache_clear_id(struct gpg_cache *c, const char *id)
{
    struct entry *e, *next;

    pthread_mutex_lock(&c->mutex);
    for (e = LIST_FIRST(&c->entries); e != NULL; e = next) {
        next = LIST_NEXT(e, link);
        if (strcmp(e->id, id) == 0)
            remove_entry(c, e);
    }
    pthread_mutex_unlock(&c->mutex);
}

void gpg_cache_wipe(struct gpg_cache *c)
{
    pthread_mutex_lock(&c->mutex);
    c->epoch++;
    while (!LIST_EMPTY(&c->entries))
        remove_entry(c, LIST_FIRST(&c->entries));
    pthread_mutex_unlock(&c->mutex);
}

unsigned long gpg_cache_epoch(struct gpg_cache *c)
{
    unsigned long epoch;

    pthread_mutex_lock(&c->mutex);
    epoch = c->epoch;
    pthread_mutex_unlock(&c->mutex);
    return epoch;
}

char *gpg_cache_last(struct gpg_cache *c, long realm)
{
    char *id = NULL;
    struct entry *e;

    pthread_mutex_lock(&c->mutex);
    (void)reap(c, gpg_cache_now());
    LIST_FOREACH(e, &c->entries, link)
    if (e->mode == GPG_CACHE_NORMAL && e->realm == realm) {
        id = gpgrt_strdup(e->id);
        break;
    }
    pthread_mutex_unlock(&c->mutex);
    return id;
}

void gpg_cache_attach(struct gpg_cache *c, const struct gpg_cache_slot *at,
                      const struct gpg_file_id *file, struct gpg_secret *key)
{
    struct entry *e;

    pthread_mutex_lock(&c->mutex);
    e = find(c, at);
    if (e != NULL) {
        gpg_secret_unref(e->key);
        e->key = gpg_secret_ref(key);
        e->file = *file;
    }
    pthread_mutex_unlock(&c->mutex);
}

struct gpg_secret *gpg_cache_attached(struct gpg_cache *c, const struct gpg_cache_slot *at,
                                      long age, const struct gpg_file_id *file)
{
    struct gpg_secret *key = NULL;
    struct entry *e;

    pthread_mutex_lock(&c->mutex);
    e = use(c, at, age);
    if (e != NULL && e->key != NULL && memcmp(&e->file, file, sizeof *file) == 0)
        key = gpg_secret_ref(e->key);
    pthread_mutex_unlock(&c->mutex);
    return key;
}

gpg_error_t gpg_cache_put_nonce(struct gpg_cache *c, struct rd secret, int64_t typed, long ttl,
                                unsigned long epoch, char **nonce)
{
    struct gpg_cache_slot at = {.mode = GPG_CACHE_NONCE, .epoch = epoch};
    uint8_t octets[NONCE_OCTETS];
    char *id;
    gpg_error_t err;

    gcry_create_nonce(octets, sizeof octets);
    id = hex_encode(octets, sizeof octets);
    if (id == NULL)
        return gpg_error_from_syserror();
    at.id = id;
    err = gpg_cache_put(c, &at, secret, typed, ttl, -1);
    if (err != 0)
        gpgrt_free(id);
    else
        *nonce = id;
    return err;
}
