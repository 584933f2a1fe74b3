#include "policy/file.h"
#include "policy/rules.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_hex(const char *s, size_t n)
{
    return strlen(s) == n && strspn(s, "0123456789abcdefABCDEF") == n;
}

/* The base64 part of the first key line of TEXT (which is cut up); NULL if there is none. */
static char *first_blob(char *text)
{
    char *lines = NULL;

    for (char *line = strtok_r(text, "\r\n", &lines); line != NULL;
         line = strtok_r(NULL, "\r\n", &lines)) {
        char *words = NULL, *type = strtok_r(line, " \t", &words);
        char *b64 = type != NULL && type[0] != '#' ? strtok_r(NULL, " \t", &words) : NULL;

        if (b64 != NULL && strncmp(b64, "AAAA", 4) == 0)
            return gpgrt_strdup(b64);
    }
    return NULL;
}

/* The blob in the public-key file NAME, whose content is a part of the policy: not everybody may write it. */
static char *blob_of_file(const char *name, const struct word *word, const struct line *l,
                          const struct key_sources *sources, struct reporter *r)
{
    char *path = name[0] == '~'
                     ? gpgrt_bsprintf("%s%s", sources->home != NULL ? sources->home : "", name + 1)
                     : gpgrt_strdup(name);
    char *text = NULL, *problem = NULL, *blob = NULL;
    size_t len;

    if (path == NULL) {
        r->out_of_memory = true;
        return NULL;
    }
    if (policy_read_file(path, sources->uid, false, &text, &len, &problem)) {
        blob = first_blob(text);
        if (blob == NULL)
            report(r, l, word->column, "%s: no public key in this file", path);
        else if (sources->used != NULL)
            sources->used(sources->arg, path, blob);
    } else {
        report(r, l, word->column, "%s: %s", path, problem != NULL ? problem : "cannot be read");
    }
    gpgrt_free(problem);
    gpgrt_free(text);
    gpgrt_free(path);
    return blob;
}

static enum key_item_kind kind_of(const char *s)
{
    if (strncasecmp(s, "SHA256:", 7) == 0)
        return ITEM_SHA256;
    if (is_hex(s, 40))
        return ITEM_HEX40;
    if (is_hex(s, 16))
        return ITEM_HEX16;
    if (s[0] == '/' || strncmp(s, "~/", 2) == 0)
        return ITEM_FILE;
    return strchr(s, '/') != NULL ? ITEM_SLOT : ITEM_COMMENT;
}

static void add_item(struct key_list *k, const struct word *word, const struct line *l,
                     const struct key_sources *sources, struct reporter *r)
{
    bool negated = word->text[0] == '!';
    const char *s = word->text + negated;
    struct key_item item = {.kind = kind_of(s), .negated = negated}, *more;

    if (s[0] == '\0') {
        report(r, l, word->column, "an empty key name");
        return;
    }
    if (item.kind == ITEM_FILE) {
        item.text = blob_of_file(s, word, l, sources, r);
        if (item.text == NULL)
            return;
    } else {
        item.text = gpgrt_strdup(s);
    }
    more = item.text != NULL ? gpgrt_realloc(k->items, (k->n + 1) * sizeof *more) : NULL;
    if (more == NULL) {
        gpgrt_free(item.text);
        r->out_of_memory = true;
        return;
    }
    k->items = more;
    k->items[k->n++] = item;
}

size_t key_list_add(struct key_list *k, const struct word *word, const struct line *l,
                    const struct key_sources *sources, struct reporter *r)
{
    char *copy = gpgrt_strdup(word->text);
    size_t plain = 0;

    if (copy == NULL)
        r->out_of_memory = true;
    for (char *s = copy, *end; s != NULL; s = end) {
        struct word item = {.text = s, .column = word->column + (unsigned)(s - copy)};

        end = strchr(s, ',');
        if (end != NULL)
            *end++ = '\0';
        add_item(k, &item, l, sources, r);
        plain += s[0] != '!';
    }
    gpgrt_free(copy);
    return plain;
}

const char *policy_slot(const char *s)
{
    static const char *const same[][2] = {{"auth", "aut"}, {"sign", "sig"}, {"decrypt", "dec"}};

    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        if (strcasecmp(s, same[i][0]) == 0)
            return same[i][1];
    return s;
}

/* A product's PIV slots are a PIV card, whatever it is besides. */
static bool in_piv_slot(const struct policy_token *t)
{
    return t->slot != NULL && strncmp(t->slot, "piv-", 4) == 0;
}

bool token_matches(const char *pattern, const struct policy_token *t)
{
    char name[256];
    const char *serial = t->serial;

    if (t->kind == NULL)
        return false;
    if (policy_match_pattern(pattern, t->kind, true) ||
        (t->soft && policy_match_pattern(pattern, "software", true)) ||
        (in_piv_slot(t) && policy_match_pattern(pattern, "piv", true)))
        return true;
    if (serial == NULL)
        return false;
    snprintf(name, sizeof name, "%s-%s", t->kind, serial);
    if (policy_match_pattern(pattern, name, true))
        return true;
    while (serial[0] == '0' && serial[1] != '\0')
        serial++;
    snprintf(name, sizeof name, "%s-%s", t->kind, serial);
    return policy_match_pattern(pattern, name, true);
}

static bool slot_matches(const char *item, const struct policy_facts *f)
{
    const char *slash = strrchr(item, '/');
    char token[256];

    if ((size_t)(slash - item) >= sizeof token)
        return false;
    memcpy(token, item, (size_t)(slash - item));
    token[slash - item] = '\0';
    for (size_t i = 0; i < f->ntokens; i++)
        if (f->tokens[i].slot != NULL && token_matches(token, &f->tokens[i]) &&
            policy_match_pattern(policy_slot(slash + 1), policy_slot(f->tokens[i].slot), true))
            return true;
    return false;
}

static bool item_matches(const struct key_item *item, const struct policy_facts *f)
{
    switch (item->kind) {
    case ITEM_SHA256:
        return f->key_fpr != NULL &&
               strcmp(item->text + 7,
                      f->key_fpr + (strncmp(f->key_fpr, "SHA256:", 7) == 0 ? 7 : 0)) == 0;
    case ITEM_HEX40:
        return (f->key_grip != NULL && strcasecmp(item->text, f->key_grip) == 0) ||
               (f->key_openpgp != NULL && strcasecmp(item->text, f->key_openpgp) == 0);
    case ITEM_HEX16:
        return f->key_openpgp != NULL && strlen(f->key_openpgp) == 40 &&
               strcasecmp(item->text, f->key_openpgp + 24) == 0;
    case ITEM_FILE:
        return f->key_b64 != NULL && strcmp(item->text, f->key_b64) == 0;
    case ITEM_SLOT:
        return slot_matches(item->text, f) ||
               (f->key_comment != NULL && policy_match_pattern(item->text, f->key_comment, false));
    case ITEM_COMMENT:
        return f->key_comment != NULL && policy_match_pattern(item->text, f->key_comment, false);
    }
    return false;
}

bool key_known(const struct policy_facts *f)
{
    return f->key_fpr != NULL || f->key_grip != NULL || f->key_openpgp != NULL ||
           f->key_b64 != NULL || f->key_comment != NULL || f->ntokens > 0;
}

bool key_list_match(const struct key_list *k, const struct policy_facts *f)
{
    bool found = false;

    for (size_t i = 0; i < k->n; i++) {
        if (!item_matches(&k->items[i], f))
            continue;
        if (k->items[i].negated)
            return false;
        found = true;
    }
    return found;
}

bool key_list_copy(const struct key_list *from, struct key_list *to)
{
    *to = (struct key_list){0};
    if (from->n == 0)
        return true;
    to->items = gpgrt_calloc(from->n, sizeof *to->items);
    if (to->items == NULL)
        return false;
    for (; to->n < from->n; to->n++) {
        struct key_item *item = &to->items[to->n];

        *item = from->items[to->n];
        item->text = gpgrt_strdup(item->text);
        if (item->text == NULL)
            return false;
    }
    return true;
}

bool key_list_same(const struct key_list *a, const struct key_list *b)
{
    bool same = a->n == b->n;

    for (size_t i = 0; i < a->n && same; i++)
        same = a->items[i].kind == b->items[i].kind && a->items[i].negated == b->items[i].negated &&
               strcmp(a->items[i].text, b->items[i].text) == 0;
    return same;
}

void key_list_free(struct key_list *k)
{
    for (size_t i = 0; i < k->n; i++)
        gpgrt_free(k->items[i].text);
    gpgrt_free(k->items);
    *k = (struct key_list){0};
}
