/* The part of the keyring that clients fill: ssh-add. */
#include "agent/keyring_node.h"

#include <string.h>

#define MAX_ADDED_SIZE (16u * 1024u * 1024u)

void keyring_limit(struct keyring *k, size_t keys)
{
    pthread_mutex_lock(&k->mutex);
    k->max_added = keys;
    pthread_mutex_unlock(&k->mutex);
}

void keyring_added_drop(struct keyring *k, struct added *a)
{
    TAILQ_REMOVE(&k->added, a, link);
    k->nadded--;
    k->added_size -= a->size;
    keyring_node_unref(a->node);
    gpgrt_free(a);
}

/* --- keys added by clients --------------------------------------------------------------------------- */

static struct added *find_added(struct keyring *k, struct rd blob)
{
    struct added *a;

    TAILQ_FOREACH(a, &k->added, link)
    if (a->node->id.key->blob != NULL &&
        rd_eq(rd_of(a->node->id.key->blob, a->node->id.key->blob_len), blob))
        return a;
    return NULL;
}

static size_t hop_size(const struct dest_hop *h)
{
    size_t n =
        (h->user != NULL ? strlen(h->user) : 0) + (h->hostname != NULL ? strlen(h->hostname) : 0);

    for (size_t i = 0; i < h->nkeys; i++)
        n += sizeof *h->keys + 2 * h->keys[i].key->blob_len;
    return n;
}

/* Clients choose comments and constraints of any length: what counts is what they take. */
static size_t size_of(const struct key *key, const char *comment, const struct key_constraints *c)
{
    size_t n = 1024 + 4 * key->blob_len + strlen(comment);

    for (size_t i = 0; i < c->ndest; i++)
        n += sizeof c->dest[i] + hop_size(&c->dest[i].from) + hop_size(&c->dest[i].to);
    return n;
}

/* Beside the others, or in the place of OLD (may be NULL). */
static bool fits(const struct keyring *k, const struct added *old, size_t size)
{
    return (old != NULL || k->nadded < k->max_added) &&
           k->added_size - (old != NULL ? old->size : 0) + size <= MAX_ADDED_SIZE;
}

gpg_error_t keyring_room(struct keyring *k, const struct key *key, const char *comment,
                         const struct key_constraints *c)
{
    bool room;

    pthread_mutex_lock(&k->mutex);
    room = fits(k, find_added(k, rd_of(key->blob, key->blob_len)), size_of(key, comment, c));
    pthread_mutex_unlock(&k->mutex);
    return room ? 0 : gpg_error(GPG_ERR_TOO_MANY);
}

static bool id_is_used(struct keyring *k, const struct token *t, const char *id)
{
    struct added *a;

    TAILQ_FOREACH(a, &k->added, link)
    if (a->node->id.holders[0].token == t && strcmp(a->node->id.holders[0].id, id) == 0)
        return true;
    return false;
}

void orphan_clear(struct orphan *o)
{
    token_unref(o->token);
    gpgrt_free(o->id);
    *o = (struct orphan){0};
}

/* Drops A; *O gets its key if nobody uses that any more. */
static void drop_added(struct keyring *k, struct added *a, struct orphan *o)
{
    struct node *n = keyring_node_ref(a->node);
    const struct holder *h = &n->id.holders[0];

    *o = (struct orphan){0};
    keyring_added_drop(k, a);
    if (!n->id.provided && !id_is_used(k, h->token, h->id) && (o->id = gpgrt_strdup(h->id)) != NULL)
        o->token = token_ref(h->token);
    keyring_node_unref(n);
}

gpg_error_t keyring_add(struct keyring *k, const struct holder *h, struct key *key,
                        const char *comment, struct key_constraints *c, int64_t life_ms,
                        struct orphan *unused)
{
    struct added *a = gpgrt_calloc(1, sizeof *a), *old;
    struct node *n = NULL;
    gpg_error_t err;

    *unused = (struct orphan){0};
    if (a == NULL)
        return gpg_error_from_syserror();
    err = keyring_node_new(key, comment, &n);
    if (err == 0)
        err = keyring_node_add_holder(n, h, h->token);
    if (err != 0)
        goto fail;
    n->id.family = FAMILY_SSH;
    n->id.can_sign = n->id.can_auth = n->id.added = true;
    n->id.expires_ms = life_ms > 0 ? monotonic_ms() + life_ms : 0;
    n->id.constraints = *c;
    *c = (struct key_constraints){0};
    a->node = n;
    a->size = size_of(key, n->id.comment, &n->id.constraints);
    pthread_mutex_lock(&k->mutex);
    old = find_added(k, rd_of(key->blob, key->blob_len));
    if (!fits(k, old, a->size)) {
        pthread_mutex_unlock(&k->mutex);
        err = gpg_error(GPG_ERR_TOO_MANY);
        goto fail;
    }
    if (old != NULL)
        TAILQ_INSERT_AFTER(&k->added, old, a, link);
    else
        TAILQ_INSERT_TAIL(&k->added, a, link);
    k->nadded++;
    k->added_size += a->size;
    if (old != NULL)
        drop_added(k, old, unused);
    err = keyring_rebuild(k);
    pthread_mutex_unlock(&k->mutex);
    return err;
fail:
    keyring_node_unref(n);
    gpgrt_free(a);
    return err;
}

gpg_error_t keyring_remove(struct keyring *k, struct rd blob, struct orphan *o)
{
    struct added *a;
    gpg_error_t err = 0;

    *o = (struct orphan){0};
    pthread_mutex_lock(&k->mutex);
    a = find_added(k, blob);
    if (a == NULL) {
        err = gpg_error(keyring_find_blob(&k->now->pub, blob) != NULL ? GPG_ERR_NOT_SUPPORTED
                                                                      : GPG_ERR_NOT_FOUND);
    } else {
        drop_added(k, a, o);
        if (keyring_rebuild(k) != 0)
            err = gpg_error(GPG_ERR_ENOMEM);
    }
    pthread_mutex_unlock(&k->mutex);
    return err;
}

/* --- keys of providers ------------------------------------------------------------------------------- */

static gpg_error_t provided_node(struct token *t, const struct provided_key *key, int64_t life_ms,
                                 struct node **out)
{
    struct node *n;
    gpg_error_t err = keyring_node_new(key->key, key->comment, &n);

    if (err != 0)
        return err;
    n->id.family = FAMILY_SSH;
    n->id.can_sign = n->id.can_auth = n->id.added = n->id.provided = true;
    n->id.expires_ms = life_ms > 0 ? monotonic_ms() + life_ms : 0;
    err = keyring_node_add_holder(n, key->holder, t);
    if (err != 0)
        keyring_node_unref(n);
    else
        *out = n;
    return err;
}

/* Takes over N. The mutex is held. */
static gpg_error_t put_added(struct keyring *k, struct node *n, size_t size)
{
    struct added *a = fits(k, NULL, size) ? gpgrt_calloc(1, sizeof *a) : NULL;

    if (a == NULL) {
        keyring_node_unref(n);
        return gpg_error(fits(k, NULL, size) ? GPG_ERR_ENOMEM : GPG_ERR_TOO_MANY);
    }
    a->node = n;
    a->size = size;
    TAILQ_INSERT_TAIL(&k->added, a, link);
    k->nadded++;
    k->added_size += size;
    return 0;
}

gpg_error_t keyring_add_provided(struct keyring *k, struct token *t,
                                 const struct provided_key *keys, size_t nkeys,
                                 struct key_constraints *c, int64_t life_ms, size_t *added)
{
    static const struct key_constraints none;
    struct node *n, *owner = NULL;
    size_t size;
    gpg_error_t err = 0, rebuilt;

    *added = 0;
    pthread_mutex_lock(&k->mutex);
    for (size_t i = 0; i < nkeys && err == 0; i++) {
        if (find_added(k, rd_of(keys[i].key->blob, keys[i].key->blob_len)) != NULL)
            continue;
        err = provided_node(t, &keys[i], life_ms, &n);
        if (err != 0)
            break;
        /* What binds all of them is there once. */
        size = size_of(keys[i].key, n->id.comment, owner == NULL ? c : &none);
        if (owner == NULL) {
            owner = keyring_node_ref(n);
            n->id.constraints = *c;
            *c = (struct key_constraints){0};
        } else {
            keyring_node_borrow(n, owner);
        }
        err = put_added(k, n, size);
        if (err == 0)
            ++*added;
    }
    rebuilt = keyring_rebuild(k);
    pthread_mutex_unlock(&k->mutex);
    keyring_node_unref(owner);
    return err != 0 ? err : rebuilt;
}

bool keyring_rests_on(struct keyring *k, const struct token *t)
{
    struct added *a;

    pthread_mutex_lock(&k->mutex);
    TAILQ_FOREACH(a, &k->added, link)
    if (a->node->id.holders[0].token == t)
        break;
    pthread_mutex_unlock(&k->mutex);
    return a != NULL;
}

gpg_error_t keyring_swap_token(struct keyring *k, const struct token *old, struct token *t)
{
    struct added *a;
    struct node *n;
    gpg_error_t err = 0, rebuilt;

    pthread_mutex_lock(&k->mutex);
    TAILQ_FOREACH(a, &k->added, link)
    {
        const struct identity *id = &a->node->id;
        const struct provided_key key = {
            .key = id->key, .holder = &id->holders[0], .comment = id->comment};

        if (id->holders[0].token != old)
            continue;
        err = provided_node(t, &key, 0, &n);
        if (err != 0)
            break;
        n->id.expires_ms = id->expires_ms;
        keyring_node_borrow(n, a->node);
        keyring_node_unref(a->node);
        a->node = n;
    }
    rebuilt = keyring_rebuild(k);
    pthread_mutex_unlock(&k->mutex);
    return err != 0 ? err : rebuilt;
}

void keyring_remove_added(struct keyring *k)
{
    pthread_mutex_lock(&k->mutex);
    while (!TAILQ_EMPTY(&k->added))
        keyring_added_drop(k, TAILQ_FIRST(&k->added));
    if (keyring_rebuild(k) != 0)
        gpgrt_log_error("out of memory: the list of keys is not up to date\n");
    pthread_mutex_unlock(&k->mutex);
}

/* Drops one expired entry. False: there is none. */
static bool expire_one(struct keyring *k, int64_t now, struct orphan *o)
{
    struct added *a;

    TAILQ_FOREACH(a, &k->added, link)
    if (keyring_node_expired(a->node, now))
        break;
    if (a == NULL)
        return false;
    drop_added(k, a, o);
    return true;
}

int64_t keyring_expire(struct keyring *k, struct orphan **gone, size_t *n)
{
    int64_t now = monotonic_ms(), next = INT64_MAX;
    struct orphan *list;
    struct added *a;
    bool any = false;

    *n = 0;
    pthread_mutex_lock(&k->mutex);
    list = gpgrt_calloc(k->nadded + 1, sizeof *list);
    while (list != NULL && expire_one(k, now, &list[*n])) {
        any = true;
        if (list[*n].id != NULL)
            ++*n;
    }
    TAILQ_FOREACH(a, &k->added, link)
    if (a->node->id.expires_ms != 0 && a->node->id.expires_ms < next)
        next = a->node->id.expires_ms;
    if (any)
        (void)keyring_rebuild(k);
    pthread_mutex_unlock(&k->mutex);
    *gone = list;
    return next == INT64_MAX ? -1 : next > now ? next - now : 0;
}
