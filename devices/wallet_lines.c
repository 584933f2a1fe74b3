/* What a wallet's process tells the broker: the device, and a key of an identity. */
#include "devices/wallet_driver.h"

#include "proto/openpgp.h"
#include "proto/token_protocol.h"

#include <ctype.h>
#include <string.h>

#define SHORT_SERIAL 8 /* digits of it in a name */
#define MAX_FIELD    300

static char *fit_for_name(const char *s, size_t max)
{
    char *copy = gpgrt_strdup(s);

    if (copy == NULL)
        return NULL;
    for (size_t i = 0; copy[i] != '\0'; i++) {
        if (i == max)
            copy[i] = '\0';
        else if (!isalnum((unsigned char)copy[i]))
            copy[i] = '_';
    }
    return copy;
}

/* "Trezor One \"mine\"" */
static char *label_of(const struct wallet *w)
{
    const char *model = w->info.model != NULL ? w->info.model : w->make->kind;

    return w->info.label != NULL && w->info.label[0] != '\0'
               ? gpgrt_bsprintf("%s \"%.*s\"", model, MAX_FIELD, w->info.label)
               : gpgrt_strdup(model);
}

gpg_error_t wallet_put_token(const struct wallet *w, struct buf *lines)
{
    char *serial = w->info.serial != NULL && w->info.serial[0] != '\0'
                       ? fit_for_name(w->info.serial, MAX_FIELD)
                       : NULL;
    char *tail = serial != NULL ? fit_for_name(serial, SHORT_SERIAL) : NULL;
    char *name =
        tail != NULL ? gpgrt_bsprintf("%s-%s", w->make->kind, tail) : gpgrt_strdup(w->make->kind);
    char *label = label_of(w);
    unsigned bus, dev;
    long unread = 0;
    struct buf f = BUF_INIT;

    for (size_t i = 0; i < w->n; i++)
        unread += w->keys[i].key == NULL;
    field_put(&f, "kind", w->make->kind);
    field_put(&f, "apps", "wallet");
    field_put(&f, "name", name != NULL ? name : w->make->kind);
    if (serial != NULL)
        field_put(&f, "serial", serial);
    if (label != NULL)
        field_put(&f, "label", label);
    if (w->info.version != NULL)
        field_put(&f, "version", w->info.version);
    if (sscanf(w->address, "usb:%u:%u", &bus, &dev) == 2) {
        field_put_int(&f, "bus", bus);
        field_put_int(&f, "dev", dev);
    }
    if (w->info.problem != NULL)
        field_put(&f, "problem", w->info.problem);
    if (w->info.hint != NULL)
        field_put(&f, "hint", w->info.hint);
    if (unread > 0)
        field_put_int(&f, "unread", unread);
    if (w->more)
        field_put_int(&f, "more", 1);
    buf_printf(lines, "TOKEN %s\n", buf_cstr(&f) != NULL ? buf_cstr(&f) : "");
    buf_free(&f);
    gpgrt_free(serial);
    gpgrt_free(tail);
    gpgrt_free(name);
    gpgrt_free(label);
    return buf_err(lines);
}

bool wallet_key_is_gpg(const struct wallet_key *k)
{
    return strcmp(k->id.proto, "gpg") == 0;
}

/* As trezor-agent makes certificates: created at 0, which the fingerprint depends on. */
static gpg_error_t put_openpgp(const struct wallet_key *k, struct buf *f)
{
    uint8_t fpr[20];
    gpg_error_t err = openpgp_fingerprint(k->key, 0, fpr);
    char *hex = err == 0 ? hex_encode(fpr, sizeof fpr) : NULL;

    if (err == 0 && hex == NULL)
        err = gpg_error_from_syserror();
    if (err == 0) {
        field_put_int(f, "created", 0);
        field_put(f, "fpr", hex);
    }
    gpgrt_free(hex);
    return err;
}

gpg_error_t wallet_put_fields(const struct wallet *w, const struct wallet_key *k, struct buf *f)
{
    bool pinless = w->dev != NULL && w->make->pinless != NULL && w->make->pinless(w->dev);
    gpg_error_t err = driver_put_key(f, k->grip, k->key,
                                     k->ecdh                ? "e"
                                     : wallet_key_is_gpg(k) ? "s"
                                                            : "sa",
                                     wallet_key_is_gpg(k) ? "gpg" : "ssh");

    if (err == 0 && wallet_key_is_gpg(k))
        err = put_openpgp(k, f);
    field_put(f, "touch", "always");
    field_put_int(f, "touch-fixed", 1);
    field_put(f, "pin", pinless ? "none" : "need");
    field_put(f, "wallet", k->text);
    if (!wallet_key_is_gpg(k))
        field_put_int(f, "whole", 1);
    if (k->maybe)
        field_put_int(f, "maybe", 1);
    return err != 0 ? err : buf_err(f);
}

gpg_error_t wallet_put_key(const struct wallet *w, const struct wallet_key *k, struct buf *lines)
{
    struct buf f = BUF_INIT;
    gpg_error_t err = wallet_put_fields(w, k, &f);

    if (err == 0)
        buf_printf(lines, "KEY %s\n", buf_cstr(&f) != NULL ? buf_cstr(&f) : "");
    buf_free(&f);
    return err;
}
