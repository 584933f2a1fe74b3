#include "devices/fido_device.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX_DEVICES 32u
#define LOOK_MS     50
#define FRAME       64u /* CTAP 2.1, 11.2.4: a full-speed HID report */

int64_t fido_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void fido_pause(const struct driver_io *io, int ms)
{
    for (int left = ms; left > 0 && !io->canceled(io->arg); left -= LOOK_MS)
        (void)poll(NULL, 0, left < LOOK_MS ? left : LOOK_MS);
}

/* --- emulators: HID reports over a stream socket ----------------------------------------------------------------------- */

static void *emulator_open(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int *handle = malloc(sizeof *handle);

    if (fd < 0 || handle == NULL || strlen(path) >= sizeof addr.sun_path)
        goto fail;
    memcpy(addr.sun_path, path, strlen(path) + 1);
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0)
        goto fail;
    *handle = fd;
    return handle;
fail:
    if (fd >= 0)
        close(fd);
    free(handle);
    return NULL;
}

static void emulator_close(void *handle)
{
    close(*(int *)handle);
    free(handle);
}

static int emulator_read(void *handle, unsigned char *buf, size_t len, int ms)
{
    int64_t until = fido_now_ms() + ms;
    size_t got = 0;

    if (len != FRAME)
        return -1;
    while (got < len) {
        int64_t left = ms < 0 ? -1 : until - fido_now_ms();
        struct pollfd p = {.fd = *(int *)handle, .events = POLLIN};
        ssize_t n;

        if (ms >= 0 && left < 0)
            left = 0;
        if (poll(&p, 1, (int)left) <= 0)
            return -1;
        n = recv(p.fd, buf + got, len - got, 0);
        if (n <= 0)
            return -1;
        got += (size_t)n;
    }
    return (int)got;
}

/* Without the report number that stands in front. */
static int emulator_write(void *handle, const unsigned char *buf, size_t len)
{
    if (len != FRAME + 1)
        return -1;
    return send(*(int *)handle, buf + 1, FRAME, MSG_NOSIGNAL) == (ssize_t)FRAME ? (int)len : -1;
}

static const fido_dev_io_t emulator_io = {
    .open = emulator_open, .close = emulator_close, .read = emulator_read, .write = emulator_write};

/* --- the bus ------------------------------------------------------------------------------------------------------------- */

static gpg_error_t split(const char *list, char ***out)
{
    char **v = gpgrt_calloc(MAX_DEVICES + 1, sizeof *v);
    size_t n = 0;

    if (v == NULL)
        return gpg_error_from_syserror();
    while (*list != '\0' && n < MAX_DEVICES) {
        size_t len = strcspn(list, ",");

        v[n] = gpgrt_bsprintf("%.*s", (int)len, list);
        if (v[n++] == NULL)
            break;
        list += len;
        list += *list == ',';
    }
    *out = v;
    return 0;
}

static void free_list(char **v)
{
    for (size_t i = 0; v != NULL && v[i] != NULL; i++)
        gpgrt_free(v[i]);
    gpgrt_free(v);
}

gpg_error_t fido_bus_new(const char *arg, struct fido_bus **out)
{
    static const char emulator[] = "emulator=";
    struct fido_bus *b;
    gpg_error_t err = 0;

    if (strcmp(arg, "hid") != 0 && strncmp(arg, emulator, sizeof emulator - 1) != 0)
        return gpg_error(GPG_ERR_INV_ARG);
    b = gpgrt_calloc(1, sizeof *b);
    if (b == NULL)
        return gpg_error_from_syserror();
    pthread_mutex_init(&b->mutex, NULL);
    pthread_cond_init(&b->changed, NULL);
    b->busy = gpgrt_calloc(1, sizeof *b->busy);
    if (b->busy == NULL)
        err = gpg_error_from_syserror();
    if (err == 0 && strcmp(arg, "hid") != 0)
        err = split(arg + sizeof emulator - 1, &b->emulators);
    else if (err == 0)
        err = fido_pcsc_new(&b->pcsc);
    fido_init(0);
    if (err != 0)
        fido_bus_free(b);
    else
        *out = b;
    return err;
}

void fido_bus_free(struct fido_bus *b)
{
    if (b == NULL)
        return;
    fido_pcsc_free(b->pcsc);
    free_list(b->emulators);
    free_list(b->busy);
    pthread_mutex_destroy(&b->mutex);
    pthread_cond_destroy(&b->changed);
    gpgrt_free(b);
}

/* --- what is plugged in --------------------------------------------------------------------------------------------------- */

static gpg_error_t put_place(struct fido_place *list, size_t *n, const char *path)
{
    list[*n].path = gpgrt_strdup(path);
    if (list[*n].path == NULL)
        return gpg_error_from_syserror();
    ++*n;
    return 0;
}

static gpg_error_t put_hid(struct fido_place *list, size_t *n)
{
    fido_dev_info_t *info = fido_dev_info_new(MAX_DEVICES);
    size_t found = 0;
    gpg_error_t err = info != NULL ? 0 : gpg_error(GPG_ERR_ENOMEM);

    if (err == 0 && fido_dev_info_manifest(info, MAX_DEVICES, &found) != FIDO_OK)
        err = gpg_error(GPG_ERR_EIO);
    for (size_t i = 0; i < found && err == 0; i++)
        err = put_place(list, n, fido_dev_info_path(fido_dev_info_ptr(info, i)));
    fido_dev_info_free(&info, MAX_DEVICES);
    return err;
}

struct listing {
    struct fido_place *list;
    size_t n;
};

/* One token by two ways is one token: by USB it answers other programs meanwhile. */
static bool has_hid(void *arg, int bus, int dev)
{
    const struct listing *l = arg;

    for (size_t i = 0; i < l->n; i++) {
        int its_bus, its_dev;

        fido_hid_address("/sys", l->list[i].path, &its_bus, &its_dev);
        if (its_bus == bus && its_dev == dev)
            return true;
    }
    return false;
}

static gpg_error_t put_reader(void *arg, const char *path)
{
    struct listing *l = arg;

    return l->n < MAX_DEVICES ? put_place(l->list, &l->n, path) : 0;
}

gpg_error_t fido_places(const struct fido_bus *b, struct fido_place **out, size_t *n)
{
    struct fido_place *list = gpgrt_calloc(MAX_DEVICES, sizeof *list);
    size_t got = 0;
    gpg_error_t err = list != NULL ? 0 : gpg_error_from_syserror();

    if (err == 0 && b->emulators == NULL)
        err = put_hid(list, &got);
    if (err == 0 && b->pcsc != NULL) {
        struct listing l = {.list = list, .n = got};

        err = fido_pcsc_list(b->pcsc, has_hid, put_reader, &l);
        got = l.n;
    }
    for (size_t i = 0; b->emulators != NULL && b->emulators[i] != NULL && err == 0; i++)
        if (access(b->emulators[i], F_OK) == 0)
            err = put_place(list, &got, b->emulators[i]);
    if (err != 0) {
        fido_places_free(list, got);
        return err;
    }
    *out = list;
    *n = got;
    return 0;
}

void fido_places_free(struct fido_place *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        gpgrt_free(p[i].path);
    gpgrt_free(p);
}

/* --- turns ------------------------------------------------------------------------------------------------------------------ */

static size_t find_busy(const struct fido_bus *b, const char *path)
{
    size_t i = 0;

    while (b->busy[i] != NULL && strcmp(b->busy[i], path) != 0)
        i++;
    return i;
}

/* All or none, so that nobody holds one device while waiting for another. The mutex is held. */
static gpg_error_t try_claim(struct fido_bus *b, struct fido_place *const *places, size_t n)
{
    size_t len = 0;
    char **more;

    for (size_t i = 0; i < n; i++)
        if (b->busy[find_busy(b, places[i]->path)] != NULL)
            return gpg_error(GPG_ERR_EBUSY);
    while (b->busy[len] != NULL)
        len++;
    more = gpgrt_reallocarray(b->busy, len + 1, len + n + 1, sizeof *more);
    if (more == NULL)
        return gpg_error_from_syserror();
    b->busy = more;
    for (size_t i = 0; i < n; i++) {
        more[len + i] = gpgrt_strdup(places[i]->path);
        more[len + i + 1] = NULL;
        if (more[len + i] != NULL)
            continue;
        while (i-- > 0) {
            gpgrt_free(more[len + i]);
            more[len + i] = NULL;
        }
        return gpg_error(GPG_ERR_ENOMEM);
    }
    return 0;
}

gpg_error_t fido_claim(struct fido_bus *b, struct fido_place *const *places, size_t n, bool wait,
                       const struct driver_io *io)
{
    gpg_error_t err;

    pthread_mutex_lock(&b->mutex);
    while (gpg_err_code(err = try_claim(b, places, n)) == GPG_ERR_EBUSY && wait) {
        struct timespec until;

        if (io->canceled(io->arg)) {
            err = gpg_error(GPG_ERR_CANCELED);
            break;
        }
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&b->changed, &b->mutex, &until);
    }
    pthread_mutex_unlock(&b->mutex);
    return err;
}

void fido_release(struct fido_bus *b, struct fido_place *const *places, size_t n)
{
    pthread_mutex_lock(&b->mutex);
    for (size_t i = 0; i < n; i++) {
        size_t at = find_busy(b, places[i]->path), last = at;

        if (b->busy[at] == NULL)
            continue;
        gpgrt_free(b->busy[at]);
        while (b->busy[last + 1] != NULL)
            last++;
        b->busy[at] = b->busy[last];
        b->busy[last] = NULL;
    }
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->mutex);
}

/* --- one device --------------------------------------------------------------------------------------------------------------- */

int fido_open(const struct fido_bus *b, const struct fido_place *p, int timeout_ms,
              fido_dev_t **out)
{
    fido_dev_t *d = fido_dev_new();
    int rc = d != NULL ? FIDO_OK : FIDO_ERR_INTERNAL;

    if (rc == FIDO_OK && b->emulators != NULL)
        rc = fido_dev_set_io_functions(d, &emulator_io);
    if (rc == FIDO_OK)
        rc = fido_dev_set_timeout(d, FIDO_ASK_MS);
    if (rc == FIDO_OK && strncmp(p->path, FIDO_PCSC_PREFIX, strlen(FIDO_PCSC_PREFIX)) == 0)
        rc = b->pcsc != NULL ? fido_pcsc_open(b->pcsc, d, p->path) : FIDO_ERR_INVALID_ARGUMENT;
    else if (rc == FIDO_OK)
        rc = fido_dev_open(d, p->path);
    if (rc == FIDO_OK)
        rc = fido_dev_set_timeout(d, timeout_ms);
    if (rc != FIDO_OK)
        fido_close(&d);
    else
        *out = d;
    return rc;
}

void fido_close(fido_dev_t **d)
{
    if (*d != NULL)
        (void)fido_dev_close(*d);
    fido_dev_free(d);
}

int fido_assertion(const struct fido_query *q, const uint8_t digest[32], bool presence, bool uv,
                   fido_assert_t **out)
{
    fido_assert_t *a = fido_assert_new();
    int rc = a != NULL ? FIDO_OK : FIDO_ERR_INTERNAL;

    for (size_t i = 0; i < q->n && rc == FIDO_OK; i++)
        rc = fido_assert_allow_cred(a, q->keys[i]->handle, q->keys[i]->handle_len);
    if (rc != FIDO_OK || (rc = fido_assert_set_clientdata_hash(a, digest, 32)) != FIDO_OK ||
        (rc = fido_assert_set_rp(a, q->keys[0]->pub->sk_application)) != FIDO_OK ||
        (rc = fido_assert_set_up(a, presence ? FIDO_OPT_TRUE : FIDO_OPT_FALSE)) != FIDO_OK ||
        (uv && (rc = fido_assert_set_uv(a, FIDO_OPT_TRUE)) != FIDO_OK)) {
        fido_assert_free(&a);
        return rc;
    }
    *out = a;
    return FIDO_OK;
}

/* A credential that wants the person verified is not admitted to without that (credProtect, CTAP 2.1 12.1). */
static enum fido_holds judge(const struct fido_place *p, const struct fido_query *q, int rc)
{
    uint8_t flags = 0;

    for (size_t i = 0; i < q->n; i++)
        flags |= q->keys[i]->flags;
    switch (rc) {
    case FIDO_OK:
    case FIDO_ERR_USER_PRESENCE_REQUIRED: /* U2F: the handle is known */
        return FIDO_HOLDS;
    case FIDO_ERR_NO_CREDENTIALS:
    case FIDO_ERR_INVALID_CREDENTIAL:
        if (p->has_uv || ((flags & SK_KEY_VERIFICATION) != 0 && p->has_pin))
            return FIDO_HOLDS_MAYBE;
        return FIDO_HOLDS_NOT;
    case FIDO_ERR_UNSUPPORTED_OPTION:
    case FIDO_ERR_UP_REQUIRED:
    case FIDO_ERR_PIN_REQUIRED:
    case FIDO_ERR_UNAUTHORIZED_PERM:
    case FIDO_ERR_CHANNEL_BUSY: /* another program waits for a touch there */
        return FIDO_HOLDS_MAYBE;
    default:
        return FIDO_HOLDS_NOT;
    }
}

void fido_ask(const struct fido_bus *b, struct fido_place *p, const struct fido_query *q)
{
    static const uint8_t nothing[32];
    fido_dev_t *d = NULL;
    fido_assert_t *a = NULL;
    int rc = fido_open(b, p, FIDO_ASK_MS, &d);

    p->asked = true;
    p->holds = FIDO_HOLDS_NOT;
    if (rc != FIDO_OK) {
        gpgrt_log_info("%s: cannot be opened: %s\n", p->path, fido_strerr(rc));
        if (rc == FIDO_ERR_CHANNEL_BUSY)
            p->holds = FIDO_HOLDS_MAYBE;
        goto out;
    }
    p->fido2 = fido_dev_is_fido2(d);
    p->has_pin = fido_dev_has_pin(d);
    p->has_uv = fido_dev_has_uv(d);
    p->manages = fido_dev_supports_credman(d);
    p->holds = FIDO_HOLDS_MAYBE;
    if (q == NULL)
        goto out;
    rc = fido_assertion(q, nothing, false, false, &a);
    if (rc == FIDO_OK)
        rc = fido_dev_get_assert(d, a, NULL);
    p->holds = judge(p, q, rc);
out:
    fido_assert_free(&a);
    fido_close(&d);
}

int fido_tries(const struct fido_bus *b, const struct fido_place *p)
{
    fido_dev_t *d = NULL;
    int n = -1;

    if (fido_open(b, p, FIDO_ASK_MS, &d) == FIDO_OK && fido_dev_get_retry_count(d, &n) != FIDO_OK)
        n = -1;
    fido_close(&d);
    return n;
}
