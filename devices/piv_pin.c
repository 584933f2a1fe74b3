/* The PIN: when it may go to the card, and how the card is left unverified. */
#include "devices/piv.h"

#include <string.h>

#define INS_VERIFY     0x20
#define TRIES_FRESH_MS 5000
#define GLOBAL_PIN     0x00
#define PIV_PIN        0x80

uint8_t piv_pin_ref(const struct piv *p)
{
    return p->discovery.global_pin ? GLOBAL_PIN : PIV_PIN;
}

gpg_error_t piv_pad(struct rd pin, struct buf *out)
{
    if (pin.n == 0 || pin.n > PIV_PIN_LEN)
        return gpg_error(GPG_ERR_INV_LENGTH);
    buf_put_rd(out, pin);
    for (size_t i = pin.n; i < PIV_PIN_LEN; i++)
        buf_put_u8(out, 0xff);
    return buf_err(out);
}

/* 63Cx: x tries left; the YubiKey NEO before 1.0.4 gives the whole octet to the number. */
static bool tells_tries(const struct piv *p, unsigned sw, int *tries)
{
    bool old = p->version[0] == 1 && p->version[1] == 0 && p->version[2] < 4;

    if ((sw & 0xfff0) == 0x63c0)
        *tries = (int)(sw & 0x0f);
    else if (old && (sw & 0xff00) == 0x6300)
        *tries = (int)(sw & 0xff);
    else
        return false;
    return true;
}

gpg_error_t piv_pin_error(const struct piv *p, unsigned sw, int *tries)
{
    int left = -1;

    if (sw == 0x9000)
        return 0;
    if (sw == 0x6983)
        left = 0;
    else if (sw == 0x6700 || sw == 0x6a80)
        return gpg_error(GPG_ERR_BAD_PIN); /* a length that it does not take; that is not counted */
    else if (!tells_tries(p, sw, &left))
        return apdu_error(sw);
    if (tries != NULL)
        *tries = left;
    return gpg_error(left == 0 ? GPG_ERR_PIN_BLOCKED : GPG_ERR_BAD_PIN);
}

static void note_tries(struct piv *p, int tries)
{
    p->tries = tries;
    p->tries_ms = card_now_ms();
}

gpg_error_t piv_query_pin(struct piv *p, bool *verified)
{
    const struct apdu a = {.ins = INS_VERIFY, .p2 = piv_pin_ref(p)};
    int tries = -1;
    unsigned sw;
    gpg_error_t err = piv_send(p, &a, NULL, &sw);

    if (err != 0)
        return err;
    *verified = sw == 0x9000;
    if (sw == 0x6983)
        note_tries(p, 0);
    else if (tells_tries(p, sw, &tries))
        note_tries(p, tries);
    return 0;
}

gpg_error_t piv_ask_pin(struct piv *p, struct driver_op *op, bool wrong)
{
    struct pin_request q = {.ref = p->discovery.global_pin ? "global" : "piv",
                            .tries = p->tries,
                            .wrong = wrong,
                            .min = PIV_PIN_MIN,
                            .max = PIV_PIN_LEN};
    struct buf pin = BUF_INIT_SECURE;
    gpg_error_t err;

    if (p->tries == 0)
        return gpg_error(GPG_ERR_PIN_BLOCKED);
    err = op->io->ask_pin(op->io->arg, &q, &pin);
    if (err == 0) {
        held_pin_take(&p->user, &pin);
        op->pin_typed = true;
    }
    buf_free(&pin);
    return err;
}

/* A PIN whose answer got lost was wrong if it cost a try; only if not, it may be sent once more. */
static gpg_error_t check_unanswered(struct piv *p)
{
    int before = p->tries;
    bool verified = false;
    gpg_error_t err;

    if (!p->user.unanswered)
        return 0;
    err = piv_query_pin(p, &verified);
    if (err == 0 && (verified || (before > 0 && p->tries >= before)))
        return 0;
    held_pin_forget(&p->user);
    if (err != 0)
        return err;
    return gpg_error(p->tries == 0 ? GPG_ERR_PIN_BLOCKED : GPG_ERR_BAD_PIN);
}

static gpg_error_t send_pin(struct piv *p, unsigned *sw)
{
    struct buf value = BUF_INIT_SECURE;
    struct apdu a = {.ins = INS_VERIFY, .p2 = piv_pin_ref(p), .secret = true};
    bool again = p->user.unanswered;
    gpg_error_t err = piv_pad(buf_rd(&p->user.pin), &value);

    if (err == 0) {
        a.data = buf_rd(&value);
        p->user.unanswered = true;
        err = apdu_send(&p->card, &a, NULL, sw);
        if (err == 0)
            p->user.unanswered = false;
        else if (again)
            held_pin_forget(&p->user); /* twice in a row: the person decides */
    }
    buf_free(&value);
    return err;
}

/* Another application answered: nothing was taken from the PIN's counter, and it is not known to be wrong. */
static bool is_elsewhere(unsigned sw)
{
    return sw == 0x6d00 || sw == 0x6e00 || sw == 0x6a88 || sw == 0x6b00 || sw == 0x6a86;
}

gpg_error_t piv_verify_held(struct piv *p)
{
    unsigned sw = 0;
    int tries = p->tries;
    gpg_error_t err = p->proves && p->proof_due ? piv_prove(p) : 0;

    if (err == 0)
        err = check_unanswered(p);
    if (err == 0)
        err = send_pin(p, &sw);
    if (err != 0)
        return err;
    if (is_elsewhere(sw))
        return gpg_error(GPG_ERR_WRONG_CARD);
    if (sw == 0x9000) {
        held_pin_note_good(&p->user);
        p->verified = true;
        return 0;
    }
    /* What was refused is gone at once, so that it can never be sent a second time. */
    held_pin_forget(&p->user);
    p->verified = false;
    err = piv_pin_error(p, sw, &tries);
    note_tries(p, tries);
    return err;
}

/* A reset tells other programs that their PIN is not verified any more, which the SELECT before ours took away. Readers without
 * contacts do not all reset a card. */
void piv_unverify(struct piv *p, bool *reset)
{
    const struct apdu a = {.ins = INS_VERIFY, .p1 = 0xff, .p2 = piv_pin_ref(p)};
    unsigned sw;

    *reset = false;
    if (!p->verified)
        return;
    if (p->place.contactless && !p->no_unverify) {
        if (piv_send(p, &a, NULL, &sw) == 0 && sw == 0x9000) {
            p->verified = false;
            return;
        }
        p->no_unverify = true;
    }
    *reset = true;
    p->verified = p->selected = false;
}
