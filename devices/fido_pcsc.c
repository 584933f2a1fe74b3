#include "devices/fido_pcsc.h"

#include "devices/pcsc.h"

#include <pthread.h>
#include <reader.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <winscard.h>

#define MAX_READERS 32u

/* What is known of the card in a reader, as long as it stays. */
struct seen {
    char *reader;
    unsigned long events; /* of insertion and removal, as pcscd counts them */
    bool none;            /* it is no FIDO token */
    struct buf info;
};

struct fido_pcsc {
    pthread_mutex_t mutex;
    struct seen seen[MAX_READERS];
    size_t nseen;
};

gpg_error_t fido_pcsc_new(struct fido_pcsc **out)
{
    struct fido_pcsc *p = gpgrt_calloc(1, sizeof *p);

    if (p == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&p->mutex, NULL);
    *out = p;
    return 0;
}

void fido_pcsc_free(struct fido_pcsc *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->nseen; i++) {
        gpgrt_free(p->seen[i].reader);
        buf_free(&p->seen[i].info);
    }
    pthread_mutex_destroy(&p->mutex);
    gpgrt_free(p);
}

/* --- readers --------------------------------------------------------------------------------------------------------- */

/* The mutex is held. */
static struct seen *find_seen(struct fido_pcsc *p, const char *reader)
{
    for (size_t i = 0; i < p->nseen; i++)
        if (strcmp(p->seen[i].reader, reader) == 0)
            return &p->seen[i];
    return NULL;
}

/* Notes the card in READER, and forgets what was known of another one. The mutex is held. */
static struct seen *note_card(struct fido_pcsc *p, const char *reader, unsigned long events)
{
    struct seen *s = find_seen(p, reader);

    if (s == NULL && p->nseen < MAX_READERS) {
        s = &p->seen[p->nseen];
        *s = (struct seen){.reader = gpgrt_strdup(reader), .events = events};
        if (s->reader == NULL)
            return NULL;
        p->nseen++;
    } else if (s != NULL && s->events != events) {
        s->events = events;
        s->none = false;
        buf_reset(&s->info);
    }
    return s;
}

static bool has_card(SCARDCONTEXT context, const char *reader, unsigned long *events)
{
    SCARD_READERSTATE state = {.szReader = reader, .dwCurrentState = SCARD_STATE_UNAWARE};

    if (SCardGetStatusChange(context, 0, &state, 1) != SCARD_S_SUCCESS)
        return false;
    *events = state.dwEventState >> 16;
    return (state.dwEventState & SCARD_STATE_PRESENT) != 0 &&
           (state.dwEventState & SCARD_STATE_MUTE) == 0;
}

static void usb_address(SCARDCONTEXT context, const char *reader, int *bus, int *dev)
{
    SCARDHANDLE card;
    DWORD protocol, channel = 0, len = sizeof channel;

    *bus = *dev = -1;
    if (SCardConnect(context, reader, SCARD_SHARE_DIRECT, 0, &card, &protocol) != SCARD_S_SUCCESS)
        return;
    if (SCardGetAttrib(card, SCARD_ATTR_CHANNEL_ID, (LPBYTE)&channel, &len) == SCARD_S_SUCCESS)
        pcsc_channel_address((uint32_t)channel, bus, dev);
    (void)SCardDisconnect(card, SCARD_LEAVE_CARD);
}

gpg_error_t fido_pcsc_list(struct fido_pcsc *p, bool (*skip)(void *arg, int bus, int dev),
                           gpg_error_t (*put)(void *arg, const char *path), void *arg)
{
    SCARDCONTEXT context;
    char *readers = NULL, *path;
    DWORD len = SCARD_AUTOALLOCATE;
    gpg_error_t err = 0;

    if (SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context) != SCARD_S_SUCCESS)
        return 0;
    if (SCardListReaders(context, NULL, (LPSTR)&readers, &len) != SCARD_S_SUCCESS)
        readers = NULL;
    for (const char *r = readers; r != NULL && *r != '\0' && err == 0; r += strlen(r) + 1) {
        unsigned long events = 0;
        int bus, dev;
        bool none;

        if (!has_card(context, r, &events))
            continue;
        pthread_mutex_lock(&p->mutex);
        const struct seen *s = note_card(p, r, events);

        none = s == NULL || s->none;
        pthread_mutex_unlock(&p->mutex);
        if (none)
            continue;
        usb_address(context, r, &bus, &dev);
        if (bus >= 0 && skip(arg, bus, dev))
            continue;
        path = gpgrt_bsprintf(FIDO_PCSC_PREFIX "%s", r);
        err = path != NULL ? put(arg, path) : gpg_error_from_syserror();
        gpgrt_free(path);
    }
    if (readers != NULL)
        (void)SCardFreeMemory(context, readers);
    (void)SCardReleaseContext(context);
    return err;
}

/* --- one token --------------------------------------------------------------------------------------------------------- */

struct handle {
    struct fido_apdu apdu; /* first: libfido2 closes it by that */
    struct fido_pcsc *bus;
    char *reader;
    struct pcsc_card *pcsc;
    bool in_transaction;
};

static void handle_close(struct fido_apdu *a)
{
    struct handle *h = (struct handle *)a;

    if (h->apdu.info.len > 0) {
        pthread_mutex_lock(&h->bus->mutex);
        struct seen *s = find_seen(h->bus, h->reader);

        if (s != NULL && s->info.len == 0)
            buf_put_rd(&s->info, buf_rd(&h->apdu.info));
        pthread_mutex_unlock(&h->bus->mutex);
    }
    if (h->in_transaction)
        pcsc_transport.end(h->pcsc, false);
    if (h->pcsc != NULL)
        pcsc_close(h->pcsc);
    fido_apdu_clear(&h->apdu);
    gpgrt_free(h->reader);
    gpgrt_free(h);
}

static struct handle *handle_new(struct fido_pcsc *p, const char *reader)
{
    struct handle *h = gpgrt_calloc(1, sizeof *h);
    const struct seen *s;
    enum card_change change;

    if (h == NULL)
        return NULL;
    h->bus = p;
    h->apdu.close = handle_close;
    h->reader = gpgrt_strdup(reader);
    if (h->reader == NULL || pcsc_open(reader, &h->pcsc) != 0)
        goto fail;
    h->apdu.card =
        (struct card){.transport = &pcsc_transport, .handle = h->pcsc, .t0 = pcsc_is_t0(h->pcsc)};
    apdu_note_capabilities(&h->apdu.card, apdu_historical(pcsc_atr(h->pcsc)));
    if (pcsc_transport.begin(h->pcsc, &change) != 0)
        goto fail;
    h->in_transaction = true;
    pthread_mutex_lock(&p->mutex);
    s = find_seen(p, reader);
    if (s != NULL)
        buf_put_rd(&h->apdu.info, buf_rd(&s->info));
    pthread_mutex_unlock(&p->mutex);
    return h;
fail:
    handle_close(&h->apdu);
    return NULL;
}

/* Whatever it is, it does not answer to FIDO's name, and is not asked again. */
static void note_none(struct fido_pcsc *p, const char *reader)
{
    struct seen *s;

    pthread_mutex_lock(&p->mutex);
    s = find_seen(p, reader);
    if (s != NULL)
        s->none = true;
    pthread_mutex_unlock(&p->mutex);
}

int fido_pcsc_open(struct fido_pcsc *p, fido_dev_t *d, const char *path)
{
    const char *reader = path + strlen(FIDO_PCSC_PREFIX);
    struct handle *h = handle_new(p, reader);

    if (h == NULL)
        return FIDO_ERR_RX;
    if (fido_apdu_select(&h->apdu) && h->apdu.applet == APPLET_NONE) {
        note_none(p, reader);
        handle_close(&h->apdu);
        return FIDO_ERR_INVALID_ARGUMENT;
    }
    return fido_apdu_open(&h->apdu, d, path);
}

/* --- one token by two ways --------------------------------------------------------------------------------------------- */

static int read_number(const char *dir, const char *name)
{
    char path[4096 + 16];
    int v = -1;
    FILE *f;

    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return -1;
    f = fopen(path, "re");
    if (f == NULL)
        return -1;
    if (fscanf(f, "%d", &v) != 1 || v < 0)
        v = -1;
    fclose(f);
    return v;
}

void fido_hid_address(const char *sysfs, const char *path, int *bus, int *dev)
{
    const char *slash = strrchr(path, '/');
    char *link =
        gpgrt_bsprintf("%s/class/hidraw/%s/device", sysfs, slash != NULL ? slash + 1 : path);
    char *dir = link != NULL ? realpath(link, NULL) : NULL, *end;

    *bus = *dev = -1;
    while (dir != NULL && *bus < 0 && (end = strrchr(dir, '/')) != NULL && end != dir) {
        *bus = read_number(dir, "busnum");
        *dev = read_number(dir, "devnum");
        *end = '\0';
    }
    if (*dev < 0)
        *bus = -1;
    free(dir);
    gpgrt_free(link);
}
