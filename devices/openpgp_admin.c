/* What changes a card or needs its admin PIN: transactions for that, PINs, simple objects, certificates, the factory reset. */
#include "devices/openpgp_admin.h"

#include "devices/pcsc.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ROUNDS   6
#define ADMIN_KEPT_S 60 /* since its last use */
#define MAX_VALUE    4096u
#define BLOCKING     16 /* wrong PINs in a row, at most: no card has more tries */

static const char *const slot_ids[NSLOTS] = {"sig", "dec", "aut"};

gpg_error_t openpgp_slot_index(const char *id, unsigned *index)
{
    for (unsigned i = 0; id != NULL && i < NSLOTS; i++)
        if (strcmp(slot_ids[i], id) == 0) {
            *index = i;
            return 0;
        }
    return gpg_error(GPG_ERR_INV_ID);
}

gpg_error_t openpgp_arg(const struct driver_op *op, const char *name, char **out)
{
    gpg_error_t err = field_get(op->args, name, out);

    return err == 0 && *out == NULL ? gpg_error(GPG_ERR_MISSING_VALUE) : err;
}

void openpgp_relearn(struct openpgp *o)
{
    o->learned = false;
}

/* --- the admin PIN -------------------------------------------------------------------------------------------------------------- */

static void forget_admin(struct openpgp *o)
{
    buf_free(&o->admin);
    o->admin = BUF_INIT_SECURE;
    o->admin_good = false;
}

static bool admin_serves(const struct openpgp *o, long pin_age)
{
    int64_t age = openpgp_now_ms() - o->admin_ms;

    return o->admin_good && pin_age != 0 && age <= (int64_t)ADMIN_KEPT_S * 1000 &&
           (pin_age < 0 || age <= (int64_t)pin_age * 1000);
}

/* No transaction is open. TRIES: left for that PIN. */
static gpg_error_t ask(struct driver_op *op, const char *ref, int tries, bool wrong, bool fresh,
                       int min, int max, struct buf *pin)
{
    const struct pin_request q = {
        .ref = ref, .tries = tries, .wrong = wrong, .fresh = fresh, .min = min, .max = max};

    return tries == 0 && !fresh ? gpg_error(GPG_ERR_PIN_BLOCKED)
                                : op->io->ask_pin(op->io->arg, &q, pin);
}

static gpg_error_t read_tries(struct openpgp *o)
{
    gpg_error_t err = openpgp_begin(o);

    if (err != 0)
        return err;
    err = openpgp_enter(o);
    if (err == 0)
        err = openpgp_read_tries(o);
    openpgp_end(o, false);
    return err;
}

static gpg_error_t ask_admin(struct openpgp *o, struct driver_op *op, bool wrong)
{
    struct buf pin = BUF_INIT_SECURE;
    gpg_error_t err = read_tries(o);

    if (err == 0)
        err = ask(op, "83", o->tries[2], wrong, false, 0, 0, &pin);
    if (err == 0) {
        forget_admin(o);
        o->admin = pin;
        pin = BUF_INIT_SECURE;
        op->pin_typed = true;
    }
    buf_free(&pin);
    return err;
}

/* What a card says to a PIN that it did not take. TRIES: of that PIN, brought up to date. */
static gpg_error_t pin_refused(struct openpgp *o, unsigned sw, unsigned which)
{
    if ((sw & 0xfff0) == 0x63c0) {
        o->tries[which] = (int)(sw & 0x0f);
    } else {
        gpg_error_t err = openpgp_read_tries(o);

        if (err != 0)
            return err;
    }
    if (sw == 0x6983 || o->tries[which] == 0)
        return gpg_error(GPG_ERR_PIN_BLOCKED);
    if ((sw & 0xfff0) == 0x63c0 || sw == 0x6982 || sw == 0x6985 || sw == 0x6700 || sw == 0x6a80)
        return gpg_error(GPG_ERR_BAD_PIN);
    return apdu_error(sw);
}

/* Sent once: it is gone if it is refused, or if nobody knows whether it was. */
static gpg_error_t verify_admin(struct openpgp *o)
{
    struct buf value = BUF_INIT_SECURE;
    struct apdu a = {.ins = 0x20, .p2 = PW3_ADMIN, .secret = true};
    unsigned sw = 0;
    gpg_error_t err = openpgp_put_pin(o, PIN_PW3, buf_rd(&o->admin), &value);

    if (err == 0) {
        a.data = buf_rd(&value);
        err = apdu_send(&o->card, &a, NULL, &sw);
        if (err != 0 && !o->admin_good)
            forget_admin(o);
    }
    buf_free(&value);
    if (err != 0)
        return err;
    if (sw != 0x9000) {
        forget_admin(o);
        return pin_refused(o, sw, 2);
    }
    o->admin_good = true;
    o->admin_ms = openpgp_now_ms();
    return 0;
}

/* *RESET: only a reset takes the admin PIN's effect away. */
static void unverify_admin(struct openpgp *o, bool *reset)
{
    struct apdu a = {.ins = 0x20, .p1 = 0xff, .p2 = PW3_ADMIN};
    unsigned sw = 0;

    if (!o->no_unverify && apdu_send(&o->card, &a, NULL, &sw) == 0 && sw == 0x9000)
        return;
    *reset = true;
    o->selected = false;
    o->verified[0] = o->verified[1] = false;
}

gpg_error_t openpgp_in_card(struct openpgp *o, struct driver_op *op, uint8_t ref,
                            gpg_error_t (*fn)(struct openpgp *o, void *arg), void *arg)
{
    bool wrong = false, admin = ref == PW3_ADMIN;
    gpg_error_t err = 0;

    for (int round = 0; round < MAX_ROUNDS; round++) {
        bool reset = false, verifying = admin;

        if (op->io->canceled(op->io->arg))
            return gpg_error(GPG_ERR_CANCELED);
        if (admin && !(op->pin_typed && o->admin.len > 0) && !admin_serves(o, op->pin_age)) {
            err = ask_admin(o, op, wrong);
            if (err != 0)
                return err;
        }
        err = openpgp_begin(o);
        if (err != 0)
            return err;
        err = admin ? openpgp_reselect(o) : openpgp_enter(o);
        if (err == 0 && admin) {
            bool held = o->admin_good;

            err = verify_admin(o);
            verifying = err != 0;
            if (err == 0 && held && !op->pin_typed)
                op->pin_cached = true;
        }
        if (err == 0 && fn != NULL)
            err = fn(o, arg);
        if (admin && !verifying)
            unverify_admin(o, &reset);
        openpgp_end(o, reset);
        if (verifying && gpg_err_code(err) == GPG_ERR_BAD_PIN) {
            wrong = true;
            op->pin_typed = op->pin_cached = false;
            continue;
        }
        if (gpg_err_code(err) != GPG_ERR_CARD_RESET && gpg_err_code(err) != GPG_ERR_EAGAIN)
            return err;
        openpgp_lost_state(o);
    }
    return err;
}

gpg_error_t openpgp_put_data(struct openpgp *o, unsigned tag, struct rd value)
{
    struct apdu a = {.ins = 0xda, .p1 = (uint8_t)(tag >> 8), .p2 = (uint8_t)tag, .data = value};
    unsigned sw;
    gpg_error_t err = apdu_send(&o->card, &a, NULL, &sw);

    if (err != 0 || sw == 0x9000)
        return err;
    return sw == 0x6985 ? gpg_error(GPG_ERR_USE_CONDITIONS) : apdu_error(sw);
}

/* --- SETATTR ----------------------------------------------------------------------------------------------------------------------- */

static const struct object {
    const char *name;
    unsigned tag;
    size_t max;
    bool user_pin; /* written under PW1, not PW3 */
} objects[] = {
    {"DISP-NAME", 0x5b, 39, false},
    {"LOGIN-DATA", 0x5e, 254, false},
    {"DISP-LANG", 0x5f2d, 8, false},
    {"DISP-SEX", 0x5f35, 1, false},
    {"PUBKEY-URL", 0x5f50, 254, false},
    {"CHV-STATUS-1", 0xc4, 1, false},
    {"CA-FPR-1", 0xca, 20, false},
    {"CA-FPR-2", 0xcb, 20, false},
    {"CA-FPR-3", 0xcc, 20, false},
    {"PRIVATE-DO-1", 0x0101, 254, true},
    {"PRIVATE-DO-2", 0x0102, 254, false},
    {"PRIVATE-DO-3", 0x0103, 254, true},
    {"PRIVATE-DO-4", 0x0104, 254, false},
    {"UIF-1", 0xd6, 2, false},
    {"UIF-2", 0xd7, 2, false},
    {"UIF-3", 0xd8, 2, false},
    {"KDF", 0xf9, 110, false},
    {"KEY-ATTR", 0, 80, false},
};

struct setting {
    const struct object *object;
    struct rd value;
};

/* "[--force] SLOT ALGO NAME" */
static gpg_error_t set_key_attributes(struct openpgp *o, struct rd value)
{
    char *text = gpgrt_bsprintf("%.*s", (int)value.n, (const char *)value.p), *p = text, name[40];
    struct buf old = BUF_INIT, attr = BUF_INIT;
    unsigned slot, algo;
    gpg_error_t err = 0;

    if (text == NULL)
        return gpg_error_from_syserror();
    p += strspn(p, " ");
    if (strncmp(p, "--force", 7) == 0)
        p += 7;
    if (sscanf(p, "%u %u %39s", &slot, &algo, name) != 3 || slot < 1 || slot > NSLOTS)
        err = gpg_error(GPG_ERR_INV_VALUE);
    if (err == 0)
        err = openpgp_get_data(o, 0xc0 + slot, &old);
    if (gpg_err_code(err) == GPG_ERR_NO_OBJ)
        err = 0;
    if (err == 0)
        err = openpgp_make_attributes(name, slot - 1, buf_rd(&old), &attr);
    if (err == 0)
        err = openpgp_put_data(o, 0xc0 + slot, buf_rd(&attr));
    gpgrt_free(text);
    buf_free(&old);
    buf_free(&attr);
    return err;
}

static gpg_error_t put_object(struct openpgp *o, void *arg)
{
    const struct setting *s = arg;

    return s->object->tag == 0 ? set_key_attributes(o, s->value)
                               : openpgp_put_data(o, s->object->tag, s->value);
}

/* PW1 as 82 opens the objects 1 and 3; it is left verified only for this. */
static gpg_error_t under_user_pin(struct openpgp *o, struct driver_op *op, struct setting *s)
{
    bool drop = op->drop, reset = false;
    gpg_error_t err;

    op->drop = false;
    err = driver_pcsc.verify(o, op, "82");
    if (err == 0)
        err = openpgp_in_card(o, op, 0, put_object, s);
    op->drop = drop;
    if (drop && openpgp_begin(o) == 0) {
        openpgp_unverify(o, &reset);
        openpgp_end(o, reset);
    }
    return err;
}

gpg_error_t openpgp_setattr(void *state, struct driver_op *op, struct buf *result)
{
    struct openpgp *o = state;
    struct buf value = BUF_INIT_SECURE; /* a KDF-DO has hashes of PINs in it */
    struct setting s = {0};
    char *name = NULL;
    gpg_error_t err = openpgp_arg(op, "name", &name);

    (void)result;
    for (size_t i = 0; err == 0 && i < sizeof objects / sizeof objects[0]; i++)
        if (strcmp(objects[i].name, name) == 0)
            s.object = &objects[i];
    if (err == 0 && s.object == NULL)
        err = gpg_error(GPG_ERR_INV_NAME);
    if (err == 0)
        err = op->io->inquire(op->io->arg, "VALUE", NULL, MAX_VALUE, true, &value);
    if (err == 0 && value.len > s.object->max)
        err = gpg_error(GPG_ERR_TOO_LARGE);
    if (err == 0)
        err = openpgp_learn_card(o, false, true);
    if (err != 0)
        goto out;
    s.value = buf_rd(&value);
    err = s.object->user_pin ? under_user_pin(o, op, &s)
                             : openpgp_in_card(o, op, PW3_ADMIN, put_object, &s);
    if (err == 0 && s.object->tag == 0xf9) { /* from now on PINs go in another form */
        o->kdf.known = false;
        openpgp_forget_pin(o);
        forget_admin(o);
    }
    openpgp_relearn(o);
out:
    gpgrt_free(name);
    buf_free(&value);
    return err;
}

/* --- CHANGEPIN ---------------------------------------------------------------------------------------------------------------------- */

/* Two PINs one behind the other, or one alone (OLD empty), as the card takes them. */
struct pins {
    struct rd old, fresh;
    enum pin_index old_index, fresh_index;
    uint8_t ins, p1, p2;
    unsigned tries; /* which counter a wrong old one costs; 3: none */
};

static gpg_error_t send_pins(struct openpgp *o, void *arg)
{
    const struct pins *p = arg;
    struct buf value = BUF_INIT_SECURE;
    struct apdu a = {.ins = p->ins, .p1 = p->p1, .p2 = p->p2, .secret = true};
    unsigned sw;
    gpg_error_t err = p->old.n > 0 ? openpgp_put_pin(o, p->old_index, p->old, &value) : 0;

    if (err == 0)
        err = openpgp_put_pin(o, p->fresh_index, p->fresh, &value);
    if (err == 0) {
        a.data = buf_rd(&value);
        err = apdu_send(&o->card, &a, NULL, &sw);
    }
    buf_free(&value);
    /* Sent again it could cost another try. */
    if (gpg_err_code(err) == GPG_ERR_CARD_RESET || gpg_err_code(err) == GPG_ERR_EAGAIN)
        return gpg_error(GPG_ERR_CARD);
    if (err != 0 || sw == 0x9000)
        return err;
    return p->old.n > 0 ? pin_refused(o, sw, p->tries) : apdu_error(sw);
}

/* What of scdaemon's PASSWD is which command (OpenPGP card 7.2.3, 7.2.4). */
static const struct change {
    int ref;
    bool reset;
    const char *old_ref; /* NULL: the admin PIN allows it */
    const char *new_ref;
    enum pin_index old_index, fresh_index;
    unsigned tries;
    uint8_t ins, p1, p2;
    int min;
} changes[] = {
    {1, false, "81", "81", PIN_PW1, PIN_PW1, 0, 0x24, 0x00, 0x81, 6},
    {3, false, "83", "83", PIN_PW3, PIN_PW3, 2, 0x24, 0x00, 0x83, 8},
    {2, false, "rc", "81", PIN_RC, PIN_PW1, 1, 0x2c, 0x00, 0x81, 6},
    {1, true, NULL, "81", PIN_PW1, PIN_PW1, 3, 0x2c, 0x02, 0x81, 6},
    {2, true, NULL, "rc", PIN_RC, PIN_RC, 3, 0xda, 0x00, 0xd3, 8},
};

gpg_error_t openpgp_changepin(void *state, struct driver_op *op, struct buf *result)
{
    struct openpgp *o = state;
    struct buf old = BUF_INIT_SECURE, fresh = BUF_INIT_SECURE;
    const struct change *c = NULL;
    struct pins p;
    long ref = 0, reset = 0;
    gpg_error_t err = field_get_int(op->args, "ref", 0, &ref);

    (void)result;
    if (err == 0)
        err = field_get_int(op->args, "reset", 0, &reset);
    for (size_t i = 0; err == 0 && i < sizeof changes / sizeof changes[0]; i++)
        if (changes[i].ref == ref && changes[i].reset == (reset != 0))
            c = &changes[i];
    if (err == 0 && c == NULL)
        err = gpg_error(GPG_ERR_INV_ID);
    if (err == 0)
        err = openpgp_learn_card(o, false, true);
    if (err == 0)
        err = read_tries(o);
    if (err == 0 && c->old_ref != NULL)
        err = ask(op, c->old_ref, o->tries[c->tries], false, false, 0, 0, &old);
    if (err == 0 && c->old_ref != NULL && old.len < 1)
        err = gpg_error(GPG_ERR_TOO_SHORT);
    if (err == 0)
        err =
            ask(op, c->new_ref, -1, false, true, c->min, o->max_pin > 0 ? o->max_pin : 127, &fresh);
    if (err == 0 && fresh.len < (size_t)c->min)
        err = gpg_error(GPG_ERR_TOO_SHORT);
    if (err != 0)
        goto out;
    if (c->old_ref != NULL)
        op->pin_typed = true;
    p = (struct pins){.old = buf_rd(&old),
                      .fresh = buf_rd(&fresh),
                      .old_index = c->old_index,
                      .fresh_index = c->fresh_index,
                      .ins = c->ins,
                      .p1 = c->p1,
                      .p2 = c->p2,
                      .tries = c->tries};
    if (c->old_ref == NULL)
        op->pin_typed = false; /* of the admin PIN nothing was said yet */
    err = openpgp_in_card(o, op, c->old_ref == NULL ? PW3_ADMIN : 0, send_pins, &p);
    openpgp_forget_pin(o);
    if (c->fresh_index == PIN_PW3)
        forget_admin(o);
    openpgp_relearn(o);
out:
    buf_free(&old);
    buf_free(&fresh);
    return err;
}

/* --- certificates -------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t get_certificate(struct openpgp *o, void *arg)
{
    gpg_error_t err = openpgp_get_data(o, 0x7f21, arg);

    return gpg_err_code(err) == GPG_ERR_NO_OBJ ? gpg_error(GPG_ERR_NOT_FOUND) : err;
}

/* Only the third, which every card with certificates has. */
static gpg_error_t check_certificate_ref(const struct driver_op *op)
{
    char *ref = NULL;
    gpg_error_t err = openpgp_arg(op, "ref", &ref);
    const char *dot = ref != NULL ? strrchr(ref, '.') : NULL;

    if (err == 0 && strcmp(dot != NULL ? dot + 1 : ref, "3") != 0)
        err = gpg_error(GPG_ERR_INV_ID);
    gpgrt_free(ref);
    return err;
}

gpg_error_t openpgp_readcert(void *state, struct driver_op *op, struct buf *result)
{
    gpg_error_t err = check_certificate_ref(op);

    if (err == 0)
        err = openpgp_learn_card(state, false, true);
    return err != 0 ? err : openpgp_in_card(state, op, 0, get_certificate, result);
}

static gpg_error_t put_certificate(struct openpgp *o, void *arg)
{
    return openpgp_put_data(o, 0x7f21, buf_rd(arg));
}

gpg_error_t openpgp_writecert(void *state, struct driver_op *op, struct buf *result)
{
    struct buf cert = BUF_INIT;
    gpg_error_t err = check_certificate_ref(op);

    (void)result;
    if (err == 0)
        err = op->io->inquire(op->io->arg, "VALUE", NULL, MAX_VALUE, false, &cert);
    if (err == 0)
        err = openpgp_learn_card(state, false, true);
    if (err == 0)
        err = openpgp_in_card(state, op, PW3_ADMIN, put_certificate, &cert);
    buf_free(&cert);
    return err;
}

/* --- factory reset ---------------------------------------------------------------------------------------------------------------------- */

/* TERMINATE DF wants the admin PIN or both PINs blocked (OpenPGP card 7.2.16): blocked they get by a PIN that is none. */
static gpg_error_t block(struct openpgp *o, uint8_t ref)
{
    uint8_t none[32] = {0};
    struct apdu a = {.ins = 0x20, .p2 = ref, .data = rd_of(none, sizeof none)};
    unsigned sw = 0;
    gpg_error_t err = 0;

    memset(none, 0x40, sizeof none);
    for (int i = 0; i < BLOCKING && err == 0 && sw != 0x6983 && sw != 0x63c0; i++)
        err = apdu_send(&o->card, &a, NULL, &sw);
    return err;
}

static gpg_error_t reset_card(struct openpgp *o, void *arg)
{
    static const uint8_t steps[] = {0xe6, 0x44}; /* TERMINATE DF, ACTIVATE FILE */
    unsigned sw = 0;
    gpg_error_t err;

    (void)arg;
    err = block(o, PW1_SIGN);
    if (err == 0)
        err = block(o, PW3_ADMIN);
    for (size_t i = 0; i < sizeof steps && err == 0; i++) {
        struct apdu a = {.ins = steps[i]};

        err = apdu_send(&o->card, &a, NULL, &sw);
        if (err == 0 && sw != 0x9000)
            err = apdu_error(sw);
    }
    return err;
}

gpg_error_t openpgp_factory_reset(void *state, struct driver_op *op, struct buf *result)
{
    struct openpgp *o = state;
    gpg_error_t err = openpgp_learn_card(o, false, true);

    (void)result;
    /* A card that was terminated is brought back by the same. */
    if (err != 0 && gpg_err_code(err) != GPG_ERR_OBJ_TERM_STATE)
        return err;
    err = openpgp_in_card(o, op, 0, reset_card, NULL);
    openpgp_forget_pin(o);
    forget_admin(o);
    o->kdf = (struct kdf){0};
    openpgp_lost_state(o);
    openpgp_relearn(o);
    return err;
}

/* --- APDU, RANDOM ------------------------------------------------------------------------------------------------------------------------- */

struct exchange {
    struct rd select, command;
    struct buf *out;
};

static gpg_error_t send_raw(struct openpgp *o, struct rd command, struct buf *out)
{
    struct buf answer = BUF_INIT;
    gpg_error_t err = o->card.transport->transmit(o->card.handle, command, &answer);

    if (err == 0 && out != NULL)
        buf_put_rd(out, buf_rd(&answer));
    buf_free(&answer);
    return err;
}

static gpg_error_t exchange(struct openpgp *o, void *arg)
{
    const struct exchange *x = arg;
    struct buf select = BUF_INIT;
    gpg_error_t err = 0;

    if (x->select.n > 0) {
        const uint8_t head[] = {0x00, 0xa4, 0x04, 0x00, (uint8_t)x->select.n};

        buf_put(&select, head, sizeof head);
        buf_put_rd(&select, x->select);
        err = buf_err(&select) != 0 ? buf_err(&select) : send_raw(o, buf_rd(&select), NULL);
    }
    buf_reset(x->out);
    if (err == 0)
        err = send_raw(o, x->command, x->out);
    /* Whatever application is selected now, our own comes first next time. */
    o->selected = false;
    o->doubted = true;
    o->verified[0] = o->verified[1] = false;
    buf_free(&select);
    return err != 0 ? err : buf_err(x->out);
}

/* SELECT by name and GET DATA (ISO 7816-4): what tells, and changes nothing. */
static bool is_harmless(struct rd c)
{
    if (c.n < 4 || (c.p[0] & 0x80) != 0)
        return false;
    return (c.p[1] == 0xa4 && c.p[2] == 0x04) || c.p[1] == 0xca || c.p[1] == 0xcb;
}

gpg_error_t openpgp_apdu(void *state, struct driver_op *op, struct buf *result)
{
    struct openpgp *o = state;
    struct buf command = BUF_INIT, select = BUF_INIT;
    struct exchange x = {.out = result};
    char *hex = NULL, *aid = NULL;
    long atr = 0;
    gpg_error_t err;

    if ((err = field_get(op->args, "hex", &hex)) != 0 ||
        (err = field_get(op->args, "select", &aid)) != 0 ||
        (err = field_get_int(op->args, "atr", 0, &atr)) != 0)
        goto out;
    if (atr != 0) {
        buf_put_rd(result, pcsc_atr(o->card.handle));
        goto out;
    }
    err = hex_decode(hex != NULL ? hex : "", &command);
    if (err == 0 && aid != NULL)
        err = hex_decode(aid, &select);
    if (err == 0 && select.len > 16)
        err = gpg_error(GPG_ERR_INV_LENGTH);
    if (err == 0 && !is_harmless(buf_rd(&command)))
        err = gpg_error(GPG_ERR_FORBIDDEN);
    if (err == 0) {
        x.command = buf_rd(&command);
        x.select = buf_rd(&select);
        err = openpgp_in_card(o, op, 0, exchange, &x);
    }
out:
    gpgrt_free(hex);
    gpgrt_free(aid);
    buf_free(&command);
    buf_free(&select);
    return err;
}

struct wanted {
    size_t n;
    struct buf *out;
};

static gpg_error_t get_challenge(struct openpgp *o, void *arg)
{
    const struct wanted *w = arg;
    gpg_error_t err = 0;

    buf_reset(w->out);
    while (err == 0 && w->out->len < w->n) {
        size_t piece = w->n - w->out->len < 32 ? w->n - w->out->len : 32, before = w->out->len;
        uint8_t command[] = {0x00, 0x84, 0x00, 0x00, (uint8_t)piece};
        struct buf answer = BUF_INIT;

        err = o->card.transport->transmit(o->card.handle, rd_of(command, sizeof command), &answer);
        if (err == 0 && (answer.len < 3 || answer.data[answer.len - 2] != 0x90))
            err = answer.len >= 2 ? apdu_error((unsigned)answer.data[answer.len - 2] << 8 |
                                               answer.data[answer.len - 1])
                                  : gpg_error(GPG_ERR_CARD);
        if (err == 0)
            buf_put(w->out, answer.data, answer.len - 2);
        buf_free(&answer);
        if (err == 0 && w->out->len == before)
            err = gpg_error(GPG_ERR_CARD);
    }
    return err;
}

gpg_error_t openpgp_random(void *state, struct driver_op *op, struct buf *result)
{
    struct wanted w = {.out = result};
    long n = 0;
    gpg_error_t err = field_get_int(op->args, "n", 0, &n);

    if (err == 0 && (n < 1 || n > (long)MAX_VALUE))
        err = gpg_error(GPG_ERR_INV_VALUE);
    w.n = (size_t)n;
    return err != 0 ? err : openpgp_in_card(state, op, 0, get_challenge, &w);
}
