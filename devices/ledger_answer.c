#include "devices/ledger_answer.h"

#include <string.h>

#define POINT      65u
#define TAG_INT    0x02u
#define TAG_SEQ    0x30u
#define TAG_PARITY 0x01u /* in the sequence's tag: of the point R */

/* "0.0.11", perhaps with more behind: "1.2.3-rc1". */
static bool read_version(struct rd r, unsigned version[3])
{
    uint8_t c = '.';

    for (int i = 0; i < 3; i++) {
        unsigned v = 0, digits = 0;

        if (c != '.')
            return i > 0;
        while (rd_u8(&r, &c) == 0 && c >= '0' && c <= '9') {
            v = v * 10 + (c - '0');
            if (++digits > 6)
                return false;
            c = 0;
        }
        if (digits == 0)
            return false;
        version[i] = v;
    }
    return true;
}

static gpg_error_t read_counted(struct rd *r, struct rd *out)
{
    struct rd rest = *r;
    uint8_t n;
    gpg_error_t err = rd_u8(&rest, &n);

    if (err == 0)
        err = rd_bytes(&rest, n, out);
    if (err == 0)
        *r = rest;
    return err;
}

gpg_error_t ledger_read_app(struct rd data, struct ledger_app *out)
{
    struct ledger_app a = {0};
    struct rd name, version;
    uint8_t format;

    if (rd_u8(&data, &format) != 0 || format != 1 || read_counted(&data, &name) != 0 ||
        read_counted(&data, &version) != 0)
        return gpg_error(GPG_ERR_INV_RESPONSE);
    /* The dashboard of old firmware ends its name with a NUL; the flags behind are of no use here. */
    while (name.n > 0 && name.p[name.n - 1] == 0)
        name.n--;
    if (name.n == 0 || name.n >= sizeof a.name)
        return gpg_error(GPG_ERR_INV_RESPONSE);
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] < 0x20 || name.p[i] > 0x7e)
            return gpg_error(GPG_ERR_INV_RESPONSE);
    memcpy(a.name, name.p, name.n);
    if (!read_version(version, a.version))
        memset(a.version, 0, sizeof a.version);
    *out = a;
    return 0;
}

bool ledger_app_up_to(const struct ledger_app *a, unsigned major, unsigned minor, unsigned patch)
{
    const unsigned limit[3] = {major, minor, patch};

    for (int i = 0; i < 3; i++)
        if (a->version[i] != limit[i])
            return a->version[i] < limit[i];
    return true;
}

gpg_error_t ledger_read_point(struct rd w, bool ed25519, bool ecdh, struct key **out)
{
    uint8_t raw[32];
    gpg_error_t err;

    if (w.n != POINT || w.p[0] != 4)
        return gpg_error(GPG_ERR_INV_RESPONSE);
    if (!ed25519) {
        err = key_from_point("NIST P-256", w, ecdh, out);
    } else {
        for (size_t i = 0; i < 32; i++)
            raw[i] = w.p[64 - i];
        raw[31] |= (uint8_t)((w.p[32] & 1) << 7);
        err = key_from_point("Ed25519", rd_of(raw, sizeof raw), ecdh, out);
    }
    return err == 0 ? 0 : gpg_error(GPG_ERR_INV_RESPONSE);
}

gpg_error_t ledger_read_public_key(struct rd data, bool ed25519, bool ecdh, struct key **out)
{
    struct rd w;

    if (read_counted(&data, &w) != 0 || rd_end(&data) != 0)
        return gpg_error(GPG_ERR_INV_RESPONSE);
    return ledger_read_point(w, ed25519, ecdh, out);
}

static gpg_error_t read_integer(struct rd *r, struct rd *out)
{
    uint32_t tag;

    if (rd_tlv(r, &tag, out) != 0 || tag != TAG_INT || out->n == 0)
        return gpg_error(GPG_ERR_INV_RESPONSE);
    return 0;
}

gpg_error_t ledger_read_signature(struct rd data, const struct key *k, gcry_sexp_t *sig,
                                  struct rd *w)
{
    struct rd r, s, body;
    uint8_t tag;
    gpg_error_t err;

    if (k->algo == KEY_ED25519) {
        if (rd_bytes(&data, 64, &body) != 0)
            return gpg_error(GPG_ERR_INV_RESPONSE);
        err = sig_from_raw(k, body, sig);
    } else {
        if (rd_u8(&data, &tag) != 0 || (tag & ~TAG_PARITY) != TAG_SEQ ||
            read_counted(&data, &body) != 0)
            return gpg_error(GPG_ERR_INV_RESPONSE);
        err = read_integer(&body, &r);
        if (err == 0)
            err = read_integer(&body, &s);
        if (err == 0 && rd_end(&body) != 0)
            err = gpg_error(GPG_ERR_INV_RESPONSE);
        if (err == 0)
            err = sig_from_rs(k, r, s, sig);
    }
    if (err == 0)
        *w = data;
    return err == 0 ? 0 : gpg_error(GPG_ERR_INV_RESPONSE);
}
