/* The ssh-agent conversation of one connection (RFC 9987, OpenSSH's PROTOCOL.agent). */
#include "agent/binds.h"
#include "agent/broker.h"
#include "agent/gpg_agent.h"
#include "agent/grants.h"
#include "agent/hotplug.h"
#include "agent/lock.h"
#include "agent/server.h"
#include "agent/ssh_wire.h"

#include <stdatomic.h>
#include <string.h>

/* How long the first list of a fresh agent waits for readers that were there at start-up. */
#define SETTLE_MS 1500

struct session {
    struct agent *a;
    struct origin origin;
    struct ssh_wire wire;
    struct buf reply;
    bool bind_failed; /* and the log was told */
};

/* --- handlers ---------------------------------------------------------------------------------------------------------- */

/* Each answers by appending one frame to s->reply, or fails, which is answered with FAILURE. */
typedef gpg_error_t handler(struct session *s, struct ssh_agent_msg *m);

static gpg_error_t done(struct session *s, gpg_error_t err)
{
    if (err == 0)
        ssh_agent_put_simple(&s->reply, SSH_AGENT_SUCCESS);
    return err;
}

/* Reading /proc costs more than a list: the facts are gathered when first wanted. */
static void need_requester(struct session *s)
{
    if (s->origin.who == NULL && requester_new(s->origin.fd, &s->origin.who) != 0)
        s->origin.who = NULL;
}

/* What a list of all of them takes at most. */
static size_t list_size(const struct keyring_snapshot *snap)
{
    size_t n = 16;

    for (size_t i = 0; i < snap->n && n < SSH_AGENT_MAX_MESSAGE; i++)
        n += 8 + snap->ids[i]->key->blob_len + strlen(snap->ids[i]->comment);
    return n < SSH_AGENT_MAX_MESSAGE ? n : SSH_AGENT_MAX_MESSAGE;
}

static gpg_error_t on_list(struct session *s, struct ssh_agent_msg *m)
{
    const struct keyring_snapshot *snap;
    const struct identity **visible;
    struct ssh_agent_list list;
    size_t n = 0;

    (void)m;
    if (broker_list_needs_requester(s->a))
        need_requester(s);
    hotplug_settle(s->a->hotplug, SETTLE_MS);
    gpg_look_at_disk(s->a);
    snap = keyring_get(s->a->keyring);
    if (snap == NULL)
        return gpg_error(GPG_ERR_ENOMEM);
    if (!wire_hold(&s->wire, list_size(snap))) {
        keyring_put(snap);
        return gpg_error(GPG_ERR_LIMIT_REACHED);
    }
    visible = gpgrt_calloc(snap->n + 1, sizeof *visible);
    if (visible != NULL)
        broker_list_ssh(s->a, &s->origin, snap, visible, &n);
    ssh_agent_list_begin(&list, &s->reply);
    for (size_t i = 0; i < n; i++)
        ssh_agent_list_add(&list, rd_of(visible[i]->key->blob, visible[i]->key->blob_len),
                           visible[i]->comment);
    ssh_agent_list_end(&list);
    if (list.full)
        limits_reached(s->a->limits, LIMIT_LIST);
    gpgrt_free(visible);
    keyring_put(snap);
    return 0;
}

static gpg_error_t on_sign(struct session *s, struct ssh_agent_msg *m)
{
    struct buf sig = BUF_INIT;
    gpg_error_t err;

    need_requester(s);
    err = broker_sign_ssh(s->a, &s->origin, m->u.sign.key_blob, m->u.sign.data, m->u.sign.flags,
                          &sig);
    if (err == 0)
        err = buf_err(&sig);
    if (err == 0)
        ssh_agent_put_sign_response(&s->reply, buf_rd(&sig));
    buf_free(&sig);
    return err;
}

/* What changes the agent is not for whoever sits at the other end of a forwarded channel. */
static gpg_error_t local_only(struct session *s)
{
    need_requester(s);
    return binds_forwarded(&s->origin) ? gpg_error(GPG_ERR_FORBIDDEN) : 0;
}

static gpg_error_t on_add(struct session *s, struct ssh_agent_msg *m)
{
    gpg_error_t err = local_only(s);

    return done(s, err != 0 ? err : broker_add_ssh(s->a, &s->origin, m));
}

static gpg_error_t on_remove(struct session *s, struct ssh_agent_msg *m)
{
    gpg_error_t err = local_only(s);

    return done(s, err != 0 ? err : broker_remove_ssh(s->a, &s->origin, m->u.remove.key_blob));
}

static gpg_error_t on_remove_all(struct session *s, struct ssh_agent_msg *m)
{
    gpg_error_t err = local_only(s);

    (void)m;
    return done(s, err != 0 ? err : broker_remove_all_ssh(s->a, &s->origin));
}

static gpg_error_t on_lock(struct session *s, struct ssh_agent_msg *m)
{
    gpg_error_t err = local_only(s);

    return done(s, err != 0 ? err : lock_passphrase(s->a, s->origin.fd, m->u.lock.passphrase));
}

static gpg_error_t on_unlock(struct session *s, struct ssh_agent_msg *m)
{
    gpg_error_t err = local_only(s);

    return done(s, err != 0 ? err : unlock_passphrase(s->a, s->origin.fd, m->u.lock.passphrase));
}

static gpg_error_t on_add_provider(struct session *s, struct ssh_agent_msg *m)
{
    need_requester(s);
    return done(s, broker_add_provider(s->a, &s->origin, m->u.smartcard.id, m->u.smartcard.pin,
                                       &m->u.smartcard.constraints));
}

static gpg_error_t on_remove_provider(struct session *s, struct ssh_agent_msg *m)
{
    gpg_error_t err = local_only(s);

    return done(s, err != 0 ? err : broker_remove_provider(s->a, &s->origin, m->u.smartcard.id));
}

/* Known but failed is 28 (RFC 9987); a name that we do not know is plain FAILURE. */
static gpg_error_t on_extension(struct session *s, struct ssh_agent_msg *m)
{
    static const char *const names[] = {"query", "session-bind@openssh.com", NULL};
    bool locked = lock_is_passphrase_locked(s->a->lock);

    if (rd_is(m->u.ext.name, "session-bind@openssh.com")) {
        gpg_error_t err = binds_add(&s->origin, m->u.ext.body);

        /* Recorded while locked too: a channel opened meanwhile must not pass for a local one later. */
        if (err != 0 && !s->bind_failed) {
            gpgrt_log_info("session-bind refused: %s\n", gpg_strerror(err));
            s->bind_failed = true;
        }
        ssh_agent_put_simple(&s->reply, err == 0 ? SSH_AGENT_SUCCESS : SSH_AGENT_EXTENSION_FAILURE);
        return 0;
    }
    if (rd_is(m->u.ext.name, "query") && m->u.ext.body.n == 0 && !locked) {
        ssh_agent_put_query(&s->reply, names, false);
        return 0;
    }
    return gpg_error(GPG_ERR_UNKNOWN_COMMAND);
}

static const struct {
    uint8_t type;
    bool when_locked; /* by ssh-add -x */
    handler *handle;
} handlers[] = {
    {SSH_AGENTC_REQUEST_IDENTITIES, true,
     on_list}, /* an empty list when locked: the broker sees to that */
    {SSH_AGENTC_SIGN_REQUEST, false, on_sign},
    {SSH_AGENTC_ADD_IDENTITY, false, on_add},
    {SSH_AGENTC_ADD_ID_CONSTRAINED, false, on_add},
    {SSH_AGENTC_REMOVE_IDENTITY, false, on_remove},
    {SSH_AGENTC_REMOVE_ALL_IDENTITIES, false, on_remove_all},
    {SSH_AGENTC_LOCK, true, on_lock}, /* locked already: fails there */
    {SSH_AGENTC_UNLOCK, true, on_unlock},
    {SSH_AGENTC_ADD_SMARTCARD_KEY, false, on_add_provider},
    {SSH_AGENTC_ADD_SMARTCARD_KEY_CONSTRAINED, false, on_add_provider},
    {SSH_AGENTC_REMOVE_SMARTCARD_KEY, false, on_remove_provider},
    {SSH_AGENTC_EXTENSION, true, on_extension},
};

static gpg_error_t dispatch(struct session *s, struct rd message)
{
    struct ssh_agent_msg m = {0};
    gpg_error_t err;

    /* ssh-add -D sends this after 19, for keys of a protocol that is gone: all of them are removed. */
    if (message.n == 1 && message.p[0] == SSH_AGENTC_REMOVE_ALL_RSA_IDENTITIES)
        return lock_is_passphrase_locked(s->a->lock) ? gpg_error(GPG_ERR_LOCKED)
                                                     : on_remove_all(s, NULL);
    err = ssh_agent_parse(message, &m);
    if (err == 0)
        err = gpg_error(GPG_ERR_UNKNOWN_COMMAND);
    else
        goto out;
    for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
        if (handlers[i].type != m.type)
            continue;
        if (!handlers[i].when_locked && lock_is_passphrase_locked(s->a->lock))
            err = gpg_error(GPG_ERR_LOCKED);
        else
            err = handlers[i].handle(s, &m);
        break;
    }
out:
    ssh_agent_msg_free(&m);
    return err;
}

void ssh_session_serve(struct agent *a, int fd, struct activity *act)
{
    static atomic_uint_fast64_t connections;
    struct session s = {.a = a, .origin = {.id = ++connections, .fd = fd}};
    struct buf msg = BUF_INIT;
    bool goes_on = true;

    s.wire = (struct ssh_wire){
        .fd = fd, .limits = a->limits, .act = act, .timeout_s = a->settings->message_timeout};
    while (goes_on && wire_read(&s.wire, &msg) && activity_begin(act)) {
        gpg_error_t err;

        buf_reset(&s.reply);
        err = dispatch(&s, buf_rd(&msg));
        if (err != 0 || buf_err(&s.reply) != 0) {
            buf_free(&s.reply);
            ssh_agent_put_simple(&s.reply, SSH_AGENT_FAILURE);
        }
        activity_end(act);
        if (msg.secure)
            buf_free(&msg);
        goes_on = wire_write(&s.wire, buf_rd(&s.reply));
        wire_release(&s.wire, &msg, &s.reply);
    }
    grants_drop_origin(a->grants, s.origin.id);
    binds_clear(&s.origin);
    requester_free(s.origin.who);
    buf_free(&s.reply);
    buf_free(&msg);
    wire_release(&s.wire, &msg, &s.reply);
    explicit_bzero(s.wire.in, sizeof s.wire.in);
}
