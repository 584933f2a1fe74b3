/* The drivers of security keys: against the authenticator in software and the test middleware, both from the folder that this
 * program was built into. This program is its own sk-helper. */
#include "devices/fido_pcsc.h"
#include "devices/sk_api.h"
#include "devices/sk_helper.h"
#include "tests/unit/proto_util.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char build[512], top[] = "/tmp/lkskXXXXXX";

/* --- what the broker would be --------------------------------------------------------------------------------------- */

struct person {
    const char *pins[4]; /* typed in this order; NULL: cancels */
    unsigned asked, touches;
    int tries;
    atomic_bool touching, gone;
};

static gpg_error_t ask_pin(void *arg, const struct pin_request *q, struct buf *pin)
{
    struct person *p = arg;
    const char *text = p->asked < 4 ? p->pins[p->asked] : NULL;

    ck_assert(q->wrong == (p->asked > 0));
    p->tries = q->tries;
    p->asked++;
    if (text == NULL)
        return gpg_error(GPG_ERR_CANCELED);
    buf_put(pin, text, strlen(text));
    return buf_err(pin);
}

static void on_touch(void *arg, bool waiting)
{
    struct person *p = arg;

    p->touching = waiting;
    p->touches += waiting;
}

static bool is_canceled(void *arg)
{
    return ((struct person *)arg)->gone;
}

struct call {
    const struct driver *d;
    void *state;
    struct driver_op op;
    struct driver_io io;
    gcry_sexp_t sig;
    gpg_error_t err;
    pthread_t thread;
};

static void call_init(struct call *c, const struct driver *d, void *state, const char *id,
                      struct person *p)
{
    *c = (struct call){.d = d, .state = state};
    c->io = (struct driver_io){
        .ask_pin = ask_pin, .touch = on_touch, .canceled = is_canceled, .arg = p};
    c->op = (struct driver_op){.key_id = id, .pin_age = -1, .input.data = rd_str("a message")};
    c->op.io = &c->io;
}

static void *call_run(void *arg)
{
    struct call *c = arg;

    c->err = c->d->sign(c->state, &c->op, &c->sig);
    return NULL;
}

static void until(atomic_bool *what)
{
    for (int i = 0; i < 2000 && !*what; i++)
        usleep(10000);
    ck_assert(*what);
}

/* --- keys ------------------------------------------------------------------------------------------------------------- */

static void put_body(struct buf *b, bool ec, struct rd pub, const char *application, uint8_t flags,
                     struct rd handle)
{
    buf_put_cstring(b, ec ? "sk-ecdsa-sha2-nistp256@openssh.com" : "sk-ssh-ed25519@openssh.com");
    if (ec)
        buf_put_cstring(b, "nistp256");
    buf_put_string(b, pub.p, pub.n);
    buf_put_cstring(b, application);
    buf_put_u8(b, flags);
    buf_put_string(b, handle.p, handle.n);
    buf_put_cstring(b, "");
}

/* Adds it; its id (gpgrt_free) from the line that answers. */
static char *add(const struct driver *d, void *state, const struct buf *body, struct key **pub)
{
    struct sk_key *k;
    struct buf line = BUF_INIT;
    const char *id;
    char *copy;

    ck_ok(d->add_key(state, buf_rd(body), "a key", &line));
    id = strstr(buf_cstr(&line), "id=");
    ck_assert_ptr_nonnull(id);
    copy = gpgrt_bsprintf("%.*s", (int)strcspn(id + 3, " "), id + 3);
    ck_assert_ptr_nonnull(strstr(buf_cstr(&line), "sk=ssh:"));
    ck_ok(sk_key_new(buf_rd(body), &k));
    *pub = key_ref(k->pub);
    sk_key_free(k);
    buf_free(&line);
    return copy;
}

static void check(struct call *c, const struct key *pub, uint8_t flags)
{
    ck_ok(c->err);
    ck_assert(c->op.asserted);
    ck_assert_uint_eq(c->op.says.flags, flags);
    ck_ok(sk_sig_check(pub, rd_str("a message"), &c->op.says, c->sig));
    gcry_sexp_release(c->sig);
    c->sig = NULL;
}

START_TEST(bodies)
{
    struct key *cert = recorded_key(_i == 0 ? "sked-cert" : "skec-cert"), *plain;
    struct buf body = BUF_INIT, whole = BUF_INIT;
    struct rd r = rd_of(cert->plain, cert->plain_len), type, curve, q;
    struct sk_key *k;

    ck_ok(key_plain(cert, &plain));
    ck_ok(rd_string(&r, &type));
    if (_i == 1)
        ck_ok(rd_string(&r, &curve));
    ck_ok(rd_string(&r, &q));
    put_body(&body, _i == 1, q, plain->sk_application, 0x25, rd_str("handle"));
    ck_ok(sk_key_new(buf_rd(&body), &k));
    ck_assert(key_same(k->pub, plain));
    ck_assert_uint_eq(k->flags, 0x25);
    ck_assert(rd_eq(rd_of(k->handle, k->handle_len), rd_str("handle")));
    sk_key_free(k);
    for (size_t n = 0; n < body.len; n++)
        ck_assert_uint_ne(sk_key_new(rd_of(body.data, n), &k), 0);
    buf_put_u8(&body, 0);
    ck_assert_uint_ne(sk_key_new(buf_rd(&body), &k), 0);
    buf_reset(&body);
    put_body(&body, _i == 1, q, "ssh:", 1, rd_str(""));
    ck_code(sk_key_new(buf_rd(&body), &k), GPG_ERR_BAD_SECKEY);

    /* certificates: cert, [pk,] application, flags, handle, reserved */
    for (int bad = 0; bad <= 1; bad++) {
        buf_reset(&whole);
        buf_put_cstring(&whole, cert->type);
        buf_put_string(&whole, cert->blob, cert->blob_len);
        if (_i == 0)
            buf_put_string(&whole, q.p, q.n);
        buf_put_cstring(&whole, bad ? "ssh:other" : plain->sk_application);
        buf_put_u8(&whole, 1);
        buf_put_cstring(&whole, "handle");
        buf_put_cstring(&whole, "");
        if (bad) {
            ck_code(sk_key_new(buf_rd(&whole), &k), GPG_ERR_BAD_SECKEY);
        } else {
            ck_ok(sk_key_new(buf_rd(&whole), &k));
            ck_assert(key_same(k->pub, plain) && k->pub->cert == NULL);
            sk_key_free(k);
        }
    }
    buf_reset(&body);
    buf_put_cstring(&body, "ssh-ed25519");
    ck_code(sk_key_new(buf_rd(&body), &k), GPG_ERR_UNSUPPORTED_ALGORITHM);
    buf_free(&body);
    buf_free(&whole);
    key_unref(cert);
    key_unref(plain);
}
END_TEST

START_TEST(helper_messages)
{
    struct sk_request q = {.alg = SK_API_ED25519,
                           .flags = 5,
                           .application = "ssh:x",
                           .handle = rd_str("handle"),
                           .message = rd_str("message"),
                           .pin = "1234"},
                      back;
    struct sk_answer a;
    struct buf b = BUF_INIT;

    ck_ok(sk_request_put(&q, &b));
    ck_ok(sk_request_parse(buf_rd(&b), &back));
    ck_assert(!back.check_only && back.alg == SK_API_ED25519 && back.flags == 5);
    ck_assert_str_eq(back.application, "ssh:x");
    ck_assert_str_eq(back.pin, "1234");
    ck_assert(rd_eq(back.handle, q.handle) && rd_eq(back.message, q.message));
    sk_request_clear(&back);
    for (size_t n = 0; n < b.len; n++)
        ck_assert_uint_ne(sk_request_parse(rd_of(b.data, n), &back), 0);
    buf_reset(&b);
    q.pin = NULL;
    ck_ok(sk_request_put(&q, &b));
    ck_ok(sk_request_parse(buf_rd(&b), &back));
    ck_assert_ptr_null(back.pin);
    sk_request_clear(&back);

    buf_reset(&b);
    buf_put_u32(&b, (uint32_t)SK_API_PIN_REQUIRED);
    buf_put_u8(&b, 1);
    buf_put_u32(&b, 9);
    buf_put_cstring(&b, "rr");
    buf_put_cstring(&b, "s");
    buf_put_cstring(&b, "why");
    ck_ok(sk_answer_parse(buf_rd(&b), &a));
    ck_assert_int_eq(a.code, SK_API_PIN_REQUIRED);
    ck_assert_uint_eq(a.says.counter, 9);
    ck_assert(rd_is(a.r, "rr") && rd_is(a.s, "s"));
    ck_assert_str_eq(a.problem, "why");
    sk_answer_clear(&a);
    for (size_t n = 0; n < b.len; n++)
        ck_assert_uint_ne(sk_answer_parse(rd_of(b.data, n), &a), 0);
    buf_free(&b);
}
END_TEST

/* --- middleware --------------------------------------------------------------------------------------------------------- */

static void put_file(const char *name, const char *text)
{
    char path[600];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", top, name);
    f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static void drop_file(const char *name)
{
    char path[600];

    snprintf(path, sizeof path, "%s/%s", top, name);
    unlink(path);
}

/* testsk.so's handle is the secret itself. */
static char *middleware_key(void *state, uint8_t flags, struct key **pub)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    uint8_t secret[32], q[32];
    size_t n = 32, m = 32;
    struct buf body = BUF_INIT;
    char *id;

    ck_assert(EVP_PKEY_get_raw_private_key(key, secret, &n) == 1 &&
              EVP_PKEY_get_raw_public_key(key, q, &m) == 1);
    put_body(&body, false, rd_of(q, m), "ssh:", flags, rd_of(secret, n));
    id = add(&driver_sk, state, &body, pub);
    EVP_PKEY_free(key);
    buf_free(&body);
    return id;
}

START_TEST(middleware)
{
    struct person p = {.pins = {"0000", "1234"}};
    char *library = gpgrt_bsprintf("%s/testsk.so", build), *id, *pin_id;
    struct key *pub, *pin_pub;
    struct buf lines = BUF_INIT;
    struct call c;
    void *state;

    ck_ok(driver_sk.open(library, &state));
    id = middleware_key(state, SK_KEY_PRESENCE, &pub);
    pin_id = middleware_key(state, SK_KEY_PRESENCE | SK_KEY_VERIFICATION, &pin_pub);
    ck_ok(driver_sk.learn(state, false, false, &lines));
    ck_assert_ptr_nonnull(strstr(buf_cstr(&lines), "name=fido-testsk.so"));
    ck_assert_ptr_nonnull(strstr(buf_cstr(&lines), "touch=always pin=always"));

    call_init(&c, &driver_sk, state, id, &p);
    call_run(&c);
    check(&c, pub, 1);
    ck_assert(c.op.touched && !c.op.pin_typed && !c.op.pin_device);
    ck_assert(p.touches <= 1 && !p.touching); /* one that answers at once never blinked */

    put_file("pin", "1234");
    call_init(&c, &driver_sk, state, pin_id, &p);
    call_run(&c);
    check(&c, pin_pub, 5);
    ck_assert(c.op.pin_typed && p.asked == 2 && p.tries == -1);
    drop_file("pin");
    call_init(&c, &driver_sk, state, pin_id, &p);
    call_run(&c);
    check(&c, pin_pub, 5);
    ck_assert(c.op.pin_device && !c.op.pin_typed);

    put_file("lie", "");
    call_init(&c, &driver_sk, state, id, &p);
    call_run(&c);
    ck_code(c.err, GPG_ERR_BAD_SIGNATURE);
    drop_file("lie");
    put_file("crash", "");
    call_run(&c);
    ck_code(c.err, GPG_ERR_UNEXPECTED);
    drop_file("crash");
    put_file("error", "-2");
    call_run(&c);
    ck_code(c.err, GPG_ERR_NOT_SUPPORTED);
    drop_file("error");

    /* Called off while it waits. */
    put_file("hold", "");
    p.touching = false;
    call_init(&c, &driver_sk, state, id, &p);
    pthread_create(&c.thread, NULL, call_run, &c);
    until(&p.touching);
    p.gone = true;
    pthread_join(c.thread, NULL);
    ck_code(c.err, GPG_ERR_CANCELED);
    ck_assert(!p.touching);
    drop_file("hold");
    p.gone = false;

    ck_ok(driver_sk.delete_key(state, id));
    call_init(&c, &driver_sk, state, id, &p);
    call_run(&c);
    ck_code(c.err, GPG_ERR_NO_SECKEY);
    driver_sk.delete_all(state);
    driver_sk.close(state);
    put_file("version", "0b0000");
    ck_code(driver_sk.open(library, &state), GPG_ERR_NOT_SUPPORTED);
    drop_file("version");
    ck_code(driver_sk.open("/no/such", &state), GPG_ERR_NOT_SUPPORTED);
    key_unref(pub);
    key_unref(pin_pub);
    gpgrt_free(id);
    gpgrt_free(pin_id);
    gpgrt_free(library);
    buf_free(&lines);
}
END_TEST

/* --- libfido2 --------------------------------------------------------------------------------------------------------------- */

struct device {
    pid_t pid;
    char hid[108], ctl[108];
    int fd;
};

static void device_start(struct device *d, const char *name, const char *option, const char *value)
{
    char program[600];
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    snprintf(program, sizeof program, "%s/testfido", build);
    snprintf(d->hid, sizeof d->hid, "%s/%s.hid", top, name);
    snprintf(d->ctl, sizeof d->ctl, "%s/%s.ctl", top, name);
    d->pid = fork();
    if (d->pid == 0) {
        execl(program, program, "--socket", d->hid, "--control", d->ctl, option, value, NULL);
        _exit(127);
    }
    memcpy(addr.sun_path, d->ctl, sizeof d->ctl);
    d->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (int i = 0; i < 1000 && connect(d->fd, (struct sockaddr *)&addr, sizeof addr) != 0; i++)
        usleep(10000);
}

static void device_stop(struct device *d)
{
    close(d->fd);
    kill(d->pid, SIGTERM);
    waitpid(d->pid, NULL, 0);
    unlink(d->hid);
    unlink(d->ctl);
}

static void device_ask(struct device *d, const char *line, char answer[1024])
{
    size_t n = 0;

    ck_assert(send(d->fd, line, strlen(line), 0) == (ssize_t)strlen(line) &&
              send(d->fd, "\n", 1, 0) == 1);
    do {
        ssize_t got = recv(d->fd, answer + n, 1023 - n, 0);

        ck_assert_int_gt((int)got, 0);
        n += (size_t)got;
    } while (answer[n - 1] != '\n');
    answer[n] = '\0';
}

static void device_do(struct device *d, const char *line)
{
    char answer[1024];

    device_ask(d, line, answer);
    ck_assert_str_eq(answer, "OK\n");
}

static bool device_says(struct device *d, const char *what)
{
    char answer[1024];

    device_ask(d, "state", answer);
    return strstr(answer, what) != NULL;
}

static void device_until(struct device *d, const char *what)
{
    for (int i = 0; i < 2000 && !device_says(d, what); i++)
        usleep(10000);
    ck_assert(device_says(d, what));
}

static char *device_key(struct device *d, void *state, bool ec, uint8_t flags, struct key **pub)
{
    char line[64], answer[1024], handle[512], q[512], *id;
    struct buf h = BUF_INIT, p = BUF_INIT, body = BUF_INIT;

    snprintf(line, sizeof line, "make %s ssh: %d", ec ? "ecdsa" : "ed25519",
             (flags & SK_KEY_VERIFICATION) != 0 ? 3 : 1);
    device_ask(d, line, answer);
    ck_assert_int_eq(sscanf(answer, "OK %511s %511s", handle, q), 2);
    put_hex(&h, handle);
    put_hex(&p, q);
    put_body(&body, ec, buf_rd(&p), "ssh:", flags, buf_rd(&h));
    id = add(&driver_fido, state, &body, pub);
    buf_free(&h);
    buf_free(&p);
    buf_free(&body);
    return id;
}

START_TEST(fido)
{
    struct person p = {0}, q = {0};
    struct device one, two;
    struct key *pub, *other;
    struct call c, e;
    char *arg, *id, *other_id;
    void *state;

    device_start(&one, "one", NULL, NULL);
    device_start(&two, "two", NULL, NULL);
    arg = gpgrt_bsprintf("emulator=%s,%s", one.hid, two.hid);
    ck_ok(driver_fido.open(arg, &state));
    id = device_key(&two, state, _i == 1, SK_KEY_PRESENCE, &pub);
    other_id = device_key(&one, state, _i == 1, 0, &other);

    call_init(&c, &driver_fido, state, id, &p);
    pthread_create(&c.thread, NULL, call_run, &c);
    device_until(&two, "\"waiting\": true");
    ck_assert(device_says(&one, "\"waiting\": false") && p.touching);
    /* no touch: flag 0, and the first one is in nobody's way */
    call_init(&e, &driver_fido, state, other_id, &q);
    call_run(&e);
    check(&e, other, 0);
    ck_assert(!e.op.touched && q.touches == 0);
    device_do(&two, "touch");
    pthread_join(c.thread, NULL);
    check(&c, pub, 1);
    ck_assert(c.op.touched);

    /* .. unless one is wanted */
    device_do(&one, "auto on");
    call_init(&e, &driver_fido, state, other_id, &q);
    e.op.want_touch = true;
    call_run(&e);
    check(&e, other, 1);

    /* A second request for a device that waits has its turn, and its own touch. */
    p = (struct person){0};
    q = (struct person){0};
    call_init(&c, &driver_fido, state, id, &p);
    call_init(&e, &driver_fido, state, id, &q);
    pthread_create(&c.thread, NULL, call_run, &c);
    device_until(&two, "\"waiting\": true");
    pthread_create(&e.thread, NULL, call_run, &e);
    p.gone = true;
    pthread_join(c.thread, NULL);
    ck_code(c.err, GPG_ERR_CANCELED);
    device_until(&two, "\"cancelled\": 1");
    device_until(&two, "\"waiting\": true");
    device_do(&two, "touch");
    pthread_join(e.thread, NULL);
    check(&e, pub, 1);

    device_do(&two, "lie on");
    device_do(&two, "auto on");
    call_init(&c, &driver_fido, state, id, &q);
    call_run(&c);
    ck_code(c.err, GPG_ERR_BAD_SIGNATURE);
    device_stop(&two);
    call_run(&c);
    ck_code(c.err, GPG_ERR_CARD_NOT_PRESENT);
    device_stop(&one);
    call_run(&c);
    ck_code(c.err, GPG_ERR_CARD_NOT_PRESENT);
    driver_fido.close(state);
    key_unref(pub);
    key_unref(other);
    gpgrt_free(id);
    gpgrt_free(other_id);
    gpgrt_free(arg);
}
END_TEST

START_TEST(fido_pin)
{
    struct person p = {.pins = {"00000", "12345"}}, same = {.pins = {"00000", "00000"}};
    struct device d;
    struct key *pub;
    struct call c;
    char *arg, *id;
    void *state;

    device_start(&d, "one", "--pin", "12345");
    arg = gpgrt_bsprintf("emulator=%s", d.hid);
    ck_ok(driver_fido.open(arg, &state));
    id = device_key(&d, state, _i == 1, SK_KEY_PRESENCE | SK_KEY_VERIFICATION, &pub);
    device_do(&d, "auto on");
    call_init(&c, &driver_fido, state, id, &p);
    call_run(&c);
    check(&c, pub, 5);
    ck_assert(c.op.pin_typed && p.asked == 2 && p.tries == 7);
    ck_assert(device_says(&d, "\"tries\": 8"));
    call_init(&c, &driver_fido, state, id, &same);
    call_run(&c);
    ck_code(c.err, GPG_ERR_BAD_PIN);
    ck_assert(device_says(&d, "\"tries\": 7"));
    device_do(&d, "tries 0");
    call_run(&c);
    ck_code(c.err, GPG_ERR_PIN_BLOCKED);
    ck_assert_uint_eq(same.asked, 2);
    device_stop(&d);
    driver_fido.close(state);
    key_unref(pub);
    gpgrt_free(id);
    gpgrt_free(arg);
}
END_TEST

START_TEST(arguments)
{
    void *state;

    ck_code(driver_fido.open("usb", &state), GPG_ERR_INV_ARG);
    ck_ok(driver_fido.open("hid", &state));
    driver_fido.close(state);
}
END_TEST

/* --- behind card readers -------------------------------------------------------------------------------------------------- */

static void put_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

/* As the kernel lays it out: usb_device, interface, hid device, hidraw node. */
START_TEST(usb_addresses)
{
    char sys[] = "/tmp/latchkey-sys-XXXXXX";
    int bus, dev;

    ck_assert_ptr_nonnull(mkdtemp(sys));
    ck_assert_int_eq(chdir(sys), 0);
    ck_assert(mkdir("class", 0700) == 0 && mkdir("class/hidraw", 0700) == 0 &&
              mkdir("class/hidraw/hidraw7", 0700) == 0 && mkdir("usb", 0700) == 0 &&
              mkdir("usb/if0", 0700) == 0 && mkdir("usb/if0/hid", 0700) == 0);
    ck_assert_int_eq(symlink("../../../usb/if0/hid", "class/hidraw/hidraw7/device"), 0);
    fido_hid_address(sys, "/dev/hidraw7", &bus, &dev);
    ck_assert(bus == -1 && dev == -1);
    put_text("usb/busnum", "3\n");
    fido_hid_address(sys, "/dev/hidraw7", &bus, &dev);
    ck_assert(bus == -1 && dev == -1);
    put_text("usb/devnum", "17\n");
    fido_hid_address(sys, "/dev/hidraw7", &bus, &dev);
    ck_assert(bus == 3 && dev == 17);
    fido_hid_address(sys, "/dev/hidraw8", &bus, &dev);
    ck_assert(bus == -1 && dev == -1);
    ck_assert(unlink("usb/devnum") == 0 && unlink("usb/busnum") == 0 &&
              unlink("class/hidraw/hidraw7/device") == 0 && rmdir("usb/if0/hid") == 0 &&
              rmdir("usb/if0") == 0 && rmdir("usb") == 0 && rmdir("class/hidraw/hidraw7") == 0 &&
              rmdir("class/hidraw") == 0 && rmdir("class") == 0);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(rmdir(sys), 0);
}
END_TEST

/* A card that answers what stands here, and what it was sent. */
struct script {
    const char *answers; /* hexadecimal, ended by blanks */
    struct buf sent;
};

static gpg_error_t play(void *handle, struct rd command, struct buf *response)
{
    struct script *s = handle;
    size_t n = strcspn(s->answers, " ");
    char *one = gpgrt_bsprintf("%.*s", (int)n, s->answers);
    char *hex = hex_encode(command.p, command.n);

    buf_printf(&s->sent, "%s ", hex);
    ck_assert_uint_eq(hex_decode(one, response), 0);
    s->answers += n + (s->answers[n] == ' ');
    gpgrt_free(one);
    gpgrt_free(hex);
    return 0;
}

START_TEST(apdus)
{
    static const struct card_transport transport = {.transmit = play};
    static const uint8_t nonce[8] = {1, 2, 3, 4, 5, 6, 7, 8}, info[] = {4}, assertion[] = {2, 0xa0};
    struct script s = {.answers =
                           "5532465F56329000 00A09000 029100 029100 002E9000 019100 2D9000 6A82"};
    struct fido_apdu a = {.card = {.transport = &transport, .handle = &s}};
    struct fido_apdu none = a;
    uint8_t got[64];

    ck_assert_int_eq(fido_apdu_tx(&a, 6, nonce, sizeof nonce), 0);
    ck_assert_int_eq(fido_apdu_rx(&a, 6, got, sizeof got, 0), 17);
    ck_assert(memcmp(got, nonce, 8) == 0 && got[16] == 4);
    /* Opened again: it is selected still, and what it is is known. */
    ck_assert_int_eq(fido_apdu_tx(&a, 6, nonce, sizeof nonce), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(fido_apdu_tx(&a, 0x10, info, sizeof info), 0);
        ck_assert_int_eq(fido_apdu_rx(&a, 0x10, got, sizeof got, 0), 2);
    }
    /* "Not yet" is asked again. */
    ck_assert_int_eq(fido_apdu_tx(&a, 0x10, assertion, sizeof assertion), 0);
    ck_assert_int_eq(fido_apdu_rx(&a, 0x10, got, sizeof got, -1), 2);
    ck_assert_int_eq(got[1], 0x2e);
    /* Called off. */
    ck_assert_int_eq(fido_apdu_tx(&a, 0x10, assertion, sizeof assertion), 0);
    ck_assert_int_eq(fido_apdu_tx(&a, 0x11, NULL, 0), 0);
    ck_assert_int_eq(fido_apdu_rx(&a, 0x10, got, sizeof got, -1), 1);
    ck_assert_int_eq(got[0], 0x2d);
    ck_assert_str_eq(buf_cstr(&s.sent),
                     "00A4040008A0000006472F000100 80108000010400 801080000202A000 8011000000 "
                     "8011000000 801080000202A000 8011110000 ");
    ck_assert(fido_apdu_select(&none));
    ck_assert_int_eq(none.applet, APPLET_NONE);
    ck_assert_int_eq(fido_apdu_rx(&none, 6, got, sizeof got, 0), -1);
    fido_apdu_clear(&a);
    fido_apdu_clear(&none);
    buf_free(&s.sent);
}
END_TEST

static void tests(TCase *tc)
{
    tcase_add_loop_test(tc, bodies, 0, 2);
    tcase_add_test(tc, helper_messages);
    tcase_add_test(tc, middleware);
    tcase_add_loop_test(tc, fido, 0, 2);
    tcase_add_loop_test(tc, fido_pin, 0, 2);
    tcase_add_test(tc, arguments);
    tcase_add_test(tc, usb_addresses);
    tcase_add_test(tc, apdus);
}

int main(int argc, char **argv)
{
    ssize_t n = readlink("/proc/self/exe", build, sizeof build - 1);
    int failed;

    if (argc == 3 && strcmp(argv[1], "sk-helper") == 0) {
        gcry_check_version(NULL);
        gcry_control(GCRYCTL_INIT_SECMEM, 65536, 0);
        gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
        return sk_helper_main(argv[2]);
    }
    /* BUILD/unit/PROGRAM */
    build[n > 0 ? n : 0] = '\0';
    for (int i = 0; i < 2 && strrchr(build, '/') != NULL; i++)
        *strrchr(build, '/') = '\0';
    if (mkdtemp(top) == NULL || setenv("LATCHKEY_TEST_SK", top, 1) != 0)
        return 1;
    failed = run_suite("security keys", tests);
    drop_file("log");
    rmdir(top);
    return failed;
}
