/* The writers of buf.h. */
#include "proto/buf.h"

#include <gcrypt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Nothing that latchkey builds is larger: the largest is a git object on its way to be signed. */
#define BUF_MAX ((size_t)128 * 1024 * 1024)

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
        if (b->data != NULL && b->len > 0)
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

void buf_put_mpint(struct buf *b, const void *p, size_t n)
{
    struct rd v = rd_magnitude(rd_of(p, n));
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
    struct rd v = rd_magnitude(rd_of(p, n));
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
