#include "agent/broker_standin.h"

#include "agent/ask.h"
#include "agent/broker_run.h"
#include "agent/hotplug.h"
#include "proto/sk_file.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>

#define NONCE_LEN 32u
/* Not a login, not SSHSIG, and for an application of its own: good for nothing else. */
#define MAGIC "latchkey-presence-v1"

/* --- asking and checking ------------------------------------------------------------------------------ */

struct question {
    const struct sk_list *set;
    struct rd message;
    const struct token_job *ask; /* the caller's callbacks */
};

static gpg_error_t put_credentials(const struct sk_list *set, struct buf *out)
{
    for (size_t i = 0; i < set->n; i++) {
        const struct sk_entry *e = &set->list[i];
        struct buf body = BUF_INIT;
        gpg_error_t err;

        sk_body_put(&body, e->key, SK_FLAG_PRESENCE, rd_of(e->handle, e->handle_len));
        buf_put_string(out, body.data, body.len);
        err = buf_err(&body);
        buf_free(&body);
        if (err != 0)
            return err;
    }
    return buf_err(out);
}

static gpg_error_t answer(void *arg, const char *line, struct buf *out)
{
    const struct question *q = arg;

    if (strcmp(line, "CREDENTIALS") == 0)
        return put_credentials(q->set, out);
    if (strcmp(line, "DATA") != 0)
        return gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
    buf_put_rd(out, q->message);
    return buf_err(out);
}

static gpg_error_t on_pin(void *arg, const struct token_pin_request *r, struct buf *pin)
{
    const struct question *q = arg;

    return q->ask->pin != NULL ? q->ask->pin(q->ask->arg, r, pin) : gpg_error(GPG_ERR_CANCELED);
}

static void on_touch(void *arg, bool on)
{
    const struct question *q = arg;

    if (q->ask->touch != NULL)
        q->ask->touch(q->ask->arg, on);
}

/* Which of SET signed, by the CREDENTIAL line among LINES. */
static const struct sk_entry *who_signed(const struct sk_list *set, struct buf *lines)
{
    const char *all = buf_cstr(lines), *line = all;
    size_t len = strlen(TOKEN_STATUS_CREDENTIAL);
    const struct sk_entry *who = NULL;

    while (line != NULL && *line != '\0') {
        size_t n = strcspn(line, "\n");
        char *one = strncmp(line, TOKEN_STATUS_CREDENTIAL " ", len + 1) == 0
                        ? gpgrt_bsprintf("%.*s", (int)(n - len - 1), line + len + 1)
                        : NULL;
        long i = -1;

        if (one != NULL && field_get_int(one, "n", -1, &i) == 0 && i >= 0 && (size_t)i < set->n)
            who = &set->list[i];
        gpgrt_free(one);
        line += n + (line[n] == '\n');
    }
    return who;
}

/* The process' word that somebody touched counts for nothing: what the token signed does. */
static gpg_error_t check(const struct question *q, struct token_job *job, struct standin *out)
{
    const struct sk_entry *e = who_signed(q->set, &job->lines);
    gcry_sexp_t sig = NULL;
    gpg_error_t err;

    if (e == NULL || !job->asserted || (job->says.flags & SK_USER_PRESENT) == 0 ||
        gcry_sexp_sscan(&sig, NULL, (const char *)job->result.data, job->result.len) != 0)
        return gpg_error(GPG_ERR_BAD_SIGNATURE);
    /* Over the application, these flags and this counter, and the message. */
    err = sk_sig_check(e->key, q->message, &job->says, sig);
    gcry_sexp_release(sig);
    if (err != 0)
        return gpg_error(GPG_ERR_BAD_SIGNATURE);
    *out = (struct standin){.label = e->label, .says = job->says};
    return 0;
}

void standin_begin(struct buf *b, const char *use)
{
    uint8_t nonce[NONCE_LEN];

    gcry_randomize(nonce, sizeof nonce, GCRY_STRONG_RANDOM);
    buf_put_cstring(b, MAGIC);
    buf_put_string(b, nonce, sizeof nonce);
    buf_put_cstring(b, use);
}

gpg_error_t standin_ask(struct agent *a, const struct sk_list *set, struct rd message,
                        struct wait *w, const struct token_job *ask, struct standin *out)
{
    struct question q = {.set = set, .message = message, .ask = ask};
    struct token_job job = {
        .verb = TOKEN_OTHER,
        .word = TOKEN_VERB_ASSERT,
        .use = "presence",
        .pin_age = 0, /* a proof of its own: a lock that comes does not end it */
        .want_touch = true,
        .inquire = answer,
        .pin = on_pin,
        .touch = on_touch,
        .arg = &q,
    };
    struct token *t = hotplug_security_keys(a->hotplug, NULL);
    gpg_error_t err;

    if (t == NULL)
        return gpg_error(GPG_ERR_ENODEV);
    err = token_run(t, w, &job);
    if (err == 0)
        err = check(&q, &job, out);
    if (err == 0 && job.device[0] != '\0')
        hotplug_note_device(a->hotplug, job.device);
    buf_free(&job.result);
    buf_free(&job.lines);
    token_unref(t);
    return err;
}

/* --- for an operation ------------------------------------------------------------------------------------ */

/* All that the touch is given for, and a number that was never there before: no other request can use the answer. */
static gpg_error_t put_message(const struct run *r, struct buf *b)
{
    const struct operation *op = r->op;
    struct rd key = op->id->key != NULL && op->id->key->plain != NULL
                        ? rd_of(op->id->key->plain, op->id->key->plain_len)
                        : rd_of(NULL, 0);
    char *chain = op->dest != NULL ? destination_chain(op->dest) : NULL;
    char *who = op->from->who != NULL ? requester_scope(op->from->who) : NULL;
    uint8_t digest[32];

    gcry_md_hash_buffer(GCRY_MD_SHA256, digest, op->tosign.data.p, op->tosign.data.n);
    standin_begin(b, op->use);
    buf_put_string(b, key.p, key.n);
    buf_put_cstring(b, r->grip);
    buf_put_cstring(b, op->args != NULL ? op->args : "");
    buf_put_u32(b, (uint32_t)op->tosign.hash);
    buf_put_string(b, digest, sizeof digest);
    buf_put_cstring(b, chain != NULL ? chain : "");
    buf_put_cstring(b, op->user != NULL ? op->user : "");
    buf_put_cstring(b, who != NULL ? who : "");
    buf_put_u64(b, op->from->who != NULL ? (uint64_t)op->from->who->pid : 0);
    gpgrt_free(chain);
    gpgrt_free(who);
    return buf_err(b);
}

static void tell(void *arg, bool on)
{
    struct run *r = arg;
    const char *label = r->info == NULL          ? "the token"
                        : r->info->label != NULL ? r->info->label
                                                 : r->info->name;

    run_hide_notice(r);
    if (on)
        run_show_notice(
            r, gpgrt_bsprintf("Touch your FIDO key to %s with %s", r->op->use_text, label));
}

static const char *explain(gpg_error_t err)
{
    switch (gpg_err_code(err)) {
    case GPG_ERR_CARD_NOT_PRESENT:
        return "none of the FIDO tokens enrolled for presence is plugged in (StandIn fido)";
    case GPG_ERR_TIMEOUT:
        return "no FIDO token enrolled for presence was touched in time (StandIn fido)";
    case GPG_ERR_BAD_SIGNATURE:
        return "what the FIDO token signed shows no touch for this request (StandIn fido)";
    case GPG_ERR_ENODEV:
        return "the process for FIDO tokens does not run (StandIn fido)";
    case GPG_ERR_CANCELED:
        return "the client hung up";
    default:
        return NULL;
    }
}

gpg_error_t run_ask_standin(struct run *r)
{
    const struct token_job ask = {.pin = run_on_pin, .touch = tell, .arg = r};
    struct sk_list *set;
    struct buf message = BUF_INIT;
    struct standin shown;
    gpg_error_t err;

    if (!r->want_standin || r->stood_in)
        return 0;
    set = sk_book_get(r->a->presence);
    if (set == NULL)
        return run_refuse(r, GPG_ERR_NOT_SUPPORTED,
                          "the policy wants a touch on an enrolled FIDO token (StandIn fido), and "
                          "none is enrolled: latchkey token enroll-presence");
    run_fresh_deadline(r);
    err = put_message(r, &message);
    if (err == 0)
        err = standin_ask(r->a, set, buf_rd(&message), &r->w, &ask, &shown);
    run_hide_notice(r);
    if (err == 0) {
        r->stood_in = true;
        r->out.presence = "touch";
        r->out.standin_says = shown.says;
        memcpy(r->standin_label, shown.label, strlen(shown.label) + 1);
        r->out.standin = r->standin_label;
    } else if (explain(err) != NULL) {
        (void)run_refuse(r, gpg_err_code(err), explain(err));
    }
    buf_free(&message);
    sk_list_unref(set);
    return err;
}
