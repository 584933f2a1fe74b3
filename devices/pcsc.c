#include "devices/pcsc.h"

#include <reader.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <winscard.h>

#define CONNECT_TRIES 10
#define CONNECT_MS    100

struct pcsc_card {
    SCARDCONTEXT context;
    SCARDHANDLE card;
    bool connected;
    bool was_reset; /* since the last transaction */
    DWORD protocol;
    BYTE atr[MAX_ATR_SIZE];
    DWORD atr_len;
    bool contactless;
    int bus, dev;
    DWORD verify_code; /* of FEATURE_VERIFY_PIN_DIRECT, 0: none */
};

gpg_error_t pcsc_error(long rc)
{
    switch ((unsigned long)rc) {
    case SCARD_S_SUCCESS:
        return 0;
    case SCARD_E_NO_SMARTCARD:
        return gpg_error(GPG_ERR_CARD_NOT_PRESENT);
    case SCARD_W_REMOVED_CARD:
    case SCARD_W_UNPOWERED_CARD:
    case SCARD_E_UNKNOWN_READER:
    case SCARD_E_READER_UNAVAILABLE:
        return gpg_error(GPG_ERR_CARD_REMOVED);
    case SCARD_W_RESET_CARD:
        return gpg_error(GPG_ERR_CARD_RESET);
    case SCARD_E_SHARING_VIOLATION:
        return gpg_error(GPG_ERR_EBUSY);
    case SCARD_E_NOT_TRANSACTED:
    case SCARD_W_UNRESPONSIVE_CARD:
        return gpg_error(GPG_ERR_EAGAIN);
    case SCARD_W_SECURITY_VIOLATION:
        return gpg_error(GPG_ERR_EACCES);
    case SCARD_E_NO_MEMORY:
        return gpg_error(GPG_ERR_ENOMEM);
    default:
        /* no service, a dead context, a broken connection: this process cannot go on */
        return gpg_error(GPG_ERR_ENODEV);
    }
}

bool pcsc_atr_contactless(const char *reader, struct rd atr)
{
    static const char *const words[] = {"contactless", "picc", "nfc reader",
                                        "acr122",      " cl ", "felica"};

    if (atr.n >= 4 && atr.p[0] == 0x3b && (atr.p[1] & 0xf0) == 0x80 && atr.p[2] == 0x80 &&
        atr.p[3] == 0x01)
        return true;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasestr(reader, words[i]) != NULL)
            return true;
    return false;
}

void pcsc_channel_address(uint32_t channel, int *bus, int *dev)
{
    bool usb = channel >> 16 == 0x0020;

    *bus = usb ? (int)(channel >> 8 & 0xff) : -1;
    *dev = usb ? (int)(channel & 0xff) : -1;
}

static const SCARD_IO_REQUEST *pci(DWORD protocol)
{
    return protocol == SCARD_PROTOCOL_T0 ? SCARD_PCI_T0 : SCARD_PCI_T1;
}

static gpg_error_t reconnect(struct pcsc_card *p)
{
    LONG rc = SCardReconnect(p->card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1,
                             SCARD_LEAVE_CARD, &p->protocol);

    /* After an idle unplug pcscd knows the handle no more. */
    if (rc == SCARD_E_INVALID_VALUE)
        return gpg_error(GPG_ERR_CARD_REMOVED);
    return pcsc_error(rc);
}

static gpg_error_t begin(void *handle, enum card_change *change)
{
    struct pcsc_card *p = handle;
    gpg_error_t err = 0;

    *change = p->was_reset ? CARD_WAS_RESET : CARD_AS_LEFT;
    for (int i = 0; i < CONNECT_TRIES; i++) {
        LONG rc = SCardBeginTransaction(p->card);

        err = pcsc_error(rc);
        if (err == 0) {
            p->was_reset = false;
            return 0;
        }
        if (gpg_err_code(err) != GPG_ERR_CARD_RESET)
            break;
        *change = CARD_WAS_RESET;
        err = reconnect(p);
        if (err != 0)
            break;
    }
    return err;
}

static gpg_error_t transmit(void *handle, struct rd command, struct buf *response)
{
    struct pcsc_card *p = handle;
    DWORD n = MAX_BUFFER_SIZE_EXTENDED;
    BYTE *answer = malloc(n);
    LONG rc;

    if (answer == NULL)
        return gpg_error_from_syserror();
    rc = SCardTransmit(p->card, pci(p->protocol), command.p, command.n, NULL, answer, &n);
    if (rc == SCARD_S_SUCCESS)
        buf_put(response, answer, n);
    else if (rc == SCARD_W_RESET_CARD)
        p->was_reset = true;
    explicit_bzero(answer, rc == SCARD_S_SUCCESS ? n : 0);
    free(answer);
    return pcsc_error(rc);
}

static void end(void *handle, bool reset)
{
    struct pcsc_card *p = handle;

    (void)SCardEndTransaction(p->card, reset ? SCARD_RESET_CARD : SCARD_LEAVE_CARD);
    /* Our own reset is no interference. If this fails, the next transaction finds out why. */
    if (reset)
        (void)reconnect(p);
}

/* The person's PIN goes from the reader's keys to the card, and nowhere else. PC/SC part 10, 2.5.2. */
static gpg_error_t verify(void *handle, uint8_t ref, struct buf *response)
{
    struct pcsc_card *p = handle;
    const uint8_t command[] = {0x00, 0x20, 0x00, ref, 0x00};
    const PIN_VERIFY_STRUCTURE head = {.bmFormatString = 0x82,            /* ASCII, from the left */
                                       .bEntryValidationCondition = 0x02, /* until a key says so */
                                       .bNumberMessage = 1,
                                       .wLangId = 0x0409,
                                       .ulDataLength = sizeof command};
    uint8_t in[offsetof(PIN_VERIFY_STRUCTURE, abData) + sizeof command];
    BYTE answer[64];
    DWORD n = 0;
    LONG rc;

    memcpy(in, &head, offsetof(PIN_VERIFY_STRUCTURE, abData));
    memcpy(in + offsetof(PIN_VERIFY_STRUCTURE, abData), command, sizeof command);
    rc = SCardControl(p->card, p->verify_code, in, sizeof in, answer, sizeof answer, &n);
    if (rc == SCARD_S_SUCCESS)
        buf_put(response, answer, n);
    else if (rc == SCARD_W_RESET_CARD)
        p->was_reset = true;
    return pcsc_error(rc);
}

const struct card_transport pcsc_transport = {
    .begin = begin, .transmit = transmit, .end = end, .verify = verify};

static gpg_error_t connect_card(struct pcsc_card *p, const char *reader)
{
    const struct timespec moment = {.tv_nsec = CONNECT_MS * 1000000L};
    gpg_error_t err = 0;

    for (int i = 0; i < CONNECT_TRIES; i++) {
        LONG rc = SCardConnect(p->context, reader, SCARD_SHARE_SHARED,
                               SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1, &p->card, &p->protocol);

        err = pcsc_error(rc);
        if (err == 0) {
            p->connected = true;
            return 0;
        }
        if (gpg_err_code(err) == GPG_ERR_EACCES)
            break;
        nanosleep(&moment, NULL);
    }
    return err;
}

static void read_attributes(struct pcsc_card *p, const char *reader)
{
    DWORD n, channel = 0, name = 0, state = 0, protocol = 0;

    p->bus = p->dev = -1;
    p->atr_len = sizeof p->atr;
    /* From pcscd: not every driver knows the attribute. */
    if (SCardStatus(p->card, NULL, &name, &state, &protocol, p->atr, &p->atr_len) !=
        SCARD_S_SUCCESS)
        p->atr_len = 0;
    p->contactless = pcsc_atr_contactless(reader, pcsc_atr(p));
    n = sizeof channel;
    if (SCardGetAttrib(p->card, SCARD_ATTR_CHANNEL_ID, (BYTE *)&channel, &n) == SCARD_S_SUCCESS)
        pcsc_channel_address((uint32_t)channel, &p->bus, &p->dev);
}

/* PC/SC part 10, 2.2: tag, length 4, control code. */
static void read_features(struct pcsc_card *p)
{
    BYTE list[256];
    DWORD n = 0;
    struct rd r, value;
    uint32_t tag, code;

    if (SCardControl(p->card, CM_IOCTL_GET_FEATURE_REQUEST, NULL, 0, list, sizeof list, &n) !=
        SCARD_S_SUCCESS)
        return;
    r = rd_of(list, n);
    while (rd_tlv(&r, &tag, &value) == 0)
        if (tag == FEATURE_VERIFY_PIN_DIRECT && rd_u32(&value, &code) == 0)
            p->verify_code = code;
}

gpg_error_t pcsc_open(const char *reader, struct pcsc_card **out)
{
    struct pcsc_card *p = gpgrt_calloc(1, sizeof *p);
    gpg_error_t err;

    if (p == NULL)
        return gpg_error_from_syserror();
    err = pcsc_error(SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &p->context));
    if (err != 0) {
        gpgrt_free(p);
        return err;
    }
    err = connect_card(p, reader);
    if (err != 0) {
        pcsc_close(p);
        return err;
    }
    read_attributes(p, reader);
    read_features(p);
    *out = p;
    return 0;
}

void pcsc_close(struct pcsc_card *p)
{
    if (p == NULL)
        return;
    if (p->connected)
        (void)SCardDisconnect(p->card, SCARD_LEAVE_CARD);
    (void)SCardReleaseContext(p->context);
    gpgrt_free(p);
}

bool pcsc_is_t0(const struct pcsc_card *p)
{
    return p->protocol == SCARD_PROTOCOL_T0;
}

bool pcsc_asks_pin(const struct pcsc_card *p)
{
    return p->verify_code != 0;
}

struct rd pcsc_atr(const struct pcsc_card *p)
{
    return rd_of(p->atr, p->atr_len);
}

bool pcsc_is_contactless(const struct pcsc_card *p)
{
    return p->contactless;
}

void pcsc_usb_address(const struct pcsc_card *p, int *bus, int *dev)
{
    *bus = p->bus;
    *dev = p->dev;
}
