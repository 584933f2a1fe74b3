#include "devices/shared_card.h"

#define INS_SELECT 0xa4
#define P1_BY_AID  0x04

static gpg_error_t begin(void *handle, enum card_change *change)
{
    struct card_link *l = handle;
    struct shared_card *s = l->shared;
    enum card_change others = CARD_AS_LEFT;
    gpg_error_t err = s->transport->begin(s->handle, &others);

    if (others == CARD_WAS_RESET) {
        s->changes++;
        s->resets++;
    }
    *change = l->resets != s->resets     ? CARD_WAS_RESET
              : l->changes != s->changes ? CARD_DESELECTED
                                         : CARD_AS_LEFT;
    l->changes = s->changes;
    l->resets = s->resets;
    return err;
}

/* Where there is no such application, what was selected before stays so (GlobalPlatform Card Specification 6.4.2.1). */
static bool is_selected(struct rd response)
{
    return response.n >= 2 &&
           (response.p[response.n - 2] == 0x90 || (response.p[response.n - 2] & 0xfc) == 0x60);
}

static gpg_error_t transmit(void *handle, struct rd command, struct buf *response)
{
    struct card_link *l = handle;
    size_t before = response->len;
    struct rd answer, earlier;
    gpg_error_t err = l->shared->transport->transmit(l->shared->handle, command, response);

    answer = buf_rd(response);
    (void)rd_bytes(&answer, before, &earlier);
    if (command.n >= 4 && command.p[1] == INS_SELECT && command.p[2] == P1_BY_AID &&
        (err != 0 || is_selected(answer)))
        l->changes = ++l->shared->changes;
    return err;
}

static void end(void *handle, bool reset)
{
    struct card_link *l = handle;

    l->shared->transport->end(l->shared->handle, reset);
    if (reset)
        l->changes = ++l->shared->changes;
}

static gpg_error_t verify(void *handle, uint8_t ref, struct buf *response)
{
    struct card_link *l = handle;

    return l->shared->transport->verify(l->shared->handle, ref, response);
}

const struct card_transport card_link_transport = {
    .begin = begin, .transmit = transmit, .end = end, .verify = verify};
