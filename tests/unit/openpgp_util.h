/* OpenPGP keys made and used by libgcrypt, and the real gpg in a home of its own. */
#ifndef LATCHKEY_TESTS_OPENPGP_UTIL_H
#define LATCHKEY_TESTS_OPENPGP_UTIL_H

#include "proto/openpgp.h"
#include "tests/unit/proto_util.h"

#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A pair; SECRET signs in the test's place of a card. */
struct pgp_pair {
    gcry_sexp_t secret;
    struct key *key;
    uint32_t created;
    uint8_t fpr[20];
    char *hex; /* of fpr */
};

static inline void pgp_pair_make(struct pgp_pair *p, const char *genkey, bool ecdh,
                                 uint32_t created)
{
    gcry_sexp_t parms, both, pub;

    ck_ok(gcry_sexp_new(&parms, genkey, 0, 1));
    ck_ok(gcry_pk_genkey(&both, parms));
    pub = gcry_sexp_find_token(both, "public-key", 0);
    p->secret = gcry_sexp_find_token(both, "private-key", 0);
    ck_ok(key_from_sexp(pub, ecdh, &p->key));
    p->created = created;
    ck_ok(openpgp_fingerprint(p->key, created, p->fpr));
    p->hex = hex_encode(p->fpr, sizeof p->fpr);
    ck_assert_ptr_nonnull(p->hex);
    gcry_sexp_release(pub);
    gcry_sexp_release(both);
    gcry_sexp_release(parms);
}

static inline void pgp_pair_free(struct pgp_pair *p)
{
    gcry_sexp_release(p->secret);
    key_unref(p->key);
    gpgrt_free(p->hex);
}

static inline gcry_sexp_t pgp_pair_sign(const struct pgp_pair *p, const struct tosign *t)
{
    int n = (int)t->data.n;
    gcry_sexp_t data, sig;

    if (p->key->algo == KEY_ED25519)
        ck_ok(gcry_sexp_build(&data, NULL, "(data (flags eddsa) (hash-algo sha512) (value %b))", n,
                              t->data.p));
    else
        ck_ok(gcry_sexp_build(&data, NULL,
                              p->key->algo == KEY_RSA ? "(data (flags pkcs1) (hash %s %b))"
                                                      : "(data (flags rfc6979) (hash %s %b))",
                              gcry_md_algo_name(t->hash), n, t->data.p));
    ck_ok(gcry_pk_sign(&sig, data, p->secret));
    ck_ok(sig_verify(p->key, t, sig));
    gcry_sexp_release(data);
    return sig;
}

/* Signs what SIG has hashed and appends the packet; SIG is used up. */
static inline void pgp_pair_finish(const struct pgp_pair *p, struct openpgp_sig *sig,
                                   struct buf *out)
{
    struct tosign t;
    gcry_sexp_t value;

    ck_ok(openpgp_sig_digest(sig, &t));
    value = pgp_pair_sign(p, &t);
    ck_ok(openpgp_sig_finish(sig, value, out));
    gcry_sexp_release(value);
    openpgp_sig_free(sig);
}

static inline void put_primary(const struct pgp_pair *p, const char *uid, struct buf *out)
{
    struct openpgp_sig *sig;

    ck_ok(openpgp_put_pubkey(out, p->key, p->created, false));
    ck_ok(openpgp_put_userid(out, uid));
    ck_ok(openpgp_sig_new(p->key, p->fpr, OPENPGP_SIG_CERT, openpgp_choose_hash(p->key), p->created,
                          0x03, &sig));
    ck_ok(openpgp_sig_update_key(sig, p->key, p->created));
    openpgp_sig_update_userid(sig, uid);
    pgp_pair_finish(p, sig, out);
}

static inline void put_subkey(const struct pgp_pair *p, const struct pgp_pair *sub, uint8_t flags,
                              struct buf *out)
{
    struct openpgp_sig *sig;

    ck_ok(openpgp_put_pubkey(out, sub->key, sub->created, true));
    ck_ok(openpgp_sig_new(p->key, p->fpr, OPENPGP_SIG_SUBKEY, openpgp_choose_hash(p->key),
                          p->created, flags, &sig));
    ck_ok(openpgp_sig_update_key(sig, p->key, p->created));
    ck_ok(openpgp_sig_update_key(sig, sub->key, sub->created));
    pgp_pair_finish(p, sig, out);
}

static inline void put_signature(const struct pgp_pair *p, enum openpgp_sig_type type,
                                 struct rd data, uint32_t now, struct buf *out)
{
    struct openpgp_sig *sig;

    ck_ok(openpgp_sig_new(p->key, p->fpr, type, openpgp_choose_hash(p->key), now, 0, &sig));
    if (type == OPENPGP_SIG_TEXT)
        openpgp_sig_update_text(sig, data);
    else
        openpgp_sig_update(sig, data);
    pgp_pair_finish(p, sig, out);
}

/* --- a scratch directory ------------------------------------------------------------------------------------------------ */

/* A short path: gpg's sockets must fit into it. */
static inline char *scratch_new(void)
{
    char name[] = "/tmp/lk-XXXXXX";

    ck_assert_ptr_nonnull(mkdtemp(name));
    return gpgrt_strdup(name);
}

static inline void write_file(const char *dir, const char *name, struct rd data)
{
    char *path = gpgrt_bsprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data.p, 1, data.n, f), data.n);
    ck_assert_int_eq(fclose(f), 0);
    gpgrt_free(path);
}

static inline void read_file(const char *dir, const char *name, struct buf *out)
{
    char *path = gpgrt_bsprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    int c;

    ck_assert_msg(f != NULL, "%s", path);
    while ((c = getc(f)) != EOF)
        buf_put_u8(out, (uint8_t)c);
    fclose(f);
    gpgrt_free(path);
}

/* Runs a shell command in DIR, whose gpg home DIR is too; *OUT (gpgrt_free) gets what it writes, stderr included. */
static inline int shell(const char *dir, char **out, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static inline int shell(const char *dir, char **out, const char *fmt, ...)
{
    struct buf text = BUF_INIT;
    char *command, *whole;
    va_list ap;
    FILE *f;
    int c, rc;

    va_start(ap, fmt);
    command = gpgrt_vbsprintf(fmt, ap);
    va_end(ap);
    whole = gpgrt_bsprintf("exec 2>&1; cd %s && export LC_ALL=C GNUPGHOME=%s HOME=%s && { %s\n}",
                           dir, dir, dir, command);
    f = popen(whole, "r");
    ck_assert_ptr_nonnull(f);
    while ((c = getc(f)) != EOF)
        buf_put_u8(&text, (uint8_t)c);
    rc = pclose(f);
    gpgrt_free(whole);
    gpgrt_free(command);
    *out = buf_steal_cstr(&text);
    ck_assert_ptr_nonnull(*out);
    return WIFEXITED(rc) ? WEXITSTATUS(rc) : 128 + WTERMSIG(rc);
}

static inline void scratch_free(char *dir)
{
    char *out;

    ck_assert_int_eq(shell("/", &out, "rm -rf %s", dir), 0);
    gpgrt_free(out);
    gpgrt_free(dir);
}

#define ck_contains(text, want)                                                               \
    do {                                                                                      \
        const char *ck_want_ = (want);                                                        \
        ck_assert_msg(strstr((text), ck_want_) != NULL, "no \"%s\" in:\n%s", ck_want_, text); \
    } while (0)
#define ck_lacks(text, want)                                                               \
    do {                                                                                   \
        const char *ck_want_ = (want);                                                     \
        ck_assert_msg(strstr((text), ck_want_) == NULL, "\"%s\" in:\n%s", ck_want_, text); \
    } while (0)

#endif
