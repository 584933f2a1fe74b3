/* PIV: GENERAL AUTHENTICATE, and Yubico's commands for keys. */
#include "tests/card/command.h"

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

enum { RSA1024 = 0x06, RSA2048 = 0x07, RSA3072 = 0x05, RSA4096 = 0x16, P256 = 0x11, P384 = 0x14 };
enum { ED25519 = 0xe0, X25519 = 0xe1, MGM = 0x9b };

static const struct {
    uint8_t alg;
    const char *name;
    uint8_t major, minor; /* of the firmware that has it first */
} algs[] = {
    {RSA1024, "rsa1024", 0, 0}, {RSA2048, "rsa2048", 0, 0}, {RSA3072, "rsa3072", 5, 7},
    {RSA4096, "rsa4096", 5, 7}, {P256, "nistp256", 0, 0},   {P384, "nistp384", 4, 0},
    {ED25519, "ed25519", 5, 7}, {X25519, "cv25519", 5, 7},
};

static bool has_alg(const struct emu *e, size_t i)
{
    return algs[i].major == 0 || !e->piv.extensions
               ? algs[i].major < 5
               : piv_is_at_least(e, algs[i].major, algs[i].minor);
}

static const char *name_of(const struct emu *e, uint8_t alg)
{
    for (size_t i = 0; i < sizeof algs / sizeof algs[0]; i++)
        if (algs[i].alg == alg && has_alg(e, i))
            return algs[i].name;
    return NULL;
}

/* --- the management key --------------------------------------------------------------------------------------------- */

static size_t block_of(uint8_t alg)
{
    return alg == 0x03 ? 8 : 16;
}

static bool crypt_block(const struct emu *e, bool encrypt, const uint8_t *in, uint8_t *out)
{
    const EVP_CIPHER *cipher = e->piv.mgm_alg == 0x03   ? EVP_des_ede3_ecb()
                               : e->piv.mgm_alg == 0x08 ? EVP_aes_128_ecb()
                               : e->piv.mgm_alg == 0x0a ? EVP_aes_192_ecb()
                                                        : EVP_aes_256_ecb();
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;
    bool ok = EVP_CipherInit_ex2(ctx, cipher, e->piv.mgm, NULL, encrypt, NULL) == 1 &&
              EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
              EVP_CipherUpdate(ctx, out, &n, in, (int)block_of(e->piv.mgm_alg)) == 1;

    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

static void put_answer(struct buf *out, uint32_t tag, const uint8_t *p, size_t n)
{
    struct buf body = BUF_INIT;

    buf_put_tlv(&body, tag, p, n);
    buf_put_tlv(out, 0x7c, body.data, body.len);
    buf_free(&body);
}

static unsigned manage(struct emu *e, uint8_t alg, struct rd body, struct buf *out)
{
    struct piv_emu *p = &e->piv;
    size_t n = block_of(p->mgm_alg);
    struct rd witness, challenge;
    uint8_t block[16];
    bool has_witness = rd_tlv_find(body, 0x80, &witness) == 0,
         has_challenge = rd_tlv_find(body, 0x81, &challenge) == 0;

    if (alg != p->mgm_alg && !(alg == 0 && p->mgm_alg == 0x03))
        return BAD;
    if (has_witness && witness.n == 0 && !has_challenge) {
        RAND_bytes(p->witness, (int)n);
        p->witness_len = n;
        crypt_block(e, true, p->witness, block);
        put_answer(out, 0x80, block, n);
        return OK;
    }
    if (has_witness && has_challenge) {
        bool right = p->witness_len == n && witness.n == n && challenge.n == n &&
                     CRYPTO_memcmp(witness.p, p->witness, n) == 0;

        p->witness_len = 0;
        if (!right)
            return NO_PIN;
        crypt_block(e, true, challenge.p, block);
        put_answer(out, 0x82, block, n);
        p->managed = true;
        return OK;
    }
    if (has_challenge && challenge.n == 0) {
        RAND_bytes(p->challenge, (int)n);
        p->challenge_len = n;
        put_answer(out, 0x81, p->challenge, n);
        return OK;
    }
    if (rd_tlv_find(body, 0x82, &challenge) == 0 && challenge.n == n && p->challenge_len == n) {
        crypt_block(e, true, p->challenge, block);
        p->challenge_len = 0;
        p->managed = CRYPTO_memcmp(block, challenge.p, n) == 0;
        return p->managed ? OK : NO_PIN;
    }
    return BAD;
}

/* 00 FF FF FF|FE { alg 9B len key } */
unsigned piv_set_management(struct emu *e, const struct cmd *c)
{
    uint8_t alg, len;
    struct rd r = c->data;

    if (!e->piv.managed)
        return NO_PIN;
    if (c->p1 != 0xff || (c->p2 != 0xff && c->p2 != 0xfe))
        return 0x6a86;
    if (r.n < 3 || r.p[1] != MGM || r.p[2] != r.n - 3)
        return BAD;
    alg = r.p[0];
    len = r.p[2];
    if ((alg != 0x03 && !piv_is_at_least(e, 5, 4)) || len != (alg == 0x08                  ? 16
                                                              : alg == 0x0c                ? 32
                                                              : alg == 0x03 || alg == 0x0a ? 24
                                                                                           : 0))
        return BAD;
    e->piv.mgm_alg = alg;
    e->piv.mgm_len = len;
    memcpy(e->piv.mgm, r.p + 3, len);
    e->piv.mgm_changed = true;
    return OK;
}

/* --- using keys ----------------------------------------------------------------------------------------------------- */

static unsigned raw_rsa(const struct piv_key *k, struct rd block, struct buf *out)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(k->key.pkey, NULL);
    uint8_t raw[600];
    size_t n = sizeof raw;
    bool ok = block.n == (size_t)EVP_PKEY_get_size(k->key.pkey) &&
              EVP_PKEY_decrypt_init(ctx) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) == 1 &&
              EVP_PKEY_decrypt(ctx, raw, &n, block.p, block.n) == 1;

    EVP_PKEY_CTX_free(ctx);
    if (ok)
        put_answer(out, 0x82, raw, n);
    return ok ? OK : BAD;
}

static unsigned sign_ecdsa(const struct piv_key *k, struct rd hash, struct buf *out)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(k->key.pkey, NULL);
    uint8_t der[160];
    size_t n = sizeof der;
    bool ok = hash.n == (k->alg == P256 ? 32 : 48) && EVP_PKEY_sign_init(ctx) == 1 &&
              EVP_PKEY_sign(ctx, der, &n, hash.p, hash.n) == 1;

    EVP_PKEY_CTX_free(ctx);
    if (ok)
        put_answer(out, 0x82, der, n);
    return ok ? OK : BAD;
}

static unsigned sign_ed25519(const struct piv_key *k, struct rd message, struct buf *out)
{
    struct buf sig = BUF_INIT;
    unsigned sw = emu_sign(&k->key, message, &sig);

    if (sw == OK)
        put_answer(out, 0x82, sig.data, sig.len);
    buf_free(&sig);
    return sw;
}

static unsigned agree(const struct piv_key *k, struct rd point, struct buf *out)
{
    struct buf d86 = BUF_INIT, d7f49 = BUF_INIT, a6 = BUF_INIT, x = BUF_INIT;
    unsigned sw;

    buf_put_tlv(&d86, 0x86, point.p, point.n);
    buf_put_tlv(&d7f49, 0x7f49, d86.data, d86.len);
    buf_put_tlv(&a6, 0xa6, d7f49.data, d7f49.len);
    sw = emu_decipher(&k->key, buf_rd(&a6), &x);
    if (sw == OK)
        put_answer(out, 0x82, x.data, x.len);
    buf_free(&d86);
    buf_free(&d7f49);
    buf_free(&a6);
    buf_free(&x);
    return sw;
}

static unsigned may_use(struct emu *e, const struct piv_key *k)
{
    struct piv_emu *p = &e->piv;
    bool ok = k->pin == PIN_NEVER || (k->pin == PIN_ONCE && p->verified) ||
              (k->pin == PIN_ALWAYS && p->fresh);

    if (k->pin == PIN_ALWAYS)
        p->verified = false; /* SP 800-73-4 part 2, 2.4.2: used up */
    if (!ok)
        return NO_PIN;
    if (k->touch >= PIV_TOUCH_ON && !emu_touched(e, k->touch == PIV_TOUCH_CACHE))
        return NO_PIN;
    return OK;
}

unsigned piv_general_authenticate(struct emu *e, const struct cmd *c, struct buf *out)
{
    struct rd all = c->data, body, challenge, point;
    int slot = piv_slot_index(c->p2);
    const struct piv_key *k;
    uint32_t tag;
    unsigned sw;
    bool signs, agrees;

    if (rd_tlv(&all, &tag, &body) != 0 || tag != 0x7c || all.n != 0)
        return BAD;
    if (c->p2 == MGM)
        return manage(e, c->p1, body, out);
    if (slot < 0)
        return 0x6a86;
    k = &e->piv.keys[slot];
    if (k->key.pkey == NULL || k->alg != c->p1 || slot == 24)
        return BAD;
    signs = rd_tlv_find(body, 0x81, &challenge) == 0;
    agrees = rd_tlv_find(body, 0x85, &point) == 0;
    if (signs == agrees)
        return BAD;
    sw = may_use(e, k);
    if (sw != OK || e->pulled)
        return sw;
    if (k->alg == P256 || k->alg == P384)
        return agrees ? agree(k, point, out) : sign_ecdsa(k, challenge, out);
    if (k->alg == X25519)
        return agrees ? agree(k, point, out) : BAD;
    if (agrees)
        return BAD;
    return k->alg == ED25519 ? sign_ed25519(k, challenge, out) : raw_rsa(k, challenge, out);
}

/* --- making and moving them ----------------------------------------------------------------------------------------- */

static uint8_t default_pin(int slot)
{
    return slot == 1 ? PIN_ALWAYS : slot == 3 ? PIN_NEVER : PIN_ONCE;
}

static void set_policies(struct piv_key *k, int slot, uint8_t pin, uint8_t touch)
{
    k->pin = pin != 0 ? pin : default_pin(slot);
    k->touch = touch != 0 ? touch : PIV_TOUCH_OFF;
}

static void forget_key(struct piv_key *k)
{
    EVP_PKEY_free(k->key.pkey);
    EVP_PKEY_free(k->key.shown);
    *k = (struct piv_key){0};
}

/* Optional policies in R; false: not valid, or more than the firmware knows. */
static bool take_policies(const struct emu *e, struct rd r, uint8_t *pin, uint8_t *touch)
{
    struct rd v;

    *pin = *touch = 0;
    if (rd_tlv_find(r, 0xaa, &v) == 0) {
        if (v.n != 1 || v.p[0] > PIN_ALWAYS || !piv_is_at_least(e, 4, 0))
            return false;
        *pin = v.p[0];
    }
    if (rd_tlv_find(r, 0xab, &v) == 0) {
        if (v.n != 1 || v.p[0] > PIV_TOUCH_CACHE ||
            !piv_is_at_least(e, 4, v.p[0] == PIV_TOUCH_CACHE ? 3 : 0))
            return false;
        *touch = v.p[0];
    }
    return true;
}

unsigned piv_generate(struct emu *e, const struct cmd *c, struct buf *out)
{
    struct rd all = c->data, body, alg;
    int slot = piv_slot_index(c->p2);
    uint8_t pin, touch;
    const char *name;
    struct piv_key *k;
    uint32_t tag;

    if (slot < 0 || c->p1 != 0)
        return 0x6a86;
    if (!e->piv.managed)
        return NO_PIN;
    if (rd_tlv(&all, &tag, &body) != 0 || tag != 0xac || all.n != 0 ||
        rd_tlv_find(body, 0x80, &alg) != 0 || alg.n != 1 || !take_policies(e, body, &pin, &touch))
        return BAD;
    name = name_of(e, alg.p[0]);
    if (name == NULL)
        return BAD;
    k = &e->piv.keys[slot];
    forget_key(k);
    if (!emu_generate(&k->key, emu_algo_by_name(name), -1, 0))
        return COND;
    k->alg = alg.p[0];
    set_policies(k, slot, pin, touch);
    emu_put_public(&k->key, out);
    return OK;
}

/* Prime factors and CRT parameters, or the private scalar. */
unsigned piv_import(struct emu *e, const struct cmd *c)
{
    static const struct {
        uint8_t tag, from;
    } rsa[] = {{0x92, 0x01}, {0x93, 0x02}, {0x95, 0x03}, {0x96, 0x04}, {0x94, 0x05}};
    static const uint8_t exponent[] = {1, 0, 1};
    int slot = piv_slot_index(c->p2);
    const char *name = name_of(e, c->p1);
    const struct emu_algo *a = name != NULL ? emu_algo_by_name(name) : NULL;
    struct buf tags = BUF_INIT, values = BUF_INIT;
    struct piv_key made = {.alg = c->p1};
    uint8_t pin, touch, scalar[64];
    struct rd v;
    bool ok;

    if (slot < 0)
        return 0x6a86;
    if (!e->piv.managed)
        return NO_PIN;
    if (a == NULL || !take_policies(e, c->data, &pin, &touch))
        return BAD;
    made.key.attr_len = emu_attributes(e->p, 0, a, made.key.attr);
    if (a->nid == EVP_PKEY_RSA) {
        made.key.attr[4] = 17;
        made.key.attr[5] = 2; /* all of CRT */
        buf_put_u8(&tags, 0x91);
        buf_put_u8(&tags, sizeof exponent);
        buf_put(&values, exponent, sizeof exponent);
        ok = true;
        for (size_t i = 0; i < 5 && ok; i++) {
            ok = rd_tlv_find(c->data, rsa[i].from, &v) == 0 && v.n == a->bits / 16;
            buf_put_u8(&tags, rsa[i].tag);
            buf_put_u8(&tags, 0x81);
            buf_put_u8(&tags, (uint8_t)(a->bits / 16));
            buf_put_rd(&values, ok ? v : rd_of(NULL, 0));
        }
    } else {
        uint32_t tag = c->p1 == ED25519 ? 0x07 : c->p1 == X25519 ? 0x08 : 0x06;

        ok = rd_tlv_find(c->data, tag, &v) == 0 && v.n == (a->bits + 7) / 8;
        for (size_t i = 0; ok && i < v.n; i++) /* emu_import takes X25519's the other way round */
            scalar[i] = v.p[c->p1 == X25519 ? v.n - 1 - i : i];
        buf_put_u8(&tags, 0x92);
        buf_put_u8(&tags, (uint8_t)(ok ? v.n : 0));
        buf_put(&values, scalar, ok ? v.n : 0);
    }
    ok = ok && emu_import(&made.key, a, buf_rd(&tags), buf_rd(&values));
    buf_free(&tags);
    buf_free(&values);
    if (!ok)
        return BAD;
    forget_key(&e->piv.keys[slot]);
    e->piv.keys[slot] = made;
    set_policies(&e->piv.keys[slot], slot, pin, touch);
    return OK;
}

/* 00 F6 TO FROM; FF: delete */
unsigned piv_move(struct emu *e, const struct cmd *c)
{
    int from = piv_slot_index(c->p2), to = piv_slot_index(c->p1);

    if (!e->piv.managed)
        return NO_PIN;
    if (from < 0 || (to < 0 && c->p1 != 0xff))
        return 0x6a86;
    if (e->piv.keys[from].key.pkey == NULL)
        return NO_REF;
    if (c->p1 == 0xff) {
        forget_key(&e->piv.keys[from]);
        return OK;
    }
    forget_key(&e->piv.keys[to]);
    e->piv.keys[to] = e->piv.keys[from];
    e->piv.keys[from] = (struct piv_key){0};
    return OK;
}

/* --- what is told of them ------------------------------------------------------------------------------------------- */

static void put_octet(struct buf *b, uint32_t tag, uint8_t v)
{
    buf_put_tlv(b, tag, &v, 1);
}

static unsigned secret_metadata(struct emu *e, int which, struct buf *out)
{
    const uint8_t left[] = {(uint8_t)e->piv.total[which], (uint8_t)e->piv.tries[which]};

    put_octet(out, 0x01, 0xff);
    put_octet(out, 0x05, !e->piv.changed[which]);
    buf_put_tlv(out, 0x06, left, 2);
    return OK;
}

unsigned piv_metadata(struct emu *e, const struct cmd *c, struct buf *out)
{
    int slot = piv_slot_index(c->p2);
    const struct piv_key *k = slot >= 0 ? &e->piv.keys[slot] : NULL;
    const uint8_t mgm[] = {0, PIV_TOUCH_OFF};
    struct buf public = BUF_INIT;
    struct rd r, body;
    uint32_t tag;

    if (c->p1 != 0 || c->data.n != 0)
        return 0x6a86;
    if (c->p2 == 0x80 || c->p2 == 0x81)
        return secret_metadata(e, c->p2 - 0x80, out);
    if (c->p2 == MGM) {
        put_octet(out, 0x01, e->piv.mgm_alg);
        buf_put_tlv(out, 0x02, mgm, 2);
        put_octet(out, 0x05, !e->piv.mgm_changed);
        return OK;
    }
    if (k == NULL || k->key.pkey == NULL)
        return NO_REF;
    put_octet(out, 0x01, k->alg);
    buf_put_tlv(out, 0x02, (const uint8_t[]){k->pin, k->touch}, 2);
    put_octet(out, 0x03, k->key.origin);
    emu_put_public(&k->key, &public);
    r = buf_rd(&public);
    if (rd_tlv(&r, &tag, &body) == 0)
        buf_put_tlv(out, 0x04, body.p, body.n);
    buf_free(&public);
    return OK;
}

unsigned piv_attest(struct emu *e, const struct cmd *c, struct buf *out)
{
    int slot = piv_slot_index(c->p1);
    const struct piv_key *k = slot >= 0 ? &e->piv.keys[slot] : NULL;

    if (c->p2 != 0 || k == NULL || slot == 24)
        return 0x6a86;
    if (k->key.pkey == NULL || k->key.origin != 1)
        return BAD;
    return piv_certify(k->key.pkey, e->piv.keys[24].key.pkey, (const uint8_t[]){k->pin, k->touch},
                       out)
               ? OK
               : COND;
}

/* --- options -------------------------------------------------------------------------------------------------------- */

bool piv_add_key(struct emu *e, const char *spec, long seed)
{
    char copy[128], *save = NULL, *word, *algo;
    bool cert = true, gzip = false, lose = false, imported = false, ok = true;
    struct buf der = BUF_INIT;
    uint8_t pin = 0, touch = 0;
    struct piv_key *k;
    int slot;

    snprintf(copy, sizeof copy, "%s", spec);
    algo = strchr(copy, '=');
    if (algo == NULL)
        return false;
    *algo++ = '\0';
    slot = piv_slot_index((uint8_t)strtoul(copy, NULL, 16));
    word = strtok_r(algo, ",", &save);
    if (slot < 0 || word == NULL || emu_algo_by_name(word) == NULL)
        return false;
    k = &e->piv.keys[slot];
    for (size_t i = 0; i < sizeof algs / sizeof algs[0]; i++)
        if (strcmp(algs[i].name, word) == 0 && has_alg(e, i))
            k->alg = algs[i].alg;
    if (k->alg == 0 || !emu_generate(&k->key, emu_algo_by_name(word), seed, 100 + (unsigned)slot))
        return false;
    while ((word = strtok_r(NULL, ",", &save)) != NULL) {
        if (strncmp(word, "pin=", 4) == 0)
            pin = strcmp(word + 4, "never") == 0    ? PIN_NEVER
                  : strcmp(word + 4, "always") == 0 ? PIN_ALWAYS
                                                    : PIN_ONCE;
        else if (strncmp(word, "touch=", 6) == 0)
            touch = strcmp(word + 6, "on") == 0       ? PIV_TOUCH_ON
                    : strcmp(word + 6, "cached") == 0 ? PIV_TOUCH_CACHE
                                                      : PIV_TOUCH_OFF;
        else if (strcmp(word, "gzip") == 0)
            gzip = true;
        else if (strcmp(word, "nocert") == 0)
            cert = false;
        else if (strcmp(word, "nokey") == 0)
            lose = true;
        else if (strcmp(word, "imported") == 0)
            imported = true;
        else
            return false;
    }
    set_policies(k, slot, pin, touch);
    if (imported)
        k->key.origin = 2;
    if (cert && slot != 24)
        ok = piv_certify(k->key.pkey, k->alg == X25519 || k->alg == RSA1024 ? NULL : k->key.pkey,
                         NULL, &der) &&
             piv_put_certificate(piv_object(e, piv_certificate_id(slot), true), buf_rd(&der), gzip);
    buf_free(&der);
    if (lose)
        forget_key(k);
    return ok;
}

bool piv_forge(struct emu *e)
{
    bool ok = true;

    for (int i = 0; i < PIV_SLOTS; i++)
        ok = emu_forge(&e->piv.keys[i].key) && ok;
    return ok;
}
