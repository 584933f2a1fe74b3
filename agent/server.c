#include "agent/server.h"

#include "agent/paths.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Each connection costs a descriptor and a thread's small stack; some descriptors stay for tokens, dialogs and files. */
#define STACK_SIZE    (256u * 1024u)
#define SPARE_FDS     64u
#define MAX_CLIENTS   8192u
#define BACKLOG       128
#define MAX_LISTENERS 4

struct connection {
    struct server *s;
    enum server_role role;
    int fd;
    struct connection *prev, *next; /* server::connections */
};

struct listener {
    enum server_role role;
    int fd;
    char *path; /* NULL: handed over, not ours to unlink */
    dev_t dev;
    ino_t ino;
};

struct server {
    struct agent *a;
    struct listener listeners[MAX_LISTENERS];
    size_t nlisteners;
    int stop_fd;
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    struct connection *connections;
    size_t nconnections, max_connections;
};

static void (*const serve[SERVER_ROLES])(struct agent *a, int fd) = {
    [SERVER_SSH] = ssh_session_serve,
    [SERVER_CTL] = ctl_session_serve,
};

/* As many as descriptors allow, so that idle clients cannot keep others out. */
static size_t connection_limit(void)
{
    struct rlimit lim;
    rlim_t n;

    if (getrlimit(RLIMIT_NOFILE, &lim) != 0)
        return 512;
    n = lim.rlim_max == RLIM_INFINITY || lim.rlim_max > MAX_CLIENTS + SPARE_FDS
            ? MAX_CLIENTS + SPARE_FDS
            : lim.rlim_max;
    if (lim.rlim_cur < n) {
        lim.rlim_cur = n;
        if (setrlimit(RLIMIT_NOFILE, &lim) != 0)
            (void)getrlimit(RLIMIT_NOFILE, &lim);
        n = lim.rlim_cur;
    }
    return n > 2 * SPARE_FDS ? (size_t)n - SPARE_FDS : (size_t)n / 2;
}

gpg_error_t server_new(struct agent *a, struct server **out)
{
    struct server *s = gpgrt_calloc(1, sizeof *s);

    if (s == NULL)
        return gpg_error_from_syserror();
    s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->stop_fd < 0) {
        gpg_error_t err = gpg_error_from_syserror();

        gpgrt_free(s);
        return err;
    }
    s->a = a;
    s->max_connections = connection_limit();
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->ended, NULL);
    *out = s;
    return 0;
}

static bool is_served(const struct sockaddr_un *sa)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool live = fd >= 0 && connect(fd, (const struct sockaddr *)sa, sizeof *sa) == 0;

    if (fd >= 0)
        close(fd);
    return live;
}

gpg_error_t server_listen(struct server *s, enum server_role role, const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct listener *l = &s->listeners[s->nlisteners];
    struct stat st;
    mode_t mask;
    int fd = -1, bound;
    gpg_error_t err = 0;

    if (strlen(path) >= sizeof sa.sun_path)
        return gpg_error(GPG_ERR_ENAMETOOLONG);
    if (s->nlisteners == MAX_LISTENERS)
        return gpg_error(GPG_ERR_LIMIT_REACHED);
    memcpy(sa.sun_path, path, strlen(path) + 1);
    if (lstat(path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode))
            return gpg_error(GPG_ERR_EEXIST);
        if (is_served(&sa))
            return gpg_error(GPG_ERR_EADDRINUSE);
        if (unlink(path) != 0)
            return gpg_error_from_syserror();
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return gpg_error_from_syserror();
    mask = umask(0177);
    bound = bind(fd, (const struct sockaddr *)&sa, sizeof sa);
    umask(mask);
    if (bound != 0 || listen(fd, BACKLOG) != 0 || lstat(path, &st) != 0) {
        err = gpg_error_from_syserror();
        goto out;
    }
    *l = (struct listener){
        .role = role, .fd = fd, .path = gpgrt_strdup(path), .dev = st.st_dev, .ino = st.st_ino};
    if (l->path == NULL) {
        err = gpg_error_from_syserror();
        goto out;
    }
    s->nlisteners++;
    fd = -1;
out:
    if (fd >= 0)
        close(fd);
    return err;
}

gpg_error_t server_adopt(struct server *s, enum server_role role, int fd)
{
    if (s->nlisteners == MAX_LISTENERS)
        return gpg_error(GPG_ERR_LIMIT_REACHED);
    s->listeners[s->nlisteners++] = (struct listener){.role = role, .fd = fd};
    return 0;
}

const char *server_path(const struct server *s, enum server_role role)
{
    for (size_t i = 0; i < s->nlisteners; i++)
        if (s->listeners[i].role == role && s->listeners[i].path != NULL)
            return s->listeners[i].path;
    return NULL;
}

/* Only root and ourselves: a socket's mode can be widened by mistake, the peer's uid cannot. */
static bool peer_is_ours(int fd)
{
    struct ucred cred;
    socklen_t len = sizeof cred;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
           (cred.uid == 0 || cred.uid == geteuid());
}

static void *connection_thread(void *arg)
{
    struct connection *c = arg;
    struct server *s = c->s;

    serve[c->role](s->a, c->fd);
    pthread_mutex_lock(&s->mutex);
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        s->connections = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    close(c->fd);
    s->nconnections--;
    pthread_cond_broadcast(&s->ended);
    pthread_mutex_unlock(&s->mutex);
    gpgrt_free(c);
    return NULL;
}

static gpg_error_t start_connection(struct server *s, enum server_role role, int fd)
{
    struct connection *c = gpgrt_calloc(1, sizeof *c);
    pthread_attr_t attr;
    pthread_t thread;
    int rc;

    if (c == NULL)
        return gpg_error_from_syserror();
    *c = (struct connection){.s = s, .role = role, .fd = fd};
    pthread_mutex_lock(&s->mutex);
    c->next = s->connections;
    if (c->next != NULL)
        c->next->prev = c;
    s->connections = c;
    s->nconnections++;
    pthread_mutex_unlock(&s->mutex);

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    rc = pthread_create(&thread, &attr, connection_thread, c);
    pthread_attr_destroy(&attr);
    if (rc == 0)
        return 0;
    pthread_mutex_lock(&s->mutex);
    s->connections = c->next;
    if (c->next != NULL)
        c->next->prev = NULL;
    s->nconnections--;
    pthread_mutex_unlock(&s->mutex);
    gpgrt_free(c);
    return gpg_error_from_errno(rc);
}

/* Out of descriptors, memory or threads: wait until a connection ends (or a moment) instead of spinning. */
static void wait_for_room(struct server *s)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100 * 1000 * 1000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&s->mutex);
    pthread_cond_timedwait(&s->ended, &s->mutex, &until);
    pthread_mutex_unlock(&s->mutex);
}

static void accept_one(struct server *s, const struct listener *l)
{
    int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
    gpg_error_t err;

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            wait_for_room(s);
        return;
    }
    if (!peer_is_ours(fd)) {
        close(fd);
        return;
    }
    err = start_connection(s, l->role, fd);
    if (err != 0) {
        gpgrt_log_error("connection dropped: %s\n", gpg_strerror(err));
        close(fd);
        wait_for_room(s);
    }
}

void server_run(struct server *s)
{
    struct pollfd p[MAX_LISTENERS + 1];

    for (;;) {
        pthread_mutex_lock(&s->mutex);
        bool full = s->nconnections >= s->max_connections;
        pthread_mutex_unlock(&s->mutex);

        if (full)
            wait_for_room(s); /* newcomers wait in the backlog */
        for (size_t i = 0; i < s->nlisteners; i++)
            p[i] = (struct pollfd){.fd = s->listeners[i].fd, .events = full ? 0 : POLLIN};
        p[s->nlisteners] = (struct pollfd){.fd = s->stop_fd, .events = POLLIN};
        if (poll(p, s->nlisteners + 1, full ? 0 : -1) < 0 && errno != EINTR)
            return;
        if (p[s->nlisteners].revents != 0)
            return;
        for (size_t i = 0; i < s->nlisteners; i++)
            if (!full && (p[i].revents & POLLIN) != 0)
                accept_one(s, &s->listeners[i]);
    }
}

void server_stop(struct server *s)
{
    uint64_t one = 1;

    if (write(s->stop_fd, &one, sizeof one) < 0)
        return; /* full means stopped already */
}

static void end_connections(struct server *s)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    pthread_mutex_lock(&s->mutex);
    for (struct connection *c = s->connections; c != NULL; c = c->next)
        shutdown(c->fd, SHUT_RDWR);
    while (s->nconnections > 0 && pthread_cond_timedwait(&s->ended, &s->mutex, &until) == 0)
        continue;
    pthread_mutex_unlock(&s->mutex);
}

void server_free(struct server *s)
{
    struct stat st;

    if (s == NULL)
        return;
    for (size_t i = 0; i < s->nlisteners; i++) {
        struct listener *l = &s->listeners[i];

        close(l->fd);
        /* Another agent may have taken the path over: unlink only what is ours. */
        if (l->path != NULL && lstat(l->path, &st) == 0 && st.st_dev == l->dev &&
            st.st_ino == l->ino)
            unlink(l->path);
        gpgrt_free(l->path);
    }
    end_connections(s);
    if (s->nconnections > 0)
        return; /* a thread that would not end still uses this; the process is about to exit */
    close(s->stop_fd);
    pthread_cond_destroy(&s->ended);
    pthread_mutex_destroy(&s->mutex);
    gpgrt_free(s);
}
