#include "devices/ledger_frames.h"

#define CHANNEL  0x0101u
#define TAG_APDU 0x05u

void ledger_frames_put(struct rd message, struct buf *reports)
{
    uint16_t seq = 0;

    do {
        size_t end = reports->len + LEDGER_REPORT, room;
        struct rd part;

        buf_put_u16(reports, CHANNEL);
        buf_put_u8(reports, TAG_APDU);
        buf_put_u16(reports, seq);
        if (seq++ == 0)
            buf_put_u16(reports, (uint16_t)message.n);
        room = end - reports->len;
        if (buf_err(reports) != 0 ||
            rd_bytes(&message, message.n < room ? message.n : room, &part) != 0)
            return;
        buf_put_rd(reports, part);
        while (buf_err(reports) == 0 && reports->len < end)
            buf_put_u8(reports, 0);
    } while (message.n > 0);
}

static gpg_error_t begin(struct ledger_frames *f, struct rd *r)
{
    uint16_t want;
    gpg_error_t err = rd_u16(r, &want);

    if (err != 0)
        return err;
    if (want < 2 || want > LEDGER_ANSWER_MAX)
        return gpg_error(GPG_ERR_INV_RESPONSE);
    f->begun = true;
    f->next = 0;
    f->want = want;
    buf_reset(&f->message);
    return 0;
}

/* For us, and the next in order. *SKIP: on another channel, or of another kind. */
static gpg_error_t check_head(const struct ledger_frames *f, struct rd *report, bool *skip)
{
    uint16_t channel, seq;
    uint8_t tag;

    if (report->n != LEDGER_REPORT || rd_u16(report, &channel) != 0 || rd_u8(report, &tag) != 0 ||
        rd_u16(report, &seq) != 0)
        return gpg_error(GPG_ERR_INV_RESPONSE);
    *skip = channel != CHANNEL || tag != TAG_APDU;
    return *skip || seq == (f->begun ? f->next : 0) ? 0 : gpg_error(GPG_ERR_INV_RESPONSE);
}

gpg_error_t ledger_frames_take(struct ledger_frames *f, struct rd report, bool *done)
{
    bool skip = false;
    gpg_error_t err = check_head(f, &report, &skip);

    *done = false;
    if (err == 0 && skip)
        return 0;
    if (err == 0 && !f->begun)
        err = begin(f, &report);
    if (err != 0) {
        f->begun = false;
        return err;
    }
    f->next++;
    if (report.n > f->want - f->message.len)
        report.n = f->want - f->message.len;
    buf_put_rd(&f->message, report);
    if (f->message.len == f->want) {
        f->begun = false;
        *done = true;
    }
    return buf_err(&f->message);
}
