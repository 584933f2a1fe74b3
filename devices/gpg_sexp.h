/* Key expressions of gpg's key store (GnuPG, agent/keyformat.txt) in libgcrypt's canonical form: views into one buffer, so
 * that what is authenticated is taken octet for octet, and a secret is never copied on the way. */
#ifndef LATCHKEY_DEVICES_GPG_SEXP_H
#define LATCHKEY_DEVICES_GPG_SEXP_H

#include "proto/buf.h"

#include <gcrypt.h>

/* libgcrypt's limit of one octet string. */
#define GPG_KEY_MAX 65535u

/* --- canonical text */

/* Any form of s-expression (libgcrypt reads it), with nothing but white space behind it, as canonical text, appended to OUT,
 * which is secure. GPG_ERR_INV_SEXP and libgcrypt's. */
gpg_error_t canon_from_text(struct rd text, struct buf *out);
/* A canonical s-expression at the beginning of TEXT, which may have zeros behind it (padding of a key wrap);
 * GPG_ERR_BAD_DATA: something else. */
gpg_error_t canon_from_padded(struct rd text, struct buf *out);
/* The next item of R: WHOLE with its parentheses or length; ATOM its octets, or p NULL when it is a list. Either may be NULL. */
gpg_error_t canon_next(struct rd *r, struct rd *whole, struct rd *atom);
/* What is between LIST's parentheses, and nothing behind them. */
gpg_error_t canon_enter(struct rd list, struct rd *inside);
/* The first list in INSIDE (what canon_enter gave) that begins with NAME; GPG_ERR_NO_OBJ. */
gpg_error_t canon_find(struct rd inside, const char *name, struct rd *list);
/* Item N (0: its name) of LIST, which must be an atom. */
gpg_error_t canon_atom(struct rd list, unsigned n, struct rd *atom);
/* Item 1 of the list NAME in INSIDE. */
gpg_error_t canon_value(struct rd inside, const char *name, struct rd *atom);
/* As a decimal number of digits only. */
gpg_error_t canon_number(struct rd atom, unsigned long *out);
void canon_put(struct buf *b, struct rd atom);
void canon_put_name(struct buf *b, const char *name);
/* "(NAME VALUE)". A number is written as an s-expression wants it: positive, no needless zeros. */
void canon_put_pair(struct buf *b, const char *name, struct rd value);
void canon_put_number(struct buf *b, const char *name, struct rd magnitude);
/* Advanced text that no reader can misunderstand: names, "strings" of plain ASCII, #hex#. CANON is well-formed. */
gpg_error_t canon_print(struct rd canon, struct buf *out);

/* --- keys */

struct gpg_algo {
    const char *name;
    const char *pub, *sec; /* parameters, a letter each */
    const char *openpgp;   /* EXPORT's name */
    enum gcry_pk_algos pk;
    bool curve;
};
/* By any name of a key expression, or of gpg's transfer format; NULL. */
const struct gpg_algo *gpg_algo_find(struct rd name);

enum gpg_key_form { GPG_KEY_CLEAR, GPG_KEY_PROTECTED, GPG_KEY_NATIVE, GPG_KEY_SHADOWED };
struct gpg_key_parts {
    enum gpg_key_form form;
    const struct gpg_algo *algo;
    struct rd name; /* the algorithm, as written there */
    struct rd pub;  /* its items before the secret ones */
    struct rd
        secret; /* CLEAR: the secret parameters; else the list (protected ..) or (shadowed ..) */
    struct rd behind; /* items of the algorithm's list behind that */
    struct rd rest;   /* what follows the algorithm's list: (comment ..) and the like */
};
/* GPG_ERR_UNSUPPORTED_ALGORITHM: none that gpg's protocol can use; GPG_ERR_BAD_SECKEY, GPG_ERR_INV_SEXP. */
gpg_error_t gpg_key_split(struct rd key, struct gpg_key_parts *out);
/* The same with the algorithm's list behind "(FORM", as a whole: "(" FORM "(" NAME PUB SECRET BEHIND ")" REST ")". */
void gpg_key_join(struct buf *b, const char *form, const struct gpg_key_parts *p);
/* (public-key ..) of it, canonical, appended to OUT. */
gpg_error_t gpg_key_public(const struct gpg_key_parts *p, struct buf *out);
/* GPG_ERR_BAD_PUBKEY, GPG_ERR_UNKNOWN_CURVE, GPG_ERR_TOO_LARGE: numbers that libgcrypt must not be given, too. */
gpg_error_t gpg_key_grip(struct rd public_key, uint8_t grip[20]);
/* May libgcrypt be given Q as a point of its CURVE? GPG_ERR_BAD_PUBKEY. */
gpg_error_t gpg_point_check(const char *curve, unsigned nbits, struct rd q);
/* May libgcrypt be given PARAMS, numbers each with its name? GPG_ERR_TOO_LARGE: one has more than 16384 bits. OF_KEY: those of RSA,
 * DSA or Elgamal; GPG_ERR_BAD_MPI: 0, or 1 or an even one in a prime's place. */
gpg_error_t gpg_number_check(struct rd params, bool of_key);

#endif
