#include "agent/wait.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct waits {
    pthread_mutex_t mutex;
    struct wait *list;
};

int64_t monotonic_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

gpg_error_t waits_new(struct waits **out)
{
    struct waits *w = gpgrt_calloc(1, sizeof *w);

    if (w == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&w->mutex, NULL);
    *out = w;
    return 0;
}

void waits_free(struct waits *w)
{
    if (w == NULL)
        return;
    pthread_mutex_destroy(&w->mutex);
    gpgrt_free(w);
}

gpg_error_t wait_begin(struct waits *all, struct wait *w, int client_fd, unsigned timeout_s)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0)
        return gpg_error_from_syserror();
    *w = (struct wait){.all = all,
                       .client_fd = client_fd,
                       .wake_fd = fd,
                       .deadline_ms =
                           timeout_s > 0 ? monotonic_ms() + (int64_t)timeout_s * 1000 : INT64_MAX};
    pthread_mutex_lock(&all->mutex);
    w->next = all->list;
    if (w->next != NULL)
        w->next->prev = w;
    all->list = w;
    pthread_mutex_unlock(&all->mutex);
    return 0;
}

void wait_end(struct wait *w)
{
    pthread_mutex_lock(&w->all->mutex);
    if (w->prev != NULL)
        w->prev->next = w->next;
    else
        w->all->list = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
    pthread_mutex_unlock(&w->all->mutex);
    close(w->wake_fd);
    w->wake_fd = -1;
}

void wait_wake(struct wait *w)
{
    uint64_t one = 1;

    /* A full counter is as good as one more: the waiter has not looked yet. */
    while (write(w->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

void waits_interrupt_locked(struct waits *all)
{
    pthread_mutex_lock(&all->mutex);
    for (struct wait *w = all->list; w != NULL; w = w->next) {
        __atomic_store_n(&w->locked, true, __ATOMIC_RELEASE);
        wait_wake(w);
    }
    pthread_mutex_unlock(&all->mutex);
}

int wait_left_ms(const struct wait *w)
{
    int64_t left;

    if (w->deadline_ms == INT64_MAX)
        return -1;
    left = w->deadline_ms - monotonic_ms();
    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

static bool interrupted_by_lock(const struct wait *w)
{
    return !w->ignore_lock && __atomic_load_n(&w->locked, __ATOMIC_ACQUIRE);
}

/* Takes all wake-ups that came so far; whoever sent one had made its news visible before. */
static bool take_wakes(struct wait *w)
{
    uint64_t n;

    return read(w->wake_fd, &n, sizeof n) == (ssize_t)sizeof n;
}

/* One look at everything, at most TIMEOUT_MS long. *HAPPENED: a wake-up or FD. */
static gpg_error_t look(struct wait *w, int fd, int timeout_ms, bool *happened, bool *woken)
{
    /* poll reports POLLHUP and POLLERR unasked. A client that merely said that it sends no more
     * (half-close) shows neither and still wants its answer. Negative descriptors are skipped. */
    struct pollfd p[] = {
        {.fd = w->client_fd}, {.fd = w->wake_fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    int n;

    *happened = *woken = false;
    if (interrupted_by_lock(w))
        return gpg_error(GPG_ERR_LOCKED);
    n = poll(p, sizeof p / sizeof p[0], timeout_ms);
    if (n < 0)
        return errno == EINTR ? 0 : gpg_error_from_syserror();
    if ((p[0].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0)
        return gpg_error(GPG_ERR_CANCELED);
    if (p[1].revents != 0)
        *woken = take_wakes(w);
    if (interrupted_by_lock(w))
        return gpg_error(GPG_ERR_LOCKED);
    if ((p[2].revents & POLLNVAL) != 0)
        return gpg_error(GPG_ERR_EBADF);
    *happened = *woken || p[2].revents != 0;
    return 0;
}

gpg_error_t wait_for(struct wait *w, int fd, bool *woken)
{
    bool happened, wake;
    gpg_error_t err;

    for (;;) {
        int left = wait_left_ms(w);

        err = look(w, fd, left, &happened, &wake);
        if (err != 0)
            return err;
        if (happened)
            break;
        if (left == 0)
            return gpg_error(GPG_ERR_TIMEOUT);
    }
    if (woken != NULL)
        *woken = wake;
    return 0;
}

gpg_error_t wait_check(struct wait *w)
{
    struct pollfd p = {.fd = w->client_fd};

    if (poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0)
        return gpg_error(GPG_ERR_CANCELED);
    if (interrupted_by_lock(w))
        return gpg_error(GPG_ERR_LOCKED);
    return wait_left_ms(w) == 0 ? gpg_error(GPG_ERR_TIMEOUT) : 0;
}
