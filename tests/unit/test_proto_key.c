/* Keys in all their forms: against what ssh-keygen, gpg and libssh say of them, and against malice. */
#include "proto/key_internal.h"
#include "tests/unit/proto_util.h"

#include <libssh/libssh.h>
#include <openssl/ec.h>
#include <openssl/obj_mac.h>

/* `ssh-keygen -l`; the keygrips are this code's own of the first day (gpg's stand in gpg_keygrips). */
static const struct {
    const char *file, *type, *name, *fpr, *grip;
    enum key_algo algo;
    unsigned nbits;
    bool cert;
} recorded[] = {
    {"ed", "ssh-ed25519", "ed25519", "SHA256:+ZbFqijY08GVwVZ2vV0JGP+rxwXedc1mruYKK0yPR9c",
     "C336B2B4FC9AD5FC8D814492BCF28017F9FE6D15", KEY_ED25519, 255, false},
    {"ec", "ecdsa-sha2-nistp256", "nistp256", "SHA256:CNgkWWjOdOLzFytco07BbSnQCWponrfhnAreSyPoQY0",
     "DFDC82BA95641911A4527BA35C9E339CE489AF49", KEY_ECDSA, 256, false},
    {"rsa", "ssh-rsa", "rsa2048", "SHA256:H2cJmtpqf73aW4n0AU+Zg/Xhmp6sqVTxnSDkv1V2Nzo",
     "0D259B054DD76E512EBA41143C8C4F4CCA5A1EAA", KEY_RSA, 2048, false},
    {"dsa", "ssh-dss", "dsa1024", "SHA256:AYsVVb6aFrgL02PhOGkFgc2jMGojbPewZIsGDdMJ+dY",
     "50C79788B653AF7AD895B4CADC986A700C42B68C", KEY_DSA, 1024, false},
    {"dsa-cert", "ssh-dss-cert-v01@openssh.com", "dsa1024",
     "SHA256:AYsVVb6aFrgL02PhOGkFgc2jMGojbPewZIsGDdMJ+dY",
     "50C79788B653AF7AD895B4CADC986A700C42B68C", KEY_DSA, 1024, true},
    {"sked", "sk-ssh-ed25519@openssh.com", "ed25519-sk",
     "SHA256:7dedN+B2hzqzB8ZoxgPoCIM2h5fdDa/HRtgoyXlcrzE",
     "C336B2B4FC9AD5FC8D814492BCF28017F9FE6D15", KEY_SK_ED25519, 255, false},
    {"skec", "sk-ecdsa-sha2-nistp256@openssh.com", "ecdsa-sk",
     "SHA256:GtJtBkaOLbPh9X9g4zUXy+4cHzLnvVT0VYhYgfwIONk",
     "DFDC82BA95641911A4527BA35C9E339CE489AF49", KEY_SK_ECDSA, 256, false},
    {"ed-cert", "ssh-ed25519-cert-v01@openssh.com", "ed25519",
     "SHA256:+ZbFqijY08GVwVZ2vV0JGP+rxwXedc1mruYKK0yPR9c",
     "C336B2B4FC9AD5FC8D814492BCF28017F9FE6D15", KEY_ED25519, 255, true},
    {"sked-cert", "sk-ssh-ed25519-cert-v01@openssh.com", "ed25519-sk",
     "SHA256:7dedN+B2hzqzB8ZoxgPoCIM2h5fdDa/HRtgoyXlcrzE",
     "C336B2B4FC9AD5FC8D814492BCF28017F9FE6D15", KEY_SK_ED25519, 255, true},
    {"skec-cert", "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", "ecdsa-sk",
     "SHA256:GtJtBkaOLbPh9X9g4zUXy+4cHzLnvVT0VYhYgfwIONk",
     "DFDC82BA95641911A4527BA35C9E339CE489AF49", KEY_SK_ECDSA, 256, true},
};
#define NRECORDED (sizeof recorded / sizeof recorded[0])

START_TEST(recorded_keys)
{
    struct key *k = recorded_key(recorded[_i].file), *again;
    char name[32], *text, *comment;

    ck_assert_str_eq(k->type, recorded[_i].type);
    ck_assert_str_eq(k->fpr, recorded[_i].fpr);
    ck_assert_str_eq(key_algo_name(k, name), recorded[_i].name);
    ck_hex(rd_of(k->grip, 20), recorded[_i].grip);
    ck_assert_int_eq(k->algo, recorded[_i].algo);
    ck_assert_uint_eq(k->nbits, recorded[_i].nbits);
    ck_assert((k->cert != NULL) == recorded[_i].cert);
    ck_assert((k->sk_application != NULL) == (strncmp(k->type, "sk-", 3) == 0));
    if (k->sk_application != NULL)
        ck_assert_str_eq(k->sk_application, "ssh:test");
    text = key_to_text(k);
    ck_ok(key_from_text(text, &again, &comment));
    ck_assert_str_eq(comment, "");
    ck_assert(rd_eq(rd_of(k->blob, k->blob_len), rd_of(again->blob, again->blob_len)));
    ck_assert(key_same(k, again));
    gpgrt_free(text);
    gpgrt_free(comment);
    key_unref(again);
    key_unref(k);
}
END_TEST

/* libssh reads the blob, writes the same one, and finds the same fingerprint. */
START_TEST(libssh_agrees)
{
    struct key *k = recorded_key(recorded[_i].file);
    char *b64 = b64_encode(k->plain, k->plain_len), *theirs, *fpr;
    ssh_key key;
    unsigned char *hash;
    size_t n;

    ck_assert_int_eq(
        ssh_pki_import_pubkey_base64(
            b64,
            ssh_key_type_from_name(recorded[_i].cert ? ssh_type_by_name(rd_str(k->type))->plain
                                                     : k->type),
            &key),
        SSH_OK);
    ck_assert_int_eq(ssh_pki_export_pubkey_base64(key, &theirs), SSH_OK);
    ck_assert_str_eq(theirs, b64);
    ck_assert_int_eq(ssh_get_publickey_hash(key, SSH_PUBLICKEY_HASH_SHA256, &hash, &n), SSH_OK);
    fpr = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, n);
    ck_assert_str_eq(fpr, k->fpr);
    ssh_string_free_char(fpr);
    ssh_string_free_char(theirs);
    ssh_clean_pubkey_hash(&hash);
    ssh_key_free(key);
    gpgrt_free(b64);
    key_unref(k);
}
END_TEST

/* Key files that GnuPG 2.2 and 2.4 wrote, and the keygrips that are their names. */
START_TEST(gpg_keygrips)
{
    static const struct {
        const char *sexp, *grip;
    } keys[] = {
        {"(public-key(ecc(curve Ed25519)(flags eddsa)(q "
         "#40BD83F1801D8EEAAC8A79FF208DFD5BB7D8BA3C09A781FCD4CECAF6550A7C1CC3#)))",
         "5A0E107478791FD86A8541FC8A4A4231353A5C77"},
        {"(public-key(ecc(curve Curve25519)(flags djb-tweak)(q "
         "#40CA990BB948A9E4C6D83744F8BA29B05E1849998744EC1846771E35B3F7315B09#)))",
         "9A5FBE06DFE8092FEF3D42E67751A2003ABBB047"},
        {"(public-key(ecc(curve \"NIST P-256\")(q "
         "#04B109BA938D150AD7D4E7CF6F3E19A5F1BE0CEF549950ADD4040B9FFCB7EAB2652A352F33EE73E19C2D"
         "21846A2D4B11F02BDFA8873BE7163CC731C485A2E5DACE#)))",
         "BFA6FD097FDAAB195495F7812276C77658F0F427"},
        {"(public-key(rsa(n #00C658F1F4AD56EF71C2DCFF048923B4DF02D0E7687DBB61688FD0BC677D12F6E94D"
         "481C32663265072F06089F466C3FD62F15385131D4434EDE4E397D66077A84956CF0FAB73E05E76D9ABA697C"
         "0B056B0AE4D72582F19284F23E321DA9C5549559B6572D981EBFE42688BF7C86889EF6E00E3EA3A05149785B"
         "6792B5623D18886126A78AFBAAF15E030DECD8D4CDBC3F0830526A62972C19C26B3E3109EF486F859A03CD97"
         "5416B9B5910842EC46F25CA0936BDBAE57F68BDE8976D9AE12A741463AE32D5F7A79CD9E51407E40F10B1A42"
         "F20D6EE8CEDCF783C50B0289A6D85ED97AE63F66A4DE991DB513806502C6D76736CAE4621850B146397515A8"
         "6CE24B#)(e #010001#)))",
         "92373D24F033B8E324731871F860C70EF702BDB6"},
    };

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        gcry_sexp_t s;
        struct key *k;

        ck_ok(gcry_sexp_new(&s, keys[i].sexp, 0, 1));
        ck_ok(key_from_sexp(s, false, &k));
        ck_hex(rd_of(k->grip, 20), keys[i].grip);
        ck_assert((k->algo == KEY_ECDH) == (k->plain == NULL));
        key_unref(k);
        gcry_sexp_release(s);
    }
}
END_TEST

/* The same key from ssh, from a card's numbers and from gpg is one key, whatever zeros stand in front. */
START_TEST(one_key_from_all_sides)
{
    struct key *ssh = recorded_key("rsa"), *k;
    struct buf n = BUF_INIT, e = BUF_INIT, wide = BUF_INIT, blob = BUF_INIT;
    gcry_sexp_t s;

    ck_ok(sexp_param(ssh->sexp, "n", &n));
    ck_ok(sexp_param(ssh->sexp, "e", &e));
    ck_assert(n.data[0] == 0 && (n.data[1] & 0x80) != 0); /* the signed form, as gpg hashes it */
    buf_put(&wide, "\0\0\0", 3);
    buf_put_rd(&wide, buf_rd(&n));
    ck_ok(key_from_rsa(buf_rd(&wide), buf_rd(&e), &k));
    ck_assert(key_same(k, ssh) && memcmp(k->grip, ssh->grip, 20) == 0);
    ck_assert(rd_eq(rd_of(k->blob, k->blob_len), rd_of(ssh->blob, ssh->blob_len)));
    key_unref(k);

    ck_ok(gcry_sexp_build(&s, NULL, "(public-key(rsa(n %b)(e %b)))", (int)n.len - 1, n.data + 1,
                          (int)e.len, e.data));
    ck_ok(key_from_sexp(s, false, &k));
    ck_assert(key_same(k, ssh) && memcmp(k->grip, ssh->grip, 20) == 0);
    key_unref(k);
    gcry_sexp_release(s);

    /* An mpint with needless zeros: accepted as ssh does, but its blob is the normal one. */
    buf_put_cstring(&blob, "ssh-rsa");
    buf_put_string(&blob, e.data, e.len);
    buf_put_string(&blob, wide.data, wide.len);
    ck_ok(key_from_blob(buf_rd(&blob), &k));
    ck_assert_str_eq(k->fpr, ssh->fpr);
    key_unref(k);

    buf_free(&n);
    buf_free(&e);
    buf_free(&wide);
    buf_free(&blob);
    key_unref(ssh);
}
END_TEST

START_TEST(sameness)
{
    struct key *ed = recorded_key("ed"), *cert = recorded_key("ed-cert"),
               *sk = recorded_key("sked");
    struct key *ec = recorded_key("ec"), *plain;
    struct buf q = BUF_INIT;
    struct key *dec;

    ck_assert(key_same(ed, cert) && key_same(cert, ed));
    ck_assert(!key_same(ed, sk)); /* one point, but a signature by one is none by the other */
    ck_assert(!key_same(ed, ec));
    ck_ok(key_plain(cert, &plain));
    ck_assert(rd_eq(rd_of(plain->blob, plain->blob_len), rd_of(ed->blob, ed->blob_len)));
    key_unref(plain);
    ck_ok(key_plain(ed, &plain));
    ck_assert(plain == ed && ed->refs == 2);
    key_unref(plain);
    ck_ok(sexp_param(ec->sexp, "q", &q));
    ck_ok(key_from_point("nistp256", buf_rd(&q), true, &dec));
    ck_assert(dec->algo == KEY_ECDH && dec->blob == NULL && dec->fpr == NULL);
    ck_assert(key_to_text(dec) == NULL);
    ck_assert(key_same(dec, ec));
    key_unref(dec);
    buf_free(&q);
    key_unref(ed);
    key_unref(cert);
    key_unref(sk);
    key_unref(ec);
}
END_TEST

/* Points with small coordinates upset careless arithmetic (and abort libgcrypt on Ed25519). */
START_TEST(small_coordinates)
{
    static const struct {
        const char *curve;
        int nid;
    } curves[] = {
        {"nistp256", NID_X9_62_prime256v1},
        {"nistp384", NID_secp384r1},
        {"nistp521", NID_secp521r1},
        {"brainpoolP256r1", NID_brainpoolP256r1},
        {"brainpoolP384r1", NID_brainpoolP384r1},
        {"brainpoolP512r1", NID_brainpoolP512r1},
        {"secp256k1", NID_secp256k1},
    };
    uint8_t ed[32] = {0};
    unsigned taken = 0;
    struct key *k;

    for (size_t c = 0; c < sizeof curves / sizeof curves[0]; c++) {
        EC_GROUP *group = EC_GROUP_new_by_curve_name(curves[c].nid);
        EC_POINT *p = EC_POINT_new(group);
        size_t n = ((size_t)EC_GROUP_get_degree(group) + 7) / 8;

        for (uint8_t x = 0; x < 40; x++) {
            uint8_t in[67] = {2}, out[133];

            in[n] = x;
            if (EC_POINT_oct2point(group, p, in, n + 1, NULL) != 1)
                continue;
            ck_assert_uint_eq(
                EC_POINT_point2oct(group, p, POINT_CONVERSION_UNCOMPRESSED, out, sizeof out, NULL),
                2 * n + 1);
            ck_ok(key_from_point(curves[c].curve, rd_of(out, 2 * n + 1), false, &k));
            key_unref(k);
            out[2 * n] ^= 1;
            ck_code(key_from_point(curves[c].curve, rd_of(out, 2 * n + 1), false, &k),
                    GPG_ERR_BAD_PUBKEY);
            out[2 * n] ^= 1;
            ck_code(key_from_point(curves[c].curve, rd_of(out, 2 * n), false, &k),
                    GPG_ERR_BAD_PUBKEY);
            ck_code(key_from_point(curves[c].curve, rd_of(in, n + 1), false, &k),
                    GPG_ERR_BAD_PUBKEY);
            taken++;
        }
        EC_POINT_free(p);
        EC_GROUP_free(group);
    }
    ck_assert_uint_gt(taken, 70);

    taken = 0;
    for (unsigned y = 0; y < 256; y++) {
        ed[0] = (uint8_t)y;
        if (key_from_point("Ed25519", rd_of(ed, 32), false, &k) == 0) {
            key_unref(k);
            taken++;
        }
    }
    ck_assert_msg(taken > 90 && taken < 170, "%u of 256: about half the y have an x", taken);
    memset(ed, 0xff, sizeof ed); /* 2^255 - 19 + y: not the encoding of anything */
    ed[31] = 0x7f;
    for (unsigned y = 0xed; y < 256; y++) {
        ed[0] = (uint8_t)y;
        ck_code(key_from_point("Ed25519", rd_of(ed, 32), false, &k), GPG_ERR_BAD_PUBKEY);
    }
}
END_TEST

START_TEST(curve_names)
{
    struct pair p = pair_new(GEN_P256);
    struct buf q = BUF_INIT;
    static const char *const names[] = {"NIST P-256", "nistp256", "prime256v1", "secp256r1",
                                        "1.2.840.10045.3.1.7"};
    struct key *k;

    ck_ok(sexp_param(p.pub->sexp, "q", &q));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        ck_ok(key_from_point(names[i], buf_rd(&q), false, &k));
        ck_assert(key_same(k, p.pub));
        key_unref(k);
    }
    ck_code(key_from_point("sm2p256v1", buf_rd(&q), false, &k), GPG_ERR_UNKNOWN_CURVE);
    ck_code(key_from_point("no such", buf_rd(&q), false, &k), GPG_ERR_UNKNOWN_CURVE);
    ck_code(key_from_point("nistp384", buf_rd(&q), false, &k), GPG_ERR_BAD_PUBKEY);
    ck_code(key_from_point("Ed25519", rd_of(q.data + 1, 32), true, &k), GPG_ERR_INV_CURVE);
    ck_ok(key_from_point("1.3.6.1.4.1.3029.1.5.1", rd_of(q.data + 1, 32), false, &k));
    ck_assert(k->algo == KEY_ECDH && strcmp(k->curve, "Curve25519") == 0);
    key_unref(k);
    buf_free(&q);
    pair_free(&p);
}
END_TEST

static gpg_error_t rsa_with(size_t octets, uint8_t top, uint8_t low, const char *e_hex)
{
    uint8_t *n = malloc(octets);
    struct buf e = BUF_INIT;
    struct key *k;
    gpg_error_t err;

    memset(n, 0xa5, octets);
    n[0] = top;
    n[octets - 1] = low;
    put_hex(&e, e_hex);
    err = key_from_rsa(rd_of(n, octets), buf_rd(&e), &k);
    if (err == 0)
        key_unref(k);
    buf_free(&e);
    free(n);
    return err;
}

START_TEST(rsa_numbers)
{
    ck_ok(rsa_with(128, 0x80, 1, "010001"));
    ck_ok(rsa_with(128, 0x80, 1, "03"));
    ck_ok(rsa_with(2048, 0xff, 1, "FFFFFFFFFFFFFFFF"));
    ck_code(rsa_with(128, 0x7f, 1, "010001"), GPG_ERR_BAD_PUBKEY);  /* 1023 bits */
    ck_code(rsa_with(2049, 0x01, 1, "010001"), GPG_ERR_BAD_PUBKEY); /* 16385 bits */
    ck_code(rsa_with(256, 0x80, 2, "010001"), GPG_ERR_BAD_PUBKEY);  /* even */
    ck_code(rsa_with(256, 0x80, 1, "010000"), GPG_ERR_BAD_PUBKEY);
    ck_code(rsa_with(256, 0x80, 1, "01"), GPG_ERR_BAD_PUBKEY);
    ck_code(rsa_with(256, 0x80, 1, "00"), GPG_ERR_BAD_PUBKEY);
    ck_code(rsa_with(256, 0x80, 1, ""), GPG_ERR_BAD_PUBKEY);
    ck_code(rsa_with(512, 0x80, 1, "010000000000000001"), GPG_ERR_BAD_PUBKEY);
    ck_ok(rsa_with(256, 0x80, 1, "010000000000000001"));
}
END_TEST

START_TEST(types_we_do_not_know)
{
    static const char *const types[] = {
        "ssh-xmss@openssh.com",
        "ssh-mldsa44-ed25519@openssh.com",
        "",
        "ssh-ed448",
        "ssh-rsa1",
        "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
        "ssh-xmss-cert-v01@openssh.com",
        "ecdsa-sha2-1.3.132.0.10",
    };
    struct key *k = NULL;

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct buf b = BUF_INIT;

        buf_put_cstring(&b, types[i]);
        buf_put_cstring(&b, "something");
        ck_code(key_from_blob(buf_rd(&b), &k), GPG_ERR_PUBKEY_ALGO);
        buf_free(&b);
    }
    ck_code(key_from_blob(rd_of(NULL, 0), &k), GPG_ERR_BUFFER_TOO_SHORT);
    ck_assert(k == NULL);
}
END_TEST

START_TEST(curve_in_blob_is_the_types)
{
    struct key *ec = recorded_key("ec"), *k;
    struct buf b = BUF_INIT;

    buf_put_rd(&b, rd_of(ec->blob, ec->blob_len));
    memcpy(b.data + 4 + 19 + 4, "nistp384", 8);
    ck_code(key_from_blob(buf_rd(&b), &k), GPG_ERR_INV_CURVE);
    buf_free(&b);
    key_unref(ec);
}
END_TEST

/* Every cut fails; a trailing octet fails; any flipped octet fails or gives a sound key. */
START_TEST(mutations)
{
    struct key *good = recorded_key(recorded[_i].file), *k;
    uint8_t *exact;

    for (size_t n = 0; n < good->blob_len; n++) {
        exact = malloc(n > 0 ? n : 1); /* of the exact size, for the address sanitizer */
        memcpy(exact, good->blob, n);
        ck_assert_msg(key_from_blob(rd_of(exact, n), &k) != 0, "%zu octets accepted", n);
        free(exact);
    }
    exact = malloc(good->blob_len + 1);
    memcpy(exact, good->blob, good->blob_len);
    exact[good->blob_len] = 0;
    ck_assert(key_from_blob(rd_of(exact, good->blob_len + 1), &k) != 0);
    for (size_t i = 0; i < good->blob_len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            exact[i] ^= (uint8_t)(1 << bit);
            if (key_from_blob(rd_of(exact, good->blob_len), &k) == 0) {
                struct rd blob = rd_of(k->blob, k->blob_len);

                /* RSA and DSA numbers may have got a leading zero, which the key does not keep */
                ck_assert(rd_eq(blob, rd_of(exact, good->blob_len)) ||
                          ((k->algo == KEY_RSA || k->algo == KEY_DSA) && blob.n < good->blob_len));
                key_unref(k);
            }
            exact[i] ^= (uint8_t)(1 << bit);
        }
    }
    free(exact);
    key_unref(good);
}
END_TEST

START_TEST(texts)
{
    struct key *ed = recorded_key("ed"), *k = NULL;
    char *text = key_to_text(ed), *line, *comment = NULL;
    static const char *const bad[] = {"", "ssh-ed25519", "ssh-ed25519 ", "ssh-ed25519 !!!!",
                                      "#comment"};

    line = gpgrt_bsprintf("  \t%s \t two words here \r\n", text);
    ck_ok(key_from_text(line, &k, &comment));
    ck_assert_str_eq(comment, "two words here");
    key_unref(k);
    gpgrt_free(comment);
    gpgrt_free(line);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert(key_from_text(bad[i], &k, NULL) != 0);
    line = gpgrt_bsprintf("ssh-rsa %s", strchr(text, ' ') + 1); /* another type's name in front */
    ck_code(key_from_text(line, &k, NULL), GPG_ERR_BAD_DATA);
    gpgrt_free(line);
    gpgrt_free(text);
    key_unref(ed);
}
END_TEST

START_TEST(bad_sexps)
{
    static const struct {
        const char *sexp;
        gpg_err_code_t code;
    } bad[] = {
        {"(private-key(rsa(n #01#)(e #03#)))", GPG_ERR_INV_SEXP},
        {"(public-key)", GPG_ERR_INV_SEXP},
        {"(public-key(dsa(p #01#)))", GPG_ERR_NO_OBJ},
        {"(public-key(rsa(n #03#)))", GPG_ERR_NO_OBJ},
        {"(public-key(rsa(n)(e #03#)))", GPG_ERR_NO_OBJ},
        {"(public-key(rsa(n #03#)(e #03#)))", GPG_ERR_BAD_PUBKEY},
        {"(public-key(ecc(q #04#)))", GPG_ERR_UNKNOWN_CURVE},
        {"(public-key(ecc(curve Ed25519)))", GPG_ERR_NO_OBJ},
        {"(public-key(ecc(curve Ed25519)(q #40#)))", GPG_ERR_BAD_PUBKEY},
        {"(public-key(ecc(curve nonsense)(q #40#)))", GPG_ERR_UNKNOWN_CURVE},
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gcry_sexp_t s;
        struct key *k = NULL;

        ck_ok(gcry_sexp_new(&s, bad[i].sexp, 0, 1));
        ck_code(key_from_sexp(s, false, &k), bad[i].code);
        ck_assert(k == NULL);
        gcry_sexp_release(s);
    }
}
END_TEST

static void tests(TCase *tc)
{
    tcase_add_loop_test(tc, recorded_keys, 0, NRECORDED);
    tcase_add_loop_test(tc, libssh_agrees, 0, NRECORDED);
    tcase_add_test(tc, gpg_keygrips);
    tcase_add_test(tc, one_key_from_all_sides);
    tcase_add_test(tc, sameness);
    tcase_add_test(tc, small_coordinates);
    tcase_add_test(tc, curve_names);
    tcase_add_test(tc, rsa_numbers);
    tcase_add_test(tc, types_we_do_not_know);
    tcase_add_test(tc, curve_in_blob_is_the_types);
    tcase_add_loop_test(tc, mutations, 0, NRECORDED);
    tcase_add_test(tc, texts);
    tcase_add_test(tc, bad_sexps);
}

int main(void)
{
    return run_suite("key", tests);
}
