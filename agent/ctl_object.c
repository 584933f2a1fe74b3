#include "agent/ctl_object.h"

#include "agent/limits.h"
#include "agent/wait.h"
#include "proto/ctl_protocol.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/* What each may have for itself: any commit, nearly any tag. */
#define OWN_SIZE 65536u

void ctl_set_timeout(int fd, int which, unsigned seconds)
{
    struct timeval tv = {.tv_sec = (time_t)seconds};

    (void)setsockopt(fd, SOL_SOCKET, which, &tv, sizeof tv);
}

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* The content of a D line: %XX stands for an octet. */
static gpg_error_t put_data(struct buf *b, const char *s, size_t n)
{
    while (n > 0) {
        const char *escape = memchr(s, '%', n);
        size_t plain = escape != NULL ? (size_t)(escape - s) : n;
        int high, low;

        buf_put(b, s, plain);
        s += plain;
        n -= plain;
        if (n == 0)
            break;
        if (n < 3 || (high = digit(s[1])) < 0 || (low = digit(s[2])) < 0)
            return gpg_error(GPG_ERR_ASS_PARAMETER);
        buf_put_u8(b, (uint8_t)(high * 16 + low));
        s += 3;
        n -= 3;
    }
    return buf_err(b);
}

static gpg_error_t take_data(struct agent *a, struct activity *act, struct buf *object,
                             const char *s, size_t n)
{
    if (object->len + n > CTL_MAX_OBJECT)
        return gpg_error(GPG_ERR_ASS_TOO_MUCH_DATA);
    if (object->len + n > OWN_SIZE) {
        if (!limits_take(a->limits, act, n,
                         monotonic_ms() + (int64_t)a->settings->message_timeout * 1000))
            return gpg_error(GPG_ERR_LIMIT_REACHED);
    }
    return put_data(object, s, n);
}

void ctl_object_clear(struct agent *a, struct activity *act, struct buf *object)
{
    buf_free(object);
    limits_give(a->limits, act);
}

static gpg_error_t read_lines(assuan_context_t ctx, struct agent *a, struct activity *act,
                              struct buf *object)
{
    gpg_error_t failed = 0;
    char *line;
    size_t n;

    for (;;) {
        gpg_error_t err = assuan_read_line(ctx, &line, &n);

        if (err != 0)
            return err;
        if (n == 3 && memcmp(line, "END", 3) == 0)
            return failed;
        if (n == 3 && memcmp(line, "CAN", 3) == 0)
            return gpg_error(GPG_ERR_ASS_CANCELED);
        if (n == 0 || line[0] == '#')
            continue;
        if (n < 2 || memcmp(line, "D ", 2) != 0)
            return gpg_error(GPG_ERR_ASS_UNEXPECTED_CMD);
        if (failed != 0)
            continue; /* the rest must not be taken for commands */
        failed = take_data(a, act, object, line + 2, n - 2);
        if (failed != 0)
            ctl_object_clear(a, act, object);
    }
}

gpg_error_t ctl_object_read(assuan_context_t ctx, struct agent *a, int fd, struct activity *act,
                            struct buf *object)
{
    gpg_error_t err = assuan_write_line(ctx, "INQUIRE OBJECT");

    if (err != 0)
        return err;
    activity_end(act); /* it is the client's turn */
    ctl_set_timeout(fd, SO_RCVTIMEO, a->settings->message_timeout);
    err = read_lines(ctx, a, act, object);
    ctl_set_timeout(fd, SO_RCVTIMEO, 0);
    if (!activity_begin(act) && err == 0)
        err = gpg_error(GPG_ERR_CANCELED);
    return err;
}
