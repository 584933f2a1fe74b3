/* The state of a key store's process, and the one way from a keygrip to an open key: what is open already, nonces, cached
 * passphrases, the person. */
#ifndef LATCHKEY_DEVICES_GPG_UNLOCK_H
#define LATCHKEY_DEVICES_GPG_UNLOCK_H

#include "devices/driver.h"
#include "devices/gpg_store.h"

#include <pthread.h>

#define GPG_PASSPHRASE_MAX 1024u
#define GPG_TRIES          3
#define GPG_NONCE_TTL      120 /* seconds */
#define GPG_PRESET_TTL     900

struct gpg_asking;
struct gpg_keystore {
    struct gpg_store *store;
    struct gpg_cache *cache;
    pthread_mutex_t mutex; /* for the rest: keys that somebody is being asked for now */
    pthread_cond_t changed;
    struct gpg_asking *asking;
};

/* The CACHE fields of a command, and what its passphrase came from. */
struct gpg_access {
    const struct driver_io *io;
    bool use_cache; /* entries of keys: nonces are always looked at */
    long ttl, max_ttl, realm;
    enum gpg_cache_mode mode; /* NORMAL, SSH */
    long age;                 /* the greatest age of what was typed, 0: typed for this, -1: any */
    unsigned long epoch;
    char *nonce; /* NULL: none given */
    /* out */
    bool typed, cached;
};
/* NONCE_FIELD: "nonce", "cache-nonce". gpg_access_clear also after failure. */
gpg_error_t gpg_access_parse(struct gpg_keystore *ks, const struct driver_op *op,
                             const char *nonce_field, struct gpg_access *a);
void gpg_access_clear(struct gpg_access *a);
/* What was shown, for the broker. */
void gpg_access_tell(const struct gpg_access *a, struct driver_op *op);

/* A passphrase and when it was typed. */
struct gpg_phrase {
    struct buf text; /* secure */
    int64_t typed;
};
#define GPG_PHRASE_INIT ((struct gpg_phrase){.text = BUF_INIT_SECURE})

/* Opens GRIP's key. WHY: the inquiry's word. *KEY: a reference. PHRASE (may be NULL): the passphrase that opened it, empty for
 * a key without one; what is open already does not serve then. A key kept as OpenPGP had it is written anew in the store's
 * own form. GPG_ERR_BAD_PASSPHRASE, GPG_ERR_CANCELED, GPG_ERR_NO_SECKEY, GPG_ERR_UNUSABLE_SECKEY (a stub). */
gpg_error_t gpg_unlock(struct gpg_keystore *ks, const char *grip, const char *why,
                       struct gpg_access *a, struct gpg_secret **key, struct gpg_phrase *phrase);

/* One question. GRIP may be NULL. */
gpg_error_t gpg_ask(struct gpg_access *a, const char *grip, const char *why, int attempt, int tries,
                    bool bad, struct gpg_phrase *out);
/* The passphrase that NONCE names, if the operation may have it; GPG_ERR_NO_DATA. */
gpg_error_t gpg_nonce_get(struct gpg_keystore *ks, struct gpg_access *a, const char *nonce,
                          struct gpg_phrase *out);
/* A name for P: NONCE again while it still names a passphrase, or a new one (gpgrt_free). */
gpg_error_t gpg_nonce_put(struct gpg_keystore *ks, const struct gpg_access *a, const char *nonce,
                          const struct gpg_phrase *p, long ttl, char **out);
/* KEY, protected by P unless that is empty, in F. */
gpg_error_t gpg_file_seal(struct gpg_file *f, struct rd key, const struct gpg_phrase *p);

#endif
