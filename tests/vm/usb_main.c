/* The options, and the loop. */
#include "tests/vm/usb.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define AWAY_MS 300 /* as long as a Ledger is when it opens an application, about */

static const char usage[] =
    "usage: testusb --port N --id VVVV:PPPP [--serial S] [--maker M] [--name N] FUNCTION..\n"
    "       testusb --uhid --id VVVV:PPPP [..] --fido SOCKET\n"
    "  --ccid TCP-PORT    a reader, whose card joins there\n"
    "  --fido SOCKET      a security key, whose emulator is there\n"
    "  --hid PAGE:SOCKET  another HID device, of that usage page (hex)\n"
    "  --vendor SOCKET    the same octets, without HID; or udp:PORT\n"
    "  --back-as PPPP     leaves the bus when its emulator hangs up, and comes back as that "
    "product\n"
    "  --uhid             not on a bus, but by /dev/uhid\n"
    "Unplugged by SIGTERM, or however the process ends.\n";

int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int sooner(int a, int b)
{
    return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

/* Until the kernel hangs up, or a signal comes; true: until its emulator did. */
static bool loop(struct device *d, int signal_fd, bool leaves)
{
    for (;;) {
        struct pollfd p[2 + MAX_FUNCTIONS] = {{.fd = d->fd, .events = POLLIN},
                                              {.fd = signal_fd, .events = POLLIN}};
        int ms = -1;

        for (size_t i = 0; i < d->nfunctions; i++) {
            int its = -1;

            p[2 + i] = d->functions[i]->ops->wants(d->functions[i], &its);
            ms = sooner(ms, its);
        }
        if (poll(p, (nfds_t)(2 + d->nfunctions), ms) < 0 && errno != EINTR)
            return false;
        if (p[1].revents != 0 || (p[0].revents != 0 && !vhci_serve(d)))
            return false;
        for (size_t i = 0; i < d->nfunctions; i++)
            d->functions[i]->ops->ready(d->functions[i], p[2 + i].revents);
        if (d->hung_up && leaves)
            return true;
    }
}

static bool come_back(struct device *d, uint16_t *product, unsigned port)
{
    const struct timespec away = {.tv_nsec = AWAY_MS * 1000000L};
    uint16_t old = d->product;

    nanosleep(&away, NULL);
    d->hung_up = false;
    d->configuration = 0;
    d->product = *product;
    *product = old;
    for (size_t i = 0; i < d->nfunctions; i++)
        if (d->functions[i]->ops->back != NULL && !d->functions[i]->ops->back(d->functions[i]))
            return false;
    return vhci_attach(d, port);
}

static bool add(struct device *d, struct function *f)
{
    if (f == NULL || d->nfunctions == MAX_FUNCTIONS)
        return false;
    f->dev = d;
    f->interface = (uint8_t)d->nfunctions;
    d->functions[d->nfunctions++] = f;
    return true;
}

static bool number(const char *s, int base, unsigned max, unsigned *out)
{
    char *end;
    unsigned long v = strtoul(s, &end, base);

    if (end == s || *end != '\0' || v > max)
        return false;
    *out = (unsigned)v;
    return true;
}

static bool add_hid(struct device *d, const char *spec)
{
    unsigned page;
    int at = 0;

    if (sscanf(spec, "%4x:%n", &page, &at) != 1 || at == 0)
        return false;
    return add(d, hid_new(spec + at, (uint16_t)page));
}

int main(int argc, char **argv)
{
    enum { PORT = 1, ID, SERIAL, MAKER, NAME, CCID, FIDO, HID, VENDOR, BACK, UHID, HELP };
    static const struct option options[] = {
        {"port", 1, NULL, PORT},     {"id", 1, NULL, ID},        {"serial", 1, NULL, SERIAL},
        {"maker", 1, NULL, MAKER},   {"name", 1, NULL, NAME},    {"ccid", 1, NULL, CCID},
        {"fido", 1, NULL, FIDO},     {"hid", 1, NULL, HID},      {"uhid", 0, NULL, UHID},
        {"vendor", 1, NULL, VENDOR}, {"back-as", 1, NULL, BACK}, {"help", 0, NULL, HELP},
        {NULL, 0, NULL, 0}};
    static struct device d = {.fd = -1, .manufacturer = "latchkey", .name = "test device"};
    bool bad = false, have_port = false, have_id = false, uhid = false, leaves = false;
    uint16_t back_as = 0;
    const char *fido = NULL;
    unsigned port = 0, n;
    sigset_t signals;
    int opt, signal_fd;

    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case PORT:
            have_port = number(optarg, 10, 64, &port);
            break;
        case ID:
            have_id = sscanf(optarg, "%4hx:%4hx", &d.vendor, &d.product) == 2;
            break;
        case SERIAL:
            d.serial = optarg;
            break;
        case MAKER:
            d.manufacturer = optarg;
            break;
        case NAME:
            d.name = optarg;
            break;
        case CCID:
            bad |= !number(optarg, 10, 65535, &n) || !add(&d, ccid_new((int)n));
            break;
        case FIDO:
            fido = optarg;
            bad |= !uhid && !add(&d, hid_new(optarg, 0xf1d0));
            break;
        case HID:
            bad |= !add_hid(&d, optarg);
            break;
        case VENDOR:
            bad |= !add(&d, vendor_new(optarg));
            break;
        case BACK:
            bad |= sscanf(optarg, "%4hx", &back_as) != 1;
            leaves = true;
            break;
        case UHID:
            uhid = true;
            break;
        case HELP:
            fputs(usage, stdout);
            return 0;
        default:
            bad = true;
        }
    }
    if (bad || !have_id || (uhid ? fido == NULL : !have_port || d.nfunctions == 0)) {
        fputs(usage, stderr);
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (uhid)
        return uhid_run(&d, fido, 0xf1d0);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
    if (signal_fd < 0 || !vhci_attach(&d, port))
        return 1;
    puts("plugged");
    fflush(stdout);
    while (loop(&d, signal_fd, leaves)) {
        vhci_detach(port);
        close(d.fd);
        if (!come_back(&d, &back_as, port))
            return 1;
    }
    vhci_detach(port);
    return 0;
}
