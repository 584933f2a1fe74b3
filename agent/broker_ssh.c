/* The broker's ssh side: what a connection may see, ssh signatures, keys added and removed by
 * clients. */
#include "agent/operation.h"

#include "agent/hotplug.h"
#include "agent/lock.h"
#include "agent/policy_watch.h"
#include "proto/token_protocol.h"

#include <string.h>

/* --- listing
 * -------------------------------------------------------------------------------------------------------
 */

static bool has_ssh_form(const struct identity *id)
{
    return id->family == FAMILY_SSH && id->key->blob != NULL && (id->can_sign || id->can_auth);
}

/* D NULL: the policy hides nothing. */
static bool may_see(const struct policy_set *p, const struct origin *from,
                    const struct identity *id, const struct destination *d)
{
    struct policy_verdict v;
    struct facts facts;
    const char *why;

    if (!has_ssh_form(id) || !destination_permitted(&id->constraints, from, NULL, &why))
        return false;
    if (d == NULL)
        return true;
    if (facts_make(from, id, d, &facts) != 0)
        return false;
    facts.f.listing = true;
    policy_evaluate(p, &facts.f, &v);
    facts_clear(&facts);
    return v.allow;
}

/* Clients like libssh stop reading a list at the first key type they do not know: those go last,
 * certificates beside their keys. */
static bool is_vendor_type(const struct identity *id)
{
    return id->key->algo == KEY_SK_ECDSA || id->key->algo == KEY_SK_ED25519;
}

bool broker_list_needs_requester(struct agent *a)
{
    struct policy_set *p = policy_current(a->policy);
    bool needs = p != NULL && policy_hides_keys(p);

    policy_unref(p);
    return needs;
}

void broker_list_ssh(struct agent *a, const struct origin *from, const struct keyring_snapshot *s,
                     const struct identity **visible, size_t *n)
{
    struct policy_set *p = policy_current(a->policy);
    struct destination d = {0};
    bool hides;
    size_t seen = 0;

    *n = 0;
    if (p == NULL || lock_is_passphrase_locked(a->lock))
        goto out;
    hides = policy_hides_keys(p);
    if (hides && destination_find(a, from, NULL, p, &d) != 0)
        goto out;
    for (int vendor = 0; vendor <= 1; vendor++)
        for (size_t i = 0; i < s->n; i++)
            if (has_ssh_form(s->ids[i]) && is_vendor_type(s->ids[i]) == (vendor == 1) &&
                may_see(p, from, s->ids[i], hides ? &d : NULL))
                visible[seen++] = s->ids[i];
    *n = seen;
out:
    destination_clear(&d);
    policy_unref(p);
}

/* --- signing
 * -------------------------------------------------------------------------------------------------------
 */

/* The policy's name for what is signed, and the words that a dialog uses. */
struct ssh_use {
    char *use, *text, *what;
};

static void ssh_use_clear(struct ssh_use *u)
{
    gpgrt_free(u->use);
    gpgrt_free(u->text);
    gpgrt_free(u->what);
}

static gpg_error_t ssh_use_of(const struct signdata *d, struct ssh_use *u)
{
    switch (d->kind) {
    case SIGNDATA_USERAUTH:
        u->use = gpgrt_strdup("ssh-auth");
        u->text = gpgrt_strdup("log in over ssh");
        break;
    case SIGNDATA_SSHSIG:
        u->use = gpgrt_bsprintf("sshsig:%s", d->ns);
        u->text = gpgrt_bsprintf("sign data for \"%s\" (ssh-keygen -Y sign)", d->ns);
        break;
    case SIGNDATA_CERT:
        u->use = gpgrt_strdup("ssh-ca");
        u->text = gpgrt_bsprintf("sign a %s certificate as a CA",
                                 d->cert_type == CERT_HOST ? "host" : "user");
        u->what = gpgrt_bsprintf("Key id:  %s\n", d->cert_id != NULL ? d->cert_id : "?");
        break;
    case SIGNDATA_RAW:
        u->use = gpgrt_strdup("raw");
        u->text = gpgrt_strdup("sign data of no known form");
        break;
    }
    return u->use != NULL && u->text != NULL ? 0 : gpg_error_from_syserror();
}

/* The flags say how to hash, RFC 9987; without any it is SHA-1. But paramiko leaves them out for
 * certificates, and a signature by SHA-1 under a name of SHA-2 would serve nobody. */
static uint32_t rsa_flags(uint32_t flags, const struct signdata *d)
{
    const uint32_t sha2 = SSH_AGENT_RSA_SHA2_256 | SSH_AGENT_RSA_SHA2_512;

    if ((flags & sha2) != 0 || d->kind != SIGNDATA_USERAUTH)
        return flags;
    return strncmp(d->pkalg, "rsa-sha2-256", 12) == 0   ? flags | SSH_AGENT_RSA_SHA2_256
           : strncmp(d->pkalg, "rsa-sha2-512", 12) == 0 ? flags | SSH_AGENT_RSA_SHA2_512
                                                        : flags;
}

static const char *refusal_of(const struct identity *id, const struct origin *from,
                              const struct signdata *d)
{
    const char *why = NULL;

    if (id->family != FAMILY_SSH)
        return "the key belongs to gpg: a signature for ssh would mix protocol families";
    if (!id->can_sign && !id->can_auth)
        return "the key cannot sign";
    (void)destination_permitted(&id->constraints, from, d, &why);
    return why;
}

gpg_error_t broker_sign_ssh(struct agent *a, const struct origin *from, struct rd key_blob,
                            struct rd data, uint32_t flags, struct buf *sig)
{
    const struct keyring_snapshot *snap = keyring_get(a->keyring);
    struct policy_set *policy = policy_current(a->policy);
    struct destination dest = {0};
    struct signdata what = {0};
    struct ssh_use use = {0};
    struct operation op = {.a = a, .from = from, .policy = policy, .verb = TOKEN_SIGN};
    uint8_t digest[64];
    gpg_error_t err;

    op.id = snap != NULL ? keyring_find_blob(snap, key_blob) : NULL;
    if (op.id == NULL) {
        err = gpg_error(GPG_ERR_NO_SECKEY);
        goto out;
    }
    if (policy == NULL) {
        char *problem = policy_problem(a->policy);

        gpgrt_log_error("refused: no valid policy: %s\n", problem != NULL ? problem : "not loaded");
        gpgrt_free(problem);
        err = gpg_error(GPG_ERR_BAD_DATA);
        goto out;
    }
    if ((err = signdata_parse(data, op.id->key, &what)) != 0 ||
        (err = ssh_use_of(&what, &use)) != 0 ||
        (err = destination_find(a, from, &what, policy, &dest)) != 0 ||
        (err = tosign_from_message(ssh_sign_hash(op.id->key, rsa_flags(flags, &what)), data, digest,
                                   &op.tosign)) != 0)
        goto out;
    op.use = use.use;
    op.use_text = use.text;
    op.what = use.what;
    op.dest = &dest;
    op.user = what.user;
    op.cert = what.key != NULL && what.key->cert != NULL ? what.key : NULL;
    op.refusal = refusal_of(op.id, from, &what);
    err = broker_operate(&op);
    if (err == 0)
        err = sig_to_ssh(op.id->key, op.tosign.hash, op.sig, sig);
out:
    gcry_sexp_release(op.sig);
    gpgrt_free(op.error_text);
    ssh_use_clear(&use);
    destination_clear(&dest);
    signdata_clear(&what);
    policy_unref(policy);
    keyring_put(snap);
    return err;
}

/* --- keys of clients
 * ------------------------------------------------------------------------------------------------
 */

/* A key that a client brings or takes away goes the same straight path as a signature: as an
 * identity whose one holder is the software token. */
struct change {
    struct policy_set *policy;
    struct destination dest;
    struct holder holder;
    struct identity id;
    struct operation op;
};

static void change_clear(struct change *c)
{
    buf_free(&c->op.result);
    gpgrt_free(c->op.error_text);
    destination_clear(&c->dest);
    policy_unref(c->policy);
    if (c->holder.token != NULL)
        token_unref(c->holder.token);
}

static gpg_error_t change_init(struct change *c, struct agent *a, const struct origin *from,
                               const char *use, struct key *key, char *comment)
{
    *c = (struct change){.policy = policy_current(a->policy)};
    if (c->policy == NULL)
        return gpg_error(GPG_ERR_BAD_DATA);
    c->holder = (struct holder){.token = hotplug_software(a->hotplug), .touch = TOKEN_TOUCH_NEVER};
    if (c->holder.token == NULL)
        return gpg_error(GPG_ERR_ENODEV);
    c->id = (struct identity){.key = key, .comment = comment, .holders = &c->holder, .nholders = 1};
    c->op =
        (struct operation){.a = a,
                           .from = from,
                           .policy = c->policy,
                           .id = &c->id,
                           .use = use,
                           .use_text = strcmp(use, "import") == 0 ? "add a key" : "remove a key",
                           .dest = &c->dest};
    return destination_find(a, from, NULL, c->policy, &c->dest);
}

gpg_error_t broker_add_ssh(struct agent *a, const struct origin *from, struct ssh_agent_msg *add)
{
    uint32_t life =
        add->u.add.constraints.lifetime != 0 ? add->u.add.constraints.lifetime : a->default_life;
    struct change c;
    const char *line;
    char *id = NULL;
    gpg_error_t err;

    err = change_init(&c, a, from, "import", add->u.add.key, add->u.add.comment);
    if (err != 0)
        goto out;
    c.op.verb = TOKEN_ADDKEY;
    c.op.tosign.data = add->u.add.private_part;
    err = broker_operate(&c.op);
    if (err != 0)
        goto out;
    line = buf_cstr(&c.op.result);
    err = line != NULL ? field_get(line, "id", &id) : gpg_error_from_syserror();
    if (err == 0 && id == NULL)
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0)
        err = keyring_add(a->keyring, c.holder.token, add->u.add.key, id, add->u.add.comment,
                          &add->u.add.constraints, (int64_t)life * 1000);
out:
    gpgrt_free(id);
    change_clear(&c);
    return err;
}

static void wipe_software_key(struct agent *a, const struct origin *from, struct token *t,
                              const char *id)
{
    struct token_job job = {.verb = TOKEN_DELKEY, .key_id = id};
    struct wait w;
    gpg_error_t err;

    err = wait_begin(a->waits, &w, from->fd, 60);
    if (err == 0) {
        err = token_run(t, &w, &job);
        wait_end(&w);
    }
    if (err != 0)
        gpgrt_log_error("software key %s: cannot be wiped: %s\n", id, gpg_strerror(err));
    buf_free(&job.result);
}

static gpg_error_t remove_identity(struct agent *a, const struct origin *from,
                                   const struct identity *id)
{
    struct change c;
    char *unused = NULL;
    gpg_error_t err;

    if (!id->added)
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    err = change_init(&c, a, from, "delete", id->key, id->comment);
    if (err == 0) {
        c.op.judge_only = true;
        err = broker_operate(&c.op);
    }
    if (err == 0)
        err = keyring_remove(a->keyring, rd_of(id->key->blob, id->key->blob_len), &unused);
    if (err == 0 && unused != NULL)
        wipe_software_key(a, from, c.holder.token, unused);
    gpgrt_free(unused);
    change_clear(&c);
    return err;
}

gpg_error_t broker_remove_ssh(struct agent *a, const struct origin *from, struct rd blob)
{
    const struct keyring_snapshot *snap = keyring_get(a->keyring);
    const struct identity *id = snap != NULL ? keyring_find_blob(snap, blob) : NULL;
    const char *why;
    gpg_error_t err;

    /* What a connection may not see it may not remove; and only the very blob that is listed is
     * meant. */
    if (id == NULL || !rd_eq(rd_of(id->key->blob, id->key->blob_len), blob) ||
        !destination_permitted(&id->constraints, from, NULL, &why))
        err = gpg_error(GPG_ERR_NOT_FOUND);
    else
        err = remove_identity(a, from, id);
    keyring_put(snap);
    return err;
}

gpg_error_t broker_remove_all_ssh(struct agent *a, const struct origin *from)
{
    const struct keyring_snapshot *snap = keyring_get(a->keyring);
    gpg_error_t err = 0;

    for (size_t i = 0; snap != NULL && i < snap->n; i++) {
        gpg_error_t one = snap->ids[i]->added ? remove_identity(a, from, snap->ids[i]) : 0;

        if (err == 0)
            err = one;
    }
    keyring_put(snap);
    return err;
}
