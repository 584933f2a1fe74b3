/* gpg's command line, as far as a detached signature needs it. */
#ifndef LATCHKEY_AGENT_GPGSHIM_OPTIONS_H
#define LATCHKEY_AGENT_GPGSHIM_OPTIONS_H

#include <gpg-error.h>
#include <stdbool.h>
#include <stddef.h>

struct shim_options {
    bool native; /* a detached signature that we make ourselves; else the real gpg does all of it */
    bool help;   /* --help */
    bool armor, text, yes;
    bool special_filenames; /* "-&N" is descriptor N (GPGME) */
    int status_fd;          /* -1: none */
    const char **keys;      /* -u, in order, none twice; NULL-ended, array owned; NULL: none */
    const char *default_key;
    const char *output; /* -o, NULL: standard output (or FILE.sig) */
    const char *file;   /* what to sign, NULL or "-": standard input */
};
/* Never fails but for memory: what is not understood is left to the real gpg (native false). Strings point into ARGV. */
gpg_error_t shim_options_parse(int argc, char *const *argv, struct shim_options *out);
void shim_options_clear(struct shim_options *o);

#endif
