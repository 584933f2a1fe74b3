#include "agent/gpg_options.h"

#include "agent/gpg_sockets.h"

#include <ctype.h>
#include <errno.h>
#include <gcrypt.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_CONF (256u * 1024u)

/* --- the table ----------------------------------------------------------------------------------------------------------------- */

enum kind {
    HEADING, /* of --help and --dump-option-table */
    COMMAND, /* sets the mode */
    FLAG,
    UNSIGNED,
    TEXT,
    IGNORED,      /* taken, without effect here */
    IGNORED_TEXT, /* .. with a value */
    IGNORED_OPTIONAL,
};

/* gpgrt's flags in --dump-option-table, which gpgconf reads. */
enum {
    F_NONE = 0,
    F_INT = 1,
    F_STR = 2,
    F_ULONG = 4,
    F_OPT = 8,
    F_OCT = 16,
    F_CMD = 128,
    F_CONF = 256,
    F_HEAD = 512
};

struct row {
    const char *name;
    short number; /* gpg-agent's own */
    short flags;
    enum kind kind;
    size_t at; /* of the field in struct gpg_config, or in struct gpg_options: */
    bool of_options;
    bool value;       /* FLAG: what it sets */
    int mode;         /* COMMAND */
    const char *help; /* "@": none */
};

#define C(field) offsetof(struct gpg_config, field), false
#define O(field) offsetof(struct gpg_options, field), true
#define NO       0, false

static const struct row rows[] = {
    {"gpgconf-list", 501, F_CMD, COMMAND, NO, 0, GPG_LIST, "@"},
    {"gpgconf-test", 502, F_CMD, COMMAND, NO, 0, GPG_TEST, "@"},
    {"use-standard-socket-p", 503, F_CMD, COMMAND, NO, 0, GPG_SOCKET_P, "@"},
    {"daemon", 518, F_NONE, COMMAND, NO, 0, GPG_DAEMON, "run in daemon mode (background)"},
    {"server", 517, F_NONE, COMMAND, NO, 0, GPG_SERVER, "run in server mode (foreground)"},
    {"supervised", 519, F_NONE, COMMAND, NO, 0, GPG_SUPERVISED, "run in supervised mode"},
    {"no-detach", 513, F_NONE, FLAG, O(no_detach), true, 0, "do not detach from the console"},
    {"sh", 's', F_NONE, FLAG, O(sh), true, 0, "sh-style command output"},
    {"csh", 'c', F_NONE, FLAG, O(csh), true, 0, "csh-style command output"},
    {"steal-socket", 546, F_NONE, FLAG, O(steal_socket), true, 0, "@"},
    {"display", 526, F_STR, IGNORED_TEXT, NO, 0, 0, "@"},
    {"ttyname", 527, F_STR, IGNORED_TEXT, NO, 0, 0, "@"},
    {"ttytype", 528, F_STR, IGNORED_TEXT, NO, 0, 0, "@"},
    {"lc-ctype", 529, F_STR, IGNORED_TEXT, NO, 0, 0, "@"},
    {"lc-messages", 530, F_STR, IGNORED_TEXT, NO, 0, 0, "@"},
    {"xauthority", 531, F_STR, IGNORED_TEXT, NO, 0, 0, "@"},
    {"homedir", 512, F_STR, TEXT, O(home_arg), 0, 0, "@"},
    {"options", 504, F_STR | F_CONF, TEXT, O(conf_arg), 0, 0, "|FILE|read options from FILE"},
    {"no-options", 511, F_CONF, IGNORED, NO, 0, 0, "@"},
    {"Monitor", 1, F_HEAD, HEADING, NO, 0, 0, "Options controlling the diagnostic output"},
    {"verbose", 'v', F_NONE, FLAG, O(verbose), true, 0, "verbose"},
    {"quiet", 'q', F_NONE, FLAG, O(quiet), true, 0, "be somewhat more quiet"},
    {"debug", 505, F_STR, IGNORED_TEXT, NO, 0, 0, "@"},
    {"debug-all", 506, F_NONE, IGNORED, NO, 0, 0, "@"},
    {"debug-level", 507, F_STR, IGNORED_TEXT, NO, 0, 0, "@"},
    {"debug-wait", 508, F_INT, IGNORED_TEXT, NO, 0, 0, "@"},
    {"debug-quick-random", 509, F_NONE, IGNORED, NO, 0, 0, "@"},
    {"debug-pinentry", 510, F_NONE, IGNORED, NO, 0, 0, "@"},
    {"log-file", 516, F_STR, TEXT, O(log_file), 0, 0, "|FILE|write server mode logs to FILE"},
    {"Configuration", 1, F_HEAD, HEADING, NO, 0, 0, "Options controlling the configuration"},
    {"disable-scdaemon", 567, F_NONE, FLAG, C(disable_scdaemon), true, 0,
     "do not use the SCdaemon"},
    {"scdaemon-program", 532, F_STR, IGNORED_TEXT, NO, 0, 0,
     "|PGM|use PGM as the SCdaemon program"},
    {"disable-check-own-socket", 568, F_NONE, FLAG, O(check_own_socket), false, 0, "@"},
    {"extra-socket", 549, F_STR, TEXT, C(extra_socket), 0, 0,
     "|NAME|accept some commands via NAME"},
    {"browser-socket", 550, F_STR, TEXT, C(browser_socket), 0, 0, "@"},
    {"keep-tty", 562, F_NONE, FLAG, C(keep_tty), true, 0, "ignore requests to change the TTY"},
    {"keep-display", 563, F_NONE, FLAG, C(keep_display), true, 0,
     "ignore requests to change the X display"},
    {"enable-ssh-support", 564, F_NONE, FLAG, C(ssh_support), true, 0, "enable ssh support"},
    {"ssh-fingerprint-digest", 565, F_STR, TEXT, C(ssh_digest), 0, 0,
     "|ALGO|use ALGO to show ssh fingerprints"},
    {"enable-putty-support", 566, F_NONE, IGNORED, NO, 0, 0, "@"},
    {"enable-win32-openssh-support", 0, F_NONE, IGNORED, NO, 0, 0, NULL},
    {"disable-extended-key-format", 544, F_NONE, IGNORED, NO, 0, 0, "@"},
    {"enable-extended-key-format", 545, F_NONE, IGNORED, NO, 0, 0, "@"},
    {"listen-backlog", 572, F_INT, IGNORED_TEXT, NO, 0, 0, "@"},
    {"auto-expand-secmem", 571, F_ULONG | F_OPT | F_OCT, IGNORED_OPTIONAL, NO, 0, 0, "@"},
    {"faked-system-time", 551, F_STR, IGNORED_TEXT, NO, 0, 0, "@"},
    {"Security", 1, F_HEAD, HEADING, NO, 0, 0, "Options controlling the security"},
    {"default-cache-ttl", 533, F_ULONG, UNSIGNED, C(default_ttl), 0, 0,
     "|N|expire cached PINs after N seconds"},
    {"default-cache-ttl-ssh", 534, F_ULONG, UNSIGNED, C(default_ttl_ssh), 0, 0,
     "|N|expire SSH keys after N seconds"},
    {"max-cache-ttl", 535, F_ULONG, UNSIGNED, C(max_ttl), 0, 0,
     "|N|set maximum PIN cache lifetime to N seconds"},
    {"max-cache-ttl-ssh", 536, F_ULONG, UNSIGNED, C(max_ttl_ssh), 0, 0,
     "|N|set maximum SSH key lifetime to N seconds"},
    {"ignore-cache-for-signing", 552, F_NONE, FLAG, C(ignore_cache_for_signing), true, 0,
     "do not use the PIN cache when signing"},
    {"no-allow-external-cache", 560, F_NONE, FLAG, C(allow_external_cache), false, 0,
     "disallow the use of an external password cache"},
    {"no-allow-mark-trusted", 554, F_NONE, FLAG, C(allow_mark_trusted), false, 0,
     "disallow clients to mark keys as \"trusted\""},
    {"allow-mark-trusted", 553, F_NONE, FLAG, C(allow_mark_trusted), true, 0, "@"},
    {"no-user-trustlist", 555, F_NONE, FLAG, C(no_user_trustlist), true, 0, "@"},
    {"sys-trustlist-name", 556, F_STR, TEXT, C(sys_trustlist), 0, 0, "@"},
    {"allow-preset-passphrase", 557, F_NONE, FLAG, C(allow_preset), true, 0,
     "allow presetting passphrase"},
    {"s2k-count", 569, F_ULONG, UNSIGNED, C(s2k_count), 0, 0, "@"},
    {"s2k-calibration", 570, F_ULONG, IGNORED_TEXT, NO, 0, 0, "@"},
    {"Passphrase policy", 1, F_HEAD, HEADING, NO, 0, 0, "Options enforcing a passphrase policy"},
    {"enforce-passphrase-constraints", 537, F_NONE, FLAG, C(enforce_constraints), true, 0,
     "do not allow bypassing the passphrase policy"},
    {"min-passphrase-len", 538, F_ULONG, UNSIGNED, C(min_passphrase_len), 0, 0,
     "|N|set minimal required length for new passphrases to N"},
    {"min-passphrase-nonalpha", 539, F_ULONG, UNSIGNED, C(min_passphrase_nonalpha), 0, 0,
     "|N|require at least N non-alpha characters for a new passphrase"},
    {"check-passphrase-pattern", 540, F_STR, TEXT, C(check_pattern), 0, 0,
     "|FILE|check new passphrases against pattern in FILE"},
    {"check-sym-passphrase-pattern", 541, F_STR, TEXT, C(check_sym_pattern), 0, 0, "@"},
    {"max-passphrase-days", 542, F_ULONG, UNSIGNED, C(max_passphrase_days), 0, 0,
     "|N|expire the passphrase after N days"},
    {"enable-passphrase-history", 543, F_NONE, IGNORED, NO, 0, 0,
     "do not allow the reuse of old passphrases"},
    {"Pinentry", 1, F_HEAD, HEADING, NO, 0, 0, "Options controlling the PIN-Entry"},
    {"batch", 520, F_NONE, FLAG, C(batch), true, 0, "never use the PIN-entry"},
    {"no-allow-loopback-pinentry", 559, F_NONE, FLAG, C(allow_loopback), false, 0,
     "disallow caller to override the pinentry"},
    {"allow-loopback-pinentry", 558, F_NONE, FLAG, C(allow_loopback), true, 0, "@"},
    {"grab", 514, F_NONE, FLAG, C(grab), true, 0, "let PIN-Entry grab keyboard and mouse"},
    {"no-grab", 515, F_NONE, FLAG, C(grab), false, 0, "@"},
    {"pinentry-program", 521, F_STR, TEXT, C(pinentry_program), 0, 0,
     "|PGM|use PGM as the PIN-Entry program"},
    {"pinentry-touch-file", 522, F_STR, TEXT, C(touch_file), 0, 0, "@"},
    {"pinentry-invisible-char", 523, F_STR, TEXT, C(invisible_char), 0, 0, "@"},
    {"pinentry-timeout", 524, F_ULONG, UNSIGNED, C(pinentry_timeout), 0, 0,
     "|N|set the Pinentry timeout to N seconds"},
    {"pinentry-formatted-passphrase", 525, F_NONE, FLAG, C(formatted_passphrase), true, 0, "@"},
    {"allow-emacs-pinentry", 561, F_NONE, FLAG, C(allow_emacs_pinentry), true, 0,
     "allow passphrase to be prompted through Emacs"},
    {"write-env-file", 573, F_STR | F_OPT, IGNORED_OPTIONAL, NO, 0, 0, "@"},
    {"use-standard-socket", 547, F_NONE, IGNORED, NO, 0, 0, "@"},
    {"no-use-standard-socket", 548, F_NONE, IGNORED, NO, 0, 0, "@"},
    {"tpm2daemon-program", 0, F_STR, IGNORED_TEXT, NO, 0, 0, NULL},
    {"disable-daemon", 0, F_STR, IGNORED_TEXT, NO, 0, 0, NULL},
    {"help", (short)0x8000, F_NONE, COMMAND, NO, 0, GPG_HELP, "@"},
    {"version", (short)0x8001, F_NONE, COMMAND, NO, 0, GPG_VERSION, "@"},
    {"warranty", (short)0x8002, F_NONE, COMMAND, NO, 0, GPG_VERSION, "@"},
    {"dump-option-table", (short)0x8004, F_NONE, COMMAND, NO, 0, GPG_DUMP_TABLE, "@"},
    {"dump-options", (short)0x8003, F_NONE, COMMAND, NO, 0, GPG_DUMP, "@"},
};
#define ROWS (sizeof rows / sizeof rows[0])

/* --- setting ---------------------------------------------------------------------------------------------------------------------- */

static bool takes_value(const struct row *r)
{
    return r->kind == UNSIGNED || r->kind == TEXT || r->kind == IGNORED_TEXT;
}

/* An unambiguous beginning of a name will do on the command line. */
static const struct row *find_row(const char *name, size_t n, bool abbreviated)
{
    const struct row *found = NULL;

    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].kind == HEADING || strncmp(rows[i].name, name, n) != 0)
            continue;
        if (rows[i].name[n] == '\0')
            return &rows[i];
        if (abbreviated && found != NULL)
            return NULL;
        if (abbreviated)
            found = &rows[i];
    }
    return found;
}

static const struct row *find_letter(char letter)
{
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].number == letter && rows[i].kind != HEADING)
            return &rows[i];
    return NULL;
}

static char *field_of(const struct row *r, struct gpg_options *o)
{
    return (r->of_options ? (char *)o : (char *)o->conf) + r->at;
}

static gpg_error_t set_unsigned(const char *value, unsigned *out)
{
    char *end;
    unsigned long n;

    errno = 0;
    n = strtoul(value, &end, 0);
    if (!isdigit((unsigned char)value[0]) || *end != '\0')
        return gpg_error(GPG_ERR_INV_VALUE);
    *out = errno != 0 || n > UINT_MAX ? UINT_MAX : (unsigned)n;
    return 0;
}

/* VALUE NULL for those that take none. */
static gpg_error_t apply(const struct row *r, const char *value, struct gpg_options *o)
{
    char *copy;

    switch (r->kind) {
    case COMMAND:
        o->mode = (enum gpg_mode)r->mode;
        return 0;
    case FLAG:
        *(bool *)field_of(r, o) = r->value;
        return 0;
    case UNSIGNED:
        return set_unsigned(value, (unsigned *)(void *)field_of(r, o));
    case TEXT:
        copy = gpgrt_strdup(value);
        if (copy == NULL)
            return gpg_error_from_syserror();
        gpgrt_free(*(char **)(void *)field_of(r, o));
        *(char **)(void *)field_of(r, o) = copy;
        return 0;
    default:
        return 0;
    }
}

/* --- the file ---------------------------------------------------------------------------------------------------------------------- */

static bool may_stand_in_file(const struct row *r)
{
    return r->kind != HEADING && (r->kind != COMMAND) && strcmp(r->name, "homedir") != 0 &&
           strcmp(r->name, "options") != 0;
}

/* "name", "name value" or "name=value"; a value in double quotes loses them. */
static unsigned parse_line(const char *file, unsigned number, char *line, struct gpg_options *o)
{
    const struct row *r;
    char *value;
    size_t n = strlen(line);

    while (n > 0 && isspace((unsigned char)line[n - 1]))
        line[--n] = '\0';
    line += strspn(line, " \t");
    if (*line == '\0' || *line == '#')
        return 0;
    if (line[0] == '-' && line[1] == '-')
        line += 2;
    n = strcspn(line, " \t=");
    value = line + n + strspn(line + n, " \t");
    if (*value == '=')
        value += 1 + strspn(value + 1, " \t");
    r = find_row(line, n, false);
    if (r == NULL || !may_stand_in_file(r)) {
        gpgrt_log_info("%s:%u: %.*s: no option that this agent knows; ignored\n", file, number,
                       (int)(n > 60 ? 60 : n), line);
        return 0;
    }
    n = strlen(value);
    if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
        value[n - 1] = '\0';
        value++;
    }
    if (takes_value(r) && *value == '\0') {
        gpgrt_log_error("%s:%u: %s: a value is missing\n", file, number, r->name);
        return 1;
    }
    if (apply(r, value, o) != 0) {
        gpgrt_log_error("%s:%u: %s %s: not a number\n", file, number, r->name, value);
        return 1;
    }
    return 0;
}

unsigned gpg_options_parse_file(const char *name, const char *text, struct gpg_options *o)
{
    unsigned number = 0, problems = 0;

    while (*text != '\0') {
        size_t n = strcspn(text, "\n");
        char *line = gpgrt_bsprintf("%.*s", (int)(n < MAX_CONF ? n : MAX_CONF), text);

        number++;
        if (line != NULL)
            problems += parse_line(name, number, line, o);
        gpgrt_free(line);
        text += n + (text[n] == '\n');
    }
    return problems;
}

/* *PROBLEMS: what was wrong in it. A file that is not there says nothing, unless it was NAMED. */
static gpg_error_t read_file(const char *path, bool named, struct gpg_options *o,
                             unsigned *problems)
{
    FILE *f = fopen(path, "re");
    char *text;
    size_t n;
    gpg_error_t err = 0;

    *problems = 0;
    if (f == NULL) {
        err = gpg_error_from_syserror();
        return !named && gpg_err_code(err) == GPG_ERR_ENOENT ? 0 : err;
    }
    text = gpgrt_malloc(MAX_CONF + 1);
    if (text == NULL) {
        err = gpg_error_from_syserror();
    } else {
        n = fread(text, 1, MAX_CONF, f);
        if (ferror(f))
            err = gpg_error_from_syserror();
        text[n] = '\0';
    }
    fclose(f);
    if (err == 0)
        *problems = gpg_options_parse_file(path, text, o);
    gpgrt_free(text);
    return err;
}

/* --- the whole ------------------------------------------------------------------------------------------------------------------------ */

static gpg_error_t defaults(struct gpg_options *o)
{
    *o = (struct gpg_options){.mode = GPG_PROBE, .check_own_socket = true};
    o->conf = gpgrt_calloc(1, sizeof *o->conf);
    if (o->conf == NULL)
        return gpg_error_from_syserror();
    *o->conf = (struct gpg_config){.default_ttl = 600,
                                   .max_ttl = 7200,
                                   .default_ttl_ssh = 1800,
                                   .max_ttl_ssh = 7200,
                                   .min_passphrase_len = 8,
                                   .min_passphrase_nonalpha = 1,
                                   .allow_loopback = true,
                                   .allow_mark_trusted = true,
                                   .allow_external_cache = true,
                                   .refs = 1};
    return 0;
}

/* The options of a command line, up to what is none; *REST: the index of that. */
static gpg_error_t parse_arguments(int argc, char **argv, struct gpg_options *o, int *rest)
{
    int i = 1;

    for (; i < argc; i++) {
        const char *arg = argv[i], *value = NULL;
        const struct row *r;

        if (arg[0] != '-' || arg[1] == '\0')
            break;
        if (strcmp(arg, "--") == 0) {
            i++;
            break;
        }
        if (arg[1] == '-') {
            size_t n = strcspn(arg + 2, "=");

            r = find_row(arg + 2, n, true);
            if (arg[2 + n] == '=')
                value = arg + 2 + n + 1;
        } else {
            r = arg[1] == 'h' ? find_row("help", 4, false) : find_letter(arg[1]);
            if (r != NULL && arg[2] != '\0') { /* -qv */
                for (const char *l = arg + 2; *l != '\0' && r != NULL; l++) {
                    (void)apply(r, NULL, o);
                    r = find_letter(*l);
                }
            }
        }
        if (r == NULL) {
            fprintf(stderr, "gpg-agent: invalid option \"%s\"\n", arg);
            return gpg_error(GPG_ERR_SYNTAX);
        }
        if (takes_value(r) && value == NULL && ++i < argc)
            value = argv[i];
        if (takes_value(r) && value == NULL) {
            fprintf(stderr, "gpg-agent: option \"--%s\" requires a value\n", r->name);
            return gpg_error(GPG_ERR_SYNTAX);
        }
        if (apply(r, value, o) != 0) {
            fprintf(stderr, "gpg-agent: option \"--%s\": \"%s\" is no number\n", r->name, value);
            return gpg_error(GPG_ERR_SYNTAX);
        }
    }
    *rest = i;
    return 0;
}

static bool is_given(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strncmp(argv[i], "--", 2) == 0 && strcmp(argv[i] + 2, name) == 0)
            return true;
    return false;
}

static gpg_error_t finish(struct gpg_options *o)
{
    struct gpg_config *c = o->conf;

    c->ssh_fingerprint_hash = c->ssh_digest != NULL ? gcry_md_map_name(c->ssh_digest) : GCRY_MD_MD5;
    if (c->ssh_fingerprint_hash == 0)
        c->ssh_fingerprint_hash = GCRY_MD_SHA256;
    if (c->s2k_count != 0 && c->s2k_count < 65536)
        c->s2k_count = 0;
    return gpg_home(o->home_arg, &c->home, &o->standard_home);
}

/* First the command line for what it says of the file, then the file, then the command line again: it counts more. */
static gpg_error_t load(int argc, char **argv, struct gpg_options *o, unsigned *problems)
{
    struct gpg_options first;
    char *home = NULL, *path = NULL;
    int rest = 1;
    gpg_error_t err = defaults(&first);

    *problems = 0;
    if (err == 0)
        err = parse_arguments(argc, argv, &first, &rest);
    if (err == 0)
        err = gpg_home(first.home_arg, &home, &first.standard_home);
    if (err == 0)
        err = defaults(o);
    if (err == 0 && !is_given(argc, argv, "no-options")) {
        path = first.conf_arg != NULL ? gpgrt_strdup(first.conf_arg)
                                      : gpgrt_bsprintf("%s/gpg-agent.conf", home);
        err = path != NULL ? read_file(path, first.conf_arg != NULL, o, problems)
                           : gpg_error_from_syserror();
        if (err != 0)
            fprintf(stderr, "gpg-agent: %s: %s\n", path != NULL ? path : "?", gpg_strerror(err));
    }
    if (err == 0)
        err = parse_arguments(argc, argv, o, &rest);
    if (err == 0)
        err = finish(o);
    if (err == 0) {
        o->conf_file = path;
        path = NULL;
        o->command = rest < argc ? argv + rest : NULL;
        o->argc = argc;
        o->argv = argv;
    }
    gpg_options_clear(&first);
    gpgrt_free(home);
    gpgrt_free(path);
    return err;
}

gpg_error_t gpg_options_parse(int argc, char **argv, struct gpg_options *out)
{
    unsigned problems = 0;
    gpg_error_t err;

    *out = (struct gpg_options){0};
    err = load(argc, argv, out, &problems);
    if (err == 0 && problems > 0 && (out->mode == GPG_TEST || out->mode == GPG_LIST))
        err = gpg_error(GPG_ERR_SYNTAX);
    return err;
}

gpg_error_t gpg_options_reload(const struct gpg_options *o, struct gpg_config **out)
{
    struct gpg_options fresh = {0};
    unsigned problems = 0;
    gpg_error_t err = load(o->argc, o->argv, &fresh, &problems);

    if (err == 0) {
        *out = fresh.conf;
        fresh.conf = NULL;
    }
    gpg_options_clear(&fresh);
    return err;
}

gpg_error_t gpg_options_of_home(const char *home, struct gpg_config **out)
{
    char *argv[] = {(char *)(uintptr_t) "gpg-agent", (char *)(uintptr_t) "--homedir",
                    (char *)(uintptr_t)home, NULL};
    const struct gpg_options o = {.argc = 3, .argv = argv};

    return gpg_options_reload(&o, out);
}

void gpg_options_clear(struct gpg_options *o)
{
    gpg_config_put(o->conf);
    gpgrt_free(o->log_file);
    gpgrt_free(o->conf_file);
    gpgrt_free(o->home_arg);
    gpgrt_free(o->conf_arg);
    *o = (struct gpg_options){0};
}

bool gpg_options_are_meant(int argc, char **argv)
{
    static const char *const tell[] = {"--server",
                                       "--supervised",
                                       "--use-standard-socket",
                                       "--gpgconf-list",
                                       "--gpgconf-test",
                                       "--use-standard-socket-p",
                                       "--dump-option-table",
                                       "--dump-options",
                                       "--homedir",
                                       "--options",
                                       "--no-options",
                                       "--enable-ssh-support",
                                       "--no-detach"};
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *base = argc > 0 ? (slash != NULL ? slash + 1 : argv[0]) : "";

    if (strcmp(base, "gpg-agent") == 0)
        return true;
    for (int i = 1; i < argc && argv[i][0] == '-' && strcmp(argv[i], "--") != 0; i++)
        for (size_t t = 0; t < sizeof tell / sizeof tell[0]; t++) {
            size_t n = strlen(tell[t]);

            if (strncmp(argv[i], tell[t], n) == 0 && (argv[i][n] == '\0' || argv[i][n] == '='))
                return true;
        }
    return false;
}

/* --- what gpgconf reads ------------------------------------------------------------------------------------------------------------------ */

void gpg_options_print_list(const struct gpg_config *c)
{
    const struct {
        const char *name;
        unsigned value;
    } numbers[] = {{"default-cache-ttl", 600},
                   {"default-cache-ttl-ssh", 1800},
                   {"max-cache-ttl", 7200},
                   {"max-cache-ttl-ssh", 7200},
                   {NULL, 0},
                   {"min-passphrase-len", 8},
                   {"min-passphrase-nonalpha", 1},
                   {"max-passphrase-days", 0}};

    (void)c;
    printf("debug-level:16:\"none:\n");
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i].name != NULL)
            printf("%s:16:%u:\n", numbers[i].name, numbers[i].value);
        else
            printf("enforce-passphrase-constraints:0:\n");
    printf("ssh-fingerprint-digest:16:\"md5:\n");
}

void gpg_options_print_table(void)
{
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].help != NULL)
            printf("%s:%u:%u:%s:\n", rows[i].name, (unsigned)(unsigned short)rows[i].number,
                   (unsigned)rows[i].flags, rows[i].help);
}

void gpg_options_print_names(void)
{
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].kind != HEADING)
            printf("--%s\n", rows[i].name);
}

void gpg_options_usage(void)
{
    printf("Usage: gpg-agent [options] [command [args]]\n"
           "Secret key management for GnuPG, by latchkey-agent(1)\n");
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *r = &rows[i];
        const char *help = r->help, *arg = "";
        int narg = 0;

        if (help == NULL || strcmp(help, "@") == 0)
            continue;
        if (r->kind == HEADING) {
            printf("\n%s:\n", help);
            continue;
        }
        if (help[0] == '|') {
            arg = help + 1;
            narg = (int)strcspn(arg, "|");
            help = arg + narg + 1;
        }
        if (r->number > ' ' && r->number < 127)
            printf(" -%c, --%s", (char)r->number, r->name);
        else
            printf("     --%s", r->name);
        printf("%s%.*s\n         %s\n", narg > 0 ? " " : "", narg, arg, help);
    }
}
