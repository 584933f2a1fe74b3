#include "devices/gpg_sexp.h"

#include "devices/key_memory.h"

#include <string.h>
#include <strings.h>

#define MAX_DEPTH  64
#define MAX_NUMBER 2048u /* octets: no key is larger, and nobody would wait for it */

/* --- reading ---------------------------------------------------------------------------------------------------------- */

/* libgcrypt takes several lists one after another for one; canon_enter does not. */
static gpg_error_t canonical(gcry_sexp_t s, struct buf *out)
{
    size_t n = gcry_sexp_sprint(s, GCRYSEXP_FMT_CANON, NULL, 0);
    char *text = n > 0 ? gcry_malloc_secure(n) : NULL;

    if (text == NULL)
        return gpg_error(n > 0 ? GPG_ERR_ENOMEM : GPG_ERR_INV_SEXP);
    n = gcry_sexp_sprint(s, GCRYSEXP_FMT_CANON, text, n);
    buf_put(out, text, n);
    gcry_free(text);
    return buf_err(out);
}

gpg_error_t canon_from_text(struct rd text, struct buf *out)
{
    gcry_sexp_t s = NULL;
    struct rd inside;
    size_t at = 0, start;
    gpg_error_t err;

    while (text.n > 0 && memchr(" \t\r\n", text.p[text.n - 1], 4) != NULL)
        text.n--;
    if (text.n == 0 || text.n > GPG_KEY_MAX)
        return gpg_error(text.n == 0 ? GPG_ERR_INV_SEXP : GPG_ERR_TOO_LARGE);
    key_memory_begin();
    err = gcry_sexp_sscan(&s, &at, (const char *)text.p, text.n);
    start = out->len;
    if (err == 0)
        err = canonical(s, out);
    gcry_sexp_release(s);
    key_memory_end();
    if (err == 0)
        err = canon_enter(rd_of(out->data + start, out->len - start), &inside);
    return err;
}

gpg_error_t canon_from_padded(struct rd text, struct buf *out)
{
    size_t n = text.n > 0 && text.p[0] == '(' ? gcry_sexp_canon_len(text.p, text.n, NULL, NULL) : 0;

    if (n == 0)
        return gpg_error(GPG_ERR_INV_SEXP);
    for (size_t i = n; i < text.n; i++)
        if (text.p[i] != 0)
            return gpg_error(GPG_ERR_BAD_DATA);
    return canon_from_text(rd_of(text.p, n), out);
}

static gpg_error_t read_atom(struct rd *r, struct rd *atom)
{
    struct rd at = *r;
    size_t n = 0, digits = 0;

    for (; at.n > 0 && *at.p >= '0' && *at.p <= '9' && digits < 6; digits++, at.p++, at.n--)
        n = n * 10 + (size_t)(*at.p - '0');
    if (digits == 0 || at.n == 0 || *at.p != ':')
        return gpg_error(GPG_ERR_INV_SEXP);
    at.p++;
    at.n--;
    if (rd_bytes(&at, n, atom) != 0)
        return gpg_error(GPG_ERR_INV_SEXP);
    *r = at;
    return 0;
}

gpg_error_t canon_next(struct rd *r, struct rd *whole, struct rd *atom)
{
    struct rd at = *r, value = rd_of(NULL, 0);
    unsigned depth = 0;
    gpg_error_t err;

    if (at.n > 0 && *at.p != '(') {
        err = read_atom(&at, &value);
        if (err != 0)
            return err;
    } else {
        do {
            struct rd skip;

            if (at.n == 0 || depth > MAX_DEPTH)
                return gpg_error(GPG_ERR_INV_SEXP);
            if (*at.p == '(' || *at.p == ')') {
                depth = *at.p == '(' ? depth + 1 : depth - 1;
                at.p++;
                at.n--;
            } else if ((err = read_atom(&at, &skip)) != 0) {
                return err;
            }
        } while (depth > 0);
    }
    if (whole != NULL)
        *whole = rd_of(r->p, r->n - at.n);
    if (atom != NULL)
        *atom = value;
    *r = at;
    return 0;
}

gpg_error_t canon_enter(struct rd list, struct rd *inside)
{
    struct rd r = list, whole, atom;
    gpg_error_t err = canon_next(&r, &whole, &atom);

    if (err == 0 && (atom.p != NULL || r.n > 0))
        err = gpg_error(GPG_ERR_INV_SEXP);
    if (err == 0)
        *inside = rd_of(whole.p + 1, whole.n - 2);
    return err;
}

gpg_error_t canon_find(struct rd inside, const char *name, struct rd *list)
{
    while (inside.n > 0) {
        struct rd whole, atom;
        gpg_error_t err = canon_next(&inside, &whole, &atom);

        if (err != 0)
            return err;
        if (atom.p == NULL && canon_atom(whole, 0, &atom) == 0 && rd_is(atom, name)) {
            *list = whole;
            return 0;
        }
    }
    return gpg_error(GPG_ERR_NO_OBJ);
}

gpg_error_t canon_atom(struct rd list, unsigned n, struct rd *atom)
{
    struct rd inside, value = rd_of(NULL, 0);
    gpg_error_t err = canon_enter(list, &inside);

    for (unsigned i = 0; i <= n && err == 0; i++)
        err = inside.n > 0 ? canon_next(&inside, NULL, &value) : gpg_error(GPG_ERR_NO_OBJ);
    if (err == 0 && value.p == NULL)
        err = gpg_error(GPG_ERR_INV_SEXP);
    if (err == 0)
        *atom = value;
    return err;
}

gpg_error_t canon_value(struct rd inside, const char *name, struct rd *atom)
{
    struct rd list;
    gpg_error_t err = canon_find(inside, name, &list);

    return err != 0 ? err : canon_atom(list, 1, atom);
}

gpg_error_t canon_number(struct rd atom, unsigned long *out)
{
    unsigned long v = 0;

    if (atom.n == 0 || atom.n > 12)
        return gpg_error(GPG_ERR_INV_VALUE);
    for (size_t i = 0; i < atom.n; i++) {
        if (atom.p[i] < '0' || atom.p[i] > '9')
            return gpg_error(GPG_ERR_INV_VALUE);
        v = v * 10 + (unsigned long)(atom.p[i] - '0');
    }
    *out = v;
    return 0;
}

/* --- writing ---------------------------------------------------------------------------------------------------------- */

void canon_put(struct buf *b, struct rd atom)
{
    buf_printf(b, "%zu:", atom.n);
    buf_put_rd(b, atom);
}

void canon_put_name(struct buf *b, const char *name)
{
    canon_put(b, rd_of(name, strlen(name)));
}

void canon_put_pair(struct buf *b, const char *name, struct rd value)
{
    buf_put_u8(b, '(');
    canon_put_name(b, name);
    canon_put(b, value);
    buf_put_u8(b, ')');
}

void canon_put_number(struct buf *b, const char *name, struct rd magnitude)
{
    struct rd m = rd_magnitude(magnitude);
    bool zero = m.n == 0 || (m.p[0] & 0x80) != 0;

    buf_put_u8(b, '(');
    canon_put_name(b, name);
    buf_printf(b, "%zu:", m.n + zero);
    if (zero)
        buf_put_u8(b, 0);
    buf_put_rd(b, m);
    buf_put_u8(b, ')');
}

static bool is_token(struct rd a)
{
    static const char more[] = "-./_:*+=";

    if (a.n == 0 || (a.p[0] >= '0' && a.p[0] <= '9'))
        return false;
    for (size_t i = 0; i < a.n; i++) {
        char c = (char)a.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c != '\0' && strchr(more, c) != NULL)))
            return false;
    }
    return true;
}

static bool is_plain(struct rd a)
{
    for (size_t i = 0; i < a.n; i++)
        if (a.p[i] < ' ' || a.p[i] > '~' || a.p[i] == '"' || a.p[i] == '\\')
            return false;
    return a.n > 0;
}

static void print_atom(struct rd a, struct buf *out)
{
    static const char digits[] = "0123456789ABCDEF";

    if (is_token(a)) {
        buf_put_rd(out, a);
    } else if (is_plain(a)) {
        buf_put_u8(out, '"');
        buf_put_rd(out, a);
        buf_put_u8(out, '"');
    } else {
        buf_put_u8(out, '#');
        for (size_t i = 0; i < a.n; i++) {
            buf_put_u8(out, (uint8_t)digits[a.p[i] >> 4]);
            buf_put_u8(out, (uint8_t)digits[a.p[i] & 15]);
        }
        buf_put_u8(out, '#');
    }
}

gpg_error_t canon_print(struct rd canon, struct buf *out)
{
    bool atom_before = false;

    while (canon.n > 0) {
        struct rd a;
        gpg_error_t err;

        if (*canon.p == '(' || *canon.p == ')') {
            buf_put_u8(out, *canon.p);
            canon.p++;
            canon.n--;
            atom_before = false;
            continue;
        }
        err = read_atom(&canon, &a);
        if (err != 0)
            return err;
        if (atom_before)
            buf_put_u8(out, ' ');
        print_atom(a, out);
        atom_before = true;
    }
    return buf_err(out);
}

/* --- keys -------------------------------------------------------------------------------------------------------------- */

static const struct gpg_algo algos[] = {
    {"rsa", "ne", "dpqu", "rsa", GCRY_PK_RSA, false},
    {"dsa", "pqgy", "x", "dsa", GCRY_PK_DSA, false},
    {"elg", "pgy", "x", "elg", GCRY_PK_ELG, false},
    {"ecc", "q", "d", "ecc", GCRY_PK_ECC, true},
};

const struct gpg_algo *gpg_algo_find(struct rd name)
{
    static const struct {
        const char *name;
        unsigned algo;
    } names[] = {{"rsa", 0}, {"openpgp-rsa", 0}, {"dsa", 1},   {"openpgp-dsa", 1},
                 {"elg", 2}, {"openpgp-elg", 2}, {"elg-e", 2}, {"openpgp-elg-sig", 2},
                 {"ecc", 3}, {"ecdsa", 3},       {"ecdh", 3},  {"eddsa", 3}};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strlen(names[i].name) == name.n &&
            strncasecmp(names[i].name, (const char *)name.p, name.n) == 0)
            return &algos[names[i].algo];
    return NULL;
}

static const struct {
    const char *name;
    enum gpg_key_form form;
} forms[] = {{"private-key", GPG_KEY_CLEAR},
             {"protected-private-key", GPG_KEY_PROTECTED},
             {"shadowed-private-key", GPG_KEY_SHADOWED}};

static gpg_error_t find_form(struct rd name, enum gpg_key_form *out)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (rd_is(name, forms[i].name)) {
            *out = forms[i].form;
            return 0;
        }
    return gpg_error(GPG_ERR_UNKNOWN_SEXP);
}

static bool is_secret(const struct gpg_key_parts *p, struct rd name)
{
    switch (p->form) {
    case GPG_KEY_CLEAR:
        return name.n == 1 && strchr(p->algo->sec, name.p[0]) != NULL && name.p[0] != '\0';
    case GPG_KEY_SHADOWED:
        return rd_is(name, "shadowed");
    default:
        return rd_is(name, "protected");
    }
}

/* Where a list of parameters had lists in it, libgcrypt, which looks for a parameter at any depth, could find another one than
 * was looked at here. */
static bool is_flat(struct rd list)
{
    struct rd items, atom = list;

    if (canon_enter(list, &items) != 0)
        return false;
    while (items.n > 0 && atom.p != NULL)
        if (canon_next(&items, NULL, &atom) != 0)
            return false;
    return atom.p != NULL;
}

static bool is_form_word(struct rd name)
{
    return rd_is(name, "protected") || rd_is(name, "shadowed");
}

/* Grows VIEW over the adjacent WHOLE. */
static void extend(struct rd *view, struct rd whole)
{
    if (view->p == NULL)
        *view = whole;
    else
        view->n += whole.n;
}

/* The items of the algorithm's list behind its name. */
static gpg_error_t split_list(struct rd items, struct gpg_key_parts *p)
{
    gpg_error_t err;

    p->pub = p->secret = p->behind = rd_of(NULL, 0);
    while (items.n > 0) {
        struct rd whole, name;

        err = canon_next(&items, &whole, &name);
        if (err != 0)
            return err;
        if (name.p != NULL || canon_atom(whole, 0, &name) != 0)
            return gpg_error(GPG_ERR_BAD_SECKEY);
        if (is_form_word(name) ? !is_secret(p, name) : !is_flat(whole))
            return gpg_error(GPG_ERR_BAD_SECKEY);
        if (!is_secret(p, name))
            extend(p->secret.p == NULL ? &p->pub : &p->behind, whole);
        else if (p->behind.p != NULL || (p->form != GPG_KEY_CLEAR && p->secret.p != NULL))
            return gpg_error(GPG_ERR_BAD_SECKEY);
        else
            extend(&p->secret, whole);
    }
    return p->secret.p != NULL && p->pub.p != NULL ? 0 : gpg_error(GPG_ERR_BAD_SECKEY);
}

gpg_error_t gpg_key_split(struct rd key, struct gpg_key_parts *out)
{
    struct gpg_key_parts p;
    struct rd inside, word, list, items;
    gpg_error_t err;

    if ((err = canon_enter(key, &inside)) != 0 || (err = canon_next(&inside, NULL, &word)) != 0)
        return err;
    if (word.p == NULL)
        return gpg_error(GPG_ERR_UNKNOWN_SEXP);
    if ((err = find_form(word, &p.form)) != 0 || (err = canon_next(&inside, &list, &word)) != 0)
        return err;
    p.rest = inside;
    if ((err = canon_enter(list, &items)) != 0 || (err = canon_next(&items, NULL, &p.name)) != 0)
        return err;
    p.algo = p.name.p != NULL ? gpg_algo_find(p.name) : NULL;
    if (p.algo == NULL)
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    err = split_list(items, &p);
    if (err != 0)
        return err;
    if (p.form == GPG_KEY_PROTECTED && canon_atom(p.secret, 1, &word) == 0 &&
        rd_is(word, "openpgp-native"))
        p.form = GPG_KEY_NATIVE;
    *out = p;
    return 0;
}

void gpg_key_join(struct buf *b, const char *form, const struct gpg_key_parts *p)
{
    buf_put_u8(b, '(');
    canon_put_name(b, form);
    buf_put_u8(b, '(');
    canon_put(b, p->name);
    buf_put_rd(b, p->pub);
    buf_put_rd(b, p->secret);
    buf_put_rd(b, p->behind);
    buf_put_u8(b, ')');
    buf_put_rd(b, p->rest);
    buf_put_u8(b, ')');
}

static gpg_error_t put_public(const struct gpg_key_parts *p, const char *name, bool wanted,
                              struct buf *out)
{
    struct rd list;
    gpg_error_t err = canon_find(p->pub, name, &list);

    if (err == 0)
        buf_put_rd(out, list);
    else if (gpg_err_code(err) != GPG_ERR_NO_OBJ)
        return err;
    return err == 0 || !wanted ? 0 : gpg_error(GPG_ERR_BAD_SECKEY);
}

gpg_error_t gpg_key_public(const struct gpg_key_parts *p, struct buf *out)
{
    gpg_error_t err = 0;

    buf_put_u8(out, '(');
    canon_put_name(out, "public-key");
    buf_put_u8(out, '(');
    canon_put(out, p->name);
    if (p->algo->curve) {
        err = put_public(p, "curve", true, out);
        if (err == 0)
            err = put_public(p, "flags", false, out);
    }
    for (const char *c = p->algo->pub; *c != '\0' && err == 0; c++)
        err = put_public(p, (const char[]){*c, '\0'}, true, out);
    buf_put(out, "))", 2);
    return err != 0 ? err : buf_err(out);
}

/* libgcrypt (1.10) ends the process over a compressed point that is too long for its curve, and writes behind its buffer
 * over one of Curve25519 or X448 that is too short. */
gpg_error_t gpg_point_check(const char *curve, unsigned nbits, struct rd q)
{
    static const struct {
        const char *curve;
        size_t octets;
    } native[] = {{"Ed25519", 32}, {"Curve25519", 32}, {"Ed448", 57}, {"X448", 56}};
    size_t n = (nbits + 7) / 8;

    for (size_t i = 0; i < sizeof native / sizeof native[0]; i++)
        if (strcmp(curve, native[i].curve) == 0) {
            n = native[i].octets;
            return q.n == n || (q.n == n + 1 && q.p[0] == 0x40) ? 0 : gpg_error(GPG_ERR_BAD_PUBKEY);
        }
    if ((q.n == 1 + 2 * n && q.p[0] == 4) || (q.n == 1 + n && (q.p[0] == 2 || q.p[0] == 3)))
        return 0;
    return gpg_error(GPG_ERR_BAD_PUBKEY);
}

static gpg_error_t check_point(struct rd items)
{
    const char *curve;
    unsigned nbits = 0;
    gcry_sexp_t s = NULL;
    struct rd v;
    gpg_error_t err = canon_value(items, "curve", &v);

    if (err == 0)
        err = gcry_sexp_build(&s, NULL, "(public-key(ecc(curve %b)))", (int)v.n, v.p);
    if (err == 0)
        err = canon_value(items, "q", &v);
    if (err == 0) {
        curve = gcry_pk_get_curve(s, 0, &nbits);
        err = curve != NULL ? gpg_point_check(curve, nbits, v) : gpg_error(GPG_ERR_UNKNOWN_CURVE);
    }
    gcry_sexp_release(s);
    return err;
}

gpg_error_t gpg_number_check(struct rd params, bool of_key)
{
    while (params.n > 0) {
        struct rd list, name, v;
        bool prime;

        if (canon_next(&params, &list, NULL) != 0 || canon_atom(list, 0, &name) != 0 ||
            canon_atom(list, 1, &v) != 0)
            return gpg_error(GPG_ERR_INV_SEXP);
        v = rd_magnitude(v);
        if (v.n > MAX_NUMBER)
            return gpg_error(GPG_ERR_TOO_LARGE);
        prime = name.n == 1 && strchr("npq", name.p[0]) != NULL;
        if (of_key &&
            (v.n == 0 || (prime && ((v.p[v.n - 1] & 1) == 0 || (v.n == 1 && v.p[0] == 1)))))
            return gpg_error(GPG_ERR_BAD_MPI);
    }
    return 0;
}

static gpg_error_t check_public(struct rd public_key)
{
    struct rd inside, list, items, name;
    const struct gpg_algo *algo;
    gpg_error_t err = canon_enter(public_key, &inside);

    if (err == 0)
        err = canon_next(&inside, NULL, NULL);
    if (err == 0)
        err = canon_next(&inside, &list, NULL);
    if (err == 0)
        err = canon_enter(list, &items);
    if (err == 0)
        err = canon_next(&items, NULL, &name);
    if (err != 0)
        return err;
    algo = name.p != NULL ? gpg_algo_find(name) : NULL;
    if (algo == NULL)
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    return algo->curve ? check_point(items) : gpg_number_check(items, true);
}

gpg_error_t gpg_key_grip(struct rd public_key, uint8_t grip[20])
{
    gcry_sexp_t s = NULL;
    gpg_error_t err = check_public(public_key);

    if (err == 0)
        err = gcry_sexp_sscan(&s, NULL, (const char *)public_key.p, public_key.n);
    if (err == 0 && gcry_pk_get_keygrip(s, grip) == NULL)
        err = gpg_error(GPG_ERR_BAD_PUBKEY);
    gcry_sexp_release(s);
    return err;
}
