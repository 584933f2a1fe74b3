/* The `latchkey` command: one constant descriptor a subcommand. */
#ifndef LATCHKEY_AGENT_CLI_CLI_H
#define LATCHKEY_AGENT_CLI_CLI_H

#include "agent/ctl_client.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>

enum cli_exit { EXIT_OK = 0, EXIT_NEGATIVE = 1, EXIT_USAGE = 2, EXIT_NO_AGENT = 3 };

struct command {
    const char *name;
    const char *usage;   /* what follows "latchkey NAME" */
    const char *summary; /* one line */
    const char *help;    /* options, further lines; or NULL */
    int (*run)(const struct command *c, int argc, char **argv); /* argv[0] is the command's name */
};

extern const struct command cmd_status, cmd_keys, cmd_lock, cmd_unlock, cmd_reload, cmd_policy,
    cmd_log;
extern const struct command *const commands[]; /* NULL-ended */

void cli_usage(const struct command *c, FILE *f);
/* getopt_long with --help and errors dealt with: returns the option, -1 at the end, or -2 when the command is over with
 * *STATUS. */
int cli_getopt(const struct command *c, int argc, char **argv, const struct option *options,
               int *status);
/* "latchkey: WHAT: WHY" on stderr; returns EXIT_NEGATIVE. */
int cli_fail(const char *what, const char *why);

/* Connects; on failure the message is out and the result NULL (exit with EXIT_NO_AGENT). */
struct ctl_client *cli_connect(void);
/* One verb; REPLY may be NULL. On failure the message is out. */
gpg_error_t cli_call(struct ctl_client *c, const char *line, const char *what, struct buf *reply);
/* The same with a JSON answer; NULL on failure. *STATUS gets the exit code then. */
json_t *cli_json(const char *line, int *status);
int cli_print_json(const json_t *j);

/* Text that came from elsewhere, fit for a terminal. Prints S cleaned; "-" for NULL. */
void cli_put(FILE *f, const char *s);
const char *cli_string(const json_t *j, const char *name); /* NULL if absent or null */
/* Colour sequences, or "" where there is no terminal or NO_COLOR is set. */
enum colour { PLAIN, BOLD, RED, GREEN, YELLOW };
const char *cli_colour(enum colour c);

#endif
