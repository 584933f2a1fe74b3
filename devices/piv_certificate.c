/* Certificate objects: unpacked by zlib, read by libksba. */
#include "devices/piv_object.h"

#include <ksba.h>
#include <string.h>
#include <zlib.h>

#define INFO_GZIP 0x01
#define CHUNK     4096u

static const char policies_oid[] = "1.3.6.1.4.1.41482.3.8";

/* WINDOW as inflateInit2 has it: 31 for gzip, 15 for zlib. */
static gpg_error_t inflate_all(struct rd packed, int window, struct buf *out)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)packed.p, .avail_in = (uInt)packed.n};
    uint8_t chunk[CHUNK];
    size_t begin = out->len;
    gpg_error_t err = 0;
    int rc;

    if (inflateInit2(&z, window) != Z_OK)
        return gpg_error(GPG_ERR_ENOMEM);
    do {
        z.next_out = chunk;
        z.avail_out = sizeof chunk;
        rc = inflate(&z, Z_NO_FLUSH);
        if (rc != Z_OK && rc != Z_STREAM_END)
            err = gpg_error(GPG_ERR_BAD_CERT);
        else if (out->len - begin + (sizeof chunk - z.avail_out) > PIV_MAX_CERT)
            err = gpg_error(GPG_ERR_TOO_LARGE);
        else
            buf_put(out, chunk, sizeof chunk - z.avail_out);
    } while (err == 0 && rc != Z_STREAM_END);
    inflateEnd(&z);
    return err != 0 ? err : buf_err(out);
}

gpg_error_t piv_unpack_certificate(struct rd r, struct buf *der)
{
    struct rd cert = rd_of(NULL, 0), v;
    uint8_t info = 0;
    uint32_t tag;

    while (r.n > 0) {
        gpg_error_t err = rd_tlv(&r, &tag, &v);

        if (err != 0)
            return err;
        if (tag == 0x70)
            cert = v;
        else if (tag == 0x71 && v.n == 1)
            info = v.p[0];
    }
    if (cert.n == 0)
        return gpg_error(GPG_ERR_NO_DATA);
    if (info == INFO_GZIP)
        return inflate_all(cert, 31, der);
    if (info != 0)
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    /* Net iD: 01 00, length of what is packed, little-endian */
    if (cert.n > 4 && cert.p[0] == 1 && cert.p[1] == 0)
        return inflate_all(rd_of(cert.p + 4, cert.n - 4), 15, der);
    if (cert.n > PIV_MAX_CERT)
        return gpg_error(GPG_ERR_TOO_LARGE);
    buf_put_rd(der, cert);
    return buf_err(der);
}

/* libksba takes what follows the certificate for a part of it, or stumbles over it. */
static gpg_error_t parse(struct rd der, ksba_cert_t *out)
{
    struct rd rest = der, body;
    uint32_t tag;
    gpg_error_t err;

    if (rd_tlv(&rest, &tag, &body) != 0 || tag != 0x30)
        return gpg_error(GPG_ERR_BAD_CERT);
    err = ksba_cert_new(out);
    if (err == 0)
        err = ksba_cert_init_from_mem(*out, der.p, der.n - rest.n);
    if (err != 0) {
        ksba_cert_release(*out);
        *out = NULL;
    }
    return err;
}

static gpg_error_t point_key(gcry_sexp_t public, bool ecdh, struct key **out)
{
    unsigned bits;
    const char *curve = gcry_pk_get_curve(public, 0, &bits);
    gcry_sexp_t q = gcry_sexp_find_token(public, "q", 0);
    size_t n = 0;
    const char *point = q != NULL ? gcry_sexp_nth_data(q, 1, &n) : NULL;
    gpg_error_t err = gpg_error(GPG_ERR_UNKNOWN_CURVE);

    if (curve != NULL && point != NULL)
        err = key_from_point(curve, rd_of(point, n), ecdh || strcmp(curve, "Curve25519") == 0, out);
    gcry_sexp_release(q);
    return err;
}

gpg_error_t piv_certificate_key(struct rd der, bool ecdh, struct key **out)
{
    ksba_cert_t cert = NULL;
    ksba_sexp_t canon = NULL;
    gcry_sexp_t public = NULL, ecc = NULL;
    size_t n;
    gpg_error_t err = parse(der, &cert);

    if (err != 0)
        return err;
    canon = ksba_cert_get_public_key(cert);
    n = canon != NULL ? gcry_sexp_canon_len(canon, 0, NULL, NULL) : 0;
    err = n > 0 ? gcry_sexp_sscan(&public, NULL, (const char *)canon, n)
                : gpg_error(GPG_ERR_NO_PUBKEY);
    if (err == 0) {
        ecc = gcry_sexp_find_token(public, "ecc", 0);
        err = ecc != NULL ? point_key(public, ecdh, out) : key_from_sexp(public, ecdh, out);
    }
    gcry_sexp_release(ecc);
    gcry_sexp_release(public);
    ksba_free(canon);
    ksba_cert_release(cert);
    return err;
}

static gpg_error_t find_policies(ksba_cert_t cert, size_t *at, size_t *n)
{
    const char *oid;
    int critical;

    for (int i = 0;; i++) {
        if (ksba_cert_get_extension(cert, i, &oid, &critical, at, n) != 0)
            return gpg_error(GPG_ERR_NO_DATA);
        if (strcmp(oid, policies_oid) == 0)
            return 0;
    }
}

gpg_error_t piv_attested_policies(struct rd der, uint8_t *pin, uint8_t *touch)
{
    struct rd image = rd_of(NULL, 0), skipped, value = rd_of(NULL, 0);
    ksba_cert_t cert = NULL;
    size_t at = 0, n = 0;
    gpg_error_t err = parse(der, &cert);

    if (err != 0)
        return err;
    image.p = ksba_cert_get_image(cert, &image.n);
    err = find_policies(cert, &at, &n);
    /* What libksba could not parse to the end has no image. */
    if (err == 0 && (image.p == NULL || rd_bytes(&image, at, &skipped) != 0 ||
                     rd_bytes(&image, n, &value) != 0))
        err = gpg_error(GPG_ERR_NO_DATA);
    /* two bare octets, no DER; but some firmware wraps them */
    if (err == 0 && value.n == 4 && value.p[0] == 0x04 && value.p[1] == 2)
        value = rd_of(value.p + 2, 2);
    if (err == 0 && value.n != 2)
        err = gpg_error(GPG_ERR_NO_DATA);
    if (err == 0) {
        *pin = value.p[0] <= PIV_PIN_MATCH_ALWAYS ? value.p[0] : 0;
        *touch = value.p[1] <= PIV_TOUCH_CACHED ? value.p[1] : 0;
    }
    ksba_cert_release(cert);
    return err;
}
