#include "agent/gpgshim/files.h"

#include "agent/gpgshim/tell.h"
#include "proto/ctl_protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_standard(const char *name)
{
    return name == NULL || strcmp(name, "-") == 0;
}

/* The N of "-&N" where such names have been asked for, else -1. */
static int special_fd(const struct shim_options *o, const char *name)
{
    char *end;
    long fd;

    if (!o->special_filenames || strncmp(name, "-&", 2) != 0 || name[2] < '0' || name[2] > '9')
        return -1;
    fd = strtol(name + 2, &end, 10);
    return *end == '\0' && fd <= INT_MAX ? (int)fd : -1;
}

/* --- input ---------------------------------------------------------------------------------------------------------------- */

int input_fd(const struct shim_options *o)
{
    return is_standard(o->file) ? STDIN_FILENO : special_fd(o, o->file);
}

bool input_read(const struct shim_options *o, struct buf *out)
{
    const char *name = is_standard(o->file) ? "standard input" : o->file;
    int given = input_fd(o), fd = given;
    uint8_t chunk[65536];
    ssize_t n = 0;
    int code;

    if (fd < 0)
        fd = open(o->file, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && out->len <= CTL_MAX_OBJECT && out->err == 0) {
        n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        buf_put(out, chunk, (size_t)n);
    }
    code = errno;
    if (fd >= 0 && given < 0)
        close(fd);
    if (fd < 0 || n < 0)
        shim_tell(o, "can't read %s: %s", name, strerror(code));
    else if (buf_err(out) != 0)
        shim_tell(o, "can't read %s: %s", name, gpg_strerror(buf_err(out)));
    else if (out->len > CTL_MAX_OBJECT)
        shim_tell(o,
                  "%s is larger than %u MiB, which is the most that latchkey-agent "
                  "takes; sign "
                  "it with gpg",
                  name, CTL_MAX_OBJECT >> 20);
    else
        return true;
    return false;
}

/* --- output --------------------------------------------------------------------------------------------------------------- */

bool output_prepare(const struct shim_options *o, struct output *out)
{
    struct stat st;

    *out = (struct output){.fd = STDOUT_FILENO, .overwrite = o->yes};
    if (o->output != NULL && !is_standard(o->output)) {
        out->fd = special_fd(o, o->output);
        if (out->fd >= 0)
            return true;
        out->path = gpgrt_strdup(o->output);
    } else if (o->output == NULL && !is_standard(o->file) && special_fd(o, o->file) < 0) {
        out->path = gpgrt_bsprintf("%s.%s", o->file, o->armor ? "asc" : "sig");
    } else {
        return true;
    }
    if (out->path == NULL) {
        shim_tell(o, "%s", gpg_strerror(gpg_error_from_syserror()));
        return false;
    }
    if (stat(out->path, &st) != 0)
        return true;
    if (!S_ISREG(st.st_mode))
        out->overwrite = true; /* /dev/null, a pipe: nothing is lost */
    if (!out->overwrite)
        shim_tell(o, "%s exists; --yes overwrites it", out->path);
    return out->overwrite;
}

static bool write_all(int fd, struct rd data)
{
    while (data.n > 0) {
        ssize_t n = write(fd, data.p, data.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data = rd_of(data.p + n, data.n - (size_t)n);
    }
    return true;
}

bool output_write(const struct shim_options *o, const struct output *out, struct rd data)
{
    const char *name = out->path != NULL ? out->path : "the signature";
    int fd = out->fd, code;
    bool ok;

    if (out->path != NULL)
        fd = open(out->path, O_WRONLY | O_CREAT | O_CLOEXEC | (out->overwrite ? O_TRUNC : O_EXCL),
                  0666);
    if (fd < 0) {
        shim_tell(o, "can't create %s: %s", name, strerror(errno));
        return false;
    }
    ok = write_all(fd, data);
    code = errno;
    if (out->path != NULL && close(fd) != 0 && ok) {
        code = errno; /* a full disk far away is told only now */
        ok = false;
    }
    if (!ok) {
        shim_tell(o, "can't write %s: %s", name, strerror(code));
        if (out->path != NULL && !out->overwrite)
            (void)unlink(out->path);
    }
    return ok;
}

void output_clear(struct output *out)
{
    gpgrt_free(out->path);
    *out = (struct output){.fd = -1};
}
