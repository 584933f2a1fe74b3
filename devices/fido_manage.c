/* What a security key is, the keys that it keeps, its PIN. */
#include "devices/fido_work.h"
#include "proto/sk_file.h"
#include "proto/token_protocol.h"

#include <fido/credman.h>
#include <string.h>

#define MIN_PIN 4
#define MAX_PIN 63 /* octets of UTF-8 (CTAP 2.1, 6.5.1) */

/* --- info ------------------------------------------------------------------------------------------------------------------- */

static char *join(char **list, size_t n)
{
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < n; i++)
        buf_printf(&b, "%s%s", i > 0 ? "," : "", list[i]);
    return buf_steal_cstr(&b);
}

static char *join_options(const fido_cbor_info_t *ci)
{
    char **names = fido_cbor_info_options_name_ptr(ci);
    const bool *values = fido_cbor_info_options_value_ptr(ci);
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < fido_cbor_info_options_len(ci); i++)
        buf_printf(&b, "%s%s:%d", i > 0 ? "," : "", names[i], values[i] ? 1 : 0);
    return buf_steal_cstr(&b);
}

static void put_text(struct buf *line, const char *name, char *text)
{
    if (text != NULL && text[0] != '\0')
        field_put(line, name, text);
    gpgrt_free(text);
}

static void put_cbor_info(struct buf *line, fido_dev_t *d)
{
    fido_cbor_info_t *ci = fido_cbor_info_new();

    if (ci != NULL && fido_dev_get_cbor_info(d, ci) == FIDO_OK) {
        put_text(line, "aaguid",
                 hex_encode(fido_cbor_info_aaguid_ptr(ci), fido_cbor_info_aaguid_len(ci)));
        put_text(line, "versions",
                 join(fido_cbor_info_versions_ptr(ci), fido_cbor_info_versions_len(ci)));
        put_text(line, "extensions",
                 join(fido_cbor_info_extensions_ptr(ci), fido_cbor_info_extensions_len(ci)));
        put_text(line, "options", join_options(ci));
        field_put_int(line, "firmware", (long)fido_cbor_info_fwversion(ci));
        if (fido_cbor_info_minpinlen(ci) > 0)
            field_put_int(line, "min-pin", (long)fido_cbor_info_minpinlen(ci));
    }
    fido_cbor_info_free(&ci);
}

static gpg_error_t tell_device(struct fido_bus *b, const struct fido_place *p,
                               const struct driver_io *io)
{
    struct buf line = BUF_INIT;
    fido_dev_t *d = NULL;
    int tries = -1, rc = fido_open(b, p, FIDO_ASK_MS, &d);
    gpg_error_t err;

    if (rc == FIDO_ERR_INVALID_ARGUMENT)
        return 0; /* a card that is none */
    field_put(&line, "path", p->path);
    if (rc == FIDO_OK) {
        field_put_int(&line, "fido2", fido_dev_is_fido2(d) ? 1 : 0);
        if (fido_dev_has_pin(d)) {
            field_put_int(&line, "pin", 1);
            if (fido_dev_get_retry_count(d, &tries) == FIDO_OK)
                field_put_int(&line, "tries", tries);
        }
        if (fido_dev_has_uv(d))
            field_put_int(&line, "uv", 1);
        if (fido_dev_supports_credman(d))
            field_put_int(&line, "manage", 1);
        if (fido_dev_is_fido2(d))
            put_cbor_info(&line, d);
    } else {
        field_put(&line, "problem", fido_strerr(rc));
    }
    fido_close(&d);
    err = buf_cstr(&line) != NULL ? io->status(io->arg, TOKEN_STATUS_DEVICE, buf_cstr(&line))
                                  : gpg_error(GPG_ERR_ENOMEM);
    buf_free(&line);
    return err;
}

gpg_error_t fido_info(void *state, struct driver_op *op, struct buf *result)
{
    struct fido *f = state;
    struct fido_place *list = NULL;
    size_t n = 0;
    gpg_error_t err = fido_places(f->bus, &list, &n);

    (void)result;
    for (size_t i = 0; i < n && err == 0; i++) {
        struct fido_place *p = &list[i];

        err = fido_claim(f->bus, &p, 1, true, op->io);
        if (err != 0)
            break;
        err = tell_device(f->bus, p, op->io);
        fido_release(f->bus, &p, 1);
    }
    fido_places_free(list, n);
    return err;
}

/* --- what takes the PIN of one device ----------------------------------------------------------------------------------------- */

struct managing {
    struct fido_work w;
    const char *pin;
    struct rd handle;  /* DELRESIDENT */
    const char *fresh; /* CHANGEPIN */
    gpg_error_t err;   /* of ours, beside the device's */
};

/* Those of the application's relying party, one after the other. */
static int tell_keys(struct managing *m, fido_dev_t *d, const char *application)
{
    fido_credman_rk_t *rk = fido_credman_rk_new();
    int rc = rk != NULL ? fido_credman_get_dev_rk(d, application, rk, m->pin) : FIDO_ERR_INTERNAL;

    for (size_t i = 0; rc == FIDO_OK && i < fido_credman_rk_count(rk) && m->err == 0; i++) {
        const fido_cred_t *c = fido_credman_rk(rk, i);
        uint8_t flags = SK_FLAG_PRESENCE | SK_FLAG_RESIDENT;
        struct rd id = rd_of(fido_cred_user_id_ptr(c), fido_cred_user_id_len(c));
        char user[65] = "";
        struct key *k = NULL;

        /* As ssh-add -K has it: one with a verification of its own decides by itself. */
        if (fido_cred_prot(c) == FIDO_CRED_PROT_UV_REQUIRED && !fido_dev_supports_uv(d))
            flags |= SK_FLAG_VERIFICATION;
        if (id.n < sizeof user)
            memcpy(user, id.p, id.n);
        if (fido_public_key(fido_cred_type(c),
                            rd_of(fido_cred_pubkey_ptr(c), fido_cred_pubkey_len(c)), application,
                            &k) != 0) {
            gpgrt_log_info("%s: a resident key of an unknown kind is left out\n", application);
            continue;
        }
        m->err = fido_tell_credential(m->w.op->io, k, flags,
                                      rd_of(fido_cred_id_ptr(c), fido_cred_id_len(c)), user);
        key_unref(k);
    }
    fido_credman_rk_free(&rk);
    return rc == FIDO_ERR_NO_CREDENTIALS ? FIDO_OK : rc;
}

static int list_on(fido_dev_t *d, void *arg)
{
    struct managing *m = arg;
    fido_credman_rp_t *rp = fido_credman_rp_new();
    int rc = rp != NULL ? fido_credman_get_dev_rp(d, rp, m->pin) : FIDO_ERR_INTERNAL;

    for (size_t i = 0; rc == FIDO_OK && i < fido_credman_rp_count(rp) && m->err == 0; i++) {
        const char *id = fido_credman_rp_id(rp, i);

        if (id != NULL && strncmp(id, "ssh:", 4) == 0)
            rc = tell_keys(m, d, id);
    }
    fido_credman_rp_free(&rp);
    return rc == FIDO_ERR_NO_CREDENTIALS ? FIDO_OK : rc;
}

static int delete_on(fido_dev_t *d, void *arg)
{
    const struct managing *m = arg;

    return fido_credman_del_dev_rk(d, m->handle.p, m->handle.n, m->pin);
}

static int set_pin_on(fido_dev_t *d, void *arg)
{
    const struct managing *m = arg;

    return fido_dev_set_pin(d, m->fresh, m->pin);
}

static gpg_error_t manage(struct managing *m, int (*f)(fido_dev_t *d, void *arg))
{
    gpg_error_t err = fido_work_alone(&m->w, false, f, m, &m->pin);

    return err != 0 ? err : m->err;
}

/* By PIN, or where there is none by the device's own verification. */
static gpg_error_t prepare(struct fido_work *w)
{
    gpg_error_t err = fido_work_any(w);

    if (err == 0)
        err = fido_work_choose(w);
    if (err != 0)
        return err;
    if (!w->some[0]->manages) {
        gpgrt_log_info("%s: keeps no keys that could be listed\n", w->some[0]->path);
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    }
    w->uv = !w->some[0]->has_pin && w->some[0]->has_uv;
    w->pin_due = !w->uv;
    return w->pin_due ? fido_work_ask_pin(w) : 0;
}

gpg_error_t fido_resident(void *state, struct driver_op *op, struct buf *result)
{
    struct fido *f = state;
    struct managing m = {.w = FIDO_WORK_INIT(f->bus, op)};
    gpg_error_t err = prepare(&m.w);

    (void)result;
    if (err == 0)
        err = tell_device(f->bus, m.w.some[0], op->io);
    if (err == 0)
        err = manage(&m, list_on);
    fido_work_clear(&m.w);
    return err;
}

gpg_error_t fido_delete_resident(void *state, struct driver_op *op, struct buf *result)
{
    struct fido *f = state;
    struct managing m = {.w = FIDO_WORK_INIT(f->bus, op)};
    struct buf handle = BUF_INIT;
    char *text = NULL;
    gpg_error_t err = field_get(op->args, "handle", &text);

    (void)result;
    if (err == 0)
        err = text != NULL ? b64_decode(text, strlen(text), &handle)
                           : gpg_error(GPG_ERR_MISSING_VALUE);
    m.handle = buf_rd(&handle);
    if (err == 0)
        err = prepare(&m.w);
    if (err == 0)
        err = manage(&m, delete_on);
    fido_work_clear(&m.w);
    buf_free(&handle);
    gpgrt_free(text);
    return err;
}

gpg_error_t fido_change_pin(void *state, struct driver_op *op, struct buf *result)
{
    struct fido *f = state;
    struct managing m = {.w = FIDO_WORK_INIT(f->bus, op)};
    struct pin_request q = {
        .ref = "fido", .tries = -1, .min = MIN_PIN, .max = MAX_PIN, .fresh = true};
    struct buf fresh = BUF_INIT_SECURE;
    gpg_error_t err = fido_work_any(&m.w);

    (void)result;
    if (err == 0)
        err = fido_work_choose(&m.w);
    if (err == 0 && !m.w.some[0]->fido2)
        err = gpg_error(GPG_ERR_NOT_SUPPORTED);
    if (err == 0 && m.w.some[0]->has_pin) {
        m.w.pin_due = true;
        err = fido_work_ask_pin(&m.w);
    }
    if (err == 0)
        err = op->io->ask_pin(op->io->arg, &q, &fresh);
    m.fresh = err == 0 ? buf_cstr(&fresh) : NULL;
    if (err == 0 && (m.fresh == NULL || strlen(m.fresh) != fresh.len))
        err = gpg_error(GPG_ERR_INV_VALUE);
    if (err == 0)
        err = manage(&m, set_pin_on);
    fido_work_clear(&m.w);
    buf_free(&fresh);
    return err;
}
