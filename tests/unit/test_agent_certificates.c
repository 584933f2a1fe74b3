/* Certificate files as text and as files; certificates beside the keys of the keyring. Tokens are this
 * program itself, started anew; its second argument is the key that it holds. */
#include "agent/keyring.h"
#include "agent/wait.h"
#include "proto/token_protocol.h"
#include "tests/unit/proto_util.h"

#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* --- the token process ---------------------------------------------------------------------------- */

static void say(const char *text)
{
    if (write(TOKEN_FIRST_FD, text, strlen(text)) != (ssize_t)strlen(text))
        _exit(3);
}

static int fake_token(const char *pub)
{
    FILE *in = fdopen(TOKEN_FIRST_FD, "r");
    char line[1024], text[4096];

    say("OK\n");
    while (fgets(line, sizeof line, in) != NULL && strncmp(line, "LEARN", 5) != 0)
        say("OK\n");
    snprintf(
        text, sizeof text,
        "S TOKEN kind=openpgp name=openpgp-1 label=Card\nS KEY id=sig pub=%s caps=s family=gpg\n"
        "S KEY id=aut pub=%s caps=sa family=ssh created=1700000000 "
        "fpr=00112233445566778899AABBCCDDEEFF00112233\nOK\n",
        pub, pub);
    say(text);
    while (fgets(line, sizeof line, in) != NULL)
        say("OK\n");
    return 0;
}

/* --- fixtures -------------------------------------------------------------------------------------- */

static struct pair ca, mine, other;
static struct keyring *ring;
static struct token *token;
static char dir[] = "/tmp/lkcertXXXXXX";

static struct token *start_token(const struct pair *p)
{
    char canon[2048], *text;
    size_t n = gcry_sexp_sprint(p->pub->sexp, GCRYSEXP_FMT_CANON, canon, sizeof canon);
    struct token_spec spec = {.program = "/proc/self/exe", .kind = "pcsc", .nchannels = 1};
    struct token *t;

    text = b64_encode(canon, n);
    spec.arg = text;
    ck_ok(token_start(&spec, NULL, NULL, &t));
    ck_ok(token_learn(t, false));
    gpgrt_free(text);
    return t;
}

static void setup(void)
{
    ca = pair_new(GEN_ED25519);
    mine = pair_new(GEN_ED25519);
    other = pair_new(GEN_P256);
    ck_ok(keyring_new(&ring));
    token = start_token(&mine);
    ck_ok(keyring_set_token(ring, token));
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void)
{
    char command[64];

    keyring_free(ring);
    token_stop(token);
    token_unref(token);
    pair_free(&ca);
    pair_free(&mine);
    pair_free(&other);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

/* "type base64 comment\n" of a certificate for SUBJECT. */
static char *make_text(const struct pair *subject, struct cert_spec spec)
{
    struct buf b = BUF_INIT, text = BUF_INIT;
    struct rd r, type;
    char *b64;

    if (spec.type == 0)
        spec.type = CERT_USER;
    if (spec.before == 0)
        spec.before = UINT64_MAX;
    cert_make(subject->pub, &ca, &spec, &b);
    r = buf_rd(&b);
    ck_ok(rd_string(&r, &type));
    b64 = b64_encode(b.data, b.len);
    buf_printf(&text, "%.*s %s comment\n", (int)type.n, (const char *)type.p, b64);
    gpgrt_free(b64);
    buf_free(&b);
    return buf_steal_cstr(&text);
}

static void put_file(const char *name, const char *text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    ck_assert(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
    ck_assert_int_eq(chmod(path, 0644), 0);
}

static void put_cert(const char *name, const struct pair *subject, struct cert_spec spec)
{
    char *text = make_text(subject, spec);

    put_file(name, text);
    gpgrt_free(text);
}

static struct certificate_set *read_all(const struct certificate_set *old)
{
    char pattern[64], *patterns[] = {pattern, NULL};
    struct certificate_set *s = NULL;

    snprintf(pattern, sizeof pattern, "%s/*-cert.pub", dir);
    ck_ok(certificate_set_read(patterns, geteuid(), old, &s));
    return s;
}

static const struct keyring_snapshot *get_with(struct certificate_set *set)
{
    ck_ok(keyring_set_certificates(ring, set));
    return keyring_get(ring);
}

/* --- text ------------------------------------------------------------------------------------------ */

static gpg_error_t parse(const char *text, const char **problem)
{
    struct key *k = NULL;
    gpg_error_t err = certificate_parse(rd_str(text), &k, problem);

    ck_assert((err == 0) == (k != NULL) && (err == 0) == (*problem == NULL));
    key_unref(k);
    return err;
}

START_TEST(texts)
{
    static const char *const empty[] = {"", "\n", " \t\r\n\n", "# x\n #y", "#"};
    char *good = make_text(&mine, (struct cert_spec){0}), *host, *backwards, *all;
    const char *problem;

    ck_ok(parse(good, &problem));
    all = gpgrt_bsprintf("\r\n# words\n  %sgarbage", good);
    ck_ok(parse(all, &problem));
    gpgrt_free(all);
    good[strlen(good) - 1] = '\0'; /* no line end at the end */
    ck_ok(parse(good, &problem));
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        ck_code(parse(empty[i], &problem), GPG_ERR_NO_DATA);
        ck_assert_str_eq(problem, "the file is empty");
    }
    ck_code(certificate_parse(rd_of(good, strlen(good) + 1), &(struct key *){NULL}, &problem),
            GPG_ERR_BAD_DATA);
    ck_assert_str_eq(problem, "this is no text file");
    host = make_text(&mine, (struct cert_spec){.type = CERT_HOST});
    ck_code(parse(host, &problem), GPG_ERR_BAD_CERT);
    ck_assert_str_eq(problem, "this is a host's certificate");
    backwards = make_text(&mine, (struct cert_spec){.after = 9, .before = 9});
    ck_code(parse(backwards, &problem), GPG_ERR_BAD_CERT);
    gpgrt_free(good);
    gpgrt_free(host);
    gpgrt_free(backwards);
}
END_TEST

/* Whichever octet of the blob is another one, it is not taken. */
START_TEST(every_octet_is_signed)
{
    struct buf b = BUF_INIT;
    const char *problem;

    cert_make(mine.pub, &ca, &(struct cert_spec){.type = CERT_USER, .before = UINT64_MAX}, &b);
    for (size_t i = 0; i < b.len; i++) {
        char *b64, *line;

        b.data[i] ^= 0x10;
        b64 = b64_encode(b.data, b.len);
        line = gpgrt_bsprintf("ssh-ed25519-cert-v01@openssh.com %s", b64);
        ck_assert_msg(parse(line, &problem) != 0, "octet %zu", i);
        b.data[i] ^= 0x10;
        gpgrt_free(b64);
        gpgrt_free(line);
    }
    buf_free(&b);
}
END_TEST

/* --- files ----------------------------------------------------------------------------------------- */

START_TEST(files)
{
    struct certificate_set *one, *two;
    char path[64];

    put_cert("a-cert.pub", &mine, (struct cert_spec){0});
    put_file("b-cert.pub", "garbage");
    put_cert("c.pub", &mine, (struct cert_spec){0}); /* not by the pattern */
    one = read_all(NULL);
    ck_assert_uint_eq(one->n, 2);
    ck_assert(one->certs[0]->key != NULL && one->certs[0]->problem == NULL);
    ck_assert(one->certs[1]->key == NULL && one->certs[1]->problem != NULL && !one->more);
    two = read_all(one);
    ck_assert_ptr_eq(two->certs[0], one->certs[0]); /* not parsed again */
    certificate_set_unref(two);
    /* Same text, other mode: no longer to be trusted; and back. */
    snprintf(path, sizeof path, "%s/a-cert.pub", dir);
    ck_assert_int_eq(chmod(path, 0664), 0);
    two = read_all(one);
    ck_assert_ptr_null(two->certs[0]->key);
    ck_assert_ptr_nonnull(strstr(two->certs[0]->problem, "chmod go-w"));
    certificate_set_unref(one);
    ck_assert_int_eq(chmod(path, 0644), 0);
    one = read_all(two);
    ck_assert_ptr_nonnull(one->certs[0]->key);
    certificate_set_unref(one);
    certificate_set_unref(two);
}
END_TEST

START_TEST(too_many_files)
{
    char *text = make_text(&mine, (struct cert_spec){0}), name[32];
    struct certificate_set *s;

    for (int i = 0; i < 258; i++) {
        snprintf(name, sizeof name, "%03d-cert.pub", i);
        put_file(name, text);
    }
    gpgrt_free(text);
    s = read_all(NULL);
    ck_assert_uint_eq(s->n, 256);
    ck_assert(s->more);
    certificate_set_unref(s);
}
END_TEST

/* --- the keyring ----------------------------------------------------------------------------------- */

static struct identity *cert_of(const struct keyring_snapshot *s, size_t i)
{
    ck_assert(s->n > i && s->ids[i]->from_file && s->ids[i]->key->cert != NULL);
    return s->ids[i];
}

START_TEST(behind_its_key)
{
    struct certificate_set *set;
    const struct keyring_snapshot *s;
    const struct identity *plain, *cert;

    put_cert("a-cert.pub", &other, (struct cert_spec){0}); /* nobody's */
    put_cert("b-cert.pub", &mine, (struct cert_spec){0});
    put_cert("c-cert.pub", &mine, (struct cert_spec){.after = 1});
    set = read_all(NULL);
    s = get_with(set);
    ck_assert_uint_eq(s->n, 4); /* the gpg key, the ssh key, two certificates */
    ck_assert_int_eq(s->ids[0]->family, FAMILY_GPG);
    ck_assert_uint_eq(s->ids[0]->ncerts, 0);
    plain = s->ids[1];
    ck_assert(plain->key->cert == NULL && !plain->from_file && plain->ncerts == 2);
    for (size_t i = 0; i < 2; i++) {
        cert = cert_of(s, 2 + i);
        ck_assert_ptr_eq(cert->certs[0], set->certs[1 + i]);
        ck_assert_ptr_eq(plain->certs[i], set->certs[1 + i]);
        ck_assert_str_eq(cert->comment, plain->comment);
        ck_assert_int_eq(cert->family, FAMILY_SSH);
        ck_assert(cert->can_auth && cert->can_sign && !cert->added && cert->has_openpgp);
        ck_assert_mem_eq(cert->openpgp_fpr, plain->openpgp_fpr, 20);
        ck_assert(cert->nholders == 1 && cert->holders[0].token == token);
        ck_assert_str_eq(cert->holders[0].id, "aut");
        ck_assert_ptr_eq(keyring_find_blob(s, rd_of(cert->key->blob, cert->key->blob_len)), cert);
    }
    ck_assert_ptr_eq(keyring_find_blob(s, rd_of(plain->key->blob, plain->key->blob_len)), plain);
    keyring_put(s);
    certificate_set_unref(set);
    keyring_remove_token(ring, token);
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 0);
    keyring_put(s);
}
END_TEST

START_TEST(unlisted_ones_sign_by_the_plain_key)
{
    struct buf b = BUF_INIT;
    const struct keyring_snapshot *s = keyring_get(ring);

    cert_make(mine.pub, &ca, &(struct cert_spec){.type = CERT_USER, .before = 1}, &b);
    ck_assert_ptr_eq(keyring_find_blob(s, buf_rd(&b)), s->ids[1]);
    buf_reset(&b);
    cert_make(other.pub, &ca, &(struct cert_spec){.type = CERT_USER, .before = 1}, &b);
    ck_assert_ptr_null(keyring_find_blob(s, buf_rd(&b)));
    buf_free(&b);
    keyring_put(s);
}
END_TEST

START_TEST(dates)
{
    uint64_t now = (uint64_t)time(NULL), turn = now + 2;
    struct certificate_set *set;
    const struct keyring_snapshot *s;

    put_cert("a-cert.pub", &mine, (struct cert_spec){.before = now - 5});
    put_cert("b-cert.pub", &mine, (struct cert_spec){.before = turn});
    put_cert("c-cert.pub", &mine, (struct cert_spec){.after = turn});
    put_cert("d-cert.pub", &mine, (struct cert_spec){.after = now + 5000});
    set = read_all(NULL);
    ck_assert_str_eq(certificate_out_of_date(set->certs[0], now), "expired");
    ck_assert_ptr_null(certificate_out_of_date(set->certs[1], turn - 1));
    ck_assert_str_eq(certificate_out_of_date(set->certs[1], turn), "expired");
    ck_assert_str_eq(certificate_out_of_date(set->certs[2], turn - 1), "not yet valid");
    ck_assert_ptr_null(certificate_out_of_date(set->certs[2], turn));
    s = get_with(set);
    ck_assert_uint_eq(s->ids[1]->ncerts, 4);
    ck_assert_uint_eq(s->n, 3);
    if ((uint64_t)time(NULL) < turn)
        ck_assert_ptr_eq(cert_of(s, 2)->certs[0], set->certs[1]);
    keyring_put(s);
    /* Nobody tells the keyring; the next list is right all the same. */
    while ((uint64_t)time(NULL) < turn)
        poll(NULL, 0, 10);
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 3);
    ck_assert_ptr_eq(cert_of(s, 2)->certs[0], set->certs[2]);
    keyring_put(s);
    certificate_set_unref(set);
}
END_TEST

START_TEST(bound_by_what_binds_the_key)
{
    struct token *soft = start_token(&other);
    struct key_constraints c = {.confirm = true};
    struct certificate_set *set;
    const struct keyring_snapshot *s;
    struct orphan gone;

    put_cert("a-cert.pub", &mine, (struct cert_spec){0});
    set = read_all(NULL);
    /* The person added a copy of the card's key, to be confirmed: a certificate is no way round it. */
    ck_ok(keyring_add(ring, &(struct holder){.token = soft, .id = (char[]){"copy"}}, mine.pub,
                      "copy", &c, 0, &gone));
    ck_assert_ptr_null(gone.id);
    s = get_with(set);
    ck_assert_uint_eq(s->n, 3);
    ck_assert(cert_of(s, 2)->constraints.confirm && !s->ids[2]->added);
    ck_assert_uint_eq(s->ids[2]->nholders, 2);
    ck_ok(keyring_remove(ring, rd_of(mine.pub->blob, mine.pub->blob_len), &gone));
    orphan_clear(&gone);
    ck_assert(s->ids[2]->constraints.confirm); /* the old snapshot still has them */
    keyring_put(s);
    s = keyring_get(ring);
    ck_assert(s->n == 3 && !cert_of(s, 2)->constraints.confirm);
    keyring_put(s);
    certificate_set_unref(set);
    token_stop(soft);
    token_unref(soft);
}
END_TEST

START_TEST(not_beside_an_added_one)
{
    struct token *soft = start_token(&other);
    struct key_constraints c = {0};
    struct certificate_set *set;
    const struct keyring_snapshot *s;
    struct orphan gone;

    put_cert("a-cert.pub", &mine, (struct cert_spec){0});
    put_cert("b-cert.pub", &other, (struct cert_spec){0});
    set = read_all(NULL);
    ck_ok(keyring_add(ring, &(struct holder){.token = soft, .id = (char[]){"copy"}},
                      set->certs[0]->key, "", &c, 0, &gone));
    ck_assert_ptr_null(gone.id);
    ck_ok(keyring_add(ring, &(struct holder){.token = soft, .id = (char[]){"soft"}}, other.pub, "",
                      &c, 0, &gone));
    ck_assert_ptr_null(gone.id);
    s = get_with(set);
    ck_assert_uint_eq(s->n, 4); /* gpg, ssh, the added certificate, the software key alone */
    ck_assert(s->ids[2]->added && s->ids[2]->key->cert != NULL && !s->ids[2]->from_file);
    ck_assert_uint_eq(s->ids[1]->ncerts, 1);
    ck_assert(s->ids[3]->added && s->ids[3]->ncerts == 0);
    /* From a file it cannot be taken out. */
    keyring_put(s);
    ck_ok(
        keyring_remove(ring, rd_of(set->certs[0]->key->blob, set->certs[0]->key->blob_len), &gone));
    ck_assert_str_eq(gone.id, "copy");
    orphan_clear(&gone);
    ck_code(
        keyring_remove(ring, rd_of(set->certs[0]->key->blob, set->certs[0]->key->blob_len), &gone),
        GPG_ERR_NOT_SUPPORTED);
    s = keyring_get(ring);
    ck_assert_uint_eq(s->n, 4);
    ck_assert_ptr_eq(cert_of(s, 2)->certs[0], set->certs[0]);
    keyring_put(s);
    certificate_set_unref(set);
    token_stop(soft);
    token_unref(soft);
}
END_TEST

/* --- following changes ------------------------------------------------------------------------------ */

static void wait_n(size_t n)
{
    for (;;) {
        const struct keyring_snapshot *s = keyring_get(ring);
        bool there = s->n == n;

        keyring_put(s);
        if (there)
            return;
        poll(NULL, 0, 5); /* the test case's time-out ends this */
    }
}

START_TEST(watched)
{
    char pattern[64], path[64], *patterns[] = {pattern, NULL};
    struct certificates *c = NULL;
    struct certificate_set *set;

    snprintf(pattern, sizeof pattern, "%s/*-cert.pub", dir);
    snprintf(path, sizeof path, "%s/a-cert.pub", dir);
    put_cert("a-cert.pub", &mine, (struct cert_spec){0});
    ck_ok(certificates_start(ring, NULL, patterns, geteuid(), &c));
    wait_n(3);
    put_cert("b-cert.pub", &mine, (struct cert_spec){.after = 1});
    wait_n(4);
    ck_assert_int_eq(unlink(path), 0);
    wait_n(3);
    certificates_reload(c);
    /* What status tells follows the keyring. */
    while ((set = certificates_current(c))->n != 1) {
        certificate_set_unref(set);
        poll(NULL, 0, 5);
    }
    certificates_stop(c);
    ck_assert_ptr_nonnull(set->certs[0]->key);
    certificate_set_unref(set);
    certificates_stop(NULL);
}
END_TEST

static void tests(TCase *tc)
{
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, texts);
    tcase_add_test(tc, every_octet_is_signed);
    tcase_add_test(tc, files);
    tcase_add_test(tc, too_many_files);
    tcase_add_test(tc, behind_its_key);
    tcase_add_test(tc, unlisted_ones_sign_by_the_plain_key);
    tcase_add_test(tc, dates);
    tcase_add_test(tc, bound_by_what_binds_the_key);
    tcase_add_test(tc, not_beside_an_added_one);
    tcase_add_test(tc, watched);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc > 2)
        return fake_token(argv[2]);
    return run_suite("certificates", tests);
}
