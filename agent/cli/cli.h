/* The `latchkey` command: one constant descriptor a subcommand. */
#ifndef LATCHKEY_AGENT_CLI_CLI_H
#define LATCHKEY_AGENT_CLI_CLI_H

#include "agent/ctl_client.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>

enum cli_exit { EXIT_OK = 0, EXIT_NEGATIVE = 1, EXIT_USAGE = 2, EXIT_NO_AGENT = 3 };

struct command {
    const char *name;    /* "keys"; with a subcommand "policy check" */
    const char *usage;   /* what follows "latchkey NAME" */
    const char *summary; /* one line */
    const char *help;    /* options, further lines; or NULL */
    int (*run)(const struct command *c, int argc, char **argv); /* argv[0] is the command's name */
    const struct command *const *sub;                           /* NULL-ended; NULL: none */
};

extern const struct command cmd_status, cmd_keys, cmd_lock, cmd_unlock, cmd_reload, cmd_policy,
    cmd_policy_check, cmd_policy_show, cmd_policy_explain, cmd_log, cmd_token;
extern const struct command *const commands[]; /* NULL-ended */

void cli_usage(const struct command *c, FILE *f);
/* A mistake in C's arguments: "latchkey C: WHY" and where help is; returns EXIT_USAGE. */
int cli_mistake(const struct command *c, const char *why, const char *word);
/* getopt_long with --help and mistakes dealt with: returns the option, -1 at the end, or -2 when
 * the command is over with *STATUS. An option whose value is below 128 is a short one too; -h is
 * always there. */
int cli_getopt(const struct command *c, int argc, char **argv, const struct option *options,
               int *status);
/* For commands without options and operands: false when the command is over with *STATUS. */
bool cli_no_arguments(const struct command *c, int argc, char **argv, int *status);
/* For commands that take --json and nothing else. */
bool cli_only_json(const struct command *c, int argc, char **argv, bool *as_json, int *status);
/* "latchkey: WHAT: WHY" on stderr; returns EXIT_NEGATIVE. */
int cli_fail(const char *what, const char *why);
/* What WORD was probably meant to be, NULL if nothing is near. NAMES is NULL-ended. */
const char *cli_nearest(const char *word, const char *const *names);

/* Connects; on failure the message is out and the result NULL (exit with EXIT_NO_AGENT). */
struct ctl_client *cli_connect(void);
/* One verb; REPLY may be NULL. On failure the message is out. */
gpg_error_t cli_call(struct ctl_client *c, const char *line, const char *what, struct buf *reply);
/* Connects for one verb without an answer; the exit code. */
int cli_verb(const struct command *c, const char *verb);
/* Connects for one verb with a JSON answer; NULL on failure. *STATUS gets the exit code then. */
json_t *cli_json(const char *line, int *status);
int cli_print_json(const json_t *j);

/* Everything below prints text from elsewhere so that it can do nothing to a terminal.
 * One line; "-" for NULL. */
void cli_put(FILE *f, const char *s);
/* Line by line. */
void cli_put_text(FILE *f, const char *text, size_t n);
const char *cli_string(const json_t *j, const char *name); /* NULL if absent or null */
/* Prints that string, "-" if absent. */
void cli_put_field(const json_t *j, const char *name);
/* Colour sequences, or "" where there is no terminal or NO_COLOR is set. */
enum colour { PLAIN, BOLD, RED, GREEN, YELLOW };
const char *cli_colour(enum colour c);

#endif
