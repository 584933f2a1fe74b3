/* Names, serial numbers and public keys can be copied to any card; the private half of its card authentication key cannot. */
#include "devices/piv.h"

#include <string.h>

#define INS_GENERAL_AUTHENTICATE 0x87
#define NONCE_LEN                32u

/* Signed with it in front, so that the answer is good for nothing else. */
static const char purpose[] = "latchkey: this is the card\n";

static bool asks_nothing(const struct piv *p)
{
    const struct piv_slot *s = &p->slots[PIV_CARD];

    return s->key != NULL && s->key->algo != KEY_ECDH &&
           piv_touch_policy(p, PIV_CARD) <= PIV_TOUCH_NEVER &&
           piv_pin_policy(p, PIV_CARD) == PIV_PIN_NEVER;
}

gpg_error_t piv_prove(struct piv *p)
{
    const struct piv_slot *s = &p->slots[PIV_CARD];
    struct apdu a = {.ins = INS_GENERAL_AUTHENTICATE,
                     .p1 = s->alg,
                     .p2 = piv_places[PIV_CARD].ref,
                     .want_data = true};
    struct buf message = BUF_INIT, input = BUF_INIT, answer = BUF_INIT;
    uint8_t nonce[NONCE_LEN], digest[64];
    struct tosign t;
    gcry_sexp_t sig = NULL;
    unsigned sw = 0;
    gpg_error_t err;

    if (!asks_nothing(p))
        return gpg_error(p->proves ? GPG_ERR_BAD_SIGNATURE : GPG_ERR_NO_SECKEY);
    gcry_randomize(nonce, sizeof nonce, GCRY_STRONG_RANDOM);
    buf_put(&message, purpose, sizeof purpose - 1);
    buf_put(&message, nonce, sizeof nonce);
    err = buf_err(&message);
    if (err == 0)
        err = tosign_from_message(s->key->algo == KEY_ED25519 ? 0 : key_default_hash(s->key),
                                  buf_rd(&message), digest, &t);
    if (err == 0)
        err = piv_put_input(s->key, &t, &input);
    if (err == 0) {
        a.data = buf_rd(&input);
        err = piv_send(p, &a, &answer, &sw);
    }
    if (err == 0 && (sw != 0x9000 || piv_parse_signature(s->key, buf_rd(&answer), &sig) != 0 ||
                     sig_verify(s->key, &t, sig) != 0))
        err = gpg_error(GPG_ERR_BAD_SIGNATURE);
    if (err == 0)
        p->proof_due = false;
    gcry_sexp_release(sig);
    buf_free(&message);
    buf_free(&input);
    buf_free(&answer);
    return err;
}
