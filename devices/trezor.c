/* Trezor, protocol v1: keys, signatures and shared secrets of identities. ref: trezor-ledger 3, 5 */
#include "devices/trezor_call.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <string.h>

#define MAX_PROTO     8u /* Trezor One */
#define MAX_NAME      63u
#define MAX_PORT      5u
#define MAX_URL_PATH  255u
#define MAX_CHALLENGE 512u
#define P256_DIGEST   32u
#define SIGNATURE     65u
#define KEY_OCTETS    33u

/* --- opening --------------------------------------------------------------------------------------------------------------- */

static void close_trezor(void *state)
{
    struct trezor *z = state;

    if (z->t != NULL)
        z->t->close(z->t);
    trezor_free(z->features);
    buf_free(&z->session);
    gpgrt_free(z);
}

static bool is_one(const struct trezor *z)
{
    const char *internal = z->features->internal_model, *model = z->features->model;

    if (internal != NULL)
        return strcmp(internal, "T1B1") == 0;
    return model == NULL || strcmp(model, "1") == 0;
}

static char *model_name(const struct trezor *z)
{
    const char *model = z->features->model;

    if (is_one(z))
        return gpgrt_strdup("Trezor One");
    return gpgrt_bsprintf(strlen(model != NULL ? model : "") == 1 ? "Trezor Model %s" : "Trezor %s",
                          model != NULL ? model : "");
}

static char *tell_problem(const struct trezor *z)
{
    const Trezor__Features *f = z->features;

    if (f->bootloader_mode)
        return gpgrt_strdup("it is in its bootloader: unplug it and plug it in again without "
                            "touching it");
    if (f->has_initialized && !f->initialized)
        return gpgrt_strdup("it has no seed yet: set it up in Trezor Suite");
    if (f->n_capabilities > 0 && !trezor_has_capability(z, TREZOR_CAPABILITY_CRYPTO))
        return gpgrt_strdup("its firmware cannot sign with identities (a Bitcoin-only firmware?)");
    return NULL;
}

static gpg_error_t describe(const struct trezor *z, struct wallet_info *info)
{
    const Trezor__Features *f = z->features;

    info->model = model_name(z);
    info->label = f->label != NULL ? gpgrt_strdup(f->label) : NULL;
    info->serial = f->device_id != NULL ? gpgrt_strdup(f->device_id) : NULL;
    info->version =
        gpgrt_bsprintf("%u.%u.%u", f->major_version, f->minor_version, f->patch_version);
    info->problem = tell_problem(z);
    return info->model != NULL && info->version != NULL ? 0 : gpg_error(GPG_ERR_ENOMEM);
}

static gpg_error_t open_trezor(const char *address, void **state, struct wallet_info *info)
{
    struct trezor *z = gpgrt_calloc(1, sizeof *z);
    gpg_error_t err;

    if (z == NULL)
        return gpg_error_from_syserror();
    z->session = BUF_INIT_SECURE;
    err = trezor_transport_open(address, &z->t);
    if (err == 0)
        err = trezor_begin(z);
    if (err == 0) {
        err = describe(z, info);
    } else if (gpg_err_code(err) == GPG_ERR_NOT_SUPPORTED && z->features == NULL) {
        info->model = gpgrt_strdup("Trezor");
        info->problem = gpgrt_strdup(
            "this model (Safe 7) speaks only the newer Trezor-Host Protocol (THP), which latchkey "
            "does not yet: use trezor-agent, or another Trezor with the same seed");
        err = info->model != NULL && info->problem != NULL ? 0 : gpg_error(GPG_ERR_ENOMEM);
    }
    if (err != 0)
        close_trezor(z);
    else
        *state = z;
    return err;
}

static void configure(void *state, const char *passphrase)
{
    static const char *const words[] = {
        [PASSPHRASE_ASK] = "ask", [PASSPHRASE_DEVICE] = "device", [PASSPHRASE_NONE] = "none"};
    struct trezor *z = state;

    z->passphrase = PASSPHRASE_AUTO;
    for (size_t i = 1; i < sizeof words / sizeof words[0] && passphrase != NULL; i++)
        if (strcmp(words[i], passphrase) == 0)
            z->passphrase = (enum trezor_passphrase)i;
}

static bool pinless(void *state)
{
    struct trezor *z = state;

    return z->features != NULL && z->features->has_pin_protection && !z->features->pin_protection;
}

static void forget(void *state)
{
    struct trezor *z = state;

    trezor_end_session(z);
    if (z->features != NULL && z->features->pin_protection)
        trezor_lock(z);
}

/* --- keys ------------------------------------------------------------------------------------------------------------------ */

/* libcrypto checks that the point lies on the curve. */
static gpg_error_t decompress(struct rd point, struct buf *out)
{
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    EC_POINT *p = group != NULL ? EC_POINT_new(group) : NULL;
    uint8_t octets[65];
    gpg_error_t err = gpg_error(GPG_ERR_BAD_PUBKEY);

    if (p != NULL && EC_POINT_oct2point(group, p, point.p, point.n, NULL) == 1 &&
        EC_POINT_point2oct(group, p, POINT_CONVERSION_UNCOMPRESSED, octets, sizeof octets, NULL) ==
            sizeof octets) {
        buf_put(out, octets, sizeof octets);
        err = buf_err(out);
    }
    EC_POINT_free(p);
    EC_GROUP_free(group);
    ERR_clear_error();
    return err;
}

/* 33 octets: a compressed point, or 00 (once 01) and the 32 of an Edwards or Montgomery curve. */
static gpg_error_t read_key(const struct wallet_identity *id, bool ecdh, ProtobufCBinaryData given,
                            struct key **out)
{
    struct rd r = rd_of(given.data, given.len);
    struct buf point = BUF_INIT;
    uint8_t mark;
    gpg_error_t err;

    if (r.n != KEY_OCTETS)
        return gpg_error(GPG_ERR_BAD_PUBKEY);
    if (!id->ed25519) {
        err = decompress(r, &point);
        if (err == 0)
            err = key_from_point("NIST P-256", buf_rd(&point), ecdh, out);
    } else {
        err = rd_u8(&r, &mark);
        if (err == 0 && mark > 1)
            err = gpg_error(GPG_ERR_BAD_PUBKEY);
        if (err == 0)
            err = key_from_point(ecdh ? "Curve25519" : "Ed25519", r, ecdh, out);
    }
    buf_free(&point);
    return err;
}

static char *curve_of(const struct wallet_identity *id, bool ecdh)
{
    return (char *)(uintptr_t)(id->ed25519 && ecdh ? "curve25519" : wallet_curve(id));
}

/* A quiet question must show nothing on the screen. */
static bool would_ask(const struct trezor *z)
{
    const Trezor__Features *f = z->features;

    return (f->has_unlocked && !f->unlocked) ||
           (f->passphrase_protection && z->passphrase != PASSPHRASE_NONE);
}

static gpg_error_t public_key(void *state, const struct wallet_identity *id, bool ecdh,
                              struct driver_op *op, struct key **out)
{
    struct trezor *z = state;
    Trezor__GetPublicKey q = TREZOR__GET_PUBLIC_KEY__INIT;
    struct trezor_message m = {.body = BUF_INIT_SECURE};
    Trezor__PublicKey *a = NULL;
    uint32_t path[WALLET_PATH_LEN];
    gpg_error_t err = wallet_path(id, ecdh, path);

    if (err == 0)
        err = trezor_begin(z);
    if (err != 0)
        return err;
    if (op->io == NULL && would_ask(z))
        return gpg_error(GPG_ERR_NOT_CONFIRMED);
    q.n_address_n = WALLET_PATH_LEN;
    q.address_n = path;
    q.ecdsa_curve_name = curve_of(id, ecdh);
    err = trezor_call(z, op, TREZOR_GET_PUBLIC_KEY, &q.base, TREZOR_PUBLIC_KEY, &m);
    if (err == 0)
        a = trezor_unpack(&m, &trezor__public_key__descriptor);
    if (err == 0)
        err = a != NULL && a->node != NULL && a->node->has_public_key
                  ? read_key(id, ecdh, a->node->public_key, out)
                  : gpg_error(GPG_ERR_BAD_DATA);
    trezor_free(a);
    buf_free(&m.body);
    return err;
}

/* Another passphrase is another wallet: it has the identity, too, with another key. The passphrase must be asked for again. */
static gpg_error_t check_key(struct trezor *z, struct driver_op *op,
                             const struct wallet_identity *id, bool ecdh, ProtobufCBinaryData given,
                             const struct key *expected)
{
    struct key *k = NULL;
    gpg_error_t err = read_key(id, ecdh, given, &k);

    if (err == 0 && !key_same(k, expected)) {
        trezor_end_session(z);
        wallet_say(op, "it has another key for this identity: another passphrase was given, or the "
                       "device has another seed");
        err = gpg_error(GPG_ERR_WRONG_SECKEY);
    }
    key_unref(k);
    return err;
}

/* --- what fits --------------------------------------------------------------------------------------------------------------- */

static bool too_long(const char *s, size_t max)
{
    return s != NULL && strlen(s) > max;
}

static gpg_error_t fits(void *state, const struct wallet_identity *id, const struct tosign *t,
                        const char *use, char **why)
{
    struct trezor *z = state;
    const char *cure = id->ed25519 ? "" : "; an ed25519 identity's request is 61 octets shorter";

    (void)use;
    if (!is_one(z))
        return 0;
    if (too_long(id->proto, MAX_PROTO) || too_long(id->user, MAX_NAME) ||
        too_long(id->host, MAX_NAME) || too_long(id->port, MAX_PORT) ||
        too_long(id->path, MAX_URL_PATH))
        *why = gpgrt_bsprintf("a Trezor One takes names of at most %u characters, and the "
                              "identity's are longer: use a shorter identity, or a newer model",
                              MAX_NAME);
    else if (t->data.n > MAX_CHALLENGE)
        *why = gpgrt_bsprintf("a Trezor One signs at most %u octets and this request has %zu (the "
                              "server's host key is "
                              "part of it)%s; a server with an ed25519 host key makes it fit, and "
                              "newer models have no "
                              "such limit",
                              MAX_CHALLENGE, t->data.n, cure);
    else
        return 0;
    return *why != NULL ? gpg_error(GPG_ERR_WRONG_KEY_USAGE) : gpg_error_from_syserror();
}

/* --- signing and decrypting ----------------------------------------------------------------------------------------------------- */

static Trezor__Identity as_message(const struct wallet_identity *id)
{
    Trezor__Identity m = TREZOR__IDENTITY__INIT;

    m.proto = id->proto;
    m.user = id->user;
    m.host = id->host;
    m.port = id->port;
    m.path = id->path;
    m.has_index = id->index != 0;
    m.index = id->index;
    return m;
}

/* ECDSA takes the leftmost bits of a longer digest, and the One no longer one. */
static struct rd challenge_of(const struct wallet_identity *id, const struct tosign *t)
{
    bool digest = t->hash != 0 && !id->ed25519;

    return rd_of(t->data.p, digest && t->data.n > P256_DIGEST ? P256_DIGEST : t->data.n);
}

static gpg_error_t start(struct trezor *z, struct driver_op *op)
{
    gpg_error_t err = trezor_begin(z);

    return err == 0 ? trezor_want_pin(z, op) : err;
}

static gpg_error_t sign(void *state, const struct wallet_identity *id, const struct key *key,
                        struct driver_op *op, const struct tosign *t, gcry_sexp_t *sig)
{
    struct trezor *z = state;
    Trezor__SignIdentity q = TREZOR__SIGN_IDENTITY__INIT;
    Trezor__Identity who = as_message(id);
    struct trezor_message m = {.body = BUF_INIT_SECURE};
    Trezor__SignedIdentity *a = NULL;
    struct rd challenge = challenge_of(id, t);
    gpg_error_t err = start(z, op);

    if (err != 0)
        return err;
    q.identity = &who;
    q.has_challenge_hidden = true;
    q.challenge_hidden =
        (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)challenge.p, .len = challenge.n};
    q.challenge_visual = (char *)(uintptr_t) "";
    q.ecdsa_curve_name = curve_of(id, false);
    err = trezor_call(z, op, TREZOR_SIGN_IDENTITY, &q.base, TREZOR_SIGNED_IDENTITY, &m);
    if (err != 0)
        goto out;
    a = trezor_unpack(&m, &trezor__signed_identity__descriptor);
    if (a == NULL || !a->has_public_key || !a->has_signature || a->signature.len != SIGNATURE) {
        err = gpg_error(GPG_ERR_BAD_DATA);
        goto out;
    }
    err = check_key(z, op, id, false, a->public_key, key);
    if (err == 0)
        err = sig_from_raw(key, rd_of(a->signature.data + 1, SIGNATURE - 1), sig);
    op->touched = err == 0; /* there is no way around its button */
out:
    trezor_free(a);
    buf_free(&m.body);
    return err;
}

static gpg_error_t ecdh(void *state, const struct wallet_identity *id, const struct key *key,
                        struct driver_op *op, struct rd point, struct buf *shared)
{
    struct trezor *z = state;
    Trezor__GetECDHSessionKey q = TREZOR__GET_ECDHSESSION_KEY__INIT;
    Trezor__Identity who = as_message(id);
    struct trezor_message m = {.body = BUF_INIT_SECURE};
    Trezor__ECDHSessionKey *a = NULL;
    struct buf peer = BUF_INIT;
    size_t want = id->ed25519 ? 33 : 65;
    gpg_error_t err;

    if (id->ed25519 && point.n == 32)
        buf_put_u8(&peer, 0x40);
    buf_put_rd(&peer, point);
    err = buf_err(&peer) != 0 ? buf_err(&peer)
          : peer.len != want  ? gpg_error(GPG_ERR_BAD_DATA)
                              : start(z, op);
    if (err != 0)
        goto out;
    q.identity = &who;
    q.has_peer_public_key = true;
    q.peer_public_key = (ProtobufCBinaryData){.data = peer.data, .len = peer.len};
    q.ecdsa_curve_name = curve_of(id, true);
    err = trezor_call(z, op, TREZOR_GET_ECDH_SESSION_KEY, &q.base, TREZOR_ECDH_SESSION_KEY, &m);
    if (err == 0)
        a = trezor_unpack(&m, &trezor__ecdhsession_key__descriptor);
    if (err == 0 && (a == NULL || !a->has_session_key || a->session_key.len != want))
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0 && a->has_public_key)
        err = check_key(z, op, id, true, a->public_key, key);
    /* The octet before an x of Curve25519 is a 04 here, and nobody's elsewhere. */
    if (err == 0)
        buf_put(shared, a->session_key.data + (id->ed25519 ? 1 : 0), want - (id->ed25519 ? 1 : 0));
    if (err == 0)
        err = buf_err(shared);
    op->touched = err == 0;
out:
    trezor_free(a);
    buf_free(&m.body);
    buf_free(&peer);
    return err;
}

const struct wallet_make wallet_trezor = {
    .kind = "trezor",
    .quiet_keys = true,
    .open = open_trezor,
    .close = close_trezor,
    .configure = configure,
    .forget = forget,
    .pinless = pinless,
    .public_key = public_key,
    .fits = fits,
    .sign = sign,
    .ecdh = ecdh,
};
