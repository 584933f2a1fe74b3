/* latchkey-gpg as a program: between the real git and gpg on one side and an agent on the other. */
#include "tests/unit/fake_ctl.h"

#include <limits.h>
#include <signal.h>
#include <time.h>

static char *dir, *shim;
static struct pgp_pair keys[2];
static pid_t agent;

/* latchkey-gpg of this build stands beside unit/. */
static char *find_shim(void)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    ck_assert_int_gt(n, 0);
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    return gpgrt_bsprintf("%s/../latchkey-gpg", self);
}

static void setup(void)
{
    struct buf cert = BUF_INIT;
    char *out;

    dir = scratch_new();
    shim = find_shim();
    ck_assert_int_eq(setenv("LATCHKEY_RUNTIME_DIR", dir, 1), 0);
    ck_assert_int_eq(setenv("SHIM", shim, 1), 0);
    ck_assert_int_eq(unsetenv("LATCHKEY_GPG_DEPTH"), 0);
    pgp_pair_make(&keys[0], "(genkey (ecc (curve Ed25519) (flags eddsa)))", false, 1600000000);
    pgp_pair_make(&keys[1], "(genkey (ecc (curve \"NIST P-256\") (flags nocomp)))", false,
                  1600000000);
    ck_assert_int_eq(setenv("K0", keys[0].hex, 1), 0);
    ck_assert_int_eq(setenv("K1", keys[1].hex, 1), 0);
    put_primary(&keys[0], "Zero <0@example.org>", &cert);
    put_primary(&keys[1], "One <1@example.org>", &cert);
    write_file(dir, "cert", buf_rd(&cert));
    buf_free(&cert);
    write_file(dir, "data", rd_str("some\ndata\n"));
    ck_assert_msg(shell(dir, &out, "gpg --batch --no-autostart --import cert") == 0, "%s", out);
    gpgrt_free(out);
    agent = fake_ctl_start(dir, "ctl", keys, 2);
}

static void teardown(void)
{
    kill(agent, SIGKILL);
    ck_assert_int_eq(waitpid(agent, NULL, 0), agent);
    pgp_pair_free(&keys[0]);
    pgp_pair_free(&keys[1]);
    gpgrt_free(shim);
    scratch_free(dir);
}

static bool exists(const char *name)
{
    char *path = gpgrt_bsprintf("%s/%s", dir, name);
    bool there = access(path, F_OK) == 0;

    gpgrt_free(path);
    return there;
}

#define VERIFY "gpg --batch --no-autostart --status-fd 1 --verify "

/* The tests of one shell command: its exit status, and what must and must not be in its output. */
static const struct {
    const char *command;
    int status;
    const char *has[4], *lacks;
} cases[] = {
    /* gpg takes what we made: armored or not, from stdin or a file, to stdout or a file */
    {"$SHIM -bau $K0 < data > s && head -1 s && " VERIFY "s data",
     0,
     {"-----BEGIN PGP SIGNATURE-----", "GOODSIG", NULL},
     NULL},
    {"$SHIM -b -u $K1 < data > s && " VERIFY "s data", 0, {"GOODSIG", NULL}, "BEGIN PGP"},
    {"$SHIM -b data && " VERIFY "data.sig data", 0, {"GOODSIG", NULL}, NULL},
    {"$SHIM -ab data && " VERIFY "data.asc data", 0, {"GOODSIG", NULL}, NULL},
    {"umask 027; $SHIM -bo out data && stat -c %a out && " VERIFY "out data",
     0,
     {"640\n", "GOODSIG", NULL},
     NULL},
    {"$SHIM -bt data && " VERIFY "data.sig data && printf 'some\\r\\ndata\\r\\n' > data && " VERIFY
     "data.sig data",
     0,
     {"GOODSIG", " 01 ", NULL},
     "BADSIG"},
    {"$SHIM -ab -u $K0 -u $K1 --local-user $K0 data && " VERIFY "data.asc data | grep -c GOODSIG",
     0,
     {"\n2\n", NULL},
     NULL},
    {": > empty; $SHIM -b empty && " VERIFY "empty.sig empty", 0, {"GOODSIG", NULL}, NULL},
    {"$SHIM --enable-special-filenames --status-fd 2 --no-tty --sign --detach --output - -- '-&5' "
     "5< data > s && " VERIFY "s data",
     0,
     {"GOODSIG", "SIG_CREATED", NULL},
     NULL},
    {"echo passphrase | $SHIM --batch --passphrase-fd 0 --pinentry-mode loopback -ab -o s data "
     "&& " VERIFY "s data",
     0,
     {"GOODSIG", NULL},
     NULL},
    /* key and text go to the agent, everything else stays */
    {"$SHIM -bt -u 'a b%c' data; cat calls", 0, {"key=a%20b%25c text=1", NULL}, NULL},
    {"$SHIM -b --default-key $K1 -o /dev/null data; cat calls", 0, {"key=", NULL}, "text"},
    {"$SHIM -b -o /dev/null data; cat calls", 0, {NULL}, "key"},
    {"DISPLAY=:7 TERM=vt52 GPG_TTY=/dev/pts/99 LC_ALL= LC_CTYPE=x.UTF-8 WAYLAND_DISPLAY=w "
     "XAUTHORITY=/xa "
     "PINENTRY_USER_DATA=u DBUS_SESSION_BUS_ADDRESS=d $SHIM -b < data > s; sort options | tr '\\n' "
     "' '",
     0,
     {"dbus=d display=:7 lc-ctype=x.UTF-8 ",
      " pinentry-user-data=u ttyname=/dev/pts/99 ttytype=vt52 "
      "wayland-display=w xauthority=/xa",
      NULL},
     NULL},
    /* files that are there, or cannot be */
    {"echo old > data.sig; $SHIM -b data; echo $?; cat data.sig; test ! -e calls && echo not asked",
     0,
     {"data.sig exists; --yes", "2\nold\nnot asked\n", NULL},
     NULL},
    {"echo old > data.sig; $SHIM --yes -b data && " VERIFY "data.sig data",
     0,
     {"GOODSIG", NULL},
     NULL},
    {"$SHIM -b -o no/such/file data",
     2,
     {"can't create no/such/file: No such file", NULL},
     "SIG_CREATED"},
    {"$SHIM --status-fd 1 -b nothing",
     2,
     {"can't read nothing: No such file", "FAILURE sign", NULL},
     NULL},
    {"$SHIM -b <&-", 2, {"can't read standard input: Bad file", NULL}, NULL},
    {"$SHIM -b data -o - > /dev/full; $SHIM -bo /dev/full data",
     2,
     {"can't write /dev/full: No space", NULL},
     NULL},
    {"$SHIM --status-fd 99 -b data", 2, {"can't open fd 99 for status", NULL}, NULL},
    {"head -c 67108865 /dev/zero | $SHIM -b; echo $?; test -e calls || echo not asked",
     0,
     {"standard input is larger than 64 MiB", "2\nnot asked\n", NULL},
     NULL},
    {"head -c 67108864 /dev/zero > big && $SHIM -b big && " VERIFY "big.sig big",
     0,
     {"GOODSIG", NULL},
     NULL},
    {"head -c 3000000 /dev/urandom > big && $SHIM -b big && " VERIFY "big.sig big",
     0,
     {"GOODSIG", NULL},
     NULL},
    /* failures, as gpg tells them */
    {"$SHIM --status-fd 1 -bau 'No One' data",
     2,
     {"skipped \"No One\": No secret key\nlatchkey-gpg: no token holds this key\n",
      "signing failed: No secret key", "[GNUPG:] INV_SGNR 9 No One\n[GNUPG:] FAILURE sign 17\n",
      NULL},
     "SIG_CREATED"},
    /* nobody's name is a status line, or a command to the terminal */
    {"$SHIM --status-fd 2 -bu \"$(printf 'x\\n[GNUPG:] SIG_CREATED D 1\\033[2J')\" data",
     2,
     {"skipped \"x\nlatchkey-gpg: [GNUPG:] SIG_CREATED D 1?[2J\": No secret key\n",
      "\n[GNUPG:] INV_SGNR 9 x?[GNUPG:] SIG_CREATED D 1?[2J\n", NULL},
     "\n[GNUPG:] SIG"},
    {"$SHIM --status-fd 1 -bau $K0 -u none data; test -e data.asc || echo no file",
     0,
     {"FAILURE sign 17\nno file", NULL},
     "SIG_CREATED"},
    {"$SHIM --status-fd 1 -bau cancel data",
     2,
     {"signing failed: Operation cancelled\nlatchkey-gpg: the person said no",
      "FAILURE sign 536871011\n", NULL},
     "INV_SGNR"},
    {"$SHIM -bau silent data", 2, {"signing failed: Invalid response", NULL}, NULL},
    {"kill -KILL $AGENT; while kill -0 $AGENT 2> /dev/null && ! grep -q ') Z' /proc/$AGENT/stat; "
     "do :; done\n"
     "mkdir bin; cp $SHIM bin/; bin/latchkey-gpg --status-fd 1 -b data",
     2,
     {"latchkey-agent is neither beside this program nor in", "FAILURE sign ", NULL},
     NULL},
    /* no agent yet: it is started, and waited for */
    {"mv ctl elsewhere; mkdir bin; cp $SHIM bin/; printf '#!/bin/sh\\nmv %s/elsewhere %s/ctl; "
     "echo $1 > started\\n' $PWD "
     "$PWD > bin/latchkey-agent; chmod +x bin/latchkey-agent; bin/latchkey-gpg -b data && " VERIFY
     "data.sig data; cat started",
     0,
     {"GOODSIG", "--daemon\n", NULL},
     NULL},
    /* it does not keep the pipes of whoever happened to start it: they would wait for it */
    {"mv ctl elsewhere; mkdir bin; cp $SHIM bin/; printf '#!/bin/sh\\nmv %s/elsewhere %s/ctl; "
     "exec ls /proc/self/fd > fds\\n' $PWD $PWD > bin/latchkey-agent; "
     "chmod +x bin/latchkey-agent; bin/latchkey-gpg --status-fd 8 -b data 8> status && "
     "grep -o SIG_CREATED status; grep -c ^8 fds",
     1,
     {"SIG_CREATED\n0\n", NULL},
     NULL},
    /* the real gpg's */
    {"$SHIM --version", 0, {"gpg (GnuPG) ", NULL}, "latchkey"},
    {"$SHIM --help", 0, {"usage: latchkey-gpg", "handed to the real gpg", NULL}, NULL},
    {"$SHIM --no-such-option", 2, {"invalid option \"--no-such-option\"", NULL}, NULL},
    {"$SHIM -b data && $SHIM --status-fd=1 --verify data.sig data", 0, {"GOODSIG", NULL}, NULL},
    {"$SHIM -b data && echo more >> data && $SHIM --status-fd=1 --verify data.sig data",
     1,
     {"BADSIG", NULL},
     NULL},
    {"mkdir bin; ln -s $SHIM bin/gpg; PATH=$PWD/bin:$PATH gpg --version",
     0,
     {"gpg (GnuPG) ", NULL},
     NULL},
    {"mkdir bin; cp $SHIM bin/x; mkdir bin/gpg; PATH=$PWD/bin x --version",
     127,
     {"there is no gpg on PATH", NULL},
     NULL},
    {"LATCHKEY_GPG=$SHIM $SHIM --version", 127, {"LATCHKEY_GPG is ", NULL}, NULL},
    {"printf '#!/bin/sh\\nexec $SHIM \"$@\"\\n' > round; chmod +x round; LATCHKEY_GPG=$PWD/round "
     "$SHIM --version",
     127,
     {"leads back here", NULL},
     NULL},
    {"printf '#!/bin/sh\\necho \"real:$0:$@\"; cat\\n' > g; chmod +x g; LATCHKEY_GPG=$PWD/g $SHIM "
     "-e -r 'a b' < data",
     0,
     {"/g:-e -r a b\nsome\ndata\n", NULL},
     NULL},
    /* falling back, only when that is wanted and only for keys that are not there */
    {"printf '#!/bin/sh\\necho \"real:$@\"; cat\\n' > g; chmod +x g; export LATCHKEY_GPG=$PWD/g "
     "LATCHKEY_GPG_FALLBACK=1\n"
     "$SHIM --status-fd 1 -bau none < data",
     0,
     {"real:--status-fd 1 -bau none\nsome\ndata\n", NULL},
     "INV_SGNR"},
    {"printf '#!/bin/sh\\necho \"real:$@\"; cat\\n' > g; chmod +x g; export LATCHKEY_GPG=$PWD/g "
     "LATCHKEY_GPG_FALLBACK=1\n"
     "$SHIM -bau none data < /dev/null",
     0,
     {"real:-bau none data\n", NULL},
     NULL},
    {"printf '#!/bin/sh\\necho \"real:$@\"; cat\\n' > g; chmod +x g; export LATCHKEY_GPG=$PWD/g "
     "LATCHKEY_GPG_FALLBACK=1\n"
     "$SHIM -bau cancel data",
     2,
     {"the person said no", NULL},
     "real:"},
    {"LATCHKEY_GPG=/bin/false $SHIM -bau none data", 2, {"No secret key", NULL}, NULL},
};

START_TEST(command)
{
    char *out, pid[16];
    int status;

    snprintf(pid, sizeof pid, "%d", (int)agent);
    ck_assert_int_eq(setenv("AGENT", pid, 1), 0);
    status = shell(dir, &out, "%s", cases[_i].command);
    ck_assert_msg(status == cases[_i].status, "%s\nexit status %d:\n%s", cases[_i].command, status,
                  out);
    for (size_t i = 0; cases[_i].has[i] != NULL; i++)
        ck_contains(out, cases[_i].has[i]);
    if (cases[_i].lacks != NULL)
        ck_lacks(out, cases[_i].lacks);
    gpgrt_free(out);
}
END_TEST

/* To the letter, as git parses it. */
START_TEST(status_lines)
{
    char *out, *want, *at;
    long now;

    ck_assert_int_eq(shell(dir, &out, "$SHIM --status-fd=2 -bsau $K0 < data"), 0);
    at = strstr(out, "SIG_CREATED D 22 10 00 ");
    ck_assert_msg(at != NULL, "%s", out);
    now = strtol(at + strlen("SIG_CREATED D 22 10 00 "), NULL, 10);
    ck_assert_int_le(labs(now - (long)time(NULL)), 60);
    want = gpgrt_bsprintf("[GNUPG:] KEY_CONSIDERED %s 0\n[GNUPG:] BEGIN_SIGNING H10\n"
                          "[GNUPG:] SIG_CREATED D 22 10 00 %ld %s\n",
                          keys[0].hex, now, keys[0].hex);
    ck_contains(out, want);
    gpgrt_free(want);
    gpgrt_free(out);
    ck_assert_int_eq(shell(dir, &out, "$SHIM --status-fd=2 -bsu $K0 -u $K1 < data > s"), 0);
    want = gpgrt_bsprintf("[GNUPG:] KEY_CONSIDERED %s 0\n[GNUPG:] KEY_CONSIDERED %s 0\n"
                          "[GNUPG:] BEGIN_SIGNING H10 H8\n[GNUPG:] SIG_CREATED D 22 10 00 ",
                          keys[0].hex, keys[1].hex);
    ck_contains(out, want);
    ck_contains(out, "SIG_CREATED D 19 8 00 ");
    gpgrt_free(want);
    gpgrt_free(out);
}
END_TEST

START_TEST(git)
{
    char *out;

    ck_assert_msg(
        shell(dir, &out,
              "git init -q -b main r && cd r && git config user.name T && git config user.email "
              "t@x &&\n"
              "git config gpg.program $SHIM && git config user.signingkey $K0 &&\n"
              "git commit -q -S --allow-empty -m one && git commit -q --allow-empty -m two &&\n"
              "git tag -s -m tagged v1 && git verify-commit HEAD^ && git verify-tag v1 &&\n"
              "git rebase -q --force-rebase -S --root && git log --format='%%G? %%GF %%s'") == 0,
        "%s", out);
    ck_contains(out, "Good signature from \"Zero <0@example.org>\"");
    ck_contains(out, keys[0].hex);
    ck_contains(out, " one\n");
    gpgrt_free(out);
    /* what cannot be signed is not committed */
    ck_assert_int_ne(
        shell(dir, &out, "cd r && git -c user.signingkey=none commit -S --allow-empty -m no"), 0);
    ck_contains(out, "gpg failed to sign the data");
    gpgrt_free(out);
    /* and the person is told why, although git keeps stderr to itself */
    ck_assert_int_ne(
        shell(dir, &out,
              "cd r && script -qec 'git -c user.signingkey=none commit -S --allow-empty "
              "-m no' /dev/null < /dev/null"),
        0);
    ck_contains(out, "skipped \"none\": No secret key");
    ck_contains(out, "no token holds this key");
    gpgrt_free(out);
    ck_assert_int_eq(shell(dir, &out, "cd r && git log --format='%%G?%%s' -1"), 0);
    ck_assert_str_eq(out, "Utwo\n");
    gpgrt_free(out);
}
END_TEST

static void wait_for_file(const char *name)
{
    const struct timespec moment = {.tv_nsec = 5 * 1000 * 1000};

    for (int i = 0; i < 2000 && !exists(name); i++)
        nanosleep(&moment, NULL);
    ck_assert_msg(exists(name), "%s never came", name);
}

/* Ctrl-C hangs up, and so withdraws the dialog. */
START_TEST(interrupted)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        char *file = gpgrt_bsprintf("%s/data", dir);

        execl(shim, shim, "-bu", "hang", file, (char *)NULL);
        _exit(127);
    }
    wait_for_file("asked");
    ck_assert(!exists("hungup"));
    ck_assert_int_eq(kill(pid, SIGINT), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    wait_for_file("hungup");
    ck_assert(!exists("data.sig"));
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, command, 0, sizeof cases / sizeof cases[0]);
    tcase_add_test(tc, status_lines);
    tcase_add_test(tc, git);
    tcase_add_test(tc, interrupted);
}

int main(void)
{
    return run_suite("gpgshim", add);
}
