/* Cards as gpg-agent's own commands see them: LEARN, READKEY --card, stubs; and cards that are not there. */
#include "agent/gpg_dialog.h"
#include "agent/missing_token.h"
#include "agent/scd.h"
#include "proto/token_protocol.h"

#include <string.h>

#define WAIT_S 60

gpg_error_t gpg_await_card(struct gpg_session *s, const struct gpg_stored *file,
                           gpg_error_t (*come)(void *arg), void *arg)
{
    struct prompt_style style;
    struct prompt_text text = {.cancel = "Cancel", .style = &style};
    char *serial = file->serial != NULL ? scd_shown_serial(file->serial) : gpgrt_strdup("?"), *desc;
    gpg_error_t err;

    if (!file->prompt) {
        gpgrt_free(serial);
        return gpg_fail(s, GPG_ERR_UNUSABLE_SECKEY, NULL);
    }
    if (s->ask.mode != ASK_DIALOG || s->conf->batch) {
        gpgrt_free(serial);
        return gpg_err_make(GPG_ERR_SOURCE_SCD, GPG_ERR_CARD_NOT_PRESENT);
    }
    gpg_style(s, NULL, &style);
    desc = serial != NULL
               ? gpgrt_bsprintf("Please insert the card with serial number:\n\n  %s\n  %s", serial,
                                file->label != NULL ? file->label : "")
               : NULL;
    text.desc = desc;
    text.launched = s->ask.launched;
    text.launched_arg = s->ask.arg;
    err = desc != NULL ? missing_token_wait(s->a, &s->origin, &text, WAIT_S, come, arg)
                       : gpg_error_from_syserror();
    gpgrt_free(serial);
    gpgrt_free(desc);
    if (gpg_err_code(err) == GPG_ERR_TIMEOUT)
        err = gpg_error(GPG_ERR_CARD_NOT_PRESENT);
    return gpg_map_error(s, err, true);
}

/* --- stubs -------------------------------------------------------------------------------------------------------------------------- */

/* gpg wants a file for a key on a card: this one is written from what the card tells and never needed by us. */
struct stub {
    const struct scd_key *key;
    struct buf args;
};

static gpg_error_t give_pub(void *arg, struct buf *answer)
{
    const struct stub *b = arg;
    gcry_sexp_t sexp = b->key->id->key->sexp;
    size_t n = gcry_sexp_sprint(sexp, GCRYSEXP_FMT_CANON, NULL, 0);
    char *text = gpgrt_malloc(n + 1);

    if (text == NULL)
        return gpg_error_from_syserror();
    buf_put(answer, text, gcry_sexp_sprint(sexp, GCRYSEXP_FMT_CANON, text, n + 1));
    gpgrt_free(text);
    return buf_err(answer);
}

static gpg_error_t answer_store(void *arg, const char *line, struct buf *answer)
{
    return strncmp(line, "PUB", strcspn(line, " ")) == 0 ? give_pub(arg, answer)
                                                         : gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
}

static gpg_error_t answer_broker(void *arg, struct wait *w, const char *line, struct buf *answer)
{
    (void)w;
    return answer_store(arg, line, answer);
}

/* A private key on disk gives way to the stub: its end, which the policy judges as one. */
static gpg_error_t replace_private(struct gpg_session *s, struct stub *b, const char *grip)
{
    char *text =
        gpgrt_bsprintf("replace a gpg key on disk by a reference to %s", scd_label(&b->key->card));
    struct token_request r = {.use = "delete",
                              .use_text = text,
                              .verb = TOKEN_OTHER,
                              .word = TOKEN_VERB_STUB,
                              .args = buf_cstr(&b->args),
                              .answer = answer_broker,
                              .answer_arg = b};
    struct token *t = NULL;
    gpg_error_t err = text != NULL ? gpg_store(s->a, &t) : gpg_error_from_syserror();

    if (err == 0)
        err = broker_request_token(s->a, &s->origin, t, grip, &r);
    if (err != 0 && r.error_text != NULL)
        err = gpg_tell_error(s, gpg_map_error(s, err, false), r.error_text);
    token_unref(t);
    token_request_clear(&r);
    gpgrt_free(text);
    return err;
}

static gpg_error_t write_stub(struct gpg_session *s, const struct scd_key *k, bool force)
{
    struct stub b = {.key = k};
    struct gpg_stored file = {0};
    char grip[GPG_GRIP_CHARS + 1], *label = scd_shown_serial(k->card.info->aid);
    gpg_error_t err;

    scd_grip(k->id, grip);
    field_put(&b.args, "serial", k->card.info->aid);
    field_put(&b.args, "ref", k->ref);
    if (label != NULL)
        field_put(&b.args, "label", label);
    if (force)
        field_put_int(&b.args, "force", 1);
    err = buf_cstr(&b.args) != NULL ? gpg_stored_get(s, grip, &file) : gpg_error(GPG_ERR_ENOMEM);
    if (err == 0 && file.state != STORED_SHADOWED)
        err = force ? replace_private(s, &b, grip) : 0;
    else if (err == 0 || gpg_err_code(err) == GPG_ERR_NOT_FOUND)
        err = gpg_call_store(s, grip, TOKEN_VERB_STUB, buf_cstr(&b.args), answer_store, &b, NULL,
                             NULL);
    gpg_stored_clear(&file);
    gpgrt_free(label);
    buf_free(&b.args);
    return gpg_map_error(s, err, false);
}

/* --- LEARN -------------------------------------------------------------------------------------------------------------------------- */

static bool is_pair(const char *name)
{
    return strcmp(name, "KEYPAIRINFO") == 0;
}

struct learning {
    bool tell, force;
};

static gpg_error_t tell_progress(struct gpg_session *s, const struct scd_key *k, void *arg)
{
    (void)k;
    (void)arg;
    return gpg_status(s, "PROGRESS", "learncard k 0 0");
}

static gpg_error_t learn_key(struct gpg_session *s, const struct scd_key *k, void *arg)
{
    const struct learning *l = arg;
    char grip[GPG_GRIP_CHARS + 1];
    gpg_error_t err = 0;

    scd_grip(k->id, grip);
    if (l->tell)
        err = gpg_status(s, "KEYPAIRINFO", "%s %s", grip, k->ref);
    return err != 0 ? err : write_stub(s, k, l->force);
}

/* LEARN [--send] [--sendinfo] [--force]. --send is about certificates, which no OpenPGP card is asked for here. */
static gpg_error_t cmd_learn(struct gpg_session *s, char *line)
{
    struct learning l = {.tell = gpg_has_option(line, "--sendinfo"),
                         .force = gpg_has_option(line, "--force")};
    struct buf lines = BUF_INIT;
    struct scd_card c = {0};
    gpg_error_t err = scd_card_open(s, &c);

    if (err == 0)
        err = scd_learn(s, &c, &lines);
    if (err == 0 && l.tell)
        err = scd_each_key(s, &c, tell_progress, NULL);
    if (err == 0 && l.tell)
        err = scd_pass_attributes(s, buf_rd(&lines), is_pair);
    if (err == 0)
        err = scd_each_key(s, &c, learn_key, &l);
    scd_card_close(&c);
    buf_free(&lines);
    return err;
}

/* --- READKEY --card ------------------------------------------------------------------------------------------------------------------ */

gpg_error_t gpg_read_card_key(struct gpg_session *s, const char *ref, bool no_data)
{
    char *word = gpgrt_strdup(ref);
    struct scd_key k = {0};
    gpg_error_t err;

    if (word == NULL)
        return gpg_error_from_syserror();
    (void)scd_next_word(word);
    err = scd_key_find(s, word, NULL, &k);
    if (err == 0 && k.id == NULL)
        err = scd_fail(s, GPG_ERR_NO_OBJ, NULL);
    if (err == 0)
        err = write_stub(s, &k, false);
    if (err == 0 && !no_data)
        err = gpg_send_sexp(s, k.id->key->sexp);
    scd_key_clear(&k);
    gpgrt_free(word);
    return err;
}

const struct gpg_command gpg_card_commands[] = {
    {"LEARN", cmd_learn, false,
     "LEARN [--send] [--sendinfo] [--force]\n\nTells what is on the card, and makes stubs for its "
     "keys."},
    {0},
};
