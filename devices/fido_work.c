#include "devices/fido_work.h"

#include <string.h>

#define BUSY_MS 200

void fido_work_clear(struct fido_work *w)
{
    buf_free(&w->pin);
    gpgrt_free(w->some);
    fido_places_free(w->all, w->nall);
}

/* --- which device ----------------------------------------------------------------------------------------------------------- */

static gpg_error_t ask_all(struct fido_work *w, const struct fido_query *q, bool wait, bool *found)
{
    for (size_t i = 0; i < w->nall && (w->everyone || !*found); i++) {
        struct fido_place *p = &w->all[i];
        gpg_error_t err;

        if (p->asked)
            continue;
        err = fido_claim(w->bus, &p, 1, wait, w->op->io);
        if (gpg_err_code(err) == GPG_ERR_EBUSY)
            continue;
        if (err != 0)
            return err;
        fido_ask(w->bus, p, q);
        fido_release(w->bus, &p, 1);
        *found |= p->holds == FIDO_HOLDS;
    }
    return 0;
}

static gpg_error_t find(struct fido_work *w, const struct fido_query *q)
{
    bool found = false;
    gpg_error_t err = fido_places(w->bus, &w->all, &w->nall);

    if (err == 0)
        err = ask_all(w, q, false, &found); /* those first that wait for nobody's touch */
    if (err == 0)
        err = ask_all(w, q, true, &found);
    if (err != 0)
        return err;
    w->some = gpgrt_calloc(w->nall + 1, sizeof(struct fido_place *));
    if (w->some == NULL)
        return gpg_error_from_syserror();
    for (size_t i = 0; i < w->nall; i++)
        if (w->all[i].holds == (found ? FIDO_HOLDS : FIDO_HOLDS_MAYBE))
            w->some[w->nsome++] = &w->all[i];
    return 0;
}

/* The one that holds the key answers without a touch, and only it will blink. When none says so, all that might. */
gpg_error_t fido_work_find(struct fido_work *w, const struct fido_query *q)
{
    gpg_error_t err = find(w, q);

    if (err != 0 || w->nsome > 0)
        return err;
    gpgrt_log_info(w->nall == 0 ? "no security key is plugged in\n"
                                : "none of the security keys that are plugged in holds the key\n");
    return gpg_error(GPG_ERR_CARD_NOT_PRESENT);
}

gpg_error_t fido_work_any(struct fido_work *w)
{
    gpg_error_t err = find(w, NULL);

    if (err == 0 && w->nsome == 0)
        err = gpg_error(GPG_ERR_ENXIO);
    return err;
}

gpg_error_t fido_explain(int rc)
{
    gpgrt_log_info("the security key answers: %s\n", fido_strerr(rc));
    switch (rc) {
    case FIDO_OK:
        return 0;
    case FIDO_ERR_KEEPALIVE_CANCEL:
        return gpg_error(GPG_ERR_CANCELED);
    case FIDO_ERR_OPERATION_DENIED:
    case FIDO_ERR_NOT_ALLOWED:
        return gpg_error(GPG_ERR_NOT_CONFIRMED);
    case FIDO_ERR_NO_CREDENTIALS:
    case FIDO_ERR_INVALID_CREDENTIAL:
    case FIDO_ERR_NOTFOUND:
    case FIDO_ERR_TX:
    case FIDO_ERR_RX:
        return gpg_error(GPG_ERR_CARD_NOT_PRESENT);
    case FIDO_ERR_USER_ACTION_TIMEOUT:
    case FIDO_ERR_ACTION_TIMEOUT:
        return gpg_error(GPG_ERR_TIMEOUT);
    case FIDO_ERR_PIN_INVALID:
    case FIDO_ERR_PIN_AUTH_INVALID:
        return gpg_error(GPG_ERR_BAD_PIN);
    case FIDO_ERR_PIN_POLICY_VIOLATION:
        return gpg_error(GPG_ERR_INV_LENGTH);
    case FIDO_ERR_KEY_STORE_FULL:
    case FIDO_ERR_LARGEBLOB_STORAGE_FULL:
        return gpg_error(GPG_ERR_ENOSPC);
    case FIDO_ERR_PIN_BLOCKED:
    case FIDO_ERR_PIN_AUTH_BLOCKED: /* until it is plugged in again */
    case FIDO_ERR_UV_BLOCKED:
        return gpg_error(GPG_ERR_PIN_BLOCKED);
    case FIDO_ERR_PIN_NOT_SET:
        return gpg_error(GPG_ERR_NO_PIN);
    case FIDO_ERR_UNSUPPORTED_OPTION:
    case FIDO_ERR_INVALID_COMMAND:
    case FIDO_ERR_UNSUPPORTED_ALGORITHM:
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    default:
        return gpg_error(GPG_ERR_CARD);
    }
}

/* A PIN belongs to one device: which one, a touch tells. */
gpg_error_t fido_work_choose(struct fido_work *w)
{
    struct fido_place *chosen = NULL;
    gpg_error_t err;
    int rc;

    if (w->nsome == 1)
        return 0;
    err = fido_claim(w->bus, w->some, w->nsome, true, w->op->io);
    if (err != 0)
        return err;
    rc = fido_choose(w->bus, w->some, w->nsome, w->op->io, &chosen);
    fido_release(w->bus, w->some, w->nsome);
    if (rc != FIDO_OK)
        return fido_explain(rc);
    w->some[0] = chosen;
    w->nsome = 1;
    return 0;
}

/* --- the PIN ------------------------------------------------------------------------------------------------------------------ */

/* No device is claimed while the person types. */
gpg_error_t fido_work_ask_pin(struct fido_work *w)
{
    struct pin_request q = {
        .ref = "fido", .label = "the security key", .wrong = w->pin_was_wrong, .min = 4, .max = 63};
    struct buf pin = BUF_INIT_SECURE;
    gpg_error_t err = fido_work_choose(w);

    if (err != 0)
        return err;
    if (!w->some[0]->has_pin) {
        gpgrt_log_error("the key wants the person verified, and the security key has no PIN set\n");
        return gpg_error(GPG_ERR_NO_PIN);
    }
    err = fido_claim(w->bus, w->some, 1, true, w->op->io);
    if (err != 0)
        return err;
    q.tries = fido_tries(w->bus, w->some[0]);
    fido_release(w->bus, w->some, 1);
    if (q.tries == 0)
        return gpg_error(GPG_ERR_PIN_BLOCKED);
    err = w->op->io->ask_pin(w->op->io->arg, &q, &pin);
    if (err == 0 && (buf_cstr(&pin) == NULL || strlen(buf_cstr(&pin)) != pin.len))
        err = gpg_error(GPG_ERR_BAD_PIN);
    /* Refused once, it is not sent again. */
    if (err == 0 && w->pin_was_wrong && rd_eq(buf_rd(&pin), buf_rd(&w->pin)))
        err = gpg_error(GPG_ERR_BAD_PIN);
    if (err != 0) {
        buf_free(&pin);
        return err;
    }
    buf_free(&w->pin);
    w->pin = pin;
    w->op->pin_typed = true;
    return 0;
}

gpg_error_t fido_work_next(struct fido_work *w, int rc, bool *again)
{
    bool had_pin = w->pin_due;

    *again = true;
    if (w->op->io->canceled(w->op->io->arg))
        rc = FIDO_ERR_KEEPALIVE_CANCEL;
    switch (rc) {
    case FIDO_ERR_CHANNEL_BUSY: /* another program waits for its touch */
        fido_pause(w->op->io, BUSY_MS);
        return 0;
    case FIDO_ERR_USER_ACTION_TIMEOUT: /* how long is the broker's to say */
    case FIDO_ERR_ACTION_TIMEOUT:
        return 0;
    case FIDO_ERR_PIN_INVALID:
    case FIDO_ERR_PIN_AUTH_INVALID:
        if (!had_pin)
            break;
        w->pin_was_wrong = true;
        return fido_work_ask_pin(w);
    case FIDO_ERR_UV_BLOCKED:
    case FIDO_ERR_UV_INVALID:
    case FIDO_ERR_PIN_REQUIRED:
    case FIDO_ERR_UNAUTHORIZED_PERM:
        if (had_pin)
            break;
        w->uv = false;
        w->pin_due = true;
        return fido_work_ask_pin(w);
    case FIDO_ERR_NO_CREDENTIALS:
        /* Perhaps one that is not admitted to without a finger. */
        if (w->uv || had_pin || w->nsome != 1 || !w->some[0]->has_uv)
            break;
        w->uv = true;
        return 0;
    default:
        break;
    }
    *again = false;
    return fido_explain(rc);
}

const char *fido_work_pin(struct fido_work *w)
{
    return w->pin_due ? buf_cstr(&w->pin) : NULL;
}

gpg_error_t fido_work_alone(struct fido_work *w, bool touch, int (*f)(fido_dev_t *d, void *arg),
                            void *arg, const char **pin)
{
    bool again = true;
    gpg_error_t err = 0;

    while (err == 0 && again) {
        int rc;

        err = fido_claim(w->bus, w->some, 1, true, w->op->io);
        if (err != 0)
            return err;
        *pin = fido_work_pin(w);
        rc = fido_alone(w->bus, w->some[0], touch || w->uv, f, arg, w->op->io);
        fido_release(w->bus, w->some, 1);
        if (rc == FIDO_OK)
            return 0;
        err = fido_work_next(w, rc, &again);
    }
    return err;
}

void fido_note_device(struct driver_op *op, const struct fido_place *p)
{
    if (strlen(p->path) < sizeof op->device)
        memcpy(op->device, p->path, strlen(p->path) + 1);
}
