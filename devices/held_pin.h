/* A PIN that the person typed, and how long it may serve. */
#ifndef LATCHKEY_DEVICES_HELD_PIN_H
#define LATCHKEY_DEVICES_HELD_PIN_H

#include "proto/buf.h"

struct held_pin {
    struct buf pin;   /* secure */
    int64_t typed_ms; /* when it was typed and right */
    int64_t used_ms;  /* when it last served */
    bool good;
    bool unanswered; /* it was sent, and the answer got lost: it may have cost a try */
};

/* CLOCK_MONOTONIC. */
int64_t card_now_ms(void);
/* Wipes it. */
void held_pin_forget(struct held_pin *h);
/* PIN (secure; taken over and emptied) takes its place, as not yet proven. */
void held_pin_take(struct held_pin *h, struct buf *pin);
/* The card took it just now. */
void held_pin_note_good(struct held_pin *h);
/* May it serve a request for PIN_AGE (seconds; -1 any, 0 typed for this)? */
bool held_pin_serves(const struct held_pin *h, long pin_age);

#endif
