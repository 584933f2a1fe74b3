/* Hardware wallets that are plugged in, and their emulators, which the settings name. */
#include "agent/hotplug_slots.h"
#include "agent/wallets.h"

#include <libudev.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* PRODUCT -1: any. HID: over the hidraw node of its first interface; else over USB itself. CHANGES: comes back
 * as another device when an application is opened or left on it. */
static const struct model {
    const char *kind;
    int vendor, product;
    bool hid, changes;
} models[] = {
    {"trezor", 0x1209, 0x53c1, false, false}, /* firmware */
    {"trezor", 0x1209, 0x53c0, false, false}, /* bootloader, which is told */
    {"trezor", 0x534c, 0x0001, true, false},  /* Trezor One, firmware before 1.7 */
    {"ledger", 0x2c97, -1, true, true},
};

static int attribute(struct udev_device *d, const char *name, int base)
{
    const char *s = udev_device_get_sysattr_value(d, name);
    char *end;
    long v = s != NULL ? strtol(s, &end, base) : -1;

    return s == NULL || end == s || v < 0 || v > 65535 ? -1 : (int)v;
}

static const struct model *find_model(struct udev_device *usb, bool hid)
{
    int vendor = attribute(usb, "idVendor", 16), product = attribute(usb, "idProduct", 16);

    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        if (models[i].vendor == vendor && models[i].hid == hid &&
            (models[i].product < 0 || models[i].product == product))
            return &models[i];
    return NULL;
}

static void take(struct hotplug *h, const struct model *m, const char *address,
                 struct udev_device *usb)
{
    if (m != NULL)
        slots_wallet_in(h, m->kind, address, attribute(usb, "busnum", 10),
                        attribute(usb, "devnum", 10),
                        m->changes ? udev_device_get_syspath(usb) : NULL);
}

/* D came, or was there: a usb_device or a hidraw node. */
void wallets_device_in(struct hotplug *h, struct udev_device *d)
{
    const char *subsystem = udev_device_get_subsystem(d), *node = udev_device_get_devnode(d);
    struct udev_device *usb, *interface;
    char address[80];

    if (subsystem == NULL)
        return;
    if (strcmp(subsystem, "usb") == 0) {
        snprintf(address, sizeof address, "usb:%d:%d", attribute(d, "busnum", 10),
                 attribute(d, "devnum", 10));
        take(h, find_model(d, false), address, d);
        return;
    }
    usb = udev_device_get_parent_with_subsystem_devtype(d, "usb", "usb_device");
    interface = udev_device_get_parent_with_subsystem_devtype(d, "usb", "usb_interface");
    if (usb == NULL || node == NULL || strlen(node) > 64 ||
        (interface != NULL && attribute(interface, "bInterfaceNumber", 16) != 0))
        return;
    snprintf(address, sizeof address, "hid:%s", node);
    take(h, find_model(usb, true), address, usb);
}

static void scan(struct hotplug *h, const char *subsystem)
{
    struct udev_enumerate *e = udev_enumerate_new(h->udev);
    struct udev_list_entry *l;

    if (e == NULL)
        return;
    if (udev_enumerate_add_match_subsystem(e, subsystem) == 0 &&
        udev_enumerate_scan_devices(e) >= 0)
        udev_list_entry_foreach(l, udev_enumerate_get_list_entry(e))
        {
            struct udev_device *d =
                udev_device_new_from_syspath(h->udev, udev_list_entry_get_name(l));

            if (d != NULL)
                wallets_device_in(h, d);
            if (d != NULL)
                udev_device_unref(d);
        }
    udev_enumerate_unref(e);
}

void wallets_start(struct hotplug *h)
{
    const struct settings *s = h->a->settings;

    for (size_t i = 0; i < s->nemulators; i++)
        if (wallets_are_of(s->emulators[i].first))
            slots_wallet_in(h, s->emulators[i].first, s->emulators[i].second, -1, -1, NULL);
    if (h->udev == NULL)
        return;
    scan(h, "usb");
    scan(h, "hidraw");
}
