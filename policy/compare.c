/* What a changed policy changes, and whether it demands less anywhere. */
#include "policy/rules.h"

#include <string.h>
#include <strings.h>

/* A file's rules as lines: a block's head (which by itself demands nothing) and each setting under it. */
struct entry {
    const struct block *block;
    const struct value *value; /* NULL: the head */
};
struct entries {
    struct entry *e;
    size_t n;
};

static bool list_rules(const struct rules *r, struct entries *out)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n; i++)
        n += 1 + r->blocks[i].nvalues;
    out->n = 0;
    out->e = gpgrt_calloc(n + 1, sizeof *out->e);
    if (out->e == NULL)
        return false;
    for (size_t i = 0; i < r->n; i++) {
        out->e[out->n++] = (struct entry){.block = &r->blocks[i]};
        for (size_t j = 0; j < r->blocks[i].nvalues; j++)
            out->e[out->n++] =
                (struct entry){.block = &r->blocks[i], .value = &r->blocks[i].values[j]};
    }
    return true;
}

static const char *text_of(const struct entry *e)
{
    return e->value != NULL ? e->value->text : e->block->head;
}

static bool same_text(const struct entry *a, const struct entry *b)
{
    return (a->value == NULL) == (b->value == NULL) && strcmp(text_of(a), text_of(b)) == 0 &&
           strcmp(a->block->head, b->block->head) == 0;
}

/* Of entries with the same text: do the public-key files that it names still hold the same keys? */
static bool same_keys(const struct entry *a, const struct entry *b)
{
    return a->value != NULL ? key_list_same(&a->value->keys, &b->value->keys)
                            : criteria_same(a->block->criteria, a->block->ncriteria,
                                            b->block->criteria, b->block->ncriteria);
}

/* The strictest value that its setting has: wherever it is put in, nothing gets less strict. */
static bool is_strictest(const struct value *v)
{
    switch (v->setting) {
    case SET_ACCESS:
        return v->choice == 1;
    case SET_TOUCH:
        return v->choice == TOUCH_ALWAYS;
    case SET_STANDIN:
        return v->choice == STANDIN_DENY;
    case SET_PIN:
        return v->pin == 0;
    case SET_AFTERUSE:
        return v->choice == AFTERUSE_DROP;
    case SET_CONFIRM:
        return v->choice == CONFIRM_YES;
    case SET_FORWARDED:
        return v->choice == FORWARDED_DENY;
    default:
        return false;
    }
}

/* The changes in words, as far as they go. */
struct report {
    char *text;
    const struct block *block; /* whose head was shown last */
};

static void put(struct report *r, char sign, const struct entry *e, const char *note)
{
    const char *head = e->block->head;
    bool show_head = e->value != NULL && head[0] != '\0' &&
                     (r->block == NULL || strcmp(r->block->head, head) != 0);
    char *more = gpgrt_bsprintf("%s%s%s%s%c %s%s%s\n", r->text != NULL ? r->text : "",
                                show_head ? "  " : "", show_head ? head : "", show_head ? "\n" : "",
                                sign, e->value != NULL ? "    " : "", text_of(e), note);

    r->block = e->block;
    if (more == NULL || (e->value == NULL && head[0] == '\0')) {
        gpgrt_free(more); /* settings before any block have no head to speak of */
        return;
    }
    gpgrt_free(r->text);
    r->text = more;
}

/* Walks both lists along their longest common part as far as a look ahead finds it. */
static bool differs(const struct entries *a, const struct entries *b, struct report *r)
{
    size_t i = 0, j = 0;
    bool loosens = false;

    while (i < a->n || j < b->n) {
        size_t skip_a = 0, skip_b = 0;

        if (i < a->n && j < b->n && same_text(&a->e[i], &b->e[j])) {
            if (!same_keys(&a->e[i], &b->e[j])) {
                put(r, '!', &b->e[j], "  (the file holds another key now)");
                loosens = true;
            }
            i++;
            j++;
            continue;
        }
        while (i < a->n && j + skip_b < b->n && !same_text(&a->e[i], &b->e[j + skip_b]))
            skip_b++;
        while (j < b->n && i + skip_a < a->n && !same_text(&a->e[i + skip_a], &b->e[j]))
            skip_a++;
        if (j < b->n &&
            (i >= a->n || (j + skip_b < b->n && (skip_b <= skip_a || i + skip_a >= a->n)))) {
            put(r, '+', &b->e[j], "");
            if (b->e[j].value != NULL && !is_strictest(b->e[j].value))
                loosens = true;
            j++;
        } else if (i < a->n) {
            put(r, '-', &a->e[i], "");
            loosens = true;
            i++;
        } else {
            put(r, '+', &b->e[j++], "");
            loosens = true;
        }
    }
    return loosens;
}

bool policy_loosens(const struct policy_set *old, const struct policy_set *new_set, char **changes)
{
    const struct rules *const pairs[][2] = {{&old->admin->rules, &new_set->admin->rules},
                                            {&old->person->rules, &new_set->person->rules}};
    struct report r = {0};
    bool loosens = false;

    for (size_t k = 0; k < 2; k++) {
        struct entries a = {0}, b = {0};

        if (!list_rules(pairs[k][0], &a) || !list_rules(pairs[k][1], &b))
            loosens = true; /* not provable: say so */
        else if (differs(&a, &b, &r))
            loosens = true;
        gpgrt_free(a.e);
        gpgrt_free(b.e);
    }
    *changes = r.text != NULL ? r.text : gpgrt_strdup("");
    return loosens;
}
