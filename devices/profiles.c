#include "devices/profiles.h"

#include <stddef.h>
#include <string.h>

/* First fit wins. Where foreign_applets is false all applets that the product can hold are known to refuse VERIFY with the
 * references 81 and 82 without using up a try (PIV: 6A88; OATH, FIDO, OTP, management: 6D00), or there are none. */
static const struct profile profiles[] = {
    {0x0006, NULL, "yubikey", "YubiKey", true, false, false, true},
    {0x000F, "Start", "nitrokey", "Nitrokey Start", false, false, true, false},
    {0x000F, NULL, "nitrokey", "Nitrokey", false, false, false, false},
    {0x0005, "Librem", "librem", "Librem Key", false, false, false, false},
    {0x0005, "Nitrokey", "nitrokey", "Nitrokey", false, false, false, false},
    {0x0005, NULL, "openpgp", "OpenPGP card", false, false, false, false},
    {0x000A, NULL, "vivokey", "VivoKey", false, true, false, false},
    {0xF1D0, NULL, "openpgp", "CanoKey", false, false, false, false},
    {0xFFFE, "Nitrokey", "nitrokey", "Nitrokey Start", false, false, true, false},
    {0xF517, "Nitrokey", "nitrokey", "Nitrokey Start", false, false, true, false},
    {0xFFFE, "Gnuk", "gnuk", "Gnuk", false, false, true, false},
    {0xF517, NULL, "gnuk", "Gnuk", false, false, true, false},
    {0xFFFE, "FST-01", "gnuk", "Gnuk", false, false, true, false},
    {0, "Ledger", "ledger", "Ledger", false, false, false, false},
    {0, "VivoKey", "vivokey", "VivoKey", false, true, false, false},
    {0xFFFE, NULL, "gnuk", "Gnuk", false, false, true, false},
    {0, NULL, "openpgp", "OpenPGP card", false, true, false, false},
};

const struct profile *profile_find(uint16_t manufacturer, const char *reader)
{
    size_t last = sizeof profiles / sizeof profiles[0] - 1;

    for (size_t i = 0; i < last; i++)
        if ((profiles[i].manufacturer == 0 || profiles[i].manufacturer == manufacturer) &&
            (profiles[i].reader == NULL || strcasestr(reader, profiles[i].reader) != NULL))
            return &profiles[i];
    return &profiles[last];
}
