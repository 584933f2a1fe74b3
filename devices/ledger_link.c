#include "devices/ledger_link_internal.h"

#include <poll.h>
#include <string.h>
#include <time.h>

#define LOOK_MS 50 /* how soon a cancelled operation is noticed */

static const struct ledger_transport *const transports[] = {&ledger_over_hid, &ledger_over_tcp,
                                                            &ledger_over_frames, NULL};

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool canceled(const struct driver_io *io)
{
    return io != NULL && io->canceled(io->arg);
}

bool ledger_pause(const struct driver_io *io, int ms)
{
    for (int left = ms; left > 0 && !canceled(io); left -= LOOK_MS)
        (void)poll(NULL, 0, left < LOOK_MS ? left : LOOK_MS);
    return !canceled(io);
}

static void shut(struct ledger_link *l)
{
    if (l->open)
        l->transport->close(l);
    l->open = false;
    /* Whoever opens it anew gets no answer to what was asked before: hidraw and sockets keep what comes by the opener. */
    l->owed = false;
    l->frames.begun = false;
    buf_reset(&l->in);
}

gpg_error_t ledger_link_reopen(struct ledger_link *l)
{
    gpg_error_t err;

    shut(l);
    err = l->transport->open(l, l->where);
    l->open = err == 0;
    return err;
}

gpg_error_t ledger_link_open(const char *address, struct ledger_link **out)
{
    struct ledger_link *l;
    gpg_error_t err;
    size_t i = 0;

    while (transports[i] != NULL &&
           strncmp(address, transports[i]->prefix, strlen(transports[i]->prefix)) != 0)
        i++;
    if (transports[i] == NULL)
        return gpg_error(GPG_ERR_INV_ARG);
    l = gpgrt_calloc(1, sizeof *l);
    if (l == NULL)
        return gpg_error_from_syserror();
    l->transport = transports[i];
    l->fd = -1;
    l->in = l->frames.message = BUF_INIT_SECURE; /* a shared point may come */
    l->where = gpgrt_strdup(address + strlen(transports[i]->prefix));
    err = l->where != NULL ? ledger_link_reopen(l) : gpg_error_from_syserror();
    if (err != 0)
        ledger_link_close(l);
    else
        *out = l;
    return err;
}

void ledger_link_close(struct ledger_link *l)
{
    if (l == NULL)
        return;
    shut(l);
    buf_free(&l->in);
    buf_free(&l->frames.message);
    gpgrt_free(l->where);
    gpgrt_free(l->model);
    gpgrt_free(l->port);
    gpgrt_free(l);
}

const char *ledger_link_model(const struct ledger_link *l)
{
    return l->model;
}

bool ledger_link_owed(const struct ledger_link *l)
{
    return l->owed;
}

/* For the answer that is owed. */
static gpg_error_t wait_answer(struct ledger_link *l, const struct driver_io *io, int ms,
                               struct buf *answer)
{
    int64_t until = now_ms() + ms;
    size_t before = answer->len;
    bool done = false;
    gpg_error_t err = 0;

    while (!done && err == 0) {
        int64_t left = ms < 0 ? LOOK_MS : until - now_ms();

        if (canceled(io))
            return gpg_error(GPG_ERR_CANCELED);
        if (left <= 0)
            return gpg_error(GPG_ERR_TIMEOUT);
        err = l->transport->receive(l, left < LOOK_MS ? (int)left : LOOK_MS, answer, &done);
    }
    if (err == 0 && answer->len - before < 2)
        err = gpg_error(GPG_ERR_INV_RESPONSE);
    if (err != 0)
        shut(l);
    l->owed = false;
    return err;
}

gpg_error_t ledger_link_settle(struct ledger_link *l, const struct driver_io *io, int ms)
{
    struct buf gone = BUF_INIT;
    gpg_error_t err = l->owed ? wait_answer(l, io, ms, &gone) : 0;

    buf_free(&gone);
    return err;
}

gpg_error_t ledger_link_exchange(struct ledger_link *l, struct rd apdu, const struct driver_io *io,
                                 int ms, struct buf *answer)
{
    gpg_error_t err = 0;

    if (l->owed)
        return gpg_error(GPG_ERR_INV_STATE);
    if (canceled(io))
        return gpg_error(GPG_ERR_CANCELED);
    if (!l->open)
        err = ledger_link_reopen(l);
    if (err == 0)
        err = l->transport->send(l, apdu);
    if (err != 0) {
        shut(l);
        return err;
    }
    l->owed = true;
    return wait_answer(l, io, ms, answer);
}
