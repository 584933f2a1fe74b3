/* The driver for a card in a PC/SC reader: one connection, and the applications that the card has. */
#include "devices/openpgp.h"
#include "devices/pcsc.h"
#include "devices/piv_admin.h"
#include "devices/shared_card.h"
#include "proto/token_protocol.h"

#include <string.h>

struct smartcard {
    struct pcsc_card *pcsc;
    struct card_place place;
    struct shared_card shared;
    struct card_link openpgp_link, piv_link;
    struct openpgp *openpgp; /* NULL: the card has no such application */
    struct piv *piv;         /* likewise */
    bool openpgp_seen, piv_seen;
};

static void close_card(void *state)
{
    struct smartcard *c = state;

    openpgp_free(c->openpgp);
    piv_free(c->piv);
    pcsc_close(c->pcsc);
    gpgrt_free(c->place.reader);
    gpgrt_free(c);
}

static gpg_error_t open_card(const char *reader, void **state)
{
    struct smartcard *c = gpgrt_calloc(1, sizeof *c);
    struct card card = {.transport = &card_link_transport};
    gpg_error_t err;

    if (c == NULL)
        return gpg_error_from_syserror();
    c->place.reader = gpgrt_strdup(reader);
    err = c->place.reader != NULL ? pcsc_open(reader, &c->pcsc) : gpg_error_from_syserror();
    if (err != 0)
        goto out;
    c->shared = (struct shared_card){.transport = &pcsc_transport, .handle = c->pcsc};
    c->openpgp_link.shared = c->piv_link.shared = &c->shared;
    c->place.contactless = pcsc_is_contactless(c->pcsc);
    c->place.atr = pcsc_atr(c->pcsc);
    pcsc_usb_address(c->pcsc, &c->place.bus, &c->place.dev);
    card.t0 = pcsc_is_t0(c->pcsc);
    card.asks_pin = pcsc_asks_pin(c->pcsc);
    card.handle = &c->openpgp_link;
    err = openpgp_new(&card, &c->place, &c->openpgp);
    card.handle = &c->piv_link;
    if (err == 0)
        err = piv_new(&card, &c->place, &c->piv);
out:
    if (err == 0)
        *state = c;
    else
        close_card(c);
    return err;
}

/* --- learning ------------------------------------------------------------------------------------------------------- */

/* An application that was never there is done with; one that was, and does not answer now, is a trouble to be told. */
static bool is_absent(gpg_error_t err, bool seen)
{
    return gpg_err_code(err) == GPG_ERR_NOT_SUPPORTED && !seen;
}

static gpg_error_t learn_openpgp(struct smartcard *c, bool refresh, bool ssh_only)
{
    gpg_error_t err = c->openpgp != NULL ? openpgp_learn_card(c->openpgp, refresh, ssh_only) : 0;

    if (is_absent(err, c->openpgp_seen)) {
        openpgp_free(c->openpgp);
        c->openpgp = NULL;
        return 0;
    }
    c->openpgp_seen |= err == 0;
    return err;
}

/* What PIV says that nobody understands must not keep OpenPGP's keys from being served. */
static gpg_error_t learn_piv(struct smartcard *c, bool refresh)
{
    gpg_error_t err = c->piv != NULL ? piv_learn_card(c->piv, refresh) : 0;
    bool absent = is_absent(err, c->piv_seen);

    if (absent || (err != 0 && !c->piv_seen && c->openpgp != NULL && !apdu_is_exchange(err))) {
        if (!absent)
            gpgrt_log_error("%s: its PIV application cannot be read: %s\n", c->place.reader,
                            gpg_strerror(err));
        piv_free(c->piv);
        c->piv = NULL;
        return 0;
    }
    c->piv_seen |= err == 0;
    return err;
}

/* One token, whatever it holds. */
static gpg_error_t put_lines(struct smartcard *c, struct buf *lines)
{
    bool piv = c->piv != NULL && c->piv->learned;
    struct buf f = BUF_INIT;
    gpg_error_t err = 0;

    if (c->openpgp != NULL)
        openpgp_put_token(c->openpgp, &f);
    else
        piv_put_token(c->piv, &f);
    field_put(&f, "apps", c->openpgp == NULL ? "piv" : piv ? "openpgp,piv" : "openpgp");
    if ((c->openpgp != NULL && openpgp_any_unread(c->openpgp)) || (c->piv != NULL && !piv))
        field_put_int(&f, "more", 1);
    buf_printf(lines, "TOKEN %s\n", buf_cstr(&f) != NULL ? buf_cstr(&f) : "");
    if (buf_err(&f) != 0)
        err = buf_err(&f);
    buf_free(&f);
    if (err == 0 && c->openpgp != NULL)
        err = openpgp_put_keys(c->openpgp, lines);
    if (err == 0 && piv)
        err = piv_put_keys(c->piv, lines);
    return err;
}

/* PIV's slots take a command each to look into: they wait where OpenPGP has a key to log in with. */
static gpg_error_t learn(void *state, bool refresh, bool ssh_only, struct buf *lines)
{
    struct smartcard *c = state;
    gpg_error_t err = learn_openpgp(c, refresh, ssh_only);

    if (err == 0 && !(ssh_only && c->openpgp != NULL && openpgp_has_auth_key(c->openpgp)))
        err = learn_piv(c, refresh);
    if (err == 0 && c->openpgp == NULL && c->piv == NULL)
        err = gpg_error(GPG_ERR_NOT_SUPPORTED);
    return err != 0 ? err : put_lines(c, lines);
}

/* --- which application ---------------------------------------------------------------------------------------------- */

static bool is_piv(const char *id)
{
    return id != NULL && strncmp(id, "piv-", 4) == 0;
}

static gpg_error_t missing(void)
{
    return gpg_error(GPG_ERR_NO_SECKEY);
}

static gpg_error_t sign(void *state, struct driver_op *op, gcry_sexp_t *sig)
{
    struct smartcard *c = state;

    if (is_piv(op->key_id))
        return c->piv != NULL ? piv_sign(c->piv, op, sig) : missing();
    return c->openpgp != NULL ? openpgp_sign(c->openpgp, op, sig) : missing();
}

static gpg_error_t decrypt(void *state, struct driver_op *op, struct buf *result)
{
    struct smartcard *c = state;

    if (is_piv(op->key_id))
        return c->piv != NULL ? piv_decrypt(c->piv, op, result) : missing();
    return c->openpgp != NULL ? openpgp_decrypt(c->openpgp, op, result) : missing();
}

static gpg_error_t verify(void *state, struct driver_op *op, const char *ref)
{
    struct smartcard *c = state;
    bool piv = c->openpgp == NULL || (ref != NULL && strcmp(ref, "piv") == 0);

    if (piv)
        return c->piv != NULL ? piv_verify(c->piv, op) : gpg_error(GPG_ERR_NOT_SUPPORTED);
    return openpgp_verify(c->openpgp, op, ref);
}

static void forget(void *state)
{
    struct smartcard *c = state;

    if (c->openpgp != NULL)
        openpgp_forget(c->openpgp);
    if (c->piv != NULL)
        piv_forget(c->piv);
}

static gpg_error_t part(void *state, const struct driver_verb *v, void **part)
{
    struct smartcard *c = state;

    *part = strncmp(v->name, "PIV", 3) == 0 ? (void *)c->piv : (void *)c->openpgp;
    return *part != NULL ? 0 : gpg_error(GPG_ERR_NOT_SUPPORTED);
}

const struct driver driver_pcsc = {
    .kind = "pcsc",
    .help = "the card in a PC/SC reader, named by ARGUMENT",
    .wants_arg = true,
    .open = open_card,
    .close = close_card,
    .learn = learn,
    .sign = sign,
    .decrypt = decrypt,
    .verify = verify,
    .forget = forget,
    .verbs = openpgp_verbs,
    .more_verbs = piv_verbs,
    .part = part,
};
