/* FIDO tokens behind PC/SC readers: NFC, implants, CCID (CTAP 2.1, 11.3; FIDO U2F NFC Protocol 1.2). */
#ifndef LATCHKEY_DEVICES_FIDO_PCSC_H
#define LATCHKEY_DEVICES_FIDO_PCSC_H

#include "devices/apdu.h"

#include <fido.h>

/* A place behind a reader is this and the reader's name. */
#define FIDO_PCSC_PREFIX "pcsc:"

struct fido_pcsc;
gpg_error_t fido_pcsc_new(struct fido_pcsc **out);
void fido_pcsc_free(struct fido_pcsc *p);
/* Calls PUT with the path of each reader that has a card which may be a FIDO token: those that were asked and are none are
 * left out for as long as the card stays, and so are those for which SKIP says that the USB device at BUS and DEV is served
 * otherwise. Nothing when there is no pcscd. */
gpg_error_t fido_pcsc_list(struct fido_pcsc *p, bool (*skip)(void *arg, int bus, int dev),
                           gpg_error_t (*put)(void *arg, const char *path), void *arg);
/* Opens the token at PATH on D, which is new: connects and selects. The card is ours alone until D is closed. FIDO_ERR_*;
 * FIDO_ERR_INVALID_ARGUMENT when it is no FIDO token. */
int fido_pcsc_open(struct fido_pcsc *p, fido_dev_t *d, const char *path);

/* What libfido2 is given in the place of CTAPHID, on any transport that carries APDUs. */
struct fido_apdu {
    void (*close)(struct fido_apdu *a);
    struct card card;
    struct buf
        info; /* the answer to getInfo (CTAP 2.1, 6.4), once known: a card's does not change while it stays */
    struct buf reply;
    uint8_t nonce[8];
    enum fido_applet { APPLET_UNKNOWN, APPLET_NONE, APPLET_U2F, APPLET_FIDO2 } applet;
    bool pending; /* the answer is to be asked for (NFCCTAP_GETRESPONSE) */
    bool cancel;  /* atomic */
    unsigned sw;
};
/* Selects the applet, unless that was done: CTAPHID's INIT does it, too. False: the exchange failed. */
bool fido_apdu_select(struct fido_apdu *a);
/* Opens D, which is new, on A: A belongs to it from now on, and A's close is called when D is closed, or this failed. FIDO_ERR_*. */
int fido_apdu_open(struct fido_apdu *a, fido_dev_t *d, const char *path);
int fido_apdu_tx(struct fido_apdu *a, uint8_t cmd, const unsigned char *buf, size_t len);
int fido_apdu_rx(struct fido_apdu *a, uint8_t cmd, unsigned char *buf, size_t len, int ms);
void fido_apdu_clear(struct fido_apdu *a);

/* USB bus and device of the hidraw node at PATH, by SYSFS ("/sys"); -1: not known. */
void fido_hid_address(const char *sysfs, const char *path, int *bus, int *dev);

#endif
