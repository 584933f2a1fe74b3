/* The broker's PKCS#11 side: ssh-add -s and -e. What is added is a process of its own with all the keys of its module;
 * adding it is judged before the module is loaded, and each of its keys before it is served. */
#include "agent/operation.h"

#include "agent/hotplug.h"
#include "agent/limits.h"
#include "agent/provider_path.h"
#include "agent/token_lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- what it shows -------------------------------------------------------------------------------- */

/* The keys of a provider, and the identities that are made of them. */
struct offer {
    struct key_line *lines;
    size_t nlines;
    struct provided_key *keys;
    size_t nkeys;
};

static void offer_clear(struct offer *o)
{
    for (size_t i = 0; i < o->nlines; i++)
        key_line_clear(&o->lines[i]);
    gpgrt_free(o->lines);
    gpgrt_free(o->keys);
    *o = (struct offer){0};
}

static gpg_error_t read_lines(const struct token_info *info, struct offer *o)
{
    size_t n = 0;

    while (info->key_lines[n] != NULL)
        n++;
    o->lines = gpgrt_calloc(n + 1, sizeof *o->lines);
    if (o->lines == NULL)
        return gpg_error_from_syserror();
    for (size_t i = 0; i < n; i++) {
        gpg_error_t err = key_line_parse(info->key_lines[i], info, &o->lines[o->nlines]);

        if (err != 0)
            gpgrt_log_info("%s: a key is left out: %s\n", info->name, gpg_strerror(err));
        else if (o->lines[o->nlines].id.key->blob == NULL)
            key_line_clear(&o->lines[o->nlines]);
        else
            o->nlines++;
    }
    return 0;
}

/* As with ssh-agent: a certificate before the plain key that it is for. */
static gpg_error_t make_keys(struct offer *o, const struct key_constraints *c)
{
    o->keys = gpgrt_calloc(o->nlines * (c->ncerts + 1) + 1, sizeof *o->keys);
    if (o->keys == NULL)
        return gpg_error_from_syserror();
    for (size_t i = 0; i < o->nlines; i++) {
        const struct key_line *line = &o->lines[i];

        for (size_t j = 0; j < c->ncerts; j++)
            if (key_same(c->certs[j], line->id.key))
                o->keys[o->nkeys++] = (struct provided_key){
                    .key = c->certs[j], .holder = &line->holder, .comment = line->id.comment};
        if (!c->certs_only)
            o->keys[o->nkeys++] = (struct provided_key){
                .key = line->id.key, .holder = &line->holder, .comment = line->id.comment};
    }
    return 0;
}

/* --- what the policy says of each key --------------------------------------------------------------- */

static gpg_error_t judge(struct change *c, struct key *key, char *comment, struct policy_verdict *v)
{
    const struct identity id = {
        .key = key, .comment = comment, .holders = &c->holder, .nholders = 1};
    struct facts facts;
    gpg_error_t err = facts_make(c->op.from, &id, &c->dest, &facts);

    if (err != 0)
        return err;
    facts.f.use = c->op.use;
    policy_evaluate(c->policy, &facts.f, v);
    facts_clear(&facts);
    return 0;
}

/* The provider as a whole was judged, and the person asked where that was due. A key for which more is demanded goes the
 * whole way by itself. */
static gpg_error_t judge_key(struct change *whole, struct key *key, char *comment)
{
    struct policy_verdict all, one;
    struct change c;
    gpg_error_t err;

    err = judge(whole, NULL, NULL, &all);
    if (err == 0)
        err = judge(whole, key, comment, &one);
    if (err != 0 || (one.allow && one.confirm <= all.confirm && one.touch <= all.touch))
        return err;
    err = change_init(&c, whole->op.a, whole->op.from, whole->op.use, whole->holder.token, key,
                      comment);
    if (err == 0) {
        c.op.judge_only = true;
        err = broker_operate(&c.op);
    }
    change_clear(&c);
    return err;
}

static void drop_refused(struct change *whole, struct offer *o)
{
    size_t kept = 0;

    for (size_t i = 0; i < o->nlines; i++) {
        struct key_line *line = &o->lines[i];

        if (judge_key(whole, line->id.key, line->id.comment) != 0)
            key_line_clear(line);
        else if (kept++ != i) {
            o->lines[kept - 1] = *line;
            *line = (struct key_line){0};
        }
    }
    o->nlines = kept;
}

/* --- adding ----------------------------------------------------------------------------------------- */

/* A provider is code that the other end of the channel would choose. As ssh-agent has it, a connection counts as remote as
 * soon as anybody tried to bind it. */
static gpg_error_t check_origin(const struct agent *a, const struct origin *from,
                                const char *provider)
{
    bool remote = from->bind_attempted || from->extra_socket;

    if (!remote || a->remote_providers)
        return 0;
    gpgrt_log_error("ssh-add -s %s: refused: the request comes over a connection to another host "
                    "(-O allow-remote-pkcs11 would allow it)\n",
                    provider);
    return gpg_error(GPG_ERR_FORBIDDEN);
}

static gpg_error_t resolve(const struct agent *a, const char *provider, char **path)
{
    gpg_error_t err = provider_resolve(a->provider_patterns, provider, path);

    if (gpg_err_code(err) == GPG_ERR_FORBIDDEN)
        gpgrt_log_error("ssh-add -s %s: refused: where it really is, is not among the paths "
                        "allowed by -P (%s)\n",
                        provider,
                        a->provider_patterns != NULL ? a->provider_patterns : PROVIDER_PATTERNS);
    else if (err != 0)
        gpgrt_log_error("ssh-add -s %s: %s\n", provider, gpg_strerror(err));
    return err;
}

static gpg_error_t serve(struct change *whole, struct token *t, struct key_constraints *c)
{
    struct agent *a = whole->op.a;
    uint32_t life = c->lifetime != 0 ? c->lifetime : a->default_life;
    const struct token_info *info = NULL;
    struct key_constraints terms = *c;
    struct offer offer = {0};
    gpg_error_t err;

    /* The certificates are no terms, and have been read when the keys are made. */
    terms.certs = NULL;
    terms.ncerts = 0;
    err = token_learn(t, LEARN_REFRESH);
    info = err == 0 ? token_info_get(t) : NULL;
    if (info == NULL)
        goto out;
    err = read_lines(info, &offer);
    if (err != 0)
        goto out;
    drop_refused(whole, &offer);
    err = make_keys(&offer, c);
    if (err == 0 && offer.nkeys == 0)
        err = gpg_error(GPG_ERR_NOT_FOUND);
    if (err != 0)
        goto out;
    /* From here on the terms belong to the keyring, or to nobody. */
    c->dest = NULL;
    c->ndest = 0;
    c->sk_provider = NULL;
    err = hotplug_provider_serve(a->hotplug, t, offer.keys, offer.nkeys, &terms,
                                 (int64_t)life * 1000);
    constraints_free(&terms);
    if (gpg_err_code(err) == GPG_ERR_TOO_MANY)
        limits_reached(a->limits, LIMIT_KEYS);
    if (err == 0)
        gpgrt_log_info("%s: serves %s\n", info->name, whole->id.comment);
out:
    token_info_put(info);
    offer_clear(&offer);
    return err;
}

gpg_error_t broker_add_provider(struct agent *a, const struct origin *from, const char *provider,
                                struct rd pin, struct key_constraints *c)
{
    struct token *t = NULL;
    struct change whole = {0};
    char *path = NULL;
    gpg_error_t err;

    if ((err = check_origin(a, from, provider)) != 0 || (err = resolve(a, provider, &path)) != 0)
        goto out;
    err = hotplug_provider_start(a->hotplug, path, &t);
    /* What it is, for the policy; nothing is loaded yet. */
    if (err == 0)
        err = token_learn(t, LEARN_ALL);
    if (err == 0)
        err = change_init(&whole, a, from, "import", t, NULL, path);
    if (err == 0) {
        whole.op.verb = TOKEN_LOAD;
        whole.op.use_text = "add a PKCS#11 provider";
        whole.op.tosign.data = pin;
        err = broker_operate(&whole.op);
    }
    if (err == 0)
        err = serve(&whole, t, c);
    if (err != 0)
        gpgrt_log_error("ssh-add -s %s: %s\n", path,
                        whole.op.error_text != NULL           ? whole.op.error_text
                        : gpg_err_code(err) == GPG_ERR_EEXIST ? "served already"
                                                              : gpg_strerror(err));
    if (err != 0 && t != NULL)
        hotplug_provider_end(a->hotplug, t);
out:
    change_clear(&whole);
    token_unref(t);
    gpgrt_free(path);
    return err;
}

/* --- removing --------------------------------------------------------------------------------------- */

/* All or nothing: a key that the policy keeps keeps its provider. */
static gpg_error_t judge_all(struct change *whole)
{
    const struct keyring_snapshot *snap = keyring_get(whole->op.a->keyring);
    gpg_error_t err = 0;

    for (size_t i = 0; err == 0 && snap != NULL && i < snap->n; i++) {
        const struct identity *id = snap->ids[i];

        if (id->provided && id->holders[id->nholders - 1].token == whole->holder.token)
            err = judge_key(whole, id->key, id->comment);
    }
    keyring_put(snap);
    return err;
}

gpg_error_t broker_remove_provider(struct agent *a, const struct origin *from, const char *provider)
{
    /* A module that is not there any more can still be removed. */
    char *real = realpath(provider, NULL), *path = gpgrt_strdup(real != NULL ? real : provider);
    struct token *t = path != NULL ? hotplug_provider(a->hotplug, path) : NULL;
    struct change whole = {0};
    gpg_error_t err = gpg_error(GPG_ERR_NOT_FOUND);

    if (t == NULL)
        goto out;
    err = change_init(&whole, a, from, "delete", t, NULL, path);
    if (err == 0) {
        whole.op.judge_only = true;
        whole.op.use_text = "remove a PKCS#11 provider";
        err = broker_operate(&whole.op);
    }
    if (err == 0)
        err = judge_all(&whole);
    if (err == 0)
        hotplug_provider_end(a->hotplug, t);
out:
    change_clear(&whole);
    token_unref(t);
    gpgrt_free(path);
    free(real);
    return err;
}

/* --- processes that died ------------------------------------------------------------------------------ */

bool broker_revive(struct agent *a, const struct identity *id)
{
    bool any = false;

    if (!id->provided)
        return false;
    for (size_t i = 0; i < id->nholders; i++)
        if (token_gone(id->holders[i].token) &&
            hotplug_provider_revive(a->hotplug, id->holders[i].token) == 0)
            any = true;
    return any;
}
