#include "policy/rules.h"

#include <string.h>
#include <strings.h>

const char policy_tail[] = "Match use raw\n"
                           "    Access   deny\n"
                           "Match use export\n"
                           "    Confirm  yes\n"
                           "Match token software\n"
                           "    Touch    none\n"
                           "Match all\n"
                           "    Touch    cached 15s\n"
                           "    StandIn  confirm\n"
                           "    Pin      session\n";

static struct block *add_block(struct parser *p, const char *file, unsigned line, const char *head)
{
    struct rules *r = p->rules;
    struct block *more = gpgrt_realloc(r->blocks, (r->n + 1) * sizeof *more);
    char *copy = gpgrt_strdup(head);

    if (more != NULL)
        r->blocks = more;
    if (more == NULL || copy == NULL) {
        gpgrt_free(copy);
        p->reporter->out_of_memory = true;
        return NULL;
    }
    more[r->n] = (struct block){.file = file, .line = line, .head = copy};
    return &more[r->n++];
}

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

static char *trimmed(const char *raw)
{
    const char *end;

    raw += strspn(raw, " \t");
    end = raw + strlen(raw);
    while (end > raw && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return gpgrt_bsprintf("%.*s", (int)(end - raw), raw);
}

static void begin_block(struct parser *p, const struct line *l, const char *file)
{
    char *head = trimmed(l->raw);
    struct block *b = head != NULL ? add_block(p, file, l->number, head) : NULL;

    gpgrt_free(head);
    if (b == NULL)
        return;
    criteria_parse(l, strcasecmp(l->words[0].text, "Host") == 0, p->home, &b->criteria,
                   &b->ncriteria, p->reporter);
    for (size_t i = 0; i < b->ncriteria; i++) {
        const struct criterion *c = &b->criteria[i];

        if (c->kind == CRIT_HOST)
            b->names_host = true;
        if ((c->kind == CRIT_UNBOUND && !c->negated) ||
            (c->kind == CRIT_PROOF && !c->negated && c->proofs == 1u << PROOF_NONE))
            b->names_unbound = true;
    }
}

static void add_value(struct parser *p, const struct value *v, const char *file)
{
    struct rules *r = p->rules;
    struct block *b = r->n > 0 ? &r->blocks[r->n - 1] : NULL;
    struct value *more;

    /* Before the first block of a file: holds for everything, as in ssh_config. */
    if (b == NULL || b->file != file)
        b = add_block(p, file, v->line, "");
    more = b != NULL ? gpgrt_realloc(b->values, (b->nvalues + 1) * sizeof *more) : NULL;
    if (more == NULL) {
        struct value gone = *v;

        value_clear(&gone);
        p->reporter->out_of_memory = true;
        return;
    }
    b->values = more;
    b->values[b->nvalues++] = *v;
}

struct context {
    struct parser *p;
    const char *file;
};

static void each_line(void *arg, struct line *l)
{
    struct context *c = arg;
    const char *keyword = l->words[0].text, *near;
    struct value v;
    bool ok;

    if (strcasecmp(keyword, "Host") == 0 || strcasecmp(keyword, "Match") == 0) {
        begin_block(c->p, l, c->file);
    } else if (strcasecmp(keyword, "Include") == 0) {
        if (l->n < 2)
            report(c->p->reporter, l, l->words[0].column, "Include wants a file name");
        else if (c->p->include == NULL)
            report(c->p->reporter, l, l->words[0].column, "Include cannot be used here");
        else
            c->p->include(c->p->arg, l);
    } else if (value_parse(l, c->p->home, &v, c->p->reporter, &ok)) {
        if (ok)
            add_value(c->p, &v, c->file);
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
    struct context c = {.p = p, .file = keep_name(p, name)};

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
    }
    gpgrt_free(r->blocks);
    for (size_t i = 0; r->names != NULL && r->names[i] != NULL; i++)
        gpgrt_free(r->names[i]);
    gpgrt_free(r->names);
    *r = (struct rules){0};
}
