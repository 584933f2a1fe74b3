/* The objects on a token: public keys and certificates, and the private keys that belong to them. */
#include "devices/pkcs11.h"

#include <string.h>

#define MAX_OBJECTS   1024u
#define MAX_ATTRIBUTE 65536u

/* --- attributes ----------------------------------------------------------------------------------------------------------- */

/* Appends the value of an attribute to OUT. GPG_ERR_NO_OBJ when there is none. */
static gpg_error_t get(struct p11_token *t, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type,
                       struct buf *out)
{
    CK_ATTRIBUTE a = {.type = type};
    uint8_t *value;
    gpg_error_t err;

    err = p11_check(t, "C_GetAttributeValue", t->f->C_GetAttributeValue(t->session, o, &a, 1));
    if (err != 0)
        return err;
    if (a.ulValueLen == (CK_ULONG)-1)
        return gpg_error(GPG_ERR_NO_OBJ);
    if (a.ulValueLen > MAX_ATTRIBUTE)
        return gpg_error(GPG_ERR_TOO_LARGE);
    value = gpgrt_malloc(a.ulValueLen + 1);
    if (value == NULL)
        return gpg_error_from_syserror();
    a.pValue = value;
    err = p11_check(t, "C_GetAttributeValue", t->f->C_GetAttributeValue(t->session, o, &a, 1));
    if (err == 0 && a.ulValueLen > MAX_ATTRIBUTE)
        err = gpg_error(GPG_ERR_NO_OBJ);
    if (err == 0)
        buf_put(out, value, a.ulValueLen);
    gpgrt_free(value);
    return err != 0 ? err : buf_err(out);
}

static gpg_error_t get_number(struct p11_token *t, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type,
                              CK_ULONG *out)
{
    CK_ULONG v = 0;
    CK_ATTRIBUTE a = {type, &v, sizeof v};
    gpg_error_t err =
        p11_check(t, "C_GetAttributeValue", t->f->C_GetAttributeValue(t->session, o, &a, 1));

    if (err == 0 && a.ulValueLen != sizeof v)
        err = gpg_error(GPG_ERR_NO_OBJ);
    if (err == 0)
        *out = v;
    return err;
}

bool p11_get_flag(struct p11_token *t, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type)
{
    CK_BBOOL v = CK_FALSE;
    CK_ATTRIBUTE a = {type, &v, sizeof v};

    return t->f->C_GetAttributeValue(t->session, o, &a, 1) == CKR_OK && a.ulValueLen == sizeof v &&
           v == CK_TRUE;
}

/* --- searching ------------------------------------------------------------------------------------------------------------ */

static gpg_error_t find(struct p11_token *t, CK_ATTRIBUTE *what, CK_ULONG nwhat,
                        CK_OBJECT_HANDLE **out, size_t *n)
{
    CK_OBJECT_HANDLE *found = gpgrt_calloc(MAX_OBJECTS, sizeof *found);
    CK_ULONG got = 0;
    size_t total = 0;
    gpg_error_t err;

    if (found == NULL)
        return gpg_error_from_syserror();
    err = p11_check(t, "C_FindObjectsInit", t->f->C_FindObjectsInit(t->session, what, nwhat));
    while (err == 0 && total < MAX_OBJECTS) {
        err = p11_check(t, "C_FindObjects",
                        t->f->C_FindObjects(t->session, found + total, MAX_OBJECTS - total, &got));
        if (err != 0 || got == 0 || got > MAX_OBJECTS - total)
            break;
        total += got;
    }
    if (t->open)
        (void)t->f->C_FindObjectsFinal(t->session);
    if (err != 0) {
        gpgrt_free(found);
        return err;
    }
    *out = found;
    *n = total;
    return 0;
}

static CK_KEY_TYPE type_of(const struct key *k)
{
    return k->algo == KEY_RSA ? CKK_RSA : k->algo == KEY_ED25519 ? CKK_EC_EDWARDS : CKK_EC;
}

/* Could private key O be K's other half, as far as its public parts tell? */
static bool may_fit(struct p11_token *t, CK_OBJECT_HANDLE o, const struct key *k)
{
    struct buf n = BUF_INIT;
    gcry_sexp_t part = NULL;
    const char *modulus;
    size_t len = 0;
    bool fits = true;

    if (k->algo != KEY_RSA || get(t, o, CKA_MODULUS, &n) != 0)
        goto out;
    part = gcry_sexp_find_token(k->sexp, "n", 0);
    modulus = part != NULL ? gcry_sexp_nth_data(part, 1, &len) : NULL;
    fits = modulus != NULL && rd_eq(rd_magnitude(rd_of(modulus, len)), rd_magnitude(buf_rd(&n)));
out:
    gcry_sexp_release(part);
    buf_free(&n);
    return fits;
}

gpg_error_t p11_find_private(struct p11_token *t, const struct p11_key *k, CK_OBJECT_HANDLE *out)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_KEY_TYPE type = type_of(k->key);
    CK_ATTRIBUTE what[] = {{CKA_CLASS, &class, sizeof class},
                           {CKA_KEY_TYPE, &type, sizeof type},
                           {CKA_ID, k->cka_id, k->cka_id_len}};
    CK_OBJECT_HANDLE *found = NULL;
    size_t n = 0, i = 0;
    gpg_error_t err;

    err = find(t, what, k->cka_id_len > 0 ? 3 : 2, &found, &n);
    while (err == 0 && t->open && i < n && !may_fit(t, found[i], k->key))
        i++;
    if (err == 0 && !t->open)
        err = gpg_error(GPG_ERR_CARD_RESET);
    if (err == 0 && i == n)
        err = gpg_error(GPG_ERR_NO_SECKEY);
    if (err == 0)
        *out = found[i];
    gpgrt_free(found);
    return err;
}

/* --- keys ----------------------------------------------------------------------------------------------------------------- */

static void key_clear(struct p11_key *k)
{
    key_unref(k->key);
    gpgrt_free(k->id);
    gpgrt_free(k->label);
    gpgrt_free(k->cka_id);
    *k = (struct p11_key){0};
}

void p11_keys_free(struct p11_token *t)
{
    for (size_t i = 0; i < t->nkeys; i++)
        key_clear(&t->keys[i]);
    gpgrt_free(t->keys);
    t->keys = NULL;
    t->nkeys = 0;
}

static gpg_error_t read_rsa(struct p11_token *t, CK_OBJECT_HANDLE o, struct key **out)
{
    struct buf n = BUF_INIT, e = BUF_INIT;
    gpg_error_t err = get(t, o, CKA_MODULUS, &n);

    if (err == 0)
        err = get(t, o, CKA_PUBLIC_EXPONENT, &e);
    if (err == 0)
        err = key_from_rsa(rd_magnitude(buf_rd(&n)), rd_magnitude(buf_rd(&e)), out);
    buf_free(&n);
    buf_free(&e);
    return err;
}

static gpg_error_t read_ec(struct p11_token *t, CK_OBJECT_HANDLE o, bool edwards, struct key **out)
{
    struct buf params = BUF_INIT, point = BUF_INIT;
    gpg_error_t err = get(t, o, CKA_EC_PARAMS, &params);

    if (err == 0)
        err = get(t, o, CKA_EC_POINT, &point);
    if (err == 0)
        err = p11_parse_ec(buf_rd(&params), buf_rd(&point), edwards, out);
    buf_free(&params);
    buf_free(&point);
    return err;
}

static gpg_error_t read_public(struct p11_token *t, CK_OBJECT_HANDLE o, struct p11_key *k)
{
    CK_ULONG type = 0;
    struct buf label = BUF_INIT;
    gpg_error_t err = get_number(t, o, CKA_KEY_TYPE, &type);

    if (err != 0)
        return err;
    switch (type) {
    case CKK_RSA:
        err = read_rsa(t, o, &k->key);
        break;
    case CKK_EC:
        err = read_ec(t, o, false, &k->key);
        break;
    case CKK_EC_EDWARDS:
        err = read_ec(t, o, true, &k->key);
        break;
    default:
        err = gpg_error(GPG_ERR_PUBKEY_ALGO);
    }
    if (err == 0 && get(t, o, CKA_LABEL, &label) == 0)
        k->label = p11_text(label.data, label.len);
    buf_free(&label);
    return err;
}

/* As ssh-agent does it, the comment of a key that only a certificate shows is the certificate's subject. */
static gpg_error_t read_cert(struct p11_token *t, CK_OBJECT_HANDLE o, struct p11_key *k)
{
    CK_ULONG type = 0;
    struct buf der = BUF_INIT;
    gpg_error_t err = get_number(t, o, CKA_CERTIFICATE_TYPE, &type);

    if (err == 0 && type != CKC_X_509)
        err = gpg_error(GPG_ERR_BAD_CERT);
    if (err == 0)
        err = get(t, o, CKA_VALUE, &der);
    if (err == 0)
        err = p11_parse_cert(buf_rd(&der), &k->key, &k->label);
    buf_free(&der);
    return err;
}

static gpg_error_t complete(struct p11_token *t, CK_OBJECT_HANDLE o, struct p11_key *k)
{
    struct buf id = BUF_INIT;
    CK_OBJECT_HANDLE private;
    gpg_error_t err = get(t, o, CKA_ID, &id);

    if (err == 0 && id.len > 0) {
        k->cka_id = gpgrt_malloc(id.len);
        if (k->cka_id != NULL) {
            memcpy(k->cka_id, id.data, id.len);
            k->cka_id_len = id.len;
        }
    }
    buf_free(&id);
    if (gpg_err_code(err) == GPG_ERR_NO_OBJ)
        err = 0;
    k->id = hex_encode(k->key->grip, sizeof k->key->grip);
    if (err == 0 && k->id == NULL)
        err = gpg_error_from_syserror();
    if (err != 0)
        return err;
    err = p11_find_private(t, k, &private);
    if (err == 0)
        k->always_auth = p11_get_flag(t, private, CKA_ALWAYS_AUTHENTICATE);
    /* Before the login private keys cannot be seen. */
    if (gpg_err_code(err) == GPG_ERR_NO_SECKEY && p11_wants_login(t) && !t->logged_in)
        err = 0;
    return err;
}

static bool have(const struct p11_token *t, const struct key *k)
{
    for (size_t i = 0; i < t->nkeys; i++)
        if (key_same(t->keys[i].key, k))
            return true;
    return false;
}

struct kind {
    CK_OBJECT_CLASS class;
    gpg_error_t (*read)(struct p11_token *t, CK_OBJECT_HANDLE o, struct p11_key *k);
};

static gpg_error_t find_kind(struct p11_token *t, const struct kind *kind,
                             bool (*skip)(void *arg, const struct key *k), void *arg)
{
    CK_OBJECT_CLASS class = kind->class;
    CK_ATTRIBUTE what = {CKA_CLASS, &class, sizeof class};
    CK_OBJECT_HANDLE *found = NULL;
    size_t n = 0;
    gpg_error_t err = find(t, &what, 1, &found, &n);

    for (size_t i = 0; err == 0 && i < n; i++) {
        struct p11_key k = {0}, *more;
        gpg_error_t one = kind->read(t, found[i], &k);

        if (one == 0 && k.key->blob != NULL && !have(t, k.key) &&
            !(skip != NULL && skip(arg, k.key))) {
            one = complete(t, found[i], &k);
            more =
                one == 0 ? gpgrt_reallocarray(t->keys, t->nkeys, t->nkeys + 1, sizeof *more) : NULL;
            if (more != NULL) {
                t->keys = more;
                t->keys[t->nkeys++] = k;
                k = (struct p11_key){0};
            } else if (one == 0) {
                err = gpg_error_from_syserror();
            }
        }
        /* One key that cannot be read is left out; a session that is gone is the end of all. */
        if (gpg_err_code(one) == GPG_ERR_CARD_RESET)
            err = one;
        key_clear(&k);
    }
    gpgrt_free(found);
    return err;
}

gpg_error_t p11_find_keys(struct p11_token *t, bool (*skip)(void *arg, const struct key *k),
                          void *arg)
{
    static const struct kind kinds[] = {{CKO_PUBLIC_KEY, read_public},
                                        {CKO_CERTIFICATE, read_cert}};
    gpg_error_t err = 0;

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && err == 0; i++)
        err = find_kind(t, &kinds[i], skip, arg);
    return err;
}
