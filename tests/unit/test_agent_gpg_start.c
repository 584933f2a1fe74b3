/* Started as gpg-agent: its command line, gpg-agent.conf, the places of its sockets. */
#include "agent/gpg_listen.h"
#include "agent/gpg_option_table.h"
#include "agent/gpg_sockets.h"
#include "tests/unit/openpgp_util.h"

#include <sys/stat.h>
#include <unistd.h>

#define MAX_ARGS 16

static char *dir;

static void setup(void)
{
    ck_assert_int_eq(unsetenv("GNUPGHOME"), 0);
    dir = scratch_new();
    ck_assert_int_eq(setenv("HOME", dir, 1), 0);
}

static void teardown(void)
{
    scratch_free(dir);
}

static void put_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    fclose(f);
}

static char *in_dir(const char *name)
{
    char *path = gpgrt_bsprintf("%s/%s", dir, name);

    ck_assert_ptr_nonnull(path);
    return path;
}

/* --- command lines --------------------------------------------------------------------------------------------------- */

struct line {
    char text[512];
    char *argv[MAX_ARGS + 1];
    int argc;
};

/* Split at blanks; %h is the scratch directory. */
static void split(struct line *l, const char *text)
{
    char *save = NULL;
    const char *h = strstr(text, "%h");

    if (h != NULL)
        snprintf(l->text, sizeof l->text, "%.*s%s%s", (int)(h - text), text, dir, h + 2);
    else
        snprintf(l->text, sizeof l->text, "%s", text);
    l->argc = 0;
    for (char *w = strtok_r(l->text, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        ck_assert_int_lt(l->argc, MAX_ARGS);
        l->argv[l->argc++] = w;
    }
    l->argv[l->argc] = NULL;
}

static struct line line;
static struct gpg_options o;

static gpg_error_t parse(const char *text)
{
    split(&line, text);
    return gpg_options_parse(line.argc, line.argv, &o);
}

START_TEST(who_is_meant)
{
    static const struct {
        const char *line;
        bool gpg;
    } lines[] = {
        {"gpg-agent", true},
        {"/usr/bin/gpg-agent --daemon", true},
        {"latchkey-agent --homedir /h --use-standard-socket --daemon", true},
        {"latchkey-agent --homedir=/h --daemon", true},
        {"latchkey-agent --daemon --default-cache-ttl 5", true},
        {"latchkey-agent --server", true},
        {"latchkey-agent --supervised", true},
        {"latchkey-agent --gpgconf-list", true},
        {"latchkey-agent --log-file /l --enable-ssh-support --daemon", true},
        {"latchkey-agent --log-file=/l --pinentry-program=/p", true},
        /* its own, and ssh-agent's */
        {"latchkey-agent", false},
        {"latchkey-agent --daemon", false},
        {"latchkey-agent --foreground --log-file --homedir", false},
        {"latchkey-agent --foreground", false},
        {"latchkey-agent --daemon --log-file /l --verbose", false},
        {"latchkey-agent --help", false},
        {"latchkey-agent --version", false},
        {"latchkey-agent -s -a /x", false},
        {"latchkey-agent -t 5 prog --server", false},
        {"latchkey-agent prog --homedir /h", false},
        {"latchkey-agent -- --server", false},
        {"latchkey-agent -D --no-such-option", false},
        {"/opt/my-gpg-agent", false},
    };

    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        split(&line, lines[i].line);
        ck_assert_msg(gpg_options_are_meant(line.argc, line.argv) == lines[i].gpg, "%s",
                      lines[i].line);
    }
    ck_assert(!gpg_options_are_meant(0, (char *[]){NULL}));
}
END_TEST

START_TEST(commands)
{
    static const struct {
        const char *line;
        enum gpg_mode mode;
        const char *command;
    } lines[] = {
        {"gpg-agent", GPG_PROBE, NULL},
        {"gpg-agent -qv", GPG_PROBE, NULL},
        {"gpg-agent --homedir %h --use-standard-socket --daemon", GPG_DAEMON, NULL},
        {"gpg-agent --homedir=%h --debug-quick-random --daemon", GPG_DAEMON, NULL},
        {"gpg-agent --daemon -- prog -x", GPG_DAEMON, "prog"},
        {"gpg-agent --daemon prog --server", GPG_DAEMON, "prog"},
        {"gpg-agent --server", GPG_SERVER, NULL},
        {"gpg-agent --supervised", GPG_SUPERVISED, NULL},
        {"gpg-agent --gpgconf-test", GPG_TEST, NULL},
        {"gpg-agent --debug-level none --gpgconf-list", GPG_LIST, NULL},
        {"gpg-agent --use-standard-socket-p", GPG_SOCKET_P, NULL},
        {"gpg-agent --use-standard-socket", GPG_PROBE, NULL},
        {"gpg-agent --dump-options", GPG_DUMP, NULL},
        {"gpg-agent --dump-option-table", GPG_DUMP_TABLE, NULL},
        {"gpg-agent --dae", GPG_DAEMON, NULL},
        {"gpg-agent --version --daemon", GPG_DAEMON, NULL},
        {"gpg-agent -h", GPG_HELP, NULL},
    };

    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        ck_ok(parse(lines[i].line));
        ck_assert_msg(o.mode == lines[i].mode, "%s", lines[i].line);
        ck_assert_pstr_eq(o.command != NULL ? o.command[0] : NULL, lines[i].command);
        gpg_options_clear(&o);
    }
}
END_TEST

START_TEST(wrong_lines)
{
    static const char *const lines[] = {
        "gpg-agent --bogus",
        "gpg-agent -x",
        "gpg-agent -qx",
        "gpg-agent --default-cache 5", /* -ttl, -ttl-ssh */
        "gpg-agent --default-cache-ttl",
        "gpg-agent --default-cache-ttl abc",
        "gpg-agent --default-cache-ttl -1",
        "gpg-agent --default-cache-ttl=",
        "gpg-agent --homedir",
        "gpg-agent --Monitor",
    };

    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        ck_assert_msg(gpg_err_code(parse(lines[i])) == GPG_ERR_SYNTAX, "%s", lines[i]);
        gpg_options_clear(&o);
    }
    ck_code(parse("gpg-agent --options %h/none"), GPG_ERR_ENOENT);
    gpg_options_clear(&o);
}
END_TEST

/* Every option that either version of gpg-agent has is taken, by the name that gpg has for it. */
START_TEST(whole_table)
{
    size_t n = 0;

    for (size_t i = 0; i < gpg_option_count; i++) {
        const struct gpg_option *r = &gpg_option_table[i];
        char text[128];

        if (r->kind == HEADING)
            continue;
        snprintf(text, sizeof text, "gpg-agent --%s %s", r->name,
                 strcmp(r->name, "options") == 0 ? "/dev/null" : "7");
        ck_ok(parse(text));
        gpg_options_clear(&o);
        n++;
    }
    ck_assert_uint_gt(n, 80);
}
END_TEST

/* --- the file -------------------------------------------------------------------------------------------------------- */

START_TEST(file)
{
    ck_ok(gpg_options_init(&o));
    gpg_options_parse_file("F",
                           "# a comment\n"
                           "\n"
                           "  default-cache-ttl 34560000  \n"
                           "max-cache-ttl = 7\r\n"
                           "--enable-ssh-support\n"
                           "pinentry-program \"/a b/pinentry\"\n"
                           "no-grab\n"
                           "grab\n"
                           "no-allow-loopback-pinentry\n"
                           "s2k-count 0x20000\n"
                           "scdaemon-program /x\n"
                           "log-file ~/agent.log",
                           &o);
    ck_assert_uint_eq(o.notes.len, 0);
    ck_assert_uint_eq(o.problems, 0);
    ck_assert_uint_eq(o.conf->default_ttl, 34560000);
    ck_assert_uint_eq(o.conf->max_ttl, 7);
    ck_assert_uint_eq(o.conf->default_ttl_ssh, 1800);
    ck_assert(o.conf->ssh_support && o.conf->grab && !o.conf->allow_loopback);
    ck_assert_uint_eq(o.conf->s2k_count, 131072);
    ck_assert_str_eq(o.conf->pinentry_program, "/a b/pinentry");
    ck_assert_int_eq(strncmp(o.log_file, dir, strlen(dir)), 0);
    gpg_options_clear(&o);
}
END_TEST

START_TEST(bad_lines)
{
    ck_ok(gpg_options_init(&o));
    gpg_options_parse_file("/h/gpg-agent.conf",
                           "frobnicate 7\n"
                           "max-cache-ttl seven\n"
                           "daemon\n"
                           "homedir /x\n"
                           "GRAB\n"
                           "=\n"
                           "pinentry-program\n"
                           "default-cache-ttl 99999999999999999999\n"
                           "Monitor\n"
                           "min-passphrase-len 9\n",
                           &o);
    ck_assert_str_eq(buf_cstr(&o.notes),
                     "/h/gpg-agent.conf:1: frobnicate: not an option that is known here; ignored\n"
                     "/h/gpg-agent.conf:2: max-cache-ttl: \"seven\" is not a number\n"
                     "/h/gpg-agent.conf:3: daemon: not an option that is known here; ignored\n"
                     "/h/gpg-agent.conf:4: homedir: not an option that is known here; ignored\n"
                     "/h/gpg-agent.conf:5: GRAB: not an option that is known here; ignored\n"
                     "/h/gpg-agent.conf:6: : not an option that is known here; ignored\n"
                     "/h/gpg-agent.conf:7: pinentry-program: its value is missing\n"
                     "/h/gpg-agent.conf:9: Monitor: not an option that is known here; ignored\n");
    ck_assert_uint_eq(o.problems, 2);
    ck_assert_uint_eq(o.conf->max_ttl, 7200);
    ck_assert_uint_eq(o.conf->default_ttl, UINT32_MAX);
    ck_assert_uint_eq(o.conf->min_passphrase_len, 9);
    ck_assert(!o.conf->grab);
    ck_assert_int_eq(o.mode, GPG_PROBE);
    gpg_options_clear(&o);
}
END_TEST

/* The command line counts more than the file, wherever it says where that is. */
START_TEST(both)
{
    char *conf = in_dir("gpg-agent.conf"), *other = in_dir("other.conf");

    put_text(conf, "default-cache-ttl 1\nmax-cache-ttl 2\nlog-file socket:///s\n"
                   "ssh-fingerprint-digest crc64\n");
    put_text(other, "default-cache-ttl 3\nlog-file l\nssh-fingerprint-digest sha384\n");
    ck_ok(parse("gpg-agent --max-cache-ttl 9 --homedir %h"));
    ck_assert_str_eq(o.conf->home, dir);
    ck_assert_str_eq(o.conf_file, conf);
    ck_assert(!o.standard_home);
    ck_assert_uint_eq(o.conf->default_ttl, 1);
    ck_assert_uint_eq(o.conf->max_ttl, 9);
    ck_assert_int_eq(o.conf->ssh_fingerprint_hash, GCRY_MD_SHA256);
    ck_assert_ptr_null(o.log_file);
    ck_assert_ptr_nonnull(strstr(buf_cstr(&o.notes), "log-file: \"socket:///s\""));
    ck_assert_ptr_nonnull(strstr(buf_cstr(&o.notes), "\"crc64\" is not a hash"));
    gpg_options_clear(&o);

    ck_ok(parse("gpg-agent --options %h/other.conf"));
    ck_assert_uint_eq(o.conf->default_ttl, 3);
    ck_assert_int_eq(o.conf->ssh_fingerprint_hash, GCRY_MD_SHA384);
    ck_assert(o.standard_home);
    ck_assert_int_eq(o.log_file[0], '/');
    gpg_options_clear(&o);

    ck_ok(parse("gpg-agent --no-options --homedir %h"));
    ck_assert_uint_eq(o.conf->default_ttl, 600);
    ck_assert_int_eq(o.conf->ssh_fingerprint_hash, GCRY_MD_MD5);
    ck_assert_ptr_null(o.conf_file);
    gpg_options_clear(&o);
    gpgrt_free(conf);
    gpgrt_free(other);
}
END_TEST

/* Neither the working directory nor the environment of later changes what a reload reads; sockets stay where they are. */
START_TEST(reload)
{
    char *paths[SERVER_ROLES] = {[SERVER_GPG] = (char *)(uintptr_t) "/s/std"};
    char *home = in_dir("home"), *conf = in_dir("home/gpg-agent.conf");
    struct gpg_options fresh;

    ck_assert_int_eq(mkdir(home, 0700), 0);
    put_text(conf, "default-cache-ttl 1\n");
    ck_assert_int_eq(chdir(dir), 0);
    ck_ok(parse("gpg-agent --homedir home/ --max-cache-ttl 5"));
    ck_assert_str_eq(o.conf->home, home);
    ck_ok(gpg_listen_only(&o, paths));
    ck_assert_int_eq(chdir("/"), 0);
    setenv("GNUPGHOME", "/elsewhere", 1);
    put_text(conf, "default-cache-ttl 2\nmax-cache-ttl 3\nextra-socket /x\n");
    ck_ok(gpg_options_reload(&o, &fresh));
    ck_assert_str_eq(fresh.conf->home, home);
    ck_assert_uint_eq(fresh.conf->default_ttl, 2);
    ck_assert_uint_eq(fresh.conf->max_ttl, 5);
    ck_assert_str_eq(fresh.conf->socket, "/s/std");
    ck_assert_ptr_null(fresh.conf->extra_socket);
    gpg_options_clear(&fresh);
    unlink(conf);
    ck_ok(gpg_options_reload(&o, &fresh));
    ck_assert_uint_eq(fresh.conf->default_ttl, 600);
    gpg_options_clear(&fresh);
    gpg_options_clear(&o);
    gpgrt_free(home);
    gpgrt_free(conf);
}
END_TEST

/* --- sockets --------------------------------------------------------------------------------------------------------- */

START_TEST(homes)
{
    char *home, *own = in_dir(".gnupg");
    bool standard;

    ck_ok(gpg_home(NULL, &home, &standard));
    ck_assert_str_eq(home, own);
    ck_assert(standard);
    gpgrt_free(home);
    setenv("GNUPGHOME", "/x/y//", 1);
    ck_ok(gpg_home(NULL, &home, &standard));
    ck_assert_str_eq(home, "/x/y");
    ck_assert(!standard);
    gpgrt_free(home);
    ck_ok(gpg_home("~/.gnupg/", &home, &standard));
    ck_assert_str_eq(home, own);
    ck_assert(standard);
    gpgrt_free(home);
    gpgrt_free(own);
}
END_TEST

START_TEST(socket_directories)
{
    char *run = in_dir("run"), *gnupg = in_dir("run/gnupg"), *sub, *got,
         *name = gpg_socket_subdir("/home/alice/gnupg-test");

    ck_assert_str_eq(name, "d.8jyn9tcjp9d3mymf5ezwtdhq");
    sub = gpgrt_bsprintf("%s/%s", gnupg, name);
    /* no such directory, and none is made: in the home */
    ck_ok(gpg_socket_dir(run, "/home/alice/gnupg-test", false, true, &got));
    ck_assert_str_eq(got, "/home/alice/gnupg-test");
    gpgrt_free(got);
    ck_assert_int_eq(mkdir(run, 0755), 0);
    ck_ok(gpg_socket_dir(run, "/home/alice/.gnupg", true, false, &got));
    ck_assert_str_eq(got, "/home/alice/.gnupg");
    gpgrt_free(got);
    ck_ok(gpg_socket_dir(run, "/home/alice/.gnupg", true, true, &got));
    ck_assert_str_eq(got, gnupg);
    gpgrt_free(got);
    ck_ok(gpg_socket_dir(run, "/home/alice/gnupg-test", false, false, &got));
    ck_assert_str_eq(got, "/home/alice/gnupg-test");
    gpgrt_free(got);
    ck_ok(gpg_socket_dir(run, "/home/alice/gnupg-test", false, true, &got));
    ck_assert_str_eq(got, sub);
    gpgrt_free(got);
    /* others could look in */
    ck_assert_int_eq(chmod(gnupg, 0750), 0);
    ck_ok(gpg_socket_dir(run, "/home/alice/.gnupg", true, true, &got));
    ck_assert_str_eq(got, "/home/alice/.gnupg");
    gpgrt_free(got);
    gpgrt_free(run);
    gpgrt_free(gnupg);
    gpgrt_free(sub);
    gpgrt_free(name);
}
END_TEST

static gpg_error_t redirect(const char *text, char **path)
{
    *path = in_dir("S.x");
    put_text(*path, text);
    return gpg_socket_redirect(path);
}

START_TEST(redirections)
{
    static const char *const bad[] = {
        "",
        "%Assuan%\n",
        "%Assuan%\nsocket=relative\n",
        "%Assuan%\nsocket=\n",
        "%assuan%\nsocket=/x\n",
        "\n%Assuan%\nsocket=/x\n",
        "socket=/x\n",
    };
    char *path;

    setenv("LK_RUN", "/run/lk", 1);
    ck_ok(redirect("%Assuan%\nsocket=/a/b\n", &path));
    ck_assert_str_eq(path, "/a/b");
    gpgrt_free(path);
    ck_ok(redirect("%Assuan%\nother=1\nsocket=${LK_RUN}/$HOME/${LK_NONE}s", &path));
    ck_assert_str_eq(path, "/run/lk/$HOME/s");
    gpgrt_free(path);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(gpg_err_code(redirect(bad[i], &path)) == GPG_ERR_ASS_INV_VALUE, "%zu", i);
        gpgrt_free(path);
    }
    path = in_dir("not there");
    ck_ok(gpg_socket_redirect(&path));
    gpgrt_free(path);
}
END_TEST

START_TEST(sockets)
{
    char *sub = in_dir("b");

    ck_ok(parse("gpg-agent --homedir %h --browser-socket none"));
    ck_ok(gpg_listen_paths(&o, false));
    ck_assert(strlen(o.conf->socket) > strlen("/S.gpg-agent"));
    ck_assert_ptr_null(o.conf->browser_socket);
    ck_assert_ptr_nonnull(strstr(o.conf->extra_socket, "/S.gpg-agent.extra"));
    ck_assert_ptr_nonnull(strstr(o.conf->ssh_socket, "/S.gpg-agent.ssh"));
    gpg_options_clear(&o);

    ck_ok(parse("gpg-agent --homedir %h --browser-socket ~/b --extra-socket other"));
    ck_ok(gpg_listen_paths(&o, false));
    ck_assert_str_eq(o.conf->browser_socket, sub);
    ck_assert_ptr_nonnull(strstr(o.conf->extra_socket, "/other"));
    gpg_options_clear(&o);
    gpgrt_free(sub);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, who_is_meant);
    tcase_add_test(tc, commands);
    tcase_add_test(tc, wrong_lines);
    tcase_add_test(tc, whole_table);
    tcase_add_test(tc, file);
    tcase_add_test(tc, bad_lines);
    tcase_add_test(tc, both);
    tcase_add_test(tc, reload);
    tcase_add_test(tc, homes);
    tcase_add_test(tc, socket_directories);
    tcase_add_test(tc, redirections);
    tcase_add_test(tc, sockets);
}

int main(void)
{
    return run_suite("gpg_start", add);
}
