/* A whole conversation of gpg's about cards, with fakes for the cards, the broker and the key store. Whatever comes, what goes back are lines
 * of Assuan, each command gets one answer at most, no command but SELECT and GET DATA reaches a card unasked, and a card is reset only
 * with a dialog. */
#include "tests/fuzz/converse.h"
#include "tests/fuzz/fuzz_util.h"
#include "tests/unit/fakes_cards.c"

#include <assuan.h>

static void check_line(struct rd line)
{
    static const char *const starts[] = {"OK", "ERR ", "D ", "S ", "# ", "INQUIRE "};

    REQUIRE(line.n <= ASSUAN_LINELENGTH);
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        if (line.n >= strlen(starts[i]) && memcmp(line.p, starts[i], strlen(starts[i])) == 0)
            return;
    abort();
}

static size_t count_lines(struct rd r)
{
    size_t n = 1;

    for (; r.n > 0; r = rd_of(r.p + 1, r.n - 1))
        n += *r.p == '\n';
    return n;
}

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
    struct rd in;
    size_t answers = 0;

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
    for (in = buf_rd(&got); in.n > 0;) {
        const uint8_t *end = memchr(in.p, '\n', in.n);
        struct rd line = rd_of(in.p, end != NULL ? (size_t)(end - in.p) : in.n);

        check_line(line);
        answers += line.p[0] == 'O' || line.p[0] == 'E';
        if (end == NULL)
            break;
        in = rd_of(end + 1, in.n - line.n - 1);
    }
    REQUIRE(answers >= 1 && answers <= 1 + count_lines(rd_of(data, size)));
    buf_free(&got);
    buf_free(&said);
    return 0;
}
