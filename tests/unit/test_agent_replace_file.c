/* Files replaced whole: what is kept of the old one, and what is left behind. */
#include "agent/replace_file.h"
#include "tests/unit/proto_util.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/latchkey-replace-XXXXXX", file[64], link_name[64];

static void setup(void)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/file", dir);
    snprintf(link_name, sizeof link_name, "%s/link", dir);
}

static void teardown(void)
{
    (void)unlink(file);
    (void)unlink(link_name);
    (void)rmdir(dir);
}

static struct rd text(const char *s)
{
    return rd_of(s, strlen(s));
}

static void holds(const char *path, const char *want, mode_t mode)
{
    char got[100] = "";
    FILE *f = fopen(path, "re");
    struct stat st;

    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fread(got, 1, sizeof got - 1, f), strlen(want));
    ck_assert_str_eq(got, want);
    ck_assert_int_eq(fstat(fileno(f), &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, mode);
    fclose(f);
}

static unsigned entries(void)
{
    DIR *d = opendir(dir);
    unsigned n = 0;

    ck_assert_ptr_nonnull(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static bool is_link(const char *path)
{
    struct stat st;

    ck_assert_int_eq(lstat(path, &st), 0);
    return S_ISLNK(st.st_mode);
}

START_TEST(new_ones_are_private)
{
    ck_ok(replace_file(file, false, text("one")));
    holds(file, "one", 0600);
    ck_ok(replace_file(file, true, text("")));
    holds(file, "", 0600);
    ck_assert_uint_eq(entries(), 1);
}
END_TEST

START_TEST(the_persons_own_keeps_mode_and_place)
{
    ck_ok(replace_file(file, true, text("one")));
    ck_assert_int_eq(chmod(file, 0644), 0);
    ck_assert_int_eq(symlink("file", link_name), 0);
    ck_ok(replace_file(link_name, true, text("two")));
    ck_assert(is_link(link_name));
    holds(file, "two", 0644);
    ck_assert_uint_eq(entries(), 2);
}
END_TEST

START_TEST(the_agents_own_is_no_link)
{
    ck_ok(replace_file(file, true, text("one")));
    ck_assert_int_eq(chmod(file, 0644), 0);
    ck_assert_int_eq(symlink("file", link_name), 0);
    ck_ok(replace_file(link_name, false, text("two")));
    ck_assert(!is_link(link_name));
    holds(link_name, "two", 0600);
    holds(file, "one", 0644);
    ck_ok(replace_file(file, false, text("three")));
    holds(file, "three", 0600);
}
END_TEST

START_TEST(failure_leaves_nothing)
{
    char below[80];

    snprintf(below, sizeof below, "%s/none/file", dir);
    ck_code(replace_file(below, false, text("one")), GPG_ERR_ENOENT);
    ck_assert_int_eq(mkdir(file, 0700), 0); /* what cannot be renamed over */
    ck_assert_uint_ne(replace_file(file, false, text("one")), 0);
    ck_assert_uint_eq(entries(), 1);
    ck_assert_int_eq(rmdir(file), 0);
}
END_TEST

static void tests(TCase *tc)
{
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, new_ones_are_private);
    tcase_add_test(tc, the_persons_own_keeps_mode_and_place);
    tcase_add_test(tc, the_agents_own_is_no_link);
    tcase_add_test(tc, failure_leaves_nothing);
}

int main(void)
{
    return run_suite("replace_file", tests);
}
