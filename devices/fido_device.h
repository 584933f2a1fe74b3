/* FIDO devices: which there are, whose turn it is on each, what each says of a key without a touch. */
#ifndef LATCHKEY_DEVICES_FIDO_DEVICE_H
#define LATCHKEY_DEVICES_FIDO_DEVICE_H

#include "devices/fido_pcsc.h"
#include "devices/sk_key.h"

#include <fido.h>
#include <pthread.h>

#define FIDO_ASK_MS 5000 /* for what needs no person */

/* All devices of a process. */
struct fido_bus {
    char **emulators;       /* sockets, NULL-ended; NULL: the hidraw nodes, and: */
    struct fido_pcsc *pcsc; /* what is behind card readers */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    char **busy; /* paths; NULL-ended */
};
/* ARG as the token protocol names devices: "hid" or "emulator=SOCKET[,SOCKET..]". */
gpg_error_t fido_bus_new(const char *arg, struct fido_bus **out);
void fido_bus_free(struct fido_bus *b);

enum fido_holds {
    FIDO_HOLDS_NOT,
    FIDO_HOLDS_MAYBE, /* it would only say with a PIN, a finger or a touch */
    FIDO_HOLDS
};
struct fido_place {
    char *path;
    enum fido_holds holds;
    bool fido2, has_pin, has_uv; /* uv: verifies the person by itself (a fingerprint) */
    bool manages;                /* tells which keys it keeps, and deletes them */
    bool asked;                  /* the above are known */
};
/* A new list of what is plugged in now. */
gpg_error_t fido_places(const struct fido_bus *b, struct fido_place **out, size_t *n);
void fido_places_free(struct fido_place *p, size_t n);

/* The process' own turn on all of PLACES (pointers, N): a device that waits for a touch answers nobody else. Without WAIT
 * GPG_ERR_EBUSY; with it GPG_ERR_CANCELED when IO says so. */
gpg_error_t fido_claim(struct fido_bus *b, struct fido_place *const *places, size_t n, bool wait,
                       const struct driver_io *io);
void fido_release(struct fido_bus *b, struct fido_place *const *places, size_t n);

/* Opens a claimed device; FIDO_ERR_*. TIMEOUT_MS holds for each later call as well. */
int fido_open(const struct fido_bus *b, const struct fido_place *p, int timeout_ms,
              fido_dev_t **out);
void fido_close(fido_dev_t **d);
/* Any of KEYS (N, at least one), which are for the same application. */
struct fido_query {
    struct sk_key *const *keys;
    size_t n;
};
/* A new assertion request for one of Q's keys over DIGEST (32 octets). */
int fido_assertion(const struct fido_query *q, const uint8_t digest[32], bool presence, bool uv,
                   fido_assert_t **out);
/* Asks a claimed device without a touch whether it holds one of Q's keys, and fills P; without Q, which may be NULL, it
 * may hold anything. */
void fido_ask(const struct fido_bus *b, struct fido_place *p, const struct fido_query *q);
/* Tries left for the PIN of a claimed device; -1 unknown. */
int fido_tries(const struct fido_bus *b, const struct fido_place *p);
/* Waits MS or until IO is cancelled. */
void fido_pause(const struct driver_io *io, int ms);
int64_t fido_now_ms(void);

#endif
