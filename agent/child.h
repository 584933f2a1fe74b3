/* Child processes: started with nothing but what they need, reaped by a thread of their own, ended
 * by force if need be, and gone with the agent. */
#ifndef LATCHKEY_AGENT_CHILD_H
#define LATCHKEY_AGENT_CHILD_H

#include <gpg-error.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct child;

struct child_spec {
    const char *path;  /* absolute */
    char *const *argv; /* NULL-ended */
    char *const *envp; /* NULL: the agent's own */
    const int *fds;    /* descriptor i of the child is a copy of fds[i]; -1: /dev/null for 0 to 2,
                          closed for others. Nothing else stays open, except stderr with KEEP_STDERR */
    size_t nfds;
    bool keep_stderr;
    bool outlives; /* goes on when the agent dies */
};

/* Starts SPEC with default signal handling and the number of descriptors that was allowed when the
 * agent started; it gets SIGTERM when the agent dies. ON_EXIT (may be
 * NULL) is called once, from the reaping thread, after the process ended, whoever ended it. */
gpg_error_t child_start(const struct child_spec *spec, void (*on_exit)(void *arg, int status),
                        void *arg, struct child **out);
pid_t child_pid(const struct child *c);
/* Sends SIGNAL, and SIGKILL after two seconds if that did not help. Returns at once. */
void child_end(struct child *c, int signal);
/* Waits until the process is reaped (ON_EXIT may still be under way), at most MS. */
bool child_wait(struct child *c, int ms);
/* Gives the handle back; the process is reaped all the same whenever it ends. */
void child_release(struct child *c);

#endif
