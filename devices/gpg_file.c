#include "devices/gpg_file.h"

#include "devices/gpg_sexp.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COLUMNS   70u
#define MAX_ITEMS 1024u

/* A name with its value, or lines that are neither (comments). */
struct item {
    char *name;       /* NULL: no name */
    struct buf raw;   /* secure: the key's lines may be clear */
    struct buf value; /* text; of the key: canonical */
};
struct gpg_file {
    struct item *items;
    size_t n;
};

static void item_clear(struct item *i)
{
    gpgrt_free(i->name);
    buf_free(&i->raw);
    buf_free(&i->value);
}

void gpg_file_free(struct gpg_file *f)
{
    if (f == NULL)
        return;
    for (size_t i = 0; i < f->n; i++)
        item_clear(&f->items[i]);
    gpgrt_free(f->items);
    gpgrt_free(f);
}

gpg_error_t gpg_file_new(struct gpg_file **out)
{
    struct gpg_file *f = gpgrt_calloc(1, sizeof *f);

    if (f == NULL)
        return gpg_error_from_syserror();
    *out = f;
    return 0;
}

/* Room for one more, before index AT. */
static gpg_error_t insert(struct gpg_file *f, size_t at, struct rd name, struct item **out)
{
    struct item *more, *i;
    char *copy = NULL;

    if (f->n >= MAX_ITEMS)
        return gpg_error(GPG_ERR_TOO_MANY);
    more = gpgrt_reallocarray(f->items, f->n, f->n + 1, sizeof *more);
    if (more != NULL)
        f->items = more;
    if (more != NULL && name.p != NULL) {
        copy = gpgrt_malloc(name.n + 1);
        if (copy != NULL) {
            memcpy(copy, name.p, name.n);
            copy[name.n] = '\0';
        }
    }
    if (more == NULL || (name.p != NULL && copy == NULL))
        return gpg_error_from_syserror();
    i = &f->items[at];
    memmove(i + 1, i, (f->n - at) * sizeof *i);
    *i = (struct item){.name = copy, .raw = BUF_INIT_SECURE, .value = BUF_INIT_SECURE};
    f->n++;
    *out = i;
    return 0;
}

/* --- reading ----------------------------------------------------------------------------------------------------------- */

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* The next line with its end. */
static struct rd take_line(struct rd *r)
{
    const uint8_t *end = memchr(r->p, '\n', r->n);
    struct rd line = rd_of(r->p, end != NULL ? (size_t)(end - r->p) + 1 : r->n);

    r->p += line.n;
    r->n -= line.n;
    return line;
}

static struct rd trim(struct rd r)
{
    while (r.n > 0 && (is_blank(r.p[r.n - 1]) || r.p[r.n - 1] == '\n' || r.p[r.n - 1] == '\r'))
        r.n--;
    return r;
}

static struct rd skip_blanks(struct rd r)
{
    while (r.n > 0 && is_blank(*r.p)) {
        r.p++;
        r.n--;
    }
    return r;
}

bool gpg_file_name_ok(struct rd name)
{
    if (name.n == 0 || !isalpha(name.p[0]) ||
        (name.n == 3 && strncasecmp((const char *)name.p, "Key", 3) == 0))
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (!isalnum(name.p[i]) && name.p[i] != '-')
            return false;
    return true;
}

static bool is_key(const struct item *i)
{
    return i->name != NULL && strcasecmp(i->name, "Key") == 0;
}

static gpg_error_t begin_item(struct gpg_file *f, struct rd line, struct item **out)
{
    const uint8_t *colon = memchr(line.p, ':', line.n);
    struct rd name = rd_of(line.p, colon != NULL ? (size_t)(colon - line.p) : 0);
    struct item *i;
    gpg_error_t err;

    if (!gpg_file_name_ok(name) &&
        !(name.n == 3 && strncasecmp((const char *)name.p, "Key", 3) == 0))
        return gpg_error(GPG_ERR_BAD_DATA);
    err = insert(f, f->n, name, &i);
    if (err != 0)
        return err;
    buf_put_rd(&i->raw, line);
    buf_put_rd(&i->value, skip_blanks(trim(rd_of(colon + 1, line.n - name.n - 1))));
    *out = i;
    return 0;
}

/* A line that begins with a blank goes on where the one before ended; an empty one is a line break. */
static void continue_item(struct item *i, struct rd line)
{
    struct rd text = trim(line);

    buf_put_rd(&i->raw, line);
    if (text.n == 0)
        buf_put_u8(&i->value, '\n');
    else
        buf_put(&i->value, text.p + 1, text.n - 1);
}

static gpg_error_t parse_lines(struct rd text, struct gpg_file *f)
{
    struct item *named = NULL;
    gpg_error_t err = 0;

    while (text.n > 0 && err == 0) {
        struct rd line = take_line(&text), content = skip_blanks(trim(line));

        if (named != NULL && is_blank(*line.p)) {
            continue_item(named, line);
        } else if (content.n == 0 || *content.p == '#') {
            struct item *i = NULL;

            named = NULL;
            err = insert(f, f->n, rd_of(NULL, 0), &i);
            if (err == 0)
                buf_put_rd(&i->raw, line);
        } else {
            err = begin_item(f, line, &named);
        }
    }
    return err;
}

/* Values as text; the key as canonical text. */
static gpg_error_t finish(struct gpg_file *f)
{
    unsigned keys = 0;
    gpg_error_t err = 0;

    for (size_t n = 0; n < f->n && err == 0; n++) {
        struct item *i = &f->items[n];

        err = buf_err(&i->raw);
        if (err == 0)
            err = buf_err(&i->value);
        if (err != 0 || i->name == NULL)
            continue;
        if (is_key(i)) {
            struct buf canon = BUF_INIT_SECURE;

            err = ++keys == 1 ? canon_from_text(buf_rd(&i->value), &canon)
                              : gpg_error(GPG_ERR_BAD_DATA);
            buf_free(&i->value);
            i->value = canon;
        } else if (buf_cstr(&i->value) == NULL || strlen(buf_cstr(&i->value)) != i->value.len) {
            err = gpg_error(GPG_ERR_BAD_DATA);
        }
    }
    return err == 0 && keys == 0 ? gpg_error(GPG_ERR_MISSING_KEY) : err;
}

gpg_error_t gpg_file_parse(struct rd text, struct gpg_file **out)
{
    struct gpg_file *f = NULL;
    gpg_error_t err;

    if (text.n == 0 || text.n > GPG_KEY_MAX)
        return gpg_error(text.n == 0 ? GPG_ERR_MISSING_KEY : GPG_ERR_TOO_LARGE);
    err = gpg_file_new(&f);
    if (err != 0)
        return err;
    if (*text.p == '(') {
        struct item *i;

        err = insert(f, 0, rd_of("Key", 3), &i);
        if (err == 0) {
            buf_put_rd(&i->raw, text);
            buf_put_rd(&i->value, text);
        }
    } else {
        err = parse_lines(text, f);
    }
    if (err == 0)
        err = finish(f);
    if (err != 0)
        gpg_file_free(f);
    else
        *out = f;
    return err;
}

/* --- writing ------------------------------------------------------------------------------------------------------------ */

/* Where a line of at most N octets of TEXT may end: between octets that no reader trims. */
static size_t break_at(struct rd text, size_t n)
{
    size_t at = n;

    if (text.n <= n)
        return text.n;
    while (at > 1 && (is_blank(text.p[at]) || is_blank(text.p[at - 1])))
        at--;
    if (at > 1)
        return at;
    for (at = n; at < text.n && (is_blank(text.p[at]) || is_blank(text.p[at - 1]));)
        at++;
    return at;
}

/* "NAME: VALUE" in lines of COLUMNS. */
static void fold(struct item *i, struct rd text)
{
    size_t room = COLUMNS - strlen(i->name) % COLUMNS;

    buf_reset(&i->raw);
    buf_printf(&i->raw, "%s: ", i->name);
    for (bool first = true; text.n > 0 || first; first = false) {
        const uint8_t *end = text.n > 0 ? memchr(text.p, '\n', text.n) : NULL;
        struct rd line = rd_of(text.p, end != NULL ? (size_t)(end - text.p) : text.n);
        bool whole_line;

        if (!first)
            buf_put_u8(&i->raw, ' ');
        line.n = break_at(line, room);
        whole_line = end != NULL && line.p + line.n == end;
        buf_put_rd(&i->raw, line);
        buf_put_u8(&i->raw, '\n');
        if (whole_line)
            buf_put(&i->raw, " \n", 2);
        text.p += line.n + whole_line;
        text.n -= line.n + whole_line;
        room = COLUMNS;
    }
}

gpg_error_t gpg_file_print(const struct gpg_file *f, struct buf *out)
{
    bool bare = f->n == 1 && f->items[0].raw.len > 0 && f->items[0].raw.data[0] == '(';

    for (size_t i = 0; i < f->n; i++) {
        struct rd raw = buf_rd(&f->items[i].raw);

        buf_put_rd(out, raw);
        if (!bare && raw.n > 0 && raw.p[raw.n - 1] != '\n')
            buf_put_u8(out, '\n');
    }
    return buf_err(out);
}

static size_t find_key(const struct gpg_file *f)
{
    size_t i = 0;

    while (i < f->n && !is_key(&f->items[i]))
        i++;
    return i;
}

struct rd gpg_file_key(const struct gpg_file *f)
{
    size_t i = find_key(f);

    return i < f->n ? buf_rd(&f->items[i].value) : rd_of(NULL, 0);
}

static gpg_error_t print_key(struct item *i)
{
    struct buf text = BUF_INIT_SECURE;
    gpg_error_t err = canon_print(buf_rd(&i->value), &text);

    if (err == 0) {
        fold(i, buf_rd(&text));
        err = buf_err(&i->raw);
    }
    buf_free(&text);
    return err;
}

gpg_error_t gpg_file_set_key(struct gpg_file *f, struct rd canon)
{
    struct buf copy = BUF_INIT_SECURE;
    size_t at = find_key(f);
    struct item *i;
    gpg_error_t err;

    buf_put_rd(&copy, canon);
    err = buf_err(&copy);
    if (err == 0 && at == f->n)
        err = insert(f, at, rd_of("Key", 3), &i);
    if (err != 0) {
        buf_free(&copy);
        return err;
    }
    i = &f->items[at];
    buf_free(&i->value);
    i->value = copy;
    return print_key(i);
}

/* A bare key cannot have a line before it. */
static gpg_error_t make_extended(struct gpg_file *f)
{
    size_t at = find_key(f);

    return at < f->n && f->items[at].raw.len > 0 && f->items[at].raw.data[0] == '('
               ? print_key(&f->items[at])
               : 0;
}

static size_t find(const struct gpg_file *f, const char *name, size_t from)
{
    while (from < f->n &&
           (f->items[from].name == NULL || strcasecmp(f->items[from].name, name) != 0))
        from++;
    return from;
}

const char *gpg_file_get(const struct gpg_file *f, const char *name, unsigned n)
{
    size_t at = find(f, name, 0);

    while (n-- > 0 && at < f->n)
        at = find(f, name, at + 1);
    return at < f->n && !is_key(&f->items[at]) ? (const char *)f->items[at].value.data : NULL;
}

static gpg_error_t put_value(struct item *i, const char *value)
{
    buf_reset(&i->value);
    buf_put(&i->value, value, strlen(value));
    if (buf_cstr(&i->value) == NULL)
        return gpg_error(GPG_ERR_ENOMEM);
    fold(i, buf_rd(&i->value));
    return buf_err(&i->raw);
}

static void drop(struct gpg_file *f, size_t at)
{
    item_clear(&f->items[at]);
    memmove(&f->items[at], &f->items[at + 1], (f->n - at - 1) * sizeof f->items[0]);
    f->n--;
}

gpg_error_t gpg_file_add(struct gpg_file *f, const char *name, const char *value)
{
    struct item *i;
    size_t last = f->n, at;
    gpg_error_t err;

    if (!gpg_file_name_ok(rd_of(name, strlen(name))))
        return gpg_error(GPG_ERR_INV_NAME);
    err = make_extended(f);
    for (at = find(f, name, 0); at < f->n; at = find(f, name, at + 1))
        last = at + 1;
    if (err == 0)
        err = insert(f, last < f->n ? last : find_key(f), rd_of(name, strlen(name)), &i);
    return err == 0 ? put_value(i, value) : err;
}

gpg_error_t gpg_file_set(struct gpg_file *f, const char *name, const char *value)
{
    size_t at;

    if (!gpg_file_name_ok(rd_of(name, strlen(name))))
        return gpg_error(GPG_ERR_INV_NAME);
    at = find(f, name, 0);
    for (size_t more; (more = find(f, name, at + 1)) < f->n;)
        drop(f, more);
    if (at < f->n && value == NULL) {
        drop(f, at);
        return 0;
    }
    if (value == NULL)
        return 0;
    return at < f->n ? put_value(&f->items[at], value) : gpg_file_add(f, name, value);
}

bool gpg_file_true(const char *value)
{
    return value != NULL &&
           (strcasecmp(value, "yes") == 0 || strcasecmp(value, "true") == 0 || atol(value) != 0);
}
