/* A Ledger on USB, by hidapi. Product id and interfaces change whenever an application is opened or left, so a device is
 * known by its vendor, and found again by the port that it hangs on. ref: trezor-ledger 8. */
#include "devices/ledger_link_internal.h"

#include <hidapi.h>
#include <stdlib.h>
#include <string.h>

#define VENDOR     0x2c97
#define USAGE_PAGE 0xffa0
#define FIDO_PAGE  0xf1d0

/* New; what is not printable ASCII as '?'. */
static char *narrow(const wchar_t *w)
{
    struct buf b = BUF_INIT;

    for (; w != NULL && *w != L'\0'; w++)
        buf_put_u8(&b, *w >= 0x20 && *w <= 0x7e ? (uint8_t)*w : '?');
    return buf_steal_cstr(&b);
}

/* The sysfs folder of the USB device behind a hidraw node: .../1-2 of .../1-2/1-2:1.0/0003:2C97:5011.0007. */
static char *port_of(const char *node)
{
    const char *name = strrchr(node, '/');
    char *link = gpgrt_bsprintf("/sys/class/hidraw/%s/device", name != NULL ? name + 1 : node);
    char *real = link != NULL ? realpath(link, NULL) : NULL, *port = NULL;

    for (int up = 0; real != NULL && up < 2; up++) {
        char *slash = strrchr(real, '/');

        if (slash != NULL)
            *slash = '\0';
    }
    if (real != NULL)
        port = gpgrt_strdup(real);
    free(real);
    gpgrt_free(link);
    return port;
}

/* The interface for APDUs; the others are FIDO and a keyboard. Where the kernel tells no usage page, it is the first. */
static bool takes_apdus(const struct hid_device_info *d)
{
    if (d->vendor_id != VENDOR || d->usage_page == FIDO_PAGE)
        return false;
    return d->usage_page == USAGE_PAGE || d->interface_number == 0 || d->interface_number == -1;
}

static bool is_ours(const struct ledger_link *l, const char *where, const struct hid_device_info *d)
{
    char *port;
    bool same;

    if (!takes_apdus(d))
        return false;
    if (l->port == NULL)
        return strcmp(d->path, where) == 0;
    port = port_of(d->path);
    same = port != NULL && strcmp(port, l->port) == 0;
    gpgrt_free(port);
    return same;
}

static gpg_error_t hid_open_link(struct ledger_link *l, const char *where)
{
    struct hid_device_info *list = hid_enumerate(VENDOR, 0);
    gpg_error_t err = gpg_error(GPG_ERR_ENODEV);
    char *why;

    for (const struct hid_device_info *d = list; d != NULL && l->hid == NULL; d = d->next) {
        if (!is_ours(l, where, d))
            continue;
        l->hid = hid_open_path(d->path);
        if (l->hid == NULL) {
            why = narrow(hid_error(NULL));
            gpgrt_log_error("%s: cannot be opened: %s\n", d->path, why != NULL ? why : "");
            gpgrt_free(why);
            continue;
        }
        err = 0;
        if (l->port == NULL)
            l->port = port_of(d->path);
        if (l->model == NULL && d->product_string != NULL && d->product_string[0] != L'\0')
            l->model = narrow(d->product_string);
    }
    hid_free_enumeration(list);
    return err;
}

static void hid_close_link(struct ledger_link *l)
{
    hid_close(l->hid);
    l->hid = NULL;
}

static gpg_error_t hid_send(struct ledger_link *l, struct rd apdu)
{
    struct buf b = BUF_INIT;
    struct rd r, report;
    uint8_t out[1 + LEDGER_REPORT] = {0}; /* there are no report numbers */
    gpg_error_t err;

    ledger_frames_put(apdu, &b);
    err = buf_err(&b);
    r = buf_rd(&b);
    while (err == 0 && rd_bytes(&r, LEDGER_REPORT, &report) == 0) {
        memcpy(out + 1, report.p, LEDGER_REPORT);
        if (hid_write(l->hid, out, sizeof out) != (int)sizeof out)
            err = gpg_error(GPG_ERR_CARD_REMOVED);
    }
    buf_free(&b);
    return err;
}

static gpg_error_t hid_receive(struct ledger_link *l, int ms, struct buf *answer, bool *done)
{
    uint8_t in[LEDGER_REPORT];
    int n = hid_read_timeout(l->hid, in, sizeof in, ms);
    gpg_error_t err;

    if (n < 0)
        return gpg_error(GPG_ERR_CARD_REMOVED);
    if (n == 0)
        return 0;
    err = ledger_frames_take(&l->frames, rd_of(in, (size_t)n), done);
    explicit_bzero(in, sizeof in);
    if (err == 0 && *done)
        buf_put_rd(answer, buf_rd(&l->frames.message));
    return err != 0 ? err : buf_err(answer);
}

const struct ledger_transport ledger_over_hid = {
    .prefix = "hid:",
    .open = hid_open_link,
    .close = hid_close_link,
    .send = hid_send,
    .receive = hid_receive,
};
