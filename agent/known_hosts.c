#include "agent/known_hosts.h"

#include "policy/policy.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILE       (64u * 1024u * 1024u)
#define MAX_REMEMBERED 1024u

enum marker { MARK_NONE, MARK_CA, MARK_REVOKED };

/* One line that parsed. The key stays a blob: most lines are never asked for. */
struct entry {
    enum marker marker;
    char *hosts; /* "|1|salt|hash", or a comma list */
    uint8_t *blob;
    size_t blob_len;
    unsigned line;
};

struct file {
    char *path;
    struct stat st;
    bool read;
    struct entry *entries;
    size_t n;
};

struct known_hosts {
    pthread_mutex_t mutex;
    struct file *files;
    size_t nfiles;
    char **remembered; /* names that hashed entries were found by */
    size_t nremembered;
};

/* --- reading ------------------------------------------------------------------------------------------------------------ */

static void file_clear(struct file *f)
{
    for (size_t i = 0; i < f->n; i++) {
        gpgrt_free(f->entries[i].hosts);
        gpgrt_free(f->entries[i].blob);
    }
    gpgrt_free(f->entries);
    f->entries = NULL;
    f->n = 0;
}

static char *next_field(char **p)
{
    char *s = *p + strspn(*p, " \t"), *end = s + strcspn(s, " \t");

    if (*s == '\0')
        return NULL;
    *p = *end != '\0' ? end + 1 : end;
    *end = '\0';
    return s;
}

/* [@marker] hosts keytype base64 [comment]; a line that is none of that is skipped, as ssh does. */
static void add_line(struct file *f, char *text, unsigned number)
{
    struct entry e = {.line = number}, *more;
    struct buf blob = BUF_INIT;
    struct rd r, type;
    char *p = text, *hosts, *name, *b64;

    p[strcspn(p, "\r\n")] = '\0';
    hosts = next_field(&p);
    if (hosts == NULL || hosts[0] == '#')
        return;
    if (hosts[0] == '@') {
        if (strcmp(hosts, "@cert-authority") == 0)
            e.marker = MARK_CA;
        else if (strcmp(hosts, "@revoked") == 0)
            e.marker = MARK_REVOKED;
        else
            return;
        hosts = next_field(&p);
    }
    name = hosts != NULL ? next_field(&p) : NULL;
    b64 = name != NULL ? next_field(&p) : NULL;
    if (b64 == NULL || b64_decode(b64, strlen(b64), &blob) != 0)
        goto out;
    r = buf_rd(&blob);
    if (rd_string(&r, &type) != 0 || !rd_is(type, name))
        goto out;
    e.hosts = gpgrt_strdup(hosts);
    more = e.hosts != NULL ? gpgrt_realloc(f->entries, (f->n + 1) * sizeof *more) : NULL;
    if (more == NULL) {
        gpgrt_free(e.hosts);
        goto out;
    }
    f->entries = more;
    e.blob = blob.data;
    e.blob_len = blob.len;
    blob = BUF_INIT; /* the entry has it now */
    f->entries[f->n++] = e;
out:
    buf_free(&blob);
}

static bool unchanged(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static void refresh(struct file *f)
{
    struct stat st;
    char *line = NULL;
    size_t cap = 0;
    unsigned number = 0;
    FILE *in;
    int fd;

    if (stat(f->path, &st) != 0) {
        file_clear(f);
        f->read = false;
        return;
    }
    if (f->read && unchanged(&f->st, &st))
        return;
    file_clear(f);
    f->read = true;
    f->st = st;
    if (!S_ISREG(st.st_mode) || st.st_size > (off_t)MAX_FILE) {
        gpgrt_log_error("%s: no regular file of at most 64 MiB: not used\n", f->path);
        return;
    }
    fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    in = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (in == NULL) {
        gpgrt_log_error("%s: %s\n", f->path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return;
    }
    while (getline(&line, &cap, in) >= 0)
        add_line(f, line, ++number);
    free(line);
    fclose(in);
}

gpg_error_t known_hosts_new(const char *home, const char *const *files, struct known_hosts **out)
{
    static const char *const standard[] = {"~/.ssh/known_hosts", "~/.ssh/known_hosts2",
                                           "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2",
                                           NULL};
    struct known_hosts *k = gpgrt_calloc(1, sizeof *k);
    size_t n = 0;

    if (k == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&k->mutex, NULL);
    if (files == NULL)
        files = standard;
    while (files[n] != NULL)
        n++;
    k->files = gpgrt_calloc(n + 1, sizeof *k->files);
    for (size_t i = 0; k->files != NULL && i < n; i++) {
        char *path;

        if (files[i][0] == '~' && home == NULL)
            continue;
        path = files[i][0] == '~' ? gpgrt_bsprintf("%s%s", home, files[i] + 1)
                                  : gpgrt_strdup(files[i]);
        if (path == NULL)
            break;
        k->files[k->nfiles++].path = path;
    }
    if (k->files == NULL) {
        known_hosts_free(k);
        return gpg_error(GPG_ERR_ENOMEM);
    }
    *out = k;
    return 0;
}

void known_hosts_free(struct known_hosts *k)
{
    if (k == NULL)
        return;
    for (size_t i = 0; k->files != NULL && i < k->nfiles; i++) {
        file_clear(&k->files[i]);
        gpgrt_free(k->files[i].path);
    }
    for (size_t i = 0; i < k->nremembered; i++)
        gpgrt_free(k->remembered[i]);
    gpgrt_free(k->remembered);
    gpgrt_free(k->files);
    pthread_mutex_destroy(&k->mutex);
    gpgrt_free(k);
}

/* --- matching ------------------------------------------------------------------------------------------------------------- */

static char *lowered(const char *s, size_t n)
{
    char *t = gpgrt_malloc(n + 1);

    for (size_t i = 0; t != NULL && i < n; i++)
        t[i] = (char)tolower((unsigned char)s[i]);
    if (t != NULL)
        t[n] = '\0';
    return t;
}

/* |1|base64(salt)|base64(HMAC-SHA1(salt, name)) */
static bool hash_fits(const char *hosts, const char *name)
{
    struct buf salt = BUF_INIT, want = BUF_INIT;
    const char *s = hosts + 3, *bar = strchr(s, '|');
    char *low = lowered(name, strlen(name));
    gcry_md_hd_t md = NULL;
    bool fits = false;

    if (bar == NULL || low == NULL || b64_decode(s, (size_t)(bar - s), &salt) != 0 ||
        b64_decode(bar + 1, strlen(bar + 1), &want) != 0 || want.len != 20 || salt.len != 20)
        goto out;
    if (gcry_md_open(&md, GCRY_MD_SHA1, GCRY_MD_FLAG_HMAC) != 0 ||
        gcry_md_setkey(md, salt.data, salt.len) != 0)
        goto out;
    gcry_md_write(md, low, strlen(low));
    fits = memcmp(gcry_md_read(md, GCRY_MD_SHA1), want.data, 20) == 0;
out:
    if (md != NULL)
        gcry_md_close(md);
    buf_free(&salt);
    buf_free(&want);
    gpgrt_free(low);
    return fits;
}

/* A negated pattern that matches kills the whole line. */
static bool line_matches(const char *hosts, const char *name)
{
    if (strncmp(hosts, "|1|", 3) == 0)
        return hash_fits(hosts, name);
    return policy_match_list(hosts, name, true) > 0;
}

static bool has_name(const struct host_names *h, const char *name)
{
    for (size_t i = 0; i < h->n; i++)
        if (strcmp(h->names[i], name) == 0)
            return true;
    return false;
}

static gpg_error_t add_name(struct host_names *h, const char *name, size_t n, const struct file *f,
                            const struct entry *e)
{
    char *low = lowered(name, n), **more;

    if (low == NULL)
        return gpg_error_from_syserror();
    if (has_name(h, low)) {
        gpgrt_free(low);
        return 0;
    }
    more = gpgrt_realloc(h->names, (h->n + 2) * sizeof *more);
    if (more == NULL) {
        gpgrt_free(low);
        return gpg_error_from_syserror();
    }
    h->names = more;
    h->names[h->n++] = low;
    h->names[h->n] = NULL;
    if (h->how == NULL)
        h->how = gpgrt_bsprintf("%s:%u", f->path, e->line);
    return 0;
}

static void remember(struct known_hosts *k, const char *name)
{
    char **more;

    for (size_t i = 0; i < k->nremembered; i++)
        if (strcmp(k->remembered[i], name) == 0)
            return;
    if (k->nremembered == MAX_REMEMBERED)
        return;
    more = gpgrt_realloc(k->remembered, (k->nremembered + 1) * sizeof *more);
    if (more == NULL)
        return;
    k->remembered = more;
    more[k->nremembered] = gpgrt_strdup(name);
    if (more[k->nremembered] != NULL)
        k->nremembered++;
}

struct lookup {
    struct known_hosts *k;
    const struct key *key;
    const char *const *candidates;
    const char *const *more;
    uint64_t now;
    struct host_names *out;
};

/* Calls EACH with every candidate name until one fails. */
static gpg_error_t each_candidate(const struct lookup *l,
                                  gpg_error_t (*each)(const struct lookup *l, const struct file *f,
                                                      const struct entry *e, const char *name),
                                  const struct file *f, const struct entry *e)
{
    const char *const *lists[] = {l->candidates, l->more};
    gpg_error_t err = 0;

    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; lists[i] != NULL && lists[i][j] != NULL && err == 0; j++)
            err = each(l, f, e, lists[i][j]);
    for (size_t i = 0; i < l->k->nremembered && err == 0; i++)
        err = each(l, f, e, l->k->remembered[i]);
    return err;
}

static gpg_error_t try_name(const struct lookup *l, const struct file *f, const struct entry *e,
                            const char *name)
{
    if (!line_matches(e->hosts, name))
        return 0;
    if (strncmp(e->hosts, "|1|", 3) == 0)
        remember(l->k, name);
    return add_name(l->out, name, strlen(name), f, e);
}

/* A line for this very key: its literal names, and the candidates that its patterns or hashes fit. */
static gpg_error_t plain_line(const struct lookup *l, const struct file *f, const struct entry *e)
{
    const char *s = e->hosts;
    gpg_error_t err = each_candidate(l, try_name, f, e);

    if (strncmp(s, "|1|", 3) == 0)
        return err;
    while (*s != '\0' && err == 0) {
        size_t n = strcspn(s, ",");
        char *name = lowered(s, n);

        if (name == NULL)
            return gpg_error_from_syserror();
        /* The whole line must stand for the name: "a,!a" names nobody. */
        if (n > 0 && s[0] != '!' && strpbrk(name, "*?") == NULL && line_matches(e->hosts, name))
            err = add_name(l->out, s, n, f, e);
        gpgrt_free(name);
        s += n;
        s += *s == ',';
    }
    return err;
}

/* "[host]:port" is certified as "host". */
static bool principal_covers(const struct key *cert, uint64_t now, const char *name)
{
    char host[256];
    const char *end;

    if (cert_check(cert, CERT_HOST, now, name) == 0)
        return true;
    if (name[0] != '[' || (end = strchr(name, ']')) == NULL || (size_t)(end - name) > sizeof host)
        return false;
    memcpy(host, name + 1, (size_t)(end - name - 1));
    host[end - name - 1] = '\0';
    return cert_check(cert, CERT_HOST, now, host) == 0;
}

static gpg_error_t try_certified(const struct lookup *l, const struct file *f,
                                 const struct entry *e, const char *name)
{
    if (!line_matches(e->hosts, name) || !principal_covers(l->key, l->now, name))
        return 0;
    if (strncmp(e->hosts, "|1|", 3) == 0)
        remember(l->k, name);
    return add_name(l->out, name, strlen(name), f, e);
}

/* A CA's line: the certificate's principals that the line covers. */
static gpg_error_t ca_line(const struct lookup *l, const struct file *f, const struct entry *e)
{
    gpg_error_t err = each_candidate(l, try_certified, f, e);

    for (size_t i = 0; l->key->cert->principals[i] != NULL && err == 0; i++)
        err = try_certified(l, f, e, l->key->cert->principals[i]);
    return err;
}

static bool entry_is(const struct entry *e, const uint8_t *blob, size_t n)
{
    return blob != NULL && rd_eq(rd_of(e->blob, e->blob_len), rd_of(blob, n));
}

static gpg_error_t judge_entry(const struct lookup *l, const struct file *f, const struct entry *e)
{
    const struct key *key = l->key, *ca = key->cert != NULL ? key->cert->ca : NULL;

    switch (e->marker) {
    case MARK_REVOKED:
        if (entry_is(e, key->blob, key->blob_len) || entry_is(e, key->plain, key->plain_len) ||
            (ca != NULL && entry_is(e, ca->plain, ca->plain_len))) {
            l->out->revoked = true;
            if (l->out->how == NULL)
                l->out->how = gpgrt_bsprintf("%s:%u", f->path, e->line);
        }
        return 0;
    case MARK_CA:
        return ca != NULL && entry_is(e, ca->plain, ca->plain_len) ? ca_line(l, f, e) : 0;
    case MARK_NONE:
        break;
    }
    return entry_is(e, key->plain, key->plain_len) ? plain_line(l, f, e) : 0;
}

gpg_error_t known_hosts_lookup(struct known_hosts *k, const struct key *key,
                               const char *const *candidates, const char *const *more, uint64_t now,
                               struct host_names *out)
{
    struct host_names found = {0};
    struct lookup l = {
        .k = k, .key = key, .candidates = candidates, .more = more, .now = now, .out = &found};
    gpg_error_t err = 0;

    pthread_mutex_lock(&k->mutex);
    for (size_t i = 0; i < k->nfiles; i++) {
        refresh(&k->files[i]);
        for (size_t j = 0; j < k->files[i].n && err == 0; j++)
            err = judge_entry(&l, &k->files[i], &k->files[i].entries[j]);
    }
    pthread_mutex_unlock(&k->mutex);
    if (err != 0)
        host_names_clear(&found);
    else
        *out = found;
    return err;
}

void host_names_clear(struct host_names *h)
{
    for (size_t i = 0; i < h->n; i++)
        gpgrt_free(h->names[i]);
    gpgrt_free(h->names);
    gpgrt_free(h->how);
    *h = (struct host_names){0};
}
