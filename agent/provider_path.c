#include "agent/provider_path.h"

#include "policy/policy.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

bool provider_allowed(const char *patterns, const char *path)
{
    bool found = false;

    if (patterns == NULL)
        patterns = PROVIDER_PATTERNS;
    for (;;) {
        bool negated = patterns[0] == '!';
        size_t n = strcspn(patterns, ",");
        char item[1024];

        /* Cut short it would be another pattern. */
        if (n >= sizeof item)
            return false;
        memcpy(item, patterns + negated, n - negated);
        item[n - negated] = '\0';
        if (policy_match_pattern(item, path, false)) {
            if (negated)
                return false;
            found = true;
        }
        if (patterns[n] == '\0')
            return found;
        patterns += n + 1;
    }
}

gpg_error_t provider_resolve(const char *patterns, const char *provider, char **path)
{
    char real[PATH_MAX];

    /* Judged by where it really is: neither ".." nor a link leads around the list. */
    if (realpath(provider, real) == NULL)
        return gpg_error_from_syserror();
    if (!provider_allowed(patterns, real))
        return gpg_error(GPG_ERR_FORBIDDEN);
    *path = gpgrt_strdup(real);
    return *path != NULL ? 0 : gpg_error_from_syserror();
}
