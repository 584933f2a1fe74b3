/* The policy language: files in, verdicts out. Pure: no process, no socket, no clock of its own; the only outside thing
 * that it reads is the files named to it (and public-key files that a rule names). The language is described in
 * contrib/man/latchkey-policy.5.
 *
 * A policy_set is what is in force: the administrator's files, the person's file, the built-in tail. Immutable once
 * loaded and reference counted, so that a reload swaps a pointer. */
#ifndef LATCHKEY_POLICY_POLICY_H
#define LATCHKEY_POLICY_POLICY_H

#include <gpg-error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

struct policy_set;

/* --- loading ------------------------------------------------------------------------------------------------ */

/* All problems of the files read, each "FILE:LINE:COLUMN: message\n  line\n  caret\n"; owned, freed with
 * policy_errors_free. */
struct policy_errors {
    char **text;
    size_t n;
};
void policy_errors_free(struct policy_errors *e); /* contents only */

struct policy_paths {
    const char *admin_file; /* NULL: none. Missing files are no error */
    const char *admin_dir;  /* *.conf in byte order, after admin_file */
    const char *user_file;
    const char *home; /* for ~/ in paths */
    uid_t
        uid; /* the person; files must be owned by this uid or root, and writable by neither group nor
                               others (nor may their directories be) */
};
/* Reads and checks everything. On any problem *OUT stays untouched and ERRORS (must be empty) tells all of them.
 * Include works as in ssh_config (globs, relative to the including file's directory, depth 16; inside a block what is
 * included holds under the block's criteria only). */
gpg_error_t policy_load(const struct policy_paths *paths, struct policy_set **out,
                        struct policy_errors *errors);
/* One text as the person's policy, for `policy check`, tests and fuzzing. NAME is shown in errors. No Include. */
gpg_error_t policy_load_text(const char *name, const char *text, size_t len, const char *home,
                             struct policy_set **out, struct policy_errors *errors);
struct policy_set *policy_ref(struct policy_set *p);
void policy_unref(struct policy_set *p);
/* The administrator's part of one set with the person's part of another. */
gpg_error_t policy_join(const struct policy_set *admins, const struct policy_set *persons,
                        struct policy_set **out);
/* SHA-256 (hex, static in P) over all files' contents, in order, the keys in public-key files that rules name included:
 * changes exactly when the policy does. The second one is of the person's part only. */
const char *policy_hash(const struct policy_set *p);
const char *policy_person_hash(const struct policy_set *p);
/* The files read (NULL-ended, owned by P), public-key files included: what to watch for changes. Also those that are
 * missing but would count. */
const char *const *policy_files(const struct policy_set *p);
/* Names without pattern characters in Host / Match host / via: to be tried against hashed known_hosts entries.
 * NULL-ended, owned by P. */
const char *const *policy_literal_hosts(const struct policy_set *p);
/* Prints the files' rules as parsed and the built-in tail (`latchkey policy show`). */
void policy_print(const struct policy_set *p, FILE *f);
/* Does NEW demand less than OLD anywhere? A careful answer: true unless every rule set of NEW is textually equal or only
 * adds demands; CHANGES (gpgrt_free) describes the differences line by line, "+ ...", "- ..." and, where a public-key
 * file holds another key, "! ...". */
bool policy_loosens(const struct policy_set *old, const struct policy_set *new_set, char **changes);

/* --- facts ---------------------------------------------------------------------------------------------------- */

enum policy_proof { PROOF_NONE, PROOF_BOUND, PROOF_HOSTBOUND };

/* One host of a chain: its key's fingerprint ("SHA256:..") and the names found for it (may be none). */
struct policy_host {
    const char *fpr;
    const char *const *names;
    size_t nnames;
};

/* A tri-state: many facts may be unknown, and then neither a criterion nor its negation holds. */
enum policy_tri { TRI_UNKNOWN = -1, TRI_NO = 0, TRI_YES = 1 };

/* One token that holds the key. */
struct policy_token {
    const char *kind;   /* "yubikey", "software".. */
    const char *serial; /* "5417533"; NULL if none */
    bool soft;          /* its keys are in software whatever its kind: "software" matches it, too */
    const char *
        slot; /* "sig", "auth".. ; matched in TOKEN/SLOT together with NAME = kind-serial; "aut" and "auth",
                           "sig" and "sign", "dec" and "decrypt" are the same slot */
};

struct policy_facts {
    const char *
        use; /* "ssh-auth", "sshsig:git", "ssh-ca", "git-commit", "git-tag", "openpgp-sign", "decrypt",
                            "export", "import", "generate", "delete", "card-admin", "raw"; NULL when merely listing */
    bool
        listing; /* which keys may be seen: only Keys and Access-free facts count, host criteria use DEST as is */
    const struct policy_host *dest; /* destination of an ssh authentication; NULL: not known */
    enum policy_proof proof;        /* for ssh-auth; PROOF_NONE elsewhere */
    const char *user;               /* remote user, NULL unknown or none */
    const struct policy_host *via;  /* every bound host but the last */
    size_t nvia;
    bool via_known; /* false: chain not known (e.g. unbound client) */
    enum policy_tri forwarded;
    /* the key; NULL: unknown */
    const char *key_fpr;     /* SHA256:.. */
    const char *key_grip;    /* 40 hex */
    const char *key_openpgp; /* 40 hex */
    const char *key_b64;     /* base64 of the plain ssh blob, compared with public-key files */
    const char *key_comment;
    const struct policy_token *tokens;
    size_t ntokens;
    /* the requester; NULL: unknown */
    const char *client;
    const char *const *parents; /* nearest first */
    size_t nparents;            /* 0 with parents != NULL: known to be none */
    const char *unit;
    time_t now;
};

/* --- verdict -------------------------------------------------------------------------------------------------- */

/* Where a value came from: "file:line", "built-in:3"; when two files met, the stricter one. */
struct policy_source {
    const char *file; /* owned by the set */
    unsigned line;    /* 0: default, no rule */
};

enum policy_touch { TOUCH_NONE, TOUCH_CACHED, TOUCH_ALWAYS };
enum policy_standin { STANDIN_CONFIRM, STANDIN_FIDO, STANDIN_DENY };
enum policy_afteruse { AFTERUSE_DEFAULT, AFTERUSE_DROP, AFTERUSE_LEAVE };
enum policy_confirm { CONFIRM_NO, CONFIRM_CONNECTION, CONFIRM_YES };
enum policy_forwarded { FORWARDED_ALLOW, FORWARDED_CONFIRM, FORWARDED_DENY };

#define POLICY_PIN_SESSION (-1L) /* Pin session; 0 is Pin always; else seconds */
#define POLICY_MAX_RATES   4

struct policy_verdict {
    bool allow;   /* Access, Keys (not among them: false) */
    bool keys_ok; /* the key is among Keys, or nothing is known of the key */
    enum policy_touch touch;
    unsigned touch_secs; /* cached: seconds */
    unsigned touch_max;  /* cached: uses, 0: no limit */
    enum policy_standin standin;
    long pin;
    enum policy_afteruse afteruse;
    enum policy_confirm confirm;
    enum policy_forwarded forwarded;
    struct policy_rate {
        unsigned n, secs;
    } rates[POLICY_MAX_RATES];
    size_t nrates;
    bool notify;
    unsigned timeout; /* seconds */
    bool unnamed;     /* judged as "could be any host" */
    const char
        *why; /* when !allow: a phrase owned by the set, e.g. "Access deny", "not among Keys" */
    /* the deciding rule of each setting, by enum policy_setting */
    struct policy_source src[16];
    struct policy_source rule; /* the one to name in dialogs and in the audit log */
};

enum policy_setting {
    SET_ACCESS,
    SET_TOUCH,
    SET_STANDIN,
    SET_PIN,
    SET_AFTERUSE,
    SET_CONFIRM,
    SET_FORWARDED,
    SET_RATE,
    SET_KEYS,
    SET_NOTIFY,
    SET_TIMEOUT,
    SET_COUNT
};

/* Judges. Cannot fail. V's pointers live as long as P. */
void policy_evaluate(const struct policy_set *p, const struct policy_facts *f,
                     struct policy_verdict *v);
/* Can P hide a key from a list at all (has it any Keys)? If not, a list needs no facts. */
bool policy_hides_keys(const struct policy_set *p);
/* Prints each setting, its value, file and line, and what was skipped and why (`latchkey policy explain`). */
void policy_explain(const struct policy_set *p, const struct policy_facts *f, FILE *out);

/* Is USE one that there is ("sshsig:anything" included)? If not, *NEAR is one that may have been meant, or NULL. */
bool policy_is_use(const char *use, const char **near);
/* ssh_config-style pattern match of NAME against PATTERN (* and ?); hosts are compared without case. */
bool policy_match_pattern(const char *pattern, const char *name, bool nocase);
/* Comma-separated LIST with ! negation, as ssh's match_pattern_list: 1 match, 0 none, -1 negated. */
int policy_match_list(const char *list, const char *name, bool nocase);
/* A slot's one name: people write "auth", "sign", "decrypt", too, for "aut", "sig", "dec". Points to S or is static. */
const char *policy_slot(const char *s);
/* "15s", "10m", "2h", "1d", "1h30m", "90"; GPG_ERR_INV_VALUE, GPG_ERR_TOO_LARGE. */
gpg_error_t policy_parse_duration(const char *s, unsigned *secs);

#endif
