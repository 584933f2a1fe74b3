/* Both locks, what they take away, and what is written down. */
#include "agent/lock.h"

#include "agent/audit.h"
#include "agent/grants.h"

#include <check.h>
#include <gcrypt.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct agent a;
static struct settings settings;
static char dir[64], path[80];

static void setup(void)
{
    strcpy(dir, "/tmp/latchkey-lock-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/audit", dir);
    settings = (struct settings){0};
    a = (struct agent){.settings = &settings};
    ck_assert_uint_eq(waits_new(&a.waits), 0);
    ck_assert_uint_eq(lock_new(&a.lock), 0);
    ck_assert_uint_eq(grants_new(&a.grants), 0);
    ck_assert_uint_eq(audit_new(path, &a.audit), 0);
}

static void teardown(void)
{
    lock_stop_idle(&a);
    audit_free(a.audit);
    grants_free(a.grants);
    lock_free(a.lock);
    waits_free(a.waits);
    unlink(path);
    rmdir(dir);
}

/* Does a line of the log hold both words? */
static bool logged(const char *one, const char *two)
{
    FILE *f = fopen(path, "r");
    char line[2048];
    bool found = false;

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        found |= strstr(line, one) != NULL && strstr(line, two) != NULL;
    if (f != NULL)
        fclose(f);
    return found;
}

static gpg_err_code_t lock_with(const char *s)
{
    return gpg_err_code(lock_passphrase(&a, -1, rd_of(s, strlen(s))));
}

static gpg_err_code_t unlock_with(const char *s)
{
    return gpg_err_code(unlock_passphrase(&a, -1, rd_of(s, strlen(s))));
}

START_TEST(locking_takes_everything)
{
    struct lock_state s;
    struct wait w;
    char *text;

    ck_assert_ptr_null(lock_describe(a.lock));
    ck_assert_uint_eq(wait_begin(a.waits, &w, -1, 0), 0);
    grants_add_presence(a.grants, "s", "t");
    lock_now(&a, LOCK_PULLED, "yubikey-5417533");
    ck_assert_uint_eq(gpg_err_code(wait_check(&w)), GPG_ERR_LOCKED);
    ck_assert(!grants_use_presence(a.grants, "s", 60, 0, NULL));
    lock_get(a.lock, &s);
    ck_assert(s.locked && !s.passphrase_locked && s.reason == LOCK_PULLED);
    ck_assert_str_eq(s.what, "yubikey-5417533");
    gpgrt_free(s.what);
    text = lock_describe(a.lock);
    ck_assert_ptr_nonnull(strstr(text, "yubikey-5417533 was pulled out"));
    ck_assert_ptr_nonnull(strstr(text, "latchkey unlock"));
    gpgrt_free(text);
    ck_assert(logged("\"lock\"", "yubikey-5417533"));
    wait_end(&w);
}
END_TEST

START_TEST(locked_twice_wipes_twice_and_keeps_its_reason)
{
    struct lock_state s;

    lock_now(&a, LOCK_PULLED, "one");
    grants_add_presence(a.grants, "s", "t");
    lock_now(&a, LOCK_COMMAND, NULL);
    ck_assert(!grants_use_presence(a.grants, "s", 60, 0, NULL));
    lock_get(a.lock, &s);
    ck_assert_int_eq(s.reason, LOCK_PULLED);
    ck_assert_str_eq(s.what, "one");
    gpgrt_free(s.what);
    ck_assert(lock_open(&a, lock_count(a.lock), "pin one"));
    ck_assert(!lock_is_locked(a.lock));
    ck_assert(logged("\"unlock\"", "pin one"));
}
END_TEST

/* A proof that was given before the lock does not open it. */
START_TEST(a_later_lock_is_not_opened)
{
    unsigned count;

    lock_now(&a, LOCK_IDLE, NULL);
    count = lock_count(a.lock);
    lock_now(&a, LOCK_COMMAND, NULL);
    ck_assert(!lock_open(&a, count, "pin one"));
    ck_assert(lock_is_locked(a.lock));
    count = lock_count(a.lock);
    ck_assert_uint_eq(lock_with("secret"), 0);
    ck_assert(!lock_open(&a, count, "pin one"));
    ck_assert(lock_open(&a, lock_count(a.lock), "pin one"));
}
END_TEST

START_TEST(the_two_locks_are_independent)
{
    char *text;

    lock_now(&a, LOCK_COMMAND, NULL);
    ck_assert_uint_eq(lock_with("secret"), 0);
    ck_assert(lock_open(&a, lock_count(a.lock), "dialog"));
    ck_assert(!lock_is_locked(a.lock));
    ck_assert(lock_is_passphrase_locked(a.lock));
    text = lock_describe(a.lock);
    ck_assert_ptr_nonnull(strstr(text, "ssh-add -X"));
    gpgrt_free(text);
    lock_now(&a, LOCK_COMMAND, NULL);
    ck_assert_uint_eq(unlock_with("secret"), 0);
    ck_assert(lock_is_locked(a.lock));
    ck_assert(!lock_is_passphrase_locked(a.lock));
}
END_TEST

START_TEST(passphrase_states)
{
    struct wait w;

    ck_assert_uint_eq(lock_with(""), GPG_ERR_INV_VALUE);
    ck_assert_uint_eq(unlock_with("x"), GPG_ERR_INV_STATE);
    ck_assert_uint_eq(wait_begin(a.waits, &w, -1, 0), 0);
    grants_add_presence(a.grants, "s", "t");
    ck_assert_uint_eq(lock_with("pass phrase"), 0);
    ck_assert_uint_eq(gpg_err_code(wait_check(&w)), GPG_ERR_LOCKED);
    ck_assert(!grants_use_presence(a.grants, "s", 60, 0, NULL));
    ck_assert_uint_eq(lock_with("other"), GPG_ERR_INV_STATE);
    ck_assert_uint_eq(unlock_with("other"), GPG_ERR_BAD_PASSPHRASE);
    ck_assert_uint_eq(unlock_with("pass phras"), GPG_ERR_BAD_PASSPHRASE);
    ck_assert_uint_eq(unlock_with(""), GPG_ERR_BAD_PASSPHRASE);
    ck_assert(lock_is_passphrase_locked(a.lock));
    ck_assert_uint_eq(unlock_with("pass phrase"), 0);
    ck_assert(!lock_is_passphrase_locked(a.lock));
    ck_assert(logged("wrong passphrase", "unlock"));
    wait_end(&w);
}
END_TEST

static void *guess(void *arg)
{
    *(gpg_err_code_t *)arg = unlock_with("wrong");
    return NULL;
}

/* Three at once wait for each other: 100, 200 and 300 ms at least. */
START_TEST(guessing_is_slow_for_all_together)
{
    gpg_err_code_t got[3];
    pthread_t t[3];
    int64_t before;

    ck_assert_uint_eq(lock_with("right"), 0);
    before = monotonic_ms();
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, guess, &got[i]), 0);
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], NULL);
        ck_assert_uint_eq(got[i], GPG_ERR_BAD_PASSPHRASE);
    }
    ck_assert_int_ge(monotonic_ms() - before, 600);
    ck_assert_uint_eq(unlock_with("right"), 0);
}
END_TEST

/* Hanging up does not shorten the delay for the next one, and ends the wait of who hangs up. */
START_TEST(a_guess_that_hangs_up_delays_the_next)
{
    gpg_err_code_t got;
    int64_t before;
    int fds[2];

    ck_assert_uint_eq(lock_with("right"), 0);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        close(fds[1]);
        got = gpg_err_code(unlock_passphrase(&a, fds[0], rd_of("wrong", 5)));
        ck_assert(got == GPG_ERR_BAD_PASSPHRASE || (i > 0 && got == GPG_ERR_CANCELED));
        close(fds[0]);
    }
    before = monotonic_ms();
    ck_assert_uint_eq(unlock_with("wrong"), GPG_ERR_BAD_PASSPHRASE);
    ck_assert_int_ge(monotonic_ms() - before, 200); /* its own delay at least */
    ck_assert_uint_eq(unlock_with("right"), 0);
    /* and the count begins anew */
    ck_assert_uint_eq(lock_with("right"), 0);
    ck_assert_uint_eq(unlock_with("wrong"), GPG_ERR_BAD_PASSPHRASE);
    ck_assert_uint_eq(unlock_with("right"), 0);
}
END_TEST

START_TEST(idle_locks_once)
{
    int64_t before = monotonic_ms();
    struct lock_state s;

    settings.lock_after = 1;
    lock_note_use(a.lock);
    ck_assert_uint_eq(lock_start_idle(&a), 0);
    while (!lock_is_locked(a.lock) && monotonic_ms() - before < 20000)
        poll(NULL, 0, 1);
    ck_assert(lock_is_locked(a.lock));
    lock_get(a.lock, &s);
    ck_assert_int_eq(s.reason, LOCK_IDLE);
    /* Opened, it counts anew. */
    ck_assert(lock_open(&a, lock_count(a.lock), "dialog"));
    ck_assert(!lock_is_locked(a.lock));
    before = monotonic_ms();
    while (!lock_is_locked(a.lock) && monotonic_ms() - before < 20000)
        poll(NULL, 0, 1);
    ck_assert(lock_is_locked(a.lock));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("agent/lock");
    TCase *tc = tcase_create("lock");
    SRunner *sr;
    int failed;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, locking_takes_everything);
    tcase_add_test(tc, locked_twice_wipes_twice_and_keeps_its_reason);
    tcase_add_test(tc, a_later_lock_is_not_opened);
    tcase_add_test(tc, the_two_locks_are_independent);
    tcase_add_test(tc, passphrase_states);
    tcase_add_test(tc, guessing_is_slow_for_all_together);
    tcase_add_test(tc, a_guess_that_hangs_up_delays_the_next);
    tcase_add_test(tc, idle_locks_once);
    suite_add_tcase(s, tc);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
