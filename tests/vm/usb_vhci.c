/* The kernel's side: URBs over a socket (Documentation/usb/usbip_protocol.rst). */
#include "tests/vm/usb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONTROLLER   "/sys/devices/platform/vhci_hcd.0"
#define BUSY_MS      3000
#define HEADER       48u
#define MAX_TRANSFER (1u << 20)

enum { CMD_SUBMIT = 1, CMD_UNLINK = 2, RET_SUBMIT = 3, RET_UNLINK = 4 };
enum { SPEED_FULL = 2 };

struct header {
    uint32_t command, seqnum, devid, direction, ep;
    uint32_t length, unlink;
    uint8_t setup[8];
};

static bool write_line(const char *attribute, const char *line)
{
    int fd = open(attribute, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, line, strlen(line)) == (ssize_t)strlen(line);
    int err = errno;

    if (fd >= 0)
        close(fd);
    errno = err;
    return ok;
}

static void complain(const char *attribute, const char *line)
{
    fprintf(stderr, "testusb: %s: %s: %s\n", attribute, line, strerror(errno));
}

/* Nothing is asked for any more. */
static void forget(struct endpoint *e)
{
    struct urb *u;

    while ((u = TAILQ_FIRST(&e->waiting)) != NULL) {
        TAILQ_REMOVE(&e->waiting, u, link);
        free(u);
    }
}

bool vhci_attach(struct device *d, unsigned port)
{
    const struct timespec moment = {.tv_nsec = 10 * 1000 * 1000};
    int64_t until = now_ms() + BUSY_MS;
    char line[64];
    int ends[2];
    bool ok;

    usb_flush(d);
    for (int i = 0; i < MAX_ENDPOINTS; i++) {
        forget(&d->endpoints[i]);
        TAILQ_INIT(&d->endpoints[i].waiting);
        STAILQ_INIT(&d->endpoints[i].unsent);
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        perror("testusb: socketpair");
        return false;
    }
    d->fd = ends[0];
    snprintf(line, sizeof line, "%u %d %u %d", port, ends[1], port + 1, SPEED_FULL);
    while (!(ok = write_line(CONTROLLER "/attach", line)) && errno == EBUSY && now_ms() < until)
        nanosleep(&moment, NULL); /* who was there before is being cleared away */
    if (!ok)
        complain(CONTROLLER "/attach", line);
    close(ends[1]);
    return ok;
}

void vhci_detach(unsigned port)
{
    char line[16];

    snprintf(line, sizeof line, "%u", port);
    if (!write_line(CONTROLLER "/detach", line))
        complain(CONTROLLER "/detach", line);
}

/* --- what is sent -------------------------------------------------------------------------------- */

static void send_all(int fd, const struct buf *b)
{
    size_t at = 0;

    while (at < b->len) {
        ssize_t n = send(fd, b->data + at, b->len - at, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* unplugged: the next read tells */
        at += (size_t)n;
    }
}

static void put_head(struct buf *b, uint32_t command, uint32_t seqnum, int status, uint32_t length)
{
    buf_put_u32(b, command);
    buf_put_u32(b, seqnum);
    for (int i = 0; i < 3; i++)
        buf_put_u32(b, 0); /* devid, direction, ep: the kernel knows them */
    buf_put_u32(b, (uint32_t)status);
    buf_put_u32(b, length);
    while (b->len < HEADER)
        buf_put_u8(b, 0);
}

static void ret_submit(struct device *d, uint32_t seqnum, int status, uint32_t length,
                       struct rd data)
{
    struct buf b = BUF_INIT;

    put_head(&b, RET_SUBMIT, seqnum, status, length);
    buf_put_rd(&b, data);
    send_all(d->fd, &b);
    buf_free(&b);
}

static void pair_up(struct device *d, struct endpoint *e)
{
    struct packet *p;
    struct urb *u;

    while ((u = TAILQ_FIRST(&e->waiting)) != NULL && (p = STAILQ_FIRST(&e->unsent)) != NULL) {
        size_t n = p->data.len < u->length ? p->data.len : u->length;

        ret_submit(d, u->seqnum, 0, (uint32_t)n, rd_of(p->data.data, n));
        TAILQ_REMOVE(&e->waiting, u, link);
        STAILQ_REMOVE_HEAD(&e->unsent, link);
        buf_free(&p->data);
        free(p);
        free(u);
    }
}

void usb_send(struct device *d, uint8_t ep, struct rd data)
{
    struct packet *p = calloc(1, sizeof *p);

    if (p == NULL)
        abort();
    buf_put_rd(&p->data, data);
    STAILQ_INSERT_TAIL(&d->endpoints[ep % MAX_ENDPOINTS].unsent, p, link);
    pair_up(d, &d->endpoints[ep % MAX_ENDPOINTS]);
}

void usb_flush(struct device *d)
{
    for (int i = 0; i < MAX_ENDPOINTS; i++) {
        struct packet *p;

        while ((p = STAILQ_FIRST(&d->endpoints[i].unsent)) != NULL) {
            STAILQ_REMOVE_HEAD(&d->endpoints[i].unsent, link);
            buf_free(&p->data);
            free(p);
        }
    }
}

/* --- what is received ---------------------------------------------------------------------------- */

static bool read_all(int fd, void *p, size_t n)
{
    uint8_t *at = p;

    while (n > 0) {
        ssize_t got = read(fd, at, n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        n -= (size_t)got;
    }
    return true;
}

static bool read_header(int fd, struct header *h)
{
    uint8_t raw[HEADER];
    struct rd r = rd_of(raw, sizeof raw), rest, setup;
    uint32_t skipped;

    if (!read_all(fd, raw, sizeof raw))
        return false;
    if (rd_u32(&r, &h->command) != 0 || rd_u32(&r, &h->seqnum) != 0 || rd_u32(&r, &h->devid) != 0 ||
        rd_u32(&r, &h->direction) != 0 || rd_u32(&r, &h->ep) != 0)
        return false;
    rest = r;
    (void)rd_u32(&rest, &h->unlink);
    if (rd_u32(&r, &skipped) != 0 || rd_u32(&r, &h->length) != 0)
        return false;
    (void)rd_bytes(&r, 12, &setup); /* start_frame, number_of_packets, interval */
    if (rd_bytes(&r, 8, &setup) != 0)
        return false;
    memcpy(h->setup, setup.p, 8);
    return true;
}

static void control(struct device *d, const struct header *h, struct rd data)
{
    const struct setup s = {.type = h->setup[0],
                            .request = h->setup[1],
                            .value = (uint16_t)(h->setup[2] | h->setup[3] << 8),
                            .index = (uint16_t)(h->setup[4] | h->setup[5] << 8),
                            .length = (uint16_t)(h->setup[6] | h->setup[7] << 8)};
    struct buf answer = BUF_INIT;
    bool ok = usb_control(d, &s, data, &answer);
    size_t n = answer.len < s.length ? answer.len : s.length;

    if (!ok)
        ret_submit(d, h->seqnum, -EPIPE, 0, rd_of(NULL, 0));
    else if ((s.type & USB_DIR_IN) != 0)
        ret_submit(d, h->seqnum, 0, (uint32_t)n, rd_of(answer.data, n));
    else
        ret_submit(d, h->seqnum, 0, (uint32_t)data.n, rd_of(NULL, 0));
    buf_free(&answer);
}

static struct function *owner(struct device *d, uint32_t ep)
{
    /* Function N has the endpoints 4N+1 to 4N+4. */
    return ep > 0 && (ep - 1) / 4 < d->nfunctions ? d->functions[(ep - 1) / 4] : NULL;
}

static bool submit(struct device *d, const struct header *h)
{
    uint8_t *data = NULL;
    struct urb *u;

    if (h->length > MAX_TRANSFER || h->ep >= MAX_ENDPOINTS)
        return false;
    if (h->direction == 0 && h->length > 0) {
        data = malloc(h->length);
        if (data == NULL || !read_all(d->fd, data, h->length)) {
            free(data);
            return false;
        }
    }
    if (h->ep == 0) {
        control(d, h, rd_of(data, data != NULL ? h->length : 0));
    } else if (owner(d, h->ep) == NULL) {
        ret_submit(d, h->seqnum, -EPIPE, 0, rd_of(NULL, 0));
    } else if (h->direction == 0) {
        struct function *f = owner(d, h->ep);

        ret_submit(d, h->seqnum, 0, h->length, rd_of(NULL, 0));
        f->ops->out(f, (uint8_t)h->ep, rd_of(data, h->length));
    } else {
        u = calloc(1, sizeof *u);
        if (u == NULL)
            abort();
        u->seqnum = h->seqnum;
        u->length = h->length;
        TAILQ_INSERT_TAIL(&d->endpoints[h->ep].waiting, u, link);
        pair_up(d, &d->endpoints[h->ep]);
    }
    free(data);
    return true;
}

/* The host gave up a transfer; when it had been answered already it learns that. */
static void unlink_urb(struct device *d, const struct header *h)
{
    struct buf b = BUF_INIT;
    int status = 0;

    for (int i = 0; i < MAX_ENDPOINTS; i++) {
        struct urb *u;

        TAILQ_FOREACH(u, &d->endpoints[i].waiting, link)
        if (u->seqnum == h->unlink)
            break;
        if (u != NULL) {
            TAILQ_REMOVE(&d->endpoints[i].waiting, u, link);
            free(u);
            status = -ECONNRESET;
        }
    }
    put_head(&b, RET_UNLINK, h->seqnum, status, 0);
    send_all(d->fd, &b);
    buf_free(&b);
}

bool vhci_serve(struct device *d)
{
    struct header h = {0};

    if (!read_header(d->fd, &h))
        return false;
    switch (h.command) {
    case CMD_SUBMIT:
        return submit(d, &h);
    case CMD_UNLINK:
        unlink_urb(d, &h);
        return true;
    default:
        fprintf(stderr, "testusb: the kernel sent command %u\n", h.command);
        return false;
    }
}
