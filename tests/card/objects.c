/* Data objects: GET DATA, PUT DATA, SELECT DATA (4.4, 7.2.5 to 7.2.9 of the specification). */
#include "tests/card/command.h"

#include <string.h>

/* --- data objects -------------------------------------------------------------------------------------------------------------------- */

void emu_put_aid(const struct emu *e, struct buf *b)
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
    if (e->terminated && emu_life_cycle(e->p) && b->len >= 3)
        b->data[b->len - 3] = 0x03; /* initialisation state */
}

static void put_c4(const struct emu *e, struct buf *b)
{
    buf_put_u8(b, e->pw1_several);
    for (int i = 0; i < 3; i++)
        buf_put_u8(b, (uint8_t)emu_pin_max(e->p));
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

/* Where the octets of an object are that the card only keeps; -1: none of these. */
static int text_of(unsigned tag)
{
    static const unsigned tags[] = {
        [DO_LOGIN] = 0x5e,      [DO_NAME] = 0x5b,       [DO_LANG] = 0x5f2d,
        [DO_SEX] = 0x5f35,      [DO_URL] = 0x5f50,      [DO_KDF] = 0xf9,
        [DO_PRIVATE1] = 0x0101, [DO_PRIVATE2] = 0x0102, [DO_PRIVATE3] = 0x0103,
        [DO_PRIVATE4] = 0x0104};

    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++)
        if (tags[i] == tag)
            return (int)i;
    return -1;
}

/* The content of a simple object of the application; false: there is none. */
static bool put_simple(const struct emu *e, unsigned tag, struct buf *b)
{
    const uint8_t caps[10] = {
        (uint8_t)(0x74 | (e->p->kdf ? 1 : 0) | (e->p->private_objects ? 8 : 0)),
        0,
        0,
        RANDOM_MAX,
        CERT_MAX >> 8,
        CERT_MAX & 0xff,
        0x00,
        SPECIAL_MAX,
        0x01,
        e->p->mse};
    static const uint8_t button = 0x20;

    switch (tag) {
    case 0x4f:
        emu_put_aid(e, b);
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
    case 0x5f50:
        buf_put_rd(b, buf_rd(&e->dos[text_of(tag)]));
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
        return e->p->extended || e->p->brief_6e;
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
    if (!e->p->brief_6e)
        put_do(e, &all, 0x5f52);
    put_do(e, &all, 0x7f66);
    if (!e->p->brief_6e)
        put_do(e, &all, 0x7f74);
    for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++)
        if (inner[i] <= 0xcd || (!e->p->brief_6e && (inner[i] == 0xde || e->p->version[0] >= 3)))
            put_do(e, &d, inner[i]);
    buf_put_tlv(&all, 0x73, d.data, d.len);
    if (e->p->outer_tag)
        buf_put_tlv(out, 0x6e, all.data, all.len);
    else
        buf_put_rd(out, buf_rd(&all));
    buf_free(&d);
    buf_free(&all);
}

/* Private objects: 1 and 2 for anybody, 3 for who knows PW1, 4 for who knows PW3. */
static unsigned get_private(const struct emu *e, unsigned tag, struct buf *out)
{
    if (!e->p->private_objects)
        return NO_REF;
    if ((tag == 0x0103 && !e->verified[1]) || (tag == 0x0104 && !e->verified[2]))
        return NO_PIN;
    buf_put_rd(out, buf_rd(&e->dos[text_of(tag)]));
    return OK;
}

unsigned emu_get_data(struct emu *e, const struct cmd *c, struct buf *out)
{
    unsigned tag = (unsigned)c->p1 << 8 | c->p2;
    const uint8_t count[3] = {(uint8_t)(e->counter >> 16), (uint8_t)(e->counter >> 8),
                              (uint8_t)e->counter};

    if (c->data.n > 0)
        return LENGTH;
    switch (tag) {
    case 0x6e:
        put_6e(e, out);
        return OK;
    case 0x7a:
        buf_put_tlv(out, 0x93, count, 3);
        return OK;
    case 0x65:
        buf_put_tlv(out, 0x5b, e->dos[DO_NAME].data, e->dos[DO_NAME].len);
        buf_put_tlv(out, 0x5f2d, e->dos[DO_LANG].data, e->dos[DO_LANG].len);
        buf_put_tlv(out, 0x5f35, e->dos[DO_SEX].data, e->dos[DO_SEX].len);
        return OK;
    case 0x7f21:
        buf_put_rd(out, buf_rd(&e->certs[e->current_cert]));
        return OK;
    case 0x0101:
    case 0x0102:
    case 0x0103:
    case 0x0104:
        return get_private(e, tag, out);
    default:
        if (e->p->brief_6e && tag >= 0xc0 && tag <= 0xc3)
            return NO_REF;
        return put_simple(e, tag, out) ? OK : NO_REF;
    }
}

/* Only the certificates occur more than once. */
unsigned emu_select_data(struct emu *e, const struct cmd *c)
{
    static const uint8_t path[] = {0x06, 0x60, 0x04, 0x5c, 0x02, 0x7f, 0x21};
    struct rd wanted =
        e->p->long_select_data ? rd_of(path, sizeof path) : rd_of(path + 1, sizeof path - 1);

    if (e->p->version[0] < 3)
        return NO_INS;
    if (c->p2 != 0x04)
        return 0x6a86;
    if (!rd_eq(c->data, wanted))
        return BAD;
    if (c->p1 >= KEY_SLOTS)
        return NO_REF;
    e->current_cert = c->p1;
    return OK;
}

static unsigned set_attr(const struct emu *e, struct emu_key *k, unsigned slot, struct rd v)
{
    const struct emu_algo *a;

    if (v.n > sizeof k->attr)
        return LENGTH;
    if (v.n > 1 && v.p[0] != 1 && v.p[v.n - 1] == 0xff)
        v.n--;
    a = emu_algo_by_attr(v.p, v.n);
    if (a == NULL || !emu_slot_takes(e->p, slot, a))
        return BAD;
    EVP_PKEY_free(k->pkey);
    EVP_PKEY_free(k->shown);
    *k = (struct emu_key){.uif = k->uif};
    /* What it wants of an RSA key is its own decision. */
    k->attr_len = emu_attributes(e->p, slot, a, k->attr);
    return OK;
}

static bool has_length(struct rd v, unsigned tag, size_t n)
{
    struct rd x;

    return rd_tlv_find(v, tag, &x) == 0 && x.n == n;
}

/* 4.3.2. With hashes in it the PINs become these. */
static unsigned put_kdf(struct emu *e, struct rd v)
{
    struct rd algo, hash, h;
    size_t n;

    if (!e->p->kdf)
        return NO_REF;
    for (unsigned i = 0; e->p->kdf_before_keys && i < KEY_SLOTS; i++)
        if (e->keys[i].pkey != NULL)
            return COND;
    if (v.n > 0) {
        if (rd_tlv_find(v, 0x81, &algo) != 0 || algo.n != 1 || (algo.p[0] != 0 && algo.p[0] != 3))
            return BAD;
        if (algo.p[0] == 3) {
            if (rd_tlv_find(v, 0x82, &hash) != 0 || hash.n != 1 ||
                (hash.p[0] != 8 && hash.p[0] != 10))
                return BAD;
            n = hash.p[0] == 8 ? 32 : 64;
            if (!has_length(v, 0x83, 4) || !has_length(v, 0x84, 8) || !has_length(v, 0x87, n) ||
                !has_length(v, 0x88, n))
                return BAD;
        }
    }
    buf_reset(&e->dos[DO_KDF]);
    buf_put_rd(&e->dos[DO_KDF], v);
    for (int i = 0; i < 2; i++)
        if (rd_tlv_find(v, 0x87u + (unsigned)i, &h) == 0) {
            buf_reset(&e->pins[i == 0 ? PW1 : PW3]);
            buf_put_rd(&e->pins[i == 0 ? PW1 : PW3], h);
        }
    return OK;
}

static unsigned put_text(struct emu *e, unsigned tag, struct rd v)
{
    static const struct {
        unsigned tag;
        size_t min, max;
    } limits[] = {{0x5b, 0, 39}, {0x5f2d, 0, 8}, {0x5f35, 1, 1}};
    size_t min = 0, max = SPECIAL_MAX;

    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        if (limits[i].tag == tag) {
            min = limits[i].min;
            max = limits[i].max;
        }
    if (v.n < min || v.n > max)
        return LENGTH;
    if ((tag == 0x5f35 && memchr("0129", v.p[0], 4) == NULL) || (tag == 0x5f2d && v.n % 2 != 0))
        return BAD;
    buf_reset(&e->dos[text_of(tag)]);
    buf_put_rd(&e->dos[text_of(tag)], v);
    return OK;
}

static unsigned put_fingerprint(uint8_t fpr[20], struct rd v)
{
    if (v.n != 20)
        return LENGTH;
    memcpy(fpr, v.p, 20);
    return OK;
}

static unsigned put_uif(const struct emu *e, struct emu_key *k, struct rd v)
{
    if (!e->p->uif)
        return NO_REF;
    if (v.n != 2 || v.p[0] > (e->p->touch_cache ? 4 : 2))
        return BAD;
    if (k->uif == 2 || k->uif == 4)
        return COND;
    k->uif = v.p[0];
    return OK;
}

static unsigned put_reset_code(struct emu *e, struct rd v)
{
    if (v.n > 0 && (v.n < 8 || v.n > emu_pin_max(e->p)))
        return LENGTH;
    buf_reset(&e->pins[RC]);
    buf_put_rd(&e->pins[RC], v);
    e->tries[RC] = v.n > 0 ? 3 : 0;
    return OK;
}

static unsigned put_cert(struct emu *e, struct rd v)
{
    struct buf *cert = &e->certs[e->current_cert];

    if (v.n > CERT_MAX)
        return LENGTH;
    buf_reset(cert);
    buf_put_rd(cert, v);
    return OK;
}

unsigned emu_put_data(struct emu *e, const struct cmd *c)
{
    unsigned tag = (unsigned)c->p1 << 8 | c->p2;
    bool by_pw1 = tag == 0x0101 || tag == 0x0103;
    struct rd v = c->data;

    if (!e->verified[by_pw1 ? 1 : 2])
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
        return put_fingerprint(e->keys[tag - 0xc7].fpr, v);
    case 0xca:
    case 0xcb:
    case 0xcc:
        return put_fingerprint(e->keys[tag - 0xca].ca_fpr, v);
    case 0xce:
    case 0xcf:
    case 0xd0:
        return rd_u32(&v, &e->keys[tag - 0xce].created) == 0 && v.n == 0 ? OK : LENGTH;
    case 0xd6:
    case 0xd7:
    case 0xd8:
        return put_uif(e, &e->keys[tag - 0xd6], v);
    case 0xd3:
        return put_reset_code(e, v);
    case 0xf9:
        return put_kdf(e, v);
    case 0x7f21:
        return put_cert(e, v);
    case 0x5b:
    case 0x5e:
    case 0x5f2d:
    case 0x5f35:
    case 0x5f50:
        return put_text(e, tag, v);
    case 0x0101:
    case 0x0102:
    case 0x0103:
    case 0x0104:
        return e->p->private_objects ? put_text(e, tag, v) : NO_REF;
    default:
        return NO_REF;
    }
}
