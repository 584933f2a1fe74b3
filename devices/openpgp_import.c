#include "devices/openpgp_import.h"

#include <string.h>

/* Tags of the cardholder private key template (7F48). */
enum {
    RSA_E = 0x91,
    RSA_P,
    RSA_Q,
    RSA_QINV,
    RSA_DP,
    RSA_DQ,
    RSA_N,
    EC_SCALAR = 0x92,
    EC_POINT = 0x99
};
/* Import formats of RSA: the last octet of the attributes. */
enum { WITH_N = 1, WITH_CRT = 2 };

struct template
{
    struct buf tags;   /* tags and lengths */
    struct buf values; /* secure */
};

static void put_length(struct buf *b, size_t n)
{
    if (n >= 0x100) {
        buf_put_u8(b, 0x82);
        buf_put_u16(b, (uint16_t)n);
    } else {
        if (n >= 0x80)
            buf_put_u8(b, 0x81);
        buf_put_u8(b, (uint8_t)n);
    }
}

/* VALUE with zeros before it, LEN octets. */
static gpg_error_t put(struct template *t, uint8_t tag, struct rd value, size_t len)
{
    value = rd_magnitude(value);
    if (value.n > len)
        return gpg_error(GPG_ERR_BAD_SECKEY);
    buf_put_u8(&t->tags, tag);
    put_length(&t->tags, len);
    for (size_t i = value.n; i < len; i++)
        buf_put_u8(&t->values, 0);
    buf_put_rd(&t->values, value);
    return 0;
}

static gpg_error_t put_mpi(struct template *t, uint8_t tag, gcry_mpi_t number, size_t len)
{
    struct buf octets = BUF_INIT_SECURE;
    size_t n = 0;
    gpg_error_t err;

    for (size_t i = 0; i < len; i++)
        buf_put_u8(&octets, 0);
    err = buf_err(&octets);
    if (err == 0)
        err = gcry_mpi_print(GCRYMPI_FMT_USG, octets.data, octets.len, &n, number);
    if (err == 0)
        err = put(t, tag, rd_of(octets.data, n), len);
    else if (gpg_err_code(err) == GPG_ERR_TOO_SHORT)
        err = gpg_error(GPG_ERR_BAD_SECKEY);
    buf_free(&octets);
    return err;
}

/* --- RSA -------------------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t scan(struct rd items, const char *name, gcry_mpi_t *out)
{
    struct rd atom;
    gpg_error_t err = canon_value(items, name, &atom);
    gcry_mpi_t plain = NULL;

    if (err == 0)
        err = gcry_mpi_scan(&plain, GCRYMPI_FMT_USG, atom.p, atom.n, NULL);
    if (err != 0)
        return err;
    /* from secure memory it comes into secure memory: what is computed with it is there as well */
    *out = gcry_mpi_snew(gcry_mpi_get_nbits(plain));
    gcry_mpi_set(*out, plain);
    gcry_mpi_release(plain);
    return 0;
}

/* 1/q mod p, d mod (p-1), d mod (q-1) */
static gpg_error_t put_crt(struct template *t, struct rd secret, gcry_mpi_t p, gcry_mpi_t q,
                           size_t half)
{
    gcry_mpi_t d = NULL, r = gcry_mpi_snew(0), less = gcry_mpi_snew(0);
    gpg_error_t err = scan(secret, "d", &d);

    if (err == 0 && !gcry_mpi_invm(r, q, p))
        err = gpg_error(GPG_ERR_BAD_SECKEY);
    if (err == 0)
        err = put_mpi(t, RSA_QINV, r, half);
    if (err == 0) {
        gcry_mpi_sub_ui(less, p, 1);
        gcry_mpi_mod(r, d, less);
        err = put_mpi(t, RSA_DP, r, half);
    }
    if (err == 0) {
        gcry_mpi_sub_ui(less, q, 1);
        gcry_mpi_mod(r, d, less);
        err = put_mpi(t, RSA_DQ, r, half);
    }
    gcry_mpi_release(d);
    gcry_mpi_release(r);
    gcry_mpi_release(less);
    return err;
}

static gpg_error_t put_rsa(struct template *t, struct rd attr, const struct gpg_key_parts *key)
{
    gcry_mpi_t p = NULL, q = NULL;
    struct rd n, e;
    uint16_t bits, ebits;
    uint8_t algo, format = 0;
    size_t half;
    gpg_error_t err = rd_u8(&attr, &algo);

    if (err == 0)
        err = rd_u16(&attr, &bits);
    if (err == 0)
        err = rd_u16(&attr, &ebits);
    if (err != 0 || algo != 1 || bits % 16 != 0 || ebits > 64)
        return gpg_error(GPG_ERR_BAD_SECKEY);
    (void)rd_u8(&attr, &format);
    half = bits / 16u;
    err = canon_value(key->pub, "n", &n);
    if (err == 0)
        err = canon_value(key->pub, "e", &e);
    if (err == 0)
        err = scan(key->secret, "p", &p);
    if (err == 0)
        err = scan(key->secret, "q", &q);
    if (err == 0 &&
        (rd_magnitude(n).n != bits / 8u || gcry_mpi_cmp_ui(p, 3) < 0 || gcry_mpi_cmp_ui(q, 3) < 0))
        err = gpg_error(GPG_ERR_BAD_SECKEY);
    if (err == 0)
        err = put(t, RSA_E, e, (ebits + 7u) / 8u);
    if (err == 0)
        err = put_mpi(t, RSA_P, p, half);
    if (err == 0)
        err = put_mpi(t, RSA_Q, q, half);
    if (err == 0 && (format & WITH_CRT) != 0)
        err = put_crt(t, key->secret, p, q, half);
    if (err == 0 && (format & WITH_N) != 0)
        err = put(t, RSA_N, n, bits / 8u);
    gcry_mpi_release(p);
    gcry_mpi_release(q);
    return err;
}

/* --- curves ------------------------------------------------------------------------------------------------------------------------------ */

static gpg_error_t put_ec(struct template *t, struct rd attr, const struct gpg_key_parts *key)
{
    struct rd d, q;
    size_t len;
    gpg_error_t err = canon_value(key->secret, "d", &d);

    if (err == 0)
        err = canon_value(key->pub, "q", &q);
    if (err != 0)
        return err;
    /* 04 x y, or 40 and the native form of the curves that have one, or that alone */
    if (q.n > 1 && q.p[0] == 0x04 && q.n % 2 == 1)
        len = (q.n - 1) / 2;
    else if (q.n == 33 && q.p[0] == 0x40)
        len = 32;
    else if (q.n == 32)
        len = 32;
    else
        return gpg_error(GPG_ERR_BAD_SECKEY);
    err = put(t, EC_SCALAR, d, len);
    if (err == 0 && attr.p[attr.n - 1] == 0xff) {
        if (q.n == 33)
            q = rd_of(q.p + 1, 32);
        buf_put_u8(&t->tags, EC_POINT);
        put_length(&t->tags, q.n);
        buf_put_rd(&t->values, q);
    }
    return err;
}

gpg_error_t openpgp_put_key(struct rd attr, struct rd crt, const struct gpg_key_parts *key,
                            struct buf *list)
{
    struct template t = {.tags = BUF_INIT, .values = BUF_INIT_SECURE};
    struct buf inside = BUF_INIT_SECURE;
    gpg_error_t err;

    if (attr.n < 2)
        return gpg_error(GPG_ERR_BAD_SECKEY);
    if (key->algo->pk == GCRY_PK_RSA)
        err = put_rsa(&t, attr, key);
    else if (key->algo->curve)
        err = put_ec(&t, attr, key);
    else
        err = gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    if (err == 0)
        err = buf_err(&t.tags) != 0 ? buf_err(&t.tags) : buf_err(&t.values);
    if (err == 0) {
        buf_put_rd(&inside, crt);
        buf_put_tlv(&inside, 0x7f48, t.tags.data, t.tags.len);
        buf_put_tlv(&inside, 0x5f48, t.values.data, t.values.len);
        buf_put_tlv(list, 0x4d, inside.data, inside.len);
        err = buf_err(&inside) != 0 ? buf_err(&inside) : buf_err(list);
    }
    buf_free(&t.tags);
    buf_free(&t.values);
    buf_free(&inside);
    return err;
}
