/* The driver for a card in a PC/SC reader: one connection, and the applications that the card has. */
#include "devices/openpgp.h"
#include "devices/pcsc.h"
#include "devices/shared_card.h"
#include "proto/token_protocol.h"

#include <string.h>

struct smartcard {
    struct pcsc_card *pcsc;
    struct card_place place;
    struct shared_card shared;
    struct card_link openpgp_link;
    struct openpgp *openpgp; /* NULL: the card has no such application */
};

static void close_card(void *state)
{
    struct smartcard *c = state;

    openpgp_free(c->openpgp);
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
    c->openpgp_link.shared = &c->shared;
    c->place.contactless = pcsc_is_contactless(c->pcsc);
    c->place.atr = pcsc_atr(c->pcsc);
    pcsc_usb_address(c->pcsc, &c->place.bus, &c->place.dev);
    card.t0 = pcsc_is_t0(c->pcsc);
    card.handle = &c->openpgp_link;
    err = openpgp_new(&card, &c->place, &c->openpgp);
out:
    if (err == 0)
        *state = c;
    else
        close_card(c);
    return err;
}

static gpg_error_t learn(void *state, bool refresh, bool ssh_only, struct buf *lines)
{
    struct smartcard *c = state;
    struct buf f = BUF_INIT;
    gpg_error_t err = openpgp_learn_card(c->openpgp, refresh, ssh_only);

    if (err != 0)
        return err;
    openpgp_put_token(c->openpgp, &f);
    field_put(&f, "apps", "openpgp");
    if (openpgp_any_unread(c->openpgp))
        field_put_int(&f, "more", 1);
    buf_printf(lines, "TOKEN %s\n", buf_cstr(&f) != NULL ? buf_cstr(&f) : "");
    err = buf_err(&f) != 0 ? buf_err(&f) : openpgp_put_keys(c->openpgp, lines);
    buf_free(&f);
    return err;
}

static gpg_error_t sign(void *state, struct driver_op *op, gcry_sexp_t *sig)
{
    return openpgp_sign(((struct smartcard *)state)->openpgp, op, sig);
}

static gpg_error_t decrypt(void *state, struct driver_op *op, struct buf *result)
{
    return openpgp_decrypt(((struct smartcard *)state)->openpgp, op, result);
}

static gpg_error_t verify(void *state, struct driver_op *op, const char *ref)
{
    return openpgp_verify(((struct smartcard *)state)->openpgp, op, ref);
}

static void forget(void *state)
{
    openpgp_forget(((struct smartcard *)state)->openpgp);
}

static gpg_error_t part(void *state, const struct driver_verb *v, void **part)
{
    (void)v;
    *part = ((struct smartcard *)state)->openpgp;
    return 0;
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
    .part = part,
};
