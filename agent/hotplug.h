/* Plug and unplug: keeps one latchkey-token process per interface, the keyring up to date, and
 * locks when a token is pulled. Tokens that cannot be read keep a short record of why, for
 * `latchkey status`. */
#ifndef LATCHKEY_AGENT_HOTPLUG_H
#define LATCHKEY_AGENT_HOTPLUG_H

#include "agent/agent.h"
#include "agent/token_client.h"

struct key_constraints;
struct provided_key;

/* When the agent owns the hardware, starts watchers for PC/SC and USB. Returns when the first scan was
 * started; where there is a pcscd, a first list waits for it at most SETTLE_MS through
 * hotplug_settle. The software token starts with the first key that is added. */
gpg_error_t hotplug_start(struct agent *a, struct hotplug **out);
void hotplug_stop(struct hotplug *h);
/* Waits until the readers that were there at start-up have been read once, at most MS. */
void hotplug_settle(struct hotplug *h, int ms);
/* The same, and until tokens that have nothing else to do have told of all their keys: those that
 * ssh does not need are read later. */
void hotplug_settle_all(struct hotplug *h, int ms);
/* The token for keys added by ssh-add, started when it does not run yet; a new reference. Started anew
 * when it died (its keys are then gone). NULL if it cannot be had. */
struct token *hotplug_software(struct hotplug *h);
/* The same for keys of security keys: by the MIDDLEWARE library of that (resolved) path, or by libfido2 when it is NULL.
 * NULL also when the library is none that can be used. May take seconds. */
struct token *hotplug_security_keys(struct hotplug *h, const char *middleware);

/* The same for gpg's key store below GnuPG's home directory HOME. What it holds stays on disk when it ends. */
struct token *hotplug_stored(struct hotplug *h, const char *home);
/* All key stores forget every passphrase. */
void hotplug_forget_stored(struct hotplug *h);

/* PKCS#11 providers (ssh-add -s): a process each, known by the module's real path. A process that
 * dies takes no keys away: they stay listed, and it is started anew when one of them is used.
 *
 * Starts a process for PATH, which has not loaded the module yet; a new reference. It ends with
 * hotplug_provider_end, whatever comes between. GPG_ERR_EEXIST when PATH is served already. */
gpg_error_t hotplug_provider_start(struct hotplug *h, const char *path, struct token **t);
/* T serves from now on, in the place of an earlier process for its path that died: KEYS go into the
 * keyring, as keyring_add_provided does it. GPG_ERR_EEXIST when all of them were there already,
 * GPG_ERR_CANCELED when T was ended meanwhile. */
gpg_error_t hotplug_provider_serve(struct hotplug *h, struct token *t,
                                   const struct provided_key *keys, size_t n,
                                   struct key_constraints *c, int64_t life_ms);
/* The process for PATH, a new reference; NULL if there is none. */
struct token *hotplug_provider(struct hotplug *h, const char *path);
/* Ends T and takes its keys out of the keyring. */
void hotplug_provider_end(struct hotplug *h, struct token *t);
/* Ends those that no key rests on any more. */
void hotplug_providers_reap(struct hotplug *h);
/* If T is a provider's process that died: starts it anew, and gives its keys to the new one.
 * GPG_ERR_ENODEV: not so soon after the last time. */
gpg_error_t hotplug_provider_revive(struct hotplug *h, const struct token *t);

/* T's keys or what it wants for them changed: reads them anew, at once. */
gpg_error_t hotplug_relearn(struct hotplug *h, struct token *t);

/* For `status` and dialogs: everything that is or was there. */
struct hotplug_entry {
    struct token *token; /* reference; NULL when not running */
    char *name;          /* token name, or the reader's when the card could not be read */
    char *state;         /* "ready", "starting", "pulled", "lost", "unreadable: ..." */
    bool seen_verified;  /* a PIN or touch was shown for it before (may unlock) */
};
/* NULL-free array of N; free with hotplug_entries_free. */
struct hotplug_entry *hotplug_entries(struct hotplug *h, size_t *n);
void hotplug_entries_free(struct hotplug_entry *e, size_t n);
/* A token has just shown a fresh proof by PIN or touch: remember that it may unlock. */
void hotplug_note_verified(struct hotplug *h, const struct token *t);
/* The key with this ID, which a client added to T, has just shown one: keys that are added prove each only itself. */
void hotplug_note_key_verified(struct hotplug *h, const struct token *t, const char *id);
/* The KEY lines of INFO whose keys such a token of that name listed: NULL-ended, NULL if there are
 * none. Free the array alone. A listing can be copied: only a signature tells whether the keys are
 * there, too. */
char **hotplug_verified_keys(struct hotplug *h, const struct token_info *info);
/* Is the key with this ID among them, or was it an added one that showed a proof itself? */
bool hotplug_key_was_verified(struct hotplug *h, const struct token_info *info, const char *id);
/* Did any token ever show a proof? (Added keys do not count: `latchkey unlock` cannot ask them.) */
bool hotplug_any_verified(struct hotplug *h);
/* A new eventfd that becomes readable at the next change of the set of tokens (and at every later
 * one until it is given back): for dialogs that wait for a token. Give it back with
 * hotplug_unwatch, which closes it. */
gpg_error_t hotplug_watch(struct hotplug *h, int *fd);
void hotplug_unwatch(struct hotplug *h, int fd);
/* Wipes the key ID in T, a token for added keys: whatever its client does meanwhile, and when it
 * cannot be wiped the token is ended. */
void hotplug_wipe_added(struct hotplug *h, struct token *t, const char *id);
/* The FIDO token at PATH (its hidraw node; others are nobody's concern) has served: when it is pulled, the agent locks. */
void hotplug_note_device(struct hotplug *h, const char *path);
/* Drops all keys added by clients (SIGUSR1, ssh-add -D). */
void hotplug_remove_added(struct hotplug *h);

#endif
