/* The inside of the keyring, shared by keyring.c, keyring_added.c and keyring_certs.c. */
#ifndef LATCHKEY_AGENT_KEYRING_NODE_H
#define LATCHKEY_AGENT_KEYRING_NODE_H

#include "agent/token_lines.h"

#include <pthread.h>
#include <sys/queue.h>

/* An identity that snapshots share. Immutable, except that nobody but the keyring counts. */
struct node {
    struct identity id;          /* first: snapshots point at it */
    unsigned refs;               /* atomic */
    struct node *constraints_of; /* reference: whose constraints id.constraints borrows, or NULL */
};

struct snapshot {
    struct keyring_snapshot pub; /* first: callers see only this */
    unsigned refs;               /* atomic */
    struct node **nodes;
};

/* What one token holds, as it told. */
struct shelf {
    TAILQ_ENTRY(shelf) link; /* keyring::shelves, in order of arrival */
    struct token *token;     /* reference */
    struct key_line *keys;
    size_t n;
};

/* Keys of wallets, whether one is there or not. */
struct known_list {
    struct key_line *keys;
    size_t n;
};

struct added {
    TAILQ_ENTRY(added) link; /* keyring::added, in order of adding */
    struct node *node;
    size_t size; /* roughly what it takes in memory */
};

struct keyring {
    pthread_mutex_t mutex;
    TAILQ_HEAD(shelves, shelf) shelves;
    TAILQ_HEAD(added_list, added) added;
    struct known_list known;
    size_t nadded, max_added;
    size_t added_size; /* of all together */
    struct snapshot *now;
    int64_t next_expiry_ms; /* INT64_MAX: none of those in the snapshot ends */
    /* certificates from files, and the span of the wall clock (seconds) in which the snapshot shows
     * the right ones: the clock may be set, and goes on while the machine sleeps */
    struct certificate_set *certs; /* reference or NULL */
    uint64_t certs_from, certs_until;
};

/* Copies COMMENT, takes a reference of KEY. */
gpg_error_t keyring_node_new(struct key *key, const char *comment, struct node **out);
struct node *keyring_node_ref(struct node *n);
void keyring_node_unref(struct node *n);
/* Copies H; the copy's token is T. */
/* Binds N by the constraints of OWNER, which N keeps alive. */
void keyring_node_borrow(struct node *n, struct node *owner);
gpg_error_t keyring_node_add_holder(struct node *n, const struct holder *h, struct token *t);
bool keyring_node_expired(const struct node *n, int64_t now);

/* The following need the keyring's mutex. */
/* Puts the certificates of files behind the keys of S that tokens (the first NFIRST) and PKCS#11 modules hold; there is room
 * for all of them. */
gpg_error_t keyring_put_certificates(struct keyring *k, struct snapshot *s, size_t nfirst);
gpg_error_t keyring_rebuild(struct keyring *k);
void keyring_added_drop(struct keyring *k, struct added *a);

#endif
