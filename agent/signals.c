#include "agent/signals.h"

#include "agent/audit.h"
#include "agent/certificates.h"
#include "agent/gpg_agent.h"
#include "agent/gpg_watch.h"
#include "agent/hotplug.h"
#include "agent/log_file.h"
#include "agent/policy_watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

struct signals {
    struct agent *a;
    struct server *s;
    bool service;
    unsigned terms; /* SIGTERMs so far */
    pthread_t thread;
    int fd, quit_fd;
    pid_t parent;
    int parent_fd;           /* pidfd, -1: none */
    struct gpg_watch *watch; /* NULL: none */
};

/* How often to look for the parent on a kernel without pidfd. */
#define NO_PIDFD_MS 1000

static void reload(struct signals *g)
{
    struct timespec now;
    char text[64];

    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
             (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    sd_notify(0, text);
    (void)log_file_reopen(NULL);
    if (g->a->gpg != NULL)
        gpg_agent_reload(g->a);
    if (g->a->audit != NULL)
        audit_reopen(g->a->audit);
    if (g->a->policy != NULL)
        policy_reload(g->a->policy);
    if (g->a->certificates != NULL)
        certificates_reload(g->a->certificates);
    sd_notify(0, "READY=1");
}

static void act(struct signals *g, int signo)
{
    switch (signo) {
    case SIGHUP:
        if (g->service)
            reload(g);
        else
            server_stop(g->s);
        break;
    case SIGUSR1:
        if (g->a->hotplug != NULL)
            hotplug_remove_added(g->a->hotplug);
        break;
    case SIGTERM:
        /* as gpg-agent: conversations may end first, unless it is said again and again */
        if (g->a->as_gpg_agent && ++g->terms < 3)
            server_finish(g->s);
        else
            server_stop(g->s);
        break;
    default:
        server_stop(g->s);
    }
}

static void *signal_thread(void *arg)
{
    struct signals *g = arg;

    for (;;) {
        struct pollfd p[] = {
            {.fd = g->fd, .events = POLLIN},
            {.fd = g->quit_fd, .events = POLLIN},
            {.fd = g->parent_fd, .events = POLLIN},
            {.fd = g->watch != NULL ? gpg_watch_fd(g->watch) : -1, .events = POLLIN}};
        struct signalfd_siginfo info;
        bool looks = g->parent != 0 && g->parent_fd < 0;
        int wait_ms = looks ? NO_PIDFD_MS : g->watch != NULL ? gpg_watch_interval(g->watch) : -1;
        int n = poll(p, 4, wait_ms);

        if (n < 0 && errno != EINTR)
            return NULL;
        if (p[1].revents != 0)
            return NULL;
        if (p[2].revents != 0 || (looks && getppid() != g->parent)) {
            server_stop(g->s);
            if (g->parent_fd >= 0)
                close(g->parent_fd);
            g->parent_fd = -1;
            g->parent = 0;
        }
        if (g->watch != NULL && (n == 0 || p[3].revents != 0) && gpg_watch_is_over(g->watch)) {
            server_stop(g->s);
            g->watch = NULL;
        }
        if ((p[0].revents & POLLIN) != 0 && read(g->fd, &info, sizeof info) == sizeof info)
            act(g, (int)info.ssi_signo);
    }
}

static void close_all(struct signals *g)
{
    const int fds[] = {g->fd, g->quit_fd, g->parent_fd};

    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    gpgrt_free(g);
}

static sigset_t our_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    return set;
}

void signals_block(void)
{
    sigset_t set = our_signals();

    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

void signals_unblock(void)
{
    sigset_t set = our_signals();

    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

gpg_error_t signals_start(struct agent *a, struct server *s, bool service, pid_t parent,
                          struct gpg_watch *watch, struct signals **out)
{
    struct signals *g = gpgrt_calloc(1, sizeof *g);
    sigset_t set = our_signals();
    int rc;

    if (g == NULL)
        return gpg_error_from_syserror();
    *g = (struct signals){
        .a = a, .s = s, .service = service, .parent = parent, .parent_fd = -1, .watch = watch};
    g->fd = signalfd(-1, &set, SFD_CLOEXEC);
    g->quit_fd = eventfd(0, EFD_CLOEXEC);
    if (parent != 0) {
        g->parent_fd = (int)syscall(SYS_pidfd_open, parent, 0);
        if (getppid() != parent)
            server_stop(s); /* it is gone already */
    }
    if (g->fd < 0 || g->quit_fd < 0)
        rc = errno;
    else
        rc = pthread_create(&g->thread, NULL, signal_thread, g);
    if (rc != 0) {
        close_all(g);
        return gpg_error_from_errno(rc);
    }
    *out = g;
    return 0;
}

void signals_stop(struct signals *g)
{
    uint64_t one = 1;

    if (g == NULL)
        return;
    if (write(g->quit_fd, &one, sizeof one) == sizeof one)
        pthread_join(g->thread, NULL);
    close_all(g);
}
