/* CTAP 2.0, 5, and U2F's raw messages. */
#include "tests/fido/cbor_util.h"
#include "tests/fido/fido.h"

#include <string.h>

enum {
    MAKE_CREDENTIAL = 1,
    GET_ASSERTION = 2,
    GET_INFO = 4,
    CLIENT_PIN = 6,
    NEXT_ASSERTION = 8,
    CRED_MGMT = 10,
    CRED_MGMT_PREVIEW = 0x41 /* its name before CTAP 2.1 */
};
enum { FLAG_UP = 1, FLAG_UV = 4 };

const uint8_t device_aaguid[16] = "latchkey's test";

static int get_info(struct device *d, struct buf *reply)
{
    cbor_item_t *map = cbor_new_definite_map(6), *versions = cbor_new_definite_array(1);
    cbor_item_t *extensions = cbor_new_definite_array(1);
    cbor_item_t *options = cbor_new_definite_map(d->has_uv ? 5 : 4);
    cbor_item_t *protocols = cbor_new_definite_array(1);

    (void)cbor_array_push(versions, cbor_move(cbor_build_string("FIDO_2_0")));
    map_put_text(options, "rk", cbor_build_bool(true));
    map_put_text(options, "up", cbor_build_bool(true));
    if (d->has_uv)
        map_put_text(options, "uv", cbor_build_bool(true));
    map_put_text(options, "credMgmt", cbor_build_bool(true));
    map_put_text(options, "clientPin", cbor_build_bool(d->pin != NULL));
    (void)cbor_array_push(protocols, cbor_move(cbor_build_uint8(1)));
    (void)cbor_array_push(extensions, cbor_move(cbor_build_string("credProtect")));
    map_put(map, 1, versions);
    map_put(map, 2, extensions);
    map_put(map, 3, cbor_build_bytestring(device_aaguid, sizeof device_aaguid));
    map_put(map, 4, options);
    map_put(map, 5, cbor_build_uint16(1200));
    map_put(map, 6, protocols);
    put_cbor(reply, map);
    return ST_OK;
}

static bool option(const cbor_item_t *map, const char *name, bool fallback)
{
    const cbor_item_t *v = map_get_text(map_get(map, 5), name);

    return v != NULL && cbor_is_bool(v) ? cbor_get_bool(v) : fallback;
}

static bool is_for(const struct cred *c, const cbor_item_t *rp)
{
    return strlen(c->rp) == cbor_string_length(rp) &&
           memcmp(c->rp, cbor_string_handle(rp), strlen(c->rp)) == 0;
}

/* Without a list: the resident one from the N-th on; *TOTAL of them. */
static struct cred *allowed(struct device *d, const cbor_item_t *map, size_t from, size_t *total)
{
    const cbor_item_t *list = map_get(map, 3), *rp = map_get(map, 1);
    struct cred *first = NULL;

    *total = 1;
    if (rp == NULL || !cbor_isa_string(rp) || (list != NULL && !cbor_isa_array(list)))
        return NULL;
    for (size_t i = 0; list != NULL && i < cbor_array_size(list); i++) {
        struct rd id = bytes_of(map_get_text(cbor_array_handle(list)[i], "id"));
        struct cred *c = cred_find(d, id.p, id.n);

        if (c != NULL && is_for(c, rp))
            return c;
    }
    if (list != NULL)
        return NULL;
    *total = 0;
    for (size_t i = 0; i < d->ncreds; i++) {
        if (!d->creds[i].resident || !is_for(&d->creds[i], rp))
            continue;
        if (*total == from)
            first = &d->creds[i];
        ++*total;
    }
    return first;
}

static void put_auth_data(struct buf *b, const char *rp, uint8_t flags, uint32_t counter)
{
    uint8_t hash[32];

    EVP_Digest(rp, strlen(rp), hash, NULL, EVP_sha256(), NULL);
    buf_put(b, hash, sizeof hash);
    buf_put_u8(b, flags);
    buf_put_u32(b, counter);
}

static int answer(struct device *d, struct cred *c, uint8_t flags, struct rd digest, size_t total,
                  struct buf *reply)
{
    cbor_item_t *map = cbor_new_definite_map(3u + (total > 1) + c->resident), *user;
    cbor_item_t *id = cbor_new_definite_map(2);
    struct cred *signer = c;
    struct buf auth = BUF_INIT, sig = BUF_INIT;
    size_t n;

    for (size_t i = 0; i < d->ncreds && d->confuses; i++)
        if (&d->creds[i] != c && d->creds[i].ed25519 == c->ed25519)
            signer = &d->creds[i];
    put_auth_data(&auth, c->rp, flags, c->counter++);
    n = auth.len;
    buf_put_rd(&auth, digest);
    cred_sign(signer, buf_rd(&auth), &sig);
    map_put_text(id, "id", cbor_build_bytestring(c->id, sizeof c->id));
    map_put_text(id, "type", cbor_build_string("public-key"));
    map_put(map, 1, id);
    map_put(map, 2, cbor_build_bytestring(auth.data, n));
    map_put(map, 3, cbor_build_bytestring(sig.data, sig.len));
    if (c->resident) {
        user = cbor_new_definite_map(1);
        map_put_text(user, "id", cbor_build_bytestring(c->user.data, c->user.len));
        map_put(map, 4, user);
    }
    if (total > 1)
        map_put(map, 5, cbor_build_uint8((uint8_t)total));
    put_cbor(reply, map);
    buf_free(&auth);
    buf_free(&sig);
    return ST_OK;
}

/* The last one that took a touch, again. */
static int replay(struct device *d, bool touch, struct buf *reply)
{
    if (touch && d->replays && d->last.len > 0) {
        buf_reset(reply);
        buf_put_rd(reply, buf_rd(&d->last));
    } else if (touch) {
        buf_reset(&d->last);
        buf_put_rd(&d->last, buf_rd(reply));
    }
    return ST_OK;
}

static int get_assertion(struct device *d, const cbor_item_t *map, bool touched, struct buf *reply)
{
    struct rd digest = bytes_of(map_get(map, 2)), param = bytes_of(map_get(map, 6));
    bool up = option(map, "up", true), uv = option(map, "uv", false), verified = false;
    size_t total;
    struct cred *c = allowed(d, map, d->next, &total);
    uint8_t flags = 0;

    if (digest.n != 32)
        return ST_MISSING_PARAMETER;
    if (uv && !d->has_uv)
        return ST_UNSUPPORTED_OPTION;
    if (map_get(map, 6) != NULL) {
        if (!pin_auth_holds(d, param, digest))
            return ST_PIN_AUTH_INVALID;
        verified = true;
    }
    if (c == NULL || (c->protect >= (map_get(map, 3) != NULL ? 3 : 2) && !verified && !uv))
        return ST_NO_CREDENTIALS;
    if ((up || uv) && !touched)
        return ST_WAIT;
    if (uv && d->bad_finger)
        return ST_UV_INVALID;
    if (up)
        flags |= FLAG_UP;
    if (uv || verified)
        flags |= FLAG_UV;
    if (up || uv)
        d->asserted++;
    else
        d->silent++;
    (void)answer(d, c, d->lies ? 0 : flags, digest, total, reply);
    return replay(d, up || uv, reply);
}

/* The same request for the next resident key (5.3). */
static int next_assertion(struct device *d, struct buf *reply)
{
    struct cbor_load_result result;
    cbor_item_t *map = cbor_load(d->listing.data, d->listing.len, &result);
    int st;

    if (map == NULL)
        return ST_NOT_ALLOWED;
    d->next++;
    st = get_assertion(d, map, true, reply);
    cbor_decref(&map);
    return st;
}

int ctap_command(struct device *d, struct rd msg, bool touched, struct buf *reply)
{
    struct cbor_load_result result;
    cbor_item_t *map = NULL;
    uint8_t cmd;
    int st;

    if (rd_u8(&msg, &cmd) != 0)
        return ST_INVALID_COMMAND;
    if (msg.n > 0 && (map = cbor_load(msg.p, msg.n, &result)) == NULL)
        return ST_INVALID_CBOR;
    switch (cmd) {
    case MAKE_CREDENTIAL:
        st = make_credential(d, map, touched, reply);
        break;
    case GET_ASSERTION:
        d->next = 0;
        buf_reset(&d->listing);
        buf_put_rd(&d->listing, msg);
        st = get_assertion(d, map, touched, reply);
        break;
    case NEXT_ASSERTION:
        st = next_assertion(d, reply);
        break;
    case CRED_MGMT:
    case CRED_MGMT_PREVIEW:
        st = manage_command(d, map, reply);
        break;
    case GET_INFO:
        st = get_info(d, reply);
        break;
    case CLIENT_PIN:
        st = pin_command(d, map, reply);
        break;
    default:
        st = ST_INVALID_COMMAND;
        break;
    }
    if (map != NULL)
        cbor_decref(&map);
    return st;
}

/* --- U2F (FIDO U2F Raw Message Formats 1.2) --------------------------------------------------------------------------- */

enum { U2F_REGISTER = 1, U2F_AUTHENTICATE = 2, U2F_VERSION = 3 };
enum { SW_OK = 0x9000, SW_WRONG_DATA = 0x6a80, SW_NOT_YET = 0x6985, SW_INS = 0x6d00 };

static unsigned authenticate(struct device *d, uint8_t p1, struct rd data, struct buf *reply)
{
    struct rd challenge, application, handle;
    struct buf what = BUF_INIT;
    struct cred *c;
    uint8_t n;

    if (rd_bytes(&data, 32, &challenge) != 0 || rd_bytes(&data, 32, &application) != 0 ||
        rd_u8(&data, &n) != 0 || rd_bytes(&data, n, &handle) != 0)
        return SW_WRONG_DATA;
    c = cred_find(d, handle.p, handle.n);
    if (c == NULL)
        return SW_WRONG_DATA;
    if (!rd_eq(application, rd_of(c->rp_hash, sizeof c->rp_hash)))
        return SW_WRONG_DATA;
    if (p1 == 7) {
        d->silent++;
        return SW_NOT_YET;
    }
    if (!d->touched && !d->touch_self)
        return SW_NOT_YET;
    d->touched = false;
    d->asserted++;
    buf_put(&what, c->rp_hash, sizeof c->rp_hash);
    buf_put_u8(&what, FLAG_UP);
    buf_put_u32(&what, c->counter);
    buf_put_rd(&what, challenge);
    buf_put_u8(reply, FLAG_UP);
    buf_put_u32(reply, c->counter++);
    cred_sign(c, buf_rd(&what), reply);
    buf_free(&what);
    return SW_OK;
}

static unsigned enroll(struct device *d, struct rd data, struct buf *reply)
{
    struct rd challenge, application;

    if (rd_bytes(&data, 32, &challenge) != 0 || rd_bytes(&data, 32, &application) != 0)
        return SW_WRONG_DATA;
    if (!d->touched && !d->touch_self)
        return SW_NOT_YET;
    d->touched = false;
    return u2f_register(d, challenge, application, reply) ? SW_OK : SW_WRONG_DATA;
}

void u2f_command(struct device *d, struct rd apdu, struct buf *reply)
{
    struct rd head, data = {0};
    unsigned sw = SW_INS;
    uint16_t lc = 0;
    uint8_t zero;

    if (rd_bytes(&apdu, 4, &head) != 0 || rd_u8(&apdu, &zero) != 0 || rd_u16(&apdu, &lc) != 0 ||
        rd_bytes(&apdu, head.p[1] == U2F_VERSION ? 0 : lc, &data) != 0) {
        sw = SW_WRONG_DATA;
    } else if (head.p[1] == U2F_VERSION) {
        buf_put(reply, "U2F_V2", 6);
        sw = SW_OK;
    } else if (head.p[1] == U2F_AUTHENTICATE) {
        sw = authenticate(d, head.p[2], data, reply);
    } else if (head.p[1] == U2F_REGISTER) {
        sw = enroll(d, data, reply);
    }
    buf_put_u16(reply, (uint16_t)sw);
}
