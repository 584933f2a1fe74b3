/* GETATTR: what is on a card, in scdaemon's words (its app-openpgp's names and escapes), which gpg reads. */
#include "devices/openpgp_admin.h"

#include "proto/token_protocol.h"

#include <string.h>

/* --- one line each ---------------------------------------------------------------------------------------------------------------- */

struct telling {
    struct admin *a;
    struct openpgp *o;
    struct buf all;   /* 6E, once it was read */
    struct buf lines; /* fields of an ATTR line each */
};

static void put_line(struct telling *t, const char *name, const char *text)
{
    struct buf f = BUF_INIT;

    field_put(&f, "name", name);
    field_put(&f, "text", text != NULL ? text : "");
    buf_printf(&t->lines, "%s\n", buf_cstr(&f) != NULL ? buf_cstr(&f) : "");
    buf_free(&f);
}

__attribute__((format(printf, 3, 4))) static void print_line(struct telling *t, const char *name,
                                                             const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (gpgrt_vasprintf(&text, fmt, ap) >= 0)
        put_line(t, name, text);
    va_end(ap);
    gpgrt_free(text);
}

/* Blanks are pluses; 8-bit octets stay as they are. */
void admin_put_escaped(struct buf *b, struct rd value)
{
    for (size_t i = 0; i < value.n; i++) {
        uint8_t c = value.p[i];

        if (c == '+' || c == '"' || c == '%' || c < ' ')
            buf_printf(b, "%%%02X", (unsigned)c);
        else
            buf_put_u8(b, c == ' ' ? '+' : c);
    }
}

static void put_value(struct telling *t, const char *name, struct rd value)
{
    struct buf text = BUF_INIT;

    admin_put_escaped(&text, value);
    put_line(t, name, buf_cstr(&text));
    buf_free(&text);
}

static gpg_error_t need_6e(struct telling *t)
{
    return t->all.len > 0 ? 0 : openpgp_read_6e(t->o, &t->all);
}

/* Content of TAG in 6E. */
static gpg_error_t related(struct telling *t, unsigned tag, struct rd *value)
{
    gpg_error_t err = need_6e(t);

    if (err == 0 && rd_tlv_find(buf_rd(&t->all), tag, value) != 0)
        err = gpg_error(GPG_ERR_NO_OBJ);
    return err;
}

/* --- attributes ------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t put_object(struct telling *t, const char *name, unsigned tag)
{
    struct buf value = BUF_INIT;
    gpg_error_t err = openpgp_get_data(t->o, tag, &value);

    if (err == 0)
        put_value(t, name, buf_rd(&value));
    buf_free(&value);
    return err;
}

/* An empty one is none, and no error. */
static gpg_error_t put_text(struct telling *t, const char *name, unsigned tag)
{
    gpg_error_t err = put_object(t, name, tag);

    return gpg_err_code(err) == GPG_ERR_NO_OBJ ? 0 : err;
}

static gpg_error_t put_in_related(struct telling *t, const char *name, unsigned tag)
{
    struct rd value;
    gpg_error_t err = related(t, tag, &value);

    if (err == 0)
        put_value(t, name, value);
    /* not listed there by every card that has it */
    return gpg_err_code(err) == GPG_ERR_NO_OBJ ? put_object(t, name, tag) : err;
}

static gpg_error_t put_person(struct telling *t, const char *name, unsigned tag)
{
    struct buf person = BUF_INIT;
    struct rd value;
    gpg_error_t err = openpgp_get_data(t->o, 0x65, &person);

    if (err == 0 && rd_tlv_find(buf_rd(&person), tag, &value) != 0)
        err = gpg_error(GPG_ERR_NO_OBJ);
    if (err == 0)
        put_value(t, name, value);
    buf_free(&person);
    return err;
}

static gpg_error_t put_fingerprints(struct telling *t, const char *name, unsigned tag)
{
    static const uint8_t none[20];
    struct rd all, one;
    gpg_error_t err = related(t, tag, &all);

    for (int i = 1; err == 0 && i <= 3 && rd_bytes(&all, sizeof none, &one) == 0; i++) {
        char *hex = hex_encode(one.p, one.n);

        if (hex == NULL)
            err = gpg_error_from_syserror();
        else if (memcmp(one.p, none, sizeof none) != 0)
            print_line(t, name, "%d %s", i, hex);
        gpgrt_free(hex);
    }
    return err;
}

static gpg_error_t put_times(struct telling *t, const char *name, unsigned tag)
{
    struct rd all;
    uint32_t seconds;
    gpg_error_t err = related(t, tag, &all);

    for (int i = 1; err == 0 && i <= 3 && rd_u32(&all, &seconds) == 0; i++)
        if (seconds != 0)
            print_line(t, name, "%d %lu", i, (unsigned long)seconds);
    return err;
}

static gpg_error_t put_pin_status(struct telling *t, const char *name, unsigned tag)
{
    struct buf text = BUF_INIT;
    struct rd all;
    uint8_t octet;
    gpg_error_t err = related(t, tag, &all);

    for (int i = 0; err == 0 && i < 7 && rd_u8(&all, &octet) == 0; i++)
        buf_printf(&text, "+%u", (unsigned)octet);
    if (err == 0)
        put_line(t, name, buf_cstr(&text));
    buf_free(&text);
    return err;
}

static gpg_error_t put_counter(struct telling *t, const char *name, unsigned tag)
{
    struct buf data = BUF_INIT;
    struct rd value;
    unsigned long n = 0;
    uint8_t octet;
    gpg_error_t err = openpgp_get_data(t->o, 0x7a, &data);

    if (err == 0 && (rd_tlv_find(buf_rd(&data), tag, &value) != 0 || value.n > 4))
        err = gpg_error(GPG_ERR_NO_OBJ);
    while (err == 0 && rd_u8(&value, &octet) == 0)
        n = n << 8 | octet;
    if (err == 0)
        print_line(t, name, "%lu", n);
    buf_free(&data);
    return err;
}

static gpg_error_t put_serial(struct telling *t, const char *name, unsigned tag)
{
    char *hex = hex_encode(t->o->aid, sizeof t->o->aid);

    (void)tag;
    put_line(t, name, hex);
    gpgrt_free(hex);
    return 0;
}

static gpg_error_t put_shown_serial(struct telling *t, const char *name, unsigned tag)
{
    char *manufacturer = hex_encode(t->o->aid + 8, 2), *serial = hex_encode(t->o->aid + 10, 4);

    (void)tag;
    if (manufacturer != NULL && serial != NULL)
        print_line(t, name, "%s+%s", manufacturer, serial);
    gpgrt_free(manufacturer);
    gpgrt_free(serial);
    return 0;
}

/* TAG: the number behind "OPENPGP." */
static gpg_error_t put_reference(struct telling *t, const char *name, unsigned tag)
{
    print_line(t, name, "OPENPGP.%u", tag);
    return 0;
}

static gpg_error_t put_application(struct telling *t, const char *name, unsigned tag)
{
    (void)tag;
    put_line(t, name, "openpgp");
    return 0;
}

static gpg_error_t put_version(struct telling *t, const char *name, unsigned tag)
{
    (void)tag;
    print_line(t, name, "%X", (unsigned)t->o->aid[6] << 8 | t->o->aid[7]);
    return 0;
}

static gpg_error_t put_reader(struct telling *t, const char *name, unsigned tag)
{
    (void)tag;
    put_line(t, name, t->o->reader);
    return 0;
}

/* The ciphers of secure messaging by their OpenPGP numbers: 3DES, AES, AES-256. */
static unsigned messaging_cipher(const struct abilities *can)
{
    if (!can->secure_messaging)
        return 0;
    return can->sm_algo == 0 ? 2 : can->sm_algo == 1 ? 7 : 9;
}

static gpg_error_t put_abilities(struct telling *t, const char *name, unsigned tag)
{
    const struct abilities *can = &t->o->can;
    gpg_error_t err = need_6e(t);

    (void)tag;
    if (err == 0)
        print_line(t, name,
                   "gc=%d+ki=%d+fc=%d+pd=%d+mcl3=%u+aac=%d+sm=%u+si=%u+dec=%d+bt=%d+kdf=%d",
                   can->challenge, can->import, can->change_force, can->private_objects,
                   can->max_cert, can->change_attributes, messaging_cipher(can), can->life_cycle,
                   can->aes, can->button, t->o->kdf_possible);
    return err;
}

static gpg_error_t put_key_kind(struct telling *t, const char *name, unsigned i)
{
    const struct slot *s = &t->o->slots[i];

    if (s->rsa && s->attr_len >= 5)
        print_line(t, name, "%u 1 rsa%u %u %u", i + 1, s->rsa_bits,
                   (unsigned)s->attr[3] << 8 | s->attr[4],
                   s->attr_len > 5 && s->attr[5] <= 3 ? s->attr[5] + 1u : 0);
    else if (s->oid_curve != NULL)
        print_line(t, name, "%u %d %s", i + 1,
                   i == SLOT_DEC                          ? 18
                   : strcmp(s->oid_curve, "Ed25519") == 0 ? 22
                                                          : 19,
                   s->oid_curve);
    else
        print_line(t, name, "%u 0 0 UNKNOWN", i + 1);
    return 0;
}

static gpg_error_t put_key_kinds(struct telling *t, const char *name, unsigned tag)
{
    gpg_error_t err = need_6e(t);

    (void)tag;
    for (unsigned i = 0; err == 0 && i < NSLOTS; i++)
        err = put_key_kind(t, name, i);
    return err;
}

static gpg_error_t put_offered(struct telling *t, const char *name, unsigned tag)
{
    struct buf offered = BUF_INIT;
    struct rd rest, attr;
    unsigned slot;
    char rsa[16];
    gpg_error_t err = admin_read_offered(t->o, &offered);

    (void)tag;
    if (err == 0 && offered.len == 0)
        err = gpg_error(GPG_ERR_NO_OBJ);
    rest = buf_rd(&offered);
    while (err == 0 && admin_next_offered(&rest, &slot, &attr) == 0) {
        const char *algo = admin_algorithm_name(attr, rsa);

        if (algo != NULL)
            print_line(t, name, "OPENPGP.%u %s", slot, algo);
    }
    buf_free(&offered);
    return err;
}

static gpg_error_t put_key_status(struct telling *t, const char *name, unsigned tag)
{
    struct rd all;
    uint8_t key, status;
    gpg_error_t err = related(t, tag, &all);

    while (err == 0 && rd_u8(&all, &key) == 0 && rd_u8(&all, &status) == 0)
        print_line(t, name, "OPENPGP.%u %u", (unsigned)key, (unsigned)status);
    return err;
}

static gpg_error_t put_all_uif(struct telling *t, const char *name, unsigned tag)
{
    static const char *const names[NSLOTS] = {"UIF-1", "UIF-2", "UIF-3"};
    gpg_error_t err = 0;

    (void)name;
    for (unsigned i = 0; err == 0 && i < NSLOTS; i++)
        err = put_in_related(t, names[i], tag + i);
    return err;
}

/* As GnuPG has them. */
static const struct {
    uint16_t number;
    const char *name;
} manufacturers[] = {
    {0x0000, "test card"},
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
    {0x0010, "NeoPGP"},
    {0x0011, "Token2"},
    {0x002A, "Magrathea"},
    {0x0042, "GnuPG e.V."},
    {0x1337, "Warsaw Hackerspace"},
    {0x2342, "warpzone"},
    {0x4354, "Confidential Technologies"},
    {0x5343, "SSE Carte \xc3\xa0 puce"},
    {0x5443, "TIF-IT e.V."},
    {0x63AF, "Trustica"},
    {0xBA53, "c-base e.V."},
    {0xBD0E, "Paranoidlabs"},
    {0xCA05, "Atos CardOS"},
    {0xF1D0, "CanoKeys"},
    {0xF517, "FSIJ"},
    {0xF5EC, "F-Secure"},
    {0xFFFF, "test card"},
};

static gpg_error_t put_manufacturer(struct telling *t, const char *name, unsigned tag)
{
    unsigned number = (unsigned)t->o->aid[8] << 8 | t->o->aid[9];
    const char *who = number >= 0xff00 ? "unmanaged S/N range" : "unknown";

    (void)tag;
    for (size_t i = 0; i < sizeof manufacturers / sizeof manufacturers[0]; i++)
        if (manufacturers[i].number == number)
            who = manufacturers[i].name;
    print_line(t, name, "%u %s", number, who);
    return 0;
}

static gpg_error_t put_pairs(struct telling *t, const char *name, unsigned tag)
{
    static const char *const usages[NSLOTS] = {"sc", "e", "sa"};
    gpg_error_t err = need_6e(t);

    (void)tag;
    if (err == 0)
        err = openpgp_read_keys(t->o, false);
    for (unsigned i = 0; err == 0 && i < NSLOTS; i++) {
        const struct slot *s = &t->o->slots[i];
        char *grip, algo[32];

        if (s->key == NULL)
            continue;
        grip = hex_encode(s->key->grip, sizeof s->key->grip);
        if (grip == NULL)
            return gpg_error_from_syserror();
        print_line(t, name, "%s OPENPGP.%u %s %lu %s", grip, i + 1, usages[i],
                   (unsigned long)s->created, key_algo_name(s->key, algo));
        gpgrt_free(grip);
    }
    return err;
}

struct attribute {
    const char *name;
    gpg_error_t (*put)(struct telling *t, const char *name, unsigned tag);
    unsigned tag;
    uint8_t ref; /* the PIN that reading takes */
};
static const struct attribute attributes[] = {
    {"DISP-NAME", put_person, 0x5b, 0},
    {"DISP-LANG", put_person, 0x5f2d, 0},
    {"DISP-SEX", put_person, 0x5f35, 0},
    {"LOGIN-DATA", put_text, 0x5e, 0},
    {"PUBKEY-URL", put_text, 0x5f50, 0},
    {"KEY-FPR", put_fingerprints, 0xc5, 0},
    {"CA-FPR", put_fingerprints, 0xc6, 0},
    {"KEY-TIME", put_times, 0xcd, 0},
    {"KEY-ATTR", put_key_kinds, 0, 0},
    {"KEY-ATTR-INFO", put_offered, 0xfa, 0},
    {"KEY-STATUS", put_key_status, 0xde, 0},
    {"CHV-STATUS", put_pin_status, 0xc4, 0},
    {"SIG-COUNTER", put_counter, 0x93, 0},
    {"SERIALNO", put_serial, 0, 0},
    {"AID", put_object, 0x4f, 0},
    {"APPTYPE", put_application, 0, 0},
    {"APPVERSION", put_version, 0, 0},
    {"EXTCAP", put_abilities, 0, 0},
    {"MANUFACTURER", put_manufacturer, 0, 0},
    {"PRIVATE-DO-1", put_text, 0x0101, 0},
    {"PRIVATE-DO-2", put_text, 0x0102, 0},
    {"PRIVATE-DO-3", put_text, 0x0103, PW1_OTHER},
    {"PRIVATE-DO-4", put_text, 0x0104, PW3_ADMIN},
    {"$SIGNKEYID", put_reference, 1, 0},
    {"$ENCRKEYID", put_reference, 2, 0},
    {"$AUTHKEYID", put_reference, 3, 0},
    {"$DISPSERIALNO", put_shown_serial, 0, 0},
    {"UIF-1", put_in_related, 0xd6, 0},
    {"UIF-2", put_in_related, 0xd7, 0},
    {"UIF-3", put_in_related, 0xd8, 0},
    {"UIF", put_all_uif, 0xd6, 0},
    {"KDF", put_object, 0xf9, 0},
    {"READER", put_reader, 0, 0},
    {"KEYPAIRINFO", put_pairs, 0, 0},
};
#define ATTRIBUTES (sizeof attributes / sizeof attributes[0])

static const struct attribute *find(const char *name)
{
    for (size_t i = 0; i < ATTRIBUTES; i++)
        if (strcmp(attributes[i].name, name) == 0)
            return &attributes[i];
    return NULL;
}

/* --- LEARN ------------------------------------------------------------------------------------------------------------------------ */

/* In scdaemon's order; WANTED: only cards that announce it are asked. */
static const struct {
    const char *name;
    enum { ALWAYS, IF_KDF, IF_BUTTON, IF_PRIVATE, IF_PRIVATE_AND_PIN } wanted;
} learned[] = {
    {"READER", ALWAYS},
    {"SERIALNO", ALWAYS},
    {"APPTYPE", ALWAYS},
    {"APPVERSION", ALWAYS},
    {"EXTCAP", ALWAYS},
    {"MANUFACTURER", ALWAYS},
    {"DISP-NAME", ALWAYS},
    {"DISP-LANG", ALWAYS},
    {"DISP-SEX", ALWAYS},
    {"PUBKEY-URL", ALWAYS},
    {"LOGIN-DATA", ALWAYS},
    {"KEY-FPR", ALWAYS},
    {"KEY-TIME", ALWAYS},
    {"CA-FPR", ALWAYS},
    {"CHV-STATUS", ALWAYS},
    {"SIG-COUNTER", ALWAYS},
    {"KDF", IF_KDF},
    {"UIF", IF_BUTTON},
    {"PRIVATE-DO-1", IF_PRIVATE},
    {"PRIVATE-DO-2", IF_PRIVATE},
    {"PRIVATE-DO-3", IF_PRIVATE_AND_PIN},
    {"KEYPAIRINFO", ALWAYS},
};

static bool is_wanted(struct openpgp *o, size_t i)
{
    switch (learned[i].wanted) {
    case IF_KDF:
        return o->kdf_possible;
    case IF_BUTTON:
        return o->can.button;
    case IF_PRIVATE:
        return o->can.private_objects;
    case IF_PRIVATE_AND_PIN:
        return o->can.private_objects && o->verified[1];
    default:
        return true;
    }
}

/* Is it the card's answer that there is no such thing, or that it is none of our business? */
static bool is_absent(gpg_error_t err)
{
    switch (gpg_err_code(err)) {
    case GPG_ERR_NO_OBJ:
    case GPG_ERR_NOT_SUPPORTED:
    case GPG_ERR_INV_VALUE:
    case GPG_ERR_BAD_PIN:
    case GPG_ERR_USE_CONDITIONS:
        return true;
    default:
        return false;
    }
}

static gpg_error_t put_learned(struct telling *t)
{
    gpg_error_t err = need_6e(t);

    for (size_t i = 0; err == 0 && i < sizeof learned / sizeof learned[0]; i++) {
        const struct attribute *at = find(learned[i].name);

        if (!is_wanted(t->o, i))
            continue;
        err = at->put(t, at->name, at->tag);
        if (is_absent(err))
            err = 0;
    }
    return err;
}

/* --- the verb --------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t run(struct admin *a)
{
    const struct attribute *at = a->arg;
    struct telling t = {.a = a, .o = a->o, .all = BUF_INIT, .lines = BUF_INIT};
    gpg_error_t err = at != NULL ? at->put(&t, at->name, at->tag) : put_learned(&t);

    if (err == 0)
        err = buf_err(&t.lines);
    if (err == 0) {
        buf_free(a->result);
        *a->result = t.lines;
        t.lines = BUF_INIT;
    }
    buf_free(&t.all);
    buf_free(&t.lines);
    return err;
}

static gpg_error_t tell(struct driver_op *op, struct buf *lines)
{
    char *save = NULL, *text = buf_steal_cstr(lines);
    gpg_error_t err = text != NULL ? 0 : gpg_error(GPG_ERR_ENOMEM);

    for (char *l = err == 0 ? strtok_r(text, "\n", &save) : NULL; l != NULL && err == 0;
         l = strtok_r(NULL, "\n", &save))
        err = op->io->status(op->io->arg, TOKEN_STATUS_ATTR, l);
    gpgrt_free(text);
    return err;
}

gpg_error_t admin_getattr(void *state, struct driver_op *op, struct buf *result)
{
    struct buf lines = BUF_INIT;
    struct admin a = {.o = state, .op = op, .run = run, .result = &lines};
    const struct attribute *at;
    char *name = NULL;
    gpg_error_t err = field_get(op->args, "name", &name);

    (void)result;
    if (err == 0 && name == NULL)
        err = gpg_error(GPG_ERR_MISSING_VALUE);
    if (err == 0 && strcmp(name, "LEARN") != 0) {
        at = find(name);
        a.arg = at;
        a.ref = at != NULL ? at->ref : 0;
        err = at != NULL ? 0 : gpg_error(GPG_ERR_INV_NAME);
    }
    if (err == 0)
        err = admin_run(&a);
    if (err == 0 && lines.len > 0)
        err = tell(op, &lines);
    buf_free(&lines);
    gpgrt_free(name);
    return err;
}
