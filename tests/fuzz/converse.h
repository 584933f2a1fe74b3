/* A session of the agent's on a socket pair, told what a fuzzer thought of. */
#ifndef LATCHKEY_TESTS_CONVERSE_H
#define LATCHKEY_TESTS_CONVERSE_H

#include "agent/server.h"
#include "proto/buf.h"
#include "tests/fuzz/fuzz_util.h"

#include <assuan.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef void session_fn(struct agent *a, int fd, struct activity *act);

struct converse {
    struct agent *agent;
    session_fn *session;
    int fd;
};

static inline void *converse_serve(void *arg)
{
    struct converse *c = arg;
    struct activity act = {0};

    c->session(c->agent, c->fd, &act);
    shutdown(c->fd, SHUT_RDWR);
    return NULL;
}

/* Sends OUT while answers are read; false once the session has ended. */
static inline bool converse_step(int fd, struct rd *out, struct buf *in)
{
    struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (out->n > 0 ? POLLOUT : 0))};
    uint8_t chunk[4096];
    ssize_t n;

    if (poll(&p, 1, -1) <= 0) {
        REQUIRE(errno == EINTR); /* libFuzzer's clock */
        return true;
    }
    if (out->n > 0 && (p.revents & (POLLOUT | POLLHUP)) != 0) {
        n = send(fd, out->p, out->n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            *out = rd_of(out->p + n, out->n - (size_t)n);
        else if (n < 0 && errno != EAGAIN)
            *out = rd_of(NULL, 0); /* it hung up */
        if (out->n == 0)
            shutdown(fd, SHUT_WR);
    }
    if ((p.revents & (POLLIN | POLLHUP)) == 0)
        return true;
    n = recv(fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (n > 0)
        buf_put(in, chunk, (size_t)n);
    return n > 0 || (n < 0 && errno == EAGAIN);
}

/* The whole conversation: all that SESSION says to SAID until one of the two ends it. */
static inline void converse(struct agent *a, session_fn *session, struct rd said, struct buf *got)
{
    struct converse c = {.agent = a, .session = session};
    pthread_t thread;
    int fds[2];

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    c.fd = fds[1];
    REQUIRE(pthread_create(&thread, NULL, converse_serve, &c) == 0);
    if (said.n == 0)
        shutdown(fds[0], SHUT_WR);
    while (converse_step(fds[0], &said, got))
        continue;
    pthread_join(thread, NULL);
    close(fds[0]);
    close(fds[1]);
}

/* GOT, what an Assuan server said to SAID: each line is one of Assuan's, inquiries begin with INQUIRY, and each command got one answer
 * at most, the greeting aside. */
static inline void converse_check_assuan(struct rd got, struct rd said, const char *inquiry)
{
    const char *const starts[] = {"OK", "ERR ", "D ", "S ", "# ", inquiry};
    size_t answers = 0, most = 2; /* the greeting, and a last line without its end */

    for (size_t i = 0; i < said.n; i++)
        most += said.p[i] == '\n';
    while (got.n > 0) {
        const uint8_t *end = memchr(got.p, '\n', got.n);
        struct rd line = rd_of(got.p, end != NULL ? (size_t)(end - got.p) : got.n);
        bool known = false;

        REQUIRE(line.n <= ASSUAN_LINELENGTH);
        for (size_t i = 0; i < sizeof starts / sizeof starts[0] && !known; i++)
            known =
                line.n >= strlen(starts[i]) && memcmp(line.p, starts[i], strlen(starts[i])) == 0;
        REQUIRE(known);
        answers += line.p[0] == 'O' || line.p[0] == 'E';
        if (end == NULL)
            break;
        got = rd_of(end + 1, got.n - line.n - 1);
    }
    REQUIRE(answers >= 1 && answers <= most);
}

#endif
