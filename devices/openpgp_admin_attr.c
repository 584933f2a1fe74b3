/* Algorithm attributes (C1..C3) and the names that gpg has for them. */
#include "devices/openpgp_admin.h"

#include <stdlib.h>
#include <string.h>

enum { ALGO_RSA = 0x01, ALGO_ECDH = 0x12, ALGO_ECDSA = 0x13, ALGO_EDDSA = 0x16 };

static const struct {
    const char *name, *curve; /* curve: libgcrypt's name, which gpg may send as well */
    enum { SIGNS_AND_DECRYPTS, ONLY_SIGNS, ONLY_DECRYPTS } use;
    uint8_t n, oid[10];
} curves[] = {
    {"nistp256", "NIST P-256", 0, 8, {0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07}},
    {"nistp384", "NIST P-384", 0, 5, {0x2B, 0x81, 0x04, 0x00, 0x22}},
    {"nistp521", "NIST P-521", 0, 5, {0x2B, 0x81, 0x04, 0x00, 0x23}},
    {"secp256k1", "secp256k1", 0, 5, {0x2B, 0x81, 0x04, 0x00, 0x0A}},
    {"brainpoolP256r1", NULL, 0, 9, {0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07}},
    {"brainpoolP384r1", NULL, 0, 9, {0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0B}},
    {"brainpoolP512r1", NULL, 0, 9, {0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0D}},
    {"ed25519", "Ed25519", ONLY_SIGNS, 9, {0x2B, 0x06, 0x01, 0x04, 0x01, 0xDA, 0x47, 0x0F, 0x01}},
    {"cv25519",
     "Curve25519",
     ONLY_DECRYPTS,
     10,
     {0x2B, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01}},
    {"ed25519", NULL, ONLY_SIGNS, 3, {0x2B, 0x65, 0x70}},
    {"cv25519", NULL, ONLY_DECRYPTS, 3, {0x2B, 0x65, 0x6E}},
};
#define CURVES (sizeof curves / sizeof curves[0])

/* The curve of an OID, which may have an octet for the import format behind it; CURVES: none. */
static size_t curve_of(struct rd oid)
{
    for (size_t cut = 0; cut < 2 && oid.n > cut; cut++)
        for (size_t i = 0; i < CURVES; i++)
            if (rd_eq(rd_of(oid.p, oid.n - cut), rd_of(curves[i].oid, curves[i].n)))
                return i;
    return CURVES;
}

const char *admin_algorithm_name(struct rd attr, char buf[16])
{
    uint8_t algo;
    uint16_t bits;
    size_t i;

    if (rd_u8(&attr, &algo) != 0)
        return NULL;
    if (algo == ALGO_RSA) {
        if (rd_u16(&attr, &bits) != 0)
            return NULL;
        snprintf(buf, 16, "rsa%u", (unsigned)bits);
        return buf;
    }
    i = curve_of(attr);
    return i < CURVES ? curves[i].name : NULL;
}

/* --- algorithm information (FA) ----------------------------------------------------------------------------------------------------- */

gpg_error_t admin_next_offered(struct rd *offered, unsigned *slot, struct rd *attr)
{
    uint32_t tag;
    gpg_error_t err = rd_tlv(offered, &tag, attr);

    if (err != 0)
        return err;
    if (tag == 0xda) {
        *slot = 0x81;
        return 0;
    }
    if (tag < 0xc1 || tag > 0xc3)
        return gpg_error(GPG_ERR_BAD_DATA);
    *slot = tag - 0xc0;
    return 0;
}

gpg_error_t admin_read_offered(struct openpgp *o, struct buf *offered)
{
    struct buf fa = BUF_INIT;
    struct rd r, whole, attr;
    unsigned slot;
    gpg_error_t err = openpgp_get_data(o, 0xfa, &fa);

    if (gpg_err_code(err) == GPG_ERR_NO_OBJ || gpg_err_code(err) == GPG_ERR_NOT_SUPPORTED)
        err = 0;
    r = whole = buf_rd(&fa);
    while (err == 0 && r.n > 0)
        if (admin_next_offered(&r, &slot, &attr) != 0)
            whole.n = r.n = 0;
    if (err == 0) {
        buf_put_rd(offered, whole);
        err = buf_err(offered);
    }
    buf_free(&fa);
    return err;
}

/* --- from a name -------------------------------------------------------------------------------------------------------------------- */

static bool is_offered(struct rd offered, unsigned i, const char *name, struct rd *attr)
{
    unsigned slot;
    char rsa[16];

    while (admin_next_offered(&offered, &slot, attr) == 0) {
        const char *algo = slot == i + 1 ? admin_algorithm_name(*attr, rsa) : NULL;

        if (algo != NULL && strcmp(algo, name) == 0)
            return true;
    }
    return false;
}

/* Length of e and import format are the card's business: as it offers them, or as it has them now. */
static gpg_error_t put_rsa(const struct slot *s, const char *digits, const struct rd *as_offered,
                           struct buf *attr)
{
    char *end;
    unsigned long bits = strtoul(digits, &end, 10);

    if (*digits < '0' || *digits > '9' || *end != '\0' || bits < 1024 || bits > 16384 ||
        bits % 16 != 0)
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    if (as_offered != NULL && as_offered->n == 6) {
        buf_put_rd(attr, *as_offered);
        return buf_err(attr);
    }
    buf_put_u8(attr, ALGO_RSA);
    buf_put_u16(attr, (uint16_t)bits);
    if (s->rsa && s->attr_len == 6) {
        buf_put(attr, s->attr + 3, 3);
    } else {
        buf_put_u16(attr, 32);
        buf_put_u8(attr, 0);
    }
    return buf_err(attr);
}

gpg_error_t admin_attributes(const struct openpgp *o, unsigned i, const char *name,
                             struct rd offered, struct buf *attr)
{
    struct rd as_offered;
    size_t k = 0;

    while (k < CURVES && strcasecmp(curves[k].name, name) != 0 &&
           (curves[k].curve == NULL || strcasecmp(curves[k].curve, name) != 0))
        k++;
    if (k < CURVES &&
        (i == SLOT_DEC ? curves[k].use == ONLY_SIGNS : curves[k].use == ONLY_DECRYPTS))
        return gpg_error(GPG_ERR_WRONG_KEY_USAGE);
    if (k < CURVES)
        name = curves[k].name;
    if (offered.n > 0 && !is_offered(offered, i, name, &as_offered))
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    if (k == CURVES)
        return strncmp(name, "rsa", 3) == 0
                   ? put_rsa(&o->slots[i], name + 3, offered.n > 0 ? &as_offered : NULL, attr)
                   : gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    buf_put_u8(attr, i == SLOT_DEC                 ? ALGO_ECDH
                     : curves[k].use == ONLY_SIGNS ? ALGO_EDDSA
                                                   : ALGO_ECDSA);
    buf_put(attr, curves[k].oid, curves[k].n);
    return buf_err(attr);
}
