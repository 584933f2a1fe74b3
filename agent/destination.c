#include "agent/destination.h"

#include <string.h>
#include <time.h>

static bool same_blob(const struct key *a, const struct key *b)
{
    return a != NULL && b != NULL && a->blob != NULL && b->blob != NULL &&
           rd_eq(rd_of(a->blob, a->blob_len), rd_of(b->blob, b->blob_len));
}

/* A plain `publickey` request says nothing of its server. One bind by the person's own ssh makes up
 * for that; a bind by anybody else does not, for whoever owns some host key can sign the session
 * identifier of another server's session. */
static enum policy_proof bound_proof(const struct origin *from, const struct signdata *data,
                                     const char **why)
{
    const struct bind *b;

    if (from->nbinds == 0) {
        *why =
            from->bind_attempted ? "the client's session-bind failed" : "the client does not bind";
        return PROOF_NONE;
    }
    b = &from->binds[from->nbinds - 1];
    if (from->nbinds != 1 || b->forwarding) {
        *why = "forwarded, and the signed data does not name the server";
        return PROOF_NONE;
    }
    if (!rd_eq(rd_of(b->sid, b->sid_len), data->session_id)) {
        *why = "the session differs from the bound one";
        return PROOF_NONE;
    }
    if (from->who == NULL || !from->who->root_owned_ssh) {
        *why = "bound by a program that is not the system's ssh";
        return PROOF_NONE;
    }
    return PROOF_BOUND;
}

static enum policy_proof hostbound_proof(const struct origin *from, const struct signdata *data,
                                         const char **why)
{
    const struct bind *b;

    if (from->nbinds == 0)
        return PROOF_HOSTBOUND; /* the data itself names the only server that will accept it */
    b = &from->binds[from->nbinds - 1];
    if (b->forwarding)
        *why = "the last bind of the connection forwards";
    else if (!same_blob(b->hostkey, data->hostkey))
        *why = "the data names another host key than the connection's bind";
    else if (!rd_eq(rd_of(b->sid, b->sid_len), data->session_id))
        *why = "the session differs from the bound one";
    else
        return PROOF_HOSTBOUND;
    return PROOF_NONE;
}

/* The name that the asking ssh was given, as known_hosts would write it. */
static gpg_error_t asked_name(const struct requester *who, char **out)
{
    *out = NULL;
    if (who == NULL || who->ssh_host == NULL)
        return 0;
    if (who->ssh_port != NULL && strcmp(who->ssh_port, "22") != 0)
        *out = gpgrt_bsprintf("[%s]:%s", who->ssh_host, who->ssh_port);
    else
        *out = gpgrt_strdup(who->ssh_host);
    return *out != NULL ? 0 : gpg_error_from_syserror();
}

static gpg_error_t add_hop(struct agent *a, struct destination *d, const struct key *key,
                           const char *const *asked, const struct policy_set *p)
{
    struct hop *h = &d->hops[d->nhops];
    gpg_error_t err;

    h->key = key;
    err = known_hosts_lookup(a->known_hosts, key, p != NULL ? policy_literal_hosts(p) : NULL, asked,
                             (uint64_t)time(NULL), &h->found);
    if (err != 0)
        return err;
    h->host = (struct policy_host){
        .fpr = key->fpr, .names = (const char *const *)h->found.names, .nnames = h->found.n};
    if (h->found.revoked)
        d->revoked = true;
    d->nhops++;
    return 0;
}

gpg_error_t destination_find(struct agent *a, const struct origin *from,
                             const struct signdata *data, const struct policy_set *p,
                             struct destination *out)
{
    struct destination d = {.proof = PROOF_NONE, .why_none = "this use names no host"};
    bool auth = data != NULL && data->kind == SIGNDATA_USERAUTH;
    const struct key *dest = NULL;
    const char *asked[2] = {NULL, NULL};
    char *name = NULL;
    size_t nvia = from->nbinds;
    gpg_error_t err = 0;

    d.forwarded = from->extra_socket ? TRI_YES : TRI_NO;
    for (size_t i = 0; i < from->nbinds; i++)
        if (from->binds[i].forwarding)
            d.forwarded = TRI_YES;
    /* Behind an old client's forwarded channel nothing binds: there the answer is not known. */
    if (auth && from->nbinds == 0 && d.forwarded == TRI_NO)
        d.forwarded = TRI_UNKNOWN;

    if (auth) {
        d.why_none = NULL;
        d.proof = data->hostbound ? hostbound_proof(from, data, &d.why_none)
                                  : bound_proof(from, data, &d.why_none);
        if (d.proof == PROOF_HOSTBOUND)
            dest = data->hostkey;
        else if (d.proof == PROOF_BOUND)
            dest = from->binds[0].hostkey;
    }
    if (nvia > 0 && !from->binds[nvia - 1].forwarding) {
        nvia--; /* the last bind is the destination, not a hop on the way */
        if (data == NULL)
            dest = from->binds[nvia].hostkey;
    }
    if (nvia + (dest != NULL) == 0)
        goto done;

    err = asked_name(from->who, &name);
    if (err != 0)
        return err;
    asked[0] = name;
    d.hops = gpgrt_calloc(nvia + 1, sizeof *d.hops);
    if (d.hops == NULL) {
        err = gpg_error_from_syserror();
        goto out;
    }
    /* What the asking ssh was told to connect to is the first host; those behind it chose theirs. */
    for (size_t i = 0; i < nvia && err == 0; i++)
        err = add_hop(a, &d, from->binds[i].hostkey, i == 0 ? asked : NULL, p);
    if (err == 0 && dest != NULL) {
        err = add_hop(a, &d, dest, nvia == 0 ? asked : NULL, p);
        d.known = true;
    }
    if (err != 0)
        goto out;
done:
    *out = d;
    d = (struct destination){0};
out:
    gpgrt_free(name);
    destination_clear(&d);
    return err;
}

void destination_clear(struct destination *d)
{
    for (size_t i = 0; i < d->nhops; i++)
        host_names_clear(&d->hops[i].found);
    gpgrt_free(d->hops);
    *d = (struct destination){0};
}

gpg_error_t destination_facts(const struct destination *d, const struct policy_host **dest,
                              struct policy_host **via, size_t *nvia)
{
    size_t n = d->nhops - (d->known ? 1 : 0);
    struct policy_host *v = NULL;

    if (n > 0) {
        v = gpgrt_calloc(n, sizeof *v);
        if (v == NULL)
            return gpg_error_from_syserror();
        for (size_t i = 0; i < n; i++)
            v[i] = d->hops[i].host;
    }
    *dest = d->known ? &d->hops[n].host : NULL;
    *via = v;
    *nvia = n;
    return 0;
}

char *destination_chain(const struct destination *d)
{
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < d->nhops; i++)
        buf_printf(&b, "%s%s", i > 0 ? ">" : "",
                   d->hops[i].key->fpr != NULL ? d->hops[i].key->fpr : "?");
    if (!d->known)
        buf_printf(&b, ">-");
    return buf_steal_cstr(&b);
}

static void put_host(struct buf *b, const struct hop *h)
{
    if (h->found.n > 0)
        buf_printf(b, "%s", h->found.names[0]);
    else
        buf_printf(b, "an unknown host (key %s)", h->key->fpr != NULL ? h->key->fpr : "?");
}

char *destination_describe(const struct destination *d)
{
    struct buf b = BUF_INIT;
    size_t nvia = d->nhops - (d->known ? 1 : 0);

    if (d->known) {
        put_host(&b, &d->hops[nvia]);
        if (d->proof == PROOF_BOUND)
            buf_printf(&b, " (as your ssh says)");
    } else {
        buf_printf(&b, "a host that is not proven");
    }
    for (size_t i = 0; i < nvia; i++) {
        buf_printf(&b, i == 0 ? ", via " : ", ");
        put_host(&b, &d->hops[i]);
    }
    return buf_steal_cstr(&b);
}

/* --- destination constraints
 * ------------------------------------------------------------------------------------ */

static bool key_matches_hop(const struct dest_hop *hop, const struct key *key)
{
    for (size_t i = 0; i < hop->nkeys; i++) {
        const struct dest_key *k = &hop->keys[i];

        if (!k->is_ca) {
            if (same_blob(k->key, key))
                return true;
            continue;
        }
        if (key->cert != NULL && same_blob(k->key, key->cert->ca) && hop->hostname != NULL &&
            cert_check(key, CERT_HOST, (uint64_t)time(NULL), hop->hostname) == 0)
            return true;
    }
    return false;
}

/* FROM NULL: this machine. USER NULL: not asked about. */
static bool hop_permitted(const struct key_constraints *c, const struct key *from,
                          const struct key *to, const char *user)
{
    for (size_t i = 0; i < c->ndest; i++) {
        const struct dest_constraint *d = &c->dest[i];

        if (from == NULL ? (d->from.hostname != NULL || d->from.nkeys != 0)
                         : !key_matches_hop(&d->from, from))
            continue;
        if (!key_matches_hop(&d->to, to))
            continue;
        if (d->to.user != NULL && user != NULL && !policy_match_pattern(d->to.user, user, false))
            continue;
        return true;
    }
    return false;
}

bool destination_permitted(const struct key_constraints *c, const struct origin *from,
                           const struct signdata *data, const char **why)
{
    const struct bind *last;

    *why = NULL;
    if (c->ndest == 0)
        return true;
    if (from->nbinds == 0) {
        if (data == NULL && !from->bind_attempted)
            return true;
        *why = "the key is restricted to destinations, and the client does not bind its session";
        return false;
    }
    last = &from->binds[from->nbinds - 1];
    for (size_t i = 0; i < from->nbinds; i++) {
        const struct bind *b = &from->binds[i];
        bool is_last = b == last;

        if (!is_last && !b->forwarding) {
            *why = "the connection was bound for authentication and then forwarded";
            return false;
        }
        if (is_last && data != NULL && b->forwarding) {
            *why = "the last bind of the connection forwards: no authentication may follow";
            return false;
        }
        if (!hop_permitted(c, i == 0 ? NULL : from->binds[i - 1].hostkey, b->hostkey,
                           is_last && data != NULL ? data->user : NULL)) {
            *why = "the key's destination constraints do not permit this host, hop or user";
            return false;
        }
    }
    if (data == NULL) {
        /* Forwarded on from the last host: list the key only if some constraint leads on from
         * there. */
        if (!last->forwarding)
            return true;
        for (size_t i = 0; i < c->ndest; i++)
            if (key_matches_hop(&c->dest[i].from, last->hostkey))
                return true;
        *why = "no destination constraint leads on from the last host";
        return false;
    }
    if (data->kind != SIGNDATA_USERAUTH)
        *why = "a key restricted to destinations signs ssh authentications only";
    else if (!rd_eq(data->session_id, rd_of(last->sid, last->sid_len)))
        *why = "the session differs from the bound one";
    else if (from->nbinds > 1 && data->hostkey == NULL)
        *why = "forwarded, and the signed data does not name the server";
    else if (data->hostkey != NULL && !same_blob(data->hostkey, last->hostkey))
        *why = "the data names another host key than the connection's bind";
    return *why == NULL;
}
