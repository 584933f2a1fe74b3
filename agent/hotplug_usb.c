/* Devices that leave, as the kernel itself tells it: faster than pcscd notices, and the only word
 * that tells an unplugged token from one that another program took over. */
#include "agent/hotplug_slots.h"

#include <libudev.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int usb_open(struct hotplug *h)
{
    h->udev = udev_new();
    if (h->udev == NULL)
        goto fail;
    /* "kernel": the kernel's events as they are, not after udevd's rules have run. */
    h->monitor = udev_monitor_new_from_netlink(h->udev, "kernel");
    if (h->monitor == NULL ||
        udev_monitor_filter_add_match_subsystem_devtype(h->monitor, "usb", "usb_device") < 0 ||
        udev_monitor_filter_add_match_subsystem_devtype(h->monitor, "hidraw", NULL) < 0 ||
        udev_monitor_enable_receiving(h->monitor) < 0)
        goto fail;
    return udev_monitor_get_fd(h->monitor);
fail:
    gpgrt_log_info("no device events from the kernel here: an unplugged token is noticed by its "
                   "reader only\n");
    usb_close(h);
    return -1;
}

static int number(struct udev_device *d, const char *property)
{
    const char *s = udev_device_get_property_value(d, property);
    char *end;
    long v = s != NULL ? strtol(s, &end, 10) : -1;

    return s == NULL || *end != '\0' || end == s || v < 0 || v > 65535 ? -1 : (int)v;
}

void usb_readable(struct hotplug *h)
{
    struct udev_device *d = udev_monitor_receive_device(h->monitor);
    const char *action;
    int bus, dev;

    if (d == NULL)
        return;
    action = udev_device_get_action(d);
    bus = number(d, "BUSNUM");
    dev = number(d, "DEVNUM");
    if (action != NULL && strcmp(action, "remove") == 0 && bus >= 0 && dev >= 0)
        slots_usb_removed(h, bus, dev);
    else if (action != NULL && strcmp(action, "add") == 0)
        wallets_device_in(h, d);
    udev_device_unref(d);
}

void usb_close(struct hotplug *h)
{
    if (h->monitor != NULL)
        udev_monitor_unref(h->monitor);
    if (h->udev != NULL)
        udev_unref(h->udev);
    h->monitor = NULL;
    h->udev = NULL;
}

bool usb_has(int bus, int dev)
{
    char path[64];

    snprintf(path, sizeof path, "/dev/bus/usb/%03d/%03d", bus, dev);
    return access(path, F_OK) == 0;
}
