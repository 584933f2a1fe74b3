#include "agent/pinentry.h"

#include "agent/child.h"

#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#define MAX_ENV 40u
#define MAX_PIN 255u

/* --- where to show it ------------------------------------------------------------------------------ */

/* O_NOCTTY: opening it must not make it ours. */
static int open_terminal(const char *path)
{
    int fd = path != NULL ? open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC) : -1;

    if (fd >= 0 && !isatty(fd)) {
        close(fd);
        return -1;
    }
    return fd;
}

bool pinentry_has_terminal(const struct requester *r)
{
    int fd = r != NULL ? open_terminal(r->tty) : -1;

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool given(const char *s)
{
    return s != NULL && s[0] != '\0';
}

bool pinentry_has_display(const struct requester *r)
{
    return r != NULL && (given(r->display) || given(r->wayland_display));
}

/* --- the terminal's settings ----------------------------------------------------------------------- */

/* A pinentry that is killed leaves a terminal without echo behind. */
struct terminal {
    int fd;
    struct termios settings;
};

static struct terminal *terminal_save(const char *path)
{
    struct terminal *t = gpgrt_calloc(1, sizeof *t);

    if (t == NULL)
        return NULL;
    t->fd = open_terminal(path);
    if (t->fd < 0 || tcgetattr(t->fd, &t->settings) != 0) {
        if (t->fd >= 0)
            close(t->fd);
        gpgrt_free(t);
        return NULL;
    }
    return t;
}

/* Called when the process has ended, by itself or not. */
static void terminal_restore(void *arg, int status)
{
    struct terminal *t = arg;
    struct termios now;

    if (t == NULL)
        return;
    if (WIFSIGNALED(status) && tcgetattr(t->fd, &now) == 0 && now.c_lflag != t->settings.c_lflag)
        (void)tcsetattr(t->fd, TCSANOW, &t->settings);
    close(t->fd);
    gpgrt_free(t);
}

/* --- the process ----------------------------------------------------------------------------------- */

struct environment {
    char *list[MAX_ENV + 1];
    size_t n;
    gpg_error_t err;
};

static void env_put(struct environment *e, const char *name, const char *value)
{
    if (e->err != 0 || !given(value) || e->n >= MAX_ENV)
        return;
    e->list[e->n] = gpgrt_bsprintf("%s=%s", name, value);
    if (e->list[e->n] == NULL)
        e->err = gpg_error_from_syserror();
    else
        e->n++;
}

static void env_clear(struct environment *e)
{
    for (size_t i = 0; i < e->n; i++)
        gpgrt_free(e->list[i]);
}

/* Who the person is from our own environment, where the dialog goes from the requester's. */
static void env_fill(struct environment *e, const struct requester *r)
{
    static const char *const own[] = {
        "PATH",         "HOME",     "USER",   "LOGNAME",         "SHELL",
        "LANG",         "LANGUAGE", "LC_ALL", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME",
        "XDG_DATA_DIRS"};

    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        env_put(e, own[i], getenv(own[i]));
    env_put(e, "DISPLAY", r->display);
    env_put(e, "WAYLAND_DISPLAY", r->wayland_display);
    env_put(e, "XAUTHORITY", r->xauthority);
    env_put(e, "DBUS_SESSION_BUS_ADDRESS", r->dbus);
    env_put(e, "TERM", r->term);
    env_put(e, "LC_CTYPE", r->lc_ctype);
    env_put(e, "LC_MESSAGES", r->lc_messages);
    env_put(e, "PINENTRY_USER_DATA", r->pinentry_user_data);
}

/* "NAME=VALUE" as a client gave it; the facts of the requester come first. */
static void env_add(struct environment *e, char *const *more)
{
    for (; more != NULL && *more != NULL && e->err == 0; more++) {
        const char *eq = strchr(*more, '=');
        bool known = eq == NULL;

        for (size_t i = 0; i < e->n && !known; i++)
            known = strncmp(e->list[i], *more, (size_t)(eq - *more) + 1) == 0;
        if (known || e->n >= MAX_ENV)
            continue;
        e->list[e->n] = gpgrt_strdup(*more);
        if (e->list[e->n] == NULL)
            e->err = gpg_error_from_syserror();
        else
            e->n++;
    }
}

static gpg_error_t start(struct pinentry *p, const struct pinentry_spec *s, int *fd)
{
    const char *slash = strrchr(s->program, '/');
    char *argv[4] = {(char *)(uintptr_t)(slash != NULL ? slash + 1 : s->program)};
    struct environment env = {0};
    int pair[2], fds[3];
    struct child_spec spec = {.path = s->program,
                              .argv = argv,
                              .envp = env.list,
                              .fds = fds,
                              .nfds = 3,
                              .keep_stderr = true};
    gpg_error_t err;

    if (given(s->r->display)) {
        argv[1] = (char *)(uintptr_t) "--display";
        argv[2] = s->r->display;
    }
    env_fill(&env, s->r);
    if (s->style != NULL)
        env_add(&env, s->style->env);
    err = env.err;
    if (err == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        err = gpg_error_from_syserror();
    if (err == 0) {
        fds[0] = fds[1] = pair[1];
        fds[2] = -1;
        p->terminal = s->use_tty ? terminal_save(s->r->tty) : NULL;
        err = child_start(&spec, terminal_restore, p->terminal, &p->child);
        close(pair[1]);
        if (err != 0) {
            close(pair[0]);
            if (p->terminal != NULL)
                terminal_restore(p->terminal, 0);
        } else {
            *fd = pair[0];
        }
        p->terminal = NULL; /* the child's now */
    }
    env_clear(&env);
    return err;
}

void pinentry_close(struct pinentry *p)
{
    conversation_close(&p->conv);
    if (p->child == NULL)
        return;
    /* A pinentry that was answered ends by itself at the end of the conversation; one whose dialog
     * still stands must take it down. */
    child_end(p->child, SIGTERM);
    child_release(p->child);
    p->child = NULL;
}

/* --- the opening ------------------------------------------------------------------------------------- */

/* Sends "CMD VALUE". Unless it is NEEDED, no verdict of pinentry's matters: old ones do not know
 * everything. */
static gpg_error_t set(struct pinentry *p, const char *cmd, const char *value, bool needed)
{
    struct buf line = BUF_INIT;
    gpg_error_t err, answer = 0;
    const char *text;

    if (value == NULL)
        return 0;
    buf_put(&line, cmd, strlen(cmd));
    assuan_put_escaped(&line, value);
    text = buf_cstr(&line);
    err = text != NULL ? conversation_transact(&p->conv, text, NULL, &answer) : buf_err(&line);
    buf_free(&line);
    if (err == 0 && needed && answer != 0) {
        gpgrt_log_info("pinentry: %s%s: %s\n", cmd, value, gpg_strerror(answer));
        err = gpg_error(GPG_ERR_NO_PIN_ENTRY);
    }
    return err;
}

static gpg_error_t opening(struct pinentry *p, const struct pinentry_spec *s)
{
    const struct requester *r = s->r;
    const struct prompt_style none = {0}, *style = s->style != NULL ? s->style : &none;
    char timeout[32], owner[64];
    const struct {
        const char *cmd, *value;
        bool needed;
    } steps[] = {
        {"OPTION pinentry-user-data=", given(r->pinentry_user_data) ? r->pinentry_user_data : NULL,
         false},
        {style->grab ? "OPTION grab" : "OPTION no-grab", "", false},
        {"OPTION ttyname=", s->use_tty ? r->tty : NULL, true},
        {"OPTION ttytype=", s->use_tty && given(r->term) ? r->term : NULL, true},
        {"OPTION lc-ctype=", given(r->lc_ctype) ? r->lc_ctype : NULL, true},
        {"OPTION lc-messages=", given(r->lc_messages) ? r->lc_messages : NULL, true},
        {"OPTION allow-external-password-cache", style->external_cache ? "" : NULL, false},
        {"OPTION allow-emacs-prompt", style->emacs ? "" : NULL, false},
        {"OPTION default-ok=", "_OK", false},
        {"OPTION default-cancel=", "_Cancel", false},
        {"OPTION default-yes=", "_Yes", false},
        {"OPTION default-no=", "_No", false},
        {"OPTION default-prompt=", "PIN:", false},
        {"OPTION invisible-char=", style->invisible_char, false},
        {"OPTION touch-file=", s->touch_file, false},
        {"OPTION owner=", r->pid > 0 ? owner : NULL, false},
        {"SETTIMEOUT ", s->timeout_s > 0 ? timeout : NULL, false},
    };
    char host[64] = "localhost";
    gpg_error_t err = 0;

    (void)gethostname(host, sizeof host - 1);
    snprintf(timeout, sizeof timeout, "%u", s->timeout_s);
    snprintf(owner, sizeof owner, "%ld/%lu %.30s", (long)r->pid, (unsigned long)r->uid, host);
    for (size_t i = 0; err == 0 && i < sizeof steps / sizeof steps[0]; i++)
        err = set(p, steps[i].cmd, steps[i].value, steps[i].needed);
    return err;
}

gpg_error_t pinentry_open(struct pinentry *p, const struct pinentry_spec *spec,
                          assuan_wait_fn *wait, void *arg)
{
    gpg_error_t err;
    int fd = -1;

    *p = (struct pinentry){0};
    err = start(p, spec, &fd);
    if (err == 0)
        err = conversation_open(&p->conv, fd, wait, arg);
    if (err == 0)
        err = opening(p, spec);
    if (err != 0)
        pinentry_close(p);
    return err;
}

/* --- dialogs ------------------------------------------------------------------------------------------- */

gpg_error_t pinentry_set_texts(struct pinentry *p, const struct prompt_text *t, bool repeat)
{
    char *label = t->label != NULL ? gpgrt_bsprintf("%s:", t->label) : NULL;
    const struct {
        const char *cmd, *value;
    } texts[] = {
        {"SETTITLE ", t->title},
        {"SETDESC ", t->desc},
        {"SETPROMPT ", label},
        {"SETOK ", t->ok},
        {"SETCANCEL ", t->cancel},
        {"SETERROR ", t->error},
        {"SETREPEATERROR ", repeat ? "does not match - try again" : NULL},
        {"SETREPEAT ", repeat ? "Repeat:" : NULL},
        /* Nothing may keep what is typed here. */
        {"SETKEYINFO ", t->label == NULL                                ? NULL
                        : t->style != NULL && t->style->keyinfo != NULL ? t->style->keyinfo
                                                                        : "--clear"},
        {"SETQUALITYBAR ", t->style != NULL && t->style->quality ? "Quality:" : NULL},
    };
    gpg_error_t err = 0;

    for (size_t i = 0; err == 0 && i < sizeof texts / sizeof texts[0]; i++)
        err = set(p, texts[i].cmd, texts[i].value, false);
    gpgrt_free(label);
    return err;
}

/* BUTTON_INFO close: the window was closed, which is a No like any other. */
gpg_error_t pinentry_confirm(struct pinentry *p, bool one_button, gpg_error_t *answer)
{
    return conversation_transact(&p->conv, one_button ? "CONFIRM --one-button" : "CONFIRM", NULL,
                                 answer);
}

struct getpin {
    struct buf *pin;
    bool *repeated;
    bool from_cache;
};

static gpg_error_t on_pin_data(void *arg, struct rd part)
{
    struct getpin *g = arg;

    if (part.n > MAX_PIN - g->pin->len)
        return gpg_error(GPG_ERR_TOO_LARGE);
    buf_put_rd(g->pin, part);
    return buf_err(g->pin);
}

static gpg_error_t on_pin_status(void *arg, const char *line)
{
    struct getpin *g = arg;

    if (strncmp(line, "PIN_REPEATED", 12) == 0)
        *g->repeated = true;
    if (strncmp(line, "PASSWORD_FROM_CACHE", 19) == 0)
        g->from_cache = true;
    return 0;
}

/* How good a passphrase is, from -100 (not good enough) to 100: as gpg-agent reckons, by its length and kinds of characters. */
static int quality_of(const char *s)
{
    size_t n = strlen(s), other = 0;

    for (size_t i = 0; i < n; i++)
        other += !((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z'));
    if (n > 20)
        n = 20;
    return (int)(n * 5) - (other == 0 ? 40 : 0);
}

/* Percent and plus escapes. */
static void put_unescaped(struct buf *b, const char *s)
{
    for (; *s != '\0'; s++) {
        unsigned c;

        if (*s == '%' && isxdigit((unsigned char)s[1]) && isxdigit((unsigned char)s[2]) &&
            sscanf(s + 1, "%2x", &c) == 1) {
            buf_put_u8(b, (uint8_t)c);
            s += 2;
        } else {
            buf_put_u8(b, *s == '+' ? ' ' : (uint8_t)*s);
        }
    }
}

static gpg_error_t on_pin_inquire(void *arg, struct conversation *c, const char *line)
{
    struct buf word = BUF_INIT_SECURE;
    char text[8];
    gpg_error_t err;

    (void)arg;
    if (strncmp(line, "QUALITY ", 8) != 0)
        return gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
    put_unescaped(&word, line + 8);
    if (buf_cstr(&word) == NULL) {
        err = buf_err(&word);
    } else {
        snprintf(text, sizeof text, "%d", quality_of(buf_cstr(&word)));
        err = conversation_answer(c, rd_of(text, strlen(text)), false);
    }
    buf_free(&word);
    return err;
}

gpg_error_t pinentry_getpin(struct pinentry *p, struct buf *pin, bool *repeated, bool *from_cache,
                            gpg_error_t *answer)
{
    struct getpin g = {.pin = pin, .repeated = repeated};
    const struct conversation_handlers h = {
        .data = on_pin_data, .status = on_pin_status, .inquire = on_pin_inquire, .arg = &g};
    gpg_error_t err;

    *repeated = false;
    assuan_begin_confidential(p->conv.ctx);
    err = conversation_transact(&p->conv, "GETPIN", &h, answer);
    if (p->conv.ctx != NULL)
        assuan_end_confidential(p->conv.ctx);
    if (from_cache != NULL)
        *from_cache = g.from_cache;
    if (err == 0 && *answer == 0 && pin->len > 0 && memchr(pin->data, '\0', pin->len) != NULL)
        err = gpg_error(GPG_ERR_BAD_DATA);
    return err;
}

/* --- what it is ------------------------------------------------------------------------------------------ */

static gpg_error_t on_info(void *arg, struct rd part)
{
    struct buf *b = arg;

    if (part.n > MAX_PIN - b->len)
        return gpg_error(GPG_ERR_TOO_LARGE);
    buf_put_rd(b, part);
    return buf_err(b);
}

gpg_error_t pinentry_describe(struct pinentry *p, char **out)
{
    static const char *const what[] = {"pid", "flavor", "version", "ttyinfo"};
    struct buf line = BUF_INIT;
    gpg_error_t err = 0, answer;

    for (size_t i = 0; err == 0 && i < sizeof what / sizeof what[0]; i++) {
        struct buf value = BUF_INIT;
        const struct conversation_handlers h = {.data = on_info, .arg = &value};
        char cmd[32];

        snprintf(cmd, sizeof cmd, "GETINFO %s", what[i]);
        err = conversation_transact(&p->conv, cmd, &h, &answer);
        for (size_t k = 0; k < value.len; k++) /* it goes into a line */
            if (value.data[k] < ' ')
                value.data[k] = '?';
        if (err == 0)
            buf_printf(&line, "%s%s", i > 0 ? " " : "",
                       answer == 0 && value.len > 0 ? buf_cstr(&value) : "-");
        buf_free(&value);
    }
    *out = err == 0 ? buf_steal_cstr(&line) : NULL;
    if (err == 0 && *out == NULL)
        err = gpg_error(GPG_ERR_ENOMEM);
    buf_free(&line);
    return err;
}

gpg_error_t pinentry_forget(struct pinentry *p, const char *keyinfo)
{
    return set(p, "CLEARPASSPHRASE ", keyinfo, false);
}

gpg_error_t pinentry_verdict(gpg_error_t answer)
{
    switch (gpg_err_code(answer)) {
    case GPG_ERR_NO_ERROR:
        return 0;
    case GPG_ERR_NOT_CONFIRMED:
        return gpg_error(GPG_ERR_NOT_CONFIRMED);
    case GPG_ERR_CANCELED:
    case GPG_ERR_FULLY_CANCELED: /* taken for itself by the hang-up of a client */
    case GPG_ERR_ASS_CANCELED:
        return gpg_error(GPG_ERR_CANCELED);
    case GPG_ERR_TIMEOUT:
        return gpg_error(GPG_ERR_TIMEOUT);
    default:
        gpgrt_log_info("pinentry: %s\n", gpg_strerror(answer));
        return gpg_error(GPG_ERR_NO_PIN_ENTRY);
    }
}
