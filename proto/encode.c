/* Hex and base64, the text forms of bytes. */
#include "proto/buf.h"

#include <string.h>

char *hex_encode(const void *p, size_t n)
{
    static const char digits[] = "0123456789ABCDEF";
    const uint8_t *in = p;
    char *s;

    if (n > (SIZE_MAX - 1) / 2)
        return NULL;
    s = gpgrt_malloc(2 * n + 1);
    if (s == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        s[2 * i] = digits[in[i] >> 4];
        s[2 * i + 1] = digits[in[i] & 15];
    }
    s[2 * n] = 0;
    return s;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

gpg_error_t hex_decode(const char *s, struct buf *b)
{
    size_t n = strlen(s);

    if (n % 2 != 0)
        return gpg_error(GPG_ERR_INV_VALUE);
    for (size_t i = 0; i < n; i++)
        if (hex_digit(s[i]) < 0)
            return gpg_error(GPG_ERR_INV_VALUE);
    for (size_t i = 0; i < n; i += 2)
        buf_put_u8(b, (uint8_t)(hex_digit(s[i]) << 4 | hex_digit(s[i + 1])));
    return buf_err(b);
}

static const char b64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *b64_encode(const void *p, size_t n)
{
    const uint8_t *in = p;
    char *s, *o;

    if (n > SIZE_MAX / 4)
        return NULL;
    s = o = gpgrt_malloc((n + 2) / 3 * 4 + 1);
    if (s == NULL)
        return NULL;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)in[i] << 16;

        if (left > 1)
            v |= (uint32_t)in[i + 1] << 8;
        if (left > 2)
            v |= in[i + 2];
        *o++ = b64_alphabet[v >> 18];
        *o++ = b64_alphabet[v >> 12 & 63];
        *o++ = left > 1 ? b64_alphabet[v >> 6 & 63] : '=';
        *o++ = left > 2 ? b64_alphabet[v & 63] : '=';
    }
    *o = 0;
    return s;
}

static int b64_digit(char c)
{
    const char *q = c != 0 ? strchr(b64_alphabet, c) : NULL;

    return q != NULL ? (int)(q - b64_alphabet) : -1;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Strict: whole groups of four, padding only at the end, unused bits zero. One key then has one
 * text only, so that texts may be compared. */
gpg_error_t b64_decode(const char *s, size_t n, struct buf *b)
{
    uint32_t v = 0;
    unsigned digits = 0, pads = 0;

    for (size_t i = 0; i < n; i++) {
        int d;

        if (is_space(s[i]))
            continue;
        if (s[i] == '=') {
            if (++pads > 2 || digits + pads > 4 || digits < 2)
                return gpg_error(GPG_ERR_BAD_DATA);
            continue;
        }
        d = b64_digit(s[i]);
        if (d < 0 || pads > 0)
            return gpg_error(GPG_ERR_BAD_DATA);
        v = v << 6 | (uint32_t)d;
        if (++digits == 4) {
            buf_put_u8(b, (uint8_t)(v >> 16));
            buf_put_u8(b, (uint8_t)(v >> 8));
            buf_put_u8(b, (uint8_t)v);
            v = 0;
            digits = 0;
        }
    }
    if (digits == 0 && pads == 0)
        return buf_err(b);
    if (digits + pads != 4)
        return gpg_error(GPG_ERR_BAD_DATA);
    if (digits == 2) {
        if ((v & 15) != 0)
            return gpg_error(GPG_ERR_BAD_DATA);
        buf_put_u8(b, (uint8_t)(v >> 4));
    } else {
        if ((v & 3) != 0)
            return gpg_error(GPG_ERR_BAD_DATA);
        buf_put_u8(b, (uint8_t)(v >> 10));
        buf_put_u8(b, (uint8_t)(v >> 2));
    }
    return buf_err(b);
}
