/* The PIV application of the card: strict, from NIST SP 800-73-4 and what Yubico's commands are known to do. */
#ifndef LATCHKEY_TESTS_CARD_PIV_H
#define LATCHKEY_TESTS_CARD_PIV_H

#include "tests/card/emu_key.h"

struct cmd;
struct emu;

enum { PIV_SLOTS = 25, PIV_OBJECTS = 64, PIV_PIN_OCTETS = 8 }; /* 9A 9C 9D 9E 82..95 F9 */
enum { PIN_NEVER = 1, PIN_ONCE, PIN_ALWAYS };
enum { PIV_TOUCH_OFF = 1, PIV_TOUCH_ON, PIV_TOUCH_CACHE };

struct piv_key {
    struct emu_key key;
    uint8_t alg, pin, touch;
};

struct piv_emu {
    uint8_t version[3]; /* 0: a plain card without Yubico's commands */
    bool extensions;    /* metadata and the like, where the version has them */
    bool global_pin;    /* the discovery object prefers it */
    uint8_t guid[16];
    bool verified, fresh, managed; /* PIN; VERIFY was the last command; management key */
    int tries[2], total[2];        /* PIN, PUK */
    uint8_t secrets[2][PIV_PIN_OCTETS];
    bool changed[2];
    uint8_t mgm_alg, mgm[32], mgm_len;
    bool mgm_changed;
    uint8_t challenge[16], witness[16]; /* of an authentication under way */
    size_t challenge_len, witness_len;
    struct piv_key keys[PIV_SLOTS];
    struct {
        uint32_t id;
        struct buf value;
    } objects[PIV_OBJECTS];
};

/* The application as it left the factory. */
void piv_factory(struct emu *e);
/* Power off, reset, another application. */
void piv_deselect(struct emu *e);
/* SELECT of the card's AID, and any other command while it is selected. */
unsigned piv_select(struct emu *e, struct buf *out);
unsigned piv_run(struct emu *e, const struct cmd *c, struct buf *out);
/* "9A=nistp256[,pin=never|once|always][,touch=off|on|cached][,gzip|nocert|nokey][,imported]" */
bool piv_add_key(struct emu *e, const char *spec, long seed);
void piv_set_secret(struct emu *e, int which, const char *text);
/* And with it a CHUID. */
void piv_set_guid(struct emu *e, const uint8_t guid[16]);
/* Public halves stay, private ones become others. */
bool piv_forge(struct emu *e);
bool piv_is_at_least(const struct emu *e, uint8_t major, uint8_t minor);

/* --- piv.c --- */
struct buf *piv_object(struct emu *e, uint32_t id, bool make);
int piv_slot_index(uint8_t ref);
uint32_t piv_certificate_id(int slot);

/* --- piv_keys.c --- */
unsigned piv_general_authenticate(struct emu *e, const struct cmd *c, struct buf *out);
unsigned piv_generate(struct emu *e, const struct cmd *c, struct buf *out);
unsigned piv_import(struct emu *e, const struct cmd *c);
unsigned piv_metadata(struct emu *e, const struct cmd *c, struct buf *out);
unsigned piv_attest(struct emu *e, const struct cmd *c, struct buf *out);
unsigned piv_set_management(struct emu *e, const struct cmd *c);
unsigned piv_move(struct emu *e, const struct cmd *c);

/* --- piv_cert.c --- */
/* A self-signed certificate of K; with policies: an attestation signed by BY. DER is appended. */
bool piv_certify(EVP_PKEY *key, EVP_PKEY *by, const uint8_t policies[2], struct buf *der);
/* The object's content: packed where GZIP. */
bool piv_put_certificate(struct buf *object, struct rd der, bool gzip);

#endif
