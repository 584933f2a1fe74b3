#include "agent/ctl_explain.h"

#include "agent/audit.h"
#include "agent/keyring.h"
#include "agent/operation.h"
#include "agent/policy_watch.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The facts, and everything that they point into. */
struct explain {
    struct policy_facts f;
    struct policy_host dest, *via;
    const char **names, **parents;
    struct policy_token token;
    const struct keyring_snapshot *snap;
    struct facts key_facts;
    json_t *record;
    char *texts[8];
};

static void clear(struct explain *e)
{
    for (size_t i = 0; i < sizeof e->texts / sizeof e->texts[0]; i++)
        gpgrt_free(e->texts[i]);
    for (size_t i = 0; i < e->f.nvia; i++)
        gpgrt_free((void *)(uintptr_t)e->f.via[i].names);
    gpgrt_free(e->via);
    gpgrt_free(e->names);
    gpgrt_free(e->parents);
    facts_clear(&e->key_facts);
    if (e->snap != NULL)
        keyring_put(e->snap);
    json_decref(e->record);
}

/* --- a key by any of its names ------------------------------------------------------------------------------------------- */

static bool names_key(const char *name, const struct policy_facts *f)
{
    char text[256];

    if ((f->key_fpr != NULL && strcmp(f->key_fpr, name) == 0) ||
        (f->key_grip != NULL && strcasecmp(f->key_grip, name) == 0) ||
        (f->key_openpgp != NULL && strcasecmp(f->key_openpgp, name) == 0) ||
        (f->key_comment != NULL && strcmp(f->key_comment, name) == 0))
        return true;
    for (size_t i = 0; i < f->ntokens; i++) {
        snprintf(text, sizeof text, "%s%s%s/%s", f->tokens[i].kind,
                 f->tokens[i].serial != NULL ? "-" : "",
                 f->tokens[i].serial != NULL ? f->tokens[i].serial : "", f->tokens[i].slot);
        if (strcasecmp(text, name) == 0)
            return true;
    }
    return false;
}

static gpg_error_t find_key(struct agent *a, const char *name, struct explain *e)
{
    static const struct origin nobody = {.fd = -1};
    gpg_error_t err = gpg_error(GPG_ERR_NO_PUBKEY);

    e->snap = keyring_get(a->keyring);
    for (size_t i = 0; e->snap != NULL && i < e->snap->n; i++) {
        struct facts f;

        err = facts_make(&nobody, e->snap->ids[i], NULL, &f);
        if (err != 0)
            return err;
        if (names_key(name, &f.f)) {
            e->key_facts = f;
            e->key_facts.f.key_grip = e->key_facts.grip;
            if (f.f.key_openpgp != NULL)
                e->key_facts.f.key_openpgp = e->key_facts.openpgp;
            return 0;
        }
        facts_clear(&f);
        err = gpg_error(GPG_ERR_NO_PUBKEY);
    }
    return err;
}

static void use_key(struct explain *e)
{
    const struct policy_facts *k = &e->key_facts.f;

    e->f.key_fpr = k->key_fpr;
    e->f.key_grip = k->key_grip;
    e->f.key_openpgp = k->key_openpgp;
    e->f.key_b64 = k->key_b64;
    e->f.key_comment = k->key_comment;
    e->f.tokens = k->tokens;
    e->f.ntokens = k->ntokens;
}

/* --- facts from arguments ---------------------------------------------------------------------------------------------------- */

static gpg_error_t from_arguments(struct agent *a, const char *args, struct explain *e)
{
    enum { HOST, USER, KEY, USE, CLIENT };
    static const char *const names[] = {"host", "user", "key", "use", "client"};
    long forwarded = 0, unbound = 0;
    gpg_error_t err = 0;

    for (size_t i = 0; i < sizeof names / sizeof names[0] && err == 0; i++)
        err = field_get(args, names[i], &e->texts[i]);
    if (err != 0 || (err = field_get_int(args, "forwarded", 0, &forwarded)) != 0 ||
        (err = field_get_int(args, "unbound", 0, &unbound)) != 0)
        return err;
    e->f.use = e->texts[USE] != NULL ? e->texts[USE] : "ssh-auth";
    e->f.user = e->texts[USER];
    e->f.client = e->texts[CLIENT];
    e->f.forwarded = forwarded != 0 ? TRI_YES : TRI_NO;
    e->f.via_known = forwarded == 0;
    if (e->texts[HOST] != NULL && unbound == 0) {
        e->names = gpgrt_calloc(2, sizeof *e->names);
        if (e->names == NULL)
            return gpg_error_from_syserror();
        e->names[0] = e->texts[HOST];
        e->dest = (struct policy_host){.names = e->names, .nnames = 1};
        if (strncmp(e->texts[HOST], "SHA256:", 7) == 0)
            e->dest = (struct policy_host){.fpr = e->texts[HOST]};
        e->f.dest = &e->dest;
        e->f.proof = PROOF_HOSTBOUND;
    }
    if (e->texts[KEY] == NULL)
        return 0;
    err = find_key(a, e->texts[KEY], e);
    if (err == 0)
        use_key(e);
    return err;
}

/* --- facts from the last record ------------------------------------------------------------------------------------------------ */

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

static gpg_error_t from_last(struct agent *a, struct explain *e)
{
    const json_t *key, *who, *dest;

    e->record = audit_last(a->audit);
    if (e->record == NULL)
        return gpg_error(GPG_ERR_NO_DATA);
    e->f.use = get(e->record, "use");
    key = json_object_get(e->record, "key");
    if (get(key, "keygrip") != NULL && find_key(a, get(key, "keygrip"), e) == 0) {
        use_key(e);
    } else {
        e->f.key_fpr = get(key, "fingerprint");
        e->f.key_grip = get(key, "keygrip");
        e->f.key_openpgp = get(key, "openpgp");
        e->f.key_comment = get(key, "comment");
    }
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
            e->f.client != NULL ? e->f.client : "an unknown program", get(e->record, "verdict"),
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
        return gpg_error(GPG_ERR_BAD_DATA);
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
