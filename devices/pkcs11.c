#include "devices/pkcs11.h"

#include "devices/digest_info.h"
#include "proto/token_protocol.h"

#include <ctype.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define MAX_REPAIRS   2
#define MAX_SIGNATURE 2048u
#define MAX_NAME      64u
#define END_S         2u
#define MAX_LINE      980u /* of Assuan's 1000 octets */
#define MAX_COMMENT   400u /* the broker takes no more */
#define COMMENT_FIELD 9u   /* " comment=" */

/* --- opening -------------------------------------------------------------------------------------------------------------- */

/* The broker closes the channel and sends SIGTERM: what is on its way is brought to an end, so that no card stays logged
 * in. A module that hangs has no say in it. */
static void on_term(int sig)
{
    (void)sig;
    (void)alarm(END_S);
}

/* "/usr/lib/opensc-pkcs11.so.1" -> "opensc-pkcs11": a name that policies can hold. */
static char *module_name(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
    const char *so = strstr(base, ".so");
    size_t n = so != NULL && so > base ? (size_t)(so - base) : strlen(base), len = 0;
    char *name = gpgrt_malloc(MAX_NAME + 1);

    if (name == NULL)
        return NULL;
    for (size_t i = 0; i < n && len < MAX_NAME; i++)
        name[len++] =
            isalnum((unsigned char)base[i]) || strchr("-_.", base[i]) != NULL ? base[i] : '_';
    name[len] = '\0';
    return name;
}

static void close_provider(void *state)
{
    struct p11 *p = state;

    p11_unload(p);
    gpgrt_free(p->path);
    gpgrt_free(p->module_name);
    gpgrt_free(p);
}

static gpg_error_t open_provider(const char *path, void **state)
{
    struct p11 *p = gpgrt_calloc(1, sizeof *p);
    struct sigaction sa = {.sa_handler = on_term, .sa_flags = SA_RESTART};

    if (p == NULL)
        return gpg_error_from_syserror();
    p->path = gpgrt_strdup(path);
    p->module_name = module_name(path);
    if (p->path == NULL || p->module_name == NULL) {
        close_provider(p);
        return gpg_error(GPG_ERR_ENOMEM);
    }
    (void)sigaction(SIGTERM, &sa, NULL);
    *state = p;
    return 0;
}

/* --- what is there ---------------------------------------------------------------------------------------------------------- */

static char *serial_of(const struct p11_token *t)
{
    char *s = p11_text(t->info.serialNumber, sizeof t->info.serialNumber);

    for (char *c = s; c != NULL && *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && strchr("-_.", *c) == NULL)
            *c = '_';
    if (s != NULL && !isalnum((unsigned char)*s)) {
        gpgrt_free(s);
        s = NULL;
    }
    return s;
}

/* One card may show as several slots; it has one serial number then, and gives the provider its name. */
static const struct p11_token *only_token(const struct p11 *p)
{
    for (size_t i = 1; i < p->ntokens; i++)
        if (memcmp(p->tokens[i].info.serialNumber, p->tokens[0].info.serialNumber,
                   sizeof p->tokens[0].info.serialNumber) != 0)
            return NULL;
    return p->ntokens > 0 ? &p->tokens[0] : NULL;
}

static bool all_soft(const struct p11 *p)
{
    for (size_t i = 0; i < p->ntokens; i++)
        if (p->tokens[i].hardware)
            return false;
    return p->ntokens > 0;
}

static void put_token(const struct p11 *p, struct buf *lines)
{
    const struct p11_token *t = only_token(p);
    char *serial = t != NULL ? serial_of(t) : NULL;
    char *label = t != NULL ? p11_text(t->info.label, sizeof t->info.label) : NULL;
    char *maker =
        t != NULL ? p11_text(t->info.manufacturerID, sizeof t->info.manufacturerID) : NULL;
    char *name = gpgrt_bsprintf("pkcs11-%s", serial != NULL ? serial : p->module_name);
    struct buf f = BUF_INIT;

    field_put(&f, "kind", "pkcs11");
    field_put(&f, "name", name != NULL ? name : "pkcs11");
    if (serial != NULL)
        field_put(&f, "serial", serial);
    field_put(&f, "label", label != NULL && *label != '\0' ? label : p->module_name);
    if (maker != NULL && *maker != '\0')
        field_put(&f, "manufacturer", maker);
    if (all_soft(p))
        field_put_int(&f, "soft", 1);
    buf_printf(lines, "TOKEN %s\n", buf_cstr(&f) != NULL ? buf_cstr(&f) : "");
    buf_free(&f);
    gpgrt_free(serial);
    gpgrt_free(label);
    gpgrt_free(maker);
    gpgrt_free(name);
}

/* As much of a label as a line of the protocol bears beside a large key: never a part of a character. */
static void put_comment(struct buf *f, const char *comment)
{
    char cut[MAX_COMMENT + 1];
    size_t n = 0, room = f->len + COMMENT_FIELD < MAX_LINE ? MAX_LINE - f->len - COMMENT_FIELD : 0;

    for (; n < MAX_COMMENT && comment[n] != '\0'; n++) {
        bool plain = comment[n] > ' ' && comment[n] <= '~' && comment[n] != '%';

        if (room < (plain ? 1u : 3u))
            break;
        room -= plain ? 1 : 3;
    }
    while (comment[n] != '\0' && n > 0 && ((uint8_t)comment[n] & 0xc0) == 0x80)
        n--;
    memcpy(cut, comment, n);
    cut[n] = '\0';
    if (n > 0)
        field_put(f, "comment", cut);
}

static gpg_error_t put_key(const struct p11 *p, const struct p11_token *t, const struct p11_key *k,
                           struct buf *lines)
{
    const char *pin = k->always_auth ? "always" : p11_wants_login(t) ? "once" : "none";
    struct buf f = BUF_INIT;
    gpg_error_t err = driver_put_key(&f, k->id, k->key, "sa", "ssh");

    if (err == 0) {
        field_put(&f, "touch", "unknown");
        field_put(&f, "pin", pin);
        field_put_int(&f, "slow", 1);
        put_comment(&f, k->label != NULL && *k->label != '\0' ? k->label : p->path);
        buf_printf(lines, "KEY %s\n", buf_cstr(&f) != NULL ? buf_cstr(&f) : "");
        err = buf_err(&f);
    }
    buf_free(&f);
    return err;
}

static gpg_error_t learn(void *state, bool refresh, bool ssh, struct buf *lines)
{
    const struct p11 *p = state;
    gpg_error_t err = 0;

    (void)refresh;
    (void)ssh;
    put_token(p, lines);
    for (size_t i = 0; i < p->ntokens; i++)
        for (size_t j = 0; j < p->tokens[i].nkeys && err == 0; j++)
            err = put_key(p, &p->tokens[i], &p->tokens[i].keys[j], lines);
    return err != 0 ? err : buf_err(lines);
}

/* --- keys ------------------------------------------------------------------------------------------------------------------- */

static struct p11_key *find_key(struct p11 *p, const char *id, struct p11_token **token)
{
    for (size_t i = 0; i < p->ntokens; i++)
        for (size_t j = 0; j < p->tokens[i].nkeys; j++)
            if (strcmp(p->tokens[i].keys[j].id, id) == 0) {
                *token = &p->tokens[i];
                return &p->tokens[i].keys[j];
            }
    return NULL;
}

static bool have_key(void *arg, const struct key *k)
{
    const struct p11 *p = arg;

    for (size_t i = 0; i < p->ntokens; i++)
        for (size_t j = 0; j < p->tokens[i].nkeys; j++)
            if (key_same(p->tokens[i].keys[j].key, k))
                return true;
    return false;
}

static gpg_error_t read_keys(struct p11 *p, struct p11_token *t)
{
    gpg_error_t err = p11_ready(t);

    if (err != 0)
        return err;
    p11_keys_free(t);
    return p11_find_keys(t, have_key, p);
}

static size_t count_keys(const struct p11 *p)
{
    size_t n = 0;

    for (size_t i = 0; i < p->ntokens; i++)
        n += p->tokens[i].nkeys;
    return n;
}

/* A token that shows its keys to nobody before the login: the person is asked. */
static gpg_error_t read_hidden_keys(struct p11 *p, struct driver_op *op)
{
    gpg_error_t err = 0, first = 0;

    for (size_t i = 0; i < p->ntokens; i++) {
        struct p11_token *t = &p->tokens[i];

        if (!p11_wants_login(t) || t->logged_in || t->nkeys > 0)
            continue;
        err = p11_ready(t);
        if (err == 0)
            err = p11_login(t, op);
        if (err == 0)
            err = read_keys(p, t);
        if (first == 0)
            first = err;
        if (gpg_err_code(err) == GPG_ERR_CANCELED)
            return err;
    }
    return first;
}

/* --- ssh-add -s --------------------------------------------------------------------------------------------------------------- */

/* Does the PIN that came beforehand go to T? The module may show several cards, and the PIN is for one of them: once a
 * card took it, no other card gets it, and one that refused a PIN lately does not get it on suspicion. */
static bool gets_given_pin(const struct p11 *p, const struct p11_token *t)
{
    bool alone = only_token(p) != NULL;

    if (!p11_wants_login(t) || (t->info.flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0)
        return false;
    if (!alone && (t->info.flags & (CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY)) != 0)
        return false;
    for (size_t i = 0; i < p->ntokens; i++)
        if (p->tokens[i].logged_in && memcmp(p->tokens[i].info.serialNumber, t->info.serialNumber,
                                             sizeof t->info.serialNumber) != 0)
            return false;
    return true;
}

/* As with ssh-agent, a token that refuses the PIN shows no keys. */
static gpg_error_t begin_token(struct p11 *p, struct p11_token *t, struct rd given)
{
    gpg_error_t err = p11_ready(t);

    if (err == 0 && given.n > 0 && gets_given_pin(p, t))
        err = p11_login_given(t, given);
    if (gpg_err_code(err) == GPG_ERR_USE_CONDITIONS) {
        gpgrt_log_info("one try is left for the PIN: the one that came with ssh-add is not used\n");
        err = 0;
    }
    return err != 0 ? err : read_keys(p, t);
}

static gpg_error_t load(void *state, struct driver_op *op, struct rd given)
{
    struct p11 *p = state;
    gpg_error_t err, first = 0;

    err = p11_load(p);
    for (size_t i = 0; err == 0 && i < p->ntokens; i++) {
        gpg_error_t one = begin_token(p, &p->tokens[i], given);

        if (first == 0)
            first = one;
    }
    if (err != 0)
        return err;
    if (count_keys(p) == 0 && first == 0)
        first = read_hidden_keys(p, op);
    if (op->drop)
        for (size_t i = 0; i < p->ntokens; i++)
            p11_logout(&p->tokens[i]);
    if (count_keys(p) > 0)
        return 0;
    if (gpg_err_code(first) == GPG_ERR_CARD_RESET)
        first = gpg_error(GPG_ERR_CARD_NOT_PRESENT);
    return first != 0 ? first
                      : gpg_error(p->ntokens > 0 ? GPG_ERR_NO_SECKEY : GPG_ERR_CARD_NOT_PRESENT);
}

/* --- signing ------------------------------------------------------------------------------------------------------------------ */

static gpg_error_t put_input(const struct key *k, const struct tosign *in, struct buf *out)
{
    struct rd data = in->data;

    if (k->algo == KEY_RSA)
        return digest_info_put(out, in->hash, data);
    /* A longer hash is cut to the field's size from the left (FIPS 186-4 6.4); not every module does it. */
    if (k->algo == KEY_ECDSA && data.n > (k->nbits + 7) / 8)
        data.n = (k->nbits + 7) / 8;
    buf_put_rd(out, data);
    return buf_err(out);
}

static CK_MECHANISM mechanism_of(const struct key *k)
{
    return (CK_MECHANISM){.mechanism = k->algo == KEY_RSA       ? CKM_RSA_PKCS
                                       : k->algo == KEY_ED25519 ? CKM_EDDSA
                                                                : CKM_ECDSA};
}

static gpg_error_t sign_once(struct p11_token *t, const struct p11_key *k, struct driver_op *op,
                             struct buf *input, uint8_t *sig, CK_ULONG *n)
{
    CK_MECHANISM m = mechanism_of(k->key);
    CK_OBJECT_HANDLE private = 0;
    gpg_error_t err;

    *n = MAX_SIGNATURE;
    err = p11_find_private(t, k, &private);
    if (err == 0)
        err = p11_check(t, "C_SignInit", t->f->C_SignInit(t->session, &m, private));
    if (err != 0)
        return err;
    if (p11_get_flag(t, private, CKA_ALWAYS_AUTHENTICATE))
        err = p11_login_for_use(t, op);
    if (err == 0)
        err = p11_check(t, "C_Sign", t->f->C_Sign(t->session, input->data, input->len, sig, n));
    if (err == 0 && *n > MAX_SIGNATURE)
        err = gpg_error(GPG_ERR_BAD_SIGNATURE);
    /* An operation that was begun ends with its session. */
    if (err != 0)
        p11_drop_session(t);
    return err;
}

/* A process that was started anew knows nothing yet. */
static gpg_error_t need_key(struct p11 *p, struct driver_op *op, struct p11_token **t,
                            struct p11_key **k)
{
    gpg_error_t err = p11_load(p);

    for (size_t i = 0; err == 0 && count_keys(p) == 0 && i < p->ntokens; i++)
        (void)read_keys(p, &p->tokens[i]);
    *k = find_key(p, op->key_id, t);
    if (err == 0 && *k == NULL) {
        err = read_hidden_keys(p, op);
        *k = find_key(p, op->key_id, t);
    }
    if (err == 0 && *k == NULL)
        err = gpg_error(p->ntokens > 0 ? GPG_ERR_NO_SECKEY : GPG_ERR_CARD_NOT_PRESENT);
    return *k != NULL ? 0 : err;
}

static gpg_error_t sign(void *state, struct driver_op *op, gcry_sexp_t *sig)
{
    struct p11_token *t = NULL;
    struct p11_key *k = NULL;
    struct buf input = BUF_INIT;
    uint8_t raw[MAX_SIGNATURE];
    CK_ULONG n = 0;
    gpg_error_t err;

    if (op->want_touch)
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    err = need_key(state, op, &t, &k);
    if (err != 0)
        return err;
    err = put_input(k->key, &op->input, &input);
    for (int repairs = 0; err == 0; repairs++) {
        if (op->io->canceled(op->io->arg))
            err = gpg_error(GPG_ERR_CANCELED);
        if (err == 0)
            err = p11_ready(t);
        if (err == 0)
            err = p11_login(t, op);
        if (err == 0)
            err = sign_once(t, k, op, &input, raw, &n);
        if (gpg_err_code(err) != GPG_ERR_CARD_RESET)
            break;
        err = repairs < MAX_REPAIRS ? 0 : gpg_error(GPG_ERR_CARD_NOT_PRESENT);
    }
    if (op->drop)
        p11_logout(t);
    if (err == 0)
        err = sig_from_raw(k->key, rd_of(raw, n), sig);
    buf_free(&input);
    return err;
}

/* --- the rest ----------------------------------------------------------------------------------------------------------------- */

static gpg_error_t verify(void *state, struct driver_op *op, const char *ref)
{
    struct p11 *p = state;
    struct p11_token *t = NULL;
    gpg_error_t err = p11_load(p);

    (void)ref;
    for (size_t i = 0; i < p->ntokens && t == NULL; i++)
        if (p11_wants_login(&p->tokens[i]))
            t = &p->tokens[i];
    if (err == 0 && t == NULL)
        err = gpg_error(p->ntokens > 0 ? GPG_ERR_NOT_SUPPORTED : GPG_ERR_CARD_NOT_PRESENT);
    for (int repairs = 0; err == 0; repairs++) {
        err = p11_ready(t);
        if (err == 0)
            err = p11_login(t, op);
        if (gpg_err_code(err) != GPG_ERR_CARD_RESET)
            break;
        err = repairs < MAX_REPAIRS ? 0 : gpg_error(GPG_ERR_CARD_NOT_PRESENT);
    }
    if (t != NULL && op->drop)
        p11_logout(t);
    return err;
}

static void forget(void *state)
{
    struct p11 *p = state;

    for (size_t i = 0; i < p->ntokens; i++) {
        p11_logout(&p->tokens[i]);
        p11_forget_pin(&p->tokens[i]);
    }
}

const struct driver driver_pkcs11 = {
    .kind = "pkcs11",
    .help = "the PKCS#11 module at the path ARGUMENT",
    .wants_arg = true,
    .close_at_end = true,
    .open = open_provider,
    .close = close_provider,
    .learn = learn,
    .sign = sign,
    .verify = verify,
    .forget = forget,
    .load = load,
};
