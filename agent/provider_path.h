/* Which provider libraries may be loaded: ssh-agent(1) -P. */
#ifndef LATCHKEY_AGENT_PROVIDER_PATH_H
#define LATCHKEY_AGENT_PROVIDER_PATH_H

#include <gpg-error.h>
#include <stdbool.h>

#define PROVIDER_PATTERNS "/usr/lib*/*,/usr/local/lib*/*"

/* PATH against a comma-separated list of patterns (ssh_config(5) PATTERNS: * ? and ! before one; NULL: the default). A
 * list that cannot be read allows nothing. */
bool provider_allowed(const char *patterns, const char *path);
/* The real path of PROVIDER (gpgrt_free) if it is allowed. GPG_ERR_FORBIDDEN, or why there is no such file. */
gpg_error_t provider_resolve(const char *patterns, const char *provider, char **path);

#endif
