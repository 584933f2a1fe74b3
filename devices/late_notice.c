#include "devices/late_notice.h"

#include <errno.h>
#include <time.h>

static void *wait_and_tell(void *arg)
{
    struct late_notice *n = arg;
    int rc = 0;

    pthread_mutex_lock(&n->mutex);
    while (!n->over && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&n->changed, &n->mutex, &n->until);
    n->shown = !n->over;
    if (n->shown)
        n->io->touch(n->io->arg, true);
    pthread_mutex_unlock(&n->mutex);
    return NULL;
}

void late_notice_begin(struct late_notice *n, const struct driver_io *io, unsigned ms)
{
    pthread_condattr_t attr;

    *n = (struct late_notice){.io = io};
    pthread_mutex_init(&n->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&n->changed, &attr);
    pthread_condattr_destroy(&attr);
    clock_gettime(CLOCK_MONOTONIC, &n->until);
    n->until.tv_sec += (time_t)(ms / 1000);
    n->until.tv_nsec += (long)(ms % 1000) * 1000000;
    n->until.tv_sec += n->until.tv_nsec / 1000000000;
    n->until.tv_nsec %= 1000000000;
    n->runs = pthread_create(&n->thread, NULL, wait_and_tell, n) == 0;
}

void late_notice_end(struct late_notice *n)
{
    pthread_mutex_lock(&n->mutex);
    n->over = true;
    pthread_cond_signal(&n->changed);
    pthread_mutex_unlock(&n->mutex);
    if (n->runs)
        pthread_join(n->thread, NULL);
    if (n->shown)
        n->io->touch(n->io->arg, false);
    pthread_cond_destroy(&n->changed);
    pthread_mutex_destroy(&n->mutex);
}
