/* What hotplug tells others: which tokens are or were there, and which of them may unlock. */
#include "agent/hotplug_slots.h"

#include <gcrypt.h>
#include <string.h>

#define MAX_VERIFIED 64u

/* --- who has shown a proof --------------------------------------------------------------------------- */

/* What the token's keys were belongs to its name. False: cannot be told. */
static bool digest_keys(const struct token_info *info, uint8_t out[32])
{
    gcry_md_hd_t md;

    if (gcry_md_open(&md, GCRY_MD_SHA256, 0) != 0)
        return false;
    for (char **line = info->key_lines; *line != NULL; line++) {
        const char *pub = strstr(*line, "pub=");

        if (pub != NULL) {
            gcry_md_write(md, pub, strcspn(pub, " "));
            gcry_md_putc(md, ' ');
        }
    }
    memcpy(out, gcry_md_read(md, GCRY_MD_SHA256), 32);
    gcry_md_close(md);
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
static bool is_verified(struct hotplug *h, const struct token_info *info)
{
    struct verified *v = info != NULL ? find_verified(h, info->name) : NULL;
    uint8_t keys[32];

    return v != NULL && digest_keys(info, keys) && memcmp(keys, v->keys, sizeof keys) == 0;
}

void hotplug_note_verified(struct hotplug *h, const struct token *t)
{
    const struct token_info *info = token_info_get((struct token *)(uintptr_t)t);
    struct verified *v, *fresh, *last;

    if (info == NULL)
        return;
    fresh = gpgrt_calloc(1, sizeof *fresh);
    if (fresh != NULL)
        fresh->name = gpgrt_strdup(info->name);
    if (fresh == NULL || fresh->name == NULL) {
        gpgrt_free(fresh);
        token_info_put(info);
        return;
    }
    if (!digest_keys(info, fresh->keys)) {
        gpgrt_free(fresh->name);
        gpgrt_free(fresh);
        token_info_put(info);
        return;
    }
    pthread_mutex_lock(&h->mutex);
    v = find_verified(h, info->name);
    if (v != NULL) {
        TAILQ_REMOVE(&h->verified, v, link);
        h->nverified--;
        gpgrt_free(v->name);
        gpgrt_free(v);
    }
    TAILQ_INSERT_HEAD(&h->verified, fresh, link);
    if (++h->nverified > MAX_VERIFIED) {
        last = TAILQ_LAST(&h->verified, verifieds);
        TAILQ_REMOVE(&h->verified, last, link);
        h->nverified--;
        gpgrt_free(last->name);
        gpgrt_free(last);
    }
    pthread_mutex_unlock(&h->mutex);
    token_info_put(info);
}

bool hotplug_was_verified(struct hotplug *h, const struct token_info *info)
{
    bool good;

    pthread_mutex_lock(&h->mutex);
    good = is_verified(h, info);
    pthread_mutex_unlock(&h->mutex);
    return good;
}

bool hotplug_any_verified(struct hotplug *h)
{
    bool any;

    pthread_mutex_lock(&h->mutex);
    any = !TAILQ_EMPTY(&h->verified);
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

struct hotplug_entry *hotplug_entries(struct hotplug *h, size_t *n)
{
    struct hotplug_entry *e;
    struct slot *s;
    struct past *p;
    size_t max = 1, got = 0;

    pthread_mutex_lock(&h->mutex);
    max += h->npast;
    TAILQ_FOREACH(s, &h->slots, link)
    max++;
    e = gpgrt_calloc(max, sizeof *e);
    if (e == NULL)
        goto out;
    if (h->software != NULL && put(h, &e[got], h->software, "software",
                                   gpgrt_strdup(token_gone(h->software) ? "lost" : "ready")))
        got++;
    TAILQ_FOREACH(s, &h->slots, link)
    if (put(h, &e[got], s->token, s->name != NULL ? s->name : s->reader, slot_state_text(s)))
        got++;
    TAILQ_FOREACH(p, &h->past, link)
    if (put(h, &e[got], NULL, p->name, gpgrt_strdup(p->pulled ? "pulled" : "lost")))
        got++;
out:
    pthread_mutex_unlock(&h->mutex);
    *n = got;
    return e;
}
