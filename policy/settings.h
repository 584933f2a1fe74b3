/* latchkey.conf: the agent's own settings. Same syntax and error style as the policy, without blocks. */
#ifndef LATCHKEY_POLICY_SETTINGS_H
#define LATCHKEY_POLICY_SETTINGS_H

#include "policy/policy.h"

struct settings {
    bool lock_on_unplug_token; /* LockOnUnplug token: only that token; default agent */
    bool lock_on_sleep;        /* default yes */
    bool lock_on_screen_lock;  /* default yes */
    unsigned lock_after;       /* seconds idle, 0: never (default) */
    char *on_unplug;           /* command or NULL */
    bool reload_confirm;       /* default yes */
    char *pinentry;            /* path or NULL: "pinentry" on PATH */
    char *gpg_socket;          /* "auto", path, or "no" */
    char *ssh_socket;          /* path or NULL: $XDG_RUNTIME_DIR/latchkey/ssh */
    char *audit_log;     /* path, "journal", "no", or NULL: $XDG_STATE_HOME/latchkey/audit.jsonl */
    char **certificates; /* patterns of *-cert.pub files, NULL-ended */
    struct settings_pair {
        char *first, *second;
    } * identities, *emulators; /* URI CURVE or FILE NULL; KIND ADDRESS */
    size_t nidentities, nemulators;
    char *
        wallet_passphrase; /* "ask", "device", "none"; NULL: on the device where that can be, else ask */
    char **drivers;        /* NULL: all; else names, NULL-ended */
    /* what clients together may take */
    unsigned max_clients;     /* connections, default 4096 */
    unsigned max_keys;        /* added by clients, default 2048 */
    unsigned max_memory;      /* octets of messages and objects under way, default 128 MiB */
    unsigned message_timeout; /* seconds from a message's first octet to its last, default 60 */
};

/* Reads /etc's file, then the person's (whose values win). Missing files are no error. Ownership and mode rules as for
 * policies. HOME resolves "~/". */
gpg_error_t settings_load(const char *admin_file, const char *user_file, const char *home,
                          uid_t uid, struct settings **out, struct policy_errors *errors);
gpg_error_t settings_load_text(const char *name, const char *text, size_t len, const char *home,
                               struct settings **out, struct policy_errors *errors);
void settings_free(struct settings *s);

#endif
