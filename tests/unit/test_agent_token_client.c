/* The broker's end of the token protocol, against a token process that does what a test wants: this
 * program itself, started anew with a kind as its first argument. */
#include "agent/token_job.h"

#include "proto/token_protocol.h"

#include <check.h>
#include <dirent.h>
#include <gcrypt.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- the token process ------------------------------------------------------------------------------
 * SIGN's use= tells what it does: "plain", "pin", "wait" (until cancelled), "stubborn" (until
 * RELEASE comes on the cancel pipe as channel 200), "die", "hang-up", "garbage", "flood", "touch",
 * "assert" (what a security key says), "assert-no-counter", "assert-too-much". */

static pthread_mutex_t fake_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t fake_cond = PTHREAD_COND_INITIALIZER;
static unsigned long cancelled[64]; /* the last job called off */
static bool released;
static unsigned fake_channels;

static void say(int fd, const char *text)
{
    size_t n = strlen(text);

    if (write(fd, text, n) != (ssize_t)n)
        _exit(3);
}

static bool hear(FILE *in, char line[2048])
{
    if (fgets(line, 2048, in) == NULL)
        return false;
    line[strcspn(line, "\n")] = '\0';
    return true;
}

/* The answer to an inquiry: the data lines joined; false for CAN. */
static bool ask(FILE *in, int fd, const char *inquiry, char *out)
{
    char line[2048];

    say(fd, inquiry);
    out[0] = '\0';
    while (hear(in, line)) {
        if (strcmp(line, "CAN") == 0)
            return false;
        if (strcmp(line, "END") == 0)
            return true;
        if (strncmp(line, "D ", 2) == 0)
            strcat(out, line + 2);
    }
    _exit(4);
}

/* The message, with the command or asked for; false: there is none. */
static bool take_data(FILE *in, int fd, const char *line, char out[2048])
{
    struct buf data = BUF_INIT;
    char *text = NULL;

    if (field_get(line, "data", &text) != 0)
        _exit(5);
    if (text == NULL)
        return ask(in, fd, "INQUIRE DATA\n", out);
    if (b64_decode(text, strlen(text), &data) != 0)
        _exit(5);
    snprintf(out, 2048, "%s", buf_cstr(&data));
    gpgrt_free(text);
    buf_free(&data);
    return true;
}

static void fake_sign(FILE *in, int fd, unsigned channel, const char *line)
{
    char data[2048], pin[2048];
    char *use = NULL;
    long job = 0;

    if (field_get(line, "use", &use) != 0 || use == NULL ||
        field_get_int(line, "job", 0, &job) != 0 || job < 1)
        _exit(5);
    if (!take_data(in, fd, line, data)) {
        say(fd, "ERR 99 Canceled\n");
        return;
    }
    if (strcmp(use, "die") == 0)
        _exit(7);
    if (strcmp(use, "hang-up") == 0) {
        shutdown(fd, SHUT_RDWR);
        for (;;)
            pause();
    }
    if (strcmp(use, "garbage") == 0) {
        say(fd, "\x01\x02 what is this\n");
        return;
    }
    if (strcmp(use, "flood") == 0)
        for (int i = 0; i < 200; i++)
            say(fd,
                "D "
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                "aaaa"
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                "aaaa"
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                "aaaa"
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                "aaaa\n");
    if (strcmp(use, "pin") == 0) {
        bool good = false;

        for (int tries = 3; tries > 0 && !good; tries--) {
            char inquiry[128];

            snprintf(inquiry, sizeof inquiry, "INQUIRE PIN ref=81 tries=%d%s%s min=6 max=127\n",
                     tries, tries == 1 ? " last=1" : "", tries < 3 ? " error=wrong" : "");
            if (!ask(in, fd, inquiry, pin)) {
                say(fd, "ERR 99 Canceled\n");
                return;
            }
            good = strcmp(pin, "123456") == 0;
        }
        if (!good) {
            say(fd, "ERR 87 Bad PIN\n");
            return;
        }
        say(fd, "S SHOWN pin=typed\n");
    }
    if (strcmp(use, "assert") == 0)
        say(fd, "S SHOWN pin=device touch=1 flags=5 counter=4294967295\n");
    if (strcmp(use, "assert-no-counter") == 0)
        say(fd, "S SHOWN touch=1 flags=5\n");
    if (strcmp(use, "assert-too-much") == 0)
        say(fd, "S SHOWN touch=1 flags=256 counter=1\n");
    if (strcmp(use, "touch") == 0)
        say(fd, "S TOUCH wait\nS TOUCH done\nS SHOWN pin=cached touch=1\n");
    if (strcmp(use, "wait") == 0 || strcmp(use, "stubborn") == 0) {
        bool stubborn = strcmp(use, "stubborn") == 0;

        say(fd, "S TOUCH wait\n");
        pthread_mutex_lock(&fake_mutex);
        while (stubborn ? !released : cancelled[channel] != (unsigned long)job)
            pthread_cond_wait(&fake_cond, &fake_mutex);
        released = false;
        pthread_mutex_unlock(&fake_mutex);
        if (!stubborn) {
            say(fd, "ERR 99 Canceled\n");
            return;
        }
    }
    say(fd, strlen(line) > strlen(data) ? "D signed:" : "D asked:");
    say(fd, data);
    say(fd, "\nOK\n");
    gpgrt_free(use);
}

static void *fake_channel(void *arg)
{
    unsigned channel = (unsigned)(uintptr_t)arg;
    int fd = TOKEN_FIRST_FD + (int)channel;
    FILE *in = fdopen(fd, "r");
    char line[2048], data[2048];

    say(fd, "OK hello\n");
    while (hear(in, line)) {
        if (strncmp(line, "LEARN", 5) == 0) {
            say(fd, "S TOKEN kind=yubikey serial=1 name=yubikey-1 label=YubiKey%201 tries=3/0/3\n"
                    "S KEY id=aut pub=00\nS MORE KEY id=s\nS MORE ig pub\nS LAST =01\nOK\n");
        } else if (strncmp(line, "SIGN", 4) == 0) {
            fake_sign(in, fd, channel, line);
        } else if (strncmp(line, "ADDKEY", 6) == 0) {
            if (ask(in, fd, "INQUIRE KEY\n", data))
                say(fd, "S KEY id=added\nOK\n");
        } else if (strncmp(line, "FORGET", 6) == 0) {
            say(fd, "OK\n");
        } else {
            say(fd, "ERR 275 Unknown command\n");
        }
    }
    return NULL;
}

static int fake_token(int argc, char **argv)
{
    pthread_t t;
    uint8_t k[TOKEN_CANCEL_OCTETS];

    signal(SIGPIPE, SIG_IGN);
    sscanf(argv[argc - 1], "--channels=%u", &fake_channels);
    if (strcmp(argv[1], "deaf") == 0)
        signal(SIGTERM, SIG_IGN);
    for (unsigned i = 0; i < fake_channels; i++)
        pthread_create(&t, NULL, fake_channel, (void *)(uintptr_t)i);
    while (read(TOKEN_FIRST_FD + (int)fake_channels, k, sizeof k) == sizeof k) {
        struct rd r = rd_of(k + 1, sizeof k - 1);
        uint32_t job = 0;

        pthread_mutex_lock(&fake_mutex);
        if (k[0] == 200)
            released = true;
        else if (k[0] < fake_channels && rd_u32(&r, &job) == 0)
            cancelled[k[0]] = job;
        pthread_cond_broadcast(&fake_cond);
        pthread_mutex_unlock(&fake_mutex);
    }
    if (strcmp(argv[1], "deaf") == 0)
        for (;;)
            pause();
    return 0;
}

/* --- the tests ---------------------------------------------------------------------------------------- */

static struct waits *all;
static struct token *token;
static int ended;

static void on_eof(struct token *t, void *arg)
{
    ck_assert_ptr_nonnull(t);
    __atomic_fetch_add((int *)arg, 1, __ATOMIC_SEQ_CST);
}

static void start(const char *kind, unsigned channels)
{
    const struct token_spec spec = {.program = "/proc/self/exe",
                                    .kind = kind,
                                    .arg = "Reader 00",
                                    .nchannels = channels,
                                    .learn_timeout_s = 20};

    ck_assert_uint_eq(token_start(&spec, on_eof, &ended, &token), 0);
}

static void setup(void)
{
    ended = 0;
    ck_assert_uint_eq(waits_new(&all), 0);
    start("pcsc", 1);
}

static void teardown(void)
{
    token_stop(token);
    token_unref(token);
    waits_free(all);
}

#define until(cond)                              \
    do {                                         \
        int64_t end_ = monotonic_ms() + 20000;   \
        while (!(cond) && monotonic_ms() < end_) \
            poll(NULL, 0, 1);                    \
        ck_assert_msg((cond), "%s", #cond);      \
    } while (0)

struct caller {
    const char *use, *message;
    int client_fd;
    unsigned timeout_s;
    long pin_age;
    gpg_error_t (*pin)(void *arg, const struct token_pin_request *r, struct buf *pin);
    /* what happened */
    pthread_t thread;
    gpg_error_t err;
    char result[1024];
    struct token_job job;
    int touch_on, touch_off, asked, queued, queued_draining;
    struct token_pin_request last;
    bool began, done;
};

static void on_touch(void *arg, bool on)
{
    struct caller *c = arg;

    __atomic_fetch_add(on ? &c->touch_on : &c->touch_off, 1, __ATOMIC_SEQ_CST);
}

static void on_queued(void *arg, unsigned ahead, bool draining)
{
    struct caller *c = arg;

    if (ahead > 0)
        __atomic_fetch_add(draining ? &c->queued_draining : &c->queued, 1, __ATOMIC_SEQ_CST);
}

static gpg_error_t pin_from(void *arg, const struct token_pin_request *r, struct buf *pin)
{
    struct caller *c = arg;

    c->last = *r;
    __atomic_fetch_add(&c->asked, 1, __ATOMIC_SEQ_CST);
    return c->pin(arg, r, pin);
}

static void *call(void *arg)
{
    struct caller *c = arg;
    const char *message = c->message != NULL ? c->message : "data";
    struct wait w;

    c->job = (struct token_job){.verb = TOKEN_SIGN,
                                .key_id = "aut",
                                .use = c->use,
                                .data = rd_of(message, strlen(message)),
                                .pin_age = c->pin_age,
                                .pin = c->pin != NULL ? pin_from : NULL,
                                .touch = on_touch,
                                .queued = on_queued,
                                .arg = c};
    c->err = wait_begin(all, &w, c->client_fd, c->timeout_s);
    if (c->err == 0) {
        c->err = token_run(token, &w, &c->job);
        wait_end(&w);
    }
    if (c->err == 0)
        snprintf(c->result, sizeof c->result, "%.*s", (int)c->job.result.len,
                 (const char *)c->job.result.data);
    buf_free(&c->job.result);
    __atomic_store_n(&c->done, true, __ATOMIC_SEQ_CST);
    return NULL;
}

static void begin(struct caller *c, const char *use)
{
    c->use = use;
    if (c->client_fd == 0)
        c->client_fd = -1;
    if (c->timeout_s == 0)
        c->timeout_s = 30;
    ck_assert_int_eq(pthread_create(&c->thread, NULL, call, c), 0);
}

static void end(struct caller *c)
{
    pthread_join(c->thread, NULL);
}

START_TEST(learns)
{
    const struct token_info *i;

    ck_assert_ptr_null(token_info_get(token));
    ck_assert_uint_eq(token_learn(token, LEARN_ALL), 0);
    i = token_info_get(token);
    ck_assert_str_eq(i->name, "yubikey-1");
    ck_assert_str_eq(i->label, "YubiKey 1");
    ck_assert_int_eq(i->tries[0], 3);
    ck_assert_int_eq(i->tries[1], 0);
    ck_assert_int_eq(i->bus, -1);
    ck_assert_str_eq(i->key_lines[1], "id=sig pub=01");
    ck_assert_ptr_null(i->key_lines[2]);
    /* A new one does not take the old one away from who holds it. */
    ck_assert_uint_eq(token_learn(token, LEARN_REFRESH), 0);
    ck_assert_str_eq(i->name, "yubikey-1");
    token_info_put(i);
}
END_TEST

START_TEST(signs)
{
    struct caller c = {0};

    begin(&c, "plain");
    end(&c);
    ck_assert_uint_eq(c.err, 0);
    ck_assert_str_eq(c.result, "signed:data");
    ck_assert(!c.job.touched && !c.job.pin_typed && !c.job.pin_cached);
}
END_TEST

/* What does not fit into the command's line is asked for. */
START_TEST(signs_long_messages)
{
    for (size_t n = 300; n < 900; n += 7) {
        struct caller c = {0};
        char message[1000] = "";

        memset(message, 'm', n);
        c.message = message;
        begin(&c, "plain");
        end(&c);
        ck_assert_uint_eq(c.err, 0);
        ck_assert_str_eq(strchr(c.result, ':') + 1, message);
        if (n > 800)
            ck_assert_int_eq(strncmp(c.result, "asked:", 6), 0);
    }
}
END_TEST

START_TEST(tells_of_touch)
{
    struct caller c = {0};

    begin(&c, "touch");
    end(&c);
    ck_assert_uint_eq(c.err, 0);
    ck_assert(c.job.touched && c.job.pin_cached);
    ck_assert_int_eq(c.touch_on, c.touch_off);
}
END_TEST

START_TEST(tells_what_a_security_key_signed)
{
    struct caller c = {0}, half = {0};

    begin(&c, "assert");
    end(&c);
    ck_assert_uint_eq(c.err, 0);
    ck_assert(c.job.touched && c.job.pin_device && c.job.asserted);
    ck_assert_uint_eq(c.job.says.flags, 5);
    ck_assert_uint_eq(c.job.says.counter, 0xffffffff);
    begin(&half, "assert-no-counter");
    end(&half);
    ck_assert_uint_eq(half.err, 0);
    ck_assert(!half.job.asserted);
}
END_TEST

START_TEST(a_long_use_is_cut)
{
    struct caller c = {0};
    char use[5000];

    memset(use, '%', sizeof use - 1);
    use[sizeof use - 1] = '\0';
    begin(&c, use);
    end(&c);
    ck_assert_uint_eq(c.err, 0);
}
END_TEST

static gpg_error_t right_at_last(void *arg, const struct token_pin_request *r, struct buf *pin)
{
    const struct caller *c = arg;

    ck_assert_str_eq(r->ref, "81");
    ck_assert_int_eq(r->tries, 4 - c->asked);
    ck_assert(r->wrong == (c->asked > 1));
    ck_assert(r->last == (c->asked == 3));
    ck_assert_int_eq(r->min, 6);
    buf_put(pin, c->asked == 3 ? "123456" : "654321", 6);
    return 0;
}

START_TEST(asks_for_the_pin_again)
{
    struct caller c = {.pin = right_at_last};

    begin(&c, "pin");
    end(&c);
    ck_assert_uint_eq(c.err, 0);
    ck_assert_int_eq(c.asked, 3);
    ck_assert(c.job.pin_typed);
}
END_TEST

static gpg_error_t no(void *arg, const struct token_pin_request *r, struct buf *pin)
{
    (void)arg, (void)r, (void)pin;
    return gpg_error(GPG_ERR_NOT_CONFIRMED);
}

START_TEST(a_refused_pin_is_the_answer)
{
    struct caller c = {.pin = no}, next = {0}, none = {0};

    begin(&c, "pin");
    end(&c);
    ck_assert_uint_eq(gpg_err_code(c.err), GPG_ERR_NOT_CONFIRMED);
    ck_assert_int_eq(c.asked, 1);
    begin(&none, "pin");
    end(&none);
    ck_assert_uint_eq(gpg_err_code(none.err), GPG_ERR_NO_PIN_ENTRY);
    begin(&next, "plain");
    end(&next);
    ck_assert_uint_eq(next.err, 0);
}
END_TEST

START_TEST(a_hang_up_cancels)
{
    struct caller c = {0}, next = {0};
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    c.client_fd = pair[0];
    begin(&c, "wait");
    until(__atomic_load_n(&c.touch_on, __ATOMIC_SEQ_CST) == 1);
    close(pair[1]);
    end(&c);
    ck_assert_uint_eq(gpg_err_code(c.err), GPG_ERR_CANCELED);
    ck_assert_int_eq(c.touch_off, 1);
    begin(&next, "plain");
    end(&next);
    ck_assert_uint_eq(next.err, 0);
    ck_assert_str_eq(next.result, "signed:data");
    close(pair[0]);
}
END_TEST

/* Clients that hang up at once, before the token has even read what they want: each is called off, and none of those
 * that come between. */
START_TEST(early_hang_ups_hit_only_their_own)
{
    for (int i = 0; i < 300; i++) {
        struct caller c = {0}, next = {0};
        int pair[2];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        c.client_fd = pair[0];
        begin(&c, "wait");
        close(pair[1]);
        begin(&next, i % 2 == 0 ? "plain" : "touch");
        end(&c);
        ck_assert_uint_eq(gpg_err_code(c.err), GPG_ERR_CANCELED);
        end(&next);
        ck_assert_uint_eq(next.err, 0);
        close(pair[0]);
    }
}
END_TEST

static void release(void)
{
    uint8_t k[TOKEN_CANCEL_OCTETS] = {200};

    ck_assert_int_eq(write(token->cancel_fd, k, sizeof k), sizeof k);
}

/* Our children that still run or wait to be reaped. */
static size_t children(void)
{
    char path[64], text[256] = "";
    FILE *f;

    snprintf(path, sizeof path, "/proc/%ld/task", (long)getpid());
    DIR *d = opendir(path);
    struct dirent *e;
    size_t n = 0;

    ck_assert_ptr_nonnull(d);
    while ((e = readdir(d)) != NULL) {
        snprintf(path, sizeof path, "/proc/%ld/task/%.20s/children", (long)getpid(), e->d_name);
        f = fopen(path, "r");
        if (f == NULL)
            continue;
        if (fgets(text, sizeof text, f) != NULL)
            n += strlen(text);
        fclose(f);
    }
    closedir(d);
    return n;
}

START_TEST(a_card_that_cannot_be_cancelled_drains)
{
    struct caller c = {.timeout_s = 1}, next = {0};
    bool draining = false, touch = true;

    begin(&c, "stubborn");
    end(&c);
    ck_assert_uint_eq(gpg_err_code(c.err), GPG_ERR_TIMEOUT);
    ck_assert_uint_eq(token_load(token, &draining, &touch), 1);
    ck_assert(draining);
    ck_assert(!touch);
    begin(&next, "plain");
    until(__atomic_load_n(&next.queued_draining, __ATOMIC_SEQ_CST) == 1);
    ck_assert_uint_eq(token_load(token, NULL, NULL), 2);
    release();
    end(&next);
    /* The late signature of the first is not the second's. */
    ck_assert_uint_eq(next.err, 0);
    ck_assert_str_eq(next.result, "signed:data");
    ck_assert_uint_eq(token_load(token, &draining, NULL), 0);
    ck_assert(!draining);
}
END_TEST

START_TEST(a_queue_is_told)
{
    struct caller c = {0}, next = {0}, gone = {.timeout_s = 1};

    begin(&c, "stubborn");
    until(__atomic_load_n(&c.touch_on, __ATOMIC_SEQ_CST) == 1);
    begin(&next, "plain");
    begin(&gone, "plain");
    until(__atomic_load_n(&next.queued, __ATOMIC_SEQ_CST) >= 1);
    end(&gone);
    ck_assert_uint_eq(gpg_err_code(gone.err), GPG_ERR_TIMEOUT);
    release();
    end(&c);
    end(&next);
    ck_assert_uint_eq(c.err, 0);
    ck_assert_uint_eq(next.err, 0);
}
END_TEST

static gpg_error_t hang(void *arg, const struct token_pin_request *r, struct buf *pin)
{
    struct caller *c = arg;
    struct pollfd p = {.fd = c->client_fd};

    (void)r, (void)pin;
    while (poll(&p, 1, -1) < 0 || (p.revents & POLLHUP) == 0)
        continue;
    return gpg_error(GPG_ERR_FULLY_CANCELED);
}

START_TEST(an_abandoned_pin_inquiry_is_cancelled)
{
    struct caller c = {.pin = hang}, next = {0};
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    c.client_fd = pair[0];
    begin(&c, "pin");
    until(__atomic_load_n(&c.asked, __ATOMIC_SEQ_CST) == 1);
    begin(&next, "plain");
    close(pair[1]);
    end(&c);
    end(&next);
    ck_assert_uint_eq(gpg_err_code(c.err), GPG_ERR_FULLY_CANCELED);
    ck_assert_uint_eq(next.err, 0);
    close(pair[0]);
}
END_TEST

/* The end of the process in all its forms: everything fails at once and is told once. */
static const char *const ends[] = {"die", "garbage", "flood", "hang-up", "assert-too-much"};

START_TEST(the_end_of_the_process)
{
    struct caller c = {0}, queued = {0}, late = {0};

    begin(&c, "stubborn");
    until(__atomic_load_n(&c.touch_on, __ATOMIC_SEQ_CST) == 1);
    begin(&queued, ends[_i]);
    begin(&late, "plain");
    until(token_load(token, NULL, NULL) == 3);
    release();
    end(&c);
    ck_assert_uint_eq(c.err, 0);
    end(&queued);
    end(&late);
    ck_assert_uint_eq(gpg_err_code(queued.err), GPG_ERR_CARD_REMOVED);
    /* It may have come before the other. */
    ck_assert(late.err == 0 || gpg_err_code(late.err) == GPG_ERR_CARD_REMOVED);
    until(__atomic_load_n(&ended, __ATOMIC_SEQ_CST) == 1);
    ck_assert(token_gone(token));
    late = (struct caller){0};
    begin(&late, "plain");
    end(&late);
    ck_assert_uint_eq(gpg_err_code(late.err), GPG_ERR_CARD_REMOVED);
    ck_assert_int_eq(ended, 1);
}
END_TEST

START_TEST(stop_fails_everything_at_once)
{
    struct caller c = {0}, pin = {.pin = no};
    int64_t before;

    begin(&c, "stubborn");
    until(__atomic_load_n(&c.touch_on, __ATOMIC_SEQ_CST) == 1);
    begin(&pin, "pin");
    until(token_load(token, NULL, NULL) == 2);
    before = monotonic_ms();
    token_stop(token);
    ck_assert_int_lt(monotonic_ms() - before, 1000);
    end(&c);
    end(&pin);
    ck_assert_uint_eq(gpg_err_code(c.err), GPG_ERR_CARD_REMOVED);
    ck_assert_uint_eq(gpg_err_code(pin.err), GPG_ERR_CARD_REMOVED);
    ck_assert_int_eq(__atomic_load_n(&ended, __ATOMIC_SEQ_CST), 0);
}
END_TEST

START_TEST(forget_ends_what_has_no_proof_of_its_own)
{
    struct caller c = {.pin_age = -1};

    begin(&c, "wait");
    until(__atomic_load_n(&c.touch_on, __ATOMIC_SEQ_CST) == 1);
    token_forget(token);
    end(&c);
    ck_assert_uint_eq(gpg_err_code(c.err), GPG_ERR_CANCELED);
    until(token_load(token, NULL, NULL) == 0);
}
END_TEST

START_TEST(forget_lets_a_fresh_proof_go_on)
{
    struct caller c = {.pin_age = 0};

    begin(&c, "stubborn");
    until(__atomic_load_n(&c.touch_on, __ATOMIC_SEQ_CST) == 1);
    token_forget(token);
    ck_assert_uint_eq(token_load(token, NULL, NULL), 2);
    release();
    end(&c);
    ck_assert_uint_eq(c.err, 0);
}
END_TEST

START_TEST(a_lock_ends_a_waiting_job)
{
    struct caller c = {0};

    begin(&c, "wait");
    until(__atomic_load_n(&c.touch_on, __ATOMIC_SEQ_CST) == 1);
    waits_interrupt_locked(all);
    end(&c);
    ck_assert_uint_eq(gpg_err_code(c.err), GPG_ERR_LOCKED);
}
END_TEST

START_TEST(add_key_gives_its_line)
{
    struct token_job job = {
        .verb = TOKEN_ADDKEY, .comment = "a comment", .data = rd_of("secret", 6)};
    struct wait w;

    ck_assert_uint_eq(wait_begin(all, &w, -1, 20), 0);
    ck_assert_uint_eq(token_run(token, &w, &job), 0);
    ck_assert_str_eq(buf_cstr(&job.result), "id=added");
    buf_free(&job.result);
    /* What the token refuses comes as its own error. */
    job = (struct token_job){.verb = TOKEN_DELALL};
    ck_assert_uint_eq(gpg_err_code(token_run(token, &w, &job)), GPG_ERR_ASS_UNKNOWN_CMD);
    buf_free(&job.result);
    wait_end(&w);
}
END_TEST

START_TEST(channels_work_side_by_side)
{
    struct caller slow[2] = {{0}, {0}}, quick = {0};

    token_stop(token);
    token_unref(token);
    start("software", 3);
    for (int i = 0; i < 2; i++) {
        begin(&slow[i], "wait");
        until(__atomic_load_n(&slow[i].touch_on, __ATOMIC_SEQ_CST) == 1);
    }
    begin(&quick, "plain");
    end(&quick);
    ck_assert_uint_eq(quick.err, 0);
    token_stop(token);
    for (int i = 0; i < 2; i++) {
        end(&slow[i]);
        ck_assert_uint_eq(gpg_err_code(slow[i].err), GPG_ERR_ENODEV);
    }
}
END_TEST

START_TEST(many_callers)
{
    struct caller c[24] = {{0}};

    for (int i = 0; i < 24; i++)
        begin(&c[i], i % 3 == 0 ? "touch" : "plain");
    for (int i = 0; i < 24; i++) {
        end(&c[i]);
        ck_assert_uint_eq(c[i].err, 0);
        ck_assert_str_eq(c[i].result, "signed:data");
    }
}
END_TEST

START_TEST(a_deaf_process_is_killed)
{
    token_stop(token);
    token_unref(token);
    start("deaf", 1);
    ck_assert_uint_eq(token_learn(token, LEARN_ALL), 0);
    token_stop(token);
    /* No child is left: it was reaped behind our back, by force. */
    ck_assert_uint_gt(children(), 0);
    until(children() == 0);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *s;
    TCase *tc;
    SRunner *sr;
    int failed;

    if (argc > 1)
        return fake_token(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    gcry_check_version(NULL);
    gcry_control(GCRYCTL_INIT_SECMEM, 262144, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    s = suite_create("agent/token_client");
    tc = tcase_create("token_client");
    tcase_set_timeout(tc, 40);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, learns);
    tcase_add_test(tc, signs);
    tcase_add_test(tc, signs_long_messages);
    tcase_add_test(tc, tells_of_touch);
    tcase_add_test(tc, tells_what_a_security_key_signed);
    tcase_add_test(tc, a_long_use_is_cut);
    tcase_add_test(tc, asks_for_the_pin_again);
    tcase_add_test(tc, a_refused_pin_is_the_answer);
    tcase_add_test(tc, a_hang_up_cancels);
    tcase_add_test(tc, early_hang_ups_hit_only_their_own);
    tcase_add_test(tc, a_card_that_cannot_be_cancelled_drains);
    tcase_add_test(tc, a_queue_is_told);
    tcase_add_test(tc, an_abandoned_pin_inquiry_is_cancelled);
    tcase_add_loop_test(tc, the_end_of_the_process, 0, 5);
    tcase_add_test(tc, stop_fails_everything_at_once);
    tcase_add_test(tc, forget_ends_what_has_no_proof_of_its_own);
    tcase_add_test(tc, forget_lets_a_fresh_proof_go_on);
    tcase_add_test(tc, a_lock_ends_a_waiting_job);
    tcase_add_test(tc, add_key_gives_its_line);
    tcase_add_test(tc, channels_work_side_by_side);
    tcase_add_test(tc, many_callers);
    tcase_add_test(tc, a_deaf_process_is_killed);
    suite_add_tcase(s, tc);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
