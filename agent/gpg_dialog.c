/* Passphrases asked for as gpg-agent asks: for a key, for a new key, for something that is no key. */
#include "agent/gpg_dialog.h"

#include "agent/gpg_constraints.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PASSPHRASE 255u
#define MAX_ROUNDS     10 /* of a person who does not find a good one */

/* --- how ------------------------------------------------------------------------------------------------------------------------ */

void gpg_style(const struct gpg_session *s, const char *keyinfo, struct prompt_style *out)
{
    const struct gpg_config *c = s->conf;

    *out = (struct prompt_style){.program = c->pinentry_program,
                                 .touch_file = c->touch_file != NULL ? c->touch_file : c->socket,
                                 .invisible_char = c->invisible_char,
                                 .timeout_s = c->pinentry_timeout,
                                 .grab = c->grab,
                                 .external_cache = c->allow_external_cache,
                                 .emacs = c->allow_emacs_pinentry,
                                 .env = s->env,
                                 .keyinfo = keyinfo};
}

static bool may_show(const struct gpg_session *s)
{
    return !s->conf->batch || s->ask.mode != ASK_DIALOG;
}

gpg_error_t gpg_confirm(struct gpg_session *s, struct wait *w, const struct prompt_text *t)
{
    struct prompt_text text = *t;
    struct prompt_style style;

    /* The client would answer itself. */
    if (s->ask.mode == ASK_LOOPBACK || !may_show(s))
        return gpg_error(GPG_ERR_NO_PIN_ENTRY);
    gpg_style(s, NULL, &style);
    text.style = &style;
    return ask_confirm(s->a, w, &s->origin, &text);
}

static gpg_error_t ask_once(struct gpg_session *s, struct wait *w, const struct gpg_question *q,
                            const struct prompt_rules *rules, bool *repeated, struct buf *secret)
{
    struct prompt_style style;
    const struct prompt_text t = {
        .desc = q->desc, .error = q->error, .label = q->label, .style = &style};

    if (!may_show(s))
        return gpg_error(GPG_ERR_NO_PIN_ENTRY);
    gpg_style(s, q->keyinfo, &style);
    style.from_cache = q->from_cache;
    style.rules = rules;
    style.repeated = repeated;
    return ask_secret(s->a, w, &s->origin, &t, repeated != NULL, MAX_PASSPHRASE, secret);
}

gpg_error_t gpg_ask_secret(struct gpg_session *s, struct wait *w, const struct gpg_question *q,
                           struct buf *secret)
{
    return ask_once(s, w, q, NULL, NULL, secret);
}

/* --- new ones ---------------------------------------------------------------------------------------------------------------------- */

/* A question whose No means another try. */
static gpg_error_t take_it_anyway(struct gpg_session *s, struct wait *w, const char *desc,
                                  const char *ok, bool *good)
{
    const struct prompt_text t = {.desc = desc, .ok = ok, .cancel = "Enter new passphrase"};
    gpg_error_t err = gpg_confirm(s, w, &t);

    *good = err == 0;
    return gpg_err_code(err) == GPG_ERR_NOT_CONFIRMED || gpg_err_code(err) == GPG_ERR_CANCELED
               ? 0
               : err;
}

static gpg_error_t judge_empty(struct gpg_session *s, struct wait *w, enum gpg_empty empty,
                               bool *good, char **error)
{
    if (empty == GPG_EMPTY_REFUSED || s->conf->enforce_constraints) {
        *error =
            gpgrt_strdup("You have not entered a passphrase!\nAn empty passphrase is not allowed.");
        return *error != NULL ? 0 : gpg_error_from_syserror();
    }
    return take_it_anyway(s, w,
                          "You have not entered a passphrase - this is in general a bad idea!\n"
                          "Please confirm that you do not want to have any protection on your key.",
                          "Yes, protection is not needed", good);
}

/* Is WORD good enough for something new, or does the person say that it is? If not, *ERROR (may stay NULL) is what the next try
 * is shown with. */
static gpg_error_t judge(struct gpg_session *s, struct wait *w, const struct gpg_constraints *c,
                         const char *word, enum gpg_empty empty, bool *good, char **error)
{
    char *complaint, *text;
    gpg_error_t err = 0;

    *good = false;
    if (word[0] == '\0')
        return judge_empty(s, w, empty, good, error);
    complaint = gpg_complaint(c, word);
    *good = complaint == NULL;
    if (complaint == NULL)
        return 0;
    text = gpgrt_bsprintf("Warning: You have entered an insecure passphrase.\n\n%s", complaint);
    gpgrt_free(complaint);
    if (text == NULL)
        return gpg_error_from_syserror();
    if (s->conf->enforce_constraints) {
        *error = text;
        return 0;
    }
    err = take_it_anyway(s, w, text, "Take this one anyway", good);
    gpgrt_free(text);
    return err;
}

/* For pinentries that ask but once. */
static gpg_error_t ask_again(struct gpg_session *s, struct wait *w, const struct gpg_question *q,
                             const struct buf *first, bool *same)
{
    const struct gpg_question again = {
        .desc = "Please re-enter this passphrase", .label = q->label, .keyinfo = q->keyinfo};
    struct buf second = BUF_INIT_SECURE;
    gpg_error_t err = gpg_ask_secret(s, w, &again, &second);

    *same = err == 0 && rd_eq(buf_rd(first), buf_rd(&second));
    buf_free(&second);
    return err;
}

/* One round; GOOD: SECRET is what is wanted. */
static gpg_error_t ask_round(struct gpg_session *s, struct wait *w, const struct gpg_question *q,
                             const struct gpg_new *n, const struct prompt_rules *rules,
                             struct buf *secret, bool *good, char **error)
{
    const struct gpg_constraints c = {.conf = s->conf, .symkey = n->symkey};
    bool repeated = false;
    gpg_error_t err = ask_once(s, w, q, rules, &repeated, secret);

    *good = err == 0;
    if (err != 0 || s->ask.mode == ASK_LOOPBACK)
        return err;
    if (n->check)
        err = judge(s, w, &c, secret->len > 0 ? (const char *)secret->data : "", n->empty, good,
                    error);
    if (err != 0 || !*good || repeated || secret->len == 0)
        return err;
    err = ask_again(s, w, q, secret, good);
    if (err == 0 && !*good)
        *error = gpgrt_strdup("does not match - try again");
    return err;
}

gpg_error_t gpg_ask_new(struct gpg_session *s, struct wait *w, const struct gpg_question *given,
                        const struct gpg_new *n, struct buf *secret)
{
    const struct gpg_constraints c = {.conf = s->conf, .symkey = n->symkey};
    struct gpg_question q = *given;
    struct gpg_rules rules;
    char *error = NULL;
    bool good = false;
    gpg_error_t err = gpg_rules_init(&rules, &c, n->quality);

    for (int i = 0; i < MAX_ROUNDS && err == 0 && !good; i++) {
        char *next = NULL;

        q.error = error != NULL ? error : i == 0 ? given->error : NULL;
        err = ask_round(s, w, &q, n, &rules.rules, secret, &good, &next);
        gpgrt_free(error);
        error = next;
    }
    gpgrt_free(error);
    gpg_rules_clear(&rules);
    return err == 0 && !good ? gpg_error(GPG_ERR_BAD_PASSPHRASE) : err;
}

/* --- the key store's questions ---------------------------------------------------------------------------------------------------- */

struct asked {
    char *grip, *why, *error;
    long attempt, attempts;
};

static void asked_clear(struct asked *a)
{
    gpgrt_free(a->grip);
    gpgrt_free(a->why);
    gpgrt_free(a->error);
}

static gpg_error_t parse_asked(const char *line, struct asked *a)
{
    gpg_error_t err;

    if ((err = field_get(line, "key", &a->grip)) != 0 ||
        (err = field_get(line, "why", &a->why)) != 0 ||
        (err = field_get(line, "error", &a->error)) != 0 ||
        (err = field_get_int(line, "try", 1, &a->attempt)) != 0)
        return err;
    return field_get_int(line, "tries", 1, &a->attempts);
}

static gpg_error_t ask_for_new(struct gpg_asking *k, struct wait *w, const struct asked *a,
                               struct buf *answer)
{
    const struct gpg_new n = {.check = true, .quality = true, .empty = GPG_EMPTY_CONFIRMED};
    const char *text = k->new_text != NULL ? k->new_text : "Please enter the new passphrase";
    struct gpg_question q = {.label = "Passphrase:"};
    char *desc = NULL;
    gpg_error_t err;

    if (k->new_passphrase != NULL) {
        buf_put_rd(answer, buf_rd(k->new_passphrase));
        return buf_err(answer);
    }
    /* What leaves is described by the client; why it needs a passphrase it does not know. */
    q.desc = text;
    if (strcmp(a->why, "export") == 0 && k->desc != NULL) {
        char *about = gpg_describe_key(k->s, k->desc, a->grip);

        desc = about != NULL ? gpgrt_bsprintf("%s\n\n%s", text, about) : NULL;
        gpgrt_free(about);
        q.desc = desc;
    }
    err = q.desc != NULL ? gpg_ask_new(k->s, w, &q, &n, answer) : gpg_error_from_syserror();
    gpgrt_free(desc);
    return err;
}

static const char *own_words(const struct gpg_asking *k)
{
    return k->ssh ? "Please enter the passphrase for the ssh key%0A  %F%0A  (%c)"
                  : "Please enter the passphrase to unlock the secret key%0A  %C";
}

static gpg_error_t ask_for_old(struct gpg_asking *k, struct wait *w, const struct asked *a,
                               struct buf *answer)
{
    char *desc = gpg_describe_key(k->s, k->desc != NULL ? k->desc : own_words(k), a->grip);
    char *error = a->error != NULL && !k->from_cache
                      ? gpgrt_bsprintf("Bad Passphrase (try %ld of %ld)", a->attempt, a->attempts)
                      : NULL;
    bool keep = !k->typed_only && a->grip != NULL;
    char *keyinfo = keep ? gpgrt_bsprintf("%c/%s", k->ssh ? 's' : 'n', a->grip) : NULL;
    const struct gpg_question q = {.desc = desc,
                                   .error = error,
                                   .label = "Passphrase:",
                                   .keyinfo = keyinfo,
                                   .from_cache = &k->from_cache};
    gpg_error_t err = 0;

    if (desc == NULL)
        err = gpg_error_from_syserror();
    /* What the client said once it would say again. */
    else if (k->s->ask.mode == ASK_LOOPBACK && a->error != NULL)
        err = gpg_error(GPG_ERR_BAD_PASSPHRASE);
    else if (a->error != NULL && k->from_cache && keyinfo != NULL)
        gpg_forget_outside(k->s, w, keyinfo);
    k->from_cache = false;
    if (err == 0)
        err = gpg_ask_secret(k->s, w, &q, answer);
    gpgrt_free(desc);
    gpgrt_free(error);
    gpgrt_free(keyinfo);
    return err;
}

gpg_error_t gpg_answer(void *arg, struct wait *w, const char *line, struct buf *answer)
{
    struct gpg_asking *k = arg;
    struct asked a = {0};
    size_t n = strcspn(line, " ");
    gpg_error_t err;

    if (n != 10 || strncmp(line, "PASSPHRASE", n) != 0)
        return k->more != NULL ? k->more(k, w, line, answer)
                               : gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
    err = parse_asked(line + n, &a);
    if (err == 0 && a.why != NULL && (strcmp(a.why, "new") == 0 || strcmp(a.why, "export") == 0))
        err = ask_for_new(k, w, &a, answer);
    else if (err == 0)
        err = ask_for_old(k, w, &a, answer);
    asked_clear(&a);
    return err;
}

void gpg_forget_outside(struct gpg_session *s, struct wait *w, const char *keyinfo)
{
    const struct requester *r = s->origin.who;
    struct prompt_style style;

    if (!s->conf->allow_external_cache || s->ask.mode != ASK_DIALOG || !may_show(s) ||
        r->dbus == NULL || (r->display == NULL && r->wayland_display == NULL))
        return;
    gpg_style(s, keyinfo, &style);
    prompt_forget(s->a->prompt, w, r, &style);
}
