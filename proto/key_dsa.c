/* ssh-dss (RFC 4253 6.6): served as long as ssh-add of OpenSSH 9.x adds such keys, verified with SHA-1 only. */
#include "proto/key_internal.h"

#define P_BITS 1024u
#define Q_BITS 160u

gpg_error_t dsa_read(struct rd *r, struct rd dsa[4])
{
    gpg_error_t err = 0;

    for (int i = 0; i < 4 && err == 0; i++)
        err = rd_mpint(r, &dsa[i]);
    return err;
}

void dsa_put(struct buf *b, const struct rd dsa[4])
{
    for (int i = 0; i < 4; i++)
        buf_put_mpint(b, dsa[i].p, dsa[i].n);
}

static void release(gcry_mpi_t m[4])
{
    for (int i = 0; i < 4; i++)
        gcry_mpi_release(m[i]);
}

static gpg_error_t scan(const struct rd dsa[4], gcry_mpi_t m[4])
{
    gpg_error_t err = 0;

    for (int i = 0; i < 4 && err == 0; i++)
        err = gcry_mpi_scan(&m[i], GCRYMPI_FMT_USG, dsa[i].p, dsa[i].n, NULL);
    return err;
}

gpg_error_t dsa_check(const struct rd dsa[4], unsigned *nbits)
{
    gcry_mpi_t m[4] = {0};
    gpg_error_t err;

    for (int i = 0; i < 4; i++)
        if (dsa[i].n == 0 || dsa[i].n > P_BITS / 8 + 1)
            return gpg_error(GPG_ERR_BAD_PUBKEY);
    err = scan(dsa, m);
    if (err == 0 && (gcry_mpi_get_nbits(m[0]) != P_BITS || gcry_mpi_get_nbits(m[1]) != Q_BITS ||
                     !gcry_mpi_test_bit(m[0], 0) ||
                     !gcry_mpi_test_bit(m[1], 0) || /* libgcrypt loops on even ones */
                     gcry_mpi_cmp_ui(m[2], 1) <= 0 || gcry_mpi_cmp(m[2], m[0]) >= 0 ||
                     gcry_mpi_cmp_ui(m[3], 1) <= 0 || gcry_mpi_cmp(m[3], m[0]) >= 0))
        err = gpg_error(GPG_ERR_BAD_PUBKEY);
    release(m);
    if (err == 0)
        *nbits = P_BITS;
    return err;
}

gpg_error_t dsa_sexp(const struct rd dsa[4], gcry_sexp_t *out)
{
    gcry_mpi_t m[4] = {0};
    gpg_error_t err = scan(dsa, m);

    if (err == 0)
        err = gcry_sexp_build(out, NULL, "(public-key(dsa(p %m)(q %m)(g %m)(y %m)))", m[0], m[1],
                              m[2], m[3]);
    release(m);
    return err;
}
