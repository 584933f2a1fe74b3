#include "agent/broker_prove.h"

#include "agent/token_lines.h"

#include <string.h>

#define NONCE_LEN 32u
/* A namespace of its own (PROTOCOL.sshsig), and for gpg's keys a text that ends the hashed data, where
 * OpenPGP has its trailer: the answer is neither a login nor a signature of anything. */
#define NAMESPACE "unlock@latchkey"

/* --- which key ------------------------------------------------------------------------------------- */

static int rate(const struct key_line *k)
{
    int score = k->id.can_auth ? 30 : k->id.can_sign ? 20 : k->id.can_encrypt ? 10 : 0;

    /* No proof could come from it. */
    if (k->holder.pin == TOKEN_PIN_NONE && k->holder.touch != TOKEN_TOUCH_ALWAYS)
        return 0;
    if (score > 0 && k->holder.touch != TOKEN_TOUCH_NEVER)
        score -= 5;
    return score;
}

static gpg_error_t choose(const struct token_info *info, char *const *lines, struct key_line *out)
{
    struct key_line best = {0};
    int best_score = 0;

    for (char *const *line = lines; *line != NULL; line++) {
        struct key_line k;

        if (key_line_parse(*line, info, &k) != 0)
            continue;
        if (rate(&k) > best_score) {
            best_score = rate(&k);
            key_line_clear(&best);
            best = k;
        } else {
            key_line_clear(&k);
        }
    }
    if (best_score == 0)
        return gpg_error(GPG_ERR_NO_SECKEY);
    *out = best;
    return 0;
}

/* --- by signing ------------------------------------------------------------------------------------ */

static gpg_error_t put_challenge(const struct key_line *k, struct buf *b)
{
    uint8_t nonce[NONCE_LEN];

    gcry_randomize(nonce, sizeof nonce, GCRY_STRONG_RANDOM);
    if (k->id.family == FAMILY_GPG) {
        buf_put(b, nonce, sizeof nonce);
        buf_printf(b, "%s", NAMESPACE);
        return buf_err(b);
    }
    buf_put(b, "SSHSIG", 6);
    buf_put_cstring(b, NAMESPACE);
    buf_put_cstring(b, "");
    buf_put_cstring(b, "sha256");
    buf_put_string(b, nonce, sizeof nonce); /* in the place of a message's hash */
    return buf_err(b);
}

static gpg_error_t prove_by_signing(struct token *t, const struct key_line *k, struct wait *w,
                                    struct token_job *job)
{
    struct buf challenge = BUF_INIT;
    struct tosign what;
    uint8_t digest[64];
    gcry_sexp_t sig = NULL;
    /* OpenPGP's Ed25519 signs a digest, ssh's the message. */
    bool whole = k->id.key->algo == KEY_ED25519 && k->id.family == FAMILY_SSH;
    gpg_error_t err = put_challenge(k, &challenge);

    if (err == 0)
        err = tosign_from_message(whole ? 0 : key_default_hash(k->id.key), buf_rd(&challenge),
                                  digest, &what);
    if (err != 0)
        goto out;
    job->verb = TOKEN_SIGN;
    /* A token without PIN proves by its touch. */
    if (k->holder.pin == TOKEN_PIN_NONE && k->holder.touch == TOKEN_TOUCH_ALWAYS)
        job->pin_age = -1;
    job->hash = k->holder.whole ? 0 : what.hash;
    job->data = k->holder.whole ? buf_rd(&challenge) : what.data;
    err = token_run(t, w, job);
    if (err != 0)
        goto out;
    if (gcry_sexp_sscan(&sig, NULL, (const char *)job->result.data, job->result.len) != 0 ||
        sig_verify(k->id.key, &what, sig) != 0)
        err = gpg_error(GPG_ERR_BAD_SIGNATURE);
out:
    gcry_sexp_release(sig);
    buf_free(&challenge);
    return err;
}

/* --- by decrypting --------------------------------------------------------------------------------- */

/* The x coordinate of a point or the number itself: cards and libgcrypt prefix it differently. */
static struct rd coordinate(struct rd r, size_t n)
{
    if (r.n == 2 * n + 1 && r.p[0] == 0x04)
        return rd_of(r.p + 1, n);
    if (r.n == n + 1)
        return rd_of(r.p + 1, n);
    return r;
}

/* Something encrypted to K, and what its holder makes of it. */
static gpg_error_t encrypt(const struct key *k, gcry_sexp_t *out, struct buf *secret)
{
    size_t n = (k->nbits + 7) / 8;
    uint8_t random[128];
    gcry_sexp_t data = NULL, part = NULL;
    const char *shared = NULL;
    size_t len = 0;
    gpg_error_t err;

    if (k->algo == KEY_RSA)
        n = NONCE_LEN;
    if (n > sizeof random)
        return gpg_error(GPG_ERR_UNKNOWN_CURVE);
    gcry_randomize(random, n, GCRY_STRONG_RANDOM);
    if (k->algo == KEY_RSA) {
        err = gcry_sexp_build(&data, NULL, "(data (flags pkcs1) (value %b))", (int)n, random);
    } else {
        random[0] &= 0x7f; /* a positive number, and a scalar as RFC 7748 wants it */
        if (k->curve != NULL && strcmp(k->curve, "Curve25519") == 0) {
            random[0] |= 0x40;
            random[n - 1] &= 0xf8;
        }
        err = gcry_sexp_build(&data, NULL, "(data (flags raw) (value %b))", (int)n, random);
    }
    if (err == 0)
        err = gcry_pk_encrypt(out, data, k->sexp);
    if (err == 0 && k->algo == KEY_RSA) {
        buf_put(secret, random, n);
    } else if (err == 0) {
        part = gcry_sexp_find_token(*out, "s", 0);
        shared = part != NULL ? gcry_sexp_nth_data(part, 1, &len) : NULL;
        if (shared == NULL)
            err = gpg_error(GPG_ERR_INTERNAL);
        else
            buf_put_rd(secret, coordinate(rd_of(shared, len), n));
    }
    gcry_sexp_release(part);
    gcry_sexp_release(data);
    return err != 0 ? err : buf_err(secret);
}

static gpg_error_t prove_by_decrypting(struct token *t, const struct key_line *k, struct wait *w,
                                       struct token_job *job)
{
    struct buf secret = BUF_INIT_SECURE;
    gcry_sexp_t ciphertext = NULL;
    char *text = NULL;
    size_t n;
    gpg_error_t err = encrypt(k->id.key, &ciphertext, &secret);

    if (err != 0)
        goto out;
    n = gcry_sexp_sprint(ciphertext, GCRYSEXP_FMT_CANON, NULL, 0);
    text = gpgrt_malloc(n);
    if (text == NULL) {
        err = gpg_error_from_syserror();
        goto out;
    }
    job->verb = TOKEN_DECRYPT;
    job->data = rd_of(text, gcry_sexp_sprint(ciphertext, GCRYSEXP_FMT_CANON, text, n));
    err = token_run(t, w, job);
    if (err == 0 && !rd_eq(coordinate(buf_rd(&job->result), secret.len), buf_rd(&secret)))
        err = gpg_error(GPG_ERR_BAD_SIGNATURE);
out:
    gcry_sexp_release(ciphertext);
    gpgrt_free(text);
    buf_free(&secret);
    return err;
}

gpg_error_t broker_prove(struct token *t, const struct token_info *info, char *const *lines,
                         struct wait *w, struct token_job *job)
{
    struct key_line k;
    gpg_error_t err = choose(info, lines, &k);

    if (err != 0)
        return err;
    job->key_id = k.holder.id;
    job->use = "unlock";
    job->pin_age = 0;
    job->drop = true;
    err = k.id.can_auth || k.id.can_sign ? prove_by_signing(t, &k, w, job)
                                         : prove_by_decrypting(t, &k, w, job);
    if (err == 0 && !job->pin_typed && !job->touched)
        err = gpg_error(GPG_ERR_LOCKED);
    buf_free(&job->result);
    key_line_clear(&k);
    return err;
}
