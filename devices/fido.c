/* Keys of security keys, by libfido2: what OpenSSH calls the "internal" provider. The keys are kept here; which device holds
 * one is found anew for each signature. */
#include "devices/fido_race.h"
#include "proto/token_protocol.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <string.h>

#define BUSY_MS 200

struct fido {
    struct fido_bus *bus;
    struct key_store *keys;
};

/* One signature under way. */
struct signing {
    struct fido *f;
    struct driver_op *op;
    const struct sk_key *k;
    uint8_t digest[32]; /* of the message: what WebAuthn calls the client data hash */
    uint8_t wanted;     /* SK_KEY_* */
    struct fido_place *all;
    size_t nall;
    struct fido_place **some; /* those that may hold the key */
    size_t nsome;
    bool uv;      /* the device verifies the person by itself */
    bool pin_due; /* or a PIN does */
    bool pin_was_wrong;
    struct buf pin; /* the last one; wiped once refused, but for what it takes to know it again */
    struct fido_result result;
};

/* --- which device --------------------------------------------------------------------------------------------------------- */

static gpg_error_t ask_all(struct signing *s, bool wait, bool *found)
{
    for (size_t i = 0; i < s->nall && !*found; i++) {
        struct fido_place *p = &s->all[i];
        gpg_error_t err;

        if (p->asked)
            continue;
        err = fido_claim(s->f->bus, &p, 1, wait, s->op->io);
        if (gpg_err_code(err) == GPG_ERR_EBUSY)
            continue;
        if (err != 0)
            return err;
        fido_ask(s->f->bus, p, s->k);
        fido_release(s->f->bus, &p, 1);
        *found = p->holds == FIDO_HOLDS;
    }
    return 0;
}

/* The one that holds the key answers without a touch, and only it will blink. When none says so, all that might. */
static gpg_error_t find_devices(struct signing *s)
{
    bool found = false;
    gpg_error_t err = fido_places(s->f->bus, &s->all, &s->nall);

    if (err == 0)
        err = ask_all(s, false, &found); /* those first that wait for nobody's touch */
    if (err == 0)
        err = ask_all(s, true, &found);
    if (err != 0)
        return err;
    s->some = gpgrt_calloc(s->nall + 1, sizeof(struct fido_place *));
    if (s->some == NULL)
        return gpg_error_from_syserror();
    for (size_t i = 0; i < s->nall; i++)
        if (s->all[i].holds == (found ? FIDO_HOLDS : FIDO_HOLDS_MAYBE))
            s->some[s->nsome++] = &s->all[i];
    if (s->nsome > 0)
        return 0;
    gpgrt_log_info(s->nall == 0 ? "no security key is plugged in\n"
                                : "none of the security keys that are plugged in holds the key\n");
    return gpg_error(GPG_ERR_CARD_NOT_PRESENT);
}

static gpg_error_t explain(int rc)
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
    case FIDO_ERR_PIN_POLICY_VIOLATION:
        return gpg_error(GPG_ERR_BAD_PIN);
    case FIDO_ERR_PIN_BLOCKED:
    case FIDO_ERR_PIN_AUTH_BLOCKED: /* until it is plugged in again */
    case FIDO_ERR_UV_BLOCKED:
        return gpg_error(GPG_ERR_PIN_BLOCKED);
    case FIDO_ERR_PIN_NOT_SET:
        return gpg_error(GPG_ERR_NO_PIN);
    case FIDO_ERR_UNSUPPORTED_OPTION:
    case FIDO_ERR_UNSUPPORTED_ALGORITHM:
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    default:
        return gpg_error(GPG_ERR_CARD);
    }
}

/* A PIN belongs to one device: which one, a touch tells. */
static gpg_error_t choose_one(struct signing *s)
{
    struct fido_place *chosen = NULL;
    gpg_error_t err;
    int rc;

    if (s->nsome == 1)
        return 0;
    err = fido_claim(s->f->bus, s->some, s->nsome, true, s->op->io);
    if (err != 0)
        return err;
    rc = fido_choose(s->f->bus, s->some, s->nsome, s->op->io, &chosen);
    fido_release(s->f->bus, s->some, s->nsome);
    if (rc != FIDO_OK)
        return explain(rc);
    s->some[0] = chosen;
    s->nsome = 1;
    return 0;
}

/* --- the PIN ------------------------------------------------------------------------------------------------------------------ */

/* No device is claimed while the person types. */
static gpg_error_t ask_pin(struct signing *s)
{
    struct pin_request q = {.ref = "fido", .wrong = s->pin_was_wrong, .min = 4, .max = 63};
    struct buf pin = BUF_INIT_SECURE;
    gpg_error_t err = choose_one(s);

    if (err != 0)
        return err;
    if (!s->some[0]->has_pin) {
        gpgrt_log_error("the key wants the person verified, and the security key has no PIN set\n");
        return gpg_error(GPG_ERR_NO_PIN);
    }
    err = fido_claim(s->f->bus, s->some, 1, true, s->op->io);
    if (err != 0)
        return err;
    q.tries = fido_tries(s->f->bus, s->some[0]);
    fido_release(s->f->bus, s->some, 1);
    if (q.tries == 0)
        return gpg_error(GPG_ERR_PIN_BLOCKED);
    err = s->op->io->ask_pin(s->op->io->arg, &q, &pin);
    if (err == 0 && (buf_cstr(&pin) == NULL || strlen(buf_cstr(&pin)) != pin.len))
        err = gpg_error(GPG_ERR_BAD_PIN);
    /* Refused once, it is not sent again. */
    if (err == 0 && s->pin_was_wrong && rd_eq(buf_rd(&pin), buf_rd(&s->pin)))
        err = gpg_error(GPG_ERR_BAD_PIN);
    if (err != 0) {
        buf_free(&pin);
        return err;
    }
    buf_free(&s->pin);
    s->pin = pin;
    s->op->pin_typed = true;
    return 0;
}

/* --- signing -------------------------------------------------------------------------------------------------------------------- */

static int attempt(struct signing *s)
{
    bool presence = (s->wanted & SK_KEY_PRESENCE) != 0;
    gpg_error_t err = fido_claim(s->f->bus, s->some, s->nsome, true, s->op->io);
    int rc;

    if (err != 0)
        return gpg_err_code(err) == GPG_ERR_CANCELED ? FIDO_ERR_KEEPALIVE_CANCEL
                                                     : FIDO_ERR_INTERNAL;
    for (size_t i = 0; i < s->nsome; i++)
        presence |= !s->some[i]->fido2; /* U2F knows no other way */
    rc = fido_race(s->f->bus, s->some, s->nsome, s->k, s->digest, presence, s->uv,
                   s->pin_due ? buf_cstr(&s->pin) : NULL, s->op->io, &s->result);
    fido_release(s->f->bus, s->some, s->nsome);
    return rc;
}

/* What a failed attempt asks for: *AGAIN, with what changed in S; else it is the end. */
static gpg_error_t next_step(struct signing *s, int rc, bool *again)
{
    bool had_pin = s->pin_due;

    *again = true;
    if (s->op->io->canceled(s->op->io->arg))
        rc = FIDO_ERR_KEEPALIVE_CANCEL;
    switch (rc) {
    case FIDO_ERR_CHANNEL_BUSY: /* another program waits for its touch */
        fido_pause(s->op->io, BUSY_MS);
        return 0;
    case FIDO_ERR_USER_ACTION_TIMEOUT: /* how long is the broker's to say */
    case FIDO_ERR_ACTION_TIMEOUT:
        return 0;
    case FIDO_ERR_PIN_INVALID:
    case FIDO_ERR_PIN_AUTH_INVALID:
        if (!had_pin)
            break;
        s->pin_was_wrong = true;
        return ask_pin(s);
    case FIDO_ERR_UV_BLOCKED:
    case FIDO_ERR_UV_INVALID:
    case FIDO_ERR_PIN_REQUIRED:
    case FIDO_ERR_UNAUTHORIZED_PERM:
        if (had_pin)
            break;
        s->uv = false;
        s->pin_due = true;
        return ask_pin(s);
    case FIDO_ERR_NO_CREDENTIALS:
        /* Perhaps one that is not admitted to without a finger. */
        if (s->uv || had_pin || s->nsome != 1 || !s->some[0]->has_uv)
            break;
        s->uv = true;
        return 0;
    default:
        break;
    }
    *again = false;
    return explain(rc);
}

static gpg_error_t sign_somewhere(struct signing *s)
{
    bool again = true;
    gpg_error_t err;
    int rc;

    if ((s->wanted & SK_KEY_VERIFICATION) != 0) {
        err = choose_one(s);
        if (err != 0)
            return err;
        s->uv = s->some[0]->has_uv;
        s->pin_due = !s->uv;
        err = s->pin_due ? ask_pin(s) : 0;
        if (err != 0)
            return err;
    }
    do {
        rc = attempt(s);
        if (rc == FIDO_OK)
            return 0;
        err = next_step(s, rc, &again);
    } while (err == 0 && again);
    return err;
}

/* ECDSA signatures come in DER (WebAuthn 6.5.5). */
static gpg_error_t from_der(const struct buf *der, struct buf *r, struct buf *s)
{
    const unsigned char *p = der->data;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)der->len);
    uint8_t number[32];
    gpg_error_t err = gpg_error(GPG_ERR_BAD_SIGNATURE);

    if (sig == NULL || p != der->data + der->len)
        goto out;
    if (BN_bn2binpad(ECDSA_SIG_get0_r(sig), number, sizeof number) < 0)
        goto out;
    buf_put(r, number, sizeof number);
    if (BN_bn2binpad(ECDSA_SIG_get0_s(sig), number, sizeof number) < 0)
        goto out;
    buf_put(s, number, sizeof number);
    err = buf_err(r) != 0 ? buf_err(r) : buf_err(s);
out:
    ERR_clear_error();
    ECDSA_SIG_free(sig);
    return err;
}

static gpg_error_t finish(struct signing *s, gcry_sexp_t *sig)
{
    struct buf br = BUF_INIT, bs = BUF_INIT;
    gpg_error_t err = 0;

    if (s->k->pub->algo == KEY_SK_ECDSA)
        err = from_der(&s->result.sig, &br, &bs);
    else
        buf_put_rd(&br, buf_rd(&s->result.sig));
    if (err == 0)
        err = sk_key_finish(s->k, s->wanted, &s->result.says, buf_rd(&br), buf_rd(&bs), s->op, sig);
    buf_free(&br);
    buf_free(&bs);
    return err;
}

static gpg_error_t fido_sign(void *state, struct driver_op *op, gcry_sexp_t *sig)
{
    struct signing s = {.f = state, .op = op, .pin = BUF_INIT_SECURE};
    struct stored_key *stored = key_store_get(s.f->keys, op->key_id);
    gpg_error_t err;

    if (stored == NULL)
        return gpg_error(GPG_ERR_NO_SECKEY);
    s.k = stored->key;
    s.wanted = sk_key_wanted(s.k, op);
    gcry_md_hash_buffer(GCRY_MD_SHA256, s.digest, op->input.data.p, op->input.data.n);
    err = find_devices(&s);
    if (err == 0)
        err = sign_somewhere(&s);
    if (err == 0)
        err = finish(&s, sig);
    buf_free(&s.pin);
    buf_free(&s.result.sig);
    gpgrt_free(s.some);
    fido_places_free(s.all, s.nall);
    key_store_put(s.f->keys, stored);
    return err;
}

/* --- the driver ------------------------------------------------------------------------------------------------------------------ */

static void fido_driver_close(void *state)
{
    struct fido *f = state;

    fido_bus_free(f->bus);
    key_store_free(f->keys);
    gpgrt_free(f);
}

static gpg_error_t fido_driver_open(const char *arg, void **state)
{
    struct fido *f = gpgrt_calloc(1, sizeof *f);
    gpg_error_t err;

    if (f == NULL)
        return gpg_error_from_syserror();
    err = fido_bus_new(arg, &f->bus);
    if (err == 0)
        err = key_store_new(&sk_key_store_ops, &f->keys);
    if (err != 0)
        fido_driver_close(f);
    else
        *state = f;
    return err;
}

static gpg_error_t fido_learn(void *state, bool refresh, bool ssh_only, struct buf *lines)
{
    (void)refresh;
    (void)ssh_only;
    buf_printf(lines, "TOKEN kind=fido name=fido label=the%%20security%%20key\n");
    return key_store_list(((struct fido *)state)->keys, lines);
}

static gpg_error_t fido_add_key(void *state, struct rd body, const char *comment, struct buf *line)
{
    return sk_key_add(((struct fido *)state)->keys, body, comment, line);
}

static gpg_error_t fido_delete_key(void *state, const char *id)
{
    return key_store_delete(((struct fido *)state)->keys, id);
}

static void fido_delete_all(void *state)
{
    key_store_delete_all(((struct fido *)state)->keys);
}

const struct driver driver_fido = {
    .kind = "fido",
    .help = "keys of security keys, by libfido2: \"hid\", or \"emulator=SOCKET,..\"",
    .wants_arg = true,
    .many_channels = true,
    .open = fido_driver_open,
    .close = fido_driver_close,
    .learn = fido_learn,
    .sign = fido_sign,
    .add_key = fido_add_key,
    .delete_key = fido_delete_key,
    .delete_all = fido_delete_all,
};
