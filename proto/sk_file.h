/* Keys of security keys as OpenSSH carries them about (PROTOCOL.u2f, PROTOCOL.key): not secret, of no use without the token. */
#ifndef LATCHKEY_PROTO_SK_FILE_H
#define LATCHKEY_PROTO_SK_FILE_H

#include "proto/key.h"

#define SK_FLAG_PRESENCE     0x01u
#define SK_FLAG_VERIFICATION 0x04u
#define SK_FLAG_RESIDENT     0x20u

/* Appends the private part of ADD_IDENTITY: type, public half, application, flags, handle, reserved. K is a plain key of a
 * security key. */
void sk_body_put(struct buf *b, const struct key *k, uint8_t flags, struct rd handle);
/* The private key file that ssh-keygen -t ed25519-sk or ecdsa-sk would write, without passphrase; new text
 * (gpgrt_free), NULL when out of memory. */
char *sk_file(const struct key *k, uint8_t flags, struct rd handle, const char *comment);

#endif
