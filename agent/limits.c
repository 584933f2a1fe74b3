#include "agent/limits.h"

#include "agent/wait.h"

#include <pthread.h>
#include <sys/resource.h>
#include <time.h>

#define TELL_AGAIN_MS (60 * 60 * 1000)
#define LOOK_MS       50

struct limits {
    pthread_mutex_t mutex;
    pthread_cond_t given;
    const struct settings *s;
    size_t taken;
    void (*make_room)(void *arg);
    void *arg;
    int64_t told_ms[LIMITS]; /* 0: never */
};

/* Of the process, not of an agent: before it is raised and as it was. */
static struct rlimit descriptors;
static bool raised;

gpg_error_t limits_new(const struct settings *s, struct limits **out)
{
    struct limits *l = gpgrt_calloc(1, sizeof *l);
    pthread_condattr_t attr;

    if (l == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&l->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->given, &attr);
    pthread_condattr_destroy(&attr);
    l->s = s;
    *out = l;
    return 0;
}

void limits_free(struct limits *l)
{
    if (l == NULL)
        return;
    pthread_mutex_destroy(&l->mutex);
    pthread_cond_destroy(&l->given);
    gpgrt_free(l);
}

/* --- words ----------------------------------------------------------------------------------------- */

static bool is_due(struct limits *l, enum limit which)
{
    int64_t now = monotonic_ms();
    bool due;

    pthread_mutex_lock(&l->mutex);
    due = l->told_ms[which] == 0 || now - l->told_ms[which] >= TELL_AGAIN_MS;
    if (due)
        l->told_ms[which] = now;
    pthread_mutex_unlock(&l->mutex);
    return due;
}

void limits_reached(struct limits *l, enum limit which)
{
    if (!is_due(l, which))
        return;
    switch (which) {
    case LIMIT_CLIENTS:
        gpgrt_log_info("MaxClients %u (or what this system allows) is reached: the program with "
                       "the most connections loses those that are idle longest\n",
                       l->s->max_clients);
        break;
    case LIMIT_KEYS:
        gpgrt_log_info("MaxKeys %u is reached, or memory for keys: no more are added until some "
                       "are removed\n",
                       l->s->max_keys);
        break;
    case LIMIT_MEMORY:
        gpgrt_log_info("MaxMemory %u KiB is reached: the program that holds most of it "
                       "loses connections\n",
                       l->s->max_memory / 1024);
        break;
    case LIMIT_LIST:
        gpgrt_log_info("there are more keys than a client's list can hold: the last ones are not "
                       "listed\n");
        break;
    case LIMITS:
        break;
    }
}

/* --- memory ---------------------------------------------------------------------------------------- */

static bool has_room(const struct limits *l, size_t n)
{
    return n <= l->s->max_memory && l->taken <= l->s->max_memory - n;
}

/* The mutex is held, and given up meanwhile. */
static void make_room(struct limits *l, int64_t until_ms)
{
    void (*maker)(void *arg) = l->make_room;
    int64_t soon = monotonic_ms() + LOOK_MS;
    struct timespec at;

    if (soon > until_ms)
        soon = until_ms;
    at = (struct timespec){.tv_sec = (time_t)(soon / 1000),
                           .tv_nsec = (long)(soon % 1000) * 1000000};
    pthread_mutex_unlock(&l->mutex);
    limits_reached(l, LIMIT_MEMORY);
    if (maker != NULL)
        maker(l->arg);
    pthread_mutex_lock(&l->mutex);
    pthread_cond_timedwait(&l->given, &l->mutex, &at);
}

bool limits_take(struct limits *l, struct activity *act, size_t n, int64_t until_ms)
{
    bool ok;

    pthread_mutex_lock(&l->mutex);
    while (!(ok = has_room(l, n)) && act->held + n <= l->s->max_memory &&
           monotonic_ms() < until_ms && act->state != ACTIVITY_ENDED)
        make_room(l, until_ms);
    if (ok) {
        l->taken += n;
        act->held += n;
    }
    pthread_mutex_unlock(&l->mutex);
    return ok;
}

void limits_give(struct limits *l, struct activity *act)
{
    if (act->held == 0)
        return;
    pthread_mutex_lock(&l->mutex);
    l->taken -= act->held;
    act->held = 0;
    pthread_cond_broadcast(&l->given);
    pthread_mutex_unlock(&l->mutex);
}

void limits_set_room_maker(struct limits *l, void (*maker)(void *arg), void *arg)
{
    pthread_mutex_lock(&l->mutex);
    l->make_room = maker;
    l->arg = arg;
    pthread_mutex_unlock(&l->mutex);
}

/* --- descriptors ------------------------------------------------------------------------------------- */

void limits_raise_descriptors(void)
{
    struct rlimit more;

    if (raised || getrlimit(RLIMIT_NOFILE, &descriptors) != 0)
        return;
    more = descriptors;
    more.rlim_cur = more.rlim_max;
    raised = setrlimit(RLIMIT_NOFILE, &more) == 0;
}

void limits_restore_descriptors(void)
{
    if (raised)
        (void)setrlimit(RLIMIT_NOFILE, &descriptors);
}
