/* The driver for PKCS#11 modules (OASIS PKCS#11 2.40 and 3.0): one module, its tokens and keys; shared by the files that
 * make up the driver. The module is foreign code: it is loaded in this process only, and one that crashes or hangs takes
 * nothing else with it. */
#ifndef LATCHKEY_DEVICES_PKCS11_H
#define LATCHKEY_DEVICES_PKCS11_H

#include "devices/driver.h"

#include <p11-kit/pkcs11.h>

struct p11_key {
    struct key *key;
    char *id;    /* the token protocol's: the keygrip in hex, the same in every process */
    char *label; /* NULL: none */
    uint8_t *cka_id;
    size_t cka_id_len;
    bool always_auth; /* CKA_ALWAYS_AUTHENTICATE */
};

struct p11_token {
    CK_FUNCTION_LIST *f;
    CK_SLOT_ID slot;
    CK_TOKEN_INFO info; /* flags as last read; the rest is what it is known by */
    CK_SESSION_HANDLE session;
    bool hardware; /* as the slot says; what does not say so is taken for hardware */
    bool open, logged_in;
    /* the PIN that was accepted; empty after a login on the reader's keypad */
    struct buf pin;
    int64_t pin_ms; /* when it was typed and right */
    bool pin_good;
    struct p11_key *keys;
    size_t nkeys;
};

struct p11 {
    char *path;
    char *module_name;   /* "opensc-pkcs11" */
    CK_FUNCTION_LIST *f; /* NULL: not loaded yet */
    struct p11_token *tokens;
    size_t ntokens;
};

int64_t p11_now_ms(void);

/* --- pkcs11_module.c */

/* Loads and initialises the module, finds the tokens. Once loaded it does nothing. */
gpg_error_t p11_load(struct p11 *p);
/* Logs out, finalises and frees everything but P itself. */
void p11_unload(struct p11 *p);
/* A session on the very token that was found, wherever it is by now. GPG_ERR_CARD_NOT_PRESENT. */
gpg_error_t p11_ready(struct p11_token *t);
/* Reads the token's flags anew; GPG_ERR_CARD_RESET when another token is in the slot. */
gpg_error_t p11_refresh(struct p11_token *t);
/* Closes the session, and with it the login. */
void p11_drop_session(struct p11_token *t);
/* What RV, an answer of function WHAT, means. GPG_ERR_CARD_RESET: the session or its login was lost (removed, closed by
 * the module, another application's doing); it is dropped, and everything may be tried once more. */
gpg_error_t p11_check(struct p11_token *t, const char *what, CK_RV rv);
/* A blank-padded field of PKCS#11 as a new string; NULL when out of memory. */
char *p11_text(const CK_UTF8CHAR *field, size_t n);

/* --- pkcs11_key.c: bytes of a token's objects, not to be trusted */

/* CKA_EC_PARAMS and CKA_EC_POINT of a CKK_EC or (EDWARDS) CKK_EC_EDWARDS key. GPG_ERR_UNKNOWN_CURVE. */
gpg_error_t p11_parse_ec(struct rd params, struct rd point, bool edwards, struct key **out);
/* The public key of an X.509 certificate in DER and its subject in one line (gpgrt_free). */
gpg_error_t p11_parse_cert(struct rd der, struct key **out, char **subject);

/* --- pkcs11_objects.c: a session is open */

/* Adds the keys that can be seen to T->keys: from public-key objects, then from certificates. Once logged in, those
 * without a private half on the token are left out. SKIP tells of keys that are had already. */
gpg_error_t p11_find_keys(struct p11_token *t, bool (*skip)(void *arg, const struct key *k),
                          void *arg);
/* The private half of K. GPG_ERR_NO_SECKEY. */
gpg_error_t p11_find_private(struct p11_token *t, const struct p11_key *k, CK_OBJECT_HANDLE *out);
bool p11_get_flag(struct p11_token *t, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type);
void p11_keys_free(struct p11_token *t);

/* --- pkcs11_pin.c: a session is open */

bool p11_wants_login(const struct p11_token *t);
/* Logged in with a PIN no older than OP wants: the one that is held, or one that the person gives now. */
gpg_error_t p11_login(struct p11_token *t, struct driver_op *op);
/* The same with a PIN that came beforehand, which is sent once at most; never on the last try. GPG_ERR_BAD_PIN,
 * GPG_ERR_PIN_BLOCKED, GPG_ERR_USE_CONDITIONS (it was not sent: the last try is left). */
gpg_error_t p11_login_given(struct p11_token *t, struct rd pin);
/* After C_SignInit with a key that wants a PIN for each use (CKU_CONTEXT_SPECIFIC). */
gpg_error_t p11_login_for_use(struct p11_token *t, struct driver_op *op);
void p11_logout(struct p11_token *t);
void p11_forget_pin(struct p11_token *t);

#endif
