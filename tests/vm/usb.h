/* USB devices in software, for the bench: the kernel's vhci-hcd takes them for plugged into one of its ports
 * (Documentation/usb/usbip_protocol.rst, over a socket pair). A device is a list of functions, an interface each; a function has its
 * descriptors, endpoints and requests, and whatever stands behind it: a card emulator, a security key.
 *
 *   testusb --port N --id VVVV:PPPP [--ccid TCP-PORT] [--fido SOCKET] ...      (testusb --help lists them)
 *
 * The device is there as long as the process lives. */
#ifndef LATCHKEY_TESTS_VM_USB_H
#define LATCHKEY_TESTS_VM_USB_H

#include "proto/buf.h"

#include <poll.h>
#include <sys/queue.h>

enum { MAX_FUNCTIONS = 3, MAX_ENDPOINTS = 16, PACKET = 64 };
enum { USB_DIR_IN = 0x80 };

/* USB 2.0, 9.3 */
struct setup {
    uint8_t type, request;
    uint16_t value, index, length;
};

struct device;
struct function;

struct function_ops {
    /* Appends the interface descriptor, numbered F->interface, and all that belongs to it. */
    void (*describe)(const struct function *f, struct buf *b);
    /* A request to the interface, other than the standard ones; OUT data in DATA, the answer to IN. False: it stalls. */
    bool (*control)(struct function *f, const struct setup *s, struct rd data, struct buf *answer);
    /* The host wrote DATA to endpoint EP. */
    void (*out)(struct function *f, uint8_t ep, struct rd data);
    /* The host configured the device: a fresh start. */
    void (*configured)(struct function *f);
    /* What the loop waits for; *MS: at most that long, -1: for ever. */
    struct pollfd (*wants)(const struct function *f, int *ms);
    /* REVENTS have come, or none: time has passed. */
    void (*ready)(struct function *f, short revents);
    /* The device was away: looks anew for what is behind it. NULL: no need. False: it is gone. */
    bool (*back)(struct function *f);
};

struct function {
    const struct function_ops *ops;
    struct device *dev;
    uint8_t interface;
};

/* One transfer that the host waits for. */
struct urb {
    TAILQ_ENTRY(urb) link;
    uint32_t seqnum, length;
};
/* One that the device would send. */
struct packet {
    STAILQ_ENTRY(packet) link;
    struct buf data;
};

struct endpoint {
    TAILQ_HEAD(urbs, urb) waiting;
    STAILQ_HEAD(packets, packet) unsent;
};

struct device {
    uint16_t vendor, product;
    const char *manufacturer, *name, *serial;
    struct function *functions[MAX_FUNCTIONS];
    size_t nfunctions;
    uint8_t configuration;
    bool hung_up;                             /* an emulator did */
    int fd;                                   /* the kernel's */
    struct endpoint endpoints[MAX_ENDPOINTS]; /* IN */
};

/* --- usb_vhci.c */
/* Plugs D into PORT of the controller; false: it says why. */
bool vhci_attach(struct device *d, unsigned port);
void vhci_detach(unsigned port);
/* One message of the kernel's. False: the device is unplugged. */
bool vhci_serve(struct device *d);
/* One transfer's worth of data for the host, from endpoint EP. */
void usb_send(struct device *d, uint8_t ep, struct rd data);
/* What was to be sent and is not asked for any more. */
void usb_flush(struct device *d);

/* --- usb_control.c: USB 2.0, 9.4. False: it stalls. */
bool usb_control(struct device *d, const struct setup *s, struct rd data, struct buf *answer);
/* An endpoint descriptor: ATTRIBUTES 2 bulk, 3 interrupt, every INTERVAL ms. */
void usb_put_endpoint(struct buf *b, uint8_t address, uint8_t attributes, uint8_t interval);
void usb_put_interface(struct buf *b, uint8_t number, uint8_t endpoints, uint8_t class,
                       uint8_t subclass, uint8_t protocol);
/* 16 and 32 bits in USB's order. */
void put_le16(struct buf *b, uint16_t v);
void put_le32(struct buf *b, uint32_t v);

/* --- functions; NULL when what is behind them cannot be had */
/* usb_ccid.c: a reader with the card that joins at 127.0.0.1:PORT, as vpcd would have it. */
struct function *ccid_new(int port);
/* usb_hid.c: reports of 64 octets from and to EMULATOR, a Unix socket's path or "udp:PORT"; a security key's, or of usage page PAGE. */
struct function *hid_new(const char *emulator, uint16_t page);
/* The same octets by interrupt endpoints of a vendor's own class. */
struct function *vendor_new(const char *emulator);
/* HID without a bus: /dev/uhid. Returns when it is over. */
int uhid_run(struct device *d, const char *emulator, uint16_t page);

int64_t now_ms(void);

#endif
