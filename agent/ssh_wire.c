#include "agent/ssh_wire.h"

#include "agent/wait.h"
#include "proto/ssh_agent.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* What each connection may have for itself; nearly all messages are smaller. */
#define OWN_SIZE 4096u
/* Secure memory is scarcer, and libgcrypt keeps what it took. */
#define SECURE_COST 16u

/* --- octets ---------------------------------------------------------------------------------------- */

static bool wait_ready(int fd, short events, int64_t until_ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    int n;

    do {
        int64_t left = until_ms - monotonic_ms();

        if (left <= 0)
            return false;
        n = poll(&p, 1, (int)left);
    } while (n < 0 && errno == EINTR);
    return n > 0;
}

/* UNTIL_MS INT64_MAX: an idle connection waits as long as it likes. */
static bool fill(struct ssh_wire *w, int64_t until_ms)
{
    bool idle = until_ms == INT64_MAX;

    for (;;) {
        ssize_t n = recv(w->fd, w->in, sizeof w->in, idle ? 0 : MSG_DONTWAIT);

        if (n > 0) {
            w->at = 0;
            w->end = (size_t)n;
            return true;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK) ||
            !wait_ready(w->fd, POLLIN, until_ms))
            return false;
    }
}

static bool take(struct ssh_wire *w, uint8_t *octet, int64_t until_ms)
{
    if (w->at == w->end && !fill(w, until_ms))
        return false;
    *octet = w->in[w->at++];
    return true;
}

/* --- messages -------------------------------------------------------------------------------------- */

/* Messages that carry private keys, PINs or passphrases. */
static bool is_secret(uint8_t type)
{
    switch (type) {
    case SSH_AGENTC_ADD_IDENTITY:
    case SSH_AGENTC_ADD_ID_CONSTRAINED:
    case SSH_AGENTC_ADD_SMARTCARD_KEY:
    case SSH_AGENTC_ADD_SMARTCARD_KEY_CONSTRAINED:
    case SSH_AGENTC_REMOVE_SMARTCARD_KEY:
    case SSH_AGENTC_LOCK:
    case SSH_AGENTC_UNLOCK:
        return true;
    default:
        return false;
    }
}

static bool hold(struct ssh_wire *w, size_t n, int64_t until_ms)
{
    return limits_take(w->limits, w->act, n, until_ms);
}

/* The next piece of a message of which LEFT octets are missing. */
static bool take_piece(struct ssh_wire *w, struct buf *msg, uint32_t *left, int64_t until_ms)
{
    size_t n;

    if (w->at == w->end && !fill(w, until_ms))
        return false;
    n = w->end - w->at < *left ? w->end - w->at : *left;
    if (msg->len + n > OWN_SIZE && !hold(w, msg->secure ? n * SECURE_COST : n, until_ms))
        return false;
    buf_put(msg, w->in + w->at, n);
    if (msg->secure)
        explicit_bzero(w->in + w->at, n);
    w->at += n;
    *left -= (uint32_t)n;
    return buf_err(msg) == 0;
}

bool wire_read(struct ssh_wire *w, struct buf *msg)
{
    int64_t until_ms = INT64_MAX;
    uint8_t head[4], type;
    struct rd r = rd_of(head, sizeof head);
    uint32_t left;

    for (size_t i = 0; i < sizeof head; i++) {
        if (!take(w, &head[i], until_ms))
            return false;
        if (i == 0)
            until_ms = monotonic_ms() + (int64_t)w->timeout_s * 1000;
    }
    if (rd_u32(&r, &left) != 0 || left < 1 || left > SSH_AGENT_MAX_MESSAGE ||
        !take(w, &type, until_ms))
        return false;
    buf_free(msg);
    msg->secure = is_secret(type);
    buf_put_u8(msg, type);
    for (left--; left > 0;)
        if (!take_piece(w, msg, &left, until_ms))
            return false;
    return buf_err(msg) == 0;
}

bool wire_write(struct ssh_wire *w, struct rd reply)
{
    int64_t until_ms = monotonic_ms() + (int64_t)w->timeout_s * 1000;

    while (reply.n > 0) {
        ssize_t n = send(w->fd, reply.p, reply.n, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n >= 0) {
            reply = rd_of(reply.p + n, reply.n - (size_t)n);
            continue;
        }
        if (errno != EINTR &&
            ((errno != EAGAIN && errno != EWOULDBLOCK) || !wait_ready(w->fd, POLLOUT, until_ms)))
            return false;
    }
    return true;
}

bool wire_hold(struct ssh_wire *w, size_t n)
{
    return n <= OWN_SIZE || hold(w, n, monotonic_ms() + (int64_t)w->timeout_s * 1000);
}

void wire_release(struct ssh_wire *w, struct buf *msg, struct buf *reply)
{
    if (msg->secure || msg->cap > OWN_SIZE)
        buf_free(msg);
    if (reply->cap > OWN_SIZE)
        buf_free(reply);
    limits_give(w->limits, w->act);
}
