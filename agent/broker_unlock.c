/* `latchkey unlock`: a fresh PIN or touch on a token that was used before the lock and still holds
 * its keys, or a touch on an enrolled FIDO token, or a dialog where there is no such token (policy-language: Lock). */
#include "agent/audit.h"
#include "agent/broker.h"
#include "agent/broker_prove.h"
#include "agent/broker_standin.h"
#include "agent/hotplug.h"
#include "agent/lock.h"
#include "agent/prompt.h"
#include "agent/wallets.h"

#include <jansson.h>
#include <string.h>

#define UNLOCK_S 60

struct unlock {
    struct agent *a;
    const struct origin *from;
    struct wait w;
    const char *label; /* the token's */
    bool wallet;
    unsigned locks; /* lock_count when asked */
    struct prompt_notice *notice;
    char *failure; /* owned */
};

/* "2 tries left" behind BEFORE; nothing when the token does not tell. */
static char *tries_text(const char *before, int tries)
{
    return tries < 0 ? gpgrt_strdup("")
                     : gpgrt_bsprintf("%s%d %s left", before, tries, tries == 1 ? "try" : "tries");
}

/* A dialog's text: HEAD, who asks, TAIL; new string. Steals HEAD and TAIL. */
static char *describe(const struct unlock *u, char *head, char *tail)
{
    char *who = u->from->who != NULL ? requester_describe(u->from->who) : NULL;
    char *desc = head != NULL && tail != NULL ? gpgrt_bsprintf("%s\n\nProgram: %s%s", head,
                                                               who != NULL ? who : "unknown", tail)
                                              : NULL;

    gpgrt_free(who);
    gpgrt_free(head);
    gpgrt_free(tail);
    return desc;
}

/* The last try is the person's decision alone: a wrong one blocks the card. */
static gpg_error_t warn_last_try(struct unlock *u)
{
    struct prompt_text text = {.title = "latchkey", .ok = "Try once more", .cancel = "Cancel"};
    char *head = gpgrt_bsprintf(
        "To unlock latchkey: one try is left for the PIN of %s. A wrong PIN now blocks it.",
        u->label);
    char *desc = describe(u, head, gpgrt_strdup(""));
    gpg_error_t err;

    text.desc = desc;
    err = desc != NULL ? prompt_confirm(u->a->prompt, &u->w, u->from->who, &text)
                       : gpg_error_from_syserror();
    gpgrt_free(desc);
    return err;
}

static gpg_error_t on_pin(void *arg, const struct token_pin_request *q, struct buf *pin)
{
    struct unlock *u = arg;
    struct prompt_text text = {.title = "latchkey", .label = "PIN"};
    char *desc = describe(u,
                          strcmp(q->ref, "matrix") == 0
                              ? wallets_grid_text(u->label)
                              : gpgrt_bsprintf("PIN for %s, to unlock latchkey", u->label),
                          tries_text("\n\n", q->tries));
    char *wrong = NULL, *wrong_left;
    gpg_error_t err = 0;

    u->w.deadline_ms = monotonic_ms() + UNLOCK_S * 1000;
    if (q->wrong) {
        wrong_left = tries_text(", ", q->tries);
        wrong = wrong_left != NULL ? gpgrt_bsprintf("Wrong PIN%s", wrong_left) : NULL;
        gpgrt_free(wrong_left);
    }
    if (desc == NULL || (q->wrong && wrong == NULL))
        err = gpg_error_from_syserror();
    text.desc = desc;
    text.error = wrong;
    if (err == 0 && q->last)
        err = warn_last_try(u);
    if (err == 0)
        err = prompt_secret(u->a->prompt, &u->w, u->from->who, &text, false, pin);
    u->w.deadline_ms = monotonic_ms() + UNLOCK_S * 1000;
    gpgrt_free(desc);
    gpgrt_free(wrong);
    return err;
}

static gpg_error_t on_inquire(void *arg, const char *line, struct buf *answer)
{
    struct unlock *u = arg;
    struct prompt_text text = {.title = "latchkey", .label = "Passphrase"};
    char *desc;
    gpg_error_t err;

    if (strcmp(line, WALLETS_PASSPHRASE) != 0)
        return gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
    desc = describe(u, wallets_passphrase_text(u->label), gpgrt_strdup(""));
    text.desc = desc;
    u->w.deadline_ms = monotonic_ms() + UNLOCK_S * 1000;
    err = desc != NULL ? prompt_secret(u->a->prompt, &u->w, u->from->who, &text, false, answer)
                       : gpg_error_from_syserror();
    u->w.deadline_ms = monotonic_ms() + UNLOCK_S * 1000;
    gpgrt_free(desc);
    return err;
}

static void on_touch(void *arg, bool on)
{
    struct unlock *u = arg;
    struct prompt_text text = {.title = "latchkey"};
    char *desc;

    prompt_notice_hide(u->notice);
    u->notice = NULL;
    desc = on ? gpgrt_bsprintf(u->wallet ? "Look at %s and confirm there, to unlock latchkey"
                                         : "Touch %s to unlock latchkey",
                               u->label)
              : NULL;
    text.desc = desc;
    if (desc != NULL)
        u->notice = prompt_notice_show(u->a->prompt, u->from->who, &text);
    gpgrt_free(desc);
}

static char *failure_text(const struct unlock *u, gpg_error_t err)
{
    switch (gpg_err_code(err)) {
    case GPG_ERR_BAD_SIGNATURE:
        return gpgrt_bsprintf(
            "not unlocked: %s does not hold the keys that it lists. It is not the "
            "token that was used before the lock",
            u->label);
    case GPG_ERR_PIN_BLOCKED:
        return gpgrt_bsprintf("not unlocked: the PIN of %s is blocked: unblock it with the reset "
                              "code or the admin PIN",
                              u->label);
    case GPG_ERR_TIMEOUT:
        return gpgrt_bsprintf("not unlocked: no PIN or touch for %s in time", u->label);
    default:
        return gpgrt_bsprintf("not unlocked: %s: %s", u->label, gpg_strerror(err));
    }
}

/* The listing is compared with the one before the lock and used from then on: whatever the token
 * says later changes nothing. */
static gpg_error_t unlock_by(struct unlock *u, struct token *t)
{
    struct token_job job = {.pin = on_pin, .touch = on_touch, .inquire = on_inquire, .arg = u};
    const struct token_info *info = token_info_get(t);
    char **lines = info != NULL ? hotplug_verified_keys(u->a->hotplug, info) : NULL, *how;
    gpg_error_t err;

    if (lines == NULL) {
        token_info_put(info);
        return gpg_error(GPG_ERR_CARD_NOT_PRESENT);
    }
    u->label = info->label != NULL ? info->label : info->name;
    u->wallet = wallets_are_of(info->kind);
    err = broker_prove(t, info, lines, &u->w, &job);
    prompt_notice_hide(u->notice);
    if (err == 0) {
        how = gpgrt_bsprintf("%s %s", job.pin_typed ? "pin" : "touch", info->name);
        if (!lock_open(u->a, u->locks, how != NULL ? how : "token"))
            err = gpg_error(GPG_ERR_LOCKED);
        gpgrt_free(how);
    } else if (gpg_err_code(err) != GPG_ERR_NO_PIN_ENTRY) {
        u->failure = job.words != NULL ? gpgrt_bsprintf("not unlocked: %s: %s", u->label, job.words)
                                       : failure_text(u, err);
    }
    gpgrt_free(job.words);
    gpgrt_free(lines);
    token_info_put(info);
    return err;
}

/* By an enrolled FIDO token. */
static gpg_error_t unlock_by_presence(struct unlock *u, const struct sk_list *set)
{
    const struct token_job ask_for = {.pin = on_pin, .touch = on_touch, .arg = u};
    struct buf message = BUF_INIT;
    struct standin shown;
    char *how;
    gpg_error_t err;

    u->label = "your FIDO key";
    standin_begin(&message, "unlock");
    err = buf_err(&message);
    if (err == 0)
        err = standin_ask(u->a, set, buf_rd(&message), &u->w, &ask_for, &shown);
    prompt_notice_hide(u->notice);
    buf_free(&message);
    if (err != 0) {
        u->failure =
            gpg_err_code(err) == GPG_ERR_CARD_NOT_PRESENT
                ? gpgrt_strdup("not unlocked: no FIDO token that is enrolled is plugged in")
            : gpg_err_code(err) == GPG_ERR_BAD_SIGNATURE
                ? gpgrt_strdup("not unlocked: what the FIDO token signed shows no touch")
                : failure_text(u, err);
        return err;
    }
    how = gpgrt_bsprintf("touch %s", shown.label);
    if (!lock_open(u->a, u->locks, how != NULL ? how : "touch"))
        err = gpg_error(GPG_ERR_LOCKED);
    gpgrt_free(how);
    return err;
}

static gpg_error_t ask(struct unlock *u)
{
    struct prompt_text text = {.title = "latchkey", .ok = "Unlock", .cancel = "Stay locked"};
    char *desc = describe(u, gpgrt_strdup("Unlock latchkey, so that its keys can be used again?"),
                          gpgrt_strdup(""));
    gpg_error_t err;

    text.desc = desc;
    err = desc != NULL ? prompt_confirm(u->a->prompt, &u->w, u->from->who, &text)
                       : gpg_error_from_syserror();
    if (err == 0 && !lock_open(u->a, u->locks, "dialog"))
        err = gpg_error(GPG_ERR_LOCKED);
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
    struct sk_list *enrolled = sk_book_get(a->presence);
    struct token *t = NULL;
    size_t n = 0;
    gpg_error_t err = 0;

    *error_text = NULL;
    if (!lock_is_locked(a->lock)) {
        if (lock_is_passphrase_locked(a->lock)) {
            *error_text = gpgrt_strdup("locked by ssh-add -x: unlock with ssh-add -X");
            err = gpg_error(GPG_ERR_LOCKED);
        }
        sk_list_unref(enrolled);
        return err;
    }
    e = hotplug_entries(a->hotplug, &n);
    for (size_t i = 0; i < n && t == NULL; i++)
        if (e[i].seen_verified && e[i].token != NULL && !token_gone(e[i].token))
            t = token_ref(e[i].token);
    hotplug_entries_free(e, n);
    /* A dialog is enough only where no token can do better: not because another one sits in its
     * place. */
    if (t == NULL && enrolled == NULL && hotplug_any_verified(a->hotplug)) {
        *error_text =
            gpgrt_strdup("the token that can unlock is not plugged in: insert it and try again");
        err = gpg_error(GPG_ERR_CARD_NOT_PRESENT);
        goto out;
    }
    err = wait_begin(a->waits, &u.w, from->fd, UNLOCK_S);
    if (err != 0)
        goto out;
    u.w.ignore_lock = true;
    err = t != NULL          ? unlock_by(&u, t)
          : enrolled != NULL ? unlock_by_presence(&u, enrolled)
                             : ask(&u);
    wait_end(&u.w);
out:
    if (err != 0) {
        if (*error_text == NULL && gpg_err_code(err) == GPG_ERR_NO_PIN_ENTRY)
            *error_text = gpgrt_strdup(
                "a dialog is needed and none can be shown: run this in a terminal or a desktop "
                "session, and see Pinentry in latchkey.conf(5)");
        if (*error_text == NULL && lock_count(a->lock) != u.locks)
            *error_text = gpgrt_strdup("locked again meanwhile: try once more");
        if (*error_text == NULL && u.failure != NULL) {
            *error_text = u.failure;
            u.failure = NULL;
        }
        if (*error_text == NULL)
            *error_text = gpgrt_bsprintf("not unlocked: %s", gpg_strerror(err));
        record_failure(a, from, err);
    }
    gpgrt_free(u.failure);
    sk_list_unref(enrolled);
    if (t != NULL)
        token_unref(t);
    return err;
}
