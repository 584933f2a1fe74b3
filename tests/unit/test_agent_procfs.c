/* What /proc says, and ssh's command line. */
#include "agent/procfs.h"
#include "agent/requester.h"

#include <check.h>
#include <gcrypt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *destination(const char *args, size_t n)
{
    static char text[256];
    struct proc_strings s;
    char *host, *port;

    ck_assert_uint_eq(proc_strings_parse(args, n, &s), 0);
    proc_ssh_destination(&s, &host, &port);
    snprintf(text, sizeof text, "%s %s", host != NULL ? host : "-", port != NULL ? port : "-");
    gpgrt_free(host);
    gpgrt_free(port);
    proc_strings_free(&s);
    return text;
}
#define DEST(s) destination(s, sizeof(s))

START_TEST(ssh_command_lines)
{
    ck_assert_str_eq(DEST("ssh\0host"), "host -");
    ck_assert_str_eq(DEST("ssh\0-p\0002222\0me@Host.Example\0cmd\0-p\0001"), "host.example 2222");
    ck_assert_str_eq(DEST("ssh\0-vp2222\0host"), "host 2222");
    ck_assert_str_eq(DEST("ssh\0host\0-p\0002222\0cmd"), "host 2222");
    ck_assert_str_eq(DEST("ssh\0ssh://me@host:99/"), "host 99");
    ck_assert_str_eq(DEST("ssh\0ssh://[::1]:99"), "::1 99");
    ck_assert_str_eq(DEST("ssh\0-oPort=7\0-o\0HostName real\0alias"), "real 7");
    ck_assert_str_eq(DEST("ssh\0-oHostKeyAlias=known\0-p\0007\0host"), "known -");
    ck_assert_str_eq(DEST("ssh\0-l\0me\0-i\0key\0--\0host"), "host -");
    ck_assert_str_eq(DEST("ssh\0-V"), "- -");
    ck_assert_str_eq(DEST("ssh\0-p"), "- -");
}
END_TEST

START_TEST(stat_with_a_tricky_name)
{
    struct proc_stat st;

    ck_assert_uint_eq(
        proc_stat_parse("12 (a) R 1) S 34 5 6 34816 6 4194304 1 1 1 1 1 1 1 1 20 0 1 0 777 1 1",
                        &st),
        0);
    ck_assert_int_eq(st.ppid, 34);
    ck_assert_int_eq(st.session, 6);
    ck_assert_uint_eq(st.start_time, 777);
    ck_assert_uint_ne(proc_stat_parse("12 (x", &st), 0);
    ck_assert_uint_ne(proc_stat_parse("", &st), 0);
}
END_TEST

static void expect_unit(const char *cgroup, const char *unit)
{
    char *u = proc_unit_parse(cgroup);

    if (unit == NULL)
        ck_assert_ptr_null(u);
    else
        ck_assert_str_eq(u, unit);
    gpgrt_free(u);
}

START_TEST(units)
{
    expect_unit("0::/user.slice/user-1000.slice/user@1000.service/app.slice/firefox.scope\n",
                "firefox.scope");
    expect_unit("12:cpu:/x\n1:name=systemd:/system.slice/cron.service/sub\n", "cron.service");
    expect_unit("0::/docker/0123abc\n", "0123abc");
    expect_unit("0::/\n", NULL);
    expect_unit("", NULL);
}
END_TEST

START_TEST(terminals)
{
    char *t = proc_tty_name(136u << 8 | 3);

    ck_assert_str_eq(t, "/dev/pts/3");
    gpgrt_free(t);
    ck_assert_ptr_null(proc_tty_name(0));
}
END_TEST

START_TEST(a_peer)
{
    struct requester *r = NULL;
    int pair[2];
    char *text;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ck_assert_uint_eq(requester_new(pair[0], &r), 0);
    ck_assert_int_eq(r->pid, getpid());
    ck_assert_ptr_nonnull(r->exe);
    ck_assert_ptr_nonnull(strstr(r->exe, "test_agent_procfs"));
    ck_assert(!r->root_owned_ssh);
    ck_assert(requester_alive(r));
    text = requester_describe(r);
    ck_assert_ptr_nonnull(strstr(text, r->exe));
    gpgrt_free(text);
    text = requester_scope(r);
    ck_assert_ptr_nonnull(text);
    gpgrt_free(text);
    requester_free(r);

    close(pair[0]);
    close(pair[1]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("procfs");
    TCase *t = tcase_create("facts");
    SRunner *r;
    int failed;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    tcase_add_test(t, ssh_command_lines);
    tcase_add_test(t, stat_with_a_tricky_name);
    tcase_add_test(t, units);
    tcase_add_test(t, terminals);
    tcase_add_test(t, a_peer);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
