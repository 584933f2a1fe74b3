/* trustlist.txt (gpg-agent(1), gpgsm(1)): the root certificates that the person or the administrator trusts. */
#ifndef LATCHKEY_AGENT_GPG_TRUSTLIST_H
#define LATCHKEY_AGENT_GPG_TRUSTLIST_H

#include "proto/buf.h"

#define GPG_TRUST_FPR 20 /* SHA-1; an MD5 fingerprint has four zeros in front */
#define GPG_TRUST_MAX 65536u

struct gpg_trusted {
    uint8_t fpr[GPG_TRUST_FPR];
    bool disabled, for_pgp, for_smime;
    bool relax, cm, qual, de_vs;
};
struct gpg_trustlist {
    struct gpg_trusted *items;
    size_t n;
};

/* A file's text and where it is from. */
struct gpg_trust_file {
    const char *name; /* for the log */
    struct rd text;
    bool system; /* the administrator's */
};
/* Appends what F says to OUT (zero, or filled before); INCLUDED (may be NULL) stands where F says include-default. Each line that is
 * wrong is logged; GPG_ERR_BAD_DATA, GPG_ERR_LINE_TOO_LONG, GPG_ERR_INCOMPLETE_LINE when there is one: a damaged list is none. */
gpg_error_t gpg_trustlist_parse(const struct gpg_trust_file *f,
                                const struct gpg_trust_file *included, struct gpg_trustlist *out);
void gpg_trustlist_clear(struct gpg_trustlist *l);
/* The first entry for FPR; NULL: there is none. */
const struct gpg_trusted *gpg_trustlist_find(const struct gpg_trustlist *l,
                                             const uint8_t fpr[GPG_TRUST_FPR]);

#endif
