#include "agent/gpg_option_table.h"
#include "agent/gpg_sockets.h"

#include <ctype.h>
#include <errno.h>
#include <gcrypt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CONF (256u * 1024u)

/* --- setting ---------------------------------------------------------------------------------------------------------------------- */

static bool takes_value(const struct gpg_option *r)
{
    return r->kind == UNSIGNED || r->kind == TEXT || r->kind == PATH || r->kind == IGNORED_TEXT;
}

/* ABBREVIATED: an unambiguous beginning of a name will do, too. *AMBIGUOUS: it is none. */
static const struct gpg_option *find_name(const char *name, size_t n, bool abbreviated,
                                          bool *ambiguous)
{
    const struct gpg_option *found = NULL;
    size_t count = 0;

    *ambiguous = false;
    for (size_t i = 0; i < gpg_option_count; i++) {
        const struct gpg_option *r = &gpg_option_table[i];

        if (r->kind == HEADING || strncmp(r->name, name, n) != 0)
            continue;
        if (r->name[n] == '\0')
            return r;
        if (abbreviated) {
            found = r;
            count++;
        }
    }
    *ambiguous = count > 1;
    return count == 1 ? found : NULL;
}

static const struct gpg_option *find_letter(char letter)
{
    for (size_t i = 0; i < gpg_option_count; i++)
        if (gpg_option_table[i].number == letter && gpg_option_table[i].kind != HEADING)
            return &gpg_option_table[i];
    return NULL;
}

static char *field_of(const struct gpg_option *r, struct gpg_options *o)
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

static gpg_error_t set_text(const char *value, bool is_path, char **out)
{
    char *copy =
        is_path && strncmp(value, "~/", 2) == 0 ? gpg_absolute(value) : gpgrt_strdup(value);

    if (copy == NULL)
        return gpg_error_from_syserror();
    gpgrt_free(*out);
    *out = copy;
    return 0;
}

/* VALUE NULL for those that take none. */
static gpg_error_t apply(const struct gpg_option *r, const char *value, struct gpg_options *o)
{
    void *field = field_of(r, o);

    switch (r->kind) {
    case COMMAND:
        o->mode = (enum gpg_mode)r->mode;
        return 0;
    case FLAG:
        *(bool *)field = r->value;
        return 0;
    case UNSIGNED:
        return set_unsigned(value, field);
    case TEXT:
    case PATH:
        return set_text(value, r->kind == PATH, field);
    default:
        return 0;
    }
}

/* --- the file ---------------------------------------------------------------------------------------------------------------------- */

static bool may_stand_in_file(const struct gpg_option *r)
{
    return r->kind != COMMAND && strcmp(r->name, "homedir") != 0 &&
           strcmp(r->name, "options") != 0 && strcmp(r->name, "no-options") != 0;
}

/* "name", "name value" or "name = value"; a value in double quotes loses them. What is between LINE and its end may be overwritten. */
static void parse_line(const char *file, unsigned number, char *line, struct gpg_options *o)
{
    const struct gpg_option *r;
    size_t n = strlen(line);
    bool ambiguous;
    char *value;

    while (n > 0 && isspace((unsigned char)line[n - 1]))
        line[--n] = '\0';
    line += strspn(line, " \t");
    if (*line == '\0' || *line == '#')
        return;
    if (line[0] == '-' && line[1] == '-')
        line += 2;
    n = strcspn(line, " \t=");
    value = line + n + strspn(line + n, " \t");
    if (*value == '=')
        value += 1 + strspn(value + 1, " \t");
    r = find_name(line, n, false, &ambiguous);
    if (r == NULL || !may_stand_in_file(r)) {
        buf_printf(&o->notes, "%s:%u: %.*s: not an option that is known here; ignored\n", file,
                   number, (int)(n > 60 ? 60 : n), line);
        return;
    }
    n = strlen(value);
    if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
        value[n - 1] = '\0';
        value++;
    }
    if (takes_value(r) && *value == '\0') {
        buf_printf(&o->notes, "%s:%u: %s: its value is missing\n", file, number, r->name);
        o->problems++;
    } else if (apply(r, value, o) != 0) {
        buf_printf(&o->notes, "%s:%u: %s: \"%.60s\" is not a number\n", file, number, r->name,
                   value);
        o->problems++;
    }
}

void gpg_options_parse_file(const char *name, const char *text, struct gpg_options *o)
{
    unsigned number = 0;

    while (*text != '\0') {
        size_t n = strcspn(text, "\n");
        char *line = gpgrt_malloc(n + 1);

        number++;
        if (line != NULL) {
            memcpy(line, text, n);
            line[n] = '\0';
            parse_line(name, number, line, o);
            gpgrt_free(line);
        }
        text += n + (text[n] == '\n');
    }
}

/* A file that is not there says nothing, unless it was NAMED. */
static gpg_error_t read_file(const char *path, bool named, struct gpg_options *o)
{
    FILE *f = fopen(path, "re");
    char *text = NULL;
    size_t n;
    gpg_error_t err = 0;

    if (f == NULL) {
        err = gpg_error_from_syserror();
        if (!named && gpg_err_code(err) == GPG_ERR_ENOENT)
            return 0;
        goto out;
    }
    text = gpgrt_malloc(MAX_CONF + 1);
    if (text == NULL) {
        err = gpg_error_from_syserror();
        goto out;
    }
    n = fread(text, 1, MAX_CONF, f);
    text[n] = '\0';
    if (ferror(f))
        err = gpg_error_from_syserror();
    else if (n == MAX_CONF)
        err = gpg_error(GPG_ERR_TOO_LARGE);
    if (err == 0)
        gpg_options_parse_file(path, text, o);
out:
    if (err != 0)
        gpgrt_log_error("option file %s: %s\n", path, gpg_strerror(err));
    if (f != NULL)
        fclose(f);
    gpgrt_free(text);
    return err;
}

void gpg_options_tell(const struct gpg_options *o)
{
    struct rd r = buf_rd(&o->notes);

    while (r.n > 0) {
        const uint8_t *end = memchr(r.p, '\n', r.n);
        size_t n = end != NULL ? (size_t)(end - r.p) : r.n;

        gpgrt_log_info("%.*s\n", (int)n, (const char *)r.p);
        r = rd_of(r.p + n + (end != NULL), r.n - n - (end != NULL));
    }
}

/* --- the command line ---------------------------------------------------------------------------------------------------------------- */

static gpg_error_t complain(const char *text, const char *arg)
{
    fprintf(stderr, "gpg-agent: %s \"%s\"\n", text, arg);
    return gpg_error(GPG_ERR_SYNTAX);
}

/* -qv: a letter each; what the last one is stands in *LAST, to be applied. */
static gpg_error_t parse_letters(const char *arg, struct gpg_options *o,
                                 const struct gpg_option **last)
{
    for (const char *l = arg + 1; *l != '\0'; l++) {
        bool ambiguous;

        *last = *l == 'h' ? find_name("help", 4, false, &ambiguous) : find_letter(*l);
        if (*last == NULL)
            return complain("invalid option", arg);
        if (l[1] != '\0')
            (void)apply(*last, NULL, o); /* none of them takes a value */
    }
    return 0;
}

/* The options of a command line, up to what is none; *REST: the index of that. */
static gpg_error_t parse_arguments(int argc, char **argv, struct gpg_options *o, int *rest)
{
    int i = 1;

    for (; i < argc && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
        const struct gpg_option *r = NULL;
        const char *arg = argv[i], *value = NULL;
        gpg_error_t err = 0;

        if (strcmp(arg, "--") == 0) {
            i++;
            break;
        }
        if (arg[1] == '-') {
            size_t n = strcspn(arg + 2, "=");
            bool ambiguous;

            r = find_name(arg + 2, n, true, &ambiguous);
            if (r == NULL)
                return complain(ambiguous ? "ambiguous option" : "invalid option", arg);
            if (arg[2 + n] == '=')
                value = arg + 2 + n + 1;
        } else if ((err = parse_letters(arg, o, &r)) != 0) {
            return err;
        }
        if (takes_value(r) && value == NULL) {
            if (i + 1 == argc)
                return complain("missing argument for option", arg);
            value = argv[++i];
        }
        err = apply(r, value, o);
        if (gpg_err_code(err) == GPG_ERR_INV_VALUE)
            return complain("not a number: the argument of option", arg);
        if (err != 0)
            return err;
    }
    *rest = i;
    return 0;
}

/* Options that latchkey-agent has, too. */
static bool is_shared(const char *name)
{
    static const char *const shared[] = {"daemon", "log-file", "verbose", "help", "version"};

    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++)
        if (strcmp(shared[i], name) == 0)
            return true;
    return false;
}

bool gpg_options_are_meant(int argc, char **argv)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *base = argc > 0 ? (slash != NULL ? slash + 1 : argv[0]) : "";

    if (strcmp(base, "gpg-agent") == 0)
        return true;
    for (int i = 1; i < argc && argv[i][0] == '-' && strcmp(argv[i], "--") != 0; i++) {
        bool ambiguous;
        const struct gpg_option *r =
            argv[i][1] == '-' ? find_name(argv[i] + 2, strcspn(argv[i] + 2, "="), false, &ambiguous)
                              : NULL;

        if (r != NULL && !is_shared(r->name))
            return true;
        if (strcmp(argv[i], "--log-file") == 0)
            i++;
    }
    return false;
}

/* --- the whole ------------------------------------------------------------------------------------------------------------------------ */

gpg_error_t gpg_options_init(struct gpg_options *o)
{
    *o = (struct gpg_options){.mode = GPG_PROBE, .check_own_socket = true, .notes = BUF_INIT};
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

static gpg_error_t copy(const char *from, char **to)
{
    char *s = from != NULL ? gpgrt_strdup(from) : NULL;

    if (s == NULL && from != NULL)
        return gpg_error_from_syserror();
    gpgrt_free(*to);
    *to = s;
    return 0;
}

/* Where the file and the home directory are: first told by the command line alone. */
static gpg_error_t find_file(int argc, char **argv, struct gpg_options *o)
{
    int rest;
    struct gpg_options first = {0};
    char *home = NULL;
    gpg_error_t err = gpg_options_init(&first);

    if (err == 0)
        err = parse_arguments(argc, argv, &first, &rest);
    if (err == 0)
        err = gpg_home(first.home_arg, &home, &o->standard_home);
    if (err == 0 && !first.no_options) {
        o->conf_file = first.conf_arg != NULL ? gpg_absolute(first.conf_arg)
                                              : gpgrt_bsprintf("%s/gpg-agent.conf", home);
        if (o->conf_file == NULL)
            err = gpg_error_from_syserror();
    }
    if (err == 0) {
        o->conf->home = home;
        home = NULL;
        o->conf_arg = first.conf_arg;
        first.conf_arg = NULL;
    }
    gpg_options_clear(&first);
    gpgrt_free(home);
    return err;
}

static gpg_error_t keep_file(const struct gpg_options *old, struct gpg_options *o)
{
    const struct gpg_config *c = old->conf;
    gpg_error_t err = copy(old->conf_file, &o->conf_file);

    o->standard_home = old->standard_home;
    if (err == 0)
        err = copy(old->conf_arg, &o->conf_arg);
    return err != 0 ? err : copy(c->home, &o->conf->home);
}

/* The sockets are there already, whatever the file says now. */
static gpg_error_t keep_sockets(const struct gpg_options *old, struct gpg_options *o)
{
    const struct gpg_config *c = old->conf;
    gpg_error_t err;

    if ((err = copy(c->socket, &o->conf->socket)) != 0 ||
        (err = copy(c->extra_socket, &o->conf->extra_socket)) != 0 ||
        (err = copy(c->browser_socket, &o->conf->browser_socket)) != 0)
        return err;
    return copy(c->ssh_socket, &o->conf->ssh_socket);
}

static gpg_error_t finish(struct gpg_options *o)
{
    struct gpg_config *c = o->conf;
    char *log = o->log_file;

    c->ssh_fingerprint_hash = c->ssh_digest != NULL ? gcry_md_map_name(c->ssh_digest) : GCRY_MD_MD5;
    if (c->ssh_fingerprint_hash == 0) {
        buf_printf(&o->notes, "ssh-fingerprint-digest: \"%.60s\" is not a hash; sha256 is used\n",
                   c->ssh_digest);
        o->problems++;
        c->ssh_fingerprint_hash = GCRY_MD_SHA256;
    }
    if (c->s2k_count != 0 && c->s2k_count < 65536)
        c->s2k_count = 0;
    if (log != NULL && (strncmp(log, "socket:", 7) == 0 || strncmp(log, "tcp:", 4) == 0)) {
        buf_printf(&o->notes, "log-file: \"%.60s\": logs go to files only; ignored\n", log);
        o->log_file = NULL;
    } else if (log != NULL) {
        o->log_file = gpg_absolute(log);
        if (o->log_file == NULL) {
            o->log_file = log;
            return gpg_error(GPG_ERR_ENOMEM);
        }
    }
    if (o->log_file != log)
        gpgrt_free(log);
    return buf_err(&o->notes);
}

/* The command line is read over the file: it counts more. OLD: for reload, else NULL. */
static gpg_error_t load(const struct gpg_options *old, int argc, char **argv, struct gpg_options *o)
{
    int rest = 1;
    gpg_error_t err = gpg_options_init(o);

    if (err == 0)
        err = old != NULL ? keep_file(old, o) : find_file(argc, argv, o);
    if (err == 0 && o->conf_file != NULL)
        err = read_file(o->conf_file, o->conf_arg != NULL, o);
    if (err == 0)
        err = parse_arguments(argc, argv, o, &rest);
    if (err == 0 && old != NULL)
        err = keep_sockets(old, o);
    if (err == 0)
        err = finish(o);
    if (err != 0)
        return err;
    o->command = rest < argc ? argv + rest : NULL;
    o->argc = argc;
    o->argv = argv;
    return 0;
}

gpg_error_t gpg_options_parse(int argc, char **argv, struct gpg_options *out)
{
    *out = (struct gpg_options){0};
    return load(NULL, argc, argv, out);
}

gpg_error_t gpg_options_reload(const struct gpg_options *o, struct gpg_options *out)
{
    *out = (struct gpg_options){0};
    return load(o, o->argc, o->argv, out);
}

void gpg_options_clear(struct gpg_options *o)
{
    char **const texts[] = {&o->log_file,    &o->conf_file, &o->home_arg, &o->conf_arg,
                            &o->display,     &o->ttyname,   &o->ttytype,  &o->lc_ctype,
                            &o->lc_messages, &o->xauthority};

    gpg_config_put(o->conf);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        gpgrt_free(*texts[i]);
    buf_free(&o->notes);
    *o = (struct gpg_options){0};
}
