/* A FIDO token behind a card reader that answers anything: the input is cut into answers (two octets of length each, status word
 * included). Opened, asked for a key without a touch, for an assertion, for its resident keys. */
#include "devices/fido_work.h"
#include "tests/fuzz/fuzz_util.h"

#include <fido/credman.h>
#include <string.h>

static gpg_error_t transmit(void *handle, struct rd command, struct buf *response)
{
    struct rd *script = handle, answer;
    uint16_t n;

    (void)command;
    if (rd_u16(script, &n) != 0 || rd_bytes(script, n < script->n ? n : script->n, &answer) != 0)
        return gpg_error(GPG_ERR_CARD_REMOVED);
    /* One that is not done yet is asked again until it is: not for ever here. */
    if (answer.n >= 2 && answer.p[answer.n - 2] == 0x91)
        return gpg_error(GPG_ERR_CARD_REMOVED);
    buf_put_rd(response, answer);
    return 0;
}

static void no_close(struct fido_apdu *a)
{
    fido_apdu_clear(a);
}

static void use(fido_dev_t *d)
{
    static const uint8_t digest[32], handle[64];
    fido_assert_t *a = fido_assert_new();
    fido_credman_rp_t *rp = fido_credman_rp_new();
    fido_credman_rk_t *rk = fido_credman_rk_new();
    struct key *k = NULL;

    REQUIRE(a != NULL && rp != NULL && rk != NULL);
    (void)fido_assert_set_clientdata_hash(a, digest, sizeof digest);
    (void)fido_assert_set_rp(a, "ssh:");
    (void)fido_assert_allow_cred(a, handle, sizeof handle);
    (void)fido_assert_set_up(a, FIDO_OPT_FALSE);
    (void)fido_dev_get_assert(d, a, NULL);
    if (fido_dev_is_fido2(d) && fido_credman_get_dev_rp(d, rp, "1234") == FIDO_OK)
        (void)fido_credman_get_dev_rk(d, "ssh:", rk, "1234");
    for (size_t i = 0; i < fido_credman_rk_count(rk); i++) {
        const fido_cred_t *c = fido_credman_rk(rk, i);

        if (fido_public_key(fido_cred_type(c),
                            rd_of(fido_cred_pubkey_ptr(c), fido_cred_pubkey_len(c)),
                            "ssh:", &k) == 0)
            REQUIRE(key_is_sk(k) && k->plain != NULL);
        key_unref(k);
        k = NULL;
    }
    fido_assert_free(&a);
    fido_credman_rp_free(&rp);
    fido_credman_rk_free(&rk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct card_transport transport = {.transmit = transmit};
    struct rd script = rd_of(data, size);
    struct fido_apdu a = {.close = no_close, .card = {.transport = &transport, .handle = &script}};
    fido_dev_t *d = fido_dev_new();

    fuzz_init();
    fido_init(0);
    REQUIRE(d != NULL);
    if (fido_apdu_open(&a, d, "fuzz") == FIDO_OK) {
        use(d);
        (void)fido_dev_close(d);
    }
    fido_dev_free(&d);
    return 0;
}
