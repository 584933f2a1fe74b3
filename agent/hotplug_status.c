/* What hotplug tells others: which tokens are or were there, and which of them may unlock. */
#include "agent/hotplug_slots.h"

#include "proto/token_protocol.h"

#include <gcrypt.h>
#include <string.h>

#define MAX_VERIFIED 64u

/* --- who has shown a proof --------------------------------------------------------------------------- */

static bool digest_key(const char *line, uint8_t out[32])
{
    const char *pub = strstr(line, "pub=");

    if (pub == NULL)
        return false;
    gcry_md_hash_buffer(GCRY_MD_SHA256, out, pub, strcspn(pub, " "));
    return true;
}

/* The mutex is held. */
static struct verified *find_verified(struct hotplug *h, const char *name)
{
    struct verified *v;

    TAILQ_FOREACH(v, &h->verified, link)
    if (strcmp(v->name, name) == 0)
        return v;
    return NULL;
}

/* The mutex is held. */
static bool has_key(const struct verified *v, const char *line)
{
    uint8_t digest[32];

    if (!digest_key(line, digest))
        return false;
    for (size_t i = 0; i < v->nkeys; i++)
        if (memcmp(v->keys[i], digest, sizeof digest) == 0)
            return true;
    return false;
}

/* The mutex is held. */
static bool is_verified(struct hotplug *h, const struct token_info *info)
{
    struct verified *v = info != NULL ? find_verified(h, info->name) : NULL;

    for (char **line = info != NULL ? info->key_lines : NULL; v != NULL && *line != NULL; line++)
        if (has_key(v, *line))
            return true;
    return false;
}

char **hotplug_verified_keys(struct hotplug *h, const struct token_info *info)
{
    struct verified *v;
    size_t n = 0, got = 0;
    char **lines;

    while (info->key_lines[n] != NULL)
        n++;
    lines = gpgrt_calloc(n + 1, sizeof *lines);
    if (lines == NULL)
        return NULL;
    pthread_mutex_lock(&h->mutex);
    v = find_verified(h, info->name);
    for (size_t i = 0; i < n && v != NULL; i++)
        if (has_key(v, info->key_lines[i]))
            lines[got++] = info->key_lines[i];
    pthread_mutex_unlock(&h->mutex);
    if (got > 0)
        return lines;
    gpgrt_free(lines);
    return NULL;
}

static void verified_free(struct verified *v)
{
    if (v == NULL)
        return;
    gpgrt_free(v->name);
    gpgrt_free(v->keys);
    gpgrt_free(v);
}

/* What a proof by an added key is remembered by: no token's name has a slash. The number behind the id tells only how
 * often the key was added. */
static char *proof_name(const struct token_info *info, const char *id)
{
    return gpgrt_bsprintf("%s/%.*s", info->name, (int)strcspn(id, "-"), id);
}

static struct verified *verified_new(const struct token_info *info)
{
    struct verified *v = gpgrt_calloc(1, sizeof *v);
    size_t n = 0;

    while (info->key_lines[n] != NULL)
        n++;
    if (v == NULL)
        return NULL;
    v->name = gpgrt_strdup(info->name);
    v->keys = gpgrt_calloc(n + 1, sizeof *v->keys);
    if (v->name == NULL || v->keys == NULL) {
        verified_free(v);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        if (digest_key(info->key_lines[i], v->keys[v->nkeys]))
            v->nkeys++;
    return v;
}

void status_forget_verified(struct hotplug *h)
{
    struct verified *v;

    while ((v = TAILQ_FIRST(&h->verified)) != NULL) {
        TAILQ_REMOVE(&h->verified, v, link);
        verified_free(v);
    }
}

/* Takes over FRESH, in the place of what was known by its name. */
static void remember(struct hotplug *h, const struct token *t, struct verified *fresh)
{
    struct verified *old, *last = NULL;
    struct slot *s;

    pthread_mutex_lock(&h->mutex);
    TAILQ_FOREACH(s, &h->slots, link)
    if (s->token == t)
        s->proved = true;
    old = find_verified(h, fresh->name);
    if (old != NULL)
        TAILQ_REMOVE(&h->verified, old, link);
    else
        h->nverified++;
    TAILQ_INSERT_HEAD(&h->verified, fresh, link);
    if (h->nverified > MAX_VERIFIED) {
        last = TAILQ_LAST(&h->verified, verifieds);
        TAILQ_REMOVE(&h->verified, last, link);
        h->nverified--;
    }
    pthread_mutex_unlock(&h->mutex);
    verified_free(old);
    verified_free(last);
}

void hotplug_note_verified(struct hotplug *h, const struct token *t)
{
    const struct token_info *info = token_info_get((struct token *)(uintptr_t)t);
    struct verified *fresh = info != NULL ? verified_new(info) : NULL;

    if (fresh != NULL)
        remember(h, t, fresh);
    token_info_put(info);
}

void hotplug_note_key_verified(struct hotplug *h, const struct token *t, const char *id)
{
    const struct token_info *info = token_info_get((struct token *)(uintptr_t)t);
    struct verified *fresh = info != NULL ? gpgrt_calloc(1, sizeof *fresh) : NULL;

    if (fresh != NULL && (fresh->name = proof_name(info, id)) != NULL)
        remember(h, t, fresh);
    else
        verified_free(fresh);
    token_info_put(info);
}

bool hotplug_key_was_verified(struct hotplug *h, const struct token_info *info, const char *id)
{
    char **lines = hotplug_verified_keys(h, info), *of_line, *name = proof_name(info, id);
    bool good;

    pthread_mutex_lock(&h->mutex);
    good = name != NULL && find_verified(h, name) != NULL;
    pthread_mutex_unlock(&h->mutex);
    gpgrt_free(name);
    for (char **line = lines; line != NULL && *line != NULL && !good; line++) {
        if (field_get(*line, "id", &of_line) != 0)
            continue;
        good = of_line != NULL && strcmp(of_line, id) == 0;
        gpgrt_free(of_line);
    }
    gpgrt_free(lines);
    return good;
}

bool hotplug_any_verified(struct hotplug *h)
{
    struct verified *v;
    bool any = false;

    pthread_mutex_lock(&h->mutex);
    TAILQ_FOREACH(v, &h->verified, link)
    any |= strchr(v->name, '/') == NULL;
    pthread_mutex_unlock(&h->mutex);
    return any;
}

/* --- the list ------------------------------------------------------------------------------------------ */

void hotplug_entries_free(struct hotplug_entry *e, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        token_unref(e[i].token);
        gpgrt_free(e[i].name);
        gpgrt_free(e[i].state);
    }
    gpgrt_free(e);
}

static char *slot_state_text(const struct slot *s)
{
    switch (s->state) {
    case SLOT_STARTING:
        return gpgrt_strdup("starting");
    case SLOT_READY:
        return gpgrt_strdup("ready");
    case SLOT_LOST:
        return gpgrt_strdup("lost");
    case SLOT_UNREADABLE:
        break;
    }
    return gpgrt_bsprintf("unreadable: %s", s->problem != NULL ? s->problem : "?");
}

/* Takes over STATE. False: out of memory, nothing was put. */
static bool put(struct hotplug *h, struct hotplug_entry *e, struct token *t, const char *name,
                char *state)
{
    const struct token_info *info;

    e->name = gpgrt_strdup(name);
    e->state = state;
    if (e->name == NULL || state == NULL) {
        gpgrt_free(e->name);
        gpgrt_free(state);
        return false;
    }
    e->token = t != NULL ? token_ref(t) : NULL;
    if (t == NULL) {
        e->seen_verified = find_verified(h, name) != NULL;
        return true;
    }
    info = token_info_get(t);
    e->seen_verified = is_verified(h, info);
    token_info_put(info);
    return true;
}

static bool put_provider(struct hotplug *h, struct hotplug_entry *e, const struct provider *p)
{
    const struct token_info *info = token_info_get(p->token);
    const char *state = token_gone(p->token) ? "lost" : p->ready ? "ready" : "starting";
    bool good = put(h, e, p->token, info != NULL ? info->name : p->path, gpgrt_strdup(state));

    token_info_put(info);
    return good;
}

static bool put_store(struct hotplug *h, struct hotplug_entry *e, struct token *t)
{
    const struct token_info *info = token_info_get(t);
    bool done =
        info != NULL && put(h, e, t, info->name, gpgrt_strdup(token_gone(t) ? "lost" : "ready"));

    token_info_put(info);
    return done;
}

/* One stick is one line: a FIDO interface beside a card reader is named by the card. The mutex is held. */
static bool stands_alone(struct hotplug *h, const struct fido_node *n)
{
    struct slot *s;

    if (n->bus < 0 || n->dev < 0)
        return true;
    TAILQ_FOREACH(s, &h->slots, link)
    if (s->bus == n->bus && s->dev == n->dev)
        return false;
    return true;
}

struct hotplug_entry *hotplug_entries(struct hotplug *h, size_t *n)
{
    struct hotplug_entry *e;
    struct slot *s;
    struct past *p;
    struct provider *v;
    struct store *st;
    struct fido_node *f;
    size_t max = 1, got = 0;

    pthread_mutex_lock(&h->mutex);
    max += h->npast;
    TAILQ_FOREACH(st, &h->stores, link)
    max++;
    TAILQ_FOREACH(s, &h->slots, link)
    max++;
    TAILQ_FOREACH(v, &h->providers, link)
    max++;
    TAILQ_FOREACH(f, &h->fidos, link)
    max++;
    e = gpgrt_calloc(max, sizeof *e);
    if (e == NULL)
        goto out;
    TAILQ_FOREACH(st, &h->stores, link)
    if (st->token != NULL && put_store(h, &e[got], st->token))
        got++;
    TAILQ_FOREACH(s, &h->slots, link)
    if (put(h, &e[got], s->token, s->name != NULL ? s->name : s->reader, slot_state_text(s)))
        got++;
    TAILQ_FOREACH(f, &h->fidos, link)
    if (stands_alone(h, f) && put(h, &e[got], NULL, f->name, gpgrt_strdup("ready")))
        got++;
    TAILQ_FOREACH(v, &h->providers, link)
    if (put_provider(h, &e[got], v))
        got++;
    TAILQ_FOREACH(p, &h->past, link)
    if (put(h, &e[got], NULL, p->name, gpgrt_strdup(p->pulled ? "pulled" : "lost")))
        got++;
out:
    pthread_mutex_unlock(&h->mutex);
    *n = got;
    return e;
}
