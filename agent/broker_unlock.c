/* `latchkey unlock`: a fresh proof from a token that was verified before the lock, or a dialog
 * where there is no such token (policy-language: Lock). */
#include "agent/audit.h"
#include "agent/broker.h"
#include "agent/hotplug.h"
#include "agent/lock.h"
#include "agent/prompt.h"

#include <jansson.h>

struct unlock {
    struct agent *a;
    const struct origin *from;
    struct wait w;
    const char *label; /* the token's */
    unsigned locks;    /* lock_count when asked */
};

static gpg_error_t on_pin(void *arg, const struct token_pin_request *q, struct buf *pin)
{
    struct unlock *u = arg;
    struct prompt_text text = {.title = "latchkey", .label = "PIN"};
    char *desc, *wrong = NULL;
    gpg_error_t err = 0;

    u->w.deadline_ms = monotonic_ms() + 60000;
    desc = gpgrt_bsprintf("PIN for %s, to unlock latchkey\n%d %s left%s", u->label, q->tries,
                          q->tries == 1 ? "try" : "tries",
                          q->last ? ": a wrong PIN now blocks it" : "");
    if (q->wrong)
        wrong = gpgrt_bsprintf("Wrong PIN, %d %s left", q->tries, q->tries == 1 ? "try" : "tries");
    if (desc == NULL)
        err = gpg_error_from_syserror();
    text.desc = desc;
    text.error = wrong;
    if (err == 0 && q->last)
        err = prompt_confirm(u->a->prompt, &u->w, u->from->who, &text);
    if (err == 0)
        err = prompt_secret(u->a->prompt, &u->w, u->from->who, &text, false, pin);
    gpgrt_free(desc);
    gpgrt_free(wrong);
    return err;
}

static gpg_error_t verify_on(struct unlock *u, struct token *t)
{
    struct token_job job = {
        .verb = TOKEN_VERIFY, .pin_age = 0, .drop = true, .pin = on_pin, .arg = u};
    const struct token_info *info = token_info_get(t);
    gpg_error_t err;

    u->label = info == NULL ? "the token" : info->label != NULL ? info->label : info->name;
    err = token_run(t, &u->w, &job);
    buf_free(&job.result);
    if (err == 0 && !job.pin_typed)
        err = gpg_error(GPG_ERR_LOCKED);
    if (err == 0) {
        char *how = gpgrt_bsprintf("pin %s", info != NULL ? info->name : "token");

        if (!lock_open(u->a, u->locks, how != NULL ? how : "pin"))
            err = gpg_error(GPG_ERR_LOCKED);
        gpgrt_free(how);
    }
    if (info != NULL)
        token_info_put(info);
    return err;
}

static gpg_error_t ask(struct unlock *u)
{
    struct prompt_text text = {.title = "latchkey", .ok = "Unlock", .cancel = "Stay locked"};
    char *who = u->from->who != NULL ? requester_describe(u->from->who) : NULL;
    char *desc =
        gpgrt_bsprintf("Unlock latchkey, so that its keys can be used again?\n\nProgram: %s",
                       who != NULL ? who : "unknown");
    gpg_error_t err;

    text.desc = desc;
    err = desc != NULL ? prompt_confirm(u->a->prompt, &u->w, u->from->who, &text)
                       : gpg_error_from_syserror();
    if (err == 0 && !lock_open(u->a, u->locks, "dialog"))
        err = gpg_error(GPG_ERR_LOCKED);
    gpgrt_free(who);
    gpgrt_free(desc);
    return err;
}

/* A failed attempt is worth a record: somebody tried. */
static void record_failure(struct agent *a, const struct origin *from, gpg_error_t failure)
{
    json_t *j = json_object();

    json_object_set_new(j, "event", json_string("unlock"));
    json_object_set_new(j, "result", json_string(gpg_strerror(failure)));
    if (from->who != NULL)
        json_object_set_new(j, "pid", json_integer(from->who->pid));
    (void)audit_write(a->audit, j);
}

gpg_error_t broker_unlock(struct agent *a, const struct origin *from, char **error_text)
{
    struct unlock u = {.a = a, .from = from, .locks = lock_count(a->lock)};
    struct hotplug_entry *e;
    struct token *t = NULL;
    bool away = false;
    size_t n = 0;
    gpg_error_t err;

    *error_text = NULL;
    if (!lock_is_locked(a->lock)) {
        if (!lock_is_passphrase_locked(a->lock))
            return 0;
        *error_text = gpgrt_strdup("locked by ssh-add -x: unlock with ssh-add -X");
        return gpg_error(GPG_ERR_LOCKED);
    }
    e = hotplug_entries(a->hotplug, &n);
    for (size_t i = 0; i < n; i++) {
        if (!e[i].seen_verified)
            continue;
        if (e[i].token == NULL || token_gone(e[i].token))
            away = true;
        else if (t == NULL)
            t = token_ref(e[i].token);
    }
    hotplug_entries_free(e, n);
    if (t == NULL && away) {
        *error_text =
            gpgrt_strdup("the token that can unlock is not plugged in: insert it and try again");
        err = gpg_error(GPG_ERR_CARD_NOT_PRESENT);
        goto out;
    }
    err = wait_begin(a->waits, &u.w, from->fd, 60);
    if (err != 0)
        goto out;
    u.w.ignore_lock = true;
    err = t != NULL ? verify_on(&u, t) : ask(&u);
    wait_end(&u.w);
out:
    if (err != 0) {
        if (*error_text == NULL && gpg_err_code(err) == GPG_ERR_NO_PIN_ENTRY)
            *error_text = gpgrt_strdup(
                "a dialog is needed and none can be shown: run this in a terminal or a desktop "
                "session, and see Pinentry in latchkey.conf(5)");
        if (*error_text == NULL && lock_count(a->lock) != u.locks)
            *error_text = gpgrt_strdup("locked again meanwhile: try once more");
        if (*error_text == NULL)
            *error_text = gpgrt_bsprintf("not unlocked: %s", gpg_strerror(err));
        record_failure(a, from, err);
    }
    if (t != NULL)
        token_unref(t);
    return err;
}
