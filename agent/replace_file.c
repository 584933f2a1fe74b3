#include "agent/replace_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static gpg_error_t write_all(int fd, struct rd r)
{
    while (r.n > 0) {
        ssize_t n = write(fd, r.p, r.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return gpg_error_from_syserror();
        r = rd_of(r.p + n, r.n - (size_t)n);
    }
    return fsync(fd) == 0 ? 0 : gpg_error_from_syserror();
}

static gpg_error_t sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash != NULL
                       ? gpgrt_bsprintf("%.*s", slash > path ? (int)(slash - path) : 1, path)
                       : gpgrt_strdup(".");
    int fd = folder != NULL ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    gpg_error_t err = fd >= 0 && fsync(fd) == 0 ? 0 : gpg_error_from_syserror();

    if (fd >= 0)
        close(fd);
    gpgrt_free(folder);
    return err;
}

gpg_error_t replace_file(const char *path, bool persons, struct rd text)
{
    char *real = persons ? realpath(path, NULL) : NULL;
    const char *target = real != NULL ? real : path;
    char *fresh = gpgrt_bsprintf("%s.XXXXXX", target);
    int fd = fresh != NULL ? mkostemp(fresh, O_CLOEXEC) : -1;
    gpg_error_t err = fd >= 0 ? 0 : gpg_error_from_syserror();
    struct stat st;

    if (err != 0)
        goto out;
    if (persons && stat(target, &st) == 0 && fchmod(fd, st.st_mode & 0777) != 0)
        err = gpg_error_from_syserror();
    if (err == 0)
        err = write_all(fd, text);
    close(fd);
    if (err == 0 && rename(fresh, target) != 0)
        err = gpg_error_from_syserror();
    if (err != 0)
        (void)unlink(fresh);
    else
        err = sync_folder(target);
out:
    gpgrt_free(fresh);
    free(real);
    return err;
}
