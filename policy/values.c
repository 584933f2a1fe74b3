#include "policy/rules.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const access_words[] = {"allow", "deny", NULL};
static const char *const touch_words[] = {"none", "cached", "always", NULL};
static const char *const standin_words[] = {"confirm", "fido", "deny", NULL};
static const char *const afteruse_words[] = {"", "drop", "leave", NULL};
static const char *const confirm_words[] = {"no", "connection", "yes", NULL};
static const char *const forwarded_words[] = {"allow", "confirm", "deny", NULL};
static const char *const yesno_words[] = {"no", "yes", NULL};

static const struct {
    const char *name;
    const char *const *words; /* by the enum's value; NULL: another form */
} table[SET_COUNT] = {
    [SET_ACCESS] = {"Access", access_words},
    [SET_TOUCH] = {"Touch", touch_words},
    [SET_STANDIN] = {"StandIn", standin_words},
    [SET_PIN] = {"Pin", NULL},
    [SET_AFTERUSE] = {"AfterUse", afteruse_words},
    [SET_CONFIRM] = {"Confirm", confirm_words},
    [SET_FORWARDED] = {"Forwarded", forwarded_words},
    [SET_RATE] = {"Rate", NULL},
    [SET_KEYS] = {"Keys", NULL},
    [SET_NOTIFY] = {"Notify", yesno_words},
    [SET_TIMEOUT] = {"Timeout", NULL},
};

const char *const setting_keywords[] = {"Access",  "Touch",     "StandIn", "Pin",     "AfterUse",
                                        "Confirm", "Forwarded", "Rate",    "Keys",    "Notify",
                                        "Timeout", "Host",      "Match",   "Include", NULL};

const char *setting_name(enum policy_setting s)
{
    return table[s].name;
}

static bool duration(const struct line *l, const struct word *w, unsigned *secs, struct reporter *r)
{
    gpg_error_t err = policy_parse_duration(w->text, secs);

    if (gpg_err_code(err) == GPG_ERR_TOO_LARGE)
        report(r, l, w->column, "\"%s\" is too long a time", w->text);
    else if (err != 0)
        report(r, l, w->column, "\"%s\" is no duration: write 15s, 10m, 2h, 1d, 1h30m or seconds",
               w->text);
    return err == 0;
}

static bool choice(const struct line *l, const struct word *w, const char *const *words,
                   unsigned *out, struct reporter *r)
{
    struct {
        char text[96];
        size_t n;
    } list = {.n = 0};
    const char *near;

    for (unsigned i = 0; words[i] != NULL; i++)
        if (words[i][0] != '\0' && strcasecmp(words[i], w->text) == 0) {
            *out = i;
            return true;
        }
    for (unsigned i = 0; words[i] != NULL; i++)
        if (words[i][0] != '\0')
            list.n += (size_t)snprintf(list.text + list.n, sizeof list.text - list.n, "%s%s",
                                       list.n > 0 ? ", " : "", words[i]);
    near = nearest(w->text, words);
    if (near != NULL && near[0] != '\0')
        report(r, l, w->column, "\"%s\": did you mean \"%s\"? (%s)", w->text, near, list.text);
    else
        report(r, l, w->column, "\"%s\" is none of: %s", w->text, list.text);
    return false;
}

static bool number(const struct line *l, const struct word *w, const char *s, size_t n,
                   unsigned *out, struct reporter *r)
{
    char text[16], *end;
    unsigned long v;

    if (n == 0 || n >= sizeof text || strspn(s, "0123456789") < n) {
        report(r, l, w->column, "a number is wanted here");
        return false;
    }
    memcpy(text, s, n);
    text[n] = '\0';
    v = strtoul(text, &end, 10);
    if (v == 0 || v > INT_MAX) {
        report(r, l, w->column, "the number must be between 1 and %d", INT_MAX);
        return false;
    }
    *out = (unsigned)v;
    return true;
}

/* none | always | cached DURATION [max N] */
static size_t parse_touch(const struct line *l, struct value *v, struct reporter *r, bool *ok)
{
    size_t used = 2;

    *ok = choice(l, &l->words[1], touch_words, &v->choice, r);
    if (!*ok || v->choice != TOUCH_CACHED)
        return *ok ? used : l->n;
    if (l->n < 3) {
        report(r, l, l->words[1].column, "\"cached\" wants a duration, e.g. cached 15s");
        *ok = false;
        return l->n;
    }
    *ok = duration(l, &l->words[2], &v->secs, r);
    used = 3;
    if (l->n > 3 && strcasecmp(l->words[3].text, "max") == 0) {
        if (l->n < 5) {
            report(r, l, l->words[3].column, "\"max\" wants a number");
            *ok = false;
            return l->n;
        }
        *ok =
            number(l, &l->words[4], l->words[4].text, strlen(l->words[4].text), &v->max, r) && *ok;
        used = 5;
    }
    return used;
}

static bool parse_pin(const struct line *l, struct value *v, struct reporter *r)
{
    const struct word *w = &l->words[1];
    unsigned secs = 0;

    if (strcasecmp(w->text, "session") == 0) {
        v->pin = POLICY_PIN_SESSION;
        return true;
    }
    if (strcasecmp(w->text, "always") == 0) {
        v->pin = 0;
        return true;
    }
    if (policy_parse_duration(w->text, &secs) != 0) {
        report(r, l, w->column, "\"%s\": Pin is session, always or a duration such as 10m",
               w->text);
        return false;
    }
    v->pin = (long)secs;
    return true;
}

static bool parse_rate(const struct line *l, struct value *v, struct reporter *r)
{
    const struct word *w = &l->words[1];
    const char *slash = strchr(w->text, '/');
    struct word time;

    if (slash == NULL) {
        report(r, l, w->column, "Rate is written N/DURATION, e.g. 100/1m");
        return false;
    }
    time = (struct word){.text = w->text + (slash - w->text) + 1,
                         .column = w->column + (unsigned)(slash - w->text) + 1};
    if (!number(l, w, w->text, (size_t)(slash - w->text), &v->max, r) ||
        !duration(l, &time, &v->secs, r))
        return false;
    if (v->secs == 0) {
        report(r, l, time.column, "a rate over no time");
        return false;
    }
    return true;
}

static bool parse_key_words(const struct line *l, struct key_list *keys,
                            const struct key_sources *sources, struct reporter *r)
{
    size_t errors = r->errors->n, plain = 0;

    for (size_t i = 1; i < l->n; i++)
        plain += key_list_add(keys, &l->words[i], l, sources, r);
    if (plain == 0)
        report(r, l, l->words[1].column,
               "only negated keys, which leaves none: put * before them for all others");
    return r->errors->n == errors && !r->out_of_memory;
}

static char *joined(const struct line *l)
{
    size_t n = 1;
    char *text;

    for (size_t i = 0; i < l->n; i++)
        n += strlen(l->words[i].text) + 3;
    text = gpgrt_malloc(n);
    if (text == NULL)
        return NULL;
    text[0] = '\0';
    for (size_t i = 0; i < l->n; i++) {
        bool quote = strpbrk(l->words[i].text, " \t#") != NULL || l->words[i].text[0] == '\0';

        if (i > 0)
            strcat(text, " ");
        if (quote)
            strcat(text, "\"");
        strcat(text, l->words[i].text);
        if (quote)
            strcat(text, "\"");
    }
    return text;
}

bool value_parse(const struct line *l, const struct key_sources *sources, struct value *out,
                 struct reporter *r, bool *ok)
{
    struct value v = {.line = l->number};
    unsigned s = 0;
    size_t used = 2;

    while (s < SET_COUNT && strcasecmp(l->words[0].text, table[s].name) != 0)
        s++;
    if (s == SET_COUNT)
        return false;
    v.setting = (enum policy_setting)s;
    *ok = false;
    if (l->n < 2) {
        report(r, l, l->words[0].column, "%s wants a value", table[s].name);
        return true;
    }
    switch (v.setting) {
    case SET_TOUCH:
        used = parse_touch(l, &v, r, ok);
        break;
    case SET_PIN:
        *ok = parse_pin(l, &v, r);
        break;
    case SET_RATE:
        *ok = parse_rate(l, &v, r);
        break;
    case SET_TIMEOUT:
        *ok = duration(l, &l->words[1], &v.secs, r);
        if (*ok && v.secs == 0) {
            report(r, l, l->words[1].column, "a Timeout of nothing would refuse everything");
            *ok = false;
        }
        break;
    case SET_KEYS:
        *ok = parse_key_words(l, &v.keys, sources, r);
        used = l->n;
        break;
    default:
        *ok = choice(l, &l->words[1], table[s].words, &v.choice, r);
    }
    if (*ok && used < l->n) {
        report(r, l, l->words[used].column, "\"%s\" is more than %s takes", l->words[used].text,
               table[s].name);
        *ok = false;
    }
    v.text = joined(l);
    if (v.text == NULL) {
        r->out_of_memory = true;
        *ok = false;
    }
    if (*ok)
        *out = v;
    else
        value_clear(&v);
    return true;
}

void value_clear(struct value *v)
{
    gpgrt_free(v->text);
    key_list_free(&v->keys);
}
