/* The FIDO applet of tests/fido as one more application of the card. */
#ifndef LATCHKEY_TESTS_CARD_FIDO_H
#define LATCHKEY_TESTS_CARD_FIDO_H

#include "tests/card/emu.h"

/* From now on it is there; being at the reader is its touch. */
void fido_install(struct emu *e);
/* True: CMD was for it, and RESP has the answer. The other applications are then not selected any more. */
bool fido_card_apdu(struct emu *e, struct rd cmd, struct buf *resp);
void fido_card_reset(struct emu *e);
/* A control line of testfido's. */
bool fido_card_control(struct emu *e, const char *line, struct buf *out);

#endif
