#include "agent/ctl_client.h"

#include "agent/paths.h"
#include "proto/token_protocol.h"

#include <assuan.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_TRIES 250 /* 20 ms apart: 5 s */
#define OTHER_TRIES 50  /* ours did not start: perhaps because another one is just starting */

struct ctl_client {
    assuan_context_t ctx;
};

extern char **environ;

/* latchkey-agent --daemon goes to the background by itself once it listens. Gives the number of times to try it then. */
static int start_agent(void)
{
    char *program = path_program("latchkey-agent");
    char daemon[] = "--daemon", *argv[] = {program, daemon, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t defaults;
    pid_t pid;
    int rc, status = -1;

    if (program == NULL)
        return 0;
    posix_spawn_file_actions_init(&files);
    for (int fd = 0; fd <= 2; fd++)
        posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
    /* or whoever called us would wait for the agent to close a pipe */
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
    posix_spawnattr_init(&attr);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigdefault(&attr, &defaults);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
    rc = posix_spawn(&pid, program, &files, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    gpgrt_free(program);
    if (rc != 0)
        return 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? START_TRIES : OTHER_TRIES;
}

static gpg_error_t dial(assuan_context_t *out)
{
    char *path = path_socket("ctl");
    assuan_context_t ctx = NULL;
    gpg_error_t err = path != NULL ? assuan_new(&ctx) : gpg_error_from_syserror();

    if (err == 0)
        err = assuan_socket_connect(ctx, path, ASSUAN_INVALID_PID, 0);
    gpgrt_free(path);
    if (err != 0) {
        if (ctx != NULL)
            assuan_release(ctx);
        return gpg_error(GPG_ERR_NO_AGENT);
    }
    *out = ctx;
    return 0;
}

static const char *terminal(void)
{
    const char *name = getenv("GPG_TTY");

    if (name != NULL && name[0] == '/')
        return name;
    for (int fd = 0; fd <= 2; fd++)
        if (isatty(fd) && (name = ttyname(fd)) != NULL)
            return name;
    return NULL;
}

static const char *locale_of(const char *category)
{
    const char *all = getenv("LC_ALL"), *one = getenv(category);

    if (all != NULL && all[0] != '\0')
        return all;
    return one != NULL && one[0] != '\0' ? one : getenv("LANG");
}

static void send_option(assuan_context_t ctx, const char *name, const char *value)
{
    char *line;

    if (value == NULL || value[0] == '\0' || strpbrk(value, "\r\n") != NULL)
        return;
    line = gpgrt_bsprintf("OPTION %s=%s", name, value);
    if (line != NULL && strlen(line) < ASSUAN_LINELENGTH - 2)
        (void)assuan_transact(ctx, line, NULL, NULL, NULL, NULL, NULL, NULL);
    gpgrt_free(line);
}

gpg_error_t ctl_connect(bool start, struct ctl_client **out)
{
    const struct timespec moment = {.tv_nsec = 20 * 1000 * 1000};
    struct ctl_client *c = gpgrt_calloc(1, sizeof *c);
    gpg_error_t err;

    if (c == NULL)
        return gpg_error_from_syserror();
    err = dial(&c->ctx);
    if (err != 0 && start)
        for (int i = start_agent(); i > 0 && (err = dial(&c->ctx)) != 0; i--)
            nanosleep(&moment, NULL);
    if (err != 0) {
        gpgrt_free(c);
        return err;
    }
    send_option(c->ctx, "ttyname", terminal());
    send_option(c->ctx, "ttytype", getenv("TERM"));
    send_option(c->ctx, "display", getenv("DISPLAY"));
    send_option(c->ctx, "wayland-display", getenv("WAYLAND_DISPLAY"));
    send_option(c->ctx, "xauthority", getenv("XAUTHORITY"));
    send_option(c->ctx, "dbus", getenv("DBUS_SESSION_BUS_ADDRESS"));
    send_option(c->ctx, "lc-ctype", locale_of("LC_CTYPE"));
    send_option(c->ctx, "lc-messages", locale_of("LC_MESSAGES"));
    send_option(c->ctx, "pinentry-user-data", getenv("PINENTRY_USER_DATA"));
    *out = c;
    return 0;
}

void ctl_close(struct ctl_client *c)
{
    if (c == NULL)
        return;
    assuan_release(c->ctx);
    gpgrt_free(c);
}

struct transaction {
    struct ctl_client *c;
    const struct rd *data;
    struct buf *reply;
    void (*status)(void *arg, const char *line);
    void *arg;
    char **error_text;
};

static gpg_error_t on_data(void *arg, const void *data, size_t n)
{
    struct transaction *t = arg;

    if (t->reply == NULL)
        return 0;
    buf_put(t->reply, data, n);
    return buf_err(t->reply);
}

static gpg_error_t on_inquire(void *arg, const char *line)
{
    struct transaction *t = arg;

    (void)line;
    if (t->data == NULL)
        return gpg_error(GPG_ERR_CANCELED);
    return assuan_send_data(t->c->ctx, t->data->p, t->data->n);
}

static gpg_error_t on_status(void *arg, const char *line)
{
    static const char keyword[] = "ERROR_TEXT ";
    struct transaction *t = arg;

    if (strncmp(line, keyword, sizeof keyword - 1) == 0) {
        if (t->error_text != NULL && *t->error_text == NULL)
            return field_get(line + sizeof keyword - 1, "text", t->error_text);
    } else if (t->status != NULL) {
        t->status(t->arg, line);
    }
    return 0;
}

gpg_error_t ctl_transact(struct ctl_client *c, const char *line, const struct rd *data,
                         struct buf *reply, void (*status)(void *arg, const char *line), void *arg,
                         char **error_text)
{
    struct transaction t = {.c = c,
                            .data = data,
                            .reply = reply,
                            .status = status,
                            .arg = arg,
                            .error_text = error_text};

    if (error_text != NULL)
        *error_text = NULL;
    if (strlen(line) >= ASSUAN_LINELENGTH - 2)
        return gpg_error(GPG_ERR_ASS_LINE_TOO_LONG);
    return assuan_transact(c->ctx, line, on_data, &t, on_inquire, &t, on_status, &t);
}
