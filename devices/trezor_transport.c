#include "devices/trezor_transport.h"

#include <string.h>

gpg_error_t trezor_transport_open(const char *address, struct trezor_transport **out)
{
    static const struct {
        const char *prefix;
        gpg_error_t (*open)(const char *where, struct trezor_transport **out);
    } table[] = {
        {"udp:", trezor_udp_open},
        {"usb:", trezor_usb_open},
        {"hid:", trezor_hid_open},
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        size_t n = strlen(table[i].prefix);

        if (strncmp(address, table[i].prefix, n) == 0)
            return table[i].open(address + n, out);
    }
    return gpg_error(GPG_ERR_INV_ARG);
}
