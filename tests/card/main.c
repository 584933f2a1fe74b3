/* The loop that joins pcscd through vpcd, and the options. */
#include "tests/card/emu.h"
#include "tests/card/fido.h"
#include "tests/card/vpcd.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "usage: testcard --profile P --port N --control SOCKET [options]   (--profile first)\n"
    "  --serial HEX8       --pin PIN  --admin-pin PIN\n"
    "  --key SLOT=ALGO     sig, dec, aut = rsa2048 rsa3072 rsa4096 "
    "nistp256 nistp384 nistp521\n"
    "                      brainpoolP256r1 brainpoolP384r1 brainpoolP512r1 "
    "ed25519 cv25519\n"
    "  --seed N            always the same keys (not RSA)\n"
    "  --uif SLOT=N        0 off, 1 on, 2 fixed, 3 cached, 4 cached fixed\n"
    "  --forced-pin        a PIN for each signature\n"
    "  --kdf               PINs are derived (KDF-DO)\n"
    "  --firmware A.B.C    of a YubiKey\n"
    "  --piv-key SLOT=ALGO[,..]   9A 9C 9D 9E 82..95 = rsa1024 .. rsa4096 nistp256 nistp384\n"
    "                      ed25519 cv25519; pin=never|once|always touch=off|on|cached\n"
    "                      gzip nocert nokey imported\n"
    "  --piv-pin PIN  --piv-puk PUK  --piv-guid HEX32  --piv-global-pin\n"
    "  --piv-version A.B.C (before its keys)\n"
    "  --delay MS          each command takes that long\n"
    "  --fido              the FIDO applet is there, too\n";

static void put_atr(const struct emu *e, struct buf *b)
{
    (void)hex_decode(e->p->atr, b);
}

/* One message of the reader's; false: the connection is over. */
static bool serve_one(struct emu *e, int fd)
{
    struct buf answer = BUF_INIT;
    struct buf msg = BUF_INIT;
    bool ok = true, reply = false;

    if (!vpcd_receive(fd, &msg)) {
        buf_free(&msg);
        return false;
    }
    pthread_mutex_lock(&e->mutex);
    if (msg.len == 1 && msg.data[0] == VPCD_ATR) {
        put_atr(e, &answer);
        reply = true;
    } else if (msg.len == 1) {
        emu_reset(e);
    } else if (msg.len > 1) {
        ok = emu_apdu(e, buf_rd(&msg), &answer);
        reply = ok;
    }
    ok = ok && !e->pulled;
    pthread_mutex_unlock(&e->mutex);
    if (ok && reply)
        ok = vpcd_send(fd, &answer);
    buf_free(&msg);
    buf_free(&answer);
    return ok;
}

/* A pull must be seen while the reader is silent too. */
struct pull {
    struct emu *e;
    int fd;
};

static void *pull_thread(void *arg)
{
    struct pull *p = arg;

    pthread_mutex_lock(&p->e->mutex);
    for (;;) {
        pthread_cond_wait(&p->e->changed, &p->e->mutex);
        if (p->e->pulled && p->fd >= 0)
            shutdown(p->fd, SHUT_RDWR);
    }
    return NULL;
}

static void join_reader(struct emu *e, int port)
{
    static struct pull pull;
    const struct timespec moment = {.tv_nsec = 20 * 1000 * 1000};
    pthread_t thread;

    pull = (struct pull){.e = e, .fd = -1};
    pthread_create(&thread, NULL, pull_thread, &pull);
    for (;;) {
        bool out;
        int fd;

        pthread_mutex_lock(&e->mutex);
        out = e->pulled;
        pthread_mutex_unlock(&e->mutex);
        fd = out ? -1 : vpcd_dial(port);
        if (fd < 0) {
            nanosleep(&moment, NULL); /* until pcscd is there, or the card is put in again */
            continue;
        }
        pthread_mutex_lock(&e->mutex);
        pull.fd = fd;
        emu_reset(e);
        pthread_mutex_unlock(&e->mutex);
        while (serve_one(e, fd))
            continue;
        pthread_mutex_lock(&e->mutex);
        pull.fd = -1;
        if (e->drop_ins >= 0)
            e->pulled = true; /* gone with that command, until it is put in again */
        e->drop_ins = -1;
        emu_reset(e);
        pthread_mutex_unlock(&e->mutex);
        close(fd);
    }
}

static int slot_of(const char *s)
{
    return strncmp(s, "sig=", 4) == 0   ? 0
           : strncmp(s, "dec=", 4) == 0 ? 1
           : strncmp(s, "aut=", 4) == 0 ? 2
                                        : -1;
}

static void set_pin(struct emu *e, int which, const char *pin)
{
    buf_reset(&e->pins[which]);
    buf_put(&e->pins[which], pin, strlen(pin));
}

static bool add_key(struct emu *e, const char *spec, long seed)
{
    int slot = slot_of(spec);
    const struct emu_algo *a = slot >= 0 ? emu_algo_by_name(spec + 4) : NULL;
    struct emu_key *k;

    if (a == NULL || !emu_slot_takes(e->p, (unsigned)slot, a))
        return false;
    k = &e->keys[slot];
    k->attr_len = emu_attributes(e->p, (unsigned)slot, a, k->attr);
    k->created = 1700000000u + (uint32_t)slot;
    if (!emu_generate(k, a, seed, (unsigned)slot))
        return false;
    emu_fingerprint(k, slot == 1 && a->nid != EVP_PKEY_RSA);
    return true;
}

static void set_kdf(struct emu *e)
{
    static const uint8_t salts[3][8] = {"saltpw1", "saltrc0", "saltpw3"}, kdf[] = {3}, hash[] = {8},
                         count[] = {0, 1, 0, 0};
    struct buf d = BUF_INIT;

    buf_put_tlv(&d, 0x81, kdf, 1);
    buf_put_tlv(&d, 0x82, hash, 1);
    buf_put_tlv(&d, 0x83, count, 4);
    for (unsigned i = 0; i < 3; i++)
        buf_put_tlv(&d, 0x84 + i, salts[i], 8);
    buf_put_rd(&e->dos[5], buf_rd(&d));
    for (int i = 0; i < 3; i++) {
        struct buf derived = BUF_INIT;

        emu_kdf(rd_of(salts[i], 8), 65536, buf_rd(&e->pins[i]), &derived);
        buf_free(&e->pins[i]);
        e->pins[i] = derived;
    }
    buf_free(&d);
}

int main(int argc, char **argv)
{
    enum {
        PROFILE = 1,
        PORT,
        CONTROL,
        SERIAL,
        PIN,
        ADMIN,
        KEY,
        SEED,
        UIF,
        FORCED,
        KDF,
        FIRMWARE,
        DELAY,
        IMPOSTER,
        PIV_KEY,
        PIV_PIN,
        PIV_PUK,
        PIV_GUID,
        PIV_GLOBAL,
        PIV_VERSION,
        FIDO,
        HELP
    };
    static const struct option options[] = {{"profile", 1, NULL, PROFILE},
                                            {"port", 1, NULL, PORT},
                                            {"control", 1, NULL, CONTROL},
                                            {"serial", 1, NULL, SERIAL},
                                            {"pin", 1, NULL, PIN},
                                            {"admin-pin", 1, NULL, ADMIN},
                                            {"key", 1, NULL, KEY},
                                            {"seed", 1, NULL, SEED},
                                            {"uif", 1, NULL, UIF},
                                            {"forced-pin", 0, NULL, FORCED},
                                            {"kdf", 0, NULL, KDF},
                                            {"firmware", 1, NULL, FIRMWARE},
                                            {"delay", 1, NULL, DELAY},
                                            {"help", 0, NULL, HELP},
                                            {"imposter", 0, NULL, IMPOSTER},
                                            {"piv-key", 1, NULL, PIV_KEY},
                                            {"piv-pin", 1, NULL, PIV_PIN},
                                            {"piv-puk", 1, NULL, PIV_PUK},
                                            {"piv-guid", 1, NULL, PIV_GUID},
                                            {"piv-global-pin", 0, NULL, PIV_GLOBAL},
                                            {"piv-version", 1, NULL, PIV_VERSION},
                                            {"fido", 0, NULL, FIDO},
                                            {NULL, 0, NULL, 0}};
    static struct emu e = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                           .changed = PTHREAD_COND_INITIALIZER,
                           .touch_timeout_ms = 15000,
                           .drop_ins = -1,
                           .serial = {0x12, 0x34, 0x56, 0x78}};
    const char *control = NULL, *keys[KEY_SLOTS * 2], *piv_keys[PIV_SLOTS];
    struct buf serial = BUF_INIT, guid = BUF_INIT;
    size_t nkeys = 0, npiv_keys = 0;
    bool kdf = false, bad = false;
    long seed = -1;
    int port = 0, opt;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (opt) {
        case PROFILE:
            for (e.p = emu_profiles; e.p->name != NULL && strcmp(e.p->name, optarg) != 0; e.p++)
                continue;
            if (e.p->name == NULL) {
                fprintf(stderr, "testcard: --profile %s: not one of", optarg);
                for (e.p = emu_profiles; e.p->name != NULL; e.p++)
                    fprintf(stderr, " %s", e.p->name);
                fputc('\n', stderr);
                return 2;
            }
            emu_factory(&e);
            piv_factory(&e);
            e.pw1_several = 1;
            break;
        case PORT:
            port = atoi(optarg);
            break;
        case CONTROL:
            control = optarg;
            break;
        case SERIAL:
            bad = bad || hex_decode(optarg, &serial) != 0 || serial.len != 4;
            if (!bad)
                memcpy(e.serial, serial.data, 4);
            break;
        case PIN:
            set_pin(&e, PW1, optarg);
            break;
        case ADMIN:
            set_pin(&e, PW3, optarg);
            break;
        case KEY:
            if (nkeys < sizeof keys / sizeof keys[0])
                keys[nkeys++] = optarg;
            break;
        case SEED:
            seed = atol(optarg);
            break;
        case UIF:
            bad = bad || slot_of(optarg) < 0;
            if (!bad)
                e.keys[slot_of(optarg)].uif = (uint8_t)atoi(optarg + 4);
            break;
        case FORCED:
            e.pw1_several = 0;
            break;
        case KDF:
            kdf = true;
            break;
        case FIRMWARE:
            bad = bad || sscanf(optarg, "%hhu.%hhu.%hhu", &e.firmware[0], &e.firmware[1],
                                &e.firmware[2]) != 3;
            break;
        case DELAY:
            e.delay_ms = atoi(optarg);
            break;
        case IMPOSTER:
            e.imposter = true;
            break;
        case PIV_KEY:
            if (npiv_keys < sizeof piv_keys / sizeof piv_keys[0])
                piv_keys[npiv_keys++] = optarg;
            break;
        case PIV_PIN:
            piv_set_secret(&e, 0, optarg);
            break;
        case PIV_PUK:
            piv_set_secret(&e, 1, optarg);
            break;
        case PIV_GUID:
            bad = bad || hex_decode(optarg, &guid) != 0 || guid.len != sizeof e.piv.guid;
            if (!bad)
                piv_set_guid(&e, guid.data);
            break;
        case PIV_GLOBAL:
            e.piv.global_pin = true;
            break;
        case PIV_VERSION:
            bad = bad || sscanf(optarg, "%hhu.%hhu.%hhu", &e.piv.version[0], &e.piv.version[1],
                                &e.piv.version[2]) != 3;
            e.piv.extensions = e.piv.version[0] != 0;
            break;
        case FIDO:
            fido_install(&e);
            break;
        case HELP:
            fputs(usage, stdout);
            return 0;
        default:
            bad = true;
        }
    }
    if (bad || e.p == NULL || port == 0 || control == NULL) {
        fputs(usage, stderr);
        return 2;
    }
    for (size_t i = 0; i < nkeys; i++)
        if (!add_key(&e, keys[i], seed)) {
            fprintf(
                stderr,
                "testcard: --key %s: no such slot, or the product has no such algorithm there\n",
                keys[i]);
            return 2;
        }
    for (size_t i = 0; i < npiv_keys; i++)
        if (!piv_add_key(&e, piv_keys[i], seed)) {
            fprintf(stderr, "testcard: --piv-key %s: the product has none such\n", piv_keys[i]);
            return 2;
        }
    if (e.imposter && !piv_forge(&e))
        return 2;
    for (unsigned i = 0; e.imposter && i < KEY_SLOTS; i++)
        if (!emu_forge(&e.keys[i]))
            return 2;
    if (kdf)
        set_kdf(&e);
    emu_control(&e, control);
    join_reader(&e, port);
    return 0;
}
