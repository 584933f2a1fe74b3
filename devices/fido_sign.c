/* Assertions: signatures by keys that were added, and by one of several credentials that the broker names. */
#include "devices/fido_work.h"
#include "proto/token_protocol.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <string.h>

#define MAX_CREDENTIALS 16u
#define MAX_BODIES      (16u * 1024u)
#define MAX_MESSAGE     (64u * 1024u)

/* One assertion under way. */
struct signing {
    struct fido_work w;
    struct fido_query q;
    uint8_t digest[32]; /* of the message: what WebAuthn calls the client data hash */
    uint8_t wanted;     /* SK_KEY_* */
    struct fido_result result;
};

static int attempt(struct signing *s)
{
    struct fido_work *w = &s->w;
    bool presence = (s->wanted & SK_KEY_PRESENCE) != 0;
    gpg_error_t err = fido_claim(w->bus, w->some, w->nsome, true, w->op->io);
    int rc;

    if (err != 0)
        return gpg_err_code(err) == GPG_ERR_CANCELED ? FIDO_ERR_KEEPALIVE_CANCEL
                                                     : FIDO_ERR_INTERNAL;
    for (size_t i = 0; i < w->nsome; i++)
        presence |= !w->some[i]->fido2; /* U2F knows no other way */
    rc = fido_race(w->bus, w->some, w->nsome, &s->q, s->digest, presence, w->uv, fido_work_pin(w),
                   w->op->io, &s->result);
    fido_release(w->bus, w->some, w->nsome);
    return rc;
}

static gpg_error_t sign_somewhere(struct signing *s)
{
    struct fido_work *w = &s->w;
    bool again = true;
    gpg_error_t err;
    int rc;

    if ((s->wanted & SK_KEY_VERIFICATION) != 0) {
        err = fido_work_choose(w);
        if (err != 0)
            return err;
        w->uv = w->some[0]->has_uv;
        w->pin_due = !w->uv;
        err = w->pin_due ? fido_work_ask_pin(w) : 0;
        if (err != 0)
            return err;
    }
    do {
        rc = attempt(s);
        if (rc == FIDO_OK)
            return 0;
        err = fido_work_next(w, rc, &again);
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
    const struct sk_key *k = s->result.key;
    struct buf br = BUF_INIT, bs = BUF_INIT;
    gpg_error_t err = 0;

    if (k->pub->algo == KEY_SK_ECDSA)
        err = from_der(&s->result.sig, &br, &bs);
    else
        buf_put_rd(&br, buf_rd(&s->result.sig));
    if (err == 0)
        err = sk_key_finish(k, s->wanted, &s->result.says, buf_rd(&br), buf_rd(&bs), s->w.op, sig);
    if (err == 0)
        fido_note_device(s->w.op, s->result.place);
    buf_free(&br);
    buf_free(&bs);
    return err;
}

/* S->q, S->wanted and the message in its operation are set. */
static gpg_error_t run(struct signing *s, gcry_sexp_t *sig)
{
    struct rd data = s->w.op->input.data;
    gpg_error_t err;

    gcry_md_hash_buffer(GCRY_MD_SHA256, s->digest, data.p, data.n);
    err = fido_work_find(&s->w, &s->q);
    if (err == 0)
        err = sign_somewhere(s);
    if (err == 0)
        err = finish(s, sig);
    fido_work_clear(&s->w);
    buf_free(&s->result.sig);
    return err;
}

gpg_error_t fido_sign(void *state, struct driver_op *op, gcry_sexp_t *sig)
{
    struct fido *f = state;
    struct signing s = {.w = FIDO_WORK_INIT(f->bus, op)};
    struct stored_key *stored = key_store_get(f->keys, op->key_id);
    struct sk_key *k;
    gpg_error_t err;

    if (stored == NULL)
        return gpg_error(GPG_ERR_NO_SECKEY);
    k = stored->key;
    s.q = (struct fido_query){.keys = &k, .n = 1};
    s.wanted = sk_key_wanted(k, op);
    err = run(&s, sig);
    key_store_put(f->keys, stored);
    return err;
}

/* --- one of several credentials ------------------------------------------------------------------------------------------- */

static gpg_error_t read_credentials(struct rd r, struct sk_key **keys, size_t *n)
{
    while (r.n > 0) {
        struct rd body;
        gpg_error_t err = rd_string(&r, &body);

        if (err == 0 && *n == MAX_CREDENTIALS)
            err = gpg_error(GPG_ERR_TOO_MANY);
        if (err == 0)
            err = sk_key_new(body, &keys[*n]);
        if (err != 0)
            return err;
        ++*n;
        if (strcmp(keys[0]->pub->sk_application, keys[*n - 1]->pub->sk_application) != 0)
            return gpg_error(GPG_ERR_CONFLICT);
    }
    return *n > 0 ? 0 : gpg_error(GPG_ERR_NO_DATA);
}

static gpg_error_t answer(const struct signing *s, gcry_sexp_t sig, struct buf *result)
{
    const struct driver_io *io = s->w.op->io;
    size_t n = gcry_sexp_sprint(sig, GCRYSEXP_FMT_CANON, NULL, 0);
    char *text = gpgrt_malloc(n + 1);
    struct buf line = BUF_INIT;
    gpg_error_t err;

    if (text == NULL)
        return gpg_error_from_syserror();
    buf_put(result, text, gcry_sexp_sprint(sig, GCRYSEXP_FMT_CANON, text, n + 1));
    gpgrt_free(text);
    for (size_t i = 0; i < s->q.n; i++)
        if (s->q.keys[i] == s->result.key)
            field_put_int(&line, "n", (long)i);
    err = buf_cstr(&line) != NULL ? io->status(io->arg, TOKEN_STATUS_CREDENTIAL, buf_cstr(&line))
                                  : gpg_error(GPG_ERR_ENOMEM);
    buf_free(&line);
    return err;
}

gpg_error_t fido_assert_verb(void *state, struct driver_op *op, struct buf *result)
{
    struct fido *f = state;
    struct signing s = {.w = FIDO_WORK_INIT(f->bus, op), .wanted = SK_KEY_PRESENCE};
    struct sk_key *keys[MAX_CREDENTIALS] = {NULL};
    struct buf bodies = BUF_INIT, data = BUF_INIT;
    gcry_sexp_t sig = NULL;
    gpg_error_t err;

    s.q.keys = keys;
    s.w.everyone = true;
    err = op->io->inquire(op->io->arg, "CREDENTIALS", NULL, MAX_BODIES, false, &bodies);
    if (err == 0)
        err = read_credentials(buf_rd(&bodies), keys, &s.q.n);
    if (err == 0)
        err = op->io->inquire(op->io->arg, "DATA", NULL, MAX_MESSAGE, false, &data);
    op->input.data = buf_rd(&data);
    if (err == 0)
        err = run(&s, &sig);
    if (err == 0)
        err = answer(&s, sig, result);
    gcry_sexp_release(sig);
    for (size_t i = 0; i < MAX_CREDENTIALS; i++)
        sk_key_free(keys[i]);
    buf_free(&bodies);
    buf_free(&data);
    return err;
}
