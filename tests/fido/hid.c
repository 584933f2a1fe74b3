/* CTAPHID (CTAP 2.0, 8.1): reports into messages, one transaction at a time. */
#include "tests/fido/fido.h"

#include <string.h>
#include <sys/socket.h>

#define BROADCAST    0xffffffffu
#define INIT_ROOM    57u
#define CONT_ROOM    59u
#define KEEPALIVE_MS 100

enum {
    PING = 0x01,
    MSG = 0x03,
    INIT = 0x06,
    CBOR = 0x10,
    CANCEL = 0x11,
    KEEPALIVE = 0x3b,
    ERROR = 0x3f
};
enum { CAP_CBOR = 0x04, CAP_NMSG = 0x08 };
enum { ERR_CMD = 0x01, ERR_SEQ = 0x04, ERR_BUSY = 0x06, ERR_CHANNEL = 0x0b };

static void send_frame(struct client *c, const uint8_t frame[FRAME])
{
    (void)send(c->fd, frame, FRAME, MSG_NOSIGNAL);
}

static void send_message(struct client *c, uint32_t cid, uint8_t cmd, struct rd r)
{
    struct buf f = BUF_INIT;
    uint8_t seq = 0, frame[FRAME];
    bool first = true;

    do {
        size_t room = first ? INIT_ROOM : CONT_ROOM, n = r.n < room ? r.n : room;

        buf_reset(&f);
        buf_put_u32(&f, cid);
        if (first) {
            buf_put_u8(&f, cmd | 0x80);
            buf_put_u16(&f, (uint16_t)r.n);
        } else {
            buf_put_u8(&f, seq++);
        }
        buf_put(&f, r.p, n);
        memset(frame, 0, sizeof frame);
        memcpy(frame, f.data, f.len);
        send_frame(c, frame);
        r.p += n;
        r.n -= n;
        first = false;
    } while (r.n > 0);
    buf_free(&f);
}

static void send_octet(struct client *c, uint8_t cmd, uint8_t v)
{
    send_message(c, c->cid, cmd, rd_of(&v, 1));
}

static void send_status(struct client *c, int status, struct rd reply)
{
    struct buf b = BUF_INIT;

    buf_put_u8(&b, (uint8_t)status);
    if (status == ST_OK)
        buf_put_rd(&b, reply);
    send_message(c, c->cid, CBOR, buf_rd(&b));
    buf_free(&b);
}

static void answer_init(struct device *d, struct client *c, uint32_t cid)
{
    static uint32_t last = 0x1000;
    struct buf b = BUF_INIT;

    c->cid = cid == BROADCAST ? ++last : cid;
    buf_put(&b, c->msg.data, 8);
    buf_put_u32(&b, c->cid);
    buf_put(&b, "\2\1\0\0", 4);
    buf_put_u8(&b, d->u2f_only ? 0 : CAP_CBOR | CAP_NMSG);
    send_message(c, cid, INIT, buf_rd(&b));
    buf_free(&b);
}

static void run_cbor(struct device *d, struct client *c, bool touched)
{
    struct buf reply = BUF_INIT;
    int st = ctap_command(d, buf_rd(&c->msg), touched, &reply);

    if (st == ST_WAIT && (d->touched || d->touch_self)) {
        d->touched = false;
        st = ctap_command(d, buf_rd(&c->msg), true, &reply);
    }
    if (st == ST_WAIT) {
        d->waiting = c;
        d->waiting_since = d->keepalive_at = now_ms();
    } else {
        send_status(c, st, buf_rd(&reply));
    }
    buf_free(&reply);
}

static void run_msg(struct device *d, struct client *c)
{
    struct buf reply = BUF_INIT;

    u2f_command(d, buf_rd(&c->msg), &reply);
    send_message(c, c->cid, MSG, buf_rd(&reply));
    buf_free(&reply);
}

static void dispatch(struct device *d, struct client *c, uint32_t cid)
{
    if (c->cmd == CANCEL) {
        if (d->waiting == c) {
            d->waiting = NULL;
            d->cancelled++;
            send_status(c, ST_KEEPALIVE_CANCEL, rd_of(NULL, 0));
        }
        return;
    }
    /* While it blinks it answers nobody else (8.1.5.3). */
    if (d->waiting != NULL && c->cmd != INIT) {
        d->busy++;
        send_octet(c, ERROR, ERR_BUSY);
        return;
    }
    if (c->cmd == INIT && c->msg.len == 8)
        answer_init(d, c, cid);
    else if (c->cmd == PING)
        send_message(c, cid, PING, buf_rd(&c->msg));
    else if (c->cmd == CBOR && !d->u2f_only)
        run_cbor(d, c, false);
    else if (c->cmd == MSG && d->u2f_only)
        run_msg(d, c);
    else
        send_octet(c, ERROR, ERR_CMD);
}

bool hid_frame(struct device *d, struct client *c)
{
    struct rd r = rd_of(c->frame, FRAME);
    uint32_t cid = 0;
    uint8_t cmd = 0;
    uint16_t len;
    size_t n;

    if (rd_u32(&r, &cid) != 0 || rd_u8(&r, &cmd) != 0)
        return false;
    if (cid != BROADCAST && cid != c->cid) {
        send_octet(c, ERROR, ERR_CHANNEL);
        return true;
    }
    if ((cmd & 0x80) != 0) {
        if (rd_u16(&r, &len) != 0)
            return false;
        /* A request that waits for its touch is kept: only the message of CANCEL comes between. */
        if ((cmd & 0x7f) != CANCEL)
            buf_reset(&c->msg);
        c->cmd = cmd & 0x7f;
        c->want = len;
        c->seq = 0;
    } else if (cmd != c->seq++) {
        send_octet(c, ERROR, ERR_SEQ);
        return true;
    }
    if (c->cmd != CANCEL) {
        n = c->want - c->msg.len;
        buf_put(&c->msg, r.p, n < r.n ? n : r.n);
        if (c->msg.len < c->want)
            return buf_err(&c->msg) == 0;
    }
    dispatch(d, c, cid);
    return true;
}

int hid_tick(struct device *d)
{
    struct client *c = d->waiting;
    int64_t now = now_ms();

    if (c == NULL)
        return -1;
    if (d->touched || d->touch_self) {
        d->touched = false;
        d->waiting = NULL;
        run_cbor(d, c, true);
    } else if (now - d->waiting_since >= d->touch_ms) {
        d->gave_up++;
        d->waiting = NULL;
        send_status(c, ST_USER_ACTION_TIMEOUT, rd_of(NULL, 0));
    } else if (now >= d->keepalive_at) {
        send_octet(c, KEEPALIVE, 2);
        d->keepalive_at = now + KEEPALIVE_MS;
    }
    return d->waiting != NULL ? KEEPALIVE_MS : -1;
}

void hid_gone(struct device *d, struct client *c)
{
    if (d->waiting == c) {
        d->waiting = NULL;
        d->cancelled++;
    }
}
