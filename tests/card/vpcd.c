#include "tests/card/vpcd.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

int vpcd_dial(int port)
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

/* vpcd writes a message in two pieces and leaves Nagle's algorithm on: the second one waits for our
 * acknowledgement of the first, which must not wait either (40 ms a command otherwise). */
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

bool vpcd_receive(int fd, struct buf *msg)
{
    uint8_t head[2], text[65536];
    size_t n;

    if (!read_all(fd, head, 2))
        return false;
    n = (size_t)head[0] << 8 | head[1];
    if (!read_all(fd, text, n))
        return false;
    buf_put(msg, text, n);
    return buf_err(msg) == 0;
}

bool vpcd_send(int fd, const struct buf *msg)
{
    struct buf m = BUF_INIT;
    bool ok;

    buf_put_u16(&m, (uint16_t)msg->len);
    buf_put_rd(&m, buf_rd(msg));
    ok = buf_err(&m) == 0 && send(fd, m.data, m.len, MSG_NOSIGNAL) == (ssize_t)m.len;
    buf_free(&m);
    return ok;
}
