/* A PKCS#11 module that does what a test wants: two tokens in software, every answer can be replaced by a failure, every PIN
 * that comes in is noted. A test in the same process takes hold of it by dlsym("fake_pkcs11"); in another process the file
 * that $FAKE_PKCS11_MODE names tells it what to do: crash-load, hang-load, crash-sign, hang-sign. */
#ifndef LATCHKEY_TESTS_FAKE_MODULE_H
#define LATCHKEY_TESTS_FAKE_MODULE_H

#include <p11-kit/pkcs11.h>
#include <stdbool.h>

#define FAKE_TOKENS 2
#define FAKE_KEYS   4 /* RSA 2048, P-256, P-384, Ed25519 */
#define FAKE_PINS   16

struct fake_token {
    bool present;
    CK_SLOT_ID slot;
    char label[33], serial[17];
    char pin[32];
    CK_FLAGS flags; /* beyond those of the counter */
    int tries;      /* left; 3: full */
    bool soft;      /* its slot is no hardware */
    bool hide_public;
    bool with_keys[FAKE_KEYS];
    bool certificate;        /* key 1 is seen by its certificate only */
    bool raw_points;         /* CKA_EC_POINT without its OCTET STRING */
    char label_of_keys[601]; /* in the place of the usual ones */
    bool always_auth;        /* all private keys */
    /* what it went through */
    char pins[FAKE_PINS][32];
    unsigned npins, keypad, logouts, signatures;
    bool logged_in;
};

struct fake_pkcs11 {
    struct fake_token tokens[FAKE_TOKENS];
    /* FUNCTION answers RV, TIMES times, after it was called SKIP times */
    const char *fail;
    CK_RV rv;
    int times, skip;
    unsigned sessions, finalized;
};

/* The module's symbol: struct fake_pkcs11 *fake_pkcs11(void). */
typedef struct fake_pkcs11 *fake_pkcs11_function(void);

#endif
