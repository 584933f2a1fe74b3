/* gpg-agent's protocol (Assuan): the opening, OPTION, GETINFO, and what all commands share. */
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

#define MAX_ENV        64u
#define MAX_ERROR_TEXT 300u

static const struct gpg_command session_commands[];

static const struct gpg_command *const tables[] = {
    session_commands,      gpg_key_commands,       gpg_sign_commands,       gpg_secret_commands,
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

/* --- OPTION ------------------------------------------------------------------------------------------------------------------ */

static gpg_error_t set_text(char **to, const char *value)
{
    char *copy = value[0] != '\0' ? gpgrt_strdup(value) : NULL;

    if (copy == NULL && value[0] != '\0')
        return gpg_error_from_syserror();
    gpgrt_free(*to);
    *to = copy;
    return 0;
}

static size_t env_count(const struct gpg_session *s)
{
    size_t n = 0;

    while (s->env != NULL && s->env[n] != NULL)
        n++;
    return n;
}

static bool is_variable(const char *entry, const char *name, size_t n)
{
    return strncmp(entry, name, n) == 0 && entry[n] == '=';
}

/* "NAME=VALUE", "NAME=" empties, "NAME" deletes. */
static gpg_error_t put_env(struct gpg_session *s, const char *text)
{
    size_t len = strcspn(text, "="), n = env_count(s), i = 0;
    char **more, *copy;

    if (len == 0)
        return gpg_error(GPG_ERR_INV_VALUE);
    while (i < n && !is_variable(s->env[i], text, len))
        i++;
    if (text[len] == '\0') {
        if (i == n)
            return 0;
        gpgrt_free(s->env[i]);
        s->env[i] = s->env[n - 1];
        s->env[n - 1] = NULL;
        return 0;
    }
    copy = gpgrt_strdup(text);
    if (copy == NULL)
        return gpg_error_from_syserror();
    if (i < n) {
        gpgrt_free(s->env[i]);
        s->env[i] = copy;
        return 0;
    }
    more = n < MAX_ENV ? gpgrt_reallocarray(s->env, n + (n > 0), n + 2, sizeof *more) : NULL;
    if (more == NULL) {
        gpgrt_free(copy);
        return gpg_error(GPG_ERR_TOO_MANY);
    }
    s->env = more;
    more[n] = copy;
    more[n + 1] = NULL;
    return 0;
}

/* Variables that the requester's facts have a place for. */
static gpg_error_t opt_putenv(struct gpg_session *s, const char *value)
{
    static const char *const known[] = {"WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"};
    struct requester *r = s->origin.who;
    char **const places[] = {&r->wayland_display, &r->dbus};
    size_t len = strcspn(value, "=");
    gpg_error_t err = put_env(s, value);

    for (size_t i = 0; i < 2 && err == 0; i++)
        if (strlen(known[i]) == len && strncmp(known[i], value, len) == 0)
            err = set_text(places[i], value[len] == '=' ? value + len + 1 : "");
    return err;
}

/* Is a version string at least 2.1.0? */
static gpg_error_t opt_awareness(struct gpg_session *s, const char *value)
{
    unsigned major = 0, minor = 0;

    s->knows_fully_canceled =
        sscanf(value, "%u.%u", &major, &minor) == 2 && (major > 2 || (major == 2 && minor >= 1));
    return 0;
}

static gpg_error_t opt_number(const char *value, unsigned long *out)
{
    char *end;
    unsigned long n = strtoul(value, &end, 10);

    if (!isdigit((unsigned char)value[0]) || *end != '\0')
        return gpg_error(GPG_ERR_INV_VALUE);
    *out = n;
    return 0;
}

static gpg_error_t opt_cache_for_signing(struct gpg_session *s, const char *value)
{
    s->cache_for_signing = value[0] == '\0' || atoi(value) != 0;
    return 0;
}

static gpg_error_t opt_notify(struct gpg_session *s, const char *value)
{
    (void)value;
    s->notify = true;
    return 0;
}

static gpg_error_t opt_mode(struct gpg_session *s, const char *value)
{
    static const struct {
        const char *word;
        enum ask_mode mode;
    } modes[] = {{"ask", ASK_DIALOG},
                 {"default", ASK_DIALOG},
                 {"loopback", ASK_LOOPBACK},
                 {"cancel", ASK_CANCEL},
                 {"error", ASK_ERROR}};

    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(modes[i].word, value) != 0)
            continue;
        if (modes[i].mode == ASK_LOOPBACK && !s->conf->allow_loopback)
            return gpg_error(GPG_ERR_NOT_SUPPORTED);
        s->ask.mode = modes[i].mode;
        return 0;
    }
    return gpg_error(GPG_ERR_INV_VALUE);
}

static gpg_error_t opt_preset_ttl(struct gpg_session *s, const char *value)
{
    unsigned long n;
    gpg_error_t err = opt_number(value, &n);

    if (err == 0)
        s->preset_ttl = n > UINT32_MAX ? UINT32_MAX : (unsigned)n;
    return err;
}

static gpg_error_t opt_s2k_count(struct gpg_session *s, const char *value)
{
    unsigned long n;
    gpg_error_t err = opt_number(value, &n);

    if (err == 0)
        s->s2k_count = n < 65536 ? 0 : n;
    return err;
}

/* The connection counts as one on the extra or the browser socket from now on. */
static gpg_error_t opt_origin(struct gpg_session *s, const char *value)
{
    if (strcmp(value, "local") == 0 || value[0] == '\0')
        return 0;
    if (strcmp(value, "remote") != 0 && strcmp(value, "browser") != 0)
        return gpg_error(GPG_ERR_INV_VALUE);
    s->level = strcmp(value, "remote") == 0 ? GPG_EXTRA : GPG_BROWSER;
    s->origin.extra_socket = true;
    return 0;
}

static gpg_error_t opt_ephemeral(struct gpg_session *s, const char *value)
{
    (void)s;
    return atoi(value) == 0 ? 0 : gpg_error(GPG_ERR_NOT_SUPPORTED);
}

static gpg_error_t set_option(struct gpg_session *s, const char *name, const char *value)
{
    struct requester *r = s->origin.who;
    const struct {
        const char *name;
        char **to;
        bool ignored;
    } texts[] = {
        {"ttyname", &r->tty, s->conf->keep_tty},
        {"ttytype", &r->term, s->conf->keep_tty},
        {"display", &r->display, s->conf->keep_display},
        {"xauthority", &r->xauthority, false},
        {"lc-ctype", &r->lc_ctype, false},
        {"lc-messages", &r->lc_messages, false},
        {"pinentry-user-data", &r->pinentry_user_data, false},
    };
    static const struct {
        const char *name;
        gpg_error_t (*set)(struct gpg_session *s, const char *value);
    } others[] = {
        {"putenv", opt_putenv},
        {"agent-awareness", opt_awareness},
        {"use-cache-for-signing", opt_cache_for_signing},
        {"allow-pinentry-notify", opt_notify},
        {"pinentry-mode", opt_mode},
        {"cache-ttl-opt-preset", opt_preset_ttl},
        {"s2k-count", opt_s2k_count},
        {"pretend-request-origin", opt_origin},
        {"ephemeral", opt_ephemeral},
    };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (strcmp(texts[i].name, name) == 0)
            return texts[i].ignored ? 0 : set_text(texts[i].to, value);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(others[i].name, name) == 0)
            return others[i].set(s, value);
    return gpg_error(GPG_ERR_UNKNOWN_OPTION);
}

static gpg_error_t on_option(assuan_context_t ctx, const char *name, const char *value)
{
    struct gpg_session *s = assuan_get_pointer(ctx);
    gpg_error_t err;

    if (s->level != GPG_FULL && strcmp(name, "agent-awareness") != 0)
        return gpg_err_make(GPG_ERR_SOURCE_GPGAGENT, GPG_ERR_FORBIDDEN);
    s->conf = gpg_config_get(s->a);
    err = set_option(s, name, value != NULL ? value : "");
    gpg_config_put(s->conf);
    s->conf = NULL;
    return err != 0 ? gpg_err_make(GPG_ERR_SOURCE_GPGAGENT, gpg_err_code(err)) : 0;
}

/* --- GETINFO ----------------------------------------------------------------------------------------------------------------- */

static gpg_error_t send_text(struct gpg_session *s, const char *text)
{
    return gpg_send(s, rd_of((const uint8_t *)text, strlen(text)), false);
}

static gpg_error_t send_number(struct gpg_session *s, unsigned long n)
{
    char text[24];

    snprintf(text, sizeof text, "%lu", n);
    return send_text(s, text);
}

static gpg_error_t truth(bool is)
{
    return is ? 0 : gpg_err_make(GPG_ERR_SOURCE_GPGAGENT, GPG_ERR_FALSE);
}

static const char *const env_names[] = {"GPG_TTY",           "TERM",
                                        "DISPLAY",           "XAUTHORITY",
                                        "XMODIFIERS",        "WAYLAND_DISPLAY",
                                        "XDG_SESSION_TYPE",  "QT_QPA_PLATFORM",
                                        "GTK_IM_MODULE",     "DBUS_SESSION_BUS_ADDRESS",
                                        "QT_IM_MODULE",      "INSIDE_EMACS",
                                        "PINENTRY_USER_DATA"};
#define ENV_NAMES (sizeof env_names / sizeof env_names[0])

static const char *session_env(const struct gpg_session *s, const char *name)
{
    const struct requester *r = s->origin.who;
    const struct {
        const char *name, *value;
    } own[] = {{"GPG_TTY", r->tty},
               {"TERM", r->term},
               {"DISPLAY", r->display},
               {"XAUTHORITY", r->xauthority},
               {"PINENTRY_USER_DATA", r->pinentry_user_data}};
    size_t n = strlen(name);

    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(own[i].name, name) == 0)
            return own[i].value;
    for (size_t i = 0; s->env != NULL && s->env[i] != NULL; i++)
        if (is_variable(s->env[i], name, n))
            return s->env[i] + n + 1;
    return NULL;
}

static const char *startup_env(const struct gpg_session *s, const char *name)
{
    (void)s;
    return getenv(name);
}

/* All variables that one of the two environments has: "NAME=VALUE\0".. */
static gpg_error_t send_env(struct gpg_session *s,
                            const char *(*get)(const struct gpg_session *s, const char *name))
{
    struct buf b = BUF_INIT;
    gpg_error_t err;

    for (size_t i = 0; i < ENV_NAMES; i++) {
        const char *value = get(s, env_names[i]);

        if (value != NULL) {
            buf_printf(&b, "%s=%s", env_names[i], value);
            buf_put_u8(&b, 0);
        }
    }
    err = buf_err(&b) != 0 ? buf_err(&b) : gpg_send(s, buf_rd(&b), false);
    buf_free(&b);
    return err;
}

static gpg_error_t info_version(struct gpg_session *s, char *args)
{
    (void)args;
    return send_text(s, GPG_COMPATIBLE_VERSION);
}

static gpg_error_t info_pid(struct gpg_session *s, char *args)
{
    (void)args;
    return send_number(s, (unsigned long)getpid());
}

static gpg_error_t send_path(struct gpg_session *s, const char *path)
{
    return path != NULL ? send_text(s, path)
                        : gpg_err_make(GPG_ERR_SOURCE_GPGAGENT, GPG_ERR_NO_DATA);
}

static gpg_error_t info_socket(struct gpg_session *s, char *args)
{
    (void)args;
    return send_path(s, s->conf->socket);
}

static gpg_error_t info_ssh_socket(struct gpg_session *s, char *args)
{
    (void)args;
    return send_path(s, s->conf->ssh_socket);
}

/* Cards are built in: there is none to be running or not. Kleopatra and gpgconf --kill scdaemon go by this. */
static gpg_error_t info_scd_running(struct gpg_session *s, char *args)
{
    (void)args;
    return truth(s->a->owns_hardware && !s->conf->disable_scdaemon);
}

/* What a hundredth of a second's S2K is here differs; gpg takes anything from 65536 up. */
static gpg_error_t info_s2k_count(struct gpg_session *s, char *args)
{
    unsigned long n = s->s2k_count != 0 ? s->s2k_count : s->conf->s2k_count;

    (void)args;
    return send_number(s, n >= 65536 ? n : GPG_DEFAULT_S2K_COUNT);
}

static gpg_error_t info_s2k_time(struct gpg_session *s, char *args)
{
    (void)args;
    return send_number(s, 100);
}

static gpg_error_t info_env_names(struct gpg_session *s, char *args)
{
    struct buf b = BUF_INIT;
    gpg_error_t err;

    (void)args;
    for (size_t i = 0; i < ENV_NAMES; i++)
        buf_put(&b, env_names[i], strlen(env_names[i]) + 1);
    err = buf_err(&b) != 0 ? buf_err(&b) : gpg_send(s, buf_rd(&b), false);
    buf_free(&b);
    return err;
}

static gpg_error_t info_session_env(struct gpg_session *s, char *args)
{
    (void)args;
    return send_env(s, session_env);
}

static gpg_error_t info_startup_env(struct gpg_session *s, char *args)
{
    (void)args;
    return send_env(s, startup_env);
}

static gpg_error_t info_getenv(struct gpg_session *s, char *args)
{
    const char *value = args[0] != '\0' ? getenv(args) : NULL;

    if (args[0] == '\0')
        return gpg_fail(s, GPG_ERR_MISSING_VALUE, NULL);
    return value != NULL ? send_text(s, value)
                         : gpg_fail(s, GPG_ERR_NOT_FOUND, "No such environment variable");
}

static gpg_error_t info_connections(struct gpg_session *s, char *args)
{
    (void)args;
    return send_number(s, 1);
}

static gpg_error_t info_jent(struct gpg_session *s, char *args)
{
    (void)s;
    (void)args;
    return truth(false);
}

static gpg_error_t info_restricted(struct gpg_session *s, char *args)
{
    (void)args;
    return truth(s->level != GPG_FULL);
}

static gpg_error_t info_cmd_has_option(struct gpg_session *s, char *args)
{
    static const struct {
        const char *command, *option;
    } known[] = {{"GET_PASSPHRASE", "repeat"}, {"GET_PASSPHRASE", "newsymkey"}};
    size_t len = strcspn(args, " \t");
    char *option = args + len + strspn(args + len, " \t");

    if (len == 0 || option[0] == '\0')
        return gpg_fail(s, GPG_ERR_MISSING_VALUE, NULL);
    option[strcspn(option, " \t")] = '\0';
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strlen(known[i].command) == len && strncmp(known[i].command, args, len) == 0 &&
            strcmp(known[i].option, option) == 0)
            return 0;
    return truth(false);
}

static const struct {
    const char *what;
    gpg_error_t (*get)(struct gpg_session *s, char *args);
    bool restricted_ok;
} infos[] = {
    {"version", info_version, true},
    {"restricted", info_restricted, true},
    {"s2k_count", info_s2k_count, true},
    {"cmd_has_option", info_cmd_has_option, true},
    {"pid", info_pid, false},
    {"socket_name", info_socket, false},
    {"ssh_socket_name", info_ssh_socket, false},
    {"scd_running", info_scd_running, false},
    {"s2k_count_cal", info_s2k_count, false},
    {"s2k_time", info_s2k_time, false},
    {"std_env_names", info_env_names, false},
    {"std_session_env", info_session_env, false},
    {"std_startup_env", info_startup_env, false},
    {"getenv", info_getenv, false},
    {"connections", info_connections, false},
    {"jent_active", info_jent, false},
    {"ephemeral", info_jent, false},
};

static gpg_error_t cmd_getinfo(struct gpg_session *s, char *line)
{
    size_t len = strcspn(line, " \t");
    char *args = line + len + strspn(line + len, " \t");

    for (size_t i = 0; i < sizeof infos / sizeof infos[0]; i++) {
        if (strlen(infos[i].what) != len || strncmp(infos[i].what, line, len) != 0)
            continue;
        if (s->level != GPG_FULL && !infos[i].restricted_ok)
            break;
        return infos[i].get(s, args);
    }
    if (s->level != GPG_FULL)
        return gpg_err_make(GPG_ERR_SOURCE_GPGAGENT, GPG_ERR_FORBIDDEN);
    return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "unknown value for WHAT");
}

/* --- the agent itself ----------------------------------------------------------------------------------------------------- */

static gpg_error_t cmd_killagent(struct gpg_session *s, char *line)
{
    (void)line;
    s->ends = true;
    assuan_set_flag(s->ctx, ASSUAN_FORCE_CLOSE, 1);
    return 0;
}

static gpg_error_t cmd_reloadagent(struct gpg_session *s, char *line)
{
    (void)line;
    gpg_agent_reload(s->a);
    return 0;
}

static gpg_error_t cmd_updatestartuptty(struct gpg_session *s, char *line)
{
    (void)line;
    return gpg_startup_set(s->a->gpg, s->origin.who);
}

static gpg_error_t cmd_geteventcounter(struct gpg_session *s, char *line)
{
    unsigned n[GPG_EVENTS];

    (void)line;
    gpg_events(s->a->gpg, n);
    return gpg_status(s, "EVENTCOUNTER", "%u %u %u", n[GPG_EVENT_ANY], n[GPG_EVENT_KEY],
                      n[GPG_EVENT_CARD]);
}

static gpg_error_t cmd_putval(struct gpg_session *s, char *line)
{
    size_t len = strcspn(line, " \t");
    char *value = line + len + strspn(line + len, " \t");

    if (len == 0)
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "no key given");
    if (line[len] == '\0')
        value = NULL;
    line[len] = '\0';
    return gpg_value_put(s->a->gpg, line, value);
}

static gpg_error_t cmd_getval(struct gpg_session *s, char *line)
{
    char *value = NULL;
    gpg_error_t err;

    line[strcspn(line, " \t")] = '\0';
    if (line[0] == '\0')
        return gpg_fail(s, GPG_ERR_ASS_PARAMETER, "no key given");
    err = gpg_value_get(s->a->gpg, line, &value);
    if (err != 0)
        return gpg_err_make(GPG_ERR_SOURCE_GPGAGENT, gpg_err_code(err));
    err = send_text(s, value);
    gpgrt_free(value);
    return err;
}

static const struct gpg_command session_commands[] = {
    {"GETINFO", cmd_getinfo, true,
     "GETINFO <what>\n\nTells of the agent: version, pid, socket_name .."},
    {"KILLAGENT", cmd_killagent, false, "KILLAGENT\n\nEnds the agent."},
    {"RELOADAGENT", cmd_reloadagent, false,
     "RELOADAGENT\n\nReads the configuration anew and forgets all passphrases."},
    {"UPDATESTARTUPTTY", cmd_updatestartuptty, false,
     "UPDATESTARTUPTTY\n\nDialogs for ssh show on this terminal and display from now on."},
    {"GETEVENTCOUNTER", cmd_geteventcounter, false,
     "GETEVENTCOUNTER\n\nS EVENTCOUNTER <any> <key> <card>"},
    {"PUTVAL", cmd_putval, false, "PUTVAL <key> [<value>]\n\nKeeps a value for GETVAL."},
    {"GETVAL", cmd_getval, false, "GETVAL <key>\n\nA value of PUTVAL."},
    {0},
};

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
        err = assuan_register_option_handler(s->ctx, on_option);
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
