#include "agent/gpgshim/realgpg.h"

#include <errno.h>
#include <gpg-error.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_GPG 127
/* Set for what we run: a gpg that is a wrapper around this program must not go round for ever. */
#define GUARD "LATCHKEY_GPG_GUARD"

static bool is_self(const char *path)
{
    struct stat self, other;

    return stat("/proc/self/exe", &self) == 0 && stat(path, &other) == 0 &&
           self.st_dev == other.st_dev && self.st_ino == other.st_ino;
}

static char *find_gpg(void)
{
    const char *given = getenv("LATCHKEY_GPG"), *path = getenv("PATH");

    if (given != NULL && given[0] != '\0')
        return gpgrt_strdup(given);
    if (path == NULL || path[0] == '\0')
        path = "/usr/local/bin:/usr/bin:/bin";
    while (*path != '\0') {
        size_t n = strcspn(path, ":");
        char *gpg = gpgrt_bsprintf("%.*s/gpg", (int)n, path);

        if (n > 0 && gpg != NULL && access(gpg, X_OK) == 0 && !is_self(gpg))
            return gpg;
        gpgrt_free(gpg);
        path += n;
        path += *path == ':';
    }
    return NULL;
}

int realgpg_exec(char **argv)
{
    char *gpg = find_gpg();

    if (getenv(GUARD) != NULL) {
        fprintf(
            stderr,
            "latchkey-gpg: the gpg on PATH leads back here: set LATCHKEY_GPG to the real one\n");
        gpgrt_free(gpg);
        return NO_GPG;
    }
    if (gpg != NULL) {
        (void)setenv(GUARD, "1", 1);
        execv(gpg, argv);
        fprintf(stderr, "latchkey-gpg: %s: %s\n", gpg, strerror(errno));
    } else {
        fprintf(stderr, "latchkey-gpg: this needs the real gpg, and there is none on PATH: install "
                        "GnuPG, or set "
                        "LATCHKEY_GPG to it\n");
    }
    gpgrt_free(gpg);
    return NO_GPG;
}
