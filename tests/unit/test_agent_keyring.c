/* Which key is where: tokens that come and go, the same key in several places, keys that clients
 * add. Tokens are this program itself, started anew; its second argument tells what it holds. */
#include "agent/keyring.h"

#include "agent/token_lines.h"
#include "proto/token_protocol.h"

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- the token process ----------------------------------------------------------------------------------
 */

static void say(const char *text)
{
    if (write(TOKEN_FIRST_FD, text, strlen(text)) != (ssize_t)strlen(text))
        _exit(3);
}

/* ARG: "NAME KEYLINE KEYLINE .." with ; for blanks within lines. */
static int fake_token(char *arg)
{
    FILE *in = fdopen(TOKEN_FIRST_FD, "r");
    char line[1024], text[4096], *save = NULL, *name = strtok_r(arg, " ", &save), *key;

    say("OK\n");
    while (fgets(line, sizeof line, in) != NULL && strncmp(line, "LEARN", 5) != 0)
        say("OK\n");
    snprintf(text, sizeof text, "S TOKEN kind=openpgp name=%s label=Card%%20%s\n", name, name);
    say(text);
    while ((key = strtok_r(NULL, " ", &save)) != NULL) {
        for (char *p = key; *p != '\0'; p++)
            *p = *p == ';' ? ' ' : *p;
        snprintf(text, sizeof text, "S KEY %s\n", key);
        say(text);
    }
    say("OK\n");
    while (fgets(line, sizeof line, in) != NULL)
        say("OK\n");
    return 0;
}

/* --- keys ------------------------------------------------------------------------------------------------- */

#define NKEYS 4
static gcry_sexp_t publics[NKEYS];
static char *pub[NKEYS];
static struct keyring *ring;
static char *replaced; /* what the last add told of the software token */

static void make_keys(void)
{
    for (int i = 0; i < NKEYS; i++) {
        uint8_t n[128] = {0xc0, [64] = (uint8_t)i, [127] = 1};
        char canon[512];
        size_t len;

        ck_assert_uint_eq(gcry_sexp_build(&publics[i], NULL,
                                          "(public-key (rsa (n %b) (e #010001#)))", (int)sizeof n,
                                          (const char *)n),
                          0);
        len = gcry_sexp_sprint(publics[i], GCRYSEXP_FMT_CANON, canon, sizeof canon);
        pub[i] = b64_encode(canon, len);
    }
}

static struct key *key(int i)
{
    struct key *k;

    ck_assert_uint_eq(key_from_sexp(publics[i], false, &k), 0);
    return k;
}

static struct token *start(const char *name, const char *const *lines)
{
    struct buf arg = BUF_INIT;
    struct token_spec spec = {.program = "/proc/self/exe", .kind = "pcsc", .nchannels = 1};
    struct token *t;

    buf_printf(&arg, "%s", name);
    for (; *lines != NULL; lines++)
        buf_printf(&arg, " %s", *lines);
    spec.arg = buf_cstr(&arg);
    ck_assert_uint_eq(token_start(&spec, NULL, NULL, &t), 0);
    ck_assert_uint_eq(token_learn(t, LEARN_ALL), 0);
    buf_free(&arg);
    return t;
}

/* A token with key I in slot ID; MORE: further fields, led by ";". */
static struct token *card(const char *name, const char *id, int i, const char *more)
{
    char line[1024];

    snprintf(line, sizeof line, "id=%s;pub=%s;caps=sa;family=ssh%s", id, pub[i], more);
    return start(name, (const char *const[]){line, NULL});
}

static void drop(struct token *t)
{
    token_stop(t);
    token_unref(t);
}

static void setup(void)
{
    make_keys();
    ck_assert_uint_eq(keyring_new(&ring), 0);
}

static void teardown(void)
{
    keyring_free(ring);
    for (int i = 0; i < NKEYS; i++) {
        gcry_sexp_release(publics[i]);
        gpgrt_free(pub[i]);
    }
}

static const struct identity *find(const struct keyring_snapshot *s, int i)
{
    struct key *k = key(i);
    const struct identity *id = keyring_find_blob(s, rd_of(k->blob, k->blob_len));

    key_unref(k);
    return id;
}

/* keyring_add, with what it tells of the old key in REPLACED. */
static gpg_error_t put_in(struct token *t, struct key *k, const char *id, const char *comment,
                          struct key_constraints *c, int64_t life_ms)
{
    struct holder h = {.token = t, .id = (char *)(uintptr_t)id, .touch = TOKEN_TOUCH_NEVER};
    struct orphan o;
    gpg_error_t err = keyring_add(ring, &h, k, comment, c, life_ms, &o);

    ck_assert((o.id == NULL) == (o.token == NULL));
    gpgrt_free(replaced);
    replaced = o.id != NULL ? gpgrt_strdup(o.id) : NULL;
    orphan_clear(&o);
    return err;
}

static gpg_error_t add(struct token *t, int i, const char *id, bool confirm, int64_t life_ms)
{
    struct key_constraints c = {.confirm = confirm};
    struct key *k = key(i);
    gpg_error_t err;

    err = put_in(t, k, id, "added", &c, life_ms);

    ck_assert(err != 0 || !c.confirm);
    key_unref(k);
    return err;
}

static gpg_error_t take_out(int i, char **id)
{
    struct key *k = key(i);
    struct orphan o;
    gpg_error_t err = keyring_remove(ring, rd_of(k->blob, k->blob_len), &o);

    ck_assert((o.id == NULL) == (o.token == NULL));
    if (err == 0)
        *id = o.id != NULL ? gpgrt_strdup(o.id) : NULL;
    orphan_clear(&o);
    key_unref(k);
    return err;
}

START_TEST(a_card_comes_and_goes)
{
    struct token *t = card("openpgp-1", "aut", 0, ";touch=cached;touch-secs=15;pin=once");
    const struct keyring_snapshot *before = keyring_get(ring), *s;
    const struct identity *id;

    ck_assert_uint_eq(keyring_set_token(ring, t), 0);
    ck_assert_uint_eq(before->n, 0);
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 1);
    id = find(s, 0);
    ck_assert_ptr_eq(id, s->ids[0]);
    ck_assert_str_eq(id->comment, "Card openpgp-1 auth");
    ck_assert(id->can_sign && id->can_auth && !id->can_encrypt && !id->added);
    ck_assert_int_eq(id->family, FAMILY_SSH);
    ck_assert_uint_eq(id->nholders, 1);
    ck_assert_str_eq(id->holders[0].id, "aut");
    ck_assert_int_eq(id->holders[0].touch, TOKEN_TOUCH_CACHED);
    ck_assert_uint_eq(id->holders[0].touch_secs, 15);
    ck_assert_int_eq(id->holders[0].pin, TOKEN_PIN_ONCE);
    ck_assert_ptr_null(find(s, 1));
    keyring_remove_token(ring, t);
    keyring_put(before);
    before = keyring_get(ring);
    ck_assert_uint_eq(before->n, 0);
    /* Who still holds the old snapshot goes on reading it. */
    ck_assert_str_eq(s->ids[0]->holders[0].id, "aut");
    keyring_put(s);
    keyring_put(before);
    drop(t);
}
END_TEST

START_TEST(two_cards_with_the_same_key_are_one_identity)
{
    struct token *a = card("openpgp-1", "aut", 0, ";slow=1"), *b = card("openpgp-2", "aut", 0, "");
    const struct keyring_snapshot *s;

    ck_assert_uint_eq(keyring_set_token(ring, a), 0);
    ck_assert_uint_eq(keyring_set_token(ring, b), 0);
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 1);
    ck_assert_uint_eq(s->ids[0]->nholders, 2);
    ck_assert_ptr_eq(s->ids[0]->holders[0].token, b);
    ck_assert_ptr_eq(s->ids[0]->holders[1].token, a);
    keyring_put(s);
    keyring_remove_token(ring, b);
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 1);
    ck_assert_uint_eq(s->ids[0]->nholders, 1);
    keyring_put(s);
    drop(a);
    drop(b);
}
END_TEST

START_TEST(the_same_key_in_two_families_stays_two)
{
    char ssh[1024], gpg[1024], bad[] = "id=dec;pub=YWI=;caps=e", odd[] = "id=..;pub=";
    const char *const lines[] = {bad, gpg, odd, ssh, NULL};
    const struct keyring_snapshot *s;
    const struct identity *id;
    struct token *t;

    snprintf(gpg, sizeof gpg,
             "id=sig;pub=%s;caps=s;family=gpg;created=1700000000;"
             "fpr=00112233445566778899AABBCCDDEEFF00112233",
             pub[0]);
    snprintf(ssh, sizeof ssh, "id=aut;pub=%s;caps=a;family=ssh;comment=my%%20key", pub[0]);
    t = start("openpgp-1", lines);
    ck_assert_uint_eq(keyring_set_token(ring, t), 0);
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 2);
    ck_assert_int_eq(s->ids[0]->family, FAMILY_GPG);
    ck_assert(s->ids[0]->has_openpgp);
    ck_assert_uint_eq(s->ids[0]->created, 1700000000);
    ck_assert_uint_eq(s->ids[0]->openpgp_fpr[1], 0x11);
    /* By its blob it is the ssh one. */
    id = find(s, 0);
    ck_assert_ptr_eq(id, s->ids[1]);
    ck_assert_str_eq(id->comment, "my key");
    keyring_put(s);
    drop(t);
}
END_TEST

START_TEST(added_keys_follow_token_keys)
{
    struct token *soft = card("software", "x", 3, ""), *t = card("openpgp-1", "aut", 0, "");
    const struct keyring_snapshot *s;
    char *id = NULL;

    ck_assert_uint_eq(add(soft, 1, "one", false, 0), 0);
    ck_assert_uint_eq(add(soft, 2, "two", true, 0), 0);
    ck_assert_uint_eq(keyring_set_token(ring, t), 0);
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 3);
    ck_assert_ptr_eq(find(s, 0), s->ids[0]);
    ck_assert_ptr_eq(find(s, 1), s->ids[1]);
    ck_assert_ptr_eq(find(s, 2), s->ids[2]);
    ck_assert(s->ids[2]->constraints.confirm && s->ids[2]->added);
    keyring_put(s);
    /* Added again: in its place, with what it was added with last. */
    ck_assert_uint_eq(add(soft, 1, "one", true, 0), 0);
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 3);
    ck_assert(find(s, 1)->constraints.confirm);
    ck_assert_ptr_eq(find(s, 1), s->ids[1]);
    keyring_put(s);
    ck_assert_uint_eq(gpg_err_code(take_out(0, &id)), GPG_ERR_NOT_SUPPORTED);
    ck_assert_uint_eq(gpg_err_code(take_out(3, &id)), GPG_ERR_NOT_FOUND);
    ck_assert_uint_eq(take_out(1, &id), 0);
    ck_assert_str_eq(id, "one");
    gpgrt_free(id);
    keyring_remove_added(ring);
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 1);
    keyring_put(s);
    drop(soft);
    drop(t);
}
END_TEST

START_TEST(an_added_copy_of_a_card_key_binds_it)
{
    struct token *soft = card("software", "x", 3, ""), *t = card("openpgp-1", "aut", 0, "");
    const struct keyring_snapshot *s;
    char *id = NULL;

    ck_assert_uint_eq(keyring_set_token(ring, t), 0);
    ck_assert_uint_eq(add(soft, 0, "copy", true, 0), 0);
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 1);
    ck_assert_uint_eq(s->ids[0]->nholders, 2);
    ck_assert_ptr_eq(s->ids[0]->holders[0].token, t);
    ck_assert_str_eq(s->ids[0]->holders[1].id, "copy");
    ck_assert(s->ids[0]->constraints.confirm && s->ids[0]->added);
    ck_assert_str_eq(s->ids[0]->comment, "Card openpgp-1 auth");
    /* The card goes: the copy remains, the old snapshot too. */
    keyring_remove_token(ring, t);
    ck_assert_uint_eq(take_out(0, &id), 0);
    ck_assert_str_eq(id, "copy");
    ck_assert(s->ids[0]->constraints.confirm);
    gpgrt_free(id);
    keyring_put(s);
    drop(soft);
    drop(t);
}
END_TEST

/* Adds keys FIRST.. of N as a provider's; how many were new. */
static size_t provide(struct token *t, int first, int n, bool confirm, int64_t life_ms)
{
    const struct holder h = {
        .id = (char *)(uintptr_t) "k", .touch = TOKEN_TOUCH_UNKNOWN, .slow = true};
    struct key_constraints c = {.confirm = confirm};
    struct provided_key keys[NKEYS];
    size_t added = 99;

    /* Something of its own, so that a leak or a double free shows. */
    c.sk_provider = gpgrt_strdup("x");
    for (int i = 0; i < n; i++)
        keys[i] = (struct provided_key){.key = key(first + i), .holder = &h, .comment = "provided"};
    ck_assert_uint_eq(keyring_add_provided(ring, t, keys, (size_t)n, &c, life_ms, &added), 0);
    constraints_free(&c);
    for (int i = 0; i < n; i++)
        key_unref(keys[i].key);
    return added;
}

START_TEST(a_provider_and_its_keys)
{
    struct token *soft = card("software", "x", 3, ""), *p = card("pkcs11-1", "k", 3, ""),
                 *again = card("pkcs11-1", "k", 3, "");
    const struct keyring_snapshot *s, *old;
    char *id = NULL;

    ck_assert_uint_eq(add(soft, 0, "zero", false, 0), 0);
    ck_assert(!keyring_rests_on(ring, p));
    ck_assert_uint_eq(provide(p, 0, 3, true, 0), 2); /* one is there already, and stays as it is */
    ck_assert(keyring_rests_on(ring, p));
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 3);
    ck_assert(!s->ids[0]->provided && !s->ids[0]->constraints.confirm);
    ck_assert(s->ids[1]->provided && s->ids[1]->added && s->ids[1]->constraints.confirm);
    ck_assert(s->ids[2]->constraints.confirm && s->ids[2]->can_sign);
    ck_assert_str_eq(s->ids[2]->holders[0].id, "k");
    keyring_put(s);
    ck_assert_uint_eq(provide(p, 0, 3, false, 0), 0);
    /* The first of them carries what binds all. */
    ck_assert_uint_eq(take_out(1, &id), 0);
    ck_assert_ptr_null(id); /* nothing for the software token to wipe */
    old = keyring_get(ring);
    ck_assert_str_eq(find(old, 2)->constraints.sk_provider, "x");
    ck_assert_uint_eq(keyring_swap_token(ring, p, again), 0);
    ck_assert(!keyring_rests_on(ring, p) && keyring_rests_on(ring, again));
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 2);
    ck_assert_ptr_eq(find(s, 2)->holders[0].token, again);
    ck_assert_ptr_eq(find(old, 2)->holders[0].token, p);
    ck_assert_str_eq(find(s, 2)->constraints.sk_provider, "x");
    ck_assert(find(s, 2)->provided && find(s, 2)->constraints.confirm);
    keyring_put(old);
    keyring_put(s);
    /* ssh-add of the same key takes its place. */
    ck_assert_uint_eq(add(soft, 2, "two", false, 0), 0);
    ck_assert(!keyring_rests_on(ring, again));
    keyring_remove_token(ring, again);
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 2);
    keyring_put(s);
    drop(soft);
    drop(p);
    drop(again);
}
END_TEST

START_TEST(a_card_key_that_a_provider_holds_too)
{
    struct token *p = card("pkcs11-1", "k", 3, ""), *t = card("openpgp-1", "aut", 0, "");
    const struct keyring_snapshot *s;

    ck_assert_uint_eq(provide(p, 0, 2, true, 0), 2);
    ck_assert_uint_eq(keyring_set_token(ring, t), 0);
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 2);
    ck_assert_uint_eq(find(s, 0)->nholders, 2);
    ck_assert_ptr_eq(find(s, 0)->holders[1].token, p);
    ck_assert(find(s, 0)->provided && find(s, 0)->constraints.confirm);
    keyring_put(s);
    keyring_remove_token(ring, p);
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 1);
    ck_assert(!s->ids[0]->provided && !s->ids[0]->constraints.confirm);
    keyring_put(s);
    drop(p);
    drop(t);
}
END_TEST

START_TEST(a_providers_life_ends)
{
    struct token *p = card("pkcs11-1", "k", 3, "");
    int64_t until = monotonic_ms() + 60;
    struct orphan *gone = NULL;
    size_t n;

    ck_assert_uint_eq(provide(p, 0, 2, false, 30), 2);
    while (monotonic_ms() < until)
        poll(NULL, 0, 1);
    ck_assert_int_eq(keyring_expire(ring, &gone, &n), -1);
    ck_assert_uint_eq(n, 0);
    ck_assert(!keyring_rests_on(ring, p));
    gpgrt_free(gone);
    drop(p);
}
END_TEST

START_TEST(a_life_ends)
{
    struct token *soft = card("software", "x", 3, "");
    const struct keyring_snapshot *s;
    int64_t until, left;
    struct orphan *gone = NULL;
    size_t n;

    ck_assert_uint_eq(add(soft, 1, "short", false, 60), 0);
    ck_assert_uint_eq(add(soft, 2, "long", false, 60000), 0);
    until = monotonic_ms() + 60;
    left = keyring_expire(ring, &gone, &n);
    ck_assert_uint_eq(n, 0);
    gpgrt_free(gone);
    ck_assert(left >= 0 && left <= 60);
    while (monotonic_ms() < until)
        poll(NULL, 0, 1);
    /* Not listed from that moment on, whether or not anybody has swept. */
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 1);
    keyring_put(s);
    left = keyring_expire(ring, &gone, &n);
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(gone[0].id, "short");
    ck_assert_ptr_eq(gone[0].token, soft);
    ck_assert_int_gt(left, 50000);
    orphan_clear(&gone[0]);
    gpgrt_free(gone);
    drop(soft);
}
END_TEST

START_TEST(added_keys_go_with_their_token)
{
    struct token *soft = card("software", "x", 3, "");
    const struct keyring_snapshot *s;

    ck_assert_uint_eq(add(soft, 1, "one", false, 0), 0);
    keyring_remove_token(ring, soft);
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 0);
    keyring_put(s);
    drop(soft);
}
END_TEST

/* Which key of the software token nobody uses any more, so that its secret can be wiped. */
START_TEST(replaced_keys_are_told)
{
    struct token *soft = card("software", "x", 3, "");
    char *id = NULL;

    ck_assert_uint_eq(add(soft, 1, "one", false, 0), 0);
    ck_assert_ptr_null(replaced);
    ck_assert_uint_eq(add(soft, 1, "two", false, 0), 0);
    ck_assert_str_eq(replaced, "one");
    ck_assert_uint_eq(add(soft, 1, "two", false, 0), 0);
    ck_assert_ptr_null(replaced); /* still in use */
    ck_assert_uint_eq(take_out(1, &id), 0);
    ck_assert_str_eq(id, "two");
    gpgrt_free(id);
    drop(soft);
}
END_TEST

START_TEST(there_is_a_limit_in_octets)
{
    struct token *soft = card("software", "x", 3, "");
    size_t len = 200000, n = 0;
    char *comment = malloc(len + 1);
    gpg_error_t err = 0;

    memset(comment, 'c', len);
    comment[len] = '\0';
    for (; err == 0 && n < SSH_AGENT_MAX_IDENTITIES; n++) {
        struct key_constraints c = {0};
        uint8_t mod[128] = {0x80, [126] = (uint8_t)(n >> 7), [127] = (uint8_t)(n << 1 | 1)};
        const uint8_t e[] = {1, 0, 1};
        struct key *k = NULL;

        ck_assert_uint_eq(key_from_rsa(rd_of(mod, sizeof mod), rd_of(e, sizeof e), &k), 0);
        err = put_in(soft, k, "id", comment, &c, 0);
        key_unref(k);
    }
    ck_assert_uint_eq(gpg_err_code(err), GPG_ERR_TOO_MANY);
    ck_assert(n > 50 && n < 100);
    /* What is removed makes room. */
    keyring_remove_added(ring);
    ck_assert_uint_eq(add(soft, 1, "one", false, 0), 0);
    keyring_limit(ring, 1);
    ck_assert_uint_eq(gpg_err_code(add(soft, 2, "two", false, 0)), GPG_ERR_TOO_MANY);
    ck_assert_uint_eq(add(soft, 1, "one", true, 0), 0);
    free(comment);
    drop(soft);
}
END_TEST

START_TEST(there_is_a_limit)
{
    struct token *soft = card("software", "x", 3, "");
    struct key *k = NULL;
    struct key_constraints c = {0};
    gpg_error_t err = 0;
    uint8_t n[128] = {0x80};
    const uint8_t e[] = {1, 0, 1};

    for (unsigned i = 0; i <= SSH_AGENT_MAX_IDENTITIES && err == 0; i++) {
        n[126] = (uint8_t)(i >> 7);
        n[127] = (uint8_t)(i << 1 | 1);
        ck_assert_uint_eq(key_from_rsa(rd_of(n, sizeof n), rd_of(e, sizeof e), &k), 0);
        err = put_in(soft, k, "id", "", &c, 0);
        ck_assert(err == 0 || i == SSH_AGENT_MAX_IDENTITIES);
        key_unref(k);
    }
    ck_assert_uint_eq(gpg_err_code(err), GPG_ERR_TOO_MANY);
    drop(soft);
}
END_TEST

static bool stop;

static void *reader(void *arg)
{
    unsigned long reads = 0;

    while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        const struct keyring_snapshot *s = keyring_get(ring);

        for (size_t i = 0; i < s->n; i++)
            reads += s->ids[i]->nholders + strlen(s->ids[i]->holders[0].id);
        keyring_put(s);
    }
    *(unsigned long *)arg = reads;
    return NULL;
}

START_TEST(readers_and_hotplug_at_once)
{
    struct token *a = card("openpgp-1", "aut", 0, ""), *b = card("openpgp-2", "aut", 0, "");
    unsigned long n[2] = {0, 0};
    pthread_t t[2];

    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, reader, &n[i]), 0);
    for (int i = 0; i < 300; i++) {
        ck_assert_uint_eq(keyring_set_token(ring, a), 0);
        ck_assert_uint_eq(keyring_set_token(ring, b), 0);
        keyring_remove_token(ring, a);
        keyring_remove_token(ring, b);
    }
    __atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    drop(a);
    drop(b);
}
END_TEST

/* --- lines ------------------------------------------------------------------------------------------------ */

static const char *const bad_tokens[] = {
    "",
    "kind=yubikey",
    "name=x",
    "kind=yubikey name=",
    "kind=yubikey name=..",
    "kind=yubikey name=a%2Fb",
    "kind=yubikey name=a%20b",
    "kind=yubikey name=a tries=3/0",
    "kind=yubikey name=a tries=3/0/3/3",
    "kind=yubikey name=a tries=3/0/999",
    "kind=yubikey name=a bus=-4",
    "kind=yubikey name=a contactless=2",
    "kind=yubikey name=a label=%00",
    "kind=yubikey name=a label=%4",
};

START_TEST(bad_token_lines_are_refused)
{
    struct token_info i = {0};

    ck_assert_uint_ne(token_line_parse(bad_tokens[_i], &i), 0);
    ck_assert_ptr_null(i.name);
}
END_TEST

START_TEST(watch_lines)
{
    struct watch_line w;

    ck_assert_uint_eq(watch_line_parse("SERVICE up=1", &w), 0);
    ck_assert(w.event == WATCH_SERVICE && w.up && w.reader == NULL);
    ck_assert_uint_eq(
        watch_line_parse("READER name=A%20B%2000 present=1 atr=3B events=7 bus=1 dev=12", &w), 0);
    ck_assert(w.event == WATCH_READER && w.present && !w.contactless);
    ck_assert_str_eq(w.reader, "A B 00");
    ck_assert(w.events == 7 && w.bus == 1 && w.dev == 12);
    watch_line_clear(&w);
    ck_assert_uint_eq(watch_line_parse("GONE name=A contactless=1", &w), 0);
    ck_assert(w.event == WATCH_GONE && w.contactless && w.bus == -1 && w.events == -1);
    watch_line_clear(&w);
    ck_assert_uint_eq(gpg_err_code(watch_line_parse("READERS name=A", &w)),
                      GPG_ERR_UNKNOWN_COMMAND);
    ck_assert_uint_eq(gpg_err_code(watch_line_parse("", &w)), GPG_ERR_UNKNOWN_COMMAND);
    ck_assert_uint_ne(watch_line_parse("READER present=1", &w), 0);
    ck_assert_uint_ne(watch_line_parse("READER name=A present=7", &w), 0);
    ck_assert_uint_ne(watch_line_parse("READER name=A events=x", &w), 0);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *s = suite_create("agent/keyring");
    TCase *tc = tcase_create("keyring");
    SRunner *sr;
    int failed;

    signal(SIGPIPE, SIG_IGN);
    gcry_check_version(NULL);
    gcry_control(GCRYCTL_INIT_SECMEM, 262144, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    if (argc > 2)
        return fake_token(argv[2]);
    tcase_set_timeout(tc, 40);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_card_comes_and_goes);
    tcase_add_test(tc, two_cards_with_the_same_key_are_one_identity);
    tcase_add_test(tc, the_same_key_in_two_families_stays_two);
    tcase_add_test(tc, added_keys_follow_token_keys);
    tcase_add_test(tc, an_added_copy_of_a_card_key_binds_it);
    tcase_add_test(tc, a_life_ends);
    tcase_add_test(tc, a_provider_and_its_keys);
    tcase_add_test(tc, a_card_key_that_a_provider_holds_too);
    tcase_add_test(tc, a_providers_life_ends);
    tcase_add_test(tc, added_keys_go_with_their_token);
    tcase_add_test(tc, there_is_a_limit);
    tcase_add_test(tc, there_is_a_limit_in_octets);
    tcase_add_test(tc, replaced_keys_are_told);
    tcase_add_test(tc, readers_and_hotplug_at_once);
    tcase_add_loop_test(tc, bad_token_lines_are_refused, 0,
                        (int)(sizeof bad_tokens / sizeof bad_tokens[0]));
    tcase_add_test(tc, watch_lines);
    suite_add_tcase(s, tc);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
