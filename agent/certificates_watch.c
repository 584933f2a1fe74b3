/* Keeps the keyring's certificates as the files are: inotify on the directories. */
#include "agent/certificates.h"

#include "agent/keyring.h"
#include "agent/wait.h"

#include <errno.h>
#include <glob.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define SETTLE_MS     20  /* a file is written in several steps */
#define SETTLE_MAX_MS 500 /* but others may write in the same directory all the time */
#define EVENTS                                                                          \
    (IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | \
     IN_DELETE_SELF | IN_MOVE_SELF)

struct certificates {
    struct keyring *keyring;
    char **patterns; /* NULL-ended */
    uid_t uid;
    pthread_mutex_t mutex;
    struct certificate_set *now; /* under the mutex */
    bool quit;                   /* under the mutex */
    pthread_t thread;
    bool running;
    int inotify_fd, wake_fd; /* -1: not to be had */
    int last_wd;             /* the thread's: watches are numbered upwards */
};

/* --- watching -------------------------------------------------------------------------------------- */

static size_t watch_directories(struct certificates *c, const char *pattern)
{
    glob_t g = {0};
    size_t n = 0;

    if (glob(pattern, GLOB_NOSORT | GLOB_ONLYDIR, NULL, &g) == 0)
        for (size_t i = 0; i < g.gl_pathc; i++) {
            int wd = inotify_add_watch(c->inotify_fd, g.gl_pathv[i], EVENTS | IN_ONLYDIR);

            n += wd >= 0;
            if (wd > c->last_wd)
                c->last_wd = wd;
        }
    globfree(&g);
    return n;
}

/* The directories in which PATTERN's files are or may come to be: for "/a/b-x/c" that is "/a/b-x" if it
 * is there, else the nearest one above; with wildcards on the way also where new ones may come. */
static void watch_pattern(struct certificates *c, const char *pattern)
{
    char *dir = gpgrt_strdup(pattern), *slash;

    while (dir != NULL && (slash = strrchr(dir, '/')) != NULL) {
        bool root = slash == dir;
        size_t n;

        slash[root ? 1 : 0] = '\0';
        n = watch_directories(c, dir);
        if (root || (n > 0 && strpbrk(dir, "*?[") == NULL))
            break;
    }
    gpgrt_free(dir);
}

/* A file that is a symbolic link changes in another directory. True when that is watched only now. */
static bool watch_target(struct certificates *c, const char *path)
{
    struct stat st;
    char *real, *slash;
    int wd = -1;

    if (lstat(path, &st) != 0 || !S_ISLNK(st.st_mode))
        return false;
    real = realpath(path, NULL);
    slash = real != NULL ? strrchr(real, '/') : NULL;
    if (slash != NULL) {
        slash[slash == real ? 1 : 0] = '\0';
        wd = inotify_add_watch(c->inotify_fd, real, EVENTS | IN_ONLYDIR);
    }
    free(real);
    if (wd <= c->last_wd)
        return false;
    c->last_wd = wd;
    return true;
}

/* --- reading --------------------------------------------------------------------------------------- */

static void wake(struct certificates *c)
{
    uint64_t one = 1;

    while (write(c->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

static void look(struct certificates *c)
{
    struct certificate_set *next = NULL, *old;
    gpg_error_t err;

    /* First the watches, then the files: what comes in between is seen twice rather than not. */
    if (c->inotify_fd >= 0)
        for (size_t i = 0; c->patterns[i] != NULL; i++)
            watch_pattern(c, c->patterns[i]);
    /* Only this thread changes c->now. */
    err = certificate_set_read(c->patterns, c->uid, c->now, &next);
    if (err == 0)
        err = keyring_set_certificates(c->keyring, next);
    if (err != 0) {
        gpgrt_log_error("certificates: %s: those read before stay\n", gpg_strerror(err));
        certificate_set_unref(next);
        return;
    }
    for (size_t i = 0; i < next->n && c->inotify_fd >= 0; i++)
        if (watch_target(c, next->certs[i]->path))
            wake(c); /* it may have changed before */
    pthread_mutex_lock(&c->mutex);
    old = c->now;
    c->now = next;
    pthread_mutex_unlock(&c->mutex);
    certificate_set_unref(old);
}

static void drain(int fd)
{
    char junk[4096] __attribute__((aligned(8)));

    while (read(fd, junk, sizeof junk) > 0)
        continue;
}

static bool asked_to_quit(struct certificates *c)
{
    bool quit;

    pthread_mutex_lock(&c->mutex);
    quit = c->quit;
    pthread_mutex_unlock(&c->mutex);
    return quit;
}

static void *watch_thread(void *arg)
{
    struct certificates *c = arg;

    for (;;) {
        struct pollfd p[] = {{.fd = c->wake_fd, .events = POLLIN},
                             {.fd = c->inotify_fd, .events = POLLIN}};
        int64_t end;

        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return NULL;
        end = monotonic_ms() + SETTLE_MAX_MS;
        do {
            drain(c->wake_fd);
            if (c->inotify_fd >= 0)
                drain(c->inotify_fd);
            if (asked_to_quit(c))
                return NULL;
        } while (poll(p, 2, SETTLE_MS) > 0 && monotonic_ms() < end);
        look(c);
    }
}

/* --- the outside ----------------------------------------------------------------------------------- */

static gpg_error_t copy_patterns(struct certificates *c, const char *home, char *const *patterns)
{
    size_t n = 0, k = 0;

    while (patterns != NULL && patterns[n] != NULL)
        n++;
    c->patterns = gpgrt_calloc(n + 2, sizeof *c->patterns);
    if (c->patterns == NULL)
        return gpg_error_from_syserror();
    if (home != NULL && (c->patterns[k++] = gpgrt_bsprintf("%s/.ssh/*-cert.pub", home)) == NULL)
        return gpg_error_from_syserror();
    for (size_t i = 0; i < n; i++)
        if ((c->patterns[k++] = gpgrt_strdup(patterns[i])) == NULL)
            return gpg_error_from_syserror();
    return 0;
}

gpg_error_t certificates_start(struct keyring *k, const char *home, char *const *patterns,
                               uid_t uid, struct certificates **out)
{
    struct certificates *c = gpgrt_calloc(1, sizeof *c);
    gpg_error_t err;
    int rc;

    if (c == NULL)
        return gpg_error_from_syserror();
    c->keyring = k;
    c->uid = uid;
    pthread_mutex_init(&c->mutex, NULL);
    c->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (c->inotify_fd < 0)
        gpgrt_log_error("certificates: inotify: %s: changed files are seen at: latchkey reload\n",
                        strerror(errno));
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    err = c->wake_fd < 0 ? gpg_error_from_syserror() : copy_patterns(c, home, patterns);
    if (err != 0)
        goto fail;
    look(c);
    rc = pthread_create(&c->thread, NULL, watch_thread, c);
    if (rc != 0) {
        err = gpg_error_from_errno(rc);
        goto fail;
    }
    c->running = true;
    *out = c;
    return 0;
fail:
    certificates_stop(c);
    return err;
}

void certificates_stop(struct certificates *c)
{
    if (c == NULL)
        return;
    if (c->running) {
        pthread_mutex_lock(&c->mutex);
        c->quit = true;
        pthread_mutex_unlock(&c->mutex);
        wake(c);
        pthread_join(c->thread, NULL);
    }
    if (c->inotify_fd >= 0)
        close(c->inotify_fd);
    if (c->wake_fd >= 0)
        close(c->wake_fd);
    certificate_set_unref(c->now);
    for (size_t i = 0; c->patterns != NULL && c->patterns[i] != NULL; i++)
        gpgrt_free(c->patterns[i]);
    gpgrt_free(c->patterns);
    pthread_mutex_destroy(&c->mutex);
    gpgrt_free(c);
}

void certificates_reload(struct certificates *c)
{
    wake(c);
}

struct certificate_set *certificates_current(struct certificates *c)
{
    struct certificate_set *s;

    pthread_mutex_lock(&c->mutex);
    s = c->now != NULL ? certificate_set_ref(c->now) : NULL;
    pthread_mutex_unlock(&c->mutex);
    return s;
}
