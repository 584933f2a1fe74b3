/* The facts about who asks. Unknown facts are NULL or -1, never guessed. */
#ifndef LATCHKEY_AGENT_REQUESTER_H
#define LATCHKEY_AGENT_REQUESTER_H

#include "proto/buf.h"

#include <sys/types.h>

struct requester {
    pid_t pid;
    uid_t uid;
    gid_t gid;
    int pidfd;           /* SO_PEERPIDFD or pidfd_open; -1 where the kernel has none */
    uint64_t start_time; /* /proc/PID/stat field 22, 0 unknown: pid and start time name a process
                            for good */
    pid_t session;       /* session id (setsid), -1 unknown */
    long login_session;  /* /proc/PID/sessionid (audit session), -1 unknown or unset */
    char *exe;           /* absolute path; NULL unknown or deleted */
    bool root_owned_ssh; /* exe is named ssh, owned by root and writable by root only */
    bool is_sshd;        /* an sshd (or a part of it) and .. */
    bool is_ssh_add;     /* an ssh-add that only root, or whoever put this very program where it is,
                            could have put there */
    char **parents; /* ancestors' exes, nearest first, NULL-ended; NULL unknown. "?" for one we may
                       not read */
    char *unit;     /* systemd unit, scope or container from /proc/PID/cgroup; NULL unknown */
    char *tty; /* "/dev/pts/3"; from the process' controlling terminal, or told by the client */
    char *cwd; /* for display only */
    char *ssh_host; /* destination on an asking ssh's command line, without user@ and ssh://
                       decoration */
    char *ssh_port; /* -p or in the destination, NULL: not given */
    /* for pinentry: from /proc/PID/environ, or told by the client */
    char *display, *wayland_display, *xauthority, *dbus, *term, *lc_ctype, *lc_messages,
        *pinentry_user_data;
};

/* Reads the facts about the peer of the connected socket FD (SO_PEERCRED), or, where FD is a pipe, about the process that started this
 * one. Facts of a process that
 * ended or changed between two reads (start time differs) become unknown. */
gpg_error_t requester_new(int fd, struct requester **out);
void requester_free(struct requester *r);
/* Is that very process still there? (pidfd, else pid with start time) */
bool requester_alive(const struct requester *r);
/* "ssh (pid 4711) in /home/u/src", cleaned for dialogs; new string (gpgrt_free). */
char *requester_describe(const struct requester *r);
/* A string that names program and login session, for grants: "exe|unit-or-session"; new string,
 * NULL when the program is not known (then nothing may be cached for it). */
char *requester_scope(const struct requester *r);

#endif
