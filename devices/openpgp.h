/* The OpenPGP card application (OpenPGP Smart Card Application 2.0 to 3.4): one card's state, shared by the files that make
 * up the driver. */
#ifndef LATCHKEY_DEVICES_OPENPGP_H
#define LATCHKEY_DEVICES_OPENPGP_H

#include "devices/apdu.h"
#include "devices/driver.h"
#include "devices/profiles.h"

enum slot_index { SLOT_SIG, SLOT_DEC, SLOT_AUT, NSLOTS };
enum uif { UIF_OFF, UIF_ON, UIF_FIXED, UIF_CACHED, UIF_CACHED_FIXED };

struct slot {
    bool unread;     /* its public key was not asked for yet */
    struct key *key; /* NULL: empty, or unread */
    char *oid_curve; /* from the algorithm attributes; NULL for RSA */
    bool rsa, ecdh;
    unsigned rsa_bits;
    uint8_t fpr[20];
    bool has_fpr;
    uint32_t created;
    enum uif uif;
};

struct kdf {
    bool known, active;
    int hash;
    uint32_t count;
    uint8_t salt[3][8]; /* of PW1, RC, PW3 */
};

struct openpgp {
    struct card card;
    const struct profile *profile;
    char *reader;
    bool contactless;
    int bus, dev;
    bool learned; /* all but slots that are unread */
    /* from 6E */
    uint8_t aid[16];
    bool kdf_possible, forced_pin, uif_listed;
    int tries[3];     /* PW1, RC, PW3 */
    int64_t tries_ms; /* when they were read */
    int max_pin;
    long counter;
    struct slot slots[NSLOTS];
    struct kdf kdf;
    bool no_unverify; /* VERIFY with P1=FF is refused: a reset does it */
    /* state of the card as far as nobody interfered */
    bool doubted; /* somebody reset it: is it still the same card? */
    bool selected;
    bool verified[2]; /* PW1 as 81, as 82 */
    /* the PIN as the person typed it */
    struct buf pin;
    int64_t pin_ms; /* when it was typed and right */
    bool pin_good;
    bool pin_unanswered; /* it was sent, and the answer got lost: it may have cost a try */
    int64_t touched_ms;
    /* the admin PIN, and when it was last used */
    struct buf admin;
    int64_t admin_ms;
    bool admin_good;
};

/* References of PW1: 81 for PSO:CDS, 82 for the rest. */
#define PW1_SIGN  0x81
#define PW1_OTHER 0x82

int64_t openpgp_now_ms(void);

/* openpgp_card.c: a transaction; and what is known no more when the exchange broke in the middle of one. */
gpg_error_t openpgp_begin(struct openpgp *o);
void openpgp_end(struct openpgp *o, bool reset);
void openpgp_lost_state(struct openpgp *o);
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
/* PW status: tries left. */
gpg_error_t openpgp_read_tries(struct openpgp *o);
/* Parsing alone, for tests and fuzzing: R is the content of 6E, the value of a 7F49, C1..C3's content. */
gpg_error_t openpgp_parse_6e(struct openpgp *o, struct rd r);
gpg_error_t openpgp_parse_public(const struct slot *s, struct rd r, struct key **out);
void openpgp_parse_attributes(struct slot *s, struct rd attr);
gpg_error_t openpgp_parse_kdf(struct rd r, struct kdf *out);
/* GET DATA; missing objects give GPG_ERR_NO_OBJ. The outer tag is stripped where a card sends it. */
gpg_error_t openpgp_get_data(struct openpgp *o, unsigned tag, struct buf *out);

/* openpgp_pin.c. REF: PW1_SIGN or PW1_OTHER. A transaction is open. Sends the held PIN once. */
gpg_error_t openpgp_verify_held(struct openpgp *o, uint8_t ref);
/* Gets a PIN from the person (no transaction open) into O->pin, as not yet proven. */
gpg_error_t openpgp_ask_pin(struct openpgp *o, struct driver_op *op, uint8_t ref, bool wrong);
/* May the PIN that is held serve a request for PIN_AGE? */
bool openpgp_pin_serves(const struct openpgp *o, long pin_age);
void openpgp_forget_pin(struct openpgp *o);
/* PIN as it goes to the card, appended to OUT (secure): as it was typed, or derived by the KDF-DO. */
enum pin_index { PIN_PW1, PIN_RC, PIN_PW3 };
gpg_error_t openpgp_put_pin(struct openpgp *o, enum pin_index which, struct rd pin,
                            struct buf *out);
/* Reads the tries left anew unless that was just done: other programs may have used some up. */
gpg_error_t openpgp_fresh_tries(struct openpgp *o);
/* Leaves the card unverified; a transaction is open. *RESET: end it with a reset. */
void openpgp_unverify(struct openpgp *o, bool *reset);

/* openpgp_input.c: the data of PSO:CDS or INTERNAL AUTHENTICATE (DigestInfo, hash, or message by the key's kind); of
 * PSO:DECIPHER from a canonical (enc-val ..). Appended to B. */
gpg_error_t openpgp_put_input(const struct key *k, const struct tosign *t, struct buf *b);
gpg_error_t openpgp_put_cryptogram(const struct key *k, struct rd encval, struct buf *b);

#endif
