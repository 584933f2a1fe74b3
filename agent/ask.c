#include "agent/ask.h"

static gpg_error_t refused(enum ask_mode mode)
{
    switch (mode) {
    case ASK_CANCEL:
        return gpg_error(GPG_ERR_CANCELED);
    case ASK_ERROR:
        return gpg_error(GPG_ERR_NO_PIN_ENTRY);
    default:
        return 0;
    }
}

/* T, with what the client wants to be told of. */
static struct prompt_text announced(const struct ask *k, const struct prompt_text *t)
{
    struct prompt_text text = *t;

    if (k != NULL) {
        text.launched = k->launched;
        text.launched_arg = k->arg;
        if (text.style == NULL)
            text.style = k->style;
    }
    return text;
}

gpg_error_t ask_confirm(struct agent *a, struct wait *w, const struct origin *from,
                        const struct prompt_text *t)
{
    const struct prompt_text text = announced(from->ask, t);
    gpg_error_t err = from->ask != NULL ? refused(from->ask->mode) : 0;

    return err != 0 ? err : prompt_confirm(a->prompt, w, from->who, &text);
}

gpg_error_t ask_secret(struct agent *a, struct wait *w, const struct origin *from,
                       const struct prompt_text *t, bool repeat, size_t limit, struct buf *secret)
{
    const struct prompt_text text = announced(from->ask, t);
    const struct ask *k = from->ask;
    gpg_error_t err = k != NULL ? refused(k->mode) : 0;

    if (err != 0)
        return err;
    if (k != NULL && k->mode == ASK_LOOPBACK)
        return k->loopback(k->arg, repeat, limit, secret);
    return prompt_secret(a->prompt, w, from->who, &text, repeat, secret);
}
