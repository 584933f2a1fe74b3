#include "devices/key_store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct entry {
    struct stored_key k; /* first: callers see only this */
    atomic_int refs;     /* an operation under way outlives the key's removal */
    struct entry *next;
};

struct key_store {
    const struct key_store_ops *ops;
    pthread_rwlock_t lock;
    atomic_ulong added; /* so far */
    struct entry *entries;
};

gpg_error_t key_store_new(const struct key_store_ops *ops, struct key_store **out)
{
    struct key_store *s = gpgrt_calloc(1, sizeof *s);

    if (s == NULL)
        return gpg_error_from_syserror();
    s->ops = ops;
    pthread_rwlock_init(&s->lock, NULL);
    *out = s;
    return 0;
}

void key_store_put(struct key_store *s, struct stored_key *k)
{
    struct entry *e = (struct entry *)(void *)k;

    if (e == NULL || --e->refs > 0)
        return;
    s->ops->free(e->k.key);
    gpgrt_free(e->k.id);
    gpgrt_free(e->k.comment);
    gpgrt_free(e);
}

void key_store_delete_all(struct key_store *s)
{
    struct entry *list, *next;

    pthread_rwlock_wrlock(&s->lock);
    list = s->entries;
    s->entries = NULL;
    pthread_rwlock_unlock(&s->lock);
    for (; list != NULL; list = next) {
        next = list->next;
        key_store_put(s, &list->k);
    }
}

void key_store_free(struct key_store *s)
{
    if (s == NULL)
        return;
    key_store_delete_all(s);
    pthread_rwlock_destroy(&s->lock);
    gpgrt_free(s);
}

struct stored_key *key_store_get(struct key_store *s, const char *id)
{
    struct entry *e;

    pthread_rwlock_rdlock(&s->lock);
    for (e = s->entries; e != NULL && strcmp(e->k.id, id) != 0; e = e->next)
        continue;
    if (e != NULL)
        e->refs++;
    pthread_rwlock_unlock(&s->lock);
    return e != NULL ? &e->k : NULL;
}

gpg_error_t key_store_delete(struct key_store *s, const char *id)
{
    struct entry **at, *e;

    pthread_rwlock_wrlock(&s->lock);
    for (at = &s->entries; *at != NULL && strcmp((*at)->k.id, id) != 0; at = &(*at)->next)
        continue;
    e = *at;
    if (e != NULL)
        *at = e->next;
    pthread_rwlock_unlock(&s->lock);
    if (e == NULL)
        return gpg_error(GPG_ERR_NOT_FOUND);
    key_store_put(s, &e->k);
    return 0;
}

gpg_error_t key_store_add(struct key_store *s, void *key, const char *name, const char *comment,
                          struct buf *line)
{
    struct entry *e = gpgrt_calloc(1, sizeof *e);
    gpg_error_t err;

    if (e == NULL) {
        err = gpg_error_from_syserror();
        s->ops->free(key);
        return err;
    }
    e->refs = 1;
    e->k.key = key;
    e->k.id = gpgrt_bsprintf("%s-%lu", name, ++s->added);
    e->k.comment = gpgrt_strdup(comment);
    err = e->k.id != NULL && e->k.comment != NULL ? s->ops->put(line, &e->k)
                                                  : gpg_error_from_syserror();
    if (err != 0) {
        key_store_put(s, &e->k);
        return err;
    }
    pthread_rwlock_wrlock(&s->lock);
    e->next = s->entries;
    s->entries = e;
    pthread_rwlock_unlock(&s->lock);
    return 0;
}

gpg_error_t key_store_list(struct key_store *s, struct buf *lines)
{
    gpg_error_t err = 0;

    pthread_rwlock_rdlock(&s->lock);
    for (const struct entry *e = s->entries; e != NULL && err == 0; e = e->next) {
        struct buf line = BUF_INIT;

        err = s->ops->put(&line, &e->k);
        if (err == 0)
            buf_printf(lines, "KEY %s\n", buf_cstr(&line));
        buf_free(&line);
    }
    pthread_rwlock_unlock(&s->lock);
    return err != 0 ? err : buf_err(lines);
}
