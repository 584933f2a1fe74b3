/* What keys there are: HAVEKEY, KEYINFO, READKEY, KEYATTR. */
#include "agent/gpg_session.h"
#include "agent/hotplug.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A token that is being read may hold the key that is asked for. */
#define SETTLE_MS 3000

/* --- keys on tokens ---------------------------------------------------------------------------------------------------------- */

/* What gpg calls a key on a card: its card's serial number and its place there. "" where gpg has no name for it. */
struct card_place {
    char serial[65], ref[16], shown[80];
};

static const char *ref_of(const char *slot)
{
    return strcmp(slot, "sig") == 0   ? "OPENPGP.1"
           : strcmp(slot, "dec") == 0 ? "OPENPGP.2"
           : strcmp(slot, "aut") == 0 ? "OPENPGP.3"
                                      : "";
}

/* The first holder of ID that is an OpenPGP card. */
static bool place_of(const struct identity *id, struct card_place *out)
{
    for (size_t i = 0; i < id->nholders; i++) {
        const struct token_info *info = token_info_get(id->holders[i].token);
        const char *ref = ref_of(id->holders[i].id);
        bool is = info != NULL && info->aid != NULL && ref[0] != '\0';

        if (is) {
            snprintf(out->serial, sizeof out->serial, "%s", info->aid);
            snprintf(out->ref, sizeof out->ref, "%s", ref);
        }
        token_info_put(info);
        if (is)
            return true;
    }
    return false;
}

/* A key that no client added: those are no business of gpg's. */
static bool is_tokens_own(const struct identity *id)
{
    return !id->added && id->key->cert == NULL && !key_is_sk(id->key);
}

static const struct identity *find_on_token(const struct keyring_snapshot *snap, const char *grip)
{
    for (size_t i = 0; snap != NULL && i < snap->n; i++)
        if (is_tokens_own(snap->ids[i]) && !gpg_is_stored(snap->ids[i]) &&
            key_has_grip(snap->ids[i]->key, grip))
            return snap->ids[i];
    return NULL;
}

static bool on_token(struct gpg_session *s, const char *grip)
{
    const struct keyring_snapshot *snap = keyring_get(s->a->keyring);
    bool found = find_on_token(snap, grip) != NULL;

    keyring_put(snap);
    return found;
}

/* --- HAVEKEY ------------------------------------------------------------------------------------------------------------------ */

static gpg_error_t have_list(struct gpg_session *s, const char *limit)
{
    const struct keyring_snapshot *snap = NULL;
    struct gpg_stored *files = NULL;
    struct buf out = BUF_INIT;
    size_t n = 0, max = limit[0] != '\0' ? (size_t)strtoul(limit, NULL, 10) : 0, told = 0;
    gpg_error_t err = gpg_stored_list(s, &files, &n);

    if (err != 0)
        return err;
    hotplug_settle_all(s->a->hotplug, SETTLE_MS);
    snap = keyring_get(s->a->keyring);
    for (size_t i = 0; i < n && (max == 0 || told < max); i++, told++)
        err = hex_decode(files[i].grip, &out);
    for (size_t i = 0; snap != NULL && i < snap->n && (max == 0 || told < max); i++)
        if (is_tokens_own(snap->ids[i]) && !gpg_is_stored(snap->ids[i])) {
            buf_put(&out, snap->ids[i]->key->grip, sizeof snap->ids[i]->key->grip);
            told++;
        }
    if (err == 0)
        err = buf_err(&out);
    if (err == 0)
        err = gpg_send(s, buf_rd(&out), false);
    if (err == 0 && max != 0 && told == max && n > max)
        err = gpg_fail(s, GPG_ERR_TRUNCATED, NULL);
    keyring_put(snap);
    for (size_t i = 0; i < n; i++)
        gpg_stored_clear(&files[i]);
    gpgrt_free(files);
    buf_free(&out);
    return err;
}

static const char *state_word(const struct gpg_stored *k)
{
    switch (k->state) {
    case STORED_CLEAR:
        return "clear";
    case STORED_PROTECTED:
        return "protected";
    case STORED_SHADOWED:
        return "shadowed";
    default:
        return "unknown";
    }
}

static gpg_error_t have_info(struct gpg_session *s, const char *line)
{
    char grip[GPG_GRIP_CHARS + 1];
    struct gpg_stored k = {0};
    gpg_error_t err = gpg_parse_grip(s, line, grip);

    if (err == 0)
        err = gpg_stored_get(s, grip, &k);
    if (gpg_err_code(err) == GPG_ERR_NOT_FOUND)
        return gpg_fail(s, GPG_ERR_NO_SECKEY, NULL);
    if (err == 0)
        err = gpg_status(s, "KEYFILEINFO", "%s", state_word(&k));
    gpg_stored_clear(&k);
    return err;
}

/* A private key, or a stub: gpg wants to know whether it is worth asking for. */
static gpg_error_t have(struct gpg_session *s, const char *grip, bool settle)
{
    struct gpg_stored k = {0};
    gpg_error_t err = gpg_stored_get(s, grip, &k);

    gpg_stored_clear(&k);
    if (err == 0)
        return 0;
    if (settle)
        hotplug_settle_all(s->a->hotplug, SETTLE_MS);
    return on_token(s, grip) ? 0 : gpg_error(GPG_ERR_NO_SECKEY);
}

static gpg_error_t cmd_havekey(struct gpg_session *s, char *line)
{
    const char *list = gpg_option_value(line, "--list");
    bool info = gpg_has_option(line, "--info");
    gpg_error_t found = gpg_error(GPG_ERR_NO_SECKEY), err;
    bool settled = false;

    if (s->level != GPG_FULL && list != NULL)
        return gpg_fail(s, GPG_ERR_FORBIDDEN, NULL);
    if (list != NULL)
        return have_list(s, list);
    line = gpg_skip_options(line);
    if (info)
        return have_info(s, line);
    do {
        char grip[GPG_GRIP_CHARS + 1];

        err = gpg_parse_grip(s, line, grip);
        if (err != 0)
            return err;
        if (found != 0)
            found = have(s, grip, !settled);
        settled = true;
        line += GPG_GRIP_CHARS;
        line += strspn(line, " \t");
    } while (*line != '\0');
    return found != 0 ? gpg_fail(s, gpg_err_code(found), NULL) : 0;
}

/* --- KEYINFO -------------------------------------------------------------------------------------------------------------------- */

/* One line of KEYINFO, whatever the key is: the file's word, then the token's. */
struct key_info {
    const char *grip;
    char type; /* D, T, X, - */
    const char *serial, *ref;
    bool cached;
    char protection; /* P, C, - */
    const char *fpr;
    long ttl;
    char flags[8];
};

static gpg_error_t tell(struct gpg_session *s, const struct key_info *k, bool data)
{
    char ttl[24] = "-", *text;
    gpg_error_t err;

    if (k->ttl > 0)
        snprintf(ttl, sizeof ttl, "%ld", k->ttl);
    text = gpgrt_bsprintf("%s %c %s %s %s %c %s %s %s", k->grip, k->type,
                          k->serial != NULL ? k->serial : "-", k->ref != NULL ? k->ref : "-",
                          k->cached ? "1" : "-", k->protection, k->fpr != NULL ? k->fpr : "-", ttl,
                          k->flags[0] != '\0' ? k->flags : "-");
    if (text == NULL)
        return gpg_error_from_syserror();
    if (data) {
        err = assuan_send_data(s->ctx, text, strlen(text));
        if (err == 0)
            err = assuan_send_data(s->ctx, "\n", 1);
    } else {
        err = assuan_write_status(s->ctx, "KEYINFO", text);
    }
    gpgrt_free(text);
    return err;
}

static void add_flag(struct key_info *k, char flag)
{
    size_t n = strlen(k->flags);

    if (n + 1 < sizeof k->flags) {
        k->flags[n] = flag;
        k->flags[n + 1] = '\0';
    }
}

char *gpg_ssh_fingerprint(struct rd blob, int hash)
{
    unsigned n = gcry_md_get_algo_dlen(hash);
    uint8_t digest[64];
    struct buf b = BUF_INIT;
    char *text;

    if (n == 0 || n > sizeof digest)
        return NULL;
    gcry_md_hash_buffer(hash, digest, blob.p, blob.n);
    if (hash != GCRY_MD_MD5) {
        char *b64 = b64_encode(digest, n);

        if (b64 == NULL)
            return NULL;
        b64[strcspn(b64, "=")] = '\0';
        text = gpgrt_bsprintf("%s:%s", gcry_md_algo_name(hash), b64);
        gpgrt_free(b64);
        return text;
    }
    buf_printf(&b, "MD5");
    for (unsigned i = 0; i < n; i++)
        buf_printf(&b, ":%02x", digest[i]);
    return buf_steal_cstr(&b);
}

/* ssh's fingerprint of a key, as --ssh-fpr wants it. */
static char *fingerprint(const struct gpg_stored *f, const struct identity *id, int hash)
{
    struct key *k = NULL;
    gcry_sexp_t sexp = NULL;
    char *text = NULL;

    if (f != NULL && f->pub.len > 0) {
        if (gcry_sexp_new(&sexp, f->pub.data, f->pub.len, 0) == 0)
            (void)key_from_sexp(sexp, false, &k);
        gcry_sexp_release(sexp);
    } else if (id != NULL) {
        k = key_ref(id->key);
    }
    if (k != NULL && k->plain != NULL)
        text = gpg_ssh_fingerprint(rd_of(k->plain, k->plain_len), hash);
    key_unref(k);
    return text;
}

/* F: the key's file; ID: the token that holds it now; either may be NULL. HASH 0: no fingerprint. */
static gpg_error_t tell_key(struct gpg_session *s, const struct gpg_stored *f,
                            const struct identity *id, const char *grip, bool data, bool with_ssh,
                            int hash)
{
    struct key_info k = {.grip = grip, .type = 'X', .protection = '-'};
    struct card_place place = {0};
    char *fpr = hash != 0 ? fingerprint(f, id, hash) : NULL;
    gpg_error_t err;

    k.fpr = fpr;
    if (f != NULL && (f->state == STORED_CLEAR || f->state == STORED_PROTECTED)) {
        k.type = 'D';
        k.protection = f->state == STORED_PROTECTED ? 'P' : 'C';
        k.cached = f->cached;
    } else if (id != NULL && place_of(id, &place)) {
        k.type = 'T';
        k.serial = place.serial;
        k.ref = place.ref;
    } else if (f != NULL && f->state == STORED_SHADOWED) {
        k.type = 'T';
        k.serial = f->serial;
        k.ref = f->ref;
    }
    if (f != NULL && with_ssh) {
        k.ttl = f->ssh_ttl;
        if (f->ssh_disabled)
            add_flag(&k, 'D');
        if (f->ssh != 0)
            add_flag(&k, 'S');
        if (f->confirm != NULL)
            add_flag(&k, 'c');
    }
    if (id != NULL)
        add_flag(&k, 'A');
    err = tell(s, &k, data);
    gpgrt_free(fpr);
    return err;
}

/* --ssh-fpr[=md5|sha1|sha256]; 0: not wanted. */
static gpg_error_t wanted_hash(struct gpg_session *s, const char *line, int *hash)
{
    const char *value = gpg_option_value(line, "--ssh-fpr");
    char name[16];
    size_t n;

    *hash = 0;
    if (value == NULL)
        return 0;
    n = strcspn(value, " \t");
    if (n == 0) {
        *hash = s->conf->ssh_fingerprint_hash;
        return 0;
    }
    if (n < sizeof name) {
        memcpy(name, value, n);
        name[n] = '\0';
        *hash = gcry_md_map_name(name);
    }
    return *hash != 0 ? 0 : gpg_fail(s, GPG_ERR_INV_ARG, NULL);
}

static gpg_error_t info_all(struct gpg_session *s, bool ssh_only, bool data, bool with_ssh,
                            int hash)
{
    const struct keyring_snapshot *snap;
    struct gpg_stored *files = NULL;
    size_t n = 0;
    gpg_error_t err = gpg_stored_list(s, &files, &n);

    if (err != 0)
        return err;
    hotplug_settle_all(s->a->hotplug, SETTLE_MS);
    snap = keyring_get(s->a->keyring);
    for (size_t i = 0; i < n && err == 0; i++) {
        if (ssh_only && files[i].ssh == 0 && !files[i].ssh_disabled)
            continue;
        if (s->level != GPG_FULL && !files[i].remote_list)
            continue;
        err = tell_key(s, &files[i], find_on_token(snap, files[i].grip), files[i].grip, data,
                       ssh_only || with_ssh, hash);
    }
    for (size_t i = 0; snap != NULL && i < snap->n && err == 0 && !ssh_only && s->level == GPG_FULL;
         i++) {
        char *grip;
        bool listed = false;

        if (!is_tokens_own(snap->ids[i]) || gpg_is_stored(snap->ids[i]))
            continue;
        grip = hex_encode(snap->ids[i]->key->grip, sizeof snap->ids[i]->key->grip);
        for (size_t f = 0; f < n && grip != NULL; f++)
            listed |= strcmp(files[f].grip, grip) == 0;
        if (grip != NULL && !listed)
            err = tell_key(s, NULL, snap->ids[i], grip, data, with_ssh, hash);
        gpgrt_free(grip);
    }
    if (err == 0 && data)
        err = assuan_send_data(s->ctx, NULL, 0);
    keyring_put(snap);
    for (size_t i = 0; i < n; i++)
        gpg_stored_clear(&files[i]);
    gpgrt_free(files);
    return err;
}

static gpg_error_t cmd_keyinfo(struct gpg_session *s, char *line)
{
    bool ssh_list = gpg_has_option(line, "--ssh-list"), list = gpg_has_option(line, "--list"),
         data = gpg_has_option(line, "--data"), with_ssh = gpg_has_option(line, "--with-ssh");
    const struct keyring_snapshot *snap = NULL;
    const struct identity *id;
    struct gpg_stored k = {0};
    char grip[GPG_GRIP_CHARS + 1];
    bool stored;
    int hash;
    gpg_error_t err = wanted_hash(s, line, &hash);

    if (err != 0)
        return err;
    if (list || ssh_list)
        return info_all(s, ssh_list, data, with_ssh, hash);
    err = gpg_parse_grip(s, gpg_skip_options(line), grip);
    if (err != 0)
        return err;
    err = gpg_stored_get(s, grip, &k);
    stored = err == 0;
    if (err != 0 && gpg_err_code(err) != GPG_ERR_NOT_FOUND)
        return gpg_map_error(s, err, false);
    if (!stored || k.state == STORED_SHADOWED)
        hotplug_settle_all(s->a->hotplug, SETTLE_MS);
    snap = keyring_get(s->a->keyring);
    id = find_on_token(snap, grip);
    err = stored || id != NULL ? tell_key(s, stored ? &k : NULL, id, grip, data, with_ssh, hash)
                               : gpg_fail(s, GPG_ERR_NOT_FOUND, NULL);
    if (err == 0 && data)
        err = assuan_send_data(s->ctx, NULL, 0);
    keyring_put(snap);
    gpg_stored_clear(&k);
    return err;
}

/* --- READKEY --------------------------------------------------------------------------------------------------------------------- */

gpg_error_t gpg_send_sexp(struct gpg_session *s, gcry_sexp_t sexp)
{
    size_t n = gcry_sexp_sprint(sexp, GCRYSEXP_FMT_CANON, NULL, 0);
    char *text = gpgrt_malloc(n + 1);
    gpg_error_t err;

    if (text == NULL)
        return gpg_error_from_syserror();
    n = gcry_sexp_sprint(sexp, GCRYSEXP_FMT_CANON, text, n + 1);
    err = gpg_send(s, rd_of((const uint8_t *)text, n), false);
    gpgrt_free(text);
    return err;
}

/* --format=ssh: a line of authorized_keys. */
static gpg_error_t send_ssh_form(struct gpg_session *s, const struct key *k)
{
    char *text = key_to_text(k);
    gpg_error_t err;

    if (text == NULL)
        return gpg_fail(s, GPG_ERR_UNSUPPORTED_ALGORITHM, NULL);
    err = gpg_send(s, rd_of((const uint8_t *)text, strlen(text)), false);
    gpgrt_free(text);
    return err;
}

static gpg_error_t send_stored(struct gpg_session *s, const struct gpg_stored *k, bool ssh_form)
{
    gcry_sexp_t sexp = NULL;
    struct key *key = NULL;
    gpg_error_t err;

    if (k->pub.len == 0)
        return gpg_fail(s, GPG_ERR_UNSUPPORTED_ALGORITHM, NULL);
    if (!ssh_form)
        return gpg_send(s, buf_rd(&k->pub), false);
    err = gcry_sexp_new(&sexp, k->pub.data, k->pub.len, 0);
    if (err == 0)
        err = key_from_sexp(sexp, false, &key);
    if (err == 0)
        err = send_ssh_form(s, key);
    key_unref(key);
    gcry_sexp_release(sexp);
    return err;
}

gpg_error_t gpg_read_key(struct gpg_session *s, const char *grip, bool ssh_form, bool no_data)
{
    const struct keyring_snapshot *snap = NULL;
    const struct identity *id;
    struct gpg_stored k = {0};
    gpg_error_t err = gpg_stored_get(s, grip, &k);

    if (err == 0) {
        err = no_data ? 0 : send_stored(s, &k, ssh_form);
        gpg_stored_clear(&k);
        return err;
    }
    if (gpg_err_code(err) != GPG_ERR_NOT_FOUND)
        return gpg_map_error(s, err, false);
    hotplug_settle_all(s->a->hotplug, SETTLE_MS);
    snap = keyring_get(s->a->keyring);
    id = find_on_token(snap, grip);
    if (id == NULL)
        err = gpg_fail(s, GPG_ERR_ENOENT, NULL);
    else if (no_data)
        err = 0;
    else
        err = ssh_form ? send_ssh_form(s, id->key) : gpg_send_sexp(s, id->key->sexp);
    keyring_put(snap);
    return err;
}

static gpg_error_t cmd_readkey(struct gpg_session *s, char *line)
{
    const char *format = gpg_option_value(line, "--format");
    bool ssh_form = format != NULL && strncmp(format, "ssh", 3) == 0 && strcspn(format, " \t") == 3,
         no_data = gpg_has_option(line, "--no-data");
    char grip[GPG_GRIP_CHARS + 1];
    gpg_error_t err;

    if (format != NULL && !ssh_form)
        return gpg_fail(s, GPG_ERR_INV_ARG, NULL);
    if (gpg_has_option(line, "--card"))
        return gpg_read_card_key(s, gpg_skip_options(line), no_data);
    err = gpg_parse_grip(s, gpg_skip_options(line), grip);
    return err != 0 ? err : gpg_read_key(s, grip, ssh_form, no_data);
}

/* --- KEYATTR --------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t give_value(void *arg, struct wait *w, const char *line, struct buf *answer)
{
    const char *value = arg;

    (void)w;
    if (strncmp(line, "VALUE", strcspn(line, " ")) != 0)
        return gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
    buf_put(answer, value, strlen(value));
    return 0;
}

/* KEYATTR [--delete] GRIP NAME: [VALUE] */
static gpg_error_t cmd_keyattr(struct gpg_session *s, char *line)
{
    bool delete = gpg_has_option(line, "--delete");
    struct token_request r = {.use = "import",
                              .use_text = "change an attribute of a key file",
                              .verb = TOKEN_OTHER,
                              .word = TOKEN_VERB_ATTR,
                              .answer = give_value};
    struct token *t = NULL;
    struct buf args = BUF_INIT;
    char grip[GPG_GRIP_CHARS + 1], *name, *value;
    gpg_error_t err;

    line = gpg_skip_options(line);
    err = gpg_parse_grip(s, line, grip);
    if (err != 0)
        return err;
    name = line + GPG_GRIP_CHARS;
    name += strspn(name, " \t");
    value = name + strcspn(name, " \t");
    if (*value != '\0')
        *value++ = '\0';
    value += strspn(value, " \t");
    if (strlen(name) < 2 || name[strlen(name) - 1] != ':' || strcasecmp(name, "Key:") == 0)
        return gpg_fail(s, GPG_ERR_INV_NAME, NULL);
    field_put(&args, "name", name);
    if (delete || *value != '\0')
        field_put_int(&args, delete ? "delete" : "set", 1);
    r.args = buf_cstr(&args);
    r.answer_arg = value;
    err = r.args != NULL ? gpg_store(s->a, &t) : gpg_error(GPG_ERR_ENOMEM);
    if (err == 0) {
        err = delete || *value != '\0'
                  ? broker_request_token(s->a, &s->origin, t, grip, &r)
                  : gpg_ask_store(s, grip, TOKEN_VERB_ATTR, r.args, &r.result, &r.lines);
        token_unref(t);
    }
    if (err == 0 && r.result.len > 0)
        err = gpg_send(s, buf_rd(&r.result), false);
    token_request_clear(&r);
    buf_free(&args);
    return gpg_map_error(s, err, false);
}

const struct gpg_command gpg_key_commands[] = {
    {"HAVEKEY", cmd_havekey, true,
     "HAVEKEY <hexstrings_with_keygrips>\nHAVEKEY --list[=<limit>]\nHAVEKEY --info <hexgrip>\n\nIs "
     "at "
     "least one of these secret keys there?"},
    {"KEYINFO", cmd_keyinfo, true,
     "KEYINFO [--[ssh-]list] [--data] [--ssh-fpr[=algo]] [--with-ssh] <keygrip>\n\nTells where a "
     "key "
     "is and how it is protected."},
    {"READKEY", cmd_readkey, false,
     "READKEY [--no-data] [--format=ssh] <hexstring_with_keygrip>\nREADKEY --card [--no-data] "
     "<keyid>\n\nThe public key."},
    {"KEYATTR", cmd_keyattr, false,
     "KEYATTR [--delete] <hexstring_with_keygrip> <ATTRNAME> [<VALUE>]\n\nAn attribute of a key "
     "file."},
    {0},
};
