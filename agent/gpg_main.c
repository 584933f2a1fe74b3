#include "agent/gpg_main.h"

#include "agent/gpg_agent.h"
#include "agent/gpg_listen.h"

#include <gcrypt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        return true;
    case GPG_LIST:
        gpg_options_print_list(g->conf);
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
        o->mode = g->command != NULL ? MODE_COMMAND : g->no_detach ? MODE_SERVICE : MODE_DAEMON;
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

gpg_error_t gpg_main_set_variables(const struct options *o, pid_t agent)
{
    const struct gpg_config *c = o->gpg->conf;
    char text[24];

    if (!c->ssh_support || c->ssh_socket == NULL)
        return 0;
    snprintf(text, sizeof text, "%ld", (long)agent);
    if (setenv("SSH_AUTH_SOCK", c->ssh_socket, 1) != 0 ||
        setenv("gnupg_SSH_AUTH_SOCK_by", text, 1) != 0)
        return gpg_error_from_syserror();
    return 0;
}
