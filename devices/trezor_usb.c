/* Trezors with a vendor-class interface (Trezor One since firmware 1.7, and all later models). ref: trezor-ledger 2.2 */
#include "devices/trezor_transport.h"

#include <libusb.h>
#include <stdlib.h>
#include <string.h>

#define VENDOR     0x1209
#define FIRMWARE   0x53c1
#define BOOTLOADER 0x53c0
#define INTERFACE  0
#define EP_OUT     0x01
#define EP_IN      0x81
#define WRITE_MS   3000

struct usb {
    struct trezor_transport t; /* first */
    libusb_context *ctx;
    libusb_device_handle *handle;
    bool claimed;
};

static gpg_error_t usb_error(int rc)
{
    gpgrt_log_info("usb: %s\n", libusb_strerror(rc));
    switch (rc) {
    case LIBUSB_ERROR_NO_DEVICE:
    case LIBUSB_ERROR_IO:
    case LIBUSB_ERROR_PIPE:
        return gpg_error(GPG_ERR_CARD_REMOVED);
    case LIBUSB_ERROR_BUSY:
        return gpg_error(GPG_ERR_EBUSY);
    case LIBUSB_ERROR_ACCESS:
        return gpg_error(GPG_ERR_EACCES);
    case LIBUSB_ERROR_NO_MEM:
        return gpg_error(GPG_ERR_ENOMEM);
    case LIBUSB_ERROR_TIMEOUT:
        return gpg_error(GPG_ERR_TIMEOUT);
    default:
        return gpg_error(GPG_ERR_EIO);
    }
}

static gpg_error_t usb_write(struct trezor_transport *t, const uint8_t packet[TREZOR_PACKET])
{
    struct usb *u = (struct usb *)t;
    uint8_t copy[TREZOR_PACKET];
    int sent = 0, rc;

    memcpy(copy, packet, sizeof copy);
    rc = libusb_interrupt_transfer(u->handle, EP_OUT, copy, sizeof copy, &sent, WRITE_MS);
    explicit_bzero(copy, sizeof copy);
    if (rc != 0)
        return usb_error(rc);
    return sent == TREZOR_PACKET ? 0 : gpg_error(GPG_ERR_EIO);
}

/* A transfer that timed out may have brought a packet all the same. */
static gpg_error_t usb_read(struct trezor_transport *t, uint8_t packet[TREZOR_PACKET], int ms)
{
    struct usb *u = (struct usb *)t;
    int got = 0;
    /* 0 would be for ever */
    int rc = libusb_interrupt_transfer(u->handle, EP_IN, packet, TREZOR_PACKET, &got,
                                       ms > 0 ? (unsigned)ms : 1u);

    if ((rc == 0 || rc == LIBUSB_ERROR_TIMEOUT) && got == TREZOR_PACKET)
        return 0;
    if (rc == LIBUSB_ERROR_TIMEOUT || rc == 0)
        return gpg_error(GPG_ERR_TIMEOUT);
    return usb_error(rc);
}

static bool usb_alive(struct trezor_transport *t)
{
    struct usb *u = (struct usb *)t;
    int config;

    return libusb_get_configuration(u->handle, &config) == 0;
}

static void usb_close(struct trezor_transport *t)
{
    struct usb *u = (struct usb *)t;

    if (u->claimed)
        (void)libusb_release_interface(u->handle, INTERFACE);
    if (u->handle != NULL)
        libusb_close(u->handle);
    if (u->ctx != NULL)
        libusb_exit(u->ctx);
    gpgrt_free(u);
}

static bool has_wire_interface(libusb_device *dev)
{
    struct libusb_config_descriptor *config = NULL;
    bool has = false;

    if (libusb_get_active_config_descriptor(dev, &config) != 0)
        return false;
    for (uint8_t i = 0; i < config->bNumInterfaces; i++)
        for (int a = 0; a < config->interface[i].num_altsetting; a++) {
            const struct libusb_interface_descriptor *d = &config->interface[i].altsetting[a];

            has |= d->bInterfaceNumber == INTERFACE && d->bAlternateSetting == 0 &&
                   d->bInterfaceClass == LIBUSB_CLASS_VENDOR_SPEC;
        }
    libusb_free_config_descriptor(config);
    return has;
}

static gpg_error_t open_device(struct usb *u, libusb_device *dev)
{
    struct libusb_device_descriptor d;
    int rc = libusb_get_device_descriptor(dev, &d);

    if (rc != 0)
        return usb_error(rc);
    if (d.idVendor != VENDOR || (d.idProduct != FIRMWARE && d.idProduct != BOOTLOADER) ||
        !has_wire_interface(dev))
        return gpg_error(GPG_ERR_ENODEV);
    rc = libusb_open(dev, &u->handle);
    if (rc == 0)
        rc = libusb_claim_interface(u->handle, INTERFACE);
    u->claimed = rc == 0;
    return rc == 0 ? 0 : usb_error(rc);
}

/* WHERE: "BUS:DEV". */
gpg_error_t trezor_usb_open(const char *where, struct trezor_transport **out)
{
    struct usb *u = gpgrt_calloc(1, sizeof *u);
    libusb_device **list = NULL;
    gpg_error_t err = gpg_error(GPG_ERR_ENODEV);
    unsigned long bus, dev;
    char *end;
    ssize_t n;
    int rc;

    if (u == NULL)
        return gpg_error_from_syserror();
    u->t = (struct trezor_transport){
        .write = usb_write, .read = usb_read, .alive = usb_alive, .close = usb_close};
    bus = strtoul(where, &end, 10);
    dev = *end == ':' ? strtoul(end + 1, &end, 10) : 0;
    if (*end != '\0' || dev == 0) {
        err = gpg_error(GPG_ERR_INV_ARG);
        goto out;
    }
    rc = libusb_init(&u->ctx);
    if (rc != 0) {
        u->ctx = NULL;
        err = usb_error(rc);
        goto out;
    }
    n = libusb_get_device_list(u->ctx, &list);
    for (ssize_t i = 0; i < n; i++)
        if (libusb_get_bus_number(list[i]) == bus && libusb_get_device_address(list[i]) == dev) {
            err = open_device(u, list[i]);
            break;
        }
    if (list != NULL)
        libusb_free_device_list(list, 1);
out:
    if (err != 0)
        usb_close(&u->t);
    else
        *out = &u->t;
    return err;
}
