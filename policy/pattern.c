#include "policy/rules.h"

#include <ctype.h>
#include <limits.h>
#include <string.h>

static bool same(char a, char b, bool nocase)
{
    return nocase ? tolower((unsigned char)a) == tolower((unsigned char)b) : a == b;
}

bool policy_match_pattern(const char *pattern, const char *name, bool nocase)
{
    const char *star = NULL, *resume = NULL;

    /* Linear with one point to go back to: no pattern can make it slow. */
    while (*name != '\0') {
        if (*pattern == '*') {
            star = ++pattern;
            resume = name;
        } else if (*pattern != '\0' && (*pattern == '?' || same(*pattern, *name, nocase))) {
            pattern++;
            name++;
        } else if (star != NULL) {
            pattern = star;
            name = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

bool list_next(const char **list, struct list_item *out)
{
    for (;;) {
        const char *s = *list + strspn(*list, " \t");
        size_t n = strcspn(s, ",");

        if (*s == '\0')
            return false;
        *list = s + n + (s[n] == ',');
        out->negated = s[0] == '!';
        n -= out->negated;
        if (n == 0 || n > LIST_ITEM_MAX)
            continue; /* the parser lets none through */
        memcpy(out->text, s + out->negated, n);
        out->text[n] = '\0';
        return true;
    }
}

int policy_match_list(const char *list, const char *name, bool nocase)
{
    struct list_item item;
    int found = 0;

    while (list_next(&list, &item)) {
        if (!policy_match_pattern(item.text, name, nocase))
            continue;
        if (item.negated)
            return -1;
        found = 1;
    }
    return found;
}

gpg_error_t policy_parse_duration(const char *s, unsigned *secs)
{
    static const struct {
        char letter;
        unsigned secs;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
    unsigned long long total = 0;

    if (*s == '\0')
        return gpg_error(GPG_ERR_INV_VALUE);
    while (*s != '\0') {
        unsigned long long n = 0, unit = 1;

        if (!isdigit((unsigned char)*s))
            return gpg_error(GPG_ERR_INV_VALUE);
        for (; isdigit((unsigned char)*s); s++) {
            n = n * 10 + (unsigned long long)(*s - '0');
            if (n > INT_MAX)
                return gpg_error(GPG_ERR_TOO_LARGE);
        }
        if (*s != '\0') {
            size_t i = 0;

            while (i < sizeof units / sizeof units[0] &&
                   units[i].letter != tolower((unsigned char)*s))
                i++;
            if (i == sizeof units / sizeof units[0])
                return gpg_error(GPG_ERR_INV_VALUE);
            unit = units[i].secs;
            s++;
        }
        total += n * unit;
        if (total > INT_MAX)
            return gpg_error(GPG_ERR_TOO_LARGE);
    }
    *secs = (unsigned)total;
    return 0;
}
