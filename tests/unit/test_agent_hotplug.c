/* Pulled against lost, with a watcher and tokens that do what a test wants: this program itself,
 * started anew as the agent would start latchkey-token. A reader's name tells what its card does. */
#include "agent/hotplug_slots.h"

#include "agent/fido_node.h"
#include "agent/grants.h"
#include "agent/keyring.h"
#include "agent/lock.h"
#include "agent/token_job.h"
#include "proto/token_protocol.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- as latchkey-token ------------------------------------------------------------------------------- */

static void say(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        _exit(3);
}

/* Passes on what the test writes into the FIFO. */
static int fake_watcher(void)
{
    int in = open(getenv("LATCHKEY_TEST_WATCH"), O_RDWR);
    char chunk[1]; /* what comes after the end of this one is the next one's */
    ssize_t n;

    say(TOKEN_FIRST_FD, "SERVICE up=1\n");
    while ((n = read(in, chunk, sizeof chunk)) > 0) {
        if (memchr(chunk, '!', (size_t)n) != NULL)
            return 1; /* dies */
        if (write(TOKEN_FIRST_FD, chunk, (size_t)n) != n)
            return 1;
    }
    return 0;
}

static const char *key_pub(void)
{
    return getenv("LATCHKEY_TEST_KEY");
}

static const char *fake_kind, *fake_reader;

static void *fake_channel(void *arg)
{
    int fd = (int)(intptr_t)arg;
    const char *kind = fake_kind, *reader = fake_reader;
    FILE *in = fdopen(fd, "r");
    char line[1024], text[4096];

    say(fd, "OK\n");
    while (fgets(line, sizeof line, in) != NULL) {
        if (strncmp(line, "VERIFY", 6) == 0) { /* takes its time, and fails for good */
            while (access(getenv("LATCHKEY_TEST_ONCE"), F_OK) != 0)
                poll(NULL, 0, 1);
            _exit(9);
        }
        if (strncmp(line, "LEARN", 5) != 0) {
            say(fd, "OK\n");
            continue;
        }
        if (strcmp(kind, "software") == 0) {
            say(fd, "S TOKEN kind=software name=software\nOK\n");
            continue;
        }
        if (strcmp(kind, "pkcs11") == 0) {
            say(fd, "S TOKEN kind=pkcs11 name=pkcs11-1 serial=1\nOK\n");
            continue;
        }
        if (strstr(reader, "Foreign") != NULL) {
            say(fd, "ERR 60 Not supported\n");
            continue;
        }
        if (strstr(reader, "Rest") != NULL && strstr(line, "ssh=1") == NULL &&
            access(getenv("LATCHKEY_TEST_ONCE"), F_OK) == 0) {
            unlink(getenv("LATCHKEY_TEST_ONCE"));
            say(fd, "ERR 113 Card error\n");
            continue;
        }
        snprintf(text, sizeof text, "S TOKEN kind=openpgp name=card-%c%s\n", reader[0],
                 strstr(reader, "Rest") != NULL && strstr(line, "ssh=1") != NULL ? " more=1" : "");
        say(fd, text);
        if (strstr(reader, "Rest") != NULL && strstr(line, "ssh=1") == NULL) {
            snprintf(text, sizeof text, "S KEY id=sig pub=%s caps=s family=gpg\n",
                     getenv("LATCHKEY_TEST_REST"));
            say(fd, text);
        }
        if (strstr(reader, "Blank") == NULL) {
            snprintf(text, sizeof text, "S KEY id=aut pub=%s caps=a family=ssh\n", key_pub());
            say(fd, text);
        }
        say(fd, "OK\n");
        if (strstr(reader, "Crashes") != NULL && access(getenv("LATCHKEY_TEST_ONCE"), F_OK) == 0) {
            unlink(getenv("LATCHKEY_TEST_ONCE"));
            _exit(9);
        }
    }
    return NULL;
}

static int fake_token(int argc, char **argv)
{
    pthread_t t;
    unsigned n = 1;

    fake_kind = argv[1];
    fake_reader = argv[2];
    sscanf(argv[argc - 1], "--channels=%u", &n);
    for (unsigned i = 1; i < n; i++)
        pthread_create(&t, NULL, fake_channel, (void *)(intptr_t)(TOKEN_FIRST_FD + (int)i));
    (void)fake_channel((void *)(intptr_t)TOKEN_FIRST_FD);
    return 0;
}

/* --- the agent's parts ---------------------------------------------------------------------------------- */

static struct agent a;
static struct settings settings;
static char dir[64], fifo[80], once[80], out[80];
static int watch_fd;

/* Another key each time, for the listing's variable NAME. */
static void make_key_for(const char *name)
{
    static uint8_t n[128] = {0xc0, [127] = 1};
    gcry_sexp_t pub;
    char canon[512], *text;
    size_t len;

    n[64]++;
    ck_assert_uint_eq(gcry_sexp_build(&pub, NULL, "(public-key (rsa (n %b) (e #010001#)))",
                                      (int)sizeof n, (const char *)n),
                      0);
    len = gcry_sexp_sprint(pub, GCRYSEXP_FMT_CANON, canon, sizeof canon);
    text = b64_encode(canon, len);
    setenv(name, text, 1);
    gpgrt_free(text);
    gcry_sexp_release(pub);
}

static void make_key(void)
{
    make_key_for("LATCHKEY_TEST_KEY");
}

static void setup(void)
{
    strcpy(dir, "/tmp/latchkey-hotplug-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(fifo, sizeof fifo, "%s/fifo", dir);
    snprintf(once, sizeof once, "%s/once", dir);
    snprintf(out, sizeof out, "%s/out", dir);
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    watch_fd = open(fifo, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(watch_fd, 0);
    setenv("LATCHKEY_TEST_WATCH", fifo, 1);
    setenv("LATCHKEY_TEST_ONCE", once, 1);
    make_key();
    make_key_for("LATCHKEY_TEST_REST");
    settings = (struct settings){0};
    a = (struct agent){.settings = &settings, .owns_hardware = true};
    a.token_program = realpath("/proc/self/exe", NULL);
    ck_assert_uint_eq(waits_new(&a.waits), 0);
    ck_assert_uint_eq(lock_new(&a.lock), 0);
    ck_assert_uint_eq(grants_new(&a.grants), 0);
    ck_assert_uint_eq(keyring_new(&a.keyring), 0);
    ck_assert_uint_eq(hotplug_start(&a, &a.hotplug), 0);
}

static void teardown(void)
{
    hotplug_stop(a.hotplug);
    keyring_free(a.keyring);
    grants_free(a.grants);
    lock_free(a.lock);
    waits_free(a.waits);
    free(a.token_program);
    close(watch_fd);
    unlink(fifo);
    unlink(once);
    unlink(out);
    rmdir(dir);
}

#define until(cond)                              \
    do {                                         \
        int64_t end_ = monotonic_ms() + 20000;   \
        while (!(cond) && monotonic_ms() < end_) \
            poll(NULL, 0, 1);                    \
        ck_assert_msg((cond), "%s", #cond);      \
    } while (0)

static void event(const char *line)
{
    ck_assert_int_eq(write(watch_fd, line, strlen(line)), (ssize_t)strlen(line));
}

/* Is there an entry NAME whose state begins with STATE? */
static bool entry_is(const char *name, const char *state)
{
    size_t n;
    struct hotplug_entry *e = hotplug_entries(a.hotplug, &n);
    bool found = false;

    for (size_t i = 0; i < n; i++)
        if (strcmp(e[i].name, name) == 0)
            found |= strncmp(e[i].state, state, strlen(state)) == 0;
    hotplug_entries_free(e, n);
    return found;
}

static size_t keys(void)
{
    const struct keyring_snapshot *s = keyring_get(a.keyring);
    size_t n = s->n;

    keyring_put(s);
    return n;
}

/* Everything written to the watcher has been acted on: a later event shows. */
static void barrier(void)
{
    static int n;
    char line[128], name[32];

    snprintf(name, sizeof name, "B%d%%20Foreign", ++n);
    snprintf(line, sizeof line, "READER name=%s present=1 events=1\n", name);
    event(line);
    snprintf(name, sizeof name, "B%d Foreign", n);
    until(entry_is(name, "unreadable"));
}

START_TEST(software_is_there_from_the_start)
{
    struct token *t = hotplug_software(a.hotplug);

    ck_assert_ptr_nonnull(t);
    ck_assert(!token_gone(t));
    ck_assert(entry_is("software", "ready"));
    token_unref(t);
    hotplug_settle(a.hotplug, 10000);
}
END_TEST

START_TEST(a_card_is_pulled)
{
    event("READER name=A%20Reader present=1 events=1\n");
    until(entry_is("card-A", "ready"));
    ck_assert_uint_eq(keys(), 1);
    ck_assert(!lock_is_locked(a.lock));
    grants_add_presence(a.grants, "s", "card-A");
    event("READER name=A%20Reader present=0 events=2\n");
    until(entry_is("card-A", "pulled"));
    ck_assert(lock_is_locked(a.lock));
    ck_assert_uint_eq(keys(), 0);
    ck_assert(!grants_use_presence(a.grants, "s", 60, 0, NULL));
    /* In another reader: the same token again, and no second record of it. */
    event("READER name=A%20Other present=1 events=1\n");
    until(entry_is("card-A", "ready"));
    ck_assert(!entry_is("card-A", "pulled"));
    ck_assert(lock_is_locked(a.lock));
}
END_TEST

START_TEST(only_the_token_when_so_set)
{
    settings.lock_on_unplug_token = true;
    event("READER name=A%20Reader present=1 events=1\n");
    until(entry_is("card-A", "ready"));
    event("READER name=A%20Reader present=0 events=2\n");
    until(entry_is("card-A", "pulled"));
    ck_assert(!lock_is_locked(a.lock));
}
END_TEST

START_TEST(a_swap_is_a_pull)
{
    event("READER name=A%20Reader present=1 events=1\n");
    until(entry_is("card-A", "ready"));
    event("READER name=A%20Reader present=1 events=1\n");
    barrier();
    ck_assert(!lock_is_locked(a.lock));
    event("READER name=A%20Reader present=1 events=3\n");
    until(lock_is_locked(a.lock));
}
END_TEST

START_TEST(what_was_of_no_use_does_not_lock)
{
    event("READER name=C%20Foreign present=1 events=1\nREADER name=D%20Blank present=1 events=1\n");
    until(entry_is("C Foreign", "unreadable: no application"));
    until(entry_is("D Blank", "unreadable: no keys"));
    event("READER name=C%20Foreign present=0 events=2\nREADER name=D%20Blank present=0 events=2\n");
    barrier();
    ck_assert(!lock_is_locked(a.lock));
    ck_assert(!entry_is("C Foreign", ""));
    ck_assert(!entry_is("D Blank", ""));
}
END_TEST

START_TEST(an_implant_that_leaves_is_lost)
{
    event("READER name=A%20NFC present=1 contactless=1 events=1\n");
    until(entry_is("card-A", "ready"));
    event("READER name=A%20NFC present=0 contactless=1 events=2\n");
    until(entry_is("card-A", "lost"));
    ck_assert(!lock_is_locked(a.lock));
    ck_assert_uint_eq(keys(), 0);
}
END_TEST

START_TEST(pcscd_going_is_no_pull)
{
    event("READER name=A%20Reader present=1 events=1\n");
    until(entry_is("card-A", "ready"));
    event("SERVICE up=0\n");
    until(entry_is("card-A", "lost"));
    ck_assert(!lock_is_locked(a.lock));
    event("SERVICE up=1\nREADER name=A%20Reader present=1 events=1\n");
    until(entry_is("card-A", "ready"));
    ck_assert_uint_eq(keys(), 1);
}
END_TEST

START_TEST(a_crash_is_lost_and_started_anew)
{
    int fd = open(once, O_CREAT | O_WRONLY, 0600);

    close(fd);
    grants_add_presence(a.grants, "s", "card-A");
    event("READER name=A%20Crashes present=1 events=1\n");
    until(access(once, F_OK) != 0);
    until(keys() == 1 && entry_is("card-A", "ready"));
    ck_assert(!lock_is_locked(a.lock));
    /* Its stay counts as one: taken out now, it was pulled. */
    event("READER name=A%20Crashes present=0 events=2\n");
    until(lock_is_locked(a.lock));
}
END_TEST

START_TEST(the_watcher_dies)
{
    event("READER name=A%20Reader present=1 events=1\n");
    until(entry_is("card-A", "ready"));
    event("!");
    barrier();
    ck_assert(entry_is("card-A", "ready"));
    ck_assert(!lock_is_locked(a.lock));
    event("garbage\nREADER\nREADER name=A%20Reader present=1 events=1\n");
    barrier();
    ck_assert(entry_is("card-A", "ready"));
}
END_TEST

START_TEST(a_reader_that_goes_with_its_card_was_unplugged)
{
    event("READER name=A%20Reader present=1 events=1\n");
    until(entry_is("card-A", "ready"));
    event("GONE name=A%20Reader\n");
    until(lock_is_locked(a.lock));
    until(entry_is("card-A", "pulled"));
}
END_TEST

START_TEST(the_command_gets_the_name)
{
    char command[256];
    struct stat st;

    snprintf(command, sizeof command, "printf %%s \"$LATCHKEY_TOKEN\" > %s", out);
    settings.on_unplug = command;
    event("READER name=A%20Reader present=1 events=1\n");
    until(entry_is("card-A", "ready"));
    event("READER name=A%20Reader present=0 events=2\n");
    until(stat(out, &st) == 0 && st.st_size == 6);
}
END_TEST

static bool listing_is_known(struct token *t)
{
    const struct token_info *info = token_info_get(t);
    char **lines = hotplug_verified_keys(a.hotplug, info);
    bool known = lines != NULL;

    ck_assert(hotplug_key_was_verified(a.hotplug, info, "aut") == known);
    ck_assert(!hotplug_key_was_verified(a.hotplug, info, "nonesuch"));
    gpgrt_free(lines);
    token_info_put(info);
    return known;
}

START_TEST(who_showed_a_proof_is_remembered)
{
    size_t n;
    struct hotplug_entry *e;
    struct token *t = NULL;

    event("READER name=A%20Reader present=1 events=1\n");
    until(entry_is("card-A", "ready"));
    e = hotplug_entries(a.hotplug, &n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(e[i].name, "card-A") == 0)
            t = token_ref(e[i].token);
    hotplug_entries_free(e, n);
    ck_assert(!listing_is_known(t));
    ck_assert(!hotplug_any_verified(a.hotplug));
    hotplug_note_verified(a.hotplug, t);
    ck_assert(listing_is_known(t));
    ck_assert(hotplug_any_verified(a.hotplug));
    token_unref(t);
    event("READER name=A%20Reader present=0 events=2\n");
    until(entry_is("card-A", "pulled"));
    e = hotplug_entries(a.hotplug, &n);
    for (size_t i = 0; i < n; i++)
        ck_assert(e[i].seen_verified == (strcmp(e[i].name, "card-A") == 0));
    hotplug_entries_free(e, n);
}
END_TEST

/* Another card that merely calls itself the same has other keys. */
START_TEST(a_namesake_is_not_taken_for_it)
{
    struct token *t = NULL;
    struct hotplug_entry *e;
    size_t n;

    for (int round = 0; round < 2; round++) {
        event(round == 0 ? "READER name=A%20Reader present=1 events=1\n"
                         : "READER name=A%20Reader present=1 events=3\n");
        until(entry_is("card-A", "ready"));
        e = hotplug_entries(a.hotplug, &n);
        for (size_t i = 0; i < n; i++)
            if (strcmp(e[i].name, "card-A") == 0)
                t = token_ref(e[i].token);
        hotplug_entries_free(e, n);
        ck_assert(!listing_is_known(t));
        hotplug_note_verified(a.hotplug, t);
        token_unref(t);
        event("READER name=A%20Reader present=0 events=2\n");
        until(entry_is("card-A", "pulled"));
        make_key();
    }
}
END_TEST

static struct token *token_named(const char *name)
{
    struct token *t = NULL;
    size_t n;
    struct hotplug_entry *e = hotplug_entries(a.hotplug, &n);

    for (size_t i = 0; i < n; i++)
        if (t == NULL && e[i].token != NULL && strcmp(e[i].name, name) == 0)
            t = token_ref(e[i].token);
    hotplug_entries_free(e, n);
    return t;
}

START_TEST(the_rest_is_read_when_it_is_wanted)
{
    event("READER name=A%20Rest present=1 events=1\n");
    until(entry_is("card-A", "ready"));
    hotplug_settle_all(a.hotplug, 20000);
    ck_assert_uint_eq(keys(), 2);
    ck_assert(entry_is("card-A", "ready"));
    event("READER name=A%20Rest present=0 events=2\n");
    until(entry_is("card-A", "pulled"));
    ck_assert_uint_eq(keys(), 0);
}
END_TEST

START_TEST(the_rest_is_read_in_idle_time)
{
    event("READER name=A%20Rest present=1 events=1\n");
    until(keys() == 2);
}
END_TEST

/* A card that stumbles over its other keys serves with the one that it told of. */
START_TEST(the_rest_fails)
{
    int fd = open(once, O_CREAT | O_WRONLY, 0600);

    close(fd);
    event("READER name=A%20Rest present=1 events=1\n");
    until(entry_is("card-A", "ready"));
    hotplug_settle_all(a.hotplug, 20000);
    until(access(once, F_OK) != 0);
    ck_assert(entry_is("card-A", "ready"));
    ck_assert_uint_eq(keys(), 1);
    hotplug_settle_all(a.hotplug, 20000);
    until(keys() == 2);
}
END_TEST

static bool is_wholly_read(struct token *t)
{
    const struct token_info *info = token_info_get(t);
    bool whole = info != NULL && !info->more;

    if (info != NULL)
        token_info_put(info);
    return whole;
}

/* The keys that are read later belong to the token that proved itself before; a card that shows one
 * known key gets no other one in. */
START_TEST(the_rest_of_a_proven_token_is_known)
{
    struct token *t;
    const struct token_info *info;

    event("READER name=A%20Rest present=1 events=1\n");
    until(entry_is("card-A", "ready"));
    t = token_named("card-A");
    hotplug_note_verified(a.hotplug, t);
    hotplug_settle_all(a.hotplug, 20000);
    until(keys() == 2);
    until(is_wholly_read(t));
    info = token_info_get(t);
    until(hotplug_key_was_verified(a.hotplug, info, "sig"));
    token_info_put(info);
    token_unref(t);
    event("READER name=A%20Rest present=0 events=2\n");
    until(entry_is("card-A", "pulled"));
    make_key_for("LATCHKEY_TEST_REST"); /* its ssh key is the same, the other one is not */
    event("READER name=A%20Rest present=1 events=3\n");
    until(entry_is("card-A", "ready"));
    hotplug_settle_all(a.hotplug, 20000);
    until(keys() == 2);
    t = token_named("card-A");
    info = token_info_get(t);
    ck_assert(hotplug_key_was_verified(a.hotplug, info, "aut"));
    ck_assert(!hotplug_key_was_verified(a.hotplug, info, "sig"));
    token_info_put(info);
    token_unref(t);
}
END_TEST

START_TEST(watchers_hear_of_changes)
{
    struct pollfd p = {.events = POLLIN};

    ck_assert_uint_eq(hotplug_watch(a.hotplug, &p.fd), 0);
    ck_assert_int_eq(poll(&p, 1, 0), 0);
    event("READER name=A%20Reader present=1 events=1\n");
    ck_assert_int_eq(poll(&p, 1, 20000), 1);
    until(entry_is("card-A", "ready"));
    hotplug_unwatch(a.hotplug, p.fd);
}
END_TEST

START_TEST(software_comes_back)
{
    struct token *t = hotplug_software(a.hotplug), *again = NULL;
    struct key_constraints c = {0};
    gcry_sexp_t sexp;
    struct buf b = BUF_INIT;
    struct key *k;
    struct orphan replaced;
    struct holder h;

    ck_assert_uint_eq(b64_decode(key_pub(), strlen(key_pub()), &b), 0);
    ck_assert_uint_eq(gcry_sexp_new(&sexp, b.data, b.len, 0), 0);
    ck_assert_uint_eq(key_from_sexp(sexp, false, &k), 0);
    h = (struct holder){.token = t, .id = (char *)(uintptr_t) "id"};
    ck_assert_uint_eq(keyring_add(a.keyring, &h, k, "c", &c, 0, &replaced), 0);
    ck_assert_uint_eq(keys(), 1);
    token_fail(t);
    until(keys() == 0);
    until((again = hotplug_software(a.hotplug)) != NULL && again != t);
    ck_assert(!token_gone(again));
    token_unref(again);
    token_unref(t);
    key_unref(k);
    gcry_sexp_release(sexp);
    buf_free(&b);
}
END_TEST

/* --- providers ------------------------------------------------------------------------------------------ */

static struct key *some_key(void)
{
    struct buf b = BUF_INIT;
    gcry_sexp_t sexp;
    struct key *k;

    ck_assert_uint_eq(b64_decode(key_pub(), strlen(key_pub()), &b), 0);
    ck_assert_uint_eq(gcry_sexp_new(&sexp, b.data, b.len, 0), 0);
    ck_assert_uint_eq(key_from_sexp(sexp, false, &k), 0);
    gcry_sexp_release(sexp);
    buf_free(&b);
    return k;
}

static gpg_error_t serve(struct token *t)
{
    const struct holder h = {.id = (char *)(uintptr_t) "k"};
    struct key_constraints c = {0};
    struct key *k = some_key();
    const struct provided_key key = {.key = k, .holder = &h, .comment = "c"};
    gpg_error_t err = hotplug_provider_serve(a.hotplug, t, &key, 1, &c, 0);

    key_unref(k);
    return err;
}

static struct token *start_provider(const char *path)
{
    struct token *t = NULL;

    ck_assert_uint_eq(hotplug_provider_start(a.hotplug, path, &t), 0);
    ck_assert_uint_eq(token_learn(t, LEARN_ALL), 0);
    return t;
}

START_TEST(a_provider_is_served)
{
    struct token *t = start_provider("/m.so"), *same, *other = NULL;

    ck_assert(entry_is("pkcs11-1", "starting"));
    ck_assert_uint_eq(gpg_err_code(hotplug_provider_start(a.hotplug, "/m.so", &other)),
                      GPG_ERR_EEXIST);
    hotplug_providers_reap(a.hotplug); /* not while it is being added */
    ck_assert_uint_eq(serve(t), 0);
    ck_assert(entry_is("pkcs11-1", "ready"));
    ck_assert_uint_eq(keys(), 1);
    ck_assert_uint_eq(gpg_err_code(hotplug_provider_start(a.hotplug, "/m.so", &other)),
                      GPG_ERR_EEXIST);
    same = hotplug_provider(a.hotplug, "/m.so");
    ck_assert_ptr_eq(same, t);
    token_unref(same);
    ck_assert_ptr_null(hotplug_provider(a.hotplug, "/n.so"));
    hotplug_providers_reap(a.hotplug);
    ck_assert(!token_gone(t));
    hotplug_provider_end(a.hotplug, t);
    ck_assert(token_gone(t));
    ck_assert_uint_eq(keys(), 0);
    ck_assert(!entry_is("pkcs11-1", ""));
    token_unref(t);
}
END_TEST

START_TEST(a_provider_without_keys_ends)
{
    struct token *t = start_provider("/m.so"), *twin = start_provider("/n.so");
    struct key *k = some_key();
    struct orphan gone;

    ck_assert_uint_eq(serve(t), 0);
    ck_assert_uint_eq(gpg_err_code(serve(twin)), GPG_ERR_EEXIST); /* the same key: nothing new */
    hotplug_provider_end(a.hotplug, twin);
    ck_assert_uint_eq(keys(), 1);
    ck_assert_uint_eq(keyring_remove(a.keyring, rd_of(k->blob, k->blob_len), &gone), 0);
    ck_assert_ptr_null(gone.id);
    hotplug_providers_reap(a.hotplug);
    ck_assert(token_gone(t));
    key_unref(k);
    token_unref(t);
    token_unref(twin);
}
END_TEST

START_TEST(all_added_keys_go)
{
    struct token *t = start_provider("/m.so"), *starting = start_provider("/n.so");

    ck_assert_uint_eq(serve(t), 0);
    hotplug_remove_added(a.hotplug);
    ck_assert_uint_eq(keys(), 0);
    ck_assert(token_gone(t) && token_gone(starting));
    /* Removed while it was being added: it stays away. */
    ck_assert_uint_eq(gpg_err_code(serve(starting)), GPG_ERR_CANCELED);
    hotplug_provider_end(a.hotplug, starting);
    ck_assert_uint_eq(keys(), 0);
    token_unref(t);
    token_unref(starting);
}
END_TEST

START_TEST(a_provider_that_dies_keeps_its_keys)
{
    struct token *t = start_provider("/m.so"), *fresh, *third;
    const struct token_info *info;

    ck_assert_uint_eq(serve(t), 0);
    ck_assert_uint_eq(hotplug_provider_revive(a.hotplug, t), 0); /* it lives: nothing to do */
    token_fail(t);
    until(entry_is("pkcs11-1", "lost"));
    ck_assert_uint_eq(keys(), 1);
    hotplug_providers_reap(a.hotplug);
    ck_assert_uint_eq(keys(), 1);
    until(hotplug_provider_revive(a.hotplug, t) == 0);
    fresh = hotplug_provider(a.hotplug, "/m.so");
    ck_assert(fresh != t && !token_gone(fresh));
    ck_assert(entry_is("pkcs11-1", "ready"));
    ck_assert_uint_eq(keys(), 1);
    /* What it is, is known before it was asked. */
    info = token_info_get(fresh);
    ck_assert_str_eq(info->serial, "1");
    token_info_put(info);
    ck_assert(keyring_rests_on(a.keyring, fresh));
    /* Who still has the old one in hand does no harm. */
    ck_assert_uint_eq(hotplug_provider_revive(a.hotplug, t), 0);
    /* Not so soon again. */
    token_fail(fresh);
    pthread_mutex_lock(&a.hotplug->mutex);
    provider_of(a.hotplug, fresh)->started_ms = monotonic_ms() + 60000;
    pthread_mutex_unlock(&a.hotplug->mutex);
    ck_assert_uint_eq(gpg_err_code(hotplug_provider_revive(a.hotplug, fresh)), GPG_ERR_ENODEV);
    /* Added anew it takes the dead one's place. */
    third = start_provider("/m.so");
    ck_assert_uint_eq(serve(third), 0);
    ck_assert_uint_eq(keys(), 1);
    ck_assert(keyring_rests_on(a.keyring, third) && !keyring_rests_on(a.keyring, fresh));
    token_unref(t);
    token_unref(fresh);
    token_unref(third);
}
END_TEST

/* What is visible of a card is the last thing but one that the loop does about it: another card's turn comes after that. */
static void loop_is_done(void)
{
    event("READER name=Z%20Reader present=1 events=1\n");
    until(entry_is("card-Z", "ready"));
}

/* The kernel's word, as the loop would get it. */
START_TEST(the_kernel_removes_the_device)
{
    event("READER name=A%20Reader present=1 events=1 bus=1 dev=250\n");
    until(entry_is("card-A", "ready"));
    loop_is_done();
    /* Handed over as an event of the loop's own thread would be: nothing else runs now. */
    slots_usb_removed(a.hotplug, 1, 251);
    ck_assert(!lock_is_locked(a.lock));
    event("SERVICE up=0\n");
    until(entry_is("card-A", "lost"));
    ck_assert(!lock_is_locked(a.lock));
    slots_usb_removed(a.hotplug, 1, 250);
    ck_assert(lock_is_locked(a.lock));
    ck_assert(entry_is("card-A", "pulled"));
}
END_TEST

static bool listed(const char *name)
{
    struct hotplug_entry *e;
    bool found = false;
    size_t n = 0;

    e = hotplug_entries(a.hotplug, &n);
    for (size_t i = 0; i < n; i++)
        found |= strcmp(e[i].name, name) == 0;
    hotplug_entries_free(e, n);
    return found;
}

/* What udev would have told. */
START_TEST(a_fido_token_that_served_locks)
{
    unsigned before;

    fido_node_added(a.hotplug, "/dev/hidraw250", 1, 240);
    ck_assert(entry_is("fido-hidraw250", "ready"));
    fido_node_removed(a.hotplug, "/dev/hidraw250");
    slots_usb_removed(a.hotplug, 1, 240);
    ck_assert(!listed("fido-hidraw250"));
    ck_assert(!lock_is_locked(a.lock)); /* it was of no use to anybody */
    fido_node_added(a.hotplug, "/dev/hidraw250", 1, 241);
    hotplug_note_device(a.hotplug, "/dev/hidraw251");
    hotplug_note_device(a.hotplug, "/dev/hidraw250");
    /* Another driver takes the interface: lost, not pulled. */
    fido_node_removed(a.hotplug, "/dev/hidraw250");
    ck_assert(entry_is("fido-hidraw250", "lost"));
    ck_assert(!lock_is_locked(a.lock));
    before = lock_count(a.lock);
    fido_usb_removed(a.hotplug, 1, 241);
    slots_usb_removed(a.hotplug, 1, 241);
    ck_assert(lock_is_locked(a.lock));
    ck_assert(entry_is("fido-hidraw250", "pulled"));
    ck_assert_uint_eq(lock_count(a.lock), before + 1);
}
END_TEST

/* A card reader and a FIDO interface in one stick are one token. */
START_TEST(one_stick_with_two_interfaces)
{
    unsigned before;

    event("READER name=A%20Reader present=1 events=1 bus=1 dev=250\n");
    until(entry_is("card-A", "ready"));
    loop_is_done();
    fido_node_added(a.hotplug, "/dev/hidraw250", 1, 250);
    fido_node_added(a.hotplug, "/dev/hidraw251", 1, 249);
    ck_assert(!listed("fido-hidraw250"));
    ck_assert(listed("fido-hidraw251"));
    hotplug_note_device(a.hotplug, "/dev/hidraw250");
    before = lock_count(a.lock);
    fido_usb_removed(a.hotplug, 1, 250);
    slots_usb_removed(a.hotplug, 1, 250);
    ck_assert(lock_is_locked(a.lock));
    ck_assert_uint_eq(lock_count(a.lock), before + 1);
    ck_assert(entry_is("card-A", "pulled"));
    ck_assert(entry_is("fido-hidraw251", "ready"));
}
END_TEST

START_TEST(descriptors)
{
    /* of a YubiKey's FIDO and keyboard interfaces */
    static const uint8_t fido[] = {0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01, 0x09, 0x20,
                                   0x15, 0x00, 0x26, 0xff, 0x00, 0x75, 0x08, 0x95, 0x40,
                                   0x81, 0x02, 0x09, 0x21, 0x91, 0x02, 0xc0};
    static const uint8_t keyboard[] = {0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, 0x05, 0x07, 0x19, 0xe0};
    /* the page stands in data, in a long item; then as a page of four octets */
    static const uint8_t data[] = {0x26, 0xd0, 0xf1, 0xfe, 0x03, 0x00, 0x06, 0xd0, 0xf1};
    static const uint8_t wide[] = {0x07, 0xd0, 0xf1, 0x00, 0x00};

    ck_assert(fido_descriptor(rd_of(fido, sizeof fido)));
    ck_assert(!fido_descriptor(rd_of(keyboard, sizeof keyboard)));
    ck_assert(!fido_descriptor(rd_of(data, sizeof data)));
    ck_assert(fido_descriptor(rd_of(wide, sizeof wide)));
    ck_assert(!fido_descriptor(rd_of(NULL, 0)));
    for (size_t n = 0; n < 3; n++)
        ck_assert(!fido_descriptor(rd_of(fido, n)));
}
END_TEST

/* From here on this thread is the loop. */
static void take_over(void)
{
    uint64_t one = 1;

    pthread_mutex_lock(&a.hotplug->mutex);
    a.hotplug->stop = true;
    pthread_mutex_unlock(&a.hotplug->mutex);
    ck_assert_int_eq(write(a.hotplug->wake_fd, &one, sizeof one), sizeof one);
    pthread_join(a.hotplug->loop, NULL);
    a.hotplug->loop_runs = false;
}

/* What the loop does once something has happened. */
static void turn(void)
{
    struct event *e;

    pthread_mutex_lock(&a.hotplug->mutex);
    e = STAILQ_FIRST(&a.hotplug->events);
    if (e != NULL)
        STAILQ_REMOVE_HEAD(&a.hotplug->events, link);
    pthread_mutex_unlock(&a.hotplug->mutex);
    if (e != NULL && e->kind == EVENT_LEARNT)
        slots_learnt(a.hotplug, e->token, e->err);
    else if (e != NULL)
        slots_eof(a.hotplug, e->token);
    if (e != NULL)
        token_unref(e->token);
    gpgrt_free(e);
    (void)slots_restart_due(a.hotplug);
}

/* Where it hangs is what it is known by: it comes back as another device. */
START_TEST(an_application_is_changed)
{
    take_over();
    slots_wallet_in(a.hotplug, "changing", "A node", 1, 250, "usb1/1-2");
    until((turn(), entry_is("card-A", "ready")));
    slots_usb_removed(a.hotplug, 1, 250);
    turn();
    ck_assert(entry_is("card-A", "ready"));
    slots_wallet_in(a.hotplug, "changing", "B node", 1, 251, "usb1/1-2");
    until((turn(), entry_is("card-B", "ready")));
    ck_assert(!entry_is("card-A", ""));
    /* The same node's name once more, and told twice. */
    slots_usb_removed(a.hotplug, 1, 251);
    slots_wallet_in(a.hotplug, "changing", "B node", 1, 252, "usb1/1-2");
    slots_wallet_in(a.hotplug, "changing", "B node", 1, 252, "usb1/1-2");
    until((turn(), entry_is("card-B", "ready")));
    /* Another one elsewhere is no return. */
    slots_usb_removed(a.hotplug, 1, 252);
    slots_wallet_in(a.hotplug, "changing", "C node", 1, 253, "usb1/1-3");
    until((turn(), entry_is("card-C", "ready")));
    until((turn(), lock_is_locked(a.lock)));
    ck_assert(entry_is("card-B", "pulled"));
    ck_assert(entry_is("card-C", "ready"));
}
END_TEST

static void *request(void *arg)
{
    struct token_job j = {.verb = TOKEN_VERIFY, .pin_age = -1};
    struct wait w;

    ck_assert_uint_eq(wait_begin(a.waits, &w, -1, 60), 0);
    ck_assert_uint_ne(token_run(arg, &w, &j), 0);
    wait_end(&w);
    buf_free(&j.result);
    buf_free(&j.lines);
    return NULL;
}

/* In the middle of a request its process goes on: it looks for it itself. */
START_TEST(an_application_is_opened_for_a_request)
{
    pthread_t thread;
    struct token *t;

    take_over();
    slots_wallet_in(a.hotplug, "changing", "A node", 1, 250, "usb1/1-2");
    until((turn(), entry_is("card-A", "ready")));
    t = token_ref(TAILQ_FIRST(&a.hotplug->slots)->token);
    ck_assert_int_eq(pthread_create(&thread, NULL, request, t), 0);
    until(token_load(t, NULL, NULL) > 0);
    slots_usb_removed(a.hotplug, 1, 250);
    slots_wallet_in(a.hotplug, "changing", "B node", 1, 251, "usb1/1-2");
    turn();
    ck_assert(entry_is("card-A", "ready") && !lock_is_locked(a.lock));
    ck_assert(!token_gone(t));
    /* Now it is pulled, and the process gives up. */
    slots_usb_removed(a.hotplug, 1, 251);
    close(open(once, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    pthread_join(thread, NULL);
    until((turn(), lock_is_locked(a.lock)));
    ck_assert(entry_is("card-A", "pulled"));
    token_unref(t);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *s;
    TCase *tc;
    SRunner *sr;
    int failed;

    signal(SIGPIPE, SIG_IGN);
    if (argc > 1 && strcmp(argv[1], "watch-pcsc") == 0)
        return fake_watcher();
    if (argc > 2)
        return fake_token(argc, argv);
    gcry_check_version(NULL);
    gcry_control(GCRYCTL_INIT_SECMEM, 262144, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    s = suite_create("agent/hotplug");
    tc = tcase_create("hotplug");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, software_is_there_from_the_start);
    tcase_add_test(tc, a_card_is_pulled);
    tcase_add_test(tc, only_the_token_when_so_set);
    tcase_add_test(tc, a_swap_is_a_pull);
    tcase_add_test(tc, what_was_of_no_use_does_not_lock);
    tcase_add_test(tc, an_implant_that_leaves_is_lost);
    tcase_add_test(tc, pcscd_going_is_no_pull);
    tcase_add_test(tc, a_crash_is_lost_and_started_anew);
    tcase_add_test(tc, the_watcher_dies);
    tcase_add_test(tc, a_reader_that_goes_with_its_card_was_unplugged);
    tcase_add_test(tc, the_command_gets_the_name);
    tcase_add_test(tc, who_showed_a_proof_is_remembered);
    tcase_add_test(tc, a_namesake_is_not_taken_for_it);
    tcase_add_test(tc, the_rest_is_read_when_it_is_wanted);
    tcase_add_test(tc, the_rest_is_read_in_idle_time);
    tcase_add_test(tc, the_rest_fails);
    tcase_add_test(tc, the_rest_of_a_proven_token_is_known);
    tcase_add_test(tc, watchers_hear_of_changes);
    tcase_add_test(tc, software_comes_back);
    tcase_add_test(tc, a_provider_is_served);
    tcase_add_test(tc, a_provider_without_keys_ends);
    tcase_add_test(tc, all_added_keys_go);
    tcase_add_test(tc, a_provider_that_dies_keeps_its_keys);
    tcase_add_test(tc, the_kernel_removes_the_device);
    tcase_add_test(tc, a_fido_token_that_served_locks);
    tcase_add_test(tc, one_stick_with_two_interfaces);
    tcase_add_test(tc, descriptors);
    tcase_add_test(tc, an_application_is_changed);
    tcase_add_test(tc, an_application_is_opened_for_a_request);
    suite_add_tcase(s, tc);
    sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
