/* The policy in words: what is in force, and why a request is judged as it is. */
#include "policy/rules.h"

#include <string.h>

static void print_rules(const struct rules *r, FILE *f)
{
    const char *file = NULL;

    for (size_t i = 0; i < r->n; i++) {
        const struct block *b = &r->blocks[i];
        bool indent = b->head[0] != '\0';

        if (file != b->file) {
            fprintf(f, "%s# %s\n", file != NULL ? "\n" : "", b->file);
            file = b->file;
        }
        if (indent)
            fprintf(f, "%s\n", b->head);
        for (size_t j = 0; j < b->nvalues; j++)
            fprintf(f, "%s%s\n", indent ? "    " : "", b->values[j].text);
    }
}

void policy_print(const struct policy_set *p, FILE *f)
{
    if (p->has_admin) {
        fprintf(f,
                "# the administrator's floor: its demands are met whatever the rules below say\n");
        print_rules(&p->admin->rules, f);
        fprintf(f, "\n");
    }
    print_rules(&p->person->rules, f);
}

static void put_duration(FILE *f, unsigned secs)
{
    static const struct {
        char letter;
        unsigned secs;
    } units[] = {{'d', 86400}, {'h', 3600}, {'m', 60}};

    if (secs == 0)
        fputs("0s", f);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (secs >= units[i].secs)
            fprintf(f, "%u%c", secs / units[i].secs, units[i].letter);
        secs %= units[i].secs;
    }
    if (secs > 0)
        fprintf(f, "%us", secs);
}

static void put_value(FILE *f, enum policy_setting s, const struct policy_verdict *v,
                      const struct policy_facts *facts)
{
    static const char *const standin[] = {"confirm", "fido", "deny"};
    static const char *const afteruse[] = {"leave where the token enforces touch, else drop",
                                           "drop", "leave"};
    static const char *const confirm[] = {"no", "connection", "yes"};
    static const char *const forwarded[] = {"allow", "confirm", "deny"};

    switch (s) {
    case SET_ACCESS:
        fputs(v->allow ? "allow" : "deny", f);
        break;
    case SET_TOUCH:
        fputs(v->touch == TOUCH_NONE ? "none" : v->touch == TOUCH_ALWAYS ? "always" : "cached ", f);
        if (v->touch == TOUCH_CACHED)
            put_duration(f, v->touch_secs);
        if (v->touch == TOUCH_CACHED && v->touch_max > 0)
            fprintf(f, " max %u", v->touch_max);
        break;
    case SET_STANDIN:
        fputs(standin[v->standin], f);
        break;
    case SET_PIN:
        if (v->pin == POLICY_PIN_SESSION || v->pin == 0)
            fputs(v->pin == 0 ? "always" : "session", f);
        else
            put_duration(f, (unsigned)v->pin);
        break;
    case SET_AFTERUSE:
        fputs(afteruse[v->afteruse], f);
        break;
    case SET_CONFIRM:
        fputs(confirm[v->confirm], f);
        break;
    case SET_FORWARDED:
        fputs(forwarded[v->forwarded], f);
        break;
    case SET_RATE:
        for (size_t i = 0; i < v->nrates; i++) {
            fprintf(f, "%s%u/", i > 0 ? " and " : "", v->rates[i].n);
            put_duration(f, v->rates[i].secs);
        }
        if (v->nrates == 0)
            fputs("no limit", f);
        break;
    case SET_KEYS:
        fputs(v->src[SET_KEYS].file == NULL ? "all"
              : !key_known(facts) ? "only those listed there; which key it is was not told"
              : v->keys_ok        ? "this key is among them"
                                  : "not this key",
              f);
        break;
    case SET_NOTIFY:
        fputs(v->notify ? "yes" : "no", f);
        break;
    case SET_TIMEOUT:
        put_duration(f, v->timeout);
        break;
    case SET_COUNT:
        break;
    }
}

static void put_source(FILE *f, const struct policy_source *src)
{
    if (src->file == NULL)
        fputs("default", f);
    else
        fprintf(f, "%s:%u", src->file, src->line);
}

static void explain_blocks(const struct rules *r, const struct policy_facts *facts, FILE *out)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct block *b = &r->blocks[i];
        const struct criterion *failed;
        enum block_match m = block_matches(b, facts, &failed);
        char *fact = failed != NULL ? criterion_fact(failed, facts) : NULL;

        fprintf(out, "  %s:%u  %s: ", b->file, b->line,
                b->head[0] != '\0' ? b->head : "(top of the file)");
        if (m == BLOCK_HOLDS)
            fprintf(out, "applies\n");
        else if (m == BLOCK_COULD)
            fprintf(out, "could apply: the destination is not proven or has no name, so the "
                         "stricter value counts\n");
        else
            fprintf(out, "skipped: %s\n", fact != NULL ? fact : "out of memory");
        gpgrt_free(fact);
    }
}

void policy_explain(const struct policy_set *p, const struct policy_facts *f, FILE *out)
{
    struct policy_verdict v;

    policy_evaluate(p, f, &v);
    for (unsigned s = 0; s < SET_COUNT; s++) {
        fprintf(out, "%-10s", setting_name((enum policy_setting)s));
        put_value(out, (enum policy_setting)s, &v, f);
        fprintf(out, "  (");
        put_source(out, &v.src[s]);
        fprintf(out, ")\n");
    }
    if (v.unnamed)
        fprintf(out, "\nThe destination is not proven or has no name in known_hosts: judged as if "
                     "it could be any host.\n");
    fprintf(out, "\nRules, in order:\n");
    if (p->has_admin)
        explain_blocks(&p->admin->rules, f, out);
    explain_blocks(&p->person->rules, f, out);
}
