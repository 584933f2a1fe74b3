/* A card in a PC/SC reader: shared access, short transactions, resets by others noticed. */
#ifndef LATCHKEY_DEVICES_PCSC_H
#define LATCHKEY_DEVICES_PCSC_H

#include "devices/apdu.h"

struct pcsc_card;
extern const struct card_transport pcsc_transport;

/* Connects to the card in READER, shared; tries for a moment, since right after a plug a reader may not answer yet.
 * GPG_ERR_CARD_NOT_PRESENT, GPG_ERR_ENODEV (no such reader, no pcscd), GPG_ERR_EBUSY (another program holds it alone). */
gpg_error_t pcsc_open(const char *reader, struct pcsc_card **out);
void pcsc_close(struct pcsc_card *p);
bool pcsc_is_t0(const struct pcsc_card *p);
/* Can the reader, or the card in it, take a PIN from the person (FEATURE_VERIFY_PIN_DIRECT)? */
bool pcsc_asks_pin(const struct pcsc_card *p);
/* A view, valid as long as P; empty if it could not be had. */
struct rd pcsc_atr(const struct pcsc_card *p);
/* A contactless card's ATR is made up by its reader (PC/SC part 3). */
bool pcsc_is_contactless(const struct pcsc_card *p);
/* USB bus and device address of the reader (SCARD_ATTR_CHANNEL_ID), -1: not told. */
void pcsc_usb_address(const struct pcsc_card *p, int *bus, int *dev);

/* Is this ATR, in this reader, a contactless card's? */
bool pcsc_atr_contactless(const char *reader, struct rd atr);
/* Human reader names aside: PC/SC's answers as our errors. */
gpg_error_t pcsc_error(long rc);
/* CHANNEL_ID 0x0020bbdd: USB, bus bb, device dd. */
void pcsc_channel_address(uint32_t channel, int *bus, int *dev);

#endif
