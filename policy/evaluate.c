/* Judging: what each file demands, and the meeting of both. */
#include "policy/rules.h"

#include <limits.h>
#include <string.h>

bool facts_unnamed(const struct policy_facts *f)
{
    return !f->listing && f->use != NULL && strcmp(f->use, "ssh-auth") == 0 &&
           (f->proof == PROOF_NONE || f->dest == NULL || f->dest->nnames == 0);
}

/* In a request that could be for any host these facts are the ones that leaving the binding out hides. */
static bool hidden(const struct criterion *c)
{
    return c->kind == CRIT_HOST || c->kind == CRIT_VIA || c->kind == CRIT_FORWARDED;
}

enum block_match block_matches(const struct block *b, const struct policy_facts *f,
                               const struct criterion **failed)
{
    bool unnamed = facts_unnamed(f);
    enum block_match m = BLOCK_HOLDS;

    *failed = NULL;
    for (size_t i = 0; i < b->ncriteria; i++) {
        const struct criterion *c = &b->criteria[i];
        enum policy_tri t;

        /* A destination that is named but not proven is as good as none: it may be somebody's claim. */
        if (unnamed && c->kind == CRIT_HOST && f->proof == PROOF_NONE)
            t = TRI_UNKNOWN;
        else
            t = criterion_holds(c, f);
        if (t == TRI_YES)
            continue;
        if (t == TRI_UNKNOWN && unnamed && hidden(c)) {
            m = BLOCK_COULD;
            continue;
        }
        *failed = c;
        return BLOCK_NO;
    }
    return m;
}

/* --- strictness -------------------------------------------------------------------------------------------------------- */

static long pin_age(long pin)
{
    return pin == POLICY_PIN_SESSION ? LONG_MAX : pin;
}

/* How strict a choice is, by its enum's value. */
static unsigned rank(enum policy_setting s, unsigned choice)
{
    static const unsigned afteruse[] = {
        [AFTERUSE_LEAVE] = 0, [AFTERUSE_DEFAULT] = 1, [AFTERUSE_DROP] = 2};

    return s == SET_AFTERUSE ? afteruse[choice]
                             : choice; /* all the other enums grow with strictness */
}

bool demand_stricter(enum policy_setting s, const struct demand *a, const struct demand *b)
{
    switch (s) {
    case SET_PIN:
        return pin_age(a->pin) < pin_age(b->pin);
    case SET_TIMEOUT:
        return a->secs < b->secs;
    case SET_TOUCH:
        if (a->choice == TOUCH_CACHED && b->choice == TOUCH_CACHED)
            return a->secs < b->secs ||
                   (a->secs == b->secs && a->max != 0 && (b->max == 0 || a->max < b->max));
        return a->choice > b->choice;
    default:
        return rank(s, a->choice) > rank(s, b->choice);
    }
}

void demand_meet(enum policy_setting s, struct demand *a, const struct demand *b)
{
    unsigned max = a->max;

    if (!b->set)
        return;
    if (!a->set) {
        *a = *b;
        return;
    }
    if (s == SET_TOUCH && a->choice == TOUCH_CACHED && b->choice == TOUCH_CACHED) {
        /* of two `cached`: the smaller duration and the smaller count */
        if (max == 0 || (b->max != 0 && b->max < max))
            max = b->max;
        if (demand_stricter(s, b, a))
            *a = *b;
        a->max = max;
        return;
    }
    if (demand_stricter(s, b, a))
        *a = *b;
}

/* --- one file ------------------------------------------------------------------------------------------------------------ */

static struct demand demand_of(const struct block *b, const struct value *v)
{
    return (struct demand){.value = v,
                           .block = b,
                           .set = true,
                           .choice = v->choice,
                           .secs = v->secs,
                           .max = v->max,
                           .pin = v->pin};
}

static const struct value *value_of(const struct block *b, enum policy_setting s)
{
    for (size_t i = 0; i < b->nvalues; i++)
        if (b->values[i].setting == s)
            return &b->values[i];
    return NULL;
}

/* When there are more than fit, the last one becomes one that is as strict as both. */
static void add_rate(struct demands *d, unsigned n, unsigned secs)
{
    struct policy_rate *last = &d->rates[POLICY_MAX_RATES - 1];

    for (size_t i = 0; i < d->nrates; i++)
        if (d->rates[i].n == n && d->rates[i].secs == secs)
            return;
    if (d->nrates < POLICY_MAX_RATES) {
        d->rates[d->nrates++] = (struct policy_rate){.n = n, .secs = secs};
        return;
    }
    if (n < last->n)
        last->n = n;
    if (secs > last->secs)
        last->secs = secs;
}

/* Takes V in for its setting: once decided (first value wins) only what could be demanded of another host still counts,
 * and after a block that names `unbound` nothing does. */
static void take(struct demands *d, const struct block *b, const struct value *v,
                 enum block_match m, const struct policy_facts *f, bool decided[SET_COUNT],
                 bool closed[SET_COUNT], bool unnamed)
{
    enum policy_setting s = v->setting;
    struct demand one = demand_of(b, v);

    if (closed[s] || (m == BLOCK_HOLDS && decided[s]))
        return;
    if (s == SET_RATE) {
        add_rate(d, v->max, v->secs);
    } else if (s == SET_KEYS) {
        if (key_known(f) && !key_list_match(&v->keys, f)) {
            if (d->keys_ok)
                d->by[s] = one;
            d->keys_ok = false;
        }
    }
    if (!unnamed)
        d->by[s] = one;
    else if (s != SET_KEYS || !d->by[s].set)
        demand_meet(s, &d->by[s], &one);
    if (m == BLOCK_HOLDS) {
        decided[s] = true;
        closed[s] = !unnamed || b->names_unbound;
    }
}

void rules_judge(const struct rules *r, const struct policy_facts *f, struct demands *d)
{
    bool decided[SET_COUNT] = {false}, closed[SET_COUNT] = {false};
    bool unnamed = facts_unnamed(f);
    const struct criterion *failed;

    *d = (struct demands){.keys_ok = true};
    for (size_t i = 0; i < r->n; i++) {
        const struct block *b = &r->blocks[i];
        enum block_match m = block_matches(b, f, &failed);

        if (m == BLOCK_NO)
            continue;
        for (unsigned s = 0; s < SET_COUNT; s++) {
            const struct value *v = value_of(b, (enum policy_setting)s);

            if (v != NULL)
                take(d, b, v, m, f, decided, closed, unnamed);
        }
    }
}

/* --- the verdict ----------------------------------------------------------------------------------------------------------- */

static void set_source(struct policy_verdict *v, enum policy_setting s, const struct demand *d)
{
    if (d->value != NULL)
        v->src[s] = (struct policy_source){.file = d->block->file, .line = d->value->line};
}

/* The rule to name to people: what denied, else what asks for something, else what allowed. */
static void choose_rule(struct policy_verdict *v, const struct demands *d)
{
    if (!v->allow)
        v->rule = v->src[d->keys_ok ? SET_ACCESS : SET_KEYS];
    else if (v->confirm != CONFIRM_NO)
        v->rule = v->src[SET_CONFIRM];
    else
        v->rule = v->src[SET_TOUCH];
}

static bool rules_hide_keys(const struct rules *r)
{
    for (size_t i = 0; i < r->n; i++)
        for (size_t j = 0; j < r->blocks[i].nvalues; j++)
            if (r->blocks[i].values[j].setting == SET_KEYS)
                return true;
    return false;
}

bool policy_hides_keys(const struct policy_set *p)
{
    return rules_hide_keys(&p->person->rules) ||
           (p->has_admin && rules_hide_keys(&p->admin->rules));
}

void policy_evaluate(const struct policy_set *p, const struct policy_facts *f,
                     struct policy_verdict *v)
{
    struct demands d, admin;

    rules_judge(&p->person->rules, f, &d);
    if (p->has_admin) {
        rules_judge(&p->admin->rules, f, &admin);
        for (unsigned s = 0; s < SET_COUNT; s++) {
            bool persons = s == SET_NOTIFY || s == SET_TIMEOUT;

            if (s == SET_KEYS) {
                if (!admin.keys_ok && d.keys_ok)
                    d.by[s] = admin.by[s];
            } else if (!persons || !d.by[s].set) {
                demand_meet((enum policy_setting)s, &d.by[s], &admin.by[s]);
            }
        }
        for (size_t i = 0; i < admin.nrates; i++)
            add_rate(&d, admin.rates[i].n, admin.rates[i].secs);
        d.keys_ok = d.keys_ok && admin.keys_ok;
    }

    *v = (struct policy_verdict){.allow = true,
                                 .keys_ok = d.keys_ok,
                                 .touch = TOUCH_NONE,
                                 .pin = POLICY_PIN_SESSION,
                                 .notify = true,
                                 .timeout = 60};
    v->unnamed = facts_unnamed(f);
    for (unsigned s = 0; s < SET_COUNT; s++)
        set_source(v, (enum policy_setting)s, &d.by[s]);
    /* Listing is not using: a denied key is seen, so that its refusal has a reason and a record. */
    if (!f->listing && d.by[SET_ACCESS].set && d.by[SET_ACCESS].choice == 1) {
        v->allow = false;
        v->why = "Access deny";
    }
    if (!d.keys_ok) {
        v->allow = false;
        v->why = "the key is not among Keys for this";
    }
    v->touch = (enum policy_touch)d.by[SET_TOUCH].choice;
    v->touch_secs = d.by[SET_TOUCH].secs;
    v->touch_max = d.by[SET_TOUCH].max;
    v->standin = (enum policy_standin)d.by[SET_STANDIN].choice;
    if (d.by[SET_PIN].set)
        v->pin = d.by[SET_PIN].pin;
    v->afteruse = (enum policy_afteruse)d.by[SET_AFTERUSE].choice;
    v->confirm = (enum policy_confirm)d.by[SET_CONFIRM].choice;
    v->forwarded = (enum policy_forwarded)d.by[SET_FORWARDED].choice;
    memcpy(v->rates, d.rates, sizeof v->rates);
    v->nrates = d.nrates;
    if (d.by[SET_NOTIFY].set)
        v->notify = d.by[SET_NOTIFY].choice == 1;
    if (d.by[SET_TIMEOUT].set)
        v->timeout = d.by[SET_TIMEOUT].secs;
    choose_rule(v, &d);
}
