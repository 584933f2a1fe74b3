/* What a proof is good for, and what it is not. */
#include "agent/grants.h"

#include "agent/wait.h"

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

static struct grants *g;

static void setup(void)
{
    ck_assert_uint_eq(grants_new(&g), 0);
}

static void teardown(void)
{
    grants_free(g);
}

static void use(const char *key)
{
    ck_assert(grants_begin_use(g, key, NULL, 0));
    grants_end_use(g, key, true);
}

static void until(int64_t ms)
{
    while (monotonic_ms() < ms)
        poll(NULL, 0, 1);
}

START_TEST(a_proof_serves_its_scope_only)
{
    unsigned age = 99;

    ck_assert(!grants_use_presence(g, "key|use|host|who", 15, 0, &age));
    grants_add_presence(g, "key|use|host|who", "yubikey-1");
    ck_assert(grants_use_presence(g, "key|use|host|who", 15, 0, &age));
    ck_assert_uint_eq(age, 0);
    ck_assert(!grants_use_presence(g, "key|use|host2|who", 15, 0, &age));
    ck_assert(!grants_use_presence(g, "key|use|host|wh", 15, 0, NULL));
}
END_TEST

START_TEST(uses_are_counted_from_the_first)
{
    grants_add_presence(g, "s", "t");
    ck_assert(grants_use_presence(g, "s", 15, 3, NULL));
    ck_assert(grants_use_presence(g, "s", 15, 3, NULL));
    ck_assert(!grants_use_presence(g, "s", 15, 3, NULL));
    /* A new proof starts anew; max 1 means that it serves no second operation. */
    grants_add_presence(g, "s", "t");
    ck_assert(!grants_use_presence(g, "s", 15, 1, NULL));
    ck_assert(grants_use_presence(g, "s", 15, 0, NULL));
}
END_TEST

START_TEST(a_proof_grows_old)
{
    int64_t start = monotonic_ms();

    grants_add_presence(g, "s", "t");
    ck_assert(grants_use_presence(g, "s", 1, 0, NULL));
    until(start + 1010);
    ck_assert(!grants_use_presence(g, "s", 1, 0, NULL));
    ck_assert(grants_use_presence(g, "s", 60, 0, NULL));
}
END_TEST

START_TEST(losing_a_token_drops_its_proofs)
{
    grants_add_presence(g, "a", "yubikey-1");
    grants_add_presence(g, "b", "yubikey-2");
    grants_wipe_token(g, "yubikey-1");
    ck_assert(!grants_use_presence(g, "a", 15, 0, NULL));
    ck_assert(grants_use_presence(g, "b", 15, 0, NULL));
}
END_TEST

START_TEST(approvals_belong_to_a_connection)
{
    grants_approve(g, 7, "s");
    ck_assert(grants_approved(g, 7, "s"));
    ck_assert(!grants_approved(g, 8, "s"));
    ck_assert(!grants_approved(g, 7, "t"));
    grants_approve(g, 8, "s");
    grants_drop_origin(g, 7);
    ck_assert(!grants_approved(g, 7, "s"));
    ck_assert(grants_approved(g, 8, "s"));
}
END_TEST

START_TEST(a_lock_wipes_proofs_but_not_counts)
{
    grants_add_presence(g, "s", "t");
    grants_approve(g, 1, "s");
    use("key");
    grants_wipe(g);
    ck_assert(!grants_use_presence(g, "s", 15, 0, NULL));
    ck_assert(!grants_approved(g, 1, "s"));
    ck_assert_uint_eq(grants_count_uses(g, "key", 60), 1);
}
END_TEST

START_TEST(rate_counts_each_key)
{
    int64_t start = monotonic_ms();

    for (int i = 0; i < 10; i++)
        use("a");
    use("b");
    ck_assert_uint_eq(grants_count_uses(g, "a", 60), 10);
    ck_assert_uint_eq(grants_count_uses(g, "b", 60), 1);
    ck_assert_uint_eq(grants_count_uses(g, "c", 60), 0);
    until(start + 1010);
    ck_assert_uint_eq(grants_count_uses(g, "b", 1), 0);
    grants_reset_rate(g, "a");
    ck_assert_uint_eq(grants_count_uses(g, "a", 60), 0);
    ck_assert_uint_eq(grants_count_uses(g, "b", 60), 1);
}
END_TEST

/* However many: bounded memory must not make a rate look lower than it is. */
START_TEST(rate_forgets_nothing)
{
    for (unsigned i = 1; i <= 5000; i++) {
        use("a");
        ck_assert_uint_eq(grants_count_uses(g, "a", 3600), i);
    }
}
END_TEST

/* Many at once get no further than one after another. */
START_TEST(rate_counts_what_is_under_way)
{
    static const struct policy_rate rates[] = {{.n = 100, .secs = 1}, {.n = 2, .secs = 3600}};

    ck_assert(grants_begin_use(g, "a", rates, 2));
    ck_assert(grants_begin_use(g, "a", rates, 2));
    ck_assert(!grants_begin_use(g, "a", rates, 2));
    ck_assert(grants_begin_use(g, "b", rates, 2));
    for (int i = 0; i < 3; i++)
        grants_end_use(g, "a", i == 0);
    ck_assert_uint_eq(grants_count_uses(g, "a", 3600), 1);
    ck_assert(grants_begin_use(g, "a", rates, 2));
    grants_reset_rate(g, "a"); /* by a person; what is under way stays so */
    ck_assert_uint_eq(grants_count_uses(g, "a", 3600), 1);
    grants_end_use(g, "a", true);
    ck_assert_uint_eq(grants_count_uses(g, "a", 3600), 1);
}
END_TEST

/* Whoever adds keys by the thousand washes no count away. */
START_TEST(rate_survives_a_crowd)
{
    char key[32];

    for (int i = 0; i < 5; i++)
        use("mine");
    ck_assert(grants_begin_use(g, "busy", NULL, 0));
    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        use(key);
    }
    ck_assert_uint_ge(grants_count_uses(g, "mine", 3600), 5);
    use("mine");
    ck_assert_uint_ge(grants_count_uses(g, "mine", 3600), 6);
    ck_assert_uint_eq(grants_count_uses(g, "busy", 3600), 1);
}
END_TEST

START_TEST(memory_is_bounded_and_the_newest_stay)
{
    char scope[32];

    for (int i = 0; i < 5000; i++) {
        snprintf(scope, sizeof scope, "s%d", i);
        grants_add_presence(g, scope, "t");
        grants_approve(g, 1, scope);
    }
    ck_assert(!grants_use_presence(g, "s0", 60, 0, NULL));
    ck_assert(grants_use_presence(g, "s4999", 60, 0, NULL));
    ck_assert(!grants_approved(g, 1, "s0"));
    ck_assert(grants_approved(g, 1, "s4999"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("agent/grants");
    TCase *tc = tcase_create("grants");
    SRunner *sr;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_proof_serves_its_scope_only);
    tcase_add_test(tc, uses_are_counted_from_the_first);
    tcase_add_test(tc, a_proof_grows_old);
    tcase_add_test(tc, losing_a_token_drops_its_proofs);
    tcase_add_test(tc, approvals_belong_to_a_connection);
    tcase_add_test(tc, a_lock_wipes_proofs_but_not_counts);
    tcase_add_test(tc, rate_counts_each_key);
    tcase_add_test(tc, rate_forgets_nothing);
    tcase_add_test(tc, rate_counts_what_is_under_way);
    tcase_add_test(tc, rate_survives_a_crowd);
    tcase_add_test(tc, memory_is_bounded_and_the_newest_stay);
    suite_add_tcase(s, tc);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
