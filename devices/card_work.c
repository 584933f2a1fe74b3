#include "devices/card_work.h"

#include <time.h>

#define MAX_ROUNDS 8 /* resets by others, wrong PINs: an end to everything */
#define AGAIN_MS   50

/* The operation met a reset, or the card was on its way into or out of the field. */
static bool is_lost(gpg_error_t err)
{
    return gpg_err_code(err) == GPG_ERR_CARD_RESET || gpg_err_code(err) == GPG_ERR_EAGAIN;
}

/* The operation is over. */
static void leave(void *work, const struct driver_op *op, const struct work_steps *s,
                  gpg_error_t err)
{
    bool reset = false;

    if (op->drop && gpg_err_code(err) != GPG_ERR_CARD_REMOVED &&
        gpg_err_code(err) != GPG_ERR_ENODEV)
        s->unverify(work, &reset);
    s->end(work, reset);
}

gpg_error_t card_work(void *work, struct driver_op *op, const struct work_steps *s)
{
    const struct timespec moment = {.tv_nsec = AGAIN_MS * 1000000L};
    bool fresh_select = false, wrong = false;
    gpg_error_t err = 0;

    for (int round = 0; round < MAX_ROUNDS; round++) {
        if (op->io->canceled(op->io->arg))
            return gpg_error(GPG_ERR_CANCELED);
        err = s->begin(work);
        if (err != 0)
            return err;
        switch (s->attempt(work, fresh_select, &err)) {
        case WORK_DONE:
            leave(work, op, s, 0);
            return 0;
        case WORK_AGAIN_WITH_SELECT:
            fresh_select = true;
            /* fall through */
        case WORK_AGAIN:
            s->end(work, false);
            break;
        case WORK_WANTS_PIN:
            s->end(work, false);
            err = s->ask_pin(work, wrong);
            if (err != 0)
                return err;
            break;
        case WORK_FAILED:
            if (is_lost(err)) {
                s->end(work, false);
                s->lost(work);
                if (gpg_err_code(err) == GPG_ERR_EAGAIN)
                    nanosleep(&moment, NULL);
                break;
            }
            leave(work, op, s, err);
            if (!s->pin_refused(work, err))
                return err;
            wrong = true;
            op->pin_typed = op->pin_cached = false;
            break;
        }
    }
    return err != 0 ? err : gpg_error(GPG_ERR_CARD);
}
