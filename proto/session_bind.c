/* session-bind@openssh.com (PROTOCOL.agent 1). */
#include "proto/ssh_agent.h"

gpg_error_t session_bind_parse(struct rd ext_body, struct session_bind *out)
{
    struct rd blob, sid, sig;
    uint8_t forwarding;
    struct key *key = NULL;
    gpg_error_t err = rd_string(&ext_body, &blob);

    if (err == 0)
        err = rd_string(&ext_body, &sid);
    if (err == 0)
        err = rd_string(&ext_body, &sig);
    if (err == 0)
        err = rd_u8(&ext_body, &forwarding);
    if (err == 0)
        err = rd_end(&ext_body);
    if (err == 0 && (sid.n == 0 || sid.n > SSH_AGENT_MAX_SID))
        err = gpg_error(GPG_ERR_BAD_DATA);
    if (err == 0)
        err = key_from_blob(blob, &key);
    if (err == 0)
        err = ssh_sig_verify(key, sid, sig, false);
    if (err != 0) {
        key_unref(key);
        return err;
    }
    *out = (struct session_bind){.hostkey = key, .session_id = sid, .forwarding = forwarding != 0};
    return 0;
}

void session_bind_clear(struct session_bind *b)
{
    key_unref(b->hostkey);
    *b = (struct session_bind){0};
}
