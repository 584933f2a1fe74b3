/* The driver of hardware wallets. Which keys there are the broker says: it knows the person's identities, and the public keys
 * that were read before (proto/token_protocol.h, IDENTITY). */
#include "devices/wallet_driver.h"

#include "proto/token_protocol.h"

#include <string.h>
#include <time.h>

#define MAX_IDENTITIES 1024u
#define QUIET_MS       8000 /* reading keys unasked; the rest comes with the next LEARN */

/* --- the device ------------------------------------------------------------------------------------------------------------- */

static void info_clear(struct wallet_info *i)
{
    gpgrt_free(i->model);
    gpgrt_free(i->label);
    gpgrt_free(i->serial);
    gpgrt_free(i->version);
    gpgrt_free(i->app);
    gpgrt_free(i->problem);
    gpgrt_free(i->hint);
    *i = (struct wallet_info){0};
}

static void shut(struct wallet *w)
{
    if (w->dev != NULL)
        w->make->close(w->dev);
    w->dev = NULL;
}

static gpg_error_t open_again(struct wallet *w)
{
    struct wallet_info info = {0};
    gpg_error_t err;

    shut(w);
    err = w->make->open(w->address, &w->dev, &info);
    if (err != 0) {
        w->dev = NULL;
        info_clear(&info);
        return err;
    }
    info_clear(&w->info);
    w->info = info;
    if (w->make->configure != NULL)
        w->make->configure(w->dev, w->passphrase);
    return 0;
}

/* Before an operation: open, and nothing in the way. */
static gpg_error_t be_usable(struct wallet *w, struct driver_op *op)
{
    gpg_error_t err = w->dev == NULL || w->info.problem != NULL ? open_again(w) : 0;

    if (gpg_err_code(err) == GPG_ERR_ENODEV)
        return gpg_error(GPG_ERR_CARD_REMOVED);
    if (err == 0 && w->info.problem != NULL) {
        wallet_say(op, "%s", w->info.problem);
        err = gpg_error(GPG_ERR_UNUSABLE_SECKEY);
    }
    /* Whether it was heeded, the operation will see. */
    gpgrt_free(w->info.hint);
    w->info.hint = NULL;
    return err;
}

static void key_clear(struct wallet_key *k)
{
    wallet_identity_clear(&k->id);
    gpgrt_free(k->text);
    key_unref(k->key);
}

static void forget_keys(struct wallet *w)
{
    for (size_t i = 0; i < w->n; i++)
        key_clear(&w->keys[i]);
    gpgrt_free(w->keys);
    w->keys = NULL;
    w->n = 0;
}

static void close_wallet(void *state)
{
    struct wallet *w = state;

    shut(w);
    forget_keys(w);
    info_clear(&w->info);
    gpgrt_free(w->address);
    gpgrt_free(w->passphrase);
    gpgrt_free(w);
}

static gpg_error_t open_wallet(const struct wallet_make *make, const char *address, void **state)
{
    struct wallet *w = gpgrt_calloc(1, sizeof *w);
    gpg_error_t err = 0;

    if (w == NULL)
        return gpg_error_from_syserror();
    w->make = make;
    w->address = gpgrt_strdup(address);
    if (w->address == NULL)
        err = gpg_error_from_syserror();
    if (err == 0)
        err = open_again(w);
    if (err != 0)
        close_wallet(w);
    else
        *state = w;
    return err;
}

/* --- what is there ------------------------------------------------------------------------------------------------------------- */

static void set_key(struct wallet_key *k, struct key *key)
{
    char *grip = hex_encode(key->grip, sizeof key->grip);

    snprintf(k->grip, sizeof k->grip, "%s", grip != NULL ? grip : "");
    gpgrt_free(grip);
    key_unref(k->key);
    k->key = key;
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* What the device tells unasked. One that wants a person for it is left alone from then on. */
static void read_quietly(struct wallet *w)
{
    struct driver_op op = {.io = NULL, .pin_age = -1};
    int64_t until = now_ms() + QUIET_MS;

    w->more = false;
    if (!w->make->quiet_keys || w->info.problem != NULL || w->dev == NULL)
        return;
    for (size_t i = 0; i < w->n; i++) {
        struct wallet_key *k = &w->keys[i];
        struct key *key = NULL;
        gpg_error_t err;

        if ((k->key != NULL && !k->maybe) || k->tried)
            continue;
        w->more = now_ms() >= until;
        if (w->more)
            return;
        k->tried = true;
        err = w->make->public_key(w->dev, &k->id, k->ecdh, &op, &key);
        if (err != 0) {
            gpgrt_log_info("%s: not read without asking: %s\n", k->text, gpg_strerror(err));
            return;
        }
        set_key(k, key);
        k->maybe = false;
    }
}

static gpg_error_t learn(void *state, bool refresh, bool ssh_only, struct buf *lines)
{
    struct wallet *w = state;
    gpg_error_t err = 0;

    (void)ssh_only;
    if (w->dev == NULL || (refresh && (w->info.problem != NULL || w->info.hint != NULL)))
        err = open_again(w);
    if (err != 0)
        return gpg_err_code(err) == GPG_ERR_ENODEV ? gpg_error(GPG_ERR_CARD_REMOVED) : err;
    read_quietly(w);
    err = wallet_put_token(w, lines);
    for (size_t i = 0; i < w->n && err == 0 && w->info.problem == NULL; i++)
        if (w->keys[i].key != NULL)
            err = wallet_put_key(w, &w->keys[i], lines);
    return err;
}

/* --- the broker's verbs ---------------------------------------------------------------------------------------------------------- */

/* IDENTITY's and PUBKEY's fields. */
static gpg_error_t parse_key(const char *args, struct wallet_key *out)
{
    struct wallet_key k = {0};
    struct buf canon = BUF_INIT;
    char *uri = NULL, *curve = NULL, *pub = NULL;
    struct key *key = NULL;
    gcry_sexp_t sexp = NULL;
    long is_ecdh = 0, maybe = 0;
    gpg_error_t err;

    if ((err = field_get(args, "uri", &uri)) != 0 ||
        (err = field_get(args, "curve", &curve)) != 0 ||
        (err = field_get(args, "pub", &pub)) != 0 ||
        (err = field_get_int(args, "ecdh", 0, &is_ecdh)) != 0 ||
        (err = field_get_int(args, "maybe", 0, &maybe)) != 0)
        goto out;
    err = uri != NULL ? wallet_identity_parse(uri, curve, &k.id) : gpg_error(GPG_ERR_MISSING_VALUE);
    if (err != 0)
        goto out;
    k.ecdh = is_ecdh != 0;
    k.maybe = maybe != 0;
    k.text = wallet_identity_text(&k.id);
    if (k.text == NULL)
        err = gpg_error_from_syserror();
    if (err == 0 && pub != NULL) {
        err = b64_decode(pub, strlen(pub), &canon);
        if (err == 0)
            err = gcry_sexp_new(&sexp, canon.data, canon.len, 0);
        if (err == 0)
            err = key_from_sexp(sexp, k.ecdh, &key);
        if (err == 0)
            set_key(&k, key);
    }
out:
    if (err == 0)
        *out = k;
    else
        key_clear(&k);
    gcry_sexp_release(sexp);
    buf_free(&canon);
    gpgrt_free(uri);
    gpgrt_free(curve);
    gpgrt_free(pub);
    return err;
}

static bool same_place(const struct wallet_key *a, const struct wallet_key *b)
{
    return a->ecdh == b->ecdh && wallet_identity_same(&a->id, &b->id);
}

/* Takes K over. A key that is there already, or is not known yet where one is, changes nothing. */
static gpg_error_t keep(struct wallet *w, struct wallet_key *k)
{
    struct wallet_key *more;

    for (size_t i = 0; i < w->n; i++) {
        if (!same_place(&w->keys[i], k))
            continue;
        if ((w->keys[i].key == NULL || (w->keys[i].maybe && !k->maybe)) && k->key != NULL) {
            set_key(&w->keys[i], key_ref(k->key));
            w->keys[i].maybe = k->maybe;
        }
        if (k->key == NULL || key_same(w->keys[i].key, k->key)) {
            key_clear(k);
            return 0;
        }
    }
    more = w->n < MAX_IDENTITIES ? gpgrt_reallocarray(w->keys, w->n, w->n + 1, sizeof *more) : NULL;
    if (more == NULL) {
        key_clear(k);
        return gpg_error(w->n < MAX_IDENTITIES ? GPG_ERR_ENOMEM : GPG_ERR_TOO_MANY);
    }
    w->keys = more;
    w->keys[w->n++] = *k;
    return 0;
}

static gpg_error_t verb_identity(void *state, struct driver_op *op, struct buf *result)
{
    struct wallet *w = state;
    struct wallet_key k = {0};
    long none = 0;
    gpg_error_t err = field_get_int(op->args, "none", 0, &none);

    (void)result;
    if (err == 0 && none != 0) {
        forget_keys(w);
        return 0;
    }
    if (err == 0)
        err = parse_key(op->args, &k);
    return err == 0 ? keep(w, &k) : err;
}

static gpg_error_t verb_configure(void *state, struct driver_op *op, struct buf *result)
{
    struct wallet *w = state;
    char *how = NULL;
    gpg_error_t err = field_get(op->args, "passphrase", &how);

    (void)result;
    if (err != 0)
        return err;
    gpgrt_free(w->passphrase);
    w->passphrase = how;
    if (w->dev != NULL && w->make->configure != NULL)
        w->make->configure(w->dev, how);
    return 0;
}

/* Reads a key, with all the asking that it takes. */
static gpg_error_t verb_pubkey(void *state, struct driver_op *op, struct buf *result)
{
    struct wallet *w = state;
    struct wallet_key k = {0};
    struct key *key = NULL;
    struct buf line = BUF_INIT;
    gpg_error_t err = parse_key(op->args, &k);

    if (err != 0)
        return err;
    err = be_usable(w, op);
    if (err == 0)
        err = w->make->public_key(w->dev, &k.id, k.ecdh, op, &key);
    if (err == 0) {
        set_key(&k, key);
        err = wallet_put_fields(w, &k, &line);
    }
    if (err == 0)
        buf_put_rd(result, buf_rd(&line));
    buf_free(&line);
    if (err != 0) {
        key_clear(&k);
        return err;
    }
    return keep(w, &k);
}

/* --- operations --------------------------------------------------------------------------------------------------------------------- */

static struct wallet_key *find(struct wallet *w, const char *grip)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->keys[i].key != NULL && strcmp(w->keys[i].grip, grip) == 0)
            return &w->keys[i];
    return NULL;
}

static gpg_error_t wallet_sign(void *state, struct driver_op *op, gcry_sexp_t *sig)
{
    struct wallet *w = state;
    struct wallet_key *k = find(w, op->key_id);
    char *why = NULL;
    gpg_error_t err;

    if (k == NULL)
        return gpg_error(GPG_ERR_NO_SECKEY);
    if (k->ecdh || (wallet_key_is_gpg(k) && op->input.hash == 0 && !k->id.ed25519) ||
        (!wallet_key_is_gpg(k) && op->input.hash != 0))
        return gpg_error(GPG_ERR_WRONG_KEY_USAGE);
    err = be_usable(w, op);
    if (err == 0)
        err = w->make->fits(w->dev, &k->id, &op->input, op->use, &why);
    if (err != 0 && why != NULL)
        wallet_say(op, "%s", why);
    if (err == 0)
        err = w->make->sign(w->dev, &k->id, k->key, op, &op->input, sig);
    if (err == 0)
        k->maybe = false;
    gpgrt_free(why);
    return err;
}

/* The point of an (enc-val (ecdh (s ..)(e ..))). */
static gpg_error_t point_of(struct rd encval, struct buf *point)
{
    gcry_sexp_t s = NULL, e = NULL;
    const char *p = NULL;
    size_t n = 0;
    gpg_error_t err = gcry_sexp_sscan(&s, NULL, (const char *)encval.p, encval.n);

    if (err == 0)
        e = gcry_sexp_find_token(s, "e", 0);
    if (e != NULL)
        p = gcry_sexp_nth_data(e, 1, &n);
    if (err == 0 && p == NULL)
        err = gpg_error(GPG_ERR_NO_OBJ);
    if (err == 0) {
        buf_put(point, p, n);
        err = buf_err(point);
    }
    gcry_sexp_release(e);
    gcry_sexp_release(s);
    return err;
}

static gpg_error_t wallet_decrypt(void *state, struct driver_op *op, struct buf *result)
{
    struct wallet *w = state;
    struct wallet_key *k = find(w, op->key_id);
    struct buf point = BUF_INIT;
    gpg_error_t err;

    if (k == NULL)
        return gpg_error(GPG_ERR_NO_SECKEY);
    if (!k->ecdh)
        return gpg_error(GPG_ERR_WRONG_KEY_USAGE);
    if (w->make->ecdh == NULL)
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    err = be_usable(w, op);
    if (err == 0)
        err = point_of(op->input.data, &point);
    if (err == 0)
        err = w->make->ecdh(w->dev, &k->id, k->key, op, buf_rd(&point), result);
    buf_free(&point);
    return err;
}

static void forget(void *state)
{
    struct wallet *w = state;

    if (w->dev != NULL && w->info.problem == NULL && w->make->forget != NULL)
        w->make->forget(w->dev);
}

/* --- the makes ------------------------------------------------------------------------------------------------------------------------ */

static const struct driver_verb verbs[] = {
    {TOKEN_VERB_IDENTITY, verb_identity},
    {TOKEN_VERB_CONFIGURE, verb_configure},
    {TOKEN_VERB_PUBKEY, verb_pubkey},
    {0},
};

static gpg_error_t trezor_open(const char *arg, void **state)
{
    return open_wallet(&wallet_trezor, arg, state);
}

const struct driver driver_trezor = {
    .kind = "trezor",
    .help = "a Trezor: \"usb:BUS:DEV\", \"hid:NODE\", \"udp:HOST:PORT\" (its emulator)",
    .wants_arg = true,
    .open = trezor_open,
    .close = close_wallet,
    .learn = learn,
    .sign = wallet_sign,
    .decrypt = wallet_decrypt,
    .forget = forget,
    .verbs = verbs,
};

static gpg_error_t ledger_open(const char *arg, void **state)
{
    return open_wallet(&wallet_ledger, arg, state);
}

const struct driver driver_ledger = {
    .kind = "ledger",
    .help = "a Ledger: \"hid:NODE\", \"tcp:HOST:PORT\" (its emulator)",
    .wants_arg = true,
    .open = ledger_open,
    .close = close_wallet,
    .learn = learn,
    .sign = wallet_sign,
    .decrypt = wallet_decrypt,
    .verbs = verbs,
};
