/* The tokens that keep what clients add: a process for software keys, one for security keys by libfido2, one for each
 * middleware library. Started when first wanted; what was added to one that dies is gone with it. */
#include "agent/hotplug_slots.h"

#include "agent/grants.h"
#include "agent/keyring.h"
#include "agent/token_job.h"

#include <string.h>
#include <strings.h>
#include <unistd.h>

#define LEARN_S    10u
#define RESTART_MS 1000
#define WIPE_S     10u
/* A signature that waits for a touch keeps its channel. */
#define SECURITY_KEY_CHANNELS 8u
#define GPG_KIND              "gpg"
#define MAX_STORES            16u

/* --- starting ------------------------------------------------------------------------------------ */

static void on_eof(struct token *t, void *arg)
{
    hotplug_post(arg, EVENT_EOF, t, 0);
}

/* A channel a core, and one more for slow work. */
static unsigned software_channels(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n < 1 ? 2u : n > 16 ? 17u : (unsigned)n + 1;
}

/* A passphrase that is waited for keeps its channel as a touch does. */
static unsigned channels_of(const char *kind)
{
    return strcmp(kind, "software") == 0 ? software_channels() : SECURITY_KEY_CHANNELS;
}

static gpg_error_t start(struct hotplug *h, const struct store *s, struct token **out)
{
    const struct token_spec spec = {.program = h->a->token_program,
                                    .kind = s->kind,
                                    .arg = s->arg,
                                    .nchannels = channels_of(s->kind),
                                    .learn_timeout_s = LEARN_S};
    struct token *t;
    gpg_error_t err = token_start(&spec, on_eof, h, &t);

    if (err != 0)
        return err;
    err = token_learn(t, LEARN_ALL);
    if (err != 0) {
        token_stop(t);
        token_unref(t);
        return err;
    }
    *out = t;
    return 0;
}

static void drop(struct hotplug *h, struct token *t)
{
    const struct token_info *info = token_info_get(t);

    keyring_remove_token(h->a->keyring, t);
    if (info != NULL)
        grants_wipe_token(h->a->grants, info->name);
    token_info_put(info);
    token_unref(t);
}

static bool is_for(const struct store *s, const char *kind, const char *arg)
{
    return strcmp(s->kind, kind) == 0 &&
           (s->arg == NULL ? arg == NULL : arg != NULL && strcmp(s->arg, arg) == 0);
}

static void store_free(struct store *s)
{
    pthread_mutex_destroy(&s->starting);
    gpgrt_free(s->kind);
    gpgrt_free(s->arg);
    gpgrt_free(s);
}

static struct store *store_new(const char *kind, const char *arg)
{
    struct store *s = gpgrt_calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    pthread_mutex_init(&s->starting, NULL);
    s->kind = gpgrt_strdup(kind);
    s->arg = arg != NULL ? gpgrt_strdup(arg) : NULL;
    if (s->kind == NULL || (arg != NULL && s->arg == NULL)) {
        store_free(s);
        return NULL;
    }
    return s;
}

/* One that serves nobody: a library that could not be used, a process that died. The mutex is held. */
static struct store *find_spare(struct hotplug *h)
{
    struct store *s;

    TAILQ_FOREACH(s, &h->stores, link)
    if (s->token == NULL && s->users == 0)
        return s;
    return NULL;
}

/* The mutex is held. */
static bool make_room(struct hotplug *h)
{
    struct store *s = find_spare(h);

    if (s == NULL)
        return false;
    TAILQ_REMOVE(&h->stores, s, link);
    store_free(s);
    return true;
}

/* Its user is counted until it is left. */
static struct store *find_or_make(struct hotplug *h, const char *kind, const char *arg)
{
    struct store *s;
    unsigned n = 0;

    pthread_mutex_lock(&h->mutex);
    TAILQ_FOREACH(s, &h->stores, link)
    {
        if (is_for(s, kind, arg))
            break;
        n++;
    }
    if (s == NULL && n >= MAX_STORES && !make_room(h)) {
        gpgrt_log_error("%s: no more than %u providers of keys at a time\n",
                        arg != NULL ? arg : kind, MAX_STORES);
    } else if (s == NULL) {
        s = store_new(kind, arg);
        if (s != NULL)
            TAILQ_INSERT_TAIL(&h->stores, s, link);
    }
    if (s != NULL)
        s->users++;
    pthread_mutex_unlock(&h->mutex);
    return s;
}

static struct token *hotplug_store(struct hotplug *h, const char *kind, const char *arg)
{
    struct store *s = find_or_make(h, kind, arg);
    struct token *t, *old = NULL, *fresh = NULL;
    gpg_error_t err;
    bool soon;

    if (s == NULL)
        return NULL;
    pthread_mutex_lock(&s->starting);
    pthread_mutex_lock(&h->mutex);
    t = s->token != NULL && !token_gone(s->token) ? token_ref(s->token) : NULL;
    soon = h->stop || (s->started_ms != 0 && monotonic_ms() - s->started_ms < RESTART_MS);
    pthread_mutex_unlock(&h->mutex);
    /* One that dies at once is not started over and over. */
    if (t != NULL || soon)
        goto out;
    err = start(h, s, &fresh);
    if (err != 0)
        gpgrt_log_error("%s %s%s%s: %s\n", h->a->token_program, kind, arg != NULL ? " " : "",
                        arg != NULL ? arg : "", gpg_strerror(err));
    pthread_mutex_lock(&h->mutex);
    old = s->token;
    s->token = fresh;
    s->started_ms = monotonic_ms();
    t = fresh != NULL ? token_ref(fresh) : NULL;
    hotplug_changed(h);
    pthread_mutex_unlock(&h->mutex);
    if (old != NULL)
        drop(h, old);
out:
    pthread_mutex_unlock(&s->starting);
    pthread_mutex_lock(&h->mutex);
    s->users--;
    pthread_mutex_unlock(&h->mutex);
    return t;
}

struct token *hotplug_software(struct hotplug *h)
{
    return hotplug_store(h, "software", NULL);
}

struct token *hotplug_stored(struct hotplug *h, const char *home)
{
    return hotplug_store(h, GPG_KIND, home);
}

static bool is_stored(const struct store *s)
{
    return strcmp(s->kind, GPG_KIND) == 0;
}

void hotplug_forget_stored(struct hotplug *h)
{
    struct store *s;

    pthread_mutex_lock(&h->mutex);
    TAILQ_FOREACH(s, &h->stores, link)
    if (is_stored(s) && s->token != NULL)
        token_forget(s->token);
    pthread_mutex_unlock(&h->mutex);
}

/* "hid", or the emulators that the settings name. */
static char *fido_devices(const struct settings *set)
{
    struct buf list = BUF_INIT;

    for (size_t i = 0; i < set->nemulators; i++)
        if (strcasecmp(set->emulators[i].first, "fido") == 0)
            buf_printf(&list, "%s%s", list.len == 0 ? "emulator=" : ",", set->emulators[i].second);
    if (list.len == 0)
        buf_printf(&list, "hid");
    return buf_steal_cstr(&list);
}

struct token *hotplug_security_keys(struct hotplug *h, const char *middleware)
{
    struct token *t;
    char *devices;

    if (middleware != NULL)
        return hotplug_store(h, "sk", middleware);
    devices = fido_devices(h->a->settings);
    if (devices == NULL)
        return NULL;
    t = hotplug_store(h, "fido", devices);
    gpgrt_free(devices);
    return t;
}

/* --- ending -------------------------------------------------------------------------------------- */

/* The mutex is held. */
static struct store *store_of(struct hotplug *h, const struct token *t)
{
    struct store *s;

    TAILQ_FOREACH(s, &h->stores, link)
    if (s->token == t)
        return s;
    return NULL;
}

void stores_eof(struct hotplug *h, struct token *t)
{
    const struct token_info *info;
    struct store *s;

    pthread_mutex_lock(&h->mutex);
    s = store_of(h, t);
    if (s != NULL)
        s->token = NULL;
    if (s != NULL && strcmp(s->kind, "fido") == 0)
        h->want_resident = true;
    pthread_mutex_unlock(&h->mutex);
    if (s == NULL)
        return;
    info = token_info_get(t);
    if (is_stored(s))
        gpgrt_log_error("the process for gpg's keys ended: it is started anew when one is used\n");
    else if (strcmp(s->kind, "fido") == 0)
        gpgrt_log_error("the process for FIDO tokens ended: keys that ssh-add brought have to be "
                        "added again\n");
    else
        gpgrt_log_error(
            "the process that holds the added keys of %s ended: they have to be added again\n",
            info != NULL ? info->name : s->kind);
    token_info_put(info);
    drop(h, t);
}

void stores_stop(struct hotplug *h)
{
    struct store *s;

    TAILQ_FOREACH(s, &h->stores, link)
    if (s->token != NULL)
        token_stop(s->token);
}

void stores_free(struct hotplug *h)
{
    struct store *s;

    while ((s = TAILQ_FIRST(&h->stores)) != NULL) {
        TAILQ_REMOVE(&h->stores, s, link);
        if (s->token != NULL)
            drop(h, s->token);
        store_free(s);
    }
}

/* --- wiping -------------------------------------------------------------------------------------- */

static void run_on(struct hotplug *h, struct token *t, enum token_verb verb, const char *id)
{
    struct token_job job = {.verb = verb, .key_id = id};
    struct wait w;
    gpg_error_t err = wait_begin(h->a->waits, &w, -1, WIPE_S);

    if (err == 0) {
        w.ignore_lock = true;
        err = token_run(t, &w, &job);
        wait_end(&w);
    }
    /* What cannot be wiped in it is wiped with it. */
    if (err != 0 && gpg_err_code(err) != GPG_ERR_NOT_FOUND && !token_gone(t)) {
        gpgrt_log_error("added keys cannot be wiped: %s\n", gpg_strerror(err));
        token_fail(t);
    }
    buf_free(&job.result);
}

void hotplug_wipe_added(struct hotplug *h, struct token *t, const char *id)
{
    run_on(h, t, TOKEN_DELKEY, id);
}

void hotplug_remove_added(struct hotplug *h)
{
    struct token *all[MAX_STORES];
    struct store *s;
    size_t n = 0;

    keyring_remove_added(h->a->keyring);
    pthread_mutex_lock(&h->mutex);
    TAILQ_FOREACH(s, &h->stores, link)
    if (s->token != NULL && n < MAX_STORES && !is_stored(s))
        all[n++] = token_ref(s->token);
    pthread_mutex_unlock(&h->mutex);
    for (size_t i = 0; i < n; i++) {
        run_on(h, all[i], TOKEN_DELALL, NULL);
        token_unref(all[i]);
    }
    providers_end_all(h);
}
