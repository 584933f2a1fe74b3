#include "agent/grants.h"

#include "agent/wait.h"

#include <pthread.h>
#include <string.h>
#include <sys/queue.h>

/* Bounds: what a busy person never reaches, and what a program that asks for everything can fill
 * without hurting anybody. The oldest go first. */
#define MAX_PRESENCES 1024u
#define MAX_APPROVALS 1024u
#define MAX_KEYS      1024u
#define MAX_CELLS     256u /* per key */

struct presence {
    TAILQ_ENTRY(presence) link; /* grants::presences, newest first */
    char *scope, *token;
    int64_t shown_ms;
    unsigned uses;
};

struct approval {
    TAILQ_ENTRY(approval) link; /* grants::approvals, newest first */
    uint64_t origin;
    char *scope;
};

/* Uses of one key. A cell stands for N uses, the last of them at MS: counting a whole cell for as
 * long as its last use counts errs on the strict side. */
struct uses {
    TAILQ_ENTRY(uses) link; /* grants::uses, used last first */
    char *key;
    struct cell {
        int64_t ms;
        unsigned n;
    } cells[MAX_CELLS];
    size_t ncells;
    unsigned pending; /* begun, not ended */
};

struct grants {
    pthread_mutex_t mutex;
    TAILQ_HEAD(presences, presence) presences;
    TAILQ_HEAD(approvals, approval) approvals;
    TAILQ_HEAD(uses_list, uses) uses;
    struct uses
        forgotten; /* of all keys that there was no room for: what any new key may have had */
    unsigned npresences, napprovals, nuses;
};

gpg_error_t grants_new(struct grants **out)
{
    struct grants *g = gpgrt_calloc(1, sizeof *g);

    if (g == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&g->mutex, NULL);
    TAILQ_INIT(&g->presences);
    TAILQ_INIT(&g->approvals);
    TAILQ_INIT(&g->uses);
    *out = g;
    return 0;
}

/* --- presence ----------------------------------------------------------------------------------
 */

static void presence_drop(struct grants *g, struct presence *p)
{
    TAILQ_REMOVE(&g->presences, p, link);
    g->npresences--;
    gpgrt_free(p->scope);
    gpgrt_free(p->token);
    gpgrt_free(p);
}

static struct presence *presence_find(struct grants *g, const char *scope)
{
    struct presence *p;

    TAILQ_FOREACH(p, &g->presences, link)
    if (strcmp(p->scope, scope) == 0)
        return p;
    return NULL;
}

bool grants_use_presence(struct grants *g, const char *scope, unsigned max_age_s, unsigned max_uses,
                         unsigned *age_s)
{
    struct presence *p;
    int64_t age;
    bool good = false;

    pthread_mutex_lock(&g->mutex);
    p = presence_find(g, scope);
    if (p != NULL) {
        age = monotonic_ms() - p->shown_ms;
        good =
            age >= 0 && age <= (int64_t)max_age_s * 1000 && (max_uses == 0 || p->uses < max_uses);
        if (good) {
            if (p->uses < UINT32_MAX)
                p->uses++;
            if (age_s != NULL)
                *age_s = (unsigned)(age / 1000);
        }
    }
    pthread_mutex_unlock(&g->mutex);
    return good;
}

void grants_add_presence(struct grants *g, const char *scope, const char *token)
{
    struct presence *p = gpgrt_calloc(1, sizeof *p), *old;

    if (p == NULL)
        return; /* not remembered: asked again next time */
    p->scope = gpgrt_strdup(scope);
    p->token = gpgrt_strdup(token);
    p->shown_ms = monotonic_ms();
    p->uses = 1;
    if (p->scope == NULL || p->token == NULL) {
        gpgrt_free(p->scope);
        gpgrt_free(p->token);
        gpgrt_free(p);
        return;
    }
    pthread_mutex_lock(&g->mutex);
    old = presence_find(g, scope);
    if (old != NULL)
        presence_drop(g, old);
    TAILQ_INSERT_HEAD(&g->presences, p, link);
    if (++g->npresences > MAX_PRESENCES)
        presence_drop(g, TAILQ_LAST(&g->presences, presences));
    pthread_mutex_unlock(&g->mutex);
}

/* --- approvals ---------------------------------------------------------------------------------
 */

static void approval_drop(struct grants *g, struct approval *a)
{
    TAILQ_REMOVE(&g->approvals, a, link);
    g->napprovals--;
    gpgrt_free(a->scope);
    gpgrt_free(a);
}

static struct approval *approval_find(struct grants *g, uint64_t origin, const char *scope)
{
    struct approval *a;

    TAILQ_FOREACH(a, &g->approvals, link)
    if (a->origin == origin && strcmp(a->scope, scope) == 0)
        return a;
    return NULL;
}

bool grants_approved(struct grants *g, uint64_t origin, const char *scope)
{
    bool found;

    pthread_mutex_lock(&g->mutex);
    found = approval_find(g, origin, scope) != NULL;
    pthread_mutex_unlock(&g->mutex);
    return found;
}

void grants_approve(struct grants *g, uint64_t origin, const char *scope)
{
    struct approval *a = gpgrt_calloc(1, sizeof *a), *old;

    if (a == NULL)
        return;
    a->origin = origin;
    a->scope = gpgrt_strdup(scope);
    if (a->scope == NULL) {
        gpgrt_free(a);
        return;
    }
    pthread_mutex_lock(&g->mutex);
    old = approval_find(g, origin, scope);
    if (old != NULL)
        approval_drop(g, old);
    TAILQ_INSERT_HEAD(&g->approvals, a, link);
    if (++g->napprovals > MAX_APPROVALS)
        approval_drop(g, TAILQ_LAST(&g->approvals, approvals));
    pthread_mutex_unlock(&g->mutex);
}

void grants_drop_origin(struct grants *g, uint64_t origin)
{
    struct approval *a, *next;

    pthread_mutex_lock(&g->mutex);
    for (a = TAILQ_FIRST(&g->approvals); a != NULL; a = next) {
        next = TAILQ_NEXT(a, link);
        if (a->origin == origin)
            approval_drop(g, a);
    }
    pthread_mutex_unlock(&g->mutex);
}

/* --- rate --------------------------------------------------------------------------------------
 */

static void uses_drop(struct grants *g, struct uses *u)
{
    TAILQ_REMOVE(&g->uses, u, link);
    g->nuses--;
    gpgrt_free(u->key);
    gpgrt_free(u);
}

static struct uses *uses_find(struct grants *g, const char *key)
{
    struct uses *u;

    TAILQ_FOREACH(u, &g->uses, link)
    if (strcmp(u->key, key) == 0)
        return u;
    return NULL;
}

/* Makes room by joining neighbours: nothing is forgotten, only remembered less sharply. */
static void join_cells(struct uses *u)
{
    size_t n = 0;

    for (size_t i = 0; i + 1 < u->ncells; i += 2)
        u->cells[n++] =
            (struct cell){.ms = u->cells[i + 1].ms, .n = u->cells[i].n + u->cells[i + 1].n};
    if (u->ncells % 2 != 0)
        u->cells[n++] = u->cells[u->ncells - 1];
    u->ncells = n;
}

static void add_cell(struct uses *u, struct cell c)
{
    if (u->ncells == MAX_CELLS)
        join_cells(u);
    u->cells[u->ncells++] = c;
}

/* The key that was used longest ago makes room. What is forgotten of it is held against all keys that
 * come (back): asking for many keys must not wash a count away. */
static void make_room(struct grants *g)
{
    struct uses *u = TAILQ_LAST(&g->uses, uses_list);
    struct cell all = {0};

    while (u != NULL && u->pending > 0)
        u = TAILQ_PREV(u, uses_list, link);
    if (u == NULL)
        return;
    for (size_t i = 0; i < u->ncells; i++)
        all = (struct cell){.ms = u->cells[i].ms, .n = all.n + u->cells[i].n};
    if (all.n > 0)
        add_cell(&g->forgotten, all);
    uses_drop(g, u);
}

static struct uses *uses_new(struct grants *g, const char *key)
{
    struct uses *u = gpgrt_calloc(1, sizeof *u);

    if (u == NULL)
        return NULL;
    if (g->nuses >= MAX_KEYS)
        make_room(g);
    *u = g->forgotten;
    u->key = gpgrt_strdup(key);
    if (u->key == NULL) {
        gpgrt_free(u);
        return NULL;
    }
    TAILQ_INSERT_HEAD(&g->uses, u, link);
    g->nuses++;
    return u;
}

static unsigned count(const struct uses *u, unsigned secs)
{
    int64_t since = monotonic_ms() - (int64_t)secs * 1000;
    unsigned n = u->pending;

    for (size_t i = u->ncells; i > 0 && u->cells[i - 1].ms > since; i--)
        n += u->cells[i - 1].n;
    return n;
}

unsigned grants_count_uses(struct grants *g, const char *key, unsigned secs)
{
    struct uses *u;
    unsigned n;

    pthread_mutex_lock(&g->mutex);
    u = uses_find(g, key);
    n = count(u != NULL ? u : &g->forgotten, secs);
    pthread_mutex_unlock(&g->mutex);
    return n;
}

bool grants_begin_use(struct grants *g, const char *key, const struct policy_rate *rates, size_t n)
{
    struct uses *u;
    bool within = true;

    pthread_mutex_lock(&g->mutex);
    u = uses_find(g, key);
    if (u == NULL)
        u = uses_new(g, key);
    for (size_t i = 0; i < n && within; i++)
        within = u != NULL && count(u, rates[i].secs) < rates[i].n;
    if (u != NULL)
        u->pending++;
    pthread_mutex_unlock(&g->mutex);
    return within;
}

void grants_end_use(struct grants *g, const char *key, bool used)
{
    struct uses *u;

    pthread_mutex_lock(&g->mutex);
    u = uses_find(g, key);
    if (u != NULL) {
        if (u->pending > 0)
            u->pending--;
        if (used) {
            TAILQ_REMOVE(&g->uses, u, link);
            TAILQ_INSERT_HEAD(&g->uses, u, link);
            add_cell(u, (struct cell){.ms = monotonic_ms(), .n = 1});
        }
    }
    pthread_mutex_unlock(&g->mutex);
}

void grants_reset_rate(struct grants *g, const char *key)
{
    struct uses *u;

    pthread_mutex_lock(&g->mutex);
    u = uses_find(g, key);
    if (u != NULL)
        u->ncells = 0;
    pthread_mutex_unlock(&g->mutex);
}

/* --- wiping ------------------------------------------------------------------------------------
 */

void grants_wipe_token(struct grants *g, const char *token)
{
    struct presence *p, *next;

    pthread_mutex_lock(&g->mutex);
    for (p = TAILQ_FIRST(&g->presences); p != NULL; p = next) {
        next = TAILQ_NEXT(p, link);
        if (strcmp(p->token, token) == 0)
            presence_drop(g, p);
    }
    pthread_mutex_unlock(&g->mutex);
}

/* The counts for Rate stay: a lock is nobody's word that going on is fine, and any program may ask
 * for one. */
void grants_wipe(struct grants *g)
{
    pthread_mutex_lock(&g->mutex);
    while (!TAILQ_EMPTY(&g->presences))
        presence_drop(g, TAILQ_FIRST(&g->presences));
    while (!TAILQ_EMPTY(&g->approvals))
        approval_drop(g, TAILQ_FIRST(&g->approvals));
    pthread_mutex_unlock(&g->mutex);
}

void grants_free(struct grants *g)
{
    if (g == NULL)
        return;
    grants_wipe(g);
    while (!TAILQ_EMPTY(&g->uses))
        uses_drop(g, TAILQ_FIRST(&g->uses));
    pthread_mutex_destroy(&g->mutex);
    gpgrt_free(g);
}
