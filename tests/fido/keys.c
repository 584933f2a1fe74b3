#include "tests/fido/fido.h"

#include <openssl/core_names.h>
#include <openssl/rand.h>
#include <string.h>

bool cred_make(struct device *d, bool ed25519, const char *rp, int protect, struct cred **out)
{
    struct cred *c = &d->creds[d->ncreds];

    if (d->ncreds == MAX_CREDS || (d->u2f_only && ed25519))
        return false;
    *c = (struct cred){0};
    c->ed25519 = ed25519;
    c->rp = gpgrt_strdup(rp);
    c->protect = protect;
    c->counter = 1;
    c->key = ed25519 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")
                     : EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    if (c->rp == NULL || c->key == NULL || RAND_bytes(c->id, sizeof c->id) != 1)
        return false;
    EVP_Digest(rp, strlen(rp), c->rp_hash, NULL, EVP_sha256(), NULL);
    d->ncreds++;
    *out = c;
    return true;
}

struct cred *cred_find(struct device *d, const uint8_t *id, size_t n)
{
    for (size_t i = 0; i < d->ncreds; i++)
        if (n == sizeof d->creds[i].id && memcmp(d->creds[i].id, id, n) == 0)
            return &d->creds[i];
    return NULL;
}

void cred_public(const struct cred *c, struct buf *out)
{
    uint8_t pub[80];
    size_t n = sizeof pub;

    if (c->ed25519 ? EVP_PKEY_get_raw_public_key(c->key, pub, &n)
                   : EVP_PKEY_get_octet_string_param(c->key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY,
                                                     pub, sizeof pub, &n))
        buf_put(out, pub, n);
}

void cred_delete(struct device *d, struct cred *c)
{
    gpgrt_free(c->rp);
    EVP_PKEY_free(c->key);
    buf_free(&c->user);
    memmove(c, c + 1, (size_t)(&d->creds[d->ncreds] - c - 1) * sizeof *c);
    d->ncreds--;
}

bool cred_sign(const struct cred *c, struct rd data, struct buf *sig)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t out[128];
    size_t n = sizeof out;
    bool ok = ctx != NULL &&
              EVP_DigestSignInit(ctx, NULL, c->ed25519 ? NULL : EVP_sha256(), NULL, c->key) == 1 &&
              EVP_DigestSign(ctx, out, &n, data.p, data.n) == 1;

    if (ok)
        buf_put(sig, out, n);
    EVP_MD_CTX_free(ctx);
    return ok;
}
