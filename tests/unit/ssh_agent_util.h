/* Shared by the tests of proto/ssh_agent.h. */
#ifndef LATCHKEY_TESTS_SSH_AGENT_UTIL_H
#define LATCHKEY_TESTS_SSH_AGENT_UTIL_H

#include "proto/ssh_agent.h"
#include "tests/unit/proto_util.h"

static inline gpg_error_t parse(const struct buf *b, struct ssh_agent_msg *m)
{
    ck_ok(buf_err(b));
    return ssh_agent_parse(buf_rd(b), m);
}

static inline bool is_add(uint8_t type)
{
    return type == SSH_AGENTC_ADD_IDENTITY || type == SSH_AGENTC_ADD_ID_CONSTRAINED;
}

/* The N-th ADD of the capture with comment C. */
static inline void recorded_add(const char *comment, const char *type, int nth, struct buf *b,
                                struct ssh_agent_msg *m)
{
    FILE *f = open_capture();
    char tag[16];

    while (next_frame(f, tag, b)) {
        if (strchr(tag, '>') == NULL || !is_add(b->data[0]))
            continue;
        ck_ok(parse(b, m));
        if (strcmp(m->u.add.comment, comment) == 0 && strcmp(m->u.add.key->type, type) == 0 &&
            nth-- == 0) {
            fclose(f);
            return;
        }
        ssh_agent_msg_free(m);
    }
    ck_abort_msg("no such frame");
}

#endif
