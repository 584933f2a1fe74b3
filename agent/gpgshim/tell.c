#include "agent/gpgshim/tell.h"

#include "proto/git_object.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define MAX_LINE 2000

/* One line, in one write where that can be. Errors are nobody's: gpg goes on, too, when nobody reads. */
static void put_line(int fd, const char *prefix, const char *text)
{
    struct buf line = BUF_INIT;
    struct rd rest;

    buf_printf(&line, "%s%s\n", prefix, text);
    rest = buf_rd(&line);
    while (buf_err(&line) == 0 && rest.n > 0) {
        ssize_t n = write(fd, rest.p, rest.n);

        if (n < 0 && errno != EINTR)
            break;
        if (n > 0)
            rest = rd_of(rest.p + n, rest.n - (size_t)n);
    }
    buf_free(&line);
}

static void tell_terminal(const char *prefix, const char *text)
{
    int fd = open("/dev/tty", O_WRONLY | O_CLOEXEC | O_NOCTTY);
    void (*old)(int);

    if (fd < 0)
        return;
    old = signal(SIGTTOU, SIG_IGN); /* git in the background of a terminal that stops writers */
    put_line(fd, prefix, text);
    (void)signal(SIGTTOU, old);
    close(fd);
}

/* Text may hold what others wrote (a key's name, the agent's words): no line of it may look like a status line, none may
 * command the terminal. */
static void tell_line(const struct shim_options *o, const char *text, size_t n)
{
    static const char prefix[] = "latchkey-gpg: ";
    char *clean = text_clean(text, n, MAX_LINE);

    if (clean == NULL)
        return;
    put_line(STDERR_FILENO, prefix, clean);
    if (o->status_fd == STDERR_FILENO && !isatty(STDERR_FILENO))
        tell_terminal(prefix, clean);
    gpgrt_free(clean);
}

void shim_tell(const struct shim_options *o, const char *fmt, ...)
{
    const char *rest;
    char *text;
    va_list ap;

    va_start(ap, fmt);
    text = gpgrt_vbsprintf(fmt, ap);
    va_end(ap);
    for (rest = text; rest != NULL && *rest != '\0';) {
        size_t n = strcspn(rest, "\n");

        tell_line(o, rest, n);
        rest += n;
        rest += *rest == '\n';
    }
    gpgrt_free(text);
}

void shim_status(const struct shim_options *o, const char *fmt, ...)
{
    char *text, *clean = NULL;
    va_list ap;

    if (o->status_fd < 0)
        return;
    va_start(ap, fmt);
    text = gpgrt_vbsprintf(fmt, ap);
    va_end(ap);
    if (text != NULL)
        clean = text_clean(text, strlen(text), MAX_LINE);
    if (clean != NULL)
        put_line(o->status_fd, "[GNUPG:] ", clean);
    gpgrt_free(clean);
    gpgrt_free(text);
}
