/* For LD_PRELOAD: pcscd's virtual readers know no PIN entry of their own (PC/SC part 10). This lets one look as if it did: what is
 * asked of it goes to the card as a Ledger's own reader gives it on, by CLA EF. */
#include <dlfcn.h>
#include <reader.h>
#include <string.h>
#include <winscard.h>

#define VERIFY_CODE SCARD_CTL_CODE(3500)

typedef LONG control_fn(SCARDHANDLE, DWORD, LPCVOID, DWORD, LPVOID, DWORD, LPDWORD);

static LONG features(LPVOID out, DWORD room, LPDWORD n)
{
    const unsigned code = VERIFY_CODE;
    const unsigned char list[] = {FEATURE_VERIFY_PIN_DIRECT,   4,
                                  (unsigned char)(code >> 24), (unsigned char)(code >> 16),
                                  (unsigned char)(code >> 8),  (unsigned char)code};

    if (room < sizeof list)
        return SCARD_E_INSUFFICIENT_BUFFER;
    memcpy(out, list, sizeof list);
    *n = sizeof list;
    return SCARD_S_SUCCESS;
}

/* The command stands behind the structure's 19 octets: CLA INS P1 P2 and perhaps Lc. */
static LONG verify(SCARDHANDLE card, const unsigned char *in, DWORD len, LPVOID out, DWORD room,
                   LPDWORD n)
{
    const SCARD_IO_REQUEST pci = {SCARD_PROTOCOL_T0, sizeof pci};
    unsigned char apdu[4];

    if (len < 19 + 4 || in[15] != len - 19)
        return SCARD_E_INVALID_PARAMETER;
    memcpy(apdu, in + 19, sizeof apdu);
    apdu[0] = 0xef;
    *n = room;
    return SCardTransmit(card, &pci, apdu, sizeof apdu, NULL, out, n);
}

LONG SCardControl(SCARDHANDLE card, DWORD code, LPCVOID in, DWORD len, LPVOID out, DWORD room,
                  LPDWORD n)
{
    control_fn *real = (control_fn *)dlsym(RTLD_NEXT, "SCardControl");

    if (code == CM_IOCTL_GET_FEATURE_REQUEST)
        return features(out, room, n);
    if (code == VERIFY_CODE)
        return verify(card, in, len, out, room, n);
    return real != NULL ? real(card, code, in, len, out, room, n) : SCARD_E_NOT_READY;
}
