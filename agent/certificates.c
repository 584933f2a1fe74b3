/* Certificate files: from text to a set of certificates. certificates_watch.c keeps it up to date. */
#include "agent/certificates.h"

#include "policy/file.h"

#include <glob.h>
#include <string.h>

#define MAX_FILES 256u
#define MAX_FILE  65536u /* 256 principals with long names fit */

/* --- references ------------------------------------------------------------------------------------ */

struct certificate *certificate_ref(struct certificate *c)
{
    __atomic_fetch_add(&c->refs, 1, __ATOMIC_RELAXED);
    return c;
}

void certificate_unref(struct certificate *c)
{
    if (c == NULL || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    gpgrt_free(c->path);
    gpgrt_free(c->problem);
    key_unref(c->key);
    gpgrt_free(c);
}

struct certificate_set *certificate_set_ref(struct certificate_set *s)
{
    __atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void certificate_set_unref(struct certificate_set *s)
{
    if (s == NULL || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < s->n; i++)
        certificate_unref(s->certs[i]);
    gpgrt_free(s->certs);
    gpgrt_free(s);
}

const char *certificate_out_of_date(const struct certificate *c, uint64_t now)
{
    const struct ssh_cert *cert = c->key->cert;

    return now < cert->valid_after ? "not yet valid" : now >= cert->valid_before ? "expired" : NULL;
}

/* --- text ------------------------------------------------------------------------------------------ */

/* The first line with something in it, as a new string; *PROBLEM when there is none. */
static gpg_error_t first_line(struct rd text, char **out, const char **problem)
{
    const char *p = (const char *)text.p, *end;
    size_t left = text.n, n;

    if (text.n > 0 && memchr(p, '\0', text.n) != NULL) {
        *problem = "this is no text file";
        return gpg_error(GPG_ERR_BAD_DATA);
    }
    for (; left > 0; p += n, left -= n) {
        size_t blank = 0;

        end = memchr(p, '\n', left);
        n = end != NULL ? (size_t)(end - p) + 1 : left;
        while (blank < n && strchr(" \t\r\n", p[blank]) != NULL)
            blank++;
        if (blank == n || p[blank] == '#')
            continue;
        *out = gpgrt_malloc(n + 1);
        if (*out == NULL)
            return gpg_error_from_syserror();
        memcpy(*out, p, n);
        (*out)[n] = '\0';
        return 0;
    }
    *problem = "the file is empty";
    return gpg_error(GPG_ERR_NO_DATA);
}

/* Everything but the dates, which are looked at whenever keys are listed. */
static const char *unusable(const struct key *k)
{
    if (k->cert == NULL)
        return "this is a plain public key, no certificate";
    if (k->cert->type == CERT_HOST)
        return "this is a host's certificate";
    if (k->cert->valid_after >= k->cert->valid_before)
        return "the certificate ends before it begins";
    if (cert_check(k, CERT_USER, k->cert->valid_after, NULL) != 0)
        return "the CA's signature does not hold, or is of a kind that ssh refuses (SHA-1)";
    return NULL;
}

gpg_error_t certificate_parse(struct rd text, struct key **out, const char **problem)
{
    struct key *k = NULL;
    char *line = NULL;
    gpg_error_t err;

    *problem = "out of memory";
    err = first_line(text, &line, problem);
    if (err != 0)
        return err;
    err = key_from_text(line, &k, NULL);
    gpgrt_free(line);
    if (gpg_err_code(err) == GPG_ERR_ENOMEM)
        return err;
    if (err != 0) {
        *problem = gpg_err_code(err) == GPG_ERR_UNKNOWN_ALGORITHM ||
                           gpg_err_code(err) == GPG_ERR_PUBKEY_ALGO
                       ? "a key type that latchkey does not know"
                       : "its first line is no certificate that can be read";
        return err;
    }
    *problem = unusable(k);
    if (*problem != NULL) {
        key_unref(k);
        return gpg_error(GPG_ERR_BAD_CERT);
    }
    *out = k;
    return 0;
}

/* --- one file -------------------------------------------------------------------------------------- */

static struct certificate *find_path(const struct certificate_set *s, const char *path)
{
    for (size_t i = 0; s != NULL && i < s->n; i++)
        if (strcmp(s->certs[i]->path, path) == 0)
            return s->certs[i];
    return NULL;
}

/* Takes PROBLEM and a reference of KEY, one of which is NULL. */
static gpg_error_t certificate_new(const char *path, const uint8_t digest[32], struct key *key,
                                   char *problem, struct certificate **out)
{
    struct certificate *c = gpgrt_calloc(1, sizeof *c);

    if (c != NULL)
        c->path = gpgrt_strdup(path);
    if (c == NULL || c->path == NULL || (key == NULL && problem == NULL)) {
        gpgrt_free(c != NULL ? c->path : NULL);
        gpgrt_free(c);
        gpgrt_free(problem);
        key_unref(key);
        return gpg_error(GPG_ERR_ENOMEM);
    }
    memcpy(c->digest, digest, sizeof c->digest);
    c->key = key;
    c->problem = problem;
    c->refs = 1;
    *out = c;
    return 0;
}

/* *OUT stays NULL when the file went away meanwhile. */
static gpg_error_t read_file(const char *path, uid_t uid, const struct certificate_set *old,
                             struct certificate **out)
{
    struct certificate *was = find_path(old, path);
    uint8_t digest[32] = {0};
    struct key *key = NULL;
    char *text = NULL, *problem = NULL;
    const char *phrase;
    size_t len = 0;
    gpg_error_t err;

    if (!policy_read_file(path, uid, true, &text, &len, &problem) && problem == NULL)
        return 0;
    if (text != NULL)
        gcry_md_hash_buffer(GCRY_MD_SHA256, digest, text, len);
    /* Checking a signature costs more than reading: what was read before stands. */
    if (was != NULL && text != NULL && memcmp(was->digest, digest, sizeof digest) == 0) {
        gpgrt_free(text);
        *out = certificate_ref(was);
        return 0;
    }
    if (text != NULL && len > MAX_FILE) {
        problem = gpgrt_strdup("the file is larger than 64 KiB");
    } else if (text != NULL) {
        err = certificate_parse(rd_of(text, len), &key, &phrase);
        if (gpg_err_code(err) == GPG_ERR_ENOMEM) {
            gpgrt_free(text);
            return err;
        }
        if (err != 0)
            problem = gpgrt_strdup(phrase);
    }
    gpgrt_free(text);
    err = certificate_new(path, digest, key, problem, out);
    if (err == 0 && (*out)->problem != NULL &&
        (was == NULL || was->problem == NULL || strcmp(was->problem, (*out)->problem) != 0))
        gpgrt_log_info("certificate %s is left out: %s\n", path, (*out)->problem);
    return err;
}

/* --- all files ------------------------------------------------------------------------------------- */

static gpg_error_t add_file(struct certificate_set *s, const char *path, uid_t uid,
                            const struct certificate_set *old)
{
    struct certificate *c = NULL;
    gpg_error_t err;

    if (find_path(s, path) != NULL)
        return 0;
    if (s->n == MAX_FILES) {
        if (!s->more && (old == NULL || !old->more))
            gpgrt_log_info("certificates: more than %u files; %s and what follows is left out\n",
                           MAX_FILES, path);
        s->more = true;
        return 0;
    }
    err = read_file(path, uid, old, &c);
    if (err == 0 && c != NULL)
        s->certs[s->n++] = c;
    return err;
}

static gpg_error_t add_pattern(struct certificate_set *s, const char *pattern, uid_t uid,
                               const struct certificate_set *old)
{
    gpg_error_t err = 0;
    glob_t g = {0};
    int rc = glob(pattern, 0, NULL, &g);

    if (rc == GLOB_NOSPACE)
        err = gpg_error(GPG_ERR_ENOMEM);
    for (size_t i = 0; rc == 0 && i < g.gl_pathc && err == 0; i++)
        err = add_file(s, g.gl_pathv[i], uid, old);
    globfree(&g);
    return err;
}

gpg_error_t certificate_set_read(char *const *patterns, uid_t uid,
                                 const struct certificate_set *old, struct certificate_set **out)
{
    struct certificate_set *s = gpgrt_calloc(1, sizeof *s);
    gpg_error_t err = 0;

    if (s == NULL)
        return gpg_error_from_syserror();
    s->refs = 1;
    s->certs = gpgrt_calloc(MAX_FILES, sizeof *s->certs);
    if (s->certs == NULL)
        err = gpg_error_from_syserror();
    for (size_t i = 0; patterns[i] != NULL && err == 0; i++)
        err = add_pattern(s, patterns[i], uid, old);
    if (err != 0)
        certificate_set_unref(s);
    else
        *out = s;
    return err;
}
