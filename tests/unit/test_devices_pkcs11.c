/* The PKCS#11 driver against a module whose tokens, failures and PIN counters a test sets. */
#include "devices/pkcs11.h"
#include "proto/token_protocol.h"
#include "tests/pkcs11/fake_module.h"

#include <check.h>
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fake_pkcs11 *fake;
static struct fake_token *one, *two;
static struct fake_pkcs11 pristine;
static void *state;
static char module[PATH_MAX];

/* The person: answers in order; NULL: cancels. */
static const char *answers[8];
static unsigned asked;
static struct pin_request questions[8];
static char labels[8][40];

static gpg_error_t ask_pin(void *arg, const struct pin_request *q, struct buf *pin)
{
    (void)arg;
    ck_assert_uint_lt(asked, 8);
    questions[asked] = *q;
    snprintf(labels[asked], sizeof labels[0], "%s", q->label != NULL ? q->label : "");
    if (answers[asked] == NULL) {
        asked++;
        return gpg_error(GPG_ERR_CANCELED);
    }
    buf_put(pin, answers[asked], strlen(answers[asked]));
    asked++;
    return 0;
}

static unsigned touches;

static void touch(void *arg, bool waiting)
{
    (void)arg;
    touches += waiting;
}

static bool canceled(void *arg)
{
    (void)arg;
    return false;
}

static const struct driver_io io = {.ask_pin = ask_pin, .touch = touch, .canceled = canceled};

static void setup(void)
{
    void *so;
    fake_pkcs11_function *get;

    memset(answers, 0, sizeof answers);
    asked = touches = 0;
    so = dlopen(module, RTLD_NOW | RTLD_LOCAL);
    ck_assert_msg(so != NULL, "%s", dlerror());
    *(void **)&get = dlsym(so, "fake_pkcs11");
    fake = get();
    pristine = *fake;
    one = &fake->tokens[0];
    two = &fake->tokens[1];
    ck_assert_uint_eq(driver_pkcs11.open(module, &state), 0);
}

static void teardown(void)
{
    driver_pkcs11.close(state);
    ck_assert_uint_eq(fake->sessions, 0);
}

static gpg_error_t load(const char *pin)
{
    struct driver_op op = {.pin_age = -1, .io = &io};

    return driver_pkcs11.load(state, &op, rd_of(pin, strlen(pin)));
}

/* --- keys ------------------------------------------------------------------------------------------------------------- */

struct listed {
    char id[64], comment[512], pin[16];
    struct key *key;
};
static struct listed list[8];
static size_t nlist, longest;

static void copy_field(const char *line, const char *name, char *out, size_t n)
{
    char *s = NULL;

    ck_assert_uint_eq(field_get(line, name, &s), 0);
    snprintf(out, n, "%s", s != NULL ? s : "");
    gpgrt_free(s);
}

static void drop_list(void)
{
    for (size_t i = 0; i < nlist; i++)
        key_unref(list[i].key);
    memset(list, 0, sizeof list);
    nlist = 0;
}

static void take_key(const char *line)
{
    struct listed *l = &list[nlist++];
    char *text = NULL;
    struct buf b = BUF_INIT;
    gcry_sexp_t sexp;

    ck_assert_uint_le(nlist, 8);
    copy_field(line, "id", l->id, sizeof l->id);
    copy_field(line, "comment", l->comment, sizeof l->comment);
    copy_field(line, "pin", l->pin, sizeof l->pin);
    ck_assert_uint_eq(field_get(line, "pub", &text), 0);
    ck_assert_uint_eq(b64_decode(text, strlen(text), &b), 0);
    ck_assert_uint_eq(gcry_sexp_new(&sexp, b.data, b.len, 0), 0);
    ck_assert_uint_eq(key_from_sexp(sexp, false, &l->key), 0);
    gcry_sexp_release(sexp);
    gpgrt_free(text);
    buf_free(&b);
}

/* Fills LIST; the TOKEN line goes to OUT. */
static size_t learn(char out[512])
{
    struct buf lines = BUF_INIT;
    char *text, *save = NULL;

    drop_list();
    longest = 0;
    ck_assert_uint_eq(driver_pkcs11.learn(state, true, false, &lines), 0);
    text = buf_steal_cstr(&lines);
    for (char *l = strtok_r(text, "\n", &save); l != NULL; l = strtok_r(NULL, "\n", &save)) {
        if (strlen(l) > longest)
            longest = strlen(l);
        if (strncmp(l, "KEY ", 4) == 0)
            take_key(l + 4);
        else if (out != NULL)
            snprintf(out, 512, "%s", l);
    }
    gpgrt_free(text);
    return nlist;
}

static struct driver_op last;

/* Signs with key I of the list, and verifies. */
static gpg_error_t sign_with(const struct listed *l, int hash, long pin_age, bool drop)
{
    static const char message[] = "to be signed";
    uint8_t digest[64];
    gcry_sexp_t sig = NULL;
    gpg_error_t err;

    last = (struct driver_op){.key_id = l->id, .pin_age = pin_age, .drop = drop, .io = &io};
    if (l->key->algo == KEY_ED25519)
        hash = 0;
    ck_assert_uint_eq(
        tosign_from_message(hash, rd_of(message, sizeof message), digest, &last.input), 0);
    err = driver_pkcs11.sign(state, &last, &sig);
    if (err == 0)
        ck_assert_uint_eq(sig_verify(l->key, &last.input, sig), 0);
    gcry_sexp_release(sig);
    return err;
}

static gpg_error_t sign(size_t i)
{
    return sign_with(&list[i], GCRY_MD_SHA256, -1, false);
}

START_TEST(every_kind_of_key)
{
    static const int hashes[] = {GCRY_MD_SHA1, GCRY_MD_SHA256, GCRY_MD_SHA512};
    char token[512];

    ck_assert_uint_eq(learn(token), 0);
    ck_assert_str_eq(token, "TOKEN kind=pkcs11 name=pkcs11-fake_pkcs11 label=fake_pkcs11");
    ck_assert_uint_eq(load("1234"), 0);
    ck_assert_uint_eq(learn(token), 4);
    ck_assert_ptr_nonnull(strstr(token, "name=pkcs11-F0001 serial=F0001 label=Fake%20One"));
    ck_assert_int_eq(list[0].key->algo, KEY_RSA);
    ck_assert_str_eq(list[1].key->curve, "NIST P-256");
    ck_assert_str_eq(list[2].key->curve, "NIST P-384");
    ck_assert_int_eq(list[3].key->algo, KEY_ED25519);
    ck_assert_str_eq(list[0].comment, "key 0");
    ck_assert_str_eq(list[2].comment, module); /* it has no label */
    ck_assert_str_eq(list[0].pin, "once");
    for (size_t h = 0; h < 3; h++)
        ck_assert_uint_eq(sign_with(&list[0], hashes[h], -1, false), 0);
    ck_assert_uint_eq(sign_with(&list[1], GCRY_MD_SHA256, -1, false), 0);
    ck_assert_uint_eq(sign_with(&list[2], GCRY_MD_SHA384, -1, false), 0);
    ck_assert_uint_eq(sign_with(&list[2], GCRY_MD_SHA512, -1, false), 0); /* cut to the field */
    ck_assert_uint_eq(sign_with(&list[3], 0, -1, false), 0);
    ck_assert(last.pin_cached && !last.pin_typed);
    ck_assert_uint_eq(one->npins, 1);
    ck_assert_uint_eq(asked, 0);
}
END_TEST

START_TEST(certificates_and_bare_points)
{
    one->certificate = one->raw_points = true;
    ck_assert_uint_eq(load("1234"), 0);
    ck_assert_uint_eq(learn(NULL), 4);
    /* Public-key objects first. */
    ck_assert_str_eq(list[3].key->curve, "NIST P-256");
    ck_assert_str_eq(list[3].comment, "/CN=Ann Author");
    for (size_t i = 0; i < 4; i++)
        ck_assert_uint_eq(sign(i), 0);
}
END_TEST

/* A line of the protocol holds 1000 octets, and the broker takes comments of 400. */
START_TEST(long_labels)
{
    memset(one->label_of_keys, 'x', sizeof one->label_of_keys - 1);
    ck_assert_uint_eq(load("1234"), 0);
    ck_assert_uint_eq(learn(NULL), 4);
    ck_assert_uint_eq(strlen(list[1].comment), 400);
    ck_assert_uint_lt(longest, 990);
    /* Blanks take three octets each, and no character is cut in two. */
    for (size_t i = 0; i + 3 < sizeof one->label_of_keys - 1; i += 3)
        memcpy(one->label_of_keys + i, "\xe2\x82\xac", 3);
    driver_pkcs11.close(state);
    ck_assert_uint_eq(driver_pkcs11.open(module, &state), 0);
    ck_assert_uint_eq(load("1234"), 0);
    ck_assert_uint_eq(learn(NULL), 4);
    ck_assert_uint_lt(longest, 990);
    for (size_t i = 0; i < 4; i++)
        ck_assert_uint_eq(strlen(list[i].comment) % 3, 0);
}
END_TEST

START_TEST(a_wrong_pin_is_sent_once)
{
    ck_assert_uint_eq(gpg_err_code(load("4321")), GPG_ERR_BAD_PIN);
    ck_assert_uint_eq(one->npins, 1);
    ck_assert_int_eq(one->tries, 2);
    ck_assert_uint_eq(asked, 0);
    ck_assert_uint_eq(learn(NULL), 0);
}
END_TEST

/* The one that came with ssh-add is not what the person typed for the last try. */
START_TEST(the_last_try_is_asked_for)
{
    one->tries = 1;
    ck_assert_uint_eq(load("4321"), 0);
    ck_assert_uint_eq(one->npins, 0);
    ck_assert_uint_eq(learn(NULL), 4);
    ck_assert_uint_eq(gpg_err_code(sign(1)), GPG_ERR_CANCELED);
    ck_assert_uint_eq(asked, 1);
    ck_assert_int_eq(questions[0].tries, 1);
    ck_assert_str_eq(labels[0], "Fake One");
    ck_assert_uint_eq(one->npins, 0);
    answers[1] = "1234";
    ck_assert_uint_eq(sign(1), 0);
    ck_assert(last.pin_typed);
    ck_assert_int_eq(one->tries, 3);
    /* Somebody else used them up: neither is the held one sent on the last try. */
    ck_assert_uint_eq(sign_with(&list[1], GCRY_MD_SHA256, -1, true), 0);
    one->tries = 1;
    ck_assert_uint_eq(gpg_err_code(sign(1)), GPG_ERR_CANCELED);
    ck_assert_uint_eq(one->npins, 1);
    ck_assert_int_eq(one->tries, 1);
}
END_TEST

START_TEST(a_blocked_pin_is_not_tried)
{
    one->tries = 0;
    ck_assert_uint_eq(gpg_err_code(load("1234")), GPG_ERR_PIN_BLOCKED);
    ck_assert_uint_eq(one->npins, 0);
}
END_TEST

START_TEST(asked_until_it_is_right)
{
    one->tries = 2;
    ck_assert_uint_eq(load(""), 0);
    ck_assert_uint_eq(learn(NULL), 4);
    answers[0] = "0000";
    answers[1] = "1234";
    ck_assert_uint_eq(sign(0), 0);
    ck_assert_uint_eq(asked, 2);
    ck_assert(questions[0].low && !questions[0].wrong && questions[0].tries == -1);
    ck_assert(questions[1].wrong && questions[1].tries == 1);
    ck_assert_int_eq(questions[0].min, 4);
    ck_assert_int_eq(questions[0].max, 16);
    ck_assert(last.pin_typed && !last.pin_cached);
}
END_TEST

START_TEST(the_third_wrong_one_ends_it)
{
    ck_assert_uint_eq(load(""), 0);
    ck_assert_uint_eq(learn(NULL), 4);
    answers[0] = answers[1] = answers[2] = answers[3] = "0000";
    ck_assert_uint_eq(gpg_err_code(sign(0)), GPG_ERR_PIN_BLOCKED);
    ck_assert_uint_eq(asked, 3);
}
END_TEST

START_TEST(age_and_drop)
{
    ck_assert_uint_eq(load("1234"), 0);
    ck_assert_uint_eq(learn(NULL), 4);
    ck_assert_uint_eq(sign_with(&list[1], GCRY_MD_SHA256, 3600, true), 0);
    ck_assert(!one->logged_in);
    ck_assert(last.pin_cached);
    ck_assert_uint_eq(sign_with(&list[1], GCRY_MD_SHA256, 3600, false), 0);
    ck_assert(one->logged_in);
    ck_assert_uint_eq(one->npins, 2);
    /* Typed for this: looked at by the token, though it is logged in. */
    answers[0] = "0000";
    answers[1] = "1234";
    ck_assert_uint_eq(sign_with(&list[1], GCRY_MD_SHA256, 0, false), 0);
    ck_assert_uint_eq(asked, 2);
    ck_assert(last.pin_typed);
    driver_pkcs11.forget(state);
    ck_assert(!one->logged_in);
    ck_assert_uint_eq(gpg_err_code(sign(1)), GPG_ERR_CANCELED);
}
END_TEST

START_TEST(verify_proves_a_typed_pin)
{
    struct driver_op op = {.pin_age = 0, .io = &io};

    ck_assert_uint_eq(load("1234"), 0);
    answers[0] = "1234";
    ck_assert_uint_eq(driver_pkcs11.verify(state, &op, NULL), 0);
    ck_assert(op.pin_typed);
    ck_assert_uint_eq(one->npins, 2);
}
END_TEST

START_TEST(always_authenticate)
{
    one->always_auth = true;
    ck_assert_uint_eq(load("1234"), 0);
    ck_assert_uint_eq(learn(NULL), 4);
    ck_assert_str_eq(list[1].pin, "always");
    answers[0] = "0000";
    answers[1] = "1234";
    ck_assert_uint_eq(sign(1), 0);
    ck_assert_uint_eq(asked, 2);
    ck_assert(last.pin_typed && !last.pin_cached);
    /* Given up in the middle: the next one is not hindered by it. */
    ck_assert_uint_eq(gpg_err_code(sign(1)), GPG_ERR_CANCELED);
    answers[3] = "1234";
    ck_assert_uint_eq(sign(1), 0);
}
END_TEST

START_TEST(a_keypad)
{
    one->flags |= CKF_PROTECTED_AUTHENTICATION_PATH;
    ck_assert_uint_eq(load("1234"), 0);
    ck_assert_uint_eq(learn(NULL), 4);
    ck_assert_uint_eq(one->keypad, 0);
    ck_assert_uint_eq(sign(1), 0);
    ck_assert_uint_eq(one->keypad, 1);
    ck_assert_uint_eq(touches, 1);
    ck_assert(last.pin_typed);
    ck_assert_uint_eq(sign(1), 0);
    ck_assert_uint_eq(one->keypad, 1);
    ck_assert_uint_eq(one->npins + asked, 0);
}
END_TEST

START_TEST(no_login_wanted)
{
    one->flags = 0;
    ck_assert_uint_eq(load(""), 0);
    ck_assert_uint_eq(learn(NULL), 4);
    ck_assert_str_eq(list[0].pin, "none");
    ck_assert_uint_eq(sign(0), 0);
    ck_assert(!last.pin_typed && !last.pin_cached);
}
END_TEST

/* What shows nothing before the login: the person is asked when no PIN came. */
START_TEST(hidden_public_keys)
{
    one->hide_public = true;
    answers[0] = "1234";
    ck_assert_uint_eq(load(""), 0);
    ck_assert_uint_eq(asked, 1);
    ck_assert_uint_eq(learn(NULL), 4);
    /* A process that was started anew is asked for a key that it has never seen. */
    driver_pkcs11.close(state);
    ck_assert_uint_eq(driver_pkcs11.open(module, &state), 0);
    answers[1] = "1234";
    ck_assert_uint_eq(sign(1), 0);
    ck_assert_uint_eq(asked, 2);
    ck_assert(last.pin_typed);
}
END_TEST

/* In a process that was started anew the module is loaded when a key is wanted. */
START_TEST(loaded_at_first_use)
{
    ck_assert_uint_eq(load("1234"), 0);
    ck_assert_uint_eq(learn(NULL), 4);
    driver_pkcs11.close(state);
    ck_assert_uint_eq(fake->finalized, 1);
    ck_assert_uint_eq(one->logouts, 1);
    ck_assert_uint_eq(driver_pkcs11.open(module, &state), 0);
    answers[0] = "1234";
    ck_assert_uint_eq(sign(1), 0);
    ck_assert_uint_eq(asked, 1);
    ck_assert_uint_eq(sign(0), 0);
    ck_assert_uint_eq(asked, 1);
    ck_assert_uint_eq(
        gpg_err_code(sign_with(&(struct listed){.id = "00", .key = list[0].key}, 8, -1, false)),
        GPG_ERR_NO_SECKEY);
}
END_TEST

START_TEST(lost_logins_and_sessions_are_repaired)
{
    static const struct {
        const char *function;
        CK_RV rv;
    } cases[] = {
        {"C_SignInit", CKR_USER_NOT_LOGGED_IN},
        {"C_SignInit", CKR_SESSION_HANDLE_INVALID},
        {"C_Sign", CKR_DEVICE_REMOVED},
        {"C_Sign", CKR_SESSION_CLOSED},
        {"C_Sign", CKR_DEVICE_ERROR},
        {"C_FindObjectsInit", CKR_SESSION_HANDLE_INVALID},
        {"C_FindObjects", CKR_SESSION_HANDLE_INVALID},
        {"C_SignInit", CKR_OPERATION_ACTIVE},
        {"C_SignInit", CKR_KEY_HANDLE_INVALID},
        {"C_GetAttributeValue", CKR_DEVICE_REMOVED},
        {"C_OpenSession", CKR_DEVICE_REMOVED},
        {"C_Login", CKR_TOKEN_NOT_PRESENT},
    };

    ck_assert_uint_eq(load("1234"), 0);
    ck_assert_uint_eq(learn(NULL), 4);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake->fail = cases[i].function;
        fake->rv = cases[i].rv;
        fake->times = 1;
        fake->skip = 0;
        if (strcmp(fake->fail, "C_OpenSession") == 0 || strcmp(fake->fail, "C_Login") == 0)
            p11_drop_session(&((struct p11 *)state)->tokens[0]);
        ck_assert_msg(sign(0) == 0, "%s", cases[i].function);
        ck_assert_int_eq(fake->times, 0);
    }
    ck_assert_uint_eq(asked, 0);
    ck_assert_int_eq(one->tries, 3);
}
END_TEST

START_TEST(what_cannot_be_repaired)
{
    ck_assert_uint_eq(load("1234"), 0);
    ck_assert_uint_eq(learn(NULL), 4);
    fake->fail = "C_Sign";
    fake->rv = CKR_DEVICE_REMOVED;
    fake->times = 1000;
    ck_assert_uint_eq(gpg_err_code(sign(0)), GPG_ERR_CARD_NOT_PRESENT);
    ck_assert_int_eq(fake->times, 1000 - 3);
    fake->rv = CKR_FUNCTION_FAILED;
    ck_assert_uint_eq(gpg_err_code(sign(0)), GPG_ERR_CARD);
    fake->rv = CKR_CRYPTOKI_NOT_INITIALIZED; /* ends the process */
    ck_assert_uint_eq(gpg_err_code(sign(0)), GPG_ERR_ENODEV);
    fake->fail = NULL;
    ck_assert_uint_eq(sign(0), 0);
    ck_assert_uint_eq(asked, 0);
}
END_TEST

START_TEST(taken_out_and_put_back)
{
    ck_assert_uint_eq(load("1234"), 0);
    ck_assert_uint_eq(learn(NULL), 4);
    one->present = false;
    ck_assert_uint_eq(gpg_err_code(sign(1)), GPG_ERR_CARD_NOT_PRESENT);
    one->present = true;
    one->logged_in = false;
    one->slot = 21; /* elsewhere */
    ck_assert_uint_eq(sign(1), 0);
    ck_assert(last.pin_cached);
    ck_assert_uint_eq(asked, 0);
}
END_TEST

/* The held PIN is for the token that took it and no other. */
START_TEST(another_token_gets_no_pin)
{
    ck_assert_uint_eq(load("1234"), 0);
    ck_assert_uint_eq(learn(NULL), 4);
    strcpy(one->serial, "F9999");
    one->logged_in = false;
    one->npins = 0;
    p11_drop_session(&((struct p11 *)state)->tokens[0]);
    ck_assert_uint_eq(gpg_err_code(sign(1)), GPG_ERR_CARD_NOT_PRESENT);
    ck_assert_uint_eq(one->npins, 0);
    /* In the very slot, with a session that still looks good. */
    strcpy(one->serial, "F0001");
    ck_assert_uint_eq(sign_with(&list[1], GCRY_MD_SHA256, -1, true), 0);
    strcpy(one->serial, "F9999");
    one->npins = 0;
    ck_assert_uint_eq(gpg_err_code(sign(1)), GPG_ERR_CARD_NOT_PRESENT);
    ck_assert_uint_eq(one->npins, 0);
}
END_TEST

static void second_token(void)
{
    two->present = true;
    two->with_keys[1] = true;
}

START_TEST(two_cards_and_one_pin)
{
    char token[512];

    second_token();
    ck_assert_uint_eq(load("1234"), 0);
    /* The first one took it: it was meant for that one. */
    ck_assert_uint_eq(one->npins, 1);
    ck_assert_uint_eq(two->npins, 0);
    ck_assert_uint_eq(learn(token), 5);
    ck_assert_ptr_nonnull(strstr(token, "name=pkcs11-fake_pkcs11 "));
    answers[0] = "9876";
    ck_assert_uint_eq(sign(4), 0);
    ck_assert_str_eq(labels[0], "Fake Two");
    ck_assert_str_eq(two->pins[0], "9876");
    ck_assert_uint_eq(sign(0), 0);
    ck_assert_uint_eq(asked, 1);
}
END_TEST

START_TEST(what_is_software)
{
    char token[512];

    second_token();
    one->soft = true;
    ck_assert_uint_eq(load("1234"), 0);
    ck_assert_uint_eq(learn(token), 5);
    ck_assert_ptr_null(strstr(token, "soft="));
    driver_pkcs11.close(state);
    two->soft = true;
    ck_assert_uint_eq(driver_pkcs11.open(module, &state), 0);
    learn(token);
    ck_assert_ptr_null(strstr(token, "soft=")); /* nothing is known before it is loaded */
    ck_assert_uint_eq(load("1234"), 0);
    ck_assert_uint_eq(learn(token), 5);
    ck_assert_ptr_nonnull(strstr(token, " soft=1"));
}
END_TEST

START_TEST(the_second_card_is_meant)
{
    second_token();
    ck_assert_uint_eq(load("9876"), 0);
    ck_assert_uint_eq(learn(NULL), 1); /* as ssh-agent: who refused it shows nothing */
    ck_assert_int_eq(one->tries, 2);
    ck_assert_int_eq(two->tries, 3);
    /* Once more: now it is known that the first one refuses. */
    driver_pkcs11.close(state);
    two->logged_in = false;
    ck_assert_uint_eq(driver_pkcs11.open(module, &state), 0);
    ck_assert_uint_eq(load("9876"), 0);
    ck_assert_int_eq(one->tries, 2);
}
END_TEST

START_TEST(one_card_in_two_slots)
{
    char token[512];

    second_token();
    strcpy(two->serial, "F0001");
    strcpy(two->pin, "1234");
    ck_assert_uint_eq(load("1234"), 0);
    ck_assert_uint_eq(two->npins, 1);
    ck_assert_uint_eq(learn(token), 5);
    ck_assert_ptr_nonnull(strstr(token, "name=pkcs11-F0001 "));
    ck_assert_uint_eq(sign(4), 0);
    ck_assert_uint_eq(asked, 0);
}
END_TEST

START_TEST(nothing_to_serve)
{
    one->present = false;
    ck_assert_uint_eq(gpg_err_code(load("1234")), GPG_ERR_CARD_NOT_PRESENT);
    one->present = true;
    memset(one->with_keys, 0, sizeof one->with_keys);
    driver_pkcs11.close(state);
    ck_assert_uint_eq(driver_pkcs11.open(module, &state), 0);
    ck_assert_uint_eq(gpg_err_code(load("1234")), GPG_ERR_NO_SECKEY);
    driver_pkcs11.close(state);
    fake->fail = "C_Initialize";
    fake->rv = CKR_GENERAL_ERROR;
    fake->times = 1;
    ck_assert_uint_eq(driver_pkcs11.open(module, &state), 0);
    ck_assert_uint_eq(gpg_err_code(load("1234")), GPG_ERR_NOT_INITIALIZED);
    driver_pkcs11.close(state);
    ck_assert_uint_eq(driver_pkcs11.open("/proc/self/exe", &state), 0);
    ck_assert_uint_eq(gpg_err_code(load("1234")), GPG_ERR_NOT_FOUND);
}
END_TEST

START_TEST(points_and_parameters)
{
    static const uint8_t p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
    static const uint8_t k256[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a};
    static const uint8_t ed[] = {0x13, 0x0c, 'e', 'd', 'w', 'a', 'r',
                                 'd',  's',  '2', '5', '5', '1', '9'};
    uint8_t point[65] = {4}, bits[35] = {0x03, 0x21, 0x00, 0x58};
    struct key *k = NULL;

    /* Not on the curve. */
    ck_assert_uint_ne(p11_parse_ec(rd_of(p256, sizeof p256), rd_of(point, sizeof point), false, &k),
                      0);
    ck_assert_uint_eq(
        gpg_err_code(p11_parse_ec(rd_of(k256, sizeof k256), rd_of(point, sizeof point), false, &k)),
        GPG_ERR_UNKNOWN_CURVE);
    ck_assert_uint_eq(gpg_err_code(p11_parse_ec(rd_of(p256, 4), rd_of(point, 65), false, &k)),
                      GPG_ERR_UNKNOWN_CURVE);
    ck_assert_uint_eq(
        gpg_err_code(p11_parse_ec(rd_of(p256, sizeof p256), rd_of(point, 64), false, &k)),
        GPG_ERR_BAD_PUBKEY);
    ck_assert_uint_eq(
        gpg_err_code(p11_parse_ec(rd_of(p256, sizeof p256), rd_of(NULL, 0), false, &k)),
        GPG_ERR_BAD_PUBKEY);
    memset(bits + 4, 0x66, 31); /* the base point */
    ck_assert_uint_eq(p11_parse_ec(rd_of(ed, sizeof ed), rd_of(bits, sizeof bits), true, &k), 0);
    key_unref(k);
    ck_assert_uint_eq(gpg_err_code(p11_parse_cert(rd_of(p256, sizeof p256), &k, NULL)),
                      GPG_ERR_BAD_CERT);
}
END_TEST

static void restore(void)
{
    teardown();
    *fake = pristine;
}

int main(int argc, char **argv)
{
    Suite *s = suite_create("devices/pkcs11");
    TCase *t = tcase_create("pkcs11");
    SRunner *r;
    char *slash;
    int failed;

    (void)argc;
    if (realpath(argv[0], module) == NULL) /* BUILD/unit/.. */
        return EXIT_FAILURE;
    for (int i = 0; i < 2; i++) {
        slash = strrchr(module, '/');
        if (slash != NULL)
            *slash = '\0';
    }
    strcat(module, "/fake_pkcs11.so");
    gcry_check_version(NULL);
    gcry_control(GCRYCTL_INIT_SECMEM, 262144, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, restore);
    tcase_add_test(t, every_kind_of_key);
    tcase_add_test(t, certificates_and_bare_points);
    tcase_add_test(t, long_labels);
    tcase_add_test(t, a_wrong_pin_is_sent_once);
    tcase_add_test(t, the_last_try_is_asked_for);
    tcase_add_test(t, a_blocked_pin_is_not_tried);
    tcase_add_test(t, asked_until_it_is_right);
    tcase_add_test(t, the_third_wrong_one_ends_it);
    tcase_add_test(t, age_and_drop);
    tcase_add_test(t, verify_proves_a_typed_pin);
    tcase_add_test(t, always_authenticate);
    tcase_add_test(t, a_keypad);
    tcase_add_test(t, no_login_wanted);
    tcase_add_test(t, hidden_public_keys);
    tcase_add_test(t, loaded_at_first_use);
    tcase_add_test(t, lost_logins_and_sessions_are_repaired);
    tcase_add_test(t, what_cannot_be_repaired);
    tcase_add_test(t, taken_out_and_put_back);
    tcase_add_test(t, another_token_gets_no_pin);
    tcase_add_test(t, two_cards_and_one_pin);
    tcase_add_test(t, what_is_software);
    tcase_add_test(t, the_second_card_is_meant);
    tcase_add_test(t, one_card_in_two_slots);
    tcase_add_test(t, nothing_to_serve);
    tcase_add_test(t, points_and_parameters);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
