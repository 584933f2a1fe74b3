/* Criteria as they are written: Host and Match lines. */
#include "policy/rules.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* --- tables ------------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    bool takes_list;
} kinds[] = {
    [CRIT_ALL] = {"all", false},
    [CRIT_HOST] = {"host", true},
    [CRIT_PROOF] = {"proof", true},
    [CRIT_UNBOUND] = {"unbound", false},
    [CRIT_USER] = {"user", true},
    [CRIT_VIA] = {"via", true},
    [CRIT_FORWARDED] = {"forwarded", false},
    [CRIT_USE] = {"use", true},
    [CRIT_KEY] = {"key", true},
    [CRIT_TOKEN] = {"token", true},
    [CRIT_CLIENT] = {"client", true},
    [CRIT_PARENT] = {"parent", true},
    [CRIT_UNIT] = {"unit", true},
    [CRIT_HOURS] = {"hours", true},
};

static const char *const kind_names[] = {"all",    "host",      "proof", "unbound", "user",
                                         "via",    "forwarded", "use",   "key",     "token",
                                         "client", "parent",    "unit",  "hours",   NULL};
static const char *const proof_names[] = {"none", "bound", "hostbound",
                                          NULL}; /* by enum policy_proof */
static const char *const use_names[] = {
    "ssh-auth",   "sshsig",  "ssh-ca",       "sudo",    "host-key", "key-test",
    "git-commit", "git-tag", "openpgp-sign", "decrypt", "export",   "import",
    "generate",   "delete",  "card-admin",   "raw",     NULL};
static const char *const token_kinds[] = {"yubikey", "gnuk",     "nitrokey", "librem", "ledger",
                                          "trezor",  "vivokey",  "openpgp",  "piv",    "fido",
                                          "pkcs11",  "software", NULL};
static const char *const day_names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL};

const char *criterion_name(enum criterion_kind kind)
{
    return kinds[kind].name;
}

const char *proof_name(enum policy_proof proof)
{
    return proof_names[proof];
}

static int index_of(const char *s, size_t n, const char *const *names)
{
    for (int i = 0; names[i] != NULL; i++)
        if (strlen(names[i]) == n && strncasecmp(s, names[i], n) == 0)
            return i;
    return -1;
}

/* --- parsing ------------------------------------------------------------------------------------------------------------ */

struct parse {
    const struct line *l;
    struct reporter *r;
    const struct key_sources *sources;
    size_t at; /* next word */
};

typedef void item_check(struct parse *p, struct criterion *c, const char *item, size_t n,
                        unsigned column);

/* Calls CHECK for each comma-separated item of WORD, without its '!'. Gives how many are not negated. */
static size_t each_item(const struct word *w, struct parse *p, struct criterion *c,
                        item_check *check)
{
    const char *s = w->text;
    size_t plain = 0;

    for (;;) {
        size_t n = strcspn(s, ","), bang = s[0] == '!';
        unsigned column = w->column + (unsigned)(s - w->text);

        if (n == bang)
            report(p->r, p->l, column, "an empty item in this list");
        else if (n > LIST_ITEM_MAX)
            report(p->r, p->l, column, "this is too long (%d characters at most)", LIST_ITEM_MAX);
        else
            check(p, c, s + bang, n - bang, column);
        plain += bang == 0;
        if (s[n] == '\0')
            return plain;
        s += n + 1;
    }
}

/* What never holds is a mistake, not a rule. */
static void want_plain(struct parse *p, const struct word *w, size_t plain, const char *what)
{
    if (plain == 0)
        report(p->r, p->l, w->column, "only negated items, so this never holds: write %s", what);
}

static void bad_name(struct parse *p, const char *what, const char *item, size_t n, unsigned column,
                     const char *const *names)
{
    char text[64];
    const char *near;

    snprintf(text, sizeof text, "%.*s", (int)(n < sizeof text ? n : sizeof text - 1), item);
    near = nearest(text, names);
    if (near != NULL)
        report(p->r, p->l, column, "\"%s\" is no %s; did you mean \"%s\"?", text, what, near);
    else
        report(p->r, p->l, column, "\"%s\" is no %s", text, what);
}

static void check_proof(struct parse *p, struct criterion *c, const char *item, size_t n,
                        unsigned column)
{
    int i = index_of(item, n, proof_names);

    if (i < 0)
        bad_name(p, "proof (hostbound, bound, none)", item, n, column, proof_names);
    else
        c->proofs |= 1u << i;
}

static void check_use(struct parse *p, struct criterion *c, const char *item, size_t n,
                      unsigned column)
{
    const char *colon = memchr(item, ':', n);
    size_t head = colon != NULL ? (size_t)(colon - item) : n;

    (void)c;
    if (index_of(item, head, use_names) < 0 ||
        (colon != NULL && strncasecmp(item, "sshsig:", head + 1) != 0 &&
         (n != 12 || strncasecmp(item, "export:clear", n) != 0)))
        bad_name(p, "use", item, head, column, use_names);
}

bool policy_is_use(const char *use, const char **near)
{
    const char *colon = strchr(use, ':');

    *near = NULL;
    if (colon != NULL)
        return (strncmp(use, "sshsig:", 7) == 0 && colon[1] != '\0') ||
               strcmp(use, "export:clear") == 0;
    if (index_of(use, strlen(use), use_names) >= 0)
        return true;
    *near = nearest(use, use_names);
    return false;
}

static void check_token(struct parse *p, struct criterion *c, const char *item, size_t n,
                        unsigned column)
{
    const char *dash = memchr(item, '-', n);
    size_t head = dash != NULL ? (size_t)(dash - item) : n;

    (void)c;
    if (memchr(item, '*', n) == NULL && memchr(item, '?', n) == NULL &&
        index_of(item, head, token_kinds) < 0)
        bad_name(p, "kind of token", item, head, column, token_kinds);
}

static void check_any(struct parse *p, struct criterion *c, const char *item, size_t n,
                      unsigned column)
{
    (void)n;
    if ((c->kind == CRIT_CLIENT || c->kind == CRIT_PARENT) && item[0] != '/' && item[0] != '*')
        report(p->r, p->l, column,
               "a program is named by its absolute path (or a pattern that begins with *)");
}

static bool parse_clock(const char *s, size_t n, unsigned *minutes)
{
    unsigned h, m;
    char text[8], rest;

    if (n >= sizeof text)
        return false;
    memcpy(text, s, n);
    text[n] = '\0';
    if (sscanf(text, "%2u:%2u%c", &h, &m, &rest) != 2 || h > 24 || m > 59 || (h == 24 && m != 0))
        return false;
    *minutes = h * 60 + m;
    return true;
}

static void check_day(struct parse *p, struct criterion *c, const char *item, size_t n,
                      unsigned column)
{
    const char *dash = memchr(item, '-', n);
    size_t first = dash != NULL ? (size_t)(dash - item) : n;
    int from = index_of(item, first, day_names);
    int to = dash != NULL ? index_of(dash + 1, n - first - 1, day_names) : from;

    if (from < 0 || to < 0) {
        bad_name(p, "day (mon, tue .. or a range like mon-fri)", item, n, column, day_names);
        return;
    }
    for (int d = from;; d = (d + 1) % 7) {
        c->days |= 1u << d;
        if (d == to)
            return;
    }
}

static void parse_hours(struct parse *p, struct criterion *c, const struct word *w)
{
    const char *dash = strchr(w->text, '-');

    if (dash == NULL || !parse_clock(w->text, (size_t)(dash - w->text), &c->from) ||
        !parse_clock(dash + 1, strlen(dash + 1), &c->to))
        report(p->r, p->l, w->column, "hours are written 09:00-18:00");
    c->days = 0x7f;
    if (p->at < p->l->n && strcasecmp(p->l->words[p->at].text, "days") == 0) {
        p->at++;
        if (p->at >= p->l->n) {
            report(p->r, p->l, p->l->words[p->at - 1].column,
                   "\"days\" wants a list such as mon-fri");
            return;
        }
        c->days = 0;
        each_item(&p->l->words[p->at++], p, c, check_day);
    }
}

static void parse_argument(struct parse *p, struct criterion *c, const struct word *w)
{
    static item_check *const checks[] = {[CRIT_PROOF] = check_proof,
                                         [CRIT_USE] = check_use,
                                         [CRIT_TOKEN] = check_token,
                                         [CRIT_HOURS] = NULL};
    char instead[32];

    switch (c->kind) {
    case CRIT_HOURS:
        parse_hours(p, c, w);
        return;
    case CRIT_KEY:
        want_plain(p, w, key_list_add(&c->keys, w, p->l, p->sources, p->r), "\"!key ...\"");
        return;
    default:
        break;
    }
    snprintf(instead, sizeof instead, "\"!%s ...\"", kinds[c->kind].name);
    want_plain(p, w,
               each_item(w, p, c,
                         c->kind < sizeof checks / sizeof checks[0] && checks[c->kind] != NULL
                             ? checks[c->kind]
                             : check_any),
               instead);
}

static struct criterion *add_criterion(struct criterion **list, size_t *n, struct reporter *r)
{
    struct criterion *more = gpgrt_realloc(*list, (*n + 1) * sizeof *more);

    if (more == NULL) {
        r->out_of_memory = true;
        return NULL;
    }
    *list = more;
    more[*n] = (struct criterion){0};
    return &more[(*n)++];
}

/* "Host P ..": all the words are one list. */
static void parse_host_line(struct parse *p, struct criterion **out, size_t *n)
{
    struct criterion *c = add_criterion(out, n, p->r);
    size_t len = 1, plain = 0;

    if (c == NULL)
        return;
    c->kind = CRIT_HOST;
    if (p->l->n < 2) {
        report(p->r, p->l, p->l->words[0].column, "Host wants one pattern at least");
        return;
    }
    for (size_t i = 1; i < p->l->n; i++) {
        plain += each_item(&p->l->words[i], p, c, check_any);
        len += strlen(p->l->words[i].text) + 1;
    }
    want_plain(p, &p->l->words[1], plain, "\"Match !host ...\"");
    c->list = gpgrt_malloc(len);
    if (c->list == NULL) {
        p->r->out_of_memory = true;
        return;
    }
    c->list[0] = '\0';
    for (size_t i = 1; i < p->l->n; i++) {
        if (i > 1)
            strcat(c->list, ",");
        strcat(c->list, p->l->words[i].text);
    }
}

static void parse_match_line(struct parse *p, struct criterion **out, size_t *n)
{
    if (p->l->n < 2)
        report(p->r, p->l, p->l->words[0].column,
               "Match wants one criterion at least, e.g. \"Match all\"");
    for (p->at = 1; p->at < p->l->n;) {
        const struct word *w = &p->l->words[p->at++];
        bool negated = w->text[0] == '!';
        int kind = index_of(w->text + negated, strlen(w->text + negated), kind_names);
        struct criterion *c;

        if (kind < 0) {
            bad_name(p, "criterion", w->text + negated, strlen(w->text + negated), w->column,
                     kind_names);
            return; /* what follows may be its argument: no guessing */
        }
        c = add_criterion(out, n, p->r);
        if (c == NULL)
            return;
        c->kind = (enum criterion_kind)kind;
        c->negated = negated;
        if (!kinds[kind].takes_list)
            continue;
        if (p->at >= p->l->n) {
            report(p->r, p->l, w->column, "\"%s\" wants a value", kinds[kind].name);
            return;
        }
        w = &p->l->words[p->at++];
        c->list = gpgrt_strdup(w->text);
        if (c->list == NULL)
            p->r->out_of_memory = true;
        parse_argument(p, c, w);
    }
}

void criteria_parse(const struct line *l, bool host_line, const struct key_sources *sources,
                    struct criterion **out, size_t *n, struct reporter *r)
{
    struct parse p = {.l = l, .r = r, .sources = sources};

    *out = NULL;
    *n = 0;
    if (host_line)
        parse_host_line(&p, out, n);
    else
        parse_match_line(&p, out, n);
}

static bool copy_criterion(const struct criterion *from, struct criterion *to)
{
    *to = *from;
    to->list = from->list != NULL ? gpgrt_strdup(from->list) : NULL;
    return key_list_copy(&from->keys, &to->keys) && (to->list != NULL || from->list == NULL);
}

bool criteria_prepend(const struct criterion *outer, size_t nouter, struct criterion **list,
                      size_t *n)
{
    struct criterion *all = gpgrt_calloc(nouter + *n + 1, sizeof *all);
    size_t i = 0;

    if (all == NULL)
        return false;
    while (i < nouter && copy_criterion(&outer[i], &all[i]))
        i++;
    if (i < nouter) {
        criteria_free(all, i + 1);
        return false;
    }
    if (*n > 0)
        memcpy(all + nouter, *list, *n * sizeof *all);
    gpgrt_free(*list);
    *list = all;
    *n += nouter;
    return true;
}

bool criteria_same(const struct criterion *a, size_t na, const struct criterion *b, size_t nb)
{
    bool same = na == nb;

    for (size_t i = 0; i < na && same; i++)
        same = a[i].kind == b[i].kind && key_list_same(&a[i].keys, &b[i].keys);
    return same;
}

void criteria_free(struct criterion *c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        gpgrt_free(c[i].list);
        key_list_free(&c[i].keys);
    }
    gpgrt_free(c);
}
