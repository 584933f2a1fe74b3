#include "devices/profiles.h"

#include <stddef.h>
#include <string.h>

/* First fit wins. */
static const struct profile profiles[] = {
    {0x0006, NULL, "yubikey", "YubiKey", DECIMAL_SERIAL | OTHER_APPLETS | UIF_UNLISTED},
    {0x000F, "Start", "nitrokey", "Nitrokey Start", SELECT_KEEPS_PIN},
    {0x000F, NULL, "nitrokey", "Nitrokey", OTHER_APPLETS},
    /* ZeitControl's card holds nothing else. */
    {0x0005, "Librem", "librem", "Librem Key", 0},
    {0x0005, "Nitrokey", "nitrokey", "Nitrokey", 0},
    {0x0005, NULL, "openpgp", "OpenPGP card", 0},
    {0x000A, NULL, "vivokey", "VivoKey", OTHER_APPLETS},
    {0xF1D0, NULL, "openpgp", "CanoKey", OTHER_APPLETS},
    {0xFFFE, "Nitrokey", "nitrokey", "Nitrokey Start", SELECT_KEEPS_PIN},
    {0xF517, "Nitrokey", "nitrokey", "Nitrokey Start", SELECT_KEEPS_PIN},
    {0xF517, NULL, "gnuk", "Gnuk", SELECT_KEEPS_PIN},
    {0x2C97, NULL, "ledger", "Ledger", UIF_UNLISTED | PIN_ON_DEVICE},
    {0, "Ledger", "ledger", "Ledger", UIF_UNLISTED | PIN_ON_DEVICE},
    {0, "VivoKey", "vivokey", "VivoKey", OTHER_APPLETS},
    {0xFFFE, "Gnuk", "gnuk", "Gnuk", SELECT_KEEPS_PIN},
    /* Gnuk's number, but anybody's by its meaning: a Java card may have it, too. */
    {0xFFFE, NULL, "gnuk", "Gnuk", OTHER_APPLETS},
    {0, NULL, "openpgp", "OpenPGP card", OTHER_APPLETS},
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
