#include "devices/trezor_call.h"

#include "proto/token_protocol.h"

#include <gcrypt.h>
#include <string.h>
#include <time.h>

#define TICK_MS        200  /* how soon a cancelled operation is noticed */
#define FEATURES_MS    3000 /* what answers without a person */
#define CANCEL_MS      3000
#define MAX_MESSAGES   64 /* on the way to one answer */
#define PIN_ATTEMPTS   3
#define MAX_PIN_LEN    50
#define MAX_PASSPHRASE 50
#define BUTTON_PIN     20u /* ButtonRequest: the PIN is typed on the device */

enum failure {
    FAILURE_DATA = 3,
    FAILURE_CANCELED = 4,
    FAILURE_PIN_CANCELED = 6,
    FAILURE_PIN_INVALID = 7,
    FAILURE_NOT_INITIALIZED = 11,
    FAILURE_INVALID_SESSION = 14,
    FAILURE_BUSY = 15,
    FAILURE_PROTOCOL = 17,
};

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

bool trezor_has_capability(const struct trezor *z, uint32_t capability)
{
    for (size_t i = 0; i < z->features->n_capabilities; i++)
        if (z->features->capabilities[i] == capability)
            return true;
    return false;
}

/* --- failures ------------------------------------------------------------------------------------------------------------- */

/* Their texts are the firmware's own, for developers: only for the log. */
static unsigned failure_code(const struct trezor_message *m)
{
    Trezor__Failure *f = trezor_unpack(m, &trezor__failure__descriptor);
    unsigned code = f != NULL && f->has_code ? f->code : 0;

    gpgrt_log_info("the device answers: failure %u\n", code);
    trezor_free(f);
    return code;
}

static gpg_error_t explain(unsigned code, struct driver_op *op)
{
    switch (code) {
    case FAILURE_CANCELED:
        return gpg_error(GPG_ERR_NOT_CONFIRMED);
    case FAILURE_PIN_CANCELED:
        wallet_say(op, "no PIN was given");
        return gpg_error(GPG_ERR_CANCELED);
    case FAILURE_PIN_INVALID:
        return gpg_error(GPG_ERR_BAD_PIN);
    case FAILURE_NOT_INITIALIZED:
        wallet_say(op,
                   "the device has no seed yet, or does not know the key's curve: set it up, or "
                   "update its firmware");
        return gpg_error(GPG_ERR_CARD_NOT_INITIALIZED);
    case FAILURE_DATA:
        wallet_say(op,
                   "the device does not take what it was sent: too long, or not for this firmware");
        return gpg_error(GPG_ERR_WRONG_KEY_USAGE);
    case FAILURE_BUSY:
        wallet_say(op, "the device is busy with something else: finish that on its screen first");
        return gpg_error(GPG_ERR_EBUSY);
    case FAILURE_INVALID_SESSION:
        return gpg_error(GPG_ERR_EAGAIN);
    case FAILURE_PROTOCOL:
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    default:
        return gpg_error(GPG_ERR_CARD);
    }
}

/* --- sessions -------------------------------------------------------------------------------------------------------------- */

static gpg_error_t keep_features(struct trezor *z, const struct trezor_message *m)
{
    Trezor__Features *f = trezor_unpack(m, &trezor__features__descriptor);

    if (f == NULL)
        return gpg_error(GPG_ERR_BAD_DATA);
    trezor_free(z->features);
    z->features = f;
    if (f->has_session_id) {
        buf_reset(&z->session);
        buf_put(&z->session, f->session_id.data, f->session_id.len);
    }
    return buf_err(&z->session);
}

gpg_error_t trezor_begin(struct trezor *z)
{
    Trezor__Initialize init = TREZOR__INITIALIZE__INIT;
    struct trezor_message m = {.body = BUF_INIT_SECURE};
    int64_t until = now_ms() + FEATURES_MS;
    gpg_error_t err;

    trezor_drain(z->t);
    if (z->session.len > 0) {
        init.has_session_id = true;
        init.session_id = (ProtobufCBinaryData){.data = z->session.data, .len = z->session.len};
    }
    err = trezor_write(z->t, TREZOR_INITIALIZE, &init.base);
    while (err == 0) {
        int64_t left = until - now_ms();

        err = left > 0 ? trezor_read(z->t, (int)left, &m) : gpg_error(GPG_ERR_TIMEOUT);
        if (err == 0 && m.type == TREZOR_FEATURES) {
            err = keep_features(z, &m);
            break;
        }
        /* Half a message may be left of what was aborted; but a new device says this to any. */
        if (err == 0 && m.type == TREZOR_FAILURE && failure_code(&m) == FAILURE_PROTOCOL)
            err = gpg_error(GPG_ERR_NOT_SUPPORTED);
        else if (gpg_err_code(err) == GPG_ERR_BAD_DATA)
            err = 0;
    }
    buf_free(&m.body);
    if (gpg_err_code(err) == GPG_ERR_TIMEOUT) {
        gpgrt_log_error("the device does not answer\n");
        err = gpg_error(z->t->alive(z->t) ? GPG_ERR_CARD : GPG_ERR_CARD_REMOVED);
    }
    return err;
}

/* An answer that nobody needs a person for. */
static void simple_call(struct trezor *z, enum trezor_type type)
{
    struct trezor_message m = {.body = BUF_INIT_SECURE};
    gpg_error_t err = trezor_write(z->t, type, NULL);

    for (int i = 0; i < MAX_MESSAGES && err == 0; i++) {
        err = trezor_read(z->t, FEATURES_MS, &m);
        if (err == 0 && (m.type == TREZOR_SUCCESS || m.type == TREZOR_FAILURE))
            break;
    }
    if (err != 0)
        gpgrt_log_info("message %d: %s\n", (int)type, gpg_strerror(err));
    buf_free(&m.body);
}

void trezor_end_session(struct trezor *z)
{
    if (z->session.len == 0)
        return;
    simple_call(z, TREZOR_END_SESSION);
    buf_reset(&z->session);
}

void trezor_lock(struct trezor *z)
{
    simple_call(z, TREZOR_LOCK_DEVICE);
    z->pin_ms = 0;
}

gpg_error_t trezor_want_pin(struct trezor *z, struct driver_op *op)
{
    if (op->pin_age < 0)
        return 0;
    if (!z->features->pin_protection) {
        wallet_say(op,
                   "the policy wants a PIN and the device has none set: set one in Trezor Suite");
        return gpg_error(GPG_ERR_NO_PIN);
    }
    if (z->features->has_unlocked && !z->features->unlocked)
        return 0;
    if (z->pin_ms != 0 && op->pin_age > 0 && now_ms() - z->pin_ms <= op->pin_age * 1000) {
        op->pin_cached = true;
        return 0;
    }
    trezor_lock(z);
    return trezor_begin(z);
}

/* --- what the device asks --------------------------------------------------------------------------------------------------- */

/* One call under way. */
struct call {
    struct trezor *z;
    struct driver_op *op;
    bool pin_was_wrong, pin_given, touching;
};

static bool is_canceled(const struct call *c)
{
    return c->op->io != NULL && c->op->io->canceled(c->op->io->arg);
}

/* Ends what is on the screen, so that the device can be used; its answer to that is read away. */
static void cancel(struct call *c)
{
    struct trezor_message m = {.body = BUF_INIT_SECURE};
    int64_t until = now_ms() + CANCEL_MS, left;
    gpg_error_t err = trezor_write(c->z->t, TREZOR_CANCEL, NULL);

    while (err == 0 && (left = until - now_ms()) > 0) {
        err = trezor_read(c->z->t, (int)left, &m);
        if (err == 0 && m.type == TREZOR_FAILURE)
            break;
    }
    buf_free(&m.body);
}

static gpg_error_t reply(struct call *c, enum trezor_type type, const ProtobufCMessage *m)
{
    return trezor_write(c->z->t, type, m);
}

static gpg_error_t on_button(struct call *c, const struct trezor_message *m)
{
    Trezor__ButtonRequest *b = trezor_unpack(m, &trezor__button_request__descriptor);
    bool pin = b != NULL && b->has_code && b->code == BUTTON_PIN;

    trezor_free(b);
    if (c->op->io == NULL)
        return gpg_error(GPG_ERR_NOT_CONFIRMED);
    if (pin)
        c->op->pin_device = true;
    if (!c->touching)
        c->op->io->touch(c->op->io->arg, true);
    c->touching = true;
    return reply(c, TREZOR_BUTTON_ACK, NULL);
}

static void no_touch(struct call *c)
{
    if (c->touching)
        c->op->io->touch(c->op->io->arg, false);
    c->touching = false;
}

static bool are_positions(const struct buf *pin)
{
    for (size_t i = 0; i < pin->len; i++)
        if (pin->data[i] < '1' || pin->data[i] > '9')
            return false;
    return pin->len > 0 && pin->len <= MAX_PIN_LEN;
}

static gpg_error_t on_pin(struct call *c)
{
    const struct pin_request q = {
        .ref = "matrix", .tries = -1, .wrong = c->pin_was_wrong, .min = 1, .max = MAX_PIN_LEN};
    Trezor__PinMatrixAck ack = TREZOR__PIN_MATRIX_ACK__INIT;
    struct buf pin = BUF_INIT_SECURE;
    gpg_error_t err;

    if (c->op->io == NULL)
        return gpg_error(GPG_ERR_NOT_CONFIRMED);
    no_touch(c);
    err = c->op->io->ask_pin(c->op->io->arg, &q, &pin);
    if (err == 0 && !are_positions(&pin))
        err = gpg_error(GPG_ERR_BAD_PIN);
    if (err == 0) {
        ack.pin = (char *)(uintptr_t)buf_cstr(&pin);
        err = ack.pin != NULL ? reply(c, TREZOR_PIN_MATRIX_ACK, &ack.base) : buf_err(&pin);
        c->pin_given = err == 0;
    }
    buf_free(&pin);
    return err;
}

/* What is not ASCII would have to be normalised (NFKD) to be the same everywhere. */
static gpg_error_t check_passphrase(struct call *c, const struct buf *p)
{
    for (size_t i = 0; i < p->len; i++)
        if (p->data[i] < ' ' || p->data[i] > '~') {
            wallet_say(c->op, "a passphrase with other characters than ASCII cannot be typed here: "
                              "type it on the device (WalletPassphrase device)");
            return gpg_error(GPG_ERR_BAD_PASSPHRASE);
        }
    if (p->len > MAX_PASSPHRASE) {
        wallet_say(c->op, "the device takes passphrases of at most %d characters", MAX_PASSPHRASE);
        return gpg_error(GPG_ERR_BAD_PASSPHRASE);
    }
    return 0;
}

static gpg_error_t typed_passphrase(struct call *c)
{
    Trezor__PassphraseAck ack = TREZOR__PASSPHRASE_ACK__INIT;
    struct buf answer = BUF_INIT_SECURE, fields = BUF_INIT;
    gpg_error_t err;

    if (c->op->io == NULL)
        return gpg_error(GPG_ERR_NOT_CONFIRMED);
    field_put(&fields, "why", "wallet");
    err = buf_cstr(&fields) != NULL ? c->op->io->inquire(c->op->io->arg, "PASSPHRASE",
                                                         buf_cstr(&fields), 1024, true, &answer)
                                    : buf_err(&fields);
    if (err == 0)
        err = check_passphrase(c, &answer);
    if (err == 0) {
        ack.passphrase = (char *)(uintptr_t)buf_cstr(&answer);
        err =
            ack.passphrase != NULL ? reply(c, TREZOR_PASSPHRASE_ACK, &ack.base) : buf_err(&answer);
    }
    buf_free(&answer);
    buf_free(&fields);
    return err;
}

static gpg_error_t on_passphrase(struct call *c, const struct trezor_message *m)
{
    Trezor__PassphraseRequest *q = trezor_unpack(m, &trezor__passphrase_request__descriptor);
    Trezor__PassphraseAck ack = TREZOR__PASSPHRASE_ACK__INIT;
    bool old_device = q != NULL && q->has_on_device && q->on_device;
    bool can = trezor_has_capability(c->z, TREZOR_CAPABILITY_PASSPHRASE);
    enum trezor_passphrase how = c->z->passphrase;

    trezor_free(q);
    if (how == PASSPHRASE_AUTO)
        how = can ? PASSPHRASE_DEVICE : PASSPHRASE_ASK;
    no_touch(c);
    if (old_device) /* it asks by itself */
        return reply(c, TREZOR_PASSPHRASE_ACK, &ack.base);
    switch (how) {
    case PASSPHRASE_NONE:
        ack.passphrase = (char *)(uintptr_t) "";
        return reply(c, TREZOR_PASSPHRASE_ACK, &ack.base);
    case PASSPHRASE_DEVICE:
        if (c->op->io == NULL)
            return gpg_error(GPG_ERR_NOT_CONFIRMED);
        if (!can) {
            wallet_say(c->op,
                       "the passphrase cannot be typed on this device: set WalletPassphrase to "
                       "ask or none in latchkey.conf");
            return gpg_error(GPG_ERR_NOT_SUPPORTED);
        }
        ack.has_on_device = ack.on_device = true;
        return reply(c, TREZOR_PASSPHRASE_ACK, &ack.base);
    case PASSPHRASE_AUTO:
    case PASSPHRASE_ASK:
        break;
    }
    return typed_passphrase(c);
}

/* --- the conversation --------------------------------------------------------------------------------------------------------- */

/* The next message; a person may take as long as it takes, and the broker says when that is too long. */
static gpg_error_t next_message(struct call *c, struct trezor_message *m)
{
    gpg_error_t err;

    do {
        if (is_canceled(c))
            return gpg_error(GPG_ERR_CANCELED);
        err = trezor_read(c->z->t, TICK_MS, m);
    } while (gpg_err_code(err) == GPG_ERR_TIMEOUT);
    return err;
}

static gpg_error_t take(struct call *c, const struct trezor_message *m)
{
    Trezor__Empty none = TREZOR__EMPTY__INIT;

    switch (m->type) {
    case TREZOR_BUTTON_REQUEST:
        return on_button(c, m);
    case TREZOR_PIN_MATRIX_REQUEST:
        return on_pin(c);
    case TREZOR_PASSPHRASE_REQUEST:
        return on_passphrase(c, m);
    case TREZOR_PASSPHRASE_STATE_REQUEST:
        return reply(c, TREZOR_PASSPHRASE_STATE_ACK, &none.base);
    case TREZOR_FEATURES: /* late, of an earlier Initialize */
        return 0;
    default:
        gpgrt_log_error("an answer of type %u is none to what was asked\n", m->type);
        return gpg_error(GPG_ERR_BAD_DATA);
    }
}

static gpg_error_t converse(struct call *c, enum trezor_type type, const ProtobufCMessage *message,
                            enum trezor_type wanted, struct trezor_message *answer)
{
    gpg_error_t err = trezor_write(c->z->t, type, message);
    bool failed = false, done = false;

    for (int i = 0; i < MAX_MESSAGES && err == 0 && !done; i++) {
        err = next_message(c, answer);
        if (err != 0)
            break;
        done = answer->type == (unsigned)wanted;
        failed = answer->type == TREZOR_FAILURE;
        if (failed)
            err = explain(failure_code(answer), c->op);
        else if (!done)
            err = take(c, answer);
    }
    if (err == 0 && !done)
        err = gpg_error(GPG_ERR_BAD_DATA);
    no_touch(c);
    if (err != 0 && !failed && gpg_err_code(err) != GPG_ERR_CARD_REMOVED)
        cancel(c);
    return err;
}

gpg_error_t trezor_call(struct trezor *z, struct driver_op *op, enum trezor_type type,
                        const ProtobufCMessage *message, enum trezor_type wanted,
                        struct trezor_message *answer)
{
    struct call c = {.z = z, .op = op};
    bool renewed = false;
    int attempts = 0;
    gpg_error_t err;

    for (;;) {
        err = converse(&c, type, message, wanted, answer);
        if (gpg_err_code(err) == GPG_ERR_EAGAIN && !renewed) {
            renewed = true;
            buf_reset(&z->session);
            err = trezor_begin(z);
            if (err != 0)
                break;
        } else if (gpg_err_code(err) == GPG_ERR_BAD_PIN && ++attempts < PIN_ATTEMPTS &&
                   !is_canceled(&c)) {
            c.pin_was_wrong = true; /* and typed anew for each attempt */
        } else {
            break;
        }
    }
    if (gpg_err_code(err) == GPG_ERR_EAGAIN)
        err = gpg_error(GPG_ERR_CARD);
    if (err == 0 && c.pin_given) {
        op->pin_typed = true;
        z->pin_ms = now_ms();
    }
    return err;
}
