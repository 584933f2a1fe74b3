/* The card's side of each command. */
#include "tests/card/command.h"
#include "tests/card/fido.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TOUCH_CACHE_S = 15 };

/* What SELECT of the application makes new. */
static void new_session(struct emu *e)
{
    e->current_cert = 0;
    e->redirect[0] = 1;
    e->redirect[1] = 2;
}

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
    buf_put(&e->dos[DO_SEX], "9", 1);
    for (unsigned i = 0; i < KEY_SLOTS; i++)
        buf_reset(&e->certs[i]);
    memcpy(e->firmware, e->p->firmware, sizeof e->firmware);
    e->verified[0] = e->verified[1] = e->verified[2] = false;
    e->counter = 0;
    e->pw1_several = e->p->pw1_several;
    e->terminated = false;
    new_session(e);
}

void emu_reset(struct emu *e)
{
    fido_card_reset(e);
    emu_deselect(e);
}

void emu_deselect(struct emu *e)
{
    e->selected = e->piv_selected = false;
    e->verified[0] = e->verified[1] = e->verified[2] = false;
    piv_deselect(e);
    buf_reset(&e->chain);
    buf_reset(&e->pending);
    e->chaining_now = false;
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
bool emu_touched(struct emu *e, bool cached)
{
    struct timespec until;
    bool ok;

    if (e->touch_mode == TOUCH_AUTO)
        return true;
    if (cached && e->touched_at != 0 && time(NULL) - e->touched_at < TOUCH_CACHE_S)
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

/* What a reader's keypad would be: the person confirms on the screen, which is all the PIN that there is. */
static unsigned verify_on_screen(struct emu *e, const struct cmd *c)
{
    if (!e->selected || c->p2 < 0x81 || c->p2 > 0x83)
        return NO_REF;
    if (e->tries[c->p2 == 0x83 ? PW3 : PW1] == 0)
        return BLOCKED;
    e->verify_count++;
    e->verified[c->p2 - 0x81] = emu_touched(e, false);
    return e->verified[c->p2 - 0x81] ? OK : COND;
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
    if (k->uif != 0 && e->p->uif && !emu_touched(e, k->uif >= 3))
        return e->pulled ? 0 : e->p->manufacturer == 0x000f ? NO_PIN : 0x6600;
    sw = decipher ? emu_decipher(k, c->data, out) : emu_sign(k, c->data, out);
    return sw;
}

/* 7.2.18: the keys for DECIPHER and INTERNAL AUTHENTICATE may change places. */
static unsigned manage_security(struct emu *e, const struct cmd *c)
{
    if (!e->p->mse)
        return NO_INS;
    if (c->p1 != 0x41 || (c->p2 != 0xa4 && c->p2 != 0xb8))
        return 0x6a86;
    if (c->data.n != 3 || c->data.p[0] != 0x83 || c->data.p[1] != 1 || c->data.p[2] < 2 ||
        c->data.p[2] > 3)
        return BAD;
    e->redirect[c->p2 == 0xb8 ? 0 : 1] = c->data.p[2] - 1u;
    return OK;
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
        return use_key(e, e->redirect[0], &e->verified[1], c, out, true);
    return 0x6a86;
}

/* --- dispatch ------------------------------------------------------------------------------------------------------------------------------ */

static unsigned select_app(struct emu *e, const struct cmd *c, struct buf *out)
{
    static const uint8_t openpgp[] = {0xd2, 0x76, 0x00, 0x01, 0x24, 0x01},
                         piv[] = {0xa0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00};

    if (c->p1 != 0x04 || c->p2 != 0x00)
        return 0x6a86;
    if (!e->p->only_piv && c->data.n >= 6 && memcmp(c->data.p, openpgp, 6) == 0) {
        struct buf aid = BUF_INIT;
        bool fits;

        emu_put_aid(e, &aid);
        fits = c->data.n <= aid.len && memcmp(c->data.p, aid.data, c->data.n) == 0;
        buf_free(&aid);
        if (!fits)
            return NOT_FOUND;
        if (!e->p->select_keeps_pin || !e->selected)
            e->verified[0] = e->verified[1] = e->verified[2] = false;
        e->selected = true;
        e->piv_selected = false;
        piv_deselect(e);
        new_session(e);
        return e->terminated ? 0x6285 : OK; /* selected all the same: ACTIVATE has to reach it */
    }
    if (e->p->piv && c->data.n >= 5 && c->data.n <= sizeof piv &&
        memcmp(c->data.p, piv, c->data.n) == 0) {
        emu_reset(e);
        return piv_select(e, out);
    }
    return NOT_FOUND;
}

static unsigned run(struct emu *e, const struct cmd *c, struct buf *out)
{
    uint8_t random[RANDOM_MAX];

    if (c->ins == 0xa4)
        return select_app(e, c, out);
    if (e->piv_selected)
        return piv_run(e, c, out);
    if (!e->selected)
        return NO_INS;
    if (e->terminated && c->ins != 0x44)
        return 0x6285;
    switch (c->ins) {
    case 0xca:
        return emu_get_data(e, c, out);
    case 0xda:
        return emu_put_data(e, c);
    case 0xdb:
        return import(e, c);
    case 0x20:
        return emu_verify(e, c);
    case 0x24:
        return emu_change_reference(e, c);
    case 0x2c:
        return emu_reset_retry(e, c);
    case 0x47:
        return generate(e, c, out);
    case 0x2a:
        return pso(e, c, out);
    case 0x88:
        return c->p1 == 0 && c->p2 == 0 ? use_key(e, e->redirect[1], &e->verified[1], c, out, false)
                                        : 0x6a86;
    case 0x84:
        if (!c->has_le || c->le > sizeof random)
            return LENGTH;
        RAND_bytes(random, (int)c->le);
        buf_put(out, random, c->le);
        return OK;
    case 0xe6:
        if (!emu_life_cycle(e->p))
            return NO_INS;
        if (!e->verified[2] && !(e->tries[PW1] == 0 && e->tries[PW3] == 0))
            return NO_PIN;
        e->terminated = true;
        return OK;
    case 0x44:
        if (e->terminated)
            emu_factory(e);
        return emu_life_cycle(e->p) ? OK : NO_INS;
    case 0xa5:
        return emu_select_data(e, c);
    case 0x22:
        return manage_security(e, c);
    case 0xf1:
        if (e->firmware[0] == 0)
            return NO_INS;
        buf_put(out, e->firmware, sizeof e->firmware);
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
    n = (uint8_t)(1 + junk[0] % 60); /* vpcd waits for ever for one of nothing */
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
    if (fido_card_apdu(e, cmd, resp))
        return true;
    if (!parse(e, cmd, &c, &sw)) {
        put_sw(resp, sw);
        return true;
    }
    if (c.cla == 0xef && c.ins == 0x20 && e->p->asks_pin) {
        sw = verify_on_screen(e, &c);
        put_sw(resp, sw);
        return !e->pulled;
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
