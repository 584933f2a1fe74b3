/* Destination constraints as OpenSSH's ssh-agent enforces them, and the proofs of a destination. */
#include "agent/destination.h"
#include "tests/unit/fakes_broker.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct key_constraints limits;

/* One constraint: FROM NULL is this machine. Keys are borrowed for the time of a test. */
static void permit(struct key *from, struct key *to, const char *user)
{
    struct dest_constraint *d;

    limits.dest = gpgrt_realloc(limits.dest, (limits.ndest + 1) * sizeof *limits.dest);
    d = &limits.dest[limits.ndest++];
    *d = (struct dest_constraint){0};
    if (from != NULL) {
        d->from.hostname = gpgrt_strdup("from");
        d->from.keys = gpgrt_calloc(1, sizeof *d->from.keys);
        d->from.keys[0].key = key_ref(from);
        d->from.nkeys = 1;
    }
    d->to.hostname = gpgrt_strdup("to");
    d->to.user = user != NULL ? gpgrt_strdup(user) : NULL;
    d->to.keys = gpgrt_calloc(1, sizeof *d->to.keys);
    d->to.keys[0].key = key_ref(to);
    d->to.nkeys = 1;
}

static void setup(void)
{
    world_new("", "software", TOKEN_TOUCH_NEVER, TOKEN_PIN_NONE);
    limits = (struct key_constraints){0};
}

static void teardown(void)
{
    constraints_free(&limits);
    world_free();
}

static bool permitted(bool sign, const char *user, bool hostbound)
{
    struct buf data = BUF_INIT;
    struct signdata d = {0};
    const char *why = NULL;
    bool ok;

    if (sign) {
        world_userauth(&data, user, hostbound);
        ck_assert_uint_eq(signdata_parse(buf_rd(&data), world.id.key, &d), 0);
        ck_assert_int_eq(d.kind, SIGNDATA_USERAUTH);
    }
    ok = destination_permitted(&limits, &world.origin, sign ? &d : NULL, &why);
    ck_assert(ok == (why == NULL));
    signdata_clear(&d);
    buf_free(&data);
    return ok;
}

START_TEST(no_constraints_permit_all)
{
    setup();
    ck_assert(permitted(true, "root", true));
    ck_assert(permitted(false, NULL, false));
    teardown();
}
END_TEST

START_TEST(unbound_lists_but_does_not_sign)
{
    setup();
    permit(NULL, world.host, NULL);
    ck_assert(permitted(false, NULL, false));
    ck_assert(!permitted(true, "root", true));
    world.origin.bind_attempted = true; /* a bind came and failed */
    ck_assert(!permitted(false, NULL, false));
    teardown();
}
END_TEST

START_TEST(bound_to_the_permitted_host)
{
    setup();
    permit(NULL, world.host, "git*");
    world_bind(false);
    ck_assert(permitted(false, NULL, false));
    ck_assert(permitted(true, "git", true));
    ck_assert(permitted(true, "git", false));
    ck_assert(!permitted(true, "root", true));
    teardown();
}
END_TEST

START_TEST(other_host_is_refused)
{
    setup();
    permit(NULL, world.id.key, NULL); /* some key that is not the host's */
    world_bind(false);
    ck_assert(!permitted(false, NULL, false));
    ck_assert(!permitted(true, "root", true));
    teardown();
}
END_TEST

START_TEST(forwarding_needs_each_hop)
{
    setup();
    permit(NULL, world.host, NULL);
    world_bind(true);
    ck_assert(!permitted(false, NULL, false)); /* nothing leads on from the host */
    ck_assert(!permitted(true, "root", true)); /* and the last bind forwards */
    world_bind(false);
    ck_assert(!permitted(true, "root", true));
    permit(world.host, world.host, NULL);
    ck_assert(permitted(true, "root", true));
    ck_assert(!permitted(true, "root", false)); /* forwarded: the data must name the server */
    teardown();
}
END_TEST

START_TEST(other_session_is_refused)
{
    setup();
    permit(NULL, world.host, NULL);
    world_bind(false);
    world.origin.binds[0].sid[3] ^= 1;
    ck_assert(!permitted(true, "root", true));
    teardown();
}
END_TEST

START_TEST(only_authentications)
{
    struct buf data = BUF_INIT;
    struct signdata d = {0};
    const char *why = NULL;

    setup();
    permit(NULL, world.host, NULL);
    world_bind(false);
    world_sshsig(&data, "git");
    ck_assert_uint_eq(signdata_parse(buf_rd(&data), world.id.key, &d), 0);
    ck_assert_int_eq(d.kind, SIGNDATA_SSHSIG);
    ck_assert(!destination_permitted(&limits, &world.origin, &d, &why));
    signdata_clear(&d);
    buf_free(&data);
    teardown();
}
END_TEST

static void find(struct destination *d, bool hostbound)
{
    struct buf data = BUF_INIT;
    struct signdata s = {0};

    world_userauth(&data, "root", hostbound);
    ck_assert_uint_eq(signdata_parse(buf_rd(&data), world.id.key, &s), 0);
    ck_assert_uint_eq(destination_find(&world.agent, &world.origin, &s, NULL, d), 0);
    ck_assert_int_eq(d->known, d->proof != PROOF_NONE);
    signdata_clear(&s);
    buf_free(&data);
}

START_TEST(proofs)
{
    struct destination d;

    setup();
    find(&d, true);
    ck_assert_int_eq(d.proof, PROOF_HOSTBOUND); /* unbound, but the data names its server */
    ck_assert_int_eq(d.forwarded, TRI_UNKNOWN);
    destination_clear(&d);
    find(&d, false);
    ck_assert_int_eq(d.proof, PROOF_NONE);
    destination_clear(&d);
    world_bind(false);
    find(&d, false);
    ck_assert_int_eq(d.proof, PROOF_BOUND);
    ck_assert_int_eq(d.forwarded, TRI_NO);
    destination_clear(&d);
    world.origin.binds[0].sid[3] ^= 1; /* bound for another session than the one that is signed */
    find(&d, false);
    ck_assert_int_eq(d.proof, PROOF_NONE);
    destination_clear(&d);
    find(&d, true);
    ck_assert_int_eq(d.proof, PROOF_NONE);
    destination_clear(&d);
    world.origin.binds[0].sid[3] ^= 1;
    world.origin.binds[0].forwarding =
        true; /* a remote program signs straight on the forwarded channel */
    find(&d, true);
    ck_assert_int_eq(d.proof, PROOF_NONE);
    ck_assert_int_eq(d.forwarded, TRI_YES);
    ck_assert_uint_eq(d.nhops, 1);
    destination_clear(&d);
    world_bind(false);
    find(&d, true);
    ck_assert_int_eq(d.proof, PROOF_HOSTBOUND);
    ck_assert_uint_eq(d.nhops, 2);
    destination_clear(&d);
    find(&d, false);
    ck_assert_int_eq(d.proof, PROOF_NONE);
    destination_clear(&d);
    teardown();
}
END_TEST

/* "ssh first" forwards its agent; what it was told to connect to is no name of the hosts behind. */
START_TEST(the_command_line_names_the_first_host_only)
{
    struct destination d;

    setup();
    world.who.ssh_host = (char *)(uintptr_t) "first";
    world_bind(false);
    find(&d, true);
    ck_assert_uint_eq(world.asked, 1);
    destination_clear(&d);
    world.origin.binds[0].forwarding = true;
    world_bind(true);
    world_bind(false);
    world.asked = 0;
    find(&d, true);
    ck_assert_uint_eq(d.nhops, 3);
    ck_assert_uint_eq(world.asked, 1);
    destination_clear(&d);
    teardown();
}
END_TEST

/* The last bind's owner claims one host, the data names another. */
START_TEST(foreign_bind_key_is_no_proof)
{
    struct destination d;

    setup();
    world_bind(false);
    key_unref(world.origin.binds[0].hostkey);
    world.origin.binds[0].hostkey = key_ref(world.id.key);
    find(&d, true);
    ck_assert_int_eq(d.proof, PROOF_NONE);
    destination_clear(&d);
    teardown();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("agent destination");
    TCase *t = tcase_create("destination");
    SRunner *r;
    int failed;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_ENABLE_QUICK_RANDOM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, no_constraints_permit_all);
    tcase_add_test(t, unbound_lists_but_does_not_sign);
    tcase_add_test(t, bound_to_the_permitted_host);
    tcase_add_test(t, other_host_is_refused);
    tcase_add_test(t, forwarding_needs_each_hop);
    tcase_add_test(t, other_session_is_refused);
    tcase_add_test(t, only_authentications);
    tcase_add_test(t, proofs);
    tcase_add_test(t, the_command_line_names_the_first_host_only);
    tcase_add_test(t, foreign_bind_key_is_no_proof);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
