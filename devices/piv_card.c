/* PIV cards: operations in short shared transactions, repaired when another program interfered.
 *
 * A PIN must not meet another application, and another program may select one without any sign of it in PC/SC: SELECT comes before
 * VERIFY in each transaction. */
#include "devices/card_work.h"
#include "devices/late_notice.h"
#include "devices/piv.h"

#include <string.h>
#include <strings.h>

#define INS_GENERAL_AUTHENTICATE 0x87
#define MAX_ROUNDS               8
/* No refusal takes so long, and no signature but for the slowest of RSA: the card waited for a finger. */
#define WAITED_MS 2000
#define NOTICE_MS 600

gpg_error_t piv_new(const struct card *card, const struct card_place *place, struct piv **out)
{
    /* These are their own readers, which take all that the card does. */
    static const char *const own_readers[] = {"Yubi", "Nitrokey", "Solo", "CanoKey"};
    struct piv *p = gpgrt_calloc(1, sizeof *p);
    bool own = false;

    if (p == NULL)
        return gpg_error_from_syserror();
    p->card = *card;
    p->place = *place;
    p->user.pin = BUF_INIT_SECURE;
    p->tries = -1;
    for (size_t i = 0; i < sizeof own_readers / sizeof own_readers[0]; i++)
        own = own || strcasestr(place->reader, own_readers[i]) != NULL;
    if (!place->contactless)
        apdu_note_capabilities(&p->card, apdu_historical(place->atr));
    /* An RSA signature is then one command. */
    if (!own)
        p->card.extended = false;
    p->card.chaining = !p->card.extended;
    *out = p;
    return 0;
}

void piv_free(struct piv *p)
{
    if (p == NULL)
        return;
    held_pin_forget(&p->user);
    for (unsigned i = 0; i < NPIV_SLOTS; i++)
        key_unref(p->slots[i].key);
    gpgrt_free(p);
}

void piv_lost_state(struct piv *p)
{
    p->selected = p->verified = false;
    p->doubted = p->proof_due = p->learned;
}

gpg_error_t piv_begin(struct piv *p)
{
    enum card_change change = CARD_AS_LEFT;
    gpg_error_t err = p->card.transport->begin(p->card.handle, &change);
    bool was_reset = change == CARD_WAS_RESET && p->learned;
    bool doubted = p->doubted || was_reset, proof_due = p->proof_due || was_reset;

    if (change != CARD_AS_LEFT)
        piv_lost_state(p);
    p->doubted = doubted;
    p->proof_due = proof_due;
    return err;
}

void piv_end(struct piv *p, bool reset)
{
    p->card.transport->end(p->card.handle, reset);
}

gpg_error_t piv_find(const char *id, unsigned *i)
{
    for (unsigned k = 0; id != NULL && k < NPIV_SLOTS; k++)
        if (strcmp(piv_places[k].id, id) == 0) {
            *i = k;
            return 0;
        }
    return gpg_error(GPG_ERR_INV_ID);
}

gpg_error_t piv_learn_card(struct piv *p, bool refresh)
{
    gpg_error_t err = 0;

    if (p->learned && !refresh)
        return 0;
    for (int i = 0; i < MAX_ROUNDS; i++) {
        err = piv_begin(p);
        if (err != 0)
            return err;
        err = piv_learn(p);
        piv_end(p, false);
        if (gpg_err_code(err) != GPG_ERR_CARD_RESET && gpg_err_code(err) != GPG_ERR_EAGAIN)
            return err;
        piv_lost_state(p);
    }
    return err;
}

/* --- one operation -------------------------------------------------------------------------------------------------- */

struct work {
    struct piv *p;
    struct driver_op *op;
    const struct piv_slot *slot; /* NULL: verification alone */
    uint8_t pin, touch;          /* the slot's policies */
    struct apdu apdu;
    struct buf answer; /* secure for decryption */
    int64_t took_ms;   /* the last command */
};

static bool wants_pin(const struct work *w)
{
    return w->pin != PIV_PIN_NEVER;
}

static bool touch_enforced(const struct work *w)
{
    return w->touch == PIV_TOUCH_ALWAYS || w->touch == PIV_TOUCH_CACHED;
}

/* Did the card say no because something is not as we left it, rather than to the operation itself? */
static bool state_differs(unsigned sw)
{
    return sw == 0x6982 || sw == 0x6d00 || sw == 0x6e00 || sw == 0x6a82 || sw == 0x6a86 ||
           sw == 0x6a88 || sw == 0x6b00 || sw == 0x6985 || sw == 0x6f00;
}

/* A button, and no word on whether it is wanted. */
static bool may_want_touch(const struct work *w)
{
    return w->touch == PIV_TOUCH_DEFAULT && w->p->version[0] >= 4 && !w->p->place.contactless;
}

/* Sends the command; a touch is waited for within it. */
static gpg_error_t run_command(struct work *w, unsigned *sw)
{
    const struct driver_io *io = w->op->io;
    int64_t since = card_now_ms();
    struct late_notice late;
    gpg_error_t err;

    buf_reset(&w->answer);
    if (touch_enforced(w))
        io->touch(io->arg, true);
    else if (may_want_touch(w))
        late_notice_begin(&late, io, NOTICE_MS);
    err = piv_send(w->p, &w->apdu, &w->answer, sw);
    if (touch_enforced(w))
        io->touch(io->arg, false);
    else if (may_want_touch(w))
        late_notice_end(&late);
    w->took_ms = card_now_ms() - since;
    if (w->pin == PIV_PIN_ALWAYS)
        w->p->verified = false; /* used up, whatever came of it */
    return err;
}

/* Brings the card to the state in which W's command can run. *NEED_PIN: it takes a PIN that is not there. *FRESH: VERIFY was sent. */
static gpg_error_t prepare(struct work *w, bool fresh_select, bool *need_pin, bool *fresh)
{
    struct piv *p = w->p;
    bool serves = held_pin_serves(&p->user, w->op->pin_age);
    bool typed = w->op->pin_typed && p->user.pin.len > 0, was_good = p->user.good && !typed;
    bool must_verify =
        wants_pin(w) && (!p->verified || !serves || w->pin == PIV_PIN_ALWAYS || fresh_select);
    gpg_error_t err = 0;

    *need_pin = must_verify && !serves && !typed;
    *fresh = must_verify;
    if (*need_pin)
        return 0;
    if (!p->selected || fresh_select || must_verify)
        err = piv_reselect(p);
    if (err == 0 && must_verify)
        err = piv_verify_held(p);
    if (err == 0 && wants_pin(w) && (must_verify ? was_good : !w->op->pin_typed))
        w->op->pin_cached = true;
    return err;
}

/* How many tries are left must be true when the person is asked: other programs may have used some up. */
static gpg_error_t fresh_tries(struct piv *p)
{
    bool verified;
    gpg_error_t err = piv_reselect(p);

    return err != 0 ? err : piv_query_pin(p, &verified);
}

/* 6982 says that the PIN is missing, or that nobody touched. */
static bool is_touch_timeout(const struct work *w, unsigned sw, bool verified_now)
{
    if (sw == 0x6600)
        return true;
    if (w->touch == PIV_TOUCH_NEVER || (sw != 0x6982 && sw != 0x6985))
        return false;
    return touch_enforced(w) ? verified_now || !wants_pin(w) || w->took_ms >= WAITED_MS
                             : w->took_ms >= WAITED_MS;
}

/* The PIN is there, and yet the card wants it: anew for each use, though it did not tell. */
static void note_always(struct work *w)
{
    bool verified = false;

    if (w->slot->told || piv_query_pin(w->p, &verified) != 0 || !verified)
        return;
    w->p->slots[w->slot - w->p->slots].pin = w->pin = PIV_PIN_ALWAYS;
}

static enum work_result refused(struct work *w, unsigned sw, bool verified_now, bool fresh_select,
                                gpg_error_t *err)
{
    struct piv *p = w->p;

    if (is_touch_timeout(w, sw, verified_now)) {
        *err = gpg_error(GPG_ERR_TIMEOUT);
        return WORK_FAILED;
    }
    if (state_differs(sw) && !fresh_select) {
        if (sw == 0x6982 && !verified_now && wants_pin(w))
            note_always(w);
        p->verified = false;
        return WORK_AGAIN_WITH_SELECT;
    }
    /* By the certificate there should be a key, and it is not, or is another one. */
    *err = sw == 0x6a80 || sw == 0x6a88 ? gpg_error(GPG_ERR_NO_SECKEY)
           : sw == 0x6982               ? gpg_error(GPG_ERR_USE_CONDITIONS)
                                        : apdu_error(sw);
    return WORK_FAILED;
}

static enum work_result attempt(void *work, bool fresh_select, gpg_error_t *err)
{
    struct work *w = work;
    struct piv *p = w->p;
    bool need_pin = false, verified_now = false;
    unsigned sw = 0x9000;

    *err = prepare(w, fresh_select, &need_pin, &verified_now);
    if (*err == 0 && need_pin)
        *err = fresh_tries(p);
    if (*err == 0 && need_pin)
        return WORK_WANTS_PIN;
    if (gpg_err_code(*err) == GPG_ERR_WRONG_CARD && !fresh_select && p->user.pin.len > 0)
        return WORK_AGAIN_WITH_SELECT;
    if (*err != 0)
        return WORK_FAILED;
    if (w->slot == NULL)
        return WORK_DONE;
    *err = run_command(w, &sw);
    if (*err != 0)
        return WORK_FAILED;
    return sw == 0x9000 ? WORK_DONE : refused(w, sw, verified_now, fresh_select, err);
}

static gpg_error_t begin(void *work)
{
    return piv_begin(((struct work *)work)->p);
}

static void end(void *work, bool reset)
{
    piv_end(((struct work *)work)->p, reset);
}

static void lost(void *work)
{
    piv_lost_state(((struct work *)work)->p);
}

static void unverify(void *work, bool *reset)
{
    piv_unverify(((struct work *)work)->p, reset);
}

static gpg_error_t ask_pin(void *work, bool wrong)
{
    struct work *w = work;

    return piv_ask_pin(w->p, w->op, wrong);
}

static bool pin_refused(void *work, gpg_error_t err)
{
    return gpg_err_code(err) == GPG_ERR_BAD_PIN && !((struct work *)work)->p->user.good;
}

static gpg_error_t perform(struct work *w)
{
    static const struct work_steps steps = {.begin = begin,
                                            .end = end,
                                            .lost = lost,
                                            .attempt = attempt,
                                            .unverify = unverify,
                                            .ask_pin = ask_pin,
                                            .pin_refused = pin_refused};

    if (w->op->want_touch && !touch_enforced(w))
        return gpg_error(GPG_ERR_USE_CONDITIONS);
    return card_work(w, w->op, &steps);
}

/* --- signing and decrypting ----------------------------------------------------------------------------------------- */

static gpg_error_t start(struct piv *p, struct driver_op *op, struct work *w)
{
    unsigned i = 0;
    gpg_error_t err = piv_learn_card(p, false);

    if (err == 0)
        err = piv_find(op->key_id, &i);
    if (err != 0 || p->slots[i].key == NULL)
        return err != 0 ? err : gpg_error(GPG_ERR_NO_SECKEY);
    w->p = p;
    w->op = op;
    w->slot = &p->slots[i];
    w->pin = piv_pin_policy(p, i);
    w->touch = piv_touch_policy(p, i);
    w->apdu =
        (struct apdu){.ins = INS_GENERAL_AUTHENTICATE,
                      .p1 = w->slot->alg,
                      .p2 = piv_places[i].ref,
                      .want_data = true,
                      .expect = w->slot->key->algo == KEY_RSA ? w->slot->key->nbits / 8 + 8 : 0};
    return 0;
}

static void note_touch(const struct work *w)
{
    if (w->touch == PIV_TOUCH_ALWAYS)
        w->op->touched = true;
}

gpg_error_t piv_sign(struct piv *p, struct driver_op *op, gcry_sexp_t *sig)
{
    struct work w = {.answer = BUF_INIT};
    struct buf input = BUF_INIT;
    gpg_error_t err = start(p, op, &w);

    if (err == 0)
        err = piv_put_input(w.slot->key, &op->input, &input);
    if (err == 0) {
        w.apdu.data = buf_rd(&input);
        err = perform(&w);
    }
    if (err == 0) {
        note_touch(&w);
        err = piv_parse_signature(w.slot->key, buf_rd(&w.answer), sig);
    }
    buf_free(&input);
    buf_free(&w.answer);
    return err;
}

gpg_error_t piv_decrypt(struct piv *p, struct driver_op *op, struct buf *result)
{
    struct work w = {.answer = BUF_INIT_SECURE};
    struct buf input = BUF_INIT;
    struct rd plain;
    gpg_error_t err = start(p, op, &w);

    if (err == 0)
        err = piv_put_cryptogram(w.slot->key, op->input.data, &input);
    if (err == 0) {
        w.apdu.data = buf_rd(&input);
        err = perform(&w);
    }
    if (err == 0)
        err = piv_parse_response(buf_rd(&w.answer), &plain);
    if (err == 0 && w.slot->key->algo == KEY_RSA)
        err = piv_strip_padding(plain, &plain);
    if (err == 0) {
        note_touch(&w);
        buf_put_rd(result, plain);
        err = buf_err(result);
    }
    buf_free(&input);
    buf_free(&w.answer);
    return err;
}

gpg_error_t piv_verify(struct piv *p, struct driver_op *op)
{
    struct work w = {.p = p, .op = op, .pin = PIV_PIN_ONCE, .touch = PIV_TOUCH_NEVER};
    gpg_error_t err = piv_learn_card(p, false);

    return err != 0 ? err : perform(&w);
}

void piv_forget(struct piv *p)
{
    bool reset = false;

    held_pin_forget(&p->user);
    if (p->verified && piv_begin(p) == 0) {
        piv_unverify(p, &reset);
        piv_end(p, reset);
    }
    p->verified = false;
}
