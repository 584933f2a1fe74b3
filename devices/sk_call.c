/* The token process' side of the helper: starting it, feeding it, waiting for it, ending it. */
#include "devices/sk_helper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ANSWER 65536u
#define LOOK_MS    50 /* how soon a cancelled request is noticed */

extern char **environ;

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Nothing of ours goes along: the socket as standard input, the log as standard output and error. */
static gpg_error_t spawn(const char *provider, int theirs, pid_t *pid)
{
    char *argv[] = {(char *)(uintptr_t) "latchkey-token", (char *)(uintptr_t) "sk-helper",
                    (char *)(uintptr_t)provider, NULL};
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t attr;
    sigset_t pipe_only, none;
    int rc;

    if ((rc = posix_spawn_file_actions_init(&fa)) != 0)
        return gpg_error_from_errno(rc);
    if ((rc = posix_spawnattr_init(&attr)) != 0) {
        posix_spawn_file_actions_destroy(&fa);
        return gpg_error_from_errno(rc);
    }
    sigemptyset(&none);
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    if ((rc = posix_spawn_file_actions_adddup2(&fa, theirs, STDIN_FILENO)) == 0 &&
        (rc = posix_spawn_file_actions_adddup2(&fa, STDERR_FILENO, STDOUT_FILENO)) == 0 &&
        (rc = posix_spawn_file_actions_addclosefrom_np(&fa, 3)) == 0 &&
        (rc = posix_spawnattr_setsigdefault(&attr, &pipe_only)) == 0 &&
        (rc = posix_spawnattr_setsigmask(&attr, &none)) == 0 &&
        (rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK)) == 0)
        rc = posix_spawn(pid, "/proc/self/exe", &fa, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&fa);
    return rc != 0 ? gpg_error_from_errno(rc) : 0;
}

/* The socket's buffer may be smaller than the request, and the helper may hang before it reads. */
static gpg_error_t wait_ready(struct sk_call *c, int fd, short events, int64_t started)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        int n = poll(&p, 1, LOOK_MS);

        if (n < 0 && errno != EINTR)
            return gpg_error_from_syserror();
        if (c->io != NULL && c->io->canceled(c->io->arg))
            return gpg_error(GPG_ERR_CANCELED);
        if (n > 0)
            return 0;
        if (c->io != NULL && c->late_ms >= 0 && !c->late_told && now_ms() - started >= c->late_ms) {
            c->late_told = true;
            c->io->touch(c->io->arg, true);
        }
    }
}

static gpg_error_t send_request(struct sk_call *c, int fd, struct rd r, int64_t started)
{
    gpg_error_t err = 0;

    while (err == 0 && r.n > 0) {
        ssize_t n = send(fd, r.p, r.n, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return gpg_error_from_syserror();
        if (n < 0) {
            err = wait_ready(c, fd, POLLOUT, started);
            continue;
        }
        r.p += n;
        r.n -= (size_t)n;
    }
    if (err == 0 && shutdown(fd, SHUT_WR) != 0)
        err = gpg_error_from_syserror();
    return err;
}

static gpg_error_t receive(struct sk_call *c, int fd, struct buf *answer, int64_t started)
{
    uint8_t chunk[4096];
    gpg_error_t err;

    while ((err = wait_ready(c, fd, POLLIN, started)) == 0) {
        ssize_t n = recv(fd, chunk, sizeof chunk, MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n < 0)
            return gpg_error_from_syserror();
        if (n == 0)
            return buf_err(answer);
        if (answer->len + (size_t)n > MAX_ANSWER)
            return gpg_error(GPG_ERR_TOO_LARGE);
        buf_put(answer, chunk, (size_t)n);
    }
    return err;
}

static gpg_error_t read_answer(struct sk_call *c, struct buf *store, int status,
                               struct sk_answer *out)
{
    struct sk_answer a;

    if (store->len == 0 || sk_answer_parse(buf_rd(store), &a) != 0) {
        gpgrt_log_error("%s: the middleware died (status %d) and gave no answer\n", c->provider,
                        status);
        return gpg_error(GPG_ERR_UNEXPECTED);
    }
    a.store = *store;
    *store = BUF_INIT;
    *out = a;
    return 0;
}

gpg_error_t sk_helper_call(struct sk_call *c, struct sk_answer *out)
{
    struct buf request = BUF_INIT_SECURE, store = BUF_INIT;
    int64_t started = now_ms();
    int pair[2] = {-1, -1}, status = 0;
    pid_t pid = -1;
    gpg_error_t err;

    c->late_told = false;
    err = sk_request_put(&c->request, &request);
    if (err == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        err = gpg_error_from_syserror();
    if (err == 0)
        err = spawn(c->provider, pair[1], &pid);
    if (pair[1] >= 0)
        close(pair[1]);
    if (err == 0)
        err = send_request(c, pair[0], buf_rd(&request), started);
    if (err == 0 || gpg_err_code(err) == GPG_ERR_EPIPE)
        err = receive(c, pair[0], &store, started);
    if (pid > 0) {
        /* It has answered, or is not wanted any more. */
        (void)kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            continue;
    }
    if (c->late_told)
        c->io->touch(c->io->arg, false);
    if (err == 0)
        err = read_answer(c, &store, status, out);
    if (pair[0] >= 0)
        close(pair[0]);
    buf_free(&request);
    buf_free(&store);
    return err;
}
