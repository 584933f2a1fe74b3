/* Passphrases of a while, as gpg-agent keeps them (its agent/cache.c): by what they are for, for a time since last use and
 * a time in all. With an entry goes the key that it opened, so that it need not be opened again. Thread-safe. */
#ifndef LATCHKEY_DEVICES_GPG_CACHE_H
#define LATCHKEY_DEVICES_GPG_CACHE_H

#include "devices/gpg_secret.h"

enum gpg_cache_mode {
    GPG_CACHE_NORMAL,
    GPG_CACHE_USER,
    GPG_CACHE_SSH,
    GPG_CACHE_ANY,
    GPG_CACHE_NONCE,
    GPG_CACHE_OPEN /* no passphrase: an open key of a file without one */
};
struct gpg_cache_slot {
    const char *id;
    enum gpg_cache_mode mode;
    long realm; /* what one realm was told serves no other */
    unsigned long
        epoch; /* gpg_cache_epoch when the operation began: it puts nothing that a wipe came after; 0: anyhow */
};
/* A file as it was: the key that it held is the one there now only if these are the same. */
struct gpg_file_id {
    uint8_t digest[32]; /* SHA-256 of all of it */
};
/* Not typed by anybody: PRESET_PASSPHRASE. */
#define GPG_NEVER_TYPED INT64_MIN

struct gpg_cache;

gpg_error_t gpg_cache_new(struct gpg_cache **out);
void gpg_cache_free(struct gpg_cache *c);

/* Seconds of a clock that goes on during sleep: what TYPED is measured by. */
int64_t gpg_cache_now(void);
/* Keeps SECRET (may be empty), typed at TYPED: for TTL seconds since its last use, MAX_TTL in all; -1: no limit. It
 * replaces what is there; TTL 0: which then only goes. */
gpg_error_t gpg_cache_put(struct gpg_cache *c, const struct gpg_cache_slot *at, struct rd secret,
                          int64_t typed, long ttl, long max_ttl);
/* Appends it to SECRET and counts as a use. NORMAL and SSH take what is there in any mode but USER, NONCE, OPEN; USER its
 * own and ANY; those two their own. AGE: typed at most so many seconds ago, -1: at any time. TYPED may be NULL. GPG_ERR_NO_DATA. */
gpg_error_t gpg_cache_get(struct gpg_cache *c, const struct gpg_cache_slot *at, long age,
                          struct buf *secret, int64_t *typed);
/* Is it there? No use. */
bool gpg_cache_has(struct gpg_cache *c, const struct gpg_cache_slot *at);
void gpg_cache_clear(struct gpg_cache *c, const struct gpg_cache_slot *at);
/* In all modes and realms. */
void gpg_cache_clear_id(struct gpg_cache *c, const char *id);
void gpg_cache_wipe(struct gpg_cache *c);
/* Grows with each wipe; never 0. */
unsigned long gpg_cache_epoch(struct gpg_cache *c);

/* The id of the NORMAL entry that was put last in REALM, for another key's trial: a signing key and an encryption key
 * mostly have one passphrase. New string, NULL: none. */
char *gpg_cache_last(struct gpg_cache *c, long realm);

/* Lays the open key of FILE beside the entry; it goes with it. */
void gpg_cache_attach(struct gpg_cache *c, const struct gpg_cache_slot *at,
                      const struct gpg_file_id *file, struct gpg_secret *key);
/* A reference to it, if FILE is still the same; counts as a use. NULL: none. */
struct gpg_secret *gpg_cache_attached(struct gpg_cache *c, const struct gpg_cache_slot *at,
                                      long age, const struct gpg_file_id *file);

/* A new nonce for SECRET: 24 hex digits (gpgrt_free). EPOCH as in a slot. */
gpg_error_t gpg_cache_put_nonce(struct gpg_cache *c, struct rd secret, int64_t typed, long ttl,
                                unsigned long epoch, char **nonce);

#endif
