/* gpg-agent's command line and gpg-agent.conf (gpg-agent(1)): one table for both. */
#ifndef LATCHKEY_AGENT_GPG_OPTIONS_H
#define LATCHKEY_AGENT_GPG_OPTIONS_H

#include "agent/gpg_config.h"

enum gpg_mode {
    GPG_PROBE,      /* no command: does an agent serve? */
    GPG_DAEMON,     /* --daemon [COMMAND] */
    GPG_SERVER,     /* --server: one conversation on stdin and stdout */
    GPG_SUPERVISED, /* sockets are handed over */
    GPG_TEST,       /* --gpgconf-test */
    GPG_LIST,       /* --gpgconf-list */
    GPG_SOCKET_P,   /* --use-standard-socket-p */
    GPG_DUMP_TABLE, /* --dump-option-table */
    GPG_DUMP,       /* --dump-options */
    GPG_HELP,
    GPG_VERSION,
};

struct gpg_options {
    enum gpg_mode mode;
    bool csh, sh, no_detach, steal_socket, check_own_socket, verbose, quiet, standard_home;
    char *log_file;
    char *conf_file;           /* read, or looked for; NULL: --no-options */
    struct gpg_config *conf;   /* owned until it is taken */
    char **command;            /* GPG_DAEMON: NULL-ended, into argv; NULL: none */
    char *home_arg, *conf_arg; /* as given on the command line */
    int argc;                  /* for reload */
    char **argv;
};

/* Is this command line gpg-agent's rather than ssh-agent's: by the name of the program or by options that only gpg-agent has? */
bool gpg_options_are_meant(int argc, char **argv);
/* Parses the command line and the configuration file. Problems go to stderr (file ones with file and line; unknown options there are
 * no failure). ARGV must live as long as OUT. GPG_ERR_SYNTAX; gpg_options_clear also after failure. */
gpg_error_t gpg_options_parse(int argc, char **argv, struct gpg_options *out);
void gpg_options_clear(struct gpg_options *o);
/* The configuration anew, for SIGHUP: O's command line over its file as it is now. A file that cannot be read changes nothing. */
gpg_error_t gpg_options_reload(const struct gpg_options *o, struct gpg_config **out);
/* The configuration of HOME's file alone, for an agent that was not started as gpg-agent. */
gpg_error_t gpg_options_of_home(const char *home, struct gpg_config **out);
/* TEXT (a gpg-agent.conf; NAME for messages) into C. Gives the number of problems that --gpgconf-test counts. */
unsigned gpg_options_parse_file(const char *name, const char *text, struct gpg_options *o);

/* What --gpgconf-list and so on print. */
void gpg_options_print_list(const struct gpg_config *c);
void gpg_options_print_table(void);
void gpg_options_print_names(void);
void gpg_options_usage(void);

#endif
