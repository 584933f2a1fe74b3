#include "devices/apdu.h"

#include <string.h>

#define CHAIN_BLOCK 254u /* GnuPG's: some cards refuse 255 */
#define MAX_SHORT   255u
#define MAX_ANSWER  (128u * 1024u) /* a card that never ends */
#define CLA_CHAIN   0x10

enum {
    SW_OK = 0x9000,
    SW_MORE = 0x61,
    SW_LE = 0x6c,
    SW_LENGTH = 0x6700,
    SW_NO_CHAIN = 0x6884,
    SW_CLA = 0x6e00
};

static gpg_error_t raw(const struct card *c, struct rd command, struct buf *resp, unsigned *sw)
{
    struct buf answer = BUF_INIT;
    gpg_error_t err = c->transport->transmit(c->handle, command, &answer);

    if (err == 0)
        err = buf_err(&answer);
    if (err == 0 && answer.len < 2)
        err = gpg_error(GPG_ERR_CARD); /* no status word: not a card's answer */
    if (err == 0) {
        *sw = (unsigned)answer.data[answer.len - 2] << 8 | answer.data[answer.len - 1];
        if (resp != NULL) {
            if (resp->len + answer.len > MAX_ANSWER)
                err = gpg_error(GPG_ERR_TOO_LARGE);
            else
                buf_put(resp, answer.data, answer.len - 2);
        }
    }
    if (answer.data != NULL)
        explicit_bzero(answer.data, answer.len);
    buf_free(&answer);
    return err;
}

/* One command as it goes over the wire, and what the card still has to say after it. */
static gpg_error_t exchange(const struct card *c, struct buf *cmd, struct buf *resp, unsigned *sw)
{
    gpg_error_t err = buf_err(cmd);

    if (err == 0)
        err = raw(c, buf_rd(cmd), resp, sw);
    if (err == 0 && *sw >> 8 == SW_LE && cmd->len >= 5) {
        /* The same command with the length that the card wants. */
        cmd->data[cmd->len - 1] = (uint8_t)(*sw & 0xff);
        err = raw(c, buf_rd(cmd), resp, sw);
    }
    while (err == 0 && *sw >> 8 == SW_MORE) {
        const uint8_t more[] = {0x00, 0xc0, 0x00, 0x00, (uint8_t)(*sw & 0xff)};
        size_t before = resp != NULL ? resp->len : 0;

        err = raw(c, rd_of(more, sizeof more), resp, sw);
        if (err == 0 && resp != NULL && resp->len == before && *sw >> 8 == SW_MORE)
            err = gpg_error(GPG_ERR_CARD); /* promises more and gives nothing, for ever */
    }
    return err;
}

static void put_header(struct buf *b, const struct apdu *a, uint8_t cla)
{
    buf_put_u8(b, a->cla | cla);
    buf_put_u8(b, a->ins);
    buf_put_u8(b, a->p1);
    buf_put_u8(b, a->p2);
}

static gpg_error_t send_short(const struct card *c, const struct apdu *a, struct rd data,
                              uint8_t cla, bool le, struct buf *resp, unsigned *sw)
{
    struct buf cmd = a->secret ? BUF_INIT_SECURE : BUF_INIT;
    gpg_error_t err;

    put_header(&cmd, a, cla);
    if (data.n > 0) {
        buf_put_u8(&cmd, (uint8_t)data.n);
        buf_put_rd(&cmd, data);
    }
    if (le && !(c->t0 && data.n > 0))
        buf_put_u8(&cmd, a->le);
    err = exchange(c, &cmd, resp, sw);
    buf_free(&cmd);
    return err;
}

static gpg_error_t send_extended(const struct card *c, const struct apdu *a, struct buf *resp,
                                 unsigned *sw)
{
    struct buf cmd = a->secret ? BUF_INIT_SECURE : BUF_INIT;
    gpg_error_t err;

    put_header(&cmd, a, 0);
    buf_put_u8(&cmd, 0);
    if (a->data.n > 0) {
        buf_put_u16(&cmd, (uint16_t)a->data.n);
        buf_put_rd(&cmd, a->data);
    }
    if (a->want_data && !c->t0)
        buf_put_u16(&cmd, 0);
    if (c->max_cmd > 0 && cmd.len > c->max_cmd)
        err = gpg_error(GPG_ERR_TOO_LARGE);
    else
        err = exchange(c, &cmd, resp, sw);
    buf_free(&cmd);
    return err;
}

static gpg_error_t send_chained(const struct card *c, const struct apdu *a, struct buf *resp,
                                unsigned *sw)
{
    struct rd rest = a->data;
    gpg_error_t err = 0;

    while (err == 0 && rest.n > CHAIN_BLOCK) {
        err = send_short(c, a, rd_of(rest.p, CHAIN_BLOCK), CLA_CHAIN, false, NULL, sw);
        if (err == 0 && *sw != SW_OK)
            return 0;
        rest = rd_of(rest.p + CHAIN_BLOCK, rest.n - CHAIN_BLOCK);
    }
    return err != 0 ? err : send_short(c, a, rest, 0, a->want_data, resp, sw);
}

gpg_error_t apdu_send(const struct card *c, const struct apdu *a, struct buf *resp, unsigned *sw)
{
    gpg_error_t err;

    if (a->data.n > 0xffff)
        return gpg_error(GPG_ERR_TOO_LARGE);
    if (a->data.n <= MAX_SHORT) {
        if (a->expect > MAX_SHORT + 1 && a->want_data && c->extended && !c->t0) {
            err = send_extended(c, a, resp, sw);
            if (err != 0 || *sw != SW_LENGTH)
                return err; /* else it announces what it cannot do */
        }
        return send_short(c, a, a->data, 0, a->want_data, resp, sw);
    }
    if (c->chaining || !c->extended)
        err = send_chained(c, a, resp, sw);
    else
        return send_extended(c, a, resp, sw);
    /* A card that announces neither is tried with chaining first. */
    if (err == 0 && !c->chaining && (*sw == SW_NO_CHAIN || *sw == SW_CLA))
        err = send_extended(c, a, resp, sw);
    return err;
}

void apdu_note_capabilities(struct card *c, struct rd hist)
{
    if (hist.n == 0 || (hist.p[0] != 0x00 && hist.p[0] != 0x80))
        return; /* not compact TLV */
    for (size_t i = 1; i < hist.n;) {
        size_t len = hist.p[i] & 0x0f;

        if (hist.p[i] >> 4 == 7 && len == 3 && i + 3 < hist.n) {
            c->chaining = (hist.p[i + 3] & 0x80) != 0;
            c->extended = (hist.p[i + 3] & 0x40) != 0;
        }
        i += 1 + len;
    }
}

struct rd apdu_historical(struct rd atr)
{
    uint8_t ts, t0, td;
    struct rd skipped, hist;

    if (rd_u8(&atr, &ts) != 0 || rd_u8(&atr, &t0) != 0)
        return rd_of(NULL, 0);
    td = t0;
    for (;;) {
        unsigned interface = (td >> 4 & 1u) + (td >> 5 & 1u) + (td >> 6 & 1u); /* TA TB TC */

        if (rd_bytes(&atr, interface, &skipped) != 0)
            return rd_of(NULL, 0);
        if ((td & 0x80) == 0)
            break;
        if (rd_u8(&atr, &td) != 0)
            return rd_of(NULL, 0);
    }
    return rd_bytes(&atr, t0 & 0x0f, &hist) == 0 ? hist : rd_of(NULL, 0);
}

gpg_error_t apdu_error(unsigned sw)
{
    static const struct {
        unsigned sw;
        gpg_err_code_t code;
    } known[] = {
        {0x6285, GPG_ERR_OBJ_TERM_STATE}, {0x6581, GPG_ERR_CARD},
        {0x6600, GPG_ERR_TIMEOUT},        {SW_LENGTH, GPG_ERR_TOO_LARGE},
        {0x6982, GPG_ERR_BAD_PIN},        {0x6983, GPG_ERR_PIN_BLOCKED},
        {0x6985, GPG_ERR_USE_CONDITIONS}, {0x6a80, GPG_ERR_BAD_DATA},
        {0x6a81, GPG_ERR_NOT_SUPPORTED},  {0x6a82, GPG_ERR_NO_OBJ},
        {0x6a88, GPG_ERR_NO_OBJ},         {0x6b00, GPG_ERR_INV_VALUE},
        {0x6d00, GPG_ERR_NOT_SUPPORTED},  {SW_CLA, GPG_ERR_NOT_SUPPORTED},
    };

    if (sw == SW_OK)
        return 0;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].sw == sw)
            return gpg_error(known[i].code);
    return gpg_error((sw & 0xfff0) == 0x63c0 ? GPG_ERR_BAD_PIN : GPG_ERR_CARD);
}

bool apdu_is_exchange(gpg_error_t err)
{
    switch (gpg_err_code(err)) {
    case GPG_ERR_CARD_REMOVED:
    case GPG_ERR_ENODEV:
    case GPG_ERR_CARD_RESET:
    case GPG_ERR_EAGAIN:
    case GPG_ERR_ENOMEM:
        return true;
    default:
        return false;
    }
}
