/* gpg's key store (GNUPGHOME/private-keys-v1.d) as a token. */
#include "devices/gpg_list.h"
#include "devices/gpg_manage.h"
#include "proto/token_protocol.h"

#include <ctype.h>
#include <string.h>

static void keystore_close(void *state)
{
    struct gpg_keystore *ks = state;

    gpg_cache_free(ks->cache);
    gpg_store_free(ks->store);
    pthread_cond_destroy(&ks->changed);
    pthread_mutex_destroy(&ks->mutex);
    gpgrt_free(ks);
}

static gpg_error_t keystore_open(const char *arg, void **state)
{
    struct gpg_keystore *ks;
    gpg_error_t err;

    if (arg[0] != '/') {
        gpgrt_log_error("%s: the GnuPG home directory is needed as an absolute path\n", arg);
        return gpg_error(GPG_ERR_INV_ARG);
    }
    ks = gpgrt_calloc(1, sizeof *ks);
    if (ks == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&ks->mutex, NULL);
    pthread_cond_init(&ks->changed, NULL);
    err = gpg_store_new(arg, &ks->store);
    if (err == 0)
        err = gpg_cache_new(&ks->cache);
    if (err != 0) {
        keystore_close(ks);
        return err;
    }
    gpg_generate_init();
    *state = ks;
    return 0;
}

static gpg_error_t learn(void *state, bool refresh, bool ssh_only, struct buf *lines)
{
    (void)refresh;
    (void)ssh_only;
    return gpg_list_learn(state, lines);
}

/* --- arguments -------------------------------------------------------------------------------------------------------------- */

gpg_error_t gpg_flag(const char *args, const char *name, bool *out)
{
    long n = 0;
    gpg_error_t err = field_get_int(args, name, 0, &n);

    *out = n != 0;
    return err;
}

gpg_error_t gpg_op_grip(const struct driver_op *op, char grip[GPG_GRIP + 1])
{
    if (op->key_id == NULL)
        return gpg_error(GPG_ERR_MISSING_VALUE);
    if (strlen(op->key_id) != GPG_GRIP)
        return gpg_error(GPG_ERR_INV_ID);
    for (int i = 0; i < GPG_GRIP; i++) {
        if (!isxdigit((unsigned char)op->key_id[i]))
            return gpg_error(GPG_ERR_INV_ID);
        grip[i] = (char)toupper((unsigned char)op->key_id[i]);
    }
    grip[GPG_GRIP] = '\0';
    return 0;
}

/* --- use ---------------------------------------------------------------------------------------------------------------------- */

static gpg_error_t open_key(struct gpg_keystore *ks, struct driver_op *op, struct gpg_secret **key)
{
    struct gpg_access a = {0};
    char grip[GPG_GRIP + 1];
    gpg_error_t err = op->want_touch ? gpg_error(GPG_ERR_NOT_SUPPORTED) : gpg_op_grip(op, grip);

    if (err == 0)
        err = gpg_access_parse(ks, op, "nonce", &a);
    if (err == 0)
        err = gpg_unlock(ks, grip, "use", &a, key, NULL);
    gpg_access_tell(&a, op);
    gpg_access_clear(&a);
    return err;
}

static gpg_error_t parse_pad(const char *args, enum gpg_pad *out)
{
    char *word = NULL;
    gpg_error_t err = field_get(args, "pad", &word);

    *out = GPG_PAD_TYPE1;
    if (err == 0 && word != NULL && strcmp(word, "none") == 0)
        *out = GPG_PAD_NONE;
    else if (err == 0 && word != NULL && strcmp(word, "type1") != 0)
        err = gpg_error(GPG_ERR_INV_VALUE);
    gpgrt_free(word);
    return err;
}

static gpg_error_t sign(void *state, struct driver_op *op, gcry_sexp_t *sig)
{
    struct gpg_secret *key = NULL;
    enum gpg_pad pad;
    gpg_error_t err = parse_pad(op->args, &pad);

    if (err == 0)
        err = open_key(state, op, &key);
    if (err == 0)
        err = gpg_secret_sign(key, &op->input, pad, sig);
    gpg_secret_unref(key);
    return err;
}

static gpg_error_t decrypt(void *state, struct driver_op *op, struct buf *result)
{
    struct gpg_secret *key = NULL;
    gpg_error_t err = open_key(state, op, &key);

    if (err == 0)
        err = gpg_secret_decrypt(key, op->input.data, result);
    gpg_secret_unref(key);
    return err;
}

static void forget(void *state)
{
    struct gpg_keystore *ks = state;

    gpg_cache_wipe(ks->cache);
}

static gpg_error_t delete_key(void *state, const char *id)
{
    struct gpg_keystore *ks = state;
    struct driver_op op = {.key_id = id};
    char grip[GPG_GRIP + 1];
    gpg_error_t err = gpg_op_grip(&op, grip);

    if (err == 0)
        err = gpg_store_delete(ks->store, grip);
    if (err == 0)
        gpg_cache_clear_id(ks->cache, grip);
    return err;
}

static const struct driver_verb verbs[] = {
    {TOKEN_VERB_STORED, gpg_stored},    {TOKEN_VERB_GENERATE, gpg_generate},
    {TOKEN_VERB_IMPORT, gpg_import},    {TOKEN_VERB_EXPORT, gpg_export},
    {TOKEN_VERB_PASSWD, gpg_passwd},    {TOKEN_VERB_ATTR, gpg_attr},
    {TOKEN_VERB_STUB, gpg_stub},        {TOKEN_VERB_SSHADD, gpg_sshadd},
    {TOKEN_VERB_CACHE, gpg_cache_verb}, {NULL, NULL},
};

const struct driver driver_gpg = {
    .kind = "gpg",
    .help = "gpg's private keys; ARGUMENT: the GnuPG home directory",
    .wants_arg = true,
    .many_channels = true,
    .close_at_end = true,
    .open = keystore_open,
    .close = keystore_close,
    .learn = learn,
    .sign = sign,
    .decrypt = decrypt,
    .forget = forget,
    .delete_key = delete_key,
    .verbs = verbs,
};
