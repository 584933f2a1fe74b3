/* Signatures in all their forms, made by libgcrypt and by the recorded OpenSSH. */
#include "proto/key_internal.h"
#include "proto/ssh_agent.h"
#include "tests/unit/proto_util.h"

static const struct {
    const char *genkey;
    int hash;
} kinds[] = {
    {GEN_ED25519, 0},
    {GEN_P256, GCRY_MD_SHA256},
    {GEN_P384, GCRY_MD_SHA384},
    {GEN_P521, GCRY_MD_SHA512},
    {GEN_RSA, GCRY_MD_SHA256},
    {GEN_RSA, GCRY_MD_SHA512},
    {"(genkey(ecc(curve brainpoolP256r1)))", GCRY_MD_SHA256},
    {"(genkey(ecc(curve brainpoolP512r1)))", GCRY_MD_SHA512},
    {"(genkey(ecc(curve secp256k1)))", GCRY_MD_SHA512}, /* a digest longer than the field */
};
#define NKINDS (sizeof kinds / sizeof kinds[0])

static const char message[] = "a message";

START_TEST(verify)
{
    struct pair p = pair_new(kinds[_i].genkey), other = pair_new(kinds[_i].genkey);
    uint8_t digest[64], wrong_digest[64];
    struct tosign t, wrong;
    gcry_sexp_t sig;

    ck_ok(tosign_from_message(kinds[_i].hash, rd_str(message), digest, &t));
    ck_ok(tosign_from_message(kinds[_i].hash, rd_str("b message"), wrong_digest, &wrong));
    sig = pair_sign(&p, &t);
    ck_ok(sig_verify(p.pub, &t, sig));
    ck_code(sig_verify(p.pub, &wrong, sig), GPG_ERR_BAD_SIGNATURE);
    ck_code(sig_verify(other.pub, &t, sig), GPG_ERR_BAD_SIGNATURE);
    if (t.hash != 0) {
        t.data.n--;
        ck_code(sig_verify(p.pub, &t, sig), GPG_ERR_DIGEST_ALGO);
    }
    gcry_sexp_release(sig);
    pair_free(&p);
    pair_free(&other);
}
END_TEST

/* s-expression -> raw numbers, as a card gives them -> s-expression -> ssh blob -> verified; and OpenPGP's MPIs. */
START_TEST(forms)
{
    static const char *const rsa[] = {"s", NULL}, *const pair[] = {"r", "s", NULL};
    struct pair p = pair_new(kinds[_i].genkey);
    bool is_rsa = p.pub->algo == KEY_RSA;
    size_t n = p.pub->algo == KEY_ED25519 ? 32 : (p.pub->nbits + 7) / 8;
    struct buf raw = BUF_INIT, v = BUF_INIT, pgp = BUF_INIT, want = BUF_INIT, ssh = BUF_INIT;
    uint8_t digest[64];
    struct tosign t;
    gcry_sexp_t sig, back;

    ck_ok(tosign_from_message(kinds[_i].hash, rd_str(message), digest, &t));
    sig = pair_sign(&p, &t);
    for (const char *const *name = is_rsa ? rsa : pair; *name != NULL; name++) {
        buf_reset(&v);
        ck_ok(sexp_param(sig, *name, &v));
        ck_ok(put_padded(&raw, buf_rd(&v), n));
        buf_put_pgp_mpi(&want, v.data, v.len);
    }
    ck_ok(sig_from_raw(p.pub, buf_rd(&raw), &back));
    ck_ok(sig_verify(p.pub, &t, back));
    ck_ok(sig_to_openpgp(p.pub, back, &pgp));
    ck_assert(rd_eq(buf_rd(&pgp), buf_rd(&want)));
    if (p.pub->plain != NULL) {
        ck_ok(sig_to_ssh(p.pub, kinds[_i].hash, back, &ssh));
        ck_ok(ssh_sig_verify(p.pub, rd_str(message), buf_rd(&ssh), false));
        ck_code(ssh_sig_verify(p.pub, rd_str("other"), buf_rd(&ssh), false), GPG_ERR_BAD_SIGNATURE);
    } else {
        ck_code(sig_to_ssh(p.pub, kinds[_i].hash, back, &ssh), GPG_ERR_UNSUPPORTED_ALGORITHM);
        ck_assert_uint_eq(ssh.len, 0);
    }
    gcry_sexp_release(back);
    ck_assert(sig_from_raw(p.pub, rd_of(raw.data, 0), &back) != 0);
    raw.data[0] = 1; /* a leading zero would not count */
    buf_put_u8(&raw, 1);
    ck_assert(sig_from_raw(p.pub, buf_rd(&raw), &back) != 0);
    gcry_sexp_release(sig);
    buf_free(&raw);
    buf_free(&v);
    buf_free(&pgp);
    buf_free(&want);
    buf_free(&ssh);
    pair_free(&p);
}
END_TEST

/* Cut, lengthened or flipped, an ssh signature never holds. */
START_TEST(mutations)
{
    struct pair p = pair_new(kinds[_i].genkey);
    struct buf ssh = BUF_INIT;
    struct rd value;
    uint8_t *exact;

    if (p.pub->plain == NULL) {
        pair_free(&p);
        return;
    }
    pair_ssh_sign(&p, kinds[_i].hash, rd_str(message), &ssh);
    value = buf_rd(&ssh);
    for (size_t n = 0; n < ssh.len; n++) {
        exact = malloc(n > 0 ? n : 1);
        memcpy(exact, ssh.data, n);
        ck_code(ssh_sig_verify(p.pub, rd_str(message), rd_of(exact, n), true),
                GPG_ERR_BAD_SIGNATURE);
        free(exact);
    }
    for (size_t i = 0; i < ssh.len; i++) {
        ssh.data[i] ^= (uint8_t)(1 << (i % 8));
        ck_assert_msg(ssh_sig_verify(p.pub, rd_str(message), value, true) != 0, "octet %zu", i);
        ssh.data[i] ^= (uint8_t)(1 << (i % 8));
    }
    ck_ok(ssh_sig_verify(p.pub, rd_str(message), value, false));
    buf_put_u8(&ssh, 0);
    ck_code(ssh_sig_verify(p.pub, rd_str(message), buf_rd(&ssh), true), GPG_ERR_BAD_SIGNATURE);
    buf_free(&ssh);
    pair_free(&p);
}
END_TEST

START_TEST(sha1_only_when_allowed)
{
    struct pair p = pair_new(GEN_RSA);
    struct buf ssh = BUF_INIT;

    pair_ssh_sign(&p, GCRY_MD_SHA1, rd_str(message), &ssh);
    ck_code(ssh_sig_verify(p.pub, rd_str(message), buf_rd(&ssh), false), GPG_ERR_BAD_SIGNATURE);
    ck_ok(ssh_sig_verify(p.pub, rd_str(message), buf_rd(&ssh), true));
    buf_free(&ssh);
    pair_free(&p);
}
END_TEST

/* A number shorter than the modulus: padded when written, taken without the padding when read (RFC 8332 3). */
START_TEST(short_rsa_signatures)
{
    struct key *rsa = recorded_key("rsa");
    struct buf b = BUF_INIT;
    struct rd r, type, value;
    gcry_sexp_t sig;

    ck_ok(sig_from_raw(rsa, rd_of("\x00\x00\x12\x34", 4), &sig));
    ck_ok(sig_to_ssh(rsa, GCRY_MD_SHA256, sig, &b));
    r = buf_rd(&b);
    ck_ok(rd_string(&r, &type));
    ck_ok(rd_string(&r, &value));
    ck_ok(rd_end(&r));
    ck_assert(rd_is(type, "rsa-sha2-256") && value.n == 256);
    ck_assert(rd_eq(rd_magnitude(value), rd_of("\x12\x34", 2)));
    ck_code(sig_to_ssh(rsa, GCRY_MD_SHA384, sig, &b), GPG_ERR_DIGEST_ALGO);
    ck_code(sig_from_rs(rsa, value, value, &sig), GPG_ERR_UNSUPPORTED_ALGORITHM);
    gcry_sexp_release(sig);
    buf_free(&b);
    key_unref(rsa);

    struct pair p = pair_new(GEN_RSA);
    bool found = false;

    for (unsigned i = 0; i < 3000 && !found; i++) {
        struct buf m = BUF_INIT, blob = BUF_INIT, cut = BUF_INIT;

        buf_put_u32(&m, i);
        pair_ssh_sign(&p, GCRY_MD_SHA512, buf_rd(&m), &blob);
        r = buf_rd(&blob);
        ck_ok(rd_string(&r, &type));
        ck_ok(rd_string(&r, &value));
        ck_assert_uint_eq(value.n, 256);
        if (value.p[0] == 0) {
            found = true;
            ck_ok(ssh_sig_verify(p.pub, buf_rd(&m), buf_rd(&blob), false));
            buf_put_string(&cut, type.p, type.n);
            buf_put_string(&cut, value.p + 1, value.n - 1);
            ck_ok(ssh_sig_verify(p.pub, buf_rd(&m), buf_rd(&cut), false));
        }
        buf_free(&m);
        buf_free(&blob);
        buf_free(&cut);
    }
    ck_assert(found);
    pair_free(&p);
}
END_TEST

/* Ed25519 halves that begin with a zero octet, which number-minded code drops. */
START_TEST(eddsa_keeps_zeros)
{
    struct pair p = pair_new(GEN_ED25519);
    uint8_t r[32] = {0, 0, 1}, s[32] = {0, 2};
    struct buf b = BUF_INIT, want = BUF_INIT;
    gcry_sexp_t sig;

    ck_ok(sig_from_rs(p.pub, rd_of(r + 2, 30), rd_of(s, 32), &sig));
    ck_ok(sig_to_ssh(p.pub, 0, sig, &b));
    buf_put_cstring(&want, "ssh-ed25519");
    buf_put_u32(&want, 64);
    buf_put(&want, r, 32);
    buf_put(&want, s, 32);
    ck_assert(rd_eq(buf_rd(&b), buf_rd(&want)));
    gcry_sexp_release(sig);
    buf_free(&b);
    buf_free(&want);
    pair_free(&p);
}
END_TEST

/* `ssh-keygen -Y sign` made this one. */
START_TEST(recorded_sshsig)
{
    struct key *ed = recorded_key("ed");
    char armor[4096] = {0}, *begin, *end, text[64] = {0};
    struct buf raw = BUF_INIT, tbs = BUF_INIT;
    struct rd r, magic, key, ns, reserved, hash, sig;
    uint32_t version;
    uint8_t digest[64];
    FILE *f = fopen(VECTORS "m.git.ed.sig", "r");
    size_t n;

    ck_assert(f != NULL && fread(armor, 1, sizeof armor - 1, f) > 0);
    fclose(f);
    f = fopen(VECTORS "m.txt", "r");
    ck_assert(f != NULL);
    n = fread(text, 1, sizeof text, f);
    fclose(f);
    begin = strchr(armor, '\n');
    end = strstr(armor, "-----END");
    ck_assert(begin != NULL && end != NULL);
    ck_ok(b64_decode(begin, (size_t)(end - begin), &raw));
    r = buf_rd(&raw);
    ck_ok(rd_bytes(&r, 6, &magic));
    ck_ok(rd_u32(&r, &version));
    ck_ok(rd_string(&r, &key));
    ck_ok(rd_string(&r, &ns));
    ck_ok(rd_string(&r, &reserved));
    ck_ok(rd_string(&r, &hash));
    ck_ok(rd_string(&r, &sig));
    ck_ok(rd_end(&r));
    ck_assert(rd_eq(key, rd_of(ed->blob, ed->blob_len)));
    gcry_md_hash_buffer(GCRY_MD_SHA512, digest, text, n);
    buf_put_rd(&tbs, magic);
    buf_put_string(&tbs, ns.p, ns.n);
    buf_put_string(&tbs, NULL, 0);
    buf_put_cstring(&tbs, "sha512");
    buf_put_string(&tbs, digest, sizeof digest);
    ck_ok(ssh_sig_verify(ed, buf_rd(&tbs), sig, false));
    buf_free(&raw);
    buf_free(&tbs);
    key_unref(ed);
}
END_TEST

START_TEST(hashes)
{
    struct key *rsa = recorded_key("rsa"), *ec = recorded_key("ec"), *ed = recorded_key("ed");
    uint8_t digest[64];
    struct tosign t;

    ck_assert_int_eq(ssh_sign_hash(rsa, 0), GCRY_MD_SHA1);
    ck_assert_int_eq(ssh_sign_hash(rsa, SSH_AGENT_RSA_SHA2_256), GCRY_MD_SHA256);
    ck_assert_int_eq(ssh_sign_hash(rsa, SSH_AGENT_RSA_SHA2_512), GCRY_MD_SHA512);
    ck_assert_int_eq(ssh_sign_hash(rsa, SSH_AGENT_RSA_SHA2_512 | SSH_AGENT_RSA_SHA2_256),
                     GCRY_MD_SHA256);
    ck_assert_int_eq(ssh_sign_hash(rsa, 0x100), GCRY_MD_SHA1);
    ck_assert_int_eq(ssh_sign_hash(ec, SSH_AGENT_RSA_SHA2_512), GCRY_MD_SHA256);
    ck_assert_int_eq(ssh_sign_hash(ed, SSH_AGENT_RSA_SHA2_512), 0);
    ck_ok(tosign_from_message(GCRY_MD_SHA256, rd_str("abc"), digest, &t)); /* FIPS 180-2 B.1 */
    ck_hex(t.data, "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD");
    ck_code(tosign_from_message(9999, rd_str("abc"), digest, &t), GPG_ERR_DIGEST_ALGO);
    key_unref(rsa);
    key_unref(ec);
    key_unref(ed);
}
END_TEST

static gcry_sexp_t sexp_of_value(const struct key *k, struct rd value)
{
    struct rd r, s;
    gcry_sexp_t sig;

    if (k->algo == KEY_SK_ED25519) {
        ck_ok(sig_from_raw(k, value, &sig));
    } else {
        ck_ok(rd_mpint(&value, &r));
        ck_ok(rd_mpint(&value, &s));
        ck_ok(sig_from_rs(k, r, s, &sig));
    }
    return sig;
}

/* A security key signs SHA-256(application) ‖ flags ‖ counter ‖ SHA-256(message). */
START_TEST(security_keys)
{
    bool ec = _i == 1;
    struct pair p = pair_new(ec ? GEN_P256 : GEN_ED25519);
    struct buf blob = BUF_INIT, tbs = BUF_INIT, inner = BUF_INIT, sig = BUF_INIT;
    struct rd r = rd_of(p.pub->plain, p.pub->plain_len), type, value;
    const char *name = ec ? "sk-ecdsa-sha2-nistp256@openssh.com" : "sk-ssh-ed25519@openssh.com";
    struct key *sk, *same, *other;
    struct sk_assertion says = {.flags = 5, .counter = 77};
    struct buf again = BUF_INIT;
    gcry_sexp_t made;
    uint8_t digest[32], flags = 0;

    ck_ok(rd_string(&r, &type));
    buf_put_cstring(&blob, name);
    buf_put_rd(&blob, r);
    buf_put_cstring(&blob, "ssh:");
    ck_ok(key_from_blob(buf_rd(&blob), &sk));
    gcry_md_hash_buffer(GCRY_MD_SHA256, digest, "ssh:", 4);
    buf_put(&tbs, digest, 32);
    buf_put_u8(&tbs, 5);
    buf_put_u32(&tbs, 77);
    gcry_md_hash_buffer(GCRY_MD_SHA256, digest, message, strlen(message));
    buf_put(&tbs, digest, 32);
    pair_ssh_sign(&p, 0, buf_rd(&tbs), &inner);
    r = buf_rd(&inner);
    ck_ok(rd_string(&r, &type));
    ck_ok(rd_string(&r, &value));
    buf_put_cstring(&sig, name);
    buf_put_string(&sig, value.p, value.n);
    buf_put_u8(&sig, 5);
    buf_put_u32(&sig, 77);
    ck_ok(sk_sig_verify(sk, rd_str(message), buf_rd(&sig), &flags));
    ck_assert_uint_eq(flags, 5);
    ck_code(ssh_sig_verify(sk, rd_str(message), buf_rd(&sig), true), GPG_ERR_UNSUPPORTED_ALGORITHM);
    ck_ok(key_with_application(p.pub, "ssh:", &same));
    ck_assert(key_same(same, sk));
    ck_assert_str_eq(same->fpr, sk->fpr);
    ck_code(key_with_application(sk, "ssh:", &other), GPG_ERR_PUBKEY_ALGO);
    made = sexp_of_value(sk, value);
    ck_ok(sk_sig_check(sk, rd_str(message), &says, made));
    ck_ok(sk_sig_to_ssh(sk, &says, made, &again));
    ck_assert(rd_eq(buf_rd(&again), buf_rd(&sig)));
    ck_code(sk_sig_check(sk, rd_str("other"), &says, made), GPG_ERR_BAD_SIGNATURE);
    says.flags = 1;
    ck_code(sk_sig_check(sk, rd_str(message), &says, made), GPG_ERR_BAD_SIGNATURE);
    says = (struct sk_assertion){.flags = 5, .counter = 78};
    ck_code(sk_sig_check(sk, rd_str(message), &says, made), GPG_ERR_BAD_SIGNATURE);
    ck_code(sk_sig_check(p.pub, rd_str(message), &says, made), GPG_ERR_UNSUPPORTED_ALGORITHM);
    ck_code(sk_sig_to_ssh(p.pub, &says, made, &again), GPG_ERR_UNSUPPORTED_ALGORITHM);
    gcry_sexp_release(made);
    key_unref(same);
    buf_free(&again);
    ck_code(sk_sig_verify(sk, rd_str("other"), buf_rd(&sig), &flags), GPG_ERR_BAD_SIGNATURE);
    sig.data[sig.len - 1] ^= 1; /* the counter is signed */
    ck_code(sk_sig_verify(sk, rd_str(message), buf_rd(&sig), &flags), GPG_ERR_BAD_SIGNATURE);
    sig.data[sig.len - 1] ^= 1;
    buf_put_u8(&sig, 0);
    ck_code(sk_sig_verify(sk, rd_str(message), buf_rd(&sig), &flags), GPG_ERR_BAD_SIGNATURE);
    ck_code(sk_sig_verify(p.pub, rd_str(message), buf_rd(&inner), &flags),
            GPG_ERR_UNSUPPORTED_ALGORITHM);
    key_unref(sk);
    buf_free(&blob);
    buf_free(&tbs);
    buf_free(&inner);
    buf_free(&sig);
    pair_free(&p);
}
END_TEST

static void tests(TCase *tc)
{
    tcase_add_loop_test(tc, verify, 0, NKINDS);
    tcase_add_loop_test(tc, forms, 0, NKINDS);
    tcase_add_loop_test(tc, mutations, 0, NKINDS);
    tcase_add_test(tc, sha1_only_when_allowed);
    tcase_add_test(tc, short_rsa_signatures);
    tcase_add_test(tc, eddsa_keeps_zeros);
    tcase_add_test(tc, recorded_sshsig);
    tcase_add_test(tc, hashes);
    tcase_add_loop_test(tc, security_keys, 0, 2);
}

int main(void)
{
    return run_suite("sig", tests);
}
