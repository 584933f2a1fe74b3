/* PIV: what a card says, what is said to it, and what becomes of PINs, against a card that is a list of exchanges. */
#include "devices/piv.h"
#include "tests/unit/card_script.h"

#include <check.h>
#include <string.h>

static unsigned asked;
static const char *typed = "123456";

static gpg_error_t ask_pin(void *arg, const struct pin_request *q, struct buf *pin)
{
    (void)arg;
    ck_assert_str_eq(q->ref, "piv");
    ck_assert_int_eq(q->max, 8);
    asked++;
    buf_printf(pin, "%s", typed);
    return buf_err(pin);
}

static void touch(void *arg, bool waiting)
{
    (void)arg;
    (void)waiting;
}

static bool canceled(void *arg)
{
    (void)arg;
    return false;
}

static const struct driver_io io = {.ask_pin = ask_pin, .touch = touch, .canceled = canceled};
static char reader[] = "Reader";

#define POINT                                                                                      \
    "046B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C2964FE342E2FE1A7F9B8EE7EB4A7C" \
    "0F9E162BCE33576B315ECECBB6406837BF51F5"
#define SELECT "00A404000BA00000030800001000010000"
#define VERIFY "0020008008313233343536FFFF"
#define HASH   "1111111111111111111111111111111111111111111111111111111111111111"
#define SIGN   "0087119A267C2482008120" HASH "00"
#define SIGNED "7C0A8208300602010102010" /* and the last digit of s, SW */

static struct rd unhex(const char *hex, struct buf *b)
{
    buf_reset(b);
    ck_assert_uint_eq(hex_decode(hex, b), 0);
    return buf_rd(b);
}

static void expect(const struct exchange *s)
{
    begin_script(s);
    asked = 0;
    typed = "123456";
}

/* A card whose 9A is the P-256 key POINT, as it is after it was learned. */
static struct piv *card(void)
{
    const struct card c = {.transport = &fake};
    const struct card_place place = {.reader = reader, .bus = -1, .dev = -1};
    struct buf b = BUF_INIT;
    struct piv *p;

    ck_assert_uint_eq(piv_new(&c, &place, &p), 0);
    ck_assert_uint_eq(
        key_from_point("NIST P-256", unhex(POINT, &b), false, &p->slots[PIV_AUTH].key), 0);
    p->slots[PIV_AUTH].alg = PIV_P256;
    p->slots[PIV_AUTH].pin = PIV_PIN_ONCE;
    p->slots[PIV_AUTH].touch = PIV_TOUCH_NEVER;
    p->slots[PIV_AUTH].told = true;
    p->learned = true;
    p->tries = 3;
    buf_free(&b);
    return p;
}

static gpg_error_t sign(struct piv *p, bool drop, struct driver_op *op)
{
    struct buf hash = BUF_INIT;
    gcry_sexp_t sig = NULL;
    gpg_error_t err;

    *op = (struct driver_op){.io = &io, .key_id = "piv-9a", .pin_age = -1, .drop = drop};
    op->input = (struct tosign){.hash = GCRY_MD_SHA256, .data = unhex(HASH, &hash)};
    err = piv_sign(p, op, &sig);
    gcry_sexp_release(sig);
    buf_free(&hash);
    return err;
}

/* --- parsing -------------------------------------------------------------------------------------------------------- */

START_TEST(metadata)
{
    struct buf b = BUF_INIT;
    struct piv_metadata m;
    struct key *k = NULL;
    struct rd r = unhex("010111020202030301010443"
                        "8641" POINT,
                        &b);
    ck_assert_uint_eq(piv_parse_metadata(r, &m), 0);
    ck_assert(m.alg == PIV_P256 && m.pin == PIV_PIN_ONCE && m.touch == PIV_TOUCH_CACHED);
    ck_assert(m.origin == 1 && m.is_default == -1 && m.left == -1);
    ck_assert_uint_eq(piv_parse_public(m.alg, m.public, false, &k), 0);
    ck_assert(k->algo == KEY_ECDSA && piv_alg_of(k) == PIV_P256);
    key_unref(k);
    for (size_t n = 0; n < r.n; n++) { /* cut anywhere, it is no key */
        k = NULL;
        if (piv_parse_metadata(rd_of(r.p, n), &m) == 0)
            ck_assert_uint_ne(piv_parse_public(m.alg, m.public, false, &k), 0);
    }
    ck_assert_uint_eq(piv_parse_metadata(unhex("0101FF05010106020302", &b), &m), 0);
    ck_assert(m.is_default == 1 && m.total == 3 && m.left == 2 && m.public.n == 0);
    ck_assert_uint_ne(piv_parse_metadata(unhex("010211", &b), &m), 0);
    buf_free(&b);
}
END_TEST

START_TEST(discovery_and_chuid)
{
    struct buf b = BUF_INIT;
    struct piv_discovery d;
    uint8_t guid[16];

    ck_assert_uint_eq(piv_parse_discovery(unhex("4F0BA0000003080000100001005F2F026020", &b), &d),
                      0);
    ck_assert(d.global_pin);
    ck_assert_uint_eq(piv_parse_discovery(unhex("5F2F026010", &b), &d), 0);
    ck_assert(!d.global_pin);
    ck_assert_uint_eq(piv_parse_discovery(unhex("5F2F024020", &b), &d), 0);
    ck_assert_msg(!d.global_pin, "preferred, but not allowed");
    ck_assert_uint_ne(piv_parse_discovery(unhex("5F2F0140", &b), &d), 0);
    ck_assert_uint_eq(
        piv_parse_chuid(unhex("3000341000112233445566778899AABBCCDDEEFFFE00", &b), guid), 0);
    ck_assert_uint_eq(guid[15], 0xff);
    ck_assert_uint_eq(
        gpg_err_code(piv_parse_chuid(unhex("341000000000000000000000000000000000", &b), guid)),
        GPG_ERR_NO_DATA);
    ck_assert_uint_ne(piv_parse_chuid(unhex("3410001122", &b), guid), 0);
    buf_free(&b);
}
END_TEST

START_TEST(certificates_that_cannot_be)
{
    struct buf b = BUF_INIT, der = BUF_INIT;
    struct key *k;

    ck_assert_uint_eq(gpg_err_code(piv_unpack_certificate(unhex("710100FE00", &b), &der)),
                      GPG_ERR_NO_DATA);
    ck_assert_uint_eq(gpg_err_code(piv_unpack_certificate(unhex("70023000710102", &b), &der)),
                      GPG_ERR_NOT_SUPPORTED);
    ck_assert_uint_eq(gpg_err_code(piv_unpack_certificate(unhex("70023000710101", &b), &der)),
                      GPG_ERR_BAD_CERT);
    ck_assert_uint_eq(piv_unpack_certificate(unhex("70023000", &b), &der), 0);
    ck_assert_uint_ne(piv_certificate_key(buf_rd(&der), false, &k), 0);
    ck_assert_uint_ne(piv_certificate_key(rd_of(NULL, 0), false, &k), 0);
    buf_free(&b);
    buf_free(&der);
}
END_TEST

START_TEST(answers)
{
    struct buf b = BUF_INIT;
    struct piv *p = card();
    const struct key *k = p->slots[PIV_AUTH].key;
    gcry_sexp_t sig = NULL;
    struct rd v;

    ck_assert_uint_eq(piv_parse_signature(k, unhex("7C0A82083006020101020102", &b), &sig), 0);
    gcry_sexp_release(sig);
    ck_assert_uint_ne(piv_parse_signature(k, unhex("7C048202300A", &b), &sig), 0);
    ck_assert_uint_ne(piv_parse_signature(k, unhex("7C048102AABB", &b), &sig), 0);
    ck_assert_uint_eq(piv_strip_padding(unhex("0002111111111111111100AABB", &b), &v), 0);
    ck_assert(v.n == 2 && v.p[0] == 0xaa);
    ck_assert_uint_ne(piv_strip_padding(unhex("00021111111111111100AABB", &b), &v), 0);
    ck_assert_uint_ne(piv_strip_padding(unhex("0001111111111111111100AABB", &b), &v), 0);
    ck_assert_uint_ne(piv_strip_padding(unhex("0002111111111111111111111111", &b), &v), 0);
    piv_free(p);
    buf_free(&b);
}
END_TEST

START_TEST(inputs)
{
    struct buf b = BUF_INIT, out = BUF_INIT;
    struct piv *p = card();
    const struct key *k = p->slots[PIV_AUTH].key;
    struct tosign t = {.hash = GCRY_MD_SHA512};
    char *hex;

    t.data = unhex(HASH "2222222222222222222222222222222222222222222222222222222222222222", &b);
    ck_assert_uint_eq(piv_put_input(k, &t, &out), 0);
    hex = hex_encode(out.data, out.len);
    ck_assert_str_eq(hex, "7C2482008120" HASH);
    gpgrt_free(hex);
    buf_reset(&out);
    t.data = unhex("3333", &b);
    ck_assert_uint_eq(piv_put_input(k, &t, &out), 0);
    ck_assert(out.len == 38 && out.data[6] == 0 && out.data[37] == 0x33);
    buf_reset(&out);
    ck_assert_uint_eq(gpg_err_code(piv_pad(rd_of("123456789", 9), &out)), GPG_ERR_INV_LENGTH);
    ck_assert_uint_eq(gpg_err_code(piv_pad(rd_of("", 0), &out)), GPG_ERR_INV_LENGTH);
    piv_free(p);
    buf_free(&b);
    buf_free(&out);
}
END_TEST

/* --- operations ----------------------------------------------------------------------------------------------------- */

START_TEST(pin_once_then_one_command)
{
    static const struct exchange s[] = {{SELECT, "9000"},       {"00200080", "63C3"},
                                        {SELECT, "9000"},       {VERIFY, "9000"},
                                        {SIGN, SIGNED "19000"}, {SIGN, SIGNED "19000"},
                                        {SELECT, "9000"},       {VERIFY, "9000"},
                                        {SIGN, SIGNED "19000"}, {NULL, NULL}};
    struct piv *p = card();
    struct driver_op op;

    expect(s);
    ck_assert_uint_eq(sign(p, false, &op), 0);
    ck_assert(op.pin_typed && !op.pin_cached && p->verified);
    ck_assert_uint_eq(sign(p, true, &op), 0);
    ck_assert(op.pin_cached && resets == 1 && !p->verified && !p->selected);
    ck_assert_uint_eq(sign(p, false, &op), 0);
    ck_assert_uint_eq(asked, 1);
    all_used();
    piv_free(p);
}
END_TEST

START_TEST(refused_pin_is_never_sent_again)
{
    static const struct exchange s[] = {
        {SELECT, "9000"}, {"00200080", "63C3"}, {SELECT, "9000"},
        {VERIFY, "63C2"}, {SELECT, "9000"},     {"00200080", "63C2"},
        {SELECT, "9000"}, {VERIFY, "6983"},     {NULL, NULL}};
    struct piv *p = card();
    struct driver_op op;

    expect(s);
    ck_assert_uint_eq(gpg_err_code(sign(p, true, &op)), GPG_ERR_PIN_BLOCKED);
    ck_assert_uint_eq(asked, 2);
    ck_assert(p->user.pin.len == 0 && p->tries == 0);
    all_used();
    piv_free(p);
}
END_TEST

START_TEST(lost_answer_costs_no_second_try)
{
    /* It cost a try: it was wrong. */
    static const struct exchange wrong[] = {
        {SELECT, "9000"}, {VERIFY, "lost"}, {SELECT, "9000"}, {"00200080", "63C2"}, {NULL, NULL}};
    static const struct exchange right[] = {{SELECT, "9000"}, {VERIFY, "lost"},
                                            {SELECT, "9000"}, {"00200080", "63C3"},
                                            {VERIFY, "9000"}, {NULL, NULL}};
    struct piv *p = card();

    held_pin_forget(&p->user);
    buf_printf(&p->user.pin, "123456");
    expect(wrong);
    ck_assert_uint_eq(piv_select(p), 0);
    ck_assert_uint_eq(gpg_err_code(piv_verify_held(p)), GPG_ERR_EAGAIN);
    ck_assert_uint_eq(piv_select(p), 0);
    ck_assert_uint_eq(gpg_err_code(piv_verify_held(p)), GPG_ERR_BAD_PIN);
    ck_assert_uint_eq(p->user.pin.len, 0);
    all_used();
    p->tries = 3;
    buf_printf(&p->user.pin, "123456");
    expect(right);
    ck_assert_uint_eq(piv_select(p), 0);
    ck_assert_uint_eq(gpg_err_code(piv_verify_held(p)), GPG_ERR_EAGAIN);
    ck_assert_uint_eq(piv_select(p), 0);
    ck_assert_uint_eq(piv_verify_held(p), 0);
    all_used();
    piv_free(p);
}
END_TEST

START_TEST(card_that_stops_proving_gets_no_pin)
{
    static const struct exchange s[] = {{SELECT, "9000"}, {NULL, SIGNED "19000"}, {NULL, NULL}};
    struct piv *p = card();

    p->slots[PIV_CARD] = p->slots[PIV_AUTH];
    (void)key_ref(p->slots[PIV_CARD].key);
    p->slots[PIV_CARD].pin = PIV_PIN_NEVER;
    p->proves = p->proof_due = true;
    buf_printf(&p->user.pin, "123456");
    expect(s);
    ck_assert_uint_eq(piv_select(p), 0);
    ck_assert_uint_eq(gpg_err_code(piv_verify_held(p)), GPG_ERR_BAD_SIGNATURE);
    all_used();
    piv_free(p);
}
END_TEST

START_TEST(contactless_card_is_unverified_by_command)
{
    static const struct exchange s[] = {{"0020FF80", "9000"}, {NULL, NULL}};
    static const struct exchange not_there[] = {{"0020FF80", "6A86"}, {NULL, NULL}};
    struct piv *p = card();
    bool reset;

    p->place.contactless = p->verified = p->selected = true;
    expect(s);
    piv_unverify(p, &reset);
    ck_assert(!reset && !p->verified && p->selected);
    all_used();
    p->verified = true;
    expect(not_there);
    piv_unverify(p, &reset);
    ck_assert(reset && !p->verified && !p->selected);
    p->verified = true;
    piv_unverify(p, &reset);
    ck_assert_msg(reset, "it is not asked twice");
    all_used();
    piv_free(p);
}
END_TEST

START_TEST(another_card_in_the_reader)
{
    static const struct exchange s[] = {
        {SELECT, "9000"}, {"00F8000000", "000000029000"}, {NULL, NULL}};
    struct piv *p = card();

    p->serial = 1;
    p->doubted = true;
    expect(s);
    ck_assert_uint_eq(gpg_err_code(piv_reselect(p)), GPG_ERR_CARD_REMOVED);
    ck_assert(p->doubted);
    all_used();
    piv_free(p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("piv");
    TCase *t = tcase_create("piv");
    SRunner *r;
    int failed;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_INIT_SECMEM, 65536, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    tcase_add_test(t, metadata);
    tcase_add_test(t, discovery_and_chuid);
    tcase_add_test(t, certificates_that_cannot_be);
    tcase_add_test(t, answers);
    tcase_add_test(t, inputs);
    tcase_add_test(t, pin_once_then_one_command);
    tcase_add_test(t, refused_pin_is_never_sent_again);
    tcase_add_test(t, lost_answer_costs_no_second_try);
    tcase_add_test(t, card_that_stops_proving_gets_no_pin);
    tcase_add_test(t, contactless_card_is_unverified_by_command);
    tcase_add_test(t, another_card_in_the_reader);
    suite_add_tcase(suite, t);
    r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
