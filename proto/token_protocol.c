#include "proto/token_protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool must_escape(char c)
{
    return c <= ' ' || c > '~' || c == '%';
}

void field_put(struct buf *b, const char *name, const char *value)
{
    if (b->len > 0)
        buf_put_u8(b, ' ');
    buf_put(b, name, strlen(name));
    buf_put_u8(b, '=');
    for (; *value != 0; value++) {
        if (must_escape(*value))
            buf_printf(b, "%%%02X", (unsigned)(uint8_t)*value);
        else
            buf_put_u8(b, (uint8_t)*value);
    }
}

void field_put_int(struct buf *b, const char *name, long value)
{
    if (b->len > 0)
        buf_put_u8(b, ' ');
    buf_printf(b, "%s=%ld", name, value);
}

/* The raw value of NAME in LINE; p is NULL when there is no such field. */
static struct rd field_find(const char *line, const char *name)
{
    size_t len = strlen(name);

    while (*line != 0) {
        size_t word = strcspn(line, " ");

        if (word > len && line[len] == '=' && strncmp(line, name, len) == 0)
            return rd_of(line + len + 1, word - len - 1);
        line += word;
        line += strspn(line, " ");
    }
    return rd_of(NULL, 0);
}

static gpg_error_t unescape(struct rd v, char **out)
{
    struct buf b = BUF_INIT;
    gpg_error_t err = 0;

    while (v.n > 0) {
        if (*v.p != '%') {
            buf_put_u8(&b, *v.p);
            v.p++;
            v.n--;
            continue;
        }
        char digits[3] = {0};

        if (v.n >= 3)
            memcpy(digits, v.p + 1, 2);
        if (v.n < 3 || strcmp(digits, "00") == 0 || hex_decode(digits, &b) != 0) {
            err = gpg_error(GPG_ERR_BAD_DATA);
            goto out;
        }
        v.p += 3;
        v.n -= 3;
    }
    err = buf_err(&b);
    if (err != 0)
        goto out;
    *out = buf_steal_cstr(&b);
    if (*out == NULL)
        err = gpg_error_from_syserror();
out:
    buf_free(&b);
    return err;
}

gpg_error_t field_get(const char *line, const char *name, char **out)
{
    struct rd v = field_find(line, name);

    if (v.p == NULL) {
        *out = NULL;
        return 0;
    }
    return unescape(v, out);
}

gpg_error_t field_get_int(const char *line, const char *name, long fallback, long *out)
{
    char *s, *end;
    long v;
    gpg_error_t err = field_get(line, name, &s);

    if (err != 0)
        return err;
    if (s == NULL) {
        *out = fallback;
        return 0;
    }
    errno = 0;
    v = strtol(s, &end, 10);
    /* strtol skips blanks and takes a plus; the other side never writes them. */
    if (errno != 0 || end == s || *end != 0 || !(*s == '-' || (*s >= '0' && *s <= '9')))
        err = gpg_error(GPG_ERR_BAD_DATA);
    else
        *out = v;
    gpgrt_free(s);
    return err;
}
