/* RESET, APDU, RANDOM. */
#include "devices/openpgp_admin.h"

#include "proto/token_protocol.h"

#include <string.h>

/* --- RESET ------------------------------------------------------------------------------------------------------------------------------ */

/* No counter counts further. */
#define MAX_TRIES 16

enum life_cycle { INITIALISED = 3, OPERATIONAL = 5 };

/* Uses up what is left of a PIN's tries, as gpg does: TERMINATE wants both PINs blocked, or PW3, which whoever resets a card has
 * forgotten. This is the one place where a wrong PIN goes to a card on purpose. */
static gpg_error_t block(struct admin *a, uint8_t ref, enum password which)
{
    uint8_t wrong[32];
    struct apdu c = {.ins = 0x20, .p2 = ref, .data = rd_of(wrong, sizeof wrong)};
    struct openpgp *o = a->o;
    unsigned sw;
    gpg_error_t err = openpgp_read_tries(o);

    memset(wrong, '@', sizeof wrong);
    for (int i = 0; err == 0 && o->tries[which] > 0 && i < MAX_TRIES; i++) {
        err = apdu_send(&o->card, &c, NULL, &sw);
        if (err == 0)
            err = openpgp_read_tries(o);
    }
    return err == 0 && o->tries[which] > 0 ? gpg_error(GPG_ERR_CARD) : err;
}

static gpg_error_t activate(struct admin *a)
{
    struct apdu c = {.ins = 0x44};
    gpg_error_t err = admin_command(a, &c, NULL);

    if (err != 0 && gpg_err_code(err) != GPG_ERR_CARD_REMOVED) {
        gpg_error_t selected = openpgp_select(a->o);

        /* Some have to be selected anew in between. */
        if (selected == 0 || gpg_err_code(selected) == GPG_ERR_OBJ_TERM_STATE)
            err = admin_command(a, &c, NULL);
    }
    return err;
}

static gpg_error_t terminate(struct admin *a)
{
    struct apdu c = {.ins = 0xe6};
    gpg_error_t err;

    a->changed = true;
    err = block(a, PW1_SIGN, PASSWORD_PW1);
    if (err == 0)
        err = block(a, PW3_ADMIN, PASSWORD_PW3);
    return err != 0 ? err : admin_command(a, &c, NULL);
}

static gpg_error_t reset(struct admin *a)
{
    struct openpgp *o = a->o;
    gpg_error_t err;

    /* A card that cannot be brought back must not be blocked. */
    if (o->can.life_cycle != INITIALISED && o->can.life_cycle != OPERATIONAL)
        return gpg_error(GPG_ERR_UNSUPPORTED_OPERATION);
    err = terminate(a);
    if (err == 0)
        err = activate(a);
    if (err == 0)
        err = openpgp_select(o);
    o->kdf.known = false;
    for (unsigned i = 0; i < NSLOTS; i++) {
        key_unref(o->slots[i].key);
        o->slots[i].key = NULL;
        o->slots[i].unread = true;
    }
    return err;
}

/* Somebody terminated it and left it so: nothing can be learned of it before. */
static gpg_error_t revive(struct admin *a)
{
    gpg_error_t err = openpgp_begin(a->o);

    if (err != 0)
        return err;
    err = openpgp_select(a->o);
    if (err == 0 || gpg_err_code(err) == GPG_ERR_OBJ_TERM_STATE)
        err = activate(a);
    openpgp_lost_state(a->o);
    openpgp_end(a->o, false);
    return err != 0 ? err : openpgp_learn_card(a->o, true, false);
}

gpg_error_t admin_reset(void *state, struct driver_op *op, struct buf *result)
{
    struct openpgp *o = state;
    struct admin a = {.o = o, .op = op, .run = reset};
    gpg_error_t err;

    (void)result;
    held_pin_forget(&o->user);
    held_pin_forget(&o->admin);
    err = openpgp_learn_card(o, true, true);
    if (gpg_err_code(err) == GPG_ERR_OBJ_TERM_STATE)
        return revive(&a);
    return err != 0 ? err : admin_run(&a);
}

/* --- APDU ------------------------------------------------------------------------------------------------------------------------------- */

#define MAX_APDU 4096u

/* Cases 1 to 4, short and extended (ISO 7816-4 5.1). What the answer's length is to be does not matter: all of it comes. */
static gpg_error_t parse_apdu(struct rd r, struct apdu *c)
{
    uint8_t n;
    uint16_t len;

    *c = (struct apdu){.want_data = true};
    if (rd_u8(&r, &c->cla) != 0 || rd_u8(&r, &c->ins) != 0 || rd_u8(&r, &c->p1) != 0 ||
        rd_u8(&r, &c->p2) != 0)
        return gpg_error(GPG_ERR_INV_VALUE);
    if (r.n <= 1)
        return 0;
    (void)rd_u8(&r, &n);
    if (n != 0)
        return rd_bytes(&r, n, &c->data) == 0 && r.n <= 1 ? 0 : gpg_error(GPG_ERR_INV_VALUE);
    if (rd_u16(&r, &len) != 0)
        return gpg_error(GPG_ERR_INV_VALUE);
    if (r.n == 0)
        return 0;
    return rd_bytes(&r, len, &c->data) == 0 && (r.n == 0 || r.n == 2)
               ? 0
               : gpg_error(GPG_ERR_INV_VALUE);
}

/* SELECT by name; GET DATA, GET NEXT DATA. Promise 12 of the design. */
static bool is_allowed(const struct apdu *c)
{
    if (c->cla != 0)
        return false;
    return (c->ins == 0xa4 && c->p1 == 0x04) || (c->ins >= 0xca && c->ins <= 0xcc);
}

struct raw {
    struct apdu command;
    struct rd
        select; /* what the client believes to have selected; empty: its command is SELECT itself */
    bool some;  /* there is a command */
};

static gpg_error_t send_raw(struct openpgp *o, const struct raw *r, struct buf *result)
{
    struct apdu select = {.ins = 0xa4, .p1 = 0x04, .data = r->select, .want_data = true};
    unsigned sw = 0x9000;
    gpg_error_t err = r->select.n > 0 ? apdu_send(&o->card, &select, NULL, &sw) : 0;

    if (err == 0 && sw == 0x9000)
        err = apdu_send(&o->card, &r->command, result, &sw);
    buf_put_u16(result, (uint16_t)sw);
    return err != 0 ? err : buf_err(result);
}

/* A client never meets a PIN that we verified, and leaves nothing selected of which we do not know. */
static gpg_error_t run_raw(struct openpgp *o, const struct raw *r, struct buf *result)
{
    bool by_reset = false;
    gpg_error_t err = openpgp_begin(o);

    if (err == 0 && (o->verified[0] || o->verified[1] || o->verified[2])) {
        openpgp_unverify(o, &by_reset);
        if (by_reset) {
            openpgp_end(o, true);
            err = openpgp_begin(o);
        }
    }
    if (err != 0)
        return err;
    err = send_raw(o, r, result);
    o->selected = false;
    o->verified[0] = o->verified[1] = o->verified[2] = false;
    openpgp_end(o, false);
    if (gpg_err_code(err) == GPG_ERR_CARD_RESET || gpg_err_code(err) == GPG_ERR_EAGAIN)
        openpgp_lost_state(o);
    return err;
}

static gpg_error_t read_hex(const char *line, const char *name, struct buf *out)
{
    char *hex = NULL;
    gpg_error_t err = field_get(line, name, &hex);

    if (err == 0 && hex != NULL)
        err = strlen(hex) > 2 * MAX_APDU ? gpg_error(GPG_ERR_TOO_LARGE) : hex_decode(hex, out);
    gpgrt_free(hex);
    return err;
}

static gpg_error_t tell_atr(const struct openpgp *o, struct driver_op *op)
{
    struct buf f = BUF_INIT;
    char *hex = hex_encode(o->atr.p, o->atr.n);
    gpg_error_t err;

    field_put(&f, "name", "CARD-ATR");
    field_put(&f, "text", hex != NULL ? hex : "");
    err = buf_cstr(&f) != NULL ? op->io->status(op->io->arg, TOKEN_STATUS_ATTR, buf_cstr(&f))
                               : gpg_error(GPG_ERR_ENOMEM);
    buf_free(&f);
    gpgrt_free(hex);
    return err;
}

gpg_error_t admin_apdu(void *state, struct driver_op *op, struct buf *result)
{
    struct openpgp *o = state;
    struct buf hex = BUF_INIT, select = BUF_INIT;
    struct raw r = {.some = false};
    long atr = 0;
    gpg_error_t err = read_hex(op->args, "hex", &hex);

    if (err == 0)
        err = read_hex(op->args, "select", &select);
    if (err == 0)
        err = field_get_int(op->args, "atr", 0, &atr);
    if (err == 0 && hex.len > 0) {
        r.some = true;
        err = parse_apdu(buf_rd(&hex), &r.command);
    }
    if (err == 0 && r.some && !is_allowed(&r.command))
        err = gpg_error(GPG_ERR_FORBIDDEN);
    if (err == 0 && (select.len > 16 || (r.some && r.command.ins != 0xa4 && select.len == 0)))
        err = gpg_error(GPG_ERR_INV_VALUE);
    if (err == 0 && atr != 0)
        err = tell_atr(o, op);
    if (err == 0 && r.some) {
        r.select = buf_rd(&select);
        err = run_raw(o, &r, result);
    }
    buf_free(&hex);
    buf_free(&select);
    return err;
}

/* --- RANDOM ----------------------------------------------------------------------------------------------------------------------------- */

#define MAX_RANDOM 4096

static gpg_error_t get_random(struct admin *a)
{
    struct openpgp *o = a->o;
    size_t n = (size_t) * (const long *)a->arg, at_once = o->can.max_challenge;
    gpg_error_t err = 0;

    if (!o->can.challenge)
        return gpg_error(GPG_ERR_UNSUPPORTED_OPERATION);
    if (at_once == 0 || at_once > 255)
        at_once = 255;
    buf_reset(a->result);
    while (err == 0 && a->result->len < n) {
        size_t left = n - a->result->len, before = a->result->len;
        struct apdu c = {
            .ins = 0x84, .want_data = true, .le = (uint8_t)(left < at_once ? left : at_once)};
        unsigned sw;

        err = apdu_send(&o->card, &c, a->result, &sw);
        if (err == 0)
            err = apdu_error(sw);
        if (err == 0 && (a->result->len == before || a->result->len > n))
            err = gpg_error(GPG_ERR_CARD);
    }
    return err;
}

gpg_error_t admin_random(void *state, struct driver_op *op, struct buf *result)
{
    long n = 0;
    struct admin a = {.o = state, .op = op, .run = get_random, .arg = &n, .result = result};
    gpg_error_t err = field_get_int(op->args, "n", 0, &n);

    if (err == 0 && (n < 1 || n > MAX_RANDOM))
        err = gpg_error(GPG_ERR_INV_VALUE);
    return err != 0 ? err : admin_run(&a);
}
