#include "devices/driver.h"

#include "proto/token_protocol.h"

gpg_error_t driver_put_key(struct buf *line, const char *id, const struct key *k, const char *caps,
                           const char *family)
{
    size_t n = gcry_sexp_sprint(k->sexp, GCRYSEXP_FMT_CANON, NULL, 0);
    char *canon = gpgrt_malloc(n + 1), *pub = NULL;
    gpg_error_t err = 0;

    if (canon != NULL) {
        n = gcry_sexp_sprint(k->sexp, GCRYSEXP_FMT_CANON, canon, n + 1);
        pub = b64_encode(canon, n);
    }
    if (pub == NULL) {
        err = gpg_error_from_syserror();
    } else {
        field_put(line, "id", id);
        field_put(line, "pub", pub);
        if (k->algo == KEY_ECDH)
            field_put_int(line, "ecdh", 1);
        if (key_is_sk(k))
            field_put(line, "sk", k->sk_application);
        field_put(line, "caps", caps);
        field_put(line, "family", family);
        err = buf_err(line);
    }
    gpgrt_free(canon);
    gpgrt_free(pub);
    return err;
}
