#include "tests/card/emu.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <string.h>

const struct emu_algo emu_algos[] = {
    {"rsa2048", {1, 0x08, 0x00, 0x00, 0x20, 0x00}, 6, NULL, EVP_PKEY_RSA, 2048},
    {"rsa1024", {1, 0x04, 0x00, 0x00, 0x20, 0x00}, 6, NULL, EVP_PKEY_RSA, 1024},
    {"rsa3072", {1, 0x0c, 0x00, 0x00, 0x20, 0x00}, 6, NULL, EVP_PKEY_RSA, 3072},
    {"rsa4096", {1, 0x10, 0x00, 0x00, 0x20, 0x00}, 6, NULL, EVP_PKEY_RSA, 4096},
    {"nistp256",
     {0x13, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07},
     9,
     "P-256",
     EVP_PKEY_EC,
     256},
    {"nistp384", {0x13, 0x2B, 0x81, 0x04, 0x00, 0x22}, 6, "P-384", EVP_PKEY_EC, 384},
    {"nistp521", {0x13, 0x2B, 0x81, 0x04, 0x00, 0x23}, 6, "P-521", EVP_PKEY_EC, 521},
    {"brainpoolP256r1",
     {0x13, 0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07},
     10,
     "brainpoolP256r1",
     EVP_PKEY_EC,
     256},
    {"brainpoolP384r1",
     {0x13, 0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0B},
     10,
     "brainpoolP384r1",
     EVP_PKEY_EC,
     384},
    {"brainpoolP512r1",
     {0x13, 0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0D},
     10,
     "brainpoolP512r1",
     EVP_PKEY_EC,
     512},
    {"ed25519",
     {0x16, 0x2B, 0x06, 0x01, 0x04, 0x01, 0xDA, 0x47, 0x0F, 0x01},
     10,
     NULL,
     EVP_PKEY_ED25519,
     255},
    {"cv25519",
     {0x12, 0x2B, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01},
     11,
     NULL,
     EVP_PKEY_X25519,
     255},
    {NULL, {0}, 0, NULL, 0, 0},
};

const struct emu_algo *emu_algo_by_name(const char *name)
{
    for (size_t i = 0; emu_algos[i].name != NULL; i++)
        if (strcmp(emu_algos[i].name, name) == 0)
            return &emu_algos[i];
    return NULL;
}

bool emu_slot_takes(const struct emu_profile *p, unsigned slot, const struct emu_algo *a)
{
    size_t n = strlen(a->name);
    bool decrypts = slot == 1;

    if ((a->nid == EVP_PKEY_ED25519 && decrypts) || (a->nid == EVP_PKEY_X25519 && !decrypts))
        return false;
    for (const char *s = p->algos; *s != '\0'; s += strcspn(s, " "), s += strspn(s, " "))
        if (strncmp(s, a->name, n) == 0 && (s[n] == ' ' || s[n] == '\0'))
            return true;
    return false;
}

size_t emu_attributes(const struct emu_profile *p, unsigned slot, const struct emu_algo *a,
                      uint8_t out[16])
{
    memcpy(out, a->attr, a->attr_len);
    if (a->nid == EVP_PKEY_RSA) {
        if (p->rsa_ebits != 0)
            out[4] = p->rsa_ebits;
        out[5] = p->rsa_format;
    }
    if (a->nid == EVP_PKEY_EC && slot == 1)
        out[0] = 0x12;
    return a->attr_len;
}

/* ECDH and ECDSA attributes differ in the first octet only. */
const struct emu_algo *emu_algo_by_attr(const uint8_t *attr, size_t n)
{
    for (size_t i = 0; emu_algos[i].name != NULL; i++) {
        const struct emu_algo *a = &emu_algos[i];

        if (a->nid == EVP_PKEY_RSA
                ? n == 6 && attr[0] == 1 && memcmp(attr + 1, a->attr + 1, 2) == 0
                : n == a->attr_len && (attr[0] == 0x12 || attr[0] == 0x13 || attr[0] == 0x16) &&
                      memcmp(attr + 1, a->attr + 1, n - 1) == 0)
            return a;
    }
    return NULL;
}

static EVP_PKEY *ec_from_scalar(const char *group, const uint8_t *d, size_t n)
{
    EC_GROUP *g = EC_GROUP_new_by_curve_name(OBJ_txt2nid(group) != 0 ? OBJ_txt2nid(group)
                                                                     : EC_curve_nist2nid(group));
    EC_POINT *q = g != NULL ? EC_POINT_new(g) : NULL;
    BIGNUM *x = BN_bin2bn(d, (int)n, NULL);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM *params = NULL;
    EVP_PKEY *key = NULL;
    uint8_t point[140];
    size_t len = 0;

    if (q != NULL && x != NULL && EC_POINT_mul(g, q, x, NULL, NULL, NULL) == 1)
        len = EC_POINT_point2oct(g, q, POINT_CONVERSION_UNCOMPRESSED, point, sizeof point, NULL);
    if (len > 0 && bld != NULL &&
        OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, len) == 1 &&
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, x) == 1)
        params = OSSL_PARAM_BLD_to_param(bld);
    if (params == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params) != 1)
        key = NULL;
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    EVP_PKEY_CTX_free(ctx);
    EC_POINT_free(q);
    EC_GROUP_free(g);
    BN_free(x);
    return key;
}

static void set_key(struct emu_key *k, const struct emu_algo *a, EVP_PKEY *pkey, uint8_t origin)
{
    EVP_PKEY_free(k->pkey);
    EVP_PKEY_free(k->shown);
    k->pkey = pkey;
    k->shown = NULL;
    k->algo = a->name;
    k->origin = origin;
}

bool emu_generate(struct emu_key *k, const struct emu_algo *a, long seed, unsigned slot)
{
    EVP_PKEY *pkey = NULL;
    char text[64];
    uint8_t d[32];

    snprintf(text, sizeof text, "testcard %ld %u", seed, slot);
    SHA256((const uint8_t *)text, strlen(text), d);
    if (a->nid == EVP_PKEY_RSA)
        pkey = EVP_RSA_gen(a->bits);
    else if (a->nid == EVP_PKEY_EC)
        pkey = seed >= 0 ? ec_from_scalar(a->group, d, 31) : EVP_EC_gen(a->group);
    else
        pkey = seed >= 0 ? EVP_PKEY_new_raw_private_key(a->nid, NULL, d, 32)
                         : EVP_PKEY_Q_keygen(NULL, NULL,
                                             a->nid == EVP_PKEY_ED25519 ? "ED25519" : "X25519");
    if (pkey == NULL)
        return false;
    set_key(k, a, pkey, 1);
    return true;
}

bool emu_forge(struct emu_key *k)
{
    EVP_PKEY *shown = k->pkey;

    if (shown == NULL || EVP_PKEY_up_ref(shown) != 1)
        return shown == NULL;
    if (!emu_generate(k, emu_algo_by_name(k->algo), -1, 0))
        return false;
    k->shown = shown;
    return true;
}

/* The values of an extended header list: 7F48 has tags and lengths, 5F48 the octets one after the other. */
static bool import_value(struct rd tags, struct rd values, unsigned wanted, struct rd *out)
{
    while (tags.n > 0) {
        uint8_t tag, b;
        uint16_t len16;
        size_t len;
        struct rd v;

        if (rd_u8(&tags, &tag) != 0 || rd_u8(&tags, &b) != 0)
            return false;
        len = b;
        if (b == 0x81) {
            if (rd_u8(&tags, &b) != 0)
                return false;
            len = b;
        } else if (b == 0x82) {
            if (rd_u16(&tags, &len16) != 0)
                return false;
            len = len16;
        }
        if (rd_bytes(&values, len, &v) != 0)
            return false;
        if (tag == wanted) {
            *out = v;
            return true;
        }
    }
    return false;
}

static EVP_PKEY *rsa_from_primes(struct rd e, struct rd p, struct rd q)
{
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *be = BN_bin2bn(e.p, (int)e.n, NULL), *bp = BN_bin2bn(p.p, (int)p.n, NULL),
           *bq = BN_bin2bn(q.p, (int)q.n, NULL);
    BIGNUM *n = BN_new(), *d = BN_new(), *p1 = BN_dup(bp), *q1 = BN_dup(bq), *phi = BN_new(),
           *dp = BN_new(), *dq = BN_new(), *qi = BN_new();
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *pctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    OSSL_PARAM *params = NULL;
    EVP_PKEY *key = NULL;

    BN_mul(n, bp, bq, ctx);
    BN_sub_word(p1, 1);
    BN_sub_word(q1, 1);
    BN_mul(phi, p1, q1, ctx);
    if (BN_mod_inverse(d, be, phi, ctx) != NULL && BN_mod_inverse(qi, bq, bp, ctx) != NULL) {
        BN_mod(dp, d, p1, ctx);
        BN_mod(dq, d, q1, ctx);
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n);
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, be);
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_D, d);
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_FACTOR1, bp);
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_FACTOR2, bq);
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_EXPONENT1, dp);
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_EXPONENT2, dq);
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, qi);
        params = OSSL_PARAM_BLD_to_param(bld);
        if (EVP_PKEY_fromdata_init(pctx) != 1 ||
            EVP_PKEY_fromdata(pctx, &key, EVP_PKEY_KEYPAIR, params) != 1)
            key = NULL;
    }
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    EVP_PKEY_CTX_free(pctx);
    BN_free(be);
    BN_free(bp);
    BN_free(bq);
    BN_free(n);
    BN_free(d);
    BN_free(p1);
    BN_free(q1);
    BN_free(phi);
    BN_free(dp);
    BN_free(dq);
    BN_free(qi);
    BN_CTX_free(ctx);
    return key;
}

static bool number_is(EVP_PKEY *key, const char *name, struct rd value)
{
    BIGNUM *own = NULL, *given = BN_bin2bn(value.p, (int)value.n, NULL);
    bool same = EVP_PKEY_get_bn_param(key, name, &own) == 1 && BN_cmp(own, given) == 0;

    BN_free(own);
    BN_free(given);
    return same;
}

/* 4.4.3.12: lengths by the attributes, and what they ask for besides e, p and q. */
static EVP_PKEY *import_rsa(const struct emu_key *k, const struct emu_algo *a, struct rd tags,
                            struct rd values)
{
    static const struct {
        unsigned tag;
        uint8_t format; /* bit in the last octet of the attributes */
        const char *name;
    } more[] = {{0x94, 2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1},
                {0x95, 2, OSSL_PKEY_PARAM_RSA_EXPONENT1},
                {0x96, 2, OSSL_PKEY_PARAM_RSA_EXPONENT2},
                {0x97, 1, OSSL_PKEY_PARAM_RSA_N}};
    struct rd e, p, q, v;
    EVP_PKEY *key;
    bool ok = true;

    if (!import_value(tags, values, 0x91, &e) || !import_value(tags, values, 0x92, &p) ||
        !import_value(tags, values, 0x93, &q) || e.n != (k->attr[4] + 7u) / 8u ||
        p.n != a->bits / 16 || q.n != a->bits / 16)
        return NULL;
    key = rsa_from_primes(e, p, q);
    if (key == NULL || (unsigned)EVP_PKEY_get_bits(key) != a->bits)
        ok = false;
    for (size_t i = 0; ok && i < sizeof more / sizeof more[0]; i++)
        if ((k->attr[5] & more[i].format) != 0)
            ok = import_value(tags, values, more[i].tag, &v) && number_is(key, more[i].name, v);
    if (!ok) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    return key;
}

bool emu_import(struct emu_key *k, const struct emu_algo *a, struct rd tags, struct rd values)
{
    struct rd d;
    uint8_t raw[32];
    EVP_PKEY *key = NULL;

    if (a->nid == EVP_PKEY_RSA) {
        key = import_rsa(k, a, tags, values);
    } else if (import_value(tags, values, 0x92, &d) && d.n == (a->bits + 7) / 8) {
        if (a->nid == EVP_PKEY_EC) {
            key = ec_from_scalar(a->group, d.p, d.n);
        } else {
            for (size_t i = 0; i < 32; i++) /* X25519 scalars come big-endian */
                raw[i] = a->nid == EVP_PKEY_X25519 ? d.p[31 - i] : d.p[i];
            key = EVP_PKEY_new_raw_private_key(a->nid, NULL, raw, 32);
        }
    }
    if (key == NULL)
        return false;
    set_key(k, a, key, 2);
    return true;
}

/* The point (04 x y, or 32 octets), or for RSA the modulus. */
static size_t public_octets(const struct emu_key *k, uint8_t *out, size_t cap)
{
    const EVP_PKEY *pkey = k->shown != NULL ? k->shown : k->pkey;
    size_t n = cap;
    BIGNUM *bn = NULL;

    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_RSA:
        if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &bn) != 1)
            return 0;
        n = (size_t)BN_bn2bin(bn, out);
        BN_free(bn);
        return n;
    case EVP_PKEY_EC:
        return EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, out, cap, &n) == 1
                   ? n
                   : 0;
    default:
        return EVP_PKEY_get_raw_public_key(pkey, out, &n) == 1 ? n : 0;
    }
}

void emu_put_public(const struct emu_key *k, struct buf *out)
{
    static const uint8_t e[] = {1, 0, 1};
    struct buf body = BUF_INIT;
    uint8_t raw[600];
    size_t n = public_octets(k, raw, sizeof raw);

    if (EVP_PKEY_get_base_id(k->pkey) == EVP_PKEY_RSA) {
        buf_put_tlv(&body, 0x81, raw, n);
        buf_put_tlv(&body, 0x82, e, sizeof e);
    } else {
        buf_put_tlv(&body, 0x86, raw, n);
    }
    buf_put_tlv(out, 0x7f49, body.data, body.len);
    buf_free(&body);
}

void emu_fingerprint(struct emu_key *k, bool ecdh)
{
    const struct emu_algo *a = emu_algo_by_name(k->algo);
    static const uint8_t e[] = {1, 0, 1};
    struct buf b = BUF_INIT, body = BUF_INIT, point = BUF_INIT;
    uint8_t raw[600];
    size_t n = public_octets(k, raw, sizeof raw);

    buf_put_u8(&body, 4);
    buf_put_u32(&body, k->created);
    if (a->nid == EVP_PKEY_RSA) {
        buf_put_u8(&body, 1);
        buf_put_pgp_mpi(&body, raw, n);
        buf_put_pgp_mpi(&body, e, sizeof e);
    } else {
        if (a->nid != EVP_PKEY_EC)
            buf_put_u8(&point, 0x40);
        buf_put(&point, raw, n);
        buf_put_u8(&body, ecdh ? 18 : a->nid == EVP_PKEY_EC ? 19 : 22);
        buf_put_u8(&body, (uint8_t)(a->attr_len - 1));
        buf_put(&body, a->attr + 1, a->attr_len - 1);
        buf_put_pgp_mpi(&body, point.data, point.len);
        if (ecdh) {
            buf_put_u8(&body, 3);
            buf_put_u8(&body, 1);
            buf_put_u8(&body, a->bits <= 256 ? 8 : a->bits <= 384 ? 9 : 10);
            buf_put_u8(&body, a->bits <= 256 ? 7 : 9);
        }
    }
    buf_put_u8(&b, 0x99);
    buf_put_u16(&b, (uint16_t)body.len);
    buf_put_rd(&b, buf_rd(&body));
    SHA1(b.data, b.len, k->fpr);
    buf_free(&b);
    buf_free(&body);
    buf_free(&point);
}

/* DigestInfo of SHA-1, SHA-256, SHA-384 or SHA-512 and nothing else. */
static bool is_digest_info(struct rd d)
{
    static const struct {
        size_t n;
        uint8_t head[4];
    } forms[] = {{35, {0x30, 0x21, 0x30, 0x09}},
                 {51, {0x30, 0x31, 0x30, 0x0d}},
                 {67, {0x30, 0x41, 0x30, 0x0d}},
                 {83, {0x30, 0x51, 0x30, 0x0d}}};

    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (d.n == forms[i].n && memcmp(d.p, forms[i].head, 4) == 0)
            return true;
    return false;
}

static bool sign_ecdsa(const struct emu_key *k, struct rd input, size_t half, struct buf *out)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(k->pkey, NULL);
    unsigned char der[256], raw[160];
    size_t n = sizeof der;
    bool ok = EVP_PKEY_sign_init(ctx) == 1 && EVP_PKEY_sign(ctx, der, &n, input.p, input.n) == 1;

    if (ok) {
        const unsigned char *p = der;
        ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &p, (long)n);

        BN_bn2binpad(ECDSA_SIG_get0_r(s), raw, (int)half);
        BN_bn2binpad(ECDSA_SIG_get0_s(s), raw + half, (int)half);
        buf_put(out, raw, 2 * half);
        ECDSA_SIG_free(s);
    }
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

unsigned emu_sign(const struct emu_key *k, struct rd input, struct buf *out)
{
    const struct emu_algo *a = emu_algo_by_name(k->algo);
    unsigned char raw[600];
    size_t n = sizeof raw, half = (a->bits + 7) / 8;
    bool ok = false;

    if (a->nid == EVP_PKEY_RSA) {
        EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(k->pkey, NULL);

        if (!is_digest_info(input))
            return 0x6a80;
        ok = EVP_PKEY_sign_init(ctx) == 1 &&
             EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
             EVP_PKEY_sign(ctx, raw, &n, input.p, input.n) == 1;
        EVP_PKEY_CTX_free(ctx);
        if (ok)
            buf_put(out, raw, n);
    } else if (a->nid == EVP_PKEY_EC) {
        if (input.n != (a->bits == 521 ? 64 : half))
            return 0x6700;
        ok = sign_ecdsa(k, input, half, out);
    } else if (a->nid == EVP_PKEY_ED25519) {
        EVP_MD_CTX *ctx = EVP_MD_CTX_new();

        ok = EVP_DigestSignInit(ctx, NULL, NULL, NULL, k->pkey) == 1 &&
             EVP_DigestSign(ctx, raw, &n, input.p, input.n) == 1;
        EVP_MD_CTX_free(ctx);
        if (ok)
            buf_put(out, raw, n);
    }
    return ok ? 0x9000 : 0x6985;
}

static EVP_PKEY *peer_key(const struct emu_algo *a, struct rd point)
{
    EVP_PKEY_CTX *ctx;
    EVP_PKEY *key = NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)a->group,
                                         0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)point.p,
                                          point.n),
        OSSL_PARAM_construct_end(),
    };

    if (a->nid == EVP_PKEY_X25519)
        return point.n == 32 ? EVP_PKEY_new_raw_public_key(a->nid, NULL, point.p, 32) : NULL;
    ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(ctx);
    return key;
}

unsigned emu_decipher(const struct emu_key *k, struct rd input, struct buf *out)
{
    const struct emu_algo *a = emu_algo_by_name(k->algo);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(k->pkey, NULL);
    unsigned char raw[600];
    size_t n = sizeof raw;
    bool ok = false;

    if (a->nid == EVP_PKEY_RSA) {
        if (input.n == a->bits / 8 + 1 && input.p[0] == 0)
            ok = EVP_PKEY_decrypt_init(ctx) == 1 &&
                 EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
                 EVP_PKEY_decrypt(ctx, raw, &n, input.p + 1, input.n - 1) == 1;
    } else {
        struct rd a6, d7f49, point, r = input;
        uint32_t tag;
        EVP_PKEY *peer = NULL;

        if (rd_tlv(&r, &tag, &a6) == 0 && tag == 0xa6 && r.n == 0 &&
            rd_tlv(&a6, &tag, &d7f49) == 0 && tag == 0x7f49 && rd_tlv(&d7f49, &tag, &point) == 0 &&
            tag == 0x86)
            peer = peer_key(a, point);
        ok = peer != NULL && EVP_PKEY_derive_init(ctx) == 1 &&
             EVP_PKEY_derive_set_peer(ctx, peer) == 1 && EVP_PKEY_derive(ctx, raw, &n) == 1;
        EVP_PKEY_free(peer);
    }
    EVP_PKEY_CTX_free(ctx);
    if (ok)
        buf_put(out, raw, n);
    return ok ? 0x9000 : 0x6a80;
}

void emu_kdf(struct rd salt, uint32_t count, struct rd pin, struct buf *out)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t digest[32];
    struct buf round = BUF_INIT;

    buf_put_rd(&round, salt);
    buf_put_rd(&round, pin);
    EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
    while (count > 0) {
        size_t n = count < round.len ? count : round.len;

        EVP_DigestUpdate(ctx, round.data, n);
        count -= (uint32_t)n;
    }
    EVP_DigestFinal_ex(ctx, digest, NULL);
    EVP_MD_CTX_free(ctx);
    buf_put(out, digest, sizeof digest);
    buf_free(&round);
}
