#include "agent/wallets_files.h"

#include "agent/replace_file.h"
#include "policy/file.h"
#include "proto/token_protocol.h"

#include <string.h>
#include <unistd.h>

#define MAX_IDENTITIES 1000u
#define MAX_KNOWN      4000u

/* --- lists ---------------------------------------------------------------------------------------------------------------- */

void wallet_wish_list_clear(struct wallet_wish_list *w)
{
    for (size_t i = 0; i < w->n; i++) {
        wallet_identity_clear(&w->list[i].id);
        gpgrt_free(w->list[i].text);
        gpgrt_free(w->list[i].from);
    }
    gpgrt_free(w->list);
    gpgrt_free(w->problems);
    *w = (struct wallet_wish_list){0};
}

bool wallet_wish_list_has(const struct wallet_wish_list *w, const char *text)
{
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->list[i].text, text) == 0)
            return true;
    return false;
}

static void complain(struct wallet_wish_list *w, const char *where, const char *what,
                     const char *why)
{
    char *text =
        gpgrt_bsprintf("%s%s: %s: %s\n", w->problems != NULL ? w->problems : "", where, what, why);

    gpgrt_log_error("%s: %s: %s\n", where, what, why);
    if (text == NULL)
        return;
    gpgrt_free(w->problems);
    w->problems = text;
}

/* Takes nothing over. */
static gpg_error_t add_wanted(struct wallet_wish_list *w, const struct wallet_identity *id,
                              const char *from)
{
    struct wallet_wanted new = {.text = wallet_identity_text(id), .from = gpgrt_strdup(from)};
    struct wallet_wanted *more;
    char *uri = wallet_uri(id);
    gpg_error_t err =
        new.text != NULL &&new.from != NULL &&uri != NULL ? 0 : gpg_error(GPG_ERR_ENOMEM);

    if (err == 0 && wallet_wish_list_has(w, new.text))
        goto out;
    if (err == 0 && w->n >= MAX_IDENTITIES)
        err = gpg_error(GPG_ERR_TOO_MANY);
    if (err == 0)
        err = wallet_identity_parse(uri, wallet_curve(id), &new.id);
    more = err == 0 ? gpgrt_reallocarray(w->list, w->n, w->n + 1, sizeof *more) : NULL;
    if (err == 0 && more == NULL)
        err = gpg_error_from_syserror();
    if (err == 0) {
        w->list = more;
        more[w->n++] = new;
        gpgrt_free(uri);
        return 0;
    }
out:
    wallet_identity_clear(&new.id);
    gpgrt_free(new.text);
    gpgrt_free(new.from);
    gpgrt_free(uri);
    return err;
}

static void known_clear(struct wallet_known *k)
{
    gpgrt_free(k->token);
    gpgrt_free(k->label);
    gpgrt_free(k->line);
    gpgrt_free(k->text);
}

void wallet_known_list_clear(struct wallet_known_list *k)
{
    for (size_t i = 0; i < k->n; i++)
        known_clear(&k->list[i]);
    gpgrt_free(k->list);
    *k = (struct wallet_known_list){0};
}

gpg_error_t wallet_known_add(struct wallet_known_list *k, const char *token, const char *label,
                             const char *line, bool *changed)
{
    struct wallet_known new = {.token = gpgrt_strdup(token),
                               .label = gpgrt_strdup(label != NULL ? label : token),
                               .line = gpgrt_strdup(line)},
                        *more;
    long ecdh = 0;
    gpg_error_t err =
        new.token != NULL &&new.label != NULL &&new.line != NULL ? 0 : gpg_error(GPG_ERR_ENOMEM);

    if (err == 0)
        err = field_get(line, "wallet", &new.text);
    if (err == 0 && new.text == NULL)
        err = gpg_error(GPG_ERR_MISSING_VALUE);
    if (err == 0)
        err = field_get_int(line, "ecdh", 0, &ecdh);
    new.ecdh = ecdh != 0;
    for (size_t i = 0; i < k->n && err == 0; i++) {
        struct wallet_known *old = &k->list[i];

        if (strcmp(old->token, token) != 0 || old->ecdh != new.ecdh ||
            strcmp(old->text, new.text) != 0)
            continue;
        if (changed != NULL && strcmp(old->line, line) != 0)
            *changed = true;
        known_clear(old);
        *old = new;
        return 0;
    }
    if (err == 0 && k->n >= MAX_KNOWN)
        err = gpg_error(GPG_ERR_TOO_MANY);
    more = err == 0 ? gpgrt_reallocarray(k->list, k->n, k->n + 1, sizeof *more) : NULL;
    if (err == 0 && more == NULL)
        err = gpg_error_from_syserror();
    if (err != 0) {
        known_clear(&new);
        return err;
    }
    k->list = more;
    more[k->n++] = new;
    if (changed != NULL)
        *changed = true;
    return 0;
}

/* --- files of identities ----------------------------------------------------------------------------------------------------- */

static const char *tell_why(gpg_error_t err)
{
    switch (gpg_err_code(err)) {
    case GPG_ERR_UNKNOWN_CURVE:
        return "the curve is neither nist256p1 nor ed25519";
    case GPG_ERR_NOT_SUPPORTED:
        return "other characters than ASCII: trezor-agent would transliterate them, latchkey does "
               "not. Write it in ASCII letters";
    case GPG_ERR_INV_VALUE:
        return "no host (or user id) in it: write ssh://user@host or gpg://Name <mail>";
    default:
        return gpg_strerror(err);
    }
}

/* The key of a .pub line, as its device would tell it. */
static gpg_error_t put_pub_line(struct buf *f, struct key *key, const char *text)
{
    size_t n = gcry_sexp_sprint(key->sexp, GCRYSEXP_FMT_CANON, NULL, 0);
    char *canon = gpgrt_malloc(n + 1), *grip = hex_encode(key->grip, sizeof key->grip), *pub = NULL;

    if (canon != NULL) {
        n = gcry_sexp_sprint(key->sexp, GCRYSEXP_FMT_CANON, canon, n + 1);
        pub = b64_encode(canon, n);
    }
    if (pub != NULL && grip != NULL) {
        field_put(f, "id", grip);
        field_put(f, "pub", pub);
        field_put(f, "caps", "sa");
        field_put(f, "family", "ssh");
        field_put(f, "touch", "always");
        field_put(f, "wallet", text);
        field_put_int(f, "whole", 1);
    }
    gpgrt_free(canon);
    canon = pub;
    gpgrt_free(grip);
    gpgrt_free(pub);
    return canon == NULL ? gpg_error(GPG_ERR_ENOMEM) : buf_err(f);
}

struct reading {
    struct wallet_wish_list *wanted;
    struct wallet_known_list *known;
    const char *path;
    bool pub;
};

static bool is_of_curve(const struct key *k, const struct wallet_identity *id)
{
    return id->ed25519
               ? k->algo == KEY_ED25519
               : k->algo == KEY_ECDSA && k->curve != NULL && strcmp(k->curve, "NIST P-256") == 0;
}

static gpg_error_t take_pub(struct reading *r, const struct wallet_identity *id, const char *line)
{
    struct key *k = NULL, *plain = NULL;
    char *comment = NULL, *text = wallet_identity_text(id);
    struct buf f = BUF_INIT;
    gpg_error_t err = key_from_text(line, &k, &comment);

    if (err == 0)
        err = key_plain(k, &plain);
    if (err == 0 && !is_of_curve(plain, id))
        err = gpg_error(GPG_ERR_WRONG_PUBKEY_ALGO);
    if (err == 0 && text != NULL)
        err = put_pub_line(&f, plain, text);
    if (err == 0)
        err = buf_cstr(&f) != NULL ? wallet_known_add(r->known, "", "wallet", buf_cstr(&f), NULL)
                                   : buf_err(&f);
    if (err != 0)
        complain(r->wanted, r->path, line, gpg_strerror(err));
    key_unref(k);
    key_unref(plain);
    gpgrt_free(comment);
    gpgrt_free(text);
    buf_free(&f);
    return 0;
}

static gpg_error_t take(void *arg, const struct wallet_identity *id, const char *line,
                        const char *text, gpg_error_t bad)
{
    struct reading *r = arg;
    gpg_error_t err;

    if (bad != 0) {
        complain(r->wanted, r->path, text, tell_why(bad));
        return 0;
    }
    err = add_wanted(r->wanted, id, r->path);
    return err == 0 && r->pub ? take_pub(r, id, line) : err;
}

gpg_error_t wallet_wish_list_read_text(const char *path, struct rd text,
                                       struct wallet_wish_list *out, struct wallet_known_list *k)
{
    size_t n = strlen(path);
    struct reading r = {
        .wanted = out, .known = k, .path = path, .pub = n > 4 && strcmp(path + n - 4, ".pub") == 0};

    return wallet_identities_read(text, take, &r);
}

static gpg_error_t read_file(const char *path, bool optional, struct wallet_wish_list *out,
                             struct wallet_known_list *k)
{
    char *text = NULL, *problem = NULL;
    size_t len;
    gpg_error_t err;

    if (!policy_read_file(path, geteuid(), optional, &text, &len, &problem)) {
        if (problem != NULL)
            complain(out, path, "not read", problem);
        gpgrt_free(problem);
        return 0;
    }
    err = wallet_wish_list_read_text(path, rd_of(text, len), out, k);
    gpgrt_free(text);
    return err;
}

gpg_error_t wallet_wish_list_read(const struct settings *s, const char *own,
                                  struct wallet_wish_list *out, struct wallet_known_list *k)
{
    gpg_error_t err = 0;

    for (size_t i = 0; i < s->nidentities && err == 0; i++) {
        const struct settings_pair *p = &s->identities[i];
        struct wallet_identity id = {0};

        if (p->second == NULL) {
            err = read_file(p->first, false, out, k);
            continue;
        }
        err = wallet_identity_parse(p->first, p->second, &id);
        if (err == 0)
            err = add_wanted(out, &id, "latchkey.conf");
        else
            complain(out, "latchkey.conf: Identity", p->first, tell_why(err));
        if (gpg_err_code(err) != GPG_ERR_ENOMEM)
            err = 0;
        wallet_identity_clear(&id);
    }
    return err == 0 ? read_file(own, true, out, k) : err;
}

/* --- the file of keys -------------------------------------------------------------------------------------------------------- */

gpg_error_t wallet_known_read_text(struct rd text, struct wallet_known_list *k)
{
    gpg_error_t err = 0;

    while (text.n > 0 && gpg_err_code(err) != GPG_ERR_ENOMEM) {
        const uint8_t *end = memchr(text.p, '\n', text.n);
        size_t n = end != NULL ? (size_t)(end - text.p) : text.n;
        char *line = memchr(text.p, '\0', n) == NULL
                         ? gpgrt_bsprintf("%.*s", (int)n, (const char *)text.p)
                         : NULL;
        char *token = NULL, *label = NULL, *fields = line != NULL ? strstr(line, " id=") : NULL;

        if (fields != NULL) {
            err = field_get(line, "token", &token);
            if (err == 0)
                err = field_get(line, "label", &label);
            if (err == 0 && token != NULL && token[0] != '\0')
                err = wallet_known_add(k, token, label, fields + 1, NULL);
        }
        gpgrt_free(token);
        gpgrt_free(label);
        gpgrt_free(line);
        n += end != NULL;
        text = rd_of(text.p + n, text.n - n);
    }
    return gpg_err_code(err) == GPG_ERR_ENOMEM ? err : 0;
}

gpg_error_t wallet_known_read(const char *path, struct wallet_known_list *k)
{
    char *text = NULL, *problem = NULL;
    size_t len;
    gpg_error_t err;

    if (!policy_read_file(path, geteuid(), true, &text, &len, &problem)) {
        if (problem != NULL)
            gpgrt_log_error("%s\n", problem);
        gpgrt_free(problem);
        return 0;
    }
    err = wallet_known_read_text(rd_of(text, len), k);
    gpgrt_free(text);
    return err;
}

gpg_error_t wallet_known_write(const char *path, const struct wallet_known_list *k)
{
    struct buf b = BUF_INIT;
    gpg_error_t err;

    for (size_t i = 0; i < k->n; i++) {
        struct buf f = BUF_INIT;

        if (k->list[i].token[0] == '\0')
            continue;
        field_put(&f, "token", k->list[i].token);
        field_put(&f, "label", k->list[i].label);
        buf_printf(&b, "%s %s\n", buf_cstr(&f) != NULL ? buf_cstr(&f) : "", k->list[i].line);
        buf_free(&f);
    }
    err = buf_err(&b);
    if (err == 0)
        err = replace_file(path, false, buf_rd(&b));
    buf_free(&b);
    return err;
}
