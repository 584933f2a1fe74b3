/* What a card tells of itself: SELECT, application related data (6E), algorithm attributes, public keys. */
#include "devices/openpgp.h"

#include <string.h>

static const uint8_t application[] = {0xd2, 0x76, 0x00, 0x01, 0x24, 0x01};

gpg_error_t openpgp_select(struct openpgp *o)
{
    struct apdu a = {
        .ins = 0xa4, .p1 = 0x04, .data = rd_of(application, sizeof application), .want_data = true};
    unsigned sw;
    gpg_error_t err;

    o->selected = false;
    if (o->profile == NULL || !profile_has(o->profile, SELECT_KEEPS_PIN))
        o->verified[0] = o->verified[1] = o->verified[2] = false;
    err = apdu_send(&o->card, &a, NULL, &sw);
    if (err != 0)
        return err;
    if (sw == 0x6285 || sw == 0x6985)
        return gpg_error(GPG_ERR_OBJ_TERM_STATE);
    if (sw != 0x9000)
        return gpg_error(GPG_ERR_NOT_SUPPORTED); /* no OpenPGP application on this card */
    o->selected = true;
    return 0;
}

gpg_error_t openpgp_get_data(struct openpgp *o, unsigned tag, struct buf *out)
{
    struct apdu a = {.ins = 0xca,
                     .p1 = (uint8_t)(tag >> 8),
                     .p2 = (uint8_t)tag,
                     .want_data = true,
                     .expect = tag == 0x6e ? 512 : 0};
    struct buf raw = BUF_INIT;
    struct rd r, value;
    uint32_t outer;
    unsigned sw;
    gpg_error_t err = apdu_send(&o->card, &a, &raw, &sw);

    if (err == 0)
        err = buf_err(&raw);
    if (err == 0 && sw != 0x9000)
        err = apdu_error(sw);
    if (err == 0 && raw.len == 0)
        err = gpg_error(GPG_ERR_NO_OBJ);
    if (err == 0) {
        /* Some cards send constructed objects with their tag and length, some without. */
        r = buf_rd(&raw);
        if (rd_tlv(&r, &outer, &value) == 0 && outer == tag && r.n == 0)
            buf_put_rd(out, value);
        else
            buf_put_rd(out, buf_rd(&raw));
        err = buf_err(out);
    }
    buf_free(&raw);
    return err;
}

/* GPG_ERR_CARD_REMOVED: it is not the card that was learned, up to the serial number. */
static gpg_error_t check_aid(struct openpgp *o)
{
    struct buf aid = BUF_INIT;
    gpg_error_t err = openpgp_get_data(o, 0x4f, &aid);

    if (err == 0 && (aid.len < 14 || memcmp(aid.data, o->aid, 14) != 0))
        err = gpg_error(GPG_ERR_CARD_REMOVED);
    o->doubted = err != 0;
    buf_free(&aid);
    return err;
}

gpg_error_t openpgp_reselect(struct openpgp *o)
{
    gpg_error_t err = openpgp_select(o);

    return err != 0 || !o->doubted ? err : check_aid(o);
}

gpg_error_t openpgp_enter(struct openpgp *o)
{
    if (o->selected && (!profile_has(o->profile, OTHER_APPLETS) || check_aid(o) == 0))
        return 0;
    return openpgp_reselect(o);
}

/* --- 6E ------------------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *curve;
    uint8_t n, oid[10];
} oids[] = {
    {"NIST P-256", 8, {0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07}},
    {"NIST P-384", 5, {0x2B, 0x81, 0x04, 0x00, 0x22}},
    {"NIST P-521", 5, {0x2B, 0x81, 0x04, 0x00, 0x23}},
    {"secp256k1", 5, {0x2B, 0x81, 0x04, 0x00, 0x0A}},
    {"brainpoolP256r1", 9, {0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07}},
    {"brainpoolP384r1", 9, {0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0B}},
    {"brainpoolP512r1", 9, {0x2B, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0D}},
    {"Ed25519", 9, {0x2B, 0x06, 0x01, 0x04, 0x01, 0xDA, 0x47, 0x0F, 0x01}},
    {"Ed25519", 3, {0x2B, 0x65, 0x70}},
    {"Curve25519", 10, {0x2B, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01}},
    {"Curve25519", 3, {0x2B, 0x65, 0x6E}},
};

static const char *curve_of(struct rd oid)
{
    for (size_t i = 0; i < sizeof oids / sizeof oids[0]; i++)
        if (rd_eq(oid, rd_of(oids[i].oid, oids[i].n)))
            return oids[i].curve;
    return NULL;
}

/* The algorithm byte lies on some firmware: the curve decides what it is for. */
void openpgp_parse_attributes(struct slot *s, struct rd attr)
{
    const char *curve = NULL;
    uint16_t bits = 0;
    uint8_t algo;

    gpgrt_free(s->oid_curve);
    s->oid_curve = NULL;
    s->rsa = s->ecdh = false;
    s->attr_len = attr.n <= sizeof s->attr ? attr.n : 0;
    if (s->attr_len > 0)
        memcpy(s->attr, attr.p, attr.n);
    if (rd_u8(&attr, &algo) != 0)
        return;
    if (algo == 1) {
        s->rsa = rd_u16(&attr, &bits) == 0;
        s->rsa_bits = bits;
        return;
    }
    curve = curve_of(attr);
    if (curve == NULL && attr.n > 1) /* import format, or a stray octet */
        curve = curve_of(rd_of(attr.p, attr.n - 1));
    if (curve == NULL)
        return;
    s->oid_curve = gpgrt_strdup(curve);
    s->ecdh = algo == 0x12 || strcmp(curve, "Curve25519") == 0;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/* Extended capabilities: 4.4.3.7 of version 3, 4.3.3.6 of version 2, whose last numbers mean something else. */
static void parse_abilities(struct openpgp *o, struct rd caps)
{
    struct abilities *can = &o->can;
    uint8_t flags, sm;

    *can = (struct abilities){0};
    if (rd_u8(&caps, &flags) != 0)
        return;
    o->kdf_possible = (flags & 0x01) != 0;
    can->aes = (flags & 0x02) != 0;
    can->change_attributes = (flags & 0x04) != 0;
    can->private_objects = (flags & 0x08) != 0;
    can->change_force = (flags & 0x10) != 0;
    can->import = (flags & 0x20) != 0;
    can->challenge = (flags & 0x40) != 0;
    can->secure_messaging = (flags & 0x80) != 0;
    if (rd_u8(&caps, &sm) != 0 || rd_u16(&caps, &can->max_challenge) != 0 ||
        rd_u16(&caps, &can->max_cert) != 0 || rd_u16(&caps, &can->max_special) != 0)
        return;
    can->sm_algo = sm;
    if (o->aid[6] < 3)
        can->max_special = 254;
}

static void parse_capabilities(struct openpgp *o, struct rd r)
{
    struct rd hist, caps, sizes, value;
    uint32_t tag;

    if (rd_tlv_find(r, 0xc0, &caps) == 0 && caps.n > 0)
        parse_abilities(o, caps);
    o->can.button = rd_tlv_find(r, 0x7f74, &value) == 0;
    o->hist_listed = rd_tlv_find(r, 0x5f52, &hist) == 0;
    if (o->hist_listed) {
        apdu_note_capabilities(&o->card, hist);
        /* ISO 7816-4 8.1.1.3: life cycle, then a status word, in the last three octets */
        if (hist.n >= 4 && hist.p[0] == 0)
            o->can.life_cycle = hist.p[hist.n - 3];
    }
    if (rd_tlv_find(r, 0x7f66, &sizes) == 0 && rd_tlv(&sizes, &tag, &value) == 0 && value.n == 2)
        o->card.max_cmd = (size_t)value.p[0] << 8 | value.p[1];
    if (o->contactless && o->card.extended) {
        o->card.extended = false; /* readers' buffers are small */
        o->card.chaining = true;
    }
}

/* Key information (DE) tells which slots are empty without asking each; cards before 3.0 have none. */
static bool slot_is_empty(struct rd r, unsigned i)
{
    struct rd v;

    if (rd_tlv_find(r, 0xde, &v) != 0)
        return false;
    for (size_t k = 0; k + 1 < v.n; k += 2)
        if (v.p[k] == i + 1)
            return v.p[k + 1] == 0;
    return false;
}

static void parse_slot(struct openpgp *o, struct rd r, unsigned i)
{
    struct slot *s = &o->slots[i];
    struct rd v;

    if (rd_tlv_find(r, 0xc1 + i, &v) == 0)
        openpgp_parse_attributes(s, v);
    s->has_fpr =
        rd_tlv_find(r, 0xc5, &v) == 0 && v.n >= 20 * (i + 1) && !all_zero(v.p + 20 * i, 20);
    memset(s->fpr, 0, sizeof s->fpr);
    if (s->has_fpr)
        memcpy(s->fpr, v.p + 20 * i, 20);
    s->created = 0;
    if (rd_tlv_find(r, 0xcd, &v) == 0 && v.n >= 4 * (i + 1)) {
        struct rd t = rd_of(v.p + 4 * i, 4);

        (void)rd_u32(&t, &s->created);
    }
    s->empty = slot_is_empty(r, i);
    s->uif = UIF_OFF;
    if (rd_tlv_find(r, 0xd6 + i, &v) == 0 && v.n >= 1 && v.p[0] <= UIF_CACHED_FIXED)
        s->uif = (enum uif)v.p[0];
}

gpg_error_t openpgp_parse_6e(struct openpgp *o, struct rd r)
{
    struct rd v;

    if (rd_tlv_find(r, 0x4f, &v) != 0 || v.n != sizeof o->aid)
        return gpg_error(GPG_ERR_CARD);
    memcpy(o->aid, v.p, sizeof o->aid);
    parse_capabilities(o, r);
    o->tries[0] = o->tries[1] = o->tries[2] = -1;
    if (rd_tlv_find(r, 0xc4, &v) == 0 && v.n >= 7) {
        o->forced_pin = v.p[0] == 0;
        for (int i = 0; i < NPASSWORDS; i++) {
            o->max_pin[i] = v.p[1 + i] & 0x7f;
            o->tries[i] = v.p[4 + i];
        }
        o->tries_ms = card_now_ms();
    }
    o->uif_listed = rd_tlv_find(r, 0xd6, &v) == 0;
    for (unsigned i = 0; i < NSLOTS; i++)
        parse_slot(o, r, i);
    return 0;
}

/* --- public keys ---------------------------------------------------------------------------------------------------------- */

gpg_error_t openpgp_parse_public(const struct slot *s, struct rd r, struct key **out)
{
    struct rd body, n, e, point;
    uint32_t tag;
    struct rd all = r;

    if (rd_tlv(&all, &tag, &body) != 0 || tag != 0x7f49)
        return gpg_error(GPG_ERR_CARD);
    if (rd_tlv_find(body, 0x86, &point) == 0) {
        if (s->oid_curve == NULL)
            return gpg_error(GPG_ERR_UNKNOWN_CURVE);
        if (point.n == 33 && point.p[0] == 0x40) /* some cards send OpenPGP's prefix */
            point = rd_of(point.p + 1, 32);
        return key_from_point(s->oid_curve, point, s->ecdh, out);
    }
    if (rd_tlv_find(body, 0x81, &n) != 0 || rd_tlv_find(body, 0x82, &e) != 0)
        return gpg_error(GPG_ERR_CARD);
    return key_from_rsa(rd_magnitude(n), rd_magnitude(e), out);
}

static gpg_error_t read_public(struct openpgp *o, unsigned i)
{
    static const uint8_t crts[NSLOTS][2] = {{0xb6, 0x00}, {0xb8, 0x00}, {0xa4, 0x00}};
    struct slot *s = &o->slots[i];
    struct apdu a = {.ins = 0x47,
                     .p1 = 0x81,
                     .data = rd_of(crts[i], 2),
                     .want_data = true,
                     .expect = s->rsa ? s->rsa_bits / 8 + 32 : 0};
    struct buf answer = BUF_INIT;
    unsigned sw;
    gpg_error_t err = apdu_send(&o->card, &a, &answer, &sw);

    key_unref(s->key);
    s->key = NULL;
    if (err == 0)
        s->unread = false;
    if (err == 0 && sw == 0x9000) {
        err = openpgp_parse_public(s, buf_rd(&answer), &s->key);
        if (err != 0) {
            gpgrt_log_info("%s: key in slot %u is not usable: %s\n", o->reader, i + 1,
                           gpg_strerror(err));
            err = 0; /* an unknown key is skipped, not fatal */
        }
    }
    buf_free(&answer);
    return err;
}

static gpg_error_t read_unlisted_uif(struct openpgp *o, unsigned i)
{
    struct buf uif = BUF_INIT;
    gpg_error_t err;

    if (!profile_has(o->profile, UIF_UNLISTED) || o->uif_listed)
        return 0;
    err = openpgp_get_data(o, 0xd6 + i, &uif);
    if (err == 0 && uif.len >= 1 && uif.data[0] <= UIF_CACHED_FIXED)
        o->slots[i].uif = (enum uif)uif.data[0];
    if (gpg_err_code(err) != GPG_ERR_CARD_REMOVED && gpg_err_code(err) != GPG_ERR_ENODEV)
        err = 0;
    buf_free(&uif);
    return err;
}

bool openpgp_any_unread(const struct openpgp *o)
{
    for (unsigned i = 0; i < NSLOTS; i++)
        if (o->slots[i].unread)
            return true;
    return false;
}

gpg_error_t openpgp_read_keys(struct openpgp *o, bool ssh_only)
{
    static const enum slot_index order[NSLOTS] = {SLOT_AUT, SLOT_SIG, SLOT_DEC};
    gpg_error_t err = 0;

    for (unsigned i = 0; i < NSLOTS && err == 0; i++) {
        if (ssh_only && o->slots[SLOT_AUT].key != NULL)
            break;
        if (!o->slots[order[i]].unread)
            continue;
        err = read_unlisted_uif(o, order[i]);
        if (err == 0)
            err = read_public(o, order[i]);
    }
    return err;
}

/* Where neither the ATR nor 6E has them. */
static gpg_error_t read_historical(struct openpgp *o)
{
    struct buf hist = BUF_INIT;
    gpg_error_t err;

    if (o->hist_listed || apdu_historical(o->atr).n > 0)
        return 0;
    err = openpgp_get_data(o, 0x5f52, &hist);
    if (err == 0)
        apdu_note_capabilities(&o->card, buf_rd(&hist));
    if (gpg_err_code(err) == GPG_ERR_NO_OBJ)
        err = 0;
    buf_free(&hist);
    return err;
}

gpg_error_t openpgp_learn(struct openpgp *o, bool ssh_only)
{
    gpg_error_t err = openpgp_select(o);

    if (err == 0)
        err = openpgp_read_6e(o, NULL);
    if (err == 0)
        err = read_historical(o);
    if (err != 0)
        return err;
    o->doubted = false;
    o->profile = profile_find((uint16_t)(o->aid[8] << 8 | o->aid[9]), o->reader);
    for (unsigned i = 0; i < NSLOTS; i++) {
        key_unref(o->slots[i].key);
        o->slots[i].key = NULL;
        o->slots[i].unread = !o->slots[i].empty;
    }
    err = openpgp_read_keys(o, ssh_only);
    o->learned = err == 0;
    return err;
}

gpg_error_t openpgp_read_tries(struct openpgp *o)
{
    struct buf c4 = BUF_INIT, all = BUF_INIT;
    struct rd v;
    gpg_error_t err = openpgp_get_data(o, 0xc4, &c4);

    v = buf_rd(&c4);
    if (err != 0 || c4.len < 7) {
        /* Not readable alone on every card. */
        err = openpgp_get_data(o, 0x6e, &all);
        if (err == 0 && (rd_tlv_find(buf_rd(&all), 0xc4, &v) != 0 || v.n < 7))
            err = gpg_error(GPG_ERR_CARD);
    }
    for (int i = 0; err == 0 && i < 3; i++)
        o->tries[i] = v.p[4 + i];
    if (err == 0)
        o->tries_ms = card_now_ms();
    buf_free(&c4);
    buf_free(&all);
    return err;
}

/* Does slot S look as if its key were another one than when it looked like WAS? */
static bool slot_changed(const struct slot *was, const struct slot *s)
{
    return was->empty != s->empty || was->created != s->created ||
           memcmp(was->fpr, s->fpr, sizeof s->fpr) != 0 || was->attr_len != s->attr_len ||
           memcmp(was->attr, s->attr, s->attr_len) != 0;
}

gpg_error_t openpgp_read_6e(struct openpgp *o, struct buf *all)
{
    struct slot was[NSLOTS];
    struct buf data = BUF_INIT;
    gpg_error_t err = openpgp_get_data(o, 0x6e, &data);

    memcpy(was, o->slots, sizeof was);
    if (err == 0)
        err = openpgp_parse_6e(o, buf_rd(&data));
    for (unsigned i = 0; i < NSLOTS && err == 0; i++) {
        struct slot *s = &o->slots[i];

        if (!slot_changed(&was[i], s))
            continue;
        key_unref(s->key);
        s->key = NULL;
        s->unread = !s->empty;
    }
    if (err == 0 && all != NULL) {
        buf_put_rd(all, buf_rd(&data));
        err = buf_err(all);
    }
    buf_free(&data);
    return err;
}

gpg_error_t openpgp_refresh(struct openpgp *o)
{
    struct buf sst = BUF_INIT;
    struct rd v;
    gpg_error_t err = openpgp_read_6e(o, NULL);

    for (unsigned i = 0; i < NSLOTS && err == 0; i++)
        err = read_unlisted_uif(o, i);
    if (err == 0 && openpgp_get_data(o, 0x7a, &sst) == 0 &&
        rd_tlv_find(buf_rd(&sst), 0x93, &v) == 0 && v.n == 3)
        o->counter = (long)v.p[0] << 16 | (long)v.p[1] << 8 | v.p[2];
    buf_free(&sst);
    return err;
}
