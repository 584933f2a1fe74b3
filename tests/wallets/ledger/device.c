/* What every application answers, and the dashboard. ref: trezor-ledger 9. */
#include "tests/wallets/ledger/ledger.h"

#include <stdio.h>
#include <string.h>

enum { CLA_APP = 0x80, CLA_BOLOS = 0xb0, CLA_DASH = 0xe0 };
enum { INS_WHAT = 0x01, INS_QUIT = 0xa7, INS_OPEN = 0xd8 };
enum {
    OK = 0x9000,
    BAD_LENGTH = 0x6700,
    BAD_CLA = 0x6e00,
    BAD_INS = 0x6d00,
    BAD_NAME_LENGTH = 0x670a,
    NOT_INSTALLED = 0x6807,
    REFUSED_THERE = 0x5501
};

static bool runs(const struct device *d, const char *app)
{
    return strcmp(d->app, app) == 0;
}

void device_ask(struct device *d, enum question what, const char *line1, const char *line2)
{
    buf_free(&d->prompt.data);
    d->prompt = (struct prompt){.what = what};
    snprintf(d->prompt.screen[0], sizeof d->prompt.screen[0], "%s", line1);
    snprintf(d->prompt.screen[1], sizeof d->prompt.screen[1], "%s", line2);
    d->prompts++;
}

void device_run(struct device *d, const char *app)
{
    buf_free(&d->prompt.data);
    d->prompt = (struct prompt){0};
    buf_free(&d->gathering.data);
    d->gathering = (struct gathering){0};
    if (app != d->app)
        snprintf(d->app, sizeof d->app, "%s", app);
    d->replug = true;
}

static void put_name(struct buf *data, const char *s)
{
    buf_put_u8(data, (uint8_t)strlen(s));
    buf_put(data, s, strlen(s));
}

static unsigned tell_app(const struct device *d, struct buf *data)
{
    char version[40] = "2.7.1";

    if (runs(d, DASHBOARD))
        snprintf(version, sizeof version, "1.3.1");
    else if (runs(d, APP_NAME))
        snprintf(version, sizeof version, "%u.%u.%u", d->version[0], d->version[1], d->version[2]);
    buf_put_u8(data, 1);
    put_name(data, d->app);
    put_name(data, version);
    if (!runs(d, DASHBOARD)) {
        buf_put_u8(data, 1);
        buf_put_u8(data, 0);
    }
    return OK;
}

static unsigned ask_open(struct device *d, struct rd name)
{
    char line[64];

    if (name.n == 0 || name.n > 32)
        return BAD_NAME_LENGTH;
    if (!d->installed || !rd_is(name, APP_NAME))
        return NOT_INSTALLED;
    snprintf(line, sizeof line, "%.*s", (int)name.n, (const char *)name.p);
    device_ask(d, ASK_OPEN, "Open app", line);
    return NO_ANSWER;
}

static unsigned run_command(struct device *d, struct rd apdu, struct buf *data)
{
    uint8_t cla = 0, ins = 0, p1 = 0, p2 = 0, lc = 0;

    if (d->locked)
        return d->locked_sw;
    if (rd_u8(&apdu, &cla) != 0 || rd_u8(&apdu, &ins) != 0 || rd_u8(&apdu, &p1) != 0 ||
        rd_u8(&apdu, &p2) != 0 || rd_u8(&apdu, &lc) != 0 || apdu.n != lc)
        return BAD_LENGTH;
    if (cla == CLA_BOLOS && ins == INS_WHAT)
        return tell_app(d, data);
    if (cla == CLA_BOLOS && ins == INS_QUIT) {
        device_run(d, DASHBOARD);
        return OK;
    }
    if (runs(d, DASHBOARD)) {
        if (cla != CLA_DASH)
            return d->no_app_sw;
        return ins == INS_OPEN ? ask_open(d, apdu) : BAD_INS;
    }
    if (cla != CLA_APP || !runs(d, APP_NAME))
        return BAD_CLA;
    return app_command(d, ins, p1, p2, apdu, data);
}

unsigned device_command(struct device *d, struct rd apdu, struct buf *data)
{
    unsigned sw;

    d->commands++;
    /* What a real one does with it nobody knows: no host may do so. */
    if (d->prompt.what != ASK_NOTHING) {
        d->intruders++;
        return NO_ANSWER;
    }
    if (d->mute > 0) {
        d->mute--;
        return NO_ANSWER;
    }
    sw = run_command(d, apdu, data);
    if (d->prompt.what != ASK_NOTHING && d->person != 0)
        sw = device_decided(d, d->person > 0, data);
    return sw;
}

unsigned device_decided(struct device *d, bool yes, struct buf *data)
{
    bool opens = d->prompt.what == ASK_OPEN;
    unsigned sw = opens ? (yes ? OK : REFUSED_THERE) : app_decided(d, yes, data);

    buf_free(&d->prompt.data);
    d->prompt = (struct prompt){0};
    if (opens && yes)
        device_run(d, APP_NAME);
    return sw;
}
