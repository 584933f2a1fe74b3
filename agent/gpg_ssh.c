#include "agent/gpg_ssh.h"

#include "agent/gpg_dialog.h"
#include "agent/gpg_session.h"
#include "proto/token_protocol.h"

#include <string.h>

/* ssh's conversation has nothing of gpg's: no options, no description. */
struct gpg_ssh {
    struct gpg_session s;
    struct gpg_asking asking;
    struct buf args;
};

static gpg_error_t new_asking(struct agent *a, const struct origin *from, struct gpg_ssh **out)
{
    struct gpg_ssh *g = gpgrt_calloc(1, sizeof *g);

    if (g == NULL)
        return gpg_error_from_syserror();
    g->args = BUF_INIT;
    g->s.a = a;
    g->s.origin = *from; /* borrowed, all of it */
    g->s.knows_fully_canceled = true;
    g->s.conf = gpg_config_get(a);
    g->asking = (struct gpg_asking){.s = &g->s, .ssh = true};
    gpg_put_cache_fields(&g->s, true, true, &g->args);
    *out = g;
    return buf_err(&g->args);
}

void gpg_ssh_end(struct gpg_ssh *g)
{
    if (g == NULL)
        return;
    gpg_config_put(g->s.conf);
    buf_free(&g->args);
    gpgrt_free(g);
}

gpg_error_t gpg_ssh_begin(struct gpg_ssh **out, struct agent *a, const struct origin *from,
                          struct operation *op)
{
    gpg_error_t err;

    *out = NULL;
    if (a->gpg == NULL || !gpg_is_stored(op->id))
        return 0;
    err = new_asking(a, from, out);
    if (err != 0)
        return err;
    op->args = buf_cstr(&(*out)->args);
    op->answer = gpg_answer;
    op->answer_arg = &(*out)->asking;
    op->confirm |= op->id->ssh_confirm;
    return op->args != NULL ? 0 : buf_err(&(*out)->args);
}

/* --- adding ------------------------------------------------------------------------------------------------------------------- */

bool gpg_ssh_keeps(const struct agent *a, const struct ssh_agent_msg *add)
{
    const struct key_constraints *c = &add->u.add.constraints;

    return a->gpg != NULL && a->as_gpg_agent && add->u.add.key->cert == NULL &&
           !key_is_sk(add->u.add.key) && c->ndest == 0 && c->ncerts == 0;
}

static gpg_error_t give_body(struct gpg_asking *k, struct wait *w, const char *line,
                             struct buf *answer)
{
    const struct rd *body = k->more_arg;

    (void)w;
    if (strncmp(line, "WRAPPED", strcspn(line, " ")) != 0)
        return gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
    buf_put_rd(answer, *body);
    return buf_err(answer);
}

static gpg_error_t import(struct gpg_ssh *g, struct token *t, struct ssh_agent_msg *add)
{
    struct token_request r = {.use = "import",
                              .use_text = "add a key to gpg's key store",
                              .verb = TOKEN_OTHER,
                              .word = TOKEN_VERB_IMPORT,
                              .answer = gpg_answer,
                              .answer_arg = &g->asking};
    struct rd body = add->u.add.private_part;
    char *text =
        add->u.add.comment != NULL
            ? gpgrt_bsprintf("Please enter a passphrase to protect the received secret key\n"
                             "   %s\n   %s\nwithin gpg-agent's key storage",
                             add->u.add.key->fpr != NULL ? add->u.add.key->fpr : "",
                             add->u.add.comment)
            : NULL;
    gpg_error_t err;

    g->asking.new_text = text;
    g->asking.more = give_body;
    g->asking.more_arg = &body;
    field_put_int(&g->args, "ssh", 1);
    if (add->u.add.comment != NULL)
        field_put(&g->args, "comment", add->u.add.comment);
    r.args = buf_cstr(&g->args);
    err = r.args != NULL ? broker_request_token(g->s.a, &g->s.origin, t, NULL, &r)
                         : buf_err(&g->args);
    token_request_clear(&r);
    gpgrt_free(text);
    /* It is there already: only offered anew. */
    return gpg_err_code(err) == GPG_ERR_EEXIST ? 0 : err;
}

gpg_error_t gpg_ssh_add(struct agent *a, const struct origin *from, struct ssh_agent_msg *add)
{
    const struct key_constraints *c = &add->u.add.constraints;
    char *grip = hex_encode(add->u.add.key->grip, sizeof add->u.add.key->grip);
    struct gpg_ssh *g = NULL;
    struct buf args = BUF_INIT;
    struct token *t = NULL;
    gpg_error_t err = grip != NULL ? new_asking(a, from, &g) : gpg_error_from_syserror();

    if (err == 0)
        err = gpg_store(a, &t);
    if (err == 0)
        err = import(g, t, add);
    if (err == 0) {
        if (c->lifetime != 0)
            field_put_int(&args, "ttl", (long)c->lifetime);
        if (c->confirm)
            field_put_int(&args, "confirm", 1);
        err = gpg_ask_store(&g->s, grip, TOKEN_VERB_SSHADD, args.len > 0 ? buf_cstr(&args) : NULL,
                            NULL, NULL);
    }
    if (err == 0)
        gpg_look_at_disk(a);
    if (t != NULL)
        token_unref(t);
    gpg_ssh_end(g);
    gpgrt_free(grip);
    buf_free(&args);
    return err;
}
