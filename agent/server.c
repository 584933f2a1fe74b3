#include "agent/server.h"

#include "agent/limits.h"
#include "agent/paths.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Each connection costs a descriptor, or two, and a thread's small stack; some descriptors stay for tokens, dialogs and
 * files. */
#define MAX_PARKED    4u
#define LOOK_MS       50
#define STACK_SIZE    (256u * 1024u)
#define SPARE_FDS     64u
#define BACKLOG       SOMAXCONN
#define MAX_LISTENERS 8

struct connection {
    struct server *s;
    enum server_role role;
    int fd;
    pid_t pid; /* of the peer when it connected; 0 unknown */
    struct activity activity;
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
    atomic_bool gentle;
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    struct connection *connections;
    size_t nconnections, max_connections;
    unsigned long nended; /* connections, since the start */
    /* Threads between two connections: most clients come, ask once and go. */
    pthread_cond_t handed;
    struct connection *next; /* for one of them; NULL: none was handed over */
    unsigned nparked;
    bool stopping;
};

static void (*const serve[SERVER_ROLES])(struct agent *a, int fd, struct activity *act) = {
    [SERVER_SSH] = ssh_session_serve,
    [SERVER_CTL] = ctl_session_serve,
    [SERVER_GPG] = gpg_session_serve,
    [SERVER_GPG_EXTRA] = gpg_session_serve_extra,
    [SERVER_GPG_BROWSER] = gpg_session_serve_browser,
};

/* --- starting -------------------------------------------------------------------------------------- */

/* What settings and descriptors allow. */
static size_t connection_limit(unsigned wanted)
{
    struct rlimit lim;
    rlim_t fit = 256;

    if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur > 2 * SPARE_FDS)
        fit = (lim.rlim_cur - SPARE_FDS) / 2;
    return fit < wanted ? (size_t)fit : wanted;
}

static void make_memory(void *arg);

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
    s->max_connections = connection_limit(a->settings->max_clients);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->ended, NULL);
    pthread_cond_init(&s->handed, NULL);
    limits_set_room_maker(a->limits, make_memory, s);
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
    /* gpg-agent's own mode, or ssh-agent's: to connect needs the w */
    mask = umask(role >= SERVER_GPG || s->a->as_gpg_agent ? 077 : 0177);
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

static bool is_ours(const struct listener *l)
{
    struct stat st;

    return lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino;
}

bool server_holds_path(struct server *s, enum server_role role)
{
    bool holds = true;

    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < s->nlisteners; i++)
        if (s->listeners[i].role == role && s->listeners[i].path != NULL)
            holds = holds && is_ours(&s->listeners[i]);
    pthread_mutex_unlock(&s->mutex);
    return holds;
}

/* Another agent may have taken a path over: unlinks only what is ours. */
static void close_listeners(struct server *s)
{
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < s->nlisteners; i++) {
        struct listener *l = &s->listeners[i];

        close(l->fd);
        if (l->path != NULL && is_ours(l))
            unlink(l->path);
        gpgrt_free(l->path);
    }
    s->nlisteners = 0;
    pthread_mutex_unlock(&s->mutex);
}

/* Only root and ourselves: a socket's mode can be widened by mistake, the peer's uid cannot. */
static bool peer_is_ours(int fd, pid_t *pid)
{
    struct ucred cred;
    socklen_t len = sizeof cred;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0 ||
        (cred.uid != 0 && cred.uid != geteuid()))
        return false;
    *pid = cred.pid;
    return true;
}

/* Returns with the server's mutex held. */
static void serve_one(struct connection *c)
{
    struct server *s = c->s;

    serve[c->role](s->a, c->fd, &c->activity);
    pthread_mutex_lock(&s->mutex);
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        s->connections = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    close(c->fd);
    s->nconnections--;
    s->nended++;
    gpgrt_free(c);
}

static void *connection_thread(void *arg)
{
    struct connection *c = arg;
    struct server *s = c->s;

    while (c != NULL) {
        serve_one(c);
        c = NULL;
        if (s->nparked < MAX_PARKED && !s->stopping) {
            s->nparked++;
            pthread_cond_broadcast(&s->ended);
            while (s->next == NULL && !s->stopping)
                pthread_cond_wait(&s->handed, &s->mutex);
            c = s->next;
            s->next = NULL;
            s->nparked--;
        }
        pthread_cond_broadcast(&s->ended);
        pthread_mutex_unlock(&s->mutex); /* the server may be gone from here on */
    }
    return NULL;
}

static int start_thread(struct connection *c)
{
    pthread_attr_t attr;
    pthread_t thread;
    int rc;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    rc = pthread_create(&thread, &attr, connection_thread, c);
    pthread_attr_destroy(&attr);
    return rc;
}

static gpg_error_t start_connection(struct server *s, enum server_role role, int fd, pid_t pid)
{
    struct connection *c = gpgrt_calloc(1, sizeof *c);
    bool handed;
    int rc;

    if (c == NULL)
        return gpg_error_from_syserror();
    *c = (struct connection){.s = s, .role = role, .fd = fd, .pid = pid};
    activity_init(&c->activity);
    pthread_mutex_lock(&s->mutex);
    c->next = s->connections;
    if (c->next != NULL)
        c->next->prev = c;
    s->connections = c;
    s->nconnections++;
    handed = s->nparked > 0 && s->next == NULL;
    if (handed) {
        s->next = c;
        pthread_cond_signal(&s->handed);
    }
    pthread_mutex_unlock(&s->mutex);
    rc = handed ? 0 : start_thread(c);
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

/* --- making room ----------------------------------------------------------------------------------- */

struct candidate {
    struct connection *c;
    int64_t idle_since; /* INT64_MAX: busy */
    pid_t pid;
};

static int by_pid(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    return (x->pid > y->pid) - (x->pid < y->pid);
}

static int by_idleness(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    return (x->idle_since > y->idle_since) - (x->idle_since < y->idle_since);
}

/* The program with the most connections, as the part of LIST that is its; all of them if none has more than one. */
static struct candidate *heaviest(struct candidate *list, size_t n, size_t *count)
{
    struct candidate *most = list;

    *count = 0;
    qsort(list, n, sizeof *list, by_pid);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && list[end].pid == list[i].pid; end++)
            continue;
        if (end - i > *count) {
            most = &list[i];
            *count = end - i;
        }
    }
    if (*count > 1)
        return most;
    *count = n;
    return list;
}

/* Those idle longest go first; some at once, so that a flood costs little. Busy ones go only when a program has nothing
 * else: then it has filled the agent with requests. HOLDERS: only those that hold memory. The mutex is held. */
static void end_some(struct server *s, bool holders)
{
    struct candidate *list = gpgrt_calloc(s->nconnections + 1, sizeof *list), *of;
    size_t n = 0, count = 0, goal = s->max_connections / 64 + 1;

    for (struct connection *c = s->connections; list != NULL && c != NULL; c = c->next) {
        int64_t state = c->activity.state;

        if (holders && c->activity.held == 0)
            continue;
        if (state == ACTIVITY_ENDED)
            goal -= goal > 1;
        else
            list[n++] = (struct candidate){
                .c = c, .pid = c->pid, .idle_since = state >= 0 ? state : INT64_MAX};
    }
    of = n > 0 ? heaviest(list, n, &count) : list;
    if (n > 0)
        qsort(of, count, sizeof *of, by_idleness);
    for (size_t i = 0; i < count && goal > 0; i++, goal--) {
        if (of[i].idle_since == INT64_MAX && (i > 0 || count == n))
            break;
        of[i].c->activity.state = ACTIVITY_ENDED;
        (void)shutdown(of[i].c->fd, SHUT_RDWR);
    }
    gpgrt_free(list);
}

static void make_memory(void *arg)
{
    struct server *s = arg;

    pthread_mutex_lock(&s->mutex);
    end_some(s, true);
    pthread_mutex_unlock(&s->mutex);
}

/* Waits until a connection has ended, or a moment. */
static void make_room(struct server *s)
{
    struct timespec until;
    unsigned long before;

    limits_reached(s->a->limits, LIMIT_CLIENTS);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100 * 1000 * 1000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&s->mutex);
    before = s->nended;
    end_some(s, false);
    while (s->nended == before && pthread_cond_timedwait(&s->ended, &s->mutex, &until) == 0)
        continue;
    pthread_mutex_unlock(&s->mutex);
}

/* --- accepting ------------------------------------------------------------------------------------- */

static void accept_one(struct server *s, const struct listener *l)
{
    int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
    pid_t pid = 0;
    gpg_error_t err;

    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
            make_room(s);
        return;
    }
    if (!peer_is_ours(fd, &pid)) {
        close(fd);
        return;
    }
    err = start_connection(s, l->role, fd, pid);
    if (err != 0) { /* no memory, or as many threads as there may be */
        make_room(s);
        err = start_connection(s, l->role, fd, pid);
    }
    if (err != 0)
        close(fd);
}

static bool is_full(struct server *s)
{
    bool full;

    pthread_mutex_lock(&s->mutex);
    full = s->nconnections >= s->max_connections;
    pthread_mutex_unlock(&s->mutex);
    return full;
}

/* Until the last one has ended, or server_stop. Who comes now finds no socket and starts an agent of its own. */
static void wait_for_connections(struct server *s)
{
    uint64_t n;

    if (read(s->stop_fd, &n, sizeof n) < 0)
        return;
    close_listeners(s);
    for (;;) {
        struct pollfd p = {.fd = s->stop_fd, .events = POLLIN};
        size_t left;

        pthread_mutex_lock(&s->mutex);
        left = s->nconnections;
        pthread_mutex_unlock(&s->mutex);
        if (left == 0 || (poll(&p, 1, LOOK_MS) < 0 && errno != EINTR) || p.revents != 0)
            return;
    }
}

void server_run(struct server *s)
{
    struct pollfd p[MAX_LISTENERS + 1];

    for (;;) {
        for (size_t i = 0; i < s->nlisteners; i++)
            p[i] = (struct pollfd){.fd = s->listeners[i].fd, .events = POLLIN};
        p[s->nlisteners] = (struct pollfd){.fd = s->stop_fd, .events = POLLIN};
        if (poll(p, s->nlisteners + 1, -1) < 0 && errno != EINTR)
            return;
        if (p[s->nlisteners].revents != 0) {
            if (s->gentle)
                wait_for_connections(s);
            return;
        }
        for (size_t i = 0; i < s->nlisteners; i++) {
            if ((p[i].revents & POLLIN) == 0)
                continue;
            if (is_full(s)) /* newcomers wait in the backlog meanwhile */
                make_room(s);
            if (!is_full(s))
                accept_one(s, &s->listeners[i]);
        }
    }
}

void server_stop(struct server *s)
{
    uint64_t one = 1;

    if (write(s->stop_fd, &one, sizeof one) < 0)
        return; /* full means stopped already */
}

void server_finish(struct server *s)
{
    s->gentle = true;
    server_stop(s);
}

static bool end_connections(struct server *s)
{
    struct timespec until;
    bool ended;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    pthread_mutex_lock(&s->mutex);
    for (struct connection *c = s->connections; c != NULL; c = c->next)
        shutdown(c->fd, SHUT_RDWR);
    s->stopping = true;
    pthread_cond_broadcast(&s->handed);
    while ((s->nconnections > 0 || s->nparked > 0) &&
           pthread_cond_timedwait(&s->ended, &s->mutex, &until) == 0)
        continue;
    ended = s->nconnections == 0 && s->nparked == 0;
    pthread_mutex_unlock(&s->mutex);
    return ended;
}

bool server_free(struct server *s)
{
    bool ended;

    if (s == NULL)
        return true;
    close_listeners(s);
    ended = end_connections(s);
    if (!ended)
        return false;
    limits_set_room_maker(s->a->limits, NULL, NULL);
    close(s->stop_fd);
    pthread_cond_destroy(&s->ended);
    pthread_cond_destroy(&s->handed);
    pthread_mutex_destroy(&s->mutex);
    gpgrt_free(s);
    return true;
}
