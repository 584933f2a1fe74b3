/* The broker's ssh side: what a connection may see, ssh signatures, keys added and removed by
 * clients. */
#include "agent/operation.h"

#include "agent/gpg_ssh.h"
#include "agent/hotplug.h"
#include "agent/limits.h"
#include "agent/lock.h"
#include "agent/policy_watch.h"
#include "agent/provider_path.h"
#include "agent/token_lines.h"
#include "proto/git_object.h"

#include <string.h>
#include <strings.h>

#define SETTLE_MS 3000

/* --- listing
 * -------------------------------------------------------------------------------------------------------
 */

static bool has_ssh_form(const struct identity *id)
{
    return (id->family == FAMILY_SSH || id->ssh_place != 0) && id->key->blob != NULL &&
           (id->can_sign || id->can_auth);
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
    return key_is_sk(id->key);
}

/* Keys of gpg's in the order in which their owner offers them, others as they come. */
static size_t put_in_order(const struct identity **list, size_t n, const struct identity *id)
{
    size_t at = n;

    while (at > 0 && id->ssh_place != 0 && list[at - 1]->ssh_place > id->ssh_place)
        at--;
    memmove(&list[at + 1], &list[at], (n - at) * sizeof *list);
    list[at] = id;
    return n + 1;
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
                seen = put_in_order(visible, seen, s->ids[i]);
    *n = seen;
out:
    destination_clear(&d);
    policy_unref(p);
}

/* --- signing
 * -------------------------------------------------------------------------------------------------------
 */

/* The policy's name for what is signed, the words that a dialog uses, and the record's. */
struct ssh_use {
    char *use, *text;
    struct buf what;
    json_t *detail; /* NULL: nothing to tell */
};

static void ssh_use_clear(struct ssh_use *u)
{
    gpgrt_free(u->use);
    gpgrt_free(u->text);
    buf_free(&u->what);
    json_decref(u->detail);
}

static void tell(struct ssh_use *u, const char *label, const char *field, const char *text)
{
    broker_put_line(&u->what, label, text);
    json_object_set_new(u->detail, field, broker_clean_json(text));
}

static void describe_certificate(const struct signdata *d, struct ssh_use *u)
{
    struct buf names = BUF_INIT;

    for (size_t i = 0; d->principals[i] != NULL; i++)
        buf_printf(&names, "%s%s", i > 0 ? ", " : "", d->principals[i]);
    if (d->principals[0] == NULL)
        buf_printf(&names, d->cert_type == CERT_HOST ? "any host" : "any user");
    u->detail = json_object();
    tell(u, "Key id:", "key_id", d->cert_id);
    tell(u, "For:", "principals", buf_cstr(&names));
    tell(u, "Subject:", "subject", d->subject != NULL ? d->subject->fpr : NULL);
    buf_free(&names);
}

static void describe_sudo(const struct sudo_request *s, struct ssh_use *u)
{
    u->detail = json_object();
    tell(u, "Service:", "service", s->service);
    tell(u, "User:", "user", s->user);
    tell(u, "Host:", "host", s->host);
    tell(u, "Command:", "command", s->command);
    tell(u, "Folder:", "cwd", s->cwd);
}

/* What a server signs in a key exchange is a bare hash, which has no form. An sshd is believed about it,
 * and nobody else: a hash that anybody might choose could be another protocol's message. A forwarded
 * sshd is none of ours. */
static bool is_exchange_hash(const struct origin *from, struct rd data)
{
    return from->who != NULL && from->who->is_sshd && !from->bind_attempted &&
           (data.n == 20 || data.n == 32 || data.n == 48 || data.n == 64);
}

/* ssh-add -T: as many random octets, which mean nothing to anybody. */
static bool is_key_test(const struct origin *from, struct rd data)
{
    return from->who != NULL && from->who->is_ssh_add && !from->bind_attempted && data.n == 1024;
}

static gpg_error_t ssh_use_of(const struct origin *from, const struct signdata *d, struct rd data,
                              struct ssh_use *u)
{
    switch (d->kind) {
    case SIGNDATA_USERAUTH:
        u->use = gpgrt_strdup("ssh-auth");
        u->text = gpgrt_strdup("log in over ssh");
        break;
    case SIGNDATA_SSHSIG: {
        char *ns = text_clean(d->ns, strlen(d->ns), 100);

        u->use = gpgrt_bsprintf("sshsig:%s", d->ns);
        u->text =
            gpgrt_bsprintf("sign data for \"%s\" (ssh-keygen -Y sign)", ns != NULL ? ns : "?");
        gpgrt_free(ns);
        break;
    }
    case SIGNDATA_CERT:
        u->use = gpgrt_strdup("ssh-ca");
        u->text = gpgrt_bsprintf("sign a %s certificate as a CA",
                                 d->cert_type == CERT_HOST ? "host" : "user");
        describe_certificate(d, u);
        break;
    case SIGNDATA_SUDO:
        u->use = gpgrt_strdup("sudo");
        u->text = gpgrt_strdup("be let in by pam_ssh_agent_auth");
        describe_sudo(&d->sudo, u);
        break;
    case SIGNDATA_HOSTKEY:
        u->use = gpgrt_strdup("host-key");
        u->text = gpgrt_strdup("prove that an ssh server has this host key");
        break;
    case SIGNDATA_RAW:
        if (is_exchange_hash(from, data)) {
            u->use = gpgrt_strdup("host-key");
            u->text = gpgrt_strdup("serve ssh with this host key");
        } else if (is_key_test(from, data)) {
            u->use = gpgrt_strdup("key-test");
            u->text = gpgrt_strdup("try the key (ssh-add -T)");
        } else {
            u->use = gpgrt_strdup("raw");
            u->text = gpgrt_strdup("sign data of no known form");
        }
        break;
    }
    return u->use != NULL && u->text != NULL ? buf_err(&u->what) : gpg_error_from_syserror();
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

/* A security key that serves web sites signs the same kind of thing for them as it does here: who can have any data signed
 * with it (over a forwarded agent, say) can log in there. */
static bool is_unsafe_for_web(const struct agent *a, const struct key *k, const struct signdata *d)
{
    return key_is_sk(k) && a->websafe_allow != NULL && d->kind != SIGNDATA_USERAUTH &&
           d->kind != SIGNDATA_SSHSIG &&
           policy_match_list(a->websafe_allow, k->sk_application, false) != 1;
}

static const char *refusal_of(const struct agent *a, const struct identity *id,
                              const struct origin *from, const struct signdata *d)
{
    const char *why = NULL;

    if (id->family != FAMILY_SSH && id->ssh_place == 0)
        return "the key belongs to gpg: a signature for ssh would mix protocol families";
    if (!id->can_sign && !id->can_auth)
        return "the key cannot sign";
    if (is_unsafe_for_web(a, id->key, d))
        return "the security key belongs to a web application, and this could be a login there "
               "(-O no-restrict-websafe allows it)";
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
    struct gpg_ssh *asking = NULL;
    struct operation op = {.a = a, .from = from, .policy = policy, .verb = TOKEN_SIGN};
    uint8_t digest[64];
    gpg_error_t err;

    op.id = snap != NULL ? keyring_find_blob(snap, key_blob) : NULL;
    if (op.id == NULL) {
        /* Some keys of a card are read when it has nothing else to do. */
        hotplug_settle_all(a->hotplug, SETTLE_MS);
        keyring_put(snap);
        snap = keyring_get(a->keyring);
        op.id = snap != NULL ? keyring_find_blob(snap, key_blob) : NULL;
    }
    if (op.id != NULL && broker_revive(a, op.id)) {
        keyring_put(snap);
        snap = keyring_get(a->keyring);
        op.id = snap != NULL ? keyring_find_blob(snap, key_blob) : NULL;
    }
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
        (err = ssh_use_of(from, &what, data, &use)) != 0 ||
        (err = destination_find(a, from, &what, policy, &dest)) != 0 ||
        (err = tosign_from_message(ssh_sign_hash(op.id->key, rsa_flags(flags, &what)), data, digest,
                                   &op.tosign)) != 0)
        goto out;
    op.message = data;
    op.use = use.use;
    op.use_text = use.text;
    op.what = use.what.len > 0 ? buf_cstr(&use.what) : NULL;
    op.detail = use.detail;
    op.dest = &dest;
    op.user = what.user;
    op.cert = what.key != NULL && what.key->cert != NULL ? what.key : NULL;
    op.refusal = refusal_of(a, op.id, from, &what);
    err = gpg_ssh_begin(&asking, a, from, &op);
    if (err == 0)
        err = broker_operate(&op);
    if (err == 0)
        err = op.asserted ? sk_sig_to_ssh(op.id->key, &op.says, op.sig, sig)
                          : sig_to_ssh(op.id->key, op.tosign.hash, op.sig, sig);
out:
    gpg_ssh_end(asking);
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

void change_clear(struct change *c)
{
    buf_free(&c->op.result);
    gpgrt_free(c->op.error_text);
    destination_clear(&c->dest);
    policy_unref(c->policy);
    if (c->holder.token != NULL)
        token_unref(c->holder.token);
}

gpg_error_t change_init(struct change *c, struct agent *a, const struct origin *from,
                        const char *use, struct token *t, struct key *key, char *comment)
{
    *c = (struct change){.policy = policy_current(a->policy)};
    if (c->policy == NULL)
        return gpg_error(GPG_ERR_BAD_DATA);
    if (t == NULL)
        return gpg_error(GPG_ERR_ENODEV);
    c->holder = (struct holder){.token = token_ref(t), .touch = TOKEN_TOUCH_NEVER};
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

/* As OpenSSH's agent: what a connection may not see it may not change either. */
static const char *refusal_of_add(struct agent *a, const struct origin *from,
                                  const struct ssh_agent_msg *add)
{
    const struct keyring_snapshot *snap = keyring_get(a->keyring);
    const struct key *key = add->u.add.key;
    const char *why = NULL, *unseen = NULL;

    for (size_t i = 0; snap != NULL && i < snap->n; i++)
        if (snap->ids[i]->added &&
            rd_eq(rd_of(snap->ids[i]->key->blob, snap->ids[i]->key->blob_len),
                  rd_of(key->blob, key->blob_len)) &&
            !destination_permitted(&snap->ids[i]->constraints, from, NULL, &unseen))
            why = "the key is there already, under constraints that hide it from this connection";
    keyring_put(snap);
    if (why != NULL ||
        keyring_room(a->keyring, key, add->u.add.comment, &add->u.add.constraints) == 0)
        return why;
    limits_reached(a->limits, LIMIT_KEYS);
    return "there is no room for more keys (MaxKeys in latchkey.conf): remove some with ssh-add -d";
}

/* The token for a key of a security key, by the provider that the client names (ssh-agent(1) -P, -O allow-remote-pkcs11). */
static gpg_error_t provider_token(struct agent *a, const struct origin *from, const char *provider,
                                  struct token **out)
{
    char *real = NULL;
    gpg_error_t err = 0;

    if (provider != NULL && strcasecmp(provider, "internal") != 0) {
        if ((from->bind_attempted || from->extra_socket) && !a->remote_providers) {
            gpgrt_log_info(
                "%s: not loaded for a remote client (-O allow-remote-pkcs11 allows it)\n",
                provider);
            return gpg_error(GPG_ERR_FORBIDDEN);
        }
        err = provider_resolve(a->provider_patterns, provider, &real);
        if (err != 0) {
            gpgrt_log_info("%s: not loaded: %s (see -P in latchkey-agent(1))\n", provider,
                           gpg_err_code(err) == GPG_ERR_FORBIDDEN
                               ? "not among the paths that are allowed"
                               : gpg_strerror(err));
            return err;
        }
    }
    *out = hotplug_security_keys(a->hotplug, real);
    if (*out == NULL)
        err = gpg_error(GPG_ERR_ENODEV);
    gpgrt_free(real);
    return err;
}

/* What a token answered to ADDKEY goes into the keyring; if it cannot, the token forgets it again. */
static gpg_error_t keep_added(struct agent *a, struct change *c, struct ssh_agent_msg *add,
                              gpg_error_t err)
{
    uint32_t life =
        add->u.add.constraints.lifetime != 0 ? add->u.add.constraints.lifetime : a->default_life;
    const char *line = c->op.result.len > 0 ? buf_cstr(&c->op.result) : NULL;
    struct orphan unused = {0};
    struct holder h = {0};
    gpg_error_t bad = line != NULL ? key_line_holder(line, &h) : gpg_error(GPG_ERR_BAD_DATA);

    h.token = c->holder.token;
    if (err == 0)
        err = bad;
    if (err == 0)
        err = keyring_add(a->keyring, &h, add->u.add.key, add->u.add.comment,
                          &add->u.add.constraints, (int64_t)life * 1000, &unused);
    if (err != 0 && h.id != NULL)
        hotplug_wipe_added(a->hotplug, h.token, h.id);
    if (unused.id != NULL)
        hotplug_wipe_added(a->hotplug, unused.token, unused.id);
    orphan_clear(&unused);
    gpgrt_free(h.id);
    return err;
}

gpg_error_t broker_add_ssh(struct agent *a, const struct origin *from, struct ssh_agent_msg *add)
{
    struct token *t = NULL;
    struct change c;
    gpg_error_t err = 0;

    /* gpg-agent's users have their keys kept. */
    if (gpg_ssh_keeps(a, add))
        return gpg_ssh_add(a, from, add);
    if (key_is_sk(add->u.add.key))
        err = provider_token(a, from, add->u.add.constraints.sk_provider, &t);
    else
        t = hotplug_software(a->hotplug);
    if (err != 0)
        return err;
    err = change_init(&c, a, from, "import", t, add->u.add.key, add->u.add.comment);
    token_unref(t);
    if (err != 0)
        goto out;
    c.op.verb = TOKEN_ADDKEY;
    c.op.tosign.data = add->u.add.private_part;
    c.op.refusal = refusal_of_add(a, from, add);
    err = broker_operate(&c.op);
    err = keep_added(a, &c, add, err);
    hotplug_providers_reap(a->hotplug); /* it may have taken the place of a provider's last key */
out:
    change_clear(&c);
    return err;
}

static gpg_error_t remove_identity(struct agent *a, const struct origin *from,
                                   const struct identity *id)
{
    struct orphan unused = {0};
    struct token *t;
    struct change c;
    gpg_error_t err;

    if (!id->added)
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    /* The added half of a key that a card holds as well stands last. */
    t = key_is_sk(id->key) || id->provided ? token_ref(id->holders[id->nholders - 1].token)
                                           : hotplug_software(a->hotplug);
    err = change_init(&c, a, from, "delete", t, id->key, id->comment);
    token_unref(t);
    if (err == 0) {
        c.op.judge_only = true;
        err = broker_operate(&c.op);
    }
    if (err == 0)
        err = keyring_remove(a->keyring, rd_of(id->key->blob, id->key->blob_len), &unused);
    if (err == 0 && unused.id != NULL)
        hotplug_wipe_added(a->hotplug, unused.token, unused.id);
    if (id->provided)
        hotplug_providers_reap(a->hotplug);
    orphan_clear(&unused);
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
