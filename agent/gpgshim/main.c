/* latchkey-gpg: `git config gpg.program latchkey-gpg`. Makes detached signatures through the agent; everything else is the
 * real gpg's. */
#include "agent/ctl_client.h"
#include "agent/gpgshim/options.h"
#include "agent/gpgshim/realgpg.h"
#include "proto/openpgp.h"
#include "proto/token_protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <gcrypt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GPG_FAILURE 2 /* gpg's exit status for anything but a bad signature */

static const char usage[] =
    "usage: latchkey-gpg [GPG-OPTIONS]\n"
    "\n"
    "Detached signatures (-b, --detach-sign; with -a, -u KEY, -o FILE, --status-fd N, --textmode)\n"
    "are made by latchkey-agent, with the key on the token, as its policy says.\n"
    "KEY is an OpenPGP fingerprint or key id, a keygrip or TOKEN/SLOT (latchkey keys).\n"
    "Every other call is handed to the real gpg unchanged.\n"
    "\n"
    "  git config gpg.program latchkey-gpg\n"
    "  git config user.signingkey FINGERPRINT\n";

/* --- status lines ----------------------------------------------------------------------------------------------------------------- */

static void status(const struct shim_options *o, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void status(const struct shim_options *o, const char *fmt, ...)
{
    struct buf line = BUF_INIT;
    char *text;
    va_list ap;

    if (o->status_fd < 0)
        return;
    va_start(ap, fmt);
    text = gpgrt_vbsprintf(fmt, ap);
    va_end(ap);
    buf_printf(&line, "[GNUPG:] %s\n", text != NULL ? text : "");
    for (size_t done = 0; done < line.len;) {
        ssize_t n = write(o->status_fd, line.data + done, line.len - done);

        if (n < 0 && errno != EINTR)
            break; /* gpg goes on too when nobody reads its status */
        done += n > 0 ? (size_t)n : 0;
    }
    gpgrt_free(text);
    buf_free(&line);
}

/* --- input and output --------------------------------------------------------------------------------------------------------------- */

static bool read_input(const char *file, struct buf *out)
{
    int fd =
        file == NULL || strcmp(file, "-") == 0 ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
    uint8_t chunk[65536];
    ssize_t n = 0;

    while (fd >= 0 && out->len <= CTL_MAX_OBJECT) {
        n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        buf_put(out, chunk, (size_t)n);
    }
    if (fd < 0 || n < 0) {
        fprintf(stderr, "latchkey-gpg: can't read %s: %s\n", file != NULL ? file : "standard input",
                strerror(errno));
        return false;
    }
    if (fd != STDIN_FILENO)
        close(fd);
    if (out->len > CTL_MAX_OBJECT) {
        fprintf(stderr,
                "latchkey-gpg: %s is larger than %u MiB, which is more than the agent takes: use "
                "gpg for it\n",
                file != NULL ? file : "standard input", CTL_MAX_OBJECT >> 20);
        return false;
    }
    return buf_err(out) == 0;
}

static bool write_output(const struct shim_options *o, struct rd data)
{
    bool named = o->file != NULL && strcmp(o->file, "-") != 0;
    char *path = NULL;
    FILE *f = stdout;
    bool ok;
    int fd;

    if (o->output != NULL && strcmp(o->output, "-") != 0)
        path = gpgrt_strdup(o->output);
    else if (o->output == NULL && named)
        path = gpgrt_bsprintf("%s.%s", o->file, o->armor ? "asc" : "sig");
    if (path != NULL) {
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (o->yes ? O_TRUNC : O_EXCL), 0666);
        f = fd >= 0 ? fdopen(fd, "w") : NULL;
        if (f == NULL) {
            fprintf(stderr, "latchkey-gpg: can't create %s: %s%s\n", path, strerror(errno),
                    errno == EEXIST ? " (--yes overwrites it)" : "");
            gpgrt_free(path);
            return false;
        }
    }
    ok = fwrite(data.p, 1, data.n, f) == data.n && fflush(f) == 0;
    if (!ok)
        fprintf(stderr, "latchkey-gpg: can't write %s: %s\n",
                path != NULL ? path : "standard output", strerror(errno));
    if (f != stdout)
        fclose(f);
    gpgrt_free(path);
    return ok;
}

/* --- one signature ------------------------------------------------------------------------------------------------------------------ */

struct signed_with {
    char *fpr;
    long pubkey_algo, hash_algo, created;
};

static void on_status(void *arg, const char *line)
{
    struct signed_with *s = arg;

    if (strncmp(line, "SIGNED ", 7) != 0 || s->fpr != NULL)
        return;
    if (field_get(line, "fpr", &s->fpr) != 0 ||
        field_get_int(line, "pubkey-algo", 0, &s->pubkey_algo) != 0 ||
        field_get_int(line, "hash-algo", 0, &s->hash_algo) != 0 ||
        field_get_int(line, "created", 0, &s->created) != 0)
        s->hash_algo = 0;
}

static gpg_error_t sign_one(struct ctl_client *c, const struct shim_options *o, const char *key,
                            struct rd object, struct buf *packets)
{
    struct buf fields = BUF_INIT, line = BUF_INIT;
    struct signed_with s = {0};
    char *text = NULL;
    gpg_error_t err;

    if (key != NULL && key[0] != '\0')
        field_put(&fields, "key", key);
    if (o->text)
        field_put_int(&fields, "text", 1);
    buf_printf(&line, "SIGN %s", buf_cstr(&fields) != NULL ? buf_cstr(&fields) : "");
    err = buf_cstr(&line) != NULL
              ? ctl_transact(c, buf_cstr(&line), &object, packets, on_status, &s, &text)
              : gpg_error(GPG_ERR_ENOMEM);
    if (err == 0 && (s.fpr == NULL || s.hash_algo == 0))
        err = gpg_error(GPG_ERR_INV_RESPONSE);
    if (err == 0) {
        status(o, "KEY_CONSIDERED %s 0", s.fpr);
        status(o, "BEGIN_SIGNING H%ld", s.hash_algo);
        status(o, "SIG_CREATED D %ld %ld %s %ld %s", s.pubkey_algo, s.hash_algo,
               o->text ? "01" : "00", s.created, s.fpr);
    } else if (gpg_err_code(err) == GPG_ERR_NO_SECKEY) {
        fprintf(stderr, "latchkey-gpg: skipped \"%s\": %s\n", key != NULL ? key : "",
                text != NULL ? text : gpg_strerror(err));
        status(o, "INV_SGNR 9 %s", key != NULL ? key : "");
        status(o, "FAILURE sign %u", GPG_ERR_NO_SECKEY);
    } else {
        fprintf(stderr, "latchkey-gpg: signing failed: %s\n",
                text != NULL ? text : gpg_strerror(err));
        status(o, "FAILURE sign %u", err);
    }
    gpgrt_free(text);
    gpgrt_free(s.fpr);
    buf_free(&fields);
    buf_free(&line);
    return err;
}

static int sign(const struct shim_options *o)
{
    const char *one[] = {o->default_key, NULL}, *const *keys = o->keys != NULL ? o->keys : one;
    struct buf object = BUF_INIT, packets = BUF_INIT, text = BUF_INIT;
    struct ctl_client *c = NULL;
    int result = GPG_FAILURE;
    gpg_error_t err;

    if (!read_input(o->file, &object))
        goto out;
    err = ctl_connect(true, &c);
    if (err != 0) {
        fprintf(stderr, "latchkey-gpg: no latchkey-agent is running, and none could be started: "
                        "try latchkey-agent --foreground\n");
        status(o, "FAILURE sign %u", err);
        goto out;
    }
    for (size_t i = 0; i == 0 || keys[i] != NULL; i++)
        if (sign_one(c, o, keys[i], buf_rd(&object), &packets) != 0)
            goto out;
    if (o->armor)
        openpgp_armor(&text, "SIGNATURE", buf_rd(&packets));
    if (buf_err(&packets) == 0 && buf_err(&text) == 0 &&
        write_output(o, o->armor ? buf_rd(&text) : buf_rd(&packets)))
        result = 0;
out:
    ctl_close(c);
    buf_free(&object);
    buf_free(&packets);
    buf_free(&text);
    return result;
}

int main(int argc, char **argv)
{
    struct shim_options o;
    int result;

    gcry_check_version(NULL);
    gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    if (shim_options_parse(argc, argv, &o) != 0)
        return GPG_FAILURE;
    if (o.help) {
        fputs(usage, stdout);
        shim_options_clear(&o);
        return 0;
    }
    if (!o.native) {
        shim_options_clear(&o);
        return realgpg_exec(argv);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    result = sign(&o);
    shim_options_clear(&o);
    return result;
}
