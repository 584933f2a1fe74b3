/* A card with the FIDO applet alone, in a reader of vpcd's. */
#include "tests/fido/apdu.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { VPCD_OFF = 0, VPCD_ON = 1, VPCD_RESET = 2, VPCD_ATR = 4 };

/* Contactless, as PC/SC part 3 makes it up. */
static const uint8_t atr[] = {0x3b, 0x80, 0x80, 0x01, 0x01};

int card_dial(int port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

/* vpcd writes a message in two pieces and waits for our acknowledgement of the first. */
static bool read_all(int fd, uint8_t *p, size_t n)
{
    int one = 1;

    while (n > 0) {
        ssize_t got;

        setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
        got = read(fd, p, n);
        if (got <= 0)
            return false;
        p += got;
        n -= (size_t)got;
    }
    return true;
}

static bool reply(int fd, const struct buf *b)
{
    struct buf m = BUF_INIT;
    bool ok;

    buf_put_u16(&m, (uint16_t)b->len);
    buf_put_rd(&m, buf_rd(b));
    ok = send(fd, m.data, m.len, MSG_NOSIGNAL) == (ssize_t)m.len;
    buf_free(&m);
    return ok;
}

bool card_serve(struct device *d, struct applet *a, int fd)
{
    struct buf answer = BUF_INIT;
    uint8_t head[2], msg[65536];
    size_t n;
    bool ok = true;

    if (!read_all(fd, head, 2))
        return false;
    n = (size_t)head[0] << 8 | head[1];
    if (!read_all(fd, msg, n))
        return false;
    if (n == 1 && msg[0] == VPCD_ATR) {
        buf_put(&answer, atr, sizeof atr);
    } else if (n == 1) {
        applet_reset(a);
    } else if (!applet_command(d, a, rd_of(msg, n), &answer)) {
        buf_put_u16(&answer, 0x6a82);
    }
    if (answer.len > 0)
        ok = reply(fd, &answer);
    buf_free(&answer);
    return ok;
}
