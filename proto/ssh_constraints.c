/* What may bind an added key (RFC 9987 3.2.7, PROTOCOL.agent). A constraint is a promise to the
 * person who gave it: one that is not understood fails the whole request. */
#include "proto/ssh_agent_internal.h"

#include <string.h>

enum constraint {
    CONSTRAIN_LIFETIME = 1,
    CONSTRAIN_CONFIRM = 2,
    CONSTRAIN_MAXSIGN = 3, /* XMSS only: refused */
    CONSTRAIN_EXTENSION = 255,
};

/* --- restrict-destination-v00@openssh.com
 * ------------------------------------------------------------------ */

static void hop_free(struct dest_hop *h)
{
    for (size_t i = 0; i < h->nkeys; i++)
        key_unref(h->keys[i].key);
    gpgrt_free(h->keys);
    gpgrt_free(h->user);
    gpgrt_free(h->hostname);
}

/* A C string, NULL for the empty one. */
static gpg_error_t read_optional(struct rd *r, char **out)
{
    char *s;
    gpg_error_t err = rd_cstring(r, &s);

    if (err != 0)
        return err;
    if (*s == 0) {
        gpgrt_free(s);
        s = NULL;
    }
    *out = s;
    return 0;
}

static gpg_error_t read_empty(struct rd *r)
{
    struct rd reserved;
    gpg_error_t err = rd_string(r, &reserved);

    return err != 0 ? err : rd_end(&reserved);
}

/* One (string key, u8 is_ca). A key of a type that we do not know is left out: known_hosts may well
 * hold one beside others, and a host that can be proven by fewer keys is a narrower constraint,
 * never a wider one. */
static gpg_error_t read_hop_key(struct rd *r, struct dest_hop *h)
{
    struct rd blob;
    uint8_t is_ca;
    struct key *key;
    struct dest_key *keys;
    gpg_error_t err = rd_string(r, &blob);

    if (err == 0)
        err = rd_u8(r, &is_ca);
    if (err == 0)
        err = key_from_blob(blob, &key);
    if (gpg_err_code(err) == GPG_ERR_PUBKEY_ALGO)
        return 0;
    if (err != 0)
        return err;
    keys = gpgrt_reallocarray(h->keys, h->nkeys, h->nkeys + 1, sizeof *keys);
    if (keys == NULL) {
        err = gpg_error_from_syserror();
        key_unref(key);
        return err;
    }
    h->keys = keys;
    h->keys[h->nkeys++] = (struct dest_key){.key = key, .is_ca = is_ca != 0};
    return 0;
}

/* HAS_KEYS tells whether keys came at all, known or not. */
static gpg_error_t read_hop(struct rd *r, struct dest_hop *h, bool *has_keys)
{
    struct rd body;
    gpg_error_t err = rd_string(r, &body);

    if (err == 0)
        err = read_optional(&body, &h->user);
    if (err == 0)
        err = read_optional(&body, &h->hostname);
    if (err == 0)
        err = read_empty(&body);
    *has_keys = body.n > 0;
    while (err == 0 && body.n > 0)
        err = read_hop_key(&body, h);
    return err;
}

static gpg_error_t read_dest(struct rd *r, struct dest_constraint *d)
{
    struct rd body;
    bool from_keys = false, to_keys = false;
    gpg_error_t err = rd_string(r, &body);

    if (err == 0)
        err = read_hop(&body, &d->from, &from_keys);
    if (err == 0)
        err = read_hop(&body, &d->to, &to_keys);
    if (err == 0)
        err = read_empty(&body);
    if (err == 0)
        err = rd_end(&body);
    if (err != 0)
        return err;
    /* No name and no keys is this machine; a name without keys, or the reverse, means nothing. */
    if (d->from.user != NULL || (d->from.hostname == NULL) == from_keys)
        return gpg_error(GPG_ERR_BAD_DATA);
    if (d->to.hostname == NULL || !to_keys)
        return gpg_error(GPG_ERR_BAD_DATA);
    return 0;
}

static gpg_error_t read_restrict(struct rd *r, struct key_constraints *c)
{
    struct rd list;
    gpg_error_t err = rd_string(r, &list);

    if (err == 0 && list.n == 0) /* an empty list would read as no restriction */
        err = gpg_error(GPG_ERR_BAD_DATA);
    while (err == 0 && list.n > 0) {
        struct dest_constraint *dest;

        if (c->ndest == SSH_AGENT_MAX_CONSTRAINTS)
            return gpg_error(GPG_ERR_TOO_LARGE);
        dest = gpgrt_reallocarray(c->dest, c->ndest, c->ndest + 1, sizeof *dest);
        if (dest == NULL)
            return gpg_error_from_syserror();
        c->dest = dest;
        c->dest[c->ndest] = (struct dest_constraint){0};
        err = read_dest(&list, &c->dest[c->ndest++]);
    }
    return err;
}

/* --- the other extensions
 * ---------------------------------------------------------------------------------- */

static gpg_error_t read_cert(struct rd *r, struct key_constraints *c)
{
    struct rd blob;
    struct key *key, **certs;
    gpg_error_t err = rd_string(r, &blob);

    if (err == 0)
        err = key_from_blob(blob, &key);
    if (gpg_err_code(err) == GPG_ERR_PUBKEY_ALGO)
        return 0;
    if (err != 0)
        return err;
    certs = gpgrt_reallocarray(c->certs, c->ncerts, c->ncerts + 1, sizeof(struct key *));
    if (certs == NULL)
        err = gpg_error_from_syserror();
    else
        c->certs = certs;
    if (err == 0 && key->cert == NULL)
        err = gpg_error(GPG_ERR_BAD_CERT);
    if (err != 0)
        key_unref(key);
    else
        c->certs[c->ncerts++] = key;
    return err;
}

static gpg_error_t read_certs(struct rd *r, struct key_constraints *c)
{
    struct rd list;
    uint8_t only;
    size_t n = 0;
    gpg_error_t err = rd_u8(r, &only);

    if (err == 0)
        err = rd_string(r, &list);
    if (err != 0)
        return err;
    c->certs_only = only != 0;
    while (err == 0 && list.n > 0)
        err = ++n > SSH_AGENT_MAX_CERTS ? gpg_error(GPG_ERR_TOO_LARGE) : read_cert(&list, c);
    return err;
}

static gpg_error_t read_provider(struct rd *r, struct key_constraints *c)
{
    gpg_error_t err = rd_cstring(r, &c->sk_provider);

    return err == 0 && *c->sk_provider == 0 ? gpg_error(GPG_ERR_BAD_DATA) : err;
}

static gpg_error_t read_lifetime(struct rd *r, struct key_constraints *c)
{
    gpg_error_t err = rd_u32(r, &c->lifetime);

    /* To us 0 is "for ever", to the client it was the contrary. */
    return err == 0 && c->lifetime == 0 ? gpg_error(GPG_ERR_BAD_DATA) : err;
}

static gpg_error_t read_confirm(struct rd *r, struct key_constraints *c)
{
    (void)r;
    c->confirm = true;
    return 0;
}

enum belongs_to { TO_ANY, TO_SK_KEY, TO_SMARTCARD };

static const struct {
    uint8_t code;
    const char *extension;
    enum belongs_to to;
    gpg_error_t (*read)(struct rd *r, struct key_constraints *c);
} known[] = {
    {CONSTRAIN_LIFETIME, NULL, TO_ANY, read_lifetime},
    {CONSTRAIN_CONFIRM, NULL, TO_ANY, read_confirm},
    {CONSTRAIN_EXTENSION, "restrict-destination-v00@openssh.com", TO_ANY, read_restrict},
    {CONSTRAIN_EXTENSION, "sk-provider@openssh.com", TO_SK_KEY, read_provider},
    {CONSTRAIN_EXTENSION, "associated-certs-v00@openssh.com", TO_SMARTCARD, read_certs},
};
#define NKNOWN (sizeof known / sizeof known[0])

static bool allowed(enum belongs_to to, uint8_t type, const struct key *key)
{
    bool smartcard =
        type == SSH_AGENTC_ADD_SMARTCARD_KEY || type == SSH_AGENTC_ADD_SMARTCARD_KEY_CONSTRAINED;

    switch (to) {
    case TO_ANY:
        return true;
    case TO_SK_KEY:
        return !smartcard && key != NULL &&
               (key->algo == KEY_SK_ECDSA || key->algo == KEY_SK_ED25519);
    case TO_SMARTCARD:
        return smartcard;
    }
    return false;
}

static gpg_error_t find_constraint(struct rd *r, size_t *index)
{
    uint8_t code;
    struct rd name = {0};
    gpg_error_t err = rd_u8(r, &code);

    if (err == 0 && code == CONSTRAIN_EXTENSION)
        err = rd_string(r, &name);
    if (err != 0)
        return err;
    for (size_t i = 0; i < NKNOWN; i++) {
        if (known[i].code != code)
            continue;
        if (known[i].extension == NULL || rd_is(name, known[i].extension)) {
            *index = i;
            return 0;
        }
    }
    return gpg_error(GPG_ERR_BAD_DATA);
}

gpg_error_t constraints_read(struct rd *r, uint8_t type, const struct key *key,
                             struct key_constraints *out)
{
    bool seen[NKNOWN] = {false};

    while (r->n > 0) {
        size_t i;
        gpg_error_t err = find_constraint(r, &i);

        if (err != 0)
            return err;
        if (seen[i] || !allowed(known[i].to, type, key))
            return gpg_error(GPG_ERR_BAD_DATA);
        seen[i] = true;
        err = known[i].read(r, out);
        if (err != 0)
            return err;
    }
    return 0;
}

void constraints_free(struct key_constraints *c)
{
    for (size_t i = 0; i < c->ndest; i++) {
        hop_free(&c->dest[i].from);
        hop_free(&c->dest[i].to);
    }
    gpgrt_free(c->dest);
    gpgrt_free(c->sk_provider);
    for (size_t i = 0; i < c->ncerts; i++)
        key_unref(c->certs[i]);
    gpgrt_free(c->certs);
    *c = (struct key_constraints){0};
}
