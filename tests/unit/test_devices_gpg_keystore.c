/* gpg's key store as a token: the driver's verbs over a home of stock agents' files, with a person who answers in order. */
#include "devices/gpg_disk.h"
#include "devices/gpg_manage.h"
#include "devices/gpg_transfer.h"
#include "devices/key_memory.h"
#include "proto/token_protocol.h"
#include "tests/unit/proto_util.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STORE "tests/vectors/gpg-keystore/"
#define PASS  "Gr\303\274\303\237e 42!"
#define ED    "5A0E107478791FD86A8541FC8A4A4231353A5C77"
#define RSA   "92373D24F033B8E324731871F860C70EF702BDB6"
#define P256  "BFA6FD097FDAAB195495F7812276C77658F0F427"
#define CV    "9A5FBE06DFE8092FEF3D42E67751A2003ABBB047"
#define STUB  "05A70618506C1F70C15211E821B862FA25C34009"
#define STUB2 "210380BC364063BC8CA4E8BC9A09DDC666D60B34"

static char home[] = "/tmp/latchkey-test-XXXXXX", folder[64];
static void *state;

/* --- a home ------------------------------------------------------------------------------------------------------------- */

static void write_file(const char *path, const void *p, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
    ck_assert_int_eq(write(fd, p, n), (ssize_t)n);
    close(fd);
}

static char *key_path(const char *grip)
{
    static char path[160];

    snprintf(path, sizeof path, "%s/%s.key", folder, grip);
    return path;
}

static void read_path(const char *path, struct buf *b)
{
    char chunk[4096];
    ssize_t n;
    int fd = open(path, O_RDONLY);

    ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
    while ((n = read(fd, chunk, sizeof chunk)) > 0)
        buf_put(b, chunk, (size_t)n);
    close(fd);
    ck_ok(buf_err(b));
}

static void put_vector(const char *name, const char *grip)
{
    char path[128];
    struct buf b = BUF_INIT_SECURE;

    snprintf(path, sizeof path, STORE "%s.key", name);
    read_path(path, &b);
    ck_assert(mkdir(folder, 0700) == 0 || errno == EEXIST);
    write_file(key_path(grip), b.data, b.len);
    buf_free(&b);
}

static void put_all(void)
{
    put_vector("v1-ocb-ed25519-gpg2.2.40", ED);
    put_vector("v2-cbc-rsa2048-canonical-gpg2.2.40", RSA);
    put_vector("v3-ocb-nistp256-gpg2.4.8", P256);
    put_vector("v4-ocb-cv25519-gpg2.4.8", CV);
    put_vector("x2-shadowed-rsa2048", STUB);
    put_vector("x3-shadowed-nistp256", STUB2);
}

static void remove_home(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf '%s'", home);
    ck_assert_int_eq(system(command), 0);
}

/* --- a person ------------------------------------------------------------------------------------------------------------ */

struct person {
    const char *answers[12]; /* to PASSPHRASE, in order; NULL: cancels */
    unsigned asked;
    char questions[12][160];
    struct buf wrapkey, wrapped, param, value, pub, secret;
    struct buf lines; /* status lines */
    bool canceled;
    pthread_barrier_t *wait; /* in the first question */
};

static gpg_error_t inquire(void *arg, const char *keyword, const char *fields, size_t max,
                           bool secret, struct buf *answer)
{
    struct person *p = arg;
    const struct {
        const char *keyword;
        const struct buf *b;
        bool secret;
    } data[] = {{"WRAPKEY", &p->wrapkey, true}, {"WRAPPED", &p->wrapped, false},
                {"PARAM", &p->param, false},    {"VALUE", &p->value, false},
                {"PUB", &p->pub, false},        {"SECRET", &p->secret, true}};

    for (size_t i = 0; i < sizeof data / sizeof data[0]; i++)
        if (strcmp(keyword, data[i].keyword) == 0) {
            ck_assert_int_eq(secret, data[i].secret);
            ck_assert_uint_le(data[i].b->len, max);
            buf_put_rd(answer, buf_rd(data[i].b));
            return buf_err(answer);
        }
    ck_assert_str_eq(keyword, "PASSPHRASE");
    ck_assert(secret && answer->secure);
    ck_assert_uint_lt(p->asked, 12);
    snprintf(p->questions[p->asked], sizeof p->questions[0], "%s", fields);
    if (p->wait != NULL && p->asked == 0)
        pthread_barrier_wait(p->wait);
    if (p->answers[p->asked++] == NULL)
        return gpg_error(GPG_ERR_CANCELED);
    buf_put(answer, p->answers[p->asked - 1], strlen(p->answers[p->asked - 1]));
    return buf_err(answer);
}

static gpg_error_t status(void *arg, const char *keyword, const char *fields)
{
    struct person *p = arg;

    if (strlen(fields) > 990)
        return gpg_error(GPG_ERR_TOO_LARGE);
    buf_printf(&p->lines, "%s %s\n", keyword, fields);
    return 0;
}

static bool canceled(void *arg)
{
    return ((struct person *)arg)->canceled;
}

static struct person me;
static struct driver_io io_for(struct person *p)
{
    return (struct driver_io){.inquire = inquire, .status = status, .canceled = canceled, .arg = p};
}

static void person_clear(struct person *p)
{
    struct buf *all[] = {&p->wrapkey, &p->wrapped, &p->param, &p->value,
                         &p->pub,     &p->secret,  &p->lines};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        buf_free(all[i]);
    memset(p, 0, sizeof *p);
}

static void setup(void)
{
    strcpy(home + strlen(home) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(home));
    snprintf(folder, sizeof folder, "%s/" GPG_FOLDER, home);
    ck_ok(driver_gpg.open(home, &state));
    memset(&me, 0, sizeof me);
}

static void teardown(void)
{
    driver_gpg.close(state);
    person_clear(&me);
    remove_home();
}

/* --- verbs ---------------------------------------------------------------------------------------------------------------- */

static char *learned(void)
{
    struct buf b = BUF_INIT;

    ck_ok(driver_gpg.learn(state, false, false, &b));
    return buf_steal_cstr(&b);
}

/* The line of LINES that begins with START; a new string. */
static char *line_of(const char *lines, const char *start)
{
    const char *at = lines;

    while (at != NULL && strncmp(at, start, strlen(start)) != 0) {
        at = strchr(at, '\n');
        at = at != NULL ? at + 1 : NULL;
    }
    return at != NULL ? gpgrt_bsprintf("%.*s", (int)strcspn(at, "\n"), at) : NULL;
}

static void ck_field(const char *line, const char *name, const char *want)
{
    char *got = NULL;

    ck_ok(field_get(line, name, &got));
    if (want == NULL)
        ck_assert_msg(got == NULL, "%s: %s=%s", line, name, got);
    else
        ck_assert_msg(got != NULL && strcmp(got, want) == 0, "%s: %s is not %s", line, name, want);
    gpgrt_free(got);
}

static struct driver_op last_op;

static gpg_error_t verb_as(struct person *p, const char *name, const char *key, long pin_age,
                           struct buf *result, const char *args)
{
    struct driver_io io = io_for(p);
    struct driver_op op = {.key_id = key, .args = args, .pin_age = pin_age, .io = &io};
    const struct driver_verb *v = driver_gpg.verbs;
    struct buf none = BUF_INIT_SECURE;
    gpg_error_t err;

    while (strcmp(v->name, name) != 0)
        v++;
    err = v->run(state, &op, result != NULL ? result : &none);
    buf_free(&none);
    last_op = op;
    return err;
}

static gpg_error_t verb(const char *name, const char *key, const char *args)
{
    return verb_as(&me, name, key, -1, NULL, args);
}

static gpg_error_t sign_as(struct person *p, const char *grip, long pin_age, const char *args,
                           int hash, struct rd digest, gcry_sexp_t *sig)
{
    struct driver_io io = io_for(p);
    struct driver_op op = {.key_id = grip,
                           .args = args,
                           .pin_age = pin_age,
                           .io = &io,
                           .input = {.hash = hash, .data = digest}};
    gcry_sexp_t own = NULL;
    gpg_error_t err = driver_gpg.sign(state, &op, sig != NULL ? sig : &own);

    gcry_sexp_release(own);
    if (p == &me)
        last_op = op;
    return err;
}

static const uint8_t digest[64] = "a digest of sixty-four octets, as SHA-512 would give it, or not";

static gpg_error_t sign(const char *grip, long pin_age, const char *args)
{
    return sign_as(&me, grip, pin_age, args, GCRY_MD_SHA512, rd_of(digest, 64), NULL);
}

static gcry_sexp_t public_of(const char *grip)
{
    struct buf pub = BUF_INIT;
    gcry_sexp_t s;

    ck_ok(verb_as(&me, "STORED", grip, -1, &pub, ""));
    ck_ok(gcry_sexp_sscan(&s, NULL, (const char *)pub.data, pub.len));
    buf_free(&pub);
    return s;
}

/* --- what there is ---------------------------------------------------------------------------------------------------------- */

START_TEST(no_home_no_keys)
{
    char *lines;

    remove_home();
    lines = learned();
    ck_assert_str_eq(
        lines, "TOKEN kind=software serial=gpg name=software-gpg label=GnuPG%20keys soft=1\n");
    ck_code(verb("STORED", ED, ""), GPG_ERR_NO_SECKEY);
    ck_ok(verb("STORED", NULL, "all=1"));
    ck_code(sign(ED, -1, ""), GPG_ERR_NO_SECKEY);
    ck_code(sign("xyz", -1, ""), GPG_ERR_INV_ID);
    gpgrt_free(lines);
}
END_TEST

START_TEST(keys_are_told)
{
    char *lines, *line;

    put_all();
    lines = learned();
    line = line_of(lines, "KEY id=" ED);
    ck_field(line, "caps", "s");
    ck_field(line, "family", "gpg");
    ck_field(line, "pin", "need");
    ck_field(line, "touch", "never");
    ck_field(line, "created", "1795470117");
    ck_field(line, "ssh", NULL);
    gpgrt_free(line);
    line = line_of(lines, "KEY id=" CV);
    ck_field(line, "caps", "e");
    ck_field(line, "ecdh", "1");
    gpgrt_free(line);
    line = line_of(lines, "KEY id=" RSA);
    ck_field(line, "caps", "se");
    gpgrt_free(line);
    ck_assert_ptr_null(strstr(lines, STUB));
    gpgrt_free(lines);
    ck_ok(verb("STORED", NULL, "all=1"));
    line = line_of(buf_cstr(&me.lines), "STORED key=" STUB);
    ck_field(line, "state", "shadowed");
    ck_field(line, "serial", "D276000124010304AFAF1AB000000000");
    ck_field(line, "ref", "OPENPGP.3");
    gpgrt_free(line);
    line = line_of(buf_cstr(&me.lines), "STORED key=" RSA);
    ck_field(line, "state", "protected");
    ck_field(line, "cached", NULL);
    gpgrt_free(line);
}
END_TEST

/* The disk is looked at each time. */
START_TEST(files_come_and_go)
{
    char *lines;

    put_vector("v1-ocb-ed25519-gpg2.2.40", ED);
    ck_ok(verb("STORED", ED, ""));
    lines = learned();
    ck_assert_ptr_nonnull(strstr(lines, ED));
    gpgrt_free(lines);
    ck_assert_int_eq(unlink(key_path(ED)), 0);
    ck_code(verb("STORED", ED, ""), GPG_ERR_NO_SECKEY);
    lines = learned();
    ck_assert_ptr_null(strstr(lines, ED));
    gpgrt_free(lines);
}
END_TEST

START_TEST(broken_files_stop_nobody)
{
    static const char kyber[] = "Key: (protected-private-key (kyb (p #01#)(protected x)))\n";
    char *lines, *line;

    put_vector("v1-ocb-ed25519-gpg2.2.40", ED);
    put_vector("v3-ocb-nistp256-gpg2.4.8", RSA); /* another key's */
    write_file(key_path(CV), "garbage", 7);
    write_file(key_path(STUB), kyber, sizeof kyber - 1);
    write_file(key_path("not-a-key"), "x", 1);
    ck_assert_int_eq(mkfifo(key_path(P256), 0600), 0);
    ck_assert_int_eq(symlink("nothing", key_path(STUB2)), 0);
    lines = learned();
    ck_assert_ptr_nonnull(strstr(lines, ED));
    ck_assert_ptr_null(strstr(strstr(lines, "\nKEY ") + 1, "\nKEY "));
    gpgrt_free(lines);
    ck_ok(verb("STORED", NULL, "all=1"));
    for (const char *const *g = (const char *const[]){RSA, CV, STUB, P256, NULL}; *g != NULL; g++) {
        char *start = gpgrt_bsprintf("STORED key=%s", *g);

        line = line_of(buf_cstr(&me.lines), start);
        ck_assert_ptr_nonnull(line);
        ck_field(line, "state", "unknown");
        gpgrt_free(line);
        gpgrt_free(start);
        ck_code(sign(*g, -1, ""), GPG_ERR_BAD_SECKEY);
    }
    /* repaired, it is there */
    put_vector("v4-ocb-cv25519-gpg2.4.8", CV);
    lines = learned();
    ck_assert_ptr_nonnull(strstr(lines, CV));
    gpgrt_free(lines);
}
END_TEST

START_TEST(what_others_could_write_is_refused)
{
    char *lines;

    put_all();
    ck_assert_int_eq(chmod(folder, 0770), 0);
    lines = learned();
    ck_assert_ptr_null(strstr(lines, "KEY "));
    gpgrt_free(lines);
    ck_code(sign(ED, -1, ""), GPG_ERR_EACCES);
    ck_assert_int_eq(chmod(folder, 0755), 0);
    ck_assert_int_eq(chmod(key_path(ED), 0660), 0);
    ck_code(sign(ED, -1, ""), GPG_ERR_BAD_SECKEY);
    ck_assert_int_eq(chmod(folder, 0700), 0);
    me.answers[0] = PASS;
    ck_ok(sign(ED, -1, ""));
    ck_assert_int_eq(chmod(home, 0777), 0);
    ck_code(sign(ED, -1, ""), GPG_ERR_EACCES);
    ck_assert_int_eq(chmod(home, 0700), 0);
}
END_TEST

/* --- use -------------------------------------------------------------------------------------------------------------------- */

START_TEST(signatures_hold)
{
    static const struct {
        const char *grip;
        int hash;
        size_t n;
    } cases[] = {{ED, GCRY_MD_SHA256, 32},
                 {ED, GCRY_MD_SHA512, 64},
                 {RSA, GCRY_MD_SHA512, 64},
                 {RSA, GCRY_MD_SHA224, 28},
                 {RSA, GCRY_MD_MD5, 16},
                 {RSA, GCRY_MD_RMD160, 20},
                 {RSA, 0, 36},
                 {P256, GCRY_MD_SHA256, 32},
                 {P256, GCRY_MD_SHA512, 64},
                 {P256, GCRY_MD_SHA384, 48}};

    put_all();
    for (size_t i = 0; i < 12; i++)
        me.answers[i] = PASS;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gcry_sexp_t sig = NULL, data, pub = public_of(cases[i].grip);
        int n = (int)cases[i].n;

        ck_ok(sign_as(&me, cases[i].grip, -1, "", cases[i].hash, rd_of(digest, cases[i].n), &sig));
        if (strcmp(cases[i].grip, ED) == 0) {
            ck_ok(gcry_sexp_build(&data, NULL, "(data(flags eddsa)(hash-algo sha512)(value %b))", n,
                                  digest));
        } else if (strcmp(cases[i].grip, P256) == 0) {
            ck_ok(gcry_sexp_build(&data, NULL, "(data(flags raw)(value %b))", 32, digest));
        } else if (cases[i].hash != 0) {
            char name[32];

            snprintf(name, sizeof name, "%s", gcry_md_algo_name(cases[i].hash));
            for (char *c = name; *c != '\0'; c++)
                *c = (char)tolower(*c);
            ck_ok(gcry_sexp_build(&data, NULL, "(data(flags pkcs1)(hash %s %b))", name, n, digest));
        } else {
            uint8_t block[256];

            memset(block, 0xff, sizeof block);
            block[0] = 0;
            block[1] = 1;
            block[255 - n] = 0;
            memcpy(block + 256 - n, digest, cases[i].n);
            ck_ok(gcry_sexp_build(&data, NULL, "(data(flags raw)(value %b))", 256, block));
        }
        ck_ok(gcry_pk_verify(sig, data, pub));
        gcry_sexp_release(sig);
        gcry_sexp_release(data);
        gcry_sexp_release(pub);
    }
    ck_assert_uint_eq(me.asked, 1); /* the last one that was right is tried for the others */
    ck_code(sign_as(&me, P256, -1, "", GCRY_MD_SHA1, rd_of(digest, 20), NULL), GPG_ERR_INV_LENGTH);
    ck_code(sign_as(&me, RSA, -1, "", GCRY_MD_SHA256, rd_of(digest, 20), NULL),
            GPG_ERR_DIGEST_ALGO);
    ck_code(sign_as(&me, CV, -1, "", GCRY_MD_SHA256, rd_of(digest, 32), NULL),
            GPG_ERR_UNUSABLE_SECKEY);
    ck_code(sign(STUB, -1, ""), GPG_ERR_UNUSABLE_SECKEY);
}
END_TEST

START_TEST(decryption)
{
    static const char *const grips[] = {RSA, P256, CV};

    put_all();
    me.answers[0] = PASS;
    for (size_t i = 0; i < 3; i++) {
        gcry_sexp_t pub = public_of(grips[i]), data, enc = NULL, list;
        struct driver_io io = io_for(&me);
        struct driver_op op = {.key_id = grips[i], .args = "", .pin_age = -1, .io = &io};
        struct buf result = BUF_INIT_SECURE;
        uint8_t k[255] = {2, 9, 9, 9};
        char text[4096];
        const char *s;
        size_t n;

        memset(k + 4, 7, sizeof k - 4);
        n = i == 0 ? sizeof k : 32;
        k[0] = i == 0 ? 2 : 0x40; /* clamped, for the curves */
        k[31] = i == 0 ? 7 : 8;
        ck_ok(gcry_sexp_build(&data, NULL, "(data(flags raw)(value %b))", (int)n, k));
        ck_ok(gcry_pk_encrypt(&enc, data, pub));
        n = gcry_sexp_sprint(enc, GCRYSEXP_FMT_CANON, text, sizeof text);
        op.input.data = rd_of(text, n);
        ck_ok(driver_gpg.decrypt(state, &op, &result));
        if (i == 0) {
            struct rd got = rd_magnitude(buf_rd(&result));

            ck_assert(rd_eq(got, rd_of(k, sizeof k)));
        } else { /* the shared point is in what was encrypted, too */
            list = gcry_sexp_find_token(enc, "s", 0);
            s = gcry_sexp_nth_data(list, 1, &n);
            ck_assert(rd_eq(buf_rd(&result), rd_of(s, n)));
            ck_assert_uint_eq(result.data[0], i == 1 ? 4 : 0x40);
            gcry_sexp_release(list);
        }
        ck_code(driver_gpg.sign(state, &op, &list), i == 2   ? GPG_ERR_UNUSABLE_SECKEY
                                                    : i == 0 ? GPG_ERR_TOO_SHORT
                                                             : GPG_ERR_NO_ERROR);
        if (i == 1)
            gcry_sexp_release(list);
        op.input.data = rd_of("(7:enc-val(3:elg(1:a1:x)(1:b1:y)))", 34);
        ck_code(driver_gpg.decrypt(state, &op, &result), GPG_ERR_INV_OBJ);
        op.input.data = rd_of("(7:enc-val", 10);
        ck_assert(driver_gpg.decrypt(state, &op, &result) != 0);
        buf_free(&result);
        gcry_sexp_release(pub);
        gcry_sexp_release(data);
        gcry_sexp_release(enc);
    }
    ck_assert_uint_eq(me.asked, 1);
}
END_TEST

START_TEST(wrong_passphrases)
{
    put_all();
    me.answers[0] = "wrong";
    me.answers[1] = "";
    me.answers[2] = PASS;
    ck_ok(sign(ED, -1, ""));
    ck_assert_uint_eq(me.asked, 3);
    ck_assert_str_eq(me.questions[0], "key=" ED " why=use try=1 tries=3");
    ck_assert_str_eq(me.questions[2], "key=" ED " why=use try=3 tries=3 error=bad");
    ck_assert(last_op.pin_typed && !last_op.pin_cached);
    ck_ok(sign(ED, -1, ""));
    ck_assert(!last_op.pin_typed && last_op.pin_cached);
    driver_gpg.forget(state);
    me.answers[3] = me.answers[4] = me.answers[5] = "wrong";
    ck_code(sign(ED, -1, ""), GPG_ERR_BAD_PASSPHRASE);
    ck_assert_uint_eq(me.asked, 6);
    ck_code(sign(ED, -1, ""), GPG_ERR_CANCELED);
    ck_assert_uint_eq(me.asked, 7);
}
END_TEST

START_TEST(how_long_a_passphrase_serves)
{
    put_all();
    for (size_t i = 0; i < 12; i++)
        me.answers[i] = PASS;
    ck_ok(sign(ED, -1, "ttl=0"));
    ck_ok(sign(ED, -1, "ttl=0"));
    ck_assert_uint_eq(me.asked, 2);
    ck_ok(sign(ED, 0, ""));
    ck_ok(sign(ED, 0, ""));
    ck_assert(last_op.pin_typed);
    ck_assert_uint_eq(me.asked, 4);
    ck_ok(sign(ED, 1000, ""));
    ck_assert_uint_eq(me.asked, 4);
    ck_ok(sign(ED, -1, "cache=0"));
    ck_assert_uint_eq(me.asked, 5);
    ck_ok(sign(ED, -1, "realm=1"));
    ck_ok(sign(ED, -1, "realm=1"));
    ck_assert_uint_eq(me.asked, 6);
    ck_ok(sign(ED, -1, "mode=ssh")); /* as gpg-agent: what serves gpg serves ssh */
    ck_assert_uint_eq(me.asked, 6);
    driver_gpg.forget(state);
    ck_ok(sign(ED, -1, "ttl=1000 max-ttl=1000"));
    ck_assert_uint_eq(me.asked, 7);
    ck_ok(verb("STORED", ED, ""));
    ck_assert_ptr_nonnull(strstr(buf_cstr(&me.lines), "cached=1"));
    ck_ok(verb("CACHE", NULL, "do=clear id=" ED " mode=normal"));
    ck_ok(sign(ED, -1, ""));
    ck_assert_uint_eq(me.asked, 8);
    ck_code(sign(ED, -1, "mode=other"), GPG_ERR_INV_VALUE);
}
END_TEST

/* An entry ends on time, and the open key with it. */
START_TEST(a_passphrase_ends)
{
    put_all();
    me.answers[0] = me.answers[1] = PASS;
    ck_ok(sign(ED, -1, "ttl=1"));
    for (bool there = true; there;) {
        struct timespec ts = {0, 50000000};

        nanosleep(&ts, NULL);
        buf_reset(&me.lines);
        ck_ok(verb("STORED", ED, ""));
        there = strstr(buf_cstr(&me.lines), "cached=1") != NULL;
    }
    ck_ok(sign(ED, -1, ""));
    ck_assert_uint_eq(me.asked, 2);
}
END_TEST

/* A file that became another one is opened anew. */
START_TEST(a_changed_file_is_another_key)
{
    struct buf b = BUF_INIT_SECURE;

    put_all();
    me.answers[0] = PASS;
    ck_ok(sign(ED, -1, ""));
    write_file(key_path(ED), "x", 1);
    ck_code(sign(ED, -1, ""), GPG_ERR_BAD_SECKEY);
    put_vector("v1-ocb-ed25519-gpg2.2.40", ED);
    ck_ok(sign(ED, -1, ""));
    ck_assert_uint_eq(me.asked, 1); /* the passphrase is still the same */
    buf_free(&b);
}
END_TEST

START_TEST(cached_by_name)
{
    struct buf got = BUF_INIT_SECURE;

    put_all();
    buf_put(&me.secret, "secret", 6);
    ck_ok(verb("CACHE", NULL, "do=put id=Sabc mode=user ttl=100 max-ttl=100"));
    ck_ok(verb_as(&me, "CACHE", NULL, -1, &got, "do=get id=Sabc mode=user"));
    ck_assert_str_eq(buf_cstr(&got), "secret");
    ck_code(verb("CACHE", NULL, "do=get id=Sabc mode=normal"), GPG_ERR_NO_DATA);
    ck_code(verb("CACHE", NULL, "do=get id=Sabc mode=user realm=2"), GPG_ERR_NO_DATA);
    ck_ok(verb("CACHE", NULL, "do=clear id=Sabc mode=user"));
    ck_code(verb("CACHE", NULL, "do=get id=Sabc mode=user"), GPG_ERR_NO_DATA);
    /* PRESET_PASSPHRASE */
    buf_reset(&me.secret);
    buf_put(&me.secret, PASS, strlen(PASS));
    ck_ok(verb("CACHE", NULL, "do=put id=" ED " mode=any ttl=-1 max-ttl=7200"));
    ck_ok(sign(ED, -1, ""));
    ck_assert(last_op.pin_cached);
    ck_code(sign(ED, 1000, ""), GPG_ERR_CANCELED); /* nobody typed it */
    ck_code(verb("CACHE", NULL, "do=put mode=any"), GPG_ERR_MISSING_VALUE);
    ck_code(verb("CACHE", NULL, "do=put id=x"), GPG_ERR_INV_VALUE);
    ck_code(verb("CACHE", NULL, "do=x id=x mode=any"), GPG_ERR_INV_VALUE);
    buf_free(&got);
}
END_TEST

START_TEST(delete)
{
    put_all();
    me.answers[0] = PASS;
    ck_ok(sign(ED, -1, ""));
    ck_ok(driver_gpg.delete_key(state, ED));
    ck_code(sign(ED, -1, ""), GPG_ERR_NO_SECKEY);
    ck_code(driver_gpg.delete_key(state, ED), GPG_ERR_NO_SECKEY);
    ck_code(driver_gpg.delete_key(state, "../x"), GPG_ERR_INV_ID);
    put_vector("v1-ocb-ed25519-gpg2.2.40", ED);
    ck_code(sign(ED, -1, ""), GPG_ERR_CANCELED);
    ck_assert_uint_eq(me.asked, 2);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, no_home_no_keys);
    tcase_add_test(tc, keys_are_told);
    tcase_add_test(tc, files_come_and_go);
    tcase_add_test(tc, broken_files_stop_nobody);
    tcase_add_test(tc, what_others_could_write_is_refused);
    tcase_add_test(tc, signatures_hold);
    tcase_add_test(tc, decryption);
    tcase_add_test(tc, wrong_passphrases);
    tcase_add_test(tc, how_long_a_passphrase_serves);
    tcase_add_test(tc, a_passphrase_ends);
    tcase_add_test(tc, a_changed_file_is_another_key);
    tcase_add_test(tc, cached_by_name);
    tcase_add_test(tc, delete);
}

int main(void)
{
    if (!key_memory_init())
        return EXIT_FAILURE;
    umask(077);
    return run_suite("devices/gpg keystore", add);
}
