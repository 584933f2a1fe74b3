/* Dialogs by the real pinentry-tty on a terminal of our own, and by programs that are none. */
#include "agent/prompt.h"

#include <check.h>
#include <fcntl.h>
#include <gcrypt.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define PINENTRY "/usr/bin/pinentry-tty"

static struct waits *all;
static struct prompt *prompt;
static struct requester who;
static int master, slave;
static char tty[64], term[] = "dumb", screen[65536];
static size_t seen, matched;

static void setup(void)
{
    ck_assert_uint_eq(waits_new(&all), 0);
    ck_assert_uint_eq(prompt_new(PINENTRY, NULL, &prompt), 0);
    ck_assert_int_eq(openpty(&master, &slave, tty, NULL, NULL), 0);
    ck_assert_int_eq(fcntl(master, F_SETFL, O_NONBLOCK), 0);
    who =
        (struct requester){.pid = getpid(), .uid = getuid(), .pidfd = -1, .tty = tty, .term = term};
    seen = matched = 0;
    screen[0] = '\0';
}

static void teardown(void)
{
    prompt_free(prompt);
    waits_free(all);
    close(master);
    close(slave);
}

static void need_pinentry(void)
{
    ck_assert_msg(access(PINENTRY, X_OK) == 0, PINENTRY " is needed for this test");
}

/* Reads the terminal until TEXT has been shown, after what was expected before. */
static void expect(const char *text)
{
    int64_t until = monotonic_ms() + 15000;
    const char *at;

    while ((at = strstr(screen + matched, text)) == NULL) {
        struct pollfd p = {.fd = master, .events = POLLIN};
        ssize_t n;

        ck_assert_msg(monotonic_ms() < until, "waiting for \"%s\", got: %s", text,
                      screen + matched);
        (void)poll(&p, 1, 50);
        n = read(master, screen + seen, sizeof screen - 1 - seen);
        if (n > 0)
            seen += (size_t)n;
        screen[seen] = '\0';
    }
    matched = (size_t)(at - screen) + strlen(text);
}

static void type(const char *text)
{
    ck_assert_int_eq(write(master, text, strlen(text)), (ssize_t)strlen(text));
}

static bool echoes(void)
{
    struct termios t;

    ck_assert_int_eq(tcgetattr(slave, &t), 0);
    return (t.c_lflag & ECHO) != 0;
}

#define until(cond)                              \
    do {                                         \
        int64_t end_ = monotonic_ms() + 15000;   \
        while (!(cond) && monotonic_ms() < end_) \
            poll(NULL, 0, 1);                    \
        ck_assert_msg((cond), "%s", #cond);      \
    } while (0)

struct asker {
    enum { CONFIRM, SECRET, REPEAT, UNTIL } kind;
    struct prompt_text text;
    int client_fd, until_fd;
    unsigned timeout_s;
    const struct requester *r;
    pthread_t thread;
    struct wait w;
    gpg_error_t err;
    char pin[300];
    bool done;
};

static void *ask(void *arg)
{
    struct asker *a = arg;
    struct buf pin = BUF_INIT_SECURE;

    switch (a->kind) {
    case CONFIRM:
        a->err = prompt_confirm(prompt, &a->w, a->r, &a->text);
        break;
    case UNTIL:
        a->err = prompt_until(prompt, &a->w, a->r, &a->text, a->until_fd);
        break;
    default:
        a->err = prompt_secret(prompt, &a->w, a->r, &a->text, a->kind == REPEAT, &pin);
    }
    if (a->err == 0 && pin.len > 0)
        snprintf(a->pin, sizeof a->pin, "%s", buf_cstr(&pin));
    buf_free(&pin);
    wait_end(&a->w);
    __atomic_store_n(&a->done, true, __ATOMIC_SEQ_CST);
    return NULL;
}

static void begin(struct asker *a)
{
    if (a->text.title == NULL)
        a->text.title = "latchkey";
    if (a->text.desc == NULL)
        a->text.desc = "Allow it?";
    if (a->client_fd == 0)
        a->client_fd = -1;
    if (a->r == NULL)
        a->r = &who;
    ck_assert_uint_eq(wait_begin(all, &a->w, a->client_fd, a->timeout_s != 0 ? a->timeout_s : 30),
                      0);
    ck_assert_int_eq(pthread_create(&a->thread, NULL, ask, a), 0);
}

static gpg_err_code_t end(struct asker *a)
{
    pthread_join(a->thread, NULL);
    return gpg_err_code(a->err);
}

START_TEST(yes_and_no)
{
    struct asker yes = {.text = {.desc = "100% of it:\ngithub.com \"a_b\" caf\xc3\xa9"}};
    struct asker no = {0};

    need_pinentry();
    begin(&yes);
    expect("100% of it:");
    expect("[oc]?");
    type("o");
    ck_assert_uint_eq(end(&yes), 0);
    begin(&no);
    expect("[oc]?");
    type("c");
    ck_assert(end(&no) == GPG_ERR_CANCELED || end(&no) == GPG_ERR_NOT_CONFIRMED);
}
END_TEST

START_TEST(buttons_have_our_texts)
{
    struct asker a = {.text = {.ok = "Allow", .cancel = "Deny"}};

    need_pinentry();
    begin(&a);
    expect("llow");
    expect("eny");
    expect("[ad]?");
    type("d");
    ck_assert(end(&a) == GPG_ERR_CANCELED || end(&a) == GPG_ERR_NOT_CONFIRMED);
}
END_TEST

START_TEST(a_pin_is_typed_unseen)
{
    struct asker a = {.kind = SECRET,
                      .text = {.label = "PIN", .desc = "PIN for X", .error = "Wrong PIN, 2 left"}};

    need_pinentry();
    begin(&a);
    expect("Wrong PIN, 2 left");
    expect("PIN");
    until(!echoes());
    type("12 34%56\n");
    ck_assert_uint_eq(end(&a), 0);
    ck_assert_str_eq(a.pin, "12 34%56");
    ck_assert_ptr_null(strstr(screen, "34%56"));
}
END_TEST

START_TEST(a_new_secret_is_typed_twice)
{
    struct asker a = {.kind = REPEAT, .text = {.label = "Passphrase", .desc = "New one"}};

    need_pinentry();
    begin(&a);
    expect("Passphrase");
    until(!echoes());
    type("one two\n");
    expect("Repeat");
    type("one two\n");
    ck_assert_uint_eq(end(&a), 0);
    ck_assert_str_eq(a.pin, "one two");
}
END_TEST

START_TEST(a_hang_up_withdraws_it)
{
    struct asker a = {.kind = SECRET, .text = {.label = "PIN", .desc = "PIN for X"}};
    int pair[2];

    need_pinentry();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    a.client_fd = pair[0];
    begin(&a);
    expect("PIN for X");
    until(!echoes());
    close(pair[1]);
    ck_assert_uint_eq(end(&a), GPG_ERR_FULLY_CANCELED);
    /* The terminal is the person's again, as it was. */
    until(echoes());
    close(pair[0]);
}
END_TEST

START_TEST(lock_and_deadline_withdraw_it)
{
    struct asker a = {0}, b = {.timeout_s = 1};

    need_pinentry();
    begin(&a);
    expect("[oc]?");
    waits_interrupt_locked(all);
    ck_assert_uint_eq(end(&a), GPG_ERR_LOCKED);
    begin(&b);
    ck_assert_uint_eq(end(&b), GPG_ERR_TIMEOUT);
}
END_TEST

START_TEST(one_at_a_time)
{
    struct asker a = {.text = {.desc = "the first"}}, b = {.text = {.desc = "the second"}},
                 c = {.text = {.desc = "the third"}};
    int pair[2];

    need_pinentry();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    begin(&a);
    expect("the first");
    b.client_fd = pair[0];
    begin(&b);
    begin(&c);
    /* One that leaves the line is not waited for. */
    close(pair[1]);
    ck_assert_uint_eq(end(&b), GPG_ERR_FULLY_CANCELED);
    ck_assert(!__atomic_load_n(&c.done, __ATOMIC_SEQ_CST));
    expect("[oc]?");
    type("o");
    ck_assert_uint_eq(end(&a), 0);
    expect("the third");
    expect("[oc]?");
    type("o");
    ck_assert_uint_eq(end(&c), 0);
    ck_assert_ptr_null(strstr(screen, "the second"));
    close(pair[0]);
}
END_TEST

START_TEST(until_something_happens)
{
    struct asker a = {.kind = UNTIL, .text = {.desc = "Insert it", .cancel = "Stop"}}, b = a;
    uint64_t one = 1;

    need_pinentry();
    a.until_fd = b.until_fd = eventfd(0, 0);
    begin(&a);
    expect("Insert it");
    ck_assert_int_eq(write(a.until_fd, &one, sizeof one), sizeof one);
    ck_assert_uint_eq(end(&a), 0);
    ck_assert_int_eq(read(a.until_fd, &one, sizeof one), sizeof one);
    begin(&b);
    expect("Insert it");
    expect("top");
    type("s");
    ck_assert_uint_eq(end(&b), GPG_ERR_CANCELED);
    close(a.until_fd);
}
END_TEST

START_TEST(without_a_terminal_it_fails_at_once)
{
    struct requester nowhere = {.pid = getpid(), .pidfd = -1};
    struct requester wrong = {.pid = getpid(), .pidfd = -1, .tty = (char[]){"/dev/null"}};
    struct asker a = {.r = &nowhere}, b = {.r = &wrong, .kind = SECRET, .text = {.label = "PIN"}};
    int64_t before = monotonic_ms();

    begin(&a);
    ck_assert_uint_eq(end(&a), GPG_ERR_NO_PIN_ENTRY);
    begin(&b);
    ck_assert_uint_eq(end(&b), GPG_ERR_NO_PIN_ENTRY);
    ck_assert_int_lt(monotonic_ms() - before, 2000);
}
END_TEST

/* Programs that are no pinentry, as shell scripts. */
static const char *const bad[] = {
    "exit 0",
    "echo what is this; cat >/dev/null",
    "printf 'OK\\n'; exit 0",
    "printf 'OK\\n'; read x; printf '\\001\\002\\n'; cat >/dev/null",
    ("printf 'OK\\n'; while read x; do case $x in CONFIRM*) printf 'ERR 83918950 tty\\n';; *) echo "
     "OK;; esac; done"),
    "printf 'OK\\n'; while read x; do case $x in CONFIRM*) exit;; *) echo OK;; esac; done",
    "kill -9 $$",
};

static void use_script(const char *body)
{
    static char path[] = "/tmp/latchkey-pinentry-XXXXXX";
    int fd;

    strcpy(path + strlen(path) - 6, "XXXXXX");
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    dprintf(fd, "#!/bin/sh\n%s\n", body);
    ck_assert_int_eq(fchmod(fd, 0700), 0);
    close(fd);
    prompt_free(prompt);
    ck_assert_uint_eq(prompt_new(path, NULL, &prompt), 0);
}

static void drop_script(void)
{
    ck_assert_int_eq(system("rm -f /tmp/latchkey-pinentry-??????"), 0);
}

START_TEST(what_is_no_pinentry_fails_clearly)
{
    struct asker a = {0};

    use_script(bad[_i]);
    begin(&a);
    ck_assert_uint_eq(end(&a), GPG_ERR_NO_PIN_ENTRY);
    drop_script();
}
END_TEST

START_TEST(a_silent_program_holds_nobody)
{
    struct asker a = {.timeout_s = 1}, half = {.timeout_s = 1};

    use_script("cat >/dev/null");
    begin(&a);
    ck_assert_uint_eq(end(&a), GPG_ERR_TIMEOUT);
    use_script("printf 'OK he'; cat >/dev/null");
    begin(&half);
    ck_assert_uint_eq(end(&half), GPG_ERR_TIMEOUT);
    drop_script();
}
END_TEST

START_TEST(no_such_program)
{
    struct asker a = {0};

    prompt_free(prompt);
    ck_assert_uint_eq(prompt_new("latchkey-no-such-pinentry", NULL, &prompt), 0);
    begin(&a);
    ck_assert_uint_eq(end(&a), GPG_ERR_NO_PIN_ENTRY);
}
END_TEST

/* What the person's answer is told apart from. */
START_TEST(verdicts)
{
    static const struct {
        unsigned code;
        gpg_err_code_t want;
    } cases[] = {{83886179, GPG_ERR_CANCELED}, {83886194, GPG_ERR_NOT_CONFIRMED},
                 {83886142, GPG_ERR_TIMEOUT},  {277, GPG_ERR_CANCELED},
                 {83886278, GPG_ERR_CANCELED}, {83886085, GPG_ERR_NO_PIN_ENTRY}};
    char body[256];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct asker a = {0};

        snprintf(body, sizeof body,
                 "echo OK; while read x; do case $x in CONFIRM*) echo ERR %u x;; *) echo OK;; "
                 "esac; done",
                 cases[i].code);
        use_script(body);
        begin(&a);
        ck_assert_uint_eq(end(&a), cases[i].want);
        drop_script();
    }
}
END_TEST

/* The environment and options that it gets: the requester's, and not ours. */
START_TEST(it_is_shown_where_the_asker_is)
{
    struct asker a = {.kind = SECRET, .text = {.label = "PIN"}};

    setenv("DISPLAY", ":77", 1);
    setenv("LATCHKEY_TEST_SECRET", "leaks", 1);
    who.display = (char[]){":5"};
    who.wayland_display = (char[]){"wayland-9"};
    who.pinentry_user_data = (char[]){"some data"};
    use_script("exec 2>/dev/null; printf 'OK\\n'; o=; while read -r x; do case $x in "
               "GETPIN) printf 'D %s|%s|%s|%s|%s|%s\\n' \"$*\" \"$DISPLAY\" \"$WAYLAND_DISPLAY\" "
               "\"$PINENTRY_USER_DATA\" \"$LATCHKEY_TEST_SECRET\" \"$o\"; echo OK;; "
               "OPTION\\ ttyname=*) o=${x#*=}; echo OK;; *) echo OK;; esac; done");
    begin(&a);
    ck_assert_uint_eq(end(&a), 0);
    {
        char want[300];

        snprintf(want, sizeof want, "--display :5|:5|wayland-9|some data||%s", tty);
        ck_assert_str_eq(a.pin, want);
    }
    drop_script();
    unsetenv("DISPLAY");
    unsetenv("LATCHKEY_TEST_SECRET");
}
END_TEST

START_TEST(a_long_text_is_cut)
{
    char desc[8000];
    struct asker a = {.text = {.desc = desc}};

    need_pinentry();
    for (size_t i = 0; i < sizeof desc - 1; i += 2)
        memcpy(desc + i, "\xc3\xa9", 2);
    desc[sizeof desc - 2] = '\0';
    begin(&a);
    expect("[oc]?");
    type("o");
    ck_assert_uint_eq(end(&a), 0);
}
END_TEST

START_TEST(notice_on_a_terminal_is_a_line)
{
    const struct prompt_text t = {.title = "latchkey", .desc = "Touch \x1b[31mX\nnow"};

    ck_assert_ptr_null(prompt_notice_show(prompt, &who, &t));
    expect("latchkey: Touch ?[31mX");
    ck_assert_ptr_null(strchr(screen, 0x1b));
    prompt_notice_hide(NULL);
}
END_TEST

START_TEST(notice_on_a_display_stays_until_taken_down)
{
    const struct prompt_text t = {.title = "latchkey", .desc = "Touch it"};
    char mark[] = "/tmp/latchkey-mark-XXXXXX", body[512];
    struct prompt_notice *n;
    struct stat st;
    int fd = mkstemp(mark);

    ck_assert_int_ge(fd, 0);
    who.display = (char[]){":5"};
    snprintf(body, sizeof body,
             "echo OK; while read x; do case $x in CONFIRM*) echo shown >> %s;; *) echo OK;; esac; "
             "done; echo gone >> %s",
             mark, mark);
    use_script(body);
    n = prompt_notice_show(prompt, &who, &t);
    ck_assert_ptr_nonnull(n);
    until(fstat(fd, &st) == 0 && st.st_size == 6);
    prompt_notice_hide(n);
    close(fd);
    unlink(mark);
    drop_script();
}
END_TEST

/* A crowd of waiting clients is no crowd of windows. */
START_TEST(notices_are_few)
{
    const struct prompt_text t = {.title = "latchkey", .desc = "Touch it"};
    struct prompt_notice *n[4];

    who.display = (char[]){":5"};
    use_script("echo OK; while read x; do case $x in CONFIRM*) ;; *) echo OK;; esac; done");
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 4; i++)
            ck_assert_ptr_nonnull(n[i] = prompt_notice_show(prompt, &who, &t));
        ck_assert_ptr_null(prompt_notice_show(prompt, &who, &t));
        for (int i = 0; i < 4; i++)
            prompt_notice_hide(n[i]);
    }
    drop_script();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("agent/prompt");
    TCase *tc = tcase_create("prompt");
    SRunner *sr;
    int failed;

    signal(SIGPIPE, SIG_IGN);
    gcry_check_version(NULL);
    gcry_control(GCRYCTL_INIT_SECMEM, 262144, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    tcase_set_timeout(tc, 40);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, yes_and_no);
    tcase_add_test(tc, buttons_have_our_texts);
    tcase_add_test(tc, a_pin_is_typed_unseen);
    tcase_add_test(tc, a_new_secret_is_typed_twice);
    tcase_add_test(tc, a_hang_up_withdraws_it);
    tcase_add_test(tc, lock_and_deadline_withdraw_it);
    tcase_add_test(tc, one_at_a_time);
    tcase_add_test(tc, until_something_happens);
    tcase_add_test(tc, without_a_terminal_it_fails_at_once);
    tcase_add_loop_test(tc, what_is_no_pinentry_fails_clearly, 0,
                        (int)(sizeof bad / sizeof bad[0]));
    tcase_add_test(tc, a_silent_program_holds_nobody);
    tcase_add_test(tc, no_such_program);
    tcase_add_test(tc, verdicts);
    tcase_add_test(tc, it_is_shown_where_the_asker_is);
    tcase_add_test(tc, a_long_text_is_cut);
    tcase_add_test(tc, notice_on_a_terminal_is_a_line);
    tcase_add_test(tc, notice_on_a_display_stays_until_taken_down);
    tcase_add_test(tc, notices_are_few);
    suite_add_tcase(s, tc);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
