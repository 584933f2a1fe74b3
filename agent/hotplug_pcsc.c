/* watch-pcsc: a process that tells of readers and cards in lines. When it dies it is started anew
 * and tells everything again. */
#include "agent/hotplug_slots.h"

#include "agent/child.h"
#include "proto/token_protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_WATCH_LINE 4096u
#define BACKOFF_MS     250
#define BACKOFF_MAX_MS 30000
/* The watcher's first words come in one breath; what is silent this long has told them all. */
#define QUIET_MS 50

static int64_t backoff(unsigned failures)
{
    int64_t ms = BACKOFF_MS;

    while (failures-- > 0 && ms < BACKOFF_MAX_MS)
        ms *= 2;
    return ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
}

bool pcsc_service_there(void)
{
    const char *path = getenv("PCSCLITE_CSOCK_NAME"); /* as libpcsclite looks for it */

    return access(path != NULL ? path : "/run/pcscd/pcscd.comm", F_OK) == 0;
}

void pcsc_stop(struct hotplug *h)
{
    if (h->watcher != NULL) {
        child_end(h->watcher, SIGTERM);
        child_release(h->watcher);
        h->watcher = NULL;
    }
    if (h->watch_fd >= 0)
        close(h->watch_fd);
    h->watch_fd = -1;
    buf_free(&h->watch_line);
}

static gpg_error_t start(struct hotplug *h)
{
    char *argv[] = {h->a->token_program, (char *)(uintptr_t) "watch-pcsc", NULL};
    int pipe_fds[2], fds[TOKEN_FIRST_FD + 1] = {-1, -1, -1, -1};
    const struct child_spec spec = {.path = h->a->token_program,
                                    .argv = argv,
                                    .fds = fds,
                                    .nfds = sizeof fds / sizeof fds[0],
                                    .keep_stderr = true};
    gpg_error_t err;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return gpg_error_from_syserror();
    fds[TOKEN_FIRST_FD] = pipe_fds[1];
    err = child_start(&spec, NULL, NULL, &h->watcher);
    close(pipe_fds[1]);
    if (err != 0) {
        close(pipe_fds[0]);
        return err;
    }
    (void)fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
    h->watch_fd = pipe_fds[0];
    return 0;
}

static void restart_later(struct hotplug *h)
{
    pcsc_stop(h);
    h->watch_restart_ms = monotonic_ms() + backoff(h->watch_failures++);
    /* Whoever waits for the first list does not wait for the second attempt. */
    pthread_mutex_lock(&h->mutex);
    if (h->watch_failures > 2)
        h->scan_quiet_ms = 0;
    pthread_mutex_unlock(&h->mutex);
}

void pcsc_start_if_due(struct hotplug *h)
{
    gpg_error_t err;

    if (h->watch_fd >= 0 || monotonic_ms() < h->watch_restart_ms)
        return;
    err = start(h);
    if (err != 0) {
        gpgrt_log_error("%s watch-pcsc: %s\n", h->a->token_program, gpg_strerror(err));
        restart_later(h);
    }
}

static void handle(struct hotplug *h, const char *line)
{
    struct watch_line w;
    gpg_error_t err = watch_line_parse(line, &w);

    if (err != 0) {
        if (gpg_err_code(err) != GPG_ERR_UNKNOWN_COMMAND)
            gpgrt_log_error("watch-pcsc: a line is not understood: %s\n", gpg_strerror(err));
        return;
    }
    h->watch_failures = 0;
    pthread_mutex_lock(&h->mutex);
    if (!h->settled)
        h->scan_quiet_ms = w.event == WATCH_SERVICE && !w.up ? 0 : monotonic_ms() + QUIET_MS;
    pthread_mutex_unlock(&h->mutex);
    switch (w.event) {
    case WATCH_SERVICE:
        if (!w.up)
            slots_service_gone(h);
        break;
    case WATCH_READER:
        if (w.present)
            slots_card_in(h, &w);
        else
            slots_card_out(h, w.reader);
        break;
    case WATCH_GONE:
        slots_reader_gone(h, w.reader);
        break;
    }
    watch_line_clear(&w);
}

static void take(struct hotplug *h, const char *p, size_t n)
{
    const char *end, *line;

    while (n > 0) {
        end = memchr(p, '\n', n);
        buf_put(&h->watch_line, p, end != NULL ? (size_t)(end - p) : n);
        if (end == NULL)
            break;
        line = buf_cstr(&h->watch_line);
        if (line != NULL && strlen(line) == h->watch_line.len)
            handle(h, line);
        buf_reset(&h->watch_line);
        n -= (size_t)(end - p) + 1;
        p = end + 1;
    }
}

void pcsc_readable(struct hotplug *h)
{
    char chunk[1024];
    ssize_t n = read(h->watch_fd, chunk, sizeof chunk);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n > 0)
        take(h, chunk, (size_t)n);
    if (n <= 0 || buf_err(&h->watch_line) != 0 || h->watch_line.len > MAX_WATCH_LINE) {
        gpgrt_log_error("watch-pcsc: %s\n", n <= 0 ? "ended" : "a line without end");
        restart_later(h);
    }
}
