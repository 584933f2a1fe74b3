/* A gpg conversation's surroundings, replaced: OpenPGP cards without card processes, a broker that says yes and notes what it was asked,
 * a key store that notes its stubs. The session and its SCD commands are the real ones. */
#ifndef LATCHKEY_TESTS_FAKES_CARDS_H
#define LATCHKEY_TESTS_FAKES_CARDS_H

#include "agent/gpg_session.h"

#include <stdatomic.h>

#define CARDS 2

struct fake_card {
    bool there, starting;
    struct token_info info;
    const char *attributes; /* the answer to GETATTR LEARN: status lines */
};

struct cards_world {
    struct agent agent;
    struct gpg_config conf;
    struct fake_card cards[CARDS];
    struct identity ids[8];
    size_t nids;
    gcry_sexp_t secrets[8];
    /* asked of a card without the broker */
    unsigned asks;
    char ask[1200]; /* "WORD ARGS" */
    const char *lines;
    gpg_error_t ask_error;
    uint8_t result[64];
    size_t result_len;
    /* asked of the broker */
    unsigned requests;
    char use[32], use_text[160], what[1000], word[32], args[400], slot[16];
    int on; /* which card; -1: the key store */
    bool confirm;
    struct buf value, wrapkey, wrapped;
    gpg_error_t request_error;
    gcry_sexp_t made;  /* what GENERATE answers */
    bool plain_raw;    /* TOKEN_DECRYPT answers the (enc-val ..) itself */
    struct buf export; /* what EXPORT answers, wrapped under the key that it is given */
    /* the key store */
    unsigned stubs;
    char stub[400]; /* the last: "GRIP ARGS" */
    bool stored_private;
    unsigned relearned, forgotten;
};
extern struct cards_world cards;

/* Two cards, A with an Ed25519, a Curve25519 and a NIST P-256 key, B empty; A alone is there. */
void cards_new(void);
void cards_free(void);
/* A key for SLOT of card N, made from KIND, a (genkey ..)'s inside. */
void cards_key(int n, const char *slot, const char *kind);
#define AID_A "D276000124010304000500000A0A0000"
#define AID_B "D276000124010304000500000B0B0000"

/* How often somebody reached for the lock between gpg's connections. */
extern atomic_uint cards_lock_asked;

#endif
