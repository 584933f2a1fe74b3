/* gpg conversations with everything below them replaced: a key store that does as it is told, a broker that notes what is wanted
 * of it, a person who answers as told. The session, its commands and its dialogs are the real ones. */
#ifndef LATCHKEY_TESTS_FAKES_GPG_H
#define LATCHKEY_TESTS_FAKES_GPG_H

#include "agent/broker.h"
#include "agent/gpg_agent.h"

#define MAX_SCRIPT 16

/* A dialog as the person saw it, and what came of it. */
struct shown {
    enum shown_kind { SHOWN_CONFIRM, SHOWN_SECRET, SHOWN_FORGET } kind;
    char desc[1024], error[512], label[64], keyinfo[128], ok[64], cancel[64], notok[64];
    bool repeat, rules, styled;
};
/* How the person answers. */
struct reply {
    gpg_error_t err;
    const char *secret;
    bool repeated, from_cache;
    const char *check; /* what the pinentry has checked while it is typed, or NULL */
};

struct gpg_world {
    struct agent agent;
    struct gpg_config *conf; /* in force; change it before a command */
    /* the person; when the script is at its end: GPG_ERR_NO_PIN_ENTRY */
    struct reply replies[MAX_SCRIPT];
    struct shown shown[MAX_SCRIPT];
    size_t nreplies, asked;
    bool
        again; /* the script begins anew at its end; and what nobody answers the key store does without */
    char checked[512];
    /* the key store */
    const char *stored; /* answer to STORED, LF-ended lines; NULL: GPG_ERR_NO_SECKEY */
    const char *inquiries[MAX_SCRIPT]; /* what an operation asks, NULL-ended */
    char answers[MAX_SCRIPT][512];
    size_t answered;
    const char *result, *lines, *progress; /* what it gives */
    gpg_error_t store_error;               /* .. or this, after its inquiries */
    char cached[128];                      /* the one entry of the cache, "ID SECRET" */
    /* the broker */
    char use[32], use_text[64], what[256], args[512], word[32], key[64];
    enum token_verb verb;
    bool patient;
    unsigned requests;
    gpg_error_t refusal; /* of the policy */
};
extern struct gpg_world gpg_world;

/* Starts anew, with nothing configured but what gpg-agent has by itself. HOME: a folder of the test's. */
void gpg_world_new(const char *home);
void gpg_world_free(void);
/* The next answer of the person's. */
void gpg_world_reply(struct reply r);

#endif
