#include "devices/piv_object.h"

#include <string.h>

static const struct {
    uint8_t alg;
    const char *name, *curve;
    unsigned bits;
} algs[] = {
    {PIV_RSA1024, "rsa1024", NULL, 1024},    {PIV_RSA2048, "rsa2048", NULL, 2048},
    {PIV_RSA3072, "rsa3072", NULL, 3072},    {PIV_RSA4096, "rsa4096", NULL, 4096},
    {PIV_P256, "nistp256", "NIST P-256", 0}, {PIV_P384, "nistp384", "NIST P-384", 0},
    {PIV_ED25519, "ed25519", "Ed25519", 0},  {PIV_X25519, "x25519", "Curve25519", 0},
    {0x22, "ed25519", "Ed25519", 0}, /* SoloKeys, early CanoKeys */
};
#define NALGS (sizeof algs / sizeof algs[0])

uint8_t piv_alg_of(const struct key *k)
{
    for (size_t i = 0; i < NALGS; i++)
        if (k->algo == KEY_RSA
                ? algs[i].bits == k->nbits
                : k->curve != NULL && algs[i].curve != NULL && strcmp(algs[i].curve, k->curve) == 0)
            return algs[i].alg;
    return 0;
}

const char *piv_alg_name(uint8_t alg)
{
    for (size_t i = 0; i < NALGS; i++)
        if (algs[i].alg == alg)
            return algs[i].name;
    return NULL;
}

uint8_t piv_alg_by_name(const char *name)
{
    for (size_t i = 0; i < NALGS; i++)
        if (strcmp(algs[i].name, name) == 0)
            return algs[i].alg;
    return 0;
}

/* --- metadata, public keys ------------------------------------------------------------------------------------------ */

gpg_error_t piv_parse_metadata(struct rd r, struct piv_metadata *out)
{
    struct piv_metadata m = {.is_default = -1, .total = -1, .left = -1};
    struct rd v;
    uint32_t tag;

    while (r.n > 0) {
        gpg_error_t err = rd_tlv(&r, &tag, &v);

        if (err != 0)
            return err;
        if (tag == 0x01 && v.n == 1) {
            m.alg = v.p[0];
        } else if (tag == 0x02 && v.n == 2) {
            m.pin = v.p[0] <= PIV_PIN_MATCH_ALWAYS ? v.p[0] : 0;
            m.touch = v.p[1] <= PIV_TOUCH_CACHED ? v.p[1] : 0;
        } else if (tag == 0x03 && v.n == 1) {
            m.origin = v.p[0];
        } else if (tag == 0x04) {
            m.public = v;
        } else if (tag == 0x05 && v.n == 1) {
            m.is_default = v.p[0] != 0;
        } else if (tag == 0x06 && (v.n == 1 || v.n == 2)) {
            m.total = v.n == 2 ? v.p[0] : -1;
            m.left = v.p[v.n - 1];
        }
    }
    *out = m;
    return 0;
}

static const char *curve_of(uint8_t alg, struct rd point)
{
    for (size_t i = 0; i < NALGS; i++)
        if (algs[i].alg == alg && algs[i].curve != NULL)
            return algs[i].curve;
    return point.n == 65 ? "NIST P-256" : point.n == 97 ? "NIST P-384" : NULL;
}

gpg_error_t piv_parse_public(uint8_t alg, struct rd r, bool ecdh, struct key **out)
{
    struct rd n, e, point;
    const char *curve;

    if (rd_tlv_find(r, 0x86, &point) == 0) {
        curve = curve_of(alg, point);
        return curve == NULL
                   ? gpg_error(GPG_ERR_UNKNOWN_CURVE)
                   : key_from_point(curve, point, ecdh || strcmp(curve, "Curve25519") == 0, out);
    }
    if (rd_tlv_find(r, 0x81, &n) != 0 || rd_tlv_find(r, 0x82, &e) != 0)
        return gpg_error(GPG_ERR_NO_PUBKEY);
    return key_from_rsa(rd_magnitude(n), rd_magnitude(e), out);
}

/* --- discovery, CHUID ----------------------------------------------------------------------------------------------- */

#define GLOBAL_PIN_ALLOWED   0x20u
#define GLOBAL_PIN_PREFERRED 0x20u

gpg_error_t piv_parse_discovery(struct rd r, struct piv_discovery *out)
{
    struct rd v;

    if (rd_tlv_find(r, 0x5f2f, &v) != 0 || v.n != 2)
        return gpg_error(GPG_ERR_NO_DATA);
    *out = (struct piv_discovery){.told = true,
                                  .global_pin = (v.p[0] & GLOBAL_PIN_ALLOWED) != 0 &&
                                                v.p[1] == GLOBAL_PIN_PREFERRED};
    return 0;
}

gpg_error_t piv_parse_chuid(struct rd r, uint8_t guid[16])
{
    static const uint8_t none[16];
    struct rd v;
    uint32_t tag;

    while (r.n > 0) {
        gpg_error_t err = rd_tlv(&r, &tag, &v);

        if (err != 0)
            return err;
        if (tag != 0x34)
            continue;
        if (v.n != sizeof none || memcmp(v.p, none, sizeof none) == 0)
            break;
        memcpy(guid, v.p, v.n);
        return 0;
    }
    return gpg_error(GPG_ERR_NO_DATA);
}

/* --- answers of GENERAL AUTHENTICATE -------------------------------------------------------------------------------- */

gpg_error_t piv_parse_response(struct rd answer, struct rd *out)
{
    struct rd body, v;
    uint32_t tag;

    if (rd_tlv(&answer, &tag, &body) != 0 || tag != 0x7c)
        return gpg_error(GPG_ERR_CARD);
    while (body.n > 0) {
        if (rd_tlv(&body, &tag, &v) != 0)
            return gpg_error(GPG_ERR_CARD);
        if (tag == 0x82) {
            *out = v;
            return 0;
        }
    }
    return gpg_error(GPG_ERR_CARD);
}

/* ECDSA-Sig-Value (RFC 3279 2.2.3). */
static gpg_error_t parse_ecdsa(const struct key *k, struct rd der, gcry_sexp_t *sig)
{
    struct rd body, r, s;
    uint32_t tag;

    if (rd_tlv(&der, &tag, &body) != 0 || tag != 0x30 || der.n != 0 ||
        rd_tlv(&body, &tag, &r) != 0 || tag != 0x02 || rd_tlv(&body, &tag, &s) != 0 ||
        tag != 0x02 || body.n != 0)
        return gpg_error(GPG_ERR_CARD);
    return sig_from_rs(k, rd_magnitude(r), rd_magnitude(s), sig);
}

gpg_error_t piv_parse_signature(const struct key *k, struct rd answer, gcry_sexp_t *sig)
{
    struct rd v;
    gpg_error_t err = piv_parse_response(answer, &v);

    if (err != 0)
        return err;
    return k->algo == KEY_ECDSA ? parse_ecdsa(k, v, sig) : sig_from_raw(k, v, sig);
}

gpg_error_t piv_strip_padding(struct rd block, struct rd *out)
{
    size_t end = 0;

    if (block.n < 11 || block.p[0] != 0 || block.p[1] != 2)
        return gpg_error(GPG_ERR_DECRYPT_FAILED);
    for (size_t i = 2; i < block.n && end == 0; i++)
        if (block.p[i] == 0)
            end = i;
    if (end < 10)
        return gpg_error(GPG_ERR_DECRYPT_FAILED);
    *out = rd_of(block.p + end + 1, block.n - end - 1);
    return 0;
}
