#include "agent/pinentry.h"

#include "agent/child.h"

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

static gpg_error_t say(struct pinentry *p, const char *cmd, const char *value, gpg_error_t *answer)
{
    struct buf line = BUF_INIT;
    const char *text;
    gpg_error_t err;

    buf_put(&line, cmd, strlen(cmd));
    assuan_put_escaped(&line, value);
    text = buf_cstr(&line);
    err = text != NULL ? conversation_transact(&p->conv, text, NULL, answer) : buf_err(&line);
    buf_free(&line);
    return err;
}

/* Sends "CMD VALUE". Unless it is NEEDED, no verdict of pinentry's matters: old ones do not know
 * everything. */
static gpg_error_t set(struct pinentry *p, const char *cmd, const char *value, bool needed)
{
    gpg_error_t err, answer = 0;

    if (value == NULL)
        return 0;
    err = say(p, cmd, value, &answer);
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
        {"OPTION default-pwmngr=", s->style != NULL ? "_Save in password manager" : NULL, false},
        {"OPTION default-cf-visi=",
         s->style != NULL ? "Do you really want to make your passphrase visible on the screen?"
                          : NULL,
         false},
        {"OPTION default-tt-visi=", s->style != NULL ? "Make passphrase visible" : NULL, false},
        {"OPTION default-tt-hide=", s->style != NULL ? "Hide passphrase" : NULL, false},
        {"OPTION default-capshint=", s->style != NULL ? "Caps Lock is on" : NULL, false},
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

/* A third button, which old pinentries do not have: their Cancel then says No. */
static gpg_error_t set_notok(struct pinentry *p, const char *notok)
{
    gpg_error_t answer = 0, err = notok != NULL ? say(p, "SETNOTOK ", notok, &answer) : 0;

    return err == 0 && answer != 0 ? set(p, "SETCANCEL ", notok, false) : err;
}

/* What a new secret has to be like. */
static gpg_error_t set_rules(struct pinentry *p, const struct prompt_rules *r)
{
    const struct {
        const char *cmd, *value;
    } steps[] = {
        {"SETGENPIN ", r->suggest != NULL ? "Suggest" : NULL},
        {"SETGENPIN_TT ", r->suggest != NULL ? "Suggest a random passphrase." : NULL},
        {"SETQUALITYBAR ", r->quality != NULL ? "Quality:" : NULL},
        {"SETQUALITYBAR_TT ", r->quality != NULL ? "The quality of the text entered above." : NULL},
        {"OPTION formatted-passphrase", r->format_hint != NULL ? "" : NULL},
        {"OPTION formatted-passphrase-hint=", r->format_hint},
        {"OPTION constraints-enforce", r->enforced ? "" : NULL},
        {"OPTION constraints-hint-short=", r->enforced ? r->hint_short : NULL},
        {"OPTION constraints-hint-long=", r->enforced ? r->hint_long : NULL},
        {"OPTION constraints-error-title=", r->enforced ? r->error_title : NULL},
    };
    gpg_error_t err = 0;

    for (size_t i = 0; err == 0 && i < sizeof steps / sizeof steps[0]; i++)
        err = set(p, steps[i].cmd, steps[i].value, false);
    return err;
}

gpg_error_t pinentry_set_texts(struct pinentry *p, const struct prompt_text *t, bool repeat)
{
    const struct prompt_style *style = t->style;
    char *label =
        t->label != NULL ? gpgrt_bsprintf("%s%s", t->label, style == NULL ? ":" : "") : NULL;
    const struct {
        const char *cmd, *value;
    } texts[] = {
        /* Nothing may keep what is typed here. */
        {"SETKEYINFO ", t->label == NULL                          ? NULL
                        : style != NULL && style->keyinfo != NULL ? style->keyinfo
                                                                  : "--clear"},
        {"SETTITLE ", t->title},
        {"SETDESC ", t->desc},
        {"SETPROMPT ", label},
        {"SETOK ", t->ok},
        {"SETCANCEL ", t->cancel},
        {"SETERROR ", t->error},
        {"SETREPEATERROR ", repeat ? "does not match - try again" : NULL},
        {"SETREPEAT ", repeat ? "Repeat:" : NULL},
    };
    gpg_error_t err = 0;

    for (size_t i = 0; err == 0 && i < sizeof texts / sizeof texts[0]; i++)
        err = set(p, texts[i].cmd, texts[i].value, false);
    if (err == 0)
        err = set_notok(p, t->notok);
    if (err == 0 && style != NULL && style->rules != NULL)
        err = set_rules(p, style->rules);
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
    struct pinentry_typed *typed;
    const struct prompt_rules *rules;
};

static gpg_error_t on_pin_data(void *arg, struct rd part)
{
    struct buf *pin = ((struct getpin *)arg)->typed->pin;

    if (part.n > MAX_PIN - pin->len)
        return gpg_error(GPG_ERR_TOO_LARGE);
    buf_put_rd(pin, part);
    return buf_err(pin);
}

static gpg_error_t on_pin_status(void *arg, const char *line)
{
    struct pinentry_typed *t = ((struct getpin *)arg)->typed;
    const struct {
        const char *text;
        bool *is;
    } known[] = {{"PIN_REPEATED", &t->repeated},
                 {"PASSWORD_FROM_CACHE", &t->from_cache},
                 {"BUTTON_INFO close", &t->closed}};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t n = strlen(known[i].text);

        if (strncmp(line, known[i].text, n) == 0 && (line[n] == '\0' || line[n] == ' '))
            *known[i].is = true;
    }
    return 0;
}

static gpg_error_t answer_quality(const struct prompt_rules *r, const char *word, struct buf *out)
{
    if (r->quality == NULL)
        return gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
    buf_printf(out, "%d", r->quality(r->arg, word));
    return 0;
}

static gpg_error_t answer_check(const struct prompt_rules *r, const char *word, struct buf *out)
{
    char *complaint;

    if (r->complaint == NULL)
        return gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
    complaint = r->complaint(r->arg, word);
    if (complaint != NULL)
        buf_put(out, complaint, strlen(complaint));
    gpgrt_free(complaint);
    return 0;
}

static gpg_error_t answer_suggestion(const struct prompt_rules *r, const char *word,
                                     struct buf *out)
{
    (void)word;
    return r->suggest != NULL ? r->suggest(r->arg, out) : gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
}

/* What a pinentry asks while a new secret is typed. */
static gpg_error_t on_pin_inquire(void *arg, struct conversation *c, const char *line)
{
    static const struct {
        const char *keyword;
        gpg_error_t (*answer)(const struct prompt_rules *r, const char *word, struct buf *out);
    } table[] = {
        {"QUALITY", answer_quality}, {"CHECKPIN", answer_check}, {"GENPIN", answer_suggestion}};
    const struct prompt_rules *r = ((struct getpin *)arg)->rules;
    size_t n = strcspn(line, " ");
    struct buf word = BUF_INIT_SECURE, out = BUF_INIT_SECURE;
    gpg_error_t err = gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);

    assuan_put_unescaped(&word, line + n + (line[n] == ' ' ? 1 : 0), true);
    for (size_t i = 0; r != NULL && i < sizeof table / sizeof table[0]; i++)
        if (strlen(table[i].keyword) == n && strncmp(table[i].keyword, line, n) == 0)
            err = buf_cstr(&word) != NULL ? table[i].answer(r, buf_cstr(&word), &out)
                                          : buf_err(&word);
    if (err == 0)
        err = buf_err(&out) != 0 ? buf_err(&out) : conversation_answer(c, buf_rd(&out), true);
    buf_free(&word);
    buf_free(&out);
    return err;
}

gpg_error_t pinentry_getpin(struct pinentry *p, const struct prompt_rules *rules,
                            struct pinentry_typed *typed, gpg_error_t *answer)
{
    struct getpin g = {.typed = typed, .rules = rules};
    const struct conversation_handlers h = {
        .data = on_pin_data, .status = on_pin_status, .inquire = on_pin_inquire, .arg = &g};
    gpg_error_t err;

    assuan_begin_confidential(p->conv.ctx);
    err = conversation_transact(&p->conv, "GETPIN", &h, answer);
    if (p->conv.ctx != NULL)
        assuan_end_confidential(p->conv.ctx);
    if (err == 0 && *answer == 0 && typed->pin->len > 0 &&
        memchr(typed->pin->data, '\0', typed->pin->len) != NULL)
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

gpg_error_t pinentry_verdict_as_it_is(gpg_error_t answer)
{
    gpg_err_code_t code = gpg_err_code(answer);

    if (code == GPG_ERR_ASS_CANCELED) /* what old ones say */
        code = GPG_ERR_CANCELED;
    return code != 0 ? gpg_err_make(GPG_ERR_SOURCE_PINENTRY, code) : 0;
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
