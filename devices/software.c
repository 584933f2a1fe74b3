/* Keys in memory: the embedded default that needs no hardware. Private halves live in locked memory (key_memory.h). */
#include "devices/driver.h"
#include "devices/key_store.h"
#include "devices/software_key.h"
#include "proto/token_protocol.h"

static gpg_error_t put_key(struct buf *line, const struct stored_key *s)
{
    const struct key *k = software_key_public(s->key);
    gpg_error_t err = driver_put_key(line, s->id, k, "sa", "ssh");

    if (err != 0)
        return err;
    field_put(line, "touch", "never");
    field_put(line, "pin", "none");
    if (k->algo == KEY_RSA)
        field_put_int(line, "slow", 1);
    field_put(line, "comment", s->comment);
    return buf_err(line);
}

static void free_key(void *key)
{
    software_key_free(key);
}

static gpg_error_t store_open(const char *arg, void **state)
{
    static const struct key_store_ops ops = {.free = free_key, .put = put_key};
    struct key_store *s = NULL;
    gpg_error_t err = key_store_new(&ops, &s);

    (void)arg;
    if (err == 0)
        *state = s;
    return err;
}

static void store_close(void *state)
{
    key_store_free(state);
}

static gpg_error_t learn(void *state, bool refresh, bool ssh_only, struct buf *lines)
{
    (void)refresh;
    (void)ssh_only;
    buf_printf(lines, "TOKEN kind=software name=software label=software%%20keys\n");
    return key_store_list(state, lines);
}

static gpg_error_t sign(void *state, struct driver_op *op, gcry_sexp_t *sig)
{
    struct stored_key *k = key_store_get(state, op->key_id);
    gpg_error_t err;

    if (k == NULL)
        return gpg_error(GPG_ERR_NO_SECKEY);
    err = op->want_touch ? gpg_error(GPG_ERR_NOT_SUPPORTED)
                         : software_key_sign(k->key, &op->input, sig);
    key_store_put(state, k);
    return err;
}

static gpg_error_t add_key(void *state, struct rd body, const char *comment, struct buf *line)
{
    struct software_key *k = NULL;
    gpg_error_t err = software_key_new(body, &k);
    char *id;

    if (err != 0)
        return err;
    id = hex_encode(software_key_public(k)->grip, 20);
    if (id == NULL) {
        err = gpg_error_from_syserror();
        software_key_free(k);
        return err;
    }
    err = key_store_add(state, k, id, comment, line);
    gpgrt_free(id);
    return err;
}

static gpg_error_t delete_key(void *state, const char *id)
{
    return key_store_delete(state, id);
}

static void delete_all(void *state)
{
    key_store_delete_all(state);
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
