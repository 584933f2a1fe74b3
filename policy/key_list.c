#include "policy/rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool is_hex(const char *s, size_t n)
{
    return strlen(s) == n && strspn(s, "0123456789abcdefABCDEF") == n;
}

/* The base64 part of the first key line of a public-key file; NULL if there is none. */
static char *blob_of_file(const char *path, int *error)
{
    char *line = NULL, *blob = NULL;
    size_t cap = 0;
    FILE *f = fopen(path, "re");

    *error = 0;
    if (f == NULL) {
        *error = errno;
        return NULL;
    }
    while (blob == NULL && getline(&line, &cap, f) >= 0) {
        char *save = NULL, *type = strtok_r(line, " \t\r\n", &save);
        char *b64 = type != NULL && type[0] != '#' ? strtok_r(NULL, " \t\r\n", &save) : NULL;

        if (b64 != NULL && strncmp(b64, "AAAA", 4) == 0)
            blob = gpgrt_strdup(b64);
    }
    free(line);
    fclose(f);
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

void key_list_add(struct key_list *k, const struct word *word, const struct line *l,
                  const char *home, struct reporter *r)
{
    bool negated = word->text[0] == '!';
    const char *s = word->text + negated;
    struct key_item item = {.kind = kind_of(s), .negated = negated}, *more;
    char *path;
    int error;

    if (s[0] == '\0') {
        report(r, l, word->column, "an empty key name");
        return;
    }
    if (item.kind == ITEM_FILE) {
        path =
            s[0] == '~' ? gpgrt_bsprintf("%s%s", home != NULL ? home : "", s + 1) : gpgrt_strdup(s);
        item.text = path != NULL ? blob_of_file(path, &error) : NULL;
        if (path != NULL && item.text == NULL) {
            report(r, l, word->column, "%s: %s", path,
                   error != 0 ? strerror(error) : "no public key in this file");
            gpgrt_free(path);
            return;
        }
        gpgrt_free(path);
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

const char *policy_slot(const char *s)
{
    static const char *const same[][2] = {{"auth", "aut"}, {"sign", "sig"}, {"decrypt", "dec"}};

    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        if (strcasecmp(s, same[i][0]) == 0)
            return same[i][1];
    return s;
}

bool token_matches(const char *pattern, const struct policy_token *t)
{
    char name[256];
    const char *serial = t->serial;

    if (t->kind == NULL)
        return false;
    if (policy_match_pattern(pattern, t->kind, true))
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

void key_list_free(struct key_list *k)
{
    for (size_t i = 0; i < k->n; i++)
        gpgrt_free(k->items[i].text);
    gpgrt_free(k->items);
    *k = (struct key_list){0};
}
