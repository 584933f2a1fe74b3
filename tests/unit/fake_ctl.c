#include "tests/unit/fake_ctl.h"

#include "proto/ctl_protocol.h"
#include "proto/token_protocol.h"

#include <assuan.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

struct fake {
    const char *dir;
    const struct pgp_pair *keys;
    size_t nkeys;
    int fd; /* the connection */
};

static void note(const struct fake *f, const char *file, const char *line)
{
    char *path = gpgrt_bsprintf("%s/%s", f->dir, file);
    FILE *out = fopen(path, "a");

    if (out == NULL || fprintf(out, "%s\n", line) < 0 || fclose(out) != 0)
        _exit(1);
    gpgrt_free(path);
}

static gpg_error_t refuse(assuan_context_t ctx, gpg_err_code_t code, const char *text)
{
    struct buf line = BUF_INIT;

    field_put(&line, "text", text);
    (void)assuan_write_status(ctx, "ERROR_TEXT", buf_cstr(&line));
    buf_free(&line);
    return gpg_err_make(GPG_ERR_SOURCE_USER_1, code);
}

static gpg_error_t make(assuan_context_t ctx, const struct pgp_pair *p, bool text, struct rd object)
{
    struct buf packet = BUF_INIT, line = BUF_INIT;
    struct openpgp_sig *sig = NULL;
    struct tosign t;
    gcry_sexp_t value;
    uint32_t now = (uint32_t)time(NULL);
    int hash = openpgp_choose_hash(p->key);
    gpg_error_t err;

    if ((err = openpgp_sig_new(p->key, p->fpr, text ? OPENPGP_SIG_TEXT : OPENPGP_SIG_BINARY, hash,
                               now, 0, &sig)) != 0)
        return err;
    if (text)
        openpgp_sig_update_text(sig, object);
    else
        openpgp_sig_update(sig, object);
    err = openpgp_sig_digest(sig, &t);
    value = pgp_pair_sign(p, &t);
    if (err == 0)
        err = openpgp_sig_finish(sig, value, &packet);
    field_put(&line, "fpr", p->hex);
    field_put_int(&line, "pubkey-algo", openpgp_pubkey_algo(p->key));
    field_put_int(&line, "hash-algo", openpgp_hash_algo(hash));
    field_put_int(&line, "created", (long)now);
    if (err == 0)
        err = assuan_write_status(ctx, "SIGNED", buf_cstr(&line));
    if (err == 0)
        err = assuan_send_data(ctx, packet.data, packet.len);
    gcry_sexp_release(value);
    openpgp_sig_free(sig);
    buf_free(&packet);
    buf_free(&line);
    return err;
}

static gpg_error_t cmd_sign(assuan_context_t ctx, char *line)
{
    struct fake *f = assuan_get_pointer(ctx);
    unsigned char *object = NULL;
    char *key = NULL;
    size_t len = 0;
    long text = 0;
    gpg_error_t err;

    note(f, "calls", line);
    if ((err = field_get(line, "key", &key)) != 0 ||
        (err = field_get_int(line, "text", 0, &text)) != 0 ||
        (err = assuan_inquire(ctx, "OBJECT", &object, &len, CTL_MAX_OBJECT)) != 0)
        goto out;
    if (key != NULL && strcmp(key, "cancel") == 0) {
        err = refuse(ctx, GPG_ERR_CANCELED, "the person said no");
    } else if (key != NULL && strcmp(key, "silent") == 0) {
        err = 0;
    } else if (key != NULL && strcmp(key, "hang") == 0) {
        struct pollfd p = {.fd = f->fd, .events = POLLRDHUP};

        note(f, "asked", "");
        while (poll(&p, 1, -1) <= 0 || (p.revents & (POLLRDHUP | POLLHUP)) == 0)
            continue;
        note(f, "hungup", "");
        err = gpg_error(GPG_ERR_CANCELED);
    } else {
        size_t i = 0;

        while (i < f->nkeys && key != NULL && strcmp(key, f->keys[i].hex) != 0)
            i++;
        err = i < f->nkeys ? make(ctx, &f->keys[i], text != 0, rd_of(object, len))
                           : refuse(ctx, GPG_ERR_NO_SECKEY, "no token holds this key");
    }
out:
    gpgrt_free(key);
    assuan_free(ctx, object);
    return err;
}

static gpg_error_t on_option(assuan_context_t ctx, const char *name, const char *value)
{
    char *line = gpgrt_bsprintf("%s=%s", name, value);

    note(assuan_get_pointer(ctx), "options", line);
    gpgrt_free(line);
    return 0;
}

static void serve(struct fake *f)
{
    assuan_context_t ctx;

    if (assuan_new(&ctx) != 0)
        _exit(1);
    assuan_set_pointer(ctx, f);
    if (assuan_init_socket_server(ctx, f->fd, ASSUAN_SOCKET_SERVER_ACCEPTED) != 0 ||
        assuan_register_command(ctx, "SIGN", cmd_sign, NULL) != 0 ||
        assuan_register_option_handler(ctx, on_option) != 0)
        _exit(1);
    if (assuan_accept(ctx) == 0)
        (void)assuan_process(ctx);
    assuan_release(ctx);
}

pid_t fake_ctl_start(const char *dir, const char *name, const struct pgp_pair *keys, size_t nkeys)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct fake f = {.dir = dir, .keys = keys, .nkeys = nkeys};
    pid_t pid;

    ck_assert_int_lt(snprintf(a.sun_path, sizeof a.sun_path, "%s/%s", dir, name),
                     (int)sizeof a.sun_path);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(fd, 8), 0);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        (void)signal(SIGPIPE, SIG_IGN);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while ((f.fd = accept(fd, NULL, NULL)) >= 0)
            serve(&f);
        _exit(1);
    }
    close(fd);
    return pid;
}
