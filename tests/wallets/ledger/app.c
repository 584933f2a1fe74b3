/* The SSH/PGP Agent. ref: trezor-ledger 10. */
#include "tests/wallets/ledger/ledger.h"

#include "tests/wallets/slip10.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

enum {
    PUBLIC_KEY = 0x02,
    SIGN_SSH = 0x04,
    SIGN_GENERIC = 0x06,
    SIGN_DIRECT = 0x08,
    ECDH = 0x0a,
    QUIT = 0xff
};
enum {
    OK = 0x9000,
    BAD_LENGTH = 0x6700,
    BAD_DATA = 0x6a80,
    BAD_PATH = 0x6a15,
    BAD_P1P2 = 0x6b00,
    BAD_INS = 0x6d00,
    REFUSED = 0x6985,
    FAILED = 0x6f00
};

#define P1_NEXT     0x01u
#define P1_LAST     0x80u
#define P2_WITH_KEY 0x80u
#define ED25519_MAX 255u
#define LINE        20u /* characters of a user's name that are shown */

static bool app_is_old(const struct device *d)
{
    return d->version[0] == 0 && d->version[1] == 0 && d->version[2] <= 7;
}

static unsigned read_path(struct rd *r, struct path *p)
{
    uint8_t n;

    p->n = 0;
    if (rd_u8(r, &n) != 0 || n == 0 || n > MAX_PATH)
        return BAD_DATA;
    while (p->n < n)
        if (rd_u32(r, &p->at[p->n++]) != 0)
            return BAD_DATA;
    return OK;
}

/* Its manifest: 13', 17', 44'/535348'. */
static bool path_allowed(const struct path *p)
{
    uint32_t first = p->at[0] - SLIP10_HARDENED;

    return first == 13 || first == 17 ||
           (first == 44 && p->n > 1 && p->at[1] == 535348 + SLIP10_HARDENED);
}

static void forget(struct device *d)
{
    buf_free(&d->gathering.data);
    d->gathering = (struct gathering){0};
}

static void ask(struct device *d, enum question what, enum curve c, const struct path *p,
                const char *line1, const char *line2)
{
    device_ask(d, what, line1, line2);
    d->prompt.curve = c;
    d->prompt.path = *p;
}

static unsigned public_key(struct device *d, uint8_t p1, uint8_t p2, struct rd body)
{
    struct path p;
    unsigned sw;

    if (p1 != 0 || (p2 != CURVE_P256 && p2 != CURVE_ED25519))
        return BAD_P1P2;
    sw = read_path(&body, &p);
    if (sw != OK || rd_end(&body) != 0)
        return BAD_DATA;
    if (!path_allowed(&p))
        return BAD_PATH;
    ask(d, ASK_PUBLIC_KEY, p2, &p, "Provide", "public key?");
    return NO_ANSWER;
}

/* --- signatures over many commands ------------------------------------------------------------------------------------------ */

/* How a login request goes on: strings, with an octet after the first and the fourth. */
enum extent { SHORT, EXACT, LONG, BROKEN };

static enum extent read_login(struct rd r, unsigned want, struct rd *user)
{
    for (unsigned n = 0; r.n > 0; n++) {
        struct rd s;
        uint8_t c;

        if (want != 0 && n == want)
            return LONG;
        if (rd_string(&r, &s) != 0 || ((n == 0 || n == 3) && rd_u8(&r, &c) != 0))
            return SHORT;
        if (n == 1)
            *user = s;
        if (r.n == 0)
            return want == 0 ? (n >= 3 ? EXACT : BROKEN) : n + 1 == want ? EXACT : SHORT;
    }
    return SHORT;
}

static unsigned ask_ssh(struct device *d, struct rd user)
{
    struct gathering *g = &d->gathering;
    char name[LINE + 1];

    snprintf(name, sizeof name, "%.*s", (int)(user.n < LINE ? user.n : LINE), (const char *)user.p);
    ask(d, ASK_SIGN, g->curve, &g->path, "Connect SSH user", name);
    d->prompt.with_key = g->with_key;
    SHA256(g->data.data, g->data.len, d->prompt.digest);
    if (g->curve == CURVE_ED25519)
        buf_put_rd(&d->prompt.data, buf_rd(&g->data));
    forget(d);
    return NO_ANSWER;
}

/* What comes first names the key. */
static unsigned begin(struct device *d, uint8_t ins, uint8_t p2, struct rd *body)
{
    struct gathering *g = &d->gathering;
    struct path p;
    unsigned sw;

    forget(d);
    sw = read_path(body, &p);
    if (sw != OK)
        return sw;
    if (!path_allowed(&p))
        return BAD_PATH;
    *g = (struct gathering){.ins = ins, .path = p, .with_key = (p2 & P2_WITH_KEY) != 0};
    g->curve = (p2 & ~P2_WITH_KEY) == CURVE_P256 ? CURVE_P256 : CURVE_ED25519;
    return OK;
}

static unsigned gather(struct device *d, uint8_t ins, uint8_t p1, uint8_t p2, struct rd body)
{
    uint8_t curve = (uint8_t)(p2 & ~P2_WITH_KEY);
    unsigned sw = OK;

    if ((p1 & ~(P1_NEXT | P1_LAST)) != 0 || (curve != CURVE_P256 && curve != CURVE_ED25519))
        return BAD_P1P2;
    if ((p1 & P1_NEXT) == 0)
        sw = begin(d, ins, p2, &body);
    else if (d->gathering.ins != ins || d->gathering.curve != (enum curve)curve)
        sw = BAD_DATA;
    if (sw == OK)
        buf_put_rd(&d->gathering.data, body);
    return sw;
}

static unsigned sign_ssh(struct device *d, uint8_t p1, uint8_t p2, struct rd body)
{
    struct rd user = rd_of(NULL, 0);
    enum extent e;
    unsigned sw;

    if (app_is_old(d) && (p1 & P1_LAST) != 0)
        return BAD_P1P2;
    sw = gather(d, SIGN_SSH, p1, p2, body);
    if (sw == OK && d->gathering.curve == CURVE_ED25519 && d->gathering.data.len > ED25519_MAX)
        sw = BAD_DATA;
    if (sw != OK) {
        if (sw != BAD_P1P2)
            forget(d);
        return sw;
    }
    e = read_login(buf_rd(&d->gathering.data), app_is_old(d) ? 6 : 0, &user);
    if (app_is_old(d) && e == SHORT)
        return OK;
    if (!app_is_old(d) && (p1 & P1_LAST) == 0)
        return OK;
    if (e == EXACT)
        return ask_ssh(d, user);
    forget(d);
    return BAD_DATA;
}

static unsigned sign_generic(struct device *d, uint8_t p1, uint8_t p2, struct rd body)
{
    struct gathering *g = &d->gathering;
    unsigned sw;

    if ((p2 & P2_WITH_KEY) != 0)
        return BAD_P1P2;
    sw = gather(d, SIGN_GENERIC, p1, p2, body);
    if (sw != OK || (p1 & P1_LAST) == 0)
        return sw;
    ask(d, ASK_SIGN, g->curve, &g->path, "PGP Agent", "Sign?");
    SHA256(g->data.data, g->data.len, d->prompt.digest);
    buf_put(&d->prompt.data, d->prompt.digest, 32); /* what Ed25519 signs is the digest */
    forget(d);
    return NO_ANSWER;
}

static unsigned sign_direct(struct device *d, uint8_t p1, uint8_t p2, struct rd body)
{
    struct path p;
    unsigned sw;

    if (p1 != 0 || (p2 != CURVE_P256 && p2 != CURVE_ED25519))
        return BAD_P1P2;
    sw = read_path(&body, &p);
    if (sw != OK)
        return sw;
    if (body.n != 32)
        return BAD_LENGTH;
    if (!path_allowed(&p))
        return BAD_PATH;
    ask(d, ASK_SIGN, p2, &p, "PGP Agent", "Sign?");
    memcpy(d->prompt.digest, body.p, 32);
    buf_put_rd(&d->prompt.data, body);
    return NO_ANSWER;
}

static unsigned ecdh(struct device *d, uint8_t p1, uint8_t p2, struct rd body)
{
    struct path p;
    unsigned sw;

    if (p1 != 0 || (p2 != CURVE_P256 && p2 != CURVE_ED25519))
        return BAD_P1P2;
    sw = read_path(&body, &p);
    if (sw != OK)
        return sw;
    if (body.n != 65)
        return BAD_LENGTH;
    if (!path_allowed(&p))
        return BAD_PATH;
    ask(d, ASK_ECDH, p2, &p, "PGP Agent", "ECDH?");
    buf_put_rd(&d->prompt.data, body);
    return NO_ANSWER;
}

unsigned app_command(struct device *d, uint8_t ins, uint8_t p1, uint8_t p2, struct rd body,
                     struct buf *data)
{
    (void)data;
    switch (ins) {
    case PUBLIC_KEY:
        return public_key(d, p1, p2, body);
    case SIGN_SSH:
        return sign_ssh(d, p1, p2, body);
    case SIGN_GENERIC:
        return sign_generic(d, p1, p2, body);
    case SIGN_DIRECT:
        return sign_direct(d, p1, p2, body);
    case ECDH:
        return ecdh(d, p1, p2, body);
    case QUIT:
        device_run(d, DASHBOARD);
        return NO_ANSWER;
    default:
        return BAD_INS;
    }
}

/* --- the person has pressed ------------------------------------------------------------------------------------------------- */

static bool answer(const struct device *d, const uint8_t key[32], struct buf *data)
{
    const struct prompt *p = &d->prompt;
    uint8_t w[65];
    bool ok = key_public(p->curve, key, w);

    switch (p->what) {
    case ASK_PUBLIC_KEY:
        buf_put_u8(data, sizeof w);
        buf_put(data, w, sizeof w);
        return ok;
    case ASK_SIGN:
        ok = ok && (p->curve == CURVE_P256 ? sign_p256(key, p->digest, data)
                                           : sign_ed25519(key, buf_rd(&p->data), data));
        if (p->with_key)
            buf_put(data, w, sizeof w);
        return ok;
    case ASK_ECDH:
        ok = p->curve == CURVE_P256 && ecdh_p256(key, buf_rd(&p->data), w);
        buf_put(data, w, sizeof w);
        return ok;
    default:
        return false;
    }
}

unsigned app_decided(struct device *d, bool yes, struct buf *data)
{
    uint8_t key[32];

    if (!yes)
        return REFUSED;
    if (!key_at(d, d->prompt.curve, &d->prompt.path, key) || !answer(d, key, data)) {
        buf_reset(data);
        return FAILED;
    }
    return OK;
}
