/* One command as the application sees it, whatever way it came. */
#ifndef LATCHKEY_TESTS_CARD_COMMAND_H
#define LATCHKEY_TESTS_CARD_COMMAND_H

#include "tests/card/emu.h"

enum {
    OK = 0x9000,
    NO_PIN = 0x6982,
    BLOCKED = 0x6983,
    COND = 0x6985,
    BAD = 0x6a80,
    NOT_FOUND = 0x6a82,
    P1P2 = 0x6b00,
    NO_REF = 0x6a88,
    NO_INS = 0x6d00,
    NO_CLA = 0x6e00,
    LENGTH = 0x6700
};

enum { RANDOM_MAX = 32, CERT_MAX = 2048, SPECIAL_MAX = 255 };
enum {
    DO_LOGIN,
    DO_NAME,
    DO_LANG,
    DO_SEX,
    DO_URL,
    DO_KDF,
    DO_PRIVATE1,
    DO_PRIVATE2,
    DO_PRIVATE3,
    DO_PRIVATE4
};

struct cmd {
    uint8_t cla, ins, p1, p2;
    struct rd data;
    bool has_le;
    size_t le;
};

/* Each answers with a status word. */
unsigned emu_get_data(struct emu *e, const struct cmd *c, struct buf *out);
unsigned emu_put_data(struct emu *e, const struct cmd *c);
unsigned emu_select_data(struct emu *e, const struct cmd *c);
void emu_put_aid(const struct emu *e, struct buf *b);
unsigned emu_verify(struct emu *e, const struct cmd *c);
unsigned emu_change_reference(struct emu *e, const struct cmd *c);
unsigned emu_reset_retry(struct emu *e, const struct cmd *c);

#endif
