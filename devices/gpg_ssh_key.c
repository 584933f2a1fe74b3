#include "devices/gpg_ssh_key.h"

#include "devices/gpg_sexp.h"

#include <string.h>

static bool is(struct rd r, const char *text)
{
    return r.n == strlen(text) && memcmp(r.p, text, r.n) == 0;
}

static gpg_error_t read_mpints(struct rd *body, struct rd *out, size_t n)
{
    gpg_error_t err = 0;

    for (size_t i = 0; i < n && err == 0; i++)
        err = rd_mpint(body, &out[i]);
    return err == 0 && body->n != 0 ? gpg_error(GPG_ERR_BAD_DATA) : err;
}

/* ssh has q^-1 mod p, gpg p^-1 mod q with p < q: the same number when p and q change places. Where they are the other way round, it is
 * reckoned anew. */
static gpg_error_t put_factors(struct buf *b, struct rd p, struct rd q, struct rd iqmp)
{
    gcry_mpi_t mp = NULL, mq = NULL, u = NULL;
    unsigned char *octets = NULL;
    size_t n = 0;
    gpg_error_t err = gcry_mpi_scan(&mp, GCRYMPI_FMT_USG, p.p, p.n, NULL);

    if (err == 0)
        err = gcry_mpi_scan(&mq, GCRYMPI_FMT_USG, q.p, q.n, NULL);
    if (err == 0 && gcry_mpi_cmp(mq, mp) < 0) {
        canon_put_number(b, "p", q);
        canon_put_number(b, "q", p);
        canon_put_number(b, "u", iqmp);
    } else if (err == 0) {
        u = gcry_mpi_snew(0);
        octets = gcry_malloc_secure(q.n + 1);
        if (u == NULL || octets == NULL)
            err = gpg_error(GPG_ERR_ENOMEM);
        else if (gcry_mpi_cmp_ui(mq, 1) <= 0 || !gcry_mpi_invm(u, mp, mq))
            err = gpg_error(GPG_ERR_BAD_SECKEY);
        else
            err = gcry_mpi_print(GCRYMPI_FMT_USG, octets, q.n + 1, &n, u);
        if (err == 0) {
            canon_put_number(b, "p", p);
            canon_put_number(b, "q", q);
            canon_put_number(b, "u", rd_of(octets, n));
        }
    }
    gcry_free(octets);
    gcry_mpi_release(mp);
    gcry_mpi_release(mq);
    gcry_mpi_release(u);
    return err;
}

static gpg_error_t put_rsa(struct rd *body, struct buf *b)
{
    struct rd m[6]; /* n e d iqmp p q */
    gpg_error_t err = read_mpints(body, m, 6);

    if (err != 0)
        return err;
    buf_printf(b, "(");
    canon_put_name(b, "rsa");
    canon_put_number(b, "n", m[0]);
    canon_put_number(b, "e", m[1]);
    canon_put_number(b, "d", m[2]);
    err = put_factors(b, m[4], m[5], m[3]);
    buf_printf(b, ")");
    return err;
}

static gpg_error_t put_dsa(struct rd *body, struct buf *b)
{
    static const char *const names[] = {"p", "q", "g", "y", "x"};
    struct rd m[5];
    gpg_error_t err = read_mpints(body, m, 5);

    if (err != 0)
        return err;
    buf_printf(b, "(");
    canon_put_name(b, "dsa");
    for (size_t i = 0; i < 5; i++)
        canon_put_number(b, names[i], m[i]);
    buf_printf(b, ")");
    return 0;
}

static gpg_error_t put_ecdsa(struct rd *body, struct buf *b)
{
    static const struct {
        const char *ssh, *name;
    } curves[] = {
        {"nistp256", "NIST P-256"}, {"nistp384", "NIST P-384"}, {"nistp521", "NIST P-521"}};
    const char *name = NULL;
    struct rd curve, q, d;
    gpg_error_t err;

    if ((err = rd_string(body, &curve)) != 0 || (err = rd_string(body, &q)) != 0 ||
        (err = read_mpints(body, &d, 1)) != 0)
        return err;
    for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++)
        if (is(curve, curves[i].ssh))
            name = curves[i].name;
    if (name == NULL)
        return gpg_error(GPG_ERR_UNKNOWN_CURVE);
    buf_printf(b, "(");
    canon_put_name(b, "ecc");
    canon_put_pair(b, "curve", rd_of(name, strlen(name)));
    canon_put_pair(b, "q", q);
    canon_put_number(b, "d", d);
    buf_printf(b, ")");
    return 0;
}

/* The private half of ssh's is the seed and the point behind it. */
static gpg_error_t put_ed25519(struct rd *body, struct buf *b)
{
    uint8_t point[33] = {0x40};
    struct rd pk, sk;
    gpg_error_t err;

    if ((err = rd_string(body, &pk)) != 0 || (err = rd_string(body, &sk)) != 0)
        return err;
    if (pk.n != 32 || sk.n != 64 || body->n != 0 || memcmp(sk.p + 32, pk.p, 32) != 0)
        return gpg_error(GPG_ERR_BAD_SECKEY);
    memcpy(point + 1, pk.p, 32);
    buf_printf(b, "(");
    canon_put_name(b, "ecc");
    canon_put_pair(b, "curve", rd_of("Ed25519", 7));
    canon_put_pair(b, "flags", rd_of("eddsa", 5));
    canon_put_pair(b, "q", rd_of(point, sizeof point));
    canon_put_pair(b, "d", rd_of(sk.p, 32));
    buf_printf(b, ")");
    return 0;
}

gpg_error_t gpg_ssh_key(struct rd body, const char *comment, struct buf *out)
{
    static const struct {
        const char *type;
        gpg_error_t (*put)(struct rd *body, struct buf *b);
    } types[] = {{"ssh-rsa", put_rsa},
                 {"ssh-dss", put_dsa},
                 {"ssh-ed25519", put_ed25519},
                 {"ecdsa-sha2-nistp256", put_ecdsa},
                 {"ecdsa-sha2-nistp384", put_ecdsa},
                 {"ecdsa-sha2-nistp521", put_ecdsa}};
    struct rd type;
    gpg_error_t err = rd_string(&body, &type);

    for (size_t i = 0; err == 0 && i < sizeof types / sizeof types[0]; i++) {
        if (!is(type, types[i].type))
            continue;
        buf_printf(out, "(");
        canon_put_name(out, "private-key");
        err = types[i].put(&body, out);
        if (comment[0] != '\0')
            canon_put_pair(out, "comment", rd_of(comment, strlen(comment)));
        buf_printf(out, ")");
        return err != 0 ? err : buf_err(out);
    }
    return err != 0 ? err : gpg_error(GPG_ERR_UNSUPPORTED_ALGORITHM);
}
