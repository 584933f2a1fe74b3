/* A card that is a list of exchanges. */
#ifndef LATCHKEY_TESTS_CARD_SCRIPT_H
#define LATCHKEY_TESTS_CARD_SCRIPT_H

#include "devices/apdu.h"

#include <check.h>
#include <string.h>

struct exchange {
    const char *command,
        *answer; /* hex; command NULL: any; answer "lost": none comes; both NULL: the end */
};
static const struct exchange *script;
static size_t at;
static unsigned resets;

static gpg_error_t script_begin(void *handle, enum card_change *change)
{
    (void)handle;
    *change = CARD_AS_LEFT;
    return 0;
}

static gpg_error_t script_transmit(void *handle, struct rd command, struct buf *response)
{
    char *hex = hex_encode(command.p, command.n);

    (void)handle;
    if (script[at].answer == NULL)
        ck_abort_msg("unexpected command %s", hex);
    if (script[at].command != NULL)
        ck_assert_str_eq(hex, script[at].command);
    gpgrt_free(hex);
    if (strcmp(script[at].answer, "lost") == 0) {
        at++;
        return gpg_error(GPG_ERR_EAGAIN);
    }
    return hex_decode(script[at++].answer, response);
}

static void script_end(void *handle, bool reset)
{
    (void)handle;
    resets += reset;
}

static const struct card_transport fake = {
    .begin = script_begin, .transmit = script_transmit, .end = script_end};

static void begin_script(const struct exchange *s)
{
    script = s;
    at = 0;
    resets = 0;
}

static void all_used(void)
{
    ck_assert_ptr_null(script[at].answer);
}

#endif
