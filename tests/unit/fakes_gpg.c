#include "tests/unit/fakes_gpg.h"

#include "agent/grants.h"
#include "agent/hotplug.h"
#include "agent/missing_token.h"
#include "agent/prompt.h"
#include "agent/token_client.h"
#include "proto/token_protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gpg_world gpg_world;
static struct settings settings = {.max_clients = 16, .message_timeout = 600};
static struct token *const the_token = (struct token *)(uintptr_t)&gpg_world;

static void must(bool is)
{
    if (!is)
        abort();
}

static void copy(char *to, size_t room, const char *from)
{
    snprintf(to, room, "%s", from != NULL ? from : "");
}
#define COPY(to, from) copy(to, sizeof(to), from)

void gpg_world_new(const char *home)
{
    struct gpg_config *c = gpgrt_calloc(1, sizeof *c);

    must(c != NULL);
    *c = (struct gpg_config){.home = gpgrt_strdup(home),
                             .socket = gpgrt_strdup("/nonexistent/S.gpg-agent"),
                             .default_ttl = 600,
                             .max_ttl = 7200,
                             .default_ttl_ssh = 1800,
                             .max_ttl_ssh = 7200,
                             .allow_loopback = true,
                             .allow_mark_trusted = true,
                             .allow_preset = true,
                             .min_passphrase_len = 8,
                             .min_passphrase_nonalpha = 1,
                             .sys_trustlist = gpgrt_strdup("/nonexistent/trustlist.txt"),
                             .ssh_fingerprint_hash = GCRY_MD_SHA256,
                             .refs = 1};
    gpg_world = (struct gpg_world){.conf = c, .agent = {.settings = &settings}};
    must(waits_new(&gpg_world.agent.waits) == 0);
    must(gpg_agent_new(&gpg_world.agent, c, NULL, NULL, &gpg_world.agent.gpg) == 0);
}

void gpg_world_free(void)
{
    gpg_agent_free(gpg_world.agent.gpg);
    waits_free(gpg_world.agent.waits);
}

void gpg_world_reply(struct reply r)
{
    must(gpg_world.nreplies < MAX_SCRIPT);
    gpg_world.replies[gpg_world.nreplies++] = r;
}

/* --- the person ------------------------------------------------------------------------------------------------------------------- */

static const struct reply *show(enum shown_kind kind, const struct prompt_text *t, bool repeat)
{
    static const struct reply nobody = {.err = GPG_ERR_NO_PIN_ENTRY};
    struct gpg_world *w = &gpg_world;
    struct shown *s = &w->shown[w->asked % MAX_SCRIPT];
    size_t at = w->again && w->nreplies > 0 ? w->asked % w->nreplies : w->asked;
    const struct reply *r = at < w->nreplies ? &w->replies[at] : &nobody;

    w->asked++;
    *s = (struct shown){.repeat = repeat,
                        .styled = t->style != NULL,
                        .rules = t->style != NULL && t->style->rules != NULL};
    s->kind = kind;
    COPY(s->desc, t->desc);
    COPY(s->error, t->error);
    COPY(s->label, t->label);
    COPY(s->ok, t->ok);
    COPY(s->cancel, t->cancel);
    COPY(s->notok, t->notok);
    COPY(s->keyinfo, t->style != NULL ? t->style->keyinfo : NULL);
    if (t->launched != NULL && t->launched(t->launched_arg, "1 fake 1.0 - - - - 0/0 0") != 0) {
        static const struct reply called_off = {.err = GPG_ERR_FULLY_CANCELED};

        return &called_off;
    }
    return r;
}

gpg_error_t prompt_confirm(struct prompt *p, struct wait *w, const struct requester *r,
                           const struct prompt_text *t)
{
    (void)p;
    (void)w;
    (void)r;
    return show(SHOWN_CONFIRM, t, false)->err;
}

gpg_error_t prompt_until(struct prompt *p, struct wait *w, const struct requester *r,
                         const struct prompt_text *t, int fd)
{
    (void)fd;
    return prompt_confirm(p, w, r, t);
}

gpg_error_t prompt_secret(struct prompt *p, struct wait *w, const struct requester *who,
                          const struct prompt_text *t, bool repeat, struct buf *pin)
{
    const struct reply *r = show(SHOWN_SECRET, t, repeat);
    const struct prompt_rules *rules = t->style != NULL ? t->style->rules : NULL;

    (void)p;
    (void)w;
    (void)who;
    if (r->check != NULL && rules != NULL) {
        char *complaint = rules->complaint(rules->arg, r->check);
        struct buf word = BUF_INIT_SECURE;
        int quality = rules->quality != NULL ? rules->quality(rules->arg, r->check) : 999;

        must(rules->suggest(rules->arg, &word) == 0);
        snprintf(gpg_world.checked, sizeof gpg_world.checked, "%d|%s|%s", quality,
                 complaint != NULL ? complaint : "", buf_cstr(&word));
        buf_free(&word);
        gpgrt_free(complaint);
    }
    if (t->style != NULL && t->style->repeated != NULL)
        *t->style->repeated = r->repeated;
    if (t->style != NULL && t->style->from_cache != NULL)
        *t->style->from_cache = r->from_cache;
    if (r->err != 0)
        return r->err;
    buf_free(pin);
    *pin = BUF_INIT_SECURE;
    if (r->secret != NULL)
        buf_put(pin, r->secret, strlen(r->secret));
    (void)buf_cstr(pin);
    return buf_err(pin);
}

void prompt_forget(struct prompt *p, struct wait *w, const struct requester *r,
                   const struct prompt_style *style)
{
    const struct prompt_text t = {.style = style};

    (void)p;
    (void)w;
    (void)r;
    (void)show(SHOWN_FORGET, &t, false);
}

struct prompt_notice *prompt_notice_show(struct prompt *p, const struct requester *r,
                                         const struct prompt_text *t)
{
    (void)p;
    (void)r;
    (void)t;
    return NULL;
}

void prompt_notice_hide(struct prompt_notice *n)
{
    (void)n;
}

/* --- the key store and the broker ------------------------------------------------------------------------------------------------ */

static gpg_error_t cache(struct token_job *j)
{
    struct gpg_world *w = &gpg_world;
    struct buf secret = BUF_INIT_SECURE;
    char *id = NULL, *what = NULL;
    size_t n;
    gpg_error_t err = 0;

    must(field_get(j->args, "do", &what) == 0 && field_get(j->args, "id", &id) == 0 &&
         what != NULL && id != NULL);
    n = strlen(id);
    if (strcmp(what, "put") == 0) {
        err = j->inquire(j->arg, "SECRET", &secret);
        if (err == 0)
            snprintf(w->cached, sizeof w->cached, "%s %.*s", id, (int)secret.len,
                     secret.len > 0 ? (const char *)secret.data : "");
    } else if (strncmp(w->cached, id, n) != 0 || w->cached[n] != ' ') {
        err = gpg_error(GPG_ERR_NO_DATA);
    } else if (strcmp(what, "get") == 0) {
        buf_put(&j->result, w->cached + n + 1, strlen(w->cached + n + 1));
    } else {
        w->cached[0] = '\0';
    }
    buf_free(&secret);
    gpgrt_free(id);
    gpgrt_free(what);
    return err;
}

gpg_error_t token_run(struct token *t, struct wait *w, struct token_job *j)
{
    (void)w;
    must(t == the_token && j->verb == TOKEN_OTHER);
    if (strcmp(j->word, TOKEN_VERB_CACHE) == 0)
        return cache(j);
    if (gpg_world.stored == NULL)
        return gpg_error(GPG_ERR_NO_SECKEY);
    buf_put(&j->lines, gpg_world.stored, strlen(gpg_world.stored));
    return buf_err(&j->lines);
}

static gpg_error_t ask(struct token_request *r, const char *line)
{
    struct gpg_world *w = &gpg_world;
    struct buf answer = BUF_INIT_SECURE;
    struct wait wait;
    gpg_error_t err;

    must(wait_begin(w->agent.waits, &wait, -1, 0) == 0);
    err = r->answer != NULL ? r->answer(r->answer_arg, &wait, line, &answer)
                            : gpg_error(GPG_ERR_ASS_UNKNOWN_INQUIRE);
    wait_end(&wait);
    if (w->again && gpg_err_code(err) == GPG_ERR_ASS_UNKNOWN_INQUIRE)
        err = 0;
    else if (err == 0 && w->answered < MAX_SCRIPT)
        snprintf(w->answers[w->answered++], sizeof w->answers[0], "%.*s", (int)answer.len,
                 answer.len > 0 ? (const char *)answer.data : "");
    buf_free(&answer);
    return err;
}

gpg_error_t broker_request_token(struct agent *a, const struct origin *from, struct token *t,
                                 const char *key_id, struct token_request *r)
{
    struct gpg_world *w = &gpg_world;
    gpg_error_t err = w->refusal;

    must(a == &w->agent && from->ask != NULL && t == the_token);
    w->requests++;
    COPY(w->use, r->use);
    COPY(w->use_text, r->use_text);
    COPY(w->what, r->what);
    COPY(w->args, r->args);
    COPY(w->word, r->word);
    COPY(w->key, key_id);
    w->verb = r->verb;
    w->patient = r->patient;
    w->answered = 0;
    for (size_t i = 0; i < MAX_SCRIPT && w->inquiries[i] != NULL && err == 0; i++)
        err = ask(r, w->inquiries[i]);
    if (err == 0)
        err = w->store_error;
    if (err == 0 && w->progress != NULL && r->progress != NULL)
        r->progress(r->answer_arg, w->progress);
    r->result = BUF_INIT_SECURE;
    if (err == 0 && w->result != NULL)
        buf_put(&r->result, w->result, strlen(w->result));
    if (err == 0 && w->lines != NULL)
        buf_put(&r->lines, w->lines, strlen(w->lines));
    return err;
}

gpg_error_t broker_request(struct agent *a, const struct origin *from, const struct identity *id,
                           struct token_request *r)
{
    (void)id;
    return broker_request_token(a, from, the_token, "key", r);
}

void token_request_clear(struct token_request *r)
{
    gcry_sexp_release(r->sig);
    r->sig = NULL;
    buf_free(&r->result);
    buf_free(&r->lines);
    gpgrt_free(r->error_text);
    r->error_text = NULL;
}

struct token *token_ref(struct token *t)
{
    return t;
}

void token_unref(struct token *t)
{
    (void)t;
}

bool token_gone(struct token *t)
{
    return t != the_token;
}

void token_forget(struct token *t)
{
    must(t == the_token);
}

gpg_error_t token_learn(struct token *t, enum token_learn how)
{
    (void)t;
    (void)how;
    return 0;
}

const struct token_info *token_info_get(struct token *t)
{
    (void)t;
    return NULL;
}

void token_info_put(const struct token_info *i)
{
    (void)i;
}

/* --- the rest of the agent --------------------------------------------------------------------------------------------------------- */

gpg_error_t requester_new(int fd, struct requester **out)
{
    struct requester *r = gpgrt_calloc(1, sizeof *r);

    (void)fd;
    must(r != NULL);
    r->pidfd = -1;
    *out = r;
    return 0;
}

void requester_free(struct requester *r)
{
    char **texts[] = {
        &r->tty,  &r->term,     &r->display,     &r->wayland_display,   &r->xauthority,
        &r->dbus, &r->lc_ctype, &r->lc_messages, &r->pinentry_user_data};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        gpgrt_free(*texts[i]);
    gpgrt_free(r);
}

struct token *hotplug_stored(struct hotplug *h, const char *home)
{
    (void)h;
    must(home != NULL);
    return the_token;
}

void hotplug_forget_stored(struct hotplug *h)
{
    (void)h;
    gpg_world.cached[0] = '\0';
}

void hotplug_settle_all(struct hotplug *h, int ms)
{
    (void)h;
    (void)ms;
}

gpg_error_t hotplug_relearn(struct hotplug *h, struct token *t)
{
    (void)h;
    (void)t;
    return 0;
}

struct hotplug_entry *hotplug_entries(struct hotplug *h, size_t *n)
{
    (void)h;
    *n = 0;
    return NULL;
}

void hotplug_entries_free(struct hotplug_entry *e, size_t n)
{
    must(e == NULL && n == 0);
}

gpg_error_t hotplug_watch(struct hotplug *h, int *fd)
{
    (void)h;
    (void)fd;
    return gpg_error(GPG_ERR_ENODEV);
}

void hotplug_unwatch(struct hotplug *h, int fd)
{
    (void)h;
    (void)fd;
}

gpg_error_t missing_token_wait(struct agent *a, const struct origin *from,
                               const struct prompt_text *text, unsigned timeout_s,
                               gpg_error_t (*come)(void *arg), void *arg)
{
    (void)a;
    (void)from;
    (void)timeout_s;
    (void)come;
    (void)arg;
    return show(SHOWN_CONFIRM, text, false)->err;
}

const struct keyring_snapshot *keyring_get(struct keyring *k)
{
    (void)k;
    return NULL;
}

void keyring_put(const struct keyring_snapshot *s)
{
    (void)s;
}

gpg_error_t keyring_set_token(struct keyring *k, struct token *t)
{
    (void)k;
    (void)t;
    return 0;
}

void grants_drop_origin(struct grants *g, uint64_t origin)
{
    (void)g;
    (void)origin;
}
