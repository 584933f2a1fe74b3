#include "agent/paths.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *env(const char *name)
{
    const char *v = getenv(name);

    return v != NULL && v[0] == '/' ? v : NULL;
}

char *path_home(void)
{
    const char *home = env("HOME");
    struct passwd pw, *found = NULL;
    char *text = NULL;
    char buf[4096];

    if (home != NULL)
        return gpgrt_strdup(home);
    if (getpwuid_r(getuid(), &pw, buf, sizeof buf, &found) == 0 && found != NULL &&
        pw.pw_dir[0] == '/')
        text = gpgrt_strdup(pw.pw_dir);
    return text;
}

char *path_runtime_dir(void)
{
    const char *dir = env("LATCHKEY_RUNTIME_DIR");

    if (dir != NULL)
        return gpgrt_strdup(dir);
    dir = env("XDG_RUNTIME_DIR");
    if (dir != NULL)
        return gpgrt_bsprintf("%s/latchkey", dir);
    return gpgrt_bsprintf("/tmp/latchkey-%lu", (unsigned long)getuid());
}

char *path_socket(const char *name)
{
    char *dir = path_runtime_dir();
    char *path = dir != NULL ? gpgrt_bsprintf("%s/%s", dir, name) : NULL;

    gpgrt_free(dir);
    return path;
}

/* NAME below an XDG base directory, or below HOME where that is not set. */
static char *xdg(const char *variable, const char *fallback, const char *name)
{
    const char *base = env(variable);
    char *home, *path;

    if (base != NULL)
        return gpgrt_bsprintf("%s/latchkey/%s", base, name);
    home = path_home();
    path = home != NULL ? gpgrt_bsprintf("%s/%s/latchkey/%s", home, fallback, name) : NULL;
    gpgrt_free(home);
    return path;
}

char *path_config(const char *name)
{
    return xdg("XDG_CONFIG_HOME", ".config", name);
}

char *path_state(const char *name)
{
    return xdg("XDG_STATE_HOME", ".local/state", name);
}

char *path_sysconfig(const char *name)
{
    const char *dir = getauxval(AT_SECURE) ? NULL : env("LATCHKEY_SYSCONFDIR");

    return gpgrt_bsprintf("%s/latchkey/%s", dir != NULL ? dir : LATCHKEY_SYSCONFDIR, name);
}

char *path_program(const char *name)
{
    static const char *const places[] = {"", "/../libexec/latchkey", "/../../bin"};
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    if (n <= 0)
        return NULL;
    self[n] = '\0';
    slash = strrchr(self, '/');
    if (slash == NULL)
        return NULL;
    *slash = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char *path = gpgrt_bsprintf("%s%s/%s", self, places[i], name);

        if (path != NULL && access(path, X_OK) == 0)
            return path;
        gpgrt_free(path);
    }
    return NULL;
}

gpg_error_t path_make_private_dir(const char *dir)
{
    char *path = gpgrt_strdup(dir);
    struct stat st;
    gpg_error_t err = 0;
    size_t n;

    if (path == NULL)
        return gpg_error_from_syserror();
    /* with a slash behind it, a symbolic link would be followed below */
    for (n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
        path[n - 1] = '\0';
    for (char *p = strchr(path + 1, '/'); p != NULL && err == 0; p = strchr(p + 1, '/')) {
        *p = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            err = gpg_error_from_syserror();
        *p = '/';
    }
    if (err == 0 && mkdir(path, 0700) != 0 && errno != EEXIST)
        err = gpg_error_from_syserror();
    /* lstat: somebody else's symbolic link in a shared /tmp is not our directory */
    if (err == 0 && lstat(path, &st) != 0)
        err = gpg_error_from_syserror();
    if (err == 0 && (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) != 0))
        err = gpg_error(GPG_ERR_EPERM);
    gpgrt_free(path);
    return err;
}
