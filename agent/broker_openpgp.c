/* The broker's OpenPGP side: data signatures over whole objects, and the certificate that others
 * verify them with. */
#include "agent/hotplug.h"
#include "agent/operation.h"
#include "agent/policy_watch.h"
#include "agent/prompt.h"
#include "proto/git_object.h"
#include "proto/openpgp.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

/* RFC 4880 5.2.3.21 */
#define FLAGS_PRIMARY (0x01 | 0x02) /* certify, sign */
#define FLAGS_ENCRYPT (0x04 | 0x08)
#define FLAGS_AUTH    0x20

#define SETTLE_MS 3000

/* --- which key
 * ------------------------------------------------------------------------------------------------------
 */

/* A key name as people and git give it, without 0x, blanks and a trailing '!'. */
static char *normal_key(const char *key)
{
    struct buf b = BUF_INIT;

    if (key != NULL && key[0] == '0' && (key[1] == 'x' || key[1] == 'X'))
        key += 2;
    for (const char *p = key; p != NULL && *p != '\0'; p++)
        if (!isspace((unsigned char)*p) && !(*p == '!' && p[1] == '\0'))
            buf_put_u8(&b, (uint8_t)*p);
    return buf_steal_cstr(&b);
}

static bool is_hex(const char *s)
{
    return s[0] != '\0' && s[strspn(s, "0123456789abcdefABCDEF")] == '\0';
}

static bool tail_matches(const uint8_t *id, size_t n, const char *hex)
{
    size_t len = strlen(hex);
    char *full = hex_encode(id, n);
    bool ok = full != NULL && len <= 2 * n && strcasecmp(full + 2 * n - len, hex) == 0;

    gpgrt_free(full);
    return ok;
}

static bool slot_matches(const struct identity *id, const char *key)
{
    bool found = false;

    for (size_t i = 0; i < id->nholders && !found; i++) {
        const struct token_info *info = token_info_get(id->holders[i].token);
        char *name = info != NULL ? gpgrt_bsprintf("%s/%s", info->name, id->holders[i].id) : NULL;

        found = name != NULL && strcasecmp(name, key) == 0;
        gpgrt_free(name);
        if (info != NULL)
            token_info_put(info);
    }
    return found;
}

/* Does KEY (normalised) name this identity? Hex of 8, 16 or 40 digits is an OpenPGP key id or
 * fingerprint (40 also a keygrip). */
static bool key_matches(const struct identity *id, const char *key)
{
    size_t n = strlen(key);

    if (is_hex(key) && (n == 8 || n == 16 || n == 40)) {
        if (id->has_openpgp && tail_matches(id->openpgp_fpr, sizeof id->openpgp_fpr, key))
            return true;
        return n == 40 && tail_matches(id->key->grip, sizeof id->key->grip, key);
    }
    return slot_matches(id, key);
}

static bool is_signing_key(const struct identity *id)
{
    return id->family == FAMILY_GPG && id->can_sign && id->key->cert == NULL;
}

/* The signature key that KEY names. A name or mail address (git's default when user.signingkey is
 * not set) cannot be looked up without a keyring: it means the only signature key there is. */
static gpg_error_t find_signing_key(const struct keyring_snapshot *s, const char *key,
                                    const struct identity **out)
{
    char *name = normal_key(key);
    bool any = name == NULL || name[0] == '\0' || strchr(name, '@') != NULL;
    gpg_error_t err = gpg_error(GPG_ERR_NO_SECKEY);

    for (size_t i = 0; i < s->n; i++) {
        const struct identity *id = s->ids[i];

        if (!is_signing_key(id) || (!any && !key_matches(id, name)))
            continue;
        if (err == 0 && !key_same(id->key, (*out)->key)) {
            err = gpg_error(GPG_ERR_AMBIGUOUS);
            break;
        }
        *out = id;
        err = 0;
    }
    gpgrt_free(name);
    return err;
}

static gpg_error_t missing_key(struct openpgp_result *out, gpg_error_t err, const char *key)
{
    if (gpg_err_code(err) == GPG_ERR_AMBIGUOUS)
        out->error_text =
            gpgrt_bsprintf("%s: several signature keys fit; name one by its fingerprint "
                           "(latchkey keys shows them)",
                           key != NULL && key[0] != '\0' ? key : "no key was named");
    else if (gpg_err_code(err) == GPG_ERR_NO_SECKEY)
        out->error_text = gpgrt_bsprintf("%s: no token that is plugged in holds this signature key "
                                         "(latchkey keys shows those that are there)",
                                         key != NULL && key[0] != '\0' ? key : "signature key");
    return err;
}

/* Waits, with a dialog, until a token with the wanted key comes. */
static gpg_error_t wait_for_key(struct agent *a, const struct origin *from, const char *key,
                                const struct keyring_snapshot **snap, const struct identity **id)
{
    struct prompt_text text = {.title = "latchkey", .cancel = "Cancel"};
    char *who = from->who != NULL ? requester_describe(from->who) : NULL;
    char *name = key != NULL ? text_clean(key, strlen(key), 80) : NULL;
    char *desc =
        gpgrt_bsprintf("Please insert the token that holds the signature key%s%s.\n\nProgram: %s",
                       name != NULL && name[0] != '\0' ? "\n" : "", name != NULL ? name : "",
                       who != NULL ? who : "unknown");
    struct wait w;
    gpg_error_t err;
    int fd = -1;

    text.desc = desc;
    err = desc == NULL ? gpg_error_from_syserror() : wait_begin(a->waits, &w, from->fd, 60);
    if (err != 0)
        goto out;
    w.ignore_lock = true;
    err = hotplug_watch(a->hotplug, &fd);
    while (err == 0) {
        uint64_t n;

        keyring_put(*snap);
        *snap = keyring_get(a->keyring);
        err = *snap != NULL ? find_signing_key(*snap, key, id) : gpg_error(GPG_ERR_NO_SECKEY);
        if (gpg_err_code(err) != GPG_ERR_NO_SECKEY)
            break;
        err = prompt_until(a->prompt, &w, from->who, &text, fd);
        if (err == 0 && read(fd, &n, sizeof n) < 0)
            gpgrt_log_debug("hotplug event descriptor: %s\n",
                            gpg_strerror(gpg_error_from_syserror()));
    }
    if (fd >= 0)
        hotplug_unwatch(a->hotplug, fd);
    wait_end(&w);
out:
    gpgrt_free(who);
    gpgrt_free(name);
    gpgrt_free(desc);
    return err;
}

/* The key, from what is there now or, failing that, from a token that the person inserts when
 * asked. */
static gpg_error_t get_signing_key(struct agent *a, const struct origin *from, const char *key,
                                   const struct keyring_snapshot **snap, const struct identity **id,
                                   struct openpgp_result *out)
{
    gpg_error_t err, asked;

    hotplug_settle_all(a->hotplug, SETTLE_MS); /* a fresh agent has not seen every reader yet */
    *snap = keyring_get(a->keyring);
    err = *snap != NULL ? find_signing_key(*snap, key, id) : gpg_error(GPG_ERR_NO_SECKEY);
    if (gpg_err_code(err) != GPG_ERR_NO_SECKEY || !a->owns_hardware)
        return err != 0 ? missing_key(out, err, key) : 0;
    asked = wait_for_key(a, from, key, snap, id);
    if (asked == 0)
        return 0;
    missing_key(out, err, key);
    switch (gpg_err_code(asked)) {
    case GPG_ERR_NO_PIN_ENTRY: /* nobody could be asked: the key is simply not there */
    case GPG_ERR_TIMEOUT:
        return err;
    default:
        return asked;
    }
}

/* --- one signature
 * --------------------------------------------------------------------------------------------------
 */

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

    if ((err = load_policy(a, &policy, out)) != 0 ||
        (err = get_signing_key(a, from, key, &snap, &op.id, out)) != 0)
        goto out;
    op.policy = policy;
    if (!op.id->has_openpgp) {
        out->error_text = gpgrt_strdup(
            "the token has no creation time for this key, so its OpenPGP fingerprint is not known");
        err = gpg_error(GPG_ERR_NO_OBJ);
        goto out;
    }
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

/* --- the certificate
 * ------------------------------------------------------------------------------------------------
 */

static bool same_token(const struct identity *a, const struct identity *b)
{
    for (size_t i = 0; i < a->nholders; i++)
        for (size_t j = 0; j < b->nholders; j++)
            if (a->holders[i].token == b->holders[j].token)
                return true;
    return false;
}

static gpg_error_t certify_userid(struct operation *op, const char *uid, struct buf *b,
                                  char **error_text)
{
    struct openpgp_sig *sig = NULL;
    gpg_error_t err;

    err = openpgp_sig_new(op->id->key, op->id->openpgp_fpr, OPENPGP_SIG_CERT,
                          openpgp_choose_hash(op->id->key), (uint32_t)time(NULL), FLAGS_PRIMARY,
                          &sig);
    if (err == 0)
        err = openpgp_sig_update_key(sig, op->id->key, op->id->created);
    if (err == 0) {
        openpgp_sig_update_userid(sig, uid);
        err = sign_packet(op, sig, b, error_text);
    }
    openpgp_sig_free(sig);
    return err;
}

static gpg_error_t bind_subkey(struct operation *op, const struct identity *sub, struct buf *b,
                               char **error_text)
{
    struct openpgp_sig *sig = NULL;
    gpg_error_t err;

    err = openpgp_put_pubkey(b, sub->key, sub->created, true);
    if (err == 0)
        err = openpgp_sig_new(op->id->key, op->id->openpgp_fpr, OPENPGP_SIG_SUBKEY,
                              openpgp_choose_hash(op->id->key), (uint32_t)time(NULL),
                              sub->can_encrypt ? FLAGS_ENCRYPT : FLAGS_AUTH, &sig);
    if (err == 0)
        err = openpgp_sig_update_key(sig, op->id->key, op->id->created);
    if (err == 0)
        err = openpgp_sig_update_key(sig, sub->key, sub->created);
    if (err == 0)
        err = sign_packet(op, sig, b, error_text);
    openpgp_sig_free(sig);
    return err;
}

gpg_error_t broker_openpgp_certificate(struct agent *a, const struct origin *from, const char *key,
                                       const char *uid, struct openpgp_result *out)
{
    const struct keyring_snapshot *snap = NULL;
    struct policy_set *policy = NULL;
    struct operation op = {.a = a,
                           .from = from,
                           .verb = TOKEN_SIGN,
                           .use = "openpgp-sign",
                           .use_text = "make an OpenPGP certificate"};
    struct buf what = BUF_INIT;
    char *clean = text_clean(uid, strlen(uid), 200);
    gpg_error_t err;

    if (clean == NULL || clean[0] == '\0' || strcmp(clean, uid) != 0) {
        out->error_text =
            gpgrt_strdup("the user id must be one line of UTF-8 text, e.g. 'Name <mail>'");
        err = gpg_error(GPG_ERR_INV_USER_ID);
        goto out;
    }
    if ((err = load_policy(a, &policy, out)) != 0 ||
        (err = get_signing_key(a, from, key, &snap, &op.id, out)) != 0)
        goto out;
    op.policy = policy;
    if (!op.id->has_openpgp) {
        out->error_text = gpgrt_strdup(
            "the token has no creation time for this key, so it cannot be an OpenPGP key");
        err = gpg_error(GPG_ERR_NO_OBJ);
        goto out;
    }
    buf_printf(&what, "User id: %s\n", clean);
    op.what = buf_cstr(&what);

    err = openpgp_put_pubkey(&out->packet, op.id->key, op.id->created, false);
    if (err == 0)
        err = openpgp_put_userid(&out->packet, uid);
    if (err == 0)
        err = certify_userid(&op, uid, &out->packet, &out->error_text);
    for (size_t i = 0; err == 0 && i < snap->n; i++) {
        const struct identity *sub = snap->ids[i];

        if (sub != op.id && sub->has_openpgp && sub->key->cert == NULL &&
            (sub->can_encrypt || sub->can_auth) && same_token(sub, op.id) &&
            !key_same(sub->key, op.id->key))
            err = bind_subkey(&op, sub, &out->packet, &out->error_text);
    }
    if (err == 0)
        err = buf_err(&out->packet);
    memcpy(out->fpr, op.id->openpgp_fpr, sizeof out->fpr);
out:
    buf_free(&what);
    gpgrt_free(clean);
    policy_unref(policy);
    keyring_put(snap);
    return err;
}
