/* What little of libcbor the authenticator wants. */
#ifndef LATCHKEY_TESTS_FIDO_CBOR_UTIL_H
#define LATCHKEY_TESTS_FIDO_CBOR_UTIL_H

#include "proto/buf.h"

#include <cbor.h>

/* The value of the small integer key K (negative too) in MAP, borrowed; NULL. */
const cbor_item_t *map_get(const cbor_item_t *map, int k);
/* .. of a text key. */
const cbor_item_t *map_get_text(const cbor_item_t *map, const char *k);
/* The octets of a byte string; n 0 for anything else. */
struct rd bytes_of(const cbor_item_t *item);
int int_of(const cbor_item_t *item, int fallback);

/* Adding to a map: takes over VALUE. */
void map_put(cbor_item_t *map, int k, cbor_item_t *value);
void map_put_text(cbor_item_t *map, const char *k, cbor_item_t *value);
cbor_item_t *item_int(int v);
/* Appends MAP (taken over) to B. */
void put_cbor(struct buf *b, cbor_item_t *map);

#endif
