/* One card with several applications: each has a link to it, and through that link sees what the others do to the card as it sees
 * what other programs do. So an application needs to know of no other one. */
#ifndef LATCHKEY_DEVICES_SHARED_CARD_H
#define LATCHKEY_DEVICES_SHARED_CARD_H

#include "devices/apdu.h"

struct shared_card {
    const struct card_transport *transport;
    void *handle;
    unsigned changes; /* of what is selected: SELECTs and resets, whoever's */
    unsigned resets;  /* of these: by others */
};

struct card_link {
    struct shared_card *shared;
    unsigned changes, resets; /* that it knows of */
};

/* Its handle is a struct card_link. */
extern const struct card_transport card_link_transport;

/* Where a card is. */
struct card_place {
    char *reader;
    bool contactless;
    int bus, dev;  /* of USB, -1: not known */
    struct rd atr; /* as long as the card is connected */
};

#endif
