/* The live table: which key is where. Readers take an immutable, reference-counted snapshot;
 * hotplug and ssh-add swap in a new one. */
#ifndef LATCHKEY_AGENT_KEYRING_H
#define LATCHKEY_AGENT_KEYRING_H

#include "agent/certificates.h"
#include "agent/token_client.h"
#include "proto/ssh_agent.h"

enum key_family { FAMILY_SSH, FAMILY_GPG };
enum token_touch { TOKEN_TOUCH_UNKNOWN, TOKEN_TOUCH_NEVER, TOKEN_TOUCH_ALWAYS, TOKEN_TOUCH_CACHED };
enum token_pin { TOKEN_PIN_NONE, TOKEN_PIN_ONCE, TOKEN_PIN_ALWAYS };

/* One place where a key's private half is: a slot of a token. */
struct holder {
    struct token *token; /* reference */
    char *id;            /* the token protocol's key id */
    enum token_touch touch;
    unsigned touch_secs; /* TOKEN_TOUCH_CACHED */
    bool touch_fixed;
    enum token_pin pin;
    bool slow;
    bool whole; /* signs messages, not their digests */
};

/* One key that can be asked for. Immutable once in a snapshot. */
struct identity {
    struct key *key; /* plain key, or certificate (then listed beside the plain one) */
    enum key_family family;
    bool can_sign, can_encrypt, can_auth;
    char *comment;
    uint32_t created; /* OpenPGP creation time */
    bool has_openpgp;
    uint8_t openpgp_fpr[20];
    char *
        wallet; /* "<URI|CURVE>" that the key follows from on a hardware wallet; NULL: it is none of one's */
    struct holder *holders; /* best first: present tokens before slow ones */
    size_t nholders;        /* 0: of a wallet that is not there */
    long
        ssh_place; /* a key of gpg's that its owner offers to ssh, too: where in the list; 0: not */
    bool ssh_confirm; /* .. and wants to be asked about each time */
    /* keys added by a client (ssh-add); all zero for token keys */
    bool added;
    bool provided; /* .. by ssh-add -s: a PKCS#11 provider holds it */
    struct key_constraints constraints;
    int64_t expires_ms; /* CLOCK_MONOTONIC, 0: never */
    /* certificates from files, for keys on tokens and of PKCS#11 modules */
    struct certificate **certs; /* references; of a plain key: all that fit it, listed or not */
    size_t ncerts;
    bool from_file; /* this identity is one of those: the plain key's holders, its one certs */
};

/* Token keys first in token order, each with its certificates from files behind it; then added ones
 * in the order of adding. */
struct keyring_snapshot {
    struct identity *const *ids;
    size_t n;
};

struct keyring;
gpg_error_t keyring_new(struct keyring **out);
void keyring_free(struct keyring *k);
/* The present snapshot; give it back with keyring_put. Expired identities are left out of it, and
 * so are certificates of files that are not valid by the clock of this moment. */
const struct keyring_snapshot *keyring_get(struct keyring *k);
void keyring_put(const struct keyring_snapshot *s);
/* First identity whose key blob (certificate or plain) is BLOB; failing that, one whose plain key
 * is the plain key of the certificate BLOB. NULL if none. Valid as long as the snapshot. */
const struct identity *keyring_find_blob(const struct keyring_snapshot *s, struct rd blob);

/* Replaces everything that token T holds by what its LEARN answer says (KEYS lines parsed by
 * token_client). */
gpg_error_t keyring_set_token(struct keyring *k, struct token *t);
void keyring_remove_token(struct keyring *k, struct token *t);

/* Keys of wallets that are known from before, a KEY line each with its token's label: where no token holds one, it is listed
 * without holders. Replaces what was given before; lines that cannot be parsed are left out. */
struct known_key {
    const char *line, *label;
};
gpg_error_t keyring_set_known(struct keyring *k, const struct known_key *keys, size_t n);

/* Certificates from files: takes a reference of S, which replaces what was given before. Each goes
 * with the token key that it certifies and is bound by all that binds that key. */
gpg_error_t keyring_set_certificates(struct keyring *k, struct certificate_set *s);

/* A key in a token that no added entry uses any more. */
struct orphan {
    struct token *token; /* reference */
    char *id;            /* NULL: there is none */
};
void orphan_clear(struct orphan *o);
/* ssh-add. The private part went to a token, which answered with H: where the key is there and what
 * its use takes. The entry (key may be a certificate) takes over *C (which is emptied). Replaces an
 * entry of the same blob: *UNUSED (to be cleared) then tells which key is to be wiped. LIFE_MS 0: for
 * ever. GPG_ERR_TOO_MANY beyond keyring_limit, or when all entries together would take more than
 * 16 MiB. */
gpg_error_t keyring_add(struct keyring *k, const struct holder *h, struct key *key,
                        const char *comment, struct key_constraints *c, int64_t life_ms,
                        struct orphan *unused);
/* Whether that would find room: GPG_ERR_TOO_MANY, or 0. */
gpg_error_t keyring_room(struct keyring *k, const struct key *key, const char *comment,
                         const struct key_constraints *c);
/* How many keys may be added; 2048 if this is not called. */
void keyring_limit(struct keyring *k, size_t keys);
/* ssh-add -s. N identities whose private halves the provider T holds, all bound by *C (taken over and emptied). Blobs that
 * were added already stay as they are; *ADDED counts the others. GPG_ERR_TOO_MANY as keyring_add; some may be in then. */
struct provided_key {
    struct key *key; /* plain or certificate */
    const struct holder *holder;
    const char *comment;
};
gpg_error_t keyring_add_provided(struct keyring *k, struct token *t,
                                 const struct provided_key *keys, size_t n,
                                 struct key_constraints *c, int64_t life_ms, size_t *added);
/* Does any added entry rest on T? */
bool keyring_rests_on(struct keyring *k, const struct token *t);
/* What rests on OLD, a process that is no more, rests on T from now on. */
gpg_error_t keyring_swap_token(struct keyring *k, const struct token *old, struct token *t);
/* Removes an added entry by blob; *O (to be cleared) tells whether its key is to be wiped; keys of a
 * provider never are. * GPG_ERR_NOT_FOUND for unknown blobs, GPG_ERR_NOT_SUPPORTED for keys that live on a token. */
gpg_error_t keyring_remove(struct keyring *k, struct rd blob, struct orphan *o);
/* Removes all added entries. */
void keyring_remove_added(struct keyring *k);
/* Removes entries whose life is over; the N of *GONE (each to be cleared, the array freed) are keys that nobody uses any
 * more. Returns ms until the next one ends, -1: none. */
int64_t keyring_expire(struct keyring *k, struct orphan **gone, size_t *n);

#endif
