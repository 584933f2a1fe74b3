/* SETATTR and certificates: what is written to a card. Lengths are checked before a PIN is asked for. */
#include "devices/openpgp_admin.h"

#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>

#define MAX_VALUE 16384u
#define TAG_CERT  0x7f21u

/* --- simple objects ----------------------------------------------------------------------------------------------------------------- */

struct setting {
    const char *name;
    unsigned tag;
    uint8_t ref;
    unsigned min, max; /* octets; max 0: what the card announces for special objects */
    gpg_error_t (*check)(const struct openpgp *o, struct rd value);
    gpg_error_t (*run)(struct admin *a);
};

/* What RUN needs. */
struct change {
    const struct setting *setting;
    struct rd value;
};

static gpg_error_t put(struct admin *a)
{
    const struct change *c = a->arg;

    return admin_put_data(a, c->setting->tag, c->value);
}

/* ISO 5218 in ASCII: not known, male, female, not applicable */
static gpg_error_t check_sex(const struct openpgp *o, struct rd value)
{
    (void)o;
    return memchr("0129", value.p[0], 4) != NULL ? 0 : gpg_error(GPG_ERR_INV_VALUE);
}

static gpg_error_t check_language(const struct openpgp *o, struct rd value)
{
    (void)o;
    return value.n % 2 == 0 ? 0 : gpg_error(GPG_ERR_INV_LENGTH);
}

static gpg_error_t check_force(const struct openpgp *o, struct rd value)
{
    if (!o->can.change_force)
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    return value.p[0] <= 1 ? 0 : gpg_error(GPG_ERR_INV_VALUE);
}

static gpg_error_t check_private(const struct openpgp *o, struct rd value)
{
    (void)value;
    return o->can.private_objects ? 0 : gpg_error(GPG_ERR_NOT_SUPPORTED);
}

static gpg_error_t check_uif(const struct openpgp *o, struct rd value)
{
    if (!o->can.button && !o->uif_listed && !profile_has(o->profile, UIF_UNLISTED))
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    return value.p[0] <= UIF_CACHED_FIXED ? 0 : gpg_error(GPG_ERR_INV_VALUE);
}

static gpg_error_t check_kdf(const struct openpgp *o, struct rd value)
{
    struct kdf k;

    return o->kdf_possible ? openpgp_parse_kdf(value, &k) : gpg_error(GPG_ERR_NOT_SUPPORTED);
}

static gpg_error_t set_kdf(struct admin *a)
{
    return admin_set_kdf(a, ((const struct change *)a->arg)->value);
}

/* --- KEY-ATTR ------------------------------------------------------------------------------------------------------------------------ */

struct kind {
    bool force;
    unsigned i; /* slot */
    char algo[40];
};

/* "[--force] SLOT NUMBER NAME" in words. NUMBER follows from the name. */
static gpg_error_t parse_kind(struct rd value, struct kind *out)
{
    char text[120], *save = NULL, *word, *number, *name;

    if (value.n >= sizeof text || memchr(value.p, '\0', value.n) != NULL)
        return gpg_error(GPG_ERR_INV_VALUE);
    memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    *out = (struct kind){0};
    word = strtok_r(text, " ", &save);
    out->force = word != NULL && strcmp(word, "--force") == 0;
    if (out->force)
        word = strtok_r(NULL, " ", &save);
    if (word != NULL && strncasecmp(word, "OPENPGP.", 8) == 0)
        word += 8;
    number = strtok_r(NULL, " ", &save);
    name = strtok_r(NULL, "", &save);
    if (word == NULL || word[0] < '1' || word[0] > '3' || word[1] != '\0')
        return gpg_error(GPG_ERR_INV_ID);
    if (number == NULL || name == NULL || strlen(name) >= sizeof out->algo)
        return gpg_error(GPG_ERR_INV_VALUE);
    out->i = (unsigned)(word[0] - '1');
    strcpy(out->algo, name);
    return 0;
}

static gpg_error_t check_kind(const struct openpgp *o, struct rd value)
{
    struct kind k;

    return o->can.change_attributes ? parse_kind(value, &k) : gpg_error(GPG_ERR_NOT_SUPPORTED);
}

gpg_error_t admin_set_kind(struct admin *a, unsigned i, const char *algo)
{
    struct openpgp *o = a->o;
    struct slot *s = &o->slots[i];
    struct buf offered = BUF_INIT, attr = BUF_INIT;
    gpg_error_t err = admin_read_offered(o, &offered);

    if (err == 0)
        err = admin_attributes(o, i, algo, buf_rd(&offered), &attr);
    if (err == 0) {
        key_unref(s->key);
        s->key = NULL;
        s->unread = true;
        err = admin_put_data(a, 0xc1 + i, buf_rd(&attr));
    }
    if (err == 0)
        err = openpgp_read_6e(o, NULL);
    buf_free(&offered);
    buf_free(&attr);
    return err;
}

static gpg_error_t set_kind(struct admin *a)
{
    struct kind k;
    bool there = false;
    gpg_error_t err = parse_kind(((const struct change *)a->arg)->value, &k);

    if (err == 0 && !k.force)
        err = admin_holds_key(a->o, k.i, &there);
    if (err == 0 && there)
        err = gpg_error(GPG_ERR_EEXIST);
    return err != 0 ? err : admin_set_kind(a, k.i, k.algo);
}

/* Version 3.4: 4.2.1, 4.4.1, 4.4.3 */
static const struct setting settings[] = {
    {"DISP-NAME", 0x5b, PW3_ADMIN, 0, 39, NULL, put},
    {"DISP-LANG", 0x5f2d, PW3_ADMIN, 0, 8, check_language, put},
    {"DISP-SEX", 0x5f35, PW3_ADMIN, 1, 1, check_sex, put},
    {"LOGIN-DATA", 0x5e, PW3_ADMIN, 0, 0, NULL, put},
    {"PUBKEY-URL", 0x5f50, PW3_ADMIN, 0, 0, NULL, put},
    {"CHV-STATUS-1", 0xc4, PW3_ADMIN, 1, 1, check_force, put},
    {"CA-FPR-1", 0xca, PW3_ADMIN, 20, 20, NULL, put},
    {"CA-FPR-2", 0xcb, PW3_ADMIN, 20, 20, NULL, put},
    {"CA-FPR-3", 0xcc, PW3_ADMIN, 20, 20, NULL, put},
    {"PRIVATE-DO-1", 0x0101, PW1_OTHER, 0, 0, check_private, put},
    {"PRIVATE-DO-2", 0x0102, PW3_ADMIN, 0, 0, check_private, put},
    {"PRIVATE-DO-3", 0x0103, PW1_OTHER, 0, 0, check_private, put},
    {"PRIVATE-DO-4", 0x0104, PW3_ADMIN, 0, 0, check_private, put},
    {"UIF-1", 0xd6, PW3_ADMIN, 2, 2, check_uif, put},
    {"UIF-2", 0xd7, PW3_ADMIN, 2, 2, check_uif, put},
    {"UIF-3", 0xd8, PW3_ADMIN, 2, 2, check_uif, put},
    {"KDF", 0xf9, PW3_ADMIN, 3, 0, check_kdf, set_kdf},
    {"KEY-ATTR", 0, PW3_ADMIN, 1, 100, check_kind, set_kind},
};

static gpg_error_t check(const struct openpgp *o, const struct setting *s, struct rd value)
{
    unsigned max = s->max != 0 ? s->max : o->can.max_special != 0 ? o->can.max_special : 254;

    if (value.n < s->min)
        return gpg_error(GPG_ERR_TOO_SHORT);
    if (value.n > max)
        return gpg_error(GPG_ERR_TOO_LARGE);
    return s->check != NULL ? s->check(o, value) : 0;
}

gpg_error_t admin_setattr(void *state, struct driver_op *op, struct buf *result)
{
    struct openpgp *o = state;
    struct buf value = BUF_INIT_SECURE;
    struct change c = {0};
    struct admin a = {.o = o, .op = op, .arg = &c};
    char *name = NULL;
    gpg_error_t err = field_get(op->args, "name", &name);

    (void)result;
    if (err == 0 && name == NULL)
        err = gpg_error(GPG_ERR_MISSING_VALUE);
    for (size_t i = 0; err == 0 && i < sizeof settings / sizeof settings[0]; i++)
        if (strcmp(settings[i].name, name) == 0)
            c.setting = &settings[i];
    if (err == 0 && c.setting == NULL)
        err = gpg_error(GPG_ERR_INV_NAME);
    if (err == 0)
        err = op->io->inquire(op->io->arg, "VALUE", NULL, MAX_VALUE, true, &value);
    if (err == 0)
        err = openpgp_learn_card(o, false, true);
    if (err == 0)
        err = check(o, c.setting, buf_rd(&value));
    if (err == 0) {
        c.value = buf_rd(&value);
        a.ref = c.setting->ref;
        a.run = c.setting->run;
        err = admin_run(&a);
    }
    buf_free(&value);
    gpgrt_free(name);
    return err;
}

/* --- cardholder certificates ---------------------------------------------------------------------------------------------------------- */

struct cert {
    unsigned occurrence; /* of 7F21: 0 authentication, 1 decryption, 2 signature key's */
    struct rd value;
};

/* SELECT DATA (7.2.5); YubiKeys 5.2.0 to 5.4.3 want one octet more than the specification. */
static gpg_error_t select_cert(struct openpgp *o, unsigned occurrence)
{
    static const uint8_t path[] = {0x06, 0x60, 0x04, 0x5c, 0x02, 0x7f, 0x21};
    struct apdu c = {.ins = 0xa5,
                     .p1 = (uint8_t)occurrence,
                     .p2 = 0x04,
                     .data = rd_of(path + 1, sizeof path - 1)};
    unsigned sw;
    gpg_error_t err = apdu_send(&o->card, &c, NULL, &sw);

    if (err == 0 && (sw == 0x6a80 || sw == 0x6700)) {
        c.data = rd_of(path, sizeof path);
        err = apdu_send(&o->card, &c, NULL, &sw);
    }
    return err != 0 ? err : apdu_error(sw);
}

/* SELECT of the application has made the first occurrence the current one. */
static gpg_error_t read_cert(struct admin *a)
{
    const struct cert *c = a->arg;
    struct apdu get = {.ins = 0xca,
                       .p1 = TAG_CERT >> 8,
                       .p2 = TAG_CERT & 0xff,
                       .want_data = true,
                       .expect = a->o->can.max_cert};
    unsigned sw = 0x9000;
    gpg_error_t err = select_cert(a->o, c->occurrence);

    if (c->occurrence == 0 && gpg_err_code(err) == GPG_ERR_NOT_SUPPORTED)
        err = 0; /* cards before version 3 have no other */
    if (err == 0)
        err = apdu_send(&a->o->card, &get, a->result, &sw);
    if (err == 0)
        err = apdu_error(sw);
    if (c->occurrence != 0)
        (void)select_cert(a->o, 0);
    if (gpg_err_code(err) == GPG_ERR_NO_OBJ || (err == 0 && a->result->len == 0))
        err = gpg_error(GPG_ERR_NOT_FOUND);
    return err;
}

static gpg_error_t write_cert(struct admin *a)
{
    const struct cert *c = a->arg;
    gpg_error_t err = select_cert(a->o, c->occurrence);

    if (c->occurrence == 0 && gpg_err_code(err) == GPG_ERR_NOT_SUPPORTED)
        err = 0;
    if (err == 0)
        err = admin_put_data(a, TAG_CERT, c->value);
    if (c->occurrence != 0)
        (void)select_cert(a->o, 0);
    return err;
}

static gpg_error_t parse_ref(const struct openpgp *o, const struct driver_op *op, struct cert *c)
{
    long ref;
    gpg_error_t err = field_get_int(op->args, "ref", 0, &ref);

    if (err != 0)
        return err;
    if (ref < 1 || ref > 3)
        return gpg_error(GPG_ERR_INV_ID);
    c->occurrence = (unsigned)(3 - ref);
    return c->occurrence != 0 && o->aid[6] < 3 ? gpg_error(GPG_ERR_NOT_SUPPORTED) : 0;
}

gpg_error_t admin_read_cert(void *state, struct driver_op *op, struct buf *result)
{
    struct cert c = {0};
    struct admin a = {.o = state, .op = op, .run = read_cert, .arg = &c, .result = result};
    gpg_error_t err = openpgp_learn_card(state, false, true);

    if (err == 0)
        err = parse_ref(state, op, &c);
    return err != 0 ? err : admin_run(&a);
}

gpg_error_t admin_write_cert(void *state, struct driver_op *op, struct buf *result)
{
    struct openpgp *o = state;
    struct buf value = BUF_INIT;
    struct cert c = {0};
    struct admin a = {.o = o, .op = op, .ref = PW3_ADMIN, .run = write_cert, .arg = &c};
    gpg_error_t err = openpgp_learn_card(o, false, true);

    (void)result;
    if (err == 0)
        err = parse_ref(o, op, &c);
    if (err == 0)
        err = op->io->inquire(op->io->arg, "VALUE", NULL, MAX_VALUE, false, &value);
    if (err == 0 && o->can.max_cert != 0 && value.len > o->can.max_cert)
        err = gpg_error(GPG_ERR_TOO_LARGE);
    if (err == 0) {
        c.value = buf_rd(&value);
        err = admin_run(&a);
    }
    buf_free(&value);
    return err;
}
