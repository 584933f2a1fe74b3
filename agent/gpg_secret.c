/* Private keys of gpg's that are changed or go: PASSWD, DELETE_KEY, KEYTOTPM; and what all such commands share. */
#include "agent/gpg_secret.h"

#include "agent/gpg_dialog.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>

/* --- a change ----------------------------------------------------------------------------------------------------------------- */

void gpg_change_init(struct gpg_change *c, struct gpg_session *s, const char *use,
                     const char *use_text, const char *word, const char *grip)
{
    *c = (struct gpg_change){.s = s,
                             .use = use,
                             .use_text = use_text,
                             .verb = TOKEN_OTHER,
                             .word = word,
                             .grip = grip,
                             .asking = {.s = s, .typed_only = true},
                             .result = BUF_INIT_SECURE};
}

void gpg_change_clear(struct gpg_change *c)
{
    buf_free(&c->args);
    buf_free(&c->result);
    buf_free(&c->lines);
    gpgrt_free(c->desc);
    gpgrt_free(c->what);
}

void gpg_change_take_desc(struct gpg_change *c)
{
    char *name;

    c->desc = c->s->desc;
    c->s->desc = NULL;
    c->asking.desc = c->desc;
    name = c->desc != NULL ? gpg_quoted_name(c->desc) : NULL;
    c->what = name != NULL ? gpgrt_bsprintf("Name:    %s\n", name) : NULL;
    gpgrt_free(name);
}

static void pass_progress(void *arg, const char *line)
{
    gpg_pass_progress(((struct gpg_asking *)arg)->s, line);
}

gpg_error_t gpg_change_run(struct gpg_change *c)
{
    struct gpg_session *s = c->s;
    struct token_request r = {.use = c->use,
                              .use_text = c->use_text,
                              .what = c->what,
                              .verb = c->verb,
                              .word = c->word,
                              .answer = gpg_answer,
                              .answer_arg = &c->asking,
                              .progress = c->patient ? pass_progress : NULL,
                              .typed_confirms = c->typed_confirms,
                              .patient = c->patient};
    struct token *t = NULL;
    gpg_error_t err = gpg_store(s->a, &t);

    /* None of the commands here takes what is cached for a key: only nonces. */
    gpg_put_cache_fields(s, false, false, &c->args);
    if (err == 0 && buf_err(&c->args) != 0)
        err = buf_err(&c->args);
    if (err == 0) {
        r.args = buf_cstr(&c->args);
        err = broker_request_token(s->a, &s->origin, t, c->grip, &r);
    }
    token_unref(t);
    if (err == 0) {
        c->result = r.result;
        c->lines = r.lines;
        r.result = r.lines = BUF_INIT;
    } else {
        err = gpg_map_error(s, err, false);
        if (r.error_text != NULL)
            err = gpg_tell_error(s, err, r.error_text);
    }
    token_request_clear(&r);
    return err;
}

/* --- what stands on their command lines ------------------------------------------------------------------------------------ */

void gpg_change_put_word(struct gpg_change *c, const char *word, const char *field)
{
    size_t n = strcspn(word, " \t");
    char *copy = n > 0 ? gpgrt_bsprintf("%.*s", (int)n, word) : NULL;

    if (copy != NULL)
        field_put(&c->args, field, copy);
    gpgrt_free(copy);
}

void gpg_change_put_preset(struct gpg_change *c, const char *line)
{
    if (!gpg_has_option(line, "--preset"))
        return;
    field_put_int(&c->args, "preset", 1);
    field_put_int(&c->args, "preset-ttl", (long)c->s->preset_ttl);
}

void gpg_change_put_option(struct gpg_change *c, const char *line, const char *name,
                           const char *field)
{
    const char *value = gpg_option_value(line, name);

    if (value != NULL)
        gpg_change_put_word(c, value, field);
}

gpg_error_t gpg_change_put_time(struct gpg_change *c, const char *line)
{
    uint32_t created = 0;
    gpg_error_t err = gpg_read_timestamp(c->s, line, &created);

    if (err == 0 && created != 0)
        field_put_int(&c->args, "created", (long)created);
    return err;
}

gpg_error_t gpg_find_on_disk(struct gpg_session *s, const char *grip, gpg_err_code_t stub,
                             struct gpg_stored *out)
{
    gpg_error_t err = gpg_stored_get(s, grip, out);

    if (gpg_err_code(err) == GPG_ERR_NOT_FOUND)
        return gpg_fail(s, GPG_ERR_NO_SECKEY, NULL);
    if (err != 0)
        return gpg_map_error(s, err, false);
    return out->state == STORED_SHADOWED && stub != 0 ? gpg_fail(s, stub, NULL) : 0;
}

/* --- PASSWD ----------------------------------------------------------------------------------------------------------------- */

/* PASSWD [--cache-nonce=N] [--passwd-nonce=N] [--preset] [--verify] GRIP. For the policy it is an `import`: the private key is
 * written anew. */
static gpg_error_t cmd_passwd(struct gpg_session *s, char *line)
{
    bool verify = gpg_has_option(line, "--verify");
    struct gpg_stored file = {0};
    struct gpg_change c;
    char grip[GPG_GRIP_CHARS + 1];
    gpg_error_t err;

    gpg_change_init(&c, s, "import",
                    verify ? "check the passphrase of a gpg key"
                           : "change the passphrase of a gpg key",
                    TOKEN_VERB_PASSWD, grip);
    gpg_change_take_desc(&c);
    gpg_change_put_option(&c, line, "--cache-nonce", "cache-nonce");
    gpg_change_put_option(&c, line, "--passwd-nonce", "passwd-nonce");
    if (verify)
        field_put_int(&c.args, "verify", 1);
    gpg_change_put_preset(&c, line);
    err = gpg_parse_grip(s, gpg_skip_options(line), grip);
    if (err == 0)
        err = gpg_find_on_disk(s, grip, GPG_ERR_NOT_IMPLEMENTED, &file);
    if (err == 0)
        err = gpg_change_run(&c);
    if (err == 0)
        err = gpg_pass_nonces(s, buf_rd(&c.lines), true);
    gpg_stored_clear(&file);
    gpg_change_clear(&c);
    return err;
}

/* --- DELETE_KEY --------------------------------------------------------------------------------------------------------------- */

static gpg_error_t confirm_deletion(struct gpg_session *s, const struct gpg_stored *file,
                                    const char *desc)
{
    char *own = gpgrt_bsprintf("Do you really want to delete the key identified by "
                               "keygrip%%0A  %s%%0A  %%C%%0A?",
                               file->grip),
         *text = own != NULL ? gpg_describe_key(s, desc != NULL ? desc : own, file->grip) : NULL;
    static const struct prompt_text ssh_warning = {
        .desc = "Warning: This key is also listed for use with SSH!\nDeleting the key might remove "
                "your ability to access remote machines.",
        .ok = "Delete key",
        .cancel = "No"};
    struct wait w;
    gpg_error_t err;

    gpgrt_free(own);
    if (text == NULL)
        return gpg_error_from_syserror();
    err = wait_begin(s->a->waits, &w, s->origin.fd, 0);
    if (err == 0) {
        err = gpg_confirm(s, &w,
                          &(struct prompt_text){.desc = text, .ok = "Delete key", .cancel = "No"});
        if (err == 0 && file->ssh != 0)
            err = gpg_confirm(s, &w, &ssh_warning);
        wait_end(&w);
    }
    gpgrt_free(text);
    return gpg_map_error(s, err, false);
}

/* DELETE_KEY [--force] [--stub-only] GRIP. What is not worth a loopback is not worth a silent deletion either. */
static gpg_error_t cmd_delete_key(struct gpg_session *s, char *line)
{
    bool force = gpg_has_option(line, "--force") && s->conf->allow_loopback,
         stub_only = gpg_has_option(line, "--stub-only");
    struct gpg_stored file = {0};
    struct gpg_change c;
    char grip[GPG_GRIP_CHARS + 1];
    gpg_error_t err;

    gpg_change_init(&c, s, "delete", "delete a gpg key", TOKEN_VERB_DELKEY, grip);
    gpg_change_take_desc(&c);
    c.verb = TOKEN_DELKEY;
    err = gpg_parse_grip(s, gpg_skip_options(line), grip);
    if (err == 0)
        err = gpg_find_on_disk(s, grip, 0, &file);
    if (err == 0 && file.state != STORED_SHADOWED) {
        if (stub_only)
            err = gpg_fail(s, GPG_ERR_FORBIDDEN, "this is no stub");
        else if (!force)
            err = confirm_deletion(s, &file, c.desc);
    }
    if (err == 0)
        err = gpg_change_run(&c);
    gpg_stored_clear(&file);
    gpg_change_clear(&c);
    return err;
}

static gpg_error_t cmd_keytotpm(struct gpg_session *s, char *line)
{
    (void)line;
    return gpg_fail(s, GPG_ERR_NOT_SUPPORTED, "keys are not kept in TPMs");
}

const struct gpg_command gpg_secret_commands[] = {
    {"PASSWD", cmd_passwd, false,
     "PASSWD [--cache-nonce=<c>] [--passwd-nonce=<s>] [--preset] [--verify] "
     "<hexkeygrip>\n\nChanges the passphrase of a key."},
    {"DELETE_KEY", cmd_delete_key, false,
     "DELETE_KEY [--force|--stub-only] <hexstring_with_keygrip>\n\nDeletes a key, after asking."},
    {"KEYTOTPM", cmd_keytotpm, false,
     "KEYTOTPM <hexstring_with_keygrip>\n\nNot supported by this agent."},
    {0},
};
