/* What gpg-agent.conf and gpg-agent's command line say (gpg-agent(1)), as far as this agent heeds it. Options that it does not
 * know are named in the log and change nothing. */
#ifndef LATCHKEY_AGENT_GPG_CONFIG_H
#define LATCHKEY_AGENT_GPG_CONFIG_H

#include "agent/agent.h"

/* Immutable and reference counted: reload makes a new one. */
struct gpg_config {
    char *home; /* GnuPG's home directory, absolute */
    char *socket, *extra_socket, *browser_socket,
        *ssh_socket; /* where it listens; NULL: it does not */
    bool ssh_support;
    /* cache, seconds */
    unsigned default_ttl, max_ttl, default_ttl_ssh, max_ttl_ssh;
    bool ignore_cache_for_signing, allow_external_cache;
    bool allow_loopback, allow_preset;
    /* pinentry */
    char *pinentry_program, *touch_file, *invisible_char; /* NULL: not told */
    unsigned pinentry_timeout;                            /* seconds, 0: none */
    bool batch;                                           /* no pinentry ever */
    bool grab, keep_tty, keep_display, allow_emacs_pinentry, formatted_passphrase;
    /* new passphrases */
    unsigned min_passphrase_len, min_passphrase_nonalpha, max_passphrase_days;
    char *check_pattern, *check_sym_pattern; /* files, NULL: none */
    bool enforce_constraints;
    unsigned s2k_count; /* 0: calibrated */
    /* trustlist.txt */
    bool allow_mark_trusted, no_user_trustlist;
    char *sys_trustlist; /* NULL: the default */
    bool disable_scdaemon;
    char *ssh_digest;         /* ssh-fingerprint-digest, as it was written */
    int ssh_fingerprint_hash; /* GCRY_MD_MD5, GCRY_MD_SHA256.. */
    unsigned refs;
};

/* The one in force; give it back with gpg_config_put. Never NULL where a->gpg is set. */
const struct gpg_config *gpg_config_get(struct agent *a);
void gpg_config_put(const struct gpg_config *c);

#endif
