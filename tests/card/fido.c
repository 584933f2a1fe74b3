#include "tests/card/fido.h"

#include "tests/fido/apdu.h"

static struct device device = {.tries = 8, .touch_ms = 30000};
static struct applet applet;

void fido_install(struct emu *e)
{
    e->fido = true;
    pin_init(&device);
}

bool fido_card_apdu(struct emu *e, struct rd cmd, struct buf *resp)
{
    if (!e->fido || !applet_command(&device, &applet, cmd, resp))
        return false;
    if (e->selected || e->piv_selected)
        emu_deselect(e);
    return true;
}

void fido_card_reset(struct emu *e)
{
    if (e->fido)
        applet_reset(&applet);
}

bool fido_card_control(struct emu *e, const char *line, struct buf *out)
{
    if (!e->fido || !fido_control(&device, &applet, line, out))
        return false;
    if (out->len > 0 && out->data[out->len - 1] == '\n')
        out->len--; /* who sends it ends the line */
    return true;
}
