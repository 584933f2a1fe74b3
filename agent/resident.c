#include "agent/resident.h"

#include "agent/hotplug.h"
#include "agent/keyring.h"
#include "agent/token_lines.h"
#include "proto/sk_file.h"

#define ADD_S 10u

char *resident_comment(const struct sk_entry *e)
{
    return gpgrt_strdup(e->key->sk_application);
}

static gpg_error_t put_into(struct agent *a, struct token *t, const struct sk_entry *e,
                            const char *comment, struct holder *h)
{
    struct buf body = BUF_INIT;
    struct token_job job = {.verb = TOKEN_ADDKEY, .comment = comment};
    struct wait w;
    gpg_error_t err = wait_begin(a->waits, &w, -1, ADD_S);

    if (err != 0)
        return err;
    w.ignore_lock = true;
    sk_body_put(&body, e->key, e->flags, rd_of(e->handle, e->handle_len));
    job.data = buf_rd(&body);
    err = buf_err(&body);
    if (err == 0)
        err = token_run(t, &w, &job);
    wait_end(&w);
    if (err == 0)
        err = job.result.len > 0 && buf_cstr(&job.result) != NULL
                  ? key_line_holder(buf_cstr(&job.result), h)
                  : gpg_error(GPG_ERR_BAD_DATA);
    buf_free(&job.result);
    buf_free(&body);
    return err;
}

gpg_error_t resident_offer(struct agent *a, const struct sk_entry *e)
{
    struct token *t = hotplug_security_keys(a->hotplug, NULL);
    struct key_constraints none = {0};
    struct orphan unused = {0};
    struct holder h = {0};
    char *comment = resident_comment(e);
    gpg_error_t err;

    if (t == NULL || comment == NULL)
        err = gpg_error(t == NULL ? GPG_ERR_ENODEV : GPG_ERR_ENOMEM);
    else
        err = put_into(a, t, e, comment, &h);
    h.token = t;
    if (err == 0)
        err = keyring_add(a->keyring, &h, e->key, comment, &none, 0, &unused);
    if (err != 0 && h.id != NULL)
        hotplug_wipe_added(a->hotplug, t, h.id);
    if (unused.id != NULL)
        hotplug_wipe_added(a->hotplug, unused.token, unused.id);
    orphan_clear(&unused);
    gpgrt_free(h.id);
    gpgrt_free(comment);
    token_unref(t);
    return err;
}

bool resident_offer_all(struct agent *a)
{
    struct sk_list *s = sk_book_get(a->resident);
    bool there = true;

    for (size_t i = 0; s != NULL && i < s->n; i++) {
        gpg_error_t err = resident_offer(a, &s->list[i]);

        there &= gpg_err_code(err) != GPG_ERR_ENODEV;
        if (err != 0)
            gpgrt_log_info("%s: a resident key is not offered: %s\n", s->list[i].key->fpr,
                           gpg_strerror(err));
    }
    sk_list_unref(s);
    return there;
}
