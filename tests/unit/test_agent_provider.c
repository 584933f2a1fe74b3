/* ssh-add -s and -e in the broker: who may add what, what the policy says of the provider and of its keys. */
#include "tests/unit/fakes_broker.h"

#include "agent/provider_path.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *lines[3], dir[32], module[64];
static struct key *keys[2];

static void make_line(int i)
{
    gcry_sexp_t spec, pair, pub;
    char canon[512], *text;
    size_t n;

    ck_assert_uint_eq(gcry_sexp_build(&spec, NULL, "(genkey (ecc (curve Ed25519)(flags eddsa)))"),
                      0);
    ck_assert_uint_eq(gcry_pk_genkey(&pair, spec), 0);
    pub = gcry_sexp_find_token(pair, "public-key", 0);
    ck_assert_uint_eq(key_from_sexp(pub, false, &keys[i]), 0);
    n = gcry_sexp_sprint(pub, GCRYSEXP_FMT_CANON, canon, sizeof canon);
    text = b64_encode(canon, n);
    lines[i] = gpgrt_bsprintf(
        "id=%d pub=%s caps=sa family=ssh touch=unknown pin=once slow=1 comment=key%d", i, text, i);
    gpgrt_free(text);
    gcry_sexp_release(spec);
    gcry_sexp_release(pair);
    gcry_sexp_release(pub);
}

static void begin(const char *policy)
{
    world_new(policy, "pkcs11", TOKEN_TOUCH_UNKNOWN, TOKEN_PIN_ONCE);
    world.asks_pin = false;
    make_line(0);
    make_line(1);
    world.provider_keys = lines;
    strcpy(dir, "/tmp/latchkey-p11-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(module, sizeof module, "%s/module.so", dir);
    fclose(fopen(module, "w"));
    world.agent.provider_patterns = "/tmp/latchkey-p11-*/module.so,!*/bad*";
}

static void finish(void)
{
    for (int i = 0; i < 2; i++) {
        gpgrt_free(lines[i]);
        key_unref(keys[i]);
    }
    unlink(module);
    rmdir(dir);
    world_free();
}

static gpg_err_code_t add(struct key_constraints *c)
{
    struct key_constraints none = {0};
    gpg_error_t err;

    err = broker_add_provider(&world.agent, &world.origin, module, rd_of("1234", 4),
                              c != NULL ? c : &none);
    return gpg_err_code(err);
}

START_TEST(added_and_removed)
{
    struct key_constraints c = {.lifetime = 60, .confirm = true};

    begin("");
    ck_assert_int_eq(add(&c), 0);
    ck_assert_int_eq(world.job.verb, TOKEN_LOAD);
    ck_assert_uint_eq(world.provider.served, 2);
    ck_assert_uint_eq(world.provider.life_s, 60);
    ck_assert(world.provider.confirm && !world.provider.ended);
    ck_assert_str_eq(world_record("use"), "import");
    ck_assert_str_eq(world_record("key.comment"), module);
    ck_assert_uint_eq(world.confirms, 0);
    ck_assert_int_eq(add(NULL), GPG_ERR_EEXIST);
    ck_assert_uint_eq(broker_remove_provider(&world.agent, &world.origin, module), 0);
    ck_assert(world.provider.ended);
    ck_assert_str_eq(world_record("use"), "delete");
    ck_assert_int_eq(gpg_err_code(broker_remove_provider(&world.agent, &world.origin, module)),
                     GPG_ERR_NOT_FOUND);
    finish();
}
END_TEST

START_TEST(default_life)
{
    begin("");
    world.agent.default_life = 90;
    ck_assert_int_eq(add(NULL), 0);
    ck_assert_uint_eq(world.provider.life_s, 90);
    finish();
}
END_TEST

START_TEST(only_from_here)
{
    begin("");
    world.origin.bind_attempted = true; /* a failed one will do */
    ck_assert_int_eq(add(NULL), GPG_ERR_FORBIDDEN);
    ck_assert(!world.provider.started);
    world.agent.remote_providers = true;
    ck_assert_int_eq(add(NULL), 0);
    finish();
}
END_TEST

START_TEST(only_from_allowed_paths)
{
    begin("");
    world.agent.provider_patterns = NULL;
    ck_assert_int_eq(add(NULL), GPG_ERR_FORBIDDEN);
    ck_assert(!world.provider.started);
    unlink(module);
    ck_assert_int_eq(add(NULL), GPG_ERR_ENOENT);
    finish();
}
END_TEST

START_TEST(the_policy_denies_all)
{
    begin("Match use import token pkcs11\n Access deny\n");
    ck_assert_int_eq(add(NULL), GPG_ERR_FORBIDDEN);
    ck_assert_uint_eq(world.runs, 0); /* not even loaded */
    ck_assert(world.provider.ended);
    ck_assert_str_eq(world_record("verdict"), "refused");
    finish();
}
END_TEST

START_TEST(the_policy_denies_one)
{
    begin("Match use import key key1\n Access deny\n");
    ck_assert_int_eq(add(NULL), 0);
    ck_assert_uint_eq(world.provider.served, 1);
    finish();
}
END_TEST

START_TEST(more_is_demanded_for_one)
{
    begin("Match use import key key1\n Confirm yes\n");
    ck_assert_int_eq(add(NULL), 0);
    ck_assert_uint_eq(world.confirms, 1);
    ck_assert_uint_eq(world.provider.served, 2);
    world.provider_there = false;
    world.confirm = gpg_error(GPG_ERR_NOT_CONFIRMED);
    ck_assert_int_eq(add(NULL), 0);
    ck_assert_uint_eq(world.provider.served, 1);
    finish();
}
END_TEST

START_TEST(one_dialog_for_all)
{
    begin("Match use import\n Confirm yes\n");
    ck_assert_int_eq(add(NULL), 0);
    ck_assert_uint_eq(world.confirms, 1);
    ck_assert_ptr_nonnull(strstr(world.last_desc, "add a PKCS#11 provider"));
    ck_assert_ptr_nonnull(strstr(world.last_desc, module));
    finish();
}
END_TEST

START_TEST(a_failure_ends_the_process)
{
    begin("");
    world.token_error = gpg_error(GPG_ERR_BAD_PIN);
    ck_assert_int_eq(add(NULL), GPG_ERR_BAD_PIN);
    ck_assert(world.provider.ended);
    ck_assert_str_eq(world_record("reason"), "wrong PIN");
    world.token_error = 0;
    world.provider_error = gpg_error(GPG_ERR_EEXIST); /* all of its keys are there */
    world.provider.ended = false;
    ck_assert_int_eq(add(NULL), GPG_ERR_EEXIST);
    ck_assert(world.provider.ended);
    lines[0][0] = lines[1][0] = 'x'; /* no key that can be read */
    ck_assert_int_eq(add(NULL), GPG_ERR_NOT_FOUND);
    finish();
}
END_TEST

START_TEST(locked)
{
    begin("");
    world.locked = true;
    ck_assert_int_eq(add(NULL), GPG_ERR_LOCKED);
    ck_assert_uint_eq(world.runs, 0);
    world.locked = false;
    world.passphrase_locked = true;
    ck_assert_int_eq(add(NULL), GPG_ERR_LOCKED);
    finish();
}
END_TEST

/* A certificate for KEY, as far as anybody looks at it here. */
static struct key *cert_for(const struct key *key)
{
    struct rd plain = rd_of(key->plain, key->plain_len), type, pk;
    struct buf b = BUF_INIT, sig = BUF_INIT;
    uint8_t bytes[64] = {0};
    struct key *cert;

    ck_assert_uint_eq(rd_string(&plain, &type), 0);
    ck_assert_uint_eq(rd_string(&plain, &pk), 0);
    buf_put_cstring(&b, "ssh-ed25519-cert-v01@openssh.com");
    buf_put_string(&b, bytes, 32);
    buf_put_string(&b, pk.p, pk.n);
    buf_put_u64(&b, 1);
    buf_put_u32(&b, CERT_USER);
    buf_put_cstring(&b, "id");
    buf_put_cstring(&b, "");
    buf_put_u64(&b, 0);
    buf_put_u64(&b, UINT64_MAX);
    buf_put_cstring(&b, "");
    buf_put_cstring(&b, "");
    buf_put_cstring(&b, "");
    buf_put_string(&b, key->plain, key->plain_len);
    buf_put_cstring(&sig, "ssh-ed25519");
    buf_put_string(&sig, bytes, 64);
    buf_put_string(&b, sig.data, sig.len);
    ck_assert_uint_eq(key_from_blob(buf_rd(&b), &cert), 0);
    buf_free(&b);
    buf_free(&sig);
    return cert;
}

static gpg_err_code_t add_certs(bool only, const struct key *of)
{
    struct key_constraints c = {.certs_only = only, .ncerts = 1};
    gpg_err_code_t code;

    c.certs = gpgrt_calloc(1, sizeof *c.certs);
    c.certs[0] = cert_for(of);
    code = add(&c);
    constraints_free(&c);
    return code;
}

START_TEST(certificates)
{
    begin("");
    ck_assert_int_eq(add_certs(false, keys[1]), 0);
    ck_assert_uint_eq(world.provider.served, 3);
    ck_assert_uint_eq(world.provider.certs, 1);
    world.provider_there = false;
    world.provider.certs = 0;
    ck_assert_int_eq(add_certs(true, keys[1]), 0);
    ck_assert_uint_eq(world.provider.served, 1);
    ck_assert_uint_eq(world.provider.certs, 1);
    world.provider_there = false;
    ck_assert_int_eq(add_certs(true, world.host), GPG_ERR_NOT_FOUND);
    ck_assert(world.provider.ended);
    finish();
}
END_TEST

START_TEST(a_dead_process_is_started_anew)
{
    struct buf data = BUF_INIT;

    begin("");
    world.id.added = world.id.provided = true;
    world.dead = true;
    world_sshsig(&data, "git");
    ck_assert_uint_eq(world_sign(&data), 0);
    ck_assert_uint_eq(world.provider.revived, 1);
    ck_assert_uint_eq(world_sign(&data), 0);
    ck_assert_uint_eq(world.provider.revived, 1);
    buf_free(&data);
    finish();
}
END_TEST

/* Who would remove all at once what the policy keeps. */
START_TEST(removal_denied)
{
    begin("Match use delete\n Access deny\n");
    ck_assert_int_eq(add(NULL), 0);
    ck_assert_int_eq(gpg_err_code(broker_remove_provider(&world.agent, &world.origin, module)),
                     GPG_ERR_FORBIDDEN);
    finish();
    begin("Match use delete key key0\n Access deny\n");
    ck_assert_int_eq(add(NULL), 0);
    world.id.provided = world.id.added = true;
    world.id.comment = (char *)(uintptr_t) "key0";
    ck_assert_int_eq(gpg_err_code(broker_remove_provider(&world.agent, &world.origin, module)),
                     GPG_ERR_FORBIDDEN);
    ck_assert(!world.provider.ended);
    finish();
}
END_TEST

START_TEST(patterns)
{
    static const struct {
        const char *list, *path;
        bool allowed;
    } cases[] = {
        {NULL, "/usr/lib/x/y.so", true},
        {NULL, "/usr/lib64/y.so", true},
        {NULL, "/usr/local/lib/y.so", true},
        {NULL, "/usr/libexec", false},
        {NULL, "/usr/libexec/x", true}, /* as ssh-agent has it */
        {NULL, "/home/x/usr/lib/y.so", false},
        {NULL, "/tmp/y.so", false},
        {"*", "/anything", true},
        {"", "/anything", false},
        {"!/usr/lib/bad*,/usr/lib/*", "/usr/lib/bad.so", false},
        {"/usr/lib/*,!/usr/lib/bad*", "/usr/lib/bad.so", false},
        {"!/usr/lib/bad*", "/usr/lib/good.so", false},
        {"/opt/a b/*.so", "/opt/a b/c.so", true},
        {"/opt/a *", "/x", false}, /* a blank parts nothing */
        {"/x/?.so", "/x/a.so", true},
        {"/x/?.so", "/x/ab.so", false},
        {",,/x", "/x", true},
    };
    char longer[1200];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_msg(provider_allowed(cases[i].list, cases[i].path) == cases[i].allowed, "%s %s",
                      cases[i].list, cases[i].path);
    memset(longer, '*', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    ck_assert(!provider_allowed(longer, "/x"));
}
END_TEST

/* Judged by where it really is. */
START_TEST(links_and_dots)
{
    char link_path[80], dots[96], *path = NULL;

    begin("");
    snprintf(link_path, sizeof link_path, "%s/link.so", dir);
    snprintf(dots, sizeof dots, "%s/../%s/module.so", dir, strrchr(dir, '/') + 1);
    ck_assert_int_eq(symlink("/bin/sh", link_path), 0);
    ck_assert_uint_eq(gpg_err_code(provider_resolve("/tmp/*", link_path, &path)),
                      GPG_ERR_FORBIDDEN);
    unlink(link_path);
    ck_assert_int_eq(symlink(module, link_path), 0);
    ck_assert_uint_eq(provider_resolve("*/module.so", link_path, &path), 0);
    ck_assert_str_eq(path, module);
    gpgrt_free(path);
    ck_assert_uint_eq(provider_resolve("*/module.so", dots, &path), 0);
    ck_assert_str_eq(path, module);
    gpgrt_free(path);
    unlink(link_path);
    finish();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("agent/provider");
    TCase *t = tcase_create("provider");
    SRunner *r;
    int failed;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_ENABLE_QUICK_RANDOM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    tcase_add_test(t, added_and_removed);
    tcase_add_test(t, default_life);
    tcase_add_test(t, only_from_here);
    tcase_add_test(t, only_from_allowed_paths);
    tcase_add_test(t, the_policy_denies_all);
    tcase_add_test(t, the_policy_denies_one);
    tcase_add_test(t, more_is_demanded_for_one);
    tcase_add_test(t, one_dialog_for_all);
    tcase_add_test(t, a_failure_ends_the_process);
    tcase_add_test(t, locked);
    tcase_add_test(t, certificates);
    tcase_add_test(t, a_dead_process_is_started_anew);
    tcase_add_test(t, removal_denied);
    tcase_add_test(t, patterns);
    tcase_add_test(t, links_and_dots);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
