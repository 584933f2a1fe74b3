#include "proto/ssh_agent.h"
#include "proto/key_internal.h"
#include "proto/ssh_agent_internal.h"

#include <string.h>

/* --- requests
 * ---------------------------------------------------------------------------------------------- */

static gpg_error_t parse_empty(struct rd *r, struct ssh_agent_msg *m)
{
    (void)m;
    return rd_end(r);
}

static gpg_error_t parse_sign(struct rd *r, struct ssh_agent_msg *m)
{
    gpg_error_t err = rd_string(r, &m->u.sign.key_blob);

    if (err == 0)
        err = rd_string(r, &m->u.sign.data);
    if (err == 0)
        err = rd_u32(r, &m->u.sign.flags);
    return err;
}

static gpg_error_t parse_remove(struct rd *r, struct ssh_agent_msg *m)
{
    return rd_string(r, &m->u.remove.key_blob);
}

static gpg_error_t parse_lock(struct rd *r, struct ssh_agent_msg *m)
{
    return rd_string(r, &m->u.lock.passphrase);
}

static gpg_error_t parse_extension(struct rd *r, struct ssh_agent_msg *m)
{
    gpg_error_t err = rd_string(r, &m->u.ext.name);

    return err != 0 ? err : rd_bytes(r, r->n, &m->u.ext.body);
}

static gpg_error_t parse_smartcard(struct rd *r, struct ssh_agent_msg *m)
{
    gpg_error_t err = rd_cstring(r, &m->u.smartcard.id);

    if (err == 0)
        err = rd_string(r, &m->u.smartcard.pin);
    if (err == 0 && m->type != SSH_AGENTC_REMOVE_SMARTCARD_KEY)
        err = constraints_read(r, m->type, NULL, &m->u.smartcard.constraints);
    return err;
}

/* --- added keys
 * -------------------------------------------------------------------------------------------- */

/* What follows the type name of an added key (PROTOCOL.agent, PROTOCOL.certkeys, PROTOCOL.u2f). n
 * e: RSA numbers; D: the four of DSA; c: curve name; q: point; a: application; C: certificate; 1: an octet; s: a string
 * that is none of our business, the secret numbers above all. */
static const struct {
    const char *type, *fields;
} added[] = {
    {"ssh-ed25519", "qs"},
    {"ssh-rsa", "nessss"},
    {"ssh-dss", "Ds"},
    {"ecdsa-sha2-nistp256", "cqs"},
    {"ecdsa-sha2-nistp384", "cqs"},
    {"ecdsa-sha2-nistp521", "cqs"},
    {"sk-ssh-ed25519@openssh.com", "qa1ss"},
    {"sk-ecdsa-sha2-nistp256@openssh.com", "cqa1ss"},
    {"ssh-ed25519-cert-v01@openssh.com", "Cqs"},
    {"ssh-rsa-cert-v01@openssh.com", "Cssss"},
    {"ssh-dss-cert-v01@openssh.com", "Cs"},
    {"ecdsa-sha2-nistp256-cert-v01@openssh.com", "Cs"},
    {"ecdsa-sha2-nistp384-cert-v01@openssh.com", "Cs"},
    {"ecdsa-sha2-nistp521-cert-v01@openssh.com", "Cs"},
    {"sk-ssh-ed25519-cert-v01@openssh.com", "Cqa1ss"},
    {"sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", "Ca1ss"},
};

static const char *added_fields(struct rd type)
{
    for (size_t i = 0; i < sizeof added / sizeof added[0]; i++)
        if (rd_is(type, added[i].type))
            return added[i].fields;
    return NULL;
}

struct added_key {
    struct key_numbers num;
    struct rd curve, cert;
};

static gpg_error_t walk_fields(struct rd *r, const char *fields, struct added_key *a)
{
    gpg_error_t err = 0;

    for (; err == 0 && *fields != 0; fields++) {
        struct rd skipped;
        uint8_t octet;

        switch (*fields) {
        case 'n':
            err = rd_mpint(r, &a->num.n);
            break;
        case 'e':
            err = rd_mpint(r, &a->num.e);
            break;
        case 'D':
            err = dsa_read(r, a->num.dsa);
            break;
        case 'c':
            err = rd_string(r, &a->curve);
            break;
        case 'q':
            err = rd_string(r, &a->num.q);
            break;
        case 'a':
            err = rd_string(r, &a->num.application);
            break;
        case 'C':
            err = rd_string(r, &a->cert);
            break;
        case '1':
            err = rd_u8(r, &octet);
            break;
        default:
            err = rd_string(r, &skipped);
            break;
        }
    }
    return err;
}

/* The blob of the plain key that the fields describe, for the one parser that checks them. */
static gpg_error_t key_from_fields(const struct ssh_type *type, const struct added_key *a,
                                   struct key **out)
{
    struct buf b = BUF_INIT;
    gpg_error_t err;

    buf_put_cstring(&b, type->name);
    if (type->algo == KEY_RSA) {
        buf_put_mpint(&b, a->num.e.p, a->num.e.n);
        buf_put_mpint(&b, a->num.n.p, a->num.n.n);
    } else if (type->algo == KEY_DSA) {
        dsa_put(&b, a->num.dsa);
    } else {
        if (type->curve != NULL)
            buf_put_string(&b, a->curve.p, a->curve.n);
        buf_put_string(&b, a->num.q.p, a->num.q.n);
    }
    if (type->algo == KEY_SK_ECDSA || type->algo == KEY_SK_ED25519)
        buf_put_string(&b, a->num.application.p, a->num.application.n);
    err = buf_err(&b);
    if (err == 0)
        err = key_from_plain_blob(buf_rd(&b), out);
    buf_free(&b);
    return err;
}

/* The certificate must be of the type named and hold the public half that stands beside it, where
 * one does. */
static gpg_error_t key_from_cert(const struct ssh_type *type, const struct added_key *a,
                                 struct key **out)
{
    struct key_numbers num;
    struct rd plain, name;
    struct key *key;
    gpg_error_t err = key_from_blob(a->cert, &key);

    if (err != 0)
        return err;
    plain = rd_of(key->plain, key->plain_len);
    err = rd_string(&plain, &name);
    if (err == 0)
        err = strcmp(key->type, type->name) == 0 ? 0 : gpg_error(GPG_ERR_BAD_CERT);
    if (err == 0)
        err = key_numbers_read(ssh_type_by_name(name), &plain, &num);
    if (err == 0 && ((a->num.q.p != NULL && !rd_eq(a->num.q, num.q)) ||
                     (a->num.application.p != NULL && !rd_eq(a->num.application, num.application))))
        err = gpg_error(GPG_ERR_BAD_CERT);
    if (err != 0)
        key_unref(key);
    else
        *out = key;
    return err;
}

static gpg_error_t parse_add(struct rd *r, struct ssh_agent_msg *m)
{
    struct rd start = *r, name;
    struct added_key a = {0};
    const struct ssh_type *type;
    const char *fields;
    gpg_error_t err = rd_string(r, &name);

    if (err != 0)
        return err;
    type = ssh_type_by_name(name);
    fields = added_fields(name);
    if (type == NULL || fields == NULL)
        return gpg_error(GPG_ERR_PUBKEY_ALGO);
    err = walk_fields(r, fields, &a);
    if (err != 0)
        return err;
    m->u.add.private_part = rd_of(start.p, start.n - r->n);
    err = type->plain != NULL ? key_from_cert(type, &a, &m->u.add.key)
                              : key_from_fields(type, &a, &m->u.add.key);
    if (err == 0)
        err = rd_cstring(r, &m->u.add.comment);
    if (err == 0)
        err = constraints_read(r, m->type, m->u.add.key, &m->u.add.constraints);
    return err;
}

/* --- messages
 * ---------------------------------------------------------------------------------------------- */

static const struct {
    uint8_t type;
    gpg_error_t (*parse)(struct rd *r, struct ssh_agent_msg *m);
} requests[] = {
    {SSH_AGENTC_REMOVE_ALL_RSA_IDENTITIES, parse_empty},
    {SSH_AGENTC_REQUEST_IDENTITIES, parse_empty},
    {SSH_AGENTC_SIGN_REQUEST, parse_sign},
    {SSH_AGENTC_ADD_IDENTITY, parse_add},
    {SSH_AGENTC_REMOVE_IDENTITY, parse_remove},
    {SSH_AGENTC_REMOVE_ALL_IDENTITIES, parse_empty},
    {SSH_AGENTC_ADD_SMARTCARD_KEY, parse_smartcard},
    {SSH_AGENTC_REMOVE_SMARTCARD_KEY, parse_smartcard},
    {SSH_AGENTC_LOCK, parse_lock},
    {SSH_AGENTC_UNLOCK, parse_lock},
    {SSH_AGENTC_ADD_ID_CONSTRAINED, parse_add},
    {SSH_AGENTC_ADD_SMARTCARD_KEY_CONSTRAINED, parse_smartcard},
    {SSH_AGENTC_EXTENSION, parse_extension},
};

gpg_error_t ssh_agent_parse(struct rd message, struct ssh_agent_msg *out)
{
    gpg_error_t err;
    uint8_t type;

    *out = (struct ssh_agent_msg){0};
    if (message.n > SSH_AGENT_MAX_MESSAGE)
        return gpg_error(GPG_ERR_TOO_LARGE);
    err = rd_u8(&message, &type);
    if (err != 0)
        return err;
    err = gpg_error(GPG_ERR_NOT_SUPPORTED);
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        if (requests[i].type != type)
            continue;
        out->type = type;
        err = requests[i].parse(&message, out);
        if (err == 0)
            err = rd_end(&message);
        break;
    }
    if (err != 0)
        ssh_agent_msg_free(out);
    return err;
}

void ssh_agent_msg_free(struct ssh_agent_msg *m)
{
    switch (m->type) {
    case SSH_AGENTC_ADD_IDENTITY:
    case SSH_AGENTC_ADD_ID_CONSTRAINED:
        key_unref(m->u.add.key);
        gpgrt_free(m->u.add.comment);
        constraints_free(&m->u.add.constraints);
        break;
    case SSH_AGENTC_ADD_SMARTCARD_KEY:
    case SSH_AGENTC_REMOVE_SMARTCARD_KEY:
    case SSH_AGENTC_ADD_SMARTCARD_KEY_CONSTRAINED:
        gpgrt_free(m->u.smartcard.id);
        constraints_free(&m->u.smartcard.constraints);
        break;
    default:
        break;
    }
    *m = (struct ssh_agent_msg){0};
}

/* --- answers
 * -----------------------------------------------------------------------------------------------
 */

static size_t frame_begin(struct buf *b, uint8_t type)
{
    size_t start = b->len;

    buf_put_u32(b, 0);
    buf_put_u8(b, type);
    return start;
}

static void frame_end(struct buf *b, size_t start)
{
    buf_set_u32(b, start, (uint32_t)(b->len - start - 4));
}

void ssh_agent_put_simple(struct buf *b, uint8_t type)
{
    frame_end(b, frame_begin(b, type));
}

void ssh_agent_put_sign_response(struct buf *b, struct rd signature)
{
    size_t start = frame_begin(b, SSH_AGENT_SIGN_RESPONSE);

    buf_put_string(b, signature.p, signature.n);
    frame_end(b, start);
}

void ssh_agent_list_begin(struct ssh_agent_list *l, struct buf *b)
{
    l->b = b;
    l->n = 0;
    l->full = false;
    l->start = frame_begin(b, SSH_AGENT_IDENTITIES_ANSWER);
    buf_put_u32(b, 0);
}

void ssh_agent_list_add(struct ssh_agent_list *l, struct rd key_blob, const char *comment)
{
    size_t used = l->b->len - l->start - 4, more = 8 + key_blob.n + strlen(comment);

    if (buf_err(l->b) != 0)
        return;
    /* A client that finds more drops the connection, and the person is left without any key. */
    if (l->n == SSH_AGENT_MAX_IDENTITIES || more > SSH_AGENT_MAX_MESSAGE - used) {
        l->full = true;
        return;
    }
    buf_put_string(l->b, key_blob.p, key_blob.n);
    buf_put_cstring(l->b, comment);
    l->n++;
}

void ssh_agent_list_end(struct ssh_agent_list *l)
{
    buf_set_u32(l->b, l->start + 5, l->n);
    frame_end(l->b, l->start);
}

void ssh_agent_put_query(struct buf *b, const char *const *names, bool old)
{
    size_t start = frame_begin(b, old ? SSH_AGENT_SUCCESS : SSH_AGENT_EXTENSION_RESPONSE);

    if (!old)
        buf_put_cstring(b, "query");
    for (; *names != NULL; names++)
        buf_put_cstring(b, *names);
    frame_end(b, start);
}
