#include "devices/ledger_app.h"

#include "devices/wallet.h"

#include <string.h>

#define APP        "SSH/PGP Agent"
#define ANSWER_MS  5000  /* for what needs no person */
#define OPENING_MS 15000 /* the device comes back as another */
#define AGAIN_MS   250
#define CLA_APP    0x80
#define CLA_BOLOS  0xb0
#define CLA_DASH   0xe0
#define INS_WHAT   0x01
#define INS_OPEN   0xd8
#define SW_OK      0x9000u
#define SW_MISSING 0x6807u
#define DASHBOARD  "BOLOS"
#define OLD_DASH   "OLOS"

static const struct {
    unsigned sw;
    gpg_err_code_t code;
    const char *words;
} status_words[] = {
    {0x6985, GPG_ERR_NOT_CONFIRMED, "refused on the Ledger"},
    {0x5501, GPG_ERR_NOT_CONFIRMED, "refused on the Ledger"},
    {0x5515, GPG_ERR_LOCKED, "the Ledger is locked: unlock it with its PIN"},
    {0x6804, GPG_ERR_LOCKED, "the Ledger is locked: unlock it with its PIN"},
    {0x6982, GPG_ERR_LOCKED, "the Ledger is locked: unlock it with its PIN"},
    {SW_MISSING, GPG_ERR_NOT_FOUND,
     "the application " APP
     " is not on the Ledger: install it with Ledger's own program, then try again"},
    {0x6a80, GPG_ERR_NOT_SUPPORTED,
     "the Ledger's " APP " cannot read what it was to sign: another version of it may"},
    {0x6a15, GPG_ERR_NOT_SUPPORTED,
     "the application that is open on the Ledger may not use the keys of identities: open " APP},
    {0x6700, GPG_ERR_NOT_SUPPORTED,
     "the Ledger's " APP " does not take data of this length: another version of it may"},
    {0x6b00, GPG_ERR_NOT_SUPPORTED,
     "the Ledger's " APP " does not know this kind of signature: it may be too old"},
    {0x6d00, GPG_ERR_NOT_SUPPORTED,
     "the Ledger's " APP " does not know the command: it may be too old"},
    {0x6d02, GPG_ERR_WRONG_CARD, "no application is open on the Ledger: open " APP},
    {0x6e00, GPG_ERR_WRONG_CARD, "another application was opened on the Ledger: open " APP},
    {0x6e01, GPG_ERR_WRONG_CARD, "no application is open on the Ledger: open " APP},
    {0x6511, GPG_ERR_WRONG_CARD, "no application is open on the Ledger: open " APP},
};

static gpg_error_t judge(unsigned sw, struct driver_op *op)
{
    if (sw == SW_OK)
        return 0;
    for (size_t i = 0; i < sizeof status_words / sizeof *status_words; i++) {
        if (status_words[i].sw != sw)
            continue;
        if (op != NULL)
            wallet_say(op, "%s", status_words[i].words);
        return gpg_error(status_words[i].code);
    }
    if (op != NULL)
        wallet_say(op, "the Ledger answered with an error (%04X)", sw);
    return gpg_error(GPG_ERR_CARD);
}

static void touch(struct driver_op *op, bool waiting)
{
    if (op != NULL)
        op->io->touch(op->io->arg, waiting);
}

void ledger_say(struct driver_op *op, gpg_error_t err)
{
    switch (gpg_err_code(err)) {
    case GPG_ERR_CARD_REMOVED:
    case GPG_ERR_ENODEV:
        wallet_say(op, "the Ledger was unplugged, or went off by itself: plug it in again");
        break;
    case GPG_ERR_TIMEOUT:
        wallet_say(op, "the Ledger does not answer: it may still show a question; answer that, "
                       "then try again");
        break;
    case GPG_ERR_INV_RESPONSE:
        wallet_say(op, "the Ledger's answer makes no sense: take it out and plug it in again");
        break;
    default:
        break;
    }
}

/* One APDU. The APP needs Lc even where it is 0, and knows no Le. */
static gpg_error_t transmit(struct ledger *d, uint8_t cla, const struct ledger_command *c,
                            struct driver_op *op, struct buf *data, unsigned *sw)
{
    struct buf apdu = BUF_INIT, answer = BUF_INIT_SECURE;
    struct rd r, body;
    uint16_t word = 0;
    gpg_error_t err = c->data.n <= 255 ? 0 : gpg_error(GPG_ERR_TOO_LARGE);

    if (err != 0)
        return err;
    buf_put_u8(&apdu, cla);
    buf_put_u8(&apdu, c->ins);
    buf_put_u8(&apdu, c->p1);
    buf_put_u8(&apdu, c->p2);
    buf_put_u8(&apdu, (uint8_t)c->data.n);
    buf_put_rd(&apdu, c->data);
    err = buf_err(&apdu);
    if (err == 0 && c->person)
        touch(op, true);
    if (err == 0)
        err = ledger_link_exchange(d->link, buf_rd(&apdu), op != NULL ? op->io : NULL,
                                   c->person ? -1 : ANSWER_MS, &answer);
    if (c->person)
        touch(op, false);
    if (err != 0)
        goto out;
    r = buf_rd(&answer);
    err = rd_bytes(&r, r.n - 2, &body);
    if (err == 0)
        err = rd_u16(&r, &word);
    if (err == 0 && data != NULL) {
        buf_put_rd(data, body);
        err = buf_err(data);
    }
    *sw = word;
out:
    buf_free(&apdu);
    buf_free(&answer);
    return err;
}

bool ledger_app_signs(const struct ledger_app *a)
{
    return strcmp(a->name, APP) == 0;
}

bool ledger_app_dashboard(const struct ledger_app *a)
{
    return strcmp(a->name, DASHBOARD) == 0 || strcmp(a->name, OLD_DASH) == 0;
}

gpg_error_t ledger_look(struct ledger *d, struct driver_op *op)
{
    const struct ledger_command what = {.ins = INS_WHAT};
    struct buf data = BUF_INIT;
    unsigned sw = 0;
    gpg_error_t err = transmit(d, CLA_BOLOS, &what, op, &data, &sw);

    if (err == 0)
        err = judge(sw, NULL);
    if (err == 0)
        err = ledger_read_app(buf_rd(&data), &d->app);
    if (err != 0)
        d->app = (struct ledger_app){0};
    buf_free(&data);
    return err;
}

/* What is at the end of the link may have come back as another device, or be out of step: once more, on a new one. */
static gpg_error_t look_again(struct ledger *d, struct driver_op *op)
{
    gpg_error_t err = ledger_look(d, op);

    switch (gpg_err_code(err)) {
    case GPG_ERR_CARD_REMOVED:
    case GPG_ERR_INV_RESPONSE:
        err = ledger_link_reopen(d->link);
        return err != 0 ? err : ledger_look(d, op);
    default:
        return err;
    }
}

/* Somebody gave up a request that the device still shows. */
static gpg_error_t settle(struct ledger *d, struct driver_op *op)
{
    gpg_error_t err;

    if (!ledger_link_owed(d->link))
        return 0;
    touch(op, true);
    err = ledger_link_settle(d->link, op->io, -1);
    touch(op, false);
    if (gpg_err_code(err) == GPG_ERR_CANCELED)
        wallet_say(
            op, "the Ledger still shows an earlier request, which was given up: refuse it there");
    /* A link that broke is opened anew. */
    return gpg_err_code(err) == GPG_ERR_CANCELED ? err : 0;
}

static gpg_error_t wait_unlocked(struct ledger *d, struct driver_op *op)
{
    gpg_error_t err;

    touch(op, true);
    do {
        if (!ledger_pause(op->io, AGAIN_MS)) {
            wallet_say(op, "the Ledger is locked: unlock it with its PIN");
            err = gpg_error(GPG_ERR_CANCELED);
            break;
        }
        err = look_again(d, op);
    } while (gpg_err_code(err) == GPG_ERR_LOCKED);
    touch(op, false);
    return err;
}

/* The person is asked on the device. Then it leaves the bus and comes back as another. */
static gpg_error_t open_app(struct ledger *d, struct driver_op *op)
{
    const struct ledger_command c = {
        .ins = INS_OPEN, .data = rd_of(APP, sizeof APP - 1), .person = true};
    unsigned sw = 0;
    gpg_error_t err = transmit(d, CLA_DASH, &c, op, NULL, &sw);

    if (gpg_err_code(err) == GPG_ERR_CARD_REMOVED)
        err = 0; /* gone before its answer was read */
    else if (err == 0)
        err = judge(sw, op);
    if (err != 0)
        return err;
    for (int left = OPENING_MS; left > 0; left -= AGAIN_MS) {
        if (!ledger_pause(op->io, AGAIN_MS))
            return gpg_error(GPG_ERR_CANCELED);
        err = ledger_link_reopen(d->link);
        if (err == 0)
            err = ledger_look(d, op);
        if (gpg_err_code(err) == GPG_ERR_CANCELED || (err == 0 && ledger_app_signs(&d->app)))
            return err;
    }
    return err != 0 ? err : gpg_error(GPG_ERR_WRONG_CARD);
}

gpg_error_t ledger_ready(struct ledger *d, struct driver_op *op)
{
    gpg_error_t err = settle(d, op);

    if (err == 0)
        err = look_again(d, op);
    if (gpg_err_code(err) == GPG_ERR_LOCKED)
        err = wait_unlocked(d, op);
    if (err == 0 && ledger_app_dashboard(&d->app)) {
        err = open_app(d, op);
        if (gpg_err_code(err) == GPG_ERR_WRONG_CARD)
            wallet_say(op, "no application is open on the Ledger: open " APP);
    } else if (err == 0 && !ledger_app_signs(&d->app)) {
        wallet_say(op, "%s is open on the Ledger: leave it and open " APP, d->app.name);
        err = gpg_error(GPG_ERR_WRONG_CARD);
    }
    ledger_say(op, err);
    return gpg_err_code(err) == GPG_ERR_ENODEV ? gpg_error(GPG_ERR_CARD_REMOVED) : err;
}

gpg_error_t ledger_command(struct ledger *d, const struct ledger_command *c, struct driver_op *op,
                           struct buf *data)
{
    unsigned sw = 0;
    gpg_error_t err = transmit(d, CLA_APP, c, op, data, &sw);

    ledger_say(op, err);
    if (err == 0)
        err = judge(sw, op);
    /* The broker would take it for the agent's own lock. */
    return gpg_err_code(err) == GPG_ERR_LOCKED ? gpg_error(GPG_ERR_UNUSABLE_SECKEY) : err;
}
