#include "agent/keyring_node.h"

#include <string.h>
#include <time.h>

/* --- nodes --------------------------------------------------------------------------------------- */

void keyring_node_unref(struct node *n)
{
    if (n == NULL || __atomic_sub_fetch(&n->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    key_unref(n->id.key);
    gpgrt_free(n->id.comment);
    gpgrt_free(n->id.wallet);
    for (size_t i = 0; i < n->id.nholders; i++) {
        token_unref(n->id.holders[i].token);
        gpgrt_free(n->id.holders[i].id);
    }
    gpgrt_free(n->id.holders);
    for (size_t i = 0; i < n->id.ncerts; i++)
        certificate_unref(n->id.certs[i]);
    gpgrt_free(n->id.certs);
    if (n->constraints_of != NULL)
        keyring_node_unref(n->constraints_of);
    else
        constraints_free(&n->id.constraints);
    gpgrt_free(n);
}

struct node *keyring_node_ref(struct node *n)
{
    __atomic_fetch_add(&n->refs, 1, __ATOMIC_RELAXED);
    return n;
}

gpg_error_t keyring_node_new(struct key *key, const char *comment, struct node **out)
{
    struct node *n = gpgrt_calloc(1, sizeof *n);

    if (n == NULL)
        return gpg_error_from_syserror();
    n->refs = 1;
    n->id.key = key_ref(key);
    n->id.comment = gpgrt_strdup(comment != NULL ? comment : "");
    if (n->id.comment == NULL) {
        keyring_node_unref(n);
        return gpg_error(GPG_ERR_ENOMEM);
    }
    *out = n;
    return 0;
}

void keyring_node_borrow(struct node *n, struct node *owner)
{
    n->id.constraints = owner->id.constraints;
    n->constraints_of =
        keyring_node_ref(owner->constraints_of != NULL ? owner->constraints_of : owner);
}

/* Copies H; the copy's token is T. */
gpg_error_t keyring_node_add_holder(struct node *n, const struct holder *h, struct token *t)
{
    struct holder *more =
        gpgrt_reallocarray(n->id.holders, n->id.nholders, n->id.nholders + 1, sizeof *more);
    char *id;

    if (more == NULL)
        return gpg_error_from_syserror();
    n->id.holders = more;
    id = gpgrt_strdup(h->id);
    if (id == NULL)
        return gpg_error_from_syserror();
    more[n->id.nholders] = *h;
    more[n->id.nholders].id = id;
    more[n->id.nholders].token = token_ref(t);
    n->id.nholders++;
    return 0;
}

/* --- snapshots ----------------------------------------------------------------------------------- */

void keyring_put(const struct keyring_snapshot *pub)
{
    struct snapshot *s = (struct snapshot *)(uintptr_t)pub;

    if (s == NULL || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < s->pub.n; i++)
        keyring_node_unref(s->nodes[i]);
    gpgrt_free(s->nodes);
    gpgrt_free((void *)(uintptr_t)s->pub.ids);
    gpgrt_free(s);
}

static struct snapshot *snapshot_new(size_t max)
{
    struct snapshot *s = gpgrt_calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->refs = 1;
    s->nodes = gpgrt_calloc(max + 1, sizeof *s->nodes);
    if (s->nodes == NULL) {
        keyring_put(&s->pub);
        return NULL;
    }
    return s;
}

/* The same private key may stand in two slots; what it may be used for differs by family. */
static struct node *find_same(const struct snapshot *s, size_t n, const struct key *key,
                              enum key_family family)
{
    for (size_t i = 0; i < n; i++)
        if (s->nodes[i]->id.family == family && s->nodes[i]->id.key->cert == NULL &&
            key_same(s->nodes[i]->id.key, key))
            return s->nodes[i];
    return NULL;
}

/* T NULL: the key is known, and nobody has it now. */
static gpg_error_t take_key_line(struct snapshot *s, struct token *t, const struct key_line *k)
{
    struct node *n = find_same(s, s->pub.n, k->id.key, k->id.family);
    gpg_error_t err = 0;

    if (n != NULL && t == NULL)
        return 0;
    if (n == NULL) {
        err = keyring_node_new(k->id.key, k->id.comment, &n);
        if (err != 0)
            return err;
        n->id.family = k->id.family;
        s->nodes[s->pub.n++] = n;
    }
    n->id.can_sign |= k->id.can_sign;
    n->id.can_encrypt |= k->id.can_encrypt;
    n->id.can_auth |= k->id.can_auth;
    if (k->id.ssh_place != 0)
        n->id.ssh_place = k->id.ssh_place;
    n->id.ssh_confirm |= k->id.ssh_confirm;
    if (!n->id.has_openpgp && k->id.has_openpgp) {
        n->id.has_openpgp = true;
        n->id.created = k->id.created;
        memcpy(n->id.openpgp_fpr, k->id.openpgp_fpr, sizeof n->id.openpgp_fpr);
    }
    if (n->id.wallet == NULL && k->id.wallet != NULL) {
        n->id.wallet = gpgrt_strdup(k->id.wallet);
        if (n->id.wallet == NULL)
            return gpg_error_from_syserror();
    }
    return t != NULL ? keyring_node_add_holder(n, &k->holder, t) : 0;
}

/* A key that was added and that a present token holds too is one identity with both as holders. The
 * constraints under which it was added hold for all of it: they are what its owner asked for. */
static gpg_error_t join_added(struct node *n, struct node *added)
{
    n->id.added = true;
    n->id.provided = added->id.provided;
    n->id.expires_ms = added->id.expires_ms;
    keyring_node_borrow(n, added);
    return keyring_node_add_holder(n, &added->id.holders[0], added->id.holders[0].token);
}

bool keyring_node_expired(const struct node *n, int64_t now)
{
    return n->id.expires_ms != 0 && n->id.expires_ms <= now;
}

/* Those that do not wait first; the order is stable otherwise. */
static void sort_holders(struct node *n)
{
    for (size_t i = 1; i < n->id.nholders; i++)
        for (size_t j = i; j > 0 && n->id.holders[j - 1].slow && !n->id.holders[j].slow; j--) {
            struct holder h = n->id.holders[j];

            n->id.holders[j] = n->id.holders[j - 1];
            n->id.holders[j - 1] = h;
        }
}

static gpg_error_t fill_snapshot(struct keyring *k, struct snapshot *s, int64_t *next_expiry)
{
    int64_t now = monotonic_ms();
    struct shelf *shelf;
    struct added *a;
    size_t nfirst;
    gpg_error_t err;

    TAILQ_FOREACH(shelf, &k->shelves, link)
    for (size_t i = 0; i < shelf->n; i++)
        if ((err = take_key_line(s, shelf->token, &shelf->keys[i])) != 0)
            return err;
    for (size_t i = 0; i < k->known.n; i++)
        if ((err = take_key_line(s, NULL, &k->known.keys[i])) != 0)
            return err;
    nfirst = s->pub.n;
    TAILQ_FOREACH(a, &k->added, link)
    {
        struct node *same = NULL;

        if (keyring_node_expired(a->node, now))
            continue;
        if (a->node->id.expires_ms != 0 && a->node->id.expires_ms < *next_expiry)
            *next_expiry = a->node->id.expires_ms;
        if (a->node->id.key->cert == NULL)
            same = find_same(s, nfirst, a->node->id.key, a->node->id.family);
        if (same == NULL)
            s->nodes[s->pub.n++] = keyring_node_ref(a->node);
        else if ((err = join_added(same, a->node)) != 0)
            return err;
    }
    for (size_t i = 0; i < nfirst; i++)
        sort_holders(s->nodes[i]);
    return keyring_put_certificates(k, s, nfirst);
}

/* Makes a new snapshot of what is on the shelves; the mutex is held. When memory is short the old
 * one stays. */
gpg_error_t keyring_rebuild(struct keyring *k)
{
    int64_t next_expiry = INT64_MAX;
    struct identity **ids;
    struct shelf *shelf;
    struct snapshot *s;
    size_t max = k->nadded;
    gpg_error_t err;

    TAILQ_FOREACH(shelf, &k->shelves, link)
    max += shelf->n;
    max += k->known.n;
    max += k->certs != NULL ? k->certs->n : 0; /* each certifies one key */
    s = snapshot_new(max);
    if (s == NULL)
        return gpg_error(GPG_ERR_ENOMEM);
    err = fill_snapshot(k, s, &next_expiry);
    ids = err == 0 ? gpgrt_calloc(s->pub.n + 1, sizeof *ids) : NULL;
    if (ids == NULL) {
        k->certs_until = 0; /* the old snapshot's span is not known any more: tried again */
        keyring_put(&s->pub);
        return err != 0 ? err : gpg_error(GPG_ERR_ENOMEM);
    }
    for (size_t i = 0; i < s->pub.n; i++)
        ids[i] = &s->nodes[i]->id;
    s->pub.ids = ids;
    if (k->now != NULL)
        keyring_put(&k->now->pub);
    k->now = s;
    k->next_expiry_ms = next_expiry;
    return 0;
}

static bool out_of_date(const struct keyring *k)
{
    uint64_t now;

    if (k->next_expiry_ms != INT64_MAX && monotonic_ms() >= k->next_expiry_ms)
        return true;
    if (k->certs == NULL || k->certs->n == 0)
        return false;
    now = (uint64_t)time(NULL);
    return now < k->certs_from || now >= k->certs_until;
}

const struct keyring_snapshot *keyring_get(struct keyring *k)
{
    struct snapshot *s;

    pthread_mutex_lock(&k->mutex);
    if (out_of_date(k) && keyring_rebuild(k) != 0) {
        /* Better nothing than a key whose time is over. */
        pthread_mutex_unlock(&k->mutex);
        return NULL;
    }
    s = k->now;
    __atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&k->mutex);
    return &s->pub;
}

/* --- finding --------------------------------------------------------------------------------------- */

static bool blob_is(const uint8_t *p, size_t n, struct rd blob)
{
    return p != NULL && rd_eq(rd_of(p, n), blob);
}

static const struct identity *find(const struct keyring_snapshot *s, struct rd blob, bool plain)
{
    const struct identity *other = NULL;

    for (size_t i = 0; i < s->n; i++) {
        const struct key *k = s->ids[i]->key;

        if (plain ? !blob_is(k->plain, k->plain_len, blob) || k->cert != NULL
                  : !blob_is(k->blob, k->blob_len, blob))
            continue;
        if (s->ids[i]->family == FAMILY_SSH)
            return s->ids[i];
        if (other == NULL)
            other = s->ids[i];
    }
    return other;
}

const struct identity *keyring_find_blob(const struct keyring_snapshot *s, struct rd blob)
{
    const struct identity *id = find(s, blob, false);
    struct key *k = NULL;

    if (id != NULL || key_from_blob(blob, &k) != 0)
        return id;
    /* A certificate that nobody added here signs by its plain key. */
    if (k->cert != NULL)
        id = find(s, rd_of(k->plain, k->plain_len), true);
    key_unref(k);
    return id;
}

/* --- tokens ---------------------------------------------------------------------------------------- */

static void shelf_free(struct shelf *s)
{
    for (size_t i = 0; i < s->n; i++)
        key_line_clear(&s->keys[i]);
    gpgrt_free(s->keys);
    token_unref(s->token);
    gpgrt_free(s);
}

static struct shelf *find_shelf(struct keyring *k, const struct token *t)
{
    struct shelf *s;

    TAILQ_FOREACH(s, &k->shelves, link)
    if (s->token == t)
        return s;
    return NULL;
}

/* A key that cannot be read is left out; the others of the token serve. */
static void fill_shelf(struct shelf *s, const struct token_info *info)
{
    for (size_t i = 0; info->key_lines[i] != NULL; i++) {
        gpg_error_t err = key_line_parse(info->key_lines[i], info, &s->keys[s->n]);

        if (err != 0)
            gpgrt_log_info("%s: a key is left out: %s\n", info->name, gpg_strerror(err));
        else
            s->n++;
    }
}

gpg_error_t keyring_set_token(struct keyring *k, struct token *t)
{
    const struct token_info *info = token_info_get(t);
    struct shelf *s = NULL, *old;
    size_t n = 0;
    gpg_error_t err = 0;

    if (info == NULL)
        return gpg_error(GPG_ERR_NOT_INITIALIZED);
    while (info->key_lines[n] != NULL)
        n++;
    s = gpgrt_calloc(1, sizeof *s);
    if (s == NULL) {
        err = gpg_error_from_syserror();
        goto out;
    }
    s->token = token_ref(t);
    s->keys = gpgrt_calloc(n + 1, sizeof *s->keys);
    if (s->keys == NULL) {
        err = gpg_error_from_syserror();
        shelf_free(s);
        goto out;
    }
    fill_shelf(s, info);
    pthread_mutex_lock(&k->mutex);
    old = find_shelf(k, t);
    if (old != NULL) {
        TAILQ_INSERT_AFTER(&k->shelves, old, s, link);
        TAILQ_REMOVE(&k->shelves, old, link);
    } else {
        TAILQ_INSERT_TAIL(&k->shelves, s, link);
    }
    err = keyring_rebuild(k);
    pthread_mutex_unlock(&k->mutex);
    if (old != NULL)
        shelf_free(old);
out:
    token_info_put(info);
    return err;
}

static void known_clear(struct known_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        key_line_clear(&l->keys[i]);
    gpgrt_free(l->keys);
    *l = (struct known_list){0};
}

gpg_error_t keyring_set_known(struct keyring *k, const struct known_key *keys, size_t n)
{
    struct known_list l = {.keys = gpgrt_calloc(n + 1, sizeof *l.keys)}, old;
    gpg_error_t err;

    if (l.keys == NULL)
        return gpg_error_from_syserror();
    for (size_t i = 0; i < n; i++) {
        char name[] = "wallet";
        const struct token_info info = {.name = name, .label = (char *)(uintptr_t)keys[i].label};

        err = key_line_parse(keys[i].line, &info, &l.keys[l.n]);
        if (err == 0)
            l.n++;
        else
            gpgrt_log_info("a known key is left out: %s\n", gpg_strerror(err));
    }
    pthread_mutex_lock(&k->mutex);
    old = k->known;
    k->known = l;
    err = keyring_rebuild(k);
    pthread_mutex_unlock(&k->mutex);
    known_clear(&old);
    return err;
}

/* Also forgets what was added to T: those private keys are gone with it. */
void keyring_remove_token(struct keyring *k, struct token *t)
{
    struct added *a, *next;
    struct shelf *s;

    pthread_mutex_lock(&k->mutex);
    s = find_shelf(k, t);
    if (s != NULL)
        TAILQ_REMOVE(&k->shelves, s, link);
    for (a = TAILQ_FIRST(&k->added); a != NULL; a = next) {
        next = TAILQ_NEXT(a, link);
        if (a->node->id.holders[0].token == t)
            keyring_added_drop(k, a);
    }
    /* An old snapshot does no harm: the token itself refuses everything. */
    if (keyring_rebuild(k) != 0)
        gpgrt_log_error("out of memory: the list of keys is not up to date\n");
    pthread_mutex_unlock(&k->mutex);
    if (s != NULL)
        shelf_free(s);
}

/* --- the keyring ------------------------------------------------------------------------------------- */

gpg_error_t keyring_new(struct keyring **out)
{
    struct keyring *k = gpgrt_calloc(1, sizeof *k);
    gpg_error_t err;

    if (k == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&k->mutex, NULL);
    TAILQ_INIT(&k->shelves);
    TAILQ_INIT(&k->added);
    k->max_added = SSH_AGENT_MAX_IDENTITIES;
    k->next_expiry_ms = INT64_MAX;
    err = keyring_rebuild(k);
    if (err != 0)
        keyring_free(k);
    else
        *out = k;
    return err;
}

void keyring_free(struct keyring *k)
{
    struct shelf *s;

    if (k == NULL)
        return;
    while (!TAILQ_EMPTY(&k->added))
        keyring_added_drop(k, TAILQ_FIRST(&k->added));
    while ((s = TAILQ_FIRST(&k->shelves)) != NULL) {
        TAILQ_REMOVE(&k->shelves, s, link);
        shelf_free(s);
    }
    known_clear(&k->known);
    if (k->now != NULL)
        keyring_put(&k->now->pub);
    certificate_set_unref(k->certs);
    pthread_mutex_destroy(&k->mutex);
    gpgrt_free(k);
}
