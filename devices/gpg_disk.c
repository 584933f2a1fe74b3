#include "devices/gpg_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gcrypt.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define TEMP_PREFIX ".latchkey-"
#define TEMP_SUFFIX ".tmp"

/* --- folders ------------------------------------------------------------------------------------------------------------ */

static bool trusted_owner(const struct stat *st)
{
    return st->st_uid == geteuid() || st->st_uid == 0;
}

/* A home may be the group's (users with a group of their own and umask 002 make such); the keys' folder may not. */
static const char *problem(const struct stat *home, const struct stat *folder)
{
    if (!trusted_owner(home) || ((home->st_mode & S_IWOTH) != 0 && (home->st_mode & S_ISVTX) == 0))
        return "others can change the GnuPG home directory; take that from them (chmod o-w)";
    if (!trusted_owner(folder) || (folder->st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return "others can write to " GPG_FOLDER "; take that from them (chmod go-w)";
    return NULL;
}

static void complain(const char *home, const char *what)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static const char *last;

    pthread_mutex_lock(&mutex);
    if (what != last && what != NULL)
        gpgrt_log_error("%s: no key of gpg's is used: %s\n", home, what);
    last = what;
    pthread_mutex_unlock(&mutex);
}

static int open_folder(int at, const char *name)
{
    return openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int open_or_make(int at, const char *name, bool make)
{
    int fd = open_folder(at, name);

    if (fd < 0 && errno == ENOENT && make && (mkdirat(at, name, 0700) == 0 || errno == EEXIST)) {
        if (at >= 0)
            (void)fsync(at);
        fd = open_folder(at, name);
    }
    return fd;
}

gpg_error_t gpg_disk_open(const char *home, bool make, int *fd)
{
    int h = open_or_make(AT_FDCWD, home, make), f = h >= 0 ? open_or_make(h, GPG_FOLDER, make) : -1;
    struct stat sh, sf;
    const char *what;
    gpg_error_t err =
        f >= 0 && fstat(h, &sh) == 0 && fstat(f, &sf) == 0 ? 0 : gpg_error_from_syserror();

    if (err == 0) {
        what = problem(&sh, &sf);
        complain(home, what);
        if (what != NULL)
            err = gpg_error(GPG_ERR_EACCES);
    }
    if (h >= 0)
        close(h);
    if (err != 0 && f >= 0)
        close(f);
    if (err == 0)
        *fd = f;
    return err;
}

/* --- reading -------------------------------------------------------------------------------------------------------------- */

static gpg_error_t read_all(int fd, size_t max, struct buf *out)
{
    size_t room = max + 1, got = 0;
    uint8_t *p = gcry_malloc_secure(room);
    gpg_error_t err = 0;

    if (p == NULL)
        return gpg_error_from_syserror();
    while (got < room) {
        ssize_t n = read(fd, p + got, room - got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            err = gpg_error_from_syserror();
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    if (err == 0 && got > max)
        err = gpg_error(GPG_ERR_TOO_LARGE);
    if (err == 0)
        buf_put(out, p, got);
    gcry_free(p);
    return err != 0 ? err : buf_err(out);
}

gpg_error_t gpg_disk_read(int folder, const char *file, size_t max, struct buf *out,
                          struct stat *st)
{
    int fd = openat(folder, file, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat above;
    gpg_error_t err =
        fd >= 0 && fstat(fd, st) == 0 && fstat(folder, &above) == 0 ? 0 : gpg_error_from_syserror();

    if (err == 0 && !S_ISREG(st->st_mode))
        err = gpg_error(GPG_ERR_NOT_SUPPORTED);
    /* A file that all may write is safe in a folder that nobody else can enter. */
    if (err == 0 && (!trusted_owner(st) || ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0 &&
                                            (above.st_mode & (S_IXGRP | S_IXOTH)) != 0)))
        err = gpg_error(GPG_ERR_EACCES);
    if (err == 0 && (uintmax_t)st->st_size > max)
        err = gpg_error(GPG_ERR_TOO_LARGE);
    if (err == 0)
        err = read_all(fd, (size_t)st->st_size < max ? (size_t)st->st_size + 1 : max, out);
    if (err == 0 &&
        out->len != (size_t)st->st_size) /* being written in place: the next look sees all */
        err = gpg_error(GPG_ERR_EAGAIN);
    if (fd >= 0)
        close(fd);
    return err;
}

/* --- writing --------------------------------------------------------------------------------------------------------------- */

static bool is_temporary(const char *name)
{
    size_t n = strlen(name), p = sizeof TEMP_PREFIX - 1, s = sizeof TEMP_SUFFIX - 1;

    return n > p + s && memcmp(name, TEMP_PREFIX, p) == 0 && strcmp(name + n - s, TEMP_SUFFIX) == 0;
}

/* What a killed writer left: nobody holds its lock any more. */
static void sweep(int folder)
{
    int fd = open_folder(folder, ".");
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

    if (d == NULL && fd >= 0)
        close(fd);
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        int f;

        if (!is_temporary(e->d_name))
            continue;
        f = openat(folder, e->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (f >= 0 && flock(f, LOCK_EX | LOCK_NB) == 0)
            (void)unlinkat(folder, e->d_name, 0);
        if (f >= 0)
            close(f);
    }
    if (d != NULL)
        closedir(d);
}

static gpg_error_t write_all(int fd, struct rd text)
{
    while (text.n > 0) {
        ssize_t n = write(fd, text.p, text.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return gpg_error_from_syserror();
        text.p += n;
        text.n -= (size_t)n;
    }
    return 0;
}

/* A new file of a name that nobody guesses, locked. */
static gpg_error_t make_temporary(int folder, char name[64], int *fd)
{
    for (int i = 0; i < 16; i++) {
        uint8_t r[8];
        char *hex;

        gcry_create_nonce(r, sizeof r);
        hex = hex_encode(r, sizeof r);
        if (hex == NULL)
            return gpg_error_from_syserror();
        snprintf(name, 64, TEMP_PREFIX "%s" TEMP_SUFFIX, hex);
        gpgrt_free(hex);
        *fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (*fd < 0 && errno != EEXIST)
            return gpg_error_from_syserror();
        if (*fd >= 0 && flock(*fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (*fd >= 0) /* another writer swept it that moment */
            close(*fd);
    }
    return gpg_error(GPG_ERR_EEXIST);
}

gpg_error_t gpg_disk_write(int folder, const char *file, struct rd text, bool fresh)
{
    char name[64];
    int fd = -1;
    gpg_error_t err;

    sweep(folder);
    err = make_temporary(folder, name, &fd);
    if (err != 0)
        return err;
    err = write_all(fd, text);
    if (err == 0 && (fchmod(fd, 0600) != 0 || fsync(fd) != 0))
        err = gpg_error_from_syserror();
    if (err == 0 && fresh && linkat(folder, name, folder, file, 0) != 0)
        err = gpg_error_from_syserror();
    if (err == 0 && !fresh && renameat(folder, name, folder, file) != 0)
        err = gpg_error_from_syserror();
    if (err != 0 || fresh)
        (void)unlinkat(folder, name, 0);
    if (err == 0 && fsync(folder) != 0)
        err = gpg_error_from_syserror();
    close(fd);
    return err;
}

gpg_error_t gpg_disk_delete(int folder, const char *file)
{
    return unlinkat(folder, file, 0) == 0 && fsync(folder) == 0 ? 0 : gpg_error_from_syserror();
}
