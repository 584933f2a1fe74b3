/* gpg-agent's protocol (Assuan): a conversation, and what all its commands share. */
#include "agent/gpg_dialog.h"

#include "agent/ctl_object.h"
#include "agent/grants.h"
#include "proto/git_object.h"
#include "proto/token_protocol.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_ERROR_TEXT 300u

static const struct gpg_command *const tables[] = {
    gpg_info_commands,     gpg_key_commands,       gpg_sign_commands,       gpg_secret_commands,
    gpg_generate_commands, gpg_transfer_commands,  gpg_passphrase_commands, gpg_trust_commands,
    gpg_card_commands,     gpg_keytocard_commands, gpg_scd_commands,
};
#define TABLES (sizeof tables / sizeof tables[0])

/* --- command lines ----------------------------------------------------------------------------------------------------- */

const char *gpg_option_value(const char *line, const char *name)
{
    size_t n = strlen(name);

    for (line += strspn(line, " \t"); line[0] == '-' && line[1] == '-';
         line += strspn(line, " \t")) {
        size_t len = strcspn(line, " \t");

        if (len == 2)
            return NULL;
        if (len >= n && strncmp(line, name, n) == 0 && (len == n || line[n] == '='))
            return line + n + (len > n ? 1 : 0);
        line += len;
    }
    return NULL;
}

bool gpg_has_option(const char *line, const char *name)
{
    return gpg_option_value(line, name) != NULL;
}

char *gpg_skip_options(char *line)
{
    for (line += strspn(line, " \t"); line[0] == '-' && line[1] == '-';
         line += strspn(line, " \t")) {
        size_t len = strcspn(line, " \t");

        line += len;
        if (len == 2)
            return line + strspn(line, " \t");
    }
    return line;
}

gpg_error_t gpg_parse_grip(struct gpg_session *s, const char *line, char grip[GPG_GRIP_CHARS + 1])
{
    size_t n = 0;

    while (n < GPG_GRIP_CHARS && isxdigit((unsigned char)line[n])) {
        grip[n] = (char)toupper((unsigned char)line[n]);
        n++;
    }
    grip[n] = '\0';
    if (n == GPG_GRIP_CHARS && (line[n] == '\0' || isspace((unsigned char)line[n])))
        return 0;
    grip[0] = '\0';
    return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "invalid or missing keygrip");
}

/* --- answers ------------------------------------------------------------------------------------------------------------ */

gpg_error_t gpg_tell_error(struct gpg_session *s, gpg_error_t err, const char *text)
{
    char *clean = text != NULL ? text_clean(text, strlen(text), MAX_ERROR_TEXT) : NULL;

    gpgrt_free(s->error_text);
    s->error_text = clean;
    return assuan_set_error(s->ctx, err, clean);
}

gpg_error_t gpg_fail(struct gpg_session *s, gpg_err_code_t code, const char *text)
{
    return gpg_tell_error(s, gpg_err_make(GPG_ERR_SOURCE_GPGAGENT, code), text);
}

gpg_error_t gpg_status(struct gpg_session *s, const char *keyword, const char *fmt, ...)
{
    va_list ap;
    char *text;
    gpg_error_t err;

    va_start(ap, fmt);
    text = gpgrt_vbsprintf(fmt, ap);
    va_end(ap);
    err = text != NULL ? assuan_write_status(s->ctx, keyword, text) : gpg_error_from_syserror();
    gpgrt_free(text);
    return err;
}

gpg_error_t gpg_send(struct gpg_session *s, struct rd data, bool secret)
{
    gpg_error_t err;

    if (secret)
        assuan_begin_confidential(s->ctx);
    err = assuan_send_data(s->ctx, data.p, data.n);
    if (err == 0)
        err = assuan_send_data(s->ctx, NULL, 0);
    if (secret)
        assuan_end_confidential(s->ctx);
    return err;
}

gpg_error_t gpg_inquire(struct gpg_session *s, const char *line, size_t max, bool tell_max,
                        bool secret, struct buf *out)
{
    unsigned char *data = NULL;
    size_t len = 0;
    gpg_error_t err = tell_max ? gpg_status(s, "INQUIRE_MAXLEN", "%zu", max) : 0;

    if (err != 0)
        return err;
    if (secret)
        assuan_begin_confidential(s->ctx);
    err = assuan_inquire(s->ctx, line, &data, &len, max);
    if (secret)
        assuan_end_confidential(s->ctx);
    if (err == 0)
        buf_put(out, data, len);
    if (data != NULL)
        explicit_bzero(data, len);
    assuan_free(s->ctx, data);
    return err != 0 ? err : buf_err(out);
}

/* Whose word an error is: gpg shows the source, and acts on a few codes with theirs. */
gpg_error_t gpg_map_error(struct gpg_session *s, gpg_error_t err, bool from_card)
{
    gpg_err_code_t code = gpg_err_code(err);

    if (gpg_err_source(err) == GPG_ERR_SOURCE_PINENTRY && code != GPG_ERR_FULLY_CANCELED)
        return err;
    switch (code) {
    case GPG_ERR_NO_ERROR:
        return 0;
    case GPG_ERR_FULLY_CANCELED:
        if (!s->knows_fully_canceled)
            code = GPG_ERR_CANCELED;
        return gpg_err_make(GPG_ERR_SOURCE_PINENTRY, code);
    case GPG_ERR_CANCELED:
    case GPG_ERR_NOT_CONFIRMED:
        return gpg_err_make(
            s->ask.mode == ASK_CANCEL ? GPG_ERR_SOURCE_GPGAGENT : GPG_ERR_SOURCE_PINENTRY, code);
    case GPG_ERR_CARD_REMOVED:
    case GPG_ERR_CARD_NOT_PRESENT:
    case GPG_ERR_ENODEV:
    case GPG_ERR_BAD_PIN:
    case GPG_ERR_PIN_BLOCKED:
    case GPG_ERR_CARD:
    case GPG_ERR_CARD_RESET:
        return gpg_err_make(GPG_ERR_SOURCE_SCD, code);
    case GPG_ERR_FORBIDDEN:
    case GPG_ERR_LOCKED:
    case GPG_ERR_NO_PIN_ENTRY:
    case GPG_ERR_NO_SECKEY:
    case GPG_ERR_BAD_PASSPHRASE:
        return gpg_err_make(GPG_ERR_SOURCE_GPGAGENT, code);
    default:
        return gpg_err_make(from_card ? GPG_ERR_SOURCE_SCD : GPG_ERR_SOURCE_GPGAGENT, code);
    }
}

/* --- asking the client instead of the person ------------------------------------------------------------------------------- */

gpg_error_t gpg_inquire_passphrase(struct gpg_session *s, const char *line, size_t max,
                                   bool tell_max, struct buf *secret)
{
    struct buf answer = BUF_INIT_SECURE;
    gpg_error_t err = gpg_inquire(s, line, max, tell_max, true, &answer);

    while (err == 0 && answer.len > 0 && answer.data[answer.len - 1] == '\0')
        answer.len--;
    if (err == 0 && buf_cstr(&answer) == NULL)
        err = buf_err(&answer);
    if (err == 0) {
        buf_free(secret);
        *secret = answer;
        answer = BUF_INIT_SECURE;
    }
    buf_free(&answer);
    return err;
}

static gpg_error_t ask_client(void *arg, bool fresh, size_t max, struct buf *secret)
{
    return gpg_inquire_passphrase(arg, fresh ? "NEW_PASSPHRASE" : "PASSPHRASE", max, true, secret);
}

/* gpg passes this on to whoever reads its status lines. */
static gpg_error_t tell_launched(void *arg, const char *info)
{
    struct gpg_session *s = arg;
    struct buf none = BUF_INIT;
    char *line;
    gpg_error_t err;

    if (!s->notify)
        return 0;
    line = gpgrt_bsprintf("PINENTRY_LAUNCHED %s", info);
    if (line == NULL)
        return gpg_error_from_syserror();
    err = gpg_inquire(s, line, 512, false, false, &none);
    buf_free(&none);
    gpgrt_free(line);
    return err;
}

/* --- a conversation ----------------------------------------------------------------------------------------------------------- */

static void forget_selection(struct gpg_session *s)
{
    s->grip[0] = '\0';
    gpgrt_free(s->desc);
    s->desc = NULL;
    s->hash = GPG_HASH_NONE_YET;
    s->pss = false;
    buf_free(&s->tbs);
    s->tbs = BUF_INIT;
}

/* Its passphrase is not to be had by it any more. */
static void drop_nonce(struct gpg_session *s, char **nonce)
{
    struct buf args = BUF_INIT;

    if (*nonce == NULL)
        return;
    field_put(&args, "do", "clear");
    field_put(&args, "id", *nonce);
    field_put(&args, "mode", "nonce");
    if (buf_cstr(&args) != NULL)
        (void)gpg_ask_store(s, NULL, TOKEN_VERB_CACHE, buf_cstr(&args), NULL, NULL);
    buf_free(&args);
    gpgrt_free(*nonce);
    *nonce = NULL;
}

/* Nonces of PASSWD and EXPORT_KEY end with it, those of GENKEY and IMPORT_KEY are for what follows. */
static gpg_error_t on_reset(assuan_context_t ctx, char *line)
{
    struct gpg_session *s = assuan_get_pointer(ctx);

    (void)line;
    forget_selection(s);
    drop_nonce(s, &s->last_cache_nonce);
    drop_nonce(s, &s->last_passwd_nonce);
    return 0;
}

static const struct gpg_command *find_command(const char *name)
{
    for (size_t t = 0; t < TABLES; t++)
        for (const struct gpg_command *c = tables[t]; c->name != NULL; c++)
            if (strcmp(c->name, name) == 0)
                return c;
    return NULL;
}

static gpg_error_t run_command(assuan_context_t ctx, char *line)
{
    struct gpg_session *s = assuan_get_pointer(ctx);
    const struct gpg_command *c = find_command(assuan_get_command_name(ctx));
    struct buf own = BUF_INIT_SECURE; /* libassuan's line is gone after the first inquiry */
    gpg_error_t err;

    if (s->level != GPG_FULL && !c->restricted_ok)
        return gpg_err_make(GPG_ERR_SOURCE_GPGAGENT, GPG_ERR_FORBIDDEN);
    line += strspn(line, " \t");
    buf_put(&own, line, strlen(line) + 1);
    if (buf_err(&own) != 0)
        return buf_err(&own);
    s->conf = gpg_config_get(s->a);
    gpg_style(s, NULL, &s->style);
    s->ask.style = &s->style;
    err = c->run(s, (char *)own.data);
    s->ask.style = NULL;
    buf_free(&own);
    gpg_config_put(s->conf);
    s->conf = NULL;
    return err;
}

static gpg_error_t before_command(assuan_context_t ctx, const char *name)
{
    struct gpg_session *s = assuan_get_pointer(ctx);

    (void)name;
    return activity_begin(s->activity) ? 0 : gpg_error(GPG_ERR_CANCELED);
}

static void after_command(assuan_context_t ctx, gpg_error_t err)
{
    struct gpg_session *s = assuan_get_pointer(ctx);

    (void)err;
    activity_end(s->activity);
}

static gpg_error_t register_all(struct gpg_session *s)
{
    gpg_error_t err = 0;

    for (size_t t = 0; t < TABLES; t++)
        for (const struct gpg_command *c = tables[t]; c->name != NULL && err == 0; c++)
            err = assuan_register_command(s->ctx, c->name, run_command, c->help);
    if (err == 0)
        err = assuan_register_option_handler(s->ctx, gpg_on_option);
    if (err == 0)
        err = assuan_register_reset_notify(s->ctx, on_reset);
    if (err == 0)
        err = assuan_register_pre_cmd_notify(s->ctx, before_command);
    if (err == 0)
        err = assuan_register_post_cmd_notify(s->ctx, after_command);
    return err;
}

static void session_clear(struct gpg_session *s)
{
    s->origin.fd = -1; /* that the client is gone is no reason to do it by halves */
    forget_selection(s);
    drop_nonce(s, &s->last_cache_nonce);
    drop_nonce(s, &s->last_passwd_nonce);
    for (size_t i = 0; s->env != NULL && s->env[i] != NULL; i++)
        gpgrt_free(s->env[i]);
    gpgrt_free(s->env);
    buf_free(&s->import_key);
    buf_free(&s->export_key);
    gpg_scd_free(s);
    grants_drop_origin(s->a->grants, s->origin.id);
    requester_free(s->origin.who);
}

/* Passphrases pass through a conversation's buffers. */
static struct assuan_malloc_hooks secure = {
    .malloc = gcry_malloc_secure, .realloc = gcry_realloc, .free = gcry_free};

/* IN and OUT: one socket, or (--server) a pipe's two ends. */
static void serve(struct agent *a, int in, int out, struct activity *act, enum gpg_level level)
{
    static atomic_uint_fast64_t connections = UINT64_C(1)
                                              << 61; /* apart from the other sessions' */
    struct gpg_session s = {
        .a = a,
        .origin = {.id = ++connections, .fd = in, .extra_socket = level != GPG_FULL},
        .activity = act,
        .level = level,
        .cache_for_signing = true,
        .preset_ttl = 900,
        .tbs = BUF_INIT,
        .import_key = BUF_INIT_SECURE,
        .export_key = BUF_INIT_SECURE};
    int own =
        in == out ? dup(in) : -1; /* libassuan closes its descriptor, the server closes its own */
    gpg_error_t err;

    s.ask = (struct ask){.loopback = ask_client, .launched = tell_launched, .arg = &s};
    s.origin.ask = &s.ask;
    err = in == out && own < 0 ? gpg_error_from_syserror() : requester_new(in, &s.origin.who);
    if (err == 0 && level != GPG_FULL)
        err = gpg_startup_fill(a->gpg, s.origin.who);
    if (err == 0)
        err = assuan_new_ext(&s.ctx, GPG_ERR_SOURCE_GPGAGENT, &secure, NULL, NULL);
    if (err != 0)
        goto end;
    assuan_set_pointer(s.ctx, &s);
    if (in == out) {
        ctl_set_timeout(in, SO_SNDTIMEO, a->settings->message_timeout);
        err = assuan_init_socket_server(s.ctx, own, ASSUAN_SOCKET_SERVER_ACCEPTED);
        if (err == 0)
            own = -1;
    } else {
        assuan_fd_t fds[2] = {in, out};

        err = assuan_init_pipe_server(s.ctx, fds);
    }
    if (err == 0)
        err = register_all(&s);
    if (err == 0)
        err = assuan_accept(s.ctx);
    if (err == 0)
        err = assuan_process(s.ctx);
    if (err != 0 && gpg_err_code(err) != GPG_ERR_EOF)
        gpgrt_log_info("gpg connection: %s\n", gpg_strerror(err));
end:
    if (s.ctx != NULL)
        assuan_release(s.ctx);
    gpgrt_free(s.error_text);
    if (own >= 0)
        close(own);
    if (s.ends)
        gpg_agent_kill(a->gpg);
    session_clear(&s);
}

void gpg_session_serve(struct agent *a, int fd, struct activity *act)
{
    serve(a, fd, fd, act, GPG_FULL);
}

void gpg_session_serve_extra(struct agent *a, int fd, struct activity *act)
{
    serve(a, fd, fd, act, GPG_EXTRA);
}

void gpg_session_serve_browser(struct agent *a, int fd, struct activity *act)
{
    serve(a, fd, fd, act, GPG_BROWSER);
}

void gpg_session_serve_pipe(struct agent *a, int in, int out, struct activity *act)
{
    serve(a, in, out, act, GPG_FULL);
}
