#include "agent/sk_book.h"

#include "agent/paths.h"
#include "agent/replace_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILE 65536u

struct sk_book {
    const struct sk_book_kind *kind;
    pthread_mutex_t mutex;
    char *path;
    struct sk_list *set; /* NULL: none */
};

/* --- sets ------------------------------------------------------------------------------------------ */

static void entry_clear(struct sk_entry *e)
{
    key_unref(e->key);
    gpgrt_free(e->handle);
    gpgrt_free(e->label);
}

void sk_list_unref(struct sk_list *s)
{
    if (s == NULL || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (size_t i = 0; i < s->n; i++)
        entry_clear(&s->list[i]);
    gpgrt_free(s->list);
    gpgrt_free(s);
}

static struct sk_list *set_new(const struct sk_book_kind *kind)
{
    struct sk_list *s = gpgrt_calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->refs = 1;
    s->list = gpgrt_calloc(kind->max, sizeof *s->list);
    if (s->list == NULL) {
        gpgrt_free(s);
        return NULL;
    }
    return s;
}

static bool is_of(const struct sk_book_kind *kind, const struct key *k)
{
    size_t n = strlen(kind->application);

    if (!key_is_sk(k) || k->cert != NULL)
        return false;
    return kind->names ? strcmp(k->sk_application, kind->application) == 0
                       : strncmp(k->sk_application, kind->application, n) == 0;
}

static gpg_error_t may_add(const struct sk_book_kind *kind, const struct sk_list *s,
                           const struct key *k, struct rd handle, const char *label)
{
    if (!is_of(kind, k) || handle.n == 0)
        return gpg_error(GPG_ERR_INV_VALUE);
    if (!sk_book_name_ok(label))
        return gpg_error(GPG_ERR_INV_NAME);
    for (size_t i = 0; i < s->n; i++)
        if (key_same(s->list[i].key, k) || (kind->names && strcmp(s->list[i].label, label) == 0))
            return gpg_error(GPG_ERR_EEXIST);
    return s->n < kind->max ? 0 : gpg_error(GPG_ERR_TOO_MANY);
}

static gpg_error_t set_add(const struct sk_book_kind *kind, struct sk_list *s, struct key *k,
                           struct rd handle, uint8_t flags, const char *label)
{
    struct sk_entry e = {.flags = flags, .handle_len = handle.n};
    gpg_error_t err = may_add(kind, s, k, handle, label);

    if (err != 0)
        return err;
    e.label = gpgrt_strdup(label);
    e.handle = gpgrt_malloc(handle.n);
    if (e.label == NULL || e.handle == NULL) {
        entry_clear(&e);
        return gpg_error(GPG_ERR_ENOMEM);
    }
    memcpy(e.handle, handle.p, handle.n);
    e.key = key_ref(k);
    s->list[s->n++] = e;
    return 0;
}

bool sk_book_name_ok(const char *label)
{
    size_t n = strlen(label);

    return n > 0 && n <= 32 &&
           strspn(label, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == n;
}

/* --- the file's text --------------------------------------------------------------------------------- */

/* "handle flags label": what the public key's line calls its comment. */
static gpg_error_t add_rest(const struct sk_book_kind *kind, struct sk_list *s, struct key *k,
                            const char *rest)
{
    size_t n = strcspn(rest, " ");
    struct buf handle = BUF_INIT;
    gpg_error_t err = b64_decode(rest, n, &handle);
    char *end = NULL;
    unsigned long flags = err == 0 && rest[n] == ' ' ? strtoul(rest + n + 1, &end, 10) : 0;

    if (err == 0 && (end == NULL || *end != ' ' || flags > 0xff))
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0)
        err = set_add(kind, s, k, buf_rd(&handle), (uint8_t)flags, end + 1);
    buf_free(&handle);
    return err;
}

static gpg_error_t parse_line(const struct sk_book_kind *kind, const char *line, struct sk_list *s)
{
    struct key *k = NULL;
    char *rest = NULL;
    gpg_error_t err = key_from_text(line, &k, &rest);

    if (err == 0)
        err = add_rest(kind, s, k, rest);
    key_unref(k);
    gpgrt_free(rest);
    return err;
}

gpg_error_t sk_list_parse(const struct sk_book_kind *kind, struct rd text, struct sk_list **out,
                          unsigned *line)
{
    struct sk_list *s = set_new(kind);
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
            err = parse_line(kind, one, s);
        gpgrt_free(one);
        if (err != 0)
            break;
        text.p += n + (end != NULL);
        text.n -= n + (end != NULL);
    }
    if (err != 0)
        sk_list_unref(s);
    else
        *out = s;
    return err;
}

static gpg_error_t put_set(const struct sk_book_kind *kind, const struct sk_list *s, struct buf *b)
{
    buf_printf(b, "%s\n", kind->head);
    for (size_t i = 0; i < s->n; i++) {
        char *key = key_to_text(s->list[i].key);
        char *handle = b64_encode(s->list[i].handle, s->list[i].handle_len);

        if (key != NULL && handle != NULL)
            buf_printf(b, "%s %s %u %s\n", key, handle, s->list[i].flags, s->list[i].label);
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

static gpg_error_t write_file(const char *path, struct rd text)
{
    char *copy = gpgrt_strdup(path);
    gpg_error_t err =
        copy != NULL ? path_make_private_dir(dirname(copy)) : gpg_error_from_syserror();

    gpgrt_free(copy);
    return err != 0 ? err : replace_file(path, false, text);
}

/* --- books ----------------------------------------------------------------------------------------------- */

const struct sk_book_kind sk_book_presence = {
    .name = "presence",
    .head = "# FIDO tokens whose touch counts as presence: latchkey token enroll-presence",
    .application = PRESENCE_APPLICATION,
    .max = 8, /* what every token takes in one question (CTAP 2.1, 6.4, maxCredentialCountInList) */
    .names = true,
};
const struct sk_book_kind sk_book_resident = {
    .name = "resident-keys",
    .head = "# ssh keys that FIDO tokens keep: latchkey token fido keys",
    .application = "ssh:",
    .max = 256,
};

static void complain(const struct sk_book *b, unsigned line, gpg_error_t err)
{
    if (line > 0)
        gpgrt_log_error("%s:%u: %s: nothing of it is used\n", b->path, line, gpg_strerror(err));
    else if (gpg_err_code(err) == GPG_ERR_EPERM)
        gpgrt_log_error("%s: others can write it, or it is not yours: nothing of it is used\n",
                        b->path);
    else if (gpg_err_code(err) != GPG_ERR_ENOENT)
        gpgrt_log_error("%s: %s: nothing of it is used\n", b->path, gpg_strerror(err));
}

gpg_error_t sk_book_open(const struct sk_book_kind *kind, struct sk_book **out)
{
    struct sk_book *b = gpgrt_calloc(1, sizeof *b);
    struct buf text = BUF_INIT;
    unsigned line = 0;
    gpg_error_t err;

    if (b == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&b->mutex, NULL);
    b->kind = kind;
    b->path = path_state(kind->name);
    if (b->path == NULL) {
        sk_book_free(b);
        return gpg_error(GPG_ERR_ENOENT);
    }
    err = read_file(b->path, &text);
    if (err == 0)
        err = sk_list_parse(kind, buf_rd(&text), &b->set, &line);
    if (err != 0)
        complain(b, line, err);
    buf_free(&text);
    *out = b;
    return 0;
}

void sk_book_free(struct sk_book *b)
{
    if (b == NULL)
        return;
    sk_list_unref(b->set);
    pthread_mutex_destroy(&b->mutex);
    gpgrt_free(b->path);
    gpgrt_free(b);
}

struct sk_list *sk_book_get(struct sk_book *b)
{
    struct sk_list *s;

    if (b == NULL)
        return NULL;
    pthread_mutex_lock(&b->mutex);
    s = b->set != NULL && b->set->n > 0 ? b->set : NULL;
    if (s != NULL)
        __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&b->mutex);
    return s;
}

static bool is_meant(const struct sk_entry *e, const char *label, const struct key *k)
{
    return (label == NULL || strcmp(e->label, label) == 0) && (k == NULL || key_same(e->key, k));
}

/* A copy of what is in it; with REMOVE, without those that are meant. The mutex is held. */
static gpg_error_t copy(const struct sk_book *b, bool removing, const char *label,
                        const struct key *k, struct sk_list **out)
{
    struct sk_list *s = set_new(b->kind);
    gpg_error_t err = s != NULL ? 0 : gpg_error_from_syserror();

    for (size_t i = 0; b->set != NULL && i < b->set->n && err == 0; i++) {
        const struct sk_entry *e = &b->set->list[i];

        if (!removing || !is_meant(e, label, k))
            err = set_add(b->kind, s, e->key, rd_of(e->handle, e->handle_len), e->flags, e->label);
    }
    if (err != 0)
        sk_list_unref(s);
    else
        *out = s;
    return err;
}

/* Takes over S. The mutex is held. */
static gpg_error_t put_in_force(struct sk_book *b, struct sk_list *s)
{
    struct buf text = BUF_INIT;
    gpg_error_t err = put_set(b->kind, s, &text);

    if (err == 0)
        err = write_file(b->path, buf_rd(&text));
    if (err == 0) {
        sk_list_unref(b->set);
        b->set = s;
    } else {
        sk_list_unref(s);
    }
    buf_free(&text);
    return err;
}

gpg_error_t sk_book_add(struct sk_book *b, struct key *k, struct rd handle, uint8_t flags,
                        const char *label)
{
    struct sk_list *s = NULL;
    gpg_error_t err;

    pthread_mutex_lock(&b->mutex);
    err = copy(b, false, NULL, NULL, &s);
    if (err == 0)
        err = set_add(b->kind, s, k, handle, flags, label);
    if (err == 0)
        err = put_in_force(b, s);
    else
        sk_list_unref(s);
    pthread_mutex_unlock(&b->mutex);
    return err;
}

gpg_error_t sk_book_remove(struct sk_book *b, const char *label, const struct key *k)
{
    size_t before;
    struct sk_list *s = NULL;
    gpg_error_t err;

    pthread_mutex_lock(&b->mutex);
    before = b->set != NULL ? b->set->n : 0;
    err = copy(b, true, label, k, &s);
    if (err == 0 && s->n == before) {
        sk_list_unref(s);
        err = gpg_error(GPG_ERR_NOT_FOUND);
    } else if (err == 0) {
        err = put_in_force(b, s);
    }
    pthread_mutex_unlock(&b->mutex);
    return err;
}
