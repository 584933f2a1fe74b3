/* The broker's gpg side: operations that come in a token's own terms. */
#include "agent/operation.h"

#include "agent/policy_watch.h"

#include <string.h>

void token_request_clear(struct token_request *r)
{
    gcry_sexp_release(r->sig);
    r->sig = NULL;
    buf_free(&r->result);
    buf_free(&r->lines);
    gpgrt_free(r->error_text);
    r->error_text = NULL;
}

static void fill(struct operation *op, const struct token_request *r)
{
    op->verb = r->verb;
    op->word = r->word;
    op->args = r->args;
    op->use = r->use;
    op->use_text = r->use_text;
    op->what = r->what;
    op->tosign = r->tosign;
    op->answer = r->answer;
    op->progress = r->progress;
    op->answer_arg = r->answer_arg;
    op->refusal = r->refusal;
    op->public = r->public;
    op->patient = r->patient;
    op->confirm = r->confirm;
    op->typed_confirms = r->typed_confirms;
}

/* Moves the results over, and keeps in both what neither may free twice. */
static void take(struct token_request *r, struct operation *op)
{
    r->sig = op->sig;
    r->result = op->result;
    r->lines = op->lines;
    r->error_text = op->error_text;
    op->sig = NULL;
    op->result = op->lines = BUF_INIT;
    op->error_text = NULL;
}

/* A hash of OpenPGP's is no longer than this; what a login signs is, with its session identifier, user, key. */
#define MAX_DIGEST 64u

/* Could what is to be signed be a login of ssh's? For keys of most kinds nobody knows what a hash is the hash of. An Ed25519 key signs
 * messages: a hash is none that ssh would take, but a message may be. */
static bool could_be_ssh(const struct identity *id, const struct tosign *t)
{
    if (id->family != FAMILY_SSH)
        return false;
    return id->key->algo != KEY_ED25519 || t->data.n > MAX_DIGEST;
}

gpg_error_t broker_request(struct agent *a, const struct origin *from, const struct identity *id,
                           struct token_request *r)
{
    struct policy_set *policy = policy_current(a->policy);
    struct destination dest = {0};
    struct operation op = {.a = a, .from = from, .policy = policy, .id = id, .dest = &dest};
    gpg_error_t err;

    fill(&op, r);
    if (op.verb == TOKEN_SIGN && could_be_ssh(id, &r->tosign)) {
        op.use = "raw";
        op.use_text = "sign a bare hash with a key of ssh's";
    }
    if (policy == NULL)
        err = gpg_error(GPG_ERR_NO_POLICY_MATCH);
    else
        err = destination_find(a, from, NULL, policy, &dest);
    if (err == 0)
        err = broker_operate(&op);
    if (policy == NULL)
        op.error_text = policy_problem(a->policy);
    take(r, &op);
    destination_clear(&dest);
    policy_unref(policy);
    return err;
}

/* The key that T holds as KEY_ID; NULL where there is none, or none that the keyring knows. */
static const struct identity *find_held(const struct keyring_snapshot *snap, const struct token *t,
                                        const char *key_id)
{
    for (size_t i = 0; snap != NULL && key_id != NULL && i < snap->n; i++)
        for (size_t k = 0; k < snap->ids[i]->nholders; k++)
            if (snap->ids[i]->holders[k].token == t &&
                strcmp(snap->ids[i]->holders[k].id, key_id) == 0)
                return snap->ids[i];
    return NULL;
}

/* What dialogs and records call it: the key, else the token. New string. */
static char *about(struct token *t, const struct identity *held)
{
    const struct token_info *info;
    char *text;

    if (held != NULL && held->comment != NULL)
        return gpgrt_strdup(held->comment);
    info = token_info_get(t);
    text = gpgrt_strdup(info == NULL ? "" : info->label != NULL ? info->label : info->name);
    token_info_put(info);
    return text;
}

gpg_error_t broker_request_token(struct agent *a, const struct origin *from, struct token *t,
                                 const char *key_id, struct token_request *r)
{
    const struct keyring_snapshot *snap = keyring_get(a->keyring);
    const struct identity *held = find_held(snap, t, key_id);
    char *comment = about(t, held);
    struct change c = {0};
    gpg_error_t err;

    if (comment == NULL) {
        keyring_put(snap);
        return gpg_error_from_syserror();
    }
    err = change_init(&c, a, from, r->use, t, held != NULL ? held->key : NULL, comment);
    if (err == 0) {
        c.id.has_openpgp = held != NULL && held->has_openpgp;
        if (c.id.has_openpgp)
            memcpy(c.id.openpgp_fpr, held->openpgp_fpr, sizeof c.id.openpgp_fpr);
        c.holder.id = (char *)(uintptr_t)key_id;
        fill(&c.op, r);
        err = broker_operate(&c.op);
        take(r, &c.op);
        c.holder.id = NULL;
    }
    change_clear(&c);
    gpgrt_free(comment);
    keyring_put(snap);
    return err;
}
