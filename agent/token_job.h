/* The inside of the token client, shared by token_client.c (callers and their queue),
 * token_process.c (the process and its workers) and token_job.c (what a worker says to it). */
#ifndef LATCHKEY_AGENT_TOKEN_JOB_H
#define LATCHKEY_AGENT_TOKEN_JOB_H

#include "agent/assuan_client.h"
#include "agent/token_client.h"

#include <pthread.h>
#include <sys/queue.h>

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_DONE };
enum job_pin { PIN_NOT_ASKED, PIN_ASKED, PIN_GIVEN, PIN_REFUSED };

/* Owned by its caller and by the queue or the worker together. All but the constant part is guarded
 * by the token's mutex. */
struct job {
    TAILQ_ENTRY(job) link; /* token::queue */
    unsigned refs;
    /* constant once queued */
    struct buf line;     /* the command */
    struct buf data;     /* answers INQUIRE DATA or KEY; secure where it is a secret */
    const char *inquiry; /* the keyword that DATA answers, NULL: none */
    bool other;          /* TOKEN_OTHER: status lines are collected */
    bool own_proof;      /* brings a PIN typed for it: a lock does not end it */
    bool forget;
    /* while it runs */
    enum job_state state;
    struct wait *w;  /* whom to wake; NULL: nobody waits (abandoned, FORGET, LEARN) */
    bool told_queue; /* its caller was told of a queue, and wants to know of its end */
    bool abandoned;  /* its caller left: the result is thrown away */
    int64_t abandoned_ms;
    bool touch;          /* a touch is being waited for */
    struct buf progress; /* PROGRESS lines that the caller has not been told of, LF-ended */
    enum job_pin pin;
    struct token_pin_request ask;
    char *ask_line;         /* it is not a PIN that is asked for, but this; NULL: a PIN */
    struct buf pin_answer;  /* secure */
    pthread_cond_t changed; /* PIN answered, done */
    /* results; the worker's alone until JOB_DONE */
    gpg_error_t err;
    struct buf result;
    struct buf lines;
    struct buf long_line; /* the parts so far of one */
    char *token_line;     /* LEARN */
    char **key_lines;     /* LEARN, ADDKEY; NULL-ended */
    size_t nkeys;
    bool pin_typed, pin_cached, pin_device, touched, asserted;
    struct sk_assertion says;
    char *words; /* WALLET say= */
    char device[64];
};

struct channel {
    struct token *t;
    unsigned index;
    int fd;     /* handed over to CONV by the worker */
    int own_fd; /* a copy that stays: to hang up while the worker reads */
    struct conversation conv;
    struct job *job; /* running now */
    uint32_t number; /* the last job's: names it when it is cancelled */
};

struct token {
    pthread_mutex_t mutex;
    pthread_cond_t work; /* the queue has got something, or gone */
    unsigned refs;
    char *kind;
    unsigned learn_timeout_s;
    struct child *child;
    int cancel_fd;
    struct channel *channels;
    unsigned nchannels;
    TAILQ_HEAD(job_queue, job) queue;
    unsigned nqueued;
    bool gone;     /* no more jobs */
    bool stopping; /* we ended it ourselves */
    bool telling;  /* on_eof is running */
    struct info_box *info;
    void (*on_eof)(struct token *t, void *arg);
    void *arg;
};

/* The following need the token's mutex, or a job that nobody else knows yet. */
void job_unref(struct job *j);
/* Ends J with ERR, wakes who waits for it, gives the queue's or worker's reference back. */
void job_finish(struct job *j, gpg_error_t err);
/* What a job gets when its token is gone. */
gpg_error_t token_gone_error(const struct token *t);

/* Carries out CH->job on an open conversation and fills its results. Nonzero: the conversation is
 * broken. */
gpg_error_t job_carry_out(struct channel *ch, struct job *j);
/* Tells the process to give up what CH is doing. The token's mutex is held. */
void channel_cancel(struct channel *ch);
/* The end of a token process: nothing more is accepted, everything fails. Any thread, no lock held. */
void token_fail(struct token *t);

#endif
