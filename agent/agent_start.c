#include "agent/agent_start.h"

#include "agent/paths.h"
#include "proto/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_SAID 4096u

extern char **environ;

/* STDERR_FD becomes the child's standard error; nothing else of ours is left open, or whoever called us would wait for the
 * agent to close a pipe. */
static int spawn(const char *program, int stderr_fd, pid_t *pid)
{
    char name[] = "latchkey-agent", daemon[] = "--daemon", *argv[] = {name, daemon, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t defaults;
    int rc;

    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&files, stderr_fd, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    posix_spawnattr_init(&attr);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
    rc = posix_spawn(pid, program, &files, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return rc;
}

/* Until the agent has gone to the background or ended: it then has no standard error any more. */
static void listen_to(int fd, struct buf *said)
{
    char chunk[512];
    ssize_t n;

    while ((n = read(fd, chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0 && said->len + (size_t)n <= MAX_SAID)
            buf_put(said, chunk, (size_t)n);
}

gpg_error_t agent_start(char **why)
{
    char *program = path_program("latchkey-agent");
    struct buf said = BUF_INIT;
    int ends[2] = {-1, -1}, rc, status = -1;
    pid_t pid = -1;

    *why = NULL;
    if (program == NULL) {
        *why = gpgrt_strdup("latchkey-agent is neither beside this program nor in ../../bin");
        return gpg_error(GPG_ERR_NO_AGENT);
    }
    rc = pipe2(ends, O_CLOEXEC) == 0 ? spawn(program, ends[1], &pid) : errno;
    if (ends[1] >= 0)
        close(ends[1]);
    if (rc != 0) {
        *why = gpgrt_bsprintf("%s: %s", program, strerror(rc));
    } else {
        listen_to(ends[0], &said);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            continue;
    }
    if (ends[0] >= 0)
        close(ends[0]);
    gpgrt_free(program);
    if (rc == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        buf_free(&said);
        return 0;
    }
    if (rc == 0 && said.len > 0)
        *why = buf_steal_cstr(&said);
    buf_free(&said);
    return gpg_error(GPG_ERR_NO_AGENT);
}
