#include "policy/file.h"

#include <errno.h>
#include <fcntl.h>
#include <gpg-error.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILE (1024u * 1024u)

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

/* Whoever can rename a directory on the way can put another file in place. */
static char *check_directories(const char *path, uid_t uid)
{
    char real[PATH_MAX];
    char *problem = NULL, *slash;
    struct stat st;

    if (realpath(path, real) == NULL)
        return gpgrt_strdup(strerror(errno));
    while (problem == NULL && (slash = strrchr(real, '/')) != NULL) {
        bool root = slash == real;

        slash[root ? 1 : 0] = '\0';
        if (stat(real, &st) != 0)
            return gpgrt_bsprintf("%s: %s", real, strerror(errno));
        problem = check_owner(real, &st, uid);
        if (root)
            break;
    }
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
        if (!optional || (errno != ENOENT && errno != ENOTDIR))
            *problem = gpgrt_strdup(strerror(errno));
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
