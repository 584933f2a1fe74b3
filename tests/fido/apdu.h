/* The authenticator behind a card reader: its applet, and a card that has nothing else on a port of vpcd's. */
#ifndef LATCHKEY_TESTS_FIDO_APDU_H
#define LATCHKEY_TESTS_FIDO_APDU_H

#include "tests/fido/fido.h"

struct applet {
    bool selected;
    bool button;      /* a touch is wanted; else being in the field is one (CTAP 2.1, 11.3) */
    bool no_u2f;      /* it calls itself FIDO_2_0 */
    struct buf chain; /* of a command in parts */
    struct buf rest;  /* of an answer */
    struct buf wants; /* the message that waits for its touch */
    unsigned apdus, selects;
};

/* A command APDU; appends data and status word. False: it is not for this applet, which is not selected any more. */
bool applet_command(struct device *d, struct applet *a, struct rd apdu, struct buf *answer);
void applet_reset(struct applet *a);

/* --- control.c */
/* False: no such line. */
bool fido_control(struct device *d, const struct applet *a, const char *line, struct buf *out);

/* --- card.c */
/* One message of the reader's. False: the connection is over. */
bool card_serve(struct device *d, struct applet *a, int fd);

#endif
