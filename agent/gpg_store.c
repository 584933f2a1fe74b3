/* gpg's key store as a session sees it: its token, what the token tells of a key file, and which identity serves a keygrip. */
#include "agent/gpg_session.h"
#include "agent/hotplug.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ASK_S     20u
#define MAX_FILES 8192u

/* --- the token ------------------------------------------------------------------------------------------------------------ */

gpg_error_t gpg_store(struct agent *a, struct token **out)
{
    const struct gpg_config *conf = gpg_config_get(a);
    struct token *t = hotplug_stored(a->hotplug, conf->home);
    gpg_error_t err;

    gpg_config_put(conf);
    if (t == NULL)
        return gpg_error(GPG_ERR_ENODEV);
    err = gpg_refresh(a->gpg, t);
    if (err != 0)
        token_unref(t);
    else
        *out = t;
    return err;
}

void gpg_look_at_disk(struct agent *a)
{
    struct token *t = NULL;

    if (a->gpg != NULL && !gpg_nothing_stored(a->gpg) && gpg_store(a, &t) == 0)
        token_unref(t);
}

bool gpg_is_stored(const struct identity *id)
{
    bool is = false;

    for (size_t i = 0; i < id->nholders && !is; i++) {
        const struct token_info *info = token_info_get(id->holders[i].token);

        is = info != NULL && strcmp(info->name, GPG_STORE_NAME) == 0;
        token_info_put(info);
    }
    return is;
}

/* --- key files --------------------------------------------------------------------------------------------------------------- */

void gpg_stored_clear(struct gpg_stored *k)
{
    gpgrt_free(k->grip);
    gpgrt_free(k->serial);
    gpgrt_free(k->ref);
    gpgrt_free(k->label);
    gpgrt_free(k->comment);
    gpgrt_free(k->confirm);
    buf_free(&k->pub);
    *k = (struct gpg_stored){0};
}

static enum stored_state state_of(const char *word)
{
    static const struct {
        const char *word;
        enum stored_state state;
    } states[] = {
        {"clear", STORED_CLEAR}, {"protected", STORED_PROTECTED}, {"shadowed", STORED_SHADOWED}};

    for (size_t i = 0; word != NULL && i < sizeof states / sizeof states[0]; i++)
        if (strcmp(states[i].word, word) == 0)
            return states[i].state;
    return STORED_UNKNOWN;
}

/* The token is not trusted with the form of what it says. */
static bool is_grip(const char *s)
{
    return s != NULL && strlen(s) == GPG_GRIP_CHARS && s[strspn(s, "0123456789ABCDEF")] == '\0';
}

static bool is_word(const char *s)
{
    for (; s != NULL && *s != '\0'; s++)
        if (*s <= ' ' || *s >= 0x7f)
            return false;
    return true;
}

static gpg_error_t get_flag(const char *line, const char *name, bool *out)
{
    long n = 0;
    gpg_error_t err = field_get_int(line, name, 0, &n);

    *out = n != 0;
    return err;
}

static gpg_error_t parse_stored(const char *line, struct gpg_stored *k)
{
    char *state = NULL, *pub = NULL, *prompt = NULL;
    gpg_error_t err;

    if ((err = field_get(line, "key", &k->grip)) != 0 ||
        (err = field_get(line, "state", &state)) != 0 ||
        (err = field_get(line, "pub", &pub)) != 0 ||
        (err = field_get(line, "serial", &k->serial)) != 0 ||
        (err = field_get(line, "ref", &k->ref)) != 0 ||
        (err = field_get(line, "label", &k->label)) != 0 ||
        (err = field_get(line, "comment", &k->comment)) != 0 ||
        (err = field_get(line, "confirm", &k->confirm)) != 0 ||
        (err = field_get(line, "prompt", &prompt)) != 0 ||
        (err = get_flag(line, "cached", &k->cached)) != 0 ||
        (err = get_flag(line, "ssh-disabled", &k->ssh_disabled)) != 0 ||
        (err = get_flag(line, "remote-list", &k->remote_list)) != 0 ||
        (err = field_get_int(line, "ssh", 0, &k->ssh)) != 0 ||
        (err = field_get_int(line, "ssh-ttl", 0, &k->ssh_ttl)) != 0)
        goto out;
    k->state = state_of(state);
    k->prompt = prompt == NULL || strcmp(prompt, "no") != 0;
    if (!is_grip(k->grip) || !is_word(k->serial) || !is_word(k->ref))
        err = gpg_error(GPG_ERR_BAD_DATA);
    else if (pub != NULL)
        err = b64_decode(pub, strlen(pub), &k->pub);
out:
    gpgrt_free(state);
    gpgrt_free(pub);
    gpgrt_free(prompt);
    return err;
}

gpg_error_t gpg_ask_store(struct gpg_session *s, const char *grip, const char *word,
                          const char *args, struct buf *result, struct buf *lines)
{
    return gpg_call_store(s, grip, word, args, NULL, NULL, result, lines);
}

gpg_error_t gpg_call_store(struct gpg_session *s, const char *grip, const char *word,
                           const char *args,
                           gpg_error_t (*inquire)(void *arg, const char *line, struct buf *answer),
                           void *arg, struct buf *result, struct buf *lines)
{
    struct token_job job = {.verb = TOKEN_OTHER,
                            .word = word,
                            .key_id = grip,
                            .args = args,
                            .pin_age = -1,
                            .inquire = inquire,
                            .arg = arg};
    struct token *t = NULL;
    struct wait w;
    gpg_error_t err = gpg_store(s->a, &t);

    if (err != 0)
        return err;
    err = wait_begin(s->a->waits, &w, s->origin.fd, ASK_S);
    if (err == 0) {
        w.ignore_lock = true;
        err = token_run(t, &w, &job);
        wait_end(&w);
    }
    if (err == 0 && result != NULL) {
        buf_free(result);
        *result = job.result;
        job.result = BUF_INIT;
    }
    if (err == 0 && lines != NULL) {
        *lines = job.lines;
        job.lines = BUF_INIT;
    }
    buf_free(&job.result);
    buf_free(&job.lines);
    token_unref(t);
    return err;
}

gpg_error_t gpg_stored_list(struct gpg_session *s, struct gpg_stored **out, size_t *n)
{
    static const char keyword[] = TOKEN_STATUS_STORED " ";
    struct gpg_stored *list = NULL;
    struct buf lines = BUF_INIT;
    size_t got = 0;
    char *text = NULL, *save = NULL;
    gpg_error_t err = gpg_ask_store(s, NULL, TOKEN_VERB_STORED, "all=1", NULL, &lines);

    if (err != 0)
        return err;
    text = buf_steal_cstr(&lines);
    if (text == NULL)
        return gpg_error(GPG_ERR_ENOMEM);
    for (char *l = strtok_r(text, "\n", &save); l != NULL && err == 0 && got < MAX_FILES;
         l = strtok_r(NULL, "\n", &save)) {
        struct gpg_stored *more;

        if (strncmp(l, keyword, sizeof keyword - 1) != 0)
            continue;
        more = gpgrt_reallocarray(list, got, got + 1, sizeof *more);
        if (more == NULL) {
            err = gpg_error_from_syserror();
            break;
        }
        list = more;
        list[got] = (struct gpg_stored){0};
        err = parse_stored(l + sizeof keyword - 1, &list[got]);
        got++;
    }
    gpgrt_free(text);
    if (err != 0) {
        for (size_t i = 0; i < got; i++)
            gpg_stored_clear(&list[i]);
        gpgrt_free(list);
        return err;
    }
    *out = list;
    *n = got;
    return 0;
}

gpg_error_t gpg_stored_get(struct gpg_session *s, const char *grip, struct gpg_stored *out)
{
    static const char keyword[] = TOKEN_STATUS_STORED " ";
    struct gpg_stored k = {0};
    struct buf lines = BUF_INIT;
    char *text;
    gpg_error_t err = gpg_ask_store(s, grip, TOKEN_VERB_STORED, NULL, NULL, &lines);

    if (err != 0)
        return gpg_err_code(err) == GPG_ERR_NO_SECKEY || gpg_err_code(err) == GPG_ERR_ENOENT
                   ? gpg_error(GPG_ERR_NOT_FOUND)
                   : err;
    text = buf_steal_cstr(&lines);
    if (text == NULL)
        return gpg_error(GPG_ERR_ENOMEM);
    text[strcspn(text, "\n")] = '\0';
    err = strncmp(text, keyword, sizeof keyword - 1) == 0
              ? parse_stored(text + sizeof keyword - 1, &k)
              : gpg_error(GPG_ERR_NOT_FOUND);
    if (err == 0 && strcmp(k.grip, grip) != 0)
        err = gpg_error(GPG_ERR_BAD_DATA);
    gpgrt_free(text);
    if (err != 0)
        gpg_stored_clear(&k);
    else
        *out = k;
    return err;
}

/* --- who serves a keygrip ------------------------------------------------------------------------------------------------------ */

/* gpg's own keys, on disk and then on tokens, before those of ssh: the same key may be both. */
static int rank(const struct identity *id)
{
    return id->family != FAMILY_GPG ? 1 : gpg_is_stored(id) ? 3 : 2;
}

const struct identity *gpg_find(struct gpg_session *s, const char *grip,
                                const struct keyring_snapshot **snap)
{
    const struct identity *best = NULL;
    struct token *t = NULL;

    if (gpg_store(s->a, &t) == 0)
        token_unref(t);
    *snap = keyring_get(s->a->keyring);
    for (size_t i = 0; *snap != NULL && i < (*snap)->n; i++) {
        const struct identity *id = (*snap)->ids[i];

        if (id->key->cert == NULL && key_has_grip(id->key, grip) &&
            (best == NULL || rank(id) > rank(best)))
            best = id;
    }
    return best;
}
