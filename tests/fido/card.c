/* A card with the FIDO applet alone, in a reader of vpcd's. */
#include "tests/card/vpcd.h"
#include "tests/fido/apdu.h"

/* Contactless, as PC/SC part 3 makes it up. */
static const uint8_t atr[] = {0x3b, 0x80, 0x80, 0x01, 0x01};

bool card_serve(struct device *d, struct applet *a, int fd)
{
    struct buf msg = BUF_INIT, answer = BUF_INIT;
    bool ok = vpcd_receive(fd, &msg);

    if (!ok)
        goto out;
    if (msg.len == 1 && msg.data[0] == VPCD_ATR) {
        buf_put(&answer, atr, sizeof atr);
    } else if (msg.len == 1) {
        applet_reset(a);
    } else if (!applet_command(d, a, buf_rd(&msg), &answer)) {
        buf_put_u16(&answer, 0x6a82);
    }
    if (answer.len > 0)
        ok = vpcd_send(fd, &answer);
out:
    buf_free(&msg);
    buf_free(&answer);
    return ok;
}
