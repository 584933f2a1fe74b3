/* Hardware wallets as tokens: what is common to Trezor and Ledger. A wallet holds no list of keys: a key follows from the
 * wallet's seed and an identity (SLIP-0013, SLIP-0017), the same on either make. wallet.c is the driver of both; a make fills in
 * struct wallet_make. ref: trezor-ledger 1, 7. */
#ifndef LATCHKEY_DEVICES_WALLET_H
#define LATCHKEY_DEVICES_WALLET_H

#include "devices/driver.h"

struct wallet_identity {
    char *proto, *user, *host, *port, *path; /* each may be NULL */
    uint32_t index;
    bool ed25519; /* else nist256p1 */
};

#define WALLET_PATH_LEN 5
/* The path of the identity's signing key (SLIP-0013) or, ECDH, of its decryption key (SLIP-0017). */
void wallet_path(const struct wallet_identity *id, bool ecdh, uint32_t path[WALLET_PATH_LEN]);
/* The text that is hashed for it and shown: "ssh://user@host:22/path". gpgrt_free. */
char *wallet_uri(const struct wallet_identity *id);

/* What the device says of itself; strings are new (gpgrt_free), NULL where it does not say. */
struct wallet_info {
    char *model, *label, *serial, *version, *app;
};

/* What a make does. STATE is the make's own, made by open. Each operation may ask and tell through OP->io. Errors a person
 * can do something about are gpg_error_t codes that the broker has words for: GPG_ERR_CANCELED by the person on the device,
 * GPG_ERR_WRONG_KEY_USAGE cannot be made by this device (with words in a WALLET status line), GPG_ERR_CARD_NOT_INITIALIZED,
 * GPG_ERR_PIN_.. as for cards, GPG_ERR_CARD_REMOVED device gone. */
struct wallet_make {
    const char *kind;
    /* ADDRESS: "usb:BUS:DEV", "hid:/dev/hidrawN", "udp:HOST:PORT", "tcp:HOST:PORT". Nothing that wants a press. */
    gpg_error_t (*open)(const char *address, void **state, struct wallet_info *info);
    void (*close)(void *state);
    /* The identity's public key; a Ledger wants a press for it. */
    gpg_error_t (*public_key)(void *state, const struct wallet_identity *id, bool ecdh, struct driver_op *op,
                              struct key **out);
    /* Before anything is sent: can this device sign this at all? Words for the person (gpgrt_free) in *WHY when not. */
    gpg_error_t (*fits)(void *state, const struct wallet_identity *id, const struct tosign *t, const char *use,
                        char **why);
    /* Signs; KEY is the key that is expected: another that the device answers with is GPG_ERR_WRONG_PUBKEY. The OpenPGP digest of a
     * gpg:// identity comes as T->data with T->hash; ssh data comes whole with hash 0, for P-256 as well. */
    gpg_error_t (*sign)(void *state, const struct wallet_identity *id, const struct key *key, struct driver_op *op,
                        const struct tosign *t, gcry_sexp_t *sig);
    /* The shared point, as the token protocol's DECRYPT answers it. NULL: cannot. */
    gpg_error_t (*ecdh)(void *state, const struct wallet_identity *id, const struct key *key, struct driver_op *op,
                        struct rd point, struct buf *shared);
};
extern const struct wallet_make wallet_trezor, wallet_ledger;

#endif
