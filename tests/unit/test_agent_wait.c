/* What ends a wait, and that no wake-up is lost. */
#include "agent/wait.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct waits *all;
static int pair[2];

static void setup(void)
{
    ck_assert_uint_eq(waits_new(&all), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
}

static void teardown(void)
{
    if (pair[0] >= 0)
        close(pair[0]);
    if (pair[1] >= 0)
        close(pair[1]);
    waits_free(all);
}

static void begin(struct wait *w, unsigned timeout)
{
    ck_assert_uint_eq(wait_begin(all, w, pair[0], timeout), 0);
}

START_TEST(hang_up_ends_it)
{
    struct wait w;

    begin(&w, 0);
    ck_assert_uint_eq(wait_check(&w), 0);
    close(pair[1]);
    pair[1] = -1;
    ck_assert_uint_eq(gpg_err_code(wait_for(&w, -1, NULL)), GPG_ERR_CANCELED);
    ck_assert_uint_eq(gpg_err_code(wait_check(&w)), GPG_ERR_CANCELED);
    wait_end(&w);
}
END_TEST

START_TEST(half_close_is_legal)
{
    struct wait w;
    bool woken = false;

    begin(&w, 0);
    ck_assert_int_eq(shutdown(pair[1], SHUT_WR), 0);
    ck_assert_uint_eq(wait_check(&w), 0);
    wait_wake(&w);
    ck_assert_uint_eq(wait_for(&w, -1, &woken), 0);
    ck_assert(woken);
    wait_end(&w);
}
END_TEST

START_TEST(more_from_the_client_is_no_news)
{
    struct wait w;

    begin(&w, 0);
    w.deadline_ms = monotonic_ms() + 30;
    ck_assert_int_eq(write(pair[1], "x", 1), 1);
    ck_assert_uint_eq(gpg_err_code(wait_for(&w, -1, NULL)), GPG_ERR_TIMEOUT);
    wait_end(&w);
}
END_TEST

START_TEST(deadline_ends_it)
{
    int64_t before = monotonic_ms();
    struct wait w;

    begin(&w, 1);
    ck_assert_int_gt(wait_left_ms(&w), 900);
    w.deadline_ms = before + 40;
    ck_assert_uint_eq(gpg_err_code(wait_for(&w, -1, NULL)), GPG_ERR_TIMEOUT);
    ck_assert_int_ge(monotonic_ms() - before, 40);
    ck_assert_int_eq(wait_left_ms(&w), 0);
    ck_assert_uint_eq(gpg_err_code(wait_check(&w)), GPG_ERR_TIMEOUT);
    w.deadline_ms = INT64_MAX;
    ck_assert_int_eq(wait_left_ms(&w), -1);
    wait_end(&w);
}
END_TEST

START_TEST(descriptor_ends_it)
{
    struct wait w;
    bool woken = true;
    int p[2];

    ck_assert_int_eq(pipe(p), 0);
    begin(&w, 0);
    ck_assert_int_eq(write(p[1], "x", 1), 1);
    ck_assert_uint_eq(wait_for(&w, p[0], &woken), 0);
    ck_assert(!woken);
    close(p[0]);
    /* The other end without a reader: hung up, which is news too. */
    ck_assert_uint_eq(wait_for(&w, p[1], &woken), 0);
    ck_assert(!woken);
    close(p[1]);
    wait_end(&w);
}
END_TEST

START_TEST(a_past_deadline_still_sees_what_came)
{
    struct wait w;
    bool woken = false;

    begin(&w, 0);
    w.deadline_ms = monotonic_ms() - 1;
    wait_wake(&w);
    ck_assert_uint_eq(wait_for(&w, -1, &woken), 0);
    ck_assert(woken);
    wait_end(&w);
}
END_TEST

START_TEST(lock_ends_all_but_those_with_a_proof)
{
    struct wait w, proof, later;
    bool woken = false;

    begin(&w, 0);
    begin(&proof, 0);
    proof.ignore_lock = true;
    waits_interrupt_locked(all);
    begin(&later, 0);
    ck_assert_uint_eq(gpg_err_code(wait_for(&w, -1, NULL)), GPG_ERR_LOCKED);
    ck_assert_uint_eq(gpg_err_code(wait_check(&w)), GPG_ERR_LOCKED);
    ck_assert_uint_eq(wait_for(&proof, -1, &woken), 0);
    ck_assert(woken);
    ck_assert_uint_eq(wait_check(&proof), 0);
    ck_assert_uint_eq(wait_check(&later), 0);
    /* Leave in another order than they came. */
    wait_end(&proof);
    wait_end(&w);
    wait_end(&later);
    waits_interrupt_locked(all);
}
END_TEST

/* A wake-up for every step of a counter, from another thread; the waiter must see each last step. */
#define STEPS 20000
static unsigned counter;

static void *steps(void *arg)
{
    for (unsigned i = 1; i <= STEPS; i++) {
        __atomic_store_n(&counter, i, __ATOMIC_RELEASE);
        wait_wake(arg);
    }
    return NULL;
}

START_TEST(no_wake_up_is_lost)
{
    struct wait w;
    pthread_t t;

    begin(&w, 20);
    ck_assert_int_eq(pthread_create(&t, NULL, steps, &w), 0);
    while (__atomic_load_n(&counter, __ATOMIC_ACQUIRE) < STEPS)
        ck_assert_uint_eq(wait_for(&w, -1, NULL), 0);
    pthread_join(t, NULL);
    wait_end(&w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("agent/wait");
    TCase *tc = tcase_create("wait");
    SRunner *sr;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, hang_up_ends_it);
    tcase_add_test(tc, half_close_is_legal);
    tcase_add_test(tc, more_from_the_client_is_no_news);
    tcase_add_test(tc, deadline_ends_it);
    tcase_add_test(tc, descriptor_ends_it);
    tcase_add_test(tc, a_past_deadline_still_sees_what_came);
    tcase_add_test(tc, lock_ends_all_but_those_with_a_proof);
    tcase_add_test(tc, no_wake_up_is_lost);
    suite_add_tcase(s, tc);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
