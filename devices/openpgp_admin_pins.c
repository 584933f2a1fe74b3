/* CHANGEPIN and the KDF-DO: new PINs. Old and new ones are asked for while no transaction is open; an old one that was refused
 * is asked for again, by the same rules as any other PIN. */
#include "devices/openpgp_admin.h"

#include "proto/token_protocol.h"

#include <string.h>

/* 4.3 of the specification; what a card wants beyond that it says itself. */
static const int min_length[NPASSWORDS] = {6, 8, 8};
/* Old ones: Gnuk's PW1 may open what is PW3's. */
static const int min_old[NPASSWORDS] = {6, 8, 6};
static const char *const refs[NPASSWORDS] = {"82", "rc", "83"};

static const char default_pw1[] = "123456", default_pw3[] = "12345678";

/* CHANGE REFERENCE DATA, RESET RETRY COUNTER (by PW3, by the reset code), PUT DATA of the reset code. */
enum how { BY_ITSELF, BY_PW3, BY_RC, SET_RC };

struct change {
    enum how how;
    enum password old_is, new_is;
    struct buf old, fresh; /* as typed */
};

static gpg_error_t put_value(struct openpgp *o, enum password which, const struct buf *pin,
                             struct buf *data)
{
    return openpgp_pin_value(o, which, buf_rd(pin), data);
}

/* Nothing was changed. Is it the old one that was wrong, or is the new one not to the card's liking? */
static gpg_error_t refused(struct admin *a, const struct change *c, int before, unsigned sw)
{
    struct openpgp *o = a->o;
    gpg_error_t err = openpgp_read_tries(o);

    a->changed = false;
    if (err != 0)
        return err;
    if (c->how == BY_PW3 || c->how == SET_RC || o->tries[c->old_is] == before)
        switch (sw) {
        case 0x6700:
            return gpg_error(GPG_ERR_INV_LENGTH);
        case 0x6a80:
        case 0x6985:
            return gpg_error(GPG_ERR_USE_CONDITIONS);
        default:
            break;
        }
    return openpgp_pin_refused(o, c->old_is, sw);
}

static gpg_error_t change(struct admin *a)
{
    const struct change *c = a->arg;
    struct openpgp *o = a->o;
    struct buf data = BUF_INIT_SECURE;
    struct apdu cmd = {.secret = true};
    int before;
    unsigned sw;
    gpg_error_t err = openpgp_read_tries(o);

    before = o->tries[c->old_is];
    if (err == 0 && (c->how == BY_ITSELF || c->how == BY_RC)) {
        if (before == 0)
            err = gpg_error(GPG_ERR_PIN_BLOCKED);
        if (err == 0)
            err = put_value(o, c->old_is, &c->old, &data);
    }
    if (err == 0)
        err = put_value(o, c->new_is, &c->fresh, &data);
    if (err == 0) {
        cmd.data = buf_rd(&data);
        cmd.ins = c->how == BY_ITSELF ? 0x24 : c->how == SET_RC ? 0xda : 0x2c;
        cmd.p1 = c->how == BY_PW3 ? 0x02 : 0x00;
        cmd.p2 = c->how == SET_RC ? 0xd3 : c->new_is == PASSWORD_PW3 ? 0x83 : 0x81;
        a->changed = true;
        err = apdu_send(&o->card, &cmd, NULL, &sw);
        if (err == 0 && sw != 0x9000)
            err = refused(a, c, before, sw);
    }
    buf_free(&data);
    return err;
}

/* --- asking ------------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t ask(const struct admin *a, enum password which, bool fresh, bool wrong,
                       struct buf *pin)
{
    const struct openpgp *o = a->o;
    struct pin_request q = {.ref = refs[which],
                            .tries = fresh ? -1 : o->tries[which],
                            .wrong = wrong,
                            .fresh = fresh,
                            .min = fresh ? min_length[which] : 0,
                            .max = o->max_pin[which]};

    buf_free(pin);
    *pin = BUF_INIT_SECURE;
    return a->op->io->ask_pin(a->op->io->arg, &q, pin);
}

static gpg_error_t ask_new(const struct admin *a, struct change *c)
{
    int max = a->o->max_pin[c->new_is];
    gpg_error_t err = ask(a, c->new_is, true, false, &c->fresh);

    if (err == 0 && c->fresh.len < (size_t)min_length[c->new_is])
        err = gpg_error(GPG_ERR_TOO_SHORT);
    if (err == 0 && max > 0 && c->fresh.len > (size_t)max)
        err = gpg_error(GPG_ERR_TOO_LARGE);
    return err;
}

/* One that cannot be right for its length does not go to the card. */
static gpg_error_t ask_old(const struct admin *a, struct change *c, bool wrong)
{
    int tries = a->o->tries[c->old_is], max = a->o->max_pin[c->old_is];
    gpg_error_t err = 0;

    if (tries == 0)
        return gpg_error(GPG_ERR_PIN_BLOCKED);
    do {
        err = ask(a, c->old_is, false, wrong, &c->old);
        wrong = true;
    } while (err == 0 &&
             (c->old.len < (size_t)min_old[c->old_is] || (max > 0 && c->old.len > (size_t)max)));
    return err;
}

static gpg_error_t read_tries(struct admin *a)
{
    return openpgp_read_tries(a->o);
}

static gpg_error_t change_by_old(struct admin *a, struct change *c)
{
    bool wrong = false;
    gpg_error_t err;

    a->run = read_tries;
    err = admin_run(a);
    a->run = change;
    while (err == 0) {
        err = ask_old(a, c, wrong);
        if (err == 0 && c->fresh.len == 0)
            err = ask_new(a, c);
        if (err != 0)
            break;
        a->changed = false;
        err = admin_run(a);
        if (gpg_err_code(err) != GPG_ERR_BAD_PIN)
            break;
        wrong = true;
        err = 0;
    }
    return err;
}

/* The admin PIN is proven before the person is troubled for a new one. */
static gpg_error_t change_by_admin(struct admin *a, struct change *c)
{
    gpg_error_t err;

    a->ref = PW3_ADMIN;
    err = admin_run(a);
    if (err == 0)
        err = ask_new(a, c);
    if (err == 0) {
        a->run = change;
        err = admin_run(a);
    }
    return err;
}

static gpg_error_t parse(const struct driver_op *op, struct change *c)
{
    static const struct {
        long ref, reset;
        enum how how;
        enum password old_is, new_is;
    } known[] = {{1, 0, BY_ITSELF, PASSWORD_PW1, PASSWORD_PW1},
                 {2, 0, BY_RC, PASSWORD_RC, PASSWORD_PW1},
                 {3, 0, BY_ITSELF, PASSWORD_PW3, PASSWORD_PW3},
                 {1, 1, BY_PW3, PASSWORD_PW3, PASSWORD_PW1},
                 {2, 1, SET_RC, PASSWORD_PW3, PASSWORD_RC}};
    long ref, reset;
    gpg_error_t err = field_get_int(op->args, "ref", 0, &ref);

    if (err == 0)
        err = field_get_int(op->args, "reset", 0, &reset);
    if (err != 0)
        return err;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].ref == ref && known[i].reset == (reset != 0)) {
            *c = (struct change){.how = known[i].how,
                                 .old_is = known[i].old_is,
                                 .new_is = known[i].new_is,
                                 .old = BUF_INIT_SECURE,
                                 .fresh = BUF_INIT_SECURE};
            return 0;
        }
    return gpg_error(GPG_ERR_INV_ID);
}

gpg_error_t admin_change_pin(void *state, struct driver_op *op, struct buf *result)
{
    struct openpgp *o = state;
    struct change c;
    struct admin a = {.o = o, .op = op, .arg = &c};
    gpg_error_t err = parse(op, &c);

    (void)result;
    if (err == 0)
        err = openpgp_learn_card(o, false, true);
    if (err != 0)
        return err;
    /* Whatever comes of it, what is held may be the old one. */
    if (c.new_is == PASSWORD_PW3)
        held_pin_forget(&o->admin);
    if (c.new_is == PASSWORD_PW1)
        held_pin_forget(&o->user);
    err = c.how == BY_PW3 || c.how == SET_RC ? change_by_admin(&a, &c) : change_by_old(&a, &c);
    buf_free(&c.old);
    buf_free(&c.fresh);
    return err;
}

/* --- KDF-DO ------------------------------------------------------------------------------------------------------------------------- */

/* What becomes of PW1 and PW3 with VALUE: the hashes in it, or the plain default PINs. */
static gpg_error_t initial_pins(struct rd value, const struct kdf *k, struct rd *pw1,
                                struct rd *pw3)
{
    size_t n = k->active ? gcry_md_get_algo_dlen(k->hash) : 0;

    if (!k->active) {
        *pw1 = rd_of(default_pw1, strlen(default_pw1));
        *pw3 = rd_of(default_pw3, strlen(default_pw3));
        return 0;
    }
    if (rd_tlv_find(value, 0x87, pw1) != 0 || rd_tlv_find(value, 0x88, pw3) != 0 || pw1->n != n ||
        pw3->n != n)
        return gpg_error(GPG_ERR_INV_OBJ);
    return 0;
}

static gpg_error_t change_pw3(struct admin *a, struct rd old, struct rd fresh)
{
    struct buf data = BUF_INIT_SECURE;
    struct apdu c = {.ins = 0x24, .p2 = PW3_ADMIN, .secret = true};
    gpg_error_t err;

    buf_put_rd(&data, old);
    buf_put_rd(&data, fresh);
    err = buf_err(&data);
    c.data = buf_rd(&data);
    if (err == 0)
        err = admin_command(a, &c, NULL);
    buf_free(&data);
    return err;
}

static gpg_error_t verify_pw3(struct admin *a, struct rd value)
{
    struct apdu c = {.ins = 0x20, .p2 = PW3_ADMIN, .data = value, .secret = true};
    gpg_error_t err = admin_command(a, &c, NULL);

    a->o->verified[2] = err == 0;
    return err;
}

static gpg_error_t reset_pw1(struct admin *a, struct rd value)
{
    struct apdu c = {.ins = 0x2c, .p1 = 0x02, .p2 = PW1_SIGN, .data = value, .secret = true};

    return admin_command(a, &c, NULL);
}

static gpg_error_t set_all(struct admin *a, struct rd pw1, struct rd pw3, struct rd value)
{
    gpg_error_t err = verify_pw3(a, pw3);

    if (err == 0)
        err = reset_pw1(a, pw1);
    if (err == 0)
        err = admin_put_data(a, 0xd3, rd_of(NULL, 0));
    return err != 0 ? err : admin_put_data(a, 0xf9, value);
}

/* The order is scdaemon's: some cards set the PINs with the object, some leave that to the host. A card that takes the PINs but
 * not the object would be left with PINs that nobody can type: then they are put back, PW1 as the default one. */
gpg_error_t admin_set_kdf(struct admin *a, struct rd value)
{
    struct openpgp *o = a->o;
    struct buf old = BUF_INIT_SECURE, default_value = BUF_INIT_SECURE;
    struct kdf k;
    struct rd pw1, pw3;
    gpg_error_t err = openpgp_parse_kdf(value, &k);

    if (err == 0)
        err = initial_pins(value, &k, &pw1, &pw3);
    if (err == 0)
        err = openpgp_pin_value(o, PASSWORD_PW3, buf_rd(&o->admin.pin), &old);
    if (err == 0)
        err = openpgp_pin_value(o, PASSWORD_PW1, rd_of(default_pw1, strlen(default_pw1)),
                                &default_value);
    if (err == 0)
        err = change_pw3(a, buf_rd(&old), pw3);
    if (err != 0)
        goto out;
    err = set_all(a, pw1, pw3, value);
    if (err != 0) {
        if (change_pw3(a, pw3, buf_rd(&old)) == 0 && verify_pw3(a, buf_rd(&old)) == 0)
            (void)reset_pw1(a, buf_rd(&default_value));
        gpgrt_log_error("%s: the card does not take this KDF: %s; its PIN is now the factory's, "
                        "%s\n",
                        o->reader, gpg_strerror(err), default_pw1);
    } else {
        held_pin_forget(&o->admin);
    }
    held_pin_forget(&o->user);
    o->kdf.known = false;
out:
    buf_free(&old);
    buf_free(&default_value);
    return err;
}
