/* The emulator: one datagram is one packet. It has no notion of connections, and so no end of one either. */
#include "devices/trezor_transport.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PING    "PINGPING"
#define PONG    "PONGPONG"
#define PING_MS 1000

struct udp {
    struct trezor_transport t; /* first */
    int fd;
};

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static gpg_error_t gone(void)
{
    gpg_error_t err = gpg_error_from_syserror();

    return gpg_err_code(err) == GPG_ERR_ECONNREFUSED ? gpg_error(GPG_ERR_CARD_REMOVED) : err;
}

/* A datagram of N octets into P; those of other lengths are dropped. */
static gpg_error_t receive(struct udp *u, uint8_t *p, size_t n, int ms)
{
    int64_t until = now_ms() + ms;
    uint8_t datagram[2 * TREZOR_PACKET];

    for (;;) {
        struct pollfd pfd = {.fd = u->fd, .events = POLLIN};
        int64_t left = until - now_ms();
        int rc = poll(&pfd, 1, left > 0 ? (int)left : 0);
        ssize_t got;

        if (rc == 0)
            return gpg_error(GPG_ERR_TIMEOUT);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc < 0)
            return gpg_error_from_syserror();
        got = recv(u->fd, datagram, sizeof datagram, MSG_DONTWAIT);
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return gone();
        if (got == (ssize_t)n) {
            memcpy(p, datagram, n);
            return 0;
        }
    }
}

static gpg_error_t udp_write(struct trezor_transport *t, const uint8_t packet[TREZOR_PACKET])
{
    struct udp *u = (struct udp *)t;

    /* The first try may tell of an earlier datagram that nobody took. */
    for (int i = 0; i < 2; i++)
        if (send(u->fd, packet, TREZOR_PACKET, 0) == TREZOR_PACKET)
            return 0;
    return gone();
}

static gpg_error_t udp_read(struct trezor_transport *t, uint8_t packet[TREZOR_PACKET], int ms)
{
    return receive((struct udp *)t, packet, TREZOR_PACKET, ms);
}

/* What is still there of an earlier conversation is read away on the way. */
static bool udp_alive(struct trezor_transport *t)
{
    struct udp *u = (struct udp *)t;
    uint8_t answer[sizeof PONG - 1];

    if (send(u->fd, PING, sizeof PING - 1, 0) < 0 && send(u->fd, PING, sizeof PING - 1, 0) < 0)
        return false;
    return receive(u, answer, sizeof answer, PING_MS) == 0 &&
           memcmp(answer, PONG, sizeof answer) == 0;
}

static void udp_close(struct trezor_transport *t)
{
    struct udp *u = (struct udp *)t;

    if (u->fd >= 0)
        close(u->fd);
    gpgrt_free(u);
}

/* The first of HOST's addresses that a device answers at: "localhost" may have two. */
static gpg_error_t connect_to(struct udp *u, const char *host, const char *port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    bool found = false;

    if (getaddrinfo(host, port, &hints, &list) != 0)
        return gpg_error(GPG_ERR_UNKNOWN_HOST);
    for (struct addrinfo *a = list; a != NULL && !found; a = a->ai_next) {
        u->fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (u->fd < 0)
            continue;
        found = connect(u->fd, a->ai_addr, a->ai_addrlen) == 0 && udp_alive(&u->t);
        if (!found) {
            close(u->fd);
            u->fd = -1;
        }
    }
    freeaddrinfo(list);
    return found ? 0 : gpg_error(GPG_ERR_ENODEV);
}

/* WHERE: "HOST:PORT". */
gpg_error_t trezor_udp_open(const char *where, struct trezor_transport **out)
{
    const char *colon = strrchr(where, ':');
    char *host = colon != NULL ? gpgrt_bsprintf("%.*s", (int)(colon - where), where) : NULL;
    struct udp *u = gpgrt_calloc(1, sizeof *u);
    gpg_error_t err;

    if (colon == NULL || u == NULL || host == NULL) {
        err = colon == NULL ? gpg_error(GPG_ERR_INV_ARG) : gpg_error_from_syserror();
        gpgrt_free(u);
        gpgrt_free(host);
        return err;
    }
    *u = (struct udp){
        .t = {.write = udp_write, .read = udp_read, .alive = udp_alive, .close = udp_close},
        .fd = -1};
    err = connect_to(u, host, colon + 1);
    if (err != 0)
        udp_close(&u->t);
    else
        *out = &u->t;
    gpgrt_free(host);
    return err;
}
