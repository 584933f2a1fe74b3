#include "agent/scd_lock.h"

#include <pthread.h>
#include <sys/queue.h>

struct waiting {
    TAILQ_ENTRY(waiting) link;
    struct wait *w;
};

struct scd_lock {
    pthread_mutex_t mutex;
    uint64_t owner; /* 0: nobody */
    TAILQ_HEAD(waitings, waiting) waiting;
};

gpg_error_t scd_lock_new(struct scd_lock **out)
{
    struct scd_lock *l = gpgrt_calloc(1, sizeof *l);

    if (l == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&l->mutex, NULL);
    TAILQ_INIT(&l->waiting);
    *out = l;
    return 0;
}

void scd_lock_free(struct scd_lock *l)
{
    if (l == NULL)
        return;
    pthread_mutex_destroy(&l->mutex);
    gpgrt_free(l);
}

gpg_error_t scd_lock_take(struct scd_lock *l, uint64_t who, struct wait *w)
{
    struct waiting self = {.w = w};
    gpg_error_t err = 0;

    pthread_mutex_lock(&l->mutex);
    if (w != NULL)
        TAILQ_INSERT_TAIL(&l->waiting, &self, link);
    while (err == 0 && l->owner != 0 && l->owner != who) {
        if (w == NULL) {
            err = gpg_error(GPG_ERR_LOCKED);
            break;
        }
        pthread_mutex_unlock(&l->mutex);
        err = wait_for(w, -1, NULL);
        pthread_mutex_lock(&l->mutex);
    }
    if (err == 0)
        l->owner = who;
    if (w != NULL)
        TAILQ_REMOVE(&l->waiting, &self, link);
    pthread_mutex_unlock(&l->mutex);
    return err;
}

gpg_error_t scd_lock_give(struct scd_lock *l, uint64_t who)
{
    struct waiting *next;
    gpg_error_t err = 0;

    pthread_mutex_lock(&l->mutex);
    if (l->owner == 0)
        err = gpg_error(GPG_ERR_NOT_LOCKED);
    else if (l->owner != who)
        err = gpg_error(GPG_ERR_LOCKED);
    else
        l->owner = 0;
    TAILQ_FOREACH(next, &l->waiting, link)
    {
        if (err == 0)
            wait_wake(next->w);
    }
    pthread_mutex_unlock(&l->mutex);
    return err;
}

bool scd_lock_is_others(struct scd_lock *l, uint64_t who)
{
    bool is;

    pthread_mutex_lock(&l->mutex);
    is = l->owner != 0 && l->owner != who;
    pthread_mutex_unlock(&l->mutex);
    return is;
}

bool scd_lock_is_own(struct scd_lock *l, uint64_t who)
{
    bool is;

    pthread_mutex_lock(&l->mutex);
    is = l->owner == who;
    pthread_mutex_unlock(&l->mutex);
    return is;
}
