/* Keys and their certificates: made, brought, taken away. */
#include "devices/piv_admin.h"

#include "proto/token_protocol.h"

#include <string.h>

#define INS_GENERATE 0x47
#define INS_MOVE     0xf6
#define INS_IMPORT   0xfe
#define MAX_FILE     65536u
#define MAX_DAYS     36500

struct key_work {
    unsigned slot;
    uint8_t alg, pin, touch; /* policies: 0, the slot's own */
    struct buf fields;       /* IMPORT: secure */
    struct key *made;        /* GENERATE */
    struct buf certificate;  /* DER */
    bool kept;               /* DELETE: the key itself is still there */
};

/* --- what is wanted ------------------------------------------------------------------------------------------------- */

static gpg_error_t get_policy(const char *args, const char *name, const char *const *words,
                              uint8_t *out)
{
    char *word = NULL;
    gpg_error_t err = field_get(args, name, &word);

    *out = 0;
    for (uint8_t i = 1; err == 0 && word != NULL && words[i] != NULL; i++)
        if (strcmp(words[i], word) == 0)
            *out = i;
    if (err == 0 && word != NULL && *out == 0)
        err = gpg_error(GPG_ERR_INV_VALUE);
    gpgrt_free(word);
    return err;
}

static gpg_error_t read_policies(const struct piv *p, const struct driver_op *op,
                                 struct key_work *w)
{
    static const char *const pins[] = {"", "never", "once", "always", NULL}, *const touches[] = {
                                                                                 "", "never",
                                                                                 "always", "cached",
                                                                                 NULL};
    gpg_error_t err = get_policy(op->args, "pin-policy", pins, &w->pin);

    if (err == 0)
        err = get_policy(op->args, "touch-policy", touches, &w->touch);
    /* A card that knows none would take the command, and enforce nothing. */
    if (err == 0 && (w->pin != 0 || w->touch != 0) && p->version[0] < 4)
        err = gpg_error(GPG_ERR_NOT_SUPPORTED);
    return err;
}

static gpg_error_t begin_work(struct piv *p, const struct driver_op *op, struct key_work *w)
{
    gpg_error_t err = piv_learn_card(p, false);

    return err != 0 ? err : piv_find(op->key_id, &w->slot);
}

/* Is a key in the slot, as far as can be known? Without force it stays. */
static gpg_error_t check_empty(const struct piv *p, const struct driver_op *op,
                               const struct key_work *w)
{
    long force = 0;
    gpg_error_t err = field_get_int(op->args, "force", 0, &force);

    return err != 0                                      ? err
           : p->slots[w->slot].key != NULL && force != 1 ? gpg_error(GPG_ERR_EEXIST)
                                                         : 0;
}

static void put_octet(struct buf *b, uint32_t tag, uint8_t v)
{
    if (v != 0)
        buf_put_tlv(b, tag, &v, 1);
}

/* --- GENERATE ------------------------------------------------------------------------------------------------------- */

/* SP 800-73-4 part 2, 3.3.2. The certificate that was there is another key's. */
static gpg_error_t generate(struct piv_admin *a)
{
    struct key_work *w = a->arg;
    struct apdu c = {
        .ins = INS_GENERATE, .p2 = piv_places[w->slot].ref, .want_data = true, .expect = 600};
    struct buf body = BUF_INIT, data = BUF_INIT, answer = BUF_INIT;
    struct rd r, value;
    uint32_t tag;
    gpg_error_t err;

    put_octet(&body, 0x80, w->alg);
    put_octet(&body, 0xaa, w->pin);
    put_octet(&body, 0xab, w->touch);
    buf_put_tlv(&data, 0xac, body.data, body.len);
    err = buf_err(&body) != 0 ? buf_err(&body) : buf_err(&data);
    if (err == 0) {
        c.data = buf_rd(&data);
        err = piv_admin_command(a, &c, &answer);
    }
    r = buf_rd(&answer);
    if (err == 0 && (rd_tlv(&r, &tag, &value) != 0 || tag != 0x7f49))
        err = gpg_error(GPG_ERR_CARD);
    if (err == 0)
        err = piv_parse_public(w->alg, value, w->slot == PIV_KEYM, &w->made);
    if (err == 0)
        err = piv_admin_put_object(a, piv_places[w->slot].cert, rd_of(NULL, 0));
    buf_free(&body);
    buf_free(&data);
    buf_free(&answer);
    return err;
}

static gpg_error_t put_public(const struct key *k, struct buf *result)
{
    size_t n = gcry_sexp_sprint(k->sexp, GCRYSEXP_FMT_CANON, NULL, 0);
    char *text = gpgrt_malloc(n);

    if (text == NULL)
        return gpg_error_from_syserror();
    buf_put(result, text, gcry_sexp_sprint(k->sexp, GCRYSEXP_FMT_CANON, text, n));
    gpgrt_free(text);
    return buf_err(result);
}

/* Until it is learned anew, which the broker sees to, this is what is known of the slot. */
static void note_made(struct piv *p, struct key_work *w)
{
    struct piv_slot *s = &p->slots[w->slot];

    key_unref(s->key);
    *s = (struct piv_slot){.key = key_ref(w->made),
                           .alg = w->alg,
                           .pin = w->pin,
                           .touch = w->touch != 0 ? w->touch : PIV_TOUCH_NEVER,
                           .origin = 1,
                           .told = true};
    p->learned = true;
}

gpg_error_t piv_admin_generate(void *state, struct driver_op *op, struct buf *result)
{
    struct piv_admin a = {.p = state, .op = op, .manages = true, .run = generate};
    struct key_work w = {0};
    char *algo = NULL;
    gpg_error_t err = begin_work(a.p, op, &w);

    a.arg = &w;
    if (err == 0)
        err = check_empty(a.p, op, &w);
    if (err == 0)
        err = read_policies(a.p, op, &w);
    if (err == 0)
        err = field_get(op->args, "algo", &algo);
    if (err == 0) {
        w.alg = algo != NULL ? piv_alg_by_name(algo) : PIV_P256;
        /* RSA of 1024 bits is for what was made long ago. */
        if (w.alg == 0 || w.alg == PIV_RSA1024)
            err = gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    }
    if (err == 0)
        err = piv_admin_run(&a);
    if (err == 0) {
        note_made(a.p, &w);
        err = put_public(w.made, result);
    }
    key_unref(w.made);
    gpgrt_free(algo);
    return err;
}

/* --- CERTIFICATE ---------------------------------------------------------------------------------------------------- */

static gpg_error_t store_certificate(struct piv_admin *a)
{
    static const uint8_t plain = 0;
    struct key_work *w = a->arg;
    struct buf value = BUF_INIT;
    gpg_error_t err;

    buf_put_tlv(&value, 0x70, w->certificate.data, w->certificate.len);
    buf_put_tlv(&value, 0x71, &plain, 1);
    buf_put_tlv(&value, 0xfe, NULL, 0);
    err = buf_err(&value);
    if (err == 0)
        err = piv_admin_put_object(a, piv_places[w->slot].cert, buf_rd(&value));
    buf_free(&value);
    return err;
}

/* By the key itself: PIN and touch as with any other signature. */
static gpg_error_t self_sign(struct piv *p, struct driver_op *op, const char *name, unsigned days,
                             struct key_work *w)
{
    struct piv_tbs *t = NULL;
    gcry_sexp_t sig = NULL;
    struct key *k = key_ref(p->slots[w->slot].key);
    gpg_error_t err = piv_tbs_new(k, name, days, &t);

    if (err == 0) {
        piv_tbs_input(t, &op->input);
        err = piv_sign(p, op, &sig);
    }
    if (err == 0)
        err = sig_verify(k, &op->input, sig);
    if (err == 0)
        err = piv_tbs_finish(t, k, sig, &w->certificate);
    gcry_sexp_release(sig);
    piv_tbs_free(t);
    key_unref(k);
    return err;
}

gpg_error_t piv_admin_certificate(void *state, struct driver_op *op, struct buf *result)
{
    struct piv_admin a = {.p = state, .op = op, .manages = true, .run = store_certificate};
    struct key_work w = {0};
    char *name = NULL;
    long days = 3650;
    gpg_error_t err = begin_work(a.p, op, &w);

    a.arg = &w;
    if (err == 0 && a.p->slots[w.slot].key == NULL)
        err = gpg_error(GPG_ERR_NO_SECKEY);
    if (err == 0)
        err = field_get(op->args, "name", &name);
    if (err == 0)
        err = field_get_int(op->args, "days", days, &days);
    if (err == 0 && (days < 1 || days > MAX_DAYS || (name != NULL && strlen(name) > 64)))
        err = gpg_error(GPG_ERR_INV_VALUE);
    if (err == 0)
        err = self_sign(a.p, op, name != NULL ? name : piv_places[w.slot].id, (unsigned)days, &w);
    if (err == 0)
        err = piv_admin_run(&a);
    if (err == 0)
        buf_put_rd(result, buf_rd(&w.certificate));
    buf_free(&w.certificate);
    gpgrt_free(name);
    return err != 0 ? err : buf_err(result);
}

/* --- IMPORT --------------------------------------------------------------------------------------------------------- */

static gpg_error_t import(struct piv_admin *a)
{
    struct key_work *w = a->arg;
    struct apdu c = {.ins = INS_IMPORT,
                     .p1 = w->alg,
                     .p2 = piv_places[w->slot].ref,
                     .data = buf_rd(&w->fields),
                     .secret = true};
    gpg_error_t err = piv_admin_command(a, &c, NULL);

    return err != 0 ? err : piv_admin_put_object(a, piv_places[w->slot].cert, rd_of(NULL, 0));
}

gpg_error_t piv_admin_import(void *state, struct driver_op *op, struct buf *result)
{
    struct piv_admin a = {.p = state, .op = op, .manages = true, .run = import};
    struct key_work w = {0};
    struct piv_keyfile k = {0};
    struct buf file = BUF_INIT_SECURE;
    gpg_error_t err = begin_work(a.p, op, &w);

    (void)result;
    a.arg = &w;
    if (err == 0 && a.p->version[0] == 0)
        err = gpg_error(GPG_ERR_NOT_SUPPORTED);
    if (err == 0)
        err = check_empty(a.p, op, &w);
    if (err == 0)
        err = read_policies(a.p, op, &w);
    if (err == 0)
        err = op->io->inquire(op->io->arg, "VALUE", NULL, MAX_FILE, true, &file);
    if (err == 0)
        err = piv_keyfile_read(op->io, buf_rd(&file), &k);
    if (err == 0) {
        w.alg = k.alg;
        w.fields = BUF_INIT_SECURE;
        buf_put_rd(&w.fields, buf_rd(&k.fields));
        put_octet(&w.fields, 0xaa, w.pin);
        put_octet(&w.fields, 0xab, w.touch);
        err = buf_err(&w.fields);
    }
    if (err == 0)
        err = piv_admin_run(&a);
    piv_keyfile_clear(&k);
    buf_free(&w.fields);
    buf_free(&file);
    return err;
}

/* --- DELETE --------------------------------------------------------------------------------------------------------- */

/* Before firmware 5.7 a key leaves its slot only when another one is put there, or by a reset. */
static gpg_error_t delete (struct piv_admin *a)
{
    struct key_work *w = a->arg;
    struct apdu c = {.ins = INS_MOVE, .p1 = 0xff, .p2 = piv_places[w->slot].ref};
    gpg_error_t err = 0;

    if (w->kept || a->p->slots[w->slot].key == NULL)
        return piv_admin_put_object(a, piv_places[w->slot].cert, rd_of(NULL, 0));
    err = piv_admin_command(a, &c, NULL);
    return err != 0 ? err : piv_admin_put_object(a, piv_places[w->slot].cert, rd_of(NULL, 0));
}

gpg_error_t piv_admin_delete(void *state, struct driver_op *op, struct buf *result)
{
    struct piv_admin a = {.p = state, .op = op, .manages = true, .run = delete};
    struct key_work w = {0};
    gpg_error_t err = begin_work(a.p, op, &w);

    (void)result;
    a.arg = &w;
    w.kept = a.p->version[0] < 5 || (a.p->version[0] == 5 && a.p->version[1] < 7);
    if (err == 0)
        err = piv_admin_run(&a);
    if (err == 0 && w.kept && a.p->slots[w.slot].key != NULL)
        err = op->io->status(op->io->arg, "PIVKEPT", "key=1");
    return err;
}
