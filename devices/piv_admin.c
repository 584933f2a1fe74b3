/* The frame of all that manages a PIV card, and the management key. */
#include "devices/piv_admin.h"

#include "proto/token_protocol.h"

#include <string.h>
#include <time.h>

#define INS_GENERAL_AUTHENTICATE 0x87
#define INS_PUT_DATA             0xdb
#define MANAGEMENT_KEY           0x9b
#define MAX_ROUNDS               8
#define AGAIN_MS                 50
#define MAX_BLOCK                16u

/* SP 800-78-4 table 6-2; what a card comes with when nobody has chosen another key. */
static const uint8_t default_key[24] = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4,
                                        5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8};
static const struct {
    uint8_t alg;
    int cipher;
    size_t key, block;
} ciphers[] = {
    {PIV_3DES, GCRY_CIPHER_3DES, 24, 8},
    {PIV_AES128, GCRY_CIPHER_AES128, 16, 16},
    {PIV_AES192, GCRY_CIPHER_AES192, 24, 16},
    {PIV_AES256, GCRY_CIPHER_AES256, 32, 16},
};

gpg_error_t piv_admin_command(struct piv_admin *a, struct apdu *c, struct buf *answer)
{
    unsigned sw;
    gpg_error_t err;

    a->changed = true;
    err = piv_send(a->p, c, answer, &sw);
    return err != 0 ? err : apdu_error(sw);
}

gpg_error_t piv_admin_put_object(struct piv_admin *a, unsigned id, struct rd value)
{
    const uint8_t list[] = {0x5c, 0x03, (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
    struct apdu c = {.ins = INS_PUT_DATA, .p1 = 0x3f, .p2 = 0xff};
    struct buf data = BUF_INIT;
    gpg_error_t err;

    buf_put(&data, list, sizeof list);
    buf_put_tlv(&data, 0x53, value.p, value.n);
    err = buf_err(&data);
    if (err == 0) {
        c.data = buf_rd(&data);
        err = piv_admin_command(a, &c, NULL);
    }
    buf_free(&data);
    return err;
}

/* --- the management key --------------------------------------------------------------------------------------------- */

static gpg_error_t general_authenticate(struct piv_admin *a, uint8_t alg, struct rd body,
                                        struct buf *answer, unsigned *sw)
{
    struct apdu c = {
        .ins = INS_GENERAL_AUTHENTICATE, .p1 = alg, .p2 = MANAGEMENT_KEY, .want_data = true};
    struct buf data = BUF_INIT;
    gpg_error_t err;

    buf_put_tlv(&data, 0x7c, body.p, body.n);
    err = buf_err(&data);
    if (err == 0) {
        c.data = buf_rd(&data);
        err = piv_send(a->p, &c, answer, sw);
    }
    buf_free(&data);
    return err;
}

/* The only object in an answer's 7C, of LEN octets. */
static gpg_error_t find_block(const struct buf *answer, uint32_t tag, size_t len, struct rd *out)
{
    struct rd r = buf_rd(answer), body;
    uint32_t outer, inner;

    if (rd_tlv(&r, &outer, &body) != 0 || outer != 0x7c || rd_tlv(&body, &inner, out) != 0 ||
        inner != tag || out->n != len)
        return gpg_error(GPG_ERR_CARD);
    return 0;
}

/* Both prove that they know the key: the card's witness is deciphered, our challenge comes back enciphered. GPG_ERR_BAD_PASSPHRASE: it
 * is another key. */
static gpg_error_t mutual(struct piv_admin *a, size_t i, gcry_cipher_hd_t h)
{
    static const uint8_t ask[] = {0x80, 0x00};
    size_t n = ciphers[i].block;
    uint8_t witness[MAX_BLOCK] = {0}, challenge[MAX_BLOCK] = {0}, expected[MAX_BLOCK] = {0};
    struct buf answer = BUF_INIT, body = BUF_INIT;
    struct rd r = {0};
    unsigned sw = 0;
    gpg_error_t err = general_authenticate(a, ciphers[i].alg, rd_of(ask, sizeof ask), &answer, &sw);

    if (err == 0 && sw != 0x9000)
        err = gpg_error(sw == 0x6a80 || sw == 0x6a86 ? GPG_ERR_CIPHER_ALGO : GPG_ERR_CARD);
    if (err == 0)
        err = find_block(&answer, 0x80, n, &r);
    if (err == 0)
        err = gcry_cipher_decrypt(h, witness, n, r.p, n);
    gcry_randomize(challenge, n, GCRY_STRONG_RANDOM);
    if (err == 0)
        err = gcry_cipher_encrypt(h, expected, n, challenge, n);
    buf_put_tlv(&body, 0x80, witness, n);
    buf_put_tlv(&body, 0x81, challenge, n);
    buf_reset(&answer);
    if (err == 0)
        err = buf_err(&body) != 0
                  ? buf_err(&body)
                  : general_authenticate(a, ciphers[i].alg, buf_rd(&body), &answer, &sw);
    if (err == 0 && sw != 0x9000)
        err = gpg_error(GPG_ERR_BAD_PASSPHRASE);
    if (err == 0)
        err = find_block(&answer, 0x82, n, &r);
    if (err == 0 && memcmp(r.p, expected, n) != 0)
        err = gpg_error(GPG_ERR_BAD_SIGNATURE);
    explicit_bzero(witness, sizeof witness);
    buf_free(&answer);
    buf_free(&body);
    return err;
}

static gpg_error_t try_cipher(struct piv_admin *a, size_t i, struct rd key)
{
    gcry_cipher_hd_t h = NULL;
    gpg_error_t err;

    if (key.n != ciphers[i].key)
        return gpg_error(GPG_ERR_BAD_PASSPHRASE);
    err = gcry_cipher_open(&h, ciphers[i].cipher, GCRY_CIPHER_MODE_ECB, GCRY_CIPHER_SECURE);
    if (err == 0) {
        err = gcry_cipher_setkey(h, key.p, key.n);
        /* Nobody's key: neither this library nor a YubiKey takes such. */
        if (gpg_err_code(err) == GPG_ERR_WEAK_KEY)
            err = gpg_error(GPG_ERR_BAD_PASSPHRASE);
    }
    if (err == 0)
        err = mutual(a, i, h);
    gcry_cipher_close(h);
    return err;
}

/* By the kind that metadata tell of, or each that the key's length fits. */
static gpg_error_t authenticate(struct piv_admin *a)
{
    struct rd key = a->key.len > 0 ? buf_rd(&a->key) : rd_of(default_key, sizeof default_key);
    struct buf data = BUF_INIT;
    struct piv_metadata m = {.is_default = -1};
    gpg_error_t err = 0;

    if (a->p->has_metadata)
        err = piv_get_metadata(a->p, MANAGEMENT_KEY, &data, &m);
    buf_free(&data);
    if (gpg_err_code(err) == GPG_ERR_NO_OBJ || gpg_err_code(err) == GPG_ERR_NOT_SUPPORTED)
        err = 0;
    if (err == 0 && a->key.len == 0 && m.is_default == 0)
        return gpg_error(GPG_ERR_BAD_PASSPHRASE);
    for (size_t i = 0; err == 0 && i < sizeof ciphers / sizeof ciphers[0]; i++) {
        if (ciphers[i].key != key.n || (m.alg != 0 && m.alg != ciphers[i].alg))
            continue;
        err = try_cipher(a, i, key);
        if (gpg_err_code(err) != GPG_ERR_CIPHER_ALGO)
            return err;
        err = 0;
    }
    return err != 0 ? err : gpg_error(GPG_ERR_BAD_PASSPHRASE);
}

/* In hexadecimal; it has no tries to lose. */
static gpg_error_t ask_key(struct piv_admin *a, bool wrong)
{
    const struct pin_request q = {
        .ref = "piv-mgm", .tries = -1, .wrong = wrong, .min = 32, .max = 64};
    struct buf hex = BUF_INIT_SECURE;
    const char *text;
    gpg_error_t err = a->op->io->ask_pin(a->op->io->arg, &q, &hex);

    buf_reset(&a->key);
    text = err == 0 ? buf_cstr(&hex) : NULL;
    if (err == 0 && (text == NULL || hex_decode(text, &a->key) != 0)) {
        buf_reset(&a->key);
        buf_put_u8(&a->key, 0); /* no key: refused below, and asked for again */
    }
    if (err == 0)
        err = buf_err(&a->key);
    buf_free(&hex);
    return err;
}

/* --- the frame ------------------------------------------------------------------------------------------------------ */

static bool is_gone(gpg_error_t err)
{
    return gpg_err_code(err) == GPG_ERR_CARD_REMOVED || gpg_err_code(err) == GPG_ERR_ENODEV;
}

static bool is_lost(gpg_error_t err)
{
    return gpg_err_code(err) == GPG_ERR_CARD_RESET || gpg_err_code(err) == GPG_ERR_EAGAIN;
}

/* SELECT takes away what was shown to the card, in every reader. */
static void leave(struct piv_admin *a, gpg_error_t err)
{
    if (!is_gone(err) && !is_lost(err))
        (void)piv_select(a->p);
    a->p->verified = false;
    piv_end(a->p, false);
    if (is_lost(err))
        piv_lost_state(a->p);
    if (a->changed)
        a->p->learned = false;
}

gpg_error_t piv_admin_run(struct piv_admin *a)
{
    const struct timespec moment = {.tv_nsec = AGAIN_MS * 1000000L};
    bool wrong = false, wants_key;
    gpg_error_t err = piv_learn_card(a->p, false);

    a->key = BUF_INIT_SECURE;
    for (int round = 0; err == 0 && round < MAX_ROUNDS; round++) {
        if (a->op->io->canceled(a->op->io->arg)) {
            err = gpg_error(GPG_ERR_CANCELED);
            break;
        }
        err = piv_begin(a->p);
        if (err != 0)
            break;
        wants_key = false;
        err = piv_reselect(a->p);
        if (err == 0 && a->manages) {
            err = authenticate(a);
            wants_key = gpg_err_code(err) == GPG_ERR_BAD_PASSPHRASE;
        }
        if (err == 0)
            err = a->run(a);
        leave(a, err);
        if (err == 0)
            goto out;
        if (wants_key) {
            err = ask_key(a, wrong);
            wrong = true;
        } else if (is_lost(err) && !a->changed) {
            nanosleep(&moment, NULL);
            err = 0;
        }
    }
    if (err == 0)
        err = gpg_error(GPG_ERR_CARD);
out:
    buf_free(&a->key);
    return err;
}

/* --- status --------------------------------------------------------------------------------------------------------- */

static gpg_error_t put_secret(struct piv_admin *a, uint8_t ref, const char *name, struct buf *f)
{
    struct piv_metadata m;
    struct buf data = BUF_INIT;
    char field[32];
    gpg_error_t err = piv_get_metadata(a->p, ref, &data, &m);

    if (err == 0) {
        if (m.left >= 0) {
            snprintf(field, sizeof field, "%s-tries", name);
            field_put_int(f, field, m.left);
        }
        if (m.total >= 0) {
            snprintf(field, sizeof field, "%s-total", name);
            field_put_int(f, field, m.total);
        }
        if (m.is_default >= 0) {
            snprintf(field, sizeof field, "%s-default", name);
            field_put_int(f, field, m.is_default);
        }
    }
    buf_free(&data);
    return is_gone(err) || is_lost(err) ? err : 0;
}

static gpg_error_t put_slot(struct piv_admin *a, unsigned i)
{
    static const char *const pins[] = {"", "never", "once", "always"}, *const touches[] = {
                                                                           "unknown", "never",
                                                                           "always", "cached"};
    const struct piv_slot *s = &a->p->slots[i];
    struct buf f = BUF_INIT, object = BUF_INIT;
    gpg_error_t err = piv_get_object(a->p, piv_places[i].cert, &object);
    bool certified = err == 0;

    if (is_gone(err) || is_lost(err))
        goto out;
    err = 0;
    if (s->key == NULL && !certified)
        goto out;
    field_put(&f, "id", piv_places[i].id);
    if (s->key != NULL) {
        field_put(&f, "algo", piv_alg_name(s->alg) != NULL ? piv_alg_name(s->alg) : "?");
        if (s->key->fpr != NULL)
            field_put(&f, "fpr", s->key->fpr);
        field_put(&f, "pin", pins[piv_pin_policy(a->p, i)]);
        field_put(&f, "touch", touches[piv_touch_policy(a->p, i)]);
        if (s->origin != 0)
            field_put(&f, "origin", s->origin == 1 ? "generated" : "imported");
    }
    if (certified)
        field_put_int(&f, "certificate", 1);
    err = buf_cstr(&f) != NULL ? a->op->io->status(a->op->io->arg, "PIVSLOT", buf_cstr(&f))
                               : buf_err(&f);
out:
    buf_free(&f);
    buf_free(&object);
    return err;
}

static gpg_error_t tell_status(struct piv_admin *a)
{
    struct piv *p = a->p;
    struct buf f = BUF_INIT;
    char text[48], *guid = p->has_guid ? hex_encode(p->guid, sizeof p->guid) : NULL;
    bool verified;
    gpg_error_t err = 0;

    if (p->version[0] != 0) {
        snprintf(text, sizeof text, "%u.%u.%u", p->version[0], p->version[1], p->version[2]);
        field_put(&f, "version", text);
    }
    if (p->serial != 0)
        field_put_int(&f, "serial", (long)p->serial);
    if (guid != NULL)
        field_put(&f, "guid", guid);
    if (p->has_metadata) {
        err = put_secret(a, 0x80, "pin", &f);
        if (err == 0)
            err = put_secret(a, 0x81, "puk", &f);
        if (err == 0)
            err = put_secret(a, MANAGEMENT_KEY, "management", &f);
    } else {
        err = piv_query_pin(p, &verified);
        if (err == 0 && p->tries >= 0)
            field_put_int(&f, "pin-tries", p->tries);
    }
    if (p->proves)
        field_put_int(&f, "proves", 1);
    if (err == 0)
        err = buf_cstr(&f) != NULL ? a->op->io->status(a->op->io->arg, "PIV", buf_cstr(&f))
                                   : buf_err(&f);
    for (unsigned i = 0; err == 0 && i < NPIV_SLOTS; i++)
        err = put_slot(a, i);
    buf_free(&f);
    gpgrt_free(guid);
    return err;
}

gpg_error_t piv_admin_status(void *state, struct driver_op *op, struct buf *result)
{
    struct piv_admin a = {.p = state, .op = op, .run = tell_status};

    (void)result;
    return piv_admin_run(&a);
}

const struct driver_verb piv_verbs[] = {{TOKEN_VERB_PIV_STATUS, piv_admin_status},
                                        {TOKEN_VERB_PIV_CHANGE_PIN, piv_admin_change_pin},
                                        {TOKEN_VERB_PIV_UNBLOCK, piv_admin_unblock},
                                        {TOKEN_VERB_PIV_RESET, piv_admin_reset},
                                        {TOKEN_VERB_PIV_GENERATE, piv_admin_generate},
                                        {TOKEN_VERB_PIV_CERTIFICATE, piv_admin_certificate},
                                        {TOKEN_VERB_PIV_IMPORT, piv_admin_import},
                                        {TOKEN_VERB_PIV_DELETE, piv_admin_delete},
                                        {NULL, NULL}};
