/* Ledger, by its SSH/PGP Agent: the keys of identities on P-256 and Ed25519. What the application can sign differs by curve and
 * by what it is: it reads login requests, hashes anything for P-256, and takes digests of 32 octets. ref: trezor-ledger 10. */
#include "devices/ledger_app.h"
#include "devices/wallet.h"

#include <string.h>

#define CHUNK       255u
#define DIGEST      32u
#define ED25519_MAX 255u /* of a login request: the application keeps it whole */
#define POINT       65u

enum {
    INS_PUBLIC_KEY = 0x02,
    INS_SIGN_LOGIN = 0x04,
    INS_SIGN_ANY = 0x06,
    INS_SIGN_DIGEST = 0x08,
    INS_ECDH = 0x0a
};
enum { P1_FIRST = 0x00, P1_NEXT = 0x01, P1_LAST = 0x80 };
enum { P2_P256 = 0x01, P2_ED25519 = 0x02, P2_WITH_KEY = 0x80 };

/* What is in the way, ERR of ledger_look: what an operation waits for, or cannot go on from. */
static void tell_state(const struct ledger *d, gpg_error_t err, struct wallet_info *info)
{
    switch (gpg_err_code(err)) {
    case 0:
        if (ledger_app_dashboard(&d->app))
            info->hint = gpgrt_strdup("no application is open on it: open SSH/PGP Agent");
        else if (!ledger_app_signs(&d->app))
            info->problem =
                gpgrt_bsprintf("%s is open on it: leave it and open SSH/PGP Agent", d->app.name);
        break;
    case GPG_ERR_LOCKED:
        info->hint = gpgrt_strdup("it is locked: unlock it with its PIN");
        break;
    case GPG_ERR_TIMEOUT:
        info->hint = gpgrt_strdup("it does not answer: it may still show a question");
        break;
    default:
        info->problem = gpgrt_strdup("its answer makes no sense: take it out and plug it in again");
        break;
    }
}

static gpg_error_t open_ledger(const char *address, void **state, struct wallet_info *info)
{
    struct ledger *d = gpgrt_calloc(1, sizeof *d);
    const char *model;
    gpg_error_t err;

    if (d == NULL)
        return gpg_error_from_syserror();
    err = ledger_link_open(address, &d->link);
    if (err == 0) {
        /* Locked, or busy with a question, it is a Ledger all the same. */
        err = ledger_look(d, NULL);
        if (gpg_err_code(err) == GPG_ERR_CARD_REMOVED)
            err = gpg_error(GPG_ERR_ENODEV);
    }
    if (gpg_err_code(err) == GPG_ERR_ENODEV || d->link == NULL) {
        ledger_link_close(d->link);
        gpgrt_free(d);
        return err;
    }
    model = ledger_link_model(d->link);
    *info = (struct wallet_info){.model = gpgrt_strdup(model != NULL ? model : "Ledger")};
    tell_state(d, err, info);
    if (err == 0) {
        info->app = gpgrt_strdup(d->app.name);
        info->version =
            gpgrt_bsprintf("%u.%u.%u", d->app.version[0], d->app.version[1], d->app.version[2]);
    }
    *state = d;
    return 0;
}

static void close_ledger(void *state)
{
    struct ledger *d = state;

    ledger_link_close(d->link);
    gpgrt_free(d);
}

static uint8_t curve_of(const struct wallet_identity *id)
{
    return id->ed25519 ? P2_ED25519 : P2_P256;
}

/* PATH (10): a count and the elements. */
static gpg_error_t put_path(const struct wallet_identity *id, bool ecdh, struct buf *b)
{
    uint32_t path[WALLET_PATH_LEN];
    gpg_error_t err = wallet_path(id, ecdh, path);

    if (err != 0)
        return err;
    buf_put_u8(b, WALLET_PATH_LEN);
    for (int i = 0; i < WALLET_PATH_LEN; i++)
        buf_put_u32(b, path[i]);
    return buf_err(b);
}

static gpg_error_t say_no_cv25519(struct driver_op *op)
{
    wallet_say(
        op, "the Ledger's SSH/PGP Agent cannot decrypt with Curve25519: an identity on nist256p1 "
            "can, or Ledger's OpenPGP application");
    return gpg_error(GPG_ERR_WRONG_KEY_USAGE);
}

static gpg_error_t public_key(void *state, const struct wallet_identity *id, bool ecdh,
                              struct driver_op *op, struct key **out)
{
    struct ledger_command c = {.ins = INS_PUBLIC_KEY, .p2 = curve_of(id), .person = true};
    struct buf path = BUF_INIT, data = BUF_INIT;
    gpg_error_t err;

    if (ecdh && id->ed25519)
        return say_no_cv25519(op);
    err = put_path(id, ecdh, &path);
    if (err == 0)
        err = ledger_ready(state, op);
    c.data = buf_rd(&path);
    if (err == 0)
        err = ledger_command(state, &c, op, &data);
    if (err == 0)
        err = ledger_read_public_key(buf_rd(&data), id->ed25519, ecdh, out);
    if (err == 0)
        op->touched = true;
    else
        ledger_say(op, err);
    buf_free(&path);
    buf_free(&data);
    return err;
}

/* --- what can be signed, and how ---------------------------------------------------------------------------------------- */

struct plan {
    uint8_t ins;
    struct rd data;
    uint8_t digest[DIGEST]; /* DATA, where it had to be made */
};

/* As the application reads a login request: message number after the first string, TRUE after the fourth, strings to the end. */
static bool is_login(struct rd r, unsigned *fields)
{
    unsigned n = 0;
    struct rd s;
    uint8_t c;

    for (; r.n > 0; n++) {
        if (rd_string(&r, &s) != 0 || ((n == 0 || n == 3) && rd_u8(&r, &c) != 0))
            return false;
    }
    *fields = n;
    return n >= 6;
}

static gpg_error_t refuse(char **why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static gpg_error_t refuse(char **why, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    *why = gpgrt_vbsprintf(fmt, ap);
    va_end(ap);
    return gpg_error(GPG_ERR_WRONG_KEY_USAGE);
}

static gpg_error_t plan_ssh(const struct ledger *d, const struct wallet_identity *id,
                            struct rd data, struct plan *p, char **why)
{
    /* Not known before the device was asked once: then the newest is thought of. */
    bool old = ledger_app_signs(&d->app) && ledger_app_up_to(&d->app, 0, 0, 7);
    unsigned fields = 0;

    p->data = data;
    if (!is_login(data, &fields)) {
        p->ins = INS_SIGN_ANY;
        if (id->ed25519)
            return refuse(why, "the Ledger's SSH/PGP Agent signs nothing but logins with Ed25519 "
                               "(no files, commits or "
                               "certificates): an identity on nist256p1 can");
        return 0;
    }
    p->ins = INS_SIGN_LOGIN;
    if (old && fields != 6)
        return refuse(why,
                      "the Ledger's SSH/PGP Agent %u.%u.%u is too old for logins that are bound to "
                      "the host (of OpenSSH "
                      "8.9 and later): install a newer one",
                      d->app.version[0], d->app.version[1], d->app.version[2]);
    if (id->ed25519 && data.n > ED25519_MAX)
        return refuse(
            why,
            "the Ledger's SSH/PGP Agent takes at most %u octets of a login with Ed25519, and this "
            "one has %zu "
            "(bound to the host, it names the host's key): an identity on nist256p1 can do it",
            ED25519_MAX, data.n);
    return 0;
}

/* A digest for ECDSA is a number of at most 256 bits: cut short, or with zeros in front, it stays what it is. */
static gpg_error_t plan_openpgp(const struct wallet_identity *id, const struct tosign *t,
                                struct plan *p, char **why)
{
    p->ins = INS_SIGN_DIGEST;
    if (id->ed25519 && t->data.n != DIGEST)
        return refuse(why,
                      "the Ledger's SSH/PGP Agent signs digests of 256 bits only with Ed25519, and "
                      "this one has %zu: use "
                      "SHA-256 (gpg's options personal-digest-preferences and digest-algo), or an "
                      "identity on nist256p1",
                      t->data.n * 8);
    if (t->data.n >= DIGEST)
        memcpy(p->digest, t->data.p, DIGEST);
    else
        memcpy(p->digest + DIGEST - t->data.n, t->data.p, t->data.n);
    p->data = rd_of(p->digest, DIGEST);
    return 0;
}

static gpg_error_t plan_signature(const struct ledger *d, const struct wallet_identity *id,
                                  const struct tosign *t, struct plan *p, char **why)
{
    *p = (struct plan){0};
    return t->hash == 0 ? plan_ssh(d, id, t->data, p, why) : plan_openpgp(id, t, p, why);
}

static gpg_error_t fits(void *state, const struct wallet_identity *id, const struct tosign *t,
                        const char *use, char **why)
{
    struct plan p;

    (void)use;
    return plan_signature(state, id, t, &p, why);
}

/* --- signing ---------------------------------------------------------------------------------------------------------------- */

/* PATH and the data, in as many commands as it takes; the last one asks the person. */
static gpg_error_t send_plan(struct ledger *d, const struct wallet_identity *id,
                             const struct plan *p, struct driver_op *op, struct buf *answer)
{
    bool old = ledger_app_up_to(&d->app, 0, 0, 7);
    struct ledger_command c = {.ins = p->ins, .p1 = P1_FIRST, .p2 = curve_of(id)};
    struct buf b = BUF_INIT;
    struct rd rest;
    gpg_error_t err = put_path(id, false, &b);

    buf_put_rd(&b, p->data);
    if (err == 0)
        err = buf_err(&b);
    if (p->ins == INS_SIGN_LOGIN)
        c.p2 |= P2_WITH_KEY;
    rest = buf_rd(&b);
    while (err == 0 && rest.n > 0) {
        err = rd_bytes(&rest, rest.n < CHUNK ? rest.n : CHUNK, &c.data);
        c.person = rest.n == 0;
        /* An old one knows by itself where a login ends; and a digest is always one command. */
        if (c.person && p->ins != INS_SIGN_DIGEST && !(old && p->ins == INS_SIGN_LOGIN))
            c.p1 |= P1_LAST;
        buf_reset(answer);
        if (err == 0)
            err = ledger_command(d, &c, op, answer);
        c.p1 = P1_NEXT;
    }
    buf_free(&b);
    return err;
}

/* Does SIG hold over what was signed, by KEY? */
static gpg_error_t check(const struct key *key, const struct plan *p, gcry_sexp_t sig)
{
    uint8_t digest[64];
    struct tosign t = {.hash = 0, .data = p->data};
    gpg_error_t err = 0;

    if (key->algo == KEY_ECDSA && p->ins == INS_SIGN_DIGEST)
        t.hash = GCRY_MD_SHA256;
    else if (key->algo == KEY_ECDSA)
        err = tosign_from_message(GCRY_MD_SHA256, p->data, digest, &t);
    return err != 0 ? err : sig_verify(key, &t, sig);
}

/* W: the key that the device says it signed with, or nothing. */
static gpg_error_t compare(const struct wallet_identity *id, const struct key *key, struct rd w)
{
    struct key *signer = NULL;
    gpg_error_t err;

    if (w.n == 0)
        return 0;
    err = ledger_read_point(w, id->ed25519, false, &signer);
    if (err == 0 && !key_same(signer, key))
        err = gpg_error(GPG_ERR_WRONG_SECKEY);
    key_unref(signer);
    return err;
}

static gpg_error_t sign(void *state, const struct wallet_identity *id, const struct key *key,
                        struct driver_op *op, const struct tosign *t, gcry_sexp_t *sig)
{
    struct ledger *d = state;
    struct buf answer = BUF_INIT;
    gcry_sexp_t made = NULL;
    char *why = NULL;
    struct plan p;
    struct rd w;
    gpg_error_t err = ledger_ready(d, op);

    if (err == 0)
        err = plan_signature(d, id, t, &p, &why);
    if (why != NULL)
        wallet_say(op, "%s", why);
    if (err == 0)
        err = send_plan(d, id, &p, op, &answer);
    if (err != 0)
        goto out;
    op->touched = true;
    err = ledger_read_signature(buf_rd(&answer), key, &made, &w);
    if (err == 0)
        err = compare(id, key, w);
    if (err == 0)
        err = check(key, &p, made);
    /* Where it does not tell its key, another one looks like this. */
    if (gpg_err_code(err) == GPG_ERR_BAD_SIGNATURE && w.n == 0)
        err = gpg_error(GPG_ERR_WRONG_SECKEY);
    if (gpg_err_code(err) == GPG_ERR_WRONG_SECKEY)
        wallet_say(op, "the Ledger signed with another key: it has another seed or passphrase than "
                       "the one that the "
                       "identity was added with");
    ledger_say(op, err);
    if (err == 0) {
        *sig = made;
        made = NULL;
    }
out:
    gcry_sexp_release(made);
    gpgrt_free(why);
    buf_free(&answer);
    return err;
}

/* --- decryption ------------------------------------------------------------------------------------------------------------- */

static gpg_error_t ecdh(void *state, const struct wallet_identity *id, const struct key *key,
                        struct driver_op *op, struct rd point, struct buf *shared)
{
    struct ledger_command c = {.ins = INS_ECDH, .p2 = P2_P256, .person = true};
    struct buf b = BUF_INIT, answer = BUF_INIT_SECURE;
    gpg_error_t err;

    (void)key; /* nothing in the answer tells whose it is */
    if (id->ed25519)
        return say_no_cv25519(op);
    if (point.n != POINT || point.p[0] != 4)
        return gpg_error(GPG_ERR_INV_DATA);
    err = put_path(id, true, &b);
    buf_put_rd(&b, point);
    if (err == 0)
        err = buf_err(&b);
    if (err == 0)
        err = ledger_ready(state, op);
    c.data = buf_rd(&b);
    if (err == 0)
        err = ledger_command(state, &c, op, &answer);
    if (err == 0 && (answer.len != POINT || answer.data[0] != 4))
        err = gpg_error(GPG_ERR_INV_RESPONSE);
    ledger_say(op, err);
    if (err == 0) {
        op->touched = true;
        buf_put_rd(shared, buf_rd(&answer));
        err = buf_err(shared);
    }
    buf_free(&b);
    buf_free(&answer);
    return err;
}

const struct wallet_make wallet_ledger = {
    .kind = "ledger",
    .quiet_keys = false,
    .open = open_ledger,
    .close = close_ledger,
    .public_key = public_key,
    .fits = fits,
    .sign = sign,
    .ecdh = ecdh,
};
