#include "agent/ctl_token.h"

#include "agent/broker.h"
#include "agent/ctl_object.h"
#include "agent/ctl_token_verbs.h"
#include "agent/hotplug.h"
#include "proto/token_protocol.h"

#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define MAX_VALUE 65536u
#define ASK_S     30u
#define SETTLE_MS 3000

/* --- the command -------------------------------------------------------------------------------------------------- */

struct call {
    assuan_context_t ctx;
    struct agent *a;
    const struct origin *from;
    const struct token_command *command;
    struct token *token;
    char *token_name, *verb, *slot;
    struct buf args; /* the verb's own fields */
};

/* Fields that the broker alone gives. */
static bool is_reserved(const char *field, size_t n)
{
    static const char *const names[] = {"token", "verb",    "key",  "job",  "use",
                                        "hash",  "pin-age", "drop", "touch"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strlen(names[i]) == n && strncmp(names[i], field, n) == 0)
            return true;
    return false;
}

static void copy_fields(const char *line, struct buf *args)
{
    while (*line != '\0') {
        size_t n = strcspn(line, " ");

        if (n > 0 && !is_reserved(line, strcspn(line, "= ")))
            buf_printf(args, "%s%.*s", args->len > 0 ? " " : "", (int)n, line);
        line += n + strspn(line + n, " ");
    }
}

static gpg_error_t parse(struct call *c, const char *line)
{
    gpg_error_t err;

    if ((err = field_get(line, "token", &c->token_name)) != 0 ||
        (err = field_get(line, "verb", &c->verb)) != 0 ||
        (err = field_get(line, "key", &c->slot)) != 0)
        return err;
    if (c->token_name == NULL || c->verb == NULL)
        return gpg_error(GPG_ERR_MISSING_VALUE);
    for (const struct token_command *t = token_commands; t->verb != NULL; t++)
        if (strcmp(t->verb, c->verb) == 0)
            c->command = t;
    if (c->command == NULL)
        return gpg_error(GPG_ERR_UNKNOWN_COMMAND);
    copy_fields(line, &c->args);
    return buf_err(&c->args);
}

static void call_clear(struct call *c)
{
    token_unref(c->token);
    gpgrt_free(c->token_name);
    gpgrt_free(c->verb);
    gpgrt_free(c->slot);
    buf_free(&c->args);
}

static gpg_error_t find_token(struct call *c)
{
    struct hotplug_entry *e;
    size_t n = 0;

    hotplug_settle(c->a->hotplug, SETTLE_MS);
    e = hotplug_entries(c->a->hotplug, &n);
    for (size_t i = 0; e != NULL && i < n && c->token == NULL; i++)
        if (e[i].token != NULL && e[i].name != NULL && strcasecmp(e[i].name, c->token_name) == 0 &&
            strcmp(e[i].state, "ready") == 0 && !token_gone(e[i].token))
            c->token = token_ref(e[i].token);
    if (e != NULL)
        hotplug_entries_free(e, n);
    return c->token != NULL ? 0 : gpg_error(GPG_ERR_NOT_FOUND);
}

/* --- what dialogs tell --------------------------------------------------------------------------------------------- */

static bool is_lost(const struct call *c, const struct holder *h)
{
    const char *prefix = c->command->loses_keys;

    if (h->token != c->token)
        return false;
    return c->command->loses_key ? c->slot != NULL && strcmp(h->id, c->slot) == 0
                                 : prefix != NULL && strncmp(h->id, prefix, strlen(prefix)) == 0;
}

static void put_key(struct buf *b, const struct identity *id, const struct holder *h)
{
    char *grip = hex_encode(id->key->grip, sizeof id->key->grip);

    buf_printf(b, "Lost:    the key %s, %s\n", h->id,
               id->key->fpr != NULL ? id->key->fpr
               : grip != NULL       ? grip
                                    : "?");
    gpgrt_free(grip);
}

/* What is lost by it, a line each, new string; NULL where nothing is. */
static char *tell_lost(const struct call *c)
{
    const struct keyring_snapshot *s = keyring_get(c->a->keyring);
    struct buf b = BUF_INIT;

    for (size_t i = 0; s != NULL && i < s->n; i++)
        for (size_t k = 0; k < s->ids[i]->nholders; k++)
            if (!s->ids[i]->from_file && is_lost(c, &s->ids[i]->holders[k]))
                put_key(&b, s->ids[i], &s->ids[i]->holders[k]);
    if (c->command->loses != NULL)
        buf_printf(&b, "Lost:    %s\n", c->command->loses);
    keyring_put(s);
    if (b.len > 0)
        return buf_steal_cstr(&b);
    buf_free(&b);
    return NULL;
}

/* "make a new key in piv-9a of YubiKey 123" */
static char *tell_use(const struct call *c, const char *label)
{
    return c->slot != NULL && c->command->of_slot
               ? gpgrt_bsprintf("%s in %.32s of %s", c->command->text, c->slot, label)
               : gpgrt_bsprintf("%s of %s", c->command->text, label);
}

/* --- talking to the client ------------------------------------------------------------------------------------------ */

static gpg_error_t pass_lines(struct call *c, struct rd lines)
{
    gpg_error_t err = 0;

    while (lines.n > 0 && err == 0) {
        const uint8_t *end = memchr(lines.p, '\n', lines.n);
        size_t n = end != NULL ? (size_t)(end - lines.p) : lines.n;
        char *copy = gpgrt_bsprintf("%.*s", (int)n, (const char *)lines.p), *blank;

        if (copy == NULL)
            return gpg_error_from_syserror();
        blank = strchr(copy, ' ');
        if (blank != NULL)
            *blank++ = '\0';
        err = assuan_write_status(c->ctx, copy, blank != NULL ? blank : "");
        gpgrt_free(copy);
        n += end != NULL;
        lines = rd_of(lines.p + n, lines.n - n);
    }
    return err;
}

static gpg_error_t answer(void *arg, struct wait *w, const char *line, struct buf *out)
{
    struct call *c = arg;
    unsigned char *data = NULL;
    size_t len = 0;
    gpg_error_t err;

    (void)w;
    ctl_set_timeout(c->from->fd, SO_RCVTIMEO, c->a->settings->message_timeout);
    assuan_begin_confidential(c->ctx);
    err = assuan_inquire(c->ctx, line, &data, &len, MAX_VALUE);
    assuan_end_confidential(c->ctx);
    ctl_set_timeout(c->from->fd, SO_RCVTIMEO, 0);
    if (err == 0)
        buf_put(out, data, len);
    if (data != NULL)
        explicit_bzero(data, len);
    assuan_free(c->ctx, data);
    return err != 0 ? err : buf_err(out);
}

static void progress(void *arg, const char *line)
{
    struct call *c = arg;

    (void)assuan_write_status(c->ctx, "PROGRESS", line);
}

static gpg_error_t send_result(struct call *c, const struct buf *result, const struct buf *lines)
{
    gpg_error_t err = pass_lines(c, buf_rd(lines));

    return err == 0 && result->len > 0 ? assuan_send_data(c->ctx, result->data, result->len) : err;
}

/* --- asking and changing -------------------------------------------------------------------------------------------- */

/* What only tells: nobody is asked, nothing is recorded. */
static gpg_error_t only_tell(struct call *c)
{
    struct token_job job = {
        .verb = TOKEN_OTHER, .word = c->verb, .key_id = c->slot, .pin_age = -1, .arg = c};
    struct wait w;
    gpg_error_t err = wait_begin(c->a->waits, &w, c->from->fd, ASK_S);

    if (err != 0)
        return err;
    job.args = c->args.len > 0 ? buf_cstr(&c->args) : NULL;
    w.ignore_lock = true;
    err = token_run(c->token, &w, &job);
    wait_end(&w);
    if (err == 0)
        err = send_result(c, &job.result, &job.lines);
    buf_free(&job.result);
    buf_free(&job.lines);
    return err;
}

static gpg_error_t change(struct call *c, char **text)
{
    const struct token_info *info = token_info_get(c->token);
    char *use = tell_use(c, info->label != NULL ? info->label : info->name), *lost = tell_lost(c);
    struct token_request r = {.use = c->command->use,
                              .use_text = use,
                              .what = lost,
                              .verb = TOKEN_OTHER,
                              .word = c->verb,
                              .answer = answer,
                              .progress = c->command->patient ? progress : NULL,
                              .answer_arg = c,
                              .patient = c->command->patient,
                              .confirm = lost != NULL};
    gpg_error_t err = use != NULL ? 0 : gpg_error_from_syserror();

    r.args = c->args.len > 0 ? buf_cstr(&c->args) : NULL;
    if (err == 0)
        err = broker_request_token(c->a, c->from, c->token, c->slot, &r);
    /* A change that failed on the way may have changed something. */
    if (c->command->relearn)
        (void)hotplug_relearn(c->a->hotplug, c->token);
    if (err == 0)
        err = send_result(c, &r.result, &r.lines);
    *text = r.error_text;
    r.error_text = NULL;
    token_request_clear(&r);
    gpgrt_free(use);
    gpgrt_free(lost);
    token_info_put(info);
    return err;
}

static char *explain(const struct call *c, gpg_error_t err)
{
    switch (gpg_err_code(err)) {
    case GPG_ERR_UNKNOWN_COMMAND:
        return gpgrt_bsprintf("this agent knows no %s: is it of another version?", c->verb);
    case GPG_ERR_NOT_FOUND:
        return gpgrt_bsprintf("no token is named %s: latchkey token list tells which there are",
                              c->token_name);
    case GPG_ERR_ASS_UNKNOWN_CMD:
    case GPG_ERR_NOT_SUPPORTED:
        return gpgrt_bsprintf("%s cannot do that", c->token_name);
    default:
        return NULL;
    }
}

gpg_error_t ctl_token(assuan_context_t ctx, struct agent *a, const struct origin *from,
                      const char *line, char **text)
{
    struct call c = {.ctx = ctx, .a = a, .from = from};
    gpg_error_t err = parse(&c, line);

    *text = NULL;
    if (err == 0)
        err = find_token(&c);
    if (err == 0)
        err = c.command->use == NULL ? only_tell(&c) : change(&c, text);
    if (err != 0 && *text == NULL)
        *text = explain(&c, err);
    call_clear(&c);
    return err;
}
