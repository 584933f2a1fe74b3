/* IMPORT, EXPORT, PASSWD: keys that come, go, or get another passphrase. */
#include "devices/gpg_list.h"
#include "devices/gpg_manage.h"
#include "devices/gpg_protect.h"
#include "devices/gpg_ssh_key.h"
#include "devices/gpg_transfer.h"
#include "proto/token_protocol.h"

#include <string.h>

#define WRAP_KEY    16u
#define MAX_WRAPPED 16384u

/* --- the wrap --------------------------------------------------------------------------------------------------------------- */

static gpg_error_t ask_wrap_key(const struct driver_io *io, struct buf *kek)
{
    gpg_error_t err = io->inquire(io->arg, "WRAPKEY", NULL, WRAP_KEY, true, kek);

    return err == 0 && kek->len != WRAP_KEY ? gpg_error(GPG_ERR_INV_LENGTH) : err;
}

/* What gpg sends, opened: a canonical expression. */
static gpg_error_t receive(const struct driver_io *io, struct buf *canon)
{
    struct buf kek = BUF_INIT_SECURE, wrapped = BUF_INIT, text = BUF_INIT_SECURE;
    gpg_error_t err = ask_wrap_key(io, &kek);

    if (err == 0)
        err = io->inquire(io->arg, "WRAPPED", NULL, MAX_WRAPPED, false, &wrapped);
    if (err == 0)
        err = gpg_unwrap(buf_rd(&kek), buf_rd(&wrapped), &text);
    if (err == 0)
        err = canon_from_padded(buf_rd(&text), canon);
    buf_free(&kek);
    buf_free(&wrapped);
    buf_free(&text);
    return err;
}

/* ssh-add's: as it came. */
static gpg_error_t receive_ssh(const struct driver_op *op, struct buf *canon)
{
    struct buf body = BUF_INIT_SECURE;
    char *comment = NULL;
    gpg_error_t err = field_get(op->args, "comment", &comment);

    if (err == 0)
        err = op->io->inquire(op->io->arg, "WRAPPED", NULL, MAX_WRAPPED, true, &body);
    if (err == 0)
        err = gpg_ssh_key(buf_rd(&body), comment != NULL ? comment : "", canon);
    gpgrt_free(comment);
    buf_free(&body);
    return err;
}

static gpg_error_t send_wrapped(const struct driver_io *io, struct rd text, struct buf *result)
{
    struct buf kek = BUF_INIT_SECURE;
    gpg_error_t err = ask_wrap_key(io, &kek);

    if (err == 0)
        err = gpg_wrap(buf_rd(&kek), text, result);
    buf_free(&kek);
    return err;
}

/* --- IMPORT ------------------------------------------------------------------------------------------------------------------ */

struct importing {
    struct gpg_keystore *ks;
    struct gpg_access a;
    struct buf sent;   /* as it came */
    struct buf stored; /* as it is going to be kept: the key expression */
    struct gpg_phrase phrase;
    char grip[GPG_GRIP + 1];
    bool force, unattended, is_transfer, is_protected;
};

/* Whose key it is, by its public part. */
static gpg_error_t identify(struct importing *i)
{
    struct gpg_key_parts p;
    struct buf pub = BUF_INIT;
    uint8_t raw[20];
    char *hex = NULL;
    gpg_error_t err = gpg_transfer_look(buf_rd(&i->sent), &pub, &i->is_protected);

    i->is_transfer = err == 0;
    if (gpg_err_code(err) == GPG_ERR_UNKNOWN_SEXP) {
        err = gpg_key_split(buf_rd(&i->sent), &p);
        if (err == 0 && p.form == GPG_KEY_SHADOWED)
            err = gpg_error(GPG_ERR_UNUSABLE_SECKEY);
        if (err == 0)
            err = gpg_key_public(&p, &pub);
        i->is_protected = err == 0 && p.form != GPG_KEY_CLEAR;
    }
    if (err == 0)
        err = gpg_key_grip(buf_rd(&pub), raw);
    if (err == 0 && (hex = hex_encode(raw, sizeof raw)) == NULL)
        err = gpg_error_from_syserror();
    if (err == 0)
        memcpy(i->grip, hex, sizeof i->grip);
    gpgrt_free(hex);
    buf_free(&pub);
    return err;
}

/* A key that does not work counts as one that was opened by a wrong passphrase. */
static gpg_error_t try_transfer(struct importing *i, struct buf *clear)
{
    struct gpg_secret *key = NULL;
    gpg_error_t err;

    buf_free(clear);
    *clear = BUF_INIT_SECURE;
    err = gpg_transfer_open(buf_rd(&i->sent), buf_rd(&i->phrase.text), clear);
    if (err == 0)
        err = gpg_secret_new(buf_rd(clear), &key);
    gpg_secret_unref(key);
    return i->is_protected && gpg_err_code(err) == GPG_ERR_BAD_SECKEY
               ? gpg_error(GPG_ERR_BAD_PASSPHRASE)
               : err;
}

static gpg_error_t open_transfer(struct importing *i, struct buf *clear)
{
    gpg_error_t err;

    if (!i->is_protected)
        return try_transfer(i, clear);
    err = gpg_nonce_get(i->ks, &i->a, i->a.nonce, &i->phrase);
    if (err == 0)
        err = try_transfer(i, clear);
    if (err == 0)
        i->a.cached = true;
    if (gpg_err_code(err) != GPG_ERR_NO_DATA && gpg_err_code(err) != GPG_ERR_BAD_PASSPHRASE)
        return err;
    for (int n = 1; n <= GPG_TRIES; n++) {
        err = gpg_ask(&i->a, i->grip, "import", n, GPG_TRIES, n > 1, &i->phrase);
        if (err == 0)
            err = try_transfer(i, clear);
        if (gpg_err_code(err) != GPG_ERR_BAD_PASSPHRASE)
            break;
    }
    return err;
}

/* gpg's transfer form: kept as it came, or in the store's own form. */
static gpg_error_t prepare_transfer(struct importing *i, struct gpg_file *f)
{
    struct buf clear = BUF_INIT_SECURE;
    gpg_error_t err;

    if (i->unattended && i->is_protected) {
        err = gpg_native_make(buf_rd(&i->sent), &i->stored);
        if (err == 0)
            err = gpg_file_set_key(f, buf_rd(&i->stored));
    } else {
        err = open_transfer(i, &clear);
        if (err == 0 && !i->is_protected)
            buf_reset(&i->phrase.text);
        if (err == 0)
            err = gpg_file_seal(f, buf_rd(&clear), &i->phrase);
    }
    buf_free(&clear);
    return err;
}

/* The store's own forms, from gpgsm and ssh-add: a clear key gets a passphrase. */
static gpg_error_t prepare_own(struct importing *i, struct gpg_file *f)
{
    struct gpg_secret *key = NULL;
    gpg_error_t err;

    if (i->is_protected)
        return gpg_file_set_key(f, buf_rd(&i->sent));
    err = gpg_secret_new(buf_rd(&i->sent), &key);
    gpg_secret_unref(key);
    if (err == 0 && gpg_nonce_get(i->ks, &i->a, i->a.nonce, &i->phrase) == 0)
        i->a.cached = true;
    else if (err == 0)
        err = gpg_ask(&i->a, i->grip, "new", 1, 1, false, &i->phrase);
    return err == 0 ? gpg_file_seal(f, buf_rd(&i->sent), &i->phrase) : err;
}

static gpg_error_t store_import(struct importing *i, long created)
{
    struct gpg_file *f = NULL;
    struct gpg_file_id id;
    char when[16];
    bool there;
    gpg_error_t err = gpg_store_read(i->ks->store, i->grip, &f, &id);

    /* a stub or broken file is one, too */
    if (!i->force && gpg_err_code(err) != GPG_ERR_NO_SECKEY) {
        gpg_file_free(f);
        return err == 0 ? gpg_error(GPG_ERR_EEXIST) : err;
    }
    there = err == 0;
    if (gpg_err_code(err) == GPG_ERR_NO_SECKEY)
        err = gpg_file_new(&f);
    if (err == 0 && created >= 0) {
        gpg_isotime((time_t)created, when);
        err = gpg_file_set(f, "Created", when);
    }
    if (err == 0)
        err = i->is_transfer ? prepare_transfer(i, f) : prepare_own(i, f);
    if (err == 0 && there)
        err = gpg_file_set(f, "Token", NULL); /* it is here now */
    if (err == 0)
        err = gpg_store_write(i->ks->store, i->grip, f, there ? &id : NULL);
    gpg_file_free(f);
    return err;
}

static gpg_error_t tell_key(struct importing *i)
{
    struct gpg_entry *e = NULL;
    struct buf line = BUF_INIT;
    gpg_error_t err = gpg_store_find(i->ks->store, i->grip, &e);

    if (err == 0)
        err = gpg_put_key_line(&line, e, NULL, 0);
    if (err == 0 && line.len > 0 && buf_cstr(&line) != NULL)
        err = i->a.io->status(i->a.io->arg, "KEY", buf_cstr(&line));
    gpg_entry_unref(e);
    buf_free(&line);
    return err;
}

static gpg_error_t tell_nonce(struct importing *i)
{
    char *nonce = NULL;
    gpg_error_t err = gpg_nonce_put(i->ks, &i->a, i->a.nonce, &i->phrase, GPG_NONCE_TTL, &nonce);

    if (err == 0)
        err = gpg_tell_nonce(i->a.io, nonce, NULL);
    gpgrt_free(nonce);
    return err;
}

gpg_error_t gpg_import(void *state, struct driver_op *op, struct buf *result)
{
    struct importing i = {
        .ks = state, .sent = BUF_INIT_SECURE, .stored = BUF_INIT, .phrase = GPG_PHRASE_INIT};
    long created = -1;
    bool ssh = false;
    gpg_error_t err;

    (void)result;
    if ((err = gpg_access_parse(i.ks, op, "nonce", &i.a)) != 0 ||
        (err = field_get_int(op->args, "created", -1, &created)) != 0 ||
        (err = gpg_flag(op->args, "force", &i.force)) != 0 ||
        (err = gpg_flag(op->args, "unattended", &i.unattended)) != 0 ||
        (err = gpg_flag(op->args, "ssh", &ssh)) != 0 ||
        (err = ssh ? receive_ssh(op, &i.sent) : receive(op->io, &i.sent)) != 0 ||
        (err = identify(&i)) != 0 || (err = store_import(&i, created)) != 0)
        goto out;
    gpg_cache_clear_id(i.ks->cache, i.grip);
    err = tell_key(&i);
    if (err == 0 && i.phrase.text.len > 0)
        err = tell_nonce(&i);
out:
    gpg_access_tell(&i.a, op);
    gpg_access_clear(&i.a);
    buf_free(&i.sent);
    buf_free(&i.stored);
    buf_free(&i.phrase.text);
    return err;
}

/* --- EXPORT ------------------------------------------------------------------------------------------------------------------ */

enum form { FORM_PLAIN, FORM_OPENPGP, FORM_CARD };

static gpg_error_t parse_form(const char *args, enum form *out)
{
    char *word = NULL;
    gpg_error_t err = field_get(args, "form", &word);

    if (err == 0 && word == NULL)
        err = gpg_error(GPG_ERR_MISSING_VALUE);
    if (err != 0)
        return err;
    if (strcmp(word, "plain") == 0)
        *out = FORM_PLAIN;
    else if (strcmp(word, "openpgp") == 0)
        *out = FORM_OPENPGP;
    else if (strcmp(word, "card") == 0)
        *out = FORM_CARD;
    else
        err = gpg_error(GPG_ERR_INV_VALUE);
    gpgrt_free(word);
    return err;
}

/* (private-key .. (created-at SECONDS)), as a card's WRITEKEY wants it. */
static gpg_error_t put_for_card(struct rd key, long created, struct buf *out)
{
    char when[24];

    buf_put(out, key.p, key.n - 1);
    snprintf(when, sizeof when, "%010ld", created < 0 ? 0 : created);
    canon_put_pair(out, "created-at", rd_of(when, strlen(when)));
    buf_put_u8(out, ')');
    return buf_err(out);
}

static gpg_error_t put_form(struct gpg_access *a, const char *grip, enum form form, long created,
                            struct rd key, struct gpg_phrase *p, struct buf *out)
{
    gpg_error_t err = 0;

    switch (form) {
    case FORM_PLAIN:
        buf_put_rd(out, key);
        return buf_err(out);
    case FORM_CARD:
        return put_for_card(key, created, out);
    case FORM_OPENPGP:
        break;
    }
    if (p->text.len == 0)
        err = gpg_ask(a, grip, "export", 1, 1, false, p);
    return err == 0 ? gpg_transfer_close(key, buf_rd(&p->text), out) : err;
}

gpg_error_t gpg_export(void *state, struct driver_op *op, struct buf *result)
{
    struct gpg_keystore *ks = state;
    struct gpg_access a = {0};
    struct gpg_phrase phrase = GPG_PHRASE_INIT;
    struct gpg_secret *key = NULL;
    struct buf text = BUF_INIT_SECURE;
    enum form form = FORM_PLAIN;
    char grip[GPG_GRIP + 1], *nonce = NULL;
    long created = -1;
    bool had_phrase;
    gpg_error_t err;

    if ((err = gpg_op_grip(op, grip)) != 0 || (err = gpg_access_parse(ks, op, "nonce", &a)) != 0 ||
        (err = parse_form(op->args, &form)) != 0 ||
        (err = field_get_int(op->args, "created", -1, &created)) != 0 ||
        (err = gpg_unlock(ks, grip, "use", &a, &key, &phrase)) != 0)
        goto out;
    had_phrase = phrase.text.len > 0;
    err = put_form(&a, grip, form, created, gpg_secret_key(key), &phrase, &text);
    if (err == 0)
        err = send_wrapped(op->io, buf_rd(&text), result);
    if (err == 0 && had_phrase)
        err = gpg_nonce_put(ks, &a, a.nonce, &phrase, GPG_NONCE_TTL, &nonce);
    if (err == 0)
        err = gpg_tell_nonce(op->io, nonce, NULL);
out:
    gpg_access_tell(&a, op);
    gpg_access_clear(&a);
    gpg_secret_unref(key);
    gpgrt_free(nonce);
    buf_free(&text);
    buf_free(&phrase.text);
    return err;
}

/* --- PASSWD ------------------------------------------------------------------------------------------------------------------ */

struct changing {
    struct gpg_keystore *ks;
    struct gpg_access a;
    char grip[GPG_GRIP + 1];
    char *passwd_nonce;
    bool verify, preset;
    long preset_ttl;
    struct gpg_phrase old, new;
};

static gpg_error_t find_new(struct changing *c)
{
    return gpg_nonce_get(c->ks, &c->a, c->passwd_nonce, &c->new) == 0
               ? 0
               : gpg_ask(&c->a, c->grip, "new", 1, 1, false, &c->new);
}

static gpg_error_t write_changed(struct changing *c, struct rd key)
{
    struct gpg_file *f = NULL;
    struct gpg_file_id id;
    gpg_error_t err = gpg_store_read(c->ks->store, c->grip, &f, &id);

    if (err == 0)
        err = gpg_file_seal(f, key, &c->new);
    if (err == 0)
        err = gpg_store_write(c->ks->store, c->grip, f, &id);
    if (err == 0)
        gpg_cache_clear_id(c->ks->cache, c->grip);
    gpg_file_free(f);
    return err;
}

static gpg_error_t hand_out(struct changing *c)
{
    struct gpg_cache_slot at = {
        .id = c->grip, .mode = GPG_CACHE_NORMAL, .realm = c->a.realm, .epoch = c->a.epoch};
    const struct gpg_phrase *named = c->verify ? &c->old : &c->new;
    char *cache = NULL, *passwd = NULL;
    gpg_error_t err = 0;

    if (c->old.text.len > 0 && !c->verify)
        err = gpg_nonce_put(c->ks, &c->a, c->a.nonce, &c->old, GPG_NONCE_TTL, &cache);
    if (err == 0 && (named->text.len > 0 || !c->verify))
        err = gpg_nonce_put(c->ks, &c->a, c->passwd_nonce, named, GPG_NONCE_TTL, &passwd);
    if (err == 0)
        err = gpg_tell_nonce(c->a.io, cache, passwd);
    if (err == 0 && c->preset && c->new.text.len > 0)
        err = gpg_cache_put(c->ks->cache, &at, buf_rd(&c->new.text), c->new.typed, c->preset_ttl,
                            c->a.max_ttl);
    gpgrt_free(cache);
    gpgrt_free(passwd);
    return err;
}

gpg_error_t gpg_passwd(void *state, struct driver_op *op, struct buf *result)
{
    struct changing c = {.ks = state, .old = GPG_PHRASE_INIT, .new = GPG_PHRASE_INIT};
    struct gpg_secret *key = NULL;
    gpg_error_t err;

    (void)result;
    if ((err = gpg_op_grip(op, c.grip)) != 0 ||
        (err = gpg_access_parse(c.ks, op, "cache-nonce", &c.a)) != 0 ||
        (err = field_get(op->args, "passwd-nonce", &c.passwd_nonce)) != 0 ||
        (err = field_get_int(op->args, "preset-ttl", GPG_PRESET_TTL, &c.preset_ttl)) != 0 ||
        (err = gpg_flag(op->args, "preset", &c.preset)) != 0 ||
        (err = gpg_flag(op->args, "verify", &c.verify)) != 0)
        goto out;
    c.a.use_cache = false;
    err = gpg_unlock(c.ks, c.grip, "old", &c.a, &key, &c.old);
    if (err == 0 && !c.verify)
        err = find_new(&c);
    if (err == 0 && !c.verify)
        err = write_changed(&c, gpg_secret_key(key));
    if (err == 0)
        err = hand_out(&c);
out:
    gpg_access_tell(&c.a, op);
    gpg_access_clear(&c.a);
    gpg_secret_unref(key);
    gpgrt_free(c.passwd_nonce);
    buf_free(&c.old.text);
    buf_free(&c.new.text);
    return err;
}
