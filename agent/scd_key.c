/* What a card's keys do: SCD SETDATA, PKSIGN, PKAUTH, PKDECRYPT. */
#include "agent/gpg_dialog.h"
#include "agent/scd.h"
#include "proto/token_protocol.h"

#include <string.h>
#include <strings.h>

#define MAX_DATA 4096u

/* --- SETDATA ---------------------------------------------------------------------------------------------------------------------- */

/* SETDATA [--append] HEX */
static gpg_error_t cmd_setdata(struct gpg_session *s, char *line)
{
    bool append = gpg_has_option(line, "--append");
    char *hex = gpg_skip_options(line);
    size_t n = strlen(hex);
    struct buf *data = &s->scd->data;

    if (scd_lock_is_others(gpg_cards_lock(s->a->gpg), s->origin.id))
        return scd_fail(s, GPG_ERR_LOCKED, NULL);
    if (hex[strspn(hex, "0123456789abcdefABCDEF")] != '\0')
        return scd_fail(s, GPG_ERR_ASS_PARAMETER, "invalid hexstring");
    if (n == 0 || n % 2 != 0)
        return scd_fail(s, GPG_ERR_ASS_PARAMETER,
                        n == 0 ? "no data given" : "odd number of digits");
    if (n / 2 + (append ? data->len : 0) > MAX_DATA)
        return scd_fail(s, GPG_ERR_TOO_LARGE, "limit on total size of data reached");
    if (!append) {
        buf_free(data);
        *data = BUF_INIT;
    }
    return hex_decode(hex, data);
}

/* --- what is to be signed --------------------------------------------------------------------------------------------------------- */

static const struct {
    int hash;
    const char *name;
} hashes[] = {{GCRY_MD_SHA1, "sha1"},     {GCRY_MD_RMD160, "rmd160"}, {GCRY_MD_SHA224, "sha224"},
              {GCRY_MD_SHA256, "sha256"}, {GCRY_MD_SHA384, "sha384"}, {GCRY_MD_SHA512, "sha512"},
              {GCRY_MD_MD5, "md5"}};
#define HASHES (sizeof hashes / sizeof hashes[0])

static gpg_error_t wanted_hash(struct gpg_session *s, const char *line, int *hash)
{
    const char *value = gpg_option_value(line, "--hash");
    size_t n = value != NULL ? strcspn(value, " \t") : 0;

    *hash = GCRY_MD_SHA1;
    if (value == NULL)
        return 0;
    for (size_t i = 0; i < HASHES; i++)
        if (strlen(hashes[i].name) == n && strncmp(hashes[i].name, value, n) == 0) {
            *hash = hashes[i].hash;
            return 0;
        }
    return scd_fail(s, GPG_ERR_ASS_PARAMETER, "invalid hash algorithm");
}

/* DATA is a hash made with HASH, or any hash behind its DigestInfo (RFC 8017 9.2). */
static bool find_digest(struct rd data, int hash, struct tosign *t)
{
    for (size_t i = 0; i < HASHES; i++) {
        size_t dlen = gcry_md_get_algo_dlen(hashes[i].hash), plen = 0;
        unsigned char prefix[32];

        if (data.n == dlen && hashes[i].hash == hash) {
            *t = (struct tosign){hash, data};
            return true;
        }
        plen = sizeof prefix;
        if (gcry_md_algo_info(hashes[i].hash, GCRYCTL_GET_ASNOID, prefix, &plen) != 0 ||
            data.n != plen + dlen || memcmp(data.p, prefix, plen) != 0)
            continue;
        *t = (struct tosign){hashes[i].hash, rd_of(data.p + plen, dlen)};
        return true;
    }
    return false;
}

/* Without a hash's form: what ECDSA takes is a hash of that length, what Ed25519 takes is the message itself. RSA pads nothing else
 * here. */
static gpg_error_t make_tosign(struct gpg_session *s, const struct key *k, int hash,
                               struct tosign *t)
{
    struct rd data = buf_rd(&s->scd->data);

    if (data.n == 0)
        return scd_fail(s, GPG_ERR_MISSING_VALUE, "no SETDATA");
    if (find_digest(data, hash, t))
        return 0;
    if (k->algo == KEY_ED25519) {
        *t = (struct tosign){0, data};
        return 0;
    }
    for (size_t i = 0; k->algo == KEY_ECDSA && i < HASHES; i++)
        if (data.n == gcry_md_get_algo_dlen(hashes[i].hash) && hashes[i].hash != GCRY_MD_RMD160) {
            *t = (struct tosign){hashes[i].hash, data};
            return 0;
        }
    return scd_fail(s, GPG_ERR_INV_VALUE,
                    "what SETDATA gave is neither a hash nor one with its DigestInfo");
}

/* As the card gives it: the number, or both halves at full length. */
static gpg_error_t send_signature(struct gpg_session *s, const struct key *k, gcry_sexp_t sig)
{
    size_t len = (k->nbits + 7) / 8;
    static const char *const both[] = {"r", "s", NULL}, *const number[] = {"s", NULL};
    const char *const *names = k->algo == KEY_RSA ? number : both;
    struct buf out = BUF_INIT;
    gpg_error_t err = 0;

    if (k->algo == KEY_ED25519)
        len = 32;
    for (; err == 0 && *names != NULL; names++) {
        gcry_sexp_t part = gcry_sexp_find_token(sig, *names, 1);
        size_t n = 0;
        const char *p = part != NULL ? gcry_sexp_nth_data(part, 1, &n) : NULL;
        struct rd v = rd_of(p, p != NULL ? n : 0);

        if (k->algo != KEY_ED25519)
            v = rd_magnitude(v);
        if (v.n == 0 || v.n > len)
            err = gpg_error(GPG_ERR_BAD_SIGNATURE);
        for (size_t i = v.n; err == 0 && i < len; i++)
            buf_put_u8(&out, 0);
        buf_put_rd(&out, v);
        gcry_sexp_release(part);
    }
    if (err == 0)
        err = buf_err(&out);
    if (err == 0)
        err = gpg_send(s, buf_rd(&out), false);
    buf_free(&out);
    return err;
}

/* A refusal with the broker's reason. */
static gpg_error_t failed(struct gpg_session *s, const struct token_request *r, gpg_error_t err)
{
    err = gpg_map_error(s, err, true);
    return r->error_text != NULL ? gpg_tell_error(s, err, r->error_text) : err;
}

/* What is not there to be used. */
static gpg_error_t find_key(struct gpg_session *s, char *word, const char *slot, struct scd_key *k)
{
    gpg_error_t err;

    (void)scd_next_word(word);
    err = scd_key_find(s, word, slot, k);
    if (err == 0 && s->scd->undefined)
        err = scd_fail(s, GPG_ERR_UNSUPPORTED_OPERATION, NULL);
    return err == 0 && k->id == NULL ? scd_fail(s, GPG_ERR_NO_OBJ, NULL) : err;
}

static gpg_error_t sign(struct gpg_session *s, char *word, const char *slot, int hash,
                        struct token_request *r)
{
    struct scd_key k;
    gpg_error_t err = find_key(s, word, slot, &k);

    r->verb = TOKEN_SIGN;
    if (err == 0 && strcmp(k.slot, slot) != 0 &&
        (strcmp(slot, "sig") != 0 || strcmp(k.slot, "aut") != 0) &&
        (!scd_is_piv(&k) || !k.id->can_sign))
        err = scd_fail(s, GPG_ERR_INV_ID, NULL);
    if (err == 0)
        err = make_tosign(s, k.id->key, hash, &r->tosign);
    if (err == 0) {
        err = broker_request(s->a, &s->origin, k.id, r);
        err = err == 0 ? send_signature(s, k.id->key, r->sig) : failed(s, r, err);
    }
    token_request_clear(r);
    scd_key_clear(&k);
    return err;
}

/* PKSIGN [--hash=NAME] KEY */
static gpg_error_t cmd_pksign(struct gpg_session *s, char *line)
{
    struct token_request r = {.use = "openpgp-sign", .use_text = "sign with OpenPGP"};
    int hash;
    gpg_error_t err = wanted_hash(s, line, &hash);

    return err != 0 ? err : sign(s, gpg_skip_options(line), "sig", hash, &r);
}

/* PKAUTH KEY: a login somewhere. Nobody can tell where, and what is signed may be anything. */
static gpg_error_t cmd_pkauth(struct gpg_session *s, char *line)
{
    struct token_request r = {.use = "raw", .use_text = "log in somewhere, by gpg's protocol"};

    return sign(s, gpg_skip_options(line), "aut", GCRY_MD_SHA1, &r);
}

/* --- PKDECRYPT -------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t make_encval(struct gpg_session *s, const struct key *k, struct buf *out)
{
    const struct buf *d = &s->scd->data;
    gcry_sexp_t sexp = NULL;
    size_t n;
    gpg_error_t err;

    if (d->len == 0)
        return scd_fail(s, GPG_ERR_MISSING_VALUE, "no SETDATA");
    err = gcry_sexp_build(&sexp, NULL,
                          k->algo == KEY_RSA ? "(enc-val(rsa(a %b)))" : "(enc-val(ecdh(e %b)))",
                          (int)d->len, d->data);
    if (err != 0)
        return err;
    n = gcry_sexp_sprint(sexp, GCRYSEXP_FMT_CANON, NULL, 0);
    for (size_t i = 0; i < n; i++)
        buf_put_u8(out, 0);
    err = buf_err(out);
    if (err == 0)
        out->len = gcry_sexp_sprint(sexp, GCRYSEXP_FMT_CANON, out->data, out->len);
    gcry_sexp_release(sexp);
    return err;
}

/* A shared point's form is told by its first octet: 40 for Curve25519, 41 for a bare x. */
static gpg_error_t send_plain(struct gpg_session *s, const struct key *k, struct rd plain)
{
    struct buf out = BUF_INIT_SECURE;
    gpg_error_t err;

    if (k->algo == KEY_ECDH && plain.n == (k->nbits + 7) / 8)
        buf_put_u8(&out, k->curve != NULL && strcmp(k->curve, "Curve25519") == 0 ? 0x40 : 0x41);
    buf_put_rd(&out, plain);
    err = buf_err(&out);
    if (err == 0)
        err = gpg_status(s, "PADDING", "0");
    if (err == 0)
        err = gpg_send(s, buf_rd(&out), true);
    buf_free(&out);
    return err;
}

/* PKDECRYPT KEY */
static gpg_error_t cmd_pkdecrypt(struct gpg_session *s, char *line)
{
    struct token_request r = {.use = "decrypt", .use_text = "decrypt", .verb = TOKEN_DECRYPT};
    struct buf encval = BUF_INIT;
    struct scd_key k;
    gpg_error_t err = find_key(s, gpg_skip_options(line), "dec", &k);

    if (err == 0 && strcmp(k.slot, "dec") != 0 && (!scd_is_piv(&k) || !k.id->can_encrypt))
        err = scd_fail(s, GPG_ERR_INV_ID, NULL);
    if (err == 0)
        err = make_encval(s, k.id->key, &encval);
    if (err == 0) {
        r.tosign.data = buf_rd(&encval);
        err = broker_request(s->a, &s->origin, k.id, &r);
        err = err == 0 ? send_plain(s, k.id->key, buf_rd(&r.result)) : failed(s, &r, err);
    }
    token_request_clear(&r);
    scd_key_clear(&k);
    buf_free(&encval);
    return err;
}

const struct scd_command scd_key_commands[] = {{"SETDATA", cmd_setdata},
                                               {"PKSIGN", cmd_pksign},
                                               {"PKAUTH", cmd_pkauth},
                                               {"PKDECRYPT", cmd_pkdecrypt},
                                               {0}};
