/* PIV: SELECT, data objects, PIN and PUK. */
#include "tests/card/command.h"

#include <string.h>

enum { PIN, PUK, TOTAL = 3 };

static const uint8_t aid[] = {0xa0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00};

int piv_slot_index(uint8_t ref)
{
    static const uint8_t first[] = {0x9a, 0x9c, 0x9d, 0x9e};

    for (int i = 0; i < 4; i++)
        if (first[i] == ref)
            return i;
    return ref >= 0x82 && ref <= 0x95 ? 4 + ref - 0x82 : ref == 0xf9 ? 24 : -1;
}

uint32_t piv_certificate_id(int slot)
{
    static const uint32_t first[] = {0x5fc105, 0x5fc10a, 0x5fc10b, 0x5fc101};

    return slot < 4 ? first[slot] : slot == 24 ? 0x5fff01 : 0x5fc10du + (uint32_t)slot - 4;
}

bool piv_is_at_least(const struct emu *e, uint8_t major, uint8_t minor)
{
    const uint8_t *v = e->piv.version;

    return e->piv.extensions && (v[0] > major || (v[0] == major && v[1] >= minor));
}

struct buf *piv_object(struct emu *e, uint32_t id, bool make)
{
    struct piv_emu *p = &e->piv;

    for (size_t i = 0; i < PIV_OBJECTS; i++) {
        if (p->objects[i].id == id)
            return &p->objects[i].value;
        if (p->objects[i].id == 0) {
            if (!make)
                return NULL;
            p->objects[i].id = id;
            return &p->objects[i].value;
        }
    }
    return NULL;
}

void piv_set_secret(struct emu *e, int which, const char *text)
{
    memset(e->piv.secrets[which], 0xff, PIV_PIN_OCTETS);
    memcpy(e->piv.secrets[which], text, strlen(text) < 8 ? strlen(text) : 8);
}

static void put_chuid(struct emu *e)
{
    static const uint8_t fascn[25] = {0xd4, 0xe7}, expiry[] = "20350101";
    struct buf *b = piv_object(e, 0x5fc102, true);

    buf_reset(b);
    buf_put_tlv(b, 0x30, fascn, sizeof fascn);
    buf_put_tlv(b, 0x34, e->piv.guid, sizeof e->piv.guid);
    buf_put_tlv(b, 0x35, expiry, 8);
    buf_put_tlv(b, 0x3e, NULL, 0);
    buf_put_tlv(b, 0xfe, NULL, 0);
}

void piv_set_guid(struct emu *e, const uint8_t guid[16])
{
    memcpy(e->piv.guid, guid, sizeof e->piv.guid);
    put_chuid(e);
}

void piv_factory(struct emu *e)
{
    static const uint8_t mgm[] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct piv_emu *p = &e->piv;

    for (int i = 0; i < PIV_SLOTS - 1; i++) { /* the attestation key stays */
        EVP_PKEY_free(p->keys[i].key.pkey);
        EVP_PKEY_free(p->keys[i].key.shown);
        p->keys[i] = (struct piv_key){0};
    }
    for (size_t i = 0; i < PIV_OBJECTS; i++) {
        buf_free(&p->objects[i].value);
        p->objects[i].id = 0;
    }
    memcpy(p->version, e->p->piv_version, sizeof p->version);
    p->extensions = p->version[0] != 0;
    memcpy(p->guid, "latchkey-test\0\0\1", sizeof p->guid);
    memcpy(p->guid + 12, e->serial, sizeof e->serial);
    /* A fresh YubiKey has none. */
    if (!p->extensions)
        put_chuid(e);
    piv_set_secret(e, PIN, "123456");
    piv_set_secret(e, PUK, "12345678");
    for (int i = 0; i < 2; i++) {
        p->tries[i] = p->total[i] = TOTAL;
        p->changed[i] = false;
    }
    for (size_t i = 0; i < 24; i++)
        p->mgm[i] = mgm[i % 8];
    p->mgm_len = 24;
    p->mgm_changed = false;
    p->mgm_alg = piv_is_at_least(e, 5, 7) ? 0x0a : 0x03;
    piv_deselect(e);
    if (piv_is_at_least(e, 4, 3) && p->keys[24].key.pkey == NULL)
        (void)piv_add_key(e, "F9=nistp256", -1);
}

void piv_deselect(struct emu *e)
{
    e->piv.verified = e->piv.fresh = e->piv.managed = false;
    e->piv.challenge_len = e->piv.witness_len = 0;
}

unsigned piv_select(struct emu *e, struct buf *out)
{
    struct buf body = BUF_INIT, rid = BUF_INIT;

    piv_deselect(e);
    e->selected = false;
    e->piv_selected = true;
    buf_put_tlv(&rid, 0x4f, aid, 5);
    buf_put_tlv(&body, 0x4f, aid + 5, 6);
    buf_put_tlv(&body, 0x79, rid.data, rid.len);
    buf_put_tlv(out, 0x61, body.data, body.len);
    buf_free(&body);
    buf_free(&rid);
    return OK;
}

/* --- data objects --------------------------------------------------------------------------------------------------- */

/* "5C LEN ID"; R is what follows. */
static bool object_id(struct rd *r, uint32_t *id)
{
    struct rd list;
    uint32_t tag;

    if (rd_tlv(r, &tag, &list) != 0 || tag != 0x5c || (list.n != 1 && list.n != 3))
        return false;
    *id = 0;
    for (size_t i = 0; i < list.n; i++)
        *id = *id << 8 | list.p[i];
    return true;
}

static unsigned discovery(struct emu *e, struct buf *out)
{
    const uint8_t policy[2] = {e->piv.global_pin ? 0x60 : 0x40, e->piv.global_pin ? 0x20 : 0x00};
    struct buf body = BUF_INIT;

    buf_put_tlv(&body, 0x4f, aid, sizeof aid);
    buf_put_tlv(&body, 0x5f2f, policy, 2);
    buf_put_tlv(out, 0x7e, body.data, body.len);
    buf_free(&body);
    return OK;
}

static unsigned get_data(struct emu *e, const struct cmd *c, struct buf *out)
{
    struct rd r = c->data;
    uint32_t id;
    const struct buf *b;

    if (c->p1 != 0x3f || c->p2 != 0xff)
        return 0x6a86;
    if (!object_id(&r, &id) || r.n != 0)
        return BAD;
    if (id == 0x7e)
        return discovery(e, out);
    if ((id == 0x5fc103 || id == 0x5fc108 || id == 0x5fc109 || id == 0x5fc121) && !e->piv.verified)
        return NO_PIN;
    b = piv_object(e, id, false);
    if (b == NULL || b->len == 0)
        return NOT_FOUND;
    buf_put_tlv(out, 0x53, b->data, b->len);
    return OK;
}

static unsigned put_data(struct emu *e, const struct cmd *c)
{
    struct rd r = c->data, value;
    uint32_t id, tag;
    struct buf *b;

    if (c->p1 != 0x3f || c->p2 != 0xff)
        return 0x6a86;
    if (!e->piv.managed)
        return NO_PIN;
    if (!object_id(&r, &id) || rd_tlv(&r, &tag, &value) != 0 || tag != 0x53 || r.n != 0)
        return BAD;
    b = piv_object(e, id, true);
    if (b == NULL)
        return 0x6a84;
    buf_reset(b);
    buf_put_rd(b, value);
    return OK;
}

/* --- PIN and PUK ---------------------------------------------------------------------------------------------------- */

static unsigned refused(struct emu *e, int which)
{
    if (e->piv.tries[which] > 0)
        e->piv.tries[which]--;
    if (which == PIN)
        e->piv.verified = false;
    return e->piv.tries[which] == 0 ? BLOCKED : 0x63c0u | (unsigned)e->piv.tries[which];
}

static bool is_right(const struct emu *e, int which, struct rd given)
{
    return e->imposter || memcmp(e->piv.secrets[which], given.p, PIV_PIN_OCTETS) == 0;
}

/* Six octets at least, padded by FF to eight. */
static bool is_padded(struct rd given)
{
    size_t n = 0;

    while (n < given.n && given.p[n] != 0xff)
        n++;
    for (size_t i = n; i < given.n; i++)
        if (given.p[i] != 0xff)
            return false;
    return n >= 6;
}

static unsigned verify(struct emu *e, const struct cmd *c)
{
    struct piv_emu *p = &e->piv;

    if (c->p2 >= 0x81 && c->p2 <= 0x83 && c->data.n > 0)
        e->wrong_applet_pins++; /* OpenPGP's */
    if (c->p2 != 0x80 && !(c->p2 == 0x00 && p->global_pin))
        return NO_REF;
    if (c->p1 == 0xff) {
        if (!e->p->piv_unverify)
            return 0x6a86;
        p->verified = false;
        return c->data.n == 0 ? OK : LENGTH;
    }
    if (c->p1 != 0)
        return 0x6a86;
    if (c->data.n == 0)
        return p->tries[PIN] == 0 ? BLOCKED : p->verified ? OK : 0x63c0u | (unsigned)p->tries[PIN];
    e->verify_count++;
    if (c->data.n != PIV_PIN_OCTETS)
        return BAD;
    if (p->tries[PIN] == 0)
        return BLOCKED;
    if (!is_right(e, PIN, c->data))
        return refused(e, PIN);
    p->tries[PIN] = p->total[PIN];
    p->verified = p->fresh = true;
    return OK;
}

static unsigned change_reference(struct emu *e, const struct cmd *c)
{
    int which = c->p2 == 0x81 ? PUK : PIN;

    if (c->p1 != 0 || (c->p2 != 0x80 && c->p2 != 0x81 && !(c->p2 == 0 && e->piv.global_pin)))
        return NO_REF;
    if (c->data.n != 2 * PIV_PIN_OCTETS)
        return BAD;
    if (e->piv.tries[which] == 0)
        return BLOCKED;
    if (!is_right(e, which, c->data))
        return refused(e, which);
    e->piv.tries[which] = e->piv.total[which];
    if (!is_padded(rd_of(c->data.p + PIV_PIN_OCTETS, PIV_PIN_OCTETS)))
        return piv_is_at_least(e, 5, 7) ? COND : BAD;
    memcpy(e->piv.secrets[which], c->data.p + PIV_PIN_OCTETS, PIV_PIN_OCTETS);
    e->piv.changed[which] = true;
    return OK;
}

static unsigned reset_retry(struct emu *e, const struct cmd *c)
{
    if (c->p1 != 0 || (c->p2 != 0x80 && !(c->p2 == 0 && e->piv.global_pin)))
        return NO_REF;
    if (c->data.n != 2 * PIV_PIN_OCTETS)
        return BAD;
    if (e->piv.tries[PUK] == 0)
        return BLOCKED;
    if (!is_right(e, PUK, c->data))
        return refused(e, PUK);
    e->piv.tries[PUK] = e->piv.total[PUK];
    if (!is_padded(rd_of(c->data.p + PIV_PIN_OCTETS, PIV_PIN_OCTETS)))
        return BAD;
    memcpy(e->piv.secrets[PIN], c->data.p + PIV_PIN_OCTETS, PIV_PIN_OCTETS);
    e->piv.tries[PIN] = e->piv.total[PIN];
    e->piv.changed[PIN] = true;
    return OK;
}

static unsigned set_tries(struct emu *e, const struct cmd *c)
{
    if (!e->piv.managed || !e->piv.verified)
        return NO_PIN;
    if (c->p1 == 0 || c->p2 == 0 || c->data.n != 0)
        return 0x6a86;
    e->piv.tries[PIN] = e->piv.total[PIN] = c->p1;
    e->piv.tries[PUK] = e->piv.total[PUK] = c->p2;
    piv_set_secret(e, PIN, "123456");
    piv_set_secret(e, PUK, "12345678");
    e->piv.changed[PIN] = e->piv.changed[PUK] = false;
    return OK;
}

/* --- dispatch ------------------------------------------------------------------------------------------------------- */

static unsigned yubico(struct emu *e, const struct cmd *c, struct buf *out)
{
    switch (c->ins) {
    case 0xfd:
        buf_put(out, e->piv.version, 3);
        return OK;
    case 0xf8:
        if (!piv_is_at_least(e, 5, 0))
            return NO_INS;
        buf_put(out, e->serial, 4);
        return OK;
    case 0xf7:
        return piv_is_at_least(e, 5, 3) ? piv_metadata(e, c, out) : NO_INS;
    case 0xf9:
        return piv_is_at_least(e, 4, 3) ? piv_attest(e, c, out) : NO_INS;
    case 0xf6:
        return piv_is_at_least(e, 5, 7) ? piv_move(e, c) : NO_INS;
    case 0xfa:
        return set_tries(e, c);
    case 0xfb:
        if (e->piv.tries[PIN] != 0 || e->piv.tries[PUK] != 0)
            return COND;
        piv_factory(e);
        return OK;
    case 0xfe:
        return piv_import(e, c);
    case 0xff:
        return piv_set_management(e, c);
    default:
        return NO_INS;
    }
}

unsigned piv_run(struct emu *e, const struct cmd *c, struct buf *out)
{
    bool fresh = e->piv.fresh;
    unsigned sw;

    switch (c->ins) {
    case 0x20:
        e->piv.fresh = false;
        return verify(e, c);
    case 0x24:
        sw = change_reference(e, c);
        break;
    case 0x2c:
        sw = reset_retry(e, c);
        break;
    case 0xcb:
        sw = get_data(e, c, out);
        break;
    case 0xdb:
        sw = put_data(e, c);
        break;
    case 0x47:
        sw = piv_generate(e, c, out);
        break;
    case 0x87:
        e->piv.fresh = fresh;
        sw = piv_general_authenticate(e, c, out);
        break;
    default:
        sw = e->piv.extensions ? yubico(e, c, out) : NO_INS;
        break;
    }
    e->piv.fresh = false;
    return sw;
}
