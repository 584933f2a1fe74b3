#include "agent/gpg_agent.h"

#include "agent/hotplug.h"
#include "agent/keyring.h"
#include "agent/scd_lock.h"

#include <dirent.h>
#include <pthread.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <time.h>

#define MAX_VALUES 256u
#define COARSE_NS  20000000

struct value {
    SLIST_ENTRY(value) link;
    char *name, *value;
};

/* A file or folder as it was. */
struct seen {
    dev_t dev;
    ino_t ino;
    off_t size;
    int64_t mtime_ns;
};

struct gpg {
    struct agent *a;
    pthread_mutex_t mutex;
    struct gpg_config *conf;
    gpg_error_t (*load)(void *arg, struct gpg_config **out);
    void *load_arg;
    void (*stop)(void *arg);
    void *stop_arg;
    unsigned events[GPG_EVENTS];
    struct scd_lock *cards_lock;
    pthread_mutex_t refresh;     /* for what follows */
    struct seen folder, control; /* private-keys-v1.d, sshcontrol */
    bool seen_fresh;             /* they may have changed right after */
    const struct token *seen_token;
    struct seen empty; /* private-keys-v1.d, when it had no file in it */
    bool empty_known;
    SLIST_HEAD(values, value) values;
    unsigned nvalues;
    /* UPDATESTARTUPTTY */
    char *tty, *term, *display, *wayland_display, *xauthority, *dbus, *lc_ctype, *lc_messages,
        *pinentry_user_data;
};

/* --- configuration ----------------------------------------------------------------------------------------------------- */

static void config_free(struct gpg_config *c)
{
    if (c == NULL)
        return;
    gpgrt_free(c->home);
    gpgrt_free(c->socket);
    gpgrt_free(c->extra_socket);
    gpgrt_free(c->browser_socket);
    gpgrt_free(c->ssh_socket);
    gpgrt_free(c->pinentry_program);
    gpgrt_free(c->touch_file);
    gpgrt_free(c->invisible_char);
    gpgrt_free(c->check_pattern);
    gpgrt_free(c->check_sym_pattern);
    gpgrt_free(c->sys_trustlist);
    gpgrt_free(c->ssh_digest);
    gpgrt_free(c);
}

const struct gpg_config *gpg_config_get(struct agent *a)
{
    struct gpg *g = a->gpg;
    struct gpg_config *c;

    pthread_mutex_lock(&g->mutex);
    c = g->conf;
    __atomic_fetch_add(&c->refs, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&g->mutex);
    return c;
}

void gpg_config_put(const struct gpg_config *c)
{
    struct gpg_config *own = (struct gpg_config *)(uintptr_t)c;

    if (own != NULL && __atomic_sub_fetch(&own->refs, 1, __ATOMIC_ACQ_REL) == 0)
        config_free(own);
}

/* --- the agent's part ---------------------------------------------------------------------------------------------------- */

gpg_error_t gpg_agent_new(struct agent *a, struct gpg_config *c,
                          gpg_error_t (*load)(void *arg, struct gpg_config **out), void *arg,
                          struct gpg **out)
{
    struct gpg *g = gpgrt_calloc(1, sizeof *g);
    gpg_error_t err = g != NULL ? scd_lock_new(&g->cards_lock) : gpg_error_from_syserror();

    if (err != 0) {
        gpgrt_free(g);
        gpg_config_put(c);
        return err;
    }
    pthread_mutex_init(&g->mutex, NULL);
    pthread_mutex_init(&g->refresh, NULL);
    SLIST_INIT(&g->values);
    g->a = a;
    g->conf = c;
    g->load = load;
    g->load_arg = arg;
    *out = g;
    return 0;
}

static void value_free(struct value *v)
{
    gpgrt_free(v->name);
    gpgrt_free(v->value);
    gpgrt_free(v);
}

void gpg_agent_free(struct gpg *g)
{
    struct value *v;

    if (g == NULL)
        return;
    while ((v = SLIST_FIRST(&g->values)) != NULL) {
        SLIST_REMOVE_HEAD(&g->values, link);
        value_free(v);
    }
    gpg_config_put(g->conf);
    scd_lock_free(g->cards_lock);
    gpgrt_free(g->tty);
    gpgrt_free(g->term);
    gpgrt_free(g->display);
    gpgrt_free(g->wayland_display);
    gpgrt_free(g->xauthority);
    gpgrt_free(g->dbus);
    gpgrt_free(g->lc_ctype);
    gpgrt_free(g->lc_messages);
    gpgrt_free(g->pinentry_user_data);
    pthread_mutex_destroy(&g->refresh);
    pthread_mutex_destroy(&g->mutex);
    gpgrt_free(g);
}

void gpg_agent_reload(struct agent *a)
{
    struct gpg *g = a->gpg;
    struct gpg_config *c = NULL, *old;

    if (g->load != NULL && g->load(g->load_arg, &c) == 0) {
        pthread_mutex_lock(&g->mutex);
        old = g->conf;
        g->conf = c;
        pthread_mutex_unlock(&g->mutex);
        gpg_config_put(old);
    }
    hotplug_forget_stored(a->hotplug);
}

void gpg_agent_on_kill(struct gpg *g, void (*stop)(void *arg), void *arg)
{
    g->stop = stop;
    g->stop_arg = arg;
}

void gpg_agent_kill(struct gpg *g)
{
    if (g->stop != NULL)
        g->stop(g->stop_arg);
}

/* --- the disk ---------------------------------------------------------------------------------------------------------------- */

static void look_at(const char *home, const char *name, struct seen *out)
{
    char *path = gpgrt_bsprintf("%s/%s", home, name);
    struct stat st;

    *out = (struct seen){0};
    if (path != NULL && stat(path, &st) == 0)
        *out =
            (struct seen){.dev = st.st_dev,
                          .ino = st.st_ino,
                          .size = st.st_size,
                          .mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec};
    gpgrt_free(path);
}

static bool same(const struct seen *a, const struct seen *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns;
}

/* The kernel's clock for files is coarse: what changed a moment ago may have changed again since, under the same time. */
static bool fresh(const struct seen *s, int64_t now_ns)
{
    return s->mtime_ns > now_ns - COARSE_NS;
}

static bool disk_changed(struct gpg *g, const struct token *t)
{
    const struct gpg_config *c = gpg_config_get(g->a);
    struct timespec ts;
    struct seen folder, control;
    int64_t now;
    bool changed;

    clock_gettime(CLOCK_REALTIME, &ts);
    now = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
    look_at(c->home, "private-keys-v1.d", &folder);
    look_at(c->home, "sshcontrol", &control);
    gpg_config_put(c);
    changed = g->seen_token != t || g->seen_fresh || !same(&folder, &g->folder) ||
              !same(&control, &g->control);
    g->seen_token = t;
    g->folder = folder;
    g->control = control;
    g->seen_fresh = fresh(&folder, now) || fresh(&control, now);
    return changed;
}

static bool has_files(const char *home)
{
    char *path = gpgrt_bsprintf("%s/private-keys-v1.d", home);
    DIR *d = path != NULL ? opendir(path) : NULL;
    bool has = path == NULL; /* not known: the store may say */

    gpgrt_free(path);
    for (struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL && !has; e = readdir(d))
        has = e->d_name[0] != '.';
    if (d != NULL)
        closedir(d);
    return has;
}

bool gpg_nothing_stored(struct gpg *g)
{
    const struct gpg_config *c = gpg_config_get(g->a);
    struct timespec now;
    struct seen folder;
    bool nothing = false;

    clock_gettime(CLOCK_REALTIME, &now);
    pthread_mutex_lock(&g->refresh);
    if (g->seen_token ==
        NULL) { /* else it is there and knows the folder as it was: it hears of changes */
        look_at(c->home, "private-keys-v1.d", &folder);
        nothing = g->empty_known && same(&folder, &g->empty);
        if (!nothing && !has_files(c->home)) {
            nothing = true;
            g->empty = folder;
            g->empty_known = !fresh(&folder, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
        }
    }
    pthread_mutex_unlock(&g->refresh);
    gpg_config_put(c);
    return nothing;
}

/* Whoever comes meanwhile waits: what it asks for may be among what is new. */
gpg_error_t gpg_refresh(struct gpg *g, struct token *t)
{
    gpg_error_t err = 0;

    pthread_mutex_lock(&g->refresh);
    if (disk_changed(g, t)) {
        err = token_learn(t, LEARN_REFRESH);
        if (err == 0)
            err = keyring_set_token(g->a->keyring, t);
        if (err == 0)
            gpg_count_event(g, GPG_EVENT_KEY);
        else
            g->seen_token = NULL;
    }
    pthread_mutex_unlock(&g->refresh);
    return err;
}

/* --- events ---------------------------------------------------------------------------------------------------------------- */

void gpg_count_event(struct gpg *g, enum gpg_event e)
{
    pthread_mutex_lock(&g->mutex);
    g->events[e]++;
    if (e != GPG_EVENT_ANY)
        g->events[GPG_EVENT_ANY]++;
    pthread_mutex_unlock(&g->mutex);
}

void gpg_events(struct gpg *g, unsigned count[GPG_EVENTS])
{
    pthread_mutex_lock(&g->mutex);
    memcpy(count, g->events, sizeof g->events);
    pthread_mutex_unlock(&g->mutex);
}

struct scd_lock *gpg_cards_lock(struct gpg *g)
{
    return g->cards_lock;
}

/* --- values ---------------------------------------------------------------------------------------------------------------- */

/* The mutex is held. */
static struct value *find_value(struct gpg *g, const char *name)
{
    struct value *v;

    SLIST_FOREACH(v, &g->values, link)
    if (strcmp(v->name, name) == 0)
        return v;
    return NULL;
}

gpg_error_t gpg_value_put(struct gpg *g, const char *name, const char *value)
{
    struct value *fresh = NULL, *old;
    gpg_error_t err = 0;

    if (value != NULL) {
        fresh = gpgrt_calloc(1, sizeof *fresh);
        if (fresh == NULL)
            return gpg_error_from_syserror();
        fresh->name = gpgrt_strdup(name);
        fresh->value = gpgrt_strdup(value);
        if (fresh->name == NULL || fresh->value == NULL) {
            value_free(fresh);
            return gpg_error(GPG_ERR_ENOMEM);
        }
    }
    pthread_mutex_lock(&g->mutex);
    old = find_value(g, name);
    if (old == NULL && fresh != NULL && g->nvalues >= MAX_VALUES) {
        value_free(fresh);
        fresh = NULL;
        err = gpg_error(GPG_ERR_TOO_MANY);
    }
    if (old != NULL) {
        SLIST_REMOVE(&g->values, old, value, link);
        value_free(old);
        g->nvalues--;
    }
    if (fresh != NULL) {
        SLIST_INSERT_HEAD(&g->values, fresh, link);
        g->nvalues++;
    }
    pthread_mutex_unlock(&g->mutex);
    return err;
}

gpg_error_t gpg_value_get(struct gpg *g, const char *name, char **value)
{
    const struct value *v;
    char *copy = NULL;

    pthread_mutex_lock(&g->mutex);
    v = find_value(g, name);
    if (v != NULL)
        copy = gpgrt_strdup(v->value);
    pthread_mutex_unlock(&g->mutex);
    if (v == NULL)
        return gpg_error(GPG_ERR_NO_DATA);
    if (copy == NULL)
        return gpg_error(GPG_ERR_ENOMEM);
    *value = copy;
    return 0;
}

/* --- where dialogs go that nobody's terminal is known for --------------------------------------------------------------------- */

struct pair {
    char **from, **to;
};

/* Copies what is there; ONLY_MISSING: where nothing is known yet. */
static gpg_error_t copy(const struct pair *p, size_t n, bool only_missing)
{
    for (size_t i = 0; i < n; i++) {
        char *s;

        if (only_missing && (*p[i].to != NULL || *p[i].from == NULL))
            continue;
        s = *p[i].from != NULL ? gpgrt_strdup(*p[i].from) : NULL;
        if (s == NULL && *p[i].from != NULL)
            return gpg_error_from_syserror();
        gpgrt_free(*p[i].to);
        *p[i].to = s;
    }
    return 0;
}

#define PLACES 9

static void pairs(struct gpg *g, struct requester *r, bool to_requester, struct pair p[PLACES])
{
    char **const ours[PLACES] = {
        &g->tty,  &g->term,     &g->display,     &g->wayland_display,   &g->xauthority,
        &g->dbus, &g->lc_ctype, &g->lc_messages, &g->pinentry_user_data};
    char **const theirs[PLACES] = {
        &r->tty,  &r->term,     &r->display,     &r->wayland_display,   &r->xauthority,
        &r->dbus, &r->lc_ctype, &r->lc_messages, &r->pinentry_user_data};

    for (size_t i = 0; i < PLACES; i++)
        p[i] = to_requester ? (struct pair){ours[i], theirs[i]} : (struct pair){theirs[i], ours[i]};
}

gpg_error_t gpg_startup_set(struct gpg *g, const struct requester *who)
{
    struct requester from = *who;
    struct pair p[PLACES];
    gpg_error_t err;

    pairs(g, &from, false, p);
    pthread_mutex_lock(&g->mutex);
    err = copy(p, PLACES, false);
    pthread_mutex_unlock(&g->mutex);
    return err;
}

gpg_error_t gpg_startup_fill(struct gpg *g, struct requester *who)
{
    struct pair p[PLACES];
    gpg_error_t err;

    pairs(g, who, true, p);
    pthread_mutex_lock(&g->mutex);
    err = copy(p, PLACES, true);
    pthread_mutex_unlock(&g->mutex);
    return err;
}
