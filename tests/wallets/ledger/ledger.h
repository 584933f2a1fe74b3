/* A Ledger in software: its dashboard, its SSH/PGP Agent on the byte level, and a person's buttons over a control socket.
 * ref: trezor-ledger 8 to 10, 13. */
#ifndef LATCHKEY_TESTS_LEDGER_H
#define LATCHKEY_TESTS_LEDGER_H

#include "proto/buf.h"

#define REPORT    64u
#define MAX_PATH  10u
#define MAX_APDU  260u
#define APP_NAME  "SSH/PGP Agent"
#define DASHBOARD "BOLOS"
#define NO_ANSWER 0u /* yet, or at all */

enum curve { CURVE_NONE, CURVE_P256 = 1, CURVE_ED25519 = 2 };

struct path {
    uint32_t at[MAX_PATH];
    size_t n;
};

/* A signature whose data comes in several commands. */
struct gathering {
    uint8_t ins; /* 0: none */
    enum curve curve;
    bool with_key;
    struct path path;
    struct buf data;
};

/* What the person is asked. */
enum question { ASK_NOTHING, ASK_PUBLIC_KEY, ASK_SIGN, ASK_ECDH, ASK_OPEN };
struct prompt {
    enum question what;
    char screen[2][64];
    enum curve curve;
    struct path path;
    bool with_key;
    uint8_t digest[32]; /* ASK_SIGN: of P-256 */
    struct buf data;    /* ASK_SIGN: Ed25519's message; ASK_ECDH: the point */
};

enum garbage {
    GARBAGE_NONE,
    GARBAGE_CHANNEL,
    GARBAGE_TAG,
    GARBAGE_SEQUENCE,
    GARBAGE_LENGTH,
    GARBAGE_HALF,
    GARBAGE_DATA
};

struct device {
    uint8_t seed[64];
    char app[33];        /* that is open, or DASHBOARD */
    unsigned version[3]; /* of the SSH/PGP Agent */
    bool installed;      /* the SSH/PGP Agent */
    bool locked;
    unsigned locked_sw, no_app_sw; /* old and new firmware differ */
    int person;                    /* 0: presses when told; 1: yes to all, -1: no to all */
    enum garbage garbage;          /* the next answer is spoilt so */
    unsigned mute;                 /* as many commands are not answered */
    bool wrong_key;                /* signs by another key */
    struct gathering gathering;
    struct prompt prompt;
    bool replug; /* leaves the bus once the answer has gone */
    unsigned commands, intruders,
        prompts; /* for tests to read; INTRUDERS: commands that came while a question was open */
};

/* --- keys.c */
bool key_at(const struct device *d, enum curve c, const struct path *p, uint8_t key[32]);
/* 04, X, Y, big-endian on either curve. */
bool key_public(enum curve c, const uint8_t key[32], uint8_t w[65]);
/* DER, with the parity of R's y in the first octet; S is the smaller one. RFC 6979. */
bool sign_p256(const uint8_t key[32], const uint8_t digest[32], struct buf *out);
bool sign_ed25519(const uint8_t key[32], struct rd message, struct buf *out);
bool ecdh_p256(const uint8_t key[32], struct rd point, uint8_t shared[65]);

/* --- app.c: CLA 80 */
/* Gives the status word, NO_ANSWER when the person is asked. DATA: the answer's. */
unsigned app_command(struct device *d, uint8_t ins, uint8_t p1, uint8_t p2, struct rd body,
                     struct buf *data);
unsigned app_decided(struct device *d, bool yes, struct buf *data);

/* --- device.c */
/* One APDU. NO_ANSWER: later, when the person has decided. */
unsigned device_command(struct device *d, struct rd apdu, struct buf *data);
/* The person has decided. */
unsigned device_decided(struct device *d, bool yes, struct buf *data);
void device_ask(struct device *d, enum question what, const char *line1, const char *line2);
/* Another application, or the dashboard: what was under way is gone, and it comes back on the bus as another. */
void device_run(struct device *d, const char *app);

/* --- wire.c: what is between the device and its host */
struct host {
    bool hid; /* reports; else Speculos's framing */
    int fd;   /* -1: nobody */
    struct buf in;
    /* HID: the command that is being put together */
    struct buf apdu;
    size_t want;
    unsigned next;
};
/* Something has come from H: commands are given to the device. False: hang up. */
bool wire_read(struct device *d, struct host *h);
/* Sends an answer, spoilt if the device is told so. False: hang up. */
bool wire_answer(struct device *d, struct host *h, unsigned sw, struct rd data);

/* --- control.c */
/* A control line and its answer, a line too; false: no such. ANSWER: the person decided, *SW and DATA are the device's answer. */
bool control_line(struct device *d, const char *line, struct buf *out, bool *decided, unsigned *sw,
                  struct buf *data);

#endif
