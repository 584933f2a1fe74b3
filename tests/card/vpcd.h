/* The card's side of vpcd's protocol (vsmartcard): a 16-bit length and as many octets, each way. */
#ifndef LATCHKEY_TESTS_CARD_VPCD_H
#define LATCHKEY_TESTS_CARD_VPCD_H

#include "proto/buf.h"

enum {
    VPCD_OFF = 0,
    VPCD_ON = 1,
    VPCD_RESET = 2,
    VPCD_ATR = 4
}; /* messages of one octet; others are commands */

/* Connects to the reader at PORT; -1: not now. */
int vpcd_dial(int port);
/* One message, into the empty MSG; false: the connection is over. */
bool vpcd_receive(int fd, struct buf *msg);
bool vpcd_send(int fd, const struct buf *msg);

#endif
