#include "agent/gpg_sockets.h"

#include "agent/paths.h"
#include "proto/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <gcrypt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_REDIRECT 511u
#define HASH_OCTETS  15u

/* --- the home directory ---------------------------------------------------------------------------------------------------- */

char *gpg_absolute(const char *dir)
{
    char *cwd, *path;
    size_t n;

    if (dir[0] == '~' && (dir[1] == '/' || dir[1] == '\0')) {
        char *home = path_home();

        path = home != NULL ? gpgrt_bsprintf("%s%s", home, dir + 1) : NULL;
        gpgrt_free(home);
    } else if (dir[0] == '/') {
        path = gpgrt_strdup(dir);
    } else {
        cwd = getcwd(NULL, 0);
        path = cwd != NULL ? gpgrt_bsprintf("%s/%s", cwd, dir) : NULL;
        free(cwd);
    }
    for (n = path != NULL ? strlen(path) : 0; n > 1 && path[n - 1] == '/'; n--)
        path[n - 1] = '\0';
    return path;
}

gpg_error_t gpg_home(const char *dir, char **home, bool *standard)
{
    const char *env = getenv("GNUPGHOME");
    char *own = gpg_absolute("~/.gnupg"), *path;

    if (dir == NULL && env != NULL && env[0] != '\0')
        dir = env;
    path = dir != NULL ? gpg_absolute(dir) : own != NULL ? gpgrt_strdup(own) : NULL;
    if (own == NULL || path == NULL) {
        gpgrt_free(own);
        gpgrt_free(path);
        return gpg_error(GPG_ERR_ENOMEM);
    }
    *standard = strcmp(own, path) == 0;
    *home = path;
    gpgrt_free(own);
    return 0;
}

/* --- the directory of the sockets ---------------------------------------------------------------------------------------------- */

char *gpg_socket_subdir(const char *home)
{
    static const char digits[] = "ybndrfg8ejkmcpqxot1uwisza345h769";
    uint8_t sum[20];
    struct buf b = BUF_INIT;

    gcry_md_hash_buffer(GCRY_MD_SHA1, sum, home, strlen(home));
    buf_printf(&b, "d.");
    for (unsigned bit = 0; bit < 8 * HASH_OCTETS; bit += 5) {
        unsigned two = (unsigned)sum[bit / 8] << 8 | sum[bit / 8 + 1];

        buf_put_u8(&b, (uint8_t)digits[(two >> (11 - bit % 8)) & 31]);
    }
    return buf_steal_cstr(&b);
}

/* A directory of ours; PRIVATE: that nobody else can enter. MAKE: is made if it is not there. */
static bool is_ours(const char *path, bool private, bool make)
{
    struct stat st;

    if (lstat(path, &st) != 0) {
        if (errno != ENOENT || !make || mkdir(path, 0700) != 0 || lstat(path, &st) != 0)
            return false;
    }
    return S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           (!private || (st.st_mode & (S_IRWXG | S_IRWXO)) == 0);
}

static char *run_dir(void)
{
    static const char *const places[] = {"/run/user", "/var/run/user"};

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char *path = gpgrt_bsprintf("%s/%lu", places[i], (unsigned long)geteuid());

        if (path != NULL && is_ours(path, false, false))
            return path;
        gpgrt_free(path);
    }
    return NULL;
}

gpg_error_t gpg_socket_dir(const char *run, const char *home, bool standard, bool make, char **dir)
{
    char *found = run != NULL ? gpgrt_strdup(run) : run_dir(), *gnupg = NULL, *sub = NULL,
         *name = standard ? NULL : gpg_socket_subdir(home);
    gpg_error_t err = 0;

    if (found != NULL && is_ours(found, false, false))
        gnupg = gpgrt_bsprintf("%s/gnupg", found);
    if (gnupg != NULL && is_ours(gnupg, true, make)) {
        if (standard) {
            sub = gnupg;
            gnupg = NULL;
        } else {
            sub = name != NULL ? gpgrt_bsprintf("%s/%s", gnupg, name) : NULL;
            if (sub != NULL && !is_ours(sub, true, make)) {
                gpgrt_free(sub);
                sub = NULL;
            }
        }
    }
    *dir = sub != NULL ? sub : gpgrt_strdup(home);
    if (*dir == NULL)
        err = gpg_error_from_syserror();
    gpgrt_free(found);
    gpgrt_free(gnupg);
    gpgrt_free(name);
    return err;
}

/* --- redirections -------------------------------------------------------------------------------------------------------------- */

/* The whole of a small regular file; NULL: it is none. */
static char *read_small(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    char text[MAX_REDIRECT + 1];
    struct stat st;
    ssize_t n = -1;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        n = read(fd, text, MAX_REDIRECT);
    close(fd);
    if (n < 0 || memchr(text, '\0', (size_t)n) != NULL)
        return NULL;
    text[n] = '\0';
    return gpgrt_strdup(text);
}

/* TEXT with its ${VAR} replaced. */
static char *expand(const char *text)
{
    struct buf b = BUF_INIT;

    while (*text != '\0') {
        const char *end = strncmp(text, "${", 2) == 0 ? strchr(text, '}') : NULL;

        if (end != NULL) {
            char *name = gpgrt_bsprintf("%.*s", (int)(end - text - 2), text + 2);
            const char *value = name != NULL ? getenv(name) : NULL;

            if (value != NULL)
                buf_put(&b, value, strlen(value));
            gpgrt_free(name);
            text = end + 1;
        } else {
            buf_put_u8(&b, (uint8_t)*text++);
        }
    }
    return buf_steal_cstr(&b);
}

gpg_error_t gpg_socket_redirect(char **path)
{
    static const char magic[] = "%Assuan%\n", field[] = "socket=";
    struct stat st;
    char *text, *line, *save = NULL, *target = NULL;

    if (stat(*path, &st) != 0 || !S_ISREG(st.st_mode))
        return 0;
    text = read_small(*path);
    if (text == NULL)
        return gpg_error(GPG_ERR_ASS_INV_VALUE);
    line = strncmp(text, magic, sizeof magic - 1) == 0 ? strtok_r(text, "\n", &save) : NULL;
    for (; line != NULL && target == NULL; line = strtok_r(NULL, "\n", &save))
        if (strncmp(line, field, sizeof field - 1) == 0)
            target = expand(line + sizeof field - 1);
    gpgrt_free(text);
    if (target == NULL || target[0] != '/') {
        gpgrt_free(target);
        return gpg_error(GPG_ERR_ASS_INV_VALUE);
    }
    gpgrt_free(*path);
    *path = target;
    return 0;
}
