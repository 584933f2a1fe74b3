#include "agent/token_lines.h"

#include "proto/token_protocol.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME  100u
#define MAX_TEXT  400u
#define MAX_TRIES 255

/* --- fields -------------------------------------------------------------------------------------- */

static bool is_name(const char *s)
{
    size_t n = strlen(s);

    if (n == 0 || n > MAX_NAME || s[0] == '-' || s[0] == '.')
        return false;
    for (; *s != '\0'; s++)
        if (!isalnum((unsigned char)*s) && strchr("-_.", *s) == NULL)
            return false;
    return true;
}

/* A text for people: no longer than a dialog bears. */
static gpg_error_t get_text(const char *line, const char *name, char **out)
{
    char *s;
    gpg_error_t err = field_get(line, name, &s);

    if (err == 0 && s != NULL && strlen(s) > MAX_TEXT) {
        gpgrt_free(s);
        err = gpg_error(GPG_ERR_TOO_LARGE);
    }
    if (err == 0)
        *out = s;
    return err;
}

static gpg_error_t get_int(const char *line, const char *name, long fallback, long min, long max,
                           long *out)
{
    long v;
    gpg_error_t err = field_get_int(line, name, fallback, &v);

    if (err == 0 && v != fallback && (v < min || v > max))
        err = gpg_error(GPG_ERR_ERANGE);
    if (err == 0)
        *out = v;
    return err;
}

static gpg_error_t get_flag(const char *line, const char *name, bool *out)
{
    long v;
    gpg_error_t err = get_int(line, name, 0, 0, 1, &v);

    if (err == 0)
        *out = v == 1;
    return err;
}

struct choice {
    const char *word;
    int value;
};

static gpg_error_t get_choice(const char *line, const char *name, const struct choice *c,
                              int fallback, int *out)
{
    char *s;
    gpg_error_t err = field_get(line, name, &s);

    if (err != 0)
        return err;
    if (s == NULL) {
        *out = fallback;
        return 0;
    }
    while (c->word != NULL && strcmp(c->word, s) != 0)
        c++;
    gpgrt_free(s);
    if (c->word == NULL)
        return gpg_error(GPG_ERR_BAD_DATA);
    *out = c->value;
    return 0;
}

static gpg_error_t get_bus(const char *line, int *bus, int *dev)
{
    long b = -1, d = -1;
    gpg_error_t err = get_int(line, "bus", -1, 0, 65535, &b);

    if (err == 0)
        err = get_int(line, "dev", -1, 0, 65535, &d);
    if (err == 0) {
        *bus = b >= 0 && d >= 0 ? (int)b : -1;
        *dev = b >= 0 && d >= 0 ? (int)d : -1;
    }
    return err;
}

/* --- TOKEN --------------------------------------------------------------------------------------- */

static gpg_error_t get_tries(const char *line, int tries[3])
{
    char *s, *p, *end;
    gpg_error_t err = field_get(line, "tries", &s);

    tries[0] = tries[1] = tries[2] = -1;
    if (err != 0 || s == NULL)
        return err;
    p = s;
    for (int i = 0; i < 3 && err == 0; i++) {
        long v = strtol(p, &end, 10);

        if (end == p || v < -1 || v > MAX_TRIES || *end != (i < 2 ? '/' : '\0'))
            err = gpg_error(GPG_ERR_BAD_DATA);
        tries[i] = (int)v;
        p = end + 1;
    }
    gpgrt_free(s);
    return err;
}

void token_info_clear(struct token_info *i)
{
    gpgrt_free(i->kind);
    gpgrt_free(i->serial);
    gpgrt_free(i->name);
    gpgrt_free(i->label);
    gpgrt_free(i->version);
    gpgrt_free(i->aid);
    gpgrt_free(i->apps);
    gpgrt_free(i->reader);
    gpgrt_free(i->problem);
    gpgrt_free(i->hint);
    for (size_t n = 0; i->key_lines != NULL && i->key_lines[n] != NULL; n++)
        gpgrt_free(i->key_lines[n]);
    gpgrt_free(i->key_lines);
    *i = (struct token_info){0};
}

gpg_error_t token_line_parse(const char *line, struct token_info *out)
{
    struct token_info i = {0};
    gpg_error_t err;

    if ((err = get_text(line, "kind", &i.kind)) != 0 ||
        (err = get_text(line, "serial", &i.serial)) != 0 ||
        (err = get_text(line, "name", &i.name)) != 0 ||
        (err = get_text(line, "label", &i.label)) != 0 ||
        (err = get_text(line, "version", &i.version)) != 0 ||
        (err = get_text(line, "aid", &i.aid)) != 0 ||
        (err = get_text(line, "apps", &i.apps)) != 0 ||
        (err = get_text(line, "reader", &i.reader)) != 0 ||
        (err = get_text(line, "problem", &i.problem)) != 0 ||
        (err = get_text(line, "hint", &i.hint)) != 0 ||
        (err = get_int(line, "unread", 0, 0, 100000, &i.unread)) != 0 ||
        (err = get_bus(line, &i.bus, &i.dev)) != 0 ||
        (err = get_flag(line, "contactless", &i.contactless)) != 0 ||
        (err = get_flag(line, "soft", &i.soft)) != 0 ||
        (err = get_flag(line, "more", &i.more)) != 0 || (err = get_tries(line, i.tries)) != 0 ||
        (err = get_int(line, "counter", -1, 0, 0xffffff, &i.counter)) != 0)
        goto out;
    if (i.kind == NULL || i.name == NULL || !is_name(i.kind) || !is_name(i.name) ||
        (i.serial != NULL && !is_name(i.serial)) || (i.aid != NULL && !is_name(i.aid)))
        err = gpg_error(GPG_ERR_BAD_DATA);
out:
    if (err == 0)
        *out = i;
    else
        token_info_clear(&i);
    return err;
}

/* --- KEY ----------------------------------------------------------------------------------------- */

const char *slot_name(const char *id)
{
    return strcmp(id, "aut") == 0 ? "auth" : id;
}

static gpg_error_t get_key(const char *line, struct key **out)
{
    struct buf b = BUF_INIT;
    gcry_sexp_t sexp = NULL;
    struct key *plain = NULL;
    char *pub = NULL, *application = NULL;
    bool ecdh;
    gpg_error_t err;

    if ((err = field_get(line, "pub", &pub)) != 0 || (err = get_flag(line, "ecdh", &ecdh)) != 0 ||
        (err = get_text(line, "sk", &application)) != 0)
        goto out;
    err = pub != NULL ? b64_decode(pub, strlen(pub), &b) : gpg_error(GPG_ERR_NO_PUBKEY);
    if (err == 0)
        err = gcry_sexp_new(&sexp, b.data, b.len, 0);
    if (err == 0)
        err = key_from_sexp(sexp, ecdh, &plain);
    if (err == 0 && application != NULL) {
        err = key_with_application(plain, application, out);
    } else if (err == 0) {
        *out = plain;
        plain = NULL;
    }
out:
    key_unref(plain);
    gpgrt_free(application);
    gpgrt_free(pub);
    gcry_sexp_release(sexp);
    buf_free(&b);
    return err;
}

static gpg_error_t get_caps(const char *line, struct identity *id)
{
    char *s = NULL;
    gpg_error_t err = field_get(line, "caps", &s);

    for (const char *p = s; err == 0 && p != NULL && *p != '\0'; p++) {
        if (*p == 's')
            id->can_sign = true;
        else if (*p == 'e')
            id->can_encrypt = true;
        else if (*p == 'a')
            id->can_auth = true;
        else
            err = gpg_error(GPG_ERR_BAD_DATA);
    }
    gpgrt_free(s);
    return err;
}

/* The fingerprint is the card's word: it is the name that the person's certificate has, even where
 * another program than ours chose the creation time or the ECDH parameters behind it. */
static gpg_error_t get_openpgp(const char *line, struct identity *id)
{
    struct buf b = BUF_INIT;
    char *hex = NULL;
    long created;
    gpg_error_t err;

    if ((err = get_int(line, "created", -1, 0, 0xffffffffL, &created)) != 0 ||
        (err = field_get(line, "fpr", &hex)) != 0 || hex == NULL)
        goto out;
    err = hex_decode(hex, &b);
    if (err == 0 && b.len != sizeof id->openpgp_fpr)
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err != 0)
        goto out;
    id->created = created >= 0 ? (uint32_t)created : 0;
    memcpy(id->openpgp_fpr, b.data, b.len);
    id->has_openpgp = true;
out:
    gpgrt_free(hex);
    buf_free(&b);
    return err;
}

gpg_error_t key_line_holder(const char *line, struct holder *h)
{
    static const struct choice touches[] = {{"unknown", TOKEN_TOUCH_UNKNOWN},
                                            {"never", TOKEN_TOUCH_NEVER},
                                            {"always", TOKEN_TOUCH_ALWAYS},
                                            {"cached", TOKEN_TOUCH_CACHED},
                                            {NULL, 0}};
    static const struct choice pins[] = {{"none", TOKEN_PIN_NONE},
                                         {"need", TOKEN_PIN_ONCE},
                                         {"once", TOKEN_PIN_ONCE},
                                         {"always", TOKEN_PIN_ALWAYS},
                                         {NULL, 0}};
    int touch, pin;
    long secs;
    gpg_error_t err;

    if ((err = field_get(line, "id", &h->id)) != 0 ||
        (err = get_choice(line, "touch", touches, TOKEN_TOUCH_UNKNOWN, &touch)) != 0 ||
        (err = get_choice(line, "pin", pins, TOKEN_PIN_NONE, &pin)) != 0 ||
        (err = get_int(line, "touch-secs", 0, 0, 86400, &secs)) != 0 ||
        (err = get_flag(line, "touch-fixed", &h->touch_fixed)) != 0 ||
        (err = get_flag(line, "whole", &h->whole)) != 0 ||
        (err = get_flag(line, "slow", &h->slow)) != 0)
        return err;
    if (h->id == NULL || !is_name(h->id))
        return gpg_error(GPG_ERR_BAD_DATA);
    h->touch = (enum token_touch)touch;
    h->touch_secs = (unsigned)secs;
    h->pin = (enum token_pin)pin;
    return 0;
}

static gpg_error_t get_comment(const char *line, const struct token_info *info, const char *id,
                               char **out)
{
    gpg_error_t err = get_text(line, "comment", out);

    if (err == 0 && *out == NULL)
        err = get_text(line, "wallet", out);
    if (err != 0 || *out != NULL)
        return err;
    *out = gpgrt_bsprintf("%s %s", info->label != NULL ? info->label : info->name, slot_name(id));
    return *out != NULL ? 0 : gpg_error_from_syserror();
}

void key_line_clear(struct key_line *k)
{
    key_unref(k->id.key);
    gpgrt_free(k->id.comment);
    gpgrt_free(k->id.wallet);
    gpgrt_free(k->holder.id);
    *k = (struct key_line){0};
}

gpg_error_t key_line_parse(const char *line, const struct token_info *info, struct key_line *out)
{
    static const struct choice families[] = {{"ssh", FAMILY_SSH}, {"gpg", FAMILY_GPG}, {NULL, 0}};
    struct key_line k = {0};
    int family;
    gpg_error_t err;

    if ((err = get_key(line, &k.id.key)) != 0 || (err = get_caps(line, &k.id)) != 0 ||
        (err = get_choice(line, "family", families, FAMILY_SSH, &family)) != 0 ||
        (err = get_int(line, "ssh", 0, -1000, 1000000, &k.id.ssh_place)) != 0 ||
        (err = get_flag(line, "confirm", &k.id.ssh_confirm)) != 0 ||
        (err = get_text(line, "wallet", &k.id.wallet)) != 0 ||
        (err = get_openpgp(line, &k.id)) != 0 || (err = key_line_holder(line, &k.holder)) != 0 ||
        (err = get_comment(line, info, k.holder.id, &k.id.comment)) != 0)
        goto out;
    k.id.family = (enum key_family)family;
out:
    if (err == 0)
        *out = k;
    else
        key_line_clear(&k);
    return err;
}

/* --- watch-pcsc ---------------------------------------------------------------------------------- */

void watch_line_clear(struct watch_line *w)
{
    gpgrt_free(w->reader);
    *w = (struct watch_line){0};
}

gpg_error_t watch_line_parse(const char *line, struct watch_line *out)
{
    static const struct choice events[] = {{TOKEN_WATCH_SERVICE, WATCH_SERVICE},
                                           {TOKEN_WATCH_READER, WATCH_READER},
                                           {TOKEN_WATCH_GONE, WATCH_GONE},
                                           {NULL, 0}};
    struct watch_line w = {.events = -1, .bus = -1, .dev = -1};
    size_t len = strcspn(line, " ");
    const struct choice *e = events;
    gpg_error_t err;

    while (e->word != NULL && (strlen(e->word) != len || strncmp(e->word, line, len) != 0))
        e++;
    if (e->word == NULL)
        return gpg_error(GPG_ERR_UNKNOWN_COMMAND);
    w.event = (enum watch_event)e->value;
    line += len;
    if ((err = get_flag(line, "up", &w.up)) != 0 ||
        (err = get_flag(line, "present", &w.present)) != 0 ||
        (err = get_flag(line, "contactless", &w.contactless)) != 0 ||
        (err = get_int(line, "events", -1, 0, 0xffff, &w.events)) != 0 ||
        (err = get_bus(line, &w.bus, &w.dev)) != 0 ||
        (err = get_text(line, "name", &w.reader)) != 0)
        goto out;
    if (w.event != WATCH_SERVICE && (w.reader == NULL || w.reader[0] == '\0'))
        err = gpg_error(GPG_ERR_BAD_DATA);
out:
    if (err == 0)
        *out = w;
    else
        watch_line_clear(&w);
    return err;
}
