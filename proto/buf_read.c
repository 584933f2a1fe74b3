/* The readers of buf.h: bytes from outside. */
#include "proto/buf.h"

#include <string.h>

#define MPINT_MAX      ((size_t)16384 / 8)
#define TLV_DEPTH_MAX  8
#define TLV_TAG_OCTETS 3

/* --- readers
 * -----------------------------------------------------------------------------------------------
 */

gpg_error_t rd_bytes(struct rd *r, size_t n, struct rd *out)
{
    if (n > r->n)
        return gpg_error(GPG_ERR_BUFFER_TOO_SHORT);
    *out = rd_of(r->p, n);
    if (n > 0)
        r->p += n;
    r->n -= n;
    return 0;
}

static gpg_error_t rd_number(struct rd *r, size_t octets, uint64_t *out)
{
    struct rd v;
    uint64_t x = 0;
    gpg_error_t err = rd_bytes(r, octets, &v);

    if (err != 0)
        return err;
    for (size_t i = 0; i < octets; i++)
        x = x << 8 | v.p[i];
    *out = x;
    return 0;
}

gpg_error_t rd_u8(struct rd *r, uint8_t *out)
{
    uint64_t x;
    gpg_error_t err = rd_number(r, 1, &x);

    if (err == 0)
        *out = (uint8_t)x;
    return err;
}

gpg_error_t rd_u16(struct rd *r, uint16_t *out)
{
    uint64_t x;
    gpg_error_t err = rd_number(r, 2, &x);

    if (err == 0)
        *out = (uint16_t)x;
    return err;
}

gpg_error_t rd_u32(struct rd *r, uint32_t *out)
{
    uint64_t x;
    gpg_error_t err = rd_number(r, 4, &x);

    if (err == 0)
        *out = (uint32_t)x;
    return err;
}

gpg_error_t rd_u64(struct rd *r, uint64_t *out)
{
    return rd_number(r, 8, out);
}

gpg_error_t rd_string(struct rd *r, struct rd *out)
{
    struct rd t = *r;
    uint32_t n;
    gpg_error_t err = rd_u32(&t, &n);

    if (err == 0)
        err = rd_bytes(&t, n, out);
    if (err == 0)
        *r = t;
    return err;
}

gpg_error_t rd_cstring(struct rd *r, char **out)
{
    struct rd t = *r, v;
    char *s;
    gpg_error_t err = rd_string(&t, &v);

    if (err != 0)
        return err;
    if (v.n > 0 && memchr(v.p, 0, v.n) != NULL)
        return gpg_error(GPG_ERR_BAD_DATA);
    s = gpgrt_malloc(v.n + 1);
    if (s == NULL)
        return gpg_error_from_syserror();
    if (v.n > 0)
        memcpy(s, v.p, v.n);
    s[v.n] = 0;
    *out = s;
    *r = t;
    return 0;
}

gpg_error_t rd_mpint(struct rd *r, struct rd *out)
{
    struct rd t = *r, v;
    gpg_error_t err = rd_string(&t, &v);

    if (err != 0)
        return err;
    if (v.n > 0 && (v.p[0] & 0x80) != 0)
        return gpg_error(GPG_ERR_BAD_MPI);
    v = rd_magnitude(v);
    if (v.n > MPINT_MAX)
        return gpg_error(GPG_ERR_BAD_MPI);
    *out = v;
    *r = t;
    return 0;
}

static gpg_error_t rd_tag(struct rd *r, uint32_t *tag)
{
    uint8_t c;
    uint32_t x;
    gpg_error_t err = rd_u8(r, &c);

    if (err != 0)
        return err;
    x = c;
    if ((c & 0x1f) == 0x1f) {
        int octets = 1;

        do {
            if (octets++ == TLV_TAG_OCTETS)
                return gpg_error(GPG_ERR_BAD_DATA);
            err = rd_u8(r, &c);
            if (err != 0)
                return err;
            x = x << 8 | c;
        } while ((c & 0x80) != 0);
    }
    *tag = x;
    return 0;
}

gpg_error_t rd_tlv(struct rd *r, uint32_t *tag, struct rd *val)
{
    struct rd t = *r, v;
    uint32_t x;
    uint8_t c;
    uint64_t n;
    gpg_error_t err = rd_tag(&t, &x);

    if (err == 0)
        err = rd_u8(&t, &c);
    if (err != 0)
        return err;
    n = c;
    if (c >= 0x80) {
        if (c < 0x81 || c > 0x83)
            return gpg_error(GPG_ERR_BAD_DATA);
        err = rd_number(&t, c & 0x7fu, &n);
        if (err != 0)
            return err;
    }
    err = rd_bytes(&t, (size_t)n, &v);
    if (err != 0)
        return err;
    *tag = x;
    *val = v;
    *r = t;
    return 0;
}

static bool tlv_constructed(uint32_t tag)
{
    while (tag > 0xff)
        tag >>= 8;
    return (tag & 0x20) != 0;
}

static gpg_error_t tlv_find(struct rd r, uint32_t tag, struct rd *val, int depth)
{
    while (r.n > 0) {
        uint32_t t;
        struct rd v;

        if (r.p[0] == 0) { /* ISO 7816-4 5.2.2: padding between objects */
            r.p++;
            r.n--;
            continue;
        }
        if (rd_tlv(&r, &t, &v) != 0)
            break;
        if (t == tag) {
            *val = v;
            return 0;
        }
        if (depth < TLV_DEPTH_MAX && tlv_constructed(t) && tlv_find(v, tag, val, depth + 1) == 0)
            return 0;
    }
    return gpg_error(GPG_ERR_NOT_FOUND);
}

gpg_error_t rd_tlv_find(struct rd r, uint32_t tag, struct rd *val)
{
    return tlv_find(r, tag, val, 0);
}

gpg_error_t rd_end(const struct rd *r)
{
    return r->n == 0 ? 0 : gpg_error(GPG_ERR_BAD_DATA);
}

bool rd_eq(struct rd a, struct rd b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

struct rd rd_magnitude(struct rd r)
{
    while (r.n > 0 && r.p[0] == 0) {
        r.p++;
        r.n--;
    }
    return r;
}

bool rd_is(struct rd r, const char *s)
{
    return rd_eq(r, rd_of(s, strlen(s)));
}
