/* What a card tells, in scdaemon's words: GETATTR and LEARN. */
#include "devices/openpgp_admin.h"

#include "devices/pcsc.h"
#include "proto/token_protocol.h"

#include <string.h>

/* What is printed from: read once for all that is asked. */
struct card_data {
    struct openpgp *o;
    struct driver_op *op;
    struct buf d6e, d65, login, url, kdf, fa; /* contents; empty: none */
    long counter;
};

static gpg_error_t tell(struct card_data *c, const char *name, const char *text)
{
    struct buf f = BUF_INIT;
    gpg_error_t err;

    field_put(&f, "name", name);
    field_put(&f, "text", text);
    err = buf_cstr(&f) != NULL ? c->op->io->status(c->op->io->arg, TOKEN_STATUS_ATTR, buf_cstr(&f))
                               : buf_err(&f);
    buf_free(&f);
    return err;
}

/* scdaemon's escapes: control characters and '+' by hex, blanks as '+', all else as it is. */
static void put_escaped(struct buf *b, struct rd r)
{
    for (size_t i = 0; i < r.n; i++) {
        if (r.p[i] < ' ' || r.p[i] == '+' || r.p[i] == '%')
            buf_printf(b, "%%%02X", r.p[i]);
        else
            buf_put_u8(b, r.p[i] == ' ' ? '+' : r.p[i]);
    }
}

static gpg_error_t tell_octets(struct card_data *c, const char *name, struct rd r)
{
    struct buf b = BUF_INIT;
    gpg_error_t err;

    put_escaped(&b, r);
    err = buf_cstr(&b) != NULL ? tell(c, name, buf_cstr(&b)) : buf_err(&b);
    buf_free(&b);
    return err;
}

static gpg_error_t tell_hex(struct card_data *c, const char *name, int number, const uint8_t *p,
                            size_t n)
{
    char *hex = hex_encode(p, n), *text;
    gpg_error_t err;

    text = hex == NULL  ? NULL
           : number > 0 ? gpgrt_bsprintf("%d %s", number, hex)
                        : gpgrt_strdup(hex);
    err = text != NULL ? tell(c, name, text) : gpg_error_from_syserror();
    gpgrt_free(hex);
    gpgrt_free(text);
    return err;
}

/* --- reading ---------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t optional(struct openpgp *o, unsigned tag, struct buf *out)
{
    gpg_error_t err;

    buf_reset(out);
    err = openpgp_get_data(o, tag, out);
    switch (gpg_err_code(err)) {
    case GPG_ERR_CARD_RESET:
    case GPG_ERR_EAGAIN:
    case GPG_ERR_CARD_REMOVED:
    case GPG_ERR_ENODEV:
    case GPG_ERR_ENOMEM:
        return err;
    default:
        return 0;
    }
}

static gpg_error_t read_all(struct openpgp *o, void *arg)
{
    struct card_data *c = arg;
    gpg_error_t err = openpgp_refresh(o);

    buf_reset(&c->d6e);
    if (err == 0)
        err = openpgp_get_data(o, 0x6e, &c->d6e);
    if (err == 0)
        err = optional(o, 0x65, &c->d65);
    if (err == 0)
        err = optional(o, 0x5e, &c->login);
    if (err == 0)
        err = optional(o, 0x5f50, &c->url);
    if (err == 0 && o->kdf_possible)
        err = optional(o, 0xf9, &c->kdf);
    if (err == 0 && o->aid[6] >= 3)
        err = optional(o, 0xfa, &c->fa);
    c->counter = o->counter;
    return err;
}

static void data_clear(struct card_data *c)
{
    struct buf *const all[] = {&c->d6e, &c->d65, &c->login, &c->url, &c->kdf, &c->fa};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        buf_free(all[i]);
}

/* An object within 6E; empty: none. */
static struct rd within(const struct card_data *c, unsigned tag)
{
    struct rd v;

    return rd_tlv_find(buf_rd(&c->d6e), tag, &v) == 0 ? v : rd_of(NULL, 0);
}

/* --- one by one -------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t reader(struct card_data *c, const char *name)
{
    return tell(c, name, c->o->reader);
}

static gpg_error_t serial(struct card_data *c, const char *name)
{
    return tell_hex(c, name, 0, c->o->aid, sizeof c->o->aid);
}

static gpg_error_t shown_serial(struct card_data *c, const char *name)
{
    const uint8_t *a = c->o->aid;
    char text[24];

    snprintf(text, sizeof text, "%02X%02X+%02X%02X%02X%02X", a[8], a[9], a[10], a[11], a[12],
             a[13]);
    return tell(c, name, text);
}

static gpg_error_t apptype(struct card_data *c, const char *name)
{
    return tell(c, name, "openpgp");
}

static gpg_error_t appversion(struct card_data *c, const char *name)
{
    char text[8];

    snprintf(text, sizeof text, "%X", (unsigned)c->o->aid[6] << 8 | c->o->aid[7]);
    return tell(c, name, text);
}

/* Who has which number (the list that FSFE keeps). */
static const struct {
    uint16_t number;
    const char *name;
} manufacturers[] = {
    {0x0001, "PPC Card Systems"},
    {0x0002, "Prism"},
    {0x0003, "OpenFortress"},
    {0x0004, "Wewid"},
    {0x0005, "ZeitControl"},
    {0x0006, "Yubico"},
    {0x0007, "OpenKMS"},
    {0x0008, "LogoEmail"},
    {0x0009, "Fidesmo"},
    {0x000A, "VivoKey"},
    {0x000B, "Feitian Technologies"},
    {0x000D, "Dangerous Things"},
    {0x000E, "Excelsecu"},
    {0x000F, "Nitrokey"},
    {0x002A, "Magrathea"},
    {0x0042, "GnuPG e.V."},
    {0x1337, "Warsaw Hackerspace"},
    {0x2342, "warpzone"},
    {0x4354, "Confidential Technologies"},
    {0x5343, "SSE Carte à puce"},
    {0x5443, "TIF-IT e.V."},
    {0x63AF, "Trustica"},
    {0xBA53, "c-base e.V."},
    {0xBD0E, "Paranoidlabs"},
    {0xCA05, "Atos CardOS"},
    {0xF1D0, "CanoKeys"},
    {0xF517, "FSIJ"},
    {0xF5EC, "F-Secure"},
    {0x0000, "test card"},
    {0xFFFF, "test card"},
};

static gpg_error_t manufacturer(struct card_data *c, const char *name)
{
    uint16_t number = (uint16_t)(c->o->aid[8] << 8 | c->o->aid[9]);
    const char *who = (number & 0xff00) == 0xff00 ? "unmanaged S/N range" : "unknown";
    struct buf b = BUF_INIT;
    gpg_error_t err;

    for (size_t i = 0; i < sizeof manufacturers / sizeof manufacturers[0]; i++)
        if (manufacturers[i].number == number)
            who = manufacturers[i].name;
    buf_printf(&b, "%u ", number);
    put_escaped(&b, rd_of(who, strlen(who)));
    err = buf_cstr(&b) != NULL ? tell(c, name, buf_cstr(&b)) : buf_err(&b);
    buf_free(&b);
    return err;
}

/* Extended capabilities (OpenPGP card 4.4.3.7), the life cycle status of the historical bytes, the button of 7F74. */
static gpg_error_t extcap(struct card_data *c, const char *name)
{
    struct rd caps = within(c, 0xc0), hist = within(c, 0x5f52), features = within(c, 0x7f74),
              button;
    uint8_t b = caps.n > 0 ? caps.p[0] : 0;
    unsigned cert = caps.n >= 6 ? (unsigned)caps.p[4] << 8 | caps.p[5] : 0, sm = 0, si = 0;
    char text[120];

    if ((b & 0x80) != 0 && caps.n > 1)
        sm = caps.p[1] == 0 ? 2 : caps.p[1] == 1 ? 7 : 9;
    if (hist.n >= 3)
        si = hist.p[hist.n - 3];
    snprintf(text, sizeof text,
             "gc=%d+ki=%d+fc=%d+pd=%d+mcl3=%u+aac=%d+sm=%u+si=%u+dec=%d+bt=%d+kdf=%d",
             (b & 0x40) != 0, (b & 0x20) != 0, (b & 0x10) != 0, (b & 0x08) != 0, cert,
             (b & 0x04) != 0, sm, si, (b & 0x02) != 0,
             features.n > 0 && rd_tlv_find(features, 0x81, &button) == 0 && button.n > 0 &&
                 (button.p[0] & 0x20) != 0,
             (b & 0x01) != 0);
    return tell(c, name, text);
}

static gpg_error_t text_within_65(struct card_data *c, const char *name, unsigned tag)
{
    struct rd v;

    return rd_tlv_find(buf_rd(&c->d65), tag, &v) == 0 && v.n > 0 ? tell_octets(c, name, v) : 0;
}

static gpg_error_t disp_name(struct card_data *c, const char *name)
{
    return text_within_65(c, name, 0x5b);
}

static gpg_error_t disp_lang(struct card_data *c, const char *name)
{
    return text_within_65(c, name, 0x5f2d);
}

static gpg_error_t disp_sex(struct card_data *c, const char *name)
{
    return text_within_65(c, name, 0x5f35);
}

static gpg_error_t unless_empty(struct card_data *c, const char *name, const struct buf *b)
{
    return b->len > 0 ? tell_octets(c, name, buf_rd(b)) : 0;
}

static gpg_error_t pubkey_url(struct card_data *c, const char *name)
{
    return unless_empty(c, name, &c->url);
}

static gpg_error_t login_data(struct card_data *c, const char *name)
{
    return unless_empty(c, name, &c->login);
}

static gpg_error_t kdf(struct card_data *c, const char *name)
{
    return unless_empty(c, name, &c->kdf);
}

/* Three fingerprints or times in a row, those that are not zero. */
static gpg_error_t three(struct card_data *c, const char *name, unsigned tag, size_t size)
{
    static const uint8_t zero[20];
    struct rd v = within(c, tag);
    gpg_error_t err = 0;

    for (unsigned i = 0; i < 3 && err == 0 && v.n >= size * (i + 1); i++) {
        const uint8_t *p = v.p + size * i;

        if (memcmp(p, zero, size) == 0)
            continue;
        if (size == 20) {
            err = tell_hex(c, name, (int)i + 1, p, size);
        } else {
            char text[24];

            snprintf(text, sizeof text, "%u %lu", i + 1,
                     (unsigned long)p[0] << 24 | (unsigned long)p[1] << 16 |
                         (unsigned long)p[2] << 8 | p[3]);
            err = tell(c, name, text);
        }
    }
    return err;
}

static gpg_error_t key_fpr(struct card_data *c, const char *name)
{
    return three(c, name, 0xc5, 20);
}

static gpg_error_t ca_fpr(struct card_data *c, const char *name)
{
    return three(c, name, 0xc6, 20);
}

static gpg_error_t key_time(struct card_data *c, const char *name)
{
    return three(c, name, 0xcd, 4);
}

static gpg_error_t chv_status(struct card_data *c, const char *name)
{
    struct rd v = within(c, 0xc4);
    struct buf b = BUF_INIT;
    gpg_error_t err;

    if (v.n < 7)
        return 0;
    for (size_t i = 0; i < 7; i++)
        buf_printf(&b, "+%d", v.p[i]);
    err = buf_cstr(&b) != NULL ? tell(c, name, buf_cstr(&b)) : buf_err(&b);
    buf_free(&b);
    return err;
}

static gpg_error_t sig_counter(struct card_data *c, const char *name)
{
    char text[24];

    if (c->counter < 0)
        return 0;
    snprintf(text, sizeof text, "%ld", c->counter);
    return tell(c, name, text);
}

/* gpg's word for the algorithm of attributes: "rsa2048", "ed25519" (SHORT), or the curve's name. */
static void algorithm_of(const struct slot *s, bool brief, char out[40])
{
    static const struct {
        const char *curve, *brief;
    } names[] = {{"NIST P-256", "nistp256"},
                 {"NIST P-384", "nistp384"},
                 {"NIST P-521", "nistp521"},
                 {"Ed25519", "ed25519"},
                 {"Curve25519", "cv25519"}};

    if (s->rsa) {
        snprintf(out, 40, "rsa%u", s->rsa_bits);
        return;
    }
    snprintf(out, 40, "%s", s->oid_curve != NULL ? s->oid_curve : "?");
    for (size_t i = 0; brief && s->oid_curve != NULL && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i].curve, s->oid_curve) == 0)
            snprintf(out, 40, "%s", names[i].brief);
}

static gpg_error_t key_attr(struct card_data *c, const char *name)
{
    gpg_error_t err = 0;

    for (unsigned i = 0; i < NSLOTS && err == 0; i++) {
        struct rd v = within(c, 0xc1 + i);
        const struct slot *s = &c->o->slots[i];
        char text[80], curve[40];

        if (v.n < 2)
            continue;
        algorithm_of(s, false, curve);
        if (s->rsa)
            snprintf(text, sizeof text, "%u 1 %s %u %u", i + 1, curve,
                     v.n >= 5 ? (unsigned)v.p[3] << 8 | v.p[4] : 32, v.n >= 6 ? v.p[5] : 0);
        else
            snprintf(text, sizeof text, "%u %u %s", i + 1, v.p[0], curve);
        err = tell(c, name, text);
    }
    return err;
}

/* Algorithm information (FA): what each slot may be set to. */
static gpg_error_t key_attr_info(struct card_data *c, const char *name)
{
    struct rd r = buf_rd(&c->fa), v;
    gpg_error_t err = 0;
    uint32_t tag;

    while (r.n > 0 && err == 0 && rd_tlv(&r, &tag, &v) == 0) {
        struct slot s = {0};
        char text[80], algo[40];

        if (tag < 0xc1 || tag > 0xc3)
            continue;
        openpgp_parse_attributes(&s, v);
        if (s.rsa || s.oid_curve != NULL) {
            algorithm_of(&s, true, algo);
            snprintf(text, sizeof text, "OPENPGP.%u %s", (unsigned)(tag - 0xc0), algo);
            err = tell(c, name, text);
        }
        gpgrt_free(s.oid_curve);
    }
    return err;
}

static gpg_error_t uif(struct card_data *c, const char *name)
{
    struct rd v = within(c, 0xd6u + (unsigned)(name[4] - '1'));

    return v.n > 0 ? tell_octets(c, name, v) : 0;
}

static gpg_error_t keypairinfo(struct card_data *c, const char *name)
{
    static const char *const usage[NSLOTS] = {"sc", "e", "sa"};
    gpg_error_t err = 0;

    for (unsigned i = 0; i < NSLOTS && err == 0; i++) {
        const struct slot *s = &c->o->slots[i];
        char *grip, *text, algo[40], when[24] = "-";

        if (s->key == NULL)
            continue;
        grip = hex_encode(s->key->grip, sizeof s->key->grip);
        algorithm_of(s, true, algo);
        if (s->created != 0)
            snprintf(when, sizeof when, "%lu", (unsigned long)s->created);
        text = grip != NULL
                   ? gpgrt_bsprintf("%s OPENPGP.%u %s %s %s", grip, i + 1, usage[i], when, algo)
                   : NULL;
        err = text != NULL ? tell(c, name, text) : gpg_error_from_syserror();
        gpgrt_free(grip);
        gpgrt_free(text);
    }
    return err;
}

static gpg_error_t keyid(struct card_data *c, const char *name)
{
    return tell(c, name, name[1] == 'S' ? "OPENPGP.1" : name[1] == 'E' ? "OPENPGP.2" : "OPENPGP.3");
}

static gpg_error_t private_do(struct card_data *c, const char *name);

/* In the order of scdaemon's LEARN. */
static const struct {
    const char *name;
    gpg_error_t (*print)(struct card_data *c, const char *name);
    bool learn; /* part of LEARN, too */
} attributes[] = {
    {"READER", reader, true},
    {"SERIALNO", serial, true},
    {"APPTYPE", apptype, true},
    {"APPVERSION", appversion, true},
    {"EXTCAP", extcap, true},
    {"MANUFACTURER", manufacturer, true},
    {"DISP-NAME", disp_name, true},
    {"DISP-LANG", disp_lang, true},
    {"DISP-SEX", disp_sex, true},
    {"PUBKEY-URL", pubkey_url, true},
    {"LOGIN-DATA", login_data, true},
    {"KEY-FPR", key_fpr, true},
    {"KEY-TIME", key_time, true},
    {"CA-FPR", ca_fpr, true},
    {"CHV-STATUS", chv_status, true},
    {"SIG-COUNTER", sig_counter, true},
    {"KDF", kdf, true},
    {"UIF-1", uif, true},
    {"UIF-2", uif, true},
    {"UIF-3", uif, true},
    {"PRIVATE-DO-1", private_do, true},
    {"PRIVATE-DO-2", private_do, true},
    {"PRIVATE-DO-3", private_do, false},
    {"PRIVATE-DO-4", private_do, false},
    {"KEYPAIRINFO", keypairinfo, true},
    {"KEY-ATTR", key_attr, false},
    {"KEY-ATTR-INFO", key_attr_info, false},
    {"$DISPSERIALNO", shown_serial, false},
    {"$SIGNKEYID", keyid, false},
    {"$ENCRKEYID", keyid, false},
    {"$AUTHKEYID", keyid, false},
};
#define ATTRIBUTES (sizeof attributes / sizeof attributes[0])

struct private_object {
    unsigned tag;
    struct buf *out;
};

static gpg_error_t read_private(struct openpgp *o, void *arg)
{
    const struct private_object *p = arg;

    return optional(o, p->tag, p->out);
}

static gpg_error_t private_do(struct card_data *c, const char *name)
{
    struct rd caps = within(c, 0xc0);
    struct buf value = BUF_INIT;
    struct private_object p = {0x0100u + (unsigned)(name[11] - '0'), &value};
    gpg_error_t err;

    if (caps.n == 0 || (caps.p[0] & 0x08) == 0)
        return 0;
    err = openpgp_in_card(c->o, c->op, 0, read_private, &p);
    if (err == 0 && value.len > 0)
        err = tell_octets(c, name, buf_rd(&value));
    buf_free(&value);
    return err;
}

gpg_error_t openpgp_getattr(void *state, struct driver_op *op, struct buf *result)
{
    struct openpgp *o = state;
    struct card_data c = {.o = o, .op = op};
    char *name = NULL;
    size_t i = 0;
    bool all;
    gpg_error_t err = openpgp_arg(op, "name", &name);

    (void)result;
    all = err == 0 && strcmp(name, "LEARN") == 0;
    while (err == 0 && !all && i < ATTRIBUTES && strcmp(attributes[i].name, name) != 0)
        i++;
    if (err == 0 && !all && i == ATTRIBUTES)
        err = gpg_error(GPG_ERR_INV_NAME);
    if (err == 0)
        err = openpgp_learn_card(o, false, false);
    if (err == 0)
        err = openpgp_in_card(o, op, 0, read_all, &c);
    if (err == 0 && !all)
        err = attributes[i].print(&c, name);
    for (i = 0; all && err == 0 && i < ATTRIBUTES; i++)
        if (attributes[i].learn)
            err = attributes[i].print(&c, attributes[i].name);
    data_clear(&c);
    gpgrt_free(name);
    return err;
}
