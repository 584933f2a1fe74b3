/* What products do differently, as data. Recognised by the AID's manufacturer and the reader's name; features are never
 * gated on it, only quirks. */
#ifndef LATCHKEY_DEVICES_PROFILES_H
#define LATCHKEY_DEVICES_PROFILES_H

#include <stdbool.h>
#include <stdint.h>

enum profile_quirk {
    DECIMAL_SERIAL = 1, /* the AID's serial is BCD of the printed number */
    /* Holds, or may hold, applications besides OpenPGP, which never get to see our PIN. */
    OTHER_APPLETS = 2,
    SELECT_KEEPS_PIN = 4,
    UIF_UNLISTED = 8, /* old firmware does not list UIF in 6E though it has it */
    PIN_ON_DEVICE =
        16, /* has a screen: what PIN or confirmation it wants, it asks for itself, where the reader can say so */
};

struct profile {
    uint16_t manufacturer; /* 0 with reader only: any */
    const char *reader;    /* part of the reader's name, NULL: any */
    const char *kind;      /* policy-language.md's kind of token */
    const char *label;     /* for people */
    unsigned quirks;
};

static inline bool profile_has(const struct profile *p, enum profile_quirk q)
{
    return (p->quirks & q) != 0;
}

/* Never NULL: the last one is for any card. */
const struct profile *profile_find(uint16_t manufacturer, const char *reader);

#endif
