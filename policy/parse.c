#include "policy/rules.h"

#include <string.h>
#include <strings.h>

const char policy_tail[] = "Match use raw\n"
                           "    Access   deny\n"
                           "Match use export:clear\n"
                           "    Confirm  no\n"
                           "Match use export\n"
                           "    Confirm  yes\n"
                           "Match token software\n"
                           "    Touch    none\n"
                           "Match token pkcs11 use import,delete\n"
                           "    Touch    none\n"
                           "Match token fido use import,delete\n"
                           "    Touch    none\n"
                           "Match all\n"
                           "    Touch    cached 15s\n"
                           "    StandIn  confirm\n"
                           "    Pin      session\n";

/* Rules outlive the texts: the names that they refer to are kept with them. */
static const char *keep_name(struct parser *p, const char *name)
{
    struct rules *r = p->rules;
    size_t n = 0;
    char **more;

    while (r->names != NULL && r->names[n] != NULL)
        if (strcmp(r->names[n++], name) == 0)
            return r->names[n - 1];
    more = gpgrt_realloc(r->names, (n + 2) * sizeof *more);
    if (more == NULL) {
        p->reporter->out_of_memory = true;
        return "";
    }
    r->names = more;
    r->names[n] = gpgrt_strdup(name);
    r->names[n + 1] = NULL;
    if (r->names[n] == NULL)
        p->reporter->out_of_memory = true;
    return r->names[n] != NULL ? r->names[n] : "";
}

/* --- blocks ------------------------------------------------------------------------------------------------ */

/* One file being read. */
struct context {
    struct parser *p;
    const char *file;
    size_t outer,
        block; /* indices: the block that this file is included in, the one that settings go to */
};

static char *trimmed(const char *raw)
{
    const char *end;

    raw += strspn(raw, " \t");
    end = raw + strlen(raw);
    while (end > raw && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return gpgrt_bsprintf("%.*s", (int)(end - raw), raw);
}

/* "Host a b" as Match would have it: "host a,b". */
static char *as_match(const struct line *l)
{
    bool host = strcasecmp(l->words[0].text, "Host") == 0;
    char *text = gpgrt_strdup(host ? "host" : "");

    for (size_t i = 1; i < l->n && text != NULL; i++) {
        const char *w = l->words[i].text, *quote = strpbrk(w, " \t#") != NULL ? "\"" : "";
        char *more = gpgrt_bsprintf("%s%s%s%s%s", text,
                                    host && i > 1   ? ","
                                    : i > 1 || host ? " "
                                                    : "",
                                    quote, w, quote);

        gpgrt_free(text);
        text = more;
    }
    return text;
}

static void set_flags(struct block *b)
{
    for (size_t i = 0; i < b->ncriteria; i++) {
        const struct criterion *c = &b->criteria[i];

        if ((c->kind == CRIT_UNBOUND && !c->negated) ||
            (c->kind == CRIT_PROOF && !c->negated && c->proofs == 1u << PROOF_NONE))
            b->names_unbound = true;
    }
}

/* A block whose criteria are OUTER's (an index) and B's own, and makes it the one that settings go
 * to. Takes over what B owns. */
static void add_block(struct context *c, struct block *b, size_t outer)
{
    struct rules *r = c->p->rules;
    struct block *more = gpgrt_realloc(r->blocks, (r->n + 1) * sizeof *more);
    bool ok = more != NULL && b->head != NULL && b->match != NULL;

    if (more != NULL)
        r->blocks = more;
    if (ok && outer != NO_BLOCK && r->blocks[outer].ncriteria > 0) {
        const struct block *o = &r->blocks[outer];
        char *match = gpgrt_bsprintf("%s%s%s", o->match, b->match[0] != '\0' ? " " : "", b->match);
        char *head = b->ncriteria > 0 ? gpgrt_bsprintf("Match %s", match) : gpgrt_strdup(o->head);

        ok = head != NULL && match != NULL &&
             criteria_prepend(o->criteria, o->ncriteria, &b->criteria, &b->ncriteria);
        gpgrt_free(b->head);
        gpgrt_free(b->match);
        b->head = head;
        b->match = match;
    }
    if (!ok) {
        c->p->reporter->out_of_memory = true;
        criteria_free(b->criteria, b->ncriteria);
        gpgrt_free(b->head);
        gpgrt_free(b->match);
        return;
    }
    set_flags(b);
    c->block = r->n;
    r->blocks[r->n++] = *b;
}

static void begin_block(struct context *c, const struct line *l)
{
    struct block b = {
        .file = c->file, .line = l->number, .head = trimmed(l->raw), .match = as_match(l)};

    criteria_parse(l, strcasecmp(l->words[0].text, "Host") == 0, &c->p->sources, &b.criteria,
                   &b.ncriteria, c->p->reporter);
    add_block(c, &b, c->outer);
}

/* Settings go to the last block of all, so that their order stays that of the text. Before the first
 * block of a file they hold for everything that the file is included for; behind an Include a block
 * goes on as it began. */
static void add_value(struct context *c, const struct value *v)
{
    struct rules *r = c->p->rules;
    struct value *more = NULL;
    struct block *b;

    if (c->block == NO_BLOCK || c->block != r->n - 1) {
        struct block go_on = {
            .file = c->file, .line = v->line, .head = gpgrt_strdup(""), .match = gpgrt_strdup("")};

        add_block(c, &go_on, c->block != NO_BLOCK ? c->block : c->outer);
    }
    b = c->block != NO_BLOCK && c->block == r->n - 1 ? &r->blocks[c->block] : NULL;
    more = b != NULL ? gpgrt_realloc(b->values, (b->nvalues + 1) * sizeof *more) : NULL;
    if (more == NULL) {
        struct value gone = *v;

        value_clear(&gone);
        c->p->reporter->out_of_memory = true;
        return;
    }
    b->values = more;
    b->values[b->nvalues++] = *v;
}

static void include(struct context *c, const struct line *l)
{
    if (l->n < 2) {
        report(c->p->reporter, l, l->words[0].column, "Include wants a file name");
    } else if (c->p->include == NULL) {
        report(c->p->reporter, l, l->words[0].column, "Include cannot be used here");
    } else {
        c->p->outer = c->block != NO_BLOCK ? c->block : c->outer;
        c->p->include(c->p->arg, l);
        c->p->outer = c->outer;
    }
}

static void each_line(void *arg, struct line *l)
{
    struct context *c = arg;
    const char *keyword = l->words[0].text, *near;
    struct value v;
    bool ok;

    if (strcasecmp(keyword, "Host") == 0 || strcasecmp(keyword, "Match") == 0) {
        begin_block(c, l);
    } else if (strcasecmp(keyword, "Include") == 0) {
        include(c, l);
    } else if (value_parse(l, &c->p->sources, &v, c->p->reporter, &ok)) {
        if (ok)
            add_value(c, &v);
    } else {
        near = nearest(keyword, setting_keywords);
        if (near != NULL)
            report(c->p->reporter, l, l->words[0].column,
                   "unknown keyword \"%s\"; did you mean \"%s\"?", keyword, near);
        else
            report(c->p->reporter, l, l->words[0].column, "unknown keyword \"%s\"", keyword);
    }
}

void parse_text(struct parser *p, const char *name, const char *text, size_t len)
{
    struct context c = {.p = p, .file = keep_name(p, name), .outer = p->outer, .block = NO_BLOCK};

    lex(c.file, text, len, p->reporter, each_line, &c);
}

void rules_free(struct rules *r)
{
    for (size_t i = 0; i < r->n; i++) {
        struct block *b = &r->blocks[i];

        criteria_free(b->criteria, b->ncriteria);
        for (size_t j = 0; j < b->nvalues; j++)
            value_clear(&b->values[j]);
        gpgrt_free(b->values);
        gpgrt_free(b->head);
        gpgrt_free(b->match);
    }
    gpgrt_free(r->blocks);
    for (size_t i = 0; r->names != NULL && r->names[i] != NULL; i++)
        gpgrt_free(r->names[i]);
    gpgrt_free(r->names);
    *r = (struct rules){0};
}
