#include "devices/sk_key.h"

#include "proto/token_protocol.h"

#include <string.h>

/* The longest credential ids in the field have some 300 octets; CTAP2 messages end at 7609. */
#define MAX_HANDLE 7609u

void sk_key_free(struct sk_key *k)
{
    if (k == NULL)
        return;
    key_unref(k->pub);
    gpgrt_free(k->handle);
    gpgrt_free(k);
}

/* --- parsing --------------------------------------------------------------------------------------------------------- */

static const struct form {
    const char *type, *plain;
    bool cert, point; /* begins with a certificate; names the public point */
    const char *curve;
} forms[] = {
    {"sk-ssh-ed25519@openssh.com", "sk-ssh-ed25519@openssh.com", false, true, NULL},
    {"sk-ecdsa-sha2-nistp256@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com", false, true,
     "nistp256"},
    {"sk-ssh-ed25519-cert-v01@openssh.com", "sk-ssh-ed25519@openssh.com", true, true, NULL},
    {"sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com", true,
     false, NULL},
};

static const struct form *find_form(struct rd type)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (rd_is(type, forms[i].type))
            return &forms[i];
    return NULL;
}

static gpg_error_t plain_of_cert(struct rd blob, const struct form *f, struct key **out)
{
    struct key *cert = NULL;
    gpg_error_t err = key_from_blob(blob, &cert);

    if (err == 0 && (cert->cert == NULL || strcmp(cert->type, f->type) != 0))
        err = gpg_error(GPG_ERR_BAD_CERT);
    if (err == 0)
        err = key_plain(cert, out);
    key_unref(cert);
    return err;
}

static gpg_error_t plain_of_fields(const struct form *f, struct rd q, struct rd application,
                                   struct key **out)
{
    struct buf b = BUF_INIT;
    gpg_error_t err;

    buf_put_cstring(&b, f->plain);
    if (f->curve != NULL)
        buf_put_cstring(&b, f->curve);
    buf_put_string(&b, q.p, q.n);
    buf_put_string(&b, application.p, application.n);
    err = buf_err(&b);
    if (err == 0)
        err = key_from_blob(buf_rd(&b), out);
    buf_free(&b);
    return err;
}

/* The public half that stands beside a certificate must be the certified one. */
static gpg_error_t check_fields(const struct key *pub, const struct form *f, struct rd q,
                                struct rd application)
{
    struct rd blob = rd_of(pub->plain, pub->plain_len), type, curve, own;
    gpg_error_t err = rd_string(&blob, &type);

    if (err == 0 && pub->algo == KEY_SK_ECDSA)
        err = rd_string(&blob, &curve);
    if (err == 0)
        err = rd_string(&blob, &own);
    if (err == 0 && ((f->point && !rd_eq(q, own)) || !rd_is(application, pub->sk_application)))
        err = gpg_error(GPG_ERR_BAD_SECKEY);
    return err;
}

static gpg_error_t parse(struct rd r, struct sk_key *k)
{
    struct rd type, cert = {0}, curve, q = {0}, application, handle, reserved;
    const struct form *f;
    gpg_error_t err = rd_string(&r, &type);

    if (err != 0)
        return err;
    f = find_form(type);
    if (f == NULL)
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    if (f->cert)
        err = rd_string(&r, &cert);
    if (err == 0 && f->curve != NULL)
        err = rd_string(&r, &curve);
    if (err == 0 && f->curve != NULL && !rd_is(curve, f->curve))
        err = gpg_error(GPG_ERR_INV_CURVE);
    if (err == 0 && f->point)
        err = rd_string(&r, &q);
    if (err != 0 || (err = rd_string(&r, &application)) != 0 || (err = rd_u8(&r, &k->flags)) != 0 ||
        (err = rd_string(&r, &handle)) != 0 || (err = rd_string(&r, &reserved)) != 0 ||
        (err = rd_end(&r)) != 0)
        return err;
    if (handle.n == 0 || handle.n > MAX_HANDLE)
        return gpg_error(GPG_ERR_BAD_SECKEY);
    err = f->cert ? plain_of_cert(cert, f, &k->pub) : plain_of_fields(f, q, application, &k->pub);
    if (err == 0)
        err = check_fields(k->pub, f, q, application);
    if (err != 0)
        return err;
    k->handle = gpgrt_malloc(handle.n);
    if (k->handle == NULL)
        return gpg_error_from_syserror();
    memcpy(k->handle, handle.p, handle.n);
    k->handle_len = handle.n;
    return 0;
}

gpg_error_t sk_key_new(struct rd body, struct sk_key **out)
{
    struct sk_key *k = gpgrt_calloc(1, sizeof *k);
    gpg_error_t err;

    if (k == NULL)
        return gpg_error_from_syserror();
    err = parse(body, k);
    if (err != 0)
        sk_key_free(k);
    else
        *out = k;
    return err;
}

/* --- the store -------------------------------------------------------------------------------------------------------- */

static gpg_error_t put_key(struct buf *line, const struct stored_key *s)
{
    const struct sk_key *k = s->key;
    gpg_error_t err = driver_put_key(line, s->id, k->pub, "sa", "ssh");

    if (err != 0)
        return err;
    field_put(line, "touch", (k->flags & SK_KEY_PRESENCE) != 0 ? "always" : "never");
    field_put(line, "pin", (k->flags & SK_KEY_VERIFICATION) != 0 ? "always" : "none");
    field_put_int(line, "slow", 1);
    field_put(line, "comment", s->comment);
    return buf_err(line);
}

static void free_key(void *key)
{
    sk_key_free(key);
}

const struct key_store_ops sk_key_store_ops = {.free = free_key, .put = put_key};

gpg_error_t sk_key_add(struct key_store *s, struct rd body, const char *comment, struct buf *line)
{
    struct sk_key *k = NULL;
    uint8_t digest[32];
    char *id;
    gpg_error_t err = sk_key_new(body, &k);

    if (err != 0)
        return err;
    /* Not the keygrip: one point may serve several applications. */
    gcry_md_hash_buffer(GCRY_MD_SHA256, digest, k->pub->plain, k->pub->plain_len);
    id = hex_encode(digest, sizeof digest);
    if (id == NULL) {
        err = gpg_error_from_syserror();
        sk_key_free(k);
        return err;
    }
    err = key_store_add(s, k, id, comment, line);
    gpgrt_free(id);
    return err;
}

/* --- signatures ------------------------------------------------------------------------------------------------------- */

uint8_t sk_key_wanted(const struct sk_key *k, const struct driver_op *op)
{
    uint8_t wanted = k->flags & (SK_KEY_PRESENCE | SK_KEY_VERIFICATION);

    if (op->want_touch)
        wanted |= SK_KEY_PRESENCE;
    if (op->pin_age == 0) /* a PIN typed for this operation */
        wanted |= SK_KEY_VERIFICATION;
    return wanted;
}

gpg_error_t sk_key_finish(const struct sk_key *k, uint8_t wanted, const struct sk_assertion *says,
                          struct rd r, struct rd s, struct driver_op *op, gcry_sexp_t *sig)
{
    gcry_sexp_t made = NULL;
    gpg_error_t err;

    if (k->pub->algo == KEY_SK_ED25519)
        err = r.n == 64 ? sig_from_raw(k->pub, r, &made) : gpg_error(GPG_ERR_BAD_SIGNATURE);
    else
        err = sig_from_rs(k->pub, r, s, &made);
    if (err == 0)
        err = sk_sig_check(k->pub, op->input.data, says, made);
    if (err == 0 && (wanted & SK_KEY_PRESENCE) != 0 && (says->flags & SK_USER_PRESENT) == 0) {
        gpgrt_log_error("the security key signed without the touch that it was asked for\n");
        err = gpg_error(GPG_ERR_BAD_SIGNATURE);
    }
    if (err == 0 && (wanted & SK_KEY_VERIFICATION) != 0 && (says->flags & SK_USER_VERIFIED) == 0) {
        gpgrt_log_error("the security key signed without verifying the person\n");
        err = gpg_error(GPG_ERR_BAD_SIGNATURE);
    }
    if (err != 0) {
        gcry_sexp_release(made);
        return err;
    }
    op->asserted = true;
    op->says = *says;
    op->touched = (says->flags & SK_USER_PRESENT) != 0;
    if ((says->flags & SK_USER_VERIFIED) != 0 && !op->pin_typed)
        op->pin_device = true;
    if ((says->flags & SK_USER_VERIFIED) == 0)
        op->pin_typed = false; /* it took the PIN for nothing */
    *sig = made;
    return 0;
}
