/* Host key -> names, from the person's and the system's known_hosts files (sshd(8), OpenSSH's
 * hostfile.c). */
#ifndef LATCHKEY_AGENT_KNOWN_HOSTS_H
#define LATCHKEY_AGENT_KNOWN_HOSTS_H

#include "proto/key.h"

struct known_hosts;
/* FILES: NULL-ended paths; NULL: ~/.ssh/known_hosts, known_hosts2, /etc/ssh/ssh_known_hosts,
 * ssh_known_hosts2. Files are re-read when they change (mtime, size, inode); missing ones are no
 * error; lines that do not parse are skipped; files over 64 MiB are refused with a log line. */
gpg_error_t known_hosts_new(const char *home, const char *const *files, struct known_hosts **out);
void known_hosts_free(struct known_hosts *k);

struct host_names {
    char **names; /* as in the file: "host", "[host]:port"; literal ones only; certificates:
                     principals that a CA line covers; hashed ones: the candidates that fit */
    size_t n;
    bool revoked; /* @revoked names this key, or its CA, or the certificate's plain key */
    char *
        how; /* where found, for the audit: "~/.ssh/known_hosts:12" and the like; NULL if nowhere */
};
/* Looks KEY (plain or host certificate) up. CANDIDATES (two NULL-ended lists, either may be NULL)
 * are tried against hashed entries and wildcard patterns, as are names found so before
 * (remembered). A name from a pattern line is one of the candidates, never the pattern itself. For
 * a certificate also its plain key is looked up among plain lines. NOW checks a certificate's
 * validity. */
gpg_error_t known_hosts_lookup(struct known_hosts *k, const struct key *key,
                               const char *const *candidates, const char *const *more, uint64_t now,
                               struct host_names *out);
void host_names_clear(struct host_names *h);

#endif
