/* New credentials, and what is told of one. */
#include "devices/fido_work.h"
#include "proto/git_object.h"
#include "proto/sk_file.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>

#define USER_ID 32u /* ssh-keygen's, padded with zeros */

/* --- what is told ----------------------------------------------------------------------------------------------------------- */

gpg_error_t fido_public_key(int type, struct rd raw, const char *application, struct key **out)
{
    uint8_t point[65] = {4};
    struct key *plain = NULL;
    gpg_error_t err = gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);

    if (type == COSE_EDDSA && raw.n == 32) {
        err = key_from_point("Ed25519", raw, false, &plain);
    } else if (type == COSE_ES256 && raw.n == 64) {
        memcpy(point + 1, raw.p, 64);
        err = key_from_point("NIST P-256", rd_of(point, sizeof point), false, &plain);
    }
    if (err == 0)
        err = key_with_application(plain, application, out);
    key_unref(plain);
    return err;
}

gpg_error_t fido_tell_credential(const struct driver_io *io, const struct key *k, uint8_t flags,
                                 struct rd handle, const char *user)
{
    struct buf line = BUF_INIT;
    char *blob = b64_encode(k->plain, k->plain_len), *id = b64_encode(handle.p, handle.n);
    char *clean = user != NULL ? text_clean(user, strlen(user), 64) : NULL;
    gpg_error_t err = gpg_error(GPG_ERR_ENOMEM);

    if (blob != NULL && id != NULL) {
        field_put(&line, "blob", blob);
        field_put(&line, "handle", id);
        field_put_int(&line, "flags", flags);
        if (clean != NULL && clean[0] != '\0')
            field_put(&line, "user", clean);
        if (buf_cstr(&line) != NULL)
            err = io->status(io->arg, TOKEN_STATUS_CREDENTIAL, buf_cstr(&line));
    }
    gpgrt_free(blob);
    gpgrt_free(id);
    gpgrt_free(clean);
    buf_free(&line);
    return err;
}

/* --- making ---------------------------------------------------------------------------------------------------------------- */

struct making {
    struct fido_work w;
    char *application, *user;
    int type; /* COSE_* */
    bool resident, verify, touchless, force;
    fido_cred_t *cred;
    const char *pin; /* of the attempt that runs */
    bool there;      /* a resident key of that application and user */
};

static gpg_error_t parse(struct making *m, const char *args)
{
    long resident, verify, touchless, force;
    char *algo = NULL;
    gpg_error_t err;

    if ((err = field_get(args, "application", &m->application)) != 0 ||
        (err = field_get(args, "user", &m->user)) != 0 ||
        (err = field_get_int(args, "resident", 0, &resident)) != 0 ||
        (err = field_get_int(args, "verify", 0, &verify)) != 0 ||
        (err = field_get_int(args, "no-touch", 0, &touchless)) != 0 ||
        (err = field_get_int(args, "force", 0, &force)) != 0 ||
        (err = field_get(args, "algo", &algo)) != 0)
        return err;
    m->resident = resident != 0;
    m->verify = verify != 0;
    m->touchless = touchless != 0;
    m->force = force != 0;
    m->type = algo != NULL && strcmp(algo, "ecdsa") == 0     ? COSE_ES256
              : algo != NULL && strcmp(algo, "ed25519") == 0 ? COSE_EDDSA
                                                             : 0;
    gpgrt_free(algo);
    if (m->application == NULL || m->application[0] == '\0' || m->type == 0)
        return gpg_error(GPG_ERR_INV_VALUE);
    if (m->user != NULL && strlen(m->user) > USER_ID)
        return gpg_error(GPG_ERR_TOO_LARGE);
    return 0;
}

static void put_user(const struct making *m, uint8_t id[USER_ID])
{
    memset(id, 0, USER_ID);
    if (m->user != NULL)
        memcpy(id, m->user, strlen(m->user));
}

static int new_request(struct making *m)
{
    uint8_t challenge[32], user[USER_ID];
    int rc;

    fido_cred_free(&m->cred);
    m->cred = fido_cred_new();
    if (m->cred == NULL)
        return FIDO_ERR_INTERNAL;
    gcry_create_nonce(challenge, sizeof challenge);
    put_user(m, user);
    if ((rc = fido_cred_set_type(m->cred, m->type)) != FIDO_OK ||
        (rc = fido_cred_set_clientdata_hash(m->cred, challenge, sizeof challenge)) != FIDO_OK ||
        (rc = fido_cred_set_rp(m->cred, m->application, NULL)) != FIDO_OK ||
        (rc = fido_cred_set_user(m->cred, user, sizeof user, "openssh", "openssh", NULL)) !=
            FIDO_OK ||
        (rc = fido_cred_set_rk(m->cred, m->resident ? FIDO_OPT_TRUE : FIDO_OPT_OMIT)) != FIDO_OK)
        return rc;
    if (m->verify)
        return fido_cred_set_prot(m->cred, FIDO_CRED_PROT_UV_REQUIRED);
    return m->resident ? fido_cred_set_prot(m->cred, FIDO_CRED_PROT_UV_OPTIONAL_WITH_ID) : FIDO_OK;
}

/* A second resident key of the same application and user takes the place of the first, which is lost. */
static int look_for_resident(struct making *m, fido_dev_t *d)
{
    static const uint8_t nothing[32];
    fido_assert_t *a = fido_assert_new();
    uint8_t user[USER_ID];
    int rc = a != NULL ? FIDO_OK : FIDO_ERR_INTERNAL;

    put_user(m, user);
    if (rc == FIDO_OK && (rc = fido_assert_set_clientdata_hash(a, nothing, 32)) == FIDO_OK &&
        (rc = fido_assert_set_rp(a, m->application)) == FIDO_OK &&
        (rc = fido_assert_set_up(a, FIDO_OPT_FALSE)) == FIDO_OK)
        rc = fido_dev_get_assert(d, a, m->pin);
    for (size_t i = 0; rc == FIDO_OK && i < fido_assert_count(a); i++)
        m->there |= rd_eq(rd_of(fido_assert_user_id_ptr(a, i), fido_assert_user_id_len(a, i)),
                          rd_of(user, sizeof user));
    fido_assert_free(&a);
    return rc == FIDO_ERR_NO_CREDENTIALS ? FIDO_OK : rc;
}

static int make_on(fido_dev_t *d, void *arg)
{
    struct making *m = arg;
    int rc = FIDO_OK;

    if (m->resident && !m->force)
        rc = look_for_resident(m, d);
    if (rc != FIDO_OK || m->there)
        return rc;
    rc = new_request(m);
    if (rc == FIDO_OK && m->verify && m->w.uv)
        rc = fido_cred_set_uv(m->cred, FIDO_OPT_TRUE);
    return rc == FIDO_OK ? fido_dev_make_cred(d, m->cred, m->pin) : rc;
}

/* The public key is the device's, as it signs for it: with its attestation key, or by itself. U2F devices and those that
 * attest always do one of them. */
static gpg_error_t check(const struct making *m)
{
    uint8_t hash[32];
    const char *fmt = fido_cred_fmt(m->cred);
    int rc = FIDO_OK;

    gcry_md_hash_buffer(GCRY_MD_SHA256, hash, m->application, strlen(m->application));
    if (fido_cred_x5c_ptr(m->cred) != NULL)
        rc = fido_cred_verify(m->cred);
    else if (fmt != NULL && strcmp(fmt, "none") != 0)
        rc = fido_cred_verify_self(m->cred);
    if (rc != FIDO_OK) {
        gpgrt_log_error("the new credential is not what was asked for: %s\n", fido_strerr(rc));
        return gpg_error(GPG_ERR_BAD_SIGNATURE);
    }
    if (fido_cred_type(m->cred) != m->type || fido_cred_id_len(m->cred) == 0)
        return gpg_error(GPG_ERR_BAD_DATA);
    return 0;
}

static gpg_error_t tell(struct making *m)
{
    uint8_t flags = m->touchless ? (uint8_t)0 : (uint8_t)SK_FLAG_PRESENCE;
    struct key *k = NULL;
    gpg_error_t err;

    if (m->verify)
        flags |= SK_FLAG_VERIFICATION;
    if (m->resident)
        flags |= SK_FLAG_RESIDENT;
    err = fido_public_key(m->type,
                          rd_of(fido_cred_pubkey_ptr(m->cred), fido_cred_pubkey_len(m->cred)),
                          m->application, &k);
    if (err == 0)
        err = fido_tell_credential(m->w.op->io, k, flags,
                                   rd_of(fido_cred_id_ptr(m->cred), fido_cred_id_len(m->cred)),
                                   m->user);
    key_unref(k);
    return err;
}

static gpg_error_t prepare(struct making *m)
{
    struct fido_work *w = &m->w;
    gpg_error_t err = fido_work_any(w);

    if (err == 0)
        err = fido_work_choose(w);
    if (err != 0)
        return err;
    if (!w->some[0]->fido2 && (m->type != COSE_ES256 || m->resident || m->verify)) {
        gpgrt_log_error("a U2F security key makes ecdsa keys only, and keeps none\n");
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    }
    w->uv = m->verify && w->some[0]->has_uv;
    /* Whoever finds it may not learn by which users it serves: what is kept is asked for by PIN, as ssh-keygen does. */
    w->pin_due = !w->uv && (m->verify || m->resident) && (w->some[0]->has_pin || m->verify);
    return w->pin_due ? fido_work_ask_pin(w) : 0;
}

gpg_error_t fido_generate(void *state, struct driver_op *op, struct buf *result)
{
    struct fido *f = state;
    struct making m = {.w = FIDO_WORK_INIT(f->bus, op)};
    gpg_error_t err = parse(&m, op->args);

    (void)result;
    if (err == 0)
        err = prepare(&m);
    if (err == 0)
        err = fido_work_alone(&m.w, true, make_on, &m, &m.pin);
    if (err == 0 && m.there)
        err = gpg_error(GPG_ERR_EEXIST);
    if (err == 0)
        err = check(&m);
    if (err == 0)
        err = tell(&m);
    if (err == 0)
        fido_note_device(op, m.w.some[0]);
    op->touched = err == 0 && (fido_cred_flags(m.cred) & SK_USER_PRESENT) != 0;
    fido_cred_free(&m.cred);
    fido_work_clear(&m.w);
    gpgrt_free(m.application);
    gpgrt_free(m.user);
    return err;
}
