/* What /proc says of a process. All of it is text that the process may have chosen: bounded, never trusted. */
#ifndef LATCHKEY_AGENT_PROCFS_H
#define LATCHKEY_AGENT_PROCFS_H

#include <gpg-error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_stat {
    pid_t ppid, session;
    unsigned tty_nr;
    uint64_t start_time; /* clock ticks since boot */
};
gpg_error_t proc_stat(pid_t pid, struct proc_stat *out);
/* The same from the file's text, for tests and fuzzing: the program's name may hold anything, even ") R 1". */
gpg_error_t proc_stat_parse(const char *text, struct proc_stat *out);

/* /proc/PID/NAME as a link; new string (gpgrt_free), NULL unknown. */
char *proc_link(pid_t pid, const char *name);
/* The executable's path, NULL if it is not known or was deleted. */
char *proc_exe(pid_t pid);
/* Is the process' name (comm) one of NAMES, NULL-ended? Any process chooses its own. */
bool proc_is_called(pid_t pid, const char *const *names);
/* "/dev/pts/3" for a controlling terminal's device number, NULL for none. */
char *proc_tty_name(unsigned tty_nr);
/* The audit session, -1 if unknown or unset. */
long proc_login_session(pid_t pid);
/* The systemd unit or container; NULL unknown. */
char *proc_unit(pid_t pid);
/* The same from the text of /proc/PID/cgroup. */
char *proc_unit_parse(const char *cgroup);

/* NUL-separated strings of /proc/PID/environ or cmdline, cut at 128 KiB. */
struct proc_strings {
    char *text;
    const char **at;
    size_t n;
};
gpg_error_t proc_strings_read(pid_t pid, const char *name, struct proc_strings *out);
gpg_error_t proc_strings_parse(const char *text, size_t len, struct proc_strings *out);
void proc_strings_free(struct proc_strings *s);
/* The value of NAME=value, NULL if there is none. */
const char *proc_strings_get(const struct proc_strings *s, const char *name);

/* The destination on an ssh command line: host without user@ and ssh://, HostName and HostKeyAlias options heeded; port
 * from -p, -o Port or the URI. New strings or NULL. */
void proc_ssh_destination(const struct proc_strings *argv, char **host, char **port);

#endif
