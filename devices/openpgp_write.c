/* Keys made on the card and keys brought to it: GENERATE, WRITEKEY. */
#include "devices/openpgp_admin.h"

#include "proto/openpgp.h"
#include "proto/token_protocol.h"

#include <string.h>
#include <strings.h>
#include <time.h>

#define MAX_WRAPPED 8192u
#define WRAPKEY     16u

/* --- algorithm attributes (OpenPGP card 4.4.3.9) ------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    uint8_t algo; /* 0: by slot, ECDH or ECDSA */
    uint8_t n, oid[10];
} curves[] = {
    {"nistp256", 0, 8, {0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07}},
    {"nistp384", 0, 5, {0x2B, 0x81, 0x04, 0x00, 0x22}},
    {"nistp521", 0, 5, {0x2B, 0x81, 0x04, 0x00, 0x23}},
    {"secp256k1", 0, 5, {0x2B, 0x81, 0x04, 0x00, 0x0A}},
    {"brainpoolP256r1", 0, 9, {0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07}},
    {"brainpoolP384r1", 0, 9, {0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0B}},
    {"brainpoolP512r1", 0, 9, {0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0D}},
    {"ed25519", 22, 9, {0x2B, 0x06, 0x01, 0x04, 0x01, 0xDA, 0x47, 0x0F, 0x01}},
    {"cv25519", 18, 10, {0x2B, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01}},
};

gpg_error_t openpgp_make_attributes(const char *name, unsigned slot, struct rd old, struct buf *b)
{
    unsigned bits;

    if (sscanf(name, "rsa%u", &bits) == 1) {
        uint16_t ebits = old.n >= 5 && old.p[0] == 1 ? (uint16_t)(old.p[3] << 8 | old.p[4]) : 32;

        if (bits < 1024 || bits > 8192 || bits % 8 != 0)
            return gpg_error(GPG_ERR_UNKNOWN_ALGORITHM);
        buf_put_u8(b, 1);
        buf_put_u16(b, (uint16_t)bits);
        buf_put_u16(b, ebits);
        buf_put_u8(b, old.n >= 6 && old.p[0] == 1 ? old.p[5] : 0);
        return buf_err(b);
    }
    for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++) {
        if (strcasecmp(curves[i].name, name) != 0)
            continue;
        buf_put_u8(b, curves[i].algo != 0 ? curves[i].algo : slot == SLOT_DEC ? 18 : 19);
        buf_put(b, curves[i].oid, curves[i].n);
        return buf_err(b);
    }
    return gpg_error(GPG_ERR_UNKNOWN_ALGORITHM);
}

/* --- fingerprint and time ------------------------------------------------------------------------------------------------------------- */

static gpg_error_t put_fingerprint(struct openpgp *o, unsigned slot, const struct key *k,
                                   uint32_t created)
{
    uint8_t fpr[20], when[4] = {(uint8_t)(created >> 24), (uint8_t)(created >> 16),
                                (uint8_t)(created >> 8), (uint8_t)created};
    gpg_error_t err = openpgp_fingerprint(k, created, fpr);

    if (err == 0)
        err = openpgp_put_data(o, 0xc7 + slot, rd_of(fpr, sizeof fpr));
    if (err == 0)
        err = openpgp_put_data(o, 0xce + slot, rd_of(when, sizeof when));
    return err;
}

/* A key that would be lost without FORCE. */
static gpg_error_t check_empty(struct openpgp *o, const struct driver_op *op, unsigned slot)
{
    long force = 0;
    gpg_error_t err = field_get_int(op->args, "force", 0, &force);

    if (err == 0)
        err = openpgp_learn_card(o, true, false);
    if (err == 0 && force == 0 && (o->slots[slot].key != NULL || o->slots[slot].has_fpr))
        err = gpg_error(GPG_ERR_EEXIST);
    return err;
}

static gpg_error_t created_of(const struct driver_op *op, uint32_t *created)
{
    long t = 0;
    gpg_error_t err = field_get_int(op->args, "created", 0, &t);

    if (err == 0)
        *created = t > 0 && t <= (long)UINT32_MAX ? (uint32_t)t : (uint32_t)time(NULL);
    return err;
}

/* --- GENERATE -------------------------------------------------------------------------------------------------------------------------- */

struct making {
    unsigned slot;
    uint32_t created;
    struct key *key;
};

static const uint8_t crts[NSLOTS] = {0xb6, 0xb8, 0xa4};

static gpg_error_t make_key(struct openpgp *o, void *arg)
{
    struct making *m = arg;
    const uint8_t crt[2] = {crts[m->slot], 0};
    struct slot *s = &o->slots[m->slot];
    struct apdu a = {.ins = 0x47,
                     .p1 = 0x80,
                     .data = rd_of(crt, sizeof crt),
                     .want_data = true,
                     .expect = s->rsa ? s->rsa_bits / 8 + 32 : 0};
    struct buf answer = BUF_INIT;
    unsigned sw;
    gpg_error_t err = apdu_send(&o->card, &a, &answer, &sw);

    if (err == 0 && sw != 0x9000)
        err = apdu_error(sw);
    /* Once it was sent it may have been done. */
    if (gpg_err_code(err) == GPG_ERR_CARD_RESET || gpg_err_code(err) == GPG_ERR_EAGAIN)
        err = gpg_error(GPG_ERR_CARD);
    if (err == 0)
        err = openpgp_parse_public(s, buf_rd(&answer), &m->key);
    if (err == 0)
        err = put_fingerprint(o, m->slot, m->key, m->created);
    buf_free(&answer);
    return err;
}

static gpg_error_t put_canonical(gcry_sexp_t sexp, struct buf *out)
{
    size_t n = gcry_sexp_sprint(sexp, GCRYSEXP_FMT_CANON, NULL, 0);
    char *text = gcry_malloc_secure(n + 1);

    if (text == NULL)
        return gpg_error_from_syserror();
    n = gcry_sexp_sprint(sexp, GCRYSEXP_FMT_CANON, text, n + 1);
    buf_put(out, text, n);
    gcry_free(text);
    return buf_err(out);
}

gpg_error_t openpgp_generate(void *state, struct driver_op *op, struct buf *result)
{
    struct openpgp *o = state;
    struct making m = {0};
    gpg_error_t err = openpgp_slot_index(op->key_id, &m.slot);

    if (err == 0)
        err = created_of(op, &m.created);
    if (err == 0)
        err = check_empty(o, op, m.slot);
    if (err == 0)
        err = openpgp_in_card(o, op, PW3_ADMIN, make_key, &m);
    openpgp_relearn(o);
    if (err == 0)
        err = put_canonical(m.key->sexp, result);
    key_unref(m.key);
    return err;
}

/* --- WRITEKEY --------------------------------------------------------------------------------------------------------------------------- */

/* A private key's numbers, secure. */
struct parts {
    bool rsa;
    struct buf n, e, d, p, q, u, point;
    char algo[40];   /* as openpgp_make_attributes takes it */
    struct key *key; /* its public half */
};

static void parts_clear(struct parts *k)
{
    struct buf *const all[] = {&k->n, &k->e, &k->d, &k->p, &k->q, &k->u, &k->point};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        buf_free(all[i]);
    key_unref(k->key);
}

static gpg_error_t take(gcry_sexp_t list, const char *name, struct buf *out)
{
    gcry_sexp_t part = gcry_sexp_find_token(list, name, 0);
    const char *data;
    size_t n = 0;

    *out = BUF_INIT_SECURE;
    data = part != NULL ? gcry_sexp_nth_data(part, 1, &n) : NULL;
    if (data != NULL)
        buf_put(out, data, n);
    gcry_sexp_release(part);
    return data != NULL ? buf_err(out) : gpg_error(GPG_ERR_BAD_SECKEY);
}

/* Numbers without the zero that keeps them positive. */
static struct rd number(const struct buf *b)
{
    return rd_magnitude(buf_rd(b));
}

static gpg_error_t read_rsa(gcry_sexp_t list, struct parts *k)
{
    gpg_error_t err;

    k->rsa = true;
    if ((err = take(list, "n", &k->n)) != 0 || (err = take(list, "e", &k->e)) != 0 ||
        (err = take(list, "d", &k->d)) != 0 || (err = take(list, "p", &k->p)) != 0 ||
        (err = take(list, "q", &k->q)) != 0 || (err = take(list, "u", &k->u)) != 0)
        return err;
    snprintf(k->algo, sizeof k->algo, "rsa%u", (unsigned)(8 * number(&k->n).n));
    return key_from_rsa(number(&k->n), number(&k->e), &k->key);
}

static gpg_error_t read_ecc(gcry_sexp_t list, bool ecdh, struct parts *k)
{
    static const struct {
        const char *curve, *name;
    } names[] = {{"NIST P-256", "nistp256"},
                 {"NIST P-384", "nistp384"},
                 {"NIST P-521", "nistp521"},
                 {"Ed25519", "ed25519"},
                 {"Curve25519", "cv25519"}};
    gcry_sexp_t part = gcry_sexp_find_token(list, "curve", 0);
    char *curve = part != NULL ? gcry_sexp_nth_string(part, 1) : NULL;
    gpg_error_t err = curve != NULL ? 0 : gpg_error(GPG_ERR_UNKNOWN_CURVE);

    if (err == 0)
        err = take(list, "q", &k->point);
    if (err == 0)
        err = take(list, "d", &k->d);
    if (err == 0)
        err = key_from_point(curve, buf_rd(&k->point), ecdh, &k->key);
    if (err == 0) {
        snprintf(k->algo, sizeof k->algo, "%s", k->key->curve);
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            if (strcmp(names[i].curve, k->key->curve) == 0)
                snprintf(k->algo, sizeof k->algo, "%s", names[i].name);
    }
    gcry_free(curve);
    gcry_sexp_release(part);
    return err;
}

/* A canonical (private-key ..), zeros behind it. */
static gpg_error_t parse_private(struct rd text, unsigned slot, struct parts *k)
{
    size_t n = gcry_sexp_canon_len(text.p, text.n, NULL, NULL);
    gcry_sexp_t sexp = NULL, key = NULL, list = NULL;
    char *algo = NULL;
    gpg_error_t err = n > 0 ? gcry_sexp_sscan(&sexp, NULL, (const char *)text.p, n)
                            : gpg_error(GPG_ERR_BAD_SECKEY);

    if (err == 0) {
        key = gcry_sexp_find_token(sexp, "private-key", 0);
        list = key != NULL ? gcry_sexp_cadr(key) : NULL;
        algo = list != NULL ? gcry_sexp_nth_string(list, 0) : NULL;
        if (algo == NULL)
            err = gpg_error(GPG_ERR_BAD_SECKEY);
        else if (strcmp(algo, "rsa") == 0)
            err = read_rsa(list, k);
        else if (strcmp(algo, "ecc") == 0 || strcmp(algo, "ecdsa") == 0 ||
                 strcmp(algo, "ecdh") == 0)
            err = read_ecc(list, slot == SLOT_DEC, k);
        else
            err = gpg_error(GPG_ERR_PUBKEY_ALGO);
    }
    gcry_free(algo);
    gcry_sexp_release(list);
    gcry_sexp_release(key);
    gcry_sexp_release(sexp);
    return err;
}

/* RFC 3394. */
static gpg_error_t unwrap(struct rd key, struct rd wrapped, struct buf *out)
{
    gcry_cipher_hd_t h = NULL;
    uint8_t *plain = NULL;
    gpg_error_t err;

    if (key.n != WRAPKEY || wrapped.n < 24 || wrapped.n % 8 != 0)
        return gpg_error(GPG_ERR_INV_LENGTH);
    plain = gcry_malloc_secure(wrapped.n - 8);
    if (plain == NULL)
        return gpg_error_from_syserror();
    err = gcry_cipher_open(&h, GCRY_CIPHER_AES128, GCRY_CIPHER_MODE_AESWRAP, GCRY_CIPHER_SECURE);
    if (err == 0)
        err = gcry_cipher_setkey(h, key.p, key.n);
    if (err == 0)
        err = gcry_cipher_decrypt(h, plain, wrapped.n - 8, wrapped.p, wrapped.n);
    if (err == 0)
        buf_put(out, plain, wrapped.n - 8);
    gcry_cipher_close(h);
    explicit_bzero(plain, wrapped.n - 8);
    gcry_free(plain);
    return err != 0 ? err : buf_err(out);
}

/* The template (7F48) and the octets (5F48) of one number, padded to N (0: as it is). */
static void put_part(struct buf *tags, struct buf *octets, uint8_t tag, struct rd r, size_t n)
{
    size_t len = n > r.n ? n : r.n;
    uint8_t l[3] = {0x82, (uint8_t)(len >> 8), (uint8_t)len};

    buf_put_u8(tags, tag);
    if (len < 0x80)
        buf_put_u8(tags, (uint8_t)len);
    else if (len < 0x100) {
        buf_put_u8(tags, 0x81);
        buf_put_u8(tags, (uint8_t)len);
    } else {
        buf_put(tags, l, sizeof l);
    }
    for (size_t i = r.n; i < len; i++)
        buf_put_u8(octets, 0);
    buf_put_rd(octets, r);
}

/* d mod (f - 1), as many octets as f. */
static gpg_error_t put_exponent(const struct parts *k, const struct buf *factor, struct buf *out)
{
    gcry_mpi_t d = NULL, f = NULL, r = gcry_mpi_snew(0);
    uint8_t *octets = NULL;
    size_t n = 0;
    gpg_error_t err = gcry_mpi_scan(&d, GCRYMPI_FMT_USG, number(&k->d).p, number(&k->d).n, NULL);

    if (err == 0)
        err = gcry_mpi_scan(&f, GCRYMPI_FMT_USG, number(factor).p, number(factor).n, NULL);
    if (err == 0) {
        gcry_mpi_sub_ui(f, f, 1);
        gcry_mpi_mod(r, d, f);
        octets = gcry_malloc_secure(number(factor).n + 1);
        err = octets != NULL ? gcry_mpi_print(GCRYMPI_FMT_USG, octets, number(factor).n + 1, &n, r)
                             : gpg_error_from_syserror();
    }
    if (err == 0)
        buf_put(out, octets, n);
    gcry_free(octets);
    gcry_mpi_release(d);
    gcry_mpi_release(f);
    gcry_mpi_release(r);
    return err != 0 ? err : buf_err(out);
}

/* RSA by the format that the attributes name (4.4.3.9): 0 e p q, 1 with n, 2 with CRT, 3 both. */
static gpg_error_t put_rsa(const struct parts *k, struct rd attr, struct buf *tags,
                           struct buf *octets)
{
    unsigned format = attr.n >= 6 ? attr.p[5] : 0;
    size_t half = (number(&k->n).n + 1) / 2,
           elen = attr.n >= 5 ? ((size_t)attr.p[3] << 8 | attr.p[4]) : 0;
    struct buf dp = BUF_INIT_SECURE, dq = BUF_INIT_SECURE;
    gpg_error_t err = 0;

    put_part(tags, octets, 0x91, number(&k->e), (elen + 7) / 8);
    put_part(tags, octets, 0x92, number(&k->p), half);
    put_part(tags, octets, 0x93, number(&k->q), half);
    if ((format & 2) != 0) {
        err = put_exponent(k, &k->p, &dp);
        if (err == 0)
            err = put_exponent(k, &k->q, &dq);
        if (err == 0) {
            put_part(tags, octets, 0x94, number(&k->u), half);
            put_part(tags, octets, 0x95, buf_rd(&dp), half);
            put_part(tags, octets, 0x96, buf_rd(&dq), half);
        }
    }
    if (err == 0 && (format & 1) != 0)
        put_part(tags, octets, 0x97, number(&k->n), 0);
    buf_free(&dp);
    buf_free(&dq);
    return err;
}

/* A scalar of the curve's length; with the point where the attributes end in FF. */
static gpg_error_t put_ecc(const struct parts *k, struct rd attr, struct buf *tags,
                           struct buf *octets)
{
    struct rd point = buf_rd(&k->point);

    put_part(tags, octets, 0x92, number(&k->d), (k->key->nbits + 7) / 8);
    if (attr.n > 1 && attr.p[attr.n - 1] == 0xff) {
        if (point.n == 33 && point.p[0] == 0x40)
            point = rd_of(point.p + 1, 32);
        put_part(tags, octets, 0x99, point, 0);
    }
    return 0;
}

struct writing {
    unsigned slot;
    uint32_t created;
    const struct parts *key;
};

/* The slot's attributes are those of the key already, or the card lets them be changed. */
static gpg_error_t set_attributes(struct openpgp *o, const struct writing *w, struct buf *attr)
{
    struct buf old = BUF_INIT;
    gpg_error_t err = openpgp_get_data(o, 0xc1 + w->slot, &old);

    if (err == 0)
        err = openpgp_make_attributes(w->key->algo, w->slot, buf_rd(&old), attr);
    if (err == 0 && old.len >= attr->len && memcmp(old.data, attr->data, attr->len) == 0) {
        buf_reset(attr); /* the same, and perhaps the import format behind it */
        buf_put_rd(attr, buf_rd(&old));
    } else if (err == 0) {
        err = openpgp_put_data(o, 0xc1 + w->slot, buf_rd(attr));
    }
    buf_free(&old);
    return err;
}

static gpg_error_t write_key(struct openpgp *o, void *arg)
{
    const struct writing *w = arg;
    const uint8_t crt[2] = {crts[w->slot], 0};
    struct buf attr = BUF_INIT, tags = BUF_INIT, octets = BUF_INIT_SECURE, inner = BUF_INIT_SECURE,
               whole = BUF_INIT_SECURE;
    unsigned sw = 0x9000;
    gpg_error_t err = set_attributes(o, w, &attr);

    if (err == 0)
        err = w->key->rsa ? put_rsa(w->key, buf_rd(&attr), &tags, &octets)
                          : put_ecc(w->key, buf_rd(&attr), &tags, &octets);
    if (err == 0) {
        struct apdu a = {.ins = 0xdb, .p1 = 0x3f, .p2 = 0xff, .secret = true};

        buf_put(&inner, crt, sizeof crt);
        buf_put_tlv(&inner, 0x7f48, tags.data, tags.len);
        buf_put_tlv(&inner, 0x5f48, octets.data, octets.len);
        buf_put_tlv(&whole, 0x4d, inner.data, inner.len);
        a.data = buf_rd(&whole);
        err = buf_err(&whole) != 0 ? buf_err(&whole) : apdu_send(&o->card, &a, NULL, &sw);
    }
    if (err == 0 && sw != 0x9000)
        err = apdu_error(sw);
    if (err == 0)
        err = put_fingerprint(o, w->slot, w->key->key, w->created);
    buf_free(&attr);
    buf_free(&tags);
    buf_free(&octets);
    buf_free(&inner);
    buf_free(&whole);
    return err;
}

gpg_error_t openpgp_writekey(void *state, struct driver_op *op, struct buf *result)
{
    struct openpgp *o = state;
    struct buf wrapkey = BUF_INIT_SECURE, wrapped = BUF_INIT_SECURE, plain = BUF_INIT_SECURE;
    struct parts k = {0};
    struct writing w = {.key = &k};
    gpg_error_t err = openpgp_slot_index(op->key_id, &w.slot);

    (void)result;
    if (err == 0)
        err = created_of(op, &w.created);
    if (err == 0)
        err = check_empty(o, op, w.slot);
    if (err == 0)
        err = op->io->inquire(op->io->arg, "WRAPKEY", NULL, WRAPKEY, true, &wrapkey);
    if (err == 0)
        err = op->io->inquire(op->io->arg, "WRAPPED", NULL, MAX_WRAPPED, true, &wrapped);
    if (err == 0)
        err = unwrap(buf_rd(&wrapkey), buf_rd(&wrapped), &plain);
    if (err == 0)
        err = parse_private(buf_rd(&plain), w.slot, &k);
    if (err == 0)
        err = openpgp_in_card(o, op, PW3_ADMIN, write_key, &w);
    openpgp_relearn(o);
    parts_clear(&k);
    buf_free(&wrapkey);
    buf_free(&wrapped);
    buf_free(&plain);
    return err;
}
