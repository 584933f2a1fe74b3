#include "agent/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* libgpg-error's own switching of files is not safe beside threads that write: its sink is one descriptor for good, and what
 * that stands for is exchanged. */
static struct {
    pthread_mutex_t mutex;
    int fd; /* the sink */
    char *path;
    bool detached;
} sink = {.mutex = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
}

/* The working directory is left. */
static char *absolute(const char *path)
{
    char *cwd, *whole;

    if (path[0] == '/')
        return gpgrt_strdup(path);
    cwd = getcwd(NULL, 0);
    whole = cwd != NULL ? gpgrt_bsprintf("%s/%s", cwd, path) : NULL;
    free(cwd);
    return whole;
}

gpg_error_t log_file_start(const char *prefix, const char *file)
{
    gpg_error_t err = 0;

    sink.fd = fcntl(2, F_DUPFD_CLOEXEC, 3);
    if (sink.fd >= 0)
        gpgrt_log_set_sink(NULL, NULL, sink.fd);
    gpgrt_log_set_prefix(prefix, GPGRT_LOG_WITH_PREFIX | GPGRT_LOG_WITH_PID | GPGRT_LOG_WITH_TIME);
    if (file != NULL)
        err = log_file_reopen(file);
    return err;
}

gpg_error_t log_file_reopen(const char *file)
{
    char *path = file != NULL ? absolute(file) : NULL;
    int fd = -1;
    gpg_error_t err = 0;

    pthread_mutex_lock(&sink.mutex);
    if (file == NULL)
        path = sink.path;
    if (path == NULL && file == NULL)
        goto out; /* on standard error */
    if (path != NULL)
        fd = open_file(path);
    if (fd < 0 || sink.fd < 0) {
        err = gpg_error_from_syserror();
        goto out;
    }
    dup3(fd, sink.fd, O_CLOEXEC);
    if (sink.detached)
        dup2(fd, 2);
    if (path != sink.path)
        gpgrt_free(sink.path);
    sink.path = path;
out:
    if (fd >= 0)
        close(fd);
    if (err != 0 && path != sink.path)
        gpgrt_free(path);
    pthread_mutex_unlock(&sink.mutex);
    if (err != 0)
        gpgrt_log_error("log file %s: %s\n", file != NULL ? file : "", gpg_strerror(err));
    return err;
}

void log_file_detach(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    pthread_mutex_lock(&sink.mutex);
    sink.detached = true;
    if (sink.path != NULL) {
        dup2(sink.fd, 2);
    } else if (null >= 0) {
        dup2(null, 2);
        if (sink.fd >= 0)
            dup3(null, sink.fd, O_CLOEXEC);
    }
    pthread_mutex_unlock(&sink.mutex);
    if (null >= 0)
        close(null);
}
