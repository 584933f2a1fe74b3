#include "policy/settings.h"

#include "policy/file.h"
#include "policy/rules.h"

#include <limits.h>
#include <string.h>
#include <strings.h>

struct loading {
    struct settings *s;
    struct reporter *r;
    const char *home;
    bool *
        seen; /* by table index: the first value of the person's file wins, then the administrator's */
};

enum form {
    FORM_YESNO,
    FORM_DURATION,
    FORM_NUMBER,
    FORM_PATH,
    FORM_TEXT,
    FORM_WORD_OR_PATH,
    FORM_UNPLUG,
    FORM_PATTERNS,
    FORM_PAIRS,
    FORM_IDENTITY, /* a pair, or a file */
    FORM_WORD,
    FORM_LIST
};

static const struct {
    const char *name;
    enum form form;
    size_t offset;
    size_t count;      /* FORM_PAIRS, FORM_IDENTITY: where their number is */
    const char *words; /* FORM_WORD: what may stand there, FORM_WORD_OR_PATH: what else */
} table[] = {
    {"LockOnUnplug", FORM_UNPLUG, offsetof(struct settings, lock_on_unplug_token), 0, NULL},
    {"LockOnSleep", FORM_YESNO, offsetof(struct settings, lock_on_sleep), 0, NULL},
    {"LockOnScreenLock", FORM_YESNO, offsetof(struct settings, lock_on_screen_lock), 0, NULL},
    {"LockAfter", FORM_DURATION, offsetof(struct settings, lock_after), 0, NULL},
    {"OnUnplug", FORM_TEXT, offsetof(struct settings, on_unplug), 0, NULL},
    {"ReloadConfirm", FORM_YESNO, offsetof(struct settings, reload_confirm), 0, NULL},
    {"Pinentry", FORM_PATH, offsetof(struct settings, pinentry), 0, NULL},
    {"GpgSocket", FORM_WORD_OR_PATH, offsetof(struct settings, gpg_socket), 0, "auto,no"},
    {"SshSocket", FORM_PATH, offsetof(struct settings, ssh_socket), 0, NULL},
    {"AuditLog", FORM_WORD_OR_PATH, offsetof(struct settings, audit_log), 0, "journal,no"},
    {"Certificate", FORM_PATTERNS, offsetof(struct settings, certificates), 0, NULL},
    {"Identity", FORM_IDENTITY, offsetof(struct settings, identities),
     offsetof(struct settings, nidentities), NULL},
    {"Emulator", FORM_PAIRS, offsetof(struct settings, emulators),
     offsetof(struct settings, nemulators), NULL},
    {"WalletPassphrase", FORM_WORD, offsetof(struct settings, wallet_passphrase), 0,
     "ask,device,none"},
    {"Drivers", FORM_LIST, offsetof(struct settings, drivers), 0, NULL},
    {"MaxClients", FORM_NUMBER, offsetof(struct settings, max_clients), 0, NULL},
    {"MaxKeys", FORM_NUMBER, offsetof(struct settings, max_keys), 0, NULL},
    {"MaxMemory", FORM_NUMBER, offsetof(struct settings, max_memory), 0, NULL},
    {"MessageTimeout", FORM_DURATION, offsetof(struct settings, message_timeout), 0, NULL},
};
#define NTABLE (sizeof table / sizeof table[0])

/* Values that make sense; where there is none, any does. */
static const struct {
    size_t offset;
    unsigned min, max;
} ranges[] = {
    {offsetof(struct settings, max_clients), 16, 65536},
    {offsetof(struct settings, max_keys), 1, 2048},
    {offsetof(struct settings, max_memory), 4u << 20, 1u << 30},
    {offsetof(struct settings, message_timeout), 1, 86400},
};

static const char *const keywords[] = {
    "LockOnUnplug",  "LockOnSleep", "LockOnScreenLock", "LockAfter",        "OnUnplug",
    "ReloadConfirm", "Pinentry",    "GpgSocket",        "SshSocket",        "AuditLog",
    "Certificate",   "Identity",    "Emulator",         "Drivers",          "MaxClients",
    "MaxKeys",       "MaxMemory",   "MessageTimeout",   "WalletPassphrase", NULL};

static char *resolved(const struct loading *ld, const char *s)
{
    char *text = strncmp(s, "~/", 2) == 0
                     ? gpgrt_bsprintf("%s%s", ld->home != NULL ? ld->home : "", s + 1)
                     : gpgrt_strdup(s);

    if (text == NULL)
        ld->r->out_of_memory = true;
    return text;
}

static void add_to_list(const struct loading *ld, char ***list, const char *s)
{
    size_t n = 0;
    char **more;

    while (*list != NULL && (*list)[n] != NULL)
        n++;
    more = gpgrt_realloc(*list, (n + 2) * sizeof *more);
    if (more == NULL) {
        ld->r->out_of_memory = true;
        return;
    }
    *list = more;
    more[n] = resolved(ld, s);
    more[n + 1] = NULL;
}

static void add_pair(const struct loading *ld, struct settings_pair **pairs, size_t *n,
                     const struct line *l)
{
    struct settings_pair *more = gpgrt_realloc(*pairs, (*n + 1) * sizeof *more);

    if (more == NULL) {
        ld->r->out_of_memory = true;
        return;
    }
    *pairs = more;
    more[(*n)++] =
        (struct settings_pair){.first = resolved(ld, l->words[1].text),
                               .second = l->n > 2 ? resolved(ld, l->words[2].text) : NULL};
}

static bool yes_no(const struct loading *ld, const struct line *l, const char *yes, const char *no,
                   bool *out)
{
    const char *s = l->words[1].text;

    if (strcasecmp(s, yes) != 0 && strcasecmp(s, no) != 0) {
        report(ld->r, l, l->words[1].column, "\"%s\" is neither %s nor %s", s, yes, no);
        return false;
    }
    *out = strcasecmp(s, yes) == 0;
    return true;
}

/* Digits, and K, M or G behind them for powers of 1024. */
static bool parse_number(const char *s, unsigned *out)
{
    static const char units[] = "kmg";
    const char *unit;
    uint64_t n = 0;

    if (*s < '0' || *s > '9')
        return false;
    for (; *s >= '0' && *s <= '9' && n <= UINT_MAX; s++)
        n = n * 10 + (uint64_t)(*s - '0');
    if (*s != '\0' && s[1] == '\0' && (unit = strchr(units, *s | 0x20)) != NULL) {
        n <<= 10 * (unit - units + 1);
        s++;
    }
    if (*s != '\0' || n > UINT_MAX)
        return false;
    *out = (unsigned)n;
    return true;
}

static void set_number(const struct loading *ld, const struct line *l, size_t i, unsigned *to)
{
    const struct word *w = &l->words[1];
    bool duration = table[i].form == FORM_DURATION;
    unsigned n;

    if (duration ? policy_parse_duration(w->text, &n) != 0 : !parse_number(w->text, &n)) {
        report(ld->r, l, w->column,
               duration ? "\"%s\" is no duration: write 15s, 10m, 2h or seconds"
                        : "\"%s\" is no number: write 4096, or 16K, 64M",
               w->text);
        return;
    }
    for (size_t k = 0; k < sizeof ranges / sizeof ranges[0]; k++) {
        if (ranges[k].offset != table[i].offset || (n >= ranges[k].min && n <= ranges[k].max))
            continue;
        report(ld->r, l, w->column, "%s is from %u to %u", table[i].name, ranges[k].min,
               ranges[k].max);
        return;
    }
    *to = n;
}

static void set_text(const struct loading *ld, char **to, const char *s)
{
    gpgrt_free(*to);
    *to = resolved(ld, s);
}

/* Identity may name a file of them. */
static bool is_file(const struct line *l)
{
    const char *s = l->n > 1 ? l->words[1].text : "";

    return strcasecmp(l->words[0].text, "Identity") == 0 &&
           (s[0] == '/' || strncmp(s, "~/", 2) == 0);
}

/* One line whose keyword is table[i]'s. */
static void apply(const struct loading *ld, const struct line *l, size_t i)
{
    char *base = (char *)ld->s + table[i].offset;
    const struct word *w = &l->words[1];
    bool pair = table[i].form == FORM_PAIRS || table[i].form == FORM_IDENTITY;
    size_t wants = pair && !is_file(l) ? 3 : 2;

    if (l->n < wants ||
        (l->n > wants && table[i].form != FORM_LIST && table[i].form != FORM_PATTERNS)) {
        report(ld->r, l, l->n < wants ? l->words[0].column : l->words[wants].column, "%s takes %s",
               table[i].name,
               wants == 3 ? "two values" : "one value (quote it if it holds blanks)");
        return;
    }
    switch (table[i].form) {
    case FORM_YESNO:
        yes_no(ld, l, "yes", "no", (bool *)base);
        break;
    case FORM_UNPLUG:
        yes_no(ld, l, "token", "agent", (bool *)base);
        break;
    case FORM_DURATION:
    case FORM_NUMBER:
        set_number(ld, l, i, (unsigned *)(void *)base);
        break;
    case FORM_WORD_OR_PATH:
        if (w->text[0] != '/' && strncmp(w->text, "~/", 2) != 0 &&
            policy_match_list(table[i].words, w->text, false) <= 0)
            report(ld->r, l, w->column, "\"%s\" is neither an absolute path nor one of: %s",
                   w->text, table[i].words);
        else
            set_text(ld, (char **)(void *)base, w->text);
        break;
    case FORM_PATH:
        if (w->text[0] != '/' && strncmp(w->text, "~/", 2) != 0)
            report(ld->r, l, w->column, "an absolute path is wanted (or one that begins with ~/)");
        else
            set_text(ld, (char **)(void *)base, w->text);
        break;
    case FORM_TEXT:
        set_text(ld, (char **)(void *)base, w->text);
        break;
    case FORM_PATTERNS:
        for (size_t k = 1; k < l->n; k++)
            if (l->words[k].text[0] != '/' && strncmp(l->words[k].text, "~/", 2) != 0)
                report(ld->r, l, l->words[k].column,
                       "an absolute path is wanted (or one that begins with ~/)");
            else
                add_to_list(ld, (char ***)(void *)base, l->words[k].text);
        break;
    case FORM_LIST:
        for (size_t k = 1; k < l->n; k++)
            add_to_list(ld, (char ***)(void *)base, l->words[k].text);
        break;
    case FORM_WORD:
        if (policy_match_list(table[i].words, w->text, false) <= 0)
            report(ld->r, l, w->column, "\"%s\" is none of: %s", w->text, table[i].words);
        else
            set_text(ld, (char **)(void *)base, w->text);
        break;
    case FORM_PAIRS:
    case FORM_IDENTITY:
        add_pair(ld, (struct settings_pair **)(void *)base,
                 (size_t *)(void *)((char *)ld->s + table[i].count), l);
        break;
    }
}

static void each_line(void *arg, struct line *l)
{
    const struct loading *ld = arg;
    const char *near;
    size_t i = 0;
    bool adds;

    while (i < NTABLE && strcasecmp(table[i].name, l->words[0].text) != 0)
        i++;
    if (i == NTABLE) {
        near = nearest(l->words[0].text, keywords);
        if (near != NULL)
            report(ld->r, l, l->words[0].column, "unknown setting \"%s\"; did you mean \"%s\"?",
                   l->words[0].text, near);
        else
            report(ld->r, l, l->words[0].column, "unknown setting \"%s\"", l->words[0].text);
        return;
    }
    adds = table[i].form == FORM_PATTERNS || table[i].form == FORM_PAIRS ||
           table[i].form == FORM_IDENTITY;
    if (ld->seen[i] && !adds)
        return;
    ld->seen[i] = true;
    apply(ld, l, i);
}

static gpg_error_t begin(struct settings **out)
{
    struct settings *s = gpgrt_calloc(1, sizeof *s);

    if (s == NULL)
        return gpg_error_from_syserror();
    s->lock_on_sleep = s->lock_on_screen_lock = s->reload_confirm = true;
    s->max_clients = 4096;
    s->max_keys = 2048;
    s->max_memory = 128u << 20;
    s->message_timeout = 60;
    *out = s;
    return 0;
}

static gpg_error_t finish(struct settings *s, const struct reporter *r, struct settings **out)
{
    if (r->out_of_memory || r->errors->n > 0) {
        settings_free(s);
        return gpg_error(r->out_of_memory ? GPG_ERR_ENOMEM : GPG_ERR_SYNTAX);
    }
    *out = s;
    return 0;
}

gpg_error_t settings_load(const char *admin_file, const char *user_file, const char *home,
                          uid_t uid, struct settings **out, struct policy_errors *errors)
{
    const char *const files[] = {user_file, admin_file};
    struct reporter r = {.errors = errors};
    bool seen[NTABLE] = {false};
    struct loading ld = {.r = &r, .home = home, .seen = seen};
    gpg_error_t err = begin(&ld.s);

    if (err != 0)
        return err;
    for (size_t i = 0; i < 2; i++) {
        char *text, *problem;
        size_t len;

        if (files[i] == NULL)
            continue;
        if (policy_read_file(files[i], uid, true, &text, &len, &problem)) {
            lex(files[i], text, len, &r, each_line, &ld);
            gpgrt_free(text);
        } else if (problem != NULL) {
            report_file(&r, files[i], "%s", problem);
            gpgrt_free(problem);
        }
    }
    return finish(ld.s, &r, out);
}

gpg_error_t settings_load_text(const char *name, const char *text, size_t len, const char *home,
                               struct settings **out, struct policy_errors *errors)
{
    struct reporter r = {.errors = errors};
    bool seen[NTABLE] = {false};
    struct loading ld = {.r = &r, .home = home, .seen = seen};
    gpg_error_t err = begin(&ld.s);

    if (err != 0)
        return err;
    lex(name, text, len, &r, each_line, &ld);
    return finish(ld.s, &r, out);
}

static void free_list(char **list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        gpgrt_free(list[i]);
    gpgrt_free(list);
}

static void free_pairs(struct settings_pair *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        gpgrt_free(p[i].first);
        gpgrt_free(p[i].second);
    }
    gpgrt_free(p);
}

void settings_free(struct settings *s)
{
    if (s == NULL)
        return;
    gpgrt_free(s->on_unplug);
    gpgrt_free(s->pinentry);
    gpgrt_free(s->gpg_socket);
    gpgrt_free(s->ssh_socket);
    gpgrt_free(s->audit_log);
    free_list(s->certificates);
    free_list(s->drivers);
    free_pairs(s->identities, s->nidentities);
    gpgrt_free(s->wallet_passphrase);
    free_pairs(s->emulators, s->nemulators);
    gpgrt_free(s);
}
