#include "agent/ctl_json.h"

#include "agent/audit.h"
#include "agent/certificates.h"
#include "agent/hotplug.h"
#include "agent/keyring.h"
#include "agent/lock.h"
#include "agent/policy_watch.h"
#include "agent/wait.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define SETTLE_MS 1500 /* tokens that are still being read are waited for */

static json_t *text_or_null(const char *s)
{
    json_t *j = s != NULL ? json_string(s) : NULL;

    return j != NULL ? j : json_null(); /* no valid UTF-8: as good as unknown */
}

static json_t *hex_json(const uint8_t *p, size_t n)
{
    char *hex = hex_encode(p, n);
    json_t *j = text_or_null(hex);

    gpgrt_free(hex);
    return j;
}

static json_t *lock_json(struct agent *a)
{
    static const char *const reasons[] = {
        [LOCK_NONE] = NULL,       [LOCK_PULLED] = "pulled", [LOCK_SLEEP] = "sleep",
        [LOCK_SCREEN] = "screen", [LOCK_IDLE] = "idle",     [LOCK_COMMAND] = "command"};
    struct lock_state st = {0};
    json_t *j = json_object();

    lock_get(a->lock, &st);
    json_object_set_new(j, "state",
                        json_string(st.locked && st.passphrase_locked ? "both"
                                    : st.locked                       ? "locked"
                                    : st.passphrase_locked            ? "passphrase-locked"
                                                                      : "open"));
    json_object_set_new(j, "reason", text_or_null(st.locked ? reasons[st.reason] : NULL));
    json_object_set_new(j, "what", text_or_null(st.locked ? st.what : NULL));
    json_object_set_new(j, "since",
                        st.locked || st.passphrase_locked ? json_integer((json_int_t)st.since)
                                                          : json_null());
    gpgrt_free(st.what);
    return j;
}

static json_t *policy_json(struct agent *a)
{
    struct policy_set *p = policy_current(a->policy);
    char *problem = policy_problem(a->policy);
    json_t *j = json_object(), *files = json_array();

    json_object_set_new(j, "ok", json_boolean(p != NULL));
    json_object_set_new(j, "hash", text_or_null(p != NULL ? policy_hash(p) : NULL));
    for (size_t i = 0; p != NULL && policy_files(p)[i] != NULL; i++)
        if (access(policy_files(p)[i], F_OK) == 0)
            json_array_append_new(files, text_or_null(policy_files(p)[i]));
    json_object_set_new(j, "files", files);
    json_object_set_new(j, "problem", text_or_null(problem));
    gpgrt_free(problem);
    policy_unref(p);
    return j;
}

static size_t keys_on(const struct keyring_snapshot *s, const struct token *t)
{
    size_t n = 0;

    for (size_t i = 0; s != NULL && i < s->n; i++)
        for (size_t j = 0; j < s->ids[i]->nholders; j++)
            n += s->ids[i]->holders[j].token == t && !s->ids[i]->from_file;
    return n;
}

static json_t *applications_json(const char *apps)
{
    json_t *j = json_array();

    while (apps != NULL && *apps != '\0') {
        size_t n = strcspn(apps, ",");

        if (n > 0)
            json_array_append_new(j, json_stringn(apps, n));
        apps += n + (apps[n] == ',');
    }
    return j;
}

static json_t *token_json(const struct hotplug_entry *e, const struct keyring_snapshot *s)
{
    const struct token_info *i = e->token != NULL ? token_info_get(e->token) : NULL;
    json_t *j = json_object(), *tries = json_array();
    bool draining = false, touch = false;
    unsigned load = e->token != NULL ? token_load(e->token, &draining, &touch) : 0;

    json_object_set_new(j, "name", text_or_null(e->name));
    json_object_set_new(j, "state", text_or_null(e->state));
    json_object_set_new(j, "kind", text_or_null(i != NULL ? i->kind : NULL));
    json_object_set_new(j, "serial", text_or_null(i != NULL ? i->serial : NULL));
    json_object_set_new(j, "label", text_or_null(i != NULL ? i->label : NULL));
    json_object_set_new(j, "version", text_or_null(i != NULL ? i->version : NULL));
    json_object_set_new(j, "reader", text_or_null(i != NULL ? i->reader : NULL));
    json_object_set_new(j, "hint", text_or_null(i != NULL ? i->hint : NULL));
    json_object_set_new(j, "applications", applications_json(i != NULL ? i->apps : NULL));
    json_object_set_new(j, "contactless", json_boolean(i != NULL && i->contactless));
    for (size_t k = 0; i != NULL && k < 3; k++)
        json_array_append_new(tries, i->tries[k] >= 0 ? json_integer(i->tries[k]) : json_null());
    json_object_set_new(j, "tries", tries);
    json_object_set_new(j, "identities_unread", json_integer(i != NULL ? i->unread : 0));
    json_object_set_new(j, "counter",
                        i != NULL && i->counter >= 0 ? json_integer(i->counter) : json_null());
    json_object_set_new(j, "queue", json_integer(load));
    json_object_set_new(j, "waiting_for_touch", json_boolean(touch));
    json_object_set_new(j, "draining", json_boolean(draining));
    json_object_set_new(j, "verified_before", json_boolean(e->seen_verified));
    json_object_set_new(j, "keys",
                        json_integer((json_int_t)(e->token != NULL ? keys_on(s, e->token) : 0)));
    if (i != NULL)
        token_info_put(i);
    return j;
}

/* Files that cannot be used; which of the others are listed is told under their keys. */
static json_t *bad_certificates_json(struct agent *a)
{
    struct certificate_set *set = certificates_current(a->certificates);
    json_t *j = json_array();

    for (size_t i = 0; set != NULL && i < set->n; i++) {
        json_t *one;

        if (set->certs[i]->problem == NULL)
            continue;
        one = json_object();
        json_object_set_new(one, "file", text_or_null(set->certs[i]->path));
        json_object_set_new(one, "problem", text_or_null(set->certs[i]->problem));
        json_array_append_new(j, one);
    }
    certificate_set_unref(set);
    return j;
}

json_t *ctl_status_json(struct agent *a, bool all)
{
    const struct keyring_snapshot *s;
    json_t *j = json_object(), *tokens = json_array(), *sockets = json_object();
    struct hotplug_entry *e;
    size_t n = 0;

    if (all)
        hotplug_settle_all(a->hotplug, SETTLE_MS);
    s = keyring_get(a->keyring);
    json_object_set_new(j, "version", json_string(LATCHKEY_VERSION));
    json_object_set_new(j, "pid", json_integer(getpid()));
    json_object_set_new(j, "started", json_integer((json_int_t)a->started));
    json_object_set_new(sockets, "ssh", text_or_null(a->ssh_path));
    json_object_set_new(j, "sockets", sockets);
    json_object_set_new(j, "hardware", json_boolean(a->owns_hardware));
    json_object_set_new(j, "lock", lock_json(a));
    json_object_set_new(j, "policy", policy_json(a));
    e = hotplug_entries(a->hotplug, &n);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(tokens, token_json(&e[i], s));
    hotplug_entries_free(e, n);
    json_object_set_new(j, "tokens", tokens);
    json_object_set_new(j, "certificates_left_out", bad_certificates_json(a));
    json_object_set_new(j, "audit", text_or_null(audit_path(a->audit)));
    keyring_put(s);
    return j;
}

static json_t *holder_json(const struct holder *h)
{
    static const char *const touch[] = {[TOKEN_TOUCH_UNKNOWN] = "unknown",
                                        [TOKEN_TOUCH_NEVER] = "never",
                                        [TOKEN_TOUCH_ALWAYS] = "always",
                                        [TOKEN_TOUCH_CACHED] = "cached"};
    static const char *const pin[] = {
        [TOKEN_PIN_NONE] = "none", [TOKEN_PIN_ONCE] = "once", [TOKEN_PIN_ALWAYS] = "always"};
    const struct token_info *i = token_info_get(h->token);
    json_t *j = json_object();

    json_object_set_new(j, "name", text_or_null(i != NULL ? i->name : NULL));
    json_object_set_new(j, "slot", text_or_null(h->id));
    json_object_set_new(j, "touch", json_string(touch[h->touch]));
    json_object_set_new(j, "pin", json_string(pin[h->pin]));
    if (i != NULL)
        token_info_put(i);
    return j;
}

static bool lists(const struct keyring_snapshot *s, const struct certificate *c)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->ids[i]->from_file && s->ids[i]->certs[0] == c)
            return true;
    return false;
}

static json_t *date_json(uint64_t t)
{
    return t <= INT64_MAX ? json_integer((json_int_t)t) : json_null(); /* all ones: for ever */
}

static json_t *certificate_json(const struct keyring_snapshot *s, const struct certificate *c)
{
    const struct ssh_cert *cert = c->key->cert;
    const char *problem = certificate_out_of_date(c, (uint64_t)time(NULL));
    bool listed = lists(s, c) && problem == NULL;
    json_t *j = json_object(), *principals = json_array();
    char serial[24];

    snprintf(serial, sizeof serial, "%llu", (unsigned long long)cert->serial);
    json_object_set_new(j, "file", text_or_null(c->path));
    json_object_set_new(j, "type", text_or_null(c->key->type));
    json_object_set_new(j, "key_id", text_or_null(cert->key_id));
    json_object_set_new(j, "serial", json_string(serial)); /* 64 bits do not fit a JSON number */
    for (size_t i = 0; cert->principals[i] != NULL; i++)
        json_array_append_new(principals, text_or_null(cert->principals[i]));
    json_object_set_new(j, "principals", principals);
    json_object_set_new(j, "valid_after", date_json(cert->valid_after));
    json_object_set_new(j, "valid_before", date_json(cert->valid_before));
    json_object_set_new(j, "ca", text_or_null(cert->ca->fpr));
    json_object_set_new(j, "listed", json_boolean(listed));
    if (!listed && problem == NULL)
        problem = "the same certificate is listed already";
    json_object_set_new(j, "left_out_because", text_or_null(problem));
    return j;
}

static json_t *identity_json(const struct keyring_snapshot *s, const struct identity *id)
{
    json_t *j = json_object(), *uses = json_array(), *tokens = json_array(), *certs = json_array();
    char name[32], *ssh = key_to_text(id->key);
    int64_t left = id->expires_ms != 0 ? (id->expires_ms - monotonic_ms()) / 1000 : -1;

    json_object_set_new(j, "type", text_or_null(key_algo_name(id->key, name)));
    json_object_set_new(j, "bits", json_integer(id->key->nbits));
    json_object_set_new(j, "curve", text_or_null(id->key->curve));
    json_object_set_new(j, "fingerprint", text_or_null(id->key->fpr));
    json_object_set_new(j, "keygrip", hex_json(id->key->grip, sizeof id->key->grip));
    json_object_set_new(j, "openpgp_fingerprint",
                        id->has_openpgp ? hex_json(id->openpgp_fpr, sizeof id->openpgp_fpr)
                                        : json_null());
    json_object_set_new(j, "openpgp_created",
                        id->has_openpgp ? json_integer(id->created) : json_null());
    json_object_set_new(j, "comment", text_or_null(id->comment));
    json_object_set_new(j, "ssh", text_or_null(ssh));
    json_object_set_new(j, "certificate", json_boolean(id->key->cert != NULL));
    json_object_set_new(j, "family", json_string(id->family == FAMILY_SSH ? "ssh" : "gpg"));
    if (id->can_sign)
        json_array_append_new(uses, json_string("sign"));
    if (id->can_auth)
        json_array_append_new(uses, json_string("auth"));
    if (id->can_encrypt)
        json_array_append_new(uses, json_string("decrypt"));
    json_object_set_new(j, "uses", uses);
    json_object_set_new(j, "added", json_boolean(id->added));
    json_object_set_new(j, "expires_in", left >= 0 ? json_integer((json_int_t)left) : json_null());
    json_object_set_new(j, "confirm", json_boolean(id->constraints.confirm));
    json_object_set_new(j, "constrained", json_boolean(id->constraints.ndest > 0));
    json_object_set_new(j, "wallet", text_or_null(id->wallet));
    json_object_set_new(j, "away", json_boolean(id->nholders == 0));
    for (size_t i = 0; i < id->nholders; i++)
        json_array_append_new(tokens, holder_json(&id->holders[i]));
    json_object_set_new(j, "tokens", tokens);
    for (size_t i = 0; i < id->ncerts; i++)
        json_array_append_new(certs, certificate_json(s, id->certs[i]));
    json_object_set_new(j, "certificates", certs);
    gpgrt_free(ssh);
    return j;
}

json_t *ctl_keys_json(struct agent *a)
{
    const struct keyring_snapshot *s;
    json_t *j = json_array();

    if (lock_is_passphrase_locked(a->lock))
        return j; /* as ssh-agent's list */
    hotplug_settle_all(a->hotplug, SETTLE_MS);
    s = keyring_get(a->keyring);
    for (size_t i = 0; s != NULL && i < s->n; i++)
        if (!s->ids[i]->from_file)
            json_array_append_new(j, identity_json(s, s->ids[i]));
    keyring_put(s);
    return j;
}
