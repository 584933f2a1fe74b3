#include "devices/trezor_wire.h"

#include <gcrypt.h>

#include <string.h>

#define MARK        '?'
#define FIRST_ROOM  (TREZOR_PACKET - 9)
#define NEXT_ROOM   (TREZOR_PACKET - 1)
#define MAX_MESSAGE 65536u
#define PART_MS     2000 /* between the packets of one message, which nobody has to confirm */
#define MAX_STALE   256  /* packets of an earlier conversation */

/* --- writing ------------------------------------------------------------------------------------------------------------- */

/* Packets of HEAD and the rest of BODY. */
static gpg_error_t write_packets(struct trezor_transport *t, const struct buf *head, struct rd body)
{
    uint8_t packet[TREZOR_PACKET];
    size_t at = head->len, n;
    gpg_error_t err = buf_err(head);

    if (err != 0)
        return err;
    memset(packet, 0, sizeof packet);
    memcpy(packet, head->data, head->len);
    do {
        n = body.n < sizeof packet - at ? body.n : sizeof packet - at;
        if (n > 0)
            memcpy(packet + at, body.p, n);
        body = rd_of(body.p + n, body.n - n);
        err = t->write(t, packet);
        memset(packet, 0, sizeof packet);
        packet[0] = MARK;
        at = 1;
    } while (err == 0 && body.n > 0);
    explicit_bzero(packet, sizeof packet);
    return err;
}

gpg_error_t trezor_write(struct trezor_transport *t, enum trezor_type type,
                         const ProtobufCMessage *message)
{
    size_t n = message != NULL ? protobuf_c_message_get_packed_size(message) : 0;
    struct buf head = BUF_INIT;
    uint8_t *body;
    gpg_error_t err;

    if (n > MAX_MESSAGE)
        return gpg_error(GPG_ERR_TOO_LARGE);
    body = n < 4096 ? gcry_malloc_secure(n + 1) : gcry_malloc(n + 1);
    if (body == NULL)
        return gpg_error_from_syserror();
    if (message != NULL)
        protobuf_c_message_pack(message, body);
    buf_put(&head, "?##", 3);
    buf_put_u16(&head, (uint16_t)type);
    buf_put_u32(&head, (uint32_t)n);
    err = write_packets(t, &head, rd_of(body, n));
    buf_free(&head);
    explicit_bzero(body, n);
    gcry_free(body);
    return err;
}

/* --- reading ------------------------------------------------------------------------------------------------------------- */

/* The first packet of a message. */
static gpg_error_t read_first(struct trezor_transport *t, int ms, unsigned *type, uint32_t *left,
                              struct buf *body)
{
    uint8_t packet[TREZOR_PACKET];
    gpg_error_t err;

    for (int i = 0; i < MAX_STALE; i++) {
        struct rd r = rd_of(packet, sizeof packet), mark, part;
        uint16_t number;

        err = t->read(t, packet, ms);
        if (err != 0)
            return err;
        if (rd_bytes(&r, 3, &mark) != 0 || !rd_is(mark, "?##") || rd_u16(&r, &number) != 0 ||
            rd_u32(&r, left) != 0)
            continue;
        if (*left > MAX_MESSAGE)
            return gpg_error(GPG_ERR_BAD_DATA);
        *type = number;
        err = rd_bytes(&r, *left < r.n ? *left : r.n, &part);
        if (err == 0)
            buf_put_rd(body, part);
        *left -= (uint32_t)part.n;
        explicit_bzero(packet, sizeof packet);
        return err != 0 ? err : buf_err(body);
    }
    return gpg_error(GPG_ERR_BAD_DATA);
}

gpg_error_t trezor_read(struct trezor_transport *t, int ms, struct trezor_message *out)
{
    uint8_t packet[TREZOR_PACKET];
    uint32_t left;
    gpg_error_t err;

    buf_reset(&out->body);
    err = read_first(t, ms, &out->type, &left, &out->body);
    while (err == 0 && left > 0) {
        struct rd r = rd_of(packet, sizeof packet), part;
        uint8_t mark;

        err = t->read(t, packet, PART_MS);
        if (gpg_err_code(err) == GPG_ERR_TIMEOUT)
            err = gpg_error(GPG_ERR_BAD_DATA);
        if (err == 0 && (rd_u8(&r, &mark) != 0 || mark != MARK))
            err = gpg_error(GPG_ERR_BAD_DATA);
        if (err == 0)
            err = rd_bytes(&r, left < NEXT_ROOM ? left : NEXT_ROOM, &part);
        if (err != 0)
            break;
        buf_put_rd(&out->body, part);
        left -= (uint32_t)part.n;
        err = buf_err(&out->body);
    }
    explicit_bzero(packet, sizeof packet);
    return err;
}

void trezor_drain(struct trezor_transport *t)
{
    uint8_t packet[TREZOR_PACKET];

    for (int i = 0; i < MAX_STALE; i++)
        if (t->read(t, packet, 0) != 0)
            break;
    explicit_bzero(packet, sizeof packet);
}

/* What is unpacked may be a shared secret. */
static void *secure_alloc(void *arg, size_t n)
{
    (void)arg;
    return gcry_malloc_secure(n);
}

static void secure_free(void *arg, void *p)
{
    (void)arg;
    gcry_free(p);
}

static ProtobufCAllocator secure = {.alloc = secure_alloc, .free = secure_free};

void *trezor_unpack(const struct trezor_message *m, const ProtobufCMessageDescriptor *form)
{
    static const uint8_t none[1];

    return protobuf_c_message_unpack(form, &secure, m->body.len,
                                     m->body.len > 0 ? m->body.data : none);
}

void trezor_free(void *message)
{
    if (message != NULL)
        protobuf_c_message_free_unpacked(message, &secure);
}
