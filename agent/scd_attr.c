/* Data on a card: SCD GETATTR, SETATTR, READCERT, WRITECERT. */
#include "agent/assuan_client.h"
#include "agent/gpg_dialog.h"
#include "agent/scd.h"
#include "proto/git_object.h"
#include "proto/token_protocol.h"

#include <stdlib.h>
#include <string.h>

#define MAX_VALUE   16384u
#define MAX_CERT    16384u
#define SHOWN_VALUE 120u

/* --- GETATTR ---------------------------------------------------------------------------------------------------------------------- */

/* What needs no card to be asked. */
static gpg_error_t own_attribute(struct gpg_session *s, const struct scd_card *c, const char *name,
                                 bool *known)
{
    const char *slot = name[0] == '$' ? scd_slot_of(name) : NULL;
    char *shown;
    gpg_error_t err;

    *known = true;
    if (strcmp(name, "SERIALNO") == 0)
        return gpg_status(s, name, "%s", s->scd->undefined ? "FF7F00" : c->info->aid);
    if (strcmp(name, "APPTYPE") == 0)
        return gpg_status(s, name, "%s", s->scd->undefined ? "undefined" : "openpgp");
    if (s->scd->undefined)
        return scd_fail(s, GPG_ERR_UNSUPPORTED_OPERATION, NULL);
    if (slot != NULL)
        return gpg_status(s, name, "%s", scd_ref_of(slot));
    *known = strcmp(name, "$DISPSERIALNO") == 0;
    if (!*known)
        return 0;
    shown = scd_shown_serial(c->info->aid);
    for (char *p = shown; p != NULL && *p != '\0'; p++)
        if (*p == ' ')
            *p = '+';
    err = shown != NULL ? gpg_status(s, name, "%s", shown) : gpg_error_from_syserror();
    gpgrt_free(shown);
    return err;
}

/* Private data objects that only the person may read. */
static bool needs_pin(const char *name)
{
    return strcmp(name, "PRIVATE-DO-3") == 0 || strcmp(name, "PRIVATE-DO-4") == 0;
}

static gpg_error_t get_with_pin(struct gpg_session *s, const struct scd_card *c, const char *name,
                                struct buf *lines)
{
    struct scd_change g = SCD_CHANGE_INIT("card-admin", TOKEN_VERB_GETATTR);
    gpg_error_t err;

    field_put(&g.args, "name", name);
    g.use_text = gpgrt_bsprintf("read the private data object %c on %s", name[strlen(name) - 1],
                                scd_label(c));
    err = scd_change_run(s, c, &g);
    if (err == 0) {
        *lines = g.lines;
        g.lines = BUF_INIT;
    }
    scd_change_clear(&g);
    return err;
}

/* GETATTR NAME [GRIP]: with a keygrip, of the card that holds the key. */
static gpg_error_t cmd_getattr(struct gpg_session *s, char *line)
{
    char *grip = scd_next_word(line);
    struct buf args = BUF_INIT, lines = BUF_INIT;
    struct scd_key k = {0};
    struct scd_card c = {0};
    bool known = false;
    gpg_error_t err;

    (void)scd_next_word(grip);
    if (!scd_is_attribute(line, NULL))
        return scd_fail(s, GPG_ERR_INV_NAME, NULL);
    if (strlen(grip) == GPG_GRIP_CHARS) {
        err = scd_key_find(s, grip, NULL, &k);
        c = k.card;
        k.card = (struct scd_card){0};
    } else {
        err = scd_card_open(s, &c);
    }
    if (err == 0)
        err = own_attribute(s, &c, line, &known);
    if (err == 0 && !known) {
        field_put(&args, "name", line);
        if (buf_cstr(&args) == NULL)
            err = gpg_error(GPG_ERR_ENOMEM);
        else if (needs_pin(line))
            err = get_with_pin(s, &c, line, &lines);
        else
            err = scd_ask(s, &c, TOKEN_VERB_GETATTR, buf_cstr(&args), NULL, &lines);
        if (err == 0)
            err = scd_pass_attributes(s, buf_rd(&lines), NULL);
    }
    scd_key_clear(&k);
    scd_card_close(&c);
    buf_free(&args);
    buf_free(&lines);
    return err;
}

/* --- SETATTR ---------------------------------------------------------------------------------------------------------------------- */

/* What people call it. SHOWN: its new value can be shown. KEYS: keys, or what they ask for, may change with it. */
static const struct {
    const char *name, *text;
    bool shown, keys;
} attributes[] = {
    {"DISP-NAME", "the cardholder's name", true, false},
    {"DISP-LANG", "the cardholder's language", true, false},
    {"DISP-SEX", "the cardholder's salutation", true, false},
    {"LOGIN-DATA", "the login name", true, false},
    {"PUBKEY-URL", "the public key's address", true, false},
    {"CHV-STATUS-1", "whether each signature wants the PIN", false, true},
    {"KEY-ATTR", "the kind of a key", true, true},
    {"KDF", "how PINs are hashed (KDF)", false, true},
    {"UIF-1", "whether the signature key wants a touch", false, true},
    {"UIF-2", "whether the decryption key wants a touch", false, true},
    {"UIF-3", "whether the authentication key wants a touch", false, true},
    {"PRIVATE-DO-1", "private data object 1", false, false},
    {"PRIVATE-DO-2", "private data object 2", false, false},
    {"PRIVATE-DO-3", "private data object 3", false, false},
    {"PRIVATE-DO-4", "private data object 4", false, false},
    {"CA-FPR-1", "the first CA's fingerprint", false, false},
    {"CA-FPR-2", "the second CA's fingerprint", false, false},
    {"CA-FPR-3", "the third CA's fingerprint", false, false},
    {"CERT-3", "the certificate", false, false},
};
#define ATTRIBUTES (sizeof attributes / sizeof attributes[0])

static void describe_attribute(struct scd_change *g, const struct scd_card *c, const char *name)
{
    size_t i = 0;

    while (i < ATTRIBUTES && strcmp(attributes[i].name, name) != 0)
        i++;
    g->use_text = i < ATTRIBUTES
                      ? gpgrt_bsprintf("change %s on %s", attributes[i].text, scd_label(c))
                      : gpgrt_bsprintf("change %s on %s", name, scd_label(c));
    g->relearn = i == ATTRIBUTES || attributes[i].keys;
    if (i < ATTRIBUTES && attributes[i].shown && g->value.len > 0) {
        char *clean = text_clean((const char *)g->value.data, g->value.len, SHOWN_VALUE);

        g->what = clean != NULL ? gpgrt_bsprintf("New:     %s\n", clean) : NULL;
        gpgrt_free(clean);
    }
}

/* SETATTR [--inquire] NAME VALUE */
static gpg_error_t cmd_setattr(struct gpg_session *s, char *line)
{
    bool inquire = gpg_has_option(line, "--inquire");
    char *name = gpg_skip_options(line), *value = scd_next_word(name);
    struct scd_change g = SCD_CHANGE_INIT("card-admin", TOKEN_VERB_SETATTR);
    struct scd_card c = {0};
    gpg_error_t err;

    if (!scd_is_attribute(name, NULL))
        return scd_fail(s, GPG_ERR_INV_NAME, NULL);
    err = scd_card_open(s, &c);
    if (err == 0 && s->scd->undefined)
        err = scd_fail(s, GPG_ERR_UNSUPPORTED_OPERATION, NULL);
    if (err == 0 && inquire)
        err = gpg_inquire(s, "VALUE", MAX_VALUE, false, true, &g.value);
    else if (err == 0)
        assuan_put_unescaped(&g.value, value, true);
    if (err == 0) {
        field_put(&g.args, "name", name);
        describe_attribute(&g, &c, name);
        err = scd_change_run(s, &c, &g);
    }
    scd_change_clear(&g);
    scd_card_close(&c);
    return err;
}

/* --- certificates ----------------------------------------------------------------------------------------------------------------- */

/* "ref=N" for a place of a key; NULL, told the client. */
static gpg_error_t put_cert_ref(struct gpg_session *s, const char *word, struct buf *args)
{
    const char *slot = scd_slot_of(word);

    if (slot == NULL)
        return scd_fail(s, GPG_ERR_INV_ID, NULL);
    field_put_int(args, "ref", scd_ref_of(slot)[strlen("OPENPGP.")] - '0');
    return buf_err(args);
}

static gpg_error_t cmd_readcert(struct gpg_session *s, char *line)
{
    struct buf args = BUF_INIT, cert = BUF_INIT;
    struct scd_card c = {0};
    gpg_error_t err = scd_card_open(s, &c);

    line = gpg_skip_options(line);
    (void)scd_next_word(line);
    if (err == 0)
        err = put_cert_ref(s, line, &args);
    if (err == 0)
        err = scd_ask(s, &c, TOKEN_VERB_READCERT, buf_cstr(&args), &cert, NULL);
    if (err == 0)
        err = gpg_send(s, buf_rd(&cert), false);
    scd_card_close(&c);
    buf_free(&args);
    buf_free(&cert);
    return err;
}

static gpg_error_t cmd_writecert(struct gpg_session *s, char *line)
{
    struct scd_change g = SCD_CHANGE_INIT("card-admin", TOKEN_VERB_WRITECERT);
    struct scd_card c = {0};
    gpg_error_t err;

    line = gpg_skip_options(line);
    (void)scd_next_word(line);
    if (line[0] == '\0')
        return scd_fail(s, GPG_ERR_ASS_PARAMETER, "no certid given");
    err = scd_card_open(s, &c);
    if (err == 0)
        err = put_cert_ref(s, line, &g.args);
    if (err == 0)
        err = gpg_inquire(s, "CERTDATA", MAX_CERT, false, false, &g.value);
    if (err == 0) {
        g.use_text = gpgrt_bsprintf("change the certificate on %s", scd_label(&c));
        err = scd_change_run(s, &c, &g);
    }
    scd_change_clear(&g);
    scd_card_close(&c);
    return err;
}

const struct scd_command scd_attr_commands[] = {{"GETATTR", cmd_getattr},
                                                {"SETATTR", cmd_setattr},
                                                {"READCERT", cmd_readcert},
                                                {"WRITECERT", cmd_writecert},
                                                {0}};
