/* What goes into PSO and INTERNAL AUTHENTICATE (OpenPGP card 3.4, 7.2.10 to 7.2.13). */
#include "devices/digest_info.h"
#include "devices/openpgp.h"

#include <string.h>

gpg_error_t openpgp_put_input(const struct key *k, const struct tosign *t, struct buf *b)
{
    struct rd data = t->data;

    if (k->algo == KEY_RSA)
        return digest_info_put(b, t->hash, data);
    /* A longer hash is cut to the field's size from the left (FIPS 186-4 6.4). */
    if (k->algo == KEY_ECDSA && data.n > (k->nbits + 7) / 8)
        data.n = (k->nbits + 7) / 8;
    buf_put_rd(b, data);
    return buf_err(b);
}

/* The cryptogram of an (enc-val ..) as PSO:DECIPHER wants it. */
gpg_error_t openpgp_put_cryptogram(const struct key *k, struct rd encval, struct buf *b)
{
    struct buf point = BUF_INIT, do86 = BUF_INIT, do7f49 = BUF_INIT;
    gcry_sexp_t s = NULL, p = NULL;
    size_t n = 0;
    const char *v;
    gpg_error_t err = gcry_sexp_sscan(&s, NULL, (const char *)encval.p, encval.n);

    if (err != 0)
        return err;
    p = gcry_sexp_find_token(s, k->algo == KEY_RSA ? "a" : "e", 0);
    v = p != NULL ? gcry_sexp_nth_data(p, 1, &n) : NULL;
    if (v == NULL) {
        err = gpg_error(GPG_ERR_NO_OBJ);
    } else if (k->algo == KEY_RSA) {
        struct rd a = rd_magnitude(rd_of(v, n));
        size_t len = (k->nbits + 7) / 8;

        if (a.n > len)
            err = gpg_error(GPG_ERR_INV_LENGTH);
        buf_put_u8(b, 0);
        for (size_t i = a.n; err == 0 && i < len; i++)
            buf_put_u8(b, 0);
        buf_put_rd(b, a);
    } else {
        /* Curve25519: 32 octets, whatever prefix the sender put before them. */
        if (strcmp(k->curve, "Curve25519") == 0) {
            struct rd e = rd_of(v, n);

            if (e.n > 32 && (e.n & 1) != 0)
                e = rd_of(e.p + 1, e.n - 1);
            for (size_t i = e.n; i < 32; i++)
                buf_put_u8(&point, 0);
            buf_put_rd(&point, e);
        } else {
            buf_put(&point, v, n);
        }
        buf_put_tlv(&do86, 0x86, point.data, point.len);
        buf_put_tlv(&do7f49, 0x7f49, do86.data, do86.len);
        buf_put_tlv(b, 0xa6, do7f49.data, do7f49.len);
    }
    if (err == 0)
        err = buf_err(b);
    gcry_sexp_release(p);
    gcry_sexp_release(s);
    buf_free(&point);
    buf_free(&do86);
    buf_free(&do7f49);
    return err;
}
