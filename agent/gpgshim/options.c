#include "agent/gpgshim/options.h"

#include <stdlib.h>
#include <string.h>

enum id {
    OPT_DETACH,
    OPT_SIGN,
    OPT_ARMOR,
    OPT_NO_ARMOR,
    OPT_KEY,
    OPT_DEFAULT_KEY,
    OPT_OUTPUT,
    OPT_STATUS_FD,
    OPT_TEXT,
    OPT_QUIET,
    OPT_YES,
    OPT_HELP,
    OPT_IGNORED,       /* changes nothing for us */
    OPT_IGNORED_VALUE, /* the same, and takes a value */
    OPT_OTHER,         /* the real gpg's business */
};

static const struct {
    const char *name;
    char letter;
    enum id id;
    bool value;
} table[] = {
    {"detach-sign", 'b', OPT_DETACH, false},
    {"sign", 's', OPT_SIGN, false},
    {"armor", 'a', OPT_ARMOR, false},
    {"armour", 0, OPT_ARMOR, false},
    {"no-armor", 0, OPT_NO_ARMOR, false},
    {"no-armour", 0, OPT_NO_ARMOR, false},
    {"local-user", 'u', OPT_KEY, true},
    {"default-key", 0, OPT_DEFAULT_KEY, true},
    {"output", 'o', OPT_OUTPUT, true},
    {"status-fd", 0, OPT_STATUS_FD, true},
    {"textmode", 't', OPT_TEXT, false},
    {"quiet", 'q', OPT_QUIET, false},
    {"yes", 0, OPT_YES, false},
    {"help", 'h', OPT_HELP, false},
    {"batch", 0, OPT_IGNORED, false},
    {"no-batch", 0, OPT_IGNORED, false},
    {"no-tty", 0, OPT_IGNORED, false},
    {"verbose", 'v', OPT_IGNORED, false},
    {"no-verbose", 0, OPT_IGNORED, false},
    {"use-agent", 0, OPT_IGNORED, false},
    {"no", 0, OPT_IGNORED, false},
    {"no-greeting", 0, OPT_IGNORED, false},
    {"no-secmem-warning", 0, OPT_IGNORED, false},
    {"no-permission-warning", 0, OPT_IGNORED, false},
    {"openpgp", 0, OPT_IGNORED, false},
    {"no-options", 0, OPT_IGNORED, false},
    {"expert", 0, OPT_IGNORED, false},
    {"enable-progress-filter", 0, OPT_IGNORED, false},
    {"exit-on-status-write-error", 0, OPT_IGNORED, false},
    {"no-auto-check-trustdb", 0, OPT_IGNORED, false},
    {"digest-algo", 0, OPT_IGNORED_VALUE, true},
    {"personal-digest-preferences", 0, OPT_IGNORED_VALUE, true},
    {"pinentry-mode", 0, OPT_IGNORED_VALUE, true},
    {"homedir", 0, OPT_IGNORED_VALUE, true},
    {"keyid-format", 0, OPT_IGNORED_VALUE, true},
    {"display-charset", 0, OPT_IGNORED_VALUE, true},
    {"charset", 0, OPT_IGNORED_VALUE, true},
    {"trust-model", 0, OPT_IGNORED_VALUE, true},
    {"compress-algo", 0, OPT_IGNORED_VALUE, true},
    {"compress-level", 0, OPT_IGNORED_VALUE, true},
    {"comment", 0, OPT_IGNORED_VALUE, true},
    {"logger-fd", 0, OPT_IGNORED_VALUE, true},
};
#define NTABLE (sizeof table / sizeof table[0])

struct parse {
    struct shim_options o;
    bool detach, other;
    size_t nkeys;
};

static gpg_error_t apply(struct parse *p, enum id id, const char *value)
{
    const char **more;
    char *end;
    long fd;

    switch (id) {
    case OPT_DETACH:
        p->detach = true;
        break;
    case OPT_ARMOR:
        p->o.armor = true;
        break;
    case OPT_NO_ARMOR:
        p->o.armor = false;
        break;
    case OPT_KEY:
        more = gpgrt_realloc(p->o.keys, (p->nkeys + 2) * sizeof *more);
        if (more == NULL)
            return gpg_error_from_syserror();
        p->o.keys = more;
        more[p->nkeys++] = value;
        more[p->nkeys] = NULL;
        break;
    case OPT_DEFAULT_KEY:
        p->o.default_key = value;
        break;
    case OPT_OUTPUT:
        p->o.output = value;
        break;
    case OPT_STATUS_FD:
        fd = strtol(value, &end, 10);
        if (*value == '\0' || *end != '\0' || fd < 0 || fd > 1024)
            p->other = true;
        else
            p->o.status_fd = (int)fd;
        break;
    case OPT_TEXT:
        p->o.text = true;
        break;
    case OPT_QUIET:
        p->o.quiet = true;
        break;
    case OPT_YES:
        p->o.yes = true;
        break;
    case OPT_HELP:
        p->o.help = true;
        break;
    case OPT_SIGN:
    case OPT_IGNORED:
    case OPT_IGNORED_VALUE:
        break;
    case OPT_OTHER:
        p->other = true;
        break;
    }
    return 0;
}

/* An exact name, or the beginning of only one that we know. Another option of gpg's may begin alike: a call that uses
 * abbreviations of those is not a signature of ours anyway, for they would have to be commands. */
static size_t find_long(const char *name, size_t n)
{
    size_t found = NTABLE;

    for (size_t i = 0; i < NTABLE; i++) {
        if (strncmp(table[i].name, name, n) != 0)
            continue;
        if (table[i].name[n] == '\0')
            return i;
        if (found != NTABLE && table[found].id != table[i].id)
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
    bool options = true;
    gpg_error_t err = 0;
    int files = 0;

    for (int i = 1; i < argc && err == 0; i++) {
        const char *arg = argv[i];

        if (options && strcmp(arg, "--") == 0) {
            options = false;
        } else if (options && strncmp(arg, "--", 2) == 0) {
            err = long_option(&p, argc, argv, &i);
        } else if (options && arg[0] == '-' && arg[1] != '\0') {
            err = short_options(&p, argc, argv, &i);
        } else {
            p.o.file = arg;
            files++;
        }
    }
    p.o.native = p.detach && !p.other && files <= 1;
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
