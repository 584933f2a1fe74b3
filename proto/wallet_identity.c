#include "proto/wallet_identity.h"

#include <ctype.h>
#include <gcrypt.h>
#include <string.h>

#define HARDENED   0x80000000u
#define MAX_TEXT   4096u
#define SLIP13     13u
#define SLIP17     17u
#define GPG_PREFIX "gpg://"

static bool is_plain(const char *s)
{
    for (; *s != '\0'; s++)
        if (*s < ' ' || *s > '~')
            return false;
    return true;
}

/* NULL for an empty part: it is left out of the text, so it is no part. */
static gpg_error_t part(const char *from, const char *to, char **out)
{
    struct buf b = BUF_INIT;

    if (from >= to)
        return 0;
    buf_put(&b, from, (size_t)(to - from));
    *out = buf_steal_cstr(&b);
    return *out != NULL ? 0 : gpg_error(GPG_ERR_ENOMEM);
}

/* The last S within FROM .. TO. */
static const char *last(const char *from, const char *to, const char *s)
{
    size_t n = strlen(s);

    for (const char *p = to - n; p >= from && (size_t)(to - from) >= n; p--)
        if (strncmp(p, s, n) == 0)
            return p;
    return NULL;
}

/* The shortest host that leaves "[:port][/path]". */
static gpg_error_t cut_host(const char *s, struct wallet_identity *id)
{
    const char *end = s + strlen(s), *host = s, *port;
    gpg_error_t err;

    for (;; s++) {
        port = s;
        if (*s == ':') {
            do
                s++;
            while (isalnum((unsigned char)*s) || *s == '_');
            if (*s == '\0' || *s == '/')
                break;
            s = port;
        } else if (*s == '\0' || *s == '/') {
            break;
        }
    }
    err = part(host, port, &id->host);
    if (err == 0 && *port == ':')
        err = part(port + 1, s, &id->port);
    if (err == 0)
        err = part(s, end, &id->path);
    return err;
}

static gpg_error_t cut(const char *text, struct wallet_identity *id)
{
    const char *end = text + strlen(text), *at;
    gpg_error_t err;

    if (strncmp(text, GPG_PREFIX, sizeof GPG_PREFIX - 1) == 0) {
        id->proto = gpgrt_strdup("gpg");
        return id->proto != NULL ? part(text + sizeof GPG_PREFIX - 1, end, &id->host)
                                 : gpg_error_from_syserror();
    }
    id->proto = gpgrt_strdup("ssh");
    if (id->proto == NULL)
        return gpg_error_from_syserror();
    at = last(text, end, "://");
    if (at != NULL)
        text = at + 3;
    at = last(text, end, "@");
    if (at != NULL) {
        err = part(text, at, &id->user);
        if (err != 0)
            return err;
        text = at + 1;
    }
    return cut_host(text, id);
}

gpg_error_t wallet_identity_parse(const char *text, const char *curve, struct wallet_identity *out)
{
    struct wallet_identity id = {0};
    gpg_error_t err;

    if (curve != NULL && strcmp(curve, "ed25519") == 0)
        id.ed25519 = true;
    else if (curve != NULL && strcmp(curve, "nist256p1") != 0 && strcmp(curve, "nistp256") != 0)
        return gpg_error(GPG_ERR_UNKNOWN_CURVE);
    if (!is_plain(text))
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    if (strlen(text) > MAX_TEXT)
        return gpg_error(GPG_ERR_TOO_LARGE);
    err = cut(text, &id);
    if (err == 0 && id.host == NULL)
        err = gpg_error(GPG_ERR_INV_VALUE);
    if (err == 0)
        *out = id;
    else
        wallet_identity_clear(&id);
    return err;
}

void wallet_identity_clear(struct wallet_identity *id)
{
    gpgrt_free(id->proto);
    gpgrt_free(id->user);
    gpgrt_free(id->host);
    gpgrt_free(id->port);
    gpgrt_free(id->path);
    *id = (struct wallet_identity){0};
}

/* --- as text -------------------------------------------------------------------------------------------------------------- */

static void put_uri(struct buf *b, const struct wallet_identity *id)
{
    if (id->proto != NULL)
        buf_printf(b, "%s://", id->proto);
    if (id->user != NULL)
        buf_printf(b, "%s@", id->user);
    if (id->host != NULL)
        buf_printf(b, "%s", id->host);
    if (id->port != NULL)
        buf_printf(b, ":%s", id->port);
    if (id->path != NULL)
        buf_printf(b, "%s", id->path);
}

char *wallet_uri(const struct wallet_identity *id)
{
    struct buf b = BUF_INIT;

    put_uri(&b, id);
    return buf_steal_cstr(&b);
}

char *wallet_identity_text(const struct wallet_identity *id)
{
    struct buf b = BUF_INIT;

    buf_put_u8(&b, '<');
    put_uri(&b, id);
    buf_printf(&b, "|%s>", wallet_curve(id));
    return buf_steal_cstr(&b);
}

bool wallet_identity_same(const struct wallet_identity *a, const struct wallet_identity *b)
{
    char *x = wallet_identity_text(a), *y = wallet_identity_text(b);
    bool same = x != NULL && y != NULL && strcmp(x, y) == 0 && a->index == b->index;

    gpgrt_free(x);
    gpgrt_free(y);
    return same;
}

gpg_error_t wallet_path(const struct wallet_identity *id, bool ecdh, uint32_t path[WALLET_PATH_LEN])
{
    struct buf b = BUF_INIT;
    uint8_t hash[32];
    gpg_error_t err;

    for (unsigned i = 0; i < 4; i++)
        buf_put_u8(&b, (uint8_t)(id->index >> (8 * i)));
    put_uri(&b, id);
    err = buf_err(&b);
    if (err != 0)
        goto out;
    gcry_md_hash_buffer(GCRY_MD_SHA256, hash, b.data, b.len);
    path[0] = HARDENED | (ecdh ? SLIP17 : SLIP13);
    for (unsigned i = 1; i < WALLET_PATH_LEN; i++) {
        const uint8_t *p = hash + (size_t)(i - 1) * 4;

        path[i] =
            HARDENED | p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }
out:
    buf_free(&b);
    return err;
}

/* --- files ---------------------------------------------------------------------------------------------------------------- */

typedef gpg_error_t (*identity_fn)(void *arg, const struct wallet_identity *id, const char *line,
                                   const char *text, gpg_error_t err);

static gpg_error_t take(char *found, const char *line, identity_fn each, void *arg)
{
    struct wallet_identity id = {0};
    char *bar = strchr(found, '|');
    gpg_error_t err, bad;

    *bar = '\0';
    bad = wallet_identity_parse(found, bar + 1, &id);
    err = each(arg, bad == 0 ? &id : NULL, line, found, bad);
    wallet_identity_clear(&id);
    return err;
}

/* "<(.*?)\|(.*?)>" of a regular expression: from a "<" to the first "|" behind it, and to the first ">" behind that. */
static gpg_error_t read_line(const char *line, identity_fn each, void *arg)
{
    const char *p = line, *from, *bar, *to;
    gpg_error_t err = 0;

    while (err == 0 && (from = strchr(p, '<')) != NULL && (bar = strchr(from, '|')) != NULL &&
           (to = strchr(bar, '>')) != NULL) {
        char *found = NULL;

        err = part(from + 1, to, &found);
        if (err == 0)
            err = take(found, line, each, arg);
        gpgrt_free(found);
        p = to + 1;
    }
    return err;
}

gpg_error_t wallet_identities_read(struct rd text, identity_fn each, void *arg)
{
    gpg_error_t err = 0;

    while (text.n > 0 && err == 0) {
        const uint8_t *end = memchr(text.p, '\n', text.n);
        size_t n = end != NULL ? (size_t)(end - text.p) : text.n;
        char *line = NULL;

        if (n > 0 && memchr(text.p, '\0', n) == NULL) {
            err = part((const char *)text.p, (const char *)text.p + n, &line);
            if (err == 0)
                err = read_line(line, each, arg);
            gpgrt_free(line);
        }
        n += end != NULL;
        text = rd_of(text.p + n, text.n - n);
    }
    return err;
}
