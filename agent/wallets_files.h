/* The files behind agent/wallets.h. */
#ifndef LATCHKEY_AGENT_WALLETS_FILES_H
#define LATCHKEY_AGENT_WALLETS_FILES_H

#include "policy/settings.h"
#include "proto/key.h"
#include "proto/wallet_identity.h"

/* One identity that the person wants. */
struct wallet_wanted {
    struct wallet_identity id;
    char *text; /* "<URI|CURVE>" */
    char *from; /* the file that names it, or "latchkey.conf" */
};
struct wallet_wish_list {
    struct wallet_wanted *list;
    size_t n;
    char *problems; /* lines, NULL: none */
};
void wallet_wish_list_clear(struct wallet_wish_list *w);
bool wallet_wish_list_has(const struct wallet_wish_list *w, const char *text);

/* A public key that is known of an identity. */
struct wallet_known {
    char *token; /* its name; "": no device told it, a .pub file has it */
    char *label;
    char *line; /* as the token's KEY line has it */
    char *text; /* "<URI|CURVE>" */
    bool ecdh;
};
struct wallet_known_list {
    struct wallet_known *list;
    size_t n;
};
void wallet_known_list_clear(struct wallet_known_list *k);
/* Takes copies. A key of the same token, identity and kind is replaced; *CHANGED (may be NULL) tells whether anything new came. */
gpg_error_t wallet_known_add(struct wallet_known_list *k, const char *token, const char *label,
                             const char *line, bool *changed);

/* The identities of settings, and of the file OWN (may be missing); keys of .pub files are added to K. */
gpg_error_t wallet_wish_list_read(const struct settings *s, const char *own,
                                  struct wallet_wish_list *out, struct wallet_known_list *k);
/* One file of identities. Only new ones are added. */
gpg_error_t wallet_wish_list_read_text(const char *path, struct rd text,
                                       struct wallet_wish_list *out, struct wallet_known_list *k);
/* The file of keys that devices told; a missing one has none. */
gpg_error_t wallet_known_read(const char *path, struct wallet_known_list *k);
gpg_error_t wallet_known_read_text(struct rd text, struct wallet_known_list *k);
/* .. is written anew, all at once. */
gpg_error_t wallet_known_write(const char *path, const struct wallet_known_list *k);

#endif
