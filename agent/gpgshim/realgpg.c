#include "agent/gpgshim/realgpg.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_GPG 127
/* Counts how often we handed over: a gpg that is a script around this program must not go round for ever. */
#define DEPTH     "LATCHKEY_GPG_DEPTH"
#define MAX_DEPTH 3

/* A program, and not this one (whatever name it has there). */
static bool usable(const char *path)
{
    struct stat self, other;

    return stat(path, &other) == 0 && S_ISREG(other.st_mode) && access(path, X_OK) == 0 &&
           !(stat("/proc/self/exe", &self) == 0 && self.st_dev == other.st_dev &&
             self.st_ino == other.st_ino);
}

char *realgpg_find(void)
{
    const char *given = getenv("LATCHKEY_GPG"), *path = getenv("PATH");
    const char *name = given != NULL && given[0] != '\0' ? given : "gpg";

    if (strchr(name, '/') != NULL)
        return usable(name) ? gpgrt_strdup(name) : NULL;
    if (path == NULL || path[0] == '\0')
        path = "/usr/local/bin:/usr/bin:/bin";
    while (*path != '\0') {
        size_t n = strcspn(path, ":");
        char *gpg = n > 0 ? gpgrt_bsprintf("%.*s/%s", (int)n, path, name) : NULL;

        if (gpg != NULL && usable(gpg))
            return gpg;
        gpgrt_free(gpg);
        path += n;
        path += *path == ':';
    }
    return NULL;
}

static bool count_depth(void)
{
    const char *text = getenv(DEPTH);
    int depth = text != NULL ? atoi(text) : 0;
    char next[2] = {(char)('1' + depth), '\0'};

    return depth >= 0 && depth < MAX_DEPTH && setenv(DEPTH, next, 1) == 0;
}

static bool give_again(int to, struct rd data)
{
    int fd = memfd_create("latchkey-gpg", MFD_CLOEXEC);
    bool ok = fd >= 0;

    while (ok && data.n > 0) {
        ssize_t n = write(fd, data.p, data.n);

        if (n > 0)
            data = rd_of(data.p + n, data.n - (size_t)n);
        else
            ok = n < 0 && errno == EINTR;
    }
    ok = ok && lseek(fd, 0, SEEK_SET) == 0 && dup2(fd, to) == to;
    if (fd >= 0 && fd != to)
        close(fd);
    return ok;
}

int realgpg_exec(char **argv, int fd, struct rd data)
{
    char *gpg = realgpg_find();

    if (gpg == NULL) {
        const char *given = getenv("LATCHKEY_GPG");

        if (given != NULL && given[0] != '\0')
            fprintf(
                stderr,
                "latchkey-gpg: LATCHKEY_GPG is %s, which is no program or latchkey-gpg itself\n",
                given);
        else
            fprintf(stderr,
                    "latchkey-gpg: only gpg can do this, and there is no gpg on PATH: install "
                    "GnuPG, or set LATCHKEY_GPG to the program\n");
        return NO_GPG;
    }
    if (!count_depth()) {
        fprintf(stderr, "latchkey-gpg: %s leads back here: set LATCHKEY_GPG to the real gpg\n",
                gpg);
    } else if (fd >= 0 && !give_again(fd, data)) {
        fprintf(stderr, "latchkey-gpg: can't pass the data on to %s: %s\n", gpg, strerror(errno));
    } else {
        argv[0] = gpg; /* gpg may be a script that goes by its name */
        execv(gpg, argv);
        fprintf(stderr, "latchkey-gpg: %s: %s\n", gpg, strerror(errno));
    }
    gpgrt_free(gpg);
    return NO_GPG;
}
