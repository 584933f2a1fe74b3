/* A PIV card as the token protocol tells of it. */
#include "devices/piv.h"
#include "proto/token_protocol.h"

#include <string.h>
#include <strings.h>

#define TOUCH_CACHE_S 15
#define MIN_RSA_BITS  2048u

/* Products are known by their reader, which they bring themselves, or by their ATR in another one. First fit wins. */
static const struct {
    const char *reader, *atr, *kind, *label;
} products[] = {
    {"Yubi", "Yubi", "yubikey", "YubiKey"},
    {"Nitrokey", "Nitrokey", "nitrokey", "Nitrokey"},
    {"VivoKey", NULL, "vivokey", "VivoKey"},
    {"", NULL, "piv", "PIV card"},
};

static bool atr_says(const struct piv *p, const char *word)
{
    struct rd hist = apdu_historical(p->place.atr);

    return word != NULL && hist.n > 0 && memmem(hist.p, hist.n, word, strlen(word)) != NULL;
}

static size_t product_of(const struct piv *p)
{
    size_t i = 0;

    while (strcasestr(p->place.reader, products[i].reader) == NULL && !atr_says(p, products[i].atr))
        i++;
    return i;
}

char *piv_serial_text(const struct piv *p)
{
    const struct key *k = NULL;

    if (p->serial != 0)
        return gpgrt_bsprintf("%lu", (unsigned long)p->serial);
    if (p->has_guid)
        return hex_encode(p->guid, sizeof p->guid);
    /* It has to be called something: by its first key. */
    for (unsigned i = 0; i < NPIV_SLOTS && k == NULL; i++)
        k = p->slots[i].key;
    return k != NULL ? hex_encode(k->grip, 8) : gpgrt_strdup("0");
}

void piv_put_token(const struct piv *p, struct buf *f)
{
    size_t i = product_of(p);
    char *serial = piv_serial_text(p), *name, *label, text[48];

    name = gpgrt_bsprintf("%s-%s", products[i].kind, serial != NULL ? serial : "");
    label = gpgrt_bsprintf("%s %s", products[i].label, serial != NULL ? serial : "");
    field_put(f, "kind", products[i].kind);
    field_put(f, "serial", serial != NULL ? serial : "");
    field_put(f, "name", name != NULL ? name : "");
    field_put(f, "label", label != NULL ? label : "");
    if (p->version[0] != 0) {
        snprintf(text, sizeof text, "%u.%u.%u", p->version[0], p->version[1], p->version[2]);
        field_put(f, "version", text);
    }
    field_put(f, "reader", p->place.reader);
    if (p->place.bus >= 0) {
        field_put_int(f, "bus", p->place.bus);
        field_put_int(f, "dev", p->place.dev);
    }
    if (p->place.contactless)
        field_put_int(f, "contactless", 1);
    snprintf(text, sizeof text, "%d/-1/-1", p->tries);
    field_put(f, "tries", text);
    gpgrt_free(serial);
    gpgrt_free(name);
    gpgrt_free(label);
}

/* --- keys ----------------------------------------------------------------------------------------------------------- */

uint8_t piv_pin_policy(const struct piv *p, unsigned i)
{
    switch (p->slots[i].pin) {
    case PIV_PIN_DEFAULT:
        return i == PIV_SIGN ? PIV_PIN_ALWAYS : i == PIV_CARD ? PIV_PIN_NEVER : PIV_PIN_ONCE;
    case PIV_PIN_MATCH_ONCE:
        return PIV_PIN_ONCE;
    case PIV_PIN_MATCH_ALWAYS:
        return PIV_PIN_ALWAYS;
    default:
        return p->slots[i].pin;
    }
}

/* Over the air a YubiKey takes being there for a touch. */
uint8_t piv_touch_policy(const struct piv *p, unsigned i)
{
    return p->place.contactless ? PIV_TOUCH_DEFAULT : p->slots[i].touch;
}

static const char *caps_of(unsigned i, const struct key *k)
{
    if (i == PIV_KEYM || k->algo == KEY_ECDH)
        return "e";
    return i < PIV_RETIRED ? "sa" : k->algo == KEY_ED25519 ? "sa" : "sae";
}

static gpg_error_t put_key(const struct piv *p, unsigned i, struct buf *lines)
{
    static const char *const touches[] = {[PIV_TOUCH_DEFAULT] = "unknown",
                                          [PIV_TOUCH_NEVER] = "never",
                                          [PIV_TOUCH_ALWAYS] = "always",
                                          [PIV_TOUCH_CACHED] = "cached"};
    const struct piv_slot *s = &p->slots[i];
    uint8_t pin = piv_pin_policy(p, i), touch = piv_touch_policy(p, i);
    struct buf f = BUF_INIT;
    gpg_error_t err = driver_put_key(&f, piv_places[i].id, s->key, caps_of(i, s->key), "ssh");

    if (err == 0) {
        field_put(&f, "touch", touches[touch]);
        /* A slot's policies are set when its key is made. */
        if (touch == PIV_TOUCH_ALWAYS || touch == PIV_TOUCH_CACHED)
            field_put_int(&f, "touch-fixed", 1);
        if (touch == PIV_TOUCH_CACHED)
            field_put_int(&f, "touch-secs", TOUCH_CACHE_S);
        field_put(&f, "pin",
                  pin == PIV_PIN_NEVER    ? "none"
                  : pin == PIV_PIN_ALWAYS ? "always"
                                          : "once");
        if (i == PIV_CARD && p->proves)
            field_put_int(&f, "proved", 1);
        buf_printf(lines, "KEY %s\n", buf_cstr(&f) != NULL ? buf_cstr(&f) : "");
        err = buf_err(&f);
    }
    buf_free(&f);
    return err;
}

gpg_error_t piv_put_keys(const struct piv *p, struct buf *lines)
{
    gpg_error_t err = 0;

    for (unsigned i = 0; i < NPIV_SLOTS && err == 0; i++) {
        const struct key *k = p->slots[i].key;

        /* What was signed with less may still be verified by anybody; nothing new is. */
        if (k != NULL && (k->algo != KEY_RSA || k->nbits >= MIN_RSA_BITS))
            err = put_key(p, i, lines);
    }
    return err != 0 ? err : buf_err(lines);
}
