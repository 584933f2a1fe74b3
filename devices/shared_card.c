#include "devices/shared_card.h"

#define INS_SELECT 0xa4
#define P1_BY_AID  0x04

static gpg_error_t begin(void *handle, bool *interfered)
{
    struct card_link *l = handle;
    struct shared_card *s = l->shared;
    bool others = false;
    gpg_error_t err = s->transport->begin(s->handle, &others);

    s->changes += others;
    *interfered = l->seen != s->changes;
    l->seen = s->changes;
    return err;
}

static gpg_error_t transmit(void *handle, struct rd command, struct buf *response)
{
    struct card_link *l = handle;

    if (command.n >= 4 && command.p[1] == INS_SELECT && command.p[2] == P1_BY_AID)
        l->seen = ++l->shared->changes;
    return l->shared->transport->transmit(l->shared->handle, command, response);
}

static void end(void *handle, bool reset)
{
    struct card_link *l = handle;

    l->shared->transport->end(l->shared->handle, reset);
    if (reset)
        l->seen = ++l->shared->changes;
}

const struct card_transport card_link_transport = {
    .begin = begin, .transmit = transmit, .end = end};
