/* What ledger_link.c and its transports share. */
#ifndef LATCHKEY_DEVICES_LEDGER_LINK_INTERNAL_H
#define LATCHKEY_DEVICES_LEDGER_LINK_INTERNAL_H

#include "devices/ledger_frames.h"
#include "devices/ledger_link.h"

struct ledger_transport {
    const char *prefix; /* of an address */
    /* WHERE: the address without the prefix. */
    gpg_error_t (*open)(struct ledger_link *l, const char *where);
    void (*close)(struct ledger_link *l);
    gpg_error_t (*send)(struct ledger_link *l, struct rd apdu);
    /* Waits at most MS for something to come, and appends the answer once it is whole: *DONE. */
    gpg_error_t (*receive)(struct ledger_link *l, int ms, struct buf *answer, bool *done);
};
extern const struct ledger_transport ledger_over_hid, ledger_over_tcp, ledger_over_frames;

struct ledger_link {
    const struct ledger_transport *transport;
    char *where;
    bool open, owed;
    char *model;
    void *hid; /* hidapi's handle */
    char *
        port; /* the sysfs folder of the USB device: the same as long as it hangs on the same port */
    int fd;   /* sockets */
    struct buf in; /* octets of an answer that is not whole yet */
    struct ledger_frames frames;
};

#endif
