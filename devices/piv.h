/* The PIV application (NIST SP 800-73-4, with Yubico's additions): one card's state, shared by the files that make up the driver. */
#ifndef LATCHKEY_DEVICES_PIV_H
#define LATCHKEY_DEVICES_PIV_H

#include "devices/apdu.h"
#include "devices/driver.h"
#include "devices/held_pin.h"
#include "devices/piv_object.h"
#include "devices/shared_card.h"

/* Slots in the order of piv_slots. */
enum { PIV_AUTH, PIV_SIGN, PIV_KEYM, PIV_CARD, PIV_RETIRED, NPIV_SLOTS = PIV_RETIRED + 20 };

struct piv_place {
    uint8_t ref;   /* P2 of its commands */
    char id[8];    /* "piv-9a" */
    unsigned cert; /* its certificate object */
};
extern const struct piv_place piv_places[NPIV_SLOTS];

struct piv_slot {
    struct key *key; /* NULL: none, or none that anybody could know of */
    uint8_t alg;     /* P1 of GENERAL AUTHENTICATE */
    uint8_t pin, touch, origin;
    bool told; /* by metadata or an attestation, that is by the card itself */
};

struct piv {
    struct card card;
    struct card_place place; /* its reader's name is borrowed */
    bool learned;
    uint8_t version[3]; /* 0: not told */
    bool has_metadata;
    uint32_t serial; /* Yubico's; 0: not told */
    uint8_t guid[16];
    bool has_guid;
    struct piv_discovery discovery;
    int tries; /* -1: not known */
    int64_t tries_ms;
    struct piv_slot slots[NPIV_SLOTS];
    bool proves; /* its card authentication key (9E) has answered a challenge once: it must again */
    /* state of the card as far as nobody interfered */
    bool doubted;   /* somebody took it meanwhile: is it still the same card? */
    bool proof_due; /* likewise: before the next PIN */
    bool selected, verified;
    bool no_unverify; /* VERIFY with P1=FF is refused */
    struct held_pin user;
};

#define PIV_PIN_MIN 6
#define PIV_PIN_LEN 8u

/* --- piv_card.c: as struct driver has them --- */
gpg_error_t piv_new(const struct card *card, const struct card_place *place, struct piv **out);
void piv_free(struct piv *p);
/* Learns what is not known yet; REFRESH: anew. GPG_ERR_NOT_SUPPORTED: the card has no such application. */
gpg_error_t piv_learn_card(struct piv *p, bool refresh);
gpg_error_t piv_sign(struct piv *p, struct driver_op *op, gcry_sexp_t *sig);
gpg_error_t piv_decrypt(struct piv *p, struct driver_op *op, struct buf *result);
gpg_error_t piv_verify(struct piv *p, struct driver_op *op);
void piv_forget(struct piv *p);
/* A transaction of its own: what others did to the card meanwhile is noted. */
gpg_error_t piv_begin(struct piv *p);
void piv_end(struct piv *p, bool reset);
void piv_lost_state(struct piv *p);
/* Policies of slot I, where the card tells none by what SP 800-73-4 wants. */
uint8_t piv_pin_policy(const struct piv *p, unsigned i);
/* PIV_TOUCH_DEFAULT: not known, and never so where the card has no button to be touched. */
uint8_t piv_touch_policy(const struct piv *p, unsigned i);
/* The index of the slot with this id; GPG_ERR_INV_ID. */
gpg_error_t piv_find(const char *id, unsigned *i);

/* --- piv_lines.c: the fields of its TOKEN line, its KEY lines --- */
void piv_put_token(const struct piv *p, struct buf *fields);
gpg_error_t piv_put_keys(const struct piv *p, struct buf *lines);
/* Its serial number, GUID or the like: new string. */
char *piv_serial_text(const struct piv *p);

/* --- piv_learn.c; a transaction is open --- */
gpg_error_t piv_send(struct piv *p, const struct apdu *a, struct buf *answer, unsigned *sw);
gpg_error_t piv_select(struct piv *p);
/* The same, and where that is doubted checks that it is still the card that was learned: GPG_ERR_CARD_REMOVED. */
gpg_error_t piv_reselect(struct piv *p);
/* Everything that is public. */
gpg_error_t piv_learn(struct piv *p);
/* GET DATA: the content of the object's 53 (of 7E: its own), GPG_ERR_NO_OBJ where there is none or it is empty. */
gpg_error_t piv_get_object(struct piv *p, unsigned id, struct buf *out);
/* GET METADATA of REF (a slot, 80 the PIN, 81 the PUK, 9B the management key): DATA gets the answer that M points into.
 * GPG_ERR_NO_OBJ: nothing there. GPG_ERR_NOT_SUPPORTED: no such command. */
gpg_error_t piv_get_metadata(struct piv *p, uint8_t ref, struct buf *data, struct piv_metadata *m);

/* --- piv_prove.c: the card answers a challenge with its card authentication key (9E). A transaction is open, it is selected.
 * GPG_ERR_BAD_SIGNATURE: it did not, though it should. GPG_ERR_NO_SECKEY: it has none that would without a PIN and a touch. */
gpg_error_t piv_prove(struct piv *p);

/* --- piv_pin.c; a transaction is open and the application selected --- */
/* Sends the held PIN once, after the card proved what it is, where it can. */
gpg_error_t piv_verify_held(struct piv *p);
/* PIN or PUK as the card wants it, appended to OUT (secure). GPG_ERR_INV_LENGTH. */
gpg_error_t piv_pad(struct rd pin, struct buf *out);
/* The PIN's reference: 80, or 00 for the card's global one. */
uint8_t piv_pin_ref(const struct piv *p);
/* What SW means for a PIN or PUK; *TRIES (may be NULL) gets what is left of it. */
gpg_error_t piv_pin_error(const struct piv *p, unsigned sw, int *tries);
/* VERIFY without a PIN: *VERIFIED where the card tells. Notes the tries left. */
gpg_error_t piv_query_pin(struct piv *p, bool *verified);
/* No transaction is open: gets a PIN from the person and holds it, as not yet proven. */
gpg_error_t piv_ask_pin(struct piv *p, struct driver_op *op, bool wrong);
/* Leaves the card unverified. *RESET: end the transaction with a reset. */
void piv_unverify(struct piv *p, bool *reset);

/* --- piv_input.c: the data of GENERAL AUTHENTICATE, appended to B --- */
gpg_error_t piv_put_input(const struct key *k, const struct tosign *t, struct buf *b);
/* From a canonical (enc-val ..). */
gpg_error_t piv_put_cryptogram(const struct key *k, struct rd encval, struct buf *b);

#endif
