#include "proto/buf.h"

#include <gcrypt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Nothing that latchkey builds is larger: the largest is a git object on its way to be signed. */
#define BUF_MAX        ((size_t)128 * 1024 * 1024)
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
    while (v.n > 0 && v.p[0] == 0) {
        v.p++;
        v.n--;
    }
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

bool rd_is(struct rd r, const char *s)
{
    return rd_eq(r, rd_of(s, strlen(s)));
}

/* --- writers
 * -----------------------------------------------------------------------------------------------
 */

static void wipe(void *p, size_t n)
{
    if (p != NULL)
        explicit_bzero(p, n);
}

static void storage_free(struct buf *b)
{
    if (b->secure) {
        wipe(b->data, b->cap);
        gcry_free(b->data);
    } else {
        gpgrt_free(b->data);
    }
    b->data = NULL;
    b->cap = 0;
}

/* Room for N more octets; false (and b->err) when there is none. */
static bool reserve(struct buf *b, size_t n)
{
    size_t cap;
    uint8_t *p;

    if (b->err != 0)
        return false;
    if (n > BUF_MAX || b->len > BUF_MAX - n) {
        b->err = gpg_error(GPG_ERR_TOO_LARGE);
        return false;
    }
    if (b->data != NULL && n <= b->cap - b->len)
        return true;
    cap = b->cap < 64 ? 64 : b->cap * 2;
    if (cap < b->len + n)
        cap = b->len + n;
    /* Not realloc: what moves must not leave a copy of a secret behind. */
    p = b->secure ? gcry_malloc_secure(cap) : gpgrt_realloc(b->data, cap);
    if (p == NULL) {
        b->err = gpg_error_from_syserror();
        return false;
    }
    if (b->secure) {
        if (b->len > 0)
            memcpy(p, b->data, b->len);
        storage_free(b);
    }
    b->data = p;
    b->cap = cap;
    return true;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
    if (n == 0 || !reserve(b, n))
        return;
    memcpy(b->data + b->len, p, n);
    b->len += n;
}

static void put_number(struct buf *b, uint64_t v, unsigned octets)
{
    if (!reserve(b, octets))
        return;
    while (octets-- > 0)
        b->data[b->len++] = (uint8_t)(v >> (8 * octets));
}

void buf_put_u8(struct buf *b, uint8_t v)
{
    put_number(b, v, 1);
}

void buf_put_u16(struct buf *b, uint16_t v)
{
    put_number(b, v, 2);
}

void buf_put_u32(struct buf *b, uint32_t v)
{
    put_number(b, v, 4);
}

void buf_put_u64(struct buf *b, uint64_t v)
{
    put_number(b, v, 8);
}

void buf_put_rd(struct buf *b, struct rd r)
{
    buf_put(b, r.p, r.n);
}

static bool fits(struct buf *b, size_t n, size_t max)
{
    if (n > max && b->err == 0)
        b->err = gpg_error(GPG_ERR_TOO_LARGE);
    return n <= max;
}

void buf_put_string(struct buf *b, const void *p, size_t n)
{
    if (!fits(b, n, UINT32_MAX))
        return;
    put_number(b, n, 4);
    buf_put(b, p, n);
}

void buf_put_cstring(struct buf *b, const char *s)
{
    buf_put_string(b, s, strlen(s));
}

static struct rd magnitude(const void *p, size_t n)
{
    struct rd v = rd_of(p, n);

    while (v.n > 0 && v.p[0] == 0) {
        v.p++;
        v.n--;
    }
    return v;
}

void buf_put_mpint(struct buf *b, const void *p, size_t n)
{
    struct rd v = magnitude(p, n);
    bool sign_octet = v.n > 0 && (v.p[0] & 0x80) != 0;

    if (!fits(b, v.n, UINT32_MAX - 1))
        return;
    put_number(b, v.n + sign_octet, 4);
    if (sign_octet)
        put_number(b, 0, 1);
    buf_put_rd(b, v);
}

void buf_put_pgp_mpi(struct buf *b, const void *p, size_t n)
{
    struct rd v = magnitude(p, n);
    size_t bits = v.n * 8;

    if (!fits(b, v.n, UINT16_MAX / 8))
        return;
    if (v.n > 0)
        bits -= (size_t)__builtin_clz(v.p[0]) - 24;
    put_number(b, bits, 2);
    buf_put_rd(b, v);
}

void buf_put_tlv(struct buf *b, uint32_t tag, const void *p, size_t n)
{
    unsigned tag_octets = tag > 0xffffff ? 4 : tag > 0xffff ? 3 : tag > 0xff ? 2 : 1;

    if (!fits(b, n, 0xffffff))
        return;
    put_number(b, tag, tag_octets);
    if (n > 0xffff)
        put_number(b, 0x83000000u | n, 4);
    else if (n > 0xff)
        put_number(b, 0x820000u | n, 3);
    else if (n > 0x7f)
        put_number(b, 0x8100u | n, 2);
    else
        put_number(b, n, 1);
    buf_put(b, p, n);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, ap2;
    int n;

    va_start(ap, fmt);
    va_copy(ap2, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    if (n < 0) {
        if (b->err == 0)
            b->err = gpg_error_from_syserror();
    } else if (reserve(b, (size_t)n + 1)) {
        (void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap2);
        b->len += (size_t)n;
    }
    va_end(ap2);
    va_end(ap);
}

void buf_set_u32(struct buf *b, size_t offset, uint32_t v)
{
    if (b->err != 0)
        return;
    if (b->len < 4 || offset > b->len - 4) {
        b->err = gpg_error(GPG_ERR_INTERNAL);
        return;
    }
    for (unsigned i = 0; i < 4; i++)
        b->data[offset + i] = (uint8_t)(v >> (24 - 8 * i));
}

gpg_error_t buf_err(const struct buf *b)
{
    return b->err;
}

struct rd buf_rd(const struct buf *b)
{
    return rd_of(b->data, b->len);
}

const char *buf_cstr(struct buf *b)
{
    if (!reserve(b, 1))
        return NULL;
    b->data[b->len] = 0;
    return (const char *)b->data;
}

char *buf_steal_cstr(struct buf *b)
{
    char *s;

    if (b->secure || buf_cstr(b) == NULL)
        return NULL;
    s = (char *)b->data;
    *b = BUF_INIT;
    return s;
}

void buf_reset(struct buf *b)
{
    if (b->secure)
        wipe(b->data, b->cap);
    b->len = 0;
    b->err = 0;
}

void buf_free(struct buf *b)
{
    storage_free(b);
    *b = BUF_INIT;
}
