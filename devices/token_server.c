#include "devices/token_server.h"

#include "devices/token_channel.h"
#include "proto/token_protocol.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* An ssh message at most, and some room. */
#define MAX_DATA (300u * 1024u)
/* The largest RSA key with its certificate. */
#define MAX_KEY    (30u * 1024u)
#define SECURE_MAX (32u * 1024u)

/* --- verbs --------------------------------------------------------------------------------------------------------------- */

/* An operation's arguments; KEY_ID and USE are owned. */
static gpg_error_t parse_op(struct channel *c, const char *line, const struct driver_io *io,
                            struct driver_op *op, char **key_id, char **use)
{
    long hash = 0, flag = 0, job = 0;
    gpg_error_t err;

    gpgrt_free(c->args);
    c->args = gpgrt_strdup(line);
    if (c->args == NULL)
        return gpg_error_from_syserror();
    *op = (struct driver_op){.io = io, .args = c->args};
    if ((err = field_get_int(line, "job", 0, &job)) != 0)
        return err;
    c->job = (unsigned)job;
    if ((err = field_get(line, "key", key_id)) != 0 || (err = field_get(line, "use", use)) != 0 ||
        (err = field_get_int(line, "hash", 0, &hash)) != 0 ||
        (err = field_get_int(line, "pin-age", 0, &op->pin_age)) != 0 ||
        (err = field_get_int(line, "drop", 0, &flag)) != 0)
        return err;
    op->drop = flag != 0;
    err = field_get_int(line, "touch", 0, &flag);
    op->want_touch = flag != 0;
    op->key_id = *key_id;
    op->use = *use;
    op->input.hash = (int)hash;
    return err;
}

static gpg_error_t send_sexp(struct channel *c, gcry_sexp_t sexp)
{
    size_t n = gcry_sexp_sprint(sexp, GCRYSEXP_FMT_CANON, NULL, 0);
    char *text = gpgrt_malloc(n + 1);
    gpg_error_t err;

    if (text == NULL)
        return gpg_error_from_syserror();
    n = gcry_sexp_sprint(sexp, GCRYSEXP_FMT_CANON, text, n + 1);
    err = assuan_send_data(c->ctx, text, n);
    gpgrt_free(text);
    return err;
}

/* What is to be signed or decrypted: with the command, or asked for. */
static gpg_error_t take_data(struct channel *c, struct buf *data)
{
    char *text;
    gpg_error_t err = field_get(c->args, "data", &text);

    if (err != 0)
        return err;
    if (text == NULL)
        return channel_inquire(c, "DATA", MAX_DATA, false, data);
    err = b64_decode(text, strlen(text), data);
    gpgrt_free(text);
    return err;
}

static gpg_error_t crypto(assuan_context_t ctx, char *line, bool decrypt)
{
    struct channel *c = assuan_get_pointer(ctx);
    struct driver_io io = channel_io(c);
    struct buf data = decrypt ? BUF_INIT_SECURE : BUF_INIT, result = BUF_INIT_SECURE;
    char *key_id = NULL, *use = NULL;
    struct driver_op op;
    gcry_sexp_t sig = NULL;
    gpg_error_t err;

    err = parse_op(c, line, &io, &op, &key_id, &use);
    if (err == 0 && key_id == NULL)
        err = gpg_error(GPG_ERR_MISSING_VALUE);
    if (err == 0)
        err = take_data(c, &data);
    if (err != 0)
        goto out;
    op.input.data = buf_rd(&data);
    if (decrypt)
        err = c->s->d->decrypt != NULL ? c->s->d->decrypt(c->s->state, &op, &result)
                                       : gpg_error(GPG_ERR_NOT_SUPPORTED);
    else
        err = c->s->d->sign(c->s->state, &op, &sig);
    if (err == 0)
        err = channel_shown(c, &op);
    if (err != 0)
        goto out;
    if (decrypt) {
        assuan_begin_confidential(ctx);
        err = assuan_send_data(ctx, result.data, result.len);
    } else {
        err = send_sexp(c, sig);
    }
out:
    gcry_sexp_release(sig);
    gpgrt_free(key_id);
    gpgrt_free(use);
    buf_free(&data);
    buf_free(&result);
    return err;
}

/* Notes that the token is gone, for after_command. */
static gpg_error_t note(struct channel *c, gpg_error_t err)
{
    if (gpg_err_code(err) == GPG_ERR_CARD_REMOVED || gpg_err_code(err) == GPG_ERR_ENODEV)
        c->s->failure = err;
    return err;
}

static gpg_error_t cmd_sign(assuan_context_t ctx, char *line)
{
    return note(assuan_get_pointer(ctx), crypto(ctx, line, false));
}

static gpg_error_t cmd_decrypt(assuan_context_t ctx, char *line)
{
    gpg_error_t err = crypto(ctx, line, true);

    assuan_end_confidential(ctx);
    return note(assuan_get_pointer(ctx), err);
}

static gpg_error_t cmd_verify(assuan_context_t ctx, char *line)
{
    struct channel *c = assuan_get_pointer(ctx);
    struct driver_io io = channel_io(c);
    char *key_id = NULL, *use = NULL, *ref = NULL;
    struct driver_op op;
    gpg_error_t err;

    if (c->s->d->verify == NULL)
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    err = parse_op(c, line, &io, &op, &key_id, &use);
    if (err == 0)
        err = field_get(line, "ref", &ref);
    if (err == 0)
        err = c->s->d->verify(c->s->state, &op, ref);
    if (err == 0)
        err = channel_shown(c, &op);
    gpgrt_free(key_id);
    gpgrt_free(use);
    gpgrt_free(ref);
    return note(c, err);
}

static gpg_error_t cmd_learn(assuan_context_t ctx, char *line)
{
    struct channel *c = assuan_get_pointer(ctx);
    struct buf lines = BUF_INIT;
    char *save = NULL, *text;
    long refresh = 0, ssh_only = 0;
    gpg_error_t err;

    err = field_get_int(line, "refresh", 0, &refresh);
    if (err == 0)
        err = field_get_int(line, "ssh", 0, &ssh_only);
    if (err == 0)
        err = c->s->d->learn(c->s->state, refresh != 0, ssh_only != 0, &lines);
    if (err != 0)
        goto out;
    text = buf_steal_cstr(&lines);
    if (text == NULL) {
        err = gpg_error(GPG_ERR_ENOMEM);
        goto out;
    }
    for (char *l = strtok_r(text, "\n", &save); l != NULL && err == 0;
         l = strtok_r(NULL, "\n", &save)) {
        char *blank = strchr(l, ' ');

        if (blank == NULL)
            continue;
        *blank = '\0';
        err = channel_status(c, l, blank + 1);
    }
    gpgrt_free(text);
out:
    buf_free(&lines);
    return note(c, err);
}

static gpg_error_t cmd_forget(assuan_context_t ctx, char *line)
{
    struct channel *c = assuan_get_pointer(ctx);

    (void)line;
    if (c->s->d->forget != NULL)
        c->s->d->forget(c->s->state);
    return 0;
}

static gpg_error_t cmd_addkey(assuan_context_t ctx, char *line)
{
    struct channel *c = assuan_get_pointer(ctx);
    struct buf body = BUF_INIT_SECURE, answer = BUF_INIT;
    char *comment = NULL;
    gpg_error_t err;

    if (c->s->d->add_key == NULL)
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    err = field_get(line, "comment", &comment);
    if (err == 0)
        err = channel_inquire(c, "KEY", MAX_KEY, true, &body);
    if (err == 0)
        err = c->s->d->add_key(c->s->state, buf_rd(&body), comment != NULL ? comment : "", &answer);
    if (err == 0)
        err = buf_cstr(&answer) != NULL ? channel_status(c, "KEY", buf_cstr(&answer))
                                        : buf_err(&answer);
    gpgrt_free(comment);
    buf_free(&body);
    buf_free(&answer);
    return err;
}

static gpg_error_t cmd_load(assuan_context_t ctx, char *line)
{
    struct channel *c = assuan_get_pointer(ctx);
    struct driver_io io = channel_io(c);
    struct buf pin = BUF_INIT_SECURE;
    char *key_id = NULL, *use = NULL;
    struct driver_op op;
    gpg_error_t err;

    if (c->s->d->load == NULL)
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    err = parse_op(c, line, &io, &op, &key_id, &use);
    if (err == 0)
        err = channel_inquire(c, "GIVENPIN", MAX_PIN, true, &pin);
    if (err == 0)
        err = c->s->d->load(c->s->state, &op, buf_rd(&pin));
    if (err == 0)
        err = channel_shown(c, &op);
    gpgrt_free(key_id);
    gpgrt_free(use);
    buf_free(&pin);
    return note(c, err);
}

static gpg_error_t cmd_delkey(assuan_context_t ctx, char *line)
{
    struct channel *c = assuan_get_pointer(ctx);
    char *key_id = NULL;
    gpg_error_t err;

    if (c->s->d->delete_key == NULL)
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    err = field_get(line, "key", &key_id);
    if (err == 0)
        err = key_id != NULL ? c->s->d->delete_key(c->s->state, key_id)
                             : gpg_error(GPG_ERR_MISSING_VALUE);
    gpgrt_free(key_id);
    return err;
}

static gpg_error_t cmd_delall(assuan_context_t ctx, char *line)
{
    struct channel *c = assuan_get_pointer(ctx);

    (void)line;
    if (c->s->d->delete_all == NULL)
        return gpg_error(GPG_ERR_NOT_SUPPORTED);
    c->s->d->delete_all(c->s->state);
    return 0;
}

static const struct driver_verb *find_verb(const struct driver *d, const char *name)
{
    const struct driver_verb *const tables[] = {d->verbs, d->more_verbs};

    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (const struct driver_verb *v = tables[i]; v != NULL && v->name != NULL; v++)
            if (strcmp(v->name, name) == 0)
                return v;
    return NULL;
}

/* A verb of this kind's own. */
static gpg_error_t cmd_other(assuan_context_t ctx, char *line)
{
    struct channel *c = assuan_get_pointer(ctx);
    const char *name = assuan_get_command_name(ctx);
    const struct driver_verb *v = find_verb(c->s->d, name);
    void *state = c->s->state;
    struct driver_io io = channel_io(c);
    struct buf result = BUF_INIT_SECURE;
    char *key_id = NULL, *use = NULL;
    struct driver_op op;
    gpg_error_t err;

    if (v == NULL)
        return gpg_error(GPG_ERR_ASS_UNKNOWN_CMD);
    err = parse_op(c, line, &io, &op, &key_id, &use);
    if (err == 0 && c->s->d->part != NULL)
        err = c->s->d->part(c->s->state, v, &state);
    if (err == 0)
        err = v->run(state, &op, &result);
    if (err == 0)
        err = buf_err(&result);
    if (err == 0)
        err = channel_shown(c, &op);
    if (err == 0 && result.len > 0) {
        assuan_begin_confidential(ctx);
        err = assuan_send_data(ctx, result.data, result.len);
        if (err == 0)
            err = assuan_send_data(ctx, NULL, 0);
        assuan_end_confidential(ctx);
    }
    gpgrt_free(key_id);
    gpgrt_free(use);
    buf_free(&result);
    return note(c, err);
}

static const struct {
    const char *name;
    assuan_handler_t handler;
} verbs[] = {
    {TOKEN_VERB_SIGN, cmd_sign},       {TOKEN_VERB_LEARN, cmd_learn},
    {TOKEN_VERB_DECRYPT, cmd_decrypt}, {TOKEN_VERB_VERIFY, cmd_verify},
    {TOKEN_VERB_FORGET, cmd_forget},   {TOKEN_VERB_ADDKEY, cmd_addkey},
    {TOKEN_VERB_DELKEY, cmd_delkey},   {TOKEN_VERB_DELALL, cmd_delall},
    {TOKEN_VERB_LOAD, cmd_load},
};

/* --- channels ------------------------------------------------------------------------------------------------------------ */

/* The token is gone for good: the answer says so, then the process ends, so that end-of-file says it too. */
static void after_command(assuan_context_t ctx, gpg_error_t err)
{
    struct channel *c = assuan_get_pointer(ctx);

    (void)err;
    if (c->s->failure != 0)
        exit(EXIT_FAILURE);
}

/* libassuan takes the whole of an inquiry's limit at once: what holds a PIN or a key is small and goes into secure memory,
 * what holds data to sign does not belong there. */
static void *hook_malloc(size_t n)
{
    return n <= SECURE_MAX ? gcry_malloc_secure(n) : gcry_malloc(n);
}

static gpg_error_t register_verbs(struct channel *c, const struct driver_verb *v)
{
    gpg_error_t err = 0;

    for (; v != NULL && v->name != NULL && err == 0; v++)
        err = assuan_register_command(c->ctx, v->name, cmd_other, NULL);
    return err;
}

static gpg_error_t open_channel(struct channel *c, int fd)
{
    static struct assuan_malloc_hooks secure = {
        .malloc = hook_malloc, .realloc = gcry_realloc, .free = gcry_free};
    gpg_error_t err = assuan_new_ext(&c->ctx, GPG_ERR_SOURCE_DEFAULT, &secure, NULL, NULL);

    if (err != 0)
        return err;
    assuan_set_pointer(c->ctx, c);
    c->held = gcry_calloc_secure(1, sizeof *c->held);
    if (c->held == NULL)
        return gpg_error_from_syserror();
    held_lines_install(c->ctx);
    err = assuan_init_socket_server(c->ctx, (assuan_fd_t)fd, ASSUAN_SOCKET_SERVER_ACCEPTED);
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0] && err == 0; i++)
        err = assuan_register_command(c->ctx, verbs[i].name, verbs[i].handler, NULL);
    if (err == 0)
        err = register_verbs(c, c->s->d->verbs);
    if (err == 0)
        err = register_verbs(c, c->s->d->more_verbs);
    if (err == 0)
        err = assuan_register_post_cmd_notify(c->ctx, after_command);
    return err;
}

static void *channel_thread(void *arg)
{
    struct channel *c = arg;
    gpg_error_t err = assuan_accept(c->ctx);

    if (err == 0)
        err = assuan_process(c->ctx);
    if (err != 0 && gpg_err_code(err) != GPG_ERR_EOF)
        gpgrt_log_debug("channel %u: %s\n", c->index, gpg_strerror(err));
    assuan_release(c->ctx);
    gcry_free(c->held);
    gpgrt_free(c->args);
    /* A lost token ends the process at once: no other channel has anything to wait for. */
    if (--c->s->open_channels == 0 || c->s->failure != 0) {
        if (c->s->d->close_at_end)
            c->s->d->close(c->s->state);
        exit(c->s->failure != 0 ? EXIT_FAILURE : EXIT_SUCCESS);
    }
    return NULL;
}

static bool read_cancel(int fd, uint8_t octets[TOKEN_CANCEL_OCTETS])
{
    for (size_t got = 0; got < TOKEN_CANCEL_OCTETS;) {
        ssize_t n = read(fd, octets + got, TOKEN_CANCEL_OCTETS - got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return true;
}

static void *cancel_thread(void *arg)
{
    struct server *s = arg;
    int fd = TOKEN_FIRST_FD + (int)s->nchannels;
    uint8_t octets[TOKEN_CANCEL_OCTETS];

    while (read_cancel(fd, octets)) {
        struct rd r = rd_of(octets + 1, sizeof octets - 1);
        uint32_t job;

        if (octets[0] < s->nchannels && rd_u32(&r, &job) == 0)
            s->canceled[octets[0]] = job;
    }
    return NULL;
}

gpg_error_t token_server_run(const struct driver *d, const char *arg, unsigned nchannels)
{
    static struct server s;
    struct channel *channels;
    pthread_t canceler;
    gpg_error_t err;
    int rc;

    if (nchannels < 1 || nchannels > MAX_CHANNELS || (nchannels > 1 && !d->many_channels))
        return gpg_error(GPG_ERR_INV_VALUE);
    s.d = d;
    s.nchannels = nchannels;
    s.open_channels = nchannels;
    channels = gpgrt_calloc(nchannels, sizeof *channels);
    if (channels == NULL)
        return gpg_error_from_syserror();
    err = d->open(arg, &s.state);
    if (err != 0)
        goto out;
    for (unsigned i = 0; i < nchannels && err == 0; i++) {
        channels[i] = (struct channel){.s = &s, .index = i};
        err = open_channel(&channels[i], TOKEN_FIRST_FD + (int)i);
    }
    rc = err == 0 ? pthread_create(&canceler, NULL, cancel_thread, &s) : 0;
    for (unsigned i = 1; i < nchannels && err == 0 && rc == 0; i++)
        rc = pthread_create(&channels[i].thread, NULL, channel_thread, &channels[i]);
    if (rc != 0)
        err = gpg_error_from_errno(rc);
    if (err == 0) {
        channel_thread(&channels[0]);
        /* The others go on; the last one to end ends the process. */
        for (;;)
            pause();
    }
    d->close(s.state);
out:
    gpgrt_free(channels);
    return err;
}
