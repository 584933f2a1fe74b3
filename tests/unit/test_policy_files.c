/* Which files make up a policy: who may write them, what they include, how both sides' demands meet, and what counts as a
 * change. */
#include "policy/policy.h"

#include <check.h>
#include <gcrypt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static struct policy_set *set;
static struct policy_errors errors;
static struct policy_verdict v;
static struct policy_facts facts;
static const char *names[1] = {"host.example"};
static struct policy_host host = {.fpr = "SHA256:hostkey", .names = names, .nnames = 1};
static const char blob[] = "AAAAC3NzaC1lZDI1NTE5AAAAIJ8bUVUzrHqRWnWTvWfrTTLEEmsKVsL4W6k+KfS5JhZv";

static void sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void sh(const char *fmt, ...)
{
    char command[512], whole[640];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    snprintf(whole, sizeof whole, "cd %s && %s", dir, command);
    ck_assert_msg(system(whole) == 0, "%s", whole);
}

static void put(const char *name, const char *text)
{
    char path[160];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
    ck_assert_int_eq(chmod(path, 0600), 0);
}

static void setup(void)
{
    strcpy(dir, "/tmp/lkpolXXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    set = NULL;
    errors = (struct policy_errors){0};
    facts = (struct policy_facts){.use = "ssh-auth",
                                  .dest = &host,
                                  .proof = PROOF_HOSTBOUND,
                                  .user = "root",
                                  .via_known = true,
                                  .forwarded = TRI_NO,
                                  .key_fpr = "SHA256:key",
                                  .key_b64 = blob,
                                  .client = "/usr/bin/ssh",
                                  .now = 1700000000};
}

static void teardown(void)
{
    char command[128];

    policy_unref(set);
    policy_errors_free(&errors);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

/* admin, admin.d and user in the test's directory. */
static gpg_error_t load_into(struct policy_set **out)
{
    char admin[128], admin_dir[128], user[128];
    struct policy_paths paths = {.admin_file = admin,
                                 .admin_dir = admin_dir,
                                 .user_file = user,
                                 .home = dir,
                                 .uid = getuid()};

    snprintf(admin, sizeof admin, "%s/admin", dir);
    snprintf(admin_dir, sizeof admin_dir, "%s/admin.d", dir);
    snprintf(user, sizeof user, "%s/user", dir);
    policy_errors_free(&errors);
    return policy_load(&paths, out, &errors);
}

static void judge(void)
{
    policy_unref(set);
    set = NULL;
    if (load_into(&set) != 0)
        ck_abort_msg("%s", errors.n > 0 ? errors.text[0] : "?");
    policy_evaluate(set, &facts, &v);
}

static void refused(const char *why)
{
    struct policy_set *p = NULL;

    ck_assert_uint_ne(load_into(&p), 0);
    ck_assert_ptr_null(p);
    ck_assert_uint_ge(errors.n, 1);
    ck_assert_msg(strstr(errors.text[0], why) != NULL, "\"%s\" not in: %s", why, errors.text[0]);
}

/* The floor: whatever the person's file says, the administrator's demands stay. */
START_TEST(two_files_meet)
{
    put("admin",
        "Match all\n Touch cached 30s max 100\n Pin 1h\n Rate 5/1m\n Notify no\n Timeout 9s\n");
    put("user",
        "Match all\n Touch cached 5m max 10\n Pin 10m\n Rate 7/1h\n Confirm yes\n Notify yes\n");
    judge();
    ck_assert_int_eq(v.touch, TOUCH_CACHED);
    ck_assert_uint_eq(v.touch_secs, 30);
    ck_assert_uint_eq(v.touch_max, 10);
    ck_assert_int_eq(v.pin, 600);
    ck_assert_uint_eq(v.nrates, 2);
    ck_assert_int_eq(v.confirm, CONFIRM_YES);
    ck_assert(v.notify);             /* the person's */
    ck_assert_uint_eq(v.timeout, 9); /* of which the person says nothing */
}
END_TEST

/* One setting at a time: a floor that the person's file tries to get under. */
START_TEST(no_floor_can_be_got_under)
{
    static const struct {
        const char *floor, *wish;
    } cases[] = {
        {"Access deny", "Access allow"},
        {"Touch always", "Touch none"},
        {"Touch cached 1s", "Touch none"},
        {"Touch always", "Touch cached 1s"},
        {"StandIn deny", "StandIn confirm"},
        {"StandIn fido", "StandIn confirm"},
        {"Pin always", "Pin session"},
        {"Pin 1m", "Pin 1h"},
        {"AfterUse drop", "AfterUse leave"},
        {"Confirm yes", "Confirm no"},
        {"Confirm connection", "Confirm no"},
        {"Forwarded deny", "Forwarded allow"},
        {"Forwarded confirm", "Forwarded allow"},
        {"Keys other", "Keys *"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct policy_verdict floor;
        char text[128];

        /* What the floor alone says, of a person without a word. */
        snprintf(text, sizeof text, "Match all\n %s\n", cases[i].floor);
        put("admin", text);
        put("user", "");
        judge();
        floor = v;
        snprintf(text, sizeof text, "Match unbound\n %s\nMatch all\n %s\n", cases[i].wish,
                 cases[i].wish);
        put("user", text);
        judge();
        ck_assert_msg(v.allow == floor.allow && v.touch >= floor.touch &&
                          v.standin == floor.standin && v.pin == floor.pin &&
                          v.afteruse == floor.afteruse && v.confirm == floor.confirm &&
                          v.forwarded == floor.forwarded,
                      "%s", cases[i].floor);
    }
}
END_TEST

START_TEST(admin_rates_are_never_crowded_out)
{
    put("admin", "Match all\n Rate 1/1d\n");
    put("user",
        "Host a\n Rate 10/1m\nHost b\n Rate 11/1m\nHost c\n Rate 12/1m\nHost d\n Rate 13/1m\n");
    facts.proof = PROOF_NONE;
    facts.dest = NULL;
    judge();
    for (size_t i = 0; i < v.nrates; i++)
        if (v.rates[i].n == 1 && v.rates[i].secs >= 86400)
            return;
    ck_abort_msg("the administrator's rate is gone");
}
END_TEST

START_TEST(admin_directory_in_order)
{
    sh("mkdir -m 755 admin.d");
    put("admin.d/20.conf", "Touch always\n");
    put("admin.d/10.conf", "Touch cached 5s\n");
    put("admin.d/note.txt", "Tuoch\n");
    judge();
    ck_assert_int_eq(v.touch, TOUCH_CACHED);
    ck_assert_uint_eq(v.touch_secs, 5);
}
END_TEST

/* --- who may write ---------------------------------------------------------------------------------------- */

START_TEST(files_of_others_are_refused)
{
    put("user", "Touch none\n");
    sh("chmod 620 user");
    refused("can be written by others (mode 0620)");
    sh("chmod 602 user");
    refused("chmod go-w");
    sh("chmod 600 user; chmod g+w .");
    refused("can be written by others");
    sh("chmod g-w .");
    judge();
    if (getuid() == 0) {
        sh("chown 12345 user");
        refused("belongs to uid 12345");
    }
}
END_TEST

START_TEST(links_lead_to_nothing_of_others)
{
    sh("mkdir -m 755 good; mkdir -m 777 bad");
    put("good/policy", "Touch none\n");
    sh("ln -s good/policy user");
    judge();
    ck_assert_int_eq(v.touch, TOUCH_NONE);
    /* The file is fine, but everybody may say which file it is. */
    sh("ln -s ../good/policy bad/link; ln -sf bad/link user");
    refused("bad can be written by others");
    sh("rm user; ln -s bad/../good/policy user");
    refused("bad can be written by others");
    sh("rm user; ln -s good/nothing user");
    refused("leads to nothing");
    sh("rm user; ln -s user user");
    refused("");
    if (getuid() == 0) {
        sh("rm user; mkdir -m 1777 sticky; ln -s ../good/policy sticky/link; chown -h 12345 "
           "sticky/link");
        sh("ln -s sticky/link user");
        refused("sticky/link belongs to uid 12345");
        sh("chown -h 0 sticky/link");
        judge();
    }
}
END_TEST

START_TEST(only_regular_files)
{
    sh("mkfifo user");
    refused("no regular file");
    sh("rm user; mkdir user");
    refused("no regular file");
}
END_TEST

/* An administrator's directory that cannot be read is not an empty one. */
START_TEST(what_cannot_be_read_is_a_problem)
{
    sh("mkdir -m 755 admin.d");
    put("admin.d/10.conf", "Access deny\n");
    if (getuid() == 0) {
        sh("rm -r admin.d; ln -s loop admin.d; ln -s admin.d loop");
        refused("admin.d");
        return;
    }
    sh("chmod 000 admin.d");
    refused("admin.d");
    sh("chmod 755 admin.d");
}
END_TEST

/* --- Include ------------------------------------------------------------------------------------------------ */

START_TEST(include_at_the_top)
{
    put("user", "Include inc*\nTouch always\n");
    put("inc1", "Host other\n Touch none\nHost host.example\n Pin 5m\n");
    put("inc2", "Confirm yes\n");
    judge();
    ck_assert_int_eq(v.touch, TOUCH_ALWAYS);
    ck_assert_int_eq(v.pin, 300);
    ck_assert_int_eq(v.confirm, CONFIRM_YES);
}
END_TEST

/* As in ssh_config: inside a block it is the block's. What relaxes one host must not relax all. */
START_TEST(include_inside_a_block)
{
    put("user", "Host trusted.example\n Include lax\n Pin session\nMatch all\n Touch always\n Pin "
                "always\n");
    put("lax", "Touch none\nMatch user root\n Access deny\n");
    judge();
    ck_assert_int_eq(v.touch, TOUCH_ALWAYS);
    ck_assert_int_eq(v.pin, 0);
    ck_assert(v.allow);
    names[0] = "trusted.example";
    judge();
    ck_assert_int_eq(v.touch, TOUCH_NONE);
    ck_assert_int_eq(v.pin, POLICY_PIN_SESSION);
    ck_assert(!v.allow);
    facts.user = "ann";
    judge();
    ck_assert(v.allow);
    names[0] = "host.example";
}
END_TEST

START_TEST(include_inside_includes)
{
    char *text = NULL;
    size_t n;
    FILE *f;

    put("user", "Match user root\n Include a\n Timeout 5s\n");
    put("a", "Host x host.example\n Include b\n Confirm yes\n");
    put("b", "Pin always\nMatch client /usr/bin/ssh\n AfterUse drop\n");
    judge();
    ck_assert_int_eq(v.pin, 0);
    ck_assert_int_eq(v.afteruse, AFTERUSE_DROP);
    ck_assert_int_eq(v.confirm, CONFIRM_YES);
    ck_assert_uint_eq(v.timeout, 5);
    f = open_memstream(&text, &n);
    policy_print(set, f);
    fclose(f);
    ck_assert_ptr_nonnull(
        strstr(text, "Match user root host x,host.example client /usr/bin/ssh\n"));
    free(text);
    facts.user = "ann";
    judge();
    ck_assert_int_eq(v.pin, POLICY_PIN_SESSION);
    ck_assert_int_eq(v.afteruse, AFTERUSE_DEFAULT);
    ck_assert_uint_eq(v.timeout, 60);
}
END_TEST

START_TEST(includes_that_fail)
{
    put("user", "Include user\n");
    refused("does a file include itself");
    put("user", "Include nothing\n");
    refused("user:1:9");
    put("user", "Include no*thing\n");
    judge();
    put("user", "Include inc\n");
    put("inc", "Touch none\n");
    sh("chmod 666 inc");
    refused("can be written by others");
}
END_TEST

/* --- what is a change ---------------------------------------------------------------------------------------- */

static bool loosens(struct policy_set *old, char **changes)
{
    struct policy_set *p = NULL;
    bool less;

    ck_assert_uint_eq(load_into(&p), 0);
    ck_assert_str_ne(policy_hash(old), policy_hash(p));
    less = policy_loosens(old, p, changes);
    policy_unref(p);
    return less;
}

/* Who changes the file that a rule names changes the rule. */
START_TEST(keys_in_files_are_a_part_of_the_policy)
{
    char line[128], *changes = NULL;
    bool listed = false;

    snprintf(line, sizeof line, "# mine\nssh-ed25519 %s me\n", blob);
    put("id.pub", line);
    put("user", "Match key ~/id.pub\n Access deny\nHost *\n Keys ~/id.pub\n");
    judge();
    ck_assert(!v.allow);
    for (size_t i = 0; policy_files(set)[i] != NULL; i++)
        listed = listed || strstr(policy_files(set)[i], "/id.pub") != NULL;
    ck_assert(listed);
    put("id.pub", "ssh-ed25519 AAAAother me\n");
    ck_assert(loosens(set, &changes));
    ck_assert_ptr_nonnull(
        strstr(changes, "! Match key ~/id.pub  (the file holds another key now)"));
    ck_assert_ptr_nonnull(strstr(changes, "!     Keys ~/id.pub"));
    gpgrt_free(changes);
    sh("chmod 666 id.pub");
    refused("id.pub can be written by others");
    put("id.pub", "nothing\n");
    refused("no public key in this file");
}
END_TEST

START_TEST(hashes_change_with_the_texts)
{
    char whole[65], person[65];

    put("admin", "Pin 1h\n");
    put("user", "Touch none\n");
    judge();
    strcpy(whole, policy_hash(set));
    strcpy(person, policy_person_hash(set));
    judge();
    ck_assert_str_eq(policy_hash(set), whole);
    put("admin", "Pin 2h\n");
    judge();
    ck_assert_str_ne(policy_hash(set), whole);
    ck_assert_str_eq(policy_person_hash(set), person);
    put("user", "Touch none \n");
    judge();
    ck_assert_str_ne(policy_person_hash(set), person);
}
END_TEST

START_TEST(sides_can_be_joined)
{
    struct policy_set *old, *joined = NULL;

    put("admin", "Confirm no\n");
    put("user", "Touch none\n");
    judge();
    old = policy_ref(set);
    put("admin", "Confirm yes\n");
    put("user", "Touch always\n");
    judge();
    ck_assert_uint_eq(policy_join(set, old, &joined), 0);
    policy_unref(old);
    policy_evaluate(joined, &facts, &v);
    ck_assert_int_eq(v.confirm, CONFIRM_YES);
    ck_assert_int_eq(v.touch, TOUCH_NONE);
    ck_assert_str_ne(policy_hash(joined), policy_hash(set));
    policy_unref(joined);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("policy files");
    TCase *t = tcase_create("files");
    SRunner *r;
    int failed;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, two_files_meet);
    tcase_add_test(t, no_floor_can_be_got_under);
    tcase_add_test(t, admin_rates_are_never_crowded_out);
    tcase_add_test(t, admin_directory_in_order);
    tcase_add_test(t, files_of_others_are_refused);
    tcase_add_test(t, links_lead_to_nothing_of_others);
    tcase_add_test(t, only_regular_files);
    tcase_add_test(t, what_cannot_be_read_is_a_problem);
    tcase_add_test(t, include_at_the_top);
    tcase_add_test(t, include_inside_a_block);
    tcase_add_test(t, include_inside_includes);
    tcase_add_test(t, includes_that_fail);
    tcase_add_test(t, keys_in_files_are_a_part_of_the_policy);
    tcase_add_test(t, hashes_change_with_the_texts);
    tcase_add_test(t, sides_can_be_joined);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
