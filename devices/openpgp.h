/* The OpenPGP card application (OpenPGP Smart Card Application 2.0 to 3.4): one card's state, shared by the files that make
 * up the driver. */
#ifndef LATCHKEY_DEVICES_OPENPGP_H
#define LATCHKEY_DEVICES_OPENPGP_H

#include "devices/apdu.h"
#include "devices/driver.h"
#include "devices/held_pin.h"
#include "devices/profiles.h"
#include "devices/shared_card.h"

enum slot_index { SLOT_SIG, SLOT_DEC, SLOT_AUT, NSLOTS };
enum uif { UIF_OFF, UIF_ON, UIF_FIXED, UIF_CACHED, UIF_CACHED_FIXED };

struct slot {
    bool unread;     /* its public key was not asked for yet */
    bool empty;      /* key information (DE) says so */
    struct key *key; /* NULL: empty, or unread */
    char *oid_curve; /* from the algorithm attributes; NULL for RSA */
    bool rsa, ecdh;
    unsigned rsa_bits;
    uint8_t attr[16]; /* C1..C3 as they are */
    size_t attr_len;
    uint8_t fpr[20];
    bool has_fpr;
    uint32_t created;
    enum uif uif;
};

/* The three secrets of a card, in the order of the PW status bytes (C4). */
enum password { PASSWORD_PW1, PASSWORD_RC, PASSWORD_PW3, NPASSWORDS };

struct kdf {
    bool known, active;
    int hash;
    uint32_t count;
    uint8_t salt[NPASSWORDS][8];
};

/* What the card can do: extended capabilities (C0), 7F74, historical bytes. */
struct abilities {
    bool secure_messaging, challenge, import, change_force, private_objects, change_attributes, aes;
    bool button;
    uint8_t sm_algo;
    uint16_t max_challenge, max_cert,
        max_special;    /* max_special: of login data, URL, private objects */
    uint8_t life_cycle; /* 3 initialised, 5 operational, 0 not told */
};

struct openpgp {
    struct card card;
    const struct profile *profile;
    const char *reader;
    bool contactless;
    int bus, dev;
    struct rd atr;
    bool learned; /* all but slots that are unread */
    /* from 6E */
    uint8_t aid[16];
    bool kdf_possible, forced_pin, uif_listed;
    int tries[3];     /* PW1, RC, PW3 */
    int64_t tries_ms; /* when they were read */
    int max_pin[NPASSWORDS];
    struct abilities can;
    long counter;
    struct slot slots[NSLOTS];
    struct kdf kdf;
    bool hist_listed; /* 6E has the historical bytes */
    bool no_unverify; /* VERIFY with P1=FF is refused: a reset does it */
    /* state of the card as far as nobody interfered */
    bool doubted; /* somebody reset it: is it still the same card? */
    bool selected;
    bool verified[3];       /* PW1 as 81, as 82; PW3 */
    int64_t verified_ms[3]; /* on the device itself: when */
    struct held_pin user, admin;
    int64_t touched_ms;
};

/* References of PW1: 81 for PSO:CDS, 82 for the rest. PW3. */
#define PW1_SIGN  0x81
#define PW1_OTHER 0x82
#define PW3_ADMIN 0x83

/* Longest that PW3 is held after its last use. */
#define ADMIN_HELD_MS 60000

extern const char *const openpgp_slot_ids[NSLOTS]; /* "sig", "dec", "aut" */

/* openpgp_card.c: the application on CARD, whose place is borrowed. */
gpg_error_t openpgp_new(const struct card *card, const struct card_place *place,
                        struct openpgp **out);
void openpgp_free(struct openpgp *o);
/* Does it hold an authentication key, as far as it was learned? */
bool openpgp_has_auth_key(const struct openpgp *o);
/* The fields of its TOKEN line, without more=; its KEY lines. */
void openpgp_put_token(struct openpgp *o, struct buf *fields);
gpg_error_t openpgp_put_keys(struct openpgp *o, struct buf *lines);
/* As struct driver has them. */
gpg_error_t openpgp_sign(struct openpgp *o, struct driver_op *op, gcry_sexp_t *sig);
gpg_error_t openpgp_decrypt(struct openpgp *o, struct driver_op *op, struct buf *result);
gpg_error_t openpgp_verify(struct openpgp *o, struct driver_op *op, const char *ref);
void openpgp_forget(struct openpgp *o);

/* A transaction of its own: what others did to the card meanwhile is noted. */
gpg_error_t openpgp_begin(struct openpgp *o);
void openpgp_end(struct openpgp *o, bool reset);
/* The card was reset in the middle of a transaction, or the exchange broke. */
void openpgp_lost_state(struct openpgp *o);
/* Learns what is not known yet; REFRESH: anew. No transaction is open. */
gpg_error_t openpgp_learn_card(struct openpgp *o, bool refresh, bool ssh_only);

/* openpgp_learn.c: SELECT; everything that 6E and the public keys tell. A transaction is open. */
gpg_error_t openpgp_select(struct openpgp *o);
/* The same, and where that is doubted checks that it is still the card that was learned:
 * GPG_ERR_CARD_REMOVED. */
gpg_error_t openpgp_reselect(struct openpgp *o);
/* For what takes no PIN: selects only where another application is, so that a verified PIN stays. */
gpg_error_t openpgp_enter(struct openpgp *o);
/* SSH_ONLY: of the keys the authentication key alone, if there is one. */
gpg_error_t openpgp_learn(struct openpgp *o, bool ssh_only);
/* Reads the public keys of slots that are unread. The application is selected. */
gpg_error_t openpgp_read_keys(struct openpgp *o, bool ssh_only);
bool openpgp_any_unread(const struct openpgp *o);
/* Reads 6E (and 7A) anew. */
gpg_error_t openpgp_refresh(struct openpgp *o);
/* The application related data as they are now: into ALL (may be NULL), and into O, whose slots are unread where the key looks
 * like another one since. */
gpg_error_t openpgp_read_6e(struct openpgp *o, struct buf *all);
/* PW status: tries left. */
gpg_error_t openpgp_read_tries(struct openpgp *o);
/* Parsing alone, for tests and fuzzing: R is the content of 6E, the value of a 7F49, C1..C3's content. */
gpg_error_t openpgp_parse_6e(struct openpgp *o, struct rd r);
gpg_error_t openpgp_parse_public(const struct slot *s, struct rd r, struct key **out);
void openpgp_parse_attributes(struct slot *s, struct rd attr);
gpg_error_t openpgp_parse_kdf(struct rd r, struct kdf *out);
/* GET DATA; missing objects give GPG_ERR_NO_OBJ. The outer tag is stripped where a card sends it. */
gpg_error_t openpgp_get_data(struct openpgp *o, unsigned tag, struct buf *out);

/* openpgp_pin.c. REF: PW1_SIGN, PW1_OTHER or PW3_ADMIN. A transaction is open. Sends the held PIN once. */
gpg_error_t openpgp_verify_held(struct openpgp *o, uint8_t ref);
/* Does the device take its PINs from the person, so that none is asked for here? */
bool openpgp_asks_itself(const struct openpgp *o);
/* Is what it asked for last, for REF, younger than PIN_AGE wants, and still in force? */
bool openpgp_device_pin_serves(const struct openpgp *o, uint8_t ref, long pin_age);
/* Has it ask now, once: within the transaction, there is no other way. GPG_ERR_NOT_CONFIRMED, GPG_ERR_TIMEOUT, GPG_ERR_BAD_PIN. */
gpg_error_t openpgp_verify_on_device(struct openpgp *o, struct driver_op *op, uint8_t ref);
/* Gets a PIN from the person (no transaction open) and holds it, as not yet proven. */
gpg_error_t openpgp_ask_pin(struct openpgp *o, struct driver_op *op, uint8_t ref, bool wrong);
/* May the PIN that is held for REF serve a request for PIN_AGE? */
bool openpgp_pin_serves(const struct openpgp *o, uint8_t ref, long pin_age);
struct held_pin *openpgp_held(struct openpgp *o, uint8_t ref);
bool *openpgp_verified(struct openpgp *o, uint8_t ref);
/* Forgets PW3 once its time is over. */
void openpgp_expire_admin(struct openpgp *o);
/* PIN in the form in which the card wants WHICH (KDF-DO), appended to VALUE (secure). A transaction is open. */
gpg_error_t openpgp_pin_value(struct openpgp *o, enum password which, struct rd pin,
                              struct buf *value);
/* The card refused WHICH with SW: reads how many tries are left. GPG_ERR_PIN_BLOCKED, GPG_ERR_BAD_PIN, what SW says. */
gpg_error_t openpgp_pin_refused(struct openpgp *o, enum password which, unsigned sw);
/* Reads the tries left anew unless that was just done: other programs may have used some up. */
gpg_error_t openpgp_fresh_tries(struct openpgp *o);
/* Leaves the card unverified; a transaction is open. *RESET: end it with a reset. */
void openpgp_unverify(struct openpgp *o, bool *reset);

/* openpgp_admin.c: the verbs of cards (proto/token_protocol.h). */
extern const struct driver_verb openpgp_verbs[];
/* VERIFY of PW3. */
gpg_error_t openpgp_verify_admin(struct openpgp *o, struct driver_op *op);

/* openpgp_input.c: the data of PSO:CDS or INTERNAL AUTHENTICATE (DigestInfo, hash, or message by the key's kind); of
 * PSO:DECIPHER from a canonical (enc-val ..). Appended to B. */
gpg_error_t openpgp_put_input(const struct key *k, const struct tosign *t, struct buf *b);
gpg_error_t openpgp_put_cryptogram(const struct key *k, struct rd encval, struct buf *b);

#endif
