/* Text of others, made fit to be shown: text_clean of git_object.h. */
#include "proto/git_object.h"

#include <string.h>

/* One UTF-8 character; 0 octets for an invalid one. Overlong forms, surrogates and what lies past U+10FFFF are invalid. */
static size_t utf8_char(const uint8_t *p, size_t n, uint32_t *out)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = p[0] < 0x80             ? 1
                 : (p[0] & 0xe0) == 0xc0 ? 2
                 : (p[0] & 0xf0) == 0xe0 ? 3
                 : (p[0] & 0xf8) == 0xf0 ? 4
                                         : 0;
    uint32_t c;

    if (len == 0 || len > n)
        return 0;
    c = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if (c < least[len] || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff)
        return 0;
    *out = c;
    return len;
}

/* Characters that change what a dialog seems to say without being seen: controls, directions, zero widths, fillers. */
static bool deceives(uint32_t c)
{
    static const struct {
        uint32_t from, to;
    } ranges[] = {
        {0x00, 0x1f},       {0x7f, 0x9f},       {0xad, 0xad},       {0x34f, 0x34f},
        {0x61c, 0x61c},     {0x115f, 0x1160},   {0x17b4, 0x17b5},   {0x180b, 0x180f},
        {0x200b, 0x200f},   {0x2028, 0x202e},   {0x2060, 0x206f},   {0x3164, 0x3164},
        {0xe000, 0xf8ff},   {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},   {0xffa0, 0xffa0},
        {0xfff0, 0xfffb},   {0xfffe, 0xffff},   {0x2800, 0x2800},   {0x13430, 0x1345f},
        {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff}, {0xf0000, 0x10ffff},
    };

    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (c >= ranges[i].from && c <= ranges[i].to)
            return true;
    return false;
}

char *text_clean(const char *text, size_t n, size_t max)
{
    const uint8_t *p = (const uint8_t *)text;
    struct buf b = BUF_INIT;
    size_t shown = 0;

    while (n > 0) {
        uint32_t c = 0;
        size_t len = utf8_char(p, n, &c);

        if (shown++ >= max) {
            buf_printf(&b, "...");
            break;
        }
        if (len == 0 || deceives(c))
            buf_put_u8(&b, '?');
        else
            buf_put(&b, p, len);
        len = len > 0 ? len : 1;
        p += len;
        n -= len;
    }
    return buf_steal_cstr(&b);
}
