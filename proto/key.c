#include "proto/key.h"
#include "proto/key_internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define RSA_MIN_BITS 1024u
#define RSA_MAX_BITS 16384u
/* Beyond 3072 bits a long exponent only serves to keep the verifier busy: a host key is chosen by a
 * stranger. */
#define RSA_LONG_BITS        3072u
#define RSA_LONG_MAX_E_OCTET 8u

/* --- checks
 * ------------------------------------------------------------------------------------------------
 */

static unsigned bit_length(struct rd r)
{
    return r.n == 0 ? 0 : (unsigned)(8 * r.n) - ((unsigned)__builtin_clz(r.p[0]) - 24);
}

static gpg_error_t check_rsa(struct rd n, struct rd e, unsigned *nbits)
{
    unsigned bits;

    if (n.n > RSA_MAX_BITS / 8 || e.n > n.n)
        return gpg_error(GPG_ERR_BAD_PUBKEY);
    bits = bit_length(n);
    /* libgcrypt loops for ever on some even moduli. */
    if (bits < RSA_MIN_BITS || (n.p[n.n - 1] & 1) == 0)
        return gpg_error(GPG_ERR_BAD_PUBKEY);
    if (e.n == 0 || (e.p[e.n - 1] & 1) == 0 || (e.n == 1 && e.p[0] < 3))
        return gpg_error(GPG_ERR_BAD_PUBKEY);
    if (bits > RSA_LONG_BITS ? e.n > RSA_LONG_MAX_E_OCTET
                             : e.n == n.n && memcmp(e.p, n.p, n.n) >= 0)
        return gpg_error(GPG_ERR_BAD_PUBKEY);
    *nbits = bits;
    return 0;
}

/* 04‖x‖y on a Weierstrass curve. */
static gpg_error_t check_weierstrass(const struct curve *curve, struct rd q)
{
    gcry_ctx_t ctx = NULL;
    gcry_mpi_t value = NULL;
    gcry_mpi_point_t point = NULL;
    gpg_error_t err;

    if (q.n != 1 + 2 * curve->octets || q.p[0] != 4)
        return gpg_error(GPG_ERR_BAD_PUBKEY);
    err = gcry_mpi_ec_new(&ctx, NULL, curve->name);
    if (err != 0)
        goto out;
    value = gcry_mpi_set_opaque_copy(NULL, q.p, (unsigned)(8 * q.n));
    point = gcry_mpi_point_new(0);
    if (value == NULL || point == NULL) {
        err = gpg_error(GPG_ERR_ENOMEM);
        goto out;
    }
    if (gcry_mpi_ec_decode_point(point, value, ctx) != 0 || !gcry_mpi_ec_curve_point(point, ctx))
        err = gpg_error(GPG_ERR_BAD_PUBKEY);
out:
    gcry_mpi_point_release(point);
    gcry_mpi_release(value);
    gcry_ctx_release(ctx);
    return err;
}

/* A point off its curve lies on a weaker one of the sender's choice. */
static gpg_error_t check_point(const struct curve *curve, struct rd q)
{
    switch (curve->form) {
    case CURVE_WEIERSTRASS:
        return check_weierstrass(curve, q);
    case CURVE_EDWARDS:
        return ed25519_check_point(q);
    case CURVE_MONTGOMERY: /* every u belongs to the curve or to its twist, which does no harm */
        return q.n == curve->octets ? 0 : gpg_error(GPG_ERR_BAD_PUBKEY);
    }
    return gpg_error(GPG_ERR_UNKNOWN_CURVE);
}

/* --- s-expressions
 * ----------------------------------------------------------------------------------------- */

/* n and e as MPIs, not octets: gpg's keygrip hashes them with the leading zero of their signed
 * form. */
static gpg_error_t sexp_rsa(struct rd n, struct rd e, gcry_sexp_t *out)
{
    gcry_mpi_t mn = NULL, me = NULL;
    gpg_error_t err = gcry_mpi_scan(&mn, GCRYMPI_FMT_USG, n.p, n.n, NULL);

    if (err == 0)
        err = gcry_mpi_scan(&me, GCRYMPI_FMT_USG, e.p, e.n, NULL);
    if (err == 0)
        err = gcry_sexp_build(out, NULL, "(public-key(rsa(n %m)(e %m)))", mn, me);
    gcry_mpi_release(mn);
    gcry_mpi_release(me);
    return err;
}

static gpg_error_t sexp_ecc(const struct curve *curve, struct rd q, gcry_sexp_t *out)
{
    static const char *const format[] = {
        [CURVE_WEIERSTRASS] = "(public-key(ecc(curve %s)(q %b)))",
        [CURVE_EDWARDS] = "(public-key(ecc(curve %s)(flags eddsa)(q %b)))",
        [CURVE_MONTGOMERY] = "(public-key(ecc(curve %s)(flags djb-tweak)(q %b)))",
    };
    struct buf b = BUF_INIT;
    gpg_error_t err;

    if (curve->form != CURVE_WEIERSTRASS)
        buf_put_u8(&b, 0x40); /* marks the native encoding, as gpg writes it */
    buf_put_rd(&b, q);
    err = buf_err(&b);
    if (err == 0)
        err = gcry_sexp_build(out, NULL, format[curve->form], curve->name, (int)b.len, b.data);
    buf_free(&b);
    return err;
}

gpg_error_t sexp_param(gcry_sexp_t s, const char *name, struct buf *b)
{
    gcry_sexp_t list = gcry_sexp_find_token(s, name, 0);
    const char *data;
    size_t n;

    if (list == NULL)
        return gpg_error(GPG_ERR_NO_OBJ);
    data = gcry_sexp_nth_data(list, 1, &n);
    if (data != NULL)
        buf_put(b, data, n);
    gcry_sexp_release(list);
    return data != NULL ? buf_err(b) : gpg_error(GPG_ERR_NO_OBJ);
}

/* --- the one constructor
 * ----------------------------------------------------------------------------------- */

static gpg_error_t make_plain_blob(struct key *k, const struct ssh_type *type,
                                   const struct key_numbers *num)
{
    struct buf b = BUF_INIT;
    gpg_error_t err;

    buf_put_cstring(&b, type->name);
    if (k->algo == KEY_RSA) {
        buf_put_mpint(&b, num->e.p, num->e.n);
        buf_put_mpint(&b, num->n.p, num->n.n);
    } else if (k->algo == KEY_DSA) {
        dsa_put(&b, num->dsa);
    } else {
        if (type->curve != NULL)
            buf_put_cstring(&b, type->curve);
        buf_put_string(&b, num->q.p, num->q.n);
    }
    if (k->sk_application != NULL)
        buf_put_cstring(&b, k->sk_application);
    err = buf_err(&b);
    if (err != 0) {
        buf_free(&b);
        return err;
    }
    k->plain = k->blob = b.data;
    k->plain_len = k->blob_len = b.len;
    k->type = type->name;
    return 0;
}

static gpg_error_t make_fingerprint(struct key *k)
{
    uint8_t digest[32];
    char *text;

    gcry_md_hash_buffer(GCRY_MD_SHA256, digest, k->plain, k->plain_len);
    text = b64_encode(digest, sizeof digest);
    if (text == NULL)
        return gpg_error_from_syserror();
    text[strcspn(text, "=")] = 0;
    k->fpr = gpgrt_bsprintf("SHA256:%s", text);
    gpgrt_free(text);
    return k->fpr != NULL ? 0 : gpg_error_from_syserror();
}

static gpg_error_t set_application(struct key *k, struct rd application)
{
    char *s = gpgrt_malloc(application.n + 1);

    if (s == NULL)
        return gpg_error_from_syserror();
    if (application.n > 0)
        memcpy(s, application.p, application.n);
    s[application.n] = 0;
    k->sk_application = s;
    return 0;
}

gpg_error_t key_make(enum key_algo algo, const struct key_numbers *given, struct key **out)
{
    struct key_numbers num = *given;
    const struct ssh_type *type;
    struct key *k = gpgrt_calloc(1, sizeof *k);
    gpg_error_t err;

    if (k == NULL)
        return gpg_error_from_syserror();
    k->refs = 1;
    k->algo = algo;
    if (algo == KEY_RSA) {
        num.n = rd_magnitude(num.n);
        num.e = rd_magnitude(num.e);
        num.curve = NULL;
        err = check_rsa(num.n, num.e, &k->nbits);
        if (err == 0)
            err = sexp_rsa(num.n, num.e, &k->sexp);
    } else if (algo == KEY_DSA) {
        err = dsa_check(num.dsa, &k->nbits);
        if (err == 0)
            err = dsa_sexp(num.dsa, &k->sexp);
    } else {
        k->curve = num.curve->name;
        k->nbits = num.curve->nbits;
        err = check_point(num.curve, num.q);
        if (err == 0)
            err = sexp_ecc(num.curve, num.q, &k->sexp);
    }
    if (err == 0 && gcry_pk_get_keygrip(k->sexp, k->grip) == NULL)
        err = gpg_error(GPG_ERR_BAD_PUBKEY);
    if (err == 0 && (algo == KEY_SK_ECDSA || algo == KEY_SK_ED25519))
        err = set_application(k, num.application);
    type = ssh_type_for(algo, num.curve);
    if (err == 0 && type != NULL) {
        err = make_plain_blob(k, type, &num);
        if (err == 0)
            err = make_fingerprint(k);
    }
    if (err != 0) {
        key_unref(k);
        return err;
    }
    *out = k;
    return 0;
}

gpg_error_t key_from_rsa(struct rd n, struct rd e, struct key **out)
{
    return key_make(KEY_RSA, &(struct key_numbers){.n = n, .e = e}, out);
}

static gpg_error_t key_on_curve(const struct curve *curve, struct rd q, bool ecdh, struct key **out)
{
    enum key_algo algo = KEY_ECDSA;

    if (curve == NULL)
        return gpg_error(GPG_ERR_UNKNOWN_CURVE);
    if (curve->form == CURVE_EDWARDS && ecdh)
        return gpg_error(GPG_ERR_INV_CURVE);
    if (curve->form == CURVE_EDWARDS)
        algo = KEY_ED25519;
    else if (curve->form == CURVE_MONTGOMERY || ecdh)
        algo = KEY_ECDH;
    /* gpg's marker of the native point encoding */
    if (curve->form != CURVE_WEIERSTRASS && q.n == curve->octets + 1 && q.p[0] == 0x40) {
        q.p++;
        q.n--;
    }
    return key_make(algo, &(struct key_numbers){.curve = curve, .q = q}, out);
}

gpg_error_t key_from_point(const char *curve, struct rd point, bool ecdh, struct key **out)
{
    return key_on_curve(curve_by_name(curve), point, ecdh, out);
}

static gpg_error_t from_sexp_ecc(gcry_sexp_t list, bool ecdh, struct key **out)
{
    gcry_sexp_t name = gcry_sexp_find_token(list, "curve", 0);
    char *curve = name != NULL ? gcry_sexp_nth_string(name, 1) : NULL;
    struct buf q = BUF_INIT;
    gpg_error_t err = curve != NULL ? 0 : gpg_error(GPG_ERR_UNKNOWN_CURVE);

    if (err == 0)
        err = sexp_param(list, "q", &q);
    if (err == 0)
        err = key_from_point(curve, buf_rd(&q), ecdh, out);
    buf_free(&q);
    gcry_free(curve);
    gcry_sexp_release(name);
    return err;
}

static gpg_error_t from_sexp_rsa(gcry_sexp_t list, struct key **out)
{
    struct buf n = BUF_INIT, e = BUF_INIT;
    gpg_error_t err = sexp_param(list, "n", &n);

    if (err == 0)
        err = sexp_param(list, "e", &e);
    if (err == 0)
        err = key_from_rsa(buf_rd(&n), buf_rd(&e), out);
    buf_free(&n);
    buf_free(&e);
    return err;
}

static gpg_error_t from_sexp_dsa(gcry_sexp_t list, struct key **out)
{
    static const char *const names[4] = {"p", "q", "g", "y"};
    struct buf b[4] = {BUF_INIT, BUF_INIT, BUF_INIT, BUF_INIT};
    struct key_numbers num = {0};
    gpg_error_t err = 0;

    for (int i = 0; i < 4 && err == 0; i++) {
        err = sexp_param(list, names[i], &b[i]);
        num.dsa[i] = rd_magnitude(buf_rd(&b[i]));
    }
    if (err == 0)
        err = key_make(KEY_DSA, &num, out);
    for (int i = 0; i < 4; i++)
        buf_free(&b[i]);
    return err;
}

/* A key that is none of ours: KEY is its (public-key ..). */
static gpg_error_t from_sexp_other(gcry_sexp_t key, struct key **out)
{
    struct key *k = gpgrt_calloc(1, sizeof *k);
    gpg_error_t err;

    if (k == NULL)
        return gpg_error_from_syserror();
    k->refs = 1;
    k->algo = KEY_OTHER;
    k->nbits = gcry_pk_get_nbits(key);
    err = gcry_sexp_build(&k->sexp, NULL, "%S", key);
    if (err == 0 && (k->nbits == 0 || gcry_pk_get_keygrip(k->sexp, k->grip) == NULL))
        err = gpg_error(GPG_ERR_PUBKEY_ALGO);
    if (err != 0)
        key_unref(k);
    else
        *out = k;
    return err;
}

gpg_error_t key_from_sexp(gcry_sexp_t sexp, bool ecdh, struct key **out)
{
    gcry_sexp_t key = gcry_sexp_find_token(sexp, "public-key", 0);
    gcry_sexp_t list = key != NULL ? gcry_sexp_cadr(key) : NULL;
    char *algo = list != NULL ? gcry_sexp_nth_string(list, 0) : NULL;
    gpg_error_t err;

    if (algo == NULL)
        err = gpg_error(GPG_ERR_INV_SEXP);
    else if (strcmp(algo, "rsa") == 0 || strcmp(algo, "openpgp-rsa") == 0)
        err = from_sexp_rsa(list, out);
    else if (strcmp(algo, "ecc") == 0 || strcmp(algo, "ecdsa") == 0 || strcmp(algo, "eddsa") == 0)
        err = from_sexp_ecc(list, ecdh, out);
    else if (strcmp(algo, "ecdh") == 0)
        err = from_sexp_ecc(list, true, out);
    else if (strcmp(algo, "dsa") == 0)
        err = from_sexp_dsa(list, out);
    else
        err = gpg_error(GPG_ERR_PUBKEY_ALGO);
    if (algo != NULL && err != 0 &&
        (gpg_err_code(err) == GPG_ERR_UNKNOWN_CURVE || gpg_err_code(err) == GPG_ERR_PUBKEY_ALGO ||
         strcmp(algo, "dsa") == 0)) {
        gpg_error_t why = err; /* of more use than that it is no other either */

        err = from_sexp_other(key, out);
        if (err != 0)
            err = why;
    }
    gcry_free(algo);
    gcry_sexp_release(list);
    gcry_sexp_release(key);
    return err;
}

gpg_error_t key_with_application(const struct key *k, const char *application, struct key **out)
{
    enum key_algo algo = k->algo == KEY_ED25519 ? KEY_SK_ED25519 : KEY_SK_ECDSA;
    struct key_numbers num = {.application = rd_of(application, strlen(application))};
    struct buf q = BUF_INIT;
    gpg_error_t err;

    if (k->cert != NULL || (k->algo != KEY_ED25519 && k->algo != KEY_ECDSA))
        return gpg_error(GPG_ERR_PUBKEY_ALGO);
    num.curve = curve_by_name(k->curve);
    if (ssh_type_for(algo, num.curve) == NULL)
        return gpg_error(GPG_ERR_INV_CURVE);
    err = sexp_param(k->sexp, "q", &q);
    if (err == 0) {
        num.q = buf_rd(&q);
        if (num.curve->form != CURVE_WEIERSTRASS) { /* the marker in front of the point */
            num.q.p++;
            num.q.n--;
        }
        err = key_make(algo, &num, out);
    }
    buf_free(&q);
    return err;
}

/* --- life
 * --------------------------------------------------------------------------------------------------
 */

struct key *key_ref(struct key *k)
{
    __atomic_add_fetch(&k->refs, 1, __ATOMIC_RELAXED);
    return k;
}

void key_unref(struct key *k)
{
    if (k == NULL || __atomic_sub_fetch(&k->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    gcry_sexp_release(k->sexp);
    if (k->plain != k->blob)
        gpgrt_free(k->plain);
    gpgrt_free(k->blob);
    gpgrt_free(k->fpr);
    gpgrt_free(k->sk_application);
    cert_free(k->cert);
    gpgrt_free(k);
}

gpg_error_t key_plain(struct key *k, struct key **out)
{
    if (k->cert == NULL) {
        *out = key_ref(k);
        return 0;
    }
    return key_from_plain_blob(rd_of(k->plain, k->plain_len), out);
}

/* --- questions
 * --------------------------------------------------------------------------------------------- */

static bool same_sexp(gcry_sexp_t a, gcry_sexp_t b)
{
    size_t na = gcry_sexp_sprint(a, GCRYSEXP_FMT_CANON, NULL, 0);
    size_t nb = gcry_sexp_sprint(b, GCRYSEXP_FMT_CANON, NULL, 0);
    char *pa, *pb;
    bool same = false;

    if (na == 0 || na != nb)
        return false;
    pa = gpgrt_malloc(na);
    pb = gpgrt_malloc(nb);
    if (pa != NULL && pb != NULL) {
        na = gcry_sexp_sprint(a, GCRYSEXP_FMT_CANON, pa, na);
        nb = gcry_sexp_sprint(b, GCRYSEXP_FMT_CANON, pb, nb);
        same = na == nb && memcmp(pa, pb, na) == 0;
    }
    gpgrt_free(pa);
    gpgrt_free(pb);
    return same;
}

/* The grip only rules out quickly: it is a SHA-1, and two RSA keys of one grip can be made. */
bool key_same(const struct key *a, const struct key *b)
{
    if (a == b)
        return true;
    if (memcmp(a->grip, b->grip, sizeof a->grip) != 0)
        return false;
    if (a->plain != NULL && b->plain != NULL)
        return rd_eq(rd_of(a->plain, a->plain_len), rd_of(b->plain, b->plain_len));
    return a->sk_application == NULL && b->sk_application == NULL && same_sexp(a->sexp, b->sexp);
}

bool key_has_grip(const struct key *k, const char *hex)
{
    char *own = hex_encode(k->grip, sizeof k->grip);
    bool is = own != NULL && strcasecmp(own, hex) == 0;

    gpgrt_free(own);
    return is;
}

const char *key_algo_name(const struct key *k, char buf[32])
{
    const struct curve *curve;

    switch (k->algo) {
    case KEY_RSA:
        (void)snprintf(buf, 32, "rsa%u", k->nbits);
        return buf;
    case KEY_DSA:
        (void)snprintf(buf, 32, "dsa%u", k->nbits);
        return buf;
    case KEY_SK_ECDSA:
        return "ecdsa-sk";
    case KEY_SK_ED25519:
        return "ed25519-sk";
    case KEY_OTHER:
        (void)snprintf(buf, 32, "other%u", k->nbits);
        return buf;
    case KEY_ECDSA:
    case KEY_ED25519:
    case KEY_ECDH:
        break;
    }
    curve = curve_by_name(k->curve);
    return curve != NULL ? curve->shown : k->curve;
}

int key_default_hash(const struct key *k)
{
    if (k->algo == KEY_RSA || k->algo == KEY_ED25519 || k->algo == KEY_SK_ED25519)
        return GCRY_MD_SHA512;
    if (k->algo == KEY_DSA)
        return GCRY_MD_SHA1;
    if (k->nbits <= 256)
        return GCRY_MD_SHA256;
    return k->nbits <= 384 ? GCRY_MD_SHA384 : GCRY_MD_SHA512;
}
