/* Signatures: libgcrypt's s-expression, SSH's blobs and OpenPGP's MPIs, made from one another. */
#include "proto/key_internal.h"
#include "proto/ssh_agent.h"

#include <string.h>

gpg_error_t put_padded(struct buf *b, struct rd r, size_t n)
{
    r = rd_magnitude(r);
    if (r.n > n)
        return gpg_error(GPG_ERR_BAD_DATA);
    for (size_t i = r.n; i < n; i++)
        buf_put_u8(b, 0);
    buf_put_rd(b, r);
    return buf_err(b);
}

#define DSA_HALF 20 /* octets of one half of an ssh-dss signature */

static size_t modulus_octets(const struct key *k)
{
    return (k->nbits + 7) / 8;
}

/* --- making
 * ------------------------------------------------------------------------------------------------
 */

/* As MPIs, so that libgcrypt writes the leading zero that keeps them positive. */
static gpg_error_t sig_of_mpis(const char *format, struct rd a, struct rd b, gcry_sexp_t *out)
{
    gcry_mpi_t ma = NULL, mb = NULL;
    gpg_error_t err = gcry_mpi_scan(&ma, GCRYMPI_FMT_USG, a.p, a.n, NULL);

    if (err == 0 && b.p != NULL)
        err = gcry_mpi_scan(&mb, GCRYMPI_FMT_USG, b.p, b.n, NULL);
    if (err == 0)
        err = gcry_sexp_build(out, NULL, format, ma, mb);
    gcry_mpi_release(ma);
    gcry_mpi_release(mb);
    return err;
}

static gpg_error_t sig_of_rsa(const struct key *k, struct rd s, gcry_sexp_t *out)
{
    s = rd_magnitude(s);
    if (s.n == 0 || s.n > modulus_octets(k))
        return gpg_error(GPG_ERR_BAD_SIGNATURE);
    return sig_of_mpis("(sig-val(rsa(s %m)))", s, rd_of(NULL, 0), out);
}

/* R and S are octet strings, not numbers: 32 octets each, zeros kept. */
static gpg_error_t sig_of_eddsa(struct rd r, struct rd s, gcry_sexp_t *out)
{
    struct buf b = BUF_INIT;
    gpg_error_t err;

    /* libgcrypt and cards drop or add leading zeros when they take the halves for MPIs. */
    err = put_padded(&b, r, 32);
    if (err == 0)
        err = put_padded(&b, s, 32);
    if (err == 0)
        err =
            gcry_sexp_build(out, NULL, "(sig-val(eddsa(r %b)(s %b)))", 32, b.data, 32, b.data + 32);
    else if (gpg_err_code(err) == GPG_ERR_BAD_DATA)
        err = gpg_error(GPG_ERR_BAD_SIGNATURE);
    buf_free(&b);
    return err;
}

gpg_error_t sig_from_rs(const struct key *k, struct rd r, struct rd s, gcry_sexp_t *out)
{
    switch (k->algo) {
    case KEY_ECDSA:
    case KEY_SK_ECDSA:
        r = rd_magnitude(r);
        s = rd_magnitude(s);
        if (r.n == 0 || s.n == 0 || r.n > modulus_octets(k) || s.n > modulus_octets(k))
            return gpg_error(GPG_ERR_BAD_SIGNATURE);
        return sig_of_mpis("(sig-val(ecdsa(r %m)(s %m)))", r, s, out);
    case KEY_ED25519:
    case KEY_SK_ED25519:
        return sig_of_eddsa(r, s, out);
    case KEY_DSA:
        r = rd_magnitude(r);
        s = rd_magnitude(s);
        if (r.n == 0 || s.n == 0 || r.n > DSA_HALF || s.n > DSA_HALF)
            return gpg_error(GPG_ERR_BAD_SIGNATURE);
        return sig_of_mpis("(sig-val(dsa(r %m)(s %m)))", r, s, out);
    case KEY_RSA:
    case KEY_ECDH:
    case KEY_OTHER:
        break;
    }
    return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
}

gpg_error_t sig_from_raw(const struct key *k, struct rd raw, gcry_sexp_t *out)
{
    if (k->algo == KEY_RSA)
        return sig_of_rsa(k, raw, out);
    if (raw.n == 0 || raw.n % 2 != 0)
        return gpg_error(GPG_ERR_BAD_SIGNATURE);
    return sig_from_rs(k, rd_of(raw.p, raw.n / 2), rd_of(raw.p + raw.n / 2, raw.n / 2), out);
}

/* --- writing
 * -----------------------------------------------------------------------------------------------
 */

static const char *rsa_sig_type(int hash)
{
    switch (hash) {
    case GCRY_MD_SHA1:
        return "ssh-rsa";
    case GCRY_MD_SHA256:
        return "rsa-sha2-256";
    case GCRY_MD_SHA512:
        return "rsa-sha2-512";
    default:
        return NULL;
    }
}

static gpg_error_t put_ssh_rsa(const struct key *k, int hash, gcry_sexp_t sig, struct buf *b)
{
    const char *type = rsa_sig_type(hash);
    struct buf s = BUF_INIT;
    gpg_error_t err;

    if (type == NULL)
        return gpg_error(GPG_ERR_DIGEST_ALGO);
    err = sexp_param(sig, "s", &s);
    if (err == 0) {
        buf_put_cstring(b, type);
        buf_put_u32(b, (uint32_t)modulus_octets(k));
        err = put_padded(b, buf_rd(&s), modulus_octets(k));
    }
    buf_free(&s);
    return err;
}

static gpg_error_t put_ssh_pair(const struct key *k, struct rd r, struct rd s, struct buf *b)
{
    size_t start;

    buf_put_cstring(b, ssh_type_of(k)->name);
    start = b->len;
    buf_put_u32(b, 0);
    if (k->algo == KEY_ECDSA || k->algo == KEY_SK_ECDSA) {
        buf_put_mpint(b, r.p, r.n);
        buf_put_mpint(b, s.p, s.n);
    } else {
        size_t half = k->algo == KEY_DSA ? DSA_HALF : 32;
        gpg_error_t err = put_padded(b, r, half);

        if (err == 0)
            err = put_padded(b, s, half);
        if (err != 0)
            return err;
    }
    buf_set_u32(b, start, (uint32_t)(b->len - start - 4));
    return buf_err(b);
}

static gpg_error_t put_ssh_sexp_pair(const struct key *k, gcry_sexp_t sig, struct buf *b)
{
    struct buf r = BUF_INIT, s = BUF_INIT;
    gpg_error_t err = sexp_param(sig, "r", &r);

    if (err == 0)
        err = sexp_param(sig, "s", &s);
    if (err == 0)
        err = put_ssh_pair(k, buf_rd(&r), buf_rd(&s), b);
    buf_free(&r);
    buf_free(&s);
    return err;
}

gpg_error_t sig_to_ssh(const struct key *k, int hash, gcry_sexp_t sig, struct buf *b)
{
    struct buf whole = BUF_INIT;
    gpg_error_t err;

    if (k->plain == NULL || (k->algo != KEY_RSA && k->algo != KEY_ECDSA && k->algo != KEY_ED25519 &&
                             k->algo != KEY_DSA))
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    err =
        k->algo == KEY_RSA ? put_ssh_rsa(k, hash, sig, &whole) : put_ssh_sexp_pair(k, sig, &whole);
    if (err == 0) {
        buf_put_rd(b, buf_rd(&whole));
        err = buf_err(b);
    }
    buf_free(&whole);
    return err;
}

gpg_error_t sk_sig_to_ssh(const struct key *k, const struct sk_assertion *says, gcry_sexp_t sig,
                          struct buf *b)
{
    struct buf whole = BUF_INIT;
    gpg_error_t err;

    if (!key_is_sk(k))
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    err = put_ssh_sexp_pair(k, sig, &whole);
    if (err == 0) {
        buf_put_rd(b, buf_rd(&whole));
        buf_put_u8(b, says->flags);
        buf_put_u32(b, says->counter);
        err = buf_err(b);
    }
    buf_free(&whole);
    return err;
}

gpg_error_t sig_to_openpgp(const struct key *k, gcry_sexp_t sig, struct buf *b)
{
    static const char *const rsa[] = {"s", NULL}, *const pair[] = {"r", "s", NULL};
    struct buf whole = BUF_INIT, v = BUF_INIT;
    gpg_error_t err = 0;

    if (k->algo != KEY_RSA && k->algo != KEY_ECDSA && k->algo != KEY_ED25519)
        return gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
    for (const char *const *name = k->algo == KEY_RSA ? rsa : pair; *name != NULL; name++) {
        buf_reset(&v);
        err = sexp_param(sig, *name, &v);
        if (err != 0)
            goto out;
        buf_put_pgp_mpi(&whole, v.data, v.len);
    }
    err = buf_err(&whole);
    if (err == 0) {
        buf_put_rd(b, buf_rd(&whole));
        err = buf_err(b);
    }
out:
    buf_free(&v);
    buf_free(&whole);
    return err;
}

/* --- what to sign
 * ------------------------------------------------------------------------------------------ */

int ssh_sign_hash(const struct key *k, uint32_t flags)
{
    switch (k->algo) {
    case KEY_RSA:
        if ((flags & SSH_AGENT_RSA_SHA2_256) != 0)
            return GCRY_MD_SHA256;
        return (flags & SSH_AGENT_RSA_SHA2_512) != 0 ? GCRY_MD_SHA512 : GCRY_MD_SHA1;
    case KEY_ECDSA:
    case KEY_DSA:
        return key_default_hash(k);
    default:
        return 0;
    }
}

gpg_error_t tosign_from_message(int hash, struct rd message, uint8_t digest[64], struct tosign *t)
{
    unsigned n;

    if (hash == 0) {
        *t = (struct tosign){.hash = 0, .data = message};
        return 0;
    }
    n = gcry_md_get_algo_dlen(hash);
    if (n == 0 || n > 64 || gcry_md_test_algo(hash) != 0)
        return gpg_error(GPG_ERR_DIGEST_ALGO);
    gcry_md_hash_buffer(hash, digest, message.p, message.n);
    *t = (struct tosign){.hash = hash, .data = rd_of(digest, n)};
    return 0;
}
