/* Devices that leave, and FIDO tokens that come, as the kernel itself tells it: faster than pcscd notices, and the only word
 * that tells an unplugged token from one that another program took over. */
#include "agent/hotplug_slots.h"

#include "agent/fido_node.h"

#include <fcntl.h>
#include <libudev.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MAX_DESCRIPTOR 4096 /* HID_MAX_DESCRIPTOR_SIZE */

static int number(struct udev_device *d, const char *property);

/* --- hidraw nodes ---------------------------------------------------------------------------------- */

static bool is_fido(struct udev_device *hidraw)
{
    struct udev_device *hid = udev_device_get_parent_with_subsystem_devtype(hidraw, "hid", NULL);
    const char *sys = hid != NULL ? udev_device_get_syspath(hid) : NULL;
    char *path = sys != NULL ? gpgrt_bsprintf("%s/report_descriptor", sys) : NULL;
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    uint8_t descriptor[MAX_DESCRIPTOR];
    ssize_t n = fd >= 0 ? read(fd, descriptor, sizeof descriptor) : -1;

    if (fd >= 0)
        close(fd);
    gpgrt_free(path);
    return n > 0 && fido_descriptor(rd_of(descriptor, (size_t)n));
}

static void add_hidraw(struct hotplug *h, struct udev_device *d)
{
    struct udev_device *usb = udev_device_get_parent_with_subsystem_devtype(d, "usb", "usb_device");
    const char *node = udev_device_get_devnode(d);

    if (node != NULL && is_fido(d))
        fido_node_added(h, node, usb != NULL ? number(usb, "BUSNUM") : -1,
                        usb != NULL ? number(usb, "DEVNUM") : -1);
}

/* Those that are there already. */
static void scan_hidraw(struct hotplug *h)
{
    struct udev_enumerate *e = udev_enumerate_new(h->udev);
    struct udev_list_entry *entry;

    if (e == NULL)
        return;
    if (udev_enumerate_add_match_subsystem(e, "hidraw") >= 0 &&
        udev_enumerate_scan_devices(e) >= 0) {
        udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(e))
        {
            struct udev_device *d =
                udev_device_new_from_syspath(h->udev, udev_list_entry_get_name(entry));

            if (d != NULL)
                add_hidraw(h, d);
            udev_device_unref(d);
        }
    }
    udev_enumerate_unref(e);
}

static void hidraw_event(struct hotplug *h, struct udev_device *d, const char *action)
{
    const char *node = udev_device_get_devnode(d);

    if (strcmp(action, "add") == 0) {
        add_hidraw(h, d);
        wallets_device_in(h, d);
    } else if (strcmp(action, "remove") == 0 && node != NULL)
        fido_node_removed(h, node);
}

/* --- the monitor ------------------------------------------------------------------------------------ */

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
    scan_hidraw(h); /* now that nothing is missed any more */
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
    const char *action, *subsystem;
    int bus, dev;

    if (d == NULL)
        return;
    action = udev_device_get_action(d);
    subsystem = udev_device_get_subsystem(d);
    if (action != NULL && subsystem != NULL && strcmp(subsystem, "hidraw") == 0) {
        hidraw_event(h, d, action);
        udev_device_unref(d);
        return;
    }
    bus = number(d, "BUSNUM");
    dev = number(d, "DEVNUM");
    if (action != NULL && strcmp(action, "remove") == 0 && bus >= 0 && dev >= 0) {
        fido_usb_removed(h, bus, dev);
        slots_usb_removed(h, bus, dev);
    } else if (action != NULL && strcmp(action, "add") == 0) {
        wallets_device_in(h, d);
    }
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

bool usb_taken(struct hotplug *h, int bus, int dev)
{
    /* Documentation/admin-guide/devices.txt: 128 numbers for each bus */
    dev_t node = makedev(189, (unsigned)((bus - 1) * 128 + dev - 1));
    struct udev_device *d = NULL;
    const char *value = NULL;

    if (h->udev != NULL && bus >= 1 && dev >= 1)
        d = udev_device_new_from_devnum(h->udev, 'c', node);
    if (d != NULL)
        value = udev_device_get_sysattr_value(d, "bConfigurationValue");
    bool taken = value != NULL && *value == '\0';

    if (d != NULL)
        udev_device_unref(d);
    return taken;
}

bool usb_has(int bus, int dev)
{
    char path[64];

    snprintf(path, sizeof path, "/dev/bus/usb/%03d/%03d", bus, dev);
    return access(path, F_OK) == 0;
}
