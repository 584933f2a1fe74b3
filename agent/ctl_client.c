#include "agent/ctl_client.h"

#include "agent/agent_start.h"
#include "agent/paths.h"
#include "proto/token_protocol.h"

#include <assuan.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define START_TRIES 250 /* 20 ms apart: 5 s */
#define OTHER_TRIES 50  /* ours did not start: perhaps because another one is just starting */

struct ctl_client {
    assuan_context_t ctx;
};

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

static void send_options(assuan_context_t ctx)
{
    send_option(ctx, "ttyname", terminal());
    send_option(ctx, "ttytype", getenv("TERM"));
    send_option(ctx, "display", getenv("DISPLAY"));
    send_option(ctx, "wayland-display", getenv("WAYLAND_DISPLAY"));
    send_option(ctx, "xauthority", getenv("XAUTHORITY"));
    send_option(ctx, "dbus", getenv("DBUS_SESSION_BUS_ADDRESS"));
    send_option(ctx, "lc-ctype", locale_of("LC_CTYPE"));
    send_option(ctx, "lc-messages", locale_of("LC_MESSAGES"));
    send_option(ctx, "pinentry-user-data", getenv("PINENTRY_USER_DATA"));
}

static gpg_error_t connected(assuan_context_t ctx, struct ctl_client **out)
{
    struct ctl_client *c = gpgrt_calloc(1, sizeof *c);

    if (c == NULL) {
        assuan_release(ctx);
        return gpg_error_from_syserror();
    }
    c->ctx = ctx;
    send_options(ctx);
    *out = c;
    return 0;
}

gpg_error_t ctl_connect(struct ctl_client **out)
{
    assuan_context_t ctx = NULL;
    gpg_error_t err = dial(&ctx);

    return err != 0 ? err : connected(ctx, out);
}

gpg_error_t ctl_connect_or_start(struct ctl_client **out, char **why)
{
    const struct timespec moment = {.tv_nsec = 20 * 1000 * 1000};
    assuan_context_t ctx = NULL;
    gpg_error_t err = dial(&ctx);
    int tries;

    *why = NULL;
    if (err != 0) {
        tries = agent_start(why) == 0 ? START_TRIES : OTHER_TRIES;
        while ((err = dial(&ctx)) != 0 && tries-- > 0)
            nanosleep(&moment, NULL);
    }
    if (err != 0)
        return err;
    gpgrt_free(*why);
    *why = NULL;
    return connected(ctx, out);
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
