/* The driver against what a host and the vendor's emulator said to each other (tests/vectors/wallets): it sends the very packets that
 * were sent there, and makes of the answers what was made of them. */
#include "devices/trezor_call.h"
#include "tests/unit/proto_util.h"

#include <jansson.h>

#define VECTOR_FILE "tests/vectors/wallets/trezor-one.json"
#define PIN_FILE    "tests/vectors/wallets/trezor-one-pin-passphrase.json"

/* --- a device made of a capture ------------------------------------------------------------------------------------- */

struct line {
    bool host;
    uint8_t packet[TREZOR_PACKET];
};

static struct script {
    struct trezor_transport t; /* first */
    struct line *lines;
    size_t n, at;
    const char *passphrase;
    bool pin_wrong; /* the person is told so */
    unsigned pins, touches;
    char said[400];
} script;

static gpg_error_t script_write(struct trezor_transport *t, const uint8_t packet[TREZOR_PACKET])
{
    (void)t;
    ck_assert_uint_lt(script.at, script.n);
    ck_assert(script.lines[script.at].host);
    ck_assert_mem_eq(packet, script.lines[script.at].packet, TREZOR_PACKET);
    script.at++;
    return 0;
}

static gpg_error_t script_read(struct trezor_transport *t, uint8_t packet[TREZOR_PACKET], int ms)
{
    (void)t;
    if (ms == 0) /* nothing is left from before */
        return gpg_error(GPG_ERR_TIMEOUT);
    if (script.at >= script.n || script.lines[script.at].host)
        return gpg_error(GPG_ERR_CARD_REMOVED);
    memcpy(packet, script.lines[script.at++].packet, TREZOR_PACKET);
    return 0;
}

static bool script_alive(struct trezor_transport *t)
{
    (void)t;
    return true;
}

static void add_exchange(const json_t *e)
{
    const json_t *messages = json_object_get(e, "exchange");

    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i), *packets = json_object_get(m, "packets");
        bool host = strcmp(json_string_value(json_object_get(m, "dir")), "host->dev") == 0;

        for (size_t k = 0; k < json_array_size(packets); k++) {
            struct buf b = BUF_INIT;

            put_hex(&b, json_string_value(json_array_get(packets, k)));
            ck_assert_uint_eq(b.len, TREZOR_PACKET);
            script.lines =
                gpgrt_reallocarray(script.lines, script.n, script.n + 1, sizeof *script.lines);
            script.lines[script.n].host = host;
            memcpy(script.lines[script.n++].packet, b.data, TREZOR_PACKET);
            buf_free(&b);
        }
    }
}

static const json_t *exchange(const json_t *list, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(list, i), "name")), name) == 0)
            return json_array_get(list, i);
    ck_abort_msg("no exchange \"%s\"", name);
    return NULL;
}

static void script_begin(struct trezor *z)
{
    gpgrt_free(script.lines);
    script =
        (struct script){.t = {.write = script_write, .read = script_read, .alive = script_alive}};
    *z = (struct trezor){.t = &script.t, .session = BUF_INIT_SECURE};
}

static void script_end(struct trezor *z)
{
    ck_assert_uint_eq(script.at, script.n);
    trezor_free(z->features);
    buf_free(&z->session);
}

/* Each operation begins with Initialize, here in a new session. */
static void begin_with(struct trezor *z, const json_t *list, const char *name)
{
    script_begin(z);
    add_exchange(exchange(list, "Initialize"));
    add_exchange(exchange(list, name));
}

/* --- the person -------------------------------------------------------------------------------------------------------- */

static gpg_error_t ask_pin(void *arg, const struct pin_request *q, struct buf *pin)
{
    (void)arg;
    ck_assert_str_eq(q->ref, "matrix");
    script.pin_wrong = q->wrong;
    if (++script.pins > 1)
        return gpg_error(GPG_ERR_CANCELED);
    /* what was typed there */
    for (size_t i = script.at; i < script.n; i++)
        if (script.lines[i].host) {
            buf_put(pin, script.lines[i].packet + 11, script.lines[i].packet[10]);
            break;
        }
    return buf_err(pin);
}

static gpg_error_t inquire(void *arg, const char *keyword, const char *fields, size_t max,
                           bool secret, struct buf *answer)
{
    (void)arg;
    (void)max;
    ck_assert_str_eq(keyword, "PASSPHRASE");
    ck_assert_str_eq(fields, "why=wallet");
    ck_assert(secret);
    if (script.passphrase == NULL)
        return gpg_error(GPG_ERR_CANCELED);
    buf_printf(answer, "%s", script.passphrase);
    return buf_err(answer);
}

static void touch(void *arg, bool waiting)
{
    (void)arg;
    script.touches += waiting;
}

static gpg_error_t status(void *arg, const char *keyword, const char *fields)
{
    (void)arg;
    ck_assert_str_eq(keyword, "WALLET");
    snprintf(script.said, sizeof script.said, "%s", fields);
    return 0;
}

static bool canceled(void *arg)
{
    (void)arg;
    return false;
}

static const struct driver_io io = {
    .ask_pin = ask_pin, .touch = touch, .inquire = inquire, .status = status, .canceled = canceled};

/* HEX of either case. */
static void same(struct rd got, const char *hex)
{
    struct buf b = BUF_INIT;

    put_hex(&b, hex);
    ck_assert(rd_eq(got, buf_rd(&b)));
    buf_free(&b);
}

/* --- tests -------------------------------------------------------------------------------------------------------------- */

static char *name_of(const char *verb, const json_t *e, const char *curve)
{
    return gpgrt_bsprintf("%s %s %s", verb, json_string_value(json_object_get(e, "uri")), curve);
}

static struct key *read_key(const json_t *list, const char *name, const struct wallet_identity *id,
                            bool ecdh)
{
    struct driver_op op = {.pin_age = -1}; /* nothing may be asked */
    struct trezor z;
    struct key *k = NULL;

    begin_with(&z, list, name);
    ck_ok(wallet_trezor.public_key(&z, id, ecdh, &op, &k));
    script_end(&z);
    return k;
}

static void check_ssh(const json_t *list, const json_t *e, const struct wallet_identity *id)
{
    const char *curve = json_string_value(json_object_get(e, "curve")),
               *line = json_string_value(json_object_get(e, "ssh_pubkey"));
    char *get = name_of("GetPublicKey", e, curve), *make = name_of("SignIdentity", e, curve), *text;
    struct driver_op op = {.io = &io, .pin_age = -1};
    struct buf blob = BUF_INIT, sshsig = BUF_INIT;
    struct key *k = read_key(list, get, id, false);
    gcry_sexp_t sig = NULL;
    struct tosign t;
    struct trezor z;

    text = key_to_text(k);
    ck_assert(strncmp(line, text, strlen(text)) == 0);
    put_hex(&blob, json_string_value(json_object_get(e, "blob")));
    t = (struct tosign){.data = buf_rd(&blob)};
    begin_with(&z, list, make);
    ck_ok(wallet_trezor.sign(&z, id, k, &op, &t, &sig));
    script_end(&z);
    ck_assert(op.touched && !op.pin_typed);
    ck_assert_uint_eq(script.touches, 1);
    ck_ok(sig_to_ssh(k, 0, sig, &sshsig));
    same(buf_rd(&sshsig), json_string_value(json_object_get(e, "ssh_signature_blob")));
    gcry_sexp_release(sig);
    buf_free(&blob);
    buf_free(&sshsig);
    gpgrt_free(get);
    gpgrt_free(make);
    gpgrt_free(text);
    key_unref(k);
}

static void check_gpg(const json_t *list, const json_t *e, const struct wallet_identity *id)
{
    const char *curve = json_string_value(json_object_get(e, "curve")),
               *other = json_string_value(json_object_get(e, "ecdh_curve"));
    char *get = name_of("GetPublicKey sign", e, curve),
         *get_ecdh = name_of("GetPublicKey ecdh", e, other),
         *make = gpgrt_bsprintf("SignIdentity %s %s 32-byte digest",
                                json_string_value(json_object_get(e, "uri")), curve),
         *derive = name_of("GetECDHSessionKey", e, other);
    struct driver_op op = {.io = &io, .pin_age = -1};
    struct key *k = read_key(list, get, id, false), *dec = read_key(list, get_ecdh, id, true);
    struct buf digest = BUF_INIT, peer = BUF_INIT, shared = BUF_INIT_SECURE;
    gcry_sexp_t sig = NULL;
    struct tosign t;
    struct trezor z;
    struct rd point;

    put_hex(&digest, json_string_value(json_object_get(e, "digest")));
    t = (struct tosign){.hash = GCRY_MD_SHA256, .data = buf_rd(&digest)};
    begin_with(&z, list, make);
    ck_ok(wallet_trezor.sign(&z, id, k, &op, &t, &sig));
    script_end(&z);
    ck_ok(sig_verify(k, &t, sig));
    put_hex(&peer, json_string_value(json_object_get(e, "peer_public")));
    begin_with(&z, list, derive);
    point = buf_rd(&peer);
    ck_ok(wallet_trezor.ecdh(&z, id, dec, &op, point, &shared));
    script_end(&z);
    same(buf_rd(&shared),
         json_string_value(json_object_get(e, "session_key")) + (id->ed25519 ? 2 : 0));
    /* Curve25519 without the prefix is the same */
    if (id->ed25519) {
        begin_with(&z, list, derive);
        buf_reset(&shared);
        ck_ok(wallet_trezor.ecdh(&z, id, dec, &op, rd_of(point.p + 1, 32), &shared));
        script_end(&z);
    }
    gcry_sexp_release(sig);
    buf_free(&digest);
    buf_free(&peer);
    buf_free(&shared);
    gpgrt_free(get);
    gpgrt_free(get_ecdh);
    gpgrt_free(make);
    gpgrt_free(derive);
    key_unref(k);
    key_unref(dec);
}

START_TEST(captured)
{
    json_t *all = json_load_file(VECTOR_FILE, 0, NULL);
    const json_t *summary = json_object_get(all, "summary"),
                 *list = json_object_get(all, "exchanges");

    ck_assert_uint_ge(json_array_size(summary), 10);
    for (size_t i = 0; i < json_array_size(summary); i++) {
        const json_t *e = json_array_get(summary, i);
        struct wallet_identity id;

        ck_ok(wallet_identity_parse(json_string_value(json_object_get(e, "uri")),
                                    json_string_value(json_object_get(e, "curve")), &id));
        if (strcmp(id.proto, "gpg") == 0)
            check_gpg(list, e, &id);
        else
            check_ssh(list, e, &id);
        wallet_identity_clear(&id);
    }
    json_decref(all);
}
END_TEST

static struct key *ed_key(struct wallet_identity *id)
{
    char *comment = NULL;
    struct key *k = NULL;

    ck_ok(wallet_identity_parse("ssh://user@host", "ed25519", id));
    ck_ok(key_from_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOBl75+s3Kh1QMuNI9CJcLPsQmFcwCAzaok+"
                        "revg0BtW x",
                        &k, &comment));
    gpgrt_free(comment);
    return k;
}

/* PIN by the grid and passphrase by the host, in the order in which a One wants them. */
START_TEST(pin_and_passphrase)
{
    json_t *list = json_load_file(PIN_FILE, 0, NULL);
    struct driver_op op = {.io = &io, .pin_age = -1};
    struct wallet_identity id;
    struct key *standard = ed_key(&id), *k = NULL;
    struct trezor z;

    script_begin(&z);
    add_exchange(exchange(list, "Initialize locked"));
    add_exchange(exchange(list, "GetPublicKey with PIN and passphrase (host entry)"));
    script.passphrase = "secret";
    ck_ok(wallet_trezor.public_key(&z, &id, false, &op, &k));
    ck_assert_uint_eq(script.at, script.n);
    ck_assert(op.pin_typed);
    ck_assert_uint_eq(script.pins, 1);
    ck_assert(!key_same(k, standard)); /* another wallet */
    key_unref(k);
    script_end(&z);
    key_unref(standard);
    wallet_identity_clear(&id);
    json_decref(list);
}
END_TEST

/* A wrong PIN is not sent again: the person is asked. */
START_TEST(wrong_pin)
{
    json_t *list = json_load_file(PIN_FILE, 0, NULL);
    struct driver_op op = {.io = &io, .pin_age = -1};
    struct wallet_identity id;
    struct key *k = NULL;
    struct trezor z;

    key_unref(ed_key(&id));
    script_begin(&z);
    add_exchange(exchange(list, "Initialize locked"));
    add_exchange(exchange(list, "wrong PIN"));
    add_exchange(exchange(list, "Cancel at PinMatrixRequest"));
    ck_code(wallet_trezor.public_key(&z, &id, false, &op, &k), GPG_ERR_CANCELED);
    ck_assert_uint_eq(script.pins, 2);
    ck_assert(script.pin_wrong && !op.pin_typed);
    script_end(&z);
    wallet_identity_clear(&id);
    json_decref(list);
}
END_TEST

/* A locked device is not asked quietly: it would show something. */
START_TEST(quietly)
{
    json_t *list = json_load_file(PIN_FILE, 0, NULL);
    struct driver_op op = {.pin_age = -1};
    struct wallet_identity id;
    struct key *k = NULL;
    struct trezor z;

    key_unref(ed_key(&id));
    script_begin(&z);
    add_exchange(exchange(list, "Initialize locked"));
    ck_code(wallet_trezor.public_key(&z, &id, false, &op, &k), GPG_ERR_NOT_CONFIRMED);
    script_end(&z);
    wallet_identity_clear(&id);
    json_decref(list);
}
END_TEST

/* The newest models say so to anything of protocol v1. */
START_TEST(thp)
{
    struct trezor z;

    script_begin(&z);
    script.lines = gpgrt_calloc(2, sizeof *script.lines);
    script.n = 2;
    script.lines[0].host = true;
    memcpy(script.lines[0].packet, "?##", 3);
    memcpy(script.lines[1].packet, "?##\0\3\0\0\0\2\x08\x11", 11);
    ck_code(trezor_begin(&z), GPG_ERR_NOT_SUPPORTED);
    script_end(&z);
}
END_TEST

static void tests(TCase *tc)
{
    tcase_add_test(tc, captured);
    tcase_add_test(tc, pin_and_passphrase);
    tcase_add_test(tc, wrong_pin);
    tcase_add_test(tc, quietly);
    tcase_add_test(tc, thp);
}

int main(void)
{
    return run_suite("devices/trezor", tests);
}
