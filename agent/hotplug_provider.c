/* PKCS#11 providers: processes that clients start and end (ssh-add -s, -e). */
#include "agent/hotplug_slots.h"

#include "agent/grants.h"
#include "agent/keyring.h"

#include <string.h>

#define LEARN_S   10u
#define REVIVE_MS 1000 /* one that dies at once is not started over and over */

struct provider *provider_of(struct hotplug *h, const struct token *t)
{
    struct provider *p;

    TAILQ_FOREACH(p, &h->providers, link)
    if (p->token == t)
        return p;
    return NULL;
}

/* The first for PATH; BUSY: that is being added, or serves. The mutex is held. */
static struct provider *provider_for(struct hotplug *h, const char *path, bool busy)
{
    struct provider *p;

    TAILQ_FOREACH(p, &h->providers, link)
    if (strcmp(p->path, path) == 0 && (!busy || !p->ready || !token_gone(p->token)))
        return p;
    return NULL;
}

/* One that serves and has no key left. The mutex is held. */
static struct provider *provider_idle(struct hotplug *h)
{
    struct provider *p;

    TAILQ_FOREACH(p, &h->providers, link)
    if (p->ready && !keyring_rests_on(h->a->keyring, p->token))
        return p;
    return NULL;
}

static void wipe_grants(struct hotplug *h, struct token *t)
{
    const struct token_info *info = token_info_get(t);

    if (info != NULL)
        grants_wipe_token(h->a->grants, info->name);
    token_info_put(info);
}

static void on_provider_eof(struct token *t, void *arg)
{
    struct hotplug *h = arg;
    struct provider *p;

    pthread_mutex_lock(&h->mutex);
    p = provider_of(h, t);
    if (p != NULL && p->ready)
        gpgrt_log_error("%s: its process ended; its keys stay, and the PIN is asked for again\n",
                        p->path);
    hotplug_changed(h);
    pthread_mutex_unlock(&h->mutex);
    wipe_grants(h, t);
}

/* --- starting ------------------------------------------------------------------------------------ */

static gpg_error_t start_process(struct hotplug *h, const char *path, struct token **out)
{
    const struct token_spec spec = {.program = h->a->token_program,
                                    .kind = "pkcs11",
                                    .arg = path,
                                    .nchannels = 1,
                                    .learn_timeout_s = LEARN_S};

    return token_start(&spec, on_provider_eof, h, out);
}

static struct provider *provider_new(const char *path)
{
    struct provider *p = gpgrt_calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    p->path = gpgrt_strdup(path);
    p->started_ms = monotonic_ms();
    if (p->path == NULL) {
        gpgrt_free(p);
        return NULL;
    }
    return p;
}

static void provider_free(struct provider *p)
{
    token_unref(p->token);
    gpgrt_free(p->path);
    gpgrt_free(p);
}

gpg_error_t hotplug_provider_start(struct hotplug *h, const char *path, struct token **t)
{
    struct provider *p;
    gpg_error_t err;

    p = provider_new(path);
    if (p == NULL)
        return gpg_error_from_syserror();
    err = start_process(h, path, &p->token);
    if (err != 0) {
        provider_free(p);
        return err;
    }
    pthread_mutex_lock(&h->mutex);
    if (provider_for(h, path, true) == NULL && !h->stop) {
        TAILQ_INSERT_TAIL(&h->providers, p, link);
        *t = token_ref(p->token);
        hotplug_changed(h);
    } else {
        err = gpg_error(h->stop ? GPG_ERR_CANCELED : GPG_ERR_EEXIST);
    }
    pthread_mutex_unlock(&h->mutex);
    if (err != 0) {
        token_stop(p->token);
        provider_free(p);
    }
    return err;
}

/* An earlier process for P's path, which died; taken out of the list. The mutex is held. */
static struct provider *take_dead(struct hotplug *h, const struct provider *p)
{
    struct provider *other;

    TAILQ_FOREACH(other, &h->providers, link)
    if (other != p && strcmp(other->path, p->path) == 0)
        break;
    if (other != NULL) {
        TAILQ_REMOVE(&h->providers, other, link);
        keyring_remove_token(h->a->keyring, other->token);
    }
    return other;
}

gpg_error_t hotplug_provider_serve(struct hotplug *h, struct token *t,
                                   const struct provided_key *keys, size_t n,
                                   struct key_constraints *c, int64_t life_ms)
{
    struct provider *p, *dead = NULL;
    size_t added = 0;
    gpg_error_t err = gpg_error(GPG_ERR_CANCELED);

    pthread_mutex_lock(&h->mutex);
    p = provider_of(h, t);
    if (p != NULL) {
        dead = take_dead(h, p);
        err = keyring_add_provided(h->a->keyring, t, keys, n, c, life_ms, &added);
        if (err == 0 && added == 0)
            err = gpg_error(GPG_ERR_EEXIST);
        p->ready = err == 0;
        hotplug_changed(h);
    }
    pthread_mutex_unlock(&h->mutex);
    if (dead != NULL) {
        token_stop(dead->token);
        provider_free(dead);
    }
    return err;
}

struct token *hotplug_provider(struct hotplug *h, const char *path)
{
    struct token *t = NULL;
    struct provider *p;

    pthread_mutex_lock(&h->mutex);
    p = provider_for(h, path, false);
    if (p != NULL)
        t = token_ref(p->token);
    pthread_mutex_unlock(&h->mutex);
    return t;
}

/* --- ending -------------------------------------------------------------------------------------- */

/* P is in no list any more. */
static void end(struct hotplug *h, struct provider *p)
{
    token_stop(p->token);
    keyring_remove_token(h->a->keyring, p->token);
    wipe_grants(h, p->token);
    provider_free(p);
}

void hotplug_provider_end(struct hotplug *h, struct token *t)
{
    struct provider *p;

    pthread_mutex_lock(&h->mutex);
    p = provider_of(h, t);
    if (p != NULL) {
        TAILQ_REMOVE(&h->providers, p, link);
        hotplug_changed(h);
    }
    pthread_mutex_unlock(&h->mutex);
    if (p != NULL)
        end(h, p);
    else
        keyring_remove_token(h->a->keyring,
                             t); /* ended by somebody else while it was being added */
}

void hotplug_providers_reap(struct hotplug *h)
{
    struct provider *p;

    do {
        pthread_mutex_lock(&h->mutex);
        p = provider_idle(h);
        if (p != NULL) {
            TAILQ_REMOVE(&h->providers, p, link);
            hotplug_changed(h);
        }
        pthread_mutex_unlock(&h->mutex);
        if (p != NULL) {
            gpgrt_log_info("%s: none of its keys is left: its process ends\n", p->path);
            end(h, p);
        }
    } while (p != NULL);
}

void providers_end_all(struct hotplug *h)
{
    struct provider *p;

    do {
        pthread_mutex_lock(&h->mutex);
        p = TAILQ_FIRST(&h->providers);
        if (p != NULL) {
            TAILQ_REMOVE(&h->providers, p, link);
            hotplug_changed(h);
        }
        pthread_mutex_unlock(&h->mutex);
        if (p != NULL)
            end(h, p);
    } while (p != NULL);
}

/* --- beginning anew ------------------------------------------------------------------------------ */

/* Whether P is due, and its path. */
static gpg_error_t claim(struct hotplug *h, const struct token *t, char **path)
{
    int64_t now = monotonic_ms();
    struct provider *p;
    gpg_error_t err = 0;

    pthread_mutex_lock(&h->mutex);
    p = provider_of(h, t);
    if (p != NULL && p->ready && token_gone(p->token)) {
        if (h->stop || now - p->started_ms < REVIVE_MS)
            err = gpg_error(GPG_ERR_ENODEV);
        else if ((*path = gpgrt_strdup(p->path)) == NULL)
            err = gpg_error_from_syserror();
        else
            p->started_ms = now;
    }
    pthread_mutex_unlock(&h->mutex);
    return err;
}

/* Gives the provider whose process is OLD the new one, FRESH (taken over). */
static gpg_error_t replace(struct hotplug *h, struct token *old, struct token *fresh)
{
    struct provider *p;
    gpg_error_t err = 0;

    token_adopt_info(fresh, old);
    pthread_mutex_lock(&h->mutex);
    p = h->stop ? NULL : provider_of(h, old);
    if (p != NULL) {
        err = keyring_swap_token(h->a->keyring, old, fresh);
        p->token = fresh;
        hotplug_changed(h);
    }
    pthread_mutex_unlock(&h->mutex);
    if (p != NULL) {
        token_unref(old); /* the provider's reference */
        return err;
    }
    token_stop(fresh);
    token_unref(fresh);
    return gpg_error(GPG_ERR_ENODEV);
}

gpg_error_t hotplug_provider_revive(struct hotplug *h, const struct token *t)
{
    struct token *fresh = NULL;
    char *path = NULL;
    gpg_error_t err;

    pthread_mutex_lock(&h->revive_mutex);
    err = claim(h, t, &path);
    if (err == 0 && path != NULL) {
        gpgrt_log_info("%s: started anew\n", path);
        err = start_process(h, path, &fresh);
        if (err == 0)
            err = replace(h, (struct token *)(uintptr_t)t, fresh);
    }
    pthread_mutex_unlock(&h->revive_mutex);
    gpgrt_free(path);
    return err;
}
