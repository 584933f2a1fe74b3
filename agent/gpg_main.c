#include "agent/gpg_main.h"

#include "agent/gpg_agent.h"
#include "agent/gpg_listen.h"
#include "agent/gpg_option_table.h"
#include "agent/log_file.h"

#include <gcrypt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- started as gpg-agent --------------------------------------------------------------------------------------------------- */

static int probe(struct gpg_options *g)
{
    long pid;

    if (gpg_listen_paths(g, false) == 0 && gpg_agent_answers(g->conf->socket, &pid)) {
        if (!g->quiet)
            fprintf(stderr, "gpg-agent: gpg-agent running and available\n");
        return 0;
    }
    fprintf(stderr, "gpg-agent: no gpg-agent running in this session\n");
    return 2;
}

static int print_version(void)
{
    printf("gpg-agent (GnuPG) %s (latchkey %s)\nlibgcrypt %s\n", GPG_COMPATIBLE_VERSION,
           LATCHKEY_VERSION, gcry_check_version(NULL));
    return 0;
}

static bool is_csh(const struct gpg_options *g, const char *shell)
{
    size_t n = shell != NULL ? strlen(shell) : 0;

    return g->csh || (!g->sh && n >= 3 && strcmp(shell + n - 3, "csh") == 0);
}

bool gpg_main_tells(struct gpg_options *g, const char *shell, struct options *o, int *status)
{
    *status = 0;
    if (g->mode == GPG_PROBE || g->mode == GPG_TEST)
        gpg_options_tell(g);
    *o = (struct options){.gpg = g,
                          .csh = is_csh(g, shell),
                          .websafe_allow = "ssh:*",
                          .log_file = g->log_file,
                          .keep_stale = true};
    switch (g->mode) {
    case GPG_PROBE:
        *status = probe(g);
        return true;
    case GPG_TEST:
        *status = g->problems > 0 ? 2 : 0;
        return true;
    case GPG_LIST:
        gpg_options_print_list();
        return true;
    case GPG_SOCKET_P: /* there is no other kind any more */
        return true;
    case GPG_DUMP_TABLE:
        gpg_options_print_table();
        return true;
    case GPG_DUMP:
        gpg_options_print_names();
        return true;
    case GPG_HELP:
        gpg_options_usage();
        return true;
    case GPG_VERSION:
        *status = print_version();
        return true;
    case GPG_SERVER:
        o->mode = MODE_GPG_SERVER;
        return false;
    case GPG_SUPERVISED:
        o->mode = MODE_SERVICE;
        return false;
    case GPG_DAEMON:
        o->command = g->command;
        o->mode = g->command != NULL ? MODE_COMMAND : MODE_DAEMON;
        return false;
    }
    return false;
}

int gpg_main_running_already(const struct gpg_options *g)
{
    if (!g->quiet)
        fprintf(stderr, "gpg-agent: a gpg-agent is already running - not starting a new one\n");
    return 2;
}

void gpg_main_print_variables(const struct options *o)
{
    const struct gpg_config *c = o->gpg->conf;

    if (!c->ssh_support || c->ssh_socket == NULL)
        return;
    printf(o->csh ? "setenv SSH_AUTH_SOCK %s;\n" : "SSH_AUTH_SOCK=%s; export SSH_AUTH_SOCK;\n",
           c->ssh_socket);
    fflush(stdout);
}

gpg_error_t gpg_main_set_places(const struct gpg_options *g)
{
    const struct {
        const char *name, *value;
    } places[] = {{"DISPLAY", g->display},
                  {"GPG_TTY", g->ttyname},
                  {"TERM", g->ttytype},
                  {"XAUTHORITY", g->xauthority}};

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (places[i].value != NULL && setenv(places[i].name, places[i].value, 1) != 0)
            return gpg_error_from_syserror();
    return 0;
}

gpg_error_t gpg_main_set_variables(const struct options *o, pid_t parent)
{
    const struct gpg_config *c = o->gpg->conf;
    char text[24];

    if (!c->ssh_support || c->ssh_socket == NULL)
        return 0;
    snprintf(text, sizeof text, "%ld", (long)parent);
    if (setenv("SSH_AUTH_SOCK", c->ssh_socket, 1) != 0 ||
        setenv("gnupg_SSH_AUTH_SOCK_by", text, 1) != 0)
        return gpg_error_from_syserror();
    return 0;
}

/* --- serving ----------------------------------------------------------------------------------------------------------------- */

static gpg_error_t reload(void *arg, struct gpg_config **out)
{
    const struct gpg_options *g = arg;
    struct gpg_options fresh;
    gpg_error_t err = gpg_options_reload(g, &fresh);

    if (err == 0) {
        if (g->owns_log)
            (void)log_file_reopen(fresh.log_file);
        gpg_options_tell(&fresh);
        *out = fresh.conf;
        fresh.conf = NULL;
    } else {
        gpgrt_log_error("gpg-agent's configuration stays as it was: %s\n", gpg_strerror(err));
    }
    gpg_options_clear(&fresh);
    return err;
}

static void stop_server(void *arg)
{
    server_stop(arg);
}

/* The terminal that the agent was started on. */
static const char *own_tty(void)
{
    const char *tty = getenv("GPG_TTY");

    for (int fd = 0; fd <= 2 && (tty == NULL || tty[0] == '\0'); fd++)
        tty = isatty(fd) ? ttyname(fd) : NULL;
    return tty;
}

gpg_error_t gpg_main_start(struct agent *a, struct server *s, struct gpg_options *g)
{
    struct requester env = {.pid = -1};
    gpg_error_t err;

    g->conf->refs++; /* nobody else knows it yet */
    err = gpg_agent_new(a, g->conf, reload, g, &a->gpg);
    if (err != 0)
        return err;
    if (s != NULL)
        gpg_agent_on_kill(a->gpg, stop_server, s);
    /* Dialogs go there that nobody's terminal is known for. */
    env.tty = (char *)(uintptr_t)own_tty();
    env.term = getenv("TERM");
    env.display = getenv("DISPLAY");
    env.wayland_display = getenv("WAYLAND_DISPLAY");
    env.xauthority = getenv("XAUTHORITY");
    env.dbus = getenv("DBUS_SESSION_BUS_ADDRESS");
    env.pinentry_user_data = getenv("PINENTRY_USER_DATA");
    env.lc_ctype = g->lc_ctype;
    env.lc_messages = g->lc_messages;
    return gpg_startup_set(a->gpg, &env);
}

/* --- latchkey's own service -------------------------------------------------------------------------------------------------- */

static gpg_error_t listen_at_path(struct server *s, const char *path, struct gpg_options *g)
{
    char *paths[SERVER_ROLES] = {[SERVER_GPG] = (char *)(uintptr_t)path};
    gpg_error_t err = server_listen(s, SERVER_GPG, path);

    if (err != 0)
        fprintf(stderr, "latchkey-agent: GpgSocket %s: %s\n", path,
                gpg_err_code(err) == GPG_ERR_EADDRINUSE ? "an agent serves there already"
                                                        : gpg_strerror(err));
    return err != 0 ? err : gpg_listen_only(g, paths);
}

/* What hinders it is told, and no reason not to serve ssh. */
static bool listen_if_free(struct server *s, struct gpg_options *g)
{
    struct stat st;
    gpg_error_t err;

    /* gpg makes its home directory when it is first used: not before. */
    if (stat(g->conf->home, &st) != 0)
        return false;
    err = gpg_listen_paths(g, true);
    if (err == 0)
        err = gpg_socket_is_held(g->conf->socket) ? gpg_error(GPG_ERR_EADDRINUSE)
                                                  : gpg_listen(s, g, false);
    if (gpg_err_code(err) == GPG_ERR_EADDRINUSE)
        gpgrt_log_info(
            "another agent serves gpg at %s; for this one to do so: gpgconf --kill gpg-agent, and "
            "start this one anew; where systemd listens there see AS GPG-AGENT in "
            "latchkey-agent(1)\n",
            g->conf->socket);
    return err == 0;
}

gpg_error_t gpg_main_claim(struct agent *a, struct server *s, const struct instance *in,
                           bool service, struct gpg_options *g)
{
    static char *argv[] = {(char *)(uintptr_t) "gpg-agent", NULL};
    const char *want = a->settings->gpg_socket;
    bool taken = true;
    gpg_error_t err;

    if (!in->adopted[SERVER_GPG] && (want != NULL ? strcmp(want, "no") == 0 : !service))
        return 0;
    err = gpg_options_parse(1, argv, g);
    if (err == 0)
        gpg_options_tell(g);
    if (err == 0 && in->adopted[SERVER_GPG])
        err = gpg_listen_only(g, in->adopted_path);
    else if (err == 0 && want != NULL && want[0] == '/')
        err = listen_at_path(s, want, g);
    else if (err == 0)
        taken = listen_if_free(s, g);
    return err != 0 || !taken ? err : gpg_main_start(a, s, g);
}
