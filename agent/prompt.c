#include "agent/prompt_turn.h"

#include "agent/pinentry.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* --- the prompter -------------------------------------------------------------------------------- */

gpg_error_t prompt_new(const char *program, const char *touch_file, struct prompt **out)
{
    struct prompt *p = gpgrt_calloc(1, sizeof *p);
    gpg_error_t err;

    if (p == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&p->mutex, NULL);
    TAILQ_INIT(&p->line);
    err = waits_new(&p->notices);
    if (err == 0) {
        p->program = gpgrt_strdup(program != NULL ? program : "pinentry");
        p->touch_file = touch_file != NULL ? gpgrt_strdup(touch_file) : NULL;
        if (p->program == NULL || (touch_file != NULL && p->touch_file == NULL))
            err = gpg_error(GPG_ERR_ENOMEM);
    }
    if (err != 0)
        prompt_free(p);
    else
        *out = p;
    return err;
}

void prompt_free(struct prompt *p)
{
    if (p == NULL)
        return;
    waits_free(p->notices);
    pthread_mutex_destroy(&p->mutex);
    gpgrt_free(p->program);
    gpgrt_free(p->touch_file);
    gpgrt_free(p);
}

static char *find_program(const char *program)
{
    const char *path = getenv("PATH");
    char *dirs, *save = NULL, *found = NULL;

    if (strchr(program, '/') != NULL)
        return access(program, X_OK) == 0 ? gpgrt_strdup(program) : NULL;
    dirs = gpgrt_strdup(path != NULL ? path : "/usr/local/bin:/usr/bin:/bin");
    if (dirs == NULL)
        return NULL;
    for (char *d = strtok_r(dirs, ":", &save); d != NULL && found == NULL;
         d = strtok_r(NULL, ":", &save)) {
        found = d[0] == '/' ? gpgrt_bsprintf("%s/%s", d, program) : NULL;
        if (found != NULL && access(found, X_OK) != 0) {
            gpgrt_free(found);
            found = NULL;
        }
    }
    gpgrt_free(dirs);
    return found;
}

char *prompt_find_program(const struct prompt *p)
{
    return find_program(p->program);
}

/* --- taking turns ---------------------------------------------------------------------------------- */

static gpg_error_t turn_take(struct prompt *p, struct turn *me, struct wait *w)
{
    gpg_error_t err = 0;

    *me = (struct turn){.w = w};
    pthread_mutex_lock(&p->mutex);
    TAILQ_INSERT_TAIL(&p->line, me, link);
    while (err == 0 && TAILQ_FIRST(&p->line) != me) {
        pthread_mutex_unlock(&p->mutex);
        err = wait_for(w, -1, NULL);
        pthread_mutex_lock(&p->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
    return err;
}

/* Also for one whose turn has not come. */
static void turn_leave(struct prompt *p, struct turn *me)
{
    pthread_mutex_lock(&p->mutex);
    TAILQ_REMOVE(&p->line, me, link);
    if (!TAILQ_EMPTY(&p->line))
        wait_wake(TAILQ_FIRST(&p->line)->w);
    pthread_mutex_unlock(&p->mutex);
}

/* --- a dialog -------------------------------------------------------------------------------------- */

struct dialog {
    struct prompt *p;
    struct wait *w;
    struct turn turn;
    struct pinentry pin;
    int until_fd; /* prompt_until: -1 else */
    int epoll_fd; /* until_fd and pinentry together, -1 else */
    bool until_came;
    bool styled; /* what comes of it is told as gpg-agent tells it */
};

/* Pinentry's line, or what ends the dialog before it comes. */
static gpg_error_t wait_for_pinentry(void *arg, int fd, int max_ms)
{
    struct dialog *d = arg;
    int64_t deadline = d->w->deadline_ms;
    bool woken = false;
    gpg_error_t err;

    if (max_ms >= 0 && monotonic_ms() + max_ms < deadline) {
        d->w->deadline_ms = monotonic_ms() + max_ms;
        err = wait_for(d->w, fd, NULL);
        d->w->deadline_ms = deadline;
        return gpg_err_code(err) == GPG_ERR_TIMEOUT ? 0 : err;
    }
    do
        err = wait_for(d->w, fd, &woken);
    while (err == 0 && woken);
    return err;
}

static gpg_error_t wait_for_either(void *arg, int fd, int max_ms)
{
    struct dialog *d = arg;
    struct epoll_event want = {.events = EPOLLIN, .data.fd = fd}, got[2];
    gpg_error_t err;
    int n;

    if (fd < 0)
        return wait_for_pinentry(arg, -1, max_ms);
    (void)epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, fd, &want); /* EEXIST from the second time on */
    err = wait_for_pinentry(arg, d->epoll_fd, max_ms);
    if (err != 0)
        return err;
    n = epoll_wait(d->epoll_fd, got, 2, 0);
    for (int i = 0; i < n; i++)
        if (got[i].data.fd == d->until_fd)
            d->until_came = true;
    return d->until_came ? gpg_error(GPG_ERR_EOF) : 0;
}

static gpg_error_t watch_until(struct dialog *d, int fd)
{
    struct epoll_event want = {.events = EPOLLIN, .data.fd = fd};
    gpg_error_t err;

    d->until_fd = fd;
    d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (d->epoll_fd < 0)
        return gpg_error_from_syserror();
    if (epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, fd, &want) == 0)
        return 0;
    err = gpg_error_from_syserror();
    close(d->epoll_fd);
    return err;
}

/* Nowhere to show it. What gpg asks for is tried all the same, as gpg-agent does: its pinentry may know. */
static bool is_nowhere(const struct requester *r, bool terminal, const struct prompt_style *style)
{
    return style == NULL && !terminal && !pinentry_has_display(r) &&
           (r == NULL || (r->dbus == NULL && r->pinentry_user_data == NULL));
}

static gpg_error_t announce(struct dialog *d, const struct prompt_text *t)
{
    char *info = NULL;
    gpg_error_t err;

    if (t == NULL || t->launched == NULL)
        return 0;
    err = pinentry_describe(&d->pin, &info);
    if (err == 0 && t->launched(t->launched_arg, info) != 0)
        err = gpg_error(GPG_ERR_CANCELED); /* the client's word, as good as a hang-up */
    gpgrt_free(info);
    return err;
}

static gpg_error_t dialog_open(struct dialog *d, const struct requester *r,
                               const struct prompt_text *t)
{
    const struct prompt_style *style = t != NULL ? t->style : NULL;
    const char *wanted = style != NULL && style->program != NULL ? style->program : d->p->program;
    char *program = NULL;
    int left;
    struct pinentry_spec spec = {.touch_file = style != NULL && style->touch_file != NULL
                                                   ? style->touch_file
                                                   : d->p->touch_file,
                                 .r = r,
                                 .style = style};
    gpg_error_t err;

    d->styled = style != NULL;
    err = turn_take(d->p, &d->turn, d->w);
    if (err != 0)
        goto out;
    spec.use_tty = pinentry_has_terminal(r);
    if (is_nowhere(r, spec.use_tty, style)) {
        gpgrt_log_info("no dialog: the asking program has neither terminal nor display\n");
        err = gpg_error(GPG_ERR_NO_PIN_ENTRY);
        goto out;
    }
    program = find_program(wanted);
    if (program == NULL) {
        gpgrt_log_error("no dialog: %s: no such program\n", wanted);
        err = gpg_error(GPG_ERR_NO_PIN_ENTRY);
        goto out;
    }
    left = wait_left_ms(d->w);
    spec.program = program;
    spec.timeout_s = left < 0 ? 0 : (unsigned)left / 1000 + 1;
    if (style != NULL && style->timeout_s > 0)
        spec.timeout_s = style->timeout_s;
    err = pinentry_open(&d->pin, &spec, d->epoll_fd >= 0 ? wait_for_either : wait_for_pinentry, d);
    if (err == 0)
        err = announce(d, t);
out:
    gpgrt_free(program);
    return err;
}

/* The end of a dialog: withdraws what still stands, lets the next one come, and tells apart why it
 * ended: our own wait, the person, or a pinentry that is no use. */
static gpg_error_t dialog_end(struct dialog *d, gpg_error_t err, gpg_error_t answer)
{
    pinentry_close(&d->pin);
    turn_leave(d->p, &d->turn);
    if (d->epoll_fd >= 0)
        close(d->epoll_fd);
    if (d->until_came)
        return 0;
    if (err == 0)
        return d->styled ? pinentry_verdict_as_it_is(answer) : pinentry_verdict(answer);
    switch (gpg_err_code(err)) {
    case GPG_ERR_CANCELED:
        return gpg_error(GPG_ERR_FULLY_CANCELED); /* only a wait says so */
    case GPG_ERR_TIMEOUT:
        return d->styled ? gpg_err_make(GPG_ERR_SOURCE_PINENTRY, GPG_ERR_TIMEOUT) : err;
    case GPG_ERR_LOCKED:
    case GPG_ERR_NO_PIN_ENTRY:
    case GPG_ERR_ENOMEM:
        return err;
    default:
        gpgrt_log_error("pinentry: no answer: %s\n", gpg_strerror(err));
        return gpg_error(GPG_ERR_NO_PIN_ENTRY);
    }
}

static gpg_error_t confirm(struct prompt *p, struct wait *w, const struct requester *r,
                           const struct prompt_text *t, int fd)
{
    struct dialog d = {.p = p, .w = w, .until_fd = -1, .epoll_fd = -1};
    struct prompt_text text = *t;
    gpg_error_t err, answer = 0;
    bool until = fd >= 0;

    /* With one button, whose press is the only thing to say: stop waiting. */
    if (until) {
        text.ok = t->cancel != NULL ? t->cancel : "_Cancel";
        text.cancel = NULL;
        err = watch_until(&d, fd);
        if (err != 0)
            return err;
    }
    text.label = NULL;
    err = dialog_open(&d, r, &text);
    if (err == 0)
        err = pinentry_set_texts(&d.pin, &text, false);
    if (err == 0)
        err = pinentry_confirm(&d.pin, until, &answer);
    err = dialog_end(&d, err, answer);
    return until && err == 0 && !d.until_came ? gpg_error(GPG_ERR_CANCELED) : err;
}

gpg_error_t prompt_confirm(struct prompt *p, struct wait *w, const struct requester *r,
                           const struct prompt_text *t)
{
    return confirm(p, w, r, t, -1);
}

gpg_error_t prompt_until(struct prompt *p, struct wait *w, const struct requester *r,
                         const struct prompt_text *t, int fd)
{
    return confirm(p, w, r, t, fd);
}

static gpg_error_t ask_secret(struct prompt *p, struct wait *w, const struct requester *r,
                              const struct prompt_text *t, bool repeat, struct buf *pin,
                              bool *repeated)
{
    const struct prompt_style *style = t->style;
    struct dialog d = {.p = p, .w = w, .until_fd = -1, .epoll_fd = -1};
    struct pinentry_typed typed = {.pin = pin};
    gpg_error_t err, answer = 0;

    err = dialog_open(&d, r, t);
    if (err == 0)
        err = pinentry_set_texts(&d.pin, t, repeat);
    if (err == 0)
        err = pinentry_getpin(&d.pin, style != NULL ? style->rules : NULL, &typed, &answer);
    *repeated = typed.repeated;
    if (style != NULL && style->from_cache != NULL)
        *style->from_cache = typed.from_cache;
    err = dialog_end(&d, err, answer);
    /* The window's own button is for giving up all that is asked for. */
    return typed.closed && d.styled && gpg_err_code(err) == GPG_ERR_CANCELED
               ? gpg_err_make(GPG_ERR_SOURCE_PINENTRY, GPG_ERR_FULLY_CANCELED)
               : err;
}

gpg_error_t prompt_secret(struct prompt *p, struct wait *w, const struct requester *r,
                          const struct prompt_text *t, bool repeat, struct buf *pin)
{
    struct buf first = BUF_INIT_SECURE, second = BUF_INIT_SECURE;
    struct prompt_text again = *t;
    gpg_error_t err;
    bool repeated = false;

    err = ask_secret(p, w, r, t, repeat, &first, &repeated);
    if (t->style != NULL && t->style->repeated != NULL)
        *t->style->repeated = repeated;
    /* An old pinentry asks but once. */
    else if (err == 0 && repeat && !repeated && first.len > 0) {
        again.desc = "Please type it again.";
        again.error = NULL;
        err = ask_secret(p, w, r, &again, false, &second, &repeated);
        if (err == 0 && !rd_eq(buf_rd(&first), buf_rd(&second)))
            err = gpg_error(GPG_ERR_BAD_PASSPHRASE);
    }
    if (err == 0 && buf_cstr(&first) == NULL)
        err = buf_err(&first);
    if (err == 0) {
        buf_free(pin);
        *pin = first;
        first = BUF_INIT_SECURE;
    }
    buf_free(&first);
    buf_free(&second);
    return err;
}

void prompt_forget(struct prompt *p, struct wait *w, const struct requester *r,
                   const struct prompt_style *style)
{
    const struct prompt_text text = {.style = style};
    struct dialog d = {.p = p, .w = w, .until_fd = -1, .epoll_fd = -1};
    gpg_error_t err = dialog_open(&d, r, &text);

    if (err == 0)
        err = pinentry_forget(&d.pin, style->keyinfo);
    (void)dialog_end(&d, err, 0);
}
