/* latchkey-agent's command line: ssh-agent(1)'s, and a few long options of our own. */
#ifndef LATCHKEY_AGENT_OPTIONS_H
#define LATCHKEY_AGENT_OPTIONS_H

#include <gpg-error.h>
#include <stdbool.h>

enum agent_mode {
    MODE_FORK,       /* as ssh-agent: print the variables, go to the background */
    MODE_FOREGROUND, /* -D: print the variables, stay */
    MODE_DEBUG,      /* -d: the same, with a log */
    MODE_COMMAND,    /* agent COMMAND: end with it */
    MODE_KILL,       /* -k */
    MODE_CLEAN,      /* -u */
    MODE_SERVICE,    /* --foreground: a service; SIGHUP reloads */
    MODE_DAEMON,     /* --daemon: a service in the background */
    MODE_GPG_SERVER, /* gpg-agent --server: one conversation on stdin and stdout */
    MODE_HELP,
    MODE_VERSION,
};

struct gpg_options;
struct options {
    enum agent_mode mode;
    bool csh;                  /* variables in csh's syntax */
    const char *socket;        /* -a, NULL: default */
    unsigned life;             /* -t, seconds; 0 none */
    const char *providers;     /* -P: patterns of allowed provider paths, NULL: default */
    bool remote_providers;     /* -O allow-remote-pkcs11 */
    const char *websafe_allow; /* "ssh:*", -O websafe-allow=LIST, or NULL: -O no-restrict-websafe */
    bool keep_stale;           /* -U */
    bool any_host;             /* -uu */
    const char *log_file;
    unsigned verbose;
    char **command;          /* MODE_COMMAND: NULL-ended, into argv */
    struct gpg_options *gpg; /* started as gpg-agent; NULL: not */
};

/* Parses ARGV (which getopt may reorder up to the command). SHELL is $SHELL or NULL. On failure a message has gone to
 * stderr: GPG_ERR_SYNTAX, or GPG_ERR_INV_VALUE for a value that ssh-agent would die of. */
gpg_error_t options_parse(int argc, char **argv, const char *shell, struct options *out);
/* "90", "10m", "1h30m", "1w" as ssh_config(5) TIME FORMATS; GPG_ERR_INV_VALUE. */
gpg_error_t options_parse_life(const char *s, unsigned *seconds);
void options_usage(bool to_stderr);

#endif
