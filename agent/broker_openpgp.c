/* The broker's OpenPGP side: data signatures over whole objects, and the certificate that others
 * verify them with. */
#include "agent/operation.h"
#include "agent/policy_watch.h"
#include "agent/signing_key.h"
#include "proto/git_object.h"
#include "proto/openpgp.h"

#include <string.h>

/* RFC 4880 5.2.3.21 */
#define FLAGS_PRIMARY (0x01 | 0x02) /* certify, sign */
#define FLAGS_ENCRYPT (0x04 | 0x08)
#define FLAGS_AUTH    0x20

#define MAX_UID 200

/* --- one signature ---------------------------------------------------------------------------------------------------------- */

static gpg_error_t load_policy(struct agent *a, struct policy_set **p, struct openpgp_result *out)
{
    char *problem;

    *p = policy_current(a->policy);
    if (*p != NULL)
        return 0;
    problem = policy_problem(a->policy);
    out->error_text = gpgrt_bsprintf("no valid policy is loaded, so nothing is signed:\n%s",
                                     problem != NULL ? problem : "see the agent's log");
    gpgrt_free(problem);
    return gpg_error(GPG_ERR_BAD_DATA);
}

/* The key that NAME means, and the policy that judges its use: the one in force when the key was found, for its token may
 * have been waited for. NO_KEY: what a key without OpenPGP form cannot do. */
static gpg_error_t find_key(struct operation *op, const char *name, const char *no_key,
                            const struct keyring_snapshot **snap, struct policy_set **policy,
                            struct openpgp_result *out)
{
    struct policy_set *early = NULL;
    gpg_error_t err = load_policy(op->a, &early, out); /* nobody is to bring a token for nothing */

    policy_unref(early);
    if (err == 0)
        err = signing_key_get(op->a, op->from, name, snap, &op->id, &out->error_text);
    if (err == 0)
        err = load_policy(op->a, policy, out);
    if (err == 0 && !op->id->has_openpgp) {
        out->error_text =
            gpgrt_bsprintf("the token has no creation time for this key, so %s", no_key);
        err = gpg_error(GPG_ERR_NO_OBJ);
    }
    op->policy = *policy;
    return err;
}

/* Has the finished SIG signed by OP's key and appends the packet to B. */
static gpg_error_t sign_packet(struct operation *op, struct openpgp_sig *sig, struct buf *b,
                               char **error_text)
{
    gpg_error_t err = openpgp_sig_digest(sig, &op->tosign);

    if (err == 0)
        err = broker_operate(op);
    if (err == 0)
        err = openpgp_sig_finish(sig, op->sig, b);
    gcry_sexp_release(op->sig);
    op->sig = NULL;
    if (err != 0 && *error_text == NULL)
        *error_text = op->error_text;
    else
        gpgrt_free(op->error_text);
    op->error_text = NULL;
    return err;
}

/* What the person and the audit log get to see of the object. */
static void describe_object(const struct git_object *g, size_t size, struct operation *op,
                            struct buf *what, json_t *detail)
{
    static const struct {
        const char *use, *text, *label;
    } kinds[] = {
        [GIT_OTHER] = {"openpgp-sign", "make an OpenPGP signature", NULL},
        [GIT_COMMIT] = {"git-commit", "sign a git commit", "Commit:"},
        [GIT_TAG] = {"git-tag", "sign a git tag", "Tag:"},
    };

    op->use = kinds[g->kind].use;
    op->use_text = kinds[g->kind].text;
    json_object_set_new(detail, "bytes", json_integer((json_int_t)size));
    if (g->kind == GIT_OTHER) {
        buf_printf(what, "Data:    %zu bytes\n", size);
        return;
    }
    if (g->kind == GIT_TAG && g->tag != NULL)
        buf_printf(what, "Name:    %s\n", g->tag);
    buf_printf(what, "%-9s%s\nAuthor:  %s\n", kinds[g->kind].label,
               g->subject != NULL ? g->subject : "", g->author != NULL ? g->author : "");
    json_object_set_new(detail, "subject", json_string(g->subject != NULL ? g->subject : ""));
    json_object_set_new(detail, "author", json_string(g->author != NULL ? g->author : ""));
    if (g->tree != NULL)
        json_object_set_new(detail, g->kind == GIT_TAG ? "object" : "tree", json_string(g->tree));
    if (g->parent != NULL)
        json_object_set_new(detail, "parent", json_string(g->parent));
    if (g->tag != NULL)
        json_object_set_new(detail, "tag", json_string(g->tag));
}

gpg_error_t broker_sign_openpgp(struct agent *a, const struct origin *from, const char *key,
                                struct rd object, bool text, struct openpgp_result *out)
{
    const struct keyring_snapshot *snap = NULL;
    struct policy_set *policy = NULL;
    struct openpgp_sig *sig = NULL;
    struct git_object git = {0};
    struct buf what = BUF_INIT;
    json_t *detail = json_object();
    struct operation op = {.a = a, .from = from, .verb = TOKEN_SIGN, .detail = detail};
    int hash;
    gpg_error_t err;

    err = find_key(&op, key, "its OpenPGP fingerprint is not known", &snap, &policy, out);
    if (err != 0)
        goto out;
    (void)git_object_parse(object, &git); /* whatever is no git object is just data */
    describe_object(&git, object.n, &op, &what, detail);
    op.what = buf_cstr(&what);

    hash = openpgp_choose_hash(op.id->key);
    out->created = (uint32_t)time(NULL);
    err =
        openpgp_sig_new(op.id->key, op.id->openpgp_fpr,
                        text ? OPENPGP_SIG_TEXT : OPENPGP_SIG_BINARY, hash, out->created, 0, &sig);
    if (err != 0)
        goto out;
    if (text)
        openpgp_sig_update_text(sig, object);
    else
        openpgp_sig_update(sig, object);
    err = sign_packet(&op, sig, &out->packet, &out->error_text);
    if (err != 0)
        goto out;
    memcpy(out->fpr, op.id->openpgp_fpr, sizeof out->fpr);
    out->pubkey_algo = openpgp_pubkey_algo(op.id->key);
    out->hash_algo = openpgp_hash_algo(hash);
    err = buf_err(&out->packet);
out:
    openpgp_sig_free(sig);
    git_object_clear(&git);
    buf_free(&what);
    json_decref(detail);
    policy_unref(policy);
    keyring_put(snap);
    return err;
}

/* --- the certificate -------------------------------------------------------------------------------------------------------- */

static bool same_token(const struct identity *a, const struct identity *b)
{
    for (size_t i = 0; i < a->nholders; i++)
        for (size_t j = 0; j < b->nholders; j++)
            if (a->holders[i].token == b->holders[j].token)
                return true;
    return false;
}

/* A certificate in the making: each signature of it is an operation, with a dialog and a record of its own. */
struct key_block {
    struct operation op;
    const char *uid; /* cleaned */
    uint32_t now;
    struct openpgp_result *out;
};

/* Has SIG, which hashed all it is about, signed. SUB: the subkey that it binds, NULL: the user id. */
static gpg_error_t sign_part(struct key_block *c, struct openpgp_sig *sig,
                             const struct identity *sub)
{
    char *fpr = sub != NULL ? hex_encode(sub->openpgp_fpr, sizeof sub->openpgp_fpr) : NULL;
    struct buf what = BUF_INIT;
    json_t *detail = json_object();
    gpg_error_t err;

    buf_printf(&what, "User id: %s\n", c->uid);
    json_object_set_new(detail, "certificate", json_string(c->uid));
    if (fpr != NULL) {
        buf_printf(&what, "Subkey:  for %s, %s\n", sub->can_encrypt ? "decryption" : "logins", fpr);
        json_object_set_new(detail, "subkey", json_string(fpr));
    }
    c->op.what = buf_cstr(&what);
    c->op.detail = detail;
    err = c->op.what != NULL ? sign_packet(&c->op, sig, &c->out->packet, &c->out->error_text)
                             : buf_err(&what);
    c->op.what = NULL;
    c->op.detail = NULL;
    json_decref(detail);
    buf_free(&what);
    gpgrt_free(fpr);
    return err;
}

static gpg_error_t certify_userid(struct key_block *c, const char *uid)
{
    const struct identity *id = c->op.id;
    struct openpgp_sig *sig = NULL;
    gpg_error_t err;

    err = openpgp_put_pubkey(&c->out->packet, id->key, id->created, false);
    if (err == 0)
        err = openpgp_put_userid(&c->out->packet, uid);
    if (err == 0)
        err = openpgp_sig_new(id->key, id->openpgp_fpr, OPENPGP_SIG_CERT,
                              openpgp_choose_hash(id->key), c->now, FLAGS_PRIMARY, &sig);
    if (err == 0)
        err = openpgp_sig_update_key(sig, id->key, id->created);
    if (err == 0) {
        openpgp_sig_update_userid(sig, uid);
        err = sign_part(c, sig, NULL);
    }
    openpgp_sig_free(sig);
    return err;
}

static gpg_error_t bind_subkey(struct key_block *c, const struct identity *sub)
{
    const struct identity *id = c->op.id;
    struct openpgp_sig *sig = NULL;
    gpg_error_t err;

    err = openpgp_put_pubkey(&c->out->packet, sub->key, sub->created, true);
    if (err == 0)
        err = openpgp_sig_new(id->key, id->openpgp_fpr, OPENPGP_SIG_SUBKEY,
                              openpgp_choose_hash(id->key), c->now,
                              sub->can_encrypt ? FLAGS_ENCRYPT : FLAGS_AUTH, &sig);
    if (err == 0)
        err = openpgp_sig_update_key(sig, id->key, id->created);
    if (err == 0)
        err = openpgp_sig_update_key(sig, sub->key, sub->created);
    if (err == 0)
        err = sign_part(c, sig, sub);
    openpgp_sig_free(sig);
    return err;
}

/* A wallet has many certificates' keys: those belong together that follow from the same identity. */
static bool same_identity(const struct identity *a, const struct identity *b)
{
    if (a->wallet == NULL || b->wallet == NULL)
        return a->wallet == b->wallet;
    return strcmp(a->wallet, b->wallet) == 0;
}

static bool is_subkey_of(const struct identity *sub, const struct identity *primary)
{
    return sub != primary && sub->has_openpgp && sub->key->cert == NULL &&
           (sub->can_encrypt || sub->can_auth) && same_identity(sub, primary) &&
           (sub->wallet != NULL || same_token(sub, primary)) && !key_same(sub->key, primary->key);
}

gpg_error_t broker_openpgp_certificate(struct agent *a, const struct origin *from, const char *key,
                                       const char *uid, struct openpgp_result *out)
{
    const struct keyring_snapshot *snap = NULL;
    struct policy_set *policy = NULL;
    struct key_block c = {.op = {.a = a,
                                 .from = from,
                                 .verb = TOKEN_SIGN,
                                 .use = "openpgp-sign",
                                 .use_text = "make an OpenPGP certificate"},
                          .now = (uint32_t)time(NULL),
                          .out = out};
    char *clean = text_clean(uid, strlen(uid), MAX_UID);
    gpg_error_t err;

    c.uid = clean;
    if (clean == NULL || clean[0] == '\0' || strcmp(clean, uid) != 0) {
        out->error_text =
            gpgrt_bsprintf("a user id is one line of UTF-8 text of at most %d characters, e.g. "
                           "'Name <mail>'",
                           MAX_UID);
        err = gpg_error(GPG_ERR_INV_USER_ID);
        goto out;
    }
    err = find_key(&c.op, key, "it cannot be an OpenPGP key", &snap, &policy, out);
    if (err == 0)
        err = certify_userid(&c, uid);
    for (size_t i = 0; err == 0 && i < snap->n; i++)
        if (is_subkey_of(snap->ids[i], c.op.id))
            err = bind_subkey(&c, snap->ids[i]);
    if (err == 0)
        err = buf_err(&out->packet);
    if (err == 0)
        memcpy(out->fpr, c.op.id->openpgp_fpr, sizeof out->fpr);
out:
    gpgrt_free(clean);
    policy_unref(policy);
    keyring_put(snap);
    return err;
}
