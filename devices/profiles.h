/* What products do differently, as data. Recognised by the AID's manufacturer and the reader's name; features are never
 * gated on it, only quirks. */
#ifndef LATCHKEY_DEVICES_PROFILES_H
#define LATCHKEY_DEVICES_PROFILES_H

#include <stdbool.h>
#include <stdint.h>

struct profile {
    uint16_t manufacturer; /* 0 with reader only: any */
    const char *reader;    /* part of the reader's name, NULL: any */
    const char *kind;      /* policy-language.md's kind of token */
    const char *label;     /* for people */
    bool decimal_serial;   /* the AID's serial is BCD of the printed number */
    bool
        foreign_applets; /* may hold applets that we know nothing of: a PIN never goes out without a SELECT before it */
    bool select_keeps_pin;
    bool uif_unlisted; /* old firmware does not list UIF in 6E though it has it */
};

/* Never NULL: the last one is for any card. */
const struct profile *profile_find(uint16_t manufacturer, const char *reader);

#endif
