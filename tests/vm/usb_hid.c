/* HID (1.11) with reports of 64 octets both ways, as security keys and wallets have it: on a bus, or by /dev/uhid; and the interface
 * of a vendor's own class, as newer wallets have it for the same packets. */
#include "tests/vm/usb.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/uhid.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REPORT 64u

enum { GET_DESCRIPTOR = 6, SET_REPORT = 9, SET_IDLE = 10, SET_PROTOCOL = 11 };
enum { DESCRIPTOR_HID = 0x21, DESCRIPTOR_REPORT = 0x22 };

struct hid {
    struct function f;
    uint16_t page;
    const char *emulator;
    int fd;
    uint8_t report[REPORT];
    size_t have;
};

/* A path, or "udp:PORT" on the loopback. */
static int dial(const char *emulator)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in udp = {.sin_family = AF_INET};
    bool is_udp = strncmp(emulator, "udp:", 4) == 0;
    int fd =
        socket(is_udp ? AF_INET : AF_UNIX, (is_udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

    udp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (is_udp)
        udp.sin_port = htons((uint16_t)atoi(emulator + 4));
    else if (strlen(emulator) < sizeof local.sun_path)
        strcpy(local.sun_path, emulator);
    if (fd >= 0 && connect(fd, is_udp ? (struct sockaddr *)&udp : (struct sockaddr *)&local,
                           is_udp ? sizeof udp : sizeof local) == 0)
        return fd;
    fprintf(stderr, "testusb: %s: %s\n", emulator, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* HID 1.11, 6.2.2: a vendor's usage page, one report of 64 octets in and one out */
static void put_report_descriptor(uint16_t page, struct buf *b)
{
    static const uint8_t head[] = {0x09, 0x01, 0xa1, 0x01},
                         tail[] = {0x09, 0x20,   0x15, 0x00, 0x26, 0xff,   0x00, 0x75, 0x08,
                                   0x95, REPORT, 0x81, 0x02, 0x09, 0x21,   0x15, 0x00, 0x26,
                                   0xff, 0x00,   0x75, 0x08, 0x95, REPORT, 0x91, 0x02, 0xc0};

    buf_put_u8(b, 0x06);
    put_le16(b, page);
    buf_put(b, head, sizeof head);
    buf_put(b, tail, sizeof tail);
}

static void put_hid_descriptor(const struct hid *h, struct buf *b)
{
    static const uint8_t head[] = {9, DESCRIPTOR_HID, 0x11, 0x01, 0, 1, DESCRIPTOR_REPORT};
    struct buf report = BUF_INIT;

    put_report_descriptor(h->page, &report);
    buf_put(b, head, sizeof head);
    put_le16(b, (uint16_t)report.len);
    buf_free(&report);
}

static uint8_t in_ep(const struct hid *h)
{
    return (uint8_t)(4 * h->f.interface + 1);
}

static void describe(const struct function *f, struct buf *b)
{
    const struct hid *h = (const struct hid *)f;

    usb_put_interface(b, f->interface, 2, 3, 0, 0);
    put_hid_descriptor(h, b);
    usb_put_endpoint(b, in_ep(h) | USB_DIR_IN, 3, 2);
    usb_put_endpoint(b, (uint8_t)(in_ep(h) + 1), 3, 2);
}

/* The emulator reads whole reports. */
static void to_emulator(struct hid *h, struct rd data)
{
    uint8_t report[REPORT] = {0};

    memcpy(report, data.p, data.n < REPORT ? data.n : REPORT);
    if (h->fd >= 0)
        (void)send(h->fd, report, REPORT, MSG_NOSIGNAL);
}

static bool control(struct function *f, const struct setup *s, struct rd data, struct buf *answer)
{
    struct hid *h = (struct hid *)f;

    switch (s->request) {
    case GET_DESCRIPTOR:
        if (s->value >> 8 == DESCRIPTOR_REPORT)
            put_report_descriptor(h->page, answer);
        else if (s->value >> 8 == DESCRIPTOR_HID)
            put_hid_descriptor(h, answer);
        else
            return false;
        return true;
    case SET_REPORT:
        to_emulator(h, data);
        return true;
    case SET_IDLE:
    case SET_PROTOCOL:
        return true;
    default:
        return false;
    }
}

static void out(struct function *f, uint8_t ep, struct rd data)
{
    (void)ep;
    to_emulator((struct hid *)f, data);
}

static void configured(struct function *f)
{
    (void)f;
}

static struct pollfd wants(const struct function *f, int *ms)
{
    *ms = -1;
    return (struct pollfd){.fd = ((const struct hid *)f)->fd, .events = POLLIN};
}

/* True: a whole report is there. */
static bool read_report(struct hid *h)
{
    ssize_t n = read(h->fd, h->report + h->have, REPORT - h->have);

    if (n <= 0) {
        close(h->fd);
        h->fd = -1;
        h->have = 0;
        if (h->f.dev != NULL)
            h->f.dev->hung_up = true;
        return false;
    }
    h->have += (size_t)n;
    if (h->have < REPORT)
        return false;
    h->have = 0;
    return true;
}

static void ready(struct function *f, short revents)
{
    struct hid *h = (struct hid *)f;

    if (revents != 0 && read_report(h))
        usb_send(f->dev, in_ep(h), rd_of(h->report, REPORT));
}

static bool back(struct function *f)
{
    struct hid *h = (struct hid *)f;

    if (h->fd < 0)
        h->fd = dial(h->emulator);
    return h->fd >= 0;
}

static struct function *new_function(const struct function_ops *ops, const char *emulator,
                                     uint16_t page)
{
    struct hid *h = calloc(1, sizeof *h);

    if (h == NULL)
        return NULL;
    h->f.ops = ops;
    h->page = page;
    h->emulator = emulator;
    h->fd = dial(emulator);
    if (h->fd >= 0)
        return &h->f;
    free(h);
    return NULL;
}

struct function *hid_new(const char *emulator, uint16_t page)
{
    static const struct function_ops ops = {.describe = describe,
                                            .control = control,
                                            .out = out,
                                            .configured = configured,
                                            .wants = wants,
                                            .ready = ready,
                                            .back = back};

    return new_function(&ops, emulator, page);
}

/* --- a vendor's own class ----------------------------------------------------------------------------- */

static void describe_vendor(const struct function *f, struct buf *b)
{
    uint8_t ep = in_ep((const struct hid *)f);

    usb_put_interface(b, f->interface, 2, 0xff, 0, 0);
    usb_put_endpoint(b, ep | USB_DIR_IN, 3, 1);
    usb_put_endpoint(b, ep, 3, 1);
}

static bool control_vendor(struct function *f, const struct setup *s, struct rd data,
                           struct buf *answer)
{
    (void)f;
    (void)s;
    (void)data;
    (void)answer;
    return false;
}

struct function *vendor_new(const char *emulator)
{
    static const struct function_ops ops = {.describe = describe_vendor,
                                            .control = control_vendor,
                                            .out = out,
                                            .configured = configured,
                                            .wants = wants,
                                            .ready = ready,
                                            .back = back};

    return new_function(&ops, emulator, 0);
}

/* --- without a bus: Documentation/hid/uhid.rst ----------------------------------------------------- */

static bool put_event(int fd, const struct uhid_event *e)
{
    return write(fd, e, sizeof *e) == (ssize_t)sizeof *e;
}

static bool uhid_create(int fd, const struct device *d, uint16_t page)
{
    struct uhid_event e = {.type = UHID_CREATE2};
    struct buf report = BUF_INIT;

    put_report_descriptor(page, &report);
    snprintf((char *)e.u.create2.name, sizeof e.u.create2.name, "%s %s", d->manufacturer, d->name);
    snprintf((char *)e.u.create2.uniq, sizeof e.u.create2.uniq, "%s",
             d->serial != NULL ? d->serial : "");
    memcpy(e.u.create2.rd_data, report.data, report.len);
    e.u.create2.rd_size = (uint16_t)report.len;
    e.u.create2.bus = 3; /* BUS_USB: it says so, and has no USB device all the same */
    e.u.create2.vendor = d->vendor;
    e.u.create2.product = d->product;
    buf_free(&report);
    return put_event(fd, &e);
}

static bool from_host(int fd, struct hid *h)
{
    struct uhid_event e;
    struct uhid_event reply = {0};

    if (read(fd, &e, sizeof e) <= 0)
        return false;
    switch (e.type) {
    case UHID_OUTPUT: /* the report number, 0, comes first */
        if (e.u.output.size > 1)
            to_emulator(h, rd_of(e.u.output.data + 1, e.u.output.size - 1u));
        return true;
    case UHID_GET_REPORT:
        reply.type = UHID_GET_REPORT_REPLY;
        reply.u.get_report_reply.id = e.u.get_report.id;
        reply.u.get_report_reply.err = EIO;
        return put_event(fd, &reply);
    default:
        return true;
    }
}

int uhid_run(struct device *d, const char *emulator, uint16_t page)
{
    struct hid h = {.page = page, .fd = dial(emulator)};
    int fd = open("/dev/uhid", O_RDWR | O_CLOEXEC);

    if (fd < 0 || h.fd < 0 || !uhid_create(fd, d, page)) {
        fprintf(stderr, "testusb: /dev/uhid: %s\n", strerror(errno));
        return 1;
    }
    puts("plugged");
    fflush(stdout);
    for (;;) {
        struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = h.fd, .events = POLLIN}};

        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return 1;
        if (p[0].revents != 0 && !from_host(fd, &h))
            return 1;
        if (p[1].revents != 0 && read_report(&h)) {
            struct uhid_event e = {.type = UHID_INPUT2};

            e.u.input2.size = REPORT;
            memcpy(e.u.input2.data, h.report, REPORT);
            if (!put_event(fd, &e))
                return 1;
        }
    }
}
