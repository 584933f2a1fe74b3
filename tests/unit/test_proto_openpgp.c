/* Packets that latchkey makes, judged by the real gpg. */
#include "tests/unit/openpgp_util.h"

#define CREATED 1600000000u
#define SIGNED  1700000000u
#define UID     "Tess T\xc3\xa4ster <tess@example.org>"

/* The key of an OpenPGP card in each kind that cards have; how gpg lists it: algorithm, bits, curve. */
static const struct kind {
    const char *name, *genkey;
    int pubkey_algo, hash_algo;
    const char *listed; /* fields 3 and 4 of gpg's pub record */
} kinds[] = {
    {"ed25519", "(genkey (ecc (curve Ed25519) (flags eddsa)))", 22, 10, ":255:22:"},
    {"rsa2048", "(genkey (rsa (nbits 4:2048)))", 1, 8, ":2048:1:"},
    {"rsa3072", "(genkey (rsa (nbits 4:3072)))", 1, 10, ":3072:1:"},
    {"nistp256", "(genkey (ecc (curve \"NIST P-256\") (flags nocomp)))", 19, 8, ":256:19:"},
    {"nistp384", "(genkey (ecc (curve \"NIST P-384\") (flags nocomp)))", 19, 9, ":384:19:"},
    {"nistp521", "(genkey (ecc (curve \"NIST P-521\") (flags nocomp)))", 19, 10, ":521:19:"},
    {"brainpoolP256r1", "(genkey (ecc (curve brainpoolP256r1) (flags nocomp)))", 19, 8, ":256:19:"},
    {"brainpoolP384r1", "(genkey (ecc (curve brainpoolP384r1) (flags nocomp)))", 19, 9, ":384:19:"},
    {"brainpoolP512r1", "(genkey (ecc (curve brainpoolP512r1) (flags nocomp)))", 19, 10,
     ":512:19:"},
    {"secp256k1", "(genkey (ecc (curve secp256k1) (flags nocomp)))", 19, 8, ":256:19:"},
};
#define NKINDS ((int)(sizeof kinds / sizeof kinds[0]))

/* Decryption keys as subkeys: the KDF parameters that gpg expects are part of the fingerprint. */
static const struct {
    const char *genkey, *listed;
    bool ecdh;
} decryption[] = {
    {"(genkey (ecc (curve Curve25519) (flags djb-tweak)))", ":255:18:", true},
    {"(genkey (ecc (curve \"NIST P-256\") (flags nocomp)))", ":256:18:", true},
    {"(genkey (ecc (curve \"NIST P-384\") (flags nocomp)))", ":384:18:", true},
    {"(genkey (ecc (curve \"NIST P-521\") (flags nocomp)))", ":521:18:", true},
    {"(genkey (ecc (curve brainpoolP512r1) (flags nocomp)))", ":512:18:", true},
    {"(genkey (rsa (nbits 4:2048)))", ":2048:1:", false},
};

static char *dir;

static void setup(void)
{
    dir = scratch_new();
}

static void teardown(void)
{
    scratch_free(dir);
}

static char *import(const struct buf *cert)
{
    char *out;

    write_file(dir, "cert", buf_rd(cert));
    ck_assert_msg(shell(dir, &out, "gpg --batch --no-autostart --import cert") == 0, "%s", out);
    ck_contains(out, "imported: 1");
    gpgrt_free(out);
    ck_assert_msg(shell(dir, &out, "gpg --batch --no-autostart --with-colons --list-keys") == 0,
                  "%s", out);
    return out;
}

/* Record TYPE with LISTED (bits and algorithm), CREATED and exactly the CAPABILITIES. */
static void ck_record(const char *out, const char *type, const char *listed, uint32_t created,
                      const char *capabilities, const char *fpr)
{
    char *want = gpgrt_bsprintf("%s%s:%u:", listed, fpr + 24, created), *line = NULL;
    const char *at = strstr(out, want), *field = at;

    ck_assert_msg(at != NULL, "no %s in:\n%s", want, out);
    while (at > out && at[-1] != '\n')
        at--;
    ck_assert_msg(strncmp(at, type, strlen(type)) == 0, "%s", at);
    for (field = at; *field != '\0' && *field != '\n'; field++)
        continue;
    line = gpgrt_bsprintf("%.*s", (int)(field - at), at);
    ck_contains(line, capabilities);
    gpgrt_free(line);
    gpgrt_free(want);
    want = gpgrt_bsprintf("fpr:::::::::%s:", fpr);
    ck_contains(out, want);
    gpgrt_free(want);
}

static void ck_valid(const struct pgp_pair *p, const struct kind *k, const char *class)
{
    char *out, *want;

    ck_assert_msg(
        shell(dir, &out,
              "gpg --batch --no-autostart --trust-model always --status-fd 1 --verify sig data") ==
            0,
        "%s: %s", k->name, out);
    ck_contains(out, "[GNUPG:] GOODSIG ");
    want = gpgrt_bsprintf("[GNUPG:] VALIDSIG %s 2023-11-14 %u 0 4 0 %d %d %s %s\n", p->hex, SIGNED,
                          k->pubkey_algo, k->hash_algo, class, p->hex);
    ck_contains(out, want);
    gpgrt_free(want);
    gpgrt_free(out);
}

static void ck_bad(void)
{
    char *out;

    ck_assert_int_eq(shell(dir, &out, "gpg --batch --no-autostart --status-fd 1 --verify sig data"),
                     1);
    ck_contains(out, "[GNUPG:] BADSIG ");
    gpgrt_free(out);
}

START_TEST(every_key_signs)
{
    static const char text[] = "one\ntwo\n";
    const struct kind *k = &kinds[_i];
    struct buf cert = BUF_INIT, sig = BUF_INIT, armored = BUF_INIT;
    struct pgp_pair p;
    char *out;

    pgp_pair_make(&p, k->genkey, false, CREATED);
    ck_assert_int_eq(openpgp_pubkey_algo(p.key), k->pubkey_algo);
    ck_assert_int_eq(openpgp_hash_algo(openpgp_choose_hash(p.key)), k->hash_algo);
    put_primary(&p, UID, &cert);
    out = import(&cert);
    ck_record(out, "pub:", k->listed, CREATED, ":scSC:", p.hex);
    ck_contains(out, UID);
    gpgrt_free(out);

    write_file(dir, "data", rd_str(text));
    put_signature(&p, OPENPGP_SIG_BINARY, rd_str(text), SIGNED, &sig);
    write_file(dir, "sig", buf_rd(&sig));
    ck_valid(&p, k, "00");
    openpgp_armor(&armored, "SIGNATURE", buf_rd(&sig));
    ck_ok(buf_err(&armored));
    write_file(dir, "sig", buf_rd(&armored));
    ck_valid(&p, k, "00");
    write_file(dir, "data", rd_str("one\ntwo!\n"));
    ck_bad();

    buf_reset(&sig);
    put_signature(&p, OPENPGP_SIG_TEXT, rd_str(text), SIGNED, &sig);
    write_file(dir, "sig", buf_rd(&sig));
    write_file(dir, "data", rd_str(text));
    ck_valid(&p, k, "01");
    buf_free(&cert);
    buf_free(&sig);
    buf_free(&armored);
    pgp_pair_free(&p);
}
END_TEST

/* Which texts are the same to gpg: signed as one, verified as the other. */
static const struct {
    const char *one, *other;
    bool same;
} same_text[] = {
    {"a\nb\n", "a\r\nb\r\n", true},
    {"a\r\nb", "a\nb", true},
    {"a\r\r\nb\r", "a\nb", true},
    {"\n\n", "\r\n\r\n", true},
    {"a\rb\n", "a\rb\r\n", true},
    {"a\rb\n", "a\nb\n", false},
    {"a\nb", "a\nb\n", false},
    {"a \n", "a\n", false},
    {"", "", true},
    {"", "\n", false},
    {"\r", "", true},
};

START_TEST(text_line_ends)
{
    struct buf cert = BUF_INIT, sig = BUF_INIT;
    struct pgp_pair p;

    pgp_pair_make(&p, kinds[0].genkey, false, CREATED);
    put_primary(&p, UID, &cert);
    gpgrt_free(import(&cert));
    put_signature(&p, OPENPGP_SIG_TEXT, rd_str(same_text[_i].one), SIGNED, &sig);
    write_file(dir, "sig", buf_rd(&sig));
    write_file(dir, "data", rd_str(same_text[_i].other));
    if (same_text[_i].same)
        ck_valid(&p, &kinds[0], "01");
    else
        ck_bad();
    write_file(dir, "data", rd_str(same_text[_i].one));
    ck_valid(&p, &kinds[0], "01");
    buf_free(&cert);
    buf_free(&sig);
    pgp_pair_free(&p);
}
END_TEST

/* A card's three slots as one certificate. */
START_TEST(certificate_of_a_card)
{
    struct buf cert = BUF_INIT, armored = BUF_INIT;
    struct pgp_pair sign, decrypt, auth;
    char *out;

    pgp_pair_make(&sign, kinds[0].genkey, false, CREATED);
    pgp_pair_make(&decrypt, decryption[_i].genkey, decryption[_i].ecdh, CREATED + 1);
    pgp_pair_make(&auth, kinds[0].genkey, false, CREATED + 2);
    put_primary(&sign, UID, &cert);
    put_subkey(&sign, &decrypt, 0x0c, &cert);
    put_subkey(&sign, &auth, 0x20, &cert);
    openpgp_armor(&armored, "PUBLIC KEY BLOCK", buf_rd(&cert));
    ck_ok(buf_err(&armored));
    out = import(&armored);
    ck_record(out, "pub:", ":255:22:", CREATED, ":scESCA:", sign.hex);
    ck_record(out, "sub:", decryption[_i].listed, CREATED + 1, ":e:", decrypt.hex);
    ck_record(out, "sub:", ":255:22:", CREATED + 2, ":a:", auth.hex);
    gpgrt_free(out);
    /* a key can be encrypted to: so gpg agrees with point and KDF parameters */
    write_file(dir, "data", rd_str("secret"));
    ck_assert_msg(
        shell(dir, &out,
              "gpg --batch --no-autostart --trust-model always -r %s -o data.gpg -e data && "
              "gpg --batch --no-autostart --list-only --status-fd 1 -d data.gpg",
              sign.hex) == 0,
        "%s", out);
    ck_contains(out, decrypt.hex + 24);
    gpgrt_free(out);
    buf_free(&cert);
    buf_free(&armored);
    pgp_pair_free(&sign);
    pgp_pair_free(&decrypt);
    pgp_pair_free(&auth);
}
END_TEST

/* Of this many some have numbers with leading zero octets, which an MPI leaves out. */
START_TEST(short_numbers)
{
    struct buf cert = BUF_INIT, sig = BUF_INIT;
    struct pgp_pair p;
    char *out;

    pgp_pair_make(&p, kinds[_i].genkey, false, CREATED);
    put_primary(&p, UID, &cert);
    gpgrt_free(import(&cert));
    write_file(dir, "data", rd_str("data"));
    for (uint32_t i = 0; i < 512; i++)
        put_signature(&p, OPENPGP_SIG_BINARY, rd_str("data"), SIGNED + i, &sig);
    write_file(dir, "sig", buf_rd(&sig));
    ck_assert_int_eq(shell(dir, &out,
                           "gpg --batch --no-autostart --status-fd 1 --verify sig data 2>&1 | "
                           "grep -c '^.GNUPG:. GOODSIG'"),
                     0);
    ck_assert_str_eq(out, "512\n");
    gpgrt_free(out);
    buf_free(&cert);
    buf_free(&sig);
    pgp_pair_free(&p);
}
END_TEST

/* What gpg says is in the packet: every subpacket that the certificate and a signature should have, no other. */
START_TEST(packets_as_listed)
{
    static const char *const certificate[] = {
        ":public key packet:",
        "version 4, algo 22, created 1600000000, expires 0",
        ":user ID packet:",
        "sigclass 0x13",
        "hashed subpkt 33 len 21 (issuer fpr v4 ",
        "hashed subpkt 2 len 4 (sig created 2020-09-13)",
        "hashed subpkt 27 len 1 (key flags: 03)",
        "hashed subpkt 11 len 4 (pref-sym-algos: 9 8 7 2)",
        "hashed subpkt 21 len 5 (pref-hash-algos: 10 9 8 11 2)",
        "hashed subpkt 22 len 3 (pref-zip-algos: 2 3 1)",
        "hashed subpkt 30 len 1 (features: 01)",
        "hashed subpkt 23 len 1 (keyserver preferences: 80)",
        "hashed subpkt 25 len 1 (primary user ID)",
        "subpkt 16 len 8 (issuer key ID "};
    static const char *const data[] = {":signature packet: algo 22, keyid ",
                                       "version 4, created 1700000000, md5len 0, sigclass 0x00",
                                       "digest algo 10",
                                       "hashed subpkt 33 len 21 (issuer fpr v4 ",
                                       "hashed subpkt 2 len 4 (sig created 2023-11-14)",
                                       "subpkt 16 len 8 (issuer key ID "};
    struct buf cert = BUF_INIT, sig = BUF_INIT;
    struct pgp_pair p;
    char *out;

    pgp_pair_make(&p, kinds[0].genkey, false, CREATED);
    put_primary(&p, UID, &cert);
    write_file(dir, "cert", buf_rd(&cert));
    ck_assert_int_eq(shell(dir, &out, "gpg --batch --no-autostart --list-packets cert"), 0);
    for (size_t i = 0; i < sizeof certificate / sizeof certificate[0]; i++)
        ck_contains(out, certificate[i]);
    ck_contains(out, p.hex);
    gpgrt_free(out);
    put_signature(&p, OPENPGP_SIG_BINARY, rd_str("x"), SIGNED, &sig);
    write_file(dir, "sig", buf_rd(&sig));
    ck_assert_int_eq(shell(dir, &out, "gpg --batch --no-autostart --list-packets sig"), 0);
    for (size_t i = 0; i < sizeof data / sizeof data[0]; i++)
        ck_contains(out, data[i]);
    ck_lacks(out, "key flags");
    gpgrt_free(out);
    ck_assert_int_eq(shell(dir, &out, "gpg --no-autostart --list-packets sig | grep -c subpkt"), 0);
    ck_assert_str_eq(out + strlen(out) - 2, "3\n");
    gpgrt_free(out);
    buf_free(&cert);
    buf_free(&sig);
    pgp_pair_free(&p);
}
END_TEST

START_TEST(refusals)
{
    struct openpgp_sig *sig = NULL;
    struct key *sk = NULL;
    struct pgp_pair p384, dec, rsa;
    struct buf b = BUF_INIT, blob = BUF_INIT;
    uint8_t fpr[20];

    pgp_pair_make(&p384, kinds[4].genkey, false, CREATED);
    ck_code(
        openpgp_sig_new(p384.key, p384.fpr, OPENPGP_SIG_BINARY, GCRY_MD_SHA256, SIGNED, 0, &sig),
        GPG_ERR_DIGEST_ALGO);
    ck_code(openpgp_sig_new(p384.key, p384.fpr, OPENPGP_SIG_BINARY, GCRY_MD_SHA1, SIGNED, 0, &sig),
            GPG_ERR_DIGEST_ALGO);
    pgp_pair_make(&rsa, kinds[1].genkey, false, CREATED);
    ck_code(openpgp_sig_new(rsa.key, rsa.fpr, OPENPGP_SIG_BINARY, GCRY_MD_SHA224, SIGNED, 0, &sig),
            GPG_ERR_DIGEST_ALGO);
    ck_code(openpgp_sig_new(rsa.key, rsa.fpr, OPENPGP_SIG_BINARY, GCRY_MD_MD5, SIGNED, 0, &sig),
            GPG_ERR_DIGEST_ALGO);
    /* a decryption key signs nothing */
    pgp_pair_make(&dec, decryption[0].genkey, true, CREATED);
    ck_code(openpgp_sig_new(dec.key, dec.fpr, OPENPGP_SIG_BINARY, GCRY_MD_SHA512, SIGNED, 0, &sig),
            GPG_ERR_UNSUPPORTED_ALGORITHM);
    ck_assert_ptr_null(sig);
    /* and a FIDO key has no OpenPGP form */
    read_file("tests/vectors/ssh-agent", "sked.pub", &blob);
    ck_ok(key_from_text(buf_cstr(&blob), &sk, NULL));
    ck_code(openpgp_fingerprint(sk, CREATED, fpr), GPG_ERR_UNSUPPORTED_ALGORITHM);
    ck_code(openpgp_put_pubkey(&b, sk, CREATED, false), GPG_ERR_UNSUPPORTED_ALGORITHM);
    ck_assert_uint_eq(b.len, 0);
    key_unref(sk);
    buf_free(&b);
    buf_free(&blob);
    pgp_pair_free(&p384);
    pgp_pair_free(&dec);
    pgp_pair_free(&rsa);
}
END_TEST

/* Lengths of user ids around the two-octet form of packet lengths (RFC 4880 4.2.2). */
START_TEST(long_user_ids)
{
    static const size_t lengths[] = {191, 192, 193, 700};
    size_t n = lengths[_i];
    struct buf cert = BUF_INIT;
    struct pgp_pair p;
    char uid[701], *out;

    memset(uid, 'u', n);
    uid[n] = '\0';
    pgp_pair_make(&p, kinds[0].genkey, false, CREATED);
    put_primary(&p, uid, &cert);
    out = import(&cert);
    ck_contains(out, uid);
    gpgrt_free(out);
    buf_free(&cert);
    pgp_pair_free(&p);
}
END_TEST

/* RFC 4880 6: lines of 64, padding, CRC-24; known answers ("" has the CRC's initial value). */
START_TEST(armor)
{
    static const struct {
        const char *data, *text;
    } cases[] = {
        {"123456789",
         "-----BEGIN PGP SIGNATURE-----\n\nMTIzNDU2Nzg5\n=Ic8C\n-----END PGP SIGNATURE-----\n"},
        {"", "-----BEGIN PGP SIGNATURE-----\n\n=twTO\n-----END PGP SIGNATURE-----\n"},
        {"0123456789012345678901234567890123456789012345678",
         "-----BEGIN PGP SIGNATURE-----\n\n"
         "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3\nOA==\n=3z8e\n"
         "-----END PGP SIGNATURE-----\n"},
    };
    struct buf b = BUF_INIT;

    openpgp_armor(&b, "SIGNATURE", rd_str(cases[_i].data));
    ck_assert_str_eq(buf_cstr(&b), cases[_i].text);
    buf_free(&b);
}
END_TEST

static void add(TCase *tc)
{
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, every_key_signs, 0, NKINDS);
    tcase_add_loop_test(tc, text_line_ends, 0, sizeof same_text / sizeof same_text[0]);
    tcase_add_loop_test(tc, certificate_of_a_card, 0, sizeof decryption / sizeof decryption[0]);
    tcase_add_loop_test(tc, short_numbers, 0, 1);
    tcase_add_loop_test(tc, short_numbers, 3, 4);
    tcase_add_test(tc, packets_as_listed);
    tcase_add_test(tc, refusals);
    tcase_add_loop_test(tc, long_user_ids, 0, 4);
    tcase_add_loop_test(tc, armor, 0, 3);
}

int main(void)
{
    return run_suite("openpgp", add);
}
