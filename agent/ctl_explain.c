#include "agent/ctl_explain.h"

#include "agent/audit.h"
#include "agent/explain_facts.h"
#include "agent/keyring.h"
#include "agent/operation.h"
#include "agent/policy_watch.h"
#include "agent/token_lines.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The facts, and everything that they point into. */
struct explain {
    struct explain_facts told;
    struct policy_facts f;
    struct policy_host dest, *via;
    const char **names, **parents;
    const struct keyring_snapshot *snap;
    struct facts key_facts;
    struct policy_token token;
    char *token_name;
    json_t *record;
};

static void clear(struct explain *e)
{
    explain_facts_clear(&e->told);
    for (size_t i = 0; i < e->f.nvia; i++)
        gpgrt_free((void *)(uintptr_t)e->via[i].names);
    gpgrt_free(e->via);
    gpgrt_free(e->names);
    gpgrt_free(e->parents);
    gpgrt_free(e->token_name);
    facts_clear(&e->key_facts);
    if (e->snap != NULL)
        keyring_put(e->snap);
    json_decref(e->record);
}

/* --- a key by any of its names -------------------------------------------------------------------
 */

/* A fingerprint, or the key id that is its end. */
static bool names_openpgp(const char *name, const char *fpr)
{
    size_t n;

    if (name[0] == '0' && (name[1] == 'x' || name[1] == 'X'))
        name += 2;
    n = strlen(name);
    return (n == 40 || n == 16) && strcasecmp(name, fpr + (40 - n)) == 0;
}

static bool names_slot(const char *name, const struct facts *f, const struct identity *id)
{
    const char *slash = strrchr(name, '/');

    if (slash == NULL)
        return false;
    for (size_t i = 0; i < f->ntokens && i < id->nholders; i++) {
        const char *token = f->infos[i]->name;

        if (strlen(token) == (size_t)(slash - name) &&
            strncasecmp(token, name, strlen(token)) == 0 &&
            strcasecmp(slot_name(f->tokens[i].slot), slot_name(slash + 1)) == 0)
            return true;
    }
    return false;
}

static bool names_key(const char *name, const struct facts *f, const struct identity *id)
{
    return (f->f.key_fpr != NULL && strcmp(f->f.key_fpr, name) == 0) ||
           strcasecmp(f->grip, name) == 0 ||
           (f->f.key_openpgp != NULL && names_openpgp(name, f->f.key_openpgp)) ||
           (f->f.key_comment != NULL && strcmp(f->f.key_comment, name) == 0) ||
           names_slot(name, f, id);
}

static void use_key(struct explain *e, const struct policy_facts *k)
{
    e->f.key_fpr = k->key_fpr;
    e->f.key_grip = k->key_grip;
    e->f.key_openpgp = k->key_openpgp;
    e->f.key_b64 = k->key_b64;
    e->f.key_comment = k->key_comment;
    e->f.tokens = k->tokens;
    e->f.ntokens = k->ntokens;
}

/* The facts of the key called NAME. A key and its certificate are one here; two keys of one name
 * are not. */
static gpg_error_t find_key(struct agent *a, const char *name, struct explain *e)
{
    static const struct origin nobody = {.fd = -1};
    const struct identity *found = NULL;

    e->snap = keyring_get(a->keyring);
    for (size_t i = 0; e->snap != NULL && i < e->snap->n; i++) {
        const struct identity *id = e->snap->ids[i];
        struct facts f;
        gpg_error_t err = facts_make(&nobody, id, NULL, &f);
        bool named;

        if (err != 0)
            return err;
        named = names_key(name, &f, id);
        facts_clear(&f);
        if (!named)
            continue;
        if (found != NULL && !key_same(found->key, id->key))
            return gpg_error(GPG_ERR_AMBIGUOUS_NAME);
        if (found == NULL)
            found = id;
    }
    if (found == NULL)
        return gpg_error(GPG_ERR_NO_PUBKEY);
    return facts_make(&nobody, found, NULL, &e->key_facts);
}

/* --- facts from arguments ------------------------------------------------------------------------
 */

static gpg_error_t from_arguments(struct agent *a, const char *args, struct explain *e)
{
    gpg_error_t err = explain_facts_parse(args, &e->told);

    if (err != 0)
        return err;
    e->f = e->told.f;
    if (e->told.key == NULL)
        return 0;
    err = find_key(a, e->told.key, e);
    if (err == 0)
        use_key(e, &e->key_facts.f);
    return err;
}

/* --- facts from the last record ------------------------------------------------------------------
 */

static const char *get(const json_t *j, const char *name)
{
    return json_string_value(json_object_get(j, name));
}

static const char **strings(const json_t *array, size_t *n)
{
    const char **list = gpgrt_calloc(json_array_size(array) + 1, sizeof *list);

    *n = 0;
    for (size_t i = 0; list != NULL && i < json_array_size(array); i++) {
        const char *s = json_string_value(json_array_get(array, i));

        if (s != NULL)
            list[(*n)++] = s;
    }
    return list;
}

static enum policy_proof proof_of(const char *s)
{
    if (s != NULL && strcmp(s, "hostbound") == 0)
        return PROOF_HOSTBOUND;
    return s != NULL && strcmp(s, "bound") == 0 ? PROOF_BOUND : PROOF_NONE;
}

static gpg_error_t destination_from_record(const json_t *d, struct explain *e)
{
    const json_t *via = json_object_get(d, "via"), *forwarded = json_object_get(d, "forwarded");

    e->f.proof = proof_of(get(d, "proof"));
    e->f.user = get(d, "user");
    e->f.forwarded = forwarded == NULL ? TRI_UNKNOWN : json_is_true(forwarded) ? TRI_YES : TRI_NO;
    e->f.via_known = e->f.forwarded != TRI_UNKNOWN;
    if (get(d, "key") != NULL) {
        e->names = strings(json_object_get(d, "names"), &e->dest.nnames);
        if (e->names == NULL)
            return gpg_error_from_syserror();
        e->dest.names = e->names;
        e->dest.fpr = get(d, "key");
        e->f.dest = &e->dest;
    }
    e->via = gpgrt_calloc(json_array_size(via) + 1, sizeof *e->via);
    if (e->via == NULL)
        return gpg_error_from_syserror();
    e->f.via = e->via;
    for (size_t i = 0; i < json_array_size(via); i++) {
        const json_t *hop = json_array_get(via, i);
        struct policy_host *h = &e->via[e->f.nvia];

        h->fpr = get(hop, "key");
        h->names = strings(json_object_get(hop, "names"), &h->nnames);
        if (h->names == NULL)
            return gpg_error_from_syserror();
        e->f.nvia++;
    }
    return 0;
}

/* What the record says about a key that is not there any more. */
static gpg_error_t key_from_record(struct explain *e)
{
    const json_t *key = json_object_get(e->record, "key");
    const char *token = get(e->record, "token");
    char *dash;

    e->f.key_fpr = get(key, "fingerprint");
    e->f.key_grip = get(key, "keygrip");
    e->f.key_openpgp = get(key, "openpgp");
    e->f.key_comment = get(key, "comment");
    if (token == NULL)
        return 0;
    e->token_name = gpgrt_strdup(token);
    if (e->token_name == NULL)
        return gpg_error_from_syserror();
    dash = strchr(e->token_name, '-');
    if (dash != NULL)
        *dash = '\0';
    e->token = (struct policy_token){.kind = e->token_name,
                                     .serial = dash != NULL ? dash + 1 : NULL,
                                     .soft = json_is_true(json_object_get(e->record, "soft"))};
    e->f.tokens = &e->token;
    e->f.ntokens = 1;
    return 0;
}

/* When it was asked, for Match hours. Records carry local time and its zone. */
static time_t time_of(const json_t *record)
{
    const char *text = get(record, "time");
    struct tm tm = {.tm_isdst = -1};
    time_t t;

    if (text == NULL || strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) == NULL)
        return time(NULL);
    t = mktime(&tm);
    return t != (time_t)-1 ? t : time(NULL);
}

static gpg_error_t from_last(struct agent *a, struct explain *e)
{
    const char *grip;
    const json_t *who, *dest;
    gpg_error_t err;

    e->record = audit_last(a->audit);
    if (e->record == NULL)
        return gpg_error(GPG_ERR_NO_DATA);
    e->f.now = time_of(e->record);
    e->f.use = get(e->record, "use");
    grip = get(json_object_get(e->record, "key"), "keygrip");
    if (grip != NULL && find_key(a, grip, e) == 0)
        use_key(e, &e->key_facts.f);
    else if ((err = key_from_record(e)) != 0)
        return err;
    who = json_object_get(e->record, "requester");
    e->f.client = get(who, "exe");
    e->f.unit = get(who, "unit");
    if (json_object_get(who, "parents") != NULL) {
        e->parents = strings(json_object_get(who, "parents"), &e->f.nparents);
        e->f.parents = e->parents;
    }
    dest = json_object_get(e->record, "destination");
    if (dest == NULL) {
        e->f.forwarded = TRI_NO;
        e->f.via_known = true;
        return 0;
    }
    return destination_from_record(dest, e);
}

static void put_heading(FILE *f, const struct explain *e)
{
    const char *reason = e->record != NULL ? get(e->record, "reason") : NULL;

    if (e->record == NULL)
        return;
    fprintf(f, "Last request: %s by %s, %s%s%s%s\n\n", e->f.use != NULL ? e->f.use : "?",
            e->f.client != NULL ? e->f.client : "an unknown program",
            get(e->record, "verdict") != NULL ? get(e->record, "verdict") : "?",
            reason != NULL ? " (" : "", reason != NULL ? reason : "", reason != NULL ? ")" : "");
}

gpg_error_t ctl_explain(struct agent *a, const char *args, struct buf *out)
{
    struct explain e = {.f = {.now = time(NULL), .forwarded = TRI_UNKNOWN}};
    struct policy_set *p = policy_current(a->policy);
    char *text = NULL;
    size_t len = 0;
    long last = 0;
    FILE *f;
    gpg_error_t err;

    if (p == NULL)
        return gpg_error(GPG_ERR_NO_POLICY_MATCH);
    err = field_get_int(args, "last", 0, &last);
    if (err == 0)
        err = last != 0 ? from_last(a, &e) : from_arguments(a, args, &e);
    if (err != 0)
        goto out;
    f = open_memstream(&text, &len);
    if (f == NULL) {
        err = gpg_error_from_syserror();
        goto out;
    }
    put_heading(f, &e);
    policy_explain(p, &e.f, f);
    fclose(f);
    buf_put(out, text, len);
    free(text);
    err = buf_err(out);
out:
    clear(&e);
    policy_unref(p);
    return err;
}
