/* What manages a card, against one that is a list of exchanges: PW3's rules, forms on the wire, answers that get lost. */
#include "devices/openpgp_admin.h"
#include "devices/openpgp_import.h"
#include "tests/unit/card_script.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* --- the person ----------------------------------------------------------------------------------------------------------------------- */

static const char *const *typed; /* what comes next; NULL: nothing any more */
static struct pin_request asked[8];
static unsigned nasked;
static const char *value = "";

static gpg_error_t ask_pin(void *arg, const struct pin_request *q, struct buf *pin)
{
    (void)arg;
    ck_assert_uint_lt(nasked, 8);
    asked[nasked++] = *q;
    if (*typed == NULL)
        return gpg_error(GPG_ERR_CANCELED);
    buf_put(pin, *typed, strlen(*typed));
    typed++;
    return buf_err(pin);
}

static gpg_error_t inquire(void *arg, const char *keyword, const char *fields, size_t max,
                           bool secret, struct buf *answer)
{
    (void)arg;
    (void)fields;
    (void)secret;
    ck_assert_str_eq(keyword, "VALUE");
    ck_assert_uint_le(strlen(value), max);
    buf_put(answer, value, strlen(value));
    return buf_err(answer);
}

static gpg_error_t status(void *arg, const char *keyword, const char *fields)
{
    (void)arg;
    (void)keyword;
    (void)fields;
    return 0;
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

static const struct driver_io io = {
    .ask_pin = ask_pin, .inquire = inquire, .status = status, .touch = touch, .canceled = canceled};

static void expect(const struct exchange *s, const char *const *pins)
{
    begin_script(s);
    typed = pins;
    nasked = 0;
}

/* A card that was learned, and holds nothing. */
static struct openpgp learned_card(void)
{
    struct openpgp o = {.card = {.transport = &fake},
                        .profile = profile_find(0x0005, "Nitrokey Pro"),
                        .user.pin = BUF_INIT_SECURE,
                        .admin.pin = BUF_INIT_SECURE,
                        .learned = true,
                        .selected = true,
                        .tries = {3, 3, 3},
                        .max_pin = {32, 32, 32},
                        .can = {.max_special = 255, .challenge = true, .max_challenge = 8}};

    o.aid[6] = 3;
    return o;
}

static void clear(struct openpgp *o)
{
    held_pin_forget(&o->user);
    held_pin_forget(&o->admin);
    for (unsigned i = 0; i < NSLOTS; i++) {
        key_unref(o->slots[i].key);
        gpgrt_free(o->slots[i].oid_curve);
    }
}

#define SELECT                             \
    {                                      \
        "00A4040006D2760001240100", "9000" \
    }
#define TRIES                              \
    {                                      \
        "00CA00C400", "012020200303039000" \
    }
#define CATCHUP              \
    {                        \
        "00CA006E00", "6F00" \
    } /* what follows a change, cut short */

static gpg_error_t set_language(struct openpgp *o, long pin_age)
{
    struct driver_op op = {.io = &io, .args = "name=DISP-LANG", .pin_age = pin_age};
    struct buf none = BUF_INIT;

    value = "de";
    return admin_setattr(o, &op, &none);
}

/* --- PW3 -------------------------------------------------------------------------------------------------------------------------------- */

START_TEST(admin_pin_is_asked_for_sent_and_dropped)
{
    static const struct exchange s[] = {SELECT,
                                        TRIES,
                                        SELECT,
                                        {"00200083083132333435363738", "9000"},
                                        {"00DA5F2D026465", "9000"},
                                        CATCHUP,
                                        {"0020FF83", "9000"},
                                        {NULL, NULL}};
    static const char *const pins[] = {"12345678", NULL};
    struct openpgp o = learned_card();

    expect(s, pins);
    ck_assert_uint_eq(set_language(&o, -1), 0);
    all_used();
    ck_assert_uint_eq(nasked, 1);
    ck_assert_str_eq(asked[0].ref, "83");
    ck_assert_int_eq(asked[0].tries, 3);
    ck_assert(!o.verified[2] && o.admin.good && resets == 0);
    clear(&o);
}
END_TEST

START_TEST(admin_pin_is_held_for_a_minute_at_most)
{
    static const struct exchange held[] = {SELECT,
                                           {"00200083083132333435363738", "9000"},
                                           {"00DA5F2D026465", "9000"},
                                           CATCHUP,
                                           {"0020FF83", "9000"},
                                           {NULL, NULL}};
    static const struct exchange again[] = {SELECT, TRIES, {NULL, NULL}};
    static const char *const none[] = {NULL};
    struct openpgp o = learned_card();

    buf_printf(&o.admin.pin, "12345678");
    o.admin.good = true;
    o.admin.typed_ms = o.admin.used_ms = card_now_ms() - 50000;
    expect(held, none);
    ck_assert_uint_eq(set_language(&o, -1), 0);
    all_used();
    /* it was used just now: a minute from here; but typed longer ago than this wants it */
    o.learned = true;
    expect(again, none);
    ck_assert_uint_eq(gpg_err_code(set_language(&o, 10)), GPG_ERR_CANCELED);
    all_used();
    o.admin.used_ms = card_now_ms() - ADMIN_HELD_MS - 1000;
    expect(again, none);
    ck_assert_uint_eq(gpg_err_code(set_language(&o, -1)), GPG_ERR_CANCELED);
    ck_assert_uint_eq(o.admin.pin.len, 0);
    all_used();
    clear(&o);
}
END_TEST

START_TEST(a_refused_admin_pin_is_forgotten)
{
    static const struct exchange s[] = {SELECT,
                                        TRIES,
                                        SELECT,
                                        {"00200083083837363534333231", "6982"},
                                        {"00CA00C400", "012020200303029000"},
                                        SELECT,
                                        {"00CA00C400", "012020200303029000"},
                                        {NULL, NULL}};
    static const char *const pins[] = {"short", "87654321", NULL};
    struct openpgp o = learned_card();

    expect(s, pins);
    ck_assert_uint_eq(gpg_err_code(set_language(&o, -1)), GPG_ERR_CANCELED);
    all_used(); /* nothing went out for the one that was too short */
    ck_assert_uint_eq(nasked, 3);
    ck_assert(!asked[0].wrong && asked[1].wrong && asked[2].wrong);
    ck_assert_int_eq(asked[2].tries, 2);
    ck_assert_uint_eq(o.admin.pin.len, 0);
    clear(&o);
}
END_TEST

/* VERIFY went out and nothing came back: the counter decides. */
START_TEST(an_admin_pin_without_answer)
{
    static const struct exchange s[] = {SELECT,
                                        TRIES,
                                        SELECT,
                                        {"00200083083837363534333231", "lost"},
                                        {"00A4040006D2760001240100", "9000"},
                                        {"00CA004F00", "000000000000030000000000000000009000"},
                                        {"00CA00C400", "012020200303029000"},
                                        {"00A4040006D2760001240100", "9000"},
                                        {"00CA00C400", "012020200303029000"},
                                        {NULL, NULL}};
    static const char *const pins[] = {"87654321", NULL};
    struct openpgp o = learned_card();

    expect(s, pins);
    ck_assert_uint_eq(gpg_err_code(set_language(&o, -1)), GPG_ERR_CANCELED);
    all_used();
    ck_assert_uint_eq(nasked, 2);
    clear(&o);
}
END_TEST

/* What was begun is not begun again. */
START_TEST(a_change_without_answer_is_not_repeated)
{
    static const struct exchange s[] = {SELECT,
                                        TRIES,
                                        SELECT,
                                        {"00200083083132333435363738", "9000"},
                                        {"00DA5F2D026465", "lost"},
                                        {"0020FF83", "9000"},
                                        {NULL, NULL}};
    static const char *const pins[] = {"12345678", NULL};
    struct openpgp o = learned_card();

    expect(s, pins);
    ck_assert_uint_eq(gpg_err_code(set_language(&o, -1)), GPG_ERR_EAGAIN);
    all_used();
    ck_assert(o.doubted && !o.selected);
    clear(&o);
}
END_TEST

START_TEST(without_unverify_a_reset_drops_the_admin_pin)
{
    static const struct exchange s[] = {SELECT,
                                        TRIES,
                                        SELECT,
                                        {"00200083083132333435363738", "9000"},
                                        {"00DA5F2D026465", "9000"},
                                        CATCHUP,
                                        {"0020FF83", "6A86"},
                                        {NULL, NULL}};
    static const char *const pins[] = {"12345678", NULL};
    struct openpgp o = learned_card();

    expect(s, pins);
    ck_assert_uint_eq(set_language(&o, -1), 0);
    all_used();
    ck_assert(resets == 1 && !o.verified[2] && !o.selected);
    clear(&o);
}
END_TEST

/* --- new PINs ---------------------------------------------------------------------------------------------------------------------------- */

START_TEST(changing_a_pin)
{
    static const struct exchange s[] = {
        TRIES, TRIES, {"002400810C313233343536363534333231", "9000"}, CATCHUP, {NULL, NULL}};
    /* the card counts the old one's try, then takes it */
    static const struct exchange wrong[] = {TRIES,
                                            TRIES,
                                            {"002400810C393939393939363534333231", "6982"},
                                            {"00CA00C400", "012020200203039000"},
                                            {"00CA00C400", "012020200203039000"},
                                            {"00CA00C400", "012020200203039000"},
                                            {"002400810C313233343536363534333231", "9000"},
                                            CATCHUP,
                                            {NULL, NULL}};
    static const char *const pins[] = {"123456", "654321", NULL}, *const twice[] = {"999999",
                                                                                    "654321",
                                                                                    "123456", NULL};
    struct driver_op op = {.io = &io, .args = "ref=1"};
    struct openpgp o = learned_card();
    struct buf none = BUF_INIT;

    expect(s, pins);
    ck_assert_uint_eq(admin_change_pin(&o, &op, &none), 0);
    all_used();
    ck_assert(!asked[0].fresh && asked[1].fresh && asked[1].min == 6 && asked[1].max == 32);
    o.learned = true;
    expect(wrong, twice);
    ck_assert_uint_eq(admin_change_pin(&o, &op, &none), 0);
    all_used();
    ck_assert_uint_eq(nasked, 3); /* the new one once */
    ck_assert(asked[2].wrong && asked[2].tries == 2);
    clear(&o);
}
END_TEST

START_TEST(a_new_pin_that_does_not_fit_is_not_sent)
{
    static const struct exchange s[] = {TRIES, {NULL, NULL}};
    static const char *const pins[] = {"123456", "12345", NULL};
    struct driver_op op = {.io = &io, .args = "ref=1"};
    struct openpgp o = learned_card();
    struct buf none = BUF_INIT;

    expect(s, pins);
    ck_assert_uint_eq(gpg_err_code(admin_change_pin(&o, &op, &none)), GPG_ERR_TOO_SHORT);
    all_used();
    clear(&o);
}
END_TEST

/* --- forms ------------------------------------------------------------------------------------------------------------------------------ */

START_TEST(scdaemons_escapes)
{
    struct buf b = BUF_INIT;

    admin_put_escaped(&b, rd_of("a b+c%d\"e\0\x1f\x80<", 13));
    ck_assert_str_eq(buf_cstr(&b), "a+b%2Bc%25d%22e%00%1F\x80<");
    buf_free(&b);
}
END_TEST

START_TEST(names_and_attributes)
{
    static const struct {
        unsigned slot;
        const char *name, *hex; /* hex NULL: refused */
    } cases[] = {
        {SLOT_SIG, "ed25519", "162B06010401DA470F01"},
        {SLOT_DEC, "cv25519", "122B060104019755010501"},
        {SLOT_DEC, "Curve25519", "122B060104019755010501"},
        {SLOT_SIG, "nistp256", "132A8648CE3D030107"},
        {SLOT_DEC, "NIST P-384", "122B81040022"},
        {SLOT_AUT, "brainpoolP512r1", "132B240303020801010D"},
        {SLOT_SIG, "rsa3072", "010C00002000"},
        {SLOT_SIG, "rsa3071", NULL},
        {SLOT_SIG, "rsa99999999", NULL},
        {SLOT_SIG, "rsa-1", NULL},
        {SLOT_SIG, "cv25519", NULL},
        {SLOT_DEC, "ed25519", NULL},
        {SLOT_SIG, "dsa1024", NULL},
    };
    struct openpgp o = learned_card();

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf attr = BUF_INIT;
        gpg_error_t err = admin_attributes(&o, cases[i].slot, cases[i].name, rd_of(NULL, 0), &attr);
        char *hex = hex_encode(attr.data, attr.len), text[16];

        ck_assert_msg((err == 0) == (cases[i].hex != NULL), "%s", cases[i].name);
        if (err == 0) {
            ck_assert_str_eq(hex, cases[i].hex);
            ck_assert_ptr_nonnull(admin_algorithm_name(buf_rd(&attr), text));
        }
        gpgrt_free(hex);
        buf_free(&attr);
    }
    clear(&o);
}
END_TEST

START_TEST(what_a_card_offers_goes_first)
{
    static const uint8_t fa[] = {0xc1, 6, 1, 0x08, 0, 0, 17, 2, 0xc2, 6, 1, 0x10, 0, 0, 17, 0};
    struct openpgp o = learned_card();
    struct buf attr = BUF_INIT;

    ck_assert_uint_eq(admin_attributes(&o, SLOT_SIG, "rsa2048", rd_of(fa, sizeof fa), &attr), 0);
    ck_assert(rd_eq(buf_rd(&attr), rd_of(fa + 2, 6)));
    buf_reset(&attr);
    ck_assert_uint_ne(admin_attributes(&o, SLOT_SIG, "rsa4096", rd_of(fa, sizeof fa), &attr), 0);
    ck_assert_uint_ne(admin_attributes(&o, SLOT_SIG, "ed25519", rd_of(fa, sizeof fa), &attr), 0);
    buf_free(&attr);
    clear(&o);
}
END_TEST

static void put_key(const char *attr_hex, const char *key, const char *want)
{
    static const uint8_t crt[] = {0xb6, 0x00};
    struct buf attr = BUF_INIT, list = BUF_INIT_SECURE;
    struct gpg_key_parts parts;
    char *hex;
    gpg_error_t err;

    ck_assert_uint_eq(hex_decode(attr_hex, &attr), 0);
    ck_assert_uint_eq(gpg_key_split(rd_of(key, strlen(key)), &parts), 0);
    err = openpgp_put_key(buf_rd(&attr), rd_of(crt, sizeof crt), &parts, &list);
    ck_assert_msg((err == 0) == (want != NULL), "%s: %s", attr_hex, gpg_strerror(err));
    hex = hex_encode(list.data, list.len);
    if (want != NULL)
        ck_assert_str_eq(hex, want);
    gpgrt_free(hex);
    buf_free(&attr);
    buf_free(&list);
}

/* Numbers of letters, so that a key is a C string. */
START_TEST(keys_as_a_card_takes_them)
{
    static const char ed[] = "(11:private-key(3:ecc(5:curve7:Ed25519)(5:flags5:eddsa)(1:q33:@"
                             "abcdefghijklmnopqrstuvwxyz012345)(1:d31:"
                             "ABCDEFGHIJKLMNOPQRSTUVWXYZ01234)))";
    static const char bad[] = "(11:private-key(3:ecc(5:curve7:Ed25519)(5:flags5:eddsa)(1:q33:@"
                              "abcdefghijklmnopqrstuvwxyz012345)(1:d33:"
                              "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456)))";

    put_key("162B06010401DA470F01", ed,
            "4D2AB6007F480292205F4820004142434445464748494A4B4C4D4E4F505152535455565758595A303132"
            "3334");
    put_key("162B06010401DA470F01FF", ed,
            "4D4CB6007F4804922099205F4840004142434445464748494A4B4C4D4E4F505152535455565758595A30"
            "31323334"
            "6162636465666768696A6B6C6D6E6F707172737475767778797A303132333435");
    put_key("162B06010401DA470F01", bad, NULL);
    put_key("010800002000",
            "(11:private-key(3:rsa(1:n3:abc)(1:e1:a)(1:d3:abc)(1:p2:ab)(1:q2:ac)(1:u1:a)))", NULL);
    put_key("01", ed, NULL);
}
END_TEST

START_TEST(a_salt_for_each_pin)
{
    struct buf b = BUF_INIT;
    struct kdf k;

    ck_assert_uint_eq(hex_decode("8101038201088304000100008408313131313131313185083232323232323232"
                                 "86083333333333333333",
                                 &b),
                      0);
    ck_assert_uint_eq(openpgp_parse_kdf(buf_rd(&b), &k), 0);
    ck_assert_int_eq(k.salt[PASSWORD_PW1][0], '1');
    ck_assert_int_eq(k.salt[PASSWORD_RC][0], '2');
    ck_assert_int_eq(k.salt[PASSWORD_PW3][7], '3');
    b.len -= 10;
    ck_assert_uint_eq(openpgp_parse_kdf(buf_rd(&b), &k), 0);
    ck_assert_int_eq(k.salt[PASSWORD_PW3][7], '1'); /* else PW1's serves */
    buf_free(&b);
}
END_TEST

/* --- raw commands ------------------------------------------------------------------------------------------------------------------------ */

START_TEST(raw_commands)
{
    static const struct exchange s[] = {{"00A4040005A00000030800", "9000"},
                                        {"00CA004F00", "01026102"},
                                        {"00C0000002", "03049000"},
                                        {NULL, NULL}};
    static const struct exchange none[] = {{NULL, NULL}};
    static const char *const nobody[] = {NULL};
    struct openpgp o = learned_card();
    struct driver_op op = {.io = &io, .args = "select=A000000308 hex=00CA004F00"};
    struct buf result = BUF_INIT_SECURE;

    expect(s, nobody);
    ck_assert_uint_eq(admin_apdu(&o, &op, &result), 0);
    ck_assert(rd_eq(buf_rd(&result), rd_of("\1\2\3\4\x90\0", 6)));
    ck_assert(!o.selected);
    all_used();
    expect(none, nobody);
    op.args = "select=A000000308 hex=0020008100";
    ck_assert_uint_eq(gpg_err_code(admin_apdu(&o, &op, &result)), GPG_ERR_FORBIDDEN);
    op.args = "hex=00CA004F00"; /* of what? */
    ck_assert_uint_ne(admin_apdu(&o, &op, &result), 0);
    buf_free(&result);
    clear(&o);
}
END_TEST

START_TEST(random_octets_come_in_the_cards_portions)
{
    static const struct exchange s[] = {
        {"0084000008", "01020304050607089000"}, {"0084000002", "090A9000"}, {NULL, NULL}};
    static const struct exchange more[] = {
        {"0084000008", "0102030405060708099000"}, {"0084000001", "01029000"}, {NULL, NULL}};
    static const char *const nobody[] = {NULL};
    struct openpgp o = learned_card();
    struct driver_op op = {.io = &io, .args = "n=10"};
    struct buf result = BUF_INIT_SECURE;

    expect(s, nobody);
    ck_assert_uint_eq(admin_random(&o, &op, &result), 0);
    ck_assert_uint_eq(result.len, 10);
    all_used();
    expect(more, nobody); /* a card that gives more than it was asked for */
    ck_assert_uint_eq(gpg_err_code(admin_random(&o, &op, &result)), GPG_ERR_CARD);
    all_used();
    buf_free(&result);
    clear(&o);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("card admin");
    TCase *pins = tcase_create("pins"), *forms = tcase_create("forms");
    SRunner *r;
    int failed;

    (void)gcry_check_version(NULL);
    gcry_control(GCRYCTL_INIT_SECMEM, 32768, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    tcase_add_test(pins, admin_pin_is_asked_for_sent_and_dropped);
    tcase_add_test(pins, admin_pin_is_held_for_a_minute_at_most);
    tcase_add_test(pins, a_refused_admin_pin_is_forgotten);
    tcase_add_test(pins, an_admin_pin_without_answer);
    tcase_add_test(pins, a_change_without_answer_is_not_repeated);
    tcase_add_test(pins, without_unverify_a_reset_drops_the_admin_pin);
    tcase_add_test(pins, changing_a_pin);
    tcase_add_test(pins, a_new_pin_that_does_not_fit_is_not_sent);
    tcase_add_test(forms, scdaemons_escapes);
    tcase_add_test(forms, names_and_attributes);
    tcase_add_test(forms, what_a_card_offers_goes_first);
    tcase_add_test(forms, keys_as_a_card_takes_them);
    tcase_add_test(forms, a_salt_for_each_pin);
    tcase_add_test(forms, raw_commands);
    tcase_add_test(forms, random_octets_come_in_the_cards_portions);
    suite_add_tcase(s, pins);
    suite_add_tcase(s, forms);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
