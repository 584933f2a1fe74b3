/* Emulators of a Ledger: Speculos's framing over TCP, HID reports over a Unix socket. ref: trezor-ledger 13. */
#include "devices/ledger_link_internal.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void socket_close(struct ledger_link *l)
{
    close(l->fd);
    l->fd = -1;
}

static gpg_error_t tcp_open(struct ledger_link *l, const char *where)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list = NULL;
    const char *colon = strrchr(where, ':');
    char *host = colon != NULL ? gpgrt_bsprintf("%.*s", (int)(colon - where), where) : NULL;
    int fd = -1;

    if (host == NULL)
        return gpg_error(GPG_ERR_INV_ARG);
    if (getaddrinfo(host, colon + 1, &hints, &list) != 0)
        list = NULL;
    for (struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    if (list != NULL)
        freeaddrinfo(list);
    gpgrt_free(host);
    l->fd = fd;
    return fd >= 0 ? 0 : gpg_error(GPG_ERR_ENODEV);
}

static gpg_error_t send_all(int fd, struct rd r)
{
    while (r.n > 0) {
        ssize_t n = send(fd, r.p, r.n, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return gpg_error(GPG_ERR_CARD_REMOVED);
        r.p += n;
        r.n -= (size_t)n;
    }
    return 0;
}

static gpg_error_t tcp_send(struct ledger_link *l, struct rd apdu)
{
    struct buf b = BUF_INIT;
    gpg_error_t err;

    buf_put_string(&b, apdu.p, apdu.n);
    err = buf_err(&b);
    if (err == 0)
        err = send_all(l->fd, buf_rd(&b));
    buf_free(&b);
    return err;
}

/* At most WANT octets, what there is, behind IN. */
static gpg_error_t read_some(struct ledger_link *l, int ms, size_t want)
{
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    uint8_t chunk[512];
    ssize_t n;

    if (poll(&p, 1, ms) <= 0)
        return 0;
    n = recv(l->fd, chunk, want < sizeof chunk ? want : sizeof chunk, 0);
    if (n < 0 && errno == EINTR)
        return 0;
    if (n <= 0)
        return gpg_error(GPG_ERR_CARD_REMOVED);
    buf_put(&l->in, chunk, (size_t)n);
    explicit_bzero(chunk, sizeof chunk);
    return buf_err(&l->in);
}

/* The length in front counts the data without the status word. */
static gpg_error_t tcp_receive(struct ledger_link *l, int ms, struct buf *answer, bool *done)
{
    struct rd r = buf_rd(&l->in);
    uint32_t n = 0;
    size_t want = 4;
    gpg_error_t err;

    if (rd_u32(&r, &n) == 0) {
        if (n > LEDGER_ANSWER_MAX - 2)
            return gpg_error(GPG_ERR_INV_RESPONSE);
        want = 4 + (size_t)n + 2;
    }
    err = read_some(l, ms, want - l->in.len);
    if (err != 0 || want == 4 || l->in.len < want)
        return err;
    r = buf_rd(&l->in);
    err = rd_u32(&r, &n);
    if (err == 0) {
        buf_put_rd(answer, r);
        err = buf_err(answer);
    }
    buf_reset(&l->in);
    *done = err == 0;
    return err;
}

static gpg_error_t frames_open(struct ledger_link *l, const char *where)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(where) >= sizeof addr.sun_path)
        return gpg_error(GPG_ERR_INV_ARG);
    memcpy(addr.sun_path, where, strlen(where) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return gpg_error_from_syserror();
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0) {
        close(fd);
        return gpg_error(GPG_ERR_ENODEV);
    }
    l->fd = fd;
    return 0;
}

static gpg_error_t frames_send(struct ledger_link *l, struct rd apdu)
{
    struct buf b = BUF_INIT;
    gpg_error_t err;

    ledger_frames_put(apdu, &b);
    err = buf_err(&b);
    if (err == 0)
        err = send_all(l->fd, buf_rd(&b));
    buf_free(&b);
    return err;
}

static gpg_error_t frames_receive(struct ledger_link *l, int ms, struct buf *answer, bool *done)
{
    gpg_error_t err = read_some(l, ms, LEDGER_REPORT - l->in.len);

    if (err != 0 || l->in.len < LEDGER_REPORT)
        return err;
    err = ledger_frames_take(&l->frames, buf_rd(&l->in), done);
    buf_reset(&l->in);
    if (err == 0 && *done)
        buf_put_rd(answer, buf_rd(&l->frames.message));
    return err != 0 ? err : buf_err(answer);
}

const struct ledger_transport ledger_over_tcp = {
    .prefix = "tcp:",
    .open = tcp_open,
    .close = socket_close,
    .send = tcp_send,
    .receive = tcp_receive,
};

const struct ledger_transport ledger_over_frames = {
    .prefix = "frames:",
    .open = frames_open,
    .close = socket_close,
    .send = frames_send,
    .receive = frames_receive,
};
