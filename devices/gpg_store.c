#include "devices/gpg_store.h"

#include "devices/gpg_disk.h"
#include "devices/gpg_entry.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_FILES 65536u
#define SUFFIX    ".key"
#define FILE_NAME (GPG_GRIP + sizeof SUFFIX)
/* The kernel's clock for files is coarse: what changed less than this before it was read may have changed again. */
#define COARSE_NS 20000000

/* A file as it was when it was described. */
struct seen {
    struct gpg_entry *entry;
    dev_t dev;
    ino_t ino;
    off_t size;
    int64_t mtime_ns, ctime_ns;
    bool fresh; /* it may have changed right after */
};
struct gpg_store {
    char *home;
    pthread_mutex_t mutex; /* for what follows */
    struct seen *seen;     /* by grip */
    size_t n;
    pthread_mutex_t writing; /* one change at a time */
};

gpg_error_t gpg_store_new(const char *home, struct gpg_store **out)
{
    struct gpg_store *s = gpgrt_calloc(1, sizeof *s);

    if (s == NULL)
        return gpg_error_from_syserror();
    s->home = gpgrt_strdup(home);
    if (s->home == NULL) {
        gpgrt_free(s);
        return gpg_error_from_syserror();
    }
    pthread_mutex_init(&s->mutex, NULL);
    pthread_mutex_init(&s->writing, NULL);
    *out = s;
    return 0;
}

void gpg_store_free(struct gpg_store *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->n; i++)
        gpg_entry_unref(s->seen[i].entry);
    gpgrt_free(s->seen);
    gpgrt_free(s->home);
    pthread_mutex_destroy(&s->writing);
    pthread_mutex_destroy(&s->mutex);
    gpgrt_free(s);
}

const char *gpg_store_home(const struct gpg_store *s)
{
    return s->home;
}

/* --- names ---------------------------------------------------------------------------------------------------------------- */

static gpg_error_t file_name(const char *grip, char name[FILE_NAME])
{
    for (int i = 0; i < GPG_GRIP; i++) {
        if (!isxdigit((unsigned char)grip[i]))
            return gpg_error(GPG_ERR_INV_ID);
        name[i] = (char)toupper((unsigned char)grip[i]);
    }
    if (grip[GPG_GRIP] != '\0')
        return gpg_error(GPG_ERR_INV_ID);
    memcpy(name + GPG_GRIP, SUFFIX, sizeof SUFFIX);
    return 0;
}

static bool is_key_file(const char *name)
{
    return strlen(name) == FILE_NAME - 1 && strspn(name, "0123456789ABCDEF") == GPG_GRIP &&
           strcmp(name + GPG_GRIP, SUFFIX) == 0;
}

static gpg_error_t no_key(gpg_error_t err)
{
    return gpg_err_code(err) == GPG_ERR_ENOENT ? gpg_error(GPG_ERR_NO_SECKEY) : err;
}

/* --- one file ---------------------------------------------------------------------------------------------------------------- */

static gpg_error_t read_text(int folder, const char *name, struct buf *text, struct stat *st,
                             struct gpg_file_id *id)
{
    gpg_error_t err = gpg_disk_read(folder, name, GPG_KEY_MAX, text, st);

    if (err == 0)
        gcry_md_hash_buffer(GCRY_MD_SHA256, id->digest, text->data, text->len);
    return err;
}

static int64_t ns(const struct timespec *ts)
{
    return (int64_t)ts->tv_sec * 1000000000 + ts->tv_nsec;
}

static bool is_same(const struct seen *k, const struct stat *st)
{
    return !k->fresh && k->dev == st->st_dev && k->ino == st->st_ino && k->size == st->st_size &&
           k->mtime_ns == ns(&st->st_mtim) && k->ctime_ns == ns(&st->st_ctim);
}

static int compare_seen(const void *a, const void *b)
{
    return memcmp(((const struct seen *)a)->entry->grip, ((const struct seen *)b)->entry->grip,
                  GPG_GRIP);
}

static struct seen *lookup(struct gpg_store *s, const char *grip)
{
    struct gpg_entry e = {0};
    struct seen key = {.entry = &e};

    memcpy(e.grip, grip, GPG_GRIP);
    return s->n > 0 ? bsearch(&key, s->seen, s->n, sizeof key, compare_seen) : NULL;
}

static gpg_error_t keep(struct gpg_store *s, const struct seen *k)
{
    struct seen *at = lookup(s, k->entry->grip), *more;

    if (at != NULL) {
        gpg_entry_unref(at->entry);
        *at = *k;
        return 0;
    }
    more = gpgrt_reallocarray(s->seen, s->n, s->n + 1, sizeof *more);
    if (more == NULL)
        return gpg_error_from_syserror();
    s->seen = more;
    for (at = &more[s->n]; at > more && compare_seen(&at[-1], k) > 0; at--)
        at[0] = at[-1];
    *at = *k;
    s->n++;
    return 0;
}

static void note_stat(struct seen *k, const struct stat *st)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    k->dev = st->st_dev;
    k->ino = st->st_ino;
    k->size = st->st_size;
    k->mtime_ns = ns(&st->st_mtim);
    k->ctime_ns = ns(&st->st_ctim);
    k->fresh = k->ctime_ns > ns(&now) - COARSE_NS;
}

/* Reads and describes NAME anew. */
static gpg_error_t describe(struct gpg_store *s, int folder, const char *name, struct seen *out)
{
    struct buf text = BUF_INIT_SECURE;
    struct gpg_file *f = NULL;
    struct gpg_file_id id = {0};
    struct seen *old, k = {0};
    struct stat st;
    char grip[GPG_GRIP + 1] = {0};
    gpg_error_t err = read_text(folder, name, &text, &st, &id), made;

    if (gpg_err_code(err) == GPG_ERR_ENOENT)
        return err;
    if (err != 0 && fstatat(folder, name, &st, 0) != 0)
        return gpg_error_from_syserror();
    memcpy(grip, name, GPG_GRIP);
    old = lookup(s, grip);
    if (err == 0)
        err = gpg_file_parse(buf_rd(&text), &f);
    made = gpg_entry_new(grip, f, &id, &k.entry);
    if (err == 0)
        err = made;
    gpg_file_free(f);
    buf_free(&text);
    if (k.entry == NULL)
        return err;
    note_stat(&k, &st);
    if (err != 0 && !(old != NULL && memcmp(&old->entry->file, &id, sizeof id) == 0))
        gpgrt_log_error("%s/" GPG_FOLDER "/%s: this key cannot be used: %s\n", s->home, name,
                        gpg_strerror(err));
    err = keep(s, &k);
    if (err != 0)
        gpg_entry_unref(k.entry);
    else
        *out = k;
    return err;
}

/* The description of NAME as it is now: a reference. The mutex is held. */
static gpg_error_t look(struct gpg_store *s, int folder, const char *name, struct gpg_entry **out)
{
    struct seen *old, k = {0};
    struct stat st;
    char grip[GPG_GRIP + 1] = {0};
    gpg_error_t err = 0;

    if (fstatat(folder, name, &st, 0) != 0)
        return gpg_error_from_syserror();
    memcpy(grip, name, GPG_GRIP);
    old = lookup(s, grip);
    if (old != NULL && is_same(old, &st))
        k = *old;
    else
        err = describe(s, folder, name, &k);
    if (err != 0)
        return err;
    __atomic_add_fetch(&k.entry->refs, 1, __ATOMIC_RELAXED);
    *out = k.entry;
    return 0;
}

gpg_error_t gpg_store_find(struct gpg_store *s, const char *grip, struct gpg_entry **out)
{
    char name[FILE_NAME];
    int folder = -1;
    gpg_error_t err = file_name(grip, name);

    if (err == 0)
        err = gpg_disk_open(s->home, false, &folder);
    if (err == 0) {
        pthread_mutex_lock(&s->mutex);
        err = look(s, folder, name, out);
        pthread_mutex_unlock(&s->mutex);
        close(folder);
    }
    return no_key(err);
}

gpg_error_t gpg_store_read(struct gpg_store *s, const char *grip, struct gpg_file **out,
                           struct gpg_file_id *id)
{
    struct buf text = BUF_INIT_SECURE;
    char name[FILE_NAME];
    struct stat st;
    int folder = -1;
    gpg_error_t err = file_name(grip, name);

    if (err == 0)
        err = gpg_disk_open(s->home, false, &folder);
    if (err == 0) {
        err = read_text(folder, name, &text, &st, id);
        close(folder);
    }
    if (err == 0)
        err = gpg_file_parse(buf_rd(&text), out);
    buf_free(&text);
    return no_key(err);
}

/* --- all files ---------------------------------------------------------------------------------------------------------------- */

static int compare_entries(const void *a, const void *b)
{
    return strcmp((*(struct gpg_entry *const *)a)->grip, (*(struct gpg_entry *const *)b)->grip);
}

void gpg_store_list_free(struct gpg_entry **list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        gpg_entry_unref(list[i]);
    gpgrt_free(list);
}

static gpg_error_t list_folder(struct gpg_store *s, int folder, DIR *d, struct gpg_entry ***list,
                               size_t *n)
{
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        struct gpg_entry **more;
        gpg_error_t err;

        if (!is_key_file(e->d_name) || *n >= MAX_FILES)
            continue;
        more = gpgrt_reallocarray(*list, *n, *n + 1, sizeof *more);
        if (more == NULL)
            return gpg_error_from_syserror();
        *list = more;
        err = look(s, folder, e->d_name, &more[*n]);
        if (err == 0)
            ++*n;
        else if (gpg_err_code(err) == GPG_ERR_ENOMEM)
            return err;
    }
    return 0;
}

/* Descriptions of files that are no more. */
static void forget_gone(struct gpg_store *s, struct gpg_entry *const *list, size_t n)
{
    size_t kept = 0, at = 0;

    for (size_t i = 0; i < s->n; i++) {
        while (at < n && strcmp(list[at]->grip, s->seen[i].entry->grip) < 0)
            at++;
        if (at < n && strcmp(list[at]->grip, s->seen[i].entry->grip) == 0)
            s->seen[kept++] = s->seen[i];
        else
            gpg_entry_unref(s->seen[i].entry);
    }
    s->n = kept;
}

gpg_error_t gpg_store_list(struct gpg_store *s, struct gpg_entry ***out, size_t *out_n)
{
    struct gpg_entry **list = NULL;
    size_t n = 0;
    int folder = -1, fd;
    DIR *d;
    gpg_error_t err = gpg_disk_open(s->home, false, &folder);

    *out = NULL;
    *out_n = 0;
    /* refused ones are no keys, either: the log says why */
    if (gpg_err_code(err) == GPG_ERR_ENOENT || gpg_err_code(err) == GPG_ERR_EACCES)
        return 0;
    if (err != 0)
        return err;
    fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    d = fd >= 0 ? fdopendir(fd) : NULL;
    if (d == NULL) {
        err = gpg_error_from_syserror();
        if (fd >= 0)
            close(fd);
        close(folder);
        return err;
    }
    pthread_mutex_lock(&s->mutex);
    err = list_folder(s, folder, d, &list, &n);
    if (n > 0)
        qsort(list, n, sizeof *list, compare_entries);
    if (err == 0)
        forget_gone(s, list, n);
    pthread_mutex_unlock(&s->mutex);
    closedir(d);
    close(folder);
    if (err != 0) {
        gpg_store_list_free(list, n);
        return err;
    }
    *out = list;
    *out_n = n;
    return 0;
}

/* --- changes ------------------------------------------------------------------------------------------------------------------ */

static gpg_error_t check_old(int folder, const char *name, const struct gpg_file_id *old)
{
    struct buf text = BUF_INIT_SECURE;
    struct gpg_file_id now;
    struct stat st;
    gpg_error_t err = read_text(folder, name, &text, &st, &now);

    if (gpg_err_code(err) == GPG_ERR_ENOENT || (err == 0 && memcmp(&now, old, sizeof now) != 0))
        err = gpg_error(GPG_ERR_CONFLICT);
    buf_free(&text);
    return err;
}

gpg_error_t gpg_store_write(struct gpg_store *s, const char *grip, const struct gpg_file *f,
                            const struct gpg_file_id *old)
{
    struct buf text = BUF_INIT_SECURE;
    char name[FILE_NAME];
    int folder = -1;
    gpg_error_t err = file_name(grip, name);

    if (err == 0)
        err = gpg_file_print(f, &text);
    if (err == 0)
        err = gpg_disk_open(s->home, true, &folder);
    if (err == 0) {
        pthread_mutex_lock(&s->writing);
        if (old != NULL)
            err = check_old(folder, name, old);
        if (err == 0)
            err = gpg_disk_write(folder, name, buf_rd(&text), old == NULL);
        pthread_mutex_unlock(&s->writing);
        close(folder);
    }
    buf_free(&text);
    return err;
}

gpg_error_t gpg_store_delete(struct gpg_store *s, const char *grip)
{
    char name[FILE_NAME];
    int folder = -1;
    gpg_error_t err = file_name(grip, name);

    if (err == 0)
        err = gpg_disk_open(s->home, false, &folder);
    if (err == 0) {
        pthread_mutex_lock(&s->writing);
        err = gpg_disk_delete(folder, name);
        pthread_mutex_unlock(&s->writing);
        close(folder);
    }
    return no_key(err);
}
