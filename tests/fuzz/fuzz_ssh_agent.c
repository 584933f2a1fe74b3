/* A request from an ssh client (type and body). Extensions go on to session-bind. */
#include "proto/ssh_agent.h"
#include "tests/fuzz/fuzz_util.h"

static void check_added(const struct ssh_agent_msg *m, struct rd message)
{
    struct rd part = m->u.add.private_part;

    REQUIRE(m->u.add.key != NULL && m->u.add.comment != NULL);
    REQUIRE(part.p > message.p && part.p + part.n <= message.p + message.n);
    for (size_t i = 0; i < m->u.add.constraints.ndest; i++) {
        const struct dest_constraint *d = &m->u.add.constraints.dest[i];

        REQUIRE(d->to.hostname != NULL);
        REQUIRE(d->from.hostname != NULL || d->from.nkeys == 0);
    }
}

static void check_smartcard(const struct ssh_agent_msg *m)
{
    const struct key_constraints *c = &m->u.smartcard.constraints;

    REQUIRE(m->u.smartcard.id != NULL && c->sk_provider == NULL &&
            c->ncerts <= SSH_AGENT_MAX_CERTS);
    for (size_t i = 0; i < c->ncerts; i++)
        REQUIRE(c->certs[i]->cert != NULL);
    REQUIRE(m->type != SSH_AGENTC_REMOVE_SMARTCARD_KEY ||
            (c->ncerts == 0 && c->ndest == 0 && c->lifetime == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd message = rd_of(data, size);
    struct ssh_agent_msg m;
    struct session_bind bind;

    fuzz_init();
    if (ssh_agent_parse(message, &m) == 0) {
        if (m.type == SSH_AGENTC_ADD_IDENTITY || m.type == SSH_AGENTC_ADD_ID_CONSTRAINED)
            check_added(&m, message);
        if (m.type == SSH_AGENTC_ADD_SMARTCARD_KEY || m.type == SSH_AGENTC_REMOVE_SMARTCARD_KEY ||
            m.type == SSH_AGENTC_ADD_SMARTCARD_KEY_CONSTRAINED)
            check_smartcard(&m);
        if (m.type == SSH_AGENTC_EXTENSION && session_bind_parse(m.u.ext.body, &bind) == 0) {
            REQUIRE(bind.hostkey != NULL && bind.session_id.n <= SSH_AGENT_MAX_SID);
            session_bind_clear(&bind);
        }
    }
    ssh_agent_msg_free(&m);
    return 0;
}
