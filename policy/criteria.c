/* Criteria against facts: held, not held, or not known. */
#include "policy/rules.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static enum policy_tri tri(bool yes)
{
    return yes ? TRI_YES : TRI_NO;
}

/* One name of a host, or (BY_KEY) its key, which only "*" and SHA256:.. speak of: no pattern for names
 * may meet a fingerprint by chance. As policy_match_list. */
static int match_host(const char *list, const char *name, bool by_key)
{
    struct list_item item;
    int found = 0;

    while (list_next(&list, &item)) {
        bool for_key = strncmp(item.text, "SHA256:", 7) == 0;

        if (for_key != by_key && strcmp(item.text, "*") != 0)
            continue;
        if (!policy_match_pattern(item.text, name, !by_key))
            continue;
        if (item.negated)
            return -1;
        found = 1;
    }
    return found;
}

/* One host against a list. Its key is always known; its names may not be. */
static enum policy_tri host_holds(const char *list, const struct policy_host *h)
{
    int m = h->fpr != NULL ? match_host(list, h->fpr, true) : 0;
    bool found = m > 0;

    for (size_t i = 0; i < h->nnames && m >= 0; i++) {
        m = match_host(list, h->names[i], false);
        found = found || m > 0;
    }
    if (m < 0)
        return TRI_NO; /* one of the host's names is excluded */
    if (found)
        return TRI_YES;
    return h->nnames > 0 ? TRI_NO : TRI_UNKNOWN;
}

static enum policy_tri via_holds(const char *list, const struct policy_facts *f)
{
    enum policy_tri all = f->via_known ? TRI_NO : TRI_UNKNOWN;

    for (size_t i = 0; i < f->nvia; i++) {
        enum policy_tri one = host_holds(list, &f->via[i]);

        if (one == TRI_YES)
            return TRI_YES;
        if (one == TRI_UNKNOWN)
            all = TRI_UNKNOWN;
    }
    return all;
}

/* A use may have kinds (sshsig:git, export:clear), which are told apart by case, as verifiers do. An item without one is for
 * all of them. */
static bool use_is(const char *item, const char *use)
{
    size_t head = strcspn(use, ":"), n = strcspn(item, ":");

    if (n != head || strncasecmp(item, use, n) != 0)
        return false;
    return item[n] == '\0' ||
           (use[head] == ':' && policy_match_pattern(item + n + 1, use + head + 1, false));
}

static bool use_matches(const char *list, const char *use)
{
    struct list_item item;
    bool found = false;

    while (list_next(&list, &item)) {
        if (!use_is(item.text, use))
            continue;
        if (item.negated)
            return false;
        found = true;
    }
    return found;
}

static bool tokens_match(const char *list, const struct policy_facts *f)
{
    struct list_item item;
    bool found = false;

    while (list_next(&list, &item))
        for (size_t i = 0; i < f->ntokens; i++) {
            if (!token_matches(item.text, &f->tokens[i]))
                continue;
            if (item.negated)
                return false;
            found = true;
        }
    return found;
}

static enum policy_tri text_holds(const char *list, const char *text)
{
    return text == NULL ? TRI_UNKNOWN : tri(policy_match_list(list, text, false) > 0);
}

/* An ancestor that we may not read could be the one. */
static enum policy_tri parents_hold(const char *list, const struct policy_facts *f)
{
    bool unread = f->parents == NULL;

    for (size_t i = 0; f->parents != NULL && i < f->nparents; i++) {
        if (policy_match_list(list, f->parents[i], false) > 0)
            return TRI_YES;
        unread = unread || strcmp(f->parents[i], "?") == 0;
    }
    return unread ? TRI_UNKNOWN : TRI_NO;
}

static bool hours_hold(const struct criterion *c, time_t now)
{
    struct tm tm;
    unsigned minute, yesterday;

    localtime_r(&now, &tm);
    minute = (unsigned)(tm.tm_hour * 60 + tm.tm_min);
    if (c->from <= c->to)
        return minute >= c->from && minute < c->to && (c->days >> tm.tm_wday & 1) != 0;
    /* Over midnight: the early part belongs to the day before. */
    yesterday = (unsigned)(tm.tm_wday + 6) % 7;
    return (minute >= c->from && (c->days >> tm.tm_wday & 1) != 0) ||
           (minute < c->to && (c->days >> yesterday & 1) != 0);
}

static enum policy_tri plain_holds(const struct criterion *c, const struct policy_facts *f)
{
    bool auth = f->use != NULL && strcmp(f->use, "ssh-auth") == 0;

    switch (c->kind) {
    case CRIT_ALL:
        return TRI_YES;
    case CRIT_HOST:
        return f->dest == NULL ? TRI_UNKNOWN : host_holds(c->list, f->dest);
    case CRIT_PROOF:
        return auth ? tri((c->proofs >> f->proof & 1) != 0) : TRI_UNKNOWN;
    case CRIT_UNBOUND:
        return auth ? tri(f->proof == PROOF_NONE) : TRI_UNKNOWN;
    case CRIT_USER:
        return text_holds(c->list, f->user);
    case CRIT_VIA:
        return via_holds(c->list, f);
    case CRIT_FORWARDED:
        return f->forwarded;
    case CRIT_USE:
        return f->use == NULL ? TRI_UNKNOWN : tri(use_matches(c->list, f->use));
    case CRIT_KEY:
        return key_known(f) ? tri(key_list_match(&c->keys, f)) : TRI_UNKNOWN;
    case CRIT_TOKEN:
        return f->ntokens == 0 ? TRI_UNKNOWN : tri(tokens_match(c->list, f));
    case CRIT_CLIENT:
        return text_holds(c->list, f->client);
    case CRIT_PARENT:
        return parents_hold(c->list, f);
    case CRIT_UNIT:
        return text_holds(c->list, f->unit);
    case CRIT_HOURS:
        return tri(hours_hold(c, f->now));
    }
    return TRI_UNKNOWN;
}

enum policy_tri criterion_holds(const struct criterion *c, const struct policy_facts *f)
{
    enum policy_tri t = plain_holds(c, f);

    if (t == TRI_UNKNOWN || !c->negated)
        return t;
    return t == TRI_YES ? TRI_NO : TRI_YES;
}

static char *host_text(const struct policy_host *h)
{
    if (h->nnames > 0)
        return gpgrt_strdup(h->names[0]);
    return gpgrt_bsprintf("unnamed (key %s)", h->fpr != NULL ? h->fpr : "?");
}

char *criterion_fact(const struct criterion *c, const struct policy_facts *f)
{
    const char *text = NULL;
    char *host = NULL, *out;

    switch (c->kind) {
    case CRIT_HOST:
        host = f->dest != NULL ? host_text(f->dest) : NULL;
        text = host;
        break;
    case CRIT_PROOF:
    case CRIT_UNBOUND:
        if (f->use != NULL && strcmp(f->use, "ssh-auth") == 0)
            return gpgrt_bsprintf("the proof is %s", proof_name(f->proof));
        return gpgrt_strdup("only ssh authentications have a proof");
    case CRIT_VIA:
        return gpgrt_strdup(f->nvia > 0    ? "no hop fits"
                            : f->via_known ? "there is no hop"
                                           : "the hops are not known");
    case CRIT_FORWARDED:
        return gpgrt_strdup(f->forwarded == TRI_YES  ? "the request is forwarded"
                            : f->forwarded == TRI_NO ? "the request is not forwarded"
                                                     : "whether it is forwarded is not known");
    case CRIT_USER:
        text = f->user;
        break;
    case CRIT_USE:
        text = f->use;
        break;
    case CRIT_KEY:
        text = f->key_fpr != NULL ? f->key_fpr : f->key_grip;
        break;
    case CRIT_TOKEN:
        text = f->ntokens > 0 ? f->tokens[0].kind : NULL;
        break;
    case CRIT_CLIENT:
        text = f->client;
        break;
    case CRIT_PARENT:
        text = f->nparents > 0 ? f->parents[0] : NULL;
        break;
    case CRIT_UNIT:
        text = f->unit;
        break;
    case CRIT_HOURS:
        return gpgrt_strdup("it is another time");
    case CRIT_ALL:
        return gpgrt_strdup("!all never holds");
    }
    out = text != NULL ? gpgrt_bsprintf("%s is %s", criterion_name(c->kind), text)
                       : gpgrt_bsprintf("%s is not known", criterion_name(c->kind));
    gpgrt_free(host);
    return out;
}
