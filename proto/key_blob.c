/* SSH's forms of a key: the binary blob (RFC 4253 6.6, RFC 5656, RFC 8709, PROTOCOL.u2f) and the
 * text line. */
#include "proto/key_internal.h"

#include <string.h>

static gpg_error_t read_point(const struct ssh_type *type, struct rd *r, struct key_numbers *num)
{
    gpg_error_t err;

    if (type->curve != NULL) {
        struct rd name;

        err = rd_string(r, &name);
        if (err != 0)
            return err;
        if (!rd_is(name, type->curve))
            return gpg_error(GPG_ERR_INV_CURVE);
        num->curve = curve_by_ssh(name);
    } else {
        num->curve = curve_by_name("Ed25519");
    }
    return rd_string(r, &num->q);
}

gpg_error_t key_numbers_read(const struct ssh_type *type, struct rd *r, struct key_numbers *out)
{
    struct rd t = *r;
    struct key_numbers num = {0};
    gpg_error_t err;

    if (type->algo == KEY_RSA) {
        err = rd_mpint(&t, &num.e);
        if (err == 0)
            err = rd_mpint(&t, &num.n);
    } else if (type->algo == KEY_DSA) {
        err = dsa_read(&t, num.dsa);
    } else {
        err = read_point(type, &t, &num);
    }
    if (err == 0 && (type->algo == KEY_SK_ECDSA || type->algo == KEY_SK_ED25519)) {
        err = rd_string(&t, &num.application);
        if (err == 0 && num.application.n > 0 &&
            memchr(num.application.p, 0, num.application.n) != NULL)
            err = gpg_error(GPG_ERR_BAD_DATA);
    }
    if (err != 0)
        return err;
    *out = num;
    *r = t;
    return 0;
}

static gpg_error_t read_type(struct rd *r, const struct ssh_type **type)
{
    struct rd name;
    gpg_error_t err = rd_string(r, &name);

    if (err != 0)
        return err;
    *type = ssh_type_by_name(name);
    return *type != NULL ? 0 : gpg_error(GPG_ERR_PUBKEY_ALGO);
}

static gpg_error_t plain_from_blob(const struct ssh_type *type, struct rd rest, struct key **out)
{
    struct key_numbers num;
    gpg_error_t err = key_numbers_read(type, &rest, &num);

    if (err == 0)
        err = rd_end(&rest);
    if (err == 0)
        err = key_make(type->algo, &num, out);
    return err;
}

gpg_error_t key_from_plain_blob(struct rd blob, struct key **out)
{
    const struct ssh_type *type;
    gpg_error_t err = read_type(&blob, &type);

    if (err != 0)
        return err;
    if (type->plain != NULL)
        return gpg_error(GPG_ERR_BAD_CERT);
    return plain_from_blob(type, blob, out);
}

/* The certificate's blob stays as it came: the CA signed these octets. */
static gpg_error_t cert_from_blob(const struct ssh_type *type, struct rd blob, struct key **out)
{
    uint8_t *copy = gpgrt_malloc(blob.n);
    struct ssh_cert *cert = NULL;
    struct key_numbers num;
    struct key *k;
    gpg_error_t err;

    if (copy == NULL)
        return gpg_error_from_syserror();
    memcpy(copy, blob.p, blob.n);
    err = cert_parse(rd_of(copy, blob.n), type, &num, &cert);
    if (err == 0)
        err = key_make(type->algo, &num, &k);
    if (err != 0) {
        cert_free(cert);
        gpgrt_free(copy);
        return err;
    }
    k->blob = copy;
    k->blob_len = blob.n;
    k->type = type->name;
    k->cert = cert;
    *out = k;
    return 0;
}

gpg_error_t key_from_blob(struct rd blob, struct key **out)
{
    struct rd rest = blob;
    const struct ssh_type *type;
    gpg_error_t err = read_type(&rest, &type);

    if (err != 0)
        return err;
    return type->plain != NULL ? cert_from_blob(type, blob, out) : plain_from_blob(type, rest, out);
}

/* --- text
 * --------------------------------------------------------------------------------------------------
 */

#define BLANKS " \t"

static struct rd next_word(const char **s)
{
    size_t n;
    struct rd word;

    *s += strspn(*s, BLANKS);
    n = strcspn(*s, BLANKS "\r\n");
    word = rd_of(*s, n);
    *s += n;
    return word;
}

static char *rest_of_line(const char *s)
{
    size_t n;
    char *text;

    s += strspn(s, BLANKS);
    n = strcspn(s, "\r\n");
    while (n > 0 && strchr(BLANKS, s[n - 1]) != NULL)
        n--;
    text = gpgrt_malloc(n + 1);
    if (text != NULL) {
        memcpy(text, s, n);
        text[n] = 0;
    }
    return text;
}

gpg_error_t key_from_text(const char *line, struct key **out, char **comment)
{
    struct rd type = next_word(&line), text = next_word(&line);
    struct buf blob = BUF_INIT;
    struct key *k = NULL;
    char *c = NULL;
    gpg_error_t err;

    if (text.n == 0)
        return gpg_error(GPG_ERR_BAD_DATA);
    err = b64_decode((const char *)text.p, text.n, &blob);
    if (err == 0)
        err = key_from_blob(buf_rd(&blob), &k);
    if (err == 0 && !rd_is(type, k->type))
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0 && comment != NULL && (c = rest_of_line(line)) == NULL)
        err = gpg_error_from_syserror();
    buf_free(&blob);
    if (err != 0) {
        key_unref(k);
        return err;
    }
    if (comment != NULL)
        *comment = c;
    *out = k;
    return 0;
}

char *key_to_text(const struct key *k)
{
    char *b64, *text;

    if (k->blob == NULL)
        return NULL;
    b64 = b64_encode(k->blob, k->blob_len);
    if (b64 == NULL)
        return NULL;
    text = gpgrt_bsprintf("%s %s", k->type, b64);
    gpgrt_free(b64);
    return text;
}
