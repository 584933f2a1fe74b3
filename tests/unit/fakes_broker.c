#include "tests/unit/fakes_broker.h"

#include "agent/audit.h"
#include "agent/gpg_ssh.h"
#include "agent/grants.h"
#include "agent/hotplug.h"
#include "agent/known_hosts.h"
#include "agent/limits.h"
#include "agent/lock.h"
#include "agent/missing_token.h"
#include "agent/policy_watch.h"
#include "agent/prompt.h"
#include "agent/sk_book.h"
#include "proto/key_internal.h"

#include <check.h>
#include <string.h>

struct world world;
static struct policy_set *policy;
static struct token_info info;
static int64_t clock_ms = 1000;
static const char sid[] = "session-id-0123456789";

/* --- wait
 * -------------------------------------------------------------------------------------------------------
 */

gpg_error_t wait_begin(struct waits *all, struct wait *w, int client_fd, unsigned timeout_s)
{
    (void)all;
    (void)timeout_s;
    *w = (struct wait){.client_fd = client_fd};
    return 0;
}

void wait_end(struct wait *w)
{
    (void)w;
}

gpg_error_t wait_check(struct wait *w)
{
    return w->locked && !w->ignore_lock ? gpg_error(GPG_ERR_LOCKED) : 0;
}

int64_t monotonic_ms(void)
{
    return clock_ms;
}

/* --- requester
 * -----------------------------------------------------------------------------------------------------
 */

char *requester_describe(const struct requester *r)
{
    return gpgrt_bsprintf("%s (pid %d)", r->exe != NULL ? r->exe : "?", (int)r->pid);
}

char *requester_scope(const struct requester *r)
{
    return r->exe != NULL ? gpgrt_bsprintf("%s|1", r->exe) : NULL;
}

/* --- the token
 * -----------------------------------------------------------------------------------------------------
 */

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
    return world.dead;
}

gpg_error_t token_learn(struct token *t, enum token_learn how)
{
    static char *none[] = {NULL};

    (void)t;
    info.key_lines =
        how == LEARN_REFRESH && world.provider_keys != NULL ? world.provider_keys : none;
    return 0;
}

unsigned token_load(struct token *t, bool *draining, bool *touch_wait)
{
    (void)t;
    if (draining != NULL)
        *draining = false;
    if (touch_wait != NULL)
        *touch_wait = false;
    return 0;
}

const struct token_info *token_info_get(struct token *t)
{
    (void)t;
    return &info;
}

void token_info_put(const struct token_info *i)
{
    (void)i;
}

static gpg_error_t ask_pins(struct token_job *j)
{
    bool wrong = false;

    for (;;) {
        struct token_pin_request q = world.pin;
        struct buf pin = BUF_INIT;
        gpg_error_t err;

        if (q.ref[0] == '\0')
            memcpy(q.ref, "81", 3);
        q.tries = world.tries;
        q.last = world.tries == 1;
        q.wrong = wrong;
        err = j->pin(j->arg, &q, &pin);
        buf_free(&pin);
        if (err != 0)
            return err;
        if (world.wrong_pins == 0)
            break;
        world.wrong_pins--;
        world.tries--;
        wrong = true;
        if (world.tries == 0)
            return gpg_error(GPG_ERR_PIN_BLOCKED);
    }
    j->pin_typed = true;
    return 0;
}

/* What a security key signs (PROTOCOL.u2f), built here by hand. */
static void put_asserted(struct buf *b, struct rd message)
{
    uint8_t digest[32];

    gcry_md_hash_buffer(GCRY_MD_SHA256, digest, world.id.key->sk_application,
                        strlen(world.id.key->sk_application));
    buf_put(b, digest, sizeof digest);
    buf_put_u8(b, world.signs.flags);
    buf_put_u32(b, world.signs.counter);
    gcry_md_hash_buffer(GCRY_MD_SHA256, digest, message.p, message.n);
    buf_put(b, digest, sizeof digest);
}

static gpg_error_t sign(struct token_job *j)
{
    static uint8_t other[4] = "else";
    struct rd data = world.wrong_signature ? rd_of(other, sizeof other) : j->data;
    struct buf asserted = BUF_INIT;
    gcry_sexp_t s_data = NULL, sig = NULL;
    size_t len;
    gpg_error_t err;

    if (key_is_sk(world.id.key)) {
        put_asserted(&asserted, data);
        data = buf_rd(&asserted);
        j->asserted = true;
        j->says = world.claims;
    }
    err = gcry_sexp_build(&s_data, NULL, "(data (flags eddsa)(hash-algo sha512)(value %b))",
                          (int)data.n, data.p);
    if (err == 0)
        err = gcry_pk_sign(&sig, s_data, world.secret);
    if (err == 0) {
        char text[512];

        len = gcry_sexp_sprint(sig, GCRYSEXP_FMT_CANON, text, sizeof text);
        buf_put(&j->result, text, len);
    }
    buf_free(&asserted);
    gcry_sexp_release(s_data);
    gcry_sexp_release(sig);
    return err;
}

static gpg_error_t run_on_token(struct token *t, struct wait *w, struct token_job *j)
{
    gpg_error_t err = 0;

    (void)t;
    world.runs++;
    world.client_fd_seen = w->client_fd;
    world.job = *j;
    if (world.meanwhile != NULL)
        world.meanwhile();
    if (world.token_error != 0)
        return world.token_error;
    if (world.asks_pin || j->pin_age == 0)
        err = ask_pins(j);
    if (err != 0)
        return err;
    if (world.touched) {
        j->touch(j->arg, true);
        j->touch(j->arg, false);
        j->touched = true;
    }
    if (j->verb == TOKEN_SIGN)
        return sign(j);
    buf_printf(&j->result, "id=abc touch=always pin=none");
    return 0;
}

/* What the enrolled FIDO token answers. */
static gpg_error_t stand_in(struct token_job *j)
{
    static const char *const applications[] = {PRESENCE_APPLICATION, "ssh:"};
    struct buf message = BUF_INIT, credentials = BUF_INIT, what = BUF_INIT;
    uint8_t digest[32], flags = world.standin.does != NO_TOUCH;
    const char *app = applications[world.standin.does == OTHER_WEB];
    gcry_sexp_t data = NULL, sig = NULL;
    char text[512];

    world.standin.asked++;
    ck_assert_str_eq(j->word, "ASSERT");
    if (world.standin.error != 0)
        return world.standin.error;
    ck_assert_uint_eq(j->inquire(j->arg, "CREDENTIALS", &credentials), 0);
    ck_assert_uint_gt(credentials.len, 100);
    ck_assert_uint_eq(j->inquire(j->arg, "DATA", &message), 0);
    j->touch(j->arg, true);
    j->touch(j->arg, false);
    if (world.standin.does == REPLAYS) {
        ck_assert(!rd_eq(buf_rd(&message), buf_rd(&world.standin.seen)));
        buf_reset(&message);
        buf_put_rd(&message, buf_rd(&world.standin.seen));
    }
    buf_reset(&world.standin.seen);
    buf_put_rd(&world.standin.seen, buf_rd(&message));
    gcry_md_hash_buffer(GCRY_MD_SHA256, digest, app, strlen(app));
    buf_put(&what, digest, sizeof digest);
    buf_put_u8(&what, world.standin.does == CLAIMS_TOUCH ? 0 : flags);
    buf_put_u32(&what, 5);
    gcry_md_hash_buffer(GCRY_MD_SHA256, digest, message.data, message.len);
    buf_put(&what, digest, sizeof digest);
    ck_assert_uint_eq(gcry_sexp_build(&data, NULL,
                                      "(data (flags eddsa)(hash-algo sha512)(value %b))",
                                      (int)what.len, what.data),
                      0);
    ck_assert_uint_eq(
        gcry_pk_sign(&sig, data,
                     world.standin.does == OTHER_KEY ? world.standin.other : world.standin.secret),
        0);
    buf_put(&j->result, text, gcry_sexp_sprint(sig, GCRYSEXP_FMT_CANON, text, sizeof text));
    buf_printf(&j->lines, "CREDENTIAL n=%d\n", world.standin.does == BAD_INDEX ? 1 : 0);
    j->asserted = j->touched = true;
    j->says = (struct sk_assertion){.flags = flags, .counter = 5};
    gcry_sexp_release(data);
    gcry_sexp_release(sig);
    buf_free(&what);
    buf_free(&message);
    buf_free(&credentials);
    return 0;
}

gpg_error_t token_run(struct token *t, struct wait *w, struct token_job *j)
{
    if (j->verb == TOKEN_OTHER && strcmp(j->word, "ASSERT") == 0)
        return stand_in(j);
    return run_on_token(t, w, j);
}

/* --- the person
 * ----------------------------------------------------------------------------------------------------
 */

static void note_desc(const struct prompt_text *t)
{
    snprintf(world.last_desc, sizeof world.last_desc, "%s%s%s", t->error != NULL ? t->error : "",
             t->error != NULL ? "\n" : "", t->desc);
}

gpg_error_t prompt_confirm(struct prompt *p, struct wait *w, const struct requester *r,
                           const struct prompt_text *t)
{
    (void)p;
    (void)w;
    (void)r;
    world.confirms++;
    note_desc(t);
    if (world.meanwhile != NULL)
        world.meanwhile();
    return world.confirm;
}

gpg_error_t prompt_secret(struct prompt *p, struct wait *w, const struct requester *r,
                          const struct prompt_text *t, bool repeat, struct buf *pin)
{
    (void)p;
    (void)w;
    (void)r;
    world.repeated = repeat;
    note_desc(t);
    buf_reset(pin);
    buf_printf(pin, "%s",
               world.pins < 4 && world.types[world.pins] != NULL ? world.types[world.pins]
                                                                 : "123456");
    world.pins++;
    return 0;
}

gpg_error_t missing_token_wait(struct agent *a, const struct origin *from,
                               const struct prompt_text *text, unsigned seconds,
                               gpg_error_t (*come)(void *arg), void *arg)
{
    (void)a;
    (void)from;
    (void)seconds;
    world.awaited++;
    note_desc(text);
    if (gpg_err_code(come(arg)) != GPG_ERR_NO_SECKEY || !world.comes)
        return gpg_error(GPG_ERR_TIMEOUT);
    world.id.nholders = 1;
    return come(arg);
}

struct prompt_notice *prompt_notice_show(struct prompt *p, const struct requester *r,
                                         const struct prompt_text *t)
{
    (void)p;
    (void)r;
    note_desc(t);
    return NULL;
}

void prompt_notice_hide(struct prompt_notice *n)
{
    (void)n;
}

/* --- a PKCS#11 provider
 * -------------------------------------------------------------------------------------------- */

gpg_error_t hotplug_provider_start(struct hotplug *h, const char *path, struct token **t)
{
    (void)h;
    if (world.provider_there)
        return gpg_error(GPG_ERR_EEXIST);
    world.provider.started = true;
    snprintf(world.provider.path, sizeof world.provider.path, "%s", path);
    *t = (struct token *)&world;
    return 0;
}

gpg_error_t hotplug_provider_serve(struct hotplug *h, struct token *t,
                                   const struct provided_key *keys, size_t n,
                                   struct key_constraints *c, int64_t life_ms)
{
    (void)h;
    (void)t;
    if (world.provider_error != 0)
        return world.provider_error;
    world.provider.served = n;
    for (size_t i = 0; i < n; i++)
        world.provider.certs += keys[i].key->cert != NULL;
    world.provider.life_s = (uint32_t)(life_ms / 1000);
    world.provider.confirm = c->confirm;
    world.provider_there = true;
    return 0;
}

struct token *hotplug_provider(struct hotplug *h, const char *path)
{
    (void)h;
    return world.provider_there && strcmp(path, world.provider.path) == 0 ? (struct token *)&world
                                                                          : NULL;
}

void hotplug_settle_all(struct hotplug *h, int ms)
{
    (void)h;
    (void)ms;
}

void hotplug_provider_end(struct hotplug *h, struct token *t)
{
    (void)h;
    (void)t;
    world.provider.ended = true;
    world.provider_there = false;
}

void hotplug_providers_reap(struct hotplug *h)
{
    (void)h;
    world.provider.reaped++;
}

gpg_error_t hotplug_provider_revive(struct hotplug *h, const struct token *t)
{
    (void)h;
    (void)t;
    world.provider.revived++;
    world.dead = false;
    return 0;
}

/* --- hotplug, lock, audit, policy, hosts
 * ------------------------------------------------------------------------------ */

struct token *hotplug_software(struct hotplug *h)
{
    (void)h;
    return (struct token *)&world;
}

struct token *hotplug_security_keys(struct hotplug *h, const char *middleware)
{
    (void)h;
    snprintf(world.middleware, sizeof world.middleware, "%s",
             middleware != NULL ? middleware : "internal");
    return (struct token *)&world;
}

void hotplug_note_device(struct hotplug *h, const char *path)
{
    (void)h;
    (void)path;
}

void hotplug_note_key_verified(struct hotplug *h, const struct token *t, const char *id)
{
    (void)h;
    (void)t;
    (void)id;
    world.verified_before = true;
}

void orphan_clear(struct orphan *o)
{
    (void)o;
}

void hotplug_wipe_added(struct hotplug *h, struct token *t, const char *id)
{
    (void)h;
    (void)t;
    snprintf(world.wiped, sizeof world.wiped, "%s", id);
}

void limits_reached(struct limits *l, enum limit which)
{
    (void)l;
    (void)which;
}

bool hotplug_key_was_verified(struct hotplug *h, const struct token_info *i, const char *id)
{
    (void)h;
    (void)i;
    (void)id;
    return world.verified_before;
}

void hotplug_note_verified(struct hotplug *h, const struct token *t)
{
    (void)h;
    (void)t;
    world.verified_before = true;
}

bool lock_is_locked(struct lock *l)
{
    (void)l;
    return world.locked;
}

bool lock_is_passphrase_locked(struct lock *l)
{
    (void)l;
    return world.passphrase_locked;
}

char *lock_describe(struct lock *l)
{
    (void)l;
    return gpgrt_strdup("locked since 10:32");
}

unsigned lock_count(struct lock *l)
{
    (void)l;
    return world.locks;
}

bool lock_open(struct agent *a, unsigned count, const char *how)
{
    (void)a;
    (void)how;
    if (count != world.locks)
        return false;
    world.locked = false;
    world.opened = true;
    return true;
}

void lock_note_use(struct lock *l)
{
    (void)l;
}

gpg_error_t audit_write(struct audit *a, json_t *record)
{
    (void)a;
    json_decref(world.record);
    world.record = record;
    return world.audit_error;
}

struct policy_set *policy_current(struct policy_holder *h)
{
    (void)h;
    return policy_ref(policy);
}

char *policy_problem(struct policy_holder *h)
{
    (void)h;
    return NULL;
}

gpg_error_t known_hosts_lookup(struct known_hosts *k, const struct key *key,
                               const char *const *candidates, const char *const *more, uint64_t now,
                               struct host_names *out)
{
    (void)k;
    (void)candidates;
    (void)now;
    world.asked += more != NULL && more[0] != NULL;
    *out = (struct host_names){.revoked = world.revoked};
    if (!key_same(key, world.host) || world.nameless)
        return 0;
    out->names = gpgrt_calloc(2, sizeof *out->names);
    out->names[0] = gpgrt_strdup("host.example");
    out->n = 1;
    return 0;
}

void host_names_clear(struct host_names *h)
{
    for (size_t i = 0; i < h->n; i++)
        gpgrt_free(h->names[i]);
    gpgrt_free(h->names);
    gpgrt_free(h->how);
    *h = (struct host_names){0};
}

/* --- keyring
 * --------------------------------------------------------------------------------------------------------
 */

static struct identity *const ids[] = {&world.id};
static const struct keyring_snapshot snapshot = {.ids = ids, .n = 1};

const struct keyring_snapshot *keyring_get(struct keyring *k)
{
    (void)k;
    return &snapshot;
}

void keyring_put(const struct keyring_snapshot *s)
{
    (void)s;
}

const struct identity *keyring_find_blob(const struct keyring_snapshot *s, struct rd blob)
{
    (void)s;
    return rd_eq(blob, rd_of(world.id.key->blob, world.id.key->blob_len)) ? &world.id : NULL;
}

gpg_error_t keyring_add(struct keyring *k, const struct holder *h, struct key *key,
                        const char *comment, struct key_constraints *c, int64_t life_ms,
                        struct orphan *unused)
{
    *unused = (struct orphan){0};
    if (world.full != 0)
        return world.full;
    world.added++;
    world.last = *h;
    world.last.id = NULL;
    (void)k;
    (void)key;
    (void)comment;
    (void)c;
    (void)life_ms;
    return 0;
}

gpg_error_t keyring_room(struct keyring *k, const struct key *key, const char *comment,
                         const struct key_constraints *c)
{
    (void)k;
    (void)key;
    (void)comment;
    (void)c;
    return 0;
}

gpg_error_t keyring_remove(struct keyring *k, struct rd blob, struct orphan *o)
{
    (void)k;
    (void)blob;
    *o = (struct orphan){0};
    return 0;
}

/* --- making worlds
 * ----------------------------------------------------------------------------------------------------
 */

static void make_key(gcry_sexp_t *secret, struct key **key)
{
    gcry_sexp_t spec, pair, pub;

    ck_assert_uint_eq(gcry_sexp_build(&spec, NULL, "(genkey (ecc (curve Ed25519)(flags eddsa)))"),
                      0);
    ck_assert_uint_eq(gcry_pk_genkey(&pair, spec), 0);
    pub = gcry_sexp_find_token(pair, "public-key", 0);
    *secret = gcry_sexp_find_token(pair, "private-key", 0);
    ck_assert_uint_eq(key_from_sexp(pub, false, key), 0);
    gcry_sexp_release(spec);
    gcry_sexp_release(pair);
    gcry_sexp_release(pub);
}

void world_new(const char *text, const char *kind, enum token_touch touch, enum token_pin pin)
{
    struct policy_errors errors = {0};

    world = (struct world){.tries = 3, .verified_before = false};
    ck_assert_uint_eq(policy_load_text("p", text, strlen(text), "/h", &policy, &errors), 0);
    info = (struct token_info){.kind = (char *)(uintptr_t)kind,
                               .serial = (char *)(uintptr_t) "1",
                               .name = (char *)(uintptr_t) "tok-1",
                               .bus = -1,
                               .dev = -1};
    world.holder = (struct holder){.token = (struct token *)&world,
                                   .id = (char *)(uintptr_t) "aut",
                                   .touch = touch,
                                   .touch_secs = touch == TOKEN_TOUCH_CACHED ? 15 : 0,
                                   .pin = pin};
    make_key(&world.secret, &world.id.key);
    make_key(&world.host_secret, &world.host);
    world.id.family = FAMILY_SSH;
    world.id.can_sign = world.id.can_auth = true;
    world.id.comment = (char *)(uintptr_t) "test key";
    world.id.holders = &world.holder;
    world.id.nholders = 1;
    world.who = (struct requester){.pid = 7,
                                   .uid = 1000,
                                   .pidfd = -1,
                                   .exe = (char *)(uintptr_t) "/usr/bin/ssh",
                                   .root_owned_ssh = true};
    world.origin = (struct origin){.id = 1, .fd = -1, .who = &world.who};
    ck_assert_uint_eq(grants_new(&world.agent.grants), 0);
    world.asks_pin = pin != TOKEN_PIN_NONE;
}

void world_security_key(const char *application, uint8_t flags)
{
    struct key *plain = world.id.key;

    ck_assert_uint_eq(key_with_application(plain, application, &world.id.key), 0);
    key_unref(plain);
    world.signs = world.claims = (struct sk_assertion){.flags = flags, .counter = 17};
}

void world_enroll(const char *dir)
{
    static const uint8_t handle[] = "handle";
    struct key *plain, *k, *other;

    setenv("XDG_STATE_HOME", dir, 1);
    make_key(&world.standin.secret, &plain);
    make_key(&world.standin.other, &other);
    ck_assert_uint_eq(key_with_application(plain, PRESENCE_APPLICATION, &k), 0);
    ck_assert_uint_eq(sk_book_open(&sk_book_presence, &world.agent.presence), 0);
    ck_assert_uint_eq(sk_book_add(world.agent.presence, k, rd_of(handle, sizeof handle), 1, "mine"),
                      0);
    key_unref(plain);
    key_unref(other);
    key_unref(k);
}

void world_free(void)
{
    gcry_sexp_release(world.standin.secret);
    gcry_sexp_release(world.standin.other);
    buf_free(&world.standin.seen);
    sk_book_free(world.agent.presence);
    for (size_t i = 0; i < world.origin.nbinds; i++) {
        key_unref(world.origin.binds[i].hostkey);
        gpgrt_free(world.origin.binds[i].sid);
    }
    gpgrt_free(world.origin.binds);
    key_unref(world.id.key);
    key_unref(world.host);
    gcry_sexp_release(world.secret);
    gcry_sexp_release(world.host_secret);
    grants_free(world.agent.grants);
    policy_unref(policy);
    json_decref(world.record);
    world = (struct world){0};
}

void world_bind(bool forwarding)
{
    struct origin *o = &world.origin;

    o->binds = gpgrt_realloc(o->binds, (o->nbinds + 1) * sizeof *o->binds);
    o->binds[o->nbinds] = (struct bind){.hostkey = key_ref(world.host),
                                        .sid = (uint8_t *)gpgrt_strdup(sid),
                                        .sid_len = strlen(sid),
                                        .forwarding = forwarding};
    o->nbinds++;
    o->bind_attempted = true;
}

void world_userauth(struct buf *b, const char *user, bool hostbound)
{
    buf_put_string(b, sid, strlen(sid));
    buf_put_u8(b, 50);
    buf_put_cstring(b, user);
    buf_put_cstring(b, "ssh-connection");
    buf_put_cstring(b, hostbound ? "publickey-hostbound-v00@openssh.com" : "publickey");
    buf_put_u8(b, 1);
    buf_put_cstring(b, world.id.key->type);
    buf_put_string(b, world.id.key->blob, world.id.key->blob_len);
    if (hostbound)
        buf_put_string(b, world.host->blob, world.host->blob_len);
}

void world_sshsig(struct buf *b, const char *ns)
{
    uint8_t digest[64] = {1};

    buf_put(b, "SSHSIG", 6);
    buf_put_cstring(b, ns);
    buf_put_cstring(b, "");
    buf_put_cstring(b, "sha512");
    buf_put_string(b, digest, sizeof digest);
}

gpg_error_t world_sign(const struct buf *data)
{
    struct buf sig = BUF_INIT;
    uint8_t says;
    gpg_error_t err;

    err = broker_sign_ssh(&world.agent, &world.origin,
                          rd_of(world.id.key->blob, world.id.key->blob_len), buf_rd(data), 0, &sig);
    if (err == 0 && key_is_sk(world.id.key))
        ck_assert_uint_eq(sk_sig_verify(world.id.key, buf_rd(data), buf_rd(&sig), &says), 0);
    else if (err == 0)
        ck_assert_uint_eq(ssh_sig_verify(world.id.key, buf_rd(data), buf_rd(&sig), false), 0);
    else
        ck_assert_uint_eq(sig.len, 0);
    buf_free(&sig);
    return err;
}

const char *world_record(const char *path)
{
    json_t *j = world.record;
    char *copy = gpgrt_strdup(path), *save = NULL;

    for (char *p = strtok_r(copy, ".", &save); p != NULL && j != NULL;
         p = strtok_r(NULL, ".", &save))
        j = json_object_get(j, p);
    gpgrt_free(copy);
    return json_is_string(j) ? json_string_value(j) : "";
}

/* --- gpg is not served --------------------------------------------------------------------------- */

gpg_error_t gpg_ssh_begin(struct gpg_ssh **out, struct agent *a, const struct origin *from,
                          struct operation *op)
{
    (void)a;
    (void)from;
    (void)op;
    *out = NULL;
    return 0;
}

void gpg_ssh_end(struct gpg_ssh *g)
{
    (void)g;
}

bool gpg_ssh_keeps(const struct agent *a, const struct ssh_agent_msg *add)
{
    (void)a;
    (void)add;
    return false;
}

gpg_error_t gpg_ssh_add(struct agent *a, const struct origin *from, struct ssh_agent_msg *add)
{
    (void)a;
    (void)from;
    (void)add;
    return gpg_error(GPG_ERR_NOT_SUPPORTED);
}
