/* What a person's finger ends: an assertion on one or several devices at once, and choosing a device by touching it. */
#ifndef LATCHKEY_DEVICES_FIDO_RACE_H
#define LATCHKEY_DEVICES_FIDO_RACE_H

#include "devices/fido_device.h"

struct fido_result {
    struct fido_place *place; /* who made it; NULL: nobody */
    const struct sk_key *key; /* which of them made it */
    struct sk_assertion says;
    struct buf sig; /* as the device gives it: DER for ECDSA */
};
/* Has one of Q's keys sign DIGEST on all of PLACES (N of them, claimed) at once; the first that succeeds wins, the others are called off.
 * FIDO_ERR_*; when all fail, the error that says most. FIDO_ERR_KEEPALIVE_CANCEL: IO was cancelled. PIN (may be NULL) goes to
 * every device, so only one may be there with it. Tells IO of the touch while one is waited for. */
int fido_race(const struct fido_bus *b, struct fido_place *const *places, size_t n,
              const struct fido_query *q, const uint8_t digest[32], bool presence, bool uv,
              const char *pin, const struct driver_io *io, struct fido_result *out);

/* Runs F on the claimed device at P in a thread of its own, so that it can be called off when IO says so: opens it, and gives
 * what F gives, FIDO_ERR_KEEPALIVE_CANCEL when it was called off. TOUCH: a touch is waited for meanwhile. */
int fido_alone(const struct fido_bus *b, struct fido_place *p, bool touch,
               int (*f)(fido_dev_t *d, void *arg), void *arg, const struct driver_io *io);

/* All of PLACES (claimed) blink until one is touched: *CHOSEN. The same errors. */
int fido_choose(const struct fido_bus *b, struct fido_place *const *places, size_t n,
                const struct driver_io *io, struct fido_place **chosen);

#endif
