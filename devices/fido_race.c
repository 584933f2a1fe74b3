#include "devices/fido_race.h"

#include <stdatomic.h>
#include <string.h>

#define LOOK_MS 50
/* A device gives up after 30 s at most (CTAP 2.1, 8.1); one that is silent for longer is not waited for. */
#define TOUCH_MS 40000
/* A U2F device cannot be called off: it is asked again and again instead. */
#define SLICE_MS 1500

struct runner {
    struct race *race;
    struct fido_place *place;
    fido_dev_t *dev;
    fido_assert_t *assertion;
    pthread_t thread;
    bool runs;
    int rc;
    bool done; /* under the race's mutex */
};

struct race {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    atomic_bool off; /* somebody won, or nobody wants it any more */
    const char *pin;
    struct runner *runners;
    size_t n;
};

static int assert_u2f(struct runner *r)
{
    int64_t began;
    int rc;

    do {
        began = fido_now_ms();
        rc = fido_dev_get_assert(r->dev, r->assertion, r->race->pin);
        /* Its time is up; an error that comes sooner is one. */
    } while ((rc == FIDO_ERR_RX || rc == FIDO_ERR_TX) && fido_now_ms() - began >= SLICE_MS - 100 &&
             !r->race->off);
    return rc;
}

static void *run(void *arg)
{
    struct runner *r = arg;
    int rc;

    fido_init(0);
    rc = r->place->fido2 ? fido_dev_get_assert(r->dev, r->assertion, r->race->pin) : assert_u2f(r);
    pthread_mutex_lock(&r->race->mutex);
    r->rc = rc;
    r->done = true;
    pthread_cond_signal(&r->race->changed);
    pthread_mutex_unlock(&r->race->mutex);
    return NULL;
}

static void start(struct runner *r, const struct fido_bus *b, const struct fido_query *q,
                  const uint8_t digest[32], bool presence, bool uv)
{
    int rc = fido_open(b, r->place, r->place->fido2 ? TOUCH_MS : SLICE_MS, &r->dev);

    if (rc == FIDO_OK)
        rc = fido_assertion(q, digest, presence, uv, &r->assertion);
    if (rc == FIDO_OK && pthread_create(&r->thread, NULL, run, r) != 0)
        rc = FIDO_ERR_INTERNAL;
    r->runs = rc == FIDO_OK;
    if (!r->runs) {
        r->rc = rc;
        r->done = true;
    }
}

/* How much an error says: that this device does not have the key is the least. */
static int weight(int rc)
{
    switch (rc) {
    case FIDO_OK:
        return 4;
    case FIDO_ERR_KEEPALIVE_CANCEL:
        return 0;
    case FIDO_ERR_NO_CREDENTIALS:
    case FIDO_ERR_INVALID_CREDENTIAL:
        return 1;
    case FIDO_ERR_RX:
    case FIDO_ERR_TX:
        return 2;
    default:
        return 3;
    }
}

/* Until all have ended. The mutex is held. */
static void attend(struct race *r, const struct driver_io *io)
{
    for (;;) {
        struct timespec until;
        bool any = false;

        for (size_t i = 0; i < r->n; i++) {
            if (!r->runners[i].done)
                any = true;
            else if (r->runners[i].rc == FIDO_OK)
                r->off = true;
        }
        if (!any)
            return;
        if (io->canceled(io->arg))
            r->off = true;
        /* More than once: one that comes before the request is lost. */
        for (size_t i = 0; i < r->n && r->off; i++)
            if (!r->runners[i].done)
                (void)fido_dev_cancel(r->runners[i].dev);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&r->changed, &r->mutex, &until);
    }
}

/* A device that was asked for one credential need not say that it was that one (CTAP 2.1, 6.2.2). */
static const struct sk_key *whose(const struct fido_query *q, const fido_assert_t *a)
{
    struct rd id = rd_of(fido_assert_id_ptr(a, 0), fido_assert_id_len(a, 0));

    for (size_t i = 0; i < q->n && q->n > 1; i++)
        if (rd_eq(id, rd_of(q->keys[i]->handle, q->keys[i]->handle_len)))
            return q->keys[i];
    return q->n == 1 ? q->keys[0] : NULL;
}

static int take_result(const struct runner *r, const struct fido_query *q, struct fido_result *out)
{
    const fido_assert_t *a = r->assertion;

    if (fido_assert_count(a) != 1 && (q->n == 1 || fido_assert_count(a) == 0))
        return FIDO_ERR_INVALID_CBOR;
    out->key = whose(q, a);
    if (out->key == NULL)
        return FIDO_ERR_INVALID_CREDENTIAL;
    out->place = r->place;
    out->says = (struct sk_assertion){.flags = fido_assert_flags(a, 0),
                                      .counter = fido_assert_sigcount(a, 0)};
    buf_put(&out->sig, fido_assert_sig_ptr(a, 0), fido_assert_sig_len(a, 0));
    return buf_err(&out->sig) == 0 ? FIDO_OK : FIDO_ERR_INTERNAL;
}

int fido_race(const struct fido_bus *b, struct fido_place *const *places, size_t n,
              const struct fido_query *q, const uint8_t digest[32], bool presence, bool uv,
              const char *pin, const struct driver_io *io, struct fido_result *out)
{
    struct race r = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                     .changed = PTHREAD_COND_INITIALIZER,
                     .pin = pin,
                     .n = n};
    const struct runner *best = NULL;
    int rc = FIDO_ERR_NOTFOUND;

    r.runners = gpgrt_calloc(n + 1, sizeof *r.runners);
    if (r.runners == NULL)
        return FIDO_ERR_INTERNAL;
    if (presence || uv)
        io->touch(io->arg, true);
    pthread_mutex_lock(&r.mutex);
    for (size_t i = 0; i < n; i++) {
        r.runners[i].race = &r;
        r.runners[i].place = places[i];
        start(&r.runners[i], b, q, digest, presence, uv);
    }
    attend(&r, io);
    pthread_mutex_unlock(&r.mutex);
    if (presence || uv)
        io->touch(io->arg, false);
    for (size_t i = 0; i < n; i++) {
        if (r.runners[i].runs)
            pthread_join(r.runners[i].thread, NULL);
        if (best == NULL || weight(r.runners[i].rc) > weight(best->rc))
            best = &r.runners[i];
    }
    if (best != NULL)
        rc = best->rc == FIDO_OK ? take_result(best, q, out) : best->rc;
    if (rc != FIDO_OK && io->canceled(io->arg))
        rc = FIDO_ERR_KEEPALIVE_CANCEL;
    for (size_t i = 0; i < n; i++) {
        fido_assert_free(&r.runners[i].assertion);
        fido_close(&r.runners[i].dev);
    }
    gpgrt_free(r.runners);
    return rc;
}

/* --- one device, one call ------------------------------------------------------------------------------------------------- */

struct call {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    fido_dev_t *dev;
    int (*f)(fido_dev_t *d, void *arg);
    void *arg;
    bool slices; /* U2F */
    atomic_bool off;
    bool done;
    int rc;
};

static void *run_call(void *arg)
{
    struct call *c = arg;
    int64_t began;
    int rc;

    fido_init(0);
    do {
        began = fido_now_ms();
        rc = c->f(c->dev, c->arg);
    } while (c->slices && (rc == FIDO_ERR_RX || rc == FIDO_ERR_TX) &&
             fido_now_ms() - began >= SLICE_MS - 100 && !c->off);
    pthread_mutex_lock(&c->mutex);
    c->rc = rc;
    c->done = true;
    pthread_cond_signal(&c->changed);
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

/* The mutex is held. */
static void attend_call(struct call *c, const struct driver_io *io)
{
    while (!c->done) {
        struct timespec until;

        if (io->canceled(io->arg)) {
            c->off = true;
            (void)fido_dev_cancel(c->dev);
        }
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&c->changed, &c->mutex, &until);
    }
}

int fido_alone(const struct fido_bus *b, struct fido_place *p, bool touch,
               int (*f)(fido_dev_t *d, void *arg), void *arg, const struct driver_io *io)
{
    struct call c = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                     .changed = PTHREAD_COND_INITIALIZER,
                     .f = f,
                     .arg = arg,
                     .slices = !p->fido2,
                     .rc = FIDO_ERR_INTERNAL};
    pthread_t thread;
    int rc = fido_open(b, p, p->fido2 ? TOUCH_MS : SLICE_MS, &c.dev);

    if (rc != FIDO_OK)
        return rc;
    if (touch)
        io->touch(io->arg, true);
    pthread_mutex_lock(&c.mutex);
    if (pthread_create(&thread, NULL, run_call, &c) == 0) {
        attend_call(&c, io);
        pthread_mutex_unlock(&c.mutex);
        pthread_join(thread, NULL);
    } else {
        pthread_mutex_unlock(&c.mutex);
    }
    if (touch)
        io->touch(io->arg, false);
    fido_close(&c.dev);
    return c.rc != FIDO_OK && io->canceled(io->arg) ? FIDO_ERR_KEEPALIVE_CANCEL : c.rc;
}

int fido_choose(const struct fido_bus *b, struct fido_place *const *places, size_t n,
                const struct driver_io *io, struct fido_place **chosen)
{
    fido_dev_t **devs = gpgrt_calloc(n + 1, sizeof *devs);
    struct fido_place *winner = NULL;
    size_t blinking = 0;

    if (devs == NULL)
        return FIDO_ERR_INTERNAL;
    for (size_t i = 0; i < n; i++) {
        if (fido_open(b, places[i], TOUCH_MS, &devs[i]) == FIDO_OK &&
            fido_dev_get_touch_begin(devs[i]) == FIDO_OK)
            blinking++;
        else
            fido_close(&devs[i]);
    }
    io->touch(io->arg, true);
    while (winner == NULL && blinking > 0 && !io->canceled(io->arg)) {
        for (size_t i = 0; i < n && winner == NULL; i++) {
            int touched = 0;

            if (devs[i] == NULL)
                continue;
            if (fido_dev_get_touch_status(devs[i], &touched, LOOK_MS) != FIDO_OK) {
                fido_close(&devs[i]);
                blinking--;
            } else if (touched) {
                winner = places[i];
            }
        }
    }
    io->touch(io->arg, false);
    for (size_t i = 0; i < n; i++) {
        if (devs[i] != NULL && places[i] != winner)
            (void)fido_dev_cancel(devs[i]);
        fido_close(&devs[i]);
    }
    gpgrt_free(devs);
    if (winner != NULL) {
        *chosen = winner;
        return FIDO_OK;
    }
    return io->canceled(io->arg) ? FIDO_ERR_KEEPALIVE_CANCEL : FIDO_ERR_USER_ACTION_TIMEOUT;
}
