/* The agent's live parts, made in main.c in this order and handed down; there are no globals. */
#ifndef LATCHKEY_AGENT_AGENT_H
#define LATCHKEY_AGENT_AGENT_H

#include "policy/policy.h"
#include "policy/settings.h"

#include <time.h>

struct audit;
struct certificates;
struct gpg;
struct grants;
struct hotplug;
struct keyring;
struct known_hosts;
struct limits;
struct lock;
struct policy_holder;
struct prompt;
struct sk_book;
struct waits;
struct wallets;

struct agent {
    struct settings *settings;    /* fixed from start-up to exit */
    struct policy_holder *policy; /* policy_watch.h: the set in force, swapped by reload */
    struct limits *limits;        /* what clients together may take */
    struct waits *waits;          /* wait.h: everybody who is waiting for something */
    struct lock *lock;
    struct grants *grants;
    struct keyring *keyring;
    struct certificates *certificates;
    struct known_hosts *known_hosts;
    struct prompt *prompt;
    struct audit *audit;
    struct sk_book *presence; /* FIDO tokens whose touch stands in */
    struct sk_book *resident; /* ssh keys that FIDO tokens keep, as far as they were listed */
    struct hotplug *hotplug;
    struct wallets *wallets;
    struct gpg *gpg;      /* gpg_agent.h: what it takes to serve gpg; NULL: it does not */
    char *runtime_dir;    /* $XDG_RUNTIME_DIR/latchkey or a private directory, 0700 */
    const char *ssh_path; /* where it listens for ssh clients; NULL: not known */
    time_t started;
    char *token_program;           /* path of latchkey-token */
    unsigned default_life;         /* seconds, -t; 0: none */
    const char *provider_patterns; /* -P; NULL: default */
    bool remote_providers;         /* -O allow-remote-pkcs11 */
    /* applications of security keys that sign any data, a pattern list; NULL: all (-O no-restrict-websafe) */
    const char *websafe_allow;
    bool as_gpg_agent;  /* started as gpg starts its agent */
    bool owns_hardware; /* holds the instance lock; else software keys only */
};

#endif
