#include "proto/held_lines.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static bool begins(const uint8_t *line, size_t n, const char *word)
{
    size_t len = strlen(word);

    return n >= len && memcmp(line, word, len) == 0;
}

static bool ends_message(const struct held_lines *h)
{
    const uint8_t *before, *line;
    size_t n;

    if (h->n == 0 || h->data[h->n - 1] != '\n')
        return false;
    before = memrchr(h->data, '\n', h->n - 1);
    line = before != NULL ? before + 1 : h->data;
    n = h->n - (size_t)(line - h->data);
    return !begins(line, n, "D ") && !begins(line, n, "S SHOWN");
}

static int send_all(int fd, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

static int flush(struct held_lines *h, int fd)
{
    int rc = send_all(fd, h->data, h->n), saved = errno;

    explicit_bzero(h->data, h->n);
    h->n = 0;
    errno = saved;
    return rc;
}

ssize_t held_write(struct held_lines *h, int fd, const void *p, size_t n)
{
    if (n > HELD_MAX - h->n && flush(h, fd) < 0)
        return -1;
    if (n > HELD_MAX)
        return send_all(fd, p, n) == 0 ? (ssize_t)n : -1;
    memcpy(h->data + h->n, p, n);
    h->n += n;
    return ends_message(h) && flush(h, fd) < 0 ? -1 : (ssize_t)n;
}

static ssize_t write_hook(assuan_context_t ctx, assuan_fd_t fd, const void *p, size_t n)
{
    struct held_lines **first = assuan_get_pointer(ctx);

    return held_write(*first, (int)fd, p, n);
}

void held_lines_install(assuan_context_t ctx)
{
    static struct assuan_system_hooks hooks = {.version = ASSUAN_SYSTEM_HOOKS_VERSION,
                                               .usleep = __assuan_usleep,
                                               .pipe = __assuan_pipe,
                                               .close = __assuan_close,
                                               .read = __assuan_read,
                                               .write = write_hook,
                                               .recvmsg = __assuan_recvmsg,
                                               .sendmsg = __assuan_sendmsg,
                                               .spawn = __assuan_spawn,
                                               .waitpid = __assuan_waitpid,
                                               .socketpair = __assuan_socketpair,
                                               .socket = __assuan_socket,
                                               .connect = __assuan_connect};

    assuan_ctx_set_system_hooks(ctx, &hooks);
}
