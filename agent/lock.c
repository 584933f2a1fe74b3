#include "agent/lock.h"

#include "agent/audit.h"
#include "agent/grants.h"
#include "agent/hotplug.h"

#include <gcrypt.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>
#include <sys/queue.h>

/* scrypt's cost: 16 MiB and some 50 ms a guess. */
#define SCRYPT_N       16384u
#define SCRYPT_R       8u
#define SCRYPT_P       1u
#define SCRYPT_MAXMEM  (64u * 1024u * 1024u)
#define HASH_LEN       32u
#define SALT_LEN       16u
#define DELAY_STEP_MS  100
#define DELAY_LIMIT_MS 10000

/* Somebody who brings a passphrase; on the stack of the connection's thread. */
struct attempt {
    TAILQ_ENTRY(attempt) link; /* lock::attempts */
    struct wait w;
};

struct lock {
    pthread_mutex_t mutex;
    pthread_cond_t idle_changed;
    struct lock_state state;
    unsigned count; /* of locks, by either */
    /* ssh-add -x */
    TAILQ_HEAD(attempts, attempt) attempts; /* the first one's turn it is */
    uint8_t salt[SALT_LEN], hash[HASH_LEN]; /* these four are the first one's alone */
    unsigned wrong;
    int64_t next_ms; /* no passphrase is tried before */
    /* LockAfter */
    int64_t last_use_ms;
    unsigned idle_after_s;
    bool idle_runs, idle_stop;
    pthread_t idle_thread;
};

gpg_error_t lock_new(struct lock **out)
{
    struct lock *l = gpgrt_calloc(1, sizeof *l);
    pthread_condattr_t attr;

    if (l == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&l->mutex, NULL);
    TAILQ_INIT(&l->attempts);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->idle_changed, &attr);
    pthread_condattr_destroy(&attr);
    l->last_use_ms = monotonic_ms();
    *out = l;
    return 0;
}

void lock_free(struct lock *l)
{
    if (l == NULL)
        return;
    pthread_mutex_destroy(&l->mutex);
    pthread_cond_destroy(&l->idle_changed);
    gpgrt_free(l->state.what);
    explicit_bzero(l->hash, sizeof l->hash);
    gpgrt_free(l);
}

/* --- asking -------------------------------------------------------------------------------------- */

void lock_get(struct lock *l, struct lock_state *out)
{
    pthread_mutex_lock(&l->mutex);
    *out = l->state;
    out->what = l->state.what != NULL ? gpgrt_strdup(l->state.what) : NULL;
    pthread_mutex_unlock(&l->mutex);
}

bool lock_is_locked(struct lock *l)
{
    bool locked;

    pthread_mutex_lock(&l->mutex);
    locked = l->state.locked;
    pthread_mutex_unlock(&l->mutex);
    return locked;
}

bool lock_is_passphrase_locked(struct lock *l)
{
    bool locked;

    pthread_mutex_lock(&l->mutex);
    locked = l->state.passphrase_locked;
    pthread_mutex_unlock(&l->mutex);
    return locked;
}

/* word: for the audit log; text: for people; next: what to do. */
static const struct reason {
    const char *word, *text, *next;
} reasons[] = {
    [LOCK_NONE] = {"none", "", ""},
    [LOCK_PULLED] = {"pulled", "was pulled out", "Insert it and sign, or run: latchkey unlock"},
    [LOCK_SLEEP] = {"sleep", "the machine slept", "Sign with your token, or run: latchkey unlock"},
    [LOCK_SCREEN] = {"screen", "the screen was locked",
                     "Sign with your token, or run: latchkey unlock"},
    [LOCK_IDLE] = {"idle", "no key was used for a while",
                   "Sign with your token, or run: latchkey unlock"},
    [LOCK_COMMAND] = {"command", "by command", "Sign with your token, or run: latchkey unlock"},
};

char *lock_describe(struct lock *l)
{
    struct lock_state s;
    struct tm tm;
    char when[16] = "?", *text = NULL;

    lock_get(l, &s);
    if (s.locked || s.passphrase_locked) {
        localtime_r(&s.since, &tm);
        strftime(when, sizeof when, "%H:%M", &tm);
    }
    if (s.passphrase_locked)
        text = gpgrt_bsprintf("locked with a passphrase since %s. Unlock with: ssh-add -X", when);
    else if (s.locked && s.reason == LOCK_PULLED)
        text = gpgrt_bsprintf("locked since %s: %s %s. %s", when,
                              s.what != NULL ? s.what : "the token", reasons[s.reason].text,
                              reasons[s.reason].next);
    else if (s.locked)
        text = gpgrt_bsprintf("locked since %s: %s. %s", when, reasons[s.reason].text,
                              reasons[s.reason].next);
    gpgrt_free(s.what);
    return text;
}

/* --- locking ------------------------------------------------------------------------------------- */

static void record(struct agent *a, const char *event, const char *reason, const char *what,
                   const char *how)
{
    json_t *j = json_object();
    gpg_error_t err;

    if (a->audit == NULL) {
        json_decref(j);
        return;
    }
    json_object_set_new(j, "event", json_string(event));
    if (reason != NULL)
        json_object_set_new(j, "reason", json_string(reason));
    if (what != NULL)
        json_object_set_new(j, "what", json_string(what));
    if (how != NULL)
        json_object_set_new(j, "how", json_string(how));
    err = audit_write(a->audit, j);
    if (err != 0)
        gpgrt_log_error("%s: not recorded: %s\n", event, gpg_strerror(err));
}

/* What both locks take away. The state is set before, so that nobody who asks from now on gets
 * anything that is wiped here. */
static void wipe_everything(struct agent *a)
{
    struct hotplug_entry *e;
    size_t n = 0;

    waits_interrupt_locked(a->waits);
    grants_wipe(a->grants);
    if (a->hotplug == NULL)
        return;
    e = hotplug_entries(a->hotplug, &n);
    for (size_t i = 0; i < n; i++)
        if (e[i].token != NULL)
            token_forget(e[i].token);
    hotplug_entries_free(e, n);
}

void lock_now(struct agent *a, enum lock_reason why, const char *what)
{
    struct lock *l = a->lock;
    char *copy = what != NULL ? gpgrt_strdup(what) : NULL;

    pthread_mutex_lock(&l->mutex);
    l->count++;
    /* Locked already: when and why it began stays, what came since is wiped all the same. */
    if (!l->state.locked) {
        l->state.locked = true;
        l->state.reason = why;
        if (!l->state.passphrase_locked)
            l->state.since = time(NULL);
        gpgrt_free(l->state.what);
        l->state.what = copy;
        copy = NULL;
    }
    pthread_mutex_unlock(&l->mutex);
    gpgrt_free(copy);
    wipe_everything(a);
    gpgrt_log_info("locked: %s%s%s\n", what != NULL ? what : "", what != NULL ? " " : "",
                   reasons[why].text);
    record(a, "lock", reasons[why].word, what, NULL);
}

unsigned lock_count(struct lock *l)
{
    unsigned count;

    pthread_mutex_lock(&l->mutex);
    count = l->count;
    pthread_mutex_unlock(&l->mutex);
    return count;
}

bool lock_open(struct agent *a, unsigned count, const char *how)
{
    struct lock *l = a->lock;
    bool was;

    pthread_mutex_lock(&l->mutex);
    if (l->count != count) {
        pthread_mutex_unlock(&l->mutex);
        return false;
    }
    was = l->state.locked;
    l->state.locked = false;
    l->state.reason = LOCK_NONE;
    gpgrt_free(l->state.what);
    l->state.what = NULL;
    l->last_use_ms = monotonic_ms();
    pthread_cond_broadcast(&l->idle_changed);
    pthread_mutex_unlock(&l->mutex);
    if (was) {
        gpgrt_log_info("unlocked: %s\n", how);
        record(a, "unlock", NULL, NULL, how);
    }
    return true;
}

/* --- ssh-add -x and -X --------------------------------------------------------------------------- */

static gpg_error_t derive(struct rd passphrase, const uint8_t salt[SALT_LEN],
                          uint8_t hash[HASH_LEN])
{
    if (EVP_PBE_scrypt((const char *)passphrase.p, passphrase.n, salt, SALT_LEN, SCRYPT_N, SCRYPT_R,
                       SCRYPT_P, SCRYPT_MAXMEM, hash, HASH_LEN) != 1)
        return gpg_error(GPG_ERR_ENOMEM);
    return 0;
}

static void attempt_end(struct lock *l, struct attempt *me)
{
    pthread_mutex_lock(&l->mutex);
    TAILQ_REMOVE(&l->attempts, me, link);
    if (!TAILQ_EMPTY(&l->attempts))
        wait_wake(&TAILQ_FIRST(&l->attempts)->w);
    pthread_mutex_unlock(&l->mutex);
    wait_end(&me->w);
}

/* Until UNTIL_MS; an error if the client hangs up first. */
static gpg_error_t attempt_rest(struct attempt *me, int64_t until_ms)
{
    gpg_error_t err = 0;

    me->w.deadline_ms = until_ms;
    while (err == 0 && monotonic_ms() < until_ms)
        err = wait_for(&me->w, -1, NULL);
    me->w.deadline_ms = INT64_MAX;
    return gpg_err_code(err) == GPG_ERR_TIMEOUT ? 0 : err;
}

/* One at a time, for all clients together, and not before the last wrong one's delay is over: more connections do not try
 * more passphrases. Who hangs up leaves the line. */
static gpg_error_t attempt_begin(struct agent *a, int client_fd, struct attempt *me)
{
    struct lock *l = a->lock;
    gpg_error_t err;

    err = wait_begin(a->waits, &me->w, client_fd, 0);
    if (err != 0)
        return err;
    me->w.ignore_lock = true;
    pthread_mutex_lock(&l->mutex);
    TAILQ_INSERT_TAIL(&l->attempts, me, link);
    while (err == 0 && TAILQ_FIRST(&l->attempts) != me) {
        pthread_mutex_unlock(&l->mutex);
        err = wait_for(&me->w, -1, NULL);
        pthread_mutex_lock(&l->mutex);
    }
    pthread_mutex_unlock(&l->mutex);
    if (err == 0)
        err = attempt_rest(me, l->next_ms);
    if (err != 0)
        attempt_end(l, me);
    return err;
}

gpg_error_t lock_passphrase(struct agent *a, int client_fd, struct rd passphrase)
{
    struct lock *l = a->lock;
    struct attempt me;
    uint8_t salt[SALT_LEN], hash[HASH_LEN];
    gpg_error_t err;

    if (passphrase.n == 0)
        return gpg_error(GPG_ERR_INV_VALUE);
    /* Who is locked out need not wait for those who guess to hear so. */
    if (lock_is_passphrase_locked(l))
        return gpg_error(GPG_ERR_INV_STATE);
    err = attempt_begin(a, client_fd, &me);
    if (err != 0)
        return err;
    if (lock_is_passphrase_locked(l)) {
        err = gpg_error(GPG_ERR_INV_STATE);
        goto out;
    }
    gcry_randomize(salt, sizeof salt, GCRY_STRONG_RANDOM);
    err = derive(passphrase, salt, hash);
    if (err != 0)
        goto out;
    memcpy(l->salt, salt, sizeof salt);
    memcpy(l->hash, hash, sizeof hash);
    pthread_mutex_lock(&l->mutex);
    l->count++;
    l->state.passphrase_locked = true;
    if (!l->state.locked)
        l->state.since = time(NULL);
    pthread_mutex_unlock(&l->mutex);
    wipe_everything(a);
    gpgrt_log_info("locked with a passphrase\n");
    record(a, "lock", "passphrase", NULL, NULL);
out:
    explicit_bzero(hash, sizeof hash);
    attempt_end(l, &me);
    return err;
}

static int64_t delay_ms(unsigned wrong)
{
    int64_t ms = (int64_t)wrong * DELAY_STEP_MS;

    return ms < DELAY_LIMIT_MS ? ms : DELAY_LIMIT_MS;
}

gpg_error_t unlock_passphrase(struct agent *a, int client_fd, struct rd passphrase)
{
    struct lock *l = a->lock;
    struct attempt me;
    uint8_t hash[HASH_LEN];
    gpg_error_t err;

    if (!lock_is_passphrase_locked(l))
        return gpg_error(GPG_ERR_INV_STATE);
    err = attempt_begin(a, client_fd, &me);
    if (err != 0)
        return err;
    if (!lock_is_passphrase_locked(l)) {
        err = gpg_error(GPG_ERR_INV_STATE);
        goto out;
    }
    err = derive(passphrase, l->salt, hash);
    if (err != 0)
        goto out;
    if (CRYPTO_memcmp(hash, l->hash, sizeof hash) != 0) {
        if (l->wrong < DELAY_LIMIT_MS / DELAY_STEP_MS)
            l->wrong++;
        l->next_ms = monotonic_ms() + delay_ms(l->wrong);
        record(a, "unlock", "passphrase", NULL, "wrong passphrase");
        (void)attempt_rest(&me, l->next_ms);
        err = gpg_error(GPG_ERR_BAD_PASSPHRASE);
        goto out;
    }
    l->wrong = 0;
    l->next_ms = 0;
    explicit_bzero(l->hash, sizeof l->hash);
    pthread_mutex_lock(&l->mutex);
    l->state.passphrase_locked = false;
    l->last_use_ms = monotonic_ms();
    pthread_cond_broadcast(&l->idle_changed);
    pthread_mutex_unlock(&l->mutex);
    gpgrt_log_info("unlocked with the passphrase\n");
    record(a, "unlock", NULL, NULL, "passphrase");
out:
    explicit_bzero(hash, sizeof hash);
    attempt_end(l, &me);
    return err;
}

/* --- LockAfter ----------------------------------------------------------------------------------- */

void lock_note_use(struct lock *l)
{
    pthread_mutex_lock(&l->mutex);
    l->last_use_ms = monotonic_ms(); /* the thread finds out when it next wakes */
    pthread_mutex_unlock(&l->mutex);
}

static void *idle_thread(void *arg)
{
    struct agent *a = arg;
    struct lock *l = a->lock;
    struct timespec until;
    int64_t due;

    pthread_mutex_lock(&l->mutex);
    while (!l->idle_stop) {
        due = l->last_use_ms + (int64_t)l->idle_after_s * 1000;
        if (l->state.locked) {
            pthread_cond_wait(&l->idle_changed, &l->mutex);
        } else if (monotonic_ms() >= due) {
            pthread_mutex_unlock(&l->mutex);
            lock_now(a, LOCK_IDLE, NULL);
            pthread_mutex_lock(&l->mutex);
        } else {
            until = (struct timespec){.tv_sec = (time_t)(due / 1000),
                                      .tv_nsec = (long)(due % 1000) * 1000000};
            pthread_cond_timedwait(&l->idle_changed, &l->mutex, &until);
        }
    }
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}

gpg_error_t lock_start_idle(struct agent *a)
{
    struct lock *l = a->lock;
    int rc;

    if (a->settings->lock_after == 0)
        return 0;
    l->idle_after_s = a->settings->lock_after;
    rc = pthread_create(&l->idle_thread, NULL, idle_thread, a);
    l->idle_runs = rc == 0;
    return rc != 0 ? gpg_error_from_errno(rc) : 0;
}

void lock_stop_idle(struct agent *a)
{
    struct lock *l = a->lock;

    if (!l->idle_runs)
        return;
    pthread_mutex_lock(&l->mutex);
    l->idle_stop = true;
    pthread_cond_broadcast(&l->idle_changed);
    pthread_mutex_unlock(&l->mutex);
    pthread_join(l->idle_thread, NULL);
    l->idle_runs = false;
}
