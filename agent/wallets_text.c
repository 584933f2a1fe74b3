/* What people are told of hardware wallets, wherever they are asked. */
#include "agent/wallets.h"

#include <string.h>

bool wallets_are_of(const char *kind)
{
    return strcmp(kind, "trezor") == 0 || strcmp(kind, "ledger") == 0;
}

char *wallets_grid_text(const char *label)
{
    return gpgrt_bsprintf("%s shows nine digits in a grid. For each digit of your PIN, type the "
                          "number of its place:\n\n    7 8 9\n    4 5 6\n    1 2 3\n",
                          label);
}

char *wallets_passphrase_text(const char *label)
{
    return gpgrt_bsprintf("Passphrase of the wallet on %s. Leave it empty for the standard "
                          "wallet; each other passphrase is another wallet with other keys.",
                          label);
}
