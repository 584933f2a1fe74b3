/* What dialogs say about gpg's keys. */
#include "agent/gpg_dialog.h"

#include "proto/git_object.h"

#include <ctype.h>
#include <string.h>

/* The octet that %XX at P stands for; -1: it is none. */
static int escaped(const char *p)
{
    unsigned c;

    if (p[0] == '%' && isxdigit((unsigned char)p[1]) && isxdigit((unsigned char)p[2]) &&
        sscanf(p + 1, "%2x", &c) == 1)
        return (int)c;
    return -1;
}

void gpg_put_unescaped(struct buf *b, const char *s, bool plus)
{
    for (; *s != '\0'; s++) {
        int c = escaped(s);

        if (c >= 0) {
            if (c > 0)
                buf_put_u8(b, (uint8_t)c);
            s += 2;
        } else {
            buf_put_u8(b, plus && *s == '+' ? ' ' : (uint8_t)*s);
        }
    }
}

char *gpg_unescape(const char *s, bool plus)
{
    struct buf b = BUF_INIT;

    gpg_put_unescaped(&b, s, plus);
    return buf_steal_cstr(&b);
}

char *gpg_quoted_name(const char *desc)
{
    char *text = gpg_unescape(desc, false), *clean = NULL;
    const char *first = text != NULL ? strchr(text, '"') : NULL,
               *last = text != NULL ? strrchr(text, '"') : NULL;

    if (first != NULL && last > first + 1)
        clean = text_clean(first + 1, (size_t)(last - first - 1), 200);
    gpgrt_free(text);
    return clean;
}

/* What the places of a description stand for. */
struct about {
    char *name; /* comment or label; NULL: none */
    char *fpr;
    bool labelled;
};

static void about_clear(struct about *a)
{
    gpgrt_free(a->name);
    gpgrt_free(a->fpr);
}

static void about_key(struct gpg_session *s, const char *grip, struct about *a)
{
    struct gpg_stored f = {0};
    struct key *key = NULL;
    gcry_sexp_t sexp = NULL;

    *a = (struct about){0};
    if (grip == NULL || gpg_stored_get(s, grip, &f) != 0)
        return;
    if (f.pub.len > 0 && gcry_sexp_new(&sexp, f.pub.data, f.pub.len, 0) == 0)
        (void)key_from_sexp(sexp, false, &key);
    if (key != NULL && key->plain != NULL)
        a->fpr =
            gpg_ssh_fingerprint(rd_of(key->plain, key->plain_len), s->conf->ssh_fingerprint_hash);
    a->labelled = f.label != NULL && f.label[0] != '\0';
    if (a->labelled || (f.comment != NULL && f.comment[0] != '\0'))
        a->name = gpgrt_strdup(a->labelled ? f.label : f.comment);
    key_unref(key);
    gcry_sexp_release(sexp);
    gpg_stored_clear(&f);
}

/* The special sequence of letter C; false: there is none. NAMED is set when the name was put. */
static bool put_place(struct buf *b, char c, const struct about *a, bool *named)
{
    switch (c) {
    case '%':
        buf_put_u8(b, '%');
        return true;
    case 'c':
    case 'C':
        if (a->name != NULL)
            buf_printf(b, c == 'C' ? "(%s)" : "%s", a->name);
        *named = true;
        return true;
    case 'F':
        if (a->fpr != NULL)
            buf_printf(b, "%s", a->fpr);
        return true;
    default:
        return false;
    }
}

char *gpg_describe_key(struct gpg_session *s, const char *text, const char *grip)
{
    struct buf b = BUF_INIT;
    struct about a;
    bool named = false;
    char *out;

    about_key(s, grip, &a);
    for (; *text != '\0'; text++) {
        int c;

        if (*text == '%' && put_place(&b, text[1], &a, &named)) {
            text++;
        } else if ((c = escaped(text)) >= 0) {
            if (c > 0)
                buf_put_u8(&b, (uint8_t)c);
            text += 2;
        } else {
            buf_put_u8(&b, (uint8_t)*text);
        }
    }
    if (a.labelled && !named)
        buf_printf(&b, "\n(%s)", a.name);
    about_clear(&a);
    out = buf_steal_cstr(&b);
    return out;
}
