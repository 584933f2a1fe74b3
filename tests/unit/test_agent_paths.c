/* Where things are, and that a private directory is one. */
#include "agent/paths.h"
#include "tests/unit/openpgp_util.h"

#include <limits.h>

static char *dir;

static void setup(void)
{
    static const char *const variables[] = {"LATCHKEY_RUNTIME_DIR", "LATCHKEY_SYSCONFDIR",
                                            "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME"};

    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        ck_assert_int_eq(unsetenv(variables[i]), 0);
    ck_assert_int_eq(setenv("HOME", "/home/tess", 1), 0);
    dir = scratch_new();
}

static void teardown(void)
{
    scratch_free(dir);
}

static void ck_path(char *got, const char *want)
{
    ck_assert_pstr_eq(got, want);
    gpgrt_free(got);
}

START_TEST(runtime)
{
    char *want = gpgrt_bsprintf("/tmp/latchkey-%lu", (unsigned long)getuid());

    ck_path(path_runtime_dir(), want);
    gpgrt_free(want);
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    ck_path(path_runtime_dir(), "/run/user/7/latchkey");
    ck_path(path_socket("ctl"), "/run/user/7/latchkey/ctl");
    setenv("LATCHKEY_RUNTIME_DIR", "/r", 1);
    ck_path(path_runtime_dir(), "/r");
    ck_path(path_socket("ssh"), "/r/ssh");
    /* a relative one would mean another place in each directory (XDG says: ignore it) */
    setenv("LATCHKEY_RUNTIME_DIR", "r", 1);
    ck_path(path_runtime_dir(), "/run/user/7/latchkey");
    setenv("LATCHKEY_RUNTIME_DIR", "", 1);
    setenv("XDG_RUNTIME_DIR", "../x", 1);
    want = gpgrt_bsprintf("/tmp/latchkey-%lu", (unsigned long)getuid());
    ck_path(path_runtime_dir(), want);
    gpgrt_free(want);
}
END_TEST

START_TEST(files)
{
    ck_path(path_config("policy.conf"), "/home/tess/.config/latchkey/policy.conf");
    ck_path(path_state("audit.jsonl"), "/home/tess/.local/state/latchkey/audit.jsonl");
    ck_path(path_home(), "/home/tess");
    setenv("XDG_CONFIG_HOME", "/c", 1);
    setenv("XDG_STATE_HOME", "/s", 1);
    ck_path(path_config("policy.conf"), "/c/latchkey/policy.conf");
    ck_path(path_state("audit.jsonl"), "/s/latchkey/audit.jsonl");
    setenv("XDG_CONFIG_HOME", "relative", 1);
    ck_path(path_config("x"), "/home/tess/.config/latchkey/x");
    ck_path(path_sysconfig("policy.conf"), LATCHKEY_SYSCONFDIR "/latchkey/policy.conf");
    setenv("LATCHKEY_SYSCONFDIR", "/test/etc", 1);
    ck_path(path_sysconfig("policy.conf"), "/test/etc/latchkey/policy.conf");
}
END_TEST

/* Without a usable HOME the passwd entry tells. */
START_TEST(home)
{
    char *out;

    ck_assert_int_eq(
        shell("/", &out, "getent passwd %lu | cut -d: -f6 | tr -d '\n'", (unsigned long)getuid()),
        0);
    unsetenv("HOME");
    ck_path(path_home(), out);
    setenv("HOME", "relative", 1);
    ck_path(path_home(), out);
    gpgrt_free(out);
}
END_TEST

START_TEST(programs)
{
    char self[PATH_MAX], *path;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    ck_assert_int_gt(n, 0);
    self[n] = '\0';
    path = path_program(strrchr(self, '/') + 1);
    ck_path(path, self);
    ck_assert_ptr_null(path_program("no-such-program"));
}
END_TEST

/* Installed: PREFIX/bin and PREFIX/libexec/latchkey find each other. This very program runs as a copy in each place and
 * prints what it finds. */
START_TEST(installed_programs)
{
    char *out, *want;

    ck_assert_int_eq(
        shell(dir, &out,
              "mkdir -p p/bin p/libexec/latchkey && cp /proc/%ld/exe p/bin/one && "
              "cp p/bin/one p/libexec/latchkey/two && cp p/bin/one p/bin/not && "
              "chmod -x p/bin/not && FIND=two p/bin/one && FIND=one p/libexec/latchkey/two "
              "&& ! FIND=not p/bin/one",
              (long)getpid()),
        0);
    want = gpgrt_bsprintf(
        "%s/p/bin/../libexec/latchkey/two\n%s/p/libexec/latchkey/../../bin/one\nnone\n", dir, dir);
    ck_assert_str_eq(out, want);
    gpgrt_free(want);
    gpgrt_free(out);
}
END_TEST

static mode_t mode_of(const char *path)
{
    struct stat st;

    ck_assert_int_eq(stat(path, &st), 0);
    return st.st_mode & 07777;
}

START_TEST(private_directory)
{
    char *deep = gpgrt_bsprintf("%s/a/b", dir), *a = gpgrt_bsprintf("%s/a", dir);
    char *link = gpgrt_bsprintf("%s/link", dir), *file = gpgrt_bsprintf("%s/file", dir);
    char *below = gpgrt_bsprintf("%s/file/x", dir);
    char *link_dir = gpgrt_bsprintf("%s/link/", dir);

    umask(0);
    ck_ok(path_make_private_dir(deep));
    ck_assert_int_eq(mode_of(a), 0700);
    ck_assert_int_eq(mode_of(deep), 0700);
    ck_ok(path_make_private_dir(deep));
    /* others may read, as in a home directory, but nobody else may put a socket there */
    ck_assert_int_eq(chmod(deep, 0755), 0);
    ck_ok(path_make_private_dir(deep));
    ck_assert_int_eq(chmod(deep, 0770), 0);
    ck_code(path_make_private_dir(deep), GPG_ERR_EPERM);
    ck_assert_int_eq(chmod(deep, 01777), 0);
    ck_code(path_make_private_dir(deep), GPG_ERR_EPERM);
    ck_assert_int_eq(symlink(a, link), 0);
    ck_code(path_make_private_dir(link), GPG_ERR_EPERM);
    ck_code(path_make_private_dir(link_dir), GPG_ERR_EPERM);
    write_file(dir, "file", rd_str("x"));
    ck_code(path_make_private_dir(file), GPG_ERR_EPERM);
    ck_code(path_make_private_dir(below), GPG_ERR_ENOTDIR);
    ck_assert_int_eq(chmod(a, 0700), 0);
    if (getuid() == 0) {
        ck_assert_int_eq(chown(a, 12345, 12345), 0);
        ck_code(path_make_private_dir(a), GPG_ERR_EPERM);
    }
    gpgrt_free(deep);
    gpgrt_free(a);
    gpgrt_free(link);
    gpgrt_free(link_dir);
    gpgrt_free(file);
    gpgrt_free(below);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, runtime);
    tcase_add_test(tc, files);
    tcase_add_test(tc, home);
    tcase_add_test(tc, programs);
    tcase_add_test(tc, installed_programs);
    tcase_add_test(tc, private_directory);
}

int main(void)
{
    const char *name = getenv("FIND");

    if (name != NULL) {
        char *path = path_program(name);

        puts(path != NULL ? path : "none");
        gpgrt_free(path);
        return path != NULL ? 0 : 1;
    }
    return run_suite("paths", add);
}
