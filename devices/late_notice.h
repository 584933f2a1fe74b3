/* Tells of a touch that nobody announced: where a card does not say whether it wants one, and does not answer for a while. */
#ifndef LATCHKEY_DEVICES_LATE_NOTICE_H
#define LATCHKEY_DEVICES_LATE_NOTICE_H

#include "devices/driver.h"

#include <pthread.h>
#include <time.h>

/* Between begin and end the caller's thread is busy with the card and does not touch IO. */
struct late_notice {
    const struct driver_io *io;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t thread;
    struct timespec until;
    bool runs, over, shown;
};

/* IO->touch is called if end does not come within MS. Best effort: without a thread nothing is told. */
void late_notice_begin(struct late_notice *n, const struct driver_io *io, unsigned ms);
/* What was told is taken back. */
void late_notice_end(struct late_notice *n);

#endif
