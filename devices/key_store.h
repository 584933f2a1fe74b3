/* The keys that ADDKEY brought: a list that several channels use at once. What a key is, its driver knows. */
#ifndef LATCHKEY_DEVICES_KEY_STORE_H
#define LATCHKEY_DEVICES_KEY_STORE_H

#include "proto/buf.h"

struct key_store;

/* One key. Who holds a reference may use it after it was removed. */
struct stored_key {
    void *key; /* the driver's, owned */
    char *id;
    char *comment;
};
struct key_store_ops {
    void (*free)(void *key);
    /* Appends K's "KEY .." fields to LINE. */
    gpg_error_t (*put)(struct buf *line, const struct stored_key *k);
};

gpg_error_t key_store_new(const struct key_store_ops *ops, struct key_store **out);
void key_store_free(struct key_store *s);
/* Takes over KEY, also on failure. Its id is NAME and a number: the same key added again is another one. Appends the new
 * key's fields to LINE. */
gpg_error_t key_store_add(struct key_store *s, void *key, const char *name, const char *comment,
                          struct buf *line);
/* A reference, NULL if there is none; give it back with key_store_put. */
struct stored_key *key_store_get(struct key_store *s, const char *id);
void key_store_put(struct key_store *s, struct stored_key *k);
/* GPG_ERR_NOT_FOUND for unknown ones. */
gpg_error_t key_store_delete(struct key_store *s, const char *id);
void key_store_delete_all(struct key_store *s);
/* Appends a "KEY ..\n" per key. */
gpg_error_t key_store_list(struct key_store *s, struct buf *lines);

#endif
