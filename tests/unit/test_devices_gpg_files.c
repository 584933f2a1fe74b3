/* The forms that gpg's key store has on disk and on the way to gpg: files, protection, transfer; by files of stock agents. */
#include "devices/gpg_file.h"
#include "devices/gpg_protect.h"
#include "devices/gpg_transfer.h"
#include "devices/key_memory.h"
#include "tests/unit/proto_util.h"

#define STORE "tests/vectors/gpg-keystore/"
#define PASS  "Gr\303\274\303\237e 42!"

static void read_vector(const char *name, const char *suffix, struct buf *b)
{
    char path[256], chunk[4096];
    size_t n;
    FILE *f;

    snprintf(path, sizeof path, STORE "%s%s", name, suffix);
    f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s: run the tests from the top of the tree", path);
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_put(b, chunk, n);
    fclose(f);
    ck_ok(buf_err(b));
}

static const struct vector {
    const char *name, *grip;
    enum gpg_key_form form;
} vectors[] = {
    {"v1-ocb-ed25519-gpg2.2.40", "5A0E107478791FD86A8541FC8A4A4231353A5C77", GPG_KEY_PROTECTED},
    {"v2-cbc-rsa2048-canonical-gpg2.2.40", "92373D24F033B8E324731871F860C70EF702BDB6",
     GPG_KEY_PROTECTED},
    {"v3-ocb-nistp256-gpg2.4.8", "BFA6FD097FDAAB195495F7812276C77658F0F427", GPG_KEY_PROTECTED},
    {"v4-ocb-cv25519-gpg2.4.8", "9A5FBE06DFE8092FEF3D42E67751A2003ABBB047", GPG_KEY_PROTECTED},
    {"x1-openpgp-native-rsa2048-canonical", "92373D24F033B8E324731871F860C70EF702BDB6",
     GPG_KEY_NATIVE},
    {"x2-shadowed-rsa2048", "05A70618506C1F70C15211E821B862FA25C34009", GPG_KEY_SHADOWED},
    {"x3-shadowed-nistp256", "210380BC364063BC8CA4E8BC9A09DDC666D60B34", GPG_KEY_SHADOWED},
};
#define VECTORS_N ((int)(sizeof vectors / sizeof vectors[0]))

static struct gpg_file *read_file(const char *name)
{
    struct buf text = BUF_INIT_SECURE;
    struct gpg_file *f = NULL;

    read_vector(name, ".key", &text);
    ck_ok(gpg_file_parse(buf_rd(&text), &f));
    buf_free(&text);
    return f;
}

static void ck_grip(struct rd key, const char *want)
{
    struct gpg_key_parts p;
    struct buf pub = BUF_INIT;
    uint8_t grip[20];

    ck_ok(gpg_key_split(key, &p));
    ck_ok(gpg_key_public(&p, &pub));
    ck_ok(gpg_key_grip(buf_rd(&pub), grip));
    ck_hex(rd_of(grip, 20), want);
    buf_free(&pub);
}

static void ck_testkey(struct rd key)
{
    gcry_sexp_t s;

    ck_ok(gcry_sexp_sscan(&s, NULL, (const char *)key.p, key.n));
    ck_ok(gcry_pk_testkey(s));
    gcry_sexp_release(s);
}

static struct rd pass(void)
{
    return rd_str(PASS);
}

/* --- files -------------------------------------------------------------------------------------------------------------- */

START_TEST(files_of_stock_agents_are_read)
{
    const struct vector *v = &vectors[_i];
    struct gpg_file *f = read_file(v->name);
    struct gpg_key_parts p;

    ck_ok(gpg_key_split(gpg_file_key(f), &p));
    ck_assert_int_eq(p.form, v->form);
    ck_grip(gpg_file_key(f), v->grip);
    gpg_file_free(f);
}
END_TEST

START_TEST(what_is_not_changed_is_printed_as_it_was)
{
    struct buf text = BUF_INIT_SECURE, out = BUF_INIT_SECURE;
    struct gpg_file *f;

    read_vector(vectors[_i].name, ".key", &text);
    ck_ok(gpg_file_parse(buf_rd(&text), &f));
    ck_ok(gpg_file_print(f, &out));
    ck_assert(rd_eq(buf_rd(&text), buf_rd(&out)));
    gpg_file_free(f);
    buf_free(&text);
    buf_free(&out);
}
END_TEST

/* The key printed anew is the same key. */
START_TEST(a_key_that_is_set_is_read_back)
{
    struct gpg_file *f = read_file(vectors[_i].name), *again = NULL;
    struct buf key = BUF_INIT_SECURE, out = BUF_INIT_SECURE;

    buf_put_rd(&key, gpg_file_key(f));
    ck_ok(gpg_file_set_key(f, buf_rd(&key)));
    ck_ok(gpg_file_print(f, &out));
    for (size_t i = 0, column = 0; i < out.len; i++) {
        column = out.data[i] == '\n' ? 0 : column + 1;
        ck_assert_uint_le(column, 80);
        ck_assert_uint_lt(out.data[i], 0x7f);
    }
    ck_ok(gpg_file_parse(buf_rd(&out), &again));
    ck_assert(rd_eq(gpg_file_key(again), buf_rd(&key)));
    gpg_file_free(f);
    gpg_file_free(again);
    buf_free(&key);
    buf_free(&out);
}
END_TEST

#define KEY_LINES                                                      \
    "Key: (private-key (ecc (curve Ed25519)(flags eddsa)(q\n"          \
    "  #40BD83F1801D8EEAAC8A79FF208DFD5BB7D8BA3C09A781FCD4CECAF6550A7" \
    "C1CC3#)(d #4FDDFDC7B54806012B80C67FA473C183EE4A7E0C294647366B05"  \
    "612AEEAF9A2B#)))\n"

static struct gpg_file *parse_text(const char *text)
{
    struct gpg_file *f = NULL;

    ck_ok(gpg_file_parse(rd_str(text), &f));
    return f;
}

static void ck_print(struct gpg_file *f, const char *want)
{
    struct buf out = BUF_INIT_SECURE;

    ck_ok(gpg_file_print(f, &out));
    ck_assert_str_eq(buf_cstr(&out), want);
    buf_free(&out);
    gpg_file_free(f);
}

START_TEST(attributes)
{
    struct gpg_file *f = parse_text("# mine\nLabel: my\n  key\n \n  of old\n\ntoken: A\n" KEY_LINES
                                    "Token: B\nX-Unknown:  kept \n# end");

    ck_assert_str_eq(gpg_file_get(f, "label", 0), "my key\n of old");
    ck_assert_str_eq(gpg_file_get(f, "Token", 0), "A");
    ck_assert_str_eq(gpg_file_get(f, "Token", 1), "B");
    ck_assert_ptr_null(gpg_file_get(f, "Token", 2));
    ck_assert_str_eq(gpg_file_get(f, "x-unknown", 0), "kept");
    ck_assert_ptr_null(gpg_file_get(f, "Key", 0));
    ck_ok(gpg_file_add(f, "Token", "C"));
    ck_ok(gpg_file_set(f, "Label", NULL));
    ck_ok(gpg_file_set(f, "Confirm", "yes"));
    ck_code(gpg_file_set(f, "Key", "x"), GPG_ERR_INV_NAME);
    ck_code(gpg_file_set(f, "a b", "x"), GPG_ERR_INV_NAME);
    ck_print(f, "# mine\n\ntoken: A\nConfirm: yes\n" KEY_LINES
                "Token: B\nToken: C\nX-Unknown:  kept \n# end\n");
}
END_TEST

START_TEST(one_value_replaces_all)
{
    struct gpg_file *f = parse_text("Token: A\n# between\n" KEY_LINES "Token: B\n");

    ck_ok(gpg_file_set(f, "Token", "C"));
    ck_print(f, "Token: C\n# between\n" KEY_LINES);
}
END_TEST

/* Whatever a value is, it comes back. */
START_TEST(long_values_are_folded)
{
    char value[600];
    struct gpg_file *f, *again;
    struct buf out = BUF_INIT_SECURE;

    for (unsigned seed = 0; seed < 200; seed++) {
        size_t n = 1 + seed * 3 % (sizeof value - 1);

        for (size_t i = 0; i < n; i++)
            value[i] = "ab \n#:"[(i * 7 + seed * (i + 3)) % (seed % 2 == 0 ? 6 : 3)];
        value[0] = value[n - 1] = 'x'; /* what stands outside is trimmed */
        value[n] = '\0';
        for (char *p = value; (p = strstr(p, " \n")) != NULL;)
            *p = 'y'; /* so is what stands at the end of a line */
        f = parse_text(KEY_LINES);
        ck_ok(gpg_file_set(f, "Description", value));
        buf_reset(&out);
        ck_ok(gpg_file_print(f, &out));
        ck_ok(gpg_file_parse(buf_rd(&out), &again));
        ck_assert_str_eq(gpg_file_get(again, "Description", 0), value);
        gpg_file_free(f);
        gpg_file_free(again);
    }
    buf_free(&out);
}
END_TEST

START_TEST(a_bare_key_with_an_attribute_becomes_extended)
{
    struct gpg_file *f = read_file("v2-cbc-rsa2048-canonical-gpg2.2.40"), *again;
    struct buf key = BUF_INIT_SECURE, out = BUF_INIT_SECURE;

    buf_put_rd(&key, gpg_file_key(f));
    ck_ok(gpg_file_set(f, "Label", "work"));
    ck_ok(gpg_file_print(f, &out));
    ck_assert_int_eq(memcmp(out.data, "Label: work\nKey: (protected-private-key(rsa", 42), 0);
    ck_ok(gpg_file_parse(buf_rd(&out), &again));
    ck_assert(rd_eq(gpg_file_key(again), buf_rd(&key)));
    gpg_file_free(f);
    gpg_file_free(again);
    buf_free(&key);
    buf_free(&out);
}
END_TEST

START_TEST(broken_files_are_refused)
{
    static const struct {
        const char *text;
        gpg_err_code_t code;
    } cases[] = {
        {"", GPG_ERR_MISSING_KEY},        {"Created: 20260101T000000\n", GPG_ERR_MISSING_KEY},
        {"no colon\n", GPG_ERR_BAD_DATA}, {" continues nothing\n", GPG_ERR_BAD_DATA},
        {"1st: x\n", GPG_ERR_BAD_DATA},   {KEY_LINES KEY_LINES, GPG_ERR_BAD_DATA},
        {"\177ELF", GPG_ERR_BAD_DATA}};
    struct gpg_file *f = NULL;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_code(gpg_file_parse(rd_str(cases[i].text), &f), cases[i].code);
    ck_assert(gpg_file_parse(rd_str("Key: (private-key (rsa\n"), &f) != 0);
    ck_assert(gpg_file_parse(rd_str("Key: (a) (b)\n"), &f) != 0);
    ck_assert(gpg_file_parse(rd_str("(3:abc"), &f) != 0);
    ck_assert(gpg_file_parse(rd_str("Label: a"
                                    "\n" KEY_LINES),
                             &f) == 0);
    gpg_file_free(f);
}
END_TEST

START_TEST(hostile_keys_are_refused)
{
    static const char *const keys[] = {
        "(11:private-key)",
        "(11:private-key(3:rsa))",
        "(11:private-key(3:rsa(1:n1:a)(1:e1:b)))",
        "(11:private-key(3:rsa(1:n1:a)1:e(1:d1:c)))",
        "(11:private-key(3:rsa(1:d1:c)))",
        "(11:private-key(4:kyb1(1:n1:a)(1:d1:b)))",
        "(11:private-key((3:rsa)))",
        "(10:public-key(3:rsa(1:n1:a)(1:e1:b)))",
        "((1:a))",
        "(11:private-key(3:ecc(5:curve1:x(1:q1:y))(1:q1:z)(1:d1:w)))",
        "(11:private-key(3:ecc(5:curve1:x)(1:q1:z)(1:d1:w)(9:protected1:a)))",
        "(21:protected-private-key(3:rsa(1:n1:a)(1:e1:b)(9:protected1:a)(9:protected1:b)))",
    };
    struct gpg_key_parts p;

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        ck_assert_msg(gpg_key_split(rd_str(keys[i]), &p) != 0, "%s", keys[i]);
}
END_TEST

/* libgcrypt itself would end the process over some of these. */
START_TEST(points_that_are_none_are_refused)
{
    static const struct {
        const char *curve;
        size_t n;
    } cases[] = {{"NIST P-256", 34}, {"NIST P-256", 66}, {"NIST P-521", 68}, {"Curve25519", 35},
                 {"X448", 58},       {"X448", 5},        {"Curve25519", 5},  {"Ed25519", 66},
                 {"secp256k1", 64},  {"no curve", 33}};
    uint8_t grip[20], q[140] = {2};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf pub = BUF_INIT;

        buf_printf(&pub, "(10:public-key(3:ecc");
        canon_put_pair(&pub, "curve", rd_str(cases[i].curve));
        canon_put_pair(&pub, "q", rd_of(q, cases[i].n));
        buf_printf(&pub, "))");
        ck_assert(gpg_key_grip(buf_rd(&pub), grip) != 0);
        buf_free(&pub);
    }
}
END_TEST

/* --- protection ---------------------------------------------------------------------------------------------------------- */

START_TEST(keys_of_stock_agents_are_opened)
{
    const struct vector *v = &vectors[_i];
    struct gpg_file *f = read_file(v->name);
    struct buf clear = BUF_INIT_SECURE, told = BUF_INIT, want = BUF_INIT_SECURE;

    ck_ok(gpg_unprotect(gpg_file_key(f), pass(), &clear));
    ck_grip(buf_rd(&clear), v->grip);
    ck_testkey(buf_rd(&clear));
    if (v->form == GPG_KEY_PROTECTED) {
        char *text;

        read_vector(v->name, ".txt", &told);
        text = strstr(buf_cstr(&told), "(private-key");
        ck_assert_ptr_nonnull(text);
        ck_ok(canon_from_text(rd_str(text), &want));
        ck_assert(rd_eq(buf_rd(&want), buf_rd(&clear)));
    }
    gpg_file_free(f);
    buf_free(&clear);
    buf_free(&told);
    buf_free(&want);
}
END_TEST

START_TEST(wrong_passphrases)
{
    static const char *const wrong[] = {"", "x", "Gr\303\274\303\237e 42", "Grusse 42!"};
    struct gpg_file *f = read_file(vectors[_i].name);
    struct buf clear = BUF_INIT_SECURE;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        ck_code(gpg_unprotect(gpg_file_key(f), rd_str(wrong[i]), &clear), GPG_ERR_BAD_PASSPHRASE);
    ck_assert_uint_eq(clear.len, 0);
    gpg_file_free(f);
}
END_TEST

/* Whichever octet is changed: an error, no other key. */
START_TEST(changed_octets_are_found)
{
    struct gpg_file *f = read_file(vectors[_i].name);
    struct buf key = BUF_INIT_SECURE, clear = BUF_INIT_SECURE, want = BUF_INIT_SECURE;
    size_t step;

    buf_put_rd(&key, gpg_file_key(f));
    ck_ok(gpg_unprotect(buf_rd(&key), pass(), &want));
    step = key.len > 500 ? 13 : 3;
    for (size_t i = 0; i < key.len; i += step) {
        key.data[i] ^= 1;
        if (gpg_unprotect(buf_rd(&key), pass(), &clear) == 0) {
            /* names that mean the same, and what the protection of OpenPGP does not cover */
            struct gpg_key_parts p;

            if (vectors[_i].form != GPG_KEY_NATIVE) /* CBC's padding is not looked at */
                ck_assert(rd_eq(buf_rd(&clear), buf_rd(&want)));
            ck_ok(gpg_key_split(buf_rd(&clear), &p));
        }
        key.data[i] ^= 1;
        buf_free(&clear);
        clear = BUF_INIT_SECURE;
    }
    gpg_file_free(f);
    buf_free(&key);
    buf_free(&clear);
    buf_free(&want);
}
END_TEST

#define KINDS 8
static const char *const kinds[KINDS] = {
    "(genkey(rsa(nbits 4:1024)))",
    "(genkey(dsa(nbits 4:1024)))",
    "(genkey(elg(nbits 4:1024)))",
    "(genkey(ecc(curve Ed25519)(flags eddsa comp)))",
    "(genkey(ecc(curve Curve25519)(flags djb-tweak comp)))",
    "(genkey(ecc(curve \"NIST P-521\")(flags nocomp)))",
    "(genkey(ecc(curve Ed448)(flags comp)))",
    "(genkey(ecc(curve X448)(flags comp)))",
};

static void make(const char *genkey, struct buf *key)
{
    gcry_sexp_t parms, made, secret;
    char text[8192];
    size_t n;

    ck_ok(gcry_sexp_new(&parms, genkey, 0, 1));
    ck_ok(gcry_pk_genkey(&made, parms));
    secret = gcry_sexp_find_token(made, "private-key", 0);
    n = gcry_sexp_sprint(secret, GCRYSEXP_FMT_CANON, text, sizeof text);
    ck_assert_uint_gt(n, 0);
    buf_put(key, text, n);
    gcry_sexp_release(parms);
    gcry_sexp_release(made);
    gcry_sexp_release(secret);
}

START_TEST(protected_and_opened)
{
    struct buf key = BUF_INIT_SECURE, closed = BUF_INIT, again = BUF_INIT_SECURE;
    struct gpg_key_parts p;

    make(kinds[_i], &key);
    ck_ok(gpg_protect(buf_rd(&key), pass(), 70000, 1700000000, &closed));
    ck_ok(gpg_key_split(buf_rd(&closed), &p));
    ck_assert_int_eq(p.form, GPG_KEY_PROTECTED);
    ck_assert_uint_eq(gpg_protected_count(&p), 70000);
    ck_assert_ptr_nonnull(memmem(closed.data, closed.len, "15:20231114T221320", 18));
    ck_code(gpg_unprotect(buf_rd(&closed), rd_str("x"), &again), GPG_ERR_BAD_PASSPHRASE);
    ck_ok(gpg_unprotect(buf_rd(&closed), pass(), &again));
    ck_assert(rd_eq(buf_rd(&key), buf_rd(&again)));
    ck_code(gpg_protect(buf_rd(&closed), pass(), 70000, 0, &again), GPG_ERR_UNUSABLE_SECKEY);
    ck_code(gpg_protect(buf_rd(&key), rd_str(""), 70000, 0, &again), GPG_ERR_INV_ARG);
    ck_code(gpg_protect(buf_rd(&key), pass(), 65535, 0, &again), GPG_ERR_INV_ARG);
    buf_free(&key);
    buf_free(&closed);
    buf_free(&again);
}
END_TEST

START_TEST(comments_stay_with_a_key)
{
    struct buf key = BUF_INIT_SECURE, closed = BUF_INIT, again = BUF_INIT_SECURE;

    make(kinds[3], &key);
    key.len--;
    buf_printf(&key, "(7:comment5:me@ho))");
    ck_ok(gpg_protect(buf_rd(&key), pass(), 70000, 0, &closed));
    ck_ok(gpg_unprotect(buf_rd(&closed), pass(), &again));
    ck_assert(rd_eq(buf_rd(&key), buf_rd(&again)));
    buf_free(&key);
    buf_free(&closed);
    buf_free(&again);
}
END_TEST

START_TEST(calibration)
{
    unsigned long n = gpg_s2k_count();

    ck_assert_uint_ge(n, GPG_S2K_MIN);
    ck_assert_uint_le(n, GPG_S2K_MAX);
    ck_assert_uint_eq(gpg_s2k_count(), n);
    ck_assert_uint_eq(gpg_s2k_decode(96), 65536);
    ck_assert_uint_eq(gpg_s2k_decode(255), 65011712);
}
END_TEST

/* --- transfer ------------------------------------------------------------------------------------------------------------- */

START_TEST(exported_and_imported)
{
    struct buf key = BUF_INIT_SECURE, sent = BUF_INIT, again = BUF_INIT_SECURE, pub = BUF_INIT,
               native = BUF_INIT;
    struct gpg_key_parts p;
    bool is_protected = false;

    make(kinds[_i], &key);
    ck_ok(gpg_transfer_close(buf_rd(&key), pass(), &sent));
    ck_ok(gpg_transfer_look(buf_rd(&sent), &pub, &is_protected));
    ck_assert(is_protected);
    ck_code(gpg_transfer_open(buf_rd(&sent), rd_str("x"), &again), GPG_ERR_BAD_PASSPHRASE);
    ck_ok(gpg_transfer_open(buf_rd(&sent), pass(), &again));
    ck_assert(rd_eq(buf_rd(&key), buf_rd(&again)));
    ck_ok(gpg_native_make(buf_rd(&sent), &native));
    ck_ok(gpg_key_split(buf_rd(&native), &p));
    ck_assert_int_eq(p.form, GPG_KEY_NATIVE);
    buf_free(&again);
    again = BUF_INIT_SECURE;
    ck_ok(gpg_unprotect(buf_rd(&native), pass(), &again));
    ck_assert(rd_eq(buf_rd(&key), buf_rd(&again)));
    buf_free(&key);
    buf_free(&sent);
    buf_free(&again);
    buf_free(&pub);
    buf_free(&native);
}
END_TEST

/* A key of one seed and its parts, closed by HOW as some OpenPGP program would: an independent writer. */
static void close_ed25519(const char *cipher, unsigned s2k, const char *hash, bool sha1,
                          unsigned version, struct buf *out)
{
    static const char q[] = "40BD83F1801D8EEAAC8A79FF208DFD5BB7D8BA3C09A781FCD4CECAF6550A7C1CC3",
                      d[] = "4FDDFDC7B54806012B80C67FA473C183EE4A7E0C294647366B05612AEEAF9A2B";
    static const int kdf[] = {GCRY_KDF_SIMPLE_S2K, GCRY_KDF_SALTED_S2K, 0, GCRY_KDF_ITERSALTED_S2K};
    int algo = gcry_cipher_map_name(cipher);
    struct buf qb = BUF_INIT, b = BUF_INIT;
    uint8_t kek[32], iv[16] = "initial vector!", digest[20];
    size_t keylen = gcry_cipher_get_algo_keylen(algo), blk = gcry_cipher_get_algo_blklen(algo);
    unsigned sum = 0;
    gcry_cipher_hd_t h;

    put_hex(&qb, q);
    buf_put_u16(&b, 255);
    put_hex(&b, d);
    for (size_t i = 0; i < b.len; i++)
        sum += b.data[i];
    gcry_md_hash_buffer(GCRY_MD_SHA1, digest, b.data, b.len);
    if (version > 3 && sha1)
        buf_put(&b, digest, 20);
    else if (version > 3)
        buf_put_u16(&b, (uint16_t)sum);
    ck_ok(gcry_kdf_derive("pass", 4, kdf[s2k], gcry_md_map_name(hash), s2k != 0 ? "saltsalt" : NULL,
                          s2k != 0 ? 8 : 0, s2k == 3 ? 65536 : 0, keylen, kek));
    ck_ok(gcry_cipher_open(&h, algo, GCRY_CIPHER_MODE_CFB, GCRY_CIPHER_ENABLE_SYNC));
    ck_ok(gcry_cipher_setkey(h, kek, keylen));
    ck_ok(gcry_cipher_setiv(h, iv, blk));
    ck_ok(gcry_cipher_encrypt(h, b.data + (version > 3 ? 0 : 2), b.len - (version > 3 ? 0 : 2),
                              NULL, 0));
    gcry_cipher_close(h);
    buf_printf(out,
               "(19:openpgp-private-key(7:version1:%u)(4:algo5:EDDSA)(5:curve7:Ed25519)(4:skey1:_",
               version);
    canon_put(out, buf_rd(&qb));
    canon_put_name(out, "e");
    canon_put(out, buf_rd(&b));
    buf_printf(out, ")(4:csum%zu:%u)(10:protection", (size_t)snprintf(NULL, 0, "%u", sum), sum);
    canon_put_name(out, sha1 ? "sha1" : "sum");
    canon_put_name(out, cipher);
    canon_put(out, rd_of(iv, blk));
    buf_printf(out, "1:%u", s2k);
    canon_put_name(out, hash);
    canon_put_name(out, "saltsalt");
    canon_put_name(out, "96");
    buf_printf(out, "))");
    ck_ok(buf_err(out));
    buf_free(&qb);
    buf_free(&b);
}

START_TEST(every_protection_of_openpgp)
{
    static const char *const ciphers[] = {"AES",         "AES192",     "AES256",  "3DES",
                                          "CAST5",       "BLOWFISH",   "TWOFISH", "CAMELLIA128",
                                          "CAMELLIA192", "CAMELLIA256"};
    static const char *const hashes[] = {"SHA1", "SHA256", "MD5", "RIPEMD160", "SHA512"};
    static const unsigned s2ks[] = {0, 1, 3};

    for (size_t c = 0; c < sizeof ciphers / sizeof ciphers[0]; c++)
        for (unsigned how = 0; how < 9; how++) {
            struct buf sent = BUF_INIT, clear = BUF_INIT_SECURE;

            close_ed25519(ciphers[c], s2ks[how % 3], hashes[(c + how) % 5], how / 3 == 0,
                          how / 3 == 2 ? 3 : 4, &sent);
            ck_ok(gpg_transfer_open(buf_rd(&sent), rd_str("pass"), &clear));
            ck_testkey(buf_rd(&clear));
            buf_free(&clear);
            clear = BUF_INIT_SECURE;
            ck_code(gpg_transfer_open(buf_rd(&sent), rd_str("Pass"), &clear),
                    GPG_ERR_BAD_PASSPHRASE);
            buf_free(&sent);
            buf_free(&clear);
        }
}
END_TEST

#define CLEAR(csum)                                                                              \
    "(openpgp-private-key (version \"4\")(algo EDDSA)(curve \"1.3.6.1.4.1.11591.15.1\")(skey _ " \
    "#40BD83F1801D8EEAAC8A79FF208DFD5BB7D8BA3C09A781FCD4CECAF6550A7C1CC3# _ "                    \
    "#4FDDFDC7B54806012B80C67FA473C183EE4A7E0C294647366B05612AEEAF9A2B#)(csum \"" csum           \
    "\")(protec"                                                                                 \
    "tion none))"

START_TEST(keys_without_protection)
{
    static const struct {
        const char *text;
        gpg_err_code_t code;
    } cases[] = {{CLEAR("3913"), 0}, {CLEAR("3659"), 0}, {CLEAR("3660"), GPG_ERR_CHECKSUM}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf canon = BUF_INIT_SECURE, clear = BUF_INIT_SECURE;
        bool is_protected = true;
        gpg_error_t err;

        ck_ok(canon_from_text(rd_str(cases[i].text), &canon));
        ck_ok(gpg_transfer_look(buf_rd(&canon), NULL, &is_protected));
        ck_assert(!is_protected);
        err = gpg_transfer_open(buf_rd(&canon), rd_of(NULL, 0), &clear);
        ck_assert_msg(gpg_err_code(err) == cases[i].code, "%zu: %s", i, gpg_strerror(err));
        if (err == 0) {
            ck_testkey(buf_rd(&clear));
            ck_assert_ptr_nonnull(memmem(clear.data, clear.len, "(5:curve7:Ed25519)", 18));
        }
        buf_free(&canon);
        buf_free(&clear);
    }
}
END_TEST

/* Programs other than gpg may have the primes the other way round. */
START_TEST(primes_are_put_in_order)
{
    struct buf key = BUF_INIT_SECURE, sent = BUF_INIT_SECURE, again = BUF_INIT_SECURE;
    struct gpg_key_parts p;
    struct rd v;

    make(kinds[0], &key);
    ck_ok(gpg_key_split(buf_rd(&key), &p));
    buf_printf(&sent, "(19:openpgp-private-key(7:version1:4)(4:algo3:RSA)(4:skey");
    for (const char *c = "nedqpu"; *c != '\0'; c++) {
        ck_ok(canon_value(strchr("ne", *c) != NULL ? p.pub : p.secret, (char[]){*c, '\0'}, &v));
        canon_put_name(&sent, "_");
        canon_put(&sent, v);
    }
    buf_printf(&sent, ")(4:csum1:0)(10:protection4:none))");
    /* the sum: found by what is accepted */
    for (unsigned sum = 0; sum < 65536 && again.len == 0; sum++) {
        struct buf s = BUF_INIT_SECURE;
        char digits[8];
        uint8_t *at = memmem(sent.data, sent.len, "(4:csum", 7);

        snprintf(digits, sizeof digits, "%u", sum);
        buf_put(&s, sent.data, (size_t)(at - sent.data) + 7);
        canon_put_name(&s, digits);
        buf_printf(&s, ")(10:protection4:none))");
        if (gpg_transfer_open(buf_rd(&s), rd_of(NULL, 0), &again) != 0)
            again.len = 0;
        buf_free(&s);
    }
    ck_assert(rd_eq(buf_rd(&again), buf_rd(&key)));
    buf_free(&key);
    buf_free(&sent);
    buf_free(&again);
}
END_TEST

START_TEST(wrapped_and_unwrapped)
{
    static const char text[] = "(11:private-key(3:abc))";
    uint8_t kek[16] = "0123456789abcdef";
    struct buf wrapped = BUF_INIT, clear = BUF_INIT_SECURE, canon = BUF_INIT_SECURE;

    ck_ok(gpg_wrap(rd_of(kek, 16), rd_str(text), &wrapped));
    ck_assert_uint_eq(wrapped.len, 32);
    ck_ok(gpg_unwrap(rd_of(kek, 16), buf_rd(&wrapped), &clear));
    ck_ok(canon_from_padded(buf_rd(&clear), &canon));
    ck_assert_str_eq(buf_cstr(&canon), text);
    clear.data[clear.len - 1] = 'x';
    ck_assert(canon_from_padded(buf_rd(&clear), &canon) != 0);
    buf_reset(&clear);
    wrapped.data[9] ^= 1;
    ck_code(gpg_unwrap(rd_of(kek, 16), buf_rd(&wrapped), &clear), GPG_ERR_CHECKSUM);
    ck_code(gpg_unwrap(rd_of(kek, 16), rd_of(wrapped.data, 16), &clear), GPG_ERR_INV_LENGTH);
    ck_code(gpg_unwrap(rd_of(kek, 16), rd_of(wrapped.data, 27), &clear), GPG_ERR_INV_LENGTH);
    ck_assert(gpg_unwrap(rd_of(kek, 15), buf_rd(&wrapped), &clear) != 0);
    buf_free(&wrapped);
    buf_free(&clear);
    buf_free(&canon);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, files_of_stock_agents_are_read, 0, VECTORS_N);
    tcase_add_loop_test(tc, what_is_not_changed_is_printed_as_it_was, 0, VECTORS_N);
    tcase_add_loop_test(tc, a_key_that_is_set_is_read_back, 0, VECTORS_N);
    tcase_add_test(tc, attributes);
    tcase_add_test(tc, one_value_replaces_all);
    tcase_add_test(tc, long_values_are_folded);
    tcase_add_test(tc, a_bare_key_with_an_attribute_becomes_extended);
    tcase_add_test(tc, broken_files_are_refused);
    tcase_add_test(tc, hostile_keys_are_refused);
    tcase_add_test(tc, points_that_are_none_are_refused);
    tcase_add_loop_test(tc, keys_of_stock_agents_are_opened, 0, 5);
    tcase_add_loop_test(tc, wrong_passphrases, 0, 5);
    tcase_add_loop_test(tc, changed_octets_are_found, 0, 5);
    tcase_add_loop_test(tc, protected_and_opened, 0, KINDS);
    tcase_add_test(tc, comments_stay_with_a_key);
    tcase_add_test(tc, calibration);
    tcase_add_loop_test(tc, exported_and_imported, 0, KINDS);
    tcase_add_test(tc, every_protection_of_openpgp);
    tcase_add_test(tc, keys_without_protection);
    tcase_add_test(tc, primes_are_put_in_order);
    tcase_add_test(tc, wrapped_and_unwrapped);
}

int main(void)
{
    if (!key_memory_init())
        return EXIT_FAILURE;
    return run_suite("devices/gpg files", add);
}
