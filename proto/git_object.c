#include "proto/git_object.h"

#include <string.h>

/* --- text for people ---------------------------------------------------------------------------------------------------- */

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
        {0x00, 0x1f},     {0x7f, 0x9f},       {0xad, 0xad},       {0x34f, 0x34f},
        {0x61c, 0x61c},   {0x115f, 0x1160},   {0x17b4, 0x17b5},   {0x180b, 0x180f},
        {0x200b, 0x200f}, {0x2028, 0x202e},   {0x2060, 0x206f},   {0x3164, 0x3164},
        {0xe000, 0xf8ff}, {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},   {0xffa0, 0xffa0},
        {0xfff0, 0xfffb}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff}, {0xf0000, 0x10ffff},
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

/* --- objects ------------------------------------------------------------------------------------------------------------- */

#define MAX_SHOWN 200

/* The next line without its LF. */
static bool next_line(struct rd *r, struct rd *line)
{
    const uint8_t *nl = r->n > 0 ? memchr(r->p, '\n', r->n) : NULL;
    size_t n;

    if (nl == NULL)
        return false;
    n = (size_t)(nl - r->p);
    *line = rd_of(r->p, n);
    *r = rd_of(r->p + n + 1, r->n - n - 1);
    return true;
}

/* Is LINE "NAME value"? */
static bool header(struct rd line, const char *name, struct rd *value)
{
    size_t n = strlen(name);

    if (line.n <= n || memcmp(line.p, name, n) != 0 || line.p[n] != ' ')
        return false;
    *value = rd_of(line.p + n + 1, line.n - n - 1);
    return true;
}

static char *object_id(struct rd v)
{
    if (v.n != 40 && v.n != 64)
        return NULL;
    for (size_t i = 0; i < v.n; i++)
        if (!((v.p[i] >= '0' && v.p[i] <= '9') || (v.p[i] >= 'a' && v.p[i] <= 'f')))
            return NULL;
    return gpgrt_bsprintf("%.*s", (int)v.n, (const char *)v.p);
}

static size_t count_digits(const uint8_t *p, size_t n)
{
    size_t i = 0;

    while (i < n && p[i] >= '0' && p[i] <= '9')
        i++;
    return i;
}

/* "Name <mail> 1700000000 +0100": gives "Name <mail>". */
static char *identity(struct rd v)
{
    const uint8_t *close = NULL, *p;
    size_t rest, digits;

    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] == '\0')
            return NULL;
        if (v.p[i] == '>')
            close = v.p + i;
    }
    if (close == NULL || memchr(v.p, '<', (size_t)(close - v.p)) == NULL)
        return NULL;
    p = close + 1;
    rest = v.n - (size_t)(p - v.p);
    if (rest < 2 || *p != ' ')
        return NULL;
    digits = count_digits(p + 1, rest - 1);
    if (digits == 0 || rest != 1 + digits + 6 || p[1 + digits] != ' ' ||
        (p[2 + digits] != '+' && p[2 + digits] != '-') || count_digits(p + 3 + digits, 4) != 4)
        return NULL;
    return text_clean((const char *)v.p, (size_t)(close - v.p) + 1, MAX_SHOWN);
}

static char *subject(struct rd message)
{
    const uint8_t *nl;

    while (message.n > 0 && message.p[0] == '\n')
        message = rd_of(message.p + 1, message.n - 1);
    nl = message.n > 0 ? memchr(message.p, '\n', message.n) : NULL;
    return text_clean((const char *)message.p, nl != NULL ? (size_t)(nl - message.p) : message.n,
                      MAX_SHOWN);
}

/* Further headers as git writes them ("encoding x", "mergetag ..", continuation lines with a blank), up to the blank
 * line. A name must not come again that is shown to the person. */
static bool other_headers(struct rd *r)
{
    static const char *const shown[] = {"tree",   "parent", "author", "committer",
                                        "object", "type",   "tag",    "tagger"};
    struct rd line, value;
    bool first = true;

    while (next_line(r, &line)) {
        if (line.n == 0)
            return true;
        for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++)
            if (header(line, shown[i], &value))
                return false;
        if (line.p[0] == ' ') {
            if (first)
                return false; /* continues nothing */
        } else if (memchr(line.p, ' ', line.n) == NULL) {
            return false;
        }
        first = false;
    }
    return false;
}

static bool parse_commit(struct rd r, struct git_object *o)
{
    struct rd line, value;

    if (!next_line(&r, &line) || !header(line, "tree", &value) ||
        (o->tree = object_id(value)) == NULL || !next_line(&r, &line))
        return false;
    while (header(line, "parent", &value)) {
        char *id = object_id(value);

        if (id == NULL)
            return false;
        if (o->nparents++ == 0)
            o->parent = id;
        else
            gpgrt_free(id);
        if (!next_line(&r, &line))
            return false;
    }
    if (!header(line, "author", &value) || (o->author = identity(value)) == NULL ||
        !next_line(&r, &line) || !header(line, "committer", &value) ||
        (o->committer = identity(value)) == NULL || !other_headers(&r))
        return false;
    o->subject = subject(r);
    o->kind = GIT_COMMIT;
    return o->subject != NULL;
}

static bool parse_tag(struct rd r, struct git_object *o)
{
    static const char *const types[] = {"commit", "tree", "blob", "tag"};
    struct rd line, value, rest;

    if (!next_line(&r, &line) || !header(line, "object", &value) ||
        (o->tree = object_id(value)) == NULL || !next_line(&r, &line) ||
        !header(line, "type", &value))
        return false;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (rd_is(value, types[i]))
            o->tag_type = gpgrt_strdup(types[i]);
    if (o->tag_type == NULL || !next_line(&r, &line) || !header(line, "tag", &value))
        return false;
    o->tag = text_clean((const char *)value.p, value.n, MAX_SHOWN);
    rest = r;
    /* Tags of git before 0.99 have no tagger. */
    if (next_line(&rest, &line) && header(line, "tagger", &value)) {
        o->author = identity(value);
        if (o->author == NULL)
            return false;
        r = rest;
    }
    if (o->tag == NULL || !other_headers(&r))
        return false;
    o->subject = subject(r);
    o->kind = GIT_TAG;
    return o->subject != NULL;
}

gpg_error_t git_object_parse(struct rd data, struct git_object *out)
{
    struct git_object o = {0};

    if (!parse_commit(data, &o)) {
        git_object_clear(&o);
        if (!parse_tag(data, &o)) {
            git_object_clear(&o);
            out->kind = GIT_OTHER;
            return gpg_error(GPG_ERR_BAD_DATA);
        }
    }
    *out = o;
    return 0;
}

void git_object_clear(struct git_object *o)
{
    gpgrt_free(o->subject);
    gpgrt_free(o->author);
    gpgrt_free(o->committer);
    gpgrt_free(o->tree);
    gpgrt_free(o->tag);
    gpgrt_free(o->tag_type);
    gpgrt_free(o->parent);
    *o = (struct git_object){0};
}
