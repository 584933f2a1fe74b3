#include "agent/scd_factory.h"

#include <string.h>

/* What gpg sends: ISO 7816-4 commands, octet for octet. */
static const uint8_t select_openpgp[] = {0x00, 0xa4, 0x04, 0x00, 0x06, 0xd2,
                                         0x76, 0x00, 0x01, 0x24, 0x01};
static const uint8_t terminate_df[] = {0x00, 0xe6, 0x00, 0x00};
static const uint8_t activate_df[] = {0x00, 0x44, 0x00, 0x00};
#define DUMMY_PIN_LEN   32
#define DUMMY_PIN_OCTET 0x40

#define SW_OK      0x9000
#define SW_WRONG   0x6982
#define SW_BLOCKED 0x6983

static bool is(struct rd apdu, const uint8_t *command, size_t n)
{
    return rd_eq(apdu, rd_of(command, n));
}

/* VERIFY of a PIN that is none, for PW1 (0) or PW3 (1); -1: it is something else. */
static int which_dummy(struct rd apdu)
{
    if (apdu.n != 5 + DUMMY_PIN_LEN || apdu.p[0] != 0x00 || apdu.p[1] != 0x20 ||
        apdu.p[2] != 0x00 || apdu.p[4] != DUMMY_PIN_LEN)
        return -1;
    for (size_t i = 5; i < apdu.n; i++)
        if (apdu.p[i] != DUMMY_PIN_OCTET)
            return -1;
    return apdu.p[3] == 0x81 ? 0 : apdu.p[3] == 0x83 ? 1 : -1;
}

void scd_factory_begin(struct scd_factory *f, int pw1, int pw3)
{
    *f = (struct scd_factory){.state = FACTORY_BEGUN,
                              .tries = {pw1 >= 0 ? pw1 : 3, pw3 >= 0 ? pw3 : 3}};
}

void scd_factory_end(struct scd_factory *f)
{
    *f = (struct scd_factory){0};
}

void scd_factory_done(struct scd_factory *f)
{
    f->state = FACTORY_DONE;
}

enum scd_factory_verdict scd_factory_apdu(struct scd_factory *f, struct rd apdu, uint16_t *sw)
{
    int pin = which_dummy(apdu);

    *sw = SW_OK;
    if (f->state == FACTORY_BEGUN && is(apdu, select_openpgp, sizeof select_openpgp)) {
        f->state = FACTORY_SELECTED;
        return FACTORY_ANSWER;
    }
    if (f->state == FACTORY_SELECTED && pin >= 0) {
        if (f->tries[pin] > 0)
            f->tries[pin]--;
        *sw = f->tries[pin] > 0 ? SW_WRONG : SW_BLOCKED;
        return FACTORY_ANSWER;
    }
    if (f->state == FACTORY_SELECTED && f->tries[0] == 0 && f->tries[1] == 0 &&
        is(apdu, terminate_df, sizeof terminate_df))
        return FACTORY_RESET;
    if (f->state == FACTORY_DONE && is(apdu, activate_df, sizeof activate_df))
        return FACTORY_ANSWER;
    scd_factory_end(f);
    return FACTORY_NOT_PART;
}
