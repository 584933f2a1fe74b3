/* The frame of all that manages a card. */
#include "devices/openpgp_admin.h"

#include "proto/token_protocol.h"

#include <string.h>
#include <time.h>

#define MAX_ROUNDS 8
#define AGAIN_MS   50
#define SHORTEST   6 /* no card has a PIN that is shorter: 4.3.1 of the specification */

const uint8_t admin_crt[NSLOTS][2] = {{0xb6, 0x00}, {0xb8, 0x00}, {0xa4, 0x00}};

gpg_error_t admin_slot(const struct driver_op *op, unsigned *i)
{
    for (unsigned k = 0; op->key_id != NULL && k < NSLOTS; k++)
        if (strcmp(openpgp_slot_ids[k], op->key_id) == 0) {
            *i = k;
            return 0;
        }
    return gpg_error(GPG_ERR_INV_ID);
}

gpg_error_t admin_command(struct admin *a, struct apdu *c, struct buf *answer)
{
    unsigned sw;
    gpg_error_t err;

    a->changed = true;
    err = apdu_send(&a->o->card, c, answer, &sw);
    if (err == 0 && answer != NULL)
        err = buf_err(answer);
    return err != 0 ? err : apdu_error(sw);
}

gpg_error_t admin_put_data(struct admin *a, unsigned tag, struct rd value)
{
    struct apdu c = {
        .ins = 0xda, .p1 = (uint8_t)(tag >> 8), .p2 = (uint8_t)tag, .data = value, .secret = true};

    return admin_command(a, &c, NULL);
}

/* What was typed cannot be right, whoever's card it is: it does not go there, and costs no try. */
static bool impossible(const struct admin *a)
{
    size_t n = a->o->admin.pin.len;
    int max = a->o->max_pin[PASSWORD_PW3];

    return a->ref == PW3_ADMIN && (n < SHORTEST || (max > 0 && n > (size_t)max));
}

static bool has_pin(const struct admin *a)
{
    return openpgp_pin_serves(a->o, a->ref, a->op->pin_age) ||
           (a->op->pin_typed && openpgp_held(a->o, a->ref)->pin.len > 0);
}

static gpg_error_t verify(struct admin *a)
{
    bool was_good = openpgp_held(a->o, a->ref)->good && !a->op->pin_typed;
    gpg_error_t err = openpgp_verify_held(a->o, a->ref);

    if (err == 0 && was_good)
        a->op->pin_cached = true;
    return err;
}

/* SELECT comes first even where nobody interfered: what changes a card is rare, and must meet its application. */
static gpg_error_t in_transaction(struct admin *a, bool *wants_pin)
{
    gpg_error_t err = a->ref != 0 ? openpgp_reselect(a->o) : openpgp_enter(a->o);

    *wants_pin = false;
    if (err == 0 && a->ref != 0 && openpgp_asks_itself(a->o)) {
        err = openpgp_verify_on_device(a->o, a->op, a->ref);
        return err == 0 && a->run != NULL ? a->run(a) : err;
    }
    if (err == 0 && a->ref != 0 && !has_pin(a)) {
        *wants_pin = true;
        return openpgp_read_tries(a->o);
    }
    if (err == 0 && a->ref != 0)
        err = verify(a);
    return err == 0 && a->run != NULL ? a->run(a) : err;
}

/* Keys are read anew where they look different. What goes wrong here is found by the next who learns. */
static void catch_up(struct openpgp *o)
{
    gpg_error_t err = openpgp_refresh(o);

    if (err == 0)
        err = openpgp_read_keys(o, false);
    if (err != 0) {
        gpgrt_log_info("%s: a changed card is to be read anew: %s\n", o->reader, gpg_strerror(err));
        o->learned = false;
    }
}

static bool is_gone(gpg_error_t err)
{
    return gpg_err_code(err) == GPG_ERR_CARD_REMOVED || gpg_err_code(err) == GPG_ERR_ENODEV;
}

static bool is_lost(gpg_error_t err)
{
    return gpg_err_code(err) == GPG_ERR_CARD_RESET || gpg_err_code(err) == GPG_ERR_EAGAIN;
}

/* Only PW1 may stay verified, where the owner has it so. */
static void leave(struct admin *a, gpg_error_t err)
{
    struct openpgp *o = a->o;
    bool reset = false;

    if (a->changed && !is_gone(err) && !is_lost(err))
        catch_up(o);
    if (!is_gone(err) && (a->op->drop || o->verified[2]))
        openpgp_unverify(o, &reset);
    openpgp_end(o, reset);
    if (is_lost(err))
        openpgp_lost_state(o);
}

gpg_error_t admin_run(struct admin *a)
{
    struct openpgp *o = a->o;
    const struct timespec moment = {.tv_nsec = AGAIN_MS * 1000000L};
    bool wrong = false, wants_pin = false;
    gpg_error_t err = openpgp_learn_card(o, false, true);

    for (int round = 0; err == 0 && round < MAX_ROUNDS; round++) {
        if (a->op->io->canceled(a->op->io->arg))
            return gpg_error(GPG_ERR_CANCELED);
        err = openpgp_begin(o);
        if (err != 0)
            return err;
        err = in_transaction(a, &wants_pin);
        leave(a, err);
        if (err == 0 && !wants_pin)
            return 0;
        if (err == 0) {
            do {
                err = openpgp_ask_pin(o, a->op, a->ref, wrong);
                wrong = true;
            } while (err == 0 && impossible(a));
            continue;
        }
        if (is_lost(err) && !a->changed) {
            nanosleep(&moment, NULL);
            err = 0;
        } else if (gpg_err_code(err) == GPG_ERR_BAD_PIN && a->ref != 0 && !a->changed &&
                   !openpgp_asks_itself(o) && openpgp_held(o, a->ref)->pin.len == 0) {
            /* The PIN that was sent is forgotten: the person may type another one. */
            wrong = true;
            a->op->pin_typed = a->op->pin_cached = false;
            err = 0;
        }
    }
    return err != 0 ? err : gpg_error(GPG_ERR_CARD);
}

gpg_error_t openpgp_verify_admin(struct openpgp *o, struct driver_op *op)
{
    struct admin a = {.o = o, .op = op, .ref = PW3_ADMIN};

    return admin_run(&a);
}

const struct driver_verb openpgp_verbs[] = {{TOKEN_VERB_GETATTR, admin_getattr},
                                            {TOKEN_VERB_SETATTR, admin_setattr},
                                            {TOKEN_VERB_CHANGEPIN, admin_change_pin},
                                            {TOKEN_VERB_GENERATE, admin_generate},
                                            {TOKEN_VERB_WRITEKEY, admin_write_key},
                                            {TOKEN_VERB_READCERT, admin_read_cert},
                                            {TOKEN_VERB_WRITECERT, admin_write_cert},
                                            {TOKEN_VERB_RESET, admin_reset},
                                            {TOKEN_VERB_APDU, admin_apdu},
                                            {TOKEN_VERB_RANDOM, admin_random},
                                            {NULL, NULL}};
