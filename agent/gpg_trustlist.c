#include "agent/gpg_trustlist.h"

#include <ctype.h>
#include <string.h>

#define MAX_LINE 254u /* gpg-agent's */

void gpg_trustlist_clear(struct gpg_trustlist *l)
{
    gpgrt_free(l->items);
    *l = (struct gpg_trustlist){0};
}

const struct gpg_trusted *gpg_trustlist_find(const struct gpg_trustlist *l,
                                             const uint8_t fpr[GPG_TRUST_FPR])
{
    for (size_t i = 0; i < l->n; i++)
        if (memcmp(l->items[i].fpr, fpr, GPG_TRUST_FPR) == 0)
            return &l->items[i];
    return NULL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static const char *skip_blanks(const char *p)
{
    while (is_blank(*p))
        p++;
    return p;
}

/* 40 hex digits, perhaps with colons between the octets. */
static const char *take_fpr(const char *p, uint8_t fpr[GPG_TRUST_FPR])
{
    for (size_t i = 0; i < GPG_TRUST_FPR; i++) {
        unsigned octet;

        if (i > 0 && *p == ':')
            p++;
        if (!isxdigit((unsigned char)p[0]) || !isxdigit((unsigned char)p[1]) ||
            sscanf(p, "%2x", &octet) != 1)
            return NULL;
        fpr[i] = (uint8_t)octet;
        p += 2;
    }
    return *p == '\0' || is_blank(*p) ? p : NULL;
}

/* What the certificate may certify: nothing and '*' are both. */
static const char *take_kind(const char *p, struct gpg_trusted *t)
{
    char c = *p;

    if (c != '\0' && strchr("*PpSs", c) == NULL)
        return NULL;
    t->for_smime = c == '\0' || c == '*' || c == 'S' || c == 's';
    t->for_pgp = c == '\0' || c == '*' || c == 'P' || c == 'p';
    if (c != '\0')
        p++;
    return *p == '\0' || is_blank(*p) ? p : NULL;
}

static gpg_error_t take_flags(const char *p, const struct gpg_trust_file *f, unsigned line,
                              struct gpg_trusted *t)
{
    const struct {
        const char *word;
        bool *flag;
        bool system; /* counts only in the administrator's */
    } flags[] = {{"relax", &t->relax, false},
                 {"cm", &t->cm, false},
                 {"qual", &t->qual, true},
                 {"de-vs", &t->de_vs, true}};

    for (p = skip_blanks(p); *p != '\0'; p = skip_blanks(p)) {
        size_t n = strcspn(p, "= \t");
        bool known = false;

        if (p[n] == '=') {
            gpgrt_log_error("%s:%u: the flag \"%.*s\" takes no value\n", f->name, line, (int)n, p);
            return gpg_error(GPG_ERR_BAD_DATA);
        }
        for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
            if (strlen(flags[i].word) != n || strncmp(flags[i].word, p, n) != 0 ||
                (flags[i].system && !f->system))
                continue;
            *flags[i].flag = known = true;
        }
        if (!known)
            gpgrt_log_info("%s:%u: flag \"%.*s\" ignored\n", f->name, line, (int)n, p);
        p += n;
    }
    return 0;
}

static gpg_error_t append(struct gpg_trustlist *l, const struct gpg_trusted *t)
{
    struct gpg_trusted *more;

    if (l->n >= GPG_TRUST_MAX)
        return gpg_error(GPG_ERR_TOO_MANY);
    more = gpgrt_reallocarray(l->items, l->n, l->n + 1, sizeof *more);
    if (more == NULL)
        return gpg_error_from_syserror();
    l->items = more;
    more[l->n++] = *t;
    return 0;
}

static gpg_error_t parse_entry(const char *p, const struct gpg_trust_file *f, unsigned line,
                               struct gpg_trustlist *out)
{
    struct gpg_trusted t = {0};
    gpg_error_t err;

    t.disabled = *p == '!';
    if (t.disabled)
        p = skip_blanks(p + 1);
    p = take_fpr(p, t.fpr);
    if (p == NULL) {
        gpgrt_log_error("%s:%u: no fingerprint\n", f->name, line);
        return gpg_error(GPG_ERR_BAD_DATA);
    }
    p = take_kind(skip_blanks(p), &t);
    if (p == NULL) {
        gpgrt_log_error("%s:%u: S, P or * is wanted after the fingerprint\n", f->name, line);
        return gpg_error(GPG_ERR_BAD_DATA);
    }
    err = take_flags(p, f, line, &t);
    return err != 0 ? err : append(out, &t);
}

static bool is_include(const char *p)
{
    static const char word[] = "include-default";
    const size_t n = sizeof word - 1;

    return strncmp(p, word, n) == 0 && (p[n] == '\0' || is_blank(p[n]));
}

static gpg_error_t parse_line(const char *text, const struct gpg_trust_file *f,
                              const struct gpg_trust_file *included, unsigned line,
                              struct gpg_trustlist *out)
{
    const char *p = skip_blanks(text);

    if (*p == '\0' || *p == '#')
        return 0;
    if (!is_include(p))
        return parse_entry(p, f, line, out);
    if (f->system) {
        gpgrt_log_error("%s:%u: include-default ignored here\n", f->name, line);
        return 0;
    }
    return included != NULL ? gpg_trustlist_parse(included, NULL, out) : 0;
}

gpg_error_t gpg_trustlist_parse(const struct gpg_trust_file *f,
                                const struct gpg_trust_file *included, struct gpg_trustlist *out)
{
    gpg_error_t err = 0, one;
    struct rd rest = f->text;

    for (unsigned line = 1; rest.n > 0; line++) {
        const uint8_t *end = memchr(rest.p, '\n', rest.n);
        size_t n = end != NULL ? (size_t)(end - rest.p) : rest.n;
        char text[MAX_LINE + 1];

        if (end == NULL || n > MAX_LINE) {
            one = gpg_error(end == NULL ? GPG_ERR_INCOMPLETE_LINE : GPG_ERR_LINE_TOO_LONG);
            gpgrt_log_error("%s:%u: %s\n", f->name, line, gpg_strerror(one));
        } else {
            memcpy(text, rest.p, n);
            text[n > 0 && text[n - 1] == '\r' ? n - 1 : n] = '\0';
            one = parse_line(text, f, included, line, out);
        }
        if (one != 0)
            err = one;
        rest = end != NULL ? rd_of(end + 1, rest.n - n - 1) : rd_of(NULL, 0);
    }
    return err;
}
