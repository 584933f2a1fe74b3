#include "agent/hotplug_slots.h"

#include "agent/grants.h"
#include "agent/keyring.h"
#include "agent/token_memory.h"
#include "agent/wallets.h"

#include <string.h>

#define LEARN_TIMEOUT_S 30u
#define RESTART_MS      250
#define RESTART_MAX_MS  30000
#define STEADY_MS       10000 /* ready that long: what comes next is a new trouble */
#define HINT_MS         5000  /* how often a token that waits for its person is looked at */
#define AWAY_MS         2000  /* for a Ledger to come back with another application */
#define REST_MS         2000  /* idle that long: the keys that ssh does not need are read */

static struct slot *find_reader(struct hotplug *h, const char *reader)
{
    struct slot *s;

    TAILQ_FOREACH(s, &h->slots, link)
    if (strcmp(s->reader, reader) == 0)
        return s;
    return NULL;
}

static struct slot *find_port(struct hotplug *h, const char *port)
{
    struct slot *s;

    TAILQ_FOREACH(s, &h->slots, link)
    if (port != NULL && s->port != NULL && strcmp(s->port, port) == 0)
        return s;
    return NULL;
}

static struct slot *find_token(struct hotplug *h, const struct token *t)
{
    struct slot *s;

    TAILQ_FOREACH(s, &h->slots, link)
    if (s->token == t)
        return s;
    return NULL;
}

/* --- starting ------------------------------------------------------------------------------------ */

static void on_eof(struct token *t, void *arg)
{
    hotplug_post(arg, EVENT_EOF, t, 0);
}

static void retry_later(struct slot *s)
{
    int64_t ms = RESTART_MS;

    for (unsigned i = 0; i < s->failures && ms < RESTART_MAX_MS; i++)
        ms *= 2;
    s->failures++;
    s->restart_at_ms = monotonic_ms() + (ms < RESTART_MAX_MS ? ms : RESTART_MAX_MS);
}

static void set_problem(struct hotplug *h, struct slot *s, const char *text)
{
    char *copy = gpgrt_strdup(text);

    pthread_mutex_lock(&h->mutex);
    gpgrt_free(s->problem);
    s->problem = copy;
    s->state = SLOT_UNREADABLE;
    hotplug_changed(h);
    pthread_mutex_unlock(&h->mutex);
}

static void slot_start(struct hotplug *h, struct slot *s)
{
    const struct token_spec spec = {.program = h->a->token_program,
                                    .kind = s->kind,
                                    .arg = s->reader,
                                    .nchannels = 1,
                                    .learn_timeout_s = LEARN_TIMEOUT_S};
    struct token *t = NULL;
    gpg_error_t err;

    s->restart_at_ms = s->rest_at_ms = s->hint_at_ms = INT64_MAX;
    s->reading_rest = s->proved = false;
    err = token_start(&spec, on_eof, h, &t);
    if (err == 0) {
        pthread_mutex_lock(&h->mutex);
        s->token = t;
        s->state = SLOT_STARTING;
        pthread_mutex_unlock(&h->mutex);
        err = start_learning(h, s, LEARN_SSH);
    }
    if (err != 0) {
        gpgrt_log_error("%s: no process for it: %s\n", s->reader, gpg_strerror(err));
        set_problem(h, s, gpg_strerror(err));
        retry_later(s);
    }
}

/* --- ending -------------------------------------------------------------------------------------- */

/* Ends the process and takes away everything that rests on it. */
static void slot_drop_token(struct hotplug *h, struct slot *s)
{
    struct token *t = s->token;

    if (t == NULL)
        return;
    token_stop(t);
    keyring_remove_token(h->a->keyring, t);
    if (s->name != NULL)
        grants_wipe_token(h->a->grants, s->name);
    pthread_mutex_lock(&h->mutex);
    s->token = NULL;
    pthread_mutex_unlock(&h->mutex);
    token_unref(t);
}

static void slot_free(struct slot *s)
{
    gpgrt_free(s->reader);
    gpgrt_free(s->problem);
    gpgrt_free(s->port);
    gpgrt_free(s->name);
    gpgrt_free(s);
}

/* The name reaches the command as a variable, never as a part of its text. */
/* Ends the slot. PULLED locks, if the token had been of use; a blank card in a reader is nobody's
 * reason to lock. */
static void slot_end(struct hotplug *h, struct slot *s, bool pulled)
{
    if (s->usable && pulled)
        pull_locks(h, s->name);
    else if (s->usable)
        gpgrt_log_info("%s: lost\n", s->name);
    slot_drop_token(h, s);
    pthread_mutex_lock(&h->mutex);
    TAILQ_REMOVE(&h->slots, s, link);
    if (s->usable)
        past_remember(h, s->name, pulled, s->bus, s->dev);
    hotplug_changed(h);
    pthread_mutex_unlock(&h->mutex);
    slots_count(h);
    if (pulled && s->usable)
        pull_command(h, s->name);
    slot_free(s);
}

/* The process is no more, the card may still be there: start anew. */
static void slot_lost(struct hotplug *h, struct slot *s)
{
    gpgrt_log_info("%s: lost, started anew\n", s->name != NULL ? s->name : s->reader);
    slot_drop_token(h, s);
    if (s->state == SLOT_READY && monotonic_ms() - s->ready_since_ms > STEADY_MS)
        s->failures = 0;
    pthread_mutex_lock(&h->mutex);
    s->state = SLOT_LOST;
    s->rest_at_ms = s->hint_at_ms = INT64_MAX;
    s->reading_rest = false;
    hotplug_changed(h);
    pthread_mutex_unlock(&h->mutex);
    retry_later(s);
}

/* --- what happens to readers ------------------------------------------------------------------------ */

void slots_card_in(struct hotplug *h, const struct watch_line *w)
{
    struct slot *s = find_reader(h, w->reader);

    /* The same stay of the same card, told again. */
    if (s != NULL && s->events == w->events)
        return;
    if (s != NULL)
        slot_end(h, s, !s->contactless);
    s = gpgrt_calloc(1, sizeof *s);
    if (s == NULL)
        return;
    s->reader = gpgrt_strdup(w->reader);
    if (s->reader == NULL) {
        gpgrt_free(s);
        return;
    }
    s->kind = "pcsc";
    s->away_until_ms = INT64_MAX;
    s->contactless = w->contactless;
    s->bus = w->bus;
    s->dev = w->dev;
    s->events = w->events;
    pthread_mutex_lock(&h->mutex);
    TAILQ_INSERT_TAIL(&h->slots, s, link);
    hotplug_changed(h);
    pthread_mutex_unlock(&h->mutex);
    slot_start(h, s);
}

/* It is back. A process that has nothing to do starts anew on it; one that is at work looks for it itself. */
static void come_back(struct hotplug *h, struct slot *s, const char *address, int bus, int dev)
{
    bool same = s->away_until_ms == INT64_MAX && strcmp(s->reader, address) == 0;
    char *copy = same ? NULL : gpgrt_strdup(address);

    if (copy == NULL)
        return;
    pthread_mutex_lock(&h->mutex);
    gpgrt_free(s->reader);
    s->reader = copy;
    s->bus = bus;
    s->dev = dev;
    s->away_until_ms = INT64_MAX;
    pthread_mutex_unlock(&h->mutex);
    if (s->token != NULL && token_load(s->token, NULL, NULL) > 0)
        return;
    slot_drop_token(h, s);
    slot_start(h, s);
}

void slots_wallet_in(struct hotplug *h, const char *kind, const char *address, int bus, int dev,
                     const char *port)
{
    struct slot *s = find_port(h, port);

    if (s != NULL) {
        come_back(h, s, address, bus, dev);
        return;
    }
    if (find_reader(h, address) != NULL)
        return;
    s = gpgrt_calloc(1, sizeof *s);
    if (s == NULL)
        return;
    s->reader = gpgrt_strdup(address);
    s->port = port != NULL ? gpgrt_strdup(port) : NULL;
    if (s->reader == NULL || (s->port == NULL) != (port == NULL)) {
        slot_free(s);
        return;
    }
    s->kind = kind;
    s->away_until_ms = INT64_MAX;
    s->bus = bus;
    s->dev = dev;
    s->events = -1;
    pthread_mutex_lock(&h->mutex);
    TAILQ_INSERT_TAIL(&h->slots, s, link);
    hotplug_changed(h);
    pthread_mutex_unlock(&h->mutex);
    slot_start(h, s);
}

void slots_card_out(struct hotplug *h, const char *reader)
{
    struct slot *s = find_reader(h, reader);

    /* A reader that is taken away seems empty before it goes. */
    if (s != NULL)
        slot_end(h, s, !s->contactless && !usb_taken(h, s->bus, s->dev));
}

/* A reader that goes with its card in it was unplugged, unless the kernel still has the device: then
 * a driver or another program took it. Where the kernel cannot be asked, the careful answer. */
void slots_reader_gone(struct hotplug *h, const char *reader)
{
    struct slot *s = find_reader(h, reader);
    bool still_there = false;

    if (s == NULL)
        return;
    if (s->bus >= 0 && s->dev >= 0)
        still_there = usb_has(s->bus, s->dev);
    slot_end(h, s, !s->contactless && !still_there);
}

void slots_service_gone(struct hotplug *h)
{
    struct slot *s, *next;

    for (s = TAILQ_FIRST(&h->slots); s != NULL; s = next) {
        next = TAILQ_NEXT(s, link);
        if (strcmp(s->kind, "pcsc") == 0)
            slot_end(h, s, false);
    }
}

void slots_usb_removed(struct hotplug *h, int bus, int dev)
{
    struct slot *s, *next;

    for (s = TAILQ_FIRST(&h->slots); s != NULL; s = next) {
        next = TAILQ_NEXT(s, link);
        if (s->bus != bus || s->dev != dev)
            continue;
        if (s->port != NULL)
            s->away_until_ms = monotonic_ms() + AWAY_MS;
        else
            slot_end(h, s, true);
    }
    past_removed(h, bus, dev);
}

/* --- what happens to processes ---------------------------------------------------------------------- */

static bool hopeless(gpg_error_t err)
{
    switch (gpg_err_code(err)) {
    case GPG_ERR_NOT_SUPPORTED:
    case GPG_ERR_UNSUPPORTED_OPERATION:
    case GPG_ERR_CARD_NOT_INITIALIZED:
    case GPG_ERR_NOT_FOUND:
    case GPG_ERR_NOT_IMPLEMENTED:
        return true;
    default:
        return false;
    }
}

static void slot_ready(struct hotplug *h, struct slot *s, const struct token_info *info)
{
    bool was_ready = s->state == SLOT_READY;
    char *name = gpgrt_strdup(info->name), *old;
    gpg_error_t err =
        name != NULL ? keyring_set_token(h->a->keyring, s->token) : gpg_error_from_syserror();

    if (err != 0) {
        gpgrt_free(name);
        set_problem(h, s, gpg_strerror(err));
        slot_drop_token(h, s);
        retry_later(s);
        return;
    }
    pthread_mutex_lock(&h->mutex);
    old = s->name;
    s->name = name;
    s->state = SLOT_READY;
    s->usable |= info->key_lines[0] != NULL;
    if (!was_ready)
        s->ready_since_ms = monotonic_ms();
    s->rest_at_ms = info->more ? monotonic_ms() + REST_MS : INT64_MAX;
    s->hint_at_ms = info->hint != NULL ? monotonic_ms() + HINT_MS : INT64_MAX;
    s->reading_rest = false;
    s->contactless |= info->contactless;
    if (info->bus >= 0 && info->dev >= 0) {
        s->bus = info->bus;
        s->dev = info->dev;
    }
    past_forget(h, name);
    hotplug_changed(h);
    pthread_mutex_unlock(&h->mutex);
    gpgrt_free(old);
    slots_count(h);
    if (!was_ready)
        gpgrt_log_info("%s: ready in %s\n", name, s->reader);
    else if (s->proved)
        hotplug_note_verified(h, s->token); /* the same card, with more of its keys */
}

/* --- keys that ssh does not need ---------------------------------------------------------------------- */

/* The rest could not be read; what was read before serves on. */
static void rest_failed(struct hotplug *h, struct slot *s, gpg_error_t err)
{
    gpgrt_log_info("%s: not all keys can be read: %s\n", s->name, gpg_strerror(err));
    pthread_mutex_lock(&h->mutex);
    s->reading_rest = false;
    s->rest_at_ms = monotonic_ms() + RESTART_MAX_MS;
    hotplug_changed(h);
    pthread_mutex_unlock(&h->mutex);
}

/* Reading a public key takes a card up to half a second, and a login waits for one of three: the
 * others come when the card has nothing to do, or when somebody wants to see all. */
static void read_rest(struct hotplug *h, struct slot *s)
{
    bool idle = token_load(s->token, NULL, NULL) == 0;

    pthread_mutex_lock(&h->mutex);
    s->reading_rest = idle;
    s->rest_at_ms = idle ? INT64_MAX : monotonic_ms() + REST_MS;
    s->hint_at_ms = INT64_MAX;
    pthread_mutex_unlock(&h->mutex);
    if (idle && start_learning(h, s, LEARN_ALL) != 0)
        rest_failed(h, s, gpg_error(GPG_ERR_ENOMEM));
}

bool slots_rest_open(struct hotplug *h)
{
    struct slot *s;

    TAILQ_FOREACH(s, &h->slots, link)
    if (s->reading_rest || (s->state == SLOT_READY && s->token != NULL &&
                            s->rest_at_ms != INT64_MAX && token_load(s->token, NULL, NULL) == 0))
        return true;
    return false;
}

/* A card that was here before has to be the same one: before anybody types a PIN for it. */
static bool is_wrong_card(struct hotplug *h, struct slot *s, const struct token_info *info)
{
    char *why;

    if (info->more || token_memory_check(info) == 0)
        return false;
    why = gpgrt_bsprintf(
        "it calls itself %s, and is not the card that did so before: it does not prove "
        "the same card authentication key (PIV slot 9E). Nothing was entrusted to it. If "
        "you changed that key: latchkey token forget %s",
        info->name, info->name);
    gpgrt_log_error("%s: %s\n", s->reader, why != NULL ? why : "wrong card");
    set_problem(h, s, why != NULL ? why : "wrong card");
    slot_drop_token(h, s);
    gpgrt_free(why);
    return true;
}

void slots_learnt(struct hotplug *h, struct token *t, gpg_error_t err)
{
    struct slot *s = find_token(h, t);
    const struct token_info *info;

    if (s == NULL)
        return; /* the card went meanwhile */
    if (err != 0 && s->reading_rest) {
        rest_failed(h, s, err);
        return;
    }
    info = err == 0 ? token_info_get(t) : NULL;
    if (info != NULL && info->problem != NULL) {
        gpgrt_log_info("%s: %s\n", info->name, info->problem);
        set_problem(h, s, info->problem);
        slot_drop_token(h, s);
        retry_later(s);
        token_info_put(info);
        return;
    }
    if (info != NULL && wallets_are_of(s->kind)) {
        slot_ready(h, s, info);
        token_info_put(info);
        return;
    }
    if (info != NULL && info->more && s->state == SLOT_STARTING &&
        token_memory_wants_all(info->name) && start_learning(h, s, LEARN_ALL) == 0) {
        token_info_put(info);
        return;
    }
    if (info != NULL && is_wrong_card(h, s, info)) {
        token_info_put(info);
        return;
    }
    if (info != NULL && !info->more)
        token_memory_note(info);
    /* keys can be made on a card that has none yet */
    if (info != NULL && (info->key_lines[0] != NULL || info->apps != NULL)) {
        slot_ready(h, s, info);
    } else if (info != NULL || hopeless(err)) {
        set_problem(h, s, info != NULL ? "no keys on it" : "no application that latchkey knows");
        slot_drop_token(h, s);
    } else {
        gpgrt_log_error("%s: cannot be read: %s\n", s->reader, gpg_strerror(err));
        set_problem(h, s, gpg_strerror(err));
        slot_drop_token(h, s);
        retry_later(s);
    }
    token_info_put(info);
}

void slots_eof(struct hotplug *h, struct token *t)
{
    struct slot *s = find_token(h, t);

    if (s == NULL)
        return;
    slot_lost(h, s);
    if (s->away_until_ms != INT64_MAX)
        s->restart_at_ms = INT64_MAX; /* once it is back */
}

int64_t slots_restart_due(struct hotplug *h)
{
    int64_t now = monotonic_ms(), next = INT64_MAX;
    struct slot *s, *after;
    bool all;

    pthread_mutex_lock(&h->mutex);
    all = h->want_rest;
    h->want_rest = false;
    pthread_mutex_unlock(&h->mutex);
    for (s = TAILQ_FIRST(&h->slots); s != NULL; s = after) {
        after = TAILQ_NEXT(s, link);
        if (s->away_until_ms <= now)
            slot_end(h, s, true);
        else if (s->restart_at_ms <= now)
            slot_start(h, s);
        else if (s->rest_at_ms <= now || s->hint_at_ms <= now ||
                 (all && s->rest_at_ms != INT64_MAX))
            read_rest(h, s);
    }
    TAILQ_FOREACH(s, &h->slots, link)
    {
        next = s->restart_at_ms < next ? s->restart_at_ms : next;
        next = s->rest_at_ms < next ? s->rest_at_ms : next;
        next = s->hint_at_ms < next ? s->hint_at_ms : next;
        next = s->away_until_ms < next ? s->away_until_ms : next;
    }
    return next == INT64_MAX ? -1 : next > now ? next - now : 0;
}

void slots_free(struct hotplug *h)
{
    struct slot *s;

    while ((s = TAILQ_FIRST(&h->slots)) != NULL) {
        slot_drop_token(h, s);
        pthread_mutex_lock(&h->mutex);
        TAILQ_REMOVE(&h->slots, s, link);
        pthread_mutex_unlock(&h->mutex);
        slot_free(s);
    }
    pthread_mutex_lock(&h->mutex);
    past_forget(h, NULL);
    pthread_mutex_unlock(&h->mutex);
}
