/* Verbs that change no private key: attributes, stubs, sshcontrol, the passphrase cache. */
#include "devices/gpg_manage.h"

#include "devices/gpg_transfer.h"
#include "proto/token_protocol.h"

#include <string.h>
#include <strings.h>

#define MAX_VALUE 8192u
#define MAX_PUB   8192u

gpg_error_t gpg_tell_nonce(const struct driver_io *io, const char *cache, const char *passwd)
{
    struct buf line = BUF_INIT;
    gpg_error_t err = 0;

    if (cache != NULL)
        field_put(&line, "cache", cache);
    if (passwd != NULL)
        field_put(&line, "passwd", passwd);
    if (line.len > 0)
        err = buf_cstr(&line) != NULL ? io->status(io->arg, TOKEN_STATUS_NONCE, buf_cstr(&line))
                                      : gpg_error(GPG_ERR_ENOMEM);
    buf_free(&line);
    return err;
}

/* --- ATTR ---------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t set_attr(struct gpg_keystore *ks, const struct driver_op *op, const char *grip,
                            const char *name, struct gpg_file *f, const struct gpg_file_id *id)
{
    struct buf value = BUF_INIT;
    const char *text;
    gpg_error_t err = op->io->inquire(op->io->arg, "VALUE", NULL, MAX_VALUE, false, &value);

    if (err == 0) {
        text = buf_cstr(&value);
        err = text == NULL                ? gpg_error(GPG_ERR_ENOMEM)
              : strlen(text) != value.len ? gpg_error(GPG_ERR_INV_VALUE)
                                          : gpg_file_set(f, name, text);
    }
    if (err == 0)
        err = gpg_store_write(ks->store, grip, f, id);
    buf_free(&value);
    return err;
}

gpg_error_t gpg_attr(void *state, struct driver_op *op, struct buf *result)
{
    struct gpg_keystore *ks = state;
    char grip[GPG_GRIP + 1], *name = NULL;
    struct gpg_file_id id;
    struct gpg_file *f = NULL;
    bool set = false, del = false;
    size_t n;
    gpg_error_t err;

    if ((err = gpg_op_grip(op, grip)) != 0 || (err = gpg_flag(op->args, "set", &set)) != 0 ||
        (err = gpg_flag(op->args, "delete", &del)) != 0 ||
        (err = field_get(op->args, "name", &name)) != 0)
        goto out;
    n = name != NULL ? strlen(name) : 0;
    if (n == 0 || name[n - 1] != ':' || !gpg_file_name_ok(rd_of(name, n - 1))) {
        err = gpg_error(GPG_ERR_INV_NAME);
        goto out;
    }
    name[n - 1] = '\0';
    err = gpg_store_read(ks->store, grip, &f, &id);
    if (err != 0)
        goto out;
    if (set) {
        err = set_attr(ks, op, grip, name, f, &id);
    } else if (gpg_file_get(f, name, 0) == NULL) {
        err = gpg_error(GPG_ERR_NOT_FOUND);
    } else if (del) {
        err = gpg_file_set(f, name, NULL);
        if (err == 0)
            err = gpg_store_write(ks->store, grip, f, &id);
    } else {
        const char *value = gpg_file_get(f, name, 0);

        buf_put(result, value, strlen(value));
    }
out:
    gpg_file_free(f);
    gpgrt_free(name);
    return err;
}

/* --- STUB ---------------------------------------------------------------------------------------------------------------------- */

struct token {
    char *serial, *ref, *label;
};

static bool is_word(const char *s, size_t max)
{
    size_t n = s != NULL ? strlen(s) : 0;

    for (size_t i = 0; i < n; i++)
        if (s[i] <= ' ' || s[i] > '~')
            return false;
    return n > 0 && n <= max;
}

/* "Token: SERIAL REF - LABEL" as gpg-agent 2.4 writes it; the label's blanks are plus signs. */
static char *token_line(const struct token *t)
{
    char *line = gpgrt_bsprintf("%s %s - %s", t->serial, t->ref,
                                t->label != NULL && t->label[0] != '\0' ? t->label : "-");
    size_t fixed = strlen(t->serial) + strlen(t->ref) + 4;

    for (char *p = line != NULL ? line + fixed : NULL; p != NULL && *p != '\0'; p++)
        if (*p == ' ')
            *p = '+';
        else if (*p < ' ' || *p > '~')
            *p = '?';
    return line;
}

/* Does F name this place on this card already? */
static bool names_token(const struct gpg_file *f, const struct token *t)
{
    const char *v;

    for (unsigned i = 0; (v = gpg_file_get(f, "Token", i)) != NULL; i++) {
        size_t n = strlen(t->serial), m = strlen(t->ref);

        if (strncasecmp(v, t->serial, n) == 0 && v[n] == ' ' &&
            strncmp(v + n + 1, t->ref, m) == 0 && (v[n + 1 + m] == ' ' || v[n + 1 + m] == '\0'))
            return true;
    }
    return false;
}

/* (shadowed-private-key (ALGO .. (shadowed t1-v1 (SERIAL REF)))) of the (public-key ..) PUB. */
static gpg_error_t make_shadowed(struct rd pub, const struct token *t, struct buf *out)
{
    struct rd inside, word, list, items;
    struct buf serial = BUF_INIT;
    gpg_error_t err = canon_enter(pub, &inside);

    if (err == 0)
        err = canon_next(&inside, NULL, &word);
    if (err == 0 && (word.p == NULL || !rd_is(word, "public-key")))
        err = gpg_error(GPG_ERR_INV_SEXP);
    if (err == 0)
        err = canon_next(&inside, &list, NULL);
    if (err == 0)
        err = canon_enter(list, &items);
    if (err == 0)
        err = hex_decode(t->serial, &serial);
    if (err == 0) {
        buf_put_u8(out, '(');
        canon_put_name(out, "shadowed-private-key");
        buf_put_u8(out, '(');
        buf_put_rd(out, items);
        buf_put_u8(out, '(');
        canon_put_name(out, "shadowed");
        canon_put_name(out, "t1-v1");
        buf_put_u8(out, '(');
        canon_put(out, buf_rd(&serial));
        canon_put_name(out, t->ref);
        buf_put(out, "))))", 4);
        err = buf_err(out);
    }
    buf_free(&serial);
    return err;
}

/* The key of GRIP must be what is told of it. */
static gpg_error_t check_shadowed(struct rd shadowed, const char *grip)
{
    struct gpg_key_parts p;
    struct buf pub = BUF_INIT;
    uint8_t own[20];
    char *hex = NULL;
    gpg_error_t err = gpg_key_split(shadowed, &p);

    if (err == 0)
        err = gpg_key_public(&p, &pub);
    if (err == 0)
        err = gpg_key_grip(buf_rd(&pub), own);
    if (err == 0 && (hex = hex_encode(own, sizeof own)) == NULL)
        err = gpg_error_from_syserror();
    if (err == 0 && strcmp(hex, grip) != 0)
        err = gpg_error(GPG_ERR_INV_ID);
    gpgrt_free(hex);
    buf_free(&pub);
    return err;
}

static gpg_error_t write_stub(struct gpg_keystore *ks, const char *grip, const struct token *t,
                              struct rd shadowed, bool force)
{
    struct gpg_file *f = NULL;
    struct gpg_file_id id;
    struct gpg_key_parts p;
    char *line = token_line(t);
    bool there, is_stub;
    gpg_error_t err =
        line != NULL ? gpg_store_read(ks->store, grip, &f, &id) : gpg_error_from_syserror();

    there = err == 0;
    if (gpg_err_code(err) == GPG_ERR_NO_SECKEY)
        err = gpg_file_new(&f);
    if (err != 0)
        goto out;
    is_stub = there && gpg_key_split(gpg_file_key(f), &p) == 0 && p.form == GPG_KEY_SHADOWED;
    if (there && !force && (!is_stub || names_token(f, t)))
        goto out;
    if (!there || force)
        err = gpg_file_set_key(f, shadowed);
    if (err == 0)
        err = is_stub && !names_token(f, t) && !force ? gpg_file_add(f, "Token", line)
                                                      : gpg_file_set(f, "Token", line);
    if (err == 0)
        err = gpg_store_write(ks->store, grip, f, there ? &id : NULL);
    if (err == 0)
        gpg_cache_clear_id(ks->cache, grip);
out:
    gpg_file_free(f);
    gpgrt_free(line);
    return err;
}

gpg_error_t gpg_stub(void *state, struct driver_op *op, struct buf *result)
{
    struct buf pub = BUF_INIT, canon = BUF_INIT_SECURE, shadowed = BUF_INIT;
    struct token t = {0};
    char grip[GPG_GRIP + 1];
    bool force = false;
    gpg_error_t err;

    (void)result;
    if ((err = gpg_op_grip(op, grip)) != 0 || (err = gpg_flag(op->args, "force", &force)) != 0 ||
        (err = field_get(op->args, "serial", &t.serial)) != 0 ||
        (err = field_get(op->args, "ref", &t.ref)) != 0 ||
        (err = field_get(op->args, "label", &t.label)) != 0)
        goto out;
    if (!is_word(t.serial, 64) || !is_word(t.ref, 32)) {
        err = gpg_error(GPG_ERR_INV_VALUE);
        goto out;
    }
    if ((err = op->io->inquire(op->io->arg, "PUB", NULL, MAX_PUB, false, &pub)) == 0 &&
        (err = canon_from_text(buf_rd(&pub), &canon)) == 0 &&
        (err = make_shadowed(buf_rd(&canon), &t, &shadowed)) == 0 &&
        (err = check_shadowed(buf_rd(&shadowed), grip)) == 0)
        err = write_stub(state, grip, &t, buf_rd(&shadowed), force);
out:
    gpgrt_free(t.serial);
    gpgrt_free(t.ref);
    gpgrt_free(t.label);
    buf_free(&pub);
    buf_free(&canon);
    buf_free(&shadowed);
    return err;
}

/* --- SSHADD -------------------------------------------------------------------------------------------------------------------- */

gpg_error_t gpg_sshadd(void *state, struct driver_op *op, struct buf *result)
{
    struct gpg_keystore *ks = state;
    struct gpg_entry *e = NULL;
    struct buf comment = BUF_INIT;
    char grip[GPG_GRIP + 1], when[32] = "", name[32];
    time_t now = time(NULL);
    struct tm tm;
    bool confirm = false;
    long ttl = 0;
    gpg_error_t err;

    (void)result;
    if ((err = gpg_op_grip(op, grip)) != 0 ||
        (err = gpg_flag(op->args, "confirm", &confirm)) != 0 ||
        (err = field_get_int(op->args, "ttl", 0, &ttl)) != 0 ||
        (err = gpg_store_find(ks->store, grip, &e)) != 0)
        return err;
    if (localtime_r(&now, &tm) != NULL)
        (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    buf_printf(&comment, "%s key added on: %s\n",
               e->key != NULL ? key_algo_name(e->key, name) : "unknown", when);
    if (e->key != NULL && e->key->fpr != NULL)
        buf_printf(&comment, "Fingerprint: %s\n", e->key->fpr);
    err = buf_cstr(&comment) == NULL   ? gpg_error(GPG_ERR_ENOMEM)
          : ttl < 0 || ttl > 999999999 ? gpg_error(GPG_ERR_INV_VALUE)
                                       : gpg_sshcontrol_add(gpg_store_home(ks->store), grip, ttl,
                                                            confirm, buf_cstr(&comment));
    buf_free(&comment);
    gpg_entry_unref(e);
    return err;
}

/* --- CACHE --------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t parse_mode(const char *word, enum gpg_cache_mode *out)
{
    static const struct {
        const char *word;
        enum gpg_cache_mode mode;
    } modes[] = {{"normal", GPG_CACHE_NORMAL},
                 {"user", GPG_CACHE_USER},
                 {"ssh", GPG_CACHE_SSH},
                 {"any", GPG_CACHE_ANY},
                 {"nonce", GPG_CACHE_NONCE}};

    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (word != NULL && strcmp(word, modes[i].word) == 0) {
            *out = modes[i].mode;
            return 0;
        }
    return gpg_error(GPG_ERR_INV_VALUE);
}

static gpg_error_t cache_put(struct gpg_keystore *ks, const struct driver_op *op,
                             const struct gpg_cache_slot *at)
{
    struct buf secret = BUF_INIT_SECURE;
    long ttl = 600, max_ttl = 7200;
    gpg_error_t err;

    if ((err = field_get_int(op->args, "ttl", ttl, &ttl)) != 0 ||
        (err = field_get_int(op->args, "max-ttl", max_ttl, &max_ttl)) != 0)
        return err;
    err = op->io->inquire(op->io->arg, "SECRET", NULL, GPG_PASSPHRASE_MAX, true, &secret);
    /* A program's word is not a person's typing. */
    if (err == 0)
        err = gpg_cache_put(ks->cache, at, buf_rd(&secret),
                            at->mode == GPG_CACHE_ANY ? GPG_NEVER_TYPED : gpg_cache_now(), ttl,
                            max_ttl);
    buf_free(&secret);
    return err;
}

gpg_error_t gpg_cache_verb(void *state, struct driver_op *op, struct buf *result)
{
    struct gpg_keystore *ks = state;
    struct gpg_cache_slot at = {.epoch = gpg_cache_epoch(ks->cache)};
    char *todo = NULL, *id = NULL, *mode = NULL;
    gpg_error_t err;

    if ((err = field_get(op->args, "do", &todo)) != 0 ||
        (err = field_get(op->args, "id", &id)) != 0 ||
        (err = field_get(op->args, "mode", &mode)) != 0 ||
        (err = field_get_int(op->args, "realm", 0, &at.realm)) != 0 ||
        (err = parse_mode(mode, &at.mode)) != 0)
        goto out;
    at.id = id;
    if (todo == NULL || id == NULL)
        err = gpg_error(GPG_ERR_MISSING_VALUE);
    else if (at.mode == GPG_CACHE_NONCE && strcmp(todo, "clear") != 0)
        err = gpg_error(GPG_ERR_INV_VALUE);
    else if (strcmp(todo, "get") == 0)
        err = gpg_cache_get(ks->cache, &at, -1, result, NULL);
    else if (strcmp(todo, "put") == 0)
        err = cache_put(ks, op, &at);
    else if (strcmp(todo, "clear") == 0)
        gpg_cache_clear(ks->cache, &at);
    else
        err = gpg_error(GPG_ERR_INV_VALUE);
out:
    gpgrt_free(todo);
    gpgrt_free(id);
    gpgrt_free(mode);
    return err;
}
