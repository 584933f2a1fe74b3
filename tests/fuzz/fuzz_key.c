/* Public keys from strangers: ssh blobs and certificates, s-expressions, text lines. The first
 * octet chooses. */
#include "proto/key.h"
#include "tests/fuzz/fuzz_util.h"

#include <string.h>

static void check_key(struct key *k)
{
    struct key *plain, *again;
    char name[32], *text;

    REQUIRE(key_algo_name(k, name)[0] != 0);
    REQUIRE(key_plain(k, &plain) == 0 && key_same(plain, k) && plain->cert == NULL);
    key_unref(plain);
    if (k->cert != NULL)
        (void)cert_check(k, k->cert->type, k->cert->valid_after, NULL);
    text = key_to_text(k);
    REQUIRE((text != NULL) == (k->blob != NULL));
    if (text != NULL) {
        REQUIRE(key_from_text(text, &again, NULL) == 0);
        REQUIRE(rd_eq(rd_of(again->blob, again->blob_len), rd_of(k->blob, k->blob_len)));
        key_unref(again);
    }
    gpgrt_free(text);
}

static gpg_error_t from_sexp(struct rd r, struct key **out)
{
    gcry_sexp_t s;
    gpg_error_t err = gcry_sexp_new(&s, r.p, r.n, 0);

    if (err != 0)
        return err;
    err = key_from_sexp(s, false, out);
    gcry_sexp_release(s);
    return err;
}

static gpg_error_t from_text(struct rd r, struct key **out)
{
    char *s = malloc(r.n + 1), *comment;
    gpg_error_t err;

    REQUIRE(s != NULL);
    if (r.n > 0)
        memcpy(s, r.p, r.n);
    s[r.n] = 0;
    err = key_from_text(s, out, &comment);
    if (err == 0)
        gpgrt_free(comment);
    free(s);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_of(data, size);
    struct key *k = NULL;
    uint8_t form;
    gpg_error_t err;

    fuzz_init();
    if (rd_u8(&r, &form) != 0)
        return 0;
    switch (form) {
    case 's':
        err = from_sexp(r, &k);
        break;
    case 't':
        err = from_text(r, &k);
        break;
    default:
        err = key_from_blob(r, &k);
        break;
    }
    if (err == 0)
        check_key(k);
    key_unref(k);
    return 0;
}
