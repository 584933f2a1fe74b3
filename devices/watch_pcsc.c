#include "devices/watch_pcsc.h"

#include "devices/pcsc.h"
#include "proto/token_protocol.h"

#include <errno.h>
#include <poll.h>
#include <reader.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <winscard.h>

#define OUT_FD    TOKEN_FIRST_FD
#define RETRY_MS  300
#define WATCH_MS  2000 /* how often to look whether the broker is still there */
#define MAX_SLOTS 64
static const char pnp[] = "\\\\?PnP?\\Notification";

struct slot {
    char *name;
    DWORD state;        /* as SCardGetStatusChange last told */
    bool told, present; /* what the broker knows */
    int bus, dev;
    bool contactless;
};

struct watch {
    SCARDCONTEXT context;
    bool up, told_down;
    struct slot slots[MAX_SLOTS];
    size_t n;
};

/* --- lines ------------------------------------------------------------------------------------------------------------------ */

static gpg_error_t tell(const char *keyword, struct buf *fields)
{
    struct buf line = BUF_INIT;
    size_t done = 0;
    gpg_error_t err;

    buf_printf(&line, "%s %s\n", keyword, buf_cstr(fields) != NULL ? buf_cstr(fields) : "");
    err = buf_err(&line);
    while (err == 0 && done < line.len) {
        ssize_t n = write(OUT_FD, line.data + done, line.len - done);

        if (n < 0 && errno != EINTR)
            err = gpg_error_from_syserror();
        else if (n > 0)
            done += (size_t)n;
    }
    buf_free(&line);
    return err;
}

static gpg_error_t tell_service(bool up)
{
    struct buf f = BUF_INIT;
    gpg_error_t err;

    field_put_int(&f, "up", up ? 1 : 0);
    err = tell(TOKEN_WATCH_SERVICE, &f);
    buf_free(&f);
    return err;
}

static void put_place(struct buf *f, const struct slot *s)
{
    if (s->contactless)
        field_put_int(f, "contactless", 1);
    if (s->bus >= 0) {
        field_put_int(f, "bus", s->bus);
        field_put_int(f, "dev", s->dev);
    }
}

static gpg_error_t tell_card(const struct slot *s, const SCARD_READERSTATE *r)
{
    struct buf f = BUF_INIT;
    char *atr;
    gpg_error_t err;

    field_put(&f, "name", s->name);
    field_put_int(&f, "present", s->present ? 1 : 0);
    if (s->present) {
        atr = hex_encode(r->rgbAtr, r->cbAtr <= MAX_ATR_SIZE ? r->cbAtr : 0);
        field_put(&f, "atr", atr != NULL ? atr : "");
        field_put_int(&f, "events", (long)(r->dwEventState >> 16));
        gpgrt_free(atr);
    }
    put_place(&f, s);
    err = tell(TOKEN_WATCH_READER, &f);
    buf_free(&f);
    return err;
}

static gpg_error_t tell_gone(const struct slot *s)
{
    struct buf f = BUF_INIT;
    gpg_error_t err;

    field_put(&f, "name", s->name);
    put_place(&f, s);
    err = tell(TOKEN_WATCH_GONE, &f);
    buf_free(&f);
    return err;
}

/* --- readers ---------------------------------------------------------------------------------------------------------------- */

/* Where the reader is, without waking a card: a direct connection. What was known stays when there is none to be had, as with a
 * card that another program holds. */
static void find_place(struct watch *w, struct slot *s)
{
    SCARDHANDLE h;
    DWORD protocol, channel = 0, n = sizeof channel;

    if (SCardConnect(w->context, s->name, SCARD_SHARE_DIRECT, 0, &h, &protocol) != SCARD_S_SUCCESS)
        return;
    if (SCardGetAttrib(h, SCARD_ATTR_CHANNEL_ID, (BYTE *)&channel, &n) == SCARD_S_SUCCESS)
        pcsc_channel_address((uint32_t)channel, &s->bus, &s->dev);
    (void)SCardDisconnect(h, SCARD_LEAVE_CARD);
}

static void drop_slot(struct watch *w, size_t i)
{
    gpgrt_free(w->slots[i].name);
    w->slots[i] = w->slots[--w->n];
}

static gpg_error_t list_readers(struct watch *w)
{
    DWORD n = SCARD_AUTOALLOCATE;
    char *list = NULL;
    LONG rc = SCardListReaders(w->context, NULL, (char *)&list, &n);
    gpg_error_t err = 0;

    if (rc != SCARD_S_SUCCESS && rc != SCARD_E_NO_READERS_AVAILABLE)
        return pcsc_error(rc);
    for (size_t i = 0; i < w->n && err == 0;) {
        const char *p = list;

        while (p != NULL && *p != '\0' && strcmp(p, w->slots[i].name) != 0)
            p += strlen(p) + 1;
        if (p != NULL && *p != '\0') {
            i++;
            continue;
        }
        err = tell_gone(&w->slots[i]);
        drop_slot(w, i);
    }
    for (const char *p = list; p != NULL && *p != '\0' && err == 0; p += strlen(p) + 1) {
        size_t i = 0;

        while (i < w->n && strcmp(p, w->slots[i].name) != 0)
            i++;
        if (i < w->n || w->n == MAX_SLOTS)
            continue;
        w->slots[w->n] = (struct slot){
            .name = gpgrt_strdup(p), .state = SCARD_STATE_UNAWARE, .bus = -1, .dev = -1};
        if (w->slots[w->n].name == NULL) {
            err = gpg_error(GPG_ERR_ENOMEM);
            break;
        }
        find_place(w, &w->slots[w->n]);
        w->n++;
    }
    if (list != NULL)
        (void)SCardFreeMemory(w->context, list);
    return err;
}

/* A card that was swapped while we did not look shows by the insertion counter in the high word. */
static gpg_error_t look_at(struct watch *w, struct slot *s, const SCARD_READERSTATE *r)
{
    bool present =
        (r->dwEventState & SCARD_STATE_PRESENT) != 0 && (r->dwEventState & SCARD_STATE_MUTE) == 0;
    bool swapped = s->told && s->present && present && r->dwEventState >> 16 != s->state >> 16;
    gpg_error_t err = 0;

    s->state = r->dwEventState & ~(DWORD)SCARD_STATE_CHANGED;
    if (s->told && s->present == present && !swapped)
        return 0;
    if (swapped) {
        s->present = false;
        err = tell_card(s, r);
    }
    /* A reader that was plugged elsewhere while we did not look has the same name. */
    if (present && s->told)
        find_place(w, s);
    s->told = true;
    s->present = present;
    if (present)
        s->contactless = pcsc_atr_contactless(
            s->name, rd_of(r->rgbAtr, r->cbAtr <= MAX_ATR_SIZE ? r->cbAtr : 0));
    return err != 0 ? err : tell_card(s, r);
}

static gpg_error_t watch_once(struct watch *w)
{
    SCARD_READERSTATE states[MAX_SLOTS + 1];
    gpg_error_t err = list_readers(w);
    LONG rc;

    if (err != 0)
        return err;
    memset(states, 0, sizeof states);
    for (size_t i = 0; i < w->n; i++) {
        states[i].szReader = w->slots[i].name;
        states[i].dwCurrentState = w->slots[i].state;
    }
    states[w->n].szReader = pnp;
    states[w->n].dwCurrentState = (DWORD)w->n << 16;
    rc = SCardGetStatusChange(w->context, WATCH_MS, states, (DWORD)w->n + 1);
    if (rc == SCARD_E_TIMEOUT || rc == SCARD_E_UNKNOWN_READER)
        return 0; /* the list is read anew */
    err = pcsc_error(rc);
    for (size_t i = 0; i < w->n && err == 0; i++)
        if ((states[i].dwEventState & SCARD_STATE_CHANGED) != 0)
            err = look_at(w, &w->slots[i], &states[i]);
    return err;
}

static bool broker_is_there(int wait_ms)
{
    struct pollfd p = {.fd = OUT_FD};

    return poll(&p, 1, wait_ms) == 0 || (p.revents & (POLLERR | POLLHUP | POLLNVAL)) == 0;
}

static void service_lost(struct watch *w)
{
    while (w->n > 0)
        drop_slot(w, w->n - 1);
    if (w->up)
        (void)SCardReleaseContext(w->context);
    w->up = false;
}

gpg_error_t watch_pcsc_run(void)
{
    static struct watch w;
    gpg_error_t err = 0;

    while (broker_is_there(0)) {
        if (!w.up) {
            if (SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &w.context) !=
                SCARD_S_SUCCESS) {
                if (!w.told_down && (err = tell_service(false)) != 0)
                    return err;
                w.told_down = true;
                if (!broker_is_there(RETRY_MS))
                    return 0;
                continue;
            }
            w.up = true;
            w.told_down = false;
            if ((err = tell_service(true)) != 0)
                return err;
        }
        err = watch_once(&w);
        if (err != 0) {
            service_lost(&w);
            if (tell_service(false) != 0)
                return err;
            w.told_down = true;
        }
    }
    return 0;
}
