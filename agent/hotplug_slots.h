/* The inside of hotplug.c, hotplug_slots.c, hotplug_added.c, hotplug_provider.c, hotplug_pcsc.c, hotplug_fido.c and hotplug_usb.c. One thread, the loop
 * of hotplug.c, makes every change; others read under the mutex or send events. */
#ifndef LATCHKEY_AGENT_HOTPLUG_SLOTS_H
#define LATCHKEY_AGENT_HOTPLUG_SLOTS_H

#include "agent/hotplug.h"
#include "agent/token_lines.h"

#include <libudev.h>
#include <pthread.h>
#include <sys/queue.h>

/* A slot: a reader with a card in it, or a hardware wallet.
 *
 *   SLOT_STARTING --- LEARN ok, keys ------> SLOT_READY
 *       |  ^                                    |
 *       |  '------- restart_at_ms ---------- SLOT_LOST <--- the process ended, pcscd went
 *       '------- LEARN failed -----------> SLOT_UNREADABLE (tried again later, unless hopeless)
 *
 * A card that is taken out ends the slot from every state; it was pulled if it had ever been usable
 * in this stay and the reader has contacts. */
enum slot_state { SLOT_STARTING, SLOT_READY, SLOT_LOST, SLOT_UNREADABLE };

struct slot {
    TAILQ_ENTRY(slot) link; /* hotplug::slots */
    const char *kind;       /* of latchkey-token: "pcsc", "trezor" */
    char *reader;           /* its argument: the reader's name, the wallet's address */
    enum slot_state state;
    char *problem;       /* SLOT_UNREADABLE */
    struct token *token; /* reference; NULL when there is no process */
    char *name;          /* the token's, once learnt; NULL before */
    bool usable;         /* was READY since the card came */
    bool contactless;
    int bus, dev;
    char *
        port; /* of a device that comes back as another one when its application changes; else NULL */
    int64_t away_until_ms; /* it left; when that was for good. INT64_MAX: it is there */
    long events;
    int64_t restart_at_ms; /* INT64_MAX: not */
    unsigned failures;
    int64_t ready_since_ms;
    /* READY with keys of other families than ssh still unread: when to read them, INT64_MAX: not */
    int64_t rest_at_ms;
    bool reading_rest;
    int64_t
        hint_at_ms; /* READY with something for the person to do first: when to see whether it is done */
    bool proved; /* this process has shown a proof: what it lists, it may unlock with */
};

/* A PKCS#11 module that a client added. */
struct provider {
    TAILQ_ENTRY(provider) link; /* hotplug::providers */
    char *path;
    struct token *token; /* reference; gone until it is used again, if it died */
    bool ready;          /* else it is being added */
    int64_t started_ms;
};

/* A FIDO token's hidraw node. */
struct fido_node {
    TAILQ_ENTRY(fido_node) link; /* hotplug::fidos */
    char *path, *name;
    int bus, dev; /* of its usb_device; -1: none */
    bool used;    /* has served since it was plugged in: pulling it locks */
};

/* A token that was there. */
struct past {
    TAILQ_ENTRY(past) link; /* hotplug::past, latest first */
    char *name;
    bool pulled; /* else lost */
    int64_t at_ms;
    int bus, dev;
};

/* A token that has shown a proof: its name and what keys it listed (digests), so that another card of
 * that name is not taken for it. */
struct verified {
    TAILQ_ENTRY(verified) link;
    char *name;
    uint8_t (*keys)[32];
    size_t nkeys;
};

/* A token for keys that clients add. */
struct store {
    TAILQ_ENTRY(store) link; /* hotplug::stores */
    char *kind, *arg;        /* of latchkey-token; constant */
    pthread_mutex_t starting;
    unsigned users;      /* threads that look at it now */
    struct token *token; /* reference; NULL when there is no process */
    int64_t started_ms;
};

enum event_kind { EVENT_LEARNT, EVENT_EOF };
struct event {
    STAILQ_ENTRY(event) link; /* hotplug::events */
    enum event_kind kind;
    struct token *token; /* reference */
    gpg_error_t err;
};

struct watched {
    TAILQ_ENTRY(watched) link;
    int fd;
};

struct hotplug {
    struct agent *a;
    pthread_mutex_t mutex;
    pthread_cond_t settled_changed;
    pthread_t loop, expiry;
    bool loop_runs, expiry_runs, stop;
    int wake_fd;
    STAILQ_HEAD(events, event) events;
    TAILQ_HEAD(slots, slot) slots;
    TAILQ_HEAD(pasts, past) past;
    TAILQ_HEAD(verifieds, verified) verified;
    TAILQ_HEAD(watcheds, watched) watched;
    TAILQ_HEAD(fido_nodes, fido_node) fidos;
    unsigned npast, nverified, nlearning;
    /* ssh-add */
    TAILQ_HEAD(stores, store) stores;
    bool
        want_resident; /* the process that had the resident keys is gone: the expiry thread puts them into the next one */
    /* ssh-add -s */
    pthread_mutex_t revive_mutex; /* one revival at a time */
    TAILQ_HEAD(providers, provider) providers;
    /* the first scan */
    bool settled;
    int64_t scan_quiet_ms; /* when the watcher's first words are complete; INT64_MAX: not yet */
    bool want_rest;        /* somebody waits for all keys */
    /* watch-pcsc: the loop's alone */
    struct child *watcher;
    int watch_fd;
    int64_t watch_restart_ms;
    unsigned watch_failures;
    struct buf watch_line;
    /* udev: the loop's alone */
    struct udev *udev;
    struct udev_monitor *monitor;
};

/* --- hotplug.c */
void hotplug_post(struct hotplug *h, enum event_kind kind, struct token *t, gpg_error_t err);
/* Tells watchers of a change, and that the first scan may be over. The mutex is held. */
void hotplug_changed(struct hotplug *h);

/* --- hotplug_provider.c: ends all of them */
void providers_end_all(struct hotplug *h);
/* The mutex is held. */
struct provider *provider_of(struct hotplug *h, const struct token *t);

/* --- hotplug_slots.c: all from the loop, without the mutex */
void slots_card_in(struct hotplug *h, const struct watch_line *w);
/* KIND's constant. PORT: where it hangs, if it comes back there as another device whenever its application changes; else NULL. */
void slots_wallet_in(struct hotplug *h, const char *kind, const char *address, int bus, int dev,
                     const char *port);
/* The card left the reader: pulled, or lost when it never touched it. */
void slots_card_out(struct hotplug *h, const char *reader);
/* The reader left. */
void slots_reader_gone(struct hotplug *h, const char *reader);
/* pcscd is gone: everything in its readers is lost. */
void slots_service_gone(struct hotplug *h);
/* The kernel removed the usb_device. */
void slots_usb_removed(struct hotplug *h, int bus, int dev);
void slots_learnt(struct hotplug *h, struct token *t, gpg_error_t err);
void slots_eof(struct hotplug *h, struct token *t);
/* Starts again, and reads the rest of, what is due; gives ms until the next one is, -1: none. */
int64_t slots_restart_due(struct hotplug *h);
/* Is there a token whose remaining keys are being read, or could be at once? The mutex is held. */
bool slots_rest_open(struct hotplug *h);
void slots_free(struct hotplug *h);

/* --- hotplug_pull.c */
/* Notes a token that is no more; forgets the one called NAME, NULL: all. The mutex is held. */
void past_remember(struct hotplug *h, const char *name, bool pulled, int bus, int dev);
void past_forget(struct hotplug *h, const char *name);
/* The kernel removed the usb_device: which of them was pulled after all? Without the mutex. */
void past_removed(struct hotplug *h, int bus, int dev);
/* A token that was of use was pulled: locks, runs OnUnplug. Without the mutex. */
void pull_locks(struct hotplug *h, const char *name);
void pull_command(struct hotplug *h, const char *name);

/* --- hotplug_learn.c: reads what S's process tells; EVENT_LEARNT says how that went */
gpg_error_t start_learning(struct hotplug *h, const struct slot *s, enum token_learn how);

/* --- hotplug_wallets.c: from the loop, without the mutex */
/* The emulators of the settings, and what is plugged in. */
void wallets_start(struct hotplug *h);
void wallets_device_in(struct hotplug *h, struct udev_device *d);

/* --- hotplug_refresh.c: counts a change for gpg. Without the mutex. */
void slots_count(struct hotplug *h);

/* --- hotplug_added.c */
/* A process ended: if it was a store's, what was added to it is gone. From the loop, without the mutex. */
void stores_eof(struct hotplug *h, struct token *t);
void stores_stop(struct hotplug *h);
void stores_free(struct hotplug *h);

/* --- hotplug_fido.c: all from the loop, without the mutex */
void fido_node_added(struct hotplug *h, const char *path, int bus, int dev);
void fido_node_removed(struct hotplug *h, const char *path);
/* The kernel removed the usb_device: its nodes go. Before slots_usb_removed, which locks. */
void fido_usb_removed(struct hotplug *h, int bus, int dev);
void fido_nodes_free(struct hotplug *h);

/* --- hotplug_status.c */
void status_forget_verified(struct hotplug *h);

/* --- hotplug_pcsc.c: the watcher's process */
/* Could a pcscd be running, or be started by connecting to it? Without its socket there is nothing to wait for. */
bool pcsc_service_there(void);
void pcsc_start_if_due(struct hotplug *h);
void pcsc_readable(struct hotplug *h);
void pcsc_stop(struct hotplug *h);

/* --- hotplug_usb.c: the kernel's own word on devices that leave. -1 without it. */
int usb_open(struct hotplug *h);
void usb_readable(struct hotplug *h);
void usb_close(struct hotplug *h);
/* Does the kernel surely still have the device? */
bool usb_has(int bus, int dev);
/* Has it, but without a configuration, because another program took it from its drivers? Also for a moment while an
 * unplugged one goes, whose removal is told next. */
bool usb_taken(struct hotplug *h, int bus, int dev);

#endif
