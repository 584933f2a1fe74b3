/* OpenPGP cards: operations in short shared transactions, repaired when another program interfered.
 *
 * A PIN must not meet another application: it could use up a try there, or be kept. Another program may select an applet
 * between two of our transactions without any sign of it in PC/SC, so on cards that hold other applications (profiles.c)
 * SELECT comes before VERIFY in each transaction; on those that do not, once. */
#include "devices/card_work.h"
#include "devices/openpgp.h"
#include "proto/token_protocol.h"

#include <string.h>

#define MAX_ROUNDS    8 /* resets by others while it is read */
#define TOUCH_CACHE_S 15

const char *const openpgp_slot_ids[NSLOTS] = {"sig", "dec", "aut"};

/* --- opening ------------------------------------------------------------------------------------------------------------------- */

void openpgp_free(struct openpgp *o)
{
    if (o == NULL)
        return;
    held_pin_forget(&o->user);
    held_pin_forget(&o->admin);
    for (unsigned i = 0; i < NSLOTS; i++) {
        key_unref(o->slots[i].key);
        gpgrt_free(o->slots[i].oid_curve);
    }
    gpgrt_free(o);
}

gpg_error_t openpgp_new(const struct card *card, const struct card_place *place,
                        struct openpgp **out)
{
    struct openpgp *o = gpgrt_calloc(1, sizeof *o);

    if (o == NULL)
        return gpg_error_from_syserror();
    o->user.pin = o->admin.pin = BUF_INIT_SECURE;
    o->counter = -1;
    o->tries[0] = o->tries[1] = o->tries[2] = -1;
    o->reader = place->reader;
    o->contactless = place->contactless;
    o->bus = place->bus;
    o->dev = place->dev;
    o->atr = place->atr;
    o->profile = profile_find(0, place->reader);
    o->card = *card;
    if (!o->contactless)
        apdu_note_capabilities(&o->card, apdu_historical(o->atr));
    *out = o;
    return 0;
}

void openpgp_lost_state(struct openpgp *o)
{
    o->selected = false;
    o->doubted = true;
    o->verified[0] = o->verified[1] = o->verified[2] = false;
}

gpg_error_t openpgp_begin(struct openpgp *o)
{
    enum card_change change = CARD_AS_LEFT;
    gpg_error_t err = o->card.transport->begin(o->card.handle, &change);
    bool doubted = o->doubted || change == CARD_WAS_RESET;

    openpgp_expire_admin(o);
    if (change != CARD_AS_LEFT)
        openpgp_lost_state(o);
    o->doubted = doubted;
    return err;
}

void openpgp_end(struct openpgp *o, bool reset)
{
    o->card.transport->end(o->card.handle, reset);
}

/* --- learning ------------------------------------------------------------------------------------------------------------------ */

static gpg_error_t learn_in_transaction(struct openpgp *o, bool refresh, bool ssh_only)
{
    gpg_error_t err;

    if (!o->learned)
        return openpgp_learn(o, ssh_only);
    err = openpgp_enter(o);
    if (err == 0 && refresh)
        err = openpgp_refresh(o);
    return err != 0 ? err : openpgp_read_keys(o, ssh_only);
}

gpg_error_t openpgp_learn_card(struct openpgp *o, bool refresh, bool ssh_only)
{
    gpg_error_t err = 0;

    if (o->learned && !refresh && (ssh_only ? !o->slots[SLOT_AUT].unread : !openpgp_any_unread(o)))
        return 0;
    for (int i = 0; i < MAX_ROUNDS; i++) {
        err = openpgp_begin(o);
        if (err != 0)
            return err;
        err = learn_in_transaction(o, refresh, ssh_only);
        openpgp_end(o, false);
        if (gpg_err_code(err) != GPG_ERR_CARD_RESET && gpg_err_code(err) != GPG_ERR_EAGAIN)
            return err;
        openpgp_lost_state(o);
    }
    return err;
}

static char *serial_text(const struct openpgp *o)
{
    char *hex = hex_encode(o->aid + 10, 4), *s = hex;

    if (hex == NULL || !profile_has(o->profile, DECIMAL_SERIAL) ||
        strspn(hex, "0123456789") != strlen(hex))
        return hex;
    while (s[0] == '0' && s[1] != '\0')
        s++;
    s = gpgrt_strdup(s);
    gpgrt_free(hex);
    return s;
}

bool openpgp_has_auth_key(const struct openpgp *o)
{
    return o->slots[SLOT_AUT].key != NULL;
}

void openpgp_put_token(struct openpgp *o, struct buf *f)
{
    char text[64], *serial = serial_text(o), *aid = hex_encode(o->aid, sizeof o->aid), *name,
                   *label;

    name = gpgrt_bsprintf("%s-%s", o->profile->kind, serial != NULL ? serial : "");
    label = gpgrt_bsprintf("%s %s", o->profile->label, serial != NULL ? serial : "");
    field_put(f, "kind", o->profile->kind);
    field_put(f, "serial", serial != NULL ? serial : "");
    field_put(f, "name", name != NULL ? name : "");
    field_put(f, "label", label != NULL ? label : "");
    snprintf(text, sizeof text, "%x.%x", o->aid[6], o->aid[7]);
    field_put(f, "version", text);
    field_put(f, "reader", o->reader);
    if (o->bus >= 0) {
        field_put_int(f, "bus", o->bus);
        field_put_int(f, "dev", o->dev);
    }
    if (o->contactless)
        field_put_int(f, "contactless", 1);
    snprintf(text, sizeof text, "%02X%02X", o->aid[8], o->aid[9]);
    field_put(f, "manufacturer", text);
    snprintf(text, sizeof text, "%d/%d/%d", o->tries[0], o->tries[1], o->tries[2]);
    field_put(f, "tries", text);
    if (o->counter >= 0)
        field_put_int(f, "counter", o->counter);
    field_put(f, "aid", aid != NULL ? aid : "");
    gpgrt_free(serial);
    gpgrt_free(aid);
    gpgrt_free(name);
    gpgrt_free(label);
}

static gpg_error_t put_key(struct openpgp *o, unsigned i, struct buf *lines)
{
    static const char *const caps[NSLOTS] = {"s", "e", "a"}, *const families[NSLOTS] = {
                                                                 "gpg", "gpg", "ssh"};
    static const char *const touch[] = {[UIF_OFF] = "never",
                                        [UIF_ON] = "always",
                                        [UIF_FIXED] = "always",
                                        [UIF_CACHED] = "cached",
                                        [UIF_CACHED_FIXED] = "cached"};
    const struct slot *s = &o->slots[i];
    struct buf f = BUF_INIT;
    char *fpr = s->has_fpr ? hex_encode(s->fpr, sizeof s->fpr) : NULL;
    gpg_error_t err = driver_put_key(&f, openpgp_slot_ids[i], s->key, caps[i], families[i]);

    if (err == 0) {
        if (s->created != 0)
            field_put_int(&f, "created", (long)s->created);
        if (fpr != NULL)
            field_put(&f, "fpr", fpr);
        field_put(&f, "touch", touch[s->uif]);
        if (s->uif == UIF_FIXED || s->uif == UIF_CACHED_FIXED)
            field_put_int(&f, "touch-fixed", 1);
        if (s->uif == UIF_CACHED || s->uif == UIF_CACHED_FIXED)
            field_put_int(&f, "touch-secs", TOUCH_CACHE_S);
        field_put(&f, "pin", i == SLOT_SIG && o->forced_pin ? "always" : "once");
        buf_printf(lines, "KEY %s\n", buf_cstr(&f) != NULL ? buf_cstr(&f) : "");
        err = buf_err(&f);
    }
    buf_free(&f);
    gpgrt_free(fpr);
    return err;
}

gpg_error_t openpgp_put_keys(struct openpgp *o, struct buf *lines)
{
    gpg_error_t err = 0;

    for (unsigned i = 0; i < NSLOTS && err == 0; i++)
        if (o->slots[i].key != NULL)
            err = put_key(o, i, lines);
    return err != 0 ? err : buf_err(lines);
}

/* --- one operation -------------------------------------------------------------------------------------------------------------- */

struct work {
    struct openpgp *o;
    struct driver_op *op;
    struct slot *slot; /* NULL: verification alone */
    uint8_t ref;
    struct apdu apdu;
    struct buf answer; /* secure for decryption */
};

/* Did the card say no because something is not as we left it, rather than to the operation itself? */
static bool state_differs(unsigned sw)
{
    return sw == 0x6982 || sw == 0x6d00 || sw == 0x6e00 || sw == 0x6a82 || sw == 0x6a86 ||
           sw == 0x6a88 || sw == 0x6b00 || sw == 0x6985 || sw == 0x6f00;
}

static bool touch_wanted(const struct work *w)
{
    return w->slot != NULL && w->slot->uif != UIF_OFF;
}

/* Sends the command; a touch is waited for within it. */
static gpg_error_t run_command(struct work *w, unsigned *sw)
{
    struct openpgp *o = w->o;
    gpg_error_t err;

    buf_reset(&w->answer);
    if (touch_wanted(w))
        w->op->io->touch(w->op->io->arg, true);
    err = apdu_send(&o->card, &w->apdu, &w->answer, sw);
    if (touch_wanted(w))
        w->op->io->touch(w->op->io->arg, false);
    if (err == 0)
        err = buf_err(&w->answer);
    if (err == 0 && *sw == 0x9000 && w->ref == PW1_SIGN && o->forced_pin)
        o->verified[0] = false; /* the card drops it by itself */
    return err;
}

/* The same for a device that asks the person itself. */
static gpg_error_t prepare_on_device(struct work *w, bool fresh_select)
{
    struct openpgp *o = w->o;
    gpg_error_t err = !o->selected || fresh_select ? openpgp_reselect(o) : 0;
    bool serves = *openpgp_verified(o, w->ref) &&
                  (w->op->pin_device || openpgp_device_pin_serves(o, w->ref, w->op->pin_age));

    if (err != 0)
        return err;
    if (!serves)
        return openpgp_verify_on_device(o, w->op, w->ref);
    if (!w->op->pin_device)
        w->op->pin_cached = true;
    return 0;
}

/* Brings the card to the state in which W's command can run, inside the open transaction. *NEED_PIN: it takes a PIN that is
 * not there. */
static gpg_error_t prepare(struct work *w, bool fresh_select, bool *need_pin)
{
    struct openpgp *o = w->o;
    bool *verified = openpgp_verified(o, w->ref);
    bool must_verify =
        !*verified || w->op->pin_age == 0 || !openpgp_pin_serves(o, w->ref, w->op->pin_age);
    gpg_error_t err = 0;

    *need_pin = false;
    if (openpgp_asks_itself(o))
        return prepare_on_device(w, fresh_select);
    if (must_verify && !openpgp_pin_serves(o, w->ref, w->op->pin_age) &&
        !(w->op->pin_typed && o->user.pin.len > 0)) {
        *need_pin = true;
        return 0;
    }
    if (!o->selected || fresh_select || (must_verify && profile_has(o->profile, OTHER_APPLETS)))
        err = openpgp_reselect(o);
    if (err == 0 && (must_verify || !*verified)) {
        bool was_good = o->user.good && !w->op->pin_typed;

        err = openpgp_verify_held(o, w->ref);
        if (err == 0 && was_good)
            w->op->pin_cached = true;
    } else if (err == 0 && !w->op->pin_typed) {
        w->op->pin_cached = true;
    }
    return err;
}

static bool is_touch_timeout(const struct work *w, unsigned sw, bool verified_now)
{
    return touch_wanted(w) && (sw == 0x6600 || (verified_now && (sw == 0x6982 || sw == 0x6985)));
}

static enum work_result attempt(void *work, bool fresh_select, gpg_error_t *err)
{
    struct work *w = work;
    struct openpgp *o = w->o;
    bool need_pin = false, verified_before = *openpgp_verified(o, w->ref), verified_now;
    unsigned sw = 0x9000;

    *err = prepare(w, fresh_select, &need_pin);
    if (*err == 0 && need_pin)
        *err = openpgp_fresh_tries(o);
    if (*err == 0 && need_pin)
        return WORK_WANTS_PIN;
    if (gpg_err_code(*err) == GPG_ERR_WRONG_CARD && !fresh_select && o->user.pin.len > 0)
        return WORK_AGAIN_WITH_SELECT; /* another applet was selected */
    if (*err != 0)
        return WORK_FAILED;
    if (w->slot == NULL)
        return WORK_DONE;
    verified_now = !verified_before;
    *err = run_command(w, &sw);
    if (*err != 0)
        return WORK_FAILED;
    if (sw == 0x9000)
        return WORK_DONE;
    if (is_touch_timeout(w, sw, verified_now || fresh_select)) {
        if (sw == 0x6600)
            o->verified[0] = o->verified[1] = false; /* Gnuk forgets */
        *err = gpg_error(GPG_ERR_TIMEOUT);
        return WORK_FAILED;
    }
    if (state_differs(sw) && !fresh_select) {
        o->verified[0] = o->verified[1] = false;
        return WORK_AGAIN_WITH_SELECT;
    }
    *err = apdu_error(sw);
    return WORK_FAILED;
}

static gpg_error_t begin(void *work)
{
    return openpgp_begin(((struct work *)work)->o);
}

static void end(void *work, bool reset)
{
    openpgp_end(((struct work *)work)->o, reset);
}

static void lost(void *work)
{
    openpgp_lost_state(((struct work *)work)->o);
}

static void unverify(void *work, bool *reset)
{
    openpgp_unverify(((struct work *)work)->o, reset);
}

static gpg_error_t ask_pin(void *work, bool wrong)
{
    struct work *w = work;

    return openpgp_ask_pin(w->o, w->op, w->ref, wrong);
}

static bool pin_refused(void *work, gpg_error_t err)
{
    const struct openpgp *o = ((struct work *)work)->o;

    return gpg_err_code(err) == GPG_ERR_BAD_PIN && !o->user.good && !openpgp_asks_itself(o);
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

    if (w->op->want_touch && !touch_wanted(w))
        return gpg_error(GPG_ERR_USE_CONDITIONS);
    return card_work(w, w->op, &steps);
}

/* --- signing and decrypting -------------------------------------------------------------------------------------------------------- */

static struct slot *find_slot(struct openpgp *o, const char *id, unsigned *index)
{
    for (unsigned i = 0; i < NSLOTS; i++)
        if (strcmp(openpgp_slot_ids[i], id) == 0 && o->slots[i].key != NULL) {
            *index = i;
            return &o->slots[i];
        }
    return NULL;
}

static void note_touch(struct work *w)
{
    if (w->slot->uif == UIF_ON || w->slot->uif == UIF_FIXED)
        w->op->touched = true;
}

gpg_error_t openpgp_sign(struct openpgp *o, struct driver_op *op, gcry_sexp_t *sig)
{
    struct work w = {.o = o, .op = op, .answer = BUF_INIT};
    struct buf input = BUF_INIT;
    unsigned index = 0;
    gpg_error_t err =
        openpgp_learn_card(o, false, strcmp(op->key_id, openpgp_slot_ids[SLOT_AUT]) == 0);

    if (err != 0)
        return err;
    w.slot = find_slot(o, op->key_id, &index);
    if (w.slot == NULL)
        return gpg_error(GPG_ERR_NO_SECKEY);
    if (index == SLOT_DEC)
        return gpg_error(GPG_ERR_WRONG_KEY_USAGE);
    err = openpgp_put_input(w.slot->key, &op->input, &input);
    if (err == 0) {
        w.ref = index == SLOT_SIG ? PW1_SIGN : PW1_OTHER;
        w.apdu = index == SLOT_SIG ? (struct apdu){.ins = 0x2a, .p1 = 0x9e, .p2 = 0x9a}
                                   : (struct apdu){.ins = 0x88};
        w.apdu.data = buf_rd(&input);
        w.apdu.want_data = true;
        w.apdu.expect = w.slot->rsa ? w.slot->rsa_bits / 8 : 0;
        err = perform(&w);
    }
    if (err == 0) {
        note_touch(&w);
        if (index == SLOT_SIG && o->counter >= 0)
            o->counter++;
        err = sig_from_raw(w.slot->key, buf_rd(&w.answer), sig);
    }
    buf_free(&input);
    buf_free(&w.answer);
    return err;
}

gpg_error_t openpgp_decrypt(struct openpgp *o, struct driver_op *op, struct buf *result)
{
    struct work w = {.o = o, .op = op, .ref = PW1_OTHER, .answer = BUF_INIT_SECURE};
    struct buf input = BUF_INIT;
    unsigned index = 0;
    gpg_error_t err =
        openpgp_learn_card(o, false, strcmp(op->key_id, openpgp_slot_ids[SLOT_AUT]) == 0);

    if (err != 0)
        return err;
    w.slot = find_slot(o, op->key_id, &index);
    if (w.slot == NULL)
        return gpg_error(GPG_ERR_NO_SECKEY);
    if (index != SLOT_DEC)
        return gpg_error(GPG_ERR_WRONG_KEY_USAGE);
    err = openpgp_put_cryptogram(w.slot->key, op->input.data, &input);
    if (err == 0) {
        w.apdu = (struct apdu){
            .ins = 0x2a, .p1 = 0x80, .p2 = 0x86, .data = buf_rd(&input), .want_data = true};
        err = perform(&w);
    }
    if (err == 0) {
        note_touch(&w);
        buf_put_rd(result, buf_rd(&w.answer));
        err = buf_err(result);
    }
    buf_free(&input);
    buf_free(&w.answer);
    return err;
}

gpg_error_t openpgp_verify(struct openpgp *o, struct driver_op *op, const char *ref)
{
    struct work w = {
        .o = o, .op = op, .ref = ref != NULL && strcmp(ref, "81") == 0 ? PW1_SIGN : PW1_OTHER};
    gpg_error_t err = openpgp_learn_card(o, false, true);

    if (err == 0 && ref != NULL && strcmp(ref, "83") == 0)
        return openpgp_verify_admin(o, op);
    return err != 0 ? err : perform(&w);
}

void openpgp_forget(struct openpgp *o)
{
    bool reset = false;

    held_pin_forget(&o->user);
    held_pin_forget(&o->admin);
    if ((o->verified[0] || o->verified[1] || o->verified[2]) && openpgp_begin(o) == 0) {
        openpgp_unverify(o, &reset);
        openpgp_end(o, reset);
    }
    o->verified[0] = o->verified[1] = o->verified[2] = false;
}
