/* CCID (Rev 1.1): a reader with its card built in, as tokens are. The card joins over TCP as it would join vpcd: 16 bits of
 * length, then a command; one octet is control (0 off, 1 on, 2 reset, 4 ATR). A connection is a card in the reader. */
#include "tests/vm/usb.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_HEAD 10u
#define MAX_MESSAGE  (MESSAGE_HEAD + 65544u)
#define EXTENSION_MS 1000 /* how long the host is left without a word */

/* 6.1 and 6.2 */
enum {
    SET_PARAMETERS = 0x61,
    POWER_ON = 0x62,
    POWER_OFF = 0x63,
    GET_SLOT_STATUS = 0x65,
    GET_PARAMETERS = 0x6c,
    RESET_PARAMETERS = 0x6d,
    XFR_BLOCK = 0x6f,
    ABORT = 0x72,
    DATA_BLOCK = 0x80,
    SLOT_STATUS = 0x81,
    PARAMETERS = 0x82,
    NOTIFY_SLOT_CHANGE = 0x50
};
/* 6.2.6: bStatus, bError */
enum { ICC_ACTIVE = 0, ICC_INACTIVE = 1, ICC_ABSENT = 2, FAILED = 0x40, TIME_EXTENSION = 0x80 };
enum { ICC_MUTE = 0xfe, NOT_SUPPORTED = 0, CMD_SLOT_BUSY = 0xe0 };
enum { CARD_OFF = 0, CARD_ON = 1, CARD_ATR = 4 };

struct ccid {
    struct function f;
    int listener, card; /* -1: none */
    bool powered;
    struct buf command; /* the host's, as far as it has come */
    struct buf answer;  /* the card's, likewise */
    bool busy;          /* a command is with the card: */
    uint8_t type, seq;
    int64_t extend_at;
};

static uint8_t bulk_in(const struct ccid *c)
{
    return (uint8_t)(4 * c->f.interface + 1);
}

static void describe(const struct function *f, struct buf *b)
{
    const struct ccid *c = (const struct ccid *)f;
    /* 5.1 */
    static const uint8_t head[] = {54, 0x21, 0x10, 0x01, 0, 7};

    usb_put_interface(b, f->interface, 3, 11, 0, 0);
    buf_put(b, head, sizeof head);
    put_le32(b, 2);    /* dwProtocols: T=1 */
    put_le32(b, 4000); /* dwDefaultClock, dwMaximumClock */
    put_le32(b, 4000);
    buf_put_u8(b, 0);
    put_le32(b, 307200); /* dwDataRate, dwMaxDataRate */
    put_le32(b, 307200);
    buf_put_u8(b, 0);
    put_le32(b, 254); /* dwMaxIFSD */
    put_le32(b, 0);
    put_le32(b, 0);
    put_le32(b, 0x000400be); /* dwFeatures: all automatic, short and extended APDU level exchange */
    put_le32(b, MAX_MESSAGE);
    buf_put_u8(b, 0xff); /* bClassGetResponse, bClassEnvelope: as in the APDU */
    buf_put_u8(b, 0xff);
    put_le16(b, 0);
    buf_put_u8(b, 0);
    buf_put_u8(b, 1);
    usb_put_endpoint(b, bulk_in(c) | USB_DIR_IN, 2, 0);
    usb_put_endpoint(b, (uint8_t)(bulk_in(c) + 1), 2, 0);
    usb_put_endpoint(b, (uint8_t)(bulk_in(c) + 2) | USB_DIR_IN, 3, 32);
}

/* --- to the host --------------------------------------------------------------------------------- */

static uint8_t icc(const struct ccid *c)
{
    return c->card < 0 ? ICC_ABSENT : c->powered ? ICC_ACTIVE : ICC_INACTIVE;
}

static void reply(struct ccid *c, uint8_t type, uint8_t seq, uint8_t status, uint8_t error,
                  struct rd data)
{
    struct buf b = BUF_INIT;

    buf_put_u8(&b, type);
    put_le32(&b, (uint32_t)data.n);
    buf_put_u8(&b, 0);
    buf_put_u8(&b, seq);
    buf_put_u8(&b, status | icc(c));
    buf_put_u8(&b, error);
    buf_put_u8(&b, type == PARAMETERS); /* the protocol: T=1 */
    buf_put_rd(&b, data);
    usb_send(c->f.dev, bulk_in(c), buf_rd(&b));
    buf_free(&b);
}

static void notify(struct ccid *c)
{
    const uint8_t m[] = {NOTIFY_SLOT_CHANGE, (uint8_t)(c->card >= 0 ? 3 : 2)};

    if (c->f.dev->configuration != 0)
        usb_send(c->f.dev, (uint8_t)(bulk_in(c) + 2), rd_of(m, sizeof m));
}

/* --- to the card --------------------------------------------------------------------------------- */

static void to_card(struct ccid *c, struct rd data)
{
    struct buf m = BUF_INIT;

    buf_put_u16(&m, (uint16_t)data.n);
    buf_put_rd(&m, data);
    (void)send(c->card, m.data, m.len,
               MSG_NOSIGNAL); /* a card that is gone is noticed by reading */
    buf_free(&m);
}

static void card_control(struct ccid *c, uint8_t what)
{
    to_card(c, rd_of(&what, 1));
}

static void begin(struct ccid *c, uint8_t type, uint8_t seq)
{
    c->busy = true;
    c->type = type;
    c->seq = seq;
    c->extend_at = now_ms() + EXTENSION_MS;
    buf_reset(&c->answer);
}

static void card_gone(struct ccid *c)
{
    close(c->card);
    c->card = -1;
    c->powered = false;
    if (c->busy)
        reply(c, DATA_BLOCK, c->seq, FAILED, ICC_MUTE, rd_of(NULL, 0));
    c->busy = false;
    buf_reset(&c->answer);
    notify(c);
}

static void card_came(struct ccid *c)
{
    int one = 1;

    c->card = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);
    if (c->card < 0)
        return;
    (void)setsockopt(c->card, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    notify(c);
}

static void from_card(struct ccid *c)
{
    uint8_t chunk[4096];
    ssize_t n = read(c->card, chunk, sizeof chunk);
    struct rd r, data;
    uint16_t len;

    if (n <= 0) {
        card_gone(c);
        return;
    }
    buf_put(&c->answer, chunk, (size_t)n);
    r = buf_rd(&c->answer);
    if (!c->busy || rd_u16(&r, &len) != 0 || rd_bytes(&r, len, &data) != 0)
        return;
    c->busy = false;
    c->powered = c->powered || c->type == POWER_ON;
    reply(c, DATA_BLOCK, c->seq, 0, 0, data);
    buf_reset(&c->answer);
}

/* --- from the host ------------------------------------------------------------------------------- */

static void command(struct ccid *c, uint8_t type, uint8_t seq, struct rd data)
{
    static const uint8_t t1[] = {0x11, 0x10, 0x00, 0x4d, 0x00, 0xfe, 0x00}; /* 6.2.3 */

    if (c->busy) {
        reply(c, SLOT_STATUS, seq, FAILED, CMD_SLOT_BUSY, rd_of(NULL, 0));
        return;
    }
    switch (type) {
    case POWER_ON:
    case XFR_BLOCK:
        if (c->card < 0 || (type == XFR_BLOCK && !c->powered)) {
            reply(c, DATA_BLOCK, seq, FAILED, ICC_MUTE, rd_of(NULL, 0));
            return;
        }
        begin(c, type, seq);
        if (type == POWER_ON) {
            card_control(c, CARD_ON);
            card_control(c, CARD_ATR);
        } else {
            to_card(c, data);
        }
        return;
    case POWER_OFF:
        if (c->card >= 0)
            card_control(c, CARD_OFF);
        c->powered = false;
        reply(c, SLOT_STATUS, seq, 0, 0, rd_of(NULL, 0));
        return;
    case GET_SLOT_STATUS:
    case ABORT:
        reply(c, SLOT_STATUS, seq, 0, 0, rd_of(NULL, 0));
        return;
    case GET_PARAMETERS:
    case SET_PARAMETERS:
    case RESET_PARAMETERS:
        reply(c, PARAMETERS, seq, c->card < 0 ? FAILED : 0, c->card < 0 ? ICC_MUTE : 0,
              rd_of(t1, sizeof t1));
        return;
    default:
        reply(c, SLOT_STATUS, seq, FAILED, NOT_SUPPORTED, rd_of(NULL, 0));
    }
}

static void out(struct function *f, uint8_t ep, struct rd data)
{
    struct ccid *c = (struct ccid *)f;
    const uint8_t *p;
    size_t n;

    (void)ep;
    buf_put_rd(&c->command, data);
    if (c->command.len < MESSAGE_HEAD)
        return;
    p = c->command.data;
    n = (size_t)p[1] | (size_t)p[2] << 8 | (size_t)p[3] << 16 | (size_t)p[4] << 24;
    if (n > MAX_MESSAGE)
        buf_reset(&c->command);
    else if (c->command.len >= MESSAGE_HEAD + n) {
        struct buf m = c->command;

        c->command = BUF_INIT;
        command(c, m.data[0], m.data[6], rd_of(m.data + MESSAGE_HEAD, n));
        buf_free(&m);
    }
}

/* 5.3: ABORT comes by endpoint 0, too, and is answered on the bulk pipe */
static bool control(struct function *f, const struct setup *s, struct rd data, struct buf *answer)
{
    (void)f;
    (void)data;
    (void)answer;
    return s->request == 1;
}

static void configured(struct function *f)
{
    struct ccid *c = (struct ccid *)f;

    buf_reset(&c->command);
    c->busy = c->powered = false;
}

static struct pollfd wants(const struct function *f, int *ms)
{
    const struct ccid *c = (const struct ccid *)f;
    int64_t left = c->busy ? c->extend_at - now_ms() : -1;

    *ms = !c->busy ? -1 : left > 0 ? (int)left : 0;
    return (struct pollfd){.fd = c->card >= 0 ? c->card : c->listener, .events = POLLIN};
}

static void ready(struct function *f, short revents)
{
    struct ccid *c = (struct ccid *)f;

    if (revents != 0 && c->card < 0)
        card_came(c);
    else if (revents != 0)
        from_card(c);
    if (c->busy && now_ms() >= c->extend_at) {
        reply(c, DATA_BLOCK, c->seq, TIME_EXTENSION, 1, rd_of(NULL, 0));
        c->extend_at = now_ms() + EXTENSION_MS;
    }
}

struct function *ccid_new(int port)
{
    static const struct function_ops ops = {.describe = describe,
                                            .control = control,
                                            .out = out,
                                            .configured = configured,
                                            .wants = wants,
                                            .ready = ready};
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct ccid *c = calloc(1, sizeof *c);
    int one = 1;

    if (c == NULL)
        return NULL;
    c->f.ops = &ops;
    c->card = -1;
    c->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)setsockopt(c->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(c->listener, (struct sockaddr *)&sa, sizeof sa) == 0 && listen(c->listener, 1) == 0)
        return &c->f;
    fprintf(stderr, "testusb: port %d: %s\n", port, strerror(errno));
    close(c->listener);
    free(c);
    return NULL;
}
