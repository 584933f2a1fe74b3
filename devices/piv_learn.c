/* What a card tells of itself: SELECT, data objects, metadata, keys. */
#include "devices/piv.h"

#include <string.h>
#include <strings.h>

enum {
    INS_SELECT = 0xa4,
    INS_GET_DATA = 0xcb,
    INS_METADATA = 0xf7,
    INS_SERIAL = 0xf8,
    INS_ATTEST = 0xf9,
    INS_VERSION = 0xfd,
    OBJECT_CHUID = 0x5fc102,
    OBJECT_DISCOVERY = 0x7e,
};

static const uint8_t application[] = {0xa0, 0x00, 0x00, 0x03, 0x08, 0x00,
                                      0x00, 0x10, 0x00, 0x01, 0x00};

const struct piv_place piv_places[NPIV_SLOTS] = {
    {0x9a, "piv-9a", 0x5fc105}, {0x9c, "piv-9c", 0x5fc10a}, {0x9d, "piv-9d", 0x5fc10b},
    {0x9e, "piv-9e", 0x5fc101}, {0x82, "piv-82", 0x5fc10d}, {0x83, "piv-83", 0x5fc10e},
    {0x84, "piv-84", 0x5fc10f}, {0x85, "piv-85", 0x5fc110}, {0x86, "piv-86", 0x5fc111},
    {0x87, "piv-87", 0x5fc112}, {0x88, "piv-88", 0x5fc113}, {0x89, "piv-89", 0x5fc114},
    {0x8a, "piv-8a", 0x5fc115}, {0x8b, "piv-8b", 0x5fc116}, {0x8c, "piv-8c", 0x5fc117},
    {0x8d, "piv-8d", 0x5fc118}, {0x8e, "piv-8e", 0x5fc119}, {0x8f, "piv-8f", 0x5fc11a},
    {0x90, "piv-90", 0x5fc11b}, {0x91, "piv-91", 0x5fc11c}, {0x92, "piv-92", 0x5fc11d},
    {0x93, "piv-93", 0x5fc11e}, {0x94, "piv-94", 0x5fc11f}, {0x95, "piv-95", 0x5fc120},
};

/* --- commands ------------------------------------------------------------------------------------------------------- */

/* A card that announces extended length may still sit in a reader that cannot; then it is chaining from there on. */
gpg_error_t piv_send(struct piv *p, const struct apdu *a, struct buf *answer, unsigned *sw)
{
    gpg_error_t err = apdu_send(&p->card, a, answer, sw);

    if (err == 0 && *sw == 0x6700 && a->data.n > 255 && !p->card.chaining) {
        p->card.chaining = true;
        if (answer != NULL)
            buf_reset(answer);
        err = apdu_send(&p->card, a, answer, sw);
    }
    return err != 0 || answer == NULL ? err : buf_err(answer);
}

gpg_error_t piv_select(struct piv *p)
{
    const struct apdu a = {.ins = INS_SELECT,
                           .p1 = 0x04,
                           .data = rd_of(application, sizeof application),
                           .want_data = true};
    unsigned sw;
    gpg_error_t err;

    p->selected = p->verified = false;
    err = piv_send(p, &a, NULL, &sw);
    if (err != 0)
        return err;
    if (sw != 0x9000)
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    p->selected = true;
    return 0;
}

gpg_error_t piv_get_object(struct piv *p, unsigned id, struct buf *out)
{
    const uint8_t list[] = {0x5c, 0x03, (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id},
                  one[] = {0x5c, 0x01, (uint8_t)id};
    struct apdu a = {.ins = INS_GET_DATA,
                     .p1 = 0x3f,
                     .p2 = 0xff,
                     .data = id > 0xff ? rd_of(list, sizeof list) : rd_of(one, sizeof one),
                     .want_data = true,
                     .expect = id > 0xff ? 2048 : 0};
    uint32_t wanted = id > 0xff ? 0x53 : id, tag;
    struct buf answer = BUF_INIT;
    struct rd r, v;
    unsigned sw;
    gpg_error_t err = piv_send(p, &a, &answer, &sw);

    if (err == 0 && sw != 0x9000)
        err = gpg_error(sw == 0x6982 ? GPG_ERR_EACCES : GPG_ERR_NO_OBJ);
    r = buf_rd(&answer);
    if (err == 0 && (rd_tlv(&r, &tag, &v) != 0 || tag != wanted || v.n == 0))
        err = gpg_error(GPG_ERR_NO_OBJ);
    if (err == 0) {
        buf_put_rd(out, v);
        err = buf_err(out);
    }
    buf_free(&answer);
    return err;
}

gpg_error_t piv_get_metadata(struct piv *p, uint8_t ref, struct buf *data, struct piv_metadata *m)
{
    const struct apdu a = {.ins = INS_METADATA, .p2 = ref, .want_data = true, .expect = 600};
    unsigned sw;
    gpg_error_t err = piv_send(p, &a, data, &sw);

    if (err != 0)
        return err;
    if (sw == 0x6d00 || sw == 0x6e00)
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    return sw == 0x9000 ? piv_parse_metadata(buf_rd(data), m) : gpg_error(GPG_ERR_NO_OBJ);
}

/* N octets that INS answers; what it says otherwise is nothing to go by. */
static gpg_error_t read_fixed(struct piv *p, uint8_t ins, uint8_t *out, size_t n, bool *got)
{
    const struct apdu a = {.ins = ins, .want_data = true};
    struct buf answer = BUF_INIT;
    unsigned sw;
    gpg_error_t err = piv_send(p, &a, &answer, &sw);

    *got = err == 0 && sw == 0x9000 && answer.len == n;
    if (*got)
        memcpy(out, answer.data, n);
    buf_free(&answer);
    return err;
}

/* --- which card ----------------------------------------------------------------------------------------------------- */

static bool is_at_least(const struct piv *p, uint8_t major, uint8_t minor)
{
    return p->version[0] > major || (p->version[0] == major && p->version[1] >= minor);
}

/* An error is the exchange's alone. */
static gpg_error_t read_guid(struct piv *p, uint8_t guid[16], bool *has)
{
    struct buf chuid = BUF_INIT;
    gpg_error_t err = piv_get_object(p, OBJECT_CHUID, &chuid);

    *has = err == 0 && piv_parse_chuid(buf_rd(&chuid), guid) == 0;
    buf_free(&chuid);
    return gpg_err_code(err) == GPG_ERR_NO_OBJ || gpg_err_code(err) == GPG_ERR_EACCES ? 0 : err;
}

static gpg_error_t read_identity(struct piv *p)
{
    struct buf discovery = BUF_INIT;
    uint8_t serial[4];
    struct rd r = rd_of(serial, sizeof serial);
    bool got;
    gpg_error_t err = read_fixed(p, INS_VERSION, p->version, sizeof p->version, &got);

    if (err == 0 && !got)
        memset(p->version, 0, sizeof p->version);
    p->serial = 0;
    if (err == 0 && is_at_least(p, 5, 0)) {
        err = read_fixed(p, INS_SERIAL, serial, sizeof serial, &got);
        if (err == 0 && got)
            (void)rd_u32(&r, &p->serial);
    }
    if (err == 0)
        err = read_guid(p, p->guid, &p->has_guid);
    if (err != 0)
        return err;
    p->discovery = (struct piv_discovery){0};
    err = piv_get_object(p, OBJECT_DISCOVERY, &discovery);
    if (err == 0)
        (void)piv_parse_discovery(buf_rd(&discovery), &p->discovery);
    buf_free(&discovery);
    return gpg_err_code(err) == GPG_ERR_NO_OBJ ? 0 : err;
}

/* GPG_ERR_CARD_REMOVED: it is not the card that was learned. What has neither number nor GUID is known by its proof, or not at all. */
static gpg_error_t check_identity(struct piv *p)
{
    uint8_t guid[16] = {0}, serial[4];
    struct rd r = rd_of(serial, sizeof serial);
    uint32_t number = 0;
    bool got = false;
    gpg_error_t err = 0;

    if (p->serial != 0) {
        err = read_fixed(p, INS_SERIAL, serial, sizeof serial, &got);
        (void)rd_u32(&r, &number);
        if (err == 0 && (!got || number != p->serial))
            err = gpg_error(GPG_ERR_CARD_REMOVED);
    } else if (p->has_guid) {
        err = read_guid(p, guid, &got);
        if (err == 0 && (!got || memcmp(guid, p->guid, sizeof guid) != 0))
            err = gpg_error(GPG_ERR_CARD_REMOVED);
    }
    p->doubted = err != 0;
    return err;
}

gpg_error_t piv_reselect(struct piv *p)
{
    gpg_error_t err = piv_select(p);

    return err != 0 || !p->doubted ? err : check_identity(p);
}

/* --- keys ----------------------------------------------------------------------------------------------------------- */

/* 9D is for key agreement and decryption (SP 800-73-4 part 1, 3.1.3). */
static bool for_decryption(unsigned i)
{
    return i == PIV_KEYM;
}

static gpg_error_t by_metadata(struct piv *p, unsigned i)
{
    struct piv_slot *s = &p->slots[i];
    struct piv_metadata m;
    struct buf data = BUF_INIT;
    gpg_error_t err = piv_get_metadata(p, piv_places[i].ref, &data, &m);

    if (err == 0)
        err = piv_parse_public(m.alg, m.public, for_decryption(i), &s->key);
    if (err == 0) {
        s->alg = m.alg;
        s->pin = m.pin;
        s->touch = m.touch == PIV_TOUCH_DEFAULT ? PIV_TOUCH_NEVER : m.touch;
        s->origin = m.origin;
        s->told = true;
    }
    buf_free(&data);
    return err;
}

static gpg_error_t by_certificate(struct piv *p, unsigned i)
{
    struct piv_slot *s = &p->slots[i];
    struct buf object = BUF_INIT, der = BUF_INIT;
    gpg_error_t err = piv_get_object(p, piv_places[i].cert, &object);

    if (err == 0)
        err = piv_unpack_certificate(buf_rd(&object), &der);
    if (err == 0)
        err = piv_certificate_key(buf_rd(&der), for_decryption(i), &s->key);
    if (err == 0)
        s->alg = piv_alg_of(s->key);
    buf_free(&object);
    buf_free(&der);
    return err;
}

/* From firmware 4.3 to 5.2 only an attestation tells the policies; the card makes one for keys that it generated. */
static gpg_error_t by_attestation(struct piv *p, unsigned i)
{
    const struct apdu a = {
        .ins = INS_ATTEST, .p1 = piv_places[i].ref, .want_data = true, .expect = 2048};
    struct piv_slot *s = &p->slots[i];
    struct buf der = BUF_INIT;
    struct key *attested = NULL;
    uint8_t pin, touch;
    unsigned sw;
    gpg_error_t err = piv_send(p, &a, &der, &sw);

    if (err == 0 && sw == 0x9000 &&
        piv_certificate_key(buf_rd(&der), for_decryption(i), &attested) == 0 &&
        key_same(attested, s->key) && piv_attested_policies(buf_rd(&der), &pin, &touch) == 0) {
        s->pin = pin;
        s->touch = touch == PIV_TOUCH_DEFAULT ? PIV_TOUCH_NEVER : touch;
        s->origin = 1;
        s->told = true;
    }
    key_unref(attested);
    buf_free(&der);
    return err;
}

static gpg_error_t read_slot(struct piv *p, unsigned i)
{
    struct piv_slot *s = &p->slots[i];
    gpg_error_t err;

    key_unref(s->key);
    *s = (struct piv_slot){0};
    err = p->has_metadata ? by_metadata(p, i) : by_certificate(p, i);
    if (err == 0 && s->alg == 0)
        err = gpg_error(GPG_ERR_PUBKEY_ALGO);
    if (err == 0 && !p->has_metadata && is_at_least(p, 4, 3))
        err = by_attestation(p, i);
    if (err == 0 || apdu_is_exchange(err))
        return err;
    if (gpg_err_code(err) != GPG_ERR_NO_OBJ && gpg_err_code(err) != GPG_ERR_NO_DATA)
        gpgrt_log_info("%s: the PIV key in slot %02x cannot be used: %s\n", p->place.reader,
                       piv_places[i].ref, gpg_strerror(err));
    key_unref(s->key);
    *s = (struct piv_slot){0};
    return 0; /* an unknown key is skipped, not fatal */
}

/* GET METADATA exists, whatever it says of this slot. */
static gpg_error_t find_metadata(struct piv *p)
{
    struct piv_metadata m;
    struct buf data = BUF_INIT;
    gpg_error_t err = 0;

    p->has_metadata = false;
    if (is_at_least(p, 4, 0)) {
        err = piv_get_metadata(p, piv_places[PIV_AUTH].ref, &data, &m);
        p->has_metadata = err == 0 || gpg_err_code(err) == GPG_ERR_NO_OBJ;
        if (!apdu_is_exchange(err))
            err = 0;
    }
    buf_free(&data);
    return err;
}

/* A card that has proved what it is must go on doing so: another one gets no PIN. */
static gpg_error_t find_proof(struct piv *p)
{
    bool before = p->proves;
    gpg_error_t err;

    p->proves = false;
    err = piv_prove(p);
    p->proves = err == 0;
    if (before && !p->proves)
        held_pin_forget(&p->user);
    if (gpg_err_code(err) == GPG_ERR_BAD_SIGNATURE)
        gpgrt_log_info("%s: the PIV card does not prove its card authentication key (9E)\n",
                       p->place.reader);
    return apdu_is_exchange(err) ? err : 0;
}

gpg_error_t piv_learn(struct piv *p)
{
    bool verified;
    gpg_error_t err = piv_reselect(p);

    if (err == 0)
        err = read_identity(p);
    if (err == 0)
        err = find_metadata(p);
    for (unsigned i = 0; i < NPIV_SLOTS && err == 0; i++)
        err = read_slot(p, i);
    if (err == 0)
        err = piv_query_pin(p, &verified);
    if (err == 0)
        err = find_proof(p);
    p->learned = err == 0;
    if (err == 0)
        p->doubted = false;
    return err;
}
