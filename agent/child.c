#include "agent/child.h"

#include "agent/limits.h"
#include "agent/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILL_AFTER_MS 2000
#define NO_PIDFD_MS   50 /* how often to look on a kernel without pidfd */

struct child {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned refs;
    pid_t pid;
    int end_fd; /* eventfd: child_end was called */
    int end_signal;
    bool started, reaped;
    gpg_error_t start_err;
    const struct child_spec *spec; /* until started */
    void (*on_exit)(void *arg, int status);
    void *arg;
};

static void child_unref(struct child *c)
{
    bool last;

    pthread_mutex_lock(&c->mutex);
    last = --c->refs == 0;
    pthread_mutex_unlock(&c->mutex);
    if (!last)
        return;
    pthread_mutex_destroy(&c->mutex);
    pthread_cond_destroy(&c->changed);
    if (c->end_fd >= 0)
        close(c->end_fd);
    gpgrt_free(c);
}

/* --- in the child: async-signal-safe calls only -------------------------------------------------- */

static void close_from(int first, int limit)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, (unsigned)first, ~0u, 0u) == 0)
        return;
#endif
    for (int fd = first; fd < limit; fd++)
        close(fd);
}

static bool place_fds(const struct child_spec *s, int *moved, int limit)
{
    int n = (int)s->nfds, low = n > 3 ? n : 3;

    /* First out of the way of each other, then to their places. */
    for (int i = 0; i < n; i++) {
        moved[i] = s->fds[i] < 0 && i < 3 ? open("/dev/null", O_RDWR) : s->fds[i];
        if (moved[i] >= 0 && (moved[i] = fcntl(moved[i], F_DUPFD, low)) < 0)
            return false;
    }
    if (s->keep_stderr && n <= STDERR_FILENO)
        return false;
    for (int i = 0; i < n; i++) {
        if (i == STDERR_FILENO && s->keep_stderr)
            continue;
        if (moved[i] < 0)
            close(i);
        else if (dup2(moved[i], i) < 0)
            return false;
    }
    close_from(low, limit);
    return true;
}

static void run_child(const struct child_spec *s, pid_t parent, int *moved, int limit)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++)
        (void)sigaction(sig, &dfl, NULL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    if (!s->outlives) {
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
            _exit(127); /* the agent died before it could be noticed */
    }
    if (place_fds(s, moved, limit)) {
        limits_restore_descriptors();
        execve(s->path, s->argv, s->envp != NULL ? s->envp : environ);
    }
    _exit(127);
}

/* --- the reaping thread -------------------------------------------------------------------------- */

static gpg_error_t spawn(struct child *c)
{
    const struct child_spec *s = c->spec;
    pid_t parent = getpid(), pid;
    struct rlimit rl = {.rlim_cur = 1024};
    int *moved = gpgrt_calloc(s->nfds + 1, sizeof *moved);
    gpg_error_t err = 0;
    sigset_t all, old;

    if (moved == NULL)
        return gpg_error_from_syserror();
    (void)getrlimit(RLIMIT_NOFILE, &rl);
    /* No handler of ours may run in the child before it has reset them. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pid = fork();
    if (pid == 0)
        run_child(s, parent, moved, rl.rlim_cur < 65536 ? (int)rl.rlim_cur : 65536);
    if (pid < 0)
        err = gpg_error_from_syserror();
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    gpgrt_free(moved);
    c->pid = pid;
    return err;
}

static int open_pidfd(pid_t pid)
{
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, 0u);
#else
    (void)pid;
    return -1;
#endif
}

/* Until the process ended; sees to its end when that is asked for. Gives the wait status. */
static int watch(struct child *c)
{
    int pidfd = open_pidfd(c->pid), status = 0;
    int64_t kill_at = INT64_MAX;
    bool ending = false;

    for (;;) {
        /* Nobody else waits for this process, so its number stays ours until we reap it. */
        struct pollfd p[] = {{.fd = pidfd, .events = POLLIN},
                             {.fd = ending ? -1 : c->end_fd, .events = POLLIN}};
        int64_t left = kill_at - monotonic_ms();
        int ms = kill_at == INT64_MAX ? -1 : left < 0 ? 0 : (int)left;
        pid_t r;

        if (pidfd < 0 && (ms < 0 || ms > NO_PIDFD_MS))
            ms = NO_PIDFD_MS;
        (void)poll(p, 2, ms);
        do
            r = waitpid(c->pid, &status, WNOHANG);
        while (r < 0 && errno == EINTR);
        if (r != 0)
            break;
        if (!ending && (p[1].revents & POLLIN) != 0) {
            ending = true;
            kill_at = monotonic_ms() + KILL_AFTER_MS;
            pthread_mutex_lock(&c->mutex);
            (void)kill(c->pid, c->end_signal);
            pthread_mutex_unlock(&c->mutex);
        } else if (ending && monotonic_ms() >= kill_at) {
            gpgrt_log_info("process %ld does not end: killed\n", (long)c->pid);
            (void)kill(c->pid, SIGKILL);
            kill_at = INT64_MAX;
        }
    }
    if (pidfd >= 0)
        close(pidfd);
    return status;
}

/* The child is forked here because its death signal is tied to the thread that forked it, and this
 * one lives as long as the child does. */
static void *reaper(void *arg)
{
    struct child *c = arg;
    gpg_error_t err = spawn(c);
    int status;

    pthread_mutex_lock(&c->mutex);
    c->start_err = err;
    c->started = true;
    c->spec = NULL;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
    if (err == 0) {
        status = watch(c);
        pthread_mutex_lock(&c->mutex);
        c->reaped = true;
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->mutex);
        if (c->on_exit != NULL)
            c->on_exit(c->arg, status);
    }
    child_unref(c);
    return NULL;
}

gpg_error_t child_start(const struct child_spec *spec, void (*on_exit)(void *arg, int status),
                        void *arg, struct child **out)
{
    struct child *c = gpgrt_calloc(1, sizeof *c);
    pthread_condattr_t attr;
    pthread_attr_t detached;
    pthread_t thread;
    gpg_error_t err;
    int rc;

    if (c == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&c->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &attr);
    pthread_condattr_destroy(&attr);
    c->refs = 2; /* the caller's and the thread's */
    c->spec = spec;
    c->on_exit = on_exit;
    c->arg = arg;
    c->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->end_fd < 0) {
        err = gpg_error_from_syserror();
        goto fail;
    }
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&thread, &detached, reaper, c);
    pthread_attr_destroy(&detached);
    if (rc != 0) {
        err = gpg_error_from_errno(rc);
        goto fail;
    }
    pthread_mutex_lock(&c->mutex);
    while (!c->started)
        pthread_cond_wait(&c->changed, &c->mutex);
    err = c->start_err;
    pthread_mutex_unlock(&c->mutex);
    if (err != 0)
        child_unref(c);
    else
        *out = c;
    return err;
fail:
    c->refs = 1;
    child_unref(c);
    return err;
}

pid_t child_pid(const struct child *c)
{
    return c->pid;
}

void child_end(struct child *c, int signal)
{
    uint64_t one = 1;

    pthread_mutex_lock(&c->mutex);
    c->end_signal = signal;
    pthread_mutex_unlock(&c->mutex);
    while (write(c->end_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

bool child_wait(struct child *c, int ms)
{
    int64_t until_ms = monotonic_ms() + ms;
    struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
                             .tv_nsec = (long)(until_ms % 1000) * 1000000};
    bool reaped;

    pthread_mutex_lock(&c->mutex);
    while (!c->reaped && pthread_cond_timedwait(&c->changed, &c->mutex, &until) == 0)
        continue;
    reaped = c->reaped;
    pthread_mutex_unlock(&c->mutex);
    return reaped;
}

void child_release(struct child *c)
{
    if (c != NULL)
        child_unref(c);
}
