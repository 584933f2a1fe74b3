/* Passphrases asked for as gpg-agent asks: for a key, for a new key, for something that is no key. */
#include "agent/gpg_dialog.h"

#include "proto/token_protocol.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PASSPHRASE 255u
#define MAX_ROUNDS     10 /* of a person who does not find a good one */

/* --- texts --------------------------------------------------------------------------------------------------------------------- */

char *gpg_unescape(const char *s, bool plus)
{
    struct buf b = BUF_INIT;

    for (; *s != '\0'; s++) {
        unsigned c;

        if (*s == '%' && isxdigit((unsigned char)s[1]) && isxdigit((unsigned char)s[2]) &&
            sscanf(s + 1, "%2x", &c) == 1) {
            if (c != 0)
                buf_put_u8(&b, (uint8_t)c);
            s += 2;
        } else {
            buf_put_u8(&b, plus && *s == '+' ? ' ' : (uint8_t)*s);
        }
    }
    return buf_steal_cstr(&b);
}

/* The agent's own words for a key: what ssh's users see. */
static char *own_words(struct gpg_asking *k, const char *grip)
{
    struct gpg_stored f = {0};
    struct key *key = NULL;
    gcry_sexp_t sexp = NULL;
    char *fpr = NULL, *text;

    if (grip != NULL && gpg_stored_get(k->s, grip, &f) == 0 && f.pub.len > 0 &&
        gcry_sexp_new(&sexp, f.pub.data, f.pub.len, 0) == 0)
        (void)key_from_sexp(sexp, false, &key);
    if (key != NULL && key->plain != NULL)
        fpr = gpg_ssh_fingerprint(rd_of(key->plain, key->plain_len),
                                  k->s->conf->ssh_fingerprint_hash);
    text = gpgrt_bsprintf("Please enter the passphrase for the %s key\n  %s\n  (%s)",
                          k->ssh ? "ssh" : "secret",
                          fpr != NULL    ? fpr
                          : grip != NULL ? grip
                                         : "?",
                          f.label != NULL     ? f.label
                          : f.comment != NULL ? f.comment
                                              : "none");
    gpgrt_free(fpr);
    key_unref(key);
    gcry_sexp_release(sexp);
    gpg_stored_clear(&f);
    return text;
}

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

gpg_error_t gpg_confirm(struct gpg_session *s, struct wait *w, const char *desc, const char *ok,
                        const char *cancel)
{
    struct prompt_style style;
    const struct prompt_text t = {.desc = desc, .ok = ok, .cancel = cancel, .style = &style};

    /* The client would answer itself. */
    if (s->ask.mode == ASK_LOOPBACK || s->conf->batch)
        return gpg_error(GPG_ERR_NO_PIN_ENTRY);
    gpg_style(s, NULL, &style);
    return ask_confirm(s->a, w, &s->origin, &t);
}

gpg_error_t gpg_ask_secret(struct gpg_session *s, struct wait *w, const struct gpg_question *q,
                           struct buf *secret)
{
    struct prompt_style style;
    const struct prompt_text t = {
        .desc = q->desc, .error = q->error, .label = q->label, .style = &style};

    if (s->conf->batch && s->ask.mode == ASK_DIALOG)
        return gpg_error(GPG_ERR_NO_PIN_ENTRY);
    gpg_style(s, q->keyinfo, &style);
    style.quality = q->quality;
    style.from_cache = q->from_cache;
    return ask_secret(s->a, w, &s->origin, &t, q->repeat, MAX_PASSPHRASE, secret);
}

/* --- new ones ---------------------------------------------------------------------------------------------------------------------- */

/* What is wrong with a new passphrase; NULL: nothing. New string. */
static char *complaint_about(const struct gpg_config *c, const char *word)
{
    size_t n = 0, other = 0;

    for (const char *p = word; *p != '\0'; p++) {
        n += ((unsigned char)*p & 0xc0) != 0x80; /* characters, not octets */
        other += !isalpha((unsigned char)*p);
    }
    if (n < c->min_passphrase_len)
        return gpgrt_bsprintf("A passphrase should be at least %u character%s long.",
                              c->min_passphrase_len, c->min_passphrase_len == 1 ? "" : "s");
    if (other < c->min_passphrase_nonalpha)
        return gpgrt_bsprintf(
            "A passphrase should contain at least %u digit%s or special character%s.",
            c->min_passphrase_nonalpha, c->min_passphrase_nonalpha == 1 ? "" : "s",
            c->min_passphrase_nonalpha == 1 ? "" : "s");
    return NULL;
}

gpg_error_t gpg_new_is_good(struct gpg_session *s, struct wait *w, const char *word, bool *good,
                            char **error)
{
    char *why, *text;
    gpg_error_t err;

    *good = true;
    if (word[0] == '\0') {
        if (s->conf->enforce_constraints) {
            *good = false;
            *error = gpgrt_strdup("You have not entered a passphrase!");
            return 0;
        }
        err = gpg_confirm(s, w,
                          "You have not entered a passphrase - this is in general a bad idea!\n"
                          "Please confirm that you do not want to have any protection on your key.",
                          "Yes, protection is not needed", "Enter new passphrase");
    } else {
        why = complaint_about(s->conf, word);
        if (why == NULL)
            return 0;
        if (s->conf->enforce_constraints) {
            *good = false;
            *error = why;
            return 0;
        }
        text = gpgrt_bsprintf("Warning: You have entered an insecure passphrase.\n\n%s", why);
        gpgrt_free(why);
        if (text == NULL)
            return gpg_error_from_syserror();
        err = gpg_confirm(s, w, text, "Take this one anyway", "Enter new passphrase");
        gpgrt_free(text);
    }
    if (gpg_err_code(err) == GPG_ERR_NOT_CONFIRMED || gpg_err_code(err) == GPG_ERR_CANCELED) {
        *good = false;
        return 0;
    }
    return err;
}

gpg_error_t gpg_ask_new(struct gpg_session *s, struct wait *w, const struct gpg_question *given,
                        bool check, struct buf *secret)
{
    struct gpg_question q = *given;
    char *error = NULL;
    bool good = false;
    gpg_error_t err = 0;

    q.repeat = true;
    for (int i = 0; i < MAX_ROUNDS && err == 0 && !good; i++) {
        q.error = error != NULL ? error : given->error;
        err = gpg_ask_secret(s, w, &q, secret);
        gpgrt_free(error);
        error = NULL;
        if (gpg_err_code(err) == GPG_ERR_BAD_PASSPHRASE) { /* an old pinentry's two did not match */
            error = gpgrt_strdup("does not match - try again");
            err = 0;
            continue;
        }
        good = err == 0 && (s->ask.mode == ASK_LOOPBACK || !check);
        if (err == 0 && !good)
            err = gpg_new_is_good(s, w, secret->len > 0 ? (const char *)secret->data : "", &good,
                                  &error);
    }
    gpgrt_free(error);
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

static gpg_error_t ask_for_new(struct gpg_asking *k, struct wait *w, struct buf *answer)
{
    struct gpg_question q = {.desc = k->new_text != NULL ? k->new_text
                                                         : "Please enter the new passphrase",
                             .label = "Passphrase",
                             .quality = true};

    if (k->new_passphrase != NULL) {
        buf_put_rd(answer, buf_rd(k->new_passphrase));
        return buf_err(answer);
    }
    return gpg_ask_new(k->s, w, &q, true, answer);
}

static gpg_error_t ask_for_old(struct gpg_asking *k, struct wait *w, const struct asked *a,
                               struct buf *answer)
{
    char *desc = k->desc != NULL ? gpg_unescape(k->desc, false) : own_words(k, a->grip);
    char *error = a->error != NULL
                      ? gpgrt_bsprintf("Bad Passphrase (try %ld of %ld)", a->attempt, a->attempts)
                      : NULL;
    bool keep = a->why != NULL && strcmp(a->why, "use") == 0;
    char *keyinfo =
        keep && a->grip != NULL ? gpgrt_bsprintf("%c/%s", k->ssh ? 's' : 'n', a->grip) : NULL;
    const struct gpg_question q = {
        .desc = desc, .error = error, .label = "Passphrase", .keyinfo = keyinfo};
    gpg_error_t err;

    if (desc == NULL)
        err = gpg_error_from_syserror();
    /* What the client said once it would say again. */
    else if (k->s->ask.mode == ASK_LOOPBACK && a->error != NULL)
        err = gpg_error(GPG_ERR_BAD_PASSPHRASE);
    else
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
        err = ask_for_new(k, w, answer);
    else if (err == 0)
        err = ask_for_old(k, w, &a, answer);
    asked_clear(&a);
    return err;
}

/* --- what the store is told ---------------------------------------------------------------------------------------------------------- */

void gpg_put_cache_fields(struct gpg_session *s, bool normal_cache, bool ssh, struct buf *fields)
{
    const struct gpg_config *c = s->conf;

    if (!normal_cache)
        field_put_int(fields, "cache", 0);
    field_put_int(fields, "ttl", (long)(ssh ? c->default_ttl_ssh : c->default_ttl));
    field_put_int(fields, "max-ttl", (long)(ssh ? c->max_ttl_ssh : c->max_ttl));
    if (ssh)
        field_put(fields, "mode", "ssh");
    if (s->level != GPG_FULL)
        field_put_int(fields, "realm", (long)s->level);
}

static gpg_error_t pass_nonce(struct gpg_session *s, const char *line, const char *field,
                              const char *keyword, char **last)
{
    char *value = NULL;
    gpg_error_t err = field_get(line, field, &value);

    if (err != 0 || value == NULL)
        return err;
    if (value[strspn(value, "0123456789ABCDEFabcdef")] != '\0')
        err = gpg_error(GPG_ERR_BAD_DATA);
    else
        err = gpg_status(s, keyword, "%s", value);
    if (err == 0 && last != NULL) {
        gpgrt_free(*last);
        *last = value;
        value = NULL;
    }
    gpgrt_free(value);
    return err;
}

gpg_error_t gpg_pass_nonces(struct gpg_session *s, struct rd lines, bool until_reset)
{
    static const char keyword[] = TOKEN_STATUS_NONCE " ";
    char *text = gpgrt_bsprintf("%.*s", (int)lines.n, lines.n > 0 ? (const char *)lines.p : ""),
         *save = NULL;
    gpg_error_t err = 0;

    if (text == NULL)
        return gpg_error_from_syserror();
    for (char *l = strtok_r(text, "\n", &save); l != NULL && err == 0;
         l = strtok_r(NULL, "\n", &save)) {
        if (strncmp(l, keyword, sizeof keyword - 1) != 0)
            continue;
        err = pass_nonce(s, l + sizeof keyword - 1, "cache", "CACHE_NONCE",
                         until_reset ? &s->last_cache_nonce : NULL);
        if (err == 0)
            err = pass_nonce(s, l + sizeof keyword - 1, "passwd", "PASSWD_NONCE",
                             until_reset ? &s->last_passwd_nonce : NULL);
    }
    gpgrt_free(text);
    return err;
}
