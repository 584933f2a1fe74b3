/* The card driver's lower half against a card that is a list of exchanges: APDU forms, parsing, KDF, PINs. */
#include "devices/openpgp.h"
#include "devices/pcsc.h"
#include "tests/unit/card_script.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(short_and_get_response)
{
    static const struct exchange s[] = {{"00CA006E00", "01026102"},
                                        {"00C0000002", "03046101"},
                                        {"00C0000001", "059000"},
                                        {NULL, NULL}};
    struct card c = {.transport = &fake};
    struct apdu a = {.ins = 0xca, .p2 = 0x6e, .want_data = true};
    struct buf out = BUF_INIT;
    unsigned sw;

    begin_script(s);
    ck_assert_uint_eq(apdu_send(&c, &a, &out, &sw), 0);
    ck_assert_uint_eq(sw, 0x9000);
    ck_assert(rd_eq(buf_rd(&out), rd_of("\1\2\3\4\5", 5)));
    all_used();
    buf_free(&out);
}
END_TEST

START_TEST(wrong_le_is_repeated)
{
    static const struct exchange s[] = {
        {"00CA004F00", "6C10"}, {"00CA004F10", "AA9000"}, {NULL, NULL}};
    struct card c = {.transport = &fake};
    struct apdu a = {.ins = 0xca, .p2 = 0x4f, .want_data = true};
    unsigned sw;

    begin_script(s);
    ck_assert_uint_eq(apdu_send(&c, &a, NULL, &sw), 0);
    ck_assert_uint_eq(sw, 0x9000);
    all_used();
}
END_TEST

START_TEST(chaining_and_extended)
{
    static const struct exchange chained[] = {{NULL, "9000"}, {NULL, "9000"}, {NULL, NULL}};
    static const struct exchange extended[] = {{NULL, "9000"}, {NULL, NULL}};
    static const struct exchange neither[] = {{NULL, "6884"}, {NULL, "9000"}, {NULL, NULL}};
    uint8_t data[300] = {0};
    struct card c = {.transport = &fake, .chaining = true, .extended = true};
    struct apdu a = {.ins = 0x88, .data = rd_of(data, sizeof data), .want_data = true};
    unsigned sw;

    begin_script(chained);
    ck_assert_uint_eq(apdu_send(&c, &a, NULL, &sw), 0);
    all_used();
    c.chaining = false;
    begin_script(extended);
    ck_assert_uint_eq(apdu_send(&c, &a, NULL, &sw), 0);
    all_used();
    c.max_cmd = 255;
    ck_assert_uint_eq(gpg_err_code(apdu_send(&c, &a, NULL, &sw)), GPG_ERR_TOO_LARGE);
    c = (struct card){.transport = &fake};
    begin_script(neither);
    ck_assert_uint_eq(apdu_send(&c, &a, NULL, &sw), 0);
    ck_assert_uint_eq(sw, 0x9000);
    all_used();
}
END_TEST

START_TEST(a_card_that_never_ends)
{
    static const struct exchange s[] = {{NULL, "6101"}, {NULL, "6101"}, {NULL, NULL}};
    static const struct exchange none[] = {{NULL, "90"}, {NULL, NULL}};
    struct card c = {.transport = &fake};
    struct apdu a = {.ins = 0xca, .want_data = true};
    struct buf out = BUF_INIT;
    unsigned sw;

    begin_script(s);
    ck_assert_uint_ne(apdu_send(&c, &a, &out, &sw), 0);
    begin_script(none);
    ck_assert_uint_ne(apdu_send(&c, &a, &out, &sw), 0);
    buf_free(&out);
}
END_TEST

/* The sample of a v3.4 card in the specification's form. */
static const char sample[] = "4F10D276000124010304FFFE1234567800005F520A0031F573C001600590007F66080"
                             "2020800020208007F7403810120"
                             "7381D8C00A7F000020080000FF0101C10A162B06010401DA470F01C20B122B0601040"
                             "19755010501C30A162B06010401DA"
                             "470F01C40701202020030003C53C11111111111111111111111111111111111111112"
                             "222222222222222222222222222222222"
                             "2222223333333333333333333333333333333333333333C63C0000000000000000000"
                             "00000000000000000000000000000000000"
                             "000000000000000000000000000000000000000000000000000000000000000000CD0"
                             "C650000006500000165000002DE06010102"
                             "010302D6020020D7020020D8020120";

START_TEST(application_related_data)
{
    struct openpgp o = {.counter = -1};
    struct buf b = BUF_INIT;

    ck_assert_uint_eq(hex_decode(sample, &b), 0);
    ck_assert_uint_eq(openpgp_parse_6e(&o, buf_rd(&b)), 0);
    ck_assert_int_eq(o.tries[0], 3);
    ck_assert_int_eq(o.tries[1], 0);
    ck_assert(!o.forced_pin && o.kdf_possible);
    ck_assert(o.card.extended && !o.card.chaining);
    ck_assert_uint_eq(o.card.max_cmd, 2048);
    ck_assert_str_eq(o.slots[SLOT_SIG].oid_curve, "Ed25519");
    ck_assert_str_eq(o.slots[SLOT_DEC].oid_curve, "Curve25519");
    ck_assert(o.slots[SLOT_DEC].ecdh);
    ck_assert_int_eq(o.slots[SLOT_AUT].uif, UIF_ON);
    ck_assert_int_eq(o.slots[SLOT_SIG].uif, UIF_OFF);
    ck_assert_uint_eq(o.slots[SLOT_AUT].created, 0x65000002);
    ck_assert_int_eq(o.slots[SLOT_DEC].fpr[0], 0x22);
    for (size_t n = 0; n < b.len; n++) {
        struct openpgp cut = {.counter = -1};

        (void)openpgp_parse_6e(&cut, rd_of(b.data, n));
        for (int i = 0; i < NSLOTS; i++)
            gpgrt_free(cut.slots[i].oid_curve);
    }
    for (int i = 0; i < NSLOTS; i++)
        gpgrt_free(o.slots[i].oid_curve);
    buf_free(&b);
}
END_TEST

START_TEST(attributes)
{
    static const struct {
        const char *hex, *curve;
        bool ecdh;
    } cases[] = {
        {"132A8648CE3D030107", "NIST P-256", false},
        {"132A8648CE3D030107FF", "NIST P-256", false}, /* import with public key */
        {"122B060104019755010501", "Curve25519", true},
        {"162B060104019755010501", "Curve25519", true}, /* the wrong algorithm: the curve decides */
        {"162B06010401DA470F01", "Ed25519", false},
        {"122B8104002200", "NIST P-384", true}, /* a stray octet */
        {"13010203", NULL, false},
        {"", NULL, false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct slot s = {0};
        struct buf b = BUF_INIT;

        ck_assert_uint_eq(hex_decode(cases[i].hex, &b), 0);
        openpgp_parse_attributes(&s, buf_rd(&b));
        if (cases[i].curve == NULL)
            ck_assert_ptr_null(s.oid_curve);
        else
            ck_assert_str_eq(s.oid_curve, cases[i].curve);
        ck_assert(s.ecdh == cases[i].ecdh);
        gpgrt_free(s.oid_curve);
        buf_free(&b);
    }
}
END_TEST

START_TEST(kdf_limits)
{
    struct buf b = BUF_INIT;
    struct kdf k;

    ck_assert_uint_eq(hex_decode("810103820108830400010000840873616C747077310085087361", &b), 0);
    ck_assert_uint_eq(openpgp_parse_kdf(buf_rd(&b), &k), 0);
    ck_assert(k.active && k.count == 65536 && k.hash == GCRY_MD_SHA256);
    b.data[8] = 0x7f; /* two thousand million octets to hash */
    ck_assert_uint_ne(openpgp_parse_kdf(buf_rd(&b), &k), 0);
    b.data[2] = 0x02; /* an algorithm that we do not know: never the plain PIN */
    ck_assert_uint_ne(openpgp_parse_kdf(buf_rd(&b), &k), 0);
    b.data[2] = 0x00;
    ck_assert_uint_eq(openpgp_parse_kdf(buf_rd(&b), &k), 0);
    ck_assert(!k.active);
    buf_free(&b);
}
END_TEST

static struct openpgp verified_card(void)
{
    return (struct openpgp){.card = {.transport = &fake},
                            .profile = profile_find(0xfffe, "Gnuk"),
                            .user.pin = BUF_INIT_SECURE,
                            .selected = true,
                            .tries = {3, 0, 3}};
}

START_TEST(a_refused_pin_is_forgotten)
{
    static const struct exchange s[] = {{"002000820431323334", "63C2"}, {NULL, NULL}};
    static const struct exchange silent[] = {
        {"002000820431323334", "6982"}, {"00CA00C400", "017F7F7F0100039000"}, {NULL, NULL}};
    struct openpgp o = verified_card();

    buf_printf(&o.user.pin, "1234");
    begin_script(s);
    ck_assert_uint_eq(gpg_err_code(openpgp_verify_held(&o, PW1_OTHER)), GPG_ERR_BAD_PIN);
    ck_assert_uint_eq(o.user.pin.len, 0);
    ck_assert_int_eq(o.tries[0], 2);
    ck_assert(!openpgp_pin_serves(&o, PW1_OTHER, -1));
    all_used();
    buf_printf(&o.user.pin, "1234");
    begin_script(silent); /* the card does not say how many are left: that is read */
    ck_assert_uint_eq(gpg_err_code(openpgp_verify_held(&o, PW1_OTHER)), GPG_ERR_BAD_PIN);
    ck_assert_int_eq(o.tries[0], 1);
    all_used();
    held_pin_forget(&o.user);
}
END_TEST

/* The answer to VERIFY gets lost: what the counter says decides whether the PIN may go out again. */
START_TEST(an_unanswered_pin_is_not_simply_repeated)
{
    static const struct exchange cost[] = {
        {"002000820431323334", "lost"}, {"00CA00C400", "017F7F7F0200039000"}, {NULL, NULL}};
    static const struct exchange free_of_cost[] = {{"002000820431323334", "lost"},
                                                   {"00CA00C400", "017F7F7F0300039000"},
                                                   {"002000820431323334", "9000"},
                                                   {NULL, NULL}};
    static const struct exchange twice[] = {{"002000820431323334", "lost"},
                                            {"00CA00C400", "017F7F7F0300039000"},
                                            {"002000820431323334", "lost"},
                                            {NULL, NULL}};
    struct openpgp o = verified_card();

    buf_printf(&o.user.pin, "1234");
    begin_script(cost);
    ck_assert_uint_eq(gpg_err_code(openpgp_verify_held(&o, PW1_OTHER)), GPG_ERR_EAGAIN);
    ck_assert_uint_eq(gpg_err_code(openpgp_verify_held(&o, PW1_OTHER)), GPG_ERR_BAD_PIN);
    ck_assert_uint_eq(o.user.pin.len, 0);
    ck_assert_int_eq(o.tries[0], 2);
    all_used();
    o.tries[0] = 3;
    buf_printf(&o.user.pin, "1234");
    begin_script(free_of_cost);
    ck_assert_uint_eq(gpg_err_code(openpgp_verify_held(&o, PW1_OTHER)), GPG_ERR_EAGAIN);
    ck_assert_uint_eq(openpgp_verify_held(&o, PW1_OTHER), 0);
    all_used();
    o.user.good = false;
    begin_script(twice);
    ck_assert_uint_eq(gpg_err_code(openpgp_verify_held(&o, PW1_OTHER)), GPG_ERR_EAGAIN);
    ck_assert_uint_eq(gpg_err_code(openpgp_verify_held(&o, PW1_OTHER)), GPG_ERR_EAGAIN);
    ck_assert_uint_eq(o.user.pin.len, 0);
    all_used();
    held_pin_forget(&o.user);
}
END_TEST

START_TEST(tries_are_read_before_a_pin_is_asked_for)
{
    static const struct exchange s[] = {{"00CA00C400", "017F7F7F0100039000"}, {NULL, NULL}};
    struct openpgp o = verified_card();

    begin_script(s);
    o.tries_ms = card_now_ms() - 3600000;
    ck_assert_uint_eq(openpgp_fresh_tries(&o), 0);
    ck_assert_int_eq(o.tries[0], 1);
    ck_assert_uint_eq(openpgp_fresh_tries(&o), 0); /* just done */
    all_used();
}
END_TEST

START_TEST(card_capabilities)
{
    static const struct {
        const char *atr;
        bool chaining, extended;
    } cards[] = {
        {"3BFD1300008131FE158073C021C057597562694B657940", true, true}, /* YubiKey 5 */
        {"3BDA11FF81B1FE551F0300318473800180009000E4", true, false},    /* Gnuk */
        {"3BDA18FF81B1FE751F030031C573C001400090000C", false, true},    /* ZeitControl 3.3 */
        {"3B8F01805D4E6974726F6B657900000000006A", false, false},       /* a name, no TLV */
        {"3BFD13", false, false},
        {"3B", false, false},
        {"", false, false},
    };

    for (size_t i = 0; i < sizeof cards / sizeof cards[0]; i++) {
        struct card c = {0};
        struct buf b = BUF_INIT;

        ck_assert_uint_eq(hex_decode(cards[i].atr, &b), 0);
        apdu_note_capabilities(&c, apdu_historical(buf_rd(&b)));
        ck_assert_msg(c.chaining == cards[i].chaining && c.extended == cards[i].extended, "%s",
                      cards[i].atr);
        buf_free(&b);
    }
}
END_TEST

START_TEST(long_answers_are_had_at_once)
{
    static const struct exchange data[] = {{"00478100000002B6000000", "AA9000"}, {NULL, NULL}};
    static const struct exchange none[] = {{"00CA006E000000", "AA9000"}, {NULL, NULL}};
    static const struct exchange lies[] = {
        {"00CA006E000000", "6700"}, {"00CA006E00", "AA9000"}, {NULL, NULL}};
    struct card c = {.transport = &fake, .extended = true};
    struct apdu a = {
        .ins = 0x47, .p1 = 0x81, .data = rd_of("\xb6\0", 2), .want_data = true, .expect = 300};
    struct apdu b = {.ins = 0xca, .p2 = 0x6e, .want_data = true, .expect = 512};
    unsigned sw;

    begin_script(data);
    ck_assert_uint_eq(apdu_send(&c, &a, NULL, &sw), 0);
    all_used();
    begin_script(none);
    ck_assert_uint_eq(apdu_send(&c, &b, NULL, &sw), 0);
    all_used();
    begin_script(lies);
    ck_assert_uint_eq(apdu_send(&c, &b, NULL, &sw), 0);
    ck_assert_uint_eq(sw, 0x9000);
    all_used();
}
END_TEST

START_TEST(another_applet_keeps_the_pin)
{
    static const struct exchange s[] = {{NULL, "6A88"}, {NULL, "9000"}, {NULL, NULL}};
    struct openpgp o = verified_card();

    buf_printf(&o.user.pin, "123456");
    begin_script(s);
    ck_assert_uint_eq(gpg_err_code(openpgp_verify_held(&o, PW1_SIGN)), GPG_ERR_WRONG_CARD);
    ck_assert_uint_eq(o.user.pin.len, 6);
    ck_assert_uint_eq(openpgp_verify_held(&o, PW1_SIGN), 0);
    ck_assert(o.verified[0] && !o.verified[1]);
    ck_assert(openpgp_pin_serves(&o, PW1_OTHER, -1) && openpgp_pin_serves(&o, PW1_OTHER, 60) &&
              !openpgp_pin_serves(&o, PW1_OTHER, 0));
    held_pin_forget(&o.user);
}
END_TEST

START_TEST(unverify_or_reset)
{
    static const struct exchange v3[] = {{"0020FF82", "9000"}, {NULL, NULL}};
    static const struct exchange v2[] = {{"0020FF82", "6A86"}, {NULL, NULL}};
    struct openpgp o = verified_card();
    bool reset = true;

    o.verified[1] = true;
    begin_script(v3);
    openpgp_unverify(&o, &reset);
    ck_assert(!reset && !o.verified[1]);
    all_used();
    o.verified[1] = true;
    begin_script(v2);
    openpgp_unverify(&o, &reset);
    ck_assert(reset && !o.verified[1] && !o.selected);
    all_used();
}
END_TEST

START_TEST(with_other_applets_a_reset_drops)
{
    static const struct exchange none[] = {{NULL, NULL}};
    static const struct exchange near[] = {{"0020FF82", "9000"}, {NULL, NULL}};
    struct openpgp o = verified_card();
    bool reset = false;

    o.profile = profile_find(0x0006, "Yubico YubiKey");
    o.verified[1] = true;
    begin_script(none);
    openpgp_unverify(&o, &reset);
    ck_assert(reset && !o.verified[1] && !o.selected);
    reset = false;
    openpgp_unverify(&o, &reset);
    ck_assert(!reset); /* nothing to drop */
    o.contactless = o.verified[1] = true;
    begin_script(near);
    openpgp_unverify(&o, &reset);
    ck_assert(!reset && !o.verified[1]);
    all_used();
}
END_TEST

/* After a reset by somebody it may be another card in the same reader: it gets no PIN. */
START_TEST(another_card_in_the_reader)
{
    static const struct exchange s[] = {{"00A4040006D2760001240100", "9000"},
                                        {"00CA004F00", "D27600012401030400060000000200009000"},
                                        {NULL, NULL}};
    static const struct exchange undoubted[] = {{"00A4040006D2760001240100", "9000"}, {NULL, NULL}};
    struct openpgp o = verified_card();

    memcpy(o.aid, "\xd2\x76\0\1\x24\1\3\4\0\6\0\0\0\1", 14);
    begin_script(undoubted);
    ck_assert_uint_eq(openpgp_reselect(&o), 0);
    all_used();
    o.doubted = true;
    begin_script(s);
    ck_assert_uint_eq(gpg_err_code(openpgp_reselect(&o)), GPG_ERR_CARD_REMOVED);
    ck_assert(o.doubted);
    all_used();
}
END_TEST

static const char *device_says; /* hex */
static unsigned device_asked, notices;

static gpg_error_t ask_on_device(void *handle, uint8_t ref, struct buf *response)
{
    (void)handle;
    ck_assert_uint_eq(ref, PW1_OTHER);
    device_asked++;
    return hex_decode(device_says, response);
}

static void notice(void *arg, bool waiting)
{
    (void)arg;
    notices += waiting ? 1 : 100;
}

/* Asked once for each verification, whatever comes of it. */
START_TEST(a_pin_on_the_device)
{
    static const struct {
        const char *says, *tries; /* PW status bytes, where they are read after it */
        gpg_err_code_t code;
    } cases[] = {{"9000", NULL, 0},
                 {"6985", NULL, GPG_ERR_NOT_CONFIRMED},
                 {"6401", NULL, GPG_ERR_NOT_CONFIRMED},
                 {"6400", NULL, GPG_ERR_TIMEOUT},
                 {"63C2", NULL, GPG_ERR_BAD_PIN},
                 {"63C0", NULL, GPG_ERR_PIN_BLOCKED},
                 {"6982", "010C0C0C0200039000", GPG_ERR_BAD_PIN},
                 {"6983", "010C0C0C0000039000", GPG_ERR_PIN_BLOCKED},
                 {"90", NULL, GPG_ERR_CARD},
                 {"009000", NULL, GPG_ERR_CARD}};
    const struct exchange s[] = {{cases[_i].tries != NULL ? "00CA00C400" : NULL, cases[_i].tries},
                                 {NULL, NULL}};
    const struct card_transport asking = {.begin = script_begin,
                                          .transmit = script_transmit,
                                          .end = script_end,
                                          .verify = ask_on_device};
    const struct driver_io io = {.touch = notice};
    struct driver_op op = {.io = &io};
    struct openpgp o = {.card = {.transport = &asking, .asks_pin = true},
                        .profile = profile_find(0x2c97, "Ledger Nano X"),
                        .tries = {3, 0, 3}};

    ck_assert(openpgp_asks_itself(&o));
    device_asked = notices = 0;
    device_says = cases[_i].says;
    begin_script(s);
    ck_assert_uint_eq(gpg_err_code(openpgp_verify_on_device(&o, &op, PW1_OTHER)), cases[_i].code);
    all_used();
    ck_assert_uint_eq(device_asked, 1);
    ck_assert_uint_eq(notices, 101);
    ck_assert(o.verified[1] == (cases[_i].code == 0) && op.pin_device == (cases[_i].code == 0));
    ck_assert(openpgp_device_pin_serves(&o, PW1_OTHER, -1) == (cases[_i].code == 0));
    ck_assert(openpgp_device_pin_serves(&o, PW1_OTHER, 60) == (cases[_i].code == 0));
    ck_assert(!openpgp_device_pin_serves(&o, PW1_OTHER, 0));
    /* Where nobody can say so to the device, a PIN is asked for here; on other products, too. */
    o.card.asks_pin = false;
    ck_assert(!openpgp_asks_itself(&o));
    o.card.asks_pin = true;
    o.profile = profile_find(0x0006, "Yubico YubiKey");
    ck_assert(!openpgp_asks_itself(&o));
}
END_TEST

START_TEST(products_and_readers)
{
    static const uint8_t near[] = {0x3b, 0x88, 0x80, 0x01, 0}, contact[] = {0x3b, 0xda, 0x18, 0xff};
    int bus, dev;

    ck_assert_str_eq(profile_find(0x0006, "Yubico YubiKey OTP+FIDO+CCID 00 00")->kind, "yubikey");
    ck_assert_str_eq(profile_find(0x0005, "Purism, SPC Librem Key")->kind, "librem");
    ck_assert_str_eq(profile_find(0x0005, "Nitrokey Nitrokey Pro")->kind, "nitrokey");
    ck_assert_str_eq(profile_find(0xfffe, "Nitrokey Nitrokey Start")->kind, "nitrokey");
    ck_assert_str_eq(profile_find(0xfffe, "Free Software Initiative of Japan Gnuk")->kind, "gnuk");
    ck_assert_str_eq(profile_find(0x2c97, "Ledger Token")->kind, "ledger");
    ck_assert(profile_has(profile_find(0x2c97, "Ledger Token"), PIN_ON_DEVICE));
    ck_assert_str_eq(profile_find(0x4242, "x")->kind, "openpgp");
    ck_assert(profile_has(profile_find(0x4242, "x"), OTHER_APPLETS));
    ck_assert(
        profile_has(profile_find(0x0006, "Yubico YubiKey OTP+FIDO+CCID 00 00"), OTHER_APPLETS));
    ck_assert(!profile_has(profile_find(0xfffe, "Free Software Initiative of Japan Gnuk"),
                           OTHER_APPLETS));
    ck_assert(profile_has(profile_find(0xfffe, "Some Java Card"), OTHER_APPLETS));
    ck_assert(pcsc_atr_contactless("x", rd_of(near, sizeof near)));
    ck_assert(!pcsc_atr_contactless("x", rd_of(contact, sizeof contact)));
    ck_assert(pcsc_atr_contactless("ACS ACR122U PICC Interface", rd_of(contact, sizeof contact)));
    pcsc_channel_address(0x00200305, &bus, &dev);
    ck_assert_int_eq(bus, 3);
    ck_assert_int_eq(dev, 5);
    pcsc_channel_address(0x00010203, &bus, &dev);
    ck_assert_int_eq(bus, -1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("card");
    TCase *t = tcase_create("driver");
    SRunner *r;
    int failed;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_INIT_SECMEM, 65536, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    tcase_add_test(t, short_and_get_response);
    tcase_add_test(t, wrong_le_is_repeated);
    tcase_add_test(t, chaining_and_extended);
    tcase_add_test(t, a_card_that_never_ends);
    tcase_add_test(t, application_related_data);
    tcase_add_test(t, attributes);
    tcase_add_test(t, kdf_limits);
    tcase_add_test(t, a_refused_pin_is_forgotten);
    tcase_add_test(t, an_unanswered_pin_is_not_simply_repeated);
    tcase_add_test(t, tries_are_read_before_a_pin_is_asked_for);
    tcase_add_test(t, card_capabilities);
    tcase_add_test(t, long_answers_are_had_at_once);
    tcase_add_test(t, with_other_applets_a_reset_drops);
    tcase_add_test(t, another_card_in_the_reader);
    tcase_add_test(t, another_applet_keeps_the_pin);
    tcase_add_test(t, unverify_or_reset);
    tcase_add_loop_test(t, a_pin_on_the_device, 0, 10);
    tcase_add_test(t, products_and_readers);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
