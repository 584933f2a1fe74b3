/* The control socket's conversation (proto/ctl_protocol.h): Assuan by libassuan. */
#include "agent/audit.h"
#include "agent/broker.h"
#include "agent/certificates.h"
#include "agent/ctl_explain.h"
#include "agent/ctl_fido.h"
#include "agent/ctl_json.h"
#include "agent/ctl_object.h"
#include "agent/ctl_token.h"
#include "agent/grants.h"
#include "agent/lock.h"
#include "agent/policy_watch.h"
#include "agent/server.h"
#include "agent/wallets.h"
#include "proto/ctl_protocol.h"
#include "proto/token_protocol.h"

#include <assuan.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct session {
    struct agent *a;
    struct origin origin;
    struct activity *activity;
};

static struct session *session_of(assuan_context_t ctx)
{
    return assuan_get_pointer(ctx);
}

/* --- answers --------------------------------------------------------------------------------------------------------------- */

static gpg_error_t send_json(assuan_context_t ctx, json_t *j)
{
    char *text = json_dumps(j, JSON_INDENT(2));
    gpg_error_t err =
        text != NULL ? assuan_send_data(ctx, text, strlen(text)) : gpg_error(GPG_ERR_ENOMEM);

    free(text);
    json_decref(j);
    return err;
}

/* How much of TEXT, in whole characters, fits a status line once it is escaped. */
static size_t fitting(const char *text)
{
    size_t room = 900, n = 0, whole = 0; /* of the 1000 that an Assuan line holds */

    for (; text[n] != '\0'; n++) {
        unsigned char c = (unsigned char)text[n];
        size_t cost = c > ' ' && c < 0x7f && c != '%' ? 1 : 3;

        if ((c & 0xc0) != 0x80)
            whole = n;
        if (cost > room)
            return whole;
        room -= cost;
    }
    return n;
}

/* A failure in words, before the code. Steals TEXT (may be NULL). */
static gpg_error_t failed(assuan_context_t ctx, gpg_error_t err, char *text)
{
    struct buf line = BUF_INIT;

    if (text != NULL) {
        text[fitting(text)] = '\0';
        field_put(&line, "text", text);
        if (buf_cstr(&line) != NULL)
            (void)assuan_write_status(ctx, "ERROR_TEXT", buf_cstr(&line));
    }
    buf_free(&line);
    gpgrt_free(text);
    return err;
}

static gpg_error_t failed_because(assuan_context_t ctx, gpg_error_t err, const char *text)
{
    return failed(ctx, err, gpgrt_strdup(text));
}

/* --- verbs ------------------------------------------------------------------------------------------------------------------ */

static gpg_error_t cmd_status(assuan_context_t ctx, char *line)
{
    long all = 0;
    gpg_error_t err = field_get_int(line, "all", 0, &all);

    return err == 0 ? send_json(ctx, ctl_status_json(session_of(ctx)->a, all != 0)) : err;
}

static gpg_error_t cmd_keys(assuan_context_t ctx, char *line)
{
    (void)line;
    return send_json(ctx, ctl_keys_json(session_of(ctx)->a));
}

static gpg_error_t cmd_identities(assuan_context_t ctx, char *line)
{
    struct agent *a = session_of(ctx)->a;
    long reload = 0;
    gpg_error_t err = field_get_int(line, "reload", 0, &reload);

    if (err == 0 && reload != 0)
        err = wallets_reload(a->wallets);
    return err == 0 ? send_json(ctx, wallets_json(a->wallets)) : err;
}

static gpg_error_t cmd_lock(assuan_context_t ctx, char *line)
{
    (void)line;
    lock_now(session_of(ctx)->a, LOCK_COMMAND, NULL);
    return 0;
}

static gpg_error_t cmd_unlock(assuan_context_t ctx, char *line)
{
    struct session *s = session_of(ctx);
    char *text = NULL;
    gpg_error_t err;

    (void)line;
    err = broker_unlock(s->a, &s->origin, &text);
    return err != 0 ? failed(ctx, err, text) : 0;
}

static gpg_error_t cmd_reload(assuan_context_t ctx, char *line)
{
    struct session *s = session_of(ctx);
    char *problem = NULL;
    gpg_error_t err;

    (void)line;
    audit_reopen(s->a->audit);
    certificates_reload(s->a->certificates);
    err = policy_reload_for(s->a->policy, s->origin.who, s->origin.fd, &problem);
    return err != 0 ? failed(ctx, err, problem) : 0;
}

static gpg_error_t show_policy(assuan_context_t ctx)
{
    struct session *s = session_of(ctx);
    struct policy_set *p = policy_current(s->a->policy);
    char *text = NULL;
    size_t len = 0;
    FILE *f;
    gpg_error_t err;

    if (p == NULL)
        return failed(ctx, gpg_error(GPG_ERR_NO_POLICY_MATCH), policy_problem(s->a->policy));
    f = open_memstream(&text, &len);
    if (f == NULL) {
        err = gpg_error_from_syserror();
    } else {
        policy_print(p, f);
        fclose(f);
        err = assuan_send_data(ctx, text, len);
        free(text);
    }
    policy_unref(p);
    return err;
}

static gpg_error_t explain_policy(assuan_context_t ctx, const char *args)
{
    struct session *s = session_of(ctx);
    struct buf out = BUF_INIT;
    gpg_error_t err = ctl_explain(s->a, args, &out);

    if (err == 0)
        err = assuan_send_data(ctx, out.data, out.len);
    buf_free(&out);
    switch (gpg_err_code(err)) {
    case GPG_ERR_NO_DATA:
        return failed_because(ctx, err, "nothing was asked of this agent yet");
    case GPG_ERR_NO_PUBKEY:
        return failed_because(ctx, err, "no such key: latchkey keys lists those that are there");
    case GPG_ERR_AMBIGUOUS_NAME:
        return failed_because(ctx, err,
                              "several keys have that name: latchkey keys --fingerprint tells "
                              "names that only one has");
    case GPG_ERR_NO_POLICY_MATCH:
        return failed(ctx, err, policy_problem(s->a->policy));
    default:
        return err;
    }
}

static gpg_error_t cmd_policy(assuan_context_t ctx, char *line)
{
    size_t n = strcspn(line, " ");

    if (n == 4 && strncmp(line, "SHOW", n) == 0)
        return show_policy(ctx);
    if (n == 7 && strncmp(line, "EXPLAIN", n) == 0)
        return explain_policy(ctx, line + n);
    return gpg_error(GPG_ERR_ASS_PARAMETER);
}

/* The end of SIGN and CERTIFICATE: the packet, or why there is none. */
static gpg_error_t answer_result(assuan_context_t ctx, gpg_error_t err, struct openpgp_result *r)
{
    char *text = r->error_text;

    if (err == 0)
        err = assuan_send_data(ctx, r->packet.data, r->packet.len);
    buf_free(&r->packet);
    if (err != 0)
        return failed(ctx, err, text);
    gpgrt_free(text);
    return 0;
}

static gpg_error_t cmd_sign(assuan_context_t ctx, char *line)
{
    struct session *s = session_of(ctx);
    struct openpgp_result r = {0};
    struct buf status = BUF_INIT;
    struct buf object = BUF_INIT;
    char *key = NULL, *hex = NULL;
    long text = 0;
    gpg_error_t err;

    if ((err = field_get(line, "key", &key)) != 0 ||
        (err = field_get_int(line, "text", 0, &text)) != 0)
        goto out;
    err = ctl_object_read(ctx, s->a, s->origin.fd, s->activity, &object);
    if (gpg_err_code(err) == GPG_ERR_ASS_TOO_MUCH_DATA)
        r.error_text = gpgrt_strdup("more than 64 MiB to sign: sign a hash of it with gpg");
    if (gpg_err_code(err) == GPG_ERR_LIMIT_REACHED)
        r.error_text =
            gpgrt_strdup("too much to sign at once: MaxMemory in latchkey.conf is reached");
    if (err != 0)
        goto out;
    err = broker_sign_openpgp(s->a, &s->origin, key, buf_rd(&object), text != 0, &r);
    if (err != 0)
        goto out;
    hex = hex_encode(r.fpr, sizeof r.fpr);
    field_put(&status, "fpr", hex != NULL ? hex : "");
    field_put_int(&status, "pubkey-algo", r.pubkey_algo);
    field_put_int(&status, "hash-algo", r.hash_algo);
    field_put_int(&status, "created", (long)r.created);
    err = buf_cstr(&status) != NULL ? assuan_write_status(ctx, "SIGNED", buf_cstr(&status))
                                    : gpg_error(GPG_ERR_ENOMEM);
out:
    ctl_object_clear(s->a, s->activity, &object);
    gpgrt_free(key);
    gpgrt_free(hex);
    buf_free(&status);
    return answer_result(ctx, err, &r);
}

static gpg_error_t cmd_certificate(assuan_context_t ctx, char *line)
{
    struct session *s = session_of(ctx);
    struct openpgp_result r = {0};
    char *key = NULL, *uid = NULL;
    gpg_error_t err;

    if ((err = field_get(line, "key", &key)) != 0 || (err = field_get(line, "uid", &uid)) != 0)
        goto out;
    err = uid != NULL ? broker_openpgp_certificate(s->a, &s->origin, key, uid, &r)
                      : gpg_error(GPG_ERR_MISSING_VALUE);
out:
    gpgrt_free(key);
    gpgrt_free(uid);
    return answer_result(ctx, err, &r);
}

static gpg_error_t cmd_token(assuan_context_t ctx, char *line)
{
    struct session *s = session_of(ctx);
    char *copy = gpgrt_strdup(line),
         *text = NULL; /* what the token asks the client needs the line's place */
    gpg_error_t err =
        copy != NULL ? ctl_token(ctx, s->a, &s->origin, copy, &text) : gpg_error_from_syserror();

    gpgrt_free(copy);
    return err != 0 ? failed(ctx, err, text) : 0;
}

static gpg_error_t cmd_fido(assuan_context_t ctx, char *line)
{
    struct session *s = session_of(ctx);
    char *text = NULL;
    json_t *j = NULL;
    gpg_error_t err = ctl_fido(s->a, &s->origin, line, &j, &text);

    if (err != 0)
        return failed(ctx, err, text);
    return j != NULL ? send_json(ctx, j) : 0;
}

static gpg_error_t cmd_getinfo(assuan_context_t ctx, char *line)
{
    char text[32];

    if (strcmp(line, "pid") == 0)
        snprintf(text, sizeof text, "%ld", (long)getpid());
    else if (strcmp(line, "version") == 0)
        snprintf(text, sizeof text, "%s", LATCHKEY_VERSION);
    else
        return gpg_error(GPG_ERR_ASS_PARAMETER);
    return assuan_send_data(ctx, text, strlen(text));
}

/* The client says where its dialogs go; it knows its terminal better than /proc does. */
static gpg_error_t on_option(assuan_context_t ctx, const char *name, const char *value)
{
    struct requester *r = session_of(ctx)->origin.who;
    const struct {
        const char *name;
        char **to;
    } options[] = {
        {"ttyname", &r->tty},
        {"ttytype", &r->term},
        {"display", &r->display},
        {"wayland-display", &r->wayland_display},
        {"xauthority", &r->xauthority},
        {"dbus", &r->dbus},
        {"lc-ctype", &r->lc_ctype},
        {"lc-messages", &r->lc_messages},
        {"pinentry-user-data", &r->pinentry_user_data},
    };

    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        char *copy;

        if (strcmp(options[i].name, name) != 0)
            continue;
        copy = value[0] != '\0' ? gpgrt_strdup(value) : NULL;
        if (copy == NULL && value[0] != '\0')
            return gpg_error_from_syserror();
        gpgrt_free(*options[i].to);
        *options[i].to = copy;
        return 0;
    }
    return gpg_error(GPG_ERR_UNKNOWN_OPTION);
}

static const struct {
    const char *name;
    assuan_handler_t handler;
} verbs[] = {
    {"STATUS", cmd_status},
    {"KEYS", cmd_keys},
    {"LOCK", cmd_lock},
    {"UNLOCK", cmd_unlock},
    {"RELOAD", cmd_reload},
    {"POLICY", cmd_policy},
    {"GETINFO", cmd_getinfo},
    {"SIGN", cmd_sign},
    {"CERTIFICATE", cmd_certificate},
    {"TOKEN", cmd_token},
    {"IDENTITIES", cmd_identities},
    {"FIDO", cmd_fido},
};

static gpg_error_t before_command(assuan_context_t ctx, const char *name)
{
    (void)name;
    return activity_begin(session_of(ctx)->activity) ? 0 : gpg_error(GPG_ERR_CANCELED);
}

static void after_command(assuan_context_t ctx, gpg_error_t err)
{
    (void)err;
    activity_end(session_of(ctx)->activity);
}

void ctl_session_serve(struct agent *a, int fd, struct activity *act)
{
    static atomic_uint_fast64_t connections = UINT64_C(1) << 62; /* apart from the ssh sessions' */
    struct session s = {.a = a, .origin = {.id = ++connections, .fd = fd}, .activity = act};
    assuan_context_t ctx = NULL;
    int own = dup(fd); /* libassuan closes its descriptor, the server closes its own */
    gpg_error_t err;

    err = own < 0 ? gpg_error_from_syserror() : requester_new(fd, &s.origin.who);
    if (err == 0)
        err = assuan_new(&ctx);
    if (err != 0)
        goto out;
    assuan_set_pointer(ctx, &s);
    ctl_set_timeout(fd, SO_SNDTIMEO, a->settings->message_timeout);
    err = assuan_init_socket_server(ctx, own, ASSUAN_SOCKET_SERVER_ACCEPTED);
    if (err == 0)
        own = -1;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0] && err == 0; i++)
        err = assuan_register_command(ctx, verbs[i].name, verbs[i].handler, NULL);
    if (err == 0)
        err = assuan_register_option_handler(ctx, on_option);
    if (err == 0)
        err = assuan_register_pre_cmd_notify(ctx, before_command);
    if (err == 0)
        err = assuan_register_post_cmd_notify(ctx, after_command);
    if (err == 0)
        err = assuan_accept(ctx);
    if (err == 0)
        err = assuan_process(ctx);
    if (err != 0 && gpg_err_code(err) != GPG_ERR_EOF)
        gpgrt_log_debug("control connection: %s\n", gpg_strerror(err));
out:
    if (ctx != NULL)
        assuan_release(ctx);
    if (own >= 0)
        close(own);
    grants_drop_origin(a->grants, s.origin.id);
    requester_free(s.origin.who);
}
