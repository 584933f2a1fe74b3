/* Keys of security keys that a middleware library serves (ssh-add -S). The keys are kept here; the library is loaded anew
 * for each call, in a process of its own (sk_helper.h). */
#include "devices/sk_api.h"
#include "devices/sk_helper.h"
#include "proto/token_protocol.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#define MAX_PINS 3
#define LOOK_MS  50
/* A call that is to be refused for want of a PIN comes back at once; only one that takes longer blinks. */
#define BLINKS_MS 300

struct sk {
    char *provider;
    struct key_store *keys;
    /* Who else has the device is not ours to know: one call at a time. */
    pthread_mutex_t turn;
};

static void sk_close(void *state)
{
    struct sk *s = state;

    key_store_free(s->keys);
    pthread_mutex_destroy(&s->turn);
    gpgrt_free(s->provider);
    gpgrt_free(s);
}

static gpg_error_t check_provider(const char *provider)
{
    struct sk_call c = {.provider = provider, .request = {.check_only = true}, .late_ms = -1};
    struct sk_answer a;
    gpg_error_t err = sk_helper_call(&c, &a);

    if (err != 0)
        return err;
    if (a.problem != NULL) {
        gpgrt_log_error("%s %s\n", provider, a.problem);
        err = gpg_error(GPG_ERR_NOT_SUPPORTED);
    }
    sk_answer_clear(&a);
    return err;
}

static gpg_error_t sk_open(const char *arg, void **state)
{
    gpg_error_t err = check_provider(arg);
    struct sk *s;

    if (err != 0)
        return err;
    s = gpgrt_calloc(1, sizeof *s);
    if (s == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&s->turn, NULL);
    s->provider = gpgrt_strdup(arg);
    err = s->provider != NULL ? key_store_new(&sk_key_store_ops, &s->keys)
                              : gpg_error_from_syserror();
    if (err != 0)
        sk_close(s);
    else
        *state = s;
    return err;
}

/* The library's file name, as far as it can stand in a token's name. */
static char *serial_of(const char *provider)
{
    const char *base = strrchr(provider, '/');
    char *s = gpgrt_strdup(base != NULL ? base + 1 : provider);

    for (char *p = s; p != NULL && *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && strchr("-_.", *p) == NULL)
            *p = '_';
    if (s != NULL && strlen(s) > 64)
        s[64] = '\0';
    return s;
}

static gpg_error_t sk_learn(void *state, bool refresh, bool ssh_only, struct buf *lines)
{
    struct sk *s = state;
    struct buf line = BUF_INIT;
    char *serial = serial_of(s->provider), *name = NULL, *label = NULL;

    (void)refresh;
    (void)ssh_only;
    if (serial != NULL) {
        name = gpgrt_bsprintf("fido-%s", serial);
        label = gpgrt_bsprintf("the security key (%s)", serial);
    }
    if (name == NULL || label == NULL) {
        gpgrt_free(serial);
        gpgrt_free(name);
        return gpg_error(GPG_ERR_ENOMEM);
    }
    field_put(&line, "kind", "fido");
    field_put(&line, "serial", serial);
    field_put(&line, "name", name);
    field_put(&line, "label", label);
    if (buf_cstr(&line) != NULL)
        buf_printf(lines, "TOKEN %s\n", buf_cstr(&line));
    buf_free(&line);
    gpgrt_free(serial);
    gpgrt_free(name);
    gpgrt_free(label);
    return key_store_list(s->keys, lines);
}

static gpg_error_t take_turn(struct sk *s, const struct driver_io *io)
{
    struct timespec until;
    int rc;

    do {
        if (io->canceled(io->arg))
            return gpg_error(GPG_ERR_CANCELED);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        rc = pthread_mutex_timedlock(&s->turn, &until);
    } while (rc == ETIMEDOUT);
    return rc != 0 ? gpg_error_from_errno(rc) : 0;
}

static gpg_error_t call_once(struct sk *s, struct sk_call *c, struct sk_answer *a)
{
    gpg_error_t err = take_turn(s, c->io);

    if (err != 0)
        return err;
    err = sk_helper_call(c, a);
    pthread_mutex_unlock(&s->turn);
    return err;
}

/* A new PIN that is not the one just refused. */
static gpg_error_t next_pin(struct driver_op *op, struct buf *pin, bool wrong)
{
    struct pin_request q = {.ref = "fido", .tries = -1, .wrong = wrong, .max = 63};
    struct buf fresh = BUF_INIT_SECURE;
    gpg_error_t err = op->io->ask_pin(op->io->arg, &q, &fresh);

    if (err == 0 && (buf_cstr(&fresh) == NULL || strlen(buf_cstr(&fresh)) != fresh.len))
        err = gpg_error(GPG_ERR_BAD_PIN);
    if (err == 0 && wrong && rd_eq(buf_rd(&fresh), buf_rd(pin)))
        err = gpg_error(GPG_ERR_BAD_PIN);
    if (err != 0) {
        buf_free(&fresh);
        return err;
    }
    buf_free(pin);
    *pin = fresh;
    op->pin_typed = true;
    return 0;
}

static gpg_error_t code_to_error(struct sk *s, const struct sk_answer *a)
{
    if (a->problem != NULL) {
        gpgrt_log_error("%s %s\n", s->provider, a->problem);
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    }
    switch (a->code) {
    case SK_API_OK:
        return 0;
    case SK_API_UNSUPPORTED:
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    case SK_API_PIN_REQUIRED:
        return gpg_error(GPG_ERR_BAD_PIN);
    case SK_API_DEVICE_NOT_FOUND:
        return gpg_error(GPG_ERR_CARD_NOT_PRESENT);
    default:
        return gpg_error(GPG_ERR_CARD);
    }
}

static gpg_error_t call(struct sk *s, struct sk_call *c, struct driver_op *op, struct sk_answer *a)
{
    struct buf pin = BUF_INIT_SECURE;
    gpg_error_t err;

    for (int n = 0;; n++) {
        err = call_once(s, c, a);
        if (err != 0 || a->code != SK_API_PIN_REQUIRED || n == MAX_PINS)
            break;
        sk_answer_clear(a);
        err = next_pin(op, &pin, n > 0);
        if (err != 0)
            break;
        c->request.pin = buf_cstr(&pin);
        c->late_ms = (c->request.flags & SK_KEY_PRESENCE) != 0 ? 0 : -1;
    }
    c->request.pin = NULL;
    buf_free(&pin);
    return err;
}

static gpg_error_t sk_sign_op(void *state, struct driver_op *op, gcry_sexp_t *sig)
{
    struct sk *s = state;
    struct stored_key *stored = key_store_get(s->keys, op->key_id);
    struct sk_key *k;
    struct sk_answer a = {0};
    struct sk_call c;
    gpg_error_t err;

    if (stored == NULL)
        return gpg_error(GPG_ERR_NO_SECKEY);
    k = stored->key;
    c = (struct sk_call){
        .provider = s->provider,
        .io = op->io,
        .request = {.alg = k->pub->algo == KEY_SK_ED25519 ? SK_API_ED25519 : SK_API_ECDSA,
                    .flags = (uint8_t)(k->flags | sk_key_wanted(k, op)),
                    .application = k->pub->sk_application,
                    .handle = rd_of(k->handle, k->handle_len),
                    .message = op->input.data}};
    c.late_ms = (c.request.flags & SK_KEY_PRESENCE) == 0       ? -1
                : (c.request.flags & SK_KEY_VERIFICATION) != 0 ? BLINKS_MS
                                                               : 0;
    err = call(s, &c, op, &a);
    if (err == 0)
        err = code_to_error(s, &a);
    if (err == 0)
        err = sk_key_finish(k, sk_key_wanted(k, op), &a.says, a.r, a.s, op, sig);
    sk_answer_clear(&a);
    key_store_put(s->keys, stored);
    return err;
}

static gpg_error_t sk_add_key(void *state, struct rd body, const char *comment, struct buf *line)
{
    return sk_key_add(((struct sk *)state)->keys, body, comment, line);
}

static gpg_error_t sk_delete_key(void *state, const char *id)
{
    return key_store_delete(((struct sk *)state)->keys, id);
}

static void sk_delete_all(void *state)
{
    key_store_delete_all(((struct sk *)state)->keys);
}

const struct driver driver_sk = {
    .kind = "sk",
    .help = "keys of security keys, by the middleware library that is named",
    .wants_arg = true,
    .many_channels = true,
    .open = sk_open,
    .close = sk_close,
    .learn = sk_learn,
    .sign = sk_sign_op,
    .add_key = sk_add_key,
    .delete_key = sk_delete_key,
    .delete_all = sk_delete_all,
};
