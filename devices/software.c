/* Keys in memory: the embedded default that needs no hardware. Private halves live in locked memory (key_memory.h). */
#include "devices/driver.h"
#include "devices/software_key.h"
#include "proto/token_protocol.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct entry {
    struct software_key *key;
    char *id; /* keygrip in hex and a number: the same key added again is another entry */
    char *comment;
    atomic_int refs; /* a signature under way outlives the key's removal */
    struct entry *next;
};

struct store {
    pthread_rwlock_t lock;
    atomic_ulong added; /* so far */
    struct entry *entries;
};

static void entry_unref(struct entry *e)
{
    if (e == NULL || --e->refs > 0)
        return;
    software_key_free(e->key);
    gpgrt_free(e->id);
    gpgrt_free(e->comment);
    gpgrt_free(e);
}

static gpg_error_t store_open(const char *arg, void **state)
{
    struct store *s = gpgrt_calloc(1, sizeof *s);

    (void)arg;
    if (s == NULL)
        return gpg_error_from_syserror();
    pthread_rwlock_init(&s->lock, NULL);
    *state = s;
    return 0;
}

static void delete_all(void *state)
{
    struct store *s = state;
    struct entry *list, *next;

    pthread_rwlock_wrlock(&s->lock);
    list = s->entries;
    s->entries = NULL;
    pthread_rwlock_unlock(&s->lock);
    for (; list != NULL; list = next) {
        next = list->next;
        entry_unref(list);
    }
}

static void store_close(void *state)
{
    struct store *s = state;

    delete_all(s);
    pthread_rwlock_destroy(&s->lock);
    gpgrt_free(s);
}

static gpg_error_t put_entry(struct buf *line, const struct entry *e)
{
    const struct key *k = software_key_public(e->key);
    gpg_error_t err = driver_put_key(line, e->id, k, "sa", "ssh");

    if (err != 0)
        return err;
    field_put(line, "touch", "never");
    field_put(line, "pin", "none");
    if (k->algo == KEY_RSA)
        field_put_int(line, "slow", 1);
    field_put(line, "comment", e->comment);
    return buf_err(line);
}

static gpg_error_t learn(void *state, bool refresh, bool ssh_only, struct buf *lines)
{
    struct store *s = state;
    gpg_error_t err = 0;

    (void)refresh;
    (void)ssh_only;
    buf_printf(lines, "TOKEN kind=software name=software label=software%%20keys\n");
    pthread_rwlock_rdlock(&s->lock);
    for (const struct entry *e = s->entries; e != NULL && err == 0; e = e->next) {
        struct buf line = BUF_INIT;

        err = put_entry(&line, e);
        if (err == 0)
            buf_printf(lines, "KEY %s\n", buf_cstr(&line));
        buf_free(&line);
    }
    pthread_rwlock_unlock(&s->lock);
    return err != 0 ? err : buf_err(lines);
}

static struct entry *find(struct store *s, const char *id)
{
    struct entry *e;

    pthread_rwlock_rdlock(&s->lock);
    for (e = s->entries; e != NULL && strcmp(e->id, id) != 0; e = e->next)
        continue;
    if (e != NULL)
        e->refs++;
    pthread_rwlock_unlock(&s->lock);
    return e;
}

static gpg_error_t sign(void *state, struct driver_op *op, gcry_sexp_t *sig)
{
    struct entry *e = find(state, op->key_id);
    gpg_error_t err;

    if (e == NULL)
        return gpg_error(GPG_ERR_NO_SECKEY);
    err = op->want_touch ? gpg_error(GPG_ERR_NOT_SUPPORTED)
                         : software_key_sign(e->key, &op->input, sig);
    entry_unref(e);
    return err;
}

static gpg_error_t delete_key(void *state, const char *id)
{
    struct store *s = state;
    struct entry **at, *e;

    pthread_rwlock_wrlock(&s->lock);
    for (at = &s->entries; *at != NULL && strcmp((*at)->id, id) != 0; at = &(*at)->next)
        continue;
    e = *at;
    if (e != NULL)
        *at = e->next;
    pthread_rwlock_unlock(&s->lock);
    if (e == NULL)
        return gpg_error(GPG_ERR_NOT_FOUND);
    entry_unref(e);
    return 0;
}

static gpg_error_t add_key(void *state, struct rd body, const char *comment, struct buf *line)
{
    struct store *s = state;
    struct entry *e = gpgrt_calloc(1, sizeof *e);
    char *grip;
    gpg_error_t err;

    if (e == NULL)
        return gpg_error_from_syserror();
    e->refs = 1;
    err = software_key_new(body, &e->key);
    if (err != 0)
        goto out;
    grip = hex_encode(software_key_public(e->key)->grip, 20);
    if (grip != NULL)
        e->id = gpgrt_bsprintf("%s-%lu", grip, ++s->added);
    gpgrt_free(grip);
    e->comment = gpgrt_strdup(comment);
    if (e->id == NULL || e->comment == NULL) {
        err = gpg_error_from_syserror();
        goto out;
    }
    err = put_entry(line, e);
    if (err != 0)
        goto out;
    pthread_rwlock_wrlock(&s->lock);
    e->next = s->entries;
    s->entries = e;
    pthread_rwlock_unlock(&s->lock);
    e = NULL;
out:
    entry_unref(e);
    return err;
}

const struct driver driver_software = {
    .kind = "software",
    .help = "keys in memory, added by ssh-add",
    .many_channels = true,
    .open = store_open,
    .close = store_close,
    .learn = learn,
    .sign = sign,
    .add_key = add_key,
    .delete_key = delete_key,
    .delete_all = delete_all,
};
