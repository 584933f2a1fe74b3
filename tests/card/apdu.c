/* The card's side of each command. */
#include "tests/card/emu.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define RSA    "rsa2048 rsa3072 rsa4096"
#define C25519 "ed25519 cv25519"
#define NIST   "nistp256 nistp384 nistp521"
#define BP     "brainpoolP256r1 brainpoolP384r1 brainpoolP512r1"

/* What a card says of itself and what it does have to agree: stock GnuPG believes the historical bytes. */
const struct emu_profile emu_profiles[] = {
    {.name = "yubikey5",
     .manufacturer = 0x0006,
     .version = {3, 4},
     .hist = "00730000E0059000",
     .atr = "3BFD1300008131FE158073C021C057597562694B657940",
     .algos = RSA " " NIST " " BP " " C25519,
     .rsa_ebits = 17,
     .outer_tag = true,
     .uif = true,
     .de = true,
     .unverify = true,
     .chaining = true,
     .extended = true,
     .max_cmd = 3062,
     .kdf = true,
     .touch_cache = true,
     .piv = true},
    {.name = "yubikey4",
     .manufacturer = 0x0006,
     .version = {2, 1},
     .hist = "00730000E0059000",
     .atr = "3BF81300008131FE15597562696B657934D4",
     .algos = RSA,
     .rsa_ebits = 17,
     .outer_tag = true,
     .uif = true,
     .empty_verify = true,
     .chaining = true,
     .extended = true,
     .max_cmd = 2038,
     .piv = true},
    {.name = "gnuk",
     .manufacturer = 0xFFFE,
     .version = {2, 0},
     .hist = "00318473800180059000",
     .atr = "3BDA11FF81B1FE551F0300318473800180009000E4",
     .algos = "rsa2048 rsa4096 nistp256 " C25519,
     .unverify = true,
     .empty_verify = true,
     .select_keeps_pin = true,
     .chaining = true,
     .kdf = true},
    {.name = "nitrokey-pro",
     .manufacturer = 0x0005,
     .version = {3, 3},
     .hist = "0031C573C00140059000",
     .atr = "3BDA18FF81B1FE751F030031C573C001400090000C",
     .algos = RSA " " NIST " " BP,
     .de = true,
     .unverify = true,
     .empty_verify = true,
     .extended = true,
     .max_cmd = 2048,
     .kdf = true},
    {.name = "nitrokey3",
     .manufacturer = 0x000F,
     .version = {3, 4},
     .hist = "0031F573C00160009000",
     .atr = "3B8F01805D4E6974726F6B657900000000006A",
     .algos = RSA " " NIST " " BP " " C25519,
     .uif = true,
     .de = true,
     .unverify = true,
     .empty_verify = true,
     .wrong_pin_63c = true,
     .extended = true,
     .max_cmd = 2048,
     .kdf = true,
     .piv = true},
    {.name = "smartpgp", /* contactless */
     .manufacturer = 0xAFAF,
     .version = {3, 4},
     .hist = "00318073000080059000",
     .atr = "3B8A80010031F573C0016005900088",
     .algos = RSA " " NIST " " BP,
     .outer_tag = true,
     .de = true,
     .unverify = true,
     .empty_verify = true,
     .blocked_6982 = true,
     .chaining = true,
     .piv = true},
    {.name = "generic",
     .manufacturer = 0x0000,
     .version = {3, 4},
     .hist = "0031F573C001E0059000",
     .atr = "3BDA11FF81B1FE551F030031F573C001E0009000B5",
     .algos = RSA " " NIST " " BP " " C25519,
     .uif = true,
     .de = true,
     .unverify = true,
     .empty_verify = true,
     .chaining = true,
     .extended = true,
     .max_cmd = 2048,
     .kdf = true,
     .piv = true},
    {.name = NULL},
};

enum {
    OK = 0x9000,
    NO_PIN = 0x6982,
    BLOCKED = 0x6983,
    COND = 0x6985,
    BAD = 0x6a80,
    NOT_FOUND = 0x6a82,
    P1P2 = 0x6b00,
    NO_REF = 0x6a88,
    NO_INS = 0x6d00,
    NO_CLA = 0x6e00,
    LENGTH = 0x6700
};

enum { RANDOM_MAX = 32, TOUCH_CACHE_S = 15 };
enum { DO_LOGIN, DO_NAME, DO_LANG, DO_SEX, DO_URL, DO_KDF };

struct cmd {
    uint8_t cla, ins, p1, p2;
    struct rd data;
    bool has_le;
    size_t le;
};

void emu_factory(struct emu *e)
{
    static const char *const pins[] = {"123456", "", "12345678"};

    for (unsigned i = 0; i < KEY_SLOTS; i++) {
        struct emu_key *k = &e->keys[i];

        EVP_PKEY_free(k->pkey);
        EVP_PKEY_free(k->shown);
        *k = (struct emu_key){0};
        k->attr_len = emu_attributes(e->p, i, &emu_algos[0], k->attr);
    }
    for (int i = 0; i < 3; i++) {
        buf_reset(&e->pins[i]);
        buf_put(&e->pins[i], pins[i], strlen(pins[i]));
        e->tries[i] = i == RC ? 0 : 3;
    }
    for (size_t i = 0; i < sizeof e->dos / sizeof e->dos[0]; i++)
        buf_reset(&e->dos[i]);
    e->verified[0] = e->verified[1] = e->verified[2] = false;
    e->counter = 0;
    e->pw1_several = 0;
    e->terminated = false;
}

void emu_reset(struct emu *e)
{
    e->selected = e->piv_selected = false;
    e->verified[0] = e->verified[1] = e->verified[2] = false;
    buf_reset(&e->chain);
    buf_reset(&e->pending);
    e->chaining_now = false;
}

/* --- data objects -------------------------------------------------------------------------------------------------------------------- */

static void put_aid(const struct emu *e, struct buf *b)
{
    static const uint8_t rid[] = {0xd2, 0x76, 0x00, 0x01, 0x24, 0x01};

    buf_put(b, rid, sizeof rid);
    buf_put(b, e->p->version, 2);
    buf_put_u16(b, e->p->manufacturer);
    buf_put(b, e->serial, 4);
    buf_put_u16(b, 0);
}

static void put_hist(const struct emu *e, struct buf *b)
{
    char hex[64];
    size_t n = 0;

    for (const char *s = e->p->hist; *s != '\0' && n + 1 < sizeof hex; s++)
        if (*s != ' ')
            hex[n++] = *s;
    hex[n - n % 2] = '\0';
    (void)hex_decode(hex, b);
}

static void put_c4(const struct emu *e, struct buf *b)
{
    buf_put_u8(b, e->pw1_several);
    for (int i = 0; i < 3; i++)
        buf_put_u8(b, 127);
    for (int i = 0; i < 3; i++)
        buf_put_u8(b, (uint8_t)e->tries[i]);
}

/* Algorithm information: what each slot may be set to. */
static void put_algorithms(const struct emu *e, struct buf *b)
{
    uint8_t attr[16];

    for (unsigned slot = 0; slot < KEY_SLOTS; slot++)
        for (const struct emu_algo *a = emu_algos; a->name != NULL; a++)
            if (emu_slot_takes(e->p, slot, a))
                buf_put_tlv(b, 0xc1 + slot, attr, emu_attributes(e->p, slot, a, attr));
}

/* The content of a simple object of the application; false: there is none. */
static bool put_simple(const struct emu *e, unsigned tag, struct buf *b)
{
    uint8_t caps[10] = {
        e->p->kdf ? 0x75 : 0x74, 0, 0, RANDOM_MAX, 0x08, 0x00, 0x00, 0xff, 0x01, 0x00};
    static const uint8_t button = 0x20;

    switch (tag) {
    case 0x4f:
        put_aid(e, b);
        return true;
    case 0x5f52:
        put_hist(e, b);
        return true;
    case 0xc0:
        buf_put(b, caps, sizeof caps);
        return true;
    case 0xc1:
    case 0xc2:
    case 0xc3:
        buf_put(b, e->keys[tag - 0xc1].attr, e->keys[tag - 0xc1].attr_len);
        return true;
    case 0xc4:
        put_c4(e, b);
        return true;
    case 0xc5:
        for (int i = 0; i < KEY_SLOTS; i++)
            buf_put(b, e->keys[i].fpr, 20);
        return true;
    case 0xc6:
        for (int i = 0; i < KEY_SLOTS; i++)
            buf_put(b, e->keys[i].ca_fpr, 20);
        return true;
    case 0xcd:
        for (int i = 0; i < KEY_SLOTS; i++)
            buf_put_u32(b, e->keys[i].created);
        return true;
    case 0xde:
        for (int i = 0; i < KEY_SLOTS && e->p->de; i++) {
            buf_put_u8(b, (uint8_t)(i + 1));
            buf_put_u8(b, e->keys[i].origin);
        }
        return e->p->de;
    case 0xd6:
    case 0xd7:
    case 0xd8:
        buf_put_u8(b, e->keys[tag - 0xd6].uif);
        buf_put_u8(b, 0x20);
        return e->p->uif;
    case 0x5e:
        buf_put_rd(b, buf_rd(&e->dos[DO_LOGIN]));
        return true;
    case 0x5f50:
        buf_put_rd(b, buf_rd(&e->dos[DO_URL]));
        return true;
    case 0xf9:
        buf_put_rd(b, buf_rd(&e->dos[DO_KDF]));
        return e->dos[DO_KDF].len > 0;
    case 0xfa:
        put_algorithms(e, b);
        return e->p->version[0] >= 3;
    case 0x7f66:
        for (int i = 0; i < 2; i++) {
            buf_put_u16(b, 0x0202);
            buf_put_u16(b, e->p->max_cmd);
        }
        return e->p->extended;
    case 0x7f74:
        buf_put_tlv(b, 0x81, &button, 1);
        return e->p->uif && e->p->version[0] >= 3;
    default:
        return false;
    }
}

static void put_do(const struct emu *e, struct buf *out, unsigned tag)
{
    struct buf v = BUF_INIT;

    if (put_simple(e, tag, &v))
        buf_put_tlv(out, tag, v.data, v.len);
    buf_free(&v);
}

static void put_6e(const struct emu *e, struct buf *out)
{
    static const unsigned inner[] = {0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5,
                                     0xc6, 0xcd, 0xde, 0xd6, 0xd7, 0xd8};
    struct buf d = BUF_INIT, all = BUF_INIT;

    put_do(e, &all, 0x4f);
    put_do(e, &all, 0x5f52);
    put_do(e, &all, 0x7f66);
    put_do(e, &all, 0x7f74);
    for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++)
        if (inner[i] < 0xd6 || inner[i] == 0xde || e->p->version[0] >= 3)
            put_do(e, &d, inner[i]);
    buf_put_tlv(&all, 0x73, d.data, d.len);
    if (e->p->outer_tag)
        buf_put_tlv(out, 0x6e, all.data, all.len);
    else
        buf_put_rd(out, buf_rd(&all));
    buf_free(&d);
    buf_free(&all);
}

static unsigned get_data(struct emu *e, const struct cmd *c, struct buf *out)
{
    unsigned tag = (unsigned)c->p1 << 8 | c->p2;
    uint8_t count[3] = {(uint8_t)(e->counter >> 16), (uint8_t)(e->counter >> 8),
                        (uint8_t)e->counter};
    struct buf inner = BUF_INIT;

    if (c->data.n > 0)
        return LENGTH;
    if (tag == 0x6e) {
        put_6e(e, out);
        return OK;
    }
    if (tag == 0x7a) {
        buf_put_tlv(out, 0x93, count, 3);
        return OK;
    }
    if (tag == 0x65) {
        buf_put_tlv(&inner, 0x5b, e->dos[DO_NAME].data, e->dos[DO_NAME].len);
        buf_put_tlv(&inner, 0x5f2d, e->dos[DO_LANG].data, e->dos[DO_LANG].len);
        buf_put_tlv(&inner, 0x5f35, e->dos[DO_SEX].data, e->dos[DO_SEX].len);
        buf_put_rd(out, buf_rd(&inner));
        buf_free(&inner);
        return OK;
    }
    return put_simple(e, tag, out) ? OK : NO_REF;
}

static unsigned set_attr(const struct emu *e, struct emu_key *k, unsigned slot, struct rd v)
{
    const struct emu_algo *a;

    if (v.n > 1 && v.p[0] != 1 && v.p[v.n - 1] == 0xff)
        v.n--;
    a = emu_algo_by_attr(v.p, v.n);
    if (a == NULL || !emu_slot_takes(e->p, slot, a))
        return BAD;
    EVP_PKEY_free(k->pkey);
    EVP_PKEY_free(k->shown);
    *k = (struct emu_key){.uif = k->uif, .attr_len = v.n};
    memcpy(k->attr, v.p, v.n);
    return OK;
}

static unsigned put_kdf(struct emu *e, struct rd v)
{
    struct rd h;

    buf_reset(&e->dos[DO_KDF]);
    buf_put_rd(&e->dos[DO_KDF], v);
    if (rd_tlv_find(v, 0x87, &h) == 0) {
        buf_reset(&e->pins[PW1]);
        buf_put_rd(&e->pins[PW1], h);
    }
    if (rd_tlv_find(v, 0x88, &h) == 0) {
        buf_reset(&e->pins[PW3]);
        buf_put_rd(&e->pins[PW3], h);
    }
    return OK;
}

static unsigned put_text(struct emu *e, int which, struct rd v)
{
    buf_reset(&e->dos[which]);
    buf_put_rd(&e->dos[which], v);
    return OK;
}

static unsigned put_data(struct emu *e, const struct cmd *c)
{
    unsigned tag = (unsigned)c->p1 << 8 | c->p2;
    struct emu_key *k;
    struct rd v = c->data;

    if (!e->verified[2])
        return NO_PIN;
    switch (tag) {
    case 0xc1:
    case 0xc2:
    case 0xc3:
        return set_attr(e, &e->keys[tag - 0xc1], tag - 0xc1, v);
    case 0xc4:
        if (v.n != 1 || v.p[0] > 1)
            return BAD;
        e->pw1_several = v.p[0];
        return OK;
    case 0xc7:
    case 0xc8:
    case 0xc9:
        if (v.n != 20)
            return LENGTH;
        memcpy(e->keys[tag - 0xc7].fpr, v.p, 20);
        return OK;
    case 0xce:
    case 0xcf:
    case 0xd0:
        return rd_u32(&v, &e->keys[tag - 0xce].created) == 0 && v.n == 0 ? OK : LENGTH;
    case 0xd6:
    case 0xd7:
    case 0xd8:
        k = &e->keys[tag - 0xd6];
        if (!e->p->uif)
            return NO_REF;
        if (v.n != 2 || v.p[0] > (e->p->touch_cache ? 4 : 2))
            return BAD;
        if (k->uif == 2 || k->uif == 4)
            return COND;
        k->uif = v.p[0];
        return OK;
    case 0xd3:
        buf_reset(&e->pins[RC]);
        buf_put_rd(&e->pins[RC], v);
        e->tries[RC] = v.n > 0 ? 3 : 0;
        return OK;
    case 0xf9:
        return e->p->kdf ? put_kdf(e, v) : NO_REF;
    case 0x5b:
        return put_text(e, DO_NAME, v);
    case 0x5e:
        return put_text(e, DO_LOGIN, v);
    case 0x5f2d:
        return put_text(e, DO_LANG, v);
    case 0x5f35:
        return put_text(e, DO_SEX, v);
    case 0x5f50:
        return put_text(e, DO_URL, v);
    default:
        return NO_REF;
    }
}

/* --- PINs ------------------------------------------------------------------------------------------------------------------------------ */

static unsigned pin_refused(struct emu *e, int which)
{
    if (e->tries[which] > 0)
        e->tries[which]--;
    if (e->tries[which] == 0 && e->p->wrong_pin_63c)
        return 0x63c0;
    return e->p->wrong_pin_63c ? 0x63c0u | (unsigned)e->tries[which] : NO_PIN;
}

static bool pin_right(const struct emu *e, int which, struct rd pin)
{
    return e->imposter || rd_eq(buf_rd(&e->pins[which]), pin);
}

static unsigned blocked(const struct emu *e)
{
    return e->p->blocked_6982 ? NO_PIN : BLOCKED;
}

static unsigned verify(struct emu *e, const struct cmd *c)
{
    int which = c->p2 == 0x83 ? PW3 : PW1, flag = c->p2 - 0x81;

    if (c->p2 < 0x81 || c->p2 > 0x83)
        return NO_REF;
    if (c->p1 == 0xff) {
        if (!e->p->unverify)
            return 0x6a86;
        if (c->data.n > 0)
            return LENGTH;
        e->verified[flag] = false;
        return OK;
    }
    if (c->p1 != 0)
        return 0x6a86;
    if (c->data.n == 0) {
        if (!e->p->empty_verify)
            return BAD;
        return e->verified[flag] ? OK : 0x63c0u | (unsigned)e->tries[which];
    }
    e->verify_count++;
    if (e->tries[which] == 0)
        return blocked(e);
    if (!pin_right(e, which, c->data)) {
        e->verified[flag] = false;
        return pin_refused(e, which);
    }
    e->tries[which] = 3;
    e->verified[flag] = true;
    return OK;
}

static unsigned change_reference(struct emu *e, const struct cmd *c)
{
    int which = c->p2 == 0x83 ? PW3 : PW1;
    size_t old = e->pins[which].len;
    struct rd fresh;

    if (c->p1 != 0 || (c->p2 != 0x81 && c->p2 != 0x83))
        return 0x6a86;
    if (e->tries[which] == 0)
        return blocked(e);
    if (c->data.n <= old || !pin_right(e, which, rd_of(c->data.p, old)))
        return pin_refused(e, which);
    fresh = rd_of(c->data.p + old, c->data.n - old);
    if (e->dos[DO_KDF].len == 0 && fresh.n < (which == PW1 ? 6u : 8u))
        return LENGTH;
    e->tries[which] = 3;
    buf_reset(&e->pins[which]);
    buf_put_rd(&e->pins[which], fresh);
    return OK;
}

static unsigned reset_retry(struct emu *e, const struct cmd *c)
{
    struct rd fresh = c->data;

    if (c->p2 != 0x81 || (c->p1 != 0 && c->p1 != 2))
        return 0x6a86;
    if (c->p1 == 2) {
        if (!e->verified[2])
            return NO_PIN;
    } else {
        size_t n = e->pins[RC].len;

        if (e->tries[RC] == 0)
            return blocked(e);
        if (fresh.n <= n || !pin_right(e, RC, rd_of(fresh.p, n)))
            return pin_refused(e, RC);
        fresh = rd_of(fresh.p + n, fresh.n - n);
    }
    if (fresh.n < 6)
        return LENGTH;
    e->tries[PW1] = 3;
    buf_reset(&e->pins[PW1]);
    buf_put_rd(&e->pins[PW1], fresh);
    return OK;
}

/* --- keys -------------------------------------------------------------------------------------------------------------------------------- */

static int slot_of_crt(uint8_t crt)
{
    return crt == 0xb6 ? 0 : crt == 0xb8 ? 1 : crt == 0xa4 ? 2 : -1;
}

static unsigned generate(struct emu *e, const struct cmd *c, struct buf *out)
{
    const struct emu_algo *a;
    int slot;

    if (c->data.n < 2 || c->p2 != 0 || (c->p1 != 0x80 && c->p1 != 0x81))
        return c->data.n < 2 ? LENGTH : 0x6a86;
    slot = slot_of_crt(c->data.p[0]);
    if (slot < 0)
        return BAD;
    if (c->p1 == 0x80) {
        if (!e->verified[2])
            return NO_PIN;
        a = emu_algo_by_attr(e->keys[slot].attr, e->keys[slot].attr_len);
        if (a == NULL || !emu_generate(&e->keys[slot], a, -1, 0))
            return COND;
        if (slot == 0)
            e->counter = 0;
    }
    if (e->keys[slot].pkey == NULL)
        return NO_REF;
    emu_put_public(&e->keys[slot], out);
    return OK;
}

static unsigned import(struct emu *e, const struct cmd *c)
{
    struct rd all = c->data, list, crt, tags, values;
    const struct emu_algo *a;
    uint32_t tag;
    int slot;

    if (!e->verified[2])
        return NO_PIN;
    if (c->p1 != 0x3f || c->p2 != 0xff)
        return 0x6a86;
    if (rd_tlv(&all, &tag, &list) != 0 || tag != 0x4d || all.n != 0 ||
        rd_tlv(&list, &tag, &crt) != 0)
        return BAD;
    slot = tag <= 0xff ? slot_of_crt((uint8_t)tag) : -1;
    if (slot < 0 || rd_tlv(&list, &tag, &tags) != 0 || tag != 0x7f48 ||
        rd_tlv(&list, &tag, &values) != 0 || tag != 0x5f48)
        return BAD;
    a = emu_algo_by_attr(e->keys[slot].attr, e->keys[slot].attr_len);
    if (a == NULL || !emu_import(&e->keys[slot], a, tags, values))
        return BAD;
    if (slot == 0)
        e->counter = 0;
    return OK;
}

/* Waits for the finger; the mutex is let go meanwhile. */
static bool touched(struct emu *e, uint8_t uif)
{
    struct timespec until;
    bool ok;

    if (e->touch_mode == TOUCH_AUTO)
        return true;
    if (uif >= 3 && e->touched_at != 0 && time(NULL) - e->touched_at < TOUCH_CACHE_S)
        return true;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += e->touch_timeout_ms / 1000;
    until.tv_nsec += (long)(e->touch_timeout_ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    e->touch_waiting = true;
    e->touched = false;
    while (!e->touched && !e->pulled)
        if (pthread_cond_timedwait(&e->changed, &e->mutex, &until) != 0)
            break;
    ok = e->touched;
    e->touch_waiting = false;
    if (ok)
        e->touched_at = time(NULL);
    return ok;
}

static unsigned use_key(struct emu *e, unsigned slot, bool *verified, const struct cmd *c,
                        struct buf *out, bool decipher)
{
    struct emu_key *k = &e->keys[slot];
    unsigned sw;

    if (!*verified)
        return NO_PIN;
    if (k->pkey == NULL)
        return NO_REF;
    if (c->data.n == 0)
        return LENGTH;
    if (k->uif != 0 && e->p->uif && !touched(e, k->uif))
        return e->pulled ? 0 : e->p->manufacturer == 0x000f ? NO_PIN : 0x6600;
    sw = decipher ? emu_decipher(k, c->data, out) : emu_sign(k, c->data, out);
    return sw;
}

static unsigned pso(struct emu *e, const struct cmd *c, struct buf *out)
{
    unsigned sw;

    if (c->p1 == 0x9e && c->p2 == 0x9a) {
        sw = use_key(e, 0, &e->verified[0], c, out, false);
        if (sw == OK) {
            e->counter++;
            if (e->pw1_several == 0)
                e->verified[0] = false;
        }
        return sw;
    }
    if (c->p1 == 0x80 && c->p2 == 0x86)
        return use_key(e, 1, &e->verified[1], c, out, true);
    return 0x6a86;
}

/* --- dispatch ------------------------------------------------------------------------------------------------------------------------------ */

static unsigned select_app(struct emu *e, const struct cmd *c)
{
    static const uint8_t openpgp[] = {0xd2, 0x76, 0x00, 0x01, 0x24, 0x01},
                         piv[] = {0xa0, 0x00, 0x00, 0x03, 0x08};

    if (c->p1 != 0x04 || c->p2 != 0x00)
        return 0x6a86;
    if (c->data.n >= 6 && memcmp(c->data.p, openpgp, 6) == 0) {
        struct buf aid = BUF_INIT;
        bool fits;

        put_aid(e, &aid);
        fits = c->data.n <= aid.len && memcmp(c->data.p, aid.data, c->data.n) == 0;
        buf_free(&aid);
        if (!fits)
            return NOT_FOUND;
        if (!e->p->select_keeps_pin || !e->selected)
            e->verified[0] = e->verified[1] = e->verified[2] = false;
        e->selected = true;
        e->piv_selected = false;
        return e->terminated ? 0x6285 : OK; /* selected all the same: ACTIVATE has to reach it */
    }
    if (e->p->piv && c->data.n >= 5 && memcmp(c->data.p, piv, 5) == 0) {
        emu_reset(e);
        e->piv_selected = true;
        return OK;
    }
    return NOT_FOUND;
}

static unsigned piv_command(struct emu *e, const struct cmd *c)
{
    if (c->ins != 0x20)
        return NO_INS;
    if (c->data.n > 0)
        e->wrong_applet_pins++;
    return c->p2 == 0x80 ? 0x63c3 : NO_REF;
}

static unsigned run(struct emu *e, const struct cmd *c, struct buf *out)
{
    uint8_t random[RANDOM_MAX];

    if (c->ins == 0xa4)
        return select_app(e, c);
    if (e->piv_selected)
        return piv_command(e, c);
    if (!e->selected)
        return NO_INS;
    if (e->terminated && c->ins != 0x44)
        return 0x6285;
    switch (c->ins) {
    case 0xca:
        return get_data(e, c, out);
    case 0xda:
        return put_data(e, c);
    case 0xdb:
        return import(e, c);
    case 0x20:
        return verify(e, c);
    case 0x24:
        return change_reference(e, c);
    case 0x2c:
        return reset_retry(e, c);
    case 0x47:
        return generate(e, c, out);
    case 0x2a:
        return pso(e, c, out);
    case 0x88:
        return c->p1 == 0 && c->p2 == 0 ? use_key(e, 2, &e->verified[1], c, out, false) : 0x6a86;
    case 0x84:
        if (!c->has_le || c->le > sizeof random)
            return LENGTH;
        RAND_bytes(random, (int)c->le);
        buf_put(out, random, c->le);
        return OK;
    case 0xe6:
        if (!e->verified[2] && !(e->tries[PW1] == 0 && e->tries[PW3] == 0))
            return NO_PIN;
        e->terminated = true;
        return OK;
    case 0x44:
        if (e->terminated)
            emu_factory(e);
        return OK;
    default:
        return NO_INS;
    }
}

/* Cases 1 to 4, short and extended (ISO 7816-4 5.1). */
static bool parse(struct emu *e, struct rd r, struct cmd *c, unsigned *sw)
{
    uint8_t lc;
    uint16_t len;

    *c = (struct cmd){0};
    *sw = LENGTH;
    if (rd_u8(&r, &c->cla) != 0 || rd_u8(&r, &c->ins) != 0 || rd_u8(&r, &c->p1) != 0 ||
        rd_u8(&r, &c->p2) != 0)
        return false;
    if (r.n == 0)
        return true;
    if (r.n == 1) {
        c->has_le = true;
        c->le = r.p[0] == 0 ? 256 : r.p[0];
        return true;
    }
    (void)rd_u8(&r, &lc);
    if (lc != 0) {
        if (rd_bytes(&r, lc, &c->data) != 0)
            return false;
    } else {
        if (!e->p->extended)
            return false;
        if (rd_u16(&r, &len) != 0)
            return false;
        if (r.n == 0) { /* case 2E */
            c->has_le = true;
            c->le = len == 0 ? 65536 : len;
            return true;
        }
        if (len == 0 || len > e->p->max_cmd || rd_bytes(&r, len, &c->data) != 0)
            return false;
        if (r.n == 2) {
            c->has_le = true;
            c->le = r.p[0] == 0 && r.p[1] == 0 ? 65536u : (size_t)r.p[0] << 8 | r.p[1];
            return true;
        }
    }
    if (r.n == 1) {
        c->has_le = true;
        c->le = r.p[0] == 0 ? 256 : r.p[0];
    }
    return r.n <= 1;
}

static void put_sw(struct buf *resp, unsigned sw)
{
    buf_put_u16(resp, (uint16_t)sw);
}

/* At most LE octets now, the rest by GET RESPONSE. */
static void answer(struct emu *e, struct buf *resp, size_t le)
{
    size_t n = e->pending.len < le ? e->pending.len : le, left;

    buf_put(resp, e->pending.data, n);
    left = e->pending.len - n;
    if (left > 0)
        memmove(e->pending.data, e->pending.data + n, left);
    e->pending.len = left;
    put_sw(resp, left == 0 ? OK : 0x6100u | (left > 255 ? 0 : (unsigned)left));
}

static void note(struct emu *e, struct rd cmd)
{
    char *line = e->log[e->nlog++ % 50];
    bool pin = cmd.n > 4 && (cmd.p[1] == 0x20 || cmd.p[1] == 0x24 || cmd.p[1] == 0x2c);
    size_t n = cmd.n < 24 ? cmd.n : 24;

    e->total++;
    if (cmd.n >= 2)
        e->by_ins[cmd.p[1]]++;
    if (pin && n > 5)
        n = 5;
    for (size_t i = 0; i < n; i++)
        snprintf(line + 2 * i, 3, "%02X", cmd.p[i]);
    line[2 * n] = '\0';
    if (n < cmd.n)
        strcat(line, "..");
}

/* Chained blocks are gathered; the last one carries the command out. False: answered already. */
static bool unchain(struct emu *e, struct cmd *c, struct buf *resp)
{
    uint8_t head[4] = {c->cla & 0xef, c->ins, c->p1, c->p2};

    if ((c->cla & 0x10) != 0) {
        if (!e->p->chaining) {
            put_sw(resp, 0x6884);
            return false;
        }
        if (!e->chaining_now)
            buf_reset(&e->chain);
        else if (memcmp(e->chain_head, head, 4) != 0) {
            e->chaining_now = false;
            put_sw(resp, 0x6883);
            return false;
        }
        memcpy(e->chain_head, head, 4);
        e->chaining_now = true;
        buf_put_rd(&e->chain, c->data);
        put_sw(resp, e->chain.len > 4096 ? LENGTH : OK);
        return false;
    }
    if (e->chaining_now) {
        e->chaining_now = false;
        if (memcmp(e->chain_head, head, 4) == 0) {
            buf_put_rd(&e->chain, c->data);
            c->data = buf_rd(&e->chain);
        }
    }
    return true;
}

static void put_garbage(struct buf *resp)
{
    uint8_t junk[64], n;

    RAND_bytes(junk, sizeof junk);
    n = junk[0] % 60;
    buf_put(resp, junk + 1, n);
}

bool emu_apdu(struct emu *e, struct rd cmd, struct buf *resp)
{
    struct cmd c;
    unsigned sw;

    note(e, cmd);
    if (cmd.n >= 2 && e->drop_ins == cmd.p[1])
        return false;
    if (e->delay_ms > 0) {
        struct timespec t = {.tv_sec = e->delay_ms / 1000,
                             .tv_nsec = (long)(e->delay_ms % 1000) * 1000000};

        pthread_mutex_unlock(&e->mutex);
        nanosleep(&t, NULL);
        pthread_mutex_lock(&e->mutex);
    }
    if (e->garbage) {
        put_garbage(resp);
        return true;
    }
    if (e->fail.n > 0 && cmd.n >= 2 && (e->fail.ins < 0 || e->fail.ins == cmd.p[1])) {
        e->fail.n--;
        put_sw(resp, e->fail.sw);
        return true;
    }
    if (!parse(e, cmd, &c, &sw)) {
        put_sw(resp, sw);
        return true;
    }
    if ((c.cla & 0xef) != 0) {
        put_sw(resp, NO_CLA);
        return true;
    }
    if (c.ins == 0xc0) {
        if (e->pending.len == 0)
            put_sw(resp, COND);
        else
            answer(e, resp, c.has_le ? c.le : 256);
        return true;
    }
    buf_reset(&e->pending);
    if (!unchain(e, &c, resp))
        return true;
    sw = run(e, &c, &e->pending);
    if (e->pulled)
        return false;
    if (sw != OK) {
        buf_reset(&e->pending);
        put_sw(resp, sw);
    } else {
        answer(e, resp, c.has_le ? c.le : 256);
    }
    return true;
}
