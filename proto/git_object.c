#include "proto/git_object.h"

#include <string.h>
#include <strings.h>

#define MAX_SHOWN 200

/* --- lines -------------------------------------------------------------------------------------------------------------- */

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

/* Moves on when the next line is "NAME value". */
static bool next_header(struct rd *r, const char *name, struct rd *value)
{
    struct rd rest = *r, line;

    if (!next_line(&rest, &line) || !header(line, name, value))
        return false;
    *r = rest;
    return true;
}

static bool is_object_id(struct rd v)
{
    if (v.n != 40 && v.n != 64)
        return false;
    for (size_t i = 0; i < v.n; i++)
        if (!((v.p[i] >= '0' && v.p[i] <= '9') || (v.p[i] >= 'a' && v.p[i] <= 'f')))
            return false;
    return true;
}

static size_t count_digits(const uint8_t *p, size_t n)
{
    size_t i = 0;

    while (i < n && p[i] >= '0' && p[i] <= '9')
        i++;
    return i;
}

/* "Name <mail> 1700000000 +0100": gives "Name <mail>". */
static bool identity(struct rd v, struct rd *who)
{
    const uint8_t *close = v.n > 0 ? memrchr(v.p, '>', v.n) : NULL, *p;
    size_t rest, digits;

    if (close == NULL || memchr(v.p, '<', (size_t)(close - v.p)) == NULL)
        return false;
    p = close + 1;
    rest = v.n - (size_t)(p - v.p);
    if (rest < 2 || *p != ' ')
        return false;
    digits = count_digits(p + 1, rest - 1);
    if (digits == 0 || rest != 1 + digits + 6 || p[1 + digits] != ' ' ||
        (p[2 + digits] != '+' && p[2 + digits] != '-') || count_digits(p + 3 + digits, 4) != 4)
        return false;
    *who = rd_of(v.p, (size_t)(close - v.p) + 1);
    return true;
}

/* Further headers as git writes them ("encoding x", "mergetag ..", "HG:extra ..", continuation lines with a blank), and
 * the blank line. A name must not come again that is shown to the person. ENCODING keeps its value when there is none. */
static bool other_headers(struct rd *r, struct rd *encoding)
{
    static const char *const shown[] = {"tree",   "parent", "author", "committer",
                                        "object", "type",   "tag",    "tagger"};
    bool first = true, seen = false;
    struct rd line, value;

    while (next_line(r, &line)) {
        size_t name = 0;

        if (line.n == 0)
            return true;
        if (line.p[0] == ' ') {
            if (first)
                return false; /* continues nothing */
            continue;
        }
        first = false;
        for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++)
            if (header(line, shown[i], &value))
                return false;
        while (name < line.n && line.p[name] > ' ' && line.p[name] < 0x7f)
            name++;
        if (name == line.n || line.p[name] != ' ')
            return false;
        if (header(line, "encoding", &value)) {
            if (seen)
                return false;
            seen = true;
            *encoding = value;
        }
    }
    return false;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The first line that is not blank. */
static struct rd first_line(struct rd message)
{
    const uint8_t *nl;

    while (message.n > 0 && is_space(message.p[0]))
        message = rd_of(message.p + 1, message.n - 1);
    nl = message.n > 0 ? memchr(message.p, '\n', message.n) : NULL;
    if (nl != NULL)
        message.n = (size_t)(nl - message.p);
    while (message.n > 0 && is_space(message.p[message.n - 1]))
        message.n--;
    return message;
}

/* --- text ----------------------------------------------------------------------------------------------------------------- */

static bool is_one_of(struct rd name, const char *const *names)
{
    for (; *names != NULL; names++)
        if (name.n == strlen(*names) && strncasecmp((const char *)name.p, *names, name.n) == 0)
            return true;
    return false;
}

/* V in the object's ENCODING as UTF-8 for people. An encoding that we cannot read is named in front: git will show other
 * characters than these (in EBCDIC even other letters), and the person must not be told that these are the words. */
static gpg_error_t shown_text(struct rd v, struct rd encoding, char **out)
{
    static const char *const utf8[] = {"utf-8", "utf8", "us-ascii", "ascii", NULL};
    static const char *const latin1[] = {"iso-8859-1", "iso8859-1", "iso_8859-1",
                                         "latin1",     "latin-1",   NULL};
    struct buf b = BUF_INIT;
    char *text, *charset;

    if (encoding.n == 0 || is_one_of(encoding, utf8)) {
        text = text_clean((const char *)v.p, v.n, MAX_SHOWN);
    } else if (is_one_of(encoding, latin1)) {
        for (size_t i = 0; i < v.n; i++) {
            if (v.p[i] >= 0x80)
                buf_put_u8(&b, (uint8_t)(0xc0 | v.p[i] >> 6));
            buf_put_u8(&b, v.p[i] >= 0x80 ? (uint8_t)(0x80 | (v.p[i] & 0x3f)) : v.p[i]);
        }
        text = buf_err(&b) == 0 ? text_clean((const char *)b.data, b.len, MAX_SHOWN) : NULL;
    } else {
        charset = text_clean((const char *)encoding.p, encoding.n, 40);
        text = text_clean((const char *)v.p, v.n, MAX_SHOWN);
        if (charset != NULL && text != NULL)
            buf_printf(&b, "[%s] %s", charset, text);
        gpgrt_free(charset);
        gpgrt_free(text);
        text = b.len > 0 ? buf_steal_cstr(&b) : NULL;
    }
    buf_free(&b);
    if (text == NULL)
        return gpg_error(GPG_ERR_ENOMEM);
    *out = text;
    return 0;
}

/* --- objects -------------------------------------------------------------------------------------------------------------- */

/* The parts of an object as views; what is absent is empty. */
struct parts {
    enum git_object_kind kind;
    struct rd id, parent, author, committer, tag, type, encoding, message;
    size_t nparents;
};

static bool read_commit(struct rd r, struct parts *p)
{
    struct rd value;

    p->kind = GIT_COMMIT;
    if (!next_header(&r, "tree", &p->id) || !is_object_id(p->id))
        return false;
    while (next_header(&r, "parent", &value)) {
        if (!is_object_id(value) || value.n != p->id.n)
            return false;
        if (p->nparents++ == 0)
            p->parent = value;
    }
    if (!next_header(&r, "author", &value) || !identity(value, &p->author) ||
        !next_header(&r, "committer", &value) || !identity(value, &p->committer) ||
        !other_headers(&r, &p->encoding))
        return false;
    p->message = r;
    return true;
}

static bool is_type(struct rd v)
{
    return rd_is(v, "commit") || rd_is(v, "tree") || rd_is(v, "blob") || rd_is(v, "tag");
}

static bool read_tag(struct rd r, struct parts *p)
{
    struct rd value, ignored = rd_of(NULL, 0);

    p->kind = GIT_TAG;
    if (!next_header(&r, "object", &p->id) || !is_object_id(p->id) ||
        !next_header(&r, "type", &p->type) || !is_type(p->type) ||
        !next_header(&r, "tag", &p->tag) || p->tag.n == 0)
        return false;
    /* Tags of git before 0.99 have no tagger. */
    if (next_header(&r, "tagger", &value) && !identity(value, &p->author))
        return false;
    /* git shows a tag's text as it is, whatever a header may say of its encoding */
    if (!other_headers(&r, &ignored))
        return false;
    p->message = r;
    return true;
}

/* V as a string; absent parts stay NULL. */
static gpg_error_t keep(struct rd v, struct rd encoding, char **out)
{
    return v.n > 0 ? shown_text(v, encoding, out) : 0;
}

gpg_error_t git_object_parse(struct rd data, struct git_object *out)
{
    struct parts commit = {0}, tag = {0}, *p;
    struct git_object o = {0};
    struct rd none = rd_of(NULL, 0);
    gpg_error_t err;

    *out = o;
    /* git refuses to make an object with NUL in it, and shows such a one only up to there */
    if (data.n == 0 || memchr(data.p, '\0', data.n) != NULL)
        return gpg_error(GPG_ERR_BAD_DATA);
    if (read_commit(data, &commit))
        p = &commit;
    else if (read_tag(data, &tag))
        p = &tag;
    else
        return gpg_error(GPG_ERR_BAD_DATA);
    o.kind = p->kind;
    o.nparents = p->nparents;
    if ((err = keep(p->id, none, &o.tree)) != 0 || (err = keep(p->parent, none, &o.parent)) != 0 ||
        (err = keep(p->tag, none, &o.tag)) != 0 || (err = keep(p->type, none, &o.tag_type)) != 0 ||
        (err = keep(p->author, p->encoding, &o.author)) != 0 ||
        (err = keep(p->committer, p->encoding, &o.committer)) != 0 ||
        (err = shown_text(first_line(p->message), p->encoding, &o.subject)) != 0)
        git_object_clear(&o);
    *out = o;
    return err;
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
