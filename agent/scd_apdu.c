/* SCD APDU: a raw command to the card. SELECT and GET DATA pass; what signs, decrypts, verifies or changes the card has a command of its
 * own, by way of the broker. gpg's factory reset is made of the others: scd_factory.h. */
#include "agent/gpg_dialog.h"
#include "agent/scd.h"
#include "proto/token_protocol.h"

#include <ctype.h>
#include <string.h>

#define MAX_APDU    4096u
#define OPENPGP_AID "D27600012401"

/* Blanks and colons may stand between the digits; what is no digit ends it. */
static gpg_error_t read_hex(const char *text, struct buf *out)
{
    struct buf digits = BUF_INIT;
    gpg_error_t err;

    for (const char *p = text; *p != '\0'; p++) {
        if (*p == ' ' || *p == '\t' || *p == ':')
            continue;
        if (!isxdigit((unsigned char)*p))
            break;
        buf_put(&digits, p, 1);
    }
    err = digits.len > 2 * MAX_APDU ? gpg_error(GPG_ERR_TOO_LARGE) : buf_err(&digits);
    if (err == 0 && digits.len > 0)
        err = buf_cstr(&digits) != NULL ? hex_decode(buf_cstr(&digits), out)
                                        : gpg_error(GPG_ERR_ENOMEM);
    buf_free(&digits);
    return err;
}

enum apdu_kind { APDU_OTHER, APDU_SELECT, APDU_GET_DATA };

/* ISO 7816-4, interindustry class without secure messaging: SELECT by name; GET DATA (CA, CB), GET NEXT DATA (CC). */
static enum apdu_kind kind_of(struct rd apdu)
{
    if (apdu.n < 4 || apdu.p[0] != 0x00)
        return APDU_OTHER;
    if (apdu.p[1] == 0xa4 && apdu.p[2] == 0x04 && apdu.n > 5 && apdu.p[4] > 0 &&
        apdu.n >= 5u + apdu.p[4])
        return APDU_SELECT;
    return apdu.p[1] >= 0xca && apdu.p[1] <= 0xcc ? APDU_GET_DATA : APDU_OTHER;
}

static gpg_error_t answer(struct gpg_session *s, uint16_t sw)
{
    const uint8_t octets[2] = {(uint8_t)(sw >> 8), (uint8_t)sw};

    return gpg_send(s, rd_of(octets, sizeof octets), false);
}

static const char *purpose(uint8_t ins)
{
    switch (ins) {
    case 0x20:
    case 0x24:
    case 0x2c:
        return "PINs are asked for by latchkey itself (SCD CHECKPIN, SCD PASSWD)";
    case 0xda:
    case 0xdb:
        return "data is written by SCD SETATTR, SCD WRITECERT and SCD WRITEKEY";
    case 0x2a:
    case 0x88:
        return "keys are used by SCD PKSIGN, SCD PKDECRYPT and SCD PKAUTH";
    case 0x47:
        return "keys are made by SCD GENKEY";
    case 0xe6:
    case 0x44:
        return "a card is reset by gpg --card-edit, factory-reset, as a whole";
    default:
        return "SCD APDU passes SELECT and GET DATA";
    }
}

static gpg_error_t put_key_line(struct gpg_session *s, const struct scd_key *k, void *arg)
{
    char *text = scd_lost_key(k);

    (void)s;
    if (text == NULL)
        return gpg_error_from_syserror();
    buf_put(arg, text, strlen(text));
    gpgrt_free(text);
    return buf_err(arg);
}

/* The end of gpg's factory reset: the person is told what goes, and asked whatever the policy says. */
static gpg_error_t factory_reset(struct gpg_session *s, const struct scd_card *c)
{
    struct scd_change g = SCD_CHANGE_INIT("card-admin", TOKEN_VERB_RESET);
    struct buf what = BUF_INIT;
    gpg_error_t err = scd_each_key(s, c, put_key_line, &what);

    buf_printf(&what, "Lost:    name, login, certificates and all other data on the card\n"
                      "PINs:    become the factory's (often 123456 and 12345678)\n");
    if (err == 0)
        err = buf_err(&what);
    if (err == 0) {
        g.use_text = gpgrt_bsprintf("reset %s to its factory state", scd_label(c));
        g.what = buf_steal_cstr(&what);
        g.confirm = g.relearn = true;
        err = scd_change_run(s, c, &g);
    }
    scd_change_clear(&g);
    buf_free(&what);
    return err;
}

/* What the card's process answers; ATR lines on the way. */
static gpg_error_t pass(struct gpg_session *s, const struct scd_card *c, struct rd apdu, bool atr)
{
    bool selects = kind_of(apdu) == APDU_SELECT;
    struct buf args = BUF_INIT, result = BUF_INIT, lines = BUF_INIT;
    char *hex = hex_encode(apdu.p, apdu.n);
    gpg_error_t err;

    if (apdu.n > 0 && !selects)
        field_put(&args, "select", s->scd->aid != NULL ? s->scd->aid : OPENPGP_AID);
    field_put(&args, "hex", hex != NULL ? hex : "");
    if (atr)
        field_put_int(&args, "atr", 1);
    err = hex != NULL && buf_cstr(&args) != NULL
              ? scd_ask(s, c, TOKEN_VERB_APDU, buf_cstr(&args), &result, &lines)
              : gpg_error(GPG_ERR_ENOMEM);
    if (err == 0)
        err = scd_pass_attributes(s, buf_rd(&lines), NULL);
    if (err == 0 && result.len > 0)
        err = gpg_send(s, buf_rd(&result), false);
    if (err == 0 && selects && result.len >= 2 && result.data[result.len - 2] == 0x90) {
        gpgrt_free(s->scd->aid);
        s->scd->aid = hex_encode(apdu.p + 5, apdu.p[4]);
    }
    gpgrt_free(hex);
    buf_free(&args);
    buf_free(&result);
    buf_free(&lines);
    return err;
}

/* APDU [--[dump-]atr] [--more] [--exlen[=N]] [HEX]. Longer answers are put together in any case. */
static gpg_error_t cmd_apdu(struct gpg_session *s, char *line)
{
    bool atr = gpg_has_option(line, "--atr") || gpg_has_option(line, "--dump-atr");
    struct buf apdu = BUF_INIT;
    struct scd_card c = {0};
    uint16_t sw = 0;
    gpg_error_t err = scd_card_open(s, &c);

    if (err == 0)
        err = read_hex(gpg_skip_options(line), &apdu);
    if (gpg_err_code(err) == GPG_ERR_INV_VALUE || gpg_err_code(err) == GPG_ERR_TOO_LARGE)
        err = scd_fail(s, GPG_ERR_ASS_PARAMETER, "no proper APDU");
    if (err != 0)
        goto out;
    if (apdu.len == 0) {
        err = atr ? pass(s, &c, buf_rd(&apdu), true) : 0;
        goto out;
    }
    switch (scd_factory_apdu(&s->scd->factory, buf_rd(&apdu), &sw)) {
    case FACTORY_ANSWER:
        err = answer(s, sw);
        goto out;
    case FACTORY_RESET:
        err = factory_reset(s, &c);
        if (err == 0) {
            scd_factory_done(&s->scd->factory);
            err = answer(s, sw);
        }
        goto out;
    case FACTORY_NOT_PART:
        break;
    }
    if (kind_of(buf_rd(&apdu)) == APDU_OTHER)
        err = gpg_fail(s, GPG_ERR_FORBIDDEN, purpose(apdu.len > 1 ? apdu.data[1] : 0));
    else
        err = pass(s, &c, buf_rd(&apdu), atr);
out:
    scd_card_close(&c);
    buf_free(&apdu);
    return err;
}

const struct scd_command scd_apdu_commands[] = {{"APDU", cmd_apdu}, {0}};
