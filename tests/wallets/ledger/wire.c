/* HID reports and Speculos's framing. ref: trezor-ledger 8, 13. */
#include "tests/wallets/ledger/ledger.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHANNEL  0x0101u
#define TAG_APDU 0x05u

static bool send_buf(struct host *h, const struct buf *b)
{
    return buf_err(b) == 0 && send(h->fd, b->data, b->len, MSG_NOSIGNAL) == (ssize_t)b->len;
}

/* --- HID -------------------------------------------------------------------------------------------------------------------- */

static void put_report(struct buf *out, unsigned channel, unsigned tag, unsigned seq,
                       struct rd body)
{
    size_t end = out->len + REPORT;

    buf_put_u16(out, (uint16_t)channel);
    buf_put_u8(out, (uint8_t)tag);
    buf_put_u16(out, (uint16_t)seq);
    buf_put_rd(out, body);
    while (buf_err(out) == 0 && out->len < end)
        buf_put_u8(out, 0);
}

static bool hid_answer(struct host *h, struct rd message, enum garbage g)
{
    struct buf body = BUF_INIT, out = BUF_INIT;
    struct rd part;
    bool ok;

    /* Not for us: to be dropped. */
    if (g == GARBAGE_CHANNEL)
        put_report(&out, 0x0202, TAG_APDU, 0, rd_of("\0\2\x6f\0", 4));
    if (g == GARBAGE_TAG)
        put_report(&out, CHANNEL, 0x02, 0, rd_of("\0\2\x6f\0", 4));
    buf_put_u16(&body, g == GARBAGE_LENGTH ? 0xffff : (uint16_t)message.n);
    for (unsigned seq = 0; seq == 0 || message.n > 0; seq++) {
        size_t room = REPORT - 5 - body.len;

        if (rd_bytes(&message, message.n < room ? message.n : room, &part) != 0)
            break;
        buf_put_rd(&body, part);
        put_report(&out, CHANNEL, TAG_APDU, seq + (g == GARBAGE_SEQUENCE && message.n == 0),
                   buf_rd(&body));
        buf_reset(&body);
    }
    if (g == GARBAGE_HALF)
        out.len = REPORT / 2;
    ok = send_buf(h, &out) && g != GARBAGE_HALF;
    buf_free(&body);
    buf_free(&out);
    return ok;
}

static bool hid_report(struct device *d, struct host *h, struct rd r)
{
    uint16_t channel, seq, want;
    uint8_t tag;
    struct rd part;
    bool ok = true;

    if (rd_u16(&r, &channel) != 0 || rd_u8(&r, &tag) != 0 || rd_u16(&r, &seq) != 0 ||
        channel != CHANNEL || tag != TAG_APDU || seq != h->next ||
        (seq == 0 && rd_u16(&r, &want) != 0))
        return false; /* stricter than a real one: no host of ours does so */
    if (seq == 0) {
        h->want = want;
        buf_reset(&h->apdu);
    }
    if (rd_bytes(&r, r.n < h->want - h->apdu.len ? r.n : h->want - h->apdu.len, &part) != 0)
        return false;
    buf_put_rd(&h->apdu, part);
    h->next++;
    if (h->apdu.len == h->want) {
        struct buf data = BUF_INIT;
        unsigned sw = device_command(d, buf_rd(&h->apdu), &data);

        h->next = 0;
        ok = sw == NO_ANSWER || wire_answer(d, h, sw, buf_rd(&data));
        buf_free(&data);
    }
    return ok;
}

/* --- Speculos --------------------------------------------------------------------------------------------------------------- */

static bool tcp_answer(struct host *h, struct rd message, enum garbage g)
{
    struct buf out = BUF_INIT;
    bool ok;

    buf_put_u32(&out, g == GARBAGE_LENGTH ? 0x7fffffff : (uint32_t)message.n - 2);
    buf_put_rd(&out, message);
    if (g == GARBAGE_HALF)
        out.len = 5;
    ok = send_buf(h, &out) && g != GARBAGE_HALF;
    buf_free(&out);
    return ok;
}

/* --- both ------------------------------------------------------------------------------------------------------------------- */

bool wire_answer(struct device *d, struct host *h, unsigned sw, struct rd data)
{
    struct buf message = BUF_INIT;
    enum garbage g = d->garbage;
    bool ok;

    d->garbage = GARBAGE_NONE;
    buf_put_rd(&message, data);
    if (g == GARBAGE_DATA) {
        buf_reset(&message);
        buf_put(&message, "\x30\x45\x02\x21\xff\x05not an answer", 18);
    }
    buf_put_u16(&message, (uint16_t)sw);
    ok = buf_err(&message) == 0 &&
         (h->hid ? hid_answer(h, buf_rd(&message), g) : tcp_answer(h, buf_rd(&message), g));
    buf_free(&message);
    return ok;
}

static bool take(struct host *h, struct rd *r)
{
    struct rd whole = buf_rd(&h->in);

    if (h->hid)
        return rd_bytes(&whole, REPORT, r) == 0;
    return rd_string(&whole, r) == 0;
}

bool wire_read(struct device *d, struct host *h)
{
    uint8_t chunk[1024];
    ssize_t n = read(h->fd, chunk, sizeof chunk);
    struct rd r;
    bool ok = n > 0;

    if (ok)
        buf_put(&h->in, chunk, (size_t)n);
    while (ok && take(h, &r)) {
        size_t used = (size_t)(r.p - h->in.data) + r.n;
        struct buf data = BUF_INIT;

        if (h->hid) {
            ok = hid_report(d, h, r);
        } else {
            unsigned sw = device_command(d, r, &data);

            ok = sw == NO_ANSWER || wire_answer(d, h, sw, buf_rd(&data));
        }
        buf_free(&data);
        memmove(h->in.data, h->in.data + used, h->in.len - used);
        h->in.len -= used;
    }
    return ok;
}
