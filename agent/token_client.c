#include "agent/token_job.h"

#include "agent/token_lines.h"
#include "proto/token_protocol.h"

#include <string.h>

/* A queue that moves faster than this is not worth a word. */
#define QUEUE_TELL_MS 1000
/* Lines are short; what is only shown or logged is cut. */
#define MAX_USE     64u
#define MAX_COMMENT 200u

struct info_box {
    struct token_info info; /* first: callers see only this */
    unsigned refs;
};

/* --- information --------------------------------------------------------------------------------- */

const struct token_info *token_info_get(struct token *t)
{
    struct info_box *b;

    pthread_mutex_lock(&t->mutex);
    b = t->info;
    if (b != NULL)
        __atomic_fetch_add(&b->refs, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&t->mutex);
    return b != NULL ? &b->info : NULL;
}

void token_info_put(const struct token_info *i)
{
    struct info_box *b = (struct info_box *)(uintptr_t)i;

    if (b == NULL || __atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    token_info_clear(&b->info);
    gpgrt_free(b);
}

void token_adopt_info(struct token *t, struct token *from)
{
    const struct token_info *theirs = token_info_get(from), *old;

    pthread_mutex_lock(&t->mutex);
    old = (const struct token_info *)t->info;
    t->info = (struct info_box *)(uintptr_t)theirs;
    pthread_mutex_unlock(&t->mutex);
    token_info_put(old);
}

/* --- jobs ---------------------------------------------------------------------------------------- */

static struct job *job_new(const char *verb)
{
    struct job *j = gpgrt_calloc(1, sizeof *j);
    pthread_condattr_t attr;

    if (j == NULL)
        return NULL;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&j->changed, &attr);
    pthread_condattr_destroy(&attr);
    j->refs = 1;
    j->pin_answer = BUF_INIT_SECURE;
    buf_put(&j->line, verb, strlen(verb));
    return j;
}

void job_unref(struct job *j)
{
    if (--j->refs > 0)
        return;
    pthread_cond_destroy(&j->changed);
    buf_free(&j->line);
    buf_free(&j->data);
    buf_free(&j->result);
    buf_free(&j->lines);
    buf_free(&j->long_line);
    buf_free(&j->progress);
    buf_free(&j->pin_answer);
    gpgrt_free(j->ask_line);
    gpgrt_free(j->token_line);
    gpgrt_free(j->words);
    for (size_t i = 0; i < j->nkeys; i++)
        gpgrt_free(j->key_lines[i]);
    gpgrt_free(j->key_lines);
    gpgrt_free(j);
}

gpg_error_t token_gone_error(const struct token *t)
{
    return gpg_error(strcmp(t->kind, "pcsc") == 0 ? GPG_ERR_CARD_REMOVED : GPG_ERR_ENODEV);
}

void job_finish(struct job *j, gpg_error_t err)
{
    j->err = err;
    j->state = JOB_DONE;
    j->touch = false;
    pthread_cond_broadcast(&j->changed);
    if (j->w != NULL)
        wait_wake(j->w);
    job_unref(j);
}

/* --- building commands --------------------------------------------------------------------------- */

static void put_cut(struct buf *line, const char *name, const char *text, size_t max)
{
    char *cut = text != NULL ? gpgrt_strdup(text) : NULL;

    if (cut == NULL)
        return;
    if (strlen(cut) > max)
        cut[max] = '\0';
    field_put(line, name, cut);
    gpgrt_free(cut);
}

static void put_operation(struct buf *line, const struct token_job *j)
{
    put_cut(line, "use", j->use, MAX_USE);
    if (j->verb == TOKEN_SIGN)
        field_put_int(line, "hash", j->hash);
    field_put_int(line, "pin-age", j->pin_age);
    if (j->drop)
        field_put_int(line, "drop", 1);
    if (j->want_touch)
        field_put_int(line, "touch", 1);
}

/* What a verb's line carries and which inquiry its data answers. */
static const struct verb {
    const char *word;
    const char *inquiry;
    bool key, operation, comment, secret_in, secret_out;
} verbs[] = {
    [TOKEN_SIGN] = {.word = TOKEN_VERB_SIGN, .inquiry = "DATA", .key = true, .operation = true},
    [TOKEN_DECRYPT] = {.word = TOKEN_VERB_DECRYPT,
                       .inquiry = "DATA",
                       .key = true,
                       .operation = true,
                       .secret_out = true},
    [TOKEN_VERIFY] = {.word = TOKEN_VERB_VERIFY, .operation = true},
    [TOKEN_FORGET] = {.word = TOKEN_VERB_FORGET},
    [TOKEN_ADDKEY] = {.word = TOKEN_VERB_ADDKEY,
                      .inquiry = "KEY",
                      .comment = true,
                      .secret_in = true},
    [TOKEN_DELKEY] = {.word = TOKEN_VERB_DELKEY, .key = true},
    [TOKEN_DELALL] = {.word = TOKEN_VERB_DELALL},
    [TOKEN_LOAD] = {.word = TOKEN_VERB_LOAD,
                    .inquiry = "GIVENPIN",
                    .operation = true,
                    .secret_in = true},
    [TOKEN_OTHER] = {.key = true, .operation = true, .secret_out = true},
};

/* A message that fits goes with the command and saves a round trip; a longer one is asked for. */
static void put_data(struct job *j, struct rd data)
{
    static const size_t room = ASSUAN_LINELENGTH - 2 - sizeof " data= job=4294967295";
    char *text = data.n < room / 2 ? b64_encode(data.p, data.n) : NULL;

    if (text != NULL && j->line.len + strlen(text) <= room)
        field_put(&j->line, "data", text);
    else
        buf_put_rd(&j->data, data);
    gpgrt_free(text);
}

static gpg_error_t make_job(const struct token_job *in, struct job **out)
{
    const struct verb *v = &verbs[in->verb];
    struct job *j = job_new(in->verb == TOKEN_OTHER ? in->word : v->word);
    gpg_error_t err;

    if (j == NULL)
        return gpg_error_from_syserror();
    j->other = in->verb == TOKEN_OTHER;
    if (v->key && (in->key_id != NULL || !j->other))
        field_put(&j->line, "key", in->key_id != NULL ? in->key_id : "");
    if (v->operation)
        put_operation(&j->line, in);
    if (v->comment)
        put_cut(&j->line, "comment", in->comment != NULL ? in->comment : "", MAX_COMMENT);
    if (in->args != NULL)
        buf_printf(&j->line, " %s", in->args);
    j->inquiry = v->inquiry;
    j->data.secure = v->secret_in;
    j->result.secure = v->secret_out;
    j->own_proof = v->operation && in->pin_age == 0;
    if (in->verb == TOKEN_SIGN)
        put_data(j, in->data);
    else
        buf_put_rd(&j->data, in->data);
    err = buf_err(&j->line) != 0 ? buf_err(&j->line) : buf_err(&j->data);
    if (err != 0)
        job_unref(j);
    else
        *out = j;
    return err;
}

/* --- a caller and its job -------------------------------------------------------------------------- */

/* The token's mutex is held. */
static gpg_error_t enqueue(struct token *t, struct job *j, bool first)
{
    if (t->gone)
        return token_gone_error(t);
    j->refs++;
    if (first)
        TAILQ_INSERT_HEAD(&t->queue, j, link);
    else
        TAILQ_INSERT_TAIL(&t->queue, j, link);
    t->nqueued++;
    return 0;
}

/* The mutex is not held: who is woken wants it. */
static void call_worker(struct token *t)
{
    pthread_cond_signal(&t->work);
}

static struct channel *channel_of(struct token *t, const struct job *j)
{
    for (unsigned i = 0; i < t->nchannels; i++)
        if (t->channels[i].job == j)
            return &t->channels[i];
    return NULL;
}

/* The caller leaves: nothing of its own may be touched any more. The token's mutex is held. */
static void abandon(struct token *t, struct job *j)
{
    struct channel *ch;

    j->w = NULL;
    switch (j->state) {
    case JOB_QUEUED:
        TAILQ_REMOVE(&t->queue, j, link);
        t->nqueued--;
        job_unref(j);
        break;
    case JOB_RUNNING:
        j->abandoned = true;
        j->abandoned_ms = monotonic_ms();
        pthread_cond_broadcast(&j->changed);
        ch = channel_of(t, j);
        if (ch != NULL)
            channel_cancel(ch);
        break;
    case JOB_DONE:
        break;
    }
}

/* What the caller has been told so far, and what is to be told now. */
struct news {
    bool touch;
    unsigned ahead;
    bool draining;
    bool queue_told;
};

static void queue_position(struct token *t, const struct job *j, unsigned *ahead, bool *draining)
{
    const struct job *o;

    *ahead = 0;
    *draining = false;
    TAILQ_FOREACH(o, &t->queue, link)
    {
        if (o == j)
            break;
        ++*ahead;
    }
    for (unsigned i = 0; i < t->nchannels; i++) {
        if (t->channels[i].job == NULL)
            continue;
        ++*ahead;
        if (t->channels[i].job->abandoned)
            *draining = true;
    }
}

/* Tells of touch and queue outside the lock, by comparing what is with what was told. */
static void tell(struct token *t, struct job *j, const struct token_job *in, struct news *told,
                 bool queue_is_slow)
{
    struct news now = *told;

    pthread_mutex_lock(&t->mutex);
    now.touch = j->touch;
    if (j->state == JOB_QUEUED && queue_is_slow) {
        queue_position(t, j, &now.ahead, &now.draining);
        now.queue_told = j->told_queue = true;
    } else if (j->state != JOB_QUEUED) {
        now.ahead = 0;
        now.draining = false;
    }
    pthread_mutex_unlock(&t->mutex);
    if (in->queued != NULL && now.queue_told &&
        (!told->queue_told || now.ahead != told->ahead || now.draining != told->draining))
        in->queued(in->arg, now.ahead, now.draining);
    if (in->touch != NULL && now.touch != told->touch)
        in->touch(in->arg, now.touch);
    *told = now;
}

static void tell_progress(struct token *t, struct job *j, const struct token_job *in)
{
    char *lines, *save = NULL;

    pthread_mutex_lock(&t->mutex);
    lines = j->progress.len > 0 ? buf_steal_cstr(&j->progress) : NULL;
    pthread_mutex_unlock(&t->mutex);
    for (char *l = lines != NULL ? strtok_r(lines, "\n", &save) : NULL; l != NULL;
         l = strtok_r(NULL, "\n", &save))
        if (in->progress != NULL)
            in->progress(in->arg, l);
    gpgrt_free(lines);
}

/* Answers a PIN request in the caller's thread. */
static gpg_error_t serve_pin(struct token *t, struct job *j, const struct token_job *in)
{
    struct token_pin_request ask;
    struct buf pin = BUF_INIT_SECURE;
    char *line = NULL;
    gpg_error_t err;
    bool asked;

    pthread_mutex_lock(&t->mutex);
    asked = j->pin == PIN_ASKED;
    ask = j->ask;
    if (asked) {
        line = j->ask_line;
        j->ask_line = NULL;
    }
    pthread_mutex_unlock(&t->mutex);
    if (!asked)
        return 0;
    if (line != NULL)
        err = in->inquire != NULL ? in->inquire(in->arg, line, &pin)
                                  : gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
    else
        err = in->pin != NULL ? in->pin(in->arg, &ask, &pin) : gpg_error(GPG_ERR_NO_PIN_ENTRY);
    gpgrt_free(line);
    if (err == 0)
        err = buf_err(&pin);
    pthread_mutex_lock(&t->mutex);
    /* The token may have gone meanwhile, and with it the question. */
    if (j->pin == PIN_ASKED) {
        buf_free(&j->pin_answer);
        j->pin_answer = BUF_INIT_SECURE;
        if (err == 0) {
            j->pin_answer = pin;
            pin = BUF_INIT_SECURE;
        }
        j->pin = err == 0 ? PIN_GIVEN : PIN_REFUSED;
        pthread_cond_broadcast(&j->changed);
    }
    pthread_mutex_unlock(&t->mutex);
    buf_free(&pin);
    return err;
}

/* Like wait_for, but comes back after MS at the latest. */
static gpg_error_t wait_briefly(struct wait *w, int ms)
{
    int64_t deadline = w->deadline_ms, soon = monotonic_ms() + ms;
    gpg_error_t err;

    if (soon >= deadline)
        return wait_for(w, -1, NULL);
    w->deadline_ms = soon;
    err = wait_for(w, -1, NULL);
    w->deadline_ms = deadline;
    return gpg_err_code(err) == GPG_ERR_TIMEOUT ? 0 : err;
}

/* Until J is done or its caller must leave. */
static gpg_error_t attend(struct token *t, struct wait *w, struct job *j,
                          const struct token_job *in, gpg_error_t *pin_err)
{
    int64_t slow_at = monotonic_ms() + QUEUE_TELL_MS, now;
    struct news told = {0};
    gpg_error_t err = 0, refused;
    bool queued;

    while (err == 0) {
        now = monotonic_ms();
        tell(t, j, in, &told, now >= slow_at);
        tell_progress(t, j, in);
        refused = serve_pin(t, j, in);
        if (refused != 0)
            *pin_err = refused;
        pthread_mutex_lock(&t->mutex);
        if (j->state == JOB_DONE) {
            pthread_mutex_unlock(&t->mutex);
            break;
        }
        queued = j->state == JOB_QUEUED;
        pthread_mutex_unlock(&t->mutex);
        err = queued ? wait_briefly(w, now < slow_at ? (int)(slow_at - now) : QUEUE_TELL_MS)
                     : wait_for(w, -1, NULL);
    }
    if (told.touch && in->touch != NULL)
        in->touch(in->arg, false);
    return err;
}

static gpg_error_t take_results(struct job *j, struct token_job *out)
{
    out->words = j->words;
    j->words = NULL;
    if (j->err != 0)
        return j->err;
    if (out->verb == TOKEN_ADDKEY) {
        buf_reset(&j->result);
        if (j->nkeys == 0)
            return gpg_error(GPG_ERR_BAD_DATA);
        buf_put(&j->result, j->key_lines[0], strlen(j->key_lines[0]));
        if (buf_err(&j->result) != 0)
            return buf_err(&j->result);
    }
    buf_free(&out->result);
    out->result = j->result;
    j->result = BUF_INIT;
    buf_free(&out->lines);
    out->lines = j->lines;
    j->lines = BUF_INIT;
    out->pin_typed = j->pin_typed;
    out->pin_cached = j->pin_cached;
    out->pin_device = j->pin_device;
    out->touched = j->touched;
    out->asserted = j->asserted;
    out->says = j->says;
    memcpy(out->device, j->device, sizeof out->device);
    return 0;
}

gpg_error_t token_run(struct token *t, struct wait *w, struct token_job *in)
{
    struct job *j = NULL;
    gpg_error_t err, pin_err = 0;

    err = wait_check(w);
    if (err == 0)
        err = make_job(in, &j);
    if (err != 0)
        return err;
    j->w = w;
    pthread_mutex_lock(&t->mutex);
    err = enqueue(t, j, in->verb == TOKEN_DELKEY || in->verb == TOKEN_DELALL);
    pthread_mutex_unlock(&t->mutex);
    if (err == 0) {
        call_worker(t);
        err = attend(t, w, j, in, &pin_err);
        pthread_mutex_lock(&t->mutex);
        if (err != 0)
            abandon(t, j);
        j->w = NULL;
        pthread_mutex_unlock(&t->mutex);
        if (err == 0)
            err = take_results(j, in);
        /* That the token was told to stop is the consequence; why is what the caller wants. */
        if (err != 0 && pin_err != 0)
            err = pin_err;
    }
    pthread_mutex_lock(&t->mutex);
    job_unref(j);
    pthread_mutex_unlock(&t->mutex);
    return err;
}

/* --- the rest -------------------------------------------------------------------------------------- */

unsigned token_load(struct token *t, bool *draining, bool *touch_wait)
{
    bool drains = false, touch = false;
    unsigned n;

    pthread_mutex_lock(&t->mutex);
    n = t->nqueued;
    for (unsigned i = 0; i < t->nchannels; i++) {
        const struct job *j = t->channels[i].job;

        if (j == NULL)
            continue;
        n++;
        drains |= j->abandoned;
        touch |= j->touch && !j->abandoned;
    }
    pthread_mutex_unlock(&t->mutex);
    if (draining != NULL)
        *draining = drains;
    if (touch_wait != NULL)
        *touch_wait = touch;
    return n;
}

void token_forget(struct token *t)
{
    struct job *j = job_new(TOKEN_VERB_FORGET);

    pthread_mutex_lock(&t->mutex);
    for (unsigned i = 0; i < t->nchannels; i++)
        if (t->channels[i].job != NULL && !t->channels[i].job->own_proof)
            channel_cancel(&t->channels[i]);
    if (j != NULL) {
        (void)enqueue(t, j, true);
        job_unref(j);
    }
    pthread_mutex_unlock(&t->mutex);
    call_worker(t);
    if (j == NULL)
        token_stop(t); /* better no token than one that remembers */
}

static gpg_error_t swap_info(struct token *t, struct job *j)
{
    struct info_box *b, *old;
    gpg_error_t err;

    if (j->err != 0)
        return j->err;
    if (j->token_line == NULL)
        return gpg_error(GPG_ERR_BAD_DATA);
    b = gpgrt_calloc(1, sizeof *b);
    if (b == NULL)
        return gpg_error_from_syserror();
    err = token_line_parse(j->token_line, &b->info);
    if (err != 0) {
        gpgrt_free(b);
        return err;
    }
    b->refs = 1;
    b->info.key_lines = j->key_lines != NULL ? j->key_lines : gpgrt_calloc(1, sizeof(char *));
    if (b->info.key_lines == NULL) {
        token_info_put(&b->info);
        return gpg_error(GPG_ERR_ENOMEM);
    }
    j->key_lines = NULL;
    j->nkeys = 0;
    pthread_mutex_lock(&t->mutex);
    old = t->info;
    t->info = b;
    pthread_mutex_unlock(&t->mutex);
    token_info_put((const struct token_info *)old);
    return 0;
}

gpg_error_t token_learn(struct token *t, enum token_learn how)
{
    struct job *j = job_new(TOKEN_VERB_LEARN);
    struct timespec until;
    gpg_error_t err;

    if (j == NULL)
        return gpg_error_from_syserror();
    if (how != LEARN_ALL)
        field_put_int(&j->line, how == LEARN_SSH ? "ssh" : "refresh", 1);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)t->learn_timeout_s;
    pthread_mutex_lock(&t->mutex);
    err = enqueue(t, j, false);
    call_worker(t);
    while (err == 0 && j->state != JOB_DONE)
        if (pthread_cond_timedwait(&j->changed, &t->mutex, &until) != 0 && j->state != JOB_DONE)
            err = gpg_error(GPG_ERR_TIMEOUT);
    if (gpg_err_code(err) == GPG_ERR_TIMEOUT)
        abandon(t, j);
    pthread_mutex_unlock(&t->mutex);
    if (err == 0)
        err = swap_info(t, j);
    pthread_mutex_lock(&t->mutex);
    job_unref(j);
    pthread_mutex_unlock(&t->mutex);
    return err;
}
