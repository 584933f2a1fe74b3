/* What a PIV card sends. The first octet chooses: one parser with the rest as its input, or a card that answers anything (the rest is cut
 * into answers, one octet of length each, SW included). */
#include "devices/piv.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

/* libksba forgets parts of certificates that it stumbled over; of those in the corpus, which it can read, it does not. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libksba\n";
}

static gpg_error_t begin(void *handle, enum card_change *change)
{
    (void)handle;
    *change = CARD_AS_LEFT;
    return 0;
}

static gpg_error_t transmit(void *handle, struct rd command, struct buf *response)
{
    struct rd *script = handle, answer;
    uint8_t n;

    (void)command;
    if (rd_u8(script, &n) != 0 || rd_bytes(script, n < script->n ? n : script->n, &answer) != 0)
        return gpg_error(GPG_ERR_CARD_REMOVED);
    buf_put_rd(response, answer);
    return 0;
}

static void end(void *handle, bool reset)
{
    (void)handle;
    (void)reset;
}

static gpg_error_t no_pin(void *arg, const struct pin_request *q, struct buf *pin)
{
    (void)arg;
    (void)q;
    buf_printf(pin, "123456");
    return buf_err(pin);
}

static void no_touch(void *arg, bool waiting)
{
    (void)arg;
    (void)waiting;
}

static bool not_canceled(void *arg)
{
    (void)arg;
    return false;
}

static void whole_card(struct rd script)
{
    static const struct card_transport transport = {
        .begin = begin, .transmit = transmit, .end = end};
    static const struct driver_io io = {
        .ask_pin = no_pin, .touch = no_touch, .canceled = not_canceled};
    static char reader[] = "Yubico fuzz";
    const struct card card = {.transport = &transport, .handle = &script};
    const struct card_place place = {.reader = reader, .bus = -1};
    struct buf lines = BUF_INIT, plain = BUF_INIT_SECURE;
    uint8_t hash[32] = {0};
    struct driver_op op = {.io = &io, .key_id = "piv-9a", .pin_age = -1, .drop = true};
    gcry_sexp_t sig = NULL;
    struct piv *p;

    REQUIRE(piv_new(&card, &place, &p) == 0);
    op.input = (struct tosign){.hash = GCRY_MD_SHA256, .data = rd_of(hash, sizeof hash)};
    if (piv_learn_card(p, false) == 0) {
        piv_put_token(p, &lines);
        REQUIRE(piv_put_keys(p, &lines) == 0);
        (void)piv_sign(p, &op, &sig);
        op.key_id = "piv-9d";
        op.input.data = rd_of("(7:enc-val(4:ecdh(1:s1:x)(1:e1:y)))", 35);
        (void)piv_decrypt(p, &op, &plain);
    }
    piv_forget(p);
    gcry_sexp_release(sig);
    buf_free(&lines);
    buf_free(&plain);
    piv_free(p);
}

static void certificate(struct rd r)
{
    struct buf der = BUF_INIT;
    struct key *k = NULL;
    uint8_t pin, touch;

    if (piv_unpack_certificate(r, &der) == 0) {
        REQUIRE(der.len <= PIV_MAX_CERT);
        if (piv_certificate_key(buf_rd(&der), false, &k) == 0)
            REQUIRE(k->sexp != NULL);
        (void)piv_attested_policies(buf_rd(&der), &pin, &touch);
    }
    key_unref(k);
    buf_free(&der);
}

static void metadata(struct rd r)
{
    struct piv_metadata m;
    struct key *k = NULL;

    if (piv_parse_metadata(r, &m) == 0 && piv_parse_public(m.alg, m.public, false, &k) == 0)
        (void)piv_alg_of(k);
    key_unref(k);
}

static void answer(struct rd r)
{
    struct key *k = NULL;
    gcry_sexp_t sig = NULL;
    struct rd v;
    static const char ec[] = "(public-key(ecc(curve \"NIST P-256\")(q "
                             "#046B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296"
                             "4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5#)))";
    gcry_sexp_t s;

    REQUIRE(gcry_sexp_new(&s, ec, 0, 1) == 0 && key_from_sexp(s, false, &k) == 0);
    (void)piv_parse_signature(k, r, &sig);
    if (piv_parse_response(r, &v) == 0)
        (void)piv_strip_padding(v, &v);
    gcry_sexp_release(sig);
    gcry_sexp_release(s);
    key_unref(k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_of(data, size);
    struct piv_discovery discovery;
    uint8_t which, guid[16], pin, touch;

    fuzz_init();
    if (rd_u8(&r, &which) != 0)
        return 0;
    switch (which) {
    case 'm':
        metadata(r);
        break;
    case 'c':
        certificate(r);
        break;
    case 'g':
        (void)piv_parse_chuid(r, guid);
        break;
    case 'd':
        (void)piv_parse_discovery(r, &discovery);
        break;
    case 'a':
        answer(r);
        break;
    case 't':
        (void)piv_attested_policies(r, &pin, &touch);
        break;
    default:
        whole_card(r);
        break;
    }
    return 0;
}
