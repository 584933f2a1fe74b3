/* New credentials: makeCredential (CTAP 2.0, 5.1) and U2F's REGISTER. */
#include "tests/fido/cbor_util.h"
#include "tests/fido/fido.h"

#include <openssl/core_names.h>
#include <openssl/x509.h>
#include <string.h>

enum { FLAG_UP = 0x01, FLAG_UV = 0x04, FLAG_AT = 0x40, FLAG_ED = 0x80 };
enum { ES256 = -7, EDDSA = -8 };

static char *text_of(const cbor_item_t *item)
{
    return item != NULL && cbor_isa_string(item)
               ? gpgrt_bsprintf("%.*s", (int)cbor_string_length(item), cbor_string_handle(item))
               : NULL;
}

static bool option(const cbor_item_t *map, const char *name)
{
    const cbor_item_t *v = map_get_text(map_get(map, 7), name);

    return v != NULL && cbor_is_bool(v) && cbor_get_bool(v);
}

/* COSE (RFC 9053): EC2 or OKP. */
cbor_item_t *cred_cose(const struct cred *c)
{
    cbor_item_t *cose = cbor_new_definite_map(c->ed25519 ? 4 : 5);
    struct buf q = BUF_INIT;

    cred_public(c, &q);
    map_put(cose, 1, cbor_build_uint8(c->ed25519 ? 1 : 2));
    map_put(cose, 3, cbor_build_negint8((uint8_t)(-1 - (c->ed25519 ? EDDSA : ES256))));
    map_put(cose, -1, cbor_build_uint8(c->ed25519 ? 6 : 1));
    if (c->ed25519) {
        map_put(cose, -2, cbor_build_bytestring(q.data, q.len));
    } else {
        map_put(cose, -2, cbor_build_bytestring(q.data + 1, 32));
        map_put(cose, -3, cbor_build_bytestring(q.data + 33, 32));
    }
    buf_free(&q);
    return cose;
}

static void put_auth_data(const struct cred *c, uint8_t flags, int protect, struct buf *b)
{
    uint8_t hash[32];
    cbor_item_t *ext;

    EVP_Digest(c->rp, strlen(c->rp), hash, NULL, EVP_sha256(), NULL);
    buf_put(b, hash, sizeof hash);
    buf_put_u8(b, (uint8_t)(flags | FLAG_AT | (protect > 0 ? FLAG_ED : 0)));
    buf_put_u32(b, c->counter);
    buf_put(b, device_aaguid, 16);
    buf_put_u16(b, sizeof c->id);
    buf_put(b, c->id, sizeof c->id);
    put_cbor(b, cred_cose(c));
    if (protect > 0) {
        ext = cbor_new_definite_map(1);
        map_put_text(ext, "credProtect", cbor_build_uint8((uint8_t)protect));
        put_cbor(b, ext);
    }
}

/* "packed", by the new key itself. */
static int answer(const struct cred *c, uint8_t flags, int protect, struct rd digest,
                  struct buf *reply)
{
    cbor_item_t *map = cbor_new_definite_map(3), *stmt = cbor_new_definite_map(2);
    struct buf auth = BUF_INIT, sig = BUF_INIT;
    size_t n;

    put_auth_data(c, flags, protect, &auth);
    n = auth.len;
    buf_put_rd(&auth, digest);
    cred_sign(c, buf_rd(&auth), &sig);
    map_put_text(stmt, "alg", cbor_build_negint8((uint8_t)(-1 - (c->ed25519 ? EDDSA : ES256))));
    map_put_text(stmt, "sig", cbor_build_bytestring(sig.data, sig.len));
    map_put(map, 1, cbor_build_string("packed"));
    map_put(map, 2, cbor_build_bytestring(auth.data, n));
    map_put(map, 3, stmt);
    put_cbor(reply, map);
    buf_free(&auth);
    buf_free(&sig);
    return ST_OK;
}

/* 0: nothing that this one knows. */
static int algorithm(const cbor_item_t *list)
{
    for (size_t i = 0; list != NULL && cbor_isa_array(list) && i < cbor_array_size(list); i++) {
        int alg = int_of(map_get_text(cbor_array_handle(list)[i], "alg"), 0);

        if (alg == ES256 || alg == EDDSA)
            return alg;
    }
    return 0;
}

static struct cred *same_user(struct device *d, const char *rp, struct rd user)
{
    for (size_t i = 0; i < d->ncreds; i++)
        if (d->creds[i].resident && strcmp(d->creds[i].rp, rp) == 0 &&
            rd_eq(buf_rd(&d->creds[i].user), user))
            return &d->creds[i];
    return NULL;
}

int make_credential(struct device *d, const void *request, bool touched, struct buf *reply)
{
    const cbor_item_t *map = request;
    struct rd digest = bytes_of(map_get(map, 1)), param = bytes_of(map_get(map, 8));
    struct rd user = bytes_of(map_get_text(map_get(map, 3), "id"));
    bool rk = option(map, "rk"), uv = option(map, "uv"), verified = false;
    int alg = algorithm(map_get(map, 4));
    int protect = int_of(map_get_text(map_get(map, 6), "credProtect"), 0);
    char *rp = text_of(map_get_text(map_get(map, 2), "id"));
    struct cred *c = NULL;
    int st = ST_MISSING_PARAMETER;

    if (digest.n != 32 || rp == NULL || user.n == 0)
        goto out;
    /* What choosing a device by touch sends: meant to fail once it is touched. */
    if (map_get(map, 8) != NULL && param.n == 0) {
        st = !touched ? ST_WAIT : d->pin != NULL ? ST_PIN_INVALID : ST_PIN_NOT_SET;
        d->chosen += touched;
        goto out;
    }
    st = ST_UNSUPPORTED_ALGORITHM;
    if (alg == 0)
        goto out;
    if (map_get(map, 8) != NULL) {
        st = ST_PIN_AUTH_INVALID;
        if (!pin_auth_holds(d, param, digest))
            goto out;
        verified = true;
    }
    st = ST_PIN_REQUIRED;
    if (d->pin != NULL && !verified && !uv)
        goto out;
    st = ST_WAIT;
    if (!touched)
        goto out;
    st = ST_UV_INVALID;
    if (uv && d->bad_finger)
        goto out;
    if (rk && same_user(d, rp, user) != NULL)
        cred_delete(d, same_user(d, rp, user));
    st = ST_KEY_STORE_FULL;
    if (!cred_make(d, alg == EDDSA, rp, protect > 0 ? protect : 1, &c))
        goto out;
    c->resident = rk;
    buf_put_rd(&c->user, user);
    d->made++;
    st = answer(c, (uint8_t)(FLAG_UP | (verified || uv ? FLAG_UV : 0)), protect, digest, reply);
out:
    gpgrt_free(rp);
    return st;
}

/* --- U2F ------------------------------------------------------------------------------------------------------------ */

static void put_certificate(EVP_PKEY *key, struct buf *b)
{
    X509 *x = X509_new();
    unsigned char *der = NULL;
    int n;

    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600L * 24 * 365);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_sign(x, key, EVP_sha256());
    n = i2d_X509(x, &der);
    if (n > 0)
        buf_put(b, der, (size_t)n);
    OPENSSL_free(der);
    X509_free(x);
}

/* U2F knows only the hash of its application: one who has it cannot tell the name, and need not. */
bool u2f_register(struct device *d, struct rd challenge, struct rd application, struct buf *reply)
{
    struct buf signed_data = BUF_INIT, pub = BUF_INIT;
    struct cred *c, attestation = {.key = d->agreement};

    if (!cred_make(d, false, "", 1, &c))
        return false;
    memcpy(c->rp_hash, application.p, sizeof c->rp_hash);
    cred_public(c, &pub);
    buf_put_u8(reply, 5);
    buf_put_rd(reply, buf_rd(&pub));
    buf_put_u8(reply, sizeof c->id);
    buf_put(reply, c->id, sizeof c->id);
    put_certificate(d->agreement, reply);
    buf_put_u8(&signed_data, 0);
    buf_put_rd(&signed_data, application);
    buf_put_rd(&signed_data, challenge);
    buf_put(&signed_data, c->id, sizeof c->id);
    buf_put_rd(&signed_data, buf_rd(&pub));
    cred_sign(&attestation, buf_rd(&signed_data), reply);
    buf_free(&signed_data);
    buf_free(&pub);
    d->made++;
    return true;
}
