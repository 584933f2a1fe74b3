/* gpg-agent's options: one table for its command line, for gpg-agent.conf, for --help and for what gpgconf asks. */
#ifndef LATCHKEY_AGENT_GPG_OPTION_TABLE_H
#define LATCHKEY_AGENT_GPG_OPTION_TABLE_H

#include "agent/gpg_options.h"

#include <stddef.h>

enum gpg_option_kind {
    HEADING, /* of --help and --dump-option-table */
    COMMAND, /* sets the mode */
    FLAG,
    UNSIGNED,
    TEXT,
    PATH,         /* .. that may begin with ~/ */
    IGNORED,      /* taken, without effect here */
    IGNORED_TEXT, /* .. with a value */
    IGNORED_OPTIONAL,
};

struct gpg_option {
    const char *name;
    short number; /* gpg-agent 2.2's own, a letter where there is a short form */
    short flags;  /* gpgrt's, in --dump-option-table */
    enum gpg_option_kind kind;
    size_t at; /* of the field in struct gpg_config, or in struct gpg_options: */
    bool of_options;
    bool value;       /* FLAG: what it sets */
    int mode;         /* COMMAND */
    const char *help; /* "@": none; NULL: not in the lists either, 2.2 does not have it */
};

extern const struct gpg_option gpg_option_table[];
extern const size_t gpg_option_count;

/* --gpgconf-list, --dump-option-table, --dump-options, --help. */
void gpg_options_print_list(void);
void gpg_options_print_table(void);
void gpg_options_print_names(void);
void gpg_options_usage(void);

#endif
