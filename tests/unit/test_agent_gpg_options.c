/* gpg's command line as tools give it: which calls are ours, and what is read from them. */
#include "agent/gpgshim/options.h"
#include "agent/gpgshim/sign.h"
#include "tests/unit/openpgp_util.h"

#define MAX_ARGS 24

/* Splits at blanks; "''" is the empty word. */
struct args {
    char text[512];
    char *v[MAX_ARGS + 1];
    int n;
};

static void split(struct args *a, const char *line)
{
    char *save = NULL;

    snprintf(a->text, sizeof a->text, "gpg %s", line);
    a->n = 0;
    for (char *w = strtok_r(a->text, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        ck_assert_int_lt(a->n, MAX_ARGS);
        a->v[a->n++] = strcmp(w, "''") == 0 ? w + 2 : w;
    }
    a->v[a->n] = NULL;
}

static struct args args;

static void parse(const char *line, struct shim_options *o)
{
    split(&args, line);
    ck_ok(shim_options_parse(args.n, args.v, o));
}

static const struct {
    const char *line;
    bool armor, text, yes;
    int status_fd;
    const char *keys[3], *output, *file;
} ours[] = {
    /* git */
    {"--status-fd=2 -bsau K", true, false, false, 2, {"K"}, NULL, NULL},
    {"--status-fd 2 -bsau K -", true, false, false, 2, {"K"}, NULL, "-"},
    {"-b", false, false, false, -1, {NULL}, NULL, NULL},
    {"-bsa -uK", true, false, false, -1, {"K"}, NULL, NULL},
    {"-bau K --local-user=L --local-user K", true, false, false, -1, {"K", "L"}, NULL, NULL},
    {"--detach-sign --armor --no-armor", false, false, false, -1, {NULL}, NULL, NULL},
    {"-b -- -file", false, false, false, -1, {NULL}, NULL, "-file"},
    {"-sb -o - --yes f", false, false, true, -1, {NULL}, "-", "f"},
    {"-ab --digest-algo SHA256 --default-key D -o out.asc f",
     true,
     false,
     false,
     -1,
     {NULL},
     "out.asc",
     "f"},
    /* mutt */
    {"--no-verbose --batch --quiet --output - --armor --detach-sign --textmode -u K f",
     true,
     true,
     false,
     -1,
     {"K"},
     "-",
     "f"},
    /* maven */
    {"--batch --no-tty --passphrase-fd 0 --pinentry-mode loopback --local-user K --armor "
     "--detach-sign "
     "--output t.asc t.jar",
     true,
     false,
     false,
     -1,
     {"K"},
     "t.asc",
     "t.jar"},
    /* GPGME */
    {"--enable-special-filenames --batch --no-sk-comments --status-fd 8 --no-tty --charset utf8 "
     "--enable-progress-filter --exit-on-status-write-error --command-fd 9 --ttyname /dev/pts/1 "
     "--sign "
     "--detach -u K --output - -- -&11",
     false,
     false,
     false,
     8,
     {"K"},
     "-",
     "-&11"},
    /* jgit, osc, apt-ftparchive and the like */
    {"--homedir /h --no-options --no-default-keyring --keyring k --status-fd 1 -t -b -a",
     true,
     true,
     false,
     1,
     {NULL},
     NULL,
     NULL},
    {"--det --local K --out o --arm", true, false, false, -1, {"K"}, "o", NULL},
    {"-z 9 -b --no-textmode -vv -q", false, false, false, -1, {NULL}, NULL, NULL},
};

START_TEST(native)
{
    struct shim_options o;
    size_t n = 0;

    parse(ours[_i].line, &o);
    ck_assert_msg(o.native, "%s", ours[_i].line);
    ck_assert_int_eq(o.armor, ours[_i].armor);
    ck_assert_int_eq(o.text, ours[_i].text);
    ck_assert_int_eq(o.yes, ours[_i].yes);
    ck_assert_int_eq(o.status_fd, ours[_i].status_fd);
    ck_assert_pstr_eq(o.output, ours[_i].output);
    ck_assert_pstr_eq(o.file, ours[_i].file);
    for (; ours[_i].keys[n] != NULL; n++) {
        ck_assert_ptr_nonnull(o.keys);
        ck_assert_pstr_eq(o.keys[n], ours[_i].keys[n]);
    }
    ck_assert(n == 0 ? o.keys == NULL : o.keys[n] == NULL);
    shim_options_clear(&o);
}
END_TEST

static const char *const theirs[] = {
    "",
    "--keyid-format=long --status-fd=1 --verify sig -",
    "--version",
    "-s",
    "-sa -u K f",
    "--clearsign f",
    "--clear-sign -b",
    "-e -r R f",
    "-bse -r R",
    "-b -c",
    "--list-secret-keys --with-colons",
    "-K",
    "-d f",
    "-b a b",  /* one signature over two files */
    "-b f -a", /* so gpg reads it, too: "-a" is a file here */
    "-b --dry-run",
    "-bn",
    "-b --set-notation x=y", /* part of the signature */
    "-b --sig-policy-url u",
    "-b --default-sig-expire 1d",
    "-b --faked-system-time 0",
    "-b --status-file f",
    "-b --status-fd x",
    "-b --status-fd -1",
    "-b --status-fd 99999999999",
    "-b --status-fd",
    "-b -u",
    "-b --armor=yes",
    "-b --no-such-option",
    "-b --a",               /* armor, agent-program, .. */
    "-b --passphrase-fd 0", /* the passphrase would be signed */
    "-b --passphrase-fd 0 -",
    "-b --passphrase-fd x f",
    "-b -&3",
};

START_TEST(not_native)
{
    struct shim_options o;

    parse(theirs[_i], &o);
    ck_assert_msg(!o.native && !o.help, "%s", theirs[_i]);
    shim_options_clear(&o);
}
END_TEST

START_TEST(help)
{
    struct shim_options o;

    parse("--help", &o);
    ck_assert(o.help && !o.native);
    shim_options_clear(&o);
    parse("-h", &o);
    ck_assert(o.help);
    shim_options_clear(&o);
    /* a key of that name */
    parse("-b -u --help", &o);
    ck_assert(!o.help && o.native);
    ck_assert_str_eq(o.keys[0], "--help");
    shim_options_clear(&o);
    parse("-b --default-key D", &o);
    ck_assert_str_eq(o.default_key, "D");
    shim_options_clear(&o);
    parse("-b -u ''", &o);
    ck_assert_str_eq(o.keys[0], "");
    shim_options_clear(&o);
}
END_TEST

/* Every command of the real gpg and what else changes its work, in full and as far as a person may shorten it: with -b
 * beside it, none may become a plain signature by being read as another option's abbreviation. */
START_TEST(gpgs_own_commands)
{
    static const char *const commands[] = {
        "--clear",     "--enc",        "--sym",         "--store",      "--dec",
        "--verify",    "--list-k",     "--list-p",      "--list-s",     "--check-",
        "--fing",      "--gen-",       "--quick-",      "--full-",      "--del",
        "--sign-key",  "--lsign",      "--edit",        "--key-edit",   "--change",
        "--passwd",    "--desig",      "--export",      "--send-",      "--rec",
        "--search",    "--refresh",    "--locate",      "--fetch",      "--show-",
        "--import",    "--fast",       "--card",        "--gpgconf",    "--update",
        "--print",     "--server",     "--tofu-policy", "--rebuild",    "--dearmor",
        "--enarmor",   "--version",    "--warranty",    "--dump",       "--recipient",
        "--hidden",    "--encrypt-to", "--set-",        "--sig-",       "--cert-not",
        "--multifile", "--dry",        "--faked",       "--include-key"};
    char *dir = scratch_new(), *out, *save = NULL, line[128];
    struct shim_options o;
    unsigned tested = 0;

    ck_assert_int_eq(shell(dir, &out, "gpg --dump-options"), 0);
    for (char *name = strtok_r(out, "\n", &save); name != NULL; name = strtok_r(NULL, "\n", &save))
        for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
            if (strncmp(name, commands[i], strlen(commands[i])) == 0) {
                snprintf(line, sizeof line, "-b %s x", name);
                parse(line, &o);
                ck_assert_msg(!o.native, "%s", line);
                shim_options_clear(&o);
                snprintf(line, sizeof line, "-b %s", commands[i]);
                parse(line, &o);
                ck_assert_msg(!o.native, "%s", line);
                shim_options_clear(&o);
                tested++;
            }
    ck_assert_uint_gt(tested, 90);
    gpgrt_free(out);
    scratch_free(dir);
}
END_TEST

/* The agent's "SIGNED" line. */
#define FPR "0123456789ABCDEF0123456789ABCDEF01234567"
START_TEST(signed_line)
{
    static const char *const broken[] = {
        "",
        "fpr=" FPR,
        "fpr=" FPR " pubkey-algo=22 hash-algo=10",
        "fpr=" FPR " pubkey-algo=22 created=1",
        "fpr=" FPR "0 pubkey-algo=22 hash-algo=10 created=1",
        "fpr=0123%20 pubkey-algo=22 hash-algo=10 created=1",
        "fpr=%%% pubkey-algo=22 hash-algo=10 created=1",
        "fpr=" FPR " pubkey-algo=2222 hash-algo=10 created=1",
        "fpr=" FPR " pubkey-algo=22 hash-algo=-1 created=1",
        "fpr=" FPR " pubkey-algo=x hash-algo=10 created=1",
        "pubkey-algo=22 hash-algo=10 created=1",
    };
    struct signed_with s = {0};

    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        ck_code(signed_with_parse(broken[i], &s), GPG_ERR_INV_RESPONSE);
        ck_assert_ptr_null(s.fpr);
    }
    ck_ok(
        signed_with_parse("fpr=" FPR " pubkey-algo=22 hash-algo=10 created=1700000000 new=1", &s));
    ck_assert_str_eq(s.fpr, FPR);
    ck_assert_int_eq(s.pubkey_algo, 22);
    ck_assert_int_eq(s.hash_algo, 10);
    ck_assert_int_eq(s.created, 1700000000);
    gpgrt_free(s.fpr);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, native, 0, sizeof ours / sizeof ours[0]);
    tcase_add_loop_test(tc, not_native, 0, sizeof theirs / sizeof theirs[0]);
    tcase_add_test(tc, help);
    tcase_add_test(tc, gpgs_own_commands);
    tcase_add_test(tc, signed_line);
}

int main(void)
{
    return run_suite("gpg_options", add);
}
