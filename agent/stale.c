#include "agent/stale.h"

#include "agent/instance.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gcrypt.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* A younger one may belong to an agent that is just about to listen. */
#define AGE_S 3600

void stale_host_letters(const char *name, char out[11])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    uint8_t hash[64];

    gcry_md_hash_buffer(GCRY_MD_SHA512, hash, name, strlen(name));
    for (int i = 0; i < 10; i++)
        out[i] = letters[hash[i] % (sizeof letters - 1)];
    out[10] = '\0';
}

/* Of ours, older than AGE_S, of the given type and not reached through a link. */
static bool is_old(int dir, const char *name, mode_t type)
{
    struct stat st;

    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && (st.st_mode & S_IFMT) == type &&
           st.st_uid == geteuid() && time(NULL) - st.st_mtime > AGE_S;
}

/* By way of /proc/self/fd, so that it is the entry of this very directory, and of any length. */
static bool is_deserted(int dir, const char *name)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int n = snprintf(sa.sun_path, sizeof sa.sun_path, "/proc/self/fd/%d/%s", dir, name);
    int fd;
    bool deserted;

    if (n < 0 || (size_t)n >= sizeof sa.sun_path)
        return false;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    deserted = connect(fd, (const struct sockaddr *)&sa, sizeof sa) != 0 && errno == ECONNREFUSED;
    close(fd);
    return deserted;
}

/* The deserted sockets of directory FD (which is closed) whose names begin with PREFIX; how many sockets of others are
 * left is told by *LEFT. */
static unsigned clear_dir(int fd, const char *prefix, unsigned *left)
{
    DIR *d = fdopendir(fd);
    const struct dirent *e;
    unsigned n = 0;

    *left = 0;
    if (d == NULL) {
        close(fd);
        return 0;
    }
    while ((e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0 && is_old(fd, e->d_name, S_IFSOCK) &&
            is_deserted(fd, e->d_name) && unlinkat(fd, e->d_name, 0) == 0)
            n++;
        else
            ++*left;
    }
    closedir(d);
    return n;
}

static int open_dir(int at, const char *name)
{
    return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static unsigned clear_ssh(const char *home, bool any_host)
{
    char host[256] = "", letters[11], prefix[16] = "";
    char *path = gpgrt_bsprintf("%s/.ssh/agent", home);
    int fd = path != NULL ? open_dir(AT_FDCWD, path) : -1;
    unsigned left;

    gpgrt_free(path);
    if (fd < 0)
        return 0;
    if (!any_host) {
        if (gethostname(host, sizeof host - 1) != 0) {
            close(fd);
            return 0;
        }
        stale_host_letters(host, letters);
        snprintf(prefix, sizeof prefix, "s.%s.", letters);
    }
    return clear_dir(fd, prefix, &left);
}

static unsigned clear_own(const char *tmp)
{
    int at = open_dir(AT_FDCWD, tmp);
    DIR *d = at >= 0 ? fdopendir(at) : NULL;
    const struct dirent *e;
    unsigned n = 0, left;

    if (d == NULL) {
        if (at >= 0)
            close(at);
        return 0;
    }
    while ((e = readdir(d)) != NULL) {
        int fd;

        if (strncmp(e->d_name, INSTANCE_DIR, strlen(INSTANCE_DIR)) != 0 ||
            !is_old(at, e->d_name, S_IFDIR) || (fd = open_dir(at, e->d_name)) < 0)
            continue;
        n += clear_dir(fd, "", &left);
        if (left == 0)
            (void)unlinkat(at, e->d_name, AT_REMOVEDIR);
    }
    closedir(d);
    return n;
}

unsigned stale_sockets_remove(const char *home, const char *tmp, bool any_host)
{
    return (home != NULL ? clear_ssh(home, any_host) : 0) + (tmp != NULL ? clear_own(tmp) : 0);
}
