/* The inside of the driver of wallets, shared by wallet.c and wallet_lines.c. */
#ifndef LATCHKEY_DEVICES_WALLET_DRIVER_H
#define LATCHKEY_DEVICES_WALLET_DRIVER_H

#include "devices/wallet.h"

/* A key of an identity. */
struct wallet_key {
    struct wallet_identity id;
    bool ecdh;
    char *text;      /* <URI|CURVE> */
    struct key *key; /* NULL: not read yet */
    char grip[41];   /* its name in the token protocol */
    bool tried;      /* reading it unasked */
    bool maybe;      /* KEY was told by another device, or a file: this one has not said so yet */
};

struct wallet {
    const struct wallet_make *make;
    char *address, *passphrase;
    void *dev; /* NULL: to be opened again */
    struct wallet_info info;
    struct wallet_key *keys;
    size_t n;
    bool more; /* not all were tried yet */
};

/* wallet_lines.c: appends "TOKEN ..\n", "KEY ..\n", and the fields of a KEY line whose key is known (proto/token_protocol.h). */
gpg_error_t wallet_put_token(const struct wallet *w, struct buf *lines);
gpg_error_t wallet_put_key(const struct wallet *w, const struct wallet_key *k, struct buf *lines);
gpg_error_t wallet_put_fields(const struct wallet *w, const struct wallet_key *k, struct buf *f);
/* Is it gpg's, else ssh's? */
bool wallet_key_is_gpg(const struct wallet_key *k);

#endif
