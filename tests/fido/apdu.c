/* CTAP 2.1, 11.3, and FIDO U2F over NFC. */
#include "tests/fido/apdu.h"

#include <string.h>

enum { SELECT = 0xa4, GET_RESPONSE = 0xc0, CTAP_MSG = 0x10, CTAP_GETRESPONSE = 0x11 };
enum {
    SW_OK = 0x9000,
    SW_KEEPALIVE = 0x9100,
    SW_FILE = 0x6a82,
    SW_LENGTH = 0x6700,
    SW_INS = 0x6d00
};

static const uint8_t aid[] = {0xa0, 0x00, 0x00, 0x06, 0x47, 0x2f, 0x00, 0x01};

void applet_reset(struct applet *a)
{
    a->selected = false;
    buf_reset(&a->chain);
    buf_reset(&a->rest);
    buf_reset(&a->wants);
}

/* ISO 7816-3 12.1.3. */
static bool parse(struct rd r, struct rd *head, struct rd *data)
{
    uint8_t n, zero;
    uint16_t wide;

    *data = rd_of(NULL, 0);
    if (rd_bytes(&r, 4, head) != 0)
        return false;
    if (r.n <= 1)
        return true;
    if (r.p[0] != 0)
        return rd_u8(&r, &n) == 0 && rd_bytes(&r, n, data) == 0 && r.n <= 1;
    if (rd_u8(&r, &zero) != 0 || rd_u16(&r, &wide) != 0)
        return false;
    return r.n == 0 || rd_bytes(&r, wide, data) == 0;
}

/* As much of what is left as fits a short answer. */
static unsigned give(struct applet *a, struct buf *answer)
{
    size_t n = a->rest.len < 256 ? a->rest.len : 256;

    buf_put(answer, a->rest.data, n);
    memmove(a->rest.data, a->rest.data + n, a->rest.len - n);
    a->rest.len -= n;
    return a->rest.len == 0 ? SW_OK : 0x6100u | (a->rest.len < 256 ? (unsigned)a->rest.len : 0u);
}

static unsigned ctap(struct device *d, struct applet *a, struct rd msg, struct buf *answer)
{
    bool touched = !a->button || d->touched || d->touch_self;
    struct buf reply = BUF_INIT;
    int st = ctap_command(d, msg, touched, &reply);

    if (st == ST_WAIT) {
        if (a->wants.data == NULL || a->wants.len == 0)
            buf_put_rd(&a->wants, msg);
        buf_put_u8(answer, 2); /* user presence is waited for */
        buf_free(&reply);
        return SW_KEEPALIVE;
    }
    if (touched)
        d->touched = false;
    buf_reset(&a->wants);
    buf_reset(&a->rest);
    buf_put_u8(&a->rest, (uint8_t)st);
    if (st == ST_OK)
        buf_put_rd(&a->rest, buf_rd(&reply));
    buf_free(&reply);
    return give(a, answer);
}

static unsigned ctap_again(struct device *d, struct applet *a, uint8_t p1, struct buf *answer)
{
    struct buf msg = BUF_INIT;
    unsigned sw;

    if (a->wants.len == 0)
        return SW_LENGTH;
    if (p1 == 0x11) {
        buf_reset(&a->wants);
        d->cancelled++;
        buf_put_u8(answer, ST_KEEPALIVE_CANCEL);
        return SW_OK;
    }
    buf_put_rd(&msg, buf_rd(&a->wants));
    sw = ctap(d, a, buf_rd(&msg), answer);
    buf_free(&msg);
    return sw;
}

/* Its status word stands at the end already; the emulator of U2F takes lengths of three octets only. */
static unsigned u2f(struct device *d, struct applet *a, struct rd head, struct rd data,
                    struct buf *answer)
{
    struct buf wide = BUF_INIT;
    unsigned sw;

    d->touched |= !a->button;
    buf_put_rd(&wide, head);
    buf_put_u8(&wide, 0);
    buf_put_u16(&wide, (uint16_t)data.n);
    buf_put_rd(&wide, data);
    buf_reset(&a->rest);
    u2f_command(d, buf_rd(&wide), &a->rest);
    buf_free(&wide);
    a->rest.len -= 2;
    sw = (unsigned)a->rest.data[a->rest.len] << 8 | a->rest.data[a->rest.len + 1];
    return sw != SW_OK ? sw : give(a, answer);
}

static unsigned select_applet(struct device *d, struct applet *a, struct buf *answer)
{
    applet_reset(a);
    a->selected = true;
    a->selects++;
    if (a->no_u2f && !d->u2f_only)
        buf_put(answer, "FIDO_2_0", 8);
    else
        buf_put(answer, "U2F_V2", 6);
    return SW_OK;
}

static unsigned run(struct device *d, struct applet *a, struct rd head, struct rd data,
                    struct buf *answer)
{
    unsigned sw;

    if (head.p[1] == GET_RESPONSE)
        return a->rest.len > 0 ? give(a, answer) : SW_LENGTH;
    if (head.p[1] == CTAP_GETRESPONSE)
        return ctap_again(d, a, head.p[2], answer);
    if ((head.p[0] & 0x80) == 0)
        return d->u2f_only || !a->no_u2f ? u2f(d, a, head, data, answer) : SW_INS;
    if (head.p[1] != CTAP_MSG || d->u2f_only)
        return SW_INS;
    buf_put_rd(&a->chain, data);
    if ((head.p[0] & 0x10) != 0)
        return SW_OK;
    buf_reset(&a->wants);
    sw = ctap(d, a, buf_rd(&a->chain), answer);
    buf_reset(&a->chain);
    return sw;
}

bool applet_command(struct device *d, struct applet *a, struct rd apdu, struct buf *answer)
{
    struct rd head, data;
    unsigned sw = SW_LENGTH;
    bool select;

    a->apdus++;
    if (!parse(apdu, &head, &data)) {
        buf_put_u16(answer, SW_LENGTH);
        return true;
    }
    select = head.p[0] == 0 && head.p[1] == SELECT;
    if (select && rd_eq(data, rd_of(aid, sizeof aid)))
        sw = select_applet(d, a, answer);
    else if (select || !a->selected) {
        applet_reset(a);
        return false;
    } else {
        sw = run(d, a, head, data, answer);
    }
    buf_put_u16(answer, (uint16_t)sw);
    return true;
}
