/* Readers, writers, text encodings. */
#include "proto/token_protocol.h"
#include "tests/unit/proto_util.h"

START_TEST(numbers_are_big_endian)
{
    static const uint8_t in[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    struct rd r = rd_of(in, sizeof in);
    uint8_t a;
    uint16_t b;
    uint32_t c;
    uint64_t d;

    ck_ok(rd_u8(&r, &a));
    ck_ok(rd_u16(&r, &b));
    ck_ok(rd_u32(&r, &c));
    ck_ok(rd_u64(&r, &d));
    ck_assert_uint_eq(a, 1);
    ck_assert_uint_eq(b, 0x0203);
    ck_assert_uint_eq(c, 0x04050607);
    ck_assert_uint_eq(d, 0x08090a0b0c0d0e0f);
    ck_ok(rd_end(&r));
    ck_code(rd_u8(&r, &a), GPG_ERR_BUFFER_TOO_SHORT);
    ck_assert_uint_eq(a, 1);
}
END_TEST

START_TEST(failure_leaves_all_untouched)
{
    static const uint8_t in[] = {0, 0, 0, 5, 'a', 'b', 'c', 'd'};
    struct rd r = rd_of(in, sizeof in), out = rd_str("before");
    char *s = NULL;
    uint64_t v = 77;
    struct rd shorter = rd_of(in, 3);

    ck_code(rd_string(&r, &out), GPG_ERR_BUFFER_TOO_SHORT);
    ck_code(rd_cstring(&r, &s), GPG_ERR_BUFFER_TOO_SHORT);
    ck_code(rd_mpint(&r, &out), GPG_ERR_BUFFER_TOO_SHORT);
    ck_code(rd_bytes(&r, 9, &out), GPG_ERR_BUFFER_TOO_SHORT);
    ck_code(rd_bytes(&r, SIZE_MAX, &out), GPG_ERR_BUFFER_TOO_SHORT);
    ck_code(rd_u64(&shorter, &v), GPG_ERR_BUFFER_TOO_SHORT);
    ck_assert(r.p == in && r.n == sizeof in && shorter.n == 3);
    ck_assert(rd_is(out, "before") && s == NULL && v == 77);
    ck_code(rd_end(&r), GPG_ERR_BAD_DATA);
}
END_TEST

START_TEST(strings)
{
    struct buf b = BUF_INIT;
    struct rd r, out;
    char *s;

    buf_put_cstring(&b, "hello");
    buf_put_string(&b, "a\0b", 3);
    buf_put_cstring(&b, "");
    r = buf_rd(&b);
    ck_ok(rd_cstring(&r, &s));
    ck_assert_str_eq(s, "hello");
    gpgrt_free(s);
    ck_code(rd_cstring(&r, &s), GPG_ERR_BAD_DATA);
    ck_ok(rd_string(&r, &out));
    ck_assert(rd_eq(out, rd_of("a\0b", 3)));
    ck_ok(rd_cstring(&r, &s));
    ck_assert_str_eq(s, "");
    gpgrt_free(s);
    ck_ok(rd_end(&r));
    ck_assert(rd_eq(rd_of(NULL, 0), rd_str("")) && !rd_is(rd_str("ab"), "a"));
    buf_free(&b);
}
END_TEST

static void mpint_is(const char *wire, const char *want)
{
    struct buf b = BUF_INIT;
    struct rd r, v;

    put_hex(&b, wire);
    r = buf_rd(&b);
    if (want == NULL) {
        ck_code(rd_mpint(&r, &v), GPG_ERR_BAD_MPI);
    } else {
        ck_ok(rd_mpint(&r, &v));
        ck_hex(v, want);
    }
    buf_free(&b);
}

START_TEST(mpints)
{
    struct buf b = BUF_INIT, big = BUF_INIT;
    struct rd r, v;

    mpint_is("00000000", "");
    mpint_is("0000000100", "");
    mpint_is("0000000180", NULL);
    mpint_is("000000020080", "80");
    mpint_is("00000004000000FF", "FF");
    mpint_is("0000000809A378F9B2E332A7", "09A378F9B2E332A7"); /* RFC 4251 5 */
    buf_put_mpint(&b, "\x00\x00\x80", 3);
    buf_put_mpint(&b, "\x7f", 1);
    buf_put_mpint(&b, "\x00", 1);
    ck_hex(buf_rd(&b), "000000020080"
                       "000000017F"
                       "00000000");
    buf_put_u32(&big, 2049);
    for (int i = 0; i < 2049; i++)
        buf_put_u8(&big, 0x7f);
    r = buf_rd(&big);
    ck_code(rd_mpint(&r, &v), GPG_ERR_BAD_MPI);
    buf_set_u32(&big, 0, 2048);
    ck_ok(rd_mpint(&r, &v));
    ck_assert_uint_eq(v.n, 2048);
    buf_free(&b);
    buf_free(&big);
}
END_TEST

START_TEST(pgp_mpis)
{
    struct buf b = BUF_INIT;

    buf_put_pgp_mpi(&b, "\x00\x01\xff", 3); /* RFC 4880 3.2's own examples */
    buf_put_pgp_mpi(&b, "\x01", 1);
    buf_put_pgp_mpi(&b, "", 0);
    buf_put_pgp_mpi(&b, "\x80\x00", 2);
    ck_hex(buf_rd(&b), "000901FF"
                       "000101"
                       "0000"
                       "00108000");
    buf_free(&b);
}
END_TEST

START_TEST(tlv)
{
    static const struct {
        const char *in;
        uint32_t tag;
        size_t n; /* SIZE_MAX: refused */
    } cases[] = {
        {"5F500141", 0x5f50, 1},     {"C500", 0xc5, 0},
        {"5300", 0x53, 0},           {"530141FF", 0x53, 1},
        {"5381024142", 0x53, 2},     {"538200024142", 0x53, 2},
        {"5383000001AA", 0x53, 1},   {"7FFF010100", 0x7fff01, 1},
        {"5380", 0, SIZE_MAX},       {"538400000001AA", 0, SIZE_MAX},
        {"5302AA", 0, SIZE_MAX},     {"53", 0, SIZE_MAX},
        {"5F", 0, SIZE_MAX},         {"7F818100", 0, SIZE_MAX},
        {"7F81828301", 0, SIZE_MAX}, {"5381", 0, SIZE_MAX},
        {"5383FFFFFF", 0, SIZE_MAX},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf b = BUF_INIT;
        struct rd r, v = rd_str("x");
        uint32_t tag = 1;

        put_hex(&b, cases[i].in);
        r = buf_rd(&b);
        if (cases[i].n == SIZE_MAX) {
            ck_assert_msg(rd_tlv(&r, &tag, &v) != 0, "%s accepted", cases[i].in);
            ck_assert(r.n == b.len && tag == 1 && rd_is(v, "x"));
        } else {
            ck_ok(rd_tlv(&r, &tag, &v));
            ck_assert_uint_eq(tag, cases[i].tag);
            ck_assert_uint_eq(v.n, cases[i].n);
        }
        buf_free(&b);
    }
}
END_TEST

START_TEST(tlv_written_is_read)
{
    static const uint32_t tags[] = {0x53, 0xc5, 0x5f50, 0x7f49, 0x7fff01};
    static const size_t sizes[] = {0, 1, 127, 128, 255, 256, 65535, 65536};
    uint8_t *data = calloc(1, 65536);

    for (size_t t = 0; t < 5; t++) {
        for (size_t s = 0; s < 8; s++) {
            struct buf b = BUF_INIT;
            struct rd r, v;
            uint32_t tag;

            buf_put_tlv(&b, tags[t], data, sizes[s]);
            r = buf_rd(&b);
            ck_ok(rd_tlv(&r, &tag, &v));
            ck_ok(rd_end(&r));
            ck_assert(tag == tags[t] && v.n == sizes[s]);
            for (size_t cut = 1; cut <= 4 && cut < b.len; cut++) {
                r = rd_of(b.data, b.len - cut);
                ck_assert(rd_tlv(&r, &tag, &v) != 0);
            }
            buf_free(&b);
        }
    }
    free(data);
}
END_TEST

START_TEST(tlv_find)
{
    struct buf b = BUF_INIT;
    struct rd v;

    /* 6E holding 4F, 5F52 and 73 with C0, C1; padding; 5F50; a broken tail */
    put_hex(&b, "6E10"
                "4F02D276"
                "5F520133"
                "7306C0017DC1010A"
                "0000"
                "5F500141"
                "C5FFFF");
    ck_ok(rd_tlv_find(buf_rd(&b), 0xc1, &v));
    ck_hex(v, "0A");
    ck_ok(rd_tlv_find(buf_rd(&b), 0x5f52, &v));
    ck_hex(v, "33");
    ck_ok(rd_tlv_find(buf_rd(&b), 0x5f50, &v));
    ck_ok(rd_tlv_find(buf_rd(&b), 0x73, &v));
    ck_assert_uint_eq(v.n, 6);
    ck_code(rd_tlv_find(buf_rd(&b), 0xc5, &v), GPG_ERR_NOT_FOUND);
    ck_code(rd_tlv_find(buf_rd(&b), 0xd2, &v), GPG_ERR_NOT_FOUND);
    ck_code(rd_tlv_find(rd_of(NULL, 0), 0x6e, &v), GPG_ERR_NOT_FOUND);
    buf_free(&b);
}
END_TEST

START_TEST(writer_keeps_the_first_error)
{
    struct buf b = BUF_INIT;

    buf_put_cstring(&b, "some");
    buf_set_u32(&b, 5, 1); /* reaches past the end */
    ck_code(buf_err(&b), GPG_ERR_INTERNAL);
    buf_put(&b, "x", (size_t)1 << 40);
    ck_code(buf_err(&b), GPG_ERR_INTERNAL);
    ck_assert_uint_eq(b.len, 8);
    ck_assert(buf_cstr(&b) == NULL && buf_steal_cstr(&b) == NULL);
    buf_reset(&b);
    buf_put(&b, "x", (size_t)1 << 40);
    ck_code(buf_err(&b), GPG_ERR_TOO_LARGE);
    buf_free(&b);
    ck_assert(b.data == NULL && b.err == 0);
}
END_TEST

START_TEST(secure_writer)
{
    struct buf b = BUF_INIT_SECURE;

    for (int i = 0; i < 1000; i++)
        buf_put_u8(&b, (uint8_t)i);
    ck_ok(buf_err(&b));
    ck_assert(gcry_is_secure(b.data));
    ck_assert(b.data[999] == (uint8_t)999);
    ck_assert(buf_steal_cstr(&b) == NULL);
    buf_reset(&b);
    ck_assert_uint_eq(b.len, 0);
    ck_assert_uint_eq(b.data[999], 0);
    /* the pool is small: running out is an error, no end of the program */
    for (int i = 0; i < 4000000 && buf_err(&b) == 0; i++)
        buf_put_u8(&b, 1);
    ck_code(buf_err(&b), GPG_ERR_ENOMEM);
    buf_free(&b);
    ck_assert(!b.secure);
}
END_TEST

START_TEST(text)
{
    struct buf b = BUF_INIT;
    char *s;

    ck_assert_str_eq(buf_cstr(&b), "");
    buf_printf(&b, "%s-%d", "a", 12);
    buf_printf(&b, "%0200d", 0);
    ck_assert_uint_eq(b.len, 204);
    ck_assert_uint_eq(strlen(buf_cstr(&b)), 204);
    s = buf_steal_cstr(&b);
    ck_assert(strncmp(s, "a-120000", 8) == 0 && b.data == NULL);
    gpgrt_free(s);
    buf_free(&b);
}
END_TEST

START_TEST(hex)
{
    struct buf b = BUF_INIT;
    char *s;

    ck_ok(hex_decode("00ffAb", &b));
    s = hex_encode(b.data, b.len);
    ck_assert_str_eq(s, "00FFAB");
    gpgrt_free(s);
    ck_code(hex_decode("0", &b), GPG_ERR_INV_VALUE);
    ck_code(hex_decode("0g", &b), GPG_ERR_INV_VALUE);
    ck_code(hex_decode("11 2", &b), GPG_ERR_INV_VALUE);
    ck_assert_uint_eq(b.len, 3);
    s = hex_encode(NULL, 0);
    ck_assert_str_eq(s, "");
    gpgrt_free(s);
    buf_free(&b);
}
END_TEST

START_TEST(base64)
{
    static const char *const rfc4648[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    static const char *const bad[] = {"Z",    "Zg",   "Zg=",      "Zg===", "Z===",  "=",
                                      "Zh==", "Zm9=", "Zm8=Zg==", "Zm9v!", "Zg==Z", "Zg=a"};
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < sizeof rfc4648 / sizeof rfc4648[0]; i++) {
        char *s = b64_encode(rfc4648[i][0], strlen(rfc4648[i][0]));

        ck_assert_str_eq(s, rfc4648[i][1]);
        buf_reset(&b);
        ck_ok(b64_decode(s, strlen(s), &b));
        ck_assert(rd_is(buf_rd(&b), rfc4648[i][0]));
        gpgrt_free(s);
    }
    buf_reset(&b);
    ck_ok(b64_decode(" Zm9v\n\tYg = =\r\n", 15, &b));
    ck_assert(rd_is(buf_rd(&b), "foob"));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(b64_decode(bad[i], strlen(bad[i]), &b) != 0, "%s", bad[i]);
    buf_free(&b);
}
END_TEST

START_TEST(fields)
{
    struct buf b = BUF_INIT;
    char *s;
    long n;

    field_put(&b, "key", "a b=%c\xc3\xa9\n");
    field_put(&b, "empty", "");
    field_put_int(&b, "pin-age", -1);
    ck_assert_str_eq(buf_cstr(&b), "key=a%20b=%25c%C3%A9%0A empty= pin-age=-1");
    ck_ok(field_get(buf_cstr(&b), "key", &s));
    ck_assert_str_eq(s, "a b=%c\xc3\xa9\n");
    gpgrt_free(s);
    ck_ok(field_get(buf_cstr(&b), "empty", &s));
    ck_assert_str_eq(s, "");
    gpgrt_free(s);
    ck_ok(field_get(buf_cstr(&b), "age", &s)); /* no match inside a word */
    ck_assert(s == NULL);
    ck_ok(field_get_int(buf_cstr(&b), "pin-age", 5, &n));
    ck_assert_int_eq(n, -1);
    ck_ok(field_get_int(buf_cstr(&b), "none", 5, &n));
    ck_assert_int_eq(n, 5);
    ck_ok(field_get_int("SIGN  key=7 x=2", "x", 0, &n)); /* a verb in front, two blanks */
    ck_assert_int_eq(n, 2);
    buf_free(&b);
}
END_TEST

START_TEST(bad_fields)
{
    static const char *const bad[] = {"x=%", "x=%2", "x=%zz", "x=a%00b", "x=%0"};
    static const char *const numbers[] = {"x=", "x=1a", "x=%201", "x=+1", "x=99999999999999999999",
                                          "x=-"};
    char *s = NULL;
    long n = 3;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_code(field_get(bad[i], "x", &s), GPG_ERR_BAD_DATA);
    ck_assert(s == NULL);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        ck_code(field_get_int(numbers[i], "x", 0, &n), GPG_ERR_BAD_DATA);
    ck_assert_int_eq(n, 3);
}
END_TEST

static void tests(TCase *tc)
{
    tcase_add_test(tc, numbers_are_big_endian);
    tcase_add_test(tc, failure_leaves_all_untouched);
    tcase_add_test(tc, strings);
    tcase_add_test(tc, mpints);
    tcase_add_test(tc, pgp_mpis);
    tcase_add_test(tc, tlv);
    tcase_add_test(tc, tlv_written_is_read);
    tcase_add_test(tc, tlv_find);
    tcase_add_test(tc, writer_keeps_the_first_error);
    tcase_add_test(tc, secure_writer);
    tcase_add_test(tc, text);
    tcase_add_test(tc, hex);
    tcase_add_test(tc, base64);
    tcase_add_test(tc, fields);
    tcase_add_test(tc, bad_fields);
}

int main(void)
{
    return run_suite("buf", tests);
}
