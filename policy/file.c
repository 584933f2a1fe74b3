#include "policy/file.h"

#include <errno.h>
#include <fcntl.h>
#include <gpg-error.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILE  (1024u * 1024u)
#define MAX_LINKS 40u

static char *check_owner(const char *path, const struct stat *st, uid_t uid)
{
    if (st->st_uid != 0 && st->st_uid != uid)
        return gpgrt_bsprintf("%s belongs to uid %lu; it must be yours or root's: chown it", path,
                              (unsigned long)st->st_uid);
    if ((st->st_mode & 022) != 0 && !(S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX) != 0))
        return gpgrt_bsprintf("%s can be written by others (mode %04o): chmod go-w %s", path,
                              (unsigned)(st->st_mode & 07777), path);
    return NULL;
}

/* A link in a directory that all may write (/tmp) is not ours because what it leads to is. */
static char *check_link(const char *path, const struct stat *st, uid_t uid)
{
    if (st->st_uid == 0 || st->st_uid == uid)
        return NULL;
    return gpgrt_bsprintf("the symbolic link %s belongs to uid %lu; it must be yours or root's",
                          path, (unsigned long)st->st_uid);
}

/* The way to a file, walked as the kernel walks it. */
struct way {
    char *dir;  /* so far; without links */
    char *rest; /* of the path */
};

static char *failed(const char *path, int error)
{
    return gpgrt_bsprintf("%s: %s", path, strerror(error));
}

static bool replace(char **s, char *with)
{
    gpgrt_free(*s);
    *s = with;
    return with != NULL;
}

/* Goes on from the symbolic link PATH. */
static bool follow(struct way *w, const char *path)
{
    char target[PATH_MAX];
    ssize_t n = readlink(path, target, sizeof target - 1);

    if (n <= 0)
        return false;
    target[n] = '\0';
    return replace(&w->rest, gpgrt_bsprintf("%s/%s", target, w->rest)) &&
           (target[0] != '/' || replace(&w->dir, gpgrt_strdup("/")));
}

/* One step from w->dir to the next part of the path. DONE: it was the last. */
static char *step(struct way *w, uid_t uid, unsigned *links, bool *done)
{
    const char *s = w->rest + strspn(w->rest, "/");
    size_t n = strcspn(s, "/");
    char *next = NULL, *problem = NULL;
    struct stat st;

    if (stat(w->dir, &st) != 0)
        return failed(w->dir, errno);
    problem = check_owner(w->dir, &st, uid);
    *done = n == 0;
    if (problem != NULL || *done)
        return problem;
    if (n == 1 && s[0] == '.') {
        next = gpgrt_strdup(w->dir);
    } else if (n == 2 && strncmp(s, "..", 2) == 0) {
        next = gpgrt_bsprintf("%.*s", (int)(strrchr(w->dir, '/') - w->dir), w->dir);
        if (next != NULL && next[0] == '\0')
            replace(&next, gpgrt_strdup("/"));
    } else {
        next = gpgrt_bsprintf("%s%s%.*s", w->dir, w->dir[1] != '\0' ? "/" : "", (int)n, s);
    }
    if (next == NULL || !replace(&w->rest, gpgrt_strdup(s + n))) {
        problem = gpgrt_strdup(strerror(ENOMEM));
    } else if (lstat(next, &st) != 0) {
        problem = failed(next, errno);
    } else if (S_ISLNK(st.st_mode)) {
        problem = check_link(next, &st, uid);
        if (problem == NULL && (++*links > MAX_LINKS || !follow(w, next)))
            problem = failed(next, *links > MAX_LINKS ? ELOOP : errno);
    } else if (S_ISDIR(st.st_mode)) {
        replace(&w->dir, next);
        next = NULL;
    } else {
        *done = true;
    }
    gpgrt_free(next);
    return problem;
}

/* Whoever can rename a directory on the way, or point a link of it elsewhere, can put another file in
 * place. */
static char *check_directories(const char *path, uid_t uid)
{
    char cwd[PATH_MAX] = "";
    struct way w = {.dir = gpgrt_strdup("/")};
    unsigned links = 0;
    bool done = false;
    char *problem = NULL;

    if (path[0] != '/' && getcwd(cwd, sizeof cwd) == NULL)
        problem = gpgrt_strdup(strerror(errno));
    w.rest = gpgrt_bsprintf("%s/%s", cwd, path);
    while (problem == NULL && !done)
        problem = w.dir != NULL && w.rest != NULL ? step(&w, uid, &links, &done)
                                                  : gpgrt_strdup(strerror(ENOMEM));
    gpgrt_free(w.dir);
    gpgrt_free(w.rest);
    return problem;
}

bool policy_read_file(const char *path, uid_t uid, bool optional, char **text, size_t *len,
                      char **problem)
{
    struct stat st;
    size_t n = 0, cap;
    char *buf = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    *problem = NULL;
    if (fd < 0) {
        int error = errno;

        if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && error == ENOENT)
            *problem = gpgrt_strdup("this symbolic link leads to nothing");
        else if (!optional || (error != ENOENT && error != ENOTDIR))
            *problem = gpgrt_strdup(strerror(error));
        return false;
    }
    if (fstat(fd, &st) != 0)
        *problem = gpgrt_strdup(strerror(errno));
    else if (!S_ISREG(st.st_mode))
        *problem = gpgrt_strdup("this is no regular file");
    else if (st.st_size > (off_t)MAX_FILE)
        *problem = gpgrt_strdup("this file is too large (1 MiB at most)");
    else if ((*problem = check_owner(path, &st, uid)) == NULL)
        *problem = check_directories(path, uid);
    if (*problem != NULL)
        goto fail;
    cap = (size_t)st.st_size + 1;
    buf = gpgrt_malloc(cap + 1);
    while (buf != NULL && n < cap) {
        ssize_t got = read(fd, buf + n, cap - n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            *problem = gpgrt_strdup(strerror(errno));
            goto fail;
        }
        if (got == 0)
            break;
        n += (size_t)got;
    }
    if (buf == NULL) {
        *problem = gpgrt_strdup(strerror(errno));
        goto fail;
    }
    buf[n] = '\0';
    close(fd);
    *text = buf;
    *len = n;
    return true;
fail:
    gpgrt_free(buf);
    close(fd);
    return false;
}
