/* Notices that policy files change: by inotify, and by being told. */
#include "agent/policy_holder.h"

#include "agent/wait.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define SETTLE_MS     100  /* editors write in several steps */
#define SETTLE_MAX_MS 1000 /* a folder that is never quiet hides no change */
#define MAX_LINKS     40
#define FILE_EVENTS                                                                     \
    (IN_CLOSE_WRITE | IN_MODIFY | IN_ATTRIB | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | \
     IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

static bool watch(struct policy_holder *h, const char *dir)
{
    int wd = inotify_add_watch(h->inotify_fd, dir, FILE_EVENTS);

    if (wd > h->last_wd)
        h->last_wd = wd;
    return wd >= 0;
}

/* Files are replaced by rename and made later: their directories are what to watch, or the nearest one that is there. */
static void watch_directory_of(struct policy_holder *h, const char *path)
{
    char *dir = gpgrt_strdup(path), *slash;

    while (dir != NULL && (slash = strrchr(dir, '/')) != NULL) {
        if (slash == dir)
            slash++;
        *slash = '\0';
        if (watch(h, dir) || slash == dir + 1)
            break;
    }
    gpgrt_free(dir);
}

/* The path with its first symbolic link replaced by what that leads to; NULL: there is none. The link's own directory is
 * watched: it may come to lead elsewhere. */
static char *through_link(struct policy_holder *h, const char *path)
{
    char target[PATH_MAX], *prefix, *out = NULL;
    struct stat st;

    for (const char *end = path; *end != '\0' && out == NULL;) {
        ssize_t n;

        end += strspn(end, "/");
        end += strcspn(end, "/");
        prefix = gpgrt_bsprintf("%.*s", (int)(end - path), path);
        if (prefix == NULL || lstat(prefix, &st) != 0) {
            gpgrt_free(prefix);
            return NULL;
        }
        n = S_ISLNK(st.st_mode) ? readlink(prefix, target, sizeof target - 1) : -1;
        if (n > 0) {
            target[n] = '\0';
            watch_directory_of(h, prefix);
            *strrchr(prefix, '/') = '\0';
            out = gpgrt_bsprintf("%s%s%s%s", target[0] == '/' ? "" : prefix,
                                 target[0] == '/' ? "" : "/", target, end);
        }
        gpgrt_free(prefix);
    }
    return out;
}

static void watch_way_to(struct policy_holder *h, const char *path)
{
    char *way = gpgrt_strdup(path);

    for (int i = 0; way != NULL && way[0] == '/' && i < MAX_LINKS; i++) {
        char *next;

        watch_directory_of(h, way);
        next = through_link(h, way);
        gpgrt_free(way);
        way = next;
    }
    gpgrt_free(way);
}

/* Watches all that there is to watch; true if some of it was not watched before. */
static bool add_watches(struct policy_holder *h)
{
    struct policy_set *p = policy_current(h);
    int before = h->last_wd;

    if (h->admin_file != NULL)
        watch_way_to(h, h->admin_file);
    if (h->user_file != NULL)
        watch_way_to(h, h->user_file);
    if (h->admin_dir != NULL) {
        watch_way_to(h, h->admin_dir);
        (void)watch(h, h->admin_dir);
    }
    for (size_t i = 0; p != NULL && policy_files(p)[i] != NULL; i++)
        watch_way_to(h, policy_files(p)[i]);
    policy_unref(p);
    return h->last_wd > before;
}

static void drain(int fd)
{
    char junk[4096] __attribute__((aligned(8)));

    while (read(fd, junk, sizeof junk) > 0)
        continue;
}

/* Waits until it is quiet, so that one change is one reload. */
static void settle(struct policy_holder *h)
{
    struct pollfd p = {.fd = h->inotify_fd, .events = POLLIN};
    int64_t end = monotonic_ms() + SETTLE_MAX_MS;

    do
        drain(h->inotify_fd);
    while (poll(&p, 1, SETTLE_MS) > 0 && monotonic_ms() < end);
}

static void *watch_thread(void *arg)
{
    struct policy_holder *h = arg;
    struct reload r = {.client_fd = -1};
    bool quit = false;

    while (!quit) {
        struct pollfd p[] = {{.fd = h->inotify_fd, .events = POLLIN},
                             {.fd = h->wake_fd, .events = POLLIN}};

        /* Once more after new watches: what changed before they were there went unseen. */
        do {
            (void)add_watches(h);
            policy_load_again(h, &r);
            r.asked = false;
        } while (add_watches(h));
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return NULL;
        drain(h->wake_fd);
        pthread_mutex_lock(&h->mutex);
        quit = h->quit;
        r.asked = h->reload;
        h->reload = false;
        pthread_mutex_unlock(&h->mutex);
        if (!quit && !r.asked)
            settle(h);
    }
    return NULL;
}

gpg_error_t policy_watch_start(struct agent *a)
{
    struct policy_holder *h = a->policy;
    struct policy_set *p;
    int rc;

    h->a = a;
    h->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    h->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->inotify_fd < 0 || h->wake_fd < 0)
        return gpg_error_from_syserror();
    p = policy_current(h);
    policy_record(h, p, p != NULL ? "loaded" : "rejected", h->problem);
    policy_unref(p);
    rc = pthread_create(&h->thread, NULL, watch_thread, h);
    if (rc != 0)
        return gpg_error_from_errno(rc);
    h->running = true;
    return 0;
}

void policy_watch_wake(struct policy_holder *h)
{
    uint64_t one = 1;

    if (h->wake_fd >= 0 && write(h->wake_fd, &one, sizeof one) < 0)
        gpgrt_log_debug("policy watch: %s\n", strerror(errno));
}

void policy_watch_stop(struct agent *a)
{
    struct policy_holder *h = a->policy;

    if (h->running) {
        pthread_mutex_lock(&h->mutex);
        h->quit = true;
        pthread_mutex_unlock(&h->mutex);
        waits_interrupt_locked(a->waits);
        policy_watch_wake(h);
        pthread_join(h->thread, NULL);
        h->running = false;
    }
    if (h->inotify_fd >= 0)
        close(h->inotify_fd);
    if (h->wake_fd >= 0)
        close(h->wake_fd);
    h->inotify_fd = h->wake_fd = -1;
}

void policy_reload(struct policy_holder *h)
{
    pthread_mutex_lock(&h->mutex);
    h->reload = true;
    pthread_mutex_unlock(&h->mutex);
    policy_watch_wake(h);
}
