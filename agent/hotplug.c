#include "agent/hotplug_slots.h"

#include "agent/grants.h"
#include "agent/keyring.h"
#include "agent/resident.h"
#include "agent/token_job.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define EXPIRY_LOOK_MS 5000 /* how late a key may be wiped whose life was set meanwhile */

/* --- events and changes ---------------------------------------------------------------------------- */

static void poke(int fd)
{
    uint64_t one = 1;

    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

void hotplug_post(struct hotplug *h, enum event_kind kind, struct token *t, gpg_error_t err)
{
    struct event *e = gpgrt_calloc(1, sizeof *e);

    if (e == NULL) {
        token_fail(t);
        return;
    }
    *e = (struct event){.kind = kind, .token = token_ref(t), .err = err};
    pthread_mutex_lock(&h->mutex);
    STAILQ_INSERT_TAIL(&h->events, e, link);
    pthread_mutex_unlock(&h->mutex);
    poke(h->wake_fd);
}

void hotplug_changed(struct hotplug *h)
{
    struct watched *w;

    TAILQ_FOREACH(w, &h->watched, link)
    poke(w->fd);
    pthread_cond_broadcast(&h->settled_changed);
}

gpg_error_t hotplug_watch(struct hotplug *h, int *fd)
{
    struct watched *w = gpgrt_calloc(1, sizeof *w);

    if (w == NULL)
        return gpg_error_from_syserror();
    w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->fd < 0) {
        gpg_error_t err = gpg_error_from_syserror();

        gpgrt_free(w);
        return err;
    }
    pthread_mutex_lock(&h->mutex);
    TAILQ_INSERT_TAIL(&h->watched, w, link);
    pthread_mutex_unlock(&h->mutex);
    *fd = w->fd;
    return 0;
}

void hotplug_unwatch(struct hotplug *h, int fd)
{
    struct watched *w;

    pthread_mutex_lock(&h->mutex);
    TAILQ_FOREACH(w, &h->watched, link)
    if (w->fd == fd)
        break;
    if (w != NULL)
        TAILQ_REMOVE(&h->watched, w, link);
    pthread_mutex_unlock(&h->mutex);
    if (w != NULL)
        close(w->fd);
    gpgrt_free(w);
}

/* --- keys whose life is over ------------------------------------------------------------------------- */

/* One that dies at once is not started over and over: its time comes at the next look. */
static void offer_resident(struct hotplug *h)
{
    bool due;

    pthread_mutex_lock(&h->mutex);
    due = h->want_resident && !h->stop;
    h->want_resident = false;
    pthread_mutex_unlock(&h->mutex);
    if (due && !resident_offer_all(h->a)) {
        pthread_mutex_lock(&h->mutex);
        h->want_resident = true;
        pthread_mutex_unlock(&h->mutex);
    }
}

static void *expiry_loop(void *arg)
{
    struct hotplug *h = arg;
    struct timespec until;
    int64_t next, at;
    struct orphan *gone;
    size_t n;

    pthread_mutex_lock(&h->mutex);
    while (!h->stop) {
        pthread_mutex_unlock(&h->mutex);
        next = keyring_expire(h->a->keyring, &gone, &n);
        for (size_t i = 0; i < n; i++) {
            hotplug_wipe_added(h, gone[i].token, gone[i].id);
            orphan_clear(&gone[i]);
        }
        gpgrt_free(gone);
        hotplug_providers_reap(h);
        offer_resident(h);
        at = monotonic_ms() + (next >= 0 && next < EXPIRY_LOOK_MS ? next + 1 : EXPIRY_LOOK_MS);
        until = (struct timespec){.tv_sec = (time_t)(at / 1000),
                                  .tv_nsec = (long)(at % 1000) * 1000000};
        pthread_mutex_lock(&h->mutex);
        while (!h->stop && monotonic_ms() < at)
            pthread_cond_timedwait(&h->settled_changed, &h->mutex, &until);
    }
    pthread_mutex_unlock(&h->mutex);
    return NULL;
}

/* --- the loop ---------------------------------------------------------------------------------------- */

static void handle_events(struct hotplug *h)
{
    struct event *e;
    uint64_t n;

    (void)!read(h->wake_fd, &n, sizeof n);
    for (;;) {
        pthread_mutex_lock(&h->mutex);
        e = STAILQ_FIRST(&h->events);
        if (e != NULL)
            STAILQ_REMOVE_HEAD(&h->events, link);
        pthread_mutex_unlock(&h->mutex);
        if (e == NULL)
            return;
        switch (e->kind) {
        case EVENT_LEARNT:
            slots_learnt(h, e->token, e->err);
            break;
        case EVENT_EOF:
            slots_eof(h, e->token);
            stores_eof(h, e->token);
            break;
        }
        token_unref(e->token);
        gpgrt_free(e);
    }
}

static bool any_starting(struct hotplug *h)
{
    struct slot *s;

    TAILQ_FOREACH(s, &h->slots, link)
    if (s->state == SLOT_STARTING)
        return true;
    return false;
}

/* Whether the first scan is over; else how long until it may be, -1: an event will tell. */
static int64_t look_settled(struct hotplug *h)
{
    int64_t left = -1;

    pthread_mutex_lock(&h->mutex);
    if (!h->settled && h->scan_quiet_ms != INT64_MAX) {
        left = h->scan_quiet_ms - monotonic_ms();
        if (left <= 0) {
            left = -1;
            h->settled = !any_starting(h);
            pthread_cond_broadcast(&h->settled_changed);
        }
    }
    pthread_mutex_unlock(&h->mutex);
    return left;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

static void *hotplug_loop(void *arg)
{
    struct hotplug *h = arg;
    int usb_fd = usb_open(h);
    bool stop = false;

    wallets_start(h);
    while (!stop) {
        int64_t ms;

        pcsc_start_if_due(h);
        ms = slots_restart_due(h);
        ms = sooner(ms, look_settled(h));
        if (h->watch_fd < 0)
            ms = sooner(ms, h->watch_restart_ms - monotonic_ms() > 0
                                ? h->watch_restart_ms - monotonic_ms()
                                : 0);

        struct pollfd p[] = {{.fd = h->wake_fd, .events = POLLIN},
                             {.fd = usb_fd, .events = POLLIN},
                             {.fd = h->watch_fd, .events = POLLIN}};

        (void)poll(p, 3, ms < 0 ? -1 : (int)ms);
        /* The kernel's word first: it is what a pulled token is judged by. */
        if ((p[1].revents & POLLIN) != 0)
            usb_readable(h);
        if (p[2].revents != 0 && h->watch_fd >= 0)
            pcsc_readable(h);
        handle_events(h);
        pthread_mutex_lock(&h->mutex);
        stop = h->stop;
        pthread_mutex_unlock(&h->mutex);
    }
    pcsc_stop(h);
    usb_close(h);
    return NULL;
}

/* --- starting and stopping --------------------------------------------------------------------------- */

static gpg_error_t hotplug_new(struct agent *a, struct hotplug **out)
{
    struct hotplug *h = gpgrt_calloc(1, sizeof *h);
    pthread_condattr_t attr;

    if (h == NULL)
        return gpg_error_from_syserror();
    h->a = a;
    h->watch_fd = -1;
    h->scan_quiet_ms = INT64_MAX;
    pthread_mutex_init(&h->mutex, NULL);
    pthread_mutex_init(&h->revive_mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&h->settled_changed, &attr);
    pthread_condattr_destroy(&attr);
    STAILQ_INIT(&h->events);
    TAILQ_INIT(&h->slots);
    TAILQ_INIT(&h->stores);
    TAILQ_INIT(&h->past);
    TAILQ_INIT(&h->providers);
    TAILQ_INIT(&h->verified);
    TAILQ_INIT(&h->watched);
    TAILQ_INIT(&h->fidos);
    h->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->wake_fd < 0) {
        gpg_error_t err = gpg_error_from_syserror();

        gpgrt_free(h);
        return err;
    }
    *out = h;
    return 0;
}

gpg_error_t hotplug_start(struct agent *a, struct hotplug **out)
{
    struct hotplug *h = NULL;
    gpg_error_t err;
    int rc;

    err = hotplug_new(a, &h);
    if (err != 0)
        return err;
    /* Others find it here from now on, lock_now above all. */
    *out = h;
    rc = pthread_create(&h->expiry, NULL, expiry_loop, h);
    h->expiry_runs = rc == 0;
    h->settled = !a->owns_hardware || !pcsc_service_there();
    if (rc == 0 && a->owns_hardware) {
        rc = pthread_create(&h->loop, NULL, hotplug_loop, h);
        h->loop_runs = rc == 0;
    }
    if (rc != 0) {
        *out = NULL;
        hotplug_stop(h);
    }
    return rc != 0 ? gpg_error_from_errno(rc) : 0;
}

static void free_lists(struct hotplug *h)
{
    struct watched *w;
    struct event *e;

    while ((e = STAILQ_FIRST(&h->events)) != NULL) {
        STAILQ_REMOVE_HEAD(&h->events, link);
        token_unref(e->token);
        gpgrt_free(e);
    }
    status_forget_verified(h);
    fido_nodes_free(h);
    while ((w = TAILQ_FIRST(&h->watched)) != NULL) {
        TAILQ_REMOVE(&h->watched, w, link);
        close(w->fd);
        gpgrt_free(w);
    }
}

void hotplug_stop(struct hotplug *h)
{
    if (h == NULL)
        return;
    pthread_mutex_lock(&h->mutex);
    h->stop = true;
    pthread_cond_broadcast(&h->settled_changed);
    pthread_mutex_unlock(&h->mutex);
    poke(h->wake_fd);
    /* Ends what the expiry thread may be waiting for. */
    stores_stop(h);
    if (h->expiry_runs)
        pthread_join(h->expiry, NULL);
    if (h->loop_runs)
        pthread_join(h->loop, NULL);
    slots_free(h);
    providers_end_all(h);
    pthread_mutex_lock(&h->mutex);
    while (h->nlearning > 0)
        pthread_cond_wait(&h->settled_changed, &h->mutex);
    pthread_mutex_unlock(&h->mutex);
    stores_free(h);
    free_lists(h);
    close(h->wake_fd);
    pthread_mutex_destroy(&h->mutex);
    pthread_mutex_destroy(&h->revive_mutex);
    pthread_cond_destroy(&h->settled_changed);
    gpgrt_free(h);
}

void hotplug_settle_all(struct hotplug *h, int ms)
{
    int64_t at = monotonic_ms() + ms;
    struct timespec until = {.tv_sec = (time_t)(at / 1000), .tv_nsec = (long)(at % 1000) * 1000000};
    int rc = 0;

    hotplug_settle(h, ms);
    pthread_mutex_lock(&h->mutex);
    h->want_rest = true;
    poke(h->wake_fd);
    while (!h->stop && rc == 0 && slots_rest_open(h))
        rc = pthread_cond_timedwait(&h->settled_changed, &h->mutex, &until);
    pthread_mutex_unlock(&h->mutex);
}

void hotplug_settle(struct hotplug *h, int ms)
{
    int64_t at = monotonic_ms() + ms;
    struct timespec until = {.tv_sec = (time_t)(at / 1000), .tv_nsec = (long)(at % 1000) * 1000000};

    pthread_mutex_lock(&h->mutex);
    while (!h->settled && !h->stop &&
           pthread_cond_timedwait(&h->settled_changed, &h->mutex, &until) == 0)
        continue;
    pthread_mutex_unlock(&h->mutex);
}
