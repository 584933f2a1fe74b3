/* gpg-agent's command line and gpg-agent.conf (gpg-agent(1)). */
#ifndef LATCHKEY_AGENT_GPG_OPTIONS_H
#define LATCHKEY_AGENT_GPG_OPTIONS_H

#include "agent/gpg_config.h"
#include "proto/buf.h"

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
    bool csh, sh, no_detach, steal_socket, check_own_socket, verbose, quiet, standard_home,
        no_options;
    bool owns_log;           /* the log is where the file says */
    char *log_file;          /* absolute */
    char *conf_file;         /* read, or looked for; NULL: --no-options */
    struct gpg_config *conf; /* owned until it is taken */
    char **command;          /* what stands behind the options: NULL-ended, into argv; NULL: none */
    char *home_arg, *conf_arg; /* as given on the command line */
    char *display, *ttyname, *ttytype, *lc_ctype, *lc_messages, *xauthority;
    struct buf notes;  /* what the file's reader has to tell, a line each */
    unsigned problems; /* .. of which so many are errors: values that are none */
    int argc;          /* for reload */
    char **argv;
};

/* Is this command line gpg-agent's rather than ssh-agent's: by the name of the program or by options that only gpg-agent has? */
bool gpg_options_are_meant(int argc, char **argv);
/* Parses the command line and the configuration file. What is wrong in the file stands in OUT->notes and is no failure; what is
 * wrong on the command line, or a file that was named and cannot be read, was told on stderr: GPG_ERR_SYNTAX, GPG_ERR_ENOENT... ARGV must live as long as OUT; gpg_options_clear also after failure. */
gpg_error_t gpg_options_parse(int argc, char **argv, struct gpg_options *out);
/* The same again, for the same home directory, file and sockets as those of O, whatever the working directory and the
 * environment are by now. */
gpg_error_t gpg_options_reload(const struct gpg_options *o, struct gpg_options *out);
void gpg_options_clear(struct gpg_options *o);

/* gpg-agent's defaults; then TEXT (a gpg-agent.conf; NAME for the notes) into O. */
gpg_error_t gpg_options_init(struct gpg_options *o);
void gpg_options_parse_file(const char *name, const char *text, struct gpg_options *o);
/* The notes: to the log. */
void gpg_options_tell(const struct gpg_options *o);

#endif
