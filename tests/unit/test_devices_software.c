/* Software keys: what ssh-add sends is taken apart, checked, kept where nobody else looks, and signs. */
#include "devices/key_memory.h"
#include "devices/software_key.h"
#include "tests/unit/proto_util.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>

/* A private key as ADD_IDENTITY carries it; SECRET: a run of octets of the private half as libcrypto keeps it, changed so
 * that this copy is not found. */
struct sent {
    struct buf body;
    uint8_t secret[16];
};

static void note_secret(struct sent *s, const uint8_t *p, bool little_endian)
{
    for (size_t i = 0; i < sizeof s->secret; i++)
        s->secret[i] = (uint8_t) ~(little_endian ? p[sizeof s->secret - 1 - i] : p[i]);
}

static void put_number(struct buf *b, EVP_PKEY *pkey, const char *name, struct sent *s)
{
    BIGNUM *n = NULL;
    uint8_t octets[1024];
    int len;

    ck_assert_int_eq(EVP_PKEY_get_bn_param(pkey, name, &n), 1);
    len = BN_bn2bin(n, octets);
    buf_put_mpint(b, octets, (size_t)len);
    if (s != NULL)
        note_secret(s, octets + len - sizeof s->secret, true);
    explicit_bzero(octets, sizeof octets);
    BN_clear_free(n);
}

static void make_ed25519(struct sent *s)
{
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    uint8_t sk[32], pk[32];
    size_t n = 32;

    ck_assert_int_eq(EVP_PKEY_get_raw_private_key(pkey, sk, &n), 1);
    ck_assert_int_eq(EVP_PKEY_get_raw_public_key(pkey, pk, &n), 1);
    EVP_PKEY_free(pkey);
    buf_put_cstring(&s->body, "ssh-ed25519");
    buf_put_string(&s->body, pk, 32);
    buf_put_u32(&s->body, 64);
    buf_put(&s->body, sk, 32);
    buf_put(&s->body, pk, 32);
    note_secret(s, sk, false);
    explicit_bzero(sk, sizeof sk);
}

static void make_ecdsa(struct sent *s, const char *group, const char *curve)
{
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", group);
    uint8_t q[133];
    size_t n = 0;

    ck_assert_int_eq(
        EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, q, sizeof q, &n), 1);
    buf_printf(&s->body, "%c%c%c%c", 0, 0, 0, (int)(11 + strlen(curve)));
    buf_printf(&s->body, "ecdsa-sha2-%s", curve);
    buf_put_cstring(&s->body, curve);
    buf_put_string(&s->body, q, n);
    put_number(&s->body, pkey, OSSL_PKEY_PARAM_PRIV_KEY, s);
    EVP_PKEY_free(pkey);
}

static void make_rsa(struct sent *s)
{
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);

    buf_put_cstring(&s->body, "ssh-rsa");
    put_number(&s->body, pkey, OSSL_PKEY_PARAM_RSA_N, NULL);
    put_number(&s->body, pkey, OSSL_PKEY_PARAM_RSA_E, NULL);
    put_number(&s->body, pkey, OSSL_PKEY_PARAM_RSA_D, NULL);
    put_number(&s->body, pkey, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, NULL);
    put_number(&s->body, pkey, OSSL_PKEY_PARAM_RSA_FACTOR1, s);
    put_number(&s->body, pkey, OSSL_PKEY_PARAM_RSA_FACTOR2, NULL);
    EVP_PKEY_free(pkey);
}

#define KINDS 5
static void make(int kind, struct sent *s)
{
    static const char *const curves[][2] = {
        {"P-256", "nistp256"}, {"P-384", "nistp384"}, {"P-521", "nistp521"}};

    *s = (struct sent){.body = BUF_INIT_SECURE};
    if (kind == 0)
        make_ed25519(s);
    else if (kind == 1)
        make_rsa(s);
    else
        make_ecdsa(s, curves[kind - 2][0], curves[kind - 2][1]);
    ck_ok(buf_err(&s->body));
}

static void ck_signs(const struct software_key *k)
{
    const struct key *pub = software_key_public(k);
    struct tosign t;
    uint8_t digest[64];
    gcry_sexp_t sig = NULL;

    ck_ok(tosign_from_message(pub->algo == KEY_ED25519 ? 0 : key_default_hash(pub), rd_str("text"),
                              digest, &t));
    ck_ok(software_key_sign(k, &t, &sig));
    ck_ok(sig_verify(pub, &t, sig));
    gcry_sexp_release(sig);
}

START_TEST(every_type_signs)
{
    struct software_key *k;
    struct sent s;

    make(_i, &s);
    ck_ok(software_key_new(buf_rd(&s.body), &k));
    ck_signs(k);
    software_key_free(k);
    buf_free(&s.body);
}
END_TEST

/* A number changed, cut short or followed by something is no key: with RSA the signature would give the key away. */
START_TEST(wrong_numbers_are_refused)
{
    struct software_key *k;
    struct sent s;
    size_t first;

    make(_i, &s);
    first = 4 + s.body.data[3]; /* behind the type */
    for (size_t i = first; i<s.body.len; i += s.body.len> 400 ? 7 : 1) {
        s.body.data[i] ^= 0x10;
        ck_assert_msg(software_key_new(buf_rd(&s.body), &k) != 0, "octet %zu changed", i);
        s.body.data[i] ^= 0x10;
    }
    for (size_t n = 0; n<s.body.len; n += s.body.len> 400 ? 11 : 1)
        ck_assert(software_key_new(rd_of(s.body.data, n), &k) != 0);
    buf_put_u8(&s.body, 0);
    ck_assert(software_key_new(buf_rd(&s.body), &k) != 0);
    buf_free(&s.body);
}
END_TEST

/* sanitizers keep what was freed */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)
#define MEMORY_IS_OURS
#endif

#ifdef MEMORY_IS_OURS
/* How often the secret is in this process' writable memory outside of the locked part, and within it. */
static void count_secret(const struct sent *s, unsigned *outside, unsigned *inside)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512], mode[8];
    unsigned long from, to;

    *outside = *inside = 0;
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 || strncmp(mode, "rw", 2) != 0)
            continue;
        for (const uint8_t *p = (const uint8_t *)from; p + sizeof s->secret <= (uint8_t *)to; p++) {
            size_t i = 0;

            while (i < sizeof s->secret && (p[i] ^ s->secret[i]) == 0xff)
                i++;
            if (i == sizeof s->secret)
                ++*(gcry_is_secure(p) ? inside : outside);
        }
    }
    fclose(f);
}

START_TEST(secrets_stay_in_locked_memory)
{
    struct software_key *k;
    struct sent s;
    unsigned outside, inside;

    make(_i, &s);
    count_secret(&s, &outside, &inside);
    ck_assert_uint_ge(inside, _i == 0); /* numbers are the other way round in what is sent */
    ck_ok(software_key_new(buf_rd(&s.body), &k));
    buf_free(&s.body);
    ck_signs(k);
    count_secret(&s, &outside, &inside);
    ck_assert_uint_eq(outside, 0);
    ck_assert_uint_ge(inside, 1);
    software_key_free(k);
    count_secret(&s, &outside, &inside);
    ck_assert_uint_eq(outside + inside, 0);
}
END_TEST
#endif

static void add(TCase *tc)
{
    tcase_add_loop_test(tc, every_type_signs, 0, KINDS);
    tcase_add_loop_test(tc, wrong_numbers_are_refused, 0, KINDS);
#ifdef MEMORY_IS_OURS
    /* Sanitizers keep freed memory, and their maps are too large to look through. */
    tcase_add_loop_test(tc, secrets_stay_in_locked_memory, 0, KINDS);
#endif
}

int main(void)
{
    if (!key_memory_init())
        return EXIT_FAILURE;
    return run_suite("devices/software", add);
}
