/* The tables: which curves and which ssh key types there are. */
#include "proto/key_internal.h"

#include <string.h>
#include <strings.h>

static const struct curve curves[] = {
    {"Ed25519", "ed25519", NULL, NULL, CURVE_EDWARDS, 255, 32},
    {"Curve25519", "cv25519", NULL, NULL, CURVE_MONTGOMERY, 255, 32},
    {"NIST P-256", "nistp256", "nistp256", "P-256", CURVE_WEIERSTRASS, 256, 32},
    {"NIST P-384", "nistp384", "nistp384", "P-384", CURVE_WEIERSTRASS, 384, 48},
    {"NIST P-521", "nistp521", "nistp521", "P-521", CURVE_WEIERSTRASS, 521, 66},
    {"brainpoolP256r1", "brainpoolP256r1", NULL, "brainpoolP256r1", CURVE_WEIERSTRASS, 256, 32},
    {"brainpoolP384r1", "brainpoolP384r1", NULL, "brainpoolP384r1", CURVE_WEIERSTRASS, 384, 48},
    {"brainpoolP512r1", "brainpoolP512r1", NULL, "brainpoolP512r1", CURVE_WEIERSTRASS, 512, 64},
    {"secp256k1", "secp256k1", NULL, "secp256k1", CURVE_WEIERSTRASS, 256, 32},
};

static const struct ssh_type ssh_types[] = {
    {"ssh-ed25519", NULL, KEY_ED25519, NULL},
    {"ssh-rsa", NULL, KEY_RSA, NULL},
    {"ecdsa-sha2-nistp256", NULL, KEY_ECDSA, "nistp256"},
    {"ecdsa-sha2-nistp384", NULL, KEY_ECDSA, "nistp384"},
    {"ecdsa-sha2-nistp521", NULL, KEY_ECDSA, "nistp521"},
    {"sk-ssh-ed25519@openssh.com", NULL, KEY_SK_ED25519, NULL},
    {"sk-ecdsa-sha2-nistp256@openssh.com", NULL, KEY_SK_ECDSA, "nistp256"},
    {"ssh-dss", NULL, KEY_DSA, NULL},
    {"ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519", KEY_ED25519, NULL},
    {"ssh-rsa-cert-v01@openssh.com", "ssh-rsa", KEY_RSA, NULL},
    {"ecdsa-sha2-nistp256-cert-v01@openssh.com", "ecdsa-sha2-nistp256", KEY_ECDSA, "nistp256"},
    {"ecdsa-sha2-nistp384-cert-v01@openssh.com", "ecdsa-sha2-nistp384", KEY_ECDSA, "nistp384"},
    {"ecdsa-sha2-nistp521-cert-v01@openssh.com", "ecdsa-sha2-nistp521", KEY_ECDSA, "nistp521"},
    {"sk-ssh-ed25519-cert-v01@openssh.com", "sk-ssh-ed25519@openssh.com", KEY_SK_ED25519, NULL},
    {"sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
     KEY_SK_ECDSA, "nistp256"},
    {"ssh-dss-cert-v01@openssh.com", "ssh-dss", KEY_DSA, NULL},
};

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static const struct curve *curve_exact(const char *name)
{
    for (size_t i = 0; i < COUNT(curves); i++)
        if (strcasecmp(name, curves[i].name) == 0 || strcasecmp(name, curves[i].shown) == 0)
            return &curves[i];
    return NULL;
}

const struct curve *curve_by_name(const char *name)
{
    const struct curve *c = curve_exact(name);
    gcry_sexp_t s = NULL;

    if (c != NULL)
        return c;
    /* libgcrypt knows the aliases and the object identifiers. */
    if (gcry_sexp_build(&s, NULL, "(public-key(ecc(curve %s)))", name) == 0) {
        unsigned nbits;
        const char *canonical = gcry_pk_get_curve(s, 0, &nbits);

        if (canonical != NULL)
            c = curve_exact(canonical);
    }
    gcry_sexp_release(s);
    return c;
}

const struct curve *curve_by_ssh(struct rd name)
{
    for (size_t i = 0; i < COUNT(curves); i++)
        if (curves[i].ssh != NULL && rd_is(name, curves[i].ssh))
            return &curves[i];
    return NULL;
}

const struct ssh_type *ssh_type_by_name(struct rd name)
{
    for (size_t i = 0; i < COUNT(ssh_types); i++)
        if (rd_is(name, ssh_types[i].name))
            return &ssh_types[i];
    return NULL;
}

const struct ssh_type *ssh_type_for(enum key_algo algo, const struct curve *curve)
{
    for (size_t i = 0; i < COUNT(ssh_types); i++) {
        const struct ssh_type *t = &ssh_types[i];

        if (t->plain != NULL || t->algo != algo)
            continue;
        if (t->curve == NULL ||
            (curve != NULL && curve->ssh != NULL && strcmp(curve->ssh, t->curve) == 0))
            return t;
    }
    return NULL;
}

const struct ssh_type *ssh_type_of(const struct key *k)
{
    return ssh_type_for(k->algo, k->curve != NULL ? curve_by_name(k->curve) : NULL);
}
