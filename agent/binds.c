#include "agent/binds.h"

#include <string.h>

static gpg_error_t check_against(const struct origin *o, const struct session_bind *b, bool *known)
{
    *known = false;
    for (size_t i = 0; i < o->nbinds; i++) {
        const struct bind *old = &o->binds[i];

        /* Bound for authentication: whoever comes later on this connection cannot be a hop further on. */
        if (!old->forwarding)
            return gpg_error(GPG_ERR_CONFLICT);
        if (!rd_eq(rd_of(old->sid, old->sid_len), b->session_id))
            continue;
        if (!rd_eq(rd_of(old->hostkey->blob, old->hostkey->blob_len),
                   rd_of(b->hostkey->blob, b->hostkey->blob_len)))
            return gpg_error(GPG_ERR_CONFLICT);
        *known = true;
        return 0;
    }
    return o->nbinds < SSH_AGENT_MAX_BINDS ? 0 : gpg_error(GPG_ERR_LIMIT_REACHED);
}

static gpg_error_t record(struct origin *o, struct session_bind *b)
{
    struct bind *more = gpgrt_realloc(o->binds, (o->nbinds + 1) * sizeof *more);
    uint8_t *sid;

    if (more == NULL)
        return gpg_error_from_syserror();
    o->binds = more;
    sid = gpgrt_malloc(b->session_id.n + 1);
    if (sid == NULL)
        return gpg_error_from_syserror();
    memcpy(sid, b->session_id.p, b->session_id.n);
    o->binds[o->nbinds++] = (struct bind){
        .hostkey = b->hostkey, .sid = sid, .sid_len = b->session_id.n, .forwarding = b->forwarding};
    b->hostkey = NULL;
    return 0;
}

gpg_error_t binds_add(struct origin *o, struct rd ext_body)
{
    struct session_bind b = {0};
    bool known = false;
    gpg_error_t err;

    o->bind_attempted = true;
    err = session_bind_parse(ext_body, &b);
    if (err == 0 && b.session_id.n > SSH_AGENT_MAX_SID)
        err = gpg_error(GPG_ERR_TOO_LARGE);
    if (err == 0)
        err = check_against(o, &b, &known);
    if (err == 0 && !known)
        err = record(o, &b);
    session_bind_clear(&b);
    return err;
}

void binds_clear(struct origin *o)
{
    for (size_t i = 0; i < o->nbinds; i++) {
        key_unref(o->binds[i].hostkey);
        gpgrt_free(o->binds[i].sid);
    }
    gpgrt_free(o->binds);
    o->binds = NULL;
    o->nbinds = 0;
}

bool binds_forwarded(const struct origin *o)
{
    for (size_t i = 0; i < o->nbinds; i++)
        if (o->binds[i].forwarding)
            return true;
    return o->extra_socket;
}
