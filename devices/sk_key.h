/* A key of a security key as ssh-add brings it: the public half, and the handle by which the token that made it knows it. */
#ifndef LATCHKEY_DEVICES_SK_KEY_H
#define LATCHKEY_DEVICES_SK_KEY_H

#include "devices/driver.h"
#include "devices/key_store.h"

/* A key's flags (PROTOCOL.u2f, sk-api.h): what the token was asked for when it made the key, and what it is asked for at
 * each signature. */
#define SK_KEY_PRESENCE     0x01u
#define SK_KEY_VERIFICATION 0x04u

struct sk_key {
    struct key *pub; /* the plain key */
    uint8_t flags;
    uint8_t *handle;
    size_t handle_len;
};

/* From the private part of an ADD_IDENTITY message: sk-ssh-ed25519@openssh.com, sk-ecdsa-sha2-nistp256@openssh.com and
 * their certificates. GPG_ERR_UNSUPPORTED_ALGORITHM for other types; GPG_ERR_BAD_SECKEY without a handle, and for halves
 * that do not belong together. */
gpg_error_t sk_key_new(struct rd body, struct sk_key **out);
void sk_key_free(struct sk_key *k);

/* What drivers with such keys share: a store of them, whose state is the store itself. */
extern const struct key_store_ops sk_key_store_ops;
/* ADDKEY. */
gpg_error_t sk_key_add(struct key_store *s, struct rd body, const char *comment, struct buf *line);
/* What a signature by K takes: K's own flags and what OP asks for beyond them. */
uint8_t sk_key_wanted(const struct sk_key *k, const struct driver_op *op);
/* Checks a finished signature against K and what was WANTED, and notes in OP what was shown. The numbers come as r and s
 * (ECDSA), or R‖S in R (Ed25519). A token's word is not taken: nobody but this checks that it verified the person. */
gpg_error_t sk_key_finish(const struct sk_key *k, uint8_t wanted, const struct sk_assertion *says,
                          struct rd r, struct rd s, struct driver_op *op, gcry_sexp_t *sig);

#endif
