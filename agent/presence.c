#include "agent/presence.h"

#include "agent/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILE 65536u

struct presence {
    pthread_mutex_t mutex;
    char *path;
    struct enrolled_set *set; /* NULL: none */
};

/* --- sets ------------------------------------------------------------------------------------------ */

static void enrolled_clear(struct enrolled *e)
{
    key_unref(e->key);
    gpgrt_free(e->handle);
    gpgrt_free(e->label);
}

void enrolled_set_unref(struct enrolled_set *s)
{
    if (s == NULL || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < s->n; i++)
        enrolled_clear(&s->list[i]);
    gpgrt_free(s->list);
    gpgrt_free(s);
}

static struct enrolled_set *set_new(void)
{
    struct enrolled_set *s = gpgrt_calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->refs = 1;
    s->list = gpgrt_calloc(PRESENCE_MAX, sizeof *s->list);
    if (s->list == NULL) {
        gpgrt_free(s);
        return NULL;
    }
    return s;
}

static gpg_error_t set_add(struct enrolled_set *s, struct key *k, struct rd handle,
                           const char *label)
{
    struct enrolled e = {0};

    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->list[i].label, label) == 0)
            return gpg_error(GPG_ERR_EEXIST);
    if (s->n == PRESENCE_MAX)
        return gpg_error(GPG_ERR_TOO_MANY);
    e.label = gpgrt_strdup(label);
    e.handle = gpgrt_malloc(handle.n);
    if (e.label == NULL || e.handle == NULL) {
        enrolled_clear(&e);
        return gpg_error(GPG_ERR_ENOMEM);
    }
    memcpy(e.handle, handle.p, handle.n);
    e.handle_len = handle.n;
    e.key = key_ref(k);
    s->list[s->n++] = e;
    return 0;
}

bool presence_label_ok(const char *label)
{
    size_t n = strlen(label);

    return n > 0 && n <= 32 &&
           strspn(label, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == n;
}

/* --- the file's text --------------------------------------------------------------------------------- */

/* "handle label": what the public key's line calls its comment. */
static gpg_error_t add_rest(struct enrolled_set *s, struct key *k, const char *rest)
{
    size_t n = strcspn(rest, " ");
    const char *label = rest + n + strspn(rest + n, " ");
    struct buf handle = BUF_INIT;
    gpg_error_t err = b64_decode(rest, n, &handle);

    if (err == 0 && (handle.len == 0 || !presence_label_ok(label)))
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0)
        err = set_add(s, k, buf_rd(&handle), label);
    buf_free(&handle);
    return err;
}

static gpg_error_t parse_line(const char *line, struct enrolled_set *s)
{
    struct key *k = NULL;
    char *rest = NULL;
    gpg_error_t err = key_from_text(line, &k, &rest);

    if (err != 0)
        return err;
    if (!key_is_sk(k) || k->cert != NULL || strcmp(k->sk_application, PRESENCE_APPLICATION) != 0)
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0)
        err = add_rest(s, k, rest);
    key_unref(k);
    gpgrt_free(rest);
    return err;
}

gpg_error_t enrolled_set_parse(struct rd text, struct enrolled_set **out, unsigned *line)
{
    struct enrolled_set *s = set_new();
    gpg_error_t err = s != NULL ? 0 : gpg_error_from_syserror();

    for (*line = 1; text.n > 0 && err == 0; ++*line) {
        const uint8_t *end = memchr(text.p, '\n', text.n);
        size_t n = end != NULL ? (size_t)(end - text.p) : text.n;
        char *one = gpgrt_bsprintf("%.*s", (int)n, (const char *)text.p);

        if (one == NULL)
            err = gpg_error_from_syserror();
        else if (strlen(one) != n)
            err = gpg_error(GPG_ERR_BAD_DATA);
        else if (n > 0 && one[0] != '#')
            err = parse_line(one, s);
        gpgrt_free(one);
        if (err != 0)
            break;
        text.p += n + (end != NULL);
        text.n -= n + (end != NULL);
    }
    if (err != 0)
        enrolled_set_unref(s);
    else
        *out = s;
    return err;
}

static gpg_error_t put_set(const struct enrolled_set *s, struct buf *b)
{
    buf_printf(b, "# FIDO tokens whose touch counts as presence: latchkey token enroll-presence\n");
    for (size_t i = 0; i < s->n; i++) {
        char *key = key_to_text(s->list[i].key);
        char *handle = b64_encode(s->list[i].handle, s->list[i].handle_len);

        if (key != NULL && handle != NULL)
            buf_printf(b, "%s %s %s\n", key, handle, s->list[i].label);
        gpgrt_free(key);
        gpgrt_free(handle);
        if (key == NULL || handle == NULL)
            return gpg_error(GPG_ERR_ENOMEM);
    }
    return buf_err(b);
}

/* --- the file ------------------------------------------------------------------------------------------ */

static gpg_error_t check_owner(int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return gpg_error_from_syserror();
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) != 0)
        return gpg_error(GPG_ERR_EPERM);
    return st.st_size > (off_t)MAX_FILE ? gpg_error(GPG_ERR_TOO_LARGE) : 0;
}

static gpg_error_t read_file(const char *path, struct buf *text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    uint8_t chunk[1024];
    ssize_t n = 0;
    gpg_error_t err;

    if (fd < 0)
        return gpg_error_from_syserror();
    err = check_owner(fd);
    while (err == 0 && (n = read(fd, chunk, sizeof chunk)) > 0 && text->len <= MAX_FILE)
        buf_put(text, chunk, (size_t)n);
    if (err == 0 && n < 0)
        err = gpg_error_from_syserror();
    close(fd);
    return err != 0 ? err : buf_err(text);
}

static gpg_error_t write_all(int fd, struct rd r)
{
    while (r.n > 0) {
        ssize_t n = write(fd, r.p, r.n);

        if (n < 0 && errno != EINTR)
            return gpg_error_from_syserror();
        if (n > 0) {
            r.p += n;
            r.n -= (size_t)n;
        }
    }
    return fsync(fd) == 0 ? 0 : gpg_error_from_syserror();
}

/* Whole or not at all. */
static gpg_error_t write_file(const char *path, struct rd text)
{
    char *tmp = gpgrt_bsprintf("%s.new", path), *copy = gpgrt_strdup(path);
    gpg_error_t err = tmp != NULL && copy != NULL ? 0 : gpg_error_from_syserror();
    int fd = -1;

    if (err == 0)
        err = path_make_private_dir(dirname(copy));
    if (err == 0) {
        (void)unlink(tmp);
        fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        err = fd >= 0 ? write_all(fd, text) : gpg_error_from_syserror();
    }
    if (fd >= 0 && close(fd) != 0 && err == 0)
        err = gpg_error_from_syserror();
    if (err == 0 && rename(tmp, path) != 0)
        err = gpg_error_from_syserror();
    if (err != 0 && fd >= 0)
        (void)unlink(tmp);
    gpgrt_free(tmp);
    gpgrt_free(copy);
    return err;
}

/* --- what is enrolled ------------------------------------------------------------------------------------- */

gpg_error_t presence_open(const char *path, struct presence **out)
{
    struct presence *p = gpgrt_calloc(1, sizeof *p);
    struct buf text = BUF_INIT;
    unsigned line = 0;
    gpg_error_t err;

    if (p == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&p->mutex, NULL);
    p->path = gpgrt_strdup(path);
    if (p->path == NULL) {
        presence_free(p);
        return gpg_error(GPG_ERR_ENOMEM);
    }
    err = read_file(path, &text);
    if (err == 0)
        err = enrolled_set_parse(buf_rd(&text), &p->set, &line);
    if (line > 0 && err != 0)
        gpgrt_log_error("%s:%u: %s: no FIDO token is enrolled\n", path, line, gpg_strerror(err));
    else if (gpg_err_code(err) == GPG_ERR_EPERM)
        gpgrt_log_error("%s: others can write it, or it is not yours: no FIDO token is enrolled\n",
                        path);
    else if (err != 0 && gpg_err_code(err) != GPG_ERR_ENOENT)
        gpgrt_log_error("%s: %s: no FIDO token is enrolled\n", path, gpg_strerror(err));
    buf_free(&text);
    *out = p;
    return 0;
}

void presence_free(struct presence *p)
{
    if (p == NULL)
        return;
    enrolled_set_unref(p->set);
    pthread_mutex_destroy(&p->mutex);
    gpgrt_free(p->path);
    gpgrt_free(p);
}

struct enrolled_set *presence_get(struct presence *p)
{
    struct enrolled_set *s;

    if (p == NULL)
        return NULL;
    pthread_mutex_lock(&p->mutex);
    s = p->set != NULL && p->set->n > 0 ? p->set : NULL;
    if (s != NULL)
        __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&p->mutex);
    return s;
}

/* A copy of what is enrolled, without LABEL. The mutex is held. */
static gpg_error_t copy_without(const struct presence *p, const char *label,
                                struct enrolled_set **out, bool *found)
{
    struct enrolled_set *s = set_new();
    gpg_error_t err = s != NULL ? 0 : gpg_error_from_syserror();

    *found = false;
    for (size_t i = 0; p->set != NULL && i < p->set->n && err == 0; i++) {
        const struct enrolled *e = &p->set->list[i];

        if (strcmp(e->label, label) == 0)
            *found = true;
        else
            err = set_add(s, e->key, rd_of(e->handle, e->handle_len), e->label);
    }
    if (err != 0)
        enrolled_set_unref(s);
    else
        *out = s;
    return err;
}

/* Takes over S. The mutex is held. */
static gpg_error_t put_in_force(struct presence *p, struct enrolled_set *s)
{
    struct buf text = BUF_INIT;
    gpg_error_t err = put_set(s, &text);

    if (err == 0)
        err = write_file(p->path, buf_rd(&text));
    if (err == 0) {
        enrolled_set_unref(p->set);
        p->set = s;
    } else {
        enrolled_set_unref(s);
    }
    buf_free(&text);
    return err;
}

gpg_error_t presence_add(struct presence *p, const struct key *k, struct rd handle,
                         const char *label)
{
    struct enrolled_set *s = NULL;
    bool found;
    gpg_error_t err;

    if (!presence_label_ok(label))
        return gpg_error(GPG_ERR_INV_NAME);
    pthread_mutex_lock(&p->mutex);
    err = copy_without(p, label, &s, &found);
    if (err == 0 && found)
        err = gpg_error(GPG_ERR_EEXIST);
    if (err == 0)
        err = set_add(s, (struct key *)(uintptr_t)k, handle, label);
    if (err == 0)
        err = put_in_force(p, s);
    else
        enrolled_set_unref(s);
    pthread_mutex_unlock(&p->mutex);
    return err;
}

gpg_error_t presence_remove(struct presence *p, const char *label)
{
    struct enrolled_set *s = NULL;
    bool found;
    gpg_error_t err;

    pthread_mutex_lock(&p->mutex);
    err = copy_without(p, label, &s, &found);
    if (err == 0 && !found) {
        enrolled_set_unref(s);
        err = gpg_error(GPG_ERR_NOT_FOUND);
    } else if (err == 0) {
        err = put_in_force(p, s);
    }
    pthread_mutex_unlock(&p->mutex);
    return err;
}
