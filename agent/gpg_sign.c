/* Signatures and decryption: SIGKEY, SETKEY, SETKEYDESC, SETHASH, PKSIGN, PKDECRYPT. */
#include "agent/gpg_dialog.h"
#include "agent/hotplug.h"
#include "proto/token_protocol.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_MS       3000
#define MAX_CIPHERTEXT  4096u
#define MAX_TBS         2048u
#define TLS_MD5SHA1_LEN 36u
#define MAX_DIGEST      64u

/* --- what is to be done with which key ---------------------------------------------------------------------------------------- */

static gpg_error_t cmd_sigkey(struct gpg_session *s, char *line)
{
    return gpg_parse_grip(s, gpg_skip_options(line), s->grip);
}

/* The first word counts; its '+' are blanks, its %XX stay for pinentry. */
static gpg_error_t cmd_setkeydesc(struct gpg_session *s, char *line)
{
    char *desc;

    line[strcspn(line, " \t")] = '\0';
    if (line[0] == '\0')
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "no description given");
    for (char *p = line; *p != '\0'; p++)
        if (*p == '+')
            *p = ' ';
    desc = s->level == GPG_FULL
               ? gpgrt_strdup(line)
               : gpgrt_bsprintf("Note: Request from %s.%%0A%%0A%s",
                                s->level == GPG_EXTRA ? "a remote site" : "the web browser", line);
    if (desc == NULL)
        return gpg_error_from_syserror();
    gpgrt_free(s->desc);
    s->desc = desc;
    return 0;
}

static gpg_error_t named_hash(struct gpg_session *s, const char *value, int *hash)
{
    static const struct {
        const char *name;
        int hash;
    } names[] = {{"sha1", GCRY_MD_SHA1},     {"sha224", GCRY_MD_SHA224},
                 {"sha256", GCRY_MD_SHA256}, {"sha384", GCRY_MD_SHA384},
                 {"sha512", GCRY_MD_SHA512}, {"rmd160", GCRY_MD_RMD160},
                 {"md5", GCRY_MD_MD5},       {"tls-md5sha1", GPG_HASH_TLS_MD5SHA1},
                 {"none", GPG_HASH_IS_DATA}};
    size_t n = strcspn(value, " \t");

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strlen(names[i].name) == n && strncmp(names[i].name, value, n) == 0) {
            *hash = names[i].hash;
            return 0;
        }
    return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "invalid hash algorithm");
}

static bool is_digest_length(size_t n)
{
    return n == 16 || n == 20 || n == 24 || n == 28 || n == 32 || n == 48 || n == 64;
}

static gpg_error_t take_digest(struct gpg_session *s, const char *hex, int hash)
{
    struct buf b = BUF_INIT;
    char *clean;
    size_t n = strspn(hex, "0123456789abcdefABCDEF");
    gpg_error_t err;

    clean = gpgrt_bsprintf("%.*s", (int)n, hex);
    if (clean == NULL)
        return gpg_error_from_syserror();
    err = n % 2 == 0 && (hex[n] == '\0' || isspace((unsigned char)hex[n]))
              ? hex_decode(clean, &b)
              : gpg_error(GPG_ERR_ASS_PARAMETER);
    gpgrt_free(clean);
    if (err == 0 &&
        !(hash == GPG_HASH_TLS_MD5SHA1 ? b.len == TLS_MD5SHA1_LEN : is_digest_length(b.len)))
        err = gpg_error(GPG_ERR_ASS_PARAMETER);
    if (err != 0) {
        buf_free(&b);
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "unsupported length of hash");
    }
    buf_free(&s->tbs);
    s->tbs = b;
    s->hash = hash;
    return 0;
}

/* --inquire: what is signed comes whole. */
static gpg_error_t take_data(struct gpg_session *s, bool pss)
{
    struct buf b = BUF_INIT;
    gpg_error_t err = gpg_inquire(s, "TBSDATA", MAX_TBS, true, false, &b);

    if (err != 0) {
        buf_free(&b);
        return err;
    }
    buf_free(&s->tbs);
    s->tbs = b;
    s->hash = GPG_HASH_IS_DATA;
    s->pss = pss;
    return 0;
}

static gpg_error_t cmd_sethash(struct gpg_session *s, char *line)
{
    const char *name = gpg_option_value(line, "--hash");
    bool inquire = gpg_has_option(line, "--inquire"), pss = gpg_has_option(line, "--pss");
    char *end, *rest = gpg_skip_options(line);
    int hash = 0;
    gpg_error_t err;

    s->hash = GPG_HASH_NONE_YET;
    s->pss = false;
    if (name != NULL) {
        err = named_hash(s, name, &hash);
        if (err != 0)
            return err;
    } else if (!inquire) {
        unsigned long n = strtoul(rest, &end, 10);

        if (end == rest || n == 0 || n > 1000 || gcry_md_test_algo((int)n) != 0)
            return gpg_fail(s, GPG_ERR_UNSUPPORTED_ALGORITHM, NULL);
        hash = (int)n;
        rest = end + strspn(end, " \t");
    }
    return inquire || hash == GPG_HASH_IS_DATA ? take_data(s, pss) : take_digest(s, rest, hash);
}

/* --- the key, and whom it belongs to ------------------------------------------------------------------------------------------- */

/* Has the token come whose key S has selected? */
static gpg_error_t has_come(void *arg)
{
    struct gpg_session *s = arg;
    const struct keyring_snapshot *snap = NULL;
    bool is = gpg_find(s, s->grip, &snap) != NULL;

    keyring_put(snap);
    return is ? 0 : gpg_error(GPG_ERR_NO_SECKEY);
}

/* The selected key, after asking for its token if a stub tells that there is one. */
static gpg_error_t find_selected(struct gpg_session *s, const struct keyring_snapshot **snap,
                                 const struct identity **id, struct gpg_stored *file)
{
    gpg_error_t err;

    if (s->grip[0] == '\0')
        return gpg_fail(s, GPG_ERR_NO_SECKEY, NULL);
    err = gpg_stored_get(s, s->grip, file);
    if (err != 0 && gpg_err_code(err) != GPG_ERR_NOT_FOUND)
        return gpg_map_error(s, err, false);
    *id = gpg_find(s, s->grip, snap);
    if (*id == NULL) {
        keyring_put(*snap);
        hotplug_settle_all(s->a->hotplug,
                           SETTLE_MS); /* a fresh agent has not seen every reader yet */
        *id = gpg_find(s, s->grip, snap);
    }
    if (*id != NULL)
        return 0;
    if (file->state != STORED_SHADOWED)
        return gpg_fail(s, GPG_ERR_NO_SECKEY, NULL);
    keyring_put(*snap);
    *snap = NULL;
    err = gpg_await_card(s, file, has_come, s);
    if (err != 0)
        return err;
    *id = gpg_find(s, s->grip, snap);
    return *id != NULL ? 0 : gpg_fail(s, GPG_ERR_NO_SECKEY, NULL);
}

/* Attributes of the key file that want the person asked each time; and a key that ssh may have, too, could be made to sign a
 * login that looks like a hash, or, where it signs messages, one that is longer than a hash. */
static bool wants_confirmation(const struct gpg_session *s, const struct gpg_stored *file,
                               const struct identity *id, bool sign)
{
    bool forgeable = id->key->algo == KEY_RSA || id->key->algo == KEY_ECDSA ||
                     id->key->algo == KEY_DSA || s->tbs.len > MAX_DIGEST;

    if (file->confirm != NULL && (strcmp(file->confirm, "restricted") != 0 || s->level != GPG_FULL))
        return true;
    return sign && forgeable && file->ssh != 0 && !file->ssh_disabled;
}

/* What both operations share: the fields for the passphrase, the description, the person's words. */
struct operands {
    const struct keyring_snapshot *snap;
    const struct identity *id;
    struct gpg_stored file;
    struct gpg_asking asking;
    struct buf args;
    char *uid, *what, *desc;
};

static void operands_clear(struct operands *o)
{
    keyring_put(o->snap);
    gpg_stored_clear(&o->file);
    buf_free(&o->args);
    gpgrt_free(o->uid);
    gpgrt_free(o->what);
    gpgrt_free(o->desc);
}

/* Takes the description: it is for one operation. NONCE: may be NULL. */
static gpg_error_t operands_init(struct gpg_session *s, struct operands *o, bool cache,
                                 const char *nonce, struct token_request *r)
{
    gpg_error_t err;

    o->desc = s->desc;
    s->desc = NULL;
    err = find_selected(s, &o->snap, &o->id, &o->file);
    if (err != 0)
        return err;
    o->asking = (struct gpg_asking){.s = s, .desc = o->desc};
    gpg_put_cache_fields(s, cache, false, &o->args);
    if (nonce != NULL && nonce[0] != '\0')
        field_put(&o->args, "nonce", nonce);
    o->uid = o->desc != NULL ? gpg_quoted_name(o->desc) : NULL;
    if (o->uid != NULL)
        o->what = gpgrt_bsprintf("Name:    %s\n", o->uid);
    r->what = o->what;
    r->answer = gpg_answer;
    r->answer_arg = &o->asking;
    return 0;
}

static gpg_error_t finish(struct gpg_session *s, const struct operands *o, struct token_request *r,
                          gpg_error_t err)
{
    bool card = o->id != NULL && !gpg_is_stored(o->id);

    err = gpg_map_error(s, err, card);
    return err != 0 && r->error_text != NULL ? gpg_tell_error(s, err, r->error_text) : err;
}

/* --- PKSIGN ----------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t cmd_pksign(struct gpg_session *s, char *line)
{
    struct token_request r = {
        .use = "openpgp-sign", .use_text = "sign with OpenPGP", .verb = TOKEN_SIGN};
    struct operands o = {0};
    bool cache = s->cache_for_signing && !s->conf->ignore_cache_for_signing;
    gpg_error_t err;

    line = gpg_skip_options(line);
    line[strcspn(line, " \t")] = '\0';
    if (s->hash == GPG_HASH_NONE_YET && s->grip[0] != '\0')
        return gpg_fail(s, GPG_ERR_MISSING_VALUE, "no SETHASH");
    err = operands_init(s, &o, cache, line, &r);
    if (err != 0)
        goto out;
    /* libgcrypt's number, or data that is padded (RSA) or signed (EdDSA) as it is */
    r.tosign.hash = s->hash > 0 ? s->hash : 0;
    r.tosign.data = buf_rd(&s->tbs);
    if (s->hash == GPG_HASH_TLS_MD5SHA1 || s->pss)
        field_put(&o.args, "pad", s->pss ? "none" : "type1");
    r.args = buf_cstr(&o.args);
    r.confirm = wants_confirmation(s, &o.file, o.id, true);
    err = r.args != NULL ? broker_request(s->a, &s->origin, o.id, &r) : buf_err(&o.args);
    if (err == 0)
        err = gpg_send_sexp(s, r.sig);
    else
        err = finish(s, &o, &r, err);
out:
    operands_clear(&o);
    token_request_clear(&r);
    return err;
}

/* --- PKDECRYPT --------------------------------------------------------------------------------------------------------------------- */

/* The client's (enc-val [(flags ..)] (ALGO ..)), canonical and without flags. */
static gpg_error_t read_encval(struct gpg_session *s, struct buf *out)
{
    struct buf text = BUF_INIT;
    gcry_sexp_t given = NULL, part = NULL, clean = NULL;
    size_t n;
    gpg_error_t err = gpg_inquire(s, "CIPHERTEXT", MAX_CIPHERTEXT, true, false, &text);

    if (err == 0)
        err = gcry_sexp_sscan(&given, NULL, (const char *)text.data, text.len);
    if (err == 0) {
        gcry_sexp_t list = gcry_sexp_find_token(given, "enc-val", 0);
        int parts = list != NULL ? gcry_sexp_length(list) : 0;

        for (int i = 1; i < parts && part == NULL; i++) {
            size_t len;
            const char *word;

            part = gcry_sexp_nth(list, i);
            word = part != NULL ? gcry_sexp_nth_data(part, 0, &len) : NULL;
            if (word != NULL && len == 5 && memcmp(word, "flags", 5) == 0) {
                gcry_sexp_release(part);
                part = NULL;
            }
        }
        gcry_sexp_release(list);
        err = part != NULL ? gcry_sexp_build(&clean, NULL, "(enc-val %S)", part)
                           : gpg_error(GPG_ERR_INV_SEXP);
    }
    if (err == 0) {
        char *canon;

        n = gcry_sexp_sprint(clean, GCRYSEXP_FMT_CANON, NULL, 0);
        canon = gpgrt_malloc(n + 1);
        if (canon == NULL) {
            err = gpg_error_from_syserror();
        } else {
            n = gcry_sexp_sprint(clean, GCRYSEXP_FMT_CANON, canon, n + 1);
            buf_put(out, canon, n);
            err = buf_err(out);
            gpgrt_free(canon);
        }
    }
    gcry_sexp_release(given);
    gcry_sexp_release(part);
    gcry_sexp_release(clean);
    buf_free(&text);
    return err;
}

/* RSA: the key store gives the whole PKCS#1 block, a card what was in it. */
static bool is_padded(const struct key *k, struct rd plain)
{
    return k->algo == KEY_RSA && plain.n + 1 >= (k->nbits + 7) / 8;
}

/* gpg tells a shared point's form by its first octet. */
static void put_point_marker(const struct key *k, struct rd plain, struct buf *out)
{
    if (k->algo != KEY_ECDH || k->curve == NULL || plain.n != (k->nbits + 7) / 8)
        return;
    buf_put_u8(out, strcmp(k->curve, "Curve25519") == 0 ? 0x40 : 0x41);
}

static gpg_error_t send_plain(struct gpg_session *s, const struct identity *id, struct rd plain)
{
    struct buf value = BUF_INIT_SECURE, out = BUF_INIT_SECURE;
    gpg_error_t err = 0;

    put_point_marker(id->key, plain, &value);
    buf_put_rd(&value, plain);
    buf_printf(&out, "(5:value%zu:", value.len);
    buf_put_rd(&out, buf_rd(&value));
    buf_put(&out, ")", 1);
    if (!gpg_is_stored(id) && !is_padded(id->key, plain))
        err = gpg_status(s, "PADDING", "0");
    if (err == 0)
        err = buf_err(&out);
    if (err == 0)
        err = gpg_send(s, buf_rd(&out), true);
    buf_free(&value);
    buf_free(&out);
    return err;
}

static gpg_error_t cmd_pkdecrypt(struct gpg_session *s, char *line)
{
    struct token_request r = {.use = "decrypt", .use_text = "decrypt", .verb = TOKEN_DECRYPT};
    struct operands o = {0};
    struct buf encval = BUF_INIT;
    gpg_error_t err = read_encval(s, &encval);

    (void)line;
    if (err == 0)
        err = operands_init(s, &o, true, NULL, &r);
    if (err != 0)
        goto out;
    r.tosign.data = buf_rd(&encval);
    r.args = buf_cstr(&o.args);
    r.confirm = wants_confirmation(s, &o.file, o.id, false);
    err = r.args != NULL ? broker_request(s->a, &s->origin, o.id, &r) : buf_err(&o.args);
    if (err == 0)
        err = send_plain(s, o.id, buf_rd(&r.result));
    else
        err = finish(s, &o, &r, err);
out:
    operands_clear(&o);
    token_request_clear(&r);
    buf_free(&encval);
    return err;
}

const struct gpg_command gpg_sign_commands[] = {
    {"SIGKEY", cmd_sigkey, true, "SIGKEY <hexstring_with_keygrip>\n\nSelects the key."},
    {"SETKEY", cmd_sigkey, true, "SETKEY <hexstring_with_keygrip>\n\nSelects the key."},
    {"SETKEYDESC", cmd_setkeydesc, true,
     "SETKEYDESC plus_percent_escaped_string\n\nThe text for the next question about the key."},
    {"SETHASH", cmd_sethash, true,
     "SETHASH (--hash=<name>)|(<algonumber>) <hexstring>\nSETHASH [--pss] --inquire\n\nWhat to "
     "sign."},
    {"PKSIGN", cmd_pksign, true, "PKSIGN [<cache_nonce>]\n\nSigns the hash with the selected key."},
    {"PKDECRYPT", cmd_pkdecrypt, true, "PKDECRYPT\n\nDecrypts with the selected key."},
    {0},
};
