/* GENERATE and WRITEKEY: new keys on a card, with their fingerprint and creation time. */
#include "devices/openpgp_admin.h"

#include "devices/gpg_sexp.h"
#include "devices/gpg_transfer.h"
#include "devices/openpgp_import.h"
#include "proto/openpgp.h"
#include "proto/token_protocol.h"

#include <string.h>

#define WRAP_KEY 16u
#define MAX_KEY  8192u
#define MAX_ECDH 32u

struct new_key {
    unsigned i; /* slot */
    uint32_t created;
    struct buf ecdh; /* KDF parameters for the fingerprint, empty: GnuPG's own choice */
    /* WRITEKEY */
    struct gpg_key_parts parts;
    struct key *key;
};

/* --- what both have in common ---------------------------------------------------------------------------------------------------------- */

gpg_error_t admin_holds_key(struct openpgp *o, unsigned i, bool *there)
{
    struct apdu c = {.ins = 0x47,
                     .p1 = 0x81,
                     .data = rd_of(admin_crt[i], sizeof admin_crt[i]),
                     .want_data = true,
                     .expect = o->slots[i].rsa ? o->slots[i].rsa_bits / 8 + 32 : 0};
    unsigned sw;
    gpg_error_t err = apdu_send(&o->card, &c, NULL, &sw);

    if (err == 0)
        *there = sw == 0x9000;
    return err;
}

static gpg_error_t check_free(struct admin *a)
{
    const struct new_key *n = a->arg;
    bool there = false;
    gpg_error_t err = admin_holds_key(a->o, n->i, &there);

    return err == 0 && there ? gpg_error(GPG_ERR_EEXIST) : err;
}

/* The fingerprint of a decryption key with KDF parameters that GnuPG would not choose: they are the end of what is hashed. */
static gpg_error_t fingerprint(const struct new_key *n, const struct key *k, uint8_t fpr[20])
{
    struct buf packet = BUF_INIT, hashed = BUF_INIT;
    struct rd r, head;
    uint8_t len;
    gpg_error_t err;

    if (k->algo != KEY_ECDH || n->ecdh.len == 0)
        return openpgp_fingerprint(k, n->created, fpr);
    err = openpgp_put_pubkey(&packet, k, n->created, false);
    r = buf_rd(&packet);
    /* tag and length of one octet: no key on a curve is longer than 191 octets */
    if (err == 0)
        err = rd_bytes(&r, 1, &head);
    if (err == 0)
        err = rd_u8(&r, &len);
    if (err == 0 && (len != r.n || len >= 192 || r.n < 4))
        err = gpg_error(GPG_ERR_INTERNAL);
    if (err == 0) {
        buf_put_u8(&hashed, 0x99);
        buf_put_u16(&hashed, (uint16_t)(r.n - 4 + n->ecdh.len));
        buf_put(&hashed, r.p, r.n - 4);
        buf_put_rd(&hashed, buf_rd(&n->ecdh));
        err = buf_err(&hashed);
    }
    if (err == 0)
        gcry_md_hash_buffer(GCRY_MD_SHA1, fpr, hashed.data, hashed.len);
    buf_free(&packet);
    buf_free(&hashed);
    return err;
}

/* The key is another one from here on, whatever else goes wrong. */
static void lose_key(struct openpgp *o, unsigned i)
{
    key_unref(o->slots[i].key);
    o->slots[i].key = NULL;
    o->slots[i].unread = true;
}

static gpg_error_t write_names(struct admin *a, const struct new_key *n, const struct key *k)
{
    struct buf seconds = BUF_INIT;
    uint8_t fpr[20];
    gpg_error_t err = fingerprint(n, k, fpr);

    buf_put_u32(&seconds, n->created);
    if (err == 0)
        err = buf_err(&seconds);
    if (err == 0)
        err = admin_put_data(a, 0xc7 + n->i, rd_of(fpr, sizeof fpr));
    if (err == 0)
        err = admin_put_data(a, 0xce + n->i, buf_rd(&seconds));
    buf_free(&seconds);
    return err;
}

static gpg_error_t parse(const struct driver_op *op, struct new_key *n, bool *force)
{
    long created = 0, flag = 0;
    char *hex = NULL;
    gpg_error_t err = admin_slot(op, &n->i);

    if (err == 0)
        err = field_get_int(op->args, "created", 0, &created);
    if (err == 0)
        err = field_get_int(op->args, "force", 0, &flag);
    if (err == 0)
        err = field_get(op->args, "ecdh", &hex);
    if (err == 0 && (created <= 0 || (unsigned long)created > UINT32_MAX))
        err = gpg_error(GPG_ERR_INV_TIME);
    if (err == 0 && hex != NULL)
        err = strlen(hex) > 2 * MAX_ECDH ? gpg_error(GPG_ERR_TOO_LARGE) : hex_decode(hex, &n->ecdh);
    if (err == 0) {
        n->created = (uint32_t)created;
        *force = flag != 0;
    }
    gpgrt_free(hex);
    return err;
}

/* Without force the slot must be empty; that is known before any PIN is asked for. */
static gpg_error_t run_checked(struct admin *a, bool force, gpg_error_t (*run)(struct admin *a))
{
    gpg_error_t err = 0;

    if (!force) {
        a->run = check_free;
        err = admin_run(a);
    }
    a->run = run;
    a->ref = PW3_ADMIN;
    return err != 0 ? err : admin_run(a);
}

/* --- GENERATE --------------------------------------------------------------------------------------------------------------------------- */

/* YubiKeys 4.2.0 to 4.3.4 make RSA keys that can be factored (CVE-2017-15361). Their firmware's version: three octets of BCD. */
static gpg_error_t check_generator(struct openpgp *o, unsigned i)
{
    struct apdu c = {.ins = 0xf1, .want_data = true};
    struct buf version = BUF_INIT;
    unsigned sw;
    gpg_error_t err;

    if (o->aid[8] != 0x00 || o->aid[9] != 0x06 || !o->slots[i].rsa)
        return 0;
    err = apdu_send(&o->card, &c, &version, &sw);
    if (err == 0 && sw == 0x9000 && version.len == 3 && version.data[0] == 0x04 &&
        (version.data[1] == 0x02 || (version.data[1] == 0x03 && version.data[2] < 0x05))) {
        gpgrt_log_error("%s: this firmware makes weak RSA keys: make the key elsewhere and store "
                        "it here\n",
                        o->reader);
        err = gpg_error(GPG_ERR_WEAK_KEY);
    }
    buf_free(&version);
    return err;
}

static gpg_error_t put_public(const struct key *k, struct buf *out)
{
    size_t n = gcry_sexp_sprint(k->sexp, GCRYSEXP_FMT_CANON, NULL, 0);
    char *text = gpgrt_malloc(n + 1);

    if (text == NULL)
        return gpg_error_from_syserror();
    n = gcry_sexp_sprint(k->sexp, GCRYSEXP_FMT_CANON, text, n + 1);
    buf_put(out, text, n);
    gpgrt_free(text);
    return buf_err(out);
}

static gpg_error_t generate(struct admin *a)
{
    const struct new_key *n = a->arg;
    struct openpgp *o = a->o;
    const struct slot *s = &o->slots[n->i];
    struct apdu c = {.ins = 0x47,
                     .p1 = 0x80,
                     .data = rd_of(admin_crt[n->i], sizeof admin_crt[n->i]),
                     .want_data = true};
    struct buf answer = BUF_INIT;
    struct key *k = NULL;
    gpg_error_t err = openpgp_read_6e(o, NULL);

    if (err == 0)
        err = check_generator(o, n->i);
    if (err == 0 && !s->rsa && s->oid_curve == NULL)
        err = gpg_error(GPG_ERR_UNKNOWN_CURVE);
    if (err == 0) {
        c.expect = s->rsa ? s->rsa_bits / 8 + 32 : 0;
        lose_key(o, n->i);
        err = admin_command(a, &c, &answer);
    }
    if (err == 0)
        err = openpgp_parse_public(s, buf_rd(&answer), &k);
    if (err == 0)
        err = write_names(a, n, k);
    if (err == 0)
        err = put_public(k, a->result);
    key_unref(k);
    buf_free(&answer);
    return err;
}

gpg_error_t admin_generate(void *state, struct driver_op *op, struct buf *result)
{
    struct new_key n = {.ecdh = BUF_INIT};
    struct admin a = {.o = state, .op = op, .arg = &n, .result = result};
    bool force = false;
    gpg_error_t err = parse(op, &n, &force);

    if (err == 0)
        err = run_checked(&a, force, generate);
    buf_free(&n.ecdh);
    return err;
}

/* --- WRITEKEY --------------------------------------------------------------------------------------------------------------------------- */

static const char *name_of(const struct key *k, char buf[32])
{
    return key_algo_name(k, buf);
}

/* The slot's attributes become those of the key where they are not. */
static gpg_error_t fit_slot(struct admin *a, const struct new_key *n)
{
    const struct slot *s = &a->o->slots[n->i];
    char wanted_buf[32], now_buf[16];
    const char *wanted = name_of(n->key, wanted_buf),
               *now = admin_algorithm_name(rd_of(s->attr, s->attr_len), now_buf);

    if (now != NULL && strcmp(now, wanted) == 0)
        return 0;
    if (!a->o->can.change_attributes)
        return gpg_error(GPG_ERR_WRONG_PUBKEY_ALGO);
    return admin_set_kind(a, n->i, wanted);
}

static gpg_error_t import(struct admin *a)
{
    const struct new_key *n = a->arg;
    struct openpgp *o = a->o;
    const struct slot *s = &o->slots[n->i];
    struct apdu c = {.ins = 0xdb, .p1 = 0x3f, .p2 = 0xff, .secret = true};
    struct buf list = BUF_INIT_SECURE;
    gpg_error_t err = openpgp_read_6e(o, NULL);

    if (err == 0)
        err = fit_slot(a, n);
    if (err == 0)
        err = openpgp_put_key(rd_of(s->attr, s->attr_len),
                              rd_of(admin_crt[n->i], sizeof admin_crt[n->i]), &n->parts, &list);
    if (err == 0) {
        lose_key(o, n->i);
        c.data = buf_rd(&list);
        err = admin_command(a, &c, NULL);
    }
    buf_free(&list);
    return err != 0 ? err : write_names(a, n, n->key);
}

/* The key as EXPORT gives it, unwrapped; N's views are into PLAIN. */
static gpg_error_t receive(struct driver_op *op, struct new_key *n, struct buf *plain)
{
    struct buf wrapkey = BUF_INIT_SECURE, wrapped = BUF_INIT, padded = BUF_INIT_SECURE,
               public_key = BUF_INIT;
    gcry_sexp_t sexp = NULL;
    struct rd curve;
    bool ecdh;
    gpg_error_t err = op->io->inquire(op->io->arg, "WRAPKEY", NULL, WRAP_KEY, true, &wrapkey);

    if (err == 0)
        err = op->io->inquire(op->io->arg, "WRAPPED", NULL, MAX_KEY, false, &wrapped);
    if (err == 0 && wrapkey.len != WRAP_KEY)
        err = gpg_error(GPG_ERR_INV_KEYLEN);
    if (err == 0)
        err = gpg_unwrap(buf_rd(&wrapkey), buf_rd(&wrapped), &padded);
    if (err == 0)
        err = canon_from_padded(buf_rd(&padded), plain);
    if (err == 0)
        err = gpg_key_split(buf_rd(plain), &n->parts);
    if (err == 0 && n->parts.form != GPG_KEY_CLEAR)
        err = gpg_error(GPG_ERR_BAD_SECKEY);
    if (err == 0)
        err = gpg_key_public(&n->parts, &public_key);
    if (err == 0)
        err = gcry_sexp_sscan(&sexp, NULL, (const char *)public_key.data, public_key.len);
    ecdh = err == 0 && n->i == SLOT_DEC && n->parts.algo->curve &&
           canon_value(n->parts.pub, "curve", &curve) == 0 && !rd_is(curve, "Ed25519");
    if (err == 0)
        err = key_from_sexp(sexp, ecdh, &n->key);
    gcry_sexp_release(sexp);
    buf_free(&wrapkey);
    buf_free(&wrapped);
    buf_free(&padded);
    buf_free(&public_key);
    return err;
}

/* Fits this key the slot at all? */
static gpg_error_t check_kind(const struct new_key *n)
{
    bool dec = n->i == SLOT_DEC;

    switch (n->key->algo) {
    case KEY_RSA:
        return 0;
    case KEY_ECDH:
        return dec && strcmp(n->key->curve, "Ed25519") != 0 ? 0
                                                            : gpg_error(GPG_ERR_WRONG_KEY_USAGE);
    case KEY_ECDSA:
    case KEY_ED25519:
        return dec || strcmp(n->key->curve, "Curve25519") == 0 ? gpg_error(GPG_ERR_WRONG_KEY_USAGE)
                                                               : 0;
    default:
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    }
}

gpg_error_t admin_write_key(void *state, struct driver_op *op, struct buf *result)
{
    struct openpgp *o = state;
    struct new_key n = {.ecdh = BUF_INIT};
    struct admin a = {.o = o, .op = op, .arg = &n};
    struct buf plain = BUF_INIT_SECURE;
    bool force = false;
    gpg_error_t err = parse(op, &n, &force);

    (void)result;
    if (err == 0)
        err = receive(op, &n, &plain);
    if (err == 0)
        err = check_kind(&n);
    if (err == 0)
        err = openpgp_learn_card(o, false, true);
    if (err == 0 && !o->can.import)
        err = gpg_error(GPG_ERR_NOT_SUPPORTED);
    if (err == 0)
        err = run_checked(&a, force, import);
    key_unref(n.key);
    buf_free(&plain);
    buf_free(&n.ecdh);
    return err;
}
