/* Shared by openpgp.c (keys, packets, armor) and openpgp_sig.c (signatures). */
#ifndef LATCHKEY_PROTO_OPENPGP_INTERNAL_H
#define LATCHKEY_PROTO_OPENPGP_INTERNAL_H

#include "proto/openpgp.h"

/* RFC 4880 4.3 */
enum { TAG_SIGNATURE = 2, TAG_PUBKEY = 6, TAG_USERID = 13, TAG_SUBKEY = 14 };

/* New-format length (RFC 4880 4.2.2); the same form serves subpackets. */
void openpgp_put_length(struct buf *b, size_t n);
void openpgp_put_packet(struct buf *b, unsigned tag, struct rd body);
/* What fingerprints and certifications hash of a key: 99, two octets of length, the body (RFC 4880 5.2.4, 12.2). */
gpg_error_t openpgp_put_hashed_key(struct buf *b, const struct key *k, uint32_t created);

#endif
