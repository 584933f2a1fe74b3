/* The agent itself: GETINFO, KILLAGENT, RELOADAGENT, UPDATESTARTUPTTY, GETEVENTCOUNTER, PUTVAL, GETVAL. */
#include "agent/gpg_session.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_variable(const char *entry, const char *name, size_t n)
{
    return strncmp(entry, name, n) == 0 && entry[n] == '=';
}

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

const struct gpg_command gpg_info_commands[] = {
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
