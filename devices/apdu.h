/* ISO 7816-4 command and response APDUs over any transport: short and extended length, command chaining, GET RESPONSE,
 * status words. */
#ifndef LATCHKEY_DEVICES_APDU_H
#define LATCHKEY_DEVICES_APDU_H

#include "proto/buf.h"

/* What became of a card between two transactions of ours. */
enum card_change {
    CARD_AS_LEFT,
    CARD_DESELECTED, /* another application of ours was at it: nothing is selected or verified any more */
    CARD_WAS_RESET, /* others reset it or took it exclusively: likewise, and it may be another card */
};

/* How a card is reached. The fake that tests put in is one more of these. */
struct card_transport {
    /* Begins a transaction. *CHANGE: since our last one. GPG_ERR_CARD_REMOVED, GPG_ERR_ENODEV (the service is gone). */
    gpg_error_t (*begin)(void *handle, enum card_change *change);
    /* One command APDU; appends the whole response (data, SW1, SW2). GPG_ERR_CARD_RESET: the card was reset under us;
     * GPG_ERR_EAGAIN: the exchange failed on the way and may be tried again (contactless). */
    gpg_error_t (*transmit)(void *handle, struct rd command, struct buf *response);
    /* Ends it; RESET: with a card reset. */
    void (*end)(void *handle, bool reset);
    /* Optional, where ASKS_PIN: VERIFY of REF by a PIN that the person gives to reader or card itself (PC/SC part 10, 2.5.2).
     * Takes as long as the person; appends the status word. */
    gpg_error_t (*verify)(void *handle, uint8_t ref, struct buf *response);
};

struct card {
    const struct card_transport *transport;
    void *handle;
    bool t0;       /* protocol T=0: no Le behind data */
    bool asks_pin; /* reader or card can take a PIN from the person */
    bool chaining; /* what the card announces in its historical bytes */
    bool extended;
    size_t max_cmd; /* extended: largest command APDU, 0 not told */
};

struct apdu {
    uint8_t cla, ins, p1, p2;
    struct rd data;
    bool want_data; /* Le */
    uint8_t le;     /* its value with data of up to 255 octets, 0: whatever there is */
    size_t expect;  /* how long the answer will about be, 0 not known: beyond 256 octets an extended
                       Le saves GET RESPONSEs where the card announces it */
    bool secret;    /* data is a PIN: never shown in a log */
};

/* Sends A, gathers the whole answer (61xx, 6Cxx), gives data (appended to RESP, may be NULL) and *SW. The error is the
 * transport's; whatever the card says is in *SW. GPG_ERR_TOO_LARGE: the card cannot take so much data. */
gpg_error_t apdu_send(const struct card *c, const struct apdu *a, struct buf *resp, unsigned *sw);

/* Notes what the historical bytes HIST (of the ATR, or DO 5F52) announce: chaining, extended length
 * (ISO 7816-4 8.1.1, card capabilities). */
void apdu_note_capabilities(struct card *c, struct rd hist);
/* The historical bytes of an ATR (ISO 7816-3 8.2.4), empty if it is malformed. */
struct rd apdu_historical(struct rd atr);

/* The nearest error code for a status word other than 9000. */
gpg_error_t apdu_error(unsigned sw);
/* Did the exchange fail, whatever the card would have said? */
bool apdu_is_exchange(gpg_error_t err);

#endif
