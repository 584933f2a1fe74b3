/* What a token tells of itself and its keys, in a thread of its own: reading a card takes as long as it takes. */
#include "agent/hotplug_slots.h"
#include "agent/wallets.h"

struct learner {
    struct hotplug *h;
    struct token *token;
    enum token_learn how;
    bool wallet;
};

/* A wallet has no list of keys of its own: it says who it is, and is told what to look for. */
static gpg_error_t learn_wallet(struct learner *l)
{
    gpg_error_t err = token_learn(l->token, LEARN_REFRESH);
    const struct token_info *info = err == 0 ? token_info_get(l->token) : NULL;
    bool usable = info != NULL && info->problem == NULL;

    token_info_put(info);
    if (usable)
        wallets_learnt(l->h->a->wallets, l->token); /* what it has read since it was told */
    if (usable)
        err = wallets_introduce(l->h->a->wallets, l->token);
    if (usable && err == 0)
        err = token_learn(l->token, LEARN_ALL);
    if (usable && err == 0)
        wallets_learnt(l->h->a->wallets, l->token);
    return err;
}

static void *learn(void *arg)
{
    struct learner *l = arg;
    gpg_error_t err = l->wallet ? learn_wallet(l) : token_learn(l->token, l->how);

    hotplug_post(l->h, EVENT_LEARNT, l->token, err);
    token_unref(l->token);
    pthread_mutex_lock(&l->h->mutex);
    l->h->nlearning--;
    pthread_cond_broadcast(&l->h->settled_changed);
    pthread_mutex_unlock(&l->h->mutex);
    gpgrt_free(l);
    return NULL;
}

gpg_error_t start_learning(struct hotplug *h, const struct slot *s, enum token_learn how)
{
    struct token *t = s->token;
    struct learner *l = gpgrt_calloc(1, sizeof *l);
    pthread_attr_t detached;
    pthread_t thread;
    int rc;

    if (l == NULL)
        return gpg_error_from_syserror();
    l->h = h;
    l->token = token_ref(t);
    l->how = how;
    l->wallet = wallets_are_of(s->kind);
    pthread_mutex_lock(&h->mutex);
    h->nlearning++;
    pthread_mutex_unlock(&h->mutex);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&thread, &detached, learn, l);
    pthread_attr_destroy(&detached);
    if (rc == 0)
        return 0;
    pthread_mutex_lock(&h->mutex);
    h->nlearning--;
    pthread_mutex_unlock(&h->mutex);
    token_unref(l->token);
    gpgrt_free(l);
    return gpg_error_from_errno(rc);
}
