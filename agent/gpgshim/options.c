#include "agent/gpgshim/options.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum id {
    OPT_DETACH,
    OPT_ARMOR,
    OPT_NO_ARMOR,
    OPT_KEY,
    OPT_DEFAULT_KEY,
    OPT_OUTPUT,
    OPT_STATUS_FD,
    OPT_TEXT,
    OPT_NO_TEXT,
    OPT_YES,
    OPT_SPECIAL,
    OPT_PASSPHRASE_FD,
    OPT_HELP,
    OPT_IGNORED,
    OPT_OTHER, /* the real gpg's business */
};

static const struct {
    const char *name;
    char letter;
    enum id id;
    bool value;
} table[] = {
    {"detach-sign", 'b', OPT_DETACH, false},
    {"sign", 's', OPT_IGNORED, false},
    {"armor", 'a', OPT_ARMOR, false},
    {"armour", 0, OPT_ARMOR, false},
    {"no-armor", 0, OPT_NO_ARMOR, false},
    {"no-armour", 0, OPT_NO_ARMOR, false},
    {"local-user", 'u', OPT_KEY, true},
    {"user", 0, OPT_KEY, true},
    {"sign-with", 0, OPT_KEY, true},
    {"default-key", 0, OPT_DEFAULT_KEY, true},
    {"output", 'o', OPT_OUTPUT, true},
    {"status-fd", 0, OPT_STATUS_FD, true},
    {"textmode", 't', OPT_TEXT, false},
    {"no-textmode", 0, OPT_NO_TEXT, false},
    {"yes", 0, OPT_YES, false},
    {"enable-special-filenames", 0, OPT_SPECIAL, false},
    {"passphrase-fd", 0, OPT_PASSPHRASE_FD, true},
    {"help", 'h', OPT_HELP, false},
    /* They change nothing for a signature that the agent makes. */
    {"batch", 0, OPT_IGNORED, false},
    {"no-batch", 0, OPT_IGNORED, false},
    {"no-tty", 0, OPT_IGNORED, false},
    {"verbose", 'v', OPT_IGNORED, false},
    {"quiet", 'q', OPT_IGNORED, false},
    {"no-verbose", 0, OPT_IGNORED, false},
    {"use-agent", 0, OPT_IGNORED, false},
    {"no-use-agent", 0, OPT_IGNORED, false},
    {"no-autostart", 0, OPT_IGNORED, false},
    {"no", 0, OPT_IGNORED, false},
    {"no-greeting", 0, OPT_IGNORED, false},
    {"no-secmem-warning", 0, OPT_IGNORED, false},
    {"no-permission-warning", 0, OPT_IGNORED, false},
    {"openpgp", 0, OPT_IGNORED, false},
    {"gnupg", 0, OPT_IGNORED, false},
    {"rfc4880", 0, OPT_IGNORED, false},
    {"no-options", 0, OPT_IGNORED, false},
    {"expert", 0, OPT_IGNORED, false},
    {"no-expert", 0, OPT_IGNORED, false},
    {"enable-progress-filter", 0, OPT_IGNORED, false},
    {"exit-on-status-write-error", 0, OPT_IGNORED, false},
    {"no-auto-check-trustdb", 0, OPT_IGNORED, false},
    {"auto-check-trustdb", 0, OPT_IGNORED, false},
    {"always-trust", 0, OPT_IGNORED, false},
    {"no-default-keyring", 0, OPT_IGNORED, false},
    {"no-keyring", 0, OPT_IGNORED, false},
    {"no-encrypt-to", 0, OPT_IGNORED, false},
    {"no-random-seed-file", 0, OPT_IGNORED, false},
    {"lock-once", 0, OPT_IGNORED, false},
    {"lock-never", 0, OPT_IGNORED, false},
    {"lock-multiple", 0, OPT_IGNORED, false},
    {"no-emit-version", 0, OPT_IGNORED, false},
    {"emit-version", 0, OPT_IGNORED, false},
    {"no-comments", 0, OPT_IGNORED, false},
    {"no-sk-comments", 0, OPT_IGNORED, false},
    {"no-mdc-warning", 0, OPT_IGNORED, false},
    {"no-ask-sig-expire", 0, OPT_IGNORED, false},
    {"disable-dirmngr", 0, OPT_IGNORED, false},
    {"no-auto-key-locate", 0, OPT_IGNORED, false},
    {"no-auto-key-retrieve", 0, OPT_IGNORED, false},
    {"auto-key-retrieve", 0, OPT_IGNORED, false},
    {"utf8-strings", 0, OPT_IGNORED, false},
    {"no-utf8-strings", 0, OPT_IGNORED, false},
    {"disable-signer-uid", 0, OPT_IGNORED, false},
    {"no-symkey-cache", 0, OPT_IGNORED, false},
    {"with-colons", 0, OPT_IGNORED, false},
    {"ignore-time-conflict", 0, OPT_IGNORED, false},
    {"ignore-valid-from", 0, OPT_IGNORED, false},
    {"digest-algo", 0, OPT_IGNORED, true},
    {"cert-digest-algo", 0, OPT_IGNORED, true},
    {"cipher-algo", 0, OPT_IGNORED, true},
    {"personal-digest-preferences", 0, OPT_IGNORED, true},
    {"personal-cipher-preferences", 0, OPT_IGNORED, true},
    {"personal-compress-preferences", 0, OPT_IGNORED, true},
    {"compress-algo", 0, OPT_IGNORED, true},
    {"compress-level", 'z', OPT_IGNORED, true},
    {"pinentry-mode", 0, OPT_IGNORED, true},
    {"homedir", 0, OPT_IGNORED, true},
    {"keyid-format", 0, OPT_IGNORED, true},
    {"display-charset", 0, OPT_IGNORED, true},
    {"charset", 0, OPT_IGNORED, true},
    {"trust-model", 0, OPT_IGNORED, true},
    {"comment", 0, OPT_IGNORED, true},
    {"logger-fd", 0, OPT_IGNORED, true},
    {"log-file", 0, OPT_IGNORED, true},
    {"logger-file", 0, OPT_IGNORED, true},
    {"debug", 0, OPT_IGNORED, true},
    {"debug-level", 0, OPT_IGNORED, true},
    {"sender", 0, OPT_IGNORED, true},
    {"keyring", 0, OPT_IGNORED, true},
    {"primary-keyring", 0, OPT_IGNORED, true},
    {"secret-keyring", 0, OPT_IGNORED, true},
    {"trustdb-name", 0, OPT_IGNORED, true},
    {"trusted-key", 0, OPT_IGNORED, true},
    {"list-options", 0, OPT_IGNORED, true},
    {"keyserver", 0, OPT_IGNORED, true},
    {"keyserver-options", 0, OPT_IGNORED, true},
    {"agent-program", 0, OPT_IGNORED, true},
    {"request-origin", 0, OPT_IGNORED, true},
    {"weak-digest", 0, OPT_IGNORED, true},
    {"max-output", 0, OPT_IGNORED, true},
    {"passphrase", 0, OPT_IGNORED, true},
    {"passphrase-file", 0, OPT_IGNORED, true},
    {"passphrase-repeat", 0, OPT_IGNORED, true},
    {"command-fd", 0, OPT_IGNORED, true},
    {"command-file", 0, OPT_IGNORED, true},
    {"attribute-fd", 0, OPT_IGNORED, true},
    {"attribute-file", 0, OPT_IGNORED, true},
    {"display", 0, OPT_IGNORED, true},
    {"ttyname", 0, OPT_IGNORED, true},
    {"ttytype", 0, OPT_IGNORED, true},
    {"lc-ctype", 0, OPT_IGNORED, true},
    {"lc-messages", 0, OPT_IGNORED, true},
    {"xauthority", 0, OPT_IGNORED, true},
};
#define NTABLE (sizeof table / sizeof table[0])

struct parse {
    struct shim_options o;
    bool detach, other;
    bool stdin_taken; /* by a passphrase */
    size_t nkeys;
};

static gpg_error_t add_key(struct parse *p, const char *key)
{
    const char **more;

    for (size_t i = 0; i < p->nkeys; i++)
        if (strcmp(p->o.keys[i], key) == 0)
            return 0;
    more = gpgrt_realloc(p->o.keys, (p->nkeys + 2) * sizeof *more);
    if (more == NULL)
        return gpg_error_from_syserror();
    p->o.keys = more;
    more[p->nkeys++] = key;
    more[p->nkeys] = NULL;
    return 0;
}

static bool parse_fd(const char *text, int *out)
{
    char *end;
    long fd;

    if (text == NULL || text[0] < '0' || text[0] > '9')
        return false;
    fd = strtol(text, &end, 10);
    if (*end != '\0' || fd > INT_MAX)
        return false;
    *out = (int)fd;
    return true;
}

static gpg_error_t apply(struct parse *p, enum id id, const char *value)
{
    int fd = -1;

    switch (id) {
    case OPT_DETACH:
        p->detach = true;
        break;
    case OPT_ARMOR:
    case OPT_NO_ARMOR:
        p->o.armor = id == OPT_ARMOR;
        break;
    case OPT_KEY:
        return add_key(p, value);
    case OPT_DEFAULT_KEY:
        p->o.default_key = value;
        break;
    case OPT_OUTPUT:
        p->o.output = value;
        break;
    case OPT_STATUS_FD:
        p->other |= !parse_fd(value, &p->o.status_fd);
        break;
    case OPT_TEXT:
    case OPT_NO_TEXT:
        p->o.text = id == OPT_TEXT;
        break;
    case OPT_YES:
        p->o.yes = true;
        break;
    case OPT_SPECIAL:
        p->o.special_filenames = true;
        break;
    case OPT_PASSPHRASE_FD:
        p->other |= !parse_fd(value, &fd);
        p->stdin_taken |= fd == 0;
        break;
    case OPT_HELP:
        p->o.help = true;
        break;
    case OPT_IGNORED:
        break;
    case OPT_OTHER:
        p->other = true;
        break;
    }
    return 0;
}

/* An exact name, or the beginning of only one that we know, as gpg takes them. Where another option of gpg's begins alike,
 * gpg refuses the abbreviation; it never means that other one. */
static size_t find_long(const char *name, size_t n)
{
    size_t found = NTABLE;

    for (size_t i = 0; i < NTABLE; i++) {
        if (strncmp(table[i].name, name, n) != 0)
            continue;
        if (table[i].name[n] == '\0')
            return i;
        if (found != NTABLE &&
            (table[found].id != table[i].id || table[found].value != table[i].value))
            return NTABLE;
        found = i;
    }
    return n >= 3 ? found : NTABLE;
}

static gpg_error_t long_option(struct parse *p, int argc, char *const *argv, int *at)
{
    const char *name = argv[*at] + 2, *equals = strchr(name, '=');
    size_t i = find_long(name, equals != NULL ? (size_t)(equals - name) : strlen(name));
    const char *value = equals != NULL ? equals + 1 : NULL;

    if (i == NTABLE || (!table[i].value && value != NULL))
        return apply(p, OPT_OTHER, NULL);
    if (table[i].value && value == NULL) {
        if (*at + 1 >= argc)
            return apply(p, OPT_OTHER, NULL);
        value = argv[++*at];
    }
    return apply(p, table[i].id, value);
}

/* "-bsau KEY", "-uKEY" */
static gpg_error_t short_options(struct parse *p, int argc, char *const *argv, int *at)
{
    gpg_error_t err = 0;

    for (const char *s = argv[*at] + 1; *s != '\0' && err == 0; s++) {
        size_t i = 0;

        while (i < NTABLE && table[i].letter != *s)
            i++;
        if (i == NTABLE)
            return apply(p, OPT_OTHER, NULL);
        if (!table[i].value) {
            err = apply(p, table[i].id, NULL);
            continue;
        }
        if (s[1] != '\0')
            return apply(p, table[i].id, s + 1);
        if (*at + 1 >= argc)
            return apply(p, OPT_OTHER, NULL);
        return apply(p, table[i].id, argv[++*at]);
    }
    return err;
}

gpg_error_t shim_options_parse(int argc, char *const *argv, struct shim_options *out)
{
    struct parse p = {.o = {.status_fd = -1}};
    gpg_error_t err = 0;
    int i;

    /* As with gpg, the first word that is no option ends them. */
    for (i = 1; i < argc && err == 0 && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        if (strncmp(argv[i], "--", 2) == 0)
            err = long_option(&p, argc, argv, &i);
        else
            err = short_options(&p, argc, argv, &i);
    }
    if (err == 0 && i < argc)
        p.o.file = argv[i];
    /* a signature over several files together is rare; a passphrase before the data must not be signed with it */
    p.o.native = p.detach && !p.other && argc - i <= 1 &&
                 !(p.stdin_taken && (p.o.file == NULL || strcmp(p.o.file, "-") == 0));
    if (err != 0)
        shim_options_clear(&p.o);
    else
        *out = p.o;
    return err;
}

void shim_options_clear(struct shim_options *o)
{
    gpgrt_free(o->keys);
    *o = (struct shim_options){.status_fd = -1};
}
