/* PINs: when one may go to a token, and what becomes of it. PKCS#11 tells no number of tries, only that it is low, that
 * one is left, or none (CKF_USER_PIN_COUNT_LOW, _FINAL_TRY, _LOCKED). */
#include "devices/pkcs11.h"

#include <string.h>

#define MAX_ROUNDS 8 /* wrong PINs in one operation */

bool p11_wants_login(const struct p11_token *t)
{
    return (t->info.flags & CKF_LOGIN_REQUIRED) != 0;
}

static bool has_keypad(const struct p11_token *t)
{
    return (t->info.flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0;
}

static bool last_try(const struct p11_token *t)
{
    return (t->info.flags & CKF_USER_PIN_FINAL_TRY) != 0;
}

void p11_forget_pin(struct p11_token *t)
{
    buf_free(&t->pin);
    t->pin = BUF_INIT_SECURE;
    t->pin_good = false;
}

void p11_logout(struct p11_token *t)
{
    if (t->open && t->logged_in)
        (void)t->f->C_Logout(t->session);
    t->logged_in = false;
}

static bool pin_serves(const struct p11_token *t, const struct driver_op *op)
{
    if (!t->pin_good)
        return false;
    if (op->pin_typed)
        return true; /* for this very operation */
    if (op->pin_age == 0)
        return false;
    return op->pin_age < 0 || p11_now_ms() - t->pin_ms <= (int64_t)op->pin_age * 1000;
}

/* --- to the token --------------------------------------------------------------------------------------------------------- */

/* PIN once, NULL: the reader's keypad. */
static gpg_error_t send(struct p11_token *t, CK_USER_TYPE who, struct buf *pin)
{
    CK_UTF8CHAR *p = pin != NULL ? pin->data : NULL;
    CK_ULONG n = pin != NULL ? pin->len : 0;
    CK_RV rv = t->f->C_Login(t->session, who, p, n);

    /* The module's own notion, of which nothing is proven: the PIN was not looked at. */
    if (rv == CKR_USER_ALREADY_LOGGED_IN && t->f->C_Logout(t->session) == CKR_OK)
        rv = t->f->C_Login(t->session, who, p, n);
    return p11_check(t, "C_Login", rv);
}

static gpg_error_t check_tries(struct p11_token *t)
{
    gpg_error_t err = p11_refresh(t);

    if (err == 0 && (t->info.flags & CKF_USER_PIN_LOCKED) != 0)
        err = gpg_error(GPG_ERR_PIN_BLOCKED);
    return err;
}

/* --- from the person ------------------------------------------------------------------------------------------------------ */

static int length(CK_ULONG n)
{
    return n <= 255 ? (int)n : 0;
}

static gpg_error_t ask(struct p11_token *t, struct driver_op *op, bool wrong, struct buf *pin)
{
    char *label = p11_text(t->info.label, sizeof t->info.label);
    struct pin_request q = {.ref = "user",
                            .label = label != NULL && *label != '\0' ? label : NULL,
                            .tries = last_try(t) ? 1 : -1,
                            .low = (t->info.flags & CKF_USER_PIN_COUNT_LOW) != 0,
                            .wrong = wrong,
                            .min = length(t->info.ulMinPinLen),
                            .max = length(t->info.ulMaxPinLen)};
    gpg_error_t err = op->io->ask_pin(op->io->arg, &q, pin);

    gpgrt_free(label);
    return err;
}

static gpg_error_t on_keypad(struct p11_token *t, struct driver_op *op, CK_USER_TYPE who)
{
    gpg_error_t err;

    op->io->touch(op->io->arg, true);
    err = send(t, who, NULL);
    op->io->touch(op->io->arg, false);
    if (err == 0)
        op->pin_typed = true;
    return err;
}

static void logged_in(struct p11_token *t, bool typed)
{
    t->logged_in = t->pin_good = true;
    if (typed)
        t->pin_ms = p11_now_ms();
}

/* One attempt, by the PIN that is held or by one that is asked for. */
static gpg_error_t attempt(struct p11_token *t, struct driver_op *op, bool wrong)
{
    bool held = pin_serves(t, op) && t->pin.len > 0 && !last_try(t);
    gpg_error_t err;

    if (!held) {
        p11_forget_pin(t);
        op->pin_typed = false;
        err = ask(t, op, wrong, &t->pin);
        if (err != 0)
            return err;
    }
    err = send(t, CKU_USER, &t->pin);
    if (err == 0) {
        logged_in(t, !held);
        if (!held)
            op->pin_typed = true;
        else if (!op->pin_typed)
            op->pin_cached = true;
    } else if (!held || gpg_err_code(err) == GPG_ERR_BAD_PIN ||
               gpg_err_code(err) == GPG_ERR_PIN_BLOCKED) {
        p11_forget_pin(t); /* gone at once, so that it can never be sent a second time */
    }
    return err;
}

gpg_error_t p11_login(struct p11_token *t, struct driver_op *op)
{
    gpg_error_t err = 0;

    if (!p11_wants_login(t))
        return 0;
    for (int round = 0; round < MAX_ROUNDS; round++) {
        if (t->logged_in && pin_serves(t, op)) {
            if (!op->pin_typed)
                op->pin_cached = true;
            return 0;
        }
        if (op->io->canceled(op->io->arg))
            return gpg_error(GPG_ERR_CANCELED);
        err = check_tries(t);
        if (err != 0)
            return err;
        p11_logout(t); /* or the new PIN would not be looked at */
        if (has_keypad(t)) {
            err = on_keypad(t, op, CKU_USER);
            if (err == 0)
                logged_in(t, true);
            return err;
        }
        err = attempt(t, op, round > 0);
        if (gpg_err_code(err) != GPG_ERR_BAD_PIN)
            return err;
    }
    return err;
}

gpg_error_t p11_login_given(struct p11_token *t, struct rd pin)
{
    gpg_error_t err = check_tries(t);

    if (err == 0 && last_try(t))
        err = gpg_error(GPG_ERR_USE_CONDITIONS);
    if (err != 0)
        return err;
    p11_forget_pin(t);
    buf_put_rd(&t->pin, pin);
    err = buf_err(&t->pin);
    if (err == 0)
        err = send(t, CKU_USER, &t->pin);
    if (err == 0)
        logged_in(t, true);
    else
        p11_forget_pin(t);
    return err;
}

gpg_error_t p11_login_for_use(struct p11_token *t, struct driver_op *op)
{
    struct buf pin = BUF_INIT_SECURE;
    gpg_error_t err = 0;

    for (int round = 0; round < MAX_ROUNDS; round++) {
        err = check_tries(t);
        if (err != 0)
            break;
        if (has_keypad(t)) {
            err = on_keypad(t, op, CKU_CONTEXT_SPECIFIC);
            break;
        }
        buf_free(&pin);
        pin = BUF_INIT_SECURE;
        err = ask(t, op, round > 0, &pin);
        if (err != 0)
            break;
        err = send(t, CKU_CONTEXT_SPECIFIC, &pin);
        if (err == 0) {
            op->pin_typed = true;
            op->pin_cached = false;
        }
        if (gpg_err_code(err) != GPG_ERR_BAD_PIN)
            break;
    }
    buf_free(&pin);
    return err;
}
