#include "agent/audit.h"

#include "agent/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <time.h>
#include <unistd.h>

struct audit {
    pthread_mutex_t mutex;
    char *path; /* NULL: journal or nowhere */
    bool journal;
    int fd; /* of path */
    dev_t dev;
    ino_t ino;
    uint64_t seq;
    json_t *last; /* the last operation */
};

static gpg_error_t open_file(struct audit *a)
{
    struct stat st;
    int fd = open(a->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);

    if (fd < 0)
        return gpg_error_from_syserror();
    if (fstat(fd, &st) != 0 || (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))) {
        close(fd);
        return gpg_error(GPG_ERR_EPERM);
    }
    if (a->fd >= 0)
        close(a->fd);
    a->fd = fd;
    a->dev = st.st_dev;
    a->ino = st.st_ino;
    return 0;
}

gpg_error_t audit_new(const char *where, struct audit **out)
{
    struct audit *a = gpgrt_calloc(1, sizeof *a);
    char *dir = NULL;
    gpg_error_t err = 0;

    if (a == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&a->mutex, NULL);
    a->fd = -1;
    if (strcmp(where, "journal") == 0) {
        a->journal = true;
    } else if (strcmp(where, "no") != 0) {
        a->path = gpgrt_strdup(where);
        dir = gpgrt_strdup(where);
        if (a->path == NULL || dir == NULL) {
            err = gpg_error_from_syserror();
            goto out;
        }
        if (strrchr(dir, '/') != NULL && strrchr(dir, '/') != dir) {
            *strrchr(dir, '/') = '\0';
            if (access(dir, F_OK) != 0)
                err = path_make_private_dir(dir);
        }
        if (err == 0)
            err = open_file(a);
    }
out:
    gpgrt_free(dir);
    if (err != 0) {
        audit_free(a);
        return err;
    }
    *out = a;
    return 0;
}

void audit_free(struct audit *a)
{
    if (a == NULL)
        return;
    if (a->fd >= 0)
        close(a->fd);
    json_decref(a->last);
    pthread_mutex_destroy(&a->mutex);
    gpgrt_free(a->path);
    gpgrt_free(a);
}

static json_t *time_json(void)
{
    struct timespec now;
    struct tm tm;
    char stamp[40], zone[8], text[64];

    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &tm);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    strftime(zone, sizeof zone, "%z", &tm);
    snprintf(text, sizeof text, "%s.%03ld%s", stamp, now.tv_nsec / 1000000, zone);
    return json_string(text);
}

/* One write a record, so that records of several writers never mix; a short one (disk full) is undone. */
static gpg_error_t append(struct audit *a, const char *line, size_t n)
{
    struct stat st;
    ssize_t done;

    /* Rotated away or deleted: go on in a new file. */
    if (a->fd < 0 || stat(a->path, &st) != 0 || st.st_dev != a->dev || st.st_ino != a->ino) {
        gpg_error_t err = open_file(a);

        if (err != 0)
            return err;
    }
    do
        done = write(a->fd, line, n);
    while (done < 0 && errno == EINTR);
    if (done == (ssize_t)n)
        return 0;
    if (done < 0)
        return gpg_error_from_syserror();
    if (fstat(a->fd, &st) == 0 && S_ISREG(st.st_mode) && ftruncate(a->fd, st.st_size - done) != 0)
        gpgrt_log_error("%s: half a record stays: %s\n", a->path,
                        gpg_strerror(gpg_error_from_syserror()));
    return gpg_error(GPG_ERR_ENOSPC);
}

gpg_error_t audit_write(struct audit *a, json_t *record)
{
    const char *event = json_string_value(json_object_get(record, "event"));
    json_t *full = json_object();
    char *line = NULL, *text;
    gpg_error_t err = 0;

    json_object_set_new(full, "time", time_json());
    pthread_mutex_lock(&a->mutex);
    json_object_set_new(full, "seq", json_integer((json_int_t)++a->seq));
    json_object_set_new(full, "agent", json_integer(getpid()));
    json_object_update(full, record);
    json_decref(record);
    text = json_dumps(full, JSON_COMPACT | JSON_ENSURE_ASCII);
    line = text != NULL ? gpgrt_bsprintf("%s\n", text) : NULL;
    if (line == NULL)
        err = gpg_error(GPG_ERR_ENOMEM);
    else if (a->path != NULL)
        err = append(a, line, strlen(line));
    else if (a->journal && sd_journal_send("MESSAGE=%s", text, "SYSLOG_IDENTIFIER=latchkey-audit",
                                           "PRIORITY=5", NULL) < 0)
        err = gpg_error(GPG_ERR_EIO);
    /* Within the lock: jansson's reference counts are only safe for one thread at a time. */
    if (event != NULL && strcmp(event, "operation") == 0) {
        json_decref(a->last);
        a->last = full;
    } else {
        json_decref(full);
    }
    pthread_mutex_unlock(&a->mutex);
    if (err != 0)
        gpgrt_log_error("audit log %s: %s\n", a->path != NULL ? a->path : "journal",
                        gpg_strerror(err));
    free(text);
    gpgrt_free(line);
    return err;
}

const char *audit_path(const struct audit *a)
{
    return a->path;
}

json_t *audit_last(struct audit *a)
{
    json_t *copy;

    /* A copy: jansson's reference counts are only safe for one thread at a time. */
    pthread_mutex_lock(&a->mutex);
    copy = a->last != NULL ? json_deep_copy(a->last) : NULL;
    pthread_mutex_unlock(&a->mutex);
    return copy;
}

void audit_reopen(struct audit *a)
{
    pthread_mutex_lock(&a->mutex);
    if (a->path != NULL) {
        gpg_error_t err = open_file(a);

        if (err != 0)
            gpgrt_log_error("audit log %s: %s\n", a->path, gpg_strerror(err));
    }
    pthread_mutex_unlock(&a->mutex);
}
