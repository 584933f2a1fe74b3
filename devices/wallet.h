/* Hardware wallets as tokens: what is common to Trezor and Ledger. A wallet holds no list of keys: a key follows from the
 * wallet's seed and an identity (SLIP-0013, SLIP-0017), the same on either make. wallet.c is the driver of both; a make fills in
 * struct wallet_make. ref: trezor-ledger 1, 7. */
#ifndef LATCHKEY_DEVICES_WALLET_H
#define LATCHKEY_DEVICES_WALLET_H

#include "devices/driver.h"
#include "proto/wallet_identity.h"

/* What the device says of itself; strings are new (gpgrt_free), NULL where it does not say. PROBLEM: why it cannot be used as it
 * is, and what to do, for the person. HINT: what the person will have to do before an operation, which waits for that. */
struct wallet_info {
    char *model, *label, *serial, *version, *app, *problem, *hint;
};

/* Words for the person about the operation OP, which is about to fail: what is wrong with which device, and what to do. */
void wallet_say(struct driver_op *op, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What a make does. STATE is the make's own, made by open. Each operation may ask and tell through OP->io. Errors a person
 * can do something about are gpg_error_t codes that the broker has words for: GPG_ERR_NOT_CONFIRMED the person said no on the
 * device, GPG_ERR_CANCELED the broker gave the operation up, GPG_ERR_WRONG_KEY_USAGE cannot be made by this device (with
 * words by wallet_say), GPG_ERR_CARD_NOT_INITIALIZED, GPG_ERR_PIN_.. as for cards, GPG_ERR_CARD_REMOVED device gone. */
struct wallet_make {
    const char *kind;
    bool
        quiet_keys; /* public keys can often be read without a press: worth trying unasked, with OP->io NULL: what
                       * would have to ask is GPG_ERR_NOT_CONFIRMED */
    /* ADDRESS: "usb:BUS:DEV", "hid:/dev/hidrawN", "udp:HOST:PORT", "tcp:HOST:PORT". Nothing that wants a press. A device that
     * answers but cannot be used (locked, wrong app, bootloader) is no error: INFO->problem is set, and it is closed and
     * opened again after a while. */
    gpg_error_t (*open)(const char *address, void **state, struct wallet_info *info);
    void (*close)(void *state);
    /* Optional: how a passphrase is given, "ask", "device", "none", or NULL: as the device likes it best. */
    void (*configure)(void *state, const char *passphrase);
    /* Optional: the device is locked as far as it can be, and the passphrase that it remembers forgotten. */
    void (*forget)(void *state);
    /* Optional: has it no PIN set? */
    bool (*pinless)(void *state);
    /* The identity's public key; a Ledger wants a press for it. */
    gpg_error_t (*public_key)(void *state, const struct wallet_identity *id, bool ecdh,
                              struct driver_op *op, struct key **out);
    /* Before anything is sent: can this device sign this at all? Words for the person (gpgrt_free) in *WHY when not. */
    gpg_error_t (*fits)(void *state, const struct wallet_identity *id, const struct tosign *t,
                        const char *use, char **why);
    /* Signs; KEY is the key that is expected: another that the device answers with is GPG_ERR_WRONG_SECKEY. The OpenPGP digest of a
     * gpg:// identity comes as T->data with T->hash; ssh data comes whole with hash 0, for P-256 as well. */
    gpg_error_t (*sign)(void *state, const struct wallet_identity *id, const struct key *key,
                        struct driver_op *op, const struct tosign *t, gcry_sexp_t *sig);
    /* The shared point, as the token protocol's DECRYPT answers it. NULL: cannot. */
    gpg_error_t (*ecdh)(void *state, const struct wallet_identity *id, const struct key *key,
                        struct driver_op *op, struct rd point, struct buf *shared);
};
extern const struct wallet_make wallet_trezor, wallet_ledger;

#endif
