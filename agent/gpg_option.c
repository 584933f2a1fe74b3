/* OPTION: what a client says of itself and of how the person behind it is asked. */
#include "agent/gpg_session.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ENV 64u

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

gpg_error_t gpg_on_option(assuan_context_t ctx, const char *name, const char *value)
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
