/* What it takes to serve gpg, once an agent: configuration, the environment for dialogs that nobody's terminal is known for,
 * event counters. agent.gpg; NULL where gpg is not served. */
#ifndef LATCHKEY_AGENT_GPG_AGENT_H
#define LATCHKEY_AGENT_GPG_AGENT_H

#include "agent/gpg_config.h"
#include "agent/requester.h"

/* What GETINFO version says: gpg complains of agents older than itself, and reads only the numbers. */
#define GPG_COMPATIBLE_VERSION "2.4.99-latchkey"
/* GETINFO s2k_count, where none is configured: about 100 ms of today's processors. */
#define GPG_DEFAULT_S2K_COUNT 65011712ul

struct gpg;
/* Takes C over, also on failure. LOAD makes a new one on reload (NULL: there is nothing to reload). */
gpg_error_t gpg_agent_new(struct agent *a, struct gpg_config *c,
                          gpg_error_t (*load)(void *arg, struct gpg_config **out), void *arg,
                          struct gpg **out);
void gpg_agent_free(struct gpg *g);
/* SIGHUP, RELOADAGENT: configuration anew, caches empty. */
void gpg_agent_reload(struct agent *a);
/* KILLAGENT: ends the agent once the connection is answered. STOP is set by main. */
void gpg_agent_on_kill(struct gpg *g, void (*stop)(void *arg), void *arg);
void gpg_agent_kill(struct gpg *g);

struct token;
/* Brings the keyring up to date with the key store's token T, if the folder of key files or sshcontrol have changed or T is
 * another one than last time. */
gpg_error_t gpg_refresh(struct gpg *g, struct token *t);
/* Is there no key file, and no process of the store that would have to be told so? Then none is started for a list. */
bool gpg_nothing_stored(struct gpg *g);

/* The same for whoever looks into the keyring from outside of gpg's protocol; nothing where gpg is not served. */
void gpg_look_at_disk(struct agent *a);

/* Counters of GETEVENTCOUNTER, counted from the keyring's and tokens' changes. */
enum gpg_event { GPG_EVENT_ANY, GPG_EVENT_KEY, GPG_EVENT_CARD, GPG_EVENTS };
void gpg_count_event(struct gpg *g, enum gpg_event e);
void gpg_events(struct gpg *g, unsigned count[GPG_EVENTS]);

/* The lock of SCD LOCK. */
struct scd_lock;
struct scd_lock *gpg_cards_lock(struct gpg *g);

/* PUTVAL, GETVAL. *VALUE: new string; GPG_ERR_NO_DATA. VALUE NULL deletes. */
gpg_error_t gpg_value_put(struct gpg *g, const char *name, const char *value);
gpg_error_t gpg_value_get(struct gpg *g, const char *name, char **value);

/* UPDATESTARTUPTTY: where dialogs for ssh and for restricted connections go from now on: as for WHO. Fills what is unknown of a
 * requester's terminal and display from it. */
gpg_error_t gpg_startup_set(struct gpg *g, const struct requester *who);
gpg_error_t gpg_startup_fill(struct gpg *g, struct requester *who);

#endif
