#include "tests/unit/fakes_cards.h"

#include "agent/gpg_dialog.h"
#include "agent/grants.h"
#include "agent/hotplug.h"
#include "agent/missing_token.h"
#include "agent/scd_lock.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MUST(x)      \
    do {             \
        if (!(x))    \
            abort(); \
    } while (0)

struct cards_world cards;
static struct keyring_snapshot snapshot;
static struct identity *pointers[8];
static struct holder holders[8];
static struct scd_lock *lock;
atomic_uint cards_lock_asked;
static char no_keys[1];
static char *no_lines[] = {NULL};

static struct token *token_of(int n)
{
    return (struct token *)(uintptr_t)(0x1000u * (unsigned)(n + 1));
}

static int number_of(const struct token *t)
{
    for (int n = 0; n < CARDS; n++)
        if (token_of(n) == t)
            return n;
    return -1;
}

void cards_key(int n, const char *slot, const char *kind)
{
    size_t i = cards.nids++;
    gcry_sexp_t parms = NULL, pair = NULL, pub;
    struct key *k = NULL;

    MUST(gcry_sexp_new(&parms, kind, strlen(kind), 0) == 0 && gcry_pk_genkey(&pair, parms) == 0);
    pub = gcry_sexp_find_token(pair, "public-key", 0);
    cards.secrets[i] = gcry_sexp_find_token(pair, "private-key", 0);
    MUST(key_from_sexp(pub, strcmp(slot, "dec") == 0, &k) == 0);
    gcry_sexp_release(parms);
    gcry_sexp_release(pair);
    gcry_sexp_release(pub);
    holders[i] = (struct holder){.token = token_of(n), .id = (char *)(uintptr_t)slot};
    cards.ids[i] = (struct identity){.key = k,
                                     .family = strcmp(slot, "aut") == 0 ? FAMILY_SSH : FAMILY_GPG,
                                     .created = 1700000000,
                                     .has_openpgp = true,
                                     .holders = &holders[i],
                                     .nholders = 1};
    memset(cards.ids[i].openpgp_fpr, (int)(0x11 * (i + 1)), 20);
    pointers[i] = &cards.ids[i];
    snapshot = (struct keyring_snapshot){pointers, cards.nids};
}

void cards_new(void)
{
    static struct settings settings = {
        .max_clients = 16, .max_keys = 16, .max_memory = 4u << 20, .message_timeout = 600};
    static const char *const aids[] = {AID_A, AID_B}, *const labels[] = {"Card A", "Card B"},
                             *const names[] = {"openpgp-A", "openpgp-B"};

    cards = (struct cards_world){.agent = {.settings = &settings, .owns_hardware = true},
                                 .value = BUF_INIT_SECURE,
                                 .wrapkey = BUF_INIT_SECURE,
                                 .wrapped = BUF_INIT_SECURE,
                                 .export = BUF_INIT_SECURE};
    cards.conf.allow_loopback = true;
    for (int n = 0; n < CARDS; n++)
        cards.cards[n].info = (struct token_info){.kind = (char *)(uintptr_t) "openpgp",
                                                  .name = (char *)(uintptr_t)names[n],
                                                  .label = (char *)(uintptr_t)labels[n],
                                                  .aid = (char *)(uintptr_t)aids[n],
                                                  .reader = (char *)(uintptr_t) "Reader",
                                                  .tries = {3, 0, 3},
                                                  .key_lines = no_lines};
    cards.cards[0].there = true;
    cards.cards[0].attributes =
        "ATTR name=READER text=Reader%2000\nATTR name=SERIALNO text=" AID_A
        "\nATTR name=APPTYPE text=openpgp\nATTR name=DISP-NAME text=Doe%3C%3CJane\n"
        "ATTR name=CHV-STATUS text=+0+127+127+127+3+0+3\n"
        "ATTR name=KEY-FPR text=1%201111111111111111111111111111111111111111\n"
        "ATTR name=KEY-FPR text=2%202222222222222222222222222222222222222222\n"
        "ATTR name=KEY-FPR text=3%203333333333333333333333333333333333333333\n"
        "ATTR name=KEYPAIRINFO text=0%20OPENPGP.1\nATTR name=KDF text=%81%2501%2500\n";
    cards.cards[1].attributes = "ATTR name=SERIALNO text=" AID_B "\n";
    (void)no_keys;
    MUST(waits_new(&cards.agent.waits) == 0);
    MUST(scd_lock_new(&lock) == 0);
    cards.agent.gpg = (struct gpg *)&cards;
    cards_key(0, "sig", "(genkey(ecc(curve Ed25519)(flags eddsa transient-key)))");
    cards_key(0, "dec", "(genkey(ecc(curve Curve25519)(flags djb-tweak transient-key)))");
    cards_key(0, "aut", "(genkey(ecc(curve \"NIST P-256\")(flags transient-key)))");
}

void cards_free(void)
{
    for (size_t i = 0; i < cards.nids; i++) {
        key_unref(cards.ids[i].key);
        gcry_sexp_release(cards.secrets[i]);
    }
    gcry_sexp_release(cards.made);
    buf_free(&cards.value);
    buf_free(&cards.wrapkey);
    buf_free(&cards.wrapped);
    buf_free(&cards.export);
    scd_lock_free(lock);
    waits_free(cards.agent.waits);
}

/* --- the agent's other parts ------------------------------------------------------------------------------------------------------ */

struct scd_lock *gpg_cards_lock(struct gpg *g)
{
    (void)g;
    cards_lock_asked++;
    return lock;
}

const struct gpg_config *gpg_config_get(struct agent *a)
{
    (void)a;
    return &cards.conf;
}

void gpg_config_put(const struct gpg_config *c)
{
    (void)c;
}

void gpg_agent_reload(struct agent *a)
{
    (void)a;
}

void gpg_agent_kill(struct gpg *g)
{
    (void)g;
}

gpg_error_t gpg_refresh(struct gpg *g, struct token *t)
{
    (void)g;
    (void)t;
    return 0;
}

void gpg_count_event(struct gpg *g, enum gpg_event e)
{
    (void)g;
    (void)e;
}

void gpg_events(struct gpg *g, unsigned count[GPG_EVENTS])
{
    (void)g;
    memset(count, 0, GPG_EVENTS * sizeof *count);
}

gpg_error_t gpg_value_put(struct gpg *g, const char *name, const char *value)
{
    (void)g;
    (void)name;
    (void)value;
    return 0;
}

gpg_error_t gpg_value_get(struct gpg *g, const char *name, char **value)
{
    (void)g;
    (void)name;
    (void)value;
    return gpg_error(GPG_ERR_NO_DATA);
}

gpg_error_t gpg_startup_set(struct gpg *g, const struct requester *who)
{
    (void)g;
    (void)who;
    return 0;
}

gpg_error_t gpg_startup_fill(struct gpg *g, struct requester *who)
{
    (void)g;
    (void)who;
    return 0;
}

void grants_drop_origin(struct grants *g, uint64_t origin)
{
    (void)g;
    (void)origin;
}

gpg_error_t requester_new(int fd, struct requester **out)
{
    (void)fd;
    *out = gpgrt_calloc(1, sizeof **out);
    MUST(*out != NULL);
    (*out)->pidfd = -1;
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

/* --- which cards there are -------------------------------------------------------------------------------------------------------- */

struct hotplug_entry *hotplug_entries(struct hotplug *h, size_t *n)
{
    struct hotplug_entry *e = gpgrt_calloc(CARDS, sizeof *e);

    (void)h;
    MUST(e != NULL);
    *n = 0;
    for (int i = 0; i < CARDS; i++)
        if (cards.cards[i].there || cards.cards[i].starting)
            e[(*n)++] = (struct hotplug_entry){
                .token = token_of(i),
                .state = (char *)(uintptr_t)(cards.cards[i].starting ? "starting" : "ready")};
    return e;
}

void hotplug_entries_free(struct hotplug_entry *e, size_t n)
{
    (void)n;
    gpgrt_free(e);
}

void hotplug_settle_all(struct hotplug *h, int ms)
{
    (void)h;
    (void)ms;
}

gpg_error_t hotplug_watch(struct hotplug *h, int *fd)
{
    (void)h;
    /* what is being read has been read */
    for (int i = 0; i < CARDS; i++) {
        cards.cards[i].there |= cards.cards[i].starting;
        cards.cards[i].starting = false;
    }
    *fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    return *fd >= 0 ? 0 : gpg_error_from_syserror();
}

void hotplug_unwatch(struct hotplug *h, int fd)
{
    (void)h;
    close(fd);
}

gpg_error_t hotplug_relearn(struct hotplug *h, struct token *t)
{
    (void)h;
    MUST(number_of(t) >= 0);
    cards.relearned++;
    return 0;
}

struct token *hotplug_stored(struct hotplug *h, const char *home)
{
    (void)h;
    (void)home;
    return NULL;
}

void hotplug_forget_stored(struct hotplug *h)
{
    (void)h;
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
    (void)t;
    return false;
}

void token_forget(struct token *t)
{
    MUST(number_of(t) >= 0);
    cards.forgotten++;
}

const struct token_info *token_info_get(struct token *t)
{
    int n = number_of(t);

    return n >= 0 ? &cards.cards[n].info : NULL;
}

void token_info_put(const struct token_info *i)
{
    (void)i;
}

gpg_error_t token_run(struct token *t, struct wait *w, struct token_job *job)
{
    int n = number_of(t);
    const char *lines = cards.lines;

    (void)w;
    MUST(n >= 0);
    cards.asks++;
    snprintf(cards.ask, sizeof cards.ask, "%s %s", job->word != NULL ? job->word : "",
             job->args != NULL ? job->args : "");
    if (cards.ask_error != 0)
        return cards.ask_error;
    if (lines == NULL && strcmp(cards.ask, "GETATTR name=LEARN") == 0)
        lines = cards.cards[n].attributes;
    buf_put(&job->lines, lines != NULL ? lines : "", lines != NULL ? strlen(lines) : 0);
    buf_put(&job->result, cards.result, cards.result_len);
    return 0;
}

const struct keyring_snapshot *keyring_get(struct keyring *k)
{
    (void)k;
    return &snapshot;
}

void keyring_put(const struct keyring_snapshot *s)
{
    (void)s;
}

/* --- the broker ------------------------------------------------------------------------------------------------------------------- */

static void note(const struct token_request *r, const char *slot)
{
    cards.requests++;
    snprintf(cards.use, sizeof cards.use, "%s", r->use);
    snprintf(cards.use_text, sizeof cards.use_text, "%s", r->use_text);
    snprintf(cards.what, sizeof cards.what, "%s", r->what != NULL ? r->what : "");
    snprintf(cards.word, sizeof cards.word, "%s",
             r->verb == TOKEN_VERIFY ? "VERIFY"
             : r->word != NULL       ? r->word
                                     : "");
    snprintf(cards.args, sizeof cards.args, "%s", r->args != NULL ? r->args : "");
    snprintf(cards.slot, sizeof cards.slot, "%s", slot != NULL ? slot : "");
    cards.confirm = r->confirm;
}

static void ask(const struct token_request *r, const char *line, struct buf *to)
{
    buf_reset(to);
    if (r->answer != NULL)
        (void)r->answer(r->answer_arg, NULL, line, to);
}

static void wrap(const struct buf *key, const struct buf *plain, struct buf *out)
{
    gcry_cipher_hd_t h;

    for (size_t i = 0; i < plain->len + 8; i++)
        buf_put_u8(out, 0);
    MUST(gcry_cipher_open(&h, GCRY_CIPHER_AES128, GCRY_CIPHER_MODE_AESWRAP, 0) == 0 &&
         gcry_cipher_setkey(h, key->data, key->len) == 0 &&
         gcry_cipher_encrypt(h, out->data, out->len, plain->data, plain->len) == 0);
    gcry_cipher_close(h);
}

gpg_error_t broker_request_token(struct agent *a, const struct origin *from, struct token *t,
                                 const char *key_id, struct token_request *r)
{
    (void)a;
    (void)from;
    note(r, key_id);
    cards.on = number_of(t);
    if (cards.request_error != 0) {
        r->error_text = gpgrt_strdup("because");
        return cards.request_error;
    }
    if (strcmp(cards.word, TOKEN_VERB_SETATTR) == 0 ||
        strcmp(cards.word, TOKEN_VERB_WRITECERT) == 0)
        ask(r, "VALUE", &cards.value);
    if (strcmp(cards.word, TOKEN_VERB_WRITEKEY) == 0)
        ask(r, "WRAPPED", &cards.wrapped);
    if (strcmp(cards.word, TOKEN_VERB_WRITEKEY) == 0 || strcmp(cards.word, TOKEN_VERB_EXPORT) == 0)
        ask(r, "WRAPKEY", &cards.wrapkey);
    if (strcmp(cards.word, TOKEN_VERB_EXPORT) == 0)
        wrap(&cards.wrapkey, &cards.export, &r->result);
    if (cards.made != NULL && strcmp(cards.word, TOKEN_VERB_GENERATE) == 0) {
        char text[2048];

        buf_put(&r->result, text,
                gcry_sexp_sprint(cards.made, GCRYSEXP_FMT_CANON, text, sizeof text));
    }
    return 0;
}

gpg_error_t broker_request(struct agent *a, const struct origin *from, const struct identity *id,
                           struct token_request *r)
{
    gcry_sexp_t data = NULL;
    size_t i = (size_t)(id - cards.ids);
    gpg_error_t err;

    (void)a;
    (void)from;
    note(r, id->holders[0].id);
    cards.on = number_of(id->holders[0].token);
    buf_reset(&cards.value);
    buf_put_rd(&cards.value, r->tosign.data);
    snprintf(cards.args, sizeof cards.args, "hash=%d", r->tosign.hash);
    if (cards.request_error != 0)
        return cards.request_error;
    if (r->verb == TOKEN_DECRYPT) {
        buf_put(&r->result, cards.result, cards.result_len);
        return 0;
    }
    err = gcry_sexp_build(&data, NULL,
                          id->key->algo == KEY_ED25519
                              ? "(data(flags eddsa)(hash-algo sha512)(value %b))"
                              : "(data(flags raw)(value %b))",
                          (int)r->tosign.data.n, r->tosign.data.p);
    if (err == 0)
        err = gcry_pk_sign(&r->sig, data, cards.secrets[i]);
    gcry_sexp_release(data);
    return err;
}

void token_request_clear(struct token_request *r)
{
    gcry_sexp_release(r->sig);
    buf_free(&r->result);
    buf_free(&r->lines);
    gpgrt_free(r->error_text);
}

/* --- the key store ---------------------------------------------------------------------------------------------------------------- */

gpg_error_t gpg_store(struct agent *a, struct token **out)
{
    (void)a;
    *out = token_of(CARDS);
    return 0;
}

void gpg_stored_clear(struct gpg_stored *k)
{
    gpgrt_free(k->grip);
    *k = (struct gpg_stored){0};
}

gpg_error_t gpg_stored_get(struct gpg_session *s, const char *grip, struct gpg_stored *out)
{
    (void)s;
    if (!cards.stored_private)
        return gpg_error(GPG_ERR_NOT_FOUND);
    *out = (struct gpg_stored){.state = STORED_PROTECTED, .grip = gpgrt_strdup(grip)};
    return 0;
}

gpg_error_t gpg_stored_list(struct gpg_session *s, struct gpg_stored **out, size_t *n)
{
    (void)s;
    *out = NULL;
    *n = 0;
    return 0;
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
    struct buf pub = BUF_INIT;

    (void)s;
    (void)result;
    (void)lines;
    if (strcmp(word, TOKEN_VERB_STUB) != 0)
        return gpg_error(GPG_ERR_NO_DATA);
    MUST(inquire != NULL && inquire(arg, "PUB", &pub) == 0 && pub.len > 0);
    buf_free(&pub);
    cards.stubs++;
    snprintf(cards.stub, sizeof cards.stub, "%s %s", grip, args);
    return 0;
}

const struct identity *gpg_find(struct gpg_session *s, const char *grip,
                                const struct keyring_snapshot **snap)
{
    (void)s;
    (void)grip;
    *snap = &snapshot;
    return NULL;
}

bool gpg_is_stored(const struct identity *id)
{
    (void)id;
    return false;
}

gpg_error_t missing_token_wait(struct agent *a, const struct origin *from,
                               const struct prompt_text *text, unsigned seconds,
                               gpg_error_t (*come)(void *arg), void *arg)
{
    (void)a;
    (void)from;
    (void)text;
    (void)seconds;
    (void)come;
    (void)arg;
    return gpg_error(GPG_ERR_CANCELED);
}
