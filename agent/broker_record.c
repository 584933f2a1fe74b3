/* What an operation looks like to people: the audit record and the text of dialogs. */
#include "agent/operation.h"

#include "agent/audit.h"
#include "proto/git_object.h"

#include <string.h>

/* Every text in a record or a dialog may come from outside: no control characters, no tricks with
 * text direction. */
json_t *broker_clean_json(const char *text)
{
    char *clean = text != NULL ? text_clean(text, strlen(text), 400) : NULL;
    json_t *j = clean != NULL ? json_string(clean) : json_null();

    gpgrt_free(clean);
    return j;
}

static json_t *key_json(const struct identity *id, const char *grip)
{
    json_t *j = json_object();

    if (id->key != NULL) {
        json_object_set_new(j, "fingerprint", broker_clean_json(id->key->fpr));
        json_object_set_new(j, "keygrip", json_string(grip));
    }
    if (id->has_openpgp) {
        char *hex = hex_encode(id->openpgp_fpr, sizeof id->openpgp_fpr);

        json_object_set_new(j, "openpgp", broker_clean_json(hex));
        gpgrt_free(hex);
    }
    json_object_set_new(j, "comment", broker_clean_json(id->comment));
    return j;
}

static json_t *cert_json(const struct key *k)
{
    json_t *j = json_object();
    char serial[24];

    snprintf(serial, sizeof serial, "%llu", (unsigned long long)k->cert->serial);
    json_object_set_new(j, "key_id", broker_clean_json(k->cert->key_id));
    json_object_set_new(j, "serial", json_string(serial)); /* 64 bits do not fit a JSON number */
    json_object_set_new(j, "ca", broker_clean_json(k->cert->ca->fpr));
    return j;
}

static json_t *host_json(const struct hop *h)
{
    json_t *j = json_object(), *names = json_array();

    for (size_t i = 0; i < h->found.n; i++)
        json_array_append_new(names, broker_clean_json(h->found.names[i]));
    json_object_set_new(j, "names", names);
    json_object_set_new(j, "key", broker_clean_json(h->key->fpr));
    if (h->found.how != NULL)
        json_object_set_new(j, "known_from", broker_clean_json(h->found.how));
    return j;
}

static json_t *destination_json(const struct destination *d, const char *user)
{
    static const char *const proofs[] = {
        [PROOF_NONE] = "none", [PROOF_BOUND] = "bound", [PROOF_HOSTBOUND] = "hostbound"};
    size_t nvia = d->nhops - (d->known ? 1 : 0);
    json_t *j = d->known ? host_json(&d->hops[nvia]) : json_object();
    json_t *via = json_array();

    json_object_set_new(j, "proof", json_string(proofs[d->proof]));
    if (d->why_none != NULL)
        json_object_set_new(j, "unproven_because", json_string(d->why_none));
    if (user != NULL)
        json_object_set_new(j, "user", broker_clean_json(user));
    for (size_t i = 0; i < nvia; i++)
        json_array_append_new(via, host_json(&d->hops[i]));
    json_object_set_new(j, "via", via);
    if (d->forwarded != TRI_UNKNOWN)
        json_object_set_new(j, "forwarded", json_boolean(d->forwarded == TRI_YES));
    if (d->revoked)
        json_object_set_new(j, "revoked", json_true());
    return j;
}

static json_t *requester_json(const struct requester *r)
{
    json_t *j = json_object(), *parents;

    if (r == NULL)
        return j;
    json_object_set_new(j, "pid", json_integer(r->pid));
    json_object_set_new(j, "uid", json_integer((json_int_t)r->uid));
    json_object_set_new(j, "exe", broker_clean_json(r->exe));
    if (r->unit != NULL)
        json_object_set_new(j, "unit", broker_clean_json(r->unit));
    if (r->tty != NULL)
        json_object_set_new(j, "tty", broker_clean_json(r->tty));
    if (r->cwd != NULL)
        json_object_set_new(j, "cwd", broker_clean_json(r->cwd));
    if (r->parents != NULL) {
        parents = json_array();
        for (size_t i = 0; r->parents[i] != NULL; i++)
            json_array_append_new(parents, broker_clean_json(r->parents[i]));
        json_object_set_new(j, "parents", parents);
    }
    return j;
}

static json_t *rule_json(const struct policy_verdict *v)
{
    char *text;
    json_t *j;

    if (v->rule.file == NULL)
        return json_null();
    text = v->rule.line > 0 ? gpgrt_bsprintf("%s:%u", v->rule.file, v->rule.line)
                            : gpgrt_strdup(v->rule.file);
    j = broker_clean_json(text);
    gpgrt_free(text);
    return j;
}

gpg_error_t broker_record(const struct operation *op, const struct policy_verdict *v,
                          const struct outcome *o)
{
    json_t *j = json_object();
    char *grip =
        op->id->key != NULL ? hex_encode(op->id->key->grip, sizeof op->id->key->grip) : NULL;

    json_object_set_new(j, "event", json_string("operation"));
    json_object_set_new(j, "use", broker_clean_json(op->use));
    json_object_set_new(j, "verdict", json_string(o->verdict));
    json_object_set_new(j, "result", json_string(o->err == 0 ? "ok" : gpg_strerror(o->err)));
    if (o->reason != NULL)
        json_object_set_new(j, "reason", broker_clean_json(o->reason));
    json_object_set_new(j, "key", key_json(op->id, grip != NULL ? grip : ""));
    if (op->cert != NULL)
        json_object_set_new(j, "certificate", cert_json(op->cert));
    json_object_set_new(j, "token", broker_clean_json(o->token));
    if (o->soft)
        json_object_set_new(j, "soft", json_true());
    if (op->dest != NULL)
        json_object_set_new(j, "destination", destination_json(op->dest, op->user));
    json_object_set_new(j, "requester", requester_json(op->from->who));
    json_object_set_new(j, "rule", rule_json(v));
    json_object_set_new(j, "presence", json_string(o->presence));
    if (strcmp(o->presence, "cached") == 0)
        json_object_set_new(j, "presence_age", json_integer(o->presence_age));
    if (o->standin != NULL)
        json_object_set_new(j, "presence_token",
                            json_pack("{s:s, s:i, s:I}", "name", o->standin, "flags",
                                      (int)o->standin_says.flags, "counter",
                                      (json_int_t)o->standin_says.counter));
    json_object_set_new(j, "pin", json_string(o->pin));
    if (op->asserted)
        json_object_set_new(j, "security_key",
                            json_pack("{s:i, s:I}", "flags", (int)op->says.flags, "counter",
                                      (json_int_t)op->says.counter));
    if (op->detail != NULL)
        json_object_set(j, "object", op->detail);
    json_object_set_new(j, "duration_ms", json_integer(monotonic_ms() - o->started_ms));
    gpgrt_free(grip);
    return audit_write(op->a->audit, j);
}

void broker_put_line(struct buf *b, const char *label, const char *text)
{
    char *clean = text != NULL ? text_clean(text, strlen(text), 200) : NULL;

    if (clean != NULL && clean[0] != '\0')
        buf_printf(b, "%-9s%s\n", label, clean);
    gpgrt_free(clean);
}

char *broker_describe(const struct operation *op, const struct policy_verdict *v, const char *head,
                      const char *tail)
{
    struct buf b = BUF_INIT;
    char *who = op->from->who != NULL ? requester_describe(op->from->who) : NULL;
    char *dest = NULL, *to = NULL, *rule = NULL;

    buf_printf(&b, "%s\n\n", head);
    broker_put_line(&b, "Program:", who != NULL ? who : "unknown");
    broker_put_line(&b, "Use:", op->use_text);
    if (op->dest != NULL && strcmp(op->use, "ssh-auth") == 0) {
        dest = destination_describe(op->dest);
        to = op->user != NULL ? gpgrt_bsprintf("%s@%s", op->user, dest != NULL ? dest : "?") : NULL;
        broker_put_line(&b, "To:", to != NULL ? to : dest);
        if (op->dest->proof == PROOF_NONE)
            broker_put_line(&b, "", op->dest->why_none);
    } else if (op->dest != NULL && op->dest->nhops > 0) {
        dest = destination_describe(op->dest);
        broker_put_line(&b, "From:", dest);
    }
    if (op->what != NULL)
        buf_printf(&b, "%s", op->what);
    if (op->id->key != NULL) {
        broker_put_line(&b, "Key:", op->id->comment);
        broker_put_line(&b, "", op->id->key->fpr);
    } else {
        broker_put_line(&b, op->verb == TOKEN_LOAD ? "Module:" : "Token:", op->id->comment);
    }
    if (op->cert != NULL)
        broker_put_line(&b, "Cert:", op->cert->cert->key_id);
    if (v->rule.file != NULL && v->rule.line > 0) {
        rule = gpgrt_bsprintf("%s:%u", v->rule.file, v->rule.line);
        broker_put_line(&b, "Rule:", rule);
    }
    if (tail != NULL)
        buf_printf(&b, "\n%s", tail);
    gpgrt_free(who);
    gpgrt_free(dest);
    gpgrt_free(to);
    gpgrt_free(rule);
    return buf_steal_cstr(&b);
}
