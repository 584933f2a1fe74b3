/* What goes into GENERAL AUTHENTICATE (SP 800-73-4 part 2, 3.2.4): 7C { 82 (empty: what is wanted), 81 or 85 (what is given) }. */
#include "devices/digest_info.h"
#include "devices/piv.h"

#define TAG_CHALLENGE 0x81
#define TAG_EXPONENT  0x85

static gpg_error_t put_template(uint32_t tag, struct rd data, struct buf *b)
{
    struct buf body = BUF_INIT_SECURE;
    gpg_error_t err;

    buf_put_tlv(&body, 0x82, NULL, 0);
    buf_put_tlv(&body, tag, data.p, data.n);
    err = buf_err(&body);
    if (err == 0) {
        buf_put_tlv(b, 0x7c, body.data, body.len);
        err = buf_err(b);
    }
    buf_free(&body);
    return err;
}

/* EMSA-PKCS1-v1_5 (RFC 8017 9.2): the card knows no padding. */
static gpg_error_t put_block(const struct key *k, const struct tosign *t, struct buf *b)
{
    struct buf info = BUF_INIT;
    size_t len = (k->nbits + 7) / 8;
    gpg_error_t err = digest_info_put(&info, t->hash, t->data);

    if (err == 0 && info.len + 11 > len)
        err = gpg_error(GPG_ERR_INV_LENGTH);
    if (err == 0) {
        buf_put_u8(b, 0x00);
        buf_put_u8(b, 0x01);
        for (size_t i = info.len + 3; i < len; i++)
            buf_put_u8(b, 0xff);
        buf_put_u8(b, 0x00);
        buf_put_rd(b, buf_rd(&info));
        err = buf_err(b);
    }
    buf_free(&info);
    return err;
}

/* As long as the field: cut from the left (FIPS 186-4 6.4), or with zeros before it. */
static gpg_error_t put_hash(const struct key *k, struct rd hash, struct buf *b)
{
    size_t len = (k->nbits + 7) / 8;

    for (size_t i = hash.n; i < len; i++)
        buf_put_u8(b, 0);
    buf_put(b, hash.p, hash.n < len ? hash.n : len);
    return buf_err(b);
}

gpg_error_t piv_put_input(const struct key *k, const struct tosign *t, struct buf *b)
{
    struct buf input = BUF_INIT;
    gpg_error_t err = 0;

    switch (k->algo) {
    case KEY_RSA:
        err = put_block(k, t, &input);
        break;
    case KEY_ECDSA:
        err = put_hash(k, t->data, &input);
        break;
    case KEY_ED25519:
        buf_put_rd(&input, t->data);
        err = buf_err(&input);
        break;
    default:
        err = gpg_error(GPG_ERR_WRONG_KEY_USAGE);
        break;
    }
    if (err == 0)
        err = put_template(TAG_CHALLENGE, buf_rd(&input), b);
    buf_free(&input);
    return err;
}

static gpg_error_t put_number(struct rd v, size_t len, struct buf *b)
{
    v = rd_magnitude(v);
    if (v.n > len)
        return gpg_error(GPG_ERR_INV_LENGTH);
    for (size_t i = v.n; i < len; i++)
        buf_put_u8(b, 0);
    buf_put_rd(b, v);
    return buf_err(b);
}

/* Curve25519: 32 octets, whatever prefix the sender put before them. */
static struct rd bare_point(const struct key *k, struct rd point)
{
    return k->nbits == 255 && point.n > 32 && (point.n & 1) != 0 ? rd_of(point.p + 1, point.n - 1)
                                                                 : point;
}

gpg_error_t piv_put_cryptogram(const struct key *k, struct rd encval, struct buf *b)
{
    struct buf input = BUF_INIT;
    gcry_sexp_t s = NULL, part = NULL;
    struct rd v = rd_of(NULL, 0);
    gpg_error_t err = gcry_sexp_sscan(&s, NULL, (const char *)encval.p, encval.n);

    if (err != 0)
        return err;
    part = gcry_sexp_find_token(s, k->algo == KEY_RSA ? "a" : "e", 0);
    v.p = part != NULL ? (const uint8_t *)gcry_sexp_nth_data(part, 1, &v.n) : NULL;
    if (v.p == NULL)
        err = gpg_error(GPG_ERR_NO_OBJ);
    else if (k->algo == KEY_RSA)
        err = put_number(v, (k->nbits + 7) / 8, &input);
    else if (k->nbits == 255)
        err = put_number(bare_point(k, v), 32, &input);
    else
        buf_put_rd(&input, v);
    if (err == 0)
        err = buf_err(&input);
    if (err == 0)
        err = put_template(k->algo == KEY_RSA ? TAG_CHALLENGE : TAG_EXPONENT, buf_rd(&input), b);
    gcry_sexp_release(part);
    gcry_sexp_release(s);
    buf_free(&input);
    return err;
}
