#include "tests/fido/cbor_util.h"

#include <stdlib.h>
#include <string.h>

int int_of(const cbor_item_t *item, int fallback)
{
    if (item != NULL && cbor_isa_uint(item))
        return (int)cbor_get_int(item);
    if (item != NULL && cbor_isa_negint(item))
        return -1 - (int)cbor_get_int(item);
    return fallback;
}

const cbor_item_t *map_get(const cbor_item_t *map, int k)
{
    if (map == NULL || !cbor_isa_map(map))
        return NULL;
    for (size_t i = 0; i < cbor_map_size(map); i++) {
        const struct cbor_pair *p = &cbor_map_handle(map)[i];

        if ((cbor_isa_uint(p->key) || cbor_isa_negint(p->key)) && int_of(p->key, 0) == k)
            return p->value;
    }
    return NULL;
}

const cbor_item_t *map_get_text(const cbor_item_t *map, const char *k)
{
    if (map == NULL || !cbor_isa_map(map))
        return NULL;
    for (size_t i = 0; i < cbor_map_size(map); i++) {
        const struct cbor_pair *p = &cbor_map_handle(map)[i];

        if (cbor_isa_string(p->key) && cbor_string_length(p->key) == strlen(k) &&
            memcmp(cbor_string_handle(p->key), k, strlen(k)) == 0)
            return p->value;
    }
    return NULL;
}

struct rd bytes_of(const cbor_item_t *item)
{
    if (item == NULL || !cbor_isa_bytestring(item) || !cbor_bytestring_is_definite(item))
        return rd_of(NULL, 0);
    return rd_of(cbor_bytestring_handle(item), cbor_bytestring_length(item));
}

cbor_item_t *item_int(int v)
{
    return v >= 0 ? cbor_build_uint32((uint32_t)v) : cbor_build_negint32((uint32_t)(-1 - v));
}

static void put_pair(cbor_item_t *map, cbor_item_t *k, cbor_item_t *v)
{
    if (!cbor_map_add(map, (struct cbor_pair){.key = k, .value = v}))
        abort();
    cbor_decref(&k);
    cbor_decref(&v);
}

/* Smallest forms: libfido2 takes no others for keys. */
static cbor_item_t *key_int(int v)
{
    return v >= 0 ? cbor_build_uint8((uint8_t)v) : cbor_build_negint8((uint8_t)(-1 - v));
}

void map_put(cbor_item_t *map, int k, cbor_item_t *value)
{
    put_pair(map, key_int(k), value);
}

void map_put_text(cbor_item_t *map, const char *k, cbor_item_t *value)
{
    put_pair(map, cbor_build_string(k), value);
}

void put_cbor(struct buf *b, cbor_item_t *map)
{
    unsigned char *out = NULL;
    size_t cap = 0, n = cbor_serialize_alloc(map, &out, &cap);

    buf_put(b, out, n);
    free(out);
    cbor_decref(&map);
}
