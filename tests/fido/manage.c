/* credentialManagement (CTAP 2.1, 6.8), with protocol one. */
#include "tests/fido/cbor_util.h"
#include "tests/fido/fido.h"

#include <string.h>

enum { META = 1, RPS = 2, NEXT_RP = 3, CREDS = 4, NEXT_CRED = 5, DELETE = 6 };

static void rp_hash(const struct cred *c, uint8_t out[32])
{
    EVP_Digest(c->rp, strlen(c->rp), out, NULL, EVP_sha256(), NULL);
}

/* The first resident one of its application? */
static bool leads(const struct device *d, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (d->creds[k].resident && strcmp(d->creds[k].rp, d->creds[i].rp) == 0)
            return false;
    return d->creds[i].resident;
}

static bool auth_holds(const struct device *d, const cbor_item_t *map, int sub)
{
    const cbor_item_t *params = map_get(map, 2);
    struct buf what = BUF_INIT;
    bool good;

    buf_put_u8(&what, (uint8_t)sub);
    if (params != NULL)
        put_cbor(&what, cbor_incref((cbor_item_t *)(uintptr_t)params));
    good = pin_auth_holds(d, bytes_of(map_get(map, 4)), buf_rd(&what));
    buf_free(&what);
    return good;
}

static int tell_rp(struct device *d, bool first, struct buf *reply)
{
    cbor_item_t *out, *rp;
    uint8_t hash[32];
    size_t n = 0, i = first ? 0 : d->listed;

    for (size_t k = 0; k < d->ncreds; k++)
        n += leads(d, k);
    while (i < d->ncreds && !leads(d, i))
        i++;
    if (i == d->ncreds)
        return ST_NO_CREDENTIALS;
    d->listed = i + 1;
    rp_hash(&d->creds[i], hash);
    rp = cbor_new_definite_map(1);
    map_put_text(rp, "id", cbor_build_string(d->creds[i].rp));
    out = cbor_new_definite_map(first ? 3 : 2);
    map_put(out, 3, rp);
    map_put(out, 4, cbor_build_bytestring(hash, sizeof hash));
    if (first)
        map_put(out, 5, cbor_build_uint8((uint8_t)n));
    put_cbor(reply, out);
    return ST_OK;
}

static bool is_of(const struct device *d, size_t i)
{
    uint8_t hash[32];

    rp_hash(&d->creds[i], hash);
    return d->creds[i].resident && memcmp(hash, d->listed_hash, sizeof hash) == 0;
}

static int tell_cred(struct device *d, bool first, struct buf *reply)
{
    cbor_item_t *out, *user, *id;
    size_t n = 0, i = first ? 0 : d->listed;
    const struct cred *c;

    for (size_t k = 0; k < d->ncreds; k++)
        n += is_of(d, k);
    while (i < d->ncreds && !is_of(d, i))
        i++;
    if (i == d->ncreds)
        return ST_NO_CREDENTIALS;
    c = &d->creds[i];
    d->listed = i + 1;
    user = cbor_new_definite_map(3);
    map_put_text(user, "id", cbor_build_bytestring(c->user.data, c->user.len));
    map_put_text(user, "name", cbor_build_string("openssh"));
    map_put_text(user, "displayName", cbor_build_string("openssh"));
    id = cbor_new_definite_map(2);
    map_put_text(id, "id", cbor_build_bytestring(c->id, sizeof c->id));
    map_put_text(id, "type", cbor_build_string("public-key"));
    out = cbor_new_definite_map(first ? 5 : 4);
    map_put(out, 6, user);
    map_put(out, 7, id);
    map_put(out, 8, cred_cose(c));
    if (first)
        map_put(out, 9, cbor_build_uint8((uint8_t)n));
    map_put(out, 10, cbor_build_uint8((uint8_t)c->protect));
    put_cbor(reply, out);
    return ST_OK;
}

static int tell_meta(const struct device *d, struct buf *reply)
{
    cbor_item_t *out = cbor_new_definite_map(2);
    size_t n = 0;

    for (size_t i = 0; i < d->ncreds; i++)
        n += d->creds[i].resident;
    map_put(out, 1, cbor_build_uint8((uint8_t)n));
    map_put(out, 2, cbor_build_uint8((uint8_t)(MAX_CREDS - d->ncreds)));
    put_cbor(reply, out);
    return ST_OK;
}

int manage_command(struct device *d, const void *request, struct buf *reply)
{
    const cbor_item_t *map = request;
    int sub = int_of(map_get(map, 1), -1);
    struct rd id, hash;
    struct cred *c;

    if (sub != NEXT_RP && sub != NEXT_CRED && !auth_holds(d, map, sub))
        return ST_PIN_AUTH_INVALID;
    switch (sub) {
    case META:
        return tell_meta(d, reply);
    case RPS:
    case NEXT_RP:
        return tell_rp(d, sub == RPS, reply);
    case CREDS:
        hash = bytes_of(map_get(map_get(map, 2), 1));
        if (hash.n != sizeof d->listed_hash)
            return ST_MISSING_PARAMETER;
        memcpy(d->listed_hash, hash.p, hash.n);
        return tell_cred(d, true, reply);
    case NEXT_CRED:
        return tell_cred(d, false, reply);
    case DELETE:
        id = bytes_of(map_get_text(map_get(map_get(map, 2), 2), "id"));
        c = cred_find(d, id.p, id.n);
        if (c == NULL || !c->resident)
            return ST_NO_CREDENTIALS;
        cred_delete(d, c);
        return ST_OK;
    default:
        return ST_INVALID_COMMAND;
    }
}
