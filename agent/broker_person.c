/* What the broker asks and tells the person while an operation runs: the one dialog, PINs, touch
 * notices. */
#include "agent/broker_run.h"

#include "agent/ask.h"
#include "agent/grants.h"
#include "agent/wallets.h"
#include "proto/git_object.h"

#include <string.h>

#define MAX_LOOPBACK_PIN  88u /* gpg's */
#define MAX_LENGTH_ROUNDS 5

void run_fresh_deadline(struct run *r)
{
    r->w.deadline_ms = r->v.timeout > 0 ? monotonic_ms() + (int64_t)r->v.timeout * 1000 : INT64_MAX;
}

/* The person's No and a dialog that cannot be shown refuse alike; only the reason differs. */
static gpg_error_t dialog_failed(struct run *r, gpg_error_t err)
{
    /* gpg is told what the pinentry said. */
    if (gpg_err_source(err) == GPG_ERR_SOURCE_PINENTRY) {
        (void)run_refuse(r, gpg_err_code(err),
                         gpg_err_code(err) == GPG_ERR_TIMEOUT
                             ? "the dialog was not answered in time"
                             : "the person said no, or the pinentry could not ask");
        return err;
    }
    switch (gpg_err_code(err)) {
    case GPG_ERR_NOT_CONFIRMED:
    case GPG_ERR_CANCELED:
        return run_refuse(r, GPG_ERR_NOT_CONFIRMED, "the person said no");
    case GPG_ERR_NO_PIN_ENTRY:
        return run_refuse(r, GPG_ERR_NO_PIN_ENTRY,
                          "a dialog is needed and none can be shown: the program that asks has "
                          "neither terminal nor display");
    case GPG_ERR_TIMEOUT:
        return run_refuse(r, GPG_ERR_TIMEOUT, "the dialog was not answered in time");
    case GPG_ERR_FULLY_CANCELED:
        return run_refuse(r, GPG_ERR_CANCELED, "the client hung up");
    default:
        return err;
    }
}

gpg_error_t run_ask_dialog(struct run *r)
{
    struct operation *op = r->op;
    struct prompt_text text = {.title = "latchkey", .ok = "Allow", .cancel = "Deny"};
    char *desc;
    gpg_error_t err;

    if (!r->want_dialog)
        return 0;
    desc = broker_describe(
        op, &r->v, "A program wants to use one of your keys.",
        r->over_rate ? "The key was used more often than the policy's Rate allows. Go on?" : NULL);
    if (desc == NULL)
        return gpg_error_from_syserror();
    text.desc = desc;
    run_fresh_deadline(r);
    err = ask_confirm(r->a, &r->w, op->from, &text);
    gpgrt_free(desc);
    if (err != 0)
        return dialog_failed(r, err);
    r->out.presence = "dialog";
    if (r->over_rate)
        grants_reset_rate(r->a->grants, r->grip);
    r->approved = r->v.confirm == CONFIRM_CONNECTION;
    return 0;
}

/* --- the token's questions
 * ------------------------------------------------------------------------------------------ */

static const char *token_label(const struct run *r)
{
    if (r->info == NULL)
        return "the token";
    return r->info->label != NULL ? r->info->label : r->info->name;
}

void run_hide_notice(struct run *r)
{
    prompt_notice_hide(r->notice);
    r->notice = NULL;
}

void run_show_notice(struct run *r, char *desc)
{
    struct prompt_text text = {.title = "latchkey", .desc = desc};

    run_hide_notice(r);
    if (desc != NULL && r->v.notify)
        r->notice = prompt_notice_show(r->a->prompt, r->op->from->who, &text);
    gpgrt_free(desc);
}

void run_on_touch(void *arg, bool on)
{
    struct run *r = arg;

    if (!on) {
        run_hide_notice(r);
        return;
    }
    run_fresh_deadline(r);
    /* A PKCS#11 module does not tell of touches; it waits where the PIN is typed on the reader. */
    run_show_notice(r,
                    gpgrt_bsprintf(r->info != NULL && strcmp(r->info->kind, "pkcs11") == 0
                                       ? "Enter the PIN on the keypad of %s to %s"
                                   : r->held->wallet != NULL ? "Look at %s and confirm there, to %s"
                                                             : "Touch %s to %s",
                                   token_label(r), r->op->use_text));
}

void run_on_queued(void *arg, unsigned ahead, bool draining)
{
    struct run *r = arg;

    /* One that waits for nobody is busy for a moment, and nobody can do anything about it. */
    if (r->holder->touch == TOKEN_TOUCH_NEVER && r->holder->pin == TOKEN_PIN_NONE)
        return;
    if (draining)
        run_show_notice(
            r, gpgrt_bsprintf(
                   "%s still waits for the touch of a request that was given up. A touch now "
                   "counts for nothing; this request goes on when it has timed out.",
                   token_label(r)));
    else if (ahead > 0)
        run_show_notice(r, gpgrt_bsprintf("%s is busy with %u earlier request%s", token_label(r),
                                          ahead, ahead == 1 ? "" : "s"));
}

/* What the references of PINs (token_protocol.h) are called. */
struct pin_name {
    const char *ref;
    const char *label;       /* beside the field */
    const char *head, *word; /* at the start of a sentence, within one */
    const char *blocked;     /* what a wrong last try means */
};

static const struct pin_name *name_pin(const char *ref)
{
    static const struct pin_name names[] = {
        {"83", "Admin PIN", "Admin PIN", "admin PIN",
         "blocks it for good: then only a factory reset helps, which ends all keys"},
        {"matrix", "Positions", "PIN", "PIN",
         "costs time: each wrong one makes the device wait longer"},
        {"rc", "Reset Code", "Reset code", "reset code", "blocks it"},
        {"piv", "PIV PIN", "PIV PIN", "PIV PIN", "blocks it: then the PUK is needed"},
        {"piv-puk", "PUK", "PUK", "PUK",
         "blocks it: a blocked PIN is then lost until a PIV reset, which ends its keys"},
        {"piv-mgm", "Management key", "Management key (hexadecimal)", "management key",
         "is refused"},
        {"file", "Passphrase", "Passphrase of the key file, for", "passphrase", "is refused"},
        {"global", "PIN", "PIN", "PIN", "blocks it"},
        {"", "PIN", "PIN", "PIN", "blocks it"},
    };
    const struct pin_name *n = names;

    while (n->ref[0] != '\0' && strcmp(n->ref, ref) != 0)
        n++;
    return n;
}

/* The last try is the person's decision alone: a wrong one blocks the card. */
static gpg_error_t warn_last_try(struct run *r, const struct pin_name *name, const char *label)
{
    struct prompt_text text = {.title = "latchkey", .ok = "Try once more", .cancel = "Cancel"};
    char *head = gpgrt_bsprintf("One try is left for the %s of %s. A wrong %s now %s.", name->word,
                                label, name->word, name->blocked);
    char *tail = gpgrt_bsprintf("Go on only if you are sure of the %s.", name->word);
    char *desc = head != NULL && tail != NULL ? broker_describe(r->op, &r->v, head, tail) : NULL;
    gpg_error_t err;

    gpgrt_free(head);
    gpgrt_free(tail);
    if (desc == NULL)
        return gpg_error_from_syserror();
    text.desc = desc;
    err = ask_confirm(r->a, &r->w, r->op->from, &text);
    gpgrt_free(desc);
    return err;
}

static char *tell_tries(int tries)
{
    return gpgrt_bsprintf("%d %s left", tries, tries == 1 ? "try" : "tries");
}

static char *tell_lengths(const struct token_pin_request *q)
{
    if (q->min > 0 && q->max > 0)
        return gpgrt_bsprintf("%d to %d characters", q->min, q->max);
    if (q->min > 0)
        return gpgrt_bsprintf("at least %d characters", q->min);
    return q->max > 0 ? gpgrt_bsprintf("at most %d characters", q->max) : NULL;
}

/* Places on a grid: digits only. */
static bool fits(const struct token_pin_request *q, const struct buf *pin)
{
    for (size_t i = 0; strcmp(q->ref, "matrix") == 0 && i < pin->len; i++)
        if (pin->data[i] < '1' || pin->data[i] > '9')
            return false;
    return (q->min <= 0 || pin->len >= (size_t)q->min) &&
           (q->max <= 0 || pin->len <= (size_t)q->max);
}

gpg_error_t run_on_inquire(void *arg, const char *line, struct buf *answer)
{
    struct run *r = arg;
    gpg_error_t err;

    run_fresh_deadline(r);
    run_hide_notice(r);
    if (strcmp(line, WALLETS_PASSPHRASE) == 0)
        return run_wallet_passphrase(r, answer);
    if (r->op->answer == NULL)
        return gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
    err = r->op->answer(r->op->answer_arg, &r->w, line, answer);
    run_fresh_deadline(r);
    if (r->op->patient)
        r->w.deadline_ms = INT64_MAX;
    return err;
}

void run_on_progress(void *arg, const char *line)
{
    struct run *r = arg;

    if (r->op->progress != NULL)
        r->op->progress(r->op->answer_arg, line);
}

static char *pin_error(const struct token_pin_request *q, const struct pin_name *name)
{
    char *tries, *text;

    if (!q->wrong)
        return NULL;
    if (q->fresh)
        return gpgrt_bsprintf("The card does not take that %s", name->word);
    if (q->tries < 0)
        return gpgrt_bsprintf("Wrong %s", name->word);
    tries = tell_tries(q->tries);
    text = tries != NULL ? gpgrt_bsprintf("Wrong %s, %s", name->word, tries) : NULL;
    gpgrt_free(tries);
    return text;
}

/* The dialog, until what is typed has a length that the card takes: another would cost a try for nothing. */
static gpg_error_t ask_pin(struct run *r, const struct token_pin_request *q,
                           const struct pin_name *name, const char *desc, struct buf *pin)
{
    const struct ask *k = r->op->from->ask;
    bool loopback = k != NULL && k->mode == ASK_LOOPBACK;
    struct prompt_text text = {.title = "latchkey", .label = name->label, .desc = desc};
    char *error = pin_error(q, name), *lengths = tell_lengths(q);
    gpg_error_t err;

    /* What the client said once it would say again, and each time costs a try. */
    if (loopback && q->wrong) {
        err = gpg_error(GPG_ERR_BAD_PIN);
        goto out;
    }
    for (int i = 0; i < MAX_LENGTH_ROUNDS; i++) {
        text.error = error;
        err = ask_secret(r->a, &r->w, r->op->from, &text, q->fresh && !loopback, MAX_LOOPBACK_PIN,
                         pin);
        if (err != 0 || fits(q, pin))
            break;
        err = gpg_error(q->fresh ? GPG_ERR_INV_LENGTH : GPG_ERR_BAD_PIN);
        if (loopback)
            break;
        gpgrt_free(error);
        error = strcmp(q->ref, "matrix") == 0
                    ? gpgrt_strdup("Only the digits 1 to 9, for places on the grid")
                    : gpgrt_bsprintf("The %s has %s", name->word, lengths != NULL ? lengths : "");
        run_fresh_deadline(r);
    }
out:
    gpgrt_free(error);
    gpgrt_free(lengths);
    return err;
}

gpg_error_t run_on_pin(void *arg, const struct token_pin_request *q, struct buf *pin)
{
    struct run *r = arg;
    const struct pin_name *name = name_pin(q->ref);
    char *head = NULL, *tail = NULL, *desc = NULL;
    char *its_own = q->label[0] != '\0' ? text_clean(q->label, strlen(q->label), 64) : NULL;
    const char *label = its_own != NULL ? its_own : token_label(r);
    gpg_error_t err = 0;

    run_fresh_deadline(r);
    run_hide_notice(r);
    if (q->last && !q->fresh)
        err = warn_last_try(r, name, label);
    if (err != 0)
        goto out;
    if (strcmp(q->ref, "matrix") == 0)
        head = wallets_grid_text(label);
    else
        head = q->fresh ? gpgrt_bsprintf("New %s for %s", name->word, label)
                        : gpgrt_bsprintf("%s for %s", name->head, label);
    if (q->fresh)
        tail = tell_lengths(q);
    else if (q->tries >= 0)
        tail = tell_tries(q->tries);
    else if (q->low)
        tail =
            gpgrt_strdup("A wrong PIN was given since the last right one: few tries may be left");
    desc = head != NULL ? broker_describe(r->op, &r->v, head, tail) : NULL;
    err = desc != NULL ? ask_pin(r, q, name, desc, pin) : gpg_error_from_syserror();
    run_fresh_deadline(r);
out:
    gpgrt_free(its_own);
    gpgrt_free(head);
    gpgrt_free(tail);
    gpgrt_free(desc);
    return err != 0 ? dialog_failed(r, err) : 0;
}
