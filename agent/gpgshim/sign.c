#include "agent/gpgshim/sign.h"

#include "agent/ctl_client.h"
#include "agent/gpgshim/files.h"
#include "agent/gpgshim/tell.h"
#include "proto/openpgp.h"
#include "proto/token_protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* --- what gpg would say ------------------------------------------------------------------------------------------------------ */

/* DETAIL: the agent's own words, NULL without. */
static void tell_missing_key(const struct shim_options *o, const char *key, const char *detail)
{
    const char *reason = gpg_strerror(gpg_error(GPG_ERR_NO_SECKEY));

    if (key != NULL)
        shim_tell(o, "skipped \"%s\": %s", key, reason);
    else
        shim_tell(o, "no default secret key: %s", reason);
    if (detail != NULL)
        shim_tell(o, "%s", detail);
    shim_tell(o, "signing failed: %s", reason);
    shim_status(o, "INV_SGNR 9 %s", key != NULL ? key : "");
    shim_status(o, "FAILURE sign %d", GPG_ERR_NO_SECKEY);
}

static void tell_failure(const struct shim_options *o, gpg_error_t err, const char *detail)
{
    shim_tell(o, "signing failed: %s", gpg_strerror(err));
    if (detail != NULL)
        shim_tell(o, "%s", detail);
    shim_status(o, "FAILURE sign %u", err);
}

/* --- one signature ------------------------------------------------------------------------------------------------------------ */

gpg_error_t signed_with_parse(const char *fields, struct signed_with *out)
{
    struct signed_with s = {0};
    long pubkey_algo, hash_algo;
    gpg_error_t err;

    if ((err = field_get(fields, "fpr", &s.fpr)) != 0 ||
        (err = field_get_int(fields, "pubkey-algo", 0, &pubkey_algo)) != 0 ||
        (err = field_get_int(fields, "hash-algo", 0, &hash_algo)) != 0 ||
        (err = field_get_int(fields, "created", 0, &s.created)) != 0)
        goto out;
    if (s.fpr == NULL || strlen(s.fpr) != 40 || strspn(s.fpr, "0123456789ABCDEF") != 40 ||
        pubkey_algo < 1 || pubkey_algo > 255 || hash_algo < 1 || hash_algo > 255 || s.created <= 0)
        err = gpg_error(GPG_ERR_INV_RESPONSE);
    if (err == 0) {
        s.pubkey_algo = (int)pubkey_algo;
        s.hash_algo = (int)hash_algo;
        *out = s;
    }
out:
    if (err != 0)
        gpgrt_free(s.fpr);
    return err != 0 ? gpg_error(GPG_ERR_INV_RESPONSE) : 0;
}

static void on_status(void *arg, const char *line)
{
    struct signed_with *s = arg;

    if (strncmp(line, "SIGNED ", 7) == 0 && s->fpr == NULL)
        (void)signed_with_parse(line + 7, s); /* without fpr it did not come */
}

/* Has OBJECT signed with KEY (NULL: the only one) and appends the packet. */
static gpg_error_t sign_one(struct ctl_client *c, const struct shim_options *o, const char *key,
                            struct rd object, struct signed_with *with, struct buf *packets,
                            char **detail)
{
    struct buf fields = BUF_INIT, line = BUF_INIT;
    size_t before = packets->len;
    gpg_error_t err;

    if (key != NULL)
        field_put(&fields, "key", key);
    if (o->text)
        field_put_int(&fields, "text", 1);
    buf_printf(&line, "SIGN %s", buf_cstr(&fields) != NULL ? buf_cstr(&fields) : "");
    err = buf_err(&fields);
    if (err == 0)
        err = buf_cstr(&line) != NULL
                  ? ctl_transact(c, buf_cstr(&line), &object, packets, on_status, with, detail)
                  : buf_err(&line);
    if (err == 0 && (with->fpr == NULL || packets->len == before))
        err = gpg_error(GPG_ERR_INV_RESPONSE);
    buf_free(&fields);
    buf_free(&line);
    return err;
}

/* --- the whole ------------------------------------------------------------------------------------------------------------------ */

/* gpg tells what it signs with once for all signatures, then each as it is made. */
static void tell_signatures(const struct shim_options *o, const struct signed_with *with, size_t n)
{
    struct buf hashes = BUF_INIT;

    for (size_t i = 0; i < n; i++) {
        bool known = false;

        for (size_t j = 0; j < i; j++)
            known |= with[j].hash_algo == with[i].hash_algo;
        if (!known)
            buf_printf(&hashes, " H%d", with[i].hash_algo);
        shim_status(o, "KEY_CONSIDERED %s 0", with[i].fpr);
    }
    shim_status(o, "BEGIN_SIGNING%s", buf_cstr(&hashes) != NULL ? buf_cstr(&hashes) : "");
    for (size_t i = 0; i < n; i++)
        shim_status(o, "SIG_CREATED D %d %d %s %ld %s", with[i].pubkey_algo, with[i].hash_algo,
                    o->text ? "01" : "00", with[i].created, with[i].fpr);
    buf_free(&hashes);
}

/* A signature by every key that was named, one after the other; with any of them missing there is none. */
static enum shim_result sign_all(const struct shim_options *o, bool fall_back, struct rd object,
                                 struct signed_with *with, size_t n, struct buf *packets)
{
    struct ctl_client *c = NULL;
    enum shim_result result = SHIM_OK;
    char *detail = NULL, *why = NULL;
    gpg_error_t err = ctl_connect_or_start(&c, &why);

    if (err != 0) {
        tell_failure(o, err,
                     why != NULL ? why
                                 : "no latchkey-agent is running and none could be started; try "
                                   "latchkey-agent --foreground");
        gpgrt_free(why);
        return SHIM_FAILED;
    }
    for (size_t i = 0; i < n && result == SHIM_OK; i++) {
        const char *key = o->keys != NULL ? o->keys[i] : o->default_key;

        err = sign_one(c, o, key, object, &with[i], packets, &detail);
        if (gpg_err_code(err) == GPG_ERR_NO_SECKEY && fall_back) {
            result = SHIM_FALL_BACK;
        } else if (err != 0) {
            if (gpg_err_code(err) == GPG_ERR_NO_SECKEY)
                tell_missing_key(o, key, detail);
            else
                tell_failure(o, err, detail);
            result = SHIM_FAILED;
        }
        gpgrt_free(detail);
        detail = NULL;
    }
    ctl_close(c);
    return result;
}

enum shim_result shim_sign(const struct shim_options *o, bool fall_back, struct buf *object)
{
    struct buf packets = BUF_INIT, text = BUF_INIT;
    struct signed_with *with = NULL;
    struct output output = {.fd = -1};
    enum shim_result result = SHIM_FAILED;
    size_t n = 1;

    if (o->status_fd >= 0 && fcntl(o->status_fd, F_GETFD) < 0) {
        shim_tell(o, "can't open fd %d for status output: %s", o->status_fd, strerror(errno));
        return SHIM_FAILED;
    }
    for (n = 0; o->keys != NULL && o->keys[n] != NULL; n++)
        continue;
    n = n > 0 ? n : 1;
    with = gpgrt_calloc(n, sizeof *with);
    if (with == NULL) {
        shim_tell(o, "%s", gpg_strerror(gpg_error_from_syserror()));
        goto out;
    }
    if (!output_prepare(o, &output) || !input_read(o, object)) {
        shim_status(o, "FAILURE sign %u", gpg_error(GPG_ERR_GENERAL));
        goto out;
    }
    result = sign_all(o, fall_back, buf_rd(object), with, n, &packets);
    if (result != SHIM_OK)
        goto out;
    if (o->armor)
        openpgp_armor(&text, "SIGNATURE", buf_rd(&packets));
    if (buf_err(&packets) == 0 && buf_err(&text) == 0 &&
        output_write(o, &output, buf_rd(o->armor ? &text : &packets))) {
        tell_signatures(o, with, n);
    } else {
        shim_status(o, "FAILURE sign %u", gpg_error(GPG_ERR_GENERAL));
        result = SHIM_FAILED;
    }
out:
    for (size_t i = 0; with != NULL && i < n; i++)
        gpgrt_free(with[i].fpr);
    gpgrt_free(with);
    output_clear(&output);
    buf_free(&packets);
    buf_free(&text);
    return result;
}
