/* CTAP2 and U2F messages in APDUs (CTAP 2.1, 11.3.4 to 11.3.7). */
#include "devices/fido_pcsc.h"

#include <poll.h>
#include <string.h>
#include <time.h>

enum { CMD_MSG = 0x03, CMD_INIT = 0x06, CMD_CBOR = 0x10, CMD_CANCEL = 0x11 }; /* CTAPHID's */
enum { CAP_CBOR = 0x04, CAP_NMSG = 0x08 };
enum { CTAP_GET_INFO = 0x04, SW_OK = 0x9000, SW_KEEPALIVE = 0x9100 };
enum { CTAP2_ERR_KEEPALIVE_CANCEL = 0x2d };

#define POLL_MS   100
#define MAX_REPLY 7609u

static const uint8_t aid[] = {0xa0, 0x00, 0x00, 0x06, 0x47, 0x2f, 0x00, 0x01};

void fido_apdu_clear(struct fido_apdu *a)
{
    buf_free(&a->info);
    buf_free(&a->reply);
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int send(struct fido_apdu *a, const struct apdu *cmd)
{
    buf_reset(&a->reply);
    return apdu_send(&a->card, cmd, &a->reply, &a->sw) == 0 ? 0 : -1;
}

/* "U2F_V2", or a version of FIDO2 from one that knows no U2F. */
bool fido_apdu_select(struct fido_apdu *a)
{
    const struct apdu cmd = {
        .ins = 0xa4, .p1 = 0x04, .data = rd_of(aid, sizeof aid), .want_data = true};
    struct rd version;

    if (a->applet != APPLET_UNKNOWN)
        return true;
    if (send(a, &cmd) != 0)
        return false;
    version = buf_rd(&a->reply);
    a->applet = a->sw != SW_OK                                        ? APPLET_NONE
                : rd_is(version, "U2F_V2")                            ? APPLET_U2F
                : version.n >= 4 && memcmp(version.p, "FIDO", 4) == 0 ? APPLET_FIDO2
                                                                      : APPLET_NONE;
    return true;
}

static int init(struct fido_apdu *a, const unsigned char *nonce, size_t len)
{
    if (len != sizeof a->nonce)
        return -1;
    memcpy(a->nonce, nonce, len);
    return fido_apdu_select(a) ? 0 : -1;
}

static int init_reply(const struct fido_apdu *a, unsigned char *buf, size_t len)
{
    unsigned char r[17] = {0};

    if ((a->applet != APPLET_U2F && a->applet != APPLET_FIDO2) || len < sizeof r)
        return -1;
    memcpy(r, a->nonce, sizeof a->nonce);
    r[11] = 1; /* any channel but the broadcast one */
    r[12] = 2; /* version of the protocol */
    r[16] = a->applet == APPLET_U2F ? CAP_CBOR : CAP_CBOR | CAP_NMSG;
    memcpy(buf, r, sizeof r);
    return (int)sizeof r;
}

/* P1 80: it may say "not yet" instead of keeping the reader. */
static int send_cbor(struct fido_apdu *a, const unsigned char *buf, size_t len)
{
    const struct apdu cmd = {.cla = 0x80,
                             .ins = 0x10,
                             .p1 = 0x80,
                             .data = rd_of(buf, len),
                             .want_data = true,
                             .expect = 1024};

    a->pending = false;
    __atomic_store_n(&a->cancel, false, __ATOMIC_RELAXED);
    if (len == 1 && buf[0] == CTAP_GET_INFO && a->info.len > 0) {
        buf_reset(&a->reply);
        buf_put_rd(&a->reply, buf_rd(&a->info));
        a->sw = SW_OK;
        return buf_err(&a->reply) == 0 ? 0 : -1;
    }
    if (send(a, &cmd) != 0)
        return -1;
    a->pending = a->sw == SW_KEEPALIVE;
    if (len == 1 && buf[0] == CTAP_GET_INFO && a->sw == SW_OK && a->reply.len > 1 &&
        a->reply.data[0] == 0)
        buf_put_rd(&a->info, buf_rd(&a->reply));
    return 0;
}

/* U2F's APDUs come with lengths of three octets. */
static int send_u2f(struct fido_apdu *a, const unsigned char *buf, size_t len)
{
    struct rd r = rd_of(buf, len), head, data = {0};
    struct apdu cmd = {.want_data = true, .expect = 1024};
    uint16_t n = 0;
    uint8_t zero = 0;

    if (rd_bytes(&r, 4, &head) != 0)
        return -1;
    /* Behind the header: 00 Lc Lc data [Le Le], or 00 Le Le, or nothing. */
    if (r.n > 0 && (rd_u8(&r, &zero) != 0 || rd_u16(&r, &n) != 0 || zero != 0))
        return -1;
    if (r.n > 0 && rd_bytes(&r, n, &data) != 0)
        return -1;
    cmd.cla = head.p[0];
    cmd.ins = head.p[1];
    cmd.p1 = head.p[2];
    cmd.p2 = head.p[3];
    cmd.data = data;
    return send(a, &cmd);
}

int fido_apdu_tx(struct fido_apdu *a, uint8_t cmd, const unsigned char *buf, size_t len)
{
    switch (cmd & 0x7f) {
    case CMD_INIT:
        return init(a, buf, len);
    case CMD_CBOR:
        return send_cbor(a, buf, len);
    case CMD_MSG:
        return send_u2f(a, buf, len);
    case CMD_CANCEL: /* from another thread: noticed where the answer is waited for */
        __atomic_store_n(&a->cancel, true, __ATOMIC_RELAXED);
        return 0;
    default:
        return -1;
    }
}

/* Until it is done, called off, or MS are over (-1: never). */
static int await(struct fido_apdu *a, int ms)
{
    int64_t until = now_ms() + ms;
    bool told = false;

    while (a->pending) {
        struct apdu cmd = {.cla = 0x80, .ins = 0x11, .want_data = true, .expect = 1024};

        if (ms >= 0 && now_ms() >= until)
            return -1;
        if (__atomic_load_n(&a->cancel, __ATOMIC_RELAXED) && !told) {
            cmd.p1 = 0x11; /* the answer says that it was called off */
            told = true;
        } else {
            (void)poll(NULL, 0, POLL_MS);
        }
        if (send(a, &cmd) != 0)
            return -1;
        a->pending = a->sw == SW_KEEPALIVE;
    }
    return 0;
}

int fido_apdu_rx(struct fido_apdu *a, uint8_t cmd, unsigned char *buf, size_t len, int ms)
{
    size_t n;

    if ((cmd & 0x7f) == CMD_INIT)
        return init_reply(a, buf, len);
    if ((cmd & 0x7f) == CMD_CBOR) {
        if (await(a, ms) != 0 || a->sw != SW_OK || a->reply.len == 0 || a->reply.len > len)
            return -1;
        memcpy(buf, a->reply.data, a->reply.len);
        return (int)a->reply.len;
    }
    n = a->reply.len;
    if ((cmd & 0x7f) != CMD_MSG || n + 2 > len || n > MAX_REPLY)
        return -1;
    if (n > 0)
        memcpy(buf, a->reply.data, n);
    buf[n] = (unsigned char)(a->sw >> 8);
    buf[n + 1] = (unsigned char)(a->sw & 0xff);
    return (int)(n + 2);
}

/* --- as libfido2 has it -------------------------------------------------------------------------------------------------- */

/* libfido2's open has nothing but the path to go by: the handle waits here for it, in its own thread. */
static _Thread_local struct fido_apdu *opening;

static void *io_open(const char *path)
{
    struct fido_apdu *a = opening;

    (void)path;
    opening = NULL;
    return a;
}

/* Never called: what they would carry goes by tx and rx. */
static int io_read(void *arg, unsigned char *buf, size_t len, int ms)
{
    (void)arg;
    (void)buf;
    (void)len;
    (void)ms;
    return -1;
}

static int io_write(void *arg, const unsigned char *buf, size_t len)
{
    (void)arg;
    (void)buf;
    (void)len;
    return -1;
}

static int tx(fido_dev_t *d, uint8_t cmd, const unsigned char *buf, size_t len)
{
    struct fido_apdu *a = fido_dev_io_handle(d);

    return a != NULL ? fido_apdu_tx(a, cmd, buf, len) : -1;
}

static int rx(fido_dev_t *d, uint8_t cmd, unsigned char *buf, size_t len, int ms)
{
    struct fido_apdu *a = fido_dev_io_handle(d);

    return a != NULL ? fido_apdu_rx(a, cmd, buf, len, ms) : -1;
}

static void io_close(void *arg)
{
    struct fido_apdu *a = arg;

    a->close(a);
}

int fido_apdu_open(struct fido_apdu *a, fido_dev_t *d, const char *path)
{
    static const fido_dev_io_t io = {
        .open = io_open, .close = io_close, .read = io_read, .write = io_write};
    static const fido_dev_transport_t transport = {.rx = rx, .tx = tx};
    int rc;

    opening = a;
    rc = fido_dev_set_io_functions(d, &io);
    if (rc == FIDO_OK)
        rc = fido_dev_set_transport_functions(d, &transport);
    if (rc == FIDO_OK)
        rc = fido_dev_open(d, path);
    if (opening != NULL) { /* it came not so far */
        opening = NULL;
        a->close(a);
    }
    return rc;
}
