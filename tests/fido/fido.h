/* A FIDO authenticator in software: CTAPHID reports on a stream socket (64 octets each), CTAP2 and U2F behind them; what a
 * person does, and what goes wrong, comes over a control socket. */
#ifndef LATCHKEY_TESTS_FIDO_H
#define LATCHKEY_TESTS_FIDO_H

#include "proto/buf.h"

#include <openssl/evp.h>

#define FRAME       64u
#define MAX_CLIENTS 16
#define MAX_CREDS   32

/* CTAP 2.1, 8.2: what this one can answer. */
enum status {
    ST_OK = 0x00,
    ST_INVALID_COMMAND = 0x01,
    ST_UNSUPPORTED_ALGORITHM = 0x26,
    ST_KEY_STORE_FULL = 0x28,
    ST_NOT_ALLOWED = 0x30,
    ST_PIN_POLICY_VIOLATION = 0x37,
    ST_INVALID_CBOR = 0x12,
    ST_MISSING_PARAMETER = 0x14,
    ST_OPERATION_DENIED = 0x27,
    ST_UNSUPPORTED_OPTION = 0x2b,
    ST_KEEPALIVE_CANCEL = 0x2d,
    ST_NO_CREDENTIALS = 0x2e,
    ST_USER_ACTION_TIMEOUT = 0x2f,
    ST_PIN_INVALID = 0x31,
    ST_PIN_BLOCKED = 0x32,
    ST_PIN_AUTH_INVALID = 0x33,
    ST_PIN_AUTH_BLOCKED = 0x34,
    ST_PIN_NOT_SET = 0x35,
    ST_PIN_REQUIRED = 0x36,
    ST_UV_INVALID = 0x3f,
    ST_WAIT = 0x100, /* not yet: a touch is wanted */
};

struct cred {
    bool ed25519;
    EVP_PKEY *key;
    uint8_t id[64];
    char *rp;
    uint8_t rp_hash[32]; /* of one that U2F made: its name is not known */
    int protect;         /* credProtect level */
    uint32_t counter;
    bool resident;
    struct buf user; /* its id */
};

struct client {
    int fd; /* -1: free */
    uint32_t cid;
    uint8_t frame[FRAME];
    size_t have;
    /* the message that is being put together */
    uint8_t cmd;
    size_t want;
    uint8_t seq;
    struct buf msg;
};

struct device {
    /* what it is */
    bool u2f_only, has_uv;
    char *pin; /* NULL: none set; owned */
    /* how it behaves */
    bool touched;    /* the next request for a touch has it */
    bool touch_self; /* .. and all others */
    bool lies;       /* signs without the flags */
    bool replays;    /* gives the last assertion again */
    bool confuses;   /* signs with another of its keys */
    struct buf last; /* assertion */
    bool bad_finger;
    int touch_ms; /* how long a touch is waited for */
    /* keys */
    struct cred creds[MAX_CREDS];
    size_t ncreds;
    size_t listed; /* where a list goes on */
    uint8_t listed_hash[32];
    struct buf listing; /* the request that getNextAssertion goes on with */
    size_t next;
    /* the PIN */
    int tries, in_a_row;
    EVP_PKEY *agreement;
    uint8_t token[32];
    /* who waits for a touch */
    struct client *waiting;
    uint8_t waiting_cmd;
    int64_t waiting_since, keepalive_at;
    /* for tests to read */
    unsigned made, silent, asserted, cancelled, gave_up, pins, chosen, busy;
};

int64_t now_ms(void);

/* --- keys.c: *OUT is the device's own */
bool cred_make(struct device *d, bool ed25519, const char *rp, int protect, struct cred **out);
struct cred *cred_find(struct device *d, const uint8_t *id, size_t n);
void cred_public(const struct cred *c, struct buf *out);
void cred_delete(struct device *d, struct cred *c);
/* DER for ECDSA. */
bool cred_sign(const struct cred *c, struct rd data, struct buf *sig);

/* --- pin.c */
void pin_init(struct device *d);
/* clientPIN: MAP as libcbor gives it. */
int pin_command(struct device *d, const void *map, struct buf *reply);
bool pin_auth_holds(const struct device *d, struct rd param, struct rd digest);

/* --- make.c */
extern const uint8_t device_aaguid[16];
/* makeCredential: MAP as libcbor gives it. */
int make_credential(struct device *d, const void *map, bool touched, struct buf *reply);
/* REGISTER: false when there is no room. */
bool u2f_register(struct device *d, struct rd challenge, struct rd application, struct buf *reply);
/* Its public key in COSE's form (cbor_item_t). */
struct cbor_item_t *cred_cose(const struct cred *c);

/* --- manage.c */
int manage_command(struct device *d, const void *map, struct buf *reply);

/* --- ctap.c */
/* One CBOR message: a status, and the reply behind it. ST_WAIT: comes again once touched. */
int ctap_command(struct device *d, struct rd msg, bool touched, struct buf *reply);
/* One U2F APDU: reply with status word. */
void u2f_command(struct device *d, struct rd apdu, struct buf *reply);

/* --- hid.c */
/* FRAME octets have come from C. False: hang up. */
bool hid_frame(struct device *d, struct client *c);
/* Whoever waits: touched, timed out, to be kept alive. Gives ms until it has to be called again, -1: no need. */
int hid_tick(struct device *d);
void hid_gone(struct device *d, struct client *c);

#endif
