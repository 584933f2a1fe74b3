#include "agent/gpg_watch.h"

#include <errno.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK_MS     60000 /* network file systems tell of nothing that others do */
#define NO_NOTIFY_MS 2000

struct gpg_watch {
    char *home;
    struct server *s;
    char *path; /* of the socket; NULL: not watched */
    dev_t dev;  /* of HOME */
    ino_t ino;
    int fd;
};

gpg_error_t gpg_watch_new(const char *home, struct server *s, bool socket, struct gpg_watch **out)
{
    struct gpg_watch *w = gpgrt_calloc(1, sizeof *w);
    const char *path = socket ? server_path(s, SERVER_GPG) : NULL, *slash;
    struct stat st;
    char *dir;

    if (w == NULL)
        return gpg_error_from_syserror();
    *w = (struct gpg_watch){.home = gpgrt_strdup(home),
                            .path = path != NULL ? gpgrt_strdup(path) : NULL,
                            .s = s,
                            .fd = -1};
    if (w->home == NULL || (w->path == NULL && path != NULL) || stat(home, &st) != 0) {
        gpg_error_t err = gpg_error_from_syserror();

        gpgrt_log_error("home directory %s: %s\n", home, gpg_strerror(err));
        gpg_watch_free(w);
        return err;
    }
    w->dev = st.st_dev;
    w->ino = st.st_ino;
    w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (w->fd >= 0)
        (void)inotify_add_watch(w->fd, home, IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB);
    slash = path != NULL ? strrchr(path, '/') : NULL;
    dir = slash != NULL ? gpgrt_bsprintf("%.*s", (int)(slash - path), path) : NULL;
    if (w->fd >= 0 && dir != NULL)
        (void)inotify_add_watch(w->fd, dir, IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MASK_ADD);
    gpgrt_free(dir);
    *out = w;
    return 0;
}

void gpg_watch_free(struct gpg_watch *w)
{
    if (w == NULL)
        return;
    if (w->fd >= 0)
        close(w->fd);
    gpgrt_free(w->home);
    gpgrt_free(w->path);
    gpgrt_free(w);
}

int gpg_watch_fd(const struct gpg_watch *w)
{
    return w->fd;
}

int gpg_watch_interval(const struct gpg_watch *w)
{
    return w->fd >= 0 ? CHECK_MS : NO_NOTIFY_MS;
}

bool gpg_watch_is_over(struct gpg_watch *w)
{
    char events[4096];
    struct stat st;

    while (w->fd >= 0 && read(w->fd, events, sizeof events) > 0)
        continue;
    if (stat(w->home, &st) != 0 ? errno == ENOENT || errno == ENOTDIR
                                : st.st_dev != w->dev || st.st_ino != w->ino) {
        gpgrt_log_info("the home directory %s is gone: ending\n", w->home);
        return true;
    }
    if (w->path != NULL && !server_holds_path(w->s, SERVER_GPG)) {
        gpgrt_log_info("the socket %s is gone, or another agent's: ending\n", w->path);
        return true;
    }
    return false;
}
