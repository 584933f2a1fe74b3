/* An OpenPGP and PIV card in software, for tests: strict, written from the specifications (OpenPGP Smart Card Application 2.0 to
 * 3.4; NIST SP 800-73-4), with each product's ways as a row of a table. Crypto by libcrypto, so that it shares nothing with the host side.
 *
 *   testcard --profile P --port N --control SOCKET [options]      (testcard --help lists them)
 *
 * It joins pcscd through vpcd (127.0.0.1:N). The control socket takes one line and answers one line; see control.c. */
#ifndef LATCHKEY_TESTS_CARD_EMU_H
#define LATCHKEY_TESTS_CARD_EMU_H

#include "tests/card/piv.h"

#include <pthread.h>
#include <time.h>

enum { KEY_SLOTS = 3, PW1 = 0, RC = 1, PW3 = 2 };

struct emu_profile {
    const char *name;
    uint16_t manufacturer;
    uint8_t version[2];
    const char *hist;   /* historical bytes, hex: the DO 5F52 */
    const char *atr;    /* hex */
    const char *algos;  /* names in emu_algos, blanks between */
    uint8_t rsa_ebits;  /* length of e that it announces; 0: 32 */
    bool outer_tag;     /* 6E comes with its own tag and length */
    bool uif, de, kdf;  /* touch, key information, KDF-DO */
    bool touch_cache;   /* UIF 3 and 4: a touch serves for 15 s */
    bool unverify;      /* VERIFY with P1=FF */
    bool empty_verify;  /* VERIFY without data tells the state; else 6A80 */
    bool wrong_pin_63c; /* else 6982 */
    bool blocked_6982;  /* else 6983 */
    bool select_keeps_pin;
    bool chaining, extended;
    uint16_t max_cmd;       /* extended: data octets at most */
    bool piv;               /* the PIV application is there, too */
    bool only_piv;          /* .. and OpenPGP's is not */
    uint8_t piv_version[3]; /* Yubico's; 0: it has no commands of theirs */
    bool piv_unverify;      /* VERIFY with P1=FF */
    uint8_t rsa_format;     /* how RSA keys are to be imported: the last octet of the attributes */
    bool private_objects;
    bool mse;              /* MANAGE SECURITY ENVIRONMENT */
    bool long_select_data; /* SELECT DATA wants one octet more than the specification says */
    bool length_first;     /* a PIN of a wrong length costs no try */
    bool pin_needs_key;    /* PW1 is not changed before there is a key */
    bool kdf_before_keys;  /* and the KDF-DO not after */
    bool brief_6e;   /* 6E without historical bytes and touch; what is in 73 cannot be read alone */
    uint8_t pin_max; /* octets of a PIN; 0: 127 */
    bool pw1_several;    /* one VERIFY serves for many signatures, from the start */
    bool asks_pin;       /* has a screen: CLA EF lets it ask the person for the PIN */
    uint8_t firmware[3]; /* GET VERSION; 0: there is none */
};
extern const struct emu_profile emu_profiles[]; /* ended by a NULL name */

enum emu_touch { TOUCH_MANUAL, TOUCH_AUTO, TOUCH_NO };

struct emu {
    pthread_mutex_t mutex; /* everything below; let go while a touch is awaited */
    pthread_cond_t changed;
    const struct emu_profile *p;
    uint8_t serial[4];
    /* application state */
    bool selected, piv_selected, terminated;
    bool fido;        /* the FIDO applet is there, too */
    bool verified[3]; /* 81, 82, 83 */
    int tries[3];
    struct buf pins[3];  /* as compared: derived when a KDF is set */
    uint8_t pw1_several; /* C4[0] */
    struct emu_key keys[KEY_SLOTS];
    uint32_t counter;
    struct buf dos[10]; /* command.h: DO_LOGIN .. */
    struct buf certs[KEY_SLOTS];
    unsigned current_cert; /* which one SELECT DATA chose */
    unsigned redirect[2];  /* MSE: slot of the key for DECIPHER, for INTERNAL AUTHENTICATE */
    uint8_t firmware[3];
    /* transport state */
    struct buf chain;
    uint8_t chain_head[4];
    bool chaining_now;
    struct buf pending;
    /* what tests set and read */
    enum emu_touch touch_mode;
    int touch_timeout_ms;
    bool touch_waiting, touched, pulled, garbage;
    bool imposter; /* takes any PIN */
    struct piv_emu piv;
    time_t touched_at; /* 0: never */
    int delay_ms;
    struct {
        unsigned n, sw;
        int ins; /* -1: any */
    } fail;
    int drop_ins; /* -1: none */
    unsigned total, by_ins[256], wrong_applet_pins, verify_count;
    char log[50][96];
    unsigned nlog;
};

/* One command APDU; appends the response. False: the card goes away instead of answering. E->mutex is held. */
bool emu_apdu(struct emu *e, struct rd cmd, struct buf *resp);
/* Power off, reset: the application state is gone. */
void emu_reset(struct emu *e);
/* What another application's SELECT does to OpenPGP and PIV. */
void emu_deselect(struct emu *e);
/* As it left the factory: no keys, the default PINs. */
void emu_factory(struct emu *e);

/* Waits for the finger, unless CACHED and it was there a moment ago; E->mutex is let go meanwhile. */
bool emu_touched(struct emu *e, bool cached);

static inline size_t emu_pin_max(const struct emu_profile *p)
{
    return p->pin_max != 0 ? p->pin_max : 127;
}
/* Does P announce life cycle management, so that it can be reset to its factory state? */
bool emu_life_cycle(const struct emu_profile *p);

/* --- keys.c --- */
struct emu_algo {
    const char *name;
    uint8_t attr[12];
    size_t attr_len;
    const char *group; /* libcrypto's; NULL for RSA and 25519 */
    int nid;           /* EVP_PKEY_ED25519 .. */
    unsigned bits;
};
extern const struct emu_algo emu_algos[];
const struct emu_algo *emu_algo_by_name(const char *name);
const struct emu_algo *emu_algo_by_attr(const uint8_t *attr, size_t n);
/* Does P's key slot take A: known to the product, and fit for signing or for decryption? */
bool emu_slot_takes(const struct emu_profile *p, unsigned slot, const struct emu_algo *a);
/* Its attributes there; the length. */
size_t emu_attributes(const struct emu_profile *p, unsigned slot, const struct emu_algo *a,
                      uint8_t out[16]);
/* A fresh key; SEED >= 0: always the same one (not for RSA). */
bool emu_generate(struct emu_key *k, const struct emu_algo *a, long seed, unsigned slot);
/* Keeps K's public half and forgets the private one: another one takes its place. */
bool emu_forge(struct emu_key *k);
/* All that the attributes' format asks for has to be there and to fit. */
bool emu_import(struct emu_key *k, const struct emu_algo *a, struct rd tags, struct rd values);
void emu_put_public(const struct emu_key *k, struct buf *out);                /* 7F49 */
unsigned emu_sign(const struct emu_key *k, struct rd input, struct buf *out); /* SW */
unsigned emu_decipher(const struct emu_key *k, struct rd input, struct buf *out);
void emu_fingerprint(struct emu_key *k, bool ecdh);
/* KDF of a PIN (iterated and salted S2K). */
void emu_kdf(struct rd salt, uint32_t count, struct rd pin, struct buf *out);

/* --- control.c --- */
void emu_control(struct emu *e, const char *path);

#endif
