/* "Touch your key": a message on the requester's display, or a line on its terminal. The terminal
 * belongs to the program that asks (ssh, git): a pinentry that took it over would fight with it. */
#include "agent/prompt_turn.h"

#include "agent/pinentry.h"
#include "proto/git_object.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define MAX_LINE 300u
/* Windows at a time; the rest make do with their terminals. A person reads one, and each is a process. */
#define MAX_WINDOWS 4u

struct prompt_notice {
    struct prompt *p;
    pthread_t thread;
    struct wait w; /* woken by hide */
    bool taken_down;
    char *program, *title, *desc;
    /* borrowed: whoever shows a notice takes it down before its requester goes */
    const struct requester *r;
};

static void write_line(const char *tty, const char *text)
{
    char *clean = text_clean(text, strlen(text), MAX_LINE);
    char *line = clean != NULL ? gpgrt_bsprintf("latchkey: %s\r\n", clean) : NULL;
    int fd = line != NULL ? open(tty, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC) : -1;

    if (fd >= 0) {
        /* Best effort: a terminal that takes nothing now is not worth waiting for. */
        if (isatty(fd) && write(fd, line, strlen(line)) < 0)
            gpgrt_log_debug("%s: the notice was not written\n", tty);
        close(fd);
    }
    gpgrt_free(clean);
    gpgrt_free(line);
}

static gpg_error_t wait_unless_taken_down(void *arg, int fd, int max_ms)
{
    struct prompt_notice *n = arg;
    gpg_error_t err;
    bool woken = false;

    n->w.deadline_ms = max_ms >= 0 ? monotonic_ms() + max_ms : INT64_MAX;
    if (__atomic_load_n(&n->taken_down, __ATOMIC_ACQUIRE))
        return gpg_error(GPG_ERR_CANCELED);
    err = wait_for(&n->w, fd, &woken);
    if (__atomic_load_n(&n->taken_down, __ATOMIC_ACQUIRE))
        return gpg_error(GPG_ERR_CANCELED);
    return max_ms >= 0 && gpg_err_code(err) == GPG_ERR_TIMEOUT ? 0 : err;
}

static void *show(void *arg)
{
    struct prompt_notice *n = arg;
    const struct pinentry_spec spec = {.program = n->program, .r = n->r};
    const struct prompt_text text = {.title = n->title, .desc = n->desc};
    struct pinentry pin;
    gpg_error_t err, answer = 0;

    err = pinentry_open(&pin, &spec, wait_unless_taken_down, n);
    if (err == 0)
        err = pinentry_set_texts(&pin, &text, false);
    if (err == 0)
        err = pinentry_confirm(&pin, true, &answer);
    pinentry_close(&pin);
    /* A pinentry without a window of its own cannot show it: then the terminal must do. */
    if ((err != 0 || answer != 0) && n->r->tty != NULL &&
        !__atomic_load_n(&n->taken_down, __ATOMIC_ACQUIRE))
        write_line(n->r->tty, n->desc);
    return NULL;
}

static void notice_free(struct prompt_notice *n)
{
    gpgrt_free(n->program);
    gpgrt_free(n->title);
    gpgrt_free(n->desc);
    gpgrt_free(n);
}

struct prompt_notice *prompt_notice_show(struct prompt *p, const struct requester *r,
                                         const struct prompt_text *t)
{
    struct prompt_notice *n = NULL;

    if (r == NULL || t->desc == NULL)
        return NULL;
    if (!pinentry_has_display(r))
        goto terminal;
    if (__atomic_add_fetch(&p->nnotices, 1, __ATOMIC_RELAXED) > MAX_WINDOWS) {
        __atomic_sub_fetch(&p->nnotices, 1, __ATOMIC_RELAXED);
        goto terminal;
    }
    n = gpgrt_calloc(1, sizeof *n);
    if (n == NULL) {
        __atomic_sub_fetch(&p->nnotices, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    n->p = p;
    n->r = r;
    n->program = prompt_find_program(p);
    n->title = gpgrt_strdup(t->title != NULL ? t->title : "latchkey");
    n->desc = gpgrt_strdup(t->desc);
    if (n->program == NULL || n->title == NULL || n->desc == NULL ||
        wait_begin(p->notices, &n->w, -1, 0) != 0)
        goto fail;
    if (pthread_create(&n->thread, NULL, show, n) == 0)
        return n;
    wait_end(&n->w);
fail:
    notice_free(n);
    __atomic_sub_fetch(&p->nnotices, 1, __ATOMIC_RELAXED);
terminal:
    if (r->tty != NULL)
        write_line(r->tty, t->desc);
    return NULL;
}

void prompt_notice_hide(struct prompt_notice *n)
{
    if (n == NULL)
        return;
    __atomic_store_n(&n->taken_down, true, __ATOMIC_RELEASE);
    wait_wake(&n->w);
    pthread_join(n->thread, NULL);
    wait_end(&n->w);
    __atomic_sub_fetch(&n->p->nnotices, 1, __ATOMIC_RELAXED);
    notice_free(n);
}
