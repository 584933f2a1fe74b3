/* The Trezor One with a firmware before 1.7. ref: trezor-ledger 2.3 */
#include "devices/trezor_transport.h"

#include <hidapi.h>
#include <string.h>

#define PROBE_FILL 0xff

struct hid {
    struct trezor_transport t; /* first */
    hid_device *dev;
    bool numbered; /* '?' is the report's number itself; else a 0 goes before each report */
};

static gpg_error_t hid_write_packet(struct trezor_transport *t, const uint8_t packet[TREZOR_PACKET])
{
    struct hid *h = (struct hid *)t;
    uint8_t report[1 + TREZOR_PACKET] = {0};
    int rc;

    memcpy(report + 1, packet, TREZOR_PACKET);
    rc = h->numbered ? hid_write(h->dev, packet, TREZOR_PACKET)
                     : hid_write(h->dev, report, sizeof report);
    explicit_bzero(report, sizeof report);
    return rc >= 0 ? 0 : gpg_error(GPG_ERR_CARD_REMOVED);
}

static gpg_error_t hid_read_packet(struct trezor_transport *t, uint8_t packet[TREZOR_PACKET],
                                   int ms)
{
    struct hid *h = (struct hid *)t;
    int rc = hid_read_timeout(h->dev, packet, TREZOR_PACKET, ms);

    if (rc < 0)
        return gpg_error(GPG_ERR_CARD_REMOVED);
    return rc == TREZOR_PACKET ? 0 : gpg_error(GPG_ERR_TIMEOUT);
}

static bool hid_alive(struct trezor_transport *t)
{
    (void)t;
    return true; /* a write or read tells */
}

static void hid_close_transport(struct trezor_transport *t)
{
    struct hid *h = (struct hid *)t;

    if (h->dev != NULL)
        hid_close(h->dev);
    hid_exit();
    gpgrt_free(h);
}

/* Which of the two generations of reports: a packet that no message begins with is taken in one form only. */
static gpg_error_t probe(struct hid *h)
{
    uint8_t report[1 + TREZOR_PACKET];

    memset(report, PROBE_FILL, sizeof report);
    report[0] = 0;
    report[1] = '?';
    if (hid_write(h->dev, report, sizeof report) == (int)sizeof report)
        return 0;
    h->numbered = true;
    return hid_write(h->dev, report + 1, TREZOR_PACKET) == TREZOR_PACKET
               ? 0
               : gpg_error(GPG_ERR_ENODEV);
}

/* WHERE: a hidraw node. */
gpg_error_t trezor_hid_open(const char *where, struct trezor_transport **out)
{
    struct hid *h = gpgrt_calloc(1, sizeof *h);
    gpg_error_t err;

    if (h == NULL)
        return gpg_error_from_syserror();
    h->t = (struct trezor_transport){.write = hid_write_packet,
                                     .read = hid_read_packet,
                                     .alive = hid_alive,
                                     .close = hid_close_transport};
    h->dev = hid_init() == 0 ? hid_open_path(where) : NULL;
    err = h->dev != NULL ? probe(h) : gpg_error(GPG_ERR_ENODEV);
    if (err != 0)
        hid_close_transport(&h->t);
    else
        *out = &h->t;
    return err;
}
