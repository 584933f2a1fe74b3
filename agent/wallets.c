#include "agent/wallets.h"

#include "agent/hotplug.h"
#include "agent/keyring.h"
#include "agent/paths.h"
#include "agent/token_lines.h"
#include "agent/wallets_files.h"
#include "proto/token_protocol.h"

#include <libgen.h>
#include <pthread.h>
#include <string.h>

#define TELL_S 30u

struct wallets {
    struct agent *a;
    char *own, *cache; /* files */
    pthread_mutex_t mutex;
    struct wallet_wish_list wanted;
    struct wallet_known_list known;
};

/* --- what is known --------------------------------------------------------------------------------------------------------- */

/* The keyring gets the keys of the identities that are wanted. The mutex is held. */
static gpg_error_t publish(struct wallets *w)
{
    struct known_key *keys = gpgrt_calloc(w->known.n + 1, sizeof *keys);
    size_t n = 0;
    gpg_error_t err;

    if (keys == NULL)
        return gpg_error_from_syserror();
    for (size_t i = 0; i < w->known.n; i++)
        if (wallet_wish_list_has(&w->wanted, w->known.list[i].text))
            keys[n++] =
                (struct known_key){.line = w->known.list[i].line, .label = w->known.list[i].label};
    err = keyring_set_known(w->a->keyring, keys, n);
    gpgrt_free(keys);
    return err;
}

/* The mutex is held. */
static gpg_error_t read_wanted(struct wallets *w)
{
    struct wallet_wish_list wanted = {0};
    gpg_error_t err = wallet_wish_list_read(w->a->settings, w->own, &wanted, &w->known);

    if (err != 0) {
        wallet_wish_list_clear(&wanted);
        return err;
    }
    wallet_wish_list_clear(&w->wanted);
    w->wanted = wanted;
    return publish(w);
}

gpg_error_t wallets_new(struct agent *a, struct wallets **out)
{
    struct wallets *w = gpgrt_calloc(1, sizeof *w);
    gpg_error_t err;

    if (w == NULL)
        return gpg_error_from_syserror();
    w->a = a;
    pthread_mutex_init(&w->mutex, NULL);
    w->own = path_config("identities");
    w->cache = path_state("wallet-keys");
    err = w->own != NULL && w->cache != NULL ? wallet_known_read(w->cache, &w->known)
                                             : gpg_error(GPG_ERR_ENOENT);
    if (err == 0)
        err = read_wanted(w);
    if (err != 0)
        wallets_free(w);
    else
        *out = w;
    return err;
}

void wallets_free(struct wallets *w)
{
    if (w == NULL)
        return;
    wallet_wish_list_clear(&w->wanted);
    wallet_known_list_clear(&w->known);
    gpgrt_free(w->own);
    gpgrt_free(w->cache);
    pthread_mutex_destroy(&w->mutex);
    gpgrt_free(w);
}

/* --- telling a wallet ---------------------------------------------------------------------------------------------------------- */

static gpg_error_t tell(struct wallets *w, struct token *t, const char *word, const char *args)
{
    struct token_job job = {.verb = TOKEN_OTHER, .word = word, .args = args, .pin_age = -1};
    struct wait wait;
    gpg_error_t err = wait_begin(w->a->waits, &wait, -1, TELL_S);

    if (err != 0)
        return err;
    wait.ignore_lock = true;
    err = token_run(t, &wait, &job);
    wait_end(&wait);
    buf_free(&job.result);
    buf_free(&job.lines);
    gpgrt_free(job.words);
    return err;
}

/* An IDENTITY command's fields, LF-ended. MAYBE: the key was told by another device, or by a file. */
static void put_identity(struct buf *out, const struct wallet_wanted *id, bool ecdh,
                         const struct wallet_known *key, bool maybe)
{
    char *uri = wallet_uri(&id->id), *pub = NULL;
    struct buf f = BUF_INIT;

    field_put(&f, "uri", uri != NULL ? uri : "");
    field_put(&f, "curve", wallet_curve(&id->id));
    if (ecdh)
        field_put_int(&f, "ecdh", 1);
    if (key != NULL && field_get(key->line, "pub", &pub) == 0 && pub != NULL) {
        field_put(&f, "pub", pub);
        if (maybe)
            field_put_int(&f, "maybe", 1);
    }
    buf_printf(out, "%s\n", buf_cstr(&f) != NULL ? buf_cstr(&f) : "");
    gpgrt_free(uri);
    gpgrt_free(pub);
    buf_free(&f);
}

/* What NAME itself told before, or, if it did not, what anybody did. The mutex is held. */
static void put_one(const struct wallets *w, const char *name, const struct wallet_wanted *id,
                    bool ecdh, struct buf *out)
{
    bool any = false;

    for (int own = 1; own >= 0 && !any; own--)
        for (size_t i = 0; i < w->known.n; i++) {
            const struct wallet_known *k = &w->known.list[i];

            if (k->ecdh != ecdh || strcmp(k->text, id->text) != 0 ||
                (own == 1 && strcmp(k->token, name) != 0))
                continue;
            put_identity(out, id, ecdh, k, own == 0);
            any = true;
        }
    if (!any)
        put_identity(out, id, ecdh, NULL, false);
}

gpg_error_t wallets_introduce(struct wallets *w, struct token *t)
{
    const struct token_info *info = token_info_get(t);
    struct buf lines = BUF_INIT, configure = BUF_INIT;
    char *text, *save = NULL;
    gpg_error_t err;

    if (info == NULL)
        return gpg_error(GPG_ERR_NOT_INITIALIZED);
    pthread_mutex_lock(&w->mutex);
    for (size_t i = 0; i < w->wanted.n; i++) {
        put_one(w, info->name, &w->wanted.list[i], false, &lines);
        if (strcmp(w->wanted.list[i].id.proto, "gpg") == 0)
            put_one(w, info->name, &w->wanted.list[i], true, &lines);
    }
    pthread_mutex_unlock(&w->mutex);
    token_info_put(info);
    if (w->a->settings->wallet_passphrase != NULL)
        field_put(&configure, "passphrase", w->a->settings->wallet_passphrase);
    err = tell(w, t, TOKEN_VERB_CONFIGURE, configure.len > 0 ? buf_cstr(&configure) : NULL);
    if (err == 0)
        err = tell(w, t, TOKEN_VERB_IDENTITY, "none=1");
    text = lines.len > 0 ? buf_steal_cstr(&lines) : NULL;
    for (char *l = text != NULL ? strtok_r(text, "\n", &save) : NULL; l != NULL && err == 0;
         l = strtok_r(NULL, "\n", &save))
        err = tell(w, t, TOKEN_VERB_IDENTITY, l);
    gpgrt_free(text);
    buf_free(&lines);
    buf_free(&configure);
    return err;
}

/* --- what a wallet told ----------------------------------------------------------------------------------------------------------- */

/* The mutex is held. */
static void save(struct wallets *w)
{
    char *copy = gpgrt_strdup(w->cache);
    gpg_error_t err =
        copy != NULL ? path_make_private_dir(dirname(copy)) : gpg_error_from_syserror();

    if (err == 0)
        err = wallet_known_write(w->cache, &w->known);
    if (err != 0)
        gpgrt_log_error("%s: %s: the keys will have to be read again\n", w->cache,
                        gpg_strerror(err));
    gpgrt_free(copy);
}

void wallets_learnt(struct wallets *w, struct token *t)
{
    const struct token_info *info = token_info_get(t);
    bool changed = false;
    gpg_error_t err = 0;

    if (info == NULL)
        return;
    pthread_mutex_lock(&w->mutex);
    for (char **line = info->key_lines; *line != NULL && err == 0; line++) {
        long maybe = 0;

        if (field_get_int(*line, "maybe", 0, &maybe) == 0 && maybe == 0)
            err = wallet_known_add(&w->known, info->name, info->label, *line, &changed);
    }
    if (changed)
        save(w);
    if (changed && err == 0)
        err = publish(w);
    pthread_mutex_unlock(&w->mutex);
    if (err != 0)
        gpgrt_log_error("%s: not all of its keys are remembered: %s\n", info->name,
                        gpg_strerror(err));
    token_info_put(info);
}

gpg_error_t wallets_reload(struct wallets *w)
{
    struct hotplug_entry *e;
    size_t n = 0;
    gpg_error_t err;

    pthread_mutex_lock(&w->mutex);
    err = read_wanted(w);
    pthread_mutex_unlock(&w->mutex);
    if (err != 0)
        return err;
    e = hotplug_entries(w->a->hotplug, &n);
    for (size_t i = 0; e != NULL && i < n; i++) {
        const struct token_info *info = e[i].token != NULL ? token_info_get(e[i].token) : NULL;

        if (info != NULL && wallets_are_of(info->kind) && strcmp(e[i].state, "ready") == 0) {
            gpg_error_t one = wallets_introduce(w, e[i].token);

            if (one == 0)
                one = hotplug_relearn(w->a->hotplug, e[i].token);
            if (one != 0)
                gpgrt_log_error("%s: %s\n", info->name, gpg_strerror(one));
        }
        if (info != NULL)
            token_info_put(info);
    }
    if (e != NULL)
        hotplug_entries_free(e, n);
    return 0;
}

/* --- for people ---------------------------------------------------------------------------------------------------------------------- */

static json_t *known_json(const struct wallet_known *k)
{
    const struct token_info info = {.name = k->label, .label = k->label};
    struct key_line line;
    json_t *j = json_object();
    char *ssh, *grip;

    if (key_line_parse(k->line, &info, &line) != 0)
        return j;
    ssh = line.id.family == FAMILY_SSH ? key_to_text(line.id.key) : NULL;
    grip = hex_encode(line.id.key->grip, sizeof line.id.key->grip);
    json_object_set_new(j, "token", json_string(k->token));
    json_object_set_new(j, "label", json_string(k->label));
    json_object_set_new(j, "ssh", ssh != NULL ? json_string(ssh) : json_null());
    json_object_set_new(j, "keygrip", grip != NULL ? json_string(grip) : json_null());
    json_object_set_new(j, "decrypts", json_boolean(k->ecdh));
    gpgrt_free(ssh);
    gpgrt_free(grip);
    key_line_clear(&line);
    return j;
}

json_t *wallets_json(struct wallets *w)
{
    json_t *all = json_object(), *list = json_array();

    pthread_mutex_lock(&w->mutex);
    for (size_t i = 0; i < w->wanted.n; i++) {
        const struct wallet_wanted *id = &w->wanted.list[i];
        json_t *j = json_object(), *keys = json_array();
        char *uri = wallet_uri(&id->id);

        json_object_set_new(j, "uri", json_string(uri != NULL ? uri : ""));
        json_object_set_new(j, "curve", json_string(wallet_curve(&id->id)));
        json_object_set_new(j, "from", json_string(id->from));
        for (size_t k = 0; k < w->known.n; k++)
            if (strcmp(w->known.list[k].text, id->text) == 0)
                json_array_append_new(keys, known_json(&w->known.list[k]));
        json_object_set_new(j, "keys", keys);
        json_array_append_new(list, j);
        gpgrt_free(uri);
    }
    json_object_set_new(all, "problems",
                        w->wanted.problems != NULL ? json_string(w->wanted.problems) : json_null());
    pthread_mutex_unlock(&w->mutex);
    json_object_set_new(all, "identities", list);
    return all;
}
