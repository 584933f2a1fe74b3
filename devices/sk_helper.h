/* One call of a middleware library in a process of its own, as OpenSSH makes it in ssh-sk-helper: what blocks there can be
 * ended by a signal, and what crashes there takes no key with it. `latchkey-token sk-helper PROVIDER` has one socket, its
 * standard input: a request, end of file, an answer. */
#ifndef LATCHKEY_DEVICES_SK_HELPER_H
#define LATCHKEY_DEVICES_SK_HELPER_H

#include "devices/sk_key.h"

struct sk_request {
    bool check_only; /* loads the library and looks at its version; nothing else is used */
    uint32_t alg;    /* enum sk_api_alg */
    uint8_t flags;
    const char *application;
    struct rd handle, message;
    const char *pin; /* NULL: none; secret */
};
struct sk_answer {
    int code; /* enum sk_api_error */
    struct sk_assertion says;
    struct rd r, s; /* into STORE */
    char *problem;  /* the library cannot be used: why; gpgrt_free */
    struct buf store;
};

/* The request as octets, and back (the strings are new: gpgrt_free, the PIN in secure memory: gcry_free). */
gpg_error_t sk_request_put(const struct sk_request *q, struct buf *b);
gpg_error_t sk_request_parse(struct rd r, struct sk_request *out);
void sk_request_clear(struct sk_request *q);
/* ANSWER's views point into R. */
gpg_error_t sk_answer_parse(struct rd r, struct sk_answer *out);
void sk_answer_clear(struct sk_answer *a);

/* One call. IO may be NULL: it cannot be cancelled then. LATE_MS: when the helper has not answered within that time the
 * device is taken to wait for a touch, and IO is told; -1: never. */
struct sk_call {
    const char *provider;
    struct sk_request request;
    const struct driver_io *io;
    int late_ms;
    bool late_told;
};
/* Runs a helper. GPG_ERR_CANCELED when IO says so: the helper is no more then. GPG_ERR_UNEXPECTED when it died. */
gpg_error_t sk_helper_call(struct sk_call *c, struct sk_answer *out);

/* The helper's own main: exit status. */
int sk_helper_main(const char *provider);

#endif
