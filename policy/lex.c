#include "policy/rules.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_ERRORS 100

static void add_error(struct reporter *r, char *text)
{
    char **more =
        text != NULL ? gpgrt_realloc(r->errors->text, (r->errors->n + 1) * sizeof *more) : NULL;

    if (more == NULL) {
        gpgrt_free(text);
        r->out_of_memory = true;
        return;
    }
    r->errors->text = more;
    r->errors->text[r->errors->n++] = text;
}

/* The line and a caret below the column; tabs are kept so that the caret stands right. Control characters of the file
 * must not reach a terminal. */
static char *with_caret(const struct line *l, unsigned column, const char *message)
{
    size_t n = strlen(l->raw), pad = column > 0 ? column - 1 : 0;
    char *shown = gpgrt_malloc(n + 1), *blank = gpgrt_malloc(pad + 1), *text = NULL;

    if (shown != NULL && blank != NULL) {
        for (size_t i = 0; i <= n; i++)
            shown[i] = l->raw[i] != '\0' && l->raw[i] != '\t' && iscntrl((unsigned char)l->raw[i])
                           ? '?'
                           : l->raw[i];
        for (size_t i = 0; i < pad; i++)
            blank[i] = i < n && l->raw[i] == '\t' ? '\t' : ' ';
        blank[pad] = '\0';
        text = gpgrt_bsprintf("%s:%u:%u: %s\n  %s\n  %s^\n", l->file, l->number, column, message,
                              shown, blank);
    }
    gpgrt_free(shown);
    gpgrt_free(blank);
    return text;
}

void report(struct reporter *r, const struct line *l, unsigned column, const char *fmt, ...)
{
    char *message = NULL;
    va_list ap;

    if (r->errors->n >= MAX_ERRORS)
        return;
    va_start(ap, fmt);
    message = gpgrt_vbsprintf(fmt, ap);
    va_end(ap);
    add_error(r, message != NULL ? with_caret(l, column, message) : NULL);
    gpgrt_free(message);
}

void report_file(struct reporter *r, const char *file, const char *fmt, ...)
{
    char *message;
    va_list ap;

    va_start(ap, fmt);
    message = gpgrt_vbsprintf(fmt, ap);
    va_end(ap);
    add_error(r, message != NULL ? gpgrt_bsprintf("%s: %s\n", file, message) : NULL);
    gpgrt_free(message);
}

void policy_errors_free(struct policy_errors *e)
{
    for (size_t i = 0; i < e->n; i++)
        gpgrt_free(e->text[i]);
    gpgrt_free(e->text);
    *e = (struct policy_errors){0};
}

static bool add_word(struct line *l, const char *s, size_t n, size_t column)
{
    struct word *more = gpgrt_realloc(l->words, (l->n + 1) * sizeof *more);
    char *text = gpgrt_malloc(n + 1);

    if (more != NULL)
        l->words = more;
    if (more == NULL || text == NULL) {
        gpgrt_free(text);
        return false;
    }
    memcpy(text, s, n);
    text[n] = '\0';
    l->words[l->n++] = (struct word){.text = text, .column = (unsigned)column + 1};
    return true;
}

/* Cuts L->raw into words; false after a report. */
static bool split(struct line *l, struct reporter *r)
{
    const char *s = l->raw;
    size_t i = 0, n = strlen(s);

    while (i < n) {
        size_t start, end;

        while (i < n && (s[i] == ' ' || s[i] == '\t' || (l->n == 1 && s[i] == '=')))
            i++;
        if (i >= n || s[i] == '#')
            return true;
        if (s[i] == '"') {
            start = i + 1;
            end = start;
            while (end < n && s[end] != '"')
                end++;
            if (end >= n) {
                report(r, l, (unsigned)i + 1, "this quote is not closed");
                return false;
            }
            i = end + 1;
        } else {
            start = i;
            while (i < n && s[i] != ' ' && s[i] != '\t' && !(l->n == 0 && s[i] == '='))
                i++;
            end = i;
        }
        if (!add_word(l, s + start, end - start, start)) {
            r->out_of_memory = true;
            return false;
        }
    }
    return true;
}

void lex(const char *file, const char *text, size_t len, struct reporter *r,
         void (*each)(void *arg, struct line *l), void *arg)
{
    unsigned number = 0;

    while (len > 0 && !r->out_of_memory) {
        const char *nl = memchr(text, '\n', len);
        size_t n = nl != NULL ? (size_t)(nl - text) : len, used = nl != NULL ? n + 1 : n;
        struct line l = {.file = file, .number = ++number};

        if (n > 0 && text[n - 1] == '\r')
            n--;
        l.raw = gpgrt_malloc(n + 1);
        if (l.raw == NULL) {
            r->out_of_memory = true;
            return;
        }
        memcpy(l.raw, text, n);
        l.raw[n] = '\0';
        if (memchr(text, '\0', n) != NULL)
            report(r, &l, (unsigned)strlen(l.raw) + 1, "a NUL byte: this is no text file");
        else if (split(&l, r) && l.n > 0)
            each(arg, &l);
        for (size_t i = 0; i < l.n; i++)
            gpgrt_free(l.words[i].text);
        gpgrt_free(l.words);
        gpgrt_free(l.raw);
        text += used;
        len -= used;
    }
}

/* --- did you mean ------------------------------------------------------------------------------------------------------ */

#define MAX_WORD 32

/* Edits (insert, delete, replace, swap of neighbours) between two short words, without case. */
static unsigned distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned d[MAX_WORD + 1][MAX_WORD + 1];

    if (n > MAX_WORD || m > MAX_WORD)
        return MAX_WORD;
    for (size_t i = 0; i <= n; i++)
        d[i][0] = (unsigned)i;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++)
        for (size_t j = 1; j <= m; j++) {
            int ca = tolower((unsigned char)a[i - 1]), cb = tolower((unsigned char)b[j - 1]);
            unsigned best = d[i - 1][j - 1] + (ca != cb);

            if (d[i - 1][j] + 1 < best)
                best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best)
                best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
                cb == tolower((unsigned char)a[i - 2]) && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[n][m];
}

const char *nearest(const char *s, const char *const *names)
{
    const char *best = NULL;
    unsigned least = strlen(s) <= 4 ? 2 : 3;

    for (; *names != NULL; names++) {
        unsigned n = distance(s, *names);

        if (n < least) {
            least = n;
            best = *names;
        }
    }
    return best;
}
