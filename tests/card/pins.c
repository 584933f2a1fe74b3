/* VERIFY, CHANGE REFERENCE DATA, RESET RETRY COUNTER (7.2.2 to 7.2.4). */
#include "tests/card/command.h"

#include <string.h>

enum { SHORTEST = 6 };

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

unsigned emu_verify(struct emu *e, const struct cmd *c)
{
    int which = c->p2 == 0x83 ? PW3 : PW1, flag = c->p2 - 0x81;

    if (c->p2 < 0x81 || c->p2 > 0x83) {
        e->wrong_applet_pins += c->data.n > 0; /* PIV's */
        return NO_REF;
    }
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
    if (e->p->length_first && (c->data.n < SHORTEST || c->data.n > emu_pin_max(e->p)))
        return LENGTH;
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

static bool any_key(const struct emu *e)
{
    for (unsigned i = 0; i < KEY_SLOTS; i++)
        if (e->keys[i].pkey != NULL)
            return true;
    return false;
}

unsigned emu_change_reference(struct emu *e, const struct cmd *c)
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
    if (fresh.n < (which == PW1 ? 6u : 8u) || fresh.n > emu_pin_max(e->p))
        return LENGTH;
    if (e->p->pin_needs_key && which == PW1 && !any_key(e))
        return COND; /* the right PIN, all the same */
    e->tries[which] = 3;
    buf_reset(&e->pins[which]);
    buf_put_rd(&e->pins[which], fresh);
    return OK;
}

unsigned emu_reset_retry(struct emu *e, const struct cmd *c)
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
    if (fresh.n < 6 || fresh.n > emu_pin_max(e->p))
        return LENGTH;
    if (c->p1 == 0)
        e->tries[RC] = 3;
    e->tries[PW1] = 3;
    buf_reset(&e->pins[PW1]);
    buf_put_rd(&e->pins[PW1], fresh);
    return OK;
}
