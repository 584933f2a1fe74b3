/* The key wrap around a key on its way (RFC 3394). */
#include "devices/gpg_transfer.h"

static gpg_error_t open_wrap(struct rd kek, gcry_cipher_hd_t *h)
{
    gpg_error_t err =
        gcry_cipher_open(h, GCRY_CIPHER_AES128, GCRY_CIPHER_MODE_AESWRAP, GCRY_CIPHER_SECURE);

    return err != 0 ? err : gcry_cipher_setkey(*h, kek.p, kek.n);
}

gpg_error_t gpg_wrap(struct rd kek, struct rd text, struct buf *out)
{
    struct buf padded = BUF_INIT_SECURE;
    gcry_cipher_hd_t h = NULL;
    uint8_t *wrapped = NULL;
    gpg_error_t err;

    buf_put_rd(&padded, text);
    while (padded.len % 8 != 0 || padded.len < 16)
        buf_put_u8(&padded, 0);
    if ((err = buf_err(&padded)) != 0)
        goto out;
    wrapped = gpgrt_malloc(padded.len + 8);
    err = wrapped != NULL ? open_wrap(kek, &h) : gpg_error_from_syserror();
    if (err == 0)
        err = gcry_cipher_encrypt(h, wrapped, padded.len + 8, padded.data, padded.len);
    if (err == 0)
        buf_put(out, wrapped, padded.len + 8);
out:
    gcry_cipher_close(h);
    gpgrt_free(wrapped);
    buf_free(&padded);
    return err != 0 ? err : buf_err(out);
}

gpg_error_t gpg_unwrap(struct rd kek, struct rd wrapped, struct buf *out)
{
    gcry_cipher_hd_t h = NULL;
    uint8_t *text;
    gpg_error_t err;

    if (wrapped.n < 24 || wrapped.n % 8 != 0)
        return gpg_error(GPG_ERR_INV_LENGTH);
    text = gcry_malloc_secure(wrapped.n - 8);
    err = text != NULL ? open_wrap(kek, &h) : gpg_error_from_syserror();
    if (err == 0)
        err = gcry_cipher_decrypt(h, text, wrapped.n - 8, wrapped.p, wrapped.n);
    if (err == 0)
        buf_put(out, text, wrapped.n - 8);
    gcry_cipher_close(h);
    gcry_free(text);
    return err != 0 ? err : buf_err(out);
}
