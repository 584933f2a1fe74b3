/* latchkey-agent's command line is ssh-agent's. */
#include "agent/options.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct options o;

/* Words separated by blanks, after the program's name. */
static gpg_error_t parse(const char *line, const char *shell)
{
    static char text[256], name[] = "latchkey-agent", *argv[16];
    char *save = NULL;
    int argc = 0;

    snprintf(text, sizeof text, "%s", line);
    argv[argc++] = name;
    for (char *w = strtok_r(text, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    argv[argc] = NULL;
    return options_parse(argc, argv, shell, &o);
}

START_TEST(modes)
{
    ck_assert_uint_eq(parse("", "/bin/sh"), 0);
    ck_assert_int_eq(o.mode, MODE_FORK);
    ck_assert(!o.csh);
    ck_assert_uint_eq(parse("", "/bin/tcsh"), 0);
    ck_assert(o.csh);
    ck_assert_uint_eq(parse("-s -a /x", "/bin/csh"), 0);
    ck_assert(!o.csh);
    ck_assert_str_eq(o.socket, "/x");
    ck_assert_uint_eq(parse("-k", NULL), 0);
    ck_assert_int_eq(o.mode, MODE_KILL);
    ck_assert_uint_eq(parse("-D -t 1h", NULL), 0);
    ck_assert_int_eq(o.mode, MODE_FOREGROUND);
    ck_assert_uint_eq(o.life, 3600);
    ck_assert_uint_eq(parse("-d", NULL), 0);
    ck_assert_int_eq(o.mode, MODE_DEBUG);
    ck_assert_uint_eq(parse("--foreground", NULL), 0);
    ck_assert_int_eq(o.mode, MODE_SERVICE);
    ck_assert_str_eq(o.websafe_allow, "ssh:*");
    ck_assert_ptr_null(o.providers);
    ck_assert(!o.remote_providers);
    ck_assert_uint_eq(parse("-P /usr/lib/* -O no-restrict-websafe -E sha256 -T -U -uu -s", NULL),
                      0);
    ck_assert_str_eq(o.providers, "/usr/lib/*");
    ck_assert_ptr_null(o.websafe_allow);
    ck_assert_int_eq(o.mode, MODE_CLEAN);
    ck_assert(o.any_host && o.keep_stale);
    ck_assert_uint_eq(parse("-u", NULL), 0);
    ck_assert(o.mode == MODE_CLEAN && !o.any_host);
}
END_TEST

START_TEST(providers)
{
    ck_assert_uint_eq(parse("-s", NULL), 0);
    ck_assert(o.providers == NULL && !o.remote_providers);
    ck_assert_uint_eq(parse("-P/opt/*,!/opt/x -O allow-remote-pkcs11 -O no-restrict-websafe", NULL),
                      0);
    ck_assert_str_eq(o.providers, "/opt/*,!/opt/x");
    ck_assert(o.remote_providers);
    ck_assert_uint_eq(gpg_err_code(parse("-P /a -P /b", NULL)), GPG_ERR_INV_VALUE);
    ck_assert_ptr_null(o.websafe_allow);
    ck_assert_uint_eq(parse("-O websafe-allow=ssh:*,web", NULL), 0);
    ck_assert_str_eq(o.websafe_allow, "ssh:*,web");
}
END_TEST

START_TEST(commands)
{
    ck_assert_uint_eq(parse("sh -c exit", NULL), 0);
    ck_assert_int_eq(o.mode, MODE_COMMAND);
    ck_assert_str_eq(o.command[0], "sh");
    ck_assert_str_eq(o.command[1], "-c"); /* the command's own options stay its own */
    ck_assert_uint_eq(parse("-t 5 -- sh", NULL), 0);
    ck_assert_str_eq(o.command[0], "sh");
}
END_TEST

START_TEST(mistakes)
{
    ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr));
    ck_assert_uint_ne(parse("-c -s", NULL), 0);
    ck_assert_uint_ne(parse("-Z", NULL), 0);
    ck_assert_uint_ne(parse("--nosuch", NULL), 0);
    ck_assert_uint_ne(parse("-t junk", NULL), 0);
    ck_assert_uint_ne(parse("-k sh", NULL), 0);
    ck_assert_uint_ne(parse("-O nonsense", NULL), 0);
    ck_assert_uint_ne(parse("-P /a -P /b", NULL), 0);
    ck_assert_uint_ne(parse("-a", NULL), 0);
    ck_assert_uint_eq(gpg_err_code(parse("-s sh", NULL)), GPG_ERR_SYNTAX);
    ck_assert_uint_eq(gpg_err_code(parse("-O nosuch", NULL)), GPG_ERR_INV_VALUE);
    ck_assert_uint_eq(gpg_err_code(parse("-E md4", NULL)), GPG_ERR_INV_VALUE);
}
END_TEST

START_TEST(lives)
{
    static const struct {
        const char *text;
        unsigned secs;
    } good[] = {{"90", 90},     {"10m", 600},   {"1h30m", 5400},
                {"2d", 172800}, {"1W", 604800}, {"0", 0}};
    static const char *const bad[] = {"", "x", "5x", "-1", "1h m", "99999999999", "9999999w"};
    unsigned secs;

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ck_assert_uint_eq(options_parse_life(good[i].text, &secs), 0);
        ck_assert_uint_eq(secs, good[i].secs);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_uint_ne(options_parse_life(bad[i], &secs), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("options");
    TCase *t = tcase_create("command line");
    SRunner *r;
    int failed;

    tcase_add_test(t, modes);
    tcase_add_test(t, commands);
    tcase_add_test(t, providers);
    tcase_add_test(t, mistakes);
    tcase_add_test(t, lives);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
