/* OpenSSH certificates (PROTOCOL.certkeys). */
#include "proto/key_internal.h"

#include <string.h>

#define CERT_MAX_PRINCIPALS 256u

void cert_free(struct ssh_cert *c)
{
    if (c == NULL)
        return;
    gpgrt_free(c->key_id);
    for (size_t i = 0; c->principals != NULL && c->principals[i] != NULL; i++)
        gpgrt_free(c->principals[i]);
    gpgrt_free(c->principals);
    key_unref(c->ca);
    gpgrt_free(c);
}

static gpg_error_t read_principals(struct rd *r, char ***out)
{
    struct rd list, t;
    size_t n = 0;
    gpg_error_t err = rd_string(r, &list);

    if (err != 0)
        return err;
    t = list;
    while (t.n > 0) {
        struct rd name;

        err = rd_string(&t, &name);
        if (err != 0)
            return err;
        if (++n > CERT_MAX_PRINCIPALS)
            return gpg_error(GPG_ERR_TOO_LARGE);
    }
    *out = gpgrt_calloc(n + 1, sizeof **out);
    if (*out == NULL)
        return gpg_error_from_syserror();
    for (size_t i = 0; i < n && err == 0; i++)
        err = rd_cstring(&list, &(*out)[i]);
    return err;
}

static int rd_cmp(struct rd a, struct rd b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n > 0 ? memcmp(a.p, b.p, n) : 0;

    return c != 0 ? c : (a.n > b.n) - (a.n < b.n);
}

/* A list of (string name, string data), names ascending and each once. */
static gpg_error_t read_options(struct rd *r, struct rd *out)
{
    struct rd list, t, last = {0};
    bool first = true;
    gpg_error_t err = rd_string(r, &list);

    if (err != 0)
        return err;
    t = list;
    while (t.n > 0) {
        struct rd name, data;

        err = rd_string(&t, &name);
        if (err == 0)
            err = rd_string(&t, &data);
        if (err != 0)
            return err;
        if (!first && rd_cmp(last, name) >= 0)
            return gpg_error(GPG_ERR_BAD_CERT);
        last = name;
        first = false;
    }
    *out = list;
    return 0;
}

gpg_error_t cert_read_body(struct rd *r, struct ssh_cert *c)
{
    struct rd reserved, ca;
    gpg_error_t err = rd_u64(r, &c->serial);

    if (err == 0)
        err = rd_u32(r, &c->type);
    if (err == 0 && c->type != CERT_USER && c->type != CERT_HOST)
        err = gpg_error(GPG_ERR_BAD_CERT);
    if (err == 0)
        err = rd_cstring(r, &c->key_id);
    if (err == 0)
        err = read_principals(r, &c->principals);
    if (err == 0)
        err = rd_u64(r, &c->valid_after);
    if (err == 0)
        err = rd_u64(r, &c->valid_before);
    if (err == 0)
        err = read_options(r, &c->critical);
    if (err == 0)
        err = read_options(r, &c->extensions);
    if (err == 0)
        err = rd_string(r, &reserved);
    if (err == 0)
        err = rd_string(r, &ca);
    if (err == 0)
        err = key_from_plain_blob(ca, &c->ca); /* no chains */
    c->has_critical = c->critical.n > 0;
    return err;
}

gpg_error_t cert_parse(struct rd blob, const struct ssh_type *type, struct key_numbers *num,
                       struct ssh_cert **out)
{
    struct rd r = blob, name, nonce;
    struct ssh_cert *c = gpgrt_calloc(1, sizeof *c);
    gpg_error_t err;

    if (c == NULL)
        return gpg_error_from_syserror();
    err = rd_string(&r, &name);
    if (err == 0)
        err = rd_string(&r, &nonce);
    if (err == 0)
        err = key_numbers_read(type, &r, num);
    if (err == 0)
        err = cert_read_body(&r, c);
    c->tbs = rd_of(blob.p, blob.n - r.n);
    if (err == 0)
        err = rd_string(&r, &c->sig);
    if (err == 0)
        err = rd_end(&r);
    if (err != 0) {
        cert_free(c);
        return err;
    }
    *out = c;
    return 0;
}

static bool has_principal(const struct ssh_cert *c, const char *name)
{
    for (size_t i = 0; c->principals[i] != NULL; i++)
        if (strcmp(c->principals[i], name) == 0)
            return true;
    return false;
}

static gpg_error_t check_name(const struct ssh_cert *c, const char *name)
{
    /* An empty list stands for any name; no CA should be able to make a certificate for every host.
     */
    if (c->principals[0] == NULL)
        return c->type == CERT_HOST ? gpg_error(GPG_ERR_BAD_CERT) : 0;
    return name == NULL || has_principal(c, name) ? 0 : gpg_error(GPG_ERR_WRONG_NAME);
}

gpg_error_t cert_check(const struct key *cert, enum cert_type type, uint64_t now, const char *name)
{
    const struct ssh_cert *c = cert->cert;
    uint8_t flags;
    gpg_error_t err;

    if (c == NULL || c->type != (uint32_t)type)
        return gpg_error(GPG_ERR_BAD_CERT);
    if (type == CERT_HOST &&
        c->has_critical) /* none is defined: each would be one that we do not know */
        return gpg_error(GPG_ERR_BAD_CERT);
    if (now < c->valid_after)
        return gpg_error(GPG_ERR_CERT_TOO_YOUNG);
    if (now >= c->valid_before)
        return gpg_error(GPG_ERR_CERT_EXPIRED);
    err = check_name(c, name);
    if (err != 0)
        return err;
    if (c->ca->algo == KEY_SK_ECDSA || c->ca->algo == KEY_SK_ED25519)
        return sk_sig_verify(c->ca, c->tbs, c->sig, &flags);
    return ssh_sig_verify(c->ca, c->tbs, c->sig, false);
}
