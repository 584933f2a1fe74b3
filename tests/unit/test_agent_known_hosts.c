/* known_hosts in all its forms, written and hashed by the real ssh-keygen. */
#include "agent/known_hosts.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/lkkhXXXXXX";
static char file[64];
static struct key *host, *other, *ca, *cert;
static char *host_text, *ca_text;

static void sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void sh(const char *fmt, ...)
{
    char command[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    ck_assert_int_eq(system(command), 0);
}

static struct key *read_key(const char *name, char **text)
{
    char path[128], line[4096];
    struct key *k = NULL;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_ptr_nonnull(fgets(line, sizeof line, f));
    fclose(f);
    ck_assert_uint_eq(key_from_text(line, &k, NULL), 0);
    if (text != NULL)
        *text = key_to_text(k);
    return k;
}

static void make_keys(void)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/known_hosts", dir);
    for (const char *const *n = (const char *const[]){"host", "other", "ca", NULL}; *n != NULL; n++)
        sh("ssh-keygen -q -t ed25519 -N '' -C x -f %s/%s", dir, *n);
    sh("ssh-keygen -q -s %s/ca -I id -h -n web.example,db.example %s/host.pub", dir, dir);
    host = read_key("host.pub", &host_text);
    other = read_key("other.pub", NULL);
    ca = read_key("ca.pub", &ca_text);
    cert = read_key("host-cert.pub", NULL);
}

static void drop_keys(void)
{
    key_unref(host);
    key_unref(other);
    key_unref(ca);
    key_unref(cert);
    gpgrt_free(host_text);
    gpgrt_free(ca_text);
    sh("rm -rf %s", dir);
}

static void write_hosts(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void write_hosts(const char *fmt, ...)
{
    FILE *f = fopen(file, "w");
    va_list ap;

    ck_assert_ptr_nonnull(f);
    va_start(ap, fmt);
    vfprintf(f, fmt, ap);
    va_end(ap);
    fclose(f);
}

/* The names found, joined by blanks. */
static const char *look(struct known_hosts *k, const struct key *key, const char *candidate)
{
    static char text[512];
    const char *list[] = {candidate, NULL};
    struct host_names n = {0};

    ck_assert_uint_eq(known_hosts_lookup(k, key, list, NULL, (uint64_t)time(NULL), &n), 0);
    snprintf(text, sizeof text, "%s", n.revoked ? "REVOKED " : "");
    for (size_t i = 0; i < n.n; i++) {
        strcat(text, i > 0 ? " " : "");
        strcat(text, n.names[i]);
    }
    host_names_clear(&n);
    return text;
}

static const char *look_fresh(const struct key *key, const char *candidate)
{
    const char *files[] = {file, NULL};
    const char *text;
    struct known_hosts *k;

    ck_assert_uint_eq(known_hosts_new("/h", files, &k), 0);
    text = look(k, key, candidate);
    known_hosts_free(k);
    return text;
}

START_TEST(plain_lines)
{
    write_hosts(
        "# comment\n\n  Host.Example,[127.0.0.1]:2222 %s comment\nnonsense\nx ssh-rsa AAAA\n",
        host_text);
    ck_assert_str_eq(look_fresh(host, NULL), "host.example [127.0.0.1]:2222");
    ck_assert_str_eq(look_fresh(other, NULL), "");
    write_hosts("a %s\r\nb %s\n", host_text, host_text);
    ck_assert_str_eq(look_fresh(host, NULL), "a b");
}
END_TEST

START_TEST(patterns_give_candidates_never_themselves)
{
    write_hosts("*.example,!bad.example %s\n", host_text);
    ck_assert_str_eq(look_fresh(host, "good.example"), "good.example");
    ck_assert_str_eq(look_fresh(host, "bad.example"), "");
    ck_assert_str_eq(look_fresh(host, NULL), "");
    write_hosts("a.example,b.example,!a.example %s\n", host_text);
    ck_assert_str_eq(look_fresh(host, NULL), "b.example");
}
END_TEST

START_TEST(hashed_names)
{
    const char *files[] = {file, NULL};
    struct known_hosts *k;

    write_hosts("secret.example %s\n[other.example]:2222 %s\n", host_text, host_text);
    sh("ssh-keygen -q -H -f %s >/dev/null 2>&1", file);
    ck_assert_str_eq(look_fresh(host, NULL), "");
    ck_assert_str_eq(look_fresh(host, "secret.example"), "secret.example");
    ck_assert_str_eq(look_fresh(host, "SECRET.example"), "secret.example");
    ck_assert_str_eq(look_fresh(host, "[other.example]:2222"), "[other.example]:2222");
    ck_assert_str_eq(look_fresh(host, "wrong.example"), "");
    ck_assert_uint_eq(known_hosts_new("/h", files, &k), 0);
    look(k, host, "secret.example");
    ck_assert_str_eq(look(k, host, NULL), "secret.example"); /* remembered */
    known_hosts_free(k);
}
END_TEST

START_TEST(certificates)
{
    write_hosts("@cert-authority *.example %s\n", ca_text);
    ck_assert_str_eq(look_fresh(cert, NULL), "web.example db.example");
    /* what the CA's line covers is not what the CA certified */
    ck_assert_str_eq(look_fresh(cert, "prod.example"), "web.example db.example");
    write_hosts("@cert-authority web.* %s\n", ca_text);
    ck_assert_str_eq(look_fresh(cert, "other.example"), "web.example");
    write_hosts("web.example %s\n", ca_text); /* a CA's key without its marker certifies nothing */
    ck_assert_str_eq(look_fresh(cert, NULL), "");
    write_hosts("old.example %s\n", host_text); /* the plain key inside the certificate */
    ck_assert_str_eq(look_fresh(cert, NULL), "old.example");
    write_hosts("@cert-authority *.example %s\n", ca_text);
    ck_assert_str_eq(look_fresh(host, NULL), "");
}
END_TEST

START_TEST(revoked)
{
    write_hosts("a.example %s\n@revoked * %s\n", host_text, host_text);
    ck_assert_ptr_nonnull(strstr(look_fresh(host, NULL), "REVOKED"));
    write_hosts("@cert-authority *.example %s\n@revoked * %s\n", ca_text, ca_text);
    ck_assert_ptr_nonnull(strstr(look_fresh(cert, NULL), "REVOKED"));
    write_hosts("@cert-authority *.example %s\n@revoked * %s\n", ca_text, host_text);
    ck_assert_ptr_nonnull(strstr(look_fresh(cert, NULL), "REVOKED"));
}
END_TEST

START_TEST(changes_are_seen)
{
    const char *files[] = {file, NULL};
    struct known_hosts *k;

    unlink(file);
    ck_assert_uint_eq(known_hosts_new("/h", files, &k), 0);
    ck_assert_str_eq(look(k, host, NULL), "");
    write_hosts("new.example %s\n", host_text);
    ck_assert_str_eq(look(k, host, NULL), "new.example");
    unlink(file);
    ck_assert_str_eq(look(k, host, NULL), "");
    known_hosts_free(k);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("known_hosts");
    TCase *t = tcase_create("forms");
    SRunner *r;
    int failed;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    tcase_add_unchecked_fixture(t, make_keys, drop_keys);
    tcase_add_test(t, plain_lines);
    tcase_add_test(t, patterns_give_candidates_never_themselves);
    tcase_add_test(t, hashed_names);
    tcase_add_test(t, certificates);
    tcase_add_test(t, revoked);
    tcase_add_test(t, changes_are_seen);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
