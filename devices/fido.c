/* Security keys by libfido2: what OpenSSH calls the "internal" provider, and their management. Added keys are kept here;
 * which device holds one is found anew for each signature. */
#include "devices/fido_work.h"
#include "proto/token_protocol.h"

#include <string.h>

static void fido_driver_close(void *state)
{
    struct fido *f = state;

    fido_bus_free(f->bus);
    key_store_free(f->keys);
    gpgrt_free(f);
}

static gpg_error_t fido_driver_open(const char *arg, void **state)
{
    struct fido *f = gpgrt_calloc(1, sizeof *f);
    gpg_error_t err;

    if (f == NULL)
        return gpg_error_from_syserror();
    err = fido_bus_new(arg, &f->bus);
    if (err == 0)
        err = key_store_new(&sk_key_store_ops, &f->keys);
    if (err != 0)
        fido_driver_close(f);
    else
        *state = f;
    return err;
}

static gpg_error_t fido_learn(void *state, bool refresh, bool ssh_only, struct buf *lines)
{
    (void)refresh;
    (void)ssh_only;
    buf_printf(lines, "TOKEN kind=fido name=fido label=the%%20security%%20key\n");
    return key_store_list(((struct fido *)state)->keys, lines);
}

static gpg_error_t fido_add_key(void *state, struct rd body, const char *comment, struct buf *line)
{
    return sk_key_add(((struct fido *)state)->keys, body, comment, line);
}

static gpg_error_t fido_delete_key(void *state, const char *id)
{
    return key_store_delete(((struct fido *)state)->keys, id);
}

static void fido_delete_all(void *state)
{
    key_store_delete_all(((struct fido *)state)->keys);
}

static const struct driver_verb fido_verbs[] = {
    {TOKEN_VERB_ASSERT, fido_assert_verb},
    {TOKEN_VERB_GENERATE, fido_generate},
    {TOKEN_VERB_DEVICES, fido_info},
    {TOKEN_VERB_RESIDENT, fido_resident},
    {TOKEN_VERB_DELRESIDENT, fido_delete_resident},
    {TOKEN_VERB_CHANGEPIN, fido_change_pin},
    {NULL, NULL},
};

const struct driver driver_fido = {
    .kind = "fido",
    .help = "keys of security keys, by libfido2: \"hid\", or \"emulator=SOCKET,..\"",
    .wants_arg = true,
    .many_channels = true,
    .open = fido_driver_open,
    .close = fido_driver_close,
    .learn = fido_learn,
    .sign = fido_sign,
    .add_key = fido_add_key,
    .delete_key = fido_delete_key,
    .delete_all = fido_delete_all,
    .verbs = fido_verbs,
};
