/* A whole conversation of gpg's about cards, with fakes for the cards, the broker and the key store. Whatever comes, what goes back are lines
 * of Assuan, each command gets one answer at most, no command but SELECT and GET DATA reaches a card unasked, and a card is reset only
 * with a dialog. */
#include "tests/fuzz/converse.h"
#include "tests/fuzz/fuzz_util.h"
#include "tests/unit/fakes_cards.c"

#include <assuan.h>

/* Other commands are about other things, of which there are no fakes here: what is none of ours is one of SCD's. */
static void keep_to_cards(struct rd in, struct buf *out)
{
    static const char *const ours[] = {
        "SCD ", "LEARN", "READKEY --card ", "KEYTOCARD ", "RESET", "D ", "END", "CAN", "NOP",
        "BYE",  "scd ",  "OPTION putenv"};

    while (in.n > 0) {
        const uint8_t *end = memchr(in.p, '\n', in.n);
        size_t n = end != NULL ? (size_t)(end - in.p) + 1 : in.n, i = 0;

        while (i < sizeof ours / sizeof ours[0] &&
               (n < strlen(ours[i]) || memcmp(in.p, ours[i], strlen(ours[i])) != 0))
            i++;
        if (i == sizeof ours / sizeof ours[0])
            buf_put(out, "SCD ", 4);
        buf_put(out, in.p, n);
        in = rd_of(in.p + n, in.n - n);
    }
    REQUIRE(buf_err(out) == 0);
}

static void check_asked(void)
{
    const char *hex = strstr(cards.ask, "hex=");

    if (strncmp(cards.ask, TOKEN_VERB_APDU " ", strlen(TOKEN_VERB_APDU) + 1) == 0) {
        REQUIRE(hex != NULL);
        hex += 4;
        REQUIRE(*hex == ' ' || *hex == '\0' || strncmp(hex, "00A404", 6) == 0 ||
                strncmp(hex, "00CA", 4) == 0 || strncmp(hex, "00CB", 4) == 0 ||
                strncmp(hex, "00CC", 4) == 0);
    }
    REQUIRE(strcmp(cards.word, TOKEN_VERB_RESET) != 0 || cards.confirm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf got = BUF_INIT, said = BUF_INIT;

    fuzz_init();
    if (cards.nids == 0) {
        assuan_set_gpg_err_source(GPG_ERR_SOURCE_DEFAULT);
        cards_new();
        buf_put(&cards.export, "0123456789abcdef0123456789abcdef", 32);
    }
    cards.cards[0].there = true;
    cards.cards[1].there = size % 2 == 0;
    cards.stored_private = size % 3 == 0;
    cards.result_len = size % 40;
    cards.ask[0] = cards.word[0] = '\0';
    keep_to_cards(rd_of(data, size), &said);
    converse(&cards.agent, gpg_session_serve, buf_rd(&said), &got);
    check_asked();
    converse_check_assuan(buf_rd(&got), rd_of(data, size), "INQUIRE ");
    buf_free(&got);
    buf_free(&said);
    return 0;
}
