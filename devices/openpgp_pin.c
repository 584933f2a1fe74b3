/* PINs: when one may go to the card, in which form, and how the card is left unverified. */
#include "devices/openpgp.h"

#include <string.h>

#define KDF_MAX_COUNT \
    0x04000000u /* octets hashed; more than eight times ykman's default is no card's honest wish */

#define TRIES_FRESH_MS 5000

/* --- KDF-DO (F9) -------------------------------------------------------------------------------------------------------------- */

gpg_error_t openpgp_parse_kdf(struct rd r, struct kdf *out)
{
    struct kdf k = {.known = true};
    struct rd v;

    if (r.n == 0 || rd_tlv_find(r, 0x81, &v) != 0 || (v.n == 1 && v.p[0] == 0)) {
        *out = k;
        return 0;
    }
    if (v.n != 1 || v.p[0] != 3)
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    if (rd_tlv_find(r, 0x82, &v) != 0 || v.n != 1 || (v.p[0] != 8 && v.p[0] != 10))
        return gpg_error(GPG_ERR_DIGEST_ALGO);
    k.hash = v.p[0] == 8 ? GCRY_MD_SHA256 : GCRY_MD_SHA512;
    if (rd_tlv_find(r, 0x83, &v) != 0 || v.n != 4 || rd_u32(&v, &k.count) != 0 ||
        k.count > KDF_MAX_COUNT)
        return gpg_error(GPG_ERR_BAD_DATA);
    if (rd_tlv_find(r, 0x84, &v) != 0 || v.n != sizeof k.salt[0])
        return gpg_error(GPG_ERR_BAD_DATA);
    for (unsigned i = 0; i < NPASSWORDS; i++) {
        struct rd own;

        /* One salt serves all where the others are not there. */
        if (rd_tlv_find(r, 0x84 + i, &own) != 0)
            own = v;
        if (own.n != sizeof k.salt[0])
            return gpg_error(GPG_ERR_BAD_DATA);
        memcpy(k.salt[i], own.p, own.n);
    }
    k.active = true;
    *out = k;
    return 0;
}

/* Read before the first PIN goes out: the plain PIN sent to a card that wants the derived one burns a try. */
static gpg_error_t need_kdf(struct openpgp *o)
{
    struct buf f9 = BUF_INIT;
    gpg_error_t err;

    if (o->kdf.known || !o->kdf_possible)
        return 0;
    err = openpgp_get_data(o, 0xf9, &f9);
    if (gpg_err_code(err) == GPG_ERR_NO_OBJ)
        o->kdf = (struct kdf){.known = true};
    else if (err == 0)
        err = openpgp_parse_kdf(buf_rd(&f9), &o->kdf);
    if (gpg_err_code(err) == GPG_ERR_NO_OBJ)
        err = 0;
    buf_free(&f9);
    return err;
}

/* RFC 4880 3.7.1.3: salt and PIN over and over, cut at COUNT octets. */
static gpg_error_t derive(const struct kdf *k, enum password which, struct rd pin, struct buf *out)
{
    const uint8_t *salt_of = k->salt[which];
    const size_t salt_len = sizeof k->salt[which];
    gcry_md_hd_t md;
    uint32_t left = k->count;
    size_t round = salt_len + pin.n, n = gcry_md_get_algo_dlen(k->hash);
    gpg_error_t err = gcry_md_open(&md, k->hash, GCRY_MD_FLAG_SECURE);

    if (err != 0)
        return err;
    if (left < round)
        left = (uint32_t)round;
    while (left > 0) {
        size_t salt = left < salt_len ? left : salt_len, rest;

        gcry_md_write(md, salt_of, salt);
        left -= (uint32_t)salt;
        rest = left < pin.n ? left : pin.n;
        gcry_md_write(md, pin.p, rest);
        left -= (uint32_t)rest;
    }
    buf_put(out, gcry_md_read(md, k->hash), n);
    gcry_md_close(md);
    return buf_err(out);
}

gpg_error_t openpgp_pin_value(struct openpgp *o, enum password which, struct rd pin,
                              struct buf *value)
{
    gpg_error_t err = need_kdf(o);

    if (err != 0)
        return err;
    if (o->kdf.active)
        return derive(&o->kdf, which, pin, value);
    buf_put_rd(value, pin);
    return buf_err(value);
}

/* --- the held PINs ------------------------------------------------------------------------------------------------------------ */

static enum password password_of(uint8_t ref)
{
    return ref == PW3_ADMIN ? PASSWORD_PW3 : PASSWORD_PW1;
}

struct held_pin *openpgp_held(struct openpgp *o, uint8_t ref)
{
    return ref == PW3_ADMIN ? &o->admin : &o->user;
}

bool *openpgp_verified(struct openpgp *o, uint8_t ref)
{
    return &o->verified[ref - PW1_SIGN];
}

static bool admin_expired(const struct openpgp *o)
{
    return card_now_ms() - o->admin.used_ms > ADMIN_HELD_MS;
}

void openpgp_expire_admin(struct openpgp *o)
{
    if (o->admin.pin.len > 0 && admin_expired(o))
        held_pin_forget(&o->admin);
}

bool openpgp_pin_serves(const struct openpgp *o, uint8_t ref, long pin_age)
{
    const struct held_pin *h = ref == PW3_ADMIN ? &o->admin : &o->user;

    return !(ref == PW3_ADMIN && admin_expired(o)) && held_pin_serves(h, pin_age);
}

gpg_error_t openpgp_ask_pin(struct openpgp *o, struct driver_op *op, uint8_t ref, bool wrong)
{
    struct held_pin *h = openpgp_held(o, ref);
    enum password which = password_of(ref);
    struct pin_request q = {.ref = ref == PW1_SIGN    ? "81"
                                   : ref == PW1_OTHER ? "82"
                                                      : "83",
                            .tries = o->tries[which],
                            .wrong = wrong,
                            .max = o->max_pin[which]};
    struct buf pin = BUF_INIT_SECURE;
    gpg_error_t err;

    if (o->tries[which] == 0)
        return gpg_error(GPG_ERR_PIN_BLOCKED);
    err = op->io->ask_pin(op->io->arg, &q, &pin);
    if (err == 0) {
        held_pin_take(h, &pin);
        op->pin_typed = true;
    }
    buf_free(&pin);
    return err;
}

gpg_error_t openpgp_pin_refused(struct openpgp *o, enum password which, unsigned sw)
{
    gpg_error_t err;

    if (sw == 0x6700 || sw == 0x6a80)
        return gpg_error(
            GPG_ERR_BAD_PIN); /* a length that the card does not take; most do not count it */
    if ((sw & 0xfff0) == 0x63c0) {
        o->tries[which] = (int)(sw & 0x0f);
    } else {
        err = openpgp_read_tries(o);
        if (err != 0)
            return err;
    }
    if (sw == 0x6983 || o->tries[which] == 0)
        return gpg_error(GPG_ERR_PIN_BLOCKED);
    if ((sw & 0xfff0) == 0x63c0 || sw == 0x6982 || sw == 0x6985)
        return gpg_error(GPG_ERR_BAD_PIN);
    return apdu_error(sw);
}

/* A refused PIN is gone at once, so that it can never be sent a second time. */
static gpg_error_t refused(struct openpgp *o, uint8_t ref, unsigned sw)
{
    held_pin_forget(openpgp_held(o, ref));
    if (ref == PW3_ADMIN)
        o->verified[2] = false;
    else
        o->verified[0] = o->verified[1] = false;
    return openpgp_pin_refused(o, password_of(ref), sw);
}

gpg_error_t openpgp_fresh_tries(struct openpgp *o)
{
    gpg_error_t err;

    if (card_now_ms() - o->tries_ms < TRIES_FRESH_MS)
        return 0;
    err = openpgp_enter(o);
    return err != 0 ? err : openpgp_read_tries(o);
}

/* A PIN whose answer got lost (a reset, a card that left the field for a moment) was wrong if it cost
 * a try; only if not, it may be sent once more. */
static gpg_error_t check_unanswered(struct openpgp *o, uint8_t ref)
{
    const int *tries = &o->tries[password_of(ref)];
    int before = *tries;
    gpg_error_t err;

    if (!openpgp_held(o, ref)->unanswered)
        return 0;
    err = openpgp_read_tries(o);
    if (err == 0 && before > 0 && *tries >= before)
        return 0;
    held_pin_forget(openpgp_held(o, ref));
    if (err != 0)
        return err;
    return gpg_error(*tries == 0 ? GPG_ERR_PIN_BLOCKED : GPG_ERR_BAD_PIN);
}

gpg_error_t openpgp_verify_held(struct openpgp *o, uint8_t ref)
{
    struct held_pin *h = openpgp_held(o, ref);
    struct buf value = BUF_INIT_SECURE;
    struct apdu a = {.ins = 0x20, .p2 = ref, .secret = true};
    bool again = h->unanswered;
    unsigned sw;
    gpg_error_t err = need_kdf(o);

    if (err == 0)
        err = check_unanswered(o, ref);
    if (err == 0)
        err = openpgp_pin_value(o, password_of(ref), buf_rd(&h->pin), &value);
    if (err == 0) {
        a.data = buf_rd(&value);
        h->unanswered = true;
        err = apdu_send(&o->card, &a, NULL, &sw);
        if (err == 0)
            h->unanswered = false;
        else if (again)
            held_pin_forget(h); /* twice in a row: the person decides */
    }
    buf_free(&value);
    if (err != 0)
        return err;
    /* Another applet answered: the card took nothing from the PIN's counter, and the PIN is not known to be wrong. */
    if (sw == 0x6d00 || sw == 0x6e00 || sw == 0x6a88 || sw == 0x6b00 || sw == 0x6a86)
        return gpg_error(GPG_ERR_WRONG_CARD);
    if (sw != 0x9000)
        return refused(o, ref, sw);
    held_pin_note_good(h);
    *openpgp_verified(o, ref) = true;
    return 0;
}

/* --- PINs that the device asks for -------------------------------------------------------------------------------------------- */

bool openpgp_asks_itself(const struct openpgp *o)
{
    return o->card.asks_pin && o->card.transport->verify != NULL &&
           profile_has(o->profile, PIN_ON_DEVICE);
}

bool openpgp_device_pin_serves(const struct openpgp *o, uint8_t ref, long pin_age)
{
    unsigned i = ref - PW1_SIGN;

    if (!o->verified[i] || pin_age == 0)
        return false;
    return pin_age < 0 || card_now_ms() - o->verified_ms[i] <= (int64_t)pin_age * 1000;
}

/* Status words of PC/SC part 10, 2.5.2, besides the card's own. */
static gpg_error_t device_refused(struct openpgp *o, uint8_t ref, unsigned sw)
{
    switch (sw) {
    case 0x6400:
        return gpg_error(GPG_ERR_TIMEOUT);
    case 0x6401:
    case 0x6985:
        return gpg_error(GPG_ERR_NOT_CONFIRMED);
    default:
        return openpgp_pin_refused(o, password_of(ref), sw);
    }
}

gpg_error_t openpgp_verify_on_device(struct openpgp *o, struct driver_op *op, uint8_t ref)
{
    struct buf answer = BUF_INIT;
    struct rd r;
    uint16_t sw = 0;
    gpg_error_t err;

    op->io->touch(op->io->arg, true);
    err = o->card.transport->verify(o->card.handle, ref, &answer);
    op->io->touch(op->io->arg, false);
    r = buf_rd(&answer);
    if (err == 0 && (rd_u16(&r, &sw) != 0 || r.n > 0))
        err = gpg_error(GPG_ERR_CARD);
    buf_free(&answer);
    if (err != 0)
        return err;
    *openpgp_verified(o, ref) = sw == 0x9000;
    if (sw != 0x9000)
        return device_refused(o, ref, sw);
    o->verified_ms[ref - PW1_SIGN] = card_now_ms();
    op->pin_device = true;
    return 0;
}

/* On a card with several applications SELECT came before the PIN, which took theirs away from other
 * programs already. A reset, unlike SELECT, tells them so: who does not know would send his PIN to our
 * application. Readers without contacts do not all reset a card. */
static bool drops_by_reset(const struct openpgp *o)
{
    return o->no_unverify || (profile_has(o->profile, OTHER_APPLETS) && !o->contactless);
}

void openpgp_unverify(struct openpgp *o, bool *reset)
{
    gpg_error_t err = 0;
    unsigned sw = 0x9000;

    *reset = false;
    for (uint8_t i = 0; i < 3 && err == 0 && sw == 0x9000 && !drops_by_reset(o); i++) {
        struct apdu a = {.ins = 0x20, .p1 = 0xff, .p2 = (uint8_t)(PW1_SIGN + i)};

        if (!o->verified[i])
            continue;
        err = apdu_send(&o->card, &a, NULL, &sw);
        if (err == 0 && sw == 0x9000)
            o->verified[i] = false;
        else if (err == 0)
            o->no_unverify = true; /* OpenPGP 2 cards, older YubiKeys */
    }
    if (o->verified[0] || o->verified[1] || o->verified[2]) {
        *reset = true;
        o->verified[0] = o->verified[1] = o->verified[2] = false;
        o->selected = false;
    }
}
