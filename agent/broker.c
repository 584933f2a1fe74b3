#include "agent/broker_run.h"

#include "agent/ask.h"
#include "agent/grants.h"
#include "agent/hotplug.h"
#include "agent/lock.h"
#include "agent/policy_watch.h"
#include "agent/prompt.h"

#include <string.h>

gpg_error_t run_refuse(struct run *r, gpg_err_code_t code, const char *why)
{
    r->out.verdict = "refused";
    r->out.reason = why;
    return gpg_error(code);
}

/* .. by the rule that decided setting S. */
static gpg_error_t refuse_by(struct run *r, enum policy_setting s, gpg_err_code_t code,
                             const char *why)
{
    r->v.rule = r->v.src[s];
    return run_refuse(r, code, why);
}

/* --- what the policy and the lock say
 * ----------------------------------------------------------------------------- */

static gpg_error_t judge(struct run *r)
{
    struct operation *op = r->op;
    struct facts facts;
    gpg_error_t err;

    err = facts_make(op->from, r->held, op->dest, &facts);
    if (err != 0)
        return err;
    facts.f.use = op->use;
    facts.f.user = op->user;
    policy_evaluate(op->policy, &facts.f, &r->v);
    memcpy(r->grip, facts.grip, sizeof r->grip);
    facts_clear(&facts);

    if (op->refusal != NULL)
        return run_refuse(r, GPG_ERR_FORBIDDEN, op->refusal);
    if (op->dest != NULL && op->dest->revoked)
        return run_refuse(r, GPG_ERR_CERT_REVOKED, "known_hosts revokes the host's key");
    if (!r->v.allow)
        return run_refuse(r, GPG_ERR_FORBIDDEN,
                          r->v.why != NULL ? r->v.why : "the policy denies it");
    if (op->dest != NULL && op->dest->forwarded == TRI_YES) {
        if (r->v.forwarded == FORWARDED_DENY)
            return refuse_by(r, SET_FORWARDED, GPG_ERR_FORBIDDEN,
                             "the policy denies forwarded requests");
        if (r->v.forwarded == FORWARDED_CONFIRM) {
            r->want_dialog = true;
            if (r->v.confirm == CONFIRM_NO)
                r->v.rule = r->v.src[SET_FORWARDED];
        }
    }
    r->out.verdict = "allowed";
    return 0;
}

/* Each part with its length: what a client may choose (a namespace, a path) must not pass for the
 * parts that follow. */
static char *join_scope(const char *const *parts)
{
    struct buf b = BUF_INIT;

    for (; *parts != NULL; parts++)
        buf_printf(&b, "%zu:%s ", strlen(*parts), *parts);
    return buf_steal_cstr(&b);
}

/* A scope names all that a cached proof is good for: leave one part out and a proof given for one
 * thing serves another. What could be for any host, or is of no known form, makes no proof and
 * needs no approval that is worth anything later. */
static gpg_error_t make_scopes(struct run *r)
{
    struct operation *op = r->op;
    char *chain = op->dest != NULL ? destination_chain(op->dest) : gpgrt_strdup("-");
    char *who = op->from->who != NULL ? requester_scope(op->from->who) : NULL;
    bool auth = strcmp(op->use, "ssh-auth") == 0;
    bool anonymous = auth && (op->dest == NULL || op->dest->proof == PROOF_NONE || r->v.unnamed);
    gpg_error_t err = chain != NULL ? 0 : gpg_error_from_syserror();

    if (err == 0 && !anonymous && strcmp(op->use, "raw") != 0) {
        const char *user = op->user != NULL ? op->user : "";

        r->approval_scope = join_scope((const char *const[]){r->grip, op->use, chain, user, NULL});
        if (who != NULL)
            r->scope = join_scope((const char *const[]){r->grip, op->use, chain, who, NULL});
        if (r->approval_scope == NULL || (who != NULL && r->scope == NULL))
            err = gpg_error(GPG_ERR_ENOMEM);
    }
    gpgrt_free(chain);
    gpgrt_free(who);
    return err;
}

static gpg_error_t check_lock(struct run *r)
{
    if (lock_is_passphrase_locked(r->a->lock))
        return run_refuse(r, GPG_ERR_LOCKED, "locked by ssh-add -x: unlock with ssh-add -X");
    if (!lock_is_locked(r->a->lock))
        return 0;
    r->was_locked = true;
    r->w.ignore_lock = true;
    return 0;
}

/* --- which of the tokens that hold the key
 * ------------------------------------------------------------------------- */

/* Our own software keys, those of gpg's key store too: a passphrase is nothing that somebody holds in his hand, and a client may
 * have given it. */
static bool is_software(const struct token_info *info)
{
    return info != NULL && strcmp(info->kind, "software") == 0;
}

static bool can_prove(const struct run *r, const struct holder *h)
{
    const struct token_info *info = token_info_get(h->token);
    bool good = info != NULL && !is_software(info) &&
                (h->pin != TOKEN_PIN_NONE || h->touch == TOKEN_TOUCH_ALWAYS) &&
                hotplug_key_was_verified(r->a->hotplug, info, h->id);

    token_info_put(info);
    return good;
}

/* Higher is better; negative: cannot serve. */
static int rate_holder(const struct run *r, const struct holder *h)
{
    bool draining = false;
    int score = 0;

    /* What asks nothing of the token does not need it: the keys of one that died can be removed. */
    if ((token_gone(h->token) && !r->op->judge_only) || (r->was_locked && !can_prove(r, h)))
        return -1;
    if (r->v.touch != TOUCH_NONE && h->touch == TOKEN_TOUCH_ALWAYS)
        score += 1000;
    if (!h->slow)
        score += 500;
    score -= (int)(token_load(h->token, &draining, NULL) * 10);
    if (draining)
        score -= 400;
    return score < 0 ? 0 : score;
}

static gpg_error_t choose_holder(struct run *r, const struct holder *failed)
{
    const struct identity *id = r->held;
    int best = -1;

    r->holder = NULL;
    for (size_t i = 0; i < id->nholders; i++) {
        int score = &id->holders[i] == failed ? -1 : rate_holder(r, &id->holders[i]);

        if (score > best) {
            best = score;
            r->holder = &id->holders[i];
        }
    }
    if (r->info != NULL)
        token_info_put(r->info);
    r->info = r->holder != NULL ? token_info_get(r->holder->token) : NULL;
    r->out.token = r->info != NULL ? r->info->name : NULL;
    r->out.soft = r->info != NULL && r->info->soft;
    if (r->holder != NULL)
        return 0;
    if (!r->was_locked)
        return run_refuse(r, GPG_ERR_CARD_REMOVED,
                          "the token that holds the key is not plugged in");
    gpgrt_free(r->reason);
    r->reason = lock_describe(r->a->lock);
    return run_refuse(r, GPG_ERR_LOCKED, r->reason != NULL ? r->reason : "the agent is locked");
}

/* --- presence
 * ------------------------------------------------------------------------------------------------------
 */

/* Adding a key and taking it away are no uses of it. */
static void check_rate(struct run *r)
{
    if (r->op->judge_only || r->op->verb == TOKEN_ADDKEY)
        return;
    r->over_rate = !grants_begin_use(r->a->grants, r->grip, r->v.rates, r->v.nrates);
    r->counted = true;
    if (!r->over_rate)
        return;
    r->want_dialog = true;
    r->v.rule = r->v.src[SET_RATE];
}

static void check_confirm(struct run *r)
{
    struct operation *op = r->op;

    /* Not where the client answers for the person. */
    if (r->v.confirm == CONFIRM_YES && op->typed_confirms &&
        (op->from->ask == NULL || op->from->ask->mode == ASK_DIALOG))
        r->confirm_by_typing = true;
    else if (op->confirm || op->id->constraints.confirm || r->v.confirm == CONFIRM_YES)
        r->want_dialog = true;
    else if (r->v.confirm == CONFIRM_CONNECTION &&
             (r->approval_scope == NULL ||
              !grants_approved(r->a->grants, op->from->id, r->approval_scope)))
        r->want_dialog = true;
}

/* What shows that a person is there: nothing asked, a proof not too old, the token's own touch, or
 * a stand-in. */
static gpg_error_t check_presence(struct run *r)
{
    enum token_touch own = r->holder->touch;

    r->out.presence = "none";
    if (r->v.touch == TOUCH_NONE || r->op->public)
        return 0;
    if (r->v.touch == TOUCH_CACHED) {
        if (r->scope != NULL && !r->was_locked &&
            grants_use_presence(r->a->grants, r->scope, r->v.touch_secs, r->v.touch_max,
                                &r->out.presence_age)) {
            r->out.presence = "cached";
            return 0;
        }
        /* The token remembers touches by itself; that counts for as long as it does so, and makes
         * no proof of ours. */
        if (own == TOKEN_TOUCH_CACHED && r->holder->touch_secs <= r->v.touch_secs) {
            r->want_touch = true;
            return 0;
        }
    }
    if (own == TOKEN_TOUCH_ALWAYS) {
        r->want_touch = true;
        return 0;
    }
    switch (r->v.standin) {
    case STANDIN_CONFIRM:
        r->want_dialog = true;
        r->dialog_is_presence = true;
        return 0;
    case STANDIN_FIDO:
        r->want_standin = true;
        return 0;
    case STANDIN_DENY:
        break;
    }
    return refuse_by(r, SET_STANDIN, GPG_ERR_FORBIDDEN,
                     "the token does not enforce the touch that the policy demands (StandIn deny)");
}

/* --- the token
 * ------------------------------------------------------------------------------------------------------
 */

static bool drop_after_use(const struct run *r)
{
    if (r->v.afteruse != AFTERUSE_DEFAULT)
        return r->v.afteruse == AFTERUSE_DROP;
    return r->holder->touch != TOKEN_TOUCH_ALWAYS && r->holder->touch != TOKEN_TOUCH_CACHED;
}

static gpg_error_t check_signature(struct run *r, const struct token_job *job, gcry_sexp_t sig)
{
    struct operation *op = r->op;

    if (key_is_sk(op->id->key)) {
        op->asserted = job->asserted;
        op->says = job->says;
        return job->asserted ? sk_sig_check(op->id->key, op->tosign.data, &job->says, sig)
                             : gpg_error(GPG_ERR_BAD_SIGNATURE);
    }
    if (is_software(r->info))
        return 0;
    return sig_verify(op->id->key, &op->tosign, sig);
}

/* A signature by hardware is checked before anybody gets it: a key regenerated behind our back or a
 * faulty token shows here. Our own software keys sign with a library that checks itself. What a
 * security key has signed with it counts as shown, whatever its process says. */
static gpg_error_t take_signature(struct run *r, struct token_job *job)
{
    struct operation *op = r->op;
    gcry_sexp_t sig = NULL;
    gpg_error_t err;

    err = gcry_sexp_sscan(&sig, NULL, (const char *)job->result.data, job->result.len);
    if (err == 0)
        err = check_signature(r, job, sig);
    if (err != 0) {
        gcry_sexp_release(sig);
        r->out.reason = "the token's signature does not fit the key that it listed";
        return gpg_error(GPG_ERR_BAD_SIGNATURE);
    }
    op->sig = sig;
    if (op->asserted) {
        bool verified = (op->says.flags & SK_USER_VERIFIED) != 0;

        job->touched = (op->says.flags & SK_USER_PRESENT) != 0;
        job->pin_typed &= verified;
        job->pin_device = verified && !job->pin_typed;
        if (!verified && (r->holder->pin == TOKEN_PIN_ALWAYS || r->v.pin == 0)) {
            r->out.reason = "the security key signed without verifying the person";
            return gpg_error(GPG_ERR_BAD_SIGNATURE);
        }
    }
    return 0;
}

static gpg_error_t run_on_holder(struct run *r)
{
    struct operation *op = r->op;
    struct token_job job = {
        .verb = op->verb,
        .word = op->word,
        .args = op->args,
        .key_id = r->holder->id,
        .use = op->use,
        .comment = op->id->comment,
        .hash = op->tosign.hash,
        .data = op->tosign.data,
        .pin_age = r->v.pin,
        .drop = drop_after_use(r),
        .want_touch = r->want_touch,
        .pin = run_on_pin,
        .inquire = run_on_inquire,
        .touch = run_on_touch,
        .queued = run_on_queued,
        .progress = op->progress != NULL ? run_on_progress : NULL,
        .arg = r,
    };
    gpg_error_t err;

    if (r->holder->whole && op->verb == TOKEN_SIGN && op->message.n > 0) {
        job.hash = 0;
        job.data = op->message;
    }
    /* A locked agent takes no PIN's word that was typed before the lock; a touch given now is as
     * good as a PIN. */
    if (r->was_locked && r->holder->touch != TOKEN_TOUCH_ALWAYS)
        job.pin_age = 0;
    /* A key that is being added gets in or not: left behind half-way, it would be the token's and
     * nobody's. */
    if (op->verb == TOKEN_ADDKEY) {
        r->w.client_fd = -1;
        r->w.ignore_lock = true;
    }
    run_fresh_deadline(r);
    if (op->patient)
        r->w.deadline_ms = INT64_MAX;
    err = token_run(r->holder->token, &r->w, &job);
    run_hide_notice(r);
    if (err != 0 && job.words != NULL) {
        gpgrt_free(r->reason);
        r->out.reason = r->reason = job.words;
        job.words = NULL;
    }
    gpgrt_free(job.words);
    if (err == 0 && op->verb == TOKEN_SIGN)
        err = take_signature(r, &job);
    r->out.pin = job.pin_typed    ? "typed"
                 : job.pin_cached ? "cached"
                 : job.pin_device ? "device"
                                  : "none";
    if (err != 0)
        goto out;
    if (r->want_touch && !job.touched && r->holder->touch == TOKEN_TOUCH_ALWAYS) {
        r->out.reason = "the token signed without the touch that it should have asked for";
        err = gpg_error(GPG_ERR_BAD_SIGNATURE);
        goto out;
    }
    if (r->was_locked && !job.pin_typed && !job.pin_device && !job.touched) {
        err = run_refuse(r, GPG_ERR_LOCKED,
                         "the agent is locked and the token showed no fresh proof");
        goto out;
    }
    /* Cached is what was typed for the same thing a moment ago: the other half of a key. */
    if (r->confirm_by_typing && !job.pin_typed && !job.pin_cached) {
        err = run_refuse(r, GPG_ERR_NOT_CONFIRMED,
                         "the policy wants it confirmed, and no passphrase was asked for");
        goto out;
    }
    if (r->confirm_by_typing && job.pin_typed)
        r->out.presence = "dialog";
    if (op->verb != TOKEN_SIGN) {
        op->result = job.result;
        job.result = BUF_INIT;
        op->lines = job.lines;
        job.lines = BUF_INIT;
    }
    if (job.touched)
        r->out.presence = "touch";
    if (job.device[0] != '\0')
        hotplug_note_device(r->a->hotplug, job.device);
    if (op->asserted) {
        if (job.pin_typed || job.pin_device || job.touched)
            hotplug_note_key_verified(r->a->hotplug, r->holder->token, r->holder->id);
    } else if ((job.pin_typed || job.touched) && !is_software(r->info)) {
        hotplug_note_verified(r->a->hotplug, r->holder->token);
    }
out:
    buf_free(&job.result);
    buf_free(&job.lines);
    return err;
}

static bool moved_away(gpg_error_t err)
{
    return gpg_err_code(err) == GPG_ERR_CARD_REMOVED || gpg_err_code(err) == GPG_ERR_ENODEV ||
           gpg_err_code(err) == GPG_ERR_CARD_NOT_PRESENT;
}

/* Any inserted token that holds the key will do: when one goes away under us, the next one serves.
 * But when the first one's going away locked the agent, nobody serves unasked. */
static gpg_error_t run_on_tokens(struct run *r)
{
    gpg_error_t err = run_on_holder(r);

    if (!moved_away(err) || r->held->nholders < 2 || lock_is_locked(r->a->lock))
        return err;
    if (choose_holder(r, r->holder) != 0)
        return err;
    r->want_dialog = r->dialog_is_presence = r->want_touch = r->want_standin = false;
    err = check_presence(r);
    if (err == 0)
        err = run_ask_dialog(r);
    if (err == 0)
        err = run_ask_standin(r);
    return err != 0 ? err : run_on_holder(r);
}

/* --- the straight path
 * ---------------------------------------------------------------------------------------------- */

static gpg_error_t walk(struct run *r)
{
    gpg_error_t err;

    if ((err = judge(r)) != 0 || (err = check_lock(r)) != 0 || (err = run_await_token(r)) != 0)
        return err;
    /* Which token it is may matter to the policy. */
    if ((r->snap != NULL && (err = judge(r)) != 0) || (err = make_scopes(r)) != 0 ||
        (err = choose_holder(r, NULL)) != 0)
        return err;
    check_rate(r);
    check_confirm(r);
    if ((err = check_presence(r)) != 0 || (err = run_ask_dialog(r)) != 0 ||
        (err = run_ask_standin(r)) != 0)
        return err;
    if (!r->op->judge_only && (err = run_on_tokens(r)) != 0)
        return err;
    /* The lock may have come while the token worked; then what the person showed was for before. */
    if ((err = wait_check(&r->w)) == 0 && lock_count(r->a->lock) != r->locks)
        err = gpg_error(GPG_ERR_LOCKED);
    return err;
}

static void note_success(struct run *r)
{
    struct grants *g = r->a->grants;
    bool shown = strcmp(r->out.presence, "touch") == 0 ||
                 (strcmp(r->out.presence, "dialog") == 0 && r->dialog_is_presence);
    char *how;

    if (shown && r->scope != NULL && r->v.touch == TOUCH_CACHED &&
        (r->stood_in || r->holder->touch != TOKEN_TOUCH_CACHED))
        grants_add_presence(g, r->scope, r->out.token != NULL ? r->out.token : "");
    if (r->approved && r->approval_scope != NULL)
        grants_approve(g, r->op->from->id, r->approval_scope);
    if (lock_count(r->a->lock) != r->locks)
        grants_wipe(g); /* the lock came between the last look and the new proof */
    lock_note_use(r->a->lock);
    /* A signature was verified, so that the token holds its keys. What was decrypted proves nothing:
     * the lock stays. */
    if (!r->was_locked || r->op->verb != TOKEN_SIGN)
        return;
    how = gpgrt_bsprintf("%s %s", strcmp(r->out.pin, "typed") == 0 ? "pin" : "touch",
                         r->out.token != NULL ? r->out.token : "");
    (void)lock_open(r->a, r->locks, how != NULL ? how : "token");
    gpgrt_free(how);
}

static char *error_text(const struct run *r, gpg_error_t err)
{
    const char *why = r->out.reason;
    const char *rule = r->v.rule.file;
    bool denied = gpg_err_code(err) == GPG_ERR_FORBIDDEN && r->op->refusal == NULL && rule != NULL;

    if (why == NULL)
        why = gpg_strerror(err);
    if (r->info != NULL && !denied)
        return gpgrt_bsprintf("%s: %s", r->info->label != NULL ? r->info->label : r->info->name,
                              why);
    if (denied && r->v.rule.line > 0)
        return gpgrt_bsprintf("%s:%u: %s (latchkey policy explain --last tells more)", rule,
                              r->v.rule.line, why);
    return gpgrt_strdup(why);
}

gpg_error_t broker_operate(struct operation *op)
{
    struct run r = {.op = op, .a = op->a, .held = op->id, .locks = lock_count(op->a->lock)};
    gpg_error_t err, audit_err;

    r.out = (struct outcome){
        .verdict = "refused", .presence = "none", .pin = "none", .started_ms = monotonic_ms()};
    r.v.notify = true;
    err = wait_begin(op->a->waits, &r.w, op->from->fd, 0);
    if (err != 0)
        return err;
    err = walk(&r);
    if (err == 0)
        note_success(&r);
    if (r.counted)
        grants_end_use(op->a->grants, r.grip, err == 0);
    wait_end(&r.w);
    run_hide_notice(&r);

    if (err != 0 && r.out.reason == NULL)
        r.out.reason = run_explain(&r, err);
    r.out.err = err;
    audit_err = broker_record(op, &r.v, &r.out);
    if (err == 0 && audit_err != 0) {
        err = audit_err;
        r.out.reason = "the audit log cannot be written, and what cannot be recorded is not done";
    }
    if (err != 0) {
        gcry_sexp_release(op->sig);
        op->sig = NULL;
        if (op->verb != TOKEN_ADDKEY)
            buf_free(&op->result);
        op->error_text = error_text(&r, err);
        gpgrt_log_info("%s refused or failed: %s\n", op->use,
                       op->error_text != NULL ? op->error_text : "?");
    }
    if (r.info != NULL)
        token_info_put(r.info);
    gpgrt_free(r.scope);
    gpgrt_free(r.approval_scope);
    gpgrt_free(r.reason);
    keyring_put(r.snap);
    return err;
}
