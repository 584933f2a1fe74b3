/* PIN and PUK: changed, set anew, and blocked for a reset. Old and new ones are asked for while no transaction is open; one that was
 * refused is asked for again, never sent again. */
#include "devices/piv_admin.h"

#include "proto/token_protocol.h"

#include <string.h>

#define INS_CHANGE_REFERENCE 0x24
#define INS_RESET_RETRY      0x2c
#define INS_VERIFY           0x20
#define INS_RESET            0xfb
#define PUK                  0x81
#define MAX_TYPED            4
#define MAX_TRIES            255

struct change {
    uint8_t ins, ref;        /* of the command */
    uint8_t old_ref;         /* whose tries it costs */
    const char *old, *fresh; /* what to ask for (struct pin_request) */
    struct buf data;         /* secure: both, padded */
    int tries;               /* left of the old one; -1 not known */
};

static gpg_error_t read_tries(struct piv_admin *a)
{
    struct change *c = a->arg;
    struct piv_metadata m;
    struct buf data = BUF_INIT;
    bool verified;
    gpg_error_t err = 0;

    if (c->old_ref != PUK) {
        err = piv_query_pin(a->p, &verified);
        c->tries = a->p->tries;
    } else if (a->p->has_metadata && (err = piv_get_metadata(a->p, PUK, &data, &m)) == 0) {
        c->tries = m.left;
    }
    buf_free(&data);
    return err;
}

static gpg_error_t change(struct piv_admin *a)
{
    struct change *c = a->arg;
    struct apdu cmd = {.ins = c->ins, .p2 = c->ref, .data = buf_rd(&c->data), .secret = true};
    unsigned sw;
    gpg_error_t err;

    a->changed = true;
    err = piv_send(a->p, &cmd, NULL, &sw);
    if (err != 0 || sw == 0x9000)
        return err;
    a->changed = false;
    if (sw == 0x6985 || sw == 0x6a80 || sw == 0x6700)
        return gpg_error(GPG_ERR_USE_CONDITIONS); /* the new one is not to its liking */
    err = piv_pin_error(a->p, sw, &c->tries);
    if (c->old_ref != PUK && c->tries >= 0)
        a->p->tries = c->tries;
    return err;
}

static gpg_error_t ask(struct piv_admin *a, const char *ref, int tries, bool fresh, bool wrong,
                       struct buf *data)
{
    const struct driver_io *io = a->op->io;
    struct pin_request q = {.ref = ref,
                            .tries = fresh ? -1 : tries,
                            .fresh = fresh,
                            .wrong = wrong,
                            .min = PIV_PIN_MIN,
                            .max = PIV_PIN_LEN};
    struct buf pin = BUF_INIT_SECURE;
    gpg_error_t err = io->ask_pin(io->arg, &q, &pin);

    if (err == 0)
        err = piv_pad(buf_rd(&pin), data);
    if (err == 0 && !fresh)
        a->op->pin_typed = true;
    buf_free(&pin);
    return err;
}

static gpg_error_t run_change(struct piv_admin *a, struct change *c)
{
    bool wrong = false, disliked = false;
    gpg_error_t err;

    a->arg = c;
    c->tries = -1;
    c->data = BUF_INIT_SECURE;
    for (int i = 0; i < MAX_TYPED; i++) {
        a->run = read_tries;
        err = piv_admin_run(a);
        if (err == 0 && c->tries == 0)
            err = gpg_error(GPG_ERR_PIN_BLOCKED);
        buf_reset(&c->data);
        if (err == 0)
            err = ask(a, c->old, c->tries, false, wrong, &c->data);
        if (err == 0)
            err = ask(a, c->fresh, -1, true, disliked, &c->data);
        if (err != 0)
            break;
        a->run = change;
        err = piv_admin_run(a);
        wrong = gpg_err_code(err) == GPG_ERR_BAD_PIN;
        disliked = gpg_err_code(err) == GPG_ERR_USE_CONDITIONS;
        if (!wrong && !disliked)
            break;
    }
    buf_free(&c->data);
    /* Whatever was held is another one now. */
    if (err == 0 && c->ref != PUK)
        held_pin_forget(&a->p->user);
    return err;
}

gpg_error_t piv_admin_change_pin(void *state, struct driver_op *op, struct buf *result)
{
    struct piv_admin a = {.p = state, .op = op};
    struct change c = {.ins = INS_CHANGE_REFERENCE};
    char *ref = NULL;
    gpg_error_t err = field_get(op->args, "ref", &ref);

    (void)result;
    if (err == 0 && (ref == NULL || (strcmp(ref, "pin") != 0 && strcmp(ref, "puk") != 0)))
        err = gpg_error(GPG_ERR_INV_ID);
    if (err == 0)
        err = piv_learn_card(a.p, false);
    if (err == 0) {
        bool puk = strcmp(ref, "puk") == 0;

        c.ref = c.old_ref = puk ? PUK : piv_pin_ref(a.p);
        c.old = c.fresh = puk ? "piv-puk" : "piv";
        err = run_change(&a, &c);
    }
    gpgrt_free(ref);
    return err;
}

gpg_error_t piv_admin_unblock(void *state, struct driver_op *op, struct buf *result)
{
    struct piv_admin a = {.p = state, .op = op};
    struct change c = {.ins = INS_RESET_RETRY, .old_ref = PUK, .old = "piv-puk", .fresh = "piv"};
    gpg_error_t err = piv_learn_card(a.p, false);

    (void)result;
    if (err != 0)
        return err;
    c.ref = piv_pin_ref(a.p);
    return run_change(&a, &c);
}

/* --- reset ---------------------------------------------------------------------------------------------------------- */

/* Wrong ones until none is left: the person agreed to that. */
static gpg_error_t block(struct piv_admin *a, uint8_t ins, uint8_t ref)
{
    uint8_t wrong[2 * PIV_PIN_LEN];
    struct apdu c = {.ins = ins, .p2 = ref, .secret = true};
    unsigned sw = 0;

    for (int i = 0; i < MAX_TRIES; i++) {
        gpg_error_t err;

        /* Digits, and random ones, so that it is not somebody's PIN each time. */
        gcry_create_nonce(wrong, sizeof wrong);
        for (size_t k = 0; k < sizeof wrong; k++)
            wrong[k] = (uint8_t)('0' + wrong[k] % 10);
        c.data = rd_of(wrong, ins == INS_VERIFY ? PIV_PIN_LEN : sizeof wrong);
        a->changed = true;
        err = piv_send(a->p, &c, NULL, &sw);
        if (err != 0)
            return err;
        if (sw == 0x6983)
            return 0;
        if (sw != 0x9000 && (sw & 0xff00) != 0x6300)
            return apdu_error(sw);
    }
    return gpg_error(GPG_ERR_CARD);
}

static gpg_error_t reset(struct piv_admin *a)
{
    struct apdu c = {.ins = INS_RESET};
    gpg_error_t err = block(a, INS_VERIFY, 0x80);

    if (err == 0)
        err = block(a, INS_RESET_RETRY, 0x80);
    return err != 0 ? err : piv_admin_command(a, &c, NULL);
}

gpg_error_t piv_admin_reset(void *state, struct driver_op *op, struct buf *result)
{
    struct piv_admin a = {.p = state, .op = op, .run = reset};
    gpg_error_t err = piv_learn_card(a.p, false);

    (void)result;
    /* A plain card could only be blocked for good. */
    if (err == 0 && a.p->version[0] == 0)
        err = gpg_error(GPG_ERR_NOT_SUPPORTED);
    if (err == 0)
        err = piv_admin_run(&a);
    held_pin_forget(&a.p->user);
    return err;
}
