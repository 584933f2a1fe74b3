#include "agent/token_job.h"

#include "agent/child.h"
#include "proto/token_protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CHANNELS  64u
#define LEARN_DEFAULT 30u
#define LOOK_MS       1000 /* how often a worker looks whether its job was left behind too long */
/* A card that waits for a touch keeps pcscd for about 15 s and cannot be called off. What takes
 * much longer after its caller has left does not come back: the process is ended. */
#define ABANDONED_MS 40000

/* --- the token and its end ------------------------------------------------------------------------- */

struct token *token_ref(struct token *t)
{
    pthread_mutex_lock(&t->mutex);
    t->refs++;
    pthread_mutex_unlock(&t->mutex);
    return t;
}

static void token_free(struct token *t)
{
    for (unsigned i = 0; t->channels != NULL && i < t->nchannels; i++) {
        if (t->channels[i].fd >= 0)
            close(t->channels[i].fd);
        if (t->channels[i].own_fd >= 0)
            close(t->channels[i].own_fd);
    }
    if (t->cancel_fd >= 0)
        close(t->cancel_fd);
    token_info_put((const struct token_info *)t->info);
    child_release(t->child);
    pthread_mutex_destroy(&t->mutex);
    pthread_cond_destroy(&t->work);
    gpgrt_free(t->channels);
    gpgrt_free(t->kind);
    gpgrt_free(t);
}

void token_unref(struct token *t)
{
    bool last;

    if (t == NULL)
        return;
    pthread_mutex_lock(&t->mutex);
    last = --t->refs == 0;
    pthread_mutex_unlock(&t->mutex);
    if (last)
        token_free(t);
}

void token_fail(struct token *t)
{
    struct job *j;

    pthread_mutex_lock(&t->mutex);
    if (!t->gone) {
        t->gone = true;
        while ((j = TAILQ_FIRST(&t->queue)) != NULL) {
            TAILQ_REMOVE(&t->queue, j, link);
            t->nqueued--;
            job_finish(j, token_gone_error(t));
        }
        pthread_cond_broadcast(&t->work);
        /* Workers that read see the end of file, those that wait for a PIN the condition. */
        for (unsigned i = 0; i < t->nchannels; i++) {
            (void)shutdown(t->channels[i].own_fd, SHUT_RDWR);
            if (t->channels[i].job != NULL)
                pthread_cond_broadcast(&t->channels[i].job->changed);
        }
        if (t->child != NULL)
            child_end(t->child, SIGTERM);
    }
    pthread_mutex_unlock(&t->mutex);
}

void token_stop(struct token *t)
{
    pthread_mutex_lock(&t->mutex);
    t->stopping = true;
    /* Who stopped it may take away what on_eof needs. */
    while (t->telling)
        pthread_cond_wait(&t->work, &t->mutex);
    pthread_mutex_unlock(&t->mutex);
    token_fail(t);
}

bool token_gone(struct token *t)
{
    bool gone;

    pthread_mutex_lock(&t->mutex);
    gone = t->gone;
    pthread_mutex_unlock(&t->mutex);
    return gone;
}

static void on_exit_of_process(void *arg, int status)
{
    struct token *t = arg;
    bool by_itself;

    (void)status;
    token_fail(t);
    pthread_mutex_lock(&t->mutex);
    by_itself = t->telling = !t->stopping && t->on_eof != NULL;
    pthread_mutex_unlock(&t->mutex);
    if (by_itself) {
        t->on_eof(t, t->arg);
        pthread_mutex_lock(&t->mutex);
        t->telling = false;
        pthread_cond_broadcast(&t->work);
        pthread_mutex_unlock(&t->mutex);
    }
    token_unref(t);
}

/* --- workers ------------------------------------------------------------------------------------- */

static gpg_error_t wait_for_process(void *arg, int fd, int max_ms)
{
    struct channel *ch = arg;
    struct token *t = ch->t;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    bool overdue;
    int n;

    do {
        n = poll(&p, 1, max_ms >= 0 ? max_ms : LOOK_MS);
        if (n < 0 && errno != EINTR)
            return gpg_error_from_syserror();
        if (n > 0 || max_ms >= 0)
            break;
        pthread_mutex_lock(&t->mutex);
        overdue = t->gone || (ch->job != NULL && ch->job->abandoned &&
                              monotonic_ms() - ch->job->abandoned_ms > ABANDONED_MS);
        pthread_mutex_unlock(&t->mutex);
        if (overdue)
            return gpg_error(GPG_ERR_TIMEOUT);
    } while (n <= 0);
    return 0;
}

static struct job *next_job(struct channel *ch)
{
    struct token *t = ch->t;
    struct job *j;

    pthread_mutex_lock(&t->mutex);
    while (!t->gone && TAILQ_EMPTY(&t->queue))
        pthread_cond_wait(&t->work, &t->mutex);
    j = t->gone ? NULL : TAILQ_FIRST(&t->queue);
    if (j != NULL) {
        TAILQ_REMOVE(&t->queue, j, link);
        t->nqueued--;
        j->state = JOB_RUNNING;
        ch->job = j;
        ch->number++;
        if (j->w != NULL && j->told_queue)
            wait_wake(j->w);
    }
    pthread_mutex_unlock(&t->mutex);
    return j;
}

static void *worker(void *arg)
{
    struct channel *ch = arg;
    struct token *t = ch->t;
    struct job *j;
    gpg_error_t err;
    int fd = ch->fd;

    ch->fd = -1;
    err = conversation_open(&ch->conv, fd, wait_for_process, ch);
    while (err == 0 && (j = next_job(ch)) != NULL) {
        err = job_carry_out(ch, j);
        pthread_mutex_lock(&t->mutex);
        ch->job = NULL;
        job_finish(j, err != 0 ? token_gone_error(t) : j->err);
        pthread_mutex_unlock(&t->mutex);
    }
    if (err != 0 && !token_gone(t))
        gpgrt_log_error("token process %s: channel %u: %s\n", t->kind, ch->index,
                        gpg_strerror(err));
    token_fail(t);
    conversation_close(&ch->conv);
    token_unref(t);
    return NULL;
}

static gpg_error_t start_worker(struct channel *ch)
{
    pthread_attr_t detached;
    pthread_t thread;
    int rc;

    token_ref(ch->t);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&thread, &detached, worker, ch);
    pthread_attr_destroy(&detached);
    if (rc != 0)
        token_unref(ch->t);
    return rc != 0 ? gpg_error_from_errno(rc) : 0;
}

/* --- starting ------------------------------------------------------------------------------------ */

static gpg_error_t token_alloc(const struct token_spec *spec, struct token **out)
{
    struct token *t = gpgrt_calloc(1, sizeof *t);

    if (t == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->work, NULL);
    TAILQ_INIT(&t->queue);
    t->refs = 1;
    t->cancel_fd = -1;
    t->learn_timeout_s = spec->learn_timeout_s != 0 ? spec->learn_timeout_s : LEARN_DEFAULT;
    t->kind = gpgrt_strdup(spec->kind);
    t->channels = gpgrt_calloc(spec->nchannels, sizeof *t->channels);
    if (t->kind == NULL || t->channels == NULL) {
        token_free(t);
        return gpg_error(GPG_ERR_ENOMEM);
    }
    t->nchannels = spec->nchannels;
    for (unsigned i = 0; i < t->nchannels; i++)
        t->channels[i] = (struct channel){.t = t, .index = i, .fd = -1, .own_fd = -1};
    *out = t;
    return 0;
}

/* The process' descriptors: nothing for 0 and 1, the log, the channels, the cancel pipe. */
static gpg_error_t open_channels(struct token *t, int *theirs)
{
    int pair[2];

    for (unsigned i = 0; i < t->nchannels; i++) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
            return gpg_error_from_syserror();
        t->channels[i].fd = pair[0];
        theirs[TOKEN_FIRST_FD + i] = pair[1];
        t->channels[i].own_fd = fcntl(pair[0], F_DUPFD_CLOEXEC, 0);
        if (t->channels[i].own_fd < 0)
            return gpg_error_from_syserror();
    }
    if (pipe2(pair, O_CLOEXEC) < 0)
        return gpg_error_from_syserror();
    theirs[TOKEN_FIRST_FD + t->nchannels] = pair[0];
    t->cancel_fd = pair[1];
    if (fcntl(pair[1], F_SETFL, O_NONBLOCK) < 0)
        return gpg_error_from_syserror();
    return 0;
}

static gpg_error_t start_process(struct token *t, const struct token_spec *spec)
{
    size_t nfds = TOKEN_FIRST_FD + t->nchannels + 1;
    int *fds = gpgrt_calloc(nfds, sizeof *fds);
    char channels[32], *argv[5];
    struct child_spec c = {.path = spec->program, .argv = argv, .nfds = nfds, .keep_stderr = true};
    struct child *child;
    size_t n = 0;
    gpg_error_t err;

    if (fds == NULL)
        return gpg_error_from_syserror();
    for (size_t i = 0; i < nfds; i++)
        fds[i] = -1;
    c.fds = fds;
    snprintf(channels, sizeof channels, "--channels=%u", t->nchannels);
    argv[n++] = (char *)(uintptr_t)spec->program;
    argv[n++] = (char *)(uintptr_t)spec->kind;
    if (spec->arg != NULL)
        argv[n++] = (char *)(uintptr_t)spec->arg;
    argv[n++] = channels;
    argv[n] = NULL;
    err = open_channels(t, fds);
    if (err == 0) {
        token_ref(t);
        err = child_start(&c, on_exit_of_process, t, &child);
        if (err != 0)
            token_unref(t);
    }
    if (err == 0) {
        pthread_mutex_lock(&t->mutex);
        t->child = child;
        pthread_mutex_unlock(&t->mutex);
    }
    for (size_t i = TOKEN_FIRST_FD; i < nfds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    gpgrt_free(fds);
    return err;
}

gpg_error_t token_start(const struct token_spec *spec, void (*on_eof)(struct token *t, void *arg),
                        void *arg, struct token **out)
{
    struct token *t = NULL;
    gpg_error_t err;

    if (spec->nchannels == 0 || spec->nchannels > MAX_CHANNELS)
        return gpg_error(GPG_ERR_INV_ARG);
    err = token_alloc(spec, &t);
    if (err != 0)
        return err;
    t->on_eof = on_eof;
    t->arg = arg;
    err = start_process(t, spec);
    for (unsigned i = 0; err == 0 && i < t->nchannels; i++)
        err = start_worker(&t->channels[i]);
    if (err != 0) {
        token_stop(t);
        token_unref(t);
        return err;
    }
    *out = t;
    return 0;
}
