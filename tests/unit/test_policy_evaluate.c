/* The policy language: who wins, what meets, what an unproven request is judged by. Each attack has its test. */
#include "policy/policy.h"

#include <check.h>
#include <gcrypt.h>
#include <stdlib.h>
#include <string.h>

static struct policy_set *set;
static const char *name = "host.example";
static struct policy_host host, hop;
static const char *hop_name = "hop.example";
static struct policy_token token;
static struct policy_facts facts;
static struct policy_verdict v;

static void load(const char *text)
{
    struct policy_errors e = {0};

    policy_unref(set);
    set = NULL;
    if (policy_load_text("p", text, strlen(text), "/h", &set, &e) != 0)
        ck_abort_msg("%s", e.n > 0 ? e.text[0] : "out of memory");
}

/* A proven login to host.example from this machine. */
static void reset(void)
{
    host = (struct policy_host){.fpr = "SHA256:hostkey", .names = &name, .nnames = 1};
    hop = (struct policy_host){.fpr = "SHA256:hopkey", .names = &hop_name, .nnames = 1};
    token = (struct policy_token){.kind = "gnuk", .serial = "00000042", .slot = "aut"};
    facts = (struct policy_facts){.use = "ssh-auth",
                                  .dest = &host,
                                  .proof = PROOF_HOSTBOUND,
                                  .user = "root",
                                  .via_known = true,
                                  .forwarded = TRI_NO,
                                  .key_fpr = "SHA256:key",
                                  .key_grip = "0123456789012345678901234567890123456789",
                                  .key_comment = "my key",
                                  .tokens = &token,
                                  .ntokens = 1,
                                  .client = "/usr/bin/ssh",
                                  .now = 1700000000};
}

static void judge(const char *text)
{
    load(text);
    policy_evaluate(set, &facts, &v);
}

static void in_slot(const char *kind, const char *slot)
{
    reset();
    token.kind = kind;
    token.slot = slot;
}

START_TEST(piv_slots_of_a_product)
{
    static const char text[] = "Match token piv\n Access deny\nMatch token yubikey\n Touch none\n";

    in_slot("yubikey", "piv-9a");
    judge(text);
    ck_assert(!v.allow);
    in_slot("yubikey", "aut");
    judge(text);
    ck_assert(v.allow && v.touch == TOUCH_NONE);
    in_slot("piv", "piv-9a");
    judge(text);
    ck_assert(!v.allow);
    in_slot("yubikey", "piv-9a");
    judge("Match !token piv\n Access deny\nMatch key yubikey-00000042/piv-9a\n Touch none\n");
    ck_assert(v.allow && v.touch == TOUCH_NONE);
}
END_TEST

static void unproven(void)
{
    facts.proof = PROOF_NONE;
    facts.dest = NULL;
    facts.forwarded = TRI_UNKNOWN;
    facts.via_known = false;
}

START_TEST(first_value_wins_per_setting)
{
    reset();
    judge("Host *.example\n Touch cached 1m\nMatch all\n Touch always\n Pin 10m\n");
    ck_assert_int_eq(v.touch, TOUCH_CACHED);
    ck_assert_uint_eq(v.touch_secs, 60);
    ck_assert_int_eq(v.pin, 600);
    ck_assert_int_eq(v.standin, STANDIN_CONFIRM);
    ck_assert_uint_eq(v.src[SET_TOUCH].line, 2);
    ck_assert_str_eq(v.src[SET_STANDIN].file, "built-in");
}
END_TEST

START_TEST(host_negation_kills_the_block)
{
    reset();
    judge("Host *.example !host.example\n Access deny\n");
    ck_assert(v.allow);
    judge("Host * !other.example\n Access deny\n");
    ck_assert(!v.allow);
    judge("Host SHA256:hostkey\n Access deny\n");
    ck_assert(!v.allow);
    host.names = (const char *const[]){"host.example", "www.example"}; /* one key, two names */
    host.nnames = 2;
    judge("Host www.example\n Access deny\n");
    ck_assert(!v.allow);
    judge(
        "Host *.example !www.example\n Access deny\nHost *.example !host.example\n Access deny\n");
    ck_assert(v.allow);
}
END_TEST

START_TEST(unproven_is_judged_by_the_strictest)
{
    reset();
    unproven();
    judge("Host a\n Touch cached 10s\n Confirm connection\nHost b\n Touch always\n Pin 5m\nMatch "
          "all\n Touch none\n");
    ck_assert_int_eq(v.touch, TOUCH_ALWAYS);
    ck_assert_int_eq(v.confirm, CONFIRM_CONNECTION);
    ck_assert_int_eq(v.pin, 300);
    ck_assert(v.unnamed);
    judge("Host a\n Access deny\nMatch all\n Access allow\n");
    ck_assert(!v.allow);
    judge("Host a !b\n Keys other\n");
    ck_assert(!v.allow);
    /* A laxer block above that holds for everybody shuts out no stricter host below. */
    judge("Match user root\n Touch none\nHost b\n Touch always\n Access deny\n");
    ck_assert_int_eq(v.touch, TOUCH_ALWAYS);
    ck_assert(!v.allow);
}
END_TEST

/* The other criteria of a host block must hold all the same. */
START_TEST(strictest_of_blocks_whose_other_criteria_hold)
{
    reset();
    unproven();
    judge("Match host a user nobody\n Access deny\n");
    ck_assert(v.allow);
    judge("Match host a user root\n Access deny\n");
    ck_assert(!v.allow);
}
END_TEST

START_TEST(unbound_block_is_the_one_way_to_less)
{
    reset();
    unproven();
    judge("Match unbound client /usr/bin/ssh\n Touch none\nHost b\n Touch always\n");
    ck_assert_int_eq(v.touch, TOUCH_NONE);
    judge("Match unbound client /opt/other\n Touch none\nHost b\n Touch always\n");
    ck_assert_int_eq(v.touch, TOUCH_ALWAYS);
    judge("Host b\n Touch always\nMatch unbound\n Touch none\n");
    ck_assert_int_eq(v.touch, TOUCH_ALWAYS);
    judge("Match proof none\n Touch none\nHost b\n Touch always\n");
    ck_assert_int_eq(v.touch, TOUCH_NONE);
}
END_TEST

/* A server whose key is in no known_hosts could be any name. */
START_TEST(proven_but_unnamed)
{
    reset();
    host.nnames = 0;
    judge("Host prod\n Access deny\n");
    ck_assert(!v.allow);
    judge("Host SHA256:otherkey\n Access deny\n");
    ck_assert(!v.allow);
    judge("Match unbound\n Access allow\nHost prod\n Access deny\n");
    ck_assert(!v.allow); /* it is proven: `unbound` does not hold */
}
END_TEST

/* Leaving the binding out must not shake off a rule for forwarded requests either. */
START_TEST(unknown_chain_counts_as_any)
{
    reset();
    unproven();
    judge("Match forwarded\n Confirm yes\n");
    ck_assert_int_eq(v.confirm, CONFIRM_YES);
    judge("Match via bastion\n Access deny\n");
    ck_assert(!v.allow);
}
END_TEST

/* A pattern for names must not meet a fingerprint by chance, nor the other way round. */
START_TEST(names_and_keys_are_matched_apart)
{
    reset();
    judge("Host S*\n Access deny\nHost *key\n Access deny\nHost *:*\n Access deny\n");
    ck_assert(v.allow);
    judge("Host SHA256:HOSTKEY\n Access deny\n");
    ck_assert(v.allow); /* fingerprints have case */
    judge("Host SHA256:host*\n Access deny\n");
    ck_assert(!v.allow);
    judge("Host * !SHA256:hostkey\n Access deny\n");
    ck_assert(v.allow);
    host.nnames = 0; /* a host without a name is one of "*" */
    judge("Host *\n Touch always\n");
    ck_assert_int_eq(v.touch, TOUCH_ALWAYS);
}
END_TEST

/* However many hosts have rates of their own: the one that could be any of them meets the strictest. */
START_TEST(no_rate_is_lost)
{
    reset();
    unproven();
    judge("Host a\n Rate 10/1m\nHost b\n Rate 11/1m\nHost c\n Rate 12/1m\nHost d\n Rate 13/1m\n"
          "Host e\n Rate 2/1h\n");
    ck_assert_uint_eq(v.nrates, POLICY_MAX_RATES);
    for (size_t i = 0; i < v.nrates; i++)
        if (v.rates[i].n <= 2 && v.rates[i].secs >= 3600)
            return;
    ck_abort_msg("no rate as strict as 2/1h");
}
END_TEST

START_TEST(namespaces_have_case)
{
    reset();
    facts.use = "sshsig:GIT";
    judge("Match use sshsig:git\n Access allow\nMatch use sshsig\n Access deny\n");
    ck_assert(!v.allow);
    judge("Match use SSHSIG:G*\n Access deny\n");
    ck_assert(!v.allow);
}
END_TEST

START_TEST(sudo_and_host_keys_are_uses_of_their_own)
{
    static const char *const uses[] = {"sudo",   "host-key", "raw",
                                       "ssh-ca", "ssh-auth", "sshsig:sudo"};

    reset();
    for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
        facts.use = uses[i];
        judge("Match use sudo,host-key\n Access deny\nMatch use raw\n Access allow\n");
        ck_assert_int_eq(v.allow, i >= 2);
    }
}
END_TEST

/* A path with a blank in it is one path. */
START_TEST(blanks_do_not_cut_patterns)
{
    reset();
    facts.client = "/opt/my app/ssh";
    judge("Match client \"/opt/my app/*\"\n Access deny\n");
    ck_assert(!v.allow);
    facts.client = "app/ssh";
    judge("Match client \"/opt/my app/*\"\n Access deny\n");
    ck_assert(v.allow);
}
END_TEST

START_TEST(keys_by_every_name)
{
    static const char *const names[] = {
        "SHA256:key",      "0123456789012345678901234567890123456789",
        "gnuk-42/auth",    "gnuk-00000042/aut",
        "gnuk/aut",        "\"my *\"",
        "nothing,gnuk/*",  "AAAAAAAAAAAAAAAAAAAAAAAABBBBBBBBBBBBBBBB",
        "bbbbbbbbbbbbbbbb"};
    static const char *const others[] = {"SHA256:KEY",  "gnuk-43/auth", "gnuk/sig",
                                         "yubikey/aut", "my",           "*,!gnuk/aut"};
    char text[128];

    reset();
    facts.key_openpgp = "AAAAAAAAAAAAAAAAAAAAAAAABBBBBBBBBBBBBBBB";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(text, sizeof text, "Match all\n Keys %s\n", names[i]);
        judge(text);
        ck_assert_msg(v.allow, "%s", names[i]);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        snprintf(text, sizeof text, "Match all\n Keys %s\n", others[i]);
        judge(text);
        ck_assert_msg(!v.allow, "%s", others[i]);
    }
}
END_TEST

START_TEST(unknown_facts_hold_neither_way)
{
    reset();
    facts.unit = NULL;
    judge("Match unit x.service\n Access deny\nMatch !unit x.service\n Access deny\n");
    ck_assert(v.allow);
    facts.client = NULL;
    judge("Match client /usr/bin/ssh\n Access deny\nMatch !client /usr/bin/ssh\n Access deny\n");
    ck_assert(v.allow);
    facts.user = NULL;
    judge("Match user root\n Access deny\nMatch !user root\n Access deny\n");
    ck_assert(v.allow);
    judge("Match parent /usr/bin/bash\n Access deny\nMatch !parent /usr/bin/bash\n Access deny\n");
    ck_assert(v.allow);
    facts.forwarded = TRI_UNKNOWN;
    facts.via_known = false;
    judge("Match forwarded\n Access deny\nMatch !forwarded\n Access deny\n"
          "Match via x\n Access deny\nMatch !via x\n Access deny\n");
    ck_assert(v.allow); /* the destination is proven and named: not any host's */
    facts.use = "sshsig:git";
    judge("Match unbound\n Access deny\nMatch !unbound\n Access deny\n"
          "Match proof none\n Access deny\nMatch !proof none\n Access deny\n");
    ck_assert(v.allow);
    facts.dest = NULL;
    judge("Host *\n Access deny\nMatch !host x\n Access deny\n");
    ck_assert(v.allow);
    facts.ntokens = 0;
    judge("Match token gnuk\n Access deny\nMatch !token gnuk\n Access deny\n");
    ck_assert(v.allow);
    facts.key_fpr = facts.key_grip = facts.key_comment = NULL;
    judge("Match key x\n Access deny\nMatch !key x\n Access deny\n");
    ck_assert(v.allow);
    facts.use = NULL;
    judge("Match use raw\n Access deny\nMatch !use raw\n Access deny\n");
    ck_assert(v.allow);
}
END_TEST

/* An ancestor that may not be looked at could be the one. */
START_TEST(unread_ancestors_are_unknown)
{
    static const char *const parents[] = {"/usr/bin/bash", "?"};

    reset();
    facts.parents = parents;
    facts.nparents = 2;
    judge("Match parent /usr/bin/bash\n Access deny\n");
    ck_assert(!v.allow);
    judge("Match parent /opt/x\n Access deny\nMatch !parent /opt/x\n Access deny\n");
    ck_assert(v.allow);
    facts.nparents = 1;
    judge("Match !parent /opt/x\n Access deny\n");
    ck_assert(!v.allow);
}
END_TEST

START_TEST(uses)
{
    reset();
    facts.use = "sshsig:git";
    judge("Match use sshsig\n Access deny\n");
    ck_assert(!v.allow);
    judge("Match use sshsig:file\n Access deny\n");
    ck_assert(v.allow);
    facts.use = "raw";
    judge("");
    ck_assert(!v.allow);
    judge("Match use raw\n Access allow\n");
    ck_assert(v.allow);
    facts.use = "export";
    judge("");
    ck_assert_int_eq(v.confirm, CONFIRM_YES);
}
END_TEST

START_TEST(via_forwarded_user_token_key)
{
    reset();
    facts.via = &hop;
    facts.nvia = 1;
    facts.forwarded = TRI_YES;
    judge("Match via hop.* forwarded user root token gnuk-42 key gnuk-42/auth\n Access deny\n");
    ck_assert(!v.allow);
    judge("Match via other\n Access deny\nMatch user git\n Access deny\nMatch token yubikey\n "
          "Access deny\n"
          "Match key SHA256:no\n Access deny\n");
    ck_assert(v.allow);
    judge("Match key \"my *\"\n Access deny\n");
    ck_assert(!v.allow);
}
END_TEST

START_TEST(hours)
{
    reset();
    setenv("TZ", "UTC", 1);
    tzset();
    facts.now = 1700000000; /* Tuesday 22:13 */
    judge("Match hours 22:00-06:00 days tue\n Access deny\n");
    ck_assert(!v.allow);
    facts.now += 5 * 3600; /* Wednesday 03:13: still Tuesday's night */
    judge("Match hours 22:00-06:00 days tue\n Access deny\n");
    ck_assert(!v.allow);
    judge("Match hours 09:00-18:00\n Access deny\n");
    ck_assert(v.allow);
}
END_TEST

START_TEST(listing_minds_keys_only)
{
    reset();
    facts.listing = true;
    facts.use = NULL;
    judge("Host host.example\n Keys other*\n");
    ck_assert(!v.allow);
    judge("Host host.example\n Access deny\n");
    ck_assert(v.allow);
}
END_TEST

static void expect_error(const char *text, const char *part)
{
    struct policy_errors e = {0};
    struct policy_set *p = NULL;

    ck_assert_uint_ne(policy_load_text("f", text, strlen(text), "/h", &p, &e), 0);
    ck_assert_uint_ge(e.n, 1);
    if (strstr(e.text[0], part) == NULL)
        ck_abort_msg("\"%s\" not in: %s", part, e.text[0]);
    policy_errors_free(&e);
}

START_TEST(errors_name_place_and_remedy)
{
    expect_error(
        "Host a\n  Tuoch always\n",
        "f:2:3: unknown keyword \"Tuoch\"; did you mean \"Touch\"?\n    Tuoch always\n    ^");
    expect_error("Match clinet /x\n", "did you mean \"client\"");
    expect_error("Match use git-comit\n", "did you mean \"git-commit\"");
    expect_error("Touch alwys\n", "did you mean \"always\"");
    expect_error("Touch cached\n", "wants a duration");
    expect_error("Touch cached 5x\n", "f:1:14: \"5x\" is no duration");
    expect_error("Pin \"x\n", "not closed");
    expect_error("Keys /nonexistent/key.pub\n", "No such file");
    expect_error("Match token yubkey\n", "did you mean \"yubikey\"");
    expect_error("Match hours 9-18\n", "09:00-18:00");
    expect_error("Confirm yes no\n", "more than Confirm takes");
    expect_error("Host\n", "wants one pattern");
    expect_error("Include x\n", "cannot be used here");
    expect_error("Host !a !b\n", "f:1:6: only negated items, so this never holds");
    expect_error("Match use !raw\n", "write \"!use ...\"");
    expect_error("Match key !x\n", "never holds");
    expect_error("Keys !x\n", "only negated keys");
    expect_error("Match user a,,b\n", "f:1:14: an empty item");
    expect_error("Match user !\n", "an empty item");
}
END_TEST

START_TEST(all_problems_in_one_pass)
{
    struct policy_errors e = {0};
    struct policy_set *p = NULL;
    const char *text = "Tuoch x\nMatch\nPin never\n";

    ck_assert_uint_ne(policy_load_text("f", text, strlen(text), "/h", &p, &e), 0);
    ck_assert_uint_eq(e.n, 3);
    policy_errors_free(&e);
}
END_TEST

static bool loosens(const char *from, const char *to)
{
    struct policy_set *a, *b;
    struct policy_errors e = {0};
    char *changes = NULL;
    bool result;

    ck_assert_uint_eq(policy_load_text("p", from, strlen(from), "/h", &a, &e), 0);
    ck_assert_uint_eq(policy_load_text("p", to, strlen(to), "/h", &b, &e), 0);
    result = policy_loosens(a, b, &changes);
    ck_assert_ptr_nonnull(changes);
    gpgrt_free(changes);
    policy_unref(a);
    policy_unref(b);
    return result;
}

START_TEST(loosening_is_seen)
{
    ck_assert(!loosens("Match all\n Touch always\n", "Match all\n Touch always\n"));
    ck_assert(!loosens("Match all\n Touch cached 5m\n",
                       "Host x\n Access deny\nMatch all\n Touch cached 5m\n"));
    ck_assert(loosens("Match all\n Touch always\n", "Match all\n Touch none\n"));
    ck_assert(loosens("Match all\n Touch always\n", ""));
    ck_assert(
        loosens("Match all\n Touch always\n", "Host x\n Touch none\nMatch all\n Touch always\n"));
    ck_assert(loosens("Host x\n Access deny\n", "Host y\n Access deny\n"));
    ck_assert(loosens("Host a\n Touch always\nMatch all\n Touch none\n",
                      "Match all\n Touch none\nHost a\n Touch always\n"));
}
END_TEST

START_TEST(patterns_and_durations)
{
    unsigned secs;

    ck_assert(policy_match_pattern("*.EXAMPLE.com", "a.example.com", true));
    ck_assert(!policy_match_pattern("*.EXAMPLE.com", "a.example.com", false));
    ck_assert(policy_match_pattern("a?c*", "abcdef", false));
    ck_assert(!policy_match_pattern("a?c", "ac", false));
    ck_assert_int_eq(policy_match_list("*.b,!a.b", "a.b", false), -1);
    ck_assert_int_eq(policy_match_list("*.b, x", "c.b", false), 1);
    ck_assert_int_eq(policy_match_list("!a.b", "c.b", false), 0);
    ck_assert_uint_eq(policy_parse_duration("1h30m", &secs), 0);
    ck_assert_uint_eq(secs, 5400);
    ck_assert_uint_eq(policy_parse_duration("90", &secs), 0);
    ck_assert_uint_eq(secs, 90);
    ck_assert_uint_ne(policy_parse_duration("", &secs), 0);
    ck_assert_uint_ne(policy_parse_duration("5y", &secs), 0);
    ck_assert_uint_ne(policy_parse_duration("99999999999", &secs), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("policy");
    TCase *t = tcase_create("language");
    SRunner *r;
    int failed;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    tcase_add_test(t, piv_slots_of_a_product);
    tcase_add_test(t, first_value_wins_per_setting);
    tcase_add_test(t, host_negation_kills_the_block);
    tcase_add_test(t, unproven_is_judged_by_the_strictest);
    tcase_add_test(t, strictest_of_blocks_whose_other_criteria_hold);
    tcase_add_test(t, unbound_block_is_the_one_way_to_less);
    tcase_add_test(t, proven_but_unnamed);
    tcase_add_test(t, unknown_chain_counts_as_any);
    tcase_add_test(t, names_and_keys_are_matched_apart);
    tcase_add_test(t, no_rate_is_lost);
    tcase_add_test(t, namespaces_have_case);
    tcase_add_test(t, sudo_and_host_keys_are_uses_of_their_own);
    tcase_add_test(t, blanks_do_not_cut_patterns);
    tcase_add_test(t, keys_by_every_name);
    tcase_add_test(t, unknown_facts_hold_neither_way);
    tcase_add_test(t, unread_ancestors_are_unknown);
    tcase_add_test(t, uses);
    tcase_add_test(t, via_forwarded_user_token_key);
    tcase_add_test(t, hours);
    tcase_add_test(t, listing_minds_keys_only);
    tcase_add_test(t, errors_name_place_and_remedy);
    tcase_add_test(t, all_problems_in_one_pass);
    tcase_add_test(t, loosening_is_seen);
    tcase_add_test(t, patterns_and_durations);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    policy_unref(set);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
