#include "agent/broker_fido.h"

#include "agent/hotplug.h"
#include "agent/operation.h"
#include "agent/sk_book.h"
#include "proto/token_protocol.h"

#include <string.h>

#define TELL_S 30u

/* --- credentials ------------------------------------------------------------------------------------------ */

void fido_credential_clear(struct fido_credential *c)
{
    key_unref(c->key);
    buf_free(&c->handle);
    gpgrt_free(c->user);
    *c = (struct fido_credential){0};
}

gpg_error_t fido_credential_parse(const char *fields, struct fido_credential *out)
{
    struct fido_credential c = {0};
    struct buf blob = BUF_INIT;
    char *key = NULL, *handle = NULL;
    long flags;
    gpg_error_t err;

    if ((err = field_get(fields, "blob", &key)) != 0 ||
        (err = field_get(fields, "handle", &handle)) != 0 ||
        (err = field_get(fields, "user", &c.user)) != 0 ||
        (err = field_get_int(fields, "flags", -1, &flags)) != 0)
        goto out;
    if (key == NULL || handle == NULL || flags < 0 || flags > 0xff)
        err = gpg_error(GPG_ERR_MISSING_VALUE);
    if (err == 0)
        err = b64_decode(key, strlen(key), &blob);
    if (err == 0)
        err = b64_decode(handle, strlen(handle), &c.handle);
    if (err == 0)
        err = key_from_blob(buf_rd(&blob), &c.key);
    if (err == 0 && (!key_is_sk(c.key) || c.key->cert != NULL || c.handle.len == 0))
        err = gpg_error(GPG_ERR_BAD_DATA);
    c.flags = (uint8_t)(flags & 0xff);
out:
    gpgrt_free(key);
    gpgrt_free(handle);
    buf_free(&blob);
    if (err != 0)
        fido_credential_clear(&c);
    else
        *out = c;
    return err;
}

gpg_error_t fido_lines(struct buf *lines, const char *keyword,
                       gpg_error_t (*each)(void *arg, const char *fields), void *arg)
{
    const char *line = lines->len > 0 ? buf_cstr(lines) : "";
    size_t len = strlen(keyword);
    gpg_error_t err = buf_err(lines);

    while (err == 0 && *line != '\0') {
        size_t n = strcspn(line, "\n");

        if (n > len && strncmp(line, keyword, len) == 0 && line[len] == ' ') {
            char *fields = gpgrt_bsprintf("%.*s", (int)(n - len - 1), line + len + 1);

            err = fields != NULL ? each(arg, fields) : gpg_error_from_syserror();
            gpgrt_free(fields);
        }
        line += n + (line[n] == '\n');
    }
    return err;
}

/* --- having it done ------------------------------------------------------------------------------------------ */

static char *explain(gpg_error_t err)
{
    switch (gpg_err_code(err)) {
    case GPG_ERR_ENXIO:
        return gpgrt_strdup("no FIDO token is plugged in");
    case GPG_ERR_EEXIST:
        return gpgrt_strdup("the token keeps a key for that application and user already: --force "
                            "puts the new one in its place, and the old one is lost");
    case GPG_ERR_NOT_SUPPORTED:
        return gpgrt_strdup("the FIDO token cannot do that");
    case GPG_ERR_INV_LENGTH:
        return gpgrt_strdup(
            "the FIDO token does not take that PIN: it is too short, or too simple");
    case GPG_ERR_ENOSPC:
        return gpgrt_strdup("the FIDO token has no room for more keys: delete one first");
    case GPG_ERR_CARD_NOT_PRESENT:
        return gpgrt_strdup("no FIDO token that keeps it is plugged in");
    default:
        return NULL;
    }
}

/* Nothing is asked of anybody. */
static gpg_error_t tell(struct agent *a, const struct origin *from, struct token *t,
                        const struct fido_task *task, struct buf *lines)
{
    struct token_job job = {.verb = TOKEN_OTHER, .word = task->verb, .args = task->args};
    struct wait w;
    gpg_error_t err = wait_begin(a->waits, &w, from->fd, TELL_S);

    if (err != 0)
        return err;
    w.ignore_lock = true;
    err = token_run(t, &w, &job);
    wait_end(&w);
    *lines = job.lines;
    buf_free(&job.result);
    return err;
}

static gpg_error_t change(struct agent *a, const struct origin *from, struct token *t,
                          const struct fido_task *task, struct buf *lines, char **error_text)
{
    static char comment[] = "the security key", no_id[] = "";
    struct change c;
    gpg_error_t err = change_init(&c, a, from, task->use, t, NULL, comment);

    if (err == 0) {
        c.holder.id = no_id;
        if (task->makes)
            c.holder.touch = TOKEN_TOUCH_ALWAYS;
        c.op.verb = TOKEN_OTHER;
        c.op.word = task->verb;
        c.op.args = task->args;
        c.op.use_text = task->use_text;
        c.op.what = task->what;
        c.op.confirm = task->confirm;
        err = broker_operate(&c.op);
        *lines = c.op.lines;
        *error_text = c.op.error_text;
        c.op.lines = BUF_INIT;
        c.op.error_text = NULL;
        c.holder.id = NULL;
    }
    change_clear(&c);
    return err;
}

gpg_error_t broker_fido(struct agent *a, const struct origin *from, const struct fido_task *t,
                        struct buf *lines, char **error_text)
{
    struct token *token = hotplug_security_keys(a->hotplug, NULL);
    char *text;
    gpg_error_t err;

    *error_text = NULL;
    if (token == NULL) {
        *error_text = gpgrt_strdup("the process for FIDO tokens does not run");
        return gpg_error(GPG_ERR_ENODEV);
    }
    err = t->use != NULL ? change(a, from, token, t, lines, error_text)
                         : tell(a, from, token, t, lines);
    token_unref(token);
    text = err != 0 ? explain(err) : NULL;
    if (text != NULL) {
        gpgrt_free(*error_text);
        *error_text = text;
    }
    return err;
}

/* --- presence ---------------------------------------------------------------------------------------------------- */

static gpg_error_t take_one(void *arg, const char *fields)
{
    struct fido_credential *c = arg;

    return c->key == NULL ? fido_credential_parse(fields, c) : gpg_error(GPG_ERR_BAD_DATA);
}

/* Before anybody is bothered. */
static gpg_error_t check_name(struct agent *a, const char *name, char **error_text)
{
    struct sk_list *s;
    gpg_error_t err = 0;

    if (!sk_book_name_ok(name)) {
        *error_text = gpgrt_strdup("a name has 1 to 32 letters, digits, and \"-_.\"");
        return gpg_error(GPG_ERR_INV_NAME);
    }
    s = sk_book_get(a->presence);
    for (size_t i = 0; s != NULL && i < s->n; i++)
        if (strcmp(s->list[i].label, name) == 0)
            err = gpg_error(GPG_ERR_EEXIST);
    if (s != NULL && s->n >= sk_book_presence.max)
        err = gpg_error(GPG_ERR_TOO_MANY);
    sk_list_unref(s);
    if (gpg_err_code(err) == GPG_ERR_EEXIST)
        *error_text =
            gpgrt_bsprintf("a token named %s is enrolled already: latchkey token presence "
                           "--forget %s, or another --name",
                           name, name);
    else if (err != 0)
        *error_text = gpgrt_strdup("no more than 8 tokens can be enrolled: latchkey token presence "
                                   "--forget NAME");
    return err;
}

gpg_error_t broker_fido_enroll(struct agent *a, const struct origin *from, const char *name,
                               char **error_text)
{
    const struct fido_task task = {
        .verb = TOKEN_VERB_GENERATE,
        .args = "application=" PRESENCE_APPLICATION " algo=ecdsa",
        .use = "card-admin",
        .use_text = "enroll a FIDO token, whose touch then counts as presence for other tokens",
        .makes = true,
        .confirm = true};
    struct fido_credential c = {0};
    struct buf lines = BUF_INIT;
    gpg_error_t err = check_name(a, name, error_text);

    if (err == 0)
        err = broker_fido(a, from, &task, &lines, error_text);
    if (err == 0)
        err = fido_lines(&lines, TOKEN_STATUS_CREDENTIAL, take_one, &c);
    if (err == 0 && c.key == NULL)
        err = gpg_error(GPG_ERR_NO_DATA);
    if (err == 0) {
        err = sk_book_add(a->presence, c.key, buf_rd(&c.handle), c.flags, name);
        if (err != 0)
            *error_text = gpgrt_bsprintf("what was made cannot be kept: %s", gpg_strerror(err));
    }
    fido_credential_clear(&c);
    buf_free(&lines);
    return err;
}
