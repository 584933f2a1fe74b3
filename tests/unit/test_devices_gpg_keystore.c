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
#include <sys/resource.h>
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

static void ck_starts(struct buf *b, const char *want)
{
    ck_assert_msg(strncmp(buf_cstr(b), want, strlen(want)) == 0, "%s", buf_cstr(b));
}

static void ck_ends(struct buf *b, const char *want)
{
    ck_assert_uint_ge(b->len, strlen(want));
    ck_assert_str_eq(buf_cstr(b) + b->len - strlen(want), want);
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

/* A sender's point that is none reaches no arithmetic; one that lost its zeros is made whole. */
START_TEST(points_of_any_length)
{
    static const char *const grips[] = {P256, CV};
    struct driver_io io = io_for(&me);

    put_all();
    me.answers[0] = PASS;
    for (size_t g = 0; g < 2; g++)
        for (size_t n = 1; n < 140; n++) {
            struct driver_op op = {.key_id = grips[g], .args = "", .pin_age = -1, .io = &io};
            struct buf data = BUF_INIT, result = BUF_INIT_SECURE;
            uint8_t point[140] = {2};
            bool good = g == 1 && n <= 32;

            memset(point + 1, 9, sizeof point - 1);
            buf_printf(&data, "(7:enc-val(5:flags5:pkcs1)(4:ecdh(1:s1:x)");
            canon_put_pair(&data, "e", rd_of(point, n));
            buf_printf(&data, "))");
            op.input.data = buf_rd(&data);
            gpg_error_t err = driver_gpg.decrypt(state, &op, &result);

            ck_assert_msg((err == 0) == good || (g == 0 && n == 33), "%zu: %s", n,
                          gpg_strerror(err));
            buf_free(&data);
            buf_free(&result);
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

/* --- keys made, moved, changed ---------------------------------------------------------------------------------------------- */

static char *nonce_of(const char *name)
{
    char *line = line_of(buf_cstr(&me.lines), "NONCE "), *nonce = NULL;

    if (line != NULL)
        ck_ok(field_get(line, name, &nonce));
    gpgrt_free(line);
    buf_reset(&me.lines);
    return nonce;
}

static void set(struct buf *b, const char *text)
{
    buf_reset(b);
    buf_put(b, text, strlen(text));
}

static void grip_of(struct rd pub, char grip[41])
{
    uint8_t raw[20];
    char *hex;

    ck_ok(gpg_key_grip(pub, raw));
    hex = hex_encode(raw, 20);
    snprintf(grip, 41, "%s", hex);
    gpgrt_free(hex);
}

static void generate(const char *param, const char *args, char grip[41])
{
    struct buf pub = BUF_INIT_SECURE;

    set(&me.param, param);
    ck_ok(verb_as(&me, "GENERATE", NULL, -1, &pub, args));
    grip_of(buf_rd(&pub), grip);
    buf_free(&pub);
}

static const char *const all_kinds[] = {
    "(genkey(rsa(nbits 4:1024)))",
    "(genkey(ecc(curve 7:Ed25519)(flags eddsa comp)))",
    "(genkey(ecc(curve 10:NIST P-256)(flags nocomp)))",
    "(genkey(ecc(curve 10:NIST P-384)(flags nocomp)))",
    "(genkey(ecc(curve 10:NIST P-521)(flags nocomp)))",
    "(genkey(ecc(curve 15:brainpoolP256r1)(flags nocomp)))",
    "(genkey(ecc(curve 15:brainpoolP384r1)(flags nocomp)))",
    "(genkey(ecc(curve 15:brainpoolP512r1)(flags nocomp)))",
    "(genkey(ecc(curve 9:secp256k1)(flags nocomp)))",
    "(genkey(ecc(curve 5:Ed448)(flags comp)))",
    "(genkey(dsa(nbits 4:1024)))",
    "(genkey(dsa(nbits 4:2048)(qbits 3:256)))",
    "(genkey(ecc(curve 10:Curve25519)(flags djb-tweak comp)))",
    "(genkey(ecc(curve 4:X448)(flags comp)))",
    "(genkey(elg(nbits 4:1024)))",
};
#define SIGNING 12

START_TEST(every_kind_is_made_and_works)
{
    char grip[41], *nonce, *lines, *line;
    gcry_sexp_t pub, sig = NULL, list;

    me.answers[0] = "abc";
    generate(all_kinds[_i], "created=1700000000", grip);
    ck_assert_uint_eq(me.asked, 1);
    ck_assert_str_eq(me.questions[0], "why=new try=1 tries=1");
    nonce = nonce_of("cache");
    ck_assert_ptr_nonnull(nonce);
    lines = learned();
    line = line_of(lines, "KEY ");
    ck_field(line, "id", grip);
    ck_field(line, "pin", "need");
    ck_field(line, "created", "1700000000");
    ck_field(line, "caps",
             _i == 12 || _i == 13 || _i == 14 ? "e"
             : _i == 1 || _i >= 9             ? "s"
                                              : "se");
    gpgrt_free(line);
    gpgrt_free(lines);
    pub = public_of(grip);
    if (_i < SIGNING) {
        char *args = gpgrt_bsprintf("nonce=%s", nonce);

        ck_ok(sign_as(&me, grip, -1, args, GCRY_MD_SHA512, rd_of(digest, 64), &sig));
        ck_assert(last_op.pin_cached && !last_op.pin_typed);
        list = gcry_sexp_find_token(sig,
                                    _i == 0              ? "rsa"
                                    : _i == 1 || _i == 9 ? "eddsa"
                                    : _i > 9             ? "dsa"
                                                         : "ecdsa",
                                    0);
        ck_assert_ptr_nonnull(list);
        if (_i == 1 || _i == 9) {
            size_t n;
            gcry_sexp_t r = gcry_sexp_find_token(list, "r", 0);

            ck_assert_ptr_nonnull(gcry_sexp_nth_data(r, 1, &n));
            ck_assert_uint_eq(n, _i == 1 ? 32 : 57);
            gcry_sexp_release(r);
        }
        gcry_sexp_release(list);
        gcry_sexp_release(sig);
        gpgrt_free(args);
    } else {
        gcry_sexp_t data, enc, s;
        struct driver_io io = io_for(&me);
        struct driver_op op = {.key_id = grip, .args = "", .pin_age = -1, .io = &io};
        struct buf result = BUF_INIT_SECURE;
        uint8_t k[57] = {0x40, 1, 2, 3};
        size_t n = _i == 14 ? 10 : _i == 12 ? 32 : 56;
        char text[4096];
        const char *want;

        k[55] |= 0x80;
        ck_ok(gcry_sexp_build(&data, NULL, "(data(flags raw)(value %b))", (int)n, k));
        ck_ok(gcry_pk_encrypt(&enc, data, pub));
        op.input.data = rd_of(text, gcry_sexp_sprint(enc, GCRYSEXP_FMT_CANON, text, sizeof text));
        me.answers[1] = "abc";
        ck_ok(driver_gpg.decrypt(state, &op, &result));
        s = gcry_sexp_find_token(enc, _i == 14 ? "a" : "s", 0);
        want = gcry_sexp_nth_data(s, 1, &n);
        if (_i == 14)
            ck_assert(rd_eq(rd_magnitude(buf_rd(&result)), rd_of(k, 10)));
        else
            ck_assert(rd_eq(buf_rd(&result), rd_of(want, n)));
        gcry_sexp_release(s);
        gcry_sexp_release(data);
        gcry_sexp_release(enc);
        buf_free(&result);
    }
    gcry_sexp_release(pub);
    gpgrt_free(nonce);
}
END_TEST

#define ED_PARAM "(genkey(ecc(curve Ed25519)(flags eddsa comp)))"

START_TEST(one_passphrase_for_a_key_and_its_subkey)
{
    char first[41], second[41], third[41], *nonce, *again, *args;

    me.answers[0] = "abc";
    generate(ED_PARAM, "", first);
    nonce = nonce_of("cache");
    args = gpgrt_bsprintf("nonce=%s", nonce);
    generate("(genkey(ecc(curve Curve25519)(flags djb-tweak comp)))", args, second);
    again = nonce_of("cache");
    ck_assert_str_eq(nonce, again);
    ck_assert_uint_eq(me.asked, 1);
    gpgrt_free(args);
    /* it was not put into the cache, but with preset it is */
    ck_code(sign(first, -1, ""), GPG_ERR_CANCELED);
    args = gpgrt_bsprintf("preset=1 passwd-nonce=%s", nonce);
    generate(ED_PARAM, args, third);
    ck_ok(sign(third, -1, ""));
    ck_assert_uint_eq(me.asked, 2);
    gpgrt_free(args);
    /* none of it when the passphrase is to be typed for the operation */
    args = gpgrt_bsprintf("nonce=%s", nonce);
    ck_code(sign(first, 0, args), GPG_ERR_CANCELED);
    driver_gpg.forget(state);
    ck_code(sign(first, -1, args), GPG_ERR_CANCELED);
    ck_assert_uint_eq(me.asked, 4);
    gpgrt_free(args);
    gpgrt_free(nonce);
    gpgrt_free(again);
}
END_TEST

START_TEST(keys_without_passphrase)
{
    char clear[41], empty[41], *nonce, *lines;

    generate(ED_PARAM, "protect=0", clear);
    ck_assert_ptr_null(nonce_of("cache"));
    me.answers[0] = "";
    generate(ED_PARAM, "", empty);
    nonce = nonce_of("cache");
    ck_assert_ptr_nonnull(nonce);
    gpgrt_free(nonce);
    lines = learned();
    ck_assert_ptr_null(strstr(lines, "pin=need"));
    gpgrt_free(lines);
    ck_ok(sign(clear, 0, ""));
    ck_assert(!last_op.pin_typed && !last_op.pin_cached);
    ck_ok(sign(empty, 0, ""));
    driver_gpg.forget(state);
    ck_ok(sign(empty, 0, "cache=0"));
    ck_assert_uint_eq(me.asked, 1);
}
END_TEST

START_TEST(what_cannot_be_made)
{
    static const char *const params[] = {"",
                                         "(genkey",
                                         "(foo(rsa(nbits 4:1024)))",
                                         "(genkey(kyber))",
                                         "(genkey(rsa(nbits 5:99999)))",
                                         "(genkey(ecc(curve nonsense)))"};

    for (size_t i = 0; i < sizeof params / sizeof params[0]; i++) {
        set(&me.param, params[i]);
        ck_assert(verb("GENERATE", NULL, "protect=0") != 0);
    }
    set(&me.param, ED_PARAM);
    ck_code(verb("GENERATE", NULL, ""), GPG_ERR_CANCELED);
    ck_assert_int_ne(access(folder, F_OK), 0);
}
END_TEST

static void export(const char *grip, const char *args, struct buf *canon)
{
    struct buf wrapped = BUF_INIT_SECURE, text = BUF_INIT_SECURE;

    set(&me.wrapkey, "0123456789abcdef");
    ck_ok(verb_as(&me, "EXPORT", grip, -1, &wrapped, args));
    ck_ok(gpg_unwrap(buf_rd(&me.wrapkey), buf_rd(&wrapped), &text));
    ck_ok(canon_from_padded(buf_rd(&text), canon));
    buf_free(&wrapped);
    buf_free(&text);
}

static gpg_error_t import(struct rd key, const char *args)
{
    set(&me.wrapkey, "0123456789abcdef");
    buf_reset(&me.wrapped);
    ck_ok(gpg_wrap(buf_rd(&me.wrapkey), key, &me.wrapped));
    return verb("IMPORT", NULL, args);
}

START_TEST(exported_and_imported)
{
    struct buf sent = BUF_INIT_SECURE, b = BUF_INIT_SECURE;
    char *nonce, *args;

    put_all();
    me.answers[0] = me.answers[1] = PASS;
    ck_ok(sign(ED, -1, ""));
    export(ED, "form=openpgp cache=0", &sent); /* never by the cache */
    ck_assert_uint_eq(me.asked, 2);
    nonce = nonce_of("cache");
    args = gpgrt_bsprintf("form=openpgp cache=0 nonce=%s", nonce);
    export(CV, args, &b);
    ck_assert_uint_eq(me.asked, 2);
    gpgrt_free(nonce);
    nonce = nonce_of("cache");
    gpgrt_free(args);
    ck_code(import(buf_rd(&sent), ""), GPG_ERR_EEXIST);
    ck_ok(driver_gpg.delete_key(state, ED));
    me.answers[2] = "wrong";
    me.answers[3] = PASS;
    ck_ok(import(buf_rd(&sent), "created=1700000000"));
    ck_assert_str_eq(me.questions[2], "key=" ED " why=import try=1 tries=3");
    ck_assert_ptr_nonnull(strstr(buf_cstr(&me.lines), "KEY id=" ED));
    gpgrt_free(nonce);
    nonce = nonce_of("cache");
    ck_assert_ptr_nonnull(nonce);
    me.answers[4] = PASS;
    ck_ok(sign(ED, -1, "")); /* under the same passphrase */
    ck_assert_uint_eq(me.asked, 5);
    ck_ok(driver_gpg.delete_key(state, CV));
    args = gpgrt_bsprintf("nonce=%s", nonce);
    ck_ok(import(buf_rd(&b), args));
    ck_assert_uint_eq(me.asked, 5);
    gpgrt_free(args);
    gpgrt_free(nonce);
    /* over what is there, attributes stay */
    set(&me.value, "mine");
    ck_ok(verb("ATTR", ED, "name=Label: set=1"));
    me.answers[5] = PASS;
    ck_ok(import(buf_rd(&sent), "force=1"));
    b.len = 0;
    ck_ok(verb_as(&me, "ATTR", ED, -1, &b, "name=label:"));
    ck_assert_str_eq(buf_cstr(&b), "mine");
    buf_free(&b);
    buf_free(&sent);
}
END_TEST

START_TEST(unattended_imports_ask_later)
{
    struct buf sent = BUF_INIT_SECURE, file = BUF_INIT_SECURE;

    put_all();
    me.answers[0] = PASS;
    export(RSA, "form=openpgp", &sent);
    ck_ok(driver_gpg.delete_key(state, RSA));
    buf_reset(&me.lines);
    ck_ok(import(buf_rd(&sent), "unattended=1"));
    ck_assert_uint_eq(me.asked, 1);
    ck_assert_ptr_null(nonce_of("cache"));
    read_path(key_path(RSA), &file);
    ck_assert_ptr_nonnull(memmem(file.data, file.len, "openpgp-native", 14));
    ck_ok(verb("STORED", RSA, ""));
    ck_assert_ptr_nonnull(strstr(buf_cstr(&me.lines), "state=protected"));
    me.answers[1] = "wrong";
    me.answers[2] = PASS;
    ck_ok(sign(RSA, -1, ""));
    buf_reset(&file);
    read_path(key_path(RSA), &file);
    ck_assert_ptr_null(memmem(file.data, file.len, "openpgp-native", 14));
    ck_ok(sign(RSA, -1, ""));
    ck_assert_uint_eq(me.asked, 3);
    driver_gpg.forget(state);
    me.answers[3] = PASS;
    ck_ok(sign(RSA, -1, ""));
    /* the vector of a stock agent */
    put_vector("x1-openpgp-native-rsa2048-canonical", RSA);
    me.answers[4] = PASS;
    ck_ok(sign(RSA, 0, ""));
    buf_free(&sent);
    buf_free(&file);
}
END_TEST

START_TEST(a_stock_native_key_in_a_store_that_cannot_be_written)
{
    if (geteuid() == 0)
        return; /* may write anywhere */
    put_vector("x1-openpgp-native-rsa2048-canonical", RSA);
    ck_assert_int_eq(chmod(folder, 0500), 0);
    me.answers[0] = PASS;
    ck_ok(sign(RSA, -1, ""));
    ck_ok(sign(RSA, -1, ""));
    ck_assert_int_eq(chmod(folder, 0700), 0);
}
END_TEST

START_TEST(other_forms_of_export)
{
    struct buf key = BUF_INIT_SECURE, again = BUF_INIT_SECURE;
    struct rd inside, created;
    char grip[41];

    generate(ED_PARAM, "protect=0", grip);
    export(grip, "form=plain", &key);
    ck_assert_int_eq(memcmp(key.data, "(11:private-key(3:ecc", 21), 0);
    export(grip, "form=card created=1700000000", &again);
    ck_ok(canon_enter(buf_rd(&again), &inside));
    ck_ok(canon_value(inside, "created-at", &created));
    ck_assert(rd_is(created, "1700000000"));
    buf_reset(&again);
    me.answers[0] = "out";
    export(grip, "form=openpgp", &again);
    ck_assert_ptr_nonnull(strstr(me.questions[0], "why=export"));
    /* gpgsm's form comes in with a passphrase of its own */
    ck_ok(driver_gpg.delete_key(state, grip));
    me.answers[1] = "new";
    ck_ok(import(buf_rd(&key), ""));
    ck_assert_ptr_nonnull(strstr(me.questions[1], "why=new"));
    me.answers[2] = "new";
    ck_ok(sign(grip, -1, ""));
    ck_ok(driver_gpg.delete_key(state, grip));
    me.answers[3] = me.answers[4] = "out";
    ck_ok(import(buf_rd(&again), ""));
    ck_ok(sign(grip, -1, ""));
    ck_assert_uint_eq(me.asked, 5);
    ck_code(verb("EXPORT", grip, "form=other"), GPG_ERR_INV_VALUE);
    ck_code(verb("EXPORT", grip, ""), GPG_ERR_MISSING_VALUE);
    put_all();
    ck_code(verb("EXPORT", STUB, "form=plain"), GPG_ERR_UNUSABLE_SECKEY);
    set(&me.wrapkey, "short");
    ck_code(verb("EXPORT", grip, "form=plain"), GPG_ERR_INV_LENGTH);
    buf_free(&key);
    buf_free(&again);
}
END_TEST

START_TEST(imports_that_are_refused)
{
    static const char *const bad[] = {
        "(11:private-key(3:ecc(5:curve7:Ed25519)(5:flags5:eddsa)(1:q3:abc)(1:d3:abc)))",
        "(20:shadowed-private-key(3:rsa(1:n1:a)(1:e1:b)(8:shadowed5:t1-v1)))",
        "(10:public-key(3:rsa(1:n1:a)(1:e1:b)))",
        "(19:openpgp-private-key(7:version1:9))",
        "(3:abc)",
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(import(rd_str(bad[i]), "") != 0, "%s", bad[i]);
    ck_assert(import(rd_str("no s-expression"), "") != 0);
    ck_assert_int_ne(access(folder, F_OK), 0);
}
END_TEST

START_TEST(another_passphrase)
{
    char *cache, *passwd, *args, *one;
    struct buf before = BUF_INIT_SECURE, after = BUF_INIT_SECURE;

    put_all();
    me.answers[0] = me.answers[1] = PASS;
    me.answers[2] = "second";
    ck_ok(sign(ED, -1, ""));
    ck_ok(verb("PASSWD", ED, "")); /* the old one is asked for, whatever is cached */
    ck_assert_str_eq(me.questions[1], "key=" ED " why=old try=1 tries=3");
    ck_assert_str_eq(me.questions[2], "key=" ED " why=new try=1 tries=1");
    one = gpgrt_strdup(buf_cstr(&me.lines));
    cache = nonce_of("cache");
    gpgrt_free(cache);
    buf_put(&me.lines, one, strlen(one));
    passwd = nonce_of("passwd");
    buf_put(&me.lines, one, strlen(one));
    cache = nonce_of("cache");
    gpgrt_free(one);
    args = gpgrt_bsprintf("cache-nonce=%s passwd-nonce=%s", cache, passwd);
    ck_ok(verb("PASSWD", CV, args));
    ck_assert_uint_eq(me.asked, 3);
    one = gpgrt_bsprintf("NONCE cache=%s passwd=%s\n", cache, passwd);
    ck_assert_str_eq(buf_cstr(&me.lines), one);
    gpgrt_free(one);
    gpgrt_free(args);
    me.answers[3] = PASS; /* the old one is forgotten, and wrong */
    me.answers[4] = "second";
    ck_ok(sign(ED, -1, ""));
    ck_assert_uint_eq(me.asked, 5);
    /* none: the key lies open then */
    me.answers[5] = "second";
    me.answers[6] = "";
    ck_ok(verb("PASSWD", ED, ""));
    driver_gpg.forget(state);
    ck_ok(sign(ED, -1, ""));
    ck_ok(verb("PASSWD", ED, "verify=1"));
    ck_assert_uint_eq(me.asked, 7);
    /* checked only */
    read_path(key_path(P256), &before);
    me.answers[7] = "wrong";
    me.answers[8] = PASS;
    buf_reset(&me.lines);
    ck_ok(verb("PASSWD", P256, "verify=1"));
    read_path(key_path(P256), &after);
    ck_assert(rd_eq(buf_rd(&before), buf_rd(&after)));
    ck_assert_ptr_nonnull(strstr(buf_cstr(&me.lines), "NONCE passwd="));
    /* given up */
    me.answers[9] = PASS;
    ck_code(verb("PASSWD", P256, ""), GPG_ERR_CANCELED);
    ck_code(verb("PASSWD", STUB, ""), GPG_ERR_UNUSABLE_SECKEY);
    gpgrt_free(cache);
    gpgrt_free(passwd);
    buf_free(&before);
    buf_free(&after);
}
END_TEST

START_TEST(attributes)
{
    struct buf got = BUF_INIT_SECURE, file = BUF_INIT_SECURE;
    char *lines, *line;

    put_all();
    ck_code(verb("ATTR", ED, "name=Label:"), GPG_ERR_NOT_FOUND);
    ck_code(verb("ATTR", ED, "name=Label"), GPG_ERR_INV_NAME);
    ck_code(verb("ATTR", ED, "name=Key:"), GPG_ERR_INV_NAME);
    ck_code(verb("ATTR", ED, "name=a%20b: set=1"), GPG_ERR_INV_NAME);
    ck_code(verb("ATTR", ED, ""), GPG_ERR_INV_NAME);
    set(&me.value, "my work key");
    ck_ok(verb("ATTR", ED, "name=Label: set=1"));
    ck_ok(verb_as(&me, "ATTR", ED, -1, &got, "name=Label:"));
    ck_assert_str_eq(buf_cstr(&got), "my work key");
    set(&me.value, "yes");
    ck_ok(verb("ATTR", ED, "name=Use-for-ssh: set=1"));
    ck_ok(verb("ATTR", ED, "name=Confirm: set=1"));
    set(&me.value, "-7");
    ck_ok(verb("ATTR", RSA, "name=Use-for-ssh: set=1"));
    lines = learned();
    line = line_of(lines, "KEY id=" ED);
    ck_field(line, "comment", "my work key");
    ck_field(line, "ssh", "200001");
    ck_field(line, "confirm", "1");
    gpgrt_free(line);
    line = line_of(lines, "KEY id=" RSA);
    ck_field(line, "ssh", "7");
    gpgrt_free(line);
    gpgrt_free(lines);
    ck_ok(verb("ATTR", ED, "name=Use-for-ssh: delete=1"));
    ck_code(verb("ATTR", ED, "name=Use-for-ssh: delete=1"), GPG_ERR_NOT_FOUND);
    read_path(key_path(ED), &file);
    ck_starts(&file, "Created: 20261123T214157\nLabel: my work key\nConfirm: yes\nKey: ");
    me.answers[0] = PASS;
    ck_ok(sign(ED, -1, ""));
    buf_reset(&me.value);
    buf_put(&me.value, "a\0b", 3);
    ck_code(verb("ATTR", ED, "name=Label: set=1"), GPG_ERR_INV_VALUE);
    buf_free(&got);
    buf_free(&file);
}
END_TEST

START_TEST(stubs)
{
    struct buf file = BUF_INIT_SECURE, pub = BUF_INIT;

    put_all();
    ck_ok(verb_as(&me, "STORED", ED, -1, &me.pub, ""));
    /* a private key is not lost to a card's word */
    ck_ok(verb("STUB", ED, "serial=D2760001240103040001 ref=OPENPGP.1 label=0001%201"));
    me.answers[0] = PASS;
    ck_ok(sign(ED, -1, ""));
    ck_ok(verb("STUB", ED, "serial=D2760001240103040001 ref=OPENPGP.1 label=0001%201 force=1"));
    ck_code(sign(ED, -1, ""), GPG_ERR_UNUSABLE_SECKEY);
    read_path(key_path(ED), &file);
    ck_starts(&file, "Created: 20261123T214157\nToken: D2760001240103040001 OPENPGP.1 - "
                     "0001+1\nKey: (shadowed-private-key");
    /* a stub learns of another card */
    ck_ok(verb("STUB", ED, "serial=D2760001240103040002 ref=OPENPGP.3"));
    ck_ok(verb("STUB", ED, "serial=D2760001240103040002 ref=OPENPGP.3"));
    buf_reset(&file);
    read_path(key_path(ED), &file);
    ck_assert_ptr_nonnull(strstr(buf_cstr(&file), "OPENPGP.1 - 0001+1\nToken: D2760001240103040002 "
                                                  "OPENPGP.3 - -\nKey"));
    ck_ok(driver_gpg.delete_key(state, ED));
    ck_ok(verb("STUB", ED, "serial=D2760001240103040001 ref=OPENPGP.1"));
    buf_reset(&me.lines);
    ck_ok(verb("STORED", ED, ""));
    ck_assert_ptr_nonnull(strstr(buf_cstr(&me.lines), "state=shadowed"));
    ck_assert_ptr_nonnull(strstr(buf_cstr(&me.lines), "serial=D2760001240103040001 ref=OPENPGP.1"));
    ck_code(verb("STUB", CV, "serial=D2760001240103040001 ref=OPENPGP.1 force=1"), GPG_ERR_INV_ID);
    ck_code(verb("STUB", ED, "ref=OPENPGP.1"), GPG_ERR_INV_VALUE);
    ck_code(verb("STUB", ED, "serial=D2%20 ref=OPENPGP.1"), GPG_ERR_INV_VALUE);
    set(&me.pub, "(3:abc)");
    ck_assert(verb("STUB", ED, "serial=D2760001240103040001 ref=OPENPGP.1 force=1") != 0);
    buf_free(&file);
    buf_free(&pub);
}
END_TEST

START_TEST(keys_for_ssh)
{
    static const char lines[] = "# mine\n\n  " P256 " 77 confirm\n!" ED "\nnonsense\n" CV " 1x\n" CV
                                " 5 other\n9a5fbe06dfe8092fef3d42e67751a2003abbb047";
    char path[96], *all, *line;
    struct buf file = BUF_INIT;

    put_all();
    snprintf(path, sizeof path, "%s/sshcontrol", home);
    write_file(path, lines, sizeof lines - 1);
    all = learned();
    line = line_of(all, "KEY id=" P256);
    ck_field(line, "ssh", "1001");
    ck_field(line, "confirm", "1");
    gpgrt_free(line);
    line = line_of(all, "KEY id=" ED);
    ck_field(line, "ssh", NULL);
    gpgrt_free(line);
    line = line_of(all, "KEY id=" CV);
    ck_field(line, "ssh", "1003");
    gpgrt_free(line);
    gpgrt_free(all);
    ck_ok(verb("STORED", NULL, "all=1"));
    line = line_of(buf_cstr(&me.lines), "STORED key=" ED);
    ck_field(line, "ssh-disabled", "1");
    gpgrt_free(line);
    line = line_of(buf_cstr(&me.lines), "STORED key=" P256);
    ck_field(line, "ssh-ttl", "77");
    ck_field(line, "confirm", "ssh");
    gpgrt_free(line);
    /* one that stands there stays as it is; another is put behind the line that had no end */
    ck_ok(verb("SSHADD", ED, "ttl=3"));
    ck_ok(verb("SSHADD", RSA, "ttl=100 confirm=1"));
    ck_ok(verb("SSHADD", RSA, "ttl=100 confirm=1"));
    read_path(path, &file);
    ck_starts(&file, lines);
    ck_assert_ptr_eq(strstr(buf_cstr(&file), "\n# rsa2048 key added on: "),
                     file.data + sizeof lines - 1);
    ck_ends(&file, "\n" RSA " 100 confirm\n");
    ck_assert_int_eq(unlink(path), 0);
    ck_ok(verb("SSHADD", P256, ""));
    buf_reset(&file);
    read_path(path, &file);
    ck_assert_int_eq(file.data[0], '#');
    ck_ends(&file, "\n" P256 " 0\n");
    ck_code(verb("SSHADD", P256, "ttl=-1"), GPG_ERR_INV_VALUE);
    ck_assert_int_eq(chmod(path, 0666), 0);
    all = learned();
    ck_assert_ptr_null(strstr(all, "ssh="));
    gpgrt_free(all);
    buf_free(&file);
}
END_TEST

/* --- many at once, and the end at any moment ------------------------------------------------------------------------------------ */

struct signer {
    pthread_t thread;
    struct person p;
    const char *grip, *args;
    int rounds;
};

static void *sign_often(void *arg)
{
    struct signer *s = arg;

    for (int i = 0; i < s->rounds; i++)
        ck_ok(sign_as(&s->p, s->grip, -1, s->args, GCRY_MD_SHA256, rd_of(digest, 32), NULL));
    return NULL;
}

/* Who needs the passphrase that another is being asked for waits for that answer. */
START_TEST(one_question_for_all)
{
    struct signer s[4] = {0};
    struct timespec ts = {0, 100000000};
    pthread_barrier_t asked;
    unsigned questions = 0;

    put_all();
    pthread_barrier_init(&asked, NULL, 2);
    for (int i = 0; i < 4; i++) {
        s[i].grip = ED;
        s[i].args = "";
        s[i].rounds = 5;
        s[i].p.answers[0] = PASS;
        s[i].p.wait = &asked;
        ck_assert_int_eq(pthread_create(&s[i].thread, NULL, sign_often, &s[i]), 0);
    }
    nanosleep(&ts, NULL); /* for the others to come, too */
    pthread_barrier_wait(&asked);
    for (int i = 0; i < 4; i++) {
        pthread_join(s[i].thread, NULL);
        questions += s[i].p.asked;
        person_clear(&s[i].p);
    }
    ck_assert_uint_eq(questions, 1);
    pthread_barrier_destroy(&asked);
}
END_TEST

/* A waiting one can be called off. */
START_TEST(waiting_ends_when_called_off)
{
    struct signer s = {.grip = ED, .args = "", .rounds = 1};
    struct timespec ts = {0, 100000000};
    pthread_barrier_t asked;

    put_all();
    pthread_barrier_init(&asked, NULL, 2);
    s.p.answers[0] = PASS;
    s.p.wait = &asked;
    ck_assert_int_eq(pthread_create(&s.thread, NULL, sign_often, &s), 0);
    nanosleep(&ts, NULL);
    me.canceled = true;
    ck_code(sign(ED, -1, ""), GPG_ERR_CANCELED);
    pthread_barrier_wait(&asked);
    pthread_join(s.thread, NULL);
    person_clear(&s.p);
    pthread_barrier_destroy(&asked);
}
END_TEST

static void *change_often(void *arg)
{
    struct signer *s = arg;
    char args[64];

    for (int i = 0; i < s->rounds; i++) {
        snprintf(args, sizeof args, "name=X-%d: set=1", i);
        buf_reset(&s->p.value);
        buf_put(&s->p.value, "value", 5);
        gpg_error_t err = verb_as(&s->p, "ATTR", s->grip, -1, NULL, args);

        ck_assert(err == 0 || gpg_err_code(err) == GPG_ERR_CONFLICT);
    }
    return NULL;
}

static void *list_often(void *arg)
{
    struct signer *s = arg;

    for (int i = 0; i < s->rounds; i++) {
        char *lines = learned();

        ck_assert_ptr_nonnull(strstr(lines, s->grip));
        gpgrt_free(lines);
        if (i % 4 == 0)
            driver_gpg.forget(state);
    }
    return NULL;
}

START_TEST(all_at_once)
{
    static void *(*const runs[6])(void *) = {sign_often,   sign_often, sign_often,
                                             change_often, list_often, list_often};
    struct signer s[6];
    char grip[41];

    generate(ED_PARAM, "protect=0", grip);
    put_all();
    memset(s, 0, sizeof s);
    for (int i = 0; i < 6; i++) {
        s[i].grip = i == 1 ? P256 : i == 2 ? grip : ED;
        s[i].args = "";
        s[i].rounds = 10;
        for (int a = 0; a < 12; a++)
            s[i].p.answers[a] = PASS;
    }
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(pthread_create(&s[i].thread, NULL, runs[i], &s[i]), 0);
    for (int i = 0; i < 6; i++) {
        pthread_join(s[i].thread, NULL);
        person_clear(&s[i].p);
    }
}
END_TEST

static unsigned leftovers(void)
{
    unsigned n = 0;
    DIR *d = opendir(folder);

    ck_assert_ptr_nonnull(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        n += strncmp(e->d_name, ".latchkey-", 10) == 0;
    closedir(d);
    return n;
}

/* Killed at any moment: the file as it was, or as it was to be. */
START_TEST(killed_while_writing)
{
    struct buf before = BUF_INIT_SECURE;

    put_all();
    read_path(key_path(RSA), &before);
    for (unsigned round = 0; round < 60; round++) {
        struct buf after = BUF_INIT_SECURE;
        struct gpg_file *f = NULL;
        struct timespec ts = {0, (long)round * 37000};
        pid_t pid = fork();
        int st;

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            for (unsigned i = 0;; i++) {
                char args[64];

                snprintf(args, sizeof args, "name=Round-%u: set=1", i);
                buf_reset(&me.value);
                buf_put(&me.value, "value of some length, so that there is something to write", 57);
                if (verb("ATTR", RSA, args) != 0)
                    _exit(1);
            }
        }
        nanosleep(&ts, NULL);
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, &st, 0), pid);
        ck_assert_msg(WIFSIGNALED(st), "the writer ended by itself");
        read_path(key_path(RSA), &after);
        ck_ok(gpg_file_parse(buf_rd(&after), &f));
        gpg_file_free(f);
        buf_free(&after);
        write_file(key_path(RSA), before.data, before.len);
    }
    set(&me.value, "x");
    ck_ok(verb("ATTR", RSA, "name=Label: set=1"));
    ck_assert_uint_eq(leftovers(), 0); /* swept by the next writer */
    me.answers[0] = PASS;
    ck_ok(sign(RSA, -1, ""));
    buf_free(&before);
}
END_TEST

START_TEST(a_full_disk_changes_nothing)
{
    struct buf before = BUF_INIT_SECURE, after = BUF_INIT_SECURE;
    pid_t pid;
    int st;

    put_all();
    read_path(key_path(ED), &before);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct rlimit none = {40, 40};

        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &none);
        set(&me.value, "x");
        _exit(gpg_err_code(verb("ATTR", ED, "name=Label: set=1")) == GPG_ERR_EFBIG ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &st, 0), pid);
    ck_assert(WIFEXITED(st) && WEXITSTATUS(st) == 0);
    read_path(key_path(ED), &after);
    ck_assert(rd_eq(buf_rd(&before), buf_rd(&after)));
    ck_assert_uint_eq(leftovers(), 0);
    buf_free(&before);
    buf_free(&after);
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
    tcase_add_test(tc, points_of_any_length);
    tcase_add_test(tc, wrong_passphrases);
    tcase_add_test(tc, how_long_a_passphrase_serves);
    tcase_add_test(tc, a_passphrase_ends);
    tcase_add_test(tc, a_changed_file_is_another_key);
    tcase_add_test(tc, cached_by_name);
    tcase_add_test(tc, delete);
    tcase_add_loop_test(tc, every_kind_is_made_and_works, 0,
                        sizeof all_kinds / sizeof all_kinds[0]);
    tcase_add_test(tc, one_passphrase_for_a_key_and_its_subkey);
    tcase_add_test(tc, keys_without_passphrase);
    tcase_add_test(tc, what_cannot_be_made);
    tcase_add_test(tc, exported_and_imported);
    tcase_add_test(tc, unattended_imports_ask_later);
    tcase_add_test(tc, a_stock_native_key_in_a_store_that_cannot_be_written);
    tcase_add_test(tc, other_forms_of_export);
    tcase_add_test(tc, imports_that_are_refused);
    tcase_add_test(tc, another_passphrase);
    tcase_add_test(tc, attributes);
    tcase_add_test(tc, stubs);
    tcase_add_test(tc, keys_for_ssh);
    tcase_add_test(tc, one_question_for_all);
    tcase_add_test(tc, waiting_ends_when_called_off);
    tcase_add_test(tc, all_at_once);
    tcase_add_test(tc, killed_while_writing);
    tcase_add_test(tc, a_full_disk_changes_nothing);
}

int main(void)
{
    if (!key_memory_init())
        return EXIT_FAILURE;
    umask(077);
    return run_suite("devices/gpg keystore", add);
}
