/* The part of the keyring that certificate files fill. */
#include "agent/keyring_node.h"

#include <string.h>
#include <time.h>

/* Narrows the span in which the dates say the same as NOW. */
static void note_dates(struct keyring *k, const struct ssh_cert *c, uint64_t now)
{
    const uint64_t turns[] = {c->valid_after, c->valid_before};

    for (size_t i = 0; i < 2; i++)
        if (turns[i] <= now && turns[i] > k->certs_from)
            k->certs_from = turns[i];
        else if (turns[i] > now && turns[i] < k->certs_until)
            k->certs_until = turns[i];
}

/* One that ssh-add brought stays what it is; the same certificate in two files is one. */
static bool listed_already(const struct snapshot *s, const struct key *cert)
{
    for (size_t i = 0; i < s->pub.n; i++) {
        const struct key *k = s->nodes[i]->id.key;

        if (k->blob != NULL &&
            rd_eq(rd_of(k->blob, k->blob_len), rd_of(cert->blob, cert->blob_len)))
            return true;
    }
    return false;
}

static gpg_error_t remember(struct node *n, struct certificate *c)
{
    struct certificate **more =
        gpgrt_reallocarray(n->id.certs, n->id.ncerts, n->id.ncerts + 1, sizeof *more);

    if (more == NULL)
        return gpg_error_from_syserror();
    n->id.certs = more;
    more[n->id.ncerts++] = certificate_ref(c);
    return 0;
}

/* What is true of the plain key is true of it with a certificate: policy, holders, constraints. */
static gpg_error_t certified(struct node *plain, struct certificate *c, struct node **out)
{
    struct node *n;
    gpg_error_t err = keyring_node_new(c->key, plain->id.comment, &n);

    if (err != 0)
        return err;
    n->id.from_file = true;
    n->id.family = plain->id.family;
    n->id.can_sign = plain->id.can_sign;
    n->id.can_auth = plain->id.can_auth;
    n->id.created = plain->id.created;
    n->id.has_openpgp = plain->id.has_openpgp;
    memcpy(n->id.openpgp_fpr, plain->id.openpgp_fpr, sizeof n->id.openpgp_fpr);
    n->id.expires_ms = plain->id.expires_ms;
    if (plain->constraints_of != NULL || plain->id.provided)
        keyring_node_borrow(n, plain);
    err = remember(n, c);
    for (size_t i = 0; i < plain->id.nholders && err == 0; i++)
        err = keyring_node_add_holder(n, &plain->id.holders[i], plain->id.holders[i].token);
    if (err != 0)
        keyring_node_unref(n);
    else
        *out = n;
    return err;
}

static void insert(struct snapshot *s, size_t at, struct node *n)
{
    memmove(&s->nodes[at + 1], &s->nodes[at], (s->pub.n - at) * sizeof(struct node *));
    s->nodes[at] = n;
    s->pub.n++;
}

/* The certificates of the plain key in place AT, a token's own (a node of this snapshot alone) or a module's. What an added
 * software key is to have, ssh-add brings with it. */
static gpg_error_t put_behind(struct keyring *k, struct snapshot *s, size_t at, bool own,
                              uint64_t now)
{
    struct node *plain = s->nodes[at], *n;
    size_t last = at;
    gpg_error_t err;

    if (plain->id.family != FAMILY_SSH || plain->id.key->cert != NULL ||
        (!own && !plain->id.provided))
        return 0;
    for (size_t i = 0; i < k->certs->n; i++) {
        struct certificate *c = k->certs->certs[i];

        if (c->key == NULL || !key_same(c->key, plain->id.key))
            continue;
        if (own && (err = remember(plain, c)) != 0)
            return err;
        if (certificate_out_of_date(c, now) != NULL || listed_already(s, c->key))
            continue;
        if ((err = certified(plain, c, &n)) != 0)
            return err;
        insert(s, ++last, n);
    }
    return 0;
}

gpg_error_t keyring_put_certificates(struct keyring *k, struct snapshot *s, size_t nfirst)
{
    uint64_t now = (uint64_t)time(NULL);
    gpg_error_t err = 0;

    k->certs_from = 0;
    k->certs_until = UINT64_MAX;
    if (k->certs == NULL)
        return 0;
    for (size_t i = 0; i < k->certs->n; i++)
        if (k->certs->certs[i]->key != NULL)
            note_dates(k, k->certs->certs[i]->key->cert, now);
    for (size_t i = s->pub.n; i-- > 0 && err == 0;)
        err = put_behind(k, s, i, i < nfirst, now);
    return err;
}

gpg_error_t keyring_set_certificates(struct keyring *k, struct certificate_set *set)
{
    struct certificate_set *old;
    gpg_error_t err;

    pthread_mutex_lock(&k->mutex);
    old = k->certs;
    k->certs = certificate_set_ref(set);
    err = keyring_rebuild(k);
    if (err != 0) {
        k->certs = old;
        old = set;
    }
    pthread_mutex_unlock(&k->mutex);
    certificate_set_unref(old);
    return err;
}
