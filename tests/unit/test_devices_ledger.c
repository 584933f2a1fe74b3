/* The Ledger driver against the Ledger in software, over both framings; what its readers make of garbage; and the way through
 * hidapi, whose functions this program brings itself. */
#include "devices/ledger_answer.h"
#include "devices/ledger_frames.h"
#include "devices/wallet.h"
#include "tests/unit/proto_util.h"

#include <errno.h>
#include <hidapi.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char build[512], top[] = "/tmp/lkledgerXXXXXX";
static char frames_address[128], tcp_address[64];
static pid_t device;
static int control_fd = -1;

/* --- the device and the person ------------------------------------------------------------------------------------------ */

static int dial(const char path[64])
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
    for (int i = 0; i < 2000; i++) {
        if (connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0)
            return fd;
        usleep(10000);
    }
    ck_abort_msg("%s: nobody listens", path);
}

/* The answer to a control line, good until the next. */
static const char *tell(const char *line)
{
    static char answer[1024];
    size_t n = 0;

    ck_assert_int_gt(dprintf(control_fd, "%s\n", line), 0);
    while (n == 0 || answer[n - 1] != '\n') {
        ck_assert_int_lt((int)n, (int)sizeof answer);
        ck_assert_int_eq((int)read(control_fd, answer + n, 1), 1);
        n++;
    }
    answer[n - 1] = '\0';
    return answer;
}

static void command(const char *line)
{
    const char *answer = tell(line);

    ck_assert_msg(strcmp(answer, "OK") == 0, "%s: %s", line, answer);
}

/* Waits until it shows WORDS and wants to be answered. */
static void wait_screen(const char *words)
{
    for (int i = 0; i < 2000; i++) {
        const char *s = tell("state");

        if (strstr(s, "\"asks\": true") != NULL && strstr(s, words) != NULL)
            return;
        usleep(10000);
    }
    ck_abort_msg("it does not ask: %s (%s)", words, tell("state"));
}

static bool state_has(const char *words)
{
    return strstr(tell("state"), words) != NULL;
}

static void setup(void)
{
    char program[600], frames[64], control[64];

    snprintf(program, sizeof program, "%s/testledger", build);
    snprintf(frames, sizeof frames, "%s/hid", top);
    snprintf(control, sizeof control, "%s/ctl", top);
    unlink(frames);
    unlink(control);
    device = fork();
    ck_assert_int_ge(device, 0);
    if (device == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
        execl(program, program, "--tcp", "0", "--frames", frames, "--control", control, NULL);
        _exit(127);
    }
    control_fd = dial(control);
    snprintf(frames_address, sizeof frames_address, "frames:%s", frames);
    snprintf(tcp_address, sizeof tcp_address, "tcp:127.0.0.1:%.8s", tell("port"));
}

static void end_device(void)
{
    close(control_fd);
    kill(device, SIGTERM);
    waitpid(device, NULL, 0);
}

/* --- the broker's side -------------------------------------------------------------------------------------------------- */

struct call {
    struct driver_op op;
    struct driver_io io;
    unsigned touches;
    atomic_bool touching, canceled;
    char words[512];
    /* what is asked for, and what comes */
    void *state;
    struct wallet_identity id;
    const struct key *key;
    struct tosign t;
    struct rd point;
    gcry_sexp_t sig;
    struct key *pub;
    struct buf shared;
    gpg_error_t err;
    pthread_t thread;
};

static void on_touch(void *arg, bool waiting)
{
    struct call *c = arg;

    c->touching = waiting;
    c->touches += waiting;
}

static bool is_canceled(void *arg)
{
    return ((struct call *)arg)->canceled;
}

/* The driver of both makes has the real one. */
void wallet_say(struct driver_op *op, const char *fmt, ...)
{
    struct call *c = op->io->arg;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(c->words, sizeof c->words, fmt, ap);
    va_end(ap);
}

static void call_init(struct call *c, void *state, const char *identity, const char *curve)
{
    *c = (struct call){.state = state};
    c->io = (struct driver_io){.touch = on_touch, .canceled = is_canceled, .arg = c};
    c->op.io = &c->io;
    ck_ok(wallet_identity_parse(identity, curve, &c->id));
}

static void call_free(struct call *c)
{
    wallet_identity_clear(&c->id);
    gcry_sexp_release(c->sig);
    key_unref(c->pub);
    buf_free(&c->shared);
}

static void *run_public_key(void *arg)
{
    struct call *c = arg;

    c->err = wallet_ledger.public_key(c->state, &c->id, false, &c->op, &c->pub);
    return NULL;
}

static void *run_sign(void *arg)
{
    struct call *c = arg;

    c->err = wallet_ledger.sign(c->state, &c->id, c->key, &c->op, &c->t, &c->sig);
    return NULL;
}

static void *run_ecdh(void *arg)
{
    struct call *c = arg;

    c->err = wallet_ledger.ecdh(c->state, &c->id, c->key, &c->op, c->point, &c->shared);
    return NULL;
}

static void begin(struct call *c, void *(*what)(void *))
{
    ck_assert_int_eq(pthread_create(&c->thread, NULL, what, c), 0);
}

static gpg_error_t finish(struct call *c)
{
    ck_assert_int_eq(pthread_join(c->thread, NULL), 0);
    ck_assert(!c->touching);
    return c->err;
}

static void *open_it(const char *address)
{
    struct wallet_info info = {0};
    void *state = NULL;

    ck_ok(wallet_ledger.open(address, &state, &info));
    gpgrt_free(info.model);
    gpgrt_free(info.app);
    gpgrt_free(info.version);
    gpgrt_free(info.problem);
    gpgrt_free(info.hint);
    return state;
}

/* Its key of IDENTITY, the person agreeing to everything. */
static struct key *key_of(void *state, const char *identity, const char *curve)
{
    struct call c;
    struct key *k;

    call_init(&c, state, identity, curve);
    command("person yes");
    run_public_key(&c);
    command("person waits");
    ck_ok(c.err);
    ck_assert(c.op.touched);
    k = key_ref(c.pub);
    call_free(&c);
    return k;
}

/* --- what is signed ----------------------------------------------------------------------------------------------------- */

/* A login by K (RFC 4252 7), HOSTKEY octets long where it names one (PROTOCOL, publickey-hostbound-v00@openssh.com). */
static void put_login(struct buf *b, const struct key *k, const char *user, size_t hostkey)
{
    uint8_t sid[32] = {7}, filler[600] = {9};

    buf_put_string(b, sid, sizeof sid);
    buf_put_u8(b, 50);
    buf_put_cstring(b, user);
    buf_put_cstring(b, "ssh-connection");
    buf_put_cstring(b, hostkey > 0 ? "publickey-hostbound-v00@openssh.com" : "publickey");
    buf_put_u8(b, 1);
    buf_put_cstring(b, k->type);
    buf_put_string(b, k->plain, k->plain_len);
    if (hostkey > 0)
        buf_put_string(b, filler, hostkey);
    ck_ok(buf_err(b));
}

static void put_sshsig(struct buf *b)
{
    uint8_t digest[64] = {3};

    buf_put(b, "SSHSIG", 6);
    buf_put_cstring(b, "git");
    buf_put_cstring(b, "");
    buf_put_cstring(b, "sha512");
    buf_put_string(b, digest, sizeof digest);
    ck_ok(buf_err(b));
}

static void verify(const struct call *c)
{
    uint8_t digest[64];
    struct tosign t = c->t;

    ck_ok(c->err);
    ck_assert(c->op.touched);
    if (t.hash == 0 && c->key->algo == KEY_ECDSA)
        ck_ok(tosign_from_message(GCRY_MD_SHA256, t.data, digest, &t));
    ck_ok(sig_verify(c->key, &t, c->sig));
}

static void yes_to_sign(struct call *c, const char *screen)
{
    begin(c, run_sign);
    wait_screen(screen);
    ck_assert(c->touching);
    command("yes");
    (void)finish(c);
    verify(c);
    gcry_sexp_release(c->sig);
    c->sig = NULL;
    c->op.touched = false;
}

static const char *const addresses[] = {frames_address, tcp_address};

START_TEST(signs_logins)
{
    static const char *const curves[] = {"nist256p1", "ed25519"};
    void *d = open_it(addresses[_i % 2]);
    const char *curve = curves[_i / 2];
    struct key *k = key_of(d, "ssh://joe@host", curve);
    struct buf b = BUF_INIT;
    struct call c;

    /* On one command, on two, and on many. */
    call_init(&c, d, "ssh://joe@host", curve);
    c.key = k;
    for (size_t hostkey = 0; hostkey <= (c.id.ed25519 ? 28 : 600);
         hostkey += c.id.ed25519 ? 28 : 150) {
        buf_reset(&b);
        put_login(&b, k, "joe", hostkey);
        c.t.data = buf_rd(&b);
        yes_to_sign(&c, "[\"Connect SSH user\", \"joe\"]");
    }
    ck_assert(state_has("\"intruders\": 0"));
    buf_free(&b);
    call_free(&c);
    key_unref(k);
    wallet_ledger.close(d);
}
END_TEST

START_TEST(signs_files_and_certificates)
{
    void *d = open_it(addresses[_i]);
    struct key *p256 = key_of(d, "ssh://joe@host", NULL),
               *ed = key_of(d, "ssh://joe@host", "ed25519");
    struct buf b = BUF_INIT;
    struct call c;

    put_sshsig(&b);
    call_init(&c, d, "ssh://joe@host", NULL);
    c.key = p256;
    c.t.data = buf_rd(&b);
    yes_to_sign(&c, "[\"PGP Agent\", \"Sign?\"]");
    /* More than a command holds. */
    buf_reset(&b);
    while (b.len < 1000)
        buf_put_u8(&b, 0xff);
    c.t.data = buf_rd(&b);
    yes_to_sign(&c, "[\"PGP Agent\", \"Sign?\"]");
    call_free(&c);

    call_init(&c, d, "ssh://joe@host", "ed25519");
    c.key = ed;
    buf_reset(&b);
    put_sshsig(&b);
    c.t.data = buf_rd(&b);
    run_sign(&c);
    ck_code(c.err, GPG_ERR_WRONG_KEY_USAGE);
    ck_assert_ptr_nonnull(strstr(c.words, "nist256p1"));
    ck_assert(state_has("\"asks\": false"));
    call_free(&c);
    buf_free(&b);
    key_unref(p256);
    key_unref(ed);
    wallet_ledger.close(d);
}
END_TEST

START_TEST(signs_for_openpgp)
{
    static const struct {
        const char *curve;
        int hash;
        size_t n;
        bool fits;
    } cases[] = {
        {"nist256p1", GCRY_MD_SHA256, 32, true}, {"nist256p1", GCRY_MD_SHA512, 64, true},
        {"nist256p1", GCRY_MD_SHA384, 48, true}, {"nist256p1", GCRY_MD_SHA1, 20, true},
        {"ed25519", GCRY_MD_SHA256, 32, true},   {"ed25519", GCRY_MD_SHA512, 64, false},
        {"ed25519", GCRY_MD_SHA1, 20, false},
    };
    void *d = open_it(frames_address);
    struct key *k = key_of(d, "gpg://Joe <joe@example.org>", cases[_i].curve);
    uint8_t digest[64];
    char *why = NULL;
    struct call c;

    for (size_t i = 0; i < sizeof digest; i++)
        digest[i] = (uint8_t)(0xf0 + 3 * i);
    call_init(&c, d, "gpg://Joe <joe@example.org>", cases[_i].curve);
    c.key = k;
    c.t = (struct tosign){.hash = cases[_i].hash, .data = rd_of(digest, cases[_i].n)};
    if (cases[_i].fits) {
        ck_ok(wallet_ledger.fits(d, &c.id, &c.t, "gpg", &why));
        yes_to_sign(&c, "[\"PGP Agent\", \"Sign?\"]");
    } else {
        ck_code(wallet_ledger.fits(d, &c.id, &c.t, "gpg", &why), GPG_ERR_WRONG_KEY_USAGE);
        ck_assert_ptr_nonnull(strstr(why, "SHA-256"));
        gpgrt_free(why);
        run_sign(&c);
        ck_code(c.err, GPG_ERR_WRONG_KEY_USAGE);
        ck_assert_ptr_nonnull(strstr(c.words, "SHA-256"));
    }
    call_free(&c);
    key_unref(k);
    wallet_ledger.close(d);
}
END_TEST

/* The shared point is the one that the other side computes. */
START_TEST(decrypts)
{
    /* As captured from the vendor's emulator. */
    static const char peer[] = "04304cffec57093a3687759a8a24c06d7644a8dfa78eb51dd4a1f26c9c3fdc5a9d6"
                               "bb9f3ad495e041d925da662f5a"
                               "0064ec172263fe7bb1cf70330e931ec2408be";
    static const char shared[] = "04DF1A41BACE2B4240A09FD0F1B3250FA1A439EE48A5CC2C2368ADC08BBE496CA"
                                 "18A0E83A200565D5C3294DD4D6"
                                 "436480A9058B9233E82E750704315AFD07D9734";
    void *d = open_it(addresses[_i]);
    struct buf point = BUF_INIT;
    struct call c;

    put_hex(&point, peer);
    call_init(&c, d, "gpg://Satoshi <s@bitcoin.org>", NULL);
    c.point = buf_rd(&point);
    begin(&c, run_ecdh);
    wait_screen("[\"PGP Agent\", \"ECDH?\"]");
    command("yes");
    ck_ok(finish(&c));
    ck_hex(buf_rd(&c.shared), shared);
    ck_assert(c.op.touched);
    call_free(&c);

    call_init(&c, d, "gpg://Satoshi <s@bitcoin.org>", "ed25519");
    c.point = buf_rd(&point);
    run_ecdh(&c);
    ck_code(c.err, GPG_ERR_WRONG_KEY_USAGE);
    ck_assert_ptr_nonnull(strstr(c.words, "Curve25519"));
    ck_code(wallet_ledger.public_key(d, &c.id, true, &c.op, &c.pub), GPG_ERR_WRONG_KEY_USAGE);
    call_free(&c);
    buf_free(&point);
    wallet_ledger.close(d);
}
END_TEST

/* Known before anything is sent. */
START_TEST(lengths)
{
    void *d = open_it(frames_address);
    struct key *ed = key_of(d, "ssh://joe@host", "ed25519"),
               *p256 = key_of(d, "ssh://joe@host", NULL);
    struct buf b = BUF_INIT;
    struct call c;
    char *why = NULL;
    unsigned asked = 0, after = 1;

    call_init(&c, d, "ssh://joe@host", "ed25519");
    c.key = ed;
    put_login(&b, ed, "joe", 0);
    /* 143 octets and the user's name: the rest in the name, as far as it goes. */
    ck_assert_uint_eq(b.len, 146);
    for (size_t n = 112; n <= 113; n++) {
        char user[128];

        memset(user, 'u', sizeof user);
        user[n] = '\0';
        buf_reset(&b);
        put_login(&b, ed, user, 0);
        c.t.data = buf_rd(&b);
        if (n == 112) {
            ck_assert_uint_eq(b.len, 255);
            ck_ok(wallet_ledger.fits(d, &c.id, &c.t, "ssh", &why));
            yes_to_sign(&c, "Connect SSH user");
            continue;
        }
        ck_assert_int_eq(sscanf(strstr(tell("state"), "\"commands\""), "\"commands\": %u", &asked),
                         1);
        ck_code(wallet_ledger.fits(d, &c.id, &c.t, "ssh", &why), GPG_ERR_WRONG_KEY_USAGE);
        ck_assert_ptr_nonnull(strstr(why, "256"));
        ck_assert_ptr_nonnull(strstr(why, "nist256p1"));
        gpgrt_free(why);
        ck_assert_int_eq(sscanf(strstr(tell("state"), "\"commands\""), "\"commands\": %u", &after),
                         1);
        ck_assert_uint_eq(asked, after);
    }
    /* With P-256 the same goes. */
    c.id.ed25519 = false;
    c.key = p256;
    buf_reset(&b);
    put_login(&b, p256, "joe", 500);
    c.t.data = buf_rd(&b);
    ck_ok(wallet_ledger.fits(d, &c.id, &c.t, "ssh", &why));
    yes_to_sign(&c, "Connect SSH user");
    call_free(&c);
    buf_free(&b);
    key_unref(ed);
    key_unref(p256);
    wallet_ledger.close(d);
}
END_TEST

START_TEST(refused)
{
    void *d = open_it(addresses[_i]);
    struct key *k = key_of(d, "ssh://joe@host", NULL);
    struct buf b = BUF_INIT;
    struct call c;

    put_login(&b, k, "joe", 0);
    call_init(&c, d, "ssh://joe@host", NULL);
    c.key = k;
    c.t.data = buf_rd(&b);
    begin(&c, run_sign);
    wait_screen("Connect SSH user");
    command("no");
    ck_code(finish(&c), GPG_ERR_NOT_CONFIRMED);
    ck_assert(!c.op.touched);
    ck_assert_ptr_nonnull(strstr(c.words, "refused"));
    begin(&c, run_public_key);
    wait_screen("public key?");
    command("no");
    ck_code(finish(&c), GPG_ERR_NOT_CONFIRMED);
    /* And it goes on. */
    yes_to_sign(&c, "Connect SSH user");
    call_free(&c);
    buf_free(&b);
    key_unref(k);
    wallet_ledger.close(d);
}
END_TEST

/* Given up, the question stays on the screen; what is answered to it later is nobody's. */
START_TEST(answers_late)
{
    void *d = open_it(addresses[_i % 2]);
    struct key *k = key_of(d, "ssh://joe@host", NULL);
    struct buf b = BUF_INIT, other = BUF_INIT;
    struct call c;

    put_login(&b, k, "joe", 0);
    put_login(&other, k, "jim", 0);
    call_init(&c, d, "ssh://joe@host", NULL);
    c.key = k;
    c.t.data = buf_rd(&b);
    begin(&c, run_sign);
    wait_screen("Connect SSH user");
    c.canceled = true;
    ck_code(finish(&c), GPG_ERR_CANCELED);
    ck_assert(state_has("\"asks\": true"));
    ck_assert_ptr_null(c.sig);
    /* While it asks, nothing more is sent to it. */
    c.canceled = false;
    c.t.data = buf_rd(&other);
    begin(&c, run_sign);
    while (!c.touching)
        usleep(1000);
    if (_i >= 2) {
        /* That one is given up, too. */
        c.canceled = true;
        ck_code(finish(&c), GPG_ERR_CANCELED);
        ck_assert_ptr_nonnull(strstr(c.words, "earlier request"));
        c.canceled = false;
        command("no");
        begin(&c, run_sign);
    } else {
        wait_screen("\"joe\"");
        command("yes");
    }
    wait_screen("\"jim\"");
    command("yes");
    ck_ok(finish(&c));
    verify(&c);
    ck_assert(state_has("\"intruders\": 0"));
    call_free(&c);
    buf_free(&b);
    buf_free(&other);
    key_unref(k);
    wallet_ledger.close(d);
}
END_TEST

START_TEST(another_seed)
{
    void *d = open_it(addresses[_i]);
    struct key *p256 = key_of(d, "ssh://joe@host", NULL),
               *ed = key_of(d, "ssh://joe@host", "ed25519");
    struct buf b = BUF_INIT;
    struct call c;

    command("passphrase another wallet");
    command("person yes");
    put_login(&b, p256, "joe", 0);
    call_init(&c, d, "ssh://joe@host", NULL);
    c.key = p256;
    c.t.data = buf_rd(&b);
    run_sign(&c);
    ck_code(c.err, GPG_ERR_WRONG_SECKEY);
    ck_assert_ptr_nonnull(strstr(c.words, "another key"));
    ck_assert_ptr_null(c.sig);
    /* Of a hash the answer tells no key. */
    buf_reset(&b);
    put_sshsig(&b);
    c.t.data = buf_rd(&b);
    run_sign(&c);
    ck_code(c.err, GPG_ERR_WRONG_SECKEY);
    c.id.ed25519 = true;
    c.key = ed;
    buf_reset(&b);
    put_login(&b, ed, "joe", 0);
    c.t.data = buf_rd(&b);
    run_sign(&c);
    ck_code(c.err, GPG_ERR_WRONG_SECKEY);
    ck_assert_ptr_null(c.sig);
    call_free(&c);
    buf_free(&b);
    key_unref(p256);
    key_unref(ed);
    wallet_ledger.close(d);
}
END_TEST

/* --- what is in the way ------------------------------------------------------------------------------------------------- */

START_TEST(other_app)
{
    void *d = open_it(addresses[_i]);
    struct call c;

    command("app Bitcoin");
    call_init(&c, d, "ssh://joe@host", NULL);
    run_public_key(&c);
    ck_code(c.err, GPG_ERR_WRONG_CARD);
    ck_assert_ptr_nonnull(strstr(c.words, "Bitcoin is open"));
    /* The person does as told. */
    command("app SSH/PGP Agent");
    begin(&c, run_public_key);
    wait_screen("public key?");
    command("yes");
    ck_ok(finish(&c));
    call_free(&c);
    wallet_ledger.close(d);
}
END_TEST

START_TEST(dashboard)
{
    void *d = open_it(addresses[_i]);
    struct call c;

    command("dashboard");
    call_init(&c, d, "ssh://joe@host", NULL);
    begin(&c, run_public_key);
    wait_screen("[\"Open app\", \"SSH/PGP Agent\"]");
    command("no");
    ck_code(finish(&c), GPG_ERR_NOT_CONFIRMED);
    /* It comes back as another device when the application opens. */
    begin(&c, run_public_key);
    wait_screen("Open app");
    command("yes");
    wait_screen("public key?");
    command("yes");
    ck_ok(finish(&c));
    command("dashboard");
    command("installed no");
    run_public_key(&c);
    ck_code(c.err, GPG_ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(c.words, "install"));
    /* Given up in the middle of it. */
    command("installed yes");
    begin(&c, run_public_key);
    wait_screen("Open app");
    c.canceled = true;
    ck_code(finish(&c), GPG_ERR_CANCELED);
    call_free(&c);
    wallet_ledger.close(d);
}
END_TEST

START_TEST(locked)
{
    static const char *const words[] = {"locked-sw 5515", "locked-sw 6804", "locked-sw 6982"};
    struct wallet_info info = {0};
    void *d = NULL;
    struct call c;

    command(words[_i]);
    command("lock");
    ck_ok(wallet_ledger.open(frames_address, &d, &info));
    ck_assert_ptr_null(info.problem);
    ck_assert_ptr_nonnull(info.hint);
    ck_assert_ptr_nonnull(strstr(info.hint, "locked"));
    gpgrt_free(info.model);
    gpgrt_free(info.app);
    gpgrt_free(info.version);
    gpgrt_free(info.problem);
    gpgrt_free(info.hint);
    call_init(&c, d, "ssh://joe@host", NULL);
    begin(&c, run_public_key);
    while (!c.touching)
        usleep(1000);
    c.canceled = true;
    ck_code(finish(&c), GPG_ERR_CANCELED);
    ck_assert_ptr_nonnull(strstr(c.words, "locked"));
    /* Once it is unlocked, it goes on by itself. */
    c.canceled = false;
    begin(&c, run_public_key);
    while (!c.touching)
        usleep(1000);
    command("unlock");
    wait_screen("public key?");
    command("yes");
    ck_ok(finish(&c));
    call_free(&c);
    wallet_ledger.close(d);
}
END_TEST

START_TEST(old_app)
{
    void *d;
    struct key *k;
    struct buf b = BUF_INIT;
    struct call c;
    char *why = NULL;

    command("version 0.0.7");
    d = open_it(addresses[_i]);
    k = key_of(d, "ssh://joe@host", NULL);
    call_init(&c, d, "ssh://joe@host", NULL);
    c.key = k;
    put_login(&b, k, "joe", 0);
    c.t.data = buf_rd(&b);
    ck_ok(wallet_ledger.fits(d, &c.id, &c.t, "ssh", &why));
    yes_to_sign(&c, "Connect SSH user");
    buf_reset(&b);
    put_login(&b, k, "joe", 51);
    c.t.data = buf_rd(&b);
    ck_code(wallet_ledger.fits(d, &c.id, &c.t, "ssh", &why), GPG_ERR_WRONG_KEY_USAGE);
    ck_assert_ptr_nonnull(strstr(why, "0.0.7 is too old"));
    gpgrt_free(why);
    run_sign(&c);
    ck_code(c.err, GPG_ERR_WRONG_KEY_USAGE);
    ck_assert_ptr_nonnull(strstr(c.words, "0.0.7 is too old"));
    command("version 0.0.8");
    yes_to_sign(&c, "Connect SSH user");
    call_free(&c);
    buf_free(&b);
    key_unref(k);
    wallet_ledger.close(d);
}
END_TEST

START_TEST(unplugged)
{
    void *d = open_it(addresses[_i]);
    struct call c;

    call_init(&c, d, "ssh://joe@host", NULL);
    begin(&c, run_public_key);
    wait_screen("public key?");
    command("replug");
    ck_code(finish(&c), GPG_ERR_CARD_REMOVED);
    ck_assert_ptr_nonnull(strstr(c.words, "unplugged"));
    /* Back again, it is found by itself. */
    begin(&c, run_public_key);
    wait_screen("public key?");
    command("yes");
    ck_ok(finish(&c));
    kill(device, SIGTERM);
    waitpid(device, NULL, 0);
    run_public_key(&c);
    ck_code(c.err, GPG_ERR_CARD_REMOVED);
    call_free(&c);
    wallet_ledger.close(d);
    ck_code(wallet_ledger.open(addresses[_i], &d, &(struct wallet_info){0}), GPG_ERR_ENODEV);
}
END_TEST

START_TEST(addresses_that_are_none)
{
    static const char *const bad[] = {"", "udp:127.0.0.1:1", "tcp:127.0.0.1", "hid:/dev/hidraw77",
                                      "frames:/nowhere/at/all"};
    struct wallet_info info = {0};
    void *d = NULL;

    ck_assert_int_ne((int)wallet_ledger.open(bad[_i], &d, &info), 0);
    ck_assert_ptr_null(d);
}
END_TEST

/* --- by hidapi ---------------------------------------------------------------------------------------------------------- */

/* What is on the bus: a Ledger's interface is the emulator's socket. */
static struct hid_device_info bus[4];
static const char *ports[4]; /* sysfs folders, by the number of the node */
static unsigned opened[4];

static int node_of(const char *path)
{
    return path[strlen("/dev/hidraw")] - '0';
}

char *realpath(const char *path, char *resolved)
{
    const char *n = strstr(path, "hidraw/hidraw");

    (void)resolved;
    errno = ENOENT;
    if (n == NULL || ports[n[strlen("hidraw/hidraw")] - '0'] == NULL)
        return NULL;
    return strdup(ports[n[strlen("hidraw/hidraw")] - '0']);
}

struct hid_device_info *hid_enumerate(unsigned short vendor, unsigned short product)
{
    ck_assert_uint_eq(vendor, 0x2c97);
    ck_assert_uint_eq(product, 0);
    return bus[0].path != NULL ? bus : NULL;
}

void hid_free_enumeration(struct hid_device_info *list)
{
    (void)list;
}

hid_device *hid_open_path(const char *path)
{
    int *fd = malloc(sizeof *fd);
    char socket_path[64];

    opened[node_of(path)]++;
    snprintf(socket_path, sizeof socket_path, "%.60s", frames_address + strlen("frames:"));
    *fd = dial(socket_path);
    return (hid_device *)(void *)fd;
}

void hid_close(hid_device *h)
{
    close(*(int *)(void *)h);
    free(h);
}

const wchar_t *hid_error(hid_device *h)
{
    (void)h;
    return L"no";
}

int hid_write(hid_device *h, const unsigned char *data, size_t n)
{
    ck_assert_uint_eq(n, 65);
    ck_assert_uint_eq(data[0], 0); /* there are no report numbers */
    return send(*(int *)(void *)h, data + 1, 64, MSG_NOSIGNAL) == 64 ? 65 : -1;
}

int hid_read_timeout(hid_device *h, unsigned char *data, size_t n, int ms)
{
    struct pollfd p = {.fd = *(int *)(void *)h, .events = POLLIN};

    ck_assert_uint_eq(n, 64);
    if (poll(&p, 1, ms) <= 0)
        return 0;
    return recv(p.fd, data, 64, MSG_WAITALL) == 64 ? 64 : -1;
}

static char node_names[4][32];
static wchar_t product[] = L"Nano S Plus";

static void put_node(size_t i, int node, unsigned short usage_page, int interface, const char *port)
{
    snprintf(node_names[i], sizeof node_names[i], "/dev/hidraw%d", node);
    bus[i] = (struct hid_device_info){.path = node_names[i],
                                      .vendor_id = 0x2c97,
                                      .usage_page = usage_page,
                                      .interface_number = interface,
                                      .product_string = product};
    if (i > 0)
        bus[i - 1].next = &bus[i];
    ports[node] = port;
}

/* The product number says nothing; which interface it is, the usage page says, or where that is not known its number. */
START_TEST(hid_interfaces)
{
    static const struct {
        unsigned short page;
        int interface;
        bool takes;
    } cases[] = {{0xffa0, 0, true}, {0xffa0, 2, true},  {0, 0, true},       {0, -1, true},
                 {0, 1, false},     {0xf1d0, 1, false}, {0xf1d0, -1, false}};
    struct wallet_info info = {0};
    void *d = NULL;
    gpg_error_t err;

    put_node(0, 1, cases[_i].page, cases[_i].interface, NULL);
    err = wallet_ledger.open("hid:/dev/hidraw1", &d, &info);
    if (!cases[_i].takes) {
        ck_code(err, GPG_ERR_ENODEV);
        ck_assert_uint_eq(opened[1], 0);
        return;
    }
    ck_ok(err);
    ck_assert_str_eq(info.model, "Nano S Plus");
    ck_assert_str_eq(info.app, "SSH/PGP Agent");
    ck_assert_str_eq(info.version, "0.0.11");
    ck_assert_ptr_null(info.problem);
    gpgrt_free(info.model);
    gpgrt_free(info.app);
    gpgrt_free(info.version);
    wallet_ledger.close(d);
}
END_TEST

/* Of two of the same kind, and with another node, it is the one on the same port. */
START_TEST(hid_comes_back)
{
    static const char here[] = "/sys/devices/pci0/usb1/1-2/1-2:1.0/0003:2C97:5011.0001",
                      again[] = "/sys/devices/pci0/usb1/1-2/1-2:1.0/0003:2C97:5000.0009",
                      there[] = "/sys/devices/pci0/usb1/1-3/1-3:1.0/0003:2C97:5011.0002";
    struct call c;
    void *d;

    command("dashboard");
    put_node(0, 0, 0xffa0, 0, there);
    put_node(1, 1, 0xffa0, 0, here);
    d = open_it("hid:/dev/hidraw1");
    ck_assert_uint_eq(opened[1], 1);
    call_init(&c, d, "ssh://joe@host", NULL);
    begin(&c, run_public_key);
    wait_screen("Open app");
    put_node(1, 3, 0xffa0, 0, again);
    command("yes");
    wait_screen("public key?");
    command("yes");
    ck_ok(finish(&c));
    ck_assert_uint_eq(opened[0], 0);
    ck_assert_uint_eq(opened[1], 1);
    ck_assert_uint_ge(opened[3], 1);
    call_free(&c);
    wallet_ledger.close(d);
}
END_TEST

/* --- garbage ------------------------------------------------------------------------------------------------------------ */

START_TEST(garbage)
{
    static const struct {
        const char *kind;
        bool harmless; /* of others' talk */
        gpg_err_code_t tcp, hid;
    } cases[] = {
        {"garbage channel", true, 0, 0},
        {"garbage tag", true, 0, 0},
        {"garbage sequence", false, 0, GPG_ERR_INV_RESPONSE},
        {"garbage length", false, GPG_ERR_INV_RESPONSE, GPG_ERR_INV_RESPONSE},
        {"garbage half", false, GPG_ERR_CARD_REMOVED, GPG_ERR_CARD_REMOVED},
        {"garbage data", false, GPG_ERR_INV_RESPONSE, GPG_ERR_INV_RESPONSE},
    };
    bool hid = _i % 2 == 0;
    gpg_err_code_t want = hid ? cases[_i / 2].hid : cases[_i / 2].tcp;
    void *d = open_it(addresses[_i % 2]);
    struct key *k = key_of(d, "ssh://joe@host", NULL);
    struct buf b = BUF_INIT;
    struct call c;

    put_login(&b, k, "joe", 0);
    call_init(&c, d, "ssh://joe@host", NULL);
    c.key = k;
    c.t.data = buf_rd(&b);
    begin(&c, run_sign);
    wait_screen("Connect SSH user");
    command(cases[_i / 2].kind);
    command("yes");
    ck_code(finish(&c), want);
    ck_assert(want == 0 ? c.sig != NULL : c.sig == NULL);
    gcry_sexp_release(c.sig);
    c.sig = NULL;
    begin(&c, run_public_key);
    wait_screen("public key?");
    command(cases[_i / 2].kind);
    command("yes");
    ck_code(finish(&c), want);
    /* In the answer to what needs no person it is asked once more. */
    command(cases[_i / 2].kind);
    yes_to_sign(&c, "Connect SSH user");
    call_free(&c);
    buf_free(&b);
    key_unref(k);
    wallet_ledger.close(d);
}
END_TEST

START_TEST(app_answers)
{
    static const struct {
        const char *hex, *name;
        unsigned version[3];
    } cases[] = {
        {"010d5353482f504750204167656e7406302e302e31310100", "SSH/PGP Agent", {0, 0, 11}},
        {"0105424f4c4f5305312e332e31", "BOLOS", {1, 3, 1}},
        {"01054f4c4f530003312e35", "OLOS", {1, 5, 0}},
        {"0105424f4c4f5309312e332e312d726331", "BOLOS", {1, 3, 1}},
        {"0105424f4c4f5300", "BOLOS", {0, 0, 0}},
        {"0105424f4c4f53027878", "BOLOS", {0, 0, 0}},
        /* None: too short, another format, no name, a name with what is no letter, too long. */
        {"", NULL, {0, 0, 0}},
        {"02054f4c4f530003312e35", NULL, {0, 0, 0}},
        {"010003312e35", NULL, {0, 0, 0}},
        {"010000", NULL, {0, 0, 0}},
        {"01051b5b324a6803312e35", NULL, {0, 0, 0}},
        {"01ff4f4c4f53", NULL, {0, 0, 0}},
        {"0121414141414141414141414141414141414141414141414141414141414141414141"
         "03312e35",
         NULL,
         {0, 0, 0}},
    };
    struct ledger_app a = {.name = "untouched"};
    struct buf b = BUF_INIT;
    gpg_error_t err;

    put_hex(&b, cases[_i].hex);
    err = ledger_read_app(buf_rd(&b), &a);
    if (cases[_i].name == NULL) {
        ck_code(err, GPG_ERR_INV_RESPONSE);
        ck_assert_str_eq(a.name, "untouched");
    } else {
        ck_ok(err);
        ck_assert_str_eq(a.name, cases[_i].name);
        ck_assert_mem_eq(a.version, cases[_i].version, sizeof a.version);
    }
    buf_free(&b);
}
END_TEST

START_TEST(versions)
{
    const struct ledger_app a = {.version = {0, 1, 7}};

    ck_assert(ledger_app_up_to(&a, 0, 1, 7));
    ck_assert(ledger_app_up_to(&a, 0, 2, 0));
    ck_assert(ledger_app_up_to(&a, 1, 0, 0));
    ck_assert(!ledger_app_up_to(&a, 0, 1, 6));
    ck_assert(!ledger_app_up_to(&a, 0, 0, 99));
}
END_TEST

START_TEST(signatures_that_are_none)
{
    static const char *const bad[] = {
        "",
        "30",
        "3000",
        "3006020101020100",
        "30060201010201",
        "320602010102 0101",
        "3007020101020101ff",
        "300602010103 0101",
        "3004020002 00",
        "30050201010200",
        "3026022100ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff020101",
    };
    static const char point[] = "048539aa409de6136a1f0b80f4ece36886ec39e791bdef298304d0f2abcf49f94c"
                                "84b9784233c46005bab77a1226"
                                "946480d2227eaea5f8842c8916ebe4b2934264";
    struct buf b = BUF_INIT, p = BUF_INIT;
    struct key *k = NULL;
    gcry_sexp_t sig = NULL;
    struct rd w;
    char hex[256] = "";

    for (const char *s = bad[_i]; *s != '\0'; s++)
        if (*s != ' ')
            snprintf(hex + strlen(hex), sizeof hex - strlen(hex), "%c", *s);
    put_hex(&b, hex);
    put_hex(&p, point);
    ck_ok(ledger_read_point(buf_rd(&p), false, false, &k));
    ck_code(ledger_read_signature(buf_rd(&b), k, &sig, &w), GPG_ERR_INV_RESPONSE);
    ck_assert_ptr_null(sig);
    /* Points off the curve, and of another length. */
    key_unref(k);
    k = NULL;
    p.data[40] ^= 1;
    ck_code(ledger_read_point(buf_rd(&p), false, false, &k), GPG_ERR_INV_RESPONSE);
    ck_code(ledger_read_point(rd_of(p.data, 64), true, false, &k), GPG_ERR_INV_RESPONSE);
    ck_code(ledger_read_public_key(buf_rd(&p), false, false, &k), GPG_ERR_INV_RESPONSE);
    ck_assert_ptr_null(k);
    buf_free(&b);
    buf_free(&p);
}
END_TEST

/* Any cut of a message comes back whole, whatever its length. */
START_TEST(frames_there_and_back)
{
    uint8_t message[LEDGER_ANSWER_MAX];

    for (size_t i = 0; i < sizeof message; i++)
        message[i] = (uint8_t)i;
    for (size_t n = 2; n <= sizeof message; n++) {
        struct buf b = BUF_INIT;
        struct ledger_frames f = {0};
        struct rd r, report;
        bool done = false;

        ledger_frames_put(rd_of(message, n), &b);
        ck_ok(buf_err(&b));
        ck_assert_uint_eq(b.len, n <= 57 ? 64 : 64 + (n - 57 + 58) / 59 * 64);
        r = buf_rd(&b);
        while (rd_bytes(&r, 64, &report) == 0) {
            ck_assert(!done);
            ck_ok(ledger_frames_take(&f, report, &done));
        }
        ck_assert(done);
        ck_assert(rd_eq(buf_rd(&f.message), rd_of(message, n)));
        buf_free(&b);
        buf_free(&f.message);
    }
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_checked_fixture(tc, setup, end_device);
    tcase_add_loop_test(tc, signs_logins, 0, 4);
    tcase_add_loop_test(tc, signs_files_and_certificates, 0, 2);
    tcase_add_loop_test(tc, signs_for_openpgp, 0, 7);
    tcase_add_loop_test(tc, decrypts, 0, 2);
    tcase_add_test(tc, lengths);
    tcase_add_loop_test(tc, refused, 0, 2);
    tcase_add_loop_test(tc, answers_late, 0, 4);
    tcase_add_loop_test(tc, another_seed, 0, 2);
    tcase_add_loop_test(tc, other_app, 0, 2);
    tcase_add_loop_test(tc, dashboard, 0, 2);
    tcase_add_loop_test(tc, locked, 0, 3);
    tcase_add_loop_test(tc, old_app, 0, 2);
    tcase_add_loop_test(tc, unplugged, 0, 2);
    tcase_add_loop_test(tc, addresses_that_are_none, 0, 5);
    tcase_add_loop_test(tc, hid_interfaces, 0, 7);
    tcase_add_test(tc, hid_comes_back);
    tcase_add_loop_test(tc, garbage, 0, 12);
    tcase_add_loop_test(tc, app_answers, 0, 13);
    tcase_add_test(tc, versions);
    tcase_add_loop_test(tc, signatures_that_are_none, 0, 11);
    tcase_add_test(tc, frames_there_and_back);
}

int main(void)
{
    char cleanup[64];
    int rc;
    ssize_t n = readlink("/proc/self/exe", build, sizeof build - 1);

    if (n <= 0 || mkdtemp(top) == NULL)
        return 1;
    build[n] = '\0';
    for (int up = 0; up < 2; up++)
        *strrchr(build, '/') = '\0';
    rc = run_suite("devices_ledger", add);
    snprintf(cleanup, sizeof cleanup, "rm -rf %s", top);
    return system(cleanup) == 0 ? rc : 1;
}
