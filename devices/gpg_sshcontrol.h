/* sshcontrol: which of gpg's keys their owner offers to ssh (gpg-agent(1), FILES). */
#ifndef LATCHKEY_DEVICES_GPG_SSHCONTROL_H
#define LATCHKEY_DEVICES_GPG_SSHCONTROL_H

#include "proto/buf.h"

#define GPG_GRIP 40

struct gpg_ssh_line {
    char grip[GPG_GRIP + 1]; /* upper case */
    long ttl;                /* seconds, 0: the default */
    bool confirm, disabled;
};

/* All good lines of TEXT in their order, in a new array (gpgrt_free); BAD (may be NULL) is told of the others. */
gpg_error_t gpg_sshcontrol_parse(struct rd text, struct gpg_ssh_line **out, size_t *n,
                                 void (*bad)(void *arg, unsigned line, const char *why), void *arg);
/* HOME's file, parsed; none is an empty one. Lines that are no good are logged once per change of the file. */
gpg_error_t gpg_sshcontrol_read(const char *home, struct gpg_ssh_line **out, size_t *n);
/* Adds GRIP, unless it stands there already, however. COMMENT: what the line before says ("" none). */
gpg_error_t gpg_sshcontrol_add(const char *home, const char *grip, long ttl, bool confirm,
                               const char *comment);

#endif
